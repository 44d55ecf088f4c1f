//! Names that deceive people or programs (OWASP File Upload Cheat Sheet: double extensions, reserved names,
//! control characters; CWE-434, CWE-451).
//!
//! A key is opaque to us and never becomes a path, but the application's users will see and download under it.

use super::findings::Findings;
use crate::text;
use crate::verdict::ReasonCode::UnsafeName;

/// Extensions that some program somewhere executes: alone at the end, or inside of a name in front of a harmless one,
/// where a web server with a careless handler still runs them (`shell.php.jpg`).
const EXECUTABLE: [&str; 58] = [
    "exe", "com", "scr", "pif", "bat", "cmd", "msi", "msp", "dll", "cpl", "sys", "vbs", "vbe", "js", "jse", "wsf",
    "wsh", "hta", "ps1", "psm1", "lnk", "url", "reg", "inf", "jar", "app", "dmg", "pkg", "sh", "bash", "csh", "ksh",
    "run", "bin", "elf", "so", "py", "pl", "rb", "cgi", "fcgi", "php", "php3", "php4", "php5", "php7", "phps", "pht",
    "phtml", "phar", "asp", "aspx", "asa", "cer", "jsp", "jspx", "htaccess", "svg",
];

/// Names that Windows gives to devices, in any extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Judges a key as a whole.
pub(super) fn judge_key(key: &str, findings: &mut Findings) {
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        findings.add(UnsafeName, "the key has an empty, \".\" or \"..\" segment");
    }
}

/// Judges a name that people see.
pub(super) fn judge(name: &str, findings: &mut Findings) {
    if let Some(problem) = problem(name) {
        findings.add(UnsafeName, problem);
    }
}

fn problem(name: &str) -> Option<String> {
    if name.contains(['/', '\\', ':', '\0', '*', '?', '"', '<', '>', '|']) {
        return Some("the name has a character that is part of paths or patterns".to_owned());
    }
    if let Some(c) = name.chars().find(|c| deceives(*c)) {
        return Some(format!("the name has an invisible or reordering character, U+{:04X}", u32::from(c)));
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Some("the name begins or ends with a dot or a space, which some systems drop".to_owned());
    }
    let lower = name.to_lowercase();
    let mut parts = lower.split(['.', ';']).map(str::trim);
    let stem = parts.next().unwrap_or_default();
    if is_device(stem) {
        return Some("the name is one that Windows reserves for a device".to_owned());
    }
    parts.find(|part| EXECUTABLE.contains(part)).map(|part| format!("the name has the executable extension .{part}"))
}

/// Characters that make a name look like another one. A joiner inside of an emoji or of a word in a script that
/// needs it is honest.
fn deceives(c: char) -> bool {
    let honest_joiner = matches!(c, '\u{200C}' | '\u{200D}');
    let look_alike =
        matches!(c, '\u{FF0E}' | '\u{2024}' | '\u{FF0F}' | '\u{2044}' | '\u{2215}' | '\u{FF3C}' | '\u{FFFD}');
    look_alike || (text::is_unsafe(c) && !honest_joiner)
}

fn is_device(stem: &str) -> bool {
    let numbered = |prefix: &str| {
        let digit = stem.strip_prefix(prefix).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(digit.as_deref(), Some([c]) if c.is_ascii_digit() || matches!(c, '¹' | '²' | '³'))
    };
    DEVICES.contains(&stem) || numbered("com") || numbered("lpt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_names_pass() {
        for name in [
            "report.v2.final.jpg",
            "Überblick für März.docx",
            "Πόρτες.doc",
            "صورة.png",
            "👩‍👧.gif",
            "README",
            "a-b_c (1).pdf",
            "e\u{301}tude.pdf",
            "2026.11.24.jpg",
            "console.jpg",
            "комната.webp",
        ] {
            assert_eq!(problem(name), None, "{name}");
        }
    }

    #[test]
    fn deceiving_names_do_not() {
        for name in [
            "shell.php.jpg",
            "invoice.pdf.exe",
            "a.asp;.jpg",
            "photo\u{202E}gpj.exe",
            "a\u{200B}.jpg",
            "a.jpg.",
            "a.jpg ",
            "CON.jpg",
            "com1.png",
            "lpt².pdf",
            "a\nb.jpg",
            "a:b.jpg",
            "..\\x.jpg",
            "a\u{FF0E}exe",
            "x.svg",
        ] {
            assert!(problem(name).is_some(), "{name}");
        }
        let mut findings = Findings::default();
        judge_key("a//x.jpg", &mut findings);
        assert_eq!(findings.reasons.len(), 1);
    }
}
