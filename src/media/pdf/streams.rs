//! Decoding the streams that hold objects or the cross-reference. No other stream is ever decoded.

use std::borrow::Cow;

use super::syntax::{Dictionary, Value, from_hex, is_space};
use crate::limits::StructureLimits;
use crate::media::findings::{Broken, Walk, bomb, malformed};
use crate::media::inflate::{End, inflate};

/// What says how a stream is to be read.
const READING: [&str; 6] = ["Filter", "DecodeParms", "Length", "N", "First", "W"];

/// What one PDF may still inflate or copy.
#[derive(Debug)]
pub(super) struct Budget(pub u64);

impl Budget {
    /// Takes `bytes` off the budget.
    pub fn charge(&mut self, bytes: usize) -> Walk<()> {
        self.0 = self.0.checked_sub(bytes as u64).ok_or_else(|| bomb("object streams inflate past the limit"))?;
        Ok(())
    }
}

/// The content of an object or cross-reference stream. A filter that we do not know is refused: skipping the
/// stream would let its objects pass unseen.
pub(super) fn decode<'r>(
    dictionary: &Dictionary<'_>,
    raw: &'r [u8],
    limits: &StructureLimits,
    budget: &mut Budget,
) -> Walk<Cow<'r, [u8]>> {
    if let Some(key) = dictionary.repeated(&READING) {
        return Err(malformed(format!("a stream of objects has two values for /{key}")));
    }
    // Short for the filter and its parameters: some readers look there first, others never.
    if dictionary.get("F").is_some() || dictionary.get("DP").is_some() {
        return Err(malformed("a stream of objects has keys that readers understand differently (/F, /DP)"));
    }
    let filters = listed(dictionary, "Filter");
    let parameters = listed(dictionary, "DecodeParms");
    if filters.len() > crate::media::bytes::index(limits.filters) {
        return Err(malformed(format!("more than {} filters on one stream", limits.filters)));
    }
    budget.charge(raw.len())?;
    let mut content = Cow::Borrowed(raw);
    for (n, filter) in filters.iter().enumerate() {
        content = match filter {
            Value::Name(name) => Cow::Owned(filtered(name, &content, budget)?),
            _ => return Err(malformed("a stream of objects has a filter that is not named in place")),
        };
        match parameters.get(n) {
            Some(Value::Dictionary(parameters)) => {
                content = unpredicted(parameters, &content)?.map_or(content, Cow::Owned);
            }
            Some(Value::Reference(_)) => return Err(malformed("a stream of objects has its parameters elsewhere")),
            _ => {}
        }
    }
    Ok(content)
}

/// The value under that key as a list: a single value is a list of one.
fn listed<'d, 'a>(dictionary: &'d Dictionary<'a>, key: &str) -> &'d [Value<'a>] {
    match dictionary.get(key) {
        None => &[],
        Some(Value::Array(values)) => values,
        Some(value) => std::slice::from_ref(value),
    }
}

fn filtered(name: &[u8], content: &[u8], budget: &mut Budget) -> Walk<Vec<u8>> {
    match name {
        b"FlateDecode" | b"Fl" => inflated(content, budget),
        b"ASCIIHexDecode" | b"AHx" => Ok(from_hex(content.split(|b| *b == b'>').next().unwrap_or_default())),
        b"ASCII85Decode" | b"A85" => from_base85(content),
        other => Err(malformed(format!("objects behind the filter {}", String::from_utf8_lossy(other)))),
    }
}

fn too_long() -> Broken {
    bomb("one stream of objects becomes too long")
}

fn inflated(content: &[u8], budget: &mut Budget) -> Walk<Vec<u8>> {
    // Readers do not look at the checksum behind the data, and some writers get it wrong: the Deflate data inside
    // the zlib wrapper is what counts.
    let Some(data) = content.get(2..).filter(|_| content.first().is_some_and(|b| b & 0x0F == 8)) else {
        return Err(malformed("an object or cross-reference stream is not Flate data"));
    };
    let left = usize::try_from(budget.0).unwrap_or(usize::MAX);
    let inflated = inflate(data, left.min(StructureLimits::ONE_STREAM_BYTES).saturating_add(1));
    budget.charge(inflated.bytes.len())?;
    match inflated.end {
        _ if inflated.bytes.len() > StructureLimits::ONE_STREAM_BYTES => Err(too_long()),
        End::Broken => Err(malformed("an object or cross-reference stream does not inflate")),
        End::Whole | End::Limit => Ok(inflated.bytes),
    }
}

/// Undoes the PNG predictors, which nearly every cross-reference stream uses. `None`: there is nothing to undo.
fn unpredicted(parameters: &Dictionary<'_>, content: &[u8]) -> Walk<Option<Vec<u8>>> {
    const KEYS: [&str; 4] = ["Predictor", "Columns", "Colors", "BitsPerComponent"];
    let impossible = || malformed("impossible parameters of a stream of objects");
    if parameters.repeated(&KEYS).is_some() {
        return Err(impossible());
    }
    let field = |key, default| match parameters.get(key) {
        None => Ok(default),
        Some(Value::Integer(n)) => usize::try_from(*n).ok().filter(|n| (1..=4096).contains(n)).ok_or_else(impossible),
        Some(_) => Err(impossible()),
    };
    let (predictor, columns) = (field("Predictor", 1)?, field("Columns", 1)?);
    let (colours, bits) = (field("Colors", 1)?, field("BitsPerComponent", 8)?);
    match predictor {
        1 => return Ok(None),
        10..=15 => {}
        other => return Err(malformed(format!("objects behind the predictor {other}"))),
    }
    let pixel = (colours * bits).div_ceil(8);
    let row = (columns * colours * bits).div_ceil(8);
    let mut out: Vec<u8> = Vec::with_capacity(content.len());
    for line in content.chunks(row + 1) {
        let (Some((kind, data)), start) = (line.split_first(), out.len()) else { continue };
        for (x, value) in data.iter().enumerate() {
            let behind = |back: usize| {
                start.checked_add(x).and_then(|at| at.checked_sub(back)).and_then(|at| out.get(at)).copied()
            };
            let left = if x >= pixel { behind(pixel).unwrap_or(0) } else { 0 };
            let up = behind(row).unwrap_or(0);
            let corner = if x >= pixel { behind(row + pixel).unwrap_or(0) } else { 0 };
            let guess = match kind {
                0 => 0,
                1 => left,
                2 => up,
                3 => left.midpoint(up),
                4 => paeth(left, up, corner),
                _ => return Err(malformed("unknown row predictor in a stream of objects")),
            };
            out.push(value.wrapping_add(guess));
        }
    }
    Ok(Some(out))
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |b: u8| (estimate - i16::from(b)).abs();
    [left, up, corner].into_iter().min_by_key(|b| distance(*b)).unwrap_or(0)
}

fn from_base85(content: &[u8]) -> Walk<Vec<u8>> {
    let broken = || malformed("broken ASCII85 data");
    let mut out = Vec::new();
    let mut group = Vec::with_capacity(5);
    let content = content.split(|b| *b == b'~').next().unwrap_or_default();
    for b in content.iter().filter(|b| !is_space(**b)) {
        match b {
            b'z' if group.is_empty() => out.extend([0; 4]),
            b'!'..=b'u' => group.push(b - b'!'),
            _ => return Err(broken()),
        }
        if group.len() == 5 {
            out.extend(group85(&group).ok_or_else(broken)?);
            group.clear();
        }
        // One `z` makes four bytes.
        if out.len() > StructureLimits::ONE_STREAM_BYTES {
            return Err(too_long());
        }
    }
    if group.len() > 1 {
        let whole = group.len() - 1;
        group.resize(5, 84);
        out.extend(group85(&group).ok_or_else(broken)?.into_iter().take(whole));
    }
    Ok(out)
}

fn group85(group: &[u8]) -> Option<[u8; 4]> {
    let number = group.iter().try_fold(0u32, |n, d| n.checked_mul(85)?.checked_add(u32::from(*d)))?;
    Some(number.to_be_bytes())
}
