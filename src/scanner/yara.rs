//! The YARA adapter: rules evaluated in this process by `boreal`, which is memory-safe Rust.
//!
//! Every rule that matches is malware, by its name: a rule file is a list of what must not pass. One rule is
//! built in, the marker; it proves at every probe and after loading that the engine works at all.
//!
//! Rule files may change at any time: each probe reads them again. What does not compile is told and not used; the
//! last good rules stay (a set with one broken file is no set, since what it would have found would pass).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use boreal::scanner::{ScanError, ScanParams};
use boreal::{Compiler, Scanner as Compiled};
use futures_util::future::BoxFuture;

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

/// The engine: the rules in use, and where newer ones would come from. Cheap to clone.
#[derive(Clone)]
pub struct Yara {
    /// Paths or globs; empty for rules that are built in.
    patterns: Arc<[String]>,
    loaded: Arc<RwLock<Loaded>>,
}

struct Loaded {
    rules: Arc<Rules>,
    /// Why the files as they are now are not in use.
    broken: Option<Broken>,
}

struct Broken {
    /// Of the sources that do not compile: they are not tried again before they change.
    digest: Option<Sha256>,
    fault: Fault,
}

/// Compiled rules.
struct Rules {
    compiled: Compiled,
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
    /// `rules.broken`, naming the pattern or the file: nothing matched, unreadable, or not valid YARA.
    pub fn from_files(patterns: &[String]) -> Result<Self, Fault> {
        Ok(Self { patterns: patterns.into(), ..Self::from_sources(&read_all(patterns)?)? })
    }

    /// Compiles rules that never change.
    ///
    /// # Errors
    /// `rules.broken`, naming the source that is not valid.
    pub fn from_sources(sources: &[RuleSource]) -> Result<Self, Fault> {
        let loaded = Loaded { rules: Arc::new(Rules::compile(sources)?), broken: None };
        Ok(Self { patterns: Arc::default(), loaded: Arc::new(RwLock::new(loaded)) })
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner).rules)
    }

    /// Takes the files as they are now, if they have changed and compile. Blocks.
    fn reload(&self) {
        if self.patterns.is_empty() {
            return;
        }
        let loaded = || self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let keep = |digest, fault: Fault| loaded().broken = Some(Broken { digest, fault });
        let sources = match read_all(&self.patterns) {
            Ok(sources) => sources,
            Err(fault) => return keep(None, fault),
        };
        let digest = Some(digest(&sources));
        {
            let mut loaded = loaded();
            if digest == Some(loaded.rules.digest) {
                loaded.broken = None;
                return;
            }
            if loaded.broken.as_ref().is_some_and(|b| b.digest == digest) {
                return;
            }
        }
        match Rules::compile(&sources) {
            Ok(rules) => {
                tracing::info!(rules = %rules.short_digest(), "YARA rules reloaded from {} files", sources.len());
                *loaded() = Loaded { rules: Arc::new(rules), broken: None };
            }
            Err(fault) => keep(digest, fault),
        }
    }
}

impl Rules {
    fn compile(sources: &[RuleSource]) -> Result<Self, Fault> {
        if sources.is_empty() {
            return Err(broken("no rules are configured"));
        }
        let mut compiler = Compiler::new();
        // Rules that include other files would reach beyond what the operator listed.
        compiler.set_include_callback(|path, _, _| {
            Err(std::io::Error::other(format!("include of {path:?} is not allowed; list the file in [yara] rules")))
        });
        for source in sources {
            compiler
                .add_rules_str_in_namespace(&source.text, &source.name)
                .map_err(|e| broken(format!("{}: {e}", source.name)))?;
        }
        let marker = rule_for("Airlock_Marker", &canary::eicar());
        compiler
            .add_rules_str_in_namespace(&marker, MARKER_NAMESPACE)
            .map_err(|e| broken(format!("the built-in marker rule: {e}")))?;
        let mut scanner = compiler.finalize();
        scanner.set_scan_params(ScanParams::default().timeout_duration(Some(SCAN_TIMEOUT)));
        let rules = Self { compiled: scanner, digest: digest(sources) };
        rules.find_marker()?;
        Ok(rules)
    }

    fn short_digest(&self) -> String {
        let mut digest = self.digest.to_string();
        digest.truncate(16);
        digest
    }

    fn engine(&self) -> EngineInfo {
        EngineInfo {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            signatures: Some(self.short_digest()),
            signatures_at: None,
        }
    }

    /// The names of the rules that match, and whether the built-in one is among them. Blocks.
    fn matches(&self, bytes: &[u8]) -> Result<(Vec<String>, bool), Fault> {
        let result = self.compiled.scan_mem(bytes).map_err(|(e, _)| match e {
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
        let (rules, snapshot) = (self.rules(), snapshot.clone());
        Box::pin(blocking(move || {
            let bytes = snapshot.load().map_err(|e| Fault::new(FaultCode::SpoolFull, Stage::Scan, e.to_string()))?;
            let (names, _) = rules.matches(&bytes)?;
            rules.find_marker()?;
            let reasons = names.iter().map(|name| Reason::from_engine(ReasonCode::Malware, NAME, name)).collect();
            Ok(Answer { engine: rules.engine(), reasons })
        }))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        let this = self.clone();
        Box::pin(blocking(move || {
            this.reload();
            let rules = this.rules();
            rules.find_marker().map(|()| rules.engine())
        }))
    }

    fn trouble(&self) -> Option<Fault> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).broken.as_ref().map(|broken| broken.fault.clone())
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

/// What tells one set of rules from another.
fn digest(sources: &[RuleSource]) -> Sha256 {
    let texts = sources.iter().flat_map(|source| [source.name.as_bytes(), b"\0", source.text.as_bytes(), b"\0"]);
    Sha256::of(&texts.collect::<Vec<_>>().concat())
}

fn read_all(patterns: &[String]) -> Result<Vec<RuleSource>, Fault> {
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
    Ok(sources)
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

    #[tokio::test]
    async fn rule_files_reload_and_a_broken_one_keeps_the_last_good_rules() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a.yar"), folder.path().join("b.yar"));
        let rule = |word: &str| format!(r#"rule R_{word} {{ strings: $a = "{word}" condition: $a }}"#);
        std::fs::write(&file, rule("one")).unwrap();
        let yara = Yara::from_files(&[folder.path().join("*.yar").to_string_lossy().into_owned()]).unwrap();
        let found = async |text: &'static str| {
            let answer = yara.scan(&Spool::of_bytes(text.as_bytes().into())).await.unwrap();
            answer.reasons.into_iter().map(|r| r.detail).collect::<Vec<_>>().join(" ")
        };
        let first = yara.probe().await.unwrap();
        assert_eq!(found("one two three").await, "R_one");

        std::fs::write(&other, rule("two")).unwrap();
        let second = yara.probe().await.unwrap();
        assert_ne!(first.signatures, second.signatures, "the verdict says which rules judged");
        assert_eq!(found("one two three").await, "R_one R_two");

        for broken in [Some("rule {"), None] {
            if let Some(text) = broken {
                std::fs::write(&other, text).unwrap();
            } else {
                for path in [&file, &other] {
                    std::fs::remove_file(path).unwrap();
                }
            }
            assert_eq!(yara.probe().await.unwrap(), second, "the last good rules stay");
            assert_eq!(yara.trouble().unwrap().code, FaultCode::RulesBroken);
            assert_eq!(found("one two three").await, "R_one R_two");
        }

        std::fs::write(&file, rule("three")).unwrap();
        yara.probe().await.unwrap();
        assert_eq!(yara.trouble(), None);
        assert_eq!(found("one two three").await, "R_three");
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
