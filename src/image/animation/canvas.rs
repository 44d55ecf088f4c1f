//! The canvas on which the frames of a GIF or an animated PNG are laid on one another.

use crate::image::raster::{Area, Model, Raster};

/// What happens to a frame's area when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposal {
    Keep,
    /// The area becomes transparent.
    Clear,
    /// The area becomes what it was before the frame.
    Restore,
}

/// One frame as it is stored: a patch with its place on the canvas.
pub(super) struct Patch {
    /// Red, green, blue, alpha.
    pub pixels: Raster,
    pub x: u32,
    pub y: u32,
    /// Laid over the canvas by its alpha, instead of replacing it.
    pub over: bool,
    pub disposal: Disposal,
}

/// The canvas between two frames.
pub(super) struct Canvas {
    shown: Raster,
    /// What the next frame does first with the area of the last one.
    due: Option<(Area, Disposal)>,
    before: Option<Raster>,
}

impl Canvas {
    /// An empty canvas. A GIF's background colour is ignored, as browsers do.
    pub fn new(width: u32, height: u32) -> Self {
        Self { shown: Raster::blank(width, height, Model::Rgba), due: None, before: None }
    }

    /// Shows the next frame. What lies outside of the canvas is not seen, as in browsers.
    pub fn show(&mut self, patch: &Patch) -> &Raster {
        self.dispose();
        let width = patch.pixels.width.min(self.shown.width.saturating_sub(patch.x));
        let height = patch.pixels.height.min(self.shown.height.saturating_sub(patch.y));
        if width > 0 && height > 0 {
            let area = Area { x: patch.x, y: patch.y, width, height };
            self.due = Some((area, patch.disposal));
            if patch.disposal == Disposal::Restore {
                self.before = Some(self.shown.crop(area));
            }
            self.lay(patch, area);
        }
        &self.shown
    }

    /// Does what the last frame asked for at its end.
    fn dispose(&mut self) {
        match (self.due.take(), self.before.take()) {
            (Some((area, Disposal::Clear)), _) => self.rows(area).for_each(|row| row.fill(0)),
            (Some((area, Disposal::Restore)), Some(before)) => {
                let stride = before.stride();
                for (row, old) in self.rows(area).zip(before.data.chunks_exact(stride)) {
                    row.copy_from_slice(old);
                }
            }
            _ => {}
        }
    }

    /// Puts the visible part of a patch on the canvas.
    fn lay(&mut self, patch: &Patch, area: Area) {
        let stride = patch.pixels.stride();
        for (row, source) in self.rows(area).zip(patch.pixels.data.chunks_exact(stride)) {
            let length = row.len();
            if patch.over {
                for (under, over) in row.as_chunks_mut::<4>().0.iter_mut().zip(source.as_chunks::<4>().0) {
                    *under = composed(*under, *over);
                }
            } else {
                row.copy_from_slice(&source[..length]);
            }
        }
    }

    /// The rows of an area, which must lie inside.
    fn rows(&mut self, area: Area) -> impl Iterator<Item = &mut [u8]> {
        let stride = self.shown.stride();
        let (start, length) = (area.x as usize * 4, area.width as usize * 4);
        let rows = self.shown.data.chunks_exact_mut(stride).skip(area.y as usize).take(area.height as usize);
        rows.map(move |row| &mut row[start..start + length])
    }
}

/// One pixel over another, by the rule of the PNG specification (straight alpha), rounded.
fn composed(under: [u8; 4], over: [u8; 4]) -> [u8; 4] {
    match (over[3], under[3]) {
        (255, _) | (_, 0) => over,
        (0, _) => under,
        (top, bottom) => {
            let (top, bottom) = (u32::from(top) * 255, u32::from(bottom) * u32::from(255 - top));
            let alpha = top + bottom;
            let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
            let mix = |o: u8, u: u8| byte((u32::from(o) * top + u32::from(u) * bottom + alpha / 2) / alpha);
            let [r, g, b, _] = over;
            [mix(r, under[0]), mix(g, under[1]), mix(b, under[2]), byte((alpha + 127) / 255)]
        }
    }
}
