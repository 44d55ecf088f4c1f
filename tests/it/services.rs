//! Where the real services are, and the scripts that make more of them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A variable that `scripts/test` sets.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: this test needs real services. Run scripts/test, or `scripts/services start` and source its env file")
    })
}

/// The address of the shared clamd.
pub fn clamd() -> String {
    variable("AIRLOCK_TEST_CLAMD")
}

/// RabbitMQ's administration program, and what it prints.
pub fn rabbitmqctl(args: &[&str]) -> String {
    let script = root().join("scripts/services");
    let run = Command::new(script).arg("rabbitmqctl").arg(variable("AIRLOCK_TEST_SERVICES")).args(args).output();
    let output = run.expect("rabbitmqctl runs");
    assert!(output.status.success(), "rabbitmqctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A clamd of this test's own, ended when dropped.
pub struct PrivateClamd {
    dir: tempfile::TempDir,
    port: u16,
}

impl PrivateClamd {
    /// Starts one with other settings, as `scripts/services.d/clamd.sh` takes them.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let clamd = Self { dir: short_dir(), port: free_port() };
        clamd.again(settings);
        clamd
    }

    /// Starts it again on the same port.
    pub fn again(&self, settings: &[(&str, &str)]) {
        self.script("start", settings);
    }

    /// Gives it signatures of now.
    pub fn reload(&self) {
        self.script("reload", &[]);
    }

    pub fn stop(&self) {
        self.script("stop", &[]);
    }

    /// SIGKILL.
    pub fn crash(&self) {
        self.script("crash", &[]);
    }

    pub fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Stops it as if its machine hung, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        freeze(&self.dir.path().join("clamd.pid"), frozen);
    }

    /// What it says of these bytes, byte for byte, to a client that is not ours.
    pub async fn says(&self, bytes: &[u8]) -> String {
        raw_reply(&format!("127.0.0.1:{}", self.port), bytes).await
    }

    /// Its temporary folder as it sees it itself: its mounts are its own.
    pub fn temporary_folder(&self) -> PathBuf {
        let pid = std::fs::read_to_string(self.dir.path().join("clamd.pid")).expect("a pid file");
        let pid = pid.split_whitespace().next().expect("a pid");
        let inside = self.dir.path().join("tmp");
        PathBuf::from(format!("/proc/{pid}/root")).join(inside.strip_prefix("/").expect("an absolute path"))
    }

    fn script(&self, command: &str, settings: &[(&str, &str)]) {
        let script = root().join("scripts/services.d/clamd.sh");
        let status = Command::new(&script)
            .arg(command)
            .arg(self.dir.path())
            .arg(self.port.to_string())
            .envs(settings.iter().copied())
            .output()
            .expect("the clamd script runs");
        assert!(status.status.success(), "clamd.sh {command}: {}", String::from_utf8_lossy(&status.stderr));
    }
}

impl Drop for PrivateClamd {
    fn drop(&mut self) {
        let script = root().join("scripts/services.d/clamd.sh");
        let _ = Command::new(script).arg("stop").arg(self.dir.path()).output();
    }
}

/// A RabbitMQ of this test's own, ended when dropped.
pub struct PrivateRabbit {
    dir: tempfile::TempDir,
    pub url: String,
}

impl PrivateRabbit {
    pub fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("rabbit").tempdir().expect("a temporary folder");
        // It runs as another user.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("a folder of our own");
        let mut rabbit = Self { dir, url: String::new() };
        rabbit.url = rabbit.script("start", &[]);
        rabbit
    }

    /// On the same port, with what was durable.
    pub fn again(&self) {
        // The port of a node that was killed may be taken for a moment longer.
        for _ in 0..20 {
            if self.run("start", &[]).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        self.script("start", &[]);
    }

    /// SIGKILL.
    pub fn crash(&self) {
        self.script("crash", &[]);
    }

    /// `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.script("ctl", &[&["-q"], arguments].concat())
    }

    /// Stops the node as if its machine hung, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        freeze(&self.dir.path().join("node.pid"), frozen);
    }

    fn script(&self, command: &str, arguments: &[&str]) -> String {
        self.run(command, arguments).unwrap_or_else(|said| panic!("rabbitmq.sh {command} {arguments:?}: {said}"))
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        let script = root().join("scripts/services.d/rabbitmq.sh");
        let output = Command::new(script).arg(command).arg(self.dir.path()).args(arguments).output();
        let output = output.expect("the RabbitMQ script runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(out.trim().to_owned()) } else { Err(format!("{out}{err}")) }
    }
}

impl Drop for PrivateRabbit {
    fn drop(&mut self) {
        let script = root().join("scripts/services.d/rabbitmq.sh");
        let _ = Command::new(script).arg("crash").arg(self.dir.path()).output();
    }
}

fn freeze(pid_file: &Path, frozen: bool) {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = std::fs::read_to_string(pid_file).expect("a pid file");
    let pid = pid.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let signal = if frozen { Signal::STOP } else { Signal::CONT };
    kill_process(pid.expect("a pid"), signal).expect("the process gets the signal");
}

/// A scan by another client than ours: the whole reply, or nothing where clamd hangs up (with or without a reset).
pub async fn raw_reply(host_address: &str, bytes: &[u8]) -> String {
    let server = clamav_client::tokio::Tcp { host_address };
    let reply = clamav_client::tokio::scan_buffer(bytes, server, None).await.unwrap_or_default();
    String::from_utf8(reply).expect("clamd writes UTF-8")
}

/// A folder with a short path: socket names are limited to 107 bytes.
fn short_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("clamd").tempdir().expect("a temporary folder")
}

/// Files with a test signature in them are stored XORed with 0x5A; this undoes it.
pub fn decode(bytes: &mut [u8]) {
    for byte in bytes {
        *byte ^= 0x5A;
    }
}

/// The bytes of a file of the repository's test data, decoded where it is stored encoded.
pub fn testdata(path: &str) -> Vec<u8> {
    let file = root().join("testdata").join(path);
    let mut bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    if Path::new(path).extension().is_some_and(|e| e == "enc") {
        decode(&mut bytes);
    }
    bytes
}

/// One line of `testdata/expected.tsv`.
pub struct Expected {
    pub path: String,
    pub declared: Option<String>,
    pub verdict: String,
    pub reasons: Vec<String>,
}

/// What must happen to each file of the test data.
pub fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(root().join("testdata/expected.tsv")).expect("testdata/expected.tsv");
    let rows = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Expected {
            path: columns[0].to_owned(),
            declared: Some(columns[1].to_owned()).filter(|d| !d.is_empty()),
            verdict: columns[2].to_owned(),
            reasons: columns[3].split('|').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
        }
    });
    rows.collect()
}
