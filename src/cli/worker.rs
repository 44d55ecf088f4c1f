//! `airlock worker`: boot order, top to bottom.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Exit, Global, compose};
use crate::circuit::Circuit;
use crate::config::units::format_duration;
use crate::config::{Conditional, Limits, Settings};
use crate::fault::{Fault, FaultCode};
use crate::ops::{self, Health};
use crate::queue::amqp::AmqpBroker;
use crate::queue::session::Connector;
use crate::store::ObjectStore;
use crate::store::s3::{self, S3};
use crate::telemetry::metrics::Metrics;
use crate::verdict::Stage;
use crate::worker::Worker;
use crate::{shutdown, telemetry};

/// The longest wait for the store's answer at the start.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// The wait between attempts to reach the store at the start.
const STORE_RETRY: Duration = Duration::from_secs(2);

pub(super) async fn run(global: &Global) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    telemetry::init(&settings.log);
    let stop = shutdown::on_signal().map_err(|e| fatal(&format!("signals cannot be handled: {e}"), Exit::Fault))?;
    let engines = compose::engines(&settings).map_err(|f| fatal(&f.to_string(), Exit::Configuration))?;
    let (health, metrics) = (Arc::new(Health::new(engines.names())), Arc::new(Metrics::default()));
    let jail = compose::jail(&settings, &metrics).map_err(|f| fatal(&f.to_string(), Exit::Configuration))?;
    metrics.expect_tiers(&settings.retry.tiers);

    if let Some(address) = settings.ops.listen {
        let (address, serving) = ops::serve(address, Arc::clone(&health), Arc::clone(&metrics)).await.map_err(|e| {
            fatal(&format!("[ops] listen {address}: {e}; choose another address or \"off\""), Exit::Configuration)
        })?;
        tracing::info!("ops listener on http://{address}: /livez, /readyz, /metrics");
        tokio::spawn(serving);
    }
    tell_short_grace(&settings.limits);
    let store = s3::connect(&settings.s3).await;
    if !await_store(&settings, &store, &health, &stop).await? {
        return Ok(Exit::Ok);
    }
    let pipeline = Arc::new(compose::pipeline(&settings, store, engines, jail, &metrics));
    let limits = compose::limits(&settings);
    let name = &pipeline.worker.host;
    let connector = Connector::new(&settings.amqp, &settings.retry.tiers, limits.jobs, name)
        .map_err(|e| fatal(&format!("the AMQP runtime could not be started: {e}"), Exit::Fault))?;

    let circuit = Arc::new(Circuit::default());
    let probes = {
        let (pipeline, health, circuit) = (Arc::clone(&pipeline), Arc::clone(&health), Arc::clone(&circuit));
        let warn_age = settings.scan.warn_signature_age;
        tokio::spawn(async move { ops::probe_forever(&pipeline, &health, &circuit, warn_age).await })
    };
    Worker::new(AmqpBroker::new(connector), pipeline, limits, health, circuit).run(stop).await;
    probes.abort();
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

/// Nobody has to act on it, but whoever wonders why a job ran twice finds the reason here.
fn tell_short_grace(limits: &Limits) {
    let (grace, deadline) = (limits.grace, limits.job_deadline);
    if grace < deadline {
        let (grace, deadline) = (format_duration(grace), format_duration(deadline));
        tracing::info!(
            "a job may take {deadline} (limits.job_deadline), a stop waits {grace} (limits.grace): longer jobs are handed \
             back then, unfinished, and another worker does them again; nothing is lost"
        );
    }
}

/// Waits until the store answers, and refuses one whose answer makes the ledger's promise impossible. `false`
/// when a stop came first.
async fn await_store(settings: &Settings, store: &S3, health: &Health, stop: &CancellationToken) -> Result<bool, Exit> {
    if settings.ledger.conditional == Conditional::Off {
        return Ok(true);
    }
    while !stop.is_cancelled() {
        // Bounded, so that the loop turns and liveness does not suffer from a store that keeps silent.
        let answer = tokio::time::timeout(STORE_PATIENCE, store.is_conditional(&settings.ledger.bucket));
        let answer = tokio::select! { () = stop.cancelled() => break, answer = answer => answer };
        match answer.unwrap_or_else(|_| Err(silent())) {
            Ok(true) => return Ok(true),
            Ok(false) => {
                let what = format!(
                    "the store ignores If-None-Match on PUT into bucket {}, so two workers could record different \
                     verdicts for one upload. Ceph does so in buckets with versioning: switch it off for the ledger. \
                     Otherwise use another store, or accept it with [ledger] conditional = \"off\"",
                    settings.ledger.bucket
                );
                return Err(fatal(&what, Exit::Configuration));
            }
            Err(fault) => {
                tracing::warn!("the ledger bucket does not answer yet: {fault}");
                health.dependency("s3", Err(fault.to_string()));
                health.tick();
                tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(STORE_RETRY) => {} }
            }
        }
    }
    Ok(false)
}

fn silent() -> Fault {
    let detail = format!("no answer within {} s", STORE_PATIENCE.as_secs());
    Fault::new(FaultCode::S3Unavailable, Stage::Record, detail)
}

fn fatal(what: &str, exit: Exit) -> Exit {
    eprintln!("airlock worker: {what}");
    exit
}
