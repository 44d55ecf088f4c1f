//! How fast documents are judged without a scanner: digest and identification, per second of processor time.
//!
//! `cargo bench --bench identify -- FOLDER...` over your own files; without a folder over `$AIRLOCK_CORPUS/benign`, or
//! else over the test data of this repository. Images are left out: most of their time is the sanitizer's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock::media::{Claims, MediaType, examine};
use airlock::object::Sha256;
use airlock::policy::Policy;

/// How long each type is measured, after one round that does not count.
const MEASURE: Duration = Duration::from_secs(3);
/// What a core should manage over all documents, in 10^6 bytes a second.
const GOAL: f64 = 200.0;

struct Document {
    name: String,
    bytes: Vec<u8>,
}

fn main() {
    let given: Vec<PathBuf> = std::env::args().skip(1).filter(|a| a != "--bench").map(PathBuf::from).collect();
    let folders = if given.is_empty() { vec![usual_folder()] } else { given };
    let mut documents = BTreeMap::<&'static str, Vec<Document>>::new();
    for folder in &folders {
        collect(folder, &mut documents);
    }
    println!("Documents in {folders:?}; digest and identification, one core\n");
    println!("| type | files | MB | refused | MB/s | files/s |");
    println!("|---|---:|---:|---:|---:|---:|");
    let (mut bytes, mut seconds) = (0.0, 0.0);
    for (name, documents) in &documents {
        let count = |n: usize| f64::from(u32::try_from(n).expect("a corpus below 4 GB"));
        let size = count(documents.iter().map(|d| d.bytes.len()).sum()) / 1e6;
        let (refused, round) = (judge(documents), time(documents));
        let (speed, files) = (size / round, count(documents.len()) / round);
        println!("| {name} | {} | {size:.1} | {refused} | {speed:.0} | {files:.0} |", documents.len());
        bytes += size;
        seconds += round;
    }
    let speed = bytes / seconds;
    println!("\nAll together: {speed:.0} MB/s (goal: {GOAL:.0}).");
}

/// The folder that is measured when none is named.
fn usual_folder() -> PathBuf {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/clean");
    std::env::var_os("AIRLOCK_CORPUS").map_or_else(here, |corpus| PathBuf::from(corpus).join("benign"))
}

fn collect(folder: &Path, documents: &mut BTreeMap<&'static str, Vec<Document>>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable folder").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, documents);
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let media = MediaType::ALL.into_iter().find(|m| !m.is_image() && m.extensions().contains(&extension.as_str()));
        if let Some(media) = media {
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            documents.entry(media.name()).or_default().push(Document { name, bytes });
        }
    }
}

/// One round; returns how many files are refused, so that nobody measures how fast files are thrown out.
fn judge(documents: &[Document]) -> usize {
    let policy = Policy::guide();
    let refused = documents.iter().filter(|document| {
        let claims = Claims { key_name: &document.name, key: None, filename: None, declared: &[] };
        std::hint::black_box(Sha256::of(&document.bytes));
        !examine(&document.bytes, &claims, &policy).reasons.is_empty()
    });
    refused.count()
}

/// Seconds of processor time for one round: what else the machine does must not count.
fn time(documents: &[Document]) -> f64 {
    let (started, before, mut rounds) = (Instant::now(), cpu_seconds(), 0.0);
    while started.elapsed() < MEASURE {
        std::hint::black_box(judge(documents));
        rounds += 1.0;
    }
    (cpu_seconds() - before) / rounds
}

/// What this thread has run so far, as Linux counts it, in nanoseconds.
fn cpu_seconds() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.expect("a number first") / 1e9
}
