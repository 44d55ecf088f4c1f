//! The table of keys as text: the commented sample, the effective configuration, the reference page.

use std::fmt::Write;

use super::keys::{Key, Preset, SECTIONS, Section};
use super::kind::Kind;
use super::layers::{Layers, variable_name};
use super::problem::Origin;
use super::secret::{AmqpUrl, REDACTED};
use toml::Value;

/// A configuration file with every key, explained, at its default. What has no fixed default is commented
/// out.
#[must_use]
pub fn sample() -> String {
    let mut out = String::from(
        "# Airlock's configuration, with every key at its default: keep what you change.\n\
         # A variable AIRLOCK__SECTION__KEY takes precedence over this file, and --set section.key=value over both.\n",
    );
    for section in SECTIONS {
        let _ = write!(out, "\n# {}\n{}\n", section.doc, section.header());
        for key in section.keys {
            let _ = writeln!(out, "# {} Allowed: {}.", key.doc, key.kind.allowed());
            let _ = match (key.default, key.default.value()) {
                (Preset::Cores, _) => writeln!(out, "#{} = 4  # unset: the number of cores", key.name),
                (Preset::Unset(meaning), _) => writeln!(out, "#{} = \"...\"  # unset: {meaning}", key.name),
                (_, Some(value)) => writeln!(out, "{} = {value}", key.name),
                (_, None) => Ok(()),
            };
            if key.kind.is_secret() {
                let _ = writeln!(out, "#{0}_file = \"/run/secrets/{0}\"  # instead: read from this file", key.name);
            }
        }
    }
    out
}

/// What holds when `layers` are laid over the defaults, as a configuration file that says where each value
/// comes from. Secrets are redacted.
pub(super) fn effective(layers: &Layers) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        for (path, header) in instances(section, layers) {
            let _ = writeln!(out, "{header}");
            for key in section.keys {
                out.push_str(&effective_line(layers, &path, key));
            }
            out.push('\n');
        }
    }
    out
}

/// The places of a section: one, or one per route or policy.
fn instances(section: &Section, layers: &Layers) -> Vec<(String, String)> {
    let at = |name: &str| section.path.replace('*', name);
    match section.path.split_once('*') {
        None => vec![(section.path.to_owned(), section.header())],
        Some(("route.", _)) => (1..=layers.routes.max(1)).map(|n| (at(&n.to_string()), section.header())).collect(),
        Some(_) => layers.policies.iter().map(|name| (at(name), format!("[{}]", at(name)))).collect(),
    }
}

fn effective_line(layers: &Layers, section: &str, key: &Key) -> String {
    let file = format!("{}_file", key.name);
    let given = |name: &str| layers.entries.get(&format!("{section}.{name}"));
    let (name, value, origin) = match (given(key.name), given(&file).filter(|_| key.kind.is_secret())) {
        (Some(entry), _) => (key.name, redacted(key.kind, &entry.value), entry.origin.clone()),
        (None, Some(entry)) => (file.as_str(), entry.value.clone(), entry.origin.clone()),
        (None, None) => match key.default.value() {
            Some(value) => (key.name, value, Origin::Default),
            None => return String::new(),
        },
    };
    match origin {
        Origin::Default => format!("{name} = {value}\n"),
        origin => format!("{name} = {value}  # {origin}\n"),
    }
}

fn redacted(kind: Kind, value: &Value) -> Value {
    let shown = match kind {
        Kind::Url(_) => value.as_str().and_then(|url| url.parse::<AmqpUrl>().ok()).map(|url| url.to_string()),
        Kind::Secret => None,
        _ => return value.clone(),
    };
    Value::String(shown.unwrap_or_else(|| REDACTED.to_owned()))
}

/// The page `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(include_str!("reference.md"));
    for section in SECTIONS {
        let header = section.header().replace("default", "NAME");
        let _ = write!(out, "\n## `{header}`\n\n{}\n\n", section.doc);
        out.push_str("| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
        for key in section.keys {
            let default = match (key.default, key.default.value()) {
                (Preset::Cores, _) => "number of cores".to_owned(),
                (Preset::Unset(meaning), _) => format!("unset: {meaning}"),
                (_, value) => format!("`{}`", value.map(|value| value.to_string()).unwrap_or_default()),
            };
            let name =
                if key.kind.is_secret() { format!("`{0}`, `{0}_file`", key.name) } else { format!("`{}`", key.name) };
            let _ = writeln!(out, "| {name} | {default} | {} | {} |", key.kind.allowed(), key.doc);
        }
        if !section.path.starts_with("route") {
            let path = section.path.replace('*', "name");
            let variable = variable_name(&path.split('.').chain(["..."]).collect::<Vec<_>>());
            let _ = writeln!(out, "\nVariables: `{variable}`");
        }
    }
    out
}
