//! Events of every publisher, captured or written after its documentation, and the one call of the store's own
//! notification API that the S3 SDK lacks.

use std::collections::{BTreeMap, BTreeSet};

use airlock::event::{Parsed, UploadEvent, parse};
use airlock::object::{ETag, VersionId};

use crate::services::root;

/// Key, version, size and entity tag of the upload that a sample announces.
type Upload = (&'static str, Option<&'static str>, Option<u64>, Option<&'static str>);

const PUT: Upload = (
    "alice/red flower+1%.jpg",
    Some("kq3Zt7yXo0dJ5m1uWb2cN8rPvLhFsE9a"),
    Some(48_213),
    Some("0f343b0931126a20f133d67c2b018a3b"),
);
const HELLO: Option<&str> = Some("5d41402abc4b2a76b9719d911017c592");

/// What each file of `testdata/events` is read as; `None`: ignored.
const SAMPLES: [(&str, Option<Upload>); 18] = [
    ("airlock-full", Some(("alice/a b+c%2B é.jpg", PUT.1, PUT.2, PUT.3))),
    ("airlock-minimal", Some(("alice/a b+c%2B é.jpg", None, None, None))),
    ("aws-delete", None),
    ("aws-delete-marker", None),
    (
        "aws-multipart",
        Some((
            "scans/Überblick für März%202026.pdf",
            None,
            Some(9_437_184),
            Some("6a1f0c6be0d2f1a4c0a5a87f3b6fd1a9-2"),
        )),
    ),
    ("aws-put", Some(PUT)),
    ("aws-test", None),
    ("ceph-copy", Some(("copy é+1.jpg", None, Some(5), HELLO))),
    ("ceph-delete-marker", None),
    ("ceph-multipart", Some(("multi part+1.jpg", None, Some(5_242_880), Some("34aa81cf68da619387c0a7fa886db531-1")))),
    ("ceph-post", Some(("form/my photo.jpg", None, Some(5), HELLO))),
    ("ceph-put", Some(("a b+c%2B é/..//x.jpg", Some("L4RPy8SuXbVA9A.tRBOVy41kVzn40W5"), Some(5), HELLO))),
    ("cloudevents-binary", Some(PUT)),
    ("cloudevents-structured", Some(PUT)),
    ("minio-delete", None),
    ("minio-empty", Some(("drop/empty.txt", None, None, Some("d41d8cd98f00b204e9800998ecf8427e")))),
    (
        "minio-put",
        Some(("alice/red flower+1% é.jpg", Some("8e1c7a50-2b6f-4d93-a0f7-5c3d9e6b1a24"), Some(48_213), PUT.3)),
    ),
    ("minio-retention", None),
];

/// A sample: content type, headers and body.
fn sample(name: &str) -> (Option<String>, BTreeMap<String, String>, Vec<u8>) {
    let path = |kind: &str| root().join(format!("testdata/events/{name}.{kind}"));
    let lines = std::fs::read_to_string(path("headers")).unwrap_or_default();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header"));
        (name.to_owned(), value.to_owned())
    };
    let mut headers: BTreeMap<String, String> = lines.lines().map(header).collect();
    let body = std::fs::read(path("json")).unwrap_or_else(|e| panic!("{name}: {e}"));
    (headers.remove("content-type"), headers, body)
}

#[test]
fn every_sample_of_every_publisher_is_read_as_what_it_is() {
    for (name, expected) in SAMPLES {
        let (content_type, headers, body) = sample(name);
        let parsed = parse(&body, content_type.as_deref(), &headers).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let Some((key, version, size, etag)) = expected else {
            assert_eq!(parsed, Parsed::Ignored, "{name}");
            continue;
        };
        let Parsed::Uploads(uploads) = parsed else { panic!("{name} is an upload") };
        assert_eq!(uploads.len(), 1, "{name}");
        let UploadEvent { object, etag: tag, size: bytes, .. } = &uploads[0];
        assert_eq!((object.bucket.as_str(), object.key.as_str()), ("quarantine", key), "{name}");
        assert_eq!(object.version.as_ref().map(VersionId::as_str), version, "{name}");
        assert_eq!((*bytes, tag.as_ref().map(ETag::as_str)), (size, etag), "{name}");
    }
}

#[test]
fn every_file_beside_the_samples_belongs_to_one() {
    let mut bodies = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("testdata/events")).expect("testdata/events") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        match name.rsplit_once('.').expect("an extension") {
            (sample, "json") => assert!(bodies.insert(sample.to_owned())),
            (sample, "headers") => assert!(SAMPLES.iter().any(|(known, _)| *known == sample), "{name} has no body"),
            _ => assert_eq!(name, "README.md"),
        }
    }
    assert_eq!(bodies, SAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn a_cloud_event_is_read_alike_in_both_modes_and_without_its_headers() {
    let (_, headers, body) = sample("cloudevents-binary");
    let binary = parse(&body, Some("application/json"), &headers).expect("an upload");
    // The record says everything that the headers say, and what it says counts.
    assert_eq!(parse(&body, None, &BTreeMap::new()).expect("an upload"), binary);
    let (_, _, body) = sample("cloudevents-structured");
    assert_eq!(parse(&body, None, &BTreeMap::new()).expect("an upload"), binary);
}

/// Creates a notification topic of the Ceph gateway that publishes to an AMQP exchange before it answers a PUT (a
/// persistent topic would survive a broker that is down, and may take many seconds for its first event); returns its
/// ARN. Its API is
/// SNS's, a signed form POST, which is one request too few to depend on another SDK.
pub async fn create_topic(name: &str, broker: &str, exchange: &str) -> String {
    let body = form(&[
        ("Action", "CreateTopic"),
        ("Name", name),
        ("Attributes.entry.1.key", "push-endpoint"),
        ("Attributes.entry.1.value", broker),
        ("Attributes.entry.2.key", "amqp-exchange"),
        ("Attributes.entry.2.value", exchange),
        ("Attributes.entry.3.key", "amqp-ack-level"),
        ("Attributes.entry.3.value", "broker"),
    ]);
    let answer = crate::signed::post(&body).await;
    let arn = answer.split_once("<TopicArn>").and_then(|(_, rest)| rest.split_once("</TopicArn>"));
    arn.unwrap_or_else(|| panic!("no topic: {answer}")).0.to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, b| {
            match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
                _ => out.push_str(&format!("%{b:02X}")),
            }
            out
        })
    };
    fields.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect::<Vec<_>>().join("&")
}
