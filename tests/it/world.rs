//! A world per test: buckets on the real store, exchanges and queues in the real broker, a bound verdict queue.

use std::collections::BTreeMap;
use std::time::Duration;

use airlock::config::{self, Sources};
use airlock::store::s3::App;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use serde_json::Value;

use crate::process::WorkerProcess;
use crate::services::{clamd, variable};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct World {
    /// Unique: part of every name.
    pub id: String,
    /// The store's admin, who may look everywhere.
    pub s3: aws_sdk_s3::Client,
    /// The application's client; in this world with the admin's keys.
    pub app: App,
    settings: BTreeMap<String, String>,
    /// Routes come only from a file.
    config: tempfile::NamedTempFile,
    /// The admin's channel, with confirms.
    pub channel: Channel,
    verdicts: Consumer,
    connection: Connection,
}

impl World {
    /// Buckets with versions, and a worker's settings for them.
    pub async fn new(name: &str) -> Self {
        Self::on(name, &variable("AIRLOCK_TEST_AMQP")).await
    }

    /// The same with a broker of its own.
    pub async fn on(name: &str, amqp: &str) -> Self {
        let id = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let mut settings = settings(&id);
        settings.insert("amqp.url".to_owned(), amqp.to_owned());
        let s3 = admin().await;
        for bucket in ["quarantine", "clean", "rejected"] {
            create_bucket(&s3, &format!("{bucket}-{id}")).await;
        }
        // Ceph honours If-None-Match only in buckets without versions.
        s3.create_bucket().bucket(format!("ledger-{id}")).send().await.expect("the ledger bucket");
        let config = config_file(&id);
        let flags = settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let sources = Sources { file: Some(config.path().to_owned()), env: Vec::new(), flags };
        let app = App::connect(&config::load(&sources).expect("valid settings").s3).await;
        let (connection, channel, verdicts) = broker(&id, amqp).await;
        Self { id, s3, app, settings, config, channel, verdicts, connection }
    }

    /// Another value for one setting of the workers to come.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// The command line that names this world's configuration.
    pub fn flags(&self) -> Vec<String> {
        let file = self.config.path().to_string_lossy().into_owned();
        let set = self.settings.iter().flat_map(|(k, v)| ["--set".to_owned(), format!("{k}={v}")]);
        ["--config".to_owned(), file].into_iter().chain(set).collect()
    }

    /// The application does not listen any more, or does again.
    pub async fn listen(&self, listens: bool) {
        let (queue, exchange) = (format!("{}.app", self.id), format!("{}.verdicts", self.id));
        let (queue, exchange, all) = (queue.as_str().into(), exchange.as_str().into(), "#".into());
        let done = if listens {
            self.channel.queue_bind(queue, exchange, all, QueueBindOptions::default(), FieldTable::default()).await
        } else {
            self.channel.queue_unbind(queue, exchange, all, FieldTable::default()).await
        };
        done.expect("the binding of the application's queue");
    }

    /// Connects the application again, after its broker was gone.
    pub async fn reconnect(&mut self) {
        (self.connection, self.channel, self.verdicts) = broker(&self.id, &self.settings["amqp.url"]).await;
    }

    pub async fn worker(&self) -> WorkerProcess {
        WorkerProcess::start(&self.flags()).await
    }

    pub fn bucket(&self, name: &str) -> String {
        format!("{name}-{}", self.id)
    }

    /// PUT into quarantine; returns the version.
    pub async fn upload(&self, key: &str, bytes: Vec<u8>, content_type: Option<&str>) -> String {
        let put = self.app.put(&self.bucket("quarantine"), key, bytes.into(), content_type).await;
        put.expect("the upload").expect("a version")
    }

    /// Our own event for an object.
    pub fn event(&self, key: &str, version: Option<&str>) -> Value {
        serde_json::json!({
            "schema": "airlock.upload.v1", "bucket": self.bucket("quarantine"), "key": key, "version_id": version,
        })
    }

    pub async fn publish(&self, event: &Value) {
        self.publish_raw(event.to_string().as_bytes(), &uuid::Uuid::new_v4().to_string()).await;
    }

    pub async fn publish_raw(&self, body: &[u8], message_id: &str) {
        let properties = BasicProperties::default().with_message_id(message_id.into()).with_delivery_mode(2);
        self.publish_to("events", "test", body, properties).await;
    }

    /// Publishes to one of the world's exchanges.
    pub async fn publish_to(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let exchange = format!("{}.{exchange}", self.id);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        let confirm = published.expect("a publish").await.expect("a confirm");
        assert!(confirm.take_message().is_none(), "the message reached no queue");
    }

    /// Uploads and announces.
    pub async fn submit(&self, key: &str, bytes: Vec<u8>, content_type: Option<&str>) {
        let version = self.upload(key, bytes, content_type).await;
        self.publish(&self.event(key, Some(&version))).await;
    }

    /// The next notice: routing key and CloudEvent.
    pub async fn next_notice(&mut self) -> (String, Value) {
        self.notice_within(PATIENCE).await.expect("a notice in time")
    }

    /// The next notice, if one comes so soon.
    pub async fn notice_within(&mut self, patience: Duration) -> Option<(String, Value)> {
        let (key, _, event) = self.whole_notice_within(patience).await?;
        Some((key, event))
    }

    /// The next notice: routing key, text headers and CloudEvent.
    pub async fn next_notice_whole(&mut self) -> (String, BTreeMap<String, String>, Value) {
        self.whole_notice_within(PATIENCE).await.expect("a notice in time")
    }

    /// One that has come is never lost: only the wait for it ends early.
    async fn whole_notice_within(&mut self, patience: Duration) -> Option<(String, BTreeMap<String, String>, Value)> {
        let next = tokio::time::timeout(patience, self.verdicts.next()).await.ok()?;
        let delivery = next.expect("the verdict queue lives").expect("a delivery");
        delivery.ack(BasicAckOptions::default()).await.expect("an ack");
        let event: Value = serde_json::from_slice(&delivery.data).expect("a notice is JSON");
        Some((delivery.routing_key.to_string(), text_headers(&delivery.properties), event))
    }

    /// The next verdict record; anything else than a verdict is a failure.
    pub async fn next_verdict(&mut self) -> Value {
        let (key, event) = self.next_notice().await;
        assert!(!key.starts_with("fault."), "a fault where a verdict was expected: {event}");
        event["data"].clone()
    }

    /// The next verdict record, if one comes so soon.
    pub async fn verdict_within(&mut self, patience: Duration) -> Option<Value> {
        let (key, event) = self.notice_within(patience).await?;
        assert!(!key.starts_with("fault."), "a fault where a verdict was expected: {event}");
        Some(event["data"].clone())
    }

    /// Asserts that no notice comes for a while.
    pub async fn no_notice(&mut self, for_so_long: Duration) {
        if let Ok(Some(Ok(delivery))) = tokio::time::timeout(for_so_long, self.verdicts.next()).await {
            panic!("an unexpected notice: {}", String::from_utf8_lossy(&delivery.data));
        }
    }

    /// The next dead letter, with its text headers.
    pub async fn next_dead(&self) -> (BTreeMap<String, String>, Vec<u8>) {
        self.next_in("dead").await
    }

    /// The next message in one of the world's queues, with its text headers.
    pub async fn next_in(&self, queue: &str) -> (BTreeMap<String, String>, Vec<u8>) {
        let queue = format!("{}.{queue}", self.id);
        let waiting = async {
            loop {
                let got = self.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await;
                if let Some(message) = got.expect("the queue is there") {
                    return message.delivery;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let delivery = tokio::time::timeout(PATIENCE, waiting).await.expect("a message in time");
        (text_headers(&delivery.properties), delivery.data)
    }

    /// Takes everything that is ready out of the work queue: message ids and bodies.
    pub async fn take_work(&self) -> Vec<(String, Value)> {
        let queue = format!("{}.work", self.id);
        let mut taken = Vec::new();
        loop {
            let got = self.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true }).await;
            let Some(message) = got.expect("the work queue is there") else { return taken };
            let id = message.delivery.properties.message_id().clone().expect("an id").to_string();
            taken.push((id, serde_json::from_slice(&message.delivery.data).expect("an event is JSON")));
        }
    }

    /// Waits until one of the world's queues has so many ready messages.
    pub async fn until_depth(&self, queue: &str, depth: u32) {
        let started = std::time::Instant::now();
        loop {
            let now = self.depth(queue).await;
            if now == depth {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{queue} has {now} messages, not {depth}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ready messages of one of the world's queues.
    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}.{queue}", self.id);
        let queue = self.channel.queue_declare(name.into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count()
    }

    /// The current keys of one of the world's buckets.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        self.app.keys(&self.bucket(bucket)).await.expect("a listing")
    }

    /// All versions and delete markers in one of the world's buckets.
    pub async fn versions(&self, bucket: &str) -> usize {
        let listed = self.s3.list_object_versions().bucket(self.bucket(bucket)).send().await.expect("a listing");
        listed.versions().len() + listed.delete_markers().len()
    }

    /// Waits until quarantine is empty: a source is deleted behind its notice.
    pub async fn until_judged(&self) {
        let started = std::time::Instant::now();
        while self.versions("quarantine").await > 0 {
            assert!(started.elapsed() < PATIENCE, "a source version is still in quarantine");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.app.get(&self.bucket(bucket), key).await.expect("the object is there").to_vec()
    }
}

/// The headers whose value is text.
fn text_headers(properties: &BasicProperties) -> BTreeMap<String, String> {
    let headers = properties.headers().iter().flat_map(FieldTable::inner);
    headers.filter_map(|(name, value)| Some((name.to_string(), value.as_long_string()?.to_string()))).collect()
}

/// The route of a world.
fn config_file(id: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
    let route =
        format!("[[route]]\nquarantine = \"quarantine-{id}\"\nclean = \"clean-{id}\"\nrejected = \"rejected-{id}\"\n");
    std::fs::write(file.path(), route).expect("the configuration is written");
    file
}

/// A worker's settings for the services of this run.
fn settings(id: &str) -> BTreeMap<String, String> {
    let settings = [
        ("amqp.url", variable("AIRLOCK_TEST_AMQP")),
        ("amqp.prefix", id.to_owned()),
        ("amqp.topology", "declare".to_owned()),
        ("s3.endpoint", variable("AIRLOCK_TEST_S3")),
        ("s3.access_key", variable("AIRLOCK_TEST_S3_KEY")),
        ("s3.secret_key", variable("AIRLOCK_TEST_S3_SECRET")),
        ("ledger.bucket", format!("ledger-{id}")),
        ("clamd.addresses", format!("[\"{}\"]", clamd())),
        ("retry.tiers", "[\"100ms\", \"200ms\"]".to_owned()),
        ("retry.attempts", "3".to_owned()),
        ("limits.jobs", "4".to_owned()),
    ];
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An SDK client with the store's admin keys.
pub async fn admin() -> aws_sdk_s3::Client {
    client(&variable("AIRLOCK_TEST_S3_KEY"), &variable("AIRLOCK_TEST_S3_SECRET")).await
}

/// An SDK client with these keys.
pub async fn client(key: &str, secret: &str) -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(variable("AIRLOCK_TEST_S3"))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key, secret, None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// A bucket with versions.
pub async fn create_bucket(s3: &aws_sdk_s3::Client, name: &str) {
    s3.create_bucket().bucket(name).send().await.expect("the bucket is created");
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket(name).versioning_configuration(versioning).send().await.expect("versioning");
}

/// A channel with confirms, and a consumer bound to every verdict.
async fn broker(id: &str, url: &str) -> (Connection, Channel, Consumer) {
    let runtime = async_rs::TokioRuntime::tokio_current();
    let connection = Connection::connect_with_runtime(url, ConnectionProperties::default(), runtime).await;
    let connection = connection.expect("the broker answers");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.expect("confirms");
    let exchange = format!("{id}.verdicts");
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .expect("the verdict exchange");
    let queue = format!("{id}.app");
    let durable_queue = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel
        .queue_declare(queue.as_str().into(), durable_queue, FieldTable::default())
        .await
        .expect("the application's queue");
    channel
        .queue_bind(
            queue.as_str().into(),
            exchange.as_str().into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("the application's binding");
    let consumer = channel
        .basic_consume(queue.as_str().into(), "app".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .expect("the application's consumer");
    (connection, channel, consumer)
}
