//! The call policy, asked once for each attempt to call, and told what becomes of it.
//!
//! Owns the desk that decides, and which call holds which of its tickets. What a caller and a called party are known
//! by, and in which words it is refused, is the trackers' business.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callgate_policy::{
    Alarm, AlarmKind, Answer, Attempt, Decision, Desk, Memory, Now, Outcome, Party as Caller, Plan, Protocol,
    Registration, Ticket, Verdict, Way, Why,
};
use callgate_shared::policy::Inspect;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Core, MAX_KEY, MAX_PARTY, clip};
use crate::action::{Action, Context, EndReason, Time};
use crate::call::{Call, CallId, Granted, Party, State};
use crate::event::{self, Event, EventKind};
use crate::finished::{Cause, Finished, ReleasedBy};

/// What stands in the place of a pin: it is neither shown nor kept.
pub(crate) const PIN: &str = "(pin)";

/// Who wants to call whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    /// The caller, by numbers and names, the best known first.
    pub(crate) names: &'a [&'a str],
    /// The device it has registered, where there is one.
    pub(crate) device: Option<&'a str>,
    /// The called party: each name it goes by.
    pub(crate) called: &'a [&'a str],
    /// The call's identifier in the protocol.
    pub(crate) key: &'a str,
    /// As which parties a refused attempt is remembered.
    pub(crate) parties: [&'a str; 2],
}

/// The desk, and who holds its tickets.
#[derive(Debug)]
pub(super) struct Gate {
    desk: Desk,
    /// Nobody is asked where the rules file says nothing.
    asks: bool,
    /// What the clock on the wall showed, and when.
    clock: (Time, Timestamp),
    holders: HashMap<Ticket, CallId>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            desk: Desk::new(Arc::default(), TimeZone::UTC),
            asks: false,
            clock: (Time::default(), Timestamp::UNIX_EPOCH),
            holders: HashMap::new(),
        }
    }
}

impl Gate {
    fn now(&self, now: Time) -> Now {
        let (then, wall) = self.clock;
        let wall = wall.checked_add(now.since(then)).unwrap_or(wall);
        Now { wall, since: Duration::from_nanos(now.0) }
    }
}

impl Core {
    /// Puts a call policy in force; counts of calls, minutes and scores stay. `None`: nobody is asked.
    pub fn set_plan(&mut self, plan: Option<Arc<Plan>>) {
        self.gate.asks = plan.is_some();
        self.gate.desk.set_plan(plan.unwrap_or_default());
    }

    /// Makes days and hours those of this zone. To be called before anything else.
    pub fn set_zone(&mut self, zone: TimeZone) {
        self.gate.desk = Desk::new(self.gate.desk.plan().clone(), zone);
    }

    /// The clock on the wall shows `wall` at `now`.
    pub fn set_clock(&mut self, now: Time, wall: Timestamp) {
        self.gate.clock = (now, wall);
    }

    /// What has been counted since it was asked last.
    pub(crate) fn remember(&mut self, most: usize, now: Time) -> Vec<Memory> {
        if !self.gate.asks {
            return Vec::new();
        }
        let now = self.gate.now(now);
        self.gate.desk.remember(most, now)
    }

    /// What an earlier run has counted, so long ago.
    pub(crate) fn recall(&mut self, memory: &Memory, age: Duration, now: Time) {
        let now = self.gate.now(now);
        self.gate.desk.recall(memory, age, now);
    }

    /// Whether there is a policy to be asked.
    pub(crate) fn has_policy(&self) -> bool {
        self.gate.asks
    }

    /// Whether a call to a party of these names is an emergency call: nothing here may refuse it.
    pub(crate) fn is_emergency(&self, called: &[&str]) -> bool {
        self.gate.asks && self.gate.desk.plan().is_emergency(called)
    }

    /// Whether this is an emergency call.
    pub(crate) fn is_emergency_call(&self, id: CallId) -> bool {
        self.call(id).and_then(|call| call.granted.as_deref()).is_some_and(|granted| granted.emergency)
    }

    /// Whether refusals are meant for all who could be asked: SIP 603 instead of 403.
    pub(crate) fn declines(&self) -> bool {
        self.gate.desk.plan().declines()
    }

    /// Asks whether a call may be made; `None` where no policy is in force. What is granted belongs to the call, by
    /// [`Self::grant`], or is given back by [`Self::give_back`]. A refused attempt is remembered as such.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn ask(
        &mut self,
        context: &Context,
        asking: &Asking<'_>,
    ) -> Result<Option<Box<Granted>>, Why> {
        if !self.gate.asks {
            return Ok(None);
        }
        let decision = self.decide(context, asking);
        self.settle(context, asking, decision).map(Some)
    }

    /// Asks whether a call may come to a party: of what is dialled nothing is known, or it was asked for elsewhere. As
    /// [`Self::ask`] otherwise.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn receive(
        &mut self,
        context: &Context,
        asking: &Asking<'_>,
    ) -> Result<Option<Box<Granted>>, Why> {
        if !self.gate.asks {
            return Ok(None);
        }
        let decision = self.accept(context, asking);
        self.settle(context, asking, decision).map(Some)
    }

    /// Whether a call may be made that will be asked for later: nothing is counted yet, but for a refusal.
    ///
    /// # Errors
    /// Why it may not; it is remembered as a refused attempt.
    pub(crate) fn consult(&mut self, context: &Context, asking: &Asking<'_>) -> Result<(), Why> {
        if !self.gate.asks {
            return Ok(());
        }
        let now = self.gate.now(context.now);
        if self.gate.desk.consult(&attempt(context, asking), now).permits() {
            return Ok(());
        }
        let granted = self.ask(context, asking)?;
        self.give_back(granted, context.now);
        Ok(())
    }

    /// The call is made with what was granted.
    pub(crate) fn grant(&mut self, id: CallId, granted: Option<Box<Granted>>) {
        let Some(granted) = granted else { return };
        if !self.calls.contains_key(&id) {
            return self.give_back(Some(granted), self.latest);
        }
        if let Some(ticket) = granted.ticket {
            self.gate.holders.insert(ticket, id);
        }
        let pin = granted.called == PIN;
        let mut before = None;
        self.change_call(id, |call| {
            if pin {
                PIN.clone_into(&mut call.parties[Party::Callee as usize]);
            }
            before = call.granted.replace(granted);
        });
        self.give_back(before, self.latest);
    }

    /// What was granted is not made use of: there is another in its place, or no room for the call.
    pub(crate) fn give_back(&mut self, granted: Option<Box<Granted>>, now: Time) {
        if let Some(ticket) = granted.and_then(|granted| granted.ticket) {
            self.gate.holders.remove(&ticket);
            // Nothing came of it, and there is nothing to be told.
            let now = self.gate.now(now);
            let _ = self.gate.desk.ended(ticket, Outcome::Replaced, now);
        }
    }

    /// The call's called number is known now, or has become another one: asks, with all digits, in place of what was
    /// granted before.
    ///
    /// # Errors
    /// Why it may not be called. The call is to be ended then, as [`EndReason::Refused`].
    pub(crate) fn ask_again(
        &mut self,
        context: &Context,
        id: CallId,
        asking: &Asking<'_>,
    ) -> Result<(), Why> {
        self.again(context, id, asking, Self::decide)
    }

    /// Asks, as [`Self::receive`], for a call that exists: it is known now from whom it comes.
    ///
    /// # Errors
    /// As [`Self::ask_again`].
    pub(crate) fn receive_call(
        &mut self,
        context: &Context,
        id: CallId,
        asking: &Asking<'_>,
    ) -> Result<(), Why> {
        self.again(context, id, asking, Self::accept)
    }

    /// Why no number that begins with these digits may be called, if that is so.
    pub(crate) fn hopeless(&mut self, context: &Context, asking: &Asking<'_>) -> Option<Why> {
        let now = self.gate.now(context.now);
        self.gate.asks.then(|| self.gate.desk.hopeless(&attempt(context, asking), now)).flatten()
    }

    /// Who ends a call, and why in the protocol's words: the first who says so is believed.
    pub(crate) fn ends(&mut self, id: CallId, by: Option<ReleasedBy>, cause: Option<Cause>) {
        if let Some(entry) = self.calls.get_mut(&id) {
            let call = &mut entry.call;
            (call.released_by, call.cause) = (call.released_by.or(by), call.cause.or(cause));
        }
    }

    /// Whether a device, or an address of record, of each of these names may register from where it is.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn may_register(&mut self, context: &Context, names: &[&str]) -> Result<(), Why> {
        if !self.gate.asks {
            return Ok(());
        }
        for name in names {
            let registration = registration(context.protocol, context.source.ip(), name);
            let admission = self.gate.desk.admit(&registration, self.gate.now(context.now));
            self.tell_alarms(context, &admission.alarms);
            if let Verdict::Refuse(why) = admission.verdict {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Names have been registered for so long.
    pub(crate) fn has_registered(
        &mut self,
        (now, protocol): (Time, Inspect),
        source: IpAddr,
        name: &str,
        life: Duration,
    ) {
        if self.gate.asks && !name.is_empty() {
            let now = self.gate.now(now);
            self.gate.desk.registered(&registration(protocol, source, name), life, now);
        }
    }

    /// A name is registered no more.
    pub(crate) fn has_unregistered(&mut self, protocol: Inspect, source: IpAddr, name: &str) {
        if self.gate.asks && !name.is_empty() {
            self.gate.desk.unregistered(&registration(protocol, source, name));
        }
    }

    /// The call was answered.
    pub(super) fn answered(&mut self, now: Time, id: CallId) {
        if let Some(ticket) = self.ticket(id) {
            self.gate.desk.connected(ticket, self.gate.now(now));
        }
    }

    /// The call is over.
    pub(super) fn left(&mut self, call: &Call, reason: EndReason) {
        let Some(ticket) = call.granted.as_deref().and_then(|granted| granted.ticket) else { return };
        self.gate.holders.remove(&ticket);
        let outcome = match reason {
            _ if call.connected.is_some() => Outcome::Answered,
            EndReason::Failed | EndReason::Expired | EndReason::Inactivity => Outcome::Failed,
            EndReason::ReleaseComplete if call.released_by == Some(ReleasedBy::Callee) => Outcome::Failed,
            EndReason::Replaced => Outcome::Replaced,
            _ => Outcome::Cancelled,
        };
        let now = self.gate.now(self.latest);
        let alarms = self.gate.desk.ended(ticket, outcome, now);
        self.tell_alarms_of(self.latest, call.protocol, call.signalling[0], &alarms);
    }

    /// Ends the calls whose limit has come.
    pub(super) fn end_at_limits(&mut self, now: Time) {
        if !self.gate.asks {
            return;
        }
        for over in self.gate.desk.tick(self.gate.now(now)) {
            let Some(id) = self.gate.holders.get(&over.ticket).copied() else { continue };
            let Some(call) = self.call(id) else { continue };
            let text = format!("{} ({}), {}", over.why.text(), over.why.name(), call.key);
            let subject = event::parties(call);
            let event =
                Event::at(now, EventKind::LimitReached, call.protocol, call.signalling[0], &subject, &text);
            self.tell(event);
            self.end_call(id, EndReason::Limit);
        }
    }

    /// A call of an earlier run counts again.
    pub(super) fn adopt(&mut self, id: CallId, now: Time) {
        let Some(call) = self.calls.get(&id).map(|entry| &entry.call).filter(|_| self.gate.asks) else {
            return;
        };
        let Some(granted) = call.granted.as_deref() else { return };
        let called = if granted.called == PIN { "" } else { &granted.called };
        let caller = Caller {
            names: &[&granted.numbers[0], &call.parties[0]],
            device: Some(granted.device.as_str()).filter(|device| !device.is_empty()),
            address: Some(call.signalling[0].ip()),
        };
        let attempt = Attempt {
            protocol: protocol(call.protocol),
            caller,
            called: &[called],
            to: Some(call.signalling[1].ip()),
        };
        let way = if granted.comes { Way::In } else { Way::Out };
        let answered = call.state == State::Connected;
        let Some(ticket) = self.gate.desk.adopt(&attempt, way, answered, self.gate.now(now)) else { return };
        self.gate.holders.insert(ticket, id);
        if let Some(granted) = self.calls.get_mut(&id).and_then(|entry| entry.call.granted.as_deref_mut()) {
            granted.ticket = Some(ticket);
        }
    }

    /// Has a call that exists decided about, in place of what was granted to it before.
    fn again(
        &mut self,
        context: &Context,
        id: CallId,
        asking: &Asking<'_>,
        decide: impl FnOnce(&mut Self, &Context, &Asking<'_>) -> (Way, Decision),
    ) -> Result<(), Why> {
        if !self.gate.asks {
            return Ok(());
        }
        let mut before = None;
        self.change_call(id, |call| before = call.granted.take());
        self.give_back(before, context.now);
        let decision = decide(self, context, asking);
        let (verdict, granted) = (decision.1.verdict, granted(asking, decision));
        if let Verdict::Refuse(why) = verdict {
            let cause = cause(context.protocol, why, self.declines());
            self.ends(id, Some(ReleasedBy::Firewall), Some(cause));
            self.grant(id, Some(Box::new(Granted { refused: Some(why.name()), ..granted })));
            return Err(why);
        }
        self.grant(id, Some(Box::new(granted)));
        if self.call(id).is_some_and(|call| call.state == State::Connected) {
            self.answered(context.now, id);
        }
        Ok(())
    }

    fn decide(&mut self, context: &Context, asking: &Asking<'_>) -> (Way, Decision) {
        let decision = self.gate.desk.decide(&attempt(context, asking), self.gate.now(context.now));
        self.tell_alarms(context, &decision.alarms);
        (Way::Out, decision)
    }

    fn accept(&mut self, context: &Context, asking: &Asking<'_>) -> (Way, Decision) {
        let decision = self.gate.desk.receive(&attempt(context, asking), self.gate.now(context.now));
        self.tell_alarms(context, &decision.alarms);
        (Way::In, decision)
    }

    /// What is granted to a call that does not exist yet; a refusal is remembered.
    fn settle(
        &mut self,
        context: &Context,
        asking: &Asking<'_>,
        decision: (Way, Decision),
    ) -> Result<Box<Granted>, Why> {
        if let Verdict::Refuse(why) = decision.1.verdict {
            let finished = self.refused(context, asking, &decision.1, why);
            self.actions.push(Action::Finished(Box::new(finished)));
            return Err(why);
        }
        Ok(Box::new(granted(asking, decision)))
    }

    fn ticket(&self, id: CallId) -> Option<Ticket> {
        self.call(id)?.granted.as_deref()?.ticket
    }

    fn tell_alarms(&mut self, context: &Context, alarms: &[Alarm]) {
        self.tell_alarms_of(context.now, context.protocol, context.source, alarms);
    }

    fn tell_alarms_of(&mut self, now: Time, protocol: Inspect, source: SocketAddr, alarms: &[Alarm]) {
        for alarm in alarms {
            let kind = match alarm.kind {
                AlarmKind::Emergency => EventKind::EmergencyCall,
                AlarmKind::FirstSeen => EventKind::NewDestination,
                AlarmKind::ShortCalls | AlarmKind::NightCalls | AlarmKind::FailedAttempts => {
                    EventKind::FraudSuspected
                }
                AlarmKind::UnknownDevice => EventKind::NewlySeen,
            };
            self.tell(Event::at(now, kind, protocol, source, alarm.kind.name(), &alarm.text));
        }
    }

    fn refused(&self, context: &Context, asking: &Asking<'_>, decision: &Decision, why: Why) -> Finished {
        let party = |place: usize| clip(asking.parties[place], MAX_PARTY).to_owned();
        let called = if decision.pin { PIN.to_owned() } else { party(1) };
        Finished {
            id: CallId(0),
            protocol: context.protocol,
            key: clip(asking.key, MAX_KEY).to_owned(),
            slot: context.slot,
            signalling: [context.source, context.destination],
            parties: [party(0), called],
            numbers: [decision.caller.as_str().to_owned(), decision.called.as_str().to_owned()],
            device: asking.device.unwrap_or_default().to_owned(),
            started: context.now,
            connected: None,
            ended: context.now,
            reason: EndReason::Refused,
            cause: Some(cause(context.protocol, why, self.declines())),
            released_by: Some(ReleasedBy::Firewall),
            permission: decision.permission.as_deref().unwrap_or_default().to_owned(),
            refused: Some(why.name()),
            emergency: false,
            media: Default::default(),
            streams: Vec::new(),
        }
    }
}

/// The SIP status and its phrase that fit.
pub(crate) const fn sip_status(why: Why, declines: bool) -> (u16, &'static str) {
    match (why.answer(), declines) {
        (Answer::Busy, _) => (503, "Service Unavailable"),
        (_, true) => (603, "Decline"),
        (_, false) => (403, "Forbidden"),
    }
}

/// The cause of Q.850 that fits.
pub(crate) const fn q850(why: Why) -> u8 {
    match why.answer() {
        Answer::Busy => 42,
        Answer::Forbidden | Answer::NotNow => 21,
    }
}

/// The return code of RFC 3435 section 2.4 that fits: of those for good, 540 (a limit is exceeded) or 502 (there is
/// nothing to do it with).
pub(crate) const fn mgcp_code(why: Why) -> u16 {
    match why.answer() {
        Answer::Busy => 540,
        Answer::Forbidden | Answer::NotNow => 502,
    }
}

fn cause(protocol: Inspect, why: Why, declines: bool) -> Cause {
    match protocol {
        Inspect::Sip => Cause::Sip(sip_status(why, declines).0),
        Inspect::Mgcp => Cause::Mgcp(mgcp_code(why)),
        _ => Cause::Q850(q850(why)),
    }
}

fn attempt<'a>(context: &Context, asking: &Asking<'a>) -> Attempt<'a> {
    Attempt {
        protocol: protocol(context.protocol),
        caller: Caller { names: asking.names, device: asking.device, address: Some(context.source.ip()) },
        called: asking.called,
        to: Some(context.destination.ip()),
    }
}

fn granted(asking: &Asking<'_>, (way, decision): (Way, Decision)) -> Granted {
    let called = if decision.pin { PIN } else { asking.called.first().copied().unwrap_or_default() };
    Granted {
        permission: decision.permission.as_deref().unwrap_or_default().to_owned(),
        numbers: [decision.caller.as_str().to_owned(), decision.called.as_str().to_owned()],
        device: asking.device.map(|device| clip(device, MAX_PARTY).to_owned()).unwrap_or_default(),
        called: clip(called, MAX_PARTY).to_owned(),
        emergency: decision.emergency,
        comes: way == Way::In,
        refused: None,
        ticket: decision.ticket,
    }
}

fn registration(protocol: Inspect, address: IpAddr, name: &str) -> Registration<'_> {
    Registration { protocol: self::protocol(protocol), name, address }
}

const fn protocol(protocol: Inspect) -> Protocol {
    match protocol {
        Inspect::Sccp => Protocol::Sccp,
        Inspect::Mgcp => Protocol::Mgcp,
        Inspect::H225 | Inspect::H245 | Inspect::Ras => Protocol::H323,
        _ => Protocol::Sip,
    }
}

/// A policy to try protocols with.
#[cfg(test)]
pub(crate) mod lab {
    use callgate_rules::RuleSet;

    use super::*;

    /// `100.` may call all, anybody else what is near and free; `13..` is called from inside alone.
    const POLICY: &str = r#"
[policy]
emergency = ["911", "9911"]
unmatched = "refuse"
strangers = ["internal"]
unknown_devices = "refuse"
permission.internal = { patterns = ["[12]...$"] }
permission.toll-free = { patterns = ["91800"] }
permission.local = { patterns = ["9[2-8]......$"] }
permission.long-distance = { patterns = ["91"] }
permission.premium = { patterns = ["91900"], longest = "10min" }
permission.international = { patterns = ["9011"] }

[[policy.caller]]
name = "executives"
numbers = ["100.$"]
outgoing = "all"

[[policy.caller]]
name = "staff"
numbers = ["11..$"]
outgoing = ["internal", "toll-free", "local"]
each = { calls = 1 }

[[policy.caller]]
name = "desks"
numbers = ["13..$"]
outgoing = ["internal"]
incoming = ["internal"]

[[policy.register]]
name = "phones"
names = ["SEP*", "1???", "1???@*"]
"#;

    /// Puts it in force, with more keys of `[policy]` at its head.
    pub(crate) fn govern(core: &mut Core, head: &str) {
        let text = POLICY.replacen("[policy]\n", &format!("[policy]\n{head}\n"), 1);
        let text = format!("version = 1\n{text}\n[[rule]]\nname = \"all\"\naction = \"pass\"\n");
        let rules = RuleSet::parse("rules.toml", &text).expect("valid rules");
        core.set_plan(rules.call_policy().cloned());
    }

    /// What the history was told, in words: from whom to whom, under which permission, and why it was refused.
    pub(crate) fn finished(actions: &[Action]) -> Vec<String> {
        let told = actions.iter().filter_map(|action| match action {
            Action::Finished(finished) => Some(finished),
            _ => None,
        });
        told.map(|f| {
            let cause = f.cause.map_or_else(String::new, |cause| format!(" {cause}"));
            let why = f.refused.map_or_else(|| f.reason.name().to_owned(), |why| format!("refused {why}"));
            let by = f.released_by.map_or("", ReleasedBy::name);
            format!("{} → {} [{}] {why}{cause} by {by}", f.parties[0], f.parties[1], f.permission)
        })
        .collect()
    }
}
