//! Pages of keys and versions, for both ways of listing a bucket.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use s3s::dto::{CommonPrefix, DeleteMarkerEntry, ETag, EncodingType, Object, ObjectVersion};

use super::store::Version;

/// S3's own limit for one page.
const MAX_PAGE: i32 = 1000;

/// What to list.
pub(super) struct Query<'a> {
    pub prefix: &'a str,
    /// Keys with this behind the prefix are rolled up to a common prefix. Empty for none.
    pub delimiter: &'a str,
    /// Where the page before ended.
    pub after: Option<Position>,
    pub max: usize,
    /// All versions and markers, instead of the current objects only.
    pub versions: bool,
}

/// An entry of a listing: a key or a common prefix, and the version where the listing is one of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub name: String,
    pub version: Option<String>,
}

/// One page.
#[derive(Default)]
pub(super) struct Page<'a> {
    pub entries: Vec<Entry<'a>>,
    pub prefixes: Vec<&'a str>,
    /// The last entry of this page, when there is more behind it.
    pub next: Option<Position>,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub version: &'a Version,
    pub latest: bool,
}

/// How many entries to show on one page.
pub(super) fn page_size(asked: Option<i32>) -> i32 {
    asked.unwrap_or(MAX_PAGE).clamp(0, MAX_PAGE)
}

impl Query<'_> {
    pub fn run<'a>(&self, keys: &'a BTreeMap<String, Vec<Arc<Version>>>) -> Page<'a> {
        let mut page = Page::default();
        let mut last = None;
        let start = self.after.as_ref().map_or(self.prefix, |after| self.prefix.max(&after.name));
        for (key, versions) in keys.range::<str, _>((Bound::Included(start), Bound::Unbounded)) {
            if !key.starts_with(self.prefix) {
                break;
            }
            let rolled_up = self.common_prefix(key);
            for entry in self.behind(key, rolled_up, versions) {
                if rolled_up.is_some() && page.prefixes.last().copied() == rolled_up {
                    break;
                }
                if page.entries.len() + page.prefixes.len() == self.max {
                    page.next = last;
                    return page;
                }
                let (name, version) = match rolled_up {
                    Some(prefix) => (prefix, None),
                    None => (entry.key, self.versions.then(|| entry.version.id.clone())),
                };
                last = Some(Position { name: name.to_owned(), version });
                match rolled_up {
                    Some(prefix) => page.prefixes.push(prefix),
                    None => page.entries.push(entry),
                }
            }
        }
        page
    }

    fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        let rest = key.get(self.prefix.len()..).filter(|_| !self.delimiter.is_empty())?;
        let end = self.prefix.len() + rest.find(self.delimiter)? + self.delimiter.len();
        key.get(..end)
    }

    /// What of `key` comes behind the page before, newest first.
    fn behind<'a>(
        &self,
        key: &'a str,
        rolled_up: Option<&str>,
        versions: &'a [Arc<Version>],
    ) -> impl Iterator<Item = Entry<'a>> {
        let name = rolled_up.unwrap_or(key);
        let newest_first = versions.iter().rev().enumerate();
        let shown = newest_first.take(if self.versions { usize::MAX } else { 1 });
        let skip = match &self.after {
            Some(after) if name < after.name.as_str() => usize::MAX,
            Some(after) if name == after.name => match &after.version {
                Some(id) if rolled_up.is_none() => versions_up_to(id, versions),
                _ => usize::MAX,
            },
            _ => 0,
        };
        shown
            .skip(skip)
            .map(move |(index, version)| Entry { key, version, latest: index == 0 })
            .filter(|entry| self.versions || entry.version.content.is_some())
    }
}

/// How many versions, newest first, come up to `id`. Whoever empties a bucket page by page has deleted it by now:
/// then its place follows from the order of the ids.
fn versions_up_to(id: &str, versions: &[Arc<Version>]) -> usize {
    let mut newest_first = versions.iter().rev();
    match newest_first.clone().position(|v| v.id == id) {
        Some(index) => index + 1,
        None => newest_first.position(|v| v.id.as_str() < id).unwrap_or(versions.len()),
    }
}

impl Entry<'_> {
    /// `None` for a delete marker.
    pub fn object(&self, names: &Names) -> Option<Object> {
        let content = self.version.content.as_ref()?;
        Some(Object {
            key: Some(names.show(self.key)),
            size: i64::try_from(content.body.len()).ok(),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            last_modified: Some(self.version.modified.clone()),
            ..Object::default()
        })
    }

    /// `None` for a delete marker.
    pub fn version(&self, names: &Names) -> Option<ObjectVersion> {
        let object = self.object(names)?;
        Some(ObjectVersion {
            key: object.key,
            size: object.size,
            e_tag: object.e_tag,
            last_modified: object.last_modified,
            version_id: Some(self.version.id.clone()),
            is_latest: Some(self.latest),
            ..ObjectVersion::default()
        })
    }

    /// `None` for anything but a delete marker.
    pub fn marker(&self, names: &Names) -> Option<DeleteMarkerEntry> {
        self.version.content.is_none().then(|| DeleteMarkerEntry {
            key: Some(names.show(self.key)),
            version_id: Some(self.version.id.clone()),
            is_latest: Some(self.latest),
            last_modified: Some(self.version.modified.clone()),
            ..DeleteMarkerEntry::default()
        })
    }
}

/// How names are written in an answer. XML cannot hold every character a key may have, so clients can ask for
/// percent-encoding.
pub(super) struct Names {
    pub encoding: Option<EncodingType>,
}

impl Names {
    pub fn show(&self, name: &str) -> String {
        if self.encoding.as_ref().is_none_or(|encoding| encoding.as_str() != EncodingType::URL) {
            return name.to_owned();
        }
        name.bytes().map(percent_encoded).collect()
    }

    pub fn prefixes(&self, prefixes: &[&str]) -> Vec<CommonPrefix> {
        prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.show(prefix)) }).collect()
    }
}

/// As every client decodes it. Slashes stay, as on AWS.
fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}
