//! What the values of a PDF make a reader do (ISO 32000-2, 12.6 actions, 12.5 annotations, 7.11 files).

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::{Dictionary, Value, text_of};
use crate::media::findings::Findings;
use crate::media::links::{self, Follow};
use crate::verdict::ReasonCode;

/// Named actions that turn pages and nothing else: harmless also when a document opens.
const PAGE_ACTIONS: [&[u8]; 4] = [b"NextPage", b"PrevPage", b"FirstPage", b"LastPage"];
/// Named actions that a click may cause; the names beyond are menu items of one reader.
const CLICK_ACTIONS: [&[u8]; 5] = [b"Print", b"GoBack", b"GoForward", b"Find", b"GoToPage"];

/// What can only be judged when every object is known, because one refers to another by number.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Strings that stand alone and would be bad as links, with their finding.
    strings: BTreeMap<u32, (ReasonCode, String)>,
    /// Objects that a `/URI` refers to.
    linked: BTreeSet<u32>,
    /// Named actions that only a click may cause.
    clicks: BTreeSet<u32>,
    /// Objects that act when the document opens.
    opening: BTreeSet<u32>,
}

impl Judge {
    /// Judges an object and everything in it; `place` says where it is. A stack keeps the walk from recursing.
    pub fn object(&mut self, number: u32, value: &Value<'_>, is_stream: bool, place: &str, findings: &mut Findings) {
        let mut waiting = vec![(value, Context::default())];
        while let Some((value, context)) = waiting.pop() {
            match value {
                Value::Array(values) => waiting.extend(values.iter().map(|value| (value, context))),
                Value::Dictionary(dictionary) => {
                    judge_dictionary(dictionary, context, place, findings);
                    for (key, value) in &dictionary.0 {
                        let inner = context.under(key);
                        match value {
                            Value::Reference(target) if key.as_ref() == b"URI" => _ = self.linked.insert(*target),
                            Value::Reference(target) if inner.opening => _ = self.opening.insert(*target),
                            _ => {}
                        }
                        waiting.push((value, inner));
                    }
                }
                _ => {}
            }
        }
        match value {
            Value::Text(raw, hex) => {
                let found = links::judge(&text_of(raw, *hex), Follow::OnClick);
                self.strings.extend(found.map(|(code, what)| (number, (code, format!("{what}, in {place}")))));
            }
            // A name that stands alone is there to be referred to, possibly as the kind of an action.
            Value::Name(name) => judge_action(name, place, findings),
            Value::Dictionary(dictionary) => {
                if is_stream && is_file(dictionary.get("F")) {
                    let detail = format!("stream whose data is another file, in {place}");
                    findings.add(ReasonCode::ExternalReference, detail);
                }
                if dictionary.names("S", "Named") && !turns_pages(dictionary) {
                    self.clicks.insert(number);
                }
            }
            _ => {}
        }
    }

    /// Brings together what refers to each other.
    pub fn finish(&self, findings: &mut Findings) {
        for (code, detail) in self.linked.iter().filter_map(|number| self.strings.get(number)) {
            findings.add(*code, detail);
        }
        for number in self.opening.intersection(&self.clicks) {
            active(findings, "named action that is more than turning pages", &format!("object {number}"));
        }
    }
}

/// How a dictionary is reached.
#[derive(Debug, Clone, Copy, Default)]
struct Context {
    /// Directly as an action.
    action: bool,
    /// From something that acts without a click.
    opening: bool,
    /// As the document's base for relative links.
    base: bool,
}

impl Context {
    fn under(self, key: &[u8]) -> Self {
        let opening = matches!(key, b"OpenAction" | b"AA");
        Self {
            action: matches!(key, b"A" | b"OpenAction" | b"Next"),
            opening: self.opening || opening,
            base: key == b"URI",
        }
    }
}

fn judge_dictionary(dictionary: &Dictionary<'_>, context: Context, place: &str, findings: &mut Findings) {
    for (key, value) in dictionary.0.iter().filter(|(_, value)| *value != Value::Null) {
        match (key.as_ref(), value) {
            (b"JS" | b"JavaScript", _) => active(findings, "JavaScript", place),
            (b"XFA", _) => active(findings, "XFA form", place),
            (b"EF", _) => embedded(findings, place),
            (b"URI", Value::Text(raw, hex)) => judge_link(raw, *hex, place, findings),
            (b"Base", Value::Text(raw, hex)) if context.base => judge_link(raw, *hex, place, findings),
            (b"S", Value::Name(name)) => judge_action(name, place, findings),
            (b"Type" | b"Subtype", Value::Name(name)) => judge_type(name, place, findings),
            (b"Ref", Value::Dictionary(reference)) if is_file(reference.get("F")) => {
                findings.add(ReasonCode::ExternalReference, format!("page content from another file, in {place}"));
            }
            (b"FS", value) if value.is_name("URL") => {
                findings.add(ReasonCode::ExternalReference, format!("file to be fetched from a URL, in {place}"));
            }
            _ => {}
        }
    }
    if dictionary.names("S", "Thread") && is_file(dictionary.get("F")) {
        findings.add(ReasonCode::ExternalReference, format!("thread in another file, in {place}"));
    }
    judge_named(dictionary, context, place, findings);
    let unknown = dictionary.all("S").find_map(|value| match value {
        Value::Name(name) if !is_known_action(name) => Some(name),
        _ => None,
    });
    if let Some(name) = unknown.filter(|_| context.action || dictionary.names("Type", "Action")) {
        active(findings, &format!("unknown action {}", String::from_utf8_lossy(name)), place);
    }
}

fn judge_named(dictionary: &Dictionary<'_>, context: Context, place: &str, findings: &mut Findings) {
    let clicked = |value: &Value<'_>| matches!(value, Value::Name(name) if CLICK_ACTIONS.contains(&name.as_ref()));
    let on_click = !context.opening && dictionary.all("N").all(clicked);
    if dictionary.names("S", "Named") && !on_click && !turns_pages(dictionary) {
        active(findings, "named action that is more than turning pages", place);
    }
}

fn turns_pages(dictionary: &Dictionary<'_>) -> bool {
    dictionary.all("N").all(|value| matches!(value, Value::Name(name) if PAGE_ACTIONS.contains(&name.as_ref())))
}

/// Actions that need judging by name alone. The harmless ones stay inside the document.
fn judge_action(name: &[u8], place: &str, findings: &mut Findings) {
    match name {
        b"JavaScript" => active(findings, "JavaScript action", place),
        b"Launch" => active(findings, "action that starts a program", place),
        b"SubmitForm" => active(findings, "action that sends the form away", place),
        b"ImportData" => active(findings, "action that imports data", place),
        b"Rendition" | b"Movie" | b"Sound" | b"RichMediaExecute" | b"GoTo3DView" => {
            active(findings, "multimedia action", place);
        }
        b"GoToR" | b"GoToE" => {
            findings.add(ReasonCode::ExternalReference, format!("action that opens another document, in {place}"));
        }
        _ => {}
    }
}

fn is_known_action(name: &[u8]) -> bool {
    matches!(
        name,
        b"GoTo"
            | b"GoToR"
            | b"GoToE"
            | b"GoToDp"
            | b"Launch"
            | b"Thread"
            | b"URI"
            | b"Sound"
            | b"Movie"
            | b"Hide"
            | b"Named"
            | b"SubmitForm"
            | b"ResetForm"
            | b"ImportData"
            | b"JavaScript"
            | b"SetOCGState"
            | b"Rendition"
            | b"Trans"
            | b"GoTo3DView"
            | b"RichMediaExecute"
            | b"NOP"
    )
}

fn judge_type(name: &[u8], place: &str, findings: &mut Findings) {
    match name {
        b"EmbeddedFile" | b"FileAttachment" => embedded(findings, place),
        b"RichMedia" | b"Screen" | b"Movie" | b"Sound" | b"3D" | b"Rendition" => {
            active(findings, &format!("multimedia ({})", String::from_utf8_lossy(name)), place);
        }
        _ => {}
    }
}

fn judge_link(raw: &[u8], hex: bool, place: &str, findings: &mut Findings) {
    if let Some((code, what)) = links::judge(&text_of(raw, hex), Follow::OnClick) {
        findings.add(code, format!("{what}, in {place}"));
    }
}

fn active(findings: &mut Findings, what: &str, place: &str) {
    findings.add(ReasonCode::ActiveContent, format!("{what}, in {place}"));
}

fn embedded(findings: &mut Findings, place: &str) {
    findings.add(ReasonCode::EmbeddedFile, format!("attached file, in {place}"));
}

fn is_file(value: Option<&Value<'_>>) -> bool {
    matches!(value, Some(Value::Text(..) | Value::Dictionary(_) | Value::Reference(_)))
}
