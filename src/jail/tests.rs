//! What a child must not be able to do, and what a child that breaks must not do to anybody else.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::fault::FaultCode;
use crate::verdict::{MAX_DETAIL, ReasonCode, Stage};

/// What [`probe`] tries, when the test binary is started again with it.
const PROBE: &str = "AIRLOCK_TEST_PROBE";
/// The exit codes of a probe: it could do it, and it could not.
const DONE: i32 = 7;
const FAILED: i32 = 8;

/// Not a test by itself: a child that is up to no good, confined by some layers or by all.
#[test]
fn probe() {
    let Ok(what) = std::env::var(PROBE) else { return };
    let [layers, deed, port] = what.split(' ').collect::<Vec<_>>().try_into().expect("layers, a deed, a port");
    match layers {
        "landlock" => assert_eq!(confine::no_paths().unwrap(), Landlock::Full),
        "limits" => confine::limits().unwrap(),
        "all" => assert_eq!(confine::confine().missing(), [""; 0]),
        _ => {}
    }
    let done = match deed {
        "open" => std::fs::File::open("/etc/passwd").is_ok(),
        "create" => tempfile::tempfile().is_ok(),
        "connect" => std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok(),
        "listen" => std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
        "exec" => Command::new("/bin/true").status().is_ok(),
        "thread" => std::thread::Builder::new().spawn(|| ()).is_ok(),
        "signal" => rustix::process::test_kill_process(rustix::process::getppid().unwrap()).is_ok(),
        "descriptors" => (0..40).map(|_| wire::empty()).collect::<io::Result<Vec<_>>>().is_ok(),
        "limit" => rustix::process::setrlimit(Resource::Cpu, Rlimit { current: None, maximum: None }).is_ok(),
        "images" => image::specimens().is_ok(),
        other => panic!("no deed {other}"),
    };
    std::process::exit(if done { DONE } else { FAILED });
}

use rustix::process::{Resource, Rlimit};

/// Starts this test binary again, as a probe.
fn probed(layers: &str, deed: &str) -> ExitStatus {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "jail::tests::probe", "--test-threads=1"]).env(PROBE, format!("{layers} {deed} {port}"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

#[test]
fn a_child_can_compute_and_nothing_else() {
    for deed in ["open", "create", "connect", "listen", "exec", "thread", "signal", "limit", "descriptors"] {
        assert_eq!(probed("none", deed).code(), Some(DONE), "unconfined, {deed} works");
        assert_eq!(probed("all", deed).signal(), Some(libc::SIGSYS), "{deed} is the end of a child");
    }
    assert_eq!(probed("all", "images").code(), Some(DONE));
}

/// Each layer holds by itself what it is there for.
#[test]
fn without_seccomp_the_other_layers_still_hold() {
    for deed in ["open", "create", "connect", "listen", "exec", "signal"] {
        assert_eq!(probed("landlock", deed).code(), Some(FAILED), "{deed}");
    }
    assert_eq!(probed("limits", "descriptors").code(), Some(FAILED));
}

/// A program that says it is confined and then does as `script` says; and how many children were lost.
struct Fake {
    jail: Cells,
    lost: Arc<AtomicUsize>,
    _program: tempfile::TempPath,
}

impl Fake {
    fn new(script: &str) -> Self {
        let ready = r#"{"Ready":{"landlock":"full","seccomp":true,"rlimits":true}}"#;
        let text =
            format!("#!/bin/sh\nprintf '%s' '{ready}' >&0\ndd bs=65536 count=1 of=/dev/null 2>/dev/null\n{script}\n");
        let program = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempfile().unwrap();
        std::fs::write(program.path(), text).unwrap();
        let (lost, program) = (Arc::new(AtomicUsize::new(0)), program.into_temp_path());
        let on_loss = Box::new({
            let lost = Arc::clone(&lost);
            move |_| {
                lost.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (idle, time) = (Mutex::default(), Duration::from_secs(1));
        Self { jail: Cells { program: program.to_path_buf(), idle, time, on_loss }, lost, _program: program }
    }

    fn sanitize(&self) -> (Result<Result<Sanitized, ImageError>, Fault>, usize) {
        let (media, bytes) = image::specimens().unwrap().swap_remove(0);
        let answer = self.jail.sanitize(&bytes, media, &ImageRules::default());
        assert_eq!(self.jail.idle.lock().unwrap().len(), 0, "a child that broke is not used again");
        (answer, self.lost.load(Ordering::SeqCst))
    }
}

#[test]
fn an_image_that_two_children_die_of_is_undecodable() {
    let spin = "while :; do :; done";
    for script in ["kill -SEGV $$", "kill -ABRT $$", "kill -SYS $$", "kill -XCPU $$", spin, "printf '\"Panicked\"' >&0"]
    {
        let (answer, lost) = Fake::new(script).sanitize();
        let Ok(Err(ImageError::Refused(reasons))) = answer else { panic!("{script}: {answer:?}") };
        assert_eq!((reasons[0].code, lost), (ReasonCode::Undecodable, 2), "{script}");
    }
}

#[test]
fn whatever_else_happens_to_a_child_is_a_fault() {
    let facts = r#"{"action":"reencoded","removed":[],"width":1,"height":1,"frames":1,"orientation_applied":null,"resized_from":null}"#;
    let done = |length: u64| {
        format!(r#"printf '%s' '{{"Done":{{"media":"image/jpeg","length":{length},"facts":{facts}}}}}' >&0"#)
    };
    let garbage = [
        "kill -KILL $$".to_owned(),
        "kill -TERM $$".to_owned(),
        "exit 0".to_owned(),
        "printf 'what?' >&0".to_owned(),
        "printf '{\"Refused\":[]}' >&0".to_owned(),
        r#"printf '%s' '{"Ready":{"landlock":"full","seccomp":true,"rlimits":true}}' >&0"#.to_owned(),
        // A result that is not there, and one that is larger than anything the image could need.
        done(100),
        done(1 << 50),
        "head -c 70000 /dev/zero >&0".to_owned(),
    ];
    for script in &garbage {
        let (answer, lost) = Fake::new(script).sanitize();
        let fault = answer.expect_err(script);
        assert_eq!((fault.code, lost), (FaultCode::JailUnavailable, 1), "{script}: {}", fault.detail);
    }
}

#[test]
fn a_child_that_hangs_is_ended() {
    let started = Instant::now();
    let (answer, lost) = Fake::new("exec sleep 60").sanitize();
    assert_eq!((answer.expect_err("no answer").code, lost), (FaultCode::DeadlineExceeded, 1));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// What a child says is put in our words before it reaches a record or a log.
#[test]
fn words_of_a_child_are_escaped_and_short() {
    let reason =
        format!(r#"{{"code":"malformed","stage":"scan","detail":"\u001b[2J{}","engine":"clamd"}}"#, "x".repeat(999));
    let (media, bytes) = image::specimens().unwrap().swap_remove(0);
    let ask = |json: &str| {
        let fake = Fake::new(&format!("printf '%s' '{json}' >&0"));
        fake.jail.sanitize(&bytes, media, &ImageRules::default()).unwrap().expect_err("no image")
    };
    let ImageError::Refused(reasons) = ask(&format!(r#"{{"Refused":[{reason}]}}"#)) else { panic!("refused") };
    assert!(!reasons[0].detail.contains('\u{1b}') && reasons[0].detail.chars().count() <= MAX_DETAIL);
    assert_eq!((reasons[0].stage, &reasons[0].engine), (Stage::Sanitize, &None));
    let ImageError::Failed(why) = ask(r#"{"Failed":"\u001b[2J"}"#) else { panic!("failed") };
    assert!(!why.contains('\u{1b}'));
}
