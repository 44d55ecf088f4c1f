//! Whose fault it is: messages that end workers are found out, and the victims of outages are not condemned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::flow::Mode;
use crate::front::{Front, NOTHING};
use crate::gate::Act;
use crate::process::WorkerProcess;
use crate::services::{PrivateClamd, testdata};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_every_worker_is_dead_after_three_runs_alone() {
    let mut world = World::new("loop").await;
    let front = Front::of(&mut world, NOTHING).await;
    let step = format!("GET /quarantine-{}/deadly.jpg", world.id);
    world.set("limits.jobs", "1");
    let prepare = world.worker().await;
    drop(prepare);
    world.submit("deadly.jpg", testdata("clean/skizze.jpg"), None).await;
    let mut deaths = 0;
    loop {
        let mut gate = front.at(&step).gate(&step, Act::HoldRequest);
        let mut worker = WorkerProcess::spawn(&world.flags());
        let held = tokio::select! {
            held = gate.reached() => held,
            (headers, _) = world.next_dead() => {
                assert_eq!(headers["x-airlock-error-code"], "crash_loop", "{headers:?}");
                // Three deliveries may be anybody's accident, three runs alone are not.
                assert_eq!(deaths, 6);
                break;
            }
        };
        deaths += 1;
        assert!(deaths < 10, "it goes on for ever: {}", worker.log());
        worker.kill();
        drop(held);
    }
    let _worker = world.worker().await;
    world.submit("harmless.jpg", testdata("clean/skizze.jpg"), None).await;
    loop {
        let (key, event) = world.next_notice().await;
        match key.as_str() {
            "fault.default" => assert_eq!(event["data"]["code"], "crash_loop"),
            _ => break assert_eq!(event["data"]["source"]["key"], "harmless.jpg"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_costs_only_those_it_meets() {
    let mut world = World::new("circuit").await;
    let front = Front::of(&mut world, NOTHING).await;
    world.set("retry.attempts", "2");
    let worker = world.worker().await;
    front.s3.set(Mode::Refuse);
    // Straight to the store: the application has no proxy.
    for n in 0..30 {
        world.submit(&format!("{n}.jpg"), testdata("clean/skizze.jpg"), None).await;
    }
    worker.until("the circuit opens", |w| w.log().contains("no work is taken: s3")).await;
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains("s3.unavailable"), "{body}");
    assert_eq!(worker.get("/livez").await.0, 200);
    // Whatever was in flight has had its second attempt meanwhile, if anything had one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.depth("work").await >= 20, "most have not been tried");
    front.s3.set(Mode::Pass);
    for _ in 0..30 {
        assert_eq!(world.next_verdict().await["verdict"], "clean");
    }
    assert_eq!(world.depth("dead").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_hears_verdicts_no_work_is_taken_and_none_is_lost() {
    let mut world = World::new("unheard").await;
    let _front = Front::of(&mut world, NOTHING).await;
    world.set("retry.attempts", "1");
    let worker = world.worker().await;
    world.listen(false).await;
    for n in 0..5 {
        world.submit(&format!("{n}.jpg"), testdata("clean/skizze.jpg"), None).await;
    }
    worker.until("it says so", |w| w.log().contains("no work is taken: verdicts: no queue is bound")).await;
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains("for key clean.default"), "{body}");
    assert_eq!(worker.terminate().await, Some(0), "a worker that waits can be stopped");
    let _worker = WorkerProcess::spawn(&world.flags());
    world.listen(true).await;
    let mut keys = BTreeSet::new();
    while keys.len() < 5 {
        keys.insert(world.next_verdict().await["source"]["key"].to_string());
    }
    assert_eq!(world.depth("dead").await, 0, "an outage burns no attempt");
}

/// In a file that ends the clamd which scans it.
const DEADLY: &[u8] = b"this comment ends a scanner";

/// A clamd that ends when it gets [`DEADLY`] bytes, and that somebody starts again.
struct Mortal {
    address: String,
    scene: Arc<Scene>,
}

/// What the connections to a [`Mortal`] share.
struct Scene {
    clamd: PrivateClamd,
    upstream: String,
    /// Pictures that are being scanned just now, the deadly one included.
    pictures: AtomicUsize,
    /// While a deadly file is here nobody gets an answer: whoever else is being scanned goes down with it.
    doomed: watch::Sender<bool>,
    /// For each death, how many pictures were being scanned.
    deaths: Mutex<Vec<usize>>,
}

impl Mortal {
    async fn start() -> Self {
        let clamd = PrivateClamd::start(&[]);
        let upstream = clamd.address().trim_start_matches("tcp://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = format!("tcp://{}", listener.local_addr().expect("an address"));
        let (pictures, doomed, deaths) = (AtomicUsize::new(0), watch::Sender::new(false), Mutex::default());
        let scene = Arc::new(Scene { clamd, upstream, pictures, doomed, deaths });
        tokio::spawn(accept(listener, Arc::clone(&scene)));
        Self { address, scene }
    }

    fn deaths(&self) -> Vec<usize> {
        self.scene.deaths.lock().expect("nobody panics under the lock").clone()
    }
}

async fn accept(listener: TcpListener, scene: Arc<Scene>) {
    while let Ok((client, _)) = listener.accept().await {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&scene.upstream).await else { return };
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            let answers = async {
                let mut bytes = vec![0; 16 << 10];
                while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                    let unharmed = scene.doomed.subscribe().wait_for(|doomed| !doomed).await.is_ok();
                    if !unharmed || to_client.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                }
            };
            let mut is_picture = false;
            tokio::select! { () = answers => {}, () = questions(from_client, to_server, &scene, &mut is_picture) => {} }
            scene.pictures.fetch_sub(usize::from(is_picture), Ordering::SeqCst);
        });
    }
}

/// What goes to clamd, until it is deadly.
async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, scene: &Arc<Scene>, is_picture: &mut bool) {
    let holds = |seen: &[u8], part: &[u8]| seen.windows(part.len()).any(|w| w == part);
    let (mut seen, mut bytes) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        seen.extend_from_slice(&bytes[..n]);
        if !*is_picture && holds(&seen, &[0xFF, 0xD8, 0xFF]) {
            *is_picture = true;
            scene.pictures.fetch_add(1, Ordering::SeqCst);
        }
        if holds(&seen, DEADLY) {
            scene.doomed.send_replace(true);
            // Apart from this connection, which ends with its clamd.
            let death = tokio::spawn(death(Arc::clone(scene)));
            return death.await.expect("clamd is killed");
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

async fn death(scene: Arc<Scene>) {
    // For others to come, if anybody may.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let company = scene.pictures.load(Ordering::SeqCst);
    scene.deaths.lock().expect("nobody panics under the lock").push(company);
    tokio::task::spawn_blocking(move || {
        scene.clamd.crash();
        scene.doomed.send_replace(false);
        std::thread::sleep(Duration::from_secs(1));
        scene.clamd.again(&[]);
    });
}

/// A sound JPEG with a comment.
fn deadly() -> Vec<u8> {
    let picture = testdata("clean/skizze.jpg");
    let length = u16::try_from(DEADLY.len() + 2).expect("a short comment").to_be_bytes();
    [&picture[..2], &[0xFF, 0xFE], &length, DEADLY, &picture[2..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_every_scanner_is_a_dead_letter_and_harms_nobody_else() {
    let mut world = World::new("deadly").await;
    let mortal = Mortal::start().await;
    world.set("clamd.addresses", format!("[\"{}\"]", mortal.address));
    let worker = world.worker().await;
    let mut uploads = Vec::new();
    for n in 0..10 {
        uploads.push(world.put(&format!("{n}.jpg"), testdata("clean/skizze.jpg")).await);
    }
    let poison = world.put("deadly.jpg", deadly()).await;
    world.announce(&uploads[0]).await;
    world.announce(&poison).await;
    for upload in &uploads[1..] {
        world.announce(upload).await;
    }

    let (headers, _) = world.next_dead().await;
    assert_eq!(headers["x-airlock-error-code"], "clamd.unavailable", "{headers:?}");
    assert_eq!((headers["x-airlock-attempt"].as_str(), headers["x-airlock-suspect"].as_str()), ("3", "1"));
    let deaths = mortal.deaths();
    assert_eq!(deaths.len(), 3, "as often as retry.attempts says, and not for ever: {deaths:?}");
    assert!(deaths[0] > 1, "the first time others are scanned beside it: {deaths:?}");
    assert_eq!(deaths[1..], [1, 1], "then it is alone");

    let (mut verdicts, mut faults) = (BTreeMap::<String, BTreeSet<String>>::new(), Vec::new());
    while verdicts.len() < 10 || faults.is_empty() {
        let (key, event) = world.next_notice().await;
        let data = &event["data"];
        let source = data["source"]["key"].as_str().expect("a key").to_owned();
        if key.starts_with("fault.") {
            assert_eq!((source.as_str(), &data["code"]), ("deadly.jpg", &"clamd.unavailable".into()));
            faults.push(source);
            continue;
        }
        assert_eq!((key.as_str(), &data["verdict"]), ("clean.default", &"clean".into()), "{source}");
        verdicts.entry(source).or_default().insert(data["id"].to_string());
    }
    assert!(!verdicts.contains_key("deadly.jpg"), "nobody has looked at it");
    assert!(verdicts.values().all(|ids| ids.len() == 1), "{verdicts:?}");
    world.submit("behind.jpg", testdata("clean/skizze.jpg"), None).await;
    assert_eq!(world.next_verdict().await["source"]["key"], "behind.jpg", "the same worker goes on");
    let started = std::time::Instant::now();
    while worker.get("/readyz").await.0 != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "not ready again; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.no_notice(Duration::from_millis(500)).await;
    assert_eq!((mortal.deaths().len(), world.depth("work").await, world.depth("dead").await), (3, 0, 0));
    assert_eq!(world.keys("quarantine").await, ["deadly.jpg"], "it stays where nobody reads it");
    assert_eq!(world.versions("clean").await, 11);
    for attempt in 2..=3 {
        let others = worker.log().matches(&format!("attempt {attempt} of 3 failed")).count();
        assert!(others <= 1, "only the deadly file fails twice; log:\n{}", worker.log());
    }
}
