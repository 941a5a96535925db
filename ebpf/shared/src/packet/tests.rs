//! Frames made by hand, one per rule of the parser; then etherparse as an independent reader.

use etherparse::err::packet::SliceError;
use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanId,
};
use proptest::prelude::*;

use super::*;

const V4: u16 = 0x0800;
const V6: u16 = 0x86dd;
const SOURCE4: [u8; 4] = [192, 0, 2, 1];
const DESTINATION4: [u8; 4] = [198, 51, 100, 7];
const SOURCE6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const DESTINATION6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

/// Read twice: into a new packet, and into one that another packet has left, as the kernel half does.
fn parsed(frame: &[u8]) -> Result<Packet, Reason> {
    let new = parse(&frame);
    let mut used = used();
    let result = parse_into(&frame, &mut used).map(|()| {
        if used.quoted.protocol == 0 {
            used.quoted = Quoted::default();
        }
        if used.kind == Kind::Link {
            used.forget_addresses();
        }
        used
    });
    assert_eq!(result, new, "after another packet");
    new
}

/// What an ICMP error leaves, with something in every field.
fn used() -> Packet {
    let address = Addr([1, 2, 3, 4]);
    Packet {
        kind: Kind::Ip,
        fragment: Fragment::Later,
        protocol: 1,
        tcp_flags: 2,
        icmp_type: 3,
        icmp_code: 4,
        hop_limit: 5,
        traffic_class: 6,
        source: address,
        destination: address,
        source_port: 7,
        destination_port: 8,
        vlan: 9,
        length: 10,
        identification: 11,
        network_at: 12,
        transport_at: 13,
        payload_at: 14,
        payload_length: 15,
        payload_head: 16,
        rtp_faults: 16,
        payload_start: [16; 3],
        link: LinkProtocol::Other,
        window_scale: 17,
        window: 18,
        sequence: 19,
        acknowledgment: 20,
        fragment_offset: 21,
        fragment_length: 22,
        quoted: Quoted {
            source: address,
            destination: address,
            source_port: 23,
            destination_port: 24,
            protocol: 17,
        },
    }
}

fn accepted(frame: &[u8]) -> Packet {
    parsed(frame).expect("a packet")
}

fn ethernet(ether_type: u16, body: &[u8]) -> Vec<u8> {
    to_station([2, 0, 0, 0, 0, 2], ether_type, body)
}

fn to_station(station: [u8; 6], ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&station, &[2, 0, 0, 0, 0, 1], &ether_type.to_be_bytes()[..], body].concat()
}

fn tag(id: u16, ether_type: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), &ether_type.to_be_bytes()[..], body].concat()
}

/// An IPv4 packet; `fragment` is the field of flags and offset, `options` are whole words.
fn v4_with(protocol: u8, fragment: u16, options: &[u8], body: &[u8]) -> Vec<u8> {
    let words = 5 + u8::try_from(options.len() / 4).expect("short");
    let total = u16::try_from(20 + options.len() + body.len()).expect("short").to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut packet = vec![0x40 | words, 0xb8, total[0], total[1], 0x12, 0x34, fragment[0], fragment[1]];
    packet.extend([61, protocol, 0, 0]);
    packet.extend(SOURCE4);
    packet.extend(DESTINATION4);
    packet.extend(options);
    packet.extend(body);
    packet
}

fn v4(protocol: u8, body: &[u8]) -> Vec<u8> {
    ethernet(V4, &v4_with(protocol, 0, &[], body))
}

fn v6(next: u8, body: &[u8]) -> Vec<u8> {
    v6_between(SOURCE6, DESTINATION6, next, body)
}

fn v6_between(source: [u8; 16], destination: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    let mut packet = vec![0x6b, 0x80, 0, 0, length[0], length[1], next, 62];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(body);
    ethernet(V6, &packet)
}

fn udp(payload: &[u8]) -> Vec<u8> {
    udp_claiming(u16::try_from(8 + payload.len()).expect("short"), payload)
}

fn udp_claiming(length: u16, payload: &[u8]) -> Vec<u8> {
    [&5060_u16.to_be_bytes(), &16_400_u16.to_be_bytes(), &length.to_be_bytes(), &[0, 0][..], payload].concat()
}

/// A TCP segment whose header claims `words` words.
fn tcp_claiming(words: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut segment = vec![0xc3, 0x50, 0x06, 0xb8, 0, 0, 0, 1, 0, 0, 0, 2, words << 4, flags];
    segment.extend([1, 0, 0, 0, 0, 0]);
    segment.extend(rest);
    segment
}

/// An extension header of `8 + 8 × units` bytes.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0; 8 + 8 * usize::from(units)];
    // The third byte is a routing header's type, where 0 is source routing.
    (header[0], header[1], header[2]) = (next, units, 4);
    header
}

/// An Authentication header of `12 + 4 × words` bytes (RFC 4302 section 2).
fn authentication(next: u8, words: u8) -> Vec<u8> {
    let mut header = vec![0xaa; 12 + 4 * usize::from(words)];
    (header[0], header[1]) = (next, 1 + words);
    header
}

/// A Fragment header; `reserved` is what a sender must leave zero and a receiver ignore.
fn fragment_header(next: u8, reserved: u8, field: u16) -> Vec<u8> {
    let field = field.to_be_bytes();
    vec![next, reserved, field[0], field[1], 0xde, 0xad, 0xbe, 0xef]
}

fn address4(octets: [u8; 4]) -> Addr {
    Addr::from_v4_word(u32::from_ne_bytes(octets))
}

fn address6(octets: [u8; 16]) -> Addr {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Addr(words)
}

/// Every prefix of the frame is refused, and nothing but its length is to blame.
fn every_truncation_is_refused(frame: &[u8]) {
    accepted(frame);
    for length in 0..frame.len() {
        assert_eq!(parsed(&frame[..length]), Err(Reason::Truncated), "{length} of {} bytes", frame.len());
    }
}

#[test]
fn every_field_of_an_ipv4_datagram_is_read() {
    let expected = Packet {
        kind: Kind::Ip,
        fragment: Fragment::Whole,
        protocol: UDP,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 61,
        traffic_class: 0xb8,
        source: address4(SOURCE4),
        destination: address4(DESTINATION4),
        source_port: 5060,
        destination_port: 16_400,
        vlan: 0,
        length: 33,
        identification: 0x1234,
        network_at: 14,
        transport_at: 34,
        payload_at: 42,
        payload_length: 5,
        payload_head: 0,
        rtp_faults: 0,
        payload_start: [u32::from_ne_bytes(*b"hell"), 0, 0],
        link: LinkProtocol::Arp,
        window_scale: 0,
        window: 0,
        sequence: 0,
        acknowledgment: 0,
        fragment_offset: 0,
        fragment_length: 13,
        quoted: Quoted::default(),
    };
    assert_eq!(parsed(&v4(UDP, &udp(b"hello"))), Ok(expected));
}

#[test]
fn every_field_of_an_ipv6_segment_is_read() {
    let expected = Packet {
        kind: Kind::Ip,
        fragment: Fragment::Whole,
        protocol: TCP,
        tcp_flags: tcp::SYN,
        icmp_type: 0,
        icmp_code: 0,
        hop_limit: 62,
        traffic_class: 0xb8,
        source: address6(SOURCE6),
        destination: address6(DESTINATION6),
        source_port: 50_000,
        destination_port: 1_720,
        vlan: 0,
        length: 40 + 24 + 3,
        identification: 0,
        network_at: 14,
        transport_at: 54,
        payload_at: 78,
        payload_length: 3,
        payload_head: 0,
        rtp_faults: 0,
        payload_start: [0; 3],
        link: LinkProtocol::Arp,
        window_scale: NO_SCALE,
        window: 256,
        sequence: 1,
        acknowledgment: 2,
        fragment_offset: 0,
        fragment_length: 27,
        quoted: Quoted::default(),
    };
    assert_eq!(parsed(&v6(TCP, &tcp_claiming(6, tcp::SYN, b"\x02\x04\x05\xb4abc"))), Ok(expected));
}

#[test]
fn source_routes_are_refused_and_so_are_options_that_cannot_be() {
    let with = |options: &[u8]| {
        let mut frame = v4(UDP, &udp(b"hello"));
        frame[14] = 0x45 + options.len() as u8 / 4;
        frame[17] += options.len() as u8;
        frame.splice(34..34, options.iter().copied());
        parsed(&frame).map(|packet| packet.destination_port)
    };
    assert_eq!(with(&[148, 4, 0, 0]), Ok(16_400), "router alert");
    assert_eq!(with(&[1, 1, 0, 131]), Ok(16_400), "behind the end");
    assert_eq!(with(&[131, 3, 4, 0]), Err(Reason::SourceRoute), "loose");
    assert_eq!(with(&[1, 137, 3, 4]), Err(Reason::SourceRoute), "strict");
    assert_eq!(with(&[7, 40, 4, 0]), Err(Reason::BadOptions));

    let routing = |kind: u8| {
        let mut header = extension(UDP, 0);
        header[2] = kind;
        parsed(&v6(43, &[header, udp(b"x")].concat())).map(|packet| packet.destination_port)
    };
    assert_eq!(routing(0), Err(Reason::SourceRoute), "RFC 5095");
    assert_eq!(routing(2), Ok(16_400), "mobility");
}

#[test]
fn a_syn_tells_its_window_scale() {
    let scale = |words: u8, options: &[u8]| {
        parsed(&v4(TCP, &tcp_claiming(words, tcp::SYN, options))).map(|packet| packet.window_scale)
    };
    assert_eq!(scale(5, b""), Ok(NO_SCALE));
    assert_eq!(scale(7, &[2, 4, 5, 180, 1, 3, 3, 9]), Ok(9));
    assert_eq!(scale(6, &[1, 1, 3, 2]), Ok(NO_SCALE), "of a wrong length");
    assert_eq!(scale(6, &[8, 10, 0, 0]), Err(Reason::BadOptions));
    // Options are looked for in a SYN only.
    assert!(parsed(&v4(TCP, &tcp_claiming(6, tcp::ACK, &[8, 10, 0, 0]))).is_ok());
}

#[test]
fn an_icmp_error_tells_what_it_speaks_of() {
    let quoted = &v4(UDP, &udp(b""))[14..];
    let about = |kind: u8, quoted: &[u8]| {
        parsed(&v4(ICMP, &[&[kind, 3, 0, 0, 0, 0, 0, 0], quoted].concat())).map(|packet| packet.quoted)
    };
    let expected = Quoted {
        source: address4(SOURCE4),
        destination: address4(DESTINATION4),
        source_port: 5060,
        destination_port: 16_400,
        protocol: UDP,
    };
    for kind in [3, 4, 11, 12] {
        assert_eq!(about(kind, quoted), Ok(expected), "type {kind}");
    }
    assert_eq!(about(8, quoted), Ok(Quoted::default()), "an echo quotes nothing");
    let nobody = Quoted { protocol: 255, ..Quoted::default() };
    assert_eq!(about(3, &quoted[..27]), Ok(nobody), "too short");
    let mut later = quoted.to_vec();
    later[7] = 1;
    assert_eq!(about(3, &later), Ok(nobody), "a later fragment has no ports");

    let quoted = &v6(TCP, &tcp_claiming(5, tcp::ACK, b""))[14..];
    let error = parsed(&v6(ICMPV6, &[&[1, 1, 0, 0, 0, 0, 0, 0], quoted].concat())).expect("an error");
    assert_eq!((error.quoted.protocol, error.quoted.destination_port), (TCP, 1_720));
    assert_eq!(error.quoted.source, address6(SOURCE6));
}

#[test]
fn extension_headers_of_a_quoted_packet_are_skipped() {
    let tcp = tcp_claiming(5, tcp::ACK, b"");
    let about = |next: u8, headers: &[Vec<u8>]| {
        let quoted = &v6(next, &[headers.concat(), tcp.clone()].concat())[14..];
        let error = v6(ICMPV6, &[&[1, 1, 0, 0, 0, 0, 0, 0], quoted].concat());
        let quoted = parsed(&error).expect("an error").quoted;
        (quoted.protocol, quoted.destination_port)
    };
    assert_eq!(about(44, &[fragment_header(TCP, 0xff, 0)]), (TCP, 1_720), "an atomic fragment");
    assert_eq!(about(0, &[extension(60, 1), extension(51, 0), authentication(TCP, 3)]), (TCP, 1_720));
    assert_eq!(about(44, &[fragment_header(TCP, 0, 8)]), (255, 0), "a later fragment has no ports");
    let four = [extension(60, 0), extension(60, 0), extension(60, 0), extension(TCP, 0)];
    assert_eq!(about(0, &four), (255, 0), "more than anybody sends");
}

#[test]
fn the_head_of_a_datagrams_payload_is_told() {
    let head = |payload: &[u8]| parsed(&v4(UDP, &udp(payload))).expect("a datagram").payload_head;
    assert_eq!(head(&[0x80, 0, 0, 0, 0, 0, 0, 0]), 0x80);
    assert_eq!(head(&[0x80, 0, 0, 0, 0, 0, 0]), 0, "too short for RTP and RTCP");
    assert_eq!(head(b""), 0);
}

#[test]
fn link_protocols_are_told_apart() {
    let of = |station: [u8; 6], ether_type: [u8; 2]| {
        parsed(&[&station[..], &[2, 0, 0, 0, 0, 1], &ether_type, &[0; 46]].concat()).map(|packet| packet.link)
    };
    assert_eq!(of([1, 0, 0x0c, 0xcc, 0xcc, 0xcc], [0, 46]), Ok(LinkProtocol::Cdp));
    assert_eq!(of([1, 0, 0x0c, 0xcc, 0xcc, 0xcd], [0, 46]), Ok(LinkProtocol::Other), "PVST+");
    assert_eq!(of([1, 0x80, 0xc2, 0, 0, 0x0e], [0x88, 0xcc]), Ok(LinkProtocol::Lldp));
    assert_eq!(of([1, 0x80, 0xc2, 0, 0, 0], [0, 38]), Ok(LinkProtocol::Other), "STP");
    assert_eq!(of([2; 6], [0x88, 0xcc]), Err(Reason::EtherType), "not to its own station");
}

/// A header of more than 20 bytes moves the ports; reading them at a fixed place is an old mistake.
#[test]
fn ipv4_options_are_skipped() {
    for words in 0..=10_u16 {
        // Options that look like ports to a parser that does not skip them.
        let options: Vec<u8> = (0..words).flat_map(|_| [0x50, 4, 0x50, 0x50]).collect();
        let packet = accepted(&ethernet(V4, &v4_with(UDP, 0, &options, &udp(b"x"))));
        assert_eq!((packet.source_port, packet.destination_port), (5060, 16_400));
        assert_eq!((packet.transport_at, packet.payload_at), (34 + words * 4, 42 + words * 4));
    }
}

#[test]
fn an_ipv4_header_that_contradicts_itself_is_refused() {
    let right = v4_with(UDP, 0, &[], &udp(b"hello"));
    let with = |at: usize, byte: u8| {
        let mut packet = right.clone();
        packet[at] = byte;
        parsed(&ethernet(V4, &packet))
    };
    assert_eq!(with(0, 0x44), Err(Reason::BadIpv4), "a header of 16 bytes");
    assert_eq!(with(0, 0x65), Err(Reason::BadIpv4), "another version");
    assert_eq!(with(3, 19), Err(Reason::BadIpv4), "shorter than its header");
    assert_eq!(with(3, 34), Err(Reason::Truncated), "longer than the frame");
    assert_eq!(with(0, 0x4f), Err(Reason::BadIpv4), "options beyond the packet");
}

#[test]
fn truncations_at_every_length_are_refused() {
    every_truncation_is_refused(&v4(UDP, &udp(b"hello")));
    every_truncation_is_refused(&v4(TCP, &tcp_claiming(6, tcp::ACK, b"\x01\x01\x01\x00data")));
    every_truncation_is_refused(&v4(ICMP, &[8, 0, 0, 0, 0, 1, 0, 1]));
    every_truncation_is_refused(&ethernet(V4, &v4_with(UDP, 0, &[1; 40], &udp(b""))));
    every_truncation_is_refused(&ethernet(
        0x88a8,
        &tag(5, 0x8100, &tag(6, V4, &v4_with(UDP, 0, &[], &udp(b"")))),
    ));
    let chain =
        [extension(FRAGMENT, 1), fragment_header(AUTHENTICATION, 9, 0), authentication(UDP, 3), udp(b"x")];
    every_truncation_is_refused(&v6(HOP_BY_HOP, &chain.concat()));
}

/// The packet says how long it is; a header that reaches beyond it may find bytes in the frame all the same.
#[test]
fn a_transport_header_cut_off_by_the_packet_is_refused() {
    for (protocol, least) in [(TCP, 20), (UDP, 8), (ICMP, 8), (ICMPV6, 8)] {
        for length in 0..least {
            let mut frame = v4(protocol, &vec![0x50; length]);
            frame.extend([0x50; 40]);
            assert_eq!(parsed(&frame), Err(Reason::Truncated), "protocol {protocol}, {length} bytes");
        }
    }
    assert_eq!(accepted(&v4(132, &[])).protocol, 132, "SCTP has no header of ours to cut off");
}

#[test]
fn padding_behind_the_packet_is_no_part_of_it() {
    for (frame, length) in [(v4(UDP, &udp(b"hi")), 30), (v6(UDP, &udp(b"hi")), 50)] {
        let padded = [&frame[..], &[0xee; 60]].concat();
        assert_eq!(parsed(&padded), parsed(&frame));
        let packet = accepted(&padded);
        assert_eq!((packet.length, packet.payload_length), (length, 2));
    }
}

#[test]
fn a_jumbo_frame_is_read_whole() {
    let payload = vec![7; 8_972];
    let packet = accepted(&v4(UDP, &udp(&payload)));
    assert_eq!((packet.length, packet.payload_length), (9_000, 8_972));
    let largest = vec![7; 65_507];
    let packet = accepted(&v4(UDP, &udp(&largest)));
    assert_eq!((packet.length, packet.payload_length), (65_535, 65_507));
}

/// An IPv6 jumbogram (RFC 2675) says 0 and means more: no link we serve carries one.
#[test]
fn an_ipv6_jumbogram_is_refused() {
    let mut frame = v6(HOP_BY_HOP, &[extension(UDP, 0), udp(b"x")].concat());
    frame[14 + 4..14 + 6].copy_from_slice(&[0, 0]);
    assert_eq!(parsed(&frame), Err(Reason::Ipv6Extensions));
}

#[test]
fn up_to_two_vlan_tags_are_skipped_and_the_outer_one_told() {
    let packet = v4_with(UDP, 0, &[], &udp(b"x"));
    let one = accepted(&ethernet(0x8100, &tag(0xe064, V4, &packet)));
    assert_eq!(
        (one.vlan, one.network_at, one.destination_port),
        (100, 18, 16_400),
        "priority bits are no id"
    );
    let two = accepted(&ethernet(0x88a8, &tag(200, 0x8100, &tag(100, V4, &packet))));
    assert_eq!((two.vlan, two.network_at, two.destination_port), (200, 22, 16_400));
    let stacked = accepted(&ethernet(0x8100, &tag(1, 0x8100, &tag(2, V4, &packet))));
    assert_eq!((stacked.vlan, stacked.network_at), (1, 22));
    let arp = accepted(&ethernet(0x8100, &tag(7, 0x0806, &[0; 28])));
    assert_eq!((arp.kind, arp.vlan), (Kind::Link, 7));
}

#[test]
fn three_vlan_tags_are_refused() {
    let packet = v4_with(UDP, 0, &[], &udp(b"x"));
    let frame = ethernet(0x88a8, &tag(1, 0x88a8, &tag(2, 0x8100, &tag(3, V4, &packet))));
    assert_eq!(parsed(&frame), Err(Reason::VlanDepth));
}

#[test]
fn what_is_neither_ip_nor_known_to_the_link_is_refused() {
    for ether_type in [0x88cc_u16, 0x888e, 0x8847, 0x8863, 0x9100, 0x0026] {
        assert_eq!(parsed(&ethernet(ether_type, &[0; 46])), Err(Reason::EtherType), "{ether_type:#x}");
    }
    assert_eq!(parsed(&ethernet(0x8100, &tag(1, 0x8847, &[0; 46]))), Err(Reason::EtherType));
}

#[test]
fn protocols_that_never_leave_the_link_pass_the_parser() {
    let lldp = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
    for (station, ether_type) in [
        (lldp, 0x88cc_u16),
        ([0x01, 0x80, 0xc2, 0, 0, 0x00], 0x0026),
        ([0x01, 0x80, 0xc2, 0, 0, 0x02], 0x8809),
        ([0x01, 0x80, 0xc2, 0, 0, 0x03], 0x888e),
        ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc], 0x0100),
        ([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd], 0x0032),
    ] {
        assert_eq!(accepted(&to_station(station, ether_type, &[0; 46])).kind, Kind::Link, "{station:x?}");
    }
    let tagged = to_station(lldp, 0x8100, &tag(3, 0x88cc, &[0; 46]));
    assert_eq!((accepted(&tagged).kind, accepted(&tagged).vlan), (Kind::Link, 3));
    for station in [[0x01, 0x80, 0xc2, 0, 0, 0x10], [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xce]] {
        assert_eq!(parsed(&to_station(station, 0x88cc, &[0; 46])), Err(Reason::EtherType), "{station:x?}");
    }
}

/// A stack delivers a datagram to a multicast station's address like any other: were it taken for a link
/// protocol, everything could be sent past the rules.
#[test]
fn ip_sent_to_a_link_protocols_station_is_still_ip() {
    let packet = v4_with(UDP, 0, &[], &udp(b"x"));
    for station in [[0x01, 0x80, 0xc2, 0, 0, 0x0e], [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc]] {
        let plain = accepted(&to_station(station, V4, &packet));
        assert_eq!((plain.kind, plain.destination_port), (Kind::Ip, 16_400));
        let tagged = accepted(&to_station(station, 0x8100, &tag(1, V4, &packet)));
        assert_eq!((tagged.kind, tagged.destination_port), (Kind::Ip, 16_400));
        let sixth = accepted(&[&station, &v6(UDP, &udp(b"x"))[6..]].concat());
        assert_eq!((sixth.kind, sixth.destination_port), (Kind::Ip, 16_400));
    }
}

#[test]
fn ipv4_fragments_are_told_apart() {
    let fragment = |field: u16, body: &[u8]| parsed(&ethernet(V4, &v4_with(UDP, field, &[], body)));
    let do_not = fragment(0x4000, &udp(b"x")).expect("a packet");
    assert_eq!(do_not.fragment, Fragment::Whole, "don't-fragment makes no fragment");
    let first = fragment(0x2000, &udp(b"eightmor")).expect("a packet");
    assert_eq!((first.fragment, first.destination_port), (Fragment::First, 16_400));
    assert_eq!(first.identification, 0x1234);
    for field in [0x2001, 0x0001, 0x1000, 0x1fff, 0x3fff] {
        let later = fragment(field, &udp(b"eightmor")).expect("a packet");
        assert_eq!(later.fragment, Fragment::Later, "{field:#x}");
        assert_eq!((later.source_port, later.destination_port), (0, 0), "a later fragment has no ports");
        assert_eq!((later.transport_at, later.payload_at, later.payload_length), (34, 34, 16));
    }
    assert_eq!(
        fragment(0x00b9, b"1").map(|later| later.fragment),
        Ok(Fragment::Later),
        "as short as it likes"
    );
}

#[test]
fn a_first_fragment_too_short_for_its_header_is_refused() {
    for (protocol, least) in [(TCP, 20), (UDP, 8), (ICMP, 8)] {
        for length in 0..least {
            let body = vec![0x50; length];
            let frame = ethernet(V4, &v4_with(protocol, 0x2000, &[], &body));
            assert_eq!(parsed(&frame), Err(Reason::TinyFragment), "protocol {protocol}, {length} bytes");
            let frame = v6(FRAGMENT, &[fragment_header(protocol, 0, 1), body].concat());
            assert_eq!(
                parsed(&frame),
                Err(Reason::TinyFragment),
                "IPv6, protocol {protocol}, {length} bytes"
            );
        }
    }
    let options_cut = ethernet(V4, &v4_with(TCP, 0x2000, &[], &tcp_claiming(8, tcp::SYN, &[1, 1, 1, 1])));
    assert_eq!(parsed(&options_cut), Err(Reason::BadTcp));
}

/// The first fragment of a datagram holds less than the datagram's UDP length says.
#[test]
fn the_udp_length_of_a_first_fragment_is_the_whole_datagrams() {
    let frame = ethernet(V4, &v4_with(UDP, 0x2000, &[], &udp_claiming(4_000, &[1; 16])));
    assert_eq!(accepted(&frame).payload_length, 16);
}

#[test]
fn udp_lengths_bound_the_payload() {
    let with = |claimed: u16, payload: &[u8]| parsed(&v4(UDP, &udp_claiming(claimed, payload)));
    assert_eq!(
        with(11, b"hello").map(|packet| packet.payload_length),
        Ok(3),
        "the rest is not the datagram's"
    );
    assert_eq!(with(8, b"hello").map(|packet| packet.payload_length), Ok(0));
    for claimed in [0, 7, 14, u16::MAX] {
        assert_eq!(with(claimed, b"hello"), Err(Reason::BadUdp), "{claimed}");
    }
}

#[test]
fn tcp_header_lengths_bound_the_payload() {
    let with = |words: u8, rest: &[u8]| parsed(&v4(TCP, &tcp_claiming(words, tcp::ACK, rest)));
    for (words, payload) in [(5, 8), (6, 4), (7, 0)] {
        let packet = with(words, &[1; 8]).expect("a segment");
        assert_eq!((packet.payload_at, packet.payload_length), (34 + 4 * u16::from(words), payload));
    }
    for words in [0, 4, 8, 15] {
        assert_eq!(with(words, &[1; 8]), Err(Reason::BadTcp), "{words} words");
    }
}

#[test]
fn tcp_flags_are_read_as_they_are() {
    for flags in 0..=u8::MAX {
        assert_eq!(accepted(&v4(TCP, &tcp_claiming(5, flags, &[]))).tcp_flags, flags);
    }
}

#[test]
fn an_echo_has_its_identifier_for_ports_and_other_icmp_has_none() {
    for (protocol, icmp_type, identifier) in [
        (ICMP, 8, 0x1234),
        (ICMP, 0, 0x1234),
        (ICMPV6, 128, 0x1234),
        (ICMPV6, 129, 0x1234),
        (ICMP, 3, 0),
        (ICMP, 5, 0),
        (ICMPV6, 1, 0),
    ] {
        let body = [icmp_type, 4, 0, 0, 0x12, 0x34, 0, 1, 9];
        let frame = if protocol == ICMP { v4(protocol, &body) } else { v6(protocol, &body) };
        let packet = accepted(&frame);
        assert_eq!((packet.icmp_type, packet.icmp_code), (icmp_type, 4));
        assert_eq!(
            (packet.source_port, packet.destination_port),
            (identifier, identifier),
            "type {icmp_type}"
        );
        assert_eq!(packet.payload_length, 1);
    }
}

#[test]
fn ipv6_extension_headers_are_skipped_by_their_own_lengths() {
    for units in [0, 1, 4, 31] {
        for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
            let packet = accepted(&v6(kind, &[extension(UDP, units), udp(b"x")].concat()));
            assert_eq!((packet.protocol, packet.destination_port), (UDP, 16_400), "{kind}, {units} units");
            assert_eq!(packet.transport_at, 54 + 8 + 8 * u16::from(units));
        }
    }
}

/// The length of an Authentication header is in words, and two less: all others count in units of eight bytes.
#[test]
fn an_authentication_header_is_skipped_wherever_it_stands() {
    for words in [0, 1, 3, 8] {
        let orders = [
            (AUTHENTICATION, [authentication(UDP, words), udp(b"x")].concat()),
            (
                AUTHENTICATION,
                [authentication(DESTINATION_OPTIONS, words), extension(UDP, 1), udp(b"x")].concat(),
            ),
            (HOP_BY_HOP, [extension(AUTHENTICATION, 0), authentication(UDP, words), udp(b"x")].concat()),
            (
                FRAGMENT,
                [fragment_header(AUTHENTICATION, 0, 0), authentication(UDP, words), udp(b"x")].concat(),
            ),
        ];
        for (next, body) in orders {
            let packet = accepted(&v6(next, &body));
            assert_eq!((packet.protocol, packet.source_port, packet.destination_port), (UDP, 5060, 16_400));
            assert_eq!(usize::from(packet.transport_at), 54 + body.len() - 9);
        }
    }
}

/// The second byte of a Fragment header is reserved: a parser that took it for a length would read the ports
/// from the payload, where the sender can write what the rules permit.
#[test]
fn the_reserved_byte_of_a_fragment_header_is_no_length() {
    for reserved in 0..=u8::MAX {
        let first = accepted(&v6(FRAGMENT, &[fragment_header(UDP, reserved, 1), udp(&[0x55; 24])].concat()));
        assert_eq!((first.fragment, first.destination_port), (Fragment::First, 16_400));
        assert_eq!((first.transport_at, first.identification.to_ne_bytes()), (62, [0xde, 0xad, 0xbe, 0xef]));
    }
}

#[test]
fn ipv6_fragments_are_told_apart() {
    let read = |field: u16| accepted(&v6(FRAGMENT, &[fragment_header(UDP, 0, field), udp(&[0; 8])].concat()));
    assert_eq!(read(0).fragment, Fragment::Whole, "an atomic fragment");
    assert_eq!(read(6).fragment, Fragment::Whole, "reserved bits are ignored");
    assert_eq!(read(1).fragment, Fragment::First);
    for field in [8, 9, 0xfff8, 0xfff9] {
        let later = read(field);
        assert_eq!(
            (later.fragment, later.source_port, later.destination_port),
            (Fragment::Later, 0, 0),
            "{field:#x}"
        );
        assert_eq!((later.transport_at, later.payload_length), (62, 16));
    }
    let data = [fragment_header(DESTINATION_OPTIONS, 0, 8), vec![0xff; 16]].concat();
    let later = accepted(&v6(FRAGMENT, &data));
    assert_eq!((later.protocol, later.transport_at), (DESTINATION_OPTIONS, 62), "data, not a header");
}

#[test]
fn six_extension_headers_are_read_and_a_seventh_is_refused() {
    let chain = |count: usize| {
        let mut body = extension(DESTINATION_OPTIONS, 0).repeat(count - 1);
        body.extend(extension(UDP, 0));
        body.extend(udp(b"x"));
        parsed(&v6(DESTINATION_OPTIONS, &body))
    };
    assert_eq!(chain(6).map(|packet| packet.destination_port), Ok(16_400));
    assert_eq!(chain(7), Err(Reason::Ipv6Extensions));
}

#[test]
fn an_extension_header_beyond_the_packet_is_refused() {
    for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
        let mut frame = v6(kind, &extension(UDP, 1)[..8]);
        frame.extend([0; 64]);
        assert_eq!(parsed(&frame), Err(Reason::Ipv6Extensions), "longer than the packet: {kind}");
        let mut frame = v6(kind, &[]);
        frame.extend(extension(UDP, 0));
        frame.extend(udp(b"x"));
        assert_eq!(parsed(&frame), Err(Reason::Ipv6Extensions), "in the padding: {kind}");
    }
    let packet = accepted(&v6(NO_NEXT_HEADER, b"ignored"));
    assert_eq!((packet.protocol, packet.payload_length), (NO_NEXT_HEADER, 7));
}

#[test]
fn an_ipv6_header_that_contradicts_the_frame_is_refused() {
    let mut frame = v6(UDP, &udp(b"x"));
    frame[14] = 0x4b;
    assert_eq!(parsed(&frame), Err(Reason::BadIpv6));
    let mut frame = v6(UDP, &udp(b"x"));
    frame[14 + 5] += 1;
    assert_eq!(parsed(&frame), Err(Reason::Truncated));
}

/// `::ffff:a.b.c.d` on the wire would be judged as the IPv4 host it names.
#[test]
fn mapped_addresses_on_the_wire_are_refused() {
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    for (source, destination) in [(mapped, DESTINATION6), (SOURCE6, mapped)] {
        assert_eq!(parsed(&v6_between(source, destination, UDP, &udp(b"x"))), Err(Reason::MappedAddress));
    }
    let mut compatible = mapped;
    compatible[10..12].copy_from_slice(&[0, 0]);
    let packet = accepted(&v6_between(compatible, DESTINATION6, UDP, &udp(b"x")));
    assert!(!packet.source.is_v4());
}

// --- etherparse as the oracle --------------------------------------------------------------------------------

/// What a frame is built from.
#[derive(Clone, Debug)]
struct Shape {
    tags: Vec<u16>,
    ip: Ip,
    transport: Transport,
    ports: (u16, u16),
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Ip {
    V4 { source: [u8; 4], destination: [u8; 4], options: Vec<u8>, fragment: (u16, bool) },
    V6 { source: [u8; 16], destination: [u8; 16], extensions: [Option<u8>; 3], fragment: Option<(u16, bool)> },
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp,
    Tcp,
    Icmp,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let fragment = || prop_oneof![3 => Just((0, false)), 1 => (0_u16..0x2000, any::<bool>())];
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), 0_usize..=10, fragment()).prop_map(
        |(source, destination, words, fragment)| Ip::V4 {
            source,
            destination,
            options: vec![1; words * 4],
            fragment,
        },
    );
    let extensions = prop::array::uniform3(prop::option::of(0_u8..4));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>(), extensions, prop::option::of(fragment())).prop_map(
        |(source, destination, extensions, fragment)| Ip::V6 { source, destination, extensions, fragment },
    );
    let transport = prop_oneof![Just(Transport::Udp), Just(Transport::Tcp), Just(Transport::Icmp)];
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    (prop::collection::vec(0_u16..4_096, 0..3), prop_oneof![v4, v6], transport, any::<(u16, u16)>(), payload)
        .prop_map(|(tags, ip, transport, ports, payload)| Shape { tags, ip, transport, ports, payload })
}

/// The frame, as etherparse writes it.
fn build(shape: &Shape) -> Vec<u8> {
    let ip = match &shape.ip {
        Ip::V4 { source, destination, options, fragment } => {
            let mut header = Ipv4Header::new(0, 64, IpNumber::UDP, *source, *destination).expect("a header");
            header.options = options.as_slice().try_into().expect("whole words");
            header.identification = 77;
            header.fragment_offset = IpFragOffset::try_new(fragment.0).expect("13 bits");
            header.more_fragments = fragment.1;
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        }
        Ip::V6 { source, destination, extensions, fragment } => {
            let header = Ipv6Header {
                source: *source,
                destination: *destination,
                hop_limit: 64,
                ..Ipv6Header::default()
            };
            let raw = |units: u8| {
                Ipv6RawExtHeader::new_raw(IpNumber::UDP, &vec![4; 6 + 8 * usize::from(units)])
                    .expect("whole units")
            };
            let [hop_by_hop, destination_options, routing] = extensions.map(|units| units.map(raw));
            let extensions = Ipv6Extensions {
                hop_by_hop_options: hop_by_hop,
                destination_options,
                routing: routing.map(|routing| etherparse::Ipv6RoutingExtensions {
                    routing,
                    final_destination_options: None,
                }),
                fragment: fragment.map(|(offset, more)| {
                    let offset = IpFragOffset::try_new(offset).expect("13 bits");
                    Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, 77)
                }),
                auth: None,
            };
            IpHeaders::Ipv6(header, extensions)
        }
    };
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let id = |tag: u16| VlanId::try_new(tag).expect("12 bits");
    let step = match shape.tags[..] {
        [] => link.ip(ip),
        [one] => link.single_vlan(id(one)).ip(ip),
        [outer, inner, ..] => link.double_vlan(id(outer), id(inner)).ip(ip),
    };
    let (source, destination) = shape.ports;
    let mut frame = Vec::new();
    match shape.transport {
        Transport::Udp => step.udp(source, destination).write(&mut frame, &shape.payload),
        Transport::Tcp => step.tcp(source, destination, 1, 1_024).syn().write(&mut frame, &shape.payload),
        Transport::Icmp => match shape.ip {
            Ip::V4 { .. } => step.icmpv4_echo_request(source, 1).write(&mut frame, &shape.payload),
            Ip::V6 { .. } => step.icmpv6_echo_request(source, 1).write(&mut frame, &shape.payload),
        },
    }
    .expect("it fits");
    frame
}

/// Both readers on one frame: where both accept, they agree. Returns what ours said.
fn compared(frame: &[u8]) -> Result<Result<Packet, Reason>, TestCaseError> {
    let ours = parsed(frame);
    let theirs: Result<SlicedPacket<'_>, SliceError> = SlicedPacket::from_ethernet(frame);
    let (Ok(packet), Ok(sliced)) = (ours, theirs) else { return Ok(ours) };
    if packet.kind == Kind::Link {
        prop_assert!(
            !matches!(sliced.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))),
            "IP that nobody judges"
        );
        return Ok(ours);
    }
    let (source, destination, protocol, fragmented) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            // In IPv4 the Authentication header is a protocol to us, a header to skip to them.
            if ip.extensions().auth.is_some() {
                return Ok(ours);
            }
            let header = ip.header();
            let addresses = (address4(header.source()), address4(header.destination()));
            (addresses.0, addresses.1, ip.payload_ip_number(), ip.is_payload_fragmented())
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let addresses = (address6(header.source()), address6(header.destination()));
            (addresses.0, addresses.1, ip.payload().ip_number, ip.is_payload_fragmented())
        }
        other => return Err(TestCaseError::fail(format!("we read IP, they {other:?}"))),
    };
    prop_assert_eq!((packet.source, packet.destination), (source, destination));
    prop_assert_eq!(packet.fragment != Fragment::Whole, fragmented);
    if fragmented {
        return Ok(ours);
    }
    prop_assert_eq!(packet.protocol, protocol.0);
    let ports = match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port(), udp.payload().len()),
        Some(TransportSlice::Tcp(tcp)) => {
            prop_assert_eq!(packet.tcp_flags, tcp.slice()[13]);
            (tcp.source_port(), tcp.destination_port(), tcp.payload().len())
        }
        _ => return Ok(ours),
    };
    let read = (packet.source_port, packet.destination_port, usize::from(packet.payload_length));
    prop_assert_eq!(read, ports);
    Ok(ours)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_of_another_builder_parse_to_what_was_built(shape in shapes()) {
        let frame = build(&shape);
        let ours = compared(&frame)?;
        let (first, later, mapped) = match &shape.ip {
            Ip::V4 { fragment: (offset, more), .. } => (*offset == 0 && *more, *offset != 0, false),
            Ip::V6 { fragment, source, destination, .. } => {
                let (offset, more) = fragment.unwrap_or((0, false));
                (offset == 0 && more, offset != 0, address6(*source).is_v4() || address6(*destination).is_v4())
            }
        };
        prop_assert_eq!(mapped, ours == Err(Reason::MappedAddress));
        if mapped {
            return Ok(());
        }
        let packet = match ours {
            Ok(packet) => packet,
            Err(reason) => return Err(TestCaseError::fail(format!("refused: {}", reason.name()))),
        };
        prop_assert_eq!(packet.vlan, shape.tags.first().copied().unwrap_or(0));
        prop_assert_eq!(usize::from(packet.network_at), 14 + 4 * shape.tags.len());
        let expected = if later { Fragment::Later } else if first { Fragment::First } else { Fragment::Whole };
        prop_assert_eq!(packet.fragment, expected);
        if later {
            prop_assert_eq!((packet.source_port, packet.destination_port), (0, 0));
            return Ok(());
        }
        let (source, destination) = shape.ports;
        match shape.transport {
            Transport::Icmp => prop_assert_eq!((packet.source_port, packet.destination_port), (source, source)),
            _ => prop_assert_eq!((packet.source_port, packet.destination_port), (source, destination)),
        }
        prop_assert_eq!(usize::from(packet.payload_length), shape.payload.len());
        let payload = &frame[usize::from(packet.payload_at)..][..shape.payload.len()];
        prop_assert_eq!(payload, &shape.payload[..]);
    }

    #[test]
    fn damaged_frames_are_read_alike_or_refused(
        shape in shapes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut frame = build(&shape);
        for (at, byte) in damage {
            // Mostly headers: damage to the payload tells nothing.
            let at = at.index(frame.len().min(80));
            frame[at] = byte;
        }
        if cut {
            frame.truncate(keep.index(frame.len()));
        }
        let _ = compared(&frame)?;
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), ether_type in 0_usize..5) {
        let _ = compared(&bytes)?;
        let ether_type = [V4, V6, 0x8100, 0x88a8, 0x0806][ether_type];
        let frame = ethernet(ether_type, &bytes);
        if let Ok(packet) = compared(&frame)? && packet.kind == Kind::Ip {
            let end = usize::from(packet.payload_at) + usize::from(packet.payload_length);
            prop_assert!(end <= frame.len(), "the payload lies in the frame");
            prop_assert!(packet.network_at < packet.transport_at && packet.transport_at <= packet.payload_at);
        }
    }
}
