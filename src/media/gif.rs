//! GIF: blocks from the logical screen to the trailer (GIF89a).

use super::findings::Findings;
use super::{ImageFacts, tail};
use crate::verdict::ReasonCode::{Malformed, Truncated};

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    frames: u32,
}

pub(crate) fn walk(bytes: &[u8]) -> (Findings, ImageFacts) {
    let mut facts = ImageFacts::default();
    let Some(&[w0, w1, h0, h1, flags, _, _]) = bytes.get(6..13).and_then(|b| <&[u8; 7]>::try_from(b).ok()) else {
        return (Findings::only(Truncated, "the GIF ends within its header"), facts);
    };
    let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
    facts = ImageFacts { width: width.into(), height: height.into(), frames: 0 };
    let mut walk = Walk { bytes, at: 13 + color_table(flags), frames: 0 };
    let mut findings = Findings::default();
    match walk.blocks() {
        Ok(end) => tail::judge(bytes.get(end..).unwrap_or_default(), "the GIF", &mut findings),
        Err(stopped) => findings = stopped,
    }
    facts.frames = walk.frames;
    if walk.frames == 0 && findings.reasons.is_empty() {
        findings.add(Malformed, "the GIF has no picture");
    }
    if (width == 0 || height == 0) && findings.reasons.is_empty() {
        findings.add(Malformed, format!("a GIF of {width} x {height} pixels"));
    }
    (findings, facts)
}

/// The bytes of the colour table that `flags` announce.
fn color_table(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

impl Walk<'_> {
    /// The offset behind the trailer. A file that ends exactly behind a whole frame is accepted, as browsers do.
    fn blocks(&mut self) -> Result<usize, Findings> {
        loop {
            match self.bytes.get(self.at) {
                Some(0x3B) => return Ok(self.at + 1),
                Some(0x21) => {
                    self.at += 2;
                    self.sub_blocks()?;
                }
                Some(0x2C) => self.image()?,
                Some(_) => {
                    return Err(Findings::only(Malformed, format!("no GIF block at byte {}", self.at)));
                }
                None if self.at == self.bytes.len() && self.frames > 0 => return Ok(self.at),
                None => return Err(truncated()),
            }
        }
    }

    fn image(&mut self) -> Result<(), Findings> {
        let flags = *self.bytes.get(self.at + 9).ok_or_else(truncated)?;
        let size = self.bytes.get(self.at + 5..self.at + 9).unwrap_or_default();
        if size.chunks(2).any(|side| side == [0, 0]) {
            return Err(Findings::only(Malformed, "the GIF has a frame without a size"));
        }
        self.at += 10 + color_table(flags);
        let minimum_code = *self.bytes.get(self.at).ok_or_else(truncated)?;
        // Codes have at most 12 bits. The standard knows 2 to 8; encoders in the wild write 1, and up to 11.
        if !(1..=11).contains(&minimum_code) {
            return Err(Findings::only(Malformed, format!("a GIF frame with a code size of {minimum_code}")));
        }
        self.at += 1;
        self.sub_blocks()?;
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }

    fn sub_blocks(&mut self) -> Result<(), Findings> {
        loop {
            let length = usize::from(*self.bytes.get(self.at).ok_or_else(truncated)?);
            self.at += 1 + length;
            if length == 0 {
                return Ok(());
            }
            if self.at > self.bytes.len() {
                return Err(truncated());
            }
        }
    }
}

fn truncated() -> Findings {
    Findings::only(Truncated, "the GIF ends before its trailer")
}
