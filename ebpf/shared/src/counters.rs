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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

const _: () = assert!(size_of::<Count>() == 16);
const _: () = assert!(size_of::<RuleCount>() == 24);
const _: () = assert!(size_of::<Event>() == 56);
