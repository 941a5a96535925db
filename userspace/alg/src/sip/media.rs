//! Offers and answers (RFC 3264): what a session description says, and what that makes of a call's streams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use callgate_protocols::sdp::{Direction, Host, Media, Protocol, Session};

use crate::action::{Context, EndReason};
use crate::call::{CallId, Medium, Party, Stream, StreamKey};
use crate::core::Core;
use crate::media::Refusal;

/// Bit of [`StreamKey::branch`]: addresses offered within a dialog that have no answer yet. They are streams
/// of their own, so that what was agreed before stays open beside them.
const OFFERED: u32 = 1 << 31;

/// Bytes of [`Stream::codec`].
const MAX_CODEC: usize = 32;

/// One media description, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `None`: nothing that has a pinhole (MSRP, BFCP, data channels).
    medium: Option<Medium>,
    /// Refused or closed: port 0.
    closed: bool,
    place: Place,
    control: Option<SocketAddr>,
    mux: bool,
    held: bool,
    codec: String,
    /// It shares the transport of its bundle's first line.
    bundled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    At(SocketAddr),
    /// 0.0.0.0 or ::, the hold of RFC 2543. Nothing is to be sent there; what was agreed stays, because a
    /// party on hold may still be sent music from there.
    Blank,
    /// A host name, with this port.
    Named(u16),
}

impl Line {
    /// What a stream's record says of one party's end; for offers made before a restart.
    pub(super) fn of_stream(stream: &Stream, party: Party) -> Self {
        let end = stream.ends[party as usize];
        Self {
            medium: Some(stream.medium),
            closed: false,
            place: end.media.map_or(Place::Blank, Place::At),
            control: end.control,
            mux: stream.mux,
            held: stream.held,
            codec: stream.codec.clone(),
            bundled: false,
        }
    }

    /// Port 0, for a line that is missing.
    pub(super) fn absent() -> Self {
        Self {
            medium: None,
            closed: true,
            place: Place::Blank,
            control: None,
            mux: false,
            held: false,
            codec: String::new(),
            bundled: false,
        }
    }

    fn open(&self) -> Option<Medium> {
        self.medium.filter(|_| !self.closed)
    }

    /// Writes one party's addresses.
    fn put(&self, stream: &mut Stream, party: Party) {
        let end = &mut stream.ends[party as usize];
        match self.place {
            Place::At(address) => (end.media, end.control) = (Some(address), self.control),
            Place::Blank => {}
            Place::Named(_) => (end.media, end.control) = (None, None),
        }
    }
}

/// What a session description says, line by line.
pub(super) fn lines(session: &Session) -> Vec<Line> {
    let bundled =
        |mid: Option<&str>| mid.is_some_and(|mid| session.bundle().skip(1).any(|other| other == mid));
    let line = |media: &Media| {
        let medium = match (media.protocol, media.kind) {
            (Protocol::Rtp, "audio") => Some(Medium::Audio),
            (Protocol::Rtp, "video") => Some(Medium::Video),
            (Protocol::Rtp, _) => Some(Medium::Other),
            (Protocol::Udptl, _) => Some(Medium::Image),
            (Protocol::Other, _) => None,
        };
        let place = match media.connection {
            None => Place::Blank,
            Some(connection) if connection.is_unspecified() => Place::Blank,
            Some(connection) => match connection.host {
                Host::Ip(ip) => Place::At(SocketAddr::new(ip, media.port)),
                Host::Name(_) => Place::Named(media.port),
            },
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
        Line {
            medium,
            closed: media.port == 0 && !media.bundle_only,
            place,
            control,
            mux: media.rtcp_mux,
            held: media.direction != Direction::SendRecv || place == Place::Blank,
            codec: label(media.codec()),
            bundled: bundled(media.mid),
        }
    };
    session.media.iter().map(line).collect()
}

/// As much of a codec's name as a stream's record holds: an offer is kept while the call lives.
fn label(codec: &str) -> String {
    codec[..codec.floor_char_boundary(MAX_CODEC)].to_owned()
}

/// Opens what `by` offers, for the other party; an agreed stream is left as it is, and its new addresses are
/// opened beside the old ones. Candidates (RFC 8839) are not opened: both sides can always settle on the
/// default ones, which m= and c= name.
///
/// `first`: the offer of the INVITE itself or of a response to it, which stands and falls with the branch.
/// Any other one can be withdrawn.
pub(super) fn propose(
    core: &mut Core,
    context: &Context,
    call: CallId,
    branch: u32,
    by: Party,
    lines: &[Line],
    first: bool,
) {
    let fresh = first && streams(core, call, branch).next().is_none();
    for (index, line) in (0..).zip(lines) {
        let Some(medium) = line.open() else { continue };
        let place = match line.place {
            Place::At(place) if place.port() != 0 => place,
            Place::At(_) | Place::Blank => continue,
            Place::Named(port) => {
                let unnamed = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                core.refuse(call, unnamed, Refusal::HostName);
                continue;
            }
        };
        let agreed = stream(core, call, StreamKey { branch, index }).filter(|s| s.medium == medium).cloned();
        let same = agreed.as_ref().is_some_and(|agreed| {
            let end = agreed.ends[by as usize];
            end.media == Some(place) && end.control == line.control
        });
        if same {
            continue;
        }
        let branch = if fresh { branch } else { branch | OFFERED };
        core.announce(context, call, StreamKey { branch, index }, by, |stream| {
            stream.medium = medium;
            stream.held = line.held;
            stream.codec.clone_from(&line.codec);
            line.put(stream, by);
            if let Some(agreed) = agreed {
                let (known, other) =
                    (agreed.ends[by.other() as usize], &mut stream.ends[by.other() as usize]);
                other.media = known.media;
                other.control = known.control.filter(|_| !agreed.mux);
            }
        });
    }
}

/// Makes what `by` answers to `offer` the agreed state of this branch.
pub(super) fn agree(
    core: &mut Core,
    context: &Context,
    call: CallId,
    branch: u32,
    by: Party,
    offer: &[Line],
    answer: &[Line],
) {
    for (index, offered) in offer.iter().enumerate() {
        let Ok(number) = u32::try_from(index) else { break };
        let key = StreamKey { branch, index: number };
        let answered = answer.get(index).filter(|answered| answered.open().is_some());
        match answered.filter(|answered| answered.medium == offered.medium) {
            // It uses the transport of the bundle's first line (RFC 9143 section 7.3) and needs none itself.
            Some(answered) if answered.bundled => core.close_stream(call, key, EndReason::Moved),
            Some(answered) if offered.open().is_some() => {
                if let Place::Named(port) = answered.place {
                    let unnamed = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                    core.refuse(call, unnamed, Refusal::HostName);
                }
                core.announce(context, call, key, by, |stream| {
                    let medium = answered.medium.unwrap_or(stream.medium);
                    if stream.medium != medium {
                        for end in &mut stream.ends {
                            (end.media, end.control) = (None, None);
                        }
                    }
                    stream.medium = medium;
                    stream.mux = offered.mux && answered.mux;
                    stream.held = offered.held || answered.held;
                    stream.codec.clone_from(&answered.codec);
                    offered.put(stream, by.other());
                    answered.put(stream, by);
                });
            }
            _ => core.close_stream(call, key, EndReason::ChannelClosed),
        }
    }
    // What stays of the offer under its provisional key has been agreed by now, or refused.
    withdraw(core, call, branch, EndReason::Moved);
}

/// Closes what was offered within a dialog and has not been agreed.
pub(super) fn withdraw(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    close(core, call, branch | OFFERED, reason);
}

/// Closes a branch: its streams, and what was offered beside them.
pub(super) fn close_branch(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    close(core, call, branch, reason);
    withdraw(core, call, branch, reason);
}

fn close(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    let keys: Vec<_> = streams(core, call, branch).map(|(key, _)| *key).collect();
    for key in keys {
        core.close_stream(call, key, reason);
    }
}

fn stream(core: &Core, call: CallId, key: StreamKey) -> Option<&Stream> {
    core.call(call)?.streams.get(&key)
}

fn streams(core: &Core, call: CallId, branch: u32) -> impl Iterator<Item = (&StreamKey, &Stream)> {
    let range = StreamKey { branch, index: 0 }..=StreamKey { branch, index: u32::MAX };
    core.call(call).into_iter().flat_map(move |call| call.streams.range(range.clone()))
}
