//! What can be wrong with a body and no client of ours would send.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use s3s::dto::StreamingBlob;
use s3s::{Body, S3ErrorCode};

use crate::embedded::s3::body::{Budget, MAX_OBJECT_BYTES, accounted, complete, read};

/// The CRC-32 of `hello`.
const RIGHT: [(&str, &str); 1] = [("x-amz-checksum-crc32", "NhCmhg==")];
const WRONG: [(&str, &str); 1] = [("x-amz-checksum-crc32", "AAAAAA==")];
const PROMISE: [(&str, &str); 1] = [("x-amz-trailer", "x-amz-checksum-crc32")];

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn checksums_hold_wherever_they_stand() {
    assert_eq!(complete(b"hello", &map(&PROMISE), &map(&RIGHT)).unwrap(), map(&RIGHT));
    assert_eq!(complete(b"hello", &map(&RIGHT), &HeaderMap::new()).unwrap(), map(&RIGHT));
    for (headers, trailers, code) in [
        (map(&WRONG), map(&[]), S3ErrorCode::BadDigest),
        (map(&PROMISE), map(&WRONG), S3ErrorCode::BadDigest),
        (map(&RIGHT), map(&WRONG), S3ErrorCode::BadDigest),
        (map(&PROMISE), map(&[]), S3ErrorCode::IncompleteBody),
        (map(&PROMISE), map(&[("x-amz-another", "NhCmhg==")]), S3ErrorCode::IncompleteBody),
    ] {
        assert_eq!(*complete(b"hello", &headers, &trailers).unwrap_err().code(), code, "{headers:?} {trailers:?}");
    }
}

#[tokio::test]
async fn a_body_has_exactly_the_length_that_was_announced() {
    let body = || Some(StreamingBlob::from(Body::from(Bytes::from_static(b"hello"))));
    assert_eq!(read(body(), 5).await.unwrap(), b"hello");
    for length in [0, 4, 6] {
        assert_eq!(*read(body(), length).await.unwrap_err().code(), S3ErrorCode::IncompleteBody);
    }
    assert_eq!(read(None, 0).await.unwrap(), b"");
    assert_eq!(*read(None, 1).await.unwrap_err().code(), S3ErrorCode::IncompleteBody);
}

#[test]
fn memory_is_accounted_until_the_last_reader_is_gone() {
    let budget = Budget::new();
    assert_eq!(*budget.take(MAX_OBJECT_BYTES + 1).unwrap_err().code(), S3ErrorCode::EntityTooLarge);
    let first = accounted(b"hello".to_vec(), budget.take(MAX_OBJECT_BYTES).unwrap());
    let rest: Vec<_> = std::iter::from_fn(|| budget.take(MAX_OBJECT_BYTES).ok()).collect();
    assert_eq!(rest.len(), 15);
    let reader = first.slice(1..3);
    drop(first);
    assert_eq!(*budget.take(1).unwrap_err().code(), S3ErrorCode::SlowDown);
    drop(reader);
    drop(budget.take(MAX_OBJECT_BYTES).unwrap());
}
