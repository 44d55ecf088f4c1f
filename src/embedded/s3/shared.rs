//! What all connections and the owner of the server share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use super::Created;
use super::body::Budget;
use super::store::{Store, Version};
use super::users::{Action, Credentials, Users};

type Listener = Arc<dyn Fn(&Created) + Send + Sync>;

/// A panic of one request leaves the others the locks as they are: no write is ever half done when it can happen.
pub(super) struct Shared {
    pub users: Users,
    pub budget: Budget,
    store: Mutex<Store>,
    listeners: RwLock<Vec<Listener>>,
}

impl Shared {
    pub fn new(admin: &Credentials) -> Self {
        let budget = Budget::new();
        Self {
            users: Users::new(admin),
            store: Mutex::new(Store::new(budget.clone())),
            budget,
            listeners: RwLock::default(),
        }
    }

    /// Never held while waiting for a client or calling a listener.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn listen(&self, listener: Listener) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Tells every listener. Must be called without the lock on the store, which a listener may want itself.
    pub fn announce(&self, bucket: &str, key: &str, version: &Version) {
        let Some(content) = &version.content else { return };
        let created = Created {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id: version.shown_id(),
            size: content.body.len() as u64,
            etag: content.etag.clone(),
            content_type: content.headers.content_type.clone(),
        };
        // A copy of the list, so that a listener may add another.
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
        for listener in listeners {
            listener(&created);
        }
    }

    /// The version a reader means. Who may not list the bucket is told "denied" where nothing is, as on AWS.
    pub fn find<T>(&self, request: &S3Request<T>, bucket: &str, key: &str, id: Option<&str>) -> S3Result<Arc<Version>> {
        self.store().find(bucket, key, id).map_err(|error| {
            let absent = |e: &S3Error| matches!(e.code(), S3ErrorCode::NoSuchKey | S3ErrorCode::NoSuchVersion);
            let may_know = self.users.allow(request.credentials.as_ref(), Action::List, bucket);
            if absent(&error) && !may_know { s3_error!(AccessDenied) } else { error }
        })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("users", &self.users).finish_non_exhaustive()
    }
}
