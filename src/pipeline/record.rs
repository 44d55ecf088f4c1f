//! From a judgement to the verdict record.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Job, millis};
use crate::clock;
use crate::object::{ObjectKey, ObjectRef, Sha256, SourceId};
use crate::policy::Policy;
use crate::route::{Route, UploaderFrom};
use crate::stage::{Facts, Rejection, Sanitized};
use crate::store::{metadata, source_object};
use crate::verdict::{
    EventInfo, Output, PolicyRef, Record, RecordSchema, Source, Timings, Verdict, WorkerInfo, verdict_id,
};

/// What is known about a job before its verdict.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(super) key: ObjectKey,
    pub(super) timings: Timings,
    object: ObjectRef,
    source_id: SourceId,
    last_modified: i64,
    policy: PolicyRef,
    uploader: Option<String>,
    meta: serde_json::Map<String, serde_json::Value>,
    event: EventInfo,
    attempt: u32,
    worker: WorkerInfo,
    started: Instant,
    started_at: i64,
}

/// The end of a promotion: without an output, a newer upload holds the destination.
#[derive(Debug)]
pub struct Promoted {
    pub output: Option<Output>,
    /// A put before the one that counts has had no answer, and may yet come to its end.
    pub doubtful: bool,
}

impl Draft {
    /// Begins the record of a job.
    pub(super) fn begin(job: &Job, route: &Route, facts: &Facts, worker: &WorkerInfo) -> Self {
        let object = facts.object.clone().unwrap_or_else(|| job.event.object.clone());
        let last_modified = facts.last_modified.unwrap_or(0);
        let computed =
            SourceId::compute(&object.bucket, &object.key, object.version.as_ref(), facts.etag.as_ref(), last_modified);
        Self {
            key: object.key.clone(),
            timings: Timings::default(),
            source_id: facts.source_id.unwrap_or(computed),
            last_modified,
            policy: route.policy.reference(),
            uploader: uploader(&route.uploader_from, job, facts),
            meta: job.event.meta.clone(),
            event: job.message.clone(),
            attempt: job.attempt,
            worker: worker.clone(),
            started: Instant::now(),
            started_at: clock::now(),
            object,
        }
    }

    /// The user metadata of what this job stores.
    pub(super) fn metadata(
        &self,
        verdict: Verdict,
        source: Option<Sha256>,
        output: Option<Sha256>,
    ) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::from([
            (metadata::SOURCE_ID, self.source_id.to_string()),
            (metadata::SOURCE_OBJECT, source_object(&self.object).to_string()),
            (metadata::SOURCE_LAST_MODIFIED, clock::rfc3339(self.last_modified)),
            (metadata::VERDICT_ID, verdict_id(&self.source_id, verdict).to_string()),
            (metadata::POLICY, format!("{}@{}", self.policy.name, self.policy.hash)),
        ]);
        let digests = [(metadata::SOURCE_SHA256, source), (metadata::SHA256, output)];
        fields.extend(digests.into_iter().filter_map(|(name, digest)| Some((name, digest?.to_string()))));
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The record of a clean file, or of one that a newer upload supersedes.
    pub(super) fn promoted(self, file: &Sanitized, promoted: Promoted) -> Record {
        let verdict = if promoted.output.is_some() { Verdict::Clean } else { Verdict::Superseded };
        let source = source(file.facts(), Some(file.source_sha256()), Some(file.source_media()));
        Record {
            output: promoted.output,
            sanitized: (verdict == Verdict::Clean).then(|| file.sanitization().clone()),
            engines: file.engines().to_vec(),
            ..self.record(verdict, source)
        }
    }

    /// The record of a refused file.
    pub(super) fn rejected(self, file: &Rejection, output: Option<Output>) -> Record {
        let sha256 = file.snapshot().map(crate::snapshot::Snapshot::sha256);
        Record {
            reasons: file.reasons().to_vec(),
            output,
            engines: file.engines().to_vec(),
            ..self.record(Verdict::Rejected, source(file.facts(), sha256, file.detected()))
        }
    }

    fn record(self, verdict: Verdict, source: Source) -> Record {
        let mut timings = self.timings;
        timings.total = millis(self.started);
        Record {
            schema: RecordSchema::V1,
            id: verdict_id(&self.source_id, verdict),
            source_id: Some(self.source_id),
            verdict,
            reasons: Vec::new(),
            source,
            output: None,
            sanitized: None,
            engines: Vec::new(),
            policy: self.policy,
            uploader: self.uploader,
            meta: self.meta,
            event: self.event,
            attempt: self.attempt,
            worker: self.worker,
            timings_ms: timings,
            started_at: clock::rfc3339(self.started_at),
            finished_at: clock::rfc3339(clock::now()),
        }
    }
}

/// The source part of a record.
#[must_use]
pub fn source(facts: &Facts, sha256: Option<Sha256>, detected: Option<crate::media::MediaType>) -> Source {
    Source {
        bucket: facts.object.as_ref().map(|o| o.bucket.clone()),
        key: facts.name.clone(),
        version_id: facts.object.as_ref().and_then(|o| o.version.clone()),
        etag: facts.etag.clone(),
        size: facts.size,
        sha256,
        declared_type: facts.declared.first().cloned(),
        filename: facts.filename.clone(),
        detected_type: detected,
        last_modified: facts.last_modified.map(clock::rfc3339),
    }
}

/// The record of a local file: no bucket, no event, the same verdict.
#[must_use]
pub fn of_local_file(
    judgement: &super::Judgement,
    output: Option<Output>,
    policy: &Policy,
    worker: &WorkerInfo,
    timings: Timings,
    started_at: i64,
) -> Record {
    let (verdict, reasons, source, engines, sanitized) = match judgement {
        super::Judgement::Clean(file) => {
            let source = source(file.facts(), Some(file.source_sha256()), Some(file.source_media()));
            (Verdict::Clean, Vec::new(), source, file.engines(), Some(file.sanitization().clone()))
        }
        super::Judgement::Rejected(file) => {
            let sha256 = file.snapshot().map(crate::snapshot::Snapshot::sha256);
            let source = source(file.facts(), sha256, file.detected());
            (Verdict::Rejected, file.reasons().to_vec(), source, file.engines(), None)
        }
    };
    let subject = source.sha256.unwrap_or_else(|| Sha256::of(source.key.as_bytes()));
    Record {
        schema: RecordSchema::V1,
        id: uuid::Uuid::new_v5(&crate::verdict::NAMESPACE, format!("{subject}{verdict}").as_bytes()),
        source_id: None,
        verdict,
        reasons,
        source,
        output,
        sanitized,
        engines: engines.to_vec(),
        policy: policy.reference(),
        uploader: None,
        meta: serde_json::Map::new(),
        event: EventInfo { message_id: None, received_at: clock::rfc3339(started_at) },
        attempt: 1,
        worker: worker.clone(),
        timings_ms: timings,
        started_at: clock::rfc3339(started_at),
        finished_at: clock::rfc3339(clock::now()),
    }
}

fn uploader(from: &UploaderFrom, job: &Job, facts: &Facts) -> Option<String> {
    match from {
        UploaderFrom::Meta(name) => facts.metadata.get(name).cloned(),
        from => from.before_fetch(job.event.uploader.as_deref(), &facts.name),
    }
}
