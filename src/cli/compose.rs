//! From settings to the parts of a running Airlock.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Cleanup, Conditional, EngineName, JailMode, Settings};
use crate::fault::{Fault, FaultCode};
use crate::jail::Jail;
use crate::ledger::Ledger;
use crate::pipeline::{Budget, Judge, Pipeline};
use crate::queue::amqp::Confirmed;
use crate::queue::session::Connector;
use crate::scanner::clamd::Clamd;
use crate::scanner::yara::Yara;
use crate::scanner::{Engines, Scanner};
use crate::settlement::RetryRules;
use crate::snapshot::Spool;
use crate::store::ObjectStore;
use crate::telemetry::metrics::Metrics;
use crate::verdict::{Stage, WorkerInfo};
use crate::worker::Limits;

/// The configured engines. Rules are compiled here; clamd is connected to when it is first asked.
///
/// # Errors
/// `rules.broken`.
pub fn engines(settings: &Settings) -> Result<Engines, Fault> {
    let engine = |name: &EngineName| -> Result<Box<dyn Scanner>, Fault> {
        Ok(match name {
            EngineName::Clamd => Box::new(Clamd::new(settings)),
            EngineName::Yara => Box::new(Yara::from_files(&settings.yara.rules)?),
        })
    };
    Engines::new(settings.scan.engines.iter().map(engine).collect::<Result<_, _>>()?)
}

/// Where snapshots go.
pub fn spool(settings: &Settings) -> Spool {
    let limits = &settings.limits;
    Spool::new(limits.snapshot_memory, limits.spool, limits.temp_dir.clone())
}

/// Where images are decoded: one child per core, or this process where that is wanted.
///
/// # Errors
/// `jail.unavailable` when children cannot be started, or lack a layer that is required.
pub fn jail(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Arc<Jail>, Fault> {
    let mode = settings.limits.jail;
    if mode == JailMode::Off {
        tracing::warn!("[limits] jail = \"off\": images are decoded in the worker itself");
        return Ok(Arc::new(Jail::off()));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // This very program, even when its file has been replaced meanwhile.
    let on_loss = Box::new({
        let metrics = Arc::clone(metrics);
        move |how| metrics.decoder_lost(how)
    });
    let (jail, held) = Jail::start(Path::new("/proc/self/exe"), cores, settings.limits.image_deadline, on_loss)?;
    metrics.held(held);
    let missing = held.missing().join(", ");
    if !missing.is_empty() {
        if mode == JailMode::Require {
            let detail = format!(
                "this kernel or container has no {missing}, and [limits] jail = \"require\"; allow it (a container's \
                 own seccomp profile may forbid it), or accept less with \"best_effort\""
            );
            return Err(Fault::new(FaultCode::JailUnavailable, Stage::Sanitize, detail));
        }
        tracing::warn!("image decoders are held without {missing}: the kernel or the container's profile lacks it");
    }
    Ok(Arc::new(jail))
}

/// The judging part, with the whole memory budget.
pub fn judge(settings: &Settings, engines: Engines, jail: Arc<Jail>, metrics: &Arc<Metrics>) -> Judge {
    let budget = Budget::new(settings.limits.memory, Arc::clone(metrics));
    Judge { engines, budget, jail, metrics: Arc::clone(metrics) }
}

/// The pipeline over a store.
pub fn pipeline<S: ObjectStore>(
    settings: &Settings,
    store: S,
    engines: Engines,
    jail: Arc<Jail>,
    metrics: &Arc<Metrics>,
) -> Pipeline<S> {
    let store = Arc::new(store);
    Pipeline {
        ledger: ledger(settings, &store),
        store,
        routes: settings.routes.clone(),
        judge: judge(settings, engines, jail, metrics),
        spool: spool(settings),
        delete_source: deletes_sources(settings),
        worker: worker_info(),
        metrics: Arc::clone(metrics),
    }
}

/// The verdict records in a store.
pub fn ledger<S: ObjectStore>(settings: &Settings, store: &Arc<S>) -> Ledger<S> {
    let conditional = settings.ledger.conditional == Conditional::Require;
    Ledger::new(Arc::clone(store), settings.ledger.bucket.clone(), conditional)
}

/// Whether judged source versions are deleted.
pub fn deletes_sources(settings: &Settings) -> bool {
    settings.s3.cleanup == Cleanup::Version
}

/// A publisher for a tool, which the broker's own tools show under this name.
///
/// # Errors
/// `broker.unavailable`.
pub async fn publisher(settings: &Settings, name: &str) -> Result<Confirmed, Fault> {
    let connector = Connector::new(&settings.amqp, &settings.retry.tiers, 1, name)
        .map_err(|e| Fault::new(FaultCode::Internal, Stage::Event, e.to_string()))?;
    Confirmed::open(connector).await
}

/// The limits of a worker.
pub fn limits(settings: &Settings) -> Limits {
    Limits {
        jobs: settings.limits.jobs,
        per_uploader: settings.limits.per_uploader,
        job_deadline: settings.limits.job_deadline,
        grace: settings.limits.grace,
        retry: RetryRules { tiers: settings.retry.tiers.clone(), attempts: settings.retry.attempts },
    }
}

/// This host and this version.
pub fn worker_info() -> WorkerInfo {
    // Linux tells the name here, and in a container it is the pod's; elsewhere nothing depends on it.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|h| !h.is_empty()).unwrap_or("localhost").to_owned();
    WorkerInfo { host, version: env!("CARGO_PKG_VERSION").to_owned() }
}
