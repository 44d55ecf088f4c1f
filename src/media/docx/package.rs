//! The package: content types, relationships, and what the main part is.

use std::collections::{HashMap, HashSet};

use super::part_key;
use super::parts;
use super::xml::{self, Item};
use super::zip::{Budget, Entry};
use crate::feature::Feature;
use crate::limits::StructureLimits;
use crate::media::findings::{Findings, Walk, bomb, malformed};
use crate::verdict::ReasonCode;

const WORD_MAIN: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
const TYPES: &str = "[content_types].xml";

/// One relationship: the part that has it (empty for the package), what it means, where it leads.
pub(super) struct Relationship {
    pub owner: String,
    /// The last segment of the type's URI, small letters: `hyperlink`, `oleobject`.
    pub kind: String,
    pub target: String,
    pub external: bool,
}

/// What the package says about its parts.
pub(super) struct Package {
    overrides: HashMap<String, String>,
    defaults: HashMap<String, String>,
    /// What is given two content types.
    contradiction: Option<String>,
    pub relationships: Vec<Relationship>,
}

/// Walks a package and all its parts. Returns whether it is a Word document.
pub(super) fn walk(
    entries: &[Entry<'_>],
    limits: &StructureLimits,
    budget: &mut Budget,
    findings: &mut Findings,
) -> bool {
    if !entries.iter().any(|entry| part_key(&entry.name) == TYPES) {
        return without_types(entries, findings);
    }
    let package = match Package::read(entries, limits, budget) {
        Ok(package) => package,
        Err(broken) => {
            findings.broken(&broken);
            return true;
        }
    };
    match package.main_type(entries) {
        Ok(main) if main == WORD_MAIN => {}
        Ok(main) if main.starts_with("application/vnd.ms-word.") && main.contains("macroenabled") => {
            findings.feature(Feature::Macros, "the main part is a macro-enabled document");
        }
        Ok(main) => {
            if main.contains("macroenabled") {
                findings.feature(Feature::Macros, "the main part is macro-enabled");
            }
            findings.add(ReasonCode::TypeNotAllowed, format!("{}, not a Word document", kind_of(&main)));
            return false;
        }
        Err(broken) => findings.broken(&broken),
    }
    parts::Judge { package: &package, limits, nested: None }.run(entries, budget, findings);
    true
}

fn without_types(entries: &[Entry<'_>], findings: &mut Findings) -> bool {
    let office = entries.iter().any(|entry| part_key(&entry.name).starts_with("word/"));
    if office {
        findings.add(ReasonCode::Malformed, "[Content_Types].xml is missing");
    } else {
        findings.add(ReasonCode::TypeNotAllowed, "looks like application/zip");
    }
    office
}

fn kind_of(main: &str) -> &'static str {
    match main {
        _ if main.contains("template") => "a Word or Office template",
        _ if main.contains("spreadsheetml") || main.contains("ms-excel") => "an Excel workbook",
        _ if main.contains("presentationml") || main.contains("ms-powerpoint") => "a PowerPoint presentation",
        _ => "another kind of package",
    }
}

impl Package {
    /// Reads content types and every relationship part.
    pub fn read(entries: &[Entry<'_>], limits: &StructureLimits, budget: &mut Budget) -> Walk<Self> {
        let mut package = Self {
            overrides: HashMap::new(),
            defaults: HashMap::new(),
            contradiction: None,
            relationships: Vec::new(),
        };
        let mut room = StructureLimits::STATEMENT_BYTES;
        let mut statements = |entry: &Entry<'_>, budget: &mut Budget| {
            let content = entry.content(limits, budget)?;
            room = room.checked_sub(content.len()).ok_or_else(|| bomb("too long content types or relationships"))?;
            Ok(content)
        };
        for entry in entries {
            let key = part_key(&entry.name);
            if key == TYPES {
                let content = statements(entry, budget)?;
                xml::read(&entry.name, &content, limits.xml_depth, budget, |item| {
                    package.content_type(&item);
                })?;
                bounded(package.overrides.len() + package.defaults.len())?;
                // Which of two counts depends on the reader.
                if let Some(twice) = package.contradiction.take() {
                    return Err(malformed(format!("[Content_Types].xml gives {twice} two types")));
                }
            } else if let Some(owner) = owner(&key) {
                let content = statements(entry, budget)?;
                let found = &mut package.relationships;
                xml::read(&entry.name, &content, limits.xml_depth, budget, |item| {
                    // One more than allowed is remembered, so that the count below sees it.
                    if found.len() <= StructureLimits::STATEMENTS {
                        found.extend(relationship(&owner, &item));
                    }
                })?;
                bounded(found.len())?;
            }
        }
        Ok(package)
    }

    fn content_type(&mut self, item: &Item<'_>) {
        let Item::Start(element) = item else { return };
        let full = self.overrides.len() + self.defaults.len() > StructureLimits::STATEMENTS;
        if full || !matches!(element.name(), "Override" | "Default") {
            return;
        }
        let Some(media) = element.get("ContentType").map(|m| m.trim().to_ascii_lowercase()) else { return };
        let (given, what) = match (element.name(), element.get("PartName"), element.get("Extension")) {
            ("Override", Some(part), _) => (&mut self.overrides, part_key(&part)),
            ("Default", _, Some(extension)) => (&mut self.defaults, extension.to_lowercase()),
            _ => return,
        };
        if given.insert(what.clone(), media.clone()).is_some_and(|other| other != media) {
            self.contradiction = Some(what);
        }
    }

    /// The content type of a part, small letters; empty where none is declared.
    pub fn type_of(&self, key: &str) -> &str {
        let by_extension = || self.defaults.get(key.rsplit_once('.')?.1);
        self.overrides.get(key).or_else(by_extension).map_or("", String::as_str)
    }

    /// The content type of the part that the package names as its document.
    fn main_type(&self, entries: &[Entry<'_>]) -> Walk<String> {
        let mut mains = self.relationships.iter().filter(|r| r.owner.is_empty() && r.kind == "officedocument");
        let main = mains.next().ok_or_else(|| malformed("_rels/.rels names no main part"))?;
        if mains.next().is_some() || main.external {
            return Err(malformed("_rels/.rels names more than one main part, or one outside"));
        }
        let key = main.part();
        if !entries.iter().any(|entry| part_key(&entry.name) == key) {
            return Err(malformed(format!("the main part {} is missing", main.target)));
        }
        match self.type_of(&key) {
            "" => Err(malformed(format!("the main part {} has no content type", main.target))),
            media => Ok(media.to_owned()),
        }
    }

    /// Whether a package inside of another is the workbook of a chart.
    pub fn is_workbook(&self, entries: &[Entry<'_>]) -> bool {
        self.main_type(entries).is_ok_and(|main| main.contains("spreadsheetml") || main.contains("ms-excel"))
    }

    /// Packages that charts carry as their data. Only these may be archives inside the archive.
    pub fn chart_data(&self) -> HashSet<String> {
        let (mut charts, mut others) = (HashSet::new(), HashSet::new());
        for relationship in self.relationships.iter().filter(|r| !r.external && r.carries_file()) {
            let of_chart = self.type_of(&relationship.owner).contains("chart");
            if of_chart {
                charts.insert(relationship.part())
            } else {
                others.insert(relationship.part())
            };
        }
        charts.retain(|part| !others.contains(part));
        charts
    }
}

impl Package {
    /// Parts that are shown as pictures and are nothing else.
    pub fn pictures(&self) -> HashSet<String> {
        let inner = || self.relationships.iter().filter(|r| !r.external);
        let mut pictures: HashSet<String> = inner().filter(|r| r.kind == "image").map(Relationship::part).collect();
        for other in inner().filter(|r| r.kind != "image") {
            pictures.remove(&other.part());
        }
        pictures
    }
}

impl Relationship {
    /// The part an internal relationship leads to.
    pub fn part(&self) -> String {
        let folder = self.owner.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = self.target.split('#').next().unwrap_or_default();
        let path = if target.starts_with('/') { target.to_owned() } else { format!("{folder}/{target}") };
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => _ = segments.pop(),
                _ => segments.push(segment),
            }
        }
        part_key(&segments.join("/"))
    }

    /// Whether the target is a file inside the document.
    pub fn carries_file(&self) -> bool {
        matches!(self.kind.as_str(), "package" | "oleobject")
    }
}

fn bounded(statements: usize) -> Walk<()> {
    if statements <= StructureLimits::STATEMENTS {
        Ok(())
    } else {
        Err(bomb("too many content types or relationships"))
    }
}

/// The part whose relationships stand in the part `key`, if it is a relationship part.
fn owner(key: &str) -> Option<String> {
    let (folder, file) = key.rsplit_once('/')?;
    let folder = if folder == "_rels" { "" } else { folder.strip_suffix("/_rels")? };
    let name = file.strip_suffix(".rels")?;
    Some(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

fn relationship(owner: &str, item: &Item<'_>) -> Option<Relationship> {
    let Item::Start(element) = item else { return None };
    if element.name() != "Relationship" {
        return None;
    }
    let kind = element.get("Type").unwrap_or_default().trim().to_ascii_lowercase();
    let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
    let target = element.get("Target").unwrap_or_default().trim().to_owned();
    // A target with a scheme is outside whatever the mode says.
    let external = element.get("TargetMode").is_some_and(|mode| mode.trim().eq_ignore_ascii_case("external"))
        || crate::media::links::leaves(&target);
    Some(Relationship { owner: owner.to_owned(), kind, target, external })
}
