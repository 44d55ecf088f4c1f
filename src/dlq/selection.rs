//! Which dead letters are meant.

use std::time::Duration;

use super::Letter;

/// A letter is meant if it passes every filter that is given.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Any of these; none: all.
    pub ids: Vec<String>,
    /// Any of these; none: all.
    pub codes: Vec<String>,
    pub route: Option<String>,
    pub uploader: Option<String>,
    pub older_than: Option<Duration>,
    pub newer_than: Option<Duration>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl Selection {
    /// Whether the letter is meant, at `now` in seconds since 1970. What is not known of a letter passes no filter
    /// that asks for it: nobody should drop a message because its age could not be read.
    #[must_use]
    pub fn matches(&self, letter: &Letter, now: i64) -> bool {
        let age = letter.failed_at().map(|at| Duration::from_secs(now.saturating_sub(at).try_into().unwrap_or(0)));
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && (self.codes.is_empty() || self.codes.contains(&letter.code))
            && (self.route.is_none() || self.route == letter.route)
            && (self.uploader.is_none() || self.uploader == letter.uploader)
            && self.older_than.is_none_or(|limit| age.is_some_and(|age| age > limit))
            && self.newer_than.is_none_or(|limit| age.is_some_and(|age| age <= limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::queue::Message;

    fn letter(headers: &[(&str, &str)]) -> Letter {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let message = Message { headers, message_id: Some("m".into()), ..Message::default() };
        Letter::of(&message, None, &[])
    }

    #[test]
    fn every_filter_must_pass_and_what_is_not_known_passes_none() {
        let at = clock::parse("2026-11-24T10:00:00Z").unwrap();
        let known =
            letter(&[("x-airlock-error-code", "s3.unavailable"), ("x-airlock-failed-at", "2026-11-24T10:00:00Z")]);
        let unknown = letter(&[]);
        let hour = Some(Duration::from_hours(1));
        let table = [
            (Selection::default(), true, true),
            (
                Selection { codes: vec!["s3.unavailable".into(), "internal".into()], ..Selection::default() },
                true,
                false,
            ),
            (Selection { codes: vec!["unknown".into()], ..Selection::default() }, false, true),
            (Selection { ids: vec!["m".into()], ..Selection::default() }, true, true),
            (Selection { ids: vec!["n".into()], ..Selection::default() }, false, false),
            (Selection { route: Some("default".into()), ..Selection::default() }, false, false),
            (Selection { uploader: Some("alice".into()), ..Selection::default() }, false, false),
            (Selection { older_than: hour, ..Selection::default() }, true, false),
            (Selection { newer_than: hour, ..Selection::default() }, false, false),
        ];
        for (selection, of_known, of_unknown) in table {
            let matched = (selection.matches(&known, at + 3_601), selection.matches(&unknown, at + 3_601));
            assert_eq!(matched, (of_known, of_unknown), "{selection:?}");
        }
        let recent = Selection { newer_than: hour, ..Selection::default() };
        assert!(recent.matches(&known, at + 3_600));
        assert!(recent.matches(&known, at - 60), "a clock that is behind makes it new, not old");
    }
}
