//! Where damage begins: the repository's test data, the corpus where one is given, and a few made messages.

use std::path::{Path, PathBuf};

use airlock::media::MediaType;

use super::forms;
use super::mutate::MAX_BYTES;
use crate::corpus;
use crate::services::{decode, root};

/// Whole files of that parser's format, none above half of the size that an input may have.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let made = |messages: &[&str]| messages.iter().map(|m| m.as_bytes().to_vec()).collect();
    let mut seeds: Vec<Vec<u8>> = match target {
        "event" => read(&files(), &["json"]).into_iter().chain(EVENTS.map(|e| e.as_bytes().to_vec())).collect(),
        "key" => made(&KEYS),
        "reply" => made(&REPLIES),
        "image" => read(&files(), &["jpg", "png", "gif", "webp"]),
        "parts" => read(&files(), &["docx"]).iter().filter_map(|archive| forms::unpack(archive)).collect(),
        name => read(&files(), MediaType::from_name(name).expect("a target named after its type").extensions()),
    };
    seeds.retain(|seed| seed.len() <= MAX_BYTES);
    assert!(!seeds.is_empty(), "no seeds for {target}");
    seeds
}

/// The inputs that once failed. They lie in a folder of their target's name.
pub fn regressions(target: &str) -> Vec<PathBuf> {
    below(&root().join("testdata/regressions").join(target))
}

/// The bytes of a file, decoded where it is stored encoded.
pub fn content(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|e| e == "enc") {
        decode(&mut bytes);
    }
    bytes
}

fn files() -> Vec<PathBuf> {
    let mut files = below(&root().join("testdata"));
    if let Ok(corpus) = std::env::var("AIRLOCK_CORPUS") {
        let corpus = PathBuf::from(corpus);
        files.extend(corpus::manifest(&corpus).iter().map(|row| corpus.join(&row.path)));
    }
    files
}

fn read(files: &[PathBuf], extensions: &[&str]) -> Vec<Vec<u8>> {
    let wanted = |path: &&PathBuf| {
        let name = path.to_string_lossy().to_lowercase();
        let extension = name.trim_end_matches(".enc").rsplit('.').next();
        extension.is_some_and(|extension| extensions.contains(&extension))
    };
    let small = |path: &&PathBuf| std::fs::metadata(path).is_ok_and(|m| m.len() <= (MAX_BYTES / 2) as u64);
    files.iter().filter(wanted).filter(small).map(|path| content(path)).collect()
}

/// Every file below a folder, in order; none where there is no folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

const EVENTS: [&str; 4] = [
    r#"{"schema":"airlock.upload.v1","bucket":"quarantine","key":"a/b+c%20.jpg","version_id":"v1","etag":"\"abc\"","size":7,
"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","content_type":"image/jpeg",
"filename":"cat.jpg","uploader":"alice","uploaded_at":"2026-11-24T10:00:00Z","meta":{"order":7,"tags":["a",null,1.5]}}"#,
    "content-type: application/cloudevents+json\n{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"x\",\"source\":\"y\",\"data\":
{\"bucket\":\"quarantine\",\"key\":\"a.pdf\"}}",
    "ce-specversion: 1.0\nce-type: com.amazonaws.s3.ObjectCreated:Put\n{\"eventSource\":\"aws:s3\",\"eventName\":
\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":\"quarantine\"},\"object\":{\"key\":\"a+b%2Fc\",\"size\":\"9\",\"eTag\":\"x\"}}}",
    r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#,
];

const KEYS: [&str; 6] = [
    "alice/cat.jpg",
    "a+b%2Bc.jpg",
    "in%2Fa+b%25.png",
    "%C3%9Cbersicht f\u{fc}r M\u{e4}rz.docx",
    "..%2F..%2Fx",
    "a//b/./c.gif",
];

const REPLIES: [&str; 8] = [
    "stream: OK\0",
    "stream: Some.Signature-1 FOUND\0",
    "stream: Local.Rule.UNOFFICIAL FOUND\0",
    "stream: Heuristics.Encrypted.PDF FOUND\0",
    "stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
    "INSTREAM size limit exceeded. ERROR\0",
    "COMMAND READ TIMED OUT\n",
    "ClamAV 1.4.6/27500/Tue Nov 24 10:07:11 2026",
];
