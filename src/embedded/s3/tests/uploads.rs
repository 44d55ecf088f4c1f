//! Multipart uploads.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::*;

async fn begin(client: &Client, bucket: &str, key: &str) -> String {
    let request = client.create_multipart_upload().bucket(bucket).key(key).content_type("image/png");
    request.send().await.unwrap().upload_id.unwrap()
}

async fn part(client: &Client, key: &str, id: &str, number: i32, body: &'static [u8]) -> CompletedPart {
    let request = client.upload_part().bucket("quarantine").key(key).upload_id(id).part_number(number);
    let output = request.body(ByteStream::from_static(body)).send().await.unwrap();
    CompletedPart::builder().part_number(number).set_e_tag(output.e_tag).build()
}

fn list(parts: &[&CompletedPart]) -> CompletedMultipartUpload {
    let parts = parts.iter().copied().cloned().collect();
    CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
}

#[tokio::test]
async fn parts_become_one_object_in_both_checksum_modes() {
    let (server, _) = server().await;
    for client in in_both_checksum_modes(&server) {
        let id = begin(&client, "quarantine", "k").await;
        let second = part(&client, "k", &id, 7, b"world").await;
        let first = part(&client, "k", &id, 2, b"hello ").await;
        let complete = || client.complete_multipart_upload().bucket("quarantine").key("k").upload_id(&id);
        let done = complete().multipart_upload(list(&[&first, &second])).send().await.unwrap();
        assert!(done.e_tag().unwrap().ends_with("-2\""));
        assert!(done.version_id().is_some());
        let output = client.get_object().bucket("quarantine").key("k").send().await.unwrap();
        assert_eq!(output.content_type(), Some("image/png"));
        assert_eq!(output.body.collect().await.unwrap().to_vec(), b"hello world");
        let again = complete().multipart_upload(list(&[&first, &second])).send().await;
        assert_eq!(refusal(again), refused(404, "NoSuchUpload"));
    }
}

#[tokio::test]
async fn a_list_that_does_not_fit_the_parts_is_refused() {
    let (_server, client) = server().await;
    let id = begin(&client, "quarantine", "k").await;
    let first = part(&client, "k", &id, 1, b"one").await;
    let second = part(&client, "k", &id, 2, b"two").await;
    let absent = CompletedPart::builder().part_number(3).e_tag("\"x\"").build();
    let forged = CompletedPart::builder().part_number(1).e_tag("\"x\"").build();
    let complete = || client.complete_multipart_upload().bucket("quarantine").key("k").upload_id(&id);
    for (parts, code) in [
        (list(&[&second, &first]), "InvalidPartOrder"),
        (list(&[&first, &absent]), "InvalidPart"),
        (list(&[&forged]), "InvalidPart"),
    ] {
        assert_eq!(refusal(complete().multipart_upload(parts).send().await), refused(400, code));
    }
    // A refusal leaves the upload as it was.
    put(&client, "quarantine", "k", b"here first").await;
    let late = complete().if_none_match("*").multipart_upload(list(&[&first, &second])).send().await;
    assert_eq!(refusal(late), refused(412, "PreconditionFailed"));
    complete().multipart_upload(list(&[&first, &second])).send().await.unwrap();
}

#[tokio::test]
async fn an_upload_belongs_to_its_bucket_and_key() {
    let (_server, client) = server().await;
    let id = begin(&client, "clean", "k").await;
    let stray = client.upload_part().bucket("quarantine").key("k").upload_id(&id).part_number(1).send().await;
    assert_eq!(refusal(stray), refused(404, "NoSuchUpload"));
    let abort = |key: &str| client.abort_multipart_upload().bucket("clean").key(key).upload_id(&id).send();
    assert_eq!(refusal(abort("other").await), refused(404, "NoSuchUpload"));
    abort("k").await.unwrap();
    assert_eq!(refusal(abort("k").await), refused(404, "NoSuchUpload"));
}
