//! Small files of every type, built byte by byte, so that each test can break exactly one rule.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

/// A segment with its length field.
pub fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap();
    [&[0xFF, marker][..], &length.to_be_bytes(), body].concat()
}

/// The frame header of a grey picture.
pub fn frame_header(width: u16, height: u16) -> Vec<u8> {
    [&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]].concat()
}

pub fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
    let scan = segment(0xDA, &[1, 1, 0, 0, 63, 0]);
    let frame = segment(0xC0, &frame_header(width, height));
    // Fill bytes, a stuffed zero and a restart marker: all legal.
    let data: &[u8] = &[1, 2, 0xFF, 0, 3, 0xFF, 0xD0, 4, 0xFF, 0xFF, 0xD9];
    [&[0xFF, 0xD8][..], &segment(0xE0, b"JFIF\0"), &[0xFF, 0xFF], &frame, &scan, data].concat()
}

pub fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let mut sum = flate2::Crc::new();
    sum.update(kind);
    sum.update(data);
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], kind, data, &sum.sum().to_be_bytes()].concat()
}

pub fn header_chunk(width: u32, height: u32) -> Vec<u8> {
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat())
}

pub fn png_of(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1A\n".to_vec(), chunks.concat()].concat()
}

pub fn png() -> Vec<u8> {
    png_of(&[
        header_chunk(4, 4),
        chunk(b"tEXt", b"a\0b"),
        chunk(b"IDAT", b"xyz"),
        chunk(b"IDAT", b""),
        chunk(b"IEND", b""),
    ])
}

pub fn gif_of(frames: usize, width: u16, height: u16) -> Vec<u8> {
    let mut gif = [b"GIF89a", &width.to_le_bytes()[..], &height.to_le_bytes(), &[0x80, 0, 0], &[0; 6]].concat();
    gif.extend(b"\x21\xFE\x02hi\x00");
    for _ in 0..frames {
        gif.extend(b"\x2C\0\0\0\0\x04\0\x04\0\0\x02\x02\x4C\x01\x00");
    }
    gif.push(0x3B);
    gif
}

pub fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend(*kind);
        body.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

/// A lossless bitstream of that size.
pub fn vp8l(width: u32, height: u32) -> Vec<u8> {
    [&[0x2F][..], &((width - 1) | ((height - 1) << 14)).to_le_bytes(), &[0; 4]].concat()
}

/// The extended header of a canvas of that size.
pub fn vp8x(flags: u8, width: u32, height: u32) -> Vec<u8> {
    [&[flags, 0, 0, 0][..], &(width - 1).to_le_bytes()[..3], &(height - 1).to_le_bytes()[..3]].concat()
}

/// A PDF of those objects, numbered from 1; the first is the catalog.
pub fn pdf_of(objects: &[&str]) -> Vec<u8> {
    let mut pdf = "%PDF-1.7\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (n, object) in objects.iter().enumerate() {
        writeln!(table, "{:010} 00000 n ", pdf.len()).unwrap();
        write!(pdf, "{} 0 obj\n{object}\nendobj\n", n + 1).unwrap();
    }
    let at = pdf.len();
    write!(pdf, "{table}trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n", objects.len() + 1).unwrap();
    pdf.into_bytes()
}

/// A PDF of one page, with more in the catalog and more objects from number 4 on.
pub fn pdf(catalog: &str, more: &[&str]) -> Vec<u8> {
    let catalog = format!("<< /Type /Catalog /Pages 2 0 R {catalog} >>");
    let tree = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>";
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>";
    pdf_of(&[&[catalog.as_str(), tree, page], more].concat())
}

/// Entries of an archive, stored; `local` may name an entry differently in its local header.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut sum = flate2::Crc::new();
        sum.update(data);
        let size = u32::try_from(data.len()).unwrap().to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [&[0; 8][..], &sum.sum().to_le_bytes(), &size, &size, &name_length, &[0, 0]].concat();
        let offset = u32::try_from(out.len()).unwrap().to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\0\x14\0", &common[..], &[0; 10], &offset, name.as_bytes()].concat());
        out.extend([b"PK\x03\x04\x14\0", &common[..], name.as_bytes(), data].concat());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let (size, start) = (u32::try_from(directory.len()).unwrap(), u32::try_from(out.len()).unwrap());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0, 0]].concat();
    [out, directory, end].concat()
}

pub const WORD: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
pub const WORD_MAIN: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

/// A DOCX with that body, those relationships of the document (kind, target, external) and those other parts.
pub fn docx_of(main: &str, body: &str, relationships: &[(&str, &str, bool)], parts: &[(&str, &[u8])]) -> Vec<u8> {
    let types = format!(
        "<Types><Default Extension=\"xml\" ContentType=\"application/xml\"/>\
         <Override PartName=\"/word/document.xml\" ContentType=\"{main}\"/></Types>"
    );
    let root = format!(
        "<Relationships><Relationship Type=\"{OFFICE}/officeDocument\" Target=\"word/document.xml\"/></Relationships>"
    );
    let mut own = "<Relationships>".to_owned();
    for (kind, target, external) in relationships {
        let mode = if *external { " TargetMode=\"External\"" } else { "" };
        write!(own, "<Relationship Id=\"r\" Type=\"{OFFICE}/{kind}\" Target=\"{target}\"{mode}/>").unwrap();
    }
    own.push_str("</Relationships>");
    let document = format!(
        "<?xml version=\"1.0\"?><w:document xmlns:w=\"{WORD}\" xmlns:x=\"other\"><w:body>{body}</w:body></w:document>"
    );
    let mut entries: Vec<(&str, &[u8])> = vec![
        ("[Content_Types].xml", types.as_bytes()),
        ("_rels/.rels", root.as_bytes()),
        ("word/document.xml", document.as_bytes()),
        ("word/_rels/document.xml.rels", own.as_bytes()),
    ];
    entries.extend(parts);
    zip(&entries)
}

pub fn docx(body: &str) -> Vec<u8> {
    docx_of(WORD_MAIN, body, &[], &[])
}

/// A compound file of those streams; folders in their paths are made.
pub fn compound(streams: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create_with_version(cfb::Version::V3, Cursor::new(Vec::new())).unwrap();
    for (path, data) in streams {
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
            file.create_storage_all(folder).unwrap();
        }
        file.create_stream(path).unwrap().write_all(data).unwrap();
    }
    file.flush().unwrap();
    file.into_inner().into_inner()
}

/// The main stream of a DOC with those flags and that text, and its table stream with that template.
pub fn word(flags: u16, text: &str, template: &str) -> Vec<(&'static str, Vec<u8>)> {
    let strings: Vec<u16> =
        [vec![0xFFFF, 2, 0, 0, u16::try_from(template.len()).unwrap()], template.encode_utf16().collect()].concat();
    let strings: Vec<u8> = strings.into_iter().flat_map(u16::to_le_bytes).collect();
    let length = u32::try_from(text.len()).unwrap();
    let place: u32 = 0x4000_0000 | (0x400 * 2);
    let pieces = [&0u32.to_le_bytes()[..], &length.to_le_bytes(), &[0, 0], &place.to_le_bytes(), &[0, 0]].concat();
    let clx = [&[2][..], &16u32.to_le_bytes(), &pieces].concat();
    let mut main = vec![0; 0x400];
    main[..4].copy_from_slice(&[0xEC, 0xA5, 0xC1, 0]);
    main[10..12].copy_from_slice(&flags.to_le_bytes());
    let locate = |main: &mut Vec<u8>, at: usize, from: usize, length: usize| {
        main[at..at + 4].copy_from_slice(&u32::try_from(from).unwrap().to_le_bytes());
        main[at + 4..at + 8].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    };
    locate(&mut main, 0x19A, 0, strings.len());
    locate(&mut main, 0x1A2, strings.len(), clx.len());
    main.extend(text.bytes());
    main.resize(5000, 0);
    vec![("/WordDocument", main), ("/0Table", [strings, clx].concat())]
}

pub fn doc(text: &str) -> Vec<u8> {
    compound(&word(0, text, "Normal.dot"))
}
