//! The whole path on real services: an event in, a verdict and a moved file out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::services::{expected, testdata};
use crate::world::World;

fn codes(record: &Value) -> Vec<&str> {
    record["reasons"].as_array().expect("reasons").iter().filter_map(|r| r["code"].as_str()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    airlock::object::Sha256::of(bytes).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_test_data_ends_where_it_belongs() {
    let mut world = World::new("all").await;
    let worker = world.worker().await;
    let mut rows = BTreeMap::new();
    for row in expected() {
        let key = row.path.trim_end_matches(".enc").to_owned();
        world.submit(&key, testdata(&row.path), row.declared.as_deref()).await;
        rows.insert(key, row);
    }
    let mut oversize = b"%PDF-1.7\n".to_vec();
    oversize.resize((10 << 20) + 1, b' ');
    world.submit("too/large.pdf", oversize, None).await;
    world.submit("eicar.txt", airlock::scanner::canary::eicar(), Some("text/plain")).await;

    let mut wrong = Vec::new();
    for _ in 0..rows.len() + 2 {
        let record = world.next_verdict().await;
        let key = record["source"]["key"].as_str().expect("a key").to_owned();
        let (verdict, reasons) = match rows.get(&key) {
            Some(row) => (row.verdict.as_str(), row.reasons.clone()),
            None if key == "eicar.txt" => ("rejected", vec!["malware".to_owned()]),
            None => ("rejected", vec!["too_large".to_owned()]),
        };
        let known = reasons.is_empty() || codes(&record).iter().any(|c| reasons.iter().any(|r| r == c));
        if record["verdict"] != verdict || !known {
            wrong.push(format!("{key}: {} {:?} instead of {verdict} {reasons:?}", record["verdict"], codes(&record)));
        } else {
            check_objects(&world, &key, &record).await;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Every source version is deleted, without leaving a delete marker.
    world.until_judged().await;
    assert_eq!(worker.terminate().await, Some(0));
}

/// The object that the record promises is there, inert where rejected, and nothing is in the other bucket.
async fn check_objects(world: &World, key: &str, record: &Value) {
    let (bucket, other) = if record["verdict"] == "clean" { ("clean", "rejected") } else { ("rejected", "clean") };
    assert!(world.app.get(&world.bucket(other), key).await.is_err(), "{key} is in {other} too");
    let head = world.s3.head_object().bucket(world.bucket(bucket)).key(key).send().await.expect("the object is there");
    let metadata = head.metadata().expect("user metadata");
    assert_eq!(metadata.get("airlock-source-id").map(String::as_str), record["source_id"].as_str());
    assert_eq!(metadata.get("airlock-verdict-id").map(String::as_str), record["id"].as_str());
    if bucket == "clean" {
        assert_eq!(head.content_type(), record["output"]["content_type"].as_str());
        let bytes = world.get("clean", key).await;
        assert_eq!(Some(sha256(&bytes).as_str()), record["output"]["sha256"].as_str(), "{key}");
        assert_eq!(head.version_id(), record["output"]["version_id"].as_str());
        check_picture(key, &bytes, record);
    } else {
        assert_eq!(head.content_type(), Some("application/octet-stream"));
        assert_eq!(head.content_disposition(), Some("attachment"));
        assert_eq!(metadata.get("airlock-reason").map(String::as_str), record["reasons"][0]["code"].as_str());
    }
    let stored = world.get("ledger", &format!("verdicts/{}.json", record["source_id"].as_str().expect("an id"))).await;
    assert_eq!(serde_json::from_slice::<Value>(&stored).expect("JSON"), *record, "the event carries the stored record");
}

/// Decoders that are not ours open a sanitized image, see the size that the record tells, and find no metadata.
fn check_picture(key: &str, bytes: &[u8], record: &Value) {
    use image::ImageDecoder;
    let Some(width) = record["sanitized"]["width"].as_u64() else { return };
    let reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().expect("a known format");
    let mut decoder = reader.into_decoder().unwrap_or_else(|e| panic!("{key}: {e}"));
    let (decoded_width, decoded_height) = decoder.dimensions();
    assert_eq!(
        (u64::from(decoded_width), Some(u64::from(decoded_height))),
        (width, record["sanitized"]["height"].as_u64())
    );
    assert!(width <= 2000 && decoded_height <= 2000, "{key}");
    assert_eq!(decoder.exif_metadata().ok().flatten(), None, "{key}");
    assert_eq!(decoder.xmp_metadata().ok().flatten(), None, "{key}");
    image::DynamicImage::from_decoder(decoder).unwrap_or_else(|e| panic!("{key}: {e}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_event_gives_the_same_verdict_and_nothing_new() {
    let mut world = World::new("dup").await;
    let _worker = world.worker().await;
    let version = world.upload("a/skizze.jpg", testdata("clean/skizze.jpg"), Some("image/jpeg")).await;
    let event = world.event("a/skizze.jpg", Some(&version));
    world.publish(&event).await;
    let first = world.next_verdict().await;
    world.publish(&event).await;
    let second = world.next_verdict().await;
    assert_eq!(first, second, "the record is adopted, not made anew");
    assert_eq!(world.versions("clean").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_version_can_be_repeated_too() {
    let mut world = World::new("nover").await;
    let _worker = world.worker().await;
    world.upload("b.jpg", testdata("clean/skizze.jpg"), Some("image/jpeg")).await;
    world.publish(&world.event("b.jpg", None)).await;
    let first = world.next_verdict().await;
    assert_eq!(first["verdict"], "clean");
    // The version that was read is the one that is deleted.
    world.until_judged().await;
    world.publish(&world.event("b.jpg", None)).await;
    assert_eq!(world.next_verdict().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_uploaded_again_are_a_new_upload() {
    let mut world = World::new("again").await;
    let _worker = world.worker().await;
    world.submit("c.jpg", testdata("clean/skizze.jpg"), None).await;
    let first = world.next_verdict().await;
    world.submit("c.jpg", testdata("clean/skizze.jpg"), None).await;
    let second = world.next_verdict().await;
    assert_ne!(first["source_id"], second["source_id"]);
    assert_eq!(first["output"]["sha256"], second["output"]["sha256"], "sanitizing is deterministic");
    assert_eq!((world.keys("clean").await, world.versions("clean").await), (vec!["c.jpg".to_owned()], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_retried_and_then_a_dead_letter_with_a_fault_event() {
    let mut world = World::new("missing").await;
    let _worker = world.worker().await;
    world.publish_raw(world.event("no/such.jpg", None).to_string().as_bytes(), "the-message").await;
    let (headers, body) = world.next_dead().await;
    assert_eq!(headers["x-airlock-error-code"], "source.missing");
    assert_eq!(headers["x-airlock-attempt"], "3");
    assert!(String::from_utf8_lossy(&body).contains("no/such.jpg"), "the body is unchanged");
    let (key, event) = world.next_notice().await;
    assert_eq!(key, "fault.default");
    assert_eq!(event["data"]["code"], "source.missing");
    assert_eq!(event["data"]["schema"], "airlock.fault.v1");
    assert_eq!(event["data"]["source"]["key"], "no/such.jpg");
    world.no_notice(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_dead_at_once_and_stops_nobody() {
    let mut world = World::new("poison").await;
    let worker = world.worker().await;
    let foreign = json!({"schema": "airlock.upload.v1", "bucket": world.bucket("clean"), "key": "x.jpg"}).to_string();
    let table: [(&[u8], &str); 6] = [
        (b"", "event.malformed"),
        (b"\xff\xfe\x00", "event.malformed"),
        (b"{\"schema\":\"airlock.upload.v9\",\"bucket\":\"in-box\",\"key\":\"a\"}", "event.unknown_schema"),
        (b"{\"hello\":\"world\"}", "event.unknown_schema"),
        (b"{\"bucket\":\"in-box\",\"key\":\"a\\u0000b\"}", "event.malformed"),
        (foreign.as_bytes(), "event.bucket_not_allowed"),
    ];
    for (body, _) in &table {
        world.publish_raw(body, "poison").await;
    }
    let mut dead = Vec::new();
    for _ in &table {
        let (headers, body) = world.next_dead().await;
        assert_eq!(headers["x-airlock-attempt"], "1");
        assert_eq!(headers["x-airlock-error-class"], "poison");
        dead.push((body, headers["x-airlock-error-code"].clone()));
    }
    for (body, code) in table {
        assert!(dead.contains(&(body.to_vec(), code.to_owned())), "{code} for {}", String::from_utf8_lossy(body));
    }
    for _ in 0..6 {
        assert!(world.next_notice().await.0.starts_with("fault."));
    }
    world.submit("good.jpg", testdata("clean/skizze.jpg"), None).await;
    assert_eq!(world.next_verdict().await["verdict"], "clean");
    let (_, metrics) = worker.get("/metrics").await;
    assert!(metrics.contains("airlock_dead_letters_total{code=\"event.malformed\"} 3"), "{metrics}");
    assert!(metrics.contains("airlock_verdicts_total{verdict=\"clean\",reason=\"none\",type=\"jpeg\"} 1"));
    assert_eq!(worker.get("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_several_records_becomes_several_messages() {
    let mut world = World::new("several").await;
    let _worker = world.worker().await;
    let mut records = Vec::new();
    for key in ["r/1 +%.jpg", "r/2.jpg", "r/é.jpg"] {
        let version = world.upload(key, testdata("clean/skizze.jpg"), None).await;
        records.push(json!({"eventSource": "ceph:s3", "eventName": "ObjectCreated:Put", "s3": {
            "bucket": {"name": world.bucket("quarantine")}, "object": {"key": key, "versionId": version}}}));
    }
    world.publish(&json!({ "Records": records })).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        let record = world.next_verdict().await;
        assert_eq!(record["verdict"], "clean");
        keys.push(record["source"]["key"].as_str().expect("a key").to_owned());
    }
    keys.sort();
    assert_eq!(keys, ["r/1 +%.jpg", "r/2.jpg", "r/é.jpg"]);
    assert_eq!(world.depth("work").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_upload_never_replaces_a_newer_one() {
    let mut world = World::new("order").await;
    let old = world.upload("same.jpg", testdata("clean/skizze.jpg"), None).await;
    // The order is told by whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let new = world.upload("same.jpg", testdata("clean/poster-generated.jpg"), None).await;
    let _worker = world.worker().await;
    world.publish(&world.event("same.jpg", Some(&new))).await;
    let newest = world.next_verdict().await;
    assert_eq!(newest["verdict"], "clean");
    world.publish(&world.event("same.jpg", Some(&old))).await;
    let (key, event) = world.next_notice().await;
    assert_eq!((key.as_str(), &event["data"]["verdict"]), ("superseded.default", &json!("superseded")));
    assert_eq!(Some(sha256(&world.get("clean", "same.jpg").await).as_str()), newest["output"]["sha256"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_beats_a_clean_record_and_takes_the_object_back() {
    let mut world = World::new("recall").await;
    let worker = world.worker().await;
    let version = world.upload("r.jpg", testdata("clean/skizze.jpg"), None).await;
    let event = world.event("r.jpg", Some(&version));
    world.publish(&event).await;
    let clean = world.next_verdict().await;
    assert_eq!(world.keys("clean").await, ["r.jpg"]);
    drop(worker);
    // Another worker, at the same time, found malware in the same upload: its record is the one that stands.
    let mut rejected = clean.clone();
    rejected["verdict"] = json!("rejected");
    rejected["reasons"] = json!([{"code": "malware", "stage": "scan", "detail": "X", "engine": "clamd"}]);
    let key = format!("verdicts/{}.json", clean["source_id"].as_str().expect("an id"));
    let put = world.s3.put_object().bucket(world.bucket("ledger")).key(key);
    put.body(rejected.to_string().into_bytes().into()).send().await.expect("the record");
    let _worker = world.worker().await;
    world.publish(&event).await;
    let (routing, _) = world.next_notice().await;
    assert_eq!(routing, "rejected.default");
    assert_eq!(world.versions("clean").await, 0, "nothing of a rejected upload stays in the clean bucket");
}
