//! What is counted, and what is sampled to the event ring.

use crate::Addr;

/// Packets and bytes of one reason on one interface and CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes: whole IP packets, or the frame where it could not be read.
    pub bytes: u64,
}

/// Packets and bytes of one rule on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleCount {
    /// Packets it decided.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of the packets that were dropped, by the rule or by its limit.
    pub refused: u64,
}

/// One sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Monotonic time in ns.
    pub time: u64,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// Counter slot of the rule.
    pub rule: u32,
    /// Interface slot.
    pub interface: u8,
    /// [`crate::Reason`].
    pub reason: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    /// Zone it came from.
    pub zone: u8,
    /// Why it was sampled: [`cause`].
    pub cause: u8,
    /// Bytes of [`Self::start`] that are the packet's.
    pub captured: u16,
    /// Zero.
    pub pad: u32,
    /// The packet's first bytes, from its IP header on; from its Ethernet header on where it has none.
    pub start: [u8; START],
}

/// Budgets of sampled packets, each with its own rate: one for logged ones and one for dropped ones in all, then
/// one for dropped and one for blocking ones per bucket of sources.
pub const EVENT_BUCKETS: usize = 2 + 2 * SOURCE_BUCKETS as usize;
/// Buckets that sources are spread over, so that one of them does not hide the others.
pub const SOURCE_BUCKETS: u32 = 1_024;
/// The budget of all logged packets.
pub const LOGGED: u32 = 0;
/// The budget of all dropped packets.
pub const DROPPED: u32 = 1;

/// The budget of a source's packets that were sampled for this [`cause`].
#[inline(always)]
pub const fn event_bucket(source: &Addr, why: u8) -> u32 {
    let bucket = 2 + (crate::peer::hash(source) >> 40) as u32 % SOURCE_BUCKETS;
    if why == cause::BLOCK { bucket + SOURCE_BUCKETS } else { bucket }
}

/// Bytes of [`Event::start`].
pub const START: usize = 64;

/// Values of [`Event::cause`].
pub mod cause {
    /// Its rule has `log = true`.
    pub const LOG: u8 = 1;
    /// It was dropped.
    pub const DROP: u8 = 2;
    /// It was above the limit of a rule that blocks.
    pub const BLOCK: u8 = 3;
}

const _: () = assert!(size_of::<Count>() == 16);
const _: () = assert!(size_of::<RuleCount>() == 24);
const _: () = assert!(size_of::<Event>() == 128);
