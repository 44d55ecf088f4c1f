//! Where a link in a document leads, judged by its scheme.

use super::bytes::percent_decoded;
use crate::feature::Feature;

/// The most bytes of a link that are looked at; a scheme stands at its beginning.
const LOOKED_AT: usize = 1024;

/// When a link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// A person clicks: web and mail addresses are what links are for.
    OnClick,
    /// By itself when the document opens, as what: only a path on the reader's own disk is harmless.
    OnOpen(Feature),
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
pub(super) fn judge(link: &str, follow: Follow) -> Option<(Feature, String)> {
    describe(link, follow).map(|(feature, what, link)| (feature, format!("{what}: {link}")))
}

/// The finding that a link deserves, if any, and the link as its readers see it.
pub(super) fn describe(link: &str, follow: Follow) -> Option<(Feature, &'static str, String)> {
    let mut link = normalized(link);
    let feature = match follow {
        Follow::OnClick => Feature::FileLinks,
        Follow::OnOpen(feature) => feature,
    };
    if follow != Follow::OnClick {
        // `%5C%5Chost%5Cshare` is a path on another machine once it is opened as a file.
        let file = decoded(&link);
        if matches!(target(&file), Target::RemoteFile | Target::Web | Target::Script) {
            link = file;
        }
    }
    let what = match (target(&link), follow) {
        (Target::Script, _) => return Some((Feature::ScriptLinks, "link that runs code", link)),
        (Target::Relative, _) | (Target::Web, Follow::OnClick) | (Target::LocalFile, Follow::OnOpen(_)) => return None,
        (Target::LocalFile, Follow::OnClick) => "link to a file of the reader's machine",
        (Target::RemoteFile, _) => "link to a file on another machine",
        (Target::Web, Follow::OnOpen(_)) => "fetches from elsewhere when opened",
        // A path of the old Mac: `Macintosh HD:Users:me:Normal`.
        (Target::Other, Follow::OnOpen(_)) if link.matches(':').count() > 1 && !link.contains(['/', '\\']) => {
            return None;
        }
        (Target::Other, _) => "link with an unusual scheme",
    };
    Some((feature, what, link))
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

/// The link with its percent-encoded bytes decoded, if that leaves text.
fn decoded(link: &str) -> String {
    String::from_utf8(percent_decoded(link.as_bytes())).map_or_else(|_| link.to_owned(), |text| normalized(&text))
}

fn target(link: &str) -> Target {
    let lower = link.to_ascii_lowercase().replace('\\', "/");
    // `\??\` leads to any device, UNC included, as `\\?\` does.
    if lower.starts_with("//") || lower.starts_with("/??/") {
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
    let drive = matches!(path.as_bytes(), [_, b':' | b'|'] | [_, b':' | b'|', b'/', ..]);
    // Word on a Mac writes four slashes before its paths, which all begin with one of these folders.
    let mac = || ["users/", "applications/", "library/", "volumes/", "private/"].iter().any(|f| path.starts_with(f));
    match slashes {
        _ if drive => Target::LocalFile,
        0 | 1 | 3 => Target::LocalFile,
        4 if mac() => Target::LocalFile,
        2 if path.is_empty() || path.starts_with("localhost/") => Target::LocalFile,
        _ => Target::RemoteFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_by_scheme() {
        use crate::verdict::ReasonCode;
        let active = Some(ReasonCode::ActiveContent);
        let external = Some(ReasonCode::ExternalReference);
        let reason = |link, follow| judge(link, follow).map(|(feature, _)| feature.reason());
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
            ("file:////Users/me/Normal.dotm", external, None),
            ("file://c:@host/x", external, external),
            ("file:%2F%2Fhost/x", external, external),
            ("%5C%5Chost%5Cshare", None, external),
            ("Letter%20(new).dotx", None, None),
            ("Macintosh%20HD:Users:me:Normal.dotm", None, None),
            ("Macintosh HD:Users:me:Normal.dotm", external, None),
            ("\\??\\UNC\\host\\share", external, external),
            ("urn:isbn:123", None, external),
            ("\\\\host\\share", external, external),
            ("ms-msdt:/id", external, external),
            ("doi:10.1000/1", None, external),
            ("example.com:8080/a", None, external),
            ("view-source:file:///a", external, external),
            ("a b/c:d", None, None),
        ] {
            assert_eq!(reason(link, Follow::OnClick), click, "{link} on click");
            assert_eq!(reason(link, Follow::OnOpen(Feature::RemoteContent)), open, "{link} on open");
        }
    }
}
