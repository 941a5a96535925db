//! What a replay prints: an object per line for programs, tables for people.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use callgate_alg::action::{EndReason, PinholeSpec, Suspect};
use callgate_alg::call::{Medium, Stream};
use callgate_alg::media::Refusal;
use callgate_alg::{Action, Call, CallId, Time, Transport};
use callgate_api::MediaRow;
use callgate_api::media::Aside;
use callgate_shared::media::Measures;
use callgate_shared::pinhole::Kind;
use callgate_shared::policy::Inspect;
use serde::Serialize;

use super::Judgement;
use crate::screen::{Screen, Tone, number};
use crate::table::{Cell, Table, address, count, spare, text};

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    PinholeOpen(Opening<'a>),
    /// Its senders or its kind have changed.
    PinholeUpdate(Opening<'a>),
    PinholeClose {
        frame: u64,
        to: SocketAddr,
        transport: &'static str,
        reason: &'static str,
        call: &'a str,
    },
    /// A registered contact, where its registrar may call it from now on.
    ContactOpen(Opening<'a>),
    ContactClose {
        frame: u64,
        to: SocketAddr,
        transport: &'static str,
        reason: &'static str,
        call: &'a str,
    },
    /// Somebody guesses, and would be weighed for a block.
    Suspect {
        frame: u64,
        source: IpAddr,
        proven: bool,
        text: &'a str,
    },
    /// An announcement that opened nothing.
    Refused {
        frame: u64,
        address: SocketAddr,
        reason: &'static str,
        call: &'a str,
    },
    /// What a pinhole has measured, when it closes, or when the capture ends.
    Media(Box<Media<'a>>),
    Verdict {
        frame: u64,
        verdict: &'static str,
        reason: &'static str,
        rule: Option<&'a str>,
    },
    Summary(Summary),
}

#[derive(Debug, Serialize)]
struct Opening<'a> {
    frame: u64,
    protocol: &'static str,
    kind: &'static str,
    transport: &'static str,
    /// Who may send: an address, with a port where it is known; several are separated by commas.
    from: String,
    to: SocketAddr,
    call: &'a str,
}

#[derive(Debug, Serialize)]
struct Media<'a> {
    frame: u64,
    to: SocketAddr,
    medium: Medium,
    codec: &'a str,
    #[serde(flatten)]
    figures: MediaRow,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    frames: u64,
    passed: u64,
    dropped: u64,
    calls: u64,
    pinholes: u64,
}

/// A pinhole's life, for people.
#[derive(Debug)]
struct Life {
    opened: u64,
    closed: Option<(u64, EndReason)>,
    spec: PinholeSpec,
    call: String,
}

/// Gathers what happens and prints it.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    json: bool,
    verbose: bool,
    rules: HashMap<u32, String>,
    calls: HashMap<CallId, Name>,
    /// By where they are received: what streams are, or were.
    streams: HashMap<SocketAddr, Stream>,
    summary: Summary,
    /// For people: every pinhole there was, and where in this list the open ones are.
    lives: Vec<Life>,
    open: HashMap<(SocketAddr, Transport), usize>,
    /// Registered contacts that are open: no call has announced them.
    contacts: HashSet<(SocketAddr, Transport)>,
    /// For people: how often, and in which frame first.
    refusals: BTreeMap<Refusal, (u64, u64)>,
    drops: BTreeMap<&'static str, (u64, u64)>,
}

/// What a call is called in the protocol that signals it.
#[derive(Debug)]
struct Name {
    protocol: &'static str,
    key: String,
}

impl<'a> Report<'a> {
    /// `rules` are the names of the rules by counter slot.
    pub(super) fn new(
        out: &'a mut dyn Write,
        json: bool,
        verbose: bool,
        rules: HashMap<u32, String>,
    ) -> Self {
        Self {
            out,
            json,
            verbose,
            rules,
            calls: HashMap::new(),
            streams: HashMap::new(),
            summary: Summary::default(),
            lives: Vec::new(),
            open: HashMap::new(),
            contacts: HashSet::new(),
            refusals: BTreeMap::new(),
            drops: BTreeMap::new(),
        }
    }

    /// What the engine has done at this frame.
    pub(super) fn actions(&mut self, frame: u64, actions: &[Action]) -> io::Result<()> {
        self.learn(actions);
        for action in actions {
            self.action(frame, action)?;
        }
        self.forget(actions);
        Ok(())
    }

    /// Learns the names of calls; to be called before the actions that speak of them.
    fn learn(&mut self, actions: &[Action]) {
        for action in actions {
            let (Action::Call(call) | Action::Ended(call, _)) = action else { continue };
            for stream in call.streams.values() {
                let places = stream.ends.iter().filter_map(|end| end.media);
                self.streams.extend(places.map(|to| (to, stream.clone())));
            }
            let summary = &mut self.summary;
            self.calls.entry(call.id).or_insert_with(|| {
                summary.calls += u64::from(!callgate_alg::sip::is_binding(call));
                Name { protocol: protocol(call), key: call.key.clone() }
            });
        }
    }

    /// Forgets calls that are over.
    fn forget(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::Ended(call, _) = action {
                self.calls.remove(&call.id);
            }
        }
    }

    fn action(&mut self, frame: u64, action: &Action) -> io::Result<()> {
        match action {
            Action::Open(spec) => {
                if spec.kind == Kind::Sip {
                    self.contacts.insert((spec.to, spec.transport));
                } else {
                    self.summary.pinholes += 1;
                }
                if self.json {
                    return self.opening(frame, spec, true);
                }
                self.open.insert((spec.to, spec.transport), self.lives.len());
                let call = key(&self.calls, spec.call).to_owned();
                self.lives.push(Life { opened: frame, closed: None, spec: spec.clone(), call });
            }
            Action::Update(spec) if self.json && self.verbose => {
                return self.opening(frame, spec, false);
            }
            Action::Update(spec) => {
                let place = self.open.get(&(spec.to, spec.transport));
                if let Some(life) = place.and_then(|place| self.lives.get_mut(*place)) {
                    life.spec = spec.clone();
                }
            }
            Action::Close { to, transport: place, call, reason } => {
                if self.json {
                    let (transport, reason) = (place.name(), reason.name());
                    let call = key(&self.calls, *call);
                    let event = if self.contacts.remove(&(*to, *place)) {
                        Event::ContactClose { frame, to: *to, transport, reason, call }
                    } else {
                        Event::PinholeClose { frame, to: *to, transport, reason, call }
                    };
                    return print(self.out, &event);
                }
                let place = self.open.remove(&(*to, *place));
                if let Some(life) = place.and_then(|place| self.lives.get_mut(place)) {
                    life.closed = Some((frame, *reason));
                }
            }
            Action::Refused { address, call, refusal } => {
                self.refusals.entry(*refusal).or_insert((0, frame)).0 += 1;
                if self.json && self.verbose {
                    let call = key(&self.calls, *call);
                    let event = Event::Refused { frame, address: *address, reason: refusal.name(), call };
                    return print(self.out, &event);
                }
            }
            Action::Suspect(suspect) if self.json => {
                let Suspect { source, proven, text, .. } = suspect;
                return print(self.out, &Event::Suspect { frame, source: *source, proven: *proven, text });
            }
            Action::Call(_) | Action::Ended(..) | Action::Finished(_) => {}
            Action::Path(_) | Action::Say(_) | Action::Event(_) | Action::Suspect(_) => {}
        }
        Ok(())
    }

    /// What pinholes have measured, for programs.
    pub(super) fn media(&mut self, frame: u64, all: &[(SocketAddr, Measures)], now: Time) -> io::Result<()> {
        for (to, measures) in all.iter().filter(|(_, measures)| self.json && measures.packets > 0) {
            let Some(stream) = self.streams.get(to) else { continue };
            let figures = MediaRow::new(measures, stream, Aside::default(), now);
            let media = Media { frame, to: *to, medium: stream.medium, codec: &stream.codec, figures };
            print(self.out, &Event::Media(Box::new(media)))?;
        }
        Ok(())
    }

    pub(super) fn verdict(&mut self, frame: u64, judgement: Judgement, slot: u32) -> io::Result<()> {
        self.summary.frames += 1;
        let (verdict, reason, passed) = match judgement {
            Judgement::Pass(reason) => ("pass", reason.name(), true),
            Judgement::Drop(reason) => ("drop", reason.name(), false),
            Judgement::Reset(reason) => ("reset", reason.name(), false),
            Judgement::Refuse(reason) => ("refuse", reason.name(), false),
        };
        if passed {
            self.summary.passed += 1;
        } else {
            self.summary.dropped += 1;
            self.drops.entry(reason).or_insert((0, frame)).0 += 1;
        }
        if passed && !self.verbose {
            return Ok(());
        }
        let rule = self.rules.get(&slot).map(String::as_str);
        if self.json {
            return print(self.out, &Event::Verdict { frame, verdict, reason, rule });
        }
        if self.verbose {
            let by = rule.map(|rule| format!(" ({rule})")).unwrap_or_default();
            writeln!(self.out, "frame {frame}: {verdict}, {reason}{by}")?;
        }
        Ok(())
    }

    /// Prints the summary and, for people, the tables.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.json {
            return print(self.out, &Event::Summary(self.summary));
        }
        let mut screen = Screen::of_stdout(self.out);
        if self.verbose {
            screen.end_line()?;
        }
        let mut pinholes = Table::new([
            count("OPENED"),
            count("CLOSED"),
            text("WHY"),
            text("KIND"),
            address("FROM", 15),
            address("TO", 21),
            spare("CALL", 8),
        ]);
        for life in &self.lives {
            let (closed, why) = match life.closed {
                Some((frame, reason)) => (number(frame), reason.name()),
                None => ("-".to_owned(), "still open"),
            };
            pinholes.row([
                number(life.opened).into(),
                closed.into(),
                why.into(),
                life.spec.kind.name().into(),
                senders(&life.spec).into(),
                format!("{}/{}", life.spec.to, life.spec.transport.name()).into(),
                (&life.call).into(),
            ]);
        }
        if !self.lives.is_empty() {
            pinholes.print(&mut screen)?;
            screen.end_line()?;
        }
        let refusals = self.refusals.iter().map(|(refusal, times)| ("refused", refusal.name(), *times));
        let drops = self.drops.iter().map(|(reason, times)| ("dropped", *reason, *times));
        let mut troubles = Table::new([text(""), text("REASON"), count("TIMES"), count("FIRST FRAME")]);
        for (what, reason, (times, first)) in refusals.chain(drops) {
            let what = Cell::new(what, Tone::Bad);
            troubles.row([what, reason.into(), number(times).into(), number(first).into()]);
        }
        if !self.refusals.is_empty() || !self.drops.is_empty() {
            troubles.print(&mut screen)?;
            screen.end_line()?;
        }
        let Summary { frames, passed, dropped, calls, pinholes } = self.summary;
        let [frames, passed, dropped] = [frames, passed, dropped].map(number);
        let line = format!(
            "{frames} frames: {passed} passed, {dropped} dropped; {} calls, {} pinholes",
            number(calls),
            number(pinholes)
        );
        screen.put(line, Tone::Plain)?;
        screen.end_line()
    }

    fn opening(&mut self, frame: u64, spec: &PinholeSpec, opened: bool) -> io::Result<()> {
        let name = self.calls.get(&spec.call);
        let opening = Opening {
            frame,
            protocol: name.map_or("", |name| name.protocol),
            kind: spec.kind.name(),
            transport: spec.transport.name(),
            from: senders(spec),
            to: spec.to,
            call: name.map_or("", |name| &name.key),
        };
        let event = match (opened, spec.kind) {
            (true, Kind::Sip) => Event::ContactOpen(opening),
            (true, _) => Event::PinholeOpen(opening),
            (false, _) => Event::PinholeUpdate(opening),
        };
        print(self.out, &event)
    }
}

/// A call's identifier; empty for one that was never told.
fn key(calls: &HashMap<CallId, Name>, id: CallId) -> &str {
    calls.get(&id).map_or("", |name| &name.key)
}

fn print(out: &mut dyn Write, event: &Event<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    writeln!(out)
}

fn senders(spec: &PinholeSpec) -> String {
    let names: Vec<String> = spec
        .senders
        .iter()
        .map(|sender| match sender.port {
            Some(port) => SocketAddr::new(sender.ip, port).to_string(),
            None => sender.ip.to_string(),
        })
        .collect();
    names.join(",")
}

/// The family of protocols a call belongs to.
fn protocol(call: &Call) -> &'static str {
    match call.protocol {
        Inspect::H225 | Inspect::H245 | Inspect::Ras => "h323",
        other => other.name(),
    }
}
