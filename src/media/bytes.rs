//! Reading numbers and finding magic in bytes that may end anywhere.

use memchr::memmem;

/// The array of `N` bytes at `at`, if the input reaches that far.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

pub(super) fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

pub(super) fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

pub(super) fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The three little-endian bytes at `at`.
pub(super) fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]))
}

/// A file's 32-bit number as an index. On a platform where it does not fit, it lies past every input.
pub(super) fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Where `needle` first occurs at or after `from`.
pub(super) fn find(bytes: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    memmem::find(bytes.get(from..)?, needle).map(|at| from + at)
}

/// Where `needle` last occurs.
pub(super) fn rfind(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memmem::rfind(bytes, needle)
}

/// The bytes with every `%XX` decoded, once.
pub(super) fn percent_decoded(mut rest: &[u8]) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<2>().filter(|_| first == b'%');
        let byte = digits.and_then(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    bytes
}

/// The kind of container that a program would find in `bytes`, which lie where no format wants any: behind an
/// image, between the objects of a document, in front of it. Each magic is checked a little further than its
/// first bytes, so that random data does not become an accusation.
pub(super) fn foreign_container(bytes: &[u8]) -> Option<&'static str> {
    // One pass: containers begin with one of few bytes.
    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| b"P%M\x7FR7".contains(b))
        .find_map(|(at, _)| container_at(bytes.get(at..)?))
}

/// The container that begins exactly here.
pub(super) fn container_at(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'P', b'K', 3, 4, version, 0..=63, ..] if *version <= 63 => Some("a ZIP archive"),
        [b'P', b'K', 5, 6, rest @ ..] if rest.len() >= 18 => Some("a ZIP archive"),
        [b'%', b'P', b'D', b'F', b'-', b'0'..=b'9', ..] => Some("a PDF document"),
        [b'M', b'Z', ..] => is_program(bytes).then_some("a Windows program"),
        [0x7F, b'E', b'L', b'F', 1 | 2, 1 | 2, ..] => Some("a Linux program"),
        [b'R', b'a', b'r', b'!', 0x1A, 7, ..] => Some("a RAR archive"),
        [b'M', b'S', b'C', b'F', 0, 0, 0, 0, _, _, _, _, 0, 0, 0, 0, ..] => Some("a cabinet archive"),
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => Some("a 7z archive"),
        _ => None,
    }
}

/// The container that a file is as well, whatever it begins with: disc images and tape archives are known by a mark
/// at a fixed place, a ZIP by its directory at the end, which may hide in an image's comment.
pub(super) fn absolute_container(bytes: &[u8]) -> Option<&'static str> {
    let stands = |mark: &[u8], at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if [0x8001, 0x8801, 0x9001].into_iter().any(|at| stands(b"CD001", at)) {
        return Some("a disc image (ISO 9660)");
    }
    if stands(b"ustar\0", 257) || stands(b"ustar ", 257) {
        return Some("a tape archive (tar)");
    }
    // The end record has 22 bytes and a comment of at most 65535; readers look for it from the end.
    let last = bytes.get(bytes.len().saturating_sub(22 + 0xFFFF)..).unwrap_or_default();
    let before = bytes.len() - last.len();
    let mut from = 0;
    while let Some(at) = find(last, b"PK\x05\x06", from) {
        let size = u32_le(last, at + 12).map(index).filter(|size| *size > 0);
        if size.and_then(|size| (before + at).checked_sub(size)).is_some_and(|start| stands(b"PK\x01\x02", start)) {
            return Some("a ZIP archive");
        }
        from = at + 1;
    }
    None
}

/// Whether a DOS header begins here that leads to a PE header.
fn is_program(bytes: &[u8]) -> bool {
    let pe = u32_le(bytes, 0x3C).map(index);
    pe.and_then(|at| bytes.get(at..)).is_some_and(|rest| rest.starts_with(b"PE\0\0"))
}

/// The first bytes of a compound file (OLE2).
pub(super) const CFB_MAGIC: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        assert_eq!(find(b"abcabc", b"abc", 1), Some(3));
        assert_eq!(find(b"ab", b"abc", 0), None);
        assert_eq!(find(b"ab", b"ab", 9), None);
        assert_eq!(rfind(b"abcabc", b"abc"), Some(3));
        assert_eq!(rfind(b"", b"abc"), None);
    }

    #[test]
    fn knows_what_a_file_is_beside_an_image() {
        let archive = |gap: usize| {
            let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &46u32.to_le_bytes(), &[0; 6]].concat();
            [vec![7; 300], [b"PK\x01\x02".to_vec(), vec![0; 42 + gap]].concat(), end, vec![9; 500]].concat()
        };
        assert_eq!(absolute_container(&archive(0)), Some("a ZIP archive"));
        assert_eq!(absolute_container(&archive(1)), None, "no directory before the end record");
        let mut disc = vec![0; 0x8001];
        disc.extend(b"CD001");
        assert_eq!(absolute_container(&disc), Some("a disc image (ISO 9660)"));
        assert_eq!(absolute_container(&[&[1; 257], &b"ustar\x0000"[..]].concat()), Some("a tape archive (tar)"));
        assert_eq!(absolute_container(b"PK\x05\x06"), None);
    }

    #[test]
    fn percent_signs_decode_once() {
        assert_eq!(percent_decoded(b"a%20b%2541%%4"), b"a b%41%%4");
        assert_eq!(percent_decoded(b"%+1%e9"), b"%+1\xE9");
    }

    #[test]
    fn knows_a_container_by_more_than_two_letters() {
        assert_eq!(foreign_container(b"..PK\x03\x04\x14\x00"), Some("a ZIP archive"));
        assert_eq!(foreign_container(b"..%PDF-1.4"), Some("a PDF document"));
        assert_eq!(foreign_container(b"MZ and PK are only letters, %PDF too"), None);
        let mut program = vec![0u8; 70];
        program[..2].copy_from_slice(b"MZ");
        program[0x3C] = 64;
        assert_eq!(foreign_container(&program), None);
        program[64..68].copy_from_slice(b"PE\0\0");
        assert_eq!(foreign_container(&program), Some("a Windows program"));
    }
}
