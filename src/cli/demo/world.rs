//! The embedded parts of the demo, wired like the real ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::compose;
use super::engine::Engine;
use super::files::DemoFile;
use crate::circuit::Circuit;
use crate::config::{self, Settings, Sources};
use crate::embedded::{Action, EmbeddedS3, Grant};
use crate::event::UploadEvent;
use crate::object::{Bucket, ObjectKey, ObjectRef, VersionId};
use crate::ops::{self, Health};
use crate::queue::memory::{MemoryBroker, message};
use crate::queue::{Message, Notice};
use crate::store::s3::{self, App};
use crate::verdict::Record;
use crate::worker::Worker;

/// The four places of the default route.
pub(super) const BUCKETS: [&str; 4] = ["quarantine", "clean", "rejected", "ledger"];
/// The application's key: it may put into quarantine and read what is clean, nothing else.
pub(super) const APP_KEY: &str = "app";
pub(super) const APP_SECRET: &str = "app-secret";

/// A running Airlock.
pub(super) struct World {
    pub s3: EmbeddedS3,
    pub engine: String,
    broker: MemoryBroker,
    notices: UnboundedReceiver<Notice>,
    app: App,
    settings: Settings,
    /// Whether the store announces what is created.
    announcing: Arc<AtomicBool>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl World {
    pub(super) async fn start(port: u16, engine: Engine) -> Result<Self, String> {
        let s3 = EmbeddedS3::start(port).await.map_err(|e| format!("the S3 endpoint could not be started: {e}"))?;
        for bucket in BUCKETS {
            s3.create_bucket(bucket, true);
        }
        let grants =
            vec![Grant::new("quarantine", &[Action::Write]), Grant::new("clean", &[Action::Read, Action::List])];
        s3.add_user(APP_KEY, APP_SECRET, grants);
        let (broker, notices) = MemoryBroker::new();
        let announcing = Arc::new(AtomicBool::new(true));
        s3.on_created({
            let (broker, announcing) = (broker.clone(), Arc::clone(&announcing));
            move |created| {
                if created.bucket == "quarantine" && announcing.load(Ordering::SeqCst) {
                    announce(&broker, &created.bucket, &created.key, created.version_id.as_deref());
                }
            }
        });
        let settings = settings(&s3.endpoint(), &s3.admin().access_key, &s3.admin().secret_key)?;
        let app_settings = self::settings(&s3.endpoint(), APP_KEY, APP_SECRET)?;
        let metrics = Arc::default();
        let jail = compose::jail(&settings, &metrics).map_err(|fault| fault.to_string())?;
        let store = s3::connect(&settings.s3).await;
        let pipeline = Arc::new(compose::pipeline(&settings, store, engine.engines, jail, &metrics));
        let (stop, health) = (CancellationToken::new(), Arc::new(Health::new(pipeline.judge.engines.names())));
        let (limits, circuit) = (compose::limits(&settings), Arc::new(Circuit::default()));
        let worker =
            Worker::new(broker.clone(), Arc::clone(&pipeline), limits, Arc::clone(&health), Arc::clone(&circuit));
        let worker = tokio::spawn({
            let (stop, warn_age) = (stop.clone(), settings.scan.warn_signature_age);
            async move {
                tokio::select! {
                    () = worker.run(stop) => {}
                    () = ops::probe_forever(&pipeline, &health, &circuit, warn_age) => {}
                }
            }
        });
        let app = App::connect(&app_settings.s3).await;
        Ok(Self { s3, engine: engine.description, broker, notices, app, settings, announcing, stop, worker })
    }

    /// What an application does: one PUT. The store announces it.
    pub(super) async fn upload(&self, file: &DemoFile) -> Result<(), String> {
        let put = self.app.put("quarantine", &file.key, file.bytes.clone(), file.declared.as_deref()).await;
        put.map(|_| ()).map_err(|e| format!("uploading {}: {e}", file.key))
    }

    /// A PUT whose event is lost on the way.
    pub(super) async fn upload_silently(&self, file: &DemoFile) -> Result<(), String> {
        self.announcing.store(false, Ordering::SeqCst);
        let uploaded = self.upload(file).await;
        self.announcing.store(true, Ordering::SeqCst);
        uploaded
    }

    /// An event without an object.
    pub(super) fn announce_only(&self, file: &DemoFile) {
        announce(&self.broker, "quarantine", &file.key, None);
    }

    /// The next verdict event.
    pub(super) async fn next_verdict(&mut self, patience: Duration) -> Result<Record, String> {
        #[derive(serde::Deserialize)]
        struct Verdict {
            data: Record,
        }
        loop {
            let notice = tokio::time::timeout(patience, self.notices.recv()).await;
            let notice = notice.map_err(|_| format!("no verdict within {} s", patience.as_secs()))?;
            let notice = notice.ok_or("the worker is gone")?;
            if !notice.routing_key.starts_with("fault.") {
                let verdict: Verdict = serde_json::from_slice(&notice.body).map_err(|e| e.to_string())?;
                return Ok(verdict.data);
            }
        }
    }

    /// The next dead letter.
    pub(super) async fn next_dead(&self, patience: Duration) -> Result<Message, String> {
        let waiting = async {
            loop {
                if let Some(dead) = self.broker.dead().into_iter().next() {
                    return dead;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, waiting).await.map_err(|_| "no dead letter came".to_owned())
    }

    pub(super) fn redrive(&self) {
        self.broker.redrive();
    }

    /// Copies all buckets to a folder. Keys become file names with everything unusual percent-encoded, so that no
    /// key can reach beyond the folder.
    pub(super) async fn keep(&self, dir: &Path) -> Result<(), String> {
        let admin = App::connect(&self.settings.s3).await;
        for bucket in BUCKETS {
            let folder = dir.join(bucket);
            std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            for key in admin.keys(bucket).await.map_err(|e| e.to_string())? {
                let bytes = admin.get(bucket, &key).await.map_err(|e| format!("{bucket}/{key}: {e}"))?;
                let path = folder.join(file_name(&key));
                std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        Ok(())
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // The worker has nothing under way; a panic in it would have shown before.
        let _ = self.worker.await;
    }
}

/// Settings as an operator would write them, with waits short enough to watch.
fn settings(endpoint: &str, key: &str, secret: &str) -> Result<Settings, String> {
    let flags = [
        format!("s3.endpoint={endpoint}"),
        format!("s3.access_key={key}"),
        format!("s3.secret_key={secret}"),
        "retry.tiers=[\"150ms\", \"300ms\"]".to_owned(),
    ];
    let sources = Sources { file: None, env: Vec::new(), flags: flags.to_vec() };
    config::load(&sources).map_err(|e| e.to_string())
}

/// Publishes the event of a new object.
fn announce(broker: &MemoryBroker, bucket: &str, key: &str, version: Option<&str>) {
    let (Ok(bucket), Ok(key)) = (Bucket::new(bucket), ObjectKey::new(key)) else { return };
    let version = VersionId::parse(version);
    let event = UploadEvent::new(ObjectRef { bucket, key, version });
    broker.send(message(event.to_json(), uuid::Uuid::new_v4().to_string()));
}

fn file_name(key: &str) -> String {
    key.bytes().fold(String::new(), |mut name, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b' ') || (b == b'.' && !name.is_empty()) {
            name.push(char::from(b));
        } else {
            name.push_str(&format!("%{b:02X}"));
        }
        name
    })
}
