//! What session descriptions say.

use super::*;

#[test]
fn fax_takes_the_place_of_voice() {
    let mut lab = Lab::answered(0);
    let fax = invite(2).by_bob();
    let image = |who: &str, port: u16| sdp(who, &format!("m=image {port} udptl t38\r\n"));
    lab.send(BOB, ALICE, fax.clone().sdp(&image(BOB, 30_400)));
    lab.send(ALICE, BOB, fax.reply(200, "a").sdp(&image(ALICE, 20_400)));
    assert_eq!(lab.open(), ["192.0.2.1:20400<198.51.100.7", "198.51.100.7:30400<192.0.2.1"]);
    assert_eq!(lab.core.pinholes().map(|spec| spec.kind.name()).collect::<Vec<_>>(), ["t38", "t38"]);
}

#[test]
fn rtcp_shares_the_port_only_if_both_say_so() {
    let mux = |who: &str, port| audio(who, port) + "a=rtcp-mux\r\n";
    let kinds = |lab: &Lab| {
        let mut kinds: Vec<_> = lab.core.pinholes().map(|spec| (spec.to.port(), spec.kind.name())).collect();
        kinds.sort_unstable();
        kinds
    };
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&mux(ALICE, 20_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtp"), (20_001, "rtcp")], "only offered");
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&mux(BOB, 30_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtcp-mux"), (30_000, "rtcp-mux")]);
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&mux(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtp"), (20_001, "rtcp"), (30_000, "rtp"), (30_001, "rtcp")]);
}

#[test]
fn rtcp_goes_where_the_attribute_says() {
    let mut lab = Lab::new(0);
    let body = audio(ALICE, 20_000) + "a=rtcp:20777\r\n";
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&body)),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20777 from 198.51.100.7"]
    );
    let mut lab = Lab::new(0);
    let body = audio(ALICE, 20_000) + "a=rtcp:20777 IN IP4 203.0.113.5\r\n";
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&body)),
        ["refused 203.0.113.5:20777 not-the-announcers", "open rtp 192.0.2.1:20000 from 198.51.100.7"]
    );
}

#[test]
fn a_bundle_shares_the_first_lines_transport() {
    let mut lab = Lab::new(0);
    let body = |who: &str, audio: u16, video: u16| {
        let media = format!(
            "a=group:BUNDLE 0 1\r\nm=audio {audio} RTP/AVP 0\r\na=mid:0\r\nm=video {video} RTP/AVP 34\r\na=mid:1\r\n"
        );
        sdp(who, &media)
    };
    lab.send(ALICE, BOB, invite(1).sdp(&body(ALICE, 20_000, 20_002)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&body(BOB, 30_000, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    // What is in no bundle of the answer keeps its own transport.
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&body(ALICE, 20_000, 20_002)));
    let apart = body(BOB, 30_000, 30_002).replace("a=group:BUNDLE 0 1\r\n", "");
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&apart));
    assert_eq!(lab.open().len(), 4);
}

#[test]
fn an_unreadable_description_opens_nothing_and_passes() {
    let mut lab = Lab::new(0);
    for body in
        ["v=1\r\n", "v=0\r\nc=IN IP4\r\nm=audio 20000 RTP/AVP 0\r\n", "v=0\r\nm=audio 99999 RTP/AVP 0\r\n"]
    {
        assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(body)), NOTHING);
    }
}

/// A call whose offer and answer are these.
fn agreed(mut lab: Lab, offer: &str, answer: &str) -> Lab {
    lab.send(ALICE, BOB, invite(1).sdp(offer));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(answer));
    lab
}

#[test]
fn a_medias_own_address_goes_before_the_sessions() {
    let mut lab = Lab::new(ANY);
    let body = sdp(
        ALICE,
        "m=audio 20000 RTP/AVP 0\r\nc=IN IP4 192.0.2.5\r\nm=video 20010 RTP/AVP 34\r\nm=audio 20020 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n",
    );
    lab.send(ALICE, BOB, invite(1).sdp(&body));
    assert_eq!(lab.open(), ["192.0.2.1:20010<198.51.100.7", "192.0.2.5:20000<198.51.100.7"]);
    // None for the session at all.
    let mut lab = Lab::new(0);
    let body = sdp(ALICE, "m=audio 20000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n").replacen(
        "c=IN IP4 192.0.2.1\r\n",
        "",
        1,
    );
    lab.send(ALICE, BOB, invite(1).sdp(&body));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"]);
}

#[test]
fn lines_are_answered_one_by_one() {
    let body = |who: &str, ports: [u16; 4]| {
        let [a, b, c, d] = ports;
        let media = format!(
            "m=audio {a} RTP/AVP 0\r\nm=video {b} RTP/AVP 34\r\nm=audio {c} RTP/AVP 8\r\nm=image {d} udptl t38\r\n"
        );
        sdp(who, &media)
    };
    let offer = body(ALICE, [20_000, 20_010, 20_020, 20_030]);
    let lab = agreed(Lab::new(0), &offer, &body(BOB, [30_000, 0, 30_020, 0]));
    assert_eq!(
        lab.open(),
        [
            "192.0.2.1:20000<198.51.100.7",
            "192.0.2.1:20020<198.51.100.7",
            "198.51.100.7:30000<192.0.2.1",
            "198.51.100.7:30020<192.0.2.1"
        ]
    );
    // An answer with fewer lines refuses the others, one with more says nothing by them.
    let lab = agreed(Lab::new(0), &offer, &audio(BOB, 30_000));
    assert_eq!(lab.open().len(), 2);
    let lab = agreed(Lab::new(0), &audio(ALICE, 20_000), &body(BOB, [30_000, 30_010, 30_020, 30_030]));
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn rows_of_ports_are_opened_within_bounds() {
    let layered = |who: &str, ports: &str| sdp(who, &format!("m=video {ports} RTP/AVP 31\r\n"));
    let lab = agreed(Lab::new(0), &layered(ALICE, "20000/2"), &layered(BOB, "30000/2"));
    let pair = |port: u16, from: u8| [format!("rtp {port}<{from}"), format!("rtcp {}<{from}", port + 1)];
    let both = [pair(20_000, 7), pair(20_002, 7), pair(30_000, 1), pair(30_002, 1)].concat();
    assert_eq!(lab.ports(), both);

    // More than four: the first four, and it is counted.
    let mut lab = Lab::new(0);
    let told = lab.send(ALICE, BOB, invite(1).sdp(&layered(ALICE, "20000/65535")));
    assert_eq!(told[0], "refused 192.0.2.1:20000 too-many-streams");
    assert_eq!(lab.ports().len(), 8);
    // A row that leaves the media ports is cut to its first pair.
    let mut lab = Lab::new(0);
    let told = lab.send(ALICE, BOB, invite(1).sdp(&layered(ALICE, "32764/4")));
    assert_eq!(told[0], "refused 192.0.2.1:32770 port-range");
    assert_eq!(lab.ports(), pair(32_764, 7));
    // The whole row closes.
    let mut lab = agreed(Lab::new(0), &layered(ALICE, "20000/4"), &layered(BOB, "30000/2"));
    assert_eq!(lab.ports().len(), 12);
    let bye = request("BYE", 2).to("b");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b"));
    lab.assert_empty();
}

#[test]
fn rtcp_may_have_another_port_and_another_address_of_either_family() {
    let with = |who: &str, port: u16, rtcp: &str| audio(who, port) + &format!("a=rtcp:{rtcp}\r\n");
    let offer = with(ALICE, 20_000, "20777 IN IP4 192.0.2.5");
    let lab = agreed(Lab::new(ANY), &offer, &with(BOB, 30_000, "30777"));
    assert_eq!(
        lab.ports(),
        ["rtp 20000<7", "rtcp 20777<7", "rtp 30000<1", "rtcp 30777<5"],
        "each from the other's own address for it"
    );
    let lab = agreed(Lab::new(ANY), &with(ALICE, 20_000, "20777 IN IP6 2001:db8::5"), &audio(BOB, 30_000));
    assert!(lab.core.pinholes().any(|spec| spec.to == at("[2001:db8::5]:20777")));
}

#[test]
fn rtcp_that_is_only_multiplexed_has_no_port_of_its_own() {
    let only = |who: &str, port| audio(who, port) + "a=rtcp-mux\r\na=rtcp-mux-only\r\n";
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&only(ALICE, 20_000)));
    assert_eq!(lab.ports(), ["rtp 20000<7"]);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&only(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtcp-mux 20000<7", "rtcp-mux 30000<1"]);
}

#[test]
fn a_bundle_may_be_offered_only() {
    // The second line has no port unless it is bundled (RFC 9143 section 6).
    let offer = sdp(
        ALICE,
        "a=group:BUNDLE a v\r\nm=audio 20000 RTP/AVP 0\r\na=mid:a\r\nm=video 0 RTP/AVP 34\r\na=bundle-only\r\na=mid:v\r\n",
    );
    let answer = sdp(
        BOB,
        "a=group:BUNDLE a v\r\nm=audio 30000 RTP/AVP 0\r\na=mid:a\r\nm=video 0 RTP/AVP 34\r\na=bundle-only\r\na=mid:v\r\n",
    );
    let lab = agreed(Lab::new(0), &offer, &answer);
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    // The answer refuses its first line: the next one carries the bundle.
    let lines = |who: &str, group: &str, audio: u16, video: u16| {
        let media = format!(
            "a=group:BUNDLE {group}\r\nm=audio {audio} RTP/AVP 0\r\na=mid:a\r\nm=video {video} RTP/AVP 34\r\na=mid:v\r\n"
        );
        sdp(who, &media)
    };
    let lab = agreed(Lab::new(0), &lines(ALICE, "a v", 20_000, 20_010), &lines(BOB, "v", 0, 30_010));
    assert_eq!(lab.open(), ["192.0.2.1:20010<198.51.100.7", "198.51.100.7:30010<192.0.2.1"]);
}

#[test]
fn encryption_is_noted_where_both_have_it() {
    let plain = audio;
    let sdes = |who: &str, port| {
        let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n";
        audio(who, port).replace("RTP/AVP", "RTP/SAVP") + key
    };
    let dtls = |who: &str, port| {
        let print = "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\na=setup:actpass\r\n";
        audio(who, port).replace("RTP/AVP", "UDP/TLS/RTP/SAVPF") + print
    };
    let optional = |who: &str, port| sdes(who, port).replace("RTP/SAVP", "RTP/AVP");
    let secure = |offer: &str, answer: &str| agreed(Lab::new(0), offer, answer).stream().secure;
    assert!(secure(&sdes(ALICE, 20_000), &sdes(BOB, 30_000)));
    assert!(secure(&dtls(ALICE, 20_000), &dtls(BOB, 30_000)));
    assert!(secure(&optional(ALICE, 20_000), &optional(BOB, 30_000)), "keys, whatever the profile");
    assert!(!secure(&optional(ALICE, 20_000), &plain(BOB, 30_000)), "not taken up");
    assert!(!secure(&plain(ALICE, 20_000), &plain(BOB, 30_000)));
}

#[test]
fn a_fax_that_is_refused_leaves_the_voice_and_one_that_ends_brings_it_back() {
    let image =
        |who: &str, port: u16| sdp(who, &format!("m=image {port} udptl t38\r\na=T38FaxVersion:0\r\n"));
    let both =
        |who: &str, port: u16| sdp(who, &format!("m=audio 0 RTP/AVP 8\r\nm=image {port} UDPTL t38\r\n"));
    for status in [415, 488, 606] {
        let mut lab = Lab::answered(0);
        let before = lab.ports();
        let fax = invite(2).by_bob();
        lab.send(BOB, ALICE, fax.clone().sdp(&image(BOB, 30_400)));
        assert_eq!(lab.ports().len(), 5, "the fax beside the voice");
        lab.send(ALICE, BOB, fax.reply(status, "a"));
        assert_eq!(lab.ports(), before, "{status}");
    }
    // A line of its own, behind a closed one; then voice again.
    let mut lab = Lab::answered(0);
    let before = lab.ports();
    let fax = invite(2).by_bob();
    lab.send(BOB, ALICE, fax.clone().sdp(&both(BOB, 30_400)));
    lab.send(ALICE, BOB, fax.reply(200, "a").sdp(&both(ALICE, 20_400)));
    assert_eq!(lab.ports(), ["t38 20400<7", "t38 30400<1"]);
    let voice = invite(3).by_bob();
    let back = |who: &str, port: u16| audio(who, port) + "m=image 0 udptl t38\r\n";
    lab.send(BOB, ALICE, voice.clone().sdp(&back(BOB, 30_000)));
    lab.send(ALICE, BOB, voice.reply(200, "a").sdp(&back(ALICE, 20_000)));
    assert_eq!(lab.ports(), before);
}

#[test]
fn media_over_tcp_is_opened_where_the_rules_say_so() {
    let msrp = |who: &str, port: u16, setup: &str| {
        let ip = at(who).ip();
        let path = format!("a=accept-types:text/plain\r\na=path:msrp://{ip}:{port}/s1;tcp\r\n");
        sdp(who, &format!("m=message {port} TCP/MSRP *\r\n{setup}{path}"))
    };
    let mut lab = Lab::new(0);
    let told = lab.send(ALICE, BOB, invite(1).sdp(&msrp(ALICE, 2_855, "a=setup:actpass\r\n")));
    assert_eq!(told, ["refused 192.0.2.1:2855 media-type"]);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&msrp(BOB, 2_856, "a=setup:active\r\n")));
    assert_eq!(lab.core.pinholes().count(), 0);

    // Only who is connected to has a pinhole, from the other's address (RFC 4145 section 4).
    let listed = |offer: &str, answer: &str| {
        let lab = Lab::with(|policy| policy.tcp_media = TcpMedia::Allow);
        let lab = agreed(lab, &msrp(ALICE, 2_855, offer), &msrp(BOB, 2_856, answer));
        let to = |spec: PinholeSpec| {
            assert_eq!(spec.transport, Transport::Tcp);
            format!("{}<{}", spec.to, spec.senders[0].ip)
        };
        lab.core.pinholes().map(to).collect::<Vec<_>>()
    };
    let alice = ["192.0.2.1:2855<198.51.100.7"];
    let bob = ["198.51.100.7:2856<192.0.2.1"];
    assert_eq!(listed("a=setup:actpass\r\n", "a=setup:active\r\n"), alice);
    assert_eq!(listed("a=setup:actpass\r\n", "a=setup:passive\r\n"), bob);
    assert_eq!(listed("a=setup:passive\r\n", "a=setup:active\r\n"), alice);
    assert_eq!(listed("a=setup:active\r\n", "a=setup:passive\r\n"), bob);
    assert_eq!(listed("", ""), bob, "the offerer connects");
    assert_eq!(listed("a=setup:holdconn\r\n", "a=setup:holdconn\r\n"), NOTHING);

    // It ends with its call.
    let lab = Lab::with(|policy| policy.tcp_media = TcpMedia::Allow);
    let mut lab = agreed(lab, &msrp(ALICE, 2_855, ""), &msrp(BOB, 2_856, ""));
    let bye = request("BYE", 2).to("b");
    lab.send(ALICE, BOB, bye.clone());
    assert_eq!(lab.send(BOB, ALICE, bye.reply(200, "b")), ["close 198.51.100.7:2856 bye", "ended bye"]);
    lab.assert_empty();
}

#[test]
fn media_without_a_pinhole_of_its_own_is_refused_and_counted() {
    let mut lab = Lab::new(0);
    let body =
        sdp(ALICE, "m=audio 20000 RTP/AVP 0\r\nm=application 20002 UDP/DTLS/SCTP webrtc-datachannel\r\n");
    let told = lab.send(ALICE, BOB, invite(1).sdp(&body));
    assert_eq!(
        told[1..],
        ["open rtcp 192.0.2.1:20001 from 198.51.100.7", "refused 192.0.2.1:20002 media-type"]
    );
}

#[test]
fn a_description_in_several_parts_is_found() {
    let mut lab = Lab::new(0);
    let parts = format!(
        "--x\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n",
        audio(ALICE, 20_000)
    );
    let text = invite(1).sdp(&parts).text().replace(
        "Content-Type: application/sdp\r\nContent-Length",
        "Content-Type: multipart/mixed; boundary=x\r\nContent-Length",
    );
    let context = lab.context(ALICE, BOB);
    assert_eq!(lab.tracker.message(&mut lab.core, &context, text.as_bytes()), Verdict::Pass);
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"]);
}
