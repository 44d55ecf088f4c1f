//! How a walker reports: findings that leave the walk going, and the one break that ends it.

use std::borrow::Cow;

use crate::feature::Feature;
use crate::policy::Policy;
use crate::verdict::{self, Reason, ReasonCode, Stage};

/// The most findings kept of one kind. A document with ten thousand macros is as rejected as one with four, and
/// must not make us remember ten thousand sentences.
const KEPT_PER_KIND: usize = 4;

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
    found: Vec<(Reason, Option<Feature>)>,
}

impl Findings {
    /// Something that no policy can allow.
    pub fn add(&mut self, code: ReasonCode, detail: impl AsRef<str>) {
        self.keep(code, None, detail.as_ref());
    }

    /// Something that a policy may allow.
    pub fn feature(&mut self, feature: Feature, detail: impl AsRef<str>) {
        self.keep(feature.reason(), Some(feature), detail.as_ref());
    }

    /// What is allowed must not use up the room of what is not: each kind has its own.
    fn keep(&mut self, code: ReasonCode, feature: Option<Feature>, detail: &str) {
        let reason = Reason::new(code, Stage::Identify, detail);
        let known = self.found.iter().filter(|(r, f)| (r.code, *f) == (code, feature));
        if known.clone().count() < KEPT_PER_KIND && !known.into_iter().any(|(r, _)| *r == reason) {
            self.found.push((reason, feature));
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
        self.found.iter().any(|(r, _)| r.code == code)
    }

    /// The reasons in their order, without those that the policy's switches allow.
    pub fn finish(self, policy: &Policy) -> Vec<Reason> {
        let allowed = |feature: Option<Feature>| feature.is_some_and(|f| policy.active_content.allows(f));
        let counts = self.found.into_iter().filter(|(_, feature)| !allowed(*feature));
        verdict::ranked(counts.map(|(reason, _)| reason).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_switchable() {
        let mut findings = Findings::default();
        for n in 0..1000 {
            findings.feature(Feature::OleObjects, format!("object {n}"));
            findings.add(ReasonCode::Malformed, "the same");
        }
        findings.feature(Feature::EmbeddedFiles, "a program");
        assert_eq!(findings.found.len(), KEPT_PER_KIND + 2);
        let mut policy = Policy::guide();
        policy.active_content.allow(Feature::OleObjects);
        let reasons = findings.finish(&policy);
        let found: Vec<_> = reasons.iter().map(|r| (r.code, r.detail.as_str())).collect();
        let kept = [(ReasonCode::EmbeddedFile, "a program"), (ReasonCode::Malformed, "the same")];
        assert_eq!(found, kept, "of one reason, one kind is allowed and the other is not");
    }
}
