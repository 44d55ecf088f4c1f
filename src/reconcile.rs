//! Reconcile: looks for uploads that nobody looks after.
//!
//! An event can be lost before it reaches the broker: the store that announces an upload may do so unconfirmed, an
//! application may crash between its put and its event. So the quarantine buckets themselves are gone through. A
//! version **without a record** is announced, pinned, as if it had just been uploaded. One **with a record** has been
//! judged and should be gone: what follows from a record is done again.
//!
//! Workers may run meanwhile, and other reconcilers: an event that was not lost after all is a duplicate like any
//! other, and everything behind a record can be done twice. The verdict is published before the source is deleted,
//! because a worker may have died between its record and its notice: its message may name no version, and without
//! the source the next delivery could not find the record any more.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::UploadEvent;
use crate::fault::{Fault, FaultCode};
use crate::ledger::Ledger;
use crate::object::SourceId;
use crate::pace::Pace;
use crate::pipeline::Aftermath;
use crate::queue::{Announcer, Publisher};
use crate::route::Route;
use crate::store::{Listed, Marker, ObjectStore};
use crate::verdict::Record;

/// How many records are looked for at a time.
const LOOKUPS: usize = 8;

/// Goes through quarantine buckets.
pub struct Reconciler<'a, S, P> {
    pub ledger: &'a Ledger<S>,
    pub aftermath: Aftermath<'a, S>,
    /// `None`: nothing is published, deleted or recalled, only counted.
    pub publisher: Option<P>,
    /// Younger versions are left to the event that is probably on its way.
    pub older_than: Duration,
}

/// What came of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    TooYoung,
    /// It has a verdict, and nothing is left to be done that can be.
    Judged,
    /// It had a verdict, was still there, and is deleted.
    CleanedUp,
    /// It had no verdict and was announced.
    Reinjected,
    /// It has neither a verdict nor a version, and a newer version lies over it: no event can name it.
    Unreachable,
    /// Its record cannot be read.
    Failed,
}

/// How many versions ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub looked_at: u64,
    pub too_young: u64,
    /// Those that were cleaned up among them.
    pub judged: u64,
    pub cleaned_up: u64,
    pub reinjected: u64,
    pub unreachable: u64,
    pub failed: u64,
}

impl Summary {
    fn count(&mut self, finding: Finding) {
        self.looked_at += 1;
        match finding {
            Finding::TooYoung => self.too_young += 1,
            Finding::Judged => self.judged += 1,
            Finding::CleanedUp => {
                self.judged += 1;
                self.cleaned_up += 1;
            }
            Finding::Reinjected => self.reinjected += 1,
            Finding::Unreachable => self.unreachable += 1,
            Finding::Failed => self.failed += 1,
        }
    }
}

/// A walk under way: what has been counted, how fast it goes, who hears of each version and who may stop it.
pub struct Walk<'a> {
    pub summary: Summary,
    pub pace: Pace,
    /// Is told of each version; of the fault too, where it could not be dealt with.
    pub tell: &'a mut (dyn FnMut(&Listed, Finding, Option<&Fault>) + Send),
    pub stop: CancellationToken,
}

/// The end of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    More(Marker),
    Last,
    /// Before its end: it has to be gone through again.
    Stopped,
}

/// What the ledger knows of a version.
enum Known {
    TooYoung,
    Nothing,
    Record(Box<Record>),
}

impl<S: ObjectStore, P: Publisher + Announcer> Reconciler<'_, S, P> {
    /// Goes through one page of a route's quarantine bucket.
    ///
    /// # Errors
    /// The first trouble with store or broker; a record that cannot be read stops nobody.
    pub async fn page(&self, route: &Route, after: Option<&Marker>, walk: &mut Walk<'_>) -> Result<Page, Fault> {
        let page = self.aftermath.store.versions(&route.quarantine, "", after).await?;
        let lookups = page.versions.into_iter().map(|listed| async {
            let known = self.known(&listed).await;
            (listed, known)
        });
        let mut looked_up = stream::iter(lookups).buffered(LOOKUPS);
        while let Some((listed, known)) = looked_up.next().await {
            let done = async {
                match known? {
                    Known::TooYoung => Ok(Finding::TooYoung),
                    Known::Record(record) => self.clean_up(route, &listed, &record, &mut walk.pace).await,
                    Known::Nothing => self.announce(&listed, &mut walk.pace).await,
                }
            };
            let done = tokio::select! { () = walk.stop.cancelled() => return Ok(Page::Stopped), done = done => done };
            let (finding, fault) = match done {
                Ok(finding) => (finding, None),
                Err(fault) if fault.code == FaultCode::Internal => (Finding::Failed, Some(fault)),
                Err(fault) => return Err(fault),
            };
            walk.summary.count(finding);
            (walk.tell)(&listed, finding, fault.as_ref());
        }
        Ok(page.next.map_or(Page::Last, Page::More))
    }

    async fn known(&self, listed: &Listed) -> Result<Known, Fault> {
        if clock::age_of(listed.last_modified) < self.older_than {
            return Ok(Known::TooYoung);
        }
        let record = self.ledger.find(&source_id(listed)).await?;
        Ok(record.map_or(Known::Nothing, |record| Known::Record(Box::new(record))))
    }

    async fn announce(&self, listed: &Listed, pace: &mut Pace) -> Result<Finding, Fault> {
        if listed.object.version.is_none() && !listed.latest {
            return Ok(Finding::Unreachable);
        }
        if let Some(publisher) = &self.publisher {
            pace.turn().await;
            publisher.announce(&event(listed)).await?;
        }
        Ok(Finding::Reinjected)
    }

    /// Whatever follows from a record. What was promoted for a rejected upload goes even where its source stays.
    async fn clean_up(
        &self,
        route: &Route,
        listed: &Listed,
        record: &Record,
        pace: &mut Pace,
    ) -> Result<Finding, Fault> {
        // Without a version nothing is deleted: another upload may lie there by now.
        let deletes = listed.object.version.is_some() && self.aftermath.deletes(record);
        if let Some(publisher) = &self.publisher {
            if deletes {
                pace.turn().await;
            }
            self.aftermath.recall(route, record).await?;
            if deletes {
                self.aftermath.publish(route, record, record.event.message_id.as_ref(), None, publisher).await?;
                self.aftermath.store.delete_version(&listed.object).await?;
            }
        }
        Ok(if deletes { Finding::CleanedUp } else { Finding::Judged })
    }
}

/// The event that was lost, as far as the store knows it. Announced again it is the same, byte for byte.
#[must_use]
pub fn event(listed: &Listed) -> UploadEvent {
    UploadEvent { etag: listed.etag.clone(), size: Some(listed.size), ..UploadEvent::new(listed.object.clone()) }
}

/// The id under which a job has recorded, or will record, this version.
fn source_id(listed: &Listed) -> SourceId {
    let object = &listed.object;
    SourceId::compute(&object.bucket, &object.key, object.version.as_ref(), listed.etag.as_ref(), listed.last_modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, VersionId};

    fn listed(version: Option<&str>) -> Listed {
        Listed {
            object: ObjectRef {
                bucket: Bucket::new("quarantine").unwrap(),
                key: ObjectKey::new("a b+c.jpg").unwrap(),
                version: VersionId::parse(version),
            },
            etag: Some(ETag::parse("\"e\"")),
            size: 7,
            last_modified: 1_000,
            latest: true,
        }
    }

    #[test]
    fn the_event_pins_what_was_listed_and_is_the_same_every_time() {
        let event = event(&listed(Some("v1")));
        let body = event.to_json();
        let crate::event::Parsed::Uploads(parsed) =
            crate::event::parse(&body, Some("application/json"), &std::collections::BTreeMap::new()).unwrap()
        else {
            panic!("an upload");
        };
        assert_eq!((parsed.as_slice(), event.size), (std::slice::from_ref(&event), Some(7)));
        assert_eq!(body, super::event(&listed(Some("v1"))).to_json());
    }

    #[test]
    fn the_source_id_is_the_one_of_the_job() {
        let job = |version: Option<&VersionId>, etag: &str, at| {
            let Listed { object, .. } = listed(None);
            SourceId::compute(&object.bucket, &object.key, version, Some(&ETag::parse(etag)), at)
        };
        // A version makes tag and time irrelevant.
        assert_eq!(source_id(&listed(None)), job(None, "e", 1_000));
        assert_eq!(source_id(&listed(Some("v1"))), job(VersionId::parse(Some("v1")).as_ref(), "x", 5));
        assert_eq!(source_id(&listed(Some("null"))), source_id(&listed(None)));
    }

    #[test]
    fn the_summary_adds_up() {
        let mut summary = Summary::default();
        for finding in [
            Finding::TooYoung,
            Finding::Judged,
            Finding::CleanedUp,
            Finding::Reinjected,
            Finding::Unreachable,
            Finding::Failed,
        ] {
            summary.count(finding);
        }
        let Summary { looked_at, too_young, judged, cleaned_up, reinjected, unreachable, failed } = summary;
        assert_eq!(looked_at, too_young + judged + reinjected + unreachable + failed);
        assert_eq!((judged, cleaned_up), (2, 1));
    }
}
