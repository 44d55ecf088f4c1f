//! A palette of at most 256 colours for one frame of a GIF.

use std::collections::HashMap;

use color_quant::NeuQuant;

/// Pixels that the search for a palette looks at. More of them cost time and find nothing new.
const SAMPLES: usize = 100_000;
/// Pixels that it needs for a good answer; those of a smaller picture are shown to it again.
const LESSONS: usize = 8_000;
/// Bits per channel in which pixels count as one colour when they are given their place in the palette.
const BITS: u8 = 6;

/// Indices into a palette of red, green and blue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Paletted {
    pub indices: Vec<u8>,
    pub palette: Vec<u8>,
    pub transparent: Option<u8>,
}

/// Finds a palette. It is exact where 256 entries suffice; pixels must be opaque or all zero.
pub(super) fn paletted(pixels: &[[u8; 4]]) -> Paletted {
    exact(pixels).unwrap_or_else(|| nearest(pixels))
}

/// Numbers colours as they appear. `None` once there are too many.
fn exact(pixels: &[[u8; 4]]) -> Option<Paletted> {
    let (mut numbers, mut palette, mut transparent) = (HashMap::new(), Vec::new(), None);
    let mut indices = Vec::with_capacity(pixels.len());
    let mut last = None;
    for &pixel in pixels {
        let number = match last {
            Some((colour, number)) if colour == pixel => number,
            _ => {
                let next = numbers.len();
                *numbers.entry(pixel).or_insert_with(|| {
                    palette.extend_from_slice(&pixel[..3]);
                    u8::try_from(next)
                })
            }
        };
        let index = number.ok()?;
        if pixel[3] == 0 {
            transparent = Some(index);
        }
        indices.push(index);
        last = Some((pixel, number));
    }
    Some(Paletted { indices, palette, transparent })
}

/// Learns a palette from a sample. Transparency takes the last entry, so that no colour falls through it.
fn nearest(pixels: &[[u8; 4]]) -> Paletted {
    let opaque: Vec<u8> = pixels.iter().filter(|pixel| pixel[3] != 0).flatten().copied().collect();
    let transparent = (opaque.len() < pixels.len() * 4).then_some(u8::MAX);
    let colours = if transparent.is_some() { 255 } else { 256 };
    let count = (opaque.len() / 4).max(1);
    let speed = i32::try_from(count / SAMPLES).unwrap_or(30).clamp(1, 30);
    let network = NeuQuant::new(speed, colours, &opaque.repeat((LESSONS / count).max(1)));
    let mut palette = network.color_map_rgb();
    palette.resize(256 * 3, 0);

    // Searching the network for every pixel would take most of an animation's time.
    let mut found: Vec<Option<u8>> = vec![None; 1 << (3 * BITS)];
    let place = |pixel: &[u8; 4]| {
        if pixel[3] == 0 {
            return u8::MAX;
        }
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|value| usize::from(value >> (8 - BITS)));
        let search = || u8::try_from(network.index_of(pixel)).unwrap_or_default();
        *found[r << (2 * BITS) | g << BITS | b].get_or_insert_with(search)
    };
    Paletted { indices: pixels.iter().map(place).collect(), palette, transparent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_stay_exact() {
        let pixels: Vec<_> = (0..=u8::MAX).map(|value| [value, 0, 255 - value, 255]).collect();
        let found = paletted(&pixels);
        assert_eq!((found.palette.len(), found.transparent), (768, None));
        for (pixel, index) in pixels.iter().zip(found.indices) {
            assert_eq!(found.palette[usize::from(index) * 3..][..3], pixel[..3]);
        }
    }

    #[test]
    fn many_colours_come_close_and_never_become_transparent() {
        let mut pixels: Vec<_> =
            (0..4096_u16).map(|n| [n % 64 * 4, n / 64 * 4, 0, 255].map(|value| u8::try_from(value).unwrap())).collect();
        pixels.push([0; 4]);
        let found = paletted(&pixels);
        let hole = found.transparent.unwrap();
        assert_eq!(found.indices.last(), Some(&hole));
        for (pixel, index) in pixels.iter().zip(&found.indices).take(4096) {
            assert_ne!(*index, hole);
            let colour = &found.palette[usize::from(*index) * 3..][..3];
            assert!(colour.iter().zip(pixel).all(|(a, b)| a.abs_diff(*b) < 40), "{pixel:?} became {colour:?}");
        }
    }
}
