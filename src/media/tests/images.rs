//! Rules of the image formats.

use super::samples::*;
use super::*;
use crate::policy::Trailing;

#[test]
fn bytes_behind_an_image_are_dropped_unless_they_are_a_container() {
    let claims = Claims { key_name: "a", key: Some("a"), filename: None, declared: &[] };
    for (media, image) in all_samples().into_iter().filter(|(media, _)| media.is_image()) {
        let padded = [&image[..], b"\n\0\0 maker's own trailer"].concat();
        let found = examine(&padded, &claims, &Policy::guide());
        assert!(found.trailing && found.reasons.is_empty(), "{media}");
        let mut strict = Policy::guide();
        strict.image.trailing = Trailing::Reject;
        assert_eq!(examine(&padded, &claims, &strict).reasons[0].code, ReasonCode::TrailingData);
        let archive = [&image[..], b"padding", &zip(&[("a.class", b"x")])].concat();
        assert_eq!(codes(&archive), ["polyglot"], "{media}");
    }
}

#[test]
fn floods_are_known_from_headers() {
    assert_eq!(codes(&jpeg_of(65500, 65500)), ["image_too_large"]);
    assert_eq!(codes(&png_of(&[header_chunk(50_000, 50_000)])), ["image_too_large", "truncated"]);
    assert_eq!(codes(&gif_of(1, 65500, 65500)), ["image_too_large"]);
    assert_eq!(codes(&gif_of(501, 4, 4)), ["too_many_frames"]);
    assert_eq!(codes(&gif_of(400, 1000, 1000)), ["image_too_large"], "frames times canvas");
    let flood = riff(&[(b"VP8X", vp8x(0, 1 << 24, 1 << 24)), (b"VP8L", vp8l(4, 4))]);
    assert_eq!(codes(&flood), ["image_too_large", "malformed"]);
}

#[test]
fn jpeg_structure() {
    let start: &[u8] = &[0xFF, 0xD8];
    let scan = segment(0xDA, &[1, 1, 0, 0, 63, 0]);
    let frame = segment(0xC0, &frame_header(4, 4));
    let end: &[u8] = &[0xFF, 0xD9];
    for (what, bytes, code) in [
        ("no scan", [start, &frame, end].concat(), "malformed"),
        ("no frame", [start, &scan, &[1], end].concat(), "malformed"),
        ("no end", [start, &frame, &scan, &[1, 2]].concat(), "truncated"),
        ("length 1", [start, &[0xFF, 0xE0, 0, 1], &frame, &scan, end].concat(), "malformed"),
        ("no pixels", jpeg_of(0, 4), "malformed"),
        ("two frames", [start, &frame, &frame, &scan, end].concat(), "malformed"),
        ("arithmetic", [start, &segment(0xC9, &frame_header(4, 4)), &scan, end].concat(), "undecodable"),
    ] {
        assert_eq!(codes(&bytes), [code], "{what}");
    }
}

#[test]
fn a_few_bytes_between_the_segments_of_a_jpeg_are_padding() {
    // Behind the JFIF segment, which has five bytes.
    let (whole, at) = (jpeg_of(4, 4), 11);
    let with = |stray: &[u8]| codes(&[&whole[..at], stray, &whole[at..]].concat());
    assert!(with(&[0; 64]).is_empty(), "zeros");
    assert!(with(&[0xFF, 0, 7, 0xFF, 0, 9]).is_empty(), "stuffed zeros are no markers");
    assert_eq!(with(&[7; 65]), ["malformed"]);
    assert_eq!(codes(&[&whole[..at], &[7; 20]].concat()), ["truncated"], "nothing but padding");
}

#[test]
fn scans_of_a_jpeg_are_counted() {
    let (scan, whole) = ([segment(0xDA, &[1, 1, 0, 0, 63, 0]), vec![1]].concat(), jpeg_of(4, 4));
    let with = |more: usize| codes(&[&whole[..whole.len() - 2], &scan.repeat(more), &[0xFF, 0xD9]].concat());
    assert!(with(63).is_empty());
    assert_eq!(with(64), ["archive_bomb"]);
}

#[test]
fn an_image_that_is_something_else_as_well_is_a_polyglot() {
    let whole = jpeg_of(4, 4);
    let comment = |body: &[u8]| [&whole[..2], &segment(0xFE, body), &whole[2..]].concat();
    assert!(codes(&comment(b"<?php words in a comment ?>")).is_empty(), "it vanishes with the comment");
    let mut archive = zip(&[("a.class", b"x")]);
    assert!(codes(&comment(&archive[..archive.len() - 22])).is_empty(), "entries that no directory leads to");
    assert_eq!(codes(&comment(&archive)), ["polyglot"], "an archive that ends inside the comment");
    archive.truncate(20);
    assert!(codes(&comment(&archive)).is_empty());
    // The comment begins at byte 6.
    assert_eq!(codes(&comment(&[&[b' '; 251], &b"ustar\x0000"[..]].concat())), ["polyglot"], "a tape archive");
    assert_eq!(codes(&comment(&[vec![32; 0x7FFB], b"CD001 and more".to_vec()].concat())), ["polyglot"], "a disc image");
    assert_eq!(codes(&comment(b"%PDF-1.4")), ["polyglot"], "a PDF in the first kilobyte");
    let cabinet = [&whole[..], b"MSCF\0\0\0\0\x40\0\0\0\0\0\0\0"].concat();
    assert_eq!(codes(&cabinet), ["polyglot"], "a cabinet behind the end");
}

#[test]
fn png_structure() {
    let (head, data, end) = (header_chunk(4, 4), chunk(b"IDAT", b"x"), chunk(b"IEND", b""));
    let other = chunk(b"tEXt", b"a\0b");
    let mut wrong_sum = data.clone();
    *wrong_sum.last_mut().unwrap() ^= 1;
    for (what, chunks, code) in [
        ("no data", vec![head.clone(), end.clone()], "malformed"),
        ("no end", vec![head.clone(), data.clone()], "truncated"),
        ("not first", vec![other.clone(), head.clone(), data.clone(), end.clone()], "malformed"),
        ("two headers", vec![head.clone(), head.clone(), data.clone(), end.clone()], "malformed"),
        ("apart", vec![head.clone(), data.clone(), other.clone(), data.clone(), end.clone()], "malformed"),
        ("wrong sum", vec![head.clone(), wrong_sum, end.clone()], "malformed"),
        ("no pixels", vec![header_chunk(0, 4), data.clone(), end.clone()], "malformed"),
        ("unknown critical", vec![head.clone(), chunk(b"ABCD", b""), data.clone(), end.clone()], "malformed"),
        ("many chunks", [vec![head.clone()], vec![other; 5000], vec![data, end]].concat(), "archive_bomb"),
    ] {
        assert_eq!(codes(&png_of(&chunks)), [code], "{what}");
    }
    assert_eq!(codes(&png_of(&[head, [0xFF; 4].to_vec(), b"IDAT".to_vec()])), ["malformed"], "length of 4 GiB");
}

#[test]
fn apng_frames_are_counted_and_in_sequence() {
    let control = |n: u32| {
        let numbers = [n, 4, 4, 0, 0].map(u32::to_be_bytes).concat();
        chunk(b"fcTL", &[numbers, vec![0, 1, 0, 1, 0, 0]].concat())
    };
    let animation = |frames: u32| chunk(b"acTL", &[frames, 0].map(u32::to_be_bytes).concat());
    let data = |n: u32| chunk(b"fdAT", &[&n.to_be_bytes()[..], b"x"].concat());
    let (head, first, end) = (header_chunk(4, 4), chunk(b"IDAT", b"x"), chunk(b"IEND", b""));
    let file = |frames, second| {
        png_of(&[head.clone(), animation(frames), control(0), first.clone(), control(1), data(second), end.clone()])
    };
    assert_eq!(codes(&file(2, 2)), Vec::<&str>::new());
    assert_eq!(codes(&file(2, 3)), ["malformed"], "out of sequence");
    assert_eq!(codes(&file(3, 2)), ["malformed"], "fewer than announced");
}

#[test]
fn gif_structure() {
    assert_eq!(codes(&gif_of(0, 4, 4)), ["malformed"], "no frame");
    let mut no_trailer = gif_of(1, 4, 4);
    no_trailer.pop();
    assert!(codes(&no_trailer).is_empty(), "a missing trailer behind a whole frame is tolerated");
    let junk = [&no_trailer[..], b"junk"].concat();
    assert_eq!(codes(&junk), ["malformed"]);
    assert_eq!(codes(b"GIF89a/*aaaa*/=1;alert(1)"), ["malformed"], "a script that begins like a GIF");
}

#[test]
fn webp_structure() {
    let still = riff(&[(b"VP8X", vp8x(0, 4, 4)), (b"VP8L", vp8l(4, 4)), (b"EXIF", vec![1, 2, 3])]);
    assert!(codes(&still).is_empty());
    for (what, bytes, code) in [
        ("no picture", riff(&[(b"VP8X", vp8x(0, 4, 4))]), "malformed"),
        ("sizes differ", riff(&[(b"VP8X", vp8x(0, 4, 4)), (b"VP8L", vp8l(9, 4))]), "malformed"),
        ("two headers", riff(&[(b"VP8X", vp8x(0, 4, 4)), (b"VP8X", vp8x(0, 4, 4))]), "malformed"),
        ("metadata first", riff(&[(b"EXIF", vec![0; 4]), (b"VP8L", vp8l(4, 4))]), "malformed"),
        ("cut", still[..still.len() - 4].to_vec(), "truncated"),
    ] {
        assert_eq!(codes(&bytes), [code], "{what}");
    }
    let frame = [vec![0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 1, 0, 0, 0], b"VP8L\x09\0\0\0".to_vec(), vp8l(4, 4), vec![0]]
        .concat();
    let animated = |count: usize| {
        let frames = std::iter::repeat_n((b"ANMF", frame.clone()), count);
        riff(&std::iter::once((b"VP8X", vp8x(2, 4, 4))).chain(frames).collect::<Vec<_>>())
    };
    assert!(codes(&animated(3)).is_empty());
    assert_eq!(codes(&animated(501)), ["too_many_frames"]);
}
