//! What a pinhole says of its stream, and what it measures: the words of [`crate::pinhole::Pinhole`], their units and
//! how they are packed.
//!
//! What the judge writes lies in words of 64 bits, each read and written whole, without locks: the packets of one
//! stream come one after another on one CPU. Where they do not, because a NIC spreads them, a count can lose the
//! packet that another CPU counts at the same moment; no check is decided by what was lost.

use crate::Reason;
use crate::limit::Rate;

/// Bits of [`crate::pinhole::Pinhole::flags`].
pub mod flags {
    /// What breaks the contract is dropped, not only counted.
    pub const ENFORCE: u16 = 1;
    /// STUN was announced.
    pub const STUN: u16 = 2;
    /// DTLS was announced.
    pub const DTLS: u16 = 4;
    /// ZRTP was announced.
    pub const ZRTP: u16 = 8;
    /// RTCP need not begin with a report (RFC 5506).
    pub const REDUCED_RTCP: u16 = 16;
    /// The SSRC was signalled: no other is admitted, silence or not.
    pub const SSRC: u16 = 32;
    /// XDP forwards what is bound for another machine.
    pub const FAST: u16 = 64;
    /// Others may send too: the table of further senders names them.
    pub const FURTHER: u16 = 128;
    /// It is SRTP, or may come to be: padding cannot be read, nor what follows RTCP's first header.
    pub const SECURE: u16 = 256;
    /// The DSCP in the uppermost bits is written into each packet.
    pub const REMARK: u16 = 512;
    /// Shift of that DSCP.
    pub const DSCP: u32 = 10;
}

/// Silence (no RTP admitted) after which a stream may begin anew, with another SSRC and anywhere in its sequence
/// numbers, in ns. Before, only signalling permits it.
pub const RENEWAL: u64 = 2_000_000_000;
/// How far a sequence number may be ahead of the highest one (RFC 3550 appendix A.1, MAX_DROPOUT).
pub const MAX_DROPOUT: u16 = 3_000;
/// How far it may be behind (likewise, MAX_MISORDER).
pub const MAX_MISORDER: u16 = 100;
/// How far ahead of its rate a stream may be, in ns: half a second of twice its nominal rate.
pub const BURST: u64 = 500_000_000;
/// The same for RTCP, whose packets are few, and what comes beside it: a flight of DTLS is some thousand bytes.
pub const CONTROL_BURST: u64 = 4_000_000_000;
/// RTCP's share of a stream's rate: one part in so many (RFC 3550 section 6.2).
pub const CONTROL_SHARE: u64 = 20;
/// What RTCP may always use, in bytes per second.
pub const CONTROL_LEAST: u64 = 4_000;

/// Twice the nominal rate of a stream, as the time its packets use up. 0: no ceiling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Ceiling {
    /// Time of a packet, in [`Ceiling::UNIT`]s.
    pub per_packet: u16,
    /// Time of a byte of the whole IP packet, in 1/256 of them.
    pub per_byte: u16,
}

impl Ceiling {
    /// The unit of time of rates, in ns.
    pub const UNIT: u64 = 1_024;

    /// Twice so many packets and so many bytes per second; 0 where that is not known. What is too slow for the
    /// unit gets the slowest ceiling there is: 14 packets per second, 3.8 kB/s.
    pub const fn twice(packets: u32, bytes: u32) -> Self {
        Self {
            per_packet: units(1_000_000_000, packets as u64 * 2 * Self::UNIT),
            per_byte: units(256 * 1_000_000_000, bytes as u64 * 2 * Self::UNIT),
        }
    }

    /// What a packet of so many bytes uses up, in ns.
    #[inline(always)]
    pub const fn cost(self, bytes: u64) -> u64 {
        let (packet, bytes) = (self.per_packet as u64, bytes * self.per_byte as u64 / 256);
        (if packet > bytes { packet } else { bytes }) * Self::UNIT
    }

    /// What an RTCP packet of so many bytes uses up of RTCP's share, in ns.
    #[inline(always)]
    pub const fn control_cost(self, bytes: u64) -> u64 {
        let share = self.per_byte as u64 * CONTROL_SHARE;
        let least = 256 * 1_000_000_000 / (CONTROL_LEAST * Self::UNIT);
        bytes * (if share < least { share } else { least }) / 256 * Self::UNIT
    }
}

/// A time over another one, as far as 16 bits go; 0 for none.
const fn units(time: u64, by: u64) -> u16 {
    if by == 0 {
        return 0;
    }
    let units = time / by;
    if units == 0 {
        1
    } else if units > u16::MAX as u64 {
        u16::MAX
    } else {
        units as u16
    }
}

/// Rate of [`crate::limit::conform`] for RTP.
pub const RATE: Rate = Rate { interval: 1, tolerance: BURST };
/// Rate of [`crate::limit::conform`] for RTCP.
pub const CONTROL_RATE: Rate = Rate { interval: 1, tolerance: CONTROL_BURST };

/// Bits behind the point of [`pace`].
pub const PACE_BITS: u32 = 36;

/// An RTP clock of so many Hz as sixteenths of a timestamp unit per ns, with [`PACE_BITS`] bits behind the point: a
/// multiplication in place of a division. Clocks above 3.9 MHz are none.
pub const fn pace(clock: u32) -> u32 {
    let pace = (((clock as u64) << (PACE_BITS + 4 - 9)) / (1_000_000_000 >> 9)) as u128;
    if pace > u32::MAX as u128 { 0 } else { pace as u32 }
}

/// The clock behind a [`pace`], in Hz.
pub const fn clock(pace: u32) -> u32 {
    ((pace as u64 * (1_000_000_000 >> 9) + (1 << (PACE_BITS + 4 - 10))) >> (PACE_BITS + 4 - 9)) as u32
}

/// Where a stream is: [`crate::pinhole::Pinhole::place`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The SSRC that is admitted; before [`Self::locked`] the one that was signalled, if any.
    pub ssrc: u32,
    /// The highest sequence number.
    pub sequence: u16,
    /// A first RTP packet was admitted: SSRC and sequence hold.
    pub locked: bool,
    /// An RTP packet was admitted before, perhaps of another SSRC.
    pub heard: bool,
    /// DSCP of the last packet.
    pub dscp: u8,
    /// Several streams come here, which nothing but their sources tells apart: neither source nor sequence nor the
    /// sender's port is held, and of what RTP tells nothing is measured. Never with [`Self::locked`].
    pub shared: bool,
}

impl Place {
    /// From the word.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self {
            ssrc: word as u32,
            sequence: (word >> 32) as u16,
            locked: word >> 48 & 1 != 0,
            heard: word >> 49 & 1 != 0,
            dscp: (word >> 56 & 63) as u8,
            shared: word >> 62 & 1 != 0,
        }
    }

    /// To the word.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        self.ssrc as u64
            | (self.sequence as u64) << 32
            | (self.locked as u64) << 48
            | (self.heard as u64) << 49
            | (self.dscp as u64 & 63) << 56
            | (self.shared as u64) << 62
    }
}

/// Two halves of a word: the lower and the upper one.
#[inline(always)]
pub const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The word of two halves.
#[inline(always)]
pub const fn word(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Bits of the bytes admitted in [`crate::pinhole::Pinhole::bytes`]; above them the longest gap, shifted by [`GAP_SHIFT`].
pub const BYTES_BITS: u32 = 48;
/// The unit of gaps, in ns, as a shift.
pub const GAP_SHIFT: u32 = 20;

/// Reports of a jitter in 1/256 of a timestamp unit: [`crate::pinhole::Pinhole::timing`].
///
/// `skew` is by how much the packet came later than its timestamp says, against the one before, in sixteenths of a
/// unit (RFC 3550 appendix A.8, with four more bits).
#[inline(always)]
pub const fn jitter(before: u32, skew: u64) -> u32 {
    // A second and more is a pause of the sender's, not the network's jitter, whatever the clock.
    let skew = if skew > 1 << 24 { 1 << 24 } else { skew as u32 };
    before + skew - ((before + 8) >> 4)
}

/// What a pinhole has measured, for people and programs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Packets admitted.
    pub packets: u64,
    /// Bytes admitted, whole IP packets.
    pub bytes: u64,
    /// Packets admitted that are no RTP: RTCP, STUN, DTLS, ZRTP.
    pub others: u32,
    /// RTP packets that are missing.
    pub lost: u32,
    /// RTP packets that came after one sent later.
    pub out_of_order: u32,
    /// RTP packets that came again.
    pub duplicates: u32,
    /// Interarrival jitter in RTP timestamp units (RFC 3550 section 6.4.1).
    pub jitter: f64,
    /// The RTP clock in Hz; 0 while unknown.
    pub clock_hz: u32,
    /// The longest time between two RTP packets, in ms, to a millisecond; 68,718 stands for more.
    pub longest_gap_ms: u32,
    /// Monotonic time of the first packet admitted, in ns; 0 before.
    pub first: u64,
    /// Monotonic time of the last packet admitted (RTP, where that flows), in ns.
    pub last: u64,
    /// A bit per DSCP that was seen.
    pub dscps: u64,
    /// The SSRC that holds, or was signalled.
    pub ssrc: Option<u32>,
    /// Packets that broke the contract, dropped or not.
    pub refused: u32,
    /// Why the last of them did.
    pub refused_last: Option<Reason>,
    /// Packets that took the stack, though they might have been forwarded past it.
    pub by_stack: u32,
}

impl Measures {
    /// RTP packets admitted.
    pub const fn rtp(&self) -> u64 {
        self.packets.saturating_sub(self.others as u64)
    }

    /// RTP packets that were sent, as far as their sequence numbers tell.
    pub const fn expected(&self) -> u64 {
        self.rtp().saturating_sub(self.duplicates as u64) + self.lost as u64
    }

    /// The share of them that is missing, 0 to 1.
    pub fn loss(&self) -> f64 {
        let expected = self.expected();
        if expected == 0 { 0.0 } else { f64::from(self.lost) / expected as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_twice_the_rate_or_more() {
        // G.711 of 20 ms: 50 packets of 200 bytes a second.
        let voice = Ceiling::twice(50, 10_000);
        let cost = voice.cost(200);
        assert!((9_900_000..=10_000_000).contains(&cost), "{cost} ns for a packet of 20 ms");
        assert_eq!(
            voice.cost(20),
            cost.min(voice.per_packet as u64 * Ceiling::UNIT),
            "small ones cost as much"
        );
        assert!(voice.cost(1_400) > 6 * cost);
        assert_eq!(Ceiling::twice(0, 0), Ceiling::default());
        assert_eq!(Ceiling::default().cost(1_500), 0);
        for bytes in [400, 2_000, 10_000, 250_000, 12_500_000] {
            let cost = Ceiling::twice(0, bytes).cost(1_000);
            assert!(
                cost <= 1_000 * 1_000_000_000 / (2 * u64::from(bytes)),
                "{bytes} bytes per second: {cost}"
            );
        }
        // 4 kB/s: a report of 100 bytes takes 25 ms.
        assert!((24_500_000..=25_000_000).contains(&voice.control_cost(100)));
        assert_eq!(Ceiling::default().control_cost(100), 0, "no ceiling, no share of it");
    }

    #[test]
    fn paces_are_told_from_clocks() {
        for clock_hz in [0, 8_000, 11_025, 16_000, 44_100, 48_000, 90_000, 1_000_000] {
            assert_eq!(clock(pace(clock_hz)), clock_hz);
        }
        // A second is as many units as the clock says, to a sixteenth.
        let second = (1_000_000_000_u128 * u128::from(pace(90_000))) >> PACE_BITS;
        assert!((16 * 90_000 - 1..=16 * 90_000).contains(&second), "{second}");
        assert_eq!(pace(u32::MAX), 0);
    }

    #[test]
    fn places_are_packed() {
        let place =
            Place { ssrc: 0xdead_beef, sequence: 0xfff0, locked: true, heard: true, dscp: 46, shared: true };
        assert_eq!(Place::unpack(place.pack()), place);
        assert_eq!(Place::unpack(0), Place::default());
        assert_eq!(halves(word(7, 9)), (7, 9));
    }

    #[test]
    fn jitter_goes_towards_the_skew() {
        let steady = (0..2_000).fold(0, |jitter_now, _| jitter(jitter_now, 160 * 16));
        assert!((f64::from(steady) / 256.0 - 160.0).abs() < 0.1, "{steady}");
        assert_eq!((0..2_000).fold(steady, |now, _| jitter(now, 0)) / 256, 0);
    }
}
