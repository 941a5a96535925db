//! H.323: call signalling, H.245 and RAS messages → calls and media streams.
//!
//! Owns which message belongs to which call. A call is one leg: a caller, a callee, and the connection between
//! them; through a gatekeeper it has two legs, which are two calls with one identifier. It is found by its
//! callIdentifier between the same two addresses, or by its call reference on its connection. Several calls may
//! share a connection, and a call outlives its connection once it is answered (H.323 8.5).
//!
//! An H.245 connection belongs to the call that announced the address it was made to. What is announced is
//! authorised by [`Core`]; a message that cannot be read is dropped, for the far end might read it differently.
//!
//! RAS says who is registered, and where calls are to be made; what the rules file says of all this is put to each
//! message before anything else. A call that it refuses ends in the protocol's own words.
//!
//! Left to others: TCP streams and TPKT frames ([`crate::streams`]), pinholes ([`crate::pinholes`]).

mod channels;
mod leg;
mod parties;
mod policy;
mod ras;
mod released;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use callgate_protocols::h225::{self, Body, FacilityReason, Guid};
use callgate_protocols::h245::{self, OpenLogicalChannel};
use callgate_protocols::q931::{self, MessageType};
use callgate_rules::UnknownMessage;
use callgate_rules::inspect::h323::{StateCheck, Tunnelling};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{Call, CallId, Medium, Party, State};
use crate::core::Core;
use crate::event::{Event, EventKind};
use crate::finished::Cause;
use crate::ladder::Step;
use crate::media::Refusal;
use leg::Leg;
pub use parties::Details;
use policy::Why;
pub(crate) use ras::registrations::MAX_REGISTRATIONS;
pub use ras::registrations::Registration;

/// Most channels or tunnelled messages read of one message.
const MAX_PARTS: usize = 64;
/// Most calls that may have announced the same H.245 address.
const MAX_LISTENERS: usize = 16;
/// Features of H.460: traversal of NATs and firewalls by signalling, and by media.
const H460_18: u8 = 18;
const H460_19: u8 = 19;

/// The H.323 tracker.
#[derive(Debug, Default)]
pub struct Tracker {
    legs: HashMap<CallId, Leg>,
    by_guid: HashMap<(Guid, IpAddr, IpAddr), CallId>,
    by_reference: HashMap<(SocketAddr, SocketAddr, u16), CallId>,
    /// Calls of each signalling connection.
    connections: HashMap<Connection, Vec<CallId>>,
    /// Call of each H.245 connection.
    controls: HashMap<Connection, CallId>,
    /// Who has announced an address for H.245.
    listeners: HashMap<SocketAddr, Vec<(CallId, Party)>>,
    load: policy::Load,
    released: released::Released,
    requests: ras::Requests,
    registrations: ras::registrations::Registrations,
    admissions: ras::admissions::Admissions,
}

/// A TCP connection, whichever way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Connection(SocketAddr, SocketAddr);

impl Connection {
    fn new(a: SocketAddr, b: SocketAddr) -> Self {
        Self(a.min(b), a.max(b))
    }
}

/// A call signalling message with everything in it read.
struct Signal<'a> {
    q931: q931::Message<'a>,
    h225: Option<h225::Message<'a>>,
    fast_start: Vec<OpenLogicalChannel>,
    tunnelled: Vec<h245::Message>,
}

impl Tracker {
    /// Reads one message of an H.225 call signalling connection: a TPKT's payload, without its header.
    pub fn call_signalling(&mut self, core: &mut Core, context: &Context, payload: &[u8]) -> Verdict {
        // An empty TPKT keeps the connection alive.
        if payload.is_empty() {
            return Verdict::Pass;
        }
        let Some(signal) = Signal::parse(payload) else {
            return self.undecodable_signal(core, context, payload);
        };
        // The flag is set by the callee (Q.931 4.3), who sends no Setup.
        let (sender, ends) = match signal.q931.to_origin && signal.q931.kind != MessageType::Setup {
            false => (Party::Caller, [context.source, context.destination]),
            true => (Party::Callee, [context.destination, context.source]),
        };
        let found = self.find(&signal, ends);
        if signal.q931.kind == MessageType::ReleaseComplete {
            if let Some(leg) = found {
                core.note(leg.id, Step::new(context.now, sender, signal.q931.kind.name(), false, false));
                core.ends(leg.id, Some(sender.into()), signal.q931.cause.map(Cause::Q850));
                core.end_call(leg.id, EndReason::ReleaseComplete);
                self.over(core, &leg, true);
            }
            return Verdict::Pass;
        }
        let setup = signal.q931.kind == MessageType::Setup;
        let mut checked = self.check_signal(core, context, &signal, found.as_ref());
        if setup {
            checked = checked.and_then(|()| self.check_setup(core, context, &signal, found.as_ref()));
        } else if found.is_none() {
            checked = checked.and_then(|()| self.check_unknown(core, context, &signal, ends));
        }
        if let Some(leg) = &found {
            checked = checked.and_then(|()| self.grant_digits(core, context, &signal, leg));
        }
        let granted = checked.and_then(|()| match found {
            Some(_) => Ok(None),
            None => self.grant(core, context, &signal),
        });
        let granted = match granted {
            Ok(granted) => granted,
            Err(why) => return self.refuse_signal(core, context, &signal, payload, (found, sender), why),
        };
        let emergency = granted.as_deref().is_some_and(|granted| granted.emergency);
        let Some(mut leg) = found.or_else(|| self.begin(core, context, &signal, ends, emergency)) else {
            core.give_back(granted, context.now);
            if setup {
                return self.refuse_signal(core, context, &signal, payload, (None, sender), Why::Full);
            }
            return Verdict::Pass;
        };
        core.grant(leg.id, granted);
        core.note(leg.id, Step::new(context.now, sender, signal.q931.kind.name(), false, false));
        leg.take(core, context, sender, &signal);
        if let Some(h225) = &signal.h225 {
            if let Some(address) = h225.h245_address {
                self.listen(core, context, &mut leg, sender, address);
            }
            let forwards = !matches!(h225.facility, None | Some(FacilityReason::StartH245));
            if let Some(address) = h225.alternative_address.filter(|_| forwards) {
                let told = context.destination;
                self.admissions.open(core, context, told, None, (address, Medium::H225));
            }
        }
        let id = leg.id;
        self.keep(core, leg);
        if core.has_policy() && sender == Party::Caller {
            core.path(id);
        }
        Verdict::Pass
    }

    /// Reads the message of one TPKT of an H.245 connection, without its header.
    pub fn control(&mut self, core: &mut Core, context: &Context, payload: &[u8]) -> Verdict {
        if payload.is_empty() {
            return Verdict::Pass;
        }
        let Ok(message) = h245::Message::parse(payload) else { return policy::undecodable(core, context) };
        let policy = core.policy().h323(context.slot);
        if policy.unknown == UnknownMessage::Drop && message == h245::Message::Other("unknown") {
            core.tell(Event::new(context, EventKind::Refused, "", "an H.245 message of no known name"));
            return Verdict::Drop(Reason::AlgRefused);
        }
        if let Some((mut leg, sender)) = self.find_control(context) {
            core.note(leg.id, Step::new(context.now, sender, message.name(), false, false));
            leg.control_message(core, context, sender, &message);
            self.keep(core, leg);
            return Verdict::Pass;
        }
        self.unknown_control(core, context, &message)
    }

    /// `context`'s sender closed its TCP connection (H.225 or H.245) with FIN, or with RST if `reset`.
    pub fn closed(&mut self, core: &mut Core, context: &Context, reset: bool) {
        let connection = Connection::new(context.source, context.destination);
        for id in self.connections.get(&connection).cloned().unwrap_or_default() {
            let answered = core.call(id).is_some_and(|call| call.state == State::Connected);
            if reset || !answered {
                core.end_call(id, EndReason::ConnectionReset);
                if let Some(leg) = self.legs.remove(&id) {
                    self.unlist(&leg);
                    self.over(core, &leg, false);
                }
            }
        }
        // Half of it may still carry messages after a FIN.
        if let Some(mut leg) =
            reset.then(|| self.controls.remove(&connection)).flatten().and_then(|id| self.legs.remove(&id))
        {
            self.unlist(&leg);
            leg.control = None;
            self.keep(core, leg);
        }
    }

    /// Core ended this call by itself.
    pub fn ended(&mut self, core: &mut Core, call: &Call, reason: EndReason) {
        if call.protocol == Inspect::Ras {
            self.admissions.ended(call);
            self.registrations.ended(call);
        }
        if let Some(leg) = self.legs.remove(&call.id) {
            self.unlist(&leg);
            // A call that was only silent may go on.
            self.over(core, &leg, reason != EndReason::Inactivity);
        }
    }

    /// A limit of the call policy has ended this call: its next legs end too. To be called before [`Self::ended`].
    ///
    /// Gives the ends of its call signalling connection, by [`Party`], and a ReleaseComplete for each; `None` where that
    /// carries other calls, which must not suffer.
    pub(crate) fn limited(
        &mut self,
        core: &mut Core,
        call: &Call,
    ) -> Option<([SocketAddr; 2], [Vec<u8>; 2])> {
        let leg = self.legs.get(&call.id)?;
        let (ends, reference, guid) = (leg.ends, leg.reference, leg.guid);
        let alone = self.connections.get(&Connection::new(ends[0], ends[1]));
        let alone = alone.is_some_and(|calls| calls.as_slice() == [call.id]);
        let next = guid.map(|guid| self.load.legs_of(guid)).unwrap_or_default();
        for id in next.into_iter().filter(|id| *id != call.id) {
            let Some(other) = core.call(id).filter(|other| {
                let granted = other.granted.as_deref();
                granted.is_some_and(|granted| granted.ticket.is_none())
            }) else {
                continue;
            };
            let other = other.clone();
            core.end_call(id, EndReason::Limit);
            self.ended(core, &other, EndReason::Limit);
        }
        let words = |to: Party| {
            let why = callgate_protocols::refuse::Why::Limit;
            callgate_protocols::refuse::release_complete(reference, to == Party::Caller, guid, why)
        };
        alone.then(|| (ends, [words(Party::Caller), words(Party::Callee)]))
    }

    /// Time passes.
    pub fn tick(&mut self, core: &mut Core, now: Time) {
        self.requests.tick(now);
        self.registrations.tick(core, now);
        self.released.tick(now);
        self.load.tick(now);
    }

    /// Takes up calls of an earlier run, from their memos.
    pub fn restore(&mut self, core: &mut Core, calls: &[Call], now: Time) {
        for call in calls {
            match call.protocol {
                Inspect::H225 | Inspect::H245 => {
                    self.limit(core, call.id, call.slot, call.started);
                    self.list(Leg::restore(call));
                }
                Inspect::Ras if self.registrations.resume(core, now, call) => {}
                Inspect::Ras => self.admissions.restore(call),
                _ => {}
            }
        }
    }

    /// Registrations with gatekeepers, in no order.
    pub fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.iter()
    }

    /// What is known of a call beside its record.
    pub fn details(&self, id: CallId) -> Option<Details> {
        self.legs.get(&id).map(Details::of)
    }

    /// The leg a call signalling message belongs to, taken out of the tables.
    fn find(&mut self, signal: &Signal<'_>, ends: [SocketAddr; 2]) -> Option<Leg> {
        let reference = signal.q931.call_reference;
        let guid = signal.guid();
        let setup = signal.q931.kind == MessageType::Setup;
        let by_guid = guid.and_then(|guid| self.by_guid.get(&(guid, ends[0].ip(), ends[1].ip())));
        // A reference may be used again for another call; in the answers to it, it counts more than an
        // identifier that nobody has heard of, which some endpoints send.
        let by_reference = || {
            let id = self.by_reference.get(&(ends[0], ends[1], reference))?;
            let same = self.legs.get(id).is_some_and(|leg| guid.is_none() || leg.guid == guid);
            (!setup || same).then_some(id)
        };
        let found = by_guid.or_else(by_reference).copied();
        let mut leg = found.and_then(|id| self.legs.remove(&id))?;
        self.unlist(&leg);
        (leg.ends, leg.reference) = (ends, reference);
        Some(leg)
    }

    /// A message of no call that is known, and no Setup: whether it may go on.
    fn check_unknown(
        &mut self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        ends: [SocketAddr; 2],
    ) -> Result<(), Why> {
        let kind = signal.q931.kind;
        let stray = matches!(kind, MessageType::Status | MessageType::StatusInquiry) && !signal.opens();
        // Reference 0 stands for no call; by H.460.18 the callee speaks first.
        if stray || signal.q931.call_reference == 0 && !signal.opens() || signal.traversal().any() {
            return Ok(());
        }
        let over = self.released.has(ends, signal.q931.call_reference, signal.guid());
        let refuses = core.policy().h323(context.slot).state == StateCheck::Refuse;
        if over && signal.opens() {
            core.tally(Refusal::Released);
        }
        if refuses || signal.opens() {
            return Self::check_state(core, context, &signal.subject(), Why::OutOfState(kind.name()));
        }
        Ok(())
    }

    /// Begins a call, if the message does so, or tells something of one whose beginning was not seen.
    fn begin(
        &mut self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        ends: [SocketAddr; 2],
        emergency: bool,
    ) -> Option<Leg> {
        let (reference, guid) = (signal.q931.call_reference, signal.guid());
        if signal.q931.kind == MessageType::Setup {
            self.released.begin(ends, reference, guid);
        } else if !signal.opens() || self.released.has(ends, reference, guid) {
            return None;
        }
        let key = guid.map_or_else(|| format!("crv-{reference}"), |guid| guid.to_string());
        let from_caller = Context { source: ends[0], destination: ends[1], ..*context };
        let id = core.start(&from_caller, &key, emergency)?;
        self.limit(core, id, context.slot, context.now);
        let passed_on = self.passes_on(ends[0], guid);
        Some(Leg { slot: context.slot, passed_on, ..Leg::new(id, guid, reference, ends) })
    }

    /// No call lasts longer than the rules file says.
    fn limit(&self, core: &mut Core, id: CallId, slot: u32, started: Time) {
        if let Some(most) = core.policy().h323(slot).call_max {
            core.ends_by(id, started + most);
        }
    }

    /// A message of an H.245 connection that no call has announced.
    fn unknown_control(&mut self, core: &mut Core, context: &Context, message: &h245::Message) -> Verdict {
        let (source, destination) = (context.source, context.destination);
        let opens = opens(message);
        let over = self.released.had_control(Connection::new(source, destination));
        if over && opens {
            core.tally(Refusal::Released);
        }
        if core.policy().h323(context.slot).state == StateCheck::Refuse {
            // Others of a call that is over harm nobody.
            if over && !opens {
                return Verdict::Pass;
            }
            let text = "H.245 of a call that was not set up";
            core.tell(Event::new(context, EventKind::Refused, "", text));
            return Verdict::Reset(Reason::AlgRefused);
        }
        if !opens {
            return Verdict::Pass;
        }
        _ = Self::check_state(core, context, "", Why::OutOfState(message.name()));
        if over {
            return Verdict::Pass;
        }
        // A connection that a rule has admitted, of a call that was not seen: it is a call of its own.
        let Some(id) = core.start_call(context, &format!("h245-{source}-{destination}")) else {
            return Verdict::Pass;
        };
        core.set_state(context.now, id, State::Connected);
        let mut leg = Leg { slot: context.slot, ..Leg::new(id, None, 0, [source, destination]) };
        leg.control = Some([source, destination]);
        leg.control_message(core, context, Party::Caller, message);
        self.keep(core, leg);
        Verdict::Pass
    }

    /// Ends a call, for a reason that lies outside its own signalling.
    fn end(&mut self, core: &mut Core, id: CallId, reason: EndReason) {
        core.end_call(id, reason);
        if let Some(leg) = self.legs.remove(&id) {
            self.unlist(&leg);
            self.over(core, &leg, true);
        }
    }

    /// A call that is in no table any more is over, for good if `released`: the way RAS has opened for it closes.
    fn over(&mut self, core: &mut Core, leg: &Leg, released: bool) {
        if released {
            self.released.note(core.latest(), leg);
        }
        let place = (leg.ends[0].ip(), leg.ends[1]);
        let last = !self.load.has_place(place);
        self.admissions.used(core, place, leg.guid, last);
    }

    /// The leg an H.245 message belongs to, taken out of the table, and which party has sent it.
    fn find_control(&mut self, context: &Context) -> Option<(Leg, Party)> {
        let (source, destination) = (context.source, context.destination);
        let connection = Connection::new(source, destination);
        if let Some(leg) = self.controls.get(&connection).and_then(|id| self.legs.remove(id)) {
            self.unlist(&leg);
            let by_caller = leg.control.is_some_and(|[caller, _]| caller == source);
            return Some((leg, if by_caller { Party::Caller } else { Party::Callee }));
        }
        let called = self.listener(destination, source).map(|(id, owner)| (id, owner.other()));
        let (id, sender) = called.or_else(|| self.listener(source, destination))?;
        let mut leg = self.legs.remove(&id)?;
        self.unlist(&leg);
        leg.control = Some(match sender {
            Party::Caller => [source, destination],
            Party::Callee => [destination, source],
        });
        Some((leg, sender))
    }

    /// Who has announced `address` for H.245 to `peer`.
    fn listener(&self, address: SocketAddr, peer: SocketAddr) -> Option<(CallId, Party)> {
        let listeners = self.listeners.get(&address)?;
        let told = |(id, party): &&(CallId, Party)| {
            self.legs.get(id).is_some_and(|leg| leg.ends[party.other() as usize].ip() == peer.ip())
        };
        listeners.iter().rev().find(told).or(listeners.last()).copied()
    }

    /// `party` listens for H.245 at `address`.
    fn listen(
        &mut self,
        core: &mut Core,
        context: &Context,
        leg: &mut Leg,
        party: Party,
        address: SocketAddr,
    ) {
        leg.listening[party as usize] = Some(address);
        core.announce(context, leg.id, leg::signalling(Medium::Control, party), party, |stream| {
            stream.medium = Medium::Control;
            stream.ends[party as usize].media = Some(address);
        });
    }

    /// Puts a leg back, with its memo up to date.
    fn keep(&mut self, core: &mut Core, leg: Leg) {
        let memo = leg.memo();
        if core.call(leg.id).is_some_and(|call| call.memo != memo) {
            core.change_call(leg.id, |call| call.memo = memo);
        }
        self.list(leg);
    }

    /// Enters a leg into the table and its indexes.
    fn list(&mut self, leg: Leg) {
        self.load.enter(&leg);
        let [caller, callee] = leg.ends;
        if let Some(guid) = leg.guid {
            self.by_guid.insert((guid, caller.ip(), callee.ip()), leg.id);
        }
        self.by_reference.insert((caller, callee, leg.reference), leg.id);
        let calls = self.connections.entry(Connection::new(caller, callee)).or_default();
        if !calls.contains(&leg.id) {
            calls.push(leg.id);
        }
        if let Some([caller, callee]) = leg.control {
            self.controls.insert(Connection::new(caller, callee), leg.id);
        }
        for party in [Party::Caller, Party::Callee] {
            if let Some(address) = leg.listening[party as usize] {
                let listeners = self.listeners.entry(address).or_default();
                if listeners.len() < MAX_LISTENERS && !listeners.contains(&(leg.id, party)) {
                    listeners.push((leg.id, party));
                }
            }
        }
        self.legs.insert(leg.id, leg);
    }

    /// Takes a leg that was taken out of the table out of its indexes too.
    fn unlist(&mut self, leg: &Leg) {
        self.load.leave(leg);
        let [caller, callee] = leg.ends;
        let id = leg.id;
        if let Some(guid) = leg.guid {
            remove_if(&mut self.by_guid, &(guid, caller.ip(), callee.ip()), id);
        }
        remove_if(&mut self.by_reference, &(caller, callee, leg.reference), id);
        let connection = Connection::new(caller, callee);
        if let Some(calls) = self.connections.get_mut(&connection) {
            calls.retain(|other| *other != id);
            if calls.is_empty() {
                self.connections.remove(&connection);
            }
        }
        if let Some([caller, callee]) = leg.control {
            remove_if(&mut self.controls, &Connection::new(caller, callee), id);
        }
        for address in leg.listening.iter().flatten() {
            if let Some(listeners) = self.listeners.get_mut(address) {
                listeners.retain(|(other, _)| *other != id);
                if listeners.is_empty() {
                    self.listeners.remove(address);
                }
            }
        }
    }
}

impl<'a> Signal<'a> {
    /// Reads a message with all that is tunnelled in it; `None` if any of it cannot be read.
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let q931 = q931::Message::parse(payload).ok()?;
        let h225 = q931.user_user.map(h225::Message::parse).transpose().ok()?;
        let mut signal = Self { q931, h225: None, fast_start: Vec::new(), tunnelled: Vec::new() };
        if let Some(h225) = h225 {
            for channel in h225.fast_start.take(MAX_PARTS) {
                signal.fast_start.push(OpenLogicalChannel::parse(channel).ok()?);
            }
            for message in h225.h245_control.chain(h225.parallel_h245_control).take(MAX_PARTS) {
                signal.tunnelled.push(h245::Message::parse(message).ok()?);
            }
            signal.h225 = Some(h225);
        }
        Some(signal)
    }

    /// The call's identifier, unless it is missing or all zero, as some endpoints send it.
    fn guid(&self) -> Option<Guid> {
        self.h225.as_ref()?.call.filter(|guid| guid.0 != [0; 16])
    }

    /// Whether it tells something that opens a channel.
    fn opens(&self) -> bool {
        let listens = self.h225.as_ref().is_some_and(|h225| h225.h245_address.is_some());
        let answers = matches!(self.q931.kind, MessageType::Alerting | MessageType::Connect);
        answers || listens || !self.fast_start.is_empty() || self.tunnelled.iter().any(opens)
    }

    /// Whether no standard that is known here names it.
    fn is_unknown(&self) -> bool {
        let other = h245::Message::Other("unknown");
        matches!(self.q931.kind, MessageType::Other(_))
            || self.h225.as_ref().is_some_and(|h225| h225.body == Body::Unknown)
            || self.tunnelled.contains(&other)
    }
}

impl Leg {
    /// Takes what a message says of the call itself, its fastStart and the messages tunnelled in it.
    fn take(&mut self, core: &mut Core, context: &Context, sender: Party, signal: &Signal<'_>) {
        let tells = core.policy().h323(context.slot).tunnelling == Tunnelling::Log;
        self.introduce(core, context, signal, tells);
        match signal.q931.kind {
            MessageType::Alerting | MessageType::Progress => {
                core.set_state(context.now, self.id, State::Ringing)
            }
            MessageType::Connect => core.set_state(context.now, self.id, State::Connected),
            _ => {}
        }
        if let Some(guid) = signal.guid() {
            self.guid.get_or_insert(guid);
        }
        let body = signal.h225.as_ref().map(|h225| h225.body);
        match sender {
            Party::Caller if body == Some(Body::Setup) => self.propose(core, context, &signal.fast_start),
            Party::Caller => {}
            Party::Callee => {
                self.accept(core, context, &signal.fast_start);
                let refused = signal.h225.as_ref().is_some_and(|h225| h225.fast_connect_refused);
                if refused || signal.q931.kind == MessageType::Connect {
                    self.refuse_offer(core);
                }
            }
        }
        for message in &signal.tunnelled {
            self.control_message(core, context, sender, message);
        }
    }
}

/// Whether an H.245 message opens a channel.
fn opens(message: &h245::Message) -> bool {
    matches!(message, h245::Message::OpenLogicalChannel(_) | h245::Message::OpenLogicalChannelAck(_))
}

fn remove_if<K: Eq + std::hash::Hash>(map: &mut HashMap<K, CallId>, key: &K, id: CallId) {
    if map.get(key) == Some(&id) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests;
