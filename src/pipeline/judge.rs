//! Judge: identify, scan, sanitize. The part of the pipeline that needs no bucket and no broker, so that
//! `airlock scan` and a worker give the same verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identify::{Identity, identify, memory_to_identify, panicked, unreadable};
use super::{Budget, millis, sanitize};
use crate::fault::Fault;
use crate::jail::Jail;
use crate::policy::Policy;
use crate::scanner::Engines;
use crate::stage::{Fetched, Halt, Rejection, Sanitized};
use crate::telemetry::metrics::Metrics;
use crate::verdict::{Stage, Timings};

/// A finding about a file.
#[derive(Debug)]
pub enum Judgement {
    Clean(Box<Sanitized>),
    Rejected(Box<Rejection>),
}

/// The engines and the memory that judging needs.
pub struct Judge {
    pub engines: Engines,
    pub budget: Budget,
    pub jail: Arc<Jail>,
    pub metrics: Arc<Metrics>,
}

impl Judge {
    /// Judges one file. Structure and engines look at the same snapshot at the same time; every engine sees every
    /// file, even one that identification refuses, so that malware is always known as malware.
    ///
    /// # Errors
    /// Our own trouble: an engine without an answer, a step that broke.
    pub async fn judge(&self, file: Fetched, policy: &Arc<Policy>, timings: &mut Timings) -> Result<Judgement, Fault> {
        let (identified, scanned) = tokio::join!(self.identify(&file, policy), self.scan(&file));
        let identity;
        (identity, timings.identify) = identified?;
        let answers;
        (answers, timings.scan) = scanned?;

        let Identity { examination, memory_to_sanitize } = identity;
        let trailing = examination.trailing;
        let scanned = match file.identified(examination).scanned(&answers) {
            Ok(scanned) => scanned,
            Err(Halt::Reject(rejection)) => return Ok(Judgement::Rejected(rejection)),
            Err(Halt::Fault(fault)) => return Err(fault),
        };
        let started = Instant::now();
        let resources = self.budget.reserve_with_core(memory_to_sanitize).await;
        let judgement = sanitize::sanitize(scanned, trailing, policy, self, resources).await;
        timings.sanitize = millis(started);
        self.metrics.took(Stage::Sanitize, started.elapsed());
        match judgement {
            Ok(sanitized) => Ok(Judgement::Clean(Box::new(sanitized))),
            Err(Halt::Reject(rejection)) => Ok(Judgement::Rejected(rejection)),
            Err(Halt::Fault(fault)) => Err(fault),
        }
    }

    async fn identify(&self, file: &Fetched, policy: &Arc<Policy>) -> Result<(Identity, u64), Fault> {
        let started = Instant::now();
        let start = file.snapshot().chunk(0).await.map_err(|e| unreadable(Stage::Identify, &e))?;
        let memory = self.budget.reserve(memory_to_identify(&start, file.snapshot().len(), policy)).await;
        let (snapshot, facts, policy) = (file.snapshot().clone(), file.facts().clone(), Arc::clone(policy));
        let identity = tokio::task::spawn_blocking(move || {
            let _memory = memory;
            snapshot.load().map(|bytes| identify(&bytes, &facts, &policy))
        });
        let identity = identity.await.map_err(|e| panicked(Stage::Identify, &e))?;
        let identity = identity.map_err(|e| unreadable(Stage::Identify, &e))?;
        Ok((identity, self.timed(Stage::Identify, started)))
    }

    async fn scan(&self, file: &Fetched) -> Result<(crate::scanner::Answers, u64), Fault> {
        let started = Instant::now();
        let answers = self.engines.scan(file.snapshot()).await?;
        Ok((answers, self.timed(Stage::Scan, started)))
    }

    fn timed(&self, stage: Stage, started: Instant) -> u64 {
        let took: Duration = started.elapsed();
        self.metrics.took(stage, took);
        u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
    }
}
