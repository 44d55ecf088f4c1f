//! PNG and APNG: chunk by chunk, checksums included (PNG third edition, sections 5 and 11).
//!
//! Picture data is not inflated here: the decoder does that under its own limits. Compressed text and colour
//! profiles are never inflated at all, because the output carries neither.

use super::bytes::{array, index, u32_be};
use super::findings::{Walk, bomb, malformed, truncated};
use super::image_facts::Canvas;
use crate::limits::StructureLimits;

pub(super) const MAGIC: &[u8] = b"\x89PNG\r\n\x1A\n";

const MAX_CHUNK_LENGTH: u32 = 0x7FFF_FFFF;

struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    /// Where the next chunk begins.
    end: usize,
}

/// What has been seen so far, for the rules of order.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact about the chunks so far, and they do not exclude each other"
)]
struct Order {
    colour: u8,
    palette: bool,
    idat: bool,
    idat_over: bool,
    /// The frame count that `acTL` announced.
    announced: Option<u32>,
    frames: u32,
    /// The next sequence number of `fcTL` and `fdAT`.
    sequence: u32,
    /// Whether the last `fcTL` still waits for its data.
    frame_open: bool,
}

/// Walks to IEND. `canvas` is set from IHDR at once and gets its frames at the end.
pub(super) fn walk(bytes: &[u8], canvas: &mut Option<Canvas>) -> Walk<usize> {
    let header = chunk(bytes, MAGIC.len())?;
    if &header.kind != b"IHDR" {
        return Err(malformed("the first chunk is not IHDR"));
    }
    let mut order = Order { colour: *header.data.get(9).unwrap_or(&0), ..Order::default() };
    let size = image_header(header.data)?;
    *canvas = Some(size);
    let (mut at, mut others) = (header.end, 0usize);
    loop {
        let next = chunk(bytes, at)?;
        at = next.end;
        if !matches!(&next.kind, b"IDAT" | b"fdAT") {
            others += 1;
            if others > StructureLimits::CHUNKS {
                return Err(bomb(format!("more than {} chunks besides picture data", StructureLimits::CHUNKS)));
            }
        }
        if &next.kind == b"IEND" {
            order.close(&next)?;
            let frames = order.frames.max(order.announced.unwrap_or(1)).max(1);
            *canvas = Some(Canvas { frames, ..size });
            return Ok(at);
        }
        order.accept(&next, size)?;
        *canvas = Some(Canvas { frames: order.frames.max(1), ..size });
    }
}

/// The chunk at `at`, its checksum verified: a decoder that ignores a wrong one would read something else.
fn chunk(bytes: &[u8], at: usize) -> Walk<Chunk<'_>> {
    let (Some(length), Some(kind)) = (u32_be(bytes, at), array::<4>(bytes, at + 4)) else {
        return Err(truncated("the file ends before IEND"));
    };
    if length > MAX_CHUNK_LENGTH || !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(malformed(format!("no chunk at byte {at}, where one must begin")));
    }
    let name = String::from_utf8_lossy(&kind).into_owned();
    let start = at + 8;
    let end = start.saturating_add(index(length));
    let (Some(data), Some(crc)) = (bytes.get(start..end), u32_be(bytes, end)) else {
        return Err(truncated(format!("chunk {name} at byte {at} reaches past the end of the file")));
    };
    let mut sum = flate2::Crc::new();
    sum.update(&kind);
    sum.update(data);
    if sum.sum() != crc {
        return Err(malformed(format!("wrong checksum of chunk {name} at byte {at}: damaged or changed afterwards")));
    }
    Ok(Chunk { kind, data, end: end + 4 })
}

fn image_header(data: &[u8]) -> Walk<Canvas> {
    let Some([w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, compression, filter, interlace]) = array::<13>(data, 0)
    else {
        return Err(malformed("IHDR is too short"));
    };
    let (width, height) = (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]));
    if data.len() != 13 || width == 0 || height == 0 || width > MAX_CHUNK_LENGTH || height > MAX_CHUNK_LENGTH {
        return Err(malformed(format!("IHDR gives {width} x {height} pixels")));
    }
    let legal = match colour {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        3 => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    if !legal || compression != 0 || filter != 0 || interlace > 1 {
        return Err(malformed(format!("IHDR gives depth {depth} and colour type {colour}, or an unknown method")));
    }
    Ok(Canvas::still(width, height))
}

impl Order {
    fn accept(&mut self, chunk: &Chunk<'_>, size: Canvas) -> Walk<()> {
        if self.idat && &chunk.kind != b"IDAT" {
            self.idat_over = true;
        }
        match &chunk.kind {
            b"IHDR" => return Err(malformed("a second IHDR")),
            b"PLTE" => self.palette(chunk)?,
            b"IDAT" => {
                if self.idat_over {
                    return Err(malformed("IDAT chunks are not consecutive"));
                }
                if self.colour == 3 && !self.palette {
                    return Err(malformed("no palette before the picture data"));
                }
                self.idat = true;
                self.frame_open = false;
            }
            b"acTL" => self.animation(chunk)?,
            b"fcTL" if self.announced.is_some() => self.frame(chunk, size)?,
            b"fdAT" if self.announced.is_some() => {
                self.numbered(chunk)?;
                if !self.idat || self.frames == 0 {
                    return Err(malformed("fdAT before its frame"));
                }
                self.frame_open = false;
            }
            // A critical chunk that nobody knows: a decoder must refuse it, so we do.
            [first, ..] if first.is_ascii_uppercase() => {
                return Err(malformed(format!("unknown critical chunk {}", String::from_utf8_lossy(&chunk.kind))));
            }
            _ => {}
        }
        Ok(())
    }

    fn palette(&mut self, chunk: &Chunk<'_>) -> Walk<()> {
        let length = chunk.data.len();
        if self.palette || self.idat || length == 0 || !length.is_multiple_of(3) || length > 768 {
            return Err(malformed("PLTE is misplaced or has a wrong length"));
        }
        self.palette = true;
        Ok(())
    }

    fn animation(&mut self, chunk: &Chunk<'_>) -> Walk<()> {
        match u32_be(chunk.data, 0) {
            Some(frames) if frames > 0 && !self.idat && self.announced.is_none() => self.announced = Some(frames),
            _ => return Err(malformed("acTL is misplaced or announces no frame")),
        }
        Ok(())
    }

    fn frame(&mut self, chunk: &Chunk<'_>, size: Canvas) -> Walk<()> {
        self.numbered(chunk)?;
        let field = |at| u32_be(chunk.data, at).map(u64::from);
        let (Some(w), Some(h), Some(x), Some(y)) = (field(4), field(8), field(12), field(16)) else {
            return Err(malformed("fcTL is too short"));
        };
        if self.frame_open || w == 0 || h == 0 || x + w > size.width.into() || y + h > size.height.into() {
            return Err(malformed(format!("frame {} has no data or lies outside the canvas", self.frames)));
        }
        self.frames = self.frames.saturating_add(1);
        self.frame_open = true;
        Ok(())
    }

    fn numbered(&mut self, chunk: &Chunk<'_>) -> Walk<()> {
        if u32_be(chunk.data, 0) != Some(self.sequence) {
            return Err(malformed("the animation chunks are out of sequence"));
        }
        self.sequence = self.sequence.saturating_add(1);
        Ok(())
    }

    fn close(&self, end: &Chunk<'_>) -> Walk<()> {
        if !end.data.is_empty() {
            return Err(malformed("IEND carries data"));
        }
        if !self.idat {
            return Err(malformed("no picture data before IEND"));
        }
        if self.frame_open || self.announced.is_some_and(|n| n != self.frames) {
            return Err(malformed("the animation has fewer or more frames than it announces"));
        }
        Ok(())
    }
}
