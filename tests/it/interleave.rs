//! Two at once: two workers with the same upload, two workers that disagree about it, and an uploader who does
//! something with the key while a worker is at some step. Everybody is stopped at a step, so that the order is the
//! test's and not the scheduler's.

use std::time::Duration;

use futures_util::FutureExt;

use crate::cases::run;
use crate::front::{Front, JPEGS, NOTHING};
use crate::gate::{Act, Gate, Held};
use crate::process::WorkerProcess;
use crate::services::testdata;
use crate::world::World;

const KEY: &str = "the/file.jpg";

const GET: &str = "GET /quarantine-{id}/the/file.jpg";
const HEAD: &str = "HEAD /clean-{id}/the/file.jpg";
const PUT: &str = "PUT /clean-{id}/the/file.jpg";
const REJECT: &str = "PUT /rejected-{id}/the/file.jpg";
const RECORD: &str = "PUT /ledger-{id}/verdicts/";
const PUBLISH: &str = "publish {id}.verdicts";
const DELETE: &str = "DELETE /quarantine-{id}/the/file.jpg";
const ACK: &str = "ack";

/// A store that takes its time: the first put has had no answer, the worker finds nothing and puts again, and then the
/// first one comes to its end as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_comes_late_leaves_one_clean_version() {
    let mut world = World::new("late").await;
    world.set("s3.timeout", "1s");
    let Standing { worker, front, gate: mut first } = Standing::start(&mut world, NOTHING, PUT, Act::HoldRequest).await;
    let record = RECORD.replace("{id}", &world.id);
    let mut recording = front.at(&record).gate(&record, Act::HoldRequest);
    let upload = world.put(KEY, testdata("clean/skizze.jpg")).await;
    world.announce(&upload).await;
    let late = first.reached().await;
    let held = recording.reached().await;
    assert_eq!(world.versions_of("clean").await, 1, "the second put has been carried out");
    late.go_on();
    while world.versions_of("clean").await < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held.go_on();
    world.rest(vec![worker]).await;
    let notices = world.notices().await;
    assert_eq!(world.wrongs(&upload, "clean", &notices).await, [""; 0]);
    assert_eq!(world.versions_of("clean").await, 1);
}

/// Who goes on first, and is done before the other does.
#[derive(Debug, Clone, Copy)]
enum First {
    A,
    B,
    Both,
}

/// A worker that will stand at a step of its next job.
struct Standing {
    worker: WorkerProcess,
    front: Front,
    gate: Gate,
}

impl Standing {
    async fn start(world: &mut World, rules: &str, step: &str, act: Act) -> Self {
        world.set("limits.jobs", "1");
        let front = Front::of(world, rules).await;
        let step = step.replace("{id}", &world.id);
        let gate = front.at(&step).gate(&step, act);
        Self { worker: world.worker().await, front, gate }
    }

    /// Goes on, and is done.
    async fn finish(&self, held: Held) {
        held.go_on();
        let idle = "airlock_jobs_in_flight 0";
        for _ in 0..500 {
            if self.worker.get("/metrics").await.1.contains(idle) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the worker does not finish; log:\n{}", self.worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_the_same_upload_are_as_one() {
    let steps = [GET, HEAD, PUT, RECORD, PUBLISH, DELETE, ACK].into_iter();
    let before = steps.clone().map(|step| (step, step, Act::HoldRequest));
    // Not behind a put: whichever worker comes second takes the object of the first and puts nothing.
    let behind = steps.filter(|step| *step != PUT).map(|step| (step, step, Act::HoldAnswer));
    let cases = before.chain(behind).flat_map(|(a, b, act)| {
        [First::A, First::B, First::Both].map(|first| {
            let name = format!("{a} and {b}, {act:?}, first {first:?}");
            (name, meet([(NOTHING, a), (NOTHING, b)], act, first, "clean").boxed())
        })
    });
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_that_disagree_the_one_that_rejects_is_right() {
    let (clean, rejected) = ([HEAD, PUT, RECORD, PUBLISH, DELETE, ACK], [REJECT, RECORD, PUBLISH, DELETE]);
    let cases = clean.into_iter().flat_map(|a| {
        rejected.into_iter().flat_map(move |b| {
            [First::A, First::B].map(|first| {
                let name = format!("clean at {a}, rejected at {b}, first {first:?}");
                (name, meet([(NOTHING, a), (JPEGS, b)], Act::HoldRequest, first, "rejected").boxed())
            })
        })
    });
    run(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_has_put_goes_when_another_has_rejected_it() {
    let mut world = World::new("orphan").await;
    let mut a = Standing::start(&mut world, NOTHING, PUT, Act::HoldRequest).await;
    let upload = world.put(KEY, testdata("clean/skizze.jpg")).await;
    world.announce(&upload).await;
    world.announce(&upload).await;
    let held = a.gate.reached().await;
    let mut behind = a.front.s3.gate(&RECORD.replace("{id}", &world.id), Act::HoldRequest);
    let _front = Front::of(&mut world, JPEGS).await;
    let b = world.worker().await;
    let mut notices = vec![world.next_verdict().await];
    held.go_on();
    let held = behind.reached().await;
    assert_eq!(world.versions("clean").await, 1, "the object has no record, and nobody knows of it");
    a.worker.kill();
    drop(held);
    world.rest(vec![b]).await;
    notices.extend(world.notices().await);
    assert_eq!(world.wrongs(&upload, "rejected", &notices).await, [""; 0]);
}

/// Two workers, each with its rules, come to their steps with the same upload, and go on in this order.
async fn meet(sides: [(&str, &str); 2], act: Act, first: First, verdict: &str) -> Vec<String> {
    let mut world = World::new("meet").await;
    let [(rules_a, step_a), (rules_b, step_b)] = sides;
    let mut a = Standing::start(&mut world, rules_a, step_a, act).await;
    let mut b = Standing::start(&mut world, rules_b, step_b, act).await;
    let upload = world.put(KEY, testdata("clean/skizze.jpg")).await;
    // Each worker has one place, so that each gets one of them.
    world.announce(&upload).await;
    world.announce(&upload).await;
    let (held_a, held_b) = (a.gate.reached().await, b.gate.reached().await);
    match first {
        First::A => {
            a.finish(held_a).await;
            b.finish(held_b).await;
        }
        First::B => {
            b.finish(held_b).await;
            a.finish(held_a).await;
        }
        First::Both => {
            tokio::join!(a.finish(held_a), b.finish(held_b));
        }
    }
    world.rest(vec![a.worker, b.worker]).await;
    let mut notices = world.notices().await;
    if verdict == "rejected" {
        // A rejection may come after a clean verdict, or before one that was under way: it is final in any order.
        notices.retain(|notice| notice["verdict"] != "clean");
    }
    world.wrongs(&upload, verdict, &notices).await
}

/// What the uploader does with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Overwrite,
    UploadAgain,
    DeleteKey,
    DeleteVersion,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_uploader_does_meanwhile_every_upload_ends_once() {
    let steps = [
        (GET, Act::HoldRequest),
        (GET, Act::HoldAnswer),
        (HEAD, Act::HoldRequest),
        (PUT, Act::HoldRequest),
        (RECORD, Act::HoldRequest),
        (PUBLISH, Act::HoldRequest),
        (DELETE, Act::HoldRequest),
        (ACK, Act::HoldRequest),
    ];
    let deeds = [Deed::Overwrite, Deed::UploadAgain, Deed::DeleteKey, Deed::DeleteVersion];
    let cases = steps.into_iter().flat_map(|(step, act)| {
        deeds.map(|deed| (format!("{deed:?} at {step}, {act:?}"), meanwhile(step, act, deed).boxed()))
    });
    run(cases).await;
}

/// A worker stands at this step; the uploader acts, and what he uploads is judged by another worker at once.
async fn meanwhile(step: &str, act: Act, deed: Deed) -> Vec<String> {
    let mut world = World::new("deed").await;
    let mut a = Standing::start(&mut world, NOTHING, step, act).await;
    let old = world.put(KEY, testdata("clean/skizze.jpg")).await;
    world.announce(&old).await;
    let held = a.gate.reached().await;
    let _front = Front::of(&mut world, NOTHING).await;
    let b = world.worker().await;
    let (mut notices, mut newer) = (Vec::new(), None);
    match deed {
        Deed::Overwrite | Deed::UploadAgain => {
            // The order is told by whole seconds.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let file = if deed == Deed::Overwrite { "clean/poster-generated.jpg" } else { "clean/skizze.jpg" };
            let new = world.put(KEY, testdata(file)).await;
            world.announce(&new).await;
            while !notices.iter().any(|n: &serde_json::Value| n["source"]["version_id"] == *new.version) {
                notices.push(world.next_notice().await.1["data"].clone());
            }
            newer = Some(new);
        }
        Deed::DeleteKey => world.delete(KEY, None).await,
        Deed::DeleteVersion => world.delete(KEY, Some(&old.version)).await,
    }
    a.finish(held).await;
    world.rest(vec![a.worker, b]).await;
    notices.extend(world.notices().await);

    if deed == Deed::DeleteVersion && (step, act) == (GET, Act::HoldRequest) {
        // Nobody has seen the bytes: the message is a dead letter, and the application is told.
        let told = notices.len() == 1 && notices[0]["code"] == "source.missing" && world.depth("dead").await == 1;
        return if told { Vec::new() } else { vec![format!("{notices:?}")] };
    }
    let Some(new) = newer else { return world.wrongs(&old, "clean", &notices).await };
    let before_the_look = matches!(step, GET | HEAD);
    let mut wrongs = world.wrongs(&old, if before_the_look { "superseded" } else { "clean" }, &notices).await;
    wrongs.extend(world.wrongs(&new, "clean", &notices).await);
    // Between the look at the destination and the put there is a window, see G4 in docs/guarantees.md.
    let holds = world.made_of(KEY).await;
    if holds != new.sha256 && step != PUT {
        wrongs.push("the older upload holds the destination".to_owned());
    }
    wrongs
}
