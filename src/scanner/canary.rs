//! The canary: a marker that an engine must find, asked again after every clean answer.
//!
//! A clamd whose temporary directory is full answers `OK` to everything it can no longer unpack. So its clean
//! answer counts only when a canary that was begun after it was found on the same address: the marker in a
//! small ZIP, because unpacking is what fails first. One canary serves all answers that wait for it.
//!
//! The marker is the EICAR test file, which every engine is obliged to find. It is stored encoded, so that this
//! source and the binary are not themselves taken for malware.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::fault::Fault;

/// The EICAR test file, each byte XOR 0x5A.
const EICAR_ENCODED: &[u8; 68] = b"\x02\x6f\x15\x7b\x0a\x7f\x1a\x1b\x0a\x01\x6e\x06\x0a\x00\x02\x6f\x6e\x72\x0a\x04\x73\x6d\x19\x19\x73\x6d\x27\x7e\x1f\x13\x19\x1b\x08\x77\x09\x0e\x1b\x14\x1e\x1b\x08\x1e\x77\x1b\x14\x0e\x13\x0c\x13\x08\x0f\x09\x77\x0e\x1f\x09\x0e\x77\x1c\x13\x16\x1f\x7b\x7e\x12\x71\x12\x70";

/// The EICAR anti-malware test file (68 bytes): harmless, and found by every scanner.
#[must_use]
pub fn eicar() -> Vec<u8> {
    EICAR_ENCODED.iter().map(|b| b ^ 0x5A).collect()
}

/// The marker as it is, in a ZIP archive and in a PDF: the three ways that fail apart from each other.
#[must_use]
pub fn full_set() -> [(&'static str, Vec<u8>); 3] {
    [("plain", eicar()), ("in a ZIP", zipped()), ("in a PDF", in_pdf())]
}

/// The marker in a ZIP archive, deflated: stored, a scanner that cannot unpack would still see it.
#[must_use]
pub fn zipped() -> Vec<u8> {
    const NAME: &[u8] = b"canary.txt";
    const METHOD_DEFLATE: u8 = 8;
    let (member, mut crc) = (eicar(), flate2::Crc::new());
    crc.update(&member);
    let data = deflated(&member);
    // The part that the local header and the directory share: version, flags, method, time, date, CRC, sizes,
    // name length, extra length.
    let mut common = vec![20, 0, 0, 0, METHOD_DEFLATE, 0, 0, 0, 0x21, 0];
    common.extend(crc.sum().to_le_bytes());
    for size in [data.len(), member.len()] {
        common.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    }
    common.extend([u8::try_from(NAME.len()).unwrap_or(u8::MAX), 0, 0, 0]);

    let mut zip = [b"PK\x03\x04", common.as_slice(), NAME, &data].concat();
    let directory = zip.len();
    zip.extend([b"PK\x01\x02\x14\0", common.as_slice(), &[0; 14], NAME].concat());
    let directory_len = zip.len() - directory;
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    for value in [directory_len, directory] {
        zip.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }
    zip.extend([0, 0]);
    zip
}

/// A PDF with the marker in a compressed stream.
fn in_pdf() -> Vec<u8> {
    let member = eicar();
    let data = [&b"\x78\x01"[..], &deflated(&member), &adler32(&member).to_be_bytes()].concat();
    let mut pdf = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n".to_vec();
    pdf.extend(b"2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n");
    pdf.extend(format!("3 0 obj\n<< /Length {} /Filter /FlateDecode >>\nstream\n", data.len()).as_bytes());
    pdf.extend(data);
    pdf.extend(b"\nendstream\nendobj\ntrailer\n<< /Root 1 0 R /Size 4 >>\n%%EOF\n");
    pdf
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

/// Lets many waiting answers share canaries without ever accepting one that was begun before the answer.
#[derive(Debug, Default)]
pub struct Canary {
    /// How many canaries have begun.
    begun: AtomicU64,
    /// The number of the newest canary that was found. Guards: one canary runs at a time.
    found: Mutex<u64>,
}

impl Canary {
    /// Returns once a canary that began after this call was found. `ask` runs one.
    ///
    /// # Errors
    /// What `ask` fails with; the answer that waits then counts as a fault.
    pub async fn confirm<F: Future<Output = Result<(), Fault>>>(&self, ask: impl FnOnce() -> F) -> Result<(), Fault> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut found = self.found.lock().await;
        if *found > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        ask().await?;
        *found = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultCode;
    use crate::verdict::Stage;
    use std::sync::Arc;

    #[test]
    fn the_marker_is_the_eicar_test_file() {
        let published = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
        assert_eq!(crate::object::Sha256::of(&eicar()).to_string(), published);
    }

    #[test]
    fn the_archive_is_an_archive_that_hides_the_marker() {
        let zip = zipped();
        assert!(!zip.windows(16).any(|w| eicar().windows(16).any(|e| e == w)), "a scanner has to unpack it");
        let mut inflated = Vec::with_capacity(200);
        let mut inflate = flate2::Decompress::new(false);
        inflate.decompress_vec(&zip[40..], &mut inflated, flate2::FlushDecompress::Sync).unwrap();
        assert_eq!(inflated, eicar());

        let pdf = in_pdf();
        let start = pdf.windows(7).position(|w| w == b"stream\n").unwrap() + 7;
        let mut inflated = Vec::with_capacity(200);
        let mut inflate = flate2::Decompress::new(true);
        let status = inflate.decompress_vec(&pdf[start..], &mut inflated, flate2::FlushDecompress::Finish).unwrap();
        assert_eq!((status, inflated), (flate2::Status::StreamEnd, eicar()), "the checksum holds");
    }

    #[tokio::test]
    async fn answers_that_wait_together_share_one_canary() {
        let (canary, runs) = (Arc::new(Canary::default()), Arc::new(AtomicU64::new(0)));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let spawn = || {
            let (canary, runs, gate) = (canary.clone(), runs.clone(), gate.clone());
            tokio::spawn(async move {
                canary
                    .confirm(|| async move {
                        runs.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        Ok(())
                    })
                    .await
            })
        };
        let first = spawn();
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // These came while the first was under way: it began before them and proves nothing about them.
        let others: Vec<_> = (0..5).map(|_| spawn()).collect();
        tokio::task::yield_now().await;
        gate.add_permits(10);
        for task in others.into_iter().chain([first]) {
            task.await.unwrap().unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_canary_that_is_not_found_confirms_nothing() {
        let canary = Canary::default();
        let lost = || async { Err(Fault::new(FaultCode::ClamdProtocol, Stage::Scan, "the canary passed")) };
        assert!(canary.confirm(lost).await.is_err());
        assert!(canary.confirm(|| async { Ok(()) }).await.is_ok());
        assert!(canary.confirm(lost).await.is_err(), "an earlier success does not count later");
    }
}
