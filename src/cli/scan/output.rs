//! Where `--out` puts the sanitized files: under the same relative paths, never over an existing file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::inputs::Input;
use crate::fault::{Fault, FaultCode};
use crate::media::MediaType;
use crate::stage::Sanitized;
use crate::text;
use crate::verdict::{Output, Stage};

/// Finds collisions before any work is done.
pub(super) fn check(dir: &Path, inputs: &[Input]) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    for input in inputs {
        let shown = text::printable(&input.relative.to_string_lossy());
        if !taken.insert(&input.relative) {
            return Err(format!("two files would be written to {shown}; scan them in separate runs"));
        }
        if dir.join(&input.relative).symlink_metadata().is_ok() {
            return Err(format!("{shown} exists already in {}; existing files are never overwritten", dir.display()));
        }
    }
    Ok(())
}

/// Writes a file under a temporary name and then gives it its own.
pub(super) async fn write(dir: &Path, input: &Input, file: &Sanitized) -> Result<Output, Fault> {
    let relative = relative(input, file.source_media(), file.media());
    let (target, snapshot) = (dir.join(&relative), file.output().clone());
    let written = tokio::task::spawn_blocking(move || {
        let parent = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)?;
        let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
        std::io::Write::write_all(&mut temporary, &snapshot.load()?)?;
        temporary.persist_noclobber(&target).map_err(|e| e.error)?;
        Ok::<_, std::io::Error>(())
    });
    let key = relative.to_string_lossy().into_owned();
    written.await.map_err(std::io::Error::other).and_then(|r| r).map_err(|e| {
        let detail = format!("{key} cannot be written: {e}");
        Fault::new(FaultCode::StoreConflict, Stage::Store, detail)
    })?;
    Ok(Output {
        bucket: None,
        key,
        version_id: None,
        etag: None,
        size: file.output().len(),
        sha256: Some(file.output().sha256()),
        content_type: file.media().mime().to_owned(),
    })
}

/// The extension follows the type where sanitizing changed it.
fn relative(input: &Input, was: MediaType, is: MediaType) -> PathBuf {
    match is.extensions().first() {
        Some(extension) if was != is => input.relative.with_extension(extension),
        _ => input.relative.clone(),
    }
}
