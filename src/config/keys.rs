//! The one table of keys. Reading, unknown-key errors, variables, flags, the sample, the JSON schema and
//! `docs/configuration.md` all come from here: a key that is not in the table does not exist.

use std::time::Duration;

use toml::Value;

use super::kind::Kind;
use super::settings::{
    Checksums, Cleanup, Conditional, EngineName, JailMode, LogFormat, LogLevel, TopologyMode, Unroutable,
};
use crate::feature::Feature;
use crate::object::ByteSize;

/// A table of the configuration file.
#[derive(Debug)]
pub struct Section {
    /// Dotted; `*` stands for the name of a policy or the number of a route.
    pub path: &'static str,
    pub doc: &'static str,
    pub keys: &'static [Key],
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Preset,
    /// One line.
    pub doc: &'static str,
}

/// What holds when a key is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: what that means, in words.
    Unset(&'static str),
    Flag(bool),
    Number(i64),
    Text(&'static str),
    Texts(&'static [&'static str]),
    /// The number of processor cores.
    Cores,
}

impl Preset {
    /// The value, as if it stood in the file.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Unset(_) => None,
            Self::Flag(flag) => Some(Value::Boolean(flag)),
            Self::Number(number) => Some(Value::Integer(number)),
            Self::Text(text) => Some(Value::String(text.to_owned())),
            Self::Texts(texts) => {
                Some(Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect()))
            }
            Self::Cores => {
                let cores = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_JOBS));
                Some(Value::Integer(i64::try_from(cores).unwrap_or(1)))
            }
        }
    }
}

impl Section {
    /// How the section begins in a file, for the policy called `default`.
    #[must_use]
    pub fn header(&self) -> String {
        match self.path {
            "route.*" => "[[route]]".to_owned(),
            path => format!("[{}]", path.replace('*', "default")),
        }
    }

    /// Whether `path` is the path of this section.
    fn is_at(&self, path: &[&str]) -> bool {
        self.path.split('.').count() == path.len() && self.begins_with(path)
    }

    /// Whether this section is at `path` or below it.
    fn begins_with(&self, path: &[&str]) -> bool {
        let mut pattern = self.path.split('.');
        path.iter().all(|segment| pattern.next().is_some_and(|p| p == "*" || p == *segment))
    }
}

/// The section at `path`.
pub(super) fn section(path: &[&str]) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.is_at(path))
}

/// Whether there are keys below `path`.
pub(super) fn is_table(path: &[&str]) -> bool {
    SECTIONS.iter().any(|section| section.begins_with(path))
}

/// The key at `path`, and whether it is the `_file` form of a secret.
pub(super) fn resolve(path: &[&str]) -> Option<(&'static Key, bool)> {
    let (name, parents) = path.split_last()?;
    let keys = section(parents)?.keys;
    let named = |name: &str| keys.iter().find(|key| key.name == name);
    let plain = named(name).map(|key| (key, false));
    plain.or_else(|| Some((named(name.strip_suffix("_file")?).filter(|key| key.kind.is_secret())?, true)))
}

const fn key(name: &'static str, kind: Kind, default: Preset, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;
const KIB: ByteSize = ByteSize(1 << 10);
const GIB: ByteSize = ByteSize(1 << 30);
const TIB: ByteSize = ByteSize(1 << 40);
const MAX_JOBS: usize = 256;

const PATH: Kind = Kind::Text("path of a file");
const PATH_OR_GLOB: Kind = Kind::Text("path or glob");
const PLAIN: Kind = Kind::Text("text");
const BUCKET: Kind = Kind::Text("name of a bucket: 3 to 63 of a-z, 0-9, '.', '-', '_'");
const NAME: Kind = Kind::Text("name: 1 to 32 of a-z, 0-9, '-' and single '_'");
const ENGINE: Kind = Kind::Choice(EngineName::NAMES);
const CLAMD: Kind = Kind::Text("\"tcp://HOST:PORT\" or \"unix:///PATH\"");
const TYPE: Kind = Kind::Text("one of jpeg, png, gif, webp, pdf, doc, docx, or the media type");
const TIER: Kind = Kind::Duration(ms(100), secs(7 * DAY));
const AGE: Kind = Kind::Duration(secs(60), secs(3650 * DAY));
const SWITCH: Kind = Kind::Choice(&["reject", "allow"]);
const INFLATED: Kind = Kind::Size(KIB, ByteSize(4 << 30));
/// WebP has 14 bits for each side.
const SIDE: Kind = Kind::Number(1, 16_383);

use Preset::{Cores, Flag, Number, Text, Texts, Unset};

/// Every section, in the order of the sample.
pub const SECTIONS: &[Section] = &[
    Section { path: "amqp", doc: "The broker that brings upload events and takes verdicts.", keys: AMQP },
    Section { path: "amqp.tls", doc: "Certificates for an amqps:// broker, in PEM.", keys: AMQP_TLS },
    Section { path: "s3", doc: "The object store.", keys: S3 },
    Section { path: "ledger", doc: "The verdict records: commit point and outbox.", keys: LEDGER },
    Section { path: "scan", doc: "Which engines must all call a file clean.", keys: SCAN },
    Section { path: "clamd", doc: "The ClamAV daemons. Limits here must agree with clamd.conf.", keys: CLAMD_KEYS },
    Section { path: "yara", doc: "The YARA engine, in the process.", keys: YARA },
    Section {
        path: "route.*",
        doc: "From which bucket to which; repeat the table for more routes. Only in the file.",
        keys: ROUTE,
    },
    Section {
        path: "policy.*",
        doc: "What a route accepts. More policies are more tables: [policy.NAME]; what one leaves out is as here.",
        keys: POLICY,
    },
    Section {
        path: "policy.*.active_content",
        doc: "What documents may carry. Malware, encryption and broken structure cannot be allowed.",
        keys: ACTIVE_CONTENT,
    },
    Section { path: "policy.*.image", doc: "How images are judged and rewritten.", keys: IMAGE },
    Section {
        path: "policy.*.documents",
        doc: "What a document may make us count, inflate or follow; real files stay far below.",
        keys: DOCUMENTS,
    },
    Section { path: "limits", doc: "Bounds on what one worker uses.", keys: LIMITS },
    Section { path: "retry", doc: "What follows a fault that may pass.", keys: RETRY },
    Section { path: "ops", doc: "Health and metrics.", keys: OPS },
    Section { path: "log", doc: "The log, on standard error.", keys: LOG },
];

const AMQP: &[Key] = &[
    key(
        "url",
        Kind::Url("amqp:// or amqps:// URL"),
        Text("amqp://127.0.0.1:5672/%2f"),
        "Broker and virtual host; prints without its password.",
    ),
    key("user", PLAIN, Unset("the URL's"), "User, where the URL names none."),
    key("password", Kind::Secret, Unset("the URL's"), "Password of `user`."),
    key(
        "topology",
        Kind::Choice(TopologyMode::NAMES),
        Text("check"),
        "Exchanges and queues must be there, are declared, or nobody looks.",
    ),
    key(
        "unroutable",
        Kind::Choice(Unroutable::NAMES),
        Text("stop"),
        "When nothing is bound for verdicts: stop consuming, or go on.",
    ),
    key(
        "consumer_timeout",
        Kind::Duration(secs(1), secs(7 * DAY)),
        Text("30m"),
        "As the broker is set; at least twice limits.job_deadline.",
    ),
    key(
        "prefix",
        Kind::Text("1 to 64 of a-z, A-Z, 0-9, '.', '-', '_'"),
        Text("airlock"),
        "How the names of exchanges and queues begin.",
    ),
];

const AMQP_TLS: &[Key] = &[
    key("ca", PATH, Unset("the built-in roots"), "Authorities to trust as well."),
    key("cert", PATH, Unset("none"), "The client's certificate; needs `key`."),
    key("key", PATH, Unset("none"), "The private key of `cert`."),
];

const S3: &[Key] = &[
    key("endpoint", Kind::Text("http:// or https:// URL"), Unset("AWS"), "Where the store listens."),
    key("region", PLAIN, Text("us-east-1"), "Region, also part of the signature."),
    key("path_style", Kind::Flag, Flag(true), "Bucket in the path, not in the host name."),
    key("access_key", PLAIN, Unset("the AWS credential chain"), "Key id; needs `secret_key`."),
    key("secret_key", Kind::Secret, Unset("the AWS credential chain"), "Secret of `access_key`."),
    key(
        "cleanup",
        Kind::Choice(Cleanup::NAMES),
        Text("version"),
        "Delete the exact source version, or leave it to a lifecycle rule.",
    ),
    key(
        "checksums",
        Kind::Choice(Checksums::NAMES),
        Text("when_required"),
        "When requests carry checksums of the SDK.",
    ),
    key("timeout", Kind::Duration(ms(100), secs(HOUR)), Text("30s"), "For one request; below limits.job_deadline."),
];

const LEDGER: &[Key] = &[
    key("bucket", BUCKET, Text("ledger"), "Bucket of the records; used for nothing else."),
    key(
        "conditional",
        Kind::Choice(Conditional::NAMES),
        Text("require"),
        "Conditional writes; \"off\" only for stores without: duplicates become possible.",
    ),
];

const SCAN: &[Key] = &[
    key(
        "engines",
        Kind::List(&ENGINE, 1, 2),
        Texts(&["clamd"]),
        "Every one must answer; there is no way to have none.",
    ),
    key("warn_signature_age", AGE, Text("48h"), "Signatures older than this are reported."),
    key("max_signature_age", AGE, Text("7d"), "Signatures older than this stop consumption."),
];

const CLAMD_KEYS: &[Key] = &[
    key("addresses", Kind::List(&CLAMD, 1, 32), Texts(&["tcp://127.0.0.1:3310"]), "Each is a backend of its own."),
    key("concurrency", Kind::Number(1, 256), Number(4), "Scans at a time per address; at most MaxThreads."),
    key("timeout", Kind::Duration(ms(100), secs(HOUR)), Text("60s"), "For one scan; below limits.job_deadline."),
    key("require_date", Kind::Flag, Flag(true), "Refuse a clamd that does not tell the date of its signatures."),
    key(
        "max_file_size",
        Kind::Size(KIB, ByteSize(4 << 30)),
        Text("64 MiB"),
        "StreamMaxLength and MaxFileSize; no policy may accept more.",
    ),
];

const YARA: &[Key] = &[key(
    "rules",
    Kind::List(&PATH_OR_GLOB, 0, 256),
    Texts(&[]),
    "Rule files; at least one where scan.engines names \"yara\".",
)];

const ROUTE: &[Key] = &[
    key("name", NAME, Text("default"), "In routing keys and metrics."),
    key("quarantine", BUCKET, Text("quarantine"), "Where uploads arrive; one route per bucket."),
    key("clean", BUCKET, Text("clean"), "Where sanitized files go."),
    key("rejected", BUCKET, Text("rejected"), "Where the rest goes, made inert; one route per bucket."),
    key("policy", NAME, Text("default"), "The [policy.NAME] that judges."),
    key("key_template", Kind::Text("text with {key} or {source_id}"), Text("{key}"), "Key of the clean object."),
    key(
        "uploader_from",
        Kind::Text("\"event\", \"prefix:N\" or \"meta:NAME\""),
        Text("event"),
        "Who uploaded: the event's field, the first N segments of the key, or object metadata.",
    ),
];

const POLICY: &[Key] = &[
    key(
        "types",
        Kind::List(&TYPE, 1, 7),
        Texts(&["jpeg", "png", "gif", "webp", "pdf", "doc", "docx"]),
        "The allow list; everything else is rejected.",
    ),
    key("max_size", Kind::Size(ByteSize(1), ByteSize(4 << 30)), Text("10 MiB"), "Largest accepted upload."),
];

const ACTIVE_CONTENT: &[Key] = &{
    let mut keys = [key("", SWITCH, Text("reject"), ""); Feature::ALL.len()];
    let mut n = 0;
    while n < keys.len() {
        keys[n] = key(Feature::ALL[n].as_str(), SWITCH, Text("reject"), Feature::ALL[n].row().1);
        n += 1;
    }
    keys
};

const IMAGE: &[Key] = &[
    key("max_width", SIDE, Number(2000), "Images are fitted inside, never enlarged."),
    key("max_height", SIDE, Number(2000), "Images are fitted inside, never enlarged."),
    key("jpeg_quality", Kind::Number(1, 100), Number(85), "Quality of JPEG and lossy WebP."),
    key("progressive", Kind::Flag, Flag(true), "Progressive JPEG."),
    key("output", Kind::Choice(&["same", "jpeg"]), Text("same"), "Keep the format, or make everything JPEG."),
    key("max_pixels", Kind::Pixels(1_000_000_000), Text("50 MP"), "Largest canvas that is decoded at all."),
    key("max_frames", Kind::Number(1, 10_000), Number(500), "Longest animation."),
    key("max_total_pixels", Kind::Pixels(10_000_000_000), Text("250 MP"), "Canvas times frames."),
    key("trailing", Kind::Choice(&["drop", "reject"]), Text("drop"), "Bytes behind the end of an image."),
];

const DOCUMENTS: &[Key] = &[
    key("entries", Kind::Number(1, 65_535), Number(4_000), "ZIP entries of a DOCX."),
    key("part_bytes", INFLATED, Text("64 MiB"), "Inflated from one ZIP entry."),
    key("inflated_bytes", INFLATED, Text("100 MiB"), "Inflated from one document in all."),
    key("name_bytes", Kind::Number(1, 65_535), Number(512), "Bytes of an entry's name."),
    key("xml_depth", Kind::Number(1, 10_000), Number(256), "Nested XML elements."),
    key("objects", Kind::Number(1, 10_000_000), Number(200_000), "Objects of a PDF."),
    key("stream_bytes", INFLATED, Text("64 MiB"), "Inflated from the object and reference streams of a PDF."),
    key("filters", Kind::Number(1, 16), Number(4), "Filters on one PDF stream."),
    key("nesting", Kind::Number(1, 1_000), Number(100), "Nested arrays and dictionaries of a PDF."),
    key("directory_entries", Kind::Number(1, 1_000_000), Number(4_096), "Directory entries of a DOC."),
];

const LIMITS: &[Key] = &[
    key("jobs", Kind::Number(1, MAX_JOBS as u64), Cores, "Uploads worked on at a time."),
    key(
        "per_uploader",
        Kind::Number(1, MAX_JOBS as u64),
        Number(2),
        "Of them, for one uploader, and never all of them; what comes beyond goes to the bulk queue.",
    ),
    key("job_deadline", Kind::Duration(ms(100), secs(DAY)), Text("5m"), "Then the job is given up and retried."),
    key(
        "image_deadline",
        Kind::Duration(secs(1), secs(600)),
        Text("20s"),
        "Processor time for one image; twice as long by the clock.",
    ),
    key(
        "jail",
        Kind::Choice(JailMode::NAMES),
        Text("best_effort"),
        "Children that decode images; \"require\": refuse a kernel without Landlock or seccomp.",
    ),
    key("memory", Kind::Size(ByteSize(16 << 20), TIB), Text("1 GiB"), "Budget of the worker and its children."),
    key(
        "grace",
        Kind::Duration(secs(0), secs(599)),
        Text("25s"),
        "For running jobs after SIGTERM; what is not done then is handed back.",
    ),
    key(
        "termination_grace",
        Kind::Duration(secs(1), secs(HOUR)),
        Text("30s"),
        "What the orchestrator leaves between SIGTERM and SIGKILL; more than `grace` and 4s.",
    ),
    key(
        "snapshot_memory",
        Kind::Size(ByteSize(0), GIB),
        Text("1 MiB"),
        "Larger snapshots go to unlinked temporary files.",
    ),
    key("spool", Kind::Size(KIB, TIB), Text("512 MiB"), "Budget of all temporary files."),
    key("temp_dir", Kind::Text("path of a directory"), Unset("the system's"), "Where temporary files are made."),
];

const RETRY: &[Key] = &[
    key(
        "tiers",
        Kind::List(&TIER, 1, 8),
        Texts(&["10s", "1m", "10m", "1h"]),
        "Waits before the next attempts, ascending.",
    ),
    key("attempts", Kind::Number(1, 100), Number(8), "In all; then the delivery is dead-lettered."),
];

const OPS: &[Key] = &[key(
    "listen",
    Kind::Text("IP:PORT or \"off\""),
    Text("127.0.0.1:9464"),
    "Serves /livez, /readyz and /metrics; without authentication.",
)];

const LOG: &[Key] = &[
    key("format", Kind::Choice(LogFormat::NAMES), Text("text"), "For persons or for machines."),
    key("level", Kind::Choice(LogLevel::NAMES), Text("info"), "The least severe events that are logged."),
];
