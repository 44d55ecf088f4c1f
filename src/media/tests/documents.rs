//! Rules of DOCX.

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
    let tabbed = "<w:r><w:instrText>DDE</w:instrText><w:tab/><w:instrText>x</w:instrText></w:r>";
    assert_eq!(codes(&docx(&[&mark("begin"), tabbed, &mark("end")].concat())), ["active_content"]);
    assert!(codes(&docx("<w:r><w:t>DDEAUTO c:\\x</w:t></w:r>")).is_empty());
    assert!(codes(&docx(&[mark("begin"), run("PAGE"), mark("end")].concat())).is_empty());
}

#[test]
fn foreign_markup_does_not_hide_a_field() {
    let end = "<x:fldChar x:fldCharType=\"end\"/>";
    let hidden = [mark("begin").as_str(), &run("DD"), end, &run("E x"), &mark("end")].concat();
    assert_eq!(codes(&docx(&hidden)), ["active_content", "malformed"]);
    let skipped = [mark("begin").as_str(), "<x:a>", &run("PAGE "), "</x:a>", &run("DDE x"), &mark("end")].concat();
    assert_eq!(codes(&docx(&skipped)), ["active_content", "malformed"], "Word skips what it is told to ignore");
    let mc = "http://schemas.openxmlformats.org/markup-compatibility/2006";
    let either = format!(
        "<m:AlternateContent xmlns:m=\"{mc}\"><m:Choice>{}</m:Choice><m:Fallback>{}</m:Fallback></m:AlternateContent>",
        run("PAGE "),
        run("DDE x")
    );
    assert_eq!(codes(&docx(&[mark("begin"), either.clone(), mark("end")].concat())), ["malformed"]);
    let shape = format!("{}{}{}{either}{}", mark("begin"), run("PAGE"), mark("separate"), mark("end"));
    assert!(codes(&docx(&shape)).is_empty(), "a result may have alternatives");
    let own = "<w:txbxContent><w:fldChar w:fldCharType=\"separate\"/></w:txbxContent>";
    let boxed = [mark("begin").as_str(), own, &run("DDE x"), &mark("end")].concat();
    assert_eq!(codes(&docx(&boxed)), ["active_content"], "a text box has fields of its own");
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
        ("webextensiontaskpanes", "panes.xml", false, None),
        ("webextension", "addin.xml", false, Some("active_content")),
        ("ui/extensibility", "ui.xml", false, Some("active_content")),
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
    assert_eq!(with("word/a.xml", b"<a>\0</a>"), ["malformed"]);
    let padded = [&b"<?xml version='1.0'"[..], &[b' '; 2000], b"encoding='UTF-7'?><a/>"].concat();
    assert_eq!(with("word/a.xml", &padded), ["malformed"]);
    assert_eq!(with("word/a.txt", b"<a><instrText>DDE x</instrText></a>"), ["active_content"], "read all the same");
    assert!(with("word/a.txt", b"<a><b></a>").is_empty(), "what is not declared as XML need not be any");
    let wide: Vec<u8> = "<a><instrText>DDE x</instrText></a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(with("word/a.xml", &wide), ["active_content"], "UTF-16 is read, not skipped");
    assert_eq!(with("word/a.xml", b"<?xml version='1.0' encoding='UTF-7'?><a/>"), ["malformed"]);
}

#[test]
fn parts_that_other_programs_open_are_files() {
    let with = |name, content: &[u8]| codes(&docx_of(WORD_MAIN, "", &[], &[(name, content)]));
    for content in [&b"{\\rtf1 x}"[..], b" <HTML><body/></HTML>", b"#!/bin/sh\n", b"\xCA\xFE\xBA\xBE\0\0\0\x34"] {
        assert_eq!(with("word/media/image1.png", content), ["embedded_file"], "{content:?}");
    }
    assert_eq!(with("word/media/a.exe", b"x"), ["embedded_file"]);
    assert_eq!(with("META-INF/MANIFEST.MF", b"Main-Class: A\n"), ["polyglot"]);
}

#[test]
fn parts_that_do_something_by_their_elements() {
    let with = |content: &str| codes(&docx_of(WORD_MAIN, "", &[], &[("word/a.xml", content.as_bytes())]));
    let pane = |more: &str| format!("<p:a xmlns:p=\"x\" xmlns:v=\"urn:schemas-microsoft-com:vml\">{more}</p:a>");
    for (element, expected) in [
        ("<p:taskpane visibility=\"0\"/>", None),
        ("<p:taskpane visibility=\"1\"/>", Some("active_content")),
        ("<p:property name=\"Office.AutoShowTaskpaneWithDocument\" value=\"true\"/>", Some("active_content")),
        ("<p:customUI onLoad=\"x\"/>", Some("active_content")),
        ("<p:ocx p:classid=\"x\"/>", Some("active_content")),
        ("<p:ddeLink ddeService=\"cmd\"/>", Some("active_content")),
        ("<p:HyperlinkBase>https://example.com</p:HyperlinkBase>", None),
        ("<p:HyperlinkBase>\\\\host\\x</p:HyperlinkBase>", Some("external_reference")),
        ("<v:rect href=\"https://example.com\"/>", None),
        ("<v:rect href=\"javascript:x\"/>", Some("active_content")),
        ("<v:image src=\"https://example.com\"/>", Some("external_reference")),
        ("<p:image src=\"https://example.com\"/>", None),
        ("<connectString val=\"x\"/>", Some("external_reference")),
    ] {
        assert_eq!(with(&pane(element)), Vec::from_iter(expected), "{element}");
    }
}

#[test]
fn content_types_do_not_contradict_themselves() {
    let types = format!(
        "<Types><Override PartName=\"/word/document.xml\" ContentType=\"{WORD_MAIN}\"/>\
         <Override PartName=\"/WORD/document.xml\" ContentType=\"application/xml\"/></Types>"
    );
    let only: &[(&str, &[u8])] = &[("[Content_Types].xml", types.as_bytes())];
    assert_eq!(codes(&zip(only)), ["malformed"]);
}

#[test]
fn a_picture_in_pdf_is_judged_like_a_pdf() {
    let with = |content: &[u8]| {
        // A PDF in the first kilobyte would make the archive one.
        let body = " ".repeat(1024);
        codes(&docx_of(WORD_MAIN, &body, &[("image", "media/a.pdf", false)], &[("word/media/a.pdf", content)]))
    };
    assert!(with(&pdf("", &[])).is_empty());
    assert_eq!(with(&pdf("/OpenAction << /S /Launch >>", &[])), ["active_content"]);
    assert_eq!(
        codes(&docx_of(WORD_MAIN, "", &[], &[("word/media/a.pdf", &pdf("", &[]))])),
        ["embedded_file", "polyglot"]
    );
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
    let sheet = |more: (&str, &[u8])| {
        let types = "<Types><Default Extension=\"xml\" ContentType=\"x/spreadsheetml.sheet.main+xml\"/></Types>";
        let root = "<Relationships><Relationship Type=\"x/officeDocument\" Target=\"a.xml\"/></Relationships>";
        zip(&[("[Content_Types].xml", types.as_bytes()), ("_rels/.rels", root.as_bytes()), ("a.xml", b"<a/>"), more])
    };
    assert!(with(&sheet(("b.xml", b"<a/>"))).is_empty());
    assert_eq!(with(&sheet(("xl/vbaProject.bin", b"x"))), ["macro"]);
    assert_eq!(with(&sheet(("a.zip", &zip(&[("b", b"x")])))), ["embedded_file"], "nothing nests deeper");
    assert_eq!(with(&zip(&[("b", b"x")])), ["embedded_file"], "no workbook");
    assert_eq!(with(b"something"), ["embedded_file"]);
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
    assert_eq!(codes(&tail(b"\0")), ["trailing_data"]);
    assert!(codes(&tail(b"\r\n")).is_empty());
    assert_eq!(codes(&docx_of(WORD_MAIN, "", &[], &[("word/a/", b"x")])), ["malformed"], "a folder with content");
    assert_eq!(codes(&docx_of(WORD_MAIN, "", &[], &[("word/a.xml/[0].piece", b"<a/>")])), ["malformed"]);
    assert_eq!(codes(&zip(&[("%PDF-1.4", b"x")])), ["polyglot", "type_not_allowed"]);
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
