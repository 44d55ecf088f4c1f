//! The ledger: one verdict record per upload, the commit point of a job and its outbox.
//!
//! There is no "published" flag. The record says what was decided; the delivery that is still unsettled says that
//! somebody has to go on from there. Records are written with `If-None-Match: *`, so that of two workers with the
//! same upload one decides and the other adopts, with one exception: **rejected dominates**. A rejection that
//! meets a clean record replaces it, and whoever writes or finds a rejection removes what was promoted for this
//! upload. So no order of two workers leaves refused bytes in a clean bucket.

use std::sync::Arc;

use crate::event::UploadEvent;
use crate::fault::{Fault, FaultCode};
use crate::object::{Bucket, ETag, ObjectRef, SourceId};
use crate::store::{ObjectStore, Pointer, Put};
use crate::verdict::{Record, Stage, Verdict};

/// The verdict records in their bucket.
pub struct Ledger<S> {
    store: Arc<S>,
    bucket: Bucket,
    /// Off only for stores without conditional writes; then a race of two workers may leave either verdict.
    conditional: bool,
}

/// Whose record counts after [`Ledger::commit`].
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// Ours: the first, or a rejection in place of a clean one.
    Ours,
    /// One that was there before.
    Theirs(Box<Record>),
}

impl<S: ObjectStore> Ledger<S> {
    #[must_use]
    pub fn new(store: Arc<S>, bucket: Bucket, conditional: bool) -> Self {
        Self { store, bucket, conditional }
    }

    /// Whether the bucket answers.
    ///
    /// # Errors
    /// `s3.unavailable`, `s3.denied`.
    pub async fn probe(&self) -> Result<(), Fault> {
        self.store.probe(&self.bucket).await
    }

    /// The record of an upload.
    ///
    /// # Errors
    /// `s3.unavailable`, `s3.denied`.
    pub async fn find(&self, source: &SourceId) -> Result<Option<Record>, Fault> {
        self.store.get_record(&self.bucket, source).await
    }

    /// The record of an upload whose object is gone. Without a version in the event, the pointer of its key leads
    /// there, unless the event's own entity tag says that another upload is meant.
    ///
    /// # Errors
    /// As [`Ledger::find`].
    pub async fn find_gone(&self, event: &UploadEvent) -> Result<Option<Record>, Fault> {
        let object = &event.object;
        if let Some(version) = &object.version {
            return self.find(&SourceId::compute(&object.bucket, &object.key, Some(version), None, 0)).await;
        }
        let Some(pointer) = self.store.get_pointer(&self.bucket, object).await? else { return Ok(None) };
        let differs = |theirs: &ETag| event.etag.as_ref().is_some_and(|ours| ours != theirs);
        if pointer.etag.as_ref().is_some_and(differs) {
            return Ok(None);
        }
        self.find(&pointer.source_id).await
    }

    /// Writes the record, or yields to the one that is there.
    ///
    /// # Errors
    /// As [`Ledger::find`]; `store.conflict` when the record that beat ours cannot be found.
    pub async fn commit(&self, record: &Record) -> Result<Committed, Fault> {
        if self.store.put_record(&self.bucket, record, self.conditional).await? != Put::Exists {
            return Ok(Committed::Ours);
        }
        let source = record.source_id.ok_or_else(|| lost("a record without a source"))?;
        let theirs = self.find(&source).await?.ok_or_else(|| lost("the record that was there first is gone"))?;
        if record.verdict == Verdict::Rejected && theirs.verdict != Verdict::Rejected {
            self.store.put_record(&self.bucket, record, false).await?;
            return Ok(Committed::Ours);
        }
        Ok(Committed::Theirs(Box::new(theirs)))
    }

    /// Remembers the newest verdict of a key, for events that name no version.
    ///
    /// # Errors
    /// As [`Ledger::find`].
    pub async fn point(&self, object: &ObjectRef, to: &Pointer) -> Result<(), Fault> {
        // A message of an older upload that comes again must not lead back to its record.
        let there = self.store.get_pointer(&self.bucket, object).await?;
        if there.is_some_and(|there| there == *to || there.last_modified > to.last_modified) {
            return Ok(());
        }
        self.store.put_pointer(&self.bucket, object, to).await
    }
}

fn lost(detail: &str) -> Fault {
    Fault::new(FaultCode::StoreConflict, Stage::Record, detail)
}
