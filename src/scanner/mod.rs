//! The port to malware scanners, and the set of those that must all answer.
//!
//! An engine sees the original snapshot. Its answer is a finding about exactly those bytes or a fault; there is
//! nothing in between. [`Answers`] can be made by [`Engines::scan`] alone, from the complete answers of every
//! configured engine: that value is the evidence without which nothing is promoted (guarantee G1).

pub mod canary;
pub mod clamd;
pub mod reply;
pub mod trust;
pub mod yara;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::fault::{Fault, FaultCode};
use crate::object::Sha256;
use crate::snapshot::Snapshot;
use crate::verdict::{EngineInfo, Reason, Stage};

/// One engine.
pub trait Scanner: Send + Sync + 'static {
    /// The name in verdicts and metrics.
    fn name(&self) -> &'static str;

    /// Looks at all bytes of the snapshot.
    ///
    /// # Errors
    /// Whatever keeps the engine from an explicit answer: down, stale, confused, out of time.
    fn scan<'a>(&'a self, snapshot: &'a Snapshot) -> BoxFuture<'a, Result<Answer, Fault>>;

    /// Proves that the engine finds what it must find, and says what it matches against. Renews what has to be
    /// renewed from time to time: proofs and rules.
    ///
    /// # Errors
    /// As [`Scanner::scan`].
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>>;

    /// Whether the last probe or scan leaves it in a state in which scanning makes sense.
    fn is_trusted(&self) -> bool {
        true
    }

    /// What is wrong with the engine although it works: something that a person has to mend.
    fn trouble(&self) -> Option<Fault> {
        None
    }

    /// When the signature database that was last seen was built, in seconds since 1970, however old it is.
    fn signatures_built(&self) -> Option<i64> {
        None
    }
}

/// What one engine says about a snapshot: an empty list of reasons is an explicit "clean".
#[derive(Debug, Clone)]
pub struct Answer {
    pub engine: EngineInfo,
    pub reasons: Vec<Reason>,
}

/// The complete answers of every configured engine about one snapshot.
#[derive(Debug)]
pub struct Answers {
    sha256: Sha256,
    engines: Vec<EngineInfo>,
    reasons: Vec<Reason>,
}

impl Answers {
    /// The digest of the bytes that were scanned.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    #[must_use]
    pub fn engines(&self) -> &[EngineInfo] {
        &self.engines
    }

    /// The findings of all engines; none is clean.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

/// The configured engines: at least one, and every one must answer.
pub struct Engines {
    engines: Vec<Box<dyn Scanner>>,
    /// Whether all of them are trusted.
    trusted: watch::Sender<bool>,
}

/// What a probe tells of one engine.
#[derive(Debug)]
pub struct Probe {
    pub name: &'static str,
    pub answer: Result<EngineInfo, Fault>,
    /// As [`Scanner::signatures_built`].
    pub signatures_built: Option<i64>,
    /// As [`Scanner::trouble`].
    pub trouble: Option<Fault>,
}

impl Engines {
    /// # Errors
    /// `rules.broken` for an empty set: without an engine nothing could ever be clean.
    pub fn new(engines: Vec<Box<dyn Scanner>>) -> Result<Self, Fault> {
        if engines.is_empty() {
            return Err(Fault::new(FaultCode::RulesBroken, Stage::Scan, "no scan engine is configured"));
        }
        let engines = Self { engines, trusted: watch::Sender::new(false) };
        engines.update();
        Ok(engines)
    }

    /// Asks all engines at the same time. One that cannot answer is a fault even when another found malware:
    /// the retry will tell both.
    ///
    /// # Errors
    /// The first fault, in the order of configuration.
    pub async fn scan(&self, snapshot: &Snapshot) -> Result<Answers, Fault> {
        let answers = join_all(self.engines.iter().map(|e| e.scan(snapshot))).await;
        self.update();
        let (mut engines, mut reasons) = (Vec::new(), Vec::new());
        for answer in answers {
            let answer = answer?;
            engines.push(answer.engine);
            reasons.extend(answer.reasons);
        }
        Ok(Answers { sha256: snapshot.sha256(), engines, reasons })
    }

    /// Probes each engine, in the order of configuration.
    pub async fn probe(&self) -> Vec<Probe> {
        let probes = join_all(self.engines.iter().map(async |e| Probe {
            name: e.name(),
            answer: e.probe().await,
            signatures_built: e.signatures_built(),
            trouble: e.trouble(),
        }))
        .await;
        self.update();
        probes
    }

    /// Tells whether all engines are trusted: while they are not, no worker takes work.
    #[must_use]
    pub fn trusted(&self) -> watch::Receiver<bool> {
        self.trusted.subscribe()
    }

    fn update(&self) {
        let now = self.engines.iter().all(|e| e.is_trusted());
        self.trusted.send_if_modified(|before| std::mem::replace(before, now) != now);
    }

    /// The names of the engines.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.engines.iter().map(|e| e.name())
    }
}
