//! Damage to files, drawn from a seed: the same seed makes the same damage.
//!
//! No coverage guides it. What makes up for that is that it knows what parsers stumble over: numbers at the edge of
//! their range, lengths that lie, blocks that repeat, move or are missing, and the words of the format in wrong places.

use std::ops::Range;

use crate::random::Random;

/// The largest input. Time that grows with the square of the size shows well below it.
pub const MAX_BYTES: usize = 128 << 10;

/// Where counters, offsets and lengths change their meaning.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFA,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

/// Makes one damaged input out of `seed`; `other` lends blocks, `words` are those of the format.
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(6) {
        damage(random, &mut bytes, other, words);
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    let part = range(random, bytes.len());
    let lent = &other[range(random, other.len())];
    let word = random.one(words).copied().unwrap_or_default();
    match random.below(14) {
        0 => flip(random, bytes),
        1 | 2 => number(random, bytes),
        3 | 4 => digits(random, bytes),
        5 => _ = bytes.drain(part),
        6 => bytes.truncate(part.start),
        7 => {
            let copy = bytes[part].to_vec();
            insert(random, bytes, &copy);
        }
        8 => {
            let most = if random.below(8) == 0 { 11 } else { 5 };
            let block = bytes[part].repeat(1 << random.below(most));
            insert(random, bytes, &block);
        }
        9 => {
            let tail = random.below(other.len());
            bytes.truncate(part.start);
            bytes.extend_from_slice(&other[tail..]);
        }
        10 => insert(random, bytes, lent),
        11 => {
            let block: Vec<u8> = bytes.drain(part).collect();
            insert(random, bytes, &block);
        }
        12 => overwrite(bytes, part.start, word),
        _ => insert(random, bytes, word),
    }
}

fn insert(random: &mut Random, bytes: &mut Vec<u8>, block: &[u8]) {
    let at = random.below(bytes.len() + 1);
    let room = MAX_BYTES.saturating_sub(bytes.len()).min(block.len());
    bytes.splice(at..at, block[..room].iter().copied());
}

fn overwrite(bytes: &mut [u8], at: usize, block: &[u8]) {
    let target = bytes.get_mut(at..).unwrap_or_default();
    let length = block.len().min(target.len());
    target[..length].copy_from_slice(&block[..length]);
}

fn flip(random: &mut Random, bytes: &mut [u8]) {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

/// A binary number of any width and order, set to an edge or moved by a little.
fn number(random: &mut Random, bytes: &mut [u8]) {
    let width = 1 << random.below(4);
    let at = random.below(bytes.len());
    let big = random.below(2) == 0;
    let old = bytes.get(at..at + width).unwrap_or_default();
    let value = match random.below(3) {
        0 => {
            let shift = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
            let old = if big { old.iter().fold(0, shift) } else { old.iter().rev().fold(0, shift) };
            old.wrapping_add(random.next() % 17).wrapping_sub(8)
        }
        1 => u64::try_from(bytes.len()).unwrap_or(0).wrapping_sub(random.next() % 9),
        _ => random.one(&EDGES).copied().unwrap_or(0),
    };
    let (low, high) = (value.to_le_bytes(), value.to_be_bytes());
    overwrite(bytes, at, if big { &high[8 - width..] } else { &low[..width] });
}

/// A decimal number of a text: another one of the same length where there is room, any length sometimes.
fn digits(random: &mut Random, bytes: &mut Vec<u8>) {
    let from = random.below(bytes.len());
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|n| from + n) else { return };
    let length = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let value = if random.below(2) == 0 { random.one(&EDGES).copied().unwrap_or(0) } else { random.next() % 100 };
    let mut text = value.to_string();
    if random.below(3) > 0 {
        text = format!("{text:0>width$}", width = length.min(20));
        text.truncate(length);
    }
    bytes.splice(start..start + length, text.into_bytes());
}

/// A part of something that has `length` bytes; short ones are as likely as long ones.
fn range(random: &mut Random, length: usize) -> Range<usize> {
    let start = random.below(length);
    let scale = 1 << random.below(17);
    let size = (1 + random.below(scale)).min(length - start);
    start..start + size
}
