//! Animations: each format's frames go through the same finish, one at a time, and keep delay and loop count.
//!
//! Where pixels change (resized, converted) frames are composed first: a frame that only repaints a part of
//! the canvas cannot be resampled by itself without seams. Writers then cut each frame down to what differs
//! from the one before.

mod canvas;
mod gif;
mod palette;
mod png;
mod webp;

use super::census::Census;
use super::finish::Finish;
use super::raster::{Area, Raster};
use super::{Encoded, ImageError};
use crate::media::MediaType;
use crate::policy::ImageRules;

pub(super) use gif::first_frame as gif_first_frame;
#[cfg(test)]
pub(super) use webp::of_frames as webp_of_frames;

/// Re-encodes every frame of an animation in its own format.
pub(super) fn reencode(
    bytes: &[u8],
    media: MediaType,
    census: &Census,
    rules: &ImageRules,
    finish: &mut Finish,
) -> Result<Encoded, ImageError> {
    match media {
        MediaType::Gif => gif::reencode(bytes, census, rules, finish),
        MediaType::Png => png::reencode(bytes, census, finish),
        MediaType::Webp => webp::reencode(bytes, census, rules, finish),
        _ => Err(ImageError::Failed(format!("no animations in {media}"))),
    }
}

/// The smallest area in which two rasters of one shape differ. Never empty: a frame without any change still
/// takes its time, and formats have no frame without pixels.
fn changed_area(before: &Raster, after: &Raster) -> Area {
    let (stride, channels) = (after.stride(), after.model.channels());
    let rows = || before.data.chunks_exact(stride).zip(after.data.chunks_exact(stride));
    let differs = |(a, b): (&[u8], &[u8])| a != b;
    let Some(top) = rows().position(differs) else { return Area { x: 0, y: 0, width: 1, height: 1 } };
    let bottom = rows().rposition(differs).unwrap_or(top);
    let (mut left, mut right) = (stride / channels, 0);
    for (a, b) in rows().skip(top).take(bottom - top + 1) {
        let mut pixels = a.chunks_exact(channels).zip(b.chunks_exact(channels));
        left = left.min(pixels.clone().position(|(a, b)| a != b).unwrap_or(left));
        right = right.max(pixels.rposition(|(a, b)| a != b).unwrap_or(right));
    }
    let pixels = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Area { x: pixels(left), y: pixels(top), width: pixels(right - left + 1), height: pixels(bottom - top + 1) }
}
