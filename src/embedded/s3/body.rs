//! Receiving an upload: within bounds, complete, and with the digests its sender claimed.
//!
//! An aws-chunked body that lacks its last chunk ends like a complete one in `s3s`, and a trailer that never came
//! looks like none was meant. Both are refused here: what is stored is what the client wanted to store.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::base64;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest object, and the largest part of a multipart upload.
pub(super) const MAX_OBJECT_BYTES: usize = 64 * 1024 * 1024;

/// The largest request body: an object and the framing of its chunks.
const MAX_WIRE_BYTES: usize = MAX_OBJECT_BYTES + 1024 * 1024;

/// The most that all objects, parts, markers and requests under way may take together.
const MAX_STORE_BYTES: usize = 1024 * 1024 * 1024;

/// Memory is accounted in units of this size, and nothing is free of charge.
const UNIT_BYTES: usize = 4096;

/// A client that sends nothing for so long is given up, and its share of the memory is free again.
const STALL: Duration = Duration::from_secs(30);

/// What is left of the server's memory. Clones draw on the same memory.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A part of the [`Budget`], given back when it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

impl Budget {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STORE_BYTES / UNIT_BYTES)))
    }

    /// # Errors
    /// 400 where one object could never be so large, 503 where the store is full at the moment.
    pub fn take(&self, bytes: usize) -> S3Result<Share> {
        if bytes > MAX_OBJECT_BYTES {
            return Err(too_large());
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX);
        let full = |_| s3_error!(SlowDown, "the store is full: it holds at most {MAX_STORE_BYTES} bytes");
        Arc::clone(&self.0).try_acquire_many_owned(units).map_err(full)
    }
}

fn too_large() -> S3Error {
    s3_error!(EntityTooLarge, "an object may have at most {MAX_OBJECT_BYTES} bytes")
}

/// Bytes that keep their share of the memory until the last reader has let go of them, which may be long after
/// their object was deleted.
struct Accounted {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) fn accounted(bytes: Vec<u8>, share: Share) -> Bytes {
    Bytes::from_owner(Accounted { bytes, _share: share })
}

/// The body of a request as it comes over the wire, complete.
///
/// # Errors
/// 400 when it is too large, stalls or breaks off, 503 when the store is full.
pub(super) async fn gather(mut body: Incoming, budget: &Budget) -> S3Result<Bytes> {
    let mut bytes = Vec::new();
    let mut share = budget.take(0)?;
    loop {
        let frame = tokio::time::timeout(STALL, body.frame()).await.map_err(|_| s3_error!(RequestTimeout))?;
        let Some(frame) = frame else { return Ok(accounted(bytes, share)) };
        let frame = frame.map_err(|error| s3_error!(error, IncompleteBody))?;
        let Some(piece) = frame.data_ref() else { continue };
        if piece.len() > MAX_WIRE_BYTES.saturating_sub(bytes.len()) {
            return Err(too_large());
        }
        share.merge(budget.take(piece.len())?);
        bytes.extend_from_slice(piece);
    }
}

/// A complete body whose digests are right.
pub(super) struct Received {
    pub body: Bytes,
    pub md5: [u8; 16],
    /// The `x-amz-checksum-*` headers and trailers it came with, to be shown again to whoever reads it.
    pub checksums: HeaderMap,
}

/// Reads `body`, which was announced by `headers`.
///
/// # Errors
/// 411 without a length, 400 when the body is too large, incomplete or does not match its digests, 503 when the
/// store is full.
pub(super) async fn receive(
    body: Option<StreamingBlob>,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
    budget: &Budget,
) -> S3Result<Received> {
    let length = declared_length(headers)?;
    let share = budget.take(length)?;
    let bytes = read(body, length).await?;
    let trailers = trailers.and_then(|t| t.take()).unwrap_or_default();
    let checksums = complete(&bytes, headers, &trailers)?;
    let md5 = Md5::checksum(&bytes);
    Ok(Received { body: accounted(bytes, share), md5, checksums })
}

/// The length of the object itself: where the body is aws-chunked, `Content-Length` (if any) counts the framing.
fn declared_length(headers: &HeaderMap) -> S3Result<usize> {
    headers
        .get("x-amz-decoded-content-length")
        .or_else(|| headers.get(CONTENT_LENGTH))
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| s3_error!(MissingContentLength))
}

/// Exactly `length` bytes.
pub(super) async fn read(body: Option<StreamingBlob>, length: usize) -> S3Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let mut pieces = futures_util::stream::iter(body).flatten();
    while let Some(piece) = pieces.next().await {
        // Among these: a digest or a chunk signature that is wrong. `s3s` does not export the type.
        let piece = piece.map_err(|error| s3_error!(IncompleteBody, "the body is not what was signed: {error}"))?;
        if piece.len() > length.saturating_sub(bytes.len()) {
            return Err(s3_error!(IncompleteBody, "the body is longer than was announced"));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() < length {
        return Err(s3_error!(IncompleteBody, "the body is shorter than was announced"));
    }
    Ok(bytes)
}

/// All checksums that came with `body`, which is right by each of them.
///
/// # Errors
/// 400 when one is wrong, or was promised for the end and did not come.
pub(super) fn complete(body: &[u8], headers: &HeaderMap, trailers: &HeaderMap) -> S3Result<HeaderMap> {
    let md5 = headers.get("content-md5");
    if md5.is_some_and(|claimed| claimed.as_bytes() != base64::encode(Md5::checksum(body)).as_bytes()) {
        return Err(s3_error!(BadDigest, "Content-MD5 does not match the body that arrived"));
    }
    if let Some(missing) = promised_trailers(headers).find(|&name| !trailers.contains_key(name)) {
        return Err(s3_error!(IncompleteBody, "the trailer {missing} was promised and did not arrive"));
    }
    let mut checksums = verified(body, headers)?;
    checksums.extend(verified(body, trailers)?);
    Ok(checksums)
}

fn promised_trailers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all("x-amz-trailer").into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// The checksums among `headers`, all of which match `body`.
///
/// # Errors
/// 400 `BadDigest` for the first that does not.
pub(super) fn verified(body: &[u8], headers: &HeaderMap) -> S3Result<HeaderMap> {
    let mut right = HeaderMap::new();
    for (name, claimed) in headers {
        let Some(actual) = checksum(name.as_str(), body) else { continue };
        if claimed.as_bytes() != actual.as_bytes() {
            return Err(s3_error!(BadDigest, "{name} does not match the body that arrived"));
        }
        right.insert(name.clone(), claimed.clone());
    }
    Ok(right)
}

/// What the header `name` should say about `body`; `None` where it is not a checksum.
fn checksum(name: &str, body: &[u8]) -> Option<String> {
    Some(match name {
        "x-amz-checksum-crc32" => base64::encode(Crc32::checksum(body)),
        "x-amz-checksum-crc32c" => base64::encode(Crc32c::checksum(body)),
        "x-amz-checksum-crc64nvme" => base64::encode(Crc64Nvme::checksum(body)),
        "x-amz-checksum-sha1" => base64::encode(Sha1::checksum(body)),
        "x-amz-checksum-sha256" => base64::encode(Sha256::checksum(body)),
        _ => return None,
    })
}
