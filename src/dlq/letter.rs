//! A dead letter as its headers tell it, whoever made it: a worker, or the broker itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::clock;
use crate::event::{self, Parsed};
use crate::object::Sha256;
use crate::queue::Message;
use crate::queue::headers::{Death, FAILED_AT, FIRST_FAILED, HOST, Origin, REDRIVEN_AT, VERSION, times_redriven};
use crate::route::Route;
use crate::settlement::SOURCE_ID_HEADER;

/// The code of a message that neither a worker nor the broker put into the dead-letter queue.
pub const UNKNOWN: &str = "unknown";

/// A dead letter. Texts are as they came: whoever shows them has to escape them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Letter {
    pub schema: &'static str,
    /// The message id; where there is none, the digest of the body.
    pub id: String,
    /// A fault code, `broker:<reason>`, or [`UNKNOWN`].
    pub code: String,
    /// The fault of an earlier attempt, of a message that the broker dead-lettered in the end.
    pub earlier_code: Option<String>,
    pub class: Option<String>,
    pub stage: Option<String>,
    pub message: Option<String>,
    pub attempt: u32,
    pub max_attempts: Option<u32>,
    pub first_failed_at: Option<String>,
    /// When it died. RFC 3339, like every time here.
    pub failed_at: Option<String>,
    pub host: Option<String>,
    pub version: Option<String>,
    pub origin: Option<Origin>,
    pub redriven: u32,
    pub redriven_at: Option<String>,
    /// Of the first upload that the event announces, where it can be read.
    pub route: Option<String>,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub version_id: Option<String>,
    pub uploader: Option<String>,
    /// Of the upload, where an attempt has found it out: the name of its verdict in the ledger.
    pub source_id: Option<String>,
    /// Of the body, in bytes.
    pub size: usize,
}

impl Letter {
    /// Reads a message out of the dead-letter queue.
    #[must_use]
    pub fn of(message: &Message, death: Option<&Death>, routes: &[Arc<Route>]) -> Self {
        let header = |name: &str| message.headers.get(name).cloned();
        let fault = header("x-airlock-error-code");
        let (code, earlier_code) = match death {
            Some(death) => (format!("broker:{}", death.reason), fault),
            None => (fault.unwrap_or_else(|| UNKNOWN.to_owned()), None),
        };
        let failed_at = match death {
            Some(death) => death.at.map(clock::rfc3339),
            None => header(FAILED_AT),
        };
        let event = match event::parse(&message.body, message.content_type.as_deref(), &message.headers) {
            Ok(Parsed::Uploads(uploads)) => uploads.into_iter().next(),
            _ => None,
        };
        let route = event.as_ref().and_then(|e| routes.iter().find(|r| r.quarantine == e.object.bucket));
        let key = event.as_ref().map(|e| e.object.key.to_string());
        let announced = event.as_ref().and_then(|e| e.uploader.clone());
        let uploader = match (route, &key) {
            (Some(route), Some(key)) => route.uploader_from.before_fetch(announced.as_deref(), key),
            _ => announced,
        };
        Self {
            schema: "airlock.dead_letter.v1",
            id: message.message_id.clone().unwrap_or_else(|| Sha256::of(&message.body).to_string()),
            code,
            earlier_code,
            class: header("x-airlock-error-class"),
            stage: header("x-airlock-stage"),
            message: header("x-airlock-error-message"),
            attempt: message.failed_attempts,
            max_attempts: header("x-airlock-max-attempts").and_then(|n| n.parse().ok()),
            first_failed_at: header(FIRST_FAILED),
            failed_at,
            host: header(HOST),
            version: header(VERSION),
            origin: message.origin.clone(),
            redriven: times_redriven(&message.headers),
            redriven_at: header(REDRIVEN_AT),
            route: route.map(|r| r.name.clone()),
            bucket: event.as_ref().map(|e| e.object.bucket.to_string()),
            key,
            version_id: event.as_ref().and_then(|e| e.object.version.as_ref().map(ToString::to_string)),
            uploader,
            source_id: header(SOURCE_ID_HEADER),
            size: message.body.len(),
        }
    }

    /// When it died, in seconds since 1970.
    #[must_use]
    pub fn failed_at(&self) -> Option<i64> {
        self.failed_at.as_deref().and_then(clock::parse)
    }
}

/// Dead letters with the same code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    pub code: String,
    pub count: u32,
    /// RFC 3339; `None` where no letter says when it died.
    pub oldest: Option<String>,
    pub newest: Option<String>,
    pub routes: BTreeSet<String>,
    #[serde(skip)]
    span: Option<(i64, i64)>,
}

/// Adds a letter to its group.
pub fn group(groups: &mut BTreeMap<String, Group>, letter: &Letter) {
    let group = groups.entry(letter.code.clone()).or_default();
    group.code.clone_from(&letter.code);
    group.count += 1;
    group.routes.extend(letter.route.clone());
    if let Some(at) = letter.failed_at() {
        let (oldest, newest) = group.span.map_or((at, at), |(oldest, newest)| (oldest.min(at), newest.max(at)));
        group.span = Some((oldest, newest));
        (group.oldest, group.newest) = (Some(clock::rfc3339(oldest)), Some(clock::rfc3339(newest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)], body: &str) -> Message {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Message { headers, body: body.to_owned().into(), ..Message::default() }
    }

    #[test]
    fn a_letter_of_the_broker_keeps_the_fault_of_an_earlier_attempt() {
        let body = r#"{"bucket": "in-box", "key": "a/b.jpg", "uploader": "alice"}"#;
        let message = message(&[("x-airlock-error-code", "s3.unavailable"), ("x-airlock-redriven", "2")], body);
        let death = Death {
            reason: "delivery_limit".into(),
            queue: "airlock.work".into(),
            exchange: "airlock.jobs".into(),
            routing_key: "work".into(),
            at: Some(0),
        };
        let letter = Letter::of(&message, Some(&death), &[]);
        assert_eq!(
            (letter.code.as_str(), letter.earlier_code.as_deref()),
            ("broker:delivery_limit", Some("s3.unavailable"))
        );
        assert_eq!((letter.failed_at.as_deref(), letter.redriven), (Some("1970-01-01T00:00:00Z"), 2));
        assert_eq!((letter.key.as_deref(), letter.uploader.as_deref()), (Some("a/b.jpg"), Some("alice")));
        assert_eq!(letter.id.len(), 64, "without a message id, the digest of the body");
    }

    #[test]
    fn nonsense_is_a_letter_too() {
        let letter = Letter::of(&message(&[("x-airlock-failed-at", "yesterday")], "\u{1b}[2J"), None, &[]);
        assert_eq!((letter.code.as_str(), letter.failed_at(), letter.key), (UNKNOWN, None, None));
    }

    #[test]
    fn groups_know_their_oldest_and_newest() {
        let mut groups = BTreeMap::new();
        for at in ["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "never"] {
            let message = message(&[("x-airlock-error-code", "internal"), ("x-airlock-failed-at", at)], "");
            group(&mut groups, &Letter::of(&message, None, &[]));
        }
        let internal = &groups["internal"];
        assert_eq!(internal.count, 4);
        assert_eq!(internal.oldest.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(internal.newest.as_deref(), Some("2026-01-03T00:00:00Z"));
    }
}
