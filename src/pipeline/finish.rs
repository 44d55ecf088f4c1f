//! Finish: everything behind the commit point, in its order, and what is told about it.

use serde::Serialize;
use uuid::Uuid;

use super::{Aftermath, Job, Pipeline};
use crate::fault::{Fault, FaultCode, FaultRecord, FaultSchema, fault_id};
use crate::queue::{Notice, Publisher};
use crate::route::Route;
use crate::settlement::Failure;
use crate::store::ObjectStore;
use crate::trace::TraceContext;
use crate::verdict::{Record, Source, Stage, WorkerInfo};
use crate::{clock, text};

impl<S: ObjectStore> Pipeline<S> {
    /// Publishes the verdict and deletes the source version. The record is in the ledger.
    pub(super) async fn finish(
        &self,
        route: &Route,
        job: &Job,
        record: Record,
        publisher: &impl Publisher,
    ) -> Result<Record, Fault> {
        let aftermath = self.aftermath();
        self.point(&job.event.object, &record).await?;
        aftermath.publish(route, &record, job.message.message_id.as_ref(), job.trace.as_ref(), publisher).await?;
        if aftermath.deletes(&record) {
            let mut object = job.event.object.clone();
            object.version = record.source.version_id.clone().or(object.version);
            // A failure does not fail the job: the verdict stands, and the object stays where nobody but Airlock
            // reads it until `airlock reconcile` finds it.
            if let Err(fault) = self.store.delete_version(&object).await {
                tracing::warn!(code = %fault.code, "{object} is judged but could not be deleted: {}", fault.detail);
            }
        }
        log(route, &record);
        Ok(record)
    }

    /// An upload that has a verdict already: makes sure that everything behind the commit point is done.
    pub(super) async fn settle_duplicate(
        &self,
        route: &Route,
        job: &Job,
        record: Record,
        place: &'static str,
        publisher: &impl Publisher,
    ) -> Result<Record, Fault> {
        self.metrics.duplicate(place);
        self.aftermath().recall(route, &record).await?;
        self.finish(route, job, record, publisher).await
    }

    pub(super) fn aftermath(&self) -> Aftermath<'_, S> {
        Aftermath { store: &self.store, worker: &self.worker, delete_source: self.delete_source }
    }
}

/// The CloudEvent that tells the application.
pub(super) fn verdict_notice(
    route: &Route,
    record: &Record,
    worker: &WorkerInfo,
    message_id: Option<&String>,
    trace: Option<&TraceContext>,
) -> Result<Notice, Fault> {
    let verdict = record.verdict.as_str();
    Ok(Notice {
        routing_key: format!("{verdict}.{}", route.name),
        id: record.id,
        body: envelope(verdict, record.id, subject(&record.source), worker, record, trace)?,
        correlation_id: message_id.cloned(),
        trace: trace.cloned(),
    })
}

/// What is published when a message is dead-lettered.
///
/// # Errors
/// `internal`, when the record cannot be written as JSON.
pub fn fault_notice(
    route: Option<&Route>,
    failure: &Failure,
    subject_id: &str,
    source: Option<Source>,
    worker: &WorkerInfo,
    trace: Option<&TraceContext>,
) -> Result<Notice, Fault> {
    let fault = &failure.fault;
    let id = fault_id(subject_id, fault.code);
    let subject = source.as_ref().map_or_else(|| "unknown".to_owned(), subject);
    let record = FaultRecord {
        schema: FaultSchema::V1,
        id,
        code: fault.code,
        stage: fault.stage,
        detail: fault.detail.clone(),
        source,
        attempt: failure.attempt,
        at: clock::rfc3339(clock::now()),
    };
    Ok(Notice {
        routing_key: format!("fault.{}", route.map_or("unknown", |r| r.name.as_str())),
        id,
        body: envelope("fault", id, subject, worker, &record, trace)?,
        correlation_id: None,
        trace: trace.cloned(),
    })
}

/// A structured CloudEvent around a record.
#[derive(Serialize)]
struct Envelope<'a, T> {
    specversion: &'static str,
    id: Uuid,
    source: String,
    r#type: String,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    data: &'a T,
}

fn envelope<T: Serialize>(
    kind: &str,
    id: Uuid,
    subject: String,
    worker: &WorkerInfo,
    data: &T,
    trace: Option<&TraceContext>,
) -> Result<Vec<u8>, Fault> {
    let event = Envelope {
        specversion: "1.0",
        id,
        source: format!("/airlock/{}", worker.host),
        r#type: format!("dev.airlock.upload.{kind}.v1"),
        subject,
        time: clock::rfc3339(clock::now()),
        datacontenttype: "application/json",
        traceparent: trace.map(TraceContext::traceparent),
        tracestate: trace.and_then(TraceContext::tracestate),
        data,
    };
    serde_json::to_vec(&event)
        .map_err(|e| Fault::new(FaultCode::Internal, Stage::Publish, format!("the notice cannot be written: {e}")))
}

fn subject(source: &Source) -> String {
    match &source.bucket {
        Some(bucket) => format!("{bucket}/{}", source.key),
        None => source.key.clone(),
    }
}

/// One line per verdict; malware and other refusals are security events.
fn log(route: &Route, record: &Record) {
    let key = text::printable(&record.source.key);
    let took = record.timings_ms.total;
    let (id, route) = (record.id, &route.name);
    match record.reasons.first() {
        None => tracing::info!(verdict = %record.verdict, %id, route, key, took, "{}: {key}", record.verdict),
        Some(first) => {
            let malware = first.code == crate::verdict::ReasonCode::Malware;
            let (event, severity) = if malware { ("malware_detected", "high") } else { ("policy_rejected", "medium") };
            tracing::warn!(
                event, severity, verdict = %record.verdict, reason = %first.code, %id, route, key, took,
                "rejected {key}: {} ({})", first.code, first.detail
            );
        }
    }
}
