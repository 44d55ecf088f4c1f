//! How a checked TOML value becomes the type that the settings hold.
//!
//! [`Kind`](super::kind::Kind) has looked at shape and range before; what is left here is conversion, and
//! the rules of texts, which their types enforce.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

use super::kind;
use super::secret::{AmqpUrl, Secret};
use super::settings::{
    Checksums, ClamdAddress, Cleanup, Conditional, EngineName, JailMode, LogFormat, LogLevel, TopologyMode, Unroutable,
};
use crate::media::MediaType;
use crate::object::{Bucket, ByteSize};
use crate::policy::{OutputFormat, Switch, Trailing};
use crate::route::{KeyTemplate, UploaderFrom};

/// A type that one value of the configuration is read into.
pub(super) trait Setting: Sized {
    /// # Errors
    /// What the value must be, in words that follow "key = value: ".
    fn read(value: &Value) -> Result<Self, String>;
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "must be true or false".to_owned())
    }
}

impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        kind::duration(value)
    }
}

impl Setting for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        kind::size(value)
    }
}

/// A number of pixels.
pub(super) struct Pixels(pub u64);

impl Setting for Pixels {
    fn read(value: &Value) -> Result<Self, String> {
        kind::pixels(value).map(Self)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value) -> Result<Self, String> {
        let elements = value.as_array().ok_or("must be a list")?;
        let numbered = elements.iter().zip(1..);
        numbered.map(|(element, n)| T::read(element).map_err(|problem| format!("element {n}: {problem}"))).collect()
    }
}

macro_rules! numbers {
    ($($name:ty),*) => {$(
        impl Setting for $name {
            fn read(value: &Value) -> Result<Self, String> {
                let number = kind::whole_number(value).and_then(|n| n.try_into().ok());
                number.ok_or_else(|| "must be a whole number".to_owned())
            }
        }
    )*};
}
numbers!(u8, u32, usize);

macro_rules! texts {
    ($($name:ty),*) => {$(
        impl Setting for $name {
            fn read(value: &Value) -> Result<Self, String> {
                kind::text(value)?.parse().map_err(|problem: <$name as FromStr>::Err| problem.to_string())
            }
        }
    )*};
}
texts!(String, PathBuf, AmqpUrl, ClamdAddress, KeyTemplate, UploaderFrom, Prefix, Name, HttpUrl, Listen);
texts!(Checksums, Cleanup, Conditional, EngineName, JailMode, LogFormat, LogLevel, TopologyMode, Unroutable);

impl Setting for Secret {
    fn read(value: &Value) -> Result<Self, String> {
        kind::text(value).map(Self::new)
    }
}

impl Setting for Bucket {
    fn read(value: &Value) -> Result<Self, String> {
        Self::new(kind::text(value)?).map_err(|problem| problem.to_string())
    }
}

impl Setting for MediaType {
    fn read(value: &Value) -> Result<Self, String> {
        let text = kind::text(value)?;
        let by_mime = || Self::ALL.into_iter().find(|media| media.mime() == text);
        Self::from_name(text).or_else(by_mime).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("must be one of {names}, or the media type of one: no other type can be proved")
        })
    }
}

/// A value out of those that the table of keys lists.
fn one_of<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    let text = kind::text(value)?;
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| "is not known".to_owned())
}

impl Setting for OutputFormat {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("same", Self::Same), ("jpeg", Self::Jpeg)])
    }
}

impl Setting for Trailing {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("drop", Self::Drop), ("reject", Self::Reject)])
    }
}

impl Setting for Switch {
    fn read(value: &Value) -> Result<Self, String> {
        one_of(value, &[("reject", Self::Reject), ("allow", Self::Allow)])
    }
}

/// The name of a route or a policy. It becomes a word of routing keys, a metric label and a part of the
/// names of variables, so it has neither dots nor capitals.
pub(super) struct Name(pub String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if (1..=32).contains(&text.len()) && text.chars().all(legal) && !text.contains("__") {
            return Ok(Self(text.to_owned()));
        }
        Err("a name must have 1 to 32 of a-z, 0-9, '-' and single '_'".to_owned())
    }
}

/// The beginning of the names of exchanges and queues.
pub(super) struct Prefix(pub String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if (1..=64).contains(&text.len()) && text.chars().all(legal) {
            return Ok(Self(text.to_owned()));
        }
        Err("must have 1 to 64 of a-z, A-Z, 0-9, '.', '-' and '_'".to_owned())
    }
}

/// The endpoint of an object store: without user and password, so that it can be printed.
pub(super) struct HttpUrl(pub String);

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let sound = |rest: &str| {
            let plain = rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '?' | '#'));
            plain && !rest.is_empty() && !rest.starts_with(['/', ':'])
        };
        if rest.is_some_and(sound) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be an http:// or https:// URL without user, password and query".to_owned())
    }
}

/// An address to listen on, or `off`.
pub(super) struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            text => text.parse().map(|address| Self(Some(address))).map_err(|_| {
                "must be an IP address with a port, such as \"127.0.0.1:9464\" or \"[::]:9464\", or \"off\"".to_owned()
            }),
        }
    }
}
