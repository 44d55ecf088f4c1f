//! File names that deceive a person or a program. Honest names in any script pass, dots and all.

use super::bytes::percent_decoded;
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
    "lnk", "jar", "war", "reg", "cpl", "msc", "scf", "php2", "phtm", "cshtm", "csh", "ksh", "zsh", "ps2", "ps1xml",
    "wsc", "sct", "swf", "chm", "jnlp", "apk", "xll", "gadget", "msix", "appx",
];

/// Slashes and dots in encodings that only careless decoders accept.
const ODD_CODES: &[&str] = &["%c0%ae", "%c0%af", "%c1%9c", "%u002e", "%u002f", "%u005c", "%u2215", "%u2216"];
/// How often a name is decoded to see what it may become: twice is what careless chains of programs do.
const DECODINGS: usize = 3;
/// The flag from which the flags of England, Scotland and Wales are made, with invisible letters behind it.
const BLACK_FLAG: char = '\u{1F3F4}';

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
    if name.len() > MAX_NAME {
        Some("name longer than 255 bytes")
    } else if hides_something(name) {
        Some("control, invisible or direction-changing character in the name")
    } else if name.contains(['/', '\\', ':', '<', '>', '"', '|', '?', '*']) || name.contains("$(") || name.contains('`')
    {
        Some("character in the name that is part of a path, of markup or of a command")
    } else if name.contains(['\u{FF0E}', '\u{2024}', '\u{FE52}']) {
        Some("look-alike of a dot in the name")
    } else if name.ends_with('.') || name.ends_with(char::is_whitespace) {
        Some("dot or space at the end of the name")
    } else if is_only_extension(&folded) {
        Some("name that is only an extension")
    } else if is_reserved(stem) {
        Some("device name of Windows")
    } else if runs_inside(&folded) {
        Some("executable extension inside the name")
    } else if decodes_to_worse(&folded) {
        Some("percent code in the name that hides a path, a control character or an extension")
    } else {
        None
    }
}

/// Whether there is nothing before the one dot, or only dots and spaces: `.htaccess`, `..jpg`.
fn is_only_extension(name: &str) -> bool {
    let rest = name.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    rest.is_empty() || rest.len() < name.len() && name.contains('.') && !rest.contains('.')
}

/// Whether a part before the last one would run. The last is judged as the extension; a server may cut at `;`.
fn runs_inside(folded: &str) -> bool {
    let inner = folded.rsplit_once('.').map_or("", |(head, _)| head);
    inner.split(['.', ';']).skip(1).any(|part| EXECUTABLE.contains(&part.trim()))
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
/// is not ASCII, and invisible letters behind the flag they belong to; elsewhere they only hide something.
fn hides_something(name: &str) -> bool {
    let (mut previous, mut flag) = (' ', false);
    name.chars().any(|c| {
        let joins = matches!(c, '\u{200C}' | '\u{200D}') && !previous.is_ascii();
        let is_tag = matches!(c, '\u{E0020}'..='\u{E007F}');
        flag = c == BLACK_FLAG || flag && is_tag;
        previous = c;
        // Letters without a shape, which look like a name's end.
        let blank =
            matches!(c, '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}');
        blank || text::is_unsafe(c) && !joins && !(flag && is_tag)
    })
}

/// Whether a consumer that decodes `%XX` once or twice more than it should would get a path, a control character
/// or another extension.
fn decodes_to_worse(folded: &str) -> bool {
    let mut name = folded.to_owned();
    for _ in 0..DECODINGS {
        if ODD_CODES.iter().any(|code| name.contains(code)) {
            return true;
        }
        let decoded = String::from_utf8_lossy(&percent_decoded(name.as_bytes())).into_owned();
        if decoded == name {
            return false;
        }
        if hides_something(&decoded) || decoded.contains(['/', '\\', '<', '>']) || runs_inside(&decoded) {
            return true;
        }
        name = decoded;
    }
    false
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
            "100%25.pdf",
            "%CF%86%20(1).jpg",
            "what%3F.jpg",
            ".hidden.jpg",
            "\u{1F3F4}\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}.jpg",
            "\u{2764}\u{FE0F}\u{200D}\u{1F525}.jpg",
            "第1章。前／後.pdf",
            "concert.jpg",
            "Screenshot 2024-01-31 at 9.41.00\u{202F}AM.png",
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
            "..jpg",
            " .jpg",
            "",
            "..%252f..%252fa.jpg",
            "a%2ephp%2ejpg",
            "a.php%2500.jpg",
            "..%c0%afa.jpg",
            "%3Cimg src=x%3E.jpg",
            "a\u{3164}.jpg",
            "a\u{E0041}.jpg",
            "CON.foo.jpg",
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
