//! A worker that is asked to stop: how long it takes, whatever is under way, and that nothing is lost by it.

use std::time::{Duration, Instant};

use airlock::config::CLOSING;

use crate::flow::Mode;
use crate::front::{Front, NOTHING};
use crate::process::WorkerProcess;
use crate::services::{PrivateClamd, testdata};
use crate::world::World;

const GRACE: Duration = Duration::from_secs(2);
/// For the process to end, on a busy machine.
const SLACK: Duration = Duration::from_millis(1_500);

/// A worker with a job that does not end: its clamd hangs.
struct Stuck {
    world: World,
    worker: WorkerProcess,
    clamd: PrivateClamd,
}

impl Stuck {
    async fn start(mut world: World) -> Self {
        let clamd = PrivateClamd::start(&[]);
        world.set("scan.engines", "[\"clamd\"]");
        world.set("clamd.addresses", format!("[\"{}\"]", clamd.address()));
        world.set("limits.grace", format!("{}s", GRACE.as_secs()));
        let worker = world.worker().await;
        clamd.freeze(true);
        world.submit("long.jpg", testdata("clean/skizze.jpg"), None).await;
        let started = Instant::now();
        while !worker.get("/metrics").await.1.contains("airlock_jobs_in_flight 1") {
            assert!(started.elapsed() < Duration::from_secs(20), "the job does not begin; log:\n{}", worker.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { world, worker, clamd }
    }

    /// The message is ready again, and another worker does what this one has not done.
    async fn goes_on_elsewhere(mut self) {
        let started = Instant::now();
        while self.world.depth("work").await == 0 {
            assert!(started.elapsed() < Duration::from_mins(1), "the message is lost");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.world.versions("quarantine").await, 1, "there is no verdict yet");
        self.clamd.freeze(false);
        let _another = self.world.worker().await;
        let verdict = self.world.next_verdict().await;
        assert_eq!((&verdict["verdict"], &verdict["attempt"]), (&"clean".into(), &1.into()), "a stop is no failure");
        self.world.until_judged().await;
        // A message whose way back was not confirmed is there twice, and answered twice.
        while let Some(again) = self.world.verdict_within(Duration::from_millis(500)).await {
            assert_eq!(again["id"], verdict["id"]);
        }
        assert_eq!((self.world.versions("clean").await, self.world.depth("dead").await), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_outlasts_the_grace_is_handed_back_and_the_worker_ends() {
    let mut stuck = Stuck::start(World::new("grace").await).await;
    let asked = Instant::now();
    stuck.worker.ask_to_stop();
    assert_eq!(stuck.worker.end().await, Some(0));
    let took = asked.elapsed();
    assert!(took >= GRACE && took < GRACE + CLOSING + SLACK, "{took:?}");
    let log = stuck.worker.log();
    assert_eq!(
        log.matches("a job may take 5m (limits.job_deadline), a stop waits 2s (limits.grace)").count(),
        1,
        "{log}"
    );
    assert!(log.contains("is handed back") && log.contains("stopped"), "{log}");
    stuck.goes_on_elsewhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_keeps_silent_does_not_hold_up_a_stop() {
    let mut world = World::new("silent").await;
    let front = Front::of(&mut world, NOTHING).await;
    let mut stuck = Stuck::start(world).await;
    front.amqp.set(Mode::BlackHole);
    let asked = Instant::now();
    stuck.worker.ask_to_stop();
    assert_eq!(stuck.worker.end().await, Some(0));
    let took = asked.elapsed();
    assert!(took < GRACE + CLOSING + SLACK, "{took:?}; log:\n{}", stuck.worker.log());
    front.amqp.set(Mode::Pass);
    stuck.goes_on_elsewhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_worker_at_once_and_loses_nothing() {
    let mut stuck = Stuck::start(World::new("twice").await).await;
    stuck.worker.ask_to_stop();
    stuck.worker.until("it drains", |w| w.log().contains("a second signal ends at once")).await;
    let asked = Instant::now();
    stuck.worker.ask_to_stop();
    assert_eq!(stuck.worker.end().await, Some(130));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    stuck.goes_on_elsewhere().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_a_silent_store_can_be_stopped_at_once() {
    let mut world = World::new("early").await;
    let front = Front::of(&mut world, NOTHING).await;
    front.s3.set(Mode::BlackHole);
    let mut worker = WorkerProcess::spawn(&world.flags());
    worker.until("it has begun", |w| w.log().contains("ops listener")).await;
    let asked = Instant::now();
    worker.ask_to_stop();
    assert_eq!(worker.end().await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}
