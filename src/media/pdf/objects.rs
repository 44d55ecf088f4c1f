//! One indirect object: its header, its value and its stream.

use super::syntax::{Lexer, Token, Value};
use crate::limits::StructureLimits;
use crate::media::bytes::find;
use crate::media::findings::{Walk, truncated};

/// Where an object lies: at a byte of the file, or in an object stream under its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    At(usize),
    In(u32, u32),
}

/// An indirect object as it stands in the file.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub number: u32,
    /// Where its number begins.
    pub start: usize,
    pub value: Value<'a>,
    /// The stream's bytes as stored.
    pub stream: Option<&'a [u8]>,
    pub end: usize,
}

/// Reads the object at `at`, if one begins there.
pub(super) fn read<'a>(bytes: &'a [u8], at: usize, limits: &StructureLimits) -> Walk<Option<Object<'a>>> {
    let mut lexer = Lexer::new(bytes, at);
    lexer.skip_space();
    let start = lexer.at;
    let (Token::Integer(number), Token::Integer(_), Token::Word(b"obj")) = (lexer.next(), lexer.next(), lexer.next())
    else {
        return Ok(None);
    };
    let Ok(number) = u32::try_from(number) else { return Ok(None) };
    if next_word_is(&lexer, b"endobj") {
        return Ok(Some(Object { number, start, value: Value::Null, stream: None, end: lexer.at }));
    }
    let value = lexer.value(limits.nesting)?;
    let mut end = lexer.at;
    let mut stream = None;
    if next_word_is(&lexer, b"stream") {
        lexer.next();
        let (data, after) = stream_data(bytes, lexer.at, &value)?;
        (stream, end) = (Some(data), after);
    }
    Ok(Some(Object { number, start, value, stream, end }))
}

fn next_word_is(lexer: &Lexer<'_>, word: &[u8]) -> bool {
    lexer.clone().next() == Token::Word(word)
}

/// The bytes of a stream whose keyword ends at `at`, and where the object goes on. `/Length` counts only if the
/// end mark stands where it leads; otherwise the first end mark ends the stream, so that whatever follows is
/// looked at as objects.
fn stream_data<'a>(bytes: &'a [u8], at: usize, value: &Value<'_>) -> Walk<(&'a [u8], usize)> {
    const END: &[u8] = b"endstream";
    let rest = bytes.get(at..).unwrap_or_default();
    let start = at
        + match rest {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
    let length = match value {
        Value::Dictionary(dictionary) => dictionary.integer("Length").and_then(|n| usize::try_from(n).ok()),
        _ => None,
    };
    let stated = length.and_then(|length| {
        let end = start.checked_add(length)?;
        let data = bytes.get(start..end)?;
        let mut lexer = Lexer::new(bytes, end);
        (lexer.next() == Token::Word(END)).then_some((data, lexer.at))
    });
    stated.map_or_else(
        || {
            let end = find(bytes, END, start).ok_or_else(|| truncated("the file ends inside a PDF stream"))?;
            Ok((bytes.get(start..end).unwrap_or_default(), end + END.len()))
        },
        Ok,
    )
}
