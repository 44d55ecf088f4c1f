//! A broker in this process, for `airlock demo` and fast tests, that behaves like the real one where it matters:
//! an unsettled delivery comes back, a delivery is settled once, failed messages wait and return, dead letters
//! stay until they are redriven, and a notice needs somebody who listens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};

use super::headers::{lasts, redriven, story};
use super::{Broker, Delivery, Message, Notice, Publisher, Session, split};
use crate::fault::{Fault, FaultCode};
use crate::settlement::{CRASHES_HEADER, Failure, Settlement};
use crate::verdict::Stage;

/// The queues of one broker. Cheap to clone.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Notify,
    notices: mpsc::UnboundedSender<Notice>,
    /// Never is.
    blocked: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct State {
    work: VecDeque<Message>,
    bulk: VecDeque<Message>,
    dead: VecDeque<Message>,
    unsettled: usize,
    waiting: usize,
}

/// How many messages are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    pub work: usize,
    pub unsettled: usize,
    pub waiting: usize,
    pub dead: usize,
}

impl MemoryBroker {
    /// A broker, and the one queue that is bound to its notices.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Notice>) {
        let (notices, receiver) = mpsc::unbounded_channel();
        let (state, arrived, blocked) = (Mutex::default(), Notify::new(), watch::Sender::new(None));
        let shared = Shared { state, arrived, notices, blocked };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// Publishes an upload event.
    pub fn send(&self, message: Message) {
        self.shared.push(message);
    }

    #[must_use]
    pub fn depths(&self) -> Depths {
        let state = self.shared.lock();
        let work = state.work.len() + state.bulk.len();
        Depths { work, unsettled: state.unsettled, waiting: state.waiting, dead: state.dead.len() }
    }

    /// The dead letters, oldest first.
    #[must_use]
    pub fn dead(&self) -> Vec<Message> {
        self.shared.lock().dead.iter().cloned().collect()
    }

    /// Sends all dead letters back to work as if they had never failed; returns how many.
    pub fn redrive(&self) -> usize {
        let dead: Vec<Message> = self.shared.lock().dead.drain(..).collect();
        let count = dead.len();
        for mut message in dead {
            let story = redriven(&message.headers, message.origin.as_ref());
            message.headers.retain(|name, _| lasts(name));
            message.headers.extend(story);
            message.failed_attempts = 0;
            self.shared.push(message);
        }
        count
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest message, which counts as unsettled from now on.
    fn take(&self, bulk: bool) -> Option<Message> {
        let mut state = self.lock();
        let of_bulk = |state: &mut State| if bulk { state.bulk.pop_front() } else { None };
        let message = of_bulk(&mut state).or_else(|| state.work.pop_front());
        state.unsettled += usize::from(message.is_some());
        message
    }

    fn push(&self, message: Message) {
        self.lock().work.push_back(message);
        self.arrived.notify_one();
    }

    fn push_later(self: &Arc<Self>, message: Message, delay: Duration) {
        self.lock().waiting += 1;
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            shared.lock().waiting -= 1;
            shared.push(message);
        });
    }
}

impl Broker for MemoryBroker {
    type Session = MemorySession;

    async fn open(&self) -> Result<MemorySession, Fault> {
        Ok(MemorySession { shared: Arc::clone(&self.shared), open: Arc::new(AtomicBool::new(true)), consuming: false })
    }
}

/// A consumer of the work queue.
pub struct MemorySession {
    shared: Arc<Shared>,
    /// False once the session is over: its deliveries can no longer be settled then.
    open: Arc<AtomicBool>,
    consuming: bool,
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.open.store(false, Ordering::SeqCst);
    }
}

impl Session for MemorySession {
    type Delivery = MemoryDelivery;
    type Publisher = MemoryPublisher;

    fn publisher(&self) -> MemoryPublisher {
        MemoryPublisher(Arc::clone(&self.shared))
    }

    async fn start(&mut self) -> Result<(), Fault> {
        self.consuming = true;
        Ok(())
    }

    async fn next(&mut self, bulk: bool) -> Option<Result<MemoryDelivery, Fault>> {
        if !self.consuming {
            return None;
        }
        loop {
            let arrived = self.shared.arrived.notified();
            if let Some(message) = self.shared.take(bulk) {
                let (shared, open) = (Arc::clone(&self.shared), Arc::clone(&self.open));
                return Some(Ok(MemoryDelivery { shared, open, message: Some(message) }));
            }
            arrived.await;
        }
    }

    fn failed(&self) -> BoxFuture<'static, Fault> {
        Box::pin(std::future::pending())
    }

    fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.shared.blocked.subscribe()
    }

    async fn backlog(&mut self) -> Result<u64, Fault> {
        Ok(self.shared.lock().work.len() as u64)
    }

    async fn cancel(&mut self) {
        self.consuming = false;
    }

    async fn close(self) {}
}

/// A message in somebody's hands. Dropped unsettled, it goes back to the front of the queue.
pub struct MemoryDelivery {
    shared: Arc<Shared>,
    open: Arc<AtomicBool>,
    /// Taken when the delivery is settled.
    message: Option<Message>,
}

impl Delivery for MemoryDelivery {
    fn message(&self) -> &Message {
        self.message.as_ref().expect("only settling takes the message, and it consumes the delivery")
    }

    async fn settle(mut self, settlement: Settlement) -> Result<(), Fault> {
        if !self.open.load(Ordering::SeqCst) {
            return Err(Fault::new(FaultCode::BrokerUnavailable, Stage::Event, "the session of this delivery is over"));
        }
        if settlement == Settlement::HandBack {
            return Ok(());
        }
        let Some(mut message) = self.message.take() else { return Ok(()) };
        self.shared.lock().unsettled -= 1;
        (message.redelivered, message.bulk) = (false, false);
        match settlement {
            Settlement::Ack | Settlement::HandBack => {}
            Settlement::Split(uploads) => {
                for part in split(&message, &uploads) {
                    let message_id = Some(part.id);
                    self.shared.push(Message { body: part.body.into(), message_id, ..message.clone() });
                }
            }
            Settlement::Retry { delay, failure } => {
                message.failed_attempts = failure.attempt;
                fail(&mut message, &failure);
                self.shared.push_later(message, delay);
            }
            Settlement::Bulk => {
                message.bulk = true;
                self.shared.lock().bulk.push_back(message);
                self.shared.arrived.notify_one();
            }
            Settlement::Mark(run) => {
                message.headers.insert(CRASHES_HEADER.to_owned(), run.to_string());
                self.shared.push(message);
            }
            Settlement::DeadLetter(failure) => {
                fail(&mut message, &failure);
                self.shared.lock().dead.push_back(message);
            }
        }
        Ok(())
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        let Some(mut message) = self.message.take() else { return };
        message.redelivered = true;
        let mut state = self.shared.lock();
        state.unsettled -= 1;
        state.work.push_front(message);
        drop(state);
        self.shared.arrived.notify_one();
    }
}

/// Writes a failure into the headers.
fn fail(message: &mut Message, failure: &Failure) {
    let story = story(&message.headers, message.origin.as_ref(), Some(failure), "this process");
    message.headers.retain(|name, _| lasts(name));
    message.headers.extend(story);
}

/// Publishes to whoever holds the receiver.
#[derive(Clone)]
pub struct MemoryPublisher(Arc<Shared>);

impl Publisher for MemoryPublisher {
    async fn publish(&self, notice: Notice) -> Result<(), Fault> {
        self.0.notices.send(notice).map_err(|_| {
            Fault::new(FaultCode::VerdictsUnroutable, Stage::Publish, "nobody listens to the verdicts any more")
        })
    }
}

/// A message with this body and id.
#[must_use]
pub fn message(body: Vec<u8>, id: impl Into<String>) -> Message {
    Message { body: body.into(), message_id: Some(id.into()), headers: BTreeMap::new(), ..Message::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started(broker: &MemoryBroker) -> MemorySession {
        let mut session = broker.open().await.unwrap();
        assert!(session.next(true).await.is_none(), "nothing is handed out unasked");
        session.start().await.unwrap();
        session
    }

    async fn next(session: &mut MemorySession) -> MemoryDelivery {
        session.next(true).await.unwrap().unwrap()
    }

    fn failure(attempt: u32) -> Failure {
        Failure { fault: Fault::new(FaultCode::S3Unavailable, Stage::Fetch, "x"), attempt, max_attempts: 3 }
    }

    #[tokio::test]
    async fn an_unsettled_delivery_comes_back() {
        let (broker, _notices) = MemoryBroker::new();
        broker.send(message(b"one".to_vec(), "1"));
        let mut session = started(&broker).await;
        drop(next(&mut session).await);
        let again = next(&mut session).await;
        assert!(again.message().redelivered);
        again.settle(Settlement::Ack).await.unwrap();
        assert_eq!(broker.depths(), Depths { work: 0, unsettled: 0, waiting: 0, dead: 0 });
    }

    #[tokio::test]
    async fn a_delivery_of_an_old_session_cannot_be_settled() {
        let (broker, _notices) = MemoryBroker::new();
        broker.send(message(b"one".to_vec(), "1"));
        let old = next(&mut started(&broker).await).await;
        let mut session = started(&broker).await;
        assert!(old.settle(Settlement::Ack).await.is_err());
        next(&mut session).await.settle(Settlement::Ack).await.unwrap();
    }

    #[tokio::test]
    async fn failures_wait_die_and_are_redriven() {
        let (broker, _notices) = MemoryBroker::new();
        broker.send(message(b"one".to_vec(), "1"));
        let mut session = started(&broker).await;
        let retry = Settlement::Retry { delay: Duration::from_millis(5), failure: failure(1) };
        next(&mut session).await.settle(retry).await.unwrap();
        assert_eq!(broker.depths().waiting, 1);
        let second = next(&mut session).await;
        assert_eq!((second.message().failed_attempts, second.message().redelivered), (1, false));
        second.settle(Settlement::DeadLetter(failure(2))).await.unwrap();
        assert_eq!(broker.dead()[0].headers["x-airlock-error-code"], "s3.unavailable");
        assert_eq!(broker.redrive(), 1);
        assert_eq!(next(&mut session).await.message().failed_attempts, 0);
    }

    #[tokio::test]
    async fn a_notice_needs_a_listener() {
        let (broker, notices) = MemoryBroker::new();
        let publisher = broker.open().await.unwrap().publisher();
        let (routing_key, id) = ("clean.x".to_owned(), Uuid::nil());
        let notice = Notice { routing_key, id, body: vec![], correlation_id: None, trace: None };
        publisher.publish(notice.clone()).await.unwrap();
        drop(notices);
        assert_eq!(publisher.publish(notice).await.unwrap_err().code, FaultCode::VerdictsUnroutable);
    }

    use uuid::Uuid;
}
