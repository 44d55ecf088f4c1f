//! Pixels to a file of a still image, with nothing in it that is not needed to show the pixels.

use jpeg_encoder::{ColorType as JpegColor, Encoder as JpegEncoder};

use super::ImageError;
use super::census::Census;
use super::decode;
use super::raster::{Model, Raster};
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::verdict::ReasonCode;

/// Refuses an output that the format cannot hold. It takes unusual rules to get here: a box larger than the
/// format's largest side.
pub(super) fn check_sides(output: MediaType, (width, height): (u32, u32)) -> Result<(), ImageError> {
    let most = match output {
        MediaType::Webp => 16_383,
        MediaType::Png => i32::MAX.unsigned_abs(),
        _ => u32::from(u16::MAX),
    };
    if width.max(height) <= most {
        return Ok(());
    }
    Err(ImageError::refused(ReasonCode::ImageTooLarge, format!("a side has more than the {most} pixels of {output}")))
}

/// Encodes a still image as `output`. `lossless` concerns WebP, the one format that has both ways.
pub(super) fn still(
    raster: Raster,
    output: MediaType,
    rules: &ImageRules,
    lossless: bool,
) -> Result<Vec<u8>, ImageError> {
    match output {
        MediaType::Jpeg => jpeg(&raster.flattened(), rules),
        MediaType::Png => png(&raster),
        MediaType::Webp if lossless => lossless_webp(&raster),
        MediaType::Webp => lossy_webp(&raster, rules),
        _ => Err(ImageError::Failed(format!("no still encoder for {output}"))),
    }
}

/// Chroma is halved in both directions below quality 90, as cameras and the usual tools do.
fn jpeg(raster: &Raster, rules: &ImageRules) -> Result<Vec<u8>, ImageError> {
    let colour = match raster.model {
        Model::Gray => JpegColor::Luma,
        Model::Rgb => JpegColor::Rgb,
        other => return Err(ImageError::Failed(format!("no JPEG from {other:?}"))),
    };
    let side = |side: u32| u16::try_from(side).map_err(|error| ImageError::failed("JPEG side", error));
    let (width, height) = (side(raster.width)?, side(raster.height)?);
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new(&mut bytes, rules.jpeg_quality);
    if rules.progressive {
        // One scan for the averages, one for the rest: the encoder refines no bits, so that each further scan
        // makes the file larger (7 % at the default of four).
        encoder.set_progressive_scans(2);
    }
    encoder.set_optimized_huffman_tables(true);
    encoder.encode(&raster.data, width, height, colour).map_err(|error| ImageError::failed("JPEG encoder", error))?;
    Ok(bytes)
}

/// The encoder failed on pixels of our own making.
pub(super) fn png_encoder_error(error: png::EncodingError) -> ImageError {
    ImageError::failed("PNG encoder", error)
}

/// How hard a PNG is compressed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort {
    /// For photographs: the next better level costs five times as much and writes larger files.
    Fast,
    /// For drawings and screenshots, which shrink by a third.
    Thorough,
}

/// A PNG encoder for 8-bit samples.
pub(super) fn png_encoder(
    bytes: &mut Vec<u8>,
    (width, height): (u32, u32),
    model: Model,
    effort: Effort,
) -> png::Encoder<'_, &mut Vec<u8>> {
    let mut encoder = png::Encoder::new(bytes, width, height);
    encoder.set_color(match model {
        Model::Gray => png::ColorType::Grayscale,
        Model::GrayAlpha => png::ColorType::GrayscaleAlpha,
        Model::Rgb => png::ColorType::Rgb,
        Model::Rgba | Model::Cmyk => png::ColorType::Rgba,
    });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_deflate_compression(match effort {
        Effort::Fast => png::DeflateCompression::FdeflateUltraFast,
        Effort::Thorough => png::DeflateCompression::Level(2),
    });
    // Trying all filters per row takes twice the time of this one for the same size.
    encoder.set_filter(png::Filter::Paeth);
    encoder
}

fn png(raster: &Raster) -> Result<Vec<u8>, ImageError> {
    let fast = png_at(raster, Effort::Fast)?;
    // Only what was drawn compresses this well at once, and then the second attempt is cheap and pays.
    if fast.len() > raster.data.len() / 3 {
        return Ok(fast);
    }
    let thorough = png_at(raster, Effort::Thorough)?;
    Ok(if thorough.len() < fast.len() { thorough } else { fast })
}

fn png_at(raster: &Raster, effort: Effort) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let encoder = png_encoder(&mut bytes, raster.size(), raster.model, effort);
    let mut writer = encoder.write_header().map_err(png_encoder_error)?;
    writer.write_image_data(&raster.data).map_err(png_encoder_error)?;
    writer.finish().map_err(png_encoder_error)?;
    Ok(bytes)
}

/// Encodes a PNG with a palette as one with the same palette. `None` where the original has none, or has
/// pixels past its end: old decoders read out of bounds there.
pub(super) fn indexed_png(original: &[u8], census: &Census) -> Result<Option<Vec<u8>>, ImageError> {
    let mut reader = decode::png_reader(original, census, png::Transformations::IDENTITY)?;
    let (colour, depth) = reader.output_color_type();
    let Some(palette) = reader.info().palette.clone() else { return Ok(None) };
    if colour != png::ColorType::Indexed {
        return Ok(None);
    }
    let alphas = reader.info().trns.clone();
    let size = reader.output_buffer_size().ok_or_else(|| decode::undecodable("rows without a size"))?;
    let mut rows = vec![0; size];
    let shape = reader.next_frame(&mut rows).map_err(decode::png_error)?;
    let colours = palette.len() / 3;
    let bits = depth as usize;
    if colours < 1 << bits && !indices_within(&rows, shape.line_size, bits, census.width, colours) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut encoder = png_encoder(&mut bytes, (census.width, census.height), Model::Gray, Effort::Thorough);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(depth);
    encoder.set_palette(palette);
    // Neighbouring indices are no neighbouring colours: filters only spoil what repeats.
    encoder.set_filter(png::Filter::NoFilter);
    if let Some(alphas) = alphas {
        encoder.set_trns(alphas.get(..colours).unwrap_or(&alphas).to_vec());
    }
    let mut writer = encoder.write_header().map_err(png_encoder_error)?;
    writer.write_image_data(&rows).map_err(png_encoder_error)?;
    writer.finish().map_err(png_encoder_error)?;
    Ok(Some(bytes))
}

/// Whether every index in packed rows is below `colours`.
fn indices_within(rows: &[u8], line: usize, bits: usize, width: u32, colours: usize) -> bool {
    let mask = (1 << bits) - 1;
    let per_byte = 8 / bits;
    rows.chunks_exact(line).all(|row| {
        let indices =
            row.iter().flat_map(|&byte| (1..=per_byte).map(move |n| (byte as usize) >> (8 - n * bits) & mask));
        indices.take(width as usize).all(|index| index < colours)
    })
}

/// VP8L in safe Rust: quick, but its files are up to twice as large as libwebp's slow ones.
pub(super) fn lossless_webp(raster: &Raster) -> Result<Vec<u8>, ImageError> {
    let colour = match raster.model {
        Model::Gray => image_webp::ColorType::L8,
        Model::GrayAlpha => image_webp::ColorType::La8,
        Model::Rgb => image_webp::ColorType::Rgb8,
        Model::Rgba | Model::Cmyk => image_webp::ColorType::Rgba8,
    };
    let mut bytes = Vec::new();
    image_webp::WebPEncoder::new(&mut bytes)
        .encode(&raster.data, raster.width, raster.height, colour)
        .map_err(|error| ImageError::failed("lossless WebP encoder", error))?;
    Ok(bytes)
}

/// VP8 by libwebp, the one encoder in C; the lengths it relies on are checked by its binding.
pub(super) fn lossy_webp(raster: &Raster, rules: &ImageRules) -> Result<Vec<u8>, ImageError> {
    let layout = match raster.model {
        Model::Rgb => webp::PixelLayout::Rgb,
        Model::Rgba => webp::PixelLayout::Rgba,
        other => return Err(ImageError::Failed(format!("no lossy WebP from {other:?}"))),
    };
    let mut config = webp::WebPConfig::new().map_err(|()| ImageError::Failed("lossy WebP configuration".to_owned()))?;
    config.quality = f32::from(rules.jpeg_quality);
    // Half the time of the default method (4) for 2 to 4 % larger files.
    config.method = 2;
    webp::Encoder::new(&raster.data, layout, raster.width, raster.height)
        .encode_advanced(&config)
        .map(|memory| memory.to_vec())
        .map_err(|error| ImageError::Failed(format!("lossy WebP encoder: {error:?}")))
}
