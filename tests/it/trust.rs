//! Every way in which a real clamd is known to say `OK` about what it has not looked at. Airlock never promotes.
//!
//! Some are settings, some are trouble, some are the file's own doing: what clamd cannot look into, our own
//! structure checks must refuse.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use airlock::scanner::canary;
use futures_util::future::join_all;

use crate::process::{WorkerProcess, airlock};
use crate::services::{PrivateClamd, clamd, raw_reply, testdata};
use crate::world::World;

const OK: &str = "stream: OK\0";

/// A world whose clamd is this one, with retries that nobody has to wait for.
async fn world_with(clamd: &PrivateClamd) -> World {
    let mut world = World::new("trust").await;
    world.set("clamd.addresses", format!("[\"{}\"]", clamd.address()));
    world.set("retry.tiers", "[\"500ms\"]");
    world.set("retry.attempts", "100");
    world
}

/// A clamd like this gets no work: nothing is promoted, nothing rejected, the message stays in the queue and a
/// person is told what to do.
async fn gets_no_work(settings: &[(&str, &str)], told: &str) {
    let clamd = PrivateClamd::start(settings);
    let world = world_with(&clamd).await;
    let worker = WorkerProcess::spawn(&world.flags());
    worker.until("the queues are there", |w| w.log().contains("no work is taken")).await;
    world.submit("good.jpg", testdata("clean/skizze.jpg"), None).await;
    worker.until("it says what is wrong", |w| w.log().contains(told)).await;
    let (status, body) = worker.get("/readyz").await;
    assert!(status == 503 && body.contains(told), "{body}");
    assert_eq!(world.versions("clean").await + world.versions("rejected").await, 0, "{settings:?}");
    assert_eq!((world.versions("quarantine").await, world.depth("work").await), (1, 1), "{settings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clamd_that_passes_what_it_has_not_seen_gets_no_work() {
    let limits = "AlertExceedsMax=no";
    let nested = PrivateClamd::start(&[("CLAMD_SET", limits)]);
    assert_eq!(nested.says(&canary::nested()).await, OK, "that is what it is about");
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("CLAMD_SET", "ScanArchive=no")], "in a ZIP archive"),
        (&[("CLAMD_SET", "ScanPDF=no")], "in a PDF"),
        (&[("CLAMD_SET", "AlertEncrypted=no")], "AlertEncrypted yes"),
        (&[("CLAMD_SET", limits)], "AlertExceedsMax yes"),
        (&[("CLAMD_SET", "MaxFileSize=16M")], "raise MaxFileSize"),
        (&[("SIG_BROKEN", "yes")], "did not find the test marker as it is"),
    ];
    join_all(cases.map(|(settings, told)| gets_no_work(settings, told))).await;
}

/// A clamd that worked breaks: the worker stops taking work, loses nothing, and goes on when it works again.
async fn stops_and_goes_on(clamd: PrivateClamd, breaks: impl Fn(&Path), says: &str, heals: impl Fn(&Path)) {
    let mut world = world_with(&clamd).await;
    let worker = world.worker().await;
    world.submit("before.jpg", testdata("clean/skizze.jpg"), None).await;
    assert_eq!(world.next_verdict().await["verdict"], "clean");

    breaks(&clamd.temporary_folder());
    assert_eq!(clamd.says(&canary::eicar()).await, says, "it has not looked at all");
    world.submit("eicar.jpg", canary::eicar(), None).await;
    world.submit("hidden.docx", testdata("refused/eicar.docx.enc"), None).await;
    worker.until("it stops", |w| w.log().contains("no work is taken")).await;
    world.no_notice(Duration::from_secs(2)).await;
    assert_eq!(worker.get("/readyz").await.0, 503);
    assert_eq!((world.versions("clean").await, world.versions("rejected").await), (1, 0));

    heals(&clamd.temporary_folder());
    for _ in 0..2 {
        assert_eq!(world.next_verdict().await["reasons"][0]["code"], "malware");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_temporary_folder_stops_the_work_until_there_is_room() {
    // Room for the upload itself, none to unpack anything: then clamd says OK to everything.
    let fill = |folder: &Path| {
        let names = (0..1000).map(|n| folder.join(format!("filling-{n}")));
        let made: Vec<_> = names.take_while(|path| File::create(path).is_ok()).collect();
        fs::remove_file(made.last().expect("the folder was not full before")).expect("one is removed");
    };
    let empty = |folder: &Path| {
        for n in 0..1000 {
            let _ = fs::remove_file(folder.join(format!("filling-{n}")));
        }
    };
    let clamd = PrivateClamd::start(&[("CLAMD_TMPFS", "size=400m,nr_inodes=100")]);
    stops_and_goes_on(clamd, fill, OK, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_temporary_folder_stops_the_work_until_it_is_back() {
    let (remove, make) = (|folder: &Path| fs::remove_dir_all(folder), |folder: &Path| fs::create_dir(folder));
    let clamd = PrivateClamd::start(&[]);
    stops_and_goes_on(clamd, |f| remove(f).expect("removed"), "", |f| make(f).expect("made")).await;
}

/// The verdict of `airlock scan` with the shared clamd: its reason codes.
fn scanned(name: &str, bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    let output = airlock().args(["scan", "--json", "--clamd", &clamd()]).arg(&path).output().expect("a scan");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one record");
    let reasons = record["reasons"].as_array().expect("a verdict");
    reasons.iter().map(|r| r["code"].as_str().expect("a code").to_owned()).collect()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).rposition(|w| w == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_past_clamd_is_refused_by_its_structure() {
    let address = clamd();
    let address = address.strip_prefix("tcp://").expect("a TCP address");
    let docx = testdata("clean/project-plan.docx");
    // General purpose bit 0 of the last entry in the central directory, and there alone.
    let at = docx.windows(4).rposition(|w| w == b"PK\x01\x02").expect("a directory") + 8;
    let mut directory_only = docx.clone();
    directory_only[at] |= 1;
    let pdf = testdata("refused/payslip-protected.pdf");
    let files = [
        ("contract.docx", testdata("refused/contract-protected.docx")),
        ("plan.docx", directory_only),
        ("payslip.pdf", replaced(&pdf, b"/Encrypt", b"/Encr#79pt")),
    ];
    for (name, bytes) in files {
        assert_eq!(raw_reply(address, &bytes).await, OK, "{name}: clamd itself passes it");
        let codes = scanned(name, &bytes);
        assert!(codes.contains(&"encrypted".to_owned()), "{name}: {codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_too_large_for_clamd_is_too_large_for_us() {
    let address = clamd();
    let address = address.strip_prefix("tcp://").expect("a TCP address");
    let largest = 64 << 20;
    // A member of that size is looked into to its end; one byte more, and clamd says OK without having seen it.
    let at_limit = canary::at_the_end_of(largest).expect("an archive");
    assert!(raw_reply(address, &at_limit).await.starts_with("stream: Eicar-Test-Signature"));
    let beyond = canary::at_the_end_of(largest + 512).expect("an archive");
    assert_eq!(raw_reply(address, &beyond).await, OK, "the hole that this test is about");

    let docx = with_member(&testdata("clean/project-plan.docx"), &beyond);
    assert_eq!(raw_reply(address, &docx).await, OK);
    let codes = scanned("plan.docx", &docx);
    assert!(codes.contains(&"archive_bomb".to_owned()), "{codes:?}");
    let docx = with_member(&testdata("clean/project-plan.docx"), &at_limit);
    assert_eq!(scanned("plan.docx", &docx)[0], "malware");
}

/// The archive with the only member of another one added.
fn with_member(zip: &[u8], other: &[u8]) -> Vec<u8> {
    let find = |zip: &[u8], signature: &[u8; 4]| zip.windows(4).rposition(|w| w == signature).expect("a ZIP");
    let directory_of = |zip: &[u8]| {
        let end = find(zip, b"PK\x05\x06");
        (u32::from_le_bytes(zip[end + 16..end + 20].try_into().expect("4 bytes")) as usize, end)
    };
    let ((ours, end), (theirs, their_end)) = (directory_of(zip), directory_of(other));
    let mut entry = other[theirs..their_end].to_vec();
    entry[42..46].copy_from_slice(&u32::try_from(ours).expect("small").to_le_bytes());
    let mut whole = [&zip[..ours], &other[..theirs], &zip[ours..end], &entry, &zip[end..]].concat();
    let (directory, end) = (ours + theirs, whole.len() - (zip.len() - end));
    for at in [8, 10] {
        let count = u16::from_le_bytes(whole[end + at..end + at + 2].try_into().expect("2 bytes")) + 1;
        whole[end + at..end + at + 2].copy_from_slice(&count.to_le_bytes());
    }
    for (at, value) in [(12, end - directory), (16, directory)] {
        whole[end + at..end + at + 4].copy_from_slice(&u32::try_from(value).expect("small").to_le_bytes());
    }
    whole
}
