use proptest::prelude::*;

use super::*;

const CLIENT: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.2:1720";

/// One TCP connection from the client to the server, seen by a reader that keeps what it is given.
struct Wire {
    streams: Streams,
    messages: Vec<Vec<u8>>,
    refuse: Option<Vec<u8>>,
    /// What is said of it.
    verdict: Verdict,
    now: Time,
}

impl Wire {
    fn new(bounds: StreamBounds) -> Self {
        let streams = Streams::new(bounds);
        let verdict = Verdict::Reset(Reason::AlgRefused);
        Self { streams, messages: Vec::new(), refuse: None, verdict, now: Time::default() }
    }

    /// A connection whose client's first byte has this sequence number; the server's has 1.
    fn open(first: u32) -> Self {
        let mut wire = Self::new(StreamBounds::default());
        assert_eq!(wire.client(first.wrapping_sub(1), flag::SYN, b""), Verdict::Pass);
        assert_eq!(wire.server(0, first, flag::SYN | flag::ACK, b""), Verdict::Pass);
        wire
    }

    fn send(&mut self, from: &str, to: &str, segment: Segment, payload: &[u8]) -> Outcome {
        let ends = (from.parse().expect("an address"), to.parse().expect("an address"));
        let (messages, refuse, verdict) = (&mut self.messages, &self.refuse, &self.verdict);
        self.streams.segment(self.now, ends, Framing::Tpkt, segment, payload, |message| {
            messages.push(message.to_vec());
            if refuse.as_deref() == Some(message) { verdict.clone() } else { Verdict::Pass }
        })
    }

    fn client(&mut self, sequence: u32, flags: u8, payload: &[u8]) -> Verdict {
        self.send(CLIENT, SERVER, Segment { sequence, acknowledgement: 0, flags }, payload).verdict
    }

    fn data(&mut self, sequence: u32, payload: &[u8]) -> Verdict {
        self.client(sequence, 0, payload)
    }

    fn server(&mut self, sequence: u32, acknowledgement: u32, flags: u8, payload: &[u8]) -> Verdict {
        self.send(SERVER, CLIENT, Segment { sequence, acknowledgement, flags }, payload).verdict
    }
}

fn tpkt(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len() + 4).expect("short");
    [&[3, 0], &length.to_be_bytes()[..], message].concat()
}

const PASS: Verdict = Verdict::Pass;
const OVERLAP: Verdict = Verdict::Drop(Reason::AlgOverlap);
const MEMORY: Verdict = Verdict::Drop(Reason::AlgMemory);
const REFUSED: Verdict = Verdict::Drop(Reason::AlgRefused);
const MALFORMED: Verdict = Verdict::Drop(Reason::AlgMalformed);

#[test]
fn a_message_over_two_segments_is_read_when_it_is_whole() {
    let mut wire = Wire::open(100);
    let stream = [tpkt(b"setup"), tpkt(b""), tpkt(b"release")].concat();
    assert_eq!(wire.data(100, &stream[..7]), PASS);
    assert!(wire.messages.is_empty());
    assert_eq!(wire.data(107, &stream[7..]), PASS);
    assert_eq!(wire.messages, [&b"setup"[..], b"release"], "the empty one only keeps alive");
}

#[test]
fn a_segment_beyond_a_gap_passes_and_is_read_when_the_gap_is_filled() {
    let mut wire = Wire::open(100);
    let stream = [tpkt(b"one"), tpkt(b"two")].concat();
    assert_eq!(wire.data(107, &stream[7..]), PASS);
    assert!(wire.messages.is_empty());
    wire.refuse = Some(b"two".to_vec());
    assert_eq!(wire.data(100, &stream[..7]), Verdict::Reset(Reason::AlgRefused), "it would release `two`");
    assert_eq!(wire.messages, [b"one", b"two"]);
}

#[test]
fn after_a_refused_message_nothing_goes_on() {
    let mut wire = Wire::open(100);
    wire.refuse = Some(b"bad".to_vec());
    let refused = Verdict::Reset(Reason::AlgRefused);
    assert_eq!(wire.data(100, &tpkt(b"bad")), refused);
    assert_eq!(wire.data(100, &tpkt(b"bad")), refused, "sent again");
    assert_eq!(wire.data(107, &tpkt(b"good")), refused);
    assert_eq!(wire.messages.len(), 1);
    assert_eq!(wire.server(1, 100, flag::ACK, &tpkt(b"answer")), PASS, "the other direction is not to blame");
}

/// What is said of `bad` by a protocol that has words for it.
fn denial() -> Denial {
    let words = |text: &[u8]| Some(text.to_vec());
    Denial { reason: Reason::AlgRefused, reply: words(b"no"), notify: words(b"over"), sequence: None }
}

/// A connection on which `bad` is refused in these words.
fn refusing() -> Wire {
    let mut wire = Wire::open(100);
    (wire.refuse, wire.verdict) = (Some(b"bad".to_vec()), denial().into());
    wire
}

#[test]
fn after_a_refusal_in_words_nothing_goes_on_in_either_direction() {
    let mut wire = refusing();
    let reset = Verdict::Reset(Reason::AlgRefused);
    let client = |wire: &mut Wire, sequence, acknowledgement, flags, payload: &[u8]| {
        let segment = Segment { sequence, acknowledgement, flags: flags | flag::ACK };
        wire.send(CLIENT, SERVER, segment, payload).verdict
    };
    for _ in 0..2 {
        assert_eq!(client(&mut wire, 100, 1, 0, &tpkt(b"bad")), denial().into(), "sent again as it was lost");
    }
    // It has the two bytes and the end behind them: whatever it says now is told by a reset.
    assert_eq!(client(&mut wire, 107, 4, 0, b""), REFUSED, "the far end would answer with a reset");
    assert_eq!(client(&mut wire, 107, 4, 0, &tpkt(b"good")), reset);
    assert_eq!(client(&mut wire, 107, 4, flag::FIN, b""), reset);
    assert_eq!(wire.server(1, 100, flag::ACK, b""), REFUSED);
    assert_eq!(wire.server(1, 100, flag::ACK, &tpkt(b"answer")), reset);
    assert_eq!(wire.server(1, 100, flag::ACK | flag::RST, b""), PASS);
    assert_eq!(wire.messages, [b"bad"]);
    // The same ports may be used again.
    wire.client(899, flag::SYN, b"");
    wire.server(500, 900, flag::SYN | flag::ACK, b"");
    assert_eq!(wire.data(900, &tpkt(b"good")), PASS);
}

#[test]
fn who_has_a_part_of_a_refused_message_is_told_nothing_that_would_be_read_as_the_rest() {
    let mut wire = refusing();
    let bad = tpkt(b"bad");
    let told = Verdict::from(Denial { notify: None, sequence: Some(1), ..denial() });
    assert_eq!(wire.data(100, &bad[..5]), PASS);
    assert_eq!(wire.data(105, &bad[5..]), told);
    let mut wire = refusing();
    assert_eq!(wire.data(105, &bad[5..]), PASS, "beyond a gap");
    assert_eq!(wire.data(100, &bad[..5]), told);
}

#[test]
fn a_refusal_follows_what_its_reader_has_not_acknowledged_yet() {
    let mut wire = refusing();
    wire.server(1, 100, flag::ACK, &tpkt(b"on its way"));
    let segment = Segment { sequence: 100, acknowledgement: 1, flags: flag::ACK };
    let told = wire.send(CLIENT, SERVER, segment, &tpkt(b"bad")).verdict;
    assert_eq!(told, Denial { sequence: Some(15), ..denial() }.into());
}

#[test]
fn bytes_sent_again_must_be_the_same_until_they_are_acknowledged() {
    let mut wire = Wire::open(100);
    let stream = tpkt(b"setup");
    assert_eq!(wire.data(100, &stream), PASS);
    assert_eq!(wire.data(100, &stream), PASS, "a retransmission");
    assert_eq!(wire.data(104, b"setuX"), OVERLAP);
    assert_eq!(wire.data(108, b"X"), OVERLAP, "one byte of it");
    wire.server(1, 109, flag::ACK, b"");
    assert_eq!(wire.streams.kept(), 0);
    assert_eq!(wire.data(104, b"setuX"), PASS, "the far end has it and will not look");
    assert_eq!(wire.messages.len(), 1);
}

#[test]
fn bytes_beyond_a_gap_are_compared_too() {
    let mut wire = Wire::open(100);
    assert_eq!(wire.data(104, b"setup"), PASS);
    assert_eq!(wire.data(100, &tpkt(b"setuX")), OVERLAP);
    assert_eq!(wire.data(100, &tpkt(b"setup")), PASS);
    assert_eq!(wire.messages, [b"setup"]);
}

#[test]
fn only_the_receiver_vouches_for_where_a_stream_begins() {
    // The server may lie about its own first byte, until the client has acknowledged it.
    let mut wire = Wire::open(100);
    assert_eq!(wire.server(0xffff_fff0, 100, flag::ACK, &tpkt(b"early bird")), OVERLAP);
    assert_eq!(wire.server(2, 100, flag::ACK, &tpkt(b"late")), REFUSED);
    assert!(wire.messages.is_empty());
    wire.send(CLIENT, SERVER, Segment { sequence: 100, acknowledgement: 1, flags: flag::ACK }, b"");
    assert_eq!(wire.server(0xffff_fff0, 100, flag::ACK, &tpkt(b"early bird")), PASS, "not read by anybody");
    assert_eq!(wire.server(6, 100, flag::ACK, &tpkt(b"two")), PASS, "beyond a gap");
    assert_eq!(wire.server(1, 100, flag::ACK, &tpkt(b"x")), PASS);
    assert_eq!(wire.messages, [&b"x"[..], b"two"]);
}

#[test]
fn a_segment_ahead_of_the_handshake_does_not_set_the_beginning() {
    let mut wire = Wire::new(StreamBounds::default());
    wire.client(99, flag::SYN, b"");
    wire.data(5_000, &tpkt(b"decoy"));
    wire.server(0, 100, flag::SYN | flag::ACK, b"");
    assert_eq!(wire.data(100, &tpkt(b"real")), PASS);
    assert_eq!(wire.messages, [&b"decoy"[..], b"real"]);
}

#[test]
fn a_reset_that_may_not_arrive_does_not_hide_what_follows() {
    let mut wire = Wire::open(100);
    let stream = [tpkt(b"one"), tpkt(b"two")].concat();
    wire.data(100, &stream[..5]);
    wire.client(105, flag::RST, b"");
    wire.now = Time::default() + Duration::from_secs(3_600);
    wire.streams.tick(wire.now);
    assert_eq!(wire.data(105, &stream[5..]), PASS);
    assert_eq!(wire.messages, [b"one", b"two"]);
}

#[test]
fn later_on_mid_stream_connections_must_begin_with_a_message() {
    let mut wire = Wire::open(100);
    wire.now = Time::default() + Duration::from_secs(61);
    let late = "192.0.2.1:40001";
    let send = |wire: &mut Wire, sequence, payload: &[u8]| {
        wire.send(late, SERVER, Segment { sequence, acknowledgement: 0, flags: 0 }, payload).verdict
    };
    assert_eq!(send(&mut wire, 500, b"tail"), MALFORMED);
    assert_eq!(send(&mut wire, 504, &tpkt(b"one")), PASS);
    assert_eq!(send(&mut wire, 520, &tpkt(b"two")), REFUSED, "nobody has vouched for 504");
    assert_eq!(send(&mut wire, 400, &tpkt(b"old")), OVERLAP);
    assert_eq!(wire.messages, [b"one"]);
    let ack = Segment { sequence: 1, acknowledgement: 511, flags: flag::ACK };
    wire.send(SERVER, late, ack, b"");
    assert_eq!(send(&mut wire, 520, &tpkt(b"two")), PASS);
}

#[test]
fn sequence_numbers_wrap() {
    let mut wire = Wire::open(u32::MAX - 5);
    let stream = [tpkt(b"one"), tpkt(b"two")].concat();
    wire.data(u32::MAX - 5, &stream[..3]);
    wire.data(1, &stream[7..]);
    assert_eq!(wire.data(u32::MAX - 2, &stream[3..7]), PASS);
    assert_eq!(wire.messages, [b"one", b"two"]);
    wire.server(1, 8, flag::ACK, b"");
    assert_eq!(wire.streams.kept(), 0);
}

#[test]
fn what_no_reader_can_frame_is_refused() {
    let mut wire = Wire::open(100);
    let reset = Verdict::Reset(Reason::AlgMalformed);
    assert_eq!(wire.data(100, b"GET / HTTP/1.1"), reset);
    assert_eq!(wire.data(114, &tpkt(b"x")), reset);
    assert!(wire.messages.is_empty());
}

#[test]
fn urgent_bytes_and_data_with_a_syn_are_refused() {
    let mut wire = Wire::open(100);
    for flags in [flag::URG, flag::SYN, flag::SYN | flag::ACK] {
        assert_eq!(wire.client(100, flags, &tpkt(b"x")), Verdict::Drop(Reason::AlgRefused));
    }
    assert!(wire.messages.is_empty());
}

#[test]
fn mid_stream_is_picked_up_at_a_message() {
    let mut wire = Wire::new(StreamBounds::default());
    assert_eq!(wire.data(500, b"tail of something"), PASS);
    assert_eq!(wire.data(517, &tpkt(b"setup")[..2]), PASS, "even two bytes can begin one");
    assert_eq!(wire.data(519, &tpkt(b"setup")[2..]), PASS);
    assert_eq!(wire.messages, [b"setup"]);
    assert_eq!(wire.data(505, b"old news"), PASS);

    assert_eq!(wire.data(526, b"\x03 no message"), PASS, "a wrong guess");
    assert_eq!(wire.data(538, b"and its end"), PASS);
    assert_eq!(wire.data(549, &tpkt(b"again")), PASS);
    assert_eq!(wire.messages.len(), 1, "0x6e6f more bytes are waited for");
    wire.server(1, 0x8000, flag::ACK, b"");
    assert_eq!(wire.data(0x8000, &tpkt(b"again")), PASS);
    assert_eq!(wire.messages.len(), 2, "the far end has bytes that never came by: a new start");
}

#[test]
fn memory_is_bounded_and_given_back() {
    let bounds = StreamBounds { connections: 1, direction: 100, total: 150 };
    let mut wire = Wire::new(bounds);
    wire.server(0, 1, flag::SYN | flag::ACK, b"");
    let long = tpkt(&[0; 200]);
    assert_eq!(wire.data(1, &long[..90]), PASS);
    assert_eq!(wire.data(91, &long[90..101]), MEMORY, "of the direction");
    assert_eq!(wire.data(91, &long[90..100]), PASS);
    assert_eq!(wire.server(1, 1, flag::ACK, &long[..51]), MEMORY, "of all");
    assert_eq!(wire.server(1, 1, flag::ACK, &long[..50]), PASS);
    assert_eq!(wire.streams.kept(), 150);
    let other = Segment { sequence: 1, acknowledgement: 0, flags: 0 };
    assert_eq!(wire.send("192.0.2.3:1", SERVER, other, &long[..9]).verdict, MEMORY, "no more connections");
    wire.streams.tick(Time::default() + Duration::from_secs(7_201));
    assert_eq!((wire.streams.kept(), wire.streams.len()), (0, 0));
}

#[test]
fn gaps_are_bounded() {
    let mut wire = Wire::open(0);
    let verdicts: Vec<_> = (0..40).map(|n| wire.data(4 + 2 * n, b"x")).collect();
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == PASS).count(), MAX_PIECES);
    assert_eq!(verdicts.last(), Some(&MEMORY));
}

#[test]
fn only_a_reset_or_fin_at_the_right_place_closes() {
    let mut wire = Wire::open(100);
    let end = |sequence, flags| Segment { sequence, acknowledgement: 0, flags };
    assert_eq!(wire.send(CLIENT, SERVER, end(99, flag::RST), b"").closing, None);
    assert_eq!(wire.send(CLIENT, SERVER, end(105, flag::FIN), b"").closing, None);
    assert_eq!(wire.send(CLIENT, SERVER, end(100, flag::FIN), &tpkt(b"bye")).closing, Some(Closing::Fin));
    assert_eq!(wire.send(CLIENT, SERVER, end(100, flag::FIN), &tpkt(b"bye")).closing, None, "once");
    assert_eq!(wire.messages, [b"bye"]);
    assert_eq!(wire.send(SERVER, CLIENT, end(1, flag::RST), b"").closing, Some(Closing::Reset));
    assert_eq!(wire.send(SERVER, CLIENT, end(1, flag::RST), b"").closing, None, "once");
}

#[test]
fn connections_that_were_reset_make_room() {
    let mut wire = Wire::new(StreamBounds { connections: 1, ..StreamBounds::default() });
    wire.now = Time::default() + Duration::from_secs(5);
    wire.data(1, &tpkt(b"one"));
    let other = Segment { sequence: 1, acknowledgement: 0, flags: 0 };
    assert_eq!(wire.send("192.0.2.3:1", SERVER, other, &tpkt(b"two")).verdict, MEMORY);
    wire.client(8, flag::RST, b"");
    wire.now = wire.now + Duration::from_secs(1);
    assert_eq!(wire.send("192.0.2.3:1", SERVER, other, &tpkt(b"two")).verdict, PASS);
    assert_eq!((wire.streams.len(), wire.streams.kept()), (1, 7));
}

#[test]
fn a_connection_over_is_forgotten_soon_and_its_ports_may_be_used_again() {
    let mut wire = Wire::open(100);
    wire.client(100, flag::FIN, b"");
    wire.server(1, 101, flag::FIN | flag::ACK, b"");
    wire.client(7_000, flag::SYN, b"");
    wire.server(9_000, 7_001, flag::SYN | flag::ACK, b"");
    assert_eq!(wire.data(7_001, &tpkt(b"new")), PASS);
    assert_eq!(wire.messages, [b"new"]);
    wire.streams.tick(Time::default() + Duration::from_secs(11));
    assert_eq!(wire.streams.len(), 1, "it is alive");
}

#[test]
fn one_end_alone_cannot_begin_the_connection_anew() {
    let mut wire = Wire::open(100);
    assert_eq!(wire.client(8_000, flag::SYN | flag::ACK, b""), PASS);
    assert_eq!(wire.data(100, &tpkt(b"real")), PASS);
    assert_eq!(wire.messages, [b"real"]);
}

proptest! {
    /// Whatever the segments, their order and their repetitions: each message once, in order.
    #[test]
    fn every_message_is_read_once_and_in_order(
        first: u32,
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..12),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..60), 1..60),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|message| tpkt(message)).collect();
        let mut wire = Wire::open(first);
        // Random pieces, overlapping as they like, then all of it once more in order.
        let random = cuts.iter().map(|(at, length)| (at.index(stream.len()), *length));
        let rest = (0..stream.len()).step_by(25).map(|at| (at, 25));
        for (at, length) in random.chain(rest) {
            let end = stream.len().min(at + length);
            let verdict = wire.data(first.wrapping_add(at as u32), &stream[at..end]);
            let bounded = wire.streams.connections.values().all(|c| c.directions.iter().all(|d| d.pieces.len() <= MAX_PIECES));
            prop_assert!(bounded);
            prop_assert!(verdict == PASS || verdict == MEMORY);
        }
        prop_assert_eq!(&wire.messages, &messages);
        wire.server(1, first.wrapping_add(stream.len() as u32), flag::ACK, b"");
        prop_assert_eq!(wire.streams.kept(), 0);
    }

    /// No segment, however wild, breaks the accounts or the reader.
    #[test]
    fn wild_segments_keep_the_accounts(
        segments in prop::collection::vec(
            (any::<bool>(), 0_u32..400, 0_u32..400, any::<u8>(), prop::collection::vec(0_u8..8, 0..30)),
            1..80,
        ),
    ) {
        let mut wire = Wire::new(StreamBounds { connections: 2, direction: 120, total: 200 });
        for (client, sequence, acknowledgement, flags, payload) in segments {
            let (from, to) = if client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
            wire.send(from, to, Segment { sequence, acknowledgement, flags }, &payload);
            let kept: usize = wire.streams.connections.values().map(Connection::kept).sum();
            prop_assert_eq!(kept, wire.streams.kept());
            prop_assert!(kept <= 200);
        }
    }
}

/// What stands in for a message that is refused, if its connection is to go on.
fn instead(message: &[u8]) -> Verdict {
    let patches = vec![(0, tpkt(message))];
    Verdict::Replace(Box::new(Replacement {
        patches,
        otherwise: Box::new(Verdict::Reset(Reason::AlgRefused)),
    }))
}

fn patches(verdict: Verdict) -> Vec<(usize, Vec<u8>)> {
    match verdict {
        Verdict::Replace(replacement) => replacement.patches,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replaced_message_is_replaced_whenever_it_is_sent() {
    let mut wire = Wire::open(100);
    (wire.refuse, wire.verdict) = (Some(b"two".to_vec()), instead(b"owt"));
    let stream = [tpkt(b"one"), tpkt(b"two"), tpkt(b"three"), tpkt(b"four")].concat();
    assert_eq!(patches(wire.data(100, &stream[..23])), [(7, tpkt(b"owt"))]);
    assert_eq!(wire.messages, [&b"one"[..], b"two", b"three"]);
    // Again: as a whole, its beginning, its end, and with more behind it.
    assert_eq!(patches(wire.data(100, &stream[..23])), [(7, tpkt(b"owt"))]);
    assert_eq!(patches(wire.data(107, &stream[7..12])), [(0, tpkt(b"owt")[..5].to_vec())]);
    assert_eq!(patches(wire.data(112, &stream[12..])), [(0, tpkt(b"owt")[5..].to_vec())]);
    assert_eq!(wire.data(114, &stream[14..]), PASS);
    assert_eq!(wire.messages.len(), 4, "each is read once");
    // Other octets are none of it.
    assert_eq!(wire.data(107, &tpkt(b"owt")), OVERLAP);
    // The far end has a part of it, then all.
    wire.server(1, 110, flag::ACK, b"");
    assert_eq!(patches(wire.data(100, &stream)), [(10, tpkt(b"owt")[3..].to_vec())]);
    wire.server(1, 114, flag::ACK, b"");
    assert_eq!(wire.data(100, &stream), PASS);
}

#[test]
fn a_message_that_has_gone_on_in_part_is_not_replaced() {
    let stream = [tpkt(b"one"), tpkt(b"two")].concat();
    let open = || {
        let mut wire = Wire::open(100);
        (wire.refuse, wire.verdict) = (Some(b"two".to_vec()), instead(b"owt"));
        wire
    };
    let refused = Verdict::Reset(Reason::AlgRefused);
    // Its first octets came before.
    let mut wire = open();
    assert_eq!(wire.data(100, &stream[..9]), PASS);
    assert_eq!(wire.data(109, &stream[9..]), refused);
    // It has gone on beyond a gap, as a whole or in part.
    for known in [7..14, 10..12] {
        let mut wire = open();
        assert_eq!(wire.data(100 + known.start as u32, &stream[known]), PASS);
        assert_eq!(wire.data(100, &stream), refused);
    }
    // What came before it is none of it.
    let mut wire = open();
    assert_eq!(wire.data(100, &stream[..7]), PASS);
    assert_eq!(patches(wire.data(100, &stream)), [(7, tpkt(b"owt"))]);
}

#[test]
fn a_message_is_replaced_by_one_of_its_length_in_a_stream_that_was_seen_to_begin() {
    let refused = Verdict::Reset(Reason::AlgRefused);
    let mut wire = Wire::open(100);
    (wire.refuse, wire.verdict) = (Some(b"one".to_vec()), instead(b"longer"));
    assert_eq!(wire.data(100, &tpkt(b"one")), refused);
    let mut wire = Wire::new(StreamBounds::default());
    (wire.refuse, wire.verdict) = (Some(b"one".to_vec()), instead(b"eno"));
    assert_eq!(wire.data(100, &tpkt(b"one")), refused);
}

#[test]
fn what_is_refused_behind_a_replaced_message_is_refused() {
    let mut wire = Wire::open(100);
    (wire.refuse, wire.verdict) = (Some(b"one".to_vec()), instead(b"eno"));
    let stream = [&tpkt(b"one")[..], b"no TPKT"].concat();
    assert_eq!(wire.data(100, &stream), Verdict::Reset(Reason::AlgMalformed));
}
