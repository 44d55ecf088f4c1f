//! Captured events of real stores, and the one call of the store's own notification API that the S3 SDK lacks.

use airlock::event::{Parsed, parse};

use crate::services::root;

#[test]
fn captured_events_of_real_stores_are_understood() {
    let folder = root().join("testdata/events");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("testdata/events") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let body = std::fs::read(&path).expect("a sample");
        let parsed = parse(&body, None, &std::collections::BTreeMap::new());
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        match parsed.unwrap_or_else(|fault| panic!("{name}: {fault}")) {
            Parsed::Uploads(uploads) => {
                assert!(!name.contains("delete"), "{name} is no upload");
                assert_eq!(uploads[0].object.bucket.as_str(), "quarantine", "{name}");
                assert_eq!(
                    uploads[0].object.version.is_some(),
                    name == "ceph-put",
                    "{name}: only a put names its version"
                );
            }
            Parsed::Ignored => assert!(name.contains("delete"), "{name} is an upload"),
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
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
