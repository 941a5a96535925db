//! Tables for people: columns as wide as they must be, cut to the terminal's width where they can be cut.

use std::io;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::screen::{Screen, Tone, printable};

/// Between two columns.
const GUTTER: usize = 2;

/// A column's heading and shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    head: &'static str,
    right: bool,
    cut: Cut,
}

/// How a column gives way where space is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// It does not.
    Never,
    /// Before all others, at its end, down to this width.
    First(usize),
    /// At its end, down to this width.
    End(usize),
    /// In its middle, down to this width: of an address both ends matter.
    Middle(usize),
}

/// Text, aligned left, whole.
pub(crate) const fn text(head: &'static str) -> Column {
    Column { head, right: false, cut: Cut::Never }
}

/// Text that gives way before all other columns, down to `least`.
pub(crate) const fn spare(head: &'static str, least: usize) -> Column {
    Column { head, right: false, cut: Cut::First(least) }
}

/// Text, cut at its end, down to `least`.
pub(crate) const fn cut(head: &'static str, least: usize) -> Column {
    Column { head, right: false, cut: Cut::End(least) }
}

/// An address, cut in its middle, down to `least`.
pub(crate) const fn address(head: &'static str, least: usize) -> Column {
    Column { head, right: false, cut: Cut::Middle(least) }
}

/// A number, aligned right, whole.
pub(crate) const fn count(head: &'static str) -> Column {
    Column { head, right: true, cut: Cut::Never }
}

/// One field of a row.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Whatever `text` is, it is safe to show.
    pub(crate) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: printable(text.as_ref()).into_owned(), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A line of the table.
#[derive(Debug)]
enum Line {
    Cells(Vec<Cell>),
    /// Belongs to the row above and is not aligned with it.
    Note(String),
}

/// A table being gathered.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    lines: Vec<Line>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, lines: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.lines.push(Line::Cells(cells.into()));
    }

    /// A line below the last row, indented.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        self.lines.push(Line::Note(printable(text.as_ref()).into_owned()));
    }

    pub(crate) fn print(&self, screen: &mut Screen<'_>) -> io::Result<()> {
        let widths = self.widths(screen.width);
        let heads: Vec<Cell> = self.columns.iter().map(|column| Cell::new(column.head, Tone::Head)).collect();
        self.print_row(&heads, &widths, screen)?;
        for line in &self.lines {
            match line {
                Line::Cells(cells) => self.print_row(cells, &widths, screen)?,
                Line::Note(text) => {
                    let indent = 4;
                    let room = screen.width.map_or(usize::MAX, |width| width.saturating_sub(indent));
                    for line in wrapped(text, room) {
                        screen.put(" ".repeat(indent), Tone::Plain)?;
                        screen.put(shorten(line, room), Tone::Dim)?;
                        screen.end_line()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.head.width()).collect();
        for line in &self.lines {
            let Line::Cells(cells) = line else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(room) = room else { return widths };
        let mut excess = (widths.iter().sum::<usize>() + GUTTER * (N - 1)).saturating_sub(room);
        // One at a time: from the spare column, then always from the widest that may give.
        while excess > 0 {
            let next = (0..N)
                .filter(|&i| match self.columns[i].cut {
                    Cut::Never => false,
                    Cut::First(least) | Cut::End(least) | Cut::Middle(least) => widths[i] > least,
                })
                .max_by_key(|&i| (matches!(self.columns[i].cut, Cut::First(_)), widths[i]));
            let Some(i) = next else { break };
            widths[i] -= 1;
            excess -= 1;
        }
        widths
    }

    fn print_row(&self, cells: &[Cell], widths: &[usize], screen: &mut Screen<'_>) -> io::Result<()> {
        let last = cells.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (i, cell) in cells.iter().enumerate().take(last + 1) {
            let text = match self.columns[i].cut {
                Cut::Middle(_) => shorten_middle(&cell.text, widths[i]),
                _ => shorten(&cell.text, widths[i]),
            };
            let pad = " ".repeat(widths[i].saturating_sub(text.width()));
            let right = self.columns[i].right;
            if right {
                screen.put(&pad, Tone::Plain)?;
            }
            screen.put(&text, cell.tone)?;
            if i < last {
                if !right {
                    screen.put(&pad, Tone::Plain)?;
                }
                screen.put(" ".repeat(GUTTER), Tone::Plain)?;
            }
        }
        screen.end_line()
    }
}

/// A text in lines of at most `room` columns, broken between words; a word that is wider is a line of its own.
fn wrapped(text: &str, room: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.width() > room {
        let mut used = 0;
        let fits = rest.char_indices().find(|(_, c)| {
            used += c.width().unwrap_or(0);
            used > room
        });
        let end = fits.map_or(rest.len(), |(at, _)| at);
        // A blank right behind what fits is as good as one within it.
        let blank = match rest[end..].starts_with(' ') {
            true => Some(end),
            false => rest[..end].rfind(' ').or_else(|| rest.find(' ')),
        };
        let Some(blank) = blank else { break };
        lines.push(rest[..blank].trim_end());
        rest = rest[blank..].trim_start();
    }
    lines.push(rest);
    lines
}

/// At most `room` columns of a text, its end marked where it was cut.
fn shorten(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// At most `room` columns of a text, its middle marked where it was cut.
fn shorten_middle(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let tail = room.saturating_sub(1) * 2 / 3;
    let mut kept = 0;
    let start = text.char_indices().rev().take_while(|(_, c)| {
        kept += c.width().unwrap_or(0);
        kept <= tail
    });
    let start = start.last().map_or(text.len(), |(i, _)| i);
    shorten(&text[..start], room.saturating_sub(text[start..].width())) + &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table<3>, width: Option<usize>) -> String {
        let mut out = Vec::new();
        table.print(&mut Screen::plain(&mut out, width)).expect("memory takes it");
        String::from_utf8(out).expect("UTF-8")
    }

    fn table() -> Table<3> {
        let mut table = Table::new([cut("NAME", 6), count("PACKETS"), text("NOTE")]);
        table.row(["a long name indeed".into(), "7".into(), Cell::new("x", Tone::Bad)]);
        table.row(["漢字".into(), "1,234,567".into(), "".into()]);
        table.note("below");
        table
    }

    #[test]
    fn columns_line_up_whatever_the_script_and_no_line_ends_in_blanks() {
        let expected = "\
NAME                  PACKETS  NOTE
a long name indeed          7  x
漢字                1,234,567
    below
";
        assert_eq!(shown(&table(), None), expected);
        assert_eq!(shown(&table(), Some(80)), expected);
    }

    #[test]
    fn what_may_be_cut_is_cut_to_the_width() {
        let expected = "\
NAME         PACKETS  NOTE
a long n…          7  x
漢字       1,234,567
    below
";
        assert_eq!(shown(&table(), Some(26)), expected);
        assert!(shown(&table(), Some(5)).starts_with("NAME      PACKETS"), "never below its least");
    }

    #[test]
    fn a_note_is_wrapped_between_words() {
        let mut table = table();
        table.note("two words and averyveryverylongword more");
        let shown = shown(&table, Some(16));
        let lines: Vec<_> = shown.lines().skip(4).collect();
        assert_eq!(lines, ["    two words", "    and", "    averyveryve…", "    more"]);
        assert_eq!(wrapped("漢字漢 字", 6), ["漢字漢", "字"]);
        assert_eq!(wrapped("", 0), [""]);
        assert_eq!(wrapped(" x", 0), ["", "x"]);
    }

    #[test]
    fn of_an_address_both_ends_stay() {
        let mut table = Table::new([address("TO", 15), text("KIND"), spare("RULE", 4)]);
        table.row(["[2001:db8:0:1::15]:16400".into(), "rtp".into(), "sip trunks".into()]);
        table.row(["10.20.0.115:16384".into(), "rtp".into(), "sip trunks".into()]);
        let expected = "\
TO                     KIND  RULE
[2001:d…:1::15]:16400  rtp   sip…
10.20.0.115:16384      rtp   sip…
";
        assert_eq!(shown(&table, Some(33)), expected);
    }

    #[test]
    fn cells_are_safe_to_show() {
        let mut table = Table::new([text("A"), text("B"), text("C")]);
        table.row(["\x1b[2J".into(), "b".into(), "c".into()]);
        table.note("\x07");
        assert!(!shown(&table, None).contains(['\x1b', '\x07']));
    }
}
