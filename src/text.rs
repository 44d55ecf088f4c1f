//! Text that came from an uploader, made fit to be read by a person (guarantee G8).

/// `text` with everything that could move a cursor, hide or reorder what stands beside it written as
/// `\u{..}`: control characters, bidirectional overrides, zero-width characters, line separators, and the
/// backslash itself so that the result cannot be forged.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c == '\\' || is_unsafe(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}

/// [`printable`], cut to at most `max` characters with an ellipsis where something was left out.
#[must_use]
pub fn printable_within(text: &str, max: usize) -> String {
    let clean = printable(text);
    if clean.chars().count() <= max {
        return clean;
    }
    clean.chars().take(max.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// [`printable`], cut to at most `max` characters at the front: of a path, the end says which file it is.
#[must_use]
pub fn printable_end_within(text: &str, max: usize) -> String {
    let clean = printable(text);
    let surplus = clean.chars().count().saturating_sub(max);
    if surplus == 0 {
        return clean;
    }
    std::iter::once('…').chain(clean.chars().skip(surplus.saturating_add(1))).collect()
}

/// Characters that change how the text around them is shown or that are not shown at all.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{FEFF}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_or_a_reader_would_obey() {
        assert_eq!(printable("a\x1b[31m\r\nb"), "a\\u{1b}[31m\\u{d}\\u{a}b");
        assert_eq!(printable("photo\u{202E}gpj.exe"), "photo\\u{202e}gpj.exe");
        assert_eq!(printable("Überblick für März.docx"), "Überblick für März.docx");
        assert_eq!(printable("a\\u{1b}"), "a\\u{5c}u{1b}");
    }

    #[test]
    fn a_long_text_is_cut_visibly() {
        assert_eq!(printable_within("abcdef", 4), "abc…");
        assert_eq!(printable_within("abcd", 4), "abcd");
        assert_eq!(printable_end_within("abcdef", 4), "…def");
        assert_eq!(printable_end_within("abcd", 4), "abcd");
    }
}
