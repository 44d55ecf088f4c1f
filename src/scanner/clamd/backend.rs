//! One clamd server: its slots, its version, and what has to be proved about it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::{NAME, wire};
use crate::clock;
use crate::config::{ClamdAddress, Settings};
use crate::fault::{Fault, FaultCode};
use crate::object::ByteSize;
use crate::scanner::canary;
use crate::scanner::reply::{self, Reply, Version};
use crate::scanner::trust::{Canary, Proof};
use crate::snapshot::{Snapshot, Spool};
use crate::verdict::{EngineInfo, Stage};

/// How long a `VERSION` answer is used before it is asked again.
const VERSION_LIFETIME: Duration = Duration::from_secs(10);

pub(super) struct Backend {
    address: ClamdAddress,
    /// clamd never says that it is busy, it just does not answer: so we count ourselves.
    slots: Semaphore,
    /// The self-test.
    pub proof: Proof,
    canary: Canary,
    /// The largest archive member that a policy accepts: so far clamd has to look into them.
    largest_member: u64,
    /// A canary with a member of that size. It is costly to make and never changes.
    large_canary: OnceCell<Bytes>,
    version: Mutex<Option<(Instant, Version)>>,
    /// Build time of the signatures in the last answer; zero before it.
    built: AtomicI64,
    max_age: Duration,
    require_date: bool,
}

/// One step of the self-test.
struct Trial {
    file: Bytes,
    /// Whether clamd has looked.
    passes: fn(&Reply) -> bool,
    /// What is wrong with a clamd that has not.
    otherwise: String,
}

impl Backend {
    pub fn new(address: &ClamdAddress, settings: &Settings) -> Self {
        Self {
            address: address.clone(),
            slots: Semaphore::new(settings.clamd.concurrency),
            proof: Proof::default(),
            canary: Canary::default(),
            largest_member: settings.policies.values().map(|p| p.documents.part_bytes).max().unwrap_or_default(),
            large_canary: OnceCell::new(),
            version: Mutex::new(None),
            built: AtomicI64::new(0),
            max_age: settings.scan.max_signature_age,
            require_date: settings.clamd.require_date,
        }
    }

    pub fn has_free_slot(&self) -> bool {
        self.slots.available_permits() > 0
    }

    pub fn signatures_built(&self) -> Option<i64> {
        Some(self.built.load(Ordering::Relaxed)).filter(|built| *built != 0)
    }

    pub fn fault(&self, code: FaultCode, why: &str) -> Fault {
        Fault::new(code, Stage::Scan, format!("{why} ({})", self.address))
    }

    /// Sends the snapshot and reads the whole reply.
    pub async fn instream(&self, snapshot: &Snapshot, deadline: Instant) -> Result<Reply, Fault> {
        let busy = || self.fault(FaultCode::ClamdBusy, "clamd did not answer in time");
        let _slot = timeout_at(deadline, self.slots.acquire())
            .await
            .map_err(|_| busy())?
            .map_err(|_| self.fault(FaultCode::Internal, "the scan slots are closed"))?;
        match timeout_at(deadline, wire::instream(&self.address, snapshot)).await {
            Err(_) => Err(busy()),
            Ok(Err(e)) => Err(self.fault(FaultCode::ClamdUnavailable, &e.to_string())),
            Ok(Ok(raw)) => Ok(reply::parse(&raw)),
        }
    }

    /// Runs the self-test unless it has passed within `age`.
    pub async fn prove(&self, age: Duration, deadline: Instant) -> Result<(), Fault> {
        let proving = self.proof.renew(age, || async {
            self.fresh_engine(deadline).await?;
            for trial in self.trials().await? {
                self.attempt(trial, deadline).await?;
            }
            Ok(())
        });
        timeout_at(deadline, proving).await.unwrap_or_else(|_| {
            self.proof.lose();
            Err(self.fault(FaultCode::ClamdBusy, "clamd's self-test did not end in time"))
        })
    }

    /// Returns once a canary that began after this call was found.
    pub async fn confirm(&self, deadline: Instant) -> Result<(), Fault> {
        self.canary.confirm(|| self.attempt(found(canary::zipped(), "in a ZIP archive"), deadline)).await
    }

    async fn attempt(&self, trial: Trial, deadline: Instant) -> Result<(), Fault> {
        match self.instream(&Spool::of_bytes(trial.file), deadline).await? {
            Reply::Fault(code, why) => Err(self.fault(code, why)),
            reply if (trial.passes)(&reply) => Ok(()),
            _ => Err(self.fault(FaultCode::ClamdProtocol, &trial.otherwise)),
        }
    }

    /// One file for each way in which a clamd is known to say `OK` about what it has not looked at.
    async fn trials(&self) -> Result<[Trial; 6], Fault> {
        let size = self.largest_member;
        let make = || async move {
            let made = tokio::task::spawn_blocking(move || canary::at_the_end_of(size)).await;
            made.map_err(std::io::Error::other).flatten().map(Bytes::from)
        };
        let large = self.large_canary.get_or_try_init(make).await;
        let large = large.map_err(|e| self.fault(FaultCode::Internal, &e.to_string()))?.clone();
        Ok([
            found(canary::eicar(), "as it is"),
            found(canary::zipped(), "in a ZIP archive"),
            found(canary::in_pdf(), "in a PDF"),
            Trial {
                file: canary::encrypted().into(),
                passes: |reply| matches!(reply, Reply::Encrypted(_)),
                otherwise: "clamd called an encrypted archive clean: set AlertEncrypted yes".to_owned(),
            },
            Trial {
                file: canary::nested().into(),
                // Where clamd gives up, its alert is as good as the marker: such a file is refused.
                passes: |reply| matches!(reply, Reply::Malware(_) | Reply::LimitsExceeded(_)),
                otherwise: "clamd called archives in archives clean: set AlertExceedsMax yes".to_owned(),
            },
            Trial {
                file: large,
                passes: is_malware,
                otherwise: format!(
                    "clamd saw a part only of an archive member of {}: raise MaxFileSize, MaxScanSize",
                    ByteSize(size)
                ),
            },
        ])
    }

    /// The engine's description, provided that its signatures are young enough to judge by.
    pub async fn fresh_engine(&self, deadline: Instant) -> Result<EngineInfo, Fault> {
        let version = self.version(deadline).await?;
        match &version.signatures {
            Some(signatures) if clock::age_of(signatures.built) > self.max_age => Err(self.fault(
                FaultCode::SignaturesStale,
                &format!("signatures {} are of {}", signatures.version, clock::rfc3339(signatures.built)),
            )),
            None if self.require_date => {
                Err(self
                    .fault(FaultCode::SignaturesStale, "no daily signature database is loaded, so its age is unknown"))
            }
            _ => Ok(engine_info(version)),
        }
    }

    async fn version(&self, deadline: Instant) -> Result<Version, Fault> {
        let mut cached = self.version.lock().await;
        if let Some((at, version)) = &*cached
            && at.elapsed() < VERSION_LIFETIME
        {
            return Ok(version.clone());
        }
        let answer = timeout_at(deadline, wire::command(&self.address, b"zVERSION\0")).await;
        let raw = answer
            .map_err(|_| self.fault(FaultCode::ClamdBusy, "clamd did not tell its version in time"))?
            .map_err(|e| self.fault(FaultCode::ClamdUnavailable, &e.to_string()))?;
        let line = raw.strip_suffix(b"\0").and_then(|line| std::str::from_utf8(line).ok());
        let version = line
            .and_then(reply::parse_version)
            .ok_or_else(|| self.fault(FaultCode::ClamdProtocol, "clamd's answer to VERSION has no known form"))?;
        if let Some(signatures) = &version.signatures {
            self.built.store(signatures.built, Ordering::Relaxed);
        }
        *cached = Some((Instant::now(), version.clone()));
        Ok(version)
    }
}

/// A trial with the marker, which has to be found.
fn found(file: Vec<u8>, form: &str) -> Trial {
    let otherwise = format!("clamd did not find the test marker {form}: look at its settings and its temporary folder");
    Trial { file: file.into(), passes: is_malware, otherwise }
}

fn is_malware(reply: &Reply) -> bool {
    matches!(reply, Reply::Malware(_))
}

fn engine_info(version: Version) -> EngineInfo {
    EngineInfo {
        name: NAME.to_owned(),
        version: version.program,
        signatures_at: version.signatures.as_ref().map(|s| clock::rfc3339(s.built)),
        signatures: version.signatures.map(|s| s.version),
    }
}
