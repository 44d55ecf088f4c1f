//! Which routes may share which buckets.
//!
//! A bucket has one role. Were quarantine and clean the same, an unscanned upload would lie where consumers
//! look for clean files; were clean and ledger the same, an uploader's key could name a record.

use std::collections::BTreeMap;

use super::reader::Reader;
use super::settings::Settings;
use crate::object::Bucket;
use crate::route::Route;

/// One naming of a bucket: under which key, in which role.
struct Use<'a> {
    key: String,
    role: &'static str,
    route: Option<&'a Route>,
}

pub(super) fn check(settings: &Settings, r: &mut Reader) {
    let ledger = Use { key: "ledger.bucket".to_owned(), role: "ledger", route: None };
    let mut uses: BTreeMap<&Bucket, Vec<Use>> = BTreeMap::from([(&settings.ledger.bucket, vec![ledger])]);
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for (route, n) in settings.routes.iter().zip(1..) {
        let buckets = [("quarantine", &route.quarantine), ("clean", &route.clean), ("rejected", &route.rejected)];
        for (role, bucket) in buckets {
            uses.entry(bucket).or_default().push(Use { key: format!("route.{n}.{role}"), role, route: Some(route) });
        }
        let key = format!("route.{n}.name");
        if let Some(earlier) = names.insert(&route.name, key.clone()) {
            r.require(false, &[&earlier, &key], || format!("two routes are called \"{}\"; rename one", route.name));
        }
    }
    for (bucket, uses) in uses {
        for (n, other) in uses.iter().enumerate() {
            let clash = uses.iter().take(n).find_map(|one| Some((one, conflict(bucket, one, other)?)));
            if let Some((one, problem)) = clash {
                r.require(false, &[&one.key, &other.key], || problem);
            }
        }
    }
}

fn conflict(bucket: &Bucket, one: &Use, other: &Use) -> Option<String> {
    let (Some(a), Some(b)) = (one.route, other.route) else {
        return Some(different_roles(bucket, one, other));
    };
    match (one.role, other.role) {
        ("clean", "clean") => {
            let (left, right) = (a.key_template.literal_prefix(), b.key_template.literal_prefix());
            (left.starts_with(right) || right.starts_with(left)).then(|| {
                format!(
                    "routes \"{}\" and \"{}\" share the clean bucket \"{bucket}\", where their files could overwrite \
                     each other; begin each key_template with a text of its own, such as \"{}/{{key}}\", neither the \
                     beginning of the other",
                    a.name, b.name, a.name
                )
            })
        }
        // The key of an upload is kept in both, so the same key on two routes would be one object.
        (role, same) if role == same => Some(format!(
            "routes \"{}\" and \"{}\" share the {role} bucket \"{bucket}\"; give each its own",
            a.name, b.name
        )),
        _ => Some(different_roles(bucket, one, other)),
    }
}

fn different_roles(bucket: &Bucket, one: &Use, other: &Use) -> String {
    format!(
        "bucket \"{bucket}\" is named as {} ({}) and as {} ({}); a bucket has one role, name another",
        one.role, one.key, other.role, other.key
    )
}
