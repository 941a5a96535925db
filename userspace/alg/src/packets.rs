//! Frames the parser has read → datagrams and segments for the engine.
//!
//! The one place that knows where in a frame a payload lies and how fragments are put together, for the live
//! path and for replays alike. Headers were checked by [`callgate_shared::packet`]; checksums are left to
//! the ends.

use std::net::SocketAddr;

use callgate_shared::Reason;
use callgate_shared::flow::{TCP, UDP};
use callgate_shared::packet::{self, Packet};
use callgate_shared::policy::Inspect;

use crate::action::{Context, Time, Transport, Verdict};
use crate::engine::{Engine, Segment};
use crate::fragments::{Datagram, FragmentError, Piece};

impl Engine {
    /// Reads what `frame` carries as `protocol`, admitted under the rule of `slot`; `packet` is what the
    /// parser made of the frame.
    ///
    /// A fragment that leaves its datagram incomplete passes: the far end cannot read it either. What
    /// completes the datagram has the verdict of the whole.
    pub fn packet(
        &mut self,
        now: Time,
        frame: &[u8],
        packet: &Packet,
        protocol: Inspect,
        slot: u32,
    ) -> Verdict {
        let malformed = Verdict::Drop(Reason::AlgMalformed);
        if packet.fragment == packet::Fragment::Whole {
            let Some(transport) = transport_of(frame, packet) else { return malformed };
            return self.transport(now, packet, link_of(frame), protocol, slot, transport);
        }
        let Some((datagram, piece)) = piece_of(frame, packet, slot) else { return malformed };
        match self.fragments.add(now, datagram, piece) {
            Ok(None) => Verdict::Pass,
            Ok(Some(whole)) => {
                match self.transport(now, packet, link_of(frame), protocol, whole.slot, &whole.bytes) {
                    // The most of it has gone on; it will be sent again, and not in pieces where its sender can.
                    Verdict::Replace(_) => Verdict::Drop(Reason::AlgRefused),
                    other => other,
                }
            }
            Err(FragmentError::Memory) => Verdict::Drop(Reason::AlgMemory),
            Err(FragmentError::Contradiction) => Verdict::Drop(Reason::AlgOverlap),
            Err(FragmentError::Length) => malformed,
        }
    }

    /// Reads a datagram or segment from its transport header on; `link` is its sender on the segment.
    fn transport(
        &mut self,
        now: Time,
        packet: &Packet,
        link: Option<[u8; 6]>,
        protocol: Inspect,
        slot: u32,
        bytes: &[u8],
    ) -> Verdict {
        let malformed = Verdict::Drop(Reason::AlgMalformed);
        let Some(ports) = bytes.first_chunk::<4>() else { return malformed };
        let source = u16::from_be_bytes([ports[0], ports[1]]);
        let destination = u16::from_be_bytes([ports[2], ports[3]]);
        let mut context = Context {
            now,
            source: SocketAddr::new(packet.source.into(), source),
            destination: SocketAddr::new(packet.destination.into(), destination),
            transport: Transport::Udp,
            protocol,
            slot,
            link,
        };
        match packet.protocol {
            UDP => match udp_payload(bytes) {
                Some(payload) => self.datagram(&context, payload),
                None => malformed,
            },
            TCP => match tcp_payload(bytes) {
                Some((segment, payload)) => {
                    context.transport = Transport::Tcp;
                    self.segment(&context, segment, payload)
                }
                None => malformed,
            },
            _ => Verdict::Pass,
        }
    }
}

/// The source of an Ethernet frame (IEEE 802.3 section 3.2): behind its destination, before any VLAN tag.
fn link_of(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..)?.first_chunk().copied()
}

/// The transport header and payload of a whole packet.
fn transport_of<'a>(frame: &'a [u8], packet: &Packet) -> Option<&'a [u8]> {
    let end = usize::from(packet.payload_at) + usize::from(packet.payload_length);
    frame.get(usize::from(packet.transport_at)..end)
}

/// UDP (RFC 768): ports, length of header and payload, checksum.
fn udp_payload(bytes: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    bytes.get(8..usize::from(length))
}

/// TCP (RFC 9293 section 3.1).
fn tcp_payload(bytes: &[u8]) -> Option<(Segment, &[u8])> {
    let header = bytes.first_chunk::<20>()?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let segment = Segment { sequence: word(4), acknowledgement: word(8), flags: header[13] };
    Some((segment, bytes.get(usize::from(header[12] >> 4) * 4..)?))
}

/// The fragment a packet is.
fn piece_of<'a>(frame: &'a [u8], packet: &Packet, slot: u32) -> Option<(Datagram, Piece<'a>)> {
    let bytes = transport_of(frame, packet)?;
    let (source, destination) = (packet.source.into(), packet.destination.into());
    let identification = packet.identification;
    let field = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    // The offset counts 8-byte units: IPv4 in the lower 13 bits, below the flags, IPv6 in the upper 13 bits
    // of the Fragment header, with the flag below.
    let (offset, more, protocol) = if packet.source.is_v4() {
        let field = field(usize::from(packet.network_at) + 6)?;
        (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0, packet.protocol)
    } else {
        // Other extension headers behind the Fragment header belong to the datagram; no sender of
        // signalling has a use for them.
        let at = usize::from(packet.transport_at).checked_sub(8)?;
        let same = frame.get(at + 4..at + 8)? == identification.to_ne_bytes();
        if !same || *frame.get(at)? != packet.protocol {
            return None;
        }
        // The protocol is not part of the name of an IPv6 datagram (RFC 8200 section 4.5).
        let field = field(at + 2)?;
        (usize::from(field & 0xfff8), field & 1 != 0, 0)
    };
    let datagram = Datagram { source, destination, identification, protocol };
    Some((datagram, Piece { offset, more, bytes, slot }))
}

#[cfg(test)]
mod tests {

    use callgate_protocols::build;
    use callgate_rules::{Mismatch, SccpPolicy};
    use proptest::prelude::*;

    use super::*;
    use crate::core::Bounds;
    use crate::media::Policy;

    const OPTIONS: &[u8] =
        b"OPTIONS sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
        From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    fn engine() -> Engine {
        Engine::new(Policy::default(), Bounds::default())
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).expect("short").to_be_bytes();
        [&[0x13, 0xc4, 0x13, 0xc4], &length[..], &[0, 0], payload].concat()
    }

    /// An Ethernet frame with an IPv4 packet; `field` is the fragment field.
    fn v4(protocol: u8, field: u16, body: &[u8]) -> Vec<u8> {
        let total = u16::try_from(body.len() + 20).expect("short").to_be_bytes();
        let field = field.to_be_bytes();
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0, total[0], total[1], 0, 9, field[0], field[1], 64, protocol, 0, 0]);
        frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(body);
        frame
    }

    /// An Ethernet frame with an IPv6 fragment.
    fn v6(field: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 8).expect("short").to_be_bytes();
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], 44, 64]);
        for last in [1, 2] {
            frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        frame.extend([17, 0]);
        frame.extend(field.to_be_bytes());
        frame.extend([0, 0, 0, 7]);
        frame.extend(body);
        frame
    }

    fn read(engine: &mut Engine, frame: &[u8], protocol: Inspect) -> Verdict {
        let packet = packet::parse(&frame).expect("a packet");
        engine.packet(Time(1), frame, &packet, protocol, 3)
    }

    fn passed(engine: &Engine) -> u64 {
        engine.messages().map(|(_, messages)| messages.passed).sum()
    }

    #[test]
    fn a_datagram_is_read_without_the_padding_behind_it() {
        let mut engine = engine();
        let mut frame = v4(UDP, 0, &udp(OPTIONS));
        frame.extend([0xff; 10]);
        assert_eq!(read(&mut engine, &frame, Inspect::Sip), Verdict::Pass);
        assert_eq!(passed(&engine), 1);
        let nonsense = v4(UDP, 0, &udp(b"nonsense, at length\r\n\r\n"));
        assert_eq!(read(&mut engine, &nonsense, Inspect::Sip), Verdict::Drop(Reason::AlgMalformed));
    }

    #[test]
    fn a_fragmented_datagram_is_read_once_it_is_whole() {
        let whole = udp(OPTIONS);
        for (first, second) in [
            (v4(UDP, 0x2000, &whole[..64]), v4(UDP, 8, &whole[64..])),
            (v6(1, &whole[..64]), v6(64, &whole[64..])),
        ] {
            let mut engine = engine();
            assert_eq!(read(&mut engine, &first, Inspect::Sip), Verdict::Pass);
            assert_eq!(passed(&engine), 0);
            assert_eq!(read(&mut engine, &second, Inspect::Sip), Verdict::Pass);
            assert_eq!(passed(&engine), 1);
        }
    }

    proptest! {
        /// Damaged frames of every kind, one after the other, under every protocol.
        #[test]
        fn nothing_on_the_wire_breaks_the_engine(
            frames in prop::collection::vec((0_usize..4, 0_u8..8, any::<prop::sample::Index>(), any::<u8>()), 1..40),
        ) {
            let whole = udp(OPTIONS);
            let mut segment = vec![0x9c, 0x40, 0x06, 0xb8, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
            segment.extend(b"\x03\0\0\x09\x08\x02\0\x01\x05");
            let kinds = [v4(UDP, 0, &whole), v4(UDP, 0x2000, &whole[..64]), v6(64, &whole[64..]), v4(TCP, 0, &segment)];
            let mut engine = engine();
            for (kind, protocol, at, byte) in frames {
                let mut frame = kinds[kind].clone();
                let at = at.index(frame.len());
                frame[at] = byte;
                let frame = frame.as_slice();
                if let Ok(packet) = packet::parse(&frame) {
                    let _ = engine.packet(Time(1), frame, &packet, Inspect::from_u8(protocol), 0);
                }
            }
            prop_assert_eq!(engine.pinholes().count(), 0, "nobody has announced anything");
        }
    }

    #[test]
    fn a_frames_source_goes_with_its_message() {
        let sccp = SccpPolicy { match_ethernet: Some(Mismatch::Refuse), ..SccpPolicy::default() };
        for (source, verdict) in [
            ([0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xdd], Verdict::Pass),
            ([0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xde], Verdict::Reset(Reason::AlgRefused)),
        ] {
            let mut engine =
                Engine::new(Policy { sccp: sccp.clone(), ..Policy::default() }, Bounds::default());
            let mut segment = |sequence: u8, flags: u8, message: &[u8]| {
                let mut body = vec![0xc3, 0x50, 0x07, 0xd0, 0, 0, 0, sequence, 0, 0, 0, 1, 0x50, flags];
                body.extend([1, 0, 0, 0, 0, 0]);
                body.extend(message);
                let mut frame = v4(TCP, 0, &body);
                frame[6..12].copy_from_slice(&source);
                read(&mut engine, &frame, Inspect::Sccp)
            };
            assert_eq!(segment(0, 0x02, b""), Verdict::Pass);
            let register = build::sccp::register("SEP0011AABBCCDD", [192, 0, 2, 1].into(), 17);
            assert_eq!(segment(1, 0x18, &register), verdict, "{source:02x?}");
        }
    }

    #[test]
    fn fragments_that_overlap_are_dropped() {
        let whole = udp(OPTIONS);
        let mut engine = engine();
        read(&mut engine, &v4(UDP, 0x2000, &whole[..64]), Inspect::Sip);
        let overlap = v4(UDP, 7, &whole[64..]);
        assert_eq!(read(&mut engine, &overlap, Inspect::Sip), Verdict::Drop(Reason::AlgOverlap));
    }

    #[test]
    fn a_segment_is_found_behind_tcp_options() {
        let mut engine = engine();
        let mut body = vec![0x9c, 0x40, 0x06, 0xb8, 0, 0, 0, 100, 0, 0, 0, 0, 0x60, 0x10, 1, 0, 0, 0, 0, 0];
        body.extend([1, 1, 1, 0]);
        body.extend([3, 0, 0, 4]);
        assert_eq!(read(&mut engine, &v4(TCP, 0, &body), Inspect::H225), Verdict::Pass);
        body[12] = 0x50;
        body[7] = 200;
        assert_eq!(read(&mut engine, &v4(TCP, 0, &body), Inspect::H225), Verdict::Pass, "mid-stream");
        let mut engine = self::engine();
        body[12] = 0x60;
        body[19] = 0;
        body[7] = 100;
        body.splice(24.., *b"\x03\0\0\x05\xff");
        let verdict = read(&mut engine, &v4(TCP, 0, &body), Inspect::H225);
        assert!(matches!(verdict, Verdict::Reset(_)), "a message that is none resets: {verdict:?}");
    }
}
