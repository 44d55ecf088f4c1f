//! PNG: chunks with their checksums from the header to the end chunk (W3C PNG, third edition).

use super::findings::Findings;
use super::{ImageFacts, tail};
use crate::verdict::ReasonCode::{ArchiveBomb, Malformed, Truncated};

const SIGNATURE: usize = 8;
/// More chunks than this besides picture data; real files have some dozens.
const MAX_OTHER_CHUNKS: usize = 4_096;
/// Chunks in all: with a minimum of 12 bytes each this bounds the work on tiny ones.
const MAX_CHUNKS: usize = 200_000;

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
    end: usize,
}

#[derive(Default)]
struct Seen {
    color: u8,
    palette: bool,
    data: bool,
    /// Picture data has ended: another IDAT would not be consecutive.
    data_over: bool,
    others: usize,
    frames: u32,
}

pub(crate) fn walk(bytes: &[u8]) -> (Findings, ImageFacts) {
    let (mut seen, mut facts) = (Seen::default(), ImageFacts::default());
    match chunks(bytes, &mut seen, &mut facts) {
        Ok(end) => {
            let mut findings = Findings::default();
            facts.frames = seen.frames.max(1);
            tail::judge(bytes.get(end..).unwrap_or_default(), "the PNG", &mut findings);
            (findings, facts)
        }
        Err(findings) => (findings, facts),
    }
}

/// The offset behind IEND.
fn chunks(bytes: &[u8], seen: &mut Seen, facts: &mut ImageFacts) -> Result<usize, Findings> {
    let mut at = SIGNATURE;
    for index in 0..MAX_CHUNKS {
        let chunk = chunk(bytes, at)?;
        if (index == 0) != (&chunk.name == b"IHDR") {
            return Err(Findings::only(Malformed, "the PNG does not begin with one header chunk"));
        }
        one(&chunk, seen, facts)?;
        if &chunk.name == b"IEND" {
            return Ok(chunk.end);
        }
        at = chunk.end;
    }
    Err(Findings::only(Malformed, format!("the PNG has more than {MAX_CHUNKS} chunks")))
}

/// The chunk at `at`, its checksum verified: a wrong one is damage or the work of a tool that hides something.
fn chunk(bytes: &[u8], at: usize) -> Result<Chunk<'_>, Findings> {
    let truncated = || Findings::only(Truncated, "the PNG ends before its end chunk");
    let head = bytes.get(at..at + 8).ok_or_else(truncated)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let name = [head[4], head[5], head[6], head[7]];
    if length > i32::MAX as u32 || !name.iter().all(u8::is_ascii_alphabetic) {
        return Err(Findings::only(Malformed, format!("no PNG chunk at byte {at}")));
    }
    let length = usize::try_from(length).map_err(|_| truncated())?;
    let data = bytes.get(at + 8..at + 8 + length).ok_or_else(truncated)?;
    let end = at + 12 + length;
    let stored = bytes.get(end - 4..end).ok_or_else(truncated)?;
    let mut crc = flate2::Crc::new();
    crc.update(&name);
    crc.update(data);
    if crc.sum().to_be_bytes() != stored {
        let name = String::from_utf8_lossy(&name).into_owned();
        return Err(Findings::only(Malformed, format!("the checksum of chunk {name} at byte {at} is wrong")));
    }
    Ok(Chunk { name, data, end })
}

fn one(chunk: &Chunk<'_>, seen: &mut Seen, facts: &mut ImageFacts) -> Result<(), Findings> {
    let malformed = |what: &str| Err(Findings::only(Malformed, what));
    match &chunk.name {
        b"IHDR" => return header(chunk.data, seen, facts),
        b"PLTE" => {
            let entries = chunk.data.len();
            if seen.palette || seen.data || entries == 0 || entries > 768 || entries % 3 != 0 {
                return malformed("the PNG's palette is misplaced or of a wrong size");
            }
            seen.palette = true;
        }
        b"IDAT" => {
            if seen.data_over || (seen.color == 3 && !seen.palette) {
                return malformed("the PNG's picture data is out of order");
            }
            seen.data = true;
            return Ok(());
        }
        b"fdAT" if !seen.data || chunk.data.len() < 4 => return malformed("an animation frame without its picture"),
        b"fdAT" => {}
        b"fcTL" => seen.frames = seen.frames.saturating_add(1),
        b"IEND" => {
            if !chunk.data.is_empty() || !seen.data {
                return malformed("the PNG has no picture data");
            }
            return Ok(());
        }
        // An unknown chunk that claims to be necessary is one that no decoder of ours can do without.
        [first, ..] if first.is_ascii_uppercase() => return malformed("the PNG has an unknown critical chunk"),
        _ => {}
    }
    seen.data_over |= seen.data;
    if &chunk.name != b"fdAT" {
        seen.others += 1;
    }
    if seen.others > MAX_OTHER_CHUNKS {
        return Err(Findings::only(
            ArchiveBomb,
            format!("more than {MAX_OTHER_CHUNKS} chunks beside the picture data"),
        ));
    }
    Ok(())
}

fn header(data: &[u8], seen: &mut Seen, facts: &mut ImageFacts) -> Result<(), Findings> {
    let malformed = |what: &str| Err(Findings::only(Malformed, what));
    let &[w3, w2, w1, w0, h3, h2, h1, h0, depth, color, compression, filter, interlace] = data else {
        return malformed("the PNG's header has a wrong size");
    };
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    let legal = matches!((color, depth), (0, 1 | 2 | 4 | 8 | 16) | (2 | 4 | 6, 8 | 16) | (3, 1 | 2 | 4 | 8));
    if width == 0 || height == 0 || width > i32::MAX as u32 || height > i32::MAX as u32 {
        return malformed("the PNG's size is not a size");
    }
    if !legal || compression != 0 || filter != 0 || interlace > 1 {
        return malformed("the PNG's header names an unknown depth, colour or method");
    }
    seen.color = color;
    *facts = ImageFacts { width, height, frames: 1 };
    Ok(())
}
