//! `fwctl events`: what happened, and what happens.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use callgate_alg::event::EventKind;
use callgate_api::EventPage;

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
}

pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let kinds: String = args.kind.iter().map(|kind| format!("&kind={kind}")).collect();
    let page: EventPage = client.get(&format!("/v1/events?limit={}{kinds}", args.listing.limit))?;
    if !args.follow {
        return print(&page, json, out, show::events);
    }
    tell(&page, json, out)?;
    let mut next = page.next;
    let mut reached = true;
    loop {
        sleep(PAUSE);
        let page: EventPage = match client.get(&format!("/v1/events?after={next}{kinds}")) {
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
        tell(&page, json, out)?;
        next = page.next;
    }
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
