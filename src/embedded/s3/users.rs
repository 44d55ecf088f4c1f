//! Who may do what: the keys that sign requests and the grants behind them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{CopyObjectInput, CopySource};
use s3s::validation::NameValidation;
use s3s::{S3Request, S3Result, s3_error};
use uuid::Uuid;

use crate::object::Bucket;

/// The keys of one user.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

impl Credentials {
    /// A secret nobody can guess, so that no other user of this machine can write to the server.
    pub(super) fn random(access_key: &str) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: Uuid::new_v4().simple().to_string() }
    }
}

/// Shows the access key and keeps the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What a grant can allow in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// GET and HEAD of objects and versions, and being the source of a COPY.
    Read,
    /// PUT, multipart uploads and being the destination of a COPY.
    Write,
    /// Listing keys and versions, and HEAD of the bucket. As on AWS, a reader without it is told 403, not 404,
    /// where no object is: it must not find out which keys exist.
    List,
    /// DELETE of objects and versions.
    Delete,
}

/// The actions a user may take in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub bucket: String,
    pub actions: Vec<Action>,
}

impl Grant {
    #[must_use]
    pub fn new(bucket: impl Into<String>, actions: &[Action]) -> Self {
        Self { bucket: bucket.into(), actions: actions.to_vec() }
    }
}

#[derive(Debug)]
enum Rights {
    Everything,
    Granted(Vec<Grant>),
}

impl Rights {
    fn allow(&self, action: Action, bucket: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Granted(grants) => grants.iter().any(|g| g.bucket == bucket && g.actions.contains(&action)),
        }
    }
}

#[derive(Debug)]
struct User {
    secret: SecretKey,
    rights: Rights,
}

/// All users, by access key. Clones share the same users.
#[derive(Debug, Clone)]
pub(super) struct Users(Arc<RwLock<HashMap<String, User>>>);

impl Users {
    pub fn new(admin: &Credentials) -> Self {
        let users = Self(Arc::default());
        users.insert(admin, Rights::Everything);
        users
    }

    pub fn add(&self, credentials: &Credentials, grants: Vec<Grant>) {
        self.insert(credentials, Rights::Granted(grants));
    }

    fn insert(&self, credentials: &Credentials, rights: Rights) {
        let user = User { secret: SecretKey::from(credentials.secret_key.as_str()), rights };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(credentials.access_key.clone(), user);
    }

    fn with<T>(&self, access_key: &str, ask: impl FnOnce(&User) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(access_key).map(ask)
    }

    /// Whether the signer of a request may take `action` in `bucket`. A request without a signer may nothing.
    pub fn allow(&self, signer: Option<&s3s::auth::Credentials>, action: Action, bucket: &str) -> bool {
        signer.and_then(|s| self.with(&s.access_key, |user| user.rights.allow(action, bucket))).unwrap_or(false)
    }

    fn is_admin(&self, signer: Option<&s3s::auth::Credentials>) -> bool {
        let everything = |user: &User| matches!(user.rights, Rights::Everything);
        signer.and_then(|s| self.with(&s.access_key, everything)).unwrap_or(false)
    }
}

#[async_trait]
impl S3Auth for Users {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.with(access_key, |user| user.secret.clone()).ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

#[async_trait]
impl S3Access for Users {
    /// Runs before the body of a request is read.
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        if self.is_admin(request.credentials()) {
            return Ok(());
        }
        let needed = action(request.s3_op().name()).zip(request.s3_path().get_bucket_name());
        match needed {
            Some((action, bucket)) if self.allow(request.credentials(), action, bucket) => Ok(()),
            _ => Err(s3_error!(AccessDenied)),
        }
    }

    /// The right to write to the destination was checked above. Without this second check a user could copy
    /// what it may not read to where it may.
    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        match &request.input.copy_source {
            CopySource::Bucket { bucket, .. } if self.allow(request.credentials.as_ref(), Action::Read, bucket) => {
                Ok(())
            }
            _ => Err(s3_error!(AccessDenied)),
        }
    }
}

/// The right an operation needs. What is not listed, such as changing the versioning of a bucket or uploading by
/// HTML form, is for the admin.
fn action(operation: &str) -> Option<Action> {
    match operation {
        "GetObject" | "HeadObject" => Some(Action::Read),
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "CompleteMultipartUpload"
        | "AbortMultipartUpload" => Some(Action::Write),
        "ListObjectsV2" | "ListObjectVersions" | "HeadBucket" => Some(Action::List),
        "DeleteObject" | "DeleteObjects" => Some(Action::Delete),
        _ => None,
    }
}

/// Accepts the bucket names that the rest of Airlock accepts, underscores included.
pub(super) struct BucketNames;

impl NameValidation for BucketNames {
    fn validate_bucket_name(&self, name: &str) -> bool {
        Bucket::new(name).is_ok()
    }
}
