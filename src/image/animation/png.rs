//! Animated PNG.

use std::io::Cursor;

use super::canvas::{Canvas, Disposal, Patch};
use super::changed_area;
use crate::image::census::Census;
use crate::image::decode::{png_error, png_model, png_reader, undecodable};
use crate::image::encode::{Effort, png_encoder, png_encoder_error};
use crate::image::finish::Finish;
use crate::image::raster::{Model, Raster};
use crate::image::{Encoded, ImageError};

/// Re-encodes every frame. A default image outside of the animation is left out: programs that cannot animate
/// show the first frame instead.
pub(super) fn reencode(bytes: &[u8], census: &Census, finish: &mut Finish) -> Result<Encoded, ImageError> {
    let mut reader = png_reader(bytes, census, png::Transformations::normalize_to_color8())?;
    // A default image without a frame control is for programs that cannot animate, and not a frame.
    if reader.info().frame_control().is_none() {
        next_patch(&mut reader)?;
    }
    let mut canvas = Canvas::new(census.width, census.height);
    let mut output = Vec::new();
    let mut encoder = png_encoder(&mut output, finish.output_size(), Model::Rgba, Effort::Thorough);
    encoder.set_animated(census.frames, census.loops.unwrap_or(0)).map_err(png_encoder_error)?;
    let mut writer = encoder.write_header().map_err(png_encoder_error)?;

    let mut before: Option<Raster> = None;
    for _ in 0..census.frames {
        let (patch, (numerator, denominator)) = next_patch(&mut reader)?;
        let frame = finish.apply(canvas.show(&patch).clone())?;
        writer.set_frame_delay(numerator, denominator).map_err(png_encoder_error)?;
        // Without blending, the part that changed replaces what was there: transparency included.
        writer.set_blend_op(png::BlendOp::Source).map_err(png_encoder_error)?;
        writer.set_dispose_op(png::DisposeOp::None).map_err(png_encoder_error)?;
        match &before {
            None => writer.write_image_data(&frame.data).map_err(png_encoder_error)?,
            Some(before) => {
                let area = changed_area(before, &frame);
                // The size is checked against the position, and the position against the size: start anew.
                writer.reset_frame_position().map_err(png_encoder_error)?;
                writer.set_frame_dimension(area.width, area.height).map_err(png_encoder_error)?;
                writer.set_frame_position(area.x, area.y).map_err(png_encoder_error)?;
                writer.write_image_data(&frame.crop(area).data).map_err(png_encoder_error)?;
            }
        }
        before = Some(frame);
    }
    writer.finish().map_err(png_encoder_error)?;
    Ok(Encoded { bytes: output, frames: census.frames })
}

/// The next frame with its delay, a fraction of a second.
fn next_patch(reader: &mut png::Reader<Cursor<&[u8]>>) -> Result<(Patch, (u16, u16)), ImageError> {
    let model = png_model(reader)?;
    let size = reader.output_buffer_size().ok_or_else(|| undecodable("rows without a size"))?;
    let mut data = vec![0; size];
    let shape = reader.next_frame(&mut data).map_err(png_error)?;
    data.truncate(shape.line_size * shape.height as usize);
    let pixels = Raster { width: shape.width, height: shape.height, model, data }.into_rgba();
    let Some(control) = reader.info().frame_control() else {
        return Ok((Patch { pixels, x: 0, y: 0, over: false, disposal: Disposal::Keep }, (0, 1)));
    };
    let disposal = match control.dispose_op {
        png::DisposeOp::None => Disposal::Keep,
        png::DisposeOp::Background => Disposal::Clear,
        png::DisposeOp::Previous => Disposal::Restore,
    };
    let over = control.blend_op == png::BlendOp::Over;
    let patch = Patch { pixels, x: control.x_offset, y: control.y_offset, over, disposal };
    Ok((patch, (control.delay_num, control.delay_den)))
}
