//! What the trackers share: calls, their streams, and who may announce what.
//!
//! Owns the calls, the registered addresses and the pinholes, and gathers the actions. Guarantees that no
//! address enters a call before [`Core::authorise`] has agreed, that no call outlives its [`Lifetimes`], and
//! that memory stays within [`Bounds`]. What a message *means* is the trackers' business.

pub(crate) mod gate;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_rules::inspect::sip::NatClients;
use callgate_rules::ruleset::ByProtocol;
use callgate_shared::policy::Inspect;

use crate::action::{Action, Context, EndReason, PinholeSpec, Saying, Suspect, Time, Transport};
use crate::call::{Behind, Call, CallId, MAX_CANDIDATES, Medium, Party, State, Stream, StreamKey};
use crate::event::Event;
use crate::finished::Finished;
use crate::ladder::{Ended, Ladder, Ladders, Step};
use crate::load::Load;
use crate::media::{Authority, Policy, Refusal};
use crate::pinholes::{PinholeTable, claims};
use gate::Gate;

/// Bytes of [`Call::key`].
const MAX_KEY: usize = 256;
/// Bytes of one of [`Call::parties`].
const MAX_PARTY: usize = 128;
/// Bytes of [`Call::memo`].
const MAX_MEMO: usize = 1024;
/// Bytes of [`Stream::codec`].
const MAX_CODEC: usize = 32;

/// Calls beyond the bound that emergency calls may be …
const EMERGENCY_CALLS: usize = 1_024;
/// … and pinholes.
const EMERGENCY_PINHOLES: usize = 4 * EMERGENCY_CALLS;
/// Pinholes of a call with sound: RTP and RTCP of both parties.
const OF_CALL: usize = 4;
/// The share of the pinholes that is left to calls that have begun, for what they have not announced yet: one of so
/// many.
const LEFT: usize = 32;

/// Bounds of the engine's memory.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Calls, registrations that stand among them included.
    pub calls: usize,
    /// Streams of one call.
    pub streams_per_call: usize,
    /// Pinholes.
    pub pinholes: usize,
    /// Registered addresses.
    pub registrations: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { calls: 200_000, streams_per_call: 32, pinholes: 1_000_000, registrations: 100_000 }
    }
}

/// Silence after which a call's media closes, and the life of a call that never ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An answered call with neither media nor signalling.
    pub idle: ByProtocol,
    /// The same while one of its streams is held.
    pub held: ByProtocol,
    /// A call that has not been answered and of which nothing is seen.
    pub unanswered: Duration,
    /// The same while nobody has answered anything at all, where the protocol has every request answered.
    pub unheard: Duration,
    /// Any call.
    pub call: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            idle: ByProtocol::all(Duration::from_secs(120)),
            held: ByProtocol::all(Duration::from_secs(900)),
            unanswered: Duration::from_secs(300),
            // Twice as long as anybody waits (RFC 3261 section 17.1.1.2: Timer B).
            unheard: Duration::from_secs(64),
            call: Duration::from_secs(24 * 3600),
        }
    }
}

impl Lifetimes {
    /// The silence allowed to a call of this protocol with this stream.
    fn of_call(&self, protocol: Inspect, stream: &Stream) -> Duration {
        if stream.held { self.held.of(protocol) } else { self.idle.of(protocol) }
    }

    /// The silence allowed to one pinhole: a muted party sends nothing for as long as it likes while its
    /// call goes on, so this is no more than a backstop for calls that nobody ends.
    fn of_pinhole(&self, protocol: Inspect) -> Duration {
        self.idle.of(protocol).max(self.held.of(protocol))
    }
}

/// Calls, streams, registrations and pinholes, and the list of actions being gathered.
#[derive(Debug)]
pub struct Core {
    policy: Policy,
    bounds: Bounds,
    lifetimes: Lifetimes,
    calls: HashMap<CallId, Entry>,
    /// The greatest number given to a call.
    last_id: u64,
    pinholes: PinholeTable,
    /// (owner, address) → until when.
    registrations: HashMap<(IpAddr, IpAddr), Time>,
    refusals: [u64; Refusal::ALL.len()],
    actions: Vec<Action>,
    /// Calls changed since the actions were taken last, in order of their first change.
    changed: Vec<CallId>,
    /// Calls that were told of since that was asked last: see [`Core::take_heard`].
    heard: Vec<CallId>,
    /// The latest moment it was told of.
    latest: Time,
    load: Load,
    ladders: Ladders,
    gate: Gate,
}

#[derive(Debug)]
struct Entry {
    call: Call,
    /// When its signalling or its media was last seen.
    active: Time,
    /// Whether it is in [`Core::changed`].
    changed: bool,
    /// When it ends at the latest, where its tracker says.
    deadline: Option<Time>,
    /// It lasts until its deadline, however silent it is: this is the silence its pinholes are allowed.
    standing: Option<Duration>,
    /// Nobody has answered its beginning yet, in any way.
    unheard: bool,
    /// It is of an earlier run: its answer, and its end, may have passed while nobody read.
    restored: bool,
}

impl Core {
    /// An empty core.
    pub fn new(policy: Policy, bounds: Bounds) -> Self {
        Self {
            policy,
            bounds,
            lifetimes: Lifetimes::default(),
            calls: HashMap::new(),
            last_id: 0,
            pinholes: PinholeTable::default(),
            registrations: HashMap::new(),
            refusals: [0; Refusal::ALL.len()],
            actions: Vec::new(),
            changed: Vec::new(),
            heard: Vec::new(),
            latest: Time::default(),
            load: Load::default(),
            ladders: Ladders::default(),
            gate: Gate::default(),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts another policy in force; open calls keep what they have.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Puts other lifetimes in force; a stream's patience follows when it is announced again.
    pub fn set_lifetimes(&mut self, lifetimes: Lifetimes) {
        self.lifetimes = lifetimes;
    }

    /// Puts other bounds in force; what is above them stays until it is over.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// The bounds in force.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether there is room for another call and its media. For emergency calls some is left when others find none,
    /// and for those that may be one.
    pub(crate) fn has_room(&self, emergency: bool) -> bool {
        let Bounds { calls, pinholes, .. } = self.bounds;
        let (more_calls, used) = if emergency {
            (EMERGENCY_CALLS, self.pinholes.len())
        } else {
            (0, self.pinholes.len() + OF_CALL + pinholes / LEFT)
        };
        self.calls.len() < calls + more_calls && used <= self.pinhole_bound(emergency)
    }

    fn pinhole_bound(&self, emergency: bool) -> usize {
        self.bounds.pinholes + if emergency { EMERGENCY_PINHOLES } else { 0 }
    }

    /// Starts a call: `context.source` is the caller, `key` its identifier in the protocol. `None` when there is no
    /// room for it and its media (counted as [`Refusal::TableFull`]).
    pub fn start_call(&mut self, context: &Context, key: &str) -> Option<CallId> {
        self.start(context, key, false)
    }

    /// [`Self::start_call`]; what is left for emergency calls is for this one too, if it is one or may be.
    pub(crate) fn start(&mut self, context: &Context, key: &str, emergency: bool) -> Option<CallId> {
        if !self.has_room(emergency) {
            self.count(Refusal::TableFull);
            return None;
        }
        // Microseconds of a clock that never goes back: no number returns while the pinned maps live, even
        // if the daemon has been restarted in between.
        self.latest = self.latest.max(context.now);
        self.last_id = (self.last_id + 1).max(context.now.0 / 1_000);
        let id = CallId(self.last_id);
        let call = Call {
            id,
            protocol: context.protocol,
            key: clip(key, MAX_KEY).to_owned(),
            state: State::Calling,
            signalling: [context.source, context.destination],
            parties: [String::new(), String::new()],
            started: context.now,
            connected: None,
            streams: crate::call::StreamMap::default(),
            memo: String::new(),
            slot: context.slot,
            granted: None,
            released_by: None,
            cause: None,
        };
        self.calls.insert(id, Entry::new(call, context.now));
        self.mark(id);
        Some(id)
    }

    /// A call by its number.
    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id).map(|entry| &entry.call)
    }

    /// Changes a call's state, parties or memo; emits one [`Action::Call`] per packet however often it is called.
    ///
    /// Texts above the bounds named at [`Call`] are cut; a memo above its bound is not taken. Streams are not
    /// to be changed here but by [`Self::announce`] and [`Self::close_stream`], and stay as they were.
    pub fn change_call(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        let streams = std::mem::take(&mut entry.call.streams);
        let memo = entry.call.memo.clone();
        change(&mut entry.call);
        entry.call.id = id;
        entry.call.streams = streams;
        if entry.call.memo.len() > MAX_MEMO {
            entry.call.memo = memo;
        }
        for party in &mut entry.call.parties {
            cut(party, MAX_PARTY);
        }
        self.mark(id);
    }

    /// Moves the call forward (never back), noting when it was answered.
    pub fn set_state(&mut self, now: Time, id: CallId, state: State) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        entry.active = entry.active.max(now);
        self.latest = self.latest.max(now);
        if state as u8 <= entry.call.state as u8 {
            return;
        }
        entry.call.state = state;
        if state == State::Connected {
            entry.call.connected = Some(now);
            self.answered(now, id);
        }
        self.mark(id);
    }

    /// The call's signalling was seen, or told of, at `now`.
    pub fn alive(&mut self, now: Time, id: CallId) {
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.active = entry.active.max(now);
        }
    }

    /// Whether the call's beginning waits for its first answer of any kind: until then it is given up sooner.
    pub(crate) fn is_unheard(&mut self, id: CallId, unheard: bool) {
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.unheard = unheard;
        }
    }

    /// The call ends at `until`, if it has not ended before; an emergency call does not.
    pub fn ends_by(&mut self, id: CallId, until: Time) {
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.deadline = Some(until);
        }
    }

    /// The call lasts until `until`, however silent it is; its pinholes are told anew.
    pub fn stands_until(&mut self, now: Time, id: CallId, until: Time) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        (entry.deadline, entry.standing) = (Some(until), Some(until.since(now)));
        for (key, stream) in entry.call.streams.clone() {
            self.enter(id, key, Some(&stream), &stream);
            for (_, claim) in claims(id, key, &stream, Duration::ZERO, 0) {
                self.pinholes.retell(claim.to, claim.transport, &mut self.actions);
            }
        }
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values().map(|entry| &entry.call)
    }

    /// All pinholes, as they were last told.
    pub fn pinholes(&self) -> impl Iterator<Item = PinholeSpec> {
        self.pinholes.iter()
    }

    /// The pinhole to this address, as it was last told.
    pub fn pinhole(&self, to: SocketAddr, transport: Transport) -> Option<PinholeSpec> {
        self.pinholes.get(to, transport)
    }

    /// Whether a pinhole is for this address, or for what it sends.
    pub fn has_media_of(&self, ip: IpAddr) -> bool {
        self.pinholes.involve(ip)
    }

    /// How often each refusal has occurred.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.refusals)
    }

    /// An attempt was refused by the rules of its protocol, before it became a call.
    pub(crate) fn attempt_refused(
        &mut self,
        context: &Context,
        key: &str,
        parties: [&str; 2],
        cause: Option<crate::finished::Cause>,
    ) {
        let parties = parties.map(|party| clip(party, MAX_PARTY).to_owned());
        let finished = Finished::refused(context, clip(key, MAX_KEY).to_owned(), parties, cause);
        self.actions.push(Action::Finished(Box::new(finished)));
    }

    /// Ends a call and closes every pinhole only it needed.
    pub fn end_call(&mut self, id: CallId, reason: EndReason) {
        let Some(entry) = self.calls.remove(&id) else { return };
        self.hear(id);
        self.changed.retain(|other| *other != id);
        self.load.leave(id);
        self.left(&entry.call, reason);
        self.ladders.end(&entry.call, reason, self.latest);
        for (key, stream) in &entry.call.streams {
            self.let_go(id, *key, stream, reason);
        }
        if entry.call.protocol == Inspect::H225 {
            self.actions.push(Action::Event(Event::call_ended(self.latest, &entry.call, reason)));
        }
        let is_call =
            matches!(entry.call.protocol, Inspect::Sip | Inspect::H225 | Inspect::Sccp | Inspect::Mgcp);
        // A receiver that was lifted and put down again is none.
        let is_call = is_call && (entry.call.protocol != Inspect::Sccp || entry.call.is_to_somebody());
        if is_call && entry.standing.is_none() {
            let finished = Finished::of(&entry.call, reason, self.latest);
            self.actions.push(Action::Finished(Box::new(finished)));
        }
        self.actions.push(Action::Ended(Box::new(entry.call), reason));
    }

    /// Whether the sender of this message may announce `address` for `call`'s media, and why not.
    ///
    /// In order: port ≥ 1024 and in the media range (`media` only: an H.245 or T.120 TCP port needs only the
    /// first), a unicast address, and then one of: the sender's own address; one it has registered; the rule's
    /// group or `any`; an address and port that its owner announced itself in another live call to which this
    /// sender is a party (both legs agree).
    ///
    /// # Errors
    /// The refusal, which is not counted here: see [`Self::refuse`].
    pub fn authorise(
        &self,
        context: &Context,
        call: CallId,
        transport: Transport,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        self.permit(context, call, transport, transport == Transport::Udp, address)
    }

    /// Counts an announcement that opens nothing, of a call that is not known.
    pub fn tally(&mut self, refusal: Refusal) {
        self.count(refusal);
    }

    /// The latest moment it was told of.
    pub fn latest(&self) -> Time {
        self.latest
    }

    /// Counts and reports an announcement that opens nothing.
    pub fn refuse(&mut self, call: CallId, address: SocketAddr, refusal: Refusal) {
        self.count(refusal);
        self.actions.push(Action::Refused { address, call, refusal });
    }

    /// The message that is being read came from a party of this call: see [`Action::Path`].
    pub(crate) fn path(&mut self, call: CallId) {
        if self.calls.contains_key(&call) {
            self.actions.push(Action::Path(call));
        }
    }

    /// Says something of the firewall's own.
    pub(crate) fn say(&mut self, saying: Saying) {
        self.actions.push(Action::Say(Box::new(saying)));
    }

    /// Accuses somebody.
    pub(crate) fn suspect(&mut self, suspect: Suspect) {
        self.actions.push(Action::Suspect(suspect));
    }

    /// The call counts from now on: see [`Self::load`].
    pub(crate) fn count_call(&mut self, id: CallId) {
        if let Some(entry) = self.calls.get(&id) {
            self.load.enter(&entry.call);
        }
    }

    /// How many calls there are that count.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// Notes a message of a call.
    pub(crate) fn note(&mut self, call: CallId, step: Step) {
        if self.calls.contains_key(&call) {
            self.hear(call);
            self.ladders.note(call, step);
        }
    }

    /// The messages of a call that is not over.
    pub(crate) fn ladder(&self, call: CallId) -> Option<&Ladder> {
        self.ladders.of(call)
    }

    /// Calls that are over, the latest first, as far as they are remembered.
    pub(crate) fn ended_calls(&self) -> impl Iterator<Item = &Ended> {
        self.ladders.ended()
    }

    /// Tells operators of something.
    pub fn tell(&mut self, event: Event) {
        self.actions.push(Action::Event(event));
    }

    /// What `party` announces for one stream: authorises `media` and `control`, refuses (and reports) what
    /// may not be announced, enters the rest and opens, changes or closes pinholes accordingly.
    ///
    /// `update` sees the stream (new ones start empty with both signalling addresses filled in from the call)
    /// and sets whatever the message says; only `ends[party]`'s addresses are authorised against `context`.
    /// The other end may be given `None` or an address it already has in this call, nothing else.
    /// An address a stream has already is its own until it changes, whatever the policy says by now.
    /// A stream whose ends both have no media keeps its place and opens nothing.
    pub fn announce(
        &mut self,
        context: &Context,
        call: CallId,
        key: StreamKey,
        party: Party,
        update: impl FnOnce(&mut Stream),
    ) {
        self.announce_with(context, call, key, (party, false), update);
    }

    /// [`Self::announce`], where the other end may be given a group's (multicast) address too, if the rule names it:
    /// everybody who has joined the group receives what `party` sends there.
    pub fn announce_to_group(
        &mut self,
        context: &Context,
        call: CallId,
        key: StreamKey,
        party: Party,
        update: impl FnOnce(&mut Stream),
    ) {
        self.announce_with(context, call, key, (party, true), update);
    }

    fn announce_with(
        &mut self,
        context: &Context,
        call: CallId,
        key: StreamKey,
        (party, to_group): (Party, bool),
        update: impl FnOnce(&mut Stream),
    ) {
        self.hear(call);
        let Some(entry) = self.calls.get_mut(&call) else { return };
        entry.active = entry.active.max(context.now);
        self.latest = self.latest.max(context.now);
        let old = entry.call.streams.get(&key).cloned();
        let mut new = old.clone().unwrap_or_else(|| {
            Stream::new(Medium::Other, entry.call.signalling.map(|signalling| signalling.ip()))
        });
        update(&mut new);
        if old.is_none() && entry.call.streams.len() >= self.bounds.streams_per_call {
            let address = new.ends[party as usize].media.unwrap_or(context.source);
            return self.refuse(call, address, Refusal::TooManyStreams);
        }
        cut(&mut new.codec, MAX_CODEC);
        self.check_own_end(context, call, old.as_ref(), &mut new, party);
        let refused = self.check_other_end(to_group.then_some(context), call, &mut new, party.other());
        for (address, refusal) in refused {
            self.refuse(call, address, refusal);
        }
        if old.as_ref() == Some(&new) {
            // A retransmission; yet a pinhole that found no room before may find it now.
            return self.enter(call, key, old.as_ref(), &new);
        }
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.call.streams.insert(key, new.clone());
        }
        self.mark(call);
        self.enter(call, key, old.as_ref(), &new);
    }

    /// Closes one stream.
    pub fn close_stream(&mut self, call: CallId, key: StreamKey, reason: EndReason) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let Some(stream) = entry.call.streams.remove(&key) else { return };
        self.mark(call);
        self.let_go(call, key, &stream, reason);
    }

    /// `party` has no part in the stream any more; what the other one has announced stays, for whoever comes in its
    /// place.
    pub fn forget_end(&mut self, call: CallId, key: StreamKey, party: Party) {
        let Some(entry) = self.calls.get_mut(&call) else { return };
        let signalling = entry.call.signalling.map(|signalling| signalling.ip());
        let Some(stream) = entry.call.streams.get_mut(&key) else { return };
        let old = stream.clone();
        stream.ends[party as usize] = Stream::new(stream.medium, signalling).ends[party as usize];
        stream.mux = false;
        if let Some(ice) = &mut stream.ice {
            ice.candidates[party as usize].clear();
        }
        let new = stream.clone();
        if new != old {
            self.mark(call);
            self.enter(call, key, Some(&old), &new);
        }
    }

    /// `owner` (a signalling address) has registered `ip` as a place of its own until `until`.
    ///
    /// At the bound the registration is not taken, and counted as [`Refusal::TableFull`].
    pub fn register(&mut self, owner: IpAddr, ip: IpAddr, until: Time) {
        if self.registrations.len() >= self.bounds.registrations
            && !self.registrations.contains_key(&(owner, ip))
        {
            return self.count(Refusal::TableFull);
        }
        self.registrations.insert((owner, ip), until);
    }

    /// Takes back a registration.
    pub fn unregister(&mut self, owner: IpAddr, ip: IpAddr) {
        self.registrations.remove(&(owner, ip));
    }

    /// Who has registered (a signalling address), what it may announce as its own, and until when.
    pub fn registrations(&self) -> impl Iterator<Item = (IpAddr, IpAddr, Time)> {
        self.registrations.iter().map(|((owner, ip), until)| (*owner, *ip, *until))
    }

    /// A packet passed this pinhole at `seen` (from the kernel's counters, or the replay's judge): every call
    /// that owns it is alive.
    pub fn touch(&mut self, to: SocketAddr, transport: Transport, seen: Time) {
        for owner in self.pinholes.owners(to, transport) {
            if let Some(entry) = self.calls.get_mut(&owner.call) {
                entry.active = entry.active.max(seen);
            }
        }
    }

    /// Ends calls that are past their life or silent, and forgets old registrations. The trackers are told
    /// through [`Action::Ended`].
    ///
    /// Silence is the call's, not a stream's: a muted party's pinhole stays while the other one talks. It
    /// ends a call only once that is answered and has media; until then `unanswered` holds.
    pub fn tick(&mut self, now: Time) {
        self.latest = self.latest.max(now);
        let mut over: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(id, entry)| entry.over(&self.lifetimes, now).map(|reason| (*id, reason)))
            .collect();
        over.sort_unstable_by_key(|(id, _)| *id);
        for (id, reason) in over {
            self.end_call(id, reason);
        }
        self.end_at_limits(now);
        self.registrations.retain(|_, until| *until > now);
    }

    /// Calls of an earlier run: enters them and their pinholes without emitting actions.
    ///
    /// They count as active at `now`: how long they have been silent is not known. Nor is it known whether one that
    /// rang has been answered, and perhaps ended, meanwhile: it may be as silent as an answered one, not longer. Calls
    /// above the bounds are left out.
    pub fn restore(&mut self, mut calls: Vec<Call>, now: Time) {
        let told = self.actions.len();
        let (mut keys, mut adopted) = (HashSet::new(), HashSet::new());
        calls.sort_unstable_by_key(|call| call.id);
        for mut call in calls {
            let id = call.id;
            if self.calls.len() >= self.bounds.calls + EMERGENCY_CALLS {
                self.count(Refusal::TableFull);
                continue;
            }
            while call.streams.len() > self.bounds.streams_per_call {
                call.streams.pop_last();
            }
            self.last_id = self.last_id.max(id.0);
            // A call that passes several times counts once.
            if call.protocol == Inspect::Sip
                && !crate::sip::is_binding(&call)
                && keys.insert(call.key.clone())
            {
                self.load.enter(&call);
            }
            let streams = call.streams.clone();
            // Its next hop to the same party is part of it.
            let called = call.granted.as_deref().map(|granted| granted.called.clone());
            let counts =
                call.key.is_empty() || adopted.insert((call.protocol as u8, call.key.clone(), called));
            self.calls.insert(id, Entry { restored: true, ..Entry::new(call, now) });
            if counts {
                self.adopt(id, now);
            }
            for (key, stream) in &streams {
                self.enter(id, *key, None, stream);
            }
        }
        self.actions.truncate(told);
    }

    /// The actions gathered since the last call, in order; changed calls last.
    pub fn take_actions(&mut self) -> Vec<Action> {
        for id in std::mem::take(&mut self.changed) {
            if let Some(entry) = self.calls.get_mut(&id) {
                entry.changed = false;
                self.actions.push(Action::Call(Box::new(entry.call.clone())));
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Which calls were told of since this was asked last; of many at once not all.
    pub fn take_heard(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.heard)
    }

    fn hear(&mut self, id: CallId) {
        /// Calls that one packet is about: more are not told of one by one.
        const MOST: usize = 16;
        if self.heard.len() < MOST && !self.heard.contains(&id) {
            self.heard.push(id);
        }
    }

    /// Forgets the actions from the one of this number on.
    pub(crate) fn forget_actions(&mut self, from: usize) {
        self.actions.truncate(from);
    }

    /// The actions gathered since the last [`Self::take_actions`], changed calls aside.
    pub(crate) fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// Authorises what `party` has announced, and takes out what it may not.
    fn check_own_end(
        &mut self,
        context: &Context,
        call: CallId,
        old: Option<&Stream>,
        new: &mut Stream,
        party: Party,
    ) {
        let medium = new.medium;
        let (transport, _) = medium.pinhole(new.mux);
        let old = old.filter(|old| old.medium == medium);
        let before = old.map(|old| old.ends[party as usize]);
        let check = |core: &Self, address: SocketAddr, before: Option<SocketAddr>| {
            if before == Some(address) {
                return Ok(());
            }
            core.permit(context, call, transport, medium.in_media_ports(), address)
        };
        let end = &mut new.ends[party as usize];
        if let Some(address) = end.media
            && let Some(behind) =
                self.behind(context, call, transport, address, before.and_then(|end| end.behind))
        {
            (end.media, end.control, end.extra) = (None, None, 0);
            (end.behind, end.signalling) = (Some(behind), context.source.ip());
        }
        if let Some(address) = end.media
            && let Err(refusal) = check(self, address, before.and_then(|end| end.media))
        {
            // RTCP alone would serve nobody.
            (end.media, end.control) = (None, None);
            self.refuse(call, address, refusal);
        }
        if let Some(address) = end.control
            && let Err(refusal) = check(self, address, before.and_then(|end| end.control))
        {
            end.control = None;
            // Nobody asked for RTCP of its own where it shares RTP's port.
            if !new.mux {
                self.refuse(call, address, refusal);
            }
        }
        let further = |media: SocketAddr| media.port().checked_add(2 * u16::from(end.extra));
        if end.extra > 0
            && let Some(media) = end.media
        {
            // Its last pair: those between are permitted where both ends of the row are.
            let last = further(media).map(|port| SocketAddr::new(media.ip(), port));
            let known = before.is_some_and(|before| before.media == end.media && before.extra == end.extra);
            let permitted = last.ok_or(Refusal::PortRange).and_then(|last| check(self, last, None));
            if let Err(refusal) = permitted
                && !known
            {
                end.extra = 0;
                self.refuse(call, last.unwrap_or(media), refusal);
            }
        }
        // Where it sends from need not be a media port, but the address must be its own to give.
        if let Some(address) = end.sends
            && before.and_then(|end| end.sends) != Some(address)
            && let Err(refusal) = self.permit_host(context, call, transport, address)
        {
            end.sends = None;
            self.refuse(call, address, refusal);
        }
        if let Some(ice) = &mut new.ice {
            let known =
                old.and_then(|old| old.ice.as_ref()).map(|ice| ice.candidates[party as usize].as_slice());
            let candidates = std::mem::take(&mut ice.candidates[party as usize]);
            for candidate in candidates {
                let own = known.is_some_and(|known| known.contains(&candidate));
                let permitted = if own { Ok(()) } else { check(self, candidate.address, None) };
                let candidates = &mut ice.candidates[party as usize];
                let room = candidates.len() < MAX_CANDIDATES;
                match permitted.and(room.then_some(()).ok_or(Refusal::TooManyStreams)) {
                    Ok(()) => candidates.push(candidate),
                    Err(refusal) => self.refuse(call, candidate.address, refusal),
                }
            }
        }
    }

    /// What is to be learnt of an end that has announced a private address, seen from another one, where the rule says
    /// so. What it may announce needs no learning.
    fn behind(
        &self,
        context: &Context,
        call: CallId,
        transport: Transport,
        announced: SocketAddr,
        before: Option<Behind>,
    ) -> Option<Behind> {
        if let Some(before) = before.filter(|before| before.announced == announced) {
            return Some(before);
        }
        let policy = self.policy.sip(context.slot);
        let learns = context.protocol == Inspect::Sip
            && transport == Transport::Udp
            && policy.nat_clients == NatClients::Latch
            && is_private(announced.ip())
            && self.permit_host(context, call, transport, announced) == Err(Refusal::NotTheAnnouncers);
        learns.then_some(Behind { announced, window: policy.latch_window })
    }

    /// Takes out what one party's message says of the other party's addresses, unless they are known already, or a
    /// group's that the sender of `to_group` may name. What it may not is given back.
    fn check_other_end(
        &self,
        to_group: Option<&Context>,
        call: CallId,
        new: &mut Stream,
        other: Party,
    ) -> Vec<(SocketAddr, Refusal)> {
        let mut refused = Vec::new();
        let Some(entry) = self.calls.get(&call) else { return refused };
        let medium = new.medium;
        let streams = || entry.call.streams.values().filter(move |stream| stream.medium == medium);
        let ends = || streams().map(|stream| stream.ends[other as usize]);
        if let Some(ice) = &mut new.ice {
            let known = |candidate: &_| {
                let mut all = streams().filter_map(|stream| stream.ice.as_ref());
                all.any(|ice| ice.candidates[other as usize].contains(candidate))
            };
            ice.candidates[other as usize].retain(known);
        }
        let (transport, _) = medium.pinhole(new.mux);
        let end = &mut new.ends[other as usize];
        let mut group = |address: SocketAddr| {
            let Some(context) = to_group.filter(|_| address.ip().is_multicast()) else { return false };
            let permitted = self.permit(context, call, transport, medium.in_media_ports(), address);
            refused.extend(permitted.err().map(|refusal| (address, refusal)));
            permitted.is_ok()
        };
        let announced = |known: &Behind| Some(known.announced) == end.media;
        if let Some(known) = ends().find(|known| known.behind.as_ref().is_some_and(announced)) {
            (end.behind, end.signalling, end.control) = (known.behind, known.signalling, None);
        }
        let extra = |to| ends().filter(|known| known.media == Some(to)).map(|known| known.extra).max();
        end.extra = end.extra.min(end.media.and_then(extra).unwrap_or(0));
        end.media = end.media.filter(|to| ends().any(|known| known.media == Some(*to)) || group(*to));
        end.control = end.control.filter(|to| ends().any(|known| known.control == Some(*to)) || group(*to));
        end.sends = end.sends.filter(|address| ends().any(|known| known.sends == Some(*address)));
        refused
    }

    fn permit(
        &self,
        context: &Context,
        call: CallId,
        transport: Transport,
        in_media_ports: bool,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let port = address.port();
        if port < 1024 {
            return Err(Refusal::PrivilegedPort);
        }
        if in_media_ports && !self.policy.ports.contains(&port) {
            return Err(Refusal::PortRange);
        }
        self.permit_host(context, call, transport, address)
    }

    /// [`Self::permit`], whatever the port.
    fn permit_host(
        &self,
        context: &Context,
        call: CallId,
        transport: Transport,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let ip = address.ip();
        let authority = self.policy.rules.get(&context.slot).map(|rule| &rule.media);
        let by_rule = match authority.unwrap_or(&Authority::Signaller) {
            Authority::Signaller => false,
            Authority::Group(group) => group.contains(ip),
            Authority::Any => true,
        };
        let sender = context.source.ip();
        // Between programs of one machine; the judge lets no such packet in from a link.
        let within_host = ip.is_loopback() && sender.is_loopback();
        if !(is_host(ip) || within_host || ip.is_multicast() && by_rule) {
            return Err(Refusal::NotUnicast);
        }
        let registered = || self.registrations.get(&(sender, ip)).is_some_and(|until| *until > context.now);
        if ip == sender || by_rule || registered() || self.both_legs_agree(sender, call, transport, address) {
            Ok(())
        } else {
            Err(Refusal::NotTheAnnouncers)
        }
    }

    /// Whether the owner of `address` has announced it itself, to `sender`, in another live call.
    ///
    /// This is what a back-to-back agent or a proxy may pass on. It is not enough that the address is open
    /// for some call: then anybody could have his own packets admitted to a stranger's port.
    fn both_legs_agree(
        &self,
        sender: IpAddr,
        call: CallId,
        transport: Transport,
        address: SocketAddr,
    ) -> bool {
        self.pinholes.owners(address, transport).any(|owner| {
            let Some(leg) = self.calls.get(&owner.call).map(|entry| &entry.call) else { return false };
            let told_to = leg.signalling[owner.party.other() as usize].ip();
            let told_by = leg.streams.get(&owner.stream).map(|s| s.ends[owner.party as usize].signalling);
            owner.call != call && told_to == sender && told_by == Some(address.ip())
        })
    }

    /// Opens and changes what `new` needs, then closes what only `old` did.
    fn enter(&mut self, call: CallId, key: StreamKey, old: Option<&Stream>, new: &Stream) {
        let bound = self.pinhole_bound(self.is_emergency_call(call));
        let Some(entry) = self.calls.get(&call) else { return };
        let (slot, idle) =
            (entry.call.slot, entry.standing.unwrap_or(self.lifetimes.of_pinhole(entry.call.protocol)));
        for (owner, claim) in claims(call, key, new, idle, slot) {
            let address = claim.to;
            if let Err(refusal) = self.pinholes.claim(owner, claim, bound, &mut self.actions) {
                self.refuse(call, address, refusal);
            }
        }
        let Some(old) = old else { return };
        for (owner, claim) in claims(call, key, old, Duration::ZERO, slot) {
            let kept = claims(call, key, new, Duration::ZERO, slot)
                .any(|(other, now)| other == owner && now.to == claim.to && now.transport == claim.transport);
            if !kept {
                let reason = match new.ends[owner.party as usize].media {
                    Some(_) => EndReason::Moved,
                    None => EndReason::ChannelClosed,
                };
                self.pinholes.release(owner, claim.to, claim.transport, reason, &mut self.actions);
            }
        }
    }

    /// Closes what a stream that is gone has needed.
    fn let_go(&mut self, call: CallId, key: StreamKey, stream: &Stream, reason: EndReason) {
        for (owner, claim) in claims(call, key, stream, Duration::ZERO, 0) {
            self.pinholes.release(owner, claim.to, claim.transport, reason, &mut self.actions);
        }
    }

    fn mark(&mut self, id: CallId) {
        self.hear(id);
        if let Some(entry) = self.calls.get_mut(&id).filter(|entry| !entry.changed) {
            entry.changed = true;
            self.changed.push(id);
        }
    }

    fn count(&mut self, refusal: Refusal) {
        self.refusals[refusal as usize] += 1;
    }
}

impl Entry {
    fn new(call: Call, now: Time) -> Self {
        Self {
            call,
            active: now,
            changed: false,
            deadline: None,
            standing: None,
            unheard: false,
            restored: false,
        }
    }

    fn is_emergency(&self) -> bool {
        self.call.granted.as_deref().is_some_and(|granted| granted.emergency)
    }

    /// Why the call is over, if it is.
    fn over(&self, lifetimes: &Lifetimes, now: Time) -> Option<EndReason> {
        if self.deadline.is_some_and(|deadline| now >= deadline) && !self.is_emergency() {
            return Some(EndReason::Expired);
        }
        if self.standing.is_some() {
            return None;
        }
        let age = now.since(self.call.started);
        let answered = self.call.state == State::Connected;
        // A queue may let a caller wait for long: what still rings, or plays to it, is not given up.
        let silence = now.since(self.active);
        let given_up =
            if self.unheard && !self.is_emergency() { lifetimes.unheard } else { lifetimes.unanswered };
        if age > lifetimes.call && !self.is_emergency() || (!answered && silence > given_up) {
            return Some(EndReason::Expired);
        }
        let open = |stream: &&Stream| stream.ends.iter().any(|end| end.media.is_some());
        let patience = self
            .call
            .streams
            .values()
            .filter(open)
            .map(|stream| lifetimes.of_call(self.call.protocol, stream))
            .max()?;
        ((answered || self.restored) && silence > patience).then_some(EndReason::Inactivity)
    }
}

/// Whether an address is one that translators of addresses hide: RFC 1918, RFC 6598, RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// Whether the address can be one host's on a network.
fn is_host(ip: IpAddr) -> bool {
    let reserved = match ip {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0,
        // It would alias an IPv4 address in the kernel's keys; on the wire it does not occur.
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    !(reserved || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// The longest beginning of at most `bound` bytes.
fn clip(text: &str, bound: usize) -> &str {
    &text[..text.floor_char_boundary(bound)]
}

fn cut(text: &mut String, bound: usize) {
    text.truncate(clip(text, bound).len());
}

#[cfg(test)]
mod tests;
