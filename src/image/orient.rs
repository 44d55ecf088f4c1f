//! Baking in the EXIF orientation: viewers honour the tag, so a picture without it must lie right by itself.

use super::raster::Raster;

/// Whether an orientation swaps width and height.
pub(super) fn swaps_sides(orientation: u8) -> bool {
    matches!(orientation, 5..=8)
}

/// The picture as a viewer that honours `orientation` (EXIF, 1 to 8) shows it; other values change nothing.
pub(super) fn apply(raster: Raster, orientation: u8) -> Raster {
    match (orientation, raster.model.channels()) {
        (2..=8, 1) => apply_to::<1>(raster, orientation),
        (2..=8, 2) => apply_to::<2>(raster, orientation),
        (2..=8, 3) => apply_to::<3>(raster, orientation),
        (2..=8, 4) => apply_to::<4>(raster, orientation),
        _ => raster,
    }
}

fn apply_to<const N: usize>(mut raster: Raster, orientation: u8) -> Raster {
    if swaps_sides(orientation) {
        raster = transpose::<N>(&raster);
    }
    // What is left after the transposition is a pair of mirrors: (left to right, top to bottom).
    let (mirror, flip) = match orientation {
        2 | 6 => (true, false),
        3 | 7 => (true, true),
        4 | 8 => (false, true),
        _ => (false, false),
    };
    let stride = raster.stride();
    if mirror {
        for row in raster.data.chunks_exact_mut(stride) {
            row.as_chunks_mut::<N>().0.reverse();
        }
    }
    if flip {
        let (top, bottom) = raster.data.split_at_mut(raster.height as usize / 2 * stride);
        for (upper, lower) in top.chunks_exact_mut(stride).zip(bottom.rchunks_exact_mut(stride)) {
            upper.swap_with_slice(lower);
        }
    }
    raster
}

/// Mirrors along the diagonal. It walks tiles, because columns of a large picture miss the cache at every step.
fn transpose<const N: usize>(source: &Raster) -> Raster {
    const TILE: usize = 32;
    let (width, height) = (source.width as usize, source.height as usize);
    let mut target = Raster::blank(source.height, source.width, source.model);
    let from = source.data.as_chunks::<N>().0;
    let to = target.data.as_chunks_mut::<N>().0;
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for x in left..(left + TILE).min(width) {
                for y in top..(top + TILE).min(height) {
                    to[x * height + y] = from[y * width + x];
                }
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::raster::Model;

    #[test]
    fn every_orientation_puts_the_pixels_where_a_viewer_shows_them() {
        // 1 2 3
        // 4 5 6
        let stored = Raster { width: 3, height: 2, model: Model::Gray, data: vec![1, 2, 3, 4, 5, 6] };
        for (orientation, width, data) in [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
            (9, 3, [1, 2, 3, 4, 5, 6]),
        ] {
            let shown = apply(stored.clone(), orientation);
            assert_eq!((shown.width, &shown.data[..]), (width, &data[..]), "orientation {orientation}");
        }
    }
}
