//! Streams → pinholes. One pinhole per (receiver, transport), owned by every call that needs it.
//!
//! Owns the table of pinholes and says when one is to be opened, changed or closed. A pinhole admits the
//! union of what its owners admit, at most [`MAX_SENDERS`]; it is closed when the last owner lets it go.
//! Whether an address may be announced at all is decided before, in [`crate::core`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_shared::pinhole::{Kind, MAX_SENDERS};

use crate::action::{Action, EndReason, PinholeSpec, Sender, Transport};
use crate::call::{CallId, Medium, Party, Stream, StreamKey};
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
    /// Silence after which it closes.
    pub idle: Duration,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
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
            Self::File => (Transport::Udp, Kind::Tftp),
        }
    }

    /// Whether it is bound to the media ports of the rules file.
    pub const fn in_media_ports(self) -> bool {
        matches!(self, Self::Audio | Self::Video | Self::Image | Self::Other)
    }
}

/// What one stream claims: up to two pinholes at each end.
///
/// The only sender admitted to an end is the other end: where it said it sends from, else the address it announced
/// for the stream, or, while that is unknown, the address its signalling comes from.
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
        // A party that only sends announces its RTCP address alone.
        // A group receives and does not send.
        let host =
            |address: Option<SocketAddr>| address.map(|address| address.ip()).filter(|ip| !ip.is_multicast());
        let media_sender = host(peer.media).or(host(peer.control)).unwrap_or(peer.signalling);
        let control_sender = host(peer.control).unwrap_or(media_sender);
        let any_port = |ip: IpAddr| Sender { ip, port: None };
        let told = |from: SocketAddr| Sender { ip: from.ip(), port: Some(from.port()) };
        let claim = move |role, to, kind, sender| {
            let owner = Owner { call, stream: key, party, role };
            (owner, Claim { to, transport, kind, sender, idle, slot })
        };
        let media_sender = peer.sends.map_or(any_port(media_sender), told);
        let control_sender = any_port(control_sender);
        let media = end.media.map(|to| claim(Role::Media, to, kind, media_sender));
        let control = end
            .control
            .filter(|to| kind == Kind::Rtp && end.media != Some(*to))
            .map(|to| claim(Role::Control, to, Kind::Rtcp, control_sender));
        media.into_iter().chain(control)
    })
}

/// All pinholes.
#[derive(Debug)]
pub struct PinholeTable {
    entries: HashMap<(SocketAddr, Transport), Pinhole>,
    bound: usize,
}

#[derive(Debug)]
struct Pinhole {
    /// Oldest first.
    owners: Vec<(Owner, Claim)>,
    /// As it was last told.
    spec: PinholeSpec,
}

impl PinholeTable {
    /// A table for at most `bound` pinholes.
    pub fn new(bound: usize) -> Self {
        Self { entries: HashMap::new(), bound }
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
    pub fn iter(&self) -> impl Iterator<Item = &PinholeSpec> {
        self.entries.values().map(|pinhole| &pinhole.spec)
    }

    /// Who needs this pinhole, oldest first.
    pub fn owners(&self, to: SocketAddr, transport: Transport) -> impl Iterator<Item = &Owner> {
        self.entries.get(&(to, transport)).into_iter().flat_map(|p| p.owners.iter().map(|(owner, _)| owner))
    }

    /// Enters what `owner` wants, or changes it to this.
    ///
    /// # Errors
    /// [`Refusal::TableFull`]: there is no room for another pinhole. [`Refusal::TooManyStreams`]: the pinhole
    /// goes on as it was, because older owners have named all the senders it can hold; this one's is admitted
    /// when one of theirs goes.
    pub fn claim(&mut self, owner: Owner, claim: Claim, actions: &mut Vec<Action>) -> Result<(), Refusal> {
        let full = self.entries.len() >= self.bound;
        match self.entries.entry((claim.to, claim.transport)) {
            Entry::Vacant(_) if full => Err(Refusal::TableFull),
            Entry::Vacant(place) => {
                let owners = vec![(owner, claim)];
                let Some(spec) = union(&owners) else { return Ok(()) };
                actions.push(Action::Open(spec.clone()));
                place.insert(Pinhole { owners, spec });
                Ok(())
            }
            Entry::Occupied(mut place) => {
                let pinhole = place.get_mut();
                let sender = claim.sender;
                match pinhole.owners.iter().position(|(other, _)| *other == owner) {
                    Some(place) => pinhole.owners[place].1 = claim,
                    None if pinhole.owners.len() >= MAX_OWNERS => return Err(Refusal::TooManyStreams),
                    None => pinhole.owners.push((owner, claim)),
                }
                pinhole.tell(actions);
                if pinhole.spec.senders.contains(&sender) { Ok(()) } else { Err(Refusal::TooManyStreams) }
            }
        }
    }

    /// Tells a pinhole as it is: its silence begins anew.
    pub fn retell(&self, to: SocketAddr, transport: Transport, actions: &mut Vec<Action>) {
        if let Some(pinhole) = self.entries.get(&(to, transport)) {
            actions.push(Action::Update(pinhole.spec.clone()));
        }
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
        pinhole.owners.retain(|(other, _)| *other != owner);
        if pinhole.owners.is_empty() {
            place.remove();
            actions.push(Action::Close { to, transport, call: owner.call, reason });
        } else {
            pinhole.tell(actions);
        }
    }
}

impl Pinhole {
    /// Tells a change, if there is one.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        if let Some(spec) = union(&self.owners).filter(|spec| *spec != self.spec) {
            self.spec = spec;
            actions.push(Action::Update(self.spec.clone()));
        }
    }
}

/// The pinhole these owners need together: kind, call and slot of the oldest, senders and patience of all.
/// `None` without owners.
fn union(owners: &[(Owner, Claim)]) -> Option<PinholeSpec> {
    let (owner, first) = owners.first()?;
    let mut senders = Vec::with_capacity(1);
    for (_, claim) in owners {
        if senders.len() < MAX_SENDERS && !senders.contains(&claim.sender) {
            senders.push(claim.sender);
        }
    }
    senders.sort_unstable();
    Some(PinholeSpec {
        to: first.to,
        transport: first.transport,
        senders,
        kind: first.kind,
        idle: owners.iter().map(|(_, claim)| claim.idle).max().unwrap_or(first.idle),
        call: owner.call,
        slot: first.slot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::End;

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
            idle: Duration::from_secs(1),
            slot: 0,
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
        let mut table = PinholeTable::new(10);
        let mut actions = Vec::new();
        table.claim(owner(1), claim(7), &mut actions).expect("room");
        table.claim(owner(2), claim(8), &mut actions).expect("room");
        table.claim(owner(2), claim(8), &mut actions).expect("said again");
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
    fn the_oldest_senders_keep_their_place() {
        let mut table = PinholeTable::new(10);
        let mut actions = Vec::new();
        for n in 1..=4 {
            table.claim(owner(n), claim(10 + n as u8), &mut actions).expect("room");
        }
        actions.clear();
        assert_eq!(table.claim(owner(5), claim(2), &mut actions), Err(Refusal::TooManyStreams));
        assert!(actions.is_empty(), "{actions:?}");
        table.release(owner(1), claim(2).to, Transport::Udp, EndReason::Bye, &mut actions);
        assert_eq!(senders(&actions[0]), [ip(2), ip(12), ip(13), ip(14)], "a place is free");
    }

    #[test]
    fn a_full_table_refuses_and_stays() {
        let mut table = PinholeTable::new(1);
        let mut actions = Vec::new();
        table.claim(owner(1), claim(7), &mut actions).expect("room");
        let elsewhere = Claim { to: SocketAddr::new(ip(1), 20_002), ..claim(7) };
        assert_eq!(table.claim(owner(1), elsewhere, &mut actions), Err(Refusal::TableFull));
        assert_eq!((table.len(), actions.len()), (1, 1));
    }

    #[test]
    fn owners_of_one_pinhole_are_bounded() {
        let mut table = PinholeTable::new(1);
        let mut actions = Vec::new();
        for n in 0..MAX_OWNERS as u64 {
            table.claim(owner(n), claim(7), &mut actions).expect("room");
        }
        assert_eq!(table.claim(owner(999), claim(7), &mut actions), Err(Refusal::TooManyStreams));
        assert_eq!(actions.len(), 1, "one sender: one opening, no changes");
    }

    #[test]
    fn senders_are_the_other_end_and_nothing_wider() {
        let end = |n: u8| End { signalling: ip(n), media: None, control: None, sends: None };
        let mut stream = Stream {
            medium: Medium::Audio,
            mux: false,
            held: false,
            codec: String::new(),
            ends: [end(1), end(2)],
        };
        let list = |stream: &Stream| -> Vec<(SocketAddr, Kind, IpAddr)> {
            claims(CallId(1), StreamKey { branch: 0, index: 0 }, stream, Duration::ZERO, 0)
                .map(|(_, claim)| (claim.to, claim.kind, claim.sender.ip))
                .collect()
        };
        assert_eq!(list(&stream), []);

        let at = |n: u8, port| SocketAddr::new(ip(n), port);
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
