//! DOC: a compound file whose `WordDocument` stream begins with the FIB of Word 97 or later ([MS-DOC] 2.5).
//!
//! The class id of the root proves nothing: honest files have none, and a forged one needs no document.

use super::bytes::{CFB_MAGIC, container_at, foreign_container, index, rfind, u16_le, u32_le};
use super::cfb::{CompoundFile, DirectoryEntry, Kind};
use super::fields::Fields;
use super::findings::{Findings, Walk, malformed};
use super::links::{self, Follow};
use super::pdf;
use crate::feature::Feature;
use crate::limits::StructureLimits;
use crate::verdict::ReasonCode;

const WORD_97: u16 = 0xA5EC;
const OLDEST_FIB: u16 = 0x00C1;
const TEMPLATE: u16 = 0x0001;
const ENCRYPTED: u16 = 0x0100;
const SECOND_TABLE: u16 = 0x0200;
/// Where the FIB says where the piece table lies in the table stream.
const FC_CLX: usize = 0x1A2;
/// Where the FIB says where the associated strings (template path) lie in the table stream.
const FC_ASSOCIATED: usize = 0x19A;
/// Where the FIB says where the marks of fields are listed, and which of the stories that make up the text each
/// list is about: text, footnotes, headers, macros, comments, endnotes, text boxes, text boxes of headers.
const FC_FIELDS: [(usize, usize); 8] =
    [(0x11A, 0), (0x12A, 1), (0x122, 2), (0x13A, 3), (0x132, 4), (0x21A, 5), (0x262, 6), (0x272, 7)];
/// Where the FIB says how long the stories are.
const STORY_LENGTHS: usize = 0x4C;
const FIELD_BEGIN: u16 = 0x13;
const FIELD_SEPARATOR: u16 = 0x14;
const FIELD_END: u16 = 0x15;

/// Walks a compound file. Returns whether it is, or at least tries to be, a Word document.
pub(super) fn walk(bytes: &[u8], limits: &StructureLimits, findings: &mut Findings) -> bool {
    let Some(mut file) = findings.note(CompoundFile::open(bytes, limits)) else { return true };
    let sound = file.check_streams();
    findings.note(sound);
    judge_edges(bytes, &file, findings);
    if file.root_stream("EncryptedPackage").is_some() {
        findings.add(ReasonCode::Encrypted, "an Office document behind a password");
        return false;
    }
    if file.root_stream("\u{9}DRMContent").is_some() {
        findings.add(ReasonCode::Encrypted, "the document is encrypted by rights management");
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

/// Judges what other readers find before or behind the compound file, or in it from either end.
fn judge_edges(bytes: &[u8], file: &CompoundFile<'_>, findings: &mut Findings) {
    if pdf::header_offset(bytes).is_some() {
        findings.add(ReasonCode::Polyglot, "a PDF begins inside of the compound file");
    }
    let last = bytes.get(bytes.len().saturating_sub(22 + usize::from(u16::MAX))..).unwrap_or_default();
    let end = rfind(last, b"PK\x05\x06").and_then(|at| Some(at + 22 + usize::from(u16_le(last, at + 20)?)));
    if end == Some(last.len()) {
        findings.add(ReasonCode::Polyglot, "a ZIP archive ends where the compound file ends");
    }
    let tail = file.tail();
    // Transfers as text and by hand add a line end, which no reader minds.
    if matches!(tail, b"\n" | b"\r\n") {
        return;
    }
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
        let inner = entry.parent != Some(0);
        if storage && (is("Macros") || is("VBA") || is("_VBA_PROJECT_CUR")) || is("_VBA_PROJECT") || is("PROJECTwm") {
            findings.feature(Feature::Macros, format!("VBA macros: the document holds {name}"));
        }
        let of_object = is("\u{1}Ole10Native") || is("Equation Native") || is("Package") || is("\u{3}ObjInfo");
        let of_document = is("WordDocument") || is("Workbook") || is("Book") || is("PowerPoint Document");
        if of_object || of_document && inner && !storage {
            findings.feature(Feature::OleObjects, format!("embedded object: stream {name}"));
        }
        if let Some(kind) = carried(file, entry).filter(|_| !is("WordDocument") && !is("0Table") && !is("1Table")) {
            findings.feature(Feature::EmbeddedFiles, format!("stream {name} is {kind}"));
        }
        if is("\u{3}OCXNAME") || is("\u{3}OCXDATA") {
            findings.feature(Feature::Activex, "ActiveX control");
        }
        let parent = entry.parent.and_then(|parent| file.entries.get(parent)).and_then(Option::as_ref);
        if storage && parent.is_some_and(|parent| parent.name.eq_ignore_ascii_case("ObjectPool")) {
            findings.feature(Feature::OleObjects, format!("embedded object {name} in ObjectPool"));
        }
    }
}

/// The file that a stream consists of, by its first bytes.
fn carried(file: &CompoundFile<'_>, entry: &DirectoryEntry) -> Option<&'static str> {
    match file.head(entry) {
        _ if entry.kind != Kind::Stream => None,
        head if head.starts_with(CFB_MAGIC) => Some("a compound file"),
        head if head.starts_with(b"MZ") => Some("a program"),
        head if head.starts_with(b"{\\rt") => Some("an RTF document"),
        head => container_at(head),
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
    if flags & TEMPLATE != 0 {
        findings.add(ReasonCode::TypeNotAllowed, "a Word template, not a Word document");
    }
    judge_template(located(&document, &table, FC_ASSOCIATED), findings);
    let listed = listed_marks(&document, &table);
    let text = located(&document, &table, FC_CLX).and_then(pieces);
    let text = text.and_then(|pieces| judge_fields(&document, pieces, &listed, findings));
    if findings.note(text).is_none() {
        // Where the pieces are broken, readers may guess; so do we, in both widths.
        for (narrow, offset, characters) in [(true, 0, document.len()), (false, 0, document.len() / 2)] {
            judge_fields(&document, std::iter::once(Some(Piece { offset, characters, narrow })), &[], findings)?;
        }
    }
    Ok(flags & TEMPLATE == 0)
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
    let Some(strings) = findings.note(strings).filter(|strings| !strings.is_empty()) else { return };
    // After each string come as many more bytes as the table says.
    let extra = u16_le(strings, 4).map_or(0, usize::from);
    let text = |at: usize| {
        let end = at + 2 + 2 * usize::from(u16_le(strings, at)?);
        Some((utf16(strings.get(at + 2..end)?), end + extra))
    };
    let path = (u16_le(strings, 0) == Some(0xFFFF)).then(|| text(6)).flatten().and_then(|(_, next)| text(next));
    match path {
        None => findings.add(ReasonCode::Malformed, "the path of the document template is unreadable"),
        Some((path, _)) => {
            if let Some((feature, what)) = links::judge(&path, Follow::OnOpen(Feature::RemoteTemplate)) {
                findings.feature(feature, format!("document template: {what}"));
            }
        }
    }
}

/// Where the document lists the marks of its fields, as positions in the text, ascending. Word goes by these
/// lists, other readers by the marks in the text.
fn listed_marks(document: &[u8], table: &[u8]) -> Vec<usize> {
    let mut marks = Vec::new();
    for (at, story) in FC_FIELDS {
        let Ok(list) = located(document, table, at) else { continue };
        let lengths = (0..story).filter_map(|n| u32_le(document, STORY_LENGTHS + 4 * n));
        let start = lengths.map(index).fold(0usize, usize::saturating_add);
        // n descriptors of 2 bytes behind n + 1 positions of 4.
        let count = list.len().saturating_sub(4) / 6;
        marks.extend((0..count).filter_map(|n| Some(start.saturating_add(index(u32_le(list, 4 * n)?)))));
    }
    marks.sort_unstable();
    marks
}

fn utf16(raw: &[u8]) -> String {
    char::decode_utf16(raw.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Follows the fields through the text in the order of the piece table, because a saved edit may have torn a
/// code apart: once by all marks, and once by those that the document lists, between which other marks are
/// only text. Text that no piece shows is not looked at: Word cannot see it either.
fn judge_fields(
    document: &[u8],
    pieces: impl Iterator<Item = Option<Piece>>,
    listed: &[usize],
    findings: &mut Findings,
) -> Walk<()> {
    let (mut by_mark, mut by_list) = (FieldText::default(), FieldText::default());
    let mut listed = listed.iter().copied().peekable();
    let mut position = 0;
    // Pieces may repeat the same bytes; what they show in all is bounded by what a real text could be.
    let mut room = document.len().saturating_mul(2);
    for piece in pieces {
        let piece = piece.ok_or_else(|| malformed("broken piece table"))?;
        let raw = piece.of(document).ok_or_else(|| malformed("a piece of text lies outside the document"))?;
        room = room.checked_sub(raw.len()).ok_or_else(|| malformed("the pieces of text overlap"))?;
        for unit in piece.units(raw) {
            while listed.next_if(|at| *at < position).is_some() {}
            let is_mark = matches!(unit, FIELD_BEGIN | FIELD_SEPARATOR | FIELD_END);
            by_mark.take(unit, is_mark, findings);
            by_list.take(unit, is_mark && listed.peek() == Some(&position), findings);
            position += 1;
        }
    }
    Ok(())
}

/// The fields of the text by one way of telling their marks.
#[derive(Default)]
struct FieldText {
    fields: Fields,
    text: Vec<u16>,
}

impl FieldText {
    fn take(&mut self, unit: u16, is_mark: bool, findings: &mut Findings) {
        if !is_mark {
            let is_space = |unit: u16| unit == 0x20 || (0x09..=0x0D).contains(&unit);
            // Padding would push the code out of what is kept of any text.
            let padding = is_space(unit) && self.text.last().is_some_and(|last| is_space(*last));
            if self.fields.is_open() && !padding && self.text.len() < StructureLimits::FIELD_CODE {
                self.text.push(unit);
            }
            return;
        }
        if !self.text.is_empty() {
            self.fields.text(&String::from_utf16_lossy(&self.text));
            self.text.clear();
        }
        match unit {
            FIELD_BEGIN => self.fields.begin(),
            FIELD_SEPARATOR => self.fields.separate("the text", findings),
            _ => self.fields.end("the text", findings),
        }
    }
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

    /// The characters as UTF-16 units.
    fn units(&self, raw: &'_ [u8]) -> impl Iterator<Item = u16> {
        let width = if self.narrow { 1 } else { 2 };
        raw.chunks_exact(width).map(|unit| unit.iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }
}

/// The piece table ([MS-DOC] 2.9.38 Clx): property blocks to skip, then positions and descriptors.
fn pieces(clx: &[u8]) -> Walk<impl Iterator<Item = Option<Piece>>> {
    let broken = || malformed("broken piece table");
    let mut at = 0;
    while clx.get(at) == Some(&1) {
        at += 3 + usize::from(u16_le(clx, at + 1).ok_or_else(broken)?);
    }
    let length = u32_le(clx, at + 1).filter(|_| clx.get(at) == Some(&2)).ok_or_else(broken)?;
    let table = clx.get(at + 5..(at + 5).saturating_add(index(length))).ok_or_else(broken)?;
    // n descriptors of 8 bytes between n + 1 positions of 4.
    let count = table.len().saturating_sub(4) / 12;
    let position = move |n: usize| u32_le(table, 4 * n).map(index);
    let piece = move |n: usize| {
        let characters = position(n + 1)?.checked_sub(position(n)?)?;
        let place = u32_le(table, 4 * (count + 1) + 8 * n + 2)?;
        let narrow = place & 0x4000_0000 != 0;
        let offset = index(place & 0x3FFF_FFFF);
        Some(Piece { offset: if narrow { offset / 2 } else { offset }, characters, narrow })
    };
    Ok((0..count).map(piece))
}
