//! What is wrong with a rules file: where, what, and what was probably meant.
//!
//! A [`Diagnostic`] owns the line it speaks of, so that it can be shown after the file's text is gone. Text
//! from the file is shown with its control characters replaced: a rules file cannot steer a terminal.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::lint::Lint;

/// Bytes of the file.
pub(crate) type Span = Range<usize>;

/// Bytes of one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which: its place among the files of a rule set.
    pub(crate) file: usize,
    pub(crate) span: Span,
}

/// Most characters of a line that are shown.
const SHOWN: usize = 120;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The file changes nothing.
    Error,
    /// The file is accepted, but probably does not say what was meant.
    Warning,
}

impl Severity {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character of the line, from 1.
    pub column: u32,
}

/// One error or warning. `Display` shows it whole, over several lines, without a final newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which lint found it; `None` where it was the parser.
    pub lint: Option<Lint>,
    /// The file's name, as it was given to the parser.
    pub file: Arc<str>,
    /// Where the offending text begins.
    pub position: Position,
    /// The line it begins on.
    pub line: String,
    /// Characters of the line that offend, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, file, position: Position { line, column }, message, .. } = self;
        let lint = self.lint.map_or_else(String::new, |lint| format!("[{lint}]"));
        writeln!(f, "{file}:{line}:{column}: {}{lint}: {message}", severity.name())?;

        let start = *column as usize - 1;
        let (shown, before) = self.window(start);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let room = shown.chars().count().saturating_sub(before.chars().count()).max(1);
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {shown}")?;
        write!(f, "{margin} | {indent}{}", "^".repeat(self.width.min(room)))?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n{margin} = {suggestion}")?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// The same, found by a lint.
    pub(crate) fn of(self, lint: Lint) -> Self {
        Self { lint: Some(lint), ..self }
    }

    /// The part of the line that is shown, and how it begins before the offending text.
    fn window(&self, start: usize) -> (String, String) {
        let length = self.line.chars().count();
        if length <= SHOWN {
            return (self.line.clone(), self.line.chars().take(start).collect());
        }
        let from = start.saturating_sub(SHOWN / 2);
        let part: String = self.line.chars().skip(from).take(SHOWN).collect();
        let (head, tail) = (if from > 0 { "…" } else { "" }, if from + SHOWN < length { "…" } else { "" });
        let before = head.chars().chain(part.chars().take(start - from)).collect();
        (format!("{head}{part}{tail}"), before)
    }
}

/// Several diagnostics and their sum, for a person.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(
    /// In the order they are shown.
    pub &'a [Diagnostic],
);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.0 {
            writeln!(f, "{diagnostic}\n")?;
        }
        let errors = self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        write!(f, "{}, {}", plural(errors, "error"), plural(self.0.len() - errors, "warning"))
    }
}

/// A rules file's name and text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: Arc<str>,
    text: Arc<str>,
    /// Where each line begins.
    lines: Arc<[usize]>,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text: text.into(), lines }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let (start, number) = self.line_at(offset);
        let column = self.text.get(start..self.boundary(offset)).map_or(0, |before| before.chars().count());
        Position { line: number, column: u32::try_from(column + 1).unwrap_or(u32::MAX) }
    }

    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        span: &Span,
        message: String,
        suggestion: Option<String>,
    ) -> Diagnostic {
        let (start, _) = self.line_at(span.start);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let end = self.boundary(span.end).min(start + line.len());
        let width = self.text.get(self.boundary(span.start)..end).map_or(0, |text| text.chars().count());
        let shown = |text: &str| text.chars().map(printable).collect::<String>();
        Diagnostic {
            severity,
            lint: None,
            file: self.name.clone(),
            position: self.position(span.start),
            line: shown(line),
            width: width.max(1),
            message: shown(&message),
            suggestion: suggestion.as_deref().map(shown),
        }
    }

    /// Where the line with this byte begins, and its number.
    fn line_at(&self, offset: usize) -> (usize, u32) {
        let number = self.lines.partition_point(|start| *start <= self.boundary(offset));
        (self.lines[number - 1], u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

/// Control characters and the marks that reorder text are not shown as they are.
fn printable(c: char) -> char {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (c.is_control() && c != '\t') || reorders { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, span: Span) -> Diagnostic {
        Source::new("f.toml", text).diagnostic(Severity::Error, &span, "no".into(), Some("yes".into()))
    }

    #[test]
    fn shows_place_line_and_caret() {
        let shown = error("a = 1\n\tbé = 2\r\n", 7..10).to_string();
        assert_eq!(shown, "f.toml:2:2: error: no\n  |\n2 | \tbé = 2\n  | \t^^\n  = yes");
    }

    #[test]
    fn a_span_past_the_end_or_over_lines_is_cut_to_its_line() {
        assert_eq!(error("", 0..0).position, Position { line: 1, column: 1 });
        assert_eq!(error("abc", 9..12).width, 1);
        let over = error("ab\ncd", 1..5);
        assert_eq!((over.line.as_str(), over.width), ("ab", 1));
    }

    #[test]
    fn a_long_line_is_shown_around_the_offence() {
        let text = format!("{}BAD{}", "x".repeat(300), "y".repeat(300));
        let shown = error(&text, 300..303).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let column = |line: &str, what: char| line.chars().position(|c| c == what);
        assert_eq!(lines[0], "f.toml:1:301: error: no");
        assert_eq!(column(lines[2], 'B'), column(lines[3], '^'));
        assert!(lines[2].chars().count() <= SHOWN + 6);
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let shown = error("x = \u{1b}[31m\u{202e}", 0..1).to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}']));
    }
}
