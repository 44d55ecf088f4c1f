//! Animations: frames, delays and loop counts stay, whatever happens to the pixels.

use std::borrow::Cow;

use super::*;
use crate::policy::OutputFormat;

const DELAYS: [u16; 3] = [7, 0, 250];

/// A GIF of three frames (a whole one, then two small ones) that loops `repeat` times, with a comment.
fn gif(repeat: Option<gif::Repeat>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, 40, 20, &[0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
    if let Some(repeat) = repeat {
        encoder.set_repeat(repeat).unwrap();
    }
    encoder.write_raw_extension(gif::AnyExtension(0xFE), &[b"hello"]).unwrap();
    for (index, delay) in DELAYS.into_iter().enumerate() {
        let side = if index == 0 { (40, 20) } else { (10, 6) };
        let colour = u8::try_from(index).unwrap() + 1;
        let buffer = Cow::Owned(vec![colour; usize::from(side.0 * side.1)]);
        let left = u16::try_from(index).unwrap() * 9;
        let frame = gif::Frame { delay, left, width: side.0, height: side.1, buffer, ..gif::Frame::default() };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    file
}

/// Delay, area and loop count of every frame of a GIF.
fn frames_of_gif(bytes: &[u8]) -> (Vec<(u16, u16, u16)>, gif::Repeat) {
    let mut decoder = gif::Decoder::new(bytes).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        frames.push((frame.delay, frame.left, frame.width));
    }
    (frames, decoder.repeat())
}

#[test]
fn a_gif_that_fits_keeps_its_frames_as_they_are() {
    for repeat in [None, Some(gif::Repeat::Infinite), Some(gif::Repeat::Finite(3))] {
        let file = gif(repeat);
        let sanitized = clean(&file, MediaType::Gif, &ImageRules::default());
        assert_eq!(removed(&sanitized), [Removed::Comment]);
        assert_eq!(frames_of_gif(&sanitized.bytes), frames_of_gif(&file));
        assert_eq!(frames_of_gif(&sanitized.bytes).0, [(7, 0, 40), (0, 9, 10), (250, 18, 10)]);
    }
}

#[test]
fn a_gif_with_an_extension_nobody_knows_is_read() {
    let mut file = gif(None);
    let at = file.windows(2).position(|pair| pair == [0x21, 0xFE]).unwrap();
    file.splice(at..at, *b"\x21\x42\x03abc\0");
    assert_eq!(clean(&file, MediaType::Gif, &ImageRules::default()).facts.frames, Some(3));
}

#[test]
fn a_resized_gif_keeps_frames_delays_and_loops() {
    let sanitized = clean(&gif(Some(gif::Repeat::Finite(3))), MediaType::Gif, &boxed(20, 20));
    assert_eq!(sanitized.facts.resized_from, Some((40, 20)));
    let (frames, repeat) = frames_of_gif(&sanitized.bytes);
    assert_eq!(repeat, gif::Repeat::Finite(3));
    assert_eq!(frames.iter().map(|frame| frame.0).collect::<Vec<_>>(), DELAYS);
    assert!(frames[1].2 < 20, "only what changed is painted again");
}

#[test]
fn a_gif_becomes_transparent_again_where_it_was_so() {
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, 40, 40, &[0, 0, 0, 255, 255, 255]).unwrap();
    for left in [0, 20] {
        let buffer = Cow::Owned(vec![1; 20 * 40]);
        let dispose = gif::DisposalMethod::Background;
        let frame = gif::Frame { left, width: 20, height: 40, buffer, dispose, ..gif::Frame::default() };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    let sanitized = clean(&file, MediaType::Gif, &boxed(20, 20));
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(&sanitized.bytes[..]).unwrap();
    let first = decoder.read_next_frame().unwrap().unwrap();
    assert_eq!(first.dispose, gif::DisposalMethod::Background);
    assert_eq!((first.buffer[3], first.buffer[4 * 19 + 3]), (255, 0));
    let second = decoder.read_next_frame().unwrap().unwrap();
    assert_eq!((second.buffer[3], second.buffer[4 * 19 + 3]), (0, 255));
}

#[test]
fn a_gif_frame_is_cut_to_its_canvas_and_its_indices_to_its_palette() {
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, 8, 8, &[0, 0, 0, 255, 255, 255]).unwrap();
    for (left, index) in [(0, 200), (4, 1), (100, 1)] {
        let frame =
            gif::Frame { left, width: 8, height: 8, buffer: Cow::Owned(vec![index; 64]), ..gif::Frame::default() };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    let sanitized = clean(&file, MediaType::Gif, &ImageRules::default());
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    options.check_frame_consistency(true);
    let mut decoder = options.read_info(&sanitized.bytes[..]).unwrap();
    let mut shapes = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        assert!(frame.buffer.iter().all(|&index| index < 2));
        shapes.push((frame.left, frame.width));
    }
    assert_eq!(shapes, [(0, 8), (4, 4), (0, 1)]);
}

#[test]
fn a_gif_becomes_a_jpeg_of_its_first_frame() {
    let rules = ImageRules { output: OutputFormat::Jpeg, ..ImageRules::default() };
    let sanitized = clean(&gif(None), MediaType::Gif, &rules);
    assert_eq!((sanitized.media, sanitized.facts.frames), (MediaType::Jpeg, Some(1)));
    assert!(pixels(&sanitized).data.as_chunks::<3>().0.iter().all(|&[r, g, b]| r > 240 && g < 15 && b < 15));
}

/// An animated PNG of three frames; the second repaints a part of the canvas and is disposed of.
fn apng() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 40, 20);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(3, 5).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for (index, delay) in DELAYS.into_iter().enumerate() {
        writer.set_frame_delay(delay, 100).unwrap();
        if index == 1 {
            writer.set_frame_dimension(10, 6).unwrap();
            writer.set_frame_position(20, 4).unwrap();
            writer.set_dispose_op(png::DisposeOp::Background).unwrap();
            writer.set_blend_op(png::BlendOp::Source).unwrap();
            writer.write_image_data(&[0, 255, 0, 128].repeat(60)).unwrap();
        } else {
            writer.reset_frame_position().unwrap();
            writer.set_frame_dimension(40, 20).unwrap();
            writer.set_blend_op(png::BlendOp::Over).unwrap();
            let alpha = if index == 0 { 255 } else { 0 };
            writer.write_image_data(&[255, 0, 0, alpha].repeat(800)).unwrap();
        }
    }
    writer.finish().unwrap();
    file
}

#[test]
fn an_animated_png_keeps_frames_delays_and_loops() {
    for rules in [ImageRules::default(), boxed(20, 20)] {
        let sanitized = clean(&apng(), MediaType::Png, &rules);
        let mut reader = png::Decoder::new(Cursor::new(&sanitized.bytes[..])).read_info().unwrap();
        assert_eq!(reader.info().animation_control().map(|a| (a.num_frames, a.num_plays)), Some((3, 5)));
        let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
        for delay in DELAYS {
            reader.next_frame(&mut buffer).unwrap();
            let control = reader.info().frame_control().unwrap();
            assert_eq!((control.delay_num, control.delay_den), (delay, 100));
        }
        // The third frame adds nothing, so what it shows is the hole that the second one left behind.
        let control = reader.info().frame_control().unwrap();
        let shown = &buffer.as_chunks::<4>().0[..(control.width * control.height) as usize];
        assert!(control.width < 20 && shown.iter().any(|pixel| pixel[3] < 3));
    }
}

#[test]
fn an_animated_webp_keeps_frames_delays_and_loops() {
    for lossy in [false, true] {
        let file = super::super::animation::webp_of_frames(&[(40, 20, 70), (41, 20, 0), (42, 20, 2500)], 5, lossy);
        for rules in [ImageRules::default(), boxed(20, 20)] {
            let sanitized = clean(&file, MediaType::Webp, &rules);
            let mut decoder = webp_of(&sanitized);
            assert_eq!((decoder.num_frames(), decoder.is_lossy()), (3, lossy));
            assert_eq!(decoder.loop_count(), image_webp::LoopCount::Times(5.try_into().unwrap()));
            let mut canvas = vec![0; decoder.output_buffer_size().unwrap()];
            for delay in [70, 0, 2500] {
                assert_eq!(decoder.read_frame(&mut canvas).unwrap(), delay);
            }
        }
    }
}
