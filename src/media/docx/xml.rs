//! The XML of an office part, as events with local names: no DTD, no entities but the predefined ones, bounded
//! depth. Prefixes mean nothing, since a writer may choose any.

use std::borrow::Cow;
use std::cell::Cell;

use memchr::memmem;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{PrefixDeclaration, QName};
use quick_xml::{Reader, XmlVersion};

use super::zip::Budget;
use crate::limits::StructureLimits;
use crate::media::findings::{Broken, Walk, bomb, malformed};

/// What a part consists of, as far as it can matter.
pub(super) enum Item<'a> {
    Start(&'a Element<'a>),
    /// The local name of an element that ends, and whose it is.
    End(&'a str, Space),
    Text(Cow<'a, str>),
}

/// Whose an element is. Word skips elements of namespaces that it is told to ignore, with all they hold; they
/// must not confuse the order of Word's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// `WordprocessingML`, or no namespace at all.
    Word,
    /// The mathematics that stand between Word's own.
    Math,
    /// The choice between several contents (`AlternateContent`).
    Choice,
    Vml,
    Other,
}

const WORD: [&str; 2] = [
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
];
const MATH: [&str; 2] =
    ["http://schemas.openxmlformats.org/officeDocument/2006/math", "http://purl.oclc.org/ooxml/officeDocument/math"];

impl Space {
    fn of(namespace: &str) -> Self {
        match namespace {
            _ if WORD.contains(&namespace) => Self::Word,
            _ if MATH.contains(&namespace) => Self::Math,
            "http://schemas.openxmlformats.org/markup-compatibility/2006" => Self::Choice,
            "urn:schemas-microsoft-com:vml" => Self::Vml,
            _ => Self::Other,
        }
    }
}

/// The start of an element. Attributes are only parsed when somebody asks: most elements matter to nobody.
pub(super) struct Element<'a> {
    start: &'a BytesStart<'a>,
    name: &'a str,
    pub space: Space,
    /// Set when a value was asked for that two attributes give, or that is not well-formed or stands among attributes
    /// that are not: a reader that goes on may see another one.
    ambiguous: Cell<bool>,
    /// How often a value was asked for: that is what an element costs.
    asked: Cell<u32>,
}

impl<'a> Element<'a> {
    fn new(start: &'a BytesStart<'a>, name: &'a str, space: Space) -> Self {
        Self { start, name, space, ambiguous: Cell::new(false), asked: Cell::new(0) }
    }

    /// Without its prefix.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The value of the attribute with that local name, character references resolved.
    pub fn get(&self, name: &str) -> Option<String> {
        self.asked.set(self.asked.get().saturating_add(1));
        let mut found = None;
        // Unchecked: the check for duplicates would remember every attribute, and one element may have millions.
        for attribute in self.start.attributes().with_checks(false) {
            match attribute {
                Ok(attribute) if attribute.key.local_name().into_inner() != name => {}
                Ok(attribute) if found.is_none() => found = Some(attribute),
                Ok(_) | Err(_) => self.ambiguous.set(true),
            }
        }
        let value = found?.normalized_value(XmlVersion::Implicit1_0);
        value.inspect_err(|_| self.ambiguous.set(true)).ok().map(Cow::into_owned)
    }
}

/// Reads a part and hands each item to `visit`. `part` names it in findings; `budget` says how much
/// may still come.
pub(super) fn read(
    part: &str,
    content: &[u8],
    max_depth: u32,
    budget: &mut Budget,
    mut visit: impl FnMut(Item<'_>),
) -> Walk<()> {
    let text = decode(part, content, budget)?;
    // No encoding of XML holds it; what a reader makes of it is its own affair.
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(ill_formed(part));
    }
    let mut reader = Reader::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text));
    let (mut depth, mut prefixes) = (0u32, Prefixes::new());
    let broken = || ill_formed(part);
    let mut spend = |elements: u32| {
        budget.elements = budget.elements.checked_sub(elements).ok_or_else(|| bomb("too many XML elements"))?;
        Ok(())
    };
    loop {
        match reader.read_event().map_err(|_| broken())? {
            Event::Start(tag) => {
                depth += 1;
                if depth > max_depth {
                    return Err(malformed(format!("part {part} nests deeper than {max_depth} elements")));
                }
                spend(start(part, &tag, &mut prefixes, depth, &mut visit)?)?;
            }
            Event::Empty(tag) => {
                spend(start(part, &tag, &mut prefixes, depth + 1, &mut visit)?)?;
                let (prefix, name) = halves(tag.name());
                visit(Item::End(name, prefixes.space(prefix)));
                prefixes.leave(depth);
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                let (prefix, name) = halves(end.name());
                visit(Item::End(name, prefixes.space(prefix)));
                prefixes.leave(depth);
            }
            Event::Text(text) => visit(Item::Text(text.xml10_content())),
            Event::CData(data) => visit(Item::Text(data.xml10_content())),
            Event::GeneralRef(reference) => {
                spend(1)?;
                let written = format!("&{};", reference.xml10_content());
                visit(Item::Text(unescape(&written).map_err(|_| broken())?.into_owned().into()));
            }
            // OOXML forbids it, and every trick with entities begins here.
            Event::DocType(_) => return Err(malformed(format!("part {part} has a document type declaration"))),
            Event::Eof if depth > 0 => return Err(broken()),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
        }
    }
}

/// Hands over an element that begins at this depth, and returns what it costs.
fn start(
    part: &str,
    tag: &BytesStart<'_>,
    prefixes: &mut Prefixes,
    depth: u32,
    visit: &mut dyn FnMut(Item<'_>),
) -> Walk<u32> {
    let (prefix, name) = halves(tag.name());
    let space = prefixes.enter(tag, prefix, depth).ok_or_else(|| ill_formed(part))?;
    let element = Element::new(tag, name, space);
    visit(Item::Start(&element));
    if element.ambiguous.get() {
        return Err(malformed(format!("part {part} has broken or ambiguous attributes")));
    }
    Ok(1 + element.asked.get())
}

fn ill_formed(part: &str) -> Broken {
    malformed(format!("part {part} is not well-formed XML"))
}

/// Prefix and local name. Names are short and looked at several times: a search is slower than looking.
fn halves(name: QName<'_>) -> (&str, &str) {
    let name = name.into_inner();
    let colon = name.bytes().position(|b| b == b':');
    colon.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?))).unwrap_or(("", name))
}

/// The prefixes that are declared around a place. A resolver that compares names of namespaces at every element takes
/// longer than all the rest; few elements declare any.
struct Prefixes {
    /// The innermost last: depth, prefix, and what it stands for.
    declared: Vec<(u32, String, Space)>,
    /// The prefix that was asked for last: most elements have that of their neighbours.
    latest: Option<(String, Space)>,
    declaration: memmem::Finder<'static>,
}

impl Prefixes {
    fn new() -> Self {
        Self { declared: Vec::new(), latest: None, declaration: memmem::Finder::new("xmlns") }
    }

    /// Takes the declarations of an element that begins at this depth, and tells whose the element is. `None` where
    /// readers would understand them differently, and where they are too many.
    fn enter(&mut self, tag: &BytesStart<'_>, prefix: &str, depth: u32) -> Option<Space> {
        // Most tags are shorter than a declaration.
        if tag.len() >= "a xmlns=''".len() && self.declaration.find(tag.as_bytes()).is_some() {
            self.latest = None;
            for attribute in tag.attributes().with_checks(false).flatten() {
                let prefix = match attribute.key.as_namespace_binding() {
                    Some(PrefixDeclaration::Default) => "",
                    Some(PrefixDeclaration::Named(prefix)) => prefix,
                    None => continue,
                };
                let namespace = attribute.value.as_ref();
                // A namespace in character references is one that a comparison does not see.
                let twice = self.declared.iter().rev().take_while(|d| d.0 == depth).any(|d| d.1 == prefix);
                if twice || namespace.contains('&') || self.declared.len() >= StructureLimits::NAMESPACES {
                    return None;
                }
                let space = if namespace.is_empty() { Space::Word } else { Space::of(namespace) };
                self.declared.push((depth, prefix.to_owned(), space));
            }
        }
        Some(self.space(prefix))
    }

    /// Whose an element with this prefix is. A prefix that nobody declared may stand for anything, Word's included.
    fn space(&mut self, prefix: &str) -> Space {
        if let Some((_, space)) = self.latest.as_ref().filter(|(latest, _)| latest == prefix) {
            return *space;
        }
        let found = self.declared.iter().rev().find(|(_, declared, _)| declared == prefix);
        let space = found.map_or(Space::Word, |found| found.2);
        self.latest = Some((prefix.to_owned(), space));
        space
    }

    /// Forgets what was declared below this depth.
    fn leave(&mut self, depth: u32) {
        while self.declared.last().is_some_and(|(at, ..)| *at > depth) {
            self.declared.pop();
            self.latest = None;
        }
    }
}

/// The text of a part: UTF-8, UTF-16 (by its first bytes) or, where neither fits, a declared encoding that keeps
/// ASCII, in which markup cannot hide.
fn decode<'a>(part: &str, content: &'a [u8], budget: &mut Budget) -> Walk<Cow<'a, str>> {
    // What is written anew takes up to three times the room besides.
    let mut charge = |times: u64| {
        let left = budget.xml.checked_sub(content.len() as u64 * times);
        budget.xml = left.ok_or_else(|| bomb(format!("part {part} has more XML than a document")))?;
        Ok(())
    };
    let wide = match content {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => Some(u16::from_le_bytes as fn([u8; 2]) -> u16),
        [0xFE, 0xFF, ..] | [0, b'<', ..] => Some(u16::from_be_bytes as fn([u8; 2]) -> u16),
        _ => None,
    };
    let refused = || malformed(format!("part {part} is in no accepted encoding"));
    if let Some(unit) = wide {
        charge(4)?;
        let (pairs, rest) = content.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(refused());
        }
        let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
        return text.map(Cow::Owned).map_err(|_| refused());
    }
    let declared = declared_encoding(content).ok_or_else(refused)?;
    match declared.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" | "utf-16" => {
            charge(1)?;
            std::str::from_utf8(content).map(Cow::Borrowed).map_err(|_| refused())
        }
        name if name.starts_with("iso-8859-") || name.starts_with("windows-125") => {
            charge(4)?;
            Ok(Cow::Owned(content.iter().map(|b| char::from(*b)).collect()))
        }
        _ => Err(refused()),
    }
}

/// The encoding that the XML declaration names, lower-case, or else UTF-8; `None` where the declaration has no end, so that
/// padding cannot push the name out of sight.
fn declared_encoding(content: &[u8]) -> Option<String> {
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let unnamed = || "utf-8".to_owned();
    let Some(declaration) = content.strip_prefix(b"<?xml") else { return Some(unnamed()) };
    let end = memmem::find(declaration.get(..declaration.len().min(1024))?, b"?>")?;
    let declaration = String::from_utf8_lossy(declaration.get(..end)?).to_ascii_lowercase();
    let value = || {
        let (_, value) = declaration.split_once("encoding")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        value.split(quote).nth(1).map(str::to_owned)
    };
    Some(value().unwrap_or_else(unnamed))
}
