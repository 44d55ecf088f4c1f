//! The settings, section by section, out of the reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layers::did_you_mean;
use super::problem::nearest;
use super::reader::Reader;
use super::settings::{Amqp, Clamd, Ledger, Limits, Log, Ops, Retry, S3, Scan, Settings, Tls, Yara};
use super::value::{HttpUrl, Listen, Name, Pixels, Prefix};
use crate::feature::Feature;
use crate::limits::StructureLimits;
use crate::object::ByteSize;
use crate::policy::{ActiveContent, ImageRules, Policy, Switch};
use crate::route::Route;

pub(super) fn settings(r: &mut Reader) -> Settings {
    let policies = policies(r);
    let routes = (1..=r.layers().routes.max(1)).map(|n| Arc::new(route(r, n, &policies))).collect();
    Settings {
        amqp: amqp(r),
        s3: s3(r),
        ledger: Ledger { bucket: r.get("ledger", "bucket"), conditional: r.get("ledger", "conditional") },
        scan: Scan {
            engines: r.get("scan", "engines"),
            warn_signature_age: r.get("scan", "warn_signature_age"),
            max_signature_age: r.get("scan", "max_signature_age"),
        },
        clamd: Clamd {
            addresses: r.get("clamd", "addresses"),
            concurrency: r.get("clamd", "concurrency"),
            timeout: r.get("clamd", "timeout"),
            require_date: r.get("clamd", "require_date"),
            max_file_size: r.get("clamd", "max_file_size"),
        },
        yara: Yara { rules: r.get("yara", "rules") },
        routes,
        policies,
        limits: limits(r),
        retry: Retry { tiers: r.get("retry", "tiers"), attempts: r.get("retry", "attempts") },
        ops: Ops { listen: r.get::<Listen>("ops", "listen").0 },
        log: Log { format: r.get("log", "format"), level: r.get("log", "level") },
    }
}

fn amqp(r: &mut Reader) -> Amqp {
    Amqp {
        url: r.get("amqp", "url"),
        user: r.find("amqp", "user"),
        password: r.find("amqp", "password"),
        tls: Tls { ca: r.find("amqp.tls", "ca"), cert: r.find("amqp.tls", "cert"), key: r.find("amqp.tls", "key") },
        topology: r.get("amqp", "topology"),
        unroutable: r.get("amqp", "unroutable"),
        consumer_timeout: r.get("amqp", "consumer_timeout"),
        prefix: r.get::<Prefix>("amqp", "prefix").0,
    }
}

fn s3(r: &mut Reader) -> S3 {
    S3 {
        endpoint: r.find::<HttpUrl>("s3", "endpoint").map(|url| url.0),
        region: r.get("s3", "region"),
        path_style: r.get("s3", "path_style"),
        access_key: r.find("s3", "access_key"),
        secret_key: r.find("s3", "secret_key"),
        cleanup: r.get("s3", "cleanup"),
        checksums: r.get("s3", "checksums"),
        timeout: r.get("s3", "timeout"),
    }
}

fn limits(r: &mut Reader) -> Limits {
    Limits {
        jobs: r.get("limits", "jobs"),
        per_uploader: r.get("limits", "per_uploader"),
        job_deadline: r.get("limits", "job_deadline"),
        image_deadline: r.get("limits", "image_deadline"),
        jail: r.get("limits", "jail"),
        memory: r.get("limits", "memory"),
        grace: r.get("limits", "grace"),
        termination_grace: r.get("limits", "termination_grace"),
        snapshot_memory: r.get("limits", "snapshot_memory"),
        spool: r.get("limits", "spool"),
        temp_dir: r.find("limits", "temp_dir"),
    }
}

fn route(r: &mut Reader, number: usize, policies: &BTreeMap<String, Arc<Policy>>) -> Route {
    let section = format!("route.{number}");
    let section = section.as_str();
    let policy = r.get::<Name>(section, "policy").0;
    let known = policies.get(&policy).cloned();
    r.require(known.is_some(), &[&format!("{section}.policy")], || {
        let meant = nearest(&policy, policies.keys().map(String::as_str));
        format!("there is no [policy.{policy}]{}", did_you_mean(meant))
    });
    Route {
        name: r.get::<Name>(section, "name").0,
        quarantine: r.get(section, "quarantine"),
        clean: r.get(section, "clean"),
        rejected: r.get(section, "rejected"),
        policy: known.unwrap_or_else(|| Arc::new(Policy::guide())),
        key_template: r.get(section, "key_template"),
        uploader_from: r.get(section, "uploader_from"),
    }
}

fn policies(r: &mut Reader) -> BTreeMap<String, Arc<Policy>> {
    let names = &r.layers().policies;
    names.iter().map(|name| (name.clone(), Arc::new(policy(r, name)))).collect()
}

fn policy(r: &mut Reader, name: &str) -> Policy {
    let section = format!("policy.{name}");
    // In one order and without repetition (a type has two names), so that the policy's hash is that of its
    // meaning.
    let mut types: Vec<_> = r.get(&section, "types");
    types.sort_unstable();
    types.dedup();
    Policy {
        name: name.to_owned(),
        types,
        max_size: r.get(&section, "max_size"),
        active_content: active_content(r, &format!("{section}.active_content")),
        image: image(r, &format!("{section}.image")),
        documents: documents(r, &format!("{section}.documents")),
    }
}

/// Only what is allowed is set: a spelt-out "reject" is the policy that says nothing, under the same hash.
fn active_content(r: &mut Reader, section: &str) -> ActiveContent {
    let mut switches = ActiveContent::default();
    for feature in Feature::ALL {
        if r.get::<Switch>(section, feature.as_str()) == Switch::Allow {
            switches.allow(*feature);
        }
    }
    switches
}

fn image(r: &mut Reader, section: &str) -> ImageRules {
    ImageRules {
        max_width: r.get(section, "max_width"),
        max_height: r.get(section, "max_height"),
        jpeg_quality: r.get(section, "jpeg_quality"),
        progressive: r.get(section, "progressive"),
        output: r.get(section, "output"),
        max_pixels: r.get::<Pixels>(section, "max_pixels").0,
        max_frames: r.get(section, "max_frames"),
        max_total_pixels: r.get::<Pixels>(section, "max_total_pixels").0,
        trailing: r.get(section, "trailing"),
    }
}

fn documents(r: &mut Reader, section: &str) -> StructureLimits {
    let mut bytes = |name| r.get::<ByteSize>(section, name).0;
    let (part_bytes, inflated_bytes, stream_bytes) =
        (bytes("part_bytes"), bytes("inflated_bytes"), bytes("stream_bytes"));
    StructureLimits {
        entries: r.get(section, "entries"),
        part_bytes,
        inflated_bytes,
        name_bytes: r.get(section, "name_bytes"),
        xml_depth: r.get(section, "xml_depth"),
        objects: r.get(section, "objects"),
        stream_bytes,
        filters: r.get(section, "filters"),
        nesting: r.get(section, "nesting"),
        directory_entries: r.get(section, "directory_entries"),
    }
}
