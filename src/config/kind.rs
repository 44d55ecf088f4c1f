//! What a key holds: the shape and range of its value, in one place for checking, for words and for the
//! JSON schema.

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Value;

use super::units;
use crate::object::ByteSize;

/// The shape of a value. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Number(u64, u64),
    Duration(Duration, Duration),
    Size(ByteSize, ByteSize),
    /// At least one.
    Pixels(u64),
    Choice(&'static [&'static str]),
    /// Text with a rule of its own, here in words; the type it is read into enforces it.
    Text(&'static str),
    /// Text that may hold a password, with its rule in words.
    Url(&'static str),
    Secret,
    /// How many of what, no two alike.
    List(&'static Kind, usize, usize),
}

impl Kind {
    /// Whether the value may never be printed as it is.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Url(_))
    }

    /// What is allowed, as it stands in messages and in the reference.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number(min, max) => format!("{min} to {max}"),
            Self::Duration(min, max) => format!("{} to {}", units::format_duration(min), units::format_duration(max)),
            Self::Size(min, max) => format!("{min} to {max}"),
            Self::Pixels(max) => format!("1 pixel to {}", units::format_pixels(max)),
            Self::Choice(names) => names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "),
            Self::Text(rule) | Self::Url(rule) => rule.to_owned(),
            Self::Secret => "any text".to_owned(),
            Self::List(of, 0, max) => format!("list of at most {max}, each {}", of.allowed()),
            Self::List(of, min, max) => format!("list of {min} to {max}, each {}", of.allowed()),
        }
    }

    /// Checks shape and range.
    ///
    /// # Errors
    /// What is wrong and what is allowed, in words that follow "key = value: ". The rule of a text is left
    /// to the type it is read into.
    pub(super) fn check(self, value: &Value) -> Result<(), String> {
        let fits = match self {
            Self::Flag => value.as_bool().map(|_| true).ok_or("must be true or false".to_owned()),
            Self::Number(min, max) => {
                whole_number(value).map(|n| within(&n, &min, &max)).ok_or("must be a whole number".to_owned())
            }
            Self::Duration(min, max) => duration(value).map(|d| within(&d, &min, &max)),
            Self::Size(min, max) => size(value).map(|s| within(&s, &min, &max)),
            Self::Pixels(max) => pixels(value).map(|p| within(&p, &1, &max)),
            Self::Choice(names) => text(value).map(|text| names.contains(&text)),
            Self::Text(_) | Self::Url(_) | Self::Secret => return text(value).map(drop),
            Self::List(of, min, max) => count(value, *of).map(|n| within(&n, &min, &max)),
        };
        match fits {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("allowed: {}", self.allowed())),
            Err(problem) => Err(format!("{problem}; allowed: {}", self.allowed())),
        }
    }

    /// The value a variable or a flag spells: text is taken as it stands, lists are TOML.
    ///
    /// # Errors
    /// When a list is not a TOML array.
    pub(super) fn spelt(self, text: &str) -> Result<Value, String> {
        let plain = || Value::String(text.to_owned());
        Ok(match self {
            Self::Flag => text.trim().parse().map_or_else(|_| plain(), Value::Boolean),
            Self::Number(..) => text.trim().parse().map_or_else(|_| plain(), Value::Integer),
            Self::List(..) => text
                .parse::<toml::Value>()
                .ok()
                .filter(Value::is_array)
                .ok_or_else(|| "must be a TOML array, such as [\"a\", \"b\"]".to_owned())?,
            _ => plain(),
        })
    }

    /// The JSON schema of the value.
    pub(super) fn json_schema(self) -> Json {
        match self {
            Self::Flag => json!({"type": "boolean"}),
            Self::Number(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
            Self::Duration(..) => json!({"type": "string", "pattern": r"^\s*\d+\s*(ms|s|m|h|d)\s*$"}),
            Self::Size(..) => {
                json!({"type": ["string", "integer"], "pattern": r"^\s*\d+\s*([kKmMgGtT][iI]?[bB]|[bB])?\s*$", "minimum": 0})
            }
            Self::Pixels(_) => {
                json!({"type": ["string", "integer"], "pattern": r"^\s*\d+\s*([mM][pP])?\s*$", "minimum": 0})
            }
            Self::Choice(names) => json!({"enum": names}),
            Self::Text(_) | Self::Url(_) | Self::Secret => json!({"type": "string", "minLength": 1}),
            Self::List(of, min, max) => json!({
                "type": "array", "items": of.json_schema(), "minItems": min, "maxItems": max, "uniqueItems": true
            }),
        }
    }
}

fn within<T: PartialOrd>(value: &T, min: &T, max: &T) -> bool {
    (min..=max).contains(&value)
}

pub(super) fn whole_number(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|n| u64::try_from(n).ok())
}

/// Text of a length that a person could mean, without characters that end or hide a line.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be text in quotes")?;
    match text {
        "" => Err("must not be empty".to_owned()),
        text if text.len() > 4096 => Err("must not be longer than 4096 bytes".to_owned()),
        text if text.chars().any(char::is_control) => Err("must not hold control characters".to_owned()),
        text => Ok(text),
    }
}

pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    units::parse_duration(value.as_str().unwrap_or_default())
}

pub(super) fn size(value: &Value) -> Result<ByteSize, String> {
    match whole_number(value) {
        Some(bytes) => Ok(ByteSize(bytes)),
        None => value.as_str().unwrap_or_default().parse::<ByteSize>().map_err(|_| {
            "must be a whole number of bytes with an optional unit, such as \"10 MiB\" or \"500 KB\"".to_owned()
        }),
    }
}

pub(super) fn pixels(value: &Value) -> Result<u64, String> {
    match whole_number(value) {
        Some(pixels) => Ok(pixels),
        None => units::parse_pixels(value.as_str().unwrap_or_default()),
    }
}

/// The number of elements, each of which is checked.
fn count(value: &Value, of: Kind) -> Result<usize, String> {
    let elements = value.as_array().ok_or("must be a list")?;
    for (n, element) in elements.iter().enumerate() {
        of.check(element).map_err(|problem| format!("element {}: {problem}", n + 1))?;
        if elements.iter().take(n).any(|earlier| earlier == element) {
            return Err(format!("element {}: stands twice in the list", n + 1));
        }
    }
    Ok(elements.len())
}
