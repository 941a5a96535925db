//! Where people read: a writer that knows whether it may use colour and how wide it is; and how numbers, times
//! and foreign text are written for people.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

/// A writer for people.
pub(crate) struct Screen<'a> {
    to: &'a mut dyn Write,
    colour: bool,
    /// Columns of the terminal; `None` where lines may be as long as they like.
    pub(crate) width: Option<usize>,
}

/// How a text is to stand out, where there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// Less important than the rest.
    Dim,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something is wrong, or was dropped.
    Bad,
}

impl<'a> Screen<'a> {
    /// `to` leads to stdout: coloured and cut to width if that is a terminal (no-color.org is honoured).
    pub(crate) fn of_stdout(to: &'a mut dyn Write) -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self { to, colour: terminal && !no_colour, width: terminal.then(|| width.unwrap_or(80)) }
    }

    /// Without colour.
    #[cfg(test)]
    pub(crate) fn plain(to: &'a mut dyn Write, width: Option<usize>) -> Self {
        Self { to, colour: false, width }
    }

    pub(crate) fn put(&mut self, text: impl fmt::Display, tone: Tone) -> io::Result<()> {
        let code = match tone {
            Tone::Plain => return write!(self.to, "{text}"),
            Tone::Head => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.colour { write!(self.to, "\x1b[{code}m{text}\x1b[0m") } else { write!(self.to, "{text}") }
    }

    /// Brings out what was put, so that it stands before what is said on stderr next.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        writeln!(self.to)
    }
}

/// Text from the network or a file as it may be shown: control characters, which could take over the reader's
/// terminal, are written as escapes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // Cf characters can reorder what is read (U+202E); they are not needed in names and addresses.
    let unsafe_char = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if unsafe_char(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// `1234567` as `1,234,567`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 rule`, `2 rules`.
pub(crate) fn plural(n: u64, what: &str) -> String {
    format!("{} {what}{}", number(n), if n == 1 { "" } else { "s" })
}

/// Bytes in at most five characters: `999`, `1.5k`, `12.3M`, `123G` (powers of 1,000).
pub(crate) fn bytes(n: u64) -> String {
    if n < 1_000 {
        return n.to_string();
    }
    let mut unit = 1_000_u64;
    let mut letters = "kMGTPE".chars();
    let mut letter = letters.next().unwrap_or('k');
    while n / unit >= 1_000 {
        unit *= 1_000;
        letter = letters.next().unwrap_or('E');
    }
    let (whole, tenth) = (n / unit, n % unit / (unit / 10));
    if whole < 100 { format!("{whole}.{tenth}{letter}") } else { format!("{whole}{letter}") }
}

/// Seconds in two units: `5s`, `4m05s`, `2h10m`, `3d04h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn bytes_fit_five_characters() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (1_999, "1.9k"),
            (12_345, "12.3k"),
            (999_999, "999k"),
            (1_000_000, "1.0M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m00s"), (3_599, "59m59s"), (7_800, "2h10m"), (273_600, "3d04h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_caller_cannot_take_over_the_terminal() {
        assert_eq!(printable("Zoë <sip:z@example.net>"), "Zoë <sip:z@example.net>");
        assert_eq!(printable("\x1b]0;owned\x07"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(printable("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
    }
}
