//! `fwctl explain`: what would become of a packet, and why.
//!
//! The packet is described on the command line or taken from a capture. A rules file judges it here, by the judge
//! of the kernel half; without one it is put to the running firewall, which judges it without remembering anything.

mod frame;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use callgate_alg::Action;
use callgate_api::ExplainRequest;
use callgate_api::explain::{EngineCalls, ExplainedStep, Explanation, to_hex};
use callgate_rules::explain::{Names, explain};
use callgate_rules::{Compiled, Model, RuleSet, model};
use callgate_shared::policy::ZONE_NONE;

use crate::Outcome;
use crate::capture::Frame;
use crate::check;
use crate::client::{Client, ClientError};
use crate::replay::{self, Firewall, Judgement};
use crate::screen::{Screen, Tone, printable};
use frame::Described;
#[cfg(feature = "kernel")]
pub(crate) use frame::shortened;

/// Show what would become of a packet, and why
///
/// Describe the packet, or take it from a capture. With --rules it is judged by that file, and needs neither a
/// daemon nor privileges; a capture's earlier frames are replayed first, so that its flows and pinholes exist.
/// Without --rules the running firewall is asked; it judges the packet and remembers nothing of it. The exit
/// status is 0 where the packet passes, 1 where it is dropped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The zone or interface it comes in by; `self` for what this machine sends
    #[arg(long = "in", value_name = "ZONE|INTERFACE", required_unless_present = "capture")]
    pub(crate) from_zone: Option<String>,
    /// The rules file to judge by, instead of the running firewall
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) described: Described,
    /// Take the packet from this capture
    #[arg(long, value_name = "FILE", requires = "number", conflicts_with_all = ["from", "to", "service"])]
    pub(crate) capture: Option<PathBuf>,
    /// … the frame of this number, from 1
    #[arg(long = "frame", id = "number", value_name = "N", requires = "capture")]
    pub(crate) number: Option<u64>,
}

/// Explains one packet.
pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let explanation = match (&args.rules, &args.capture, args.number) {
        (None, Some(capture), Some(number)) => running(client, args, &frame_of(capture, number)?)?,
        (None, ..) => running(client, args, &args.described.frame()?)?,
        (Some(file), capture, number) => {
            let Some(rules) = check::load(file)? else { return Ok(Outcome::No) };
            let zone = match &args.from_zone {
                Some(name) => replay::zone_number(&rules, name)?,
                None => ZONE_NONE,
            };
            let compiled = replay::compiled(&rules, file)?;
            let mut offline = Offline::new(&rules, &compiled, zone);
            match (capture, number) {
                (Some(capture), Some(number)) => offline.captured(capture, number)?,
                _ => offline.explain(&args.described.frame()?)?,
            }
        }
    };
    if json {
        crate::write_json(&explanation, out)?;
    } else {
        show(&explanation, &mut Screen::of_stdout(out))?;
    }
    Ok(if explanation.passes { Outcome::Yes } else { Outcome::No })
}

/// Asks the running firewall.
fn running(client: &Client, args: &Args, frame: &[u8]) -> anyhow::Result<Explanation> {
    let Some(from) = &args.from_zone else {
        bail!("which zone or interface does the frame come in by? Say it with --in, or give --rules");
    };
    // The daemon takes no request as large as the greatest frames; what they carry is not judged.
    let frame = frame::shortened(frame, frame::MOST);
    let request = ExplainRequest { from: from.clone(), frame: to_hex(&frame) };
    // A question that makes no sense to it is no verdict.
    match client.post("/v1/explain", &request) {
        Err(ClientError::Refused { reply }) => bail!("{}: {}", reply.error, reply.hint),
        answer => Ok(answer?),
    }
}

fn frame_of(capture: &Path, number: u64) -> anyhow::Result<Vec<u8>> {
    let mut found = None;
    replay::read(capture, |frame| {
        if frame.number != number {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(frame.bytes.to_vec());
        Ok(ControlFlow::Break(()))
    })?;
    found.with_context(|| no_frame(capture, number))
}

fn no_frame(capture: &Path, number: u64) -> String {
    format!("{} has no frame {number}", capture.display())
}

/// A firewall of this process, with nothing in its tables yet.
struct Offline<'a> {
    rules: &'a RuleSet,
    compiled: &'a Compiled,
    firewall: Firewall<Model>,
}

impl<'a> Offline<'a> {
    fn new(rules: &'a RuleSet, compiled: &'a Compiled, zone: u8) -> Self {
        let model = Model::new(compiled.clone(), model::Bounds::default());
        Self { rules, compiled, firewall: Firewall::new(rules, compiled, model, zone) }
    }

    /// Replays a capture up to a frame, and explains that.
    fn captured(&mut self, capture: &Path, number: u64) -> anyhow::Result<Explanation> {
        let mut explained = None;
        replay::read(capture, |frame: Frame<'_>| {
            self.firewall.pass_time(frame.time)?;
            if frame.number == number {
                explained = Some(self.explain(frame.bytes)?);
                return Ok(ControlFlow::Break(()));
            }
            self.firewall.frame(frame.bytes)?;
            self.firewall.act()?;
            Ok(ControlFlow::Continue(()))
        })?;
        explained.with_context(|| no_frame(capture, number))
    }

    fn explain(&mut self, frame: &[u8]) -> anyhow::Result<Explanation> {
        let Self { rules, compiled, firewall } = self;
        let zone = firewall.zone_of(frame);
        let calls = EngineCalls(&firewall.engine);
        let names = Names { set: rules, slots: &compiled.slots, calls: &calls };
        let (model, now) = (&mut firewall.half, firewall.now.0);
        let policy = *model.policy();
        model.set_clock(now);
        let explained = explain(frame, model, &policy, &names, zone, now);
        let verdict = explained.verdict;
        let mut explanation = Explanation::from(explained);
        if let Some(protocol) = explanation.inspect.clone() {
            let judgement = firewall.read(frame, &verdict);
            let actions = firewall.act()?;
            explanation.steps.push(signalling(&protocol, judgement, &actions));
            if let Judgement::Drop(reason) | Judgement::Reset(reason) | Judgement::Refuse(reason) = judgement
            {
                (explanation.passes, explanation.reason) = (false, reason.name().to_owned());
            }
        }
        Ok(explanation)
    }
}

/// What reading the packet's signalling has come to.
fn signalling(protocol: &str, judgement: Judgement, actions: &[Action]) -> ExplainedStep {
    let text = match judgement {
        Judgement::Pass(_) => format!("{protocol} was read, and the packet goes on"),
        Judgement::Drop(reason) => {
            format!("{protocol} was read, and the packet is dropped: {}", reason.name())
        }
        Judgement::Reset(reason) => {
            format!("{protocol} was read, and its connection is reset: {}", reason.name())
        }
        Judgement::Refuse(reason) => {
            format!("{protocol} was read, and the message is refused: {}", reason.name())
        }
    };
    let notes = actions.iter().filter_map(|action| match action {
        Action::Open(spec) => {
            Some(format!("opens {} at {}/{}", spec.kind.name(), spec.to, spec.transport.name()))
        }
        Action::Close { to, transport, reason, .. } => {
            Some(format!("closes {to}/{}: {}", transport.name(), reason.name()))
        }
        Action::Refused { address, refusal, .. } => {
            Some(format!("opens nothing at {address}: {}", refusal.name()))
        }
        Action::Ended(call, reason) => Some(format!("ends call {}: {}", call.key, reason.name())),
        Action::Update(_) | Action::Call(_) | Action::Finished(_) => None,
        Action::Say(saying) => Some(format!("says something of its own to {}", saying.to)),
        Action::Path(_) | Action::Event(_) | Action::Suspect(_) => None,
    });
    ExplainedStep { stage: "signalling".to_owned(), text, notes: notes.collect() }
}

/// Prints an explanation for people.
fn show(explanation: &Explanation, screen: &mut Screen<'_>) -> io::Result<()> {
    const STAGE: usize = 10;
    for (place, step) in explanation.steps.iter().enumerate() {
        let ExplainedStep { stage, text, notes } = step;
        let ends = stage == "verdict" || stage == "signalling";
        let last = place + 1 == explanation.steps.len();
        let tone = match explanation.passes {
            _ if !ends => Tone::Plain,
            false if last => Tone::Bad,
            _ => Tone::Good,
        };
        screen.put(format_args!("{:STAGE$} ", printable(stage)), Tone::Head)?;
        screen.put(printable(text), tone)?;
        screen.end_line()?;
        for note in notes {
            screen.put(format_args!("{:STAGE$}   {}", "", printable(note)), Tone::Dim)?;
            screen.end_line()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
