//! The whole identification of a file: magic, structure, and whether name and declared type agree.
//!
//! `infer` makes the first guess. It decides nothing: it calls 14 % of good DOCX files ZIP archives and takes four
//! of a PNG's eight magic bytes for a PNG. Which walker runs is decided by the full magic, what the file is by the
//! walker, and all findings are reported, not only the first.

use super::findings::Findings;
use super::{ImageFacts, MediaType, doc, docx, gif, jpeg, names, pdf, png, tail, webp};
use crate::policy::{Policy, Trailing};
use crate::text;
use crate::verdict::{Reason, ReasonCode, ranked};

/// What the uploader says about the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The last segment of the key, or the name of a local file.
    pub key_name: &'a str,
    /// The whole key; `None` for what lies under no key.
    pub key: Option<&'a str>,
    /// The name under which it was uploaded, where the event tells.
    pub filename: Option<&'a str>,
    /// Declared types, in lower case and without parameters; each must agree.
    pub declared: &'a [&'a str],
}

/// What the bytes are, and everything that speaks against them.
#[derive(Debug)]
pub struct Examination {
    /// The type whose structure the file has; `None` for one that is none of ours.
    pub detected: Option<MediaType>,
    /// In the order of precedence.
    pub reasons: Vec<Reason>,
    /// Bytes follow the end of an image; encoding anew drops them.
    pub trailing: bool,
}

/// Declared types that claim nothing: absent, or what clients and S3 send when they do not know.
const NO_CLAIM: [&str; 3] = ["", "application/octet-stream", "binary/octet-stream"];

/// Examines a file. Total: every input has an answer, in time and memory that the policy bounds.
#[must_use]
pub fn examine(bytes: &[u8], claims: &Claims<'_>, policy: &Policy) -> Examination {
    let mut found = Findings::default();
    let detected = detect(bytes, &mut found);
    if let Some(media) = detected {
        let walked = walk(bytes, media, policy);
        found.trailing = walked.trailing;
        found.reasons.extend(walked.reasons);
        if !policy.types.contains(&media) {
            found.add(ReasonCode::TypeNotAllowed, format!("{} is not on the policy's list", media.name()));
        }
        agree(media, claims, &mut found);
    }
    for name in [Some(claims.key_name), claims.filename].into_iter().flatten() {
        names::judge(name, &mut found);
    }
    if let Some(key) = claims.key {
        names::judge_key(key, &mut found);
    }
    found.reasons.retain(|r| !policy.active_content.allows(r.code));
    if found.trailing && policy.image.trailing == Trailing::Reject {
        found.add(ReasonCode::TrailingData, "bytes follow the end of the image");
    }
    Examination { detected, reasons: ranked(found.reasons), trailing: found.trailing }
}

/// The type that the magic bytes name. What is known but none of ours is `type_not_allowed`, the rest
/// `unrecognized`.
fn detect(bytes: &[u8], found: &mut Findings) -> Option<MediaType> {
    let guess = infer::get(bytes).map(|t| t.mime_type());
    let media = match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some(MediaType::Jpeg),
        b if b.starts_with(b"\x89PNG\r\n\x1A\n") => Some(MediaType::Png),
        b if b.starts_with(b"GIF87a") || b.starts_with(b"GIF89a") => Some(MediaType::Gif),
        b if b.starts_with(b"RIFF") && b.get(8..12) == Some(b"WEBP") => Some(MediaType::Webp),
        b if is_pdf(b) => Some(MediaType::Pdf),
        b if b.starts_with(b"PK\x03\x04") && docx::is_word_package(b) => Some(MediaType::Docx),
        b if b.starts_with(b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1") => compound_file(b, found),
        _ => None,
    };
    if media.is_none() && found.reasons.is_empty() {
        match guess.or_else(|| textual(bytes)) {
            // A few of the magic bytes are right and the rest is not.
            Some(mime) if MediaType::ALL.iter().any(|m| m.mime() == mime) => {
                found.add(ReasonCode::Malformed, format!("it begins almost like {mime}"));
            }
            Some(mime) => found.add(ReasonCode::TypeNotAllowed, format!("it looks like {mime}")),
            None => found.add(ReasonCode::Unrecognized, "no known file type begins like this"),
        }
    }
    media
}

/// Readers take the header anywhere in the first kilobyte; what stands before it is the walker's business.
fn is_pdf(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    memchr::memmem::find(start, b"%PDF-").is_some()
}

/// Word documents are compound files, and so are spreadsheets, installers and encrypted packages.
fn compound_file(bytes: &[u8], found: &mut Findings) -> Option<MediaType> {
    match doc::kind(bytes) {
        Some(doc::Kind::Word97) | None => Some(MediaType::Doc),
        Some(doc::Kind::EncryptedPackage) => {
            found.add(ReasonCode::Encrypted, "an Office document with a password");
            None
        }
        Some(doc::Kind::OtherOffice) => {
            found.add(ReasonCode::TypeNotAllowed, "an Office file that is not a Word document");
            None
        }
        Some(doc::Kind::Other) => {
            found.add(ReasonCode::TypeNotAllowed, "a compound file without a Word document");
            None
        }
    }
}

/// Text formats have no magic bytes; these are worth a name in the explanation.
fn textual(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    let start = String::from_utf8_lossy(start).trim_start_matches(['\u{FEFF}', ' ', '\t', '\r', '\n']).to_lowercase();
    let begins = |words: &[&str]| words.iter().any(|w| start.starts_with(w));
    match () {
        () if begins(&["<svg"]) || (begins(&["<?xml"]) && start.contains("<svg")) => Some("image/svg+xml"),
        () if begins(&["<!doctype html", "<html", "<script", "<body", "<head"]) => Some("text/html"),
        () if begins(&["<?php"]) => Some("a PHP script"),
        () if begins(&["<?xml"]) => Some("text/xml"),
        () if begins(&["{\\rtf"]) => Some("application/rtf"),
        () if begins(&["#!"]) => Some("a script"),
        () if begins(&["mime-version:", "from:", "return-path:"]) => Some("message/rfc822"),
        () => None,
    }
}

fn walk(bytes: &[u8], media: MediaType, policy: &Policy) -> Findings {
    let (mut findings, image) = match media {
        MediaType::Jpeg => jpeg::walk(bytes),
        MediaType::Png => png::walk(bytes),
        MediaType::Gif => gif::walk(bytes),
        MediaType::Webp => webp::walk(bytes),
        MediaType::Pdf => return pdf::walk(bytes, &policy.documents),
        MediaType::Doc => return doc::walk(bytes, &policy.documents),
        MediaType::Docx => return docx::walk(bytes, &policy.documents),
    };
    size(&image, policy, &mut findings);
    tail::judge_head(bytes, "the image", &mut findings);
    findings
}

/// Pixels and frames, from the headers, before any decoder sees them.
fn size(image: &ImageFacts, policy: &Policy, findings: &mut Findings) {
    let ImageFacts { width, height, frames } = *image;
    let (pixels, rules) = (u64::from(width) * u64::from(height), &policy.image);
    if pixels > rules.max_pixels {
        let detail = format!("{width} x {height} pixels where the policy allows {} in all", rules.max_pixels);
        findings.add(ReasonCode::ImageTooLarge, detail);
    }
    if frames > rules.max_frames || pixels.saturating_mul(frames.into()) > rules.max_total_pixels {
        let detail = format!(
            "{frames} frames of {width} x {height} pixels where the policy allows {} frames and {} pixels in all",
            rules.max_frames, rules.max_total_pixels
        );
        findings.add(ReasonCode::TooManyFrames, detail);
    }
}

/// Extension and declared types against the content.
fn agree(media: MediaType, claims: &Claims<'_>, found: &mut Findings) {
    for declared in claims.declared.iter().filter(|d| !NO_CLAIM.contains(d)) {
        if !media.agrees_with(declared) {
            let declared = text::printable_within(declared, 60);
            found.add(ReasonCode::TypeMismatch, format!("declared as {declared}, the content is {}", media.name()));
        }
    }
    for name in [Some(claims.key_name), claims.filename].into_iter().flatten() {
        let Some((stem, extension)) = name.rsplit_once('.') else { continue };
        // A leading dot makes a hidden file, not an extension.
        if stem.is_empty() || media.extensions().contains(&extension.to_lowercase().as_str()) {
            continue;
        }
        let extension = text::printable_within(extension, 20);
        found.add(ReasonCode::ExtensionMismatch, format!("named .{extension}, the content is {}", media.name()));
    }
}
