//! Where a link in a document leads, judged by its scheme.

use crate::verdict::ReasonCode;

/// The most bytes of a link that are looked at; a scheme stands at its beginning.
const LOOKED_AT: usize = 1024;

/// When a link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// A person clicks: web and mail addresses are what links are for.
    OnClick,
    /// By itself when the document opens: only a path on the reader's own disk is harmless.
    OnOpen,
}

/// What a link is, as far as harm goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Relative,
    LocalFile,
    /// A file on another machine: opening it hands over the reader's password hash.
    RemoteFile,
    Web,
    Script,
    Other,
}

/// The finding that a link deserves, if any, in one sentence.
pub(super) fn judge(link: &str, follow: Follow) -> Option<(ReasonCode, String)> {
    describe(link, follow).map(|(code, what, link)| (code, format!("{what}: {link}")))
}

/// The finding that a link deserves, if any, and the link as its readers see it.
pub(super) fn describe(link: &str, follow: Follow) -> Option<(ReasonCode, &'static str, String)> {
    let link = normalized(link);
    let what = match (target(&link), follow) {
        (Target::Script, _) => return Some((ReasonCode::ActiveContent, "link that runs code", link)),
        (Target::Relative, _) | (Target::Web, Follow::OnClick) | (Target::LocalFile, Follow::OnOpen) => return None,
        (Target::LocalFile, Follow::OnClick) => "link to a file of the reader's machine",
        (Target::RemoteFile, _) => "link to a file on another machine",
        (Target::Web, Follow::OnOpen) => "fetches from elsewhere when opened",
        (Target::Other, _) => "link with an unusual scheme",
    };
    Some((ReasonCode::ExternalReference, what, link))
}

/// Whether a link leaves the document: it names a scheme, a drive or another machine.
pub(super) fn leaves(link: &str) -> bool {
    target(&normalized(link)) != Target::Relative
}

/// The link as its readers see it: they drop control characters and white space, which otherwise hide a
/// scheme (`java\tscript:`), and treat slashes alike.
fn normalized(link: &str) -> String {
    link.chars()
        .filter(|c| !c.is_control() && !c.is_whitespace() && !crate::text::is_unsafe(*c))
        .take(LOOKED_AT)
        .collect()
}

fn target(link: &str) -> Target {
    let lower = link.to_ascii_lowercase().replace('\\', "/");
    if lower.starts_with("//") {
        return Target::RemoteFile;
    }
    let scheme = lower.split_once(':').map(|(scheme, _)| scheme).filter(|s| is_scheme(s));
    let Some(scheme) = scheme else { return Target::Relative };
    let rest = lower.get(scheme.len() + 1..).unwrap_or_default();
    match scheme {
        "http" | "https" | "mailto" | "tel" | "fax" | "sms" | "ftp" | "ftps" | "news" | "nntp" | "gopher" => {
            Target::Web
        }
        // Identifiers, calendars, places and conversations.
        "doi" | "hdl" | "urn" | "info" | "geo" | "webcal" | "sip" | "sips" | "xmpp" | "callto" | "irc" => Target::Web,
        "javascript" | "vbscript" | "data" | "jscript" | "livescript" => Target::Script,
        "file" => file(rest),
        "smb" | "cifs" | "nfs" | "dav" | "davs" => Target::RemoteFile,
        // A single letter is a drive.
        _ if scheme.len() == 1 => Target::LocalFile,
        // A host with its port (`example.com:8080/a`), written without the scheme.
        _ if scheme.contains('.') && rest.starts_with(|c: char| c.is_ascii_digit()) => Target::Web,
        _ => Target::Other,
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// What follows `file:`. Three slashes or none lead to the local disk, two to a host; four or more are UNC.
fn file(rest: &str) -> Target {
    let slashes = rest.chars().take_while(|c| *c == '/').count();
    let path = rest.get(slashes..).unwrap_or_default();
    let drive = path.as_bytes().get(1).is_some_and(|c| matches!(c, b':' | b'|'));
    match slashes {
        _ if drive => Target::LocalFile,
        0 | 1 | 3 => Target::LocalFile,
        2 if path.is_empty() || path.starts_with("localhost/") => Target::LocalFile,
        _ => Target::RemoteFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_by_scheme() {
        use Follow::{OnClick, OnOpen};
        let active = Some(ReasonCode::ActiveContent);
        let external = Some(ReasonCode::ExternalReference);
        for (link, click, open) in [
            ("https://example.com/a", None, external),
            ("mailto:a@example.com", None, external),
            ("chapter2.docx#top", None, None),
            ("#bookmark", None, None),
            ("Java\tScript:alert(1)", active, active),
            ("data:text/html,x", active, active),
            ("file:///C:\\Users\\x.dotx", external, None),
            ("C:\\Templates\\x.dot", external, None),
            ("file://host/share/x", external, external),
            ("file:////host/share/x", external, external),
            ("\\\\host\\share", external, external),
            ("ms-msdt:/id", external, external),
            ("doi:10.1000/1", None, external),
            ("example.com:8080/a", None, external),
            ("view-source:file:///a", external, external),
            ("a b/c:d", None, None),
        ] {
            assert_eq!(judge(link, OnClick).map(|(code, _)| code), click, "{link} on click");
            assert_eq!(judge(link, OnOpen).map(|(code, _)| code), open, "{link} on open");
        }
    }
}
