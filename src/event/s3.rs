//! S3 bucket notifications: `{"Records": [..]}` as AWS, MinIO and the Ceph gateway write them.
//!
//! They agree in shape and differ in how they write a key: AWS and MinIO encode it like a form field, Ceph
//! leaves it raw. Who wrote the record (`eventSource`) decides, never a guess: trying the other form on a 404
//! would let an uploader choose which object is meant. Of a writer that is not known, a key is taken only if it is
//! the same in both forms.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MAX_RECORDS, Parsed, UploadEvent, bounded, malformed, unknown};
use crate::fault::Fault;
use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, VersionId};
use crate::verdict::Stage;

#[derive(Deserialize)]
struct Record {
    #[serde(default, rename = "eventSource")]
    source: String,
    #[serde(rename = "eventName")]
    name: String,
    #[serde(default, rename = "eventTime")]
    time: Option<String>,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Name,
    object: Object,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    /// A number, or (in some gateways) a string.
    #[serde(default)]
    size: Value,
    #[serde(default, rename = "eTag")]
    etag: Option<String>,
    /// Absent, null and "" all mean none: Ceph sends "" for multipart, copy and form uploads.
    #[serde(default, rename = "versionId")]
    version_id: Option<String>,
    #[serde(default, rename = "contentType")]
    content_type: Option<String>,
}

/// All creations among the records; [`Parsed::Ignored`] when there is none.
pub(super) fn parse_records(records: &Value) -> Result<Parsed, Fault> {
    let records = records.as_array().ok_or_else(|| malformed("Records is not a list"))?;
    if records.len() > MAX_RECORDS {
        return Err(malformed(format!("{} records in one message; at most {MAX_RECORDS} are read", records.len())));
    }
    let mut uploads = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let record = Record::deserialize(record).map_err(|e| malformed(format!("record {index}: {e}")))?;
        if is_creation(&record.name) {
            let at = |e: Fault| Fault::new(e.code, Stage::Event, format!("record {index}: {}", e.detail));
            uploads.push(upload(record).map_err(at)?);
        }
    }
    Ok(if uploads.is_empty() { Parsed::Ignored } else { Parsed::Uploads(uploads) })
}

/// `ObjectCreated:Put` and its kin, with or without `s3:` in front. MinIO also reports changes of retention
/// and tags under this name; those are not new content.
fn is_creation(name: &str) -> bool {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    matches!(
        name,
        "ObjectCreated:Put" | "ObjectCreated:Post" | "ObjectCreated:Copy" | "ObjectCreated:CompleteMultipartUpload"
    )
}

fn upload(record: Record) -> Result<UploadEvent, Fault> {
    let Entity { bucket, object } = record.s3;
    let key = key(&record.source, object.key)?;
    let reference = ObjectRef {
        bucket: Bucket::new(bucket.name).map_err(|e| malformed(e.to_string()))?,
        key: ObjectKey::new(key).map_err(|e| malformed(e.to_string()))?,
        version: VersionId::parse(object.version_id.as_deref()),
    };
    let size = match object.size {
        Value::Number(n) => n.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    Ok(UploadEvent {
        etag: object.etag.as_deref().filter(|t| !t.is_empty()).map(ETag::parse),
        size,
        sha256: None,
        content_type: bounded("contentType", object.content_type)?,
        filename: None,
        uploader: None,
        uploaded_at: bounded("eventTime", record.time)?,
        meta: Map::new(),
        object: reference,
    })
}

/// The key that this writer means.
fn key(source: &str, written: String) -> Result<String, Fault> {
    match source.split(':').next() {
        Some("aws" | "minio") => form_decode(&written),
        Some("ceph") => Ok(written),
        // Read in the wrong form it would be the key of another object.
        _ if written.contains(['+', '%']) => Err(unknown(format!(
            "whether eventSource {source:?} encodes its keys is not known, and {written:?} may be"
        ))),
        _ => Ok(written),
    }
}

/// `application/x-www-form-urlencoded` decoding of one value: `+` is a space, `%XX` a byte. Decoded once.
pub(crate) fn form_decode(text: &str) -> Result<String, Fault> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = tail.get(..2).filter(|h| h.iter().all(u8::is_ascii_hexdigit));
                let hex = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
                out.push(hex.ok_or_else(|| malformed("the key has a % without two hexadecimal digits"))?);
                rest = tail.get(2..).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| malformed("the decoded key is not UTF-8"))
}
