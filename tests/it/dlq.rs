//! The dead-letter commands on a real broker.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::flow::Mode;
use crate::gate::Protocol;
use crate::process::airlock;
use crate::proxy::Proxy;
use crate::services::{testdata, variable};
use crate::world::World;

/// The binary with a world's configuration, to its end.
pub fn airlock_in(world: &World, args: &[&str]) -> Output {
    airlock().args(args).args(world.flags()).output().expect("the binary runs")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

pub fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|l| serde_json::from_str(l).expect("JSON in every line")).collect()
}

/// A world with its queues, and nobody who works on them.
async fn world(name: &str) -> World {
    let world = World::new(name).await;
    let applied = airlock_in(&world, &["topology", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    world
}

/// A dead letter as a worker of some time ago made it.
async fn bury(world: &World, id: &str, body: &Value, code: &str, minutes_ago: i64) {
    let mut headers = FieldTable::default();
    let at = airlock::clock::rfc3339(airlock::clock::now() - 60 * minutes_ago);
    for (name, value) in [
        ("x-airlock-error-code", code),
        ("x-airlock-error-class", "transient"),
        ("x-airlock-error-message", "the store \u{1b}[2J does not answer"),
        ("x-airlock-stage", "fetch"),
        ("x-airlock-attempt", "3"),
        ("x-airlock-max-attempts", "3"),
        ("x-airlock-first-failed-at", "2026-01-02T03:04:05Z"),
        ("x-airlock-failed-at", at.as_str()),
        ("x-airlock-host", "worker-7"),
        ("x-airlock-version", "0.0.9"),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default().with_headers(headers).with_message_id(id.into());
    world.publish_to("dlx", "dead", body.to_string().as_bytes(), properties).await;
}

/// The message ids in a queue, which is empty afterwards.
async fn ids(world: &World, queue: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let name = format!("{}.{queue}", world.id);
    loop {
        let got = world.channel.basic_get(name.as_str().into(), BasicGetOptions { no_ack: true }).await;
        let Some(message) = got.expect("the queue is there") else { return ids };
        ids.push(message.delivery.properties.message_id().as_ref().expect("an id").to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_filtered_shown_and_discarded() {
    let world = world("dlq").await;
    let of = |key: &str, uploader: &str| {
        let mut event = world.event(key, None);
        event["uploader"] = json!(uploader);
        event
    };
    bury(&world, "one", &of("a.jpg", "alice"), "s3.unavailable", 5).await;
    bury(&world, "two", &of("b\u{202e}.jpg", "bob"), "s3.unavailable", 180).await;
    bury(&world, "three", &json!("nonsense"), "event.malformed", 5).await;

    let list = |filters: &[&str]| airlock_in(&world, &[&["dlq", "list", "--json"], filters].concat());
    let groups = json_lines(&list(&[]));
    let counts: Vec<_> = groups.iter().map(|g| (g["code"].as_str().unwrap(), g["count"].as_u64().unwrap())).collect();
    assert_eq!(counts, [("event.malformed", 1), ("s3.unavailable", 2)]);
    assert_eq!(groups[1]["routes"], json!(["default"]));
    assert!(groups[1]["oldest"].as_str() < groups[1]["newest"].as_str());
    let table = stdout(&airlock_in(&world, &["dlq", "list"]));
    assert!(table.contains("s3.unavailable") && table.contains("default"), "{table}");

    let matching = |filters: &[&str]| -> Vec<String> {
        // The broker does not keep the order of what was given back.
        let lines = json_lines(&list(&[&["--each"], filters].concat()));
        let mut ids: Vec<String> = lines.iter().map(|l| l["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(matching(&["--code", "s3.unavailable"]), ["one", "two"]);
    assert_eq!(matching(&["--code", "s3.unavailable", "--code", "event.malformed"]), ["one", "three", "two"]);
    assert_eq!(matching(&["--code", "s3.unavailable", "--limit", "1"]).len(), 1);
    assert_eq!(matching(&["--route", "default", "--older-than", "1h"]), ["two"]);
    assert_eq!(matching(&["--newer-than", "1h"]), ["one", "three"]);
    assert_eq!(matching(&["--uploader", "bob"]), ["two"]);
    assert_eq!(matching(&["three", "two", "--older-than", "1m"]), ["three", "two"]);
    assert_eq!(list(&["--route", "nowhere"]).status.code(), Some(64));
    assert_eq!(list(&["--older-than", "yesterday"]).status.code(), Some(64));

    let shown = stdout(&airlock_in(&world, &["dlq", "show", "two"]));
    for part in [
        "s3.unavailable",
        "the store \\u{1b}[2J does not answer",
        "3 of 3, transient",
        "fetch",
        "2026-01-02T03:04:05Z",
        "worker-7, version 0.0.9",
        "bob",
        "The detail names request and cause.",
        "airlock.upload.v1",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    let shown = &json_lines(&airlock_in(&world, &["dlq", "show", "--json", "--code", "event.malformed"]))[0];
    assert_eq!((&shown["id"], &shown["attempt"], &shown["body"]), (&json!("three"), &json!(3), &json!("\"nonsense\"")));
    assert!(shown["helps"].as_str().is_some_and(|h| h.starts_with("Fix the publisher.")), "{shown}");
    assert_eq!(airlock_in(&world, &["dlq", "show", "four"]).status.code(), Some(1));

    let discard = |args: &[&str]| airlock_in(&world, &[&["dlq", "discard", "--code", "s3.unavailable"], args].concat());
    assert_eq!(discard(&[]).status.code(), Some(64), "not without a word");
    let dry = discard(&["--dry-run"]);
    assert_eq!(stdout(&dry).matches("would be discarded").count(), 2, "{}", stdout(&dry));
    world.until_depth("dead", 3).await;
    let done = discard(&["--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert_eq!(stderr(&done).matches("event=\"discarded\"").count(), 2, "{}", stderr(&done));
    assert_eq!(discard(&["--yes"]).status.code(), Some(1));
    assert_eq!((ids(&world, "dead").await, world.depth("work").await), (vec!["three".to_owned()], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_message_fails_with_its_history_or_gets_its_verdict() {
    let mut world = World::new("redrive").await;
    let _worker = world.worker().await;
    world.publish_raw(world.event("late.jpg", None).to_string().as_bytes(), "late").await;
    let show = |world: &World| json_lines(&airlock_in(world, &["dlq", "show", "late", "--json"]))[0].clone();
    assert_eq!(world.next_notice().await.0, "fault.default");
    world.until_depth("dead", 1).await;
    let first = show(&world);
    assert_eq!((&first["attempt"], &first["redriven"]), (&json!(3), &json!(0)));
    let origin = json!({"exchange": format!("{}.events", world.id), "routing_key": "test",
                        "queue": format!("{}.work", world.id)});
    assert_eq!(first["origin"], origin, "how it came at first, and not how it came back from a wait queue");
    assert!(first["first_failed_at"].as_str() <= first["failed_at"].as_str());
    assert!(first["host"].as_str().is_some_and(|h| !h.is_empty()) && first["version"] == env!("CARGO_PKG_VERSION"));

    // The cause is still there: all attempts again, one more dead letter, and the history is kept.
    let redriven = airlock_in(&world, &["dlq", "redrive", "--code", "source.missing", "--json"]);
    assert_eq!(redriven.status.code(), Some(0), "{}", stderr(&redriven));
    assert_eq!(json_lines(&redriven)[0]["action"], "redriven");
    assert!(stderr(&redriven).contains("event=\"redriven\""), "{}", stderr(&redriven));
    assert_eq!(world.next_notice().await.0, "fault.default");
    world.until_depth("dead", 1).await;
    let second = show(&world);
    assert_eq!((&second["attempt"], &second["redriven"]), (&json!(3), &json!(1)));
    assert_eq!((&second["first_failed_at"], &second["origin"]), (&first["first_failed_at"], &origin));
    assert!(second["redriven_at"].is_string());

    world.upload("late.jpg", testdata("clean/skizze.jpg"), None).await;
    assert_eq!(airlock_in(&world, &["dlq", "redrive"]).status.code(), Some(0));
    let verdict = world.next_verdict().await;
    assert_eq!((&verdict["verdict"], &verdict["attempt"]), (&json!("clean"), &json!(1)));
    assert_eq!((world.depth("dead").await, world.depth("work").await), (0, 0));
    assert_eq!(airlock_in(&world, &["dlq", "redrive"]).status.code(), Some(1), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn redriving_keeps_to_its_limit_and_its_rate() {
    let world = world("rate").await;
    for n in 0..10 {
        bury(&world, &format!("m{n}"), &json!({}), if n == 0 { "internal" } else { "s3.unavailable" }, 1).await;
    }
    let dry = airlock_in(&world, &["dlq", "redrive", "--dry-run", "--code", "s3.unavailable"]);
    assert_eq!(stdout(&dry).lines().count(), 9, "{}", stdout(&dry));
    world.until_depth("dead", 10).await;
    assert_eq!(world.depth("work").await, 0);
    let started = Instant::now();
    let args = ["dlq", "redrive", "--limit", "6", "--rate", "10/s", "--code", "s3.unavailable"];
    let redriven = airlock_in(&world, &args);
    assert_eq!(redriven.status.code(), Some(0), "{}", stderr(&redriven));
    assert!(started.elapsed() >= Duration::from_millis(500), "six at ten in a second");
    let (work, dead) = (ids(&world, "work").await, ids(&world, "dead").await);
    assert_eq!((work.len(), dead.len()), (6, 4));
    assert!(dead.contains(&"m0".to_owned()), "what does not match is given back");
    assert_eq!(work.into_iter().chain(dead).collect::<BTreeSet<_>>().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_interrupted_or_cut_off_loses_nothing() {
    let mut world = world("killed").await;
    let all: BTreeSet<String> = (0..100).map(|n| format!("m{n}")).collect();
    for id in &all {
        bury(&world, id, &json!({}), "s3.unavailable", 1).await;
    }
    let url = variable("AIRLOCK_TEST_AMQP");
    for (end, exit) in [("killed", None), ("interrupted", Some(130)), ("cut off", Some(2))] {
        let before = world.depth("work").await;
        let line = Proxy::start(Protocol::Opaque, url.rsplit_once('@').expect("a user in the URL").1).await;
        world.set("amqp.url", format!("amqp://guest:guest@{}", line.address()));
        let mut command = airlock();
        command.args(["dlq", "redrive", "--rate", "200/s"]).args(world.flags()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary runs");
        while world.depth("work").await < before + 15 {
            assert!(child.try_wait().expect("a child").is_none(), "it ended before it was interrupted");
        }
        match end {
            "killed" => child.kill().expect("the signal"),
            "interrupted" => {
                let pid = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the signal");
            }
            _ => line.set(Mode::Drop),
        }
        assert_eq!(child.wait().expect("the end").code(), exit, "{end}");
    }
    // The broker takes back what the killed one held as soon as it notices that it is gone.
    let started = Instant::now();
    while world.depth("work").await + world.depth("dead").await < 100 {
        assert!(started.elapsed() < Duration::from_secs(30), "messages are lost");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (work, dead) = (ids(&world, "work").await, ids(&world, "dead").await);
    assert!(work.len() >= 45 && dead.len() >= 10, "{} and {}", work.len(), dead.len());
    let twice = work.len() + dead.len() - 100;
    assert!(twice <= 2, "at most the message at hand is there twice, each time: {twice}");
    assert_eq!(work.into_iter().chain(dead).collect::<BTreeSet<_>>(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_the_broker_is_understood_and_redriven() {
    let world = World::new("broker").await;
    crate::topology::import(&world, |definitions| {
        definitions["policies"][0]["definition"]["delivery-limit"] = json!(1);
    });
    // What a broken or a hostile publisher might send along must neither multiply the message nor let it vanish.
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("work".into())].into()));
    headers.insert("ce-note".into(), AMQPValue::LongString("kept".into()));
    let properties =
        BasicProperties::default().with_message_id("crashes".into()).with_headers(headers).with_user_id("guest".into());
    let body = world.event("c.jpg", None).to_string();
    world.publish_to("events", "upload", body.as_bytes(), properties).await;
    let work = format!("{}.work", world.id);
    for _ in 0..2 {
        let got = world.channel.basic_get(work.as_str().into(), BasicGetOptions::default()).await.expect("a get");
        let back = BasicNackOptions { multiple: false, requeue: true };
        got.expect("the message").delivery.acker.nack(back).await.expect("a nack");
    }
    world.until_depth("dead", 1).await;
    let groups = json_lines(&airlock_in(&world, &["dlq", "list", "--json"]));
    assert_eq!(groups[0]["code"], "broker:delivery_limit");
    assert!(groups[0]["oldest"].is_string(), "{groups:?}");
    let shown = stdout(&airlock_in(&world, &["dlq", "show", "--code", "broker:delivery_limit", "--newer-than", "1h"]));
    let origin = format!("exchange {0}.events, key upload, queue {0}.work", world.id);
    for part in ["crashes", origin.as_str(), "with a worker under watch", "c.jpg"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }

    let redriven = airlock_in(&world, &["dlq", "redrive", "crashes"]);
    assert_eq!(redriven.status.code(), Some(0), "{}", stderr(&redriven));
    assert_eq!((world.depth("work").await, world.depth("dead").await), (1, 0), "once, and not once for CC");
    let got = world.channel.basic_get(work.as_str().into(), BasicGetOptions { no_ack: true }).await.expect("a get");
    let headers = got.expect("the message").delivery.properties.headers().clone().expect("headers");
    let names: Vec<&str> = headers.inner().keys().map(lapin::types::ShortString::as_str).collect();
    assert!(names.contains(&"ce-note") && names.contains(&"x-airlock-redriven"), "{names:?}");
    assert!(!names.contains(&"x-death") && !names.contains(&"CC"), "{names:?}");
}
