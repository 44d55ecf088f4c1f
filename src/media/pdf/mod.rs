//! PDF: the file passes through as it is, so whatever readers could understand differently is refused.
//!
//! Two walks. The cross-reference must be right, from `startxref` to the page tree ([`xref`]). Independently of
//! it, every object that stands anywhere in the file, in any revision and in any object stream, is judged for
//! what it makes a reader do ([`active`]), because readers that repair a file find objects that no table lists.

mod active;
mod objects;
mod scan;
mod streams;
mod syntax;
mod xref;

use super::bytes::{find, foreign_container, rfind};
use super::findings::{Findings, Walk, malformed, truncated};
use crate::limits::StructureLimits;
use crate::verdict::ReasonCode;
use scan::Scan;
use streams::Budget;
use xref::CrossReference;

const MARK: &[u8] = b"%PDF-";
const END_MARK: &[u8] = b"%%EOF";
/// How far readers look for the header and for the end.
const WINDOW: usize = 1024;

/// Where the header stands within the first kilobyte. White space and a byte order mark before it count as
/// nothing.
pub(super) fn header_offset(bytes: &[u8]) -> Option<usize> {
    let window = bytes.get(..bytes.len().min(WINDOW + MARK.len()))?;
    let at = find(window, MARK, 0)?;
    let before = window.get(..at)?;
    let before = before.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(before);
    Some(if before.iter().all(u8::is_ascii_whitespace) { 0 } else { at })
}

/// Walks a document whose header is in the first kilobyte. Its streams may inflate to `inflatable` bytes in
/// all; returns how many of them are left.
pub(super) fn walk(bytes: &[u8], limits: &StructureLimits, inflatable: u64, findings: &mut Findings) -> u64 {
    if let Some(at) = header_offset(bytes).filter(|at| *at > 0) {
        findings.add(ReasonCode::Polyglot, format!("other content before the PDF header at byte {at}"));
        return inflatable;
    }
    let header = find(bytes, MARK, 0).unwrap_or(0);
    let version = bytes.get(header + MARK.len()..).unwrap_or_default();
    if !matches!(version, [b'1' | b'2', b'.', b'0'..=b'9', ..]) {
        findings.add(ReasonCode::Malformed, "unknown version in the PDF header");
    }
    let mut budget = Budget(inflatable);
    let reference = cross_reference(bytes, header, limits, &mut budget, findings);
    let reference = findings.note(reference);
    let encrypted = reference.as_ref().is_some_and(|(_, found)| found.encrypted);
    let (base, found) = reference.unwrap_or_default();
    let bytes = bytes.get(base..).unwrap_or_default();
    let mut scan = Scan::new(bytes, limits, budget, encrypted);
    let scanned = scan.run(&found, findings);
    let complete = findings.note(scanned).is_some();
    if scan.encrypted() {
        findings.add(ReasonCode::Encrypted, "the document is encrypted");
    } else if complete && found.root.is_some() {
        let pages = scan.check_pages(&found);
        findings.note(pages);
    }
    scan.inflatable()
}

/// What another program that reads these bytes in its own way would find to do: a browser, a server, or a word
/// processor that takes a web archive (MHTML) wherever it begins.
fn markup(bytes: &[u8]) -> Option<&'static str> {
    const MARKS: [&[u8]; 7] = [b"<html", b"<script", b"<!doctype", b"<?php", b"<svg", b"<hta:", b"mime-version:"];
    let starts = |at: usize| {
        let begins = |mark: &&[u8]| bytes.get(at..at + mark.len()).is_some_and(|here| here.eq_ignore_ascii_case(mark));
        MARKS.iter().any(begins)
    };
    let mut candidates = bytes.iter().enumerate().filter(|(_, b)| matches!(b, b'<' | b'm' | b'M'));
    candidates.any(|(at, _)| starts(at)).then_some("HTML or script")
}

/// Reads the cross-reference after judging what follows the last end mark. Offsets count from the file's first
/// byte or, with some writers, from the header; both are tried. Returns which, and what was read.
fn cross_reference(
    bytes: &[u8],
    header: usize,
    limits: &StructureLimits,
    budget: &mut Budget,
    findings: &mut Findings,
) -> Walk<(usize, CrossReference)> {
    let end = rfind(bytes, END_MARK).ok_or_else(|| truncated("no end mark (%%EOF)"))?;
    let tail = bytes.get(end + END_MARK.len()..).unwrap_or_default();
    if let Some(kind) = foreign_container(tail).or_else(|| markup(tail)) {
        findings.add(ReasonCode::Polyglot, format!("{kind} behind the end of the document"));
    } else if tail.len() > WINDOW {
        findings.add(ReasonCode::TrailingData, format!("{} bytes behind the end of the document", tail.len()));
    }
    let start = xref::start(bytes, end)?;
    let found = xref::read(bytes, start, limits, budget).map(|found| (0, found));
    let found = match bytes.get(header..) {
        Some(rest) if found.is_err() && header > 0 => {
            xref::read(rest, start, limits, budget).map(|found| (header, found))
        }
        _ => found,
    }?;
    if found.1.root.is_none() {
        return Err(malformed("the trailer names no catalog"));
    }
    Ok(found)
}
