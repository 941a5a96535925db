//! IP packets made by hand, byte for byte, so that each can be wrong in just one way.

use std::net::IpAddr;

/// IP protocol numbers and IPv6 extension headers.
pub mod protocol {
    /// IPv6: hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6: routing.
    pub const ROUTING: u8 = 43;
    /// IPv6: fragment.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// TCP flags.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// Pushes data.
    pub const PSH: u8 = 0x08;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
    /// Points at urgent data.
    pub const URG: u8 = 0x20;
}

/// From whom to whom.
pub type Pair = (IpAddr, IpAddr);

/// Where an IPv4 datagram's piece belongs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece {
    /// The datagram's identification.
    pub id: u16,
    /// Bytes before it, a multiple of 8.
    pub offset: u16,
    /// More follow.
    pub more: bool,
}

/// An IPv4 packet with these options (a multiple of 4 bytes).
///
/// # Panics
/// When the addresses are not IPv4.
pub fn ipv4((from, to): Pair, protocol: u8, options: &[u8], piece: Piece, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { panic!("IPv4 addresses are needed") };
    let header = 20 + options.len();
    let field = piece.offset >> 3 | if piece.more { 0x2000 } else { 0 };
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend(piece.id.to_be_bytes());
    packet.extend(field.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet; `payload` begins with the header that `next` announces.
///
/// # Panics
/// When the addresses are not IPv6.
pub fn ipv6((from, to): Pair, next: u8, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { panic!("IPv6 addresses are needed") };
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// A plain packet of either family.
pub fn ip(pair: Pair, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match pair.0 {
        IpAddr::V4(_) => ipv4(pair, protocol, &[], Piece::default(), payload),
        IpAddr::V6(_) => ipv6(pair, protocol, payload),
    }
}

/// An IPv6 extension header of the common form, with `body` behind its first two bytes, filled up to 8.
pub fn extension(next: u8, body: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend(body);
    header.resize(header.len().next_multiple_of(8).max(8), 0);
    header[1] = (header.len() / 8 - 1) as u8;
    header
}

/// An IPv6 fragment header.
pub fn fragment_header(next: u8, reserved: u8, piece: Piece) -> Vec<u8> {
    let field = piece.offset | u16::from(piece.more);
    let mut header = vec![next, reserved];
    header.extend(field.to_be_bytes());
    header.extend(u32::from(piece.id).to_be_bytes());
    header
}

/// An authentication header of 24 bytes (RFC 4302).
pub fn authentication(next: u8) -> Vec<u8> {
    let mut header = vec![0; 24];
    header[0] = next;
    header[1] = 4;
    header
}

/// A datagram of UDP, with its checksum.
pub fn udp(pair: Pair, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [from.to_be_bytes(), to.to_be_bytes()].concat();
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    sealed(pair, protocol::UDP, datagram, 6)
}

/// A TCP header without options or data, with its checksum.
pub fn tcp(pair: Pair, from: u16, to: u16, flags: u8, sequence: u32) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    sealed(pair, protocol::TCP, segment, 16)
}

/// A whole packet that says, to the sender of `quoted`, that its time is exceeded.
pub fn time_exceeded(pair: Pair, quoted: &[u8]) -> Vec<u8> {
    let (protocol, kind) = match pair.0 {
        IpAddr::V4(_) => (protocol::ICMP, 11),
        IpAddr::V6(_) => (protocol::ICMPV6, 3),
    };
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let message = match pair.0 {
        IpAddr::V4(_) => {
            let sum = checksum(&message, 0);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            message
        }
        IpAddr::V6(_) => sealed(pair, protocol, message, 2),
    };
    ip(pair, protocol, &message)
}

/// Puts the checksum, with its pseudo-header, at `at`.
fn sealed((from, to): Pair, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let mut pseudo = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => Vec::new(),
    };
    pseudo.extend([0, protocol]);
    pseudo.extend((bytes.len() as u16).to_be_bytes());
    let first = !checksum(&pseudo, 0);
    let sum = checksum(&bytes, first);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// RFC 1071, beginning with the sum `first`.
fn checksum(bytes: &[u8], first: u16) -> u16 {
    let pairs =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum = u32::from(first) + pairs.sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;
    use crate::lab::Family;

    #[test]
    fn plain_packets_are_what_another_implementation_reads() {
        for family in [Family::V4, Family::V6] {
            let pair = (family.attacker(), family.call_manager(0));
            let packet = ip(pair, protocol::UDP, &udp(pair, 4_000, 5_000, b"odd"));
            let sliced = SlicedPacket::from_ip(&packet).expect("packet");
            let Some(TransportSlice::Udp(datagram)) = sliced.transport else { panic!("no UDP") };
            assert_eq!((datagram.source_port(), datagram.destination_port()), (4_000, 5_000));
            assert_eq!(datagram.payload(), b"odd");
            // Summed up with its own checksum, a datagram comes to nothing.
            let resealed = sealed(pair, protocol::UDP, udp(pair, 4_000, 5_000, b"odd"), 0);
            assert_eq!(resealed[..2], [0, 0], "{family:?}");
        }
    }
}
