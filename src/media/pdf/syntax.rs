//! PDF syntax: tokens and values (ISO 32000-2, 7.2 and 7.3), without recursion and with a limit on both depth
//! and number.

use std::borrow::Cow;

use crate::limits::StructureLimits;
use crate::media::findings::{Walk, bomb, malformed, truncated};

/// One object or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    /// Reals, booleans and what is no value at all.
    Other,
    /// Without the slash, `#xx` decoded.
    Name(Cow<'a, [u8]>),
    /// A string as written, without its delimiters; the flag says that it is hexadecimal.
    Text(&'a [u8], bool),
    Reference(u32),
    Array(Vec<Value<'a>>),
    Dictionary(Dictionary<'a>),
}

/// Keys and values in the order of the file, repeated keys included: readers differ in which they take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dictionary<'a>(pub Vec<(Cow<'a, [u8]>, Value<'a>)>);

impl<'a> Dictionary<'a> {
    /// Every value under that key.
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s Value<'a>> {
        self.0.iter().filter(move |(name, _)| name.as_ref() == key.as_bytes()).map(|(_, value)| value)
    }

    /// The first value under that key, `null` counting as absent.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let mut own = self.0.iter().filter(|(name, _)| name.as_ref() == key.as_bytes()).map(|(_, value)| value);
        own.find(|value| **value != Value::Null)
    }

    /// The first of those keys that stands there more than once: readers differ in which value they take.
    pub fn repeated<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().find(|key| self.all(key).nth(1).is_some()).copied()
    }

    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.get(key) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }

    pub fn reference(&self, key: &str) -> Option<u32> {
        match self.get(key) {
            Some(Value::Reference(n)) => Some(*n),
            _ => None,
        }
    }

    /// Whether any value under that key is that name.
    pub fn names(&self, key: &str, name: &str) -> bool {
        self.all(key).any(|value| value.is_name(name))
    }
}

impl Value<'_> {
    pub fn is_name(&self, name: &str) -> bool {
        matches!(self, Value::Name(own) if own.as_ref() == name.as_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Integer(i64),
    Name(Cow<'a, [u8]>),
    Text(&'a [u8], bool),
    Open,
    Close,
    OpenDictionary,
    CloseDictionary,
    Word(&'a [u8]),
    /// A string that nothing closes.
    Unclosed,
    End,
}

pub(super) const fn is_space(b: u8) -> bool {
    matches!(b, 0 | 9 | 10 | 12 | 13 | 32)
}

/// For each byte, whether it may stand in a number, a name or a word. Asked for nearly every byte of a document.
const REGULAR: [bool; 256] = {
    let mut regular = [true; 256];
    let mut b = 0;
    while b < 256 {
        // The index is a byte: the cast loses nothing.
        #[expect(clippy::cast_possible_truncation)]
        let byte = b as u8;
        regular[b] =
            !is_space(byte) && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%');
        b += 1;
    }
    regular
};

fn is_regular(b: u8) -> bool {
    REGULAR[usize::from(b)]
}

/// Reads tokens from a position on.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Skips white space and comments.
    pub fn skip_space(&mut self) {
        loop {
            self.take_while(is_space);
            if self.rest().first() != Some(&b'%') {
                return;
            }
            self.take_while(|b| !matches!(b, b'\r' | b'\n'));
        }
    }

    pub fn next(&mut self) -> Token<'a> {
        self.skip_space();
        let (token, length) = match self.rest() {
            [] => return Token::End,
            [b'<', b'<', ..] => (Token::OpenDictionary, 2),
            [b'>', b'>', ..] => (Token::CloseDictionary, 2),
            [b'[', ..] => (Token::Open, 1),
            [b']', ..] => (Token::Close, 1),
            [b'/', ..] => {
                self.at += 1;
                return Token::Name(decoded_name(self.take_while(is_regular)));
            }
            [b'(', ..] => return self.literal(),
            [b'<', ..] => return self.hexadecimal(),
            [first, ..] if !is_regular(*first) => (Token::Word(self.rest().get(..1).unwrap_or_default()), 1),
            _ => return number_or_word(self.take_while(is_regular)),
        };
        self.at += length;
        token
    }

    /// A string in parentheses, which may nest and be escaped.
    fn literal(&mut self) -> Token<'a> {
        let body = self.rest().get(1..).unwrap_or_default();
        let mut depth = 1usize;
        let mut escaped = false;
        for (n, b) in body.iter().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' if depth == 1 => {
                    self.at += n + 2;
                    return Token::Text(body.get(..n).unwrap_or_default(), false);
                }
                b')' => depth -= 1,
                _ => {}
            }
        }
        self.at = self.bytes.len();
        Token::Unclosed
    }

    fn hexadecimal(&mut self) -> Token<'a> {
        let body = self.rest().get(1..).unwrap_or_default();
        let Some(end) = body.iter().position(|b| *b == b'>') else {
            self.at = self.bytes.len();
            return Token::Unclosed;
        };
        self.at += end + 2;
        Token::Text(body.get(..end).unwrap_or_default(), true)
    }

    /// One whole value. `nesting` limits how deep arrays and dictionaries may lie in each other.
    pub fn value(&mut self, nesting: u32) -> Walk<Value<'a>> {
        let mut open: Vec<(bool, Vec<Value<'a>>)> = Vec::new();
        let mut count = 0usize;
        loop {
            count += 1;
            if count > StructureLimits::VALUES {
                return Err(bomb(format!("one PDF object of more than {} values", StructureLimits::VALUES)));
            }
            let value = match self.next() {
                Token::Open | Token::OpenDictionary if open.len() >= crate::media::bytes::index(nesting) => {
                    return Err(malformed(format!("arrays or dictionaries nest deeper than {nesting}")));
                }
                token @ (Token::Open | Token::OpenDictionary) => {
                    open.push((token == Token::OpenDictionary, Vec::new()));
                    continue;
                }
                token @ (Token::Close | Token::CloseDictionary) => {
                    let dictionary = token == Token::CloseDictionary;
                    let (_, values) = open
                        .pop()
                        .filter(|(kind, _)| *kind == dictionary)
                        .ok_or_else(|| malformed("brackets of a PDF object do not match"))?;
                    if dictionary { paired(values)? } else { Value::Array(values) }
                }
                Token::Word(b"R") if open.last().is_some_and(|(_, values)| values.len() >= 2) => {
                    let Some((_, values)) = open.last_mut() else { continue };
                    refer(values)
                }
                Token::Integer(n) if open.is_empty() => return Ok(self.reference_or(n)),
                Token::Integer(n) => Value::Integer(n),
                Token::Name(name) => Value::Name(name),
                Token::Text(raw, hex) => Value::Text(raw, hex),
                Token::Word(b"null") => Value::Null,
                Token::Word(b"endobj" | b"obj" | b"stream" | b"endstream") => {
                    return Err(malformed("a PDF object is not closed"));
                }
                Token::Word(_) => Value::Other,
                Token::Unclosed | Token::End => return Err(truncated("the file ends inside a PDF object")),
            };
            match open.last_mut() {
                Some((_, values)) => values.push(value),
                None => return Ok(value),
            }
        }
    }

    /// A number that stands alone, or the reference `n g R` that begins with it.
    fn reference_or(&mut self, n: i64) -> Value<'a> {
        let mut ahead = self.clone();
        if matches!(ahead.next(), Token::Integer(_)) && ahead.next() == Token::Word(b"R") {
            self.at = ahead.at;
            return u32::try_from(n).map_or(Value::Null, Value::Reference);
        }
        Value::Integer(n)
    }
}

/// Replaces the two numbers before an `R` by the reference they make.
fn refer<'a>(values: &mut Vec<Value<'a>>) -> Value<'a> {
    match (values.pop(), values.pop()) {
        (Some(Value::Integer(_)), Some(Value::Integer(n))) => u32::try_from(n).map_or(Value::Null, Value::Reference),
        _ => Value::Other,
    }
}

fn paired(values: Vec<Value<'_>>) -> Walk<Value<'_>> {
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let Some(key) = values.next() {
        match (key, values.next()) {
            (Value::Name(key), Some(value)) => pairs.push((key, value)),
            _ => return Err(malformed("a PDF dictionary has a key that is no name, or no value for one")),
        }
    }
    Ok(Value::Dictionary(Dictionary(pairs)))
}

fn decoded_name(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'#') {
        return Cow::Borrowed(raw);
    }
    let mut name = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'#', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                name.push(hex_digit(*a) << 4 | hex_digit(*b));
                rest = after;
            }
            _ => {
                name.push(first);
                rest = tail;
            }
        }
    }
    Cow::Owned(name)
}

/// The value of a hexadecimal digit; zero for anything else.
fn hex_digit(b: u8) -> u8 {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0)
}

fn number_or_word(raw: &[u8]) -> Token<'_> {
    integer(raw).map_or(Token::Word(raw), Token::Integer)
}

/// Digits behind at most one sign; one that does not fit is no integer.
fn integer(raw: &[u8]) -> Option<i64> {
    let (digits, sign) = match raw {
        [b'-', digits @ ..] => (digits, -1),
        [b'+', digits @ ..] | digits => (digits, 1),
    };
    digits.first()?;
    digits.iter().try_fold(0i64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(sign * i64::from(digit - b'0')),
        _ => None,
    })
}

/// What a string says: escapes and hexadecimal resolved, UTF-16 and UTF-8 by their marks, else Latin-1.
pub(super) fn text_of(raw: &[u8], hex: bool) -> String {
    let bytes = if hex { from_hex(raw) } else { unescaped(raw) };
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().skip(1).map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes.as_slice() {
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().map(|b| char::from(*b)).collect(),
    }
}

/// Pairs of hexadecimal digits, white space ignored, an odd last digit filled up with zero.
pub(super) fn from_hex(raw: &[u8]) -> Vec<u8> {
    let mut digits = raw.iter().filter(|b| b.is_ascii_hexdigit()).map(|b| hex_digit(*b));
    std::iter::from_fn(|| digits.next().map(|high| high << 4 | digits.next().unwrap_or(0))).collect()
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            text.push(first);
            continue;
        }
        let octal = tail.iter().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
        if octal > 0 {
            let digits = tail.get(..octal).unwrap_or_default();
            text.push(digits.iter().fold(0u8, |n, d| n.wrapping_shl(3) | (d - b'0')));
            rest = tail.get(octal..).unwrap_or_default();
            continue;
        }
        let Some((&escaped, after)) = tail.split_first() else { break };
        rest = after;
        match escaped {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            // A line break after a backslash is no part of the string.
            b'\r' => rest = after.strip_prefix(b"\n").unwrap_or(after),
            b'\n' => {}
            other => text.push(other),
        }
    }
    text
}
