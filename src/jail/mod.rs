//! The jail: images are decoded and encoded by children of the worker that have given up everything else.
//!
//! A decoder is the largest and the most attacked piece of code that an uploader reaches. Here it runs in a process
//! that can open nothing, reach nobody, start nothing, and has the memory and the processor time that its image needs
//! by its header. The child decides nothing: it gets an original that nobody can change any more, and its answer is
//! walked over like an upload before it is believed.
//!
//! ```text
//! worker  -- original (sealed memory file), empty file, rules -->  child     src/jail/wire.rs
//!         <-- facts, or reasons; the result is in the file ------
//! ```
//!
//! Children are started ahead, reused, and replaced after a while or when they break. An image that two of them have
//! died of is `undecodable`; whatever else happens to a child is a fault.

#[cfg(target_os = "linux")]
mod cell;
#[cfg(target_os = "linux")]
mod cells;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod inmate;
#[cfg(target_os = "linux")]
mod wire;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use self::cells::Cells;
#[cfg(target_os = "linux")]
pub use self::inmate::serve;
use crate::fault::Fault;
use crate::image::{self, ImageError, Sanitized};
use crate::media::MediaType;
use crate::policy::ImageRules;

/// The layers that hold a child. What the kernel lacks is told, never skipped in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// No path, no TCP port, no abstract socket, no signal to anybody else. From Linux 5.13; ports from 6.7, sockets
    /// and signals from 6.12.
    pub landlock: Landlock,
    /// Only the listed system calls.
    pub seccomp: bool,
    /// No second process, few descriptors, no core files; memory and processor time are set for each image.
    pub rlimits: bool,
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    Full,
    /// Paths, and not all of the rest.
    Partial,
    Missing,
}

impl Confinement {
    pub const LAYERS: [&'static str; 3] = ["landlock", "seccomp", "rlimits"];

    /// Whether each of [`Self::LAYERS`] is there. An older Landlock still guards the file system, and seccomp the rest.
    #[must_use]
    pub fn layers(self) -> [bool; 3] {
        [self.landlock != Landlock::Missing, self.seccomp, self.rlimits]
    }

    /// The layers that are missing.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        let layers = Self::LAYERS.into_iter().zip(self.layers());
        layers.filter(|(_, there)| !there).map(|(name, _)| name).collect()
    }
}

/// Told of each child that had to be replaced: `image`, `time` or `other`.
pub type OnLoss = Box<dyn Fn(&'static str) + Send + Sync>;

/// Where images are decoded.
pub struct Jail(Kind);

enum Kind {
    #[cfg(target_os = "linux")]
    Cells(Cells),
    /// In this process, guarded against panics only.
    Off,
}

impl Jail {
    /// No jail: images are decoded in this process.
    #[must_use]
    pub fn off() -> Self {
        Self(Kind::Off)
    }

    /// Starts so many children of `program` (this binary), has one of them decode an image of each kind, and says what
    /// holds them. `time` is the processor time for one image.
    ///
    /// # Errors
    /// `jail.unavailable` when a child cannot be started or does not pass.
    #[cfg(target_os = "linux")]
    pub fn start(program: &Path, cells: usize, time: Duration, on_loss: OnLoss) -> Result<(Self, Confinement), Fault> {
        let (cells, confinement) = Cells::start(program, cells, time, on_loss)?;
        Ok((Self(Kind::Cells(cells)), confinement))
    }

    /// There are no children on this system: nothing holds the decoders but the language they are written in.
    #[cfg(not(target_os = "linux"))]
    pub fn start(_: &Path, _: usize, _: Duration, _: OnLoss) -> Result<(Self, Confinement), Fault> {
        Ok((Self::off(), Confinement { landlock: Landlock::Missing, seccomp: false, rlimits: false }))
    }

    /// Sanitizes an image as [`image::sanitize`] does. Blocks for as long as that takes.
    ///
    /// # Errors
    /// `jail.unavailable` and `deadline.exceeded`; within, what the image is refused for.
    pub fn sanitize(
        &self,
        bytes: &[u8],
        media: MediaType,
        rules: &ImageRules,
    ) -> Result<Result<Sanitized, ImageError>, Fault> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Kind::Cells(cells) => cells.sanitize(bytes, media, rules),
            Kind::Off => Ok(image::sanitize(bytes, media, rules)),
        }
    }
}

/// A child of the jail; there is none on this system.
#[cfg(not(target_os = "linux"))]
pub fn serve() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
