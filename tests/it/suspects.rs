//! Whose fault it is: messages that end workers are found out, and the victims of outages are not condemned.

use std::time::Duration;

use crate::flow::Mode;
use crate::front::{Front, NOTHING};
use crate::gate::Act;
use crate::process::WorkerProcess;
use crate::services::testdata;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_every_worker_is_dead_after_three_runs_alone() {
    let mut world = World::new("loop").await;
    let front = Front::of(&mut world, NOTHING).await;
    let step = format!("GET /quarantine-{}/deadly.jpg", world.id);
    world.set("limits.jobs", "1");
    let prepare = world.worker().await;
    drop(prepare);
    world.submit("deadly.jpg", testdata("clean/skizze.jpg"), None).await;
    let mut deaths = 0;
    loop {
        let mut gate = front.at(&step).gate(&step, Act::HoldRequest);
        let mut worker = WorkerProcess::spawn(&world.flags());
        let held = tokio::select! {
            held = gate.reached() => held,
            (headers, _) = world.next_dead() => {
                assert_eq!(headers["x-airlock-error-code"], "crash_loop", "{headers:?}");
                // Three deliveries may be anybody's accident, three runs alone are not.
                assert_eq!(deaths, 6);
                break;
            }
        };
        deaths += 1;
        assert!(deaths < 10, "it goes on for ever: {}", worker.log());
        worker.kill();
        drop(held);
    }
    let _worker = world.worker().await;
    world.submit("harmless.jpg", testdata("clean/skizze.jpg"), None).await;
    loop {
        let (key, event) = world.next_notice().await;
        match key.as_str() {
            "fault.default" => assert_eq!(event["data"]["code"], "crash_loop"),
            _ => break assert_eq!(event["data"]["source"]["key"], "harmless.jpg"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_costs_only_those_it_meets() {
    let mut world = World::new("circuit").await;
    let front = Front::of(&mut world, NOTHING).await;
    world.set("retry.attempts", "2");
    let worker = world.worker().await;
    front.s3.set(Mode::Refuse);
    // Straight to the store: the application has no proxy.
    for n in 0..30 {
        world.submit(&format!("{n}.jpg"), testdata("clean/skizze.jpg"), None).await;
    }
    worker.until("the circuit opens", |w| w.log().contains("no work is taken: s3")).await;
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains("s3.unavailable"), "{body}");
    assert_eq!(worker.get("/livez").await.0, 200);
    // Whatever was in flight has had its second attempt meanwhile, if anything had one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.depth("work").await >= 20, "most have not been tried");
    front.s3.set(Mode::Pass);
    for _ in 0..30 {
        assert_eq!(world.next_verdict().await["verdict"], "clean");
    }
    assert_eq!(world.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_hears_verdicts_no_work_is_taken_and_none_is_lost() {
    let mut world = World::new("unheard").await;
    let _front = Front::of(&mut world, NOTHING).await;
    world.set("retry.attempts", "1");
    let worker = world.worker().await;
    world.listen(false).await;
    for n in 0..5 {
        world.submit(&format!("{n}.jpg"), testdata("clean/skizze.jpg"), None).await;
    }
    worker.until("it says so", |w| w.log().contains("no work is taken: verdicts: no queue is bound")).await;
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains("for key clean.default"), "{body}");
    assert_eq!(worker.terminate().await, Some(0), "a worker that waits can be stopped");
    let _worker = WorkerProcess::spawn(&world.flags());
    world.listen(true).await;
    let mut keys = std::collections::BTreeSet::new();
    while keys.len() < 5 {
        keys.insert(world.next_verdict().await["source"]["key"].to_string());
    }
    assert_eq!(world.depth("dead").await, 0, "an outage burns no attempt");
}
