//! From which bucket to which: the routes of uploads, and the rule that names the clean object.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::object::{Bucket, InvalidName, ObjectKey, SourceId};
use crate::policy::Policy;

/// Quarantine to clean and rejected, under one policy.
#[derive(Debug, Clone)]
pub struct Route {
    pub name: String,
    pub quarantine: Bucket,
    pub clean: Bucket,
    pub rejected: Bucket,
    pub policy: Arc<Policy>,
    pub key_template: KeyTemplate,
    pub uploader_from: UploaderFrom,
}

/// Names the clean object after its source: literal text around `{key}` or `{source_id}`.
///
/// One of the two placeholders must appear, once: otherwise two uploads could claim one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    prefix: String,
    placeholder: Placeholder,
    suffix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Key,
    SourceId,
}

impl KeyTemplate {
    /// The clean object's key.
    ///
    /// # Errors
    /// When the result is longer than a key may be.
    pub fn render(&self, key: &ObjectKey, source: &SourceId) -> Result<ObjectKey, InvalidName> {
        let middle = match self.placeholder {
            Placeholder::Key => key.as_str().to_owned(),
            Placeholder::SourceId => source.to_string(),
        };
        ObjectKey::new(format!("{}{middle}{}", self.prefix, self.suffix))
    }

    /// The literal text in front of the placeholder: routes that share a clean bucket must differ in it.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }
}

impl FromStr for KeyTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found: Vec<_> = [("{key}", Placeholder::Key), ("{source_id}", Placeholder::SourceId)]
            .into_iter()
            .filter_map(|(mark, placeholder)| text.split_once(mark).map(|(a, b)| (a, placeholder, b)))
            .collect();
        match found.as_slice() {
            [(prefix, placeholder, suffix)] if !prefix.contains(['{', '}']) && !suffix.contains(['{', '}']) => {
                Ok(Self { prefix: (*prefix).to_owned(), placeholder: *placeholder, suffix: (*suffix).to_owned() })
            }
            _ => Err("must hold exactly one of {key} and {source_id}, and no other braces".to_owned()),
        }
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = match self.placeholder {
            Placeholder::Key => "{key}",
            Placeholder::SourceId => "{source_id}",
        };
        write!(f, "{}{middle}{}", self.prefix, self.suffix)
    }
}

/// Where the uploader of a file is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploaderFrom {
    /// The event's `uploader` field.
    Event,
    /// The first N segments of the key: `prefix:1` makes `alice` of `alice/cat.jpg`.
    Prefix(usize),
    /// A field of the object's user metadata: `meta:owner`.
    Meta(String),
}

impl UploaderFrom {
    /// The uploader as far as it can be told before anybody has looked at the object.
    #[must_use]
    pub fn before_fetch(&self, announced: Option<&str>, key: &str) -> Option<String> {
        match self {
            Self::Event => announced.map(str::to_owned),
            Self::Prefix(n) => {
                let segments: Vec<&str> = key.split('/').collect();
                segments.get(..*n).filter(|_| segments.len() > *n).map(|first| first.join("/"))
            }
            Self::Meta(_) => None,
        }
    }
}

impl FromStr for UploaderFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "event" => Ok(Self::Event),
            Some(("prefix", n)) => match n.parse() {
                Ok(n @ 1..=16) => Ok(Self::Prefix(n)),
                _ => Err("prefix must name 1 to 16 key segments, such as \"prefix:1\"".to_owned()),
            },
            Some(("meta", name)) if !name.is_empty() => Ok(Self::Meta(name.to_ascii_lowercase())),
            _ => Err("must be \"event\", \"prefix:N\" or \"meta:NAME\"".to_owned()),
        }
    }
}

impl fmt::Display for UploaderFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event => f.write_str("event"),
            Self::Prefix(n) => write!(f, "prefix:{n}"),
            Self::Meta(name) => write!(f, "meta:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_may_name_the_uploader_but_never_the_file_itself() {
        let from: UploaderFrom = "prefix:2".parse().unwrap();
        assert_eq!(from.before_fetch(None, "eu/alice/cat.jpg"), Some("eu/alice".to_owned()));
        assert_eq!(from.before_fetch(Some("bob"), "eu/alice"), None);
        assert_eq!(UploaderFrom::Event.before_fetch(Some("bob"), "x"), Some("bob".to_owned()));
    }

    #[test]
    fn a_template_has_exactly_one_placeholder() {
        for good in ["{key}", "clean/{key}", "{source_id}.bin"] {
            assert_eq!(good.parse::<KeyTemplate>().unwrap().to_string(), good);
        }
        for bad in ["", "fixed", "{key}{source_id}", "{key}{key}", "{name}", "a{b}{key}"] {
            assert!(bad.parse::<KeyTemplate>().is_err(), "{bad}");
        }
    }
}
