//! DOCX: a strict archive ([`zip`]) that is an Open Packaging document ([`package`]) whose main part, found
//! through the relationships and not by its usual name, is a Word document without macros.

mod package;
mod parts;
mod story;
mod xml;
mod zip;

use super::bytes::{find, percent_decoded};
use super::findings::Findings;
use super::pdf;
use crate::limits::StructureLimits;
use crate::verdict::ReasonCode;

pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// Walks an archive. Returns whether it is, or at least tries to be, a Word document.
pub(super) fn walk(bytes: &[u8], limits: &StructureLimits, findings: &mut Findings) -> bool {
    // Readers of PDF take a header anywhere in the first kilobyte, and rebuild the rest.
    if pdf::header_offset(bytes).is_some() {
        findings.add(ReasonCode::Polyglot, "a PDF begins inside of the archive");
    }
    let mut budget = zip::Budget::of(limits);
    match zip::open(bytes, limits, findings) {
        // Nothing can be said about parts behind a password.
        Ok(_) if findings.has(ReasonCode::Encrypted) => names_office_parts(bytes),
        Ok(entries) => package::walk(&entries, limits, &mut budget, findings),
        Err(broken) => {
            let office = names_office_parts(bytes);
            if !office {
                findings.add(ReasonCode::TypeNotAllowed, "looks like application/zip");
            }
            findings.broken(&broken);
            office
        }
    }
}

/// Whether an archive too broken to open was meant to be a Word document.
fn names_office_parts(bytes: &[u8]) -> bool {
    find(bytes, b"[Content_Types].xml", 0).is_some() || find(bytes, b"word/document", 0).is_some()
}

/// A part name in the form in which names are compared: no leading slash, percent-decoded, small letters. Two
/// names with one key are one part to some readers.
fn part_key(name: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(name.trim_start_matches('/').as_bytes())).to_lowercase()
}
