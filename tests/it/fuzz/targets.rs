//! What is fuzzed: one function per parser, which reads bytes and panics when a promise is broken.
//!
//! Only the public interface of the crate is used. The test suite and the crate in `fuzz/` share this file. Each
//! function returns what came out, without the numbers: a new answer is what the mutator takes for progress.

use std::collections::BTreeMap;

use airlock::event::{self, MAX_RECORDS, Parsed, UploadEvent};
use airlock::fault::{Class, Fault};
use airlock::image::{self, ImageError};
use airlock::media::{Claims, Examination, MediaType, examine};
use airlock::policy::{ImageRules, OutputFormat, Policy};
use airlock::scanner::reply::{self, Reply};
use airlock::text;
use airlock::verdict::{MAX_DETAIL, MAX_REASONS, Reason, ReasonCode};

use super::forms;
use super::words::{DOC, EVENT, GIF, IMAGE, JPEG, KEY, PARTS, PDF, PNG, REPLY, WEBP, ZIP};

/// One parser with the words of its format.
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]) -> String,
    pub words: &'static [&'static [u8]],
}

pub const TARGETS: [Target; 12] = [
    Target { name: "event", check: event, words: EVENT },
    Target { name: "key", check: key, words: KEY },
    Target { name: "reply", check: reply, words: REPLY },
    Target { name: "jpeg", check: jpeg, words: JPEG },
    Target { name: "png", check: png, words: PNG },
    Target { name: "gif", check: gif, words: GIF },
    Target { name: "webp", check: webp, words: WEBP },
    Target { name: "image", check: sanitizer, words: IMAGE },
    Target { name: "pdf", check: pdf, words: PDF },
    Target { name: "doc", check: doc, words: DOC },
    Target { name: "docx", check: docx, words: ZIP },
    Target { name: "parts", check: docx_parts, words: PARTS },
];

/// A message: its body, before it header lines if it does not begin with a brace.
fn event(data: &[u8]) -> String {
    let (mut headers, mut body) = (BTreeMap::new(), data);
    while let Some(end) = body.iter().position(|b| *b == b'\n').filter(|_| !body.starts_with(b"{")) {
        if let Some((name, value)) = String::from_utf8_lossy(&body[..end]).split_once(": ") {
            headers.insert(name.to_owned(), value.to_owned());
        }
        body = &body[end + 1..];
    }
    let content_type = headers.get("content-type").cloned();
    match event::parse(body, content_type.as_deref(), &headers) {
        Ok(Parsed::Ignored) => "ignored".to_owned(),
        Ok(Parsed::Uploads(uploads)) => {
            assert!((1..=MAX_RECORDS).contains(&uploads.len()), "{} uploads", uploads.len());
            for upload in &uploads {
                let again = event::parse(&upload.to_json(), None, &BTreeMap::new());
                assert_eq!(again.as_ref(), Ok(&Parsed::Uploads(vec![upload.clone()])), "read, written and read again");
            }
            format!("{} uploads", uploads.len().min(3))
        }
        Err(fault) => poison(&fault),
    }
}

fn poison(fault: &Fault) -> String {
    assert_eq!(fault.class(), Class::Poison, "the same bytes will never be understood: {fault}");
    readable(&fault.detail);
    plain(&fault.detail)
}

/// A key as S3 notifications write it: encoded by AWS, raw by Ceph. Then the rules about names.
fn key(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let legal = !text.is_empty() && text.len() <= 1024 && !text.contains('\0');
    let encoded: String = text.bytes().map(|b| if b == b' ' { "+".to_owned() } else { format!("%{b:02x}") }).collect();
    for (source, written) in [("ceph:s3", text.as_ref()), ("aws:s3", &encoded), ("minio:s3", &encoded)] {
        let read = recorded(source, written);
        assert_eq!(read.ok().as_deref(), legal.then_some(text.as_ref()), "{source}: {written}");
    }
    let name = match recorded("aws:s3", &text) {
        Ok(key) => key,
        Err(fault) => return poison(&fault),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    let claims = Claims { key_name: last, key: Some(&name), filename: Some(&text), declared: &[&text] };
    let found = examine(b"GIF89a", &claims, &Policy::guide());
    if found.reasons.iter().all(|r| r.code != ReasonCode::UnsafeName) {
        assert!(!last.chars().any(char::is_control), "a name that moves the cursor: {last:?}");
        assert!(!name.split('/').any(|s| matches!(s, "" | "." | "..")), "a path that climbs: {name:?}");
    }
    judged(&found)
}

/// The key of the one upload in a record that `source` wrote.
fn recorded(source: &str, key: &str) -> Result<String, Fault> {
    let record = serde_json::json!({ "eventSource": source, "eventName": "ObjectCreated:Put",
        "s3": { "bucket": { "name": "quarantine" }, "object": { "key": key } } });
    let body = serde_json::json!({ "Records": [record] }).to_string();
    match event::parse(body.as_bytes(), None, &BTreeMap::new())? {
        Parsed::Uploads(uploads) => Ok(uploads.into_iter().map(|u: UploadEvent| u.object.key.to_string()).collect()),
        Parsed::Ignored => panic!("an upload was ignored"),
    }
}

/// What clamd sends: a reply, and the line of its VERSION command.
fn reply(data: &[u8]) -> String {
    if let Some(version) = reply::parse_version(&String::from_utf8_lossy(data)) {
        assert!(data.starts_with(b"ClamAV ") && !version.program.is_empty());
        return format!("version, signatures: {}", version.signatures.is_some());
    }
    let reply = reply::parse(data);
    assert_eq!(reply == Reply::Clean, data == b"stream: OK\0", "one reply means clean: {reply:?}");
    match &reply {
        Reply::Malware(name) | Reply::Encrypted(name) | Reply::Macros(name) | Reply::LimitsExceeded(name) => {
            let written = [format!("stream: {name} FOUND\0"), format!("stream: {name}.UNOFFICIAL FOUND\0")];
            assert!(written.iter().any(|w| w.as_bytes() == data), "the whole reply is the finding: {reply:?}");
        }
        Reply::Clean | Reply::Fault(..) => {}
    }
    plain(&format!("{reply:?}"))
}

fn jpeg(data: &[u8]) -> String {
    walked(data, MediaType::Jpeg)
}

fn png(data: &[u8]) -> String {
    walked(data, MediaType::Png);
    walked(&forms::with_checksums(data), MediaType::Png)
}

fn gif(data: &[u8]) -> String {
    walked(data, MediaType::Gif)
}

fn webp(data: &[u8]) -> String {
    walked(data, MediaType::Webp);
    walked(&forms::with_riff_size(data), MediaType::Webp)
}

/// The walker and the census of an image; no pixel is decoded.
fn walked(data: &[u8], media: MediaType) -> String {
    let found = examined(data, media);
    let _ = image::memory_needed(data, media, &small_rules(OutputFormat::Same));
    if found.reasons.is_empty() {
        refused(&[data, ZIP_HEAD].concat(), media, "a ZIP at the end");
    }
    judged(&found)
}

fn small_rules(output: OutputFormat) -> ImageRules {
    ImageRules {
        max_width: 96,
        max_height: 64,
        output,
        max_pixels: 160_000,
        max_frames: 12,
        max_total_pixels: 320_000,
        ..ImageRules::default()
    }
}

/// The sanitizer, whatever the walker says: the second wall does not lean on the first.
fn sanitizer(data: &[u8]) -> String {
    let healed = match data {
        [0x89, b'P', ..] => forms::with_checksums(data),
        [b'R', b'I', ..] => forms::with_riff_size(data),
        _ => data.to_vec(),
    };
    let media = match data {
        [0x89, ..] => MediaType::Png,
        [b'G', ..] => MediaType::Gif,
        [b'R', ..] => MediaType::Webp,
        _ => MediaType::Jpeg,
    };
    let _ = image::sanitize(&healed, media, &small_rules(OutputFormat::Jpeg));
    let rules = small_rules(OutputFormat::Same);
    match image::sanitize(&healed, media, &rules) {
        Err(ImageError::Refused(reasons)) => listed(&reasons),
        Err(ImageError::Failed(why)) => panic!("a file is never our trouble: {why}"),
        Ok(clean) => {
            assert!(clean.facts.width <= Some(rules.max_width) && clean.facts.height <= Some(rules.max_height));
            let found = examined(&clean.bytes, media);
            assert!(found.reasons.is_empty() && !found.trailing, "the output is refused: {:?}", found.reasons);
            let again = image::sanitize(&clean.bytes, media, &rules).expect("the output is an image");
            assert!(again.facts.removed.is_empty(), "the output carries {:?}", again.facts.removed);
            format!("sanitized, removed {:?}, {} frames", clean.facts.removed, clean.facts.frames.unwrap_or(0).min(3))
        }
    }
}

fn pdf(data: &[u8]) -> String {
    let found = examined(data, MediaType::Pdf);
    if found.reasons.is_empty() {
        refused(&[b"x", data].concat(), MediaType::Pdf, "something before the header");
        refused(&[data, ZIP_HEAD].concat(), MediaType::Pdf, "a ZIP at the end");
        refused(&[data, b"<script>"].concat(), MediaType::Pdf, "script at the end");
        let end = data.windows(9).rposition(|w| w == b"startxref").expect("an accepted PDF has one");
        let script: &[u8] = b"\n77 0 obj\n<</S/JavaScript/JS(x)>>\nendobj\n";
        refused(&[&data[..end], script, &data[end..]].concat(), MediaType::Pdf, "a script that no table lists");
    }
    judged(&found)
}

fn doc(data: &[u8]) -> String {
    let found = examined(data, MediaType::Doc);
    if found.reasons.is_empty() {
        refused(&[data, &[0; 4096], ZIP_HEAD].concat(), MediaType::Doc, "a ZIP at the end");
    }
    judged(&found)
}

fn docx(data: &[u8]) -> String {
    let found = examined(data, MediaType::Docx);
    if found.reasons.is_empty() {
        refused(&[data, ZIP_HEAD].concat(), MediaType::Docx, "a ZIP at the end");
        refused(&[b"x", data].concat(), MediaType::Docx, "something before the archive");
    }
    judged(&found)
}

/// A DOCX in its unpacked form: the archive is always whole, so that damage reaches the parts.
fn docx_parts(form: &[u8]) -> String {
    let found = examined(&forms::pack(form), MediaType::Docx);
    if found.reasons.is_empty() {
        for extra in ["word/vbaProject.bin\nx", "word/other.xml\n<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"] {
            let more = [form, forms::PART, extra.as_bytes()].concat();
            refused(&forms::pack(&more), MediaType::Docx, extra);
        }
    }
    judged(&found)
}

/// Begins a ZIP, so that whoever looks for one takes the bytes for an archive.
const ZIP_HEAD: &[u8] = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00";

fn refused(data: &[u8], media: MediaType, what: &str) {
    assert!(!examined(data, media).reasons.is_empty(), "accepted with {what}");
}

/// Examines twice: the same bytes have the same answer.
fn examined(data: &[u8], media: MediaType) -> Examination {
    let name = format!("file.{}", media.extensions()[0]);
    let claims = Claims { key_name: &name, key: None, filename: None, declared: &[media.mime()] };
    let policy = Policy::guide();
    let found = examine(data, &claims, &policy);
    assert_eq!(found, examine(data, &claims, &policy), "the same bytes, another answer");
    assert!(!found.reasons.is_empty() || found.detected == Some(media), "accepted as {:?}", found.detected);
    found
}

fn judged(found: &Examination) -> String {
    let ranks = found.reasons.iter().map(|r| r.code);
    assert!(ranks.is_sorted() && found.reasons.len() <= MAX_REASONS, "{:?}", found.reasons);
    listed(&found.reasons)
}

fn listed(reasons: &[Reason]) -> String {
    let one = |reason: &Reason| {
        readable(&reason.detail);
        plain(&format!("{}: {}", reason.code, reason.detail))
    };
    reasons.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A detail travels through headers, logs and terminals.
fn readable(detail: &str) {
    assert!(!detail.is_empty() && detail.chars().count() <= MAX_DETAIL, "a detail of the wrong length: {detail}");
    assert!(!detail.contains(text::is_unsafe), "a detail that is not fit to be read: {detail:?}");
}

/// A text without what differs from file to file.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ').take(48).collect()
}
