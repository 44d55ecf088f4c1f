//! Everything a broker can do to a worker: afterwards it consumes again by itself, and nothing is lost or done twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::process::WorkerProcess;
use crate::services::{PrivateClamd, PrivateRabbit, testdata};
use crate::world::World;

/// The promise: consuming again so soon after the trouble is over.
const RESUME: Duration = Duration::from_mins(1);

/// A world on a broker of its own, with a worker.
struct Scene {
    rabbit: PrivateRabbit,
    world: World,
    worker: WorkerProcess,
    /// Uploads so far.
    uploads: usize,
}

impl Scene {
    async fn open(name: &str) -> Self {
        Self::with(name, &[]).await
    }

    async fn with(name: &str, settings: &[(&str, String)]) -> Self {
        let rabbit = PrivateRabbit::start();
        let mut world = World::on(name, &rabbit.url).await;
        world.set("retry.attempts", "2");
        for (key, value) in settings {
            world.set(key, value.as_str());
        }
        let worker = world.worker().await;
        Self { rabbit, world, worker, uploads: 0 }
    }

    async fn submit(&mut self) -> String {
        self.uploads += 1;
        let key = format!("{}.jpg", self.uploads);
        self.world.submit(&key, testdata("clean/skizze.jpg"), None).await;
        key
    }

    /// The trouble is over: an upload of now gets its verdict, and one of before too.
    async fn resumes(&mut self, trouble: &str) {
        let over = Instant::now();
        while self.worker.get("/readyz").await.0 != 200 {
            assert!(over.elapsed() < RESUME, "{trouble}: not ready again; log:\n{}", self.worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.world.reconnect().await;
        let key = self.submit().await;
        while self.world.keys("clean").await.iter().all(|clean| *clean != key) {
            assert!(over.elapsed() < RESUME, "{trouble}: not consuming again; log:\n{}", self.worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("broker: {trouble}: consuming again after {:.1} s", over.elapsed().as_secs_f32());
        self.world.until_judged().await;
        assert_eq!(self.world.versions("clean").await, self.uploads, "{trouble}: each upload once");
        assert_eq!(self.world.depth("dead").await, 0, "{trouble}: no dead letter");
        assert_eq!(self.worker.get("/readyz").await.0, 200, "{trouble}: ready again");
    }

    /// Not ready, for a reason that names what to look at.
    async fn not_ready(&self, because: &str) {
        let started = Instant::now();
        loop {
            let (status, body) = self.worker.get("/readyz").await;
            if status == 503 && body.contains(because) {
                return;
            }
            assert!(started.elapsed() < RESUME, "not ready because of {because}? {body}\n{}", self.worker.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_consumes_again_after_whatever_its_broker_does() {
    let mut scene = Scene::open("broker").await;
    let queue = format!("{}.work", scene.world.id);

    scene.rabbit.ctl(&["close_all_connections", "--global", "test"]);
    scene.resumes("all connections cut").await;

    scene.rabbit.ctl(&["delete_queue", &queue]);
    scene.not_ready("amqp").await;
    scene.resumes("queue deleted under the consumer").await;

    scene.rabbit.ctl(&["set_permissions", "guest", "", "", ""]);
    scene.rabbit.ctl(&["close_all_connections", "--global", "test"]);
    scene.not_ready("the broker refuses").await;
    scene.rabbit.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]);
    scene.resumes("permissions revoked").await;

    scene.rabbit.ctl(&["change_password", "guest", "another"]);
    scene.rabbit.ctl(&["close_all_connections", "--global", "test"]);
    scene.not_ready("the broker refuses").await;
    scene.rabbit.ctl(&["change_password", "guest", "guest"]);
    scene.resumes("wrong password").await;

    scene.rabbit.freeze(true);
    tokio::time::sleep(Duration::from_secs(25)).await;
    scene.rabbit.freeze(false);
    scene.resumes("black hole for 25 s").await;

    scene.rabbit.crash();
    scene.not_ready("amqp").await;
    scene.rabbit.again();
    scene.resumes("broker killed and started again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_accepts_no_messages_is_waited_for() {
    let clamd = PrivateClamd::start(&[]);
    let mut scene = Scene::with("blocked", &[("clamd.addresses", format!("[\"{}\"]", clamd.address()))]).await;
    // Taken before the alarm, to be published behind it.
    clamd.freeze(true);
    for _ in 0..8 {
        scene.submit().await;
    }
    scene.rabbit.ctl(&["set_vm_memory_high_watermark", "absolute", "1MiB"]);
    clamd.freeze(false);
    scene.not_ready("accepts no messages").await;
    // Longer than any answer of the broker is waited for.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let restarts = scene.worker.log().matches("no session with the broker").count();
    scene.rabbit.ctl(&["set_vm_memory_high_watermark", "0.6"]);
    scene.resumes("memory alarm for 15 s").await;
    assert_eq!(restarts, 0, "no session is given up for a broker that only asks to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_again_waits_for_its_running_job() {
    let rabbit = PrivateRabbit::start();
    // The check of acks that are late runs once a minute otherwise.
    rabbit.ctl(&[
        "eval",
        "application:set_env(rabbit,consumer_timeout,3000), application:set_env(rabbit,channel_tick_interval,1000).",
    ]);
    let mut world = World::on("late", &rabbit.url).await;
    let clamd = PrivateClamd::start(&[]);
    world.set("clamd.addresses", format!("[\"{}\"]", clamd.address()));
    world.set("retry.attempts", "1");
    let worker = world.worker().await;
    clamd.freeze(true);
    world.submit("slow.jpg", testdata("clean/skizze.jpg"), None).await;
    worker.until("the broker gives the message up", |w| w.log().contains("no session with the broker")).await;
    worker.until("it consumes again", |w| w.log().matches("consuming").count() > 1).await;
    // Long enough for the message to arrive again, too short for the next ack to be late.
    tokio::time::sleep(Duration::from_secs(1)).await;
    clamd.freeze(false);
    let ids: BTreeSet<String> = [world.next_verdict().await["id"].to_string()].into();
    world.until_judged().await;
    while let Some(again) = world.verdict_within(Duration::from_millis(500)).await {
        assert!(ids.contains(&again["id"].to_string()), "one upload, one verdict");
    }
    assert_eq!((world.versions("clean").await, world.depth("dead").await, world.depth("work").await), (1, 0, 0));
    assert!(worker.get("/metrics").await.1.contains("airlock_duplicates_total{where=\"single_flight\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn six_restarts_while_files_wait_condemn_none_of_them() {
    let clamd = PrivateClamd::start(&[]);
    let clamd_address = ("clamd.addresses", format!("[\"{}\"]", clamd.address()));
    let mut scene = Scene::with("restarts", &[clamd_address]).await;
    // Four are in flight all the time, the others are handed out again and again or wait in the queue.
    clamd.freeze(true);
    for _ in 0..6 {
        for _ in 0..5 {
            scene.submit().await;
        }
        scene.rabbit.crash();
        scene.rabbit.again();
        // The application itself has to come back before it can publish.
        scene.world.reconnect().await;
    }
    assert_eq!(scene.world.versions("clean").await, 0, "all of them have waited");
    clamd.freeze(false);
    scene.resumes("six restarts in a row").await;
}
