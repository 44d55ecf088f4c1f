//! The table: medians of what was measured, and how Airlock compares.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// One run of one worker over one set.
#[derive(Clone, Copy)]
pub struct Measured {
    pub files: usize,
    /// How many of them were promoted.
    pub clean: usize,
    /// Files per second, from the first announcement to the last result. Depends on all that runs on the machine.
    pub rate: f64,
    /// Milliseconds of CPU of the worker per file, its start not included.
    pub cpu_ms: f64,
    /// Peak resident memory of the worker, its start included.
    pub peak_mib: f64,
}

impl Measured {
    /// The median of each figure by itself. `None` for no runs.
    fn median(runs: &[Self]) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = runs.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            let (low, high) = (figures.get((figures.len().max(1) - 1) / 2)?, figures.get(figures.len() / 2)?);
            Some(f64::midpoint(*low, *high))
        };
        let first = runs.first()?;
        let clean = runs.iter().map(|r| r.clean).min()?;
        Some(Self { clean, rate: of(|r| r.rate)?, cpu_ms: of(|r| r.cpu_ms)?, peak_mib: of(|r| r.peak_mib)?, ..*first })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, clean, rate, cpu_ms, peak_mib } = self;
        write!(f, "{rate:.1} files/s, {cpu_ms:.1} ms CPU a file, {peak_mib:.0} MiB, {clean} of {files} clean")
    }
}

/// All runs of one set, Airlock's and perhaps the yardstick's.
pub struct Row {
    pub set: &'static str,
    pub airlock: Vec<Measured>,
    pub peer: Vec<Measured>,
}

/// The table in Markdown, to be read in a terminal as well.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["files", "worker", "clean", "files/s", "CPU ms a file", "peak RSS MiB"]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in rows {
        let (airlock, peer) = (Measured::median(&row.airlock), Measured::median(&row.peer));
        for (name, measured) in [("airlock", airlock), ("yardstick", peer)] {
            let Some(Measured { files, clean, rate, cpu_ms, peak_mib }) = measured else { continue };
            let figures = [format!("{rate:.1}"), format!("{cpu_ms:.1}"), format!("{peak_mib:.0}")];
            let names = [row.set.to_owned(), name.to_owned(), format!("{clean} of {files}")];
            table.add_row(names.into_iter().chain(figures));
        }
        if let (Some(a), Some(p)) = (airlock, peer) {
            let ratio = |a: f64, p: f64| if p > 0.0 { format!("{:.2}", a / p) } else { "-".to_owned() };
            // No ratio of rates: the services take the same processors as the workers.
            let (cpu, peak) = (ratio(a.cpu_ms, p.cpu_ms), ratio(a.peak_mib, p.peak_mib));
            table.add_row([row.set.to_owned(), "ratio".to_owned(), String::new(), String::new(), cpu, peak]);
        }
    }
    table.to_string()
}

/// What the table must not be quoted without.
pub fn warnings(rows: &[Row]) -> Vec<String> {
    let mut warnings = Vec::new();
    for row in rows {
        for (name, runs) in [("airlock", &row.airlock), ("yardstick", &row.peer)] {
            if let Some(m) = Measured::median(runs).filter(|m| m.clean < m.files) {
                warnings.push(format!(
                    "{}: {name} promoted only {} of {} good files; a file that is refused costs less than one that is \
                     sanitized, so these figures compare nothing.",
                    row.set, m.clean, m.files
                ));
            }
        }
    }
    if cfg!(debug_assertions) {
        warnings.push("This is a debug build: no figure means anything. Call scripts/bench.".to_owned());
    }
    warnings
}
