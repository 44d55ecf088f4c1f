//! `airlock topology`: what the broker has to have, printed, declared or checked.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, ContentArrangement};
use serde_json::{Value, json};

use super::{Exit, Global};
use crate::config::Settings;
use crate::fault::Fault;
use crate::queue::declare::{Administrator, Finding, State};
use crate::queue::definitions::{self, Extras, object};
use crate::queue::session::{Connector, virtual_host};
use crate::queue::topology::{Policy, Topology};
use crate::text;

/// The largest export that is read.
const MAX_EXPORT: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 ok, 1 something is missing or different, 2 fault, 64 usage, 69 the broker is not \
    there, 78 configuration."
)]
pub(super) struct TopologyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print exchanges, queues, bindings, policies and users
    Print(PrintArgs),
    /// Declare exchanges, queues and bindings, and print the commands for the policies, which AMQP cannot set
    Apply,
    /// Look for everything that is missing or different, and change nothing
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Definitions that RabbitMQ can import
    #[arg(long)]
    json: bool,
    /// With the virtual host and its users, who have no passwords yet
    #[arg(long, requires = "json")]
    users: bool,
    /// With a queue of the application that hears all verdicts
    #[arg(long, value_name = "QUEUE", requires = "json")]
    app: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Compare with an export of the broker's definitions ("-" is standard input), which also shows bindings and
    /// policies: rabbitmqctl export_definitions -
    #[arg(long, value_name = "FILE")]
    definitions: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(global: &Global, args: &TopologyArgs) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    let topology = Topology::new(&settings.amqp.prefix, &settings.retry.tiers);
    let vhost = virtual_host(&settings.amqp).map_err(|fault| failed(&fault.to_string(), Exit::Configuration))?;
    match &args.action {
        Action::Print(args) => {
            let extras = Extras { users: args.users, app: args.app.as_deref() };
            if args.json {
                put(definitions::render(&definitions::definitions(&topology, &vhost, extras)).trim_end());
            } else {
                put(&overview(&topology, &vhost));
            }
            Ok(Exit::Ok)
        }
        Action::Apply => apply(&settings, &topology, &vhost).await,
        Action::Check(args) => check(&settings, &topology, &vhost, args).await,
    }
}

async fn apply(settings: &Settings, topology: &Topology, vhost: &str) -> Result<Exit, Exit> {
    let administrator = open(settings).await?;
    let applied = administrator.apply().await;
    administrator.close().await;
    applied.map_err(|fault| failed(&fault.to_string(), Exit::Fault))?;
    for part in [
        topology.exchanges().into_iter().map(|e| format!("exchange {}", e.name)).collect::<Vec<_>>(),
        topology.queues().into_iter().map(|q| format!("queue {}", q.name)).collect(),
        topology.bindings().into_iter().map(|b| format!("binding {b}")).collect(),
    ]
    .concat()
    {
        put(&part);
    }
    put("\nPolicies cannot be set over AMQP. Set them with:\n");
    for policy in topology.policies() {
        put(&command(&policy, vhost));
    }
    Ok(Exit::Ok)
}

async fn check(settings: &Settings, topology: &Topology, vhost: &str, args: &CheckArgs) -> Result<Exit, Exit> {
    let findings = if let Some(path) = &args.definitions {
        let export = export(path).map_err(|e| failed(&format!("{}: {e}", path.display()), Exit::Usage))?;
        definitions::compare(topology, vhost, &export)
    } else {
        let administrator = open(settings).await?;
        let findings = administrator.check().await;
        administrator.close().await;
        findings.map_err(|fault| failed(&fault.to_string(), Exit::Fault))?
    };
    let bad = findings.iter().filter(|f| matches!(f.state, State::Missing | State::Different(_))).count();
    if args.json {
        for finding in &findings {
            let (result, detail) = words(&finding.state);
            let (kind, name) = (finding.kind, &finding.name);
            put(&json!({"kind": kind, "name": name, "result": result, "detail": detail}).to_string());
        }
    } else {
        put(&report(&findings));
        if args.definitions.is_none() {
            eprintln!(
                "bindings and policies: rabbitmqctl export_definitions - | airlock topology check --definitions -"
            );
        }
    }
    eprintln!("{} of {} parts are missing or different", bad, findings.len());
    Ok(if bad == 0 { Exit::Ok } else { Exit::Negative })
}

async fn open(settings: &Settings) -> Result<Administrator, Exit> {
    let connector = Connector::new(&settings.amqp, &settings.retry.tiers, 1, "topology")
        .map_err(|e| failed(&format!("the AMQP runtime could not be started: {e}"), Exit::Fault))?;
    let unavailable = |fault: Fault| failed(&fault.to_string(), Exit::Unavailable);
    Administrator::open(connector).await.map_err(unavailable)
}

/// The first JSON object of a file: `rabbitmqctl` may have something to say in front of it.
fn export(path: &Path) -> Result<Value, String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_EXPORT).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_EXPORT).read_to_string(&mut text))
    };
    read.map_err(|e| e.to_string())?;
    let json = text.find('{').and_then(|at| text.get(at..)).ok_or("there are no definitions in it")?;
    let first = serde_json::Deserializer::from_str(json).into_iter().next();
    first.ok_or("there are no definitions in it")?.map_err(|e| format!("these are no definitions: {e}"))
}

fn words(state: &State) -> (&'static str, &str) {
    match state {
        State::Good => ("ok", ""),
        State::Missing => ("missing", ""),
        State::Different(how) => ("different", how),
        State::Unseen(why) => ("not checked", why),
    }
}

fn report(findings: &[Finding]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["what", "name", "result", ""]);
    for finding in findings {
        let (result, detail) = words(&finding.state);
        let color = match finding.state {
            State::Good => Color::Green,
            State::Missing | State::Different(_) => Color::Red,
            State::Unseen(_) => Color::Yellow,
        };
        table.add_row([
            Cell::new(finding.kind),
            Cell::new(&finding.name),
            Cell::new(result).fg(color),
            Cell::new(text::printable_within(detail, 300)),
        ]);
    }
    table.to_string()
}

/// The whole topology for people.
fn overview(topology: &Topology, vhost: &str) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["what", "name", ""]);
    for exchange in topology.exchanges() {
        table.add_row(["exchange", &exchange.name, exchange.kind]);
    }
    for queue in topology.queues() {
        table.add_row(["queue", &queue.name, &object(&queue.arguments).to_string()]);
    }
    for binding in topology.bindings() {
        table.add_row(["binding", &binding.to_string(), ""]);
    }
    for policy in topology.policies() {
        table.add_row(["policy", &policy.name, &format!("{} {}", policy.pattern, object(&policy.definition))]);
    }
    for user in topology.users() {
        let rights = format!("{}: configure {}, write {}, read {}", user.role, user.configure, user.write, user.read);
        table.add_row(["user", &user.name, &rights]);
    }
    format!("virtual host {vhost}\n{table}")
}

/// The command that sets a policy.
fn command(policy: &Policy, vhost: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    format!(
        "rabbitmqctl set_policy -p {} --apply-to queues --priority 10 {} {} {}",
        quoted(vhost),
        quoted(&policy.name),
        quoted(&policy.pattern),
        quoted(&object(&policy.definition).to_string())
    )
}

fn put(line: &str) {
    // A reader that went away (a closed pipe) has seen all it wanted.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn failed(what: &str, exit: Exit) -> Exit {
    eprintln!("airlock topology: {what}");
    exit
}
