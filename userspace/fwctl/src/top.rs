//! `fwctl top`: a screen that stays.
//!
//! - [`state`]: what is known, what is chosen, and what keys do; no terminal and no daemon
//! - [`view`]: how that is drawn
//!
//! This file has the terminal and the daemon. Nothing is asked of the daemon that a viewer may not; ending a call
//! takes an operator, and the screen says so where one is not.

mod state;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use callgate_api::{
    CallQuery, CallRow, EventPage, FlowRow, HangupRequest, HungUp, LadderRow, Page, PinholeRow, Status,
};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::Outcome;
use crate::client::{Client, ClientError};
use state::{Screen, Snapshot, Wish};

/// Flows, and pinholes, that are looked at for who talks most.
const FLOWS: usize = 5_000;
/// Calls that are listed.
const CALLS: usize = 2_000;
/// Kinds of events that tell of attacks.
const ATTACKS: &str = "kind=attack&kind=blocked&kind=fraud-suspected&kind=limit-reached&kind=violation";

pub(crate) fn run(client: &Client, every: u64) -> Result<Outcome> {
    if !io::stdout().is_terminal() {
        bail!("fwctl top needs a terminal; `fwctl status --json` is for programs");
    }
    // Before the terminal is taken: an error is to be read.
    let first = look(client)?;
    let client = &client.silent();
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(first, colour);
    let mut terminal = ratatui::init();
    let result = stay(client, &mut terminal, &mut screen, Duration::from_secs(every));
    ratatui::restore();
    result.map(|()| Outcome::Yes)
}

fn stay(client: &Client, terminal: &mut DefaultTerminal, screen: &mut Screen, every: Duration) -> Result<()> {
    let mut looked = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, screen))?;
        if event::poll(every.saturating_sub(looked.elapsed()))? {
            let Event::Key(key) = event::read()? else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            match screen.key(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Ladder(call) => match ladder(client, call) {
                    Ok(page) => screen.show_ladder(page),
                    Err(error) => screen.say(error.to_string()),
                },
                Wish::HangUp(call) => screen.say(hang_up(client, call)),
            }
        }
        if looked.elapsed() >= every {
            looked = Instant::now();
            match look(client) {
                Ok(snapshot) => screen.take(snapshot),
                Err(error) => screen.say(error.to_string()),
            }
        }
    }
}

fn look(client: &Client) -> Result<Snapshot, ClientError> {
    let status: Status = client.get("/v1/status")?;
    let calls: Page<CallRow> = client.get(&format!("/v1/calls?limit={CALLS}"))?;
    let flows: Page<FlowRow> = client.get(&format!("/v1/flows?limit={FLOWS}"))?;
    let attacks: EventPage = client.get(&format!("/v1/events?limit=50&{ATTACKS}"))?;
    let media: Page<PinholeRow> = client.get(&format!("/v1/pinholes?limit={FLOWS}"))?;
    Ok(Snapshot::new(status, calls, (flows.rows, media.rows), attacks.rows))
}

fn ladder(client: &Client, call: u64) -> Result<Page<LadderRow>, ClientError> {
    client.get(&format!("/v1/calls/ladder?{}", CallQuery(call.to_string()).to_query()))
}

fn hang_up(client: &Client, call: u64) -> String {
    match client.post::<HungUp>("/v1/calls/end", &HangupRequest { call: call.to_string() }) {
        Ok(_) => format!("call {call} is ended"),
        Err(ClientError::Refused { reply }) => format!("{}; {}", reply.error, reply.hint),
        Err(error) => error.to_string(),
    }
}
