//! The census: one bounded walk over an image's container, before any pixel is decoded.
//!
//! It answers how large the image claims to be, which metadata travels with it (the verdict's `removed`),
//! and hands out the two kinds of metadata that change the picture: the orientation and the colour profile.
//! The walkers are total: whatever the bytes, each ends with a census or a reason. They trust no length they
//! have not compared with what is there.

mod exif;
mod gif;
mod jpeg;
mod png;
mod webp;

use std::collections::BTreeSet;

use super::ImageError;
use crate::media::MediaType;
use crate::verdict::{Reason, ReasonCode, Removed, Stage};

/// What the container of an image says and carries.
#[derive(Debug)]
pub(super) struct Census {
    /// The stored size in pixels: canvas or frame header, before any orientation. Neither side is zero.
    pub width: u32,
    pub height: u32,
    /// Frames of the animation, or one.
    pub frames: u32,
    /// Pixels of GIF frames that are larger than the canvas, beyond the canvas's own: they are decoded too.
    pub overhang: u64,
    /// The format's own count of repetitions, word for word. In a GIF `None` plays once; zero is forever.
    pub loops: Option<u32>,
    /// EXIF orientation, 1 to 8; 1 where there is none or it is out of range.
    pub orientation: u8,
    /// The colour profile, put together and inflated.
    pub icc: Option<Vec<u8>>,
    /// A JPEG whose decoder has to hold all coefficients at once: progressive, or with a scan per channel.
    pub many_scans: bool,
    /// Where the image ends. What follows is a tail that no decoder needs.
    pub end: usize,
    pub removed: BTreeSet<Removed>,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            width: 0,
            height: 0,
            frames: 1,
            overhang: 0,
            loops: None,
            orientation: 1,
            icc: None,
            many_scans: false,
            end: 0,
            removed: BTreeSet::new(),
        }
    }
}

/// Why a walk ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The file ends inside of what was named.
    Truncated(&'static str),
    /// A rule of the format does not hold.
    Malformed(&'static str),
}

impl From<Broken> for ImageError {
    fn from(broken: Broken) -> Self {
        let (code, detail) = match broken {
            Broken::Truncated(what) => (ReasonCode::Truncated, format!("the file ends inside {what}")),
            Broken::Malformed(what) => (ReasonCode::Malformed, what.to_owned()),
        };
        Self::Refused(vec![Reason::new(code, Stage::Sanitize, detail)])
    }
}

impl Census {
    /// Walks `bytes` as `media`.
    ///
    /// # Errors
    /// `Refused` with `truncated` or `malformed`; `Failed` when `media` is not an image type.
    pub fn take(bytes: &[u8], media: MediaType) -> Result<Self, ImageError> {
        let census = match media {
            MediaType::Jpeg => jpeg::walk(bytes),
            MediaType::Png => png::walk(bytes),
            MediaType::Gif => gif::walk(bytes),
            MediaType::Webp => webp::walk(bytes),
            MediaType::Pdf | MediaType::Doc | MediaType::Docx => {
                return Err(ImageError::Failed(format!("{media} is not an image type")));
            }
        }?;
        if census.width == 0 || census.height == 0 {
            return Err(Broken::Malformed("a side of the image is zero").into());
        }
        Ok(census)
    }

    /// Pixels of one frame's canvas.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Pixels to decode in all frames.
    pub fn total_pixels(&self) -> u64 {
        self.pixels().saturating_mul(u64::from(self.frames)).saturating_add(self.overhang)
    }

    /// Notes a kind of metadata.
    fn found(&mut self, kind: Removed) {
        self.removed.insert(kind);
    }

    /// Notes an EXIF block (TIFF data without any prefix). The first one decides the orientation.
    fn found_exif(&mut self, tiff: &[u8]) {
        if self.removed.insert(Removed::Exif) {
            exif::inspect(self, tiff);
        }
    }

    /// Notes where the image ends, and whether the file goes on behind.
    fn note_end(&mut self, bytes: &[u8], end: usize) {
        self.end = end;
        if bytes.len() > end {
            self.found(Removed::TrailingData);
        }
    }
}

/// Reads bytes front to back; every step is checked against what is left.
struct Cursor<'a> {
    rest: &'a [u8],
    /// Bytes already taken.
    position: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// The next `length` bytes; `what` they belong to is named when they are not there.
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Broken::Truncated(what))?;
        self.rest = rest;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Broken> {
        let taken = self.take(N, what)?;
        taken.first_chunk().copied().ok_or(Broken::Truncated(what))
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, Broken> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
