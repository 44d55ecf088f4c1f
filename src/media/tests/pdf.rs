//! Rules of PDF: what opens by itself, where it hides, and what a reader could understand differently.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::codes;
use super::samples::{pdf, pdf_of, zip};

const SCRIPT: &str = "<< /S /JavaScript /JS (app.alert(1)) >>";

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A good document with one more object appended raw, which no table lists.
fn with_raw(object: &[u8]) -> Vec<u8> {
    let good = pdf("", &[]);
    let at = good.windows(4).position(|w| w == b"xref").unwrap();
    let shifted = String::from_utf8_lossy(&good[at..])
        .replace(&format!("startxref\n{at}\n"), &format!("startxref\n{}\n", at + object.len()));
    [&good[..at], object, shifted.as_bytes()].concat()
}

fn object_stream(inner: &[&str], dictionary: &str) -> Vec<u8> {
    let (mut table, mut body) = (String::new(), String::new());
    for (n, object) in inner.iter().enumerate() {
        write!(table, "{} {} ", 20 + n, body.len()).unwrap();
        write!(body, "{object} ").unwrap();
    }
    let data = deflated(format!("{table}{body}").as_bytes());
    let (count, first, length) = (inner.len(), table.len(), data.len());
    let head = format!("9 0 obj << /Type /ObjStm /N {count} /First {first} /Length {length} {dictionary} >> stream\n");
    [head.as_bytes(), &data, b"\nendstream endobj\n"].concat()
}

#[test]
fn what_acts_by_itself_is_named() {
    for (catalog, more, code) in [
        (format!("/OpenAction {SCRIPT}"), "null", "active_content"),
        ("/OpenAction 4 0 R".into(), SCRIPT, "active_content"),
        ("/OpenAction << /S /J#61vaScript >>".into(), "null", "active_content"),
        ("/OpenAction << /S 4 0 R >>".into(), "/JavaScript", "active_content"),
        ("/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next << /S /Launch >> >>".into(), "null", "active_content"),
        (
            "/Names << /JavaScript 4 0 R >>".into(),
            "<< /Names [(a) << /S /JavaScript /JS 9 0 R >>] >>",
            "active_content",
        ),
        ("/OpenAction << /S /URI /URI (https://example.com) >>".into(), "null", "external_reference"),
        ("/OpenAction 4 0 R".into(), "<< /S /URI /URI (https://example.com) >>", "external_reference"),
        ("/AA << /O << /S /URI /URI (https://example.com) >> >>".into(), "null", "external_reference"),
        ("/URI 4 0 R".into(), "<< /Base (javascript:x//) >>", "active_content"),
        ("/URI << /Base 4 0 R >>".into(), "(javascript:x//)", "active_content"),
        ("/A << /S /URI /URI /javascript:x >>".into(), "null", "active_content"),
        ("/A << /S (Launch) >>".into(), "null", "active_content"),
        ("/A << /Subtype (RichMedia) >>".into(), "null", "active_content"),
        ("/A << /Subtype 4 0 R >>".into(), "/RichMedia", "active_content"),
        ("/A << /Subtype /Form /Ref 4 0 R >>".into(), "<< /F (x.pdf) /Page 0 >>", "external_reference"),
        ("/AlternatePresentations 4 0 R".into(), "<< /Type /SlideShow >>", "active_content"),
        ("/AA << /WC << /S /SubmitForm >> >>".into(), "null", "active_content"),
        ("/AcroForm << /XFA 4 0 R >>".into(), "null", "active_content"),
        ("/OpenAction << /S /Named /N /Print >>".into(), "null", "active_content"),
        ("/OpenAction 4 0 R".into(), "<< /S /Named /N /Print >>", "active_content"),
        ("/OpenAction << /S /Unheard >>".into(), "null", "active_content"),
        ("/A 4 0 R".into(), "<< /Subtype /RichMedia >>", "active_content"),
        ("/A << /S /URI /URI (java\\163cript:x) >>".into(), "null", "active_content"),
        ("/A << /S /URI /URI <6A6176617363726970743A78> >>".into(), "null", "active_content"),
        ("/A << /S /URI /URI 4 0 R >>".into(), "(javascript:x)", "active_content"),
        ("/A << /S /URI /URI (file://host/x) >>".into(), "null", "external_reference"),
        ("/A << /S /GoToR /F (x.pdf) >>".into(), "null", "external_reference"),
        ("/Names << /EmbeddedFiles 4 0 R >>".into(), "<< /Type /Filespec /EF << /F 5 0 R >> >>", "embedded_file"),
        (String::new(), "<< /Subtype /FileAttachment >>", "embedded_file"),
    ] {
        assert_eq!(codes(&pdf(&catalog, &[more])), [code], "{catalog} {more}");
    }
}

#[test]
fn what_is_only_text_or_navigation_passes() {
    for (catalog, more) in [
        ("/OpenAction [3 0 R /Fit]", "(/JS /JavaScript /Launch)"),
        ("/OpenAction << /S /GoTo /D [3 0 R /Fit] >>", "% /JS\nnull"),
        ("/OpenAction << /S /Named /N /FirstPage >>", "null"),
        ("/A << /S /Named /N /Print >>", "null"),
        ("/A << /S /URI /URI (https://example.com) >>", "(Note: a title)"),
        ("/A << /S /URI /URI (mailto:a@example.com) >>", "<< /S /Transparency /Type /Group >>"),
        ("/AcroForm << /Fields [] >>", "<< /Length 17 >> stream\n/JS (x) /Launch \nendstream"),
        ("/XFA null", "null"),
        // Empty trees stay behind when scripts and attachments were taken out.
        ("/Names << /JavaScript 4 0 R /EmbeddedFiles << /Names [] >> >>", "<< /Names [] >>"),
        // Resources, states and usage rights may bear any name.
        ("/Font << /JS 4 0 R /JavaScript 4 0 R >>", "<< /Type /Font >>"),
        ("/TransformParams << /EF [/Create /Delete] /Form [/SubmitStandalone] >>", "null"),
        ("/RoleMap << /JavaScript /Code >>", "null"),
        ("/AA << /U << /S /URI /URI (https://example.com) >> >>", "null"),
        ("/A << /S /URI /URI (example.com:8080/a) >>", "<< /S /URI /URI (doi:10.1000/1) >>"),
        ("/A << /S /SetState /T (x) >>", "null"),
    ] {
        assert_eq!(codes(&pdf(catalog, &[more])), Vec::<&str>::new(), "{catalog} {more}");
    }
}

#[test]
fn object_streams_are_opened_bounded_and_by_their_own_table() {
    assert!(codes(&with_raw(&object_stream(&["<< /A 1 >>"], "/Filter /FlateDecode"))).is_empty());
    assert_eq!(codes(&with_raw(&object_stream(&[SCRIPT], "/Filter /Fl"))), ["active_content"]);
    // Read from its beginning the stream holds a harmless string; the table points into it.
    let body = format!("20 1 ({SCRIPT})");
    let hidden =
        format!("9 0 obj << /Type /ObjStm /N 1 /First 5 /Length {} >> stream\n{body}\nendstream endobj\n", body.len());
    assert_eq!(codes(&with_raw(hidden.as_bytes())), ["active_content"]);
    assert_eq!(codes(&with_raw(&object_stream(&["null"], "/Filter /LZWDecode"))), ["malformed"]);
    let bomb = deflated(&vec![b' '; 70 << 20]);
    let head =
        format!("9 0 obj << /Type /ObjStm /N 1 /First 5 /Filter /FlateDecode /Length {} >> stream\n", bomb.len());
    assert_eq!(codes(&with_raw(&[head.as_bytes(), &bomb, b"\nendstream endobj\n"].concat())), ["archive_bomb"]);
}

#[test]
fn what_says_how_objects_are_read_is_said_once() {
    let plain = |dictionary: &str, body: &str| {
        let length = body.len();
        with_raw(format!("9 0 obj << {dictionary} /Length {length} >> stream\n{body}\nendstream endobj\n").as_bytes())
    };
    let body = format!("20 0 {SCRIPT}");
    assert!(codes(&plain("/Type /ObjStm /N 0 /First 0", "")).is_empty());
    for dictionary in [
        "/Type /ObjStm /N 0 /N 1 /First 5",
        "/Type /ObjStm /N 0 /First 5",
        "/Type /ObjStm /N 0 /First 5 /Filter /FlateDecode /Filter null",
        "/Type /ObjStm /N 0 /First 5 /F /FlateDecode",
        "/Type /ObjStm /N 0 /First 5 /Filter [/FlateDecode] /DecodeParms << /Predictor 4 0 R >>",
    ] {
        assert_eq!(codes(&plain(dictionary, &body)), ["malformed"], "{dictionary}");
    }
    // What holds objects is known by its table as well as by its type.
    assert_eq!(codes(&plain("/N 1 /First 5", &body)), ["active_content"]);
    assert_eq!(codes(&plain("/Type 4 0 R /N 1 /First 5", &body)), ["active_content"]);
    // Each filter is bounded, not only the sum.
    let long = deflated(&vec![b'z'; 7 << 20]);
    let head = format!("9 0 obj << /Type /ObjStm /N 1 /First 5 /Filter [/Fl /A85] /Length {} >> stream\n", long.len());
    assert_eq!(codes(&with_raw(&[head.as_bytes(), &long, b"\nendstream endobj\n"].concat())), ["archive_bomb"]);
}

#[test]
fn updates_of_real_writers_pass() {
    let good = String::from_utf8(pdf("", &[])).unwrap();
    let table = good.find("xref\n").unwrap();
    let update = |between: &str, previous: usize, more: &str| {
        let at = good.len() + between.len();
        format!("{good}{between}xref\n0 0\ntrailer << /Root 1 0 R /Prev {previous} {more} >>\nstartxref\n{at}\n%%EOF\n")
    };
    assert!(codes(update("", table, "").as_bytes()).is_empty());
    // A header of its own before the update; two documents are refused because the newest table is in the first.
    assert!(codes(update("%PDF-1.7\n", table, "").as_bytes()).is_empty());
    assert_eq!(codes(update("x\n%PDF-1.7\n", table, "").as_bytes()), ["polyglot"]);
    // The stream of a hybrid file has been seen when the copied trailer names it again, and leads back as well.
    let stream = "8 0 obj << /Type /XRef /Size 1 /W [1 1 1] /Length 3 /Prev {} >> stream\n\0\0\0\nendstream endobj\n";
    let stream = stream.replace("{}", &table.to_string());
    let hybrid = format!("/XRefStm {}", good.len());
    let first = update(&stream, table, &hybrid);
    assert!(codes(first.as_bytes()).is_empty());
    let at = good.len() + stream.len();
    let (end, trailer) = (first.len(), format!("/Prev {at} {hybrid}"));
    let second = format!("{first}xref\n0 0\ntrailer << /Root 1 0 R {trailer} >>\nstartxref\n{end}\n%%EOF\n");
    assert!(codes(second.as_bytes()).is_empty());
    assert!(codes(good.replace("/Root", "/Prev 0 /Root").as_bytes()).is_empty(), "zero is no section");
}

#[test]
fn an_object_stream_is_searched_by_number() {
    // The row of object 1 gives the place of another, as it does where its field is too narrow for the stream.
    let inner = "5 0 1 5 null << /Type /Catalog /Pages 2 0 R >>";
    let good = String::from_utf8(pdf("", &[])).unwrap();
    let (body, pages) = (&good[..good.find("xref\n").unwrap()], good.find("2 0 obj").unwrap());
    let objects = format!("8 0 obj << /Type /ObjStm /N 2 /First 8 /Length 46 >> stream\n{inner}\nendstream endobj\n");
    let row = |kind: u8, place: usize| [&[kind][..], &u16::try_from(place).unwrap().to_be_bytes(), &[0]].concat();
    let rows = [&row(0, 0)[..], &row(2, 8), &row(1, pages), &row(0, 0).repeat(5), &row(1, body.len())].concat();
    let head = "9 0 obj << /Type /XRef /Size 9 /W [1 2 1] /Root 1 0 R /Length 36 >> stream\n";
    let at = body.len() + objects.len();
    let end = format!("\nendstream endobj\nstartxref\n{at}\n%%EOF\n");
    let file = [body.as_bytes(), objects.as_bytes(), head.as_bytes(), &rows, end.as_bytes()].concat();
    assert_eq!(codes(&file), Vec::<&str>::new());
}

#[test]
fn objects_that_no_table_lists_are_judged_too() {
    for object in ["7 0 obj", "7 %a\n0 %b\nobj", "+7 +0 obj", "7\x00000\x00obj", "trailer"] {
        let raw = format!("{object} {SCRIPT} endobj\n");
        assert_eq!(codes(&with_raw(raw.as_bytes())), ["active_content"], "{object}");
    }
    assert!(codes(&with_raw(b"% an obj [ is only a word\n")).is_empty());
    // The table points into a stream whose length would hide the object.
    let inner = format!("8 0 obj {SCRIPT} endobj");
    let stream = format!("<< /Length {} >> stream\n{inner}\nendstream", inner.len());
    let mut file = String::from_utf8(pdf("", &[&stream, "null"])).unwrap();
    let old = format!("{:010} 00000 n \ntrailer", file.find("5 0 obj").unwrap());
    let new = format!("{:010} 00000 n \ntrailer", file.find("8 0 obj").unwrap());
    file = file.replace(&old, &new);
    assert_eq!(codes(file.as_bytes()), ["active_content"]);
}

#[test]
fn encryption_is_seen_in_any_trailer() {
    let file = String::from_utf8(pdf("", &[])).unwrap();
    for key in ["/Encrypt", "/Encr#79pt"] {
        assert_eq!(codes(file.replace("/Root", &format!("{key} << /V 1 >> /Root")).as_bytes()), ["encrypted"]);
    }
}

#[test]
fn loops_end_and_depth_is_bounded() {
    let looped = pdf_of(&["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]);
    assert_eq!(codes(&looped), ["malformed"]);
    let file = String::from_utf8(pdf("", &[])).unwrap();
    let at = file.find("xref\n").unwrap();
    assert_eq!(codes(file.replace("/Root", &format!("/Prev {at} /Root")).as_bytes()), ["malformed"]);
    assert_eq!(codes(&pdf("", &[&"[".repeat(50_000)])), ["malformed"]);
    let many = "1 0 obj (".repeat(100_000);
    assert!(codes(&with_raw(many.as_bytes())).contains(&"malformed"));
}

#[test]
fn the_cross_reference_has_to_be_right() {
    let file = String::from_utf8(pdf("", &[])).unwrap();
    let at = file.find("xref\n").unwrap();
    for (what, broken, code) in [
        ("no end", file[..at].to_owned(), "truncated"),
        ("wild", file.replace(&format!("startxref\n{at}"), "startxref\n99999"), "malformed"),
        ("no root", file.replace("/Root 1 0 R", ""), "malformed"),
        ("wrong root", file.replace("/Root 1 0 R", "/Root 9 0 R"), "malformed"),
        ("no pages", file.replace("/Pages 2 0 R", ""), "malformed"),
    ] {
        assert_eq!(codes(broken.as_bytes()), [code], "{what}");
    }
}

#[test]
fn other_formats_around_the_document_are_polyglots() {
    let good = pdf("", &[]);
    assert!(codes(&[b"\xEF\xBB\xBF".as_slice(), &good].concat()).is_empty(), "a byte order mark is nothing");
    assert_eq!(codes(&[b"<html>".as_slice(), &good].concat()).first(), Some(&"polyglot"));
    assert_eq!(codes(&[&good[..], &zip(&[("a", b"x")])].concat()), ["polyglot"]);
    assert_eq!(codes(&[&good[..], &[b'x'; 2000]].concat()), ["trailing_data"]);
    assert_eq!(codes(&[&good[..], b"<SCRIPT>alert(1)"].concat()), ["polyglot"]);
    assert!(codes(&[&good[..], b"\r\n\0\0"].concat()).is_empty());
    assert_eq!(codes(&[&good[..], b"MIME-Version: 1.0\r\n"].concat()), ["polyglot"], "a web archive with macros");
    for markup in ["<?php x ?>", "% <HTML>", "% <hta:application>"] {
        assert_eq!(codes(&with_raw(format!("{markup}\n").as_bytes())), ["polyglot"], "{markup}");
    }
    assert!(codes(&[&good[..], &good].concat()).contains(&"polyglot"), "two documents in one file");
}
