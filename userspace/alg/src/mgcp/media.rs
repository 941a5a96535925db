//! Session descriptions of connections, and what they make of a call's streams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use callgate_protocols::mgcp::{Message, Mode};
use callgate_protocols::sdp::{Direction, Host, Media, Protocol, Session};

use crate::action::{Context, EndReason};
use crate::call::{CallId, Medium, Party, Stream, StreamKey};
use crate::contract::Contract;
use crate::core::Core;
use crate::media::Refusal;
use crate::terms::Terms;

/// Bit of [`StreamKey::branch`]: what a command changes while the gateway has not agreed. Streams of their
/// own, so that what was agreed before stays open beside them.
pub(super) const OFFERED: u32 = 1 << 31;

/// One media description, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// `None`: nothing that has a pinhole.
    medium: Option<Medium>,
    place: Place,
    control: Option<SocketAddr>,
    held: bool,
    codec: String,
    /// What may come to it.
    terms: Terms,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    At(SocketAddr),
    /// Port 0, or the unspecified address: nothing is received.
    Nowhere,
    /// A host name, with this port.
    Named(u16),
}

impl Line {
    fn new(media: &Media) -> Self {
        let medium = match (media.protocol, media.kind) {
            (Protocol::Rtp, "audio") => Some(Medium::Audio),
            (Protocol::Rtp, "video") => Some(Medium::Video),
            (Protocol::Rtp, _) => Some(Medium::Other),
            (Protocol::Udptl, _) => Some(Medium::Image),
            (Protocol::Tcp | Protocol::Udp | Protocol::Other, _) => None,
        };
        let connection = media.connection.filter(|c| media.port != 0 && !c.is_unspecified());
        let place = match connection.map(|connection| connection.host) {
            None => Place::Nowhere,
            Some(Host::Ip(ip)) => Place::At(SocketAddr::new(ip, media.port)),
            Some(Host::Name(_)) => Place::Named(media.port),
        };
        let control = match (place, media.rtcp) {
            (Place::At(_), _) if medium == Some(Medium::Image) => None,
            (Place::At(at), Some(rtcp)) => {
                Some(SocketAddr::new(rtcp.host.and_then(Host::ip).unwrap_or(at.ip()), rtcp.port))
            }
            // RFC 3550 section 11: the next port.
            (Place::At(at), None) => at.port().checked_add(1).map(|port| SocketAddr::new(at.ip(), port)),
            _ => None,
        };
        let held = media.direction != Direction::SendRecv;
        Self { medium, place, control, held, codec: media.codec().to_owned(), terms: Terms::of(media) }
    }

    /// The address media is received at.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.place {
            Place::At(at) => Some(at.ip()),
            Place::Nowhere | Place::Named(_) => None,
        }
    }

    /// Writes it into a stream, as one party's end.
    fn put(&self, medium: Medium, stream: &mut Stream, party: Party) {
        if stream.medium != medium {
            // The other end speaks of something else.
            let other = &mut stream.ends[party.other() as usize];
            (other.media, other.control) = (None, None);
        }
        stream.medium = medium;
        stream.held = self.held;
        stream.codec.clone_from(&self.codec);
        let [ours, theirs] = [party, party.other()].map(|party| party as usize);
        let Contract { ssrc, negotiation, .. } = stream.contracts[ours];
        stream.contracts[ours] = Contract { ssrc, ..self.terms.alone(negotiation) };
        stream.contracts[theirs].ssrc = self.terms.source();
        let end = &mut stream.ends[party as usize];
        (end.media, end.control) = match self.place {
            Place::At(at) => (Some(at), self.control),
            Place::Nowhere | Place::Named(_) => (None, None),
        };
    }
}

/// What a message's session description says, line by line; nothing where there is none, or none that can be
/// read.
pub(super) fn lines(message: &Message) -> Vec<Line> {
    let session = message.sdp.and_then(|text| Session::parse(text).ok());
    session.map(|session| session.media.iter().map(Line::new).collect()).unwrap_or_default()
}

/// Enters what a party of a connection says of its end.
pub(super) fn announce(
    core: &mut Core,
    context: &Context,
    call: CallId,
    branch: u32,
    party: Party,
    lines: &[Line],
) {
    for (index, line) in (0..).zip(lines) {
        let Some(medium) = named(core, call, line) else { continue };
        core.announce(context, call, StreamKey { branch, index }, party, |stream| {
            line.put(medium, stream, party);
        });
    }
}

/// Opens what the agent wants the connection to send to from now on, beside what was agreed.
pub(super) fn propose(core: &mut Core, context: &Context, call: CallId, branch: u32, lines: &[Line]) {
    for (index, line) in (0..).zip(lines) {
        let Some(medium) = named(core, call, line) else { continue };
        let agreed = stream(core, call, StreamKey { branch, index }).cloned();
        let key = StreamKey { branch: branch | OFFERED, index };
        core.announce(context, call, key, Party::Caller, |stream| {
            if let Some(agreed) = agreed.filter(|agreed| agreed.medium == medium) {
                *stream = agreed;
            }
            line.put(medium, stream, Party::Caller);
        });
    }
}

/// The gateway agrees to what was proposed; `local` is its own description, where it has changed.
pub(super) fn agree(core: &mut Core, context: &Context, call: CallId, branch: u32, local: &[Line]) {
    let proposed: Vec<_> =
        streams(core, call, branch | OFFERED).map(|(key, stream)| (key.index, stream.clone())).collect();
    for (index, offered) in proposed {
        core.announce(context, call, StreamKey { branch, index }, Party::Callee, |stream| {
            if stream.medium != offered.medium {
                let own = &mut stream.ends[Party::Callee as usize];
                (own.media, own.control) = (None, None);
            }
            stream.medium = offered.medium;
            stream.held = offered.held;
            stream.codec = offered.codec;
            for (accepted, offered) in stream.contracts.iter_mut().zip(offered.contracts) {
                *accepted = accepted.with_terms(offered);
            }
            Contract::renegotiated(&mut stream.contracts);
            stream.ends[Party::Caller as usize] = offered.ends[Party::Caller as usize];
        });
    }
    announce(core, context, call, branch, Party::Callee, local);
    withdraw(core, call, branch, EndReason::Moved);
}

/// Closes what was proposed.
pub(super) fn withdraw(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    let keys: Vec<_> = streams(core, call, branch | OFFERED).map(|(key, _)| *key).collect();
    for key in keys {
        core.close_stream(call, key, reason);
    }
}

/// Closes a connection's streams.
pub(super) fn close(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    let keys: Vec<_> = streams(core, call, branch).map(|(key, _)| *key).collect();
    for key in keys {
        core.close_stream(call, key, reason);
    }
    withdraw(core, call, branch, reason);
}

/// A connection that does not flow both ways may be silent for longer; its response says so.
pub(super) fn set_mode(core: &mut Core, context: &Context, call: CallId, branch: u32, mode: Option<Mode>) {
    let Some(mode) = mode else { return };
    let keys: Vec<_> = streams(core, call, branch).map(|(key, _)| *key).collect();
    for key in keys {
        core.announce(context, call, key, Party::Callee, |stream| stream.held = mode != Mode::Both);
    }
}

/// Whether both ends of one of a connection's streams are known.
pub(super) fn is_complete(core: &Core, call: CallId, branch: u32) -> bool {
    streams(core, call, branch).any(|(_, stream)| stream.ends.iter().all(|end| end.media.is_some()))
}

/// The medium of a line that has a pinhole; a host name is refused.
fn named(core: &mut Core, call: CallId, line: &Line) -> Option<Medium> {
    let medium = line.medium?;
    if let Place::Named(port) = line.place {
        core.refuse(call, SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), Refusal::HostName);
    }
    Some(medium)
}

fn stream(core: &Core, call: CallId, key: StreamKey) -> Option<&Stream> {
    core.call(call)?.streams.get(&key)
}

fn streams(core: &Core, call: CallId, branch: u32) -> impl Iterator<Item = (&StreamKey, &Stream)> {
    let range = StreamKey { branch, index: 0 }..=StreamKey { branch, index: u32::MAX };
    core.call(call).into_iter().flat_map(move |call| call.streams.range(range.clone()))
}
