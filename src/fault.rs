//! Our own trouble: what could not be finished, why, and whether trying again can help.
//!
//! A fault is not a verdict (guarantee G5): nothing in this module can become a reason, and a fault settles
//! a delivery only by way of a retry or a dead letter.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::object::SourceId;
use crate::text;
use crate::verdict::{MAX_DETAIL, NAMESPACE, Source, Stage, codes};

codes! {
    /// What went wrong, as `<where>.<what>`. `docs/runbook.md` says for each what usually helps.
    pub enum FaultCode {
        EventMalformed = "event.malformed",
        EventUnknownSchema = "event.unknown_schema",
        EventBucketNotAllowed = "event.bucket_not_allowed",
        SourceMissing = "source.missing",
        S3Unavailable = "s3.unavailable",
        S3Denied = "s3.denied",
        ClamdUnavailable = "clamd.unavailable",
        ClamdBusy = "clamd.busy",
        ClamdProtocol = "clamd.protocol",
        SignaturesStale = "signatures.stale",
        RulesBroken = "rules.broken",
        JailUnavailable = "jail.unavailable",
        StoreConflict = "store.conflict",
        SpoolFull = "spool.full",
        VerdictsUnroutable = "verdicts.unroutable",
        BrokerUnavailable = "broker.unavailable",
        DeadlineExceeded = "deadline.exceeded",
        CrashLoop = "crash_loop",
        Internal = "internal",
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may: the message goes to a retry tier until its attempts are used up.
    Transient,
    /// It never will: the message goes to the dead-letter queue at once.
    Poison,
}

impl Class {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Poison => "poison",
        }
    }
}

impl FaultCode {
    /// The one place where retrying is decided. There is no wildcard arm on purpose: a new code has to choose.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::EventMalformed
            | Self::EventUnknownSchema
            | Self::EventBucketNotAllowed
            | Self::StoreConflict
            | Self::CrashLoop => Class::Poison,
            Self::SourceMissing
            | Self::S3Unavailable
            | Self::S3Denied
            | Self::ClamdUnavailable
            | Self::ClamdBusy
            | Self::ClamdProtocol
            | Self::SignaturesStale
            | Self::RulesBroken
            | Self::JailUnavailable
            | Self::SpoolFull
            | Self::VerdictsUnroutable
            | Self::BrokerUnavailable
            | Self::DeadlineExceeded
            | Self::Internal => Class::Transient,
        }
    }

    /// Whether the file may be the cause, so that the next attempt runs alone: it had got to what failed, a scanner, a
    /// decoder or this program.
    #[must_use]
    pub const fn makes_suspect(self) -> bool {
        matches!(
            self,
            Self::ClamdUnavailable
                | Self::ClamdBusy
                | Self::ClamdProtocol
                | Self::JailUnavailable
                | Self::DeadlineExceeded
                | Self::Internal
        )
    }

    /// The most attempts that make sense for this code, whatever the configuration allows. A missing source
    /// is either replicated within minutes or gone for good.
    #[must_use]
    pub const fn attempts(self, configured: u32) -> u32 {
        match self {
            Self::SourceMissing if configured > 4 => 4,
            _ => configured,
        }
    }
}

/// One failure of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} at {stage}: {detail}")]
pub struct Fault {
    pub code: FaultCode,
    pub stage: Stage,
    /// What happened, to what; escaped, at most [`MAX_DETAIL`] characters.
    pub detail: String,
    /// False where this job had not been sent to what failed. Then its file cannot be the cause, and the attempt does
    /// not count.
    pub reached: bool,
    /// Of the upload, where it was known by then.
    pub source_id: Option<SourceId>,
}

impl Fault {
    /// `detail` is taken raw: it is escaped and cut here, once.
    #[must_use]
    pub fn new(code: FaultCode, stage: Stage, detail: impl AsRef<str>) -> Self {
        Self {
            code,
            stage,
            detail: text::printable_within(detail.as_ref(), MAX_DETAIL),
            reached: true,
            source_id: None,
        }
    }

    /// The same fault, met before anything of this job was sent to what failed.
    #[must_use]
    pub fn before_reaching(self) -> Self {
        Self { reached: false, ..self }
    }

    /// The same fault, met on the way of this upload.
    #[must_use]
    pub fn about(self, source_id: Option<SourceId>) -> Self {
        Self { source_id, ..self }
    }

    #[must_use]
    pub const fn class(&self) -> Class {
        self.code.class()
    }
}

codes! {
    /// The version of the fault event's schema.
    pub enum FaultSchema {
        V1 = "airlock.fault.v1",
    }
}

/// What is published, once, when a message is dead-lettered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    pub schema: FaultSchema,
    pub id: Uuid,
    pub code: FaultCode,
    pub stage: Stage,
    pub detail: String,
    pub source: Option<Source>,
    pub attempt: u32,
    /// RFC 3339.
    pub at: String,
}

/// The id of a fault event: the same whenever this message ends with this code. `subject` is the message id,
/// or the digest of the body where there is none.
#[must_use]
pub fn fault_id(subject: &str, code: FaultCode) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("fault\0{subject}\0{code}").as_bytes())
}
