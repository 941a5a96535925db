//! `fwctl reload`, `confirm`, `rollback`, `diff` and `hangup`: what changes the rules, or says what they would change,
//! and what ends a call.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callgate_api::{
    Change, Confirmed, Diff, DiffRequest, Difference, HangupRequest, HungUp, MAX_CONFIRM_S, ReloadReply,
    ReloadRequest,
};

use crate::client::{Client, ClientError};
use crate::screen::{Screen, Tone, duration, number, plural, printable};
use crate::{Outcome, show, write_json};

/// Read the rules again and put them in force at once
///
/// A file with an error changes nothing: its errors are printed and the exit status is 1. With --confirm the rules
/// that were in force come back after that time unless `fwctl confirm` is run: on a machine far away, rules that
/// shut you out undo themselves. This takes the role of an admin.
#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    /// Go over to this rules file instead of the one in force
    file: Option<PathBuf>,
    /// Take the new rules back after this time unless they are confirmed: 60s, 5m; at most 1d
    #[arg(long, value_name = "TIME", value_parser = within_a_day)]
    confirm: Option<u64>,
}

/// End a call: its media closes at once
///
/// Its parties are not told: they hear silence, and their own timers or the next message of either ends it for them.
/// This takes the role of an operator.
#[derive(Debug, clap::Args)]
pub(crate) struct Hangup {
    /// Its number, or its identifier in the protocol (Call-ID), as `fwctl calls --long` shows them
    #[arg(long, value_name = "ID")]
    call: String,
}

/// Show what a rules file would change, and which calls and flows it would refuse
///
/// Nothing is changed. Compared with the rules in force: rules by name (+ new, - gone, ~ changed, ^ moved), groups,
/// other tables; then present calls and flows that are let by now and would not be any more. The exit status is 1
/// where something would change. This takes the role of an admin.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The rules file; without it the one in force, as it now is on disk
    file: Option<PathBuf>,
}

pub(crate) fn reload(client: &Client, args: &Reload, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let request = ReloadRequest { file: absolute(args.file.as_deref())?, confirm_s: args.confirm };
    reloaded(client.post("/v1/reload", &request), json, out)
}

pub(crate) fn rollback(client: &Client, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    reloaded(client.post("/v1/rollback", &serde_json::Map::new()), json, out)
}

pub(crate) fn confirm(client: &Client, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let reply: Confirmed = client.post("/v1/confirm", &serde_json::Map::new())?;
    if json {
        write_json(&reply, out)?;
    } else {
        writeln!(out, "{} stays", printable(&reply.file))?;
    }
    Ok(Outcome::Yes)
}

pub(crate) fn hangup(client: &Client, args: &Hangup, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let reply: HungUp = client.post("/v1/calls/end", &HangupRequest { call: args.call.clone() })?;
    if json {
        write_json(&reply, out)?;
    } else {
        let numbers: Vec<String> = reply.calls.iter().map(u64::to_string).collect();
        writeln!(out, "ended {} {}", if numbers.len() == 1 { "call" } else { "calls" }, numbers.join(", "))?;
    }
    Ok(Outcome::Yes)
}

pub(crate) fn diff(client: &Client, args: &DiffArgs, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let request = DiffRequest { file: absolute(args.file.as_deref())? };
    let found: Diff = match client.post("/v1/diff", &request) {
        Err(ClientError::Refused { reply }) => {
            show::refused(&reply, &mut io::stderr().lock())?;
            return Ok(Outcome::No);
        }
        found => found?,
    };
    if json {
        write_json(&found, out)?;
    } else {
        differences(&found, &mut Screen::of_stdout(out))?;
    }
    Ok(if found.is_empty() { Outcome::Yes } else { Outcome::No })
}

fn reloaded(reply: Result<ReloadReply, ClientError>, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    match reply {
        Ok(reply) => {
            if json {
                write_json(&reply, out)?;
            } else {
                show::reloaded(&reply, out, &mut io::stderr().lock())?;
                if let Some(left) = reply.confirm_s {
                    let left = duration(left);
                    writeln!(
                        out,
                        "the rules before them come back in {left}, unless you run: fwctl confirm"
                    )?;
                }
            }
            Ok(Outcome::Yes)
        }
        Err(ClientError::Refused { reply }) => {
            if json {
                write_json(&reply, out)?;
            }
            show::refused(&reply, &mut io::stderr().lock())?;
            Ok(Outcome::No)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a rules file would change, for people.
fn differences(found: &Diff, screen: &mut Screen<'_>) -> io::Result<()> {
    if found.is_empty() {
        screen.put("nothing would change", Tone::Good)?;
        return screen.end_line();
    }
    for (title, rows) in [("rules", &found.rules), ("groups", &found.groups)] {
        if rows.is_empty() {
            continue;
        }
        screen.put(title, Tone::Head)?;
        screen.end_line()?;
        rows.iter().try_for_each(|row| difference(row, screen))?;
    }
    if !found.tables.is_empty() {
        screen.put("other tables", Tone::Head)?;
        screen.end_line()?;
        screen.put(format!("  ~ {}", found.tables.join(", ")), Tone::Warn)?;
        screen.end_line()?;
    }
    let calls = format!("{} would be refused", plural(found.calls_total, "call"));
    screen.put(calls, if found.calls_total == 0 { Tone::Good } else { Tone::Bad })?;
    screen.end_line()?;
    for call in &found.calls {
        let [caller, callee] = &call.parties;
        let text = format!(
            "    {} {} to {}: {}",
            call.call,
            printable(caller),
            printable(callee),
            printable(&call.by)
        );
        screen.put(text, Tone::Plain)?;
        screen.end_line()?;
    }
    let flows = format!("{} would be refused", plural(found.flows_total, "flow"));
    screen.put(flows, if found.flows_total == 0 { Tone::Good } else { Tone::Bad })?;
    screen.end_line()?;
    for flow in &found.flows {
        let text = format!("    {} {} to {}: {}", flow.protocol, flow.from, flow.to, printable(&flow.by));
        screen.put(text, Tone::Plain)?;
        screen.end_line()?;
    }
    for (total, shown, what) in
        [(found.calls_total, found.calls.len(), "calls"), (found.flows_total, found.flows.len(), "flows")]
    {
        let more = total.saturating_sub(shown as u64);
        if more > 0 {
            screen.put(format!("    and {} more {what}", number(more)), Tone::Dim)?;
            screen.end_line()?;
        }
    }
    if found.unjudged > 0 {
        let text = format!("{} were not looked at: there are too many", plural(found.unjudged, "flow"));
        screen.put(text, Tone::Warn)?;
        screen.end_line()?;
    }
    Ok(())
}

fn difference(row: &Difference, screen: &mut Screen<'_>) -> io::Result<()> {
    let tone = match row.change {
        Change::Added => Tone::Good,
        Change::Removed => Tone::Bad,
        Change::Changed | Change::Moved => Tone::Warn,
    };
    screen.put(format!("  {} {}", row.change.sign(), printable(&row.name)), tone)?;
    if !row.text.is_empty() {
        screen.put(format!("  ({})", printable(&row.text)), Tone::Dim)?;
    }
    screen.end_line()
}

fn absolute(file: Option<&Path>) -> Result<Option<PathBuf>> {
    file.map(std::path::absolute)
        .transpose()
        .context("the rules file has no absolute path: is the current directory gone?")
}

/// A time such as `60s`, in seconds.
fn within_a_day(text: &str) -> Result<u64, String> {
    let seconds = crate::blocks::seconds(text)?;
    if seconds > MAX_CONFIRM_S { Err("at most 1d".to_owned()) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use callgate_api::{RefusedCall, RefusedFlow};

    use super::*;

    fn shown(found: &Diff) -> String {
        let mut out = Vec::new();
        differences(found, &mut Screen::plain(&mut out, None)).expect("a buffer takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn times_to_confirm_are_a_day_at_most() {
        assert_eq!(within_a_day("60s"), Ok(60));
        assert_eq!(within_a_day("1d"), Ok(86_400));
        assert!(within_a_day("2d").is_err() && within_a_day("60").is_err());
    }

    #[test]
    fn differences_are_told_with_what_they_would_refuse() {
        assert_eq!(shown(&Diff::default()), "nothing would change\n");
        let row =
            |name: &str, change, text: &str| Difference { name: name.into(), change, text: text.into() };
        let found = Diff {
            rules: vec![
                row("ssh", Change::Changed, "track becomes drop"),
                row("x\u{1b}[2J", Change::Added, "pass"),
            ],
            groups: vec![row("nms", Change::Removed, "1 prefix")],
            tables: vec!["settings".into()],
            calls: vec![RefusedCall {
                call: 7,
                key: "k".into(),
                parties: ["2001".into(), "2002".into()],
                by: "rule \"ssh\"".into(),
            }],
            calls_total: 1,
            flows: vec![RefusedFlow {
                protocol: "tcp".into(),
                from: "192.0.2.1:1024".parse().expect("an address"),
                to: "10.0.0.1:22".parse().expect("an address"),
                by: "rule \"ssh\"".into(),
            }],
            flows_total: 3,
            ..Diff::default()
        };
        assert_eq!(
            shown(&found),
            "rules\n  ~ ssh  (track becomes drop)\n  + x\\u{1b}[2J  (pass)\ngroups\n  - nms  (1 prefix)\n\
             other tables\n  ~ settings\n1 call would be refused\n    7 2001 to 2002: rule \"ssh\"\n\
             3 flows would be refused\n    tcp 192.0.2.1:1024 to 10.0.0.1:22: rule \"ssh\"\n    and 2 more flows\n"
        );
    }
}
