//! The scan for objects: everything in the file that looks like one, whether a table lists it or not.

use std::collections::{HashMap, HashSet};

use super::active::Judge;
use super::objects::{self, Object, Place};
use super::streams::{self, Budget};
use super::syntax::{Dictionary, Lexer, Token, Value, is_space};
use super::xref::CrossReference;
use crate::limits::StructureLimits;
use crate::media::bytes::{find, foreign_container, index};
use crate::media::findings::{Broken, Findings, Walk, bomb, malformed};
use crate::verdict::ReasonCode;

/// How often, in all, each byte may be read while objects are looked for. Honest files need little more than
/// one reading; nested and overlapping objects would need many.
const READINGS: usize = 4;

/// Stands for the number of what has none.
const NO_NUMBER: u32 = u32::MAX;

/// A node of the page tree, or the catalog above it.
#[derive(Debug, Default)]
struct Node {
    pages: Option<u32>,
    kids: Vec<u32>,
}

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    limits: &'a StructureLimits,
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
    /// Where the newest cross-reference begins.
    newest: usize,
    kids: usize,
    objects: u32,
    /// Bytes that may still be read.
    readable: usize,
}

impl<'a> Scan<'a> {
    pub fn new(bytes: &'a [u8], limits: &'a StructureLimits, budget: Budget, encrypted: bool) -> Self {
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
            newest: 0,
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
        self.newest = found.newest;
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
            match start {
                Mark::Trailer => self.trailer(mark, findings)?,
                Mark::Bare => self.bare(at, findings)?,
                Mark::Object(start) => {
                    self.between(gap, start, findings);
                    if let Some(end) = self.object(start, findings)? {
                        at = end.max(at);
                        gap = at;
                    }
                }
            }
        }
        self.between(gap, self.bytes.len(), findings);
        Ok(())
    }

    fn between(&self, from: usize, to: usize, findings: &mut Findings) {
        let mut from = from;
        // Some programs begin an update with a header of its own. The document stays one as long as its newest
        // cross-reference lies behind that header.
        while let Some(at) = self.repeated_header(from, to) {
            self.foreign(from, at, findings);
            from = at + super::MARK.len();
        }
        self.foreign(from, to, findings);
    }

    fn repeated_header(&self, from: usize, to: usize) -> Option<usize> {
        let gap = self.bytes.get(from..to)?;
        let at = from + find(gap, super::MARK, 0)?;
        let before = self.bytes.get(from..at)?.trim_ascii_end();
        (at <= self.newest && before.ends_with(super::END_MARK)).then_some(at)
    }

    fn foreign(&self, from: usize, to: usize, findings: &mut Findings) {
        let Some(gap) = self.bytes.get(from..to) else { return };
        if let Some(kind) = foreign_container(gap).or_else(|| super::markup(gap)) {
            findings.add(ReasonCode::Polyglot, format!("{kind} between the objects, after byte {from}"));
        }
    }

    fn trailer(&mut self, at: usize, findings: &mut Findings) -> Walk<()> {
        let mut lexer = Lexer::new(self.bytes, at + b"trailer".len());
        let value = match lexer.value(self.limits.nesting) {
            Ok(value) => value,
            Err(broken) => {
                self.charge(self.bytes.len().saturating_sub(at))?;
                report(&broken, &format!("the trailer at byte {at}"), findings);
                return Ok(());
            }
        };
        self.charge(lexer.at.saturating_sub(at))?;
        self.judge.object(NO_NUMBER, &value, false, "the trailer", findings);
        if let Value::Dictionary(trailer) = value {
            self.encrypted |= trailer.get("Encrypt").is_some();
        }
        Ok(())
    }

    /// An `obj` whose numbers we do not see: comments may stand between them, which readers that repair a file
    /// skip. Whatever follows is judged; where nothing sensible does, it was only a word.
    fn bare(&mut self, at: usize, findings: &mut Findings) -> Walk<()> {
        let mut lexer = Lexer::new(self.bytes, at);
        let value = lexer.value(self.limits.nesting);
        let read = if value.is_ok() { lexer.at } else { self.bytes.len() };
        self.charge(read.saturating_sub(at))?;
        if let Ok(value) = value {
            self.judge.object(NO_NUMBER, &value, false, &format!("an object at byte {at}"), findings);
        }
        Ok(())
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
                report(&broken, &format!("the object at byte {start}"), findings);
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
        let holds_objects = dictionary.names("Type", "ObjStm")
            || dictionary.get("N").is_some() && dictionary.get("First").is_some()
            || self.containers.contains(&object.number);
        if !holds_objects || self.encrypted {
            return Ok(());
        }
        let content = match streams::decode(dictionary, raw, self.limits, &mut self.budget) {
            Ok(content) => content,
            Err(broken) if broken.code == ReasonCode::ArchiveBomb => return Err(broken),
            Err(broken) => {
                report(&broken, &format!("object {}", object.number), findings);
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
        for _ in 0..count {
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
                    report(&broken, &format!("object {inner} in stream {number}"), findings);
                    continue;
                }
            };
            self.charge(lexer.at.saturating_sub(start))?;
            let place = format!("object {inner} in stream {number}");
            let inner = u32::try_from(inner).unwrap_or(NO_NUMBER);
            self.judge.object(inner, &value, false, &place, findings);
            if let Value::Dictionary(dictionary) = &value {
                self.note_page(Place::In(number, inner), dictionary)?;
            }
        }
        // Readers that go on to /First would find objects that others do not.
        if matches!(table.next(), Token::Integer(_)) && table.at <= first {
            findings.add(ReasonCode::Malformed, format!("object stream {number} holds more objects than it says"));
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

/// What is broken, and where.
fn report(broken: &Broken, place: &str, findings: &mut Findings) {
    findings.add(broken.code, format!("{}: {place}", broken.detail));
}

/// A word that leads to something to judge.
enum Mark {
    Trailer,
    /// The `obj` of an object whose header begins there.
    Object(usize),
    /// An `obj` without the numbers of a header before it.
    Bare,
}

/// The next mark and where it stands.
fn next_mark(bytes: &[u8], from: usize) -> Option<(usize, Mark)> {
    let rest = bytes.get(from..)?;
    rest.iter().enumerate().filter(|(_, b)| matches!(b, b'o' | b't')).find_map(|(n, _)| {
        let at = from + n;
        let here = rest.get(n..)?;
        if here.starts_with(b"trailer") {
            return Some((at, Mark::Trailer));
        }
        if !here.starts_with(b"obj") {
            return None;
        }
        if let Some(start) = header_before(bytes, at) {
            return Some((at, Mark::Object(start)));
        }
        // Inside `endobj` and other words it is no keyword.
        let word = at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
        (!word).then_some((at, Mark::Bare))
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
