//! The demo: the promise of the README's first command.

use std::process::Output;

use serde_json::Value;

use crate::process::airlock;
use crate::services::{clamd, root};

fn demo(args: &[&str]) -> Output {
    airlock().current_dir(root()).arg("demo").args(args).output().expect("the demo runs")
}

fn records(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let mut records: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("a record per line")).collect();
    records.sort_by_key(|r| r["source"]["key"].to_string());
    records
}

/// What must not differ between two runs.
fn essence(record: &Value) -> (Value, Value, Value, Value) {
    let codes = record["reasons"].as_array().map(|r| r.iter().map(|r| r["code"].clone()).collect::<Vec<_>>());
    (record["source"]["key"].clone(), record["verdict"].clone(), codes.into(), record["output"]["sha256"].clone())
}

#[test]
fn all_files_end_as_the_test_data_says_and_twice_the_same() {
    let address = clamd();
    let runs = [demo(&["--json", "--clamd", &address]), demo(&["--json", "--clamd", &address])];
    for output in &runs {
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("scanner  clamd"), "{told}");
        assert!(told.contains("dead letter: source.missing"), "{told}");
    }
    let [first, second] = runs.map(|r| records(&r));
    let clean: Vec<&Value> = first.iter().filter(|r| r["verdict"] == "clean").collect();
    let types: std::collections::BTreeSet<_> = clean.iter().map(|r| r["source"]["detected_type"].to_string()).collect();
    assert!(clean.len() >= 15 && types.len() == 7, "{} clean files of {} types", clean.len(), types.len());
    let reasons: std::collections::BTreeSet<_> =
        first.iter().filter(|r| r["verdict"] == "rejected").map(|r| r["reasons"][0]["code"].to_string()).collect();
    assert!(reasons.len() >= 8, "{reasons:?}");
    assert_eq!(first.iter().map(essence).collect::<Vec<_>>(), second.iter().map(essence).collect::<Vec<_>>());
}

#[test]
fn without_clamd_the_yara_engine_says_that_it_is_used() {
    let keep = tempfile::tempdir().expect("a folder");
    let out = keep.path().join("kept");
    // The machine may have a clamd of its own on a usual address, so the choice is only checked where it has none.
    let output = demo(&["--keep", out.to_str().expect("UTF-8")]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("scanner  YARA with a bundled test rule") || told.contains("scanner  clamd"), "{told}");
    assert!(told.contains("all as expected"), "{told}");
    for bucket in ["clean", "rejected", "ledger"] {
        assert!(std::fs::read_dir(out.join(bucket)).expect(bucket).count() > 10, "{bucket}");
    }
    assert_eq!(std::fs::read_dir(out.join("quarantine")).expect("quarantine").count(), 0);
}

#[test]
fn a_missing_data_folder_is_explained() {
    let output = demo(&["--data", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--data"));
}
