//! What lies behind the end of an image.
//!
//! Encoding anew drops it, so an odd tail (zero padding, a second picture, a maker's trailer) is no reason to refuse
//! a photograph. A tail that is a file of its own is: somebody else will find it.

use super::findings::Findings;
use crate::verdict::ReasonCode;

/// Magic bytes of containers and programs, and what they are called.
const FOREIGN: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"%PDF-", "a PDF"),
    (b"\x7FELF", "a program"),
    (b"Rar!\x1A\x07", "a RAR archive"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an Office file"),
    (b"<script", "a script"),
    (b"<?php", "a script"),
];

/// How far a Windows program's header may lie behind its `MZ`.
const MAX_PE_OFFSET: usize = 0x1000;

/// The foreign container that these bytes begin or contain.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let found = memchr::memchr3_iter(b'P', b'%', 0x7F, bytes)
        .chain(memchr::memchr3_iter(b'R', b'7', 0xD0, bytes))
        .chain(memchr::memchr_iter(b'<', bytes))
        .find_map(|at| FOREIGN.iter().find(|(magic, _)| bytes.get(at..).is_some_and(|b| b.starts_with(magic))));
    found.map(|(_, name)| *name).or_else(|| is_program(bytes).then_some("a program"))
}

/// `MZ` alone is two letters; with `PE` where its header points it is a Windows program.
fn is_program(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, b"MZ").any(|at| {
        let pointer = bytes.get(at + 0x3C..at + 0x40).and_then(|p| p.try_into().ok()).map(u32::from_le_bytes);
        let header = pointer.and_then(|p| usize::try_from(p).ok()).filter(|p| *p <= MAX_PE_OFFSET);
        header.is_some_and(|p| bytes.get(at + p..at + p + 4) == Some(b"PE\0\0"))
    })
}

/// PDF readers take a header anywhere in the first kilobyte, so an image that holds one there is a PDF too.
pub(super) fn judge_head(bytes: &[u8], of: &str, findings: &mut Findings) {
    let head = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    if memchr::memmem::find(head, b"%PDF-").is_some() {
        findings.add(ReasonCode::Polyglot, format!("a PDF begins inside of {of}"));
    }
}

/// Judges the tail of an image.
pub(super) fn judge(tail: &[u8], of: &str, findings: &mut Findings) {
    if tail.is_empty() {
        return;
    }
    match foreign(tail) {
        Some(kind) => findings.add(ReasonCode::Polyglot, format!("{kind} follows the end of {of}")),
        None => findings.trailing = true,
    }
}
