//! The files of the demo: the repository's test data, and two that cannot be stored in a repository.

use std::path::Path;

use bytes::Bytes;

use crate::scanner::canary;
use crate::verdict::{Record, Verdict};

/// Stored test files with a test signature in them are XORed with this.
const ENCODING: u8 = 0x5A;

/// One file to upload, and what is expected to happen to it.
#[derive(Debug, Clone)]
pub(super) struct DemoFile {
    pub key: String,
    pub bytes: Bytes,
    pub declared: Option<String>,
    clean: bool,
    /// Any of these as one of the reasons.
    reasons: Vec<String>,
}

impl DemoFile {
    /// The same file under another key.
    pub(super) fn under(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// What is wrong with this verdict, if anything.
    pub(super) fn surprise(&self, verdict: &Record) -> Option<String> {
        let wanted = if self.clean { Verdict::Clean } else { Verdict::Rejected };
        let known = self.clean || verdict.reasons.iter().any(|r| self.reasons.iter().any(|w| w == r.code.as_str()));
        let ok = verdict.verdict == wanted && known;
        (!ok).then(|| format!("expected {wanted} {}", self.reasons.join(" or ")))
    }
}

/// Reads the folder's `expected.tsv` and the files that it lists. A scanner that does not open compressed PDF
/// streams is not given the one file whose only fault lies in such a stream.
pub(super) fn load(dir: &Path, opens_pdf_streams: bool) -> Result<Vec<DemoFile>, String> {
    let list = dir.join("expected.tsv");
    let text = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut files = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let mut columns = line.split('\t');
        let [Some(path), Some(declared), Some(verdict), Some(reasons)] = [(); 4].map(|()| columns.next()) else {
            return Err(format!("{}: a line with fewer than four columns: {line}", list.display()));
        };
        if path.ends_with("eicar.pdf.enc") && !opens_pdf_streams {
            continue;
        }
        files.push(stored(dir, path, declared, verdict == "clean", reasons)?);
    }
    files.extend(made());
    if files.iter().any(|f| f.clean) { Ok(files) } else { Err(format!("{} lists no clean file", list.display())) }
}

fn stored(dir: &Path, path: &str, declared: &str, clean: bool, reasons: &str) -> Result<DemoFile, String> {
    let mut bytes = std::fs::read(dir.join(path)).map_err(|e| format!("{}: {e}", dir.join(path).display()))?;
    let key = match path.strip_suffix(".enc") {
        Some(key) => {
            for byte in &mut bytes {
                *byte ^= ENCODING;
            }
            key
        }
        None => path,
    };
    Ok(DemoFile {
        key: key.to_owned(),
        bytes: bytes.into(),
        declared: Some(declared.to_owned()).filter(|d| !d.is_empty()),
        clean,
        reasons: reasons.split('|').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
    })
}

/// The EICAR test file, and one byte more than the policy allows.
fn made() -> [DemoFile; 2] {
    let file = |key: &str, bytes: Vec<u8>, declared: &str, reason: &str| DemoFile {
        key: format!("refused/{key}"),
        bytes: bytes.into(),
        declared: Some(declared.to_owned()),
        clean: false,
        reasons: vec![reason.to_owned()],
    };
    let mut oversize = b"%PDF-1.7\n".to_vec();
    oversize.resize((10 << 20) + 1, b' ');
    [
        file("eicar.txt", canary::eicar(), "text/plain", "malware"),
        file("everything-we-have.pdf", oversize, "application/pdf", "too_large"),
    ]
}
