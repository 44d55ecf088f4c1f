//! One child, seen from the worker: started, limited for the image at hand, asked, and ended when it breaks a rule.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::Confinement;
use super::wire::{self, Reply, Request};

/// How long a child may take until it is confined.
const START: Duration = Duration::from_secs(10);
/// Processor time is limited in whole ones.
const SECOND: Duration = Duration::from_secs(1);
/// How glibc's allocator works in a child; other C libraries do not look. New pages cost a fifth of a photograph's
/// time, so that they are taken as huge ones where the system lets us ask, and what an image of usual size needs stays
/// for the next one. Of the rest (blocks from 32 MiB, the largest number allowed here) nothing stays.
const TUNABLES: &str = "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1:\
                        glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=50331648";
/// Address space beyond what the image needs: stack, allocator, code of libraries.
const SLACK: u64 = 64 << 20;

pub(super) struct Cell {
    child: Child,
    socket: OwnedFd,
    /// What holds the child, in its own words, said before it had seen anything of an upload.
    pub confinement: Confinement,
    /// Address space that it had before its first image, in bytes.
    idle: u64,
    /// Images that it has seen.
    pub served: u32,
}

/// What one image may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Bytes that decoding and encoding need.
    pub memory: u64,
    /// Processor time, and time by the clock.
    pub time: Duration,
}

/// How asking a child ended, if not with an answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// It died of what it was given: a panic, a fault of memory, a forbidden call, or its processor time.
    ByTheImage(&'static str),
    /// It was ended from outside, or by us because it took too long.
    TooLong,
    Otherwise(String),
}

impl Cell {
    /// Starts a child and waits until it is confined.
    pub fn start(program: &Path) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let child = Command::new(program)
            .arg("jail")
            .env_clear()
            .env("GLIBC_TUNABLES", TUNABLES)
            .current_dir("/")
            // Signals of a terminal are for the worker, which lets its jobs finish.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let nothing = Confinement { landlock: super::Landlock::Missing, seccomp: false, rlimits: false };
        let mut cell = Self { child, socket: ours, confinement: nothing, idle: 0, served: 0 };
        sockopt::set_socket_timeout(&cell.socket, sockopt::Timeout::Recv, Some(START))?;
        match wire::receive(&cell.socket)? {
            Some((Reply::Ready(confinement), _)) => cell.confinement = confinement,
            _ => return Err(io::Error::other("the child does not say that it is ready")),
        }
        cell.idle = cell.address_space()?;
        Ok(cell)
    }

    /// Asks for one image. After anything but an answer the child is gone, or has to be.
    pub fn ask(&mut self, request: &Request, files: [&std::fs::File; 2], allowed: Allowance) -> Result<Reply, Broken> {
        self.served += 1;
        self.allow(allowed).map_err(|error| otherwise("its limits cannot be set", &error))?;
        if let Err(error) = wire::send(&self.socket, request, &files.map(AsFd::as_fd)) {
            // It was dead before it could see this image.
            return Err(otherwise("the child cannot be reached", &error));
        }
        match wire::receive(&self.socket) {
            Ok(Some((Reply::Panicked, _))) => Err(Broken::ByTheImage("panic")),
            Ok(Some((Reply::Ready(_), _))) => Err(Broken::Otherwise("the child speaks out of turn".to_owned())),
            Ok(Some((reply, _))) => Ok(reply),
            Ok(None) => Err(self.autopsy()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(self.autopsy()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Broken::TooLong),
            Err(error) => Err(otherwise("the child cannot be understood", &error)),
        }
    }

    /// Sets the limits for the next image. The child has no call left to change them.
    fn allow(&self, allowed: Allowance) -> io::Result<()> {
        self.limit(Resource::As, self.idle + allowed.memory + SLACK)?;
        // What it may write: the result.
        self.limit(Resource::Fsize, allowed.memory)?;
        // Whole seconds only, so that an image gets up to one more.
        self.limit(Resource::Cpu, self.processor_seconds()? + allowed.time.as_secs().max(1) + 1)?;
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(patience(allowed.time)))?;
        Ok(())
    }

    /// A soft limit, which reaching means death; the hard one stays, so that it can be raised for the next image.
    fn limit(&self, resource: Resource, n: u64) -> io::Result<()> {
        let maximum = getrlimit(resource).maximum;
        let current = maximum.map_or(n, |most| n.min(most));
        prlimit(Some(Pid::from_child(&self.child)), resource, Rlimit { current: Some(current), maximum })?;
        Ok(())
    }

    /// How a child that hung up has died.
    fn autopsy(&mut self) -> Broken {
        match self.child.wait() {
            Ok(status) => cause(status),
            Err(error) => otherwise("the child cannot be waited for", &error),
        }
    }

    fn address_space(&self) -> io::Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: Option<u64> = statm.split(' ').next().and_then(|n| n.parse().ok());
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
        pages.map(|n| n * page).ok_or_else(|| io::Error::other("an unreadable statm"))
    }

    /// Processor time used so far, rounded down.
    fn processor_seconds(&self) -> io::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the program's name in parentheses, with anything in it; user and system time are the
        // 12th and 13th behind that.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum::<u64>();
        Ok(ticks / rustix::param::clock_ticks_per_second().max(1))
    }
}

/// How long an image may take by the clock: what counts is the processor, as long as it gets half of one.
pub(super) fn patience(time: Duration) -> Duration {
    (time + 2 * SECOND) * 2
}

impl Drop for Cell {
    fn drop(&mut self) {
        // A child that is idle would end by itself at the end of its socket; one that is busy would not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the image or something else has ended a child (contract, section 12.5).
fn cause(status: ExitStatus) -> Broken {
    match status.signal() {
        Some(libc::SIGSEGV) => Broken::ByTheImage("SIGSEGV"),
        Some(libc::SIGABRT) => Broken::ByTheImage("SIGABRT"),
        Some(libc::SIGSYS) => Broken::ByTheImage("SIGSYS"),
        Some(libc::SIGXCPU) => Broken::ByTheImage("SIGXCPU"),
        _ => Broken::Otherwise(format!("the child has ended: {status}")),
    }
}

fn otherwise(what: &str, error: &io::Error) -> Broken {
    Broken::Otherwise(format!("{what}: {error}"))
}
