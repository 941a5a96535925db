//! Registrations of SIP clients, and the messages of a call.

use std::io;

use callgate_api::{BindingRow, LadderRow, Page};

use super::{call_end, finish};
use crate::screen::{Screen, Tone, duration, number, printable};
use crate::table::{Cell, Table, address, count, cut, spare, text};

pub(crate) fn bindings(page: &Page<BindingRow>, long: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        cut("NAME", 12),
        address("SEEN FROM", 12),
        address("REGISTRAR", 12),
        count("SINCE"),
        count("LEFT"),
        spare("CALLED AT", 9),
    ]);
    for row in &page.rows {
        let tone = if row.left_s * 10 < row.expires_s { Tone::Warn } else { Tone::Plain };
        let called = match (row.address, row.transport) {
            (Some(address), Some(transport)) => format!("{}/{address}", transport.name()),
            _ => row.contact.clone(),
        };
        table.row([
            (&row.aor).into(),
            row.source.ip().to_string().into(),
            row.registrar.ip().to_string().into(),
            duration(row.since_s).into(),
            Cell::new(duration(row.left_s), tone),
            called.into(),
        ]);
        if long {
            table.note(format!("{} → {}, for {}", row.source, row.registrar, duration(row.expires_s)));
            let q = row.q.map(|q| format!(", q {}.{:03}", q / 1_000, q % 1_000)).unwrap_or_default();
            table.note(format!("{}{q}", row.contact));
            if !row.account.is_empty() {
                table.note(format!("account {}", row.account));
            }
            if !row.user_agent.is_empty() {
                table.note(&row.user_agent);
            }
        }
    }
    finish(&table, page, "registration", screen)
}

pub(crate) fn ladders(page: &Page<LadderRow>, screen: &mut Screen<'_>) -> io::Result<()> {
    for (place, call) in page.rows.iter().enumerate() {
        if place > 0 {
            screen.end_line()?;
        }
        let state = call.ended.as_ref().map(|reason| format!(", ended: {reason}")).unwrap_or_default();
        let (caller, callee) = (call_end(&call.caller), call_end(&call.callee));
        let key = printable(&call.key);
        let line = format!(
            "{} {} {} → {}, {key}{state}",
            call.protocol,
            call.id,
            printable(&caller),
            printable(&callee)
        );
        screen.put(line, Tone::Plain)?;
        screen.end_line()?;
        let mut table = Table::new([
            text("UTC"),
            count("AFTER"),
            address("FROM", 15),
            address("TO", 15),
            cut("MESSAGE", 10),
        ]);
        let gap = if call.left_out > 0 { call.steps.len() / 2 } else { usize::MAX };
        for (place, step) in call.steps.iter().enumerate() {
            if place == gap {
                table.note(format!("{} messages are left out", number(call.left_out)));
            }
            let marks = [(step.media, " (media)"), (step.refused, " refused")];
            let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            table.row([
                clock(step.at_unix_ms).into(),
                format!("{}.{:03}s", step.after_ms / 1_000, step.after_ms % 1_000).into(),
                step.from.to_string().into(),
                step.to.to_string().into(),
                Cell::new(format!("{}{marks}", step.message), tone(&step.message, step.refused)),
            ]);
        }
        if !call.steps.is_empty() {
            table.print(screen)?;
        }
        super::media::streams(&call.streams, screen)?;
    }
    if page.rows.is_empty() {
        screen.flush()?;
        use std::io::Write;
        return writeln!(io::stderr().lock(), "no such call");
    }
    Ok(())
}

/// Failures stand out, and so does what the firewall has refused.
fn tone(message: &str, refused: bool) -> Tone {
    match message.as_bytes().first() {
        _ if refused => Tone::Bad,
        Some(b'4'..=b'6') => Tone::Warn,
        Some(b'2') => Tone::Good,
        _ => Tone::Plain,
    }
}

/// The time of the day: `13:07:59.123`.
fn clock(unix_ms: u64) -> String {
    let (second, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", second / 3_600 % 24, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use callgate_alg::action::Transport;
    use callgate_api::{CallEnd, StepRow};

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn binding() -> BindingRow {
        BindingRow {
            aor: "2001@pbx.example".to_owned(),
            contact: "sip:2001@10.40.0.15:5062;x=\u{1b}[2J".to_owned(),
            address: Some(at("10.40.0.15:5062")),
            transport: Some(Transport::Udp),
            source: at("10.40.0.15:5060"),
            registrar: at("10.40.0.5:5060"),
            q: Some(500),
            user_agent: "phone/1.0".to_owned(),
            account: "2001".to_owned(),
            expires_s: 600,
            left_s: 57,
            since_s: 3_603,
        }
    }

    fn shown(long: bool) -> String {
        let mut out = Vec::new();
        let page = Page { rows: vec![binding()], total: 1 };
        bindings(&page, long, &mut Screen::plain(&mut out, Some(100))).expect("memory takes it");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn registrations_at_100_columns() {
        let expected = "\
NAME              SEEN FROM   REGISTRAR  SINCE  LEFT  CALLED AT
2001@pbx.example  10.40.0.15  10.40.0.5  1h00m   57s  udp/10.40.0.15:5062
";
        assert_eq!(shown(false), expected);
    }

    #[test]
    fn what_else_is_known_of_a_registration() {
        let text = shown(true);
        let notes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let expected = [
            "10.40.0.15:5060 → 10.40.0.5:5060, for 10m00s",
            r"sip:2001@10.40.0.15:5062;x=\u{1b}[2J, q 0.500",
            "account 2001",
            "phone/1.0",
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn a_ladder_has_time_direction_and_message() {
        let end = |address: &str, party: &str| CallEnd { signalling: at(address), party: party.to_owned() };
        let (caller, callee) =
            (end("192.0.2.1:5060", "alice@example"), end("198.51.100.7:5060", "bob@example"));
        let step = |after_ms, forth: bool, message: &str, media, refused| StepRow {
            at_unix_ms: 1_700_000_000_000 + after_ms,
            after_ms,
            direction: if forth { "->" } else { "<-" }.to_owned(),
            from: if forth { caller.signalling } else { callee.signalling },
            to: if forth { callee.signalling } else { caller.signalling },
            message: message.to_owned(),
            media,
            refused,
        };
        let steps = vec![
            step(0, true, "INVITE", true, false),
            step(1_234, false, "200 INVITE", true, false),
            step(2_000, true, "MESSAGE", false, true),
        ];
        let row = LadderRow {
            id: 17,
            protocol: "sip".to_owned(),
            key: "c1@host".to_owned(),
            caller: caller.clone(),
            callee: callee.clone(),
            ended: Some("bye".to_owned()),
            left_out: 0,
            steps,
            streams: Vec::new(),
        };
        let mut out = Vec::new();
        ladders(&Page { rows: vec![row], total: 1 }, &mut Screen::plain(&mut out, Some(100)))
            .expect("memory takes it");
        let expected = "\
sip 17 alice@example → bob@example, c1@host, ended: bye
UTC            AFTER  FROM               TO                 MESSAGE
22:13:20.000  0.000s  192.0.2.1:5060     198.51.100.7:5060  INVITE (media)
22:13:21.234  1.234s  198.51.100.7:5060  192.0.2.1:5060     200 INVITE (media)
22:13:22.000  2.000s  192.0.2.1:5060     198.51.100.7:5060  MESSAGE refused
";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }
}
