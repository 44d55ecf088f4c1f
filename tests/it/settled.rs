//! An upload, and what must be true of it when everything has come to rest.

use std::time::{Duration, Instant};

use airlock::object::Sha256;
use serde_json::Value;

use crate::process::WorkerProcess;
use crate::world::World;

/// The longest wait for rest.
const PATIENCE: Duration = Duration::from_mins(1);

/// One version of one key in quarantine.
pub struct Upload {
    pub key: String,
    pub version: String,
    pub sha256: String,
}

/// One version in one of the world's buckets.
struct Stored {
    version: String,
    metadata: std::collections::HashMap<String, String>,
}

impl World {
    /// Uploads, and does not announce.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Upload {
        let sha256 = Sha256::of(&bytes).to_string();
        Upload { key: key.to_owned(), version: self.upload(key, bytes, None).await, sha256 }
    }

    pub async fn announce(&self, upload: &Upload) {
        self.publish(&self.event(&upload.key, Some(&upload.version))).await;
    }

    /// Waits until there are notices of all these uploads and nothing more to do, ends the workers, and sees that
    /// nothing has come back from them; what has is for another worker.
    pub async fn rest(&self, mut workers: Vec<WorkerProcess>) {
        let started = Instant::now();
        loop {
            while self.depth("work").await + self.waiting().await > 0 || self.versions_of("quarantine").await > 0 {
                let log: String = workers.iter().map(WorkerProcess::log).collect();
                assert!(started.elapsed() < PATIENCE, "there is still something to do; log:\n{log}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for worker in workers {
                assert_eq!(worker.terminate().await, Some(0), "the worker drains");
            }
            // Unsettled messages are ready again as soon as the broker has seen their connection end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.depth("work").await + self.waiting().await == 0 {
                return;
            }
            workers = vec![self.worker().await];
        }
    }

    /// Messages that wait for another attempt.
    pub async fn waiting(&self) -> u32 {
        self.depth("bulk").await + self.depth("retry.100").await + self.depth("retry.200").await
    }

    /// The uploader deletes a version, or puts a delete marker over the key.
    pub async fn delete(&self, key: &str, version: Option<&str>) {
        let delete = self.s3.delete_object().bucket(self.bucket("quarantine")).key(key);
        delete.set_version_id(version.map(str::to_owned)).send().await.expect("a deletion");
    }

    /// Whether an upload is still in quarantine.
    pub async fn is_left(&self, upload: &Upload) -> bool {
        let head = self.s3.head_object().bucket(self.bucket("quarantine")).key(&upload.key);
        head.version_id(&upload.version).send().await.is_ok()
    }

    /// The digest of the upload of which the clean object under this key is made.
    pub async fn made_of(&self, key: &str) -> String {
        let head = self.s3.head_object().bucket(self.bucket("clean")).key(key).send().await;
        head.expect("a clean object")
            .metadata()
            .and_then(|m| m.get("airlock-source-sha256"))
            .cloned()
            .unwrap_or_default()
    }

    /// Versions in a bucket that hold bytes.
    pub async fn versions_of(&self, bucket: &str) -> usize {
        let listed = self.s3.list_object_versions().bucket(self.bucket(bucket)).send().await.expect("a listing");
        listed.versions().len()
    }

    /// Every notice until now.
    pub async fn notices(&mut self) -> Vec<Value> {
        let mut notices = Vec::new();
        while let Ok((_, event)) = tokio::time::timeout(Duration::from_millis(300), self.next_notice()).await {
            notices.push(event["data"].clone());
        }
        notices
    }

    /// What is wrong with the end of an upload that had to end with this verdict: nothing, if all is well.
    pub async fn wrongs(&self, upload: &Upload, verdict: &str, notices: &[Value]) -> Vec<String> {
        let mine: Vec<&Value> = notices.iter().filter(|n| n["source"]["version_id"] == *upload.version).collect();
        let Some(last) = mine.last() else { return vec![format!("no notice of {}", upload.key)] };
        let (source, id) = (text(&last["source_id"]), text(&last["id"]));
        let record = self.app.get(&self.bucket("ledger"), &format!("verdicts/{source}.json")).await;
        let record: Value = record.map(|r| serde_json::from_slice(&r).expect("JSON")).unwrap_or_default();
        let clean = self.stored("clean", &upload.key, &source).await;
        let rejected = self.stored("rejected", &upload.key, &source).await;
        let mut checks = vec![
            (record["verdict"] == verdict, format!("the record says {}", record["verdict"])),
            (record == **last, "the record is not what was published last".to_owned()),
            (text(&record["source"]["sha256"]) == upload.sha256, "the record speaks of other bytes".to_owned()),
            (mine.iter().all(|n| n["id"] == *id), format!("{} notices with several ids", mine.len())),
            (clean.len() == usize::from(verdict == "clean"), format!("{} clean versions", clean.len())),
            ((verdict == "rejected") != rejected.is_empty(), format!("{} rejected versions", rejected.len())),
            (self.depth("dead").await == 0, "there is a dead letter".to_owned()),
        ];
        for stored in &clean {
            let scanned = stored.metadata.get("airlock-source-sha256");
            checks.push((scanned == Some(&upload.sha256), format!("clean is made of {scanned:?}")));
            let recorded = record["output"]["version_id"] == *stored.version;
            checks.push((recorded, format!("clean is {}, recorded {}", stored.version, record["output"])));
        }
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong).collect()
    }

    /// The versions of a key that were made from this source.
    async fn stored(&self, bucket: &str, key: &str, source: &str) -> Vec<Stored> {
        let bucket = self.bucket(bucket);
        let listed = self.s3.list_object_versions().bucket(&bucket).prefix(key).send().await.expect("a listing");
        let mut stored = Vec::new();
        for version in listed.versions().iter().filter_map(|v| v.version_id()) {
            let head = self.s3.head_object().bucket(&bucket).key(key).version_id(version).send().await;
            let metadata = head.expect("the version is there").metadata().cloned().unwrap_or_default();
            if metadata.get("airlock-source-id").is_some_and(|s| s == source) {
                stored.push(Stored { version: version.to_owned(), metadata });
            }
        }
        stored
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
