//! Reject: keep the original bytes where they can do no harm.

use super::record::Draft;
use crate::fault::Fault;
use crate::route::Route;
use crate::snapshot::Snapshot;
use crate::stage::Rejection;
use crate::store::{Destination, ObjectStore, metadata};
use crate::verdict::{Output, Verdict};

/// The most that S3 copies in one request.
const MAX_COPY: u64 = 5 << 30;

/// Puts the original under its own key into the rejected bucket: without a type, as an attachment, with the first
/// reason in its metadata. Bytes that were too many to fetch are copied inside the store, and stay where they are
/// when they are too many even for that; the record names no output then.
pub(super) async fn reject<S: ObjectStore>(
    store: &S,
    route: &Route,
    file: &Rejection,
    draft: &Draft,
) -> Result<Option<Output>, Fault> {
    let sha256 = file.snapshot().map(Snapshot::sha256);
    if sha256.is_none() && file.facts().size > MAX_COPY {
        return Ok(None);
    }
    let mut metadata = draft.metadata(Verdict::Rejected, sha256, None);
    if let Some(reason) = file.reasons().first() {
        metadata.insert(metadata::REASON.to_owned(), reason.code.to_string());
    }
    let to = Destination { bucket: route.rejected.clone(), key: draft.key.clone(), metadata, if_absent: false };
    let stored = store.put_rejected(&to, file).await?;
    Ok(Some(Output {
        bucket: Some(to.bucket),
        key: to.key.to_string(),
        version_id: stored.version,
        etag: stored.etag,
        size: file.facts().size,
        sha256,
        content_type: "application/octet-stream".to_owned(),
    }))
}
