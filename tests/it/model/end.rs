//! What there is when everything has come to rest, and what of it contradicts the model.

use std::collections::{BTreeMap, BTreeSet};

use airlock::object::Sha256;
use futures_util::{StreamExt, stream};
use lapin::options::BasicGetOptions;
use serde_json::Value;

use super::plan::{Fate, Plan, Planned};
use crate::world::World;

/// Requests at a time while everything is looked at.
const AT_ONCE: usize = 16;

/// A version in one of the buckets, and the upload of which it says that it is made.
pub struct Stored {
    pub version: String,
    source_id: String,
    source_sha256: String,
}

pub struct End {
    /// By the version of their source.
    records: BTreeMap<String, Vec<Value>>,
    clean: Vec<Stored>,
    rejected: Vec<Stored>,
    /// Verdicts by the version of their source.
    verdicts: BTreeMap<String, Vec<Value>>,
    /// Ids of the fault events.
    pub faults: BTreeSet<String>,
    /// Code, message id and body.
    pub dead: Vec<(String, String, Vec<u8>)>,
    left: Vec<String>,
}

impl End {
    pub async fn of(world: &mut World) -> Self {
        let (mut verdicts, mut faults) = (BTreeMap::<_, Vec<Value>>::new(), BTreeSet::new());
        while let Some((key, event)) = world.notice_within(std::time::Duration::from_secs(1)).await {
            if key.starts_with("fault.") {
                faults.insert(text(&event["id"]));
            } else {
                let data = event["data"].clone();
                verdicts.entry(text(&data["source"]["version_id"])).or_default().push(data);
            }
        }
        let mut records = BTreeMap::<_, Vec<Value>>::new();
        for record in ledger(world).await {
            records.entry(text(&record["source"]["version_id"])).or_default().push(record);
        }
        let (clean, rejected) = (stored(world, "clean").await, stored(world, "rejected").await);
        let left = listing(world, "quarantine").await.into_iter().map(|(key, version)| format!("{key} {version}"));
        Self { records, clean, rejected, verdicts, faults, dead: dead(world).await, left: left.collect() }
    }

    /// What is wrong: nothing, if all is well. `versions` are those of the uploads.
    pub fn wrongs(&self, plan: &Plan, versions: &[String], poison: &BTreeMap<String, &str>) -> Vec<String> {
        let mut wrongs: Vec<String> = self.left.iter().map(|left| format!("{left} is left in quarantine")).collect();
        for (upload, version) in plan.uploads.iter().zip(versions) {
            let these = if upload.fate == Fate::Missing { self.missing(version) } else { self.judged(upload, version) };
            wrongs.extend(these.into_iter().map(|wrong| format!("{} {version}: {wrong}", upload.key)));
        }
        wrongs.extend(self.strangers(versions));
        wrongs.extend(self.wrong_letters(poison));
        wrongs
    }

    /// An upload that had to be judged.
    fn judged(&self, upload: &Planned, version: &str) -> Vec<String> {
        let records = self.records.get(version).map(Vec::as_slice).unwrap_or_default();
        let [record] = records else { return vec![format!("{} records", records.len())] };
        let (verdict, source) = (text(&record["verdict"]), text(&record["source_id"]));
        let fits = match upload.fate {
            Fate::Clean => verdict == "clean" || upload.rivals && verdict == "superseded",
            Fate::Rejected => verdict == "rejected",
            Fate::Missing => false,
        };
        let sha256 = Sha256::of(&upload.bytes).to_string();
        let clean: Vec<_> = self.clean.iter().filter(|s| s.source_id == source).collect();
        let rejected = self.rejected.iter().filter(|s| s.source_id == source).count();
        let notices = self.verdicts.get(version).map(Vec::as_slice).unwrap_or_default();
        let output = text(&record["output"]["version_id"]);
        let checks = [
            (fits, format!("the record says {verdict}, and {:?} is right", upload.fate)),
            (text(&record["source"]["sha256"]) == sha256, "the record speaks of other bytes".to_owned()),
            (!notices.is_empty(), "no verdict was published".to_owned()),
            (notices.iter().all(|notice| notice == record), "a published verdict is not the record".to_owned()),
            (clean.len() == usize::from(verdict == "clean"), format!("{verdict}, and {} clean versions", clean.len())),
            (clean.iter().all(|s| s.source_sha256 == sha256), "clean is made of other bytes".to_owned()),
            (clean.iter().all(|s| s.version == output), "clean is not what is recorded".to_owned()),
            ((rejected > 0) == (verdict == "rejected"), format!("{verdict}, and {rejected} rejected versions")),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong).collect()
    }

    /// An upload that was gone before its first message.
    fn missing(&self, version: &str) -> Vec<String> {
        let letters = self
            .dead
            .iter()
            .filter(|(code, _, body)| code == "source.missing" && String::from_utf8_lossy(body).contains(version));
        let checks = [
            (letters.count() > 0, "no dead letter of what is missing"),
            (!self.records.contains_key(version), "a record of what nobody has seen"),
            (!self.verdicts.contains_key(version), "a verdict about what nobody has seen"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong.to_owned()).collect()
    }

    /// What belongs to no upload.
    fn strangers(&self, versions: &[String]) -> Vec<String> {
        let ours: BTreeSet<_> = versions.iter().collect();
        let sources: BTreeSet<_> = self.records.values().flatten().map(|r| text(&r["source_id"])).collect();
        let stored = self.clean.iter().chain(&self.rejected).filter(|s| !sources.contains(&s.source_id));
        let records = self.records.keys().chain(self.verdicts.keys()).filter(|version| !ours.contains(version));
        stored
            .map(|s| format!("{} is stored and has no record", s.version))
            .chain(records.map(|version| format!("{version} was judged and never uploaded")))
            .collect()
    }

    /// Dead letters are those that had to be, each with its fault event.
    fn wrong_letters(&self, poison: &BTreeMap<String, &str>) -> Vec<String> {
        let mut wrongs = Vec::new();
        for (id, code) in poison {
            if !self.dead.iter().any(|(c, i, _)| c == code && i == id) {
                wrongs.push(format!("poison {id} is no dead letter of {code}"));
            }
        }
        for (code, id, body) in &self.dead {
            if code != "source.missing" && poison.get(id) != Some(&code.as_str()) {
                wrongs.push(format!("a dead letter of {code}: {}", String::from_utf8_lossy(body)));
            }
        }
        let letters: BTreeSet<_> = self.dead.iter().map(|(code, id, _)| (code, id)).collect();
        if self.faults.len() < letters.len() {
            wrongs.push(format!("{} fault events for {} dead letters", self.faults.len(), letters.len()));
        }
        wrongs
    }

    /// How many verdicts were published more than once, and the verdicts themselves.
    pub fn summary(&self) -> String {
        let mut of = BTreeMap::<String, usize>::new();
        for record in self.records.values().flatten() {
            *of.entry(text(&record["verdict"])).or_default() += 1;
        }
        let again: usize = self.verdicts.values().map(|notices| notices.len() - 1).sum();
        format!("{of:?}, {again} verdicts published again, {} dead letters", self.dead.len())
    }
}

/// All records of verdicts.
async fn ledger(world: &World) -> Vec<Value> {
    let keys =
        listing(world, "ledger").await.into_iter().map(|(key, _)| key).filter(|key| key.starts_with("verdicts/"));
    let records = stream::iter(keys)
        .map(|key| async move { serde_json::from_slice(&world.get("ledger", &key).await).expect("a record is JSON") });
    records.buffer_unordered(AT_ONCE).collect().await
}

/// Every version in a bucket, with what it says of its source.
async fn stored(world: &World, bucket: &str) -> Vec<Stored> {
    let name = &world.bucket(bucket);
    let stored = stream::iter(listing(world, bucket).await).map(|(key, version)| async move {
        let head = world.s3.head_object().bucket(name).key(key).version_id(&version).send().await;
        let metadata = head.expect("the version is there").metadata().cloned().unwrap_or_default();
        let value = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        Stored { source_id: value("airlock-source-id"), source_sha256: value("airlock-source-sha256"), version }
    });
    stored.buffer_unordered(AT_ONCE).collect().await
}

/// Key and version of everything in a bucket that has bytes.
async fn listing(world: &World, bucket: &str) -> Vec<(String, String)> {
    let (mut all, mut key, mut version) = (Vec::new(), None, None);
    loop {
        let list = world.s3.list_object_versions().bucket(world.bucket(bucket));
        let page = list.set_key_marker(key).set_version_id_marker(version).send().await.expect("a listing");
        let name = |text: Option<&str>| text.unwrap_or_default().to_owned();
        all.extend(page.versions().iter().map(|v| (name(v.key()), name(v.version_id()))));
        (key, version) = (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
        if page.is_truncated() != Some(true) {
            return all;
        }
    }
}

/// All dead letters, which stay in their queue.
async fn dead(world: &World) -> Vec<(String, String, Vec<u8>)> {
    let (queue, mut all) = (format!("{}.dead", world.id), Vec::new());
    let code = lapin::types::ShortString::from("x-airlock-error-code");
    loop {
        let got = world.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await;
        let Some(message) = got.expect("the dead-letter queue is there") else { return all };
        let properties = &message.delivery.properties;
        let header = properties.headers().as_ref().and_then(|headers| headers.inner().get(&code));
        let code = header.and_then(|code| code.as_long_string()).map(ToString::to_string).unwrap_or_default();
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        all.push((code, id, message.delivery.data));
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
