//! What the parts of a package carry: macros, files, controls, links and fields.

use super::package::{Package, Relationship};
use super::part_key;
use super::story::StoryReader;
use super::xml;
use super::zip::{self, Budget, Entry};
use crate::feature::Feature;
use crate::limits::StructureLimits;
use crate::media::bytes::{CFB_MAGIC, container_at, find};
use crate::media::findings::{Findings, Walk};
use crate::media::links::{self, Follow};
use crate::media::pdf;
use crate::verdict::ReasonCode;

/// Extensions that a system runs. No part of a document has one.
const PROGRAMS: &[&str] = &[
    "exe", "dll", "scr", "com", "bat", "cmd", "pif", "msi", "vbs", "vbe", "js", "jse", "wsf", "wsh", "hta", "ps1",
    "lnk", "jar", "class", "dex", "reg", "cpl", "msc", "scf", "sh", "url",
];

/// Judges the parts of one package.
pub(super) struct Judge<'a> {
    pub package: &'a Package,
    pub limits: &'a StructureLimits,
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
                if self.nested.is_none() && chart_data.contains(&key) {
                    if content.starts_with(super::MAGIC) {
                        return self.chart_package(&entry.name, &content, budget, findings);
                    }
                    findings.feature(Feature::EmbeddedFiles, format!("part {key} is data of a chart and no workbook"));
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
        if !package.is_workbook(&entries) {
            findings.feature(Feature::EmbeddedFiles, format!("part {name} is an archive and no workbook of a chart"));
        }
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
                "attachedtemplate" => links::judge(target, Follow::OnOpen(Feature::RemoteTemplate)),
                _ => Some((Feature::RemoteContent, format!("linked {kind} {target}"))),
            };
            if let Some((feature, what)) = found {
                findings.feature(feature, format!("{place}: {what}"));
            }
            return;
        }
        match kind.as_str() {
            "vbaproject" | "wordvbadata" => {
                findings.feature(Feature::Macros, format!("{place} refers to macros in {target}"));
            }
            "control" | "activexcontrolbinary" => {
                findings.feature(Feature::Activex, format!("{place} has an ActiveX control in {target}"));
            }
            // Closed panes are judged by their own part; an add-in anywhere else is shown with the text.
            "webextension" if !self.package.type_of(owner).contains("taskpanes") => {
                findings.feature(Feature::AddIns, format!("{place} shows a web add-in"));
            }
            "extensibility" | "usercustomization" => {
                findings.feature(Feature::AddIns, format!("{place} changes the reader's menus by {target}"));
            }
            "afchunk" => findings.feature(Feature::EmbeddedFiles, format!("{place} takes in the document {target}")),
            _ if relationship.carries_file() && !self.package.type_of(owner).contains("chart") => {
                findings.feature(Feature::OleObjects, format!("{place} embeds {target}"));
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
            findings.feature(Feature::Macros, format!("{place} holds macros"));
        }
        if media.contains("macroenabled") || media.contains("macrosheet") {
            findings.feature(Feature::Macros, format!("{place} is of a macro-enabled type"));
        }
        if media.contains("activex") || key.contains("/activex/") {
            findings.feature(Feature::Activex, format!("{place} is an ActiveX control"));
        }
        if file.rsplit_once('.').is_some_and(|(_, extension)| PROGRAMS.contains(&extension)) {
            findings.feature(Feature::EmbeddedFiles, format!("{place} has the name of a program"));
        }
        // With these, a Java machine or a phone runs the archive, and an office suite may see another document.
        if matches!(key, "meta-inf/manifest.mf" | "androidmanifest.xml" | "meta-inf/manifest.xml") {
            findings.add(ReasonCode::Polyglot, format!("{place} makes the archive one of another kind"));
        }
        if media.contains("oleobject") {
            findings.feature(Feature::OleObjects, format!("{place} is an OLE object"));
        }
    }

    fn content(&self, key: &str, content: &[u8], budget: &mut Budget, findings: &mut Findings) -> Walk<()> {
        let media = self.package.type_of(key);
        let place = self.place(key);
        if content.starts_with(CFB_MAGIC) {
            // Stream names are UTF-16 in a compound file; both are there in every VBA project.
            let vba = find(content, b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0", 0).is_some();
            let (feature, what) =
                if vba { (Feature::Macros, "a macro project") } else { (Feature::OleObjects, "an OLE object") };
            findings.feature(feature, format!("{place} is {what} by content"));
        } else if let Some(kind) = container_at(content).or_else(|| document_at(content)) {
            findings.feature(Feature::EmbeddedFiles, format!("{place} is {kind}"));
        } else if content.starts_with(b"MZ") && !media.contains("obfuscatedfont") {
            findings.feature(Feature::EmbeddedFiles, format!("{place} begins like a program"));
        }
        let declared =
            !media.starts_with("image/") && (media.ends_with("xml") || key.rsplit('.').next() == Some("xml"));
        if !declared && !looks_like_xml(content) {
            return Ok(());
        }
        let mut reader = StoryReader::new(&place, findings);
        let read = xml::read(key, content, self.limits.xml_depth, budget, |item| reader.item(&item));
        // What is not declared as XML may be read as such, and need not be any.
        read.or_else(|broken| if declared || broken.code == ReasonCode::ArchiveBomb { Err(broken) } else { Ok(()) })
    }
}

/// Whether a reader that does not care about the declared type would find XML here.
fn looks_like_xml(content: &[u8]) -> bool {
    let head = content.get(..content.len().min(64)).unwrap_or_default();
    head.iter().find(|b| !matches!(b, 0 | 0xEF | 0xBB | 0xBF | 0xFE | 0xFF | b' ' | b'\r' | b'\n' | b'\t'))
        == Some(&b'<')
}

/// What begins here that opens with a program of its own and is neither picture, font nor XML.
fn document_at(content: &[u8]) -> Option<&'static str> {
    match content {
        [b'{', b'\\', b'r', b't', ..] => Some("an RTF document"),
        [b'M', b'S', b'C', b'F', 0, 0, 0, 0, ..] => Some("a cabinet archive"),
        [b'L', 0, 0, 0, 1, 0x14, 2, 0, ..] => Some("a Windows shortcut"),
        [0xCA, 0xFE, 0xBA, 0xBE, ..] | [0xCE | 0xCF, 0xFA, 0xED, 0xFE, ..] | [0, b'a', b's', b'm', ..] => {
            Some("a program")
        }
        [b'C' | b'F' | b'Z', b'W', b'S', 1..=64, ..] => Some("a Flash film"),
        [b'#', b'!', ..] => Some("a script"),
        _ => {
            let head = content.get(..content.len().min(64)).unwrap_or_default().to_ascii_lowercase();
            let text = String::from_utf8_lossy(&head);
            let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
            let html = ["<html", "<!doctype html", "<script", "<hta:", "mime-version:"];
            html.iter().any(|tag| text.starts_with(tag)).then_some("a web page")
        }
    }
}
