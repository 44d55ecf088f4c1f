//! What the commands that walk through a bucket share: a place to go on from, and something to see meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Exit;
use crate::config::Settings;
use crate::fault::{Fault, FaultCode};
use crate::route::Route;
use crate::store::Marker;

/// Where a walk stands. What it has counted by then goes with it, so that the last run tells of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State<T> {
    /// Tells one walk from another.
    task: String,
    /// The route and the place in its bucket; `None` at the beginning.
    pub at: Option<(String, Option<Marker>)>,
    pub counts: T,
}

/// The state of a walk and the file it is kept in, if any.
#[derive(Debug)]
pub(super) struct Resume<T> {
    file: Option<PathBuf>,
    pub state: State<T>,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Resume<T> {
    /// Goes on from the file, or begins one.
    ///
    /// # Errors
    /// When the file cannot be written, or is not the state of this task.
    pub fn open(file: Option<&Path>, task: String) -> Result<Self, String> {
        let begin = State { task, at: None, counts: T::default() };
        let Some(path) = file else { return Ok(Self { file: None, state: begin }) };
        let state = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice::<State<T>>(&bytes)
                .map_err(|e| format!("{} is not the state of a walk: {e}", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => begin.clone(),
            Err(e) => return Err(format!("{} cannot be read: {e}", path.display())),
        };
        if state.task != begin.task {
            let (theirs, ours) = (crate::text::printable(&state.task), crate::text::printable(&begin.task));
            return Err(format!("{} belongs to \"{theirs}\", and this is \"{ours}\"", path.display()));
        }
        let resume = Self { file: Some(path.to_owned()), state };
        // Better now than after a page.
        resume.save()?;
        Ok(resume)
    }

    /// Keeps the state, completely or not at all: the walk may be killed at any moment.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), String> {
        let Some(path) = &self.file else { return Ok(()) };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, &self.state)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|e| format!("{} cannot be written: {e}", path.display()))
    }

    /// The walk is at its end: there is nothing to go on from.
    pub fn finish(self) {
        if let Some(path) = self.file {
            // One that stays is gone through again from its last page, which is harmless.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The route of this name, or the names that there are.
pub(super) fn route<'a>(settings: &'a Settings, name: &str) -> Result<&'a Route, String> {
    settings.routes.iter().find(|r| r.name == name).map(std::convert::AsRef::as_ref).ok_or_else(|| {
        let known: Vec<&str> = settings.routes.iter().map(|r| r.name.as_str()).collect();
        format!("there is no route {name}; known: {}", known.join(", "))
    })
}

/// How a command ends whose first trouble this is: a dependency that is not there is told from one that went away.
pub(super) fn exit(fault: &Fault, began: bool) -> Exit {
    match fault.code {
        FaultCode::S3Unavailable | FaultCode::BrokerUnavailable if !began => Exit::Unavailable,
        _ => Exit::Fault,
    }
}

/// Progress on a terminal, nothing elsewhere.
pub(super) fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} looked at, {per_sec}, {elapsed} elapsed {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A line on standard output, above the progress.
pub(super) fn print(bar: &ProgressBar, line: &str) {
    // A reader that went away (a closed pipe) has seen all it wanted.
    bar.suspend(|| writeln!(std::io::stdout(), "{line}").unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;

    fn open(file: &Path, task: &str) -> Result<Resume<u64>, String> {
        Resume::open(Some(file), task.to_owned())
    }

    #[test]
    fn a_walk_goes_on_where_its_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let mut resume = open(&file, "a").unwrap();
        assert_eq!(resume.state.at, None);
        let marker = Marker { key: ObjectKey::new("k\u{1}\n").unwrap(), version: Some("v".to_owned()) };
        resume.state.at = Some(("default".to_owned(), Some(marker)));
        resume.state.counts = 7;
        resume.save().unwrap();
        let again = open(&file, "a").unwrap();
        assert_eq!(again.state, resume.state);
        again.finish();
        assert!(!file.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing else was left");
    }

    #[test]
    fn the_state_of_another_walk_and_a_file_that_is_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        open(&file, "a").unwrap();
        assert!(open(&file, "b").unwrap_err().contains("belongs to"));
        std::fs::write(&file, "[]").unwrap();
        assert!(open(&file, "a").unwrap_err().contains("not the state"));
        assert_eq!(std::fs::read(&file).unwrap(), b"[]", "it is left alone");
        assert!(open(&folder.path().join("no/state"), "a").unwrap_err().contains("written"));
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let resume = Resume::<u64>::open(None, "a".to_owned()).unwrap();
        resume.save().unwrap();
        resume.finish();
    }
}
