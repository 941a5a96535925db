//! A filter in front of the tables of flows: a quick "certainly unknown" for most packets of a flood.
//!
//! Each flow has a cell, by a hash of its key, that holds the epoch of its last packet. A cell that nothing has
//! touched for as long as any flow may be silent belongs to no live flow. Nobody has to clear cells: they grow old.

use super::{FlowKey, TCP};
use crate::policy::Timeouts;

/// Cells of one value of the filter's array.
pub const CHUNK_CELLS: usize = 4_096;
/// Values of that array.
pub const CHUNKS: usize = 64;
/// A part of the filter: an epoch per cell, 0 where there never was a flow.
pub type Chunk = [u16; CHUNK_CELLS];

/// Length of an epoch: 2³⁴ ns, about 17 seconds.
const EPOCH_BITS: u32 = 34;
/// Most epochs a cell can be told to be old: less than half of those that [`epoch`] tells apart.
const MOST: u32 = 32_000;

/// Epochs after which a cell is too old for a live flow, by class of protocol: [`window_of`]. 0 where flows may
/// be silent for too long for the filter to tell.
pub type Windows = [u16; 2];

/// The windows under these timeouts.
pub fn windows(timeouts: &Timeouts) -> Windows {
    let &Timeouts { tcp_opening, tcp_established, tcp_closing, udp_opening, udp, signalling, icmp, other } =
        timeouts;
    let longest = |seconds: &[u32]| {
        let nanoseconds = u64::from(seconds.iter().copied().fold(0, u32::max)) * 1_000_000_000;
        // A silence can begin late in its first epoch and end early in its last.
        let epochs = (nanoseconds >> EPOCH_BITS) + 2;
        if epochs > u64::from(MOST) { 0 } else { epochs as u16 }
    };
    [
        longest(&[tcp_opening, tcp_established, tcp_closing, signalling]),
        longest(&[udp_opening, udp, signalling, icmp, other]),
    ]
}

/// Which of the windows holds for a flow.
#[inline(always)]
pub fn window_of(windows: Windows, key: &FlowKey) -> u16 {
    if key.protocol == TCP { windows[0] } else { windows[1] }
}

/// The epoch of a monotonic time (ns), never 0.
#[inline(always)]
pub fn epoch(now: u64) -> u16 {
    let epoch = (now >> EPOCH_BITS) as u16;
    if epoch == 0 { 1 } else { epoch }
}

/// Whether a flow whose cell holds this may be alive.
#[inline(always)]
pub fn may_live(cell: u16, epoch: u16, window: u16) -> bool {
    window == 0 || (cell != 0 && epoch.wrapping_sub(cell) <= window)
}

/// The place of a flow's cell: which value of the array, and where in it.
#[inline(always)]
pub fn place(key: &FlowKey) -> (u32, usize) {
    let (low, high) = (&key.low.0, &key.high.0);
    let pair = |a: u32, b: u32| (a as u64) << 32 | b as u64;
    let ports = pair((key.low_port as u32) << 16 | key.high_port as u32, key.protocol as u32);
    // Independent products, so that a processor makes them side by side.
    let sum = pair(low[0], low[1])
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(pair(low[2], low[3]).wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add(pair(high[0], high[1]).wrapping_mul(0x94d0_49bb_1331_11eb))
        .wrapping_add(pair(high[2], high[3]).wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_add(ports.wrapping_mul(0xa076_1d64_78bd_642f));
    let hash = (sum ^ sum >> 32).wrapping_mul(0xe703_7ed1_a0b4_28db) >> 46;
    ((hash / CHUNK_CELLS as u64) as u32 % CHUNKS as u32, hash as usize % CHUNK_CELLS)
}

const _: () = assert!(CHUNK_CELLS * CHUNKS == 1 << (64 - 46));

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Addr;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_flow_is_not_missed_before_its_longest_silence_is_over() {
        let timeouts = Timeouts::default();
        let [tcp, other] = windows(&timeouts);
        for (window, seconds) in [(tcp, timeouts.tcp_established), (other, timeouts.signalling)] {
            for start in (0..400).map(|step| 1_000 * SECOND + step * SECOND / 3) {
                let silent = start + u64::from(seconds) * SECOND;
                assert!(may_live(epoch(start), epoch(silent), window));
                assert!(!may_live(epoch(start), epoch(silent + 60 * SECOND), window), "but soon after");
            }
        }
    }

    #[test]
    fn epochs_go_round_and_0_is_none_of_them() {
        let round = 1_u64 << (EPOCH_BITS + 16);
        assert_eq!(epoch(0), 1);
        assert_eq!(epoch(round), 1);
        assert!(may_live(epoch(round - 1), epoch(round + 1), 3));
        assert!(!may_live(0, epoch(round), 3), "never touched");
    }

    #[test]
    fn longer_silences_than_it_can_tell_switch_it_off() {
        let timeouts = Timeouts { tcp_established: 30 * 86_400, ..Timeouts::default() };
        assert_eq!(windows(&timeouts)[0], 0);
        assert!(may_live(0, 77, 0));
    }

    #[test]
    fn flows_of_neighbours_have_different_cells() {
        let key = |host: u32, port: u16| {
            let (a, b) = (Addr([0, 0, 0xffff_0000, host.to_be()]), Addr([0, 0, 0xffff_0000, 0x0a00_0001]));
            FlowKey::of((a, port), (b, 5060), 17).0
        };
        let keys =
            (0..64).flat_map(|host| (0..64).map(move |port| key(0x0a01_0000 + host, 16_384 + 2 * port)));
        let cells: HashSet<_> = keys.map(|key| place(&key)).collect();
        // 4,096 balls into 262,144 urns leave 4,064 of them with one.
        assert!(cells.len() > 4_000, "{}", cells.len());
    }
}
