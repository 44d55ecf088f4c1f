//! WebP: a RIFF container whose chunks are walked to the end (RFC 9649).

use super::bytes::{array, index, u16_le, u24_le, u32_le};
use super::findings::{Walk, malformed, truncated};
use super::image_facts::Canvas;

/// Whether both marks stand: `WEBP` alone is no proof, neither is `RIFF`.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
}

const ANIMATED: u8 = 0x02;

struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    end: usize,
}

/// Walks every chunk inside the RIFF size. `canvas` is set from the first chunk at once.
pub(super) fn walk(bytes: &[u8], canvas: &mut Option<Canvas>) -> Walk<usize> {
    if !is_magic(bytes) {
        return Err(malformed("WEBP without a RIFF header"));
    }
    let size = u32_le(bytes, 4).ok_or_else(|| truncated("the file ends inside the RIFF header"))?;
    let end = index(size).saturating_add(8);
    let riff = bytes.get(..end).ok_or_else(|| truncated("the RIFF size reaches past the end of the file"))?;
    let first = chunk(riff, 12)?;
    match &first.kind {
        b"VP8 " | b"VP8L" => {
            *canvas = Some(bitstream(&first)?);
            // Chunks behind a simple image are not part of it; the decoder never sees them.
            Ok(end)
        }
        b"VP8X" => extended(riff, &first, canvas).map(|()| end),
        _ => Err(malformed("the first chunk is no image")),
    }
}

fn chunk(riff: &[u8], at: usize) -> Walk<Chunk<'_>> {
    let (Some(kind), Some(length)) = (array::<4>(riff, at), u32_le(riff, at + 4)) else {
        return Err(truncated("the file ends inside a chunk header"));
    };
    let start = at + 8;
    let stop = start.saturating_add(index(length));
    let Some(data) = riff.get(start..stop) else {
        return Err(truncated(format!("the chunk at byte {at} reaches past the end")));
    };
    Ok(Chunk { kind, data, end: stop + (stop & 1) })
}

/// The size that a `VP8 ` or `VP8L` bitstream gives itself.
fn bitstream(chunk: &Chunk<'_>) -> Walk<Canvas> {
    let data = chunk.data;
    let size = if &chunk.kind == b"VP8L" {
        let bits = u32_le(data, 1).filter(|bits| data.first() == Some(&0x2F) && bits >> 29 == 0);
        bits.map(|bits| Canvas::still((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
    } else {
        let key_frame = data.first().is_some_and(|b| b & 1 == 0) && data.get(3..6) == Some(&[0x9D, 0x01, 0x2A]);
        let sides = u16_le(data, 6).zip(u16_le(data, 8)).filter(|_| key_frame);
        sides.map(|(w, h)| Canvas::still((w & 0x3FFF).into(), (h & 0x3FFF).into()))
    };
    size.filter(|c| c.width > 0 && c.height > 0).ok_or_else(|| malformed("the picture data has no valid header"))
}

fn extended(riff: &[u8], header: &Chunk<'_>, canvas: &mut Option<Canvas>) -> Walk<()> {
    let (Some(flags), Some(w), Some(h)) = (header.data.first(), u24_le(header.data, 4), u24_le(header.data, 7)) else {
        return Err(malformed("VP8X is too short"));
    };
    let size = Canvas::still(w + 1, h + 1);
    *canvas = Some(size);
    let animated = flags & ANIMATED != 0;
    let (mut at, mut frames) = (header.end, 0u32);
    while at < riff.len() {
        let next = chunk(riff, at)?;
        at = next.end;
        match &next.kind {
            b"ANMF" => {
                frame(next.data, size)?;
                frames = frames.saturating_add(1);
                *canvas = Some(Canvas { frames, ..size });
            }
            b"VP8 " | b"VP8L" if !animated => {
                let inner = bitstream(&next)?;
                if inner != size || frames > 0 {
                    return Err(malformed("the picture and its canvas differ in size"));
                }
                frames = 1;
            }
            b"VP8X" => return Err(malformed("a second VP8X")),
            // Metadata and unknown chunks: none of them is in the output.
            _ => {}
        }
    }
    if frames == 0 { Err(malformed("no picture data")) } else { Ok(()) }
}

/// An animation frame: inside the canvas, with a bitstream of the size it announces.
fn frame(data: &[u8], canvas: Canvas) -> Walk<()> {
    let field = |at| u24_le(data, at).map(u64::from);
    let (Some(x), Some(y), Some(w), Some(h)) = (field(0), field(3), field(6), field(9)) else {
        return Err(malformed("an animation frame is too short"));
    };
    if x * 2 + w + 1 > canvas.width.into() || y * 2 + h + 1 > canvas.height.into() {
        return Err(malformed("an animation frame lies outside the canvas"));
    }
    let mut at = 16;
    while at < data.len() {
        let next = chunk(data, at)?;
        at = next.end;
        if matches!(&next.kind, b"VP8 " | b"VP8L") {
            let inner = bitstream(&next)?;
            let same = u64::from(inner.width) == w + 1 && u64::from(inner.height) == h + 1;
            return if same { Ok(()) } else { Err(malformed("an animation frame differs from its header in size")) };
        }
    }
    Err(malformed("an animation frame without picture data"))
}
