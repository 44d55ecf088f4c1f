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

/// The one upload of a record of AWS whose object has these fields beside its key.
fn object(fields: &str) -> Result<UploadEvent, Fault> {
    let body = format!(
        r#"{{"Records":[{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"in-box"}},"object":{{"key":"k"{fields}}}}}}}]}}"#
    );
    parse_plain(&body).map(|parsed| match parsed {
        Parsed::Uploads(uploads) => uploads.into_iter().next().unwrap(),
        Parsed::Ignored => panic!("an upload"),
    })
}

#[test]
fn the_writer_of_a_record_decides_how_its_key_is_read() {
    let table = [
        ("aws:s3", "red+flower.jpg", "red flower.jpg"),
        ("aws:s3", "a+b%2Bc.jpg", "a b+c.jpg"),
        ("aws:s3", "d/e.jpg", "d/e.jpg"),
        ("aws:s3", "%2fa%2F", "/a/"),
        ("aws:s3", "a%252Bb%2520c", "a%2Bb%20c"),
        ("aws:s3", "/a/..//./x.jpg", "/a/..//./x.jpg"),
        ("minio:s3", "in%2Fa+b%25.png", "in/a b%.png"),
        ("minio:s3", "%C3%A9.png", "é.png"),
        ("minio:s3", "..%2F..%2Fx%2B", "../../x+"),
        ("ceph:s3", "a b+c%2B é/..//x.jpg", "a b+c%2B é/..//x.jpg"),
        ("ceph:s3", "100%.jpg", "100%.jpg"),
        ("ceph:s3", "%00", "%00"),
        ("", "a b/é.jpg", "a b/é.jpg"),
        ("sgws:s3", "a/b.jpg", "a/b.jpg"),
    ];
    for (source, written, meant) in table {
        let one = record(source, "s3:ObjectCreated:Put", written);
        let data = format!(r#"{{"Records":[{one}]}}"#);
        let minio = format!(r#"{{"EventName":"s3:ObjectCreated:Put","Key":"in-box/other","Records":[{one}]}}"#);
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"x","type":"y","subject":"z","data":{one}}}"#);
        for body in [&data, &minio, &event, &one] {
            assert_eq!(keys(parse_plain(body).unwrap()), [meant], "{source} {body}");
        }
    }
}

#[test]
fn a_key_that_may_mean_another_object_is_refused() {
    let (longest, too_long) = ("%61".repeat(1_024), "%61".repeat(1_025));
    assert!(parse_plain(&record("aws:s3", "ObjectCreated:Put", &longest)).is_ok());
    let table = [
        ("aws:s3", "%", FaultCode::EventMalformed),
        ("aws:s3", "%4", FaultCode::EventMalformed),
        ("aws:s3", "%zz", FaultCode::EventMalformed),
        ("aws:s3", "%+1", FaultCode::EventMalformed),
        ("aws:s3", "%FF", FaultCode::EventMalformed),
        ("minio:s3", "%C3", FaultCode::EventMalformed),
        ("minio:s3", "%ED%A0%80", FaultCode::EventMalformed),
        ("aws:s3", "a%00b", FaultCode::EventMalformed),
        ("ceph:s3", "a\\u0000b", FaultCode::EventMalformed),
        ("aws:s3", "", FaultCode::EventMalformed),
        ("aws:s3", &too_long, FaultCode::EventMalformed),
        ("ceph:s3", &longest, FaultCode::EventMalformed),
        ("", "a+b", FaultCode::EventUnknownSchema),
        ("sgws:s3", "a%20b", FaultCode::EventUnknownSchema),
        ("aws", "a%00", FaultCode::EventMalformed),
        ("awsome:s3", "a+b", FaultCode::EventUnknownSchema),
        ("cephalopod:s3", "a+b", FaultCode::EventUnknownSchema),
    ];
    for (source, written, code) in table {
        let fault = parse_plain(&record(source, "ObjectCreated:Put", written)).expect_err(written);
        assert_eq!(fault.code, code, "{source} {written}");
    }
}

#[test]
fn only_a_version_that_names_bytes_is_one() {
    for none in ["", r#","versionId":null"#, r#","versionId":"""#, r#","versionId":"null""#] {
        assert_eq!(object(none).unwrap().object.version, None, "{none}");
    }
    assert_eq!(object(r#","versionId":"v.1_x-""#).unwrap().object.version.unwrap().as_str(), "v.1_x-");
}

#[test]
fn a_size_is_a_number_however_it_is_written() {
    let table = [
        (r#","size":7"#, Some(7)),
        (r#","size":"7""#, Some(7)),
        (r#","size":0"#, Some(0)),
        ("", None),
        (r#","size":null"#, None),
        (r#","size":"""#, None),
        (r#","size":-1"#, None),
        (r#","size":1.5"#, None),
        (r#","size":"many""#, None),
        (r#","size":99999999999999999999"#, None),
    ];
    for (fields, size) in table {
        assert_eq!(object(fields).unwrap().size, size, "{fields}");
    }
}

#[test]
fn an_entity_tag_is_the_same_with_and_without_quotes() {
    let table = [
        (r#","eTag":"abc-2""#, Some("abc-2")),
        (r#","eTag":"\"abc-2\"""#, Some("abc-2")),
        (r#","eTag":"W/\"abc\"""#, Some("abc")),
        (r#","eTag":"""#, None),
        (r#","eTag":null"#, None),
        ("", None),
    ];
    for (fields, etag) in table {
        assert_eq!(object(fields).unwrap().etag.as_ref().map(ETag::as_str), etag, "{fields}");
    }
}

#[test]
fn one_bad_record_holds_the_whole_message_back() {
    let (good, bad) = (record("aws:s3", "ObjectCreated:Put", "a"), record("aws:s3", "ObjectCreated:Put", "%"));
    let fault = parse_plain(&format!(r#"{{"Records":[{good},{bad}]}}"#)).unwrap_err();
    assert_eq!((fault.code, fault.detail.contains("record 1")), (FaultCode::EventMalformed, true), "{fault}");
    // Nobody reads the key of what is no upload.
    let removed = record("aws:s3", "ObjectRemoved:Delete", "%");
    assert_eq!(keys(parse_plain(&format!(r#"{{"Records":[{removed},{good}]}}"#)).unwrap()), ["a"]);
}

#[test]
fn only_new_content_is_an_upload() {
    let others = [
        "ObjectRemoved:DeleteMarkerCreated",
        "s3:ObjectCreated:PutTagging",
        "s3:ObjectCreated:PutRetention",
        "s3:ObjectCreated:PutLegalHold",
        "s3:s3:ObjectCreated:Put",
        "ObjectRestore:Post",
        "",
    ];
    for name in others {
        let body = format!(r#"{{"Records":[{}]}}"#, record("ceph:s3", name, "a.jpg"));
        assert_eq!(parse_plain(&body).unwrap(), Parsed::Ignored, "{name}");
    }
    for name in ["Put", "Post", "Copy", "CompleteMultipartUpload"] {
        for prefix in ["", "s3:"] {
            let body = record("aws:s3", &format!("{prefix}ObjectCreated:{name}"), "a");
            assert_eq!(keys(parse_plain(&body).unwrap()), ["a"], "{prefix}{name}");
        }
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
        (r#"{"specversion":"0.3","data":{"bucket":"in-box","key":"a"}}"#, FaultCode::EventUnknownSchema),
    ];
    for (body, code) in table {
        let fault = parse_plain(body).expect_err(body);
        assert_eq!(fault.code, code, "{body}");
        assert!(!fault.detail.is_empty());
    }
    let deep = "[".repeat(200_000);
    assert_eq!(parse_plain(&deep).unwrap_err().code, FaultCode::EventMalformed);
}
