//! Media types and what proves them: one module per format, each a bounded walk over the bytes.

mod bytes;
mod cfb;
mod doc;
mod docx;
mod examine;
mod fields;
mod findings;
mod foreign;
mod gif;
mod image_facts;
mod inflate;
mod jpeg;
mod links;
mod names;
mod pdf;
mod png;
#[cfg(test)]
mod tests;
mod webp;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use examine::{Claims, Examination, examine};

/// A type that Airlock can prove by structure. Only these can be on an allow list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MediaType {
    #[serde(rename = "image/jpeg")]
    Jpeg,
    #[serde(rename = "image/png")]
    Png,
    #[serde(rename = "image/gif")]
    Gif,
    #[serde(rename = "image/webp")]
    Webp,
    #[serde(rename = "application/pdf")]
    Pdf,
    #[serde(rename = "application/msword")]
    Doc,
    #[serde(rename = "application/vnd.openxmlformats-officedocument.wordprocessingml.document")]
    Docx,
}

/// One row per type: the one table through which extension, declared type and content must agree.
struct Row {
    media: MediaType,
    name: &'static str,
    mime: &'static str,
    aliases: &'static [&'static str],
    extensions: &'static [&'static str],
}

const TABLE: [Row; 7] = [
    Row {
        media: MediaType::Jpeg,
        name: "jpeg",
        mime: "image/jpeg",
        aliases: &["image/jpg", "image/pjpeg"],
        extensions: &["jpg", "jpeg", "jpe", "jfif"],
    },
    Row { media: MediaType::Png, name: "png", mime: "image/png", aliases: &["image/x-png"], extensions: &["png"] },
    Row { media: MediaType::Gif, name: "gif", mime: "image/gif", aliases: &[], extensions: &["gif"] },
    Row { media: MediaType::Webp, name: "webp", mime: "image/webp", aliases: &[], extensions: &["webp"] },
    Row {
        media: MediaType::Pdf,
        name: "pdf",
        mime: "application/pdf",
        aliases: &["application/x-pdf"],
        extensions: &["pdf"],
    },
    Row { media: MediaType::Doc, name: "doc", mime: "application/msword", aliases: &[], extensions: &["doc"] },
    Row {
        media: MediaType::Docx,
        name: "docx",
        mime: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        aliases: &[],
        extensions: &["docx"],
    },
];

impl MediaType {
    /// Every type, in the order of the default allow list.
    pub const ALL: [Self; 7] = [Self::Jpeg, Self::Png, Self::Gif, Self::Webp, Self::Pdf, Self::Doc, Self::Docx];

    fn row(self) -> &'static Row {
        // ALL, TABLE and the declaration have one order; the test below holds them together.
        &TABLE[self as usize]
    }

    /// The short name used in policies, metrics and tables: `jpeg`, `docx`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The media type for a `Content-Type` header.
    #[must_use]
    pub fn mime(self) -> &'static str {
        self.row().mime
    }

    /// Extensions that agree with this type, lower-case; the first is the usual one.
    #[must_use]
    pub fn extensions(self) -> &'static [&'static str] {
        self.row().extensions
    }

    /// Whether a declared media type (lower-case, without parameters) names this type.
    #[must_use]
    pub fn agrees_with(self, declared: &str) -> bool {
        let row = self.row();
        row.mime == declared || row.aliases.contains(&declared)
    }

    /// The type of that short name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.media)
    }

    /// Images are decoded and encoded anew; documents pass through.
    #[must_use]
    pub fn is_image(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Gif | Self::Webp)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mime())
    }
}
