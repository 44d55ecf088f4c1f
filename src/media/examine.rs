//! The examination: which type the bytes prove to be, and everything that speaks against them.
//!
//! The magic guess only picks the walker. The walker decides: it reads the structure to its end, and whatever
//! is unclear is a finding. Claims are compared with what the content proved to be, never the other way round.

use std::borrow::Cow;

use super::findings::{Findings, Walk, malformed};
use super::image_facts::Canvas;
use super::{MediaType, bytes, doc, docx, foreign, gif, jpeg, names, pdf, png, webp};
use crate::policy::{Policy, Trailing};
use crate::verdict::{Reason, ReasonCode};

/// What the uploader claims about the bytes. None of it is believed.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The last segment of the key, or the name of a local file.
    pub key_name: &'a str,
    /// The whole key: empty and relative segments make it unsafe. `None` for what lies under no key.
    pub key: Option<&'a str>,
    /// The name the uploader's file had, if the event says so.
    pub filename: Option<&'a str>,
    /// The event's type and the object's `Content-Type`. Each must agree with the content;
    /// `application/octet-stream` and `binary/octet-stream` claim nothing.
    pub declared: &'a [&'a str],
}

/// What the bytes proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// The type whose magic the content has, also where its structure is refused.
    pub detected: Option<MediaType>,
    /// Everything found, most important first. Empty: nothing speaks against the file.
    pub reasons: Vec<Reason>,
    /// Bytes behind the end of an image, which re-encoding drops.
    pub trailing: bool,
}

/// Examines a whole upload. Total: any bytes give an answer, in time linear in the file and in what the
/// policy's limits let it inflate; memory follows those limits and the file, never a number read from it.
#[must_use]
pub fn examine(bytes: &[u8], claims: &Claims<'_>, policy: &Policy) -> Examination {
    let mut findings = Findings::default();
    let mut trailing = false;
    let content = if bytes.is_empty() {
        findings.add(ReasonCode::Empty, "no bytes");
        Content::Unknown
    } else {
        content(bytes)
    };
    let detected = match &content {
        Content::Ours(media) if media.is_image() => {
            trailing = image(*media, bytes, policy, &mut findings);
            Some(*media)
        }
        Content::Ours(media) => document(*media, bytes, policy, &mut findings),
        Content::Foreign(name) => {
            findings.add(ReasonCode::TypeNotAllowed, format!("looks like {name}, which is not accepted"));
            None
        }
        Content::Nearly(name, why) => {
            findings.add(ReasonCode::Malformed, format!("begins like {name}, but {why}"));
            None
        }
        Content::Unknown => {
            if !bytes.is_empty() {
                findings.add(ReasonCode::Unrecognized, "the content begins like no known type of file");
            }
            None
        }
    };
    if let Some(media) = detected.filter(|media| !policy.types.contains(media)) {
        findings.add(ReasonCode::TypeNotAllowed, format!("{} is not on the allow list", media.mime()));
    }
    agree(detected, &content, claims, &mut findings);
    Examination { detected, reasons: findings.finish(policy), trailing }
}

/// What the first bytes say.
enum Content {
    /// The magic of one of our types; its walker decides.
    Ours(MediaType),
    /// A known type that Airlock does not accept.
    Foreign(&'static str),
    /// The guess named one of our types whose full magic is not there.
    Nearly(&'static str, &'static str),
    Unknown,
}

fn content(bytes: &[u8]) -> Content {
    let guess = infer::get(bytes).map(|kind| kind.mime_type());
    if let Some(media) = magic(bytes) {
        return Content::Ours(media);
    }
    // A drawing in SVG is XML or HTML to the guess: what looks closer goes first.
    match guess {
        Some("application/pdf") if pdf::header_offset(bytes).is_some() => Content::Ours(MediaType::Pdf),
        Some(name @ "image/png") => Content::Nearly(name, "its eight first bytes are not complete"),
        Some(name @ "image/gif") => Content::Nearly(name, "its version is neither 87a nor 89a"),
        Some(name @ "image/webp") => Content::Nearly(name, "the RIFF header is missing"),
        Some(name @ "application/pdf") => Content::Nearly(name, "its header is not at the beginning"),
        _ => match foreign::name(bytes).or(guess) {
            Some(name) => Content::Foreign(name),
            None if bytes.starts_with(b"RIFF") && bytes.len() > 12 => Content::Foreign("another kind of RIFF file"),
            None => Content::Unknown,
        },
    }
}

/// The type whose magic stands at the very beginning.
fn magic(bytes: &[u8]) -> Option<MediaType> {
    let is = |magic: &[u8]| bytes.starts_with(magic);
    match bytes {
        _ if is(jpeg::MAGIC) => Some(MediaType::Jpeg),
        _ if is(png::MAGIC) => Some(MediaType::Png),
        _ if is(gif::MAGIC) => Some(MediaType::Gif),
        _ if webp::is_magic(bytes) => Some(MediaType::Webp),
        _ if pdf::header_offset(bytes) == Some(0) => Some(MediaType::Pdf),
        _ if is(bytes::CFB_MAGIC) => Some(MediaType::Doc),
        _ if is(docx::MAGIC) => Some(MediaType::Docx),
        _ => None,
    }
}

/// Walks an image. Returns whether bytes follow its end that re-encoding will drop.
fn image(media: MediaType, bytes: &[u8], policy: &Policy, findings: &mut Findings) -> bool {
    let mut canvas: Option<Canvas> = None;
    let walk: Walk<usize> = match media {
        MediaType::Jpeg => jpeg::walk(bytes, &mut canvas),
        MediaType::Png => png::walk(bytes, &mut canvas),
        MediaType::Gif => gif::walk(bytes, &mut canvas),
        MediaType::Webp => webp::walk(bytes, &mut canvas),
        MediaType::Pdf | MediaType::Doc | MediaType::Docx => Err(malformed("not an image")),
    };
    if let Some(canvas) = canvas {
        canvas.judge(&policy.image, findings);
    }
    // Readers of PDF take a header anywhere in the first kilobyte, and rebuild the rest.
    if pdf::header_offset(bytes).is_some() {
        findings.add(
            ReasonCode::Polyglot,
            "a PDF header in the first 1024 bytes: PDF readers would open the image as a document",
        );
    }
    if let Some(kind) = bytes::absolute_container(bytes) {
        findings.add(ReasonCode::Polyglot, format!("the file is an image and {kind} at the same time"));
    }
    let Some(end) = findings.note(walk) else { return false };
    let tail = bytes.get(end..).unwrap_or_default();
    if let Some(kind) = bytes::foreign_container(tail) {
        findings.add(ReasonCode::Polyglot, format!("{kind} behind the end of the image at byte {end}"));
    }
    if !tail.is_empty() && policy.image.trailing == Trailing::Reject {
        findings.add(ReasonCode::TrailingData, format!("{} bytes behind the end of the image", tail.len()));
    }
    !tail.is_empty()
}

/// Walks a document. Returns the type it proved to be: a ZIP or a compound file may hold something else.
fn document(media: MediaType, bytes: &[u8], policy: &Policy, findings: &mut Findings) -> Option<MediaType> {
    let proved = match media {
        MediaType::Pdf => {
            pdf::walk(bytes, &policy.documents, policy.documents.stream_bytes, findings);
            true
        }
        MediaType::Doc => doc::walk(bytes, &policy.documents, findings),
        _ => docx::walk(bytes, &policy.documents, findings),
    };
    proved.then_some(media)
}

/// Compares names and declared types with the content (and the names with good manners).
fn agree(detected: Option<MediaType>, content: &Content, claims: &Claims<'_>, findings: &mut Findings) {
    if let Some(key) = claims.key {
        names::judge_key(key, findings);
    }
    // What lies behind a password cannot contradict anything.
    let sealed = detected.is_none() && findings.has(ReasonCode::Encrypted);
    let given = [Some(claims.key_name), claims.filename.filter(|name| *name != claims.key_name)];
    for name in given.into_iter().flatten().filter(|name| !name.is_empty()) {
        names::judge(name, findings);
        if sealed {
            continue;
        }
        let Some(extension) = names::extension(name).map(str::to_ascii_lowercase) else { continue };
        let agrees = |media: MediaType| media.extensions().contains(&extension.as_str());
        if contradicts(detected, content, agrees) {
            findings.add(
                ReasonCode::ExtensionMismatch,
                format!("named .{extension}, the content is {}", called(detected, content)),
            );
        }
    }
    for declared in claims.declared.iter().filter(|_| !sealed) {
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if matches!(essence.as_str(), "" | "application/octet-stream" | "binary/octet-stream") {
            continue;
        }
        if contradicts(detected, content, |media| media.agrees_with(&essence)) {
            findings.add(
                ReasonCode::TypeMismatch,
                format!("declared {essence}, the content is {}", called(detected, content)),
            );
        }
    }
}

/// Whether a claim that names the types for which `agrees` holds is at odds with the content. Where the content
/// is none of our types, a claim to be one of them is.
fn contradicts(detected: Option<MediaType>, content: &Content, agrees: impl Fn(MediaType) -> bool) -> bool {
    match (detected, content) {
        (Some(media), _) => !agrees(media),
        (None, Content::Unknown | Content::Nearly(..)) => false,
        (None, _) => MediaType::ALL.into_iter().any(agrees),
    }
}

fn called(detected: Option<MediaType>, content: &Content) -> Cow<'static, str> {
    match (detected, content) {
        (Some(media), _) => media.name().into(),
        (None, Content::Foreign(name)) => (*name).into(),
        _ => "something else".into(),
    }
}
