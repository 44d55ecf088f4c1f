//! Fetch: one GET into a private snapshot, with a limit on every byte.

use std::time::Instant;

use futures_util::StreamExt;

use super::millis;
use crate::event::UploadEvent;
use crate::fault::{Fault, FaultCode};
use crate::object::{ByteSize, ObjectRef, SourceId};
use crate::snapshot::{Snapshot, Spool, SpoolError};
use crate::stage::{Facts, Fetched, Halt, Rejection};
use crate::store::{ObjectFacts, Opened};
use crate::verdict::{Reason, ReasonCode, Stage, Timings};

/// What the store and the event say about the upload. Identity comes from the store alone.
pub(super) fn facts(event: &UploadEvent, found: &ObjectFacts) -> Facts {
    let object = ObjectRef {
        bucket: event.object.bucket.clone(),
        key: event.object.key.clone(),
        version: found.version.clone().or_else(|| event.object.version.clone()),
    };
    let etag = found.etag.as_ref();
    let source_id = SourceId::compute(&object.bucket, &object.key, object.version.as_ref(), etag, found.last_modified);
    let mut declared: Vec<String> =
        [&event.content_type, &found.content_type].into_iter().flatten().map(|t| essence(t)).collect();
    declared.dedup();
    Facts {
        source_id: Some(source_id),
        name: object.key.to_string(),
        filename: event.filename.clone(),
        etag: found.etag.clone(),
        size: found.size,
        last_modified: Some(found.last_modified),
        declared,
        metadata: found.metadata.clone(),
        object: Some(object),
    }
}

/// A media type in lower case and without its parameters.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads the body. Size decides first, from the headers: a file that is too large is refused without a byte of
/// it; an empty one needs no scan.
pub(super) async fn download(
    spool: &Spool,
    facts: Facts,
    opened: Opened,
    limit: ByteSize,
    timings: &mut Timings,
) -> Result<Fetched, Halt> {
    let started = Instant::now();
    if facts.size > limit.0 {
        let detail = format!("{} bytes where the policy allows {} ({limit})", facts.size, limit.0);
        let reason = Reason::new(ReasonCode::TooLarge, Stage::Fetch, detail);
        return Err(Halt::Reject(Box::new(Rejection::unfetched(facts, reason))));
    }
    let snapshot = take(spool, opened, facts.size).await?;
    timings.fetch = millis(started);
    complete(facts, snapshot)
}

/// A snapshot is complete: only an empty one is refused at once.
pub fn complete(facts: Facts, snapshot: Snapshot) -> Result<Fetched, Halt> {
    let fetched = Fetched::new(facts, snapshot);
    if fetched.snapshot().is_empty() {
        let reason = Reason::new(ReasonCode::Empty, Stage::Fetch, "the file has no bytes");
        return Err(Halt::Reject(Box::new(fetched.reject_unscanned(reason))));
    }
    Ok(fetched)
}

/// Streams exactly `size` bytes: a body that is shorter or longer than its headers said is not this object.
async fn take(spool: &Spool, mut opened: Opened, size: u64) -> Result<Snapshot, Fault> {
    let mut writer = spool.writer();
    while let Some(chunk) = opened.body.next().await {
        let chunk = chunk?;
        if writer.len() + chunk.len() as u64 > size {
            return Err(wrong_length(size, "more"));
        }
        writer = writer.write(&chunk).await.map_err(|e| spool_fault(&e))?;
    }
    if writer.len() < size {
        return Err(wrong_length(size, "fewer"));
    }
    writer.finish().await.map_err(|e| spool_fault(&e))
}

fn wrong_length(size: u64, than: &str) -> Fault {
    let detail = format!("the body has {than} bytes than the {size} that its headers announced");
    Fault::new(FaultCode::S3Unavailable, Stage::Fetch, detail)
}

fn spool_fault(error: &SpoolError) -> Fault {
    Fault::new(FaultCode::SpoolFull, Stage::Fetch, error.to_string())
}
