//! The command line, and the composition root: the one place that names adapters and pipeline together.

mod compose;
mod config;
mod demo;
mod dlq;
mod exit;
mod healthcheck;
mod reconcile;
mod scan;
mod submit;
mod table;
mod topology;
mod walk;
mod worker;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::exit::Exit;
use crate::config::{Settings, Sources};

/// Upload quarantine and scanning worker: fetch, identify, scan, sanitize, promote or reject.
#[derive(Debug, Parser)]
#[command(name = "airlock", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 ok, 1 a negative finding (something was rejected, nothing \
    matches), 2 fault, 64 usage, 69 a dependency is unavailable, 78 configuration, 130 interrupted.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [env: AIRLOCK_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one setting, e.g. --set limits.jobs=2; may be repeated
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume upload events until SIGTERM or SIGINT
    Worker,
    /// Judge local files and folders with the same pipeline: no broker, no bucket
    Scan(scan::ScanArgs),
    /// Run the whole system on embedded parts with the test data, and show what happens
    Demo(demo::DemoArgs),
    /// Publish upload events for keys or a prefix of a quarantine bucket
    Submit(submit::SubmitArgs),
    /// Find uploads in quarantine whose event was lost, and clean up those that are judged already
    Reconcile(reconcile::ReconcileArgs),
    /// Look through the dead-letter queue, send messages back to work, or drop them
    Dlq(dlq::DlqArgs),
    /// Print, declare or check what the broker has to have: exchanges, queues, bindings, policies
    Topology(topology::TopologyArgs),
    /// Print the effective configuration with secrets redacted
    Config(config::ConfigArgs),
    /// Decode images for a worker, confined; started by it alone
    #[command(hide = true)]
    Jail,
    /// Ask a running worker whether it is alive and ready; for container probes
    Healthcheck(healthcheck::HealthcheckArgs),
}

impl Global {
    fn sources(&self) -> Sources {
        Sources::from_process(self.config.clone(), self.set.clone())
    }

    /// The settings, or every mistake in them on standard error.
    fn settings(&self) -> Result<Settings, Exit> {
        crate::config::load(&self.sources()).map_err(|errors| {
            eprintln!("{errors}");
            Exit::Configuration
        })
    }

    /// The settings with the flags of a command in front, written as settings.
    fn settings_with(&self, flags: Vec<String>) -> Result<Settings, Exit> {
        let set = [self.set.clone(), flags].concat();
        Self { config: self.config.clone(), set }.settings()
    }
}

/// Parses the arguments of this process and runs the command.
#[must_use]
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let wanted = !e.use_stderr();
            // Nothing is left to do when even this cannot be printed.
            let _ = e.print();
            return if wanted { Exit::Ok } else { Exit::Usage };
        }
    };
    let result = match cli.command {
        Command::Worker => run(worker::run(&cli.global)),
        Command::Scan(args) => run(scan::run(&cli.global, &args)),
        Command::Demo(args) => run(demo::run(&args)),
        Command::Submit(args) => run(submit::run(&cli.global, &args)),
        Command::Reconcile(args) => run(reconcile::run(&cli.global, &args)),
        Command::Dlq(args) => run(dlq::run(&cli.global, &args)),
        Command::Topology(args) => run(topology::run(&cli.global, &args)),
        Command::Config(args) => config::run(&cli.global, &args),
        Command::Jail => jail(),
        Command::Healthcheck(args) => run(healthcheck::run(&cli.global, &args)),
    };
    result.unwrap_or_else(|exit| exit)
}

/// A child of the jail: one thread and no runtime.
fn jail() -> Result<Exit, Exit> {
    crate::jail::serve().map(|()| Exit::Ok).map_err(|_| Exit::Fault)
}

/// Runs a command on a runtime of its own.
fn run(command: impl Future<Output = Result<Exit, Exit>>) -> Result<Exit, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        eprintln!("airlock: the async runtime could not be started: {e}");
        Exit::Fault
    })?;
    let result = runtime.block_on(command);
    // A blocking task may still decode an image whose job is over: it must not hold the exit up.
    runtime.shutdown_background();
    result
}
