//! Streams → pinholes. One pinhole per (receiver, transport), owned by every call that needs it.
//!
//! Owns the table of pinholes and says when one is to be opened, changed or closed. A pinhole admits the
//! union of what its owners admit, at most [`MAX_SENDERS`]; it is closed when the last owner lets it go.
//! Whether an address may be announced at all is decided before, in [`crate::core`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_shared::pinhole::{Kind, MAX_SENDERS};

use crate::action::{Action, EndReason, PinholeSpec, Sender, Transport};
use crate::call::{Behind, CallId, Candidate, Medium, Party, Stream, StreamKey};
use crate::contract::Contract;
use crate::media::Refusal;

/// Most owners of one pinhole: the hops of one call and the branches of a fork, with much to spare.
const MAX_OWNERS: usize = 64;

/// Which of a party's two addresses a pinhole stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// RTP, or whatever the stream carries.
    Media,
    /// RTCP on its own port.
    Control,
    /// A candidate of either party: what comes from the other's address of this number.
    Path(u8),
}

/// Who needs a pinhole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The call.
    pub call: CallId,
    /// Its stream.
    pub stream: StreamKey,
    /// The party that receives there.
    pub party: Party,
    /// Which of its addresses.
    pub role: Role,
}

/// What an owner wants to be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where the stream is received.
    pub to: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// What flows.
    pub kind: Kind,
    /// Who sends.
    pub sender: Sender,
    /// Stands for where the sender receives this stream itself, and tells one stream from another; 0 where that is not
    /// known.
    pub other_end: u32,
    /// The sender is behind address translation, and its port is to be learnt.
    pub latch: Option<Box<Behind>>,
    /// Silence after which it closes.
    pub idle: Duration,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
    /// What the receiver accepts.
    pub contract: Contract,
}

impl Medium {
    /// What carries it, and the kind of its pinhole (`mux`: RTP and RTCP share it).
    pub const fn pinhole(self, mux: bool) -> (Transport, Kind) {
        match self {
            Self::Audio | Self::Video | Self::Other if mux => (Transport::Udp, Kind::RtcpMux),
            Self::Audio | Self::Video | Self::Other => (Transport::Udp, Kind::Rtp),
            Self::Image => (Transport::Udp, Kind::Udptl),
            Self::Data => (Transport::Tcp, Kind::T120),
            Self::Control => (Transport::Tcp, Kind::H245),
            Self::H225 => (Transport::Tcp, Kind::H225),
            Self::Ras => (Transport::Udp, Kind::Ras),
            Self::Sip => (Transport::Udp, Kind::Sip),
            Self::SipTcp => (Transport::Tcp, Kind::Sip),
            Self::File => (Transport::Udp, Kind::Tftp),
        }
    }

    /// Whether it is bound to the media ports of the rules file.
    pub const fn in_media_ports(self) -> bool {
        matches!(self, Self::Audio | Self::Video | Self::Image | Self::Other)
    }
}

/// What one stream claims: up to two pinholes at each end, or at each further pair of ports and each candidate.
///
/// The only sender admitted to an end is the other end: where it said it sends from, else the address it announced
/// for the stream, or, while that is unknown or cannot be reached, the address its signalling comes from. One that
/// has candidates may send from each of their addresses, as many as a pinhole can name.
pub fn claims(
    call: CallId,
    key: StreamKey,
    stream: &Stream,
    idle: Duration,
    slot: u32,
) -> impl Iterator<Item = (Owner, Claim)> {
    let (transport, kind) = stream.medium.pinhole(stream.mux);
    [Party::Caller, Party::Callee].into_iter().flat_map(move |party| {
        let end = &stream.ends[party as usize];
        let peer = &stream.ends[party.other() as usize];
        let accepted = stream.contracts[party as usize];
        // A party that only sends announces its RTCP address alone.
        // A group receives and does not send.
        let host =
            |address: Option<SocketAddr>| address.map(|address| address.ip()).filter(|ip| !ip.is_multicast());
        let media_sender = host(peer.media).or(host(peer.control)).unwrap_or(peer.signalling);
        let control_sender = host(peer.control).unwrap_or(media_sender);
        let any_port = |ip: IpAddr| Sender { ip, port: None };
        let told =
            |from: SocketAddr| Sender { ip: from.ip(), port: Some(from.port()).filter(|port| *port != 0) };
        let claim = move |role, to, kind, sender| {
            let owner = Owner { call, stream: key, party, role };
            let latch = peer.behind.filter(|_| transport == Transport::Udp).map(Box::new);
            let contract = if kind == Kind::Rtcp { accepted.of_control() } else { accepted };
            let other_end = peer.media.or(peer.control).map_or(0, stand_in);
            (owner, Claim { to, transport, kind, sender, other_end, latch, idle, slot, contract })
        };
        let media_sender = peer.sends.map_or(any_port(media_sender), told);
        let control_sender = any_port(control_sender);
        let media = end.media.map(|to| (Role::Media, to, kind, media_sender));
        let control = end
            .control
            .filter(|to| kind == Kind::Rtp && end.media != Some(*to))
            .map(|to| (Role::Control, to, Kind::Rtcp, control_sender));
        let pairs = (0..=u16::from(end.extra)).flat_map(move |pair| {
            let place =
                move |to: SocketAddr| Some(SocketAddr::new(to.ip(), to.port().checked_add(2 * pair)?));
            let both = media.into_iter().chain(control);
            both.filter_map(move |(role, to, kind, sender)| Some(claim(role, place(to)?, kind, sender)))
        });
        let ice = stream.ice.as_deref().filter(|_| transport == Transport::Udp);
        let paths = ice.into_iter().flat_map(move |ice| {
            let candidates = [party, party.other()].map(|party| ice.candidates[party as usize].as_slice());
            paths(candidates, kind, media.into_iter().chain(control), media_sender.ip)
                .map(move |(number, to, kind, ip)| claim(Role::Path(number), to, kind, any_port(ip)))
                .map(|(owner, claim)| (owner, Claim { latch: None, ..claim }))
        });
        pairs.chain(paths)
    })
}

/// Who else may send where, by their candidates: the number of the sender's address, and the way.
///
/// `known` are the receiver's places that need no candidates; `sender` is admitted there anyway.
fn paths<'a>(
    [own, others]: [&'a [Candidate]; 2],
    kind: Kind,
    known: impl Iterator<Item = (Role, SocketAddr, Kind, Sender)> + 'a,
    sender: IpAddr,
) -> impl Iterator<Item = (u8, SocketAddr, Kind, IpAddr)> + 'a {
    let mut senders = [Some(sender), None, None, None];
    const _: () = assert!(MAX_SENDERS == 4);
    for ip in others.iter().map(|candidate| candidate.address.ip()) {
        if !senders.contains(&Some(ip))
            && let Some(place) = senders.iter_mut().find(|place| place.is_none())
        {
            *place = Some(ip);
        }
    }
    let from =
        move |skip: usize| (0..).zip(senders).skip(skip).filter_map(|(number, ip)| Some((number, ip?)));
    let known =
        known.flat_map(move |(_, to, kind, _)| from(1).map(move |(number, ip)| (number, to, kind, ip)));
    let mux = kind == Kind::RtcpMux;
    let own = own.iter().filter(move |candidate| !(mux && candidate.control)).flat_map(move |candidate| {
        let kind = if candidate.control { Kind::Rtcp } else { kind };
        from(0).map(move |(number, ip)| (number, candidate.address, kind, ip))
    });
    known.chain(own)
}

/// All pinholes.
#[derive(Debug, Default)]
pub struct PinholeTable {
    entries: HashMap<(SocketAddr, Transport), Pinhole>,
}

#[derive(Debug)]
struct Pinhole {
    /// Oldest first.
    owners: Vec<(Owner, Claim)>,
}

impl PinholeTable {
    /// The pinhole to this address, as it was last told.
    pub fn get(&self, to: SocketAddr, transport: Transport) -> Option<PinholeSpec> {
        self.entries.get(&(to, transport)).and_then(|pinhole| pinhole.spec())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every pinhole as it was last told.
    pub fn iter(&self) -> impl Iterator<Item = PinholeSpec> {
        self.entries.values().filter_map(Pinhole::spec)
    }

    /// Whether media is received at this address, or sent from it.
    pub fn involve(&self, ip: IpAddr) -> bool {
        let from = |pinhole: &Pinhole| pinhole.owners.iter().any(|(_, claim)| claim.sender.ip == ip);
        self.entries.iter().any(|((to, _), pinhole)| to.ip() == ip || from(pinhole))
    }

    /// Who needs this pinhole, oldest first.
    pub fn owners(&self, to: SocketAddr, transport: Transport) -> impl Iterator<Item = &Owner> {
        self.entries.get(&(to, transport)).into_iter().flat_map(|p| p.owners.iter().map(|(owner, _)| owner))
    }

    /// Enters what `owner` wants, or changes it to this. There can be `bound` pinholes.
    ///
    /// # Errors
    /// [`Refusal::TableFull`]: there is no room for another pinhole. [`Refusal::TooManyStreams`]: the pinhole
    /// goes on as it was, because older owners have named all the senders it can hold; this one's is admitted
    /// when one of theirs goes.
    pub fn claim(
        &mut self,
        owner: Owner,
        claim: Claim,
        bound: usize,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let full = self.entries.len() >= bound;
        match self.entries.entry((claim.to, claim.transport)) {
            Entry::Vacant(_) if full => Err(Refusal::TableFull),
            Entry::Vacant(place) => {
                let pinhole = place.insert(Pinhole { owners: vec![(owner, claim)] });
                actions.extend(pinhole.spec().map(Action::Open));
                Ok(())
            }
            Entry::Occupied(mut place) => {
                let pinhole = place.get_mut();
                let sender = claim.sender;
                let told = pinhole.spec();
                let learns = claim.latch.as_ref().map(|latch| latch.announced);
                let before = match pinhole.owners.iter().position(|(other, _)| *other == owner) {
                    Some(place) => std::mem::replace(&mut pinhole.owners[place].1, claim).latch,
                    None if pinhole.owners.len() >= MAX_OWNERS => return Err(Refusal::TooManyStreams),
                    None => {
                        pinhole.owners.push((owner, claim));
                        None
                    }
                };
                if before.is_some_and(|latch| Some(latch.announced) != learns) {
                    learn_anew(told.as_ref(), actions);
                }
                let known =
                    pinhole.tell(told.as_ref(), actions).is_some_and(|now| now.senders.contains(&sender));
                if known { Ok(()) } else { Err(Refusal::TooManyStreams) }
            }
        }
    }

    /// Tells a pinhole as it is: its silence begins anew.
    pub fn retell(&self, to: SocketAddr, transport: Transport, actions: &mut Vec<Action>) {
        actions.extend(self.get(to, transport).map(Action::Update));
    }

    /// `owner` needs the pinhole no more; nothing happens if it did not own it.
    pub fn release(
        &mut self,
        owner: Owner,
        to: SocketAddr,
        transport: Transport,
        reason: EndReason,
        actions: &mut Vec<Action>,
    ) {
        let Entry::Occupied(mut place) = self.entries.entry((to, transport)) else { return };
        let pinhole = place.get_mut();
        let told = pinhole.spec();
        pinhole.owners.retain(|(other, _)| *other != owner);
        if pinhole.owners.is_empty() {
            place.remove();
            actions.push(Action::Close { to, transport, call: owner.call, reason });
        } else {
            pinhole.tell(told.as_ref(), actions);
        }
    }
}

impl Pinhole {
    /// What its owners need together: kind, call and slot of the oldest, senders and patience of all. It locks to one
    /// port only if that is enough for all of them. `None` without owners.
    fn spec(&self) -> Option<PinholeSpec> {
        let owners = &self.owners;
        let (owner, first) = owners.first()?;
        let mut senders = Vec::with_capacity(1);
        for (_, claim) in owners {
            if senders.len() < MAX_SENDERS && !senders.contains(&claim.sender) {
                senders.push(claim.sender);
            }
        }
        senders.sort_unstable();
        // The hops of a call carry the same stream; the branches of a fork, and other calls, have their own.
        let mut ends = owners.iter().map(|(_, claim)| claim.other_end).filter(|end| *end != 0);
        let end = ends.next();
        let shared =
            owners.iter().any(|(other, _)| other.call != owner.call) || ends.any(|other| Some(other) != end);
        let join = if shared { Contract::beside } else { Contract::union };
        let latches = owners.iter().map(|(_, claim)| claim.latch.as_ref().map(|latch| latch.window));
        Some(PinholeSpec {
            to: first.to,
            transport: first.transport,
            senders,
            kind: first.kind,
            idle: owners.iter().map(|(_, claim)| claim.idle).max().unwrap_or(first.idle),
            latch: latches.min().flatten(),
            call: owner.call,
            slot: first.slot,
            contract: owners.iter().skip(1).fold(first.contract, |all, (_, claim)| join(all, claim.contract)),
        })
    }

    /// Tells a change of what was told, if there is one. Returns what is told now.
    fn tell(&self, told: Option<&PinholeSpec>, actions: &mut Vec<Action>) -> Option<PinholeSpec> {
        let now = self.spec();
        actions.extend(now.clone().filter(|spec| told != Some(spec)).map(Action::Update));
        now
    }
}

/// The sender has moved, behind the same address: its port is to be learnt again.
fn learn_anew(told: Option<&PinholeSpec>, actions: &mut Vec<Action>) {
    if let Some(spec) = told.filter(|spec| spec.latch.is_some()) {
        let &PinholeSpec { to, transport, call, .. } = spec;
        actions.push(Action::Close { to, transport, call, reason: EndReason::Moved });
        actions.push(Action::Open(spec.clone()));
    }
}

/// A number that stands for an address: never 0.
fn stand_in(address: SocketAddr) -> u32 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    (hasher.finish() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Ice;
    use crate::contract::Nominal;

    const BOUND: usize = 10;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn owner(call: u64) -> Owner {
        let stream = StreamKey { branch: 0, index: 0 };
        Owner { call: CallId(call), stream, party: Party::Caller, role: Role::Media }
    }

    fn claim(sender: u8) -> Claim {
        Claim {
            to: SocketAddr::new(ip(1), 20_000),
            transport: Transport::Udp,
            kind: Kind::Rtp,
            sender: Sender { ip: ip(sender), port: None },
            other_end: 0,
            latch: None,
            idle: Duration::from_secs(1),
            slot: 0,
            contract: Contract::default(),
        }
    }

    fn senders(action: &Action) -> Vec<IpAddr> {
        match action {
            Action::Open(spec) | Action::Update(spec) => spec.senders.iter().map(|s| s.ip).collect(),
            other => panic!("not a pinhole: {other:?}"),
        }
    }

    #[test]
    fn a_shared_pinhole_admits_the_union_and_closes_with_its_last_owner() {
        let mut table = PinholeTable::default();
        let mut actions = Vec::new();
        table.claim(owner(1), claim(7), BOUND, &mut actions).expect("room");
        table.claim(owner(2), claim(8), BOUND, &mut actions).expect("room");
        table.claim(owner(2), claim(8), BOUND, &mut actions).expect("said again");
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(matches!(actions[0], Action::Open(_)));
        assert_eq!(senders(&actions[1]), [ip(7), ip(8)]);

        actions.clear();
        let to = claim(7).to;
        table.release(owner(1), to, Transport::Udp, EndReason::Bye, &mut actions);
        assert_eq!(senders(&actions[0]), [ip(8)]);
        table.release(owner(3), to, Transport::Udp, EndReason::Bye, &mut actions);
        table.release(owner(2), to, Transport::Tcp, EndReason::Bye, &mut actions);
        assert_eq!(actions.len(), 1, "not the owner, not the pinhole: {actions:?}");
        table.release(owner(2), to, Transport::Udp, EndReason::Bye, &mut actions);
        assert!(matches!(actions[1], Action::Close { call: CallId(2), reason: EndReason::Bye, .. }));
        assert!(table.is_empty());
    }

    #[test]
    fn streams_of_several_calls_and_branches_share_a_pinhole_and_those_of_a_calls_hops_are_one() {
        let nominal = |packets, bytes| Some(Nominal { packets, bytes });
        let voice = Contract { nominal: nominal(50, 10_000), ..Contract::default() };
        let shared = |owners: [(Owner, u16); 2]| {
            let mut table = PinholeTable::default();
            let mut actions = Vec::new();
            for (owner, port) in owners {
                let other_end = stand_in(at(7, port));
                let claim = Claim { contract: voice, other_end, ..claim(7) };
                table.claim(owner, claim, BOUND, &mut actions).expect("room");
            }
            match actions.pop() {
                Some(Action::Open(spec) | Action::Update(spec)) => {
                    (spec.contract.shared, spec.contract.nominal)
                }
                other => panic!("not a pinhole: {other:?}"),
            }
        };
        let branch = |branch| Owner { stream: StreamKey { branch, index: 0 }, ..owner(1) };
        assert_eq!(
            shared([(owner(1), 9_000), (owner(2), 9_000)]),
            (true, nominal(100, 20_000)),
            "another call"
        );
        assert_eq!(shared([(branch(0), 9_000), (branch(1), 9_002)]), (true, nominal(100, 20_000)), "a fork");
        assert_eq!(shared([(branch(0), 9_000), (branch(1), 9_000)]), (false, nominal(50, 10_000)), "a hop");
        let path = Owner { role: Role::Path(1), ..owner(1) };
        assert_eq!(shared([(owner(1), 9_000), (path, 9_000)]), (false, nominal(50, 10_000)), "a candidate");
    }

    #[test]
    fn the_oldest_senders_keep_their_place() {
        let mut table = PinholeTable::default();
        let mut actions = Vec::new();
        for n in 1..=4 {
            table.claim(owner(n), claim(10 + n as u8), BOUND, &mut actions).expect("room");
        }
        actions.clear();
        assert_eq!(table.claim(owner(5), claim(2), BOUND, &mut actions), Err(Refusal::TooManyStreams));
        assert!(actions.is_empty(), "{actions:?}");
        table.release(owner(1), claim(2).to, Transport::Udp, EndReason::Bye, &mut actions);
        assert_eq!(senders(&actions[0]), [ip(2), ip(12), ip(13), ip(14)], "a place is free");
    }

    #[test]
    fn a_full_table_refuses_and_stays() {
        let mut table = PinholeTable::default();
        let mut actions = Vec::new();
        table.claim(owner(1), claim(7), 1, &mut actions).expect("room");
        let elsewhere = Claim { to: SocketAddr::new(ip(1), 20_002), ..claim(7) };
        assert_eq!(table.claim(owner(1), elsewhere, 1, &mut actions), Err(Refusal::TableFull));
        assert_eq!((table.len(), actions.len()), (1, 1));
    }

    #[test]
    fn owners_of_one_pinhole_are_bounded() {
        let mut table = PinholeTable::default();
        let mut actions = Vec::new();
        for n in 0..MAX_OWNERS as u64 {
            table.claim(owner(n), claim(7), BOUND, &mut actions).expect("room");
        }
        assert_eq!(table.claim(owner(999), claim(7), BOUND, &mut actions), Err(Refusal::TooManyStreams));
        assert_eq!(actions.len(), 2, "opened for the first, shared from the second on");
    }

    fn stream() -> Stream {
        Stream::new(Medium::Audio, [ip(1), ip(2)])
    }

    fn list(stream: &Stream) -> Vec<(SocketAddr, Kind, IpAddr)> {
        claims(CallId(1), StreamKey { branch: 0, index: 0 }, stream, Duration::ZERO, 0)
            .map(|(_, claim)| (claim.to, claim.kind, claim.sender.ip))
            .collect()
    }

    fn at(n: u8, port: u16) -> SocketAddr {
        SocketAddr::new(ip(n), port)
    }

    #[test]
    fn further_pairs_of_ports_are_two_apart() {
        let mut stream = stream();
        stream.ends[0].media = Some(at(1, 20_000));
        stream.ends[0].control = Some(at(1, 20_777));
        stream.ends[0].extra = 1;
        let ports: Vec<_> = list(&stream).iter().map(|(to, kind, _)| (to.port(), *kind)).collect();
        let (rtp, rtcp) = (Kind::Rtp, Kind::Rtcp);
        assert_eq!(ports, [(20_000, rtp), (20_777, rtcp), (20_002, rtp), (20_779, rtcp)]);
        stream.ends[0].media = Some(at(1, 65_534));
        assert_eq!(list(&stream).len(), 3, "no port beyond the last");
    }

    #[test]
    fn candidates_receive_from_each_of_the_others_addresses() {
        let candidate = |n, port, control| Candidate { address: at(n, port), control };
        let mut stream = stream();
        stream.ends[0].media = Some(at(1, 20_000));
        let mut ice = Ice::default();
        ice.candidates[0] = vec![candidate(3, 21_000, false), candidate(3, 21_001, true)];
        stream.ice = Some(Box::new(ice.clone()));
        let (rtp, rtcp) = (Kind::Rtp, Kind::Rtcp);
        let half = [(at(1, 20_000), rtp, ip(2)), (at(3, 21_000), rtp, ip(2)), (at(3, 21_001), rtcp, ip(2))];
        assert_eq!(list(&stream), half, "while the other's are not known");

        // Of the other's addresses a pinhole names four.
        ice.candidates[1] = (2..9).map(|n| candidate(n, 30_000, false)).collect();
        stream.ice = Some(Box::new(ice));
        let own = |stream: &Stream, to: SocketAddr| {
            let mut from: Vec<_> =
                list(stream).iter().filter(|(at, ..)| *at == to).map(|(_, _, ip)| *ip).collect();
            from.sort_unstable();
            from
        };
        for to in [at(1, 20_000), at(3, 21_000), at(3, 21_001)] {
            assert_eq!(own(&stream, to), [ip(2), ip(3), ip(4), ip(5)], "{to}");
        }
        stream.mux = true;
        assert!(own(&stream, at(3, 21_001)).is_empty(), "RTCP has no port of its own");
    }

    #[test]
    fn a_pinhole_learns_a_port_only_if_that_is_enough_for_all_and_anew_when_its_sender_moves() {
        let behind = |port| Some(Behind { announced: at(200, port), window: Duration::from_secs(10) });
        let learning = |port| Claim { latch: behind(port).map(Box::new), ..claim(7) };
        let mut table = PinholeTable::default();
        let mut actions = Vec::new();
        let latches = |actions: &mut Vec<Action>| -> Vec<Option<bool>> {
            let latch = |action| match action {
                Action::Open(spec) | Action::Update(spec) => Some(spec.latch.is_some()),
                _ => None,
            };
            actions.drain(..).map(latch).collect()
        };
        table.claim(owner(1), learning(1), BOUND, &mut actions).expect("room");
        table.claim(owner(1), learning(1), BOUND, &mut actions).expect("said again");
        assert_eq!(latches(&mut actions), [Some(true)]);
        table.claim(owner(1), learning(2), BOUND, &mut actions).expect("moved");
        assert_eq!(latches(&mut actions), [None, Some(true)], "closed and opened");
        table.claim(owner(2), claim(8), BOUND, &mut actions).expect("room");
        assert_eq!(latches(&mut actions), [Some(false)]);
        table.claim(owner(1), learning(3), BOUND, &mut actions).expect("moved");
        assert_eq!(latches(&mut actions), [], "nothing had been learnt");
        table.release(owner(2), claim(8).to, Transport::Udp, EndReason::Bye, &mut actions);
        assert_eq!(latches(&mut actions), [Some(true)]);
    }

    #[test]
    fn senders_are_the_other_end_and_nothing_wider() {
        let mut stream = stream();
        assert_eq!(list(&stream), []);

        stream.ends[0].media = Some(at(1, 20_000));
        stream.ends[0].control = Some(at(1, 20_001));
        assert_eq!(
            list(&stream),
            [(at(1, 20_000), Kind::Rtp, ip(2)), (at(1, 20_001), Kind::Rtcp, ip(2))],
            "half known: the other's signalling address"
        );

        stream.ends[1].media = Some(at(9, 30_000));
        stream.mux = true;
        assert_eq!(
            list(&stream),
            [(at(1, 20_000), Kind::RtcpMux, ip(9)), (at(9, 30_000), Kind::RtcpMux, ip(1))],
            "one pinhole each, for the address that was announced"
        );
    }
}
