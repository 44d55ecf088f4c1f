//! What usually helps, out of the runbook: there is one text, for readers of the page and of the terminal.

const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The last column of the code's row in the runbook's table of codes.
#[must_use]
pub fn advice(code: &str) -> Option<&'static str> {
    RUNBOOK.lines().find_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        match cells.as_slice() {
            [first, _class, _what, helps] if first.strip_suffix('`') == Some(code) => Some(*helps),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::UNKNOWN;
    use crate::fault::FaultCode;

    #[test]
    fn the_runbook_helps_with_every_code() {
        let brokers = ["broker:delivery_limit", "broker:expired", "broker:maxlen", "broker:rejected", UNKNOWN];
        for code in FaultCode::ALL.iter().map(|code| code.as_str()).chain(brokers) {
            assert!(advice(code).is_some_and(|text| !text.is_empty()), "docs/runbook.md has no row for {code}");
        }
        assert_eq!(advice("no.such"), None);
        assert_eq!(advice("x-airlock-stage"), None, "that is another table");
    }
}
