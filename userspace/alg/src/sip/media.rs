//! Offers and answers (RFC 3264): what a session description says, and what that makes of a call's streams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use callgate_protocols::sdp::{Host, Media, Protocol, Session, Setup};
use callgate_rules::inspect::sip::TcpMedia;

use crate::action::{Context, EndReason};
use crate::call::{CallId, Candidate, End, Ice, MAX_CANDIDATES, MAX_EXTRA, Medium, Party, Stream, StreamKey};
use crate::contract::Contract;
use crate::core::Core;
use crate::media::Refusal;
use crate::terms::Terms;

/// Bit of [`StreamKey::branch`]: addresses offered within a dialog that have no answer yet. They are streams
/// of their own, so that what was agreed before stays open beside them.
const OFFERED: u32 = 1 << 31;

/// Bytes of [`Stream::codec`].
const MAX_CODEC: usize = 32;

/// One media description, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `None`: nothing that has a pinhole (data channels, BFCP over UDP).
    medium: Option<Medium>,
    /// Refused or closed: port 0.
    closed: bool,
    place: Place,
    control: Option<SocketAddr>,
    /// Further pairs of ports.
    extra: u8,
    /// It has more ports than may be opened.
    excess: bool,
    mux: bool,
    held: bool,
    secure: bool,
    /// It shares the transport of its bundle's first line.
    bundled: bool,
    /// Who connects, over TCP.
    setup: Option<Setup>,
    codec: Box<str>,
    /// Other places; `None` where no connectivity checks are made.
    candidates: Option<Box<[Candidate]>>,
    /// What may come to it.
    terms: Terms,
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
        let place = end.media.or(end.behind.map(|behind| behind.announced)).or(end.sends);
        Self {
            medium: Some(stream.medium),
            closed: false,
            place: place.map_or(Place::Blank, Place::At),
            control: end.control,
            extra: end.extra,
            excess: false,
            mux: stream.mux,
            held: stream.held,
            secure: stream.secure,
            bundled: false,
            setup: Some(if end.media.is_some() { Setup::ActPass } else { Setup::Active }),
            codec: stream.codec.as_str().into(),
            candidates: stream.ice.as_ref().map(|ice| ice.candidates[party as usize].as_slice().into()),
            terms: Terms::restored(
                stream.contracts[party as usize],
                stream.contracts[party.other() as usize].ssrc,
            ),
        }
    }

    /// Port 0, for a line that is missing.
    pub(super) fn absent() -> Self {
        Self {
            medium: None,
            closed: true,
            place: Place::Blank,
            control: None,
            extra: 0,
            excess: false,
            mux: false,
            held: false,
            secure: false,
            bundled: false,
            setup: None,
            codec: Box::default(),
            candidates: None,
            terms: Terms::default(),
        }
    }

    fn new(media: &Media, bundled: bool) -> Self {
        let medium = match (media.protocol, media.kind) {
            (Protocol::Rtp, "audio") => Some(Medium::Audio),
            (Protocol::Rtp, "video") => Some(Medium::Video),
            (Protocol::Rtp, _) => Some(Medium::Other),
            (Protocol::Udptl, _) => Some(Medium::Image),
            (Protocol::Tcp, _) => Some(Medium::Data),
            (Protocol::Udp | Protocol::Other, _) => None,
        };
        let rtp = media.protocol == Protocol::Rtp;
        let place = match media.connection.map(|connection| connection.host) {
            Some(Host::Ip(ip)) if !ip.is_unspecified() => Place::At(SocketAddr::new(ip, media.port)),
            None | Some(Host::Ip(_)) => Place::Blank,
            Some(Host::Name(_)) => Place::Named(media.port),
        };
        let control = match (place, media.rtcp) {
            (Place::At(_), _) if !rtp || media.rtcp_mux_only => None,
            (Place::At(at), Some(rtcp)) => {
                Some(SocketAddr::new(rtcp.host.and_then(Host::ip).unwrap_or(at.ip()), rtcp.port))
            }
            // RFC 3550 section 11: the next port.
            (Place::At(at), None) => at.port().checked_add(1).map(|port| SocketAddr::new(at.ip(), port)),
            _ => None,
        };
        let extra = if rtp { media.ports.saturating_sub(1) } else { 0 };
        let codec = match media.protocol {
            Protocol::Tcp => media.transport.rsplit('/').next().unwrap_or_default(),
            _ => media.codec(),
        };
        Self {
            medium,
            closed: media.is_closed(),
            place,
            control,
            extra: u8::try_from(extra).unwrap_or(u8::MAX).min(MAX_EXTRA),
            excess: extra > u16::from(MAX_EXTRA),
            mux: media.rtcp_mux,
            held: media.is_held(),
            secure: media.is_secure(),
            bundled,
            setup: media.setup(),
            // As much as a stream's record holds: an offer is kept while the call lives.
            codec: codec[..codec.floor_char_boundary(MAX_CODEC)].into(),
            candidates: media.offers_ice().then(|| candidates(media, place, control)),
            terms: Terms::of(media),
        }
    }

    /// What it opens, if anything.
    fn open(&self) -> Option<Medium> {
        self.medium.filter(|_| !self.closed)
    }

    /// Whether TCP connections come to it (RFC 4145 section 4). `answer`: what it was answered with; itself
    /// where it is the answer.
    fn is_connected_to(&self, answer: Option<&Self>) -> bool {
        match self.setup {
            Some(Setup::Passive) => true,
            Some(Setup::ActPass) => {
                let other = answer.map(|answer| answer.setup.unwrap_or(Setup::Passive));
                other != Some(Setup::Passive)
            }
            Some(Setup::Active | Setup::HoldConn) => false,
            None => answer.is_some_and(|answer| std::ptr::eq(self, answer)),
        }
    }

    /// Writes one party's addresses.
    fn put(&self, end: &mut End, medium: Medium, answer: Option<&Self>) {
        let (ip, connects) = match self.place {
            Place::Blank => return,
            Place::At(address) if medium != Medium::Data || self.is_connected_to(answer) => {
                end.media = Some(address).filter(|address| address.port() != 0);
                (end.control, end.extra) = (self.control, self.extra);
                (end.sends, end.behind) = (None, None);
                return;
            }
            Place::At(address) => (Some(address.ip()), true),
            Place::Named(_) => (None, false),
        };
        (end.media, end.control, end.extra, end.behind) = (None, None, 0, None);
        end.sends = ip.filter(|_| connects).map(|ip| SocketAddr::new(ip, 0));
    }

    /// The address of a host name, as refusals show it: there is none.
    fn named(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Named(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
            Place::At(_) | Place::Blank => None,
        }
    }
}

/// What a session description says, line by line.
pub(super) fn lines(session: &Session) -> Vec<Line> {
    // The first line of a bundle that has a port is its transport; the others have none of their own.
    let carries = |mid: &str| session.media.iter().any(|media| media.mid == Some(mid) && media.port != 0);
    let bundled = |mid: &str| {
        let bundle = session.bundle_of(mid);
        bundle.is_some_and(|bundle| bundle.mids().find(|mid| carries(mid)).is_some_and(|first| first != mid))
    };
    let mut lines: Vec<Line> =
        session.media.iter().map(|media| Line::new(media, media.mid.is_some_and(bundled))).collect();
    // What comes to the bundle comes to the line whose transport it is.
    for (place, media) in session.media.iter().enumerate() {
        if !lines[place].bundled {
            continue;
        }
        let bundle = media.mid.and_then(|mid| session.bundle_of(mid));
        let first = bundle.and_then(|bundle| bundle.mids().find(|mid| carries(mid)));
        if let Some(transport) = session.media.iter().position(|other| first.is_some() && other.mid == first)
        {
            let terms = std::mem::take(&mut lines[place].terms);
            lines[transport].terms.share(&terms);
        }
    }
    lines
}

/// The candidates that can have a pinhole, without the places that m=, c= and a=rtcp name.
fn candidates(media: &Media, place: Place, control: Option<SocketAddr>) -> Box<[Candidate]> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for candidate in media.candidates().filter(|candidate| candidate.is_udp()) {
        let is_control = match candidate.component {
            1 => false,
            2 => true,
            _ => continue,
        };
        let Some(address) = candidate.address().filter(|address| address.port() != 0) else { continue };
        let known = Place::At(address) == place || is_control && Some(address) == control;
        let candidate = Candidate { address, control: is_control };
        if !known && !candidates.contains(&candidate) && candidates.len() < MAX_CANDIDATES {
            candidates.push(candidate);
        }
    }
    candidates.into_boxed_slice()
}

/// Whether the rule lets this medium have a pinhole.
fn is_permitted(core: &Core, context: &Context, medium: Medium) -> bool {
    medium != Medium::Data || core.policy().sip(context.slot).tcp_media == TcpMedia::Allow
}

/// Opens what `by` offers, for the other party; an agreed stream is left as it is, and its new addresses are
/// opened beside the old ones.
///
/// `first`: the offer of the INVITE itself or of a response to it, which stands and falls with the branch.
/// Any other one can be withdrawn. `negotiation` tells it and its answer from others.
#[expect(clippy::too_many_arguments, reason = "what an offer is; a struct would only rename them")]
pub(super) fn propose(
    core: &mut Core,
    context: &Context,
    call: CallId,
    branch: u32,
    by: Party,
    lines: &[Line],
    first: bool,
    negotiation: u32,
) {
    let fresh = first && streams(core, call, branch).next().is_none();
    for (index, line) in (0..).zip(lines).filter(|(_, line)| !line.closed) {
        let at = match line.place {
            Place::At(place) => Some(place).filter(|place| place.port() != 0),
            Place::Blank | Place::Named(_) => None,
        };
        if let Some(unnamed) = line.named() {
            core.refuse(call, unnamed, Refusal::HostName);
        }
        let Some(medium) = line.medium.filter(|medium| is_permitted(core, context, *medium)) else {
            if let Some(place) = at.filter(|_| !line.bundled) {
                core.refuse(call, place, Refusal::MediaType);
            }
            continue;
        };
        let candidates = line.candidates.as_deref().unwrap_or_default();
        let Some(place) = at.or(candidates.first().map(|candidate| candidate.address)) else { continue };
        if line.excess {
            core.refuse(call, place, Refusal::TooManyStreams);
        }
        let agreed = stream(core, call, StreamKey { branch, index }).filter(|s| s.medium == medium).cloned();
        if agreed.as_ref().is_some_and(|agreed| is_same(agreed, by, line, at)) {
            continue;
        }
        let branch = if fresh { branch } else { branch | OFFERED };
        core.announce(context, call, StreamKey { branch, index }, by, |stream| {
            stream.medium = medium;
            stream.held = line.held;
            stream.secure = line.secure;
            line.codec.as_ref().clone_into(&mut stream.codec);
            line.put(&mut stream.ends[by as usize], medium, None);
            let mut ice = line.candidates.as_deref().map(|own| ice(by, own, &[]));
            stream.contracts[by as usize] = line.terms.alone(negotiation);
            if let Some(agreed) = agreed {
                let known = agreed.contracts[by.other() as usize];
                // Whoever offers may go over to another source.
                stream.contracts[by.other() as usize] =
                    Contract { ssrc: line.terms.source(), negotiation: 0, ..known };
                let (known, other) =
                    (agreed.ends[by.other() as usize], &mut stream.ends[by.other() as usize]);
                *other = End { control: known.control.filter(|_| !agreed.mux), ..known };
                if let (Some(ice), Some(known)) = (&mut ice, agreed.ice) {
                    let [caller, callee] = known.candidates;
                    ice.candidates[by.other() as usize] = if by == Party::Caller { callee } else { caller };
                }
            }
            stream.ice = ice;
        });
    }
}

/// Whether an offer of `by` says what has been agreed already.
fn is_same(agreed: &Stream, by: Party, line: &Line, at: Option<SocketAddr>) -> bool {
    let end = agreed.ends[by as usize];
    let place = match end.behind {
        Some(behind) => Some(behind.announced) == at,
        None => end.media == at && end.control == line.control && end.extra == line.extra,
    };
    let own = agreed.ice.as_ref().map(|ice| ice.candidates[by as usize].as_slice());
    place && own == line.candidates.as_deref()
}

/// Makes what `by` answers to `offer` the agreed state of this branch. `negotiation` is the
/// offer's.
#[expect(clippy::too_many_arguments, reason = "an offer and its answer; a struct would only rename them")]
pub(super) fn agree(
    core: &mut Core,
    context: &Context,
    call: CallId,
    branch: u32,
    by: Party,
    offer: &[Line],
    answer: &[Line],
    negotiation: u32,
) {
    for (index, offered) in offer.iter().enumerate() {
        let Ok(number) = u32::try_from(index) else { break };
        let key = StreamKey { branch, index: number };
        let answered = answer.get(index).filter(|answered| answered.medium == offered.medium);
        let both = answered.and_then(|answered| Some((answered, answered.open()?, offered.open()?)));
        let Some((answered, medium, _)) = both.filter(|(_, medium, _)| is_permitted(core, context, *medium))
        else {
            core.close_stream(call, key, EndReason::ChannelClosed);
            continue;
        };
        // It uses the transport of the bundle's first line (RFC 9143 section 7.3) and needs none itself.
        if answered.bundled {
            core.close_stream(call, key, EndReason::Moved);
            continue;
        }
        if let Some(unnamed) = answered.named() {
            core.refuse(call, unnamed, Refusal::HostName);
        }
        if let (true, Place::At(place)) = (answered.excess, answered.place) {
            core.refuse(call, place, Refusal::TooManyStreams);
        }
        core.announce(context, call, key, by, |stream| {
            if stream.medium != medium {
                *stream = Stream::new(medium, stream.ends.map(|end| end.signalling));
            }
            stream.mux = offered.mux && answered.mux;
            stream.held = offered.held || answered.held;
            stream.secure = offered.secure && answered.secure;
            answered.codec.as_ref().clone_into(&mut stream.codec);
            offered.put(&mut stream.ends[by.other() as usize], medium, Some(answered));
            answered.put(&mut stream.ends[by as usize], medium, Some(answered));
            let [to_offerer, to_answerer] = Terms::agreed(&offered.terms, &answered.terms, negotiation);
            stream.contracts[by.other() as usize] = to_offerer;
            stream.contracts[by as usize] = to_answerer;
            let both = answered.candidates.as_deref().zip(offered.candidates.as_deref());
            stream.ice = both.map(|(own, others)| ice(by, own, others));
        });
    }
    // What stays of the offer under its provisional key has been agreed by now, or refused.
    withdraw(core, call, branch, EndReason::Moved);
}

/// The candidates of both parties.
fn ice(by: Party, own: &[Candidate], others: &[Candidate]) -> Box<Ice> {
    let mut ice = Ice::default();
    ice.candidates[by as usize] = own.to_vec();
    ice.candidates[by.other() as usize] = others.to_vec();
    Box::new(ice)
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

/// Takes back what has been answered to the caller's first offer; the offer stands, for another fork to
/// answer.
pub(super) fn unanswer(core: &mut Core, call: CallId, branch: u32, reason: EndReason) {
    let keys: Vec<_> = streams(core, call, branch).map(|(key, _)| *key).collect();
    for key in keys {
        core.forget_end(call, key, Party::Callee);
    }
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
