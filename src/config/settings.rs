//! The settings as the rest of the program sees them: typed, in range, cross-checked.
//!
//! One struct per section, so that an adapter is given its own settings and no others. Ranges and defaults
//! stand in the [table of keys](super::keys), not here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::secret::{AmqpUrl, Secret};
use crate::object::{Bucket, ByteSize};
use crate::policy::Policy;
use crate::route::Route;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub amqp: Amqp,
    pub s3: S3,
    pub ledger: Ledger,
    pub scan: Scan,
    pub clamd: Clamd,
    pub yara: Yara,
    /// At least one; no two with the same name or quarantine bucket.
    pub routes: Vec<Arc<Route>>,
    /// By name; `default` is always among them.
    pub policies: BTreeMap<String, Arc<Policy>>,
    pub limits: Limits,
    pub retry: Retry,
    pub ops: Ops,
    pub log: Log,
}

/// The broker.
#[derive(Debug, Clone)]
pub struct Amqp {
    pub url: AmqpUrl,
    /// Takes the place of the user in the URL, which then has none.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: Tls,
    pub topology: TopologyMode,
    pub unroutable: Unroutable,
    /// What the broker is set to; Airlock cannot ask for it.
    pub consumer_timeout: Duration,
    /// How the names of exchanges and queues begin.
    pub prefix: String,
}

/// Files in PEM for `amqps`.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Authorities to trust beside the built-in ones.
    pub ca: Option<PathBuf>,
    /// The client's own certificate; always together with `key`.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// The object store.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `None`: AWS itself.
    pub endpoint: Option<String>,
    pub region: String,
    pub path_style: bool,
    /// `None`: the AWS chain. Always together with `secret_key`.
    pub access_key: Option<String>,
    pub secret_key: Option<Secret>,
    pub cleanup: Cleanup,
    pub checksums: Checksums,
    /// For one request.
    pub timeout: Duration,
}

/// The verdict records.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub bucket: Bucket,
    pub conditional: Conditional,
}

/// The engines and how old their signatures may be.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Not empty, no engine twice.
    pub engines: Vec<EngineName>,
    pub warn_signature_age: Duration,
    pub max_signature_age: Duration,
}

/// The scanner daemons.
#[derive(Debug, Clone)]
pub struct Clamd {
    /// Not empty; each is a backend of its own.
    pub addresses: Vec<ClamdAddress>,
    /// Scans at a time, per address.
    pub concurrency: usize,
    pub timeout: Duration,
    pub require_date: bool,
    /// `StreamMaxLength` and `MaxFileSize` of clamd.conf.
    pub max_file_size: ByteSize,
}

/// The YARA engine.
#[derive(Debug, Clone)]
pub struct Yara {
    /// Paths or globs; not empty where the engine is configured.
    pub rules: Vec<String>,
}

/// The longest time that a worker takes to stop beyond its grace period: jobs that are given up hand their messages
/// back, and the connections close. With a broker that answers this takes a moment. One that does not is not waited
/// for: it hands out again by itself what it has heard nothing of.
pub const CLOSING: Duration = Duration::from_secs(4);

/// Bounds on what one worker uses.
#[derive(Debug, Clone)]
pub struct Limits {
    pub jobs: usize,
    /// Jobs at a time for one uploader.
    pub per_uploader: usize,
    pub job_deadline: Duration,
    /// Processor time for one image.
    pub image_deadline: Duration,
    pub jail: JailMode,
    pub memory: ByteSize,
    /// How long running jobs may go on after SIGTERM.
    pub grace: Duration,
    /// What the orchestrator is set to (`terminationGracePeriodSeconds`, `stop_grace_period`); Airlock cannot ask for it.
    pub termination_grace: Duration,
    /// Snapshots up to this size stay in memory.
    pub snapshot_memory: ByteSize,
    /// Budget of all snapshots in temporary files.
    pub spool: ByteSize,
    /// `None`: the system's.
    pub temp_dir: Option<PathBuf>,
}

/// What follows a transient fault.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Ascending; attempts beyond the last tier stay in it.
    pub tiers: Vec<Duration>,
    /// Attempts in all; then the delivery is dead-lettered.
    pub attempts: u32,
}

/// The operations listener.
#[derive(Debug, Clone)]
pub struct Ops {
    /// `None`: switched off.
    pub listen: Option<SocketAddr>,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

/// Where a clamd listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClamdAddress {
    /// `host:port`.
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for ClamdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host_and_port = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let host_is_sound = !host.is_empty() && (bracketed || !host.contains([':', '/', '@']));
            (host_is_sound && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| Self::Tcp(rest.to_owned()))
        };
        let path = |rest: &str| rest.starts_with('/').then(|| Self::Unix(PathBuf::from(rest)));
        let address = match text.split_once("://") {
            Some(("tcp", rest)) => host_and_port(rest),
            Some(("unix", rest)) => path(rest),
            _ => None,
        };
        address.ok_or_else(|| "must be \"tcp://HOST:PORT\" or \"unix:///PATH\"".to_owned())
    }
}

impl fmt::Display for ClamdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Defines a choice once: its variants, their names in the configuration and the list of the names.
macro_rules! choices {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The names in the configuration.
            pub const NAMES: &[&str] = &[$($text,)*];

            /// The name in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(format!("must be one of {}", Self::NAMES.join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

choices! {
    /// What is done about exchanges and queues at start.
    pub enum TopologyMode {
        /// They must be there.
        Check = "check",
        /// They are made where they are missing.
        Declare = "declare",
        /// Nobody looks.
        Off = "off",
    }

    /// What is done when no queue is bound for verdict events.
    pub enum Unroutable {
        /// Stop consuming: a verdict that nobody hears is a lost one.
        Stop = "stop",
        /// Go on; the ledger still has the verdicts.
        Ignore = "ignore",
    }

    /// How a source leaves the quarantine bucket.
    pub enum Cleanup {
        /// Its exact version is deleted.
        Version = "version",
        /// A lifecycle rule of the bucket does it.
        Lifecycle = "lifecycle",
    }

    /// When the S3 client sends checksums of its own.
    pub enum Checksums {
        WhenRequired = "when_required",
        WhenSupported = "when_supported",
    }

    /// Whether records are written with conditional requests.
    pub enum Conditional {
        /// Yes: of two workers with one upload, one wins.
        Require = "require",
        /// The store has none: duplicates are possible.
        Off = "off",
    }

    /// Whether images are decoded by confined children.
    pub enum JailMode {
        /// Yes, and with every layer, or not at all.
        Require = "require",
        /// With what the kernel has.
        BestEffort = "best_effort",
        /// No: in the worker itself.
        Off = "off",
    }

    /// A scanning engine.
    pub enum EngineName {
        Clamd = "clamd",
        Yara = "yara",
    }

    /// The format of log lines.
    pub enum LogFormat {
        Text = "text",
        Json = "json",
    }

    /// The least severe events that are logged.
    pub enum LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}
