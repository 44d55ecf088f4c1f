//! The cross-reference: which object lies where, from the newest revision to the oldest.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::objects::{self, Place};
use super::streams::{self, Budget};
use super::syntax::{Dictionary, Lexer, Token, Value};
use crate::limits::StructureLimits;
use crate::media::bytes::{index, rfind};
use crate::media::findings::{Walk, bomb, malformed, truncated};

/// What all sections say together.
#[derive(Debug, Default)]
pub(super) struct CrossReference {
    /// Where the newest section begins.
    pub newest: usize,
    /// `None` for freed objects.
    pub places: BTreeMap<u32, Option<Place>>,
    pub root: Option<u32>,
    pub encrypted: bool,
    entries: u32,
}

/// Where the newest section begins, according to the end of the file.
pub(super) fn start(bytes: &[u8], end: usize) -> Walk<usize> {
    let window = end.saturating_sub(1024);
    let tail = bytes.get(window..end).unwrap_or_default();
    let keyword = rfind(tail, b"startxref").ok_or_else(|| truncated("no startxref before the end mark"))?;
    match Lexer::new(bytes, window + keyword + b"startxref".len()).next() {
        Token::Integer(n) => usize::try_from(n).map_err(|_| malformed("startxref is negative")),
        _ => Err(malformed("startxref without a number")),
    }
}

/// Reads every section once. `/Prev` must not lead back to where it came from. The stream of a hybrid file
/// (`/XRefStm`) may well be met again, with the sections before it: it has a `/Prev` of its own, and whoever
/// updates such a file copies its trailer.
pub(super) fn read(bytes: &[u8], start: usize, limits: &StructureLimits, budget: &mut Budget) -> Walk<CrossReference> {
    let mut all = CrossReference { newest: start, ..CrossReference::default() };
    let mut waiting = vec![(start, false)];
    let (mut seen, mut revisions) = (HashSet::new(), HashSet::new());
    while let Some((at, hybrid)) = waiting.pop() {
        if !hybrid && !revisions.insert(at) {
            return Err(malformed("the cross-reference sections lead in circles"));
        }
        if !seen.insert(at) {
            continue;
        }
        if seen.len() > StructureLimits::XREF_SECTIONS {
            return Err(malformed(format!("more than {} cross-reference sections", StructureLimits::XREF_SECTIONS)));
        }
        let trailer = all.section(bytes, at, limits, budget)?;
        all.encrypted |= trailer.get("Encrypt").is_some();
        all.root = all.root.or(trailer.reference("Root"));
        // Some writers say that there is no older revision with a zero.
        let offset = |key| trailer.integer(key).and_then(|n| usize::try_from(n).ok()).filter(|at| *at > 0);
        // The stack gives back the last first: a hybrid file's stream comes before the older revision.
        waiting.extend(offset("Prev").map(|at| (at, hybrid)));
        waiting.extend(offset("XRefStm").map(|at| (at, true)));
    }
    Ok(all)
}

impl CrossReference {
    /// The numbers of the streams that objects are said to lie in.
    pub fn containers(&self) -> HashSet<u32> {
        let inner = |place: &Place| if let Place::In(stream, _) = place { Some(*stream) } else { None };
        self.places.values().flatten().filter_map(inner).collect()
    }

    fn section<'a>(
        &mut self,
        bytes: &'a [u8],
        at: usize,
        limits: &StructureLimits,
        budget: &mut Budget,
    ) -> Walk<Dictionary<'a>> {
        let mut lexer = Lexer::new(bytes, at);
        match lexer.next() {
            Token::Word(b"xref") => self.table(&mut lexer, limits),
            Token::Integer(_) => self.stream(bytes, at, limits, budget),
            _ => Err(malformed(format!("no cross-reference at byte {at}"))),
        }
    }

    fn table<'a>(&mut self, lexer: &mut Lexer<'a>, limits: &StructureLimits) -> Walk<Dictionary<'a>> {
        let broken = || malformed("broken cross-reference table");
        let mut total = 0u32;
        loop {
            let first = match lexer.next() {
                Token::Word(b"trailer") => break,
                Token::Integer(first) => u32::try_from(first).map_err(|_| broken())?,
                _ => return Err(broken()),
            };
            let Token::Integer(count) = lexer.next() else { return Err(broken()) };
            let count = u32::try_from(count).map_err(|_| broken())?;
            total = total.saturating_add(count);
            if total > limits.objects {
                return Err(bomb(format!("more than {} objects", limits.objects)));
            }
            for n in 0..count {
                let (Token::Integer(offset), Token::Integer(_)) = (lexer.next(), lexer.next()) else {
                    return Err(broken());
                };
                let place = match lexer.next() {
                    Token::Word(b"n") => Some(Place::At(usize::try_from(offset).map_err(|_| broken())?)),
                    Token::Word(b"f") => None,
                    _ => return Err(broken()),
                };
                self.insert(first.saturating_add(n), place, limits)?;
            }
        }
        match lexer.value(limits.nesting)? {
            Value::Dictionary(trailer) => Ok(trailer),
            _ => Err(malformed("the trailer is no dictionary")),
        }
    }

    fn stream<'a>(
        &mut self,
        bytes: &'a [u8],
        at: usize,
        limits: &StructureLimits,
        budget: &mut Budget,
    ) -> Walk<Dictionary<'a>> {
        let object =
            objects::read(bytes, at, limits).and_then(|object| object.ok_or_else(|| malformed("no object there")));
        let object = object.map_err(|_| malformed(format!("no cross-reference at byte {at}")))?;
        budget.charge(object.end - object.start)?;
        let (Value::Dictionary(dictionary), Some(raw)) = (object.value, object.stream) else {
            return Err(malformed("the cross-reference stream is no stream"));
        };
        if !dictionary.names("Type", "XRef") {
            return Err(malformed(format!("no cross-reference at byte {at}")));
        }
        let content = streams::decode(&dictionary, raw, limits, budget)?;
        self.rows(&dictionary, &content, limits)?;
        Ok(dictionary)
    }

    /// The rows of a cross-reference stream: type, and two numbers whose meaning depends on it.
    fn rows(&mut self, dictionary: &Dictionary<'_>, content: &[u8], limits: &StructureLimits) -> Walk<()> {
        let widths = integers(dictionary.get("W"));
        let [w0, w1, w2] =
            <[usize; 3]>::try_from(widths).map_err(|_| malformed("wrong widths of a cross-reference stream"))?;
        let row = w0.saturating_add(w1).saturating_add(w2);
        if row == 0 || [w0, w1, w2].iter().any(|w| *w > 8) {
            return Err(malformed("wrong widths of a cross-reference stream"));
        }
        let mut ranges = integers(dictionary.get("Index"));
        if ranges.is_empty() {
            ranges = vec![0, dictionary.integer("Size").and_then(|n| usize::try_from(n).ok()).unwrap_or(0)];
        }
        let mut rows = content.chunks_exact(row);
        for range in ranges.chunks_exact(2) {
            let (first, count) = (range[0], range[1]);
            for (n, row) in (first..first.saturating_add(count)).zip(&mut rows) {
                let (Some((kind, rest)), Ok(number)) = (row.split_at_checked(w0), u32::try_from(n)) else { continue };
                let a = rest.get(..w1).unwrap_or_default();
                let place = match (if w0 == 0 { 1 } else { big_endian(kind) }, big_endian(a)) {
                    (1, offset) => Some(Place::At(usize::try_from(offset).unwrap_or(usize::MAX))),
                    // Readers look for the number. The index is only a hint, and too narrow for some streams.
                    (2, stream) => u32::try_from(stream).ok().map(|stream| Place::In(stream, number)),
                    _ => None,
                };
                self.insert(number, place, limits)?;
            }
        }
        Ok(())
    }

    /// Notes an entry unless a newer revision has one.
    fn insert(&mut self, number: u32, place: Option<Place>, limits: &StructureLimits) -> Walk<()> {
        self.entries = self.entries.saturating_add(1);
        if self.places.len() >= index(limits.objects)
            || self.entries / StructureLimits::XREF_ENTRIES_PER_OBJECT > limits.objects
        {
            return Err(bomb(format!("more than {} objects", limits.objects)));
        }
        if let Entry::Vacant(entry) = self.places.entry(number) {
            entry.insert(place);
        }
        Ok(())
    }
}

/// The numbers of an array that are not negative; anything else becomes zero.
fn integers(value: Option<&Value<'_>>) -> Vec<usize> {
    let Some(Value::Array(values)) = value else { return Vec::new() };
    let number = |value: &Value<'_>| match value {
        Value::Integer(n) => usize::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    values.iter().map(number).collect()
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}
