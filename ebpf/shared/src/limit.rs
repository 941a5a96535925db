//! Rate limits: the generic cell rate algorithm (ITU-T I.371) in one word.

use crate::Addr;

/// Key of a limit's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LimitKey {
    /// The source, its prefix or the destination counted; [`Addr::UNSPECIFIED`] for a limit per rule.
    pub addr: Addr,
    /// The rule's counter slot, or one of [`key`].
    pub slot: u32,
}

/// Values of [`LimitKey::slot`] that are no rule's.
pub mod key {
    use crate::policy::MAX_SLOTS;

    /// Half-open connections by source.
    pub const HALF_OPEN_SOURCE: u32 = MAX_SLOTS;
    /// Half-open connections by destination.
    pub const HALF_OPEN_DESTINATION: u32 = MAX_SLOTS + 1;
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unit {
    /// No limit.
    None = 0,
    /// New flows.
    New = 1,
    /// Packets.
    Packets = 2,
    /// Bytes of whole IP packets.
    Bytes = 3,
}

/// Over whom a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// One bucket for the rule.
    Rule = 0,
    /// A bucket per source address.
    Source = 1,
    /// A bucket per source prefix.
    SourcePrefix = 2,
    /// A bucket per destination address.
    Destination = 3,
}

/// A limit as the kernel applies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// How often.
    pub rate: Rate,
    /// [`Unit`].
    pub unit: u8,
    /// [`Scope`].
    pub scope: u8,
    /// [`Scope::SourcePrefix`]: length of an IPv4 source's prefix, 0 to 32.
    pub prefix4: u8,
    /// [`Scope::SourcePrefix`]: length of an IPv6 source's prefix, 0 to 128.
    pub prefix6: u8,
    /// Zero.
    pub pad: u32,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Time one event uses up, in ns: 1 s / rate; for bytes, the time of [`BYTES`] of them. 0 where nothing is
    /// limited.
    pub interval: u64,
    /// How far ahead of time events may come, in ns: interval × (burst − 1).
    pub tolerance: u64,
}

/// Bytes that use up one [`Rate::interval`] of a limit of bytes.
pub const BYTES: u64 = 1_024;

/// `cost` ns worth of events at `now` against a bucket whose theoretical arrival time is `tat`, all in ns.
///
/// `Some(new_tat)` when they conform, `None` when they are above the limit.
#[inline(always)]
pub fn conform(rate: &Rate, tat: u64, now: u64, cost: u64) -> Option<u64> {
    let tat = if tat > now { tat } else { now };
    if tat - now > rate.tolerance { None } else { Some(tat + cost) }
}

/// What a packet of `bytes` bytes costs, in ns.
#[inline(always)]
pub fn cost(limit: &Limit, bytes: u64) -> u64 {
    if limit.unit == Unit::Bytes as u8 { limit.rate.interval * bytes / BYTES } else { limit.rate.interval }
}

const _: () = assert!(size_of::<LimitKey>() == 20);
const _: () = assert!(size_of::<Limit>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let rate = Rate { interval: 100, tolerance: 300 };
        let (mut tat, mut passed) = (0, 0);
        for now in 10_000..11_000 {
            if let Some(next) = conform(&rate, tat, now, rate.interval) {
                tat = next;
                passed += 1;
            }
        }
        assert_eq!(passed, 4 + 9, "a burst of four, then one each 100 ns");
    }
}
