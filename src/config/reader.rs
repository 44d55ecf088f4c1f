//! Takes typed values out of the layers, and notes what is wrong with them.
//!
//! A wrong value is noted and its default handed out instead, so that reading goes on and the person gets
//! every mistake at once. [`Reader::require`] keeps silent about values that were wrong by themselves: a
//! cross-check of a default that stands in for a typing error would only confuse.

use std::path::Path;

use toml::Value;

use super::keys::{self, Key};
use super::layers::{Layers, read_bounded};
use super::problem::{Origin, Problem};
use super::value::Setting;
use crate::text::printable;

/// The longest file of a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

pub(super) struct Reader<'a> {
    layers: &'a Layers,
    /// Values that are wrong by themselves.
    problems: Vec<Problem>,
    /// Values that do not go together.
    disagreements: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self { layers, problems: layers.problems.clone(), disagreements: Vec::new() }
    }

    pub(super) fn layers(&self) -> &'a Layers {
        self.layers
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        [self.problems, self.disagreements].concat()
    }

    /// The value of a key that has a default.
    pub(super) fn get<T: Setting>(&mut self, section: &str, name: &str) -> T {
        self.find(section, name).expect("the key has a default of this type: a test reads them all")
    }

    /// The value of a key, or its default if it has one.
    pub(super) fn find<T: Setting>(&mut self, section: &str, name: &str) -> Option<T> {
        let path = format!("{section}.{name}");
        let segments: Vec<&str> = path.split('.').collect();
        let (key, _) = keys::resolve(&segments)?;
        let given = self.given(&path, key).and_then(|value| {
            let read = value.as_ref().map(|value| key.kind.check(value).and_then(|()| T::read(value)));
            read.transpose().map_err(|message| self.describe(&path, key, message))
        });
        match given {
            Ok(Some(value)) => Some(value),
            Ok(None) => default(key),
            Err(problem) => {
                self.problems.push(problem);
                default(key)
            }
        }
    }

    /// What was given for a key; for a secret possibly out of a file.
    fn given(&self, path: &str, key: &Key) -> Result<Option<Value>, Problem> {
        let plain = self.layers.entries.get(path);
        let file_path = format!("{path}_file");
        let file = self.layers.entries.get(&file_path).filter(|_| key.kind.is_secret());
        match (plain, file) {
            (None, None) => Ok(None),
            (Some(plain), None) => Ok(Some(plain.value.clone())),
            (Some(plain), Some(file)) => {
                let message = format!("given as {path} as well ({}); keep one of the two", plain.origin);
                Err(Problem::new(file.origin.clone(), file_path, message))
            }
            (None, Some(file)) => {
                let refuse = |message| Problem::new(file.origin.clone(), &file_path, message);
                let name = super::kind::text(&file.value).map_err(refuse)?;
                let text = read_bounded(Path::new(name), MAX_SECRET_BYTES)
                    .map_err(|problem| refuse(format!("file \"{}\" {problem}", printable(name))))?;
                let text =
                    text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
                Ok(Some(Value::String(text.to_owned())))
            }
        }
    }

    /// What is wrong with the value of a key, without the value where that is a secret.
    fn describe(&self, path: &str, key: &Key, message: String) -> Problem {
        let file_path = format!("{path}_file");
        let given = self.layers.entries.get(path);
        let problem = Problem::new(self.origin(path), if given.is_some() { path } else { &file_path }, message);
        match given.filter(|_| !key.kind.is_secret()) {
            Some(entry) => problem.with_value(&entry.value.to_string()),
            None => problem,
        }
    }

    /// Where a key was given, by itself or as a file.
    fn origin(&self, path: &str) -> Origin {
        let entries = &self.layers.entries;
        let given = entries.get(path).or_else(|| entries.get(&format!("{path}_file")));
        given.map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// Whether any key below `section` (with its final dot) was given.
    pub(super) fn is_written(&self, section: &str) -> bool {
        self.layers.entries.keys().any(|path| path.starts_with(section))
    }

    /// Notes `message` about the keys together, unless `holds` or one of them is wrong by itself. It is put
    /// down to the key that was given last: most likely the one that was changed.
    pub(super) fn require(&mut self, holds: bool, keys: &[&str], message: impl FnOnce() -> String) {
        let sound =
            |key: &&str| !self.problems.iter().any(|p| p.key == **key || p.key.strip_suffix("_file") == Some(*key));
        if holds || !keys.iter().all(sound) {
            return;
        }
        let blamed = keys.iter().map(|key| (self.origin(key), *key)).reduce(|a, b| if b.0 > a.0 { b } else { a });
        if let Some((origin, key)) = blamed {
            self.disagreements.push(Problem::new(origin, key, message()));
        }
    }
}

fn default<T: Setting>(key: &Key) -> Option<T> {
    T::read(&key.default.value()?).ok()
}
