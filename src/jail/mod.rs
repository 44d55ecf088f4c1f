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

mod cell;
mod confine;
mod inmate;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::cell::{Allowance, Broken, Cell};
pub use self::confine::{Confinement, Landlock, confine};
pub use self::inmate::serve;
use self::wire::{Reply, Request};
use crate::fault::{Fault, FaultCode};
use crate::image::{self, ImageError, Sanitized};
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::verdict::{Reason, ReasonCode, Stage};

/// How many deaths of children make an image undecodable.
const DEATHS: usize = 2;
/// Images after which a child is replaced: whatever has piled up in it goes with it.
const LIFE: u32 = 1_000;

/// Where images are decoded.
pub struct Jail(Kind);

enum Kind {
    Cells {
        program: PathBuf,
        idle: Mutex<Vec<Cell>>,
        time: Duration,
    },
    /// In this process, guarded against panics only.
    Off,
}

impl Jail {
    /// No jail: images are decoded in this process.
    #[must_use]
    pub fn off() -> Self {
        Self(Kind::Off)
    }

    /// Starts so many children of `program` (this binary), and says what holds them. `time` is the processor time for
    /// one image.
    ///
    /// # Errors
    /// `jail.unavailable` when a child cannot be started.
    pub fn start(program: &Path, cells: usize, time: Duration) -> Result<(Self, Confinement), Fault> {
        let started: io::Result<Vec<Cell>> = (0..cells.max(1)).map(|_| Cell::start(program)).collect();
        let idle = started.map_err(|error| unavailable(format!("no child can be started: {error}")))?;
        let confinement = idle[0].confinement;
        let jail = Self(Kind::Cells { program: program.to_owned(), idle: Mutex::new(idle), time });
        Ok((jail, confinement))
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
        let Kind::Cells { time, .. } = &self.0 else { return Ok(image::sanitize(bytes, media, rules)) };
        let allowed = Allowance { memory: image::memory_needed(bytes, media, rules), time: *time };
        let request = Request { media, rules: rules.clone(), length: bytes.len() };
        let original = wire::sealed(bytes).map_err(|error| unavailable(format!("no memory file: {error}")))?;
        for _ in 0..DEATHS {
            let mut cell = self.take()?;
            let result = wire::empty().map_err(|error| unavailable(format!("no memory file: {error}")))?;
            match cell.ask(&request, [&original, &result], allowed) {
                Ok(reply) => {
                    let answer = opened(reply, &result, allowed)?;
                    self.give_back(cell);
                    return Ok(answer);
                }
                Err(Broken::ByTheImage(how)) => {
                    tracing::warn!(event = "decoder_died", how, "a decoder died of a {media}")
                }
                Err(Broken::TooLong) => {
                    let detail = format!("no answer about a {media} within {} s", (*time * 2).as_secs());
                    return Err(Fault::new(FaultCode::DeadlineExceeded, Stage::Sanitize, detail));
                }
                Err(Broken::Otherwise(why)) => return Err(unavailable(why)),
            }
        }
        let detail = "two decoders died of this image";
        Ok(Err(ImageError::Refused(vec![Reason::new(ReasonCode::Undecodable, Stage::Sanitize, detail)])))
    }

    fn take(&self) -> Result<Cell, Fault> {
        let Kind::Cells { program, idle, .. } = &self.0 else { return Err(unavailable("there is no jail".to_owned())) };
        let cell = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        cell.map_or_else(|| Cell::start(program), Ok)
            .map_err(|error| unavailable(format!("no child can be started: {error}")))
    }

    fn give_back(&self, cell: Cell) {
        if let Kind::Cells { idle, .. } = &self.0
            && cell.served < LIFE
        {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
        }
    }
}

/// What a child has answered, with the bytes in memory of our own.
fn opened(reply: Reply, result: &std::fs::File, allowed: Allowance) -> Result<Result<Sanitized, ImageError>, Fault> {
    match reply {
        Reply::Done { media, length, facts } if length as u64 <= allowed.memory => {
            let bytes =
                wire::read(result, length).map_err(|e| unavailable(format!("a result that is not there: {e}")))?;
            Ok(Ok(Sanitized { media, bytes, facts }))
        }
        Reply::Refused(reasons) if !reasons.is_empty() => Ok(Err(ImageError::Refused(reasons))),
        Reply::Failed(why) => Ok(Err(ImageError::Failed(why))),
        _ => Err(unavailable("a child gives an answer that is none".to_owned())),
    }
}

fn unavailable(detail: String) -> Fault {
    Fault::new(FaultCode::JailUnavailable, Stage::Sanitize, detail)
}
