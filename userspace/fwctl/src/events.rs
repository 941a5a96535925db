//! `fwctl events`: what happened, and what happens.

use std::io::{self, Write};
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use callgate_alg::event::EventKind;
use callgate_api::{EventPage, EventRow, MAX_LIMIT};
use ipnet::IpNet;

use crate::cli::Listing;
use crate::client::{Client, ClientError};
use crate::screen::Screen;
use crate::{Outcome, print, show};

/// Silence between two looks while following.
const PAUSE: Duration = Duration::from_secs(1);

/// Which events, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// Go on telling what happens until interrupted; with --json one object per line
    #[arg(long, short)]
    follow: bool,
    /// Only events of this kind; may be repeated
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    kind: Vec<EventKind>,
    /// Only events caused by an address, or within a network
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    from: Option<IpNet>,
    /// Only events of this protocol: sip, h225, sccp, mgcp …; of dropped packets tcp, udp …
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Only events that speak of this, in subject or text
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// Only events of the last time: 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = crate::blocks::seconds)]
    since: Option<u64>,
}

impl Args {
    /// Whether the daemon's choice is not the whole of it.
    fn chooses(&self) -> bool {
        self.from.is_some() || self.protocol.is_some() || self.about.is_some() || self.since.is_some()
    }

    fn wants(&self, row: &EventRow, now_unix: u64) -> bool {
        let about = self.about.as_ref().map(|text| text.to_lowercase());
        let told = || format!("{} {}", row.subject, row.text).to_lowercase();
        self.from.is_none_or(|network| network.contains(&row.source.ip()))
            && self.protocol.as_ref().is_none_or(|name| row.protocol.eq_ignore_ascii_case(name))
            && about.is_none_or(|text| told().contains(&text))
            && self.since.is_none_or(|since| row.at_unix >= now_unix.saturating_sub(since))
    }
}

pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let kinds: String = args.kind.iter().map(|kind| format!("&kind={kind}")).collect();
    let most = if args.chooses() { MAX_LIMIT } else { args.listing.limit };
    let mut page: EventPage = client.get(&format!("/v1/events?limit={most}{kinds}"))?;
    page.rows.retain(|row| args.wants(row, now()));
    page.rows.drain(..page.rows.len().saturating_sub(args.listing.limit));
    if !args.follow {
        return print(&page, json, out, show::events);
    }
    tell(&page, json, out)?;
    let mut next = page.next;
    let mut reached = true;
    loop {
        sleep(PAUSE);
        let mut page: EventPage = match client.get(&format!("/v1/events?after={next}{kinds}")) {
            Ok(page) => page,
            // It may be about to be started anew.
            Err(
                error @ (ClientError::Unreachable { .. }
                | ClientError::Silent(_)
                | ClientError::Unable { .. }),
            ) => {
                if reached {
                    writeln!(io::stderr().lock(), "fwctl: {error}; waiting for it")?;
                }
                reached = false;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        reached = true;
        if page.lost > 0 {
            show::lost(page.lost)?;
        }
        page.rows.retain(|row| args.wants(row, now()));
        tell(&page, json, out)?;
        next = page.next;
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn network(text: &str) -> Result<IpNet, String> {
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    alone
        .or_else(|_| text.parse())
        .map_err(|_| "an address or network is needed: 192.0.2.1, 192.0.2.0/24".to_owned())
}

/// Event by event, at once.
fn tell(page: &EventPage, json: bool, out: &mut dyn Write) -> io::Result<()> {
    for row in &page.rows {
        if json {
            serde_json::to_writer(&mut *out, row)?;
            writeln!(out)?;
        } else {
            show::event(row, &mut Screen::of_stdout(out))?;
        }
    }
    out.flush()
}

/// The kinds' names, so that a wrong one is told with the right ones.
fn kinds() -> impl clap::builder::TypedValueParser<Value = EventKind> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(EventKind::ALL.map(EventKind::name))
        .try_map(|name| EventKind::from_name(&name).ok_or("no kind of event"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn wanted(line: &[&str]) -> Vec<u64> {
        let args = Line::try_parse_from([&["events"], line].concat()).expect("a command line").args;
        let row = |number, at_unix, protocol: &str, source: &str, text: &str| EventRow {
            number,
            at_unix,
            kind: EventKind::Refused,
            protocol: protocol.to_owned(),
            source: source.parse().expect("an address"),
            subject: format!("SEP{number}"),
            text: text.to_owned(),
            packet: None,
        };
        let rows = [
            row(1, 1_000, "sip", "192.0.2.1:5060", "From a stranger"),
            row(2, 2_000, "sccp", "192.0.2.77:2000", "not allowed"),
            row(3, 3_000, "sip", "[2001:db8::1]:5060", "not allowed"),
        ];
        rows.iter().filter(|row| args.wants(row, 3_010)).map(|row| row.number).collect()
    }

    #[test]
    fn events_are_chosen_by_source_protocol_text_and_age() {
        assert_eq!(wanted(&[]), [1, 2, 3]);
        assert_eq!(wanted(&["--from", "192.0.2.0/24"]), [1, 2]);
        assert_eq!(wanted(&["--from", "2001:db8::1"]), [3]);
        assert_eq!(wanted(&["--protocol", "SIP"]), [1, 3]);
        assert_eq!(wanted(&["--about", "stranger"]), [1]);
        assert_eq!(wanted(&["--about", "sep2"]), [2]);
        assert_eq!(wanted(&["--since", "20m"]), [2, 3]);
        assert_eq!(wanted(&["--protocol", "sip", "--since", "1m"]), [3]);
        assert!(Line::try_parse_from(["events", "--from", "there"]).is_err());
    }
}
