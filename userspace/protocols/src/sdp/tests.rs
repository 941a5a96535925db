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
    let connection = |value: &'static str| Connection::parse(value.as_bytes());
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
    assert_eq!((session.media[2].protocol, session.media[3].protocol), (Protocol::Udp, Protocol::Tcp));
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

#[test]
fn streams_over_other_transports_are_told_apart() {
    for (transport, want) in [
        ("RTP/AVP", Protocol::Rtp),
        ("rtp/savpf", Protocol::Rtp),
        ("UDP/TLS/RTP/SAVPF", Protocol::Rtp),
        ("udptl", Protocol::Udptl),
        ("UDP/TLS/UDPTL", Protocol::Udptl),
        ("TCP/MSRP", Protocol::Tcp),
        ("TCP/TLS/MSRP", Protocol::Tcp),
        ("TCP/RTP/AVP", Protocol::Tcp),
        ("tcp", Protocol::Tcp),
        ("TCP/DTLS/SCTP", Protocol::Tcp),
        ("UDP/BFCP", Protocol::Udp),
        ("udp", Protocol::Udp),
        ("UDP/DTLS/SCTP", Protocol::Udp),
        ("DTLS/SCTP", Protocol::Udp),
        ("SCTP", Protocol::Other),
        ("RTPX/AVP", Protocol::Other),
    ] {
        let text = format!("v=0\nm=audio 20000 {transport} 0\n");
        let session = parse(&text);
        assert_eq!((session.media[0].protocol, session.media[0].transport), (want, transport), "{transport}");
    }
}

#[test]
fn hold_is_known_in_every_spelling() {
    let held = |lines: &str| parse(&format!("v=0\n{lines}")).media[0].is_held();
    for lines in [
        "c=IN IP4 192.0.2.1\nm=audio 20000 RTP/AVP 0\na=inactive\n",
        "c=IN IP4 192.0.2.1\na=sendonly\nm=audio 20000 RTP/AVP 0\n",
        "c=IN IP4 192.0.2.1\nm=audio 20000 RTP/AVP 0\na=recvonly \n",
        "c=IN IP4 0.0.0.0\nm=audio 20000 RTP/AVP 0\n",
        "c=IN IP4 192.0.2.1\nm=audio 20000 RTP/AVP 0\nc=IN IP6 ::\n",
        "c=IN IP6 ::ffff:0.0.0.0\nm=audio 20000 RTP/AVP 0\n",
        "c=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 0\n",
    ] {
        assert!(held(lines), "{lines}");
    }
    assert!(!held("c=IN IP4 0.0.0.0\na=inactive\nm=audio 20000 RTP/AVP 0\nc=IN IP4 192.0.2.1\na=sendrecv\n"));
    assert!(!held("a=inactive-not\nm=audio 0 RTP/AVP 0\na=bundle-only\n"));
}

#[test]
fn protection_is_read() {
    let session = parse(
        "v=0\na=fingerprint:sha-256 4A:AD\na=setup:actpass\nm=audio 1 UDP/TLS/RTP/SAVPF 0\na=setup:ACTIVE\n\
         m=audio 2 RTP/AVP 0\na=fingerprint:SHA-1  AB:CD \n",
    );
    let [own, session] = &session.media[..] else { panic!("{session:?}") };
    assert_eq!((own.security(), own.setup()), (Security::Dtls, Some(Setup::Active)));
    assert_eq!(own.fingerprint(), Some(Fingerprint { hash: "sha-256", value: "4A:AD" }));
    assert_eq!(session.fingerprint(), Some(Fingerprint { hash: "SHA-1", value: "AB:CD" }));
    assert_eq!((session.security(), session.setup()), (Security::Dtls, Some(Setup::ActPass)));
    let session = parse(
        "v=0\nm=audio 1 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x|2^20\na=crypto:x\na=crypto:2 B inline:y\n\
         m=audio 2 RTP/AVP 0\na=crypto:7 AES inline:z\nm=audio 3 RTP/SAVPF 0\nm=audio 4 RTP/AVP 0\n",
    );
    let security: Vec<_> = session.media.iter().map(Media::security).collect();
    assert_eq!(security, [Security::Sdes, Security::Sdes, Security::Sdes, Security::None]);
    assert!(session.media[2].is_secure() && !session.media[3].is_secure());
    let cryptos: Vec<_> = session.media[0].cryptos().collect();
    let want = [Crypto { tag: 1, suite: "AES_CM_128_HMAC_SHA1_80" }, Crypto { tag: 2, suite: "B" }];
    assert_eq!(cryptos, want);
}

#[test]
fn ice_is_read() {
    let session = parse(
        "v=0\na=ice-lite\na=ice-ufrag:s\na=ice-pwd:session\nm=audio 1 RTP/AVP 0\na=ice-ufrag:m\n\
         a=remote-candidates:1 192.0.2.3 45664 2 2001:db8::3 45665 3 x\n\
         a=candidate:H1 1 udp 2130706431 192.0.2.1 20000 typ srflx raddr 10.0.0.1 rport 8998 generation 0\n\
         a=candidate:H2 1 TCP 1 host.local 9 typ host tcptype active\nm=audio 2 RTP/AVP 0\n",
    );
    assert!(session.ice_lite);
    let [first, second] = &session.media[..] else { panic!("{session:?}") };
    assert_eq!((first.ice_ufrag(), first.ice_pwd()), (Some("m"), Some("session")));
    assert_eq!((second.ice_ufrag(), second.offers_ice()), (Some("s"), true));
    let remote: Vec<_> = first.remote_candidates().collect();
    assert_eq!(remote, [(1, ip("192.0.2.3"), 45_664), (2, ip("2001:db8::3"), 45_665)]);
    let candidates: Vec<_> = first.candidates().collect();
    assert_eq!((candidates[0].foundation, candidates[0].priority), ("H1", 2_130_706_431));
    assert_eq!(candidates[0].related, Some((ip("10.0.0.1"), 8_998)));
    assert!(candidates[0].is_udp() && !candidates[1].is_udp());
    assert_eq!((candidates[1].tcp_type, candidates[1].address()), (Some("active"), None));
    assert!(!parse("v=0\na=ice-ufrag:\nm=audio 1 RTP/AVP 0\n").media[0].offers_ice());
    let many =
        format!("v=0\nm=audio 1 RTP/AVP 0\n{}", "a=candidate:1 1 UDP 1 192.0.2.1 2 typ host\n".repeat(100));
    assert_eq!(parse(&many).media[0].candidates().count(), MAX_CANDIDATES);
}

#[test]
fn codecs_are_read() {
    let session = parse(
        "v=0\nb=AS:128\nm=audio 1 RTP/AVP 96 0 18 101 200 x\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=maxptime:62.5\na=rtpmap:18 G729A/8000\n\
         m=audio 2 RTP/AVP 7\nb=AS:64\nb=TIAS:50000\nm=image 3 udptl t38\nb=CT:7\n",
    );
    let [audio, other, image] = &session.media[..] else { panic!("{session:?}") };
    assert_eq!(audio.payload_types().collect::<Vec<_>>(), [96, 0, 18, 101]);
    assert_eq!(audio.rtpmap(96), Some(Rtpmap { name: "opus", rate: 48_000, channels: 2 }));
    assert_eq!(audio.rtpmap(0), Some(Rtpmap { name: "PCMU", rate: 8_000, channels: 1 }));
    assert_eq!(audio.rtpmap(18).map(|map| map.name), Some("G729A"), "what is said goes before what is fixed");
    assert_eq!((audio.rtpmap(97), audio.fmtp(101), audio.fmtp(0)), (None, Some("0-15"), None));
    assert_eq!((audio.ptime(), audio.maxptime(), other.ptime()), (Some(20), Some(62), None));
    let bandwidth: Vec<_> = session.media.iter().map(Media::bandwidth).collect();
    assert_eq!(bandwidth, [Some(128_000), Some(50_000), Some(128_000)]);
    assert_eq!((image.payload_types().count(), image.codec()), (0, "t38"));
}

#[test]
fn fax_is_read() {
    let session = parse(
        "v=0\nm=image 3 udptl t38\na=T38FaxVersion:0\na=t38maxbitrate:14400\na=T38FaxFillBitRemoval\n\
         a=T38FaxRateManagement:transferredTCF\na=T38FaxMaxBuffer:260\na=T38FaxMaxDatagram:x\n\
         a=T38FaxUDPEC:t38UDPRedundancy\n",
    );
    let t38 = session.media[0].t38();
    assert_eq!((t38.version, t38.max_bit_rate, t38.max_buffer), (Some(0), Some(14_400), Some(260)));
    assert_eq!((t38.max_datagram, t38.udp_ec), (None, Some("t38UDPRedundancy")));
    assert_eq!(t38.rate_management, Some("transferredTCF"));
}

#[test]
fn message_sessions_are_read() {
    let session = parse(
        "v=0\nm=message 7394 TCP/MSRP *\na=accept-types:text/plain\na=setup:passive\na=connection:new\n\
         a=path:msrp://u@relay.example:8000/9s9cpl;tcp MSRPS://[2001:db8::1]:7394/2s93i;tcp msrp://192.0.2.1/3;tcp http://x\n",
    );
    let path: Vec<_> = session.media[0].msrp_path().collect();
    let want = [
        MsrpUri { secure: false, host: Host::Name("relay.example"), port: 8_000, session: "9s9cpl" },
        MsrpUri { secure: true, host: ip("2001:db8::1"), port: 7_394, session: "2s93i" },
        MsrpUri { secure: false, host: ip("192.0.2.1"), port: 2_855, session: "3" },
    ];
    assert_eq!(path, want);
    assert_eq!(
        (session.media[0].setup(), session.media[0].connection_kind()),
        (Some(Setup::Passive), Some("new"))
    );
    for bad in ["msrp://", "msrp://h:x/1", "msrp://[::1/1", "msrp://[::1]x/1", "msrp://h:65536/1", "msrp:h"] {
        assert_eq!(MsrpUri::parse(bad), None, "{bad}");
    }
}

#[test]
fn several_bundles_are_told_apart() {
    let session = parse(
        "v=0\na=group:BUNDLE a b\na=group:BUNDLE c\na=group:BUNDLEX d\na=group:BUNDLE\nm=audio 1 RTP/AVP 0\n",
    );
    let bundles: Vec<_> = session.bundles().map(|bundle| bundle.mids().collect::<Vec<_>>()).collect();
    assert_eq!(bundles, [&["a", "b"][..], &["c"], &[]]);
    assert_eq!(session.bundle_of("b").and_then(Bundle::tagged), Some("a"));
    assert_eq!((session.bundle_of("d"), session.bundle().count()), (None, 2));
}

#[test]
fn other_attributes_are_found() {
    let session = parse(
        "v=0\r\no=alice 53655765 2353687637 IN IP4 pc33.example.com\r\na=tool:x y \r\nm=audio 1 RTP/AVP 0\r\na=ssrc:7 cname:a\r\n\
         a=ssrc:7 msid:b\r\na=ssrc:4294967295\r\na=ssrc:x\r\na=label:1\r\na=label\r\na=rtcp-mux-only\r\n",
    );
    let origin = session.origin().expect("readable");
    assert_eq!((origin.user, origin.id, origin.version), ("alice", "53655765", "2353687637"));
    assert_eq!(origin.host, Host::Name("pc33.example.com"));
    assert_eq!((session.attribute("tool"), session.attribute("label")), (Some("x y"), None));
    let media = &session.media[0];
    assert_eq!(media.ssrcs().collect::<Vec<_>>(), [7, u32::MAX]);
    assert_eq!((media.attribute("label"), media.attributes("ssrc").count()), (Some("1"), 4));
    assert_eq!((media.attribute("rtcp-mux-only"), media.attribute("rtcp-mux")), (Some(""), None));
    assert!(media.rtcp_mux && media.rtcp_mux_only);
}

/// What a reader finds that goes over all lines for every question.
mod naive {
    pub(super) fn media(text: &str) -> Vec<(String, String, Vec<String>)> {
        let mut sections: Vec<Vec<&str>> = vec![Vec::new()];
        for line in text.lines() {
            if line.starts_with("m=") {
                sections.push(Vec::new());
            }
            sections.last_mut().expect("one").push(line);
        }
        let last = |section: &[&str], names: &[&str]| {
            section
                .iter()
                .rev()
                .find_map(|line| names.iter().find(|name| line == *name))
                .map(|line| line[2..].to_owned())
        };
        let directions = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
        let host = |section: &[&str]| {
            section.iter().find_map(|line| line.strip_prefix("c=IN IP4 ")).map(str::to_owned)
        };
        let (session, media) = sections.split_first().expect("one");
        media
            .iter()
            .map(|section| {
                let direction = last(section, &directions).or_else(|| last(session, &directions));
                let candidates = section.iter().filter_map(|line| line.strip_prefix("a=mid:"));
                (
                    direction.unwrap_or_else(|| "sendrecv".to_owned()),
                    host(section).or_else(|| host(session)).unwrap_or_default(),
                    candidates.take(1).map(str::to_owned).collect(),
                )
            })
            .collect()
    }
}

proptest! {
    #[test]
    fn a_naive_reader_reads_the_same(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "m=audio 20000 RTP/AVP 0", "c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.2", "a=sendrecv", "a=sendonly",
                "a=recvonly", "a=inactive", "a=inactive2", "a=mid:1", "a=mid:x", "t=0 0", "a=", "x",
            ]),
            0..24,
        ),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let text = ["v=0"].into_iter().chain(lines).collect::<Vec<_>>().join(end) + end;
        let session = parse(&text);
        let read: Vec<_> = session
            .media
            .iter()
            .map(|media| {
                let host = media.connection.and_then(|c| c.host.ip()).map(|ip| ip.to_string()).unwrap_or_default();
                let direction = format!("{:?}", media.direction).to_lowercase();
                (direction, host, media.mid.into_iter().map(str::to_owned).collect())
            })
            .collect();
        prop_assert_eq!(read, naive::media(&text));
    }

    #[test]
    fn every_question_has_an_answer(
        names in prop::collection::vec("rtcp|rtcp-mux|mid|crypto|fingerprint|setup|ice-ufrag|candidate|remote-candidates|\
            ssrc|ptime|rtpmap|fmtp|path|T38FaxVersion|group", 0..8),
        values in prop::collection::vec("[ -~]{0,30}|[0-9 ./:]{0,20}|BUNDLE [a-z ]{0,9}|1 1 UDP 1 ::1 [0-9]{1,6} typ [a-z ]{0,9}|msrps?://[^ ]{0,20}", 8),
        place in 0_usize..9,
    ) {
        let mut lines: Vec<_> = names.iter().zip(&values).map(|(name, value)| format!("a={name}:{value}")).collect();
        lines.insert(place.min(lines.len()), "m=audio 20000 RTP/AVP 0 96 300".to_owned());
        let text = format!("v=0\nb=AS:{}\n{}\n", values[0], lines.join("\n"));
        let session = parse(&text);
        let media = &session.media[0];
        let said = (
            (session.origin(), session.bundles().count(), media.mid.and_then(|mid| session.bundle_of(mid))),
            (media.security(), media.setup(), media.ice_ufrag(), media.offers_ice(), media.is_held()),
            (media.candidates().count(), media.remote_candidates().count(), media.ssrcs().count()),
            (media.ptime(), media.bandwidth(), media.codec(), media.rtpmap(96), media.fmtp(96)),
            (media.t38(), media.msrp_path().count()),
        );
        prop_assert!(said.2.0 <= 8 && said.2.2 <= 8 && said.4.1 <= 30);
    }
}
