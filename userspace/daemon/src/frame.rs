//! What the daemon does to frames itself: checks the checksum of what it is about to read, and writes resets.

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::packet::{Fragment, Packet, tcp};

/// The resets for a refused TCP segment: as frames without offload state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resets {
    /// To the segment's receiver, as if its sender had reset the connection.
    pub to_receiver: Vec<u8>,
    /// To its sender, as if the receiver had.
    pub to_sender: Vec<u8>,
}

/// Whether the transport checksum of a whole TCP or UDP packet is right. A UDP packet over IPv4 may have none
/// (RFC 768).
pub fn checksum_is_right(frame: &[u8], packet: &Packet) -> bool {
    if packet.fragment != Fragment::Whole || !matches!(packet.protocol, TCP | UDP) {
        return true;
    }
    let start = usize::from(packet.transport_at);
    let end = usize::from(packet.payload_at) + usize::from(packet.payload_length);
    let Some(transport) = frame.get(start..end) else { return false };
    if packet.protocol == UDP && packet.source.is_v4() && transport.get(6..8) == Some(&[0, 0]) {
        return true;
    }
    fold(sum(transport) + pseudo_header(packet, transport.len())) == 0xffff
}

/// The resets that end a TCP segment's connection at both ends (RFC 9293 section 3.5.2); `None` for a frame
/// that is not a whole TCP segment.
pub fn resets(frame: &[u8], packet: &Packet) -> Option<Resets> {
    if packet.protocol != TCP || packet.fragment != Fragment::Whole || packet.tcp_flags & tcp::RST != 0 {
        return None;
    }
    let header = frame.get(usize::from(packet.transport_at)..)?.first_chunk::<20>()?;
    let (sequence, acknowledgement) = (&header[4..8], &header[8..12]);
    let length = u32::from(packet.payload_length)
        + u32::from(packet.tcp_flags & tcp::SYN != 0)
        + u32::from(packet.tcp_flags & tcp::FIN != 0);
    let beyond = u32::from_be_bytes(sequence.try_into().ok()?).wrapping_add(length).to_be_bytes();
    Some(Resets {
        to_receiver: reset(frame, packet, sequence, acknowledgement, false)?,
        to_sender: reset(frame, packet, acknowledgement, &beyond, true)?,
    })
}

/// A RST with the frame's own Ethernet, VLAN and IP headers, ends exchanged where `back`.
fn reset(
    frame: &[u8],
    packet: &Packet,
    sequence: &[u8],
    acknowledgement: &[u8],
    back: bool,
) -> Option<Vec<u8>> {
    const TCP_HEADER: usize = 20;
    let (network, transport) = (usize::from(packet.network_at), usize::from(packet.transport_at));
    let mut out = frame.get(..transport)?.to_vec();
    let ip = out.get_mut(network..)?;
    let ip_length = u16::try_from(transport - network + TCP_HEADER).ok()?;
    // Address fields: RFC 791 section 3.1, RFC 8200 section 3.
    let (addresses, size) = if packet.source.is_v4() { (12, 4) } else { (8, 16) };
    if packet.source.is_v4() {
        ip[2..4].copy_from_slice(&ip_length.to_be_bytes());
        ip[10..12].fill(0);
    } else {
        ip[4..6].copy_from_slice(&(ip_length - 40).to_be_bytes());
    }
    if back {
        let (source, destination) = ip[addresses..addresses + 2 * size].split_at_mut(size);
        source.swap_with_slice(destination);
    }
    if packet.source.is_v4() {
        let checksum = !fold(sum(ip));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    if back {
        let (to, from) = out.get_mut(..12)?.split_at_mut(6);
        to.swap_with_slice(from);
    }

    let ports = if back {
        [packet.destination_port, packet.source_port]
    } else {
        [packet.source_port, packet.destination_port]
    };
    let mut segment = [0; TCP_HEADER];
    segment[..2].copy_from_slice(&ports[0].to_be_bytes());
    segment[2..4].copy_from_slice(&ports[1].to_be_bytes());
    segment[4..8].copy_from_slice(sequence);
    segment[8..12].copy_from_slice(acknowledgement);
    segment[12] = (TCP_HEADER as u8 / 4) << 4;
    segment[13] = tcp::RST | tcp::ACK;
    let checksum = !fold(sum(&segment) + pseudo_header(packet, TCP_HEADER));
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&segment);
    Some(out)
}

/// Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1): the same with ends exchanged.
fn pseudo_header(packet: &Packet, length: usize) -> u64 {
    let words = |address: &callgate_shared::Addr| -> u64 {
        let used = if packet.source.is_v4() { &address.0[3..] } else { &address.0[..] };
        used.iter().map(|word| sum(&word.to_ne_bytes())).sum()
    };
    words(&packet.source) + words(&packet.destination) + u64::from(packet.protocol) + length as u64
}

/// Sum of 16-bit big-endian words, an odd last byte padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>() + last
}

/// Folds carries into 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use callgate_shared::packet::parse;
    use etherparse::{PacketBuilder, SlicedPacket, TcpSlice, TransportSlice};

    use super::*;

    fn segment(v6: bool) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (from, to) = (40_000, 1720);
        let mut frame = Vec::new();
        let built = if v6 {
            let (source, destination) = ([0xfd; 16], [0xfe; 16]);
            link.ipv6(source, destination, 64).tcp(from, to, 1_000, 512).ack(77).write(&mut frame, b"setup")
        } else {
            link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
                .tcp(from, to, 1_000, 512)
                .ack(77)
                .write(&mut frame, b"setup")
        };
        built.expect("a packet of valid parts");
        frame
    }

    fn tcp_of(frame: &[u8]) -> (SlicedPacket<'_>, TcpSlice<'_>) {
        let sliced = SlicedPacket::from_ethernet(frame).expect("a valid frame");
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport.clone() else { panic!("not TCP") };
        (sliced, tcp)
    }

    #[test]
    fn a_right_checksum_is_told_from_a_wrong_one() {
        for v6 in [false, true] {
            let mut frame = segment(v6);
            let packet = parse(&frame.as_slice()).expect("valid");
            assert!(checksum_is_right(&frame, &packet), "IPv6: {v6}");
            *frame.last_mut().expect("bytes") ^= 1;
            assert!(!checksum_is_right(&frame, &packet), "IPv6: {v6}");
        }
    }

    #[test]
    fn resets_fit_the_connection_and_have_right_checksums() {
        for v6 in [false, true] {
            let frame = segment(v6);
            let packet = parse(&frame.as_slice()).expect("valid");
            let resets = resets(&frame, &packet).expect("a TCP segment");
            for (bytes, ports, numbers) in [
                (&resets.to_receiver, (40_000, 1720), (1_000, 77)),
                (&resets.to_sender, (1720, 40_000), (77, 1_005)),
            ] {
                let (_, tcp) = tcp_of(bytes);
                assert!(tcp.rst() && tcp.ack());
                assert_eq!((tcp.source_port(), tcp.destination_port()), ports);
                assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), numbers);
                let packet = parse(&bytes.as_slice()).expect("valid");
                assert!(checksum_is_right(bytes, &packet));
            }
            let (there, _) = tcp_of(&resets.to_receiver);
            let (back, _) = tcp_of(&resets.to_sender);
            assert_eq!(format!("{:?}", there.net).len(), format!("{:?}", back.net).len());
            assert_eq!(resets.to_sender[..6], frame[6..12]);
        }
    }

    #[test]
    fn a_reset_is_not_answered_by_a_reset() {
        let mut frame = segment(false);
        frame[14 + 20 + 13] |= tcp::RST;
        let packet = parse(&frame.as_slice()).expect("valid");
        assert_eq!(resets(&frame, &packet), None);
    }
}
