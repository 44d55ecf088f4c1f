//! The documentation knows every code, every metric and the configuration as they are.

use std::fs;

use airlock::fault::FaultCode;
use airlock::feature::Feature;
use airlock::limits::Row;
use airlock::media::MediaType;
use airlock::policy::Policy;
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
fn every_switch_is_explained_as_it_works() {
    let mut table = String::from("| switch | kind | reason |\n| --- | --- | --- |\n");
    for feature in Feature::ALL {
        let (reason, kind) = feature.row();
        table.push_str(&format!("| `{feature}` | {kind} | `{reason}` |\n"));
    }
    assert!(doc("reasons.md").contains(&table), "docs/reasons.md should have this table:\n{table}");
}

/// The page about identification names every type, every reason that identification gives, and the limits as they are
/// by default.
#[test]
fn identification_is_described_as_it_works() {
    let text = doc("identification.md");
    for media in MediaType::ALL {
        assert!(text.to_lowercase().contains(media.name()), "docs/identification.md does not speak of {media}");
    }
    let by_others = [ReasonCode::Malware, ReasonCode::TooLarge, ReasonCode::ScanLimitsExceeded];
    for code in ReasonCode::ALL.iter().filter(|code| !by_others.contains(code)) {
        assert!(text.contains(&format!("`{code}`")), "docs/identification.md does not say what gives {code}");
    }
    let policy = Policy::guide();
    let table = limits(&policy);
    assert!(text.contains(&table), "docs/identification.md should have this table:\n{table}");
}

/// The limits of the default policy as a table.
fn limits(policy: &Policy) -> String {
    let mut table = String::from("| limit | of | set by |\n| ---: | --- | --- |\n");
    for Row { key, value, of } in airlock::limits::rows(policy) {
        let key = key.map_or_else(|| "fixed".to_owned(), |key| format!("`{key}`"));
        table.push_str(&format!("| {value} | {of} | {key} |\n"));
    }
    table
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
