//! Values that must never be printed: the type redacts itself wherever a value could come out by accident.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A password or key. Debug, Display and serialization print `[redacted]`; [`Secret::expose`] is the only
/// way to the value, so that each use can be found by its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(REDACTED)
    }
}

/// The address of the broker, `amqp[s]://[user[:password]@]host[:port][/vhost]`. It prints without its
/// password.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    full: Secret,
    /// The same with `[redacted]` for the password.
    shown: String,
    has_user: bool,
}

impl AmqpUrl {
    /// The whole URL with its password, for the call that connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.full.expose()
    }

    /// Whether the connection is encrypted (`amqps`).
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.shown.starts_with("amqps://")
    }

    /// Whether the URL itself names a user.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.has_user
    }
}

impl FromStr for AmqpUrl {
    type Err = String;

    /// An '@', '/' or ':' of a password must be percent-encoded. A URL where they are not is refused
    /// rather than guessed at: a wrong guess would print a part of the password.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "must be amqp://[user:password@]host[:port]/vhost or amqps://..., percent-encoded".to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let printable = text.chars().all(|c| c.is_ascii_graphic());
        let one_user = !user.is_some_and(|user| user.contains('@')) && !tail.contains('@');
        if !matches!(scheme, "amqp" | "amqps") || !printable || !one_user || !is_host(host) {
            return Err(bad());
        }
        let shown = match user.and_then(|user| user.split_once(':')) {
            Some((name, _)) => format!("{scheme}://{name}:{REDACTED}@{host}{tail}"),
            None => text.to_owned(),
        };
        Ok(Self { full: Secret::new(text), shown, has_user: user.is_some() })
    }
}

/// `host`, `host:port` or `[v6]:port`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (bracketed || !host.contains(':')) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({:?})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nowhere() {
        let secret = Secret::new("hunter2");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?} {json}"),
            "[redacted] [redacted] [redacted] \"[redacted]\""
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_url_prints_without_its_password() {
        let url: AmqpUrl = "amqps://worker:hunter2@mq.example:5671/%2f?heartbeat=10".parse().unwrap();
        assert_eq!(url.to_string(), "amqps://worker:[redacted]@mq.example:5671/%2f?heartbeat=10");
        assert!(!format!("{url:?}").contains("hunter2") && url.expose().contains("hunter2"));
        assert!(url.is_tls() && url.has_user());
        assert_eq!(
            url.to_string().parse::<AmqpUrl>().unwrap().to_string(),
            url.to_string(),
            "what is printed can be read"
        );
    }

    #[test]
    fn urls_that_could_be_misread_are_refused() {
        for good in ["amqp://h", "amqp://127.0.0.1:5672/%2f", "amqp://guest@[::1]:5672", "amqp://[::1]"] {
            assert_eq!(good.parse::<AmqpUrl>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "h:5672",
            "http://h",
            "amqp://",
            "amqp://h:port",
            "amqp://h:99999",
            "amqp://a b",
            "amqp://::1",
            "amqp://user:pass@word@h",
            "amqp://user:12/34@h",
            "amqp://user:pass/word@h",
        ] {
            assert!(bad.parse::<AmqpUrl>().is_err(), "{bad}");
        }
    }
}
