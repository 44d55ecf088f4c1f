//! The YARA adapter: rules evaluated in this process by `boreal`, which is memory-safe Rust.
//!
//! Every rule that matches is malware, by its name: a rule file is a list of what must not pass. One rule is
//! built in, the marker; it proves at every probe and after loading that the engine works at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boreal::scanner::{ScanError, ScanParams};
use boreal::{Compiler, Scanner as Compiled};
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256 as Hasher};

use super::canary;
use super::{Answer, Scanner};
use crate::fault::{Fault, FaultCode};
use crate::object::Sha256;
use crate::snapshot::Snapshot;
use crate::text;
use crate::verdict::{EngineInfo, Reason, ReasonCode, Stage};

const NAME: &str = "yara";
const MARKER_NAMESPACE: &str = "airlock";
/// The longest evaluation of all rules over one file; beyond it the file is not judged.
const SCAN_TIMEOUT: Duration = Duration::from_mins(1);

/// Compiled rules. Cheap to clone.
#[derive(Clone)]
pub struct Yara {
    rules: Arc<Compiled>,
    digest: Sha256,
}

/// One source of rules: a name for messages, and the text.
pub struct RuleSource {
    pub name: String,
    pub text: String,
}

impl Yara {
    /// Reads and compiles the files that `patterns` (paths or globs) name.
    ///
    /// # Errors
    /// `rules.broken`, naming the pattern or the file: nothing matched, unreadable, or not valid YARA. A set with
    /// one broken file is no set, since what it would have found would pass.
    pub fn from_files(patterns: &[String]) -> Result<Self, Fault> {
        let mut sources = Vec::new();
        for pattern in patterns {
            let paths = expand(pattern)?;
            if paths.is_empty() {
                return Err(broken(format!("no rule file matches {pattern}")));
            }
            for path in paths {
                sources.push(read(&path)?);
            }
        }
        Self::from_sources(&sources)
    }

    /// Compiles rules given as text.
    ///
    /// # Errors
    /// `rules.broken` for an empty set and for text that is not valid YARA.
    pub fn from_sources(sources: &[RuleSource]) -> Result<Self, Fault> {
        if sources.is_empty() {
            return Err(broken("no YARA rules are configured, so nothing could ever be found"));
        }
        let (mut compiler, mut hasher) = (Compiler::new(), Hasher::new());
        // Rules that include other files would reach beyond what the operator listed.
        compiler.set_include_callback(|path, _, _| {
            Err(std::io::Error::other(format!("include of {path:?} is not allowed; list the file in [yara] rules")))
        });
        for source in sources {
            hasher.update(source.text.as_bytes());
            hasher.update(b"\0");
            compiler
                .add_rules_str_in_namespace(&source.text, &source.name)
                .map_err(|e| broken(format!("{}: {e}", source.name)))?;
        }
        let marker = rule_for("Airlock_Marker", &canary::eicar());
        compiler
            .add_rules_str_in_namespace(&marker, MARKER_NAMESPACE)
            .map_err(|e| broken(format!("the built-in marker rule: {e}")))?;
        let mut rules = compiler.finalize();
        rules.set_scan_params(ScanParams::default().timeout_duration(Some(SCAN_TIMEOUT)));
        let yara = Self { rules: Arc::new(rules), digest: hasher.into() };
        yara.find_marker()?;
        Ok(yara)
    }

    fn engine(&self) -> EngineInfo {
        let mut signatures = self.digest.to_string();
        signatures.truncate(16);
        EngineInfo {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            signatures: Some(signatures),
            signatures_at: None,
        }
    }

    /// The names of the rules that match, and whether the built-in one is among them. Blocks.
    fn matches(&self, bytes: &[u8]) -> Result<(Vec<String>, bool), Fault> {
        let result = self.rules.scan_mem(bytes).map_err(|(e, _)| match e {
            ScanError::Timeout => Fault::new(FaultCode::DeadlineExceeded, Stage::Scan, "the YARA rules took too long"),
            other => Fault::new(FaultCode::RulesBroken, Stage::Scan, format!("YARA: {other}")),
        })?;
        let (ours, theirs): (Vec<_>, Vec<_>) = result.rules.iter().partition(|r| r.namespace == MARKER_NAMESPACE);
        // The marker is malware too, but a rule that the operator has written says more.
        let telling = if theirs.is_empty() { &ours } else { &theirs };
        Ok((telling.iter().map(|r| r.name.to_owned()).collect(), !ours.is_empty()))
    }

    fn find_marker(&self) -> Result<(), Fault> {
        match self.matches(&canary::eicar())? {
            (_, true) => Ok(()),
            (_, false) => Err(broken("the YARA engine did not find its own test marker")),
        }
    }
}

impl Scanner for Yara {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scan<'a>(&'a self, snapshot: &'a Snapshot) -> BoxFuture<'a, Result<Answer, Fault>> {
        let (this, snapshot) = (self.clone(), snapshot.clone());
        Box::pin(blocking(move || {
            let bytes = snapshot.load().map_err(|e| Fault::new(FaultCode::SpoolFull, Stage::Scan, e.to_string()))?;
            let (names, _) = this.matches(&bytes)?;
            this.find_marker()?;
            let reasons = names.iter().map(|name| Reason::from_engine(ReasonCode::Malware, NAME, name)).collect();
            Ok(Answer { engine: this.engine(), reasons })
        }))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        let this = self.clone();
        Box::pin(blocking(move || this.find_marker().map(|()| this.engine())))
    }
}

/// A rule that finds exactly these bytes anywhere in a file.
#[must_use]
pub fn rule_for(name: &str, bytes: &[u8]) -> String {
    let hex = bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    format!("rule {name} {{ strings: $marker = {{ {hex} }} condition: $marker }}")
}

fn broken(detail: impl AsRef<str>) -> Fault {
    Fault::new(FaultCode::RulesBroken, Stage::Scan, detail)
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>, Fault> {
    let paths = glob::glob(pattern).map_err(|e| broken(format!("{pattern}: {e}")))?;
    paths.map(|path| path.map_err(|e| broken(e.to_string()))).collect()
}

fn read(path: &Path) -> Result<RuleSource, Fault> {
    let name = text::printable(&path.to_string_lossy());
    let text = std::fs::read_to_string(path).map_err(|e| broken(format!("{name}: {e}")))?;
    Ok(RuleSource { name, text })
}

/// Rule evaluation is CPU work: it never runs on the async runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Fault::new(FaultCode::Internal, Stage::Scan, format!("the YARA engine panicked: {e}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Spool;

    fn rules(text: &str) -> Result<Yara, Fault> {
        Yara::from_sources(&[RuleSource { name: "test.yar".into(), text: text.into() }])
    }

    #[tokio::test]
    async fn a_matching_rule_is_malware_by_its_name() {
        let yara = rules(r#"rule Evil { strings: $a = "wicked" condition: $a }"#).unwrap();
        let scan = async |bytes: &'static [u8]| yara.scan(&Spool::of_bytes(bytes.into())).await.unwrap();
        assert_eq!(scan(b"good").await.reasons, []);
        let reasons = scan(b"something wicked").await.reasons;
        assert_eq!((reasons[0].code, reasons[0].detail.as_str()), (ReasonCode::Malware, "Evil"));
        assert!(yara.probe().await.is_ok());
    }

    #[test]
    fn broken_or_missing_rules_are_refused() {
        for result in [
            rules("rule {"),
            rules(r#"include "/etc/passwd""#),
            Yara::from_sources(&[]),
            Yara::from_files(&["/nonexistent/*.yar".to_owned()]),
        ] {
            assert_eq!(result.err().unwrap().code, FaultCode::RulesBroken);
        }
    }
}
