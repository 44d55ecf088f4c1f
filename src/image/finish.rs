//! What happens to decoded pixels before they are encoded: fit, then orient, then colour.
//!
//! In this order because each step is paid per pixel: rotating and converting the small picture is cheaper
//! than the large one.

use fast_image_resize::Resizer;

use super::ImageError;
use super::census::Census;
use super::colour::Colour;
use super::raster::Raster;
use super::{fit, orient};
use crate::policy::ImageRules;

/// The steps for one image; an animation sends every frame through the same ones.
pub(super) struct Finish {
    stored: (u32, u32),
    /// The size after fitting, still in the stored orientation.
    fitted: (u32, u32),
    orientation: u8,
    colour: Option<Colour>,
    resizer: Resizer,
}

impl Finish {
    /// Plans the steps from the census alone, so that the output's size is known before anything is decoded.
    pub fn new(census: &Census, rules: &ImageRules) -> Self {
        let stored = (census.width, census.height);
        let orientation = census.orientation;
        // The box is for the picture as it is seen; the fitting happens before it is turned.
        let limit = turned((rules.max_width, rules.max_height), orientation);
        Self {
            stored,
            fitted: fit::inside(stored, limit),
            orientation,
            colour: census.icc.as_deref().and_then(Colour::from_icc),
            resizer: Resizer::new(),
        }
    }

    /// Fits, orients and converts one raster of the stored size.
    pub fn apply(&mut self, raster: Raster) -> Result<Raster, ImageError> {
        let fitted =
            if raster.size() == self.fitted { raster } else { fit::resize(&mut self.resizer, &raster, self.fitted)? };
        let oriented = orient::apply(fitted, self.orientation);
        Ok(match &self.colour {
            Some(colour) => colour.convert(oriented),
            None => oriented,
        })
    }

    /// The size of the output, as it is seen.
    pub fn output_size(&self) -> (u32, u32) {
        turned(self.fitted, self.orientation)
    }

    /// The original size as it is seen, where it is not the output's.
    pub fn resized_from(&self) -> Option<(u32, u32)> {
        (self.fitted != self.stored).then(|| turned(self.stored, self.orientation))
    }

    /// The orientation that had to be baked in, 2 to 8.
    pub fn orientation_applied(&self) -> Option<u8> {
        (self.orientation > 1).then_some(self.orientation)
    }

    /// Whether every sample leaves as it came, so that a palette may be kept.
    pub fn keeps_samples(&self) -> bool {
        self.fitted == self.stored && self.orientation <= 1 && self.colour.is_none()
    }
}

/// The sides in the other order where the orientation lays the picture on its side.
fn turned((width, height): (u32, u32), orientation: u8) -> (u32, u32) {
    if orient::swaps_sides(orientation) { (height, width) } else { (width, height) }
}
