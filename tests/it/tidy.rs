//! The house stays as it is drawn: layers, file map, sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::services::root;

/// The longest source file, in lines.
const MAX_LINES: usize = 500;

/// The layers, inner ones first. A module may use its own layer and those before it.
const LAYERS: [(&str, &[&str]); 9] = [
    (
        "domain",
        &[
            "text",
            "clock",
            "object",
            "media",
            "policy",
            "route",
            "verdict",
            "fault",
            "feature",
            "limits",
            "event",
            "settlement",
            "trace",
        ],
    ),
    ("configuration", &["config"]),
    ("image", &["image", "jail"]),
    ("evidence", &["snapshot", "scanner", "stage"]),
    ("ports", &["store", "queue", "ledger"]),
    ("telemetry", &["telemetry"]),
    ("pipeline", &["pipeline"]),
    ("runtime", &["circuit", "dlq", "ops", "pace", "reconcile", "shutdown", "worker", "embedded"]),
    ("composition", &["cli"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned()
}

/// The top module of a source file: `src/queue/amqp.rs` is `queue`.
fn module(path: &Path) -> String {
    let inside = relative(path);
    let inside = inside.strip_prefix("src/").unwrap_or(&inside);
    inside.split('/').next().expect("a name").trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

#[test]
fn dependencies_point_inwards() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let from = module(&path);
        if matches!(from.as_str(), "lib" | "main") {
            continue;
        }
        let own = layer(&from).unwrap_or_else(|| panic!("{from} is in no layer: name it in LAYERS"));
        let text = fs::read_to_string(&path).expect("a source file");
        // What tests reach for is their own affair.
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if layer(&used).is_some_and(|l| l > own) {
                    wrong.push(format!("{}: {from} uses {used}", relative(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_outside_world_has_one_room() {
    let rooms: [(&str, &[&str]); 6] = [
        ("aws_sdk_s3", &["src/store/s3", "src/embedded"]),
        ("lapin::", &["src/queue"]),
        ("boreal::", &["src/scanner/yara.rs"]),
        ("s3s::", &["src/embedded"]),
        ("std::env::var", &["src/config", "src/jail/tests.rs"]),
        ("process::Command", &["src/jail/cell.rs", "src/jail/tests.rs"]),
    ];
    for path in sources(&root().join("src")) {
        let text = fs::read_to_string(&path).expect("a source file");
        for (word, allowed) in rooms {
            let here = relative(&path);
            let may = allowed.iter().any(|room| here.starts_with(room));
            assert!(may || !text.contains(word), "{here} uses {word}");
        }
    }
}

#[test]
fn no_file_grows_without_end() {
    for folder in ["src", "tests", "benches"] {
        if !root().join(folder).is_dir() {
            continue;
        }
        for path in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&path).expect("a source file").lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines", relative(&path));
        }
    }
}

#[test]
fn the_map_in_the_architecture_is_the_tree() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let mapped: BTreeSet<&str> =
        text.lines().filter_map(|l| l.split("  --").next().map(str::trim)).filter(|l| l.starts_with("src/")).collect();
    let files: Vec<String> = sources(&root().join("src")).iter().map(|p| relative(p)).collect();
    for file in &files {
        let covered = mapped.iter().any(|m| m == file || (m.ends_with('/') && file.starts_with(m)));
        assert!(covered, "docs/architecture.md does not map {file}");
    }
    for entry in mapped {
        let exists = if entry.ends_with('/') { root().join(entry).is_dir() } else { root().join(entry).is_file() };
        assert!(exists, "docs/architecture.md maps {entry}, which does not exist");
    }
}

#[test]
fn no_test_signature_lies_around() {
    let eicar = airlock::scanner::canary::eicar();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git") {
                    folders.push(path);
                }
            } else {
                let bytes = fs::read(&path).expect("a file");
                let found = bytes.windows(eicar.len()).any(|w| w == eicar);
                assert!(!found, "{} holds a live test signature", path.display());
            }
        }
    }
}
