//! Tests of the whole pipeline on images that are built here, byte by byte where it matters.
//!
//! This file has the builders; `stills`, `animations` and `hostile` have the tests.

mod animations;
mod hostile;
mod stills;

use std::io::Cursor;

use super::census::Census;
use super::raster::{Model, Raster};
use super::{ImageError, Sanitized, sanitize};
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::verdict::{ReasonCode, Removed};

fn clean(bytes: &[u8], media: MediaType, rules: &ImageRules) -> Sanitized {
    let sanitized = sanitize(bytes, media, rules).expect("a good image");
    let census = Census::take(&sanitized.bytes, sanitized.media).expect("a good output");
    assert!(census.removed.is_empty(), "metadata in the output: {:?}", census.removed);
    let facts = &sanitized.facts;
    assert_eq!((facts.width, facts.height), (Some(census.width), Some(census.height)));
    assert_eq!(facts.frames, Some(census.frames));
    sanitized
}

/// The codes for which an image is refused.
fn refused(bytes: &[u8], media: MediaType, rules: &ImageRules) -> Vec<ReasonCode> {
    match sanitize(bytes, media, rules) {
        Err(ImageError::Refused(reasons)) => reasons.iter().map(|reason| reason.code).collect(),
        Err(ImageError::Failed(what)) => panic!("not refused, our fault: {what}"),
        Ok(sanitized) => panic!("not refused: {:?}", sanitized.facts),
    }
}

/// A box of that size, everything else as by default.
fn boxed(max_width: u32, max_height: u32) -> ImageRules {
    ImageRules { max_width, max_height, ..ImageRules::default() }
}

/// Black, with the upper left quarter white: every orientation puts it somewhere else or mirrors it.
fn quartered(width: u32, height: u32) -> Raster {
    let mut raster = Raster::blank(width, height, Model::Rgb);
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let at = (y * width + x) as usize * 3;
            raster.data[at..at + 3].fill(255);
        }
    }
    raster
}

/// A picture with detail everywhere.
fn textured(width: u32, height: u32, model: Model) -> Raster {
    let mut raster = Raster::blank(width, height, model);
    let mut state = 1_u32;
    for (index, value) in raster.data.iter_mut().enumerate() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = u8::try_from((index / 7 + (state >> 27) as usize) % 256).unwrap();
    }
    raster
}

/// A big-endian TIFF block: orientation, on request a GPS directory and a thumbnail directory.
fn exif(orientation: u16, gps: bool, thumbnail: bool) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value].concat()
    };
    let short = |value: u16| [value.to_be_bytes(), [0, 0]].concat().try_into().unwrap();
    let entries = 1 + u32::from(gps);
    let gps_at = 8 + 2 + 12 * entries + 4;
    let thumbnail_at = gps_at + if gps { 2 + 12 + 4 } else { 0 };

    let mut block = b"MM\0\x2A\0\0\0\x08".to_vec();
    block.extend(u16::try_from(entries).unwrap().to_be_bytes());
    block.extend(entry(0x0112, 3, 1, short(orientation)));
    if gps {
        block.extend(entry(0x8825, 4, 1, gps_at.to_be_bytes()));
    }
    block.extend(if thumbnail { thumbnail_at } else { 0 }.to_be_bytes());
    if gps {
        block.extend([0, 1]);
        block.extend(entry(1, 2, 2, *b"N\0\0\0"));
        block.extend([0; 4]);
    }
    if thumbnail {
        block.extend([0, 1]);
        block.extend(entry(0x0201, 4, 1, [0, 0, 0, 8]));
        block.extend([0; 4]);
    }
    block
}

/// A JPEG with these segments (marker code and content) behind the start of image.
fn jpeg(raster: &Raster, segments: &[(u8, &[u8])]) -> Vec<u8> {
    let colour = match raster.model {
        Model::Gray => jpeg_encoder::ColorType::Luma,
        Model::Cmyk => jpeg_encoder::ColorType::Cmyk,
        _ => jpeg_encoder::ColorType::Rgb,
    };
    let mut plain = Vec::new();
    let (width, height) = (raster.width.try_into().unwrap(), raster.height.try_into().unwrap());
    jpeg_encoder::Encoder::new(&mut plain, 95).encode(&raster.data, width, height, colour).unwrap();
    let mut file = plain[..2].to_vec();
    for (code, content) in segments {
        file.extend([0xFF, *code]);
        file.extend(u16::try_from(content.len() + 2).unwrap().to_be_bytes());
        file.extend_from_slice(content);
    }
    file.extend_from_slice(&plain[2..]);
    file
}

/// A JPEG with an EXIF block.
fn jpeg_with_exif(raster: &Raster, tiff: &[u8]) -> Vec<u8> {
    jpeg(raster, &[(0xE1, &[b"Exif\0\0", tiff].concat())])
}

/// A PNG with these chunks between header and pixels.
fn png(raster: &Raster, chunks: &[([u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, raster.width, raster.height);
    encoder.set_color(match raster.model {
        Model::Gray => png::ColorType::Grayscale,
        Model::GrayAlpha => png::ColorType::GrayscaleAlpha,
        Model::Rgb => png::ColorType::Rgb,
        Model::Rgba | Model::Cmyk => png::ColorType::Rgba,
    });
    let mut writer = encoder.write_header().unwrap();
    for (name, content) in chunks {
        writer.write_chunk(png::chunk::ChunkType(*name), content).unwrap();
    }
    writer.write_image_data(&raster.data).unwrap();
    writer.finish().unwrap();
    file
}

/// The pixels of a still image, by the same decoders and without any finish.
fn pixels(sanitized: &Sanitized) -> Raster {
    let census = Census::take(&sanitized.bytes, sanitized.media).unwrap();
    super::decode::still(&sanitized.bytes, sanitized.media, &census, &ImageRules::default()).unwrap().raster
}

/// The colour of a pixel, rounded to black or white.
fn is_white(raster: &Raster, x: u32, y: u32) -> bool {
    raster.data[(y * raster.width + x) as usize * raster.model.channels()] > 127
}

fn removed(sanitized: &Sanitized) -> &[Removed] {
    &sanitized.facts.removed
}

/// A WebP decoder over an output.
fn webp_of(sanitized: &Sanitized) -> image_webp::WebPDecoder<Cursor<&[u8]>> {
    image_webp::WebPDecoder::new(Cursor::new(&sanitized.bytes[..])).unwrap()
}
