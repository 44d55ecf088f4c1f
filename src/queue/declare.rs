//! The topology in a broker: declaring it, and finding out what is missing or different.
//!
//! AMQP can neither set policies nor list bindings; [`super::definitions`] compares those with an export.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use super::session::{Connector, PATIENCE, close, said, unavailable, within};
use super::topology::{Binding, Exchange, Queue, Table, Topology, Value, short};
use crate::config::TopologyMode;
use crate::fault::Fault;

/// AMQP's reply codes that are answers to a check and not trouble.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// A queue or an exchange that could not be declared or is not there.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}", said(error))]
pub struct TopologyError {
    what: String,
    error: lapin::Error,
}

/// One part of the topology, and how it is in the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `exchange`, `queue`, `binding` or `policy`.
    pub kind: &'static str,
    pub name: String,
    pub state: State,
}

/// How a part of the topology was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Good,
    Missing,
    /// It is there and not as it should be.
    Different(String),
    /// Nobody can tell in this way.
    Unseen(&'static str),
}

impl Topology {
    /// Brings the broker to this topology, or checks that its exchanges and queues are there, as the mode says. Use
    /// a channel that is thrown away afterwards: a mismatch closes it.
    ///
    /// # Errors
    /// Names the first exchange, queue or binding that is missing or different.
    pub async fn ensure(&self, mode: TopologyMode, channel: &Channel) -> Result<(), TopologyError> {
        let passive = match mode {
            TopologyMode::Off => return Ok(()),
            TopologyMode::Check => true,
            TopologyMode::Declare => false,
        };
        let failed = |what: &str, name: &str, error| TopologyError { what: format!("{what} {name}"), error };
        for exchange in self.exchanges() {
            let declared = declare_exchange(channel, &exchange, passive).await;
            declared.map_err(|error| failed("exchange", &exchange.name, error))?;
        }
        for queue in self.queues() {
            let declared = declare_queue(channel, &queue, passive).await;
            declared.map_err(|error| failed("queue", &queue.name, error))?;
        }
        if !passive {
            for binding in self.bindings() {
                let bound = bind(channel, &binding).await;
                bound.map_err(|error| failed("binding of queue", &binding.queue, error))?;
            }
        }
        Ok(())
    }
}

/// A connection for the topology commands.
pub struct Administrator {
    connection: Connection,
    connector: Connector,
}

impl Administrator {
    /// # Errors
    /// `broker.unavailable`.
    pub async fn open(connector: Connector) -> Result<Self, Fault> {
        Ok(Self { connection: connector.connect("topology").await?, connector })
    }

    /// Declares exchanges, queues and bindings.
    ///
    /// # Errors
    /// `broker.unavailable` with the first that is refused.
    pub async fn apply(&self) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let ensured = timeout(PATIENCE * 3, self.connector.topology.ensure(TopologyMode::Declare, &channel)).await;
        ensured.map_err(|_| unavailable("the broker does not answer"))?.map_err(|e| unavailable(e.to_string()))
    }

    /// Looks at every exchange and queue. Nothing is changed: what is not there is not declared, and declaring
    /// again what is there only compares it.
    ///
    /// # Errors
    /// `broker.unavailable` when the connection is lost.
    pub async fn check(&self) -> Result<Vec<Finding>, Fault> {
        let topology = &self.connector.topology;
        let mut findings = Vec::new();
        for exchange in topology.exchanges() {
            let state = self.find(async |channel, passive| declare_exchange(channel, &exchange, passive).await).await?;
            findings.push(Finding { kind: "exchange", name: exchange.name, state });
        }
        for queue in topology.queues() {
            let state = self.find(async |channel, passive| declare_queue(channel, &queue, passive).await).await?;
            findings.push(Finding { kind: "queue", name: queue.name, state });
        }
        let unseen = State::Unseen("AMQP does not show it");
        let bindings = topology.bindings().into_iter().map(|b| ("binding", b.to_string()));
        let policies = topology.policies().into_iter().map(|p| ("policy", p.name));
        findings.extend(bindings.chain(policies).map(|(kind, name)| Finding { kind, name, state: unseen.clone() }));
        Ok(findings)
    }

    /// Declares something passively and then, if it is there, in earnest.
    async fn find(&self, declare: impl AsyncFn(&Channel, bool) -> lapin::Result<()>) -> Result<State, Fault> {
        // A channel for each question: a negative answer closes it.
        match answer(declare(&self.channel().await?, true).await)? {
            Some((NOT_FOUND, _)) => return Ok(State::Missing),
            Some((_, said)) => return Ok(State::Different(said)),
            None => {}
        }
        Ok(match answer(declare(&self.channel().await?, false).await)? {
            None => State::Good,
            Some((ACCESS_REFUSED, _)) => State::Unseen("is there; this user may not compare its arguments"),
            Some((_, said)) => State::Different(said),
        })
    }

    pub async fn close(self) {
        close(&self.connection).await;
    }

    async fn channel(&self) -> Result<Channel, Fault> {
        within("open a channel", self.connection.create_channel()).await
    }
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange, passive: bool) -> lapin::Result<()> {
    let kind = if exchange.kind == "topic" { ExchangeKind::Topic } else { ExchangeKind::Direct };
    let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(short(&exchange.name), kind, options, FieldTable::default()).await
}

async fn declare_queue(channel: &Channel, queue: &Queue, passive: bool) -> lapin::Result<()> {
    let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(short(&queue.name), options, arguments(&queue.arguments)).await.map(|_| ())
}

async fn bind(channel: &Channel, binding: &Binding) -> lapin::Result<()> {
    let (queue, exchange, key) = (short(&binding.queue), short(&binding.exchange), short(&binding.key));
    channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
}

fn arguments(table: &Table) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, value) in table {
        let value = match value {
            Value::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
            Value::Number(n) => AMQPValue::LongLongInt(*n),
        };
        arguments.insert(short(*name), value);
    }
    arguments
}

/// The broker's answer to a declaration: `None` is yes, a reply code and its text is no.
fn answer(declared: lapin::Result<()>) -> Result<Option<(u16, String)>, Fault> {
    match declared {
        Ok(()) => Ok(None),
        Err(e) => match e.kind() {
            ErrorKind::ProtocolError(no) if matches!(no.get_id(), ACCESS_REFUSED | NOT_FOUND | PRECONDITION_FAILED) => {
                Ok(Some((no.get_id(), no.get_message().to_string())))
            }
            _ => Err(unavailable(format!("the check was interrupted: {e}"))),
        },
    }
}
