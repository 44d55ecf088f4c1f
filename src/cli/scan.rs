//! `airlock scan`: the judging half of the pipeline over local files.

mod inputs;
mod output;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::inputs::Input;
use super::table::{Row, Table};
use super::{Exit, Global, compose};
use crate::clock;
use crate::config::Settings;
use crate::fault::{Fault, FaultCode, FaultRecord, FaultSchema, fault_id};
use crate::pipeline::{Judge, Judgement, record};
use crate::policy::Policy;
use crate::stage::Halt;
use crate::verdict::{Record, Source, Stage, Timings, Verdict, WorkerInfo};

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// One verdict or fault as JSON per line on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
    /// Write the sanitized files below this folder, under the same relative paths
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The policy that judges
    #[arg(long, default_value = "default", value_name = "NAME")]
    policy: String,
    /// Scan engine, clamd or yara; may be repeated
    #[arg(long = "engine", value_name = "ENGINE")]
    engines: Vec<String>,
    /// Address of clamd: tcp://HOST:PORT or unix:///PATH
    #[arg(long, value_name = "ADDR")]
    clamd: Option<String>,
    /// YARA rule file or glob; may be repeated
    #[arg(long, value_name = "FILE")]
    rules: Vec<String>,
    /// Files at the same time [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// What the uploader declares as the type of every file
    #[arg(long, value_name = "TYPE")]
    declared_type: Option<String>,
}

impl ScanArgs {
    /// The flags, written as settings: one place checks both.
    fn as_settings(&self) -> Vec<String> {
        let list = |items: &[String]| serde_json::Value::from(items.to_vec()).to_string();
        let mut flags = Vec::new();
        if !self.engines.is_empty() {
            flags.push(format!("scan.engines={}", list(&self.engines)));
        }
        if let Some(address) = &self.clamd {
            flags.push(format!("clamd.addresses={}", list(std::slice::from_ref(address))));
        }
        if !self.rules.is_empty() {
            flags.push(format!("yara.rules={}", list(&self.rules)));
        }
        if let Some(jobs) = self.jobs {
            flags.push(format!("limits.jobs={jobs}"));
        }
        flags
    }
}

/// Everything that one file needs.
struct Scanner<'a> {
    judge: Judge,
    policy: Arc<Policy>,
    args: &'a ScanArgs,
    worker: WorkerInfo,
    deadline: std::time::Duration,
}

/// The line for one input.
enum Line {
    Verdict(Box<Record>),
    Fault(Box<FaultRecord>),
}

pub(super) async fn run(global: &Global, args: &ScanArgs) -> Result<Exit, Exit> {
    let settings = global.settings_with(args.as_settings())?;
    let Some(policy) = settings.policies.get(&args.policy) else {
        let known: Vec<&str> = settings.policies.keys().map(String::as_str).collect();
        return Err(usage(&format!("there is no policy {}; known: {}", args.policy, known.join(", "))));
    };
    let inputs = inputs::collect(&args.paths).map_err(|e| usage(&e))?;
    if let Some(dir) = &args.out {
        output::check(dir, &inputs).map_err(|e| usage(&e))?;
    }
    let metrics = Arc::default();
    let parts = compose::engines(&settings).and_then(|engines| Ok((engines, compose::jail(&settings, &metrics)?)));
    let (engines, jail) = parts.map_err(|f| unavailable(&f))?;
    let judge = compose::judge(&settings, engines, jail, &metrics);
    for probe in judge.engines.probe().await {
        probe.answer.map_err(|f| unavailable(&f))?;
    }
    let worker = compose::worker_info();
    let scanner = Scanner { judge, policy: Arc::clone(policy), args, worker, deadline: settings.limits.job_deadline };
    tokio::select! {
        exit = scanner.all(inputs, &settings) => Ok(exit),
        _ = tokio::signal::ctrl_c() => Err(Exit::Interrupted),
    }
}

fn usage(what: &str) -> Exit {
    eprintln!("airlock scan: {what}");
    Exit::Usage
}

fn unavailable(fault: &Fault) -> Exit {
    eprintln!("airlock scan: {fault}");
    eprintln!("Nothing was scanned. Name a running clamd with --clamd, or use --engine yara --rules FILE.");
    if fault.code == FaultCode::RulesBroken { Exit::Configuration } else { Exit::Unavailable }
}

impl Scanner<'_> {
    /// Judges all inputs, some at a time, and reports them in their order.
    async fn all(&self, inputs: Vec<Input>, settings: &Settings) -> Exit {
        let bar = progress(inputs.len());
        let mut lines = stream::iter(inputs).map(|input| self.one(input)).buffered(settings.limits.jobs);
        let (mut table, mut exit) = (Table::default(), Exit::Ok);
        while let Some(line) = lines.next().await {
            bar.inc(1);
            exit = exit.max(match &line {
                Line::Verdict(record) if record.verdict == Verdict::Clean => Exit::Ok,
                Line::Verdict(_) => Exit::Negative,
                Line::Fault(_) => Exit::Fault,
            });
            if self.args.json {
                print_json(&line);
            } else {
                table.push(match &line {
                    Line::Verdict(record) => Row::of_record(record),
                    Line::Fault(fault) => Row::of_fault(fault),
                });
            }
        }
        bar.finish_and_clear();
        if !self.args.json {
            println!("{table}");
        }
        exit
    }

    async fn one(&self, input: Input) -> Line {
        let name = input.name();
        match tokio::time::timeout(self.deadline, self.judge_one(&input)).await {
            Ok(Ok(record)) => Line::Verdict(Box::new(record)),
            Ok(Err(fault)) => fault_line(&fault, name),
            Err(_) => {
                let detail = format!("not done after {} s", self.deadline.as_secs());
                fault_line(&Fault::new(FaultCode::DeadlineExceeded, Stage::Scan, detail), name)
            }
        }
    }

    async fn judge_one(&self, input: &Input) -> Result<Record, Fault> {
        let (started, started_at) = (Instant::now(), clock::now());
        let mut timings = Timings::default();
        let fetched = input.fetch(self.args.declared_type.as_deref(), self.policy.max_size).await;
        timings.fetch = millis(started);
        let judgement = match fetched {
            Ok(fetched) => self.judge.judge(fetched, &self.policy, &mut timings).await?,
            Err(Halt::Reject(rejection)) => Judgement::Rejected(rejection),
            Err(Halt::Fault(fault)) => return Err(fault),
        };
        let output = match (&self.args.out, &judgement) {
            (Some(dir), Judgement::Clean(file)) => Some(output::write(dir, input, file).await?),
            _ => None,
        };
        timings.total = millis(started);
        Ok(record::of_local_file(&judgement, output, &self.policy, &self.worker, timings, started_at))
    }
}

fn fault_line(fault: &Fault, name: String) -> Line {
    let source = Source {
        bucket: None,
        version_id: None,
        etag: None,
        size: 0,
        sha256: None,
        declared_type: None,
        filename: None,
        detected_type: None,
        last_modified: None,
        key: name,
    };
    Line::Fault(Box::new(FaultRecord {
        schema: FaultSchema::V1,
        id: fault_id(&source.key, fault.code),
        code: fault.code,
        stage: fault.stage,
        detail: fault.detail.clone(),
        source: Some(source),
        attempt: 1,
        at: clock::rfc3339(clock::now()),
    }))
}

fn print_json(line: &Line) {
    let json = match line {
        Line::Verdict(record) => serde_json::to_string(record),
        Line::Fault(fault) => serde_json::to_string(fault),
    };
    // A reader that went away (a closed pipe) has seen all it wanted.
    let _ = writeln!(std::io::stdout(), "{}", json.unwrap_or_default());
}

/// A progress bar on a terminal, nothing elsewhere.
fn progress(files: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(files as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {elapsed} elapsed, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
