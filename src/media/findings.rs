//! What a walk over a file collects.

use crate::verdict::{Reason, ReasonCode, Stage};

/// The reasons that a walk has found so far, and whether bytes follow the end of the format.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub reasons: Vec<Reason>,
    /// Bytes behind the end, of no known kind, in a format that is encoded anew.
    pub trailing: bool,
}

/// More findings than this say nothing more; a hostile file could have millions.
const MAX_FINDINGS: usize = 64;

impl Findings {
    /// Adds a finding: `detail` says what and where, for the person who explains it to the uploader.
    pub fn add(&mut self, code: ReasonCode, detail: impl AsRef<str>) {
        if self.reasons.len() < MAX_FINDINGS {
            self.reasons.push(Reason::new(code, Stage::Identify, detail));
        }
    }

    /// The findings of a file whose structure ends the walk at once.
    pub fn only(code: ReasonCode, detail: impl AsRef<str>) -> Self {
        let mut findings = Self::default();
        findings.add(code, detail);
        findings
    }
}
