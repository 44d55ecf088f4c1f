//! The files of the comparison, made at run time from numbers: nothing large lies in the repository, and everybody
//! gets the same bytes.
//!
//! No two files of a run are equal. clamd remembers what it found clean, so a repeated file would not be scanned
//! again and would flatter whoever comes second.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::Result;

/// Files of one kind and size.
pub struct Set {
    /// As the table calls it.
    pub name: &'static str,
    pub count: usize,
    kind: Kind,
}

enum Kind {
    /// A page with a grey image of so many pixels a side, which is also nearly the size in bytes: its root.
    Pdf { side: usize },
    /// One picture; files differ in a comment. Decoding and encoding cost the same for each.
    Jpeg { picture: Vec<u8> },
}

/// What uploads usually look like, for files per second and CPU.
pub fn usual(scale: f64) -> Result<Vec<Set>> {
    Ok(vec![
        Set { name: "PDF 150 KB", count: scaled(200, scale), kind: Kind::Pdf { side: 387 } },
        Set { name: "JPEG 100 KB, 1200x900", count: scaled(200, scale), kind: jpeg(1200, 900, 6, 74)? },
        Set { name: "JPEG 1.5 MB, 12 MP", count: scaled(40, scale), kind: jpeg(4000, 3000, 7, 80)? },
    ])
}

/// The largest files that the default policy accepts, eight at once, for memory.
pub fn large() -> Result<Vec<Set>> {
    Ok(vec![
        Set { name: "8 PDFs of 10 MB", count: 8, kind: Kind::Pdf { side: 3200 } },
        Set { name: "8 JPEGs of 10 MB, 12 MP", count: 8, kind: jpeg(4000, 3000, 60, 95)? },
    ])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers")]
fn scaled(count: u16, scale: f64) -> usize {
    ((f64::from(count) * scale).round() as usize).max(1)
}

impl Set {
    /// The name of the file of that number, as its uploader calls it.
    pub fn file_name(&self, number: usize) -> String {
        match self.kind {
            Kind::Pdf { .. } => format!("{number:06}.pdf"),
            Kind::Jpeg { .. } => format!("{number:06}.jpg"),
        }
    }

    /// The bytes of that file. Other salts make other files.
    pub fn file(&self, number: usize, salt: u64) -> Vec<u8> {
        let seed = (salt << 32) + number as u64;
        match &self.kind {
            Kind::Pdf { side } => pdf(*side, seed),
            Kind::Jpeg { picture } => with_comment(picture, &format!("photo {seed:016x}")),
        }
    }
}

/// A generator of noise: SplitMix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A scanned page: a line of text over an uncompressed grey image, with a cross-reference table.
fn pdf(side: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    // Only bright pixels: no byte of them is ASCII, so nothing in there ever looks like syntax.
    let pixels: Vec<u8> =
        (0..(side * side).div_ceil(8)).flat_map(|_| noise.next().to_le_bytes().map(|b| b | 0x80)).collect();
    let text = format!("q 450 0 0 450 72 200 cm /Im1 Do Q BT /F1 18 Tf 72 740 Td (Page {seed:x}) Tj ET");
    let image = format!(
        "/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceGray /BitsPerComponent 8"
    );
    let objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
          /Resources << /Font << /F1 5 0 R >> /XObject << /Im1 6 0 R >> >> >>"
            .to_vec(),
        stream("", text.as_bytes()),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
        stream(&image, &pixels[..side * side]),
    ];
    let mut file = b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (object, number) in objects.iter().zip(1..) {
        table += &format!("{:010} 00000 n \n", file.len());
        file.extend(format!("{number} 0 obj\n").bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let end = format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{}\n%%EOF\n", objects.len() + 1, file.len());
    file.extend(table.bytes().chain(end.bytes()));
    file
}

fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("<< {dictionary} /Length {} >>\nstream\n", data.len());
    [head.as_bytes(), data, b"\nendstream"].concat()
}

/// A picture with slopes, edges and the noise of a sensor, as a camera would store it: baseline, 4:2:0.
fn jpeg(width: u16, height: u16, noise: i32, quality: u8) -> Result<Kind> {
    let mut random = Noise(u64::from(width));
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..i32::from(height) {
        for x in 0..i32::from(width) {
            let edge = if (x / 40 + y / 30) % 7 == 0 { 45 } else { 0 };
            let [grain, ..] = random.next().to_le_bytes();
            let light = edge + i32::from(grain) * noise / 128 - noise;
            let colour = [wave(x + y / 3, 190), wave(y + x / 5, 130), wave(x - y, 310)];
            pixels.extend(colour.map(|c| u8::try_from((c + light).clamp(0, 255)).unwrap_or(u8::MAX)));
        }
    }
    let mut picture = Vec::new();
    let mut encoder = Encoder::new(&mut picture, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.encode(&pixels, width, height, ColorType::Rgb)?;
    Ok(Kind::Jpeg { picture })
}

/// A triangle wave between 40 and 200.
fn wave(at: i32, period: i32) -> i32 {
    40 + (at.rem_euclid(2 * period) - period).abs() * 160 / period
}

/// Puts a comment behind the JFIF header, which must stay the first segment.
fn with_comment(picture: &[u8], comment: &str) -> Vec<u8> {
    let header = 4 + usize::from(u16::from_be_bytes([picture[4], picture[5]]));
    let (head, rest) = picture.split_at(header);
    // A comment of ours has some 20 bytes; the length counts itself.
    let length = u16::try_from(comment.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    [head, b"\xFF\xFE", &length, comment.as_bytes(), rest].concat()
}
