//! The memory that jobs may use together, and the cores (guarantee G7).

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
    threads: Arc<Threads>,
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
            threads: Arc::new(Threads::new(cores)),
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

impl Budget {
    /// Runs work that keeps a core busy. The caller holds a reservation with a core.
    ///
    /// # Errors
    /// When the work panics.
    pub async fn on_core<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match &self.threads.0 {
            Some(runtime) => runtime.handle().spawn_blocking(work).await,
            None => tokio::task::spawn_blocking(work).await,
        }
    }
}

/// As many threads as there are cores, for pictures alone. On the general pool every picture would meet another
/// thread, and the system's allocator keeps what each of them has ever needed.
struct Threads(Option<tokio::runtime::Runtime>);

impl Threads {
    /// Without threads of its own (the system refuses them) the general pool has to do.
    fn new(cores: usize) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(builder.worker_threads(1).max_blocking_threads(cores).thread_name("airlock-image").build().ok())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime must not be dropped from within another one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
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
