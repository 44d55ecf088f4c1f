//! Rules of DOC and of compound files.

use super::codes;
use super::samples::*;

#[test]
fn doc_names_tell_macros_and_objects() {
    let with = |path, code: &str| {
        let mut streams = word(0, "Hello\r", "Normal.dot");
        streams.push((path, vec![1; 10]));
        assert_eq!(codes(&compound(&streams)), [code], "{path}");
    };
    with("/Macros/VBA/dir", "macro");
    with("/Elsewhere/vba/dir", "macro");
    with("/_VBA_PROJECT_CUR/x", "macro");
    with("/ObjectPool/_1/x", "embedded_file");
    with("/ObjectPool/_1/\u{1}Ole10Native", "embedded_file");
    with("/Equation Native", "embedded_file");
    with("/Elsewhere/Workbook", "embedded_file");
    with("/Elsewhere/\u{3}ObjInfo", "embedded_file");
    with("/Workbook", "polyglot");
    with("/\u{9}DRMContent", "encrypted");
    assert_eq!(codes(&compound(&[("/EncryptedPackage", vec![1; 10])])), ["encrypted"]);
    assert_eq!(codes(&compound(&[("/Workbook", vec![1; 10])])), ["type_not_allowed"]);
}

#[test]
fn doc_content_tells_the_rest() {
    assert!(codes(&doc("\x13 PAGE \x141\x15\r")).is_empty());
    assert_eq!(codes(&doc("\x13 DDEAUTO c:\\\\x \x14x\x15\r")), ["active_content"]);
    assert_eq!(codes(&doc("\x13INCLUDEPICTURE \"http://example.com/x\"\x15\r")), ["external_reference"]);
    assert!(codes(&doc("DDEAUTO is only text\r")).is_empty());
    assert_eq!(codes(&compound(&word(0x0100, "x", ""))), ["encrypted"]);
    assert_eq!(codes(&compound(&word(0x0200, "x", ""))), ["malformed"], "the table stream is missing");
    assert_eq!(codes(&compound(&word(0, "x", "\\\\host\\x.dot"))), ["external_reference"]);
    assert!(codes(&compound(&word(0, "x", "C:\\x.dot"))).is_empty());
    assert_eq!(codes(&compound(&word(0x0001, "x", ""))), ["type_not_allowed"], "a template");
    let old = vec![("/WordDocument", vec![0xDC, 0xA5, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0])];
    assert_eq!(codes(&compound(&old)), ["type_not_allowed"]);
}

#[test]
fn streams_are_judged_by_content() {
    for content in [&b"MZ\x90\0"[..], b"{\\rtf1", b"%PDF-1.4\n", b"PK\x03\x04\x14\0\0\0"] {
        let mut streams = word(0, "Hello\r", "Normal.dot");
        streams.push(("/Extra", [content, &[0; 5000]].concat()));
        assert_eq!(codes(&compound(&streams)), ["embedded_file"], "{content:?}");
    }
}

#[test]
fn word_goes_by_the_listed_marks_of_fields() {
    // The separator is only text: Word does not have it in the list.
    let text = "\x13\x14DDEAUTO c:\\x \x15\r";
    let end = u32::try_from(text.find('\x15').unwrap()).unwrap();
    let list = [&0u32.to_le_bytes()[..], &end.to_le_bytes(), &99u32.to_le_bytes(), &[0x13, 0, 0x15, 0]].concat();
    let with = |list: &[u8]| {
        let mut streams = word(0, text, "Normal.dot");
        let at = u32::try_from(streams[1].1.len()).unwrap();
        streams[1].1.extend(list);
        streams[0].1[0x11A..0x11E].copy_from_slice(&at.to_le_bytes());
        streams[0].1[0x11E] = u8::try_from(list.len()).unwrap();
        codes(&compound(&streams))
    };
    assert_eq!(with(&list), ["active_content"]);
    assert!(with(&[]).is_empty());
}

#[test]
fn compound_files_have_sound_chains() {
    let good = doc("Hello\r");
    assert_eq!(codes(&[&good[..], b"xx"].concat()), ["trailing_data"]);
    assert!(codes(&[&good[..], b"\r\n"].concat()).is_empty());
    assert!(codes(&[&good[..], &[0; 1024]].concat()).is_empty(), "blank sectors that the table lists as free");
    assert_eq!(codes(&[&good[..], &[1; 1024]].concat()), ["trailing_data"]);
    assert_eq!(codes(&[&good[..], &zip(&[("a", b"x")])].concat()), ["polyglot"]);
    assert_eq!(codes(&good[..512]), ["truncated"]);
    let patched = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        codes(&bytes)
    };
    let pdf = [&good[..8], b"%PDF-1.4", &good[16..]].concat();
    assert_eq!(codes(&pdf), ["polyglot"]);
    assert_eq!(patched(30, 31), ["malformed"], "sector shift");
    assert_eq!(patched(44, u32::MAX), ["malformed"], "count of table sectors");
    assert_eq!(patched(68, 0), ["malformed"], "the list of table sectors begins in the table");
    let directory = u32::from_le_bytes(good[48..52].try_into().unwrap());
    let table = u32::from_le_bytes(good[76..80].try_into().unwrap());
    let entry = |sector: u32| 512 * (sector as usize + 1);
    assert_eq!(
        patched(entry(table) + 4 * directory as usize, directory),
        ["malformed"],
        "the directory is its own next sector"
    );
    assert_eq!(patched(entry(directory) + 128 + 68, 1), ["malformed"], "an entry is its own sibling");
    let mut pretended = [&good[..], &zip(&[("a", b"x")])].concat();
    pretended[entry(table) + 508..entry(table) + 512].copy_from_slice(&0xFFFF_FFFEu32.to_le_bytes());
    assert_eq!(codes(&pretended), ["polyglot"], "a used sector that nothing leads to hides no tail");
}
