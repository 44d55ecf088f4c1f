//! Aftermath: what follows from a record, and can be done any number of times. The job that came to the verdict does
//! it, the next delivery of its message where that job was cut short, and `airlock reconcile` where a source is
//! still there.

use super::finish::verdict_notice;
use super::promote::clean_keys;
use crate::fault::Fault;
use crate::object::ObjectKey;
use crate::queue::Publisher;
use crate::route::Route;
use crate::store::ObjectStore;
use crate::text;
use crate::trace::TraceContext;
use crate::verdict::{Record, Verdict, WorkerInfo};

/// What is done from a record, by whom, in which store.
pub struct Aftermath<'a, S> {
    pub store: &'a S,
    pub worker: &'a WorkerInfo,
    /// Whether a judged source version is deleted, or left to the bucket's lifecycle rules.
    pub delete_source: bool,
}

impl<S: ObjectStore> Aftermath<'_, S> {
    /// Publishes the verdict, in answer to `message_id` and as a part of its trace.
    ///
    /// # Errors
    /// As the publisher's; `internal` when the record cannot be written as JSON.
    pub async fn publish(
        &self,
        route: &Route,
        record: &Record,
        message_id: Option<&String>,
        trace: Option<&TraceContext>,
        publisher: &impl Publisher,
    ) -> Result<(), Fault> {
        publisher.publish(verdict_notice(route, record, self.worker, message_id, trace)?).await
    }

    /// Whether the source has to go. What was stored nowhere is not deleted either: only a file too large to be copied.
    #[must_use]
    pub fn deletes(&self, record: &Record) -> bool {
        self.delete_source && (record.output.is_some() || record.verdict == Verdict::Superseded)
    }

    /// Removes whatever was promoted for a rejected upload. On an unversioned clean bucket this is best effort.
    ///
    /// # Errors
    /// As the store's.
    pub async fn recall(&self, route: &Route, record: &Record) -> Result<(), Fault> {
        let (Verdict::Rejected, Some(source), Ok(key)) =
            (record.verdict, record.source_id, ObjectKey::new(record.source.key.clone()))
        else {
            return Ok(());
        };
        for key in clean_keys(route, &key, &source) {
            let removed = self.store.remove_clean(&route.clean, &key, &source, None).await?;
            if removed > 0 {
                let name = text::printable(key.as_str());
                tracing::warn!(
                    event = "recalled", severity = "high", source_id = %source, key = name, removed,
                    "recalled {removed} clean version(s) of {name}: the upload is rejected"
                );
            }
        }
        Ok(())
    }
}
