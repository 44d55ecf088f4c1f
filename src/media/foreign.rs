//! Types that are known and that nothing here can prove: what the general guess misses, above all texts.
//!
//! Whatever is named here is refused either way. The name tells a person what was sent, and the reason that its
//! type is not wanted rather than that its bytes are riddles.

use super::bytes::array;

/// How far a text is read: markup may begin with a declaration, a document type and comments.
const LOOK: usize = 1024;

/// Binary types: where their magic stands, and what it is.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (0, b"ITSF\x03\0\0\0", "application/vnd.ms-htmlhelp"),
    (0, b"?_\x03\0", "application/winhlp"),
    (0, b"\xE4\x52\x5C\x7B\x8C\xD8\xA7\x4D", "application/onenote"),
    (0, b"dex\n", "application/vnd.android.dex"),
    (0, b"\xFF\x4F\xFF\x51", "image/j2c"),
    (0, b"\x8AMNG\r\n\x1A\n", "video/x-mng"),
    (0, b"\x8BJNG\r\n\x1A\n", "image/x-jng"),
    (0, b"\0\0\x02\0", "image/x-win-bitmap"),
    (0, b"\xD7\xCD\xC6\x9A", "image/wmf"),
    (40, b" EMF", "image/emf"),
    (0, b"\xC5\xD0\xD3\xC6", "application/postscript"),
    (0, b"gimp xcf", "image/x-xcf"),
    (0, b"BPG\xFB", "image/bpg"),
    (0, b"FLIF", "image/flif"),
    (0, b"qoif", "image/qoi"),
    (0, b"DDS ", "image/vnd.ms-dds"),
    (0, b"\x76\x2F\x31\x01", "image/x-exr"),
    (0, b"icns", "image/x-icns"),
    (0, b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
    (0, b"IIU\0", "image/x-panasonic-rw2"),
    (0, b"IIRO", "image/x-olympus-orf"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1A\x45\xDF\xA3", "video/x-matroska"),
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "video/x-ms-asf"),
    (0x8001, b"CD001", "application/x-iso9660-image"),
    (0, b"conectix", "application/x-virtualbox-vhd"),
    (0, b"vhdxfile", "application/x-virtualbox-vhdx"),
    (0, b"KDMV", "application/x-virtualbox-vmdk"),
    (2, b"-lh", "application/x-lzh-compressed"),
    (7, b"**ACE**", "application/x-ace-compressed"),
    (0, b"\x60\xEA", "application/x-arj"),
    (0, b"\xD4\xC3\xB2\xA1", "application/vnd.tcpdump.pcap"),
    (0, b"\x0A\x0D\x0D\x0A", "application/vnd.tcpdump.pcap"),
    (0, b"bplist00", "application/x-bplist"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
];

/// Texts by their first words, in small letters. Markup is looked into further.
const TEXT: &[(&str, &str)] = &[
    ("<?php", "application/x-httpd-php"),
    ("<?=", "application/x-httpd-php"),
    ("<%", "a page with code for a web server"),
    ("{\\rt", "application/rtf"),
    ("%!ps", "application/postscript"),
    ("@echo off", "application/x-bat"),
    ("windows registry editor", "text/x-ms-regedit"),
    ("regedit4", "text/x-ms-regedit"),
    ("[internetshortcut]", "application/x-mswinurl"),
    ("[desktop entry]", "application/x-desktop"),
    ("begin:vcard", "text/vcard"),
    ("begin:vcalendar", "text/calendar"),
    ("-----begin ", "application/x-pem-file"),
    ("#?radiance", "image/vnd.radiance"),
    ("/* xpm */", "image/x-xpixmap"),
    ("d8:announce", "application/x-bittorrent"),
];

/// Header fields that mail and saved web pages begin with.
const MAIL: &[&str] = &[
    "from ",
    "from:",
    "to:",
    "date:",
    "subject:",
    "received:",
    "return-path:",
    "delivered-to:",
    "message-id:",
    "mime-version:",
    "content-type:",
    "x-",
];

/// Elements that make a page, wherever in its beginning they stand.
const PAGE: &[&str] = &["<!doctype html", "<html", "<head", "<body", "<script", "<iframe", "<hta:", "<meta"];

/// The known type that `bytes` begin like, if they begin like one.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    let binary = MAGIC.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    if let Some((_, _, name)) = binary {
        return Some(name);
    }
    if let Some([b'P', b'1'..=b'6', b'\n' | b'\r' | b' ' | b'\t']) = array(bytes, 0) {
        return Some("image/x-portable-anymap");
    }
    text(&beginning(bytes))
}

/// The beginning as text, small letters, without a byte order mark and white space. UTF-16 loses its zeros, which
/// leaves what is looked for: every mark of a format is ASCII.
fn beginning(bytes: &[u8]) -> String {
    let head = bytes.get(..LOOK).unwrap_or(bytes);
    let letters: Vec<u8> = match head {
        [0xFF, 0xFE, rest @ ..] | [0xFE, 0xFF, rest @ ..] => rest.iter().copied().filter(|b| *b != 0).collect(),
        [b'<', 0, ..] | [0, b'<', ..] => head.iter().copied().filter(|b| *b != 0).collect(),
        [0xEF, 0xBB, 0xBF, rest @ ..] => rest.to_vec(),
        _ => head.to_vec(),
    };
    String::from_utf8_lossy(&letters).trim_start().to_ascii_lowercase()
}

fn text(text: &str) -> Option<&'static str> {
    if let Some((_, name)) = TEXT.iter().find(|(word, _)| text.starts_with(word)) {
        return Some(name);
    }
    if text.starts_with('<') {
        return markup(text);
    }
    // One word and a colon is how many a note begins: mail has a second field on the next line.
    let field = |line: &str| line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && !name.contains(' '));
    let mail = MAIL.iter().any(|word| text.starts_with(word)) && text.lines().nth(1).is_some_and(field);
    match mail {
        true if text.contains("multipart/related") => Some("a web page saved as mail (MHTML)"),
        true => Some("message/rfc822"),
        false => None,
    }
}

fn markup(text: &str) -> Option<&'static str> {
    let holds = |mark: &str| text.contains(mark);
    if holds("<svg") || holds(":svg ") || holds("<!doctype svg") {
        Some("image/svg+xml")
    } else if PAGE.iter().any(|mark| holds(mark)) {
        Some("text/html")
    } else if text.starts_with("<?xml") || holds(" xmlns") {
        Some("text/xml")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_named_in_every_encoding_and_behind_what_may_stand_before() {
        let picture = "<svg xmlns='http://www.w3.org/2000/svg'/>";
        let wide: Vec<u8> = picture.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [b"\xFE\xFF".to_vec(), picture.encode_utf16().flat_map(u16::to_be_bytes).collect()].concat();
        let behind = format!("\u{FEFF}\n<?xml version='1.0'?><!-- drawn by hand --><!DOCTYPE svg>{picture}");
        for bytes in [picture.as_bytes(), &wide, &marked, behind.as_bytes(), b"<svg:svg xmlns:svg='x'/>"] {
            assert_eq!(name(bytes), Some("image/svg+xml"), "{bytes:?}");
        }
        for (text, named) in [
            ("<!DOCTYPE html\n>", Some("text/html")),
            ("<!-- c --><HTML lang=\"en\">", Some("text/html")),
            ("<?xml version='1.0'?><a/>", Some("text/xml")),
            (" <?PHP echo 1;", Some("application/x-httpd-php")),
            ("From: a@b\nSubject: hi\n\nhi", Some("message/rfc822")),
            ("MIME-Version: 1.0\r\nContent-Type: multipart/related;", Some("a web page saved as mail (MHTML)")),
            ("From: what I remember\nit was a cold day", None),
            ("{\"a\": 1}", None),
            ("a,b,c\n1,2,3", None),
            ("", None),
        ] {
            assert_eq!(name(text.as_bytes()), named, "{text}");
        }
    }

    #[test]
    fn binary_types_are_named_where_their_magic_stands() {
        let mut disc = vec![0; 0x8001];
        assert_eq!(name(&disc), None);
        disc.extend(b"CD001");
        assert_eq!(name(&disc), Some("application/x-iso9660-image"));
        assert_eq!(name(b"L\0\0\0\x01\x14\x02\0\0"), Some("application/x-ms-shortcut"));
        assert_eq!(name(b"P6\n4 4\n"), Some("image/x-portable-anymap"));
        assert_eq!(name(b"PNG"), None);
    }
}
