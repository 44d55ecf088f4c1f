//! How a walker reports: findings that leave the walk going, and the one break that ends it.

use std::borrow::Cow;

use crate::policy::Policy;
use crate::verdict::{self, Reason, ReasonCode, Stage};

/// The most findings kept per code. A document with ten thousand macros is as rejected as one with four, and
/// must not make us remember ten thousand sentences.
const KEPT_PER_CODE: usize = 4;

/// A rule of the format that is broken so that the walk cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub code: ReasonCode,
    pub detail: Cow<'static, str>,
}

/// The result of a step of a walk.
pub(super) type Walk<T> = Result<T, Broken>;

impl Broken {
    pub fn new(code: ReasonCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// A rule of the format is broken.
pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Broken {
    Broken::new(ReasonCode::Malformed, detail)
}

/// The structure goes on where the file ends.
pub(super) fn truncated(detail: impl Into<Cow<'static, str>>) -> Broken {
    Broken::new(ReasonCode::Truncated, detail)
}

/// A counted or inflated amount is over its limit.
pub(super) fn bomb(detail: impl Into<Cow<'static, str>>) -> Broken {
    Broken::new(ReasonCode::ArchiveBomb, detail)
}

/// The findings of one examination, bounded whatever the file holds.
#[derive(Debug, Default)]
pub(super) struct Findings {
    reasons: Vec<Reason>,
}

impl Findings {
    pub fn add(&mut self, code: ReasonCode, detail: impl AsRef<str>) {
        let reason = Reason::new(code, Stage::Identify, detail);
        let known = self.reasons.iter().filter(|r| r.code == code);
        if known.clone().count() < KEPT_PER_CODE && !known.into_iter().any(|r| *r == reason) {
            self.reasons.push(reason);
        }
    }

    pub fn broken(&mut self, broken: &Broken) {
        self.add(broken.code, &broken.detail);
    }

    /// Keeps the value of a walk; what broke it becomes a finding.
    pub fn note<T>(&mut self, walk: Walk<T>) -> Option<T> {
        walk.inspect_err(|broken| self.broken(broken)).ok()
    }

    pub fn has(&self, code: ReasonCode) -> bool {
        self.reasons.iter().any(|r| r.code == code)
    }

    /// The reasons in their order, without those that the policy's switches allow.
    pub fn finish(mut self, policy: &Policy) -> Vec<Reason> {
        self.reasons.retain(|r| !policy.active_content.allows(r.code));
        verdict::ranked(self.reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Switch;

    #[test]
    fn findings_are_bounded_and_switchable() {
        let mut findings = Findings::default();
        for n in 0..1000 {
            findings.add(ReasonCode::Macro, format!("macro {n}"));
            findings.add(ReasonCode::Malformed, "the same");
        }
        assert_eq!(findings.reasons.len(), KEPT_PER_CODE + 1);
        let mut policy = Policy::guide();
        policy.active_content.set(ReasonCode::Macro, Switch::Allow);
        let codes: Vec<_> = findings.finish(&policy).iter().map(|r| r.code).collect();
        assert_eq!(codes, [ReasonCode::Malformed]);
    }
}
