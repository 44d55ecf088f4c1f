//! What a message carries on when it is published again: its own headers, the story of its failures, and nothing
//! that would change where it goes or how long it lives.
//!
//! ```text
//! the publisher's headers   kept, up to a size that still fits into one frame together with ours
//! x-airlock-*               of the last failure: written anew each time; lasting ones (LASTING) are kept
//! x-death and its kin       the broker's bookkeeping, counted by other rules in every version: never republished
//! CC, BCC, expiration,      what RabbitMQ obeys: extra routing keys, a lifetime, a checked user. A publisher could
//! user-id                   multiply its message, let a dead letter expire, or close our channel with each of them
//! ```

use std::collections::BTreeMap;

use lapin::protocol::basic::AMQPProperties as Properties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde::Serialize;

use super::topology::short;
use crate::clock;
use crate::settlement::{Failure, SOURCE_ID_HEADER};
use crate::trace::{TRACEPARENT, TRACESTATE, TraceContext};

/// When the first of all failures of this message was.
pub const FIRST_FAILED: &str = "x-airlock-first-failed-at";
pub const FAILED_AT: &str = "x-airlock-failed-at";
pub const HOST: &str = "x-airlock-host";
pub const VERSION: &str = "x-airlock-version";
/// How often it was sent back from the dead-letter queue.
pub const REDRIVEN: &str = "x-airlock-redriven";
pub const REDRIVEN_AT: &str = "x-airlock-redriven-at";
const ORIGINAL_EXCHANGE: &str = "x-airlock-original-exchange";
const ORIGINAL_KEY: &str = "x-airlock-original-routing-key";
const ORIGINAL_QUEUE: &str = "x-airlock-original-queue";

/// Headers of ours that outlive the failure during which they were written.
const LASTING: [&str; 7] =
    [FIRST_FAILED, REDRIVEN, REDRIVEN_AT, ORIGINAL_EXCHANGE, ORIGINAL_KEY, ORIGINAL_QUEUE, SOURCE_ID_HEADER];

/// The most bytes of a publisher's headers that are carried on. All headers have to fit into one frame of 128 KiB,
/// or the broker closes the connection: a message that arrived with nearly as many could never be settled.
const MAX_CARRIED: usize = 64 << 10;

/// How a message first came to Airlock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    pub exchange: String,
    pub routing_key: String,
    pub queue: String,
}

impl Origin {
    /// What the headers say, of a message that was published again by us.
    #[must_use]
    pub fn of(headers: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name| headers.get(name).cloned();
        let queue = text(ORIGINAL_QUEUE)?;
        let (exchange, routing_key) = (text(ORIGINAL_EXCHANGE), text(ORIGINAL_KEY));
        Some(Self { exchange: exchange.unwrap_or_default(), routing_key: routing_key.unwrap_or_default(), queue })
    }

    fn headers(&self) -> [(&'static str, String); 3] {
        [
            (ORIGINAL_EXCHANGE, self.exchange.clone()),
            (ORIGINAL_KEY, self.routing_key.clone()),
            (ORIGINAL_QUEUE, self.queue.clone()),
        ]
    }
}

/// The newest time that the broker itself dead-lettered a message. Whatever a worker sends to the dead-letter queue
/// has none, because workers never republish the broker's headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Death {
    /// `delivery_limit`, `expired`, `maxlen` or `rejected`.
    pub reason: String,
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
    /// Seconds since 1970; `None` from a broker that does not say.
    pub at: Option<i64>,
}

impl Death {
    pub(super) fn of(table: &FieldTable) -> Option<Self> {
        let newest = table.inner().get("x-death").and_then(|deaths| match deaths {
            AMQPValue::FieldArray(deaths) => deaths.as_slice().first(),
            _ => None,
        });
        let newest = newest.and_then(|death| match death {
            AMQPValue::FieldTable(death) => Some(death.inner()),
            _ => None,
        });
        // Without the list, what newer brokers say of the last death and all of them say of the first.
        let said = |what: &str| {
            let of_table = newest.and_then(|death| death.get(what)).and_then(text);
            let header = |which| table.inner().get(format!("x-{which}-death-{what}").as_str()).and_then(text);
            of_table.or_else(|| header("last")).or_else(|| header("first"))
        };
        let at = newest.and_then(|death| death.get("time")).and_then(|time| match time {
            AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).ok(),
            _ => None,
        });
        let key = newest.and_then(|death| death.get("routing-keys")).and_then(|keys| match keys {
            AMQPValue::FieldArray(keys) => keys.as_slice().first().and_then(text),
            _ => None,
        });
        Some(Self {
            reason: said("reason")?,
            queue: said("queue")?,
            exchange: said("exchange").unwrap_or_default(),
            routing_key: key.unwrap_or_default(),
            at,
        })
    }

    /// Where the message was when it died.
    pub(super) fn origin(&self) -> Origin {
        let Self { exchange, routing_key, queue, .. } = self.clone();
        Origin { exchange, routing_key, queue }
    }
}

/// Headers that nobody republishes: the broker's bookkeeping, and those that would route copies elsewhere.
pub(super) fn is_brokers(name: &str) -> bool {
    matches!(name, "x-death" | "x-delivery-count" | "x-acquired-count" | "CC" | "BCC")
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
}

/// Whether a header stays when the next chapter of a message's story is written: all but the broker's and those of
/// an earlier failure.
pub(super) fn lasts(name: &str) -> bool {
    !is_brokers(name) && (!name.starts_with("x-airlock-") || LASTING.contains(&name))
}

/// Our headers of a message that is published again, after a failure or without one.
pub(super) fn story(
    headers: &BTreeMap<String, String>,
    origin: Option<&Origin>,
    failure: Option<&Failure>,
    host: &str,
) -> BTreeMap<String, String> {
    let mut story: Vec<(&str, String)> = Vec::new();
    if let Some(origin) = origin {
        story.extend(origin.headers());
    }
    if let Some(failure) = failure {
        let now = clock::rfc3339(clock::now());
        story.extend(failure.headers());
        story.push((FIRST_FAILED, headers.get(FIRST_FAILED).cloned().unwrap_or_else(|| now.clone())));
        story.push((FAILED_AT, now));
        story.push((HOST, host.to_owned()));
        story.push((VERSION, env!("CARGO_PKG_VERSION").to_owned()));
    }
    story.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Our headers of a dead letter that goes back to work as if it had never failed.
pub(super) fn redriven(headers: &BTreeMap<String, String>, origin: Option<&Origin>) -> BTreeMap<String, String> {
    let mut story = story(headers, origin, None, "");
    story.insert(REDRIVEN.to_owned(), times_redriven(headers).saturating_add(1).to_string());
    story.insert(REDRIVEN_AT.to_owned(), clock::rfc3339(clock::now()));
    story
}

/// How often a message was redriven already.
#[must_use]
pub fn times_redriven(headers: &BTreeMap<String, String>) -> u32 {
    headers.get(REDRIVEN).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The properties under which a message is published again: its own, as far as they may stay, and `story`.
pub(super) fn republished(
    own: &Properties,
    stays: impl Fn(&str) -> bool,
    story: BTreeMap<String, String>,
) -> Properties {
    let mut headers = FieldTable::default();
    let mut size = 0_usize;
    for (name, value) in own.headers().iter().flat_map(FieldTable::inner) {
        if stays(name.as_str()) && !story.contains_key(name.as_str()) {
            size = size.saturating_add(name.as_str().len()).saturating_add(weight(value));
            if size > MAX_CARRIED {
                break;
            }
            headers.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in story {
        headers.insert(short(name), AMQPValue::LongString(LongString::from(value)));
    }
    // Built anew and not cleared: lapin can set a property and not take one away.
    let mut properties = Properties::default().with_headers(headers).with_delivery_mode(2);
    macro_rules! keep {
        ($($get:ident $set:ident),*) => {
            $(if let Some(value) = own.$get() { properties = properties.$set(value.clone()); })*
        };
    }
    keep!(
        content_type with_content_type,
        content_encoding with_content_encoding,
        priority with_priority,
        correlation_id with_correlation_id,
        reply_to with_reply_to,
        message_id with_message_id,
        timestamp with_timestamp,
        kind with_type,
        app_id with_app_id
    );
    properties
}

/// About how many bytes a value takes in a frame.
fn weight(value: &AMQPValue) -> usize {
    let inside = match value {
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(weight).sum(),
        AMQPValue::FieldTable(table) => table.inner().iter().map(|(n, v)| n.as_str().len() + 1 + weight(v)).sum(),
        _ => 8,
    };
    inside.saturating_add(5)
}

/// The headers of a notice in this trace.
pub(super) fn traced(trace: Option<&TraceContext>) -> FieldTable {
    let mut headers = FieldTable::default();
    let parent = trace.map(|trace| (TRACEPARENT, trace.traceparent()));
    let state = trace.and_then(|trace| Some((TRACESTATE, trace.tracestate()?.to_owned())));
    for (name, value) in parent.into_iter().chain(state) {
        headers.insert(short(name), AMQPValue::LongString(value.into()));
    }
    headers
}

/// The headers whose value is text or a whole number.
pub(super) fn text_headers(table: &FieldTable) -> BTreeMap<String, String> {
    table.inner().iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::LongInt(n) => Some(n.to_string()),
        AMQPValue::LongLongInt(n) => Some(n.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, FaultCode};
    use crate::verdict::Stage;

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(LongString::from(text))
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert(short(*name), value.clone());
        }
        table
    }

    fn failure(attempt: u32) -> Failure {
        Failure { fault: Fault::new(FaultCode::S3Unavailable, Stage::Fetch, "x"), attempt, max_attempts: 3 }
    }

    #[test]
    fn a_failure_replaces_the_last_one_and_keeps_what_lasts() {
        let origin =
            Origin { exchange: "airlock.events".into(), routing_key: "k".into(), queue: "airlock.work".into() };
        let first = story(&BTreeMap::new(), Some(&origin), Some(&failure(1)), "host-1");
        assert_eq!(Origin::of(&first).unwrap(), origin);
        let mut earlier = first.clone();
        earlier.insert(FIRST_FAILED.into(), "2026-01-01T00:00:00Z".into());
        earlier.insert(REDRIVEN.into(), "4".into());
        earlier.insert("traceparent".into(), "00-1".into());
        earlier.insert(SOURCE_ID_HEADER.into(), "5e".into());
        let kept: Vec<&str> = earlier.keys().map(String::as_str).filter(|name| lasts(name)).collect();
        assert_eq!(
            kept,
            ["traceparent", FIRST_FAILED, ORIGINAL_EXCHANGE, ORIGINAL_QUEUE, ORIGINAL_KEY, REDRIVEN, SOURCE_ID_HEADER],
            "nothing else of the earlier failure"
        );
        let second = story(&earlier, Some(&origin), Some(&failure(2)), "host-2");
        assert_eq!(second[FIRST_FAILED], "2026-01-01T00:00:00Z");
        assert_eq!((second["x-airlock-attempt"].as_str(), second[HOST].as_str()), ("2", "host-2"));
        assert!(clock::parse(&second[FAILED_AT]).is_some());

        let again = redriven(&earlier, Some(&origin));
        assert_eq!(again[REDRIVEN], "5");
        assert!(!again.contains_key("x-airlock-attempt"));
    }

    #[test]
    fn what_the_broker_obeys_or_counts_is_not_published_again() {
        let headers = table(&[
            ("CC", AMQPValue::FieldArray(vec![long("work")].into())),
            ("x-death", AMQPValue::FieldArray(vec![].into())),
            ("x-first-death-queue", long("q")),
            ("x-airlock-error-code", long("s3.unavailable")),
            ("ce-id", long("7")),
            ("number", AMQPValue::LongLongInt(5)),
        ]);
        let own = Properties::default()
            .with_headers(headers)
            .with_expiration(short("60000"))
            .with_user_id(short("app"))
            .with_message_id(short("m"))
            .with_content_type(short("application/json"))
            .with_type(short("t"));
        let again = republished(&own, lasts, BTreeMap::new());
        let names: Vec<String> =
            again.headers().iter().flat_map(FieldTable::inner).map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["ce-id", "number"]);
        assert_eq!((again.expiration(), again.user_id()), (&None, &None));
        let kept =
            [again.message_id(), again.content_type(), again.kind()].map(|v| v.as_ref().map(ToString::to_string));
        assert_eq!(kept, [Some("m".to_owned()), Some("application/json".to_owned()), Some("t".to_owned())]);
        assert_eq!(again.delivery_mode(), &Some(2));
    }

    #[test]
    fn headers_that_would_not_fit_into_a_frame_are_left_behind() {
        let own = Properties::default().with_headers(table(&[("a", long("1")), ("b", long(&"x".repeat(100_000)))]));
        let again = republished(&own, lasts, story(&BTreeMap::new(), None, Some(&failure(1)), "h"));
        let headers = again.headers().clone().unwrap();
        assert!(headers.inner().contains_key("a") && !headers.inner().contains_key("b"));
        assert!(headers.inner().contains_key("x-airlock-error-code"));
    }

    #[test]
    fn the_newest_death_counts() {
        let death = |reason: &str, queue: &str, at| {
            AMQPValue::FieldTable(table(&[
                ("reason", long(reason)),
                ("queue", long(queue)),
                ("exchange", long("airlock.jobs")),
                ("routing-keys", AMQPValue::FieldArray(vec![long("work")].into())),
                ("time", AMQPValue::Timestamp(at)),
            ]))
        };
        let deaths = vec![death("delivery_limit", "airlock.work", 20), death("expired", "airlock.retry.10000", 10)];
        let first = [("x-first-death-reason", long("expired")), ("x-first-death-queue", long("airlock.retry.10000"))];
        let listed = [&[("x-death", AMQPValue::FieldArray(deaths.into()))], first.as_slice()].concat();
        let newest = Death::of(&table(&listed)).unwrap();
        assert_eq!(
            (newest.reason.as_str(), newest.queue.as_str(), newest.at),
            ("delivery_limit", "airlock.work", Some(20))
        );
        assert_eq!(newest.routing_key, "work");
        let only_first = Death::of(&table(&first)).unwrap();
        assert_eq!((only_first.reason.as_str(), only_first.at), ("expired", None));
        for nonsense in [AMQPValue::Void, AMQPValue::FieldArray(vec![AMQPValue::Void].into()), long("x")] {
            assert_eq!(Death::of(&table(&[("x-death", nonsense)])), None);
        }
    }
}
