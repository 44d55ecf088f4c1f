//! DOC: a compound file whose `WordDocument` stream begins with the FIB of Word 97 or later ([MS-DOC] 2.5).
//!
//! The class id of the root proves nothing: honest files have none, and a forged one needs no document.

use super::bytes::{foreign_container, index, u16_le, u32_le};
use super::cfb::{CompoundFile, DirectoryEntry, Kind};
use super::fields::Fields;
use super::findings::{Findings, Walk, malformed};
use super::links::{self, Follow};
use crate::policy::DocumentLimits;
use crate::verdict::ReasonCode;

const WORD_97: u16 = 0xA5EC;
const OLDEST_FIB: u16 = 0x00C1;
const ENCRYPTED: u16 = 0x0100;
const SECOND_TABLE: u16 = 0x0200;
/// Where the FIB says where the piece table lies in the table stream.
const FC_CLX: usize = 0x1A2;
/// Where the FIB says where the associated strings (template path) lie in the table stream.
const FC_ASSOCIATED: usize = 0x19A;
const FIELD_BEGIN: char = '\u{13}';
const FIELD_SEPARATOR: char = '\u{14}';
const FIELD_END: char = '\u{15}';

/// Walks a compound file. Returns whether it is, or at least tries to be, a Word document.
pub(super) fn walk(bytes: &[u8], limits: &DocumentLimits, findings: &mut Findings) -> bool {
    let Some(mut file) = findings.note(CompoundFile::open(bytes, limits)) else { return true };
    let sound = file.check_streams();
    findings.note(sound);
    judge_tail(&file, findings);
    if file.root_stream("EncryptedPackage").is_some() {
        findings.add(ReasonCode::Encrypted, "an Office document behind a password");
        return false;
    }
    judge_names(&file, findings);
    let other = ["Workbook", "Book", "PowerPoint Document"].into_iter().find(|name| file.root_stream(name).is_some());
    let Some(main) = file.root_stream("WordDocument") else {
        let what = other.unwrap_or("no WordDocument");
        findings.add(ReasonCode::TypeNotAllowed, format!("a compound file with {what}: not a Word document"));
        return false;
    };
    if let Some(other) = other {
        findings.add(ReasonCode::Polyglot, format!("the streams WordDocument and {other} side by side"));
    }
    match word_document(&file, main, findings) {
        Ok(is_word) => is_word,
        Err(broken) => {
            findings.broken(&broken);
            true
        }
    }
}

fn judge_tail(file: &CompoundFile<'_>, findings: &mut Findings) {
    let tail = file.tail();
    if let Some(kind) = foreign_container(tail) {
        findings.add(ReasonCode::Polyglot, format!("{kind} behind the last sector"));
    } else if tail.starts_with(b"MZ") {
        findings.add(ReasonCode::Polyglot, "something like a program behind the last sector");
    } else if !tail.is_empty() {
        findings.add(ReasonCode::TrailingData, format!("{} bytes behind the last sector", tail.len()));
    }
}

/// Judges the directory by names, in every place and whether or not the tree reaches them: macro readers do.
fn judge_names(file: &CompoundFile<'_>, findings: &mut Findings) {
    for entry in file.entries.iter().flatten() {
        let name = entry.name.as_str();
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let storage = entry.kind == Kind::Storage;
        if storage && (is("Macros") || is("VBA") || is("_VBA_PROJECT_CUR")) || is("_VBA_PROJECT") {
            findings.add(ReasonCode::Macro, format!("VBA macros in {name}"));
        }
        if is("\u{1}Ole10Native") || is("Equation Native") || is("Package") {
            findings.add(ReasonCode::EmbeddedFile, format!("embedded object: stream {name}"));
        }
        if is("\u{3}OCXNAME") || is("\u{3}OCXDATA") {
            findings.add(ReasonCode::ActiveContent, "ActiveX control");
        }
        let parent = entry.parent.and_then(|parent| file.entries.get(parent)).and_then(Option::as_ref);
        if storage && parent.is_some_and(|parent| parent.name.eq_ignore_ascii_case("ObjectPool")) {
            findings.add(ReasonCode::EmbeddedFile, format!("embedded object {name} in ObjectPool"));
        }
    }
}

/// Reads the document. Returns whether it is one of Word 97 or later.
fn word_document(file: &CompoundFile<'_>, main: &DirectoryEntry, findings: &mut Findings) -> Walk<bool> {
    let document = file.content(main)?;
    let field = |at| u16_le(&document, at).ok_or_else(|| malformed("the WordDocument stream is too short"));
    let (magic, version, flags) = (field(0)?, field(2)?, field(10)?);
    // Word 6 and 95 have other layouts, which nothing here can judge.
    if magic != WORD_97 || version < OLDEST_FIB {
        findings.add(ReasonCode::TypeNotAllowed, format!("a Word document older than Word 97 (nFib {version})"));
        return Ok(false);
    }
    if flags & ENCRYPTED != 0 {
        findings.add(ReasonCode::Encrypted, "the document is encrypted or obfuscated with a password");
        return Ok(true);
    }
    let name = if flags & SECOND_TABLE == 0 { "0Table" } else { "1Table" };
    let table = file.root_stream(name).ok_or_else(|| malformed(format!("the stream {name} is missing")))?;
    let table = file.content(table)?;
    judge_template(located(&document, &table, FC_ASSOCIATED), findings);
    let text = located(&document, &table, FC_CLX).and_then(pieces);
    let text = text.and_then(|pieces| judge_fields(&document, &pieces, findings));
    if findings.note(text).is_none() {
        // Where the pieces are broken, readers may guess; so do we, in both widths.
        for (narrow, offset, characters) in [(true, 0, document.len()), (false, 0, document.len() / 2)] {
            judge_fields(&document, &[Piece { offset, characters, narrow }], findings)?;
        }
    }
    Ok(true)
}

/// The part of the table stream that the pair of offset and length at `at` in the FIB names.
fn located<'a>(document: &[u8], table: &'a [u8], at: usize) -> Walk<&'a [u8]> {
    let (Some(offset), Some(length)) = (u32_le(document, at), u32_le(document, at + 4)) else {
        return Err(malformed("the FIB is too short"));
    };
    let (start, end) = (index(offset), index(offset).saturating_add(index(length)));
    table.get(start..end).ok_or_else(|| malformed("the FIB points past the table stream"))
}

/// The template's path is the second of the associated strings. Word loads a remote one when it opens the
/// document.
fn judge_template(strings: Walk<&[u8]>, findings: &mut Findings) {
    let Some(strings) = findings.note(strings) else { return };
    let text = |at: usize| {
        let length = usize::from(u16_le(strings, at)?);
        let raw = strings.get(at + 2..at + 2 + 2 * length)?;
        Some((utf16(raw), at + 2 + 2 * length))
    };
    let path = (u16_le(strings, 0) == Some(0xFFFF)).then(|| text(6)).flatten().and_then(|(_, next)| text(next));
    if let Some((code, what)) = path.and_then(|(path, _)| links::judge(&path, Follow::OnOpen)) {
        findings.add(code, format!("document template: {what}"));
    }
}

fn utf16(raw: &[u8]) -> String {
    char::decode_utf16(raw.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Follows the fields through the text in the order of the piece table, because a saved edit may have torn a
/// code apart. Text that no piece shows is not looked at: Word cannot see it either.
fn judge_fields(document: &[u8], pieces: &[Piece], findings: &mut Findings) -> Walk<()> {
    let mut fields = Fields::default();
    let mut text = String::new();
    // Pieces may repeat the same bytes; what they show in all is bounded by what a real text could be.
    let mut room = document.len().saturating_mul(2);
    for piece in pieces {
        let raw = piece.of(document).ok_or_else(|| malformed("a piece of text lies outside the document"))?;
        room = room.checked_sub(raw.len()).ok_or_else(|| malformed("the pieces of text overlap"))?;
        let decoded = if piece.narrow { raw.iter().map(|b| char::from(*b)).collect() } else { utf16(raw) };
        for c in decoded.chars() {
            if matches!(c, FIELD_BEGIN | FIELD_SEPARATOR | FIELD_END) {
                fields.text(&std::mem::take(&mut text));
            }
            match c {
                FIELD_BEGIN => fields.begin(),
                FIELD_SEPARATOR => fields.separate("the text", findings),
                FIELD_END => fields.end("the text", findings),
                _ if fields.is_open() => text.push(c),
                _ => {}
            }
        }
    }
    Ok(())
}

/// One run of text: where it lies in the document stream, in characters of one byte or of two.
struct Piece {
    offset: usize,
    characters: usize,
    narrow: bool,
}

impl Piece {
    fn of<'a>(&self, document: &'a [u8]) -> Option<&'a [u8]> {
        let width = if self.narrow { 1 } else { 2 };
        document.get(self.offset..self.offset.checked_add(self.characters.checked_mul(width)?)?)
    }
}

/// The piece table ([MS-DOC] 2.9.38 Clx): property blocks to skip, then positions and descriptors.
fn pieces(clx: &[u8]) -> Walk<Vec<Piece>> {
    let broken = || malformed("broken piece table");
    let mut at = 0;
    while clx.get(at) == Some(&1) {
        at += 3 + usize::from(u16_le(clx, at + 1).ok_or_else(broken)?);
    }
    let length = u32_le(clx, at + 1).filter(|_| clx.get(at) == Some(&2)).ok_or_else(broken)?;
    let table = clx.get(at + 5..(at + 5).saturating_add(index(length))).ok_or_else(broken)?;
    // n descriptors of 8 bytes between n + 1 positions of 4.
    let count = table.len().saturating_sub(4) / 12;
    let position = |n: usize| u32_le(table, 4 * n).map(index);
    let piece = |n: usize| {
        let characters = position(n + 1)?.checked_sub(position(n)?)?;
        let place = u32_le(table, 4 * (count + 1) + 8 * n + 2)?;
        let narrow = place & 0x4000_0000 != 0;
        let offset = index(place & 0x3FFF_FFFF);
        Some(Piece { offset: if narrow { offset / 2 } else { offset }, characters, narrow })
    };
    (0..count).map(|n| piece(n).ok_or_else(broken)).collect()
}
