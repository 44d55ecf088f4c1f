//! Uploads that nobody looks after are found, and judged or cleaned up; whatever runs beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use airlock::config::{self, Sources};
use airlock::embedded::EmbeddedS3;
use airlock::object::Bucket;
use airlock::store::ObjectStore;
use airlock::store::s3::{App, connect};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::process::airlock;
use crate::services::{testdata, variable};
use crate::world::World;

const JPEG: &str = "clean/skizze.jpg";

/// Runs the command over everything that is there, however young.
fn run(world: &World, args: &[&str]) -> Output {
    let output = airlock().arg("reconcile").args(world.flags()).args(["--older-than", "0s"]).args(args).output();
    output.expect("the binary runs")
}

/// The lines of a run that must be complete and without a fault, the summary apart.
fn lines(output: &Output) -> (Vec<Value>, Value) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect();
    let last = lines.pop().expect("a summary");
    assert_eq!(last["complete"], true);
    (lines, last["summary"].clone())
}

/// What the summary counts, less what is zero.
fn counts(summary: &Value) -> Value {
    let all = summary.as_object().expect("counts").iter().filter(|(_, n)| **n != json!(0));
    all.map(|(name, n)| (name.clone(), n.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// A world whose queues are declared and whose worker is gone.
async fn without_worker(name: &str) -> World {
    let world = World::new(name).await;
    assert_eq!(world.worker().await.terminate().await, Some(0));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_event_was_lost_is_judged() {
    let mut world = World::new("reclost").await;
    let _worker = world.worker().await;
    let version = world.upload("a/b +%41é.jpg", testdata(JPEG), Some("image/jpeg")).await;
    let young = airlock().arg("reconcile").args(world.flags()).arg("--json").output().expect("the binary runs");
    assert_eq!(counts(&lines(&young).1), json!({"looked_at": 1, "too_young": 1}));
    let (found, summary) = lines(&run(&world, &["--json"]));
    assert_eq!(counts(&summary), json!({"looked_at": 1, "reinjected": 1}));
    assert_eq!((&found[0]["finding"], &found[0]["version_id"]), (&json!("reinjected"), &json!(version)));
    let record = world.next_verdict().await;
    assert_eq!((&record["verdict"], &record["source"]["version_id"]), (&json!("clean"), &json!(version)));
    assert_eq!(record["source"]["key"], "a/b +%41é.jpg");
    world.until_judged().await;
    assert_eq!(counts(&lines(&run(&world, &["--json"])).1), json!({}), "nothing is left to be done");
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_and_beside_a_worker_it_gives_each_upload_one_verdict() {
    const UPLOADS: usize = 12;
    let mut world = World::new("rectwice").await;
    let _workers = [world.worker().await, world.worker().await];
    for n in 0..UPLOADS {
        let key = format!("{n}.jpg");
        let version = world.upload(&key, testdata(JPEG), None).await;
        if n % 2 == 0 {
            world.publish(&world.event(&key, Some(&version))).await;
        }
    }
    let flags = world.flags();
    let start = || {
        let mut command = airlock();
        command.arg("reconcile").args(&flags).args(["--older-than", "0s"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the binary runs")
    };
    for mut running in [start(), start()] {
        assert_eq!(running.wait().expect("it ends").code(), Some(0));
    }
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wait = Duration::from_secs(30);
    while let Some(record) = world.verdict_within(wait).await {
        assert_eq!(record["verdict"], "clean");
        ids.entry(record["source"]["key"].to_string()).or_default().insert(record["id"].to_string());
        // All are here; now for those that should not come.
        if ids.len() == UPLOADS {
            wait = Duration::from_secs(2);
        }
    }
    assert_eq!(ids.len(), UPLOADS);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    world.until_judged().await;
    assert_eq!(world.versions("clean").await, UPLOADS);
    assert_eq!(world.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judged_source_is_cleaned_up_and_the_newer_version_is_not() {
    let mut world = World::new("recclean").await;
    world.set("s3.cleanup", "lifecycle");
    let worker = world.worker().await;
    let old = world.upload("k.jpg", testdata(JPEG), None).await;
    world.publish(&world.event("k.jpg", Some(&old))).await;
    let first = world.next_verdict().await;
    assert_eq!(worker.terminate().await, Some(0));
    assert_eq!(
        counts(&lines(&run(&world, &["--json"])).1),
        json!({"looked_at": 1, "judged": 1}),
        "lifecycle: it stays"
    );

    world.set("s3.cleanup", "version");
    let new = world.upload("k.jpg", testdata("clean/cat.png"), None).await;
    let summary = lines(&run(&world, &["--json"])).1;
    assert_eq!(counts(&summary), json!({"looked_at": 2, "judged": 1, "cleaned_up": 1, "reinjected": 1}));
    assert_eq!(world.get("quarantine", "k.jpg").await, testdata("clean/cat.png"));
    assert_eq!(world.versions("quarantine").await, 1, "the old version is gone, and no delete marker was left");
    // Its worker might have died before it told anybody.
    assert_eq!(world.next_verdict().await, first, "the verdict that stands is told again under its id");
    let work = world.take_work().await;
    assert_eq!(work.len(), 1);
    assert_eq!((&work[0].1["key"], &work[0].1["version_id"]), (&json!("k.jpg"), &json!(new)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promoted_for_a_rejected_upload_is_removed() {
    let mut world = World::new("recrecall").await;
    world.set("s3.cleanup", "lifecycle");
    let worker = world.worker().await;
    world.submit("bad.jpg", testdata("refused/random.jpg"), None).await;
    let record = world.next_verdict().await;
    assert_eq!(record["verdict"], "rejected");
    assert_eq!(worker.terminate().await, Some(0));
    // As a worker leaves it that puts, is overtaken by a rejection and dies.
    let put = |source: String| {
        let request = world.s3.put_object().bucket(world.bucket("clean")).key("bad.jpg");
        request.metadata("airlock-source-id", source).body(b"orphan".to_vec().into()).send()
    };
    put("0".repeat(64)).await.expect("another source's object");
    put(record["source_id"].as_str().expect("an id").to_owned()).await.expect("the orphan");
    assert_eq!(lines(&run(&world, &["--json", "--dry-run"])).1["judged"], 1);
    assert_eq!(world.versions("clean").await, 2, "a dry run recalls nothing");
    assert_eq!(lines(&run(&world, &["--json"])).1["judged"], 1);
    assert_eq!(world.versions("clean").await, 1, "only what was made from this source goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_end_superseded() {
    let mut world = World::new("recolder").await;
    let _worker = world.worker().await;
    let old = world.upload("k.jpg", testdata(JPEG), None).await;
    // "Newer" is told in whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.submit("k.jpg", testdata("clean/holiday-photo.jpg"), None).await;
    assert_eq!(world.next_verdict().await["verdict"], "clean");
    assert_eq!(lines(&run(&world, &["--json"])).1["reinjected"], 1);
    let mut record = world.next_verdict().await;
    while record["source"]["version_id"] != json!(old) {
        record = world.next_verdict().await;
    }
    assert_eq!(record["verdict"], "superseded");
    world.until_judged().await;
    assert_eq!(world.versions("clean").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_over_several_pages_keeps_its_pace_and_goes_on_after_a_kill() {
    const UPLOADS: usize = 1_300;
    let world = without_worker("recpages").await;
    // A character that no listing can hold unless it is encoded.
    let key = |n: usize| format!("\u{1}/{n:05}&+ é");
    let uploads = stream::iter(0..UPLOADS).map(|n| {
        let (world, key) = (&world, key(n));
        async move { world.upload(&key, b"x".to_vec(), None).await }
    });
    uploads.buffer_unordered(16).for_each(|_| async {}).await;

    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state.json");
    let args = ["--resume", state.to_str().expect("a path"), "--rate", "200/s", "--json"];
    let flags = world.flags();
    let mut first = airlock();
    first.arg("reconcile").args(&flags).args(["--older-than", "0s"]).args(args).stdout(Stdio::null());
    let (started, mut first) = (Instant::now(), first.stderr(Stdio::null()).spawn().expect("the binary runs"));
    let marked = || std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"default\""));
    while !marked() {
        assert!(started.elapsed() < Duration::from_mins(1), "no page is done");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill().expect("it is still running");
    first.wait().expect("it is reaped");
    assert!(started.elapsed() >= Duration::from_millis(4_800), "a page of a thousand at 200 a second");
    assert!(marked(), "the state outlives the process");

    let other = run(&world, &["--resume", state.to_str().expect("a path"), "--route", "nowhere"]);
    assert_eq!(other.status.code(), Some(64));
    let (second, summary) = lines(&run(&world, &args));
    assert_eq!(counts(&summary), json!({"looked_at": UPLOADS, "reinjected": UPLOADS}));
    assert!(second.len() < UPLOADS / 2, "the first page is not gone through again: {}", second.len());
    assert!(!state.exists(), "at the end there is nothing to go on from");

    let work = world.take_work().await;
    let keys: BTreeSet<&str> = work.iter().filter_map(|(_, event)| event["key"].as_str()).collect();
    assert_eq!(keys, (0..UPLOADS).map(key).collect::<BTreeSet<_>>().iter().map(String::as_str).collect());
    let ids: BTreeSet<&String> = work.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), UPLOADS, "what is announced twice has the same id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_cleanly() {
    let world = without_worker("recstop").await;
    for n in 0..3 {
        world.upload(&format!("{n}.jpg"), b"x".to_vec(), None).await;
    }
    let mut command = airlock();
    command.arg("reconcile").args(world.flags()).args(["--older-than", "0s", "--rate", "1/m"]);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let started = Instant::now();
    while world.depth("work").await == 0 {
        assert!(started.elapsed() < Duration::from_mins(1), "nothing is announced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it gets the signal");
    let output = running.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("1 looked at") && told.contains("ended early"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_announces_what_is_current_page_by_page() {
    let world = without_worker("recsubmit").await;
    world.upload("a/old.jpg", b"x".to_vec(), None).await;
    let current = world.upload("a/old.jpg", b"y".to_vec(), None).await;
    world.upload("a/gone.jpg", b"x".to_vec(), None).await;
    let delete = world.s3.delete_object().bucket(world.bucket("quarantine")).key("a/gone.jpg");
    delete.send().await.expect("a delete marker");
    world.upload("b.jpg", b"x".to_vec(), None).await;
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state.json");
    let args = ["--prefix", "a/", "--rate", "100/s", "--resume", state.to_str().expect("a path")];
    let output = airlock().arg("submit").args(world.flags()).args(args).output().expect("the binary runs");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"a/old.jpg\n".as_slice()));
    let work = world.take_work().await;
    assert_eq!((work.len(), &work[0].1["version_id"]), (1, &json!(current)));
    assert!(!state.exists(), "at the end there is nothing to go on from");
}

/// Every version once, on a store that goes on behind a key and on one that goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_more_versions_than_a_page_is_listed_to_its_end() {
    const VERSIONS: usize = 1_050;
    let world = World::new("recmany").await;
    let embedded = EmbeddedS3::start(0).await.expect("a server");
    embedded.create_bucket(&world.bucket("quarantine"), true);
    let (admin, endpoint) = (embedded.admin(), embedded.endpoint());
    let ceph = [variable("AIRLOCK_TEST_S3"), variable("AIRLOCK_TEST_S3_KEY"), variable("AIRLOCK_TEST_S3_SECRET")];
    for [endpoint, key, secret] in [ceph, [endpoint, admin.access_key.clone(), admin.secret_key.clone()]] {
        let flags = [("endpoint", endpoint), ("access_key", key), ("secret_key", secret)];
        let flags = flags.map(|(name, value)| format!("s3.{name}={value}")).to_vec();
        let settings = config::load(&Sources { file: None, env: Vec::new(), flags }).expect("valid settings").s3;
        let (app, store) = (App::connect(&settings).await, connect(&settings).await);
        let bucket = Bucket::new(world.bucket("quarantine")).expect("a name");
        let mut put = BTreeSet::new();
        let keys = ["a", "a", "c", "d"].into_iter().chain(std::iter::repeat_n("b", VERSIONS));
        let uploads = stream::iter(keys).map(|key| {
            let (app, bucket) = (&app, bucket.as_str());
            async move { (key.to_owned(), app.put(bucket, key, "x".into(), None).await.expect("an upload")) }
        });
        let mut uploads = uploads.buffer_unordered(8);
        while let Some((key, version)) = uploads.next().await {
            put.insert((key, version.expect("a version")));
        }
        let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.versions(&bucket, "", after.as_ref()).await.expect("a page");
            let ids = page.versions.into_iter().map(|v| (v.object.key.into(), v.object.version.map(|v| v.to_string())));
            listed.extend(ids.map(|(key, version): (String, _)| (key, version.expect("a version"))));
            (after, pages) = (page.next, pages + 1);
            if after.is_none() {
                break;
            }
        }
        assert!((2..10).contains(&pages), "{pages}");
        assert_eq!(listed.len(), put.len(), "none twice");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), put);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let mut world = World::new("recdry").await;
    world.set("s3.cleanup", "lifecycle");
    let worker = world.worker().await;
    world.submit("judged.jpg", testdata(JPEG), None).await;
    world.next_verdict().await;
    assert_eq!(worker.terminate().await, Some(0));
    world.set("s3.cleanup", "version");
    world.upload("lost.jpg", testdata(JPEG), None).await;
    // A broker is not even needed.
    let mut flags = world.flags();
    flags.extend(["--set".to_owned(), "amqp.url=amqp://127.0.0.1:1".to_owned()]);
    let dry = airlock().arg("reconcile").args(&flags).args(["--older-than", "0s", "--dry-run"]).output().expect("runs");
    let told = String::from_utf8_lossy(&dry.stdout).into_owned() + &String::from_utf8_lossy(&dry.stderr);
    assert_eq!(dry.status.code(), Some(0), "{told}");
    for line in ["would be cleaned up", "would be re-injected", "2 looked at", "1 would be re-injected"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert_eq!((world.versions("quarantine").await, world.depth("work").await), (2, 0));
    world.no_notice(Duration::from_millis(500)).await;
    let unreachable = airlock().arg("reconcile").args(&flags).output().expect("runs");
    assert_eq!(unreachable.status.code(), Some(69));
    let nowhere = ["--dry-run", "--set", "s3.endpoint=http://127.0.0.1:1"];
    let nowhere = airlock().arg("reconcile").args(&flags).args(nowhere).output().expect("runs");
    assert_eq!(nowhere.status.code(), Some(69));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_versions_nothing_is_deleted_and_nothing_announced_twice() {
    let mut world = World::new("recnull").await;
    let hidden = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    let bucket = world.bucket("quarantine");
    let set = |c| world.s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(c).send();
    set(hidden).await.expect("versioning is suspended");
    let worker = world.worker().await;
    world.app.put(&bucket, "k.jpg", testdata(JPEG).into(), None).await.expect("an upload");
    assert_eq!(lines(&run(&world, &["--json"])).1["reinjected"], 1);
    assert_eq!(world.next_verdict().await["verdict"], "clean");
    assert_eq!(worker.terminate().await, Some(0));
    assert_eq!(counts(&lines(&run(&world, &["--json"])).1), json!({"looked_at": 1, "judged": 1}));
    // Bytes without a version that lie below a version can be named by no event.
    world.app.put(&bucket, "u.jpg", testdata(JPEG).into(), None).await.expect("an upload");
    let versioned = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let set = |c| world.s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(c).send();
    set(versioned).await.expect("versioning");
    world.upload("u.jpg", testdata(JPEG), None).await;
    let summary = lines(&run(&world, &["--json"])).1;
    assert_eq!(counts(&summary), json!({"looked_at": 3, "judged": 1, "reinjected": 1, "unreachable": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_put_back_and_judged_anew() {
    let mut world = World::new("recback").await;
    world.set("policy.default.types", "[\"pdf\"]");
    let worker = world.worker().await;
    world.submit("alice/cat.jpg", testdata(JPEG), Some("image/jpeg")).await;
    let rejected = world.next_verdict().await;
    assert_eq!(rejected["reasons"][0]["code"], "type_not_allowed");
    assert_eq!(worker.terminate().await, Some(0));
    world.until_judged().await;

    world.set("policy.default.types", "[\"jpeg\", \"pdf\"]");
    let _worker = world.worker().await;
    let submit = |args: &[&str]| {
        let output = airlock().arg("submit").args(world.flags()).args(args).output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(submit(&["--from-rejected", "alice/cat.jpg", "--dry-run"]).0, Some(0));
    assert_eq!(world.versions("quarantine").await, 0, "a dry run copies nothing");
    assert_eq!(submit(&["--from-rejected", "no/such.jpg"]).0, Some(64));
    let (code, told) = submit(&["--from-rejected", "alice/cat.jpg"]);
    assert_eq!(code, Some(0));
    let record = world.next_verdict().await;
    let key = record["source"]["key"].as_str().expect("a key");
    assert_eq!(told.trim(), key);
    assert!(key.starts_with("alice/resubmitted-") && key.ends_with("/cat.jpg"), "{key}");
    assert_eq!((&record["verdict"], &record["source"]["sha256"]), (&json!("clean"), &rejected["source"]["sha256"]));
    assert_eq!(record["meta"]["resubmitted_source_id"], rejected["source_id"]);
    assert_ne!(record["id"], rejected["id"]);
    assert_eq!(world.keys("rejected").await, ["alice/cat.jpg"], "what was rejected stays rejected");
    world.until_judged().await;
}
