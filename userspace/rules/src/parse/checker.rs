//! Walking TOML with errors that point: the checks every section shares.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::sources::Sources;
use crate::diagnostic::{Diagnostic, Place, Position, Severity, Source, Span};
use crate::files::Files;
use crate::prefixes::Addresses;
use crate::suggest::{Mistake, suggest};

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

/// A file's table of everything.
#[derive(Debug)]
pub(super) struct Root<'v> {
    /// The file's number.
    pub(super) file: usize,
    pub(super) section: Section<'v>,
}

/// Gathers diagnostics, for one file after the other.
#[derive(Debug)]
pub(crate) struct Checker<'s> {
    sources: &'s Sources,
    /// The file that spans are of.
    file: usize,
    diagnostics: Vec<(usize, Diagnostic)>,
    /// Groups that something has named.
    used: HashSet<String>,
    /// Lists of addresses that have been read already, by their words.
    lists: HashMap<Vec<String>, Addresses>,
}

impl<'s> Checker<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Self { sources, file: 0, diagnostics: Vec::new(), used: HashSet::new(), lists: HashMap::new() }
    }

    /// Whatever follows is about this file.
    pub(super) fn enter(&mut self, file: usize) {
        self.file = file;
    }

    /// Reads another file; where it cannot be read, an error at the place that names it has been reported.
    pub(super) fn read(&mut self, files: &impl Files, path: &Path, span: &Span) -> Option<usize> {
        let name = path.display().to_string();
        match files.read(path) {
            Ok(text) => {
                let file = self.sources.add(Source::new(&name, &text));
                if file.is_none() {
                    self.error(span, format!("there are more than {} files", Sources::MOST));
                }
                file
            }
            Err(error) => {
                self.error(span, format!("cannot read `{name}`: {error}"));
                None
            }
        }
    }

    /// The text of a file.
    pub(super) fn source(&self, file: usize) -> Option<&'s Source> {
        self.sources.get(file)
    }

    /// The file that spans are of.
    pub(super) fn current(&self) -> Option<&'s Source> {
        self.source(self.file)
    }

    /// Its number.
    pub(super) fn file(&self) -> usize {
        self.file
    }

    /// Errors and warnings so far.
    pub(super) fn count(&self) -> usize {
        self.diagnostics.len()
    }

    /// A span of the file it is of.
    pub(super) fn place(&self, span: &Span) -> Place {
        Place { file: self.file, span: span.clone() }
    }

    /// Line and column.
    pub(super) fn position(&self, span: &Span) -> Position {
        self.current().map_or(Position { line: 1, column: 1 }, |source| source.position(span.start))
    }

    /// A place as it is told in the text of a diagnostic about this file: its line, and its file if another.
    pub(super) fn told(&self, place: &Place) -> String {
        let Some(source) = self.source(place.file) else { return String::new() };
        let line = source.position(place.span.start).line;
        if place.file == self.file { format!("line {line}") } else { format!("{}:{line}", source.name()) }
    }

    pub(super) fn mark_used(&mut self, group: &str) {
        if !self.used.contains(group) {
            self.used.insert(group.to_owned());
        }
    }

    pub(super) fn is_used(&self, group: &str) -> bool {
        self.used.contains(group)
    }

    /// What `read` makes of these words; it is asked once, unless it has something to report.
    pub(super) fn list(
        &mut self,
        words: &[Word<'_>],
        read: impl FnOnce(&mut Self) -> Addresses,
    ) -> Addresses {
        let key: Vec<String> = words.iter().map(|word| word.text.to_owned()).collect();
        if let Some(list) = self.lists.get(&key) {
            return list.clone();
        }
        let before = self.diagnostics.len();
        let list = read(self);
        if self.diagnostics.len() == before {
            self.lists.insert(key, list.clone());
        }
        list
    }

    /// Errors so far.
    pub(super) fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|(_, diagnostic)| diagnostic.severity == Severity::Error).count()
    }

    /// Whether there are errors.
    pub(super) fn failed(&self) -> bool {
        self.diagnostics.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error)
    }

    /// What was found, in the order of the files.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|(file, diagnostic)| (*file, diagnostic.position));
        self.diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect()
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

    /// An error about a word.
    pub(super) fn mistake(&mut self, span: &Span, mistake: Mistake) {
        self.add(Severity::Error, span, mistake.message, mistake.suggestion);
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
        if let Some(source) = self.current() {
            self.diagnostics.push((self.file, source.diagnostic(severity, span, message, suggestion)));
        }
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

    /// The values of a list, or the one value there is.
    pub(super) fn items<'v>(value: &'v Value<'v>) -> Vec<&'v Value<'v>> {
        match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
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

    pub(super) fn mistyped(&mut self, what: &str, expected: impl Display, found: &DeValue<'_>, span: &Span) {
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
