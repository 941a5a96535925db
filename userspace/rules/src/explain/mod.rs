//! A packet's way through the filter, step by step, for people.
//!
//! The judge that decides here is the one of the kernel half: its tables are wrapped, so that every question it asks
//! is noted with the answer it got, and the notes are put into words. What order things are asked in is therefore
//! never said twice, and cannot come to differ.
//!
//! Judging changes the tables as it does in the live filter; whoever explains a packet to a running firewall hands
//! over tables whose changes are lost.

mod recorder;
mod words;

use std::net::SocketAddr;

use callgate_shared::Reason;
use callgate_shared::judge::{
    Recognised, Stranger, Verdict, admit_media, begin, charge, recognise, recognise_flow, remember,
};
use callgate_shared::packet::{self, Kind, Packet};
use callgate_shared::policy::{NO_SLOT, Policy};

use crate::diagnostic::Position;
use crate::ruleset::{Rule, RuleSet};
use crate::service::{self, Service};

pub use recorder::Peek;
use recorder::{Look, Recorder};

/// What of the filter a step is about; its `name` is shown to people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading the frame's headers.
    Parse,
    /// What no honest stack sends, and what no rule may refuse.
    Sanity,
    /// Blocked addresses.
    Blocks,
    /// Whether the source can be in the zone.
    Source,
    /// Fragments.
    Fragment,
    /// Streams that calls have announced.
    Pinhole,
    /// Known conversations.
    Flow,
    /// Packets that ICMP errors speak of.
    Related,
    /// The rules.
    Rules,
    /// A rule's limit.
    Limit,
    /// What protects the table of flows.
    Budget,
    /// What is remembered of the packet.
    Memory,
    /// The end.
    Verdict,
}

impl Stage {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Sanity => "sanity",
            Self::Blocks => "blocks",
            Self::Source => "source",
            Self::Fragment => "fragment",
            Self::Pinhole => "pinhole",
            Self::Flow => "flow",
            Self::Related => "related",
            Self::Rules => "rules",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::Memory => "memory",
            Self::Verdict => "verdict",
        }
    }
}

/// One step of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub stage: Stage,
    /// What was found, in one line.
    pub text: String,
    /// More of it, a line each.
    pub notes: Vec<String>,
}

impl Step {
    /// A step of one line.
    pub fn new(stage: Stage, text: impl Into<String>) -> Self {
        Self { stage, text: text.into(), notes: Vec::new() }
    }

    fn with(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}

/// A packet's way through the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The steps, in order; the last is the verdict.
    pub steps: Vec<Step>,
    /// What became of it.
    pub verdict: Verdict,
    /// The rule that decided, or that had admitted its flow.
    pub rule: Option<RulePlace>,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlace {
    /// Its name.
    pub name: String,
    /// The file it is in.
    pub file: String,
    /// Where in the file.
    pub position: Position,
    /// Its text, as the file has it, a line each.
    pub text: Vec<String>,
}

/// Who knows the calls that pinholes belong to.
pub trait Calls {
    /// What is known of a call by its number: protocol, identifier, parties.
    fn call(&self, number: u64) -> Option<String>;
    /// The number of the call that has a pinhole here (an IP protocol number, and where the stream is received).
    fn pinhole(&self, protocol: u8, to: SocketAddr) -> Option<u64>;
}

/// No calls.
impl Calls for () {
    fn call(&self, _number: u64) -> Option<String> {
        None
    }

    fn pinhole(&self, _protocol: u8, _to: SocketAddr) -> Option<u64> {
        None
    }
}

/// What names things: the rules that were compiled, and the calls.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The rules in force.
    pub set: &'a RuleSet,
    /// Their counter slots: [`crate::Compiled::slots`].
    pub slots: &'a [u32],
    /// The calls.
    pub calls: &'a dyn Calls,
}

impl<'a> Names<'a> {
    fn rule(&self, slot: u32) -> Option<&'a Rule> {
        if slot == NO_SLOT {
            return None;
        }
        self.set.rules().get(self.slots.iter().position(|known| *known == slot)?)
    }

    fn place(&self, slot: u32) -> Option<RulePlace> {
        self.rule(slot).map(|rule| RulePlace::of(self.set, rule))
    }

    fn zone(&self, zone: u8) -> &'a str {
        self.set.zone_name(zone).unwrap_or("none")
    }
}

/// Judges a frame that came from `zone` at monotonic time `now` (ns), and tells how it was judged.
pub fn explain<T: Peek>(
    frame: &[u8],
    tables: &mut T,
    policy: &Policy,
    names: &Names<'_>,
    zone: u8,
    now: u64,
) -> Explanation {
    let (mut steps, verdict) = match packet::parse(&frame) {
        Err(reason) => {
            let text = format!("{} bytes that cannot be read as a packet: {}", frame.len(), reason.name());
            (vec![Step::new(Stage::Parse, text)], Verdict::of(reason))
        }
        Ok(packet) => {
            let mut recorder = Recorder::new(tables);
            let verdict = judged(&mut recorder, policy, &packet, zone, now);
            (steps(&packet, policy, names, zone, now, verdict, &recorder.seen()), verdict)
        }
    };
    let rule = names.place(verdict.slot);
    steps.push(words::verdict(&verdict, rule.as_ref()));
    Explanation { steps, verdict, rule }
}

/// [`callgate_shared::judge::judge`], noting which of its steps were taken.
fn judged<T: Peek>(
    recorder: &mut Recorder<'_, T>,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    now: u64,
) -> Verdict {
    let mut stranger = Stranger::default();
    let mut recognised = recognise(recorder, policy, packet, zone, now, &mut stranger);
    if recognised == Recognised::Media {
        recognised = match admit_media(recorder, packet, now) {
            Some(verdict) => Recognised::Known(verdict),
            None => recognise_flow(recorder, policy, packet, zone, now, &mut stranger),
        };
    }
    let verdict = match recognised {
        Recognised::Known(verdict) => verdict,
        Recognised::Limited(verdict) => {
            recorder.note(Look::Charge);
            charge(recorder, policy, packet, zone, verdict)
        }
        Recognised::Stranger | Recognised::Media => {
            recorder.note(Look::Begin);
            begin(recorder, policy, packet, &stranger)
        }
    };
    remember(recorder, packet, verdict);
    verdict
}

fn steps(
    packet: &Packet,
    policy: &Policy,
    names: &Names<'_>,
    zone: u8,
    now: u64,
    verdict: Verdict,
    seen: &[Look],
) -> Vec<Step> {
    let speaker = words::Speaker { packet, policy, names, zone, now, verdict };
    let mut steps = vec![
        Step::new(Stage::Parse, words::packet(packet)).with([format!("from zone {}", names.zone(zone))]),
    ];
    steps.push(speaker.sanity());
    if packet.kind == Kind::Ip {
        let mut rest = seen;
        while let [_, ..] = rest {
            let (step, used) = speaker.step(seen, seen.len() - rest.len());
            steps.extend(step);
            rest = rest.get(used.max(1)..).unwrap_or_default();
        }
    }
    if verdict.reason == Reason::NoPinhole && steps.iter().all(|step| step.stage != Stage::Rules) {
        let text = "no rule matches, and media that no call has announced passes by no default";
        let why = "no rule in force is for UDP to the ports of media: none was asked";
        steps.push(Step::new(Stage::Rules, text.to_owned()).with([why.to_owned()]));
    }
    steps
}

impl RulePlace {
    /// Where a rule of this set stands.
    pub fn of(set: &RuleSet, rule: &Rule) -> Self {
        let source = set.sources.get(rule.place.file);
        Self {
            name: rule.name.clone(),
            file: set.file_of(rule).to_owned(),
            position: rule.position,
            text: source.map(|source| table_around(source.text(), rule.position.line)).unwrap_or_default(),
        }
    }
}

/// The services a word of the rules language stands for, such as `tcp/2000`, `icmp/echo-request` or `sip`.
///
/// # Errors
/// What is wrong with the word.
pub fn services(word: &str) -> Result<Vec<Service>, String> {
    service::services(word).map_err(|error| match error.suggestion {
        Some(suggestion) => format!("{}; {suggestion}", error.message),
        None => error.message,
    })
}

/// Most lines of a rule that are shown.
const SHOWN: usize = 40;

/// The `[[rule]]` table that has something on this line (from 1), without the comments and blank lines behind it.
fn table_around(text: &str, line: u32) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at = (line as usize).saturating_sub(1);
    let is_head = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("[[") || (line.starts_with('[') && line[1..].starts_with(char::is_alphabetic))
    };
    let begin = (0..=at).rev().find(|at| lines.get(*at).is_some_and(is_head)).unwrap_or(at);
    let end = (begin + 1..lines.len()).find(|at| is_head(&lines[*at])).unwrap_or(lines.len());
    let body = lines.get(begin..end).unwrap_or_default();
    let blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let kept = body.len() - body.iter().rev().take_while(|line| blank(line)).count();
    body[..kept].iter().take(SHOWN).map(|line| (*line).to_owned()).collect()
}

/// The reasons of [`Stage::Sanity`].
const INSANE: [Reason; 4] = [Reason::Land, Reason::BadSource, Reason::ZeroPort, Reason::TcpFlags];

#[cfg(test)]
mod tests;
