//! `fwctl replay`: what the firewall would have made of a capture.
//!
//! Every frame goes through the parser, the judge and the ALG engine of the live path; only the kernel's tables
//! are replaced, by their twin in user space. The clock is the capture's. Needs no privileges and no daemon.

mod report;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use callgate_alg::action::{PinholeSpec, Verdict};
use callgate_alg::core::Bounds;
use callgate_alg::{Action, Engine, Time, Transport, policy};
use callgate_rules::{Compiled, MemorySlots, Model, RuleSet, compile, model};
use callgate_shared::flow::UDP;
use callgate_shared::packet::{self, Packet};
use callgate_shared::pinhole::{Kind, MAX_SENDERS, Pinhole, PinholeKey, Sender};
use callgate_shared::policy::{Inspect, ZONE_NONE, ZONE_SELF};
use callgate_shared::{Addr, Reason};

use crate::Outcome;
use crate::capture::{self, Frame};
use crate::check;
use report::Report;

/// How often the engine is told that time passes.
const TICK: Duration = Duration::from_secs(1);

/// Show what the firewall would have made of a capture
///
/// Needs neither a daemon nor privileges. The clock is the capture's.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The capture: pcap or pcapng; Ethernet, Linux SLL and SLL2, raw IP, null or loopback
    pub(crate) capture: PathBuf,
    /// The rules file to judge by
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// The zone all frames come from; without it they come from an interface in no zone
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<String>,
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
    let compiled = compile(&rules, &[], 1, &mut MemorySlots::default())
        .with_context(|| args.rules.display().to_string())?;
    let mut report = Report::new(out, json, args.verbose, rule_names(&rules, &compiled));
    let mut firewall = Firewall::new(&rules, compiled, zone);
    capture::read(&args.capture, |frame| firewall.frame(frame, &mut report))
        .map_err(output_error)
        .with_context(|| args.capture.display().to_string())?;
    report.finish()?;
    Ok(Outcome::Yes)
}

/// An error of the output is one as it is, so that a closed pipe is known for what it is.
fn output_error(error: capture::CaptureError) -> anyhow::Error {
    match error {
        capture::CaptureError::Output(error) => error.into(),
        other => other.into(),
    }
}

fn zone_number(rules: &RuleSet, name: &str) -> anyhow::Result<u8> {
    let known: Vec<&str> = (0..rules.zone_count())
        .filter_map(|zone| u8::try_from(zone).ok().and_then(|zone| rules.zone_name(zone)))
        .collect();
    match known.iter().position(|zone| *zone == name).map(u8::try_from) {
        Some(Ok(zone)) => Ok(zone),
        _ => bail!("no zone `{name}` in the rules file; there are: {}", known.join(", ")),
    }
}

fn rule_names(rules: &RuleSet, compiled: &Compiled) -> HashMap<u32, String> {
    compiled.slots.iter().copied().zip(rules.rules().iter().map(|rule| rule.name.clone())).collect()
}

/// The firewall: the kernel half's model and the engine.
struct Firewall {
    model: Model,
    engine: Engine,
    zone: u8,
    longest_call: Duration,
    now: Time,
    ticked: Time,
}

impl Firewall {
    fn new(rules: &RuleSet, compiled: Compiled, zone: u8) -> Self {
        let settings = rules.settings();
        let mut engine = Engine::new(policy::media(rules, &compiled), Bounds::default());
        engine.set_lifetimes(policy::lifetimes(settings));
        let model = Model::new(compiled, model::Bounds::default());
        let (now, ticked) = (Time::default(), Time::default());
        Self { model, engine, zone, longest_call: settings.call_max, now, ticked }
    }

    fn frame(&mut self, frame: Frame<'_>, report: &mut Report<'_>) -> io::Result<()> {
        // Some captures' clocks step back; ours does not.
        self.now = self.now.max(frame.time);
        if self.now.since(self.ticked) >= TICK {
            self.ticked = self.now;
            self.engine.tick(self.now);
            self.act(frame.number, report)?;
        }
        let (verdict, slot) = match packet::parse(&frame.bytes) {
            Ok(packet) => self.packet(frame.bytes, &packet),
            Err(reason) => (Judgement::Drop(reason), 0),
        };
        self.act(frame.number, report)?;
        report.verdict(frame.number, verdict, slot)
    }

    /// The verdict, and the counter slot of the rule behind it.
    fn packet(&mut self, frame: &[u8], packet: &Packet) -> (Judgement, u32) {
        // What was captured on the loopback interface was sent by the machine itself, and never on a link.
        let loopback = |addr: Addr| IpAddr::from(addr).is_loopback();
        let within_host = loopback(packet.source) && loopback(packet.destination);
        let zone = if within_host { ZONE_SELF } else { self.zone };
        let judged = self.model.judge(packet, zone, self.now.0);
        if judged.reason.is_drop() {
            return (Judgement::Drop(judged.reason), judged.slot);
        }
        if judged.reason == Reason::PassPinhole {
            let to = SocketAddr::new(packet.destination.into(), packet.destination_port);
            let transport = if packet.protocol == UDP { Transport::Udp } else { Transport::Tcp };
            self.engine.touch(to, transport, self.now);
        }
        let verdict = match Inspect::from_u8(judged.inspect) {
            Inspect::None => Verdict::Pass,
            protocol => self.engine.packet(self.now, frame, packet, protocol, judged.slot),
        };
        let judgement = match verdict {
            Verdict::Pass => Judgement::Pass(judged.reason),
            Verdict::Drop(reason) => Judgement::Drop(reason),
            Verdict::Reset(reason) => Judgement::Reset(reason),
        };
        (judgement, judged.slot)
    }

    /// Carries out what the engine wants.
    fn act(&mut self, frame: u64, report: &mut Report<'_>) -> io::Result<()> {
        let actions = self.engine.take_actions();
        report.learn(&actions);
        for action in &actions {
            match action {
                Action::Open(spec) | Action::Update(spec) => {
                    let pinhole = self.pinhole(spec);
                    self.model.open(key(spec.to, spec.transport), pinhole);
                }
                Action::Close { to, transport, .. } => {
                    self.model.close(&key(*to, *transport));
                }
                Action::Call(_) | Action::Ended(..) | Action::Refused { .. } | Action::Event(_) => {}
            }
            report.action(frame, action)?;
        }
        report.forget(&actions);
        Ok(())
    }

    /// A pinhole as the kernel would hold it; its silence begins anew.
    fn pinhole(&self, spec: &PinholeSpec) -> Pinhole {
        let mut senders = [Sender::default(); MAX_SENDERS];
        for (place, sender) in senders.iter_mut().zip(&spec.senders) {
            *place = Sender { from: sender.ip.into(), port: sender.port.unwrap_or(0), pad: [0; 2] };
        }
        let inspect = match spec.kind {
            Kind::H245 => Inspect::H245,
            Kind::H225 => Inspect::H225,
            Kind::Ras => Inspect::Ras,
            Kind::Tftp => Inspect::Tftp,
            _ => Inspect::None,
        };
        Pinhole {
            last_seen: AtomicU64::new(self.now.0),
            expires: (self.now + self.longest_call).0,
            idle: u64::try_from(spec.idle.as_nanos()).unwrap_or(u64::MAX),
            call: spec.call.0,
            senders,
            kind: spec.kind as u8,
            inspect: inspect as u8,
            slot: spec.slot,
            ..Pinhole::default()
        }
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Pass(Reason),
    Drop(Reason),
    /// Dropped, and its connection reset at both ends.
    Reset(Reason),
}

fn key(to: SocketAddr, transport: Transport) -> PinholeKey {
    PinholeKey { to: Addr::from(to.ip()), port: to.port(), transport: transport.number(), pad: 0 }
}

#[cfg(test)]
mod tests;
