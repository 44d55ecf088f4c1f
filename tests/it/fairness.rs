//! One uploader with many files does not keep another one waiting.

use std::time::Instant;

use crate::front::{Front, NOTHING};
use crate::services::testdata;
use crate::world::World;

/// Files of the busy uploader; `AIRLOCK_TEST_CROWD` for another number.
const CROWD: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_does_not_wait_for_the_crowd_before_it() {
    let crowd = std::env::var("AIRLOCK_TEST_CROWD").map_or(CROWD, |n| n.parse().expect("a number"));
    let (before, all_before) = overtaken(crowd, false).await;
    let (after, all_after) = overtaken(crowd, true).await;
    println!("fairness: one file behind {crowd}: {before:.1} s of {all_before:.1} s in one queue");
    println!("fairness: one file behind {crowd}: {after:.1} s of {all_after:.1} s with shares");
    assert!(before > all_before * 0.8, "without uploaders it is the last: {before} of {all_before}");
    assert!(after < all_after * 0.5, "with shares it is not: {after} of {all_after}");
}

/// How long the last file waits, and how long all of them take; with or without names of uploaders.
async fn overtaken(crowd: usize, named: bool) -> (f32, f32) {
    let mut world = World::new("fair").await;
    let _front = Front::of(&mut world, NOTHING).await;
    world.set("limits.jobs", "4");
    drop(world.worker().await);
    for n in 0..=crowd {
        let key = format!("{n}.jpg");
        let version = world.upload(&key, testdata("clean/skizze.jpg"), None).await;
        let mut event = world.event(&key, Some(&version));
        if named {
            event["uploader"] = if n == crowd { "b" } else { "a" }.into();
        }
        world.publish(&event).await;
    }
    let _worker = world.worker().await;
    let (started, last, mut waited) = (Instant::now(), format!("{crowd}.jpg"), None);
    for _ in 0..=crowd {
        if world.next_verdict().await["source"]["key"] == last.as_str() {
            waited = Some(started.elapsed().as_secs_f32());
        }
    }
    (waited.expect("a verdict of the last file"), started.elapsed().as_secs_f32())
}
