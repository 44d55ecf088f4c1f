//! Samples for operators must tell the truth: every flag, key and name in `deploy/` is one that the code knows.

use std::fs;

use airlock::config::{self, Sources};
use serde_json::Value;

use crate::process::airlock;
use crate::services::root;

fn read(path: &str) -> String {
    let file = root().join("deploy").join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn the_sample_configuration_is_valid() {
    // Secret files of the sample exist only where it is deployed; everything else must hold here.
    let text = read("airlock.toml").lines().filter(|l| !l.contains("_file")).collect::<Vec<_>>().join("\n");
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    fs::write(file.path(), text).expect("a copy");
    let sources = Sources { file: Some(file.path().to_owned()), env: Vec::new(), flags: Vec::new() };
    if let Err(errors) = config::load(&sources) {
        let other: Vec<_> = errors
            .0
            .iter()
            .filter(|p| !p.to_string().contains("secret") && !p.to_string().contains("password"))
            .collect();
        assert!(other.is_empty(), "{errors}");
    }
}

#[test]
fn every_variable_and_flag_in_the_samples_is_known() {
    let sample = config::sample();
    for path in ["compose.yaml", "Dockerfile"] {
        let text = read(path);
        for variable in text.split(|c: char| !(c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())) {
            let Some(name) = variable.strip_prefix("AIRLOCK__") else {
                assert!(!variable.starts_with("AIRLOCK") || variable == "AIRLOCK_CONFIG", "{path}: {variable}");
                continue;
            };
            let (section, key) = name.rsplit_once("__").unwrap_or_else(|| panic!("{path}: {variable}"));
            let section = section.to_lowercase().replace("__", ".");
            assert!(sample.contains(&format!("[{section}]")), "{path}: {variable} names no section");
            assert!(sample.contains(&format!("{} = ", key.to_lowercase())), "{path}: {variable} names no key");
        }
        for word in text.split([' ', '"', ',', '[', ']', '\n']) {
            if let Some(flag) = word.strip_prefix("--").filter(|f| f.starts_with(|c: char| c.is_ascii_lowercase())) {
                let known = [
                    "mount",
                    "release",
                    "locked",
                    "from",
                    "chown",
                    "chmod",
                    "interval",
                    "timeout",
                    "retries",
                    "start-period",
                    "target",
                    "no-install-recommends",
                    "ready",
                    "config",
                    "bin",
                ];
                assert!(known.contains(&flag.split('=').next().unwrap_or(flag)), "{path}: --{flag}");
            }
        }
    }
    for command in ["worker", "healthcheck"] {
        assert!(read("Dockerfile").contains(command) || read("compose.yaml").contains(command));
        let help = airlock().args([command, "--help"]).output().expect("the binary runs");
        assert!(help.status.success());
    }
}

#[test]
fn compose_leaves_a_worker_the_time_to_stop_that_its_settings_name() {
    let value = |path: &str, key: &str| {
        let text = read(path);
        let line = text.lines().find_map(|l| l.trim().strip_prefix(key));
        let value = line.unwrap_or_else(|| panic!("{path}: {key}")).trim().trim_matches('"').to_owned();
        config::units::parse_duration(&value).unwrap_or_else(|e| panic!("{path}: {key} {value}: {e}"))
    };
    let told = value("airlock.toml", "termination_grace =");
    assert_eq!(value("compose.yaml", "stop_grace_period:"), told);
}

#[test]
fn the_broker_definitions_are_what_the_command_prints() {
    let args = ["topology", "print", "--json", "--users", "--app", "airlock.app"];
    let printed = airlock().args(args).args(["--set", "amqp.url=amqp://rabbitmq/airlock"]).output();
    let printed = String::from_utf8(printed.expect("the binary runs").stdout).expect("UTF-8");
    assert_eq!(read("rabbitmq/definitions.json"), printed, "made by: airlock {}", args.join(" "));
}

#[test]
fn no_policy_lets_the_uploader_read_quarantine() {
    for file in ["s3/quarantine.json", "s3/app.json"] {
        let policy: Value = serde_json::from_str(&read(file)).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements");
        let denies = |s: &Value| s["Effect"] == "Deny" && s["Action"].to_string().contains("s3:GetObject");
        assert!(statements.iter().any(denies), "{file}");
    }
}
