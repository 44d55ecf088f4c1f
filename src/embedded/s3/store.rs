//! Buckets, keys and versions. No I/O: every method runs under the one lock its caller holds, so that nothing
//! can come between a condition and the write it guards. A race for one key has exactly one winner.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::HeaderMap;
use s3s::dto::{BucketVersioningStatus, ETagCondition, Metadata, Timestamp};
use s3s::{S3Result, s3_error};

use super::body::{Budget, Share};
use super::uploads::Upload;

/// As many as AWS gives to a new account.
const MAX_BUCKETS: usize = 100;

/// The most that the names and values of [`Headers`] may add up to.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What a version is charged for beside its bytes: key, headers and bookkeeping.
const VERSION_BYTES: usize = MAX_HEADER_BYTES + 4096;

/// The id of the one version that is written while versioning is off.
const NULL: &str = "null";

/// Everything the server remembers.
#[derive(Debug)]
pub(super) struct Store {
    pub buckets: BTreeMap<String, Bucket>,
    pub uploads: HashMap<String, Upload>,
    pub budget: Budget,
    sequence: u64,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub created: Timestamp,
    /// `None` as long as nobody has set it.
    pub versioning: Option<BucketVersioningStatus>,
    /// The versions of each key, newest last, never none.
    pub keys: BTreeMap<String, Vec<Arc<Version>>>,
}

#[derive(Debug)]
pub(super) struct Version {
    /// Later versions have greater ids, except for [`NULL`].
    pub id: String,
    pub modified: Timestamp,
    /// `None` in a delete marker.
    pub content: Option<Content>,
    _share: Share,
}

#[derive(Debug)]
pub(super) struct Content {
    pub body: Bytes,
    /// Without quotes.
    pub etag: String,
    pub headers: Headers,
    /// Verified checksum headers, shown again to readers.
    pub checksums: HeaderMap,
}

/// What the uploader wanted readers to be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Headers {
    pub content_type: String,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: Option<Metadata>,
}

/// What must hold for a write to happen: `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition<'a> {
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
}

/// What a DELETE did.
pub(super) struct Deleted {
    pub version_id: Option<String>,
    /// A marker was made, or the deleted version was one.
    pub marker: bool,
}

impl Store {
    pub fn new(budget: Budget) -> Self {
        Self { buckets: BTreeMap::new(), uploads: HashMap::new(), budget, sequence: 0 }
    }

    pub fn ensure_bucket(&mut self, name: &str, versioned: bool) {
        let status = versioned.then(|| BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED));
        self.buckets.entry(name.to_owned()).or_insert_with(Bucket::new).versioning = status;
    }

    /// # Errors
    /// 409 when it exists, 400 when there are too many.
    pub fn create_bucket(&mut self, name: &str) -> S3Result<()> {
        if self.buckets.contains_key(name) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        if self.buckets.len() >= MAX_BUCKETS {
            return Err(s3_error!(TooManyBuckets));
        }
        self.ensure_bucket(name, false);
        Ok(())
    }

    pub fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets.get(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub fn bucket_mut(&mut self, name: &str) -> S3Result<&mut Bucket> {
        self.buckets.get_mut(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    /// The version a GET means.
    ///
    /// # Errors
    /// 404 when it is not there or its key is deleted, 405 when the id is that of a delete marker.
    pub fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Arc<Version>> {
        let versions = self.bucket(bucket)?.keys.get(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let found = match version {
            None => versions.last().filter(|v| v.content.is_some()).ok_or_else(|| s3_error!(NoSuchKey))?,
            Some(id) => versions.iter().find(|v| v.id == id).ok_or_else(|| s3_error!(NoSuchVersion))?,
        };
        if found.content.is_none() {
            return Err(s3_error!(MethodNotAllowed, "this version is a delete marker"));
        }
        Ok(Arc::clone(found))
    }

    /// Makes `content` the current version of `key`.
    ///
    /// # Errors
    /// 404 without the bucket, those of [`Condition::check`], 503 when the store is full.
    pub fn put(&mut self, bucket: &str, key: &str, content: Content, only: Condition<'_>) -> S3Result<Arc<Version>> {
        only.check(self.bucket(bucket)?.current(key))?;
        self.push(bucket, key, Some(content))
    }

    /// Deletes one version for good, or hides the key behind a marker where the bucket keeps versions. What is not
    /// there counts as deleted.
    ///
    /// # Errors
    /// 404 without the bucket, 412 when `if_match` does not hold, 503 when the store is too full for a marker.
    pub fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        if_match: Option<&ETagCondition>,
    ) -> S3Result<Deleted> {
        let place = self.bucket_mut(bucket)?;
        if if_match.is_some() {
            Condition { if_match, if_none_match: None }.check(place.current(key))?;
        }
        if let Some(id) = version {
            let removed = place.remove(key, id);
            let marker = removed.is_some_and(|v| v.content.is_none());
            return Ok(Deleted { version_id: Some(id.to_owned()), marker });
        }
        if !place.keeps_versions() {
            place.remove(key, NULL);
            // Versions from before versioning was suspended must not come back to light.
            if !place.keys.contains_key(key) {
                return Ok(Deleted { version_id: None, marker: false });
            }
        }
        let marker = self.push(bucket, key, None)?;
        Ok(Deleted { version_id: Some(marker.id.clone()), marker: true })
    }

    fn push(&mut self, bucket: &str, key: &str, content: Option<Content>) -> S3Result<Arc<Version>> {
        let share = self.budget.take(VERSION_BYTES)?;
        let next = self.next_id();
        let place = self.bucket_mut(bucket)?;
        let id = if place.keeps_versions() {
            next
        } else {
            place.remove(key, NULL);
            NULL.to_owned()
        };
        let version = Arc::new(Version { id, modified: SystemTime::now().into(), content, _share: share });
        place.keys.entry(key.to_owned()).or_default().push(Arc::clone(&version));
        Ok(version)
    }

    /// An id greater than all before it, as text too.
    pub fn next_id(&mut self) -> String {
        self.sequence += 1;
        format!("{:016x}", self.sequence)
    }
}

impl Bucket {
    fn new() -> Self {
        Self { created: SystemTime::now().into(), versioning: None, keys: BTreeMap::new() }
    }

    fn keeps_versions(&self) -> bool {
        self.versioning.as_ref().is_some_and(|status| status.as_str() == BucketVersioningStatus::ENABLED)
    }

    fn current(&self, key: &str) -> Option<&Content> {
        self.keys.get(key)?.last()?.content.as_ref()
    }

    fn remove(&mut self, key: &str, id: &str) -> Option<Arc<Version>> {
        let versions = self.keys.get_mut(key)?;
        let removed = versions.iter().position(|v| v.id == id).map(|index| versions.remove(index));
        if versions.is_empty() {
            self.keys.remove(key);
        }
        removed
    }
}

impl Version {
    /// As shown in answers about one object, which say nothing in a bucket without versioning.
    pub fn shown_id(&self) -> Option<String> {
        (self.id != NULL).then(|| self.id.clone())
    }
}

impl Condition<'_> {
    /// Whether a write over `current` may happen.
    ///
    /// # Errors
    /// 412 when it may not, 404 when `If-Match` finds no object, 501 for `If-None-Match` with a tag (as on AWS).
    pub fn check(self, current: Option<&Content>) -> S3Result<()> {
        match self.if_none_match {
            Some(ETagCondition::Any) if current.is_some() => return Err(s3_error!(PreconditionFailed)),
            Some(ETagCondition::ETag(_)) => return Err(s3_error!(NotImplemented, "If-None-Match takes only *")),
            Some(ETagCondition::Any) | None => {}
        }
        match (self.if_match, current) {
            (Some(_), None) => Err(s3_error!(NoSuchKey)),
            (Some(wanted), Some(content)) if !content.matches(wanted) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(()),
        }
    }
}

impl Content {
    pub fn matches(&self, wanted: &ETagCondition) -> bool {
        match wanted {
            ETagCondition::Any => true,
            ETagCondition::ETag(tag) => tag.value() == self.etag,
        }
    }
}

impl Headers {
    /// # Errors
    /// 400 when they are too large together.
    pub fn within_limits(self) -> S3Result<Self> {
        let options = [&self.content_disposition, &self.content_encoding, &self.cache_control];
        let fixed = self.content_type.len() + options.into_iter().flatten().map(String::len).sum::<usize>();
        let own = self.metadata.iter().flatten().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if fixed.saturating_add(own) > MAX_HEADER_BYTES {
            return Err(s3_error!(MetadataTooLarge, "headers and metadata may have {MAX_HEADER_BYTES} bytes together"));
        }
        Ok(self)
    }
}
