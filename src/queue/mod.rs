//! The port to the message broker: sessions, deliveries that are settled exactly once, and published notices.
//!
//! A session is everything that lives and dies together: connections, channels, one consumer. Anything unexpected
//! ends it, and the worker opens another. A [`Delivery`] is consumed by [`Delivery::settle`]; one that is dropped
//! is never acknowledged, so the broker hands its message out again (guarantee G3).

pub mod amqp;
pub mod dead;
pub mod declare;
pub mod definitions;
pub mod headers;
pub mod memory;
pub mod session;
pub mod topology;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use self::headers::Origin;
use crate::event::UploadEvent;
use crate::fault::Fault;
use crate::object::Sha256;
use crate::settlement::Settlement;
use crate::trace::TraceContext;
use crate::verdict::NAMESPACE;

/// A message as it was delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub body: Bytes,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    /// Headers whose value is text; others stay with the delivery.
    pub headers: BTreeMap<String, String>,
    /// How it first came to us; a broker in the process has no exchanges and says nothing.
    pub origin: Option<Origin>,
    /// How many attempts have failed already, from our own header.
    pub failed_attempts: u32,
    /// The broker may have delivered it before.
    pub redelivered: bool,
    /// It comes from the bulk queue, where it waits for what others leave over.
    pub bulk: bool,
}

/// One handing-over of a message by the broker.
#[must_use = "an unsettled delivery is handed out again"]
pub trait Delivery: Send + 'static {
    fn message(&self) -> &Message;

    /// Carries the settlement out, completely or not at all: what is published on the way is confirmed before
    /// the message is acked.
    ///
    /// # Errors
    /// `broker.unavailable` when the settlement may not have happened; the session is over then and the message
    /// will be delivered again.
    fn settle(self, settlement: Settlement) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// What Airlock tells the application: a verdict or a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `clean.<route>`, `rejected.<route>`, `superseded.<route>` or `fault.<route>`.
    pub routing_key: String,
    /// Consumers deduplicate on it.
    pub id: Uuid,
    pub body: Vec<u8>,
    /// The id of the message that asked for the job.
    pub correlation_id: Option<String>,
    /// The trace of that message, continued.
    pub trace: Option<TraceContext>,
}

/// Publishes notices. Cheap to clone.
pub trait Publisher: Clone + Send + Sync + 'static {
    /// Returns once the broker has confirmed the notice in at least one queue.
    ///
    /// # Errors
    /// `verdicts.unroutable` when no queue is bound, `broker.unavailable` when the confirm did not come.
    fn publish(&self, notice: Notice) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Publishes upload events, for tools that announce what nobody else did.
pub trait Announcer: Send + Sync + 'static {
    /// Returns once the broker has confirmed the event in at least one queue. The message's id follows from the event:
    /// announced again it has the same one.
    ///
    /// # Errors
    /// `verdicts.unroutable` when no queue is bound, `broker.unavailable` when the confirm did not come.
    fn announce(&self, event: &UploadEvent) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Connections, channels and a consumer that live and die together.
pub trait Session: Send + 'static {
    type Delivery: Delivery;
    type Publisher: Publisher;

    fn publisher(&self) -> Self::Publisher;

    /// Asks for messages, at the beginning or again after [`Session::cancel`].
    ///
    /// # Errors
    /// `broker.unavailable`; the session is over then.
    fn start(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// The next message, of the bulk queue too where that is allowed. After [`Session::cancel`] those that are already
    /// here, then `None`; an error ends the session.
    fn next(&mut self, bulk: bool) -> impl Future<Output = Option<Result<Self::Delivery, Fault>>> + Send;

    /// Returns when the session can no longer be used, with the reason.
    fn failed(&self) -> BoxFuture<'static, Fault>;

    /// Tells while the broker accepts no publishing (it is short of memory or disk), and what it said.
    fn blocked(&self) -> watch::Receiver<Option<String>>;

    /// How many messages wait in the work queue: proof that the broker still answers, and that a silent consumer is right.
    ///
    /// # Errors
    /// `broker.unavailable`; the session is over then.
    fn backlog(&mut self) -> impl Future<Output = Result<u64, Fault>> + Send;

    /// Asks for no more messages.
    fn cancel(&mut self) -> impl Future<Output = ()> + Send;

    /// Ends the session within a few seconds, whatever state it is in.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A broker that sessions can be opened with.
pub trait Broker: Send + Sync + 'static {
    type Session: Session;

    /// # Errors
    /// `broker.unavailable`, with what the broker said.
    fn open(&self) -> impl Future<Output = Result<Self::Session, Fault>> + Send;
}

/// One of the messages that a message with several records is split into.
pub(crate) struct Part {
    pub id: String,
    pub body: Vec<u8>,
}

/// Splits a message. The parts have ids of their own, the same whenever this message is split, so that whoever
/// deduplicates by them does not take two faults for one.
pub(crate) fn split(message: &Message, uploads: &[UploadEvent]) -> Vec<Part> {
    let whole = message.message_id.clone().unwrap_or_else(|| Sha256::of(&message.body).to_string());
    let part = |(n, upload): (usize, &UploadEvent)| Part {
        id: Uuid::new_v5(&NAMESPACE, format!("part\0{whole}\0{n}").as_bytes()).to_string(),
        body: upload.to_json(),
    };
    uploads.iter().enumerate().map(part).collect()
}

/// The attempt that a failure header counts, where it is readable.
pub(crate) fn failed_attempts(header: Option<&str>) -> u32 {
    header.and_then(|h| h.parse().ok()).unwrap_or(0)
}
