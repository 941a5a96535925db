//! The firewall as one thing: kernel half, ALG engine, rules and journal, and what passes between them.
//!
//! One thread owns it. A packet from a tap is read, what its message asks for is written into the kernel, and
//! only then does it go on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use callgate_alg::action::{Action, EndReason, Saying, Time};
use callgate_alg::core::Bounds;
use callgate_alg::{Engine, Verdict, policy};
use callgate_api::{ErrorReply, ReloadError, ReloadReply};
use callgate_rules::ruleset::Mode;
use callgate_rules::{Compiled, Machine, RuleSet, compile, lint};
use callgate_shared::Reason;
use callgate_shared::counters::Count;
use callgate_shared::flow::FlowKey;
use callgate_shared::judge::fragment_key;
use callgate_shared::packet::{self, Packet};
use callgate_shared::pinhole::Kind;
use callgate_shared::policy::ZONE_NONE;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tracing::{debug, error, info, warn};

use crate::capture::Captures;
use crate::control::{SharedAudit, locked};
use crate::defence::Defence;
use crate::events::Events;
use crate::frame;
use crate::health::{Clocks, FlowCount};
use crate::interfaces::{Interface, Interfaces};
use crate::journal::Journal;
use crate::kernel::{self, EventRing, Kernel};
use crate::log::Lines;
use crate::machine::own_addresses;
use crate::media::Watch;
use crate::memory::{self, Memory};
use crate::meter::Meter;
use crate::paths::{Paths, Seen};
use crate::privileges;
use crate::records::Records;
use crate::reports::Ear;
use crate::rollback::Reserve;
use crate::rulesfile::{self, RulesError};
use crate::tap::VNET_HEADER;
use crate::unconfirmed::Record;

/// Silence between two looks at the kernel's pinholes.
const SWEEP: Duration = Duration::from_secs(5);
/// Announcements that open nothing and are logged in a second.
const REFUSAL_LINES_PER_SECOND: u32 = 20;

/// Everything the daemon holds.
pub struct Firewall {
    pub(crate) kernel: Kernel,
    pub(crate) engine: Engine,
    pub(crate) interfaces: Interfaces,
    pub(crate) rules: RuleSet,
    pub(crate) compiled: Compiled,
    pub(crate) rules_file: PathBuf,
    pub(crate) loaded: SystemTime,
    pub(crate) last_error: Option<ReloadError>,
    pub(crate) started: Time,
    /// Packets the ALG has refused, by interface slot and reason.
    pub(crate) refused: BTreeMap<(usize, Reason), Count>,
    /// By the rules' places, whether each is in force as they are compiled.
    pub(crate) in_force: Vec<bool>,
    pub(crate) events: Events,
    pub(crate) defence: Defence,
    pub(crate) records: Records,
    pub(crate) watch: Watch,
    pub(crate) captures: Captures,
    pub(crate) ear: Ear,
    paths: Paths,
    pub(crate) memory: Memory,
    pub(crate) journal: Journal,
    pub(crate) audit: SharedAudit,
    pub(crate) reserve: Reserve,
    pub(crate) meter: Meter,
    pub(crate) clocks: Clocks,
    pub(crate) flow_count: FlowCount,
    refusal_log: Lines,
    /// How many entries the kernel's tables can have.
    pub(crate) capacities: Vec<(&'static str, u64)>,
    /// Pinholes the kernel had no room for, until it is asked again.
    pub(crate) unopened: u64,
    /// Calls that are over, by what ended them.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    swept: Time,
}

/// What becomes of a packet read from a tap.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it is.
    Return,
    /// It does not.
    Keep,
    /// It does not, and its ends are told.
    Answer(frame::Answers),
    /// This goes on in its place, as a tap takes it.
    Instead(Vec<u8>),
}

impl Firewall {
    /// Puts the rules in force, stands on their interfaces, and takes up the calls of an earlier run. To be
    /// called within a tokio runtime, by a process of one thread: on the way it gives up what only the beginning needs
    /// ([`privileges::confine`]).
    ///
    /// # Errors
    /// A rules file that is wrong or does not fit this machine, or what the kernel refuses.
    pub fn start(rules_file: &Path, pin_dir: &Path, state_dir: &Path, audit: SharedAudit) -> Result<Self> {
        let unconfirmed = Record::read(state_dir, rules_file);
        let reserve = Reserve::new(state_dir, rules_file);
        let (rules, rules_file, last_error) = match unconfirmed {
            None => (rulesfile::read(rules_file)?, rules_file.to_owned(), None),
            Some((record, rules)) => {
                let message =
                    format!("those of {} were not confirmed before the daemon ended", record.waits.display());
                warn!(file = %record.back_to.display(), "{message}: the last confirmed rules are in force");
                locked(&audit).record_own("rollback", &message, Ok(()));
                (rules, record.back_to, Some(ReloadError { at_unix: unix(SystemTime::now()), message }))
            }
        };
        let mut interfaces = Interfaces::new(state_dir)?;
        let mut kernel = Kernel::open(pin_dir)?;
        kernel.hold()?;
        if let Err(error) = privileges::confine() {
            warn!(%error, "it cannot be confined to the system calls it needs");
        }
        let named = interfaces.named(&rules)?;
        let generation = kernel.generation().wrapping_add(1).max(1);
        let addresses = own_addresses()?;
        let machine = Machine { interfaces: &borrowed(&named), addresses: &addresses, now: Zoned::now() };
        let in_force = rules.active_at(&machine.now);
        let compiled = compile(&rules, &machine, generation, &mut kernel.slots())?;
        let (mut journal, calls, ways) = Journal::open(state_dir);
        let now = now();

        let mut engine = Engine::new(policy::media(&rules, &compiled), Bounds::default());
        engine.set_lifetimes(policy::lifetimes(rules.settings()));
        engine.set_zone(TimeZone::system());
        engine.set_plan(rules.call_policy().cloned());
        engine.set_clock(now, Timestamp::now());
        let (memory, told) = Memory::open(state_dir);
        for (what, age) in &told {
            engine.recall(what, *age, now);
        }
        if !calls.is_empty() {
            info!(calls = calls.len(), "took up the calls of an earlier run");
        }
        engine.restore(calls, now);
        for action in engine.take_actions() {
            journal.record(&action);
        }
        // Calls that were taken up stay, however small the tables have become.
        engine.set_bounds(policy::bounds(rules.settings()));

        kernel.ensure_secret()?;
        kernel.load_policy(&compiled)?;
        let defence = Defence::new(&kernel, &rules, addresses);
        let records = Records::new(rules.history());
        let capacities = kernel.capacities();
        let mut firewall = Self {
            kernel,
            engine,
            interfaces,
            rules,
            compiled,
            rules_file,
            loaded: SystemTime::now(),
            last_error,
            started: now,
            refused: BTreeMap::new(),
            in_force,
            events: Events::new(now),
            defence,
            records,
            paths: Paths::default(),
            memory,
            watch: Watch::default(),
            captures: Captures::default(),
            ear: Ear::default(),
            journal,
            audit,
            reserve,
            meter: Meter::default(),
            clocks: Clocks::new(now, SystemTime::now()),
            flow_count: FlowCount::default(),
            refusal_log: Lines::new(REFUSAL_LINES_PER_SECOND, now),
            capacities,
            unopened: 0,
            ended: BTreeMap::new(),
            swept: Time::default(),
        };
        firewall.adopt_rules();
        firewall.reopen(now);
        let Self { interfaces, kernel, rules, .. } = &mut firewall;
        interfaces.sync(kernel, &named, rules.settings().xdp)?;
        for (call, way) in ways {
            firewall.paths.resume(call, way, &firewall.interfaces.attached);
        }
        // Not before somebody reads the taps: until then signalling goes by `on_alg_down`, and is not lost.
        firewall.heartbeat();
        Ok(firewall)
    }

    /// Goes over to a rules file; the one in force stays where anything is wrong with it, and comes back after the
    /// time to `confirm` unless the new one is confirmed.
    ///
    /// # Errors
    /// What to tell whoever asked.
    pub fn reload(
        &mut self,
        file: Option<&Path>,
        confirm: Option<Duration>,
    ) -> Result<ReloadReply, ErrorReply> {
        let path = file.unwrap_or(&self.rules_file).to_owned();
        match rulesfile::read(&path).and_then(|rules| self.put_in_force(rules, &path, confirm)) {
            Ok(reply) => {
                info!(file = reply.file, generation = reply.generation, rules = reply.count, "rules loaded");
                self.last_error = None;
                Ok(reply)
            }
            Err(error) => {
                error!(%error, "rules refused, those in force are unchanged");
                self.last_error =
                    Some(ReloadError { at_unix: unix(SystemTime::now()), message: error.to_string() });
                Err(error.reply())
            }
        }
    }

    /// Puts rules in force that were read from a file.
    pub(crate) fn put_in_force(
        &mut self,
        rules: RuleSet,
        path: &Path,
        confirm: Option<Duration>,
    ) -> Result<ReloadReply, RulesError> {
        let unfit = |cause: String| RulesError::Unfit { file: path.display().to_string(), cause };
        let named = self.interfaces.named(&rules).map_err(|error| unfit(format!("{error:#}")))?;
        let generation = self.compiled.policy.generation.wrapping_add(1).max(1);
        let addresses = &self.defence.addresses;
        let machine = Machine { interfaces: &borrowed(&named), addresses, now: Zoned::now() };
        let in_force = rules.active_at(&machine.now);
        let compiled = compile(&rules, &machine, generation, &mut self.kernel.slots())
            .map_err(|error| unfit(error.to_string()))?;
        let remembered = match confirm {
            Some(_) => self.reserve.prepare(path, (&self.rules, &self.rules_file)),
            None => Ok(()),
        };
        if let Err(error) = self.kernel.load_policy(&compiled) {
            self.reserve.forsake();
            return Err(unfit(error.to_string()));
        }
        let synced = self.interfaces.sync(&mut self.kernel, &named, rules.settings().xdp);
        self.engine.set_policy(policy::media(&rules, &compiled));
        self.engine.set_lifetimes(policy::lifetimes(rules.settings()));
        self.engine.set_bounds(policy::bounds(rules.settings()));
        self.engine.set_plan(rules.call_policy().cloned());
        let warnings = lint(&rules, &compiled);
        let mut reply = ReloadReply {
            file: path.display().to_string(),
            generation,
            count: u32::try_from(rules.rules().len()).unwrap_or(u32::MAX),
            warnings: warnings.iter().map(|warning| warning.to_string()).collect(),
            confirm_s: confirm.map(|time| time.as_secs()),
        };
        if let Err(error) = remembered {
            let text = format!("a daemon that dies before they are confirmed leaves them in force: {error}");
            warn!("{text}");
            reply.warnings.push(text);
        }
        if rules.settings().xdp != self.rules.settings().xdp {
            reply
                .warnings
                .push("`xdp` has changed: it takes effect when the daemon is started again".to_owned());
        }
        // The rules are in force by now; an interface that could not be attached is said aloud, not undone.
        if let Err(error) = synced {
            warn!(error = format!("{error:#}"), "an interface is not attached");
            reply.warnings.push(format!("{error:#}"));
        }
        self.records.adopt(rules.history());
        let before = std::mem::replace(&mut self.rules, rules);
        let file = std::mem::replace(&mut self.rules_file, path.to_owned());
        self.reserve.keep(before, file, Self::confirm_by(confirm));
        (self.compiled, self.in_force) = (compiled, in_force);
        self.adopt_rules();
        self.loaded = SystemTime::now();
        Ok(reply)
    }

    /// Reads a packet that one of an interface's taps has handed over, `virtio_net_hdr` first, and does what its message
    /// asks for.
    pub fn inspect(&mut self, interface: &Rc<Interface>, direction: usize, packet_bytes: &[u8]) -> Outcome {
        let Some((vnet, bytes)) = packet_bytes.split_at_checked(VNET_HEADER) else { return Outcome::Keep };
        let Ok(packet) = packet::parse(&bytes) else { return Outcome::Keep };
        // Calls that were told of by something else than this packet.
        drop(self.engine.take_heard());
        let verdict = self.read(vnet, bytes, &packet);
        let seen = Seen { interface, direction, frame: bytes, packet: &packet };
        self.captures.signal(bytes, &packet, self.engine.take_heard(), SystemTime::now());
        self.carry_out(self.rules.zone_of(&interface.name), Some(&seen));
        let observe = self.rules.settings().mode == Mode::Observe;
        let Some(reason) = verdict.reason() else {
            return match verdict {
                _ if observe => Outcome::Keep,
                Verdict::Absorb => Outcome::Keep,
                Verdict::Replace(replacement) => {
                    let frame = frame::patched(vnet, bytes, &packet, &replacement.patches);
                    frame.map_or(Outcome::Keep, Outcome::Instead)
                }
                _ => Outcome::Return,
            };
        };
        let count = self.refused.entry((interface.slot, reason)).or_default();
        count.packets += 1;
        count.bytes += u64::from(packet.length);
        debug!(
            interface = interface.name, reason = reason.name(),
            from = %packet.source, to = %packet.destination, port = packet.destination_port, "refused"
        );
        let answers = match verdict {
            Verdict::Reset(_) if !observe => frame::resets(bytes, &packet),
            Verdict::Refuse(denial) if !observe => frame::refusal(bytes, &packet, &denial),
            _ => None,
        };
        answers.map_or(Outcome::Keep, Outcome::Answer)
    }

    fn read(&mut self, vnet: &[u8], bytes: &[u8], packet: &Packet) -> Verdict {
        let (protocol, slot) = match self.flow_of(packet) {
            Some(found) => found,
            // The flow was evicted between the judge and here: nobody knows any more what this is.
            None => return Verdict::Drop(Reason::AlgMemory),
        };
        // A header that says "checksum not needed" or "known good" speaks of packets of this machine or of a
        // NIC that has checked; any other must be right, or the far end would not read what the ALG reads.
        let unchecked = vnet.first() == Some(&frame::UNCHECKED);
        if unchecked && !frame::checksum_is_right(bytes, packet) {
            return Verdict::Drop(Reason::AlgChecksum);
        }
        self.engine.packet(now(), bytes, packet, protocol, slot)
    }

    fn flow_of(&self, packet: &Packet) -> Option<(callgate_shared::policy::Inspect, u32)> {
        if packet.fragment == packet::Fragment::Later {
            return Some((self.kernel.inspected_fragment(&fragment_key(packet))?, 0));
        }
        let (key, _) = FlowKey::of(
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
            packet.protocol,
        );
        self.kernel.inspected(&key)
    }

    /// Carries out what the engine wants, before the packet that caused it, from this zone, goes on.
    fn carry_out(&mut self, zone: u8, seen: Option<&Seen<'_>>) {
        let now = now();
        for action in self.engine.take_actions() {
            self.journal.record(&action);
            let done = match &action {
                Action::Open(spec) | Action::Update(spec) => {
                    debug!(to = %spec.to, kind = spec.kind.name(), call = spec.call.0, "pinhole");
                    let opened = self.kernel.open_pinhole(spec, now, self.rules.settings().call_max);
                    self.unopened += u64::from(opened.is_err());
                    opened
                }
                Action::Close { to, transport, call, reason } => {
                    debug!(%to, reason = reason.name(), "pinhole closed");
                    self.kernel.close_pinhole(*to, *transport).map(|closed| {
                        if let Some(pinhole) = closed {
                            if self.records.are_kept() {
                                self.records.closed(*call, &pinhole);
                            }
                            self.watch.closed(pinhole);
                        }
                    })
                }
                Action::Call(call) => {
                    debug!(call = call.id.0, key = call.key, state = ?call.state, "call");
                    Ok(())
                }
                Action::Ended(call, reason) => {
                    self.records.forget(call.id);
                    self.paths.leave(call.id, *reason == EndReason::Limit, now);
                    self.media_over(call, now);
                    *self.ended.entry(reason.name()).or_default() += 1;
                    debug!(
                        call = call.id.0,
                        key = call.key,
                        caller = call.parties[0],
                        callee = call.parties[1],
                        reason = reason.name(),
                        "call ended"
                    );
                    Ok(())
                }
                Action::Finished(call) => {
                    let rule = rule_name(&self.rules, &self.compiled, call.slot);
                    let round_trip = self.round_trip(call);
                    self.records.finished(call, rule, (now, SystemTime::now()), round_trip);
                    Ok(())
                }
                Action::Path(call) => {
                    if let Some(way) = seen.and_then(|seen| self.paths.learn(*call, seen)) {
                        self.journal.way(*call, way);
                    }
                    Ok(())
                }
                Action::Say(saying) => {
                    self.say(saying);
                    Ok(())
                }
                Action::Event(event) => {
                    self.events.record(event.clone());
                    Ok(())
                }
                Action::Suspect(suspect) => {
                    self.suspected(suspect, zone, now);
                    Ok(())
                }
                Action::Refused { address, call, refusal } => {
                    // Whoever announces by the thousand fills no disk: the counters have them all.
                    let (admitted, left_out) = self.refusal_log.admit(now);
                    if left_out > 0 {
                        warn!(left_out, "more announcements open nothing than are logged in a second");
                    }
                    if admitted {
                        warn!(%address, call = call.0, reason = refusal.name(), "announcement opens nothing");
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                error!(%error, "cannot change the kernel's pinholes");
            }
        }
        self.watch.settle();
    }

    /// Says something of the firewall's own, where it holds what it reads.
    fn say(&self, saying: &Saying) {
        if self.rules.settings().mode == Mode::Observe {
            return;
        }
        let said = match self.paths.frame(saying) {
            Some((tap, frame)) => tap.write(&frame).map_err(|error| error.to_string()),
            None => Err("no packet of it has shown the way".to_owned()),
        };
        match said {
            Ok(()) => debug!(call = saying.call.0, to = %saying.to, "told that the call is over"),
            Err(error) => {
                debug!(call = saying.call.0, to = %saying.to, error, "cannot tell that the call is over")
            }
        }
    }

    /// Tells the kernel half that the daemon is alive. To be called every 100 ms.
    pub fn heartbeat(&mut self) {
        if let Err(error) = self.kernel.heartbeat(now()) {
            error!(%error, "no heartbeat");
        }
    }

    /// The daemon is about to stop: from now on the kernel half follows `on_alg_down`, without waiting for the
    /// heartbeat to grow stale.
    pub fn rest(&mut self) {
        if let Err(error) = self.kernel.heartbeat(Time::default()) {
            warn!(%error, "cannot take the heartbeat back");
        }
        self.records.close();
        self.memory.keep(self.engine.remember(usize::MAX, now()));
        self.memory.close();
    }

    /// Time passes. To be called about every second.
    pub fn tick(&mut self) {
        let now = now();
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now);
        }
        if let Err(error) = self.kernel.look_for_fast_paths(now) {
            warn!(%error, "cannot change where media is forwarded past the stack");
        }
        self.engine.set_clock(now, Timestamp::now());
        self.engine.tick(now);
        self.memory.keep(self.engine.remember(memory::MOST, now));
        self.paths.tick(now);
        self.carry_out(ZONE_NONE, None);
        self.tune_captures(now);
        self.hear_reports(now);
        self.defend(now);
        self.look_at_clock(now);
        let Self { interfaces, kernel, rules, .. } = self;
        interfaces.follow(kernel, rules);
        self.roll_back_if_due(now);
        if self.meter.is_due(now) {
            let rows = self.counter_rows().rows;
            self.meter.sample(now, &rows);
        }
    }

    /// Learns from the kernel which streams are alive and who hears nothing, and clears away pinholes that are over
    /// and belong to no call any more.
    fn sweep(&mut self, now: Time) {
        let (mut over, mut heard) = (Vec::new(), HashMap::new());
        let listens = !self.rules.settings().audio_alarm.is_zero();
        for pinhole in self.kernel.pinholes() {
            if listens && matches!(pinhole.kind, Some(Kind::Rtp | Kind::RtcpMux)) {
                heard.insert(pinhole.to, pinhole.last_seen);
            }
            if pinhole.packets > 0 {
                self.engine.touch(pinhole.to, pinhole.transport, pinhole.last_seen);
            }
            if pinhole.is_over(now) && self.engine.call(pinhole.call).is_none() {
                over.push((pinhole.to, pinhole.transport));
            }
        }
        for (to, transport) in over {
            if let Err(error) = self.kernel.close_pinhole(to, transport) {
                warn!(%error, "cannot clear a pinhole away");
            }
        }
        self.listen(&heard, now);
        if self.unopened > 0 {
            self.reopen(now);
        }
        self.journal.make_good(self.engine.calls());
    }

    /// Opens the pinholes of calls that were taken up, where the kernel does not have them any more.
    fn reopen(&mut self, now: Time) {
        let present: HashSet<_> =
            self.kernel.pinholes().map(|pinhole| (pinhole.to, pinhole.transport)).collect();
        let life = self.rules.settings().call_max;
        self.unopened = 0;
        let mut last = None;
        for spec in self.engine.pinholes() {
            if !present.contains(&(spec.to, spec.transport)) {
                let opened = self.kernel.open_pinhole(&spec, now, life);
                self.unopened += u64::from(opened.is_err());
                last = opened.err().or(last);
            }
        }
        if let Some(error) = last {
            warn!(%error, pinholes = self.unopened, "cannot open pinholes again");
        }
    }

    /// Ends calls because an operator wants it.
    pub(crate) fn end_calls(&mut self, calls: &[callgate_alg::CallId]) {
        for call in calls {
            self.engine.end_call(*call, EndReason::Operator);
        }
        self.carry_out(ZONE_NONE, None);
    }

    /// The rules in force.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The interfaces it stands on.
    pub fn attached(&self) -> &[Rc<Interface>] {
        &self.interfaces.attached
    }

    /// The ring of sampled packets: see [`Self::sampled`].
    ///
    /// # Errors
    /// The map cannot be opened.
    pub fn events(&self) -> Result<EventRing, kernel::Error> {
        self.kernel.events()
    }

    /// A rule's name by its counter slot.
    pub(crate) fn rule_name(&self, slot: u32) -> Option<&str> {
        rule_name(&self.rules, &self.compiled, slot)
    }

    /// The interface of a slot, if Callgate stands on one.
    pub(crate) fn interface_name(&self, slot: usize) -> Option<&str> {
        let found = self.interfaces.attached.iter().find(|interface| interface.slot == slot);
        found.map(|interface| interface.name.as_str())
    }
}

/// The kernel's monotonic clock.
pub fn now() -> Time {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live `timespec`; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Time(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// The name of the rule of a counter slot.
fn rule_name<'r>(rules: &'r RuleSet, compiled: &Compiled, slot: u32) -> Option<&'r str> {
    let place = compiled.slots.iter().position(|known| *known == slot)?;
    rules.rules().get(place).map(|rule| rule.name.as_str())
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn borrowed(named: &[(usize, String)]) -> Vec<(usize, &str)> {
    named.iter().map(|(slot, name)| (*slot, name.as_str())).collect()
}
