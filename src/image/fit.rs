//! Fitting a picture into the rules' box, and the resampling.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::ImageError;
use super::raster::{Model, Raster};

/// The size of a `width` x `height` picture inside a box: proportions kept, never enlarged, no side zero.
pub(super) fn inside((width, height): (u32, u32), (max_width, max_height): (u32, u32)) -> (u32, u32) {
    if width <= max_width && height <= max_height {
        return (width, height);
    }
    // width / max_width against height / max_height, without division: the tighter side decides.
    if u64::from(width) * u64::from(max_height) >= u64::from(height) * u64::from(max_width) {
        (max_width, scaled(height, max_width, width))
    } else {
        (scaled(width, max_height, height), max_height)
    }
}

/// `side * to / from`, rounded, at least one pixel. `to` is below `from`, so the result is below `side`.
fn scaled(side: u32, to: u32, from: u32) -> u32 {
    let rounded = (u64::from(side) * u64::from(to) + u64::from(from) / 2) / u64::from(from).max(1);
    u32::try_from(rounded).unwrap_or(side).max(1)
}

/// Resamples with Lanczos3; colour under transparency is weighted by its alpha.
pub(super) fn resize(
    resizer: &mut Resizer,
    source: &Raster,
    (width, height): (u32, u32),
) -> Result<Raster, ImageError> {
    let pixel_type = match source.model {
        Model::Gray => PixelType::U8,
        Model::GrayAlpha => PixelType::U8x2,
        Model::Rgb => PixelType::U8x3,
        Model::Rgba | Model::Cmyk => PixelType::U8x4,
    };
    // The fourth channel of CMYK is ink: weighting the others by it would ruin the picture.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .use_alpha(source.model.has_alpha());
    let view = ImageRef::new(source.width, source.height, &source.data, pixel_type)
        .map_err(|error| ImageError::failed("resize input", error))?;
    let mut target = Image::new(width, height, pixel_type);
    resizer.resize(&view, &mut target, &options).map_err(|error| ImageError::failed("resize", error))?;
    Ok(Raster { width, height, model: source.model, data: target.into_vec() })
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn pictures_shrink_in_proportion_and_never_grow_or_vanish() {
        for (size, expected) in [
            ((4000, 3000), (2000, 1500)),
            ((3000, 4000), (1500, 2000)),
            ((2001, 2001), (2000, 2000)),
            ((2000, 1), (2000, 1)),
            ((60_000, 1), (2000, 1)),
            ((1, 60_000), (1, 2000)),
            ((3, 60_000), (1, 2000)),
            ((640, 480), (640, 480)),
            ((4032, 3024), (2000, 1500)),
        ] {
            assert_eq!(inside(size, (2000, 2000)), expected, "{size:?}");
        }
        assert_eq!(inside((4000, 3000), (2000, 100)), (133, 100));
    }
}
