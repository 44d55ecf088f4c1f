//! `airlock reconcile`: find uploads whose event was lost, and clean up what is judged already.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::walk::{self, Resume};
use super::{Exit, Global, compose};
use crate::config::{Settings, units};
use crate::fault::Fault;
use crate::object::{Bucket, ObjectKey, VersionId};
use crate::pace::{Pace, Rate};
use crate::pipeline::Aftermath;
use crate::queue::amqp::Confirmed;
use crate::reconcile::{Finding, Page, Reconciler, Summary, Walk};
use crate::route::Route;
use crate::store::Listed;
use crate::store::s3::{self, S3};
use crate::{shutdown, telemetry};

#[derive(Debug, Args)]
#[command(
    after_help = "An upload that waits in a queue, a retry tier or the dead-letter queue has no verdict either, \
    and is announced once more by each run: let --older-than be longer than events usually wait. Safe beside running \
    workers, and to run twice. Exit codes: 0 all done, 2 fault, 64 usage, 69 store or broker do not answer, \
    78 configuration, 130 interrupted."
)]
pub(super) struct ReconcileArgs {
    /// Only this route; otherwise all
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Leave younger uploads alone: their event is probably on its way
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = units::parse_duration)]
    older_than: Duration,
    /// How many to announce or clean up at most, per s, m or h
    #[arg(long, value_name = "N/UNIT", default_value = "50/s")]
    rate: Rate,
    /// Tell what would be done, do nothing
    #[arg(long)]
    dry_run: bool,
    /// One line of JSON for each finding and for the summary on standard output
    #[arg(long)]
    json: bool,
    /// Keep the place in this file, and go on from it if it is there
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    resume: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, args: &ReconcileArgs) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    let routes: Vec<&Route> = match &args.route {
        Some(name) => vec![walk::route(&settings, name).map_err(|e| refused(&e, Exit::Usage))?],
        None => settings.routes.iter().map(AsRef::as_ref).collect(),
    };
    telemetry::init(&settings.log);
    let stop = shutdown::on_signal().map_err(|e| refused(&format!("signals cannot be handled: {e}"), Exit::Fault))?;
    let names: Vec<&str> = routes.iter().map(|r| r.name.as_str()).collect();
    let task = format!("reconcile {}", names.join(","));
    let mut resume = Resume::open(args.resume.as_deref(), task).map_err(|e| refused(&e, Exit::Usage))?;
    let publisher = if args.dry_run {
        None
    } else {
        let opened = compose::publisher(&settings, "reconcile").await;
        Some(opened.map_err(|fault| refused(&format!("{fault}; nothing was done"), walk::exit(&fault, false)))?)
    };

    let (bar, before) = (walk::progress(), resume.state.counts);
    let mut tell = |listed: &Listed, finding, fault: Option<&Fault>| args.tell(&bar, listed, finding, fault);
    let mut under_way = Walk { summary: before, pace: Pace::new(Some(args.rate)), tell: &mut tell, stop };
    let ended = all(&settings, args, publisher, &routes, &mut resume, &mut under_way).await;
    let summary = under_way.summary;
    bar.finish_and_clear();
    let exit = match &ended {
        Ok(true) if summary.failed > 0 => Exit::Fault,
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::Interrupted,
        Err(Trouble::Fault(fault)) => walk::exit(fault, summary != before),
        Err(Trouble::State(_)) => Exit::Fault,
    };
    if let Err(trouble) = &ended {
        eprintln!("airlock reconcile: {trouble}");
    }
    args.summarize(&summary, ended.as_ref().is_ok_and(|complete| *complete));
    if ended.is_ok_and(|complete| complete) {
        resume.finish();
    }
    Ok(exit)
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    State(String),
}

/// Goes through the buckets of all routes from where the state says; `false` when it was stopped.
async fn all(
    settings: &Settings,
    args: &ReconcileArgs,
    publisher: Option<Confirmed>,
    routes: &[&Route],
    resume: &mut Resume<Summary>,
    walk: &mut Walk<'_>,
) -> Result<bool, Trouble> {
    let store: Arc<S3> = Arc::new(s3::connect(&settings.s3).await);
    let (ledger, worker) = (compose::ledger(settings, &store), compose::worker_info());
    let aftermath = Aftermath { store: &*store, worker: &worker, delete_source: compose::deletes_sources(settings) };
    let reconciler = Reconciler { ledger: &ledger, aftermath, publisher, older_than: args.older_than };
    let (first, mut after) = match resume.state.at.clone() {
        Some((route, after)) => (routes.iter().position(|r| r.name == route).unwrap_or(0), after),
        None => (0, None),
    };
    for route in routes.iter().skip(first) {
        loop {
            let page = reconciler.page(route, after.as_ref(), walk).await?;
            after = match page {
                Page::Stopped => return Ok(false),
                Page::More(next) => Some(next),
                Page::Last => break,
            };
            resume.state.at = Some((route.name.clone(), after.clone()));
            resume.state.counts = walk.summary;
            resume.save().map_err(Trouble::State)?;
        }
        after = None;
    }
    Ok(true)
}

/// One version as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    finding: Finding,
    dry_run: bool,
    bucket: &'a Bucket,
    key: &'a ObjectKey,
    version_id: Option<&'a VersionId>,
    detail: Option<&'a str>,
}

/// The last line.
#[derive(Serialize)]
struct Last<'a> {
    schema: &'static str,
    summary: &'a Summary,
    dry_run: bool,
    complete: bool,
}

const SCHEMA: &str = "airlock.reconcile.v1";

impl ReconcileArgs {
    /// A line for each version with which something was done or is wrong.
    fn tell(&self, bar: &ProgressBar, listed: &Listed, finding: Finding, fault: Option<&Fault>) {
        bar.inc(1);
        let done = match finding {
            Finding::TooYoung | Finding::Judged => return,
            Finding::CleanedUp if self.dry_run => "would be cleaned up",
            Finding::CleanedUp => "cleaned up",
            Finding::Reinjected if self.dry_run => "would be re-injected",
            Finding::Reinjected => "re-injected",
            Finding::Unreachable => "unreachable",
            Finding::Failed => "failed",
        };
        let object = &listed.object;
        let detail = fault.map(|f| f.detail.as_str());
        if !self.json {
            let detail = detail.map(|d| format!(": {d}")).unwrap_or_default();
            walk::print(bar, &format!("{done:<12} {object}{detail}"));
            return;
        }
        let line = Line {
            schema: SCHEMA,
            finding,
            dry_run: self.dry_run,
            bucket: &object.bucket,
            key: &object.key,
            version_id: object.version.as_ref(),
            detail,
        };
        walk::print(bar, &serde_json::to_string(&line).unwrap_or_default());
    }

    fn summarize(&self, summary: &Summary, complete: bool) {
        if self.json {
            let last = Last { schema: SCHEMA, summary, dry_run: self.dry_run, complete };
            walk::print(&ProgressBar::hidden(), &serde_json::to_string(&last).unwrap_or_default());
            return;
        }
        let Summary { looked_at, too_young, judged, cleaned_up, reinjected, unreachable, failed } = summary;
        let would = if self.dry_run { "would be " } else { "" };
        eprintln!("{looked_at} looked at");
        eprintln!("  {reinjected} {would}re-injected");
        eprintln!("  {judged} already judged, {cleaned_up} of them {would}cleaned up");
        eprintln!("  {too_young} too young");
        if *unreachable > 0 {
            eprintln!("  {unreachable} unreachable: without a version, and below one that has one");
        }
        if *failed > 0 {
            eprintln!("  {failed} failed");
        }
        if !complete {
            let file = self.resume.as_ref().map(|f| format!("; --resume {} goes on", f.display()));
            eprintln!("ended early{}", file.unwrap_or_default());
        }
    }
}

fn refused(what: &str, exit: Exit) -> Exit {
    eprintln!("airlock reconcile: {what}");
    exit
}
