//! The documentation knows every code, every metric and the configuration as they are.

use std::fs;

use airlock::fault::FaultCode;
use airlock::telemetry::metrics::Metrics;
use airlock::verdict::ReasonCode;

use crate::services::root;

fn doc(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap_or_else(|e| panic!("docs/{name}: {e}"))
}

#[test]
fn every_reason_and_every_fault_is_explained() {
    let (reasons, runbook) = (doc("reasons.md"), doc("runbook.md"));
    for code in ReasonCode::ALL {
        assert!(reasons.contains(&format!("`{code}`")), "docs/reasons.md does not explain {code}");
    }
    for code in FaultCode::ALL {
        assert!(runbook.contains(&format!("`{code}`")), "docs/runbook.md does not explain {code}");
    }
}

#[test]
fn every_metric_is_explained_and_no_other() {
    let metrics = Metrics::default();
    metrics.expect_tiers(&[std::time::Duration::from_secs(10)]);
    let (text, metrics) = (doc("metrics.md"), metrics.encode());
    let names: Vec<&str> = metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in &names {
        assert!(text.contains(name), "docs/metrics.md does not explain {name}");
    }
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|w| w.starts_with("airlock_")) {
        assert!(names.iter().any(|n| word.starts_with(n)), "docs/metrics.md explains {word}, which does not exist");
    }
}
