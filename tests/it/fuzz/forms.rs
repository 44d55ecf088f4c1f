//! Forms in which damage gets past the checksums: a mutated byte of a PNG chunk or of a ZIP entry would otherwise
//! end the walk at once, and the code behind it would never see it.

use std::io::Read;

use flate2::Crc;

/// Begins a part of an unpacked archive; the rest of the line is its name.
pub const PART: &[u8] = b"\n#### ";

fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    for part in parts {
        crc.update(part);
    }
    crc.sum()
}

/// A PNG whose chunks have the checksums that they should have.
pub fn with_checksums(png: &[u8]) -> Vec<u8> {
    let mut out = png.to_vec();
    let mut at = 8;
    while let Some(head) = out.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let end = at.saturating_add(8).saturating_add(u32::from_be_bytes(*head) as usize);
        let Some(sum) = out.get(at + 4..end).map(|chunk| crc(&[chunk])) else { break };
        if let Some(field) = out.get_mut(end..end + 4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        at = end + 4;
    }
    out
}

/// A WebP whose RIFF size is the size of the file.
pub fn with_riff_size(webp: &[u8]) -> Vec<u8> {
    let mut out = webp.to_vec();
    let size = u32::try_from(out.len().saturating_sub(8)).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(4..8) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    out
}

/// The archive whose unpacked form this is: every entry stored, every length and checksum right.
pub fn pack(form: &[u8]) -> Vec<u8> {
    let (mut archive, mut directory, mut count) = (Vec::new(), Vec::new(), 0u16);
    for (name, content) in parts(form) {
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes();
        let long = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let offset = long(archive.len());
        let sum = crc(&[content]).to_le_bytes();
        let size = long(content.len());
        // Version, flags, method, date and time, checksum, both sizes, length of the name, no extra field.
        let fields: Vec<u8> =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 33, 0][..], &sum, &size, &size, &short(name.len()), &[0, 0]].concat();
        archive.extend([b"PK\x03\x04", &fields[..], name, content].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &fields[..], &[0; 10], &offset, name].concat());
        count = count.saturating_add(1);
    }
    let (start, size) = (archive.len(), directory.len());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend([&number(size)[..], &number(start), &[0, 0]].concat());
    archive
}

/// Name and content of each part of an unpacked archive.
pub fn parts(form: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut parts = Vec::new();
    let mut rest = form;
    while let Some(at) = find(rest, PART) {
        let body = &rest[at + PART.len()..];
        let (name, content) = body.split_at(body.iter().position(|b| *b == b'\n').unwrap_or(body.len()));
        // The line feed that ends an empty part's name may already belong to the next part's beginning.
        let (content, next) = content.split_at(find(content, PART).unwrap_or(content.len()));
        // A name has at most the length that its field can hold.
        parts.push((&name[..name.len().min(usize::from(u16::MAX))], content.get(1..).unwrap_or_default()));
        rest = next;
    }
    parts
}

/// The unpacked form of an archive: readable, and whatever changes in it, the archive made of it is whole.
pub fn unpack(archive: &[u8]) -> Option<Vec<u8>> {
    let end = archive.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let mut form = Vec::new();
    let mut at = long(archive, end + 16)?;
    while archive.get(at..)?.starts_with(b"PK\x01\x02") {
        let (packed, name_length) = (long(archive, at + 20)?, short(archive, at + 28)?);
        let name = archive.get(at + 46..at + 46 + name_length)?;
        let local = long(archive, at + 42)?;
        let data = local + 30 + short(archive, local + 26)? + short(archive, local + 28)?;
        let data = archive.get(data..data.checked_add(packed)?)?;
        let mut content = Vec::new();
        match short(archive, at + 10)? {
            0 => content.extend_from_slice(data),
            _ => _ = flate2::read::DeflateDecoder::new(data).take(1 << 20).read_to_end(&mut content).ok()?,
        }
        form.extend([PART, name, b"\n", &content].concat());
        at += 46 + name_length + short(archive, at + 30)? + short(archive, at + 32)?;
    }
    Some(form)
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|b| usize::from(u16::from_le_bytes(*b)))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b) as usize)
}

pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
