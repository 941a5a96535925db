//! What signalling has agreed of a media stream, one contract per direction: the kernel half admits what keeps to it,
//! and measures it.
//!
//! A contract says what the *receiver* of the stream accepts, because that is what its sender is bound to. Whatever
//! is not known is left open: [`Contract::default`] admits anything of the pinhole's kind.

use std::time::Duration;

pub use callgate_rules::Handling;
use callgate_shared::Addr;
use callgate_shared::media::{Ceiling, flags, pace};
use callgate_shared::pinhole::{Kind, MAX_SENDERS, Pinhole, Sender};
use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::action::{PinholeSpec, Time};

/// What may flow into one pinhole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contract {
    /// RTP payload types, telephone-event and comfort noise included.
    pub payload_types: PayloadTypes,
    /// RTP clock of the codec in Hz (RFC 3551 section 4); 0 while unknown: no jitter is measured.
    pub clock: u32,
    /// What the stream sends at its busiest; `None` while unknown: no ceiling. The ceiling is twice this, and RTCP's
    /// share a twentieth of it.
    pub nominal: Option<Nominal>,
    /// The sender's SSRC, where signalling tells (RFC 5576): no other is admitted then.
    pub ssrc: Option<u32>,
    /// STUN may come beside it: ICE was announced.
    pub stun: bool,
    /// DTLS may come beside it: a fingerprint was announced (RFC 5763).
    pub dtls: bool,
    /// ZRTP may come beside it: zrtp-hash was announced (RFC 6189 section 8).
    pub zrtp: bool,
    /// RTCP need not begin with a report: `a=rtcp-rsize` (RFC 5506).
    pub reduced_rtcp: bool,
    /// It is encrypted, or may come to be: SRTP (RFC 3711) hides padding, and of RTCP all but the first header.
    pub secure: bool,
    /// Counts what was negotiated: another number permits another SSRC and another sequence.
    pub negotiation: u32,
    /// Several streams come to one port: no source and no sequence is held.
    pub shared: bool,
}

/// A set of RTP payload types, 0 to 127; the empty one stands for "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadTypes(pub [u64; 2]);

impl PayloadTypes {
    /// Adds a type; what is above 127 is none.
    pub const fn insert(&mut self, payload_type: u8) {
        if payload_type < 128 {
            self.0[payload_type as usize / 64] |= 1 << (payload_type % 64);
        }
    }

    /// Whether it has a type.
    pub const fn has(self, payload_type: u8) -> bool {
        payload_type < 128 && self.0[payload_type as usize / 64] >> (payload_type % 64) & 1 != 0
    }

    /// Whether nothing is known.
    pub const fn is_empty(self) -> bool {
        self.0[0] | self.0[1] == 0
    }

    /// What is in either. Where one is not known, neither is the union.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return Self([0; 2]);
        }
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }
}

impl FromIterator<u8> for PayloadTypes {
    fn from_iter<I: IntoIterator<Item = u8>>(types: I) -> Self {
        let mut set = Self::default();
        types.into_iter().for_each(|payload_type| set.insert(payload_type));
        set
    }
}

/// What a stream sends at its busiest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nominal {
    /// Packets per second; 0: not known.
    pub packets: u32,
    /// Bytes per second, whole IP packets; 0: not known.
    pub bytes: u32,
}

impl Contract {
    /// What both admit, for a pinhole of two owners: a bound that only one has does not hold.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let most = |a: u32, b: u32| if a == 0 || b == 0 { 0 } else { a.max(b) };
        Self {
            payload_types: self.payload_types.union(other.payload_types),
            clock: if self.clock == other.clock { self.clock } else { 0 },
            nominal: self
                .nominal
                .zip(other.nominal)
                .map(|(a, b)| Nominal { packets: most(a.packets, b.packets), bytes: most(a.bytes, b.bytes) }),
            ssrc: self.ssrc.filter(|_| self.ssrc == other.ssrc),
            stun: self.stun || other.stun,
            dtls: self.dtls || other.dtls,
            zrtp: self.zrtp || other.zrtp,
            reduced_rtcp: self.reduced_rtcp || other.reduced_rtcp,
            secure: self.secure || other.secure,
            // Any change of either is one.
            negotiation: self.negotiation.wrapping_add(other.negotiation),
            shared: self.shared || other.shared,
        }
    }

    /// What both admit, for a pinhole to which two streams come: at the rate of both.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        let sum = |a: u32, b: u32| if a == 0 || b == 0 { 0 } else { a.saturating_add(b) };
        let nominal = self.nominal.zip(other.nominal);
        Self {
            nominal: nominal
                .map(|(a, b)| Nominal { packets: sum(a.packets, b.packets), bytes: sum(a.bytes, b.bytes) }),
            ssrc: None,
            shared: true,
            ..self.union(other)
        }
    }

    /// What is agreed of a stream anew: in either direction of it (`contracts`) there may be another source from now
    /// on, since a party that is to receive elsewhere sends from elsewhere too.
    pub fn renegotiated(contracts: &mut [Self; 2]) {
        for contract in contracts {
            contract.negotiation = contract.negotiation.wrapping_add(1);
        }
    }

    /// The same negotiation's, with other terms.
    #[must_use]
    pub const fn with_terms(self, terms: Self) -> Self {
        Self { negotiation: self.negotiation, ..terms }
    }

    /// What of it holds for RTCP on a port of its own, which has neither payload types nor a clock, and may come from
    /// other sources than RTP: it stays when a codec is changed.
    #[must_use]
    pub fn of_control(self) -> Self {
        let (payload_types, clock, ssrc, negotiation) = Default::default();
        Self { payload_types, clock, ssrc, negotiation, ..self }
    }

    fn flags(&self) -> u16 {
        let announced = [
            (self.stun, flags::STUN),
            (self.dtls, flags::DTLS),
            (self.zrtp, flags::ZRTP),
            (self.reduced_rtcp, flags::REDUCED_RTCP),
            (self.ssrc.is_some(), flags::SSRC),
            (self.secure || self.dtls || self.zrtp, flags::SECURE),
        ];
        announced.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag)
    }
}

impl PinholeSpec {
    /// The pinhole as the kernel half holds it, opened at `now` for at most `life`, with nothing measured yet.
    pub fn pinhole(&self, handling: Handling, now: Time, life: Duration) -> Pinhole {
        let nominal = self.contract.nominal.unwrap_or_default();
        let Sender { from, port, .. } = self.sender(0);
        let further = if self.senders.len() > 1 { flags::FURTHER } else { 0 };
        // Reports are read from the stack.
        let handling = Handling { fast: handling.fast && self.kind != Kind::Rtcp, ..handling };
        let mut pinhole = Pinhole {
            from,
            port,
            kind: self.kind as u8,
            inspect: inspect_of(self.kind) as u8,
            flags: self.contract.flags() | further | flags_of(handling),
            slot: u16::try_from(self.slot).unwrap_or_default(),
            payload_types: self.contract.payload_types.0,
            last_seen: now.0.into(),
            expires: (now + life).0,
            idle: u32::try_from(self.idle.as_millis()).unwrap_or(u32::MAX),
            ceiling: Ceiling::twice(nominal.packets, nominal.bytes),
            paths: u64::from(pace(self.contract.clock)).into(),
            call: self.call.0,
            latch: self.latch.map_or(0, |window| (now + window).0),
            ..Pinhole::default()
        };
        let Contract { ssrc, negotiation, shared, .. } = self.contract;
        pinhole.expect(ssrc.unwrap_or_default(), negotiation, shared);
        pinhole
    }

    /// Who may send, from the second on; an unused place is [`Sender::default`].
    pub fn further_senders(&self) -> [Sender; MAX_SENDERS - 1] {
        [1, 2, 3].map(|number| self.sender(number))
    }

    fn sender(&self, number: usize) -> Sender {
        self.senders.get(number).map_or(Sender::default(), |sender| Sender {
            from: Addr::from(sender.ip),
            port: sender.port.unwrap_or(0),
            pad: [0; 2],
        })
    }
}

/// [`flags`] of what a rule says of its media.
const fn flags_of(handling: Handling) -> u16 {
    let enforce = if handling.enforce { flags::ENFORCE } else { 0 };
    let fast = if handling.fast { flags::FAST } else { 0 };
    let remark = match handling.dscp {
        Some(dscp) => flags::REMARK | ((dscp & 63) as u16) << flags::DSCP,
        None => 0,
    };
    enforce | fast | remark
}

/// What is to be read in the flows a pinhole of this kind admits.
const fn inspect_of(kind: Kind) -> Inspect {
    match kind {
        Kind::H245 => Inspect::H245,
        Kind::H225 => Inspect::H225,
        Kind::Ras => Inspect::Ras,
        Kind::Sip => Inspect::Sip,
        Kind::Tftp => Inspect::Tftp,
        Kind::Rtp | Kind::Rtcp | Kind::RtcpMux | Kind::T120 | Kind::Udptl | Kind::Stream => Inspect::None,
    }
}
