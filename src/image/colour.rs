//! Colour: an embedded ICC profile is applied and dropped, so that the output is sRGB without saying so.
//!
//! A profile that is broken or belongs to another kind of image is ignored: browsers show such files as
//! sRGB, and a colour shift harms nobody.

use crate::limits::StructureLimits;
use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, ParsingOptions, Transform8BitExecutor, TransformOptions};

use super::raster::{Model, Raster};

/// Pixels converted per call: the scratch space stays in the cache.
const BATCH: usize = 4096;

/// What an image's profile describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Gray,
    Rgb,
    Cmyk,
}

/// A profile that can be read and is not sRGB already.
pub(super) struct Colour {
    profile: ColorProfile,
    space: Space,
}

impl Colour {
    /// Reads a profile. `None` for a broken one and for spaces that images here do not have.
    pub fn from_icc(icc: &[u8]) -> Option<Self> {
        let options = ParsingOptions {
            max_profile_size: StructureLimits::PROFILE_BYTES,
            max_allowed_clut_size: StructureLimits::PROFILE_BYTES,
            ..ParsingOptions::default()
        };
        let profile = ColorProfile::new_from_slice_with_options(icc, options).ok()?;
        let space = match profile.color_space {
            DataColorSpace::Gray => Space::Gray,
            DataColorSpace::Rgb => Space::Rgb,
            DataColorSpace::Cmyk => Space::Cmyk,
            _ => return None,
        };
        Some(Self { profile, space })
    }

    /// The kind of image the profile belongs to.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Converts a raster to sRGB (CMYK becomes RGB), or leaves it alone where the profile does not fit it.
    pub fn convert(&self, raster: Raster) -> Raster {
        let (space, source, target) = match raster.model {
            Model::Gray => (Space::Gray, Layout::Gray, Layout::Gray),
            Model::GrayAlpha => (Space::Gray, Layout::GrayAlpha, Layout::GrayAlpha),
            Model::Rgb => (Space::Rgb, Layout::Rgb, Layout::Rgb),
            Model::Rgba => (Space::Rgb, Layout::Rgba, Layout::Rgba),
            Model::Cmyk => (Space::Cmyk, Layout::Rgba, Layout::Rgb),
        };
        if space != self.space {
            return raster;
        }
        let options =
            TransformOptions { rendering_intent: self.profile.rendering_intent, ..TransformOptions::default() };
        let srgb = ColorProfile::new_srgb();
        match self.profile.create_transform_8bit(source, &srgb, target, options) {
            Ok(transform) if raster.model == Model::Cmyk => from_cmyk(&raster, &transform),
            Ok(transform) if !changes_nothing(&transform, raster.model) => in_place(raster, &transform),
            _ if raster.model == Model::Cmyk => without_profile(&raster),
            _ => raster,
        }
    }
}

/// Whether the transform maps a grid of colours to themselves, give or take one step: most profiles in the
/// wild are sRGB under one name or another, and converting those would only cost time and add rounding.
fn changes_nothing(transform: &Arc<Transform8BitExecutor>, model: Model) -> bool {
    const STEPS: [u8; 6] = [0, 51, 102, 153, 204, 255];
    let colours = STEPS.iter().flat_map(|&r| STEPS.iter().flat_map(move |&g| STEPS.iter().map(move |&b| [r, g, b])));
    let grid: Vec<u8> = match model {
        Model::Gray => (0..=255).collect(),
        Model::GrayAlpha => (0..=255).flat_map(|v| [v, 255]).collect(),
        Model::Rgb | Model::Cmyk => colours.flatten().collect(),
        Model::Rgba => colours.flat_map(|[r, g, b]| [r, g, b, 255]).collect(),
    };
    let mut mapped = vec![0; grid.len()];
    transform.transform(&grid, &mut mapped).is_ok() && grid.iter().zip(&mapped).all(|(a, b)| a.abs_diff(*b) <= 1)
}

/// Converts batch by batch into the same memory: a second picture would double the peak.
fn in_place(mut raster: Raster, transform: &Arc<Transform8BitExecutor>) -> Raster {
    let mut scratch = vec![0; BATCH * raster.model.channels()];
    for pixels in raster.data.chunks_mut(BATCH * raster.model.channels()) {
        let source = &mut scratch[..pixels.len()];
        source.copy_from_slice(pixels);
        if transform.transform(source, pixels).is_err() {
            pixels.copy_from_slice(source);
        }
    }
    raster
}

/// Four inks become three colours, so this one needs a second picture.
fn from_cmyk(raster: &Raster, transform: &Arc<Transform8BitExecutor>) -> Raster {
    let mut target = Raster::blank(raster.width, raster.height, Model::Rgb);
    for (inks, colours) in raster.data.chunks(BATCH * 4).zip(target.data.chunks_mut(BATCH * 3)) {
        if transform.transform(inks, colours).is_err() {
            return without_profile(raster);
        }
    }
    target
}

/// CMYK as light that is left over, for images whose profile turned out to be unusable.
fn without_profile(raster: &Raster) -> Raster {
    let left = |ink: u8, black: u8| {
        let light = u32::from(255 - ink) * u32::from(255 - black);
        u8::try_from((light + 127) / 255).unwrap_or(u8::MAX)
    };
    let data =
        raster.data.chunks_exact(4).flat_map(|p| [left(p[0], p[3]), left(p[1], p[3]), left(p[2], p[3])]).collect();
    Raster { width: raster.width, height: raster.height, model: Model::Rgb, data }
}
