//! How much memory an image needs, told from its header, so that a permit for it can be had first.

use super::census::Census;
use super::fit;
use crate::media::MediaType;
use crate::policy::{ImageRules, OutputFormat};

/// Decoder tables, profiles, lookup tables, allocator slack.
const BASE: u64 = 24 << 20;

/// Bytes of memory that sanitizing this image will need at most, from the header alone.
///
/// `bytes` themselves are not counted. An image that will be refused before decoding needs next to nothing.
#[must_use]
pub fn memory_needed(bytes: &[u8], media: MediaType, rules: &ImageRules) -> u64 {
    let Ok(census) = Census::take(bytes, media) else { return BASE };
    if super::check_limits(&census, rules).is_err() {
        return BASE;
    }
    let pixels = census.pixels();
    // The box is square for the estimate: an orientation may still turn the picture.
    let side = rules.max_width.max(rules.max_height);
    let (width, height) = fit::inside((census.width, census.height), (side, side));
    let fitted = u64::from(width) * u64::from(height);
    // The bytes that are alive at once while one pixel is decoded, and while one pixel of the fitted picture
    // is resampled, turned and encoded.
    let (decoding, encoding) = match media {
        // Three or four channels, where need be with all coefficients of 16 bits.
        MediaType::Jpeg if census.many_scans => (12, 24),
        MediaType::Jpeg => (4, 24),
        // Four channels, and once more weighted by alpha for the resampling.
        MediaType::Png if census.frames == 1 => (8, 16),
        // The bitstream's planes beside the pixels; libwebp has argb, planes and tokens.
        MediaType::Webp if census.frames == 1 => (8, 32),
        // Patch, canvas, what it was before, the copy that is finished, and that one weighted by alpha.
        _ => (24, 40),
    };
    // Resampling passes through a picture that is narrow already and still high.
    let between = u64::from(width) * u64::from(census.height) * 4;
    let jpeg = if rules.output == OutputFormat::Jpeg { fitted * 12 } else { 0 };
    BASE + pixels * decoding + census.overhang * 2 + between + fitted * encoding + jpeg + bytes.len() as u64 * 2
}
