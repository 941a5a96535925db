use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Session<'_> {
    Session::parse(text.as_bytes()).expect("readable")
}

fn ip(text: &str) -> Host<'static> {
    Host::Ip(text.parse().expect("an address"))
}

#[test]
fn session_lines_hold_until_a_media_description_says_otherwise() {
    let session = parse(
        "v=0\r\no=- 1 1 IN IP4 h\r\ns= \r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\n\
         m=audio 20000 RTP/AVP 0\r\n\
         m=video 20002/2 RTP/SAVPF 96 97\r\nc=IN IP6 2001:db8::1\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\n\
         m=audio 0 RTP/AVP 8\r\na=inactive\r\n\
         m=image 20006 udptl t38\r\nc=IN IP4 fax.example\r\n",
    );
    let [audio, video, closed, fax] = &session.media[..] else { panic!("{session:?}") };
    let host = |media: &Media| media.connection.map(|c| format!("{:?}", c.host));
    assert_eq!((audio.port, audio.ports, audio.direction), (20_000, 1, Direction::SendOnly));
    assert_eq!(host(audio), host(closed));
    assert_eq!(audio.connection.map(|c| c.host), Some(ip("192.0.2.1")));
    assert_eq!((video.port, video.ports, video.direction), (20_002, 2, Direction::SendRecv));
    assert_eq!(video.connection.map(|c| c.host), Some(ip("2001:db8::1")));
    assert_eq!((closed.port, closed.direction), (0, Direction::Inactive));
    assert_eq!(fax.connection.map(|c| c.host), Some(Host::Name("fax.example")));
    assert_eq!(
        (audio.protocol, video.protocol, fax.protocol),
        (Protocol::Rtp, Protocol::Rtp, Protocol::Udptl)
    );
    assert_eq!((audio.codec(), video.codec(), closed.codec(), fax.codec()), ("PCMU", "VP8", "PCMA", "t38"));
}

#[test]
fn a_later_media_descriptions_attributes_are_not_an_earlier_ones() {
    let session = parse(
        "v=0\nm=audio 20000 RTP/AVP 96\nm=audio 20002 RTP/AVP 96\na=rtpmap:96 opus/48000/2\na=rtcp-mux\n\
         a=candidate:1 1 UDP 2130706431 192.0.2.1 20002 typ host\n",
    );
    let [first, second] = &session.media[..] else { panic!("{session:?}") };
    assert_eq!((first.codec(), first.rtcp_mux, first.candidates().count()), ("96", false, 0));
    assert_eq!((second.codec(), second.rtcp_mux, second.candidates().count()), ("opus", true, 1));
}

#[test]
fn connections_are_read_with_ttl_and_count() {
    let connection = |value: &'static str| Connection::parse(value);
    let multicast = connection("IN IP4 233.252.0.1/127/3").expect("readable");
    assert_eq!((multicast.host, multicast.ttl, multicast.count), (ip("233.252.0.1"), Some(127), 3));
    let v6 = connection("IN IP6 FF1E:03AD::7F2E:172A:1E24/3").expect("readable");
    assert_eq!((v6.ttl, v6.count), (None, 3));
    assert!(connection("IN IP4 0.0.0.0").is_some_and(|c| c.is_unspecified()));
    assert!(connection("IN IP6 ::").is_some_and(|c| c.is_unspecified()));
    assert!(connection("in ip4 192.0.2.1").is_some_and(|c| !c.is_unspecified()));
    for bad in ["", "IN", "IN IP4", "ATM NSAP x", "IN IP4 224.1.1.1/x", "IN IP4 224.1.1.1/256", "IN IP4 /1"] {
        assert_eq!(connection(bad), None, "{bad}");
    }
}

#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() {
    assert_eq!(Host::parse("::ffff:192.0.2.1"), Some(ip("192.0.2.1")));
}

#[test]
fn rtcp_may_have_a_place_of_its_own() {
    let session = parse(
        "v=0\nm=audio 20000 RTP/AVP 0\na=rtcp:53020\nm=audio 20002 RTP/AVP 0\na=rtcp:53021 IN IP6 2001:db8::2\n\
         m=audio 20004 RTP/AVP 0\na=rtcp:99999\nm=audio 20006 RTP/AVP 0\na=rtcp:1 IN\n",
    );
    let rtcp: Vec<_> = session.media.iter().map(|media| media.rtcp).collect();
    assert_eq!(rtcp[0], Some(Rtcp { port: 53_020, host: None }));
    assert_eq!(rtcp[1], Some(Rtcp { port: 53_021, host: Some(ip("2001:db8::2")) }));
    assert_eq!((rtcp[2], rtcp[3]), (None, None));
}

#[test]
fn bundles_and_candidates_are_read() {
    let session = parse(
        "v=0\na=group:LS 1 2\na=group:BUNDLE one two\nm=audio 20000 UDP/TLS/RTP/SAVPF 111\na=mid:one\n\
         a=candidate:842163049 1 udp 1677729535 198.51.100.4 46154 typ srflx raddr 10.0.0.17 rport 46154\n\
         a=candidate:1 2 TCP 1 2001:db8::7 9 typ host tcptype active\na=candidate:broken\n\
         m=video 0 RTP/AVP 34\na=mid:two\na=bundle-only\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n\
         m=message 7654 TCP/MSRP *\n",
    );
    assert_eq!(session.bundle().collect::<Vec<_>>(), ["one", "two"]);
    assert!(session.media[1].bundle_only);
    assert_eq!(session.media[1].mid, Some("two"));
    let candidates: Vec<_> = session.media[0].candidates().collect();
    assert_eq!(candidates.len(), 2);
    assert_eq!(candidates[0].address(), "198.51.100.4:46154".parse().ok());
    assert_eq!((candidates[0].component, candidates[0].kind), (1, "srflx"));
    assert_eq!((candidates[1].component, candidates[1].transport), (2, "TCP"));
    assert_eq!((session.media[2].protocol, session.media[3].protocol), (Protocol::Other, Protocol::Other));
}

#[test]
fn unreadable_descriptions_are_errors_with_a_name() {
    let many = format!("v=0\n{}", "m=audio 20000 RTP/AVP 0\n".repeat(MAX_MEDIA + 1));
    for (text, want) in [
        ("", Error::Version),
        ("v=1\n", Error::Version),
        ("s=-\nv=0\n", Error::Version),
        ("v=0\nm=audio\n", Error::Media),
        ("v=0\nm=audio 65536 RTP/AVP 0\n", Error::Media),
        ("v=0\nm=audio -2 RTP/AVP 0\n", Error::Media),
        ("v=0\nm=audio 20000/x RTP/AVP 0\n", Error::Media),
        ("v=0\nm=audio 20000 RTP/AVP\n", Error::Media),
        ("v=0\nc=IN IP4\n", Error::Connection),
        (&many, Error::TooManyMedia),
    ] {
        assert_eq!(Session::parse(text.as_bytes()).err(), Some(want), "{text}");
    }
    assert_eq!(Session::parse(&[b' '; MAX_DESCRIPTION + 1]).err(), Some(Error::TooLong));
    let full = format!("v=0\n{}", "m=audio 20000 RTP/AVP 0\n".repeat(MAX_MEDIA));
    assert_eq!(parse(&full).media.len(), MAX_MEDIA);
}

#[test]
fn what_says_nothing_about_addresses_is_not_checked() {
    let session = parse("v=0\nrubbish\n\nq=\na=\na=:\nm=audio  20000  RTP/AVP  0 \na=rtpmap:0\nx=\u{fc}\n");
    assert_eq!((session.media[0].port, session.media[0].formats), (20_000, "0"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "v=0\r?\n([vcma]=[ -~]{0,40}\r?\n|m=audio [0-9/]{0,8} RTP/AVP 0\r?\na=[ -~]{0,20}\n){0,12}") {
        if let Ok(session) = Session::parse(text.as_bytes()) {
            for media in &session.media {
                let _ = (media.codec(), media.candidates().count());
            }
            prop_assert!(session.media.len() <= MAX_MEDIA);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Session::parse(&[b"v=0\n", &bytes[..]].concat());
    }
}
