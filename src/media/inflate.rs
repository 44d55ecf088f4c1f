//! Deflate under a limit, as ZIP and PDF need it: into one piece of memory, without a window of its own.

use flate2::{Decompress, FlushDecompress, Status};

/// What came out of compressed bytes.
pub(super) struct Inflated {
    pub bytes: Vec<u8>,
    /// How many of the compressed bytes were used up.
    pub used: usize,
    /// Why no more came.
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The compressed data says so.
    Whole,
    /// There is more than was allowed; what there is has at least as many bytes.
    Limit,
    /// The data is cut off or damaged.
    Broken,
}

/// Inflates raw Deflate data until it ends or `limit` bytes are there. Room is made in proportion to what is there
/// and has come out, never to what anybody says will come.
pub(super) fn inflate(data: &[u8], limit: usize) -> Inflated {
    let mut stream = Decompress::new(false);
    let mut bytes = Vec::with_capacity(data.len().saturating_mul(8).clamp(64, limit.max(64)));
    loop {
        let used = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = data.get(used..).unwrap_or_default();
        let status = stream.decompress_vec(rest, &mut bytes, FlushDecompress::Finish);
        let end = match status {
            Ok(Status::StreamEnd) => End::Whole,
            Ok(_) if bytes.len() >= limit => End::Limit,
            Ok(_) if bytes.len() == bytes.capacity() => {
                bytes.reserve_exact(bytes.len().min(limit - bytes.len()));
                continue;
            }
            Ok(_) | Err(_) => End::Broken,
        };
        let used = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        return Inflated { bytes, used, end };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::DeflateEncoder;

    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn all_of_it_comes_out_whatever_the_room_at_first() {
        for length in [0, 1, 63, 64, 65, 5_000, 300_000] {
            let plain = vec![b'a'; length];
            let mut data = deflated(&plain);
            let whole = data.len();
            data.extend(b"more");
            let inflated = inflate(&data, length + 1);
            assert_eq!((inflated.bytes.len(), inflated.used, inflated.end), (length, whole, End::Whole));
            assert_eq!(inflated.bytes, plain);
        }
    }

    #[test]
    fn a_limit_ends_it_and_damage_is_told_from_it() {
        let data = deflated(&vec![b'a'; 300_000]);
        for limit in [64, 65, 1_000, 299_999] {
            let inflated = inflate(&data, limit);
            assert_eq!(inflated.end, End::Limit);
            assert!((limit..limit + 64).contains(&inflated.bytes.len()), "{limit}: {}", inflated.bytes.len());
        }
        for cut in 0..data.len() {
            assert_eq!(inflate(&data[..cut], 1 << 20).end, End::Broken, "{cut}");
        }
        assert_eq!(inflate(&[0xFF; 40], 100).end, End::Broken);
    }
}
