//! The real binary as a process of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the worker logs in front of the address of its ops listener.
const OPS: &str = "ops listener on http://";

/// The binary under test.
pub fn airlock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_airlock"));
    // Nothing of the environment of whoever runs the tests may configure it.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AIRLOCK")) {
        command.env_remove(name);
    }
    command
}

/// A running worker, killed when dropped.
pub struct WorkerProcess {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl WorkerProcess {
    /// Starts a worker with these flags and waits until it consumes.
    pub async fn start(flags: &[String]) -> Self {
        let worker = Self::spawn(flags);
        worker.until("it consumes", |w| w.log().contains("consuming")).await;
        worker
    }

    /// Starts a worker with these flags and returns at once.
    pub fn spawn(flags: &[String]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut command = airlock();
        command.arg("worker").arg("--set").arg("ops.listen=127.0.0.1:0");
        command.args(flags);
        let file = log.reopen().expect("the log file opens again");
        let child = command.stdout(Stdio::null()).stderr(file).stdin(Stdio::null()).spawn().expect("the worker starts");
        Self { child, log }
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Waits for something, with the log in the message when it does not come.
    pub async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < Duration::from_mins(1), "waited in vain until {what}; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: no destructor, no handler, no goodbye.
    pub fn kill(&mut self) {
        self.child.kill().expect("the worker is killed");
        self.child.wait().expect("the worker is reaped");
    }

    /// SIGTERM, and the exit code of the drain.
    pub async fn terminate(mut self) -> Option<i32> {
        self.ask_to_stop();
        self.end().await
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the worker gets the signal");
    }

    /// Waits for its end: the exit code.
    pub async fn end(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the worker can be waited for") {
                return status.code();
            }
            assert!(started.elapsed() < Duration::from_secs(40), "the worker does not end; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// GET of the ops listener: status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        self.until("it says where its ops listener is", |w| w.log().contains(OPS)).await;
        let mut stream = tokio::net::TcpStream::connect(self.ops()).await.expect("the ops listener");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    /// The address of the ops listener, which the worker says at its start.
    pub fn ops(&self) -> String {
        let log = self.log();
        let (_, behind) = log.split_once(OPS).expect("the ops listener is there");
        behind.split(": ").next().expect("an address").to_owned()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the worker ---\n{}", self.log());
        }
    }
}
