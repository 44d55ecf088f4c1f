//! Airlock and a yardstick worker, one after the other on the same real services and the same kinds of files.
//!
//! `scripts/bench` starts the services and calls this; `benches/README.md` tells what is measured and how to read it.

mod files;
mod report;
mod services;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use clap::Parser;

use self::files::Set;
use self::report::{Measured, Row};
use self::services::{Results, Services};
use self::worker::{Process, Usage, Worker};

/// Everything here ends at the first error; a person reads it.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// How often the end is looked for; the rate does not depend on it.
const POLL: Duration = Duration::from_millis(200);

/// The longest wait for a worker to consume.
const BOOT: Duration = Duration::from_mins(1);

/// The longest wait for the end of a set: this, and a second for each file.
const PATIENCE: Duration = Duration::from_mins(2);

/// The goal for Airlock's memory with eight of the largest files at once: 300 MB.
const MEMORY_GOAL_MIB: f64 = 300e6 / 1_048_576.0;

/// Compares the Airlock worker with a yardstick worker on real services.
#[derive(Parser)]
#[command(name = "scripts/bench")]
struct Args {
    /// Folder of the yardstick: package.json and worker.mjs (benches/README.md); without it Airlock runs alone
    #[arg(long, value_name = "DIR")]
    peer: Option<PathBuf>,
    /// Repeat everything and print medians
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=50))]
    runs: u64,
    /// More or fewer files: 0.1 for a quick look, 5 for a long one
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    files_scale: f64,
    /// Instead, eight of the largest files at once, to see the peak of memory
    #[arg(long)]
    memory: bool,
    /// Override one setting of Airlock, e.g. --set "limits.memory=512 MiB"; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !args.bench {
        println!("Only scripts/bench compares workers.");
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&format!("the async runtime could not be started: {e}")),
    };
    match runtime.block_on(compare(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&describe(e.as_ref())),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("bench: {why}");
    ExitCode::FAILURE
}

/// An error with its causes: those of the S3 SDK say the least themselves.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| (*e).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn compare(args: &Args) -> Result<()> {
    let (sets, jobs) = if args.memory { (files::large()?, 8) } else { (files::usual(args.files_scale)?, 4) };
    let airlock = Worker::Airlock { set: args.set.clone() };
    let peer = yardstick(args.peer.as_deref()).await?;
    let mut rows: Vec<Row> =
        sets.iter().map(|set| Row { set: set.name, airlock: Vec::new(), peer: Vec::new() }).collect();
    let mut salt = 0;
    for run in 0..args.runs {
        for (set, row) in sets.iter().zip(&mut rows) {
            let mut turns = vec![(&airlock, &mut row.airlock)];
            turns.extend(peer.as_ref().map(|peer| (peer, &mut row.peer)));
            // Whoever comes second finds a store and a broker that are warm: they take turns.
            if run % 2 == 1 {
                turns.reverse();
            }
            for (worker, measurements) in turns {
                salt += 1;
                let measured = measure(worker, set, salt, jobs).await?;
                eprintln!("run {}, {}, {}: {measured}", run + 1, set.name, worker.name());
                measurements.push(measured);
            }
        }
    }
    print(args, &rows, jobs);
    Ok(())
}

fn print(args: &Args, rows: &[Row], jobs: usize) {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let runs = if args.runs == 1 { "one run".to_owned() } else { format!("medians of {} runs", args.runs) };
    println!("\nairlock {}, {cores} cores, {jobs} files at a time, {runs}", env!("CARGO_PKG_VERSION"));
    println!("\n{}", report::table(rows));
    if args.memory {
        println!("\nThe goal for Airlock is a peak below {MEMORY_GOAL_MIB:.0} MiB (300 MB).");
    }
    for warning in report::warnings(rows) {
        println!("\nNOT COMPARABLE: {warning}");
    }
}

/// The yardstick with its packages installed, or one line about why there is none.
async fn yardstick(folder: Option<&Path>) -> Result<Option<Worker>> {
    let Some(folder) = folder else {
        println!("No yardstick: give the folder of one with --peer DIR (benches/README.md). Airlock runs alone.");
        return Ok(None);
    };
    if !folder.join("worker.mjs").is_file() {
        println!("No yardstick: there is no worker.mjs in {}. Airlock runs alone.", folder.display());
        return Ok(None);
    }
    worker::install(folder).await?;
    Ok(Some(Worker::Peer { folder: folder.to_owned() }))
}

/// One worker over one set, with services of its own.
async fn measure(worker: &Worker, set: &Set, salt: u64, jobs: usize) -> Result<Measured> {
    let services = Services::new(worker.wants_quorum()).await?;
    let measured = run(worker, set, salt, jobs, &services).await;
    let removed = services.remove().await;
    let measured = measured.map_err(|e| format!("{}, {}: {}", worker.name(), set.name, describe(e.as_ref())))?;
    removed?;
    Ok(measured)
}

async fn run(worker: &Worker, set: &Set, salt: u64, jobs: usize, services: &Services) -> Result<Measured> {
    let uploads = services.upload(set, salt).await?;
    let mut process = worker.start(services, jobs)?;
    let started = Instant::now();
    while !services.has_consumer().await? {
        process.must_run()?;
        if started.elapsed() > BOOT {
            return Err(format!("the worker does not consume; its log ends:\n{}", process.tail()).into());
        }
        tokio::time::sleep(POLL).await;
    }
    let before = process.usage_at_rest().await?;
    let announced = SystemTime::now();
    services.announce(&uploads).await?;
    until_done(services, &mut process, uploads.len()).await?;
    let after = process.usage_at_rest().await?;
    process.stop().await?;
    let results = services.results().await?;
    let seconds = until_last(announced, &results)?;
    Ok(figures(uploads.len(), seconds, before, after, results.clean.len()))
}

async fn until_done(services: &Services, process: &mut Process, files: usize) -> Result<()> {
    let patience = PATIENCE + Duration::from_secs(files as u64);
    let started = Instant::now();
    while !services.is_done().await? {
        process.must_run()?;
        if started.elapsed() > patience {
            let left = services.left().await?;
            let (waited, log) = (patience.as_secs(), process.tail());
            return Err(
                format!("{left} of {files} files are still there after {waited} s; the log ends:\n{log}").into()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Seconds until the last result was there. The store dates it, on the same machine as our clock.
fn until_last(announced: SystemTime, results: &Results) -> Result<f64> {
    let arrivals = results.clean.iter().chain(&results.rejected).map(DateTime::as_secs_f64);
    let last = arrivals.fold(0.0, f64::max);
    Ok((last - announced.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64()).max(0.001))
}

#[expect(clippy::cast_precision_loss, reason = "counts of files and KiB are small")]
fn figures(files: usize, seconds: f64, before: Usage, after: Usage, clean: usize) -> Measured {
    let cpu = after.cpu.saturating_sub(before.cpu);
    Measured {
        files,
        clean,
        rate: files as f64 / seconds,
        cpu_ms: cpu.as_secs_f64() * 1000.0 / files as f64,
        peak_mib: after.peak_kib as f64 / 1024.0,
    }
}
