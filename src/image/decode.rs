//! Still images to pixels, one decoder per format, each under explicit limits.
//!
//! The size a decoder reports must be the census's size: every limit was checked against that one, and a
//! file that shows two readers two sizes is refused.

use std::borrow::Cow;
use std::io::Cursor;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::ImageError;
use super::animation;
use super::census::Census;
use super::colour::{self, Space};
use super::raster::{Model, Raster};
use crate::limits::StructureLimits;
use crate::media::MediaType;
use crate::policy::ImageRules;
use crate::verdict::{ReasonCode, Removed};

/// Bytes a decoder may allocate for itself, beside the pixels it hands over.
pub(super) const WORKSPACE: usize = 64 << 20;
/// Ones in place of a JPEG's end marker: more bits than the decoder reads ahead behind the last block. No code
/// consists of ones only, so that a block which is not there cannot be decoded from them.
const NO_CODE: [u8; 32] =
    *b"\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0\xFF\0";
/// The flags of a WebP's VP8X chunk that announce metadata, and which.
const WEBP_METADATA: [(u8, Removed); 2] = [(0x08, Removed::Exif), (0x04, Removed::Xmp)];

/// A decoded still image.
pub(super) struct Decoded {
    pub raster: Raster,
    /// The original kept every sample exactly; for WebP this decides how the output is encoded.
    pub lossless: bool,
}

/// Decodes the image, or the first frame of an animation, at its stored size and orientation.
pub(super) fn still(
    bytes: &[u8],
    media: MediaType,
    census: &Census,
    rules: &ImageRules,
) -> Result<Decoded, ImageError> {
    let lossless = |raster| Decoded { raster, lossless: true };
    match media {
        MediaType::Jpeg => jpeg(bytes, census).map(|raster| Decoded { raster, lossless: false }),
        MediaType::Png => png(bytes, census).map(lossless),
        MediaType::Gif => animation::gif_first_frame(bytes, census, rules).map(lossless),
        MediaType::Webp => webp(bytes, census),
        MediaType::Pdf | MediaType::Doc | MediaType::Docx => Err(ImageError::Failed("not an image type".to_owned())),
    }
}

/// `undecodable`, in the decoder's words.
pub(super) fn undecodable(error: impl std::fmt::Display) -> ImageError {
    let error = error.to_string();
    ImageError::refused(ReasonCode::Undecodable, format!("the picture cannot be decoded: {}", error.trim_matches('"')))
}

/// `truncated`: what is there is sound, and there is not enough of it.
pub(super) fn ends_early() -> ImageError {
    ImageError::refused(ReasonCode::Truncated, "the picture data ends before the picture is complete")
}

/// Refuses an image whose decoder sees another size than the census.
pub(super) fn check_size(seen: (u32, u32), census: &Census) -> Result<(), ImageError> {
    if seen == (census.width, census.height) {
        return Ok(());
    }
    Err(ImageError::refused(ReasonCode::Malformed, "the header gives the image two different sizes"))
}

fn jpeg(bytes: &[u8], census: &Census) -> Result<Raster, ImageError> {
    // Headers are read leniently, as cameras pad them in odd ways. Pixels are not: what the lenient decoder
    // does with damaged data is to fill the rest of the picture with gray.
    let lenient = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(census.width as usize)
        .set_max_height(census.height as usize)
        .jpeg_set_max_scans(StructureLimits::SCANS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(without_end_marker(bytes, census)), lenient);
    decoder.decode_headers().map_err(jpeg_error)?;
    let info = decoder.info().ok_or_else(|| undecodable("no frame header"))?;
    check_size((u32::from(info.width), u32::from(info.height)), census)?;

    let stored = decoder.input_colorspace().unwrap_or(ColorSpace::Unknown);
    let profiled = || census.icc.as_deref().and_then(colour::Colour::from_icc).map(|colour| colour.space());
    let (model, wanted) = match stored {
        ColorSpace::Luma => (Model::Gray, ColorSpace::Luma),
        // Only a profile knows the colour of inks; without one they are turned into light on the way out.
        ColorSpace::CMYK | ColorSpace::YCCK if profiled() == Some(Space::Cmyk) => (Model::Cmyk, stored),
        _ => (Model::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(lenient.set_strict_mode(true).jpeg_set_out_colorspace(wanted));
    let mut raster = Raster::blank(census.width, census.height, model);
    decoder.decode_into(&mut raster.data).map_err(jpeg_error)?;
    if model == Model::Cmyk {
        stored_to_inks(&mut raster.data, stored);
    }
    Ok(raster)
}

/// The picture with ones in place of its end marker. At the marker the decoder would make up whatever blocks are
/// missing. Where scans follow each other, it needs the marker.
fn without_end_marker<'a>(bytes: &'a [u8], census: &Census) -> Cow<'a, [u8]> {
    match bytes.get(..census.end.saturating_sub(2)) {
        Some(picture) if !census.many_scans => [picture, &NO_CODE].concat().into(),
        _ => bytes.into(),
    }
}

/// CMYK in a JPEG is stored inverted (Adobe's way, and the only one in use); YCCK is the same with its first
/// three channels as luma and chroma of the inverse of that.
fn stored_to_inks(data: &mut [u8], stored: ColorSpace) {
    for pixel in data.as_chunks_mut::<4>().0 {
        if stored == ColorSpace::YCCK {
            let [luma, blue, red, black] = *pixel;
            let [r, g, b] = ycc_to_rgb(luma, blue, red);
            *pixel = [r, g, b, 255 - black];
        } else {
            *pixel = pixel.map(|value| 255 - value);
        }
    }
}

/// JFIF's conversion, in 16-bit fixed point.
fn ycc_to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (luma, blue, red) = (i32::from(luma) << 16, i32::from(blue) - 128, i32::from(red) - 128);
    let channel = |value: i32| u8::try_from(((value + 0x8000) >> 16).clamp(0, 255)).unwrap_or(0);
    [channel(luma + 91_881 * red), channel(luma - 22_554 * blue - 46_802 * red), channel(luma + 116_130 * blue)]
}

fn jpeg_error(error: DecodeErrors) -> ImageError {
    match error {
        DecodeErrors::ExhaustedData
        | DecodeErrors::IoErrors(_)
        | DecodeErrors::FormatStatic("Premature end of buffer") => ends_early(),
        other => undecodable(format!("{other:?}")),
    }
}

/// A PNG reader under our limits, which hands out 8 bits per channel.
pub(super) fn png_reader<'a>(
    bytes: &'a [u8],
    census: &Census,
    transformations: png::Transformations,
) -> Result<png::Reader<Cursor<&'a [u8]>>, ImageError> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: WORKSPACE });
    decoder.set_transformations(transformations);
    // Text and profiles can be bombs, and nothing here reads them from the decoder.
    decoder.set_ignore_text_chunk(true);
    decoder.ignore_checksums(false);
    decoder.set_ignore_iccp_chunk(true);
    let reader = decoder.read_info().map_err(png_error)?;
    check_size(reader.info().size(), census)?;
    Ok(reader)
}

/// The default image; it is what programs without animation show.
fn png(bytes: &[u8], census: &Census) -> Result<Raster, ImageError> {
    let mut reader = png_reader(bytes, census, png::Transformations::normalize_to_color8())?;
    let mut raster = Raster::blank(census.width, census.height, png_model(&reader)?);
    reader.next_frame(&mut raster.data).map_err(png_error)?;
    Ok(raster)
}

/// What the reader's rows hold, after its transformations.
pub(super) fn png_model(reader: &png::Reader<Cursor<&[u8]>>) -> Result<Model, ImageError> {
    match reader.output_color_type() {
        (png::ColorType::Grayscale, png::BitDepth::Eight) => Ok(Model::Gray),
        (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight) => Ok(Model::GrayAlpha),
        (png::ColorType::Rgb, png::BitDepth::Eight) => Ok(Model::Rgb),
        (png::ColorType::Rgba, png::BitDepth::Eight) => Ok(Model::Rgba),
        (colour, depth) => Err(ImageError::Failed(format!("PNG decoder hands out {colour:?} at {depth:?}"))),
    }
}

/// Sorts a decoder's complaint: end of data, too much memory, or anything else.
pub(super) fn png_error(error: png::DecodingError) -> ImageError {
    match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => ends_early(),
        png::DecodingError::LimitsExceeded => {
            ImageError::refused(ReasonCode::ImageTooLarge, "the decoder needs more memory than it may have")
        }
        other => undecodable(other),
    }
}

/// A WebP decoder under our limits.
pub(super) fn webp_decoder<'a>(
    bytes: &'a [u8],
    census: &Census,
) -> Result<image_webp::WebPDecoder<Cursor<Cow<'a, [u8]>>>, ImageError> {
    let bytes = without_false_flags(bytes, census);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(webp_error)?;
    decoder.set_memory_limit(WORKSPACE);
    check_size(decoder.dimensions(), census)?;
    Ok(decoder)
}

/// Tools that strip metadata leave the flags that announce it, and the decoder misses what they promise.
fn without_false_flags<'a>(bytes: &'a [u8], census: &Census) -> Cow<'a, [u8]> {
    let is_false =
        |(flag, kind): &(u8, Removed)| bytes.get(20).is_some_and(|f| f & flag != 0) && !census.removed.contains(kind);
    let lies = WEBP_METADATA.iter().filter(|announced| is_false(announced)).fold(0, |all, (flag, _)| all | flag);
    if lies == 0 || bytes.get(12..16) != Some(b"VP8X") {
        return bytes.into();
    }
    let mut bytes = bytes.to_vec();
    if let Some(flags) = bytes.get_mut(20) {
        *flags &= !lies;
    }
    bytes.into()
}

/// The image; of an animation the first frame, composed.
fn webp(bytes: &[u8], census: &Census) -> Result<Decoded, ImageError> {
    let mut decoder = webp_decoder(bytes, census)?;
    let model = if decoder.has_alpha() { Model::Rgba } else { Model::Rgb };
    let mut raster = Raster::blank(census.width, census.height, model);
    decoder.read_image(&mut raster.data).map_err(webp_error)?;
    Ok(Decoded { raster, lossless: !decoder.is_lossy() })
}

pub(super) fn webp_error(error: image_webp::DecodingError) -> ImageError {
    match error {
        image_webp::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => ends_early(),
        other => undecodable(other),
    }
}
