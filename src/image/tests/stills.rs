//! Still images: orientation, size, alpha, colour, and what is removed.

use super::*;
use crate::policy::OutputFormat;

/// The corner that is white in a [`quartered`] picture shown in an orientation: (right, bottom).
const WHITE_CORNER: [(bool, bool); 8] = [
    (false, false),
    (true, false),
    (true, true),
    (false, true),
    (false, false),
    (true, false),
    (true, true),
    (false, true),
];

fn assert_orientation(sanitized: &Sanitized, orientation: u8, shown: (u32, u32)) {
    let facts = &sanitized.facts;
    assert_eq!(facts.orientation_applied, (orientation > 1).then_some(orientation));
    assert_eq!((facts.width, facts.height), (Some(shown.0), Some(shown.1)), "orientation {orientation}");
    let picture = pixels(sanitized);
    for (right, bottom) in WHITE_CORNER {
        let x = if right { picture.width - 1 } else { 0 };
        let y = if bottom { picture.height - 1 } else { 0 };
        let expected = (right, bottom) == WHITE_CORNER[usize::from(orientation) - 1];
        assert_eq!(is_white(&picture, x, y), expected, "orientation {orientation}, pixel {x},{y}");
    }
}

#[test]
fn every_orientation_is_baked_into_every_format_that_has_one() {
    let picture = quartered(32, 16);
    for orientation in 1..=8_u8 {
        let shown = if orientation < 5 { (32, 16) } else { (16, 32) };
        let tiff = exif(orientation.into(), false, false);
        let file = jpeg_with_exif(&picture, &tiff);
        assert_orientation(&clean(&file, MediaType::Jpeg, &boxed(2000, 2000)), orientation, shown);

        let file = png(&picture, &[(*b"eXIf", &tiff)]);
        assert_orientation(&clean(&file, MediaType::Png, &boxed(2000, 2000)), orientation, shown);

        let mut file = Vec::new();
        let mut encoder = image_webp::WebPEncoder::new(&mut file);
        encoder.set_exif_metadata(tiff);
        encoder.encode(&picture.data, 32, 16, image_webp::ColorType::Rgb8).unwrap();
        assert_orientation(&clean(&file, MediaType::Webp, &boxed(2000, 2000)), orientation, shown);
    }
}

#[test]
fn the_box_is_for_the_picture_as_it_is_shown() {
    let file = jpeg_with_exif(&quartered(64, 32), &exif(6, false, false));
    let sanitized = clean(&file, MediaType::Jpeg, &boxed(100, 16));
    assert_eq!((sanitized.facts.width, sanitized.facts.height), (Some(8), Some(16)));
    assert_eq!(sanitized.facts.resized_from, Some((32, 64)));
    assert_eq!(sanitized.facts.orientation_applied, Some(6));
}

#[test]
fn an_orientation_out_of_range_changes_nothing() {
    for orientation in [0, 9, 600] {
        let sanitized = clean(
            &jpeg_with_exif(&quartered(32, 16), &exif(orientation, false, false)),
            MediaType::Jpeg,
            &boxed(64, 64),
        );
        assert_eq!((sanitized.facts.width, sanitized.facts.orientation_applied), (Some(32), None));
    }
}

#[test]
fn a_small_image_is_encoded_anew_but_not_enlarged() {
    let sanitized = clean(&jpeg(&quartered(32, 16), &[]), MediaType::Jpeg, &boxed(2000, 2000));
    assert_eq!((sanitized.facts.width, sanitized.facts.resized_from), (Some(32), None));
    assert_eq!(sanitized.facts.action, crate::verdict::Action::Reencoded);
}

#[test]
fn a_thin_image_keeps_its_last_pixel() {
    for (width, height, expected) in [(900, 1, (100, 1)), (1, 900, (1, 100))] {
        let sanitized = clean(&png(&textured(width, height, Model::Rgb), &[]), MediaType::Png, &boxed(100, 100));
        assert_eq!((sanitized.facts.width, sanitized.facts.height), (Some(expected.0), Some(expected.1)));
        assert_eq!(sanitized.facts.resized_from, Some((width, height)));
    }
}

#[test]
fn lossless_formats_keep_every_pixel() {
    for model in [Model::Gray, Model::GrayAlpha, Model::Rgb, Model::Rgba] {
        let picture = textured(40, 30, model);
        let sanitized = clean(&png(&picture, &[]), MediaType::Png, &ImageRules::default());
        assert_eq!(pixels(&sanitized), picture);
    }
}

#[test]
fn sixteen_bits_become_eight() {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0x12, 0x34, 0xFF, 0xFF]).unwrap();
    writer.finish().unwrap();
    let picture = pixels(&clean(&file, MediaType::Png, &ImageRules::default()));
    assert_eq!((picture.model, picture.data), (Model::Gray, vec![0x12, 0xFF]));
}

#[test]
fn a_palette_survives_unless_a_pixel_points_past_it() {
    for (index, kept) in [(1, true), (3, false)] {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 4, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Two);
        encoder.set_palette(vec![255, 0, 0, 0, 255, 0]);
        encoder.set_trns(vec![255, 0]);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[index << 6]).unwrap();
        writer.finish().unwrap();
        let sanitized = clean(&file, MediaType::Png, &ImageRules::default());
        let reader = png::Decoder::new(Cursor::new(&sanitized.bytes[..])).read_info().unwrap();
        assert_eq!(reader.info().palette.is_some(), kept);
        assert!(pixels(&sanitized).model.has_alpha());
    }
}

#[test]
fn transparency_lies_on_white_in_a_jpeg() {
    let mut picture = Raster::blank(16, 16, Model::Rgba);
    picture.data[..4 * 128].as_chunks_mut::<4>().0.fill([0, 0, 0, 255]);
    let rules = ImageRules { output: OutputFormat::Jpeg, ..ImageRules::default() };
    let sanitized = clean(&png(&picture, &[]), MediaType::Png, &rules);
    assert_eq!(sanitized.media, MediaType::Jpeg);
    let flat = pixels(&sanitized);
    assert!(!is_white(&flat, 8, 2) && is_white(&flat, 8, 13));
}

#[test]
fn colour_under_transparency_does_not_bleed_when_resized() {
    let mut picture = Raster::blank(64, 64, Model::Rgba);
    for pixel in picture.data.as_chunks_mut::<4>().0.chunks_exact_mut(64) {
        pixel[..32].fill([0, 0, 255, 255]);
        pixel[32..].fill([255, 0, 0, 0]);
    }
    let small = pixels(&clean(&png(&picture, &[]), MediaType::Png, &boxed(9, 9)));
    assert!(small.data.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 0 || pixel[0] < 3), "red shines through");
}

#[test]
fn a_profile_is_applied_and_a_broken_one_ignored() {
    let mut picture = Raster::blank(8, 8, Model::Rgb);
    picture.data.as_chunks_mut::<3>().0.fill([200, 60, 60]);
    let deflated = |icc: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(b"icc\0\0".to_vec(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, icc).unwrap();
        encoder.finish().unwrap()
    };
    let wide = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    for (profile, changed) in
        [(deflated(&wide), true), (deflated(b"no profile"), false), (b"icc\0\0junk".to_vec(), false)]
    {
        let sanitized = clean(&png(&picture, &[(*b"iCCP", &profile)]), MediaType::Png, &ImageRules::default());
        assert_eq!(removed(&sanitized), [Removed::Icc]);
        let red = pixels(&sanitized).data[0];
        assert_eq!(red > 205, changed, "red became {red}");
        assert!(changed || red == 200);
    }
}

#[test]
fn inks_become_light() {
    let mut picture = Raster::blank(16, 16, Model::Cmyk);
    picture.data[..4 * 128].as_chunks_mut::<4>().0.fill([0, 0, 0, 255]);
    let sanitized = clean(&jpeg(&picture, &[]), MediaType::Jpeg, &ImageRules::default());
    let shown = pixels(&sanitized);
    assert_eq!(shown.model, Model::Rgb);
    assert!(!is_white(&shown, 8, 2) && is_white(&shown, 8, 13));
}

#[test]
fn a_jpeg_tells_all_it_carried() {
    let tiff = [b"Exif\0\0", &exif(1, true, true)[..]].concat();
    let photoshop = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab";
    let mut file = jpeg(
        &quartered(16, 16),
        &[
            (0xE1, &tiff),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
            (0xE2, b"ICC_PROFILE\0\x01\x01broken"),
            (0xEB, b"JP\0\x01jumb"),
            (0xED, photoshop),
            (0xFE, b"hello"),
        ],
    );
    file.extend_from_slice(b"PK\x03\x04");
    let sanitized = clean(&file, MediaType::Jpeg, &ImageRules::default());
    assert_eq!(
        removed(&sanitized),
        [
            Removed::Exif,
            Removed::Gps,
            Removed::Xmp,
            Removed::Iptc,
            Removed::Icc,
            Removed::Comment,
            Removed::Thumbnail,
            Removed::C2pa,
            Removed::TrailingData
        ]
    );
    let plain = clean(&jpeg(&quartered(16, 16), &[]), MediaType::Jpeg, &ImageRules::default());
    assert_eq!(removed(&plain), []);
}

#[test]
fn a_png_tells_all_it_carried() {
    let mut file = png(
        &quartered(16, 16),
        &[
            (*b"eXIf", &exif(1, true, false)),
            (*b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
            (*b"zTXt", b"Raw profile type iptc\0\0x"),
            (*b"tEXt", b"Comment\0hello"),
            (*b"caBX", b"jumb"),
        ],
    );
    file.push(b'\n');
    let sanitized = clean(&file, MediaType::Png, &ImageRules::default());
    assert_eq!(
        removed(&sanitized),
        [
            Removed::Exif,
            Removed::Gps,
            Removed::Xmp,
            Removed::Iptc,
            Removed::Comment,
            Removed::C2pa,
            Removed::TrailingData
        ]
    );
}

#[test]
fn a_webp_tells_all_it_carried() {
    let mut file = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut file);
    encoder.set_exif_metadata(exif(1, true, false));
    encoder.set_xmp_metadata(b"<x/>".to_vec());
    encoder.set_icc_profile(b"broken".to_vec());
    encoder.encode(&quartered(16, 16).data, 16, 16, image_webp::ColorType::Rgb8).unwrap();
    file.extend_from_slice(b"tail");
    let sanitized = clean(&file, MediaType::Webp, &ImageRules::default());
    assert_eq!(removed(&sanitized), [Removed::Exif, Removed::Gps, Removed::Xmp, Removed::Icc, Removed::TrailingData]);
}

#[test]
fn a_webp_that_announces_metadata_and_has_none_is_read() {
    let picture = textured(24, 24, Model::Rgb);
    let mut bitstream = Vec::new();
    image_webp::WebPEncoder::new(&mut bitstream).encode(&picture.data, 24, 24, image_webp::ColorType::Rgb8).unwrap();
    let header = [&b"VP8X\x0A\0\0\0"[..], &[0x2C, 0, 0, 0, 23, 0, 0, 23, 0, 0]].concat();
    let size = u32::try_from(bitstream.len() - 8 + header.len()).unwrap().to_le_bytes();
    let file = [&b"RIFF"[..], &size, b"WEBP", &header, &bitstream[12..]].concat();
    let sanitized = clean(&file, MediaType::Webp, &ImageRules::default());
    assert_eq!(pixels(&sanitized).data, picture.data);
}

#[test]
fn webp_stays_lossy_or_lossless() {
    let picture = textured(48, 48, Model::Rgba);
    let lossy = super::super::encode::lossy_webp(&picture, &ImageRules::default()).unwrap();
    let lossless = super::super::encode::lossless_webp(&picture).unwrap();
    for (file, expected) in [(lossy, true), (lossless, false)] {
        let sanitized = clean(&file, MediaType::Webp, &ImageRules::default());
        assert_eq!(webp_of(&sanitized).is_lossy(), expected);
        assert!(webp_of(&sanitized).has_alpha());
    }
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    let file = jpeg(&textured(300, 200, Model::Rgb), &[]);
    let (a, b) = (clean(&file, MediaType::Jpeg, &boxed(100, 100)), clean(&file, MediaType::Jpeg, &boxed(100, 100)));
    assert_eq!(a.bytes, b.bytes);
}
