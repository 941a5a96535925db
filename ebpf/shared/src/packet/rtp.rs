//! What of RTP and RTCP can only be said with the packet at hand: whether its parts fit together.
//!
//! The parser asks it of any UDP payload of RTP's version, and notes the answer. Whether it matters is the judge's to
//! say, who knows what the port is for.

use super::{Bytes, View};

/// Packets in one compound that are gone through (RFC 3550 section 6.1); more are taken for a length that does not
/// add up.
const MAX_COMPOUND: usize = 16;

/// The furthest a window may begin in a frame: the verifier follows no further. No device's frames are longer.
const FURTHEST: usize = 0x7fff;

/// Bits of [`super::Packet::rtp_faults`].
pub mod faults {
    /// RTP: the list of contributing sources or the header extension goes beyond the packet.
    pub const HEADER: u8 = 1;
    /// RTP: the last byte tells of more padding than there is, or of none.
    pub const PADDING: u8 = 2;
    /// RTCP: the first packet is no sender or receiver report.
    pub const NO_REPORT: u8 = 4;
    /// RTCP: the first packet goes beyond the datagram.
    pub const FIRST_LENGTH: u8 = 8;
    /// RTCP: a length, or a count of reports, does not add up.
    pub const LENGTH: u8 = 16;
    /// RTCP: the first packet is of a type nobody knows.
    pub const FIRST_TYPE: u8 = 32;
    /// RTCP: so is any.
    pub const TYPE: u8 = 64;
}

/// Whether the second byte of a payload of RTP's version is an RTCP packet type (RFC 5761 section 4).
#[inline(always)]
pub const fn is_rtcp(second: u8) -> bool {
    matches!(second, 192..=223)
}

/// Whether an RTCP packet type is one that the registry of RTP parameters names.
#[inline(always)]
const fn is_known(packet_type: u8) -> bool {
    matches!(packet_type, 192..=195 | 200..=213)
}

/// [`faults`] of the RTP packet of `length` bytes at `at`, whose first byte is `head` (RFC 3550 section 5.1).
///
/// ```text
///  0                   1                   2                   3
///  |V=2|P|X|  CC   |M|     PT      |       sequence number         |
///  |                           timestamp                           |
///  |                             SSRC                              |
///  |                 CSRC × CC, then, where X: profile, length     |
/// ```
#[inline(always)]
pub(super) fn rtp<B: Bytes>(frame: &B, at: usize, length: usize, head: u8) -> u8 {
    let mut header = 12 + 4 * usize::from(head & 0x0f);
    if head & 0x10 != 0 {
        if header + 4 > length {
            return faults::HEADER;
        }
        let Some(extension) = frame.view(at + header, 4) else { return faults::HEADER };
        header += 4 + 4 * usize::from(extension.be16(2));
    }
    if header > length {
        return faults::HEADER;
    }
    if head & 0x20 != 0 {
        // Two bytes: the kernel's verifier does not see the bound of a window of one.
        let Some(last) = frame.view((at + length - 2) & FURTHEST, 2) else { return faults::PADDING };
        let padding = usize::from(last.u8(1));
        if padding == 0 || header + padding > length {
            return faults::PADDING;
        }
    }
    0
}

/// [`faults`] of the compound RTCP packet of `length` bytes at `at` (RFC 3550 section 6.1).
#[inline(always)]
pub fn rtcp<B: Bytes>(frame: &B, at: usize, length: usize) -> u8 {
    let (mut offset, mut found) = (0, 0);
    for number in 0..MAX_COMPOUND {
        let Some(header) = frame.view((at + offset) & FURTHEST, 4) else { return found | faults::LENGTH };
        let (head, packet_type) = (header.u8(0), header.u8(1));
        let size = 4 * (usize::from(header.be16(2)) + 1);
        if number == 0 && packet_type != 200 && packet_type != 201 {
            found |= faults::NO_REPORT;
        }
        if !is_known(packet_type) {
            found |= if number == 0 { faults::FIRST_TYPE | faults::TYPE } else { faults::TYPE };
        }
        let reports = 24 * usize::from(head & 0x1f);
        let least = match packet_type {
            200 => 28 + reports,
            201 => 8 + reports,
            _ => 4,
        };
        if head >> 6 != 2 || size < least || offset + size > length {
            return found | if number == 0 { faults::FIRST_LENGTH | faults::LENGTH } else { faults::LENGTH };
        }
        offset += size;
        if offset == length {
            return found;
        }
        if offset + 4 > length {
            return found | faults::LENGTH;
        }
    }
    found | faults::LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rtp(bytes: &[u8]) -> u8 {
        rtp(&bytes, 0, bytes.len(), bytes[0])
    }

    fn of_rtcp(bytes: &[u8]) -> u8 {
        rtcp(&bytes, 0, bytes.len())
    }

    /// An RTCP packet of a type, with `words` words after the first one.
    fn report(packet_type: u8, count: u8, words: u8) -> Vec<u8> {
        let mut bytes = vec![0x80 | count, packet_type, 0, words];
        bytes.resize(4 + 4 * usize::from(words), 0);
        bytes
    }

    #[test]
    fn rtp_headers_fit_or_do_not() {
        let with = |head: u8, length: usize| {
            let mut bytes = vec![0; length];
            bytes[0] = head;
            bytes
        };
        assert_eq!(of_rtp(&with(0x80, 12)), 0);
        assert_eq!(of_rtp(&with(0x82, 20)), 0);
        assert_eq!(of_rtp(&with(0x82, 19)), faults::HEADER);
        let mut extended = with(0x90, 24);
        extended[15] = 2;
        assert_eq!(of_rtp(&extended), 0);
        extended[15] = 3;
        assert_eq!(of_rtp(&extended), faults::HEADER);
        assert_eq!(of_rtp(&with(0x90, 15)), faults::HEADER);
        let mut padded = with(0xa0, 16);
        assert_eq!(of_rtp(&padded), faults::PADDING, "padding of no bytes");
        padded[15] = 4;
        assert_eq!(of_rtp(&padded), 0);
        padded[15] = 5;
        assert_eq!(of_rtp(&padded), faults::PADDING);
    }

    #[test]
    fn rtcp_compounds_add_up_or_do_not() {
        let sound = [report(200, 1, 12), report(202, 1, 3), report(203, 1, 1)].concat();
        assert_eq!(of_rtcp(&sound), 0);
        assert_eq!(of_rtcp(&report(201, 0, 1)), 0, "the shortest there is");
        assert_eq!(of_rtcp(&report(202, 1, 3)), faults::NO_REPORT);
        assert_eq!(of_rtcp(&[sound.clone(), vec![0]].concat()), faults::LENGTH);
        assert_eq!(of_rtcp(&sound[..sound.len() - 1]), faults::LENGTH);
        let first = faults::FIRST_LENGTH | faults::LENGTH;
        assert_eq!(of_rtcp(&sound[..40]), first);
        assert_eq!(of_rtcp(&report(200, 2, 12)), first, "two reports do not fit");
        assert_eq!(of_rtcp(&[report(201, 0, 1), report(199, 0, 0)].concat()), faults::TYPE);
        assert_eq!(of_rtcp(&report(222, 0, 0)), faults::NO_REPORT | faults::FIRST_TYPE | faults::TYPE);
        let mut other = [report(201, 0, 1), report(202, 0, 0)].concat();
        other[8] = 0x40;
        assert_eq!(of_rtcp(&other), faults::LENGTH, "another version");
        assert_eq!(of_rtcp(&report(201, 0, 1).repeat(16)), 0);
        assert_eq!(of_rtcp(&report(201, 0, 1).repeat(17)), faults::LENGTH);
    }
}
