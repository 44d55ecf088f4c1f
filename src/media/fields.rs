//! Word field codes, as they stand in a DOC's text and in a DOCX's runs.
//!
//! A field is `{ CODE }` or `{ CODE | result }`, and fields nest: what an inner field yields becomes part of the
//! outer code. That is how `{ { QUOTE 68 68 69 } ... }` builds a DDE command that no search for `DDE` finds.

use super::findings::Findings;
use super::links::{self, Follow};
use crate::feature::Feature;
use crate::limits::StructureLimits;

/// Follows the begin, separator and end marks of fields through the text of a part or a stream.
#[derive(Default)]
pub(super) struct Fields {
    open: Vec<Field>,
    /// Fields opened beyond the limit, which wait for their ends.
    too_deep: usize,
}

#[derive(Default)]
struct Field {
    /// The code with the results that inner fields had when the document was saved.
    code: String,
    /// The code with what inner QUOTE fields will yield when they are computed anew.
    computed: String,
    in_result: bool,
    /// An inner field gives this one its name, or the rest of it.
    named_by_another: bool,
}

impl Fields {
    pub fn begin(&mut self) {
        if let Some(outer) = self.open.last_mut().filter(|field| !field.in_result) {
            // What an inner field yields may come from anywhere: a bookmark, a property, a question.
            outer.named_by_another |= "DD".starts_with(&outer.code.to_ascii_uppercase());
        }
        if self.open.len() < StructureLimits::NESTED_FIELDS {
            self.open.push(Field::default());
        } else {
            self.too_deep += 1;
        }
    }

    pub fn separate(&mut self, place: &str, findings: &mut Findings) {
        if self.too_deep > 0 {
            return;
        }
        if let Some(field) = self.open.last_mut().filter(|field| !field.in_result) {
            field.in_result = true;
            field.judge(place, findings);
        }
    }

    pub fn end(&mut self, place: &str, findings: &mut Findings) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        let Some(field) = self.open.pop() else { return };
        if !field.in_result {
            field.judge(place, findings);
        }
        if let (Some(outer), Some(text)) = (self.open.iter_mut().rev().find(|f| !f.in_result), quoted(&field.computed))
        {
            append(&mut outer.computed, &text);
        }
    }

    /// Whether the code of the innermost field is not complete.
    pub fn in_code(&self) -> bool {
        self.too_deep > 0 || self.open.last().is_some_and(|field| !field.in_result)
    }

    /// Whether text at this place can be part of a code.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Text inside a field: it belongs to the innermost field whose code is not complete. Text of an inner
    /// result counts for the saved form of the outer code only.
    pub fn text(&mut self, text: &str) {
        let own = self.open.last().is_some_and(|field| !field.in_result);
        if let Some(field) = self.open.iter_mut().rev().find(|field| !field.in_result) {
            append(&mut field.code, text);
            if own {
                append(&mut field.computed, text);
            }
        }
    }
}

impl Field {
    fn judge(&self, place: &str, findings: &mut Findings) {
        if self.named_by_another {
            findings.feature(Feature::Dde, format!("field whose name another field builds, in {place}"));
        }
        judge(&self.code, place, findings);
        if self.computed != self.code {
            judge(&self.computed, place, findings);
        }
        if let Some(text) = quoted(&self.computed) {
            judge(&text, place, findings);
        }
    }
}

/// Appends up to the limit; leading space is dropped, so that it cannot push the code out of sight.
fn append(code: &mut String, text: &str) {
    let text = if code.is_empty() { text.trim_start() } else { text };
    let room = StructureLimits::FIELD_CODE.saturating_sub(code.len());
    code.extend(text.chars().take(room));
}

/// Judges one complete field code.
pub(super) fn judge(code: &str, place: &str, findings: &mut Findings) {
    let code = code.trim_start();
    let mut words = Words(code.get(..code.floor_char_boundary(StructureLimits::FIELD_CODE)).unwrap_or(code));
    let Some(name) = words.next() else { return };
    let name: String = name.chars().filter(|c| !crate::text::is_unsafe(*c)).collect();
    let name = name.to_ascii_uppercase();
    match name.as_str() {
        "DDE" | "DDEAUTO" => {
            findings.feature(Feature::Dde, format!("{name} field starts a program, in {place}"));
        }
        "INCLUDEPICTURE" | "INCLUDETEXT" | "INCLUDE" | "LINK" | "IMPORT" | "RD" | "DATABASE" => {
            // Each of them may have its source in any place, behind switches or a class name.
            let remote = words.find_map(|word| links::judge(&word, Follow::OnOpen(Feature::RemoteContent)));
            if let Some((_, what)) = remote {
                findings.feature(Feature::RemoteContent, format!("{name} field in {place}: {what}"));
            }
        }
        "HYPERLINK" => {
            let target = words.find(|word| !word.starts_with('\\') || word.starts_with("\\\\"));
            if let Some((feature, what)) = target.and_then(|word| links::judge(&word, Follow::OnClick)) {
                findings.feature(feature, format!("{what}, in {place}"));
            }
        }
        _ => {}
    }
}

/// What `QUOTE 68 68 69` yields: numbers are character codes.
fn quoted(code: &str) -> Option<String> {
    let mut words = Words(code);
    words.next().filter(|name| name.eq_ignore_ascii_case("QUOTE"))?;
    let parts = words.take_while(|word| !word.starts_with('\\') && !word.starts_with('*'));
    Some(parts.fold(String::new(), |mut text, word| {
        match word.parse::<u32>().ok().and_then(char::from_u32) {
            Some(c) => text.push(c),
            None => text.push_str(&word),
        }
        text
    }))
}

/// The words of a code: separated by space, or in straight or typographic quotation marks. Inside marks a
/// doubled backslash is one.
struct Words<'a>(&'a str);

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let is_mark = |c: char| matches!(c, '"' | '\u{201C}' | '\u{201D}');
        let text = self.0.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        let first = text.chars().next()?;
        let (word, rest) = if is_mark(first) {
            let body = text.get(first.len_utf8()..).unwrap_or_default();
            let end = body.find(is_mark).unwrap_or(body.len());
            let rest = body.get(end..).unwrap_or_default();
            (body.get(..end), rest.strip_prefix(is_mark).unwrap_or(rest))
        } else {
            let end = text.find(|c: char| c.is_whitespace() || c.is_control() || is_mark(c)).unwrap_or(text.len());
            (text.get(..end), text.get(end..).unwrap_or_default())
        };
        self.0 = rest;
        let word = word.unwrap_or_default();
        // `\\\\host\\share` and `\\host\share` are both written for `\\host\share`.
        Some(if word.starts_with("\\\\\\\\") || word.contains(":\\\\") {
            word.replace("\\\\", "\\")
        } else {
            word.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::ReasonCode;

    fn codes(run: impl FnOnce(&mut Fields, &mut Findings)) -> Vec<ReasonCode> {
        let (mut fields, mut findings) = (Fields::default(), Findings::default());
        run(&mut fields, &mut findings);
        let mut codes: Vec<_> = findings.finish(&crate::policy::Policy::guide()).iter().map(|r| r.code).collect();
        codes.dedup();
        codes
    }

    #[test]
    fn field_codes_by_what_they_do() {
        for (code, expected) in [
            ("PAGE \\* MERGEFORMAT", None),
            (" ddeauto c:\\\\windows cmd", Some(ReasonCode::ActiveContent)),
            ("HYPERLINK \"https://example.com\"", None),
            ("HYPERLINK \\l \"DDE\"", None),
            ("HYPERLINK \"javascript:alert(1)\"", Some(ReasonCode::ActiveContent)),
            ("INCLUDEPICTURE \"C:\\\\a.png\"", None),
            ("INCLUDEPICTURE \\d \"http://example.com/a.png\"", Some(ReasonCode::ExternalReference)),
            ("INCLUDETEXT \"\\\\\\\\host\\\\share\\\\a.doc\"", Some(ReasonCode::ExternalReference)),
            ("LINK Excel.Sheet.8 \"\\\\\\\\host\\\\a.xls\"", Some(ReasonCode::ExternalReference)),
            ("TOC \\o \"DDE\"", None),
        ] {
            let found = codes(|_, findings| judge(code, "the text", findings));
            assert_eq!(found.first().copied(), expected, "{code}");
        }
    }

    #[test]
    fn an_inner_field_builds_the_outer_code() {
        let found = codes(|fields, findings| {
            fields.begin();
            fields.begin();
            fields.text("QUOTE 68 68 69 65 85 84 79");
            fields.separate("x", findings);
            fields.end("x", findings);
            fields.text(" c:\\\\cmd");
            fields.end("x", findings);
        });
        assert_eq!(found, [ReasonCode::ActiveContent]);
        let cached = codes(|fields, findings| {
            fields.begin();
            fields.begin();
            fields.text("REF x");
            fields.separate("x", findings);
            fields.text("DDE");
            fields.end("x", findings);
            fields.text(" cmd");
            fields.end("x", findings);
        });
        assert_eq!(cached, [ReasonCode::ActiveContent]);
    }

    #[test]
    fn a_field_that_another_names_is_refused_whatever_it_yields() {
        for (before, found) in
            [("", vec![ReasonCode::ActiveContent]), ("IF ", vec![]), ("dd", vec![ReasonCode::ActiveContent])]
        {
            let codes = codes(|fields, findings| {
                fields.begin();
                fields.text(before);
                fields.begin();
                fields.text("REF x");
                fields.end("x", findings);
                fields.text(" c:\\\\cmd");
                fields.end("x", findings);
            });
            assert_eq!(codes, found, "{before}");
        }
    }

    #[test]
    fn the_result_of_a_field_is_only_text() {
        let found = codes(|fields, findings| {
            fields.begin();
            fields.text("REF x");
            fields.separate("x", findings);
            fields.text("DDE");
            fields.end("x", findings);
        });
        assert!(found.is_empty());
    }
}
