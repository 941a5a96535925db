//! Calls and their channels.
//!
//! A channel is a stream of its call, named by its pass-through party, with two directions that are opened and
//! closed on their own: what the phone receives (OpenReceiveChannel, its Ack, CloseReceiveChannel) and what it
//! sends (StartMediaTransmission, its Ack, StopMediaTransmission). A call that is shown on a line ends when the
//! phone is on hook; one that is not, a conference bridge's, with its last channel.

use std::net::SocketAddr;

use callgate_protocols::sccp::{self, Body, CallState, Channel, Keypad, OpenAck, Ports, Start, StartAck};

use super::session::{Held, Open, Session};
use super::{Tracker, stream};
use crate::action::{Context, EndReason};
use crate::call::{CallId, Medium, Party, State, Stream, StreamKey};
use crate::contract::Contract;
use crate::core::Core;
use crate::core::gate::PIN;
use crate::event::{Event, EventKind};
use crate::terms;

/// Most calls of one connection: a large conference bridge has hundreds.
const MAX_CALLS: usize = 1_024;
/// Most lines of a phone.
const MAX_LINES: usize = 256;
/// Most digits remembered of a number dialled at once.
pub(super) const MAX_DIGITS: usize = 32;

/// [`StreamKey::branch`] of channels, and of multicast groups listened to and sent to.
const CHANNEL: u32 = 0;
const LISTENING: u32 = 1;
const PAGING: u32 = 2;

/// States of CallState.
pub(super) mod on_line {
    pub(in crate::sccp) const OFF_HOOK: u32 = 1;
    pub(in crate::sccp) const ON_HOOK: u32 = 2;
    pub(in crate::sccp) const RING_OUT: u32 = 3;
    pub(in crate::sccp) const RING_IN: u32 = 4;
    pub(in crate::sccp) const CONNECTED: u32 = 5;
    pub(in crate::sccp) const HOLD: u32 = 8;
    pub(in crate::sccp) const PROCEEDING: u32 = 12;
}

/// One direction of a channel, as the phone sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Receive,
    Send,
}

impl Tracker {
    /// Reads a message that tells of a call.
    pub(super) fn call_message(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        body: &Body<'_>,
    ) {
        match *body {
            Body::OpenReceive(open) => {
                let key = stream(CHANNEL, open.channel.party);
                let Some(held) = self.bind(core, context, session, key, open.channel) else { return };
                core.announce(context, held.id, key, held.phone.other(), |stream| {
                    stream.medium = medium(open.video);
                    stream.codec = sccp::codec_name(open.codec);
                    accept(stream, held.phone, contract(open.codec, open.video));
                });
                with(session, key, |open| open.receiving = true);
            }
            Body::OpenReceiveAck(ack) => self.receives(core, context, session, ack),
            Body::IpPort(port) => session.rtp_port = port,
            Body::StartReception => self.receives_on_port(core, context, session),
            Body::StopReception => {
                let names = (CHANNEL, Channel::default());
                self.close(core, context, session, names, Direction::Receive);
            }
            Body::StartTransmission(start) => self.sends(core, context, session, CHANNEL, start),
            Body::StartMulticastTransmission(start) => self.sends(core, context, session, PAGING, start),
            Body::StartMulticastReception(start) => self.listens(core, context, session, start),
            Body::StartTransmissionAck(ack) => self.sends_from(core, context, session, ack),
            Body::CloseReceive(names) => {
                self.close(core, context, session, (CHANNEL, names), Direction::Receive);
            }
            Body::StopTransmission(names) => {
                self.close(core, context, session, (CHANNEL, names), Direction::Send);
            }
            Body::StopMulticastReception(names) => {
                self.close(core, context, session, (LISTENING, names), Direction::Receive);
            }
            Body::StopMulticastTransmission(names) => {
                self.close(core, context, session, (PAGING, names), Direction::Send);
            }
            Body::TransmissionFailure(names) => {
                core.tell(Event::new(context, EventKind::MediaFailed, &session.name, "cannot send"));
                for key in session.named(CHANNEL, names) {
                    shut(core, context, session, key, Direction::Send);
                }
            }
            Body::Ports(ports) => self.takes_ports(session, ports),
            Body::PortClose(names) => {
                for key in session.named(CHANNEL, names) {
                    let open = session.channels.get(&key).copied();
                    open.iter().for_each(|open| self.forget_ports(open));
                    with(session, key, |open| open.ports = None);
                }
            }
            Body::CallState(state) => self.call_state(core, context, session, state),
            Body::CallInfo(info) => {
                name_parties(core, session, info.call, [info.calling, info.called]);
            }
            Body::Dialed(dialed) => name_parties(core, session, dialed.call, [b"", dialed.number]),
            Body::Enbloc(number) => {
                session.dialled = String::from_utf8_lossy(number).chars().take(MAX_DIGITS).collect();
            }
            Body::Keypad(key) => dial(core, session, key),
            Body::Line(line) if session.lines.len() < MAX_LINES && !line.number.is_empty() => {
                session.lines.insert(line.line, String::from_utf8_lossy(line.number).into_owned());
            }
            _ => {}
        }
    }

    /// Ends a call and forgets its channels.
    pub(super) fn end_call(
        &mut self,
        core: &mut Core,
        session: &mut Session,
        reference: u32,
        reason: EndReason,
    ) {
        let channels = session.channels.values().filter(|open| open.call == reference);
        channels.for_each(|open| self.forget_ports(open));
        if let Some(held) = session.drop_call(reference) {
            core.end_call(held.id, reason);
        }
    }

    /// OpenReceiveChannelAck: where the phone receives. Nobody asked: nothing opens.
    fn receives(&mut self, core: &mut Core, context: &Context, session: &mut Session, ack: OpenAck) {
        let key = stream(CHANNEL, ack.channel.party);
        if !session.channels.contains_key(&key) {
            // The question may have been asked before this connection was read.
            if session.whole || session.has_closed(key) {
                return;
            }
            if self.bind(core, context, session, key, ack.channel).is_none() {
                return;
            }
            with(session, key, |open| open.receiving = true);
        }
        let Some((held, open)) = channel(session, key).filter(|(_, open)| open.receiving) else { return };
        let rtcp = match open.ports {
            Some((rtp, port)) if Some(rtp) == ack.address => Some(SocketAddr::new(rtp.ip(), port)),
            _ => ack.address.and_then(next_port),
        };
        core.announce(context, held.id, key, held.phone, |stream| {
            stream.medium = medium(ack.video);
            let end = &mut stream.ends[held.phone as usize];
            (end.media, end.control) = (ack.address, rtcp);
        });
    }

    /// StartMediaReception: an old phone receives on the port it has told.
    fn receives_on_port(&mut self, core: &mut Core, context: &Context, session: &mut Session) {
        let (key, channel) = (stream(CHANNEL, 0), Channel::default());
        if session.rtp_port == 0 || self.bind(core, context, session, key, channel).is_none() {
            return;
        }
        with(session, key, |open| open.receiving = true);
        let of_phone = session.connection.context(context, true);
        let address = Some(SocketAddr::new(session.connection.phone.ip(), session.rtp_port));
        self.receives(core, &of_phone, session, OpenAck { channel, status: 0, address, video: false });
    }

    /// StartMediaTransmission, StartMulticastMediaTransmission: where the phone shall send.
    fn sends(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        branch: u32,
        start: Start,
    ) {
        let key = stream(branch, start.channel.party);
        let Some(held) = self.bind(core, context, session, key, start.channel) else { return };
        with(session, key, |open| open.sending = true);
        let told = start.address.and_then(|address| Some((address, *self.rtcp.get(&address)?)));
        let rtcp = match told {
            Some((address, port)) => Some(SocketAddr::new(address.ip(), port)),
            None => start.address.and_then(next_port),
        };
        core.announce(context, held.id, key, held.phone.other(), |stream| {
            set(stream, &start);
            accept(stream, held.phone.other(), contract(start.codec, start.video));
            let end = &mut stream.ends[held.phone.other() as usize];
            (end.media, end.control) = (start.address, rtcp);
        });
        answered_by_media(core, context, held);
    }

    /// StartMulticastMediaReception: the group that the phone shall listen to. Who sends to it is not told, so
    /// nobody but the call manager may.
    fn listens(&mut self, core: &mut Core, context: &Context, session: &mut Session, start: Start) {
        let key = stream(LISTENING, start.channel.party);
        let Some(held) = self.bind(core, context, session, key, start.channel) else { return };
        with(session, key, |open| open.receiving = true);
        core.announce(context, held.id, key, held.phone, |stream| {
            set(stream, &start);
            accept(stream, held.phone, contract(start.codec, start.video));
            let end = &mut stream.ends[held.phone as usize];
            (end.media, end.control) = (start.address, start.address.and_then(next_port));
        });
        answered_by_media(core, context, held);
    }

    /// StartMediaTransmissionAck: where the phone sends from; `None` and port 0 tell nothing.
    fn sends_from(&mut self, core: &mut Core, context: &Context, session: &mut Session, ack: StartAck) {
        let key = stream(CHANNEL, ack.channel.party);
        if ack.status != 0 {
            core.tell(Event::new(context, EventKind::MediaFailed, &session.name, "did not begin to send"));
            return shut(core, context, session, key, Direction::Send);
        }
        let Some((held, _)) = channel(session, key).filter(|(_, open)| open.sending) else { return };
        core.announce(context, held.id, key, held.phone, |stream| {
            stream.ends[held.phone as usize].sends = ack.address;
        });
    }

    /// PortResponse: the ports a phone has taken for a channel, before it tells where it receives.
    fn takes_ports(&mut self, session: &mut Session, ports: Ports) {
        let key = stream(CHANNEL, ports.channel.party);
        let (Some(address), Some(rtcp)) = (ports.address, ports.rtcp) else { return };
        let Some(open) = session.channels.get_mut(&key) else { return };
        // What another host has said of its ports is not this one's to say.
        if address.ip() != session.connection.phone.ip() {
            return;
        }
        let before = open.ports.replace((address, rtcp));
        if let Some((old, _)) = before {
            self.rtcp.remove(&old);
        }
        self.rtcp.insert(address, rtcp);
    }

    fn call_state(&mut self, core: &mut Core, context: &Context, session: &mut Session, told: CallState) {
        if told.call == 0 {
            return;
        }
        let state = match told.state {
            on_line::ON_HOOK => return self.end_call(core, session, told.call, EndReason::OnHook),
            on_line::OFF_HOOK | on_line::PROCEEDING => State::Calling,
            on_line::RING_OUT | on_line::RING_IN => State::Ringing,
            on_line::CONNECTED | on_line::HOLD => State::Connected,
            _ => return,
        };
        let phone = if told.state == on_line::RING_IN { Party::Callee } else { Party::Caller };
        let Some(held) = hold(core, context, session, told.call, phone) else { return };
        if let Some(number) = session.lines.get(&told.line)
            && core.call(held.id).is_some_and(|call| call.parties[held.phone as usize].is_empty())
        {
            core.change_call(held.id, |call| call.parties[held.phone as usize].clone_from(number));
        }
        if !held.on_line || held.line != told.line {
            remember(core, session, told.call, Held { on_line: true, line: told.line, ..held });
        }
        core.set_state(context.now, held.id, state);
    }

    /// The call of a channel that is being opened; a new one where it belongs to none.
    fn bind(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        key: StreamKey,
        names: Channel,
    ) -> Option<Held> {
        session.reopen(key);
        if let Some((held, open)) = channel(session, key) {
            if names.call == 0 || names.call == open.call {
                return Some(held);
            }
            // The number is used again, for another call.
            self.forget_ports(&open);
            session.channels.remove(&key);
            core.close_stream(held.id, key, EndReason::ChannelClosed);
        }
        // What stands for the call reference where it is not told; the oldest phones have one call at a time.
        let stands = [names.call, names.conference, names.party].into_iter().find(|name| *name != 0);
        let reference = stands.unwrap_or(0);
        let held = hold(core, context, session, reference, Party::Caller)?;
        let open = Open {
            call: reference,
            conference: names.conference,
            receiving: false,
            sending: false,
            ports: None,
        };
        session.channels.insert(key, open);
        Some(held)
    }

    /// Closes a direction of the channels a message names, and what is over then.
    fn close(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        (branch, names): (u32, Channel),
        direction: Direction,
    ) {
        for key in session.named(branch, names) {
            shut(core, context, session, key, direction);
            with(session, key, |open| match direction {
                Direction::Receive => open.receiving = false,
                Direction::Send => open.sending = false,
            });
            let Some((held, open)) = channel(session, key) else { continue };
            if open.receiving || open.sending {
                continue;
            }
            self.forget_ports(&open);
            session.forget(key);
            core.close_stream(held.id, key, EndReason::ChannelClosed);
            let last = session.channels.values().all(|other| other.call != open.call);
            if last && !held.on_line {
                self.end_call(core, session, open.call, EndReason::ChannelClosed);
            }
        }
    }
}

/// Takes out what one direction of a channel has opened.
fn shut(core: &mut Core, context: &Context, session: &Session, key: StreamKey, direction: Direction) {
    let Some((held, _)) = channel(session, key) else { return };
    let receiver = if direction == Direction::Receive { held.phone } else { held.phone.other() };
    core.announce(context, held.id, key, receiver, |stream| {
        let end = &mut stream.ends[receiver as usize];
        (end.media, end.control) = (None, None);
        if direction == Direction::Send {
            stream.ends[held.phone as usize].sends = None;
        }
    });
}

/// A channel and its call.
fn channel(session: &Session, key: StreamKey) -> Option<(Held, Open)> {
    let open = *session.channels.get(&key)?;
    Some((*session.calls.get(&open.call)?, open))
}

fn with(session: &mut Session, key: StreamKey, change: impl FnOnce(&mut Open)) {
    if let Some(open) = session.channels.get_mut(&key) {
        change(open);
    }
}

/// The call of this reference; a new one, `phone` being the phone's part in it, where there is none.
fn hold(
    core: &mut Core,
    context: &Context,
    session: &mut Session,
    reference: u32,
    phone: Party,
) -> Option<Held> {
    if let Some(held) = session.calls.get(&reference) {
        return Some(*held);
    }
    if session.calls.len() >= MAX_CALLS {
        return None;
    }
    let from_caller = session.connection.context(context, phone == Party::Caller);
    let device = match session.name.as_str() {
        "" => session.connection.phone.ip().to_string(),
        name => name.to_owned(),
    };
    // What is dialled is not known yet, and may be an emergency number.
    let id = core.start(&from_caller, &format!("{device}/{reference}"), core.has_policy())?;
    let held = Held { id, phone, on_line: false, line: 0 };
    remember(core, session, reference, held);
    if phone == Party::Caller && !session.dialled.is_empty() {
        let dialled = std::mem::take(&mut session.dialled);
        core.change_call(id, |call| call.parties[Party::Callee as usize] = dialled);
        core.grant(id, session.granted.take());
    }
    Some(held)
}

/// Enters a call, with its memo.
fn remember(core: &mut Core, session: &mut Session, reference: u32, held: Held) {
    session.calls.insert(reference, held);
    core.change_call(held.id, |call| call.memo = held.memo(reference));
}

/// A call of which no line tells is answered when media is to flow.
fn answered_by_media(core: &mut Core, context: &Context, held: Held) {
    if !held.on_line {
        core.set_state(context.now, held.id, State::Connected);
    }
}

/// Enters numbers of the calling and the called party, where they are told.
pub(super) fn name_parties(core: &mut Core, session: &Session, reference: u32, numbers: [&[u8]; 2]) {
    let Some(id) = call_of(session, reference) else { return };
    let Some(mut parties) = core.call(id).map(|call| call.parties.clone()) else { return };
    for (party, number) in parties.iter_mut().zip(numbers) {
        if !number.is_empty() {
            *party = String::from_utf8_lossy(number).chars().filter(|c| !c.is_control()).collect();
        }
    }
    if core.call(id).is_some_and(|call| call.parties != parties) {
        core.change_call(id, |call| call.parties = parties);
    }
}

/// A key: a digit of the called number until somebody is reached.
fn dial(core: &mut Core, session: &Session, key: Keypad) {
    let (Some(digit), Some(id)) = (key.digit, call_of(session, key.call)) else { return };
    let dialling = core.call(id).is_some_and(|call| {
        let shown = call.granted.as_deref().is_none_or(|granted| granted.called != PIN);
        shown && call.state == State::Calling && call.parties[Party::Callee as usize].len() < MAX_DIGITS
    });
    if dialling {
        core.change_call(id, |call| call.parties[Party::Callee as usize].push(digit));
    }
}

fn call_of(session: &Session, reference: u32) -> Option<CallId> {
    session.calls.get(&reference).map(|held| held.id)
}

fn medium(video: bool) -> Medium {
    if video { Medium::Video } else { Medium::Audio }
}

/// What whoever receives this codec accepts; anything where none is told.
fn contract(codec: u32, video: bool) -> Contract {
    match codec {
        0 => Contract::default(),
        codec => terms::of_channel(&sccp::codec_name(codec), video, None, 0),
    }
}

/// From now on `party` receives this.
fn accept(stream: &mut Stream, party: Party, terms: Contract) {
    let accepted = &mut stream.contracts[party as usize];
    *accepted = accepted.with_terms(terms);
    Contract::renegotiated(&mut stream.contracts);
}

/// What a stream carries, where it is told.
fn set(stream: &mut Stream, start: &Start) {
    stream.medium = medium(start.video);
    if start.codec != 0 {
        stream.codec = sccp::codec_name(start.codec);
    }
}

/// Where RTCP is received, unless it is told: the next port (RFC 3550 section 11).
fn next_port(rtp: SocketAddr) -> Option<SocketAddr> {
    rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port))
}
