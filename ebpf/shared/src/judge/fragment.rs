//! Fragments: later ones go the way of the first (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! The transport header must lie whole in the first fragment, and nothing may be laid over it afterwards
//! (RFC 1858, RFC 3128, RFC 5722): a later fragment that begins inside the first is refused, and so is a second
//! first one that differs.

use crate::Addr;
use crate::Reason;
use crate::flow::TCP;
use crate::judge::{Tables, Verdict};
use crate::packet::Packet;
use crate::policy::Fragments;

/// Names a fragmented datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Its source.
    pub source: Addr,
    /// Its destination.
    pub destination: Addr,
    /// Its identification.
    pub identification: u32,
    /// Its protocol; 0 for IPv6, where only the first fragment is sure to tell it.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What is remembered of a first fragment, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstFragment {
    /// [`crate::policy::Inspect`] of the datagram.
    pub inspect: u8,
    /// Bytes of the datagram's payload it holds.
    pub length: u16,
    /// Its source port.
    pub source_port: u16,
    /// Its destination port.
    pub destination_port: u16,
}

impl FirstFragment {
    #[inline(always)]
    pub(super) fn of(packet: &Packet, inspect: u8) -> Self {
        Self {
            inspect,
            length: packet.fragment_length,
            source_port: packet.source_port,
            destination_port: packet.destination_port,
        }
    }

    /// As the table holds it.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.inspect as u64) << 48
            | (self.length as u64) << 32
            | (self.source_port as u64) << 16
            | self.destination_port as u64
    }

    /// From the table.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self {
            inspect: (word >> 48) as u8,
            length: (word >> 32) as u16,
            source_port: (word >> 16) as u16,
            destination_port: word as u16,
        }
    }
}

/// Names the datagram a fragment belongs to.
#[inline(always)]
pub fn fragment_key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        protocol: if packet.source.is_v4() { packet.protocol as u32 } else { 0 },
    }
}

/// Why a first fragment is refused whatever the rules say.
#[inline(never)]
pub(super) fn refused_first<T: Tables>(tables: &T, packet: &Packet, fragments: u8) -> Option<Reason> {
    if fragments == Fragments::Drop as u8 {
        return Some(Reason::FragmentRefused);
    }
    if fragments == Fragments::Pass as u8 {
        return None;
    }
    let known = FirstFragment::unpack(tables.fragment(&fragment_key(packet))?);
    // The same once more: a copy on its way back from the inspection tap, or one the network has doubled.
    let same = FirstFragment::of(packet, known.inspect) == known;
    (!same).then_some(Reason::FragmentOverlap)
}

/// A later fragment.
#[inline(never)]
pub(super) fn later<T: Tables>(tables: &T, packet: &Packet, fragments: u8) -> Verdict {
    if fragments == Fragments::Drop as u8 {
        return Verdict::of(Reason::FragmentRefused);
    }
    // It would be laid over ports or flags.
    let least = if packet.protocol == TCP { 20 } else { 8 };
    if packet.fragment_offset < least {
        return Verdict::of(Reason::TinyFragment);
    }
    if fragments == Fragments::Pass as u8 {
        return Verdict::of(Reason::PassFragment);
    }
    let Some(first) = tables.fragment(&fragment_key(packet)) else {
        return Verdict::of(Reason::Fragment);
    };
    let first = FirstFragment::unpack(first);
    if packet.fragment_offset < first.length {
        return Verdict::of(Reason::FragmentOverlap);
    }
    Verdict { inspect: first.inspect, ..Verdict::of(Reason::PassFragment) }
}
