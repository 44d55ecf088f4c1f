//! The topology as RabbitMQ's own definitions: written for an import, and compared with an export.
//!
//! An export shows what AMQP does not: bindings, policies, and every argument.

use serde_json::{Map, Value, json};

use super::declare::{Finding, State};
use super::topology::{Binding, Policy, Table, Topology};

/// What definitions contain beside the topology itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The virtual host, and users with their rights and without passwords: nobody can log in as them yet.
    pub users: bool,
    /// A queue for the application, bound to all verdicts.
    pub app: Option<&'a str>,
}

/// Definitions for `rabbitmqctl import_definitions` or the management API.
#[must_use]
pub fn definitions(topology: &Topology, vhost: &str, extras: Extras) -> Value {
    let mut queues: Vec<Value> =
        topology.queues().iter().map(|q| queue(vhost, &q.name, &object(&q.arguments))).collect();
    let mut bindings: Vec<Value> = topology.bindings().iter().map(|b| binding(vhost, b)).collect();
    if let Some(app) = extras.app {
        queues.push(queue(vhost, app, &json!({"x-queue-type": "quorum"})));
        let all = Binding { exchange: topology.name("verdicts"), key: "#".to_owned(), queue: app.to_owned() };
        bindings.push(binding(vhost, &all));
    }
    let exchanges: Vec<Value> = topology.exchanges().iter().map(|e| exchange(vhost, &e.name, e.kind)).collect();
    let policies: Vec<Value> = topology.policies().iter().map(|p| policy(vhost, p)).collect();
    let mut all = Map::new();
    if extras.users {
        let users = topology.users();
        let login = |name: &str| {
            json!({"name": name, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256",
                   "tags": [], "limits": {}})
        };
        all.insert("vhosts".to_owned(), json!([{ "name": vhost }]));
        all.insert("users".to_owned(), users.iter().map(|u| login(&u.name)).collect());
        let rights = users.iter().map(
            |u| json!({"user": u.name, "vhost": vhost, "configure": u.configure, "write": u.write, "read": u.read}),
        );
        all.insert("permissions".to_owned(), rights.collect());
    }
    all.insert("policies".to_owned(), policies.into());
    all.insert("exchanges".to_owned(), exchanges.into());
    all.insert("queues".to_owned(), queues.into());
    all.insert("bindings".to_owned(), bindings.into());
    Value::Object(all)
}

/// The text of definitions, a line for each part, so that changes can be read.
#[must_use]
pub fn render(definitions: &Value) -> String {
    let lists = definitions.as_object().into_iter().flatten();
    let list = |(name, parts): (&String, &Value)| {
        let parts: Vec<String> = parts.as_array().into_iter().flatten().map(|part| format!("    {part}")).collect();
        format!("  \"{name}\": [\n{}\n  ]", parts.join(",\n"))
    };
    format!("{{\n{}\n}}\n", lists.map(list).collect::<Vec<_>>().join(",\n"))
}

/// How every part of the topology is in an export of a broker's definitions.
#[must_use]
pub fn compare(topology: &Topology, vhost: &str, export: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |kind, list: &str, name: String, wanted: &Value, identity: &[&str]| {
        let parts = export[list].as_array().into_iter().flatten();
        // An export of one virtual host does not name it in its parts.
        let mut here = parts.filter(|part| part.get("vhost").is_none_or(|v| v == vhost));
        let state = match here.find(|part| identity.iter().all(|key| part[*key] == wanted[*key])) {
            None => State::Missing,
            Some(part) => differences(wanted, part),
        };
        findings.push(Finding { kind, name, state });
    };
    for e in topology.exchanges() {
        find("exchange", "exchanges", e.name.clone(), &exchange(vhost, &e.name, e.kind), &["name"]);
    }
    for q in topology.queues() {
        find("queue", "queues", q.name.clone(), &queue(vhost, &q.name, &object(&q.arguments)), &["name"]);
    }
    for b in topology.bindings() {
        let identity = ["source", "destination", "destination_type", "routing_key"];
        find("binding", "bindings", b.to_string(), &binding(vhost, &b), &identity);
    }
    for p in topology.policies() {
        find("policy", "policies", p.name.clone(), &policy(vhost, &p), &["name"]);
    }
    findings
}

/// Every key that is not as it is wanted. What the export says beyond that is the broker's affair.
fn differences(wanted: &Value, found: &Value) -> State {
    let keys = wanted.as_object().into_iter().flatten().filter(|(key, _)| *key != "vhost" && *key != "priority");
    // Some exports leave out what is not set.
    let unset = Value::Bool(false);
    let wrong: Vec<String> = keys
        .map(|(key, value)| (key, value, found.get(key).unwrap_or(&unset)))
        .filter(|(_, value, found)| found != value)
        .map(|(key, value, found)| format!("{key} is {found}, not {value}"))
        .collect();
    if wrong.is_empty() { State::Good } else { State::Different(wrong.join("; ")) }
}

fn exchange(vhost: &str, name: &str, kind: &str) -> Value {
    json!({"name": name, "vhost": vhost, "type": kind, "durable": true, "auto_delete": false, "internal": false,
           "arguments": {}})
}

fn queue(vhost: &str, name: &str, arguments: &Value) -> Value {
    json!({"name": name, "vhost": vhost, "durable": true, "auto_delete": false, "arguments": arguments})
}

fn binding(vhost: &str, binding: &Binding) -> Value {
    json!({"source": binding.exchange, "vhost": vhost, "destination": binding.queue, "destination_type": "queue",
           "routing_key": binding.key, "arguments": {}})
}

fn policy(vhost: &str, policy: &Policy) -> Value {
    json!({"vhost": vhost, "name": policy.name, "pattern": policy.pattern, "apply-to": "queues", "priority": 10,
           "definition": object(&policy.definition)})
}

/// A table as a JSON object.
#[must_use]
pub fn object(table: &Table) -> Value {
    let entry = |(name, value): &(&str, super::topology::Value)| ((*name).to_owned(), json!(value));
    Value::Object(table.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn topology() -> Topology {
        Topology::new("a.b", &[Duration::from_secs(10), Duration::from_mins(1)])
    }

    fn bad(export: &Value) -> Vec<(String, State)> {
        let findings = compare(&topology(), "v", export).into_iter();
        findings.filter(|f| f.state != State::Good).map(|f| (f.name, f.state)).collect()
    }

    #[test]
    fn what_is_written_is_found_again_whatever_else_is_there() {
        let extras = Extras { users: true, app: Some("app") };
        let mut export = definitions(&topology(), "v", extras);
        assert_eq!(bad(&export), []);
        let text: Value = serde_json::from_str(&render(&export)).unwrap();
        assert_eq!(text, export);
        for list in ["exchanges", "queues", "bindings", "policies"] {
            for part in export[list].as_array_mut().unwrap() {
                part.as_object_mut().unwrap().remove("vhost");
            }
        }
        assert_eq!(bad(&export), [], "an export of one virtual host");
        assert_eq!(export["permissions"][0]["read"], "^a\\.b\\.(work|bulk)$");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let mut export = definitions(&topology(), "v", Extras::default());
        export["exchanges"][0]["type"] = json!("fanout");
        export["exchanges"][1].as_object_mut().unwrap().remove("internal");
        export["queues"][0]["arguments"] = json!({});
        export["queues"][1]["vhost"] = json!("another");
        export["bindings"].as_array_mut().unwrap().remove(0);
        export["policies"][1]["definition"] = json!({"delivery-limit": 20});
        let bad = bad(&export);
        let names: Vec<&str> = bad.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.b.events", "a.b.work", "a.b.bulk", "a.b.events --#--> a.b.work", "a.b-dead"]);
        assert_eq!(bad[0].1, State::Different("type is \"fanout\", not \"topic\"".to_owned()));
        assert_eq!((&bad[2].1, &bad[3].1), (&State::Missing, &State::Missing));
        assert_eq!(compare(&topology(), "v", &Value::Null).iter().filter(|f| f.state != State::Missing).count(), 0);
    }
}
