//! SCCP: messages between phones and call managers → registrations, calls and media streams.
//!
//! Owns which connection is whose, who is registered, and which channel belongs to which call. A call is one
//! phone's view of it: call reference on its connection; the other phone has one of its own. What it guarantees:
//!
//! - A phone and its call manager say what is theirs to say, and nobody calls before he is registered, where
//!   the connection was read from its handshake on. A connection that is met in the middle counts as registered,
//!   and its phone is marked so.
//! - Of a stream that is half known, nobody but the call manager itself may send. The call manager may tell the
//!   addresses of phones that are registered with it; others only as the rule says ([`Core::authorise`]).
//! - Media outlives the signalling connection until it is silent: call managers preserve calls so.
//!
//! What is refused is told by an event, and resets the connection; a call that the call policy refuses ends alone. Left to others: TCP streams
//! ([`crate::streams`]), pinholes ([`crate::pinholes`]), what is admitted ([`callgate_rules::SccpPolicy`]).

mod dialling;
mod media;
mod phone;
mod registration;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;

use callgate_protocols::sccp::{self, Body, Message, Side};
use callgate_rules::UnknownMessage;
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{Call, StreamKey};
use crate::core::Core;
use crate::event::{Event, EventKind};
use phone::Phones;
use registration::Registrations;
use session::{Connection, Held, Open, Session};

pub use phone::{Phone, Standing};

/// Most connections that are followed.
const MAX_SESSIONS: usize = 100_000;
/// Ports call managers listen on: plain and, behind somebody who takes off the encryption, secure.
const PORTS: [u16; 2] = [2_000, 2_443];

/// The SCCP tracker.
#[derive(Debug, Default)]
pub struct Tracker {
    sessions: HashMap<Connection, Session>,
    phones: Phones,
    registrations: Registrations,
    /// RTCP ports other than RTP's next one, by RTP address, as their owners told them.
    rtcp: HashMap<SocketAddr, u16>,
}

impl Tracker {
    /// Reads one message, header and all. `server` is whom the connection was made to, if its handshake was seen.
    pub fn message(
        &mut self,
        core: &mut Core,
        context: &Context,
        server: Option<SocketAddr>,
        frame: &[u8],
    ) -> Verdict {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                core.tell(Event::new(context, EventKind::Violation, "", &error.to_string()));
                return Verdict::Drop(Reason::AlgMalformed);
            }
        };
        let policy = &core.policy().sccp;
        if message.length > policy.length_max {
            let text = format!("length {} is above {}", message.length, policy.length_max);
            core.tell(Event::new(context, EventKind::Violation, "", &text));
            return Verdict::Drop(Reason::AlgMalformed);
        }
        let known = sccp::known(message.id, policy.message_id_max);
        if !known && policy.unknown == UnknownMessage::Drop {
            return refuse(core, context, "", &format!("unknown message {:#x}", message.id));
        }
        let Some((connection, side)) = self.orient(context, server, message.id) else { return Verdict::Pass };
        if sccp::sender(message.id).is_some_and(|sender| sender != side) {
            let text = format!("{} from the wrong side", message.name());
            core.tell(Event::new(context, EventKind::Violation, "", &text));
            return Verdict::Drop(Reason::AlgRefused);
        }
        let Some(mut session) = self.take(core, context, connection, server.is_some()) else {
            return Verdict::Drop(Reason::AlgMemory);
        };
        let verdict = self.read(core, context, &mut session, side, &message, frame);
        self.sessions.insert(connection, session);
        verdict
    }

    /// `context`'s sender closed its connection, with RST if `reset`, else with FIN. Calls with open media stay
    /// until that is silent.
    pub fn closed(&mut self, core: &mut Core, context: &Context, reset: bool) {
        let (source, destination) = (context.source, context.destination);
        let either = [
            Connection { phone: source, manager: destination },
            Connection { phone: destination, manager: source },
        ];
        let Some(mut session) = either.into_iter().find_map(|connection| self.sessions.remove(&connection))
        else {
            return;
        };
        let text = if reset { "connection reset" } else { "connection closed" };
        self.lose(core, context.now, &mut session, text);
    }

    /// Time passes: phones whose keep-alives have stopped are lost.
    pub fn tick(&mut self, core: &mut Core, now: Time) {
        let silent = |session: &&Session| session.registered && now.since(session.heard) > session.patience();
        let lost: Vec<_> = self.sessions.values().filter(silent).map(|session| session.connection).collect();
        for connection in lost {
            if let Some(mut session) = self.sessions.remove(&connection) {
                self.leave(core, now, &mut session, "keep-alives have stopped");
                self.sessions.insert(connection, session);
            }
        }
        // The stream behind it has been forgotten by then, or never told of its end.
        let old = |session: &&Session| now.since(session.heard) > crate::streams::SILENT;
        let gone: Vec<_> = self.sessions.values().filter(old).map(|session| session.connection).collect();
        for connection in gone {
            if let Some(mut session) = self.sessions.remove(&connection) {
                self.lose(core, now, &mut session, "silent");
            }
        }
        self.registrations.tick(now);
    }

    /// Core ended this call by itself.
    pub fn ended(&mut self, call: &Call, reason: EndReason) {
        let Some((reference, held)) = Held::from_memo(call) else { return };
        let Some(session) = self.sessions.get_mut(&held.connection(call)) else { return };
        if session.calls.get(&reference).is_some_and(|known| known.id == call.id) {
            session.drop_call(reference);
            if reason == EndReason::Limit {
                session.refuse(reference, held.line, false);
                session.limited = Some(reference).filter(|_| held.on_line && session.whole);
            }
        }
    }

    /// Takes up calls of an earlier run, from their memos; their phones are picked up with the next message.
    pub fn restore(&mut self, calls: &[&Call], now: Time) {
        for call in calls.iter().filter(|call| call.protocol == Inspect::Sccp) {
            let Some((reference, held)) = Held::from_memo(call) else { continue };
            let connection = held.connection(call);
            let session =
                self.sessions.entry(connection).or_insert_with(|| Session::new(connection, false, now));
            session.calls.insert(reference, held);
            for (key, stream) in &call.streams {
                let [sending, receiving] =
                    [held.phone.other(), held.phone].map(|party| stream.ends[party as usize].media.is_some());
                let open = Open { call: reference, conference: 0, receiving, sending, ports: None };
                session.channels.insert(*key, open);
            }
        }
    }

    /// Phones that are, or were, registered.
    pub fn phones(&self) -> impl Iterator<Item = &Phone> {
        self.phones.iter()
    }

    /// Which connection a message belongs to, and who has sent it; `None` if nobody can tell.
    fn orient(&self, context: &Context, server: Option<SocketAddr>, id: u32) -> Option<(Connection, Side)> {
        let (source, destination) = (context.source, context.destination);
        let by_phone = (Connection { phone: source, manager: destination }, Side::Phone);
        let by_manager = (Connection { phone: destination, manager: source }, Side::Manager);
        if let Some(server) = server {
            return Some(if server == destination { by_phone } else { by_manager });
        }
        if self.sessions.contains_key(&by_phone.0) {
            return Some(by_phone);
        }
        if self.sessions.contains_key(&by_manager.0) {
            return Some(by_manager);
        }
        match [source, destination].map(|end| PORTS.contains(&end.port())) {
            [false, true] => Some(by_phone),
            [true, false] => Some(by_manager),
            _ => sccp::sender(id).map(|side| if side == Side::Phone { by_phone } else { by_manager }),
        }
    }

    /// The session of a connection, taken out of the table; `None` if there is no room for another.
    fn take(
        &mut self,
        core: &mut Core,
        context: &Context,
        connection: Connection,
        whole: bool,
    ) -> Option<Session> {
        match self.sessions.remove(&connection) {
            // The handshake came after it was met: the same two ports, but another connection.
            Some(mut old) if whole && !old.whole => {
                self.lose(core, context.now, &mut old, "connection made anew");
                Some(Session::new(connection, whole, context.now))
            }
            Some(session) => Some(session),
            None if self.sessions.len() >= MAX_SESSIONS => None,
            None => Some(Session::new(connection, whole, context.now)),
        }
    }

    /// A session is over that nobody has ended: calls with open media stay.
    fn lose(&mut self, core: &mut Core, now: Time, session: &mut Session, text: &str) {
        self.leave(core, now, session, text);
        for held in session.calls.values() {
            let open = |call: &Call| call.streams.values().any(|s| s.ends.iter().any(|e| e.media.is_some()));
            if !core.call(held.id).is_some_and(open) {
                core.end_call(held.id, EndReason::ConnectionReset);
            }
        }
        for open in session.channels.values() {
            self.forget_ports(open);
        }
        core.give_back(session.granted.take(), now);
    }

    /// Reads a message that its sender may send.
    fn read(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        side: Side,
        message: &Message<'_>,
        frame: &[u8],
    ) -> Verdict {
        self.heard(core, context, session, side, &message.body);
        if is_call(message.id) && !session.registered {
            let text = format!("{} before registration", message.name());
            core.tell(Event::new(context, EventKind::Violation, &session.name, &text));
            return Verdict::Drop(Reason::AlgRefused);
        }
        if message.id == KEEP_ALIVE
            && let Some(verdict) = dialling::leaves(core, context, session, frame)
        {
            return verdict;
        }
        if message.id == SET_RINGER
            && let Some(verdict) = dialling::hushes(session, frame)
        {
            return verdict;
        }
        if CAPABILITIES.contains(&message.id)
            && let Some(verdict) = dialling::answers(session, frame)
        {
            return verdict;
        }
        match message.body {
            Body::Register(register) => return self.register(core, context, session, &register),
            Body::TokenRequest(name) => return self.token(core, context, session, name),
            Body::RegisterAck(ack) => self.registered(core, context, session, ack),
            Body::RegisterReject(text) => self.rejected(core, context, session, text),
            Body::TokenReject => self.rejected(core, context, session, b"no token"),
            Body::Unregister => self.unregister(context.now, session),
            Body::UnregisterAck(status) => self.unregistered(core, context, session, status),
            Body::Reset(kind) => self.reset(core, context, session, kind),
            Body::Alarm(text) => {
                let text = String::from_utf8_lossy(text);
                core.tell(Event::new(context, EventKind::Alarm, &session.name, &text));
            }
            body => {
                if let Err(verdict) = self.dialled(core, context, session, &body, frame) {
                    return verdict;
                }
                self.call_message(core, context, session, &body);
            }
        }
        Verdict::Pass
    }

    /// Forgets the RTCP port a channel has told.
    fn forget_ports(&mut self, open: &Open) {
        if let Some((address, _)) = open.ports {
            self.rtcp.remove(&address);
        }
    }
}

/// What a phone sends every now and then.
const KEEP_ALIVE: u32 = 0x0000;
/// How a phone shall ring.
const SET_RINGER: u32 = 0x0085;
/// What a phone answers CapabilitiesReq with: CapabilitiesRes, and UpdateCapabilities in three forms.
const CAPABILITIES: [u32; 4] = [0x0010, 0x0030, 0x0043, 0x0044];

/// The messages of a call that nobody needs before registration.
fn is_call(id: u32) -> bool {
    matches!(
        id,
        0x0003
            | 0x0004
            | 0x0006
            | 0x0022
            | 0x0031
            | 0x0045
            | 0x008a
            | 0x0101
            | 0x0102
            | 0x0105
            | 0x0111
            | 0x0131
            | 0x0132
            | 0x014b
            | 0x0154
            | 0x0155
    )
}

/// Refuses what policy does not admit.
fn refuse(core: &mut Core, context: &Context, subject: &str, text: &str) -> Verdict {
    core.tell(Event::new(context, EventKind::Refused, subject, text));
    Verdict::Reset(Reason::AlgRefused)
}

/// A channel's place among its call's streams.
fn stream(branch: u32, party: u32) -> StreamKey {
    StreamKey { branch, index: party }
}

/// Whether two ends are one host.
fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip() == b.ip()
}

#[cfg(test)]
mod tests;
