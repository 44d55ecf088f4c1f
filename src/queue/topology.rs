//! Exchanges and queues: their names, how they are declared, and how a worker checks that they are there.
//!
//! ```text
//! <prefix>.events   topic   apps and stores publish here; bound to <prefix>.work
//! <prefix>.verdicts topic   clean.<route>, rejected.<route>, superseded.<route>, fault.<route>
//! <prefix>.jobs     direct  internal: work and retry.<ms>, so that workers need no right on the default exchange
//! <prefix>.dlx      direct  dead -> <prefix>.dead
//! <prefix>.work     quorum queue
//! <prefix>.dead     quorum queue
//! <prefix>.retry.<ms>  quorum queue with a TTL for all its messages, dead-lettering to <prefix>.jobs / work
//! ```
//!
//! A TTL per queue and its value in the name: a per-message TTL expires at the head of a queue only, and a changed
//! tier becomes another queue instead of an argument that no longer matches.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::config::TopologyMode;

/// The names of one installation.
#[derive(Debug, Clone)]
pub struct Topology {
    prefix: String,
    tiers: Vec<Duration>,
}

/// A queue or an exchange that could not be declared or is not there.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct TopologyError {
    what: String,
    error: lapin::Error,
}

impl Topology {
    #[must_use]
    pub fn new(prefix: &str, tiers: &[Duration]) -> Self {
        Self { prefix: prefix.to_owned(), tiers: tiers.to_vec() }
    }

    /// An exchange or a queue by the last part of its name.
    #[must_use]
    pub fn name(&self, last: &str) -> String {
        format!("{}.{last}", self.prefix)
    }

    /// The routing key to the wait queue of a tier.
    #[must_use]
    pub fn retry_key(delay: Duration) -> String {
        format!("retry.{}", delay.as_millis())
    }

    /// Brings the broker to this topology, or checks that it is there, as the mode says. Use a channel that is
    /// thrown away afterwards: a mismatch closes it.
    ///
    /// # Errors
    /// Names the first exchange or queue that is missing or different.
    pub async fn ensure(&self, mode: TopologyMode, channel: &Channel) -> Result<(), TopologyError> {
        let passive = match mode {
            TopologyMode::Off => return Ok(()),
            TopologyMode::Check => true,
            TopologyMode::Declare => false,
        };
        for (last, kind) in [
            ("events", ExchangeKind::Topic),
            ("verdicts", ExchangeKind::Topic),
            ("jobs", ExchangeKind::Direct),
            ("dlx", ExchangeKind::Direct),
        ] {
            let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
            let declared = channel.exchange_declare(short(self.name(last)), kind, options, FieldTable::default());
            declared.await.map_err(|error| self.error("exchange", last, error))?;
        }
        for (last, arguments) in self.queues() {
            let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(short(self.name(&last)), options, arguments);
            declared.await.map_err(|error| self.error("queue", &last, error))?;
        }
        if !passive {
            self.bind(channel).await?;
        }
        Ok(())
    }

    async fn bind(&self, channel: &Channel) -> Result<(), TopologyError> {
        let mut bindings = vec![
            ("events", "#".to_owned(), "work".to_owned()),
            ("jobs", "work".to_owned(), "work".to_owned()),
            ("dlx", "dead".to_owned(), "dead".to_owned()),
        ];
        bindings.extend(self.tiers.iter().map(|t| ("jobs", Self::retry_key(*t), Self::retry_key(*t))));
        for (exchange, key, queue) in bindings {
            let (from, to) = (short(self.name(exchange)), short(self.name(&queue)));
            let bound = channel.queue_bind(to, from, short(key), QueueBindOptions::default(), FieldTable::default());
            bound.await.map_err(|error| self.error("binding of queue", &queue, error))?;
        }
        Ok(())
    }

    /// The queues with the arguments that must be given at declaration; everything else is policy.
    fn queues(&self) -> Vec<(String, FieldTable)> {
        let quorum = || {
            let mut arguments = FieldTable::default();
            arguments.insert(short("x-queue-type"), text("quorum"));
            arguments
        };
        let mut queues = vec![("work".to_owned(), quorum()), ("dead".to_owned(), quorum())];
        for tier in &self.tiers {
            let mut arguments = quorum();
            let ttl = i64::try_from(tier.as_millis()).unwrap_or(i64::MAX);
            arguments.insert(short("x-message-ttl"), AMQPValue::LongLongInt(ttl));
            arguments.insert(short("x-dead-letter-exchange"), text(&self.name("jobs")));
            arguments.insert(short("x-dead-letter-routing-key"), text("work"));
            // With the default overflow this strategy silently falls back to losing messages.
            arguments.insert(short("x-dead-letter-strategy"), text("at-least-once"));
            arguments.insert(short("x-overflow"), text("reject-publish"));
            queues.push((Self::retry_key(*tier), arguments));
        }
        queues
    }

    fn error(&self, what: &str, last: &str, error: lapin::Error) -> TopologyError {
        TopologyError { what: format!("{what} {}", self.name(last)), error }
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// Names here are made of our own prefix, which the configuration keeps short, and constants.
pub(super) fn short(name: impl AsRef<str>) -> ShortString {
    ShortString::try_new(name.as_ref()).unwrap_or_default()
}
