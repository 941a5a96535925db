//! Pinholes: the media streams that calls have announced.

use core::sync::atomic::AtomicU64;

use crate::Addr;
use crate::flow::FlowKey;

/// Most senders one pinhole can name.
pub const MAX_SENDERS: usize = 4;

/// Where a stream is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PinholeKey {
    /// Receiver's address.
    pub to: Addr,
    /// Receiver's port, host order.
    pub port: u16,
    /// IP protocol number: UDP or TCP.
    pub transport: u8,
    /// Zero.
    pub pad: u8,
}

#[cfg(feature = "std")]
impl PinholeKey {
    /// The key of what is received here by this IP protocol.
    pub fn new(to: std::net::SocketAddr, transport: u8) -> Self {
        Self { to: to.ip().into(), port: to.port(), transport, pad: 0 }
    }
}

/// Who may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Sender {
    /// Sender's address; [`Addr::UNSPECIFIED`] marks an unused place.
    pub from: Addr,
    /// Sender's port, host order; 0 where signalling has not told it.
    pub port: u16,
    /// Zero.
    pub pad: [u8; 2],
}

/// What one pinhole admits, and what it has admitted.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Pinhole {
    /// Monotonic time of the last packet admitted (at first: of the opening), in ns.
    pub last_seen: AtomicU64,
    /// Packets admitted.
    pub packets: AtomicU64,
    /// Bytes admitted, whole IP packets.
    pub bytes: AtomicU64,
    /// Monotonic time after which nothing is admitted, in ns.
    pub expires: u64,
    /// Silence after which nothing is admitted, in ns.
    pub idle: u64,
    /// The call it belongs to.
    pub call: u64,
    /// Monotonic time in ns until which the first RTP or RTCP packet locks its sender's port and opens the way back to
    /// it; 0 where nothing is to be learnt.
    pub latch: u64,
    /// What was learnt: 2¹⁶ + port; 0 before.
    pub learnt: AtomicU64,
    /// Who may send.
    pub senders: [Sender; MAX_SENDERS],
    /// [`Kind`].
    pub kind: u8,
    /// [`crate::policy::Inspect`] of a TCP pinhole's stream.
    pub inspect: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
}

/// The flows of senders whose port a pinhole has learnt ([`Pinhole::learnt`]): they go with it.
pub fn learnt_flows(
    key: &PinholeKey,
    senders: &[Sender; MAX_SENDERS],
    learnt: u64,
) -> impl Iterator<Item = FlowKey> + use<> {
    let (key, senders) = (*key, *senders);
    let known = senders.into_iter().filter(move |sender| learnt != 0 && *sender != Sender::default());
    known.map(move |sender| FlowKey::of((sender.from, learnt as u16), (key.to, key.port), key.transport).0)
}

/// What flows through a pinhole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// RTP (RFC 3550).
    Rtp = 1,
    /// RTCP on its own port.
    Rtcp = 2,
    /// RTP and RTCP on one port (RFC 5761).
    RtcpMux = 3,
    /// An H.245 control channel.
    H245 = 4,
    /// T.120 data.
    T120 = 5,
    /// T.38 over UDPTL.
    Udptl = 6,
    /// A TFTP transfer.
    Tftp = 7,
    /// H.225 call signalling, as RAS announced it.
    H225 = 8,
    /// Another gatekeeper's RAS port.
    Ras = 9,
    /// SIP, to a contact that has registered.
    Sip = 10,
    /// Media over TCP: MSRP (RFC 4975), BFCP.
    Stream = 11,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Rtp,
        Self::Rtcp,
        Self::RtcpMux,
        Self::H245,
        Self::T120,
        Self::Udptl,
        Self::Tftp,
        Self::H225,
        Self::Ras,
        Self::Sip,
        Self::Stream,
    ];

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
            Self::RtcpMux => "rtcp-mux",
            Self::H245 => "h245",
            Self::T120 => "t120",
            Self::Udptl => "t38",
            Self::Tftp => "tftp",
            Self::H225 => "h225",
            Self::Ras => "ras",
            Self::Sip => "sip",
            Self::Stream => "tcp",
        }
    }

    /// The kind with this value, if there is one.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// Words of the map of ports with pinholes: a bit per UDP port, then a bit per TCP port.
pub const PORT_WORDS: usize = 2 * 65_536 / 64;

/// The word and the bit of a port in that map.
#[inline(always)]
pub const fn port_bit(transport: u8, port: u16) -> (u32, u64) {
    let base = if transport == crate::flow::TCP { PORT_WORDS as u32 / 2 } else { 0 };
    (base + port as u32 / 64, 1 << (port % 64))
}

const _: () = assert!(size_of::<PinholeKey>() == 20);
const _: () = assert!(size_of::<Sender>() == 20);
const _: () = assert!(size_of::<Pinhole>() == 152);
