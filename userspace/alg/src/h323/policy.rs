//! What the rules file says of H.323, put to a message: which are refused, and in which words.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use callgate_protocols::h225::{Aliases, Guid};
use callgate_protocols::q931::MessageType;
use callgate_protocols::{ras, refuse, tpkt};
use callgate_rules::inspect::h323::{MediaType, PartyFilter, Rate, StateCheck, Tunnelling};
use callgate_rules::{Addresses, H323Policy, UnknownMessage};
use callgate_shared::Reason;

use super::leg::Leg;
use super::{Connection, Signal, Tracker};
use crate::action::{Context, Denial, EndReason, Replacement, Time, Verdict};
use crate::call::{CallId, Granted, Party};
use crate::core::Core;
use crate::core::gate::Asking;
use crate::event::{self, Event, EventKind};
use crate::load::count_down;
use crate::pace::Paces;

/// Most digits of a number that is dialled bit by bit.
const MAX_DIGITS: usize = 46;
/// Most names of one party that are compared; no honest one has so many.
const MAX_NAMES: usize = 64;
/// Most legs of one call: more than gatekeepers stand in its way.
const MAX_LEGS: usize = 16;
/// Most addresses whose rate is known; those that find no room share one.
const MAX_SOURCES: usize = 65_536;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NotAGatekeeper,
    NotRouted,
    NotAdmitted,
    Calling,
    Called,
    TooManyCalls(u32),
    TooManyOfSource(u32),
    TooFast,
    NoTokens,
    Tunnelled,
    OutOfState(&'static str),
    UnknownCall,
    Unknown,
    /// There is no room for another call.
    Full,
    /// What the call policy says.
    Policy(callgate_policy::Why),
}

impl Why {
    /// For people.
    fn text(self) -> String {
        match self {
            Self::NotAGatekeeper => "no gatekeeper of the rules file".to_owned(),
            Self::NotRouted => "not through a gatekeeper".to_owned(),
            Self::NotAdmitted => "no gatekeeper has admitted the call".to_owned(),
            Self::Calling => "this party may not call".to_owned(),
            Self::Called => "this party may not be called".to_owned(),
            Self::TooManyCalls(most) => format!("there are {most} calls already"),
            Self::TooManyOfSource(most) => format!("this address has {most} calls already"),
            Self::TooFast => "too many calls in a short time".to_owned(),
            Self::NoTokens => "no H.235 tokens".to_owned(),
            Self::Tunnelled => "H.245 is tunnelled".to_owned(),
            Self::OutOfState(message) => format!("{message} of a call that was not set up"),
            Self::UnknownCall => "of a call that is not known".to_owned(),
            Self::Unknown => "a message of no known name".to_owned(),
            Self::Full => "there is no room for another call".to_owned(),
            Self::Policy(why) => format!("{} ({})", why.text(), why.name()),
        }
    }

    /// For the protocol.
    const fn answer(self) -> refuse::Why {
        match self {
            Self::TooManyCalls(_) | Self::TooManyOfSource(_) | Self::TooFast | Self::Full => {
                refuse::Why::Exhausted
            }
            Self::NoTokens => refuse::Why::Unauthenticated,
            Self::Policy(why) => match why.answer() {
                callgate_policy::Answer::Busy => refuse::Why::Exhausted,
                _ => refuse::Why::Forbidden,
            },
            _ => refuse::Why::Forbidden,
        }
    }
}

/// Whose rate is kept: an address under the rules that share a limit.
pub(super) type Source = (Option<u32>, IpAddr);

/// Who calls how often, and how many calls there are.
#[derive(Debug)]
pub(super) struct Load {
    /// Calls by caller's address, and by the rule that admitted them; legs that pass a call on are none.
    callers: HashMap<IpAddr, u32>,
    slots: HashMap<u32, u32>,
    /// Legs of each identifier.
    legs: HashMap<Guid, HashSet<CallId>>,
    /// Legs by who calls which address.
    places: HashMap<(IpAddr, SocketAddr), u32>,
    calls: Paces<Source>,
    requests: Paces<Source>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            callers: HashMap::new(),
            slots: HashMap::new(),
            legs: HashMap::new(),
            places: HashMap::new(),
            calls: Paces::new(MAX_SOURCES),
            requests: Paces::new(MAX_SOURCES),
        }
    }
}

impl Load {
    pub(super) fn enter(&mut self, leg: &Leg) {
        let [caller, callee] = leg.ends;
        if !leg.passed_on {
            *self.callers.entry(caller.ip()).or_default() += 1;
            *self.slots.entry(leg.slot).or_default() += 1;
        }
        *self.places.entry((caller.ip(), callee)).or_default() += 1;
        if let Some(guid) = leg.guid {
            self.legs.entry(guid).or_default().insert(leg.id);
        }
    }

    pub(super) fn leave(&mut self, leg: &Leg) {
        let [caller, callee] = leg.ends;
        if !leg.passed_on {
            count_down(&mut self.callers, caller.ip());
            count_down(&mut self.slots, leg.slot);
        }
        count_down(&mut self.places, (caller.ip(), callee));
        if let Some(guid) = leg.guid
            && let Some(legs) = self.legs.get_mut(&guid)
        {
            legs.remove(&leg.id);
            if legs.is_empty() {
                self.legs.remove(&guid);
            }
        }
    }

    /// The legs of a call, in the order in which they began.
    pub(super) fn legs_of(&self, guid: Guid) -> Vec<CallId> {
        let mut legs: Vec<_> = self.legs.get(&guid).into_iter().flatten().copied().collect();
        legs.sort_unstable();
        legs
    }

    /// Whether a leg is from this host to this address.
    pub(super) fn has_place(&self, place: (IpAddr, SocketAddr)) -> bool {
        self.places.contains_key(&place)
    }

    /// Calls that these rules have admitted, those through a gatekeeper counted once.
    pub(super) fn count(&self, these: impl Fn(u32) -> bool) -> u32 {
        self.slots.iter().filter(|(slot, _)| these(**slot)).map(|(_, count)| count).sum()
    }

    /// Whether another call by `source` keeps its rate; if so it is counted.
    fn may_call(&mut self, source: Source, now: Time, rate: Option<Rate>) -> bool {
        rate.is_none_or(|rate| self.calls.keeps_or_shares(source, crowd(source), now, rate))
    }

    /// Whether another RAS request by `source` keeps its rate; if so it is counted.
    pub(super) fn may_ask(&mut self, source: Source, now: Time, rate: Option<Rate>) -> bool {
        rate.is_none_or(|rate| self.requests.keeps_or_shares(source, crowd(source), now, rate))
    }

    pub(super) fn tick(&mut self, now: Time) {
        self.calls.tick(now);
        self.requests.tick(now);
    }
}

/// Whom the sources for which there is no room share a rate with, under the same rules.
fn crowd((scope, _): Source) -> Source {
    (scope, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Whether the parties of these names are permitted.
pub(super) fn parties_permitted(
    policy: &H323Policy,
    [calling, called]: [(Option<&[u8]>, &Aliases<'_>); 2],
) -> Result<(), Why> {
    party_permitted(&policy.calling, calling).then_some(()).ok_or(Why::Calling)?;
    party_permitted(&policy.called, called).then_some(()).ok_or(Why::Called)
}

/// Whether who is called by these names may be.
pub(super) fn called_permitted(policy: &H323Policy, called: &Aliases<'_>) -> Result<(), Why> {
    party_permitted(&policy.called, (None, called)).then_some(()).ok_or(Why::Called)
}

fn party_permitted(filter: &PartyFilter, (number, aliases): (Option<&[u8]>, &Aliases<'_>)) -> bool {
    if filter.is_open() {
        return true;
    }
    let number = number.map(|number| String::from_utf8_lossy(number).into_owned());
    let aliases = aliases.iter().map(|alias| alias.to_string());
    let names: Vec<_> =
        number.into_iter().chain(aliases).filter(|name| !name.is_empty()).take(MAX_NAMES + 1).collect();
    names.len() <= MAX_NAMES && filter.permits(names.iter().map(String::as_str))
}

/// Whether this address is one of the gatekeepers that the rules file names; nobody is where it names none.
pub(super) fn is_named_gatekeeper(policy: &H323Policy, ip: IpAddr) -> bool {
    policy.gatekeepers != Addresses::Any && policy.gatekeepers.contains(ip)
}

impl Tracker {
    /// Whether a call signalling message may go on whatever call it is of.
    pub(super) fn check_signal(
        &self,
        core: &Core,
        context: &Context,
        signal: &Signal<'_>,
        known: Option<&Leg>,
    ) -> Result<(), Why> {
        let policy = core.policy().h323(context.slot);
        if self.is_emergency(core, signal, known) {
            return Ok(());
        }
        if policy.unknown == UnknownMessage::Drop && signal.is_unknown() {
            return Err(Why::Unknown);
        }
        if policy.tunnelling == Tunnelling::Block && !signal.tunnelled.is_empty() {
            return Err(Why::Tunnelled);
        }
        // Digits that come one by one cannot be compared before it is too late.
        let more_digits = signal.q931.kind != MessageType::Setup
            && (signal.q931.called.is_some() || signal.q931.keypad.is_some());
        if more_digits && !policy.called.is_open() {
            return Err(Why::Called);
        }
        Ok(())
    }

    /// Whether a message is of an emergency call, or begins one: whatever else there is to be said of it.
    fn is_emergency(&self, core: &Core, signal: &Signal<'_>, known: Option<&Leg>) -> bool {
        known.is_some_and(|leg| core.is_emergency_call(leg.id))
            || signal.q931.kind == MessageType::Setup && core.is_emergency(&borrowed(&signal.called()))
    }

    /// Asks the call policy whether a Setup may begin a call. Its next leg to the same party is part of it.
    pub(super) fn grant(
        &self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
    ) -> Result<Option<Box<Granted>>, Why> {
        if !core.has_policy() || signal.q931.kind != MessageType::Setup {
            return Ok(None);
        }
        let called = signal.called();
        let legs = signal.guid().map(|guid| self.load.legs_of(guid)).unwrap_or_default();
        let before = legs.iter().filter_map(|id| self.legs.get(id));
        let mut before = before.filter(|leg| leg.ends[1].ip() == context.source.ip());
        let same = before.find_map(|leg| {
            let granted = core.call(leg.id)?.granted.as_deref()?;
            let same = called.iter().all(|name| *name == granted.called) && !called.is_empty();
            same.then(|| Granted { ticket: None, ..granted.clone() })
        });
        if let Some(same) = same {
            return Ok(Some(Box::new(same)));
        }
        self.ask(core, context, signal, &called, None)
    }

    /// Digits come after the Setup, or another Setup: the call may be to another number now.
    pub(super) fn grant_digits(
        &self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        leg: &Leg,
    ) -> Result<(), Why> {
        let digits = signal.more_digits();
        let setup = signal.q931.kind == MessageType::Setup;
        if digits.is_empty() && !setup || !core.has_policy() {
            return Ok(());
        }
        let Some(call) = core.call(leg.id) else { return Ok(()) };
        if setup {
            let called = signal.called();
            let granted = call.granted.as_deref();
            let same = granted.is_some_and(|granted| called.iter().all(|name| *name == granted.called));
            return if same {
                Ok(())
            } else {
                self.ask(core, context, signal, &called, Some(leg)).map(|_| ())
            };
        }
        let mut called = call.granted.as_deref().map(|granted| granted.called.clone()).unwrap_or_default();
        if called.len() + digits.len() > MAX_DIGITS {
            return Err(Why::Called);
        }
        called.push_str(&digits);
        self.ask(core, context, signal, &[called], Some(leg)).map(|_| ())
    }

    fn ask(
        &self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        called: &[String],
        again: Option<&Leg>,
    ) -> Result<Option<Box<Granted>>, Why> {
        let [from, to] = match again {
            Some(leg) => leg.parties.clone(),
            None => signal.parties(),
        };
        let names = self.caller(context, from.all());
        let key = signal.guid().map_or_else(String::new, |guid| guid.to_string());
        let asking = Asking {
            names: &borrowed(&names),
            device: None,
            called: &borrowed(called),
            key: &key,
            parties: [from.shown(), to.shown()],
        };
        match again {
            Some(leg) => core.ask_again(context, leg.id, &asking).map(|()| None),
            None => core.ask(context, &asking),
        }
        .map_err(Why::Policy)
    }

    /// Whom a caller is known as. Where it has registered, it is one of those, whatever it says: those it says, or the
    /// only one; of several endpoints nobody knows which. Else it is believed.
    fn caller(&self, context: &Context, mut said: Vec<String>) -> Vec<String> {
        let endpoints = || self.registrations.of(context.source.ip());
        let Some(first) = endpoints().next() else { return said };
        said.retain(|name| endpoints().any(|one| one.aliases.contains(name)));
        let single = endpoints().nth(1).is_none();
        if said.is_empty() && single { first.aliases.clone() } else { said }
    }

    /// What the call policy says of a request to make a call, before it is made: it is asked for good by the Setup,
    /// unless it refuses here.
    pub(super) fn check_admission(
        &self,
        core: &mut Core,
        context: &Context,
        (call, source, destination): (Option<Guid>, &Aliases<'_>, &Aliases<'_>),
    ) -> Result<(), Why> {
        if !core.has_policy() {
            return Ok(());
        }
        let list = |aliases: &Aliases<'_>| -> Vec<String> {
            aliases.iter().map(|alias| alias.to_string()).take(MAX_NAMES).collect()
        };
        let (said, called) = (list(source), list(destination));
        let names = self.caller(context, said);
        let key = call.map_or_else(String::new, |guid| guid.to_string());
        let shown = |names: &[String]| names.first().cloned().unwrap_or_default();
        let asking = Asking {
            names: &borrowed(&names),
            device: None,
            called: &borrowed(&called),
            key: &key,
            parties: [&shown(&names), &shown(&called)],
        };
        core.consult(context, &asking).map_err(Why::Policy)
    }

    /// Whether a Setup may go on; `known` is its call if it is a repetition.
    pub(super) fn check_setup(
        &mut self,
        core: &Core,
        context: &Context,
        signal: &Signal<'_>,
        known: Option<&Leg>,
    ) -> Result<(), Why> {
        if self.is_emergency(core, signal, known) {
            return Ok(());
        }
        let policy = core.policy().h323(context.slot);
        let (source, destination) = (context.source, context.destination);
        let h225 = signal.h225.as_ref();
        if policy.require_tokens && !h225.is_some_and(|h225| h225.tokens.any()) {
            return Err(Why::NoTokens);
        }
        let through = |ip| is_named_gatekeeper(policy, ip);
        if policy.routed_only && !through(source.ip()) && !through(destination.ip()) {
            return Err(Why::NotRouted);
        }
        let none = Aliases::default();
        let (from, to) = h225.map_or((&none, &none), |h225| (&h225.source, &h225.destination));
        parties_permitted(policy, [(signal.q931.calling, from), (signal.q931.called, to)])?;
        if signal.q931.keypad.is_some() && !policy.called.is_open() {
            return Err(Why::Called);
        }
        if known.is_some() {
            return Ok(());
        }
        if policy.require_admission
            && !through(source.ip())
            && !self.admitted(source, destination, signal.guid())
        {
            return Err(Why::NotAdmitted);
        }
        if self.passes_on(source, signal.guid()) {
            return Ok(());
        }
        let rules = core.policy();
        let scope = rules.h323_scope(context.slot);
        if let Some(most) = policy.calls_max
            && self.load.count(|slot| rules.h323_scope(slot) == scope) >= most
        {
            return Err(Why::TooManyCalls(most));
        }
        if let Some(most) = policy.calls_per_source
            && self.load.callers.get(&source.ip()).is_some_and(|count| *count >= most)
        {
            return Err(Why::TooManyOfSource(most));
        }
        let caller = (scope, source.ip());
        self.load.may_call(caller, context.now, policy.call_rate).then_some(()).ok_or(Why::TooFast)
    }

    /// Whether a Setup is the next leg of a call that there is already: whoever was called passes it on.
    pub(super) fn passes_on(&self, source: SocketAddr, call: Option<Guid>) -> bool {
        let legs = call.map(|call| self.load.legs_of(call)).unwrap_or_default();
        let called = |id: &CallId| self.legs.get(id).is_some_and(|leg| leg.ends[1].ip() == source.ip());
        legs.len() < MAX_LEGS && legs.iter().any(called)
    }

    /// Whether RAS says that `source` may make this call to `destination`.
    fn admitted(&self, source: SocketAddr, destination: SocketAddr, call: Option<Guid>) -> bool {
        let by_acf = call.is_some_and(|call| self.admissions.has(source.ip(), destination, call));
        by_acf || self.registrations.permit(source.ip(), destination)
    }

    /// Refuses a call signalling message: its sender is told, and its receiver if it knows the call.
    pub(super) fn refuse_signal(
        &mut self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        payload: &[u8],
        (leg, sender): (Option<Leg>, Party),
        why: Why,
    ) -> Verdict {
        let reference = signal.q931.call_reference;
        let guid = leg.as_ref().map_or(signal.guid(), |leg| leg.guid);
        let words = |to: Party| refuse::release_complete(reference, to == Party::Caller, guid, why.answer());
        let subject = match leg.as_ref().and_then(|leg| core.call(leg.id)) {
            Some(call) => event::parties(call),
            None => signal.subject(),
        };
        core.tell(Event::new(context, EventKind::Refused, &subject, &why.text()));
        if leg.is_none() && signal.q931.kind == MessageType::Setup && !matches!(why, Why::Policy(_)) {
            let (parties, key) = (signal.parties(), guid.map_or_else(String::new, |guid| guid.to_string()));
            core.attempt_refused(context, &key, parties.each_ref().map(|names| names.shown()), None);
        }
        let (reply, notify) = (Some(words(sender)), leg.is_some().then(|| words(sender.other())));
        if let Some(leg) = leg {
            core.end_call(leg.id, EndReason::Refused);
            self.over(core, &leg, true);
        }
        let refusal = Denial { reason: Reason::AlgRefused, reply, notify, sequence: None };
        let receiver = sender.other() == Party::Caller;
        let instead = |length| refuse::release_complete_of(length, reference, receiver, guid, why.answer());
        self.spare_others(context, None, refusal.into(), payload, instead)
    }

    /// A refused message ends its connection. Where calls other than its own share that, its receiver reads something
    /// else in its place, and whoever has sent it learns nothing but that there is no answer: with an octet more in the
    /// other direction, the two ends would not count alike any more.
    fn spare_others(
        &self,
        context: &Context,
        own: Option<CallId>,
        refusal: Verdict,
        payload: &[u8],
        instead: impl FnOnce(usize) -> Option<Vec<u8>>,
    ) -> Verdict {
        let calls = self.connections.get(&Connection::new(context.source, context.destination));
        if calls.is_none_or(|calls| calls.iter().all(|call| Some(*call) == own)) {
            return refusal;
        }
        let Some(octets) = instead(tpkt::HEADER + payload.len()) else { return refusal };
        let otherwise = match refusal {
            Verdict::Drop(reason) => Verdict::Reset(reason),
            other => other,
        };
        Verdict::Replace(Box::new(Replacement { patches: vec![(0, octets)], otherwise: Box::new(otherwise) }))
    }

    /// What becomes of a call signalling message that cannot be read. Where it goes alone, its call does.
    pub(super) fn undecodable_signal(
        &mut self,
        core: &mut Core,
        context: &Context,
        payload: &[u8],
    ) -> Verdict {
        let refusal = undecodable(core, context);
        // Q.931 section 4: its name, and two octets of call reference with its flag.
        let Some([0x08, 0x02, high, low, _]) = payload.first_chunk() else { return refusal };
        if refusal == Verdict::Pass {
            return refusal;
        }
        let (to_origin, reference) = (high & 0x80 != 0, u16::from_be_bytes([high & 0x7f, *low]));
        let ends = match to_origin {
            false => (context.source, context.destination),
            true => (context.destination, context.source),
        };
        let own = self.by_reference.get(&(ends.0, ends.1, reference)).copied();
        // The flag is set by the callee, and in what is sent to the caller.
        let instead =
            |length| refuse::release_complete_of(length, reference, to_origin, None, refuse::Why::Forbidden);
        let verdict = self.spare_others(context, own, refusal, payload, instead);
        if let (Verdict::Replace(_), Some(own)) = (&verdict, own) {
            self.end(core, own, EndReason::Refused);
        }
        verdict
    }

    /// A message of a call that nobody has set up: whether it is taken up all the same.
    pub(super) fn check_state(
        core: &mut Core,
        context: &Context,
        subject: &str,
        why: Why,
    ) -> Result<(), Why> {
        match core.policy().h323(context.slot).state {
            StateCheck::Off => Ok(()),
            StateCheck::Event => {
                core.tell(Event::new(context, EventKind::Violation, subject, &why.text()));
                Ok(())
            }
            StateCheck::Refuse => Err(why),
        }
    }
}

/// What becomes of a message that cannot be read.
pub(super) fn undecodable(core: &mut Core, context: &Context) -> Verdict {
    match core.policy().h323(context.slot).undecodable {
        UnknownMessage::Pass => Verdict::Pass,
        UnknownMessage::Drop => {
            core.tell(Event::new(context, EventKind::Violation, "", "a message that cannot be read"));
            Verdict::Drop(Reason::AlgMalformed)
        }
    }
}

/// Refuses a RAS message: a request is answered by its reject.
pub(super) fn refuse_request(
    core: &mut Core,
    context: &Context,
    message: &ras::Message<'_>,
    why: Why,
) -> Verdict {
    core.tell(Event::new(context, EventKind::Refused, message.body.name(), &why.text()));
    let reply = refuse::ras_reject(message, why.answer());
    Denial { reason: Reason::AlgRefused, reply, notify: None, sequence: None }.into()
}

/// Refuses the confirmation of `request` on the gatekeeper's behalf: who has asked reads a reject instead.
pub(super) fn refuse_answer(
    core: &mut Core,
    context: &Context,
    request: &ras::Message<'_>,
    why: Why,
) -> Verdict {
    core.tell(Event::new(context, EventKind::Refused, request.body.name(), &why.text()));
    let notify = refuse::ras_reject(request, why.answer());
    Denial { reason: Reason::AlgRefused, reply: None, notify, sequence: None }.into()
}

/// Tells that a kind of media was refused.
pub(super) fn tell_media(core: &mut Core, context: &Context, call: CallId, ty: MediaType) {
    let Some(call) = core.call(call) else { return };
    let (subject, text) = (event::parties(call), format!("{} is not permitted", ty.name()));
    core.tell(Event::new(context, EventKind::Refused, &subject, &text));
}
