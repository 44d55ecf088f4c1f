//! What a job has proved so far, as types: `Fetched -> Identified -> Scanned -> Sanitized`, or `Rejection`.
//!
//! Fields are private and each step consumes the one before, so that the order of the pipeline is the only
//! order that compiles. [`Scanned`] needs the [`Answers`] of every configured engine about exactly these bytes;
//! [`Sanitized`], which alone can be put into a clean bucket, needs a [`Scanned`]. This file is where
//! guarantee G1 lives: read it when you want to know whether unscanned bytes can get out.
//!
//! Bytes that were not scanned cannot be promoted:
//!
//! ```compile_fail,E0308
//! # use airlock::{stage::Identified, store::{ObjectStore, Destination}};
//! async fn promote(store: &impl ObjectStore, to: &Destination, file: &Identified) {
//!     store.put_clean(to, file).await;
//! }
//! ```
//!
//! and nobody can claim that they were:
//!
//! ```compile_fail,E0451
//! # use airlock::{media::MediaType, stage::{Fetched, Scanned}};
//! fn pretend(fetched: Fetched) -> Scanned {
//!     Scanned { fetched, media: MediaType::Jpeg, engines: vec![] }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use airlock::{object::Sha256, scanner::Answers};
//! fn answer(sha256: Sha256) -> Answers {
//!     Answers { sha256, engines: vec![], reasons: vec![] }
//! }
//! ```
//!
//! ```compile_fail,E0624
//! # use airlock::{image, stage::{Sanitized, Scanned}};
//! fn smuggle(scanned: Scanned, other: image::Sanitized) -> Sanitized {
//!     scanned.reencoded(other)
//! }
//! ```

use std::collections::BTreeMap;

use crate::fault::{Fault, FaultCode};
use crate::image;
use crate::media::{Examination, MediaType};
use crate::object::{ETag, ObjectRef, Sha256, SourceId};
use crate::scanner::Answers;
use crate::snapshot::{Snapshot, Spool};
use crate::verdict::{Action, EngineInfo, Reason, Sanitization, Stage, ranked};

/// How a step ends that does not lead to the next one.
#[derive(Debug)]
pub enum Halt {
    /// A finding about the file.
    Reject(Box<Rejection>),
    /// Our own trouble.
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What is known about an upload before its bytes are looked at, from the store's own answer.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `None` for a local file.
    pub object: Option<ObjectRef>,
    pub source_id: Option<SourceId>,
    /// The key, or the path as it was given.
    pub name: String,
    pub filename: Option<String>,
    pub etag: Option<ETag>,
    pub size: u64,
    /// Seconds since 1970.
    pub last_modified: Option<i64>,
    /// The types that the event and the object declare, in lower case and without parameters.
    pub declared: Vec<String>,
    /// User metadata of the object.
    pub metadata: BTreeMap<String, String>,
}

/// The bytes are here, complete and frozen.
#[derive(Debug)]
pub struct Fetched {
    facts: Facts,
    snapshot: Snapshot,
}

impl Fetched {
    #[must_use]
    pub fn new(facts: Facts, snapshot: Snapshot) -> Self {
        Self { facts, snapshot }
    }

    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Adds what the structure says. Reasons do not end the job yet: malware must be known as malware, so the
    /// engines see the file first.
    #[must_use]
    pub fn identified(self, examination: Examination) -> Identified {
        Identified { fetched: self, examination }
    }

    /// A file without bytes: the one thing that needs no scan to be refused.
    #[must_use]
    pub fn reject_unscanned(self, reason: Reason) -> Rejection {
        Rejection::new(self.facts, Some(self.snapshot), None, vec![reason], Vec::new())
    }
}

/// The structure was walked.
#[derive(Debug)]
pub struct Identified {
    fetched: Fetched,
    examination: Examination,
}

impl Identified {
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.fetched.snapshot
    }

    /// Joins the findings of the structure and of the engines. Only a file without any goes on.
    ///
    /// # Errors
    /// [`Halt::Reject`] with all findings; a fault when the answers are not about these bytes.
    pub fn scanned(self, answers: &Answers) -> Result<Scanned, Halt> {
        if answers.sha256() != self.fetched.snapshot.sha256() || answers.engines().is_empty() {
            let detail = "the engines' answers are not about this file";
            return Err(Fault::new(FaultCode::Internal, Stage::Scan, detail).into());
        }
        let engines = answers.engines().to_vec();
        let Self { fetched, examination } = self;
        let reasons = [answers.reasons(), &examination.reasons].concat();
        match examination.detected {
            Some(media) if reasons.is_empty() => Ok(Scanned { fetched, media, engines }),
            detected => {
                let Fetched { facts, snapshot } = fetched;
                Err(Halt::Reject(Box::new(Rejection::new(facts, Some(snapshot), detected, reasons, engines))))
            }
        }
    }
}

/// Every configured engine said "clean" about exactly these bytes, and the structure is that of an allowed type.
#[derive(Debug)]
pub struct Scanned {
    fetched: Fetched,
    media: MediaType,
    engines: Vec<EngineInfo>,
}

impl Scanned {
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.fetched.snapshot
    }

    #[must_use]
    pub fn media(&self) -> MediaType {
        self.media
    }

    /// The original goes on as it is: documents.
    pub(crate) fn passed_through(self) -> Sanitized {
        let facts = Sanitization {
            action: Action::PassedThrough,
            removed: Vec::new(),
            width: None,
            height: None,
            frames: None,
            orientation_applied: None,
            resized_from: None,
        };
        let media = self.media;
        Sanitized { output: self.fetched.snapshot.clone(), media, sanitization: facts, scanned: self }
    }

    /// What the sanitizer made of these bytes goes on.
    pub(crate) fn reencoded(self, image: image::Sanitized) -> Sanitized {
        Sanitized {
            output: Spool::of_bytes(image.bytes.into()),
            media: image.media,
            sanitization: image.facts,
            scanned: self,
        }
    }

    /// The sanitizer refused the file.
    #[must_use]
    pub fn reject(self, reasons: Vec<Reason>) -> Rejection {
        let Fetched { facts, snapshot } = self.fetched;
        Rejection::new(facts, Some(snapshot), Some(self.media), reasons, self.engines)
    }
}

/// The safe form of a scanned file: what a clean bucket may hold.
#[derive(Debug)]
pub struct Sanitized {
    scanned: Scanned,
    output: Snapshot,
    media: MediaType,
    sanitization: Sanitization,
}

impl Sanitized {
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.scanned.fetched.facts
    }

    /// The digest of the original.
    #[must_use]
    pub fn source_sha256(&self) -> Sha256 {
        self.scanned.fetched.snapshot.sha256()
    }

    /// The type of the original.
    #[must_use]
    pub fn source_media(&self) -> MediaType {
        self.scanned.media
    }

    /// The bytes to store, with their digest.
    #[must_use]
    pub fn output(&self) -> &Snapshot {
        &self.output
    }

    /// The type of the output.
    #[must_use]
    pub fn media(&self) -> MediaType {
        self.media
    }

    #[must_use]
    pub fn sanitization(&self) -> &Sanitization {
        &self.sanitization
    }

    #[must_use]
    pub fn engines(&self) -> &[EngineInfo] {
        &self.scanned.engines
    }
}

/// A file that is refused, with every finding against it, in the order of precedence; never without one.
#[derive(Debug)]
pub struct Rejection {
    facts: Facts,
    snapshot: Option<Snapshot>,
    detected: Option<MediaType>,
    reasons: Vec<Reason>,
    engines: Vec<EngineInfo>,
}

impl Rejection {
    fn new(
        facts: Facts,
        snapshot: Option<Snapshot>,
        detected: Option<MediaType>,
        mut reasons: Vec<Reason>,
        engines: Vec<EngineInfo>,
    ) -> Self {
        if reasons.is_empty() {
            // Identification found no type and no reason: that is a reason.
            let code = crate::verdict::ReasonCode::Unrecognized;
            reasons.push(Reason::new(code, Stage::Identify, "no known file type"));
        }
        Self { facts, snapshot, detected, reasons: ranked(reasons), engines }
    }

    /// A file whose size alone refuses it, so that its bytes were never fetched.
    #[must_use]
    pub fn unfetched(facts: Facts, reason: Reason) -> Self {
        Self::new(facts, None, None, vec![reason], Vec::new())
    }

    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The original bytes, unless they were never fetched.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    #[must_use]
    pub fn detected(&self) -> Option<MediaType> {
        self.detected
    }

    /// At least one; the first is the one that a person is told.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    #[must_use]
    pub fn engines(&self) -> &[EngineInfo] {
        &self.engines
    }
}
