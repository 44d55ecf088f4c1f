//! Agreement of settings with each other: what each key's own range cannot show.
//!
//! Most rows guard a promise that would otherwise break at the worst moment: a job that outlives the
//! broker's patience is delivered twice, a file that clamd refuses is retried for hours.

use std::time::Duration;

use super::reader::Reader;
use super::settings::{CLOSING, EngineName, Settings};
use super::units::{format_duration as shown, format_pixels};
use crate::object::ByteSize;
use crate::policy::Policy;

/// Decoded pixels have four bytes, and at the widest step the picture is there twice: before and after
/// orientation, colour conversion or resizing.
const BYTES_PER_PIXEL: u64 = 4 * 2;

pub(super) fn check(settings: &Settings, r: &mut Reader) {
    amqp(settings, r);
    s3(settings, r);
    engines(settings, r);
    times(settings, r);
    limits(settings, r);
    for policy in settings.policies.values() {
        // The built-in policy is always there; nobody should have to adjust it who does not use it.
        let used = settings.routes.iter().any(|route| route.policy.name == policy.name);
        if used || r.is_written(&format!("policy.{}.", policy.name)) {
            self::policy(policy, settings, r);
        }
    }
    super::buckets::check(settings, r);
}

fn amqp(settings: &Settings, r: &mut Reader) {
    let amqp = &settings.amqp;
    let tls = &amqp.tls;
    r.require(amqp.user.is_some() == amqp.password.is_some(), &["amqp.user", "amqp.password"], || {
        "user and password belong together; give both or none".to_owned()
    });
    r.require(!(amqp.user.is_some() && amqp.url.has_user()), &["amqp.url", "amqp.user"], || {
        "the user is in amqp.url as well; take it out of the URL".to_owned()
    });
    r.require(tls.cert.is_some() == tls.key.is_some(), &["amqp.tls.cert", "amqp.tls.key"], || {
        "certificate and key belong together; give both or none".to_owned()
    });
    let plain = !amqp.url.is_tls();
    for (name, file) in [("amqp.tls.ca", &tls.ca), ("amqp.tls.cert", &tls.cert)] {
        r.require(!(plain && file.is_some()), &["amqp.url", name], || {
            format!("{name} has no effect on amqp://; make the URL amqps:// or take {name} out")
        });
    }
}

fn s3(settings: &Settings, r: &mut Reader) {
    let s3 = &settings.s3;
    r.require(s3.access_key.is_some() == s3.secret_key.is_some(), &["s3.access_key", "s3.secret_key"], || {
        "access key and secret key belong together; give both, or none for the AWS credential chain".to_owned()
    });
}

fn engines(settings: &Settings, r: &mut Reader) {
    let scan = &settings.scan;
    let yara = scan.engines.contains(&EngineName::Yara);
    r.require(!yara || !settings.yara.rules.is_empty(), &["scan.engines", "yara.rules"], || {
        "engine \"yara\" has no rules and would call everything clean; name rule files in yara.rules".to_owned()
    });
    let ages = ["scan.warn_signature_age", "scan.max_signature_age"];
    r.require(scan.warn_signature_age <= scan.max_signature_age, &ages, || {
        let (warn, max) = (shown(scan.warn_signature_age), shown(scan.max_signature_age));
        format!("warn_signature_age ({warn}) must not be above max_signature_age ({max}), or nobody is warned")
    });
}

fn times(settings: &Settings, r: &mut Reader) {
    let deadline = settings.limits.job_deadline;
    let timeout = settings.amqp.consumer_timeout;
    r.require(deadline.saturating_mul(2) <= timeout, &["limits.job_deadline", "amqp.consumer_timeout"], || {
        let (deadline, timeout) = (shown(deadline), shown(timeout));
        format!(
            "twice limits.job_deadline ({deadline}) must fit into amqp.consumer_timeout ({timeout}), or the broker \
             gives running jobs to others; shorten the deadline, or raise the timeout here and in the broker"
        )
    });
    let steps: [(&str, Duration); 3] = [
        ("clamd.timeout", settings.clamd.timeout),
        ("s3.timeout", settings.s3.timeout),
        ("limits.image_deadline", settings.limits.image_deadline),
    ];
    for (key, step) in steps {
        r.require(step < deadline, &[key, "limits.job_deadline"], || {
            format!("{key} ({}) must be below limits.job_deadline ({})", shown(step), shown(deadline))
        });
    }
    let (grace, patience) = (settings.limits.grace, settings.limits.termination_grace);
    r.require(grace.saturating_add(CLOSING) < patience, &["limits.grace", "limits.termination_grace"], || {
        let (grace, closing, patience) = (shown(grace), shown(CLOSING), shown(patience));
        format!(
            "limits.grace ({grace}) and {closing} for closing must be below limits.termination_grace ({patience}), or \
             the orchestrator kills jobs that are being handed back; shorten the grace, or raise \
             limits.termination_grace here and in the orchestrator (terminationGracePeriodSeconds, stop_grace_period)"
        )
    });
    let tiers = &settings.retry.tiers;
    r.require(tiers.is_sorted_by(|a, b| a < b), &["retry.tiers"], || "the waits must ascend".to_owned());
}

fn limits(settings: &Settings, r: &mut Reader) {
    let limits = &settings.limits;
    r.require(limits.snapshot_memory <= limits.memory, &["limits.snapshot_memory", "limits.memory"], || {
        let (snapshot, memory) = (limits.snapshot_memory, limits.memory);
        format!("limits.snapshot_memory ({snapshot}) must not be above limits.memory ({memory})")
    });
}

fn policy(policy: &Policy, settings: &Settings, r: &mut Reader) {
    let key = |name: &str| format!("policy.{}.{name}", policy.name);
    let (size, file) = (key("max_size"), policy.max_size);
    let clamd = settings.clamd.max_file_size;
    let scanned = !settings.scan.engines.contains(&EngineName::Clamd) || file <= clamd;
    r.require(scanned, &[&size, "clamd.max_file_size"], || {
        format!(
            "{size} ({file}) must not be above clamd.max_file_size ({clamd}): clamd would refuse such files; raise it \
             here and in clamd.conf (StreamMaxLength, MaxFileSize, MaxScanSize)"
        )
    });
    let spool = settings.limits.spool;
    r.require(file <= spool, &[&size, "limits.spool"], || {
        format!("{size} ({file}) must not be above limits.spool ({spool}): such a file would never find room")
    });
    let image = &policy.image;
    let (canvas, total) = (key("image.max_pixels"), key("image.max_total_pixels"));
    r.require(image.max_pixels <= image.max_total_pixels, &[&canvas, &total], || {
        let (one, all) = (format_pixels(image.max_pixels), format_pixels(image.max_total_pixels));
        format!("{canvas} ({one}) must not be above {total} ({all})")
    });
    let documents = &policy.documents;
    let (part, whole) = (key("documents.part_bytes"), key("documents.inflated_bytes"));
    r.require(documents.part_bytes <= documents.inflated_bytes, &[&part, &whole], || {
        let (one, all) = (ByteSize(documents.part_bytes), ByteSize(documents.inflated_bytes));
        format!("{part} ({one}) must not be above {whole} ({all})")
    });
    let inspected = !settings.scan.engines.contains(&EngineName::Clamd) || documents.part_bytes <= clamd.0;
    r.require(inspected, &[&part, "clamd.max_file_size"], || {
        let one = ByteSize(documents.part_bytes);
        format!(
            "{part} ({one}) must not be above clamd.max_file_size ({clamd}): of a larger member clamd looks at the \
             beginning only and says nothing"
        )
    });
    let (need, memory) = (largest_need(policy), settings.limits.memory);
    r.require(need <= memory, &[&canvas, &size, "limits.memory"], || {
        format!(
            "one file under policy {} may need {need}, more than limits.memory ({memory}); lower {canvas} or raise \
             limits.memory",
            policy.name
        )
    });
}

/// The most memory that one file can need under `policy`: its bytes and, for an image, its decoded pixels.
fn largest_need(policy: &Policy) -> ByteSize {
    let images = policy.types.iter().any(|media| media.is_image());
    let pixels = if images { policy.image.max_pixels.saturating_mul(BYTES_PER_PIXEL) } else { 0 };
    ByteSize(policy.max_size.0.saturating_add(pixels))
}
