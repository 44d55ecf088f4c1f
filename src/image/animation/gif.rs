//! GIF, still or animated.
//!
//! Where no pixel changes, frames keep their palettes and are only compressed anew. Otherwise they are
//! composed, finished and given palettes of their own.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::num::NonZeroU64;

use gif::{
    ColorOutput, DecodeOptions, DecodingError, DisposalMethod, Encoder, EncodingError, Frame, MemoryLimit, Repeat,
};

use super::canvas::{Canvas, Disposal, Patch};
use super::changed_area;
use super::palette::paletted;
use crate::image::census::Census;
use crate::image::decode::{check_size, ends_early, undecodable};
use crate::image::finish::Finish;
use crate::image::raster::{Area, Model, Raster};
use crate::image::{Encoded, ImageError};
use crate::policy::ImageRules;
use crate::verdict::ReasonCode;

pub(super) fn reencode(
    bytes: &[u8],
    census: &Census,
    rules: &ImageRules,
    finish: &mut Finish,
) -> Result<Encoded, ImageError> {
    let source = Source::open(bytes, census, rules)?;
    if finish.keeps_samples() { recompressed(source, census) } else { composed(source, census, finish) }
}

/// The first frame on the otherwise transparent canvas.
pub(in crate::image) fn first_frame(bytes: &[u8], census: &Census, rules: &ImageRules) -> Result<Raster, ImageError> {
    let mut source = Source::open(bytes, census, rules)?;
    let frame = source.next()?.ok_or_else(|| undecodable("no frame"))?;
    Ok(Canvas::new(census.width, census.height).show(&source.patch(&frame)).clone())
}

/// The frames of a GIF as palette indices.
struct Source<'a> {
    decoder: gif::Decoder<Box<dyn Read + 'a>>,
    /// The global palette, empty if there is none.
    palette: Vec<u8>,
    frames_left: u32,
}

impl<'a> Source<'a> {
    fn open(bytes: &'a [u8], census: &Census, rules: &ImageRules) -> Result<Self, ImageError> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        // Extensions nobody knows are to be skipped, says the specification. Other blocks did not get here.
        options.allow_unknown_blocks(true);
        // A frame may be larger than the canvas, so it has to keep to the canvas's limit by itself.
        options.set_memory_limit(MemoryLimit::Bytes(NonZeroU64::new(rules.max_pixels).unwrap_or(NonZeroU64::MIN)));
        let decoder = options.read_info(with_palette(bytes)).map_err(decoding_error)?;
        check_size((decoder.width().into(), decoder.height().into()), census)?;
        let palette = decoder.global_palette().map(<[u8]>::to_vec).unwrap_or_default();
        Ok(Self { decoder, palette, frames_left: census.frames })
    }

    /// The next frame, inside the canvas, with no index past the end of its palette.
    fn next(&mut self) -> Result<Option<Frame<'static>>, ImageError> {
        let canvas = (self.decoder.width(), self.decoder.height());
        let Some(left) = self.frames_left.checked_sub(1) else { return Ok(None) };
        self.frames_left = left;
        let Some(frame) = self.decoder.read_next_frame().map_err(decoding_error)? else { return Ok(None) };
        let colours = frame.palette.as_ref().unwrap_or(&self.palette).len() / 3;
        let mut frame = clipped(frame, canvas);
        // Old decoders read past the palette there; current ones show nothing, or the first colour.
        let nowhere = frame.transparent.unwrap_or(0);
        for index in frame.buffer.to_mut() {
            if usize::from(*index) >= colours {
                *index = nowhere;
            }
        }
        Ok(Some(frame))
    }

    /// The frame as pixels with its place; indices of nothing are transparent.
    fn patch(&self, frame: &Frame<'_>) -> Patch {
        let palette = frame.palette.as_ref().unwrap_or(&self.palette).as_chunks::<3>().0;
        let colour = |&index: &u8| match palette.get(usize::from(index)) {
            Some([r, g, b]) if frame.transparent != Some(index) => [*r, *g, *b, 255],
            _ => [0; 4],
        };
        let data = frame.buffer.iter().flat_map(colour).collect();
        let pixels = Raster { width: frame.width.into(), height: frame.height.into(), model: Model::Rgba, data };
        let disposal = match frame.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
            DisposalMethod::Background => Disposal::Clear,
            DisposalMethod::Previous => Disposal::Restore,
        };
        Patch { pixels, x: frame.left.into(), y: frame.top.into(), over: true, disposal }
    }
}

/// A GIF may have no palette at all and leave the colours to the viewer. Those show shades of gray, and the
/// decoder wants it said: a global palette is slipped in behind the screen descriptor.
fn with_palette(bytes: &[u8]) -> Box<dyn Read + '_> {
    match bytes.split_first_chunk::<13>() {
        Some((head, rest)) if head[10] & 0x80 == 0 => {
            let mut head = head.to_vec();
            head[10] |= 0x87;
            head.extend((0..=u8::MAX).flat_map(|shade| [shade; 3]));
            Box::new(Cursor::new(head).chain(rest))
        }
        _ => Box::new(bytes),
    }
}

/// The part of a frame inside the canvas; one transparent pixel where there is none, so that its time passes.
fn clipped(frame: &Frame<'static>, (width, height): (u16, u16)) -> Frame<'static> {
    let inside = |start: u16, length: u16, end: u16| length.min(end.saturating_sub(start));
    let (w, h) = (inside(frame.left, frame.width, width), inside(frame.top, frame.height, height));
    let mut clipped = Frame { interlaced: false, needs_user_input: false, ..frame.clone() };
    if w == 0 || h == 0 {
        let nothing = Frame { left: 0, top: 0, width: 1, height: 1, transparent: Some(0), ..clipped };
        return Frame { buffer: Cow::Borrowed(&[0]), ..nothing };
    }
    if (w, h) != (frame.width, frame.height) {
        let rows = frame.buffer.chunks_exact(usize::from(frame.width)).take(usize::from(h));
        clipped.buffer = Cow::Owned(rows.flat_map(|row| &row[..usize::from(w)]).copied().collect());
        (clipped.width, clipped.height) = (w, h);
    }
    clipped
}

/// The frames as they are stored, compressed anew.
fn recompressed(mut source: Source<'_>, census: &Census) -> Result<Encoded, ImageError> {
    let mut bytes = Vec::new();
    let palette = source.palette.clone();
    let mut encoder = encoder(&mut bytes, (census.width, census.height), &palette, census.loops)?;
    let mut frames = 0;
    while let Some(frame) = source.next()? {
        encoder.write_frame(&frame).map_err(encoding_error)?;
        frames += 1;
    }
    drop(encoder);
    finished(bytes, frames)
}

/// The frames as they are seen, finished one by one.
fn composed(mut source: Source<'_>, census: &Census, finish: &mut Finish) -> Result<Encoded, ImageError> {
    let mut bytes = Vec::new();
    let mut canvas = Canvas::new(census.width, census.height);
    let mut writer =
        Writer { encoder: encoder(&mut bytes, finish.output_size(), &[], census.loops)?, held: None, shown: None };
    let mut frames = 0;
    while let Some(frame) = source.next()? {
        let picture = finish.apply(canvas.show(&source.patch(&frame)).clone())?;
        writer.push(with_hard_edges(picture), frame.delay)?;
        frames += 1;
    }
    writer.write_held(false)?;
    drop(writer);
    finished(bytes, frames)
}

/// A GIF pixel is there or not: soft edges from the resampling are cut in the middle.
fn with_hard_edges(mut picture: Raster) -> Raster {
    for pixel in picture.data.as_chunks_mut::<4>().0 {
        *pixel = if pixel[3] < 128 { [0; 4] } else { [pixel[0], pixel[1], pixel[2], 255] };
    }
    picture
}

/// Writes composed pictures as frames that repaint what changed. It holds one picture back, because a frame
/// must say in advance that its pixels vanish when the next one needs them transparent.
struct Writer<'a> {
    encoder: Encoder<&'a mut Vec<u8>>,
    held: Option<(Raster, u16)>,
    /// What a viewer shows before the held picture; `None` is an empty canvas.
    shown: Option<Raster>,
}

impl Writer<'_> {
    /// Takes the next picture and writes the one before it.
    fn push(&mut self, picture: Raster, delay: u16) -> Result<(), ImageError> {
        let uncovers = |held: &Raster| {
            let pixels = held.data.as_chunks::<4>().0.iter().zip(picture.data.as_chunks::<4>().0);
            pixels.into_iter().any(|(before, after)| before[3] > after[3])
        };
        let clear = self.held.as_ref().is_some_and(|(held, _)| uncovers(held));
        self.write_held(clear)?;
        self.held = Some((picture, delay));
        Ok(())
    }

    /// Writes the held picture. With `clear` it covers the whole canvas and leaves it empty afterwards.
    fn write_held(&mut self, clear: bool) -> Result<(), ImageError> {
        let Some((picture, delay)) = self.held.take() else { return Ok(()) };
        let area = match &self.shown {
            Some(shown) if !clear => changed_area(shown, &picture),
            _ => Area { x: 0, y: 0, width: picture.width, height: picture.height },
        };
        let side = |value: u32| u16::try_from(value).map_err(|error| ImageError::failed("GIF side", error));
        let found = paletted(picture.crop(area).data.as_chunks::<4>().0);
        let frame = Frame {
            delay,
            left: side(area.x)?,
            top: side(area.y)?,
            width: side(area.width)?,
            height: side(area.height)?,
            dispose: if clear { DisposalMethod::Background } else { DisposalMethod::Keep },
            transparent: found.transparent,
            palette: Some(found.palette),
            buffer: Cow::Owned(found.indices),
            ..Frame::default()
        };
        self.encoder.write_frame(&frame).map_err(encoding_error)?;
        self.shown = (!clear).then_some(picture);
        Ok(())
    }
}

/// An encoder with the original's loop count.
fn encoder<'a>(
    bytes: &'a mut Vec<u8>,
    (width, height): (u32, u32),
    palette: &[u8],
    loops: Option<u32>,
) -> Result<Encoder<&'a mut Vec<u8>>, ImageError> {
    let side = |side: u32| u16::try_from(side).map_err(|error| ImageError::failed("GIF side", error));
    let mut encoder = Encoder::new(bytes, side(width)?, side(height)?, palette).map_err(encoding_error)?;
    match loops.map(u16::try_from) {
        Some(Ok(0)) => encoder.set_repeat(Repeat::Infinite).map_err(encoding_error)?,
        Some(Ok(times)) => encoder.set_repeat(Repeat::Finite(times)).map_err(encoding_error)?,
        // Without a count it plays once, which is said by saying nothing.
        None | Some(Err(_)) => {}
    }
    Ok(encoder)
}

fn finished(bytes: Vec<u8>, frames: u32) -> Result<Encoded, ImageError> {
    if frames == 0 {
        return Err(undecodable("no frame"));
    }
    Ok(Encoded { bytes, frames })
}

fn decoding_error(error: DecodingError) -> ImageError {
    match error {
        DecodingError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => ends_early(),
        DecodingError::OutOfMemory | DecodingError::MemoryLimit => {
            ImageError::refused(ReasonCode::ImageTooLarge, "a frame has more pixels than the image may have")
        }
        other => undecodable(other),
    }
}

fn encoding_error(error: EncodingError) -> ImageError {
    ImageError::failed("GIF encoder", error)
}
