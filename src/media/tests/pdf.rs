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
        ("/Names << /JavaScript 4 0 R >>".into(), "<< >>", "active_content"),
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
fn objects_that_no_table_lists_are_judged_too() {
    assert_eq!(codes(&with_raw(format!("7 0 obj {SCRIPT} endobj\n").as_bytes())), ["active_content"]);
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
    assert!(codes(&[&good[..], &good].concat()).contains(&"polyglot"), "two documents in one file");
}
