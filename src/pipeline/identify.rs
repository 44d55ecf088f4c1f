//! Identify: what the bytes are, by their structure, and whether name and declared type agree.

use bytes::Bytes;

use crate::fault::{Fault, FaultCode};
use crate::media::{self, Claims, Examination};
use crate::policy::Policy;
use crate::stage::Facts;
use crate::verdict::Stage;

/// Walks the bytes. Blocks.
pub(super) fn identify(bytes: &Bytes, facts: &Facts, policy: &Policy) -> Examination {
    let declared: Vec<&str> = facts.declared.iter().map(String::as_str).collect();
    let claims = Claims {
        key_name: facts.name.rsplit('/').next().unwrap_or(&facts.name),
        key: facts.object.as_ref().map(|o| o.key.as_str()),
        filename: facts.filename.as_deref(),
        declared: &declared,
    };
    media::examine(bytes, &claims, policy)
}

/// The worker thread that ran a step is gone.
pub(super) fn panicked(stage: Stage, error: &tokio::task::JoinError) -> Fault {
    Fault::new(FaultCode::Internal, stage, format!("the {stage} step stopped: {error}"))
}

/// A snapshot could not be read back.
pub(super) fn unreadable(stage: Stage, error: &std::io::Error) -> Fault {
    Fault::new(FaultCode::SpoolFull, stage, format!("the snapshot cannot be read: {error}"))
}
