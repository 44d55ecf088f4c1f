//! The walk over a JPEG: segments by their lengths, entropy-coded data by its markers, to the first EOI.

use super::{Broken, Census, Cursor, exif};
use crate::limits::StructureLimits;
use crate::verdict::Removed;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const XMP_EXTENSION: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";

/// Walks a JPEG from its start to its first end of image; what follows is a tail, second pictures included.
pub(super) fn walk(bytes: &[u8]) -> Result<Census, Broken> {
    let mut census = Census::default();
    let mut cursor = Cursor::new(bytes);
    if cursor.array("the signature")? != [0xFF, SOI] {
        return Err(Broken::Malformed("not a JPEG signature"));
    }
    let mut profile = Vec::new();
    let mut scans = 0_usize;
    loop {
        match marker(&mut cursor)? {
            EOI => break,
            // Markers without a length: TEM and stray restarts.
            0x01 | 0xD0..=0xD7 => {}
            SOI => return Err(Broken::Malformed("a second start of image")),
            code => {
                let length = usize::from(u16::from_be_bytes(cursor.array("a segment")?));
                let content = length.checked_sub(2).ok_or(Broken::Malformed("a segment shorter than its length"))?;
                let content = cursor.take(content, "a segment")?;
                segment(&mut census, &mut profile, code, content)?;
                if code == SOS {
                    scans += 1;
                    skip_entropy_coded(&mut cursor)?;
                }
            }
        }
    }
    if census.width == 0 {
        return Err(Broken::Malformed("no frame header with a size"));
    }
    census.many_scans |= scans > 1;
    census.icc = assemble(profile);
    census.note_end(bytes, cursor.position);
    Ok(census)
}

/// The code of the next marker. Bytes before it are skipped as decoders do: cameras pad between segments.
fn marker(cursor: &mut Cursor<'_>) -> Result<u8, Broken> {
    const WHAT: &str = "the image, before its end marker";
    loop {
        while cursor.byte(WHAT)? != 0xFF {}
        let mut code = 0xFF;
        while code == 0xFF {
            code = cursor.byte(WHAT)?;
        }
        if code != 0 {
            return Ok(code);
        }
    }
}

/// Moves to the marker behind entropy-coded data: 0xFF is stuffed with 0x00 there, and only restarts occur.
fn skip_entropy_coded(cursor: &mut Cursor<'_>) -> Result<(), Broken> {
    let ends_here = |pair: &[u8]| matches!(pair, [0xFF, code] if !matches!(code, 0x00 | 0xFF | 0xD0..=0xD7));
    let length = cursor.rest.windows(2).position(ends_here).ok_or(Broken::Truncated("the image data"))?;
    cursor.take(length, "the image data").map(|_| ())
}

/// Notes what a segment is. Unknown ones vanish with the re-encoding and are nobody's metadata.
fn segment<'a>(census: &mut Census, profile: &mut Vec<&'a [u8]>, code: u8, content: &'a [u8]) -> Result<(), Broken> {
    match code {
        0xC0..=0xCF if !matches!(code, 0xC4 | 0xC8 | 0xCC) => frame_header(census, code, content)?,
        0xE0 => {
            let jfif = content.starts_with(b"JFIF\0") && content.get(12..14).is_some_and(|size| size != [0, 0]);
            if jfif || content.starts_with(b"JFXX\0") {
                census.found(Removed::Thumbnail);
            }
        }
        0xE1 => {
            if let Some(tiff) = content.strip_prefix(exif::PREFIX) {
                census.found_exif(tiff);
            } else if content.starts_with(XMP) || content.starts_with(XMP_EXTENSION) {
                census.found(Removed::Xmp);
            }
        }
        0xE2 => {
            if let Some(part) = content.strip_prefix(ICC) {
                census.found(Removed::Icc);
                profile.push(part);
            }
        }
        // JUMBF boxes in JPEG XT segments are what carries content credentials.
        0xEB if content.starts_with(b"JP") => census.found(Removed::C2pa),
        0xED => {
            if let Some(resources) = content.strip_prefix(PHOTOSHOP) {
                photoshop(census, resources);
            }
        }
        0xFE => census.found(Removed::Comment),
        _ => {}
    }
    Ok(())
}

/// The size stands in the first frame header; a second one is how two decoders are made to disagree.
fn frame_header(census: &mut Census, code: u8, content: &[u8]) -> Result<(), Broken> {
    let [_, h1, h0, w1, w0, ..] = *content else { return Err(Broken::Malformed("a frame header without a size")) };
    if census.width != 0 {
        return Err(Broken::Malformed("a second frame header"));
    }
    census.width = u32::from(u16::from_be_bytes([w1, w0]));
    census.height = u32::from(u16::from_be_bytes([h1, h0]));
    census.many_scans = matches!(code, 0xC2 | 0xC6 | 0xCA | 0xCE);
    Ok(())
}

/// Photoshop's resource blocks: `8BIM`, id, padded name, length, padded data.
fn photoshop(census: &mut Census, resources: &[u8]) {
    const WHAT: &str = "a resource block";
    let mut cursor = Cursor::new(resources);
    let mut block = || -> Result<u16, Broken> {
        cursor.take(4, WHAT)?;
        let id = u16::from_be_bytes(cursor.array(WHAT)?);
        let name = usize::from(cursor.byte(WHAT)?);
        // With its length byte the name fills an even number of bytes.
        cursor.take(name | 1, WHAT)?;
        let length = u32::from_be_bytes(cursor.array(WHAT)?) as usize;
        // A block may go on in the next segment: what was read of it counts all the same.
        let there = length.saturating_add(length % 2).min(cursor.rest.len());
        cursor.take(there, WHAT)?;
        Ok(id)
    };
    while let Ok(id) = block() {
        match id {
            0x0404 => census.found(Removed::Iptc),
            0x0409 | 0x040C => census.found(Removed::Thumbnail),
            0x0422 | 0x0423 => census.found(Removed::Exif),
            0x0424 => census.found(Removed::Xmp),
            _ => {}
        }
    }
}

/// Puts an ICC profile together from its numbered parts. `None` when parts are missing or repeated.
fn assemble(mut parts: Vec<&[u8]>) -> Option<Vec<u8>> {
    parts.sort_by_key(|part| part.first().copied());
    let count = parts.len();
    let mut profile = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let [number, total, data @ ..] = part else { return None };
        if usize::from(*number) != index + 1 || usize::from(*total) != count {
            return None;
        }
        if profile.len() + data.len() > StructureLimits::PROFILE_BYTES {
            return None;
        }
        profile.extend_from_slice(data);
    }
    (!profile.is_empty()).then_some(profile)
}
