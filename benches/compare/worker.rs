//! The workers that are compared, as processes, and what the kernel says they used.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::Result;
use crate::services::Services;

/// Clock ticks per second in /proc/PID/stat: USER_HZ, which is 100 on Linux whatever the kernel's own HZ.
const TICKS: u64 = 100;

/// A process that used less than this in `QUIET` has finished what it was doing.
const IDLE: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_millis(500);

/// The longest wait for a worker to come to rest; one that never does is measured as it is.
const RESTLESS: Duration = Duration::from_secs(10);

/// How long a stopped worker may drain.
const DRAIN: Duration = Duration::from_secs(30);

/// The longest wait for the packages of the yardstick.
const INSTALL: Duration = Duration::from_mins(5);

/// Who takes part.
pub enum Worker {
    /// The binary of this package, with settings on top of those of the comparison.
    Airlock { set: Vec<String> },
    /// `node worker.mjs` in a folder; the contract is in benches/README.md.
    Peer { folder: PathBuf },
}

impl Worker {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Airlock { .. } => "airlock",
            Self::Peer { .. } => "yardstick",
        }
    }

    /// Airlock works from a quorum queue, and refuses another; the yardstick declares a classic one.
    pub fn wants_quorum(&self) -> bool {
        matches!(self, Self::Airlock { .. })
    }

    /// Starts it on these services, with so many files at a time.
    pub fn start(&self, services: &Services, jobs: usize) -> Result<Process> {
        match self {
            Self::Airlock { set } => airlock(services, jobs, set),
            Self::Peer { folder } => peer(services, jobs, folder),
        }
    }
}

/// Installs the packages of a yardstick, where that was not done before.
pub async fn install(folder: &Path) -> Result<()> {
    if folder.join("node_modules").is_dir() {
        return Ok(());
    }
    println!("Installing the packages of the yardstick: npm ci in {}", folder.display());
    let mut command = Command::new("npm");
    command.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    let mut npm = Process::start(command, None)?;
    let how = match npm.ended_within(INSTALL).await? {
        Some(status) if status.success() => return Ok(()),
        Some(status) => format!("failed ({status})"),
        None => format!("took more than {} s", INSTALL.as_secs()),
    };
    Err(format!("npm ci {how} in {}; it said:\n{}", folder.display(), npm.tail()).into())
}

fn airlock(services: &Services, jobs: usize, set: &[String]) -> Result<Process> {
    let mut config = tempfile::Builder::new().suffix(".toml").tempfile()?;
    // Routes come only from a file.
    writeln!(config, "[[route]]")?;
    for name in ["quarantine", "clean", "rejected"] {
        writeln!(config, "{name} = \"{}\"", services.bucket(name))?;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_airlock"));
    command.arg("worker").arg("--config").arg(config.path());
    for (key, value) in services.airlock_settings()? {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command.arg("--set").arg(format!("limits.jobs={jobs}")).arg("--set").arg(format!("clamd.concurrency={jobs}"));
    for setting in set {
        command.arg("--set").arg(setting);
    }
    Process::start(command, Some(config))
}

fn peer(services: &Services, jobs: usize, folder: &Path) -> Result<Process> {
    let mut command = Command::new("node");
    command.arg("worker.mjs").current_dir(folder).envs(services.peer_environment()?);
    // No thread pool inside libvips: one thread per picture, as in Airlock. And no end of its own accord, since the
    // kernel's figures are gone with the process.
    command.env("PREFETCH", jobs.to_string()).env("SHARP_CONCURRENCY", "1").env("STOP_AFTER", "0");
    Process::start(command, None)
}

/// What a process has used so far, as the kernel counts it.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads, and of children that it waited for.
    pub cpu: Duration,
    /// The most memory it ever had resident, in KiB.
    pub peak_kib: u64,
}

/// A running worker, killed when dropped.
pub struct Process {
    child: Child,
    log: NamedTempFile,
    _config: Option<NamedTempFile>,
}

impl Process {
    fn start(mut command: Command, config: Option<NamedTempFile>) -> Result<Self> {
        // Nothing in the environment of whoever calls this may configure Airlock.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AIRLOCK")) {
            command.env_remove(name);
        }
        let log = NamedTempFile::new()?;
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|e| format!("{program} could not be started: {e}"))?;
        Ok(Self { child, log, _config: config })
    }

    /// An error when it has ended: nobody told it to.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("the worker ended by itself ({status}); its log ends:\n{}", self.tail()).into())
            }
        }
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let log = std::fs::read(self.log.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What it has used when it has come to rest.
    pub async fn usage_at_rest(&self) -> Result<Usage> {
        let started = Instant::now();
        let mut before = self.usage()?;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.usage()?;
            if now.cpu.saturating_sub(before.cpu) < IDLE || started.elapsed() > RESTLESS {
                return Ok(now);
            }
            before = now;
        }
    }

    fn usage(&self) -> Result<Usage> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let stat = std::fs::read_to_string(proc.join("stat"))?;
        // The name in parentheses may hold anything; the fields behind it start with the third, the state.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // utime, stime, cutime and cstime are fields 14 to 17.
        let ticks: u64 = fields.skip(11).take(4).map(str::parse::<u64>).sum::<std::result::Result<_, _>>()?;
        let status = std::fs::read_to_string(proc.join("status"))?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc")?;
        let peak_kib = peak.trim().trim_end_matches(" kB").parse()?;
        Ok(Usage { cpu: Duration::from_millis(ticks * 1000 / TICKS), peak_kib })
    }

    /// SIGTERM, some patience, and in the end SIGKILL (by dropping).
    pub async fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.ended_within(DRAIN).await?;
        Ok(())
    }

    /// How it ended; `None` when it still runs after so long.
    async fn ended_within(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it is gone already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
