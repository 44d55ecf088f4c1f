//! Exchanges, queues, bindings and policies: what an installation consists of in the broker.
//!
//! ```text
//! <prefix>.events   topic   apps and stores publish here; bound to <prefix>.work
//! <prefix>.verdicts topic   clean.<route>, rejected.<route>, superseded.<route>, fault.<route>
//! <prefix>.jobs     direct  internal: work, bulk and retry.<ms>, so that workers need no right on the default exchange
//! <prefix>.dlx      direct  dead -> <prefix>.dead
//! <prefix>.work     quorum queue
//! <prefix>.bulk     quorum queue for what is beyond its uploader's share
//! <prefix>.dead     quorum queue
//! <prefix>.retry.<ms>  quorum queue with a TTL for all its messages, dead-lettering to <prefix>.jobs / work
//! ```
//!
//! A TTL per queue and its value in the name: a per-message TTL expires at the head of a queue only, and a changed
//! tier becomes another queue instead of an argument that no longer matches. What can be a policy is one, because
//! arguments cannot be changed without deleting their queue.

use std::fmt;
use std::time::Duration;

use lapin::types::ShortString;
use serde::Serialize;

/// The names of one installation.
#[derive(Debug, Clone)]
pub struct Topology {
    prefix: String,
    tiers: Vec<Duration>,
}

/// The value of an argument or of a key of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// Names and values in the order in which people read them.
pub type Table = Vec<(&'static str, Value)>;

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    /// `topic` or `direct`.
    pub kind: &'static str,
}

/// A durable queue with the arguments that must be given at declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub arguments: Table,
}

/// From an exchange to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub exchange: String,
    pub key: String,
    pub queue: String,
}

/// What queues with matching names do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    pub pattern: String,
    pub definition: Table,
}

/// A user of the broker with the least rights for a role, as regular expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// For people.
    pub role: &'static str,
    pub configure: String,
    pub write: String,
    pub read: String,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} --{}--> {}", self.exchange, self.key, self.queue)
    }
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

    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        [("events", "topic"), ("verdicts", "topic"), ("jobs", "direct"), ("dlx", "direct")]
            .map(|(last, kind)| Exchange { name: self.name(last), kind })
            .into()
    }

    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        let quorum = || vec![("x-queue-type", text("quorum"))];
        let plain = ["work", "bulk", "dead"].map(|last| Queue { name: self.name(last), arguments: quorum() });
        let retry = self.tiers.iter().map(|tier| {
            let mut arguments = quorum();
            arguments.extend([
                ("x-message-ttl", Value::Number(i64::try_from(tier.as_millis()).unwrap_or(i64::MAX))),
                ("x-dead-letter-exchange", text(self.name("jobs"))),
                ("x-dead-letter-routing-key", text("work")),
                // With the default overflow this strategy silently falls back to losing messages.
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
            ]);
            Queue { name: self.name(&Self::retry_key(*tier)), arguments }
        });
        plain.into_iter().chain(retry).collect()
    }

    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        let binding = |exchange: &str, key: &str, queue: &str| Binding {
            exchange: self.name(exchange),
            key: key.to_owned(),
            queue: self.name(queue),
        };
        let retry = self.tiers.iter().map(|t| binding("jobs", &Self::retry_key(*t), &Self::retry_key(*t)));
        [
            binding("events", "#", "work"),
            binding("jobs", "work", "work"),
            binding("jobs", "bulk", "bulk"),
            binding("dlx", "dead", "dead"),
        ]
        .into_iter()
        .chain(retry)
        .collect()
    }

    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        let work = vec![
            // The net below a message that kills workers; whatever a worker survives is counted by the worker.
            ("delivery-limit", Value::Number(20)),
            ("dead-letter-exchange", text(self.name("dlx"))),
            ("dead-letter-routing-key", text("dead")),
            ("dead-letter-strategy", text("at-least-once")),
            // A full queue refuses its publishers; the default drops the oldest message.
            ("overflow", text("reject-publish")),
            ("max-length", Value::Number(1_000_000)),
        ];
        // From RabbitMQ 4 on the default is 20, and looking at a dead letter counts: without this, looking drops it.
        let dead = vec![("delivery-limit", Value::Number(1_000_000))];
        let policy = |last: &str, queues: &str, definition| Policy {
            name: format!("{}-{last}", self.prefix),
            pattern: self.pattern(queues),
            definition,
        };
        vec![policy("work", "(work|bulk)", work), policy("dead", "dead", dead)]
    }

    /// The users of an installation, each with the least rights.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let nothing = || "^$".to_owned();
        let user = |last: &str, role, configure, write, read| User {
            name: format!("{}-{last}", self.prefix),
            role,
            configure,
            write,
            read,
        };
        let (events, work) = (self.pattern("events"), self.pattern("(work|bulk)"));
        vec![
            user("worker", "airlock worker", nothing(), self.pattern("(verdicts|jobs|dlx)"), work),
            user("operator", "airlock dlq", nothing(), self.pattern("jobs"), self.pattern("dead")),
            user("app", "announces uploads, hears verdicts", nothing(), events.clone(), self.pattern("app")),
            user("store", "a store that declares its exchange", events.clone(), events, nothing()),
            user("reconcile", "airlock reconcile", nothing(), self.pattern("(events|verdicts)"), nothing()),
        ]
    }

    /// The regular expression of these names and no others.
    fn pattern(&self, last: &str) -> String {
        format!("^{}\\.{last}$", self.prefix.replace('.', "\\."))
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// Names here are made of our own prefix, which the configuration keeps short, and constants.
pub(super) fn short(name: impl AsRef<str>) -> ShortString {
    ShortString::try_new(name.as_ref()).unwrap_or_default()
}
