//! H.245 messages as they ought to be, and as they ought not.

use proptest::prelude::*;

use super::*;
use crate::build;
use crate::per::Fault;
use crate::writer::{Writer, encode};

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn places() -> [build::Media; 2] {
    [
        build::Media { rtp: at("192.0.2.1:17000"), rtcp: at("192.0.2.1:17001") },
        build::Media { rtp: at("[2001:db8::1]:17000"), rtcp: at("[2001:db8::1]:17001") },
    ]
}

const PCMU: DataType =
    DataType { class: Class::Audio, codec: "PCMU", extended: false, encrypted: false, bit_rate: 0 };

#[test]
fn a_channel_is_opened_and_granted() {
    for media in places() {
        let open = Message::parse(&build::open_logical_channel(300, 1, media.rtcp));
        let forward = Media { session: 1, media_control_channel: Some(media.rtcp), ..Media::default() };
        let want = OpenLogicalChannel {
            number: 300,
            forward: Channel { data: PCMU, media: Some(forward) },
            reverse: None,
            separate_stack: None,
            replaces: None,
            traversal: false,
        };
        assert_eq!(open, Ok(Message::OpenLogicalChannel(want)));

        let ack = Message::parse(&build::open_logical_channel_ack(300, 2, media));
        let forward = Media {
            session: 2,
            media_channel: Some(media.rtp),
            media_control_channel: Some(media.rtcp),
            ..Media::default()
        };
        let want = OpenLogicalChannelAck {
            number: 300,
            reverse_number: None,
            reverse: None,
            forward: Some(forward),
            separate_stack: None,
            traversal: false,
        };
        assert_eq!(ack, Ok(Message::OpenLogicalChannelAck(want)));
    }
}

#[test]
fn proposals_in_both_directions() {
    let [media, _] = places();
    let read: Vec<_> = build::proposals(media).iter().map(|p| OpenLogicalChannel::parse(p)).collect();
    let [Ok(forward), Ok(reverse)] = read[..] else { panic!("{read:?}") };
    assert_eq!(forward.forward.media.map(|m| m.media_control_channel), Some(Some(media.rtcp)));
    assert_eq!(reverse.forward.data.class, Class::Null);
    let channel = reverse.reverse.expect("the caller receives");
    assert_eq!(channel.data, PCMU);
    assert_eq!(channel.media.map(|m| m.media_channel), Some(Some(media.rtp)));
}

#[test]
fn the_others_by_name() {
    let messages = [
        (build::terminal_capability_set(true), Message::TerminalCapabilitySet { empty: true }),
        (build::terminal_capability_set(false), Message::TerminalCapabilitySet { empty: false }),
        (build::terminal_capability_set_ack(), Message::Other("terminalCapabilitySetAck")),
        (build::master_slave_determination(1), Message::Other("masterSlaveDetermination")),
        (build::master_slave_determination_ack(true), Message::Other("masterSlaveDeterminationAck")),
        (build::open_logical_channel_reject(9), Message::OpenLogicalChannelReject(9)),
        (build::close_logical_channel(65_535), Message::CloseLogicalChannel(65_535)),
        (build::close_logical_channel_ack(1), Message::CloseLogicalChannelAck(1)),
        (build::end_session(), Message::EndSession),
    ];
    for (encoding, want) in messages {
        assert_eq!(Message::parse(&encoding), Ok(want));
    }
}

#[test]
fn t120_has_a_stack_of_its_own() {
    for stack in places().map(|media| media.rtp) {
        let read = Message::parse(&build::open_data_channel(7, stack));
        let Ok(Message::OpenLogicalChannel(open)) = read else { panic!("{read:?}") };
        assert_eq!((open.forward.data.class, open.forward.data.codec), (Class::T120, "T120"));
        assert_eq!(open.separate_stack, Some(stack));
    }
}

#[test]
fn channel_number_0xffff_on_the_wire_is_out_of_range() {
    let mut encoding = build::close_logical_channel(65_535);
    let place = encoding.iter().position(|octet| *octet == 0xff).expect("the number");
    encoding[place + 1] = 0xff;
    assert_eq!(Message::parse(&encoding).expect_err("refused").fault, crate::per::Fault::Range);
}

/// An OpenLogicalChannel of fastStart whose data type is this, in bits, with H.225.0 parameters for session 2
/// and RTCP at 192.0.2.1:17001.
fn with_data_type(bits: &[u8]) -> Vec<u8> {
    let mut all = vec![0, 0]; // preamble
    all.resize(8, 0);
    all.extend([0; 16]); // number 1
    all.extend([0, 0]); // preamble of the parameters
    all.extend(bits);
    all.push(1); // h2250LogicalChannelParameters
    all.extend([0; 7]);
    all.resize(all.len().next_multiple_of(8), 0);
    let mut encoding: Vec<u8> =
        all.chunks(8).map(|octet| octet.iter().fold(0, |value, bit| value << 1 | bit)).collect();
    // preamble with mediaControlChannel, session, unicast iPAddress
    encoding.extend([11, 0b0000_0100, 0, 2, 0, 192, 0, 2, 1, 0x42, 0x69, 0]);
    encoding
}

/// `text` of 0 and 1; `|` pads to an octet, given that the type begins at bit 26.
fn bits(text: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    for sign in text.chars() {
        match sign {
            '|' => bits.resize((bits.len() + 26).next_multiple_of(8) - 26, 0),
            '0' | '1' => bits.push(u8::from(sign == '1')),
            _ => {}
        }
    }
    bits
}

#[test]
fn data_types_are_stepped_over_to_the_address() {
    let cases = [
        // g7231: maxAl-sduAudioFrames, silenceSuppression
        ("0 011 0 1000 | 00000011 1", Class::Audio, "G723"),
        // gsmFullRate, an extension in an open type
        ("0 011 1 0000011 | 00000010 1010101010101010", Class::Audio, "GSM"),
        // h261: qcifMPI, cifMPI, trade-off, maxBitRate, still
        ("0 010 0 001 0 11 01 10 0 | 0001001000110100 1", Class::Video, "H261"),
        // h263: cifMPI only, maxBitRate in two octets, five flags
        ("0 010 0 011 0 0010000 00001 01 | 0000000100000000 00000", Class::Video, "H263"),
        // t38fax over udp; its maxBitRate
        ("0 100 0 1 0000010 | 00000011 10000110 00000001 00000000 00 | 11111111", Class::Fax, "T38"),
        // the same over tcp
        ("0 100 0 1 0000010 | 00000011 10000101 00000001 00000000 00 | 11111111", Class::Data, "T38"),
        // t120, separateLANStack
        ("0 100 0 0 0001 1 0000011 | 00000001 00000000 00 | 01100100", Class::T120, "T120"),
        // is11172 and is13818: their flags, and bitRate
        ("0 011 0 1100 0 10101010 | 00000000 01000000", Class::Audio, "MPEG-1"),
        ("0 011 0 1101 0 10101010101010101010 | 00000001 00000000", Class::Audio, "MPEG-2"),
        // h262 with all its optional fields: videoBitRate, vbvBufferSize, samplesPerLine, linesPerFrame,
        // framesPerSecond, luminanceSampleRate
        (
            "0 010 0 010 0 111111 10101010101 10 | 00000001 00000000 00000000 01 | 00000001 00000000 |
             00000001 00000000 | 00000001 00000001 0101 11 | 00000001 00000010 00000011 00000100",
            Class::Video,
            "H262",
        ),
        // h263 with all of them
        (
            "0 010 0 011 0 1111111 00001 00010 00011 00100 00101 01 | 0000000100000000 10101 10 |
             000000010000001000000011 | 0001001000110100",
            Class::Video,
            "H263",
        ),
        // t84 restricted, nlpid, h224
        ("0 100 0 0 0100 0 001 1 0 1010101010101010101 00 | 01100100", Class::Data, "T84"),
        ("0 100 0 0 0111 0 001 | 00000010 10101010 10101010 00 | 01100100", Class::Data, "NLPID"),
        ("0 100 0 0 0110 0 011 00 | 01100100", Class::Other, "H224"),
        // h235Media
        ("1 0000001 | 00000001 11111111", Class::Other, "H235"),
    ];
    for (text, class, codec) in cases {
        let open = OpenLogicalChannel::parse(&with_data_type(&bits(text)));
        let channel = open.unwrap_or_else(|error| panic!("{codec}: {error}")).forward;
        assert_eq!((channel.data.class, channel.data.codec), (class, codec));
        let media = channel.media.expect("parameters");
        assert_eq!((media.session, media.media_control_channel), (2, Some(at("192.0.2.1:17001"))), "{codec}");
    }
}

#[test]
fn every_cut_is_refused() {
    let [media, _] = places();
    for whole in [build::open_logical_channel(3, 1, media.rtcp), build::open_logical_channel_ack(3, 1, media)]
    {
        for end in 0..whole.len() {
            assert!(Message::parse(&whole[..end]).is_err(), "{end} octets");
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        which in 0_usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let [v4, v6] = places();
        let mut encoding = match which {
            0 => build::open_logical_channel(3, 1, v6.rtcp),
            1 => build::open_logical_channel_ack(3, 1, v4),
            2 => build::open_logical_channel_ack(3, 1, v6),
            _ => build::terminal_capability_set(false),
        };
        for (place, value) in damage {
            let place = place.index(encoding.len());
            encoding[place] = value;
        }
        let _ = Message::parse(&encoding);
        let _ = OpenLogicalChannel::parse(&encoding);
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&noise);
        let _ = OpenLogicalChannel::parse(&noise);
    }
}

/// An OpenLogicalChannel of number 5 whose parameters are written by these, with additions, if any.
fn channel(
    data: impl FnOnce(&mut Writer),
    multiplex: impl FnOnce(&mut Writer),
    known: u32,
    additions: &[(u32, Vec<u8>)],
) -> Vec<u8> {
    encode(|w| {
        w.preamble(known > 0, &[false]).u16(4).preamble(false, &[false]);
        data(w);
        multiplex(w);
        if known > 0 {
            w.additions(known, additions);
        }
    })
}

/// H2250LogicalChannelParameters of session 2, RTCP at 192.0.2.1:17001, with what follows that address.
fn parameters(w: &mut Writer, behind: [bool; 5], write: impl FnOnce(&mut Writer)) {
    let [control, silence, destination, payload, packets] = behind;
    w.added(0, |w| {
        w.preamble(
            false,
            &[false, false, false, false, true, control, silence, destination, payload, packets],
        );
        w.u8(2).choice(0, 1).choice(0, 3).preamble(false, &[]).octets(&[192, 0, 2, 1]).u16(17_001);
        write(w);
    });
}

fn plain_parameters(w: &mut Writer) {
    parameters(w, [false; 5], |_| {});
}

/// audioData: G.711 µ-law.
fn pcmu(w: &mut Writer) {
    w.choice(3, 3).choice(3, 4).u8(19);
}

fn forward(encoding: &[u8]) -> Channel {
    let channel = OpenLogicalChannel::parse(encoding).expect("a channel").forward;
    let media = channel.media.expect("parameters");
    assert_eq!((media.session, media.media_control_channel), (2, Some(at("192.0.2.1:17001"))));
    channel
}

#[test]
fn data_types_of_later_versions_are_skipped_by_their_length() {
    let noise = |w: &mut Writer| _ = w.octets(&[0xff; 140]);
    type Write = fn(&mut Writer);
    let cases: [(Write, Class); 4] = [
        (|w| _ = w.added(50, |w| _ = w.octets(&[0xff; 140])), Class::Other),
        (|w| _ = w.choice(3, 3).added(50, |w| _ = w.octets(&[0xff; 140])), Class::Audio),
        (|w| _ = w.choice(2, 3).added(50, |w| _ = w.octets(&[0xff; 140])), Class::Video),
        (
            |w| _ = w.choice(4, 3).preamble(false, &[]).added(50, |w| _ = w.octets(&[1])).bits(0, 2).u8(1),
            Class::Other,
        ),
    ];
    for (data, class) in cases {
        assert_eq!(forward(&channel(data, plain_parameters, 0, &[])).data.class, class);
    }
    // Composed and encrypted ones that cannot be read are as good as those.
    for index in [0, 1, 2, 3, 4, 5, 6] {
        let data = |w: &mut Writer| _ = w.added(index, noise);
        assert_eq!(forward(&channel(data, plain_parameters, 0, &[])).data.encrypted, index == 1);
    }
}

#[test]
fn additions_of_later_versions_to_a_channel_are_skipped() {
    let noise = vec![0xff; 90];
    let stack = encode(|w| {
        w.preamble(false, &[false; 2]).choice(2, 2);
        w.choice(0, 1).choice(0, 3).preamble(false, &[]).octets(&[192, 0, 2, 9]).u16(1503);
    });
    // encryptionSync may hold anything, and so may genericInformation.
    let additions = [(0, stack), (1, vec![0xff]), (2, vec![0xff]), (33, noise.clone()), (63, noise)];
    let open =
        OpenLogicalChannel::parse(&channel(pcmu, plain_parameters, 64, &additions)).expect("a channel");
    assert_eq!((open.separate_stack, open.traversal), (Some(at("192.0.2.9:1503")), false));
    // But where a stack listens must be told well.
    let cut = [(0, vec![0x08, 0x00, 192])];
    assert!(OpenLogicalChannel::parse(&channel(pcmu, plain_parameters, 1, &cut)).is_err());
}

#[test]
fn parameters_of_other_networks_and_of_later_versions() {
    let later = |w: &mut Writer| _ = w.added(9, |w| _ = w.octets(&[0xff; 9]));
    let open = OpenLogicalChannel::parse(&channel(pcmu, later, 0, &[])).expect("a channel");
    assert_eq!(open.forward.media, None);
    let h223 = |w: &mut Writer| _ = w.choice(1, 2);
    let refused = OpenLogicalChannel::parse(&channel(pcmu, h223, 0, &[])).expect_err("refused");
    assert_eq!(refused.fault, Fault::Unsupported);
}

#[test]
fn an_address_must_be_good_and_what_follows_need_not() {
    // mediaControlGuaranteedDelivery, silenceSuppression, destination, then the payload type
    let good = |w: &mut Writer| {
        parameters(w, [true, true, true, true, false], |w| {
            w.bits(0b11, 2).preamble(false, &[]).bits(1, 8).bits(2, 8).bits(101 - 96, 5);
        })
    };
    assert_eq!(forward(&channel(pcmu, good, 0, &[])).media.and_then(|media| media.payload_type), Some(101));
    // The same without a payload type where one is announced: nobody opens anything by it.
    let bad = |w: &mut Writer| parameters(w, [true, true, true, true, false], |_| {});
    assert_eq!(forward(&channel(pcmu, bad, 0, &[])).media.and_then(|media| media.payload_type), None);
    // An address cut short.
    let cut = |w: &mut Writer| {
        w.added(0, |w| {
            w.preamble(false, &[false, false, false, false, true, false, false, false, false, false]);
            w.u8(2).choice(0, 1).choice(0, 3).preamble(false, &[]).octets(&[192, 0]);
        });
    };
    assert!(OpenLogicalChannel::parse(&channel(pcmu, cut, 0, &[])).is_err());
    // One of a form that a later version has, or that is no IP.
    for write in [
        (|w: &mut Writer| _ = w.added(7, |w| _ = w.octets(&[0xff; 5]))) as fn(&mut Writer),
        |w| _ = w.choice(0, 1).added(1, |w| _ = w.octets(&[0xff; 5])),
        |w| _ = w.choice(0, 1).choice(3, 3).octets(&[7; 16]),
    ] {
        let other = |w: &mut Writer| {
            w.added(0, |w| {
                w.preamble(false, &[false, false, false, false, true, false, false, false, false, false]);
                w.u8(2);
                write(w);
            });
        };
        let open = OpenLogicalChannel::parse(&channel(pcmu, other, 0, &[])).expect("a channel");
        assert_eq!(open.forward.media.map(|media| media.media_control_channel), Some(None));
    }
}

#[test]
fn multicast_is_read_like_unicast() {
    let group = |w: &mut Writer| {
        w.added(0, |w| {
            w.preamble(false, &[false, false, true, false, true, false, false, false, false, false]).u8(1);
            w.choice(1, 1).choice(0, 1).preamble(false, &[]).octets(&[239, 1, 2, 3]).u16(5000);
            w.choice(1, 1).choice(1, 1).preamble(false, &[]).octets(&[0xff; 16]).u16(5001);
        });
    };
    let open = OpenLogicalChannel::parse(&channel(pcmu, group, 0, &[])).expect("a channel");
    let media = open.forward.media.expect("parameters");
    assert_eq!(media.media_channel, Some(at("239.1.2.3:5000")));
    assert!(media.media_control_channel.is_some_and(|address| address.ip().is_multicast()));
}

#[test]
fn a_second_picture_and_what_is_encrypted_are_known() {
    /// itu-t(0) recommendation(0) h(8) 241 specificVideoCodecCapabilities(0) 0 generic-capabilities(1)
    const H264: [u8; 7] = [0x00, 0x08, 0x81, 0x71, 0x00, 0x00, 0x01];
    let generic = |w: &mut Writer| _ = w.preamble(false, &[false; 5]).choice(0, 2).bytes(&H264);
    let extended = |w: &mut Writer| {
        w.choice(2, 3).added(1, |w| {
            w.preamble(false, &[false]).length(1).added(0, generic);
        });
    };
    let second = forward(&channel(extended, plain_parameters, 0, &[])).data;
    assert_eq!(
        second,
        DataType { class: Class::Video, codec: "H264", extended: true, encrypted: false, bit_rate: 0 }
    );
    let encrypted = |w: &mut Writer| {
        w.added(1, |w| {
            // One algorithm, by its object identifier; G.729.
            w.preamble(false, &[]).preamble(false, &[true, false, false]).u8(0).choice(1, 1).bytes(&[1, 2]);
            w.choice(2, 2).choice(10, 4).u8(1);
        });
    };
    let secret = forward(&channel(encrypted, plain_parameters, 0, &[])).data;
    assert_eq!(
        secret,
        DataType { class: Class::Audio, codec: "G729", extended: false, encrypted: true, bit_rate: 0 }
    );
}

#[test]
fn one_channel_for_several_payloads_and_for_redundant_ones() {
    let several = |w: &mut Writer| {
        w.added(4, |w| {
            // Nothing, something composed, then video.
            w.preamble(false, &[]).length(3);
            w.preamble(false, &[true]).choice(1, 3).bits(33, 7);
            w.preamble(false, &[false]).added(4, |w| _ = w.octets(&[0xff; 4]));
            w.preamble(false, &[false]).choice(2, 3).choice(0, 3).choice(0, 0).bytes(&[1]).bytes(&[]);
        });
    };
    let data = forward(&channel(several, plain_parameters, 0, &[])).data;
    assert_eq!((data.class, data.codec), (Class::Video, "non-standard"));
    let redundant = |w: &mut Writer| _ = w.added(3, |w| _ = w.preamble(false, &[false]).choice(1, 1));
    assert_eq!(forward(&channel(redundant, plain_parameters, 0, &[])).data.class, Class::Audio);
}

#[test]
fn channels_that_take_the_place_of_others_and_that_pass_nats() {
    let h460_19 = encode(|w| {
        w.length(1)
            .preamble(false, &[false; 2])
            .choice(0, 2)
            .bytes(&[0x00, 0x08, 0x83, 0x4c, 0x13, 0x00, 0x01]);
    });
    let encoding = encode(|w| {
        w.preamble(true, &[false]).u16(6).preamble(true, &[false]);
        pcmu(w);
        plain_parameters(w);
        w.additions(2, &[(0, vec![0, 1]), (1, vec![0, 4])]);
        w.additions(3, &[(2, h460_19)]);
    });
    let open = OpenLogicalChannel::parse(&encoding).expect("a channel");
    assert_eq!((open.number, open.replaces, open.traversal), (7, Some(5), true));
}

/// A MultimediaSystemControlMessage with an added alternative of this kind, in an open type.
fn added(kind: u32, index: u32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    encode(|w| _ = w.choice(kind, 2).added(index, write))
}

#[test]
fn messages_of_later_versions_are_unknown() {
    for kind in 0..4 {
        let unknown = added(kind, 40, |w| _ = w.octets(&[0xff; 130]));
        assert_eq!(Message::parse(&unknown), Ok(Message::Other("unknown")));
    }
    assert_eq!(Message::parse(&encode(|w| _ = w.added(0, |_| {}))), Ok(Message::Other("unknown")));
    assert!(Message::parse(&[0x80]).is_err());
    let tolerated = encode(|w| _ = w.choice(2, 2).choice(6, 3).octets(&[0xff; 9]));
    assert_eq!(Message::parse(&tolerated), Ok(Message::Other("miscellaneousCommand")));
}

#[test]
fn who_may_show_a_second_picture() {
    let message = |identifier: &'static [u8], number: u32| {
        let write = move |w: &mut Writer| {
            w.preamble(false, &[true, false]).choice(0, 2).bytes(identifier).bits(number, 7);
        };
        [(0, 4), (1, 5), (2, 5), (3, 9)].map(|(kind, index)| added(kind, index, write))
    };
    let read =
        |messages: [Vec<u8>; 4]| messages.map(|message| Message::parse(&message).expect("a message").name());
    assert_eq!(read(message(&[0, 8, 0x81, 0x6f, 2], 3)), ["presentationTokenRequest"; 4]);
    assert_eq!(read(message(&[0, 8, 0x81, 0x6f, 2], 99)), ["unknown"; 4]);
    let generic = ["genericRequest", "genericResponse", "genericCommand", "genericIndication"];
    assert_eq!(read(message(&[0, 8, 1], 3)), generic);
    let damaged =
        [(0, 4), (1, 5), (2, 5), (3, 9)].map(|(kind, index)| added(kind, index, |w| _ = w.u8(0xff)));
    assert_eq!(read(damaged), generic);
}

#[test]
fn an_mc_tells_where_to_send() {
    let entry = |w: &mut Writer, session: u32| {
        w.preamble(false, &[false, false, false, true, false, false, false]).bits(session - 1, 8);
        w.bits(0, 7).octets(&[0, b'a']); // sessionDescription
        w.choice(1, 2).choice(3, 4).u8(19); // audioData
        w.choice(1, 1).choice(0, 1).preamble(false, &[]).octets(&[239, 1, 2, session as u8]).u16(5000);
    };
    let command = |count: u32| {
        added(2, 0, |w| {
            w.preamble(false, &[]).u8(count as u8 - 1);
            (1..=count).for_each(|session| entry(w, session));
        })
    };
    let Ok(Message::CommunicationMode(modes)) = Message::parse(&command(6)) else { panic!("not read") };
    let told: Vec<_> = modes.iter().map(|mode| (mode.session, mode.media_channel, mode.data.class)).collect();
    let wanted = (1..=4).map(|n| (n, Some(at(&format!("239.1.2.{n}:5000"))), Class::Audio));
    assert_eq!(told, wanted.collect::<Vec<_>>());
    let whole = command(1);
    for end in 0..whole.len() {
        assert!(Message::parse(&whole[..end]).is_err(), "{end} octets");
    }
}
