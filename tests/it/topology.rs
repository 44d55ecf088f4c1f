//! The topology commands and the users with least rights, on a real broker.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use airlock::object::Sha256;
use lapin::BasicProperties;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::dlq::{airlock_in, json_lines, stderr, stdout};
use crate::process::airlock;
use crate::services::{rabbitmqctl, testdata, variable};
use crate::world::World;

/// A check against the definitions as the broker exports them now.
fn check_definitions(world: &World) -> Output {
    let export = rabbitmqctl(&["export_definitions", "-"]);
    let mut command = airlock();
    command.args(["topology", "check", "--json", "--definitions", "-"]).args(world.flags());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the binary runs");
    child.stdin.take().expect("a pipe").write_all(export.as_bytes()).expect("the export is taken");
    child.wait_with_output().expect("the binary ends")
}

/// Name and result of everything that is not as it should be.
fn bad(output: &Output) -> Vec<(String, String)> {
    let lines = json_lines(output).into_iter().filter(|l| l["result"] != "ok" && l["result"] != "not checked");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    lines.map(|l| (text(&l["name"]), text(&l["result"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_different_is_told_at_once_and_can_be_repaired() {
    let world = World::new("topo").await;
    let name = |last: &str| format!("{}.{last}", world.id);
    let check = || airlock_in(&world, &["topology", "check", "--json"]);

    // The world itself declares the exchange of the verdicts.
    let nothing = check();
    assert_eq!(nothing.status.code(), Some(1), "{}", stderr(&nothing));
    assert_eq!(bad(&nothing).len(), 8, "three exchanges, three queues, two tiers: {:?}", bad(&nothing));
    let applied = airlock_in(&world, &["topology", "apply"]);
    assert_eq!(applied.status.code(), Some(0), "{}", stderr(&applied));
    assert!(stdout(&applied).contains(&format!("'{}-dead'", world.id)), "the commands for policies");
    assert_eq!(check().status.code(), Some(0), "{}", stdout(&check()));

    let (bulk, dead) = (name("bulk"), name("dead"));
    for queue in [&bulk, &dead] {
        world.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    }
    let classic = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    world.channel.queue_declare(bulk.as_str().into(), classic, FieldTable::default()).await.expect("declared");
    let jobs = name("jobs");
    let unbound =
        world.channel.queue_unbind(name("work").into(), jobs.as_str().into(), "work".into(), FieldTable::default());
    unbound.await.expect("unbound");

    let wrong = check();
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(bad(&wrong), [(bulk.clone(), "different".into()), (dead.clone(), "missing".into())]);
    assert!(stdout(&wrong).contains("x-queue-type"), "it says what is different: {}", stdout(&wrong));
    let seen = bad(&check_definitions(&world));
    for lost in [format!("{jobs} --work--> {}", name("work")), format!("{}-dead", world.id), dead.clone()] {
        assert!(seen.contains(&(lost.clone(), "missing".into())), "{lost} in {seen:?}");
    }

    // A queue with other arguments is not touched by `apply`: somebody has to decide about its messages.
    assert_eq!(airlock_in(&world, &["topology", "apply"]).status.code(), Some(2));
    world.channel.queue_delete(bulk.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    assert_eq!(airlock_in(&world, &["topology", "apply"]).status.code(), Some(0));
    assert_eq!(check().status.code(), Some(0));
    let policies = [format!("{}-work", world.id), format!("{}-dead", world.id)].map(|name| (name, "missing".into()));
    assert_eq!(bad(&check_definitions(&world)), policies, "only what AMQP cannot set is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_the_definitions_can_do_their_work_and_no_more() {
    let mut world = World::new("rights").await;
    import(&world, |_| {});
    assert_eq!(bad(&check_definitions(&world)), []);
    let url = variable("AIRLOCK_TEST_AMQP").replace("guest:guest@", "");
    world.set("amqp.url", url);
    world.set("amqp.password", PASSWORD);
    world.set("amqp.topology", "check");
    world.set("amqp.user", format!("{}-worker", world.id));
    let worker = world.worker().await;
    world.submit("good.jpg", testdata("clean/skizze.jpg"), None).await;
    assert_eq!(world.next_verdict().await["verdict"], "clean");
    // Every way to settle: retries, a dead letter and its notice. The publisher adds what would close the worker's
    // channel, break its connection, multiply the message at each retry, and let the dead letter vanish.
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("work".into())].into()));
    headers.insert("heavy".into(), AMQPValue::LongString("x".repeat(130_600).into()));
    let properties = BasicProperties::default().with_message_id("late".into()).with_headers(headers);
    let properties = properties.with_user_id("guest".into()).with_expiration("5000".into());
    world.publish_to("events", "test", world.event("late.jpg", None).to_string().as_bytes(), properties).await;
    assert_eq!(world.next_notice().await.0, "fault.default");
    world.no_notice(Duration::from_secs(6)).await;
    world.until_depth("dead", 1).await;
    assert_eq!(airlock_in(&world, &["dlq", "list"]).status.code(), Some(69), "a worker may not read dead letters");

    world.set("amqp.user", format!("{}-operator", world.id));
    let checked = airlock_in(&world, &["topology", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    assert!(stdout(&checked).contains("may not compare"), "{}", stdout(&checked));
    assert_eq!(airlock_in(&world, &["topology", "apply"]).status.code(), Some(2), "an operator may declare nothing");
    world.upload("late.jpg", testdata("clean/skizze.jpg"), None).await;
    let redriven = airlock_in(&world, &["dlq", "redrive", "late"]);
    assert_eq!(redriven.status.code(), Some(0), "{}", stderr(&redriven));
    assert_eq!(world.next_verdict().await["verdict"], "clean");
    drop(worker);
}

pub const PASSWORD: &str = "not-a-secret";

/// Imports the definitions of a world, with a password for all users.
pub fn import(world: &World, change: impl FnOnce(&mut Value)) {
    let printed = airlock_in(world, &["topology", "print", "--json", "--users"]);
    let mut definitions: Value = serde_json::from_str(&stdout(&printed)).expect("definitions");
    for user in definitions["users"].as_array_mut().expect("users") {
        user["password_hash"] = json!(password_hash(PASSWORD));
    }
    change(&mut definitions);
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(file.path(), definitions.to_string()).expect("the definitions");
    // The broker runs as another user.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(file.path(), readable).expect("readable");
    rabbitmqctl(&["import_definitions", file.path().to_str().expect("UTF-8")]);
}

/// A password as RabbitMQ keeps it: Base64 of four bytes of salt and the digest of salt and password.
fn password_hash(password: &str) -> String {
    let salt = [1, 2, 3, 4];
    let digest = Sha256::of(&[&salt, password.as_bytes()].concat()).to_string();
    let digest = (0..32).map(|n| u8::from_str_radix(&digest[2 * n..2 * n + 2], 16).expect("hexadecimal"));
    let bytes: Vec<u8> = salt.into_iter().chain(digest).collect();
    assert_eq!(bytes.len() % 3, 0, "no padding");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let six = bytes.chunks(3).flat_map(|c| {
        let n = (u32::from(c[0]) << 16) | (u32::from(c[1]) << 8) | u32::from(c[2]);
        [18, 12, 6, 0].map(|shift| char::from(alphabet[(n >> shift) as usize & 63]))
    });
    six.collect()
}
