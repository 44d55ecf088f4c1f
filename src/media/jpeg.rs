//! JPEG: segments by their length up to the first end-of-image marker (ITU-T T.81, annex B).

use super::findings::Findings;
use super::{ImageFacts, tail};
use crate::verdict::ReasonCode::{Malformed, Truncated, Undecodable};

/// More segments than this in one file are a way to waste time; cameras write some dozens.
const MAX_SEGMENTS: usize = 10_000;

/// How the walk goes on behind a marker.
enum Step {
    Next(usize),
    End(usize),
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    dimensions: Option<(u32, u32)>,
    scans: usize,
}

pub(crate) fn walk(bytes: &[u8]) -> (Findings, ImageFacts) {
    let mut walk = Walk { bytes, at: 2, dimensions: None, scans: 0 };
    let mut facts = ImageFacts::default();
    let end = match walk.run() {
        Ok(end) => end,
        Err(findings) => return (findings, facts),
    };
    let Some((width, height)) = walk.dimensions else {
        return (Findings::only(Malformed, "the JPEG has no frame header"), facts);
    };
    if walk.scans == 0 {
        return (Findings::only(Malformed, "the JPEG has no picture data"), facts);
    }
    facts = ImageFacts { width, height, frames: 1 };
    let mut findings = Findings::default();
    tail::judge(bytes.get(end..).unwrap_or_default(), "the JPEG", &mut findings);
    (findings, facts)
}

impl Walk<'_> {
    /// The offset behind the end-of-image marker.
    fn run(&mut self) -> Result<usize, Findings> {
        for _ in 0..MAX_SEGMENTS {
            match self.segment()? {
                Step::Next(at) => self.at = at,
                Step::End(at) => return Ok(at),
            }
        }
        Err(Findings::only(Malformed, format!("the JPEG has more than {MAX_SEGMENTS} segments")))
    }

    /// One marker and what belongs to it.
    fn segment(&mut self) -> Result<Step, Findings> {
        let truncated = || Findings::only(Truncated, "the JPEG ends before its end marker");
        if self.bytes.get(self.at) != Some(&0xFF) {
            return match self.bytes.get(self.at) {
                None => Err(truncated()),
                Some(_) => Err(Findings::only(Malformed, format!("no JPEG marker at byte {}", self.at))),
            };
        }
        // Any number of FF may stand before a marker.
        let fill = self.bytes.get(self.at..).unwrap_or_default().iter().take_while(|b| **b == 0xFF).count();
        let marker = *self.bytes.get(self.at + fill).ok_or_else(truncated)?;
        let body = self.at + fill + 1;
        match marker {
            0xD9 => Ok(Step::End(body)),
            // A lone restart marker or TEM has no length.
            0xD0..=0xD7 | 0x01 => Ok(Step::Next(body)),
            0xD8 => Err(Findings::only(Malformed, format!("a second start of image at byte {}", self.at))),
            0x00 => Err(Findings::only(Malformed, format!("no JPEG marker at byte {}", self.at))),
            _ => self.with_length(marker, body),
        }
    }

    fn with_length(&mut self, marker: u8, body: usize) -> Result<Step, Findings> {
        let truncated = || Findings::only(Truncated, "the JPEG ends within a segment");
        let length = self.bytes.get(body..body + 2).ok_or_else(truncated)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(Findings::only(Malformed, format!("a segment of length {length} at byte {body}")));
        }
        let payload = self.bytes.get(body + 2..body + length).ok_or_else(truncated)?;
        match marker {
            0xC0..=0xC2 => self.frame(payload)?,
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let kind = "a lossless, hierarchical or arithmetic-coded JPEG, which browsers do not show";
                return Err(Findings::only(Undecodable, kind));
            }
            0xDA => {
                self.scans += 1;
                return Ok(Step::Next(self.behind_scan(body + length).ok_or_else(truncated)?));
            }
            _ => {}
        }
        Ok(Step::Next(body + length))
    }

    fn frame(&mut self, payload: &[u8]) -> Result<(), Findings> {
        let &[_, h1, h0, w1, w0, components, ..] = payload else {
            return Err(Findings::only(Malformed, "the JPEG's frame header is too short"));
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if width == 0 || height == 0 || components == 0 {
            return Err(Findings::only(Malformed, format!("a JPEG of {width} x {height} pixels")));
        }
        // Another frame header would let a decoder see another size than we did.
        if self.dimensions.replace((width.into(), height.into())).is_some() {
            return Err(Findings::only(Malformed, "the JPEG has two frame headers"));
        }
        Ok(())
    }

    /// The next marker behind entropy-coded data, in which `FF 00` is a byte and `FF D0` to `FF D7` restart.
    fn behind_scan(&self, start: usize) -> Option<usize> {
        let mut at = start;
        loop {
            at += self.bytes.get(at..)?.iter().position(|b| *b == 0xFF)?;
            match *self.bytes.get(at + 1)? {
                0x00 | 0xD0..=0xD7 => at += 2,
                0xFF => at += 1,
                _ => return Some(at),
            }
        }
    }
}
