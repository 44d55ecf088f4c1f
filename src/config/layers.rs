//! What was given, and where: the file, then the environment, then flags, laid over each other.
//!
//! Everything becomes one flat map from dotted key to value and origin; names are checked against the
//! [table of keys](super::keys) here, values later, when they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::{self, SECTIONS};
use super::kind::Kind;
use super::problem::{Origin, Problem, nearest};
use super::value::Name;
use crate::text::printable;

/// How the name of every variable that is a setting begins. `AIRLOCK_CONFIG` names the file.
const VARIABLE_PREFIX: &str = "AIRLOCK__";

/// Far beyond any real configuration; a wrong path (`/dev/zero`) must not fill the memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Each route is a label of metrics and a word of routing keys.
const MAX_ROUTES: usize = 256;

/// From where a configuration is read.
#[derive(Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Variables; those that do not begin with `AIRLOCK__` are ignored.
    pub env: Vec<(String, String)>,
    /// `section.key=value`, as given to `--set`; of two for one key the later one wins.
    pub flags: Vec<String>,
}

/// Names only: values of variables and flags may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        let mut shown = f.debug_struct("Sources");
        shown.field("file", &self.file).field("env", &variables).field("flags", &self.flags.len()).finish()
    }
}

impl Sources {
    /// The sources of this process: `file` (from `--config`) or else what `AIRLOCK_CONFIG` names, the
    /// environment, and `flags`. Nothing else in the crate reads the environment.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, flags: Vec<String>) -> Self {
        let file = file.or_else(|| std::env::var_os("AIRLOCK_CONFIG").map(PathBuf::from));
        // What is not UTF-8 gets U+FFFD here, which is refused later: a secret is never silently altered.
        let readable = std::env::vars_os().map(|(k, v)| (lossy(&k), lossy(&v)));
        Self { file, env: readable.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect(), flags }
    }
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// One value that was given.
pub(super) struct Entry {
    pub value: Value,
    pub origin: Origin,
}

/// All that was given. Routes are numbered from 1: `route.1.clean`.
#[derive(Default)]
pub(super) struct Layers {
    pub entries: BTreeMap<String, Entry>,
    pub routes: usize,
    /// The names of the policies in the file, and `default`.
    pub policies: BTreeSet<String>,
    pub problems: Vec<Problem>,
    /// The file could not be read or parsed: what is missing may have been in it.
    pub without_file: bool,
}

impl Layers {
    pub(super) fn collect(sources: &Sources) -> Self {
        let mut layers = Self { policies: BTreeSet::from(["default".to_owned()]), ..Self::default() };
        if let Some(path) = &sources.file {
            match read_bounded(path, MAX_FILE_BYTES) {
                Ok(text) => layers.add_file(path, &text),
                Err(problem) => {
                    layers.without_file = true;
                    let origin = Origin::File { path: path.clone(), line: 0 };
                    layers.problems.push(Problem::new(origin, "", problem));
                }
            }
        }
        for (name, value) in &sources.env {
            layers.add_variable(name, value);
        }
        for (flag, n) in sources.flags.iter().zip(1..) {
            layers.add_flag(flag, n);
        }
        layers
    }

    fn add_file(&mut self, path: &Path, text: &str) {
        let origin = |start: usize| {
            let breaks = text.get(..start).unwrap_or_default().matches('\n').count();
            Origin::File { path: path.to_owned(), line: 1 + breaks }
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        self.without_file = !errors.is_empty();
        for error in errors {
            // Only the parser's own words: its full message would quote the line, which may hold a secret.
            let start = error.span().map_or(0, |span| span.start);
            self.problems.push(Problem::new(origin(start), "", format!("not TOML: {}", error.message())));
        }
        if !self.without_file {
            self.walk(&[], table.into_inner(), &origin);
        }
    }

    fn walk(&mut self, above: &[&str], table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            let path: Vec<&str> = above.iter().copied().chain([name.get_ref().as_ref()]).collect();
            let at = origin(name.span().start);
            if let ["policy", policy, ..] = path.as_slice()
                && let Err(problem) = policy.parse::<Name>()
            {
                self.problems.push(Problem::new(at, path.join("."), problem));
            } else if keys::resolve(&path).is_some() {
                self.add_value(&path, value, at);
            } else if keys::is_table(&path) {
                self.enter(&path, value, at, origin);
            } else {
                self.problems.push(unknown(&path, at));
            }
        }
    }

    fn enter(&mut self, path: &[&str], value: Spanned<DeValue<'_>>, at: Origin, origin: &dyn Fn(usize) -> Origin) {
        let refuse = |what: &str| self.problems.push(Problem::new(at, path.join("."), what));
        match (path, value.into_inner()) {
            (["route"], DeValue::Array(tables)) => {
                if tables.len() > MAX_ROUTES {
                    return refuse(&format!("allowed: at most {MAX_ROUTES} routes"));
                }
                for table in tables {
                    let start = table.span().start;
                    match table.into_inner() {
                        DeValue::Table(table) => {
                            self.routes += 1;
                            let number = self.routes.to_string();
                            self.walk(&["route", &number], table, origin);
                        }
                        _ => self.problems.push(Problem::new(origin(start), "route", "must be a table, [[route]]")),
                    }
                }
            }
            (["route"], _) => refuse("must be written with double brackets, [[route]]"),
            (_, DeValue::Table(table)) => {
                if let ["policy", name] = path {
                    self.policies.insert((*name).to_owned());
                }
                self.walk(path, table, origin);
            }
            _ => refuse("is a section and must be a table"),
        }
    }

    fn add_value(&mut self, path: &[&str], value: Spanned<DeValue<'_>>, origin: Origin) {
        match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => self.insert(path, value, origin),
            Err(_) => self.problems.push(Problem::new(origin, path.join("."), "is a number too large for TOML")),
        }
    }

    fn add_variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return };
        let lower = rest.to_ascii_lowercase();
        let path: Vec<&str> = lower.split("__").collect();
        let origin = Origin::Variable(name.to_owned());
        if rest.contains(|c: char| c.is_ascii_lowercase()) {
            let problem = format!("unknown variable; write it in capitals, {}", printable(&variable_name(&path)));
            self.problems.push(Problem::new(origin, "", problem));
        } else {
            self.add_text(&path, text, origin);
        }
    }

    fn add_flag(&mut self, flag: &str, number: usize) {
        let Some((key, text)) = flag.split_once('=') else {
            // The text is not shown: it may be a secret that was meant to be a value.
            let origin = Origin::Flag(format!("number {number}"));
            return self.problems.push(Problem::new(origin, "", "must be section.key=value"));
        };
        let path: Vec<&str> = key.trim().split('.').collect();
        self.add_text(&path, text, Origin::Flag(key.trim().to_owned()));
    }

    /// A value from a variable or a flag.
    fn add_text(&mut self, path: &[&str], text: &str, origin: Origin) {
        let refuse = |what: &str| Problem::new(origin.clone(), path.join("."), what);
        let problem = match (path, keys::resolve(path)) {
            (["route", ..], _) => refuse("[[route]] tables come only from the file"),
            (["policy", name, _, ..], _) if !self.policies.contains(*name) && !self.without_file => {
                let known = self.policies.iter().map(String::as_str);
                let meant = did_you_mean(nearest(name, known));
                refuse(&format!("there is no [policy.{}] in the file{meant}", printable(name)))
            }
            (_, Some(_)) if text.contains(char::REPLACEMENT_CHARACTER) => refuse("must be UTF-8"),
            (_, Some((key, from_file))) => {
                let kind = if from_file { Kind::Text("path of a file") } else { key.kind };
                match kind.spelt(text) {
                    Ok(value) => return self.insert(path, value, origin),
                    Err(problem) => refuse(&problem).with_value(text),
                }
            }
            (path, None) if keys::is_table(path) => refuse("names a section; name one of its keys"),
            (path, None) => unknown(path, origin),
        };
        self.problems.push(problem);
    }

    fn insert(&mut self, path: &[&str], value: Value, origin: Origin) {
        self.entries.insert(path.join("."), Entry { value, origin });
    }
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// In words that follow the name of the file.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The variable for a dotted key.
pub(super) fn variable_name(path: &[&str]) -> String {
    format!("{VARIABLE_PREFIX}{}", path.join("__").to_ascii_uppercase())
}

fn unknown(path: &[&str], origin: Origin) -> Problem {
    let meant = suggestion(path).map(|meant| match origin {
        Origin::Variable(_) => variable_name(&meant.split('.').collect::<Vec<_>>()),
        _ => meant,
    });
    Problem::new(origin, path.join("."), format!("unknown key{}", did_you_mean(meant.as_deref())))
}

pub(super) fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean \"{}\"?", printable(name))).unwrap_or_default()
}

/// A key of the same section that is spelt alike; or any section or key that is; or a key of this very
/// name in another section.
fn suggestion(path: &[&str]) -> Option<String> {
    let (name, above) = path.split_last()?;
    if let Some(section) = keys::section(above) {
        let near = nearest(name, section.keys.iter().map(|key| key.name));
        if let Some(near) = near {
            return Some(above.iter().copied().chain([near]).collect::<Vec<_>>().join("."));
        }
    }
    let wildcard = path.get(1).copied().unwrap_or("NAME");
    let sections = SECTIONS.iter().map(|section| (section.path.replace('*', wildcard), section));
    let all: Vec<String> = sections
        .flat_map(|(path, section)| {
            let keys = section.keys.iter().map(|key| format!("{path}.{}", key.name)).collect::<Vec<_>>();
            std::iter::once(path).chain(keys)
        })
        .collect();
    let alike = nearest(&path.join("."), all.iter().map(String::as_str));
    let elsewhere = || all.iter().map(String::as_str).find(|full| full.rsplit('.').next() == Some(*name));
    alike.or_else(elsewhere).map(str::to_owned)
}
