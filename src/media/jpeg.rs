//! JPEG: segment by segment to the first end marker (ITU-T T.81, annex B).

use super::bytes::{array, u16_be};
use super::findings::{Broken, Walk, bomb, malformed, truncated};
use super::image_facts::Canvas;
use crate::limits::StructureLimits;
use crate::verdict::ReasonCode;

pub(super) const MAGIC: &[u8] = &[0xFF, 0xD8, 0xFF];

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

/// Bytes between two segments that belong to neither. Writers that forget to count the length field, or pad what
/// they cut out, leave a few; every decoder skips them, and none is in the output.
const MAX_STRAY: usize = 64;

/// Walks from the first marker to the first EOI. Gives the frame's size as soon as it is known through
/// `canvas`, so that a flood is named even when the file breaks later; returns where the image ends.
pub(super) fn walk(bytes: &[u8], canvas: &mut Option<Canvas>) -> Walk<usize> {
    let mut at = 2;
    let mut scans = 0usize;
    loop {
        let (marker, body) = next_marker(bytes, at)?;
        at = match marker {
            EOI => break at_end(canvas.is_some(), scans, body),
            // A second image may only follow the first one's end.
            SOI => return Err(malformed(format!("another picture begins inside the picture, at byte {at}"))),
            0x01 | 0xD0..=0xD7 => body,
            SOS => {
                let data = segment_end(bytes, body)?;
                scans += 1;
                if scans > StructureLimits::SCANS {
                    return Err(bomb(format!("more than {} scans of the picture", StructureLimits::SCANS)));
                }
                scan_end(bytes, data).ok_or_else(|| truncated("the picture data has no end marker"))?
            }
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let end = segment_end(bytes, body)?;
                if canvas.is_some() {
                    return Err(malformed(format!("a second frame header at byte {at}")));
                }
                *canvas = Some(frame_header(bytes.get(body..end).unwrap_or_default(), marker)?);
                end
            }
            0 | 0x02..=0xBF => return Err(malformed(format!("reserved marker {marker:02X} at byte {at}"))),
            _ => segment_end(bytes, body)?,
        };
    }
}

fn at_end(has_frame: bool, scans: usize, end: usize) -> Walk<usize> {
    match (has_frame, scans) {
        (false, _) => Err(malformed("no frame header before the end marker")),
        (true, 0) => Err(malformed("no picture data before the end marker")),
        _ => Ok(end),
    }
}

/// The marker at `at` and where what follows it begins. Any number of FF fill bytes may stand before a marker.
fn next_marker(bytes: &[u8], at: usize) -> Walk<(u8, usize)> {
    let ends = || truncated("the file ends before the end marker of the picture");
    let rest = bytes.get(at..).unwrap_or_default();
    // A stuffed zero is no marker: both of its bytes are as stray as any other.
    let is_marker = |pair: &[u8]| matches!(pair, [0xFF, second] if *second != 0);
    let stray = rest.windows(2).take(MAX_STRAY + 1).position(is_marker).ok_or_else(|| match rest.len() {
        0..=MAX_STRAY => ends(),
        _ => malformed(format!("no segment at byte {at}, where one must begin")),
    })?;
    let fill = rest.iter().skip(stray).take_while(|b| **b == 0xFF).count();
    let marker = rest.get(stray + fill).ok_or_else(ends)?;
    Ok((*marker, at + stray + fill + 1))
}

/// Where the segment ends whose length field is at `at`.
fn segment_end(bytes: &[u8], at: usize) -> Walk<usize> {
    let length = u16_be(bytes, at).ok_or_else(|| truncated("the file ends inside a segment header"))?;
    if length < 2 {
        return Err(malformed(format!("segment length {length} at byte {at}")));
    }
    let end = at + usize::from(length);
    if end > bytes.len() {
        return Err(truncated(format!("the segment at byte {at} reaches past the end of the file")));
    }
    Ok(end)
}

/// Skips entropy-coded data: the next marker that is neither a stuffed zero, a fill byte nor a restart marker.
fn scan_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == 0xFF)?;
        match bytes.get(at + 1)? {
            0 | 0xD0..=0xD7 => at += 2,
            0xFF => at += 1,
            _ => return Some(at),
        }
    }
}

fn frame_header(segment: &[u8], marker: u8) -> Walk<Canvas> {
    let (Some(height), Some(width), Some([components])) = (u16_be(segment, 3), u16_be(segment, 5), array(segment, 7))
    else {
        return Err(malformed("the frame header is too short"));
    };
    if segment.len() != 8 + 3 * usize::from(components) || components == 0 {
        return Err(malformed("the frame header has a wrong length"));
    }
    if width == 0 || height == 0 {
        return Err(malformed(format!("the frame header gives {width} x {height} pixels")));
    }
    // Baseline, extended and progressive Huffman only: no decoder of ours reads the rest.
    if !matches!(marker, 0xC0..=0xC2) {
        let process = marker & 0x0F;
        return Err(Broken::new(
            ReasonCode::Undecodable,
            format!("lossless, arithmetic or hierarchical coding (SOF{process}), which no browser shows either"),
        ));
    }
    if let Some([precision]) = array::<1>(segment, 2).filter(|bits| *bits != [8]) {
        return Err(Broken::new(ReasonCode::Undecodable, format!("{precision} bits per sample, only 8 can be read")));
    }
    Ok(Canvas::still(width.into(), height.into()))
}
