//! RTCP: what the reports of a compound packet say (RFC 3550 section 6.4).
//!
//! Reads a packet that may have been cut off: the packets of a compound that are whole are told. Nothing is
//! believed beyond that; the kernel half has checked a compound's form before.
//!
//! ```text
//!  0                   1                   2                   3
//! |V=2|P|    RC   |   PT=SR=200   |             length            |
//! |                         SSRC of sender                        |
//! |            NTP timestamp, RTP timestamp, packets, octets (SR) |
//! |                 SSRC of the source reported on                |  ┐
//! | fraction lost |       cumulative number of packets lost       |  │
//! |           extended highest sequence number received           |  │ RC times
//! |                      interarrival jitter                      |  │
//! |                         last SR (LSR)                         |  │
//! |                   delay since last SR (DLSR)                  |  ┘
//! ```

/// Sender report.
const SR: u8 = 200;
/// Receiver report.
const RR: u8 = 201;
/// Bytes of a report block.
const BLOCK: usize = 24;

/// What a report says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The source it is about.
    pub source: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost in all; negative where duplicates arrive.
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter, in units of the RTP timestamp.
    pub jitter: u32,
    /// Middle of the NTP timestamp of the last sender report of that source; 0 before the first.
    pub last_report: u32,
    /// Since that was received, in 65,536ths of a second.
    pub delay: u32,
}

/// A sender or receiver report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports.
    pub sender: u32,
    /// Middle of its NTP timestamp, where it sends itself: what [`Block::last_report`] repeats.
    pub stamp: Option<u32>,
    blocks: &'a [u8],
}

impl Report<'_> {
    /// What it says of each source; at most 31.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<'_> {
        self.blocks.chunks_exact(BLOCK).map(|block| Block {
            source: word(block, 0),
            fraction_lost: block[4],
            // 24 bits, signed: shifted up and back.
            lost: (word(block, 4) << 8) as i32 >> 8,
            highest: word(block, 8),
            jitter: word(block, 12),
            last_report: word(block, 16),
            delay: word(block, 20),
        })
    }
}

/// The reports of a compound packet, as far as `bytes` has them whole.
pub fn reports(mut bytes: &[u8]) -> impl Iterator<Item = Report<'_>> {
    std::iter::from_fn(move || {
        loop {
            let [first, kind, high, low, ..] = *bytes else { return None };
            if first >> 6 != 2 {
                return None;
            }
            let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            // A report that was cut off tells of the blocks that are there.
            let packet = &bytes[..length.min(bytes.len())];
            bytes = bytes.get(length..).unwrap_or_default();
            let head = match kind {
                SR => 28,
                RR => 8,
                _ => continue,
            };
            if let Some(blocks) = packet.get(head..) {
                let count = usize::from(first & 0x1f) * BLOCK;
                let stamp = (kind == SR).then(|| word(packet, 10));
                let whole = blocks.len().min(count) / BLOCK * BLOCK;
                return Some(Report { sender: word(packet, 4), stamp, blocks: &blocks[..whole] });
            }
        }
    })
}

/// The round-trip time that a block tells whoever sent the report it answers, in 65,536ths of a second (RFC
/// 3550 section 6.4.1): `now` is the middle of the NTP time at which it arrived there.
///
/// At a place in between the two, `now` is what the clock of the sender report's host would say: the time
/// that has passed here since that report went by, added to its stamp. `None`: it answers none, or the clocks
/// contradict.
pub fn round_trip(block: &Block, now: u32) -> Option<u32> {
    if block.last_report == 0 {
        return None;
    }
    let trip = now.wrapping_sub(block.last_report).wrapping_sub(block.delay);
    // More than a minute is a clock that was set, or a lie.
    (trip < 60 << 16).then_some(trip)
}

/// Four bytes that are there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(source: u32, fraction: u8, lost: i32, jitter: u32) -> Vec<u8> {
        let mut bytes = source.to_be_bytes().to_vec();
        bytes.push(fraction);
        bytes.extend(&lost.to_be_bytes()[1..]);
        for word in [70_000, jitter, 0x1234_5678, 65_536] {
            bytes.extend(u32::to_be_bytes(word));
        }
        bytes
    }

    fn packet(kind: u8, blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut body = 7_u32.to_be_bytes().to_vec();
        if kind == SR {
            body.extend([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x11, 0x22]);
            body.extend([0; 12]);
        }
        body.extend(blocks.concat());
        let words = u16::try_from(body.len() / 4).expect("short");
        let count = u8::try_from(blocks.len()).expect("few");
        [&[0x80 | count, kind][..], &words.to_be_bytes(), &body].concat()
    }

    #[test]
    fn both_kinds_of_report_are_read() {
        let sdes = [0x81, 202, 0, 2, 0, 0, 0, 7, 1, 1, b'x', 0];
        let bytes =
            [&packet(SR, &[block(9, 64, -2, 80)])[..], &sdes, &packet(RR, &[block(10, 0, 5, 1)])].concat();
        let found: Vec<_> = reports(&bytes).map(|report| (report.sender, report.stamp)).collect();
        assert_eq!(found, [(7, Some(0xccdd_eeff)), (7, None)]);
        let blocks: Vec<_> = reports(&bytes).flat_map(|report| report.blocks().collect::<Vec<_>>()).collect();
        assert_eq!(
            (blocks[0].source, blocks[0].fraction_lost, blocks[0].lost, blocks[0].jitter),
            (9, 64, -2, 80)
        );
        assert_eq!((blocks[1].source, blocks[1].lost, blocks[1].highest), (10, 5, 70_000));
    }

    #[test]
    fn what_was_cut_off_is_told_as_far_as_it_is_whole() {
        let bytes = packet(SR, &[block(9, 1, 1, 1), block(10, 2, 2, 2)]);
        for length in 0..=bytes.len() {
            let expected = match length {
                0..52 => 0,
                52..76 => 1,
                _ => 2,
            };
            let blocks = reports(&bytes[..length]).map(|report| report.blocks().count()).sum::<usize>();
            assert_eq!(blocks, expected, "{length}");
        }
        // More blocks said than there are, a length of nothing, another version.
        assert_eq!(
            reports(&[0x9f, RR, 0, 1, 0, 0, 0, 1]).map(|report| report.blocks().count()).sum::<usize>(),
            0
        );
        assert_eq!(reports(&[0x80, SR, 0, 0]).count(), 0);
        assert_eq!(reports(&[0x40, SR, 0, 6]).count(), 0);
    }

    #[test]
    fn a_round_trip_is_what_the_reporter_did_not_wait() {
        let [block] = reports(&packet(RR, &[block(9, 0, 0, 0)]))
            .flat_map(|r| r.blocks().collect::<Vec<_>>())
            .collect::<Vec<_>>()[..]
        else {
            panic!("one block")
        };
        // It was sent at 0x12345678, waited for a second, and is here 0.25 s later.
        assert_eq!(round_trip(&block, 0x1234_5678 + 65_536 + 16_384), Some(16_384));
        assert_eq!(round_trip(&block, 0x1234_5678), None, "before it was sent");
        assert_eq!(round_trip(&Block { last_report: 0, ..block }, 5), None);
    }
}
