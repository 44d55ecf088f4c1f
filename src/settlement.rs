//! From the end of an attempt to what happens to the message: one total function, and the table that tests it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::UploadEvent;
use crate::fault::{Class, Fault};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A verdict is recorded, published and, for this message, final.
    Judged,
    /// The message announces something that is not an upload (a deletion, a test event).
    Ignored,
    /// The message announces several uploads: each becomes a message of its own.
    Several(Vec<UploadEvent>),
    /// Our trouble.
    Faulted(Fault),
    /// The work was given up because this process is stopping.
    Interrupted,
    /// Its uploader or its route holds its share of this worker already.
    Crowded,
    /// Workers died over this message: it has to be marked before it is tried for the n-th time alone.
    Suspected(u32),
}

/// What to do with the delivery. Every variant is carried out completely, or the delivery stays unsettled and
/// the broker hands it out again.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    Ack,
    /// Publish one message for each, confirmed, then ack.
    Split(Vec<UploadEvent>),
    /// Publish again to the wait queue of this delay with the failure in its headers, confirmed, then ack.
    Retry {
        delay: Duration,
        failure: Failure,
    },
    /// Publish to the dead-letter queue with the failure in its headers, confirmed, then ack.
    DeadLetter(Failure),
    /// Give it back to the broker as it is: nothing was tried.
    HandBack,
    /// Publish to the bulk queue as it is, confirmed, then ack: whoever comes behind it is not kept waiting.
    Bulk,
    /// Publish again with this count of suspect runs in its headers, confirmed, then ack: should the run that follows
    /// end the worker, whoever gets the message next knows of it.
    Mark(u32),
}

/// A fault together with the attempt that met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    /// The attempt that failed, counted from 1.
    pub attempt: u32,
    pub max_attempts: u32,
}

impl Failure {
    /// The message headers that describe this failure to people and tools, all text but the two counts.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (ATTEMPT_HEADER, self.attempt.to_string()),
            ("x-airlock-max-attempts", self.max_attempts.to_string()),
            ("x-airlock-error-class", self.fault.class().as_str().to_owned()),
            ("x-airlock-error-code", self.fault.code.to_string()),
            ("x-airlock-error-message", self.fault.detail.clone()),
            ("x-airlock-stage", self.fault.stage.to_string()),
        ];
        if self.fault.code.makes_suspect() {
            headers.push((SUSPECT_HEADER, "1".to_owned()));
        }
        headers.extend(self.fault.source_id.map(|id| (SOURCE_ID_HEADER, id.to_string())));
        headers
    }
}

/// Counts attempts that failed. Ours, because every broker version counts deliveries in its own way.
pub const ATTEMPT_HEADER: &str = "x-airlock-attempt";

/// The id of the upload, from the first attempt on that has found it out.
pub const SOURCE_ID_HEADER: &str = "x-airlock-source-id";

/// On a message whose next attempt runs alone.
pub const SUSPECT_HEADER: &str = "x-airlock-suspect";

/// Counts the runs as a suspect that have begun.
pub const CRASHES_HEADER: &str = "x-airlock-crashes";

/// So many deliveries that ended without settlement make a message suspect. It may be the victim of restarts.
const SUSPECT_AFTER: u32 = 3;
/// So many suspect runs that ended without settlement are no accident.
const MAX_CRASHES: u32 = 3;

/// How a delivery may be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Beside others.
    Normal,
    /// With no other job in this process.
    Alone,
    /// Not before it is marked as the n-th run of a suspect.
    Mark(u32),
    /// Not at all: it has ended too many workers.
    CrashLoop,
}

/// Decides by what the headers tell: the broker's count of deliveries, our marks, and whether this delivery is a repeated
/// one. The broker's count alone never condemns: it counts restarts and outages too.
#[must_use]
pub fn admit(headers: &BTreeMap<String, String>, redelivered: bool) -> Admission {
    let count = |name: &str| headers.get(name).and_then(|n| n.parse().ok()).unwrap_or(0u32);
    // Which of the two is there depends on the broker's version.
    let deliveries = count("x-delivery-count").max(count("x-acquired-count"));
    match count(CRASHES_HEADER) {
        0 if deliveries >= SUSPECT_AFTER => Admission::Mark(1),
        0 if headers.contains_key(SUSPECT_HEADER) => Admission::Alone,
        0 => Admission::Normal,
        // A marked message that comes again was in somebody's hands, who did not settle it.
        begun if redelivered && begun >= MAX_CRASHES => Admission::CrashLoop,
        begun if redelivered => Admission::Mark(begun + 1),
        _ => Admission::Alone,
    }
}

/// When to try again, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRules {
    /// Delays after the first, second, .. failure; the last one repeats. Never empty.
    pub tiers: Vec<Duration>,
    pub attempts: u32,
}

impl RetryRules {
    /// The delay behind the failure of this attempt.
    fn delay(&self, attempt: u32) -> Duration {
        let tier = (attempt.saturating_sub(1) as usize).min(self.tiers.len().saturating_sub(1));
        self.tiers.get(tier).copied().unwrap_or(Duration::from_mins(1))
    }
}

/// Decides. `attempt` counts this delivery's attempt from 1.
#[must_use]
pub fn settle(outcome: Outcome, attempt: u32, rules: &RetryRules) -> Settlement {
    match outcome {
        Outcome::Judged | Outcome::Ignored => Settlement::Ack,
        Outcome::Several(uploads) => Settlement::Split(uploads),
        Outcome::Interrupted => Settlement::HandBack,
        Outcome::Crowded => Settlement::Bulk,
        Outcome::Suspected(run) => Settlement::Mark(run),
        Outcome::Faulted(fault) if !fault.reached => Settlement::HandBack,
        Outcome::Faulted(fault) => {
            let max_attempts = fault.code.attempts(rules.attempts);
            let class = fault.class();
            let failure = Failure { fault, attempt, max_attempts };
            match class {
                Class::Transient if attempt < max_attempts => {
                    Settlement::Retry { delay: rules.delay(attempt), failure }
                }
                Class::Transient | Class::Poison => Settlement::DeadLetter(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultCode;
    use crate::verdict::Stage;

    #[test]
    fn every_outcome_has_its_settlement() {
        let rules = RetryRules { tiers: vec![Duration::from_secs(10), Duration::from_mins(1)], attempts: 4 };
        let fault = |code| Outcome::Faulted(Fault::new(code, Stage::Scan, "x"));
        let kind = |outcome, attempt| match settle(outcome, attempt, &rules) {
            Settlement::Ack => "ack".to_owned(),
            Settlement::Split(_) => "split".to_owned(),
            Settlement::Retry { delay, failure } => format!("retry {}s after {}", delay.as_secs(), failure.attempt),
            Settlement::DeadLetter(failure) => format!("dead after {}", failure.attempt),
            Settlement::HandBack => "hand back".to_owned(),
            Settlement::Bulk => "bulk".to_owned(),
            Settlement::Mark(run) => format!("mark {run}"),
        };
        let unreached = |code| Outcome::Faulted(Fault::new(code, Stage::Scan, "x").before_reaching());
        let table = [
            (Outcome::Judged, 1, "ack"),
            (Outcome::Ignored, 1, "ack"),
            (Outcome::Several(vec![]), 1, "split"),
            (Outcome::Interrupted, 3, "hand back"),
            (Outcome::Crowded, 2, "bulk"),
            (Outcome::Suspected(2), 1, "mark 2"),
            (unreached(FaultCode::ClamdUnavailable), 400, "hand back"),
            (fault(FaultCode::ClamdUnavailable), 1, "retry 10s after 1"),
            (fault(FaultCode::ClamdUnavailable), 2, "retry 60s after 2"),
            (fault(FaultCode::ClamdUnavailable), 3, "retry 60s after 3"),
            (fault(FaultCode::ClamdUnavailable), 4, "dead after 4"),
            (fault(FaultCode::ClamdUnavailable), 400, "dead after 400"),
            (fault(FaultCode::EventMalformed), 1, "dead after 1"),
            (fault(FaultCode::SourceMissing), 3, "retry 60s after 3"),
            (fault(FaultCode::SourceMissing), 4, "dead after 4"),
        ];
        for (outcome, attempt, expected) in table {
            assert_eq!(kind(outcome.clone(), attempt), expected, "{outcome:?} at attempt {attempt}");
        }
    }

    /// Headers, whether it is a redelivery, and what follows.
    type Row<'a> = (&'a [(&'a str, &'a str)], bool, Admission);

    #[test]
    fn only_marked_runs_condemn_a_message() {
        let admitted = |headers: &[(&str, &str)], redelivered| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            admit(&headers, redelivered)
        };
        let table: [Row<'_>; 11] = [
            (&[], false, Admission::Normal),
            (&[("x-delivery-count", "2")], true, Admission::Normal),
            (&[("x-delivery-count", "3")], true, Admission::Mark(1)),
            (&[("x-acquired-count", "19"), ("x-delivery-count", "0")], true, Admission::Mark(1)),
            (&[(SUSPECT_HEADER, "1")], false, Admission::Alone),
            (&[(SUSPECT_HEADER, "1"), ("x-delivery-count", "3")], true, Admission::Mark(1)),
            (&[(CRASHES_HEADER, "1")], false, Admission::Alone),
            (&[(CRASHES_HEADER, "1"), ("x-delivery-count", "1")], true, Admission::Mark(2)),
            (&[(CRASHES_HEADER, "2")], true, Admission::Mark(3)),
            (&[(CRASHES_HEADER, "3")], false, Admission::Alone),
            (&[(CRASHES_HEADER, "3")], true, Admission::CrashLoop),
        ];
        for (headers, redelivered, expected) in table {
            assert_eq!(admitted(headers, redelivered), expected, "{headers:?} {redelivered}");
        }
    }

    #[test]
    fn what_failed_on_a_file_is_tried_alone() {
        let headers = |code| {
            let fault = Fault::new(code, Stage::Scan, "x");
            Failure { fault, attempt: 1, max_attempts: 4 }
                .headers()
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert!(headers(FaultCode::ClamdUnavailable).contains(&SUSPECT_HEADER));
        assert!(!headers(FaultCode::S3Unavailable).contains(&SUSPECT_HEADER));
    }

    #[test]
    fn the_headers_name_the_upload_once_it_is_known() {
        let source_id: crate::object::SourceId = "5e".repeat(32).parse().unwrap();
        let named = |source_id| {
            let fault = Fault::new(FaultCode::S3Unavailable, Stage::Fetch, "x").about(source_id);
            let headers = Failure { fault, attempt: 1, max_attempts: 4 }.headers();
            headers.into_iter().find(|(name, _)| *name == SOURCE_ID_HEADER).map(|(_, id)| id)
        };
        assert_eq!(named(Some(source_id)), Some("5e".repeat(32)));
        assert_eq!(named(None), None);
    }

    #[test]
    fn the_headers_tell_what_the_fault_says_escaped_once() {
        let fault = Fault::new(FaultCode::SourceMissing, Stage::Fetch, "a\x1b[2J.jpg");
        let failure = Failure { fault, attempt: 1, max_attempts: 4 };
        let message = failure.headers().into_iter().find(|(name, _)| *name == "x-airlock-error-message");
        assert_eq!(message.unwrap().1, "a\\u{1b}[2J.jpg");
    }

    #[test]
    fn every_fault_code_ends_within_its_attempts() {
        let rules = RetryRules { tiers: vec![Duration::from_secs(1)], attempts: 8 };
        for &code in FaultCode::ALL {
            let outcome = Outcome::Faulted(Fault::new(code, Stage::Fetch, "x"));
            assert!(matches!(settle(outcome, 8, &rules), Settlement::DeadLetter(_)), "{code}");
        }
    }
}
