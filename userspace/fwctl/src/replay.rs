//! `fwctl replay`: what the firewall would have made of a capture.
//!
//! Every frame goes through the parser, the judge and the ALG engine of the live path; only the kernel's tables
//! are replaced, by their twin in user space, unless the kernel half itself is asked for. The clock is the
//! capture's.

mod firewall;
#[cfg(feature = "kernel")]
mod kernel;
mod report;

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use callgate_alg::Time;
use callgate_rules::{Compiled, Machine, MemorySlots, Model, RuleSet, compile, model};
use callgate_shared::policy::ZONE_NONE;
use jiff::Zoned;

use crate::Outcome;
use crate::capture::{self, Frame};
use crate::check;
pub(crate) use firewall::{Firewall, Half, Judgement};
use report::Report;

/// Show what the firewall would have made of a capture
///
/// Needs neither a daemon nor, without --kernel, privileges. The clock is the capture's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The capture: pcap or pcapng; Ethernet, Linux SLL and SLL2, raw IP, null or loopback
    pub(crate) capture: PathBuf,
    /// The rules file to judge by
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// The zone (or interface) all frames come from; without it they come from an interface in no zone
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<String>,
    /// Judge by the kernel half itself, run frame by frame, instead of by its twin; needs root
    ///
    /// Nothing is attached, and nothing stays behind. The verdicts are the same; what differs would be a bug.
    #[cfg(feature = "kernel")]
    #[arg(long)]
    pub(crate) kernel: bool,
    /// Show passed frames, changed pinholes and refused announcements too
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Replays a capture and prints what became of it.
pub(crate) fn run(args: &Args, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let Some(rules) = check::load(&args.rules)? else { return Ok(Outcome::No) };
    let zone = match &args.zone {
        Some(name) => zone_number(&rules, name)?,
        None => ZONE_NONE,
    };
    let compiled = compiled(&rules, &args.rules)?;
    let mut report = Report::new(out, json, args.verbose, rule_names(&rules, &compiled));
    #[cfg(feature = "kernel")]
    if args.kernel {
        let half = kernel::RealHalf::new(&compiled, zone)?;
        replay(&args.capture, Firewall::new(&rules, &compiled, half, zone), &mut report)?;
        report.finish()?;
        return Ok(Outcome::Yes);
    }
    let half = Model::new(compiled.clone(), model::Bounds::default());
    replay(&args.capture, Firewall::new(&rules, &compiled, half, zone), &mut report)?;
    report.finish()?;
    Ok(Outcome::Yes)
}

fn replay<H: Half>(capture: &Path, mut firewall: Firewall<H>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let (mut last, mut now) = (0, Time::default());
    read(capture, |frame| {
        (last, now) = (frame.number, frame.time);
        report.actions(frame.number, &firewall.pass_time(frame.time)?)?;
        let (judgement, slot) = firewall.frame(frame.bytes)?;
        report.actions(frame.number, &firewall.act()?)?;
        report.media(frame.number, &std::mem::take(&mut firewall.measured), now)?;
        report.verdict(frame.number, judgement, slot)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(report.media(last, &firewall.still_open(), now)?)
}

/// Gives each frame of a capture to `each`, until it breaks off.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(Frame<'_>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let each = |frame: Frame<'_>| match each(frame) {
        Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
        Ok(ControlFlow::Break(())) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Break(Err(error)),
    };
    capture::read(path, each).with_context(|| path.display().to_string())?.unwrap_or(Ok(()))
}

/// The rules as the kernel would hold them, on a machine that has none of their interfaces.
pub(crate) fn compiled(rules: &RuleSet, file: &Path) -> anyhow::Result<Compiled> {
    compile(rules, &Machine::at(Zoned::now()), 1, &mut MemorySlots::default())
        .with_context(|| file.display().to_string())
}

/// The zone of this name, or the one an interface of this name is in.
pub(crate) fn zone_number(rules: &RuleSet, name: &str) -> anyhow::Result<u8> {
    let known: Vec<&str> = (0..rules.zone_count())
        .filter_map(|zone| u8::try_from(zone).ok().and_then(|zone| rules.zone_name(zone)))
        .collect();
    match known.iter().position(|zone| *zone == name).map(u8::try_from) {
        Some(Ok(zone)) => Ok(zone),
        _ => match rules.zone_of(name) {
            ZONE_NONE => {
                bail!("no zone or interface `{name}` in the rules file; its zones are: {}", known.join(", "))
            }
            zone => Ok(zone),
        },
    }
}

fn rule_names(rules: &RuleSet, compiled: &Compiled) -> HashMap<u32, String> {
    compiled.slots.iter().copied().zip(rules.rules().iter().map(|rule| rule.name.clone())).collect()
}

#[cfg(test)]
mod tests;
