//! The worker: takes deliveries, runs the pipeline over them, settles them.
//!
//! A permit is taken before a message is, so there are never more messages than jobs. A session with the broker
//! that ends for any reason is replaced by a new one; jobs under way go on meanwhile, and their messages, which can
//! no longer be settled, are delivered again and wait for them here, or are answered from the ledger elsewhere.
//! While a dependency is down no message is taken, and those that no job has begun with are handed back.

mod attempt;
mod company;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::attempt::Attempt;
use self::company::Company;
use crate::circuit::{self, Circuit, Watched};
use crate::config::CLOSING;
use crate::fault::{Fault, FaultCode};
use crate::ops::Health;
use crate::pipeline::Pipeline;
use crate::queue::{Broker, Delivery, Publisher, Session};
use crate::settlement::{RetryRules, Settlement, settle};
use crate::store::ObjectStore;
use crate::trace::TraceContext;
use crate::verdict::Stage;

/// The waits between attempts to open a session: doubled from the first to the last, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How often the loop shows that it turns, whether or not there is work.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often a worker that takes no work tries whether it could.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The work queue counts as empty when it has handed out nothing for so long.
const WORK_IS_OVER: Duration = Duration::from_secs(1);

/// How often a full share of bulk jobs is looked at again.
const BULK_AGAIN: Duration = Duration::from_millis(100);

/// A consumer that hears nothing for so long is compared with its queue, twice before it counts as deaf.
const SILENCE: Duration = Duration::from_secs(30);

/// What a worker is allowed to do at once, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    pub jobs: usize,
    /// Of them, for one uploader.
    pub per_uploader: usize,
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
    circuit: Arc<Circuit>,
    company: Company,
    /// Each job that came out of the bulk queue holds a clone.
    bulk_jobs: Arc<()>,
}

/// Why no more messages are taken.
enum Ended {
    /// A stop was asked for.
    Stopping,
    /// A scan engine is not trusted any more, or another dependency is down.
    Paused,
    Lost(Fault),
}

impl<B: Broker, S: ObjectStore> Worker<B, S> {
    #[must_use]
    pub fn new(
        broker: B,
        pipeline: Arc<Pipeline<S>>,
        limits: Limits,
        health: Arc<Health>,
        circuit: Arc<Circuit>,
    ) -> Self {
        Self { broker, pipeline, limits, health, circuit, company: Company::default(), bulk_jobs: Arc::new(()) }
    }

    /// Works until `stop`, then drains: jobs finish, or are handed back when the grace period is over. Returns within
    /// that period and [`CLOSING`], whatever the broker does meanwhile.
    pub async fn run(&self, stop: CancellationToken) {
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(self.limits.grace + CLOSING).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = overdue => {
                tracing::warn!("the broker does not answer: it will deliver again what could not be handed back");
            }
        }
    }

    /// Works until `stop`, and drains.
    async fn work(&self, stop: &CancellationToken) {
        let (mut jobs, permits) = (JoinSet::new(), Arc::new(Semaphore::new(self.limits.jobs)));
        let mut wait = BACKOFF.0;
        while !stop.is_cancelled() {
            let opened = tokio::select! { () = stop.cancelled() => break, opened = self.broker.open() => opened };
            match opened {
                Ok(session) => {
                    self.connected(Ok(()));
                    let opened = Instant::now();
                    match self.serve(session, stop, &permits, &mut jobs).await {
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

    /// Works in one session until it ends or a stop is asked for: takes messages while everything that a job needs
    /// works, and none otherwise. On a stop, settles what is under way first.
    async fn serve(
        &self,
        mut session: B::Session,
        stop: &CancellationToken,
        permits: &Arc<Semaphore>,
        jobs: &mut JoinSet<()>,
    ) -> Ended {
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopping,
                fault = session.failed() => break Ended::Lost(fault),
                () = self.until_whole(&session) => {}
            }
            if let Err(fault) = session.start().await {
                break Ended::Lost(fault);
            }
            match self.consume(&mut session, stop, permits, jobs).await {
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

    /// Waits until a job could do everything: scan, read, store and publish. Taken before, a message would only burn
    /// an attempt.
    async fn until_whole(&self, session: &B::Session) {
        let (mut trusted, mut down) = (self.pipeline.judge.engines.trusted(), self.circuit.watch());
        let (mut blocked, publisher) = (session.blocked(), self.watched(session.publisher()));
        let mut told = String::new();
        loop {
            let is_blocked = blocked.borrow_and_update().clone();
            let Some(missing) =
                self.missing(*trusted.borrow_and_update(), &down.borrow_and_update(), is_blocked.as_ref())
            else {
                return;
            };
            if missing != told {
                tracing::info!("no work is taken: {missing}");
                told = missing;
            }
            tokio::select! {
                _ = trusted.changed() => {}
                _ = down.changed() => {}
                _ = blocked.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            self.health.tick();
            // Only a publish can tell whether a queue is bound by now; while the broker blocks, it would hang.
            if is_blocked.is_none() {
                self.circuit.try_unheard(&publisher).await;
            }
        }
    }

    /// What a job would miss, also for readiness.
    fn missing(
        &self,
        trusted: bool,
        down: &BTreeMap<&'static str, String>,
        blocked: Option<&String>,
    ) -> Option<String> {
        let unbound = down.get(circuit::VERDICTS);
        self.health.dependency("verdicts", unbound.map_or(Ok(()), |problem| Err(problem.clone())));
        self.connected(blocked.map_or(Ok(()), |reason| {
            Err(format!("the broker accepts no messages ({reason}): look at its memory and disk alarms"))
        }));
        match (blocked, down.first_key_value()) {
            (Some(reason), _) => Some(format!("the broker accepts no messages: {reason}")),
            (None, Some((part, problem))) => Some(format!("{part}: {problem}")),
            (None, None) if !trusted => Some("a scan engine has yet to pass its self-test".to_owned()),
            (None, None) => None,
        }
    }

    fn watched<P: Publisher>(&self, inner: P) -> Watched<P> {
        Watched { inner, circuit: Arc::clone(&self.circuit) }
    }

    /// Takes messages until there is a reason not to.
    async fn consume(
        &self,
        session: &mut B::Session,
        stop: &CancellationToken,
        permits: &Arc<Semaphore>,
        jobs: &mut JoinSet<()>,
    ) -> Ended {
        self.health.consuming(true);
        tracing::info!(jobs = self.limits.jobs, "consuming");
        let (mut heartbeat, mut silence) = (tokio::time::interval(HEARTBEAT), Silence::default());
        let (mut trusted, mut down) = (self.pipeline.judge.engines.trusted(), self.circuit.watch());
        let (mut blocked, mut failed) = (session.blocked(), session.failed());
        let mut last_work = Instant::now();
        loop {
            let bulk = self.bulk_may_run(last_work);
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopping,
                fault = &mut failed => return Ended::Lost(fault),
                _ = trusted.wait_for(|trusted| !*trusted) => return Ended::Paused,
                _ = down.wait_for(|down| !down.is_empty()) => return Ended::Paused,
                _ = blocked.wait_for(Option::is_some) => return Ended::Paused,
                _ = heartbeat.tick() => None,
                () = tokio::time::sleep(BULK_AGAIN), if !bulk => None,
                taken = take(permits, session, bulk) => Some(taken),
            };
            let Some(taken) = taken else {
                self.health.tick();
                while jobs.try_join_next().is_some() {}
                if permits.available_permits() > 0
                    && let Err(fault) = silence.look(session).await
                {
                    return Ended::Lost(fault);
                }
                continue;
            };
            silence = Silence::default();
            match taken {
                Some((permit, Ok(delivery))) => {
                    if !delivery.message().bulk {
                        last_work = Instant::now();
                    }
                    self.start(jobs, permit, delivery, session.publisher(), stop.clone());
                }
                Some((_, Err(fault))) => return Ended::Lost(fault),
                None => return Ended::Stopping,
            }
        }
    }

    /// While the work queue has messages, at most half of the slots are for those of the bulk queue.
    fn bulk_may_run(&self, last_work: Instant) -> bool {
        let running = Arc::strong_count(&self.bulk_jobs) - 1;
        running < (self.limits.jobs / 2).max(1) || last_work.elapsed() > WORK_IS_OVER
    }

    /// Asks for no more messages and hands back those that no job has taken; the jobs go on.
    async fn pause(&self, session: &mut B::Session) {
        self.health.consuming(false);
        session.cancel().await;
        while let Some(Ok(delivery)) = session.next(true).await {
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
        stop: CancellationToken,
    ) {
        let attempt = Attempt {
            pipeline: Arc::clone(&self.pipeline),
            limits: self.limits.clone(),
            company: self.company.clone(),
            circuit: Arc::clone(&self.circuit),
            number: delivery.message().failed_attempts.saturating_add(1),
            publisher: self.watched(publisher),
            trace: TraceContext::of(&delivery.message().headers),
            stop,
        };
        let bulk_job = delivery.message().bulk.then(|| Arc::clone(&self.bulk_jobs));
        let span = attempt.span();
        let job = async move {
            let (_permit, _bulk_job) = (permit, bulk_job);
            let _in_flight = attempt.pipeline.metrics.job();
            let outcome = attempt.run(delivery.message()).await;
            let settlement = settle(outcome, attempt.number, &attempt.limits.retry);
            attempt.announce(&settlement, delivery.message()).await;
            // The session is told by the delivery itself: it ends, and another one is opened.
            if let Err(fault) = delivery.settle(settlement).await {
                tracing::warn!(code = %fault.code, "a message could not be settled: {}", fault.detail);
            }
        };
        jobs.spawn(job.instrument(span));
    }
}

/// How long nothing has come. A consumer that hears nothing while messages wait is deaf, whatever its connection looks
/// like.
struct Silence {
    since: Instant,
    /// Messages were waiting at the last look.
    suspicious: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Self { since: Instant::now(), suspicious: false }
    }
}

impl Silence {
    /// Looks at the queue when it is time.
    async fn look(&mut self, session: &mut impl Session) -> Result<(), Fault> {
        if self.since.elapsed() < SILENCE {
            return Ok(());
        }
        let waiting = session.backlog().await?;
        if waiting > 0 && self.suspicious {
            let detail = format!("the consumer hears nothing, but {waiting} messages wait");
            return Err(Fault::new(FaultCode::BrokerUnavailable, Stage::Event, detail));
        }
        *self = Self { since: Instant::now(), suspicious: waiting > 0 };
        Ok(())
    }
}

/// A permit and then a message: dropping this in between loses neither.
async fn take<N: Session>(
    permits: &Arc<Semaphore>,
    session: &mut N,
    bulk: bool,
) -> Option<(OwnedSemaphorePermit, Result<N::Delivery, Fault>)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    let next = session.next(bulk).await?;
    Some((permit, next))
}

/// Between half of `wait` and all of it, so that many workers do not come back at the same moment.
fn jittered(wait: Duration) -> Duration {
    // The low bits of a random id are as good as any random number here.
    let random = uuid::Uuid::new_v4().as_fields().1;
    wait / 2 + wait.mul_f64(0.5 * f64::from(random) / f64::from(u16::MAX))
}
