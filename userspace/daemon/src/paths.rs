//! The ways to the parties of a call, by which the firewall can say something of its own when the call ends.
//!
//! Learnt from packets that were read: what a party sends shows the interface it is at, and its link-layer and IP headers
//! how to get there. As it stands, a packet's head leads on to the other party; with its ends exchanged, back. Addresses
//! and ports are then those of what is said. One way is kept of each call, from packets of one party, and for some time
//! after a limit has ended the call: what is said then is said again until it is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use callgate_alg::CallId;
use callgate_alg::action::{Carrier, Saying, Time};
use callgate_alg::farewell::PATIENCE;
use callgate_shared::packet::{Fragment, Packet};

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
    direction: usize,
    /// Up to the transport header.
    head: Box<[u8]>,
    packet: Packet,
    /// The call is over, and so is this then.
    until: Option<Time>,
}

impl Paths {
    /// A packet came from a party of this call. There is no more than one way for each call of the engine.
    pub fn learn(&mut self, call: CallId, seen: &Seen<'_>) {
        let Some(head) = frame::head(seen.frame, seen.packet) else { return };
        let (interface, packet) = (Rc::downgrade(seen.interface), *seen.packet);
        let packet = Packet { fragment: Fragment::Whole, ..packet };
        let path = Path { interface, direction: seen.direction, head, packet, until: None };
        self.paths.insert(call, path);
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
        let near = IpAddr::from(path.packet.source);
        let on = saying.from.ip().to_canonical() == near.to_canonical();
        if !on && saying.to.ip().to_canonical() != near.to_canonical() {
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
            ..path.packet
        };
        let bytes = frame::said(&path.head, &packet, on, saying.carrier, &saying.payload)?;
        let direction = if on { path.direction } else { 1 - path.direction };
        Some((Rc::clone(&interface.taps[direction]), [&[0; VNET_HEADER], bytes.as_slice()].concat()))
    }
}
