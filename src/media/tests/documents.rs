//! Rules of DOCX and DOC.

use super::codes;
use super::samples::*;

fn run(instruction: &str) -> String {
    format!("<w:r><w:instrText>{instruction}</w:instrText></w:r>")
}

fn mark(kind: &str) -> String {
    format!("<w:r><w:fldChar w:fldCharType=\"{kind}\"/></w:r>")
}

#[test]
fn fields_are_read_across_runs_and_not_in_text() {
    let split = [mark("begin"), run(" DD"), run("EAU"), run("TO c:\\x"), mark("end")].concat();
    assert_eq!(codes(&docx(&split)), ["active_content"]);
    let references = [mark("begin"), run("&#68;&#x44;E x"), mark("separate"), mark("end")].concat();
    assert_eq!(codes(&docx(&references)), ["active_content"]);
    assert_eq!(codes(&docx("<w:fldSimple w:instr=\"dde x\"/>")), ["active_content"]);
    assert_eq!(
        codes(&docx("<w:fldSimple w:instr=\"INCLUDETEXT &quot;\\\\\\\\host\\\\a&quot;\"/>")),
        ["external_reference"]
    );
    assert!(codes(&docx("<w:r><w:t>DDEAUTO c:\\x</w:t></w:r>")).is_empty());
    assert!(codes(&docx(&[mark("begin"), run("PAGE"), mark("end")].concat())).is_empty());
}

#[test]
fn foreign_markup_does_not_hide_a_field() {
    let end = "<x:fldChar x:fldCharType=\"end\"/>";
    let hidden = [mark("begin").as_str(), &run("DD"), end, &run("E x"), &mark("end")].concat();
    assert_eq!(codes(&docx(&hidden)), ["active_content"]);
    assert_eq!(codes(&docx("<w:fldSimple x:instr=\"PAGE\" w:instr=\"DDE x\"/>")), ["malformed"]);
    for broken in
        ["\"\" w:instr=\"DDE x\"", "w:instr=\"PAGE\" w:instr=\"DDE x\"", "x w:instr=\"DDE x\"", "w:instr=\"&x;DDE x\""]
    {
        let found = codes(&docx(&format!("<w:fldSimple {broken}/>")));
        assert!(found.contains(&"malformed"), "{broken}: {found:?}");
    }
    let spelled = format!("<v:fldSimple xmlns:v=\"{}\" v:instr=\"PAGE\"/>", WORD.replace('w', "&#119;"));
    assert_eq!(codes(&docx(&spelled)), ["malformed"]);
}

#[test]
fn relationships_tell_what_a_document_fetches_or_carries() {
    for (kind, target, external, code) in [
        ("hyperlink", "https://example.com", true, None),
        ("hyperlink", "javascript:x", true, Some("active_content")),
        ("hyperlink", "file://host/x", true, Some("external_reference")),
        ("attachedTemplate", "file:///C:\\Users\\Normal.dotm", true, None),
        ("attachedTemplate", "https://example.com/x.dotm", true, Some("external_reference")),
        ("attachedTemplate", "&#104;ttps://example.com/x.dotm", true, Some("external_reference")),
        ("image", "http://example.com/x.png", true, Some("external_reference")),
        ("image", "http://example.com/x.png", false, Some("external_reference")),
        ("oleObject", "embeddings/x.bin", false, Some("embedded_file")),
        ("package", "embeddings/x.xlsx", false, Some("embedded_file")),
        ("aFChunk", "x.html", false, Some("embedded_file")),
        ("control", "x.xml", false, Some("active_content")),
        ("vbaProject", "theme.bin", false, Some("macro")),
    ] {
        let found = codes(&docx_of(WORD_MAIN, "", &[(kind, target, external)], &[]));
        assert_eq!(found, Vec::from_iter(code), "{kind} {target}");
    }
}

#[test]
fn parts_are_judged_by_name_and_content() {
    let with = |name, content: &[u8]| codes(&docx_of(WORD_MAIN, "", &[], &[(name, content)]));
    assert_eq!(with("word/vbaProject.bin", b"x"), ["macro"]);
    assert_eq!(with("word/media/image1.png", &compound(&[("/x", vec![1])])), ["embedded_file"]);
    assert_eq!(with("word/media/image1.png", b"MZ\x90\0"), ["embedded_file"]);
    assert_eq!(with("word/media/image1.png", &zip(&[("a", b"x")])), ["embedded_file"]);
    assert!(with("word/media/image1.png", b"\x89PNG\r\n\x1A\n").is_empty());
    assert_eq!(with("word/a.xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'c'>]><a/>"), ["malformed"]);
    assert_eq!(with("word/a.xml", "<a>".repeat(300).as_bytes()), ["malformed"]);
    let wide: Vec<u8> = "<a><instrText>DDE x</instrText></a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(with("word/a.xml", &wide), ["active_content"], "UTF-16 is read, not skipped");
    assert_eq!(with("word/a.xml", b"<?xml version='1.0' encoding='UTF-7'?><a/>"), ["malformed"]);
}

#[test]
fn a_picture_in_pdf_is_judged_like_a_pdf() {
    let with = |content: &[u8]| {
        codes(&docx_of(WORD_MAIN, "", &[("image", "media/a.pdf", false)], &[("word/media/a.pdf", content)]))
    };
    assert!(with(&pdf("", &[])).is_empty());
    assert_eq!(with(&pdf("/OpenAction << /S /Launch >>", &[])), ["active_content"]);
    assert_eq!(codes(&docx_of(WORD_MAIN, "", &[], &[("word/media/a.pdf", &pdf("", &[]))])), ["embedded_file"]);
}

#[test]
fn a_chart_may_carry_its_numbers() {
    let types = "<Types><Default Extension=\"xml\" ContentType=\"application/xml\"/>\
                 <Override PartName=\"/word/document.xml\" ContentType=\"{}\"/>\
                 <Override PartName=\"/word/charts/c.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.drawingml.chart+xml\"/></Types>"
        .replace("{}", WORD_MAIN);
    let root = "<Relationships><Relationship Type=\"x/officeDocument\" Target=\"word/document.xml\"/></Relationships>";
    let own = "<Relationships><Relationship Type=\"x/package\" Target=\"../embeddings/n.xlsx\"/></Relationships>";
    let with = |numbers: &[u8]| {
        let entries: [(&str, &[u8]); 6] = [
            ("[Content_Types].xml", types.as_bytes()),
            ("_rels/.rels", root.as_bytes()),
            ("word/document.xml", b"<a/>"),
            ("word/charts/c.xml", b"<a/>"),
            ("word/charts/_rels/c.xml.rels", own.as_bytes()),
            ("word/embeddings/n.xlsx", numbers),
        ];
        codes(&zip(&entries))
    };
    assert!(with(&zip(&[("xl/workbook.xml", b"<a/>")])).is_empty());
    assert_eq!(with(&zip(&[("xl/vbaProject.bin", b"x")])), ["macro"]);
    assert_eq!(with(&zip(&[("a.zip", &zip(&[("b", b"x")]))])), ["embedded_file"], "nothing nests deeper");
    assert_eq!(with(&compound(&[("/Workbook", vec![1])])), ["embedded_file"]);
}

#[test]
fn the_main_part_decides_what_the_package_is() {
    let main = |media| codes(&docx_of(media, "", &[], &[]));
    assert_eq!(main("application/vnd.ms-word.document.macroEnabled.main+xml"), ["macro"]);
    assert_eq!(
        main("application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        ["type_not_allowed"]
    );
    assert_eq!(
        main("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"),
        ["type_not_allowed"]
    );
    let only_name: &[(&str, &[u8])] = &[("word/document.xml", b"<a/>")];
    assert_eq!(codes(&zip(only_name)), ["malformed"]);
}

#[test]
fn an_archive_has_to_tile_its_file() {
    let good = docx("");
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let tail = |bytes: &[u8]| [&good[..], bytes].concat();
    assert_eq!(codes(&tail(b"xx")), ["trailing_data"]);
    assert_eq!(codes(&tail(&good)), ["malformed"], "a second archive behind the first");
    assert_eq!(codes(&good[..directory]), ["truncated"]);
    let patched = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|w| w == from).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        codes(&bytes)
    };
    assert_eq!(patched(b"_rels/.rels", b"_rels/.relz"), ["malformed"], "local name");
    assert_eq!(patched(b"<w:body>", b"<w:bodz>"), ["malformed"], "checksum");
    assert_eq!(patched(b"PK\x01\x02\x14\0\x14\0\0\0", b"PK\x01\x02\x14\0\x14\0\x01\0"), ["encrypted", "malformed"]);
}

#[test]
fn entry_names_are_unique_and_stay_inside() {
    let with = |name| codes(&docx_of(WORD_MAIN, "", &[], &[(name, b"x")]));
    for name in ["/etc/x", "../x", "word/../../x", "a\\b", "C:x", "a\0b"] {
        assert_eq!(with(name), ["unsafe_name"], "{name:?}");
    }
    for name in ["word/document.xml", "WORD/Document.xml", "word/%64ocument.xml"] {
        assert_eq!(with(name), ["malformed"], "{name}");
    }
    assert_eq!(with(&"a".repeat(600)), ["archive_bomb"]);
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let names: Vec<String> = (0..5000).map(|n| format!("word/{n}")).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(codes(&docx_of(WORD_MAIN, "", &[], &parts)), ["archive_bomb"]);
}

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
    with("/Workbook", "polyglot");
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
    let old = vec![("/WordDocument", vec![0xDC, 0xA5, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0])];
    assert_eq!(codes(&compound(&old)), ["type_not_allowed"]);
}

#[test]
fn compound_files_have_sound_chains() {
    let good = doc("Hello\r");
    assert_eq!(codes(&[&good[..], b"xx"].concat()), ["trailing_data"]);
    assert_eq!(codes(&[&good[..], &zip(&[("a", b"x")])].concat()), ["polyglot"]);
    assert_eq!(codes(&good[..512]), ["truncated"]);
    let patched = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        codes(&bytes)
    };
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
