//! Which files are scanned, and how they are read: links are not followed, devices and pipes not even opened.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FaultCode};
use crate::object::ByteSize;
use crate::pipeline::{complete, essence};
use crate::snapshot::Spool;
use crate::stage::{Facts, Fetched, Halt, Rejection};
use crate::text;
use crate::verdict::{Reason, ReasonCode, Stage};

/// Folders within folders, at most.
const MAX_DEPTH: usize = 64;

/// One file to scan.
#[derive(Debug, Clone)]
pub(super) struct Input {
    path: PathBuf,
    /// Where its sanitized form goes below the output folder.
    pub relative: PathBuf,
}

/// The files that the arguments name, folders opened, in a stable order.
pub(super) fn collect(paths: &[PathBuf]) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    for path in paths {
        let kind = fs::symlink_metadata(path).map_err(|e| format!("{}: {e}", shown(path)))?.file_type();
        if kind.is_dir() {
            walk(path, Path::new(""), 0, &mut inputs)?;
        } else {
            // What is no regular file is refused when its turn comes, as a fault of its own.
            let relative = path.file_name().map(PathBuf::from).unwrap_or_default();
            inputs.push(Input { path: path.clone(), relative });
        }
    }
    if inputs.is_empty() {
        return Err("there is no file in what you named".to_owned());
    }
    Ok(inputs)
}

fn walk(dir: &Path, relative: &Path, depth: usize, inputs: &mut Vec<Input>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("{} is more than {MAX_DEPTH} folders deep", shown(dir)));
    }
    let read = |e: std::io::Error| format!("{}: {e}", shown(dir));
    let mut entries = fs::read_dir(dir).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, relative) = (entry.path(), relative.join(entry.file_name()));
        let kind = entry.file_type().map_err(read)?;
        if kind.is_dir() {
            walk(&path, &relative, depth + 1, inputs)?;
        } else if kind.is_file() {
            inputs.push(Input { path, relative });
        } else {
            eprintln!("skipped {}: not a regular file", shown(&path));
        }
    }
    Ok(())
}

impl Input {
    /// The path as it was given; bytes that are not UTF-8 as %XX.
    pub(super) fn name(&self) -> String {
        let mut name = String::new();
        for chunk in self.path.as_os_str().as_bytes().utf8_chunks() {
            name.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|b| name.push_str(&format!("%{b:02X}")));
        }
        name
    }

    /// Reads the file into a snapshot, with the size deciding first, as for an object.
    pub(super) async fn fetch(&self, declared: Option<&str>, limit: ByteSize) -> Result<Fetched, Halt> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_bounded(&path, limit)).await;
        let (size, bytes) = read.map_err(std::io::Error::other).and_then(|r| r).map_err(|e| self.unreadable(&e))?;
        let facts = Facts {
            object: None,
            source_id: None,
            name: self.name(),
            filename: None,
            etag: None,
            size,
            last_modified: None,
            declared: declared.map(essence).into_iter().collect(),
            metadata: std::collections::BTreeMap::new(),
        };
        if let Some(bytes) = bytes {
            return complete(facts, Spool::of_bytes(bytes.into()));
        }
        let detail = format!("{size} bytes where the policy allows {} ({limit})", limit.0);
        let reason = Reason::new(ReasonCode::TooLarge, Stage::Fetch, detail);
        Err(Halt::Reject(Box::new(Rejection::unfetched(facts, reason))))
    }

    fn unreadable(&self, error: &std::io::Error) -> Fault {
        Fault::new(
            FaultCode::SourceMissing,
            Stage::Fetch,
            format!("{} cannot be read: {error}", self.path.to_string_lossy()),
        )
    }
}

/// The size, and the bytes unless they are more than `limit`.
fn read_bounded(path: &Path, limit: ByteSize) -> std::io::Result<(u64, Option<Vec<u8>>)> {
    let not_a_file = || std::io::Error::other("not a regular file");
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(not_a_file());
    }
    // Whoever swaps the file for a link or a pipe in between gains nothing: neither is opened or waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(std::io::Error::other)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    if metadata.len() > limit.0 {
        return Ok((metadata.len(), None));
    }
    let mut bytes = Vec::new();
    file.take(limit.0.saturating_add(1)).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    Ok((size, (size <= limit.0).then_some(bytes)))
}

fn shown(path: &Path) -> String {
    text::printable(&path.to_string_lossy())
}
