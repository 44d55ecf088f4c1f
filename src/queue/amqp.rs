//! The RabbitMQ adapter: deliveries that are settled exactly once, and confirmed publishing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
    QueueDeclareOptions,
};
use lapin::protocol::basic::AMQPProperties as Properties;
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Confirmation, Connection, Consumer, Event};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::headers::{self, Origin, lasts, republished, text_headers, traced};
use super::session::{Broken, Connector, PATIENCE, close, unavailable, within};
use super::topology::{Topology, short};
use super::{Announcer, Broker, Delivery, Message, Notice, Publisher, Session, failed_attempts, split};
use crate::config::Unroutable;
use crate::event::UploadEvent;
use crate::fault::{Fault, FaultCode};
use crate::settlement::{ATTEMPT_HEADER, CRASHES_HEADER, Failure, Settlement};
use crate::verdict::{NAMESPACE, Stage};

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
        let (broken, blocked) = (Broken::default(), Arc::new(watch::Sender::new(None)));
        for connection in [&parts.consume, &parts.publish] {
            follow(connection, broken.clone(), Arc::clone(&blocked));
        }
        let publisher = Confirmed {
            channel: Arc::new(Mutex::new(parts.publish_channel)),
            topology: Arc::new(self.0.topology.clone()),
            unroutable: self.0.settings.unroutable,
            host: self.0.name.as_str().into(),
            broken: broken.clone(),
            blocked: Arc::clone(&blocked),
            _connection: None,
        };
        Ok(AmqpSession {
            connections: [parts.consume, parts.publish],
            channel: parts.consume_channel,
            queues: [self.0.topology.name("work"), self.0.topology.name("bulk")],
            consumers: None,
            cancelled: false,
            publisher,
            broken,
        })
    }
}

/// Reports the first error of a connection, and when the broker blocks it.
fn follow(connection: &Connection, broken: Broken, blocked: Arc<watch::Sender<Option<String>>>) {
    let mut events = Box::pin(connection.events_listener());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Event::ConnectionBlocked(reason) => _ = blocked.send_replace(Some(reason.clone())),
                Event::ConnectionUnblocked => _ = blocked.send_replace(None),
                Event::Error(_) => return broken.report(),
                _ => {}
            }
        }
    });
}

/// One open session.
pub struct AmqpSession {
    connections: [Connection; 2],
    channel: Channel,
    queues: [String; 2],
    /// The newest consumers of the work and of the bulk queue, cancelled or not.
    consumers: Option<[Consumer; 2]>,
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
        let consume = async |queue: &String| {
            let (queue, options) = (short(queue.as_str()), BasicConsumeOptions::default());
            let consumer = self.channel.basic_consume(queue, short(""), options, FieldTable::default());
            within("consume", consumer).await
        };
        let [work, bulk] = &self.queues;
        self.consumers = Some([consume(work).await?, consume(bulk).await?]);
        self.cancelled = false;
        Ok(())
    }

    async fn next(&mut self, bulk: bool) -> Option<Result<AmqpDelivery, Fault>> {
        let [work_consumer, bulk_consumer] = self.consumers.as_mut()?;
        // In random order, so that neither starves while both have messages.
        let (next, of_bulk) = tokio::select! {
            next = work_consumer.next() => (next, false),
            next = bulk_consumer.next(), if bulk => (next, true),
        };
        let queue = &self.queues[usize::from(of_bulk)];
        match next {
            Some(Ok(delivery)) => Some(Ok(AmqpDelivery::new(delivery, queue, of_bulk, self.publisher.clone()))),
            Some(Err(e)) => Some(Err(unavailable(format!("the consumer failed: {e}")))),
            None if self.cancelled => {
                let left = self.left_over();
                if left.is_none() {
                    // A consumer that has ended once keeps silent when it is asked again.
                    self.consumers = None;
                }
                left.map(Ok)
            }
            // The broker cancels a consumer whose queue is deleted, and (from 4.3) one whose ack is late.
            None => Some(Err(unavailable("the broker cancelled the consumer"))),
        }
    }

    fn failed(&self) -> BoxFuture<'static, Fault> {
        let broken = self.broken.clone();
        Box::pin(async move {
            broken.reported().await;
            unavailable("the session with the broker broke")
        })
    }

    fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.publisher.blocked.subscribe()
    }

    async fn backlog(&mut self) -> Result<u64, Fault> {
        // A channel of its own: a queue that is gone closes it.
        let channel = within("open a channel", self.connections[0].create_channel()).await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(short(self.queues[0].as_str()), options, FieldTable::default());
        let queue = within("look at the work queue", declared).await?;
        within("close a channel", channel.close(200, short("done"))).await?;
        Ok(u64::from(queue.message_count()))
    }

    async fn cancel(&mut self) {
        let Some(consumers) = self.consumers.as_ref().filter(|_| !self.cancelled) else { return };
        self.cancelled = true;
        for consumer in consumers {
            let cancel = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            if let Err(fault) = within("cancel the consumer", cancel).await {
                tracing::warn!("{}", fault.detail);
                self.broken.report();
            }
        }
    }

    async fn close(self) {
        for connection in &self.connections {
            close(connection).await;
        }
    }
}

impl AmqpSession {
    /// Of cancelled consumers, one of the messages that are here already.
    fn left_over(&mut self) -> Option<AmqpDelivery> {
        for (n, consumer) in self.consumers.iter_mut().flatten().enumerate() {
            if let Some(Some(Ok(delivery))) = consumer.next().now_or_never() {
                return Some(AmqpDelivery::new(delivery, &self.queues[n], n == 1, self.publisher.clone()));
            }
        }
        None
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
    fn new(delivery: lapin::message::Delivery, queue: &str, bulk: bool, publisher: Confirmed) -> Self {
        let (acker, properties) = (delivery.acker.clone(), delivery.properties.clone());
        let message = Message { bulk, ..message(delivery, queue) };
        Self { message, acker: Some(acker), properties, publisher }
    }

    /// The message's own properties with the next chapter of its story.
    fn properties_with(&self, failure: Option<&Failure>) -> Properties {
        republished(&self.properties, lasts, self.story(failure))
    }

    fn story(&self, failure: Option<&Failure>) -> BTreeMap<String, String> {
        headers::story(&self.message.headers, self.message.origin.as_ref(), failure, &self.publisher.host)
    }

    /// The message as it is, less what the broker counted, with another mark.
    fn properties_marked(&self, mark: Option<u32>) -> Properties {
        let mut story = self.story(None);
        story.extend(mark.map(|run| (CRASHES_HEADER.to_owned(), run.to_string())));
        republished(&self.properties, |name| !headers::is_brokers(name), story)
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
        let properties = self.properties_marked(None);
        let blocked = self.publisher.blocked.borrow().is_some();
        let lane = if self.message.bulk { "bulk" } else { "work" };
        if !blocked && self.publisher.send("jobs", lane, &self.message.body, properties).await.is_ok() {
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
            Settlement::Bulk => {
                self.publisher.send("jobs", "bulk", &self.message.body, self.properties_marked(None)).await?;
            }
            Settlement::Mark(run) => {
                let properties = self.properties_marked(Some(run));
                self.publisher.send("jobs", "work", &self.message.body, properties).await?;
            }
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
        bulk: false,
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
    /// What the broker said when it stopped to accept publishing.
    blocked: Arc<watch::Sender<Option<String>>>,
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
            unroutable: connector.settings.unroutable,
            host: connector.name.as_str().into(),
            broken: Broken::default(),
            blocked: Arc::default(),
            _connection: Some(Arc::new((connection, connector))),
        })
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
        let published = async { channel.basic_publish(to, routing_key, options, body, properties).await?.await };
        // One that is given up in mid-publish leaves a confirm behind that the next publish could take for its own.
        let underway = Underway(Some(&self.broken));
        let ended = self.in_time(published).await;
        underway.over();
        let fault = match ended {
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
            Err(Late) => refused(&exchange, key, "no confirm in time"),
        };
        // Whether the message is out is unknown now; on this channel the next confirm would be ambiguous too.
        self.broken.report();
        Err(fault)
    }
}

/// Reports a session whose publisher was dropped between a publish and its confirm.
struct Underway<'a>(Option<&'a Broken>);

impl Underway<'_> {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some(broken) = self.0 {
            broken.report();
        }
    }
}

/// A confirm did not come.
struct Late;

impl Confirmed {
    /// Waits for a confirm. While the broker blocks publishing nothing comes and nothing is lost: that time does not
    /// count, until the session ends.
    async fn in_time<T>(&self, published: impl Future<Output = T>) -> Result<T, Late> {
        let (mut published, mut blocked) = (std::pin::pin!(published), self.blocked.subscribe());
        loop {
            tokio::select! {
                done = &mut published => return Ok(done),
                () = self.broken.reported() => return Err(Late),
                () = tokio::time::sleep(PATIENCE) => {}
            }
            if blocked.borrow_and_update().is_none() {
                return Err(Late);
            }
            tokio::select! {
                done = &mut published => return Ok(done),
                () = self.broken.reported() => return Err(Late),
                _ = blocked.wait_for(Option::is_none) => {}
            }
        }
    }
}

fn refused(exchange: &str, key: &str, why: &str) -> Fault {
    Fault::new(FaultCode::BrokerUnavailable, Stage::Publish, format!("publishing {key} to {exchange}: {why}"))
}

impl Announcer for Confirmed {
    async fn announce(&self, event: &UploadEvent) -> Result<(), Fault> {
        let body = event.to_json();
        let id = Uuid::new_v5(&NAMESPACE, &body).to_string();
        let properties = Properties::default()
            .with_content_type(short("application/json"))
            .with_message_id(short(id))
            .with_delivery_mode(2);
        self.send("events", "upload", &body, properties).await
    }
}

impl Publisher for Confirmed {
    async fn publish(&self, notice: Notice) -> Result<(), Fault> {
        let id = notice.id.to_string();
        let mut properties = Properties::default()
            .with_content_type(short("application/cloudevents+json"))
            .with_message_id(short(&id))
            .with_headers(traced(notice.trace.as_ref()))
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
