use super::*;

fn parse_plain(body: &str) -> Result<Parsed, Fault> {
    parse(body.as_bytes(), None, &BTreeMap::new())
}

fn keys(parsed: Parsed) -> Vec<String> {
    match parsed {
        Parsed::Uploads(uploads) => uploads.iter().map(|u| u.object.key.to_string()).collect(),
        Parsed::Ignored => vec![],
    }
}

fn record(source: &str, name: &str, key: &str) -> String {
    format!(
        r#"{{"eventSource":"{source}","eventName":"{name}","s3":{{"bucket":{{"name":"in-box"}},"object":{{"key":"{key}","size":"7","versionId":""}}}}}}"#
    )
}

#[test]
fn the_writer_of_a_record_decides_how_its_key_is_read() {
    let table = [
        ("aws:s3", "a+b%2Bc.jpg", "a b+c.jpg"),
        ("aws:s3", "d/e.jpg", "d/e.jpg"),
        ("minio:s3", "in%2Fa+b%25.png", "in/a b%.png"),
        ("minio:s3", "%C3%A9.png", "é.png"),
        ("ceph:s3", "a b+c%2B é/..//x.jpg", "a b+c%2B é/..//x.jpg"),
        ("ceph:s3", "100%.jpg", "100%.jpg"),
    ];
    for (source, written, meant) in table {
        let body = format!(r#"{{"Records":[{}]}}"#, record(source, "s3:ObjectCreated:Put", written));
        assert_eq!(keys(parse_plain(&body).unwrap()), [meant], "{source} {written}");
    }
    for broken in ["%", "%4", "%zz", "%FF"] {
        let body = format!(r#"{{"Records":[{}]}}"#, record("aws:s3", "ObjectCreated:Put", broken));
        assert_eq!(parse_plain(&body).unwrap_err().code, FaultCode::EventMalformed, "{broken}");
    }
}

#[test]
fn only_new_content_is_an_upload() {
    for name in ["ObjectRemoved:DeleteMarkerCreated", "s3:ObjectCreated:PutTagging", "ObjectRestore:Post", ""] {
        let body = format!(r#"{{"Records":[{}]}}"#, record("ceph:s3", name, "a.jpg"));
        assert_eq!(parse_plain(&body).unwrap(), Parsed::Ignored, "{name}");
    }
    assert_eq!(parse_plain(r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#).unwrap(), Parsed::Ignored);
    assert_eq!(parse_plain(r#"{"Records":[]}"#).unwrap(), Parsed::Ignored);
}

#[test]
fn all_records_of_a_message_count() {
    let body = format!(
        r#"{{"Records":[{},{},{}]}}"#,
        record("ceph:s3", "ObjectCreated:Put", "one"),
        record("ceph:s3", "ObjectRemoved:Delete", "two"),
        record("ceph:s3", "ObjectCreated:Copy", "three")
    );
    assert_eq!(keys(parse_plain(&body).unwrap()), ["one", "three"]);
}

#[test]
fn cloud_events_are_opened() {
    let data = format!(r#"{{"Records":[{}]}}"#, record("ceph:s3", "ObjectCreated:Put", "a"));
    let structured = format!(r#"{{"specversion":"1.0","id":"1","source":"x","type":"y","data":{data}}}"#);
    assert_eq!(
        keys(parse(structured.as_bytes(), Some("application/cloudevents+json"), &BTreeMap::new()).unwrap()),
        ["a"]
    );
    let headers = BTreeMap::from([
        ("cloudEvents:specversion".to_owned(), "1.0".to_owned()),
        ("cloudEvents:type".to_owned(), "com.amazonaws.s3.ObjectCreated:Put".to_owned()),
    ]);
    let single = record("ceph:s3", "ObjectCreated:Put", "b");
    assert_eq!(keys(parse(single.as_bytes(), Some("application/json"), &headers).unwrap()), ["b"]);
}

#[test]
fn our_own_schema_round_trips() {
    let body = r#"{"schema":"airlock.upload.v1","bucket":"in-box","key":"a+b%20c.jpg","version_id":"v1","etag":"\"e\"",
        "size":3,"content_type":"image/jpeg","filename":"cat.jpg","uploader":"alice","meta":{"order":7},"later":true}"#;
    let Parsed::Uploads(uploads) = parse_plain(body).unwrap() else { panic!("an upload") };
    assert_eq!(uploads[0].object.key.as_str(), "a+b%20c.jpg", "the key is raw");
    assert_eq!(uploads[0].meta["order"], 7);
    let again = parse(&uploads[0].to_json(), None, &BTreeMap::new()).unwrap();
    assert_eq!(again, Parsed::Uploads(uploads));
}

#[test]
fn hostile_messages_are_poison_with_a_reason() {
    let long = "x".repeat(1_100);
    let table = [
        ("", FaultCode::EventMalformed),
        ("not json", FaultCode::EventMalformed),
        ("[]", FaultCode::EventUnknownSchema),
        ("7", FaultCode::EventUnknownSchema),
        (r#"{"schema":"airlock.upload.v9","bucket":"in-box","key":"a"}"#, FaultCode::EventUnknownSchema),
        (r#"{"bucket":"in-box","key":""}"#, FaultCode::EventMalformed),
        (r#"{"bucket":"IN","key":"a"}"#, FaultCode::EventMalformed),
        (r#"{"bucket":"in-box","key":"a\u0000b"}"#, FaultCode::EventMalformed),
        (&format!(r#"{{"bucket":"in-box","key":"{long}"}}"#), FaultCode::EventMalformed),
        (&format!(r#"{{"bucket":"in-box","key":"a","filename":"{long}"}}"#), FaultCode::EventMalformed),
        (&format!(r#"{{"bucket":"in-box","key":"a","meta":{{"x":"{}"}}}}"#, long.repeat(5)), FaultCode::EventMalformed),
        (r#"{"Records":{"a":1}}"#, FaultCode::EventMalformed),
        (r#"{"Records":[{"s3":{}}]}"#, FaultCode::EventMalformed),
        (r#"{"specversion":"1.0"}"#, FaultCode::EventMalformed),
    ];
    for (body, code) in table {
        let fault = parse_plain(body).expect_err(body);
        assert_eq!(fault.code, code, "{body}");
        assert!(!fault.detail.is_empty());
    }
    let deep = "[".repeat(200_000);
    assert_eq!(parse_plain(&deep).unwrap_err().code, FaultCode::EventMalformed);
}
