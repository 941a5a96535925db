//! Flows and pinholes as user space reads them from the kernel's maps.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use callgate_alg::action::{Sender as AlgSender, Time, Transport};
use callgate_alg::call::CallId;
use callgate_shared::flow::{Flow, FlowKey, Side, Standing, flags};
use callgate_shared::media::{Ceiling, Measures, flags as terms};
use callgate_shared::pinhole::{FurtherSenders, Kind, Pinhole, PinholeKey, learnt_port};
use callgate_shared::{Addr, policy};

/// [`Flow`] without atomics: a copy taken at one moment.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct FlowValue {
    pub(super) last_seen: u64,
    pub(super) created: u64,
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
    pub(super) standing: u64,
    pub(super) edges: [u64; 2],
    pub(super) slot: u32,
    pub(super) originator: u8,
    pub(super) inspect: u8,
    pub(super) zone: u8,
    pub(super) flags: u8,
}

/// [`Pinhole`] without atomics: a copy taken at one moment.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct PinholeValue {
    pub(super) from: Addr,
    pub(super) port: u16,
    pub(super) kind: u8,
    pub(super) inspect: u8,
    pub(super) flags: u16,
    pub(super) slot: u16,
    pub(super) payload_types: [u64; 2],
    pub(super) last_seen: u64,
    pub(super) expires: u64,
    pub(super) idle: u32,
    pub(super) ceiling: Ceiling,
    pub(super) place: u64,
    pub(super) timing: u64,
    pub(super) load: u64,
    pub(super) bytes: u64,
    pub(super) window: u64,
    pub(super) paths: u64,
    pub(super) call: u64,
    pub(super) dscps: u64,
    pub(super) first: u64,
    pub(super) latch: u64,
    pub(super) learnt: u64,
    pub(super) faults: u64,
    pub(super) refusals: u64,
    pub(super) control: u64,
}

impl From<PinholeValue> for Pinhole {
    fn from(value: PinholeValue) -> Self {
        Self {
            from: value.from,
            port: value.port,
            kind: value.kind,
            inspect: value.inspect,
            flags: value.flags,
            slot: value.slot,
            payload_types: value.payload_types,
            last_seen: value.last_seen.into(),
            expires: value.expires,
            idle: value.idle,
            ceiling: value.ceiling,
            place: value.place.into(),
            timing: value.timing.into(),
            load: value.load.into(),
            bytes: value.bytes.into(),
            window: value.window.into(),
            paths: value.paths.into(),
            call: value.call,
            dscps: value.dscps.into(),
            first: value.first.into(),
            latch: value.latch,
            learnt: value.learnt.into(),
            faults: value.faults.into(),
            refusals: value.refusals.into(),
            control: value.control.into(),
        }
    }
}

impl From<&Pinhole> for PinholeValue {
    fn from(pinhole: &Pinhole) -> Self {
        Self {
            from: pinhole.from,
            port: pinhole.port,
            kind: pinhole.kind,
            inspect: pinhole.inspect,
            flags: pinhole.flags,
            slot: pinhole.slot,
            payload_types: pinhole.payload_types,
            last_seen: pinhole.last_seen.load(Relaxed),
            expires: pinhole.expires,
            idle: pinhole.idle,
            ceiling: pinhole.ceiling,
            place: pinhole.place.load(Relaxed),
            timing: pinhole.timing.load(Relaxed),
            load: pinhole.load.load(Relaxed),
            bytes: pinhole.bytes.load(Relaxed),
            window: pinhole.window.load(Relaxed),
            paths: pinhole.paths.load(Relaxed),
            call: pinhole.call,
            dscps: pinhole.dscps.load(Relaxed),
            first: pinhole.first.load(Relaxed),
            latch: pinhole.latch,
            learnt: pinhole.learnt.load(Relaxed),
            faults: pinhole.faults.load(Relaxed),
            refusals: pinhole.refusals.load(Relaxed),
            control: pinhole.control.load(Relaxed),
        }
    }
}

macro_rules! same_place {
    ($kernel:ident, $copy:ident: $($field:ident),*) => {
        const _: () = assert!(size_of::<$kernel>() == size_of::<$copy>());
        $(const _: () = assert!(
            std::mem::offset_of!($kernel, $field) == std::mem::offset_of!($copy, $field)
        );)*
    };
}

same_place!(Flow, FlowValue: last_seen, created, packets, bytes, standing, edges, slot, originator, inspect, zone, flags);
same_place!(
    Pinhole, PinholeValue: from, port, kind, inspect, flags, slot, payload_types, last_seen, expires, idle, ceiling, place, timing, load, bytes, window, paths, call, dscps, first, latch, learnt, faults, refusals, control
);

/// A flow, originator first.
#[derive(Clone, Debug)]
pub struct FlowRow {
    /// Its key in the kernel's table.
    pub key: FlowKey,
    /// IP protocol number.
    pub protocol: u8,
    /// The originator and the responder.
    pub ends: [SocketAddr; 2],
    /// [`callgate_shared::flow::state`] bits.
    pub state: u32,
    /// Zone the first packet came from.
    pub zone: u8,
    /// Counter slot of the rule that admitted it.
    pub slot: u32,
    /// It lies in the table of known peers.
    pub peer: bool,
    /// Its packets are to be shaped like RTP or RTCP: it was learnt, not announced.
    pub rtp: bool,
    /// What is read in it.
    pub inspect: policy::Inspect,
    /// Packets from the originator, and from the responder.
    pub packets: [u64; 2],
    /// Bytes from the originator, and from the responder.
    pub bytes: [u64; 2],
    /// First packet.
    pub created: Time,
    /// Last packet.
    pub last_seen: Time,
}

impl FlowRow {
    pub(super) fn new(key: FlowKey, value: FlowValue) -> Self {
        let mut row = Self {
            key,
            protocol: key.protocol,
            ends: [socket(key.low, key.low_port), socket(key.high, key.high_port)],
            state: Standing::unpack(value.standing).state,
            zone: value.zone,
            slot: value.slot,
            peer: value.flags & flags::PEER != 0,
            rtp: value.flags & flags::RTP != 0,
            inspect: policy::Inspect::from_u8(value.inspect),
            packets: value.packets,
            bytes: value.bytes,
            created: Time(value.created),
            last_seen: Time(value.last_seen),
        };
        if value.originator == Side::High as u8 {
            row.ends.reverse();
            row.packets.reverse();
            row.bytes.reverse();
        }
        row
    }
}

/// A pinhole.
#[derive(Clone, Debug)]
pub struct PinholeRow {
    /// Where the stream is received.
    pub to: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// Who may send.
    pub senders: Vec<AlgSender>,
    /// The port its sender was learnt to have.
    pub learnt: Option<u16>,
    /// What flows through it.
    pub kind: Option<Kind>,
    /// The call that opened it.
    pub call: CallId,
    /// Packets admitted.
    pub packets: u64,
    /// Bytes admitted.
    pub bytes: u64,
    /// Last packet admitted, or the opening.
    pub last_seen: Time,
    /// When it closes by itself.
    pub expires: Time,
    /// Silence after which it closes, in ns.
    pub idle: u64,
    /// What it has measured of its stream.
    pub measures: Measures,
    /// What breaks its contract is dropped, not only counted.
    pub enforced: bool,
    /// What is bound for another machine is forwarded past the stack.
    pub fast: bool,
}

impl PinholeRow {
    pub(super) fn new(key: PinholeKey, value: PinholeValue, further: Option<&FurtherSenders>) -> Self {
        let pinhole = Pinhole::from(value);
        let measures = pinhole.measures();
        let senders = pinhole.senders(further);
        let used = senders.iter().filter(|sender| sender.from != Addr::UNSPECIFIED);
        Self {
            to: socket(key.to, key.port),
            transport: if key.transport == Transport::Tcp.number() { Transport::Tcp } else { Transport::Udp },
            senders: used
                .map(|sender| AlgSender {
                    ip: sender.from.into(),
                    port: (sender.port != 0).then_some(sender.port),
                })
                .collect(),
            // Above the port stands a bit that says there is one.
            learnt: learnt_port(value.learnt),
            kind: Kind::from_u8(value.kind),
            call: CallId(value.call),
            packets: measures.packets,
            bytes: measures.bytes,
            last_seen: Time(value.last_seen),
            expires: Time(value.expires),
            idle: u64::from(value.idle) * 1_000_000,
            measures,
            enforced: value.flags & terms::ENFORCE != 0,
            fast: value.flags & terms::FAST != 0,
        }
    }

    /// Whether the kernel admits nothing more through it.
    pub fn is_over(&self, now: Time) -> bool {
        now >= self.expires || now.0.saturating_sub(self.last_seen.0) > self.idle
    }
}

fn socket(addr: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}
