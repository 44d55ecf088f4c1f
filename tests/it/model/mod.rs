//! The promises of `docs/guarantees.md` against a reference model: uploads and messages from a seed (duplicates, several
//! records in one message, poison, what is missing, what nobody announces), several workers, and a troublemaker who kills
//! workers, takes away each dependency and loses single requests. Afterwards every upload is in exactly one place, that
//! of the model.
//!
//! The other tests run a short round of it. A long run is rounds of new seeds, until the time is over:
//!
//! ```text
//! AIRLOCK_MODEL_EVENTS=10000 AIRLOCK_MODEL_MINUTES=30 scripts/test --test it -- model --nocapture
//! AIRLOCK_MODEL_SEED=7 ...     begins with this seed; what is done is the same then, when it happens is not
//! ```

mod chaos;
mod end;
mod plan;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::chaos::Chaos;
use self::end::End;
use self::plan::{Plan, Step};
use crate::dlq::{airlock_in, json_lines, stderr};
use crate::front::Front;
use crate::gate::Protocol;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::services::clamd;
use crate::world::World;

/// What a dead letter of an upload that is fine may be called when an outage has used up its attempts; the operator
/// sends it back, and so does this test.
const TRANSIENT: [&str; 8] = [
    "s3.unavailable",
    "clamd.unavailable",
    "clamd.busy",
    "clamd.protocol",
    "deadline.exceeded",
    "broker.unavailable",
    "crash_loop",
    "store.conflict",
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_every_upload_ends_as_the_model_says() {
    let now = u64::try_from(airlock::clock::now()).expect("a time after 1970");
    let (events, minutes) = (setting("AIRLOCK_MODEL_EVENTS", 500), setting("AIRLOCK_MODEL_MINUTES", 0));
    let mut seed = setting("AIRLOCK_MODEL_SEED", now);
    let started = Instant::now();
    loop {
        round(seed, usize::try_from(events).expect("a number")).await;
        seed += 1;
        if started.elapsed() >= Duration::from_secs(60 * minutes) {
            return;
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: no number")))
}

/// One world from its beginning to its end.
async fn round(seed: u64, events: usize) {
    println!("model: AIRLOCK_MODEL_SEED={seed}, {events} events");
    let started = Instant::now();
    let (plan, mut world) = (Plan::of(&mut Random::new(seed), events), World::new("model").await);
    let front = Front::of(&mut world, crate::front::NOTHING).await;
    let scanner = Proxy::start(Protocol::Opaque, clamd().trim_start_matches("tcp://")).await;
    world.set("scan.engines", "[\"clamd\"]");
    world.set("clamd.addresses", format!("[\"tcp://{}\"]", scanner.address()));
    world.set("clamd.timeout", "3s");
    world.set("s3.timeout", "2s");
    world.set("retry.attempts", "8");

    let mut chaos = Chaos::new(&world, &front, &scanner, Random::new(!seed)).await;
    let mut acting = Box::pin(act(&world, &plan));
    let (versions, poison) = loop {
        tokio::select! {
            done = &mut acting => break done,
            () = chaos.disturb() => {}
        }
    };
    drop(acting);
    while work(&world).await > 20 {
        chaos.disturb().await;
    }
    chaos.calm().await;
    let calm = started.elapsed();
    let redriven = settle(&world).await;
    let (workers, done) = (chaos.workers, chaos.done);
    world.rest(workers).await;
    let end = End::of(&mut world).await;
    println!("model: {} uploads, {}", plan.uploads.len(), end.summary());
    println!(
        "model: disturbed for {calm:.0?} of {:.0?}, {redriven} dead letters sent back: {done:?}",
        started.elapsed()
    );
    let wrongs = end.wrongs(&plan, &versions, &poison);
    assert!(wrongs.is_empty(), "AIRLOCK_MODEL_SEED={seed}, {events} events: {wrongs:#?}");
}

/// Uploads and publishes as planned; the versions of the uploads, and the poison by message id.
async fn act<'a>(world: &World, plan: &'a Plan) -> (Vec<String>, BTreeMap<String, &'a str>) {
    let (mut versions, mut poison) = (Vec::new(), BTreeMap::new());
    for step in &plan.steps {
        match step {
            Step::Put(nth) => {
                let upload = &plan.uploads[*nth];
                versions.push(world.upload(&upload.key, upload.bytes.clone(), None).await);
            }
            Step::Delete(nth) => world.delete(&plan.uploads[*nth].key, Some(&versions[*nth])).await,
            Step::Announce(nth) => {
                let mut event = world.event(&plan.uploads[*nth].key, Some(&versions[*nth]));
                event["uploader"] = plan.uploads[*nth].uploader.as_str().into();
                world.publish(&event).await;
            }
            Step::Notify(all) => {
                let records = all.iter().map(|nth| record(world, &plan.uploads[*nth].key, &versions[*nth]));
                world.publish(&json!({"Records": records.collect::<Vec<_>>()})).await;
            }
            Step::Poison(body, code) => {
                let id = uuid::Uuid::new_v4().to_string();
                world.publish_raw(body.as_bytes(), &id).await;
                poison.insert(id, *code);
            }
        }
    }
    (versions, poison)
}

/// One record of a notification, as the Ceph gateway writes them.
fn record(world: &World, key: &str, version: &str) -> Value {
    json!({
        "eventSource": "ceph:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": world.bucket("quarantine")}, "object": {"key": key, "versionId": version}},
    })
}

/// Messages that are not done with.
async fn work(world: &World) -> u32 {
    world.depth("work").await + world.waiting().await
}

/// Everything works again: dead letters of outages are sent back, and the reconciler looks after what nobody has
/// announced or deleted, until nothing is left. Says how many letters were sent back.
async fn settle(world: &World) -> usize {
    let codes: Vec<&str> = TRANSIENT.iter().flat_map(|code| ["--code", code]).collect();
    let (started, mut redriven) = (Instant::now(), 0);
    loop {
        while work(world).await > 0 {
            assert!(started.elapsed() < Duration::from_mins(20), "work is left, and nobody does it");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let sent = airlock_in(world, &[&["dlq", "redrive", "--json"], codes.as_slice()].concat());
        // 1: there is none.
        assert!(matches!(sent.status.code(), Some(0 | 1)), "{}", stderr(&sent));
        let found = airlock_in(world, &["reconcile", "--json", "--older-than", "0s", "--rate", "1000/s"]);
        assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
        let (sent, findings) = (json_lines(&sent).len(), json_lines(&found).len() - 1);
        redriven += sent;
        if sent + findings == 0 {
            return redriven;
        }
        // Before the reconciler speaks of an upload again, those that have its message have to be given the time.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
