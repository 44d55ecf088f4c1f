//! What Airlock found out about an upload: reasons, the verdict, and the record that carries both.
//!
//! One JSON schema (`airlock.verdict.v1`) serves the ledger object, the verdict event, a line of
//! `airlock scan --json` and the log. A verdict is a finding about bytes; our own trouble is a
//! [`Fault`](crate::fault::Fault) and never appears here (guarantee G5).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::media::MediaType;
use crate::object::{Bucket, ETag, Sha256, SourceId, VersionId};
use crate::text;

/// The most reasons one record carries; a file with more is just as rejected.
pub const MAX_REASONS: usize = 32;
/// The longest `detail` of a reason or a fault, in characters.
pub const MAX_DETAIL: usize = 120;

/// Defines a closed set of codes once: the variants, their wire names and the list of all of them.
macro_rules! codes {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every member, in declaration order: metrics start each of them at zero.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the wire, in metrics and in the documentation.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// Why a file is rejected. The declaration order is the order of precedence: the first reason of a
    /// verdict is the one that a person is told. `docs/reasons.md` explains each.
    pub enum ReasonCode {
        /// An engine knows these bytes as malware.
        Malware = "malware",
        /// Content that nobody can look into: a password-protected document or archive.
        Encrypted = "encrypted",
        /// Program code in a document (VBA, XLM).
        Macro = "macro",
        /// Something that acts by itself when the document is opened.
        ActiveContent = "active_content",
        /// A file inside the document.
        EmbeddedFile = "embedded_file",
        /// The document fetches something from elsewhere when it is opened.
        ExternalReference = "external_reference",
        /// A counted or inflated amount is over its limit, outside pixels and frames.
        ArchiveBomb = "archive_bomb",
        /// A second format would accept these bytes too.
        Polyglot = "polyglot",
        /// Larger than the policy allows.
        TooLarge = "too_large",
        /// No bytes at all.
        Empty = "empty",
        /// A known type that is not on the allow list.
        TypeNotAllowed = "type_not_allowed",
        /// The declared type is not what the content is.
        TypeMismatch = "type_mismatch",
        /// The name's extension is not one of the content's.
        ExtensionMismatch = "extension_mismatch",
        /// A name that deceives people or programs.
        UnsafeName = "unsafe_name",
        /// More pixels than the policy allows.
        ImageTooLarge = "image_too_large",
        /// More frames than the policy allows.
        TooManyFrames = "too_many_frames",
        /// The structure goes on where the file ends.
        Truncated = "truncated",
        /// A rule of the format is broken.
        Malformed = "malformed",
        /// Bytes of no known kind behind the end.
        TrailingData = "trailing_data",
        /// The structure is right and the decoder still refuses it.
        Undecodable = "undecodable",
        /// No known magic bytes.
        Unrecognized = "unrecognized",
        /// An engine reached its limits before the end of the file.
        ScanLimitsExceeded = "scan_limits_exceeded",
    }
}

codes! {
    /// The step of the pipeline that a reason or a fault comes from.
    pub enum Stage {
        Event = "event",
        Fetch = "fetch",
        Identify = "identify",
        Scan = "scan",
        Sanitize = "sanitize",
        Store = "store",
        Record = "record",
        Publish = "publish",
        Delete = "delete",
    }
}

codes! {
    /// The answer about an upload.
    pub enum Verdict {
        Clean = "clean",
        Rejected = "rejected",
        /// A newer upload holds the destination: nothing was promoted, nothing was wrong.
        Superseded = "superseded",
    }
}

codes! {
    /// What sanitizing did to the bytes.
    pub enum Action {
        Reencoded = "reencoded",
        PassedThrough = "passed_through",
    }
}

codes! {
    /// A kind of metadata that was in the original and is not in the output.
    pub enum Removed {
        Exif = "exif",
        Gps = "gps",
        Xmp = "xmp",
        Iptc = "iptc",
        Icc = "icc",
        Comment = "comment",
        Thumbnail = "thumbnail",
        C2pa = "c2pa",
        TrailingData = "trailing_data",
    }
}

/// One finding against a file: what, found at which step, and where in the file, in words that help the
/// person who must explain it to the uploader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: ReasonCode,
    pub stage: Stage,
    /// From a closed vocabulary or an escaped name; at most [`MAX_DETAIL`] characters.
    pub detail: String,
    /// The engine that answered, for findings of the scan.
    pub engine: Option<String>,
}

impl Reason {
    /// A finding of our own; `detail` is escaped and cut.
    #[must_use]
    pub fn new(code: ReasonCode, stage: Stage, detail: impl AsRef<str>) -> Self {
        Self { code, stage, detail: text::printable_within(detail.as_ref(), MAX_DETAIL), engine: None }
    }

    /// A finding of an engine.
    #[must_use]
    pub fn from_engine(code: ReasonCode, engine: &str, detail: impl AsRef<str>) -> Self {
        Self { engine: Some(engine.to_owned()), ..Self::new(code, Stage::Scan, detail) }
    }
}

/// Reasons in the order of precedence, without repetitions, at most [`MAX_REASONS`].
#[must_use]
pub fn ranked(mut reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.sort_by_key(|r| r.code);
    reasons.dedup();
    reasons.truncate(MAX_REASONS);
    reasons
}

/// What was uploaded, as our own GET saw it and as the event and the object declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub bucket: Option<Bucket>,
    pub key: String,
    pub version_id: Option<VersionId>,
    pub etag: Option<ETag>,
    pub size: u64,
    /// `None` where the bytes were never fetched, because their number alone refuses them.
    pub sha256: Option<Sha256>,
    pub declared_type: Option<String>,
    pub filename: Option<String>,
    pub detected_type: Option<MediaType>,
    /// RFC 3339, UTC, whole seconds.
    pub last_modified: Option<String>,
}

/// Where the result lies: the clean object, or the original in the rejected bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub bucket: Option<Bucket>,
    pub key: String,
    pub version_id: Option<VersionId>,
    pub etag: Option<ETag>,
    pub size: u64,
    /// `None` where the store copied bytes that were never fetched.
    pub sha256: Option<Sha256>,
    pub content_type: String,
}

/// What sanitizing did. Sizes are in pixels; they are absent for documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sanitization {
    pub action: Action,
    pub removed: Vec<Removed>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub frames: Option<u32>,
    /// The EXIF orientation (2 to 8) that was baked into the pixels.
    pub orientation_applied: Option<u8>,
    pub resized_from: Option<(u32, u32)>,
}

/// An engine that answered about this file, with the age of what it matches against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    pub name: String,
    pub version: String,
    /// The version of the signature database; for YARA the digest of the rules.
    pub signatures: Option<String>,
    /// RFC 3339.
    pub signatures_at: Option<String>,
}

/// The policy that judged, by name and by the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    pub name: String,
    pub hash: String,
}

/// The message that asked for this job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInfo {
    pub message_id: Option<String>,
    pub received_at: String,
}

/// Who worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    pub host: String,
    pub version: String,
}

/// Wall-clock milliseconds per step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    pub fetch: u64,
    pub identify: u64,
    pub scan: u64,
    pub sanitize: u64,
    pub store: u64,
    pub total: u64,
}

/// The verdict record. Absent facts are `null`, never invented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub schema: RecordSchema,
    pub id: Uuid,
    pub source_id: Option<SourceId>,
    pub verdict: Verdict,
    pub reasons: Vec<Reason>,
    pub source: Source,
    pub output: Option<Output>,
    pub sanitized: Option<Sanitization>,
    pub engines: Vec<EngineInfo>,
    pub policy: PolicyRef,
    pub uploader: Option<String>,
    pub meta: serde_json::Map<String, serde_json::Value>,
    pub event: EventInfo,
    pub attempt: u32,
    pub worker: WorkerInfo,
    pub timings_ms: Timings,
    pub started_at: String,
    pub finished_at: String,
}

codes! {
    /// The version of the record's schema.
    pub enum RecordSchema {
        V1 = "airlock.verdict.v1",
    }
}

/// The id of a verdict: the same for every attempt that reaches it, so that consumers can deduplicate.
#[must_use]
pub fn verdict_id(source: &SourceId, verdict: Verdict) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{source}{verdict}").as_bytes())
}

/// The UUID namespace of Airlock's ids.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_7a52_3b0c_5c0e_9b57_41a1_70c4_0001);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_the_one_that_matters_most() {
        let reasons = [ReasonCode::Malformed, ReasonCode::Malware, ReasonCode::Macro, ReasonCode::Malware];
        let ranked = ranked(reasons.map(|c| Reason::new(c, Stage::Identify, "x")).to_vec());
        let codes: Vec<_> = ranked.iter().map(|r| r.code.as_str()).collect();
        assert_eq!(codes, ["malware", "macro", "malformed"]);
    }

    #[test]
    fn a_detail_is_escaped_and_short() {
        let reason = Reason::new(ReasonCode::Malware, Stage::Scan, format!("\x1b]0;{}", "a".repeat(500)));
        assert!(reason.detail.chars().count() <= MAX_DETAIL && !reason.detail.contains('\x1b'));
    }
}
