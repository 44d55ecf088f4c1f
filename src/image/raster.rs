//! Pixels in memory: 8 bits per channel, rows without padding, in the fewest channels that hold the image.

/// What the channels of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Gray,
    GrayAlpha,
    Rgb,
    Rgba,
    /// Ink, 255 = full; only between a CMYK JPEG and its colour profile.
    Cmyk,
}

impl Model {
    /// Bytes of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::GrayAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
        }
    }

    /// Whether the last channel is opacity, straight (not multiplied into the colours).
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GrayAlpha | Self::Rgba)
    }
}

/// A rectangle of pixels. `data` holds exactly `width x height x channels` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub width: u32,
    pub height: u32,
    pub model: Model,
    pub data: Vec<u8>,
}

impl Raster {
    /// A raster of zeroes: black, or wholly transparent.
    pub fn blank(width: u32, height: u32, model: Model) -> Self {
        Self { width, height, model, data: vec![0; width as usize * height as usize * model.channels()] }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Bytes of one row.
    pub fn stride(&self) -> usize {
        self.width as usize * self.model.channels()
    }

    /// The same picture with red, green, blue and alpha.
    pub fn into_rgba(self) -> Self {
        let data = match self.model {
            Model::Rgba | Model::Cmyk => return Self { model: Model::Rgba, ..self },
            Model::Gray => self.data.iter().flat_map(|&v| [v, v, v, 255]).collect(),
            Model::GrayAlpha => self.data.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
            Model::Rgb => self.data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        };
        Self { model: Model::Rgba, data, ..self }
    }

    /// The same picture laid on white, for formats without transparency.
    pub fn flattened(self) -> Self {
        let (model, channels) = match self.model {
            Model::GrayAlpha => (Model::Gray, 1),
            Model::Rgba => (Model::Rgb, 3),
            Model::Gray | Model::Rgb | Model::Cmyk => return self,
        };
        let mut data = Vec::with_capacity(self.data.len() / (channels + 1) * channels);
        for pixel in self.data.chunks_exact(channels + 1) {
            let alpha = pixel[channels];
            data.extend(pixel[..channels].iter().map(|&value| over_white(value, alpha)));
        }
        Self { model, data, ..self }
    }

    /// The part of the picture in `area`, which must lie inside.
    pub fn crop(&self, area: Area) -> Self {
        let (channels, stride) = (self.model.channels(), self.stride());
        let (start, length) = (area.x as usize * channels, area.width as usize * channels);
        let mut data = Vec::with_capacity(length * area.height as usize);
        for row in self.data.chunks_exact(stride).skip(area.y as usize).take(area.height as usize) {
            data.extend_from_slice(&row[start..start + length]);
        }
        Self { width: area.width, height: area.height, model: self.model, data }
    }
}

/// A rectangle inside a raster, in pixels; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// `value` with opacity `alpha` over white, rounded.
fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    let mixed = (value * alpha + 255 * (255 - alpha) + 127) / 255;
    u8::try_from(mixed).unwrap_or(u8::MAX)
}
