//! Multipart uploads that are under way.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use hyper::HeaderMap;
use s3s::crypto::{Checksum, Md5};
use s3s::dto::CompletedPart;
use s3s::{S3Result, s3_error};

use super::body::{self, Received};
use super::store::{Content, Headers, Store};

/// Forgotten uploads are never cleaned up, so their number is what bounds them.
const MAX_UPLOADS: usize = 1000;

/// S3's own limit.
const MAX_PART_NUMBER: i32 = 10_000;

#[derive(Debug)]
pub(super) struct Upload {
    bucket: String,
    key: String,
    headers: Headers,
    parts: BTreeMap<i32, Part>,
}

#[derive(Debug)]
struct Part {
    body: Bytes,
    md5: [u8; 16],
}

impl Store {
    /// # Errors
    /// 404 without the bucket, 503 with too many unfinished uploads.
    pub fn begin_upload(&mut self, bucket: &str, key: &str, headers: Headers) -> S3Result<String> {
        self.bucket(bucket)?;
        if self.uploads.len() >= MAX_UPLOADS {
            return Err(s3_error!(SlowDown, "{MAX_UPLOADS} uploads are unfinished: complete or abort some"));
        }
        let id = self.next_id();
        let upload = Upload { bucket: bucket.to_owned(), key: key.to_owned(), headers, parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Keeps a part; one of the same number is replaced.
    ///
    /// # Errors
    /// 404 without the upload, 400 for a number out of range.
    pub fn add_part(&mut self, bucket: &str, key: &str, id: &str, number: i32, part: Received) -> S3Result<()> {
        if !(1..=MAX_PART_NUMBER).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers go from 1 to {MAX_PART_NUMBER}"));
        }
        let upload = self.uploads.get_mut(id).filter(|upload| upload.is_for(bucket, key));
        let upload = upload.ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(number, Part { body: part.body, md5: part.md5 });
        Ok(())
    }

    /// The object that `listed` parts make together. The upload stays, so that a failed condition can be
    /// followed by another attempt. `headers` are those of the request: they may name a checksum of the whole.
    ///
    /// # Errors
    /// 404 without the upload, 400 when the list does not fit the parts or their sum is too large or wrong.
    pub fn assemble(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        listed: &[CompletedPart],
        headers: &HeaderMap,
    ) -> S3Result<Content> {
        let upload = self.upload(bucket, key, id)?;
        let numbers: Vec<i32> = listed.iter().filter_map(|part| part.part_number).collect();
        if numbers.is_empty() || !numbers.is_sorted_by(|a, b| a < b) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let parts: Vec<&Part> = listed.iter().map(|part| upload.part(part)).collect::<S3Result<_>>()?;
        let size = parts.iter().map(|part| part.body.len()).fold(0, usize::saturating_add);
        let share = self.budget.take(size)?;
        let bytes = parts.iter().map(|part| part.body.as_ref()).collect::<Vec<_>>().concat();
        let digests = parts.iter().map(|part| part.md5).collect::<Vec<_>>().concat();
        // Any other kind of checksum is one over the checksums of the parts, which were verified as they came.
        let whole = headers.get("x-amz-checksum-type").is_some_and(|kind| kind.as_bytes() == b"FULL_OBJECT");
        let checksums = if whole { body::verified(&bytes, headers)? } else { HeaderMap::new() };
        Ok(Content {
            body: body::accounted(bytes, share),
            etag: format!("{}-{}", hex(&Md5::checksum(&digests)), parts.len()),
            headers: upload.headers.clone(),
            checksums,
        })
    }

    /// Forgets an upload, after completion or instead of it.
    ///
    /// # Errors
    /// 404 without the upload.
    pub fn end_upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        self.upload(bucket, key, id)?;
        self.uploads.remove(id);
        Ok(())
    }

    fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<&Upload> {
        let upload = self.uploads.get(id).filter(|upload| upload.is_for(bucket, key));
        upload.ok_or_else(|| s3_error!(NoSuchUpload))
    }
}

impl Upload {
    /// An id is good only for the bucket and key it was made for: rights were checked for those, and an id alone
    /// must not open another bucket.
    fn is_for(&self, bucket: &str, key: &str) -> bool {
        self.bucket == bucket && self.key == key
    }

    fn part(&self, listed: &CompletedPart) -> S3Result<&Part> {
        let part = listed.part_number.and_then(|number| self.parts.get(&number));
        let part = part.ok_or_else(|| s3_error!(InvalidPart))?;
        match &listed.e_tag {
            Some(tag) if tag.value() != hex(&part.md5) => Err(s3_error!(InvalidPart)),
            _ => Ok(part),
        }
    }
}

/// Lower-case hexadecimal digits, as in entity tags.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
