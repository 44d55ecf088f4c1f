//! The children of one worker: taken for an image, given back, replaced after a while or when they break.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cell::{self, Allowance, Broken, Cell};
use super::wire::{self, Reply, Request};
use super::{Confinement, OnLoss};
use crate::fault::{Fault, FaultCode};
use crate::image::{self, ImageError, Sanitized};
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::text;
use crate::verdict::{Action, MAX_DETAIL, Reason, ReasonCode, Sanitization, Stage, ranked};

/// How many deaths of children make an image undecodable.
const DEATHS: usize = 2;
/// Images after which a child is replaced: whatever has piled up in it goes with it.
const LIFE: u32 = 1_000;

pub(super) struct Cells {
    pub program: PathBuf,
    pub idle: Mutex<Vec<Cell>>,
    /// Processor time for one image.
    pub time: Duration,
    pub on_loss: OnLoss,
}

impl Cells {
    pub fn start(program: &Path, cells: usize, time: Duration, on_loss: OnLoss) -> Result<(Self, Confinement), Fault> {
        let started: io::Result<Vec<Cell>> = (0..cells.max(1)).map(|_| Cell::start(program)).collect();
        let idle = started.map_err(|error| unavailable(format!("no child can be started: {error}")))?;
        let confinement = idle[0].confinement;
        let cells = Cells { program: program.to_owned(), idle: Mutex::new(idle), time, on_loss };
        for (media, bytes) in image::specimens().map_err(unavailable)? {
            // A library that needs a system call nobody has thought of must show now, not as a finding about a file.
            cells
                .sanitize(&bytes, media, &ImageRules::default())?
                .map_err(|error| unavailable(format!("a child does not pass its test with a {media}: {error:?}")))?;
        }
        Ok((cells, confinement))
    }

    pub fn sanitize(
        &self,
        bytes: &[u8],
        media: MediaType,
        rules: &ImageRules,
    ) -> Result<Result<Sanitized, ImageError>, Fault> {
        let allowed = Allowance { memory: image::memory_needed(bytes, media, rules), time: self.time };
        let request = Request { media, rules: rules.clone(), length: bytes.len() };
        let no_file = |error| unavailable(format!("no memory file: {error}"));
        let original = wire::sealed(bytes).map_err(no_file)?;
        for _ in 0..DEATHS {
            let (mut cell, result) = (self.take()?, wire::empty().map_err(no_file)?);
            let reply = cell.ask(&request, [&original, &result], allowed).map(|reply| opened(reply, &result, allowed));
            match reply {
                Ok(Some(answer)) => {
                    self.give_back(cell);
                    return Ok(answer);
                }
                Ok(None) => return Err(self.lost("other", "a child gives an answer that is none")),
                Err(Broken::Otherwise(why)) => return Err(self.lost("other", &why)),
                Err(Broken::TooLong) => {
                    (self.on_loss)("time");
                    let detail = format!("no answer about a {media} within {} s", cell::patience(self.time).as_secs());
                    return Err(Fault::new(FaultCode::DeadlineExceeded, Stage::Sanitize, detail));
                }
                Err(Broken::ByTheImage(how)) => {
                    (self.on_loss)("image");
                    tracing::warn!(event = "decoder_died", how, "a decoder died of a {media}: {how}");
                }
            }
        }
        let detail = "two decoders died of this image";
        Ok(Err(ImageError::Refused(vec![Reason::new(ReasonCode::Undecodable, Stage::Sanitize, detail)])))
    }

    fn lost(&self, how: &'static str, why: &str) -> Fault {
        (self.on_loss)(how);
        unavailable(why)
    }

    fn take(&self) -> Result<Cell, Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let cell = idle.map_or_else(|| Cell::start(&self.program), Ok);
        cell.map_err(|error| unavailable(format!("no child can be started: {error}")))
    }

    fn give_back(&self, cell: Cell) {
        if cell.served < LIFE {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
        }
    }
}

/// What a child has answered, in memory of our own and in our own words. `None` where it makes no sense.
fn opened(reply: Reply, result: &std::fs::File, allowed: Allowance) -> Option<Result<Sanitized, ImageError>> {
    match reply {
        Reply::Done { media, length, facts } if length as u64 <= allowed.memory => {
            let bytes = wire::read(result, length).ok()?;
            Some(Ok(Sanitized { media, bytes, facts: Sanitization { action: Action::Reencoded, ..facts } }))
        }
        Reply::Refused(reasons) if !reasons.is_empty() => {
            let ours = |reason: &Reason| Reason::new(reason.code, Stage::Sanitize, &reason.detail);
            Some(Err(ImageError::Refused(ranked(reasons.iter().map(ours).collect()))))
        }
        Reply::Failed(why) => Some(Err(ImageError::Failed(text::printable_within(&why, MAX_DETAIL)))),
        _ => None,
    }
}

fn unavailable(detail: impl AsRef<str>) -> Fault {
    Fault::new(FaultCode::JailUnavailable, Stage::Sanitize, detail)
}
