//! The jail of a real worker: its children are killed while it works, and nobody else notices.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use airlock::image::ImageError;
use airlock::jail::Jail;
use airlock::media::MediaType;
use airlock::policy::ImageRules;
use airlock::verdict::ReasonCode;
use rustix::process::{Pid, Signal, kill_process};

use crate::front::{Front, NOTHING};
use crate::services::testdata;
use crate::world::World;

/// A jail of the real binary with so much time for an image.
fn jail(time: Duration) -> Jail {
    let (jail, held) =
        Jail::start(Path::new(env!("CARGO_BIN_EXE_airlock")), 1, time, Box::new(|_| ())).expect("children start");
    assert_eq!(held.missing(), [""; 0], "this kernel has every layer");
    jail
}

#[test]
fn the_jail_makes_the_same_bytes() {
    let jail = jail(Duration::from_secs(20));
    for (file, media) in [
        ("clean/holiday-photo.jpg", MediaType::Jpeg),
        ("clean/flyer-print.jpg", MediaType::Jpeg),
        ("clean/cat.png", MediaType::Png),
        ("clean/loading-balloon.png", MediaType::Png),
        ("clean/balloon.gif", MediaType::Gif),
        ("clean/sticker.webp", MediaType::Webp),
        ("clean/balloon animated.webp", MediaType::Webp),
    ] {
        let (bytes, rules) = (testdata(file), ImageRules::default());
        let outside = airlock::image::sanitize(&bytes, media, &rules).expect("an image");
        let inside = jail.sanitize(&bytes, media, &rules).expect("no fault").expect("an image");
        assert!(inside.bytes == outside.bytes, "{file}");
        assert_eq!((inside.media, inside.facts), (outside.media, outside.facts), "{file}");
    }
}

#[test]
fn what_is_refused_is_refused_for_the_same_reason() {
    let (jail, rules) = (jail(Duration::from_secs(20)), ImageRules::default());
    let bytes = testdata("refused/bit-rot.png");
    let answer = jail.sanitize(&bytes, MediaType::Png, &rules).expect("no fault");
    let Err(ImageError::Refused(reasons)) = answer else { panic!("refused") };
    let Err(ImageError::Refused(outside)) = airlock::image::sanitize(&bytes, MediaType::Png, &rules) else { panic!() };
    assert_eq!(reasons, outside);
    assert_eq!(reasons[0].code, ReasonCode::Undecodable);
}

/// Children of a process, by their parent's number in `/proc`.
fn children(parent: u32) -> BTreeSet<i32> {
    let list = std::fs::read_dir("/proc").expect("/proc");
    let pids = list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.to_owned()).unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_are_killed_are_replaced_and_no_upload_is_lost() {
    const UPLOADS: usize = 16;
    let mut world = World::new("jail").await;
    let _front = Front::of(&mut world, NOTHING).await;
    world.set("limits.jail", "require");
    world.set("retry.attempts", "100");
    let worker = world.worker().await;
    let first = children(worker.pid());
    assert!(!first.is_empty(), "children are started ahead");
    for n in 0..UPLOADS {
        world.submit(&format!("{n}.jpg"), testdata("clean/holiday-photo.jpg"), None).await;
    }
    let (mut clean, mut seen) = (0, first.clone());
    while clean < UPLOADS {
        // Some die in the middle of an image, some while they wait for one.
        if seen.len() < first.len() + 6 {
            for pid in children(worker.pid()) {
                seen.insert(pid);
                let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
            }
        }
        if let Some(verdict) = world.verdict_within(Duration::from_millis(150)).await {
            assert_eq!(verdict["verdict"], "clean", "{verdict}");
            clean += 1;
        }
    }
    world.until_judged().await;
    assert!(seen.len() >= first.len() + 6, "children were replaced: {seen:?}");
    assert_eq!(world.depth("dead").await, 0);
    let (_, metrics) = worker.get("/metrics").await;
    let lost = metrics.lines().find(|line| line.starts_with("airlock_decoders_lost_total{how=\"other\"}"));
    assert!(lost.is_some_and(|line| !line.ends_with(" 0")), "{lost:?}");
    assert!(metrics.contains("airlock_jail_layer{layer=\"seccomp\"} 1"), "{metrics}");
}
