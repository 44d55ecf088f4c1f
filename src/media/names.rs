//! File names that deceive a person or a program. Honest names in any script pass, dots and all.

use super::findings::Findings;
use crate::text;
use crate::verdict::ReasonCode;

/// The longest file name, in bytes, that every common file system stores.
const MAX_NAME: usize = 255;

/// Extensions that a server or a desktop would run even where another one follows (`shell.php.jpg`). Left out
/// are those that honest names carry inside: `com`, `js`, `html` (`example.com.pdf`, `index.html.pdf`).
const EXECUTABLE: &[&str] = &[
    "php", "php3", "php4", "php5", "php6", "php7", "php8", "phps", "pht", "phtml", "phar", "asp", "aspx", "asa",
    "asax", "ascx", "ashx", "asmx", "cer", "cdx", "cshtml", "vbhtml", "jsp", "jspx", "jspf", "jsw", "jsv", "cfm",
    "cfml", "cfc", "cgi", "fcgi", "pl", "py", "rb", "sh", "bash", "shtml", "shtm", "stm", "htaccess", "htpasswd",
    "exe", "scr", "bat", "cmd", "pif", "msi", "msp", "dll", "vbs", "vbe", "jse", "wsf", "wsh", "hta", "ps1", "psm1",
    "lnk", "jar", "war", "reg", "cpl", "msc", "scf",
];

/// Names that Windows gives to devices, whatever extension follows.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Judges a file name: the last segment of a key, or the name the uploader gave.
pub(super) fn judge(name: &str, findings: &mut Findings) {
    if let Some(what) = fault_of(name) {
        findings.add(ReasonCode::UnsafeName, format!("{what}: {name}"));
    }
}

/// Judges the segments of a whole key: relative and empty ones mean another place to a path resolver.
pub(super) fn judge_key(key: &str, findings: &mut Findings) {
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        findings.add(ReasonCode::UnsafeName, format!("key with an empty or relative segment: {key}"));
    }
}

/// What the name's extension is, if it has one: after the last dot, not empty, without white space
/// (`Report no. 5` has none).
pub(super) fn extension(name: &str) -> Option<&str> {
    let (_, extension) = name.rsplit_once('.')?;
    (!extension.is_empty() && !extension.contains(char::is_whitespace)).then_some(extension)
}

fn fault_of(name: &str) -> Option<&'static str> {
    let folded = folded(name);
    let stem = folded.split('.').next().unwrap_or_default().trim_end();
    // The last part is judged as the extension; any part before it, and what a server cuts at `;`, must not run.
    let mut inner = folded.rsplit_once('.').map_or("", |(head, _)| head).split(['.', ';']).skip(1);
    if name.len() > MAX_NAME {
        Some("name longer than 255 bytes")
    } else if hides_something(name) {
        Some("control, invisible or direction-changing character in the name")
    } else if name.contains(['/', '\\', ':', '<', '>', '"', '|', '?', '*'])
        || name.contains("$(")
        || name.contains('`')
        || decodes_to_path(name)
    {
        Some("character in the name that is part of a path, of markup or of a command")
    } else if name.contains(['\u{FF0E}', '\u{2024}', '\u{FE52}']) {
        Some("look-alike of a dot in the name")
    } else if name.ends_with('.') || name.ends_with(char::is_whitespace) {
        Some("dot or space at the end of the name")
    } else if name.is_empty() || stem.is_empty() && !folded.get(1..).is_some_and(|rest| rest.contains('.')) {
        Some("name that is only an extension")
    } else if is_reserved(stem) {
        Some("device name of Windows")
    } else if inner.any(|part| EXECUTABLE.contains(&part.trim())) {
        Some("executable extension inside the name")
    } else {
        None
    }
}

/// The name in the letters that extensions are compared in: full-width forms become ASCII, capitals small.
fn folded(name: &str) -> String {
    name.chars()
        .map(|c| match u32::from(c) {
            code @ 0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).unwrap_or(c),
            _ => c,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// Zero-width joiners are part of Persian and Indic spelling and of emoji, so they pass behind a character that
/// is not ASCII; in a Latin name they only hide something.
fn hides_something(name: &str) -> bool {
    let mut previous = ' ';
    name.chars().any(|c| {
        let joins = matches!(c, '\u{200C}' | '\u{200D}') && !previous.is_ascii();
        previous = c;
        text::is_unsafe(c) && !joins
    })
}

/// Whether a consumer that decodes `%XX` once more than it should would get a path or a control character.
fn decodes_to_path(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["%2f", "%5c"].iter().any(|code| lower.contains(code))
        || lower.split('%').skip(1).any(|rest| matches!(rest.as_bytes(), [b'0' | b'1', b'0'..=b'9' | b'a'..=b'f', ..]))
}

fn is_reserved(stem: &str) -> bool {
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    RESERVED.contains(&stem)
        || port.is_some_and(|n| {
            matches!(n.chars().collect::<Vec<_>>().as_slice(), ['0'..='9' | '\u{B9}' | '\u{B2}' | '\u{B3}'])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_names_pass() {
        for name in [
            "photo.jpg",
            "report.v2.final.jpg",
            "φωτο.jpg",
            "写真.jpg",
            "e\u{301}te\u{301}.jpg",
            "IMG 0001 (2).JPG",
            "Bob's & Al.jpg",
            "صورة.jpg",
            "\u{1F468}\u{200D}\u{1F469}.jpg",
            "می\u{200C}خواهم.pdf",
            "a+b%20c.jpg",
            "2024.01.31.jpg",
            "example.com.pdf",
            "Smith; Jones.pdf",
            "no-extension",
            "Report no. 5",
            "100%.pdf",
        ] {
            assert_eq!(fault_of(name), None, "{name}");
        }
    }

    #[test]
    fn deceiving_names_do_not() {
        let long = format!("{}.jpg", "a".repeat(300));
        for name in [
            "shell.php.jpg",
            "SHELL.PhP .jpg",
            "photo\u{202E}gpj.exe",
            "a.j\u{200B}pg",
            "a\u{200D}.jpg",
            "a.php\0.jpg",
            "../a.jpg",
            "..\\a.jpg",
            "C:a.jpg",
            "a.asp::$DATA",
            "CON.jpg",
            "con .jpg",
            "COM\u{B9}.jpg",
            "lpt1.txt",
            "a.jpg.",
            "a.jpg ",
            "a\r\nX: 1.jpg",
            "\x1b[2Ja.jpg",
            "a.asp;.jpg",
            "a.asp;x.jpg",
            ".htaccess",
            ".jpg",
            "",
            "a\u{FF0E}php\u{FF0E}jpg",
            "a.\u{FF50}hp.jpg",
            "<img>.jpg",
            "%2e%2e%2fa.jpg",
            "a%00.jpg",
            &long,
        ] {
            assert!(fault_of(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn relative_segments_of_a_key_are_unsafe() {
        for (key, unsafe_name) in
            [("a/b.jpg", false), ("a/../b.jpg", true), ("a//b.jpg", true), ("/b.jpg", true), ("./b.jpg", true)]
        {
            let mut findings = Findings::default();
            judge_key(key, &mut findings);
            assert_eq!(findings.has(ReasonCode::UnsafeName), unsafe_name, "{key}");
        }
    }

    #[test]
    fn an_extension_is_what_follows_the_last_dot() {
        assert_eq!(extension("a.tar.GZ"), Some("GZ"));
        assert_eq!(extension("no-extension"), None);
        assert_eq!(extension("Report no. 5"), None);
    }
}
