//! The memory that jobs may use together (guarantee G7).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::object::ByteSize;
use crate::telemetry::metrics::{InFlight, Metrics};

/// A budget that jobs reserve parts of before they allocate. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    kib: Arc<Semaphore>,
    /// One per core: more pictures at once would be no faster and need more memory.
    cores: Arc<Semaphore>,
    total: u32,
    metrics: Arc<Metrics>,
}

/// Memory, and perhaps a core, that is set aside until this is dropped.
#[must_use]
pub struct Reservation {
    _memory: Option<OwnedSemaphorePermit>,
    _core: Option<OwnedSemaphorePermit>,
    _gauge: InFlight,
}

impl Budget {
    #[must_use]
    pub fn new(total: ByteSize, metrics: Arc<Metrics>) -> Self {
        let kib = u32::try_from(total.0 >> 10).unwrap_or(u32::MAX);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            kib: Arc::new(Semaphore::new(kib as usize)),
            cores: Arc::new(Semaphore::new(cores)),
            total: kib,
            metrics,
        }
    }

    /// Waits until so much of the budget is free. A need beyond the whole budget waits for all of it and then has
    /// it alone: the configuration refuses policies that could need more.
    pub async fn reserve(&self, bytes: u64) -> Reservation {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.total);
        // The semaphore is never closed, so this cannot fail.
        let permit = Arc::clone(&self.kib).acquire_many_owned(kib).await.ok();
        Reservation { _memory: permit, _core: None, _gauge: self.metrics.memory(bytes) }
    }

    /// As [`Budget::reserve`], for work that keeps a core busy: waits for one of those first.
    pub async fn reserve_with_core(&self, bytes: u64) -> Reservation {
        let core = Arc::clone(&self.cores).acquire_owned().await.ok();
        Reservation { _core: core, ..self.reserve(bytes).await }
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
