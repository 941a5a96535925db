//! `fwctl`: looks at a running Callgate, tells it to read its rules again, checks rules files and replays captures.
//!
//! - [`cli`]: what the command line can say
//! - [`client`]: HTTP over the control socket
//! - [`show`]: a printer per listing, on [`screen`] and [`table`]
//! - [`events`]: what happened, and what happens
//! - [`history`]: calls that are over
//! - [`flows`]: what the kernel half knows, chosen and forgotten
//! - [`blocks`]: addresses whose packets are dropped
//! - [`capture_call`]: the packets of one call
//! - [`operate`]: rules that are changed, compared and taken back; calls that are ended
//! - [`top`]: a screen that stays
//! - [`doctor`]: whether this machine is fit for a firewall
//! - [`generate`]: man pages and completions
//! - [`progress`]: what is shown of what takes long
//! - [`check`]: reads a rules file as the daemon would
//! - [`explain`]: shows what would become of a packet, and why
//! - [`replay`]: puts a capture through the firewall, without privileges and without a daemon
//!
//! Data goes to stdout, talk to stderr. The exit status is 0 for yes, 1 for a negative answer (a bad rules file,
//! a daemon that says no), 2 for wrong usage or when the question could not be put.

#![forbid(unsafe_code)]

mod blocks;
mod capture;
mod capture_call;
mod check;
mod cli;
mod client;
mod doctor;
mod events;
mod explain;
mod flows;
mod generate;
mod history;
mod operate;
mod progress;
mod replay;
mod screen;
mod show;
mod table;
mod top;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use callgate_api::{CallQuery, LadderRow, Page};
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;

use cli::{Cli, Command, H323, Listing, Sccp, Sip};
use client::{Client, ClientError};
use screen::Screen;

/// The answer, where the question could be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit status 0.
    Yes,
    /// Exit status 1.
    No,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = run(&cli, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match outcome {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn run(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let client = Client::new(&cli.socket);
    let json = cli.json;
    match &cli.command {
        Command::Status => {
            let status = client.get("/v1/status")?;
            print(&status, json, out, show::status)
        }
        Command::Calls { call: Some(call), .. } => ladder(&client, call, json, out),
        Command::Calls { listing, long, call: None } => {
            let page = page(&client, "/v1/calls", listing)?;
            print(&page, json, out, |page, screen| show::calls(page, *long, screen))
        }
        Command::Pinholes { listing } => {
            print(&page(&client, "/v1/pinholes", listing)?, json, out, show::pinholes)
        }
        Command::Flows(args) => flows::run(&client, args, json, out),
        Command::Blocks { listing } => print(&page(&client, "/v1/blocks", listing)?, json, out, show::blocks),
        Command::Block(args) => blocks::block(&client, args, json, out),
        Command::Unblock(args) => blocks::unblock(&client, args, json, out),
        Command::Rules { long } => {
            let rules = client.get("/v1/rules")?;
            print(&rules, json, out, |rules, screen| show::rules(rules, *long, screen))
        }
        Command::Counters => print(&client.get("/v1/counters")?, json, out, show::counters),
        Command::Sccp(Sccp::Phones { listing, long }) => {
            let page = page(&client, "/v1/phones", listing)?;
            print(&page, json, out, |page, screen| show::phones(page, *long, screen))
        }
        Command::H323(H323::Registrations { listing, long }) => {
            let page = page(&client, "/v1/h323/registrations", listing)?;
            print(&page, json, out, |page, screen| show::registrations(page, *long, screen))
        }
        Command::Sip(Sip::Registrations { listing, long }) => {
            let page = page(&client, "/v1/sip/registrations", listing)?;
            print(&page, json, out, |page, screen| show::bindings(page, *long, screen))
        }
        Command::Capture(args) => capture_call::run(&client, args, out),
        Command::History(args) => history::run(&client, args, json, out),
        Command::Fraud(args) => history::fraud(&client, args, json, out),
        Command::Events(args) => events::run(&client, args, json, out),
        Command::Reload(args) => operate::reload(&client, args, json, out),
        Command::Confirm => operate::confirm(&client, json, out),
        Command::Rollback => operate::rollback(&client, json, out),
        Command::Diff(args) => operate::diff(&client, args, json, out),
        Command::Hangup(args) => operate::hangup(&client, args, json, out),
        Command::Top { every } => top::run(&client, *every),
        Command::Metrics => {
            out.write_all(client.text("/v1/metrics")?.as_bytes())?;
            Ok(Outcome::Yes)
        }
        Command::Doctor(args) => doctor::run(&client, args, json, out),
        Command::Generate { directory } => generate::run(directory),
        Command::Check(args) => check::run(args, json, out),
        Command::Explain(args) => explain::run(&client, args, json, out),
        Command::Replay(args) => replay::run(args, json, out),
    }
}

/// The messages of a call; whether there is one.
fn ladder(client: &Client, call: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let query = CallQuery(call.to_owned()).to_query();
    let page: Page<LadderRow> = client.get(&format!("/v1/calls/ladder?{query}"))?;
    print(&page, json, out, show::ladders)?;
    Ok(if page.rows.is_empty() { Outcome::No } else { Outcome::Yes })
}

fn page<T: DeserializeOwned>(client: &Client, path: &str, listing: &Listing) -> Result<Page<T>, ClientError> {
    client.get(&format!("{path}?limit={}", listing.limit))
}

fn print<T: Serialize>(
    value: &T,
    json: bool,
    out: &mut dyn Write,
    show: impl FnOnce(&T, &mut Screen<'_>) -> io::Result<()>,
) -> anyhow::Result<Outcome> {
    if json {
        write_json(value, out)?
    } else {
        show(value, &mut Screen::of_stdout(out))?
    }
    Ok(Outcome::Yes)
}

/// One value as JSON, over several lines.
fn write_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Says why the question could not be put.
fn complain(error: &anyhow::Error) -> ExitCode {
    let mut stderr = io::stderr().lock();
    // Nothing is left to be done when stderr is closed as well.
    let _ = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { reply }) => show::refused(reply, &mut stderr),
        _ => writeln!(stderr, "fwctl: {error:#}"),
    };
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { .. }) => ExitCode::from(1),
        _ => ExitCode::from(2),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
