//! Prometheus metrics: names start with `airlock_`, units are in the names, labels are closed sets that start at
//! zero. Never a key, a digest or an uploader as a label.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::fault::FaultCode;
use crate::jail::Confinement;
use crate::media::MediaType;
use crate::verdict::{ReasonCode, Record, Stage, Verdict};

/// Anything with a closed set of names, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(&'static str);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: Name,
    reason: Name,
    r#type: Name,
}

/// The tiers come from the configuration, so they are a closed set as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    code: Name,
    tier: String,
}

macro_rules! labels {
    ($($name:ident { $field:ident })*) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $field: Name,
        }
    )*};
}
labels! {
    CodeLabel { code }
    StageLabel { stage }
    DirectionLabel { direction }
    DependencyLabel { name }
    WhereLabel { r#where }
    ReasonLabel { reason }
    LayerLabel { layer }
    HowLabel { how }
}

type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    verdicts: Family<VerdictLabels, Counter>,
    faults: Family<CodeLabel, Counter>,
    stage_seconds: Family<StageLabel, Histogram>,
    bytes: Family<DirectionLabel, Counter>,
    jobs_in_flight: Gauge,
    memory_reserved: Gauge,
    retries: Family<RetryLabels, Counter>,
    dead_letters: Family<CodeLabel, Counter>,
    signature_age: Seconds,
    dependency_up: Family<DependencyLabel, Gauge>,
    session_restarts: Family<ReasonLabel, Counter>,
    duplicates: Family<WhereLabel, Counter>,
    moved_to_bulk: Counter,
    jail_layers: Family<LayerLabel, Gauge>,
    decoders_lost: Family<HowLabel, Counter>,
}

/// Upper bounds of the stage histogram in seconds: a cache hit, an image, the job deadline.
const STAGE_BUCKETS: [f64; 13] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// The dependencies that are reported apart.
pub const DEPENDENCIES: [&str; 4] = ["amqp", "s3", "clamd", "yara"];

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("airlock"),
            verdicts: Family::default(),
            faults: Family::default(),
            stage_seconds: Family::new_with_constructor(|| Histogram::new(STAGE_BUCKETS)),
            bytes: Family::default(),
            jobs_in_flight: Gauge::default(),
            memory_reserved: Gauge::default(),
            retries: Family::default(),
            dead_letters: Family::default(),
            signature_age: Seconds::default(),
            dependency_up: Family::default(),
            session_restarts: Family::default(),
            duplicates: Family::default(),
            moved_to_bulk: Counter::default(),
            jail_layers: Family::default(),
            decoders_lost: Family::default(),
        };
        metrics.register();
        metrics.start_at_zero();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("verdicts", "Verdicts recorded by this process", self.verdicts.clone());
        r.register("faults", "Attempts that ended in a fault", self.faults.clone());
        let help = "Time spent in each step of the pipeline";
        r.register_with_unit("stage", help, Unit::Seconds, self.stage_seconds.clone());
        r.register("bytes", "Bytes fetched from and stored to the object store", self.bytes.clone());
        r.register("jobs_in_flight", "Jobs under way", self.jobs_in_flight.clone());
        let help = "Memory set aside for the jobs under way";
        r.register_with_unit("memory_reserved", help, Unit::Bytes, self.memory_reserved.clone());
        r.register("retries", "Messages sent to a wait queue", self.retries.clone());
        r.register("dead_letters", "Messages sent to the dead-letter queue", self.dead_letters.clone());
        let help = "Age of the signature database at the last probe";
        r.register_with_unit("signature_age", help, Unit::Seconds, self.signature_age.clone());
        r.register("dependency_up", "Whether the last probe of a dependency succeeded", self.dependency_up.clone());
        r.register("session_restarts", "Broker sessions that ended and were rebuilt", self.session_restarts.clone());
        r.register("duplicates", "Deliveries of uploads that had a verdict already", self.duplicates.clone());
        let help = "Messages of uploaders or routes beyond their share";
        r.register("moved_to_bulk", help, self.moved_to_bulk.clone());
        r.register("jail_layer", "Whether this layer holds the image decoders", self.jail_layers.clone());
        r.register("decoders_lost", "Image decoders that had to be replaced", self.decoders_lost.clone());
    }

    fn start_at_zero(&self) {
        for media in MediaType::ALL.iter().map(|m| m.name()).chain(["unknown"]) {
            for reason in ReasonCode::ALL {
                let _ = self.verdicts.get_or_create(&verdict_labels(Verdict::Rejected, reason.as_str(), media));
            }
            for verdict in [Verdict::Clean, Verdict::Superseded] {
                let _ = self.verdicts.get_or_create(&verdict_labels(verdict, "none", media));
            }
        }
        for code in FaultCode::ALL.iter().map(|c| CodeLabel { code: Name(c.as_str()) }) {
            for family in [&self.faults, &self.dead_letters] {
                let _ = family.get_or_create(&code);
            }
        }
        for stage in Stage::ALL {
            let _ = self.stage_seconds.get_or_create(&StageLabel { stage: Name(stage.as_str()) });
        }
        for direction in ["in", "out"] {
            let _ = self.bytes.get_or_create(&DirectionLabel { direction: Name(direction) });
        }
        for name in DEPENDENCIES {
            let _ = self.dependency_up.get_or_create(&DependencyLabel { name: Name(name) });
        }
        for reason in ["open", "lost"] {
            let _ = self.session_restarts.get_or_create(&ReasonLabel { reason: Name(reason) });
        }
        for place in ["record", "missing", "single_flight"] {
            let _ = self.duplicates.get_or_create(&WhereLabel { r#where: Name(place) });
        }
        for layer in Confinement::LAYERS {
            let _ = self.jail_layers.get_or_create(&LayerLabel { layer: Name(layer) });
        }
        for how in ["image", "time", "other"] {
            let _ = self.decoders_lost.get_or_create(&HowLabel { how: Name(how) });
        }
    }

    /// A verdict is recorded.
    pub fn judged(&self, record: &Record) {
        let reason = record.reasons.first().map_or("none", |r| r.code.as_str());
        let media = record.source.detected_type.map_or("unknown", MediaType::name);
        self.verdicts.get_or_create(&verdict_labels(record.verdict, reason, media)).inc();
    }

    pub fn faulted(&self, code: FaultCode) {
        self.faults.get_or_create(&CodeLabel { code: Name(code.as_str()) }).inc();
    }

    /// Starts the retries of each tier of the configuration at zero.
    pub fn expect_tiers(&self, tiers: &[Duration]) {
        for (code, tier) in FaultCode::ALL.iter().flat_map(|code| tiers.iter().map(move |tier| (code, tier))) {
            let _ = self.retries.get_or_create(&retry_labels(*code, *tier));
        }
    }

    pub fn retried(&self, code: FaultCode, delay: Duration) {
        self.retries.get_or_create(&retry_labels(code, delay)).inc();
    }

    pub fn dead_lettered(&self, code: FaultCode) {
        self.dead_letters.get_or_create(&CodeLabel { code: Name(code.as_str()) }).inc();
    }

    pub fn took(&self, stage: Stage, time: Duration) {
        self.stage_seconds.get_or_create(&StageLabel { stage: Name(stage.as_str()) }).observe(time.as_secs_f64());
    }

    pub fn bytes_in(&self, bytes: u64) {
        self.bytes.get_or_create(&DirectionLabel { direction: Name("in") }).inc_by(bytes);
    }

    pub fn bytes_out(&self, bytes: u64) {
        self.bytes.get_or_create(&DirectionLabel { direction: Name("out") }).inc_by(bytes);
    }

    /// A delivery of an upload that has a verdict already; `place` is `record`, `missing` or `single_flight`.
    pub fn duplicate(&self, place: &'static str) {
        self.duplicates.get_or_create(&WhereLabel { r#where: Name(place) }).inc();
    }

    /// A message went to the bulk queue.
    pub fn crowded(&self) {
        self.moved_to_bulk.inc();
    }

    /// What holds the children of the jail.
    pub fn held(&self, confinement: Confinement) {
        for (layer, there) in Confinement::LAYERS.into_iter().zip(confinement.layers()) {
            self.jail_layers.get_or_create(&LayerLabel { layer: Name(layer) }).set(i64::from(there));
        }
    }

    /// A child of the jail had to be replaced: an `image` has ended it, its `time` was over, or something `other`.
    pub fn decoder_lost(&self, how: &'static str) {
        self.decoders_lost.get_or_create(&HowLabel { how: Name(how) }).inc();
    }

    pub fn session_restarted(&self, reason: &'static str) {
        self.session_restarts.get_or_create(&ReasonLabel { reason: Name(reason) }).inc();
    }

    pub fn dependency(&self, name: &'static str, up: bool) {
        self.dependency_up.get_or_create(&DependencyLabel { name: Name(name) }).set(i64::from(up));
    }

    pub fn signature_age(&self, age: Duration) {
        self.signature_age.set(age.as_secs_f64());
    }

    /// Counts a job until the guard is dropped.
    pub fn job(&self) -> InFlight {
        self.jobs_in_flight.inc();
        InFlight(self.jobs_in_flight.clone(), 1)
    }

    /// Counts reserved memory until the guard is dropped.
    pub fn memory(&self, bytes: u64) -> InFlight {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.memory_reserved.inc_by(bytes);
        InFlight(self.memory_reserved.clone(), bytes)
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Takes back what it added to a gauge.
#[must_use]
pub struct InFlight(Gauge, i64);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec_by(self.1);
    }
}

fn retry_labels(code: FaultCode, tier: Duration) -> RetryLabels {
    RetryLabels { code: Name(code.as_str()), tier: format!("{}ms", tier.as_millis()) }
}

fn verdict_labels(verdict: Verdict, reason: &'static str, media: &'static str) -> VerdictLabels {
    VerdictLabels { verdict: Name(verdict.as_str()), reason: Name(reason), r#type: Name(media) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_starts_at_zero_and_counts() {
        let metrics = Metrics::default();
        assert!(metrics.encode().contains("airlock_faults_total{code=\"clamd.unavailable\"} 0"));
        metrics.faulted(FaultCode::ClamdUnavailable);
        let job = metrics.job();
        let text = metrics.encode();
        assert!(text.contains("airlock_faults_total{code=\"clamd.unavailable\"} 1"));
        assert!(text.contains("airlock_jobs_in_flight 1"));
        assert!(text.contains("airlock_verdicts_total{verdict=\"rejected\",reason=\"malware\",type=\"pdf\"} 0"));
        drop(job);
        assert!(metrics.encode().contains("airlock_jobs_in_flight 0"));
    }
}
