//! The XML of one part, read for what it makes a reader do: fields, linked pictures, add-ins, controls.

use super::xml::{Element, Item, Space};
use crate::feature::Feature;
use crate::media::fields::{self, Fields};
use crate::media::findings::Findings;
use crate::media::links::{self, Follow};
use crate::verdict::ReasonCode;

/// A body of text with fields of its own: a part, or a text box in it.
#[derive(Default)]
struct Story {
    fields: Fields,
    /// Open elements that hold the code of a field.
    in_code: u32,
    /// Open elements that hold text of the document.
    in_text: u32,
    /// Open elements of foreign vocabularies, which Word may be told to skip with all they hold.
    foreign: u32,
}

/// Reads one part.
pub(super) struct StoryReader<'a> {
    place: &'a str,
    findings: &'a mut Findings,
    /// The innermost last.
    stories: Vec<Story>,
    /// Inside the address that relative links begin with.
    in_base: bool,
}

impl<'a> StoryReader<'a> {
    pub fn new(place: &'a str, findings: &'a mut Findings) -> Self {
        Self { place, findings, stories: vec![Story::default()], in_base: false }
    }

    pub fn item(&mut self, item: &Item<'_>) {
        match item {
            Item::Start(element) => self.start(element),
            Item::End(name, space) => self.end(name, *space),
            Item::Text(text) => self.text(text),
        }
    }

    fn start(&mut self, element: &Element<'_>) {
        let name = element.name();
        match element.space {
            Space::Word => self.word(name, element),
            Space::Vml => self.vml(name, element),
            // Word reads one of several contents; a code of which each holds a piece is not the one seen here.
            Space::Choice if matches!(name, "Choice" | "Fallback") && self.in_field_code() => {
                self.malformed("a field whose code has alternatives");
            }
            Space::Choice | Space::Math => {}
            Space::Other => self.other(name, element),
        }
    }

    fn in_field_code(&self) -> bool {
        self.stories.last().is_some_and(|story| story.fields.in_code())
    }

    fn word(&mut self, name: &str, element: &Element<'_>) {
        let Some(story) = self.stories.last_mut() else { return };
        match name {
            "instrText" | "delInstrText" | "fldChar" if story.foreign > 0 => {
                self.malformed("a field inside foreign markup");
            }
            "txbxContent" => self.stories.push(Story::default()),
            "instrText" | "delInstrText" => story.in_code += 1,
            "t" | "delText" => story.in_text += 1,
            // Space between the words of a code.
            "tab" | "br" | "cr" if story.fields.is_open() => story.fields.text(" "),
            "fldChar" => match element.get("fldCharType").as_deref() {
                Some("begin") => story.fields.begin(),
                Some("separate") => story.fields.separate(self.place, self.findings),
                Some("end") => story.fields.end(self.place, self.findings),
                _ => {}
            },
            "fldSimple" => fields::judge(&element.get("instr").unwrap_or_default(), self.place, self.findings),
            "connectString" | "udl" if element.get("val").is_some_and(|val| !val.is_empty()) => {
                self.feature(Feature::RemoteContent, "mail merge opens a database");
            }
            // A prefix may be missing.
            "imagedata" | "fill" | "stroke" => self.vml(name, element),
            _ => {}
        }
    }

    /// VML may name a picture by address instead of by relationship, and every shape may be a link.
    fn vml(&mut self, name: &str, element: &Element<'_>) {
        let picture = matches!(name, "imagedata" | "image" | "fill" | "stroke");
        let (names, follow) = if picture {
            (&["src", "href", "althref"][..], Follow::OnOpen(Feature::RemoteContent))
        } else {
            (&["href"][..], Follow::OnClick)
        };
        for source in names.iter().filter_map(|name| element.get(name)) {
            if let Some((feature, what)) = links::judge(&source, follow) {
                self.feature(feature, &what);
            }
        }
        self.foreign(1);
    }

    fn other(&mut self, name: &str, element: &Element<'_>) {
        let is = |attribute: &str, value: &str| element.get(attribute).is_some_and(|v| v.eq_ignore_ascii_case(value));
        match name {
            // Word writes closed panes for the add-ins of whoever edits; an open one runs a page from elsewhere.
            "taskpane" if !is("visibility", "0") && !is("visibility", "false") => {
                self.feature(Feature::AddIns, "opens a web add-in");
            }
            "property" if is("name", "Office.AutoShowTaskpaneWithDocument") && !is("value", "false") => {
                self.feature(Feature::AddIns, "opens a web add-in");
            }
            "customUI" => self.feature(Feature::AddIns, "changes the reader's menus"),
            "ocx" if element.get("classid").is_some() => self.feature(Feature::Activex, "is an ActiveX control"),
            "ddeLink" => self.feature(Feature::Dde, "a DDE link starts a program"),
            "instrText" | "delInstrText" | "fldChar" | "fldSimple" => {
                self.malformed("a field in a foreign vocabulary");
            }
            "HyperlinkBase" => self.in_base = true,
            _ => {}
        }
        self.foreign(1);
    }

    fn foreign(&mut self, change: i32) {
        if let Some(story) = self.stories.last_mut() {
            story.foreign = story.foreign.saturating_add_signed(change);
        }
    }

    fn end(&mut self, name: &str, space: Space) {
        let Some(story) = self.stories.last_mut() else { return };
        match (space, name) {
            (Space::Word, "instrText" | "delInstrText") => story.in_code = story.in_code.saturating_sub(1),
            (Space::Word, "t" | "delText") => story.in_text = story.in_text.saturating_sub(1),
            (Space::Word, "txbxContent") if self.stories.len() > 1 => _ = self.stories.pop(),
            (Space::Word, "imagedata" | "fill" | "stroke") | (Space::Vml | Space::Other, _) => self.foreign(-1),
            _ => {}
        }
        self.in_base = false;
    }

    fn text(&mut self, text: &str) {
        if self.in_base {
            if let Some((feature, what)) = links::judge(text, Follow::OnClick) {
                self.feature(feature, &format!("base of all links: {what}"));
            }
            return;
        }
        let Some(story) = self.stories.last_mut() else { return };
        if story.fields.is_open() && story.in_code + story.in_text > 0 {
            story.fields.text(text);
        } else if story.in_code > 0 {
            // Some writers leave the marks of a field away and its code still works.
            fields::judge(text, self.place, self.findings);
        }
    }

    fn feature(&mut self, feature: Feature, what: &str) {
        self.findings.feature(feature, format!("{}: {what}", self.place));
    }

    fn malformed(&mut self, what: &str) {
        self.findings.add(ReasonCode::Malformed, format!("{}: {what}", self.place));
    }
}
