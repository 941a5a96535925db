//! SIP: messages → calls and their media (RFC 3261, RFC 3264).
//!
//! Owns what is known of each call beside its record: the tags that name its dialogs, the transactions that
//! have no final response yet, and the offers that have no answer yet. Guarantees that every address an SDP
//! body names reaches a pinhole only through [`Core::announce`], that a dialog is known by Call-ID and tags
//! and a response by its topmost Via, never by the transport's addresses, and that memory stays bounded per
//! Call-ID and in all.
//!
//! - A call through a proxy passes the firewall once per hop, with one Call-ID: each hop is a [`Call`] of its
//!   own, whose two ends are that hop's signalling peers. What one hop announces vouches for the other
//!   (see [`Core::authorise`]).
//! - An offer opens for the other party's signalling address; the answer narrows that to its media address.
//!   Within a dialog an offer only adds: what was agreed stays open until the answer takes its place, and a
//!   refused offer leaves no trace.
//! - Every fork of an INVITE that answers is a branch of the call's streams; the first 2xx closes the others.
//! - A call whose INVITE names another dialog in Replaces ends that one's media with its 2xx, if the party that
//!   answers is a party of it. REFER moves nothing by itself: what it leads to is signalled like any call.
//! - A BYE does not close by itself: its 2xx, 408 or 481 does, so that a forged one, which the other end
//!   challenges or refuses, cuts nobody off. If it has no response the dialog closes after [`BYE_GRACE`].

mod guard;
mod hop;
mod media;
mod policy;
mod registrations;
mod release;
mod subscriptions;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use callgate_protocols::sdp;
use callgate_protocols::sip::{self, Message, Method, Replaces, Start};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{Call, CallId, Party};
use crate::core::Core;
use crate::farewell::Farewells;
pub(crate) use guard::MAX_ATTEMPTS;
use hop::{Hop, Purpose, Transaction};
use media::Line;
use policy::{Screen, Why};
pub(crate) use registrations::MAX_BINDINGS;
use registrations::Registrations;
pub use registrations::{Binding, is_binding};
use release::Way;
pub(crate) use release::{Connection, LastWords};

/// How long a BYE may stay without a response before its dialog closes all the same: three retransmissions
/// (RFC 3261 section 17.1.2.2). Its sender has stopped listening long since (section 15.1.1).
pub const BYE_GRACE: Duration = Duration::from_secs(5);
/// How long a cancelled INVITE may stay without its final response (RFC 3261 section 9.1: 64*T1).
pub const CANCEL_GRACE: Duration = Duration::from_secs(32);
/// How long an offer within a dialog may stay without a final response: longer than a proxy waits for that of an
/// INVITE (RFC 3261 section 16.6: Timer C).
const OFFER_PATIENCE: Duration = Duration::from_secs(200);
/// How long after its interval a session counts as over that was not refreshed (RFC 4028 section 10).
const SESSION_GRACE: Duration = Duration::from_secs(32);
/// Least session interval, in seconds (RFC 4028 section 4).
const MIN_SESSION: u32 = 90;
/// Most calls that a limit has ended and that are remembered, and for how long.
const MAX_LIMITED: usize = 16_384;
const LIMITED: Duration = Duration::from_secs(24 * 3600);
/// Most hops of one Call-ID.
const MAX_HOPS: usize = 16;

/// All SIP calls.
#[derive(Debug, Default)]
pub struct Tracker {
    /// By Call-ID.
    calls: HashMap<String, Vec<Hop>>,
    registrations: Registrations,
    screen: Screen,
    /// Calls that a limit has ended, by Call-ID, and until when that is remembered.
    limited: HashMap<String, Time>,
    /// BYEs of the firewall's own, by transaction.
    farewells: Farewells<u64>,
}

impl Tracker {
    /// Reads one message: a datagram, or what [`sip::frame_length`] has cut out of a stream.
    pub fn message(&mut self, core: &mut Core, context: &Context, bytes: &[u8]) -> Verdict {
        if sip::is_keep_alive(bytes) {
            return Verdict::Pass;
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => return policy::not_sip(core, context, error),
        };
        if let Start::Response { status, .. } = message.start
            && message.method() == Method::Bye
            && !self.farewells.is_empty()
            && self.farewells.answered(&transaction_id(&message), status >= 200)
        {
            return Verdict::Absorb;
        }
        let checked = match message.start {
            Start::Request { .. } => self.check_request(core, context, bytes, &message),
            Start::Response { status, .. } => self.check_response(core, context, bytes, &message, status),
        };
        // Before it is read, as it may end its call; after it, where it begins one.
        let noted = self.note(core, context, &message, checked.is_err());
        if let Err(verdict) = checked {
            return verdict;
        }
        let verdict = match message.start {
            Start::Request { method, .. } => self.request(core, context, bytes, &message, method),
            Start::Response { status, .. } => {
                self.response(core, context, &message, status);
                Verdict::Pass
            }
        };
        if !noted {
            self.note(core, context, &message, false);
        }
        verdict
    }

    /// Time passes: closes what has waited for a response, or for a session refresh, for too long.
    pub fn tick(&mut self, core: &mut Core, now: Time) {
        for hops in self.calls.values_mut() {
            for hop in hops.iter_mut() {
                hop.tick(core, now);
            }
            hops.retain(|hop| !hop.over);
        }
        self.calls.retain(|_, hops| !hops.is_empty());
        self.registrations.tick(core, now);
        self.screen.tick(now);
        self.limited.retain(|_, until| *until > now);
        self.farewells.tick(core, now);
    }

    /// The core has ended this call by itself.
    pub fn ended(&mut self, call: &Call) {
        if is_binding(call) {
            return self.registrations.ended(call);
        }
        let Some(hops) = self.calls.get_mut(&call.key) else { return };
        hops.retain(|hop| hop.id != call.id);
        if hops.is_empty() {
            self.calls.remove(&call.key);
        }
    }

    /// A limit of the call policy has ended this call: its parties are told by BYE, where that can be, and what they
    /// offer each other next is answered 481, so that they hang up (RFC 3261 section 12.2.1.2). Its other hops end too.
    /// Gives the BYEs that only the last words of a connection can be. To be called before [`Self::ended`].
    pub(crate) fn limited(&mut self, core: &mut Core, call: &Call, now: Time) -> Vec<LastWords> {
        if self.limited.len() < MAX_LIMITED {
            self.limited.insert(call.key.clone(), now + LIMITED);
        }
        let Some(hops) = self.calls.get_mut(&call.key) else { return Vec::new() };
        let hop = hops.iter().find(|hop| hop.id == call.id);
        let last = hop.map(|hop| hop.say_bye(core, &mut self.farewells, &call.key, now));
        let called = call.granted.as_deref().map(|granted| &granted.called);
        hops.retain(|hop| {
            let granted = core.call(hop.id).and_then(|call| call.granted.as_deref());
            let passes_on = granted.is_some_and(|granted| granted.ticket.is_none())
                && granted.map(|granted| &granted.called) == called;
            if passes_on && hop.id != call.id {
                core.end_call(hop.id, EndReason::Limit);
            }
            !passes_on || hop.id == call.id
        });
        last.unwrap_or_default()
    }

    /// The connections that calls take, each with the call that takes it, or `None` where several do.
    pub(crate) fn connections(&self) -> HashMap<Connection, Option<CallId>> {
        let mut connections = HashMap::new();
        for hop in self.calls.values().flatten() {
            for connection in hop.connections() {
                let user = connections.entry(connection).or_insert(Some(hop.id));
                *user = user.filter(|id| *id == hop.id);
            }
        }
        connections
    }

    /// Takes up the calls of an earlier run from their records; calls of other protocols are left alone.
    pub fn restore(&mut self, calls: &[&Call]) {
        for call in calls.iter().filter(|call| call.protocol == Inspect::Sip && !is_binding(call)) {
            let hops = self.calls.entry(call.key.clone()).or_default();
            if hops.len() < MAX_HOPS {
                hops.push(Hop::restore(call));
            }
        }
    }

    /// Takes up the registrations of an earlier run.
    pub fn restore_bindings(&mut self, core: &mut Core, calls: &[Call], now: Time) {
        for call in calls.iter().filter(|call| is_binding(call)) {
            self.registrations.resume(core, now, call);
        }
    }

    /// Requests that wait for their answers.
    pub(crate) fn waiting(&self) -> usize {
        self.screen.guard.waiting()
    }

    /// Who is registered where.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.registrations.iter()
    }

    /// Whether a request with this Call-ID and these tags belongs to a dialog that is known, early ones included.
    pub(crate) fn knows_dialog(&self, call_id: &str, from_tag: &str, to_tag: &str) -> bool {
        let hops = self.calls.get(call_id).into_iter().flatten();
        hops.into_iter().any(|hop| hop.dialog(from_tag, to_tag).is_some())
    }

    fn request(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        message: &Message,
        method: Method,
    ) -> Verdict {
        let offers = matches!(method, Method::Invite | Method::Update | Method::Prack);
        if offers && self.limited.contains_key(message.call_id) {
            return self.refuse_request(core, context, bytes, message, Why::Limited);
        }
        if core.has_policy() && message.to.tag.is_some() {
            self.learn_way(core, context, message);
        }
        match method {
            Method::Invite if message.to.tag.is_none() => return self.invite(core, context, bytes, message),
            Method::Invite | Method::Update | Method::Prack | Method::Ack | Method::Bye => {
                let found = self.within_dialog(core, context, message, method);
                if !found && method == Method::Invite {
                    // A call older than the firewall: taken up where it is.
                    return self.invite(core, context, bytes, message);
                }
            }
            Method::Cancel => {
                let via = transaction_id(message);
                for hop in self.calls.get_mut(message.call_id).into_iter().flatten() {
                    hop.cancel(via, context.now);
                }
            }
            Method::Register if self.is_bare(core, context, message) => {}
            Method::Register => self.registrations.request(context, message, transaction_id(message)),
            // OPTIONS and the like describe what a party could do, and open nothing.
            Method::Options | Method::Other(_) => {}
        }
        Verdict::Pass
    }

    /// An INVITE that starts a call, repeats one with credentials, or is another branch of it.
    fn invite(&mut self, core: &mut Core, context: &Context, bytes: &[u8], message: &Message) -> Verdict {
        let tag = message.from.tag.unwrap_or_default();
        let described = if self.is_bare(core, context, message) { None } else { description(message) };
        let hops = self.calls.get(message.call_id).map_or(&[][..], Vec::as_slice);
        let place = match hops.iter().position(|hop| hop.continues(tag, context)) {
            Some(place) => {
                let id = hops[place].id;
                match self.grant_branch(core, context, message, id) {
                    Ok(granted) => core.grant(id, granted),
                    Err(why) => return self.refuse_request(core, context, bytes, message, Why::Policy(why)),
                }
                place
            }
            None => {
                if hops.len() >= MAX_HOPS {
                    return Verdict::Drop(Reason::AlgMemory);
                }
                let granted = match self.grant(core, context, message) {
                    Ok(granted) => granted,
                    Err(why) => return self.refuse_request(core, context, bytes, message, Why::Policy(why)),
                };
                let emergency = granted.as_deref().is_some_and(|granted| granted.emergency);
                let Some(id) = core.start(context, message.call_id, emergency) else {
                    core.give_back(granted, context.now);
                    return self.refuse_request(core, context, bytes, message, Why::Full);
                };
                core.change_call(id, |call| call.parties = [party(&message.from), party(&message.to)]);
                core.is_unheard(id, true);
                core.grant(id, granted);
                self.admit(core, context, message, id);
                let hops = self.calls.entry(message.call_id.to_owned()).or_default();
                // Most calls have one.
                hops.reserve_exact(1);
                hops.push(Hop::new(id, [context.source, context.destination], tag));
                hops.len() - 1
            }
        };
        let Some(hop) = self.calls.get_mut(message.call_id).and_then(|hops| hops.get_mut(place)) else {
            return Verdict::Pass;
        };
        let (id, number) = (transaction_id(message), message.cseq.number);
        if core.has_policy() {
            hop.learn_back(Way::back(context, message), release::uris(message));
            core.path(hop.id);
        }
        hop.invite(core, context, id, number, described, message.replaces());
        hop.remember(core);
        Verdict::Pass
    }

    /// A request within a dialog tells how its sender reaches the other party, and where it is reached itself.
    fn learn_way(&mut self, core: &mut Core, context: &Context, message: &Message) {
        let (from, to) = (message.from.tag.unwrap_or_default(), message.to.tag.unwrap_or_default());
        for hop in self.calls.get_mut(message.call_id).into_iter().flatten() {
            let Some((sender, dialog)) = hop.dialog(from, to) else { continue };
            if hop.nearness(sender, context) == 0 && !hop.is_only_way(sender, context) {
                continue;
            }
            let contact = message.contacts().next().and_then(Result::ok).map(|contact| contact.uri);
            hop.learn(dialog, sender, context, message, contact);
            if message.method() != Method::Bye {
                hop.remember(core);
            }
            if sender == Party::Caller {
                core.path(hop.id);
            }
        }
    }

    /// A request within a dialog; whether the dialog is known.
    fn within_dialog(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        method: Method,
    ) -> bool {
        let (from, to) = (message.from.tag.unwrap_or_default(), message.to.tag.unwrap_or_default());
        let Some(hops) = self.calls.get_mut(message.call_id) else { return false };
        // A proxy that does not stay in the path leaves the parties to talk directly: then the message belongs
        // to every hop of the dialog, otherwise to the hop it was seen on.
        let nearness = |hop: &Hop| hop.dialog(from, to).map(|(sender, _)| hop.nearness(sender, context));
        let Some(nearest) = hops.iter().filter_map(nearness).max() else { return false };
        let id = transaction_id(message);
        let offer = description(message);
        for hop in hops.iter_mut().filter(|hop| nearness(hop) == Some(nearest)) {
            let Some((sender, dialog)) = hop.dialog(from, to) else { continue };
            match method {
                Method::Bye => {
                    let deadline = Some(context.now + BYE_GRACE);
                    let branch = hop.dialogs[dialog].branch;
                    let purpose = Purpose::Bye { branch };
                    hop.begin(Transaction::new(id, message.cseq.number, sender, purpose, None, deadline));
                }
                Method::Ack | Method::Prack if hop.awaits_answer(dialog, sender) => {
                    if let Some(answer) = &offer {
                        hop.answer_offer_of_response(core, context, dialog, answer);
                    }
                }
                Method::Ack => {}
                // It acknowledges a provisional response and says nothing about media.
                Method::Prack if offer.is_none() => {}
                _ => hop.offer(core, context, dialog, sender, id, message.cseq.number, offer.clone()),
            }
        }
        true
    }

    fn response(&mut self, core: &mut Core, context: &Context, message: &Message, status: u16) {
        let id = transaction_id(message);
        if message.method() == Method::Register {
            return self.registrations.response(core, context, message, id);
        }
        let Some(hops) = self.calls.get_mut(message.call_id) else { return };
        let described = description(message);
        let mut replaced = None;
        for hop in hops.iter_mut() {
            let Some(place) = hop.transactions.iter().position(|t| t.is(id, message.cseq.number)) else {
                continue;
            };
            core.is_unheard(hop.id, false);
            match (hop.transactions[place].purpose, message.method()) {
                (Purpose::Invite { .. }, Method::Invite) => {
                    let tag = message.to.tag.unwrap_or_default();
                    if (200..300).contains(&status) {
                        replaced = replaced.or_else(|| hop.transactions[place].replaces.take());
                    }
                    hop.invite_response(core, context, place, status, tag, described.as_deref());
                }
                (Purpose::Offer { .. }, Method::Invite | Method::Update | Method::Prack) => {
                    hop.offer_response(core, context, place, status, described.as_deref());
                }
                (Purpose::Bye { branch }, Method::Bye) if status >= 200 => {
                    let bye = hop.transactions.remove(place);
                    if status < 300 || matches!(status, 408 | 481) {
                        core.ends(hop.id, Some(bye.by.into()), None);
                        hop.end_dialog(core, branch, EndReason::Bye);
                    }
                }
                _ => {}
            }
            if (200..300).contains(&status) && matches!(message.method(), Method::Invite | Method::Update) {
                let interval =
                    message.session_expires().map(|n| Duration::from_secs(n.max(MIN_SESSION).into()));
                hop.session_until = interval.map(|interval| context.now + interval + SESSION_GRACE);
            }
            hop.remember(core);
        }
        hops.retain(|hop| !hop.over);
        if hops.is_empty() {
            self.calls.remove(message.call_id);
        }
        if let Some(replaced) = replaced {
            self.replaced(core, context, &replaced);
        }
    }

    /// The sender of this message has agreed that a call takes the place of one of its dialogs.
    fn replaced(&mut self, core: &mut Core, context: &Context, replaces: &Replaces) {
        let Some(hops) = self.calls.get_mut(&*replaces.call_id) else { return };
        for hop in hops.iter_mut() {
            hop.replaced(core, replaces, context);
            hop.remember(core);
        }
        hops.retain(|hop| !hop.over);
        if hops.is_empty() {
            self.calls.remove(&*replaces.call_id);
        }
    }
}

/// The media a message describes; `None` where it describes none, or none that could be read.
fn description(message: &Message) -> Option<Vec<Line>> {
    sdp::Session::parse(message.sdp()?).ok().map(|session| media::lines(&session))
}

/// Names a transaction on its hop: branch and sent-by of the topmost Via (RFC 3261 section 17.2.3).
fn transaction_id(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.via.branch, message.via.host, message.via.port).hash(&mut hasher);
    hasher.finish()
}

/// A party as people know it: `user@host`, or the URI where it is no SIP URI.
fn party(address: &sip::Address) -> String {
    match address.sip_uri() {
        Some(uri) if uri.user.is_empty() => uri.host.to_owned(),
        Some(uri) => format!("{}@{}", uri.user, uri.host),
        None => address.uri.to_owned(),
    }
}

#[cfg(test)]
mod tests;
