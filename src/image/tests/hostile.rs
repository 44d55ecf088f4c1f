//! Hostile and broken files: refused for the right reason, before they cost anything, and never with a panic.

use super::*;
use crate::image::memory_needed;

/// One small file of every format.
fn samples() -> [(MediaType, Vec<u8>); 4] {
    let picture = textured(24, 24, Model::Rgb);
    let tiff = [b"Exif\0\0", &exif(6, true, true)[..]].concat();
    let photoshop = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab";
    let mut gif = Vec::new();
    let mut encoder = gif::Encoder::new(&mut gif, 24, 24, &[]).unwrap();
    encoder.set_repeat(gif::Repeat::Infinite).unwrap();
    for _ in 0..2 {
        let shades: Vec<u8> = (0..=u8::MAX).flat_map(|shade| [shade; 3]).collect();
        encoder.write_frame(&gif::Frame::from_palette_pixels(24, 24, &picture.data[..576], shades, None)).unwrap();
    }
    drop(encoder);
    let mut webp = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut webp);
    encoder.set_exif_metadata(exif(6, true, true));
    encoder.encode(&picture.data, 24, 24, image_webp::ColorType::Rgb8).unwrap();
    [
        (MediaType::Jpeg, jpeg(&picture, &[(0xE1, &tiff), (0xED, photoshop), (0xE2, b"ICC_PROFILE\0\x01\x01x")])),
        (MediaType::Png, png(&picture, &[(*b"eXIf", &exif(6, true, true)), (*b"iCCP", b"icc\0\0x")])),
        (MediaType::Gif, gif),
        (MediaType::Webp, webp),
    ]
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (media, file) in samples() {
        clean(&file, media, &ImageRules::default());
        // The last byte of a GIF is its trailer, which browsers do not need.
        let whole = file.len() - usize::from(media == MediaType::Gif);
        for tenth in 0..10 {
            let codes = refused(&file[..whole * tenth / 10], media, &ImageRules::default());
            assert_eq!(codes, [ReasonCode::Truncated], "{media} cut at {tenth} tenths");
        }
        if media != MediaType::Gif {
            refused(&file[..file.len() - 1], media, &ImageRules::default());
        }
    }
}

#[test]
fn damage_in_a_jpeg_is_not_filled_with_gray() {
    let mut file = jpeg(&textured(200, 200, Model::Rgb), &[]);
    let half = file.len() / 2;
    // No code consists of ones only, so a run of them cannot be decoded.
    file[half..].as_chunks_mut::<2>().0.fill([0xFF, 0]);
    file.extend([0xFF, 0xD9]);
    assert_eq!(refused(&file, MediaType::Jpeg, &ImageRules::default()), [ReasonCode::Undecodable]);
}

#[test]
fn a_jpeg_whose_data_ends_early_is_refused_also_with_an_end_marker() {
    for (picture, model) in [(textured(200, 200, Model::Rgb), "colour"), (textured(200, 200, Model::Gray), "gray")] {
        let file = jpeg(&picture, &[]);
        clean(&file, MediaType::Jpeg, &ImageRules::default());
        let data = file.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap() + 20;
        for cut in [data, usize::midpoint(data, file.len()), file.len() - 100] {
            // A cut behind a 0xFF would make another marker of it.
            let cut = if file[cut - 1] == 0xFF { cut - 1 } else { cut };
            let codes = refused(&[&file[..cut], &[0xFF, 0xD9]].concat(), MediaType::Jpeg, &ImageRules::default());
            let fits = matches!(codes[..], [ReasonCode::Truncated | ReasonCode::Undecodable]);
            assert!(fits, "{model} cut at {cut} of {}: {codes:?}", file.len());
        }
    }
}

#[test]
fn a_wrong_checksum_of_the_pixels_is_refused() {
    let picture = textured(24, 24, Model::Rgb);
    let mut file = png(&picture, &[]);
    let at = file.windows(4).position(|name| name == b"IDAT").unwrap();
    let length = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    let end = at + 4 + length;
    file[end - 1] ^= 1;
    let mut sum = flate2::Crc::new();
    sum.update(&file[at..end]);
    file[end..end + 4].copy_from_slice(&sum.sum().to_be_bytes());
    assert_eq!(refused(&file, MediaType::Png, &ImageRules::default()), [ReasonCode::Undecodable]);
}

#[test]
fn only_the_first_profile_is_inflated() {
    let bomb = {
        let mut encoder = flate2::write::ZlibEncoder::new(b"icc\0\0".to_vec(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![0; 5 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let chunks = vec![(*b"iCCP", &bomb[..]); 1000];
    let file = png(&textured(24, 24, Model::Rgb), &chunks);
    let begun = std::time::Instant::now();
    assert!(Census::take(&file, MediaType::Png).unwrap().icc.is_none());
    assert!(begun.elapsed().as_secs() < 2, "a thousand bombs of 5 MiB take longer");
}

#[test]
fn changed_bytes_never_panic() {
    for (media, file) in samples() {
        for position in 0..file.len().min(700) {
            for value in [0, 0x7F, 0xFF, file[position].wrapping_add(1)] {
                let mut changed = file.clone();
                changed[position] = value;
                let _ = Census::take(&changed, media);
                let _ = memory_needed(&changed, media, &ImageRules::default());
            }
        }
    }
}

#[test]
fn a_flood_of_pixels_is_refused_from_its_header() {
    let mut picture = png(&textured(8, 8, Model::Gray), &[]);
    picture[16..24].copy_from_slice(&[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    assert_eq!(refused(&picture, MediaType::Png, &ImageRules::default()), [ReasonCode::ImageTooLarge]);
    assert!(memory_needed(&picture, MediaType::Png, &ImageRules::default()) < 100 << 20);

    let [.., (_, mut gif), _] = samples();
    gif[6..10].fill(0xFF);
    assert_eq!(refused(&gif, MediaType::Gif, &ImageRules::default()), [ReasonCode::ImageTooLarge]);
}

#[test]
fn the_limits_themselves_are_accepted() {
    let [.., (_, gif), _] = samples();
    let rules = |max_pixels, max_frames, max_total_pixels| ImageRules {
        max_pixels,
        max_frames,
        max_total_pixels,
        ..ImageRules::default()
    };
    clean(&gif, MediaType::Gif, &rules(576, 2, 1152));
    assert_eq!(refused(&gif, MediaType::Gif, &rules(575, 2, 1152)), [ReasonCode::ImageTooLarge]);
    assert_eq!(refused(&gif, MediaType::Gif, &rules(576, 1, 1152)), [ReasonCode::TooManyFrames]);
    assert_eq!(refused(&gif, MediaType::Gif, &rules(576, 2, 1151)), [ReasonCode::TooManyFrames]);
}

#[test]
fn large_frames_on_a_small_canvas_count() {
    let [.., (_, mut gif), _] = samples();
    gif[6..10].copy_from_slice(&[1, 0, 1, 0]);
    let rules = ImageRules { max_total_pixels: 1151, ..ImageRules::default() };
    assert_eq!(refused(&gif, MediaType::Gif, &rules), [ReasonCode::TooManyFrames]);
    let rules = ImageRules { max_pixels: 575, ..ImageRules::default() };
    assert_eq!(refused(&gif, MediaType::Gif, &rules), [ReasonCode::ImageTooLarge]);
}

#[test]
fn two_sizes_in_one_file_are_refused() {
    let [(_, mut jpeg), ..] = samples();
    let header = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let again = jpeg[header..header + 19].to_vec();
    jpeg.splice(header..header, again);
    assert_eq!(refused(&jpeg, MediaType::Jpeg, &ImageRules::default()), [ReasonCode::Malformed]);
}

#[test]
fn a_thumbnail_like_picture_behind_the_end_is_a_tail() {
    let [(_, jpeg), ..] = samples();
    let sanitized = clean(&[jpeg.clone(), jpeg].concat(), MediaType::Jpeg, &ImageRules::default());
    assert!(removed(&sanitized).contains(&Removed::TrailingData));
}

#[test]
fn a_document_is_not_an_image() {
    assert!(matches!(sanitize(b"%PDF-", MediaType::Pdf, &ImageRules::default()), Err(ImageError::Failed(_))));
}

#[test]
fn a_decoder_that_panics_refuses_the_image() {
    let outcome = super::super::guarded(|| -> Result<(), ImageError> { panic!("a broken assumption") });
    assert!(matches!(outcome, Err(ImageError::Refused(reasons)) if reasons[0].code == ReasonCode::Undecodable));
}

#[test]
fn memory_grows_with_what_a_file_makes_us_hold() {
    let rules = ImageRules::default();
    let [(_, plain), ..] = samples();
    let picture = textured(600, 600, Model::Rgb);
    let mut progressive = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut progressive, 90);
    encoder.set_progressive(true);
    encoder.encode(&picture.data, 600, 600, jpeg_encoder::ColorType::Rgb).unwrap();
    let needed = [&plain, &jpeg(&picture, &[]), &progressive].map(|file| memory_needed(file, MediaType::Jpeg, &rules));
    assert!(needed.is_sorted() && needed[1] < needed[2], "{needed:?}");
}
