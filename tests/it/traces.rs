//! What a message carries along: its trace, through retries, dead letters, parts and the bulk queue into what is told
//! about it; and, once it is known, which upload it is about.

use std::collections::{BTreeMap, BTreeSet};

use airlock::object::{Bucket, ObjectKey, SourceId, VersionId};
use airlock::trace::TraceContext;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::dlq::{airlock_in, stderr, stdout};
use crate::front::{Front, NOTHING};
use crate::gate::Act;
use crate::process::WorkerProcess;
use crate::services::testdata;
use crate::settled::Upload;
use crate::world::World;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE";

/// Publishes an event as a part of a trace.
async fn publish(world: &World, event: &Value, parent: &str) {
    let mut headers = FieldTable::default();
    for (name, value) in [("traceparent", parent), ("tracestate", STATE)] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default().with_headers(headers).with_message_id("traced".into());
    world.publish_to("events", "test", event.to_string().as_bytes(), properties).await;
}

/// Asserts that a notice goes on with the trace, in its headers and in itself; returns its span.
fn span(headers: &BTreeMap<String, String>, event: &Value) -> String {
    let parent = headers.get("traceparent").unwrap_or_else(|| panic!("no trace in {headers:?}"));
    let ours = TraceContext::of(headers).expect("a trace that may be continued");
    assert_eq!((ours.trace_id(), ours.tracestate()), (TRACE, Some(STATE)));
    assert!(parent.ends_with("-01") && *parent != PARENT, "a span of our own: {parent}");
    assert_eq!((&event["traceparent"], &event["tracestate"]), (&json!(parent), &json!(STATE)));
    parent.clone()
}

/// The lines of a log in JSON.
fn lines(worker: &WorkerProcess) -> Vec<Value> {
    worker.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_and_the_log_go_on_with_the_trace_of_their_message() {
    let mut world = World::new("trace").await;
    world.set("log.format", "json");
    let worker = world.worker().await;
    let upload = world.put("a.jpg", testdata("refused/random.jpg")).await;
    publish(&world, &world.event("a.jpg", Some(&upload.version)), PARENT).await;
    let (key, headers, event) = world.next_notice_whole().await;
    assert_eq!(key, "rejected.default");
    span(&headers, &event);
    let told = |line: &Value| line["verdict"] == "rejected" && line["span"]["trace_id"] == TRACE;
    worker.until("the log tells the verdict with its trace", |w| lines(w).iter().any(told)).await;
    // The record says nothing of traces: it is the same for everybody who asks.
    let record = world.get("ledger", &format!("verdicts/{}.json", event["data"]["source_id"].as_str().unwrap())).await;
    assert!(!String::from_utf8_lossy(&record).contains(TRACE));
    // The next message has none, and gets none.
    world.submit("b.jpg", testdata("clean/skizze.jpg"), None).await;
    let (_, headers, event) = world.next_notice_whole().await;
    assert_eq!((headers.get("traceparent"), &event["traceparent"]), (None, &Value::Null));
    let told = |line: &Value| line["verdict"] == "clean" && line["span"].is_null();
    worker.until("the log tells the other verdict without", |w| lines(w).iter().any(told)).await;
    // One that is not written as it has to be is not taken up, and stops nobody.
    let version = world.upload("c.jpg", testdata("clean/skizze.jpg"), None).await;
    publish(&world, &world.event("c.jpg", Some(&version)), &PARENT.to_uppercase()).await;
    let (_, headers, _) = world.next_notice_whole().await;
    assert_eq!((headers.get("traceparent"), headers.get("tracestate")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_retried_and_dies_keeps_its_trace_and_so_does_its_fault() {
    let mut world = World::new("tracedead").await;
    let worker = world.worker().await;
    publish(&world, &world.event("no/such.jpg", None), PARENT).await;
    let (headers, _) = world.next_dead().await;
    assert_eq!(headers["x-airlock-attempt"], "3", "it went through two wait queues");
    assert_eq!((headers["traceparent"].as_str(), headers["tracestate"].as_str()), (PARENT, STATE), "unchanged");
    let (key, headers, event) = world.next_notice_whole().await;
    assert_eq!(key, "fault.default");
    span(&headers, &event);
    let field = format!("trace_id=\"{TRACE}\"");
    let told =
        |w: &WorkerProcess, what: &str| w.log().lines().filter(|l| l.contains(&field) && l.contains(what)).count();
    worker.until("the log tells of each attempt", |w| told(w, "of 3 failed") == 2).await;
    worker.until("and of the end", |w| told(w, "dead-letter queue") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_message_are_of_one_trace() {
    let mut world = World::new("traceparts").await;
    let _worker = world.worker().await;
    let mut records = Vec::new();
    for key in ["1.jpg", "2.jpg", "3.jpg"] {
        let version = world.upload(key, testdata("clean/skizze.jpg"), None).await;
        records.push(json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
            "bucket": {"name": world.bucket("quarantine")}, "object": {"key": key, "versionId": version}}}));
    }
    publish(&world, &json!({ "Records": records }), PARENT).await;
    let mut spans = BTreeSet::new();
    for _ in 0..3 {
        let (_, headers, event) = world.next_notice_whole().await;
        spans.insert(span(&headers, &event));
    }
    assert_eq!(spans.len(), 3, "each part is a span of its own: {spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_in_the_bulk_queue_keeps_its_trace() {
    let mut world = World::new("tracebulk").await;
    let front = Front::of(&mut world, NOTHING).await;
    world.set("limits.jobs", "2");
    world.set("limits.per_uploader", "1");
    let worker = world.worker().await;
    let step = format!("GET /quarantine-{}/first.jpg", world.id);
    let mut gate = front.at(&step).gate(&step, Act::HoldRequest);
    let announce = async |key: &str, parent: Option<&str>| {
        let version = world.upload(key, testdata("clean/skizze.jpg"), None).await;
        let mut event = world.event(key, Some(&version));
        event["uploader"] = json!("alice");
        match parent {
            Some(parent) => publish(&world, &event, parent).await,
            None => world.publish(&event).await,
        }
    };
    announce("first.jpg", None).await;
    let held = gate.reached().await;
    announce("second.jpg", Some(PARENT)).await;
    let (_, headers, event) = world.next_notice_whole().await;
    assert_eq!(event["data"]["source"]["key"], "second.jpg");
    span(&headers, &event);
    let (_, metrics) = worker.get("/metrics").await;
    assert!(metrics.contains("airlock_moved_to_bulk_total 1"), "it went through the bulk queue: {metrics}");
    held.go_on();
    assert_eq!(world.next_verdict().await["source"]["key"], "first.jpg");
}

/// The id of an upload of this world.
fn source_id(world: &World, upload: &Upload) -> String {
    let bucket = Bucket::new(world.bucket("quarantine")).expect("a bucket");
    let key = ObjectKey::new(upload.key.clone()).expect("a key");
    let version = VersionId::parse(Some(&upload.version)).expect("a version");
    SourceId::compute(&bucket, &key, Some(&version), None, 0).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_names_the_upload_that_its_event_names() {
    let mut world = World::new("named").await;
    let _worker = world.worker().await;
    let upload = world.put("gone.jpg", testdata("clean/skizze.jpg")).await;
    world.delete(&upload.key, Some(&upload.version)).await;
    world.announce(&upload).await;
    assert_eq!(world.next_notice().await.0, "fault.default");
    world.until_depth("dead", 1).await;
    let shown = airlock_in(&world, &["dlq", "show"]);
    let id = source_id(&world, &upload);
    assert!(stdout(&shown).contains(&format!("source id      {id}")), "{}{}", stdout(&shown), stderr(&shown));
    let (headers, _) = world.next_dead().await;
    assert_eq!(headers["x-airlock-source-id"], id);
    // Whoever was never asked about an object does not know which upload it is.
    world.publish(&world.event("never.jpg", None)).await;
    let (headers, _) = world.next_dead().await;
    assert_eq!(headers.get("x-airlock-source-id"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_names_the_upload_that_the_store_has_shown_and_a_later_failure_does_not_forget_it() {
    let mut world = World::new("found").await;
    let front = Front::of(&mut world, NOTHING).await;
    let image = ("limits.image_deadline", "1s");
    for (key, value) in [("clamd.timeout", "1s"), ("s3.timeout", "1s"), image, ("limits.job_deadline", "2s")] {
        world.set(key, value);
    }
    world.set("retry.attempts", "2");
    let worker = world.worker().await;
    let upload = world.put("slow.jpg", testdata("clean/skizze.jpg")).await;
    let step = format!("HEAD /clean-{}/slow.jpg", world.id);
    // However often the client tries again.
    let mut gates: Vec<_> = (0..5).map(|_| front.at(&step).gate(&step, Act::HoldRequest)).collect();
    world.publish(&world.event("slow.jpg", None)).await;
    let _held = gates[0].reached().await;
    // The job is cut short, and what it knew has to survive that; the next one finds no object and knows nothing.
    world.delete(&upload.key, Some(&upload.version)).await;
    let (headers, _) = world.next_dead().await;
    assert!(worker.log().contains("deadline.exceeded"), "{}", worker.log());
    assert_eq!(headers["x-airlock-error-code"], "source.missing", "{}", worker.log());
    assert_eq!(headers["x-airlock-source-id"], source_id(&world, &upload));
}
