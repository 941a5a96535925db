use proptest::prelude::*;

use super::*;
use crate::build::sccp as build;

const CHANNEL: Channel = Channel { conference: 7, party: 0x0100_0085, call: 77 };

fn at(address: &str) -> std::net::SocketAddr {
    address.parse().expect("an address")
}

fn read(frame: &[u8]) -> Body<'_> {
    let message = Message::parse(frame).expect("a message");
    assert_eq!(frame_length(frame), Ok(Some(frame.len())));
    message.body
}

/// Header, message id and octets as they were on a wire, without blanks.
fn hex(version: u32, id: u32, octets: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&octets[at..at + 2], 16).expect("hexadecimal");
    let body: Vec<u8> = (0..octets.len()).step_by(2).map(digit).collect();
    build::message(version, id, &body)
}

#[test]
fn a_stream_is_split_by_length() {
    let frame = build::keep_alive();
    for end in 0..4 {
        assert_eq!(frame_length(&frame[..end]), Ok(None), "{end} octets");
    }
    for end in 4..=frame.len() {
        assert_eq!(frame_length(&frame[..end]), Ok(Some(12)), "{end} octets");
    }
    assert_eq!(frame_length(&[3, 0, 0, 0]), Err(Error::Length(3)));
    assert_eq!(frame_length(&[1, 16, 0, 0]), Err(Error::Length(4_097)));
    assert_eq!(frame_length(&[0, 16, 0, 0]), Ok(Some(4_104)));
    assert_eq!(frame_length(&[4, 0, 0, 0, 23, 0, 0, 0]), Err(Error::Version(23)));
    assert_eq!(frame_length(&[4, 0, 0, 0, 22, 0, 0, 0]), Ok(Some(12)));
    assert_eq!(Message::parse(&frame[..11]), Err(Error::Short { message: "message", needed: 12 }));
}

#[test]
fn a_phone_introduces_itself() {
    let frame = build::register("SEP0011AABBCCDD", at("192.0.2.1:0").ip(), 17);
    let Body::Register(register) = read(&frame) else { panic!("not a Register") };
    assert_eq!((register.name, register.device, register.version), ("SEP0011AABBCCDD", 7, 17));
    assert_eq!(register.address, Some([192, 0, 2, 1].into()));
    assert_eq!((register.lines, register.load), (2, &b"P0030801SR02"[..]));
    assert_eq!(register.mac, Some([0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xdd]));
    // An old phone ends before its lines and its load.
    let old = build::message(0, 1, &frame[12..76]);
    let Body::Register(register) = read(&old) else { panic!("not a Register") };
    assert_eq!((register.version, register.lines, register.load), (17, 0, &b""[..]));
    assert_eq!(register.mac, None);
}

#[test]
fn device_names_are_printable_and_end() {
    for name in ["", "SEP 1", "SEP\u{1b}[2J", "SEPü", "SIXTEENCHARACTER"] {
        let frame = build::register(name, [192, 0, 2, 1].into(), 0);
        assert_eq!(Message::parse(&frame), Err(Error::Name("Register")), "{name:?}");
    }
}

#[test]
fn addresses_have_the_form_of_their_version() {
    for (version, ip) in [(3, "192.0.2.9"), (11, "192.0.2.9"), (17, "192.0.2.9"), (22, "[2001:db8::9]")] {
        let address = at(&format!("{ip}:19654"));
        for video in [false, true] {
            let frame = build::open_receive_ack(version, CHANNEL, address, video);
            let Body::OpenReceiveAck(ack) = read(&frame) else { panic!("not an answer") };
            let channel = Channel { conference: 0, ..CHANNEL };
            assert_eq!(ack, OpenAck { channel, status: 0, address: Some(address), video });
            let frame = build::start(version, CHANNEL, address, 4, video);
            let expected = Start { channel: CHANNEL, address: Some(address), codec: 4, video };
            assert_eq!(read(&frame), Body::StartTransmission(expected));
            let frame = build::start_ack(version, CHANNEL, address, video);
            let expected = StartAck { channel: CHANNEL, status: 0, address: Some(address) };
            assert_eq!(read(&frame), Body::StartTransmissionAck(expected));
        }
        let frame = build::port_response(version, CHANNEL, at("192.0.2.9:19654"), 19_700);
        let address = Some(at("192.0.2.9:19654"));
        assert_eq!(read(&frame), Body::Ports(Ports { channel: CHANNEL, address, rtcp: Some(19_700) }));
    }
}

#[test]
fn a_form_of_another_version_is_refused() {
    let address = at("192.0.2.9:20000");
    let start = |version| build::start(version, CHANNEL, address, 4, false);
    let answer = |version| build::open_receive_ack(version, CHANNEL, address, false);
    for (mut frame, name) in [(start(16), "StartMediaTransmission"), (answer(16), "OpenReceiveChannelAck")] {
        frame[4] = 17;
        let error = Message::parse(&frame).expect_err("short addresses in version 17");
        assert!(matches!(error, Error::Layout(_) | Error::Port { .. }), "{name}: {error}");
    }
}

#[test]
fn header_version_0_may_have_the_long_form() {
    let address = at("192.0.2.9:20000");
    let mut frame = build::start(17, CHANNEL, address, 4, false);
    frame[4] = 0;
    let Body::StartTransmission(start) = read(&frame) else { panic!("not a start") };
    assert_eq!((start.channel, start.address, start.codec), (CHANNEL, Some(address), 4));
}

#[test]
fn ports_have_sixteen_bits() {
    let mut frame = build::open_receive_ack(3, CHANNEL, at("192.0.2.9:20000"), false);
    frame[22] = 1;
    let error = Error::Port { message: "OpenReceiveChannelAck", port: 20_000 + 65_536 };
    assert_eq!(Message::parse(&frame), Err(error));
}

#[test]
fn no_address_is_none() {
    let frame = build::open_receive_ack(17, CHANNEL, at("0.0.0.0:0"), false);
    let Body::OpenReceiveAck(ack) = read(&frame) else { panic!("not an answer") };
    assert_eq!((ack.status, ack.address), (0, None));
    let frame = build::open_receive_nak(3, CHANNEL, 1);
    let Body::OpenReceiveAck(ack) = read(&frame) else { panic!("not an answer") };
    assert_eq!((ack.status, ack.address, ack.channel.party), (1, None, CHANNEL.party));
}

#[test]
fn real_phones_messages_are_read() {
    // A phone of version 20 whose sending port is not told, and the answer of an old one.
    let frame =
        hex(20, 0x0154, "710bad0185000001710bad0100000000c0a8b6820000000000000000000000000000000000000000");
    let Body::StartTransmissionAck(ack) = read(&frame) else { panic!("not an answer") };
    assert_eq!((ack.channel.call, ack.address), (28_117_873, None));
    let frame = hex(0, 0x0022, "000000000a4d010a1cc300000101000100000001");
    let Body::OpenReceiveAck(ack) = read(&frame) else { panic!("not an answer") };
    assert_eq!((ack.address, ack.channel.call), (Some(at("10.77.1.10:49948")), 16_777_216));
}

#[test]
fn a_6911_counts_its_answer_short() {
    let mut frame = build::start_ack(17, CHANNEL, at("192.0.2.9:20000"), false);
    frame[0] = 0x26;
    for end in 12..frame.len() {
        assert_eq!(frame_length(&frame[..end]), Ok(None), "{end} octets");
    }
    let Body::StartTransmissionAck(ack) = read(&frame) else { panic!("not an answer") };
    assert_eq!((ack.status, ack.address), (0, Some(at("192.0.2.9:20000"))));
    frame[46] = 4;
    assert_eq!(frame_length(&frame), Ok(Some(46)), "another message follows");
}

#[test]
fn numbers_are_read_in_each_form() {
    for version in [3, 17, 20] {
        let frame = build::dialed(version, "8001", 77);
        assert_eq!(read(&frame), Body::Dialed(Dialed { number: b"8001", call: 77 }), "version {version}");
        let frame = build::call_info(version, 77, "8003", "8001");
        let info = CallInfo { call: 77, calling: b"8003", called: b"8001" };
        assert_eq!(read(&frame), Body::CallInfo(info), "version {version}");
    }
}

#[test]
fn call_managers_are_listed() {
    let mut body = vec![0; 280];
    body[240..244].copy_from_slice(&2_000_u32.to_le_bytes());
    body[260..264].copy_from_slice(&[192, 0, 2, 30]);
    let expected = Servers([Some(at("192.0.2.30:2000")), None, None, None, None]);
    assert_eq!(read(&build::message(0, 0x009e, &body)), Body::Servers(expected));
}

#[test]
fn the_oldest_phones_have_no_channels() {
    let frame = hex(0, 0x008a, "0a66ac0b891300001e0000000400000000000000e4fe8e0998ff8e097cfe8e09b0fe8e09");
    let channel = Channel::default();
    let start = Start { channel, address: Some(at("10.102.172.11:5001")), codec: 4, video: false };
    assert_eq!(read(&frame), Body::StartTransmission(start));
    assert_eq!(read(&hex(0, 0x008b, "5cfe8e09")), Body::StopTransmission(channel));
    assert_eq!(read(&hex(0, 0x0002, "89130000")), Body::IpPort(5_001));
}

#[test]
fn what_is_needed_must_be_there() {
    let frame = build::start(3, CHANNEL, at("192.0.2.9:20000"), 4, false);
    let cut = |octets: usize| build::message(0, 0x008a, &frame[12..octets]);
    let error = Error::Short { message: "StartMediaTransmission", needed: 32 };
    assert_eq!(Message::parse(&cut(31)), Err(error));
    let frame = cut(44);
    let Body::StartTransmission(start) = read(&frame) else { panic!("not a start") };
    assert_eq!(start.channel, Channel { call: 0, ..CHANNEL }, "what is not needed may be missing");
}

#[test]
fn names_are_found() {
    assert_eq!(message_name(0x0022), Some("OpenReceiveChannelAck"));
    assert_eq!(message_name(0x8101), Some("SPCPRegisterTokenReject"));
    assert_eq!(message_name(0x7fff), None);
    assert_eq!((sender(0x0022), sender(0x008a)), (Some(Side::Phone), Some(Side::Manager)));
    assert!(
        known(0x0181, 0x0181) && !known(0x0182, 0x0181) && known(0x8000, 0x0181) && !known(0x8102, 0x0181)
    );
}

/// One message of each kind that has fields.
fn samples() -> Vec<Vec<u8>> {
    let (v4, v6) = (at("192.0.2.9:20000"), at("[2001:db8::9]:20000"));
    vec![
        build::register("SEP0011AABBCCDD", v4.ip(), 17),
        build::register_ack(30, 17),
        build::register_reject("no"),
        build::token_request("SEP0011AABBCCDD"),
        build::alarm("lost"),
        build::open_receive(17, CHANNEL, 4, false),
        build::open_receive(17, CHANNEL, 103, true),
        build::open_receive_ack(3, CHANNEL, v4, false),
        build::open_receive_ack(20, CHANNEL, v6, true),
        build::start(3, CHANNEL, v4, 4, false),
        build::start(22, CHANNEL, v6, 103, true),
        build::start_ack(11, CHANNEL, v4, false),
        build::start_ack(20, CHANNEL, v4, true),
        build::close(3, 0x0106, CHANNEL),
        build::multicast(3, 0x0101, CHANNEL, at("239.1.1.1:20000")),
        build::port_response(22, CHANNEL, v6, 20_005),
        build::transmission_failure(16, CHANNEL, v4),
        build::call_state(3, 5, 77),
        build::call_info(3, 77, "1", "2"),
        build::call_info(20, 77, "1", "2"),
        build::dialed(20, "8001", 77),
        build::message(17, 0x009e, &[0; 360]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is done to a message, reading it ends, and what is read lies in it.
    #[test]
    fn changed_messages_do_no_harm(
        which in 0_usize..22,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        end in any::<prop::sample::Index>(),
        version in 0_u8..24,
        whole in any::<bool>(),
    ) {
        let mut frame = samples().swap_remove(which);
        frame[4] = version;
        for (place, value) in changes {
            let place = place.index(frame.len());
            frame[place] = value;
        }
        if !whole {
            frame.truncate(end.index(frame.len()));
        }
        if let Ok(message) = Message::parse(&frame) {
            prop_assert!(message.length as usize + HEADER <= frame.len());
            prop_assert!(message.version <= MAX_VERSION);
            if let Body::OpenReceiveAck(OpenAck { address: Some(address), .. }) = message.body {
                prop_assert!(address.port() != 0 && !address.ip().is_unspecified());
            }
        }
    }

    #[test]
    fn any_octets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some(length)) = frame_length(&octets) {
            prop_assert!((12..=4_104).contains(&length));
        }
        let _ = Message::parse(&octets);
    }
}

#[test]
fn a_line_tells_its_number_in_both_forms() {
    let field = |text: &str, length: usize| {
        let mut field = text.as_bytes().to_vec();
        field.resize(length, 0);
        field
    };
    // Line, then number, name and label in fields of their own.
    let fixed = [vec![2, 0, 0, 0], field("1150", 24), field("Alice", 40), field("1150", 40)].concat();
    // Line, kind, then the same as texts that end with a zero each.
    let packed = [&[2, 0, 0, 0, 15, 0, 0, 0][..], b"1150\0Alice\x001150\0"].concat();
    for (version, id, body) in [(0, 0x0092, fixed), (17, 0x0147, packed)] {
        let frame = build::message(version, id, &body);
        assert_eq!(read(&frame), Body::Line(Line { line: 2, number: b"1150" }), "{id:#06x}");
    }
    // What is cut short has no number.
    let frame = build::message(17, 0x0147, &[2, 0, 0, 0]);
    assert_eq!(read(&frame), Body::Line(Line { line: 2, number: b"" }));
}
