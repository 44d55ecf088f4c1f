//! Promote: put the sanitized bytes into the clean bucket.
//!
//! The order of a job's side effects, and what a crash behind each of them leaves. The record is the commit point;
//! everything before it can be done again, everything behind it is done again from the record.
//!
//! | after | state | the redelivered message finds and does | end |
//! | --- | --- | --- | --- |
//! | fetch, judge | nothing written | runs in full | same |
//! | put clean | an object without a record | runs in full, finds its own object under the key and takes it | same |
//! | put clean, and the next attempt says *rejected* | an object without a record | records, then removes clean versions of this source | rejected |
//! | put clean, another worker recorded *rejected* | an orphan in clean | finds the record, removes clean versions of this source | rejected |
//! | put clean, answer lost, and it comes to its end behind the next put | two objects | records one, removes the other | same |
//! | record | committed | finds the record: publishes, deletes, acks | same |
//! | publish, confirm lost | the notice may be out | publishes again under the same id | consumers deduplicate |
//! | delete | the source is gone | finds the record by version or pointer, publishes again, acks | same |
//! | ack lost | all done | as behind delete | same |
//! | two workers at once | both put the same key | one record wins, the other worker adopts it | same |
//!
//! Repair never compares bytes: it compares the metadata of the clean object, source id and digests included.

use super::record::{Draft, Promoted};
use crate::fault::{Fault, FaultCode};
use crate::media::MediaType;
use crate::object::{ObjectKey, SourceId};
use crate::route::Route;
use crate::stage::Sanitized;
use crate::store::{Destination, ObjectFacts, ObjectStore, Put, Stored, metadata};
use crate::verdict::{Output, Stage, Verdict};

/// How often a destination that changes under our hands is looked at again.
const LOOKS: u32 = 3;

/// Puts the file under its clean key, unless a newer upload of the same key is there already.
pub(super) async fn promote<S: ObjectStore>(
    store: &S,
    route: &Route,
    file: &Sanitized,
    draft: &Draft,
) -> Result<Promoted, Fault> {
    let source = file.facts().source_id.ok_or_else(|| internal("a file without a source cannot be promoted"))?;
    let key = clean_key(route, &draft.key, &source, file.source_media(), file.media())?;
    let mut to = Destination {
        bucket: route.clean.clone(),
        key,
        metadata: draft.metadata(Verdict::Clean, Some(file.source_sha256()), Some(file.output().sha256())),
        if_absent: true,
    };
    let mut trouble = None;
    for _ in 0..LOOKS {
        match store.head(&to.bucket, &to.key).await? {
            None => to.if_absent = true,
            Some(there) if is_ours(&there, &to, file) => {
                let stored = Stored { version: there.version, etag: there.etag };
                return Ok(promoted(to, file, stored, trouble.is_some()));
            }
            Some(there) if is_newer(&there, file) => return Ok(Promoted { output: None, doubtful: trouble.is_some() }),
            Some(there) => {
                check_owner(&there, &to)?;
                to.if_absent = false;
            }
        }
        match store.put_clean(&to, file).await {
            Ok(Put::Stored(stored)) => return Ok(promoted(to, file, stored, trouble.is_some())),
            Ok(Put::Exists) => {}
            // Perhaps only the answer was lost. Put blindly once more, there would be two versions of one upload.
            Err(fault) if fault.code == FaultCode::S3Unavailable => trouble = Some(fault),
            Err(fault) => return Err(fault),
        }
    }
    Err(trouble.unwrap_or_else(|| {
        let detail = format!("{} in {} changes faster than it can be written", draft.key, to.bucket);
        Fault::new(FaultCode::S3Unavailable, Stage::Store, detail)
    }))
}

fn promoted(to: Destination, file: &Sanitized, stored: Stored, doubtful: bool) -> Promoted {
    Promoted {
        doubtful,
        output: Some(Output {
            bucket: Some(to.bucket),
            key: to.key.to_string(),
            version_id: stored.version,
            etag: stored.etag,
            size: file.output().len(),
            sha256: Some(file.output().sha256()),
            content_type: file.media().mime().to_owned(),
        }),
    }
}

/// The key of the clean object; where the type changes, the extension changes with it.
fn clean_key(
    route: &Route,
    key: &ObjectKey,
    source: &SourceId,
    was: MediaType,
    is: MediaType,
) -> Result<ObjectKey, Fault> {
    let too_long = |e: crate::object::InvalidName| Fault::new(FaultCode::StoreConflict, Stage::Store, e.to_string());
    let rendered = route.key_template.render(key, source).map_err(too_long)?;
    if was == is { Ok(rendered) } else { with_extension(&rendered, was, is).map_err(too_long) }
}

fn with_extension(key: &ObjectKey, was: MediaType, is: MediaType) -> Result<ObjectKey, crate::object::InvalidName> {
    let usual = is.extensions().first().copied().unwrap_or_default();
    let stem = match key.as_str().rsplit_once('.') {
        Some((stem, extension)) if was.extensions().contains(&extension.to_ascii_lowercase().as_str()) => stem,
        _ => key.as_str(),
    };
    ObjectKey::new(format!("{stem}.{usual}"))
}

/// All keys under which a clean object of this upload may lie.
pub(super) fn clean_keys(route: &Route, key: &ObjectKey, source: &SourceId) -> Vec<ObjectKey> {
    let Ok(rendered) = route.key_template.render(key, source) else { return Vec::new() };
    let jpegs = MediaType::ALL.into_iter().filter(|m| m.is_image() && *m != MediaType::Jpeg);
    let mut keys: Vec<_> = jpegs.filter_map(|was| with_extension(&rendered, was, MediaType::Jpeg).ok()).collect();
    keys.insert(0, rendered);
    keys.sort();
    keys.dedup();
    if route.policy.image.output == crate::policy::OutputFormat::Same {
        keys.retain(|k| Some(k) == route.key_template.render(key, source).ok().as_ref());
    }
    keys
}

/// What we are about to put is there: from a worker that died behind its put, or from a put whose answer was lost.
fn is_ours(there: &ObjectFacts, to: &Destination, file: &Sanitized) -> bool {
    let same = |(name, value): (&String, &String)| there.metadata.get(name) == Some(value);
    there.size == file.output().len() && to.metadata.iter().all(same)
}

/// An upload of the same key that came after ours has been promoted already.
fn is_newer(there: &ObjectFacts, file: &Sanitized) -> bool {
    let theirs = there.metadata.get(metadata::SOURCE_LAST_MODIFIED).and_then(|t| crate::clock::parse(t));
    theirs.zip(file.facts().last_modified).is_some_and(|(theirs, ours)| theirs > ours)
}

/// A clean object belongs to one source key; two keys that meet in one destination are a configuration mistake,
/// and overwriting would lose a file.
fn check_owner(there: &ObjectFacts, to: &Destination) -> Result<(), Fault> {
    let owner = |m: &std::collections::BTreeMap<String, String>| m.get(metadata::SOURCE_OBJECT).cloned();
    if owner(&there.metadata) == owner(&to.metadata) {
        return Ok(());
    }
    let detail = format!("{}/{} holds an object of another source", to.bucket, to.key);
    Err(Fault::new(FaultCode::StoreConflict, Stage::Store, detail))
}

fn internal(detail: &str) -> Fault {
    Fault::new(FaultCode::Internal, Stage::Store, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_follows_the_type() {
        let key = |text: &str| ObjectKey::new(text).unwrap();
        let renamed = |text: &str| with_extension(&key(text), MediaType::Png, MediaType::Jpeg).unwrap().to_string();
        assert_eq!(renamed("a/b.PNG"), "a/b.jpg");
        assert_eq!(renamed("a/b"), "a/b.jpg");
        assert_eq!(renamed("a.v2/b.final"), "a.v2/b.final.jpg");
    }
}
