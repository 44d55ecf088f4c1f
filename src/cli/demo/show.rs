//! What the demo tells the person who watches.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::super::table::{Row, Table};
use super::world::{APP_KEY, APP_SECRET, World};
use crate::object::{ByteSize, Sha256};
use crate::queue::Message;
use crate::text;
use crate::verdict::{Action, Record, Verdict};

/// Prints journeys, collects the table.
pub(super) struct Show {
    json: bool,
    colored: bool,
    table: Table,
    bytes: u64,
    /// Key and output digest of each clean file: two runs must agree in all of them.
    outputs: Vec<String>,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        let colored = !json && std::io::stdout().is_terminal();
        Self { json, colored, table: Table::default(), bytes: 0, outputs: Vec::new() }
    }

    /// A line for people: where the journeys are, or beside the JSON.
    pub(super) fn say(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            // A reader that went away (a closed pipe) has seen all it wanted.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    pub(super) fn welcome(&self, world: &World, files: usize) {
        self.say("Airlock demo: embedded S3 server, in-process queue, the real worker and pipeline.");
        self.say(&format!("  S3       {}", world.s3.endpoint()));
        self.say(&format!("  scanner  {}", world.engine));
        self.say(&format!("\nUploading {files} files into the quarantine bucket as the application:\n"));
    }

    /// One file has its verdict.
    pub(super) fn arrived(&mut self, record: &Record, surprise: Option<&str>) {
        if self.json {
            // As above: nobody is there to be told.
            let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(record).unwrap_or_default());
        } else {
            self.say(&self.journey(record));
        }
        if let Some(surprise) = surprise {
            self.say(&self.painted("33", &format!("    NOT AS EXPECTED: {surprise}")));
        }
        self.bytes += record.source.size;
        if let (Verdict::Clean, Some(output)) = (record.verdict, &record.output) {
            let digest = output.sha256.map(|d| d.to_string()).unwrap_or_default();
            self.outputs.push(format!("{} {digest}\n", output.key));
        }
        self.table.push(Row::of_record(record));
    }

    fn journey(&self, record: &Record) -> String {
        let key = text::printable_within(&record.source.key, 40);
        let engines: Vec<&str> = record.engines.iter().map(|e| e.name.as_str()).collect();
        let scanned =
            if engines.is_empty() { "not scanned".to_owned() } else { format!("{} looked", engines.join("+")) };
        let media = record.source.detected_type.map_or("no allowed type", crate::media::MediaType::name);
        let took = record.timings_ms.total;
        match record.reasons.first() {
            None => {
                let how = match record.sanitized.as_ref().map(|s| s.action) {
                    Some(Action::Reencoded) => "encoded anew",
                    _ => "passed through",
                };
                let head = self.painted("32", &format!("  clean    {key:40}"));
                format!("{head} {media} → {scanned} → {how} → clean bucket  {took} ms")
            }
            Some(reason) => {
                let head = self.painted("31", &format!("  rejected {key:40}"));
                format!("{head} {media} → {scanned} → {}: {}  {took} ms", reason.code, reason.detail)
            }
        }
    }

    pub(super) fn died(&self, dead: &Message) {
        let header = |name: &str| dead.headers.get(name).map_or("?", String::as_str);
        self.say("\nA message that cannot be worked on: its event came, its object did not.");
        self.say(&format!(
            "  after {} attempts it is a dead letter: {} ({})",
            header("x-airlock-attempt"),
            header("x-airlock-error-code"),
            header("x-airlock-error-message")
        ));
        self.say("  Now the object arrives, and the dead letter is redriven:");
    }

    pub(super) fn redriven(&self, record: &Record) {
        self.say(&self.journey(record));
    }

    pub(super) fn summary(&mut self, took: Duration, wrong: usize) {
        self.outputs.sort();
        let digest = Sha256::of(self.outputs.concat().as_bytes()).to_string();
        if !self.json {
            self.say(&format!("\n{}", self.table));
        }
        let as_expected = if wrong == 0 { "all as expected".to_owned() } else { format!("{wrong} NOT as expected") };
        let size = ByteSize(self.bytes);
        self.say(&format!(
            "{size} in {:.1} s, {as_expected}. Clean outputs: sha256 {}…",
            took.as_secs_f32(),
            &digest[..16]
        ));
        self.say("The same files give the same outputs in every run.");
    }

    pub(super) fn what_next(&self) {
        self.say("\nWhat to try next:");
        self.say("  airlock demo --serve          keep it running and upload your own files with any S3 client");
        self.say("  airlock demo --keep out       look at what ended in which bucket, and at the verdict records");
        self.say("  airlock scan FILE... --json   the same verdicts for local files");
        self.say("  airlock config --default      a commented configuration for a real broker, store and clamd");
    }

    pub(super) fn serving(&self, world: &World) {
        let (endpoint, secret) = (world.s3.endpoint(), APP_SECRET);
        self.say("\nStill running; Ctrl-C ends it. Upload as the application, which may only put into quarantine and read clean:");
        self.say(&format!(
            "  export AWS_ACCESS_KEY_ID={APP_KEY} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION=us-east-1"
        ));
        self.say(&format!("  aws --endpoint-url {endpoint} s3 cp FILE s3://quarantine/"));
        self.say(&format!("  aws --endpoint-url {endpoint} s3 ls s3://clean/"));
        let admin = world.s3.admin();
        self.say(&format!("The operator's key, for every bucket: {} {}\n", admin.access_key, admin.secret_key));
    }

    fn painted(&self, color: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
