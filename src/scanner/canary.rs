//! Canaries: harmless files of which a scanner must find something, each for one way in which a scanner passes
//! what it has not looked at.
//!
//! All of them carry the EICAR test file, which every engine is obliged to find. It is stored encoded, so that this
//! source and the binary are not themselves taken for malware.

use std::io::Write;

use flate2::Crc;
use flate2::write::DeflateEncoder;

/// The EICAR test file, each byte XOR 0x5A.
const EICAR_ENCODED: &[u8; 68] = b"\x02\x6f\x15\x7b\x0a\x7f\x1a\x1b\x0a\x01\x6e\x06\x0a\x00\x02\x6f\x6e\x72\x0a\x04\x73\x6d\x19\x19\x73\x6d\x27\x7e\x1f\x13\x19\x1b\x08\x77\x09\x0e\x1b\x14\x1e\x1b\x08\x1e\x77\x1b\x14\x0e\x13\x0c\x13\x08\x0f\x09\x77\x0e\x1f\x09\x0e\x77\x1c\x13\x16\x1f\x7b\x7e\x12\x71\x12\x70";

/// Deeper than any scanner is asked to unpack: `MaxRecursion` is 17 by default and 100 at most.
const DEPTH: usize = 120;

/// The EICAR anti-malware test file (68 bytes): harmless, and found by every scanner.
#[must_use]
pub fn eicar() -> Vec<u8> {
    EICAR_ENCODED.iter().map(|b| b ^ 0x5A).collect()
}

/// The marker in a ZIP archive, deflated: stored, a scanner that cannot unpack would still see it.
#[must_use]
pub fn zipped() -> Vec<u8> {
    let marker = eicar();
    zip(&Member::of(&marker, DEFLATED, deflated(&marker)))
}

/// The marker in a compressed stream of a PDF.
#[must_use]
pub fn in_pdf() -> Vec<u8> {
    let marker = eicar();
    let data = [&b"\x78\x01"[..], &deflated(&marker), &adler32(&marker).to_be_bytes()].concat();
    let mut pdf = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n".to_vec();
    pdf.extend(b"2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n");
    pdf.extend(format!("3 0 obj\n<< /Length {} /Filter /FlateDecode >>\nstream\n", data.len()).as_bytes());
    pdf.extend(data);
    pdf.extend(b"\nendstream\nendobj\ntrailer\n<< /Root 1 0 R /Size 4 >>\n%%EOF\n");
    pdf
}

/// An archive whose only member is encrypted. There is no key: what it holds is noise.
#[must_use]
pub fn encrypted() -> Vec<u8> {
    let noise: Vec<u8> = (0..80u8).map(|n| n.wrapping_mul(167).wrapping_add(13)).collect();
    zip(&Member { flags: 1, ..Member::of(&noise, STORED, noise.clone()) })
}

/// The marker in archives in archives, deeper than any limit.
#[must_use]
pub fn nested() -> Vec<u8> {
    (0..DEPTH).fold(zipped(), |inner, _| zip(&Member::of(&inner, STORED, inner.clone())))
}

/// The marker at the very end of one archive member of `size` bytes: a scanner that looks at the beginning of large
/// members only does not see it.
///
/// The member is a tar file, because official databases know the marker by the hash of exactly its 68 bytes. What
/// fills it up is a header record, which a scanner passes over and does not scan a second time.
///
/// # Errors
/// Never in practice: writing to memory does not fail.
pub fn at_the_end_of(size: u64) -> std::io::Result<Vec<u8>> {
    const BLOCK: u64 = 512;
    let filling = (size / BLOCK).saturating_sub(3) * BLOCK;
    let marker = eicar();
    let mut last = [tar_header(b"canary.txt", b'0', marker.len() as u64), marker].concat();
    last.resize(2 * 512, 0);

    let (mut member, mut crc) = (DeflateEncoder::new(Vec::new(), flate2::Compression::best()), Crc::new());
    let mut put = |bytes: &[u8]| {
        crc.update(bytes);
        member.write_all(bytes)
    };
    put(&tar_header(b"filling", b'g', filling))?;
    let zeros = [0; 8 << 10];
    let mut left = filling;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        put(&zeros[..now])?;
        left -= now as u64;
    }
    put(&last)?;
    let len = filling + 3 * BLOCK;
    Ok(zip(&Member { flags: 0, method: DEFLATED, crc: crc.sum(), len, data: member.finish()? }))
}

/// The header of a tar member (POSIX.1-1988).
fn tar_header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    for (at, text) in [(100, "0000644\0"), (108, "0000000\0"), (116, "0000000\0"), (136, "00000000000\0")] {
        put(at, text.as_bytes());
    }
    put(124, format!("{size:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

const STORED: u8 = 0;
const DEFLATED: u8 = 8;

/// The one member of an archive.
struct Member {
    flags: u8,
    method: u8,
    crc: u32,
    /// Its length when unpacked.
    len: u64,
    data: Vec<u8>,
}

impl Member {
    fn of(content: &[u8], method: u8, data: Vec<u8>) -> Self {
        let mut crc = Crc::new();
        crc.update(content);
        Self { flags: 0, method, crc: crc.sum(), len: content.len() as u64, data }
    }
}

/// A ZIP archive with one member.
fn zip(member: &Member) -> Vec<u8> {
    const NAME: &[u8] = b"canary.zip";
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    // The part that the local header and the directory share: version, flags, method, time, date, CRC, sizes,
    // name length, extra length.
    let mut common = vec![20, 0, member.flags, 0, member.method, 0, 0, 0, 0x21, 0];
    common.extend(member.crc.to_le_bytes());
    common.extend(number(member.data.len() as u64));
    common.extend(number(member.len));
    common.extend([u8::try_from(NAME.len()).unwrap_or(u8::MAX), 0, 0, 0]);

    let mut zip = [b"PK\x03\x04", common.as_slice(), NAME, &member.data].concat();
    let directory = zip.len() as u64;
    zip.extend([b"PK\x01\x02\x14\0", common.as_slice(), &[0; 14], NAME].concat());
    let directory_len = zip.len() as u64 - directory;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend(number(directory_len));
    zip.extend(number(directory));
    zip.extend([0, 0]);
    zip
}

/// ASCII as one Deflate block with fixed Huffman codes (RFC 1951, 3.2.6).
///
/// By hand, because the marker must stay at exactly 68 bytes (official databases know it by its hash; variants with
/// white space behind it need the bytecode engine) and so short a text gains nothing by compression: a compressor
/// would store it, and a scanner that cannot inflate would pass.
fn deflated(ascii: &[u8]) -> Vec<u8> {
    // Final block, type 1; the codes of literals below 144 are 8 bits, 0x30 + literal, written from the top; the end
    // of the block is seven zeros.
    let literals = ascii.iter().flat_map(|b| (0..8).rev().map(move |bit| (b.wrapping_add(0x30) >> bit) & 1));
    let bits: Vec<u8> = [1, 1, 0].into_iter().chain(literals).chain([0; 7]).collect();
    bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |acc, (n, bit)| acc | (bit << n))).collect()
}

/// The checksum behind a zlib stream (RFC 1950).
fn adler32(data: &[u8]) -> u32 {
    let (a, b) = data.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_the_eicar_test_file() {
        let published = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
        assert_eq!(crate::object::Sha256::of(&eicar()).to_string(), published);
    }

    fn inflated(data: &[u8], zlib: bool, capacity: usize) -> Vec<u8> {
        let mut inflated = Vec::with_capacity(capacity);
        let mut inflate = flate2::Decompress::new(zlib);
        let status = inflate.decompress_vec(data, &mut inflated, flate2::FlushDecompress::Finish).unwrap();
        assert_eq!(status, flate2::Status::StreamEnd, "complete, and the checksum holds");
        inflated
    }

    #[test]
    fn the_archives_hide_the_marker_in_compressed_data() {
        let end = at_the_end_of(1 << 20).unwrap();
        for file in [zipped(), in_pdf(), nested(), end.clone()] {
            assert!(!file.windows(16).any(|w| eicar().windows(16).any(|e| e == w)), "a scanner has to unpack it");
        }
        assert_eq!(inflated(&zipped()[40..], false, 200), eicar());
        let pdf = in_pdf();
        let start = pdf.windows(7).position(|w| w == b"stream\n").unwrap() + 7;
        assert_eq!(inflated(&pdf[start..], true, 200), eicar());
        let member = inflated(&end[40..], false, 2 << 20);
        assert_eq!(member.len(), 1 << 20);
        assert_eq!(member[member.len() - 512..][..68], eicar());
    }
}
