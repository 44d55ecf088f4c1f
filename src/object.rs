//! Names and identities of stored objects: where an upload lies, which bytes it was, which job it is.
//!
//! A key is opaque to Airlock: it is never normalised, never joined to a local path and never printed
//! without escaping (guarantee G8). The newtypes here validate in their constructors; after that a value
//! can be trusted to be within the limits of the S3 protocol.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};

/// The longest key S3 accepts, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;

/// Why a name or a value was refused by its constructor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidName {
    what: &'static str,
    problem: String,
}

impl InvalidName {
    fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into() }
    }
}

/// The name of a bucket: 3 to 63 bytes of lower-case letters, digits, dots and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bucket(String);

impl Bucket {
    /// # Errors
    /// When `name` is not a legal bucket name (S3 naming rules; underscores are accepted, as Ceph does).
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if !(3..=63).contains(&name.len()) {
            return Err(InvalidName::new("bucket", "must have 3 to 63 characters"));
        }
        if !name.chars().all(legal) {
            return Err(InvalidName::new("bucket", "may hold only a-z, 0-9, '.', '-' and '_'"));
        }
        Ok(Self(name))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of an object: 1 to 1024 bytes of UTF-8 without NUL, otherwise opaque.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// # Errors
    /// When `key` is empty, longer than [`MAX_KEY_BYTES`] or holds a NUL.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidName> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(InvalidName::new("key", format!("must have 1 to {MAX_KEY_BYTES} bytes")));
        }
        if key.contains('\0') {
            return Err(InvalidName::new("key", "must not hold a NUL"));
        }
        Ok(Self(key))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the last slash: the name that is judged when the event gives no file name.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

/// One version of an object. The string `"null"` is what S3 calls the version of an unversioned object:
/// it names a place, not bytes, so [`VersionId::parse`] treats it like no version at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionId(String);

impl VersionId {
    /// `None` for an absent, empty or `"null"` id, and for one that is not plain ASCII of at most 1024 bytes.
    #[must_use]
    pub fn parse(id: Option<&str>) -> Option<Self> {
        let id = id?;
        let real = !id.is_empty() && id != "null" && id.len() <= 1024 && id.chars().all(|c| c.is_ascii_graphic());
        real.then(|| Self(id.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An entity tag without its quotes. A hint only: it may be the MD5 of something else (multipart, SSE).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

impl ETag {
    /// Strips the quotes that HTTP puts around a tag and S3 events leave out, and the mark of a weak one.
    #[must_use]
    pub fn parse(mut tag: &str) -> Self {
        // Until nothing is left to strip: what was read has to mean the same when it is written and read again.
        loop {
            let stripped = tag.trim_start_matches("W/").trim_matches('"');
            if stripped.len() == tag.len() {
                return Self(tag.to_owned());
            }
            tag = stripped;
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Hasher::digest(bytes).into())
    }
}

impl From<Hasher> for Sha256 {
    fn from(hasher: Hasher) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName::new("sha256", "must be 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(out))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A number of bytes, read and written in human units: `"10 MiB"`, `"64 KB"`, `"512"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];

    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || {
            InvalidName::new("size", "must be a whole number with an optional unit, such as \"10 MiB\" or \"500 KB\"")
        };
        let text = text.trim().to_ascii_lowercase();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let unit = text[digits..].trim();
        let factor = match unit {
            "" => 1,
            unit => Self::UNITS.iter().find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or_else(bad)?,
        };
        number.checked_mul(factor).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) if self.0.is_multiple_of(*size) => write!(f, "{} {unit}", self.0 / size),
            #[expect(clippy::cast_precision_loss, reason = "for display only, one decimal")]
            Some((size, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / *size as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Where an upload lies, as an event names it; with a version when the event pins one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    pub bucket: Bucket,
    pub key: ObjectKey,
    pub version: Option<VersionId>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, crate::text::printable(self.key.as_str()))?;
        if let Some(version) = &self.version {
            write!(f, "@{version}")?;
        }
        Ok(())
    }
}

/// The identity of one upload: the same for every redelivery of its event, another for the next upload to
/// the same key. It names the ledger record, so it is what makes processing effectively once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(Sha256);

impl SourceId {
    /// Derived from what the store itself answered to our GET, never from the event.
    ///
    /// `last_modified` counts whole seconds since 1970: GET has seconds where LIST has milliseconds, and the
    /// two must agree. It takes part only where there is no version, so that the same bytes uploaded again
    /// to the same key later are a new upload.
    #[must_use]
    pub fn compute(
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<&VersionId>,
        etag: Option<&ETag>,
        last_modified: i64,
    ) -> Self {
        let mut h = Hasher::new();
        h.update(b"airlock1\0");
        for part in [bucket.as_str(), key.as_str()] {
            h.update(part.as_bytes());
            h.update(b"\0");
        }
        match version {
            Some(version) => h.update(format!("v:{version}")),
            None => h.update(format!("e:{}\0{last_modified}", etag.map_or("", ETag::as_str))),
        }
        Self(h.into())
    }
}

impl FromStr for SourceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.parse().map(Self)
    }
}

macro_rules! text_newtype {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
text_newtype!(Bucket, ObjectKey, VersionId, ETag, SourceId);

macro_rules! checked_string {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    )*};
}
checked_string!(Bucket, ObjectKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_human_units() {
        for (text, bytes) in [("10 MiB", 10 << 20), ("64KB", 64_000), ("512", 512), (" 1 gib ", 1 << 30), ("0", 0)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "ten", "-1", "1.5 MiB", "99999999999 TiB", "5 apples"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_null_or_empty_version_is_no_version() {
        for id in [None, Some(""), Some("null"), Some("a b"), Some("é")] {
            assert_eq!(VersionId::parse(id), None, "{id:?}");
        }
        assert!(VersionId::parse(Some("L4RPy8SuXbVA9A.tRBOVy41kVzn40W5")).is_some());
    }

    #[test]
    fn the_source_id_separates_versions_and_reuploads() {
        let (bucket, key) = (Bucket::new("quarantine").unwrap(), ObjectKey::new("a/b.jpg").unwrap());
        let (v1, etag) = (VersionId::parse(Some("v1")), ETag::parse("\"abc\""));
        let id = |version: Option<&VersionId>, at| SourceId::compute(&bucket, &key, version, Some(&etag), at);
        assert_eq!(id(v1.as_ref(), 1), id(v1.as_ref(), 2), "a version names its bytes whatever the time");
        assert_ne!(id(None, 1), id(None, 2), "without a version a later upload is another one");
        assert_ne!(id(v1.as_ref(), 1), id(None, 1));
    }

    #[test]
    fn names_are_checked() {
        assert!(Bucket::new("ab").is_err());
        assert!(Bucket::new("Upper").is_err());
        assert!(ObjectKey::new("").is_err());
        assert!(ObjectKey::new("a\0b").is_err());
        assert!(ObjectKey::new("x".repeat(1025)).is_err());
        assert!(ObjectKey::new("x".repeat(1024)).is_ok());
    }
}
