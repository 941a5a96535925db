//! Walking TOML with errors that point: the checks every section shares.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, Source, Span};
use crate::suggest::suggest;

/// A value and its place.
pub(crate) type Value<'v> = Spanned<DeValue<'v>>;
/// A key and its place.
pub(crate) type Key<'v> = Spanned<DeString<'v>>;

/// A word of the file and its place.
#[derive(Clone, Debug)]
pub(crate) struct Word<'v> {
    pub(crate) text: &'v str,
    pub(crate) span: Span,
}

/// A TOML table and its place.
#[derive(Debug)]
pub(crate) struct Section<'v> {
    table: &'v DeTable<'v>,
    /// Where errors about the whole of it point.
    pub(crate) span: Span,
}

impl<'v> Section<'v> {
    pub(crate) fn new(table: &'v DeTable<'v>, span: Span) -> Self {
        Self { table, span }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'v Value<'v>> {
        self.table.get(key)
    }

    pub(crate) fn key(&self, key: &str) -> Option<&'v Key<'v>> {
        self.table.get_key_value(key).map(|(key, _)| key)
    }

    /// Keys and values in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(&'v Key<'v>, &'v Value<'v>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }
}

/// Gathers diagnostics.
#[derive(Debug)]
pub(crate) struct Checker<'s> {
    source: &'s Source,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Checker<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self { source, diagnostics: Vec::new() }
    }

    pub(crate) fn source(&self) -> &'s Source {
        self.source
    }

    /// What was found, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.position);
        self.diagnostics
    }

    pub(crate) fn error(&mut self, span: &Span, message: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), None);
    }

    pub(crate) fn error_with(
        &mut self,
        span: &Span,
        message: impl Into<String>,
        suggestion: impl Into<String>,
    ) {
        self.add(Severity::Error, span, message.into(), Some(suggestion.into()));
    }

    pub(crate) fn warn(&mut self, span: &Span, message: impl Into<String>, suggestion: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), Some(suggestion.into()));
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        span: &Span,
        message: String,
        suggestion: Option<String>,
    ) {
        self.diagnostics.push(self.source.diagnostic(severity, span, message, suggestion));
    }

    /// An error for each key that has no meaning.
    pub(crate) fn known_keys(&mut self, section: &Section<'_>, known: &[&str]) {
        for (key, _) in section.entries() {
            if !known.contains(&key.get_ref().as_ref()) {
                let message = format!("unknown key `{}`", key.get_ref());
                self.add(
                    Severity::Error,
                    &key.span(),
                    message,
                    suggest(key.get_ref(), known.iter().copied()),
                );
            }
        }
    }

    pub(crate) fn table<'v>(&mut self, what: &str, value: &'v Value<'v>) -> Option<Section<'v>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(table, value.span())),
            other => {
                self.mistyped(what, "a table", other, &value.span());
                None
            }
        }
    }

    pub(crate) fn string<'v>(&mut self, what: &str, value: &'v Value<'v>) -> Option<Word<'v>> {
        match value.get_ref() {
            DeValue::String(text) => Some(Word { text, span: value.span() }),
            other => {
                self.mistyped(what, "a string", other, &value.span());
                None
            }
        }
    }

    /// A string, or a list of strings.
    pub(crate) fn strings<'v>(&mut self, what: &str, value: &'v Value<'v>) -> Vec<Word<'v>> {
        match value.get_ref() {
            DeValue::String(text) => vec![Word { text, span: value.span() }],
            DeValue::Array(list) => list.iter().filter_map(|item| self.string(what, item)).collect(),
            other => {
                self.mistyped(what, "a string or a list of strings", other, &value.span());
                Vec::new()
            }
        }
    }

    pub(crate) fn boolean(&mut self, what: &str, value: &Value<'_>) -> Option<bool> {
        match value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.mistyped(what, "`true` or `false`", other, &value.span());
                None
            }
        }
    }

    pub(crate) fn integer(
        &mut self,
        what: &str,
        value: &Value<'_>,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let DeValue::Integer(integer) = value.get_ref() else {
            self.mistyped(what, "an integer", value.get_ref(), &value.span());
            return None;
        };
        let read = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let permitted = read.filter(|number| range.contains(number));
        if permitted.is_none() {
            let message = format!("`{what}` is out of range");
            self.error_with(
                &value.span(),
                message,
                format!("permitted: {} to {}", range.start(), range.end()),
            );
        }
        permitted
    }

    /// A string that is one of a few.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        what: &str,
        value: &Value<'_>,
        options: &[(&str, T)],
    ) -> Option<T> {
        let word = self.string(what, value)?;
        let chosen = options.iter().find(|(name, _)| *name == word.text).map(|(_, option)| *option);
        if chosen.is_none() {
            let message = format!("`{what}` cannot be `{}`", word.text);
            let names = options.iter().map(|(name, _)| *name);
            self.add(Severity::Error, &word.span, message, suggest(word.text, names));
        }
        chosen
    }

    /// A string such as `"30s"`, `"5min"`, `"2h"` or `"1d"`: a second to a year.
    pub(crate) fn duration(&mut self, what: &str, value: &Value<'_>) -> Option<Duration> {
        const YEAR: u64 = 365 * 86_400;
        if let DeValue::Integer(number) = value.get_ref() {
            let message = format!("`{what}` has no unit");
            self.error_with(&value.span(), message, format!("did you mean `\"{number}s\"`?"));
            return None;
        }
        let word = self.string(what, value)?;
        let seconds = seconds(word.text).filter(|seconds| (1..=YEAR).contains(seconds));
        if seconds.is_none() {
            let message = format!("`{}` is not a time", word.text);
            self.error_with(
                &word.span,
                message,
                "write a number and a unit, `\"30s\"`, `\"5min\"`, `\"2h\"` or `\"1d\"`: at most a year",
            );
        }
        seconds.map(Duration::from_secs)
    }

    fn mistyped(&mut self, what: &str, expected: impl Display, found: &DeValue<'_>, span: &Span) {
        let found = match found {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(span, format!("`{what}` must be {expected}, not {found}"));
    }
}

/// A number and a unit.
fn seconds(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit.trim_start() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn reads_times() {
        assert_eq!(["30s", "5min", "5m", "2h", "1 d"].map(seconds), [30, 300, 300, 7_200, 86_400].map(Some));
        assert_eq!(["", "s", "5", "-1s", "1.5s", "99999999999999999999s", "1y"].map(seconds), [None; 7]);
    }
}
