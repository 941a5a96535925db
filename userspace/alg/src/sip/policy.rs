//! What the rules file says of SIP, put to a message: which are refused, and in which words.
//!
//! Runs before anything is read into a message. Owns what it needs for that: rates, subscriptions, and the requests
//! that wait for their response ([`Guard`]). What a permitted message means is the tracker's business.

use std::borrow::Cow;
use std::net::IpAddr;

use callgate_policy as policy;
use callgate_protocols::sip::{self, Message, Method, Uri};
use callgate_rules::UnknownMessage;
use callgate_rules::inspect::sip::{
    Dialogs, Methods, Notify, PartyFilter, Rate, Rates, Replaces, SipPolicy, UnknownMethod,
};
use callgate_rules::ruleset::Period;
use callgate_shared::Reason;

use super::guard::Guard;
use super::subscriptions::Subscriptions;
use super::{Tracker, party, transaction_id};
use crate::action::{Context, Denial, EndReason, Time, Verdict};
use crate::call::{Call, CallId, Granted, Party, State};
use crate::core::Core;
use crate::core::gate::{self, Asking};
use crate::event::{Event, EventKind};
use crate::finished::Cause;
use crate::ladder::Step;
use crate::pace::Paces;

/// Most places whose rate is known; those that find no room share one.
const MAX_PACES: usize = 65_536;
/// Refusals that are answered to one source; others are dropped.
const ANSWERS: Rate = Rate { events: 100, period: Period::Second };
/// Most identities of a caller that are compared; no honest one has so many.
const MAX_IDENTITIES: usize = 8;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    TooLong(u32),
    TooManyFields(u32),
    UriTooLong(u32),
    MaxForwards(u32),
    Scanner,
    UnknownMethod,
    Method,
    NotInDialog,
    Forbidden,
    NotSubscribed,
    Replaces,
    Calling,
    Called,
    TooManyCalls(u32),
    TooManyOfSource(u32),
    TooFast,
    TooFastTo,
    Guessed,
    Crowded,
    /// There is no room for another call.
    Full,
    WithoutCredentials,
    /// What the call policy says.
    Policy(policy::Why),
    /// It has ended this call.
    Limited,
}

impl Why {
    /// For people.
    fn text(self) -> String {
        match self {
            Self::TooLong(most) => format!("longer than {most} bytes"),
            Self::TooManyFields(most) => format!("more than {most} header fields"),
            Self::UriTooLong(most) => format!("a Request-URI longer than {most} bytes"),
            Self::MaxForwards(most) => format!("Max-Forwards above {most}"),
            Self::Scanner => "sent by a scanner".to_owned(),
            Self::UnknownMethod => "a method of no standard".to_owned(),
            Self::Method => "this method is not permitted here".to_owned(),
            Self::NotInDialog => "outside a dialog".to_owned(),
            Self::Forbidden => "this method is forbidden".to_owned(),
            Self::NotSubscribed => "nobody has subscribed to it".to_owned(),
            Self::Replaces => "it would take the place of another call".to_owned(),
            Self::Calling => "this party may not call".to_owned(),
            Self::Called => "this party may not be called".to_owned(),
            Self::TooManyCalls(most) => format!("there are {most} calls already"),
            Self::TooManyOfSource(most) => format!("this address has {most} calls already"),
            Self::TooFast => "too many requests in a short time".to_owned(),
            Self::TooFastTo => "too many requests to one address in a short time".to_owned(),
            Self::Guessed => "credentials of this account are being guessed".to_owned(),
            Self::Crowded => "too many requests wait for their answers".to_owned(),
            Self::Full => "there is no room for another call".to_owned(),
            Self::WithoutCredentials => "it succeeded without credentials".to_owned(),
            Self::Policy(why) => format!("{} ({})", why.text(), why.name()),
            Self::Limited => "a limit has ended its call".to_owned(),
        }
    }

    /// For the protocol: status and reason phrase (RFC 3261 section 21). `None`: nothing is said.
    const fn answer(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Scanner => return None,
            Self::TooLong(_) => (513, "Message Too Large"),
            Self::UriTooLong(_) => (414, "Request-URI Too Long"),
            Self::TooManyFields(_) | Self::MaxForwards(_) => (400, "Bad Request"),
            Self::TooManyCalls(_)
            | Self::TooManyOfSource(_)
            | Self::TooFast
            | Self::TooFastTo
            | Self::Crowded
            | Self::Full => (503, "Service Unavailable"),
            Self::Policy(why) => gate::sip_status(why, false),
            Self::Limited => (481, "Call/Transaction Does Not Exist"),
            _ => (403, "Forbidden"),
        })
    }
}

/// Whose rate is kept: an address, under the rules that share a limit, and for which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    scope: Option<u32>,
    /// By destination.
    to: bool,
    /// Place of the method in [`Rates::methods`]; `None`: all requests.
    method: Option<usize>,
    ip: IpAddr,
}

/// What the checks remember.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) guard: Guard,
    pub(super) subscriptions: Subscriptions,
    paces: Paces<Place>,
    answers: Paces<IpAddr>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            subscriptions: Subscriptions::default(),
            paces: Paces::new(MAX_PACES),
            answers: Paces::new(MAX_PACES),
        }
    }
}

impl Screen {
    /// Time passes.
    pub(super) fn tick(&mut self, now: Time) {
        self.guard.tick(now);
        self.subscriptions.tick(now);
        self.paces.tick(now);
        self.answers.tick(now);
    }

    /// Whether a request keeps the rates of its source and of its destination; if so it is counted.
    fn keeps_rates(&mut self, core: &Core, context: &Context, method: &str) -> Result<(), Why> {
        let (policy, scope) = (core.policy().sip(context.slot), core.policy().sip_scope(context.slot));
        let mut keeps = |rates: &Rates, to: bool, ip: IpAddr| {
            let own = rates.of(method).map(|(place, rate)| (Some(place), rate));
            own.into_iter().chain(rates.any.map(|rate| (None, rate))).all(|(method, rate)| {
                let place = Place { scope, to, method, ip };
                let crowd = Place { ip: IpAddr::from([0; 4]), ..place };
                self.paces.keeps_or_shares(place, crowd, context.now, rate)
            })
        };
        keeps(&policy.rates, false, context.source.ip()).then_some(()).ok_or(Why::TooFast)?;
        keeps(&policy.rates_to, true, context.destination.ip()).then_some(()).ok_or(Why::TooFastTo)
    }
}

impl Tracker {
    /// Whether a request may go on, and what it is refused with if not.
    pub(super) fn check_request(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        message: &Message,
    ) -> Result<(), Verdict> {
        match self.request_permitted(core, context, bytes, message) {
            Ok(()) => Ok(()),
            Err(why) => {
                if why == Why::Scanner {
                    let agent = message.user_agent().unwrap_or_default();
                    self.screen.guard.scanner(core, context, agent);
                }
                Err(self.refuse_request(core, context, bytes, message, why))
            }
        }
    }

    fn request_permitted(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        message: &Message,
    ) -> Result<(), Why> {
        let policy = core.policy().sip(context.slot);
        let method = message.method();
        // Whatever else there is to be said of it.
        if method == Method::Invite && core.is_emergency(&borrowed(&called(message))) {
            return Ok(());
        }
        within_bounds(policy, bytes, message)?;
        if matches!(method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let now = context.now;
        let in_dialog = self.is_in_dialog(message) || self.screen.subscriptions.has(message, now);
        match method.name() {
            "REFER" => within(policy.refer, in_dialog)?,
            "SUBSCRIBE" => within(policy.subscribe, in_dialog)?,
            "MESSAGE" => within(policy.message, in_dialog)?,
            "NOTIFY" => {
                let expected = in_dialog || self.screen.subscriptions.expects(message, now);
                match policy.notify {
                    Notify::Refuse => return Err(Why::Forbidden),
                    Notify::Subscribed if !expected => return Err(Why::NotSubscribed),
                    _ if expected => {
                        self.screen.subscriptions.notified(message, now);
                        return Ok(());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        if in_dialog {
            self.screen.subscriptions.request(message, now);
            return Ok(());
        }
        if let Some(agent) = message.user_agent()
            && policy.scanners.iter().any(|pattern| pattern.matches(agent))
        {
            return Err(Why::Scanner);
        }
        let back = core.policy().goes_back(context.slot, context.source.ip(), context.destination.ip());
        method_permitted(policy, method, back)?;
        if method == Method::Invite && message.has_replaces() {
            match policy.replaces {
                Replaces::Allow => {}
                Replaces::Known if self.knows_replaced(message) => {}
                _ => return Err(Why::Replaces),
            }
        }
        parties_permitted(policy, message)?;
        let id = self.screen.guard.attempt_id(context.source, message);
        if self.screen.guard.is_repeated(id) {
            return Ok(());
        }
        if let Some(account) = self.screen.guard.account(message)
            && self.screen.guard.is_guessed(policy, &account, now)
            && !self.registrations.is_account_at(&account.name, context.source.ip())
        {
            return Err(Why::Guessed);
        }
        if method == Method::Invite {
            self.calls_permitted(core, context, message)?;
        }
        self.screen.keeps_rates(core, context, method.name())?;
        let bare = needs_credentials(policy, method) && !message.has_credentials();
        if bare && !self.screen.guard.has_room() {
            return Err(Why::Crowded);
        }
        if method == Method::Register {
            self.may_register(core, context, message)?;
        }
        self.screen.subscriptions.request(message, now);
        let known = self.registrations.knows(context.source.ip());
        self.screen.guard.enter(core, context, message, (id, bare, known));
        Ok(())
    }

    /// Whether a response may go on, and what becomes of it if not; what it says of its request is noted.
    pub(super) fn check_response(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        message: &Message,
        status: u16,
    ) -> Result<(), Verdict> {
        let policy = core.policy().sip(context.slot);
        let emergency = core.has_policy()
            && self
                .calls
                .get(message.call_id)
                .is_some_and(|hops| hops.iter().any(|hop| core.is_emergency_call(hop.id)));
        if let Err(why) = within_bounds(policy, bytes, message)
            && !emergency
        {
            core.tell(Event::new(context, EventKind::Refused, subject(message).as_ref(), &why.text()));
            return Err(Verdict::Drop(Reason::AlgRefused));
        }
        let id = self.screen.guard.attempt_id(context.destination, message);
        let succeeds = match message.method() {
            Method::Invite => (101..300).contains(&status),
            _ => (200..300).contains(&status),
        };
        let bare = self.screen.guard.attempt(id, context.destination).is_some_and(|attempt| attempt.bare);
        if bare && succeeds {
            let why = Why::WithoutCredentials;
            core.tell(Event::new(context, EventKind::Refused, subject(message).as_ref(), &why.text()));
            self.end_refused(core, message);
            let notify = sip::reply_instead(bytes, 403, "Forbidden");
            return Err(Denial { reason: Reason::AlgRefused, reply: None, notify, sequence: None }.into());
        }
        let known = self.registrations.knows(context.destination.ip());
        self.screen.guard.answered(core, context, message, (id, status, known));
        self.screen.subscriptions.response(message, status, context.now);
        Ok(())
    }

    /// Ends the calls that an INVITE, which its sender reads to have been refused, has begun.
    fn end_refused(&mut self, core: &mut Core, message: &Message) {
        let Some(hops) = self.calls.get_mut(message.call_id) else { return };
        let (id, number) = (transaction_id(message), message.cseq.number);
        hops.retain(|hop| {
            let answered = core.call(hop.id).is_some_and(|call| call.state == State::Connected);
            let refused = !answered && hop.transactions.iter().any(|transaction| transaction.is(id, number));
            if refused {
                core.end_call(hop.id, EndReason::Refused);
            }
            !refused
        });
        if hops.is_empty() {
            self.calls.remove(message.call_id);
        }
    }

    /// Whether this request waits to be challenged: it opens nothing and registers nothing.
    pub(super) fn is_bare(&self, core: &Core, context: &Context, message: &Message) -> bool {
        if core.policy().sip(context.slot).require_auth.is_none() {
            return false;
        }
        let id = self.screen.guard.attempt_id(context.source, message);
        self.screen.guard.attempt(id, context.source).is_some_and(|attempt| attempt.bare)
    }

    /// Whether an INVITE that starts a call keeps the numbers of calls there may be.
    fn calls_permitted(&self, core: &Core, context: &Context, message: &Message) -> Result<(), Why> {
        let policy = core.policy().sip(context.slot);
        if policy.dialogs_max.is_none() && policy.dialogs_per_source.is_none() {
            return Ok(());
        }
        if self.continues_call(context, message) || self.passes_on(context, message) {
            return Ok(());
        }
        let scope = core.policy().sip_scope(context.slot);
        if let Some(most) = policy.dialogs_max
            && core.load().under(|slot| core.policy().sip_scope(slot) == scope) >= most
        {
            return Err(Why::TooManyCalls(most));
        }
        if let Some(most) = policy.dialogs_per_source
            && core.load().by(context.source.ip()) >= most
        {
            return Err(Why::TooManyOfSource(most));
        }
        Ok(())
    }

    /// Asks the call policy whether an INVITE may begin a call. The next hop of a call to the same party is part of it.
    pub(super) fn grant(
        &self,
        core: &mut Core,
        context: &Context,
        message: &Message,
    ) -> Result<Option<Box<Granted>>, policy::Why> {
        if !core.has_policy() {
            return Ok(None);
        }
        let called = called(message);
        let hops = self.calls.get(message.call_id).map_or(&[][..], Vec::as_slice);
        let before = hops.iter().filter(|hop| hop.callee().ip() == context.source.ip());
        let mut granted = before.filter_map(|hop| core.call(hop.id)?.granted.as_deref());
        if let Some(same) = granted.find(|granted| called.first() == Some(&granted.called)) {
            return Ok(Some(Box::new(Granted { ticket: None, ..same.clone() })));
        }
        let (device, names) = self.caller(context, message);
        let (from, to) = (party(&message.from), party(&message.to));
        let asking = Asking {
            names: &borrowed(&names),
            device: device.as_deref(),
            called: &borrowed(&called),
            key: message.call_id,
            parties: [&from, &to],
        };
        core.ask(context, &asking)
    }

    /// Asks the call policy about another INVITE of a call: one to the same party needs no asking.
    pub(super) fn grant_branch(
        &self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        call: CallId,
    ) -> Result<Option<Box<Granted>>, policy::Why> {
        let granted = core.call(call).and_then(|call| call.granted.as_deref());
        let same = |granted: &Granted| called(message).first() == Some(&granted.called);
        if !core.has_policy() || granted.is_some_and(same) {
            return Ok(None);
        }
        self.grant(core, context, message)
    }

    /// Whom a caller is known as. Where it has registered, it is one of those, whatever it says: the one it says, or the
    /// only one; of several nobody knows which. Else it is believed.
    fn caller(&self, context: &Context, message: &Message) -> (Option<String>, Vec<String>) {
        let said: Vec<String> = names(message.from.uri).collect();
        let registered = || self.registrations.names_at(context.source.ip());
        let own = |aor: &&str| said.iter().any(|name| name == aor || *name == bare_user(aor));
        let Some(first) = registered().next() else { return (None, said) };
        if let Some(aor) = registered().find(own) {
            return (Some(aor.to_owned()), said);
        }
        match registered().all(|aor| aor == first) {
            true => (Some(first.to_owned()), vec![bare_user(first), first.to_owned()]),
            false => (None, Vec::new()),
        }
    }

    /// Whether the address of record of a REGISTER may be bound from where it comes; to take a binding back is free.
    fn may_register(&self, core: &mut Core, context: &Context, message: &Message) -> Result<(), Why> {
        let mut contacts = message.contacts().filter_map(Result::ok);
        if contacts.all(|contact| contact.expires.or(message.expires()) == Some(0)) {
            return Ok(());
        }
        let aor = party(&message.to);
        core.may_register(context, &[&aor]).map_err(Why::Policy)
    }

    /// A call begins: it counts, unless it is the next hop of one that there is already, and ends in time.
    pub(super) fn admit(&self, core: &mut Core, context: &Context, message: &Message, call: CallId) {
        if !self.passes_on(context, message) {
            core.count_call(call);
        }
        if let Some(longest) = core.policy().sip(context.slot).call_max {
            core.ends_by(call, context.now + longest);
        }
    }

    /// Notes a message in the ladders of its call; whether there was one.
    pub(super) fn note(&self, core: &mut Core, context: &Context, message: &Message, refused: bool) -> bool {
        let Some(hops) = self.calls.get(message.call_id) else { return false };
        let method = message.method().name();
        let response = message.status().map(|status| format!("{status} {method}"));
        let name = response.as_deref().unwrap_or(method);
        let mut noted = false;
        for hop in hops {
            let Some(by) = core.call(hop.id).and_then(|call| sender(call, context)) else { continue };
            core.note(hop.id, Step::new(context.now, by, name, message.sdp().is_some(), refused));
            noted = true;
        }
        noted
    }

    /// Whether a request is within a dialog of a call that is known.
    fn is_in_dialog(&self, message: &Message) -> bool {
        let tags = message.from.tag.zip(message.to.tag);
        tags.is_some_and(|(from, to)| self.knows_dialog(message.call_id, from, to))
    }

    /// Whether the dialog an INVITE is to take the place of is known.
    fn knows_replaced(&self, message: &Message) -> bool {
        message
            .replaces()
            .is_some_and(|dialog| self.knows_dialog(&dialog.call_id, &dialog.from_tag, &dialog.to_tag))
    }

    /// Whether an INVITE repeats one that has begun a call, with credentials say.
    fn continues_call(&self, context: &Context, message: &Message) -> bool {
        let tag = message.from.tag.unwrap_or_default();
        self.calls.get(message.call_id).is_some_and(|hops| hops.iter().any(|hop| hop.continues(tag, context)))
    }

    /// Whether an INVITE is the next hop of a call that there is already: who was called passes it on.
    fn passes_on(&self, context: &Context, message: &Message) -> bool {
        self.calls
            .get(message.call_id)
            .is_some_and(|hops| hops.iter().any(|hop| hop.callee().ip() == context.source.ip()))
    }

    pub(super) fn refuse_request(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        message: &Message,
        why: Why,
    ) -> Verdict {
        let text = format!("{}: {}", message.method().name(), why.text());
        core.tell(Event::new(context, EventKind::Refused, subject(message).as_ref(), &text));
        let source = context.source;
        let crowd = IpAddr::from([0; 4]);
        let answered = why
            .answer()
            .filter(|_| self.screen.answers.keeps_or_shares(source.ip(), crowd, context.now, ANSWERS));
        // Its repetitions, and a flood, are told of as seldom as they are answered.
        if let Some((status, _)) = answered
            && !matches!(why, Why::Policy(_))
            && message.method() == Method::Invite
            && message.to.tag.is_none()
        {
            let parties = [party(&message.from), party(&message.to)];
            let parties = parties.each_ref().map(AsRef::as_ref);
            core.attempt_refused(context, message.call_id, parties, Some(Cause::Sip(status)));
        }
        let (declines, mut why_so) = (core.declines(), String::new());
        let answered = match why {
            Why::Policy(why) => {
                why_so = format!("Q.850;cause={};text=\"{}\"", gate::q850(why), why.text());
                answered.map(|_| gate::sip_status(why, declines))
            }
            _ => answered,
        };
        let extra = [("Reason", why_so.as_str())];
        let extra = if why_so.is_empty() { &[][..] } else { &extra };
        let reply = answered.and_then(|(status, reason)| sip::reply(bytes, source, status, reason, extra));
        Denial { reason: Reason::AlgRefused, reply, notify: None, sequence: None }.into()
    }
}

/// Which party of a call has sent a message; `None` where it passed another hop.
fn sender(call: &Call, context: &Context) -> Option<Party> {
    let [caller, callee] = call.signalling;
    let (from, to) = (context.source, context.destination);
    if (from, to) == (caller, callee) {
        Some(Party::Caller)
    } else if (from, to) == (callee, caller) || (from.ip(), to.ip()) == (callee.ip(), caller.ip()) {
        Some(Party::Callee)
    } else if (from.ip(), to.ip()) == (caller.ip(), callee.ip()) {
        Some(Party::Caller)
    } else {
        None
    }
}

/// What becomes of bytes that cannot be read.
pub(super) fn not_sip(core: &mut Core, context: &Context, error: sip::Error) -> Verdict {
    match core.policy().sip(context.slot).not_sip {
        UnknownMessage::Pass => Verdict::Pass,
        UnknownMessage::Drop => {
            core.tell(Event::new(context, EventKind::Violation, "", &error.to_string()));
            Verdict::Drop(Reason::AlgMalformed)
        }
    }
}

/// Whether a message is as large as it may be.
fn within_bounds(policy: &SipPolicy, bytes: &[u8], message: &Message) -> Result<(), Why> {
    let above = |value: usize, most: u32| usize::try_from(most).is_ok_and(|most| value > most);
    if above(bytes.len(), policy.message_max) {
        return Err(Why::TooLong(policy.message_max));
    }
    if above(message.field_count(), policy.headers_max) {
        return Err(Why::TooManyFields(policy.headers_max));
    }
    if let Some(uri) = message.request_uri() {
        if above(uri.len(), policy.uri_max) {
            return Err(Why::UriTooLong(policy.uri_max));
        }
        if message.max_forwards.is_some_and(|hops| u32::from(hops) > policy.max_forwards) {
            return Err(Why::MaxForwards(policy.max_forwards));
        }
    }
    Ok(())
}

fn within(permitted: Dialogs, in_dialog: bool) -> Result<(), Why> {
    match permitted {
        Dialogs::Refuse => Err(Why::Forbidden),
        Dialogs::Inside if !in_dialog => Err(Why::NotInDialog),
        _ => Ok(()),
    }
}

/// Whether a method may be used outside dialogs, by whoever is on this side of the rule.
fn method_permitted(policy: &SipPolicy, method: Method<'_>, back: bool) -> Result<(), Why> {
    const KNOWN: [&str; 6] = ["INFO", "MESSAGE", "NOTIFY", "PUBLISH", "REFER", "SUBSCRIBE"];
    if let Method::Other(name) = method
        && policy.unknown_methods == UnknownMethod::Refuse
        && !KNOWN.contains(&name)
    {
        return Err(Why::UnknownMethod);
    }
    let goes_with_invite =
        matches!(method, Method::Bye | Method::Prack | Method::Update | Method::Other("INFO"));
    let permitted = |methods: &Methods| {
        methods.has(method.name()) || goes_with_invite && methods.has(Method::Invite.name())
    };
    policy.methods(back).is_none_or(permitted).then_some(()).ok_or(Why::Method)
}

fn needs_credentials(policy: &SipPolicy, method: Method<'_>) -> bool {
    policy.require_auth.as_ref().is_some_and(|methods| methods.has(method.name()))
}

/// Whether the parties of a request outside dialogs are permitted.
fn parties_permitted(policy: &SipPolicy, message: &Message) -> Result<(), Why> {
    let refers = message.method() == Method::Other("REFER");
    if !(refers || matches!(message.method(), Method::Invite | Method::Other("MESSAGE"))) {
        return Ok(());
    }
    if !policy.calling.is_open() {
        let asserted = message.asserted_identities().take(MAX_IDENTITIES + 1);
        let asserted: Result<Vec<_>, _> =
            asserted.map(|address| address.map(|address| address.uri)).collect();
        let mut uris = asserted.map_err(|_| Why::Calling)?;
        uris.push(message.from.uri);
        permits(&policy.calling, &uris).then_some(()).ok_or(Why::Calling)?;
    }
    if !policy.called.is_open() {
        let to = if refers { message.refer_to().map(|address| address.uri) } else { message.request_uri() };
        let to = to.ok_or(Why::Called)?;
        permits(&policy.called, &[to]).then_some(()).ok_or(Why::Called)?;
    }
    Ok(())
}

fn permits(filter: &PartyFilter, uris: &[&str]) -> bool {
    let names: Vec<String> = uris.iter().flat_map(|uri| names(uri)).collect();
    uris.len() <= MAX_IDENTITIES && filter.permits(names.iter().map(String::as_str))
}

/// The names a party goes by: its user or number, and `user@host`.
fn names(uri: &str) -> impl Iterator<Item = String> + use<> {
    let user = sip::user_of(uri).map(|user| bare_number(&sip::unescape(user)));
    let at_host = Uri::parse(uri).map(|uri| match &user {
        Some(user) => format!("{user}@{}", uri.host),
        None => uri.host.to_owned(),
    });
    user.into_iter().chain(at_host)
}

/// A user as it is compared: without parameters (RFC 3966 section 5.1, RFC 3261 section 19.1.6), and a number without
/// its visual separators.
fn bare_number(user: &str) -> String {
    let user = user.split(';').next().unwrap_or_default();
    let of_number = |byte: u8| byte.is_ascii_digit() || b"+*#-.()".contains(&byte);
    if user.bytes().any(|byte| byte.is_ascii_digit()) && user.bytes().all(of_number) {
        return user.chars().filter(|c| !"-.()".contains(*c)).collect();
    }
    user.to_owned()
}

/// Whom an INVITE calls: where it is routed to, whatever its To says (RFC 3261 section 8.1.1.1).
fn called(message: &Message) -> Vec<String> {
    let Some(uri) = message.request_uri() else { return Vec::new() };
    // A service's URN is neither a number nor a user.
    match sip::user_of(uri) {
        Some(_) => names(uri).take(1).collect(),
        None => vec![uri.to_owned()],
    }
}

/// The user of an address of record.
fn bare_user(aor: &str) -> String {
    bare_number(&sip::unescape(aor.rsplit_once('@').map_or(aor, |(user, _)| user)))
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Whom a message is about.
fn subject<'m>(message: &Message<'m>) -> Cow<'m, str> {
    let (from, to) = (party(&message.from), party(&message.to));
    if from == to { from.into() } else { format!("{from} → {to}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_goes_by_its_number_however_it_is_written() {
        let all = |uri: &str| names(uri).collect::<Vec<_>>();
        assert_eq!(all("sip:+49-30-123@host.example"), ["+4930123", "+4930123@host.example"]);
        assert_eq!(all("sip:%30900.1@10.0.0.1:5080;user=phone"), ["09001", "09001@10.0.0.1"]);
        assert_eq!(all("sip:0900;phone-context=x@h"), ["0900", "0900@h"]);
        assert_eq!(all("tel:+1(212)555-0100;ext=1"), ["+12125550100"]);
        assert_eq!(all("sip:a.b@h"), ["a.b", "a.b@h"], "a name keeps its dots");
        assert_eq!(all("sip:h"), ["h"]);
    }
}
