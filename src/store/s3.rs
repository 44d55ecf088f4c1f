//! The S3 adapter: the only place that knows the AWS SDK.
//!
//! Writes are single PUTs of bytes in memory: conditions on multipart completion are ignored by some stores, and
//! streamed bodies with trailing checksums are refused by others. Checksums are sent when the operation requires
//! them, by default, for the same reason.

mod app;
mod client;
mod error;
mod listing;
mod signing;

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Config, retry::RetryConfig};
use aws_sdk_s3::operation::copy_object::CopyObjectOutput;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{MetadataDirective, TaggingDirective};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use self::error::{ErrorKind, fault, kind, none_when_gone};
use self::signing::KnownDigest;
use super::{
    Destination, Marker, ObjectFacts, ObjectStore, Opened, Pointer, Put, Stored, VersionPage, metadata, source_object,
};
use crate::fault::{Fault, FaultCode};
use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, SourceId, VersionId};
use crate::route::Route;
use crate::snapshot::{Snapshot, Spool};
use crate::stage::{Rejection, Sanitized};
use crate::verdict::{Record, Stage};

pub use self::app::{App, AppError};
pub use self::client::connect;

/// The largest record or pointer that is read back.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// An S3 endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct S3(Client);

/// What one put carries besides its bytes.
struct Headers<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    content_type: &'a str,
    disposition: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    if_absent: bool,
    /// Not tried again behind the caller's back, who looks first whether only the answer was lost.
    once: bool,
}

impl S3 {
    async fn put(&self, headers: Headers<'_>, body: &Snapshot, stage: Stage) -> Result<Put, Fault> {
        let request = self
            .0
            .put_object()
            .bucket(headers.bucket.as_str())
            .key(headers.key)
            .content_type(headers.content_type)
            .set_content_disposition(headers.disposition.map(str::to_owned))
            .set_metadata(Some(headers.metadata.clone().into_iter().collect()))
            .set_if_none_match(headers.if_absent.then(|| "*".to_owned()))
            .body(ByteStream::from(load(body).await?));
        let mut request = request.customize().interceptor(KnownDigest(body.sha256()));
        if headers.once {
            request = request.config_override(Config::builder().retry_config(RetryConfig::disabled()));
        }
        match request.send().await {
            Ok(out) => Ok(Put::Stored(Stored {
                version: VersionId::parse(out.version_id()),
                etag: out.e_tag().map(ETag::parse),
            })),
            // 409 is what AWS answers when two conditional puts meet.
            Err(e) if headers.if_absent && matches!(kind(&e), ErrorKind::Precondition) => Ok(Put::Exists),
            Err(e) => Err(fault(stage, &format!("PUT {}", headers.bucket), &e)),
        }
    }

    async fn put_json(&self, ledger: &Bucket, key: &str, body: Vec<u8>, if_absent: bool) -> Result<Put, Fault> {
        let none = BTreeMap::new();
        let content_type = "application/json";
        let headers =
            Headers { bucket: ledger, key, content_type, disposition: None, metadata: &none, if_absent, once: false };
        self.put(headers, &Spool::of_bytes(body.into()), Stage::Record).await
    }

    async fn get_json<T: serde::de::DeserializeOwned>(&self, ledger: &Bucket, key: &str) -> Result<Option<T>, Fault> {
        let what = format!("GET {ledger}/{key}");
        let sent = self.0.get_object().bucket(ledger.as_str()).key(key).send().await;
        let Some(out) = none_when_gone(sent, Stage::Record, &what)? else { return Ok(None) };
        let size = usize::try_from(out.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if size > MAX_RECORD_BYTES {
            let detail = format!("{key} in the ledger has {size} bytes; nobody but Airlock may write there");
            return Err(Fault::new(FaultCode::Internal, Stage::Record, detail));
        }
        let body = out.body.collect().await.map_err(|e| unavailable(Stage::Record, &what, &e))?;
        serde_json::from_slice(&body.into_bytes()).map(Some).map_err(|e| {
            let detail = format!("{key} in the ledger cannot be read: {e}");
            Fault::new(FaultCode::Internal, Stage::Record, detail)
        })
    }

    async fn copy_rejected(&self, to: &Destination, from: &ObjectRef, etag: Option<&ETag>) -> Result<Stored, Fault> {
        let request = self.copy(from, &to.bucket, &to.key).set_copy_source_if_match(etag.map(ToString::to_string));
        let sent = request
            .set_metadata(Some(to.metadata.clone().into_iter().collect()))
            .content_disposition(INERT_DISPOSITION)
            .send()
            .await;
        sent.map(|out| stored(&out)).map_err(|e| fault(Stage::Store, &format!("COPY to {}", to.bucket), &e))
    }

    /// A copy of the bytes, without type, metadata and tags: the uploader's tags could steer lifecycle rules.
    fn copy(&self, from: &ObjectRef, bucket: &Bucket, key: &ObjectKey) -> CopyObjectFluentBuilder {
        let mut source = format!("{}/{}", from.bucket, encode_path(from.key.as_str()));
        if let Some(version) = &from.version {
            source.push_str("?versionId=");
            source.push_str(version.as_str());
        }
        self.0
            .copy_object()
            .bucket(bucket.as_str())
            .key(key.as_str())
            .copy_source(source)
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            .content_type(INERT_TYPE)
    }
}

fn stored(copied: &CopyObjectOutput) -> Stored {
    let etag = copied.copy_object_result().and_then(|r| r.e_tag()).map(ETag::parse);
    Stored { version: VersionId::parse(copied.version_id()), etag }
}

/// A browser that gets a rejected object saves it instead of showing it.
const INERT_TYPE: &str = "application/octet-stream";
const INERT_DISPOSITION: &str = "attachment";

impl ObjectStore for S3 {
    async fn open(&self, object: &ObjectRef) -> Result<Option<Opened>, Fault> {
        let what = format!("GET {}", object.bucket);
        let sent = self
            .0
            .get_object()
            .bucket(object.bucket.as_str())
            .key(object.key.as_str())
            .set_version_id(object.version.as_ref().map(ToString::to_string))
            .send()
            .await;
        let Some(out) = none_when_gone(sent, Stage::Fetch, &what)? else { return Ok(None) };
        let facts = ObjectFacts {
            version: VersionId::parse(out.version_id()),
            etag: out.e_tag().map(ETag::parse),
            size: size_of(out.content_length(), &what)?,
            last_modified: out.last_modified().map_or(0, aws_smithy_types::DateTime::secs),
            content_type: out.content_type().map(str::to_owned),
            metadata: lower_case(out.metadata()),
        };
        let body = stream::unfold(out.body, move |mut body| {
            let what = what.clone();
            async move {
                let next = body.next().await?;
                Some((next.map_err(|e| unavailable(Stage::Fetch, &what, &e)), body))
            }
        });
        Ok(Some(Opened { facts, body: body.boxed() }))
    }

    async fn head(&self, bucket: &Bucket, key: &ObjectKey) -> Result<Option<ObjectFacts>, Fault> {
        let what = format!("HEAD {bucket}");
        let sent = self.0.head_object().bucket(bucket.as_str()).key(key.as_str()).send().await;
        let Some(out) = none_when_gone(sent, Stage::Store, &what)? else { return Ok(None) };
        Ok(Some(ObjectFacts {
            version: VersionId::parse(out.version_id()),
            etag: out.e_tag().map(ETag::parse),
            size: size_of(out.content_length(), &what)?,
            last_modified: out.last_modified().map_or(0, aws_smithy_types::DateTime::secs),
            content_type: out.content_type().map(str::to_owned),
            metadata: lower_case(out.metadata()),
        }))
    }

    async fn put_clean(&self, to: &Destination, file: &Sanitized) -> Result<Put, Fault> {
        let headers = Headers {
            bucket: &to.bucket,
            key: to.key.as_str(),
            content_type: file.media().mime(),
            disposition: None,
            metadata: &to.metadata,
            if_absent: to.if_absent,
            once: true,
        };
        self.put(headers, file.output(), Stage::Store).await
    }

    async fn put_rejected(&self, to: &Destination, file: &Rejection) -> Result<Stored, Fault> {
        let Some(snapshot) = file.snapshot() else {
            let facts = file.facts();
            let from = facts.object.as_ref().ok_or_else(|| not_stored("a local file has no source object"))?;
            return self.copy_rejected(to, from, facts.etag.as_ref()).await;
        };
        let headers = Headers {
            bucket: &to.bucket,
            key: to.key.as_str(),
            content_type: INERT_TYPE,
            disposition: Some(INERT_DISPOSITION),
            metadata: &to.metadata,
            if_absent: false,
            once: false,
        };
        match self.put(headers, snapshot, Stage::Store).await? {
            Put::Stored(stored) => Ok(stored),
            Put::Exists => Err(not_stored("an unconditional PUT answered that the object exists")),
        }
    }

    async fn put_record(&self, ledger: &Bucket, record: &Record, if_absent: bool) -> Result<Put, Fault> {
        let source =
            record.source_id.ok_or_else(|| not_stored("a record without a source has no place in the ledger"))?;
        let body = serde_json::to_vec(record).map_err(|e| not_stored(&e.to_string()))?;
        self.put_json(ledger, &record_key(&source), body, if_absent).await
    }

    async fn get_record(&self, ledger: &Bucket, source: &SourceId) -> Result<Option<Record>, Fault> {
        self.get_json(ledger, &record_key(source)).await
    }

    async fn put_pointer(&self, ledger: &Bucket, object: &ObjectRef, to: &Pointer) -> Result<(), Fault> {
        let body = serde_json::to_vec(to).map_err(|e| not_stored(&e.to_string()))?;
        self.put_json(ledger, &pointer_key(object), body, false).await.map(|_| ())
    }

    async fn get_pointer(&self, ledger: &Bucket, object: &ObjectRef) -> Result<Option<Pointer>, Fault> {
        self.get_json(ledger, &pointer_key(object)).await
    }

    async fn delete_version(&self, object: &ObjectRef) -> Result<(), Fault> {
        let Some(version) = &object.version else { return Ok(()) };
        let request = self.0.delete_object().bucket(object.bucket.as_str()).key(object.key.as_str());
        let sent = request.version_id(version.as_str()).send().await;
        none_when_gone(sent, Stage::Delete, &format!("DELETE {}", object.bucket)).map(|_| ())
    }

    async fn remove_clean(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        source: &SourceId,
        keep: Option<&VersionId>,
    ) -> Result<usize, Fault> {
        let (source, mut removed) = (source.to_string(), 0);
        let versions = self.versions_of(bucket, key).await?;
        for version in versions.into_iter().filter(|version| keep.is_none_or(|keep| keep.as_str() != version)) {
            let head = self.0.head_object().bucket(bucket.as_str()).key(key.as_str()).version_id(&version);
            let head = none_when_gone(head.send().await, Stage::Store, &format!("HEAD {bucket}"))?;
            if head.is_some_and(|h| lower_case(h.metadata()).get(metadata::SOURCE_ID) == Some(&source)) {
                let delete = self.0.delete_object().bucket(bucket.as_str()).key(key.as_str()).version_id(&version);
                none_when_gone(delete.send().await, Stage::Store, &format!("DELETE {bucket}"))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn versions(&self, bucket: &Bucket, prefix: &str, after: Option<&Marker>) -> Result<VersionPage, Fault> {
        self.list_versions(bucket, prefix, after).await
    }

    async fn put_back(&self, route: &Route, key: &ObjectKey, fresh: &ObjectKey) -> Result<Option<Stored>, Fault> {
        let from = ObjectRef { bucket: route.rejected.clone(), key: key.clone(), version: None };
        let sent = self.copy(&from, &route.quarantine, fresh).send().await;
        let copied = none_when_gone(sent, Stage::Store, &format!("COPY to {}", route.quarantine))?;
        Ok(copied.as_ref().map(stored))
    }

    async fn probe(&self, bucket: &Bucket) -> Result<(), Fault> {
        // A listing of nothing, because a HEAD answers 403 without saying why.
        let sent = self.0.list_objects_v2().bucket(bucket.as_str()).max_keys(1).send().await;
        sent.map(|_| ()).map_err(|e| fault(Stage::Fetch, &format!("LIST {bucket}"), &e))
    }

    async fn is_conditional(&self, ledger: &Bucket) -> Result<bool, Fault> {
        let key = "probe/if-none-match";
        self.put_json(ledger, key, b"{}".to_vec(), false).await?;
        Ok(self.put_json(ledger, key, b"{}".to_vec(), true).await? == Put::Exists)
    }
}

fn record_key(source: &SourceId) -> String {
    format!("verdicts/{source}.json")
}

fn pointer_key(object: &ObjectRef) -> String {
    format!("latest/{}.json", source_object(object))
}

/// Reads all of a snapshot.
async fn load(snapshot: &Snapshot) -> Result<Bytes, Fault> {
    let snapshot = snapshot.clone();
    let read = tokio::task::spawn_blocking(move || snapshot.load()).await.map_err(std::io::Error::other);
    read.and_then(|bytes| bytes)
        .map_err(|e| Fault::new(FaultCode::SpoolFull, Stage::Store, format!("the snapshot cannot be read: {e}")))
}

fn size_of(length: Option<i64>, what: &str) -> Result<u64, Fault> {
    let size = length.and_then(|n| u64::try_from(n).ok());
    size.ok_or_else(|| Fault::new(FaultCode::S3Unavailable, Stage::Fetch, format!("{what}: the answer has no length")))
}

fn lower_case(metadata: Option<&std::collections::HashMap<String, String>>) -> BTreeMap<String, String> {
    metadata.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

fn unavailable(stage: Stage, what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(FaultCode::S3Unavailable, stage, format!("{what}: {error}"))
}

fn not_stored(why: &str) -> Fault {
    Fault::new(FaultCode::Internal, Stage::Store, why)
}

/// Percent-encodes a key for `x-amz-copy-source`, which the SDK takes as it is.
fn encode_path(key: &str) -> String {
    key.bytes().fold(String::with_capacity(key.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}
