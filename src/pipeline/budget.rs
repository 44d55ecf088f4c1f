//! The memory that jobs may use together (guarantee G7).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::object::ByteSize;
use crate::telemetry::metrics::{InFlight, Metrics};

/// A budget that jobs reserve parts of before they allocate. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    kib: Arc<Semaphore>,
    total: u32,
    metrics: Arc<Metrics>,
}

/// Memory that is set aside until this is dropped.
#[must_use]
pub struct Reservation {
    _permit: Option<OwnedSemaphorePermit>,
    _gauge: InFlight,
}

impl Budget {
    #[must_use]
    pub fn new(total: ByteSize, metrics: Arc<Metrics>) -> Self {
        let kib = u32::try_from(total.0 >> 10).unwrap_or(u32::MAX);
        Self { kib: Arc::new(Semaphore::new(kib as usize)), total: kib, metrics }
    }

    /// Waits until so much of the budget is free. A need beyond the whole budget waits for all of it and then has
    /// it alone: the configuration refuses policies that could need more.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.total);
        // The semaphore is never closed, so this cannot fail.
        let permit = Arc::clone(&self.kib).acquire_many_owned(kib).await.ok();
        Reservation { _permit: permit, _gauge: self.metrics.memory(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_sum_of_reservations_stays_inside() {
        let budget = Budget::new(ByteSize::mib(10), Arc::default());
        let first = budget.reserve(6 << 20).await;
        let second = tokio::time::timeout(Duration::from_millis(20), budget.reserve(6 << 20));
        assert!(second.await.is_err(), "12 MiB do not fit into 10");
        drop(first);
        let _all = budget.reserve(u64::MAX).await;
    }
}
