//! Pinholes: the media streams that calls have announced.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::flow::FlowKey;
use crate::media::{self, Ceiling, Measures, Place, flags, halves};
use crate::{Addr, Reason};

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
///
/// With its key and what the kernel's table adds, it takes 256 bytes; the first 112 are all that a packet of RTP
/// needs, so that it touches two cache lines of it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Pinhole {
    /// Who may send, or the first of them: its address.
    pub from: Addr,
    /// Its port, host order; 0 where signalling has not told it.
    pub port: u16,
    /// [`Kind`].
    pub kind: u8,
    /// [`crate::policy::Inspect`] of a signalling pinhole's stream.
    pub inspect: u8,
    /// [`flags`] bits.
    pub flags: u16,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u16,
    /// A bit per RTP payload type that was agreed; none where that is not known.
    pub payload_types: [u64; 2],
    /// Monotonic time of the last packet admitted (of the last RTP, where that flows; at first: of the opening), in
    /// ns.
    pub last_seen: AtomicU64,
    /// Monotonic time after which nothing is admitted, in ns.
    pub expires: u64,
    /// Silence after which nothing is admitted, in ms.
    pub idle: u32,
    /// Most that may flow.
    pub ceiling: Ceiling,
    /// [`Place`]: SSRC, sequence number and DSCP.
    pub place: AtomicU64,
    /// Timestamp of the last RTP packet, and the jitter in 1/256 units above it.
    pub timing: AtomicU64,
    /// Packets admitted, and above them when the next one is due by [`Self::ceiling`], in [`Ceiling::UNIT`]s.
    pub load: AtomicU64,
    /// Bytes admitted, whole IP packets, and above them the longest gap: [`media::BYTES_BITS`].
    pub bytes: AtomicU64,
    /// Which of the sequence numbers up to the highest have come: bit n for n before it.
    pub window: AtomicU64,
    /// [`media::pace`] of the RTP clock, and above it the packets of a pinhole with [`flags::FAST`] that took the
    /// stack.
    pub paths: AtomicU64,

    /// The call it belongs to.
    pub call: u64,
    /// A bit per DSCP that was seen.
    pub dscps: AtomicU64,
    /// Monotonic time of the first packet admitted, in ns; 0 before.
    pub first: AtomicU64,
    /// Monotonic time in ns until which the first RTP or RTCP packet locks its sender's port and opens the way back to
    /// it; 0 where no way back is to be opened.
    pub latch: u64,
    /// The sender's port, where it was learnt ([`learnt_port`]), and above it what counts negotiations: another number
    /// is another agreement.
    pub learnt: AtomicU64,
    /// RTP packets missing, and above them those that came after a later one.
    pub faults: AtomicU64,
    /// Packets refused; above them, in 24 bits, those that came again; above these the [`crate::Reason`] of the last
    /// refusal.
    pub refusals: AtomicU64,
    /// Packets admitted that are no RTP, and above them when the next one is due, in [`CONTROL_UNIT`]s.
    pub control: AtomicU64,
}

/// The unit of time of RTCP's rate, in ns.
pub const CONTROL_UNIT: u64 = 65_536;

/// The senders a pinhole admits beside the first; unused places are [`Sender::default`].
pub type FurtherSenders = [Sender; MAX_SENDERS - 1];

impl Pinhole {
    /// The SSRC that signalling has told, where [`flags::SSRC`] says that it has, the negotiation's number, and whether
    /// several streams come here.
    pub fn expect(&mut self, ssrc: u32, negotiation: u32, shared: bool) {
        *self.place.get_mut() = Place { ssrc, shared, ..Place::default() }.pack();
        *self.learnt.get_mut() = media::word(0, negotiation);
    }

    /// What it has measured.
    pub fn measures(&self) -> Measures {
        let load = |word: &AtomicU64| word.load(Relaxed);
        let place = Place::unpack(load(&self.place));
        let ((lost, out_of_order), (refused, upper)) =
            (halves(load(&self.faults)), halves(load(&self.refusals)));
        let timing = halves(load(&self.timing));
        let (pace, by_stack) = halves(load(&self.paths));
        Measures {
            packets: halves(load(&self.load)).0.into(),
            bytes: load(&self.bytes) & ((1 << media::BYTES_BITS) - 1),
            others: halves(load(&self.control)).0,
            lost,
            out_of_order,
            duplicates: upper & 0x00ff_ffff,
            jitter: f64::from(timing.1) / 256.0,
            clock_hz: media::clock(pace),
            longest_gap_ms: ((load(&self.bytes) >> media::BYTES_BITS << media::GAP_SHIFT) / 1_000_000) as u32,
            first: load(&self.first),
            last: load(&self.last_seen),
            dscps: load(&self.dscps),
            ssrc: (place.locked || self.flags & flags::SSRC != 0).then_some(place.ssrc),
            refused,
            refused_last: Reason::from_u8((upper >> 24) as u8),
            by_stack,
        }
    }

    /// Takes over what `before`, the same pinhole until now, has measured and learnt: all of it as long as signalling
    /// has agreed upon nothing else. `moved`: others send than before.
    pub fn goes_on_from(&mut self, before: &Self, moved: bool) {
        let load = |word: &AtomicU64| word.load(Relaxed);
        let mut place = Place::unpack(load(&before.place));
        let told = Place::unpack(load(&self.place));
        let anew = moved || self.differs_from(before);
        if anew {
            place = Place { heard: place.heard, dscp: place.dscp, ..told };
        }
        // A way back that was opened stays open for the same sender, whatever else is agreed.
        let learns = self.latch != 0 && before.latch != 0;
        if if learns { !moved } else { !anew && self.latch == before.latch } {
            let (port, (_, negotiation)) = (halves(load(&before.learnt)).0, halves(load(&self.learnt)));
            self.learnt = media::word(port, negotiation).into();
            self.latch = before.latch;
        }
        self.place = place.pack().into();
        self.last_seen = load(&self.last_seen).max(load(&before.last_seen)).into();
        let (pace, _) = halves(load(&self.paths));
        self.paths = media::word(pace, halves(load(&before.paths)).1).into();
        for (word, old) in [
            (&mut self.timing, &before.timing),
            (&mut self.load, &before.load),
            (&mut self.bytes, &before.bytes),
            (&mut self.window, &before.window),
            (&mut self.dscps, &before.dscps),
            (&mut self.first, &before.first),
            (&mut self.faults, &before.faults),
            (&mut self.refusals, &before.refusals),
            (&mut self.control, &before.control),
        ] {
            *word = load(old).into();
        }
    }

    /// Whether signalling has said something else of the stream than it had said before.
    fn differs_from(&self, before: &Self) -> bool {
        const TERMS: u16 = flags::STUN
            | flags::DTLS
            | flags::ZRTP
            | flags::REDUCED_RTCP
            | flags::SECURE
            | flags::SSRC
            | flags::FURTHER;
        let agreed = |pinhole: &Self| {
            let Self { from, port, kind, payload_types, .. } = *pinhole;
            let pace = halves(pinhole.paths.load(Relaxed)).0;
            (from, port, kind, payload_types, pace, pinhole.flags & TERMS)
        };
        let place = |pinhole: &Self| Place::unpack(pinhole.place.load(Relaxed));
        let negotiation = |pinhole: &Self| halves(pinhole.learnt.load(Relaxed)).1;
        let (new, old) = (place(self), place(before));
        agreed(self) != agreed(before)
            || negotiation(self) != negotiation(before)
            || new.shared != old.shared
            || (self.flags & flags::SSRC != 0 && new.ssrc != old.ssrc)
    }

    /// Everyone who may send.
    pub fn senders(&self, further: Option<&FurtherSenders>) -> [Sender; MAX_SENDERS] {
        let first = Sender { from: self.from, port: self.port, pad: [0; 2] };
        let further = further.filter(|_| self.flags & flags::FURTHER != 0).copied().unwrap_or_default();
        [first, further[0], further[1], further[2]]
    }
}

/// The sender's port that a pinhole has learnt, by its [`Pinhole::learnt`].
#[inline(always)]
pub const fn learnt_port(learnt: u64) -> Option<u16> {
    if learnt as u32 == 0 { None } else { Some(learnt as u16) }
}

/// [`Pinhole::learnt`] once a port is.
#[inline(always)]
pub const fn learns_port(learnt: u64, port: u16) -> u64 {
    learnt & !0xffff_ffff | 1 << 16 | port as u64
}

/// The flows of senders whose port a pinhole has learnt, by its [`Pinhole::learnt`]: they go with it.
pub fn learnt_flows(
    key: &PinholeKey,
    senders: &[Sender; MAX_SENDERS],
    learnt: u64,
) -> impl Iterator<Item = FlowKey> + use<> {
    let (key, senders) = (*key, *senders);
    let known = senders.into_iter().filter(|sender| *sender != Sender::default());
    let port = learnt_port(learnt);
    known.filter_map(move |sender| {
        Some(FlowKey::of((sender.from, port?), (key.to, key.port), key.transport).0)
    })
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
const _: () = assert!(size_of::<Pinhole>() == 176);
const _: () = assert!(core::mem::offset_of!(Pinhole, call) == 112);
