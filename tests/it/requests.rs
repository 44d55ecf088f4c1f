//! What a job asks of the store and of the broker, request by request: the costs that `docs/guarantees.md` states.

use std::time::Duration;

use serde_json::Value;

use crate::front::{Front, NOTHING};
use crate::gate::Act;
use crate::process::WorkerProcess;
use crate::services::testdata;
use crate::world::World;

const KEY: &str = "file.jpg";

/// An idle worker behind proxies that listen.
struct Scene {
    world: World,
    front: Front,
    _worker: WorkerProcess,
}

impl Scene {
    async fn open() -> Self {
        let mut world = World::new("requests").await;
        let front = Front::of(&mut world, NOTHING).await;
        let worker = world.worker().await;
        front.heard();
        Self { world, front, _worker: worker }
    }

    /// What was asked for since the last time, in its order, under short names.
    fn asked(&self) -> Vec<String> {
        // Readiness lists every bucket now and then, whether or not there are jobs.
        let heard = self.front.heard().into_iter().filter(|said| !said.contains("?list-type=2"));
        heard.map(|said| self.short(&said)).collect()
    }

    /// `PUT /ledger-x/verdicts/0a1b.json?x-id=PutObject HTTP/1.1` is `PUT ledger/verdicts`.
    fn short(&self, said: &str) -> String {
        let said = said.replace(&format!("-{}", self.world.id), "").replace(&format!("{}.", self.world.id), "");
        let Some((method, target)) = said.trim_end_matches(" HTTP/1.1").split_once(" /") else { return said };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = ["verdicts", "latest"]
            .iter()
            .find(|p| path.starts_with(&format!("ledger/{p}/")))
            .map_or_else(|| path.trim_end_matches('/').to_owned(), |place| format!("ledger/{place}"));
        match query {
            _ if query.split('&').any(|q| q == "versions" || q == "versions=") => format!("LIST {path}"),
            _ if method != "PUT" && query.contains("versionId=") => format!("{method} {path} version"),
            _ => format!("{method} {path}"),
        }
    }

    /// Everything that one job asks for, up to its ack.
    async fn job(&mut self, event: &Value) -> Vec<String> {
        self.world.publish(event).await;
        self.world.next_verdict().await;
        let mut asked = Vec::new();
        for _ in 0..100 {
            asked.extend(self.asked());
            if asked.last().is_some_and(|last| last == "ack") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Whatever followed would be too much.
        tokio::time::sleep(Duration::from_millis(300)).await;
        asked.extend(self.asked());
        asked
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_file_costs_five_requests_and_one_confirmed_publish() {
    let scene = Scene::open().await;
    let upload = scene.world.put(KEY, testdata("clean/skizze.jpg")).await;
    let mut confirm = scene.front.amqp.gate("publish ", Act::HoldAnswer);
    scene.world.announce(&upload).await;
    let held = confirm.reached().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before =
        ["GET quarantine/file.jpg version", "HEAD clean/file.jpg", "PUT clean/file.jpg", "PUT ledger/verdicts"];
    assert_eq!(scene.asked(), [&before[..], &["publish verdicts"]].concat(), "up to the verdict event");
    held.go_on();
    scene.world.until_judged().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.asked(), ["DELETE quarantine/file.jpg version", "ack"], "when the broker has confirmed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_ends_of_a_job_cost_what_the_table_says() {
    let mut scene = Scene::open().await;
    let clean = scene.world.put(KEY, testdata("clean/skizze.jpg")).await;
    let announced = scene.world.event(KEY, Some(&clean.version));
    assert_eq!(scene.job(&announced).await.len(), 7, "five requests, a publish, an ack");

    // A rejection always looks for what an attempt that died may have promoted.
    let rejected = scene.world.put("random.jpg", testdata("refused/random.jpg")).await;
    let expected = [
        "GET quarantine/random.jpg version",
        "PUT rejected/random.jpg",
        "PUT ledger/verdicts",
        "LIST clean",
        "publish verdicts",
        "DELETE quarantine/random.jpg version",
        "ack",
    ];
    let event = scene.world.event(&rejected.key, Some(&rejected.version));
    assert_eq!(scene.job(&event).await, expected, "rejected");

    let expected = [
        "GET quarantine/file.jpg version",
        "GET ledger/verdicts",
        "publish verdicts",
        "DELETE quarantine/file.jpg version",
        "ack",
    ];
    assert_eq!(scene.job(&announced).await, expected, "a duplicate of what is finished");

    scene.world.put("key.jpg", testdata("clean/skizze.jpg")).await;
    let expected = [
        "GET quarantine/key.jpg",
        "HEAD clean/key.jpg",
        "PUT clean/key.jpg",
        "PUT ledger/verdicts",
        "GET ledger/latest",
        "PUT ledger/latest",
        "publish verdicts",
        "DELETE quarantine/key.jpg version",
        "ack",
    ];
    let by_key = scene.world.event("key.jpg", None);
    assert_eq!(scene.job(&by_key).await, expected, "clean, and the event names no version");
}
