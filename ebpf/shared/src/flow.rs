//! Known flows: the conversations whose packets pass without asking the rules again.

pub mod filter;

use core::sync::atomic::AtomicU64;

use crate::Addr;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// One key for both directions: the lesser (address, port) stands first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Lesser endpoint's address.
    pub low: Addr,
    /// Greater endpoint's address.
    pub high: Addr,
    /// Lesser endpoint's port, host order; for ICMP echo the identifier.
    pub low_port: u16,
    /// Greater endpoint's port, host order; for ICMP echo the identifier.
    pub high_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Which endpoint of the key sent a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The lesser endpoint.
    #[default]
    Low = 0,
    /// The greater endpoint.
    High = 1,
}

impl FlowKey {
    /// The key of a packet's flow, and which side of it sent the packet.
    #[inline(always)]
    pub fn of(source: (Addr, u16), destination: (Addr, u16), protocol: u8) -> (Self, Side) {
        let source_is_low = precedes(source, destination);
        let (low, high, side) =
            if source_is_low { (source, destination, Side::Low) } else { (destination, source, Side::High) };
        let key =
            Self { low: low.0, high: high.0, low_port: low.1, high_port: high.1, protocol, pad: [0; 3] };
        (key, side)
    }
}

/// A total order that decides on the last word of nearly every IPv4 pair.
#[inline(always)]
fn precedes(a: (Addr, u16), b: (Addr, u16)) -> bool {
    for i in [3, 2, 1, 0] {
        if a.0.0[i] != b.0.0[i] {
            return a.0.0[i] < b.0.0[i];
        }
    }
    a.1 <= b.1
}

/// Where a flow stands, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Generation of the rules that judged it last; another one makes the next packet be judged again.
    pub generation: u32,
    /// [`state`] bits, and the window scales and the zone below.
    pub state: u32,
}

impl Standing {
    /// Shift of a side's window scale (RFC 7323 section 2, 0 to 14) in [`Self::state`]: four bits by [`Side`].
    pub const SCALE: [u32; 2] = [8, 12];
    /// Shift of the zone the responder's packets come from, in [`Self::state`]: four bits, 0 where not known.
    pub const REPLY_ZONE: u32 = 16;

    /// For [`Flow::standing`].
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.state as u64) << 32 | self.generation as u64
    }

    /// From [`Flow::standing`].
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self { generation: word as u32, state: (word >> 32) as u32 }
    }
}

/// Bits of [`Standing::state`].
pub mod state {
    /// The originator's SYN was seen.
    pub const SYN: u32 = 1;
    /// The responder has answered (any packet; for TCP a SYN+ACK or, picked up in mid-stream, any segment).
    pub const REPLIED: u32 = 2;
    /// TCP: the handshake is complete, or the connection was picked up in mid-stream.
    pub const ESTABLISHED: u32 = 4;
    /// TCP: the originator has sent FIN.
    pub const FIN_ORIGINATOR: u32 = 8;
    /// TCP: the responder has sent FIN.
    pub const FIN_RESPONDER: u32 = 16;
    /// TCP: a RST was seen.
    pub const RESET: u32 = 32;
    /// TCP: both ends know each other's window scale, so that [`super::Flow::edges`] are exact.
    pub const SCALED: u32 = 64;
    /// TCP: it counts as half-open.
    pub const HALF_OPEN: u32 = 128;
}

/// What one end of a TCP connection is ready to receive, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// The next byte it expects: the highest acknowledgment it has sent.
    pub next: u32,
    /// Bytes from there on that it has room for; 0 while nothing is known.
    pub window: u32,
}

impl Edge {
    /// For [`Flow::edges`].
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.window as u64) << 32 | self.next as u64
    }

    /// From [`Flow::edges`].
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self { next: word as u32, window: (word >> 32) as u32 }
    }
}

/// What is known of a flow. Bytes are whole IP packets.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Flow {
    /// Monotonic time of the last packet, in ns.
    pub last_seen: AtomicU64,
    /// Monotonic time of the first packet, in ns.
    pub created: u64,
    /// Packets by [`Side`].
    pub packets: [AtomicU64; 2],
    /// Bytes by [`Side`].
    pub bytes: [AtomicU64; 2],
    /// [`Standing`], packed: the BPF target has 64-bit atomics only.
    pub standing: AtomicU64,
    /// TCP: what each [`Side`] is ready to receive, as [`Edge`], packed.
    pub edges: [AtomicU64; 2],
    /// Counter slot of the rule that admitted it; [`crate::policy::NO_SLOT`] for a default or a pinhole.
    pub slot: u32,
    /// [`Side`] that sent the first packet.
    pub originator: u8,
    /// [`crate::policy::Inspect`] of its signalling.
    pub inspect: u8,
    /// Zone the first packet came from.
    pub zone: u8,
    /// [`flags`] bits.
    pub flags: u8,
}

/// Bits of [`Flow::flags`].
pub mod flags {
    /// The rule's packet or byte limit applies to each packet of the originator.
    pub const LIMITED: u8 = 1;
    /// Admitted by a pinhole: not judged again by rules after a reload.
    pub const BY_PINHOLE: u8 = 2;
    /// It lies in the table of known peers, where a flood of strangers cannot reach it.
    pub const PEER: u8 = 4;
    /// Its packets are to be shaped like RTP or RTCP.
    pub const RTP: u8 = 8;
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Flow>() == 80);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_share_a_key() {
        let a = (Addr([1, 2, 3, 4]), 5060);
        let b = (Addr([1, 2, 3, 4]), 5061);
        let (forward, from_a) = FlowKey::of(a, b, UDP);
        let (back, from_b) = FlowKey::of(b, a, UDP);
        assert_eq!(forward, back);
        assert_eq!((from_a, from_b), (Side::Low, Side::High));
    }
}
