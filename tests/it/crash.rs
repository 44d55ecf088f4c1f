//! The crash table of `src/pipeline/promote.rs`, on real services and with a real worker: at each step of a job, what
//! the worker asked for is lost, or the answer is, or the worker is killed before or behind it. However it goes, the
//! end is the same as without.

use futures_util::FutureExt;

use crate::cases::run;
use crate::front::{Front, JPEGS, NOTHING};
use crate::gate::Act;
use crate::services::testdata;
use crate::world::World;

/// A file, and where it ends.
const CLEAN: (&str, &str) = ("clean/skizze.jpg", "clean");
const REJECTED: (&str, &str) = ("refused/random.jpg", "rejected");

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    RequestLost,
    AnswerLost,
    /// As often as the S3 client tries: the attempt at the job fails.
    EveryAnswerLost,
    KilledBefore,
    KilledBehind,
}

use Trouble::{AnswerLost, EveryAnswerLost, KilledBefore, KilledBehind, RequestLost};

/// What the event names.
#[derive(Debug, Clone, Copy)]
enum Event {
    OfVersion,
    OfKey,
}

/// For what the S3 client asks again.
const S3: [Trouble; 5] = [RequestLost, AnswerLost, EveryAnswerLost, KilledBefore, KilledBehind];
/// For what is asked only once: publishing, settling, and the put that is looked for before it is repeated.
const ONCE: [Trouble; 4] = [RequestLost, AnswerLost, KilledBefore, KilledBehind];

#[tokio::test(flavor = "multi_thread")]
async fn at_get_source() {
    each("GET /quarantine-{id}/the/file", &S3, &[CLEAN, REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_head_clean() {
    each("HEAD /clean-{id}/the/file", &S3, &[CLEAN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_put_clean() {
    each("PUT /clean-{id}/the/file", &ONCE, &[CLEAN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_put_rejected() {
    each("PUT /rejected-{id}/the/file", &S3, &[REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_put_record() {
    each("PUT /ledger-{id}/verdicts/", &S3, &[CLEAN, REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_publish_verdict() {
    each("publish {id}.verdicts", &ONCE, &[CLEAN, REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_delete_source() {
    each("DELETE /quarantine-{id}/the/file", &S3, &[CLEAN, REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_ack() {
    each("ack", &ONCE, &[CLEAN, REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_of_an_event_without_a_version() {
    let steps = [
        "GET /quarantine-{id}/the/file",
        "PUT /ledger-{id}/verdicts/",
        "PUT /ledger-{id}/latest/",
        "publish {id}.verdicts",
        "DELETE /quarantine-{id}/the/file",
        "ack",
    ];
    let cases = steps.into_iter().flat_map(|step| {
        ONCE.map(|trouble| {
            (format!("{step}, {trouble:?}"), case(step, trouble, CLEAN.0, CLEAN.1, Event::OfKey).boxed())
        })
    });
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_judgement_that_rejects_takes_back_what_the_first_has_put() {
    let mut world = World::new("second").await;
    let front = Front::of(&mut world, NOTHING).await;
    let mut worker = world.worker().await;
    let mut gate = front.s3.gate(&format!("PUT /clean-{}/the/file", world.id), Act::HoldAnswer);
    let upload = world.put("the/file", testdata(CLEAN.0)).await;
    world.announce(&upload).await;
    let held = gate.reached().await;
    worker.kill();
    drop(held);
    // The next one has newer rules.
    let _front = Front::of(&mut world, JPEGS).await;
    let worker = world.worker().await;
    world.rest(vec![worker]).await;
    let notices = world.notices().await;
    assert_eq!(world.wrongs(&upload, "rejected", &notices).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_split_only_in_part_when_trouble_comes_loses_no_part() {
    let publishes = (1..=3).flat_map(|nth| ONCE.map(|trouble| ("publish {id}.jobs", nth, trouble)));
    let acks = ONCE.map(|trouble| ("ack", 1, trouble));
    let cases = publishes
        .chain(acks)
        .map(|(step, nth, trouble)| (format!("{step}, {nth}, {trouble:?}"), split(step, nth, trouble).boxed()));
    run(cases).await;
}

/// Three uploads in one message, with one trouble at the nth passage of a step; what is wrong at the end.
async fn split(step: &str, nth: usize, trouble: Trouble) -> Vec<String> {
    let mut world = World::new("split").await;
    let front = Front::of(&mut world, NOTHING).await;
    let mut worker = world.worker().await;
    let mut gate = front.amqp.nth_gate(&step.replace("{id}", &world.id), nth, act(trouble));
    let (mut uploads, mut records) = (Vec::new(), Vec::new());
    for key in ["r/1.jpg", "r/2.jpg", "r/3.jpg"] {
        let upload = world.put(key, testdata(CLEAN.0)).await;
        records.push(serde_json::json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
            "bucket": {"name": world.bucket("quarantine")}, "object": {"key": key, "versionId": upload.version}}}));
        uploads.push(upload);
    }
    world.publish(&serde_json::json!({ "Records": records })).await;
    let held = gate.reached().await;
    if let KilledBefore | KilledBehind = trouble {
        worker.kill();
        drop(held);
        worker = world.worker().await;
    }
    world.rest(vec![worker]).await;
    let notices = world.notices().await;
    let mut wrongs = Vec::new();
    for upload in &uploads {
        wrongs.extend(world.wrongs(upload, CLEAN.1, &notices).await);
    }
    wrongs
}

/// What a gate does for this trouble.
fn act(trouble: Trouble) -> Act {
    match trouble {
        RequestLost => Act::LoseRequest,
        AnswerLost | EveryAnswerLost => Act::LoseAnswer,
        KilledBefore => Act::HoldRequest,
        KilledBehind => Act::HoldAnswer,
    }
}

/// Every trouble with every file.
async fn each(step: &'static str, troubles: &[Trouble], files: &[(&'static str, &'static str)]) {
    let cases = troubles.iter().flat_map(|&trouble| {
        let name = move |file| format!("{step}, {trouble:?}, {file}");
        files
            .iter()
            .map(move |&(file, verdict)| (name(file), case(step, trouble, file, verdict, Event::OfVersion).boxed()))
    });
    run(cases).await;
}

/// One upload with one trouble at one step; what is wrong at the end.
async fn case(step: &str, trouble: Trouble, file: &str, verdict: &str, event: Event) -> Vec<String> {
    let mut world = World::new("crash").await;
    let front = Front::of(&mut world, NOTHING).await;
    let mut worker = world.worker().await;
    let step = step.replace("{id}", &world.id);
    let times = if let EveryAnswerLost = trouble { 3 } else { 1 };
    let gates: Vec<_> = (0..times).map(|_| front.at(&step).gate(&step, act(trouble))).collect();
    let upload = world.put("the/file", testdata(file)).await;
    match event {
        Event::OfVersion => world.announce(&upload).await,
        Event::OfKey => world.publish(&world.event(&upload.key, None)).await,
    }
    for mut gate in gates {
        let held = gate.reached().await;
        if let KilledBefore | KilledBehind = trouble {
            worker.kill();
            drop(held);
            worker = world.worker().await;
        }
    }
    world.rest(vec![worker]).await;
    let notices = world.notices().await;
    world.wrongs(&upload, verdict, &notices).await
}
