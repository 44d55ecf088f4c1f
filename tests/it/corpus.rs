//! A walk through a corpus of real and hostile files that lies outside of the repository.
//!
//! `AIRLOCK_CORPUS` names its folder: `MANIFEST.tsv` says of each file what must happen to it (path, kind, verdict,
//! reasons, declared type, ..), files that end in `.enc` are XORed with 0x5A, `NAMES.tsv` lists file names for a good
//! JPEG. Set and absent is a failure; unset, the walk says so and goes on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use airlock::media::{Claims, examine};
use airlock::policy::Policy;
use serde_json::Value;

use crate::process::airlock;
use crate::services::clamd;

pub struct Row {
    pub path: String,
    verdict: String,
    reasons: Vec<String>,
    declared: String,
}

/// The rows of a corpus.
pub fn manifest(corpus: &Path) -> Vec<Row> {
    let text =
        std::fs::read_to_string(corpus.join("MANIFEST.tsv")).expect("AIRLOCK_CORPUS names a folder with MANIFEST.tsv");
    let rows = text.lines().skip(1).filter(|l| !l.is_empty()).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row {
            path: columns[0].to_owned(),
            verdict: columns[2].to_owned(),
            reasons: columns[3].split('|').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
            declared: columns[4].to_owned(),
        }
    });
    rows.collect()
}

/// Copies the files to a folder of our own, decoded, one folder per declared type: `scan` takes one type per run.
fn lay_out(corpus: &Path, rows: &[Row], to: &Path) -> BTreeMap<String, PathBuf> {
    let mut folders = BTreeMap::new();
    for row in rows {
        let mut bytes = std::fs::read(corpus.join(&row.path)).unwrap_or_else(|e| panic!("{}: {e}", row.path));
        if Path::new(&row.path).extension().is_some_and(|e| e == "enc") {
            crate::services::decode(&mut bytes);
        }
        let folder = to.join(row.declared.replace(['/', ';', ' '], "_"));
        let file = folder.join(row.path.trim_end_matches(".enc"));
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        std::fs::write(&file, bytes).expect("a copy");
        folders.insert(row.declared.clone(), folder);
    }
    folders
}

/// Runs `airlock scan --json` over a folder; relative path to record.
fn scan(folder: &Path, declared: &str) -> BTreeMap<String, Value> {
    let mut command = airlock();
    command.args(["scan", "--json", "--clamd", &clamd(), "--jobs", "2"]);
    if !declared.is_empty() {
        command.args(["--declared-type", declared]);
    }
    let output = command.arg(folder).stderr(Stdio::inherit()).output().expect("the scan runs");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let records = lines.lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("a record");
        let key = record["source"]["key"].as_str().expect("a key");
        let relative = Path::new(key).strip_prefix(folder).expect("below the folder").to_string_lossy().into_owned();
        (relative, record)
    });
    records.collect()
}

/// The folder that `AIRLOCK_CORPUS` names.
fn corpus() -> Option<PathBuf> {
    let corpus = std::env::var_os("AIRLOCK_CORPUS").map(PathBuf::from);
    if corpus.is_none() {
        tell("AIRLOCK_CORPUS is not set: no corpus is walked");
    }
    corpus
}

#[test]
fn the_corpus_gets_its_verdicts() {
    let Some(corpus) = corpus() else { return };
    let rows = manifest(&corpus);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut records = BTreeMap::new();
    for (declared, folder) in lay_out(&corpus, &rows, folder.path()) {
        records.extend(scan(&folder, &declared));
    }
    let mut score = Score::default();
    for row in &rows {
        score.add(row, records.get(row.path.trim_end_matches(".enc")));
    }
    tell(&score.report());
    assert_eq!(records.len(), rows.len(), "every file has exactly one line");
    assert!(score.faults.is_empty(), "a file of an uploader is never our fault: {:#?}", score.faults);
    let passed: Vec<_> =
        score.passed.iter().filter(|row| !DISPUTED.iter().any(|(path, _)| row.starts_with(path))).collect();
    assert!(passed.is_empty(), "files that would be promoted and must not be: {passed:#?}");
    assert!(score.refused.is_empty(), "good files that are refused: {:#?}", score.refused);
    let enough = 100 * score.explained >= 98 * score.rejected;
    assert!(enough, "fewer than 98 % have an expected reason: {:#?}", score.unexplained);
}

/// Files of whose label we are not convinced, and why.
const DISPUTED: [(&str, &str); 1] = [(
    "odd/docx/libapache-poi-java-bug59058.docx",
    "the three letters of a field code stand in the body text alone, as the name of a pesticide",
)];

/// File names, as the last segment of a key and as the name the uploader gave. Most of them cannot be written to a
/// disk, so they meet the examination without one.
#[test]
fn the_names_of_the_corpus_get_their_verdicts() {
    let Some(corpus) = corpus() else { return };
    let list = std::fs::read_to_string(corpus.join("NAMES.tsv")).expect("AIRLOCK_CORPUS names a folder with NAMES.tsv");
    let photo = jpeg();
    let mut wrong = Vec::new();
    let rows =
        list.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    for row in rows {
        let name = unescaped(row[0]);
        for (key_name, filename) in [(name.as_str(), None), ("0001", Some(name.as_str()))] {
            let claims = Claims { key_name, key: None, filename, declared: &["image/jpeg"] };
            let found = examine(&photo, &claims, &Policy::guide()).reasons;
            let codes: Vec<&str> = found.iter().map(|reason| reason.code.as_str()).collect();
            let right = match row[1] {
                "clean" => codes.is_empty(),
                _ => row[2].split('|').any(|expected| codes.contains(&expected)),
            };
            if !right {
                wrong.push(format!("{}: {codes:?}, expected {} {}", row[0], row[1], row[2]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A JPEG that is sound in its structure: one frame of one component, one scan.
fn jpeg() -> Vec<u8> {
    let frame = [&[0xFF, 0xC0, 0, 11, 8, 0, 4, 0, 4, 1][..], &[1, 0x11, 0]].concat();
    let scan = [&[0xFF, 0xDA, 0, 8, 1][..], &[1, 0, 0, 63, 0], &[7, 7]].concat();
    [&[0xFF, 0xD8][..], &frame, &scan, &[0xFF, 0xD9]].concat()
}

/// Undoes percent encoding.
fn unescaped(name: &str) -> String {
    let mut parts = name.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).expect("two digits behind a percent sign"));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Tells the person who runs the tests, also when the test passes: only what `print!` writes is held back.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "\n{line}").expect("standard error");
}

#[derive(Default)]
struct Score {
    clean: usize,
    benign: usize,
    rejected: usize,
    hostile: usize,
    explained: usize,
    either: usize,
    refused: Vec<String>,
    passed: Vec<String>,
    unexplained: Vec<String>,
    faults: Vec<String>,
}

impl Score {
    fn add(&mut self, row: &Row, record: Option<&Value>) {
        let verdict = record.and_then(|r| r["verdict"].as_str()).unwrap_or("none");
        let codes: Vec<&str> = record
            .and_then(|r| r["reasons"].as_array())
            .into_iter()
            .flatten()
            .filter_map(|r| r["code"].as_str())
            .collect();
        let told = format!("{}: {verdict} {codes:?}, expected {} {:?}", row.path, row.verdict, row.reasons);
        if !matches!(verdict, "clean" | "rejected") {
            self.faults.push(format!("{told} {record:?}"));
            return;
        }
        match row.verdict.as_str() {
            "clean" => {
                self.benign += 1;
                if verdict == "clean" { self.clean += 1 } else { self.refused.push(told) }
            }
            "rejected" => {
                self.hostile += 1;
                if verdict == "clean" {
                    self.passed.push(told);
                    return;
                }
                self.rejected += 1;
                if row.reasons.iter().any(|r| codes.contains(&r.as_str())) {
                    self.explained += 1;
                } else {
                    self.unexplained.push(told);
                }
            }
            _ => self.either += 1,
        }
    }

    fn report(&self) -> String {
        let mut text = format!(
            "corpus: benign clean {}/{}, hostile rejected {}/{} (with an expected reason {}), either way {} without a fault",
            self.clean, self.benign, self.rejected, self.hostile, self.explained, self.either
        );
        for line in self.passed.iter().chain(&self.refused).chain(&self.unexplained) {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}
