//! Durations and pixel counts as people write them: `"30s"`, `"250ms"`, `"7d"`; `"50 MP"`.
//!
//! Only whole numbers with one unit: `"1.5h"` or `"1h30m"` can be misread, `"90m"` cannot.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration.
///
/// # Errors
/// When `text` is not a whole number with one of the units ms, s, m, h and d, or does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = DURATIONS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
    number
        .zip(factor)
        .and_then(|(n, factor)| n.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| "must be a whole number with a unit (ms, s, m, h, d), such as \"30s\"".to_owned())
}

/// Writes a duration in the largest unit that loses nothing.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = DURATIONS.iter().find(|(_, factor)| millis > 0 && millis.is_multiple_of(u128::from(*factor)));
    match exact {
        Some((unit, factor)) => format!("{}{unit}", millis / u128::from(*factor)),
        None => "0s".to_owned(),
    }
}

/// Reads a number of pixels, plain or in megapixels.
///
/// # Errors
/// When `text` is neither a whole number nor one followed by `MP`.
pub fn parse_pixels(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" => Some(1),
        "MP" | "mp" => Some(1_000_000),
        _ => None,
    };
    number
        .zip(factor)
        .and_then(|(n, factor)| n.checked_mul(factor))
        .ok_or_else(|| "must be a whole number of pixels, such as \"50 MP\" or 50000000".to_owned())
}

/// Writes a number of pixels, in megapixels where that is exact.
#[must_use]
pub fn format_pixels(pixels: u64) -> String {
    match pixels {
        n if n > 0 && n.is_multiple_of(1_000_000) => format!("{} MP", n / 1_000_000),
        n => n.to_string(),
    }
}

fn split(text: &str) -> (Option<u64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits.parse().ok(), unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_human_units() {
        for (text, millis) in [("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000), ("250ms", 250)]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(parse_duration(" 90 m "), Ok(Duration::from_mins(90)));
        assert_eq!(format_duration(Duration::ZERO), "0s");
        for text in ["", "30", "s", "1.5h", "1h30m", "-1s", "5 parsecs", "99999999999999999999s", "99999999999999999d"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pixels_are_read_plain_or_in_megapixels() {
        for (text, pixels) in [("50 MP", 50_000_000), ("50mp", 50_000_000), ("123", 123), ("0", 0)] {
            assert_eq!(parse_pixels(text), Ok(pixels), "{text}");
        }
        assert_eq!((format_pixels(50_000_000), format_pixels(123)), ("50 MP".to_owned(), "123".to_owned()));
        for text in ["", "MP", "1.5 MP", "50 GB", "99999999999999 MP"] {
            assert!(parse_pixels(text).is_err(), "{text}");
        }
    }
}
