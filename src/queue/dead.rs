//! The dead-letter queue, for tools: look at one message after the other, send it back to work, or drop it.
//!
//! Messages are taken one at a time with `basic.get`, and not by a consumer: a tool has to know when it has seen
//! everything, and a get says how many are left. It needs no right but to read the queue. What a tool does not want
//! stays unacknowledged until [`DeadQueue::release`], so that it is not seen twice; of a held message only the
//! handle is kept, not the body. Whatever ends the tool, the broker gives back what it held.

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::protocol::basic::AMQPProperties as Properties;
use lapin::{Acker, Channel, Connection};
use tokio::time::timeout;

use super::Message;
use super::amqp::{Confirmed, message};
use super::headers::{Death, Origin, lasts, redriven, republished};
use super::session::{Connector, PATIENCE, close, unavailable, within};
use super::topology::short;
use crate::fault::Fault;

/// The dead-letter queue of an installation.
pub struct DeadQueue {
    connection: Connection,
    channel: Channel,
    name: String,
    /// The last message that was held: giving it back gives back all of them.
    held: Option<Acker>,
    _connector: Connector,
}

/// A message out of the dead-letter queue, which still has it.
#[must_use = "a dead letter that is neither held, redriven nor discarded is given back when the queue is released"]
pub struct DeadLetter {
    pub message: Message,
    /// How the broker made it, unless a worker did.
    pub death: Option<Death>,
    /// How many messages were ready behind this one.
    pub behind: u32,
    /// How often it was given back, as this broker counts.
    pub returned: u64,
    properties: Properties,
    acker: Acker,
}

impl DeadQueue {
    /// # Errors
    /// `broker.unavailable`.
    pub async fn open(connector: Connector) -> Result<Self, Fault> {
        let connection = connector.connect("dead letters").await?;
        let channel = within("open a channel", connection.create_channel()).await?;
        Ok(Self { connection, channel, name: connector.topology.name("dead"), held: None, _connector: connector })
    }

    /// The oldest message that is ready.
    ///
    /// # Errors
    /// `broker.unavailable`, also for a queue that does not exist or may not be read.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, Fault> {
        let get = self.channel.basic_get(short(&self.name), BasicGetOptions::default());
        let Some(got) = within(&format!("read queue {}", self.name), get).await? else { return Ok(None) };
        let (acker, properties) = (got.delivery.acker.clone(), got.delivery.properties.clone());
        let death = properties.headers().as_ref().and_then(Death::of);
        let mut message = message(got.delivery, &self.name);
        if let Some(death) = &death {
            message.origin = Origin::of(&message.headers).or_else(|| Some(death.origin()));
        }
        let returned = message.headers.get("x-delivery-count").and_then(|n| n.parse().ok()).unwrap_or(0);
        Ok(Some(DeadLetter { message, death, behind: got.message_count, returned, properties, acker }))
    }

    /// Keeps the message out of sight until the queue is released.
    pub fn hold(&mut self, letter: DeadLetter) {
        self.held = Some(letter.acker);
    }

    /// Gives back what is held, and closes.
    pub async fn release(self) {
        if let Some(last) = self.held {
            // From RabbitMQ 4.3 on an explicit return does not count towards a delivery limit, and a lost one does.
            let nack = last.nack(BasicNackOptions { multiple: true, requeue: true });
            // Where it fails, the end of the connection does the same.
            let _ = timeout(PATIENCE, nack).await;
        }
        close(&self.connection).await;
    }
}

impl DeadLetter {
    /// Publishes the message to the work queue as if it had never failed, confirmed, and only then acks it here: an
    /// interruption in between leaves two copies and never none.
    ///
    /// # Errors
    /// `verdicts.unroutable` or `broker.unavailable`; the dead letter stays then.
    pub async fn redrive(self, publisher: &Confirmed) -> Result<(), Fault> {
        let story = redriven(&self.message.headers, self.message.origin.as_ref());
        let properties = republished(&self.properties, lasts, story);
        publisher.send("jobs", "work", &self.message.body, properties).await?;
        self.discard().await
    }

    /// Acks the message: it is gone.
    ///
    /// # Errors
    /// `broker.unavailable` when it may still be there.
    pub async fn discard(self) -> Result<(), Fault> {
        match timeout(PATIENCE, self.acker.ack(BasicAckOptions::default())).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(unavailable("the session was lost before the ack; the dead letter is still there")),
        }
    }
}
