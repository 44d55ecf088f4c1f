//! What breaks, and what must be true afterwards.

use std::time::Duration;

use crate::process::WorkerProcess;
use crate::services::{PrivateClamd, free_port, testdata};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn without_clamd_there_is_no_verdict_and_with_it_again_there_is() {
    let mut world = World::new("noclamd").await;
    let clamd = PrivateClamd::start(&[]);
    world.set("clamd.addresses", format!("[\"{}\"]", clamd.address()));
    world.set("retry.tiers", "[\"500ms\"]");
    world.set("retry.attempts", "100");
    clamd.stop();
    let worker = WorkerProcess::spawn(&world.flags());
    worker.until("the queues are there", |w| w.log().contains("no work is taken")).await;
    world.submit("waits.jpg", testdata("clean/skizze.jpg"), None).await;
    // A file that identification alone refuses gets no verdict either: it might be malware.
    world.submit("random.jpg", testdata("refused/random.jpg"), None).await;
    world.no_notice(Duration::from_secs(2)).await;
    assert_eq!(world.versions("clean").await + world.versions("rejected").await, 0);
    assert_eq!(world.versions("quarantine").await, 2, "the sources stay");
    worker.until("the fault is told", |w| w.log().contains("clamd.unavailable")).await;
    let (status, body) = worker.get("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(worker.get("/livez").await.0, 200, "a dead scanner is no reason to restart the worker");

    clamd.again(&[]);
    let mut verdicts = [world.next_verdict().await, world.next_verdict().await];
    verdicts.sort_by_key(|v| v["verdict"].to_string());
    assert_eq!((&verdicts[0]["verdict"], &verdicts[1]["verdict"]), (&"clean".into(), &"rejected".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_stale_or_undated_signatures_no_work_is_taken() {
    for date in ["10 days ago", "none"] {
        let mut world = World::new("stale").await;
        let clamd = PrivateClamd::start(&[("SIG_DATE", date)]);
        world.set("clamd.addresses", format!("[\"{}\"]", clamd.address()));
        let worker = WorkerProcess::spawn(&world.flags());
        worker.until("the queues are there", |w| w.log().contains("no work is taken")).await;
        world.submit("eicar.txt", airlock::scanner::canary::eicar(), None).await;
        worker.until("it says why", |w| w.log().contains("signatures.stale")).await;
        let (status, body) = worker.get("/readyz").await;
        assert!(status == 503 && body.contains("signatures.stale"), "{body}");
        assert_eq!(world.versions("clean").await + world.versions("rejected").await, 0);
        assert_eq!(world.depth("work").await, 1, "the message waits and burns no attempt");

        // As freshclam does it.
        clamd.reload();
        assert_eq!(world.next_verdict().await["reasons"][0]["code"], "malware");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_job_leaves_the_same_end_state() {
    let mut world = World::new("kill").await;
    let files = ["clean/holiday-photo.jpg", "clean/cat.png", "clean/quarterly-report.pdf", "refused/random.jpg"];
    let mut worker = WorkerProcess::spawn(&world.flags());
    worker.until("it consumes", |w| w.log().contains("consuming")).await;
    for round in 0..4 {
        for (n, file) in files.iter().enumerate() {
            world.submit(&format!("{round}/{n}"), testdata(file), None).await;
        }
        // Somewhere in the middle of it: each round a little later.
        tokio::time::sleep(Duration::from_millis(15 * (round + 1))).await;
        worker.kill();
        worker = WorkerProcess::spawn(&world.flags());
    }
    let mut seen = std::collections::BTreeMap::new();
    // A source is deleted behind its notice, and a notice may come twice: both have to come to rest.
    let started = std::time::Instant::now();
    while seen.len() < 16 || world.versions("quarantine").await > 0 {
        assert!(started.elapsed() < Duration::from_mins(1), "{} of 16 verdicts; {}", seen.len(), worker.log());
        let Some(record) = world.verdict_within(Duration::from_millis(500)).await else { continue };
        let key = record["source"]["key"].as_str().expect("a key").to_owned();
        let id = record["id"].as_str().expect("an id").to_owned();
        assert_eq!(seen.entry(key.clone()).or_insert_with(|| id.clone()), &id, "duplicates of {key} carry one id");
    }
    assert_eq!(world.keys("clean").await.len(), 12);
    assert_eq!(world.keys("rejected").await.len(), 4);
    assert_eq!(world.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_finishes_what_it_has_begun() {
    let mut world = World::new("drain").await;
    let worker = world.worker().await;
    for n in 0..6 {
        world.submit(&format!("{n}.jpg"), testdata("clean/holiday-photo.jpg"), None).await;
    }
    let first = world.next_verdict().await;
    assert_eq!(first["verdict"], "clean");
    assert_eq!(worker.terminate().await, Some(0));
    let _second = world.worker().await;
    let mut keys = std::collections::BTreeSet::from([first["source"]["key"].to_string()]);
    while keys.len() < 6 {
        keys.insert(world.next_verdict().await["source"]["key"].to_string());
    }
    assert_eq!(world.versions("clean").await, 6, "nothing was done twice and nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_a_broker_and_a_store_that_are_not_there_yet() {
    let mut world = World::new("wait").await;
    world.set("s3.endpoint", format!("http://127.0.0.1:{}", free_port()));
    let worker = WorkerProcess::spawn(&world.flags());
    worker.until("it says what it waits for", |w| w.log().contains("does not answer yet")).await;
    assert_eq!(worker.get("/readyz").await.0, 503);
    assert_eq!(worker.terminate().await, Some(0));

    let mut world = World::new("wait").await;
    world.set("amqp.url", format!("amqp://127.0.0.1:{}", free_port()));
    let worker = WorkerProcess::spawn(&world.flags());
    worker.until("it says what it waits for", |w| w.log().contains("no session with the broker")).await;
    assert_eq!(worker.get("/readyz").await.0, 503);
    assert_eq!(worker.terminate().await, Some(0));
}
