//! What every image walker finds out, and the limits that hold for all of them.

use super::findings::Findings;
use crate::policy::ImageRules;
use crate::verdict::ReasonCode;

/// The measure of an image as its headers give it. Decoding counts again, because headers lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Canvas {
    pub width: u32,
    pub height: u32,
    pub frames: u32,
}

impl Canvas {
    pub fn still(width: u32, height: u32) -> Self {
        Self { width, height, frames: 1 }
    }

    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Compares with the policy before anything is allocated for the picture (pixel and frame floods).
    pub fn judge(self, rules: &ImageRules, findings: &mut Findings) {
        let Self { width, height, frames } = self;
        if self.pixels() > rules.max_pixels {
            let limit = rules.max_pixels;
            findings.add(ReasonCode::ImageTooLarge, format!("{width} x {height} pixels, the limit is {limit} in all"));
        }
        if frames > rules.max_frames {
            findings.add(ReasonCode::TooManyFrames, format!("{frames} frames, the limit is {}", rules.max_frames));
        }
        if frames > 1 && self.pixels().saturating_mul(u64::from(frames)) > rules.max_total_pixels {
            let limit = rules.max_total_pixels;
            let detail = format!("{frames} frames of {width} x {height} pixels, the limit is {limit} pixels in all");
            findings.add(ReasonCode::ImageTooLarge, detail);
        }
    }
}
