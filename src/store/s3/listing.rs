//! Listing versions page by page, on stores that differ in how a listing goes on.
//!
//! Where a page ends is told by what was listed and not by the store's own marker: Ceph writes that one unencoded,
//! even where it cannot be written in XML. A page ends behind the last key that is complete, so going on does not
//! depend on a version that may be deleted meanwhile (Ceph then leaves out the rest of its key). What remains is a
//! key with more versions than a page: there only a version can be the mark.

use aws_sdk_s3::types::EncodingType;

use super::error::fault;
use super::{S3, unavailable};
use crate::event::form_decode;
use crate::fault::Fault;
use crate::object::{Bucket, ETag, ObjectKey, ObjectRef, VersionId};
use crate::store::{Listed, Marker, VersionPage};
use crate::verdict::Stage;

/// A version or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    /// `null` for an object without a version; `None` for a delete marker.
    pub version: Option<Version>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub id: String,
    etag: Option<ETag>,
    size: u64,
    last_modified: i64,
    latest: bool,
}

/// What a store answered.
struct Answer {
    /// Versions and markers, in no order.
    entries: Vec<Entry>,
    truncated: bool,
    next_version: Option<String>,
}

impl S3 {
    /// One page of versions below a prefix.
    pub(super) async fn version_page(
        &self,
        bucket: &Bucket,
        prefix: &str,
        after: Option<&Marker>,
    ) -> Result<(Vec<Entry>, Option<Marker>), Fault> {
        let what = format!("LIST versions {bucket}");
        let out = self
            .0
            .list_object_versions()
            .bucket(bucket.as_str())
            .prefix(prefix)
            // A key may hold characters that XML cannot: an uploader could make a listing unreadable.
            .encoding_type(EncodingType::Url)
            .set_key_marker(after.map(|m| m.key.to_string()))
            .set_version_id_marker(after.and_then(|m| m.version.clone()))
            .send()
            .await
            .map_err(|e| fault(Stage::Store, &what, &e))?;
        let encoded = out.encoding_type() == Some(&EncodingType::Url);
        let name = |key: Option<&str>| match key.unwrap_or_default() {
            key if encoded => form_decode(key).map_err(|e| unavailable(Stage::Store, &what, &e.detail)),
            key => Ok(key.to_owned()),
        };
        let mut entries = Vec::with_capacity(out.versions().len() + out.delete_markers().len());
        for v in out.versions() {
            let version = Version {
                id: v.version_id().unwrap_or("null").to_owned(),
                etag: v.e_tag().map(ETag::parse),
                size: v.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                last_modified: v.last_modified().map_or(0, aws_smithy_types::DateTime::secs),
                latest: v.is_latest().unwrap_or(false),
            };
            entries.push(Entry { key: name(v.key())?, version: Some(version) });
        }
        for marker in out.delete_markers() {
            entries.push(Entry { key: name(marker.key())?, version: None });
        }
        let truncated = out.is_truncated() == Some(true);
        let answer = Answer { entries, truncated, next_version: out.next_version_id_marker().map(str::to_owned) };
        cut(answer, after).ok_or_else(|| unavailable(Stage::Store, &what, &"the listing does not advance"))
    }

    pub(super) async fn list_versions(
        &self,
        bucket: &Bucket,
        prefix: &str,
        after: Option<&Marker>,
    ) -> Result<VersionPage, Fault> {
        let (entries, next) = self.version_page(bucket, prefix, after).await?;
        let listed = |entry: Entry| {
            let (key, version) = (ObjectKey::new(entry.key).ok()?, entry.version?);
            let object = ObjectRef { bucket: bucket.clone(), key, version: VersionId::parse(Some(&version.id)) };
            let Version { etag, size, last_modified, latest, .. } = version;
            Some(Listed { object, etag, size, last_modified, latest })
        };
        Ok(VersionPage { versions: entries.into_iter().filter_map(listed).collect(), next })
    }

    /// The ids of all versions of exactly this key, `null` included: here it names bytes that are to be removed.
    pub(super) async fn versions_of(&self, bucket: &Bucket, key: &ObjectKey) -> Result<Vec<String>, Fault> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (entries, next) = self.version_page(bucket, key.as_str(), after.as_ref()).await?;
            let same = entries.into_iter().filter(|e| e.key == key.as_str());
            found.extend(same.filter_map(|e| Some(e.version?.id)));
            // Keys are listed in order, so a page that ends behind ours is the last one of interest.
            match next {
                Some(next) if next.key < *key || (next.key == *key && next.version.is_some()) => after = Some(next),
                _ => return Ok(found),
            }
        }
    }
}

/// What of an answer is new, in the order of keys, and where the next page begins. `None` when it would begin where
/// this one did.
fn cut(answer: Answer, after: Option<&Marker>) -> Option<(Vec<Entry>, Option<Marker>)> {
    let Answer { mut entries, truncated, next_version } = answer;
    // The sort is stable: versions of one key stay newest first.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let last = entries.last().map(|e| e.key.clone());
    // Behind a key without a version, S3 goes on with the next key and Ceph with that key again.
    if let Some(Marker { key, version: None }) = after {
        entries.retain(|e| e.key.as_str() > key.as_str());
    }
    if !truncated {
        return Some((entries, None));
    }
    let last = last?;
    let complete = entries.iter().rev().map(|e| &e.key).find(|key| **key < last).cloned();
    let next = match complete {
        Some(key) => {
            entries.retain(|e| e.key != last);
            Marker { key: ObjectKey::new(key).ok()?, version: None }
        }
        None => Marker { key: ObjectKey::new(last).ok()?, version: Some(next_version?) },
    };
    (after != Some(&next)).then_some((entries, Some(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, id: &str) -> Entry {
        let version = Version { id: id.to_owned(), etag: None, size: 1, last_modified: 1, latest: false };
        Entry { key: key.to_owned(), version: (!id.is_empty()).then_some(version) }
    }

    fn marker(key: &str, version: Option<&str>) -> Marker {
        Marker { key: ObjectKey::new(key).unwrap(), version: version.map(str::to_owned) }
    }

    /// The listed keys, and where the next page begins.
    fn cut_of(
        keys: &[(&str, &str)],
        next_version: Option<&str>,
        after: Option<&Marker>,
    ) -> Option<(String, Option<Marker>)> {
        let entries = keys.iter().map(|(key, id)| entry(key, id)).collect();
        let next_version = next_version.map(str::to_owned);
        let answer = Answer { entries, truncated: next_version.is_some(), next_version };
        let (kept, next) = cut(answer, after)?;
        Some((kept.iter().map(|e| e.key.as_str()).collect::<Vec<_>>().join(" "), next))
    }

    #[test]
    fn a_page_ends_behind_the_last_complete_key() {
        let page = [("a", "1"), ("b", "3"), ("b", "2"), ("c", "9")];
        assert_eq!(cut_of(&page, None, None), Some(("a b b c".to_owned(), None)));
        assert_eq!(cut_of(&page, Some("9"), None), Some(("a b b".to_owned(), Some(marker("b", None)))));
        // A delete marker counts as a key that was seen.
        let page = [("a", "1"), ("c", "9"), ("b", "")];
        assert_eq!(cut_of(&page, Some("9"), None), Some(("a b".to_owned(), Some(marker("b", None)))));
    }

    #[test]
    fn a_store_that_lists_the_marked_key_again_shows_it_once() {
        let page = [("b", "3"), ("b", "2"), ("c", "9"), ("d", "8")];
        let after = marker("b", None);
        assert_eq!(cut_of(&page, Some("8"), Some(&after)), Some(("c".to_owned(), Some(marker("c", None)))));
        assert_eq!(cut_of(&page[..2], None, Some(&after)), Some((String::new(), None)));
    }

    #[test]
    fn a_key_that_fills_pages_is_gone_through_by_version() {
        let page = [("b", "3"), ("b", "2")];
        assert_eq!(cut_of(&page, Some("2"), None), Some(("b b".to_owned(), Some(marker("b", Some("2"))))));
        let after = marker("b", Some("2"));
        let page = [("b", "1"), ("c", "9")];
        assert_eq!(cut_of(&page, Some("9"), Some(&after)), Some(("b".to_owned(), Some(marker("b", None)))));
        // Where it is listed again although it is complete, its versions lead through it.
        let page = [("b", "3"), ("b", "2")];
        let (after, next) = (marker("b", None), marker("b", Some("2")));
        assert_eq!(cut_of(&page, Some("2"), Some(&after)), Some((String::new(), Some(next))));
    }

    #[test]
    fn a_listing_that_does_not_advance_is_not_followed() {
        let after = marker("b", Some("2"));
        assert_eq!(cut_of(&[("b", "2")], Some("2"), Some(&after)), None);
        assert_eq!(cut_of(&[], Some("2"), Some(&after)), None);
    }
}
