//! Events: as a table, or line by line while they come in.

use std::io::{self, Write};

use callgate_api::{EventPage, EventRow};

use crate::screen::{Screen, Tone, number, printable};
use crate::table::{Cell, Table, address, cut, text};

/// Columns of the longest event's name, so that lines that come one by one stand in line.
const NAME: usize = 23;

pub(crate) fn events(page: &EventPage, screen: &mut Screen<'_>) -> io::Result<()> {
    if page.rows.is_empty() {
        return writeln!(io::stderr().lock(), "no events");
    }
    let mut table =
        Table::new([text("UTC"), text("EVENT"), text("PROTO"), address("FROM", 15), cut("SUBJECT", 10)]);
    for event in &page.rows {
        table.row([
            clock(event.at_unix).into(),
            Cell::new(event.kind.name(), tone(event)),
            (&event.protocol).into(),
            event.source.ip().to_string().into(),
            (&event.subject).into(),
        ]);
        if !event.text.is_empty() {
            table.note(&event.text);
        }
    }
    table.print(screen)
}

/// One event, one line, whole.
pub(crate) fn event(event: &EventRow, screen: &mut Screen<'_>) -> io::Result<()> {
    screen.put(format_args!("{}  ", clock(event.at_unix)), Tone::Plain)?;
    screen.put(format_args!("{:NAME$}", event.kind), tone(event))?;
    let (protocol, source) = (printable(&event.protocol), event.source);
    let rest = format!("  {protocol:4}  {source}  {}  {}", printable(&event.subject), printable(&event.text));
    screen.put(rest.trim_end(), Tone::Plain)?;
    screen.end_line()
}

/// Says beside the data that some events will never be seen.
pub(crate) fn lost(events: u64) -> io::Result<()> {
    let what = if events == 1 { "event has" } else { "events have" };
    writeln!(io::stderr().lock(), "fwctl: {} {what} been forgotten by the daemon", number(events))
}

fn tone(event: &EventRow) -> Tone {
    if event.kind.is_warning() { Tone::Warn } else { Tone::Good }
}

/// Month, day and time of day in UTC: `11-21 00:41:07`.
pub(super) fn clock(unix: u64) -> String {
    let (month, day) = month_and_day(unix / 86_400);
    let second = unix % 86_400;
    format!("{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years begin in March, so that a leap day is the last of its year; 400 of them are always 146,097 days. Months
/// from March on are 153 days in five.
fn month_and_day(days: u64) -> (u64, u64) {
    const BEFORE_1970: u64 = 719_468;
    let day = (days + BEFORE_1970) % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    (if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_right_at_its_corners() {
        for (unix, text) in [
            (0, "01-01 00:00:00"),
            (951_782_399, "02-28 23:59:59"),
            (951_782_400, "02-29 00:00:00"),
            (951_868_800, "03-01 00:00:00"),
            (1_709_164_800, "02-29 00:00:00"),
            (1_767_225_599, "12-31 23:59:59"),
            (1_795_221_667, "11-21 00:41:07"),
            (4_107_542_400, "03-01 00:00:00"),
        ] {
            assert_eq!(clock(unix), text, "{unix}");
        }
    }
}
