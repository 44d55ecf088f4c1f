//! Each rule of identification against a file that breaks it, and all walkers against damage.

mod compound;
mod documents;
mod features;
mod images;
mod pdf;
mod samples;

use super::*;
use crate::policy::Policy;
use crate::verdict::ReasonCode;

/// The codes found in a file that claims nothing.
fn codes(bytes: &[u8]) -> Vec<&'static str> {
    let claims = Claims { key_name: "upload", key: Some("a/upload"), filename: None, declared: &[] };
    let mut codes: Vec<_> = examine(bytes, &claims, &Policy::guide()).reasons.iter().map(|r| r.code.as_str()).collect();
    codes.dedup();
    codes
}

fn all_samples() -> [(MediaType, Vec<u8>); 7] {
    [
        (MediaType::Jpeg, samples::jpeg_of(4, 4)),
        (MediaType::Png, samples::png()),
        (MediaType::Gif, samples::gif_of(2, 4, 4)),
        (MediaType::Webp, samples::riff(&[(b"VP8L", samples::vp8l(4, 4))])),
        (MediaType::Pdf, samples::pdf("/OpenAction [3 0 R /Fit]", &["(text)"])),
        (MediaType::Doc, samples::doc("Hello\r")),
        (MediaType::Docx, samples::docx("<w:p><w:r><w:t>Hello</w:t></w:r></w:p>")),
    ]
}

#[test]
fn the_table_is_in_the_order_of_the_types() {
    for (index, media) in MediaType::ALL.into_iter().enumerate() {
        assert_eq!((media as usize, media.row().media), (index, media));
        let json = serde_json::to_string(&media).unwrap();
        assert_eq!(json, format!("\"{}\"", media.mime()), "the serde name and the table agree");
    }
}

#[test]
fn honest_files_of_every_type_pass() {
    for (media, bytes) in all_samples() {
        let name = format!("report.v2.{}", media.extensions()[0].to_uppercase());
        let declared = format!("{}; charset=binary", media.mime().to_uppercase());
        let declared = [declared.as_str(), "application/octet-stream", ""];
        let claims =
            Claims { key_name: &name, key: Some(&format!("in/{name}")), filename: Some(&name), declared: &declared };
        let found = examine(&bytes, &claims, &Policy::guide());
        assert_eq!(found, Examination { detected: Some(media), reasons: vec![], trailing: false });
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (media, bytes) in all_samples() {
        for tenth in 1..10 {
            let cut = &bytes[..bytes.len() * tenth / 10];
            assert!(!codes(cut).is_empty(), "{media} cut at {tenth} tenths");
        }
    }
}

#[test]
fn no_damage_to_any_byte_makes_a_walker_panic() {
    for (_, bytes) in all_samples() {
        let step = (bytes.len() / 1500).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for value in [0, 0x7F, 0xFF, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                codes(&damaged);
            }
        }
    }
}

#[test]
fn claims_are_compared_with_the_content() {
    let png = samples::png();
    let policy = Policy::guide();
    let found = |filename: &str, declared: &str| {
        let claims = Claims { key_name: "k", key: Some("k"), filename: Some(filename), declared: &[declared] };
        examine(&png, &claims, &policy).reasons.iter().map(|r| r.code).collect::<Vec<_>>()
    };
    assert_eq!(found("a.png", "image/x-png"), []);
    assert_eq!(found("a.jpg", "image/png"), [ReasonCode::ExtensionMismatch]);
    assert_eq!(found("a.png", "image/jpeg"), [ReasonCode::TypeMismatch]);
    assert_eq!(found("a.png", "text/html"), [ReasonCode::TypeMismatch]);
    assert_eq!(found("a.php.png", ""), [ReasonCode::UnsafeName]);
}

#[test]
fn foreign_content_is_named() {
    let claims = Claims { key_name: "a.png", key: Some("a.png"), filename: None, declared: &["image/png"] };
    let program = [b"\x7FELF\x02\x01\x01".as_slice(), &[0; 64]].concat();
    let found = examine(&program, &claims, &Policy::guide());
    let found_codes: Vec<_> = found.reasons.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(found_codes, ["type_not_allowed", "type_mismatch", "extension_mismatch"]);
    assert!(found.reasons[0].detail.starts_with("looks like application/"));
    assert_eq!(codes(b"just text"), ["unrecognized"]);
    assert_eq!(codes(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ["type_not_allowed"]);
    assert_eq!(codes(b"<?php system($_GET[0]);"), ["type_not_allowed"]);
    assert_eq!(codes(b"RIFF\x20\0\0\0WAVEfmt \0\0\0\0"), ["type_not_allowed"]);
    assert_eq!(codes(b"RIFF\x20\0\0\0WE"), ["unrecognized"], "cut before it says what it is");
    assert_eq!(codes(b""), ["empty"]);
    assert_eq!(codes(&samples::zip(&[("a.txt", b"hello")])), ["type_not_allowed"]);
}

#[test]
fn half_a_magic_proves_nothing() {
    for bytes in [&b"GIF90a\x04\0\x04\0\0\0\0\x3B"[..], b"XXXX\x10\0\0\0WEBPVP8L", b"\x89PNG\n\n\n\n\0\0"] {
        assert_eq!(codes(bytes), ["malformed"]);
    }
}

#[test]
fn the_policy_decides_what_is_allowed() {
    let claims = Claims { key_name: "a", key: Some("a"), filename: None, declared: &[] };
    let mut policy = Policy::guide();
    policy.types = vec![MediaType::Png];
    let found = examine(&samples::gif_of(1, 4, 4), &claims, &policy);
    assert_eq!(found.reasons[0].code, ReasonCode::TypeNotAllowed);
}
