//! GIF: screen, extensions and images block by block to the trailer (`GIF89a` specification).

use super::bytes::{array, u16_le};
use super::findings::{Walk, malformed, truncated};
use super::image_facts::Canvas;

/// The three letters that both versions share; the version itself is judged by the walk.
pub(super) const MAGIC: &[u8] = b"GIF8";

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2C;
const TRAILER: u8 = 0x3B;

/// Walks to the trailer, counting frames. `canvas` follows the screen and the largest frame.
pub(super) fn walk(bytes: &[u8], canvas: &mut Option<Canvas>) -> Walk<usize> {
    if !(bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a")) {
        return Err(malformed("the version is neither GIF87a nor GIF89a"));
    }
    let (Some(width), Some(height), Some([packed])) = (u16_le(bytes, 6), u16_le(bytes, 8), array(bytes, 10)) else {
        return Err(truncated("the file ends inside the screen descriptor"));
    };
    let mut size = Canvas { width: width.into(), height: height.into(), frames: 0 };
    // Text that only begins like a GIF has a screen of letters: the screen counts once there is a picture.
    let mut at = 13 + colour_table(packed);
    loop {
        let Some(kind) = bytes.get(at) else {
            // Some writers forget the trailer; browsers show such files and the re-encoding repairs them.
            return if size.frames > 0 && at == bytes.len() {
                Ok(at)
            } else {
                Err(truncated("no picture before the end"))
            };
        };
        at = match *kind {
            TRAILER if size.frames == 0 => return Err(malformed("no picture before the trailer")),
            TRAILER if size.width == 0 || size.height == 0 => return Err(malformed("the screen has no pixels")),
            TRAILER => return Ok(at + 1),
            EXTENSION => sub_blocks(bytes, at + 2)?,
            IMAGE => {
                let (frame, data) = image(bytes, at)?;
                size.frames = size.frames.saturating_add(1);
                // A frame larger than the screen makes some readers enlarge the canvas.
                size.width = size.width.max(frame.width);
                size.height = size.height.max(frame.height);
                *canvas = Some(size);
                sub_blocks(bytes, data)?
            }
            other => return Err(malformed(format!("unknown block {other:02X} at byte {at}"))),
        };
    }
}

/// The bytes of the colour table that a packed field announces.
fn colour_table(packed: u8) -> usize {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

/// The frame of the image descriptor at `at`, and where its data blocks begin.
fn image(bytes: &[u8], at: usize) -> Walk<(Canvas, usize)> {
    let short = || truncated("the file ends inside an image descriptor");
    let width = u16_le(bytes, at + 5).ok_or_else(short)?;
    let height = u16_le(bytes, at + 7).ok_or_else(short)?;
    let [packed] = array(bytes, at + 9).ok_or_else(short)?;
    let data = at + 10 + colour_table(packed);
    let code_size = *bytes.get(data).ok_or_else(short)?;
    // The specification says 2 to 8; codes of up to 12 bits are what decoders read and some files have.
    if !(1..=11).contains(&code_size) || width == 0 || height == 0 {
        return Err(malformed(format!("the frame at byte {at} has no pixels or a wrong code size")));
    }
    Ok((Canvas::still(width.into(), height.into()), data + 1))
}

/// Skips length-prefixed blocks up to and including the empty one.
fn sub_blocks(bytes: &[u8], mut at: usize) -> Walk<usize> {
    loop {
        match bytes.get(at) {
            None => return Err(truncated("the file ends inside a data block")),
            Some(0) => return Ok(at + 1),
            Some(length) => at += 1 + usize::from(*length),
        }
    }
}
