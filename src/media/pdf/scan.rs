//! The scan for objects: everything in the file that looks like one, whether a table lists it or not.

use std::collections::{HashMap, HashSet};

use super::active::Judge;
use super::objects::{self, Object, Place};
use super::streams::{self, Budget};
use super::syntax::{Dictionary, Lexer, Token, Value, is_space};
use super::xref::CrossReference;
use crate::media::bytes::{foreign_container, index};
use crate::media::findings::{Findings, Walk, bomb, malformed};
use crate::policy::DocumentLimits;
use crate::verdict::ReasonCode;

/// How often, in all, each byte may be read while objects are looked for. Honest files need little more than
/// one reading; nested and overlapping objects would need many.
const READINGS: usize = 4;

/// A node of the page tree, or the catalog above it.
#[derive(Debug, Default)]
struct Node {
    pages: Option<u32>,
    kids: Vec<u32>,
}

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    limits: &'a DocumentLimits,
    budget: Budget,
    encrypted: bool,
    judge: Judge,
    /// Streams in which the cross-reference says that objects lie: read as such whatever they call themselves.
    containers: HashSet<u32>,
    /// Where objects were found.
    starts: HashSet<usize>,
    nodes: HashMap<Place, Node>,
    /// Where the cross-reference leads, white space skipped.
    located: HashMap<u32, Place>,
    kids: usize,
    objects: u32,
    /// Bytes that may still be read.
    readable: usize,
}

impl<'a> Scan<'a> {
    pub fn new(bytes: &'a [u8], limits: &'a DocumentLimits, budget: Budget, encrypted: bool) -> Self {
        let readable = bytes.len().saturating_mul(READINGS).saturating_add(1 << 16);
        Self {
            bytes,
            limits,
            budget,
            encrypted,
            judge: Judge::default(),
            containers: HashSet::new(),
            starts: HashSet::new(),
            nodes: HashMap::new(),
            located: HashMap::new(),
            kids: 0,
            objects: 0,
            readable,
        }
    }

    /// What the budget still has.
    pub fn inflatable(&self) -> u64 {
        self.budget.0
    }

    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// Judges every object. A broken one is a finding and does not hide the rest.
    pub fn run(&mut self, found: &CrossReference, findings: &mut Findings) -> Walk<()> {
        self.containers = found.containers();
        self.sequence(findings)?;
        // A table may point into a string, a comment or a stream, where the sequence sees no object.
        for (number, place) in &found.places {
            let place = match *place {
                None => continue,
                Some(Place::At(offset)) => {
                    let mut lexer = Lexer::new(self.bytes, offset);
                    lexer.skip_space();
                    // Two hundred thousand entries may all point to the same desert of white space.
                    self.charge(lexer.at - offset)?;
                    if !self.starts.contains(&lexer.at) {
                        self.object(lexer.at, findings)?;
                    }
                    Place::At(lexer.at)
                }
                Some(place) => place,
            };
            self.located.insert(*number, place);
        }
        self.judge.finish(findings);
        Ok(())
    }

    /// From object to object through the file. What lies between them must not be another format.
    fn sequence(&mut self, findings: &mut Findings) -> Walk<()> {
        let mut at = super::MARK.len();
        let mut gap = at;
        while let Some((mark, start)) = next_mark(self.bytes, at) {
            at = mark + 3;
            if let Some(start) = start {
                self.between(gap, start, findings);
                if let Some(end) = self.object(start, findings)? {
                    at = end.max(at);
                    gap = at;
                }
            } else {
                self.trailer(mark, findings);
            }
        }
        self.between(gap, self.bytes.len(), findings);
        Ok(())
    }

    fn between(&self, from: usize, to: usize, findings: &mut Findings) {
        if let Some(kind) = self.bytes.get(from..to).and_then(foreign_container) {
            findings.add(ReasonCode::Polyglot, format!("{kind} between the objects, after byte {from}"));
        }
    }

    fn trailer(&mut self, at: usize, findings: &mut Findings) {
        let value = Lexer::new(self.bytes, at + b"trailer".len()).value(self.limits.nesting);
        if let Some(Value::Dictionary(trailer)) = findings.note(value) {
            self.encrypted |= trailer.get("Encrypt").is_some();
        }
    }

    /// Judges the object at `start`, if one begins there; returns where it ends.
    fn object(&mut self, start: usize, findings: &mut Findings) -> Walk<Option<usize>> {
        self.count()?;
        self.starts.insert(start);
        let object = match objects::read(self.bytes, start, self.limits) {
            Ok(Some(object)) => object,
            Ok(None) => {
                // A string or comment in the place of a header has been read to its end.
                let mut lexer = Lexer::new(self.bytes, start);
                lexer.next();
                self.charge(lexer.at - start)?;
                return Ok(None);
            }
            Err(broken) => {
                // How far the reading went is not known: charge the most it can have been.
                self.charge(self.bytes.len().saturating_sub(start))?;
                findings.broken(&broken);
                return Ok(None);
            }
        };
        self.charge(object.end - object.start)?;
        let place = format!("object {}", object.number);
        self.judge.object(object.number, &object.value, object.stream.is_some(), &place, findings);
        if let Value::Dictionary(dictionary) = &object.value {
            self.note_page(Place::At(start), dictionary)?;
            self.note_stream(&object, dictionary, findings)?;
        }
        Ok(Some(object.end))
    }

    fn note_stream(&mut self, object: &Object<'a>, dictionary: &Dictionary<'a>, findings: &mut Findings) -> Walk<()> {
        let Some(raw) = object.stream else { return Ok(()) };
        if dictionary.names("Type", "XRef") {
            self.encrypted |= dictionary.get("Encrypt").is_some();
        }
        // Inside an encrypted document the objects cannot be read; it is refused for that.
        let holds_objects = dictionary.names("Type", "ObjStm") || self.containers.contains(&object.number);
        if !holds_objects || self.encrypted {
            return Ok(());
        }
        let content = match streams::decode(dictionary, raw, self.limits, &mut self.budget) {
            Ok(content) => content,
            Err(broken) if broken.code == ReasonCode::ArchiveBomb => return Err(broken),
            Err(broken) => {
                findings.broken(&broken);
                return Ok(());
            }
        };
        self.object_stream(object.number, dictionary, &content, findings)
    }

    /// The objects of an object stream, each at the offset that the stream's own table gives: that is where a
    /// reader looks, even if it points into a string.
    fn object_stream(
        &mut self,
        number: u32,
        dictionary: &Dictionary<'_>,
        content: &[u8],
        findings: &mut Findings,
    ) -> Walk<()> {
        let field = |key| dictionary.integer(key).and_then(|n| usize::try_from(n).ok());
        let (Some(count), Some(first)) = (field("N"), field("First")) else {
            findings.add(ReasonCode::Malformed, format!("object stream {number} without /N or /First"));
            return Ok(());
        };
        self.readable = self.readable.saturating_add(content.len());
        let mut table = Lexer::new(content, 0);
        for position in 0..count {
            let (Token::Integer(inner), Token::Integer(offset)) = (table.next(), table.next()) else {
                findings.add(ReasonCode::Malformed, format!("object stream {number} holds fewer objects than it says"));
                return Ok(());
            };
            self.count()?;
            let start = usize::try_from(offset).ok().and_then(|offset| first.checked_add(offset)).unwrap_or(usize::MAX);
            let mut lexer = Lexer::new(content, start);
            let value = match lexer.value(self.limits.nesting) {
                Ok(value) => value,
                Err(broken) => {
                    self.charge(content.len().saturating_sub(start))?;
                    findings.broken(&broken);
                    continue;
                }
            };
            self.charge(lexer.at.saturating_sub(start))?;
            let place = format!("object {inner} in stream {number}");
            self.judge.object(u32::try_from(inner).unwrap_or(u32::MAX), &value, false, &place, findings);
            if let (Value::Dictionary(inner), Ok(position)) = (&value, u32::try_from(position)) {
                self.note_page(Place::In(number, position), inner)?;
            }
        }
        Ok(())
    }

    fn note_page(&mut self, place: Place, dictionary: &Dictionary<'_>) -> Walk<()> {
        let is_page = ["Page", "Pages", "Catalog"].into_iter().any(|name| dictionary.names("Type", name));
        let pages = dictionary.reference("Pages");
        if !is_page && pages.is_none() && dictionary.get("Kids").is_none() {
            return Ok(());
        }
        let kids: Vec<u32> = match dictionary.get("Kids") {
            Some(Value::Array(kids)) => kids.iter().filter_map(reference).collect(),
            _ => Vec::new(),
        };
        self.kids += kids.len();
        if self.kids > index(self.limits.objects) {
            return Err(bomb(format!("page and field trees of more than {} nodes", self.limits.objects)));
        }
        self.nodes.insert(place, Node { pages, kids });
        Ok(())
    }

    fn count(&mut self) -> Walk<()> {
        self.objects += 1;
        // Every revision and every object stream counts, so this may be more than the table lists.
        if self.objects / 2 > self.limits.objects {
            return Err(bomb(format!("more than {} objects", self.limits.objects)));
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Walk<()> {
        self.readable =
            self.readable.checked_sub(bytes).ok_or_else(|| malformed("the objects overlap or do not end"))?;
        Ok(())
    }

    /// From the catalog down: there must be a page tree and it must be a tree.
    pub fn check_pages(&self, found: &CrossReference) -> Walk<()> {
        let root = found.root.and_then(|root| self.node(root)).ok_or_else(|| malformed("the catalog is missing"))?;
        let pages = root.pages.ok_or_else(|| malformed("the catalog names no page tree"))?;
        self.node(pages).ok_or_else(|| malformed("the page tree is missing"))?;
        // The numbers on the way down, each with how many of its kids were visited.
        let mut path: Vec<(u32, usize)> = vec![(pages, 0)];
        let mut on_path = HashSet::from([pages]);
        let mut done = HashSet::new();
        while let Some((number, visited)) = path.last_mut() {
            let kid = self.node(*number).and_then(|node| node.kids.get(*visited)).copied();
            *visited += 1;
            match kid {
                Some(kid) if on_path.contains(&kid) => return Err(malformed("the page tree contains itself")),
                Some(kid) if !done.contains(&kid) => {
                    on_path.insert(kid);
                    path.push((kid, 0));
                }
                Some(_) => {}
                None => {
                    on_path.remove(number);
                    done.insert(*number);
                    path.pop();
                }
            }
        }
        Ok(())
    }

    fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(self.located.get(&number)?)
    }
}

fn reference(value: &Value<'_>) -> Option<u32> {
    match value {
        Value::Reference(number) => Some(*number),
        _ => None,
    }
}

/// The next `obj` that a header precedes, with where that header begins, or the next `trailer`.
fn next_mark(bytes: &[u8], from: usize) -> Option<(usize, Option<usize>)> {
    let rest = bytes.get(from..)?;
    rest.iter().enumerate().filter(|(_, b)| matches!(b, b'o' | b't')).find_map(|(n, _)| {
        let at = from + n;
        let here = rest.get(n..)?;
        if here.starts_with(b"trailer") {
            return Some((at, None));
        }
        let start = here.starts_with(b"obj").then(|| header_before(bytes, at)).flatten()?;
        Some((at, Some(start)))
    })
}

/// Where the `n g` before an `obj` begins.
fn header_before(bytes: &[u8], at: usize) -> Option<usize> {
    let back = |at: usize, keep: fn(u8) -> bool| {
        let head = bytes.get(..at)?;
        let length = head.iter().rev().take(64).take_while(|b| keep(**b)).count();
        Some(at - length)
    };
    let digit: fn(u8) -> bool = |b| b.is_ascii_digit();
    let generation_end = back(at, is_space)?;
    let generation = back(generation_end, digit).filter(|start| *start < generation_end)?;
    let number_end = back(generation, is_space).filter(|end| *end < generation)?;
    back(number_end, digit).filter(|start| *start < number_end)
}
