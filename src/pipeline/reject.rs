//! Reject: keep the original bytes where they can do no harm.

use super::record::Draft;
use crate::fault::Fault;
use crate::object::Sha256;
use crate::route::Route;
use crate::snapshot::Snapshot;
use crate::stage::Rejection;
use crate::store::{Destination, ObjectStore, metadata};
use crate::verdict::{Output, Verdict};

/// Puts the original under its own key into the rejected bucket: without a type, as an attachment, with the first
/// reason in its metadata. Bytes that were too many to fetch are copied inside the store; their digest stays
/// unknown, so the record names no output for them.
pub(super) async fn reject<S: ObjectStore>(
    store: &S,
    route: &Route,
    file: &Rejection,
    draft: &Draft,
) -> Result<Option<Output>, Fault> {
    let sha256 = file.snapshot().map(Snapshot::sha256);
    let mut fields = draft.metadata(Verdict::Rejected, sha256.unwrap_or(Sha256::of(b"")), None);
    if sha256.is_none() {
        fields.remove(metadata::SOURCE_SHA256);
    }
    if let Some(reason) = file.reasons().first() {
        fields.insert(metadata::REASON.to_owned(), reason.code.to_string());
    }
    let to = Destination { bucket: route.rejected.clone(), key: draft.key.clone(), metadata: fields, if_absent: false };
    let stored = store.put_rejected(&to, file).await?;
    Ok(sha256.map(|sha256| Output {
        bucket: Some(to.bucket),
        key: to.key.to_string(),
        version_id: stored.version,
        etag: stored.etag,
        size: file.facts().size,
        sha256,
        content_type: "application/octet-stream".to_owned(),
    }))
}
