//! Image sanitizing: decode under limits, fit, orient, convert to sRGB, encode without metadata.
//!
//! Only pixels cross from the original to the output: the encoders are fed rasters and know nothing of the
//! file, so no chunk, comment or tail can travel along. Read [`sanitize`] from the top: a [`Census`] walks
//! the container once (size, frames, what metadata is there), the rules are applied to it before any pixel
//! is decoded, and then a still image or an animation goes its way.
//!
//! All decoders are memory-safe Rust. The one part in C is the lossy WebP encoder, which sees our own
//! pixels only.

mod animation;
mod census;
mod colour;
mod decode;
mod encode;
mod finish;
mod fit;
mod memory;
mod orient;
mod raster;
mod specimen;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use census::Census;
use finish::Finish;

use crate::media::MediaType;
use crate::policy::{ImageRules, OutputFormat};
use crate::verdict::{Action, Reason, ReasonCode, Sanitization, Stage};

pub use memory::memory_needed;
pub use specimen::specimens;

/// The sanitized form of an image.
#[derive(Debug)]
pub struct Sanitized {
    /// The format of `bytes`: the original's, or JPEG where the rules ask for it.
    pub media: MediaType,
    pub bytes: Vec<u8>,
    pub facts: Sanitization,
}

/// Why there is no sanitized form.
#[derive(Debug)]
pub enum ImageError {
    /// The file's own doing: the verdict is rejected, for these reasons (stage `sanitize`).
    Refused(Vec<Reason>),
    /// Our trouble, such as an encoder that fails on our own pixels: a fault, never a verdict.
    Failed(String),
}

impl ImageError {
    fn refused(code: ReasonCode, detail: impl AsRef<str>) -> Self {
        Self::Refused(vec![Reason::new(code, Stage::Sanitize, detail)])
    }

    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// An encoded image and how many frames it has.
struct Encoded {
    bytes: Vec<u8>,
    frames: u32,
}

/// Decodes an image and encodes its pixels anew, within the rules.
///
/// The same bytes and rules give the same output. A file with one frame stays a still image, an animation
/// keeps frames, delays and loops unless the output is JPEG, which shows the first frame.
///
/// # Errors
/// [`ImageError::Refused`] when the image breaks a limit or cannot be decoded, a decoder's panic included;
/// [`ImageError::Failed`] for trouble of our own.
pub fn sanitize(bytes: &[u8], media: MediaType, rules: &ImageRules) -> Result<Sanitized, ImageError> {
    guarded(|| sanitize_unguarded(bytes, media, rules))
}

/// Makes a panic a refusal. The decoders are memory-safe, so that a file which breaks their assumptions ends in
/// a panic and not in something worse.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    // Nothing is shared with the closure's inside: a panic leaves no broken state behind.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ImageError::refused(ReasonCode::Undecodable, "the decoder gave up on this image")))
}

/// The pipeline, from the container to the facts.
fn sanitize_unguarded(bytes: &[u8], media: MediaType, rules: &ImageRules) -> Result<Sanitized, ImageError> {
    let census = Census::take(bytes, media)?;
    check_limits(&census, rules)?;

    let output = match rules.output {
        OutputFormat::Same => media,
        OutputFormat::Jpeg => MediaType::Jpeg,
    };
    let mut finish = Finish::new(&census, rules);
    encode::check_sides(output, finish.output_size())?;

    // A GIF with one frame is an animation too: its encoder keeps the palette.
    let animated = output == media && (census.frames > 1 || media == MediaType::Gif);
    let encoded = if animated {
        animation::reencode(bytes, media, &census, rules, &mut finish)?
    } else {
        still(bytes, media, output, &census, rules, &mut finish)?
    };

    let (width, height) = finish.output_size();
    let facts = Sanitization {
        action: Action::Reencoded,
        removed: census.removed.into_iter().collect(),
        width: Some(width),
        height: Some(height),
        frames: Some(encoded.frames),
        orientation_applied: finish.orientation_applied(),
        resized_from: finish.resized_from(),
    };
    Ok(Sanitized { media: output, bytes: encoded.bytes, facts })
}

/// A still image, or the first frame of an animation as one.
fn still(
    bytes: &[u8],
    media: MediaType,
    output: MediaType,
    census: &Census,
    rules: &ImageRules,
    finish: &mut Finish,
) -> Result<Encoded, ImageError> {
    // A palette halves a PNG or better; it survives where no pixel needs to change.
    let keeps_palette = media == MediaType::Png && output == media && finish.keeps_samples();
    if keeps_palette && let Some(bytes) = encode::indexed_png(bytes, census)? {
        return Ok(Encoded { bytes, frames: 1 });
    }
    let decoded = decode::still(bytes, media, census, rules)?;
    let raster = finish.apply(decoded.raster)?;
    let bytes = encode::still(raster, output, rules, decoded.lossless)?;
    Ok(Encoded { bytes, frames: 1 })
}

/// The limits, applied to what the container says before a pixel is decoded: a flood of pixels or frames
/// costs its sender a header and must not cost us more.
fn check_limits(census: &Census, rules: &ImageRules) -> Result<(), ImageError> {
    let &Census { width, height, frames, .. } = census;
    if census.pixels() > rules.max_pixels {
        let detail = format!("{width} x {height} pixels, at most {} in all", rules.max_pixels);
        return Err(ImageError::refused(ReasonCode::ImageTooLarge, detail));
    }
    if frames > rules.max_frames {
        let detail = format!("{frames} frames, at most {}", rules.max_frames);
        return Err(ImageError::refused(ReasonCode::TooManyFrames, detail));
    }
    if census.total_pixels() > rules.max_total_pixels {
        let detail = format!("{frames} frames of {width} x {height}, at most {} pixels in all", rules.max_total_pixels);
        return Err(ImageError::refused(ReasonCode::TooManyFrames, detail));
    }
    Ok(())
}
