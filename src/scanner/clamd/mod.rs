//! The clamd adapter: one connection and one `INSTREAM` per scan, every step under a deadline.
//!
//! A scan counts as clean when five things hold: the server's self-test stood when the scan began (it had passed, and
//! nothing had gone wrong there since), the signature database is young enough, the whole snapshot was sent, the reply
//! is exactly `stream: OK`, and a canary that began afterwards was found on the same address.
//!
//! Sessions (`IDSESSION`) would save a tenth of a millisecond and lose the answers of running scans whenever
//! one of them fails; passing descriptors makes an unreadable file look clean. Neither is used.

mod backend;
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use self::backend::Backend;
use super::reply::Reply;
use super::trust::Proof;
use super::{Answer, Scanner};
use crate::config::Settings;
use crate::fault::{Fault, FaultCode};
use crate::snapshot::Snapshot;
use crate::verdict::{EngineInfo, Reason, ReasonCode, Stage};

const NAME: &str = "clamd";
/// How old a self-test may get before a probe repeats it: well before it is no longer believed.
const SELF_TEST_EVERY: Duration = Duration::from_mins(5);
/// The longest probe: one that hangs on a dead connection must not keep a clamd that is back out of service.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// One or more clamd servers; scans go to them in turn.
pub struct Clamd {
    backends: Vec<Backend>,
    next: AtomicUsize,
    timeout: Duration,
}

impl Clamd {
    /// An adapter for the configured addresses; connects when first used.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let backends = settings.clamd.addresses.iter().map(|address| Backend::new(address, settings)).collect();
        Self { backends, next: AtomicUsize::new(0), timeout: settings.clamd.timeout }
    }

    /// Of the addresses in turn: one that is trusted and has a free slot, or else one that is trusted, or else the
    /// next, which has to pass its self-test first.
    fn backend(&self) -> &Backend {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.backends.len()).map(|i| &self.backends[(start + i) % self.backends.len()]);
        let trusted = || turn.clone().filter(|b| b.proof.stands());
        let chosen = trusted().find(|b| b.has_free_slot()).or_else(|| trusted().next());
        chosen.or_else(|| turn.clone().next()).expect("the configuration has at least one address")
    }

    async fn scan_somewhere(&self, snapshot: &Snapshot) -> Result<Answer, Fault> {
        let (backend, deadline) = (self.backend(), Instant::now() + self.timeout);
        // Nothing of this file has been sent yet: it cannot be to blame.
        backend.prove(Proof::LIFETIME, deadline).await.map_err(Fault::before_reaching)?;
        scan_on(backend, snapshot, deadline).await.inspect_err(|_| backend.proof.lose())
    }

    /// Probes every server. One that works is enough; those that do not are told and not used.
    async fn probe_all(&self) -> Result<EngineInfo, Fault> {
        let deadline = Instant::now() + self.timeout.min(PROBE_PATIENCE);
        let probes = join_all(self.backends.iter().map(|b| probe(b, deadline))).await;
        let works = probes.iter().any(Result::is_ok);
        let mut answer = None;
        for probe in probes {
            if let (true, Err(fault)) = (works, &probe) {
                tracing::warn!(code = %fault.code, "one of the clamd servers is not used: {}", fault.detail);
            }
            answer = match (answer, probe) {
                (None | Some(Err(_)), probe) => Some(probe),
                (first, _) => first,
            };
        }
        let none = || Err(Fault::new(FaultCode::ClamdUnavailable, Stage::Scan, "no clamd address is configured"));
        answer.unwrap_or_else(none)
    }
}

/// The self-test where it is due, and otherwise one canary.
async fn probe(backend: &Backend, deadline: Instant) -> Result<EngineInfo, Fault> {
    backend.prove(SELF_TEST_EVERY, deadline).await?;
    let probe = async {
        let engine = backend.fresh_engine(deadline).await?;
        backend.confirm(deadline).await.map(|()| engine)
    };
    probe.await.inspect_err(|_| backend.proof.lose())
}

async fn scan_on(backend: &Backend, snapshot: &Snapshot, deadline: Instant) -> Result<Answer, Fault> {
    let engine = backend.fresh_engine(deadline).await?;
    let reason = |code, detail: &str| vec![Reason::from_engine(code, NAME, detail)];
    let reasons = match backend.instream(snapshot, deadline).await? {
        Reply::Clean => backend.confirm(deadline).await.map(|()| Vec::new())?,
        Reply::Malware(name) => reason(ReasonCode::Malware, &name),
        Reply::Encrypted(name) => reason(ReasonCode::Encrypted, &name),
        Reply::Macros(name) => reason(ReasonCode::Macro, &name),
        Reply::LimitsExceeded(name) => reason(ReasonCode::ScanLimitsExceeded, &name),
        Reply::Fault(code, why) => return Err(backend.fault(code, why)),
    };
    Ok(Answer { engine, reasons })
}

impl Scanner for Clamd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scan<'a>(&'a self, snapshot: &'a Snapshot) -> BoxFuture<'a, Result<Answer, Fault>> {
        Box::pin(self.scan_somewhere(snapshot))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        Box::pin(self.probe_all())
    }

    fn is_trusted(&self) -> bool {
        self.backends.iter().any(|b| b.proof.stands())
    }

    /// Of the oldest database among the servers.
    fn signatures_built(&self) -> Option<i64> {
        self.backends.iter().filter_map(Backend::signatures_built).min()
    }
}
