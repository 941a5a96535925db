//! Registrations with gatekeepers, and what else is known of an H.323 call.

use std::io;

use callgate_api::{H323Call, Page, RegistrationRow};

use super::finish;
use crate::screen::{Screen, Tone, duration};
use crate::table::{Cell, Table, address, count, cut, spare};

pub(crate) fn registrations(
    page: &Page<RegistrationRow>,
    long: bool,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    let mut table = Table::new([
        cut("ENDPOINT", 12),
        address("ADDRESS", 12),
        address("GATEKEEPER", 12),
        count("SINCE"),
        count("LEFT"),
        spare("CALLED AT", 9),
    ]);
    for row in &page.rows {
        let tone = if row.left_s * 10 < row.life_s { Tone::Warn } else { Tone::Plain };
        let name = row.aliases.first().unwrap_or(&row.identifier);
        let called: Vec<String> = row.call_signal.iter().map(ToString::to_string).collect();
        table.row([
            name.into(),
            row.endpoint.ip().to_string().into(),
            row.gatekeeper.ip().to_string().into(),
            duration(row.since_s).into(),
            Cell::new(duration(row.left_s), tone),
            called.join(" ").into(),
        ]);
        if long {
            for line in registration_lines(row) {
                table.note(line);
            }
        }
    }
    finish(&table, page, "registration", screen)
}

fn registration_lines(row: &RegistrationRow) -> Vec<String> {
    let mut lines = vec![
        format!("{} → {}, for {}", row.endpoint, row.gatekeeper, duration(row.life_s)),
        format!("identifier {}", row.identifier),
    ];
    if row.aliases.len() > 1 {
        lines.push(format!("also {}", row.aliases[1..].join(", ")));
    }
    let elsewhere: Vec<String> =
        row.ras.iter().filter(|ras| **ras != row.endpoint).map(ToString::to_string).collect();
    if !elsewhere.is_empty() {
        lines.push(format!("RAS at {}", elsewhere.join(" ")));
    }
    if row.traversal {
        lines.push("H.460.18".to_owned());
    }
    lines
}

/// Lines about a call.
pub(super) fn call_lines(call: &H323Call) -> Vec<String> {
    let mut parts = vec![format!("call reference {}", call.crv)];
    if call.tunnelled {
        parts.push("H.245 tunnelled".to_owned());
    }
    parts.extend(call.traversal.iter().map(|feature| feature.replacen('h', "H.", 1)));
    let mut lines = vec![parts.join(", ")];
    for (party, (number, aliases)) in ["caller", "callee"].iter().zip(call.numbers.iter().zip(&call.aliases))
    {
        let mut names: Vec<&str> = Vec::new();
        names.extend((!number.is_empty()).then_some(number.as_str()));
        names.extend(aliases.iter().filter(|alias| *alias != number).map(String::as_str));
        if !names.is_empty() {
            lines.push(format!("{party} {}", names.join(", ")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn row() -> RegistrationRow {
        RegistrationRow {
            endpoint: at("10.60.0.15:1719"),
            gatekeeper: at("10.1.1.20:1719"),
            identifier: "4711_endp".to_owned(),
            aliases: vec!["2001".to_owned(), "Room 2\u{1b}[2J".to_owned()],
            call_signal: vec![at("10.60.0.15:1720")],
            ras: vec![at("10.60.0.15:1719"), at("10.60.0.15:2719")],
            life_s: 60,
            left_s: 57,
            since_s: 3_603,
            traversal: true,
        }
    }

    fn shown(long: bool) -> String {
        let page = Page { rows: vec![row()], total: 1 };
        let mut out = Vec::new();
        registrations(&page, long, &mut Screen::plain(&mut out, Some(80))).expect("memory takes it");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn registrations_at_80_columns() {
        let expected = "\
ENDPOINT  ADDRESS     GATEKEEPER  SINCE  LEFT  CALLED AT
2001      10.60.0.15  10.1.1.20   1h00m   57s  10.60.0.15:1720
";
        assert_eq!(shown(false), expected);
    }

    #[test]
    fn what_else_is_known_of_a_registration() {
        let text = shown(true);
        let notes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let expected = [
            "10.60.0.15:1719 → 10.1.1.20:1719, for 1m00s",
            "identifier 4711_endp",
            r"also Room 2\u{1b}[2J",
            "RAS at 10.60.0.15:2719",
            "H.460.18",
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn what_else_is_known_of_a_call() {
        let call = H323Call {
            crv: 77,
            identifier: None,
            numbers: ["1000".to_owned(), String::new()],
            aliases: [vec!["1000".to_owned(), "alice".to_owned()], vec!["2000".to_owned()]],
            tunnelled: true,
            traversal: vec!["h460.18".to_owned()],
        };
        assert_eq!(
            call_lines(&call),
            ["call reference 77, H.245 tunnelled, H.460.18", "caller 1000, alice", "callee 2000"]
        );
    }
}
