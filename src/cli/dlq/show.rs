//! What `airlock dlq` prints. Headers and bodies come from publishers: everything is escaped and bounded.

use std::collections::BTreeMap;
use std::io::Write;

use comfy_table::ContentArrangement;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Serialize;

use crate::dlq::{Group, Letter, advice, group};
use crate::text;

/// The longest text of a header or a name that is shown.
const MAX_TEXT: usize = 300;
/// The most of a body that is shown.
const MAX_BODY: usize = 4_000;

/// Prints letters, or counts them and prints the groups at the end.
pub(super) struct Show {
    json: bool,
    /// What happens to each letter, such as `redriven`.
    done: &'static str,
    groups: BTreeMap<String, Group>,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    /// `shown`, `redriven`, `discarded`, or what would be done.
    action: &'static str,
    #[serde(flatten)]
    letter: &'a Letter,
    #[serde(skip_serializing_if = "Option::is_none")]
    helps: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Show {
    pub(super) const fn new(json: bool, done: &'static str) -> Self {
        Self { json, done, groups: BTreeMap::new() }
    }

    /// One letter for the groups.
    pub(super) fn count(&mut self, letter: &Letter) {
        group(&mut self.groups, letter);
    }

    /// One letter, in one line.
    pub(super) fn line(&mut self, letter: &Letter) {
        if self.json {
            put(&json(&Line { action: self.done, letter, helps: None, body: None }));
            return;
        }
        let what = letter.message.as_deref().unwrap_or_default();
        put(&format!(
            "{}  {}  {:24}  {}  {}",
            self.done,
            letter.failed_at.as_deref().map_or_else(|| "at an unknown time".to_owned(), shown),
            shown(&letter.code),
            shown(&letter.id),
            if what.is_empty() { object(letter) } else { shown(what) }
        ));
    }

    /// One letter that has left the queue: for people, the log has said so.
    pub(super) fn gone(&mut self, letter: &Letter) {
        if self.json {
            self.line(letter);
        }
    }

    /// One letter with everything that is known of it.
    pub(super) fn whole(&mut self, letter: &Letter, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let codes = [Some(letter.code.as_str()), letter.earlier_code.as_deref()];
        let helps: Vec<&str> = codes.into_iter().flatten().filter_map(advice).collect();
        if self.json {
            let (helps, body) = (Some(helps.join(" ")), Some(text.chars().take(MAX_BODY).collect()));
            put(&json(&Line { action: self.done, letter, helps: helps.as_deref(), body }));
            return;
        }
        put(&shown(&letter.code));
        for (name, value) in rows(letter) {
            put(&format!("  {name:15}{value}"));
        }
        for advice in helps {
            put(&format!("  {:15}{advice}", "usually helps"));
        }
        put(&format!("  {:15}{}\n", "event", text::printable_within(&text, MAX_BODY)));
    }

    /// Prints the groups, if letters were counted.
    pub(super) fn finish(&self) {
        if self.json {
            for group in self.groups.values() {
                put(&json(group));
            }
        } else if !self.groups.is_empty() {
            let mut table = comfy_table::Table::new();
            table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(["code", "count", "oldest", "newest", "routes"]);
            for group in self.groups.values() {
                let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "-".to_owned());
                let routes: Vec<&str> = group.routes.iter().map(String::as_str).collect();
                table.add_row([
                    shown(&group.code),
                    group.count.to_string(),
                    time(&group.oldest),
                    time(&group.newest),
                    routes.join(", "),
                ]);
            }
            put(&table.to_string());
        }
    }
}

/// Name and value of everything that is known.
fn rows(letter: &Letter) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.as_deref().map(shown);
    let version = letter.version.as_deref().map(|v| format!(", version {}", shown(v))).unwrap_or_default();
    let attempt = letter.max_attempts.map(|max| format!("{} of {max}", letter.attempt));
    let class = letter.class.as_deref().map(|c| format!(", {}", shown(c))).unwrap_or_default();
    let origin = letter
        .origin
        .as_ref()
        .map(|o| format!("exchange {}, key {}, queue {}", shown(&o.exchange), shown(&o.routing_key), shown(&o.queue)));
    let last = letter.redriven_at.as_deref().map(|at| format!(", last at {}", shown(at))).unwrap_or_default();
    let rows = [
        ("id", Some(shown(&letter.id))),
        ("what happened", text(&letter.message)),
        ("before", text(&letter.earlier_code)),
        ("stage", text(&letter.stage)),
        ("attempt", attempt.map(|attempt| format!("{attempt}{class}"))),
        ("first failed", text(&letter.first_failed_at)),
        ("failed", text(&letter.failed_at)),
        ("on", letter.host.as_deref().map(|host| format!("{}{version}", shown(host)))),
        ("came by", origin),
        ("redriven", (letter.redriven > 0).then(|| format!("{} times{last}", letter.redriven))),
        ("route", text(&letter.route)),
        ("object", letter.key.as_ref().map(|_| object(letter))),
        ("uploader", text(&letter.uploader)),
        ("source id", text(&letter.source_id)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn object(letter: &Letter) -> String {
    let (bucket, key) = (letter.bucket.as_deref().unwrap_or_default(), letter.key.as_deref().unwrap_or_default());
    let version = letter.version_id.as_deref().map(|v| format!(" version {}", shown(v))).unwrap_or_default();
    format!("{}/{}{version}", shown(bucket), shown(key))
}

fn shown(value: impl AsRef<str>) -> String {
    text::printable_within(value.as_ref(), MAX_TEXT)
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_default()
}

fn put(line: &str) {
    // A reader that went away (a closed pipe) has seen all it wanted.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Message;

    #[test]
    fn nothing_of_a_message_reaches_the_terminal_as_it_came() {
        let hostile = "\u{1b}[2J\u{202e}";
        let headers = [
            "x-airlock-error-code",
            "x-airlock-error-message",
            "x-airlock-host",
            "x-airlock-source-id",
            "x-airlock-stage",
        ];
        let headers = headers.iter().map(|name| ((*name).to_owned(), hostile.to_owned())).collect();
        let body = serde_json::json!({"bucket": "in-box", "key": hostile, "uploader": hostile}).to_string();
        let message =
            Message { headers, message_id: Some(hostile.into()), body: body.into_bytes().into(), ..Message::default() };
        let letter = Letter::of(&message, None, &[]);
        for (name, value) in rows(&letter) {
            assert!(!value.chars().any(text::is_unsafe), "{name}: {value:?}");
        }
        assert!(rows(&letter).iter().any(|(name, _)| *name == "object"), "a hostile key is a legal key");
    }
}
