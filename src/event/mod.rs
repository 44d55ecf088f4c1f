//! From a message to the uploads it announces, for every accepted schema.
//!
//! A message is hostile input like any file: whoever may publish may write anything. What an event says about
//! an object (size, tag, hash, type) is a hint; identity comes from our own GET. Which buckets may be named
//! is the route table's business.

mod s3;

pub(crate) use self::s3::form_decode;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fault::{Fault, FaultCode};
use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, Sha256, VersionId};
use crate::verdict::Stage;

/// The largest message body that is parsed.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The most records of one notification; S3 itself sends one.
pub const MAX_RECORDS: usize = 1_000;
/// The largest `meta` that is echoed into the verdict, as JSON.
pub const MAX_META_BYTES: usize = 4 << 10;
/// The longest text field (file name, uploader, declared type) in bytes.
const MAX_FIELD_BYTES: usize = 1_024;

/// The schema of our own upload event.
pub const UPLOAD_SCHEMA: &str = "airlock.upload.v1";

/// One object that was created in a quarantine bucket, as the message tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadEvent {
    pub object: ObjectRef,
    pub etag: Option<ETag>,
    pub size: Option<u64>,
    /// What the publisher says the SHA-256 is: a hint like the rest.
    pub sha256: Option<Sha256>,
    pub content_type: Option<String>,
    pub filename: Option<String>,
    pub uploader: Option<String>,
    /// RFC 3339, for reports only.
    pub uploaded_at: Option<String>,
    /// Echoed into the verdict, at most [`MAX_META_BYTES`].
    pub meta: Map<String, Value>,
}

/// What a message turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// At least one upload.
    Uploads(Vec<UploadEvent>),
    /// A message that is well-formed and is not about an upload: a deletion, a test event.
    Ignored,
}

/// Reads a message: CloudEvents (structured or binary), S3 notifications (AWS, MinIO, Ceph) and our own
/// schema, told apart by content type, headers and shape.
///
/// # Errors
/// `event.malformed` and `event.unknown_schema`, both poison: the same bytes will never be understood.
pub fn parse(body: &[u8], content_type: Option<&str>, headers: &BTreeMap<String, String>) -> Result<Parsed, Fault> {
    if body.len() > MAX_BODY_BYTES {
        return Err(malformed(format!("the message has {} bytes; at most {MAX_BODY_BYTES} are read", body.len())));
    }
    let value: Value = serde_json::from_slice(body).map_err(|e| malformed(format!("the message is not JSON: {e}")))?;
    let structured = content_type.is_some_and(|t| t.to_ascii_lowercase().starts_with("application/cloudevents"));
    if structured || value.get("specversion").is_some() {
        if value.get("specversion").and_then(Value::as_str) != Some("1.0") {
            return Err(unknown("the CloudEvent does not have specversion 1.0"));
        }
        let data = value.get("data").ok_or_else(|| malformed("the CloudEvent has no data"))?;
        return parse_data(data, value.get("type").and_then(Value::as_str));
    }
    let binary_type = ["cloudEvents:", "cloudEvents_", "ce-", "ce_"]
        .iter()
        .find(|prefix| headers.contains_key(&format!("{prefix}specversion")))
        .and_then(|prefix| headers.get(&format!("{prefix}type")));
    parse_data(&value, binary_type.map(String::as_str))
}

/// The payload, whatever carried it.
fn parse_data(data: &Value, event_type: Option<&str>) -> Result<Parsed, Fault> {
    if let Some(records) = data.get("Records") {
        return s3::parse_records(records);
    }
    if data.get("s3").is_some() {
        return s3::parse_records(&Value::Array(vec![data.clone()]));
    }
    if data.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Parsed::Ignored);
    }
    match data.get("schema").and_then(Value::as_str) {
        Some(UPLOAD_SCHEMA) => {}
        Some(other) => return Err(unknown(format!("schema {other} is not known; {UPLOAD_SCHEMA} is"))),
        // A bucket and a key without a schema are unambiguous enough to be welcome.
        None if data.get("bucket").is_some() && data.get("key").is_some() => {}
        None => return Err(unknown(format!("neither Records nor a schema, type {}", event_type.unwrap_or("none")))),
    }
    let upload: Upload =
        serde_json::from_value(data.clone()).map_err(|e| malformed(format!("not a valid upload event: {e}")))?;
    Ok(Parsed::Uploads(vec![upload.try_into()?]))
}

/// Our own schema on the wire. Unknown fields are ignored, so that publishers can go ahead of us.
#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    #[serde(default = "upload_schema")]
    schema: String,
    bucket: Bucket,
    /// Raw: not encoded in any way.
    key: ObjectKey,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    sha256: Option<Sha256>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    uploader: Option<String>,
    #[serde(default)]
    uploaded_at: Option<String>,
    #[serde(default)]
    meta: Map<String, Value>,
}

fn upload_schema() -> String {
    UPLOAD_SCHEMA.to_owned()
}

impl TryFrom<Upload> for UploadEvent {
    type Error = Fault;

    fn try_from(u: Upload) -> Result<Self, Fault> {
        let object = ObjectRef { bucket: u.bucket, key: u.key, version: VersionId::parse(u.version_id.as_deref()) };
        let meta_bytes = serde_json::to_vec(&u.meta).map_or(usize::MAX, |m| m.len());
        if meta_bytes > MAX_META_BYTES {
            return Err(malformed(format!("meta has {meta_bytes} bytes as JSON; at most {MAX_META_BYTES} are echoed")));
        }
        Ok(Self {
            object,
            etag: u.etag.as_deref().map(ETag::parse),
            size: u.size,
            sha256: u.sha256,
            content_type: bounded("content_type", u.content_type)?,
            filename: bounded("filename", u.filename)?,
            uploader: bounded("uploader", u.uploader)?,
            uploaded_at: bounded("uploaded_at", u.uploaded_at)?,
            meta: u.meta,
        })
    }
}

impl UploadEvent {
    /// An event that knows only where the object lies.
    #[must_use]
    pub fn new(object: ObjectRef) -> Self {
        Self {
            object,
            etag: None,
            size: None,
            sha256: None,
            content_type: None,
            filename: None,
            uploader: None,
            uploaded_at: None,
            meta: Map::new(),
        }
    }

    /// The event in our own schema, as JSON.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "strings and numbers always serialize")]
    pub fn to_json(&self) -> Vec<u8> {
        let upload = Upload {
            schema: upload_schema(),
            bucket: self.object.bucket.clone(),
            key: self.object.key.clone(),
            version_id: self.object.version.as_ref().map(ToString::to_string),
            etag: self.etag.as_ref().map(ToString::to_string),
            size: self.size,
            sha256: self.sha256,
            content_type: self.content_type.clone(),
            filename: self.filename.clone(),
            uploader: self.uploader.clone(),
            uploaded_at: self.uploaded_at.clone(),
            meta: self.meta.clone(),
        };
        serde_json::to_vec(&upload).expect("strings and numbers always serialize")
    }
}

/// Empty text is no text; text beyond the limit is refused, since it would travel through every header and log.
fn bounded(field: &str, text: Option<String>) -> Result<Option<String>, Fault> {
    match text {
        Some(t) if t.len() > MAX_FIELD_BYTES => {
            Err(malformed(format!("{field} has {} bytes; at most {MAX_FIELD_BYTES} are accepted", t.len())))
        }
        Some(t) if t.is_empty() => Ok(None),
        other => Ok(other),
    }
}

fn malformed(detail: impl AsRef<str>) -> Fault {
    Fault::new(FaultCode::EventMalformed, Stage::Event, detail)
}

fn unknown(detail: impl AsRef<str>) -> Fault {
    Fault::new(FaultCode::EventUnknownSchema, Stage::Event, detail)
}

#[cfg(test)]
mod tests;
