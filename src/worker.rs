//! The worker: takes deliveries, runs the pipeline over them, settles them.
//!
//! A permit is taken before a message is, so there are never more messages than jobs. A session with the broker
//! that ends for any reason is replaced by a new one; jobs under way go on meanwhile, and their messages, which can
//! no longer be settled, are delivered again and answered from the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::{self, Parsed, UploadEvent};
use crate::fault::{Fault, FaultCode};
use crate::object::Sha256;
use crate::ops::Health;
use crate::pipeline::{Job, Pipeline, fault_notice};
use crate::queue::{Broker, Delivery, Message, Publisher, Session};
use crate::settlement::{Failure, Outcome, RetryRules, Settlement, settle};
use crate::store::ObjectStore;
use crate::text;
use crate::verdict::{EventInfo, Source, Stage};

/// The waits between attempts to open a session: doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How often the loop shows that it turns, whether or not there is work.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a worker is allowed to do at once, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    pub jobs: usize,
    pub job_deadline: Duration,
    /// How long jobs may go on after a stop was asked for.
    pub grace: Duration,
    pub retry: RetryRules,
}

/// A worker over some broker and some store.
pub struct Worker<B, S> {
    broker: B,
    pipeline: Arc<Pipeline<S>>,
    limits: Limits,
    health: Arc<Health>,
}

/// Why no more messages are taken.
enum Ended {
    /// A stop was asked for.
    Stopping,
    /// A scan engine is not trusted any more.
    Paused,
    Lost(Fault),
}

impl<B: Broker, S: ObjectStore> Worker<B, S> {
    #[must_use]
    pub fn new(broker: B, pipeline: Arc<Pipeline<S>>, limits: Limits, health: Arc<Health>) -> Self {
        Self { broker, pipeline, limits, health }
    }

    /// Works until `stop`, then drains: jobs finish, or are handed back when the grace period is over.
    pub async fn run(&self, stop: CancellationToken) {
        let (mut jobs, permits) = (JoinSet::new(), Arc::new(Semaphore::new(self.limits.jobs)));
        let mut wait = BACKOFF.0;
        while !stop.is_cancelled() {
            let opened = tokio::select! { () = stop.cancelled() => break, opened = self.broker.open() => opened };
            match opened {
                Ok(session) => {
                    self.connected(Ok(()));
                    let opened = Instant::now();
                    match self.serve(session, &stop, &permits, &mut jobs).await {
                        Ended::Stopping | Ended::Paused => break,
                        Ended::Lost(fault) => self.lost(&fault, "lost"),
                    }
                    // A session that breaks as soon as it is open must not be opened again and again at once.
                    if opened.elapsed() > BACKOFF.1 {
                        wait = BACKOFF.0;
                    }
                }
                Err(fault) => self.lost(&fault, "open"),
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(jittered(wait)) => {} }
            wait = (wait * 2).min(BACKOFF.1);
        }
        // What outlives its session can no longer be settled; it is only given the time to finish its writes.
        let _ = tokio::time::timeout(self.limits.grace, async { while jobs.join_next().await.is_some() {} }).await;
    }

    fn connected(&self, session: Result<(), String>) {
        self.pipeline.metrics.dependency("amqp", session.is_ok());
        self.health.dependency("amqp", session);
    }

    fn lost(&self, fault: &Fault, reason: &'static str) {
        self.health.consuming(false);
        self.connected(Err(fault.to_string()));
        self.pipeline.metrics.session_restarted(reason);
        tracing::warn!(code = %fault.code, "no session with the broker, trying again: {}", fault.detail);
    }

    /// Works in one session until it ends or a stop is asked for: takes messages while every engine is trusted, and
    /// none otherwise. On a stop, settles what is under way first.
    async fn serve(
        &self,
        mut session: B::Session,
        stop: &CancellationToken,
        permits: &Arc<Semaphore>,
        jobs: &mut JoinSet<()>,
    ) -> Ended {
        let (failed, mut failures) = mpsc::channel::<Fault>(1);
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopping,
                Some(fault) = failures.recv() => break Ended::Lost(fault),
                () = self.until_trusted() => {}
            }
            if let Err(fault) = session.start().await {
                break Ended::Lost(fault);
            }
            match self.consume(&mut session, stop, permits, jobs, &failed, &mut failures).await {
                Ended::Paused => self.pause(&mut session).await,
                ended => break ended,
            }
        };
        if let Ended::Stopping = ended {
            self.pause(&mut session).await;
            self.drain(jobs).await;
        }
        session.close().await;
        ended
    }

    /// No message is taken before every engine has proved itself: it would only burn an attempt.
    async fn until_trusted(&self) {
        let mut trusted = self.pipeline.judge.engines.trusted();
        if *trusted.borrow() {
            return;
        }
        tracing::info!("no work is taken until every scan engine has passed its self-test");
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.health.tick(),
                // An error would mean that the engines are gone, and this worker with them.
                _ = trusted.wait_for(|trusted| *trusted) => return,
            }
        }
    }

    /// Takes messages until there is a reason not to.
    async fn consume(
        &self,
        session: &mut B::Session,
        stop: &CancellationToken,
        permits: &Arc<Semaphore>,
        jobs: &mut JoinSet<()>,
        failed: &mpsc::Sender<Fault>,
        failures: &mut mpsc::Receiver<Fault>,
    ) -> Ended {
        self.health.consuming(true);
        tracing::info!(jobs = self.limits.jobs, "consuming");
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut trusted = self.pipeline.judge.engines.trusted();
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopping,
                Some(fault) = failures.recv() => return Ended::Lost(fault),
                _ = trusted.wait_for(|trusted| !*trusted) => return Ended::Paused,
                _ = heartbeat.tick() => {
                    self.health.tick();
                    while jobs.try_join_next().is_some() {}
                    continue;
                }
                taken = take(permits, session) => taken,
            };
            match taken {
                Some((permit, Ok(delivery))) => {
                    self.start(jobs, permit, delivery, session.publisher(), failed.clone(), stop.clone());
                }
                Some((_, Err(fault))) => return Ended::Lost(fault),
                None => return Ended::Stopping,
            }
        }
    }

    /// Asks for no more messages and hands back those that no job has taken; the jobs go on.
    async fn pause(&self, session: &mut B::Session) {
        self.health.consuming(false);
        session.cancel().await;
        while let Some(Ok(delivery)) = session.next().await {
            if delivery.settle(Settlement::HandBack).await.is_err() {
                // The session is over: the broker hands the rest out again by itself.
                return;
            }
        }
    }

    /// Waits for the jobs under way. Those that are not done in time hand their messages back.
    async fn drain(&self, jobs: &mut JoinSet<()>) {
        tracing::info!(jobs = jobs.len(), "draining");
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.health.tick(),
                next = jobs.join_next() => if next.is_none() { return },
            }
        }
    }

    /// The one place where a job becomes a task: with its permit, its deadline, its panic and its settlement.
    fn start<D: Delivery, P: Publisher>(
        &self,
        jobs: &mut JoinSet<()>,
        permit: OwnedSemaphorePermit,
        delivery: D,
        publisher: P,
        failed: mpsc::Sender<Fault>,
        stop: CancellationToken,
    ) {
        let (pipeline, limits) = (Arc::clone(&self.pipeline), self.limits.clone());
        jobs.spawn(async move {
            let _permit = permit;
            let _in_flight = pipeline.metrics.job();
            let attempt = delivery.message().failed_attempts.saturating_add(1);
            let outcome = attempt_message(&pipeline, &limits, delivery.message(), attempt, &publisher, &stop).await;
            if let Outcome::Faulted(fault) = &outcome {
                pipeline.metrics.faulted(fault.code);
            }
            let settlement = settle(outcome, attempt, &limits.retry);
            announce(&pipeline, &settlement, delivery.message(), &publisher).await;
            if let Err(fault) = delivery.settle(settlement).await {
                tracing::warn!(code = %fault.code, "a message could not be settled: {}", fault.detail);
                // A full channel means that another job has reported the session already.
                let _ = failed.try_send(fault);
            }
        });
    }
}

/// A permit and then a message: dropping this in between loses neither.
async fn take<N: Session>(
    permits: &Arc<Semaphore>,
    session: &mut N,
) -> Option<(OwnedSemaphorePermit, Result<N::Delivery, Fault>)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    let next = session.next().await?;
    Some((permit, next))
}

/// One attempt at one message. Total: every way to end is an outcome.
async fn attempt_message<S: ObjectStore>(
    pipeline: &Pipeline<S>,
    limits: &Limits,
    message: &Message,
    attempt: u32,
    publisher: &impl Publisher,
    stop: &CancellationToken,
) -> Outcome {
    let received_at = clock::rfc3339(clock::now());
    let event = match event::parse(&message.body, message.content_type.as_deref(), &message.headers) {
        Err(fault) => return Outcome::Faulted(fault),
        Ok(Parsed::Ignored) => {
            tracing::info!("a message that announces no upload is ignored");
            return Outcome::Ignored;
        }
        Ok(Parsed::Uploads(uploads)) => match <[UploadEvent; 1]>::try_from(uploads) {
            Ok([event]) => event,
            Err(several) => return Outcome::Several(several),
        },
    };
    let job = Job {
        event,
        message: EventInfo { message_id: message.message_id.clone(), received_at },
        attempt,
        again: message.redelivered || attempt > 1 || message.headers.contains_key("x-airlock-redriven"),
    };
    let work = std::panic::AssertUnwindSafe(pipeline.process(&job, publisher)).catch_unwind();
    let out_of_grace = async {
        stop.cancelled().await;
        tokio::time::sleep(limits.grace).await;
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(limits.job_deadline, work) => ended,
        () = out_of_grace => return Outcome::Interrupted,
    };
    match ended {
        Ok(Ok(Ok(_))) => Outcome::Judged,
        Ok(Ok(Err(fault))) => Outcome::Faulted(fault),
        Ok(Err(_panic)) => Outcome::Faulted(Fault::new(FaultCode::Internal, Stage::Event, "the job panicked")),
        Err(_) => {
            let detail = format!("the job was not done after {} s", limits.job_deadline.as_secs());
            Outcome::Faulted(Fault::new(FaultCode::DeadlineExceeded, Stage::Event, detail))
        }
    }
}

/// Logs and counts what happens to a message that is not simply done; a dead letter also becomes a notice.
async fn announce<S: ObjectStore>(
    pipeline: &Pipeline<S>,
    settlement: &Settlement,
    message: &Message,
    publisher: &impl Publisher,
) {
    let id = text::printable_within(message.message_id.as_deref().unwrap_or("without id"), 80);
    match settlement {
        Settlement::Ack | Settlement::Split(_) => {}
        Settlement::HandBack => tracing::info!("message {id} is handed back"),
        Settlement::Retry { delay, failure } => {
            let Failure { fault, attempt, max_attempts } = failure;
            pipeline.metrics.retried(fault.code, *delay);
            tracing::warn!(
                code = %fault.code, stage = %fault.stage, attempt,
                "attempt {attempt} of {max_attempts} failed, next in {} s: {}", delay.as_secs_f32(), fault.detail
            );
        }
        Settlement::DeadLetter(failure) => {
            pipeline.metrics.dead_lettered(failure.fault.code);
            tracing::error!(
                event = "dead_lettered", severity = "high", code = %failure.fault.code, attempt = failure.attempt,
                "message {id} goes to the dead-letter queue: {}", failure.fault.detail
            );
            if let Err(fault) = publish_fault(pipeline, failure, message, publisher).await {
                tracing::warn!(code = %fault.code, "the fault of message {id} is not published: {}", fault.detail);
            }
        }
    }
}

async fn publish_fault<S: ObjectStore>(
    pipeline: &Pipeline<S>,
    failure: &Failure,
    message: &Message,
    publisher: &impl Publisher,
) -> Result<(), Fault> {
    let subject = message.message_id.clone().unwrap_or_else(|| Sha256::of(&message.body).to_string());
    let event = match event::parse(&message.body, message.content_type.as_deref(), &message.headers) {
        Ok(Parsed::Uploads(uploads)) => uploads.into_iter().next(),
        _ => None,
    };
    let route = event.as_ref().and_then(|e| pipeline.route(&e.object).ok());
    let source = event.map(announced);
    let notice = fault_notice(route.map(AsRef::as_ref), failure, &subject, source, &pipeline.worker)?;
    publisher.publish(notice).await
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

/// Between half of `wait` and all of it, so that many workers do not come back at the same moment.
fn jittered(wait: Duration) -> Duration {
    // The low bits of a random id are as good as any random number here.
    let random = uuid::Uuid::new_v4().as_fields().1;
    wait / 2 + wait.mul_f64(0.5 * f64::from(random) / f64::from(u16::MAX))
}
