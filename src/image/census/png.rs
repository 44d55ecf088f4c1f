//! The walk over a PNG: chunks by their lengths, to IEND. Checksums are the decoder's business.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{Broken, Census, Cursor};
use crate::limits::StructureLimits;
use crate::verdict::Removed;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Walks a PNG chunk by chunk to IEND.
pub(super) fn walk(bytes: &[u8]) -> Result<Census, Broken> {
    let mut census = Census::default();
    let mut cursor = Cursor::new(bytes);
    if cursor.array("the signature")? != SIGNATURE {
        return Err(Broken::Malformed("not a PNG signature"));
    }
    let mut frame_controls = 0_u32;
    loop {
        let length = u32::from_be_bytes(cursor.array("a chunk")?);
        let name: [u8; 4] = cursor.array("a chunk")?;
        let content = cursor.take(length as usize, "a chunk")?;
        cursor.take(4, "a chunk's checksum")?;
        match &name {
            b"IHDR" => header(&mut census, content)?,
            b"acTL" => animation_control(&mut census, content)?,
            b"fcTL" => frame_controls += 1,
            b"IEND" => break,
            _ => metadata(&mut census, name, content),
        }
    }
    // Frame controls without an acTL are chunks like any other: the image is a still one.
    if census.loops.is_some() {
        census.frames = frame_controls.max(1);
    }
    census.note_end(bytes, cursor.position);
    Ok(census)
}

/// The size. A second header is how two decoders are made to disagree.
fn header(census: &mut Census, content: &[u8]) -> Result<(), Broken> {
    let [w3, w2, w1, w0, h3, h2, h1, h0, ..] = *content else {
        return Err(Broken::Malformed("a header without a size"));
    };
    if census.width != 0 {
        return Err(Broken::Malformed("a second header"));
    }
    census.width = u32::from_be_bytes([w3, w2, w1, w0]);
    census.height = u32::from_be_bytes([h3, h2, h1, h0]);
    Ok(())
}

/// Number of frames, number of plays. The frames are counted by their own chunks: this number may lie.
fn animation_control(census: &mut Census, content: &[u8]) -> Result<(), Broken> {
    let [_, _, _, _, p3, p2, p1, p0] = *content else { return Err(Broken::Malformed("an animation without a count")) };
    census.loops = Some(u32::from_be_bytes([p3, p2, p1, p0]));
    Ok(())
}

fn metadata(census: &mut Census, name: [u8; 4], content: &[u8]) {
    match &name {
        b"eXIf" => census.found_exif(content),
        // Only the first one counts, broken or not: thousands of bombs would all be inflated.
        b"iCCP" if census.removed.insert(Removed::Icc) => census.icc = inflated_profile(content),
        b"caBX" => census.found(Removed::C2pa),
        b"tEXt" | b"zTXt" | b"iTXt" => census.found(text_kind(content)),
        _ => {}
    }
}

/// Text chunks are comments unless their keyword says that they carry another kind of metadata.
fn text_kind(content: &[u8]) -> Removed {
    let keyword = content.split(|&byte| byte == 0).next().unwrap_or_default();
    match keyword {
        b"XML:com.adobe.xmp" | b"Raw profile type xmp" => Removed::Xmp,
        b"Raw profile type exif" | b"Raw profile type APP1" => Removed::Exif,
        b"Raw profile type iptc" | b"Raw profile type 8bim" => Removed::Iptc,
        b"Raw profile type icc" | b"Raw profile type icm" => Removed::Icc,
        _ => Removed::Comment,
    }
}

/// Name, compression method, deflated profile. A bomb in here inflates to the limit and is ignored.
fn inflated_profile(content: &[u8]) -> Option<Vec<u8>> {
    let name = content.iter().position(|&byte| byte == 0)?;
    let deflated = content.get(name + 2..)?;
    let mut profile = Vec::new();
    let limit = StructureLimits::PROFILE_BYTES as u64 + 1;
    ZlibDecoder::new(deflated).take(limit).read_to_end(&mut profile).ok()?;
    (profile.len() <= StructureLimits::PROFILE_BYTES).then_some(profile)
}
