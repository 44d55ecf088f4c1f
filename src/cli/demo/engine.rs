//! Which scanner the demo uses: a clamd that proves itself, or else YARA with bundled test rules.

use std::time::Duration;

use clamav_client::tokio::{Socket, Tcp, ping};

use crate::config::{self, ClamdAddress, Sources};
use crate::fault::Fault;
use crate::scanner::canary;
use crate::scanner::clamd::Clamd;
use crate::scanner::yara::{RuleSource, Yara, rule_for};
use crate::scanner::{Engines, Scanner};

/// Where a clamd of this machine usually listens.
const USUAL: [&str; 4] = [
    "tcp://127.0.0.1:3310",
    "unix:///run/clamav/clamd.ctl",
    "unix:///var/run/clamav/clamd.ctl",
    "unix:///tmp/clamd.socket",
];
/// How long a clamd may take to say that it is there.
const PATIENCE: Duration = Duration::from_millis(500);

/// The engines, and the words that say which they are.
pub(super) struct Engine {
    pub engines: Engines,
    pub description: String,
    is_clamd: bool,
}

impl Engine {
    /// Whether compressed streams inside documents are looked into.
    pub(super) fn opens_pdf_streams(&self) -> bool {
        self.is_clamd
    }
}

/// The first clamd that answers and passes canary and age; otherwise the YARA engine.
pub(super) async fn choose(wanted: Option<&str>) -> Result<Engine, Fault> {
    let mut refused = Vec::new();
    for address in wanted.into_iter().chain(USUAL) {
        let Ok(address) = address.parse::<ClamdAddress>() else {
            refused.push(format!("{address} is not an address of clamd"));
            continue;
        };
        if !is_there(&address).await {
            continue;
        }
        let Some(clamd) = defaults_at(&address) else { continue };
        match clamd.probe().await {
            Ok(engine) => {
                let signatures = engine.signatures.as_deref().unwrap_or("unknown").to_owned();
                let dated = engine.signatures_at.unwrap_or_default();
                let description = format!("clamd {} at {address}, signatures {signatures} of {dated}", engine.version);
                return Ok(Engine { engines: Engines::new(vec![Box::new(clamd)])?, description, is_clamd: true });
            }
            Err(fault) => refused.push(fault.detail),
        }
    }
    let rules = RuleSource { name: "demo".to_owned(), text: rule_for("EICAR_Test_File", &canary::eicar()) };
    let engines = Engines::new(vec![Box::new(Yara::from_sources(&[rules])?)])?;
    let why = if refused.is_empty() { "no clamd answers".to_owned() } else { refused.join("; ") };
    Ok(Engine { engines, description: format!("YARA with a bundled test rule ({why})"), is_clamd: false })
}

/// Our adapter for that address, with the default limits.
fn defaults_at(address: &ClamdAddress) -> Option<Clamd> {
    let flags = vec![format!("clamd.addresses=[\"{address}\"]")];
    let settings = config::load(&Sources { file: None, env: Vec::new(), flags }).ok()?;
    Some(Clamd::new(&settings))
}

/// Whether something answers `PING` there. Only a way to find a clamd: what it says about files is asked and
/// read by our own adapter.
async fn is_there(address: &ClamdAddress) -> bool {
    let pong = async {
        match address {
            ClamdAddress::Tcp(host) => ping(Tcp { host_address: host.as_str() }).await,
            ClamdAddress::Unix(path) => ping(Socket { socket_path: path }).await,
        }
    };
    matches!(tokio::time::timeout(PATIENCE, pong).await, Ok(Ok(answer)) if answer == clamav_client::PONG)
}
