//! The grammar of clamd's replies: pure, total, and exact.
//!
//! A client that looks for `OK` and `FOUND` inside a reply takes `HTTP/1.1 200 OK` for clean and an error for
//! malware. Here a reply means something only when the whole of it, up to its terminator, has one of the forms
//! that clamd 1.x writes; anything else is a fault (guarantee G5).

use crate::fault::FaultCode;

/// The longest reply that is read, terminator included.
pub const MAX_REPLY_BYTES: usize = 4 << 10;

/// What a complete reply to one `INSTREAM` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `stream: OK`. Not yet proof: see the canary.
    Clean,
    /// A signature matched; its name without the `.UNOFFICIAL` that clamd adds to local signatures.
    Malware(String),
    /// The file, or a member of it, cannot be looked into.
    Encrypted(String),
    /// A document with macros, by heuristics: a property, not malware.
    Macros(String),
    /// The scan ended at one of clamd's limits.
    LimitsExceeded(String),
    /// No answer about the bytes.
    Fault(FaultCode, &'static str),
}

/// Reads everything that clamd sent before it closed the connection, for a `z` command: one reply that ends
/// with a NUL and nothing behind it.
#[must_use]
pub fn parse(raw: &[u8]) -> Reply {
    let unreadable = |why| Reply::Fault(FaultCode::ClamdProtocol, why);
    if raw.is_empty() {
        return Reply::Fault(FaultCode::ClamdUnavailable, "clamd closed the connection without a reply");
    }
    if raw.len() > MAX_REPLY_BYTES {
        return unreadable("clamd's reply is too long");
    }
    // The read time-out message alone ends with a line feed, whatever the command was.
    if raw == b"COMMAND READ TIMED OUT\n" {
        return Reply::Fault(FaultCode::ClamdUnavailable, "clamd gave up waiting for our data");
    }
    let Some(line) = raw.strip_suffix(b"\0") else {
        return unreadable("clamd's reply has no end");
    };
    match std::str::from_utf8(line) {
        Ok(line) if !line.contains(['\0', '\n', '\r']) => parse_line(line),
        _ => unreadable("clamd's reply is not one line of UTF-8"),
    }
}

fn parse_line(line: &str) -> Reply {
    if line == "stream: OK" {
        return Reply::Clean;
    }
    if line == "INSTREAM size limit exceeded. ERROR" {
        // The policy refuses larger files before they get here, so the two limits disagree.
        return Reply::Fault(FaultCode::ClamdProtocol, "StreamMaxLength of clamd is below the policy's max_size");
    }
    if line.ends_with(" ERROR") {
        return Reply::Fault(FaultCode::ClamdUnavailable, "clamd answered with an error");
    }
    match line.strip_prefix("stream: ").and_then(|rest| rest.strip_suffix(" FOUND")) {
        Some(name) if !name.is_empty() => finding(name),
        _ => Reply::Fault(FaultCode::ClamdProtocol, "clamd's reply has no known form"),
    }
}

/// Tells clamd's own alerts about limits and encryption from malware, by their exact names.
fn finding(name: &str) -> Reply {
    let plain = name.strip_suffix(".UNOFFICIAL").unwrap_or(name).to_owned();
    match name.strip_prefix("Heuristics.") {
        Some(rest) if rest.starts_with("Encrypted.") => Reply::Encrypted(plain),
        // Load must never reject a good file, so a scan that ran out of time is our trouble.
        Some("Limits.Exceeded.MaxScanTime" | "Limits.Exceeded") => {
            Reply::Fault(FaultCode::ClamdBusy, "clamd ran out of scan time")
        }
        Some(rest) if rest.starts_with("Limits.Exceeded.") => Reply::LimitsExceeded(plain),
        // `.VBA` or `.XLM`.
        Some(rest) if rest.starts_with("OLE2.ContainsMacros.") => Reply::Macros(plain),
        _ => Reply::Malware(plain),
    }
}

/// What `VERSION` tells: the program, and, where a `daily` database is loaded, its number and build time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub program: String,
    pub signatures: Option<Signatures>,
}

/// The signature database that is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    pub version: String,
    /// Seconds since 1970. clamd prints its local time without a zone: run it with `TZ=UTC`.
    pub built: i64,
}

/// Reads a `VERSION` reply without its terminator: `ClamAV 1.4.6/27500/Tue Nov 24 10:07:11 2026`.
#[must_use]
pub fn parse_version(line: &str) -> Option<Version> {
    let rest = line.strip_prefix("ClamAV ")?;
    let mut parts = rest.splitn(3, '/');
    let program = parts.next().filter(|p| !p.is_empty() && p.len() <= 64)?.to_owned();
    let signatures = match (parts.next(), parts.next()) {
        (None, None) => None,
        (Some(number), Some(date)) => {
            let number = Some(number).filter(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))?;
            Some(Signatures { version: number.to_owned(), built: parse_ctime(date)? })
        }
        _ => return None,
    };
    Some(Version { program, signatures })
}

/// `Tue Nov 24 10:07:11 2026` or `Tue Nov  4 10:07:11 2026`, taken as UTC.
fn parse_ctime(text: &str) -> Option<i64> {
    let format = time::macros::format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    time::PrimitiveDateTime::parse(text, format).ok().map(|t| t.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultCode::{ClamdBusy, ClamdProtocol, ClamdUnavailable};

    #[test]
    fn only_the_exact_forms_mean_something() {
        let name = |s: &str| s.to_owned();
        let table: &[(&[u8], Reply)] = &[
            (b"stream: OK\0", Reply::Clean),
            (b"stream: Eicar-Test-Signature.UNOFFICIAL FOUND\0", Reply::Malware(name("Eicar-Test-Signature"))),
            (b"stream: Win.Test.OK FOUND\0", Reply::Malware(name("Win.Test.OK"))),
            (b"stream: A FOUND FOUND\0", Reply::Malware(name("A FOUND"))),
            (b"stream: Heuristics.Phishing.Email FOUND\0", Reply::Malware(name("Heuristics.Phishing.Email"))),
            (b"stream: Heuristics.Encrypted.Zip FOUND\0", Reply::Encrypted(name("Heuristics.Encrypted.Zip"))),
            (
                b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
                Reply::LimitsExceeded(name("Heuristics.Limits.Exceeded.MaxFileSize")),
            ),
            (
                b"stream: Heuristics.OLE2.ContainsMacros.VBA FOUND\0",
                Reply::Macros(name("Heuristics.OLE2.ContainsMacros.VBA")),
            ),
        ];
        for (raw, reply) in table {
            assert_eq!(parse(raw), *reply, "{}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn everything_else_is_a_fault() {
        let table: &[(&[u8], FaultCode)] = &[
            (b"", ClamdUnavailable),
            (b"COMMAND READ TIMED OUT\n", ClamdUnavailable),
            (b"Error writing to temporary file ERROR\0", ClamdUnavailable),
            (b"stream: Can't allocate memory ERROR\0", ClamdUnavailable),
            (b"stream: Heuristics.Limits.Exceeded.MaxScanTime FOUND\0", ClamdBusy),
            (b"stream: Heuristics.Limits.Exceeded FOUND\0", ClamdBusy),
            (b"INSTREAM size limit exceeded. ERROR\0", ClamdProtocol),
            (b"UNKNOWN COMMAND\0", ClamdProtocol),
            (b"HTTP/1.1 200 OK\0", ClamdProtocol),
            (b"stream: OK", ClamdProtocol),
            (b"stream: OK\n", ClamdProtocol),
            (b"stream: OK\0stream: OK\0", ClamdProtocol),
            (b"stream: OK\0\0", ClamdProtocol),
            (b"OK\0", ClamdProtocol),
            (b"Stream: OK\0", ClamdProtocol),
            (b"stream: OK \0", ClamdProtocol),
            (b" stream: OK\0", ClamdProtocol),
            (b"1: stream: OK\0", ClamdProtocol),
            (b"stream:  FOUND\0", ClamdProtocol),
            (b"stream: FOUND\0", ClamdProtocol),
            (b"stream: X\nFOUND FOUND\0", ClamdProtocol),
            (b"stream: \xff\xfe FOUND\0", ClamdProtocol),
            (b"\0", ClamdProtocol),
        ];
        for (raw, code) in table {
            assert!(matches!(parse(raw), Reply::Fault(c, _) if c == *code), "{}", String::from_utf8_lossy(raw));
        }
        let long = [b"stream: ".as_slice(), &[b'a'; MAX_REPLY_BYTES], b" FOUND\0"].concat();
        assert!(matches!(parse(&long), Reply::Fault(ClamdProtocol, _)));
    }

    #[test]
    fn a_reply_cut_at_any_byte_is_never_clean() {
        for whole in [&b"stream: OK\0"[..], b"stream: LOOK.Bad FOUND\0"] {
            for end in 0..whole.len() {
                assert!(matches!(parse(&whole[..end]), Reply::Fault(..)), "{end}");
            }
        }
    }

    #[test]
    fn the_version_tells_the_age_of_the_signatures() {
        let version = parse_version("ClamAV 1.4.6/27500/Tue Nov 24 10:07:11 2026").unwrap();
        assert_eq!(version.program, "1.4.6");
        assert_eq!(version.signatures, Some(Signatures { version: "27500".into(), built: 1_795_514_831 }));
        assert!(parse_version("ClamAV 1.4.6/27500/Wed Nov  4 10:07:11 2026").unwrap().signatures.is_some());
        assert_eq!(parse_version("ClamAV 1.4.6").unwrap().signatures, None);
        for bad in
            ["", "ClamAV ", "OK", "ClamAV 1.4.6/27500", "ClamAV 1.4.6/x/Tue Nov 24 10:07:11 2026", "ClamAV 1/2/soon"]
        {
            assert_eq!(parse_version(bad), None, "{bad}");
        }
    }
}
