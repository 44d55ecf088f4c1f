//! The XML of an office part, as events with local names: no DTD, no entities but the predefined ones, bounded
//! depth. Prefixes are ignored, since a writer may choose any.

use std::borrow::Cow;

use quick_xml::{Reader, XmlVersion};
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use crate::media::findings::{Walk, malformed};

/// What a part consists of, as far as it can matter.
pub(super) enum Item<'a> {
    Start(Element<'a>),
    End(String),
    Text(Cow<'a, str>),
}

/// An element's local name and its attributes, character references resolved.
pub(super) struct Element<'a> {
    pub name: String,
    attributes: Vec<(String, Cow<'a, str>)>,
}

impl Element<'_> {
    /// The value of the attribute with that local name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }
}

/// Reads a part and hands each item to `visit`. `part` names it in findings.
pub(super) fn read(part: &str, content: &[u8], max_depth: u32, mut visit: impl FnMut(Item<'_>)) -> Walk<()> {
    let text = decode(part, content)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(&text));
    let mut depth = 0u32;
    let broken = || malformed(format!("part {part} is not well-formed XML"));
    loop {
        match reader.read_event().map_err(|_| broken())? {
            Event::Start(start) => {
                depth += 1;
                if depth > max_depth {
                    return Err(malformed(format!("part {part} nests deeper than {max_depth} elements")));
                }
                visit(Item::Start(element(start).ok_or_else(broken)?));
            }
            Event::Empty(start) => {
                let element = element(start).ok_or_else(broken)?;
                let name = element.name.clone();
                visit(Item::Start(element));
                visit(Item::End(name));
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                visit(Item::End(local(end.name().as_ref()).to_owned()));
            }
            Event::Text(text) => visit(Item::Text(text.xml10_content())),
            Event::CData(data) => visit(Item::Text(data.xml10_content())),
            Event::GeneralRef(reference) => {
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

fn element(start: BytesStart<'_>) -> Option<Element<'static>> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
        attributes.push((local(attribute.key.as_ref()).to_owned(), Cow::Owned(value)));
    }
    Some(Element { name: local(start.name().as_ref()).to_owned(), attributes })
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// The text of a part: UTF-8, UTF-16 (by its first bytes) or, where neither fits, a declared encoding that keeps
/// ASCII, in which markup cannot hide.
fn decode<'a>(part: &str, content: &'a [u8]) -> Walk<Cow<'a, str>> {
    let wide = match content {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => Some(u16::from_le_bytes as fn([u8; 2]) -> u16),
        [0xFE, 0xFF, ..] | [0, b'<', ..] => Some(u16::from_be_bytes as fn([u8; 2]) -> u16),
        _ => None,
    };
    let refused = || malformed(format!("part {part} is in no accepted encoding"));
    if let Some(unit) = wide {
        let (pairs, rest) = content.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(refused());
        }
        let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
        return text.map(Cow::Owned).map_err(|_| refused());
    }
    let declared = declared_encoding(content);
    match declared.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii" | "utf-16") => {
            std::str::from_utf8(content).map(Cow::Borrowed).map_err(|_| refused())
        }
        Some(name) if name.starts_with("iso-8859-") || name.starts_with("windows-125") => {
            Ok(Cow::Owned(content.iter().map(|b| char::from(*b)).collect()))
        }
        Some(_) => Err(refused()),
    }
}

/// The encoding that the XML declaration names, lower-case.
fn declared_encoding(content: &[u8]) -> Option<String> {
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let declaration = content.get(..content.len().min(200))?.strip_prefix(b"<?xml")?;
    let text = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let (declaration, _) = text.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value.split(quote).nth(1).map(str::to_owned)
}
