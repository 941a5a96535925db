//! Contracts of streams: for each check a packet that it alone refuses, and one beside it that passes.

use proptest::prelude::*;

use super::*;
use crate::media::{Ceiling, Measures, flags as terms, pace};
use crate::packet::Bytes;
use crate::packet::rtp::{faults, rtcp};
use crate::pinhole::Kind;

const SSRC: u32 = 0x1234_5678;
const MILLISECOND: u64 = 1_000_000;

/// A stream of G.711 with telephone-event and comfort noise, 20 ms a packet.
struct Stream {
    small: Small,
    sequence: u16,
    timestamp: u32,
}

impl Stream {
    fn new(kind: Kind, flags: u16) -> Self {
        let mut small = Small::new(&[]);
        let at = sent(UDP, MEDIA);
        small.open(&at, &[(v4(A), A_PORT)], Inspect::None);
        let pinhole = small.pinholes.get_mut(&pinhole_key(&at)).expect("it is open");
        pinhole.kind = kind as u8;
        pinhole.flags = flags;
        pinhole.payload_types = [1 | 1 << 8 | 1 << 13, 1 << (101 - 64)];
        pinhole.ceiling = Ceiling::twice(50, 10_000);
        *pinhole.paths.get_mut() = pace(8_000).into();
        pinhole.expires = small.now + 100_000 * SECOND;
        Self { small, sequence: 65_530, timestamp: 0xffff_ff00 }
    }

    fn enforced() -> Self {
        Self::new(Kind::Rtp, terms::ENFORCE)
    }

    /// The next packet, 20 ms after the one before.
    fn next(&mut self) -> Packet {
        self.small.now += 20 * MILLISECOND;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        rtp(0, self.sequence, self.timestamp, SSRC)
    }

    fn reason(&mut self, packet: &Packet) -> Reason {
        self.small.reason(packet)
    }

    /// So many packets that pass.
    fn flow(&mut self, packets: usize) {
        for _ in 0..packets {
            let packet = self.next();
            assert_eq!(self.reason(&packet), Reason::PassPinhole);
        }
    }

    fn measures(&self) -> Measures {
        self.small.pinholes.values().next().expect("it is open").measures()
    }

    /// A packet that is refused under a reason, while the stream goes on as if it had not come.
    fn refuses(&mut self, packet: &Packet, reason: Reason) {
        let (before, now) = (self.measures(), self.small.now);
        assert_eq!(self.reason(packet), reason);
        let after = self.measures();
        assert_eq!((after.refused, after.refused_last), (before.refused + 1, Some(reason)));
        assert_eq!(
            Measures { refused: 0, refused_last: None, ..after },
            Measures { refused: 0, refused_last: None, ..before }
        );
        self.small.now = now;
        self.flow(1);
    }
}

fn payload(bytes: &[u8]) -> Packet {
    let word = |i: usize| match bytes.get(4 * i..4 * i + 4) {
        Some(word) => u32::from_ne_bytes(word.try_into().expect("four")),
        None => 0,
    };
    Packet {
        payload_head: if bytes.len() < 8 { 0 } else { bytes[0] },
        payload_start: [word(0), word(1), if bytes.len() < 12 { 0 } else { word(2) }],
        payload_length: u16::try_from(bytes.len()).expect("short"),
        length: 28 + u32::try_from(bytes.len()).expect("short"),
        rtp_faults: if bytes[0] >> 6 == 2 && bytes[1] >= 192 && bytes[1] < 224 {
            rtcp(&bytes, 0, bytes.len().min(Bytes::len(&bytes)))
        } else {
            0
        },
        ..sent(UDP, MEDIA)
    }
}

fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Packet {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.resize(172, 0xff);
    payload(&bytes)
}

/// A receiver report without blocks, and a source description.
fn report() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 1, 2, 3, 4, 0x81, 202, 0, 2, 1, 2, 3, 4, 1, 1, b'x', 0]
}

fn stun() -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
}

fn dtls() -> Vec<u8> {
    [&[22, 0xfe, 0xfd][..], &[0; 30]].concat()
}

fn zrtp() -> Vec<u8> {
    [&[0x10, 0, 0, 1][..], b"ZRTP", &[0; 20]].concat()
}

#[test]
fn streams_that_share_a_port_hold_each_other_to_nothing_but_what_both_agreed() {
    let mut stream = Stream::enforced();
    for pinhole in stream.small.pinholes.values_mut() {
        pinhole.port = 0;
        pinhole.expect(0, 0, true);
    }
    for number in 0..100 {
        let next = stream.next();
        let source_port = A_PORT + number % 7;
        let start =
            rtp(0, number.wrapping_mul(9_999), 7 * u32::from(number), u32::from(number % 5)).payload_start;
        let packet = Packet { payload_start: start, source_port, ..next };
        assert_eq!(stream.reason(&packet), Reason::PassPinhole, "packet {number}");
    }
    let measures = stream.measures();
    assert_eq!((measures.packets, measures.refused), (100, 0));
    assert_eq!((measures.lost, measures.out_of_order, measures.duplicates, measures.ssrc), (0, 0, 0, None));
    assert!(measures.jitter.abs() < f64::EPSILON, "{}", measures.jitter);
    stream.next();
    assert_eq!(stream.reason(&rtp(18, 0, 0, 0)), Reason::PayloadType);
}

#[test]
fn payload_types_are_those_that_were_agreed() {
    let mut stream = Stream::enforced();
    stream.flow(5);
    for payload_type in [8, 13, 101] {
        let next = stream.next();
        let packet = Packet {
            payload_start: rtp(payload_type, stream.sequence, stream.timestamp, SSRC).payload_start,
            ..next
        };
        assert_eq!(stream.reason(&packet), Reason::PassPinhole, "type {payload_type}");
    }
    for payload_type in [1, 18, 100, 102, 127] {
        let (sequence, timestamp) = (stream.sequence.wrapping_add(1), stream.timestamp);
        stream.refuses(&rtp(payload_type, sequence, timestamp, SSRC), Reason::PayloadType);
    }
    // The marker is no part of the type.
    stream.next();
    assert_eq!(stream.reason(&rtp(0x80, stream.sequence, stream.timestamp, SSRC)), Reason::PassPinhole);
    let pinhole = stream.small.pinholes.values_mut().next().expect("it is open");
    pinhole.payload_types = [0; 2];
    stream.next();
    let any = rtp(18, stream.sequence, stream.timestamp, SSRC);
    assert_eq!(stream.reason(&any), Reason::PassPinhole, "nothing is known of them");
}

#[test]
fn the_ssrc_holds_until_signalling_or_silence() {
    let mut stream = Stream::enforced();
    stream.flow(3);
    let other = rtp(0, 7, 7, 0xbad);
    stream.refuses(&other, Reason::Ssrc);
    stream.small.now += 2 * SECOND - 1;
    assert_eq!(stream.reason(&other), Reason::Ssrc, "just less than two seconds of silence");
    stream.small.now += 1;
    assert_eq!(stream.reason(&other), Reason::PassPinhole);
    assert_eq!(stream.measures().ssrc, Some(0xbad));
    assert_eq!(stream.measures().lost, 0, "another source is not the first one's loss");
    let old = stream.next();
    assert_eq!(stream.reason(&old), Reason::Ssrc, "and now it is the old one that is refused");
    // Signalling has agreed upon something else.
    let key = pinhole_key(&old);
    let before = stream.small.pinholes.remove(&key).expect("it is open");
    let mut again = Stream::enforced().small.pinholes.remove(&key).expect("it is open");
    again.expect(0, 1, false);
    again.goes_on_from(&before, false);
    stream.small.pinholes.insert(key, again);
    assert_eq!(stream.reason(&old), Reason::PassPinhole);
    assert_eq!(stream.measures().packets, 6, "counters go on");
    // The same agreement, told once more, changes nothing.
    let before = stream.small.pinholes.remove(&key).expect("it is open");
    let mut again = Stream::enforced().small.pinholes.remove(&key).expect("it is open");
    again.expect(0, 1, false);
    again.goes_on_from(&before, false);
    stream.small.pinholes.insert(key, again);
    assert_eq!(stream.reason(&other), Reason::Ssrc);
}

#[test]
fn a_signalled_ssrc_holds_through_silence() {
    let mut stream = Stream::new(Kind::Rtp, terms::ENFORCE | terms::SSRC);
    stream.small.pinholes.values_mut().for_each(|pinhole| pinhole.expect(SSRC, 0, false));
    assert_eq!(stream.reason(&rtp(0, 7, 7, 0xbad)), Reason::Ssrc, "not even as the first one");
    stream.flow(2);
    stream.small.now += 10 * SECOND;
    assert_eq!(stream.reason(&rtp(0, 7, 7, 0xbad)), Reason::Ssrc);
    assert_eq!(stream.reason(&rtp(0, 7, 7, SSRC)), Reason::PassPinhole, "but it may begin anew");
}

#[test]
fn sequence_numbers_jump_within_bounds() {
    let mut stream = Stream::enforced();
    stream.flow(100);
    let at =
        |stream: &Stream, ahead: u16| rtp(0, stream.sequence.wrapping_add(ahead), stream.timestamp, SSRC);
    let far = at(&stream, 3_001);
    stream.refuses(&far, Reason::RtpSequence);
    let back = at(&stream, 0_u16.wrapping_sub(101));
    stream.refuses(&back, Reason::RtpSequence);
    let late = at(&stream, 0_u16.wrapping_sub(99));
    assert_eq!(stream.reason(&late), Reason::PassPinhole);
    let jump = at(&stream, 2_999);
    assert_eq!(stream.reason(&jump), Reason::PassPinhole);
    assert_eq!(stream.measures().lost, 2_998);
    let gone = at(&stream, 0);
    assert_eq!(stream.reason(&gone), Reason::RtpSequence);
    stream.small.now += 2 * SECOND;
    assert_eq!(stream.reason(&gone), Reason::PassPinhole, "after silence it begins anew");
}

#[test]
fn headers_fit() {
    let mut stream = Stream::enforced();
    stream.flow(2);
    for fault in [faults::HEADER, faults::PADDING] {
        let (sequence, timestamp) = (stream.sequence.wrapping_add(1), stream.timestamp);
        let broken = Packet { rtp_faults: fault, ..rtp(0, sequence, timestamp, SSRC) };
        stream.refuses(&broken, Reason::RtpHeader);
    }
    let short = Packet { payload_length: 11, ..rtp(0, stream.sequence, stream.timestamp, SSRC) };
    stream.refuses(&short, Reason::RtpHeader);
    for (head, reason) in [(0x40, Reason::NotRtp), (0xc0, Reason::NotRtp), (64, Reason::NotRtp)] {
        let mut bytes = vec![head, 0, 0, 1];
        bytes.resize(172, 0);
        stream.refuses(&payload(&bytes), reason);
    }
    let mut secure = Stream::new(Kind::Rtp, terms::ENFORCE | terms::SECURE);
    let packet = Packet { rtp_faults: faults::PADDING, ..secure.next() };
    assert_eq!(secure.reason(&packet), Reason::PassPinhole, "the padding is encrypted");
    let packet = Packet { rtp_faults: faults::HEADER, ..secure.next() };
    assert_eq!(secure.reason(&packet), Reason::RtpHeader, "the header is not");
}

#[test]
fn rtcp_is_compound_and_adds_up() {
    let mut stream = Stream::new(Kind::Rtcp, terms::ENFORCE);
    let sound = payload(&report());
    assert_eq!(stream.reason(&sound), Reason::PassPinhole);
    let refused = |stream: &mut Stream, bytes: &[u8], reason| {
        let before = stream.measures();
        assert_eq!(stream.reason(&payload(bytes)), reason);
        assert_eq!(stream.measures().packets, before.packets);
    };
    refused(&mut stream, &report()[8..], Reason::RtcpCompound);
    refused(&mut stream, &report()[..18], Reason::RtcpLength);
    refused(&mut stream, &[&report()[..8], &[0x80, 199, 0, 0]].concat(), Reason::RtcpType);
    let media = rtp(0, 1, 1, SSRC);
    assert_eq!(stream.reason(&media), Reason::RtcpType, "RTP has no business here");
    let mut reduced = Stream::new(Kind::Rtcp, terms::ENFORCE | terms::REDUCED_RTCP);
    assert_eq!(reduced.reason(&payload(&report()[8..])), Reason::PassPinhole);
    let mut secure = Stream::new(Kind::Rtcp, terms::ENFORCE | terms::SECURE);
    let sealed = [&report()[..8], &[0x5a; 30]].concat();
    assert_eq!(secure.reason(&payload(&sealed)), Reason::PassPinhole);
    assert_eq!(stream.reason(&payload(&sealed)), Reason::RtcpType);
    assert_eq!(secure.reason(&payload(&[0x80, 201, 0, 9, 1, 2, 3, 4])), Reason::RtcpLength);
    assert_eq!(stream.measures().others, 1);
}

#[test]
fn rtp_and_rtcp_share_a_port() {
    let mut stream = Stream::new(Kind::RtcpMux, terms::ENFORCE);
    stream.flow(3);
    assert_eq!(stream.reason(&payload(&report())), Reason::PassPinhole);
    let measures = stream.measures();
    assert_eq!((measures.packets, measures.others, measures.lost), (4, 1, 0));
    let broken = payload(&report()[8..]);
    stream.refuses(&broken, Reason::RtcpCompound);
    // Without it, RTCP is a payload type nobody has agreed upon.
    let mut alone = Stream::enforced();
    alone.flow(1);
    alone.refuses(&payload(&report()), Reason::PayloadType);
}

#[test]
fn what_is_beside_rtp_was_announced() {
    for (bytes, flag) in [(stun(), terms::STUN), (dtls(), terms::DTLS), (zrtp(), terms::ZRTP)] {
        let mut stream = Stream::new(Kind::RtcpMux, terms::ENFORCE);
        stream.flow(1);
        stream.refuses(&payload(&bytes), Reason::NotAnnounced);
        let mut stream = Stream::new(Kind::RtcpMux, terms::ENFORCE | flag);
        stream.flow(1);
        assert_eq!(stream.reason(&payload(&bytes)), Reason::PassPinhole);
        assert_eq!(stream.measures().others, 1);
        stream.flow(1);
        // Its first byte alone is not enough.
        if flag != terms::DTLS {
            let mut other = bytes.clone();
            other[4] ^= 1;
            stream.refuses(&payload(&other), Reason::NotRtp);
        }
    }
}

#[test]
fn faxes_are_udptl() {
    let mut stream = Stream::new(Kind::Udptl, terms::ENFORCE);
    let indicator = [0x80, 1, 1, 0, 0, 0];
    assert_eq!(stream.reason(&payload(&indicator)), Reason::PassPinhole);
    let data = [&[0, 2, 0x20][..], &[0x5a; 0x20], &[0, 0]].concat();
    assert_eq!(stream.reason(&payload(&data)), Reason::PassPinhole);
    let long = [&[0, 2, 0x81, 0x00][..], &[0x5a; 0x100], &[0, 0]].concat();
    assert_eq!(stream.reason(&payload(&long)), Reason::PassPinhole);
    for other in [&data[..34], &[0, 1, 0, 0, 0, 0], &long[..long.len() - 2]] {
        assert_eq!(stream.reason(&payload(other)), Reason::NotUdptl, "{other:02x?}");
    }
    assert_eq!(stream.reason(&rtp(0, 1, 1, 0xffff_ffff)), Reason::NotUdptl);
}

#[test]
fn a_port_that_was_not_told_is_learnt() {
    let mut stream = Stream::enforced();
    stream.small.pinholes.values_mut().for_each(|pinhole| pinhole.port = 0);
    let broken = Packet { source_port: 7, ..rtp(18, 1, 1, SSRC) };
    assert_eq!(stream.reason(&broken), Reason::PayloadType, "what is refused teaches nothing");
    stream.flow(2);
    let next = rtp(0, stream.sequence.wrapping_add(1), stream.timestamp, SSRC);
    stream.refuses(&Packet { source_port: 7, ..next }, Reason::SecondSource);
}

#[test]
fn observing_counts_and_lets_by() {
    let mut stream = Stream::new(Kind::Rtp, 0);
    stream.flow(2);
    let next = stream.next();
    let other =
        Packet { payload_start: rtp(18, stream.sequence, stream.timestamp, SSRC).payload_start, ..next };
    assert_eq!(stream.reason(&other), Reason::PassObserved);
    let measures = stream.measures();
    assert_eq!((measures.refused, measures.refused_last), (1, Some(Reason::PayloadType)));
    assert_eq!((measures.packets, measures.lost), (3, 0));
    assert_eq!(stream.reason(&rtp(0, 9, 9, 0xbad)), Reason::PassObserved);
    assert_eq!(stream.measures().ssrc, Some(0xbad), "whoever speaks is measured");
    assert_eq!(stream.reason(&payload(&stun())), Reason::PassObserved);
    let stranger = Packet { source: v4([192, 0, 2, 2]), ..next };
    assert_eq!(stream.reason(&stranger), Reason::PinholeSender, "the sender is no matter of observing");
}

#[test]
fn a_flood_has_what_the_codec_has_twice() {
    let mut stream = Stream::enforced();
    stream.flow(50);
    let start = stream.small.now;
    let (mut passed, mut refused) = (0, 0);
    // Ten times the rate for ten seconds, each as its stream goes on.
    for packet in 0..5_000_u64 {
        stream.small.now = start + packet * 2 * MILLISECOND;
        let next = rtp(0, stream.sequence.wrapping_add(1), stream.timestamp, SSRC);
        match stream.reason(&next) {
            Reason::PassPinhole => {
                passed += 1;
                stream.sequence = stream.sequence.wrapping_add(1);
            }
            Reason::MediaRate => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1_000..=1_080).contains(&passed), "{passed} passed, {refused} were refused");
}

/// Times of 32 bits go round: a stream that begins in any part of their circle is as good as another.
#[test]
fn a_stream_may_begin_at_any_time() {
    for part in 0..16 {
        let mut stream = Stream::new(Kind::RtcpMux, terms::ENFORCE);
        stream.small.now += part << 38;
        stream.small.pinholes.values_mut().for_each(|pinhole| pinhole.last_seen = stream.small.now.into());
        stream.flow(5);
        // Long silence, an update of signalling, and on.
        for _ in 0..4 {
            stream.small.now += 1_000 * SECOND;
            stream
                .small
                .pinholes
                .values_mut()
                .for_each(|pinhole| pinhole.last_seen = stream.small.now.into());
            stream.flow(5);
        }
        let mut control = Stream::new(Kind::Rtcp, terms::ENFORCE);
        control.small.now += part << 44;
        control.small.pinholes.values_mut().for_each(|pinhole| {
            pinhole.last_seen = control.small.now.into();
            pinhole.expires = u64::MAX;
        });
        assert_eq!(control.reason(&payload(&report())), Reason::PassPinhole, "part {part}");
    }
}

#[test]
fn what_is_measured_is_what_came() {
    let mut stream = Stream::enforced();
    let first = stream.small.now + 20 * MILLISECOND;
    stream.flow(10);
    // Lost, out of order, and again.
    stream.next();
    let late = stream.next();
    stream.flow(1);
    assert_eq!(stream.measures().lost, 2);
    assert_eq!(stream.reason(&late), Reason::PassPinhole);
    assert_eq!(stream.reason(&late), Reason::PassPinhole);
    let again = rtp(0, stream.sequence, stream.timestamp, SSRC);
    assert_eq!(stream.reason(&again), Reason::PassPinhole);
    let measures = stream.measures();
    assert_eq!((measures.lost, measures.out_of_order, measures.duplicates), (1, 1, 2));
    assert_eq!((measures.packets, measures.expected()), (14, 13));
    assert_eq!((measures.first, measures.bytes), (first, 14 * 200));
    stream.small.now += 500 * MILLISECOND;
    let marked = Packet { traffic_class: 46 << 2, ..stream.next() };
    assert_eq!(stream.reason(&marked), Reason::PassPinhole);
    let measures = stream.measures();
    assert!((519..=520).contains(&measures.longest_gap_ms), "{}", measures.longest_gap_ms);
    assert_eq!((measures.dscps, measures.clock_hz), (1 | 1 << 46, 8_000));
    assert!(measures.jitter > 200.0, "half a second late");
}

/// RFC 3550 appendix A.8 in floating point.
fn jitter_of(arrivals: &[(u64, u32)]) -> f64 {
    let (mut jitter, mut before): (f64, Option<(u64, u32)>) = (0.0, None);
    for (at, timestamp) in arrivals {
        if let Some((last, sent)) = before {
            let elapsed = (*at - last) as f64 * 8_000.0 / 1e9;
            let skew = elapsed - f64::from(timestamp.wrapping_sub(sent) as i32);
            jitter += (skew.abs() - jitter) / 16.0;
        }
        before = Some((*at, *timestamp));
    }
    jitter
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// At its nominal rate nothing of a stream is refused, however late its packets are within 100 ms.
    #[test]
    fn the_nominal_rate_passes_with_jitter(delays in prop::collection::vec(0_u64..100_000_000, 400)) {
        let mut stream = Stream::enforced();
        let start = stream.small.now;
        let mut arrivals: Vec<(u64, u16)> = delays
            .iter()
            .zip(0_u16..)
            .map(|(delay, number)| (start + u64::from(number) * 20 * MILLISECOND + delay, number))
            .collect();
        arrivals.sort_unstable();
        let mut judged = Vec::new();
        for (at, number) in arrivals {
            stream.small.now = at;
            let timestamp = 160 * u32::from(number);
            prop_assert_eq!(stream.reason(&rtp(0, number, timestamp, SSRC)), Reason::PassPinhole);
            judged.push((at, timestamp));
        }
        let measures = stream.measures();
        prop_assert_eq!((measures.lost, measures.duplicates, measures.packets), (0, 0, 400));
        let exact = jitter_of(&judged);
        prop_assert!((measures.jitter - exact).abs() < 0.5, "{} is not {exact}", measures.jitter);
    }

    /// All that comes at once after a pause of half a second passes as well.
    #[test]
    fn a_burst_of_a_second_passes(held in 1_u16..50) {
        let mut stream = Stream::enforced();
        stream.flow(50);
        stream.small.now += u64::from(held) * 20 * MILLISECOND;
        for number in 1..=held {
            let packet = rtp(0, stream.sequence.wrapping_add(number), stream.timestamp, SSRC);
            prop_assert_eq!(stream.reason(&packet), Reason::PassPinhole, "{} of {}", number, held);
        }
    }
}
