//! The RabbitMQ adapter: deliveries that are settled exactly once, and confirmed publishing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions};
use lapin::protocol::basic::AMQPProperties as Properties;
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Confirmation, Connection, Consumer, Event};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::headers::{self, Origin, lasts, republished, text_headers};
use super::session::{Broken, Connector, PATIENCE, close, unavailable, within};
use super::topology::{Topology, short};
use super::{Broker, Delivery, Message, Notice, Publisher, Session, failed_attempts, split};
use crate::config::Unroutable;
use crate::fault::{Fault, FaultCode};
use crate::settlement::{ATTEMPT_HEADER, Failure, Settlement};
use crate::verdict::Stage;

/// RabbitMQ, or another broker that speaks its AMQP 0-9-1.
pub struct AmqpBroker(Arc<Connector>);

impl AmqpBroker {
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self(Arc::new(connector))
    }
}

impl Broker for AmqpBroker {
    type Session = AmqpSession;

    async fn open(&self) -> Result<AmqpSession, Fault> {
        let parts = self.0.open().await?;
        let broken = Broken::default();
        for connection in [&parts.consume, &parts.publish] {
            watch(connection, broken.clone());
        }
        let publisher = Confirmed {
            channel: Arc::new(Mutex::new(parts.publish_channel)),
            topology: Arc::new(self.0.topology.clone()),
            unroutable: self.0.settings.unroutable,
            host: self.0.name.as_str().into(),
            broken: broken.clone(),
            _connection: None,
        };
        Ok(AmqpSession {
            connections: [parts.consume, parts.publish],
            channel: parts.consume_channel,
            queue: self.0.topology.name("work"),
            consumer: None,
            cancelled: false,
            publisher,
            broken,
        })
    }
}

/// Reports the first error of a connection.
fn watch(connection: &Connection, broken: Broken) {
    let mut events = Box::pin(connection.events_listener());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event, Event::Error(_)) {
                broken.report();
                return;
            }
        }
    });
}

/// One open session.
pub struct AmqpSession {
    connections: [Connection; 2],
    channel: Channel,
    queue: String,
    /// The newest consumer, cancelled or not.
    consumer: Option<Consumer>,
    cancelled: bool,
    publisher: Confirmed,
    broken: Broken,
}

impl Session for AmqpSession {
    type Delivery = AmqpDelivery;
    type Publisher = Confirmed;

    fn publisher(&self) -> Confirmed {
        self.publisher.clone()
    }

    async fn start(&mut self) -> Result<(), Fault> {
        let (queue, options) = (short(self.queue.as_str()), BasicConsumeOptions::default());
        let consumer = self.channel.basic_consume(queue, short(""), options, FieldTable::default());
        self.consumer = Some(within("consume", consumer).await?);
        self.cancelled = false;
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<AmqpDelivery, Fault>> {
        let consumer = self.consumer.as_mut()?;
        let next = tokio::select! {
            biased;
            () = self.broken.reported() => return Some(Err(unavailable("the session with the broker broke"))),
            next = consumer.next() => next,
        };
        match next {
            Some(Ok(delivery)) => Some(Ok(AmqpDelivery::new(delivery, &self.queue, self.publisher.clone()))),
            Some(Err(e)) => Some(Err(unavailable(format!("the consumer failed: {e}")))),
            None if self.cancelled => None,
            // The broker cancels a consumer whose queue is deleted, and (from 4.3) one whose ack is late.
            None => Some(Err(unavailable("the broker cancelled the consumer"))),
        }
    }

    async fn cancel(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        self.cancelled = true;
        let cancel = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        if let Err(fault) = within("cancel the consumer", cancel).await {
            tracing::warn!("{}", fault.detail);
            self.broken.report();
        }
    }

    async fn close(self) {
        for connection in &self.connections {
            close(connection).await;
        }
    }
}

/// A message that this worker holds.
pub struct AmqpDelivery {
    message: Message,
    /// Taken when the delivery is settled.
    acker: Option<Acker>,
    properties: Properties,
    publisher: Confirmed,
}

impl Drop for AmqpDelivery {
    fn drop(&mut self) {
        // A job that panicked in a place that nobody thought of. Only the end of the session gives the message, and
        // its share of the prefetch, back.
        if self.acker.is_some() {
            self.publisher.broken.report();
        }
    }
}

impl AmqpDelivery {
    fn new(delivery: lapin::message::Delivery, queue: &str, publisher: Confirmed) -> Self {
        let (acker, properties) = (delivery.acker.clone(), delivery.properties.clone());
        Self { message: message(delivery, queue), acker: Some(acker), properties, publisher }
    }

    /// The message's own properties with the next chapter of its story.
    fn properties_with(&self, failure: Option<&Failure>) -> Properties {
        republished(&self.properties, lasts, self.story(failure))
    }

    fn story(&self, failure: Option<&Failure>) -> BTreeMap<String, String> {
        headers::story(&self.message.headers, self.message.origin.as_ref(), failure, &self.publisher.host)
    }

    async fn republish(&self, exchange: &str, key: &str, failure: &Failure) -> Result<(), Fault> {
        let properties = self.properties_with(Some(failure));
        self.publisher.send(exchange, key, &self.message.body, properties).await
    }

    /// Acks, and believes it only when the frame went out: an `Ok(false)` means that the channel is gone.
    async fn ack(mut self) -> Result<(), Fault> {
        let acker = self.acker.take();
        let answer = timeout(PATIENCE, async { Some(acker?.ack(BasicAckOptions::default()).await) });
        self.settled(matches!(answer.await, Ok(Some(Ok(true)))))
    }

    /// Gives the message back as a copy without another failed attempt: a nack would count towards the broker's own
    /// delivery limit. Only where publishing is impossible, a nack has to do.
    async fn hand_back(mut self) -> Result<(), Fault> {
        let properties = republished(&self.properties, |name| !headers::is_brokers(name), self.story(None));
        let copy = self.publisher.send("jobs", "work", &self.message.body, properties);
        if copy.await.is_ok() {
            return self.ack().await;
        }
        let acker = self.acker.take();
        let options = BasicNackOptions { multiple: false, requeue: true };
        let nacked = timeout(PATIENCE, async { Some(acker?.nack(options).await) });
        self.settled(matches!(nacked.await, Ok(Some(Ok(true)))))
    }

    fn settled(&self, done: bool) -> Result<(), Fault> {
        if done {
            return Ok(());
        }
        self.publisher.broken.report();
        Err(unavailable("the session of this delivery is over; the message will be delivered again"))
    }
}

impl Delivery for AmqpDelivery {
    fn message(&self) -> &Message {
        &self.message
    }

    async fn settle(self, settlement: Settlement) -> Result<(), Fault> {
        match settlement {
            Settlement::Ack => {}
            Settlement::HandBack => return self.hand_back().await,
            Settlement::Split(uploads) => {
                for part in split(&self.message, &uploads) {
                    let properties = self.properties_with(None).with_content_type(short("application/json"));
                    let properties = properties.with_message_id(short(part.id));
                    self.publisher.send("jobs", "work", &part.body, properties).await?;
                }
            }
            Settlement::Retry { delay, failure } => {
                self.republish("jobs", &Topology::retry_key(delay), &failure).await?;
            }
            Settlement::DeadLetter(failure) => self.republish("dlx", "dead", &failure).await?,
        }
        self.ack().await
    }
}

/// A message as we see it, out of this queue.
pub(super) fn message(delivery: lapin::message::Delivery, queue: &str) -> Message {
    let properties = delivery.properties;
    let headers = properties.headers().as_ref().map(text_headers).unwrap_or_default();
    let here = || Origin {
        exchange: delivery.exchange.to_string(),
        routing_key: delivery.routing_key.to_string(),
        queue: queue.to_owned(),
    };
    Message {
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        origin: Some(Origin::of(&headers).unwrap_or_else(here)),
        failed_attempts: failed_attempts(headers.get(ATTEMPT_HEADER).map(String::as_str)),
        redelivered: delivery.redelivered,
        body: Bytes::from(delivery.data),
        headers,
    }
}

/// Publishes one message at a time and waits for its confirm: lapin attaches a returned message to the wrong
/// confirm when several are under way, and an unroutable verdict would look delivered.
#[derive(Clone)]
pub struct Confirmed {
    channel: Arc<Mutex<Channel>>,
    topology: Arc<Topology>,
    unroutable: Unroutable,
    /// Who fails, in the headers of messages that are published again.
    host: Arc<str>,
    broken: Broken,
    /// Kept alive with the publisher: the connection of a tool, the connector of its runtime.
    _connection: Option<Arc<(Connection, Connector)>>,
}

impl Confirmed {
    /// A publisher for tools, with a connection of its own.
    ///
    /// # Errors
    /// `broker.unavailable`.
    pub async fn open(connector: Connector) -> Result<Self, Fault> {
        let (connection, channel) = connector.open_publisher().await?;
        Ok(Self {
            channel: Arc::new(Mutex::new(channel)),
            topology: Arc::new(connector.topology.clone()),
            unroutable: Unroutable::Stop,
            host: connector.name.as_str().into(),
            broken: Broken::default(),
            _connection: Some(Arc::new((connection, connector))),
        })
    }

    /// Publishes an upload event to the events exchange.
    ///
    /// # Errors
    /// `verdicts.unroutable` when no queue is bound to it, `broker.unavailable` without a confirm.
    pub async fn submit(&self, body: &[u8], message_id: &str) -> Result<(), Fault> {
        let properties = Properties::default()
            .with_content_type(short("application/json"))
            .with_message_id(short(message_id))
            .with_delivery_mode(2);
        self.send("events", "upload", body, properties).await
    }

    pub(super) async fn send(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: Properties,
    ) -> Result<(), Fault> {
        let exchange = self.topology.name(exchange);
        let (to, routing_key) = (short(&exchange), short(key));
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let channel = self.channel.lock().await;
        let published =
            timeout(PATIENCE, async { channel.basic_publish(to, routing_key, options, body, properties).await?.await });
        let fault = match published.await {
            Ok(Ok(Confirmation::Ack(None))) => return Ok(()),
            Ok(Ok(Confirmation::Ack(Some(_)))) => {
                let detail = format!("no queue is bound to exchange {exchange} for key {key}");
                return Err(Fault::new(FaultCode::VerdictsUnroutable, Stage::Publish, detail));
            }
            Ok(Ok(Confirmation::Nack(_))) => {
                return Err(refused(&exchange, key, "the broker refused the message (queue full?)"));
            }
            Ok(Ok(Confirmation::NotRequested)) => refused(&exchange, key, "the channel has no confirms"),
            Ok(Err(e)) => refused(&exchange, key, &e.to_string()),
            Err(_) => refused(&exchange, key, "no confirm in time"),
        };
        // Whether the message is out is unknown now; on this channel the next confirm would be ambiguous too.
        self.broken.report();
        Err(fault)
    }
}

fn refused(exchange: &str, key: &str, why: &str) -> Fault {
    Fault::new(FaultCode::BrokerUnavailable, Stage::Publish, format!("publishing {key} to {exchange}: {why}"))
}

impl Publisher for Confirmed {
    async fn publish(&self, notice: Notice) -> Result<(), Fault> {
        let id = notice.id.to_string();
        let mut properties = Properties::default()
            .with_content_type(short("application/cloudevents+json"))
            .with_message_id(short(&id))
            .with_delivery_mode(2);
        if let Some(id) = notice.correlation_id.as_ref().and_then(|id| ShortString::try_new(id.as_str()).ok()) {
            properties = properties.with_correlation_id(id);
        }
        match self.send("verdicts", &notice.routing_key, &notice.body, properties).await {
            Err(fault) if fault.code == FaultCode::VerdictsUnroutable && self.unroutable == Unroutable::Ignore => {
                Ok(())
            }
            published => published,
        }
    }
}
