//! Whether taking work makes sense: open while a dependency is known to be down.
//!
//! A worker that goes on taking messages during an outage burns their attempts. So the first failure of a job makes
//! somebody look at once, and if the look fails too, the circuit opens: the consumer is cancelled, untaken messages go
//! back, the worker is not ready and says why. It closes when a look succeeds. The scan engines have a circuit of
//! their own, their self-test (`scanner::trust`).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::fault::{Fault, FaultCode};
use crate::queue::{Notice, Publisher};

/// The parts that can open the circuit, by their names in readiness.
pub const STORE: &str = "s3";
pub const VERDICTS: &str = "verdicts";

/// The state of everything a worker needs besides the broker and the engines.
#[derive(Debug, Default)]
pub struct Circuit {
    /// What is down, and what is wrong with it. Closed while empty.
    down: watch::Sender<BTreeMap<&'static str, String>>,
    doubts: Notify,
    /// The last verdict that nobody was bound for: whether it can be published now is the only way to find out.
    unheard: Mutex<Option<Notice>>,
}

impl Circuit {
    /// What a look at a part found.
    pub fn report(&self, part: &'static str, state: Result<(), String>) {
        self.down.send_if_modified(|down| match state {
            Ok(()) => down.remove(part).is_some(),
            Err(problem) => down.insert(part, problem).is_none(),
        });
    }

    /// Follows what is down.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<&'static str, String>> {
        self.down.subscribe()
    }

    /// A job met a store that does not answer: somebody should look.
    pub fn doubt_store(&self) {
        self.doubts.notify_one();
    }

    /// Returns when there is a reason to look.
    pub async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// Tries again to publish the verdict that nobody was bound for, if there is one.
    pub async fn try_unheard(&self, publisher: &impl Publisher) {
        let Some(notice) = self.unheard().clone() else { return };
        if publisher.publish(notice).await.is_ok() {
            *self.unheard() = None;
            self.report(VERDICTS, Ok(()));
        }
    }

    fn unheard(&self) -> std::sync::MutexGuard<'_, Option<Notice>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A publisher that opens the circuit when a verdict finds no queue.
#[derive(Clone)]
pub struct Watched<P> {
    pub inner: P,
    pub circuit: std::sync::Arc<Circuit>,
}

impl<P: Publisher> Publisher for Watched<P> {
    async fn publish(&self, notice: Notice) -> Result<(), Fault> {
        let published = self.inner.publish(notice.clone()).await;
        let Err(fault) = published else { return Ok(()) };
        if fault.code != FaultCode::VerdictsUnroutable {
            return Err(fault);
        }
        self.circuit.report(VERDICTS, Err(fault.detail.clone()));
        *self.circuit.unheard() = Some(notice);
        // The verdict stands in the ledger and the file is not to blame.
        Err(fault.before_reaching())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::queue::Broker;
    use crate::queue::Session;
    use crate::queue::memory::MemoryBroker;

    #[tokio::test]
    async fn an_unheard_verdict_opens_it_until_somebody_listens() {
        let (deaf, receiver) = MemoryBroker::new();
        drop(receiver);
        let (heard, _receiver) = MemoryBroker::new();
        let circuit = Arc::new(Circuit::default());
        let publisher = |broker: MemoryBroker| async move { broker.open().await.unwrap().publisher() };
        let watched = Watched { inner: publisher(deaf).await, circuit: circuit.clone() };
        let (routing_key, id) = ("clean.x".to_owned(), Uuid::nil());
        let notice = Notice { routing_key, id, body: vec![], correlation_id: None, trace: None };
        assert!(!watched.publish(notice).await.unwrap_err().reached);
        circuit.try_unheard(&watched).await;
        assert!(circuit.watch().borrow().contains_key(VERDICTS));
        circuit.try_unheard(&publisher(heard).await).await;
        assert!(circuit.watch().borrow().is_empty());
    }

    #[test]
    fn it_is_closed_when_everything_is_up_again() {
        let circuit = Circuit::default();
        circuit.report(STORE, Err("down".to_owned()));
        circuit.report(VERDICTS, Err("unbound".to_owned()));
        circuit.report(STORE, Ok(()));
        assert_eq!(circuit.watch().borrow().keys().copied().collect::<Vec<_>>(), [VERDICTS]);
        circuit.report(VERDICTS, Ok(()));
        assert!(circuit.watch().borrow().is_empty());
    }
}
