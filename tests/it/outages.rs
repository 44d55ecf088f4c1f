//! Each dependency goes away in each way in which networks and services do, for some seconds, with work before,
//! meanwhile and behind. Then everything is judged once, nothing is a dead letter, and work goes on by itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use serde_json::Value;

use crate::cases::run;
use crate::flow::Mode;
use crate::front::{Front, NOTHING};
use crate::gate::Protocol;
use crate::proxy::Proxy;
use crate::services::{clamd, testdata};
use crate::settled::Upload;
use crate::world::World;

/// The longest time from the end of an outage to the next verdict.
const RESUMED: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(4);
/// Longer than it takes to notice that the broker keeps silent.
const SILENCE: Duration = Duration::from_secs(24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dependency {
    S3,
    RabbitMq,
    Clamd,
}

use Dependency::{Clamd, RabbitMq, S3};

#[tokio::test(flavor = "multi_thread")]
async fn of_the_store() {
    outages(&[
        (S3, Mode::Refuse, SHORT),
        (S3, Mode::Drop, SHORT),
        (S3, Mode::BlackHole, SHORT),
        (S3, Mode::Slow(4_000), SHORT),
        (S3, Mode::CutUp(4_000), SHORT),
        (S3, Mode::CutDown(4_000), SHORT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_broker() {
    outages(&[
        (RabbitMq, Mode::BlackHole, SILENCE),
        (RabbitMq, Mode::BlackHole, SHORT),
        (RabbitMq, Mode::Refuse, SHORT),
        (RabbitMq, Mode::Drop, SHORT),
        (RabbitMq, Mode::Slow(1_000), SHORT),
        (RabbitMq, Mode::CutUp(2_500), SHORT),
        (RabbitMq, Mode::CutDown(2_500), SHORT),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_scanner() {
    outages(&[
        (Clamd, Mode::Refuse, SHORT),
        (Clamd, Mode::Drop, SHORT),
        (Clamd, Mode::BlackHole, SHORT),
        (Clamd, Mode::Slow(2_000), SHORT),
        (Clamd, Mode::CutUp(4_000), SHORT),
        (Clamd, Mode::CutDown(5), SHORT),
    ])
    .await;
}

async fn outages(rows: &[(Dependency, Mode, Duration)]) {
    run(rows
        .iter()
        .map(|&(what, mode, time)| (format!("{what:?}, {mode:?}, {time:?}"), outage(what, mode, time).boxed())))
    .await;
}

/// Ten uploads before, ten meanwhile, ten behind.
async fn outage(dependency: Dependency, mode: Mode, time: Duration) -> Vec<String> {
    let mut world = World::new("outage").await;
    let front = Front::of(&mut world, NOTHING).await;
    world.set("s3.timeout", "2s");
    // Every attempt that an outage of the store burns is one that a longer outage would be short of.
    world.set("retry.attempts", "100");
    let proxy = match dependency {
        S3 => &front.s3,
        RabbitMq => &front.amqp,
        Clamd => &scanner(&mut world).await,
    };
    let worker = world.worker().await;
    let mut uploads = Vec::new();
    let mut notices = Vec::new();
    ten(&world, &mut uploads).await;
    until_all_are_noticed(&mut world, uploads.len(), &mut notices).await;
    world.until_judged().await;

    proxy.set(mode);
    ten(&world, &mut uploads).await;
    tokio::time::sleep(time).await;
    notices.extend(world.notices().await);
    if matches!(mode, Mode::Refuse | Mode::Drop | Mode::BlackHole) {
        assert_eq!(noticed(&notices), 10, "while it is away nothing is judged");
    }
    proxy.set(Mode::Pass);
    let ended = Instant::now();
    ten(&world, &mut uploads).await;
    notices.push(world.next_notice().await.1["data"].clone());
    let resumed = ended.elapsed();
    until_all_are_noticed(&mut world, uploads.len(), &mut notices).await;
    println!("| {dependency:?} | {mode:?} | {time:?} | {resumed:.1?} | {:.1?} |", ended.elapsed());

    // A deletion that fails does not fail its job: it is made up for when what is left in quarantine is announced again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for upload in &uploads {
        if world.is_left(upload).await {
            assert_eq!(dependency, S3, "only a store that is away keeps {} in quarantine", upload.key);
            world.announce(upload).await;
        }
    }
    world.rest(vec![worker]).await;
    notices.extend(world.notices().await);
    let mut wrongs = Vec::new();
    if resumed > RESUMED {
        wrongs.push(format!("no verdict for {resumed:?}"));
    }
    for upload in &uploads {
        let these = world.wrongs(upload, "clean", &notices).await;
        wrongs.extend(these.into_iter().map(|wrong| format!("{}: {wrong}", upload.key)));
    }
    wrongs
}

/// The shared clamd behind a proxy, instead of rules in the worker's own process.
async fn scanner(world: &mut World) -> Proxy {
    let proxy = Proxy::start(Protocol::Opaque, clamd().trim_start_matches("tcp://")).await;
    world.set("scan.engines", "[\"clamd\"]");
    world.set("clamd.addresses", format!("[\"tcp://{}\"]", proxy.address()));
    world.set("clamd.timeout", "3s");
    proxy
}

async fn ten(world: &World, uploads: &mut Vec<Upload>) {
    for _ in 0..10 {
        let upload = world.put(&format!("{}.jpg", uploads.len()), testdata("clean/skizze.jpg")).await;
        world.announce(&upload).await;
        uploads.push(upload);
    }
}

/// Waits until there are notices of so many uploads.
async fn until_all_are_noticed(world: &mut World, uploads: usize, notices: &mut Vec<Value>) {
    while noticed(notices) < uploads {
        notices.push(world.next_notice().await.1["data"].clone());
    }
}

/// Of how many uploads there are notices.
fn noticed(notices: &[Value]) -> usize {
    notices.iter().filter_map(|n| n["source"]["key"].as_str()).collect::<BTreeSet<_>>().len()
}
