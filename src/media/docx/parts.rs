//! What the parts of a package carry: macros, files, controls, links and fields.

use super::package::{Package, Relationship};
use super::part_key;
use super::xml::{self, Element, Item};
use super::zip::{self, Budget, Entry};
use crate::media::bytes::{CFB_MAGIC, container_at, find};
use crate::media::fields::{self, Fields};
use crate::media::findings::{Findings, Walk};
use crate::media::links::{self, Follow};
use crate::media::pdf;
use crate::policy::DocumentLimits;
use crate::verdict::ReasonCode;

/// Judges the parts of one package.
pub(super) struct Judge<'a> {
    pub package: &'a Package,
    pub limits: &'a DocumentLimits,
    /// The chart data that this package is, if it lies inside another. Nothing nests deeper.
    pub nested: Option<&'a str>,
}

impl Judge<'_> {
    /// Judges relationships first, then every part, referenced or not.
    pub fn run(&self, entries: &[Entry<'_>], budget: &mut Budget, findings: &mut Findings) {
        for relationship in &self.package.relationships {
            self.relationship(relationship, findings);
        }
        let (chart_data, pictures) = (self.package.chart_data(), self.package.pictures());
        for entry in entries.iter().filter(|entry| !entry.is_folder()) {
            let key = part_key(&entry.name);
            self.declared(&key, findings);
            // Relationship parts were read for the package.
            let extension = key.rsplit('.').next();
            if extension == Some("rels") || key == "[content_types].xml" {
                continue;
            }
            let judged = entry.content(self.limits, budget).and_then(|content| {
                if self.nested.is_none() && chart_data.contains(&key) && content.starts_with(super::MAGIC) {
                    return self.chart_package(&entry.name, &content, budget, findings);
                }
                // Word on a Mac pastes pictures as PDF. They have to be as harmless as a PDF on its own.
                if pictures.contains(&key) && pdf::header_offset(&content) == Some(0) {
                    let allowed = budget.bytes.min(self.limits.stream_bytes);
                    let left = pdf::walk(&content, self.limits, allowed, findings);
                    budget.bytes -= allowed - left.min(allowed);
                    return Ok(());
                }
                self.content(&key, &content, budget, findings)
            });
            if let Err(broken) = judged {
                findings.broken(&broken);
                if broken.code == ReasonCode::ArchiveBomb {
                    return;
                }
            }
        }
    }

    /// The package that holds a chart's numbers: judged by the same rules, one level deep.
    fn chart_package(&self, name: &str, content: &[u8], budget: &mut Budget, findings: &mut Findings) -> Walk<()> {
        let entries = zip::open(content, self.limits, findings)?;
        let package = Package::read(&entries, self.limits, budget)?;
        Judge { package: &package, limits: self.limits, nested: Some(name) }.run(&entries, budget, findings);
        Ok(())
    }

    fn place(&self, part: &str) -> String {
        self.nested.map_or_else(|| format!("part {part}"), |outer| format!("part {part} of {outer}"))
    }

    fn relationship(&self, relationship: &Relationship, findings: &mut Findings) {
        let Relationship { owner, kind, target, external } = relationship;
        let place = self.place(if owner.is_empty() { "_rels/.rels" } else { owner });
        if *external {
            let found = match kind.as_str() {
                "hyperlink" => links::judge(target, Follow::OnClick),
                "attachedtemplate" => links::judge(target, Follow::OnOpen),
                _ => Some((ReasonCode::ExternalReference, format!("linked {kind} {target}"))),
            };
            if let Some((code, what)) = found {
                findings.add(code, format!("{place}: {what}"));
            }
            return;
        }
        match kind.as_str() {
            "vbaproject" | "wordvbadata" => {
                findings.add(ReasonCode::Macro, format!("{place} refers to macros in {target}"));
            }
            "control" | "activexcontrolbinary" => {
                findings.add(ReasonCode::ActiveContent, format!("{place} has an ActiveX control in {target}"));
            }
            "webextension" | "webextensiontaskpanes" => {
                findings.add(ReasonCode::ActiveContent, format!("{place} loads a web add-in"));
            }
            "afchunk" => findings.add(ReasonCode::EmbeddedFile, format!("{place} takes in the document {target}")),
            _ if relationship.carries_file() && !self.package.type_of(owner).contains("chart") => {
                findings.add(ReasonCode::EmbeddedFile, format!("{place} embeds {target}"));
            }
            _ => {}
        }
    }

    /// What the name and the content type of a part say. Any one of the signs of a macro is enough, because
    /// Word follows whichever it finds.
    fn declared(&self, key: &str, findings: &mut Findings) {
        let media = self.package.type_of(key);
        let file = key.rsplit('/').next().unwrap_or_default();
        let place = self.place(key);
        if media.contains("vbaproject")
            || media.contains("vbadata")
            || file == "vbaproject.bin"
            || file == "vbadata.xml"
        {
            findings.add(ReasonCode::Macro, format!("{place} holds macros"));
        }
        if media.contains("macroenabled") || media.contains("macrosheet") {
            findings.add(ReasonCode::Macro, format!("{place} is of a macro-enabled type"));
        }
        if media.contains("activex") || key.contains("/activex/") {
            findings.add(ReasonCode::ActiveContent, format!("{place} is an ActiveX control"));
        }
        if media.contains("oleobject") {
            findings.add(ReasonCode::EmbeddedFile, format!("{place} is an OLE object"));
        }
    }

    fn content(&self, key: &str, content: &[u8], budget: &mut Budget, findings: &mut Findings) -> Walk<()> {
        let media = self.package.type_of(key);
        let place = self.place(key);
        if content.starts_with(CFB_MAGIC) {
            // Stream names are UTF-16 in a compound file; both are there in every VBA project.
            let vba = find(content, b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0", 0).is_some();
            let (code, what) =
                if vba { (ReasonCode::Macro, "a macro project") } else { (ReasonCode::EmbeddedFile, "an OLE object") };
            findings.add(code, format!("{place} is {what} by content"));
        } else if let Some(kind) = container_at(content) {
            findings.add(ReasonCode::EmbeddedFile, format!("{place} is {kind}"));
        } else if content.starts_with(b"MZ") && !media.contains("obfuscatedfont") {
            findings.add(ReasonCode::EmbeddedFile, format!("{place} begins like a program"));
        }
        if media.starts_with("image/") || !(media.ends_with("xml") || key.rsplit('.').next() == Some("xml")) {
            return Ok(());
        }
        let mut reader = FieldReader { fields: Fields::default(), in_code: 0, in_text: 0, place: &place, findings };
        xml::read(key, content, self.limits.xml_depth, &mut budget.elements, |item| reader.item(&item))
    }
}

/// Finds fields and linked pictures in the XML of a part.
struct FieldReader<'a> {
    fields: Fields,
    /// Open elements that hold the code of a field.
    in_code: usize,
    /// Open elements that hold text of the document.
    in_text: usize,
    place: &'a str,
    findings: &'a mut Findings,
}

impl FieldReader<'_> {
    fn item(&mut self, item: &Item<'_>) {
        match item {
            Item::Start(element) => self.start(element),
            Item::End(name, true) => match *name {
                "instrText" | "delInstrText" => self.in_code = self.in_code.saturating_sub(1),
                "t" | "delText" => self.in_text = self.in_text.saturating_sub(1),
                _ => {}
            },
            Item::Text(text) if self.fields.is_open() && self.in_code + self.in_text > 0 => self.fields.text(text),
            // Some writers leave the marks of a field away and its code still works.
            Item::Text(text) if self.in_code > 0 => fields::judge(text, self.place, self.findings),
            Item::Text(_) | Item::End(_, false) => {}
        }
    }

    fn start(&mut self, element: &Element<'_>) {
        match element.name() {
            "instrText" | "delInstrText" if element.of_word => self.in_code += 1,
            "t" | "delText" if element.of_word => self.in_text += 1,
            "fldChar" if element.of_word => match element.get("fldCharType").as_deref() {
                Some("begin") => self.fields.begin(),
                Some("separate") => self.fields.separate(self.place, self.findings),
                Some("end") => self.fields.end(self.place, self.findings),
                _ => {}
            },
            "fldSimple" => fields::judge(&element.get("instr").unwrap_or_default(), self.place, self.findings),
            // VML may name a picture by address instead of by relationship.
            "imagedata" | "fill" | "stroke" => {
                let sources = ["src", "href"].into_iter().filter_map(|name| element.get(name));
                for (code, what) in sources.filter_map(|source| links::judge(&source, Follow::OnOpen)) {
                    self.findings.add(code, format!("{}: {what}", self.place));
                }
            }
            _ => {}
        }
    }
}
