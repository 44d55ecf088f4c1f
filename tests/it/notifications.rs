//! The real thing from end to end: an application with its own keys uploads, the store itself publishes the event,
//! the worker has a user of its own with the rights that the documentation names.

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::types::{Event, NotificationConfiguration, PublicAccessBlockConfiguration, TopicConfiguration};
use serde_json::{Value, json};

use crate::services::{root, testdata, variable};
use crate::world::{World, client};

/// The rights of `deploy/s3/{worker,app}.json` in one bucket of this world, as a bucket policy: Ceph 16 has no
/// policies of users.
fn policy(world: &World, bucket: &str) -> String {
    let mut statements = Vec::new();
    for user in ["worker", "app"] {
        let path = root().join(format!("deploy/s3/{user}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let document: Value = serde_json::from_str(&text).expect("a policy");
        for statement in document["Statement"].as_array().expect("statements") {
            let resources: Vec<String> = match &statement["Resource"] {
                Value::Array(list) => list.iter().filter_map(|r| r.as_str().map(str::to_owned)).collect(),
                one => one.as_str().map(str::to_owned).into_iter().collect(),
            };
            let (plain, below) = (format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*"));
            let here: Vec<String> = resources
                .into_iter()
                .filter(|r| *r == plain || *r == below)
                .map(|r| r.replace(bucket, &world.bucket(bucket)))
                .collect();
            if !here.is_empty() {
                let mut statement = statement.clone();
                statement["Resource"] = json!(here);
                statement["Principal"] = json!({"AWS": [format!("arn:aws:iam:::user/{user}")]});
                statements.push(statement);
            }
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

async fn put_policies(world: &World) {
    for name in ["quarantine", "clean", "rejected", "ledger"] {
        let put = world.s3.put_bucket_policy().bucket(world.bucket(name)).policy(policy(world, name));
        put.send().await.expect("the policy");
    }
    // With block_public_acls Ceph 16 refuses every PUT; ignoring such ACLs protects as well.
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(false)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let put = world.s3.put_public_access_block().bucket(world.bucket("quarantine"));
    put.public_access_block_configuration(block).send().await.expect("no public access");
}

/// Creates a topic at the store's own SNS endpoint and subscribes the bucket to it.
async fn notify(world: &World) {
    let broker = variable("AIRLOCK_TEST_AMQP");
    let broker = format!("amqp://{}", broker.rsplit('@').next().expect("an address"));
    let topic = format!("uploads-{}", world.id);
    let arn = crate::samples::create_topic(&topic, &broker, &format!("{}.events", world.id)).await;
    let configuration = TopicConfiguration::builder()
        .id("uploads")
        .topic_arn(arn)
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .expect("a configuration");
    let configuration = NotificationConfiguration::builder().topic_configurations(configuration).build();
    let put = world.s3.put_bucket_notification_configuration().bucket(world.bucket("quarantine"));
    put.notification_configuration(configuration).send().await.expect("the notification");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_uploads_and_the_store_itself_publishes_the_event() {
    let mut world = World::new("e2e").await;
    put_policies(&world).await;
    world.set("s3.access_key", variable("AIRLOCK_TEST_S3_WORKER_KEY"));
    world.set("s3.secret_key", variable("AIRLOCK_TEST_S3_WORKER_SECRET"));
    let _worker = world.worker().await;
    notify(&world).await;

    let app = client(&variable("AIRLOCK_TEST_S3_APP_KEY"), &variable("AIRLOCK_TEST_S3_APP_SECRET")).await;
    let quarantine = world.bucket("quarantine");
    let key = "alice/a b+c%2B é/photo.jpg";
    let body = testdata("clean/holiday-photo.jpg");
    let put = app.put_object().bucket(&quarantine).key(key).content_type("image/jpeg").body(body.into());
    put.send().await.expect("the application may upload");

    // Neither the application nor another user can read what nobody has looked at.
    let mallory = client(&variable("AIRLOCK_TEST_S3_MALLORY_KEY"), &variable("AIRLOCK_TEST_S3_MALLORY_SECRET")).await;
    for user in [&app, &mallory] {
        let got = user.get_object().bucket(&quarantine).key(key).send().await;
        let denied = got.err().and_then(|e| e.into_service_error().meta().code().map(str::to_owned));
        assert!(matches!(denied.as_deref(), Some("AccessDenied")), "{denied:?}");
    }

    let record = world.next_verdict().await;
    assert_eq!(record["verdict"], "clean", "{record}");
    assert_eq!(record["source"]["key"], json!(key));
    assert_eq!(record["sanitized"]["orientation_applied"], 6);
    let removed = record["sanitized"]["removed"].as_array().expect("a list");
    assert!(removed.contains(&json!("gps")), "{removed:?}");

    let clean = app.get_object().bucket(world.bucket("clean")).key(key).send().await.expect("the application may read");
    assert_eq!(clean.content_type(), Some("image/jpeg"));
    assert_eq!(clean.version_id(), record["output"]["version_id"].as_str());
    let theirs = mallory.get_object().bucket(world.bucket("clean")).key(key).send().await;
    assert!(theirs.is_err_and(|e| !matches!(e.into_service_error(), GetObjectError::NoSuchKey(_))));
    world.until_judged().await;
}
