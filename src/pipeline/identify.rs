//! Identify: what the bytes are, by their structure, and whether name and declared type agree.

use bytes::Bytes;

use crate::fault::{Fault, FaultCode};
use crate::image;
use crate::media::{self, Claims, Examination};
use crate::policy::Policy;
use crate::stage::Facts;
use crate::verdict::Stage;

/// What identification tells the steps behind it.
pub(super) struct Identity {
    pub examination: Examination,
    /// The bytes that sanitizing this file will need.
    pub memory_to_sanitize: u64,
}

/// Walks the bytes. Blocks.
pub(super) fn identify(bytes: &Bytes, facts: &Facts, policy: &Policy) -> Identity {
    let declared: Vec<&str> = facts.declared.iter().map(String::as_str).collect();
    let claims = Claims {
        key_name: facts.name.rsplit('/').next().unwrap_or(&facts.name),
        key: facts.object.as_ref().map(|o| o.key.as_str()),
        filename: facts.filename.as_deref(),
        declared: &declared,
    };
    let examination = media::examine(bytes, &claims, policy);
    let memory_to_sanitize = match examination.detected {
        Some(media) if media.is_image() && examination.reasons.is_empty() => {
            bytes.len() as u64 + image::memory_needed(bytes, media, &policy.image)
        }
        _ => 0,
    };
    Identity { examination, memory_to_sanitize }
}

/// The bytes that identifying a file will need: its own, and for a document the largest part that it may make us
/// inflate.
pub(super) fn memory_to_identify(start: &[u8], size: u64, policy: &Policy) -> u64 {
    let limits = &policy.documents;
    let inflated = match start {
        [b'P', b'K', ..] => limits.part_bytes,
        [0xFF, 0xD8, ..] | [0x89, ..] | [b'G', b'I', b'F', ..] | [b'R', b'I', b'F', b'F', ..] => 0,
        _ => limits.stream_bytes,
    };
    size + inflated
}

/// The worker thread that ran a step is gone.
pub(super) fn panicked(stage: Stage, error: &tokio::task::JoinError) -> Fault {
    Fault::new(FaultCode::Internal, stage, format!("the {stage} step stopped: {error}"))
}

/// A snapshot could not be read back.
pub(super) fn unreadable(stage: Stage, error: &std::io::Error) -> Fault {
    Fault::new(FaultCode::SpoolFull, stage, format!("the snapshot cannot be read: {error}"))
}
