//! What the daemon does to frames itself: checks the checksum of what it is about to read, and writes resets and
//! refusals.

use std::net::IpAddr;

use callgate_alg::action::{Carrier, Denial};
use callgate_shared::flow::{TCP, UDP};
use callgate_shared::packet::{Fragment, Packet, tcp};

/// What is sent in place of a refused packet: frames without offload state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// To the packet's receiver, as if by its sender.
    pub to_receiver: Option<Vec<u8>>,
    /// To its sender, as if by the receiver.
    pub to_sender: Option<Vec<u8>>,
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

/// `flags` of a `virtio_net_hdr`: the checksum is the packet's own.
pub const UNCHECKED: u8 = 0;
/// The same: the checksum is not complete, and whoever sends the packet on completes it.
const NEEDS_CHECKSUM: u8 = 1;

/// A whole TCP segment, behind its `virtio_net_hdr`, with other octets in some places of its payload; `None` where it
/// has no such places.
pub fn patched(vnet: &[u8], frame: &[u8], packet: &Packet, patches: &[(usize, Vec<u8>)]) -> Option<Vec<u8>> {
    if packet.protocol != TCP || packet.fragment != Fragment::Whole {
        return None;
    }
    let (start, payload) = (usize::from(packet.transport_at), usize::from(packet.payload_at));
    let end = payload + usize::from(packet.payload_length);
    let mut out = frame.to_vec();
    for (at, octets) in patches {
        out.get_mut(payload..end)?.get_mut(*at..at + octets.len())?.copy_from_slice(octets);
    }
    // What is complete later covers the payload then.
    if vnet.first()? & NEEDS_CHECKSUM == 0 {
        let segment = out.get_mut(start..end)?;
        segment.get_mut(TCP_CHECKSUM)?.fill(0);
        let checksum = !fold(sum(segment) + pseudo_header(packet, segment.len()));
        segment.get_mut(TCP_CHECKSUM)?.copy_from_slice(&checksum.to_be_bytes());
    }
    Some([vnet, &out].concat())
}

/// Where a TCP header has its checksum.
const TCP_CHECKSUM: std::ops::Range<usize> = 16..18;

/// The resets that end a TCP segment's connection at both ends (RFC 9293 section 3.5.2); `None` for a frame
/// that is not a whole TCP segment.
pub fn resets(frame: &[u8], packet: &Packet) -> Option<Answers> {
    let segment = Segment::of(frame, packet)?;
    Some(Answers {
        to_receiver: segment.answer(Way::On, segment.sequence, segment.acknowledgement, None),
        to_sender: segment.answer(Way::Back, segment.acknowledgement, segment.beyond(), None),
    })
}

/// A packet's refusal in the protocol's own words. By TCP they are the last bytes of the connection, so that the
/// end that reads them reads its end behind them; an end that is told nothing gets a reset. `None` where the frame
/// is not a whole TCP segment or UDP datagram.
pub fn refusal(frame: &[u8], packet: &Packet, denial: &Denial) -> Option<Answers> {
    let (reply, notify) = (denial.reply.as_deref(), denial.notify.as_deref());
    if packet.protocol == UDP && packet.fragment == Fragment::Whole {
        let datagram = |way: Way, payload: Option<&[u8]>| datagram(frame, packet, way, payload?);
        return Some(Answers {
            to_receiver: datagram(Way::On, notify),
            to_sender: datagram(Way::Back, reply),
        });
    }
    let segment = Segment::of(frame, packet)?;
    let from = denial.sequence.unwrap_or(segment.acknowledgement);
    Some(Answers {
        to_receiver: segment.answer(Way::On, segment.sequence, segment.acknowledgement, notify),
        to_sender: segment.answer(Way::Back, from, segment.beyond(), reply),
    })
}

/// A packet's link-layer and IP headers, for what [`said`] says; `None` where they belong to no whole packet, and cannot
/// be made to.
pub fn head(frame: &[u8], packet: &Packet) -> Option<Box<[u8]>> {
    let mut head: Box<[u8]> = frame.get(..usize::from(packet.transport_at))?.into();
    if packet.fragment != Fragment::Whole {
        // Of IPv6 a header of its own would have to go.
        let field = usize::from(packet.network_at) + 6;
        head.get_mut(field..field + 2).filter(|_| packet.source.is_v4())?.fill(0);
    }
    Some(head)
}

/// Something of the firewall's own, as if `packet` (whose headers up to the transport's are `head`) carried it, or an
/// answer to it; ends are those of `packet`, not those of the head.
pub fn said(head: &[u8], packet: &Packet, on: bool, carrier: Carrier, payload: &[u8]) -> Option<Vec<u8>> {
    let mut head = head.to_vec();
    let network = usize::from(packet.network_at);
    let ends = [packet.source, packet.destination].map(IpAddr::from);
    // Address fields: RFC 791 section 3.1, RFC 8200 section 3.
    match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            let field = head.get_mut(network + 12..network + 20)?;
            field[..4].copy_from_slice(&source.octets());
            field[4..].copy_from_slice(&destination.octets());
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let field = head.get_mut(network + 8..network + 40)?;
            field[..16].copy_from_slice(&source.octets());
            field[16..].copy_from_slice(&destination.octets());
        }
        _ => return None,
    }
    let way = if on { Way::On } else { Way::Back };
    match carrier {
        Carrier::Datagram => datagram(&head, packet, way, payload),
        Carrier::LastSegment { sequence, acknowledgement } => {
            let segment = Segment { frame: &head, packet, sequence, acknowledgement };
            segment.answer(way, sequence, acknowledgement, Some(payload))
        }
    }
}

/// The PSH bit of a TCP header: to be handed to the application at once.
const PSH: u8 = 0x08;

/// Whose place a frame that is written here takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The packet's own.
    On,
    /// That of an answer to it.
    Back,
}

/// A whole TCP segment that is refused.
#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    frame: &'a [u8],
    packet: &'a Packet,
    sequence: u32,
    acknowledgement: u32,
}

impl<'a> Segment<'a> {
    fn of(frame: &'a [u8], packet: &'a Packet) -> Option<Self> {
        if packet.protocol != TCP || packet.fragment != Fragment::Whole || packet.tcp_flags & tcp::RST != 0 {
            return None;
        }
        let header = frame.get(usize::from(packet.transport_at)..)?.first_chunk::<20>()?;
        let number =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (sequence, acknowledgement) = (number(4), number(8));
        Some(Self { frame, packet, sequence, acknowledgement })
    }

    /// The number behind its last byte.
    fn beyond(&self) -> u32 {
        let length = u32::from(self.packet.payload_length)
            + u32::from(self.packet.tcp_flags & tcp::SYN != 0)
            + u32::from(self.packet.tcp_flags & tcp::FIN != 0);
        self.sequence.wrapping_add(length)
    }

    /// A segment in its place, or back: the last one with these words, a reset without.
    fn answer(&self, way: Way, sequence: u32, acknowledgement: u32, words: Option<&[u8]>) -> Option<Vec<u8>> {
        const HEADER: usize = 20;
        let mut segment = vec![0; HEADER];
        segment[..4].copy_from_slice(&ports(self.packet, way));
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        segment[12] = (HEADER as u8 / 4) << 4;
        segment[13] = tcp::ACK | if words.is_some() { PSH | tcp::FIN } else { tcp::RST };
        // A window that lets the other end say its own end.
        segment[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        segment.extend_from_slice(words.unwrap_or_default());
        whole(self.frame, self.packet, way, segment, 16)
    }
}

/// A datagram in the packet's place, or back (RFC 768); none as if from a group.
fn datagram(frame: &[u8], packet: &Packet, way: Way, payload: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 8;
    if way == Way::Back && IpAddr::from(packet.destination).is_multicast() {
        return None;
    }
    let length = u16::try_from(HEADER + payload.len()).ok()?;
    let mut datagram = vec![0; HEADER];
    datagram[..4].copy_from_slice(&ports(packet, way));
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(payload);
    whole(frame, packet, way, datagram, 6)
}

/// Source and destination port.
fn ports(packet: &Packet, way: Way) -> [u8; 4] {
    let [source, destination] = [packet.source_port, packet.destination_port].map(u16::to_be_bytes);
    match way {
        Way::On => [source[0], source[1], destination[0], destination[1]],
        Way::Back => [destination[0], destination[1], source[0], source[1]],
    }
}

/// Puts `transport`, whose checksum is at `checksum_at`, behind the frame's own Ethernet, VLAN and IP headers; ends
/// are exchanged on the way back.
fn whole(
    frame: &[u8],
    packet: &Packet,
    way: Way,
    mut transport: Vec<u8>,
    checksum_at: usize,
) -> Option<Vec<u8>> {
    /// Of an answer: what has come so far may have little left to live.
    const HOPS: u8 = 64;
    let (network, behind) = (usize::from(packet.network_at), usize::from(packet.transport_at));
    let mut out = frame.get(..behind)?.to_vec();
    let ip = out.get_mut(network..)?;
    let ip_length = u16::try_from(behind - network + transport.len()).ok()?;
    // Address fields: RFC 791 section 3.1, RFC 8200 section 3.
    let v4 = packet.source.is_v4();
    let (addresses, size) = if v4 { (12, 4) } else { (8, 16) };
    if v4 {
        ip[2..4].copy_from_slice(&ip_length.to_be_bytes());
        ip[10..12].fill(0);
    } else {
        ip[4..6].copy_from_slice(&ip_length.checked_sub(40)?.to_be_bytes());
    }
    if way == Way::Back {
        let (source, destination) = ip[addresses..addresses + 2 * size].split_at_mut(size);
        source.swap_with_slice(destination);
        ip[if v4 { 8 } else { 7 }] = HOPS;
    }
    if v4 {
        let checksum = !fold(sum(ip));
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    if way == Way::Back {
        let (to, from) = out.get_mut(..12)?.split_at_mut(6);
        to.swap_with_slice(from);
    }
    let mut checksum = !fold(sum(&transport) + pseudo_header(packet, transport.len()));
    if packet.protocol == UDP && checksum == 0 {
        // Zero would say that there is none (RFC 768).
        checksum = u16::MAX;
    }
    transport.get_mut(checksum_at..checksum_at + 2)?.copy_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&transport);
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
    use callgate_shared::Reason;
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
            let [to_receiver, to_sender] =
                [resets.to_receiver, resets.to_sender].map(|frame| frame.expect("a reset"));
            for (bytes, ports, numbers) in
                [(&to_receiver, (40_000, 1720), (1_000, 77)), (&to_sender, (1720, 40_000), (77, 1_005))]
            {
                let (_, tcp) = tcp_of(bytes);
                assert!(tcp.rst() && tcp.ack());
                assert_eq!((tcp.source_port(), tcp.destination_port()), ports);
                assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), numbers);
                let packet = parse(&bytes.as_slice()).expect("valid");
                assert!(checksum_is_right(bytes, &packet));
            }
            let (there, _) = tcp_of(&to_receiver);
            let (back, _) = tcp_of(&to_sender);
            assert_eq!(format!("{:?}", there.net).len(), format!("{:?}", back.net).len());
            assert_eq!(to_sender[..6], frame[6..12]);
        }
    }

    fn denial(reply: Option<&[u8]>, notify: Option<&[u8]>) -> Denial {
        let words = |words: Option<&[u8]>| words.map(<[u8]>::to_vec);
        Denial { reason: Reason::AlgRefused, reply: words(reply), notify: words(notify), sequence: None }
    }

    #[test]
    fn a_refusal_is_the_last_that_is_said_on_a_connection() {
        for v6 in [false, true] {
            let frame = segment(v6);
            let packet = parse(&frame.as_slice()).expect("valid");
            let denial = denial(Some(b"no"), None);
            let answers = refusal(&frame, &packet, &denial).expect("a TCP segment");
            let back = answers.to_sender.expect("a reply");
            let (_, tcp) = tcp_of(&back);
            assert!(tcp.fin() && tcp.ack() && tcp.psh() && !tcp.rst());
            assert_eq!((tcp.source_port(), tcp.destination_port()), (1720, 40_000));
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (77, 1_005));
            assert_eq!(tcp.payload(), b"no");
            assert_eq!((&back[..6], &back[6..12]), (&frame[6..12], &frame[..6]));
            assert!(checksum_is_right(&back, &parse(&back.as_slice()).expect("valid")), "IPv6: {v6}");
            // Its receiver has not seen anything yet: its half-open connection goes.
            let there = answers.to_receiver.expect("a reset");
            let (_, tcp) = tcp_of(&there);
            assert!(tcp.rst() && tcp.payload().is_empty());

            let later = Denial { sequence: Some(99), notify: Some(b"over".to_vec()), ..denial };
            let answers = refusal(&frame, &packet, &later).expect("a TCP segment");
            let [there, back] = [answers.to_receiver, answers.to_sender].map(|frame| frame.expect("words"));
            assert_eq!(tcp_of(&back).1.sequence_number(), 99);
            let (_, tcp) = tcp_of(&there);
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (1_000, 77));
            assert!(tcp.fin() && !tcp.rst());
            assert_eq!(tcp.payload(), b"over");
            assert!(checksum_is_right(&there, &parse(&there.as_slice()).expect("valid")), "IPv6: {v6}");
        }
    }

    #[test]
    fn a_payload_is_patched_and_the_checksum_is_right() {
        for v6 in [false, true] {
            let frame = segment(v6);
            let packet = parse(&frame.as_slice()).expect("valid");
            let patches = [(1, b"EN".to_vec()), (4, b"T".to_vec())];
            let out = patched(&[0, 7], &frame, &packet, &patches).expect("places");
            let (vnet, out) = out.split_at(2);
            assert_eq!((vnet, tcp_of(out).1.payload()), (&[0, 7][..], &b"sENuT"[..]));
            assert!(checksum_is_right(out, &parse(&out).expect("valid")), "IPv6: {v6}");
            // What is left to others stays as it is.
            let partial = patched(&[NEEDS_CHECKSUM, 7], &frame, &packet, &patches).expect("places");
            assert_eq!(tcp_of(&partial[2..]).1.checksum(), tcp_of(&frame).1.checksum());
            assert_eq!(patched(&[0], &frame, &packet, &[(4, b"TT".to_vec())]), None);
        }
    }

    fn datagram_to(destination: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let built = link.ipv4([10, 0, 0, 1], destination, 1).udp(30_000, 1_719).write(&mut frame, b"request");
        built.expect("a packet of valid parts");
        frame
    }

    #[test]
    fn a_datagram_is_refused_from_the_address_it_was_sent_to() {
        let frame = datagram_to([10, 0, 0, 2]);
        let packet = parse(&frame.as_slice()).expect("valid");
        let answers = refusal(&frame, &packet, &denial(Some(b"reject"), None)).expect("a datagram");
        assert_eq!(answers.to_receiver, None);
        let back = answers.to_sender.expect("a reply");
        let sliced = SlicedPacket::from_ethernet(&back).expect("a valid frame");
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("not UDP") };
        assert_eq!(
            (udp.source_port(), udp.destination_port(), udp.payload()),
            (1_719, 30_000, &b"reject"[..])
        );
        let parsed = parse(&back.as_slice()).expect("valid");
        assert_eq!((parsed.source, parsed.destination), (packet.destination, packet.source));
        assert!(checksum_is_right(&back, &parsed));
        assert_eq!(back[14 + 8], 64, "it has a way to go");
        // A confirmation that is refused tells whom it was for.
        let answers = refusal(&frame, &packet, &denial(None, Some(b"reject"))).expect("a datagram");
        let on = answers.to_receiver.expect("a notice");
        let parsed = parse(&on.as_slice()).expect("valid");
        assert_eq!((parsed.source, parsed.destination), (packet.source, packet.destination));
        assert!(checksum_is_right(&on, &parsed) && on.ends_with(b"reject"));
        assert_eq!(answers.to_sender, None);
    }

    #[test]
    fn nothing_is_answered_as_if_by_a_group() {
        let frame = datagram_to([224, 0, 1, 41]);
        let packet = parse(&frame.as_slice()).expect("valid");
        let answers = refusal(&frame, &packet, &denial(Some(b"reject"), None)).expect("a datagram");
        assert_eq!(answers, Answers::default());
    }

    #[test]
    fn a_reset_is_not_answered_by_a_reset() {
        let mut frame = segment(false);
        frame[14 + 20 + 13] |= tcp::RST;
        let packet = parse(&frame.as_slice()).expect("valid");
        assert_eq!(resets(&frame, &packet), None);
        assert_eq!(refusal(&frame, &packet, &denial(Some(b"no"), None)), None);
    }
}
