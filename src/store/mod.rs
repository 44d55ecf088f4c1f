//! The port to the object store.
//!
//! There is no general put. A clean bucket takes a [`Sanitized`], a rejected bucket a [`Rejection`], the ledger a
//! [`Record`]: what may be written where is decided by the compiler. There is no server-side copy from quarantine
//! to clean either, since a copy would take whatever lies under the key by then. The one copy into quarantine comes
//! from the rejected bucket.

pub mod s3;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, Sha256, SourceId, VersionId};
use crate::route::Route;
use crate::stage::{Rejection, Sanitized};
use crate::verdict::Record;

/// What the store says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    pub version: Option<VersionId>,
    pub etag: Option<ETag>,
    pub size: u64,
    /// Seconds since 1970.
    pub last_modified: i64,
    pub content_type: Option<String>,
    /// User metadata, names in lower case and without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// An object that is being read: the headers are here, the body comes when it is polled.
pub struct Opened {
    pub facts: ObjectFacts,
    pub body: BoxStream<'static, Result<Bytes, Fault>>,
}

/// Where to put something, and the user metadata to put with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub bucket: Bucket,
    pub key: ObjectKey,
    pub metadata: BTreeMap<String, String>,
    /// Only where there is no object under this key.
    pub if_absent: bool,
}

/// What the store answered to a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub version: Option<VersionId>,
    pub etag: Option<ETag>,
}

/// The end of a conditional put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    Stored(Stored),
    /// Something lies there already.
    Exists,
}

/// Points from a key to its newest verdict, for uploads whose event names no version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub source_id: SourceId,
    pub etag: Option<ETag>,
    pub last_modified: i64,
}

/// One version of an object, as a listing shows it. Without an id it is the one that a bucket without versions has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub object: ObjectRef,
    pub etag: Option<ETag>,
    pub size: u64,
    /// Seconds since 1970, cut as a GET tells them: listings have milliseconds.
    pub last_modified: i64,
    /// Nothing was put over it since, and it is not deleted.
    pub latest: bool,
}

/// Behind which key, or which version of it, a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub key: ObjectKey,
    pub version: Option<String>,
}

/// One page of a listing of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionPage {
    pub versions: Vec<Listed>,
    /// Give it to the next call; `None` at the end.
    pub next: Option<Marker>,
}

/// An object store with S3's semantics. Faults are `s3.unavailable` and `s3.denied`.
pub trait ObjectStore: Send + Sync + 'static {
    /// Begins to read an object, the pinned version where there is one. `None`: it is not there.
    fn open(&self, object: &ObjectRef) -> impl Future<Output = Result<Option<Opened>, Fault>> + Send;

    /// What lies under a key of a clean or a rejected bucket.
    fn head(&self, bucket: &Bucket, key: &ObjectKey)
    -> impl Future<Output = Result<Option<ObjectFacts>, Fault>> + Send;

    /// Promotes: the sanitized bytes under their detected type. One request and no more: after a fault the object may
    /// be there or not.
    fn put_clean(&self, to: &Destination, file: &Sanitized) -> impl Future<Output = Result<Put, Fault>> + Send;

    /// Keeps the original bytes where they do no harm: as an attachment without a type. Bytes that were never
    /// fetched are copied inside the store.
    fn put_rejected(&self, to: &Destination, file: &Rejection) -> impl Future<Output = Result<Stored, Fault>> + Send;

    /// Writes a verdict record; with `if_absent`, only the first one.
    fn put_record(
        &self,
        ledger: &Bucket,
        record: &Record,
        if_absent: bool,
    ) -> impl Future<Output = Result<Put, Fault>> + Send;

    /// The verdict record of a source.
    fn get_record(
        &self,
        ledger: &Bucket,
        source: &SourceId,
    ) -> impl Future<Output = Result<Option<Record>, Fault>> + Send;

    /// Remembers the newest verdict about a key.
    fn put_pointer(
        &self,
        ledger: &Bucket,
        object: &ObjectRef,
        to: &Pointer,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The newest verdict about a key.
    fn get_pointer(
        &self,
        ledger: &Bucket,
        object: &ObjectRef,
    ) -> impl Future<Output = Result<Option<Pointer>, Fault>> + Send;

    /// Deletes exactly this version; without a version, nothing (another upload may lie there by now).
    fn delete_version(&self, object: &ObjectRef) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Removes every version of a clean object that was made from `source`, but for one to keep; returns how many.
    fn remove_clean(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        source: &SourceId,
        keep: Option<&VersionId>,
    ) -> impl Future<Output = Result<usize, Fault>> + Send;

    /// All versions of the objects below a prefix, in the order of their keys, in pages of at most 1000; without the
    /// delete markers. In a bucket without versions each object is its only version.
    fn versions(
        &self,
        bucket: &Bucket,
        prefix: &str,
        after: Option<&Marker>,
    ) -> impl Future<Output = Result<VersionPage, Fault>> + Send;

    /// Copies what a route has rejected into its quarantine bucket, to be judged anew. This is the only way back, and
    /// it goes where nothing is served: the bytes get no further without a new verdict. Nothing but the bytes is
    /// copied. `None`: nothing lies under the rejected key.
    fn put_back(
        &self,
        route: &Route,
        rejected: &ObjectKey,
        fresh: &ObjectKey,
    ) -> impl Future<Output = Result<Option<Stored>, Fault>> + Send;

    /// Whether a bucket answers.
    fn probe(&self, bucket: &Bucket) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether the store honours `If-None-Match: *` on a put, tried in the ledger bucket.
    fn is_conditional(&self, ledger: &Bucket) -> impl Future<Output = Result<bool, Fault>> + Send;
}

/// The digest of a source's bucket and key, which names it in metadata and pointers whatever the key holds.
#[must_use]
pub fn source_object(object: &ObjectRef) -> Sha256 {
    Sha256::of(&[object.bucket.as_str().as_bytes(), b"\0", object.key.as_str().as_bytes()].concat())
}

/// Names of the user metadata that Airlock writes.
pub mod metadata {
    pub const SOURCE_ID: &str = "airlock-source-id";
    /// The digest of bucket and key of the source: a destination belongs to one of them.
    pub const SOURCE_OBJECT: &str = "airlock-source-object";
    pub const SOURCE_SHA256: &str = "airlock-source-sha256";
    pub const SOURCE_LAST_MODIFIED: &str = "airlock-source-last-modified";
    pub const SHA256: &str = "airlock-sha256";
    pub const VERDICT_ID: &str = "airlock-verdict-id";
    pub const POLICY: &str = "airlock-policy";
    pub const REASON: &str = "airlock-reason";
}
