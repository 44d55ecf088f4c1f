//! The command line: what it prints, where, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::process::airlock;
use crate::services::{clamd, root, testdata};
use crate::world::World;

fn run(args: &[&str]) -> Output {
    airlock().args(args).output().expect("the binary runs")
}

fn scan(args: &[&str]) -> Output {
    let address = clamd();
    run(&[&["scan", "--clamd", address.as_str()], args].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn records(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|l| serde_json::from_str(l).expect("a record per line")).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn scan_reports_every_file_in_order_and_exits_by_the_worst() {
    let data = root().join("testdata");
    let (clean, refused) = (data.join("clean/skizze.jpg"), data.join("refused/random.jpg"));
    let output = scan(&["--json", "--jobs", "4", path(&clean), path(&refused), path(&clean)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let records = records(&output);
    let verdicts: Vec<&str> = records.iter().filter_map(|r| r["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["clean", "rejected", "clean"]);
    assert_eq!(records[0]["source"]["key"], path(&clean));
    assert_eq!(records[0]["source"]["bucket"], Value::Null);
    assert_eq!(records[0]["output"], Value::Null, "nothing is written without --out");
    assert_eq!(records[0]["engines"][0]["name"], "clamd");

    assert_eq!(scan(&[path(&clean)]).status.code(), Some(0));
    let missing = scan(&["--json", path(&clean), "/nonexistent/file"]);
    assert_eq!(missing.status.code(), Some(64));
    assert!(stderr(&missing).contains("/nonexistent/file"));
}

#[test]
fn scan_prints_a_table_for_people() {
    // A checkout may lie deep: of a long path, the end is what a person needs.
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("a-folder-with-quite-a-long-name/and-another-one-below-it");
    fs::create_dir_all(&deep).expect("folders");
    let photo = deep.join("holiday-photo.jpg");
    fs::write(&photo, testdata("clean/holiday-photo.jpg")).expect("a file");
    let output = scan(&[path(&photo)]);
    let table = stdout(&output);
    for part in ["…", "/holiday-photo.jpg", "clean", "jpeg", "gps", "1 file: 1 clean, 0 rejected, 0 faults"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
}

#[test]
fn scan_writes_sanitized_files_and_never_over_existing_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(input.join("sub")).expect("a folder");
    fs::write(input.join("sub/a.jpg"), testdata("clean/skizze.jpg")).expect("a file");
    fs::write(input.join("bad.jpg"), testdata("refused/random.jpg")).expect("a file");
    let output = scan(&["--json", "--out", path(&out), path(&input)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let clean = records(&output).into_iter().find(|r| r["verdict"] == "clean").expect("a clean file");
    assert_eq!(clean["output"]["key"], "sub/a.jpg");
    let written = fs::read(out.join("sub/a.jpg")).expect("the output");
    assert_eq!(clean["output"]["sha256"], airlock::object::Sha256::of(&written).to_string());
    assert!(!out.join("bad.jpg").exists());

    let again = scan(&["--out", path(&out), path(&input)]);
    assert_eq!(again.status.code(), Some(64));
    assert!(stderr(&again).contains("exists already"), "{}", stderr(&again));
    assert_eq!(fs::read(out.join("sub/a.jpg")).expect("still there"), written);
}

#[test]
fn scan_follows_no_link_and_opens_no_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let (link, pipe) = (folder.path().join("link.jpg"), folder.path().join("pipe.jpg"));
    std::os::unix::fs::symlink(root().join("testdata/clean/skizze.jpg"), &link).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let output = scan(&["--json", path(&link), path(&pipe)]);
    assert_eq!(output.status.code(), Some(2));
    for record in records(&output) {
        assert_eq!(record["schema"], "airlock.fault.v1");
        assert!(record["detail"].as_str().is_some_and(|d| d.contains("not a regular file")), "{record}");
    }
}

#[test]
fn scan_says_what_to_do_without_a_scanner() {
    let file = root().join("testdata/clean/skizze.jpg");
    let none = format!("tcp://127.0.0.1:{}", crate::services::free_port());
    let output = run(&["scan", "--clamd", &none, path(&file)]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("--engine yara"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");

    let rules = tempfile::NamedTempFile::with_suffix(".yar").expect("a file");
    fs::write(rules.path(), "rule Sketch { strings: $a = { FF D8 FF } condition: $a at 0 }").expect("rules");
    let output = run(&["scan", "--json", "--engine", "yara", "--rules", path(rules.path()), path(&file)]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let record = &records(&output)[0];
    assert_eq!(record["reasons"][0]["code"], "malware");
    assert_eq!(record["reasons"][0]["detail"], "Sketch");
    assert_eq!(run(&["scan", "--engine", "yara", path(&file)]).status.code(), Some(78), "YARA without rules");
}

#[test]
fn a_hostile_file_name_does_not_reach_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "x\u{1b}[2J\u{202e}gpj.jpg";
    fs::write(folder.path().join(name), testdata("clean/skizze.jpg")).expect("a file");
    let output = scan(&[path(folder.path())]);
    assert!(!stdout(&output).contains('\u{1b}') && !stdout(&output).contains('\u{202e}'), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn every_configuration_mistake_is_told_at_once() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    fs::write(file.path(), "[limits]\njobs = 0\nmemorry = \"1 GiB\"\n[s3]\nregion = 7\n").expect("a configuration");
    let output = run(&["config", "--config", path(file.path()), "--set", "retry.attempts=none"]);
    assert_eq!(output.status.code(), Some(78));
    let told = stderr(&output);
    for part in ["limits.jobs", "memorry", "s3.region", "retry.attempts", "limits.memory"] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let output = airlock().arg("config").env("AIRLOCK__LIMITS__JOBZ", "4").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("AIRLOCK__LIMITS__JOBZ"));
}

#[test]
fn secrets_are_never_printed() {
    let output = run(&[
        "config",
        "--set",
        "s3.access_key=me",
        "--set",
        "s3.secret_key=hunter2",
        "--set",
        "amqp.url=amqp://user:hunter2@127.0.0.1:5672/%2f",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stdout(&output).contains("hunter2"), "{}", stdout(&output));
}

#[test]
fn usage_errors_are_64_and_help_is_0() {
    assert_eq!(run(&["scan"]).status.code(), Some(64));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_asks_the_worker() {
    let world = World::new("health").await;
    let worker = world.worker().await;
    let listen = format!("ops.listen={}", worker.ops());
    let check = |extra: &[&str]| run(&[&["healthcheck", "--set", &listen], extra].concat());
    assert_eq!(check(&[]).status.code(), Some(0));
    for _ in 0..100 {
        if check(&["--ready"]).status.code() == Some(0) {
            drop(worker);
            let dead = check(&[]);
            assert_eq!(dead.status.code(), Some(1));
            assert!(stderr(&dead).contains("livez"));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never ready: {}", stderr(&check(&["--ready"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn submit_publishes_for_keys_and_for_a_prefix() {
    let mut world = World::new("submit").await;
    let worker = world.worker().await;
    for key in ["old/1.jpg", "old/2 +%41.jpg", "other/3.jpg"] {
        world.upload(key, testdata("clean/skizze.jpg"), None).await;
    }
    let flags = world.flags();
    let submit = |args: &[&str]| airlock().arg("submit").args(&flags).args(args).output().expect("the binary runs");
    let dry = submit(&["--prefix", "old/", "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    assert_eq!(stdout(&dry).lines().count(), 2);
    assert_eq!(world.keys("quarantine").await.len(), 3, "a dry run publishes nothing");

    assert_eq!(submit(&["other/3.jpg"]).status.code(), Some(0));
    assert_eq!(world.next_verdict().await["source"]["key"], "other/3.jpg");
    let output = submit(&["--prefix", "old/"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut keys = [world.next_verdict().await, world.next_verdict().await].map(|r| r["source"]["key"].to_string());
    keys.sort();
    assert_eq!(keys, ["\"old/1.jpg\"", "\"old/2 +%41.jpg\""]);
    assert_eq!(submit(&["--route", "nowhere", "x"]).status.code(), Some(64));
    assert_eq!(worker.terminate().await, Some(0));
}
