//! The services of one measurement: buckets and queues of its own, so that nothing is left from the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::Result;
use crate::files::Set;

/// Uploads at a time.
const UPLOADERS: usize = 8;

/// The buckets: where uploads wait, the two ends of their way, and Airlock's records.
const BUCKETS: [&str; 4] = ["quarantine", "clean", "rejected", "ledger"];

/// The longest a listing is expected to be, in pages of 1000.
const MAX_PAGES: usize = 1000;

pub struct Services {
    /// Part of every name.
    pub id: String,
    s3: aws_sdk_s3::Client,
    channel: Channel,
    _connection: Connection,
}

/// When the results arrived, by the store's clock.
#[derive(Default)]
pub struct Results {
    pub clean: Vec<DateTime>,
    pub rejected: Vec<DateTime>,
}

/// A variable that the script of the services sets.
pub fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| {
        format!(
            "{name} is not set. Call scripts/bench, or start services by scripts/services and source their env file"
        )
        .into()
    })
}

impl Services {
    /// Makes buckets and queues for a worker that consumes from `<id>.work`, a quorum queue or a classic one.
    pub async fn new(quorum: bool) -> Result<Self> {
        let id = format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let s3 = client()?;
        let url = variable("AIRLOCK_TEST_AMQP")?;
        let runtime = async_rs::TokioRuntime::tokio_current();
        let connection = Connection::connect_with_runtime(&url, ConnectionProperties::default(), runtime).await?;
        let channel = connection.create_channel().await?;
        let services = Self { id, s3, channel, _connection: connection };
        services.make_buckets().await?;
        services.make_queues(quorum).await?;
        Ok(services)
    }

    pub fn bucket(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    pub fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    async fn make_buckets(&self) -> Result<()> {
        for name in BUCKETS {
            let bucket = self.bucket(name);
            self.s3.create_bucket().bucket(&bucket).send().await?;
            // Ceph honours If-None-Match, which the ledger needs, only in buckets without versions.
            if name != "ledger" {
                let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
                self.s3.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await?;
            }
        }
        Ok(())
    }

    /// The work queue, and for the verdicts of Airlock somebody who is bound to them, as in any installation.
    async fn make_queues(&self, quorum: bool) -> Result<()> {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        if quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        self.channel.queue_declare(self.queue("work").into(), durable, arguments).await?;
        let (verdicts, app, none) = (self.queue("verdicts"), self.queue("app"), FieldTable::default());
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.channel.exchange_declare(verdicts.clone().into(), ExchangeKind::Topic, options, none.clone()).await?;
        self.channel.queue_declare(app.clone().into(), durable, none.clone()).await?;
        self.channel.queue_bind(app.into(), verdicts.into(), "#".into(), QueueBindOptions::default(), none).await?;
        Ok(())
    }

    /// Uploads a set; returns key and version of each file.
    pub async fn upload(&self, set: &Set, salt: u64) -> Result<Vec<(String, Option<String>)>> {
        let uploads = (0..set.count).map(|number| async move {
            let (key, body) = (set.file_name(number), set.file(number, salt));
            let put = self.s3.put_object().bucket(self.bucket("quarantine")).key(&key).body(body.into()).send().await?;
            Ok((key, put.version_id().map(str::to_owned)))
        });
        stream::iter(uploads).buffered(UPLOADERS).try_collect().await
    }

    /// Announces uploads. Airlock's own event has the two fields that a yardstick reads.
    pub async fn announce(&self, uploads: &[(String, Option<String>)]) -> Result<()> {
        let bucket = self.bucket("quarantine");
        let mut confirms = Vec::with_capacity(uploads.len());
        for (key, version) in uploads {
            let event = serde_json::json!({
                "schema": "airlock.upload.v1", "bucket": bucket, "key": key, "version_id": version,
            });
            let id = uuid::Uuid::new_v4().to_string();
            let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(id.into());
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let (queue, body) = (self.queue("work"), event.to_string());
            confirms
                .push(self.channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await?);
        }
        for confirm in confirms {
            if confirm.await?.take_message().is_some() {
                return Err("an event reached no queue".into());
            }
        }
        Ok(())
    }

    /// Whether a worker consumes.
    pub async fn has_consumer(&self) -> Result<bool> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(self.queue("work").into(), passive, FieldTable::default()).await?;
        Ok(queue.consumer_count() > 0)
    }

    /// Whether every upload has left quarantine.
    pub async fn is_done(&self) -> Result<bool> {
        let page = self.s3.list_objects_v2().bucket(self.bucket("quarantine")).max_keys(1).send().await?;
        Ok(page.contents().is_empty())
    }

    /// How many uploads are still in quarantine.
    pub async fn left(&self) -> Result<usize> {
        Ok(self.arrivals("quarantine").await?.len())
    }

    /// What came out.
    pub async fn results(&self) -> Result<Results> {
        Ok(Results { clean: self.arrivals("clean").await?, rejected: self.arrivals("rejected").await? })
    }

    async fn arrivals(&self, bucket: &str) -> Result<Vec<DateTime>> {
        let mut pages = self.s3.list_objects_v2().bucket(self.bucket(bucket)).into_paginator().send();
        let mut arrivals = Vec::new();
        while let Some(page) = pages.next().await {
            arrivals.extend(page?.contents().iter().filter_map(|o| o.last_modified().copied()));
        }
        Ok(arrivals)
    }

    /// Takes everything away again: the store may live in memory.
    pub async fn remove(self) -> Result<()> {
        for name in ["work", "dead", "app", "retry.1000"] {
            self.channel.queue_delete(self.queue(name).into(), QueueDeleteOptions::default()).await?;
        }
        for name in ["events", "verdicts", "jobs", "dlx"] {
            self.channel.exchange_delete(self.queue(name).into(), ExchangeDeleteOptions::default()).await?;
        }
        for name in BUCKETS {
            let bucket = self.bucket(name);
            self.empty(&bucket).await?;
            self.s3.delete_bucket().bucket(bucket).send().await?;
        }
        Ok(())
    }

    async fn empty(&self, bucket: &str) -> Result<()> {
        for _ in 0..MAX_PAGES {
            let page = self.s3.list_object_versions().bucket(bucket).send().await?;
            let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
            let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id()));
            let all: Vec<_> = versions.chain(markers).collect();
            if all.is_empty() {
                return Ok(());
            }
            let deletes = all.into_iter().map(|(key, version)| {
                let delete = self.s3.delete_object().bucket(bucket).set_key(key.map(str::to_owned));
                delete.set_version_id(version.map(str::to_owned)).send()
            });
            stream::iter(deletes).buffer_unordered(UPLOADERS).try_collect::<Vec<_>>().await?;
        }
        Err(format!("bucket {bucket} does not get empty").into())
    }

    /// The settings of an Airlock worker for these services.
    pub fn airlock_settings(&self) -> Result<BTreeMap<&'static str, String>> {
        Ok(BTreeMap::from([
            ("amqp.url", variable("AIRLOCK_TEST_AMQP")?),
            ("amqp.prefix", self.id.clone()),
            ("amqp.topology", "declare".to_owned()),
            ("s3.endpoint", variable("AIRLOCK_TEST_S3")?),
            ("s3.access_key", variable("AIRLOCK_TEST_S3_KEY")?),
            ("s3.secret_key", variable("AIRLOCK_TEST_S3_SECRET")?),
            ("ledger.bucket", self.bucket("ledger")),
            ("clamd.addresses", format!("[\"{}\"]", variable("AIRLOCK_TEST_CLAMD")?)),
            ("retry.tiers", "[\"1s\"]".to_owned()),
            ("ops.listen", "off".to_owned()),
        ]))
    }

    /// The environment of a yardstick worker for these services.
    pub fn peer_environment(&self) -> Result<BTreeMap<&'static str, String>> {
        Ok(BTreeMap::from([
            ("AMQP_URL", variable("AIRLOCK_TEST_AMQP")?),
            ("QUEUE", self.queue("work")),
            ("S3_ENDPOINT", variable("AIRLOCK_TEST_S3")?),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", variable("AIRLOCK_TEST_S3_KEY")?),
            ("AWS_SECRET_ACCESS_KEY", variable("AIRLOCK_TEST_S3_SECRET")?),
            ("CLEAN_BUCKET", self.bucket("clean")),
            ("REJECTED_BUCKET", self.bucket("rejected")),
            ("CLAMD_ADDR", variable("AIRLOCK_TEST_CLAMD")?.trim_start_matches("tcp://").to_owned()),
        ]))
    }
}

/// A client with the keys that may do everything.
fn client() -> Result<aws_sdk_s3::Client> {
    use aws_sdk_s3::config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, timeout::TimeoutConfig,
    };
    let (key, secret) = (variable("AIRLOCK_TEST_S3_KEY")?, variable("AIRLOCK_TEST_S3_SECRET")?);
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(variable("AIRLOCK_TEST_S3")?)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key, secret, None, None, "benchmark"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_mins(1)).build())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ok(aws_sdk_s3::Client::from_conf(config))
}
