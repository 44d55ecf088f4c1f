//! Mistakes in a configuration: each says where it was made, on which key, what is wrong and what to do.
//!
//! They are collected and shown together, so that a person does not correct a file ten times. No value of a
//! secret, and no value of an unknown key (it may be a misspelt secret), ever gets into one.

use std::fmt;
use std::path::PathBuf;

use crate::text::{printable, printable_within};

/// The longest value that a message shows, in characters.
const MAX_VALUE: usize = 80;

/// Where a value was given, in the order of precedence: later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// A line of the configuration file, counted from 1; 0 is the file as a whole.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Variable(String),
    /// `--set` with this key.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => f.write_str(&printable(&path.to_string_lossy())),
            Self::File { path, line } => write!(f, "{}:{line}", printable(&path.to_string_lossy())),
            Self::Variable(name) => f.write_str(&printable_within(name, MAX_VALUE)),
            Self::Flag(key) => write!(f, "--set {}", printable_within(key, MAX_VALUE)),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub origin: Origin,
    /// The dotted key, `clamd.timeout`; empty where the trouble is not with one key.
    pub key: String,
    /// The value as given, escaped and cut; `None` where it is or may be a secret.
    pub value: Option<String>,
    /// What is wrong, and what is allowed or what to do.
    pub message: String,
}

impl Problem {
    pub(super) fn new(origin: Origin, key: impl AsRef<str>, message: impl Into<String>) -> Self {
        Self { origin, key: printable_within(key.as_ref(), MAX_VALUE), value: None, message: message.into() }
    }

    pub(super) fn with_value(mut self, value: &str) -> Self {
        self.value = Some(printable_within(value, MAX_VALUE));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (&self.key, &self.value) {
            (key, _) if key.is_empty() => {}
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, at least one problem, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    pub(super) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration:")?,
            n => write!(f, "{n} mistakes in the configuration:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The candidate nearest to `word` in spelling, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = (word.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(d, _)| *d <= tolerated).min().map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour (the restricted
/// Damerau-Levenshtein distance). Only beginnings are compared, as the work grows with the square.
fn distance(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|word| word.chars().take(64).collect::<Vec<char>>());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let changed = rows[i][j] + usize::from(x != y);
            let put_in_or_taken_out = row[j].min(rows[i][j + 1]) + 1;
            let swapped = i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x;
            let swap = if swapped { rows[i - 1][j - 1] + 1 } else { usize::MAX };
            row.push(changed.min(put_in_or_taken_out).min(swap));
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in
            [("", "", 0), ("url", "url", 0), ("ur", "url", 1), ("timeuot", "timeout", 1), ("abc", "", 3)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(nearest("tiemout", ["timeout", "concurrency"]), Some("timeout"));
        assert_eq!(nearest("frobnicate", ["timeout", "concurrency"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_value_cannot_move_the_cursor() {
        let problem =
            Problem::new(Origin::Variable("AIRLOCK__A\x1b[2J".into()), "a\nb", "is wrong").with_value("\x1b[31m");
        assert!(!problem.to_string().contains(['\x1b', '\n']), "{problem}");
    }
}
