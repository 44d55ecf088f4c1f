//! What an EXIF block tells about the picture: orientation, and whether it holds a place or a thumbnail.

use exif::{Context, Exif, In, Reader, Tag};

use super::Census;
use crate::verdict::Removed;

/// The EXIF blocks of JPEG and WebP may begin with this before the TIFF header.
pub(super) const PREFIX: &[u8] = b"Exif\0\0";
/// The tags of the GPS directory, its version (0) left out: a version alone is no place.
const GPS_TAGS: std::ops::RangeInclusive<u16> = 1..=31;

/// Notes what `tiff` holds. A block that cannot be read leaves the orientation as it is.
pub(super) fn inspect(census: &mut Census, tiff: &[u8]) {
    let tiff = tiff.strip_prefix(PREFIX).unwrap_or(tiff);
    let Some(exif) = read(tiff) else { return };
    if let Some(value @ 1..=8) = exif.get_field(Tag::Orientation, In::PRIMARY).and_then(|field| field.value.get_uint(0))
    {
        census.orientation = u8::try_from(value).unwrap_or(1);
    }
    if GPS_TAGS.into_iter().any(|tag| exif.get_field(Tag(Context::Gps, tag), In::PRIMARY).is_some()) {
        census.found(Removed::Gps);
    }
    let thumbnail = [Tag::JPEGInterchangeFormat, Tag::StripOffsets];
    if thumbnail.into_iter().any(|tag| exif.get_field(tag, In::THUMBNAIL).is_some()) {
        census.found(Removed::Thumbnail);
    }
}

/// Reads as much as can be read: a maker's broken tag must not hide the orientation before it.
fn read(tiff: &[u8]) -> Option<Exif> {
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    reader.read_raw(tiff.to_vec()).or_else(|error| error.distill_partial_result(|_| ())).ok()
}
