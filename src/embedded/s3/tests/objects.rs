//! Objects and versions: what goes in comes out, conditions hold, wrong digests are refused.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use super::*;

const ODD_KEYS: [&str; 9] = [
    "a b+c%2B é/..//x",
    "../x",
    "/lead",
    ".",
    "trailing/",
    "a//b",
    "new\nline",
    "quote\"<&>'#?=;:@,$!*()",
    "%00%2e%2e%2f",
];

#[tokio::test]
async fn odd_keys_and_both_kinds_of_body_come_back_unchanged_in_both_checksum_modes() {
    let (server, _) = server().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all(&bytes).unwrap();
    for client in in_both_checksum_modes(&server) {
        for key in ODD_KEYS {
            for body in [ByteStream::from(bytes.clone()), ByteStream::from_path(file.path()).await.unwrap()] {
                client.put_object().bucket("clean").key(key).body(body).send().await.unwrap();
                assert!(get(&client, "clean", key).await == bytes, "{key:?}");
                client.delete_object().bucket("clean").key(key).send().await.unwrap();
            }
        }
        client.put_object().bucket("clean").key("empty").send().await.unwrap();
        assert_eq!(get(&client, "clean", "empty").await, b"");
    }
}

#[tokio::test]
async fn a_key_may_have_1024_bytes_and_no_nul() {
    let (_server, client) = server().await;
    put(&client, "clean", &"k".repeat(1024), b"x").await;
    let put = |key: String| client.put_object().bucket("clean").key(key).send();
    assert_eq!(refusal(put("k".repeat(1025)).await), refused(400, "KeyTooLongError"));
    assert_eq!(refusal(put("a\0b".to_owned()).await), refused(400, "InvalidArgument"));
}

#[tokio::test]
async fn headers_and_metadata_are_shown_again() {
    let (_server, client) = server().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let request = client.put_object().bucket("clean").key("k").content_type("image/png").cache_control("no-store");
    let request = request.content_disposition("attachment").metadata("owner", "ann").content_encoding("gzip");
    // As a stream, so that the transfer encoding must be told from the content encoding.
    request.body(ByteStream::from_path(file.path()).await.unwrap()).send().await.unwrap();
    let head = client.head_object().bucket("clean").key("k").send().await.unwrap();
    assert_eq!(head.content_type(), Some("image/png"));
    assert_eq!(head.cache_control(), Some("no-store"));
    assert_eq!(head.content_disposition(), Some("attachment"));
    assert_eq!(head.content_encoding(), Some("gzip"));
    assert_eq!(head.metadata().unwrap()["owner"], "ann");
    let large = client.put_object().bucket("clean").key("k").metadata("m", "v".repeat(8192)).send().await;
    assert_eq!(refusal(large), refused(400, "MetadataTooLarge"));
}

#[tokio::test]
async fn versions_are_kept_and_deleted_one_by_one() {
    let (_server, client) = server().await;
    let first = put(&client, "quarantine", "k", b"one").await.unwrap();
    let second = put(&client, "quarantine", "k", b"two").await.unwrap();
    let read = |id: &str| client.get_object().bucket("quarantine").key("k").version_id(id).send();
    assert_eq!(read(&first).await.unwrap().body.collect().await.unwrap().to_vec(), b"one");

    let hidden = client.delete_object().bucket("quarantine").key("k").send().await.unwrap();
    assert_eq!(hidden.delete_marker(), Some(true));
    let marker = hidden.version_id().unwrap();
    assert_eq!(refusal(client.get_object().bucket("quarantine").key("k").send().await), refused(404, "NoSuchKey"));
    assert_eq!(refusal(read(marker).await), refused(405, "MethodNotAllowed"));
    assert_eq!(refusal(read("nonsense").await), refused(404, "NoSuchVersion"));

    for id in [marker, &second] {
        client.delete_object().bucket("quarantine").key("k").version_id(id).send().await.unwrap();
    }
    assert_eq!(get(&client, "quarantine", "k").await, b"one");
    // Deleting it again is no error: it is not there, as was wanted.
    client.delete_object().bucket("quarantine").key("k").version_id(&second).send().await.unwrap();
}

#[tokio::test]
async fn without_versioning_a_write_replaces_and_a_delete_is_final() {
    let (_server, client) = server().await;
    assert_eq!(put(&client, "clean", "k", b"one").await, None);
    put(&client, "clean", "k", b"two").await;
    let listed = client.list_object_versions().bucket("clean").send().await.unwrap();
    assert_eq!(listed.versions().len(), 1);
    client.delete_object().bucket("clean").key("k").send().await.unwrap();
    let listed = client.list_object_versions().bucket("clean").send().await.unwrap();
    assert!(listed.versions().is_empty() && listed.delete_markers().is_empty());
}

#[tokio::test]
async fn what_was_written_before_versioning_was_suspended_stays_hidden_and_kept() {
    let (server, client) = server().await;
    let old = put(&client, "quarantine", "k", b"old").await.unwrap();
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    let request = client.put_bucket_versioning().bucket("quarantine").versioning_configuration(suspended);
    request.send().await.unwrap();
    for body in [b"one", b"two"] {
        put(&client, "quarantine", "k", body).await;
    }
    let listed = client.list_object_versions().bucket("quarantine").send().await.unwrap();
    let ids: Vec<_> = listed.versions().iter().filter_map(|v| v.version_id()).collect();
    assert_eq!(ids, ["null", &old]);

    client.delete_object().bucket("quarantine").key("k").send().await.unwrap();
    assert_eq!(refusal(client.get_object().bucket("quarantine").key("k").send().await), refused(404, "NoSuchKey"));
    client.get_object().bucket("quarantine").key("k").version_id(&old).send().await.unwrap();
    server.create_bucket("quarantine", true);
    assert!(put(&client, "quarantine", "k", b"new").await > Some(old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_writers_that_want_to_be_first_one_is() {
    let (_server, client) = server().await;
    for round in 0..10 {
        let race = (0..16).map(|writer: u32| {
            let request = client.put_object().bucket("clean").key(format!("race-{round}")).if_none_match("*");
            let request = request.body(ByteStream::from(writer.to_be_bytes().to_vec()));
            tokio::spawn(request.send())
        });
        let results = futures_util::future::join_all(race).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().map(Result::unwrap).partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for loser in lost {
            assert_eq!(refusal(loser), refused(412, "PreconditionFailed"));
        }
    }
    // A key that is deleted is free again.
    put(&client, "quarantine", "k", b"one").await;
    client.delete_object().bucket("quarantine").key("k").send().await.unwrap();
    client.put_object().bucket("quarantine").key("k").if_none_match("*").send().await.unwrap();
}

#[tokio::test]
async fn conditions_on_entity_tags_hold() {
    let (_server, client) = server().await;
    put(&client, "clean", "k", b"one").await;
    let tag = client.head_object().bucket("clean").key("k").send().await.unwrap().e_tag.unwrap();
    let write = |tag: &str, key: &str| client.put_object().bucket("clean").key(key).if_match(tag).send();
    assert_eq!(refusal(write("\"other\"", "k").await), refused(412, "PreconditionFailed"));
    assert_eq!(refusal(write(&tag, "absent").await), refused(404, "NoSuchKey"));
    let read = || client.get_object().bucket("clean").key("k");
    assert_eq!(refusal(read().if_match("\"other\"").send().await), refused(412, "PreconditionFailed"));
    assert_eq!(refusal(read().if_none_match(&tag).send().await).0, 304);
    let delete = client.delete_object().bucket("clean").key("k").if_match("\"other\"").send().await;
    assert_eq!(refusal(delete), refused(412, "PreconditionFailed"));
    write(&tag, "k").await.unwrap();
}

#[tokio::test]
async fn ranges_are_cut_exactly() {
    let (_server, client) = server().await;
    put(&client, "clean", "k", b"0123456789").await;
    for (range, part, shown) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let output = client.get_object().bucket("clean").key("k").range(range).send().await.unwrap();
        assert_eq!(output.content_range(), Some(shown));
        assert_eq!(output.body.collect().await.unwrap().to_vec(), part.as_bytes());
    }
    let beyond = client.get_object().bucket("clean").key("k").range("bytes=10-").send().await;
    assert_eq!(refusal(beyond), refused(416, "InvalidRange"));
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let (_server, client) = server().await;
    let put = || client.put_object().bucket("clean").key("k").body(ByteStream::from_static(b"hello"));
    let zeros = |count| aws_smithy_types::base64::encode(vec![0; count]);
    for wrong in [
        put().checksum_sha256(zeros(32)),
        put().checksum_sha1(zeros(20)),
        put().checksum_crc32(zeros(4)),
        put().checksum_crc32_c(zeros(4)),
        put().checksum_crc64_nvme(zeros(8)),
        put().content_md5(zeros(16)),
    ] {
        assert_eq!(refusal(wrong.send().await), refused(400, "BadDigest"));
    }
    let head = client.head_object().bucket("clean").key("k").send().await;
    assert_eq!(refusal(head).0, 404);
}

/// Replaces the body on its way, behind the signature, with another of the same length.
#[derive(Debug)]
struct Tampered;

impl Intercept for Tampered {
    fn name(&self) -> &'static str {
        "tampered"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let length = request.headers().get("content-length").unwrap_or_default().parse()?;
        *request.body_mut() = SdkBody::from("z".repeat(length));
        Ok(())
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_was_signed_is_refused() {
    let (_server, client) = server().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hello").unwrap();
    for body in [ByteStream::from_static(b"hello"), ByteStream::from_path(file.path()).await.unwrap()] {
        let request = client.put_object().bucket("clean").key("k").body(body);
        let sent = request.customize().interceptor(Tampered).send().await;
        assert_eq!(refusal(sent), refused(400, "IncompleteBody"));
    }
    assert_eq!(refusal(client.head_object().bucket("clean").key("k").send().await).0, 404);
}

#[tokio::test]
async fn a_copy_keeps_or_replaces_what_the_source_says() {
    let (_server, client) = server().await;
    let key = "a b+c%2B é/..//x";
    let request = client.put_object().bucket("quarantine").key(key).metadata("owner", "ann").content_type("image/gif");
    let old = request.body(ByteStream::from_static(b"old")).send().await.unwrap().version_id.unwrap();
    put(&client, "quarantine", key, b"new").await;
    let source = format!("quarantine/a%20b%2Bc%252B%20%C3%A9/..//x?versionId={old}");
    let copy = || client.copy_object().bucket("clean").key("copy").copy_source(&source);
    copy().send().await.unwrap();
    assert_eq!(get(&client, "clean", "copy").await, b"old");
    let head = client.head_object().bucket("clean").key("copy").send().await.unwrap();
    assert_eq!((head.content_type(), head.metadata().unwrap().len()), (Some("image/gif"), 1));

    copy().metadata_directive(MetadataDirective::Replace).content_type("text/plain").send().await.unwrap();
    let head = client.head_object().bucket("clean").key("copy").send().await.unwrap();
    assert_eq!((head.content_type(), head.metadata().unwrap().len()), (Some("text/plain"), 0));
    let other = copy().copy_source_if_match("\"other\"").send().await;
    assert_eq!(refusal(other), refused(412, "PreconditionFailed"));
}

#[tokio::test]
async fn every_creation_is_announced_once() {
    let (server, client) = server().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    server.on_created(move |created| list.lock().unwrap().push(created.clone()));
    let version_id = put(&client, "quarantine", "k é", b"hello").await;
    client.copy_object().bucket("clean").key("copy").copy_source("quarantine/k%20%C3%A9").send().await.unwrap();
    client.put_object().bucket("clean").key("copy").if_none_match("*").send().await.unwrap_err();
    client.delete_object().bucket("quarantine").key("k é").send().await.unwrap();

    let upload = Created {
        bucket: "quarantine".to_owned(),
        key: "k é".to_owned(),
        version_id,
        size: 5,
        etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
        content_type: "application/octet-stream".to_owned(),
    };
    let copy = Created { bucket: "clean".to_owned(), key: "copy".to_owned(), version_id: None, ..upload.clone() };
    assert_eq!(*seen.lock().unwrap(), [upload, copy]);
}

#[tokio::test]
async fn version_ids_differ_from_each_other() {
    let (_server, client) = server().await;
    let writes = (0..20).map(|_| put(&client, "quarantine", "k", b"x"));
    let ids: HashSet<_> = futures_util::future::join_all(writes).await.into_iter().collect();
    assert_eq!(ids.len(), 20);
}
