//! A small image of each kind, made by our own encoders: for the test that decoders and encoders can do their work.

use super::encode;
use super::raster::{Model, Raster};
use super::{ImageError, MediaType};
use crate::policy::ImageRules;

/// Pixels of a side: more than one block of any format.
const SIDE: u16 = 40;

/// One image of each type, half transparent where the type can be.
///
/// # Errors
/// In words, when an encoder fails.
pub fn specimens() -> Result<Vec<(MediaType, Vec<u8>)>, String> {
    let words = |error: ImageError| format!("{error:?}");
    let rules = ImageRules::default();
    let mut specimens = Vec::new();
    for media in [MediaType::Jpeg, MediaType::Png, MediaType::Webp] {
        specimens.push((media, encode::still(slope(), media, &rules, false).map_err(words)?));
    }
    specimens.push((MediaType::Gif, gif().map_err(|error| format!("GIF encoder: {error}"))?));
    Ok(specimens)
}

fn slope() -> Raster {
    let mut raster = Raster::blank(SIDE.into(), SIDE.into(), Model::Rgba);
    for (at, byte) in raster.data.iter_mut().enumerate() {
        *byte = u8::try_from(at * 7 % 251).unwrap_or_default();
    }
    raster
}

fn gif() -> Result<Vec<u8>, gif::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, SIDE, SIDE, &[0, 0, 0, 255, 255, 255])?;
    for colour in 0..2 {
        let buffer = vec![colour; usize::from(SIDE) * usize::from(SIDE)].into();
        encoder.write_frame(&gif::Frame { width: SIDE, height: SIDE, buffer, ..gif::Frame::default() })?;
    }
    drop(encoder);
    Ok(bytes)
}
