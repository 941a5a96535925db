//! Calls that are over, their sums, and what is odd among them.

use std::io;

use callgate_api::{Finding, HistoryPlace, HistoryTotal, Page, Record};

use super::events::clock;
use super::finish;
use crate::screen::{Screen, Tone, duration, number};
use crate::table::{Cell, Table, count, cut, text};

pub(crate) fn records(page: &Page<Record>, long: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        text("BEGAN (UTC)"),
        text("PROTO"),
        cut("CALLER", 9),
        cut("CALLED", 13),
        cut("CLASS", 9),
        count("LASTED"),
        cut("END", 11),
    ]);
    for record in &page.rows {
        let lasted = match record.connected_ms {
            _ if record.refused => "refused".to_owned(),
            Some(_) => duration(record.duration_ms / 1_000),
            None => "-".to_owned(),
        };
        // The most telling word there is.
        let end = match &record.cause {
            _ if record.refused => &record.verdict,
            Some(cause) => cause,
            None => &record.reason,
        };
        let tone = match record.refused {
            true => Tone::Bad,
            false if record.connected_ms.is_none() => Tone::Warn,
            false => Tone::Plain,
        };
        let class = match (record.emergency, record.permission.as_str()) {
            (true, _) => "emergency",
            (_, "") => "-",
            (_, class) => class,
        };
        table.row([
            clock(record.started_ms / 1_000).into(),
            (&record.protocol).into(),
            (&record.caller).into(),
            (&record.called).into(),
            class.into(),
            Cell::new(lasted, tone),
            Cell::new(end, tone),
        ]);
        if long {
            for line in lines(record) {
                table.note(line);
            }
        }
    }
    finish(&table, page, "call", screen)
}

/// What else there is to say of a call.
fn lines(record: &Record) -> [String; 3] {
    let named = |name: &str| if name.is_empty() { "-".to_owned() } else { name.to_owned() };
    let device = if record.device.is_empty() { String::new() } else { format!(", device {}", record.device) };
    let rule = record.rule.as_ref().map(|rule| format!(", rule {rule:?}")).unwrap_or_default();
    let cause = record.cause.as_ref().map(|cause| format!(", {cause}")).unwrap_or_default();
    let released = record.released_by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
    let number_of = |it: Option<f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
    // Where both are known, who heard what.
    let directions = match (record.mos_to_caller, record.mos_to_called) {
        (Some(caller), Some(called)) => format!(" (to caller {caller:.2}, to called {called:.2})"),
        _ => String::new(),
    };
    [
        format!(
            "{} → {}, signalled {} → {}{device}",
            record.caller_address,
            record.called_address,
            named(&record.caller_signalled),
            named(&record.called_signalled)
        ),
        format!(
            "{} on {}, call {}{rule}; ended: {}{cause}{released}",
            record.key, record.host, record.call, record.reason
        ),
        format!(
            "packets to caller {}, to called {}; loss {}, jitter {}, MOS {}{directions}",
            number(record.packets_to_caller),
            number(record.packets_to_called),
            number_of(record.loss),
            number_of(record.jitter_ms),
            number_of(record.mos)
        ),
    ]
}

/// Sums by what they have in common.
pub(crate) fn totals(by: &str, page: &Page<HistoryTotal>, screen: &mut Screen<'_>) -> io::Result<()> {
    let head = match by {
        "class" => "CLASS",
        "caller" => "CALLER",
        "called" => "CALLED",
        "protocol" => "PROTO",
        "verdict" => "VERDICT",
        _ => "HOST",
    };
    let mut table = Table::new([
        cut(head, 10),
        count("CALLS"),
        count("ANSWERED"),
        count("REFUSED"),
        count("LASTED"),
        text("FIRST (UTC)"),
        text("LAST"),
    ]);
    for row in &page.rows {
        let refused = if row.refused > 0 { Tone::Bad } else { Tone::Dim };
        table.row([
            if row.name.is_empty() { "-" } else { row.name.as_str() }.into(),
            number(row.calls).into(),
            number(row.answered).into(),
            Cell::new(number(row.refused), refused),
            duration(row.duration_s).into(),
            clock(row.first_ms / 1_000).into(),
            clock(row.last_ms / 1_000).into(),
        ]);
    }
    finish(&table, page, "total", screen)
}

pub(crate) fn findings(page: &Page<Finding>, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        count("SCORE"),
        text("WHAT"),
        cut("WHO OR WHERE", 10),
        count("CALLS"),
        text("FIRST (UTC)"),
        text("LAST"),
    ]);
    for finding in &page.rows {
        let tone = if finding.score >= 60 { Tone::Bad } else { Tone::Warn };
        table.row([
            Cell::new(finding.score.to_string(), tone),
            (&finding.kind).into(),
            (&finding.subject).into(),
            number(finding.calls).into(),
            clock(finding.first_ms / 1_000).into(),
            clock(finding.last_ms / 1_000).into(),
        ]);
        table.note(&finding.why);
    }
    finish(&table, page, "finding", screen)
}

/// How one of the places fares, and whether that is well.
pub(super) fn place(place: &HistoryPlace) -> (String, Tone) {
    let HistoryPlace { kind, place, written, lost, waiting, trouble } = place;
    let mut line = format!("{kind} {place}: {} written", number(*written));
    for (n, what) in [(*waiting, "waiting"), (*lost, "lost")] {
        if n > 0 {
            line.push_str(&format!(", {} {what}", number(n)));
        }
    }
    match trouble {
        Some(trouble) => (format!("{line}; {trouble}"), Tone::Bad),
        None if *lost > 0 => (line, Tone::Warn),
        None => (line, Tone::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(show: impl FnOnce(&mut Screen<'_>) -> io::Result<()>) -> Vec<String> {
        let mut out = Vec::new();
        show(&mut Screen::plain(&mut out, None)).expect("room");
        String::from_utf8(out).expect("text").lines().map(str::to_owned).collect()
    }

    fn record() -> Record {
        Record {
            host: "fw1".to_owned(),
            call: 7,
            protocol: "sip".to_owned(),
            key: "a@b".to_owned(),
            caller: "2001".to_owned(),
            called: "19005551234".to_owned(),
            called_signalled: "919005551234".to_owned(),
            caller_address: "192.0.2.1:5060".to_owned(),
            called_address: "198.51.100.7:5060".to_owned(),
            started_ms: 1_795_221_667_000,
            reason: "refused".to_owned(),
            cause: Some("sip 403".to_owned()),
            permission: "premium".to_owned(),
            verdict: "no-permission".to_owned(),
            refused: true,
            ..Record::default()
        }
    }

    #[test]
    fn a_call_is_a_line() {
        let answered = Record {
            connected_ms: Some(1_795_221_668_000),
            duration_ms: 125_900,
            refused: false,
            reason: "bye".to_owned(),
            cause: None,
            permission: String::new(),
            ..record()
        };
        let page = Page { rows: vec![record(), answered], total: 2 };
        let lines = shown(|screen| records(&page, false, screen));
        assert_eq!(lines[0], "BEGAN (UTC)     PROTO  CALLER  CALLED       CLASS     LASTED  END");
        assert_eq!(lines[1], "11-21 00:41:07  sip    2001    19005551234  premium  refused  no-permission");
        assert_eq!(lines[2], "11-21 00:41:07  sip    2001    19005551234  -          2m05s  bye");
        let long = shown(|screen| records(&page, true, screen));
        assert_eq!(long[2], "    192.0.2.1:5060 → 198.51.100.7:5060, signalled - → 919005551234");
        assert_eq!(long[3], "    a@b on fw1, call 7; ended: refused, sip 403");
        assert_eq!(long[4], "    packets to caller 0, to called 0; loss -, jitter -, MOS -");
    }

    /// Whatever else is long: a number, and why it was refused, can be read on a terminal of 80 columns.
    #[test]
    fn numbers_and_reasons_stay_on_a_narrow_terminal() {
        let refused = Record {
            caller: "aaln/1@gateway.branch-office.example.net".to_owned(),
            called: "+12125550100".to_owned(),
            permission: "long-distance".to_owned(),
            ..record()
        };
        let failed = Record {
            refused: false,
            cause: Some("sip 486".to_owned()),
            reason: "failed".to_owned(),
            ..record()
        };
        let mut out = Vec::new();
        let page = Page { rows: vec![refused, failed], total: 2 };
        records(&page, false, &mut Screen::plain(&mut out, Some(80))).expect("room");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("  +12125550100  long-dis…  refused  no-permiss…"), "{text}");
        assert!(
            lines[2].ends_with("  -  sip 486") && lines.iter().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn sums_and_findings_are_tables() {
        let total = HistoryTotal {
            name: "premium".to_owned(),
            calls: 1_200,
            answered: 7,
            refused: 3,
            duration_s: 3_600,
            first_ms: 1_795_221_667_000,
            last_ms: 1_795_221_667_000,
        };
        let lines = shown(|screen| totals("class", &Page { rows: vec![total], total: 1 }, screen));
        assert_eq!(lines[1], "premium  1,200         7        3   1h00m  11-21 00:41:07  11-21 00:41:07");
        let finding = Finding {
            kind: "short-calls".to_owned(),
            subject: "2001".to_owned(),
            score: 80,
            calls: 40,
            first_ms: 0,
            last_ms: 0,
            why: "because".to_owned(),
        };
        let lines = shown(|screen| findings(&Page { rows: vec![finding], total: 1 }, screen));
        assert_eq!((lines.len(), lines[2].as_str()), (3, "    because"));
        assert!(lines[1].contains("80  short-calls  2001"), "{}", lines[1]);
    }

    #[test]
    fn a_place_in_trouble_says_so() {
        let ill = HistoryPlace {
            kind: "database".to_owned(),
            place: "/h.db".to_owned(),
            written: 10,
            lost: 2,
            waiting: 0,
            trouble: Some("database or disk is full".to_owned()),
        };
        assert_eq!(
            place(&ill),
            ("database /h.db: 10 written, 2 lost; database or disk is full".to_owned(), Tone::Bad)
        );
        let well = HistoryPlace { lost: 0, trouble: None, ..ill };
        assert_eq!(place(&well), ("database /h.db: 10 written".to_owned(), Tone::Plain));
    }
}
