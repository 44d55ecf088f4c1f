//! What the structure of one file may make us count, inflate or follow: one row per resource.
//!
//! Everything is counted while it is read, never after. Real maxima, measured on some 3000 good files, lie well below
//! each row. Rows that an operator may want to change are fields, set by `policy.NAME.documents`; the others are
//! constants beside them. Pixels and frames belong to the rules for images.

use std::fmt::Display;

use serde::Serialize;

use crate::object::ByteSize;
use crate::policy::Policy;

/// The limits of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StructureLimits {
    /// ZIP entries of a DOCX.
    pub entries: u32,
    /// Bytes inflated from one ZIP entry.
    pub part_bytes: u64,
    /// Bytes inflated from one document in all.
    pub inflated_bytes: u64,
    /// Bytes of an entry name.
    pub name_bytes: usize,
    pub xml_depth: u32,
    /// Objects of a PDF.
    pub objects: u32,
    /// Bytes inflated from all object and cross-reference streams of a PDF.
    pub stream_bytes: u64,
    /// Filters on one PDF stream.
    pub filters: u32,
    /// Nested arrays and dictionaries of a PDF.
    pub nesting: u32,
    /// Directory entries of a compound file.
    pub directory_entries: u32,
}

impl StructureLimits {
    /// XML elements, references and attributes of interest in one document. The largest real ones have some two
    /// million; inflated to its limit, a document could have twenty-five.
    pub const XML_ELEMENTS: u32 = 5_000_000;
    /// Namespaces that are declared in one place of a part.
    pub const NAMESPACES: usize = 1_024;
    /// Bytes of XML in one document. Real ones have less than fifty million.
    pub const XML_BYTES: u64 = 60 << 20;
    /// Content types, and relationships of one part, of a DOCX.
    pub const STATEMENTS: usize = 50_000;
    /// Bytes of all parts that hold them.
    pub const STATEMENT_BYTES: usize = 16 << 20;
    /// Cross-reference sections of a PDF: each is a revision.
    pub const XREF_SECTIONS: usize = 1_024;
    /// Cross-reference entries of all sections, as a multiple of the objects. Many small revisions add little; a
    /// thousand tables of everything would keep us busy.
    pub const XREF_ENTRIES_PER_OBJECT: u32 = 8;
    /// Bytes inflated from one object or cross-reference stream of a PDF: it is held as a whole.
    pub const ONE_STREAM_BYTES: usize = 24 << 20;
    /// Values of one object of a PDF.
    pub const VALUES: usize = 250_000;
    /// Characters of a field code of Word.
    pub const FIELD_CODE: usize = 4_096;
    /// Fields of Word inside each other.
    pub const NESTED_FIELDS: usize = 64;
    /// Chunks of a PNG besides picture data: text, profiles, and what nobody knows.
    pub const CHUNKS: usize = 4_096;
    /// Bytes of a colour profile.
    pub const PROFILE_BYTES: usize = 4 << 20;
    /// Scans of a JPEG.
    pub const SCANS: usize = 64;
}

impl Default for StructureLimits {
    fn default() -> Self {
        Self {
            entries: 4_000,
            part_bytes: 64 << 20,
            inflated_bytes: 100 << 20,
            name_bytes: 512,
            xml_depth: 256,
            objects: 200_000,
            stream_bytes: 64 << 20,
            filters: 4,
            nesting: 100,
            directory_entries: 4_096,
        }
    }
}

/// One limit, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key of the policy that sets it; `None` for what cannot be changed.
    pub key: Option<&'static str>,
    pub value: String,
    pub of: &'static str,
}

/// Every limit on the structure of a file under `policy`.
#[must_use]
pub fn rows(policy: &Policy) -> Vec<Row> {
    use StructureLimits as Fixed;
    let (image, documents) = (&policy.image, &policy.documents);
    let set = |key, value: &dyn Display, of| Row { key: Some(key), value: value.to_string(), of };
    let fixed = |value: &dyn Display, of| Row { key: None, value: value.to_string(), of };
    let bytes = |n: usize| ByteSize(n as u64);
    vec![
        set("image.max_pixels", &image.max_pixels, "pixels of the canvas"),
        set("image.max_frames", &image.max_frames, "frames of an animation"),
        set("image.max_total_pixels", &image.max_total_pixels, "canvas times frames"),
        fixed(&Fixed::SCANS, "scans of a JPEG"),
        fixed(&Fixed::CHUNKS, "chunks of a PNG besides picture data: text, profiles and others"),
        fixed(&bytes(Fixed::PROFILE_BYTES), "bytes of a colour profile; a larger one is dropped unread"),
        set("documents.entries", &documents.entries, "entries of an archive"),
        set("documents.name_bytes", &documents.name_bytes, "bytes of an entry's name"),
        set("documents.part_bytes", &ByteSize(documents.part_bytes), "inflated from one entry"),
        set("documents.inflated_bytes", &ByteSize(documents.inflated_bytes), "inflated from a document in all"),
        set("documents.xml_depth", &documents.xml_depth, "XML elements inside each other"),
        fixed(&Fixed::XML_ELEMENTS, "XML elements of a document"),
        fixed(&ByteSize(Fixed::XML_BYTES), "XML of a document"),
        fixed(&Fixed::NAMESPACES, "XML namespaces declared in one place; more are `malformed`"),
        fixed(&Fixed::STATEMENTS, "content types, and relationships of a part"),
        fixed(&bytes(Fixed::STATEMENT_BYTES), "parts with content types and relationships"),
        fixed(&Fixed::FIELD_CODE, "characters of a field code; the rest is not read"),
        fixed(&Fixed::NESTED_FIELDS, "fields inside each other; deeper ones are read as one"),
        set("documents.objects", &documents.objects, "objects of a PDF"),
        set("documents.nesting", &documents.nesting, "arrays and dictionaries of a PDF inside each other"),
        fixed(&Fixed::VALUES, "values of one object of a PDF"),
        set("documents.filters", &documents.filters, "filters on a stream of objects of a PDF"),
        fixed(&bytes(Fixed::ONE_STREAM_BYTES), "inflated from one stream of objects or cross-references of a PDF"),
        set("documents.stream_bytes", &ByteSize(documents.stream_bytes), "inflated from all of them"),
        fixed(&Fixed::XREF_SECTIONS, "cross-reference sections of a PDF"),
        fixed(&Fixed::XREF_ENTRIES_PER_OBJECT, "cross-reference entries of a PDF for each object allowed"),
        set("documents.directory_entries", &documents.directory_entries, "directory entries of a compound file"),
    ]
}
