//! The walk over a WebP: RIFF chunks by their lengths, to the end that the RIFF header names.

use super::{Broken, Census, Cursor};
use crate::verdict::Removed;

/// Sides of VP8 and VP8L bitstreams have 14 bits.
const SIDE: u32 = 0x3FFF;

/// Walks a WebP chunk by chunk to the end of its container.
pub(super) fn walk(bytes: &[u8]) -> Result<Census, Broken> {
    let mut census = Census::default();
    let mut outer = Cursor::new(bytes);
    let (signature, size) = (outer.array("the header")?, u32::from_le_bytes(outer.array("the header")?));
    let mut cursor = Cursor::new(outer.take(size as usize, "the RIFF container")?);
    if &signature != b"RIFF" || &cursor.array("the header")? != b"WEBP" {
        return Err(Broken::Malformed("not a WebP signature"));
    }
    let (mut animated, mut frames, mut pictures) = (false, 0_u32, 0_u32);
    while !cursor.is_empty() {
        let (name, content) = chunk(&mut cursor)?;
        match &name {
            b"VP8X" => {
                let [flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = *content else {
                    return Err(Broken::Malformed("a VP8X chunk without a size"));
                };
                animated = flags & 2 != 0;
                (census.width, census.height) = (u24(w0, w1, w2) + 1, u24(h0, h1, h2) + 1);
            }
            b"VP8 " | b"VP8L" => {
                pictures += 1;
                if census.width == 0 {
                    (census.width, census.height) = bitstream_size(name, content)?;
                }
            }
            b"ANMF" => frames += 1,
            b"ANIM" => census.loops = content.get(4..6).map(|n| u32::from(u16::from_le_bytes([n[0], n[1]]))),
            _ => metadata(&mut census, name, content),
        }
    }
    if animated {
        census.frames = frames;
    }
    if census.frames == 0 || (!animated && pictures == 0) {
        return Err(Broken::Malformed("no picture in the container"));
    }
    census.note_end(bytes, outer.position);
    Ok(census)
}

/// The next chunk. One that is longer than its container lies, whatever follows in the file.
fn chunk<'a>(cursor: &mut Cursor<'a>) -> Result<([u8; 4], &'a [u8]), Broken> {
    let mut read = || {
        let (name, length) = (cursor.array("a chunk")?, u32::from_le_bytes(cursor.array("a chunk")?));
        let content = cursor.take(length as usize, "a chunk")?;
        // Chunks are padded to even lengths; writers forget it behind the last one.
        if length % 2 == 1 && !cursor.is_empty() {
            cursor.take(1, "a chunk's padding")?;
        }
        Ok((name, content))
    };
    read().map_err(|_: Broken| Broken::Malformed("a chunk longer than its container"))
}

fn u24(low: u8, middle: u8, high: u8) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

/// The size in the first bytes of a picture, for containers without a VP8X chunk.
fn bitstream_size(name: [u8; 4], content: &[u8]) -> Result<(u32, u32), Broken> {
    match (&name, content) {
        (b"VP8 ", [_, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1, ..]) => {
            Ok((u24(*w0, *w1, 0) & SIDE, u24(*h0, *h1, 0) & SIDE))
        }
        (b"VP8L", [0x2F, b0, b1, b2, b3, ..]) => {
            let bits = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
            Ok(((bits & SIDE) + 1, (bits >> 14 & SIDE) + 1))
        }
        _ => Err(Broken::Malformed("a bitstream without a header")),
    }
}

fn metadata(census: &mut Census, name: [u8; 4], content: &[u8]) {
    match &name {
        b"EXIF" => census.found_exif(content),
        b"XMP " => census.found(Removed::Xmp),
        b"ICCP" => {
            census.found(Removed::Icc);
            census.icc.get_or_insert_with(|| content.to_vec());
        }
        b"C2PA" => census.found(Removed::C2pa),
        _ => {}
    }
}
