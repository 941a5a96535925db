//! Rate limits: the generic cell rate algorithm (ITU-T I.371) in one word.

use crate::Addr;

/// Key of a limit's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LimitKey {
    /// The source (or destination) counted; [`Addr::UNSPECIFIED`] for a limit per rule.
    pub addr: Addr,
    /// The rule's counter slot.
    pub slot: u32,
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
}

/// Over whom a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// One bucket for the rule.
    Rule = 0,
    /// A bucket per source address.
    Source = 1,
}

/// A limit as the kernel applies it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Time one event uses up, in ns: 1 s / rate.
    pub interval: u64,
    /// How far ahead of time events may come, in ns: interval × (burst − 1).
    pub tolerance: u64,
    /// [`Unit`].
    pub unit: u8,
    /// [`Scope`].
    pub scope: u8,
    /// Zero.
    pub pad: [u8; 6],
}

/// One event at `now` against a bucket whose theoretical arrival time is `tat`, all in ns.
///
/// `Some(new_tat)` when it conforms, `None` when it is above the limit.
#[inline(always)]
pub fn conform(limit: &Limit, tat: u64, now: u64) -> Option<u64> {
    let tat = if tat > now { tat } else { now };
    if tat - now > limit.tolerance { None } else { Some(tat + limit.interval) }
}

const _: () = assert!(size_of::<LimitKey>() == 20);
const _: () = assert!(size_of::<Limit>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let limit = Limit { interval: 100, tolerance: 300, ..Limit::default() };
        let (mut tat, mut passed) = (0, 0);
        for now in 10_000..11_000 {
            if let Some(next) = conform(&limit, tat, now) {
                tat = next;
                passed += 1;
            }
        }
        assert_eq!(passed, 4 + 9, "a burst of four, then one each 100 ns");
    }
}
