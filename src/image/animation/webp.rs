//! Animated WebP. Frames are encoded as still images and put into the container here: libwebp's own
//! animation encoder merges equal frames and does not keep the last delay.

use super::changed_area;
use crate::image::census::Census;
use crate::image::decode::{webp_decoder, webp_error};
use crate::image::encode::{lossless_webp, lossy_webp};
use crate::image::finish::Finish;
use crate::image::raster::{Area, Model, Raster};
use crate::image::{Encoded, ImageError};
use crate::policy::ImageRules;

/// Flags of the VP8X chunk.
const ANIMATION: u8 = 0x02;
const ALPHA: u8 = 0x10;
/// The ANMF flag that makes a frame replace what was there, transparency included.
const DO_NOT_BLEND: u8 = 0x02;

/// Re-encodes every frame, lossy where any frame of the original is.
pub(super) fn reencode(
    bytes: &[u8],
    census: &Census,
    rules: &ImageRules,
    finish: &mut Finish,
) -> Result<Encoded, ImageError> {
    let mut decoder = webp_decoder(bytes, census)?;
    let lossless = !decoder.is_lossy();
    let model = if decoder.has_alpha() { Model::Rgba } else { Model::Rgb };
    let mut file = Container::new(finish.output_size(), model.has_alpha(), census.loops.unwrap_or(0));
    let mut before: Option<Raster> = None;
    for _ in 0..census.frames {
        let mut canvas = Raster::blank(census.width, census.height, model);
        let delay = decoder.read_frame(&mut canvas.data).map_err(webp_error)?;
        let frame = finish.apply(canvas)?;
        let area = match &before {
            Some(before) => even_corner(changed_area(before, &frame)),
            None => Area { x: 0, y: 0, width: frame.width, height: frame.height },
        };
        let part = frame.crop(area);
        let still = if lossless { lossless_webp(&part)? } else { lossy_webp(&part, rules)? };
        file.push(area, delay, &still)?;
        before = Some(frame);
    }
    Ok(Encoded { bytes: file.finish()?, frames: census.frames })
}

/// Frames can only begin at even offsets.
fn even_corner(area: Area) -> Area {
    let (dx, dy) = (area.x % 2, area.y % 2);
    Area { x: area.x - dx, y: area.y - dy, width: area.width + dx, height: area.height + dy }
}

/// The RIFF container of an animation.
struct Container(Vec<u8>);

impl Container {
    /// The headers. Whether any frame is transparent is the canvas's business: the flag is for all of them.
    fn new((width, height): (u32, u32), alpha: bool, loops: u32) -> Self {
        let mut file = Self(b"RIFF\0\0\0\0WEBP".to_vec());
        let mut header = vec![ANIMATION | if alpha { ALPHA } else { 0 }, 0, 0, 0];
        header.extend(u24(width - 1));
        header.extend(u24(height - 1));
        file.chunk(*b"VP8X", &header);
        let [low, high, ..] = loops.to_le_bytes();
        // The background is a hint that viewers ignore; transparent black is the neutral one.
        file.chunk(*b"ANIM", &[0, 0, 0, 0, low, high]);
        file
    }

    /// Adds a frame: its place, its milliseconds, and the picture chunks out of a still WebP.
    fn push(&mut self, area: Area, delay: u32, still: &[u8]) -> Result<(), ImageError> {
        let mut frame = Vec::with_capacity(still.len() + 16);
        for value in [area.x / 2, area.y / 2, area.width - 1, area.height - 1, delay] {
            frame.extend(u24(value));
        }
        frame.push(DO_NOT_BLEND);
        let pictures = picture_chunks(still);
        if pictures.is_empty() {
            return Err(ImageError::Failed("WebP encoder wrote no picture".to_owned()));
        }
        frame.extend_from_slice(&pictures);
        self.chunk(*b"ANMF", &frame);
        Ok(())
    }

    /// Appends a chunk, padded to an even length.
    fn chunk(&mut self, name: [u8; 4], content: &[u8]) {
        self.0.extend(name);
        self.0.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend(content);
        if content.len() % 2 == 1 {
            self.0.push(0);
        }
    }

    /// Fills in the container's length.
    fn finish(mut self) -> Result<Vec<u8>, ImageError> {
        let size = u32::try_from(self.0.len() - 8).map_err(|error| ImageError::failed("WebP size", error))?;
        self.0[4..8].copy_from_slice(&size.to_le_bytes());
        Ok(self.0)
    }
}

/// The ALPH, VP8 and VP8L chunks of our own still WebP, padded, in their order.
fn picture_chunks(still: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::with_capacity(still.len());
    let mut rest = still.get(12..).unwrap_or_default();
    while let [n0, n1, n2, n3, l0, l1, l2, l3, ..] = *rest {
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (chunk, after) = rest.split_at(rest.len().min(8 + length + length % 2));
        if matches!(&[n0, n1, n2, n3], b"ALPH" | b"VP8 " | b"VP8L") {
            chunks.extend_from_slice(chunk);
        }
        rest = after;
    }
    chunks
}

/// The low 24 bits, little-endian.
fn u24(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}

/// An animation for tests: frames of those sizes and milliseconds on a canvas of 42 x 20.
#[cfg(test)]
pub(in crate::image) fn of_frames(frames: &[(u32, u32, u32)], loops: u32, lossy: bool) -> Vec<u8> {
    let mut file = Container::new((42, 20), true, loops);
    for &(width, height, delay) in frames {
        let shade = u8::try_from(width * 3).unwrap_or(0);
        let data = [shade, 0, 255 - shade, 200].repeat((width * height) as usize);
        let picture = Raster { width, height, model: Model::Rgba, data };
        let still = if lossy { lossy_webp(&picture, &ImageRules::default()) } else { lossless_webp(&picture) };
        file.push(Area { x: 0, y: 0, width, height }, delay, &still.unwrap()).unwrap();
    }
    file.finish().unwrap()
}
