//! The pipeline: from an upload event to a recorded, published verdict and a moved file.
//!
//! [`Pipeline::process`] reads like the contract: fetch, judge (identify, scan, sanitize), promote or reject,
//! record, publish, delete. Whatever happens between two of these steps, doing the whole again ends in the same
//! state; the crash table at the top of [`promote`](self) says why.

mod aftermath;
mod budget;
mod fetch;
mod finish;
mod identify;
mod judge;
mod promote;
pub mod record;
mod reject;
mod sanitize;

use std::sync::{Arc, OnceLock};

use crate::event::UploadEvent;
use crate::fault::{Fault, FaultCode};
use crate::ledger::{Committed, Ledger};
use crate::object::{ObjectKey, ObjectRef, SourceId};
use crate::queue::Publisher;
use crate::route::Route;
use crate::snapshot::Spool;
use crate::stage::{Facts, Halt, Rejection};
use crate::store::{ObjectStore, Opened, Pointer};
use crate::telemetry::metrics::Metrics;
use crate::trace::TraceContext;
use crate::verdict::{EventInfo, Record, Stage, Timings, Verdict, WorkerInfo};

pub use self::aftermath::Aftermath;
pub use self::budget::Budget;
pub use self::fetch::{complete, essence};
pub use self::finish::fault_notice;
pub use self::judge::{Judge, Judgement};
use self::record::Draft;

/// Everything a job needs, shared by all jobs of a worker.
pub struct Pipeline<S> {
    pub store: Arc<S>,
    pub ledger: Ledger<S>,
    pub routes: Vec<Arc<Route>>,
    pub judge: Judge,
    pub spool: Spool,
    /// Whether a judged source version is deleted, or left to the bucket's lifecycle rules.
    pub delete_source: bool,
    pub worker: WorkerInfo,
    pub metrics: Arc<Metrics>,
}

/// One attempt at one upload event.
#[derive(Debug, Clone)]
pub struct Job {
    pub event: UploadEvent,
    pub message: EventInfo,
    /// Counted from 1.
    pub attempt: u32,
    /// Somebody may have worked on this upload before: it was redelivered or retried.
    pub again: bool,
    /// The trace of its message, continued.
    pub trace: Option<TraceContext>,
    /// Which upload it is, once the store has answered: it has to survive a job that is cut short.
    pub found: OnceLock<SourceId>,
}

impl Job {
    /// The id of the upload, where the event names a version or the store has answered.
    #[must_use]
    pub fn source_id(&self) -> Option<SourceId> {
        named(&self.event.object).or_else(|| self.found.get().copied())
    }
}

/// With a version, the name alone tells which upload is meant.
fn named(object: &ObjectRef) -> Option<SourceId> {
    let version = object.version.as_ref()?;
    Some(SourceId::compute(&object.bucket, &object.key, Some(version), None, 0))
}

impl<S: ObjectStore> Pipeline<S> {
    /// Takes one upload through the pipeline and returns the record that now stands for it, which is an earlier
    /// one for a duplicate.
    ///
    /// # Errors
    /// Our own trouble, at whatever step. Nothing that was done before it is wrong or has to be undone.
    pub async fn process(&self, job: &Job, publisher: &impl Publisher) -> Result<Record, Fault> {
        if let Some(record) = self.answer(job, publisher).await? {
            return Ok(record);
        }
        let route = self.route(&job.event.object)?;
        let Some(opened) = self.store.open(&job.event.object).await? else {
            let Some(record) = self.ledger.find_gone(&job.event).await? else { return Err(missing(&job.event.object)) };
            return self.settle_duplicate(route, job, record, "missing", publisher).await;
        };
        let facts = fetch::facts(&job.event, &opened.facts);
        if let Some(source_id) = facts.source_id {
            job.found.get_or_init(|| source_id);
        }
        if let Some(record) = self.earlier(job, facts.source_id).await? {
            return self.settle_duplicate(route, job, record, "record", publisher).await;
        }
        let mut draft = Draft::begin(job, route, &facts, &self.worker);
        let judgement = self.judge(route, facts, opened, &mut draft.timings).await?;
        let record = self.store_and_record(route, judgement, draft, job.again).await?;
        self.finish(route, job, record, publisher).await
    }

    /// Answers an upload that was worked on before from its record, where the event names a version: without one, only
    /// the object tells which upload is meant, and it is not looked at here.
    ///
    /// # Errors
    /// As [`Pipeline::process`].
    pub async fn answer(&self, job: &Job, publisher: &impl Publisher) -> Result<Option<Record>, Fault> {
        let route = self.route(&job.event.object)?;
        let Some(record) = self.earlier(job, None).await? else { return Ok(None) };
        self.settle_duplicate(route, job, record, "record", publisher).await.map(Some)
    }

    /// The route of a quarantine bucket.
    ///
    /// # Errors
    /// `event.bucket_not_allowed`: otherwise whoever may publish could have any object moved.
    pub fn route(&self, object: &ObjectRef) -> Result<&Arc<Route>, Fault> {
        self.routes.iter().find(|r| r.quarantine == object.bucket).ok_or_else(|| {
            let detail = format!("bucket {} is not the quarantine bucket of any route", object.bucket);
            Fault::new(FaultCode::EventBucketNotAllowed, Stage::Event, detail)
        })
    }

    /// A record from an earlier attempt. First deliveries do not look: nearly all of them are new. The id is
    /// known at once where the event names a version, else after the store has answered.
    async fn earlier(&self, job: &Job, known: Option<SourceId>) -> Result<Option<Record>, Fault> {
        let source = match (known, named(&job.event.object)) {
            _ if !job.again => return Ok(None),
            (None, Some(source)) | (Some(source), None) => source,
            _ => return Ok(None),
        };
        self.ledger.find(&source).await
    }

    /// Fetches the body and judges it.
    async fn judge(
        &self,
        route: &Route,
        facts: Facts,
        opened: Opened,
        timings: &mut Timings,
    ) -> Result<Judgement, Fault> {
        let fetched = fetch::download(&self.spool, facts, opened, route.policy.max_size, timings).await;
        self.metrics.took(Stage::Fetch, std::time::Duration::from_millis(timings.fetch));
        match fetched {
            Ok(fetched) => {
                self.metrics.bytes_in(fetched.snapshot().len());
                self.judge.judge(fetched, &route.policy, timings).await
            }
            Err(Halt::Reject(rejection)) => Ok(Judgement::Rejected(rejection)),
            Err(Halt::Fault(fault)) => Err(fault),
        }
    }

    /// Puts the file where it belongs and commits the record. What stands in the ledger afterwards is what counts.
    /// `again`: an attempt before this one may have put something too.
    async fn store_and_record(
        &self,
        route: &Route,
        judgement: Judgement,
        draft: Draft,
        again: bool,
    ) -> Result<Record, Fault> {
        let mut doubtful = again;
        let started = std::time::Instant::now();
        let mut record = match judgement {
            Judgement::Clean(file) => {
                let promoted = promote::promote(&*self.store, route, &file, &draft).await?;
                doubtful |= promoted.doubtful;
                self.metrics.bytes_out(promoted.output.as_ref().map_or(0, |output| output.size));
                draft.promoted(&file, promoted)
            }
            Judgement::Rejected(file) => self.reject(route, &file, draft).await?,
        };
        record.timings_ms.store = millis(started);
        record.finished_at = crate::clock::rfc3339(crate::clock::now());
        self.metrics.took(Stage::Store, started.elapsed());
        match self.ledger.commit(&record).await? {
            // With or without a clean record: an attempt that ended behind its put has left an object and none.
            Committed::Ours if record.verdict == Verdict::Rejected => self.aftermath().recall(route, &record).await?,
            Committed::Ours if doubtful => self.remove_others(route, &record).await?,
            Committed::Ours => {}
            Committed::Theirs(theirs) => {
                self.metrics.duplicate("record");
                match theirs.verdict {
                    Verdict::Rejected => self.aftermath().recall(route, &theirs).await?,
                    Verdict::Clean | Verdict::Superseded => self.withdraw(&record, &theirs).await?,
                }
                return Ok(*theirs);
            }
        }
        self.metrics.judged(&record);
        Ok(record)
    }

    /// Removes what a put without an answer may have left beside the clean version that counts: stores that ignore
    /// `If-None-Match` in buckets with versions (Ceph 16) carry it out behind the next one.
    async fn remove_others(&self, route: &Route, record: &Record) -> Result<(), Fault> {
        let output = record.output.as_ref().and_then(|o| Some((o, o.version_id.as_ref()?)));
        let (Verdict::Clean, Some((output, version)), Some(source)) = (record.verdict, output, record.source_id) else {
            return Ok(());
        };
        let Ok(key) = ObjectKey::new(output.key.clone()) else { return Ok(()) };
        self.store.remove_clean(&route.clean, &key, &source, Some(version)).await.map(|_| ())
    }

    /// Removes the clean version that this job has put, when the record that counts names another one.
    async fn withdraw(&self, ours: &Record, theirs: &Record) -> Result<(), Fault> {
        let version = |record: &Record| record.output.as_ref().and_then(|o| o.version_id.clone());
        let (Some(output), Some(own)) = (&ours.output, version(ours)) else { return Ok(()) };
        let (Some(bucket), Ok(key)) = (&output.bucket, ObjectKey::new(output.key.clone())) else { return Ok(()) };
        if ours.verdict != Verdict::Clean || version(theirs).as_ref() == Some(&own) {
            return Ok(());
        }
        self.store.delete_version(&ObjectRef { bucket: bucket.clone(), key, version: Some(own) }).await
    }

    async fn reject(&self, route: &Route, file: &Rejection, draft: Draft) -> Result<Record, Fault> {
        let output = reject::reject(&*self.store, route, file, &draft).await?;
        self.metrics.bytes_out(file.snapshot().map_or(0, crate::snapshot::Snapshot::len));
        Ok(draft.rejected(file, output))
    }

    /// Where events name no version, leaves a way from the key to the record.
    async fn point(&self, object: &ObjectRef, record: &Record) -> Result<(), Fault> {
        let (Some(source_id), None) = (record.source_id, &object.version) else { return Ok(()) };
        let last_modified = record.source.last_modified.as_deref().and_then(crate::clock::parse).unwrap_or(0);
        let pointer = Pointer { source_id, etag: record.source.etag.clone(), last_modified };
        self.ledger.point(object, &pointer).await
    }
}

fn missing(object: &ObjectRef) -> Fault {
    let ObjectRef { bucket, key, .. } = object;
    let detail = format!("{bucket}/{key} is not there and no verdict about it is recorded");
    Fault::new(FaultCode::SourceMissing, Stage::Fetch, detail)
}

/// Whole milliseconds since `started`.
fn millis(started: std::time::Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
