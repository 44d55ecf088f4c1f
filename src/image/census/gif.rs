//! The walk over a GIF: screen descriptor, then blocks and their sub-blocks, to the trailer.

use super::{Broken, Census, Cursor};
use crate::verdict::Removed;

/// Walks a GIF block by block to its trailer.
pub(super) fn walk(bytes: &[u8]) -> Result<Census, Broken> {
    let mut census = Census { frames: 0, ..Census::default() };
    let mut cursor = Cursor::new(bytes);
    if !matches!(&cursor.array("the signature")?, b"GIF87a" | b"GIF89a") {
        return Err(Broken::Malformed("not a GIF signature"));
    }
    let [w0, w1, h0, h1, flags, _background, _aspect] = cursor.array("the screen descriptor")?;
    census.width = u32::from(u16::from_le_bytes([w0, w1]));
    census.height = u32::from(u16::from_le_bytes([h0, h1]));
    colour_table(&mut cursor, flags)?;
    loop {
        // Browsers show a file that stops between two blocks, and so many do that refusing them helps nobody.
        if cursor.is_empty() && census.frames > 0 {
            return Ok(census);
        }
        match cursor.byte("the image, before its trailer")? {
            0x21 => extension(&mut census, &mut cursor)?,
            0x2C => {
                let [_, _, _, _, w0, w1, h0, h1, flags] = cursor.array("a frame's descriptor")?;
                let pixels = u64::from(u16::from_le_bytes([w0, w1])) * u64::from(u16::from_le_bytes([h0, h1]));
                census.overhang = census.overhang.saturating_add(pixels.saturating_sub(census.pixels()));
                colour_table(&mut cursor, flags)?;
                cursor.byte("a frame's code size")?;
                sub_blocks(&mut cursor, |_| ())?;
                census.frames = census.frames.saturating_add(1);
            }
            0x3B => break,
            _ => return Err(Broken::Malformed("a block of no known kind")),
        }
    }
    if census.frames == 0 {
        return Err(Broken::Malformed("no frame"));
    }
    census.note_end(bytes, cursor.position);
    Ok(census)
}

/// Skips a colour table, if the flags announce one.
fn colour_table(cursor: &mut Cursor<'_>, flags: u8) -> Result<(), Broken> {
    if flags & 0x80 != 0 {
        cursor.take(3 * (2 << (flags & 7)), "a colour table")?;
    }
    Ok(())
}

/// Visits the parts of a block's data, each of at most 255 bytes, to the empty one that ends them.
fn sub_blocks<'a>(cursor: &mut Cursor<'a>, mut visit: impl FnMut(&'a [u8])) -> Result<(), Broken> {
    const WHAT: &str = "a block's data";
    loop {
        match cursor.byte(WHAT)? {
            0 => return Ok(()),
            length => visit(cursor.take(usize::from(length), WHAT)?),
        }
    }
}

fn extension(census: &mut Census, cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    match cursor.byte("an extension")? {
        0xFE => {
            sub_blocks(cursor, |_| ())?;
            census.found(Removed::Comment);
        }
        0xFF => {
            let mut application: Option<&[u8]> = None;
            sub_blocks(cursor, |block| match (application, block) {
                (None, name) => application = Some(name),
                // The loop count, in NETSCAPE's block or its twin's: 1, then the count.
                (Some(b"NETSCAPE2.0" | b"ANIMEXTS1.0"), [1, low, high]) => {
                    census.loops = Some(u32::from(u16::from_le_bytes([*low, *high])));
                }
                _ => {}
            })?;
            match application {
                Some(b"XMP DataXMP") => census.found(Removed::Xmp),
                Some(b"ICCRGBG1012") => census.found(Removed::Icc),
                _ => {}
            }
        }
        _ => sub_blocks(cursor, |_| ())?,
    }
    Ok(())
}
