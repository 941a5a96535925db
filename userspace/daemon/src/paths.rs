//! The ways to the parties of a call, by which the firewall can say something of its own when the call ends.
//!
//! Learnt from packets that were read: what a party sends shows the interface it is at, and its link-layer and IP headers
//! how to get there. As it stands, a packet's head leads on to the other party; with its ends exchanged, back. Addresses
//! and ports are then those of what is said. One way is kept of each call, from packets of one party, and for some time
//! after a limit has ended the call: what is said then is said again until it is answered. The journal has it too, so
//! that the next daemon knows the way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use callgate_alg::CallId;
use callgate_alg::action::{Carrier, Saying, Time};
use callgate_alg::farewell::PATIENCE;
use callgate_shared::packet::{Fragment, Packet};
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::interfaces::Interface;
use crate::tap::{Tap, VNET_HEADER};

/// How long a way is kept behind the call.
const LINGER: Duration = PATIENCE.saturating_add(Duration::from_secs(5));

/// A packet that was read, and where.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The interface it came by.
    pub interface: &'a Rc<Interface>,
    /// Which of the interface's taps it came from.
    pub direction: usize,
    /// It, without what a tap puts in front.
    pub frame: &'a [u8],
    /// What the parser made of it.
    pub packet: &'a Packet,
}

/// The ways that are known.
#[derive(Default)]
pub struct Paths {
    paths: HashMap<CallId, Path>,
}

struct Path {
    interface: Weak<Interface>,
    way: Way,
    /// The call is over, and so is this then.
    until: Option<Time>,
}

/// A way, by the packet that has shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The name of the interface it came by, and which of its taps it came from.
    interface: String,
    direction: u8,
    /// Who has sent it.
    near: IpAddr,
    /// Where in its head the IP header begins.
    network_at: u16,
    /// Up to the transport header.
    head: Vec<u8>,
}

impl Way {
    /// Whether another one leads the same way: what differs from one packet to the next is left out, as it is written
    /// anew (RFC 791 section 3.1, RFC 8200 section 3).
    fn is_like(&self, other: &Self) -> bool {
        let differs: &[usize] =
            if self.near.is_ipv4() { &[2, 3, 4, 5, 6, 7, 8, 10, 11] } else { &[1, 2, 3, 4, 5, 7] };
        let network = usize::from(self.network_at);
        let counts =
            |(at, _): &(usize, &u8)| !at.checked_sub(network).is_some_and(|at| differs.contains(&at));
        (&self.interface, self.direction, self.near, self.network_at, self.head.len())
            == (&other.interface, other.direction, other.near, other.network_at, other.head.len())
            && self.head.iter().enumerate().filter(counts).eq(other.head.iter().enumerate().filter(counts))
    }
}

impl Paths {
    /// A packet came from a party of this call. There is no more than one way for each call of the engine.
    ///
    /// Gives the way where it was not known.
    pub fn learn(&mut self, call: CallId, seen: &Seen<'_>) -> Option<&Way> {
        let head = frame::head(seen.frame, seen.packet)?.into_vec();
        let way = Way {
            interface: seen.interface.name.clone(),
            direction: u8::from(seen.direction != 0),
            near: seen.packet.source.into(),
            network_at: seen.packet.network_at,
            head,
        };
        let known = self.paths.get(&call).is_some_and(|path| path.way.is_like(&way));
        let path = Path { interface: Rc::downgrade(seen.interface), way, until: None };
        let path = self.paths.entry(call).insert_entry(path).into_mut();
        (!known).then_some(&path.way)
    }

    /// Takes up the way that an earlier run has known, if its interface is among these.
    pub fn resume(&mut self, call: CallId, way: Way, interfaces: &[Rc<Interface>]) {
        if let Some(interface) = interfaces.iter().find(|interface| interface.name == way.interface) {
            self.paths.insert(call, Path { interface: Rc::downgrade(interface), way, until: None });
        }
    }

    /// A call is over; where something may be said of it yet, its way stays for a while.
    pub fn leave(&mut self, call: CallId, speaks: bool, now: Time) {
        if !speaks {
            self.paths.remove(&call);
        } else if let Some(path) = self.paths.get_mut(&call) {
            path.until = Some(now + LINGER);
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        self.paths.retain(|_, path| path.until.is_none_or(|until| until > now));
    }

    /// The tap and the frame, as it takes it, by which something is said; `None` where no way is known.
    pub fn frame(&self, saying: &Saying) -> Option<(Rc<Tap>, Vec<u8>)> {
        let path = self.paths.get(&saying.call)?;
        let interface = path.interface.upgrade()?;
        let way = &path.way;
        let near = way.near.to_canonical();
        let on = saying.from.ip().to_canonical() == near;
        if !on && saying.to.ip().to_canonical() != near {
            return None;
        }
        // The packet's own ends: from the party that is near to the other one.
        let ends = if on { [saying.from, saying.to] } else { [saying.to, saying.from] };
        let packet = Packet {
            source: ends[0].ip().into(),
            destination: ends[1].ip().into(),
            source_port: ends[0].port(),
            destination_port: ends[1].port(),
            protocol: match saying.carrier {
                Carrier::Datagram => callgate_shared::flow::UDP,
                Carrier::LastSegment { .. } => callgate_shared::flow::TCP,
            },
            fragment: Fragment::Whole,
            network_at: way.network_at,
            transport_at: u16::try_from(way.head.len()).ok()?,
            ..Packet::default()
        };
        let bytes = frame::said(&way.head, &packet, on, saying.carrier, &saying.payload)?;
        let direction = usize::from(if on { way.direction } else { 1 - way.direction.min(1) });
        Some((Rc::clone(interface.taps.get(direction)?), [&[0; VNET_HEADER], bytes.as_slice()].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Way {
        /// A way whose IP header says this time to live, its packet this identification.
        pub(crate) fn to_try(number: u8) -> Self {
            let mut head = vec![0; 34];
            (head[14], head[14 + 4], head[14 + 9]) = (0x45, number, 17);
            head[5] = number;
            let near = IpAddr::from([192, 0, 2, 1]);
            Self { interface: "eth0".to_owned(), direction: 0, near, network_at: 14, head }
        }
    }

    #[test]
    fn what_differs_between_packets_is_no_other_way() {
        let way = Way::to_try(1);
        let mut next = way.clone();
        for at in [2, 5, 8, 10] {
            next.head[14 + at] ^= 1;
        }
        assert!(way.is_like(&next));
        for change in [
            |way: &mut Way| way.head[0] ^= 1,
            |way: &mut Way| way.head[14 + 1] ^= 1,
            |way: &mut Way| way.head[14 + 19] ^= 1,
            |way: &mut Way| way.head.push(0),
            |way: &mut Way| way.direction = 1,
            |way: &mut Way| way.interface.push('1'),
        ] {
            let mut other = way.clone();
            change(&mut other);
            assert!(!way.is_like(&other), "{other:?}");
        }
    }
}
