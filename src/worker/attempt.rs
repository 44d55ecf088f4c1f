//! One attempt at one message: from its bytes to an outcome, whatever happens.

use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::company::{Company, Share, Shares};
use crate::circuit::{Circuit, Watched};
use crate::clock;
use crate::event::{self, Parsed, UploadEvent};
use crate::fault::{Fault, FaultCode};
use crate::object::Sha256;
use crate::pipeline::{Job, Pipeline, fault_notice};
use crate::queue::{Message, Publisher};
use crate::settlement::{Admission, Failure, Outcome, Settlement, admit};
use crate::store::ObjectStore;
use crate::text;
use crate::trace::TraceContext;
use crate::verdict::{EventInfo, Source, Stage};

/// What an attempt works with.
pub(super) struct Attempt<S, P> {
    pub pipeline: Arc<Pipeline<S>>,
    pub limits: Limits,
    pub company: Company,
    pub circuit: Arc<Circuit>,
    /// Counted from 1.
    pub number: u32,
    pub publisher: Watched<P>,
    /// The trace of the message, continued.
    pub trace: Option<TraceContext>,
    pub stop: CancellationToken,
}

/// How an attempt ends early.
type Early<T> = Result<T, Outcome>;

impl<S: ObjectStore, P: Publisher> Attempt<S, P> {
    /// Where its lines of the log stand: of a message with a trace, they name it.
    pub fn span(&self) -> tracing::Span {
        // At the level that no setting switches off.
        self.trace.as_ref().map_or_else(tracing::Span::none, |t| tracing::error_span!("job", trace_id = t.trace_id()))
    }

    /// Total: every way to end is an outcome.
    pub async fn run(&self, message: &Message) -> Outcome {
        let outcome = match parsed(message) {
            Ok(event) => self.work(message, event).await.unwrap_or_else(|early| early),
            Err(outcome) => outcome,
        };
        if let Outcome::Faulted(fault) = &outcome {
            self.pipeline.metrics.faulted(fault.code);
            if fault.code == FaultCode::S3Unavailable {
                self.circuit.doubt_store();
            }
        }
        outcome
    }

    async fn work(&self, message: &Message, event: UploadEvent) -> Early<Outcome> {
        let admission = admit(&message.headers, message.redelivered);
        // Published anew, a message would lose what the broker has counted against it.
        let stays = message.bulk || message.redelivered || admission != Admission::Normal;
        let Some(_share) = self.share(&event, stays) else { return Ok(Outcome::Crowded) };
        // What is already running in this process is waited for; it ends with the verdict that answers this message.
        let flight = self.wait(self.company.flight(&event)).await?;
        if flight.waited {
            self.pipeline.metrics.duplicate("single_flight");
        }
        let _floor = self.wait(self.company.floor(admission == Admission::Alone)).await?;
        let received_at = clock::rfc3339(clock::now());
        let job = Job {
            event,
            message: EventInfo { message_id: message.message_id.clone(), received_at },
            attempt: self.number,
            again: flight.waited
                || message.redelivered
                || self.number > 1
                || admission != Admission::Normal
                || message.headers.contains_key("x-airlock-redriven"),
            trace: self.trace.clone(),
            found: OnceLock::new(),
        };
        Ok(match self.do_job(&job, admission).await.unwrap_or_else(|early| early) {
            Outcome::Faulted(fault) => Outcome::Faulted(fault.about(job.source_id())),
            ended => ended,
        })
    }

    async fn do_job(&self, job: &Job, admission: Admission) -> Early<Outcome> {
        let (pipeline, publisher) = (&self.pipeline, &self.publisher);
        match admission {
            Admission::Normal | Admission::Alone => {
                self.in_time(pipeline.process(job, publisher)).await?;
                Ok(Outcome::Judged)
            }
            // It may have been done by whoever could not settle it: then nothing has crashed.
            Admission::Mark(run) => {
                let answered = self.in_time(pipeline.answer(job, publisher)).await?;
                Ok(answered.map_or(Outcome::Suspected(run), |_| Outcome::Judged))
            }
            Admission::CrashLoop => {
                let answered = self.in_time(pipeline.answer(job, publisher)).await?;
                Ok(answered.map_or_else(|| Outcome::Faulted(crash_loop()), |_| Outcome::Judged))
            }
        }
    }

    /// This job's part of what its uploader and its route may hold. An event of no route fails later, with a reason.
    fn share(&self, event: &UploadEvent, stays: bool) -> Option<Share> {
        let (name, uploader) = self.pipeline.route(&event.object).map_or((String::new(), None), |route| {
            let announced = event.uploader.as_deref();
            (route.name.clone(), route.uploader_from.before_fetch(announced, event.object.key.as_str()))
        });
        // One slot stays for others, and where there are several routes, one stays for the other routes.
        let but_one = self.limits.jobs.saturating_sub(1).max(1);
        let route = if self.pipeline.routes.len() > 1 { but_one } else { self.limits.jobs };
        let most = Shares { uploader: self.limits.per_uploader.min(but_one), route };
        self.company.share(&name, uploader, stays, most)
    }

    /// Waits for other jobs, no longer than one of them may take. Whoever waits in vain has not tried anything.
    async fn wait<T>(&self, turn: impl Future<Output = T>) -> Early<T> {
        tokio::select! {
            turn = tokio::time::timeout(self.limits.job_deadline, turn) => turn.map_err(|_| Outcome::Interrupted),
            () = self.stop.cancelled() => Err(Outcome::Interrupted),
        }
    }

    /// Bounds the work: by the deadline, by the grace period after a stop, and by the panics of whatever it calls.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Early<T> {
        let work = std::panic::AssertUnwindSafe(work).catch_unwind();
        let out_of_grace = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.limits.grace).await;
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.limits.job_deadline, work) => ended,
            () = out_of_grace => return Err(Outcome::Interrupted),
        };
        let fault = |code, detail: &str| Outcome::Faulted(Fault::new(code, Stage::Event, detail));
        match ended {
            Ok(Ok(done)) => done.map_err(Outcome::Faulted),
            Ok(Err(_panic)) => Err(fault(FaultCode::Internal, "the job panicked")),
            Err(_) => {
                let detail = format!("the job was not done after {} s", self.limits.job_deadline.as_secs());
                Err(fault(FaultCode::DeadlineExceeded, &detail))
            }
        }
    }

    /// Logs and counts what happens to a message that is not simply done; a dead letter also becomes a notice.
    pub async fn announce(&self, settlement: &Settlement, message: &Message) {
        let id = text::printable_within(message.message_id.as_deref().unwrap_or("without id"), 80);
        match settlement {
            Settlement::Ack | Settlement::Split(_) => {}
            Settlement::HandBack => tracing::info!("message {id} is handed back"),
            Settlement::Bulk => {
                self.pipeline.metrics.crowded();
                tracing::debug!("message {id} goes to the bulk queue: its uploader or route has its share already");
            }
            Settlement::Mark(run) => {
                tracing::warn!(
                    "message {id} was not settled by several workers: it runs alone next, for the {run}. time"
                );
            }
            Settlement::Retry { delay, failure } => {
                let Failure { fault, attempt, max_attempts } = failure;
                self.pipeline.metrics.retried(fault.code, *delay);
                tracing::warn!(
                    code = %fault.code, stage = %fault.stage, attempt,
                    "attempt {attempt} of {max_attempts} failed, next in {} s: {}", delay.as_secs_f32(), fault.detail
                );
            }
            Settlement::DeadLetter(failure) => {
                self.pipeline.metrics.dead_lettered(failure.fault.code);
                tracing::error!(
                    event = "dead_lettered", severity = "high", code = %failure.fault.code, attempt = failure.attempt,
                    "message {id} goes to the dead-letter queue: {}", failure.fault.detail
                );
                if let Err(fault) = self.publish_fault(failure, message).await {
                    tracing::warn!(code = %fault.code, "the fault of message {id} is not published: {}", fault.detail);
                }
            }
        }
    }

    async fn publish_fault(&self, failure: &Failure, message: &Message) -> Result<(), Fault> {
        let subject = message.message_id.clone().unwrap_or_else(|| Sha256::of(&message.body).to_string());
        let event = match event::parse(&message.body, message.content_type.as_deref(), &message.headers) {
            Ok(Parsed::Uploads(uploads)) => uploads.into_iter().next(),
            _ => None,
        };
        let route = event.as_ref().and_then(|e| self.pipeline.route(&e.object).ok());
        let (source, trace) = (event.map(announced), self.trace.as_ref());
        let notice = fault_notice(route.map(AsRef::as_ref), failure, &subject, source, &self.pipeline.worker, trace)?;
        // Not watched: the dead letter itself says what happened, so nobody has to listen to faults.
        self.publisher.inner.publish(notice).await
    }
}

/// The one upload of a message, or the outcome that the message has without work.
fn parsed(message: &Message) -> Result<UploadEvent, Outcome> {
    match event::parse(&message.body, message.content_type.as_deref(), &message.headers) {
        Err(fault) => Err(Outcome::Faulted(fault)),
        Ok(Parsed::Ignored) => {
            tracing::info!("a message that announces no upload is ignored");
            Err(Outcome::Ignored)
        }
        Ok(Parsed::Uploads(uploads)) => match <[UploadEvent; 1]>::try_from(uploads) {
            Ok([event]) => Ok(event),
            Err(several) => Err(Outcome::Several(several)),
        },
    }
}

fn crash_loop() -> Fault {
    let detail = "each time this message was worked on alone, the worker ended before it was done";
    Fault::new(FaultCode::CrashLoop, Stage::Event, detail)
}

/// The source as the event announces it: nobody has seen the object.
fn announced(event: UploadEvent) -> Source {
    Source {
        bucket: Some(event.object.bucket),
        key: event.object.key.to_string(),
        version_id: event.object.version,
        etag: event.etag,
        size: event.size.unwrap_or(0),
        sha256: None,
        declared_type: event.content_type,
        filename: event.filename,
        detected_type: None,
        last_modified: None,
    }
}
