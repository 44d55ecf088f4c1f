//! The table that people read: a row per file, and the totals below.

use std::fmt;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, Color, ContentArrangement};

use crate::fault::FaultRecord;
use crate::media::MediaType;
use crate::object::ByteSize;
use crate::text;
use crate::verdict::{Record, Verdict};

/// The longest name that is shown; of a longer one, its end.
const MAX_NAME: usize = 48;

/// Collects rows and shows them with their totals.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

/// One file.
pub(super) struct Row {
    name: String,
    verdict: &'static str,
    reasons: String,
    media: String,
    sizes: String,
    removed: String,
}

impl Row {
    pub(super) fn of_record(record: &Record) -> Self {
        let size = ByteSize(record.source.size);
        let image = record.sanitized.as_ref().and_then(|s| s.width.zip(s.height));
        let sizes = match (&record.output, record.verdict, record.sanitized.as_ref()) {
            (Some(output), Verdict::Clean, _) => format!("{size} → {}", ByteSize(output.size)),
            _ => size.to_string(),
        };
        let mut removed: Vec<String> =
            record.sanitized.iter().flat_map(|s| &s.removed).map(ToString::to_string).collect();
        if let (Some(sanitized), Some((width, height))) = (&record.sanitized, image)
            && let Some((from_width, from_height)) = sanitized.resized_from
        {
            removed.push(format!("{from_width}x{from_height} → {width}x{height}"));
        }
        Self {
            name: text::printable_end_within(&record.source.key, MAX_NAME),
            verdict: record.verdict.as_str(),
            reasons: record.reasons.iter().map(|r| format!("{}: {}", r.code, r.detail)).collect::<Vec<_>>().join("\n"),
            media: record.source.detected_type.map_or("-", MediaType::name).to_owned(),
            sizes,
            removed: removed.join(", "),
        }
    }

    pub(super) fn of_fault(fault: &FaultRecord) -> Self {
        let key = fault.source.as_ref().map_or("-", |s| s.key.as_str());
        Self {
            name: text::printable_end_within(key, MAX_NAME),
            verdict: "fault",
            reasons: format!("{}: {}", fault.code, fault.detail),
            media: "-".to_owned(),
            sizes: "-".to_owned(),
            removed: String::new(),
        }
    }
}

impl Table {
    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn count(&self, verdict: &str) -> usize {
        self.rows.iter().filter(|r| r.verdict == verdict).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["file", "verdict", "reasons", "type", "size", "removed"]);
        for row in &self.rows {
            let color = match row.verdict {
                "clean" => Color::Green,
                "fault" => Color::Magenta,
                _ => Color::Red,
            };
            table.add_row([
                Cell::new(&row.name),
                Cell::new(row.verdict).fg(color),
                Cell::new(&row.reasons),
                Cell::new(&row.media),
                Cell::new(&row.sizes),
                Cell::new(&row.removed),
            ]);
        }
        writeln!(f, "{table}")?;
        let (files, clean, rejected) = (self.rows.len(), self.count("clean"), self.count("rejected"));
        let plural = if files == 1 { "" } else { "s" };
        write!(f, "{files} file{plural}: {clean} clean, {rejected} rejected, {} faults", self.count("fault"))
    }
}
