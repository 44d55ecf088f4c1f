//! WebP: chunks within the RIFF size, the canvas against the bitstream (RFC 9649).

use super::findings::Findings;
use super::{ImageFacts, tail};
use crate::verdict::ReasonCode::{Malformed, Truncated};

/// More chunks than this besides frames; real files have a handful.
const MAX_CHUNKS: usize = 100_000;

#[derive(Default)]
struct Seen {
    canvas: Option<(u32, u32)>,
    still: Option<(u32, u32)>,
    animated: bool,
    frames: u32,
}

pub(crate) fn walk(bytes: &[u8]) -> (Findings, ImageFacts) {
    let mut seen = Seen::default();
    let end = match chunks(bytes, &mut seen) {
        Ok(end) => end,
        Err(findings) => return (findings, ImageFacts::default()),
    };
    let Some((width, height)) = seen.canvas.or(seen.still) else {
        return (Findings::only(Malformed, "the WebP has no picture"), ImageFacts::default());
    };
    let facts = ImageFacts { width, height, frames: seen.frames.max(1) };
    let mut findings = Findings::default();
    if seen.animated == (seen.frames == 0) || (!seen.animated && seen.still.is_none()) {
        findings.add(Malformed, "the WebP's header and its frames disagree");
    }
    if !seen.animated && seen.canvas.zip(seen.still).is_some_and(|(canvas, still)| canvas != still) {
        findings.add(Malformed, "the WebP's canvas is not the size of its picture");
    }
    tail::judge(bytes.get(end..).unwrap_or_default(), "the WebP", &mut findings);
    (findings, facts)
}

/// The offset behind the RIFF container.
fn chunks(bytes: &[u8], seen: &mut Seen) -> Result<usize, Findings> {
    let truncated = || Findings::only(Truncated, "the WebP ends before its RIFF size");
    let size = bytes.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or_else(truncated)?;
    let end = usize::try_from(size).ok().and_then(|s| s.checked_add(8)).ok_or_else(truncated)?;
    let inside = bytes.get(..end).ok_or_else(truncated)?;
    let mut at = 12;
    for index in 0..MAX_CHUNKS {
        if at == end {
            return Ok(end);
        }
        let malformed = || Findings::only(Malformed, format!("no WebP chunk at byte {at}"));
        let head = inside.get(at..at + 8).ok_or_else(malformed)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let length = usize::try_from(length).map_err(|_| malformed())?;
        let stop = at.checked_add(8).and_then(|a| a.checked_add(length)).ok_or_else(malformed)?;
        let data = inside.get(at + 8..stop).ok_or_else(malformed)?;
        chunk(&head[..4], data, index, seen)?;
        // Chunks are padded to an even size; the last pad byte is missing in some files.
        at = (stop + length % 2).min(end);
    }
    Err(Findings::only(Malformed, format!("the WebP has more than {MAX_CHUNKS} chunks")))
}

fn chunk(name: &[u8], data: &[u8], index: usize, seen: &mut Seen) -> Result<(), Findings> {
    let malformed = |what: &str| Findings::only(Malformed, what);
    match name {
        b"VP8X" if index == 0 => {
            let &[flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = data else {
                return Err(malformed("the WebP's header is too short"));
            };
            seen.animated = flags & 0x02 != 0;
            let side = |a, b, c| u32::from_le_bytes([a, b, c, 0]) + 1;
            seen.canvas = Some((side(w0, w1, w2), side(h0, h1, h2)));
        }
        b"VP8X" => return Err(malformed("the WebP's header is not its first chunk")),
        b"VP8 " | b"VP8L" if seen.animated || seen.still.is_some() => {
            return Err(malformed("the WebP has a second picture outside of a frame"));
        }
        b"VP8 " => seen.still = Some(lossy(data).ok_or_else(|| malformed("the WebP's picture has no VP8 header"))?),
        b"VP8L" => {
            seen.still = Some(lossless(data).ok_or_else(|| malformed("the WebP's picture has no VP8L header"))?);
        }
        b"ANMF" if !seen.animated || data.len() < 24 => return Err(malformed("a WebP frame where none may be")),
        b"ANMF" => seen.frames = seen.frames.saturating_add(1),
        _ if index == 0 => return Err(malformed("the WebP does not begin with a picture or a header")),
        _ => {}
    }
    Ok(())
}

/// Width and height of a lossy key frame (RFC 6386, 9.1).
fn lossy(data: &[u8]) -> Option<(u32, u32)> {
    let &[frame, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1, ..] = data else { return None };
    let side = |a, b| u32::from(u16::from_le_bytes([a, b]) & 0x3FFF);
    let (width, height) = (side(w0, w1), side(h0, h1));
    (frame & 1 == 0 && width > 0 && height > 0).then_some((width, height))
}

fn lossless(data: &[u8]) -> Option<(u32, u32)> {
    let &[0x2F, a, b, c, d, ..] = data else { return None };
    let bits = u32::from_le_bytes([a, b, c, d]);
    Some(((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
}
