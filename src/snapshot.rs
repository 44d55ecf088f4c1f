//! The private copy of an upload that a whole job works on.
//!
//! An object is fetched once. Everything after that (identify, scan, sanitize, promote) reads this copy, so an
//! uploader who overwrites the key meanwhile changes nothing (guarantee G2). Small copies stay in memory,
//! larger ones go to a temporary file that has no name: nobody can open it, and a crash leaves nothing behind.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::object::{ByteSize, Sha256};

/// How much is handed to a blocking thread at once, for hashing and for file access.
const BATCH: usize = 256 << 10;

/// Where snapshots go, and how much of the disk they may take together.
#[derive(Debug, Clone)]
pub struct Spool {
    /// Snapshots up to this size stay in memory.
    memory: usize,
    dir: PathBuf,
    /// Free disk budget in KiB.
    disk: Arc<Semaphore>,
}

/// Why a snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the temporary space for snapshots is used up")]
    Full,
    #[error("the temporary file for a snapshot failed: {0}")]
    Io(#[from] io::Error),
}

impl Spool {
    /// Snapshots up to `memory` stay in memory; larger ones share `disk` bytes of temporary space in `dir`
    /// (the system's temporary directory when `None`).
    #[must_use]
    pub fn new(memory: ByteSize, disk: ByteSize, dir: Option<PathBuf>) -> Self {
        Self {
            memory: usize::try_from(memory.0).unwrap_or(usize::MAX),
            dir: dir.unwrap_or_else(std::env::temp_dir),
            disk: Arc::new(Semaphore::new(usize::try_from(disk.0 >> 10).unwrap_or(0).min(Semaphore::MAX_PERMITS))),
        }
    }

    /// A snapshot of bytes that are already here.
    #[must_use]
    pub fn of_bytes(bytes: Bytes) -> Snapshot {
        Snapshot { sha256: Sha256::of(&bytes), data: Data::Memory(bytes) }
    }

    /// Begins a snapshot.
    #[must_use]
    pub fn writer(&self) -> SnapshotWriter {
        SnapshotWriter {
            spool: self.clone(),
            pending: BytesMut::new(),
            sink: Sink { hasher: Hasher::new(), file: None, len: 0 },
            permits: Vec::new(),
        }
    }
}

/// Takes bytes as they arrive, hashing them; [`SnapshotWriter::finish`] makes the [`Snapshot`].
pub struct SnapshotWriter {
    spool: Spool,
    pending: BytesMut,
    sink: Sink,
    permits: Vec<OwnedSemaphorePermit>,
}

/// The part that moves to a blocking thread and back.
struct Sink {
    hasher: Hasher,
    file: Option<File>,
    len: u64,
}

impl SnapshotWriter {
    /// The bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sink.len + self.pending.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes some more bytes. The caller bounds their number.
    ///
    /// # Errors
    /// [`SpoolError::Full`] when the temporary space is used up by other jobs.
    pub async fn write(mut self, chunk: &[u8]) -> Result<Self, SpoolError> {
        self.pending.extend_from_slice(chunk);
        let overflows = self.pending.len() > self.spool.memory && self.pending.len() >= BATCH;
        if self.sink.file.is_some() && self.pending.len() >= BATCH || overflows { self.flush().await } else { Ok(self) }
    }

    /// Hashes and writes what is pending, off the runtime.
    async fn flush(mut self) -> Result<Self, SpoolError> {
        let kib = u32::try_from(self.pending.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = self.spool.disk.clone().try_acquire_many_owned(kib).map_err(|_| SpoolError::Full)?;
        self.permits.push(permit);
        let (pending, dir, mut sink) = (self.pending.split(), self.spool.dir.clone(), self.sink);
        self.sink = blocking(move || {
            let file = match &mut sink.file {
                Some(file) => file,
                none => none.insert(tempfile::tempfile_in(dir)?),
            };
            file.write_all(&pending)?;
            sink.hasher.update(&pending);
            sink.len += pending.len() as u64;
            Ok(sink)
        })
        .await?;
        Ok(self)
    }

    /// All bytes are in: the snapshot is complete and never changes again.
    ///
    /// # Errors
    /// As [`SnapshotWriter::write`].
    pub async fn finish(mut self) -> Result<Snapshot, SpoolError> {
        if self.sink.file.is_some() {
            self = self.flush().await?;
            let Self { sink, permits, .. } = self;
            let file = sink.file.ok_or_else(|| io::Error::other("the snapshot's file vanished"))?;
            let data = Data::File { file: Arc::new(file), len: sink.len, _disk: Arc::new(permits) };
            return Ok(Snapshot { data, sha256: sink.hasher.into() });
        }
        let bytes = self.pending.freeze();
        if bytes.len() < BATCH {
            return Ok(Spool::of_bytes(bytes));
        }
        blocking(move || Ok(Spool::of_bytes(bytes))).await.map_err(SpoolError::from)
    }
}

/// The frozen bytes of one upload and their digest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    data: Data,
    sha256: Sha256,
}

#[derive(Debug, Clone)]
enum Data {
    Memory(Bytes),
    File { file: Arc<File>, len: u64, _disk: Arc<Vec<OwnedSemaphorePermit>> },
}

impl Snapshot {
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.data {
            Data::Memory(bytes) => bytes.len() as u64,
            Data::File { len, .. } => *len,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, read into memory where they are in a file. Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn load(&self) -> io::Result<Bytes> {
        match &self.data {
            Data::Memory(bytes) => Ok(bytes.clone()),
            Data::File { file, len, .. } => read_at(file, 0, usize::try_from(*len).map_err(io::Error::other)?),
        }
    }

    /// Up to a batch of bytes at `offset`, empty at the end: for streaming without holding the whole.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(BATCH);
        match &self.data {
            Data::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start + left))
            }
            Data::File { file, .. } => {
                let file = Arc::clone(file);
                blocking(move || read_at(&file, offset, left)).await
            }
        }
    }
}

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; len];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

/// Runs `work` on a blocking thread. A panic there is an error here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn snapshot(spool: &Spool, bytes: &[u8]) -> Result<Snapshot, SpoolError> {
        let mut writer = spool.writer();
        for chunk in bytes.chunks(10_000) {
            writer = writer.write(chunk).await?;
        }
        writer.finish().await
    }

    #[tokio::test]
    async fn memory_and_file_hold_the_same_bytes() {
        let bytes: Vec<u8> = (0..3_000_001u32).flat_map(u32::to_le_bytes).take(3_000_001).collect();
        let in_memory = Spool::new(ByteSize::mib(8), ByteSize(0), None);
        let on_disk = Spool::new(ByteSize(1 << 10), ByteSize::mib(8), None);
        for spool in [in_memory, on_disk] {
            let snapshot = snapshot(&spool, &bytes).await.unwrap();
            assert_eq!((snapshot.len(), snapshot.sha256()), (3_000_001, Sha256::of(&bytes)));
            assert!(snapshot.load().unwrap() == bytes);
            let mut read = Vec::new();
            while let chunk = snapshot.chunk(read.len() as u64).await.unwrap()
                && !chunk.is_empty()
            {
                read.extend_from_slice(&chunk);
            }
            assert!(read == bytes);
        }
    }

    #[tokio::test]
    async fn temporary_space_is_bounded_and_given_back() {
        let spool = Spool::new(ByteSize(0), ByteSize::mib(2), None);
        let first = snapshot(&spool, &vec![1; 1_500_000]).await.unwrap();
        assert!(matches!(snapshot(&spool, &vec![2; 1_500_000]).await, Err(SpoolError::Full)));
        drop(first);
        assert!(snapshot(&spool, &vec![2; 1_500_000]).await.is_ok());
    }
}
