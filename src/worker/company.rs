//! Who may run beside whom: one job per upload, suspects alone, and nobody more than a share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::event::UploadEvent;
use crate::object::{ETag, ObjectRef};

/// What tells two uploads apart before the store was asked.
type Upload = (ObjectRef, Option<ETag>);

/// Whose share a job takes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Route(String),
    Uploader(String, String),
}

/// The jobs of this process, as far as they are in each other's way.
#[derive(Debug, Clone, Default)]
pub(super) struct Company {
    held: Arc<Mutex<HashMap<Holder, usize>>>,
    floor: Arc<RwLock<()>>,
    flights: Arc<Mutex<HashMap<Upload, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Held while a job runs.
#[derive(Debug)]
pub(super) enum Floor {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// Held while a job works on an upload.
#[derive(Debug)]
pub(super) struct Flight {
    upload: Upload,
    company: Company,
    /// `None` while it waits.
    guard: Option<OwnedMutexGuard<()>>,
    /// Another job of this process was at this upload when this one came.
    pub waited: bool,
}

/// Held while a job runs: its part of the shares of its uploader and its route.
#[derive(Debug)]
pub(super) struct Share {
    company: Company,
    holders: Vec<Holder>,
}

/// The largest shares, in jobs at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub uploader: usize,
    pub route: usize,
}

impl Company {
    /// Takes a share for a job, unless its uploader or its route holds as many as it may. What `stays`
    /// whatever it may (it comes from the bulk queue, or is under suspicion) only counts.
    pub fn share(&self, route: &str, uploader: Option<String>, stays: bool, most: Shares) -> Option<Share> {
        let route_holder = (Holder::Route(route.to_owned()), most.route);
        let uploader = uploader.map(|name| (Holder::Uploader(route.to_owned(), name), most.uploader));
        let wanted: Vec<(Holder, usize)> = [route_holder].into_iter().chain(uploader).collect();
        let mut held = self.held();
        let full = |(holder, most): &(Holder, usize)| held.get(holder).is_some_and(|n| n >= most);
        if !stays && wanted.iter().any(full) {
            return None;
        }
        let holders: Vec<Holder> = wanted.into_iter().map(|(holder, _)| holder).collect();
        for holder in &holders {
            *held.entry(holder.clone()).or_default() += 1;
        }
        Some(Share { company: self.clone(), holders })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Holder, usize>> {
        // Nothing that can panic happens under the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the floor: beside others, or with nobody else on it. Whoever asked first comes first, so that a suspect
    /// does not wait for ever.
    pub async fn floor(&self, alone: bool) -> Floor {
        let floor = Arc::clone(&self.floor);
        if alone {
            Floor::Alone { _guard: floor.write_owned().await }
        } else {
            Floor::Shared { _guard: floor.read_owned().await }
        }
    }

    /// Waits until no other job works on this upload. A message that the broker hands out again while its first job
    /// still runs (the session broke meanwhile) finds the verdict of that job then.
    pub async fn flight(&self, event: &UploadEvent) -> Flight {
        let upload = (event.object.clone(), event.etag.clone());
        // Made first, so that a waiter that gives up leaves nothing behind.
        let mut flight = Flight { upload: upload.clone(), company: self.clone(), guard: None, waited: false };
        let turn = Arc::clone(self.flights().entry(upload).or_default());
        flight.waited = turn.try_lock().is_err();
        flight.guard = Some(turn.lock_owned().await);
        flight
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Upload, Arc<tokio::sync::Mutex<()>>>> {
        // Nothing that can panic happens under the lock.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.company.held();
        for holder in &self.holders {
            if let Some(n) = held.get_mut(holder) {
                *n = n.saturating_sub(1);
            }
        }
        held.retain(|_, n| *n > 0);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.company.flights();
        self.guard = None;
        // One is the map's own: nobody waits, and nobody can begin to while the map is locked.
        if flights.get(&self.upload).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            flights.remove(&self.upload);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::object::{Bucket, ObjectKey};

    fn event(key: &str) -> UploadEvent {
        let (bucket, key) = (Bucket::new("quarantine").unwrap(), ObjectKey::new(key).unwrap());
        UploadEvent::new(ObjectRef { bucket, key, version: None })
    }

    #[tokio::test]
    async fn one_upload_is_worked_on_once_at_a_time_and_forgotten_then() {
        let company = Company::default();
        let first = company.flight(&event("a")).await;
        let _other = company.flight(&event("b")).await;
        let second = {
            let company = company.clone();
            tokio::spawn(async move { company.flight(&event("a")).await.waited })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!first.waited && !second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!(company.flights().len(), 1, "only b is left");
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_nothing_behind() {
        let company = Company::default();
        let first = company.flight(&event("a")).await;
        let again = event("a");
        let mut waiting = Box::pin(company.flight(&again));
        assert!(timeout(Duration::from_millis(5), &mut waiting).await.is_err());
        drop(first);
        drop(waiting);
        assert!(company.flights().is_empty());
    }

    #[test]
    fn an_uploader_and_a_route_have_their_shares_and_no_more() {
        let (company, most) = (Company::default(), Shares { uploader: 2, route: 3 });
        let take = |route, uploader: &str, bulk| company.share(route, Some(uploader.to_owned()), bulk, most);
        let first = take("r", "a", false).unwrap();
        let second = take("r", "a", false).unwrap();
        assert!(take("r", "a", false).is_none(), "the uploader has two");
        let third = take("r", "b", false).unwrap();
        assert!(take("r", "c", false).is_none(), "the route has three");
        assert!(take("other", "a", false).is_some(), "an uploader of another route");
        let bulk = take("r", "a", true).unwrap();
        drop(first);
        assert!(take("r", "a", false).is_none(), "what comes from bulk counts");
        drop((bulk, second, third));
        assert!(company.held().is_empty());
    }

    #[tokio::test]
    async fn a_suspect_has_the_floor_for_itself() {
        let company = Company::default();
        let one = company.floor(false).await;
        let two = company.floor(false).await;
        let soon = Duration::from_millis(5);
        assert!(timeout(soon, company.floor(true)).await.is_err());
        drop((one, two));
        let _alone = company.floor(true).await;
        assert!(timeout(soon, company.floor(false)).await.is_err());
    }
}
