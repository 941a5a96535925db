//! Flows and pinholes as user space reads them from the kernel's maps.

use std::net::SocketAddr;

use callgate_alg::action::{Sender as AlgSender, Time, Transport};
use callgate_alg::call::CallId;
use callgate_shared::flow::{Flow, FlowKey, Side, Standing, flags};
use callgate_shared::pinhole::{Kind, MAX_SENDERS, Pinhole, PinholeKey, Sender};
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
    pub(super) last_seen: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) expires: u64,
    pub(super) idle: u64,
    pub(super) call: u64,
    pub(super) latch: u64,
    pub(super) learnt: u64,
    pub(super) senders: [Sender; MAX_SENDERS],
    pub(super) kind: u8,
    pub(super) inspect: u8,
    pub(super) pad: [u8; 2],
    pub(super) slot: u32,
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
same_place!(Pinhole, PinholeValue: last_seen, packets, bytes, expires, idle, call, latch, learnt, senders, kind, inspect, slot);

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
}

impl PinholeRow {
    pub(super) fn new(key: PinholeKey, value: PinholeValue) -> Self {
        let used = value.senders.iter().filter(|sender| sender.from != Addr::UNSPECIFIED);
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
            learnt: (value.learnt != 0).then_some(value.learnt as u16),
            kind: Kind::from_u8(value.kind),
            call: CallId(value.call),
            packets: value.packets,
            bytes: value.bytes,
            last_seen: Time(value.last_seen),
            expires: Time(value.expires),
            idle: value.idle,
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
