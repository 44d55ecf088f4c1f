//! What the values of a PDF make a reader do (ISO 32000-2, 12.6 actions, 12.5 annotations, 7.11 files).

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::{Dictionary, Value, text_of};
use crate::feature::Feature;
use crate::media::findings::Findings;
use crate::media::links::{self, Follow};

/// Named actions that turn pages and nothing else: harmless also when a document opens.
const PAGE_ACTIONS: [&[u8]; 4] = [b"NextPage", b"PrevPage", b"FirstPage", b"LastPage"];
/// Named actions that a click may cause; the names beyond are menu items of one reader.
const CLICK_ACTIONS: [&[u8]; 5] = [b"Print", b"GoBack", b"GoForward", b"Find", b"GoToPage"];

/// What can only be judged when every object is known, because one refers to another by number.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Strings that stand alone and would be bad as links, with their finding.
    strings: BTreeMap<u32, (Feature, String)>,
    /// Objects that a `/URI` or another key of links refers to.
    linked: BTreeSet<u32>,
    /// Actions that only a click may cause, with what they do.
    clicks: BTreeMap<u32, Click>,
    /// Objects that act without a click.
    opening: BTreeSet<u32>,
}

/// An action that is harmless as long as a person asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Click {
    MenuItem,
    WebPage,
}

impl Click {
    /// The finding if it happens without a click.
    fn unasked(self, place: &str, findings: &mut Findings) {
        match self {
            Self::MenuItem => {
                active(findings, Feature::PdfLaunch, "named action that is more than turning pages", place);
            }
            Self::WebPage => {
                let detail = format!("action that opens a web page without a click, in {place}");
                findings.feature(Feature::PdfRemote, detail);
            }
        }
    }
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
                            Value::Reference(target) if is_link(key) => _ = self.linked.insert(*target),
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
                self.strings.extend(link_finding(&text_of(raw, *hex), place).map(|found| (number, found)));
            }
            // A name that stands alone is there to be referred to, possibly as the kind of something.
            Value::Name(name) => {
                judge_action(name, place, findings);
                judge_type(name, place, findings);
            }
            Value::Dictionary(dictionary) => {
                if is_stream && is_file(dictionary.get("F")) {
                    let detail = format!("stream whose data is another file, in {place}");
                    findings.feature(Feature::PdfRemote, detail);
                }
                self.clicks.extend(only_on_click(dictionary).map(|click| (number, click)));
            }
            _ => {}
        }
    }

    /// Brings together what refers to each other.
    pub fn finish(&self, findings: &mut Findings) {
        for (feature, detail) in self.linked.iter().filter_map(|number| self.strings.get(number)) {
            findings.feature(*feature, detail);
        }
        for (number, click) in self.clicks.iter().filter(|(number, _)| self.opening.contains(number)) {
            click.unasked(&format!("object {number}"), findings);
        }
    }
}

/// How a dictionary is reached.
#[derive(Debug, Clone, Copy, Default)]
struct Context {
    /// Directly as an action.
    action: bool,
    /// As the actions of events.
    events: bool,
    /// From something that acts without a click.
    opening: bool,
}

impl Context {
    fn under(self, key: &[u8]) -> Self {
        // What the pointer, the keyboard and the focus cause in a field is as good as a click.
        let by_hand = self.events && matches!(key, b"E" | b"X" | b"D" | b"U" | b"Fo" | b"Bl" | b"K");
        Self {
            action: matches!(key, b"A" | b"OpenAction" | b"Next"),
            events: key == b"AA",
            opening: (self.opening && !by_hand) || matches!(key, b"OpenAction" | b"AA"),
        }
    }
}

/// Keys whose text is a link: of an action, of the base that relative links count from, of a captured web page.
fn is_link(key: &[u8]) -> bool {
    matches!(key, b"URI" | b"Base" | b"URL")
}

fn judge_dictionary(dictionary: &Dictionary<'_>, context: Context, place: &str, findings: &mut Findings) {
    for (key, value) in dictionary.0.iter().filter(|(_, value)| *value != Value::Null) {
        match (key.as_ref(), value) {
            (b"JS", value) if is_script(dictionary, value) => {
                active(findings, Feature::PdfJavascript, "JavaScript", place);
            }
            (b"XFA", _) => active(findings, Feature::PdfXfa, "XFA form", place),
            (b"EF" | b"RF", Value::Dictionary(files)) if !files.0.is_empty() => embedded(findings, place),
            (b"EF", Value::Reference(_)) => embedded(findings, place),
            (key, Value::Text(raw, hex)) if is_link(key) => judge_link(&text_of(raw, *hex), place, findings),
            (b"URI", Value::Name(name)) => judge_link(&String::from_utf8_lossy(name), place, findings),
            (b"S", Value::Name(name)) => judge_action(name, place, findings),
            (b"Type" | b"Subtype", Value::Name(name)) => judge_type(name, place, findings),
            // One widespread reader takes a string where the specification asks for a name.
            (b"S", Value::Text(raw, hex)) => judge_action(text_of(raw, *hex).as_bytes(), place, findings),
            (b"Subtype", Value::Text(raw, hex)) => judge_type(text_of(raw, *hex).as_bytes(), place, findings),
            (b"Ref", value) if is_reference_object(dictionary, value) => {
                findings.feature(Feature::PdfRemote, format!("page content from another file, in {place}"));
            }
            (b"FS", value) if value.is_name("URL") => {
                findings.feature(Feature::PdfRemote, format!("file to be fetched from a URL, in {place}"));
            }
            _ => {}
        }
    }
    if dictionary.names("S", "Thread") && is_file(dictionary.get("F")) {
        findings.feature(Feature::PdfRemote, format!("thread in another file, in {place}"));
    }
    judge_named(dictionary, context, place, findings);
    let unknown = dictionary.all("S").find_map(|value| match value {
        Value::Name(name) if !is_known_action(name) => Some(name),
        _ => None,
    });
    if let Some(name) = unknown.filter(|_| context.action || dictionary.names("Type", "Action")) {
        active(findings, Feature::PdfLaunch, &format!("unknown action {}", String::from_utf8_lossy(name)), place);
    }
}

/// A script in place is one whatever surrounds it. What is only referred to may also be a font or a picture
/// that happens to bear this name, unless the dictionary is an action.
fn is_script(dictionary: &Dictionary<'_>, value: &Value<'_>) -> bool {
    matches!(value, Value::Text(..)) || dictionary.get("S").is_some() || dictionary.names("Type", "Action")
}

/// Whether a form shows a page of another file. Elsewhere `/Ref` leads from one element of the text's structure
/// to another.
fn is_reference_object(dictionary: &Dictionary<'_>, value: &Value<'_>) -> bool {
    match value {
        Value::Dictionary(reference) => is_file(reference.get("F")),
        Value::Reference(_) => dictionary.names("Subtype", "Form"),
        _ => false,
    }
}

fn judge_named(dictionary: &Dictionary<'_>, context: Context, place: &str, findings: &mut Findings) {
    let clicked = |value: &Value<'_>| matches!(value, Value::Name(name) if CLICK_ACTIONS.contains(&name.as_ref()));
    match only_on_click(dictionary) {
        Some(click) if context.opening => click.unasked(place, findings),
        Some(Click::MenuItem) if !dictionary.all("N").all(clicked) => Click::MenuItem.unasked(place, findings),
        _ => {}
    }
}

/// What the action does that nothing but a click may cause.
fn only_on_click(dictionary: &Dictionary<'_>) -> Option<Click> {
    if dictionary.names("S", "Named") && !turns_pages(dictionary) {
        return Some(Click::MenuItem);
    }
    dictionary.names("S", "URI").then_some(Click::WebPage)
}

fn turns_pages(dictionary: &Dictionary<'_>) -> bool {
    dictionary.all("N").all(|value| matches!(value, Value::Name(name) if PAGE_ACTIONS.contains(&name.as_ref())))
}

/// Actions that need judging by name alone. The harmless ones stay inside the document.
fn judge_action(name: &[u8], place: &str, findings: &mut Findings) {
    match name {
        b"JavaScript" => active(findings, Feature::PdfJavascript, "JavaScript action", place),
        b"Launch" => active(findings, Feature::PdfLaunch, "action that starts a program", place),
        b"SubmitForm" => active(findings, Feature::PdfSubmit, "action that sends the form away", place),
        b"ImportData" => active(findings, Feature::PdfSubmit, "action that imports data", place),
        b"Rendition" | b"Movie" | b"Sound" | b"RichMediaExecute" | b"GoTo3DView" => {
            active(findings, Feature::PdfMultimedia, "multimedia action", place);
        }
        b"GoToR" | b"GoToE" => {
            findings.feature(Feature::PdfRemote, format!("action that opens another document, in {place}"));
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
            | b"SetState"
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
        b"RichMedia" | b"Screen" | b"Movie" | b"Sound" | b"3D" | b"Rendition" | b"SlideShow" => {
            active(findings, Feature::PdfMultimedia, &format!("multimedia ({})", String::from_utf8_lossy(name)), place);
        }
        _ => {}
    }
}

fn judge_link(link: &str, place: &str, findings: &mut Findings) {
    if let Some((feature, detail)) = link_finding(link, place) {
        findings.feature(feature, detail);
    }
}

/// What a link deserves. The place comes before the link: a long one is cut.
fn link_finding(link: &str, place: &str) -> Option<(Feature, String)> {
    let (feature, what, link) = links::describe(link, Follow::OnClick)?;
    Some((feature, format!("{what}, in {place}: {link}")))
}

fn active(findings: &mut Findings, feature: Feature, what: &str, place: &str) {
    findings.feature(feature, format!("{what}, in {place}"));
}

fn embedded(findings: &mut Findings, place: &str) {
    findings.feature(Feature::PdfAttachments, format!("attached file, in {place}"));
}

fn is_file(value: Option<&Value<'_>>) -> bool {
    matches!(value, Some(Value::Text(..) | Value::Dictionary(_) | Value::Reference(_)))
}
