mod reply;
mod says;

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

/// The fields every message needs, for a request with this first line.
fn message(first: &str, fields: &str, body: &str) -> Vec<u8> {
    let method = first
        .split(' ')
        .next()
        .filter(|word| !word.to_ascii_uppercase().starts_with("SIP/"))
        .unwrap_or("INVITE");
    format!(
        "{first}\r\nVia: SIP/2.0/UDP a.example:5061;branch=z9hG4bK1\r\nFrom: <sip:a@a.example>;tag=1\r\n\
         To: <sip:b@b.example>\r\nCall-ID: 1@a.example\r\nCSeq: 1 {method}\r\n{fields}\r\n{body}"
    )
    .into_bytes()
}

const INVITE: &str = "INVITE sip:b@b.example SIP/2.0";

fn parse(bytes: &[u8]) -> Result<Message<'_>, Error> {
    Message::parse(bytes)
}

fn error(bytes: &[u8]) -> Error {
    parse(bytes).expect_err("malformed")
}

/// Everything a message says, so that a borrowed view is looked at from end to end.
fn look_at(message: &Message) -> usize {
    let contacts = message.contacts().filter_map(Result::ok).filter_map(|contact| contact.sip_uri()).count();
    let lists = (message.vias().count(), message.routes().count(), message.reasons().count());
    let counts = (message.longest_uri(), message.supported().count(), message.fields().count());
    assert_eq!(counts.2, message.field_count());
    let said = format!(
        "{message:?} {lists:?} {counts:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        message.credentials().map(|credentials| credentials.username()).collect::<Vec<_>>(),
        message.challenges().map(|challenge| challenge.is_stale()).collect::<Vec<_>>(),
        (message.event(), message.subscription_state(), message.refer_to(), message.refer_sub()),
        (message.replaces(), message.refer_replaces(), message.join()),
        (message.rack(), message.rseq(), message.refresher(), message.is_reliable()),
        (message.expires(), message.session_expires(), message.min_se(), message.retry_after()),
        message.contacts().filter_map(Result::ok).map(|contact| contact.q()).collect::<Vec<_>>(),
        message.from.user().map(unescape),
    );
    contacts + message.sdp().map_or(0, <[u8]>::len) + said.len()
}

#[test]
fn a_tortuous_but_valid_request_is_read() {
    let text = "\r\n\r\nINVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n\
        TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n\
        from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n\
        MaX-fOrWaRdS: 0068\r\n\
        Call-ID:\r\n wsinv.ndaksdj@192.0.2.1\r\n\
        Content-Length   : 4\r\n\
        cseq: 0009\r\n  INVITE\r\n\
        Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n\
        s :\r\n\
        NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n\
        UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n\
        Content-Type: application/sdp\r\n\
        v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111\r\n\
        m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33,\r\n sip:x@[2001:db8::9]:5070;expires=12\r\n\
        \r\nv=0\nignored";
    let message = parse(text.as_bytes()).expect("valid");
    assert_eq!(
        message.start,
        Start::Request { method: Method::Invite, uri: "sip:vivekg@chair-dnrc.example.com;unknownparam" }
    );
    assert_eq!(
        (message.via.transport, message.via.host, message.via.branch),
        ("UDP", "192.0.2.2", Some("390skdjuw"))
    );
    assert_eq!(message.from.display, br#"J Rosenberg \\\""#);
    assert_eq!((message.from.uri, message.from.tag), ("sip:jdrosen@example.com", Some("98asjd8")));
    assert_eq!((message.to.uri, message.to.tag), ("sip:vivekg@chair-dnrc.example.com", Some("1918181833n")));
    assert_eq!(message.call_id, "wsinv.ndaksdj@192.0.2.1");
    assert_eq!(message.cseq, CSeq { number: 9, method: Method::Invite });
    assert_eq!(message.max_forwards, Some(68));
    assert_eq!(message.sdp(), Some(&b"v=0\n"[..]));
    let contacts: Vec<_> = message.contacts().collect::<Result<_, _>>().expect("readable");
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[0].uri, "sip:jdrosen@example.com");
    let uri = contacts[1].sip_uri().expect("sip");
    assert_eq!((uri.user, uri.ip(), uri.port), ("x", "2001:db8::9".parse().ok(), Some(5070)));
    assert_eq!(contacts[1].expires, Some(12));
}

#[test]
fn compact_names_and_any_case_are_the_same_fields() {
    let text = "SIP/2.0 200 \r\nv: SIP/2.0/TCP [2001:db8::1]:5060;rport=7;received=192.0.2.9;branch=x\r\n\
        f: \"A, <B>\" <sip:a@h>;tag=1\r\nT: <sips:b@h>;tag=2\r\ni: c\r\nCSEQ: 4294967 X-NEW\r\n\
        x: 1800;refresher=uas\r\nreplaces: c;to-tag=1;from-tag=2\r\nexpires: 60\r\nl: 0\r\n\r\nrest";
    let message = parse(text.as_bytes()).expect("valid");
    assert_eq!(message.start, Start::Response { status: 200, reason: b"" });
    assert_eq!(message.status(), Some(200));
    assert_eq!(message.method(), Method::Other("X-NEW"));
    assert_eq!((message.via.host, message.via.port), ("[2001:db8::1]", Some(5060)));
    assert_eq!(message.via.rport, Some(Some(7)));
    assert_eq!(message.via.received, "192.0.2.9".parse::<IpAddr>().ok());
    assert_eq!((message.from.display, message.from.uri), (&b"A, <B>"[..], "sip:a@h"));
    assert_eq!((message.session_expires(), message.expires()), (Some(1800), Some(60)));
    assert!(message.has_replaces());
    assert!(message.body.is_empty());
}

#[test]
fn without_content_length_the_body_is_the_rest_of_the_datagram() {
    assert_eq!(parse(&message(INVITE, "", "body")).expect("valid").body, b"body");
    assert_eq!(parse(&message(INVITE, "Content-Length: 2\r\n", "body")).expect("valid").body, b"bo");
    assert_eq!(error(&message(INVITE, "Content-Length: 5\r\n", "body")), Error::BodyTruncated);
}

#[test]
fn content_length_is_a_64_bit_number_and_nothing_else() {
    for value in
        ["-1", "+4", "4 4", "0x4", "", "four", "18446744073709551616", "99999999999999999999999", "4,4"]
    {
        let fields = format!("Content-Length: {value}\r\n");
        let bytes = message(INVITE, &fields, "body");
        assert_eq!(error(&bytes), Error::Malformed(Field::ContentLength), "{value}");
        assert_eq!(frame_length(&bytes), Framing::Invalid(Error::Malformed(Field::ContentLength)), "{value}");
    }
    // 2^32 and 2^64 - 1 must not wrap to something small.
    for value in ["4294967296", "18446744073709551615"] {
        let bytes = message(INVITE, &format!("l: {value}\r\n"), "body");
        assert_eq!(error(&bytes), Error::BodyTruncated, "{value}");
        assert_eq!(frame_length(&bytes), Framing::Invalid(Error::MessageTooLong), "{value}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let valid = String::from_utf8(message(INVITE, "Max-Forwards: 70\r\n", "")).expect("text");
    assert!(parse(valid.as_bytes()).is_ok());
    for (from, to, want) in [
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", Error::MethodMismatch),
        ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE", Error::Malformed(Field::CSeq)),
        ("CSeq: 1 INVITE", "CSeq: 36893488147419103232 INVITE", Error::Malformed(Field::CSeq)),
        ("CSeq: 1 INVITE", "CSeq: INVITE", Error::Malformed(Field::CSeq)),
        ("CSeq: 1 INVITE\r\n", "", Error::Missing(Field::CSeq)),
        ("Call-ID: 1@a.example\r\n", "", Error::Missing(Field::CallId)),
        ("Call-ID: 1@a.example", "Call-ID: 1 2", Error::Malformed(Field::CallId)),
        ("Max-Forwards: 70", "i: 2", Error::Duplicate(Field::CallId)),
        ("Max-Forwards: 70", "t: <sip:c@c>", Error::Duplicate(Field::To)),
        ("Max-Forwards: 70", "Content-Length: 0\r\nl: 0", Error::Duplicate(Field::ContentLength)),
        ("Max-Forwards: 70", "Max-Forwards: 256", Error::Malformed(Field::MaxForwards)),
        ("Max-Forwards: 70", "no colon", Error::HeaderLine),
        ("Max-Forwards: 70", "two words: x", Error::HeaderLine),
        ("Max-Forwards: 70", ": x", Error::HeaderLine),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\n", Error::LineEnd),
        ("Max-Forwards: 70", "X: a\rb", Error::LineEnd),
        ("Max-Forwards: 70", "X: a\0b", Error::Nul),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example>;tag=", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example>;tag", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example;tag=1", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "\"open <sip:a@a.example>;tag=1", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example>garbage", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "a.example", Error::Malformed(Field::From)),
        ("branch=z9hG4bK1", "branch=1;branch=2", Error::Malformed(Field::Via)),
        ("branch=z9hG4bK1", "branch=1;x=\"", Error::Malformed(Field::Via)),
        ("branch=z9hG4bK1", "branch=1<", Error::Malformed(Field::Via)),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example>;tag=1;x=<", Error::Malformed(Field::From)),
        ("<sip:a@a.example>;tag=1", "<sip:a@a.example>;tag=1;x=\"\\\"", Error::Malformed(Field::From)),
        ("SIP/2.0/UDP", "SIP/3.0/UDP", Error::Malformed(Field::Via)),
        ("a.example:5061", "a.example:65536", Error::Malformed(Field::Via)),
    ] {
        assert!(valid.contains(from), "{from}");
        assert_eq!(error(valid.replacen(from, to, 1).as_bytes()), want, "{from} -> {to}");
    }
    assert_eq!(error(valid.trim_end().as_bytes()), Error::Unfinished);
    assert_eq!(error(b""), Error::Unfinished);
}

#[test]
fn first_lines_are_read_strictly() {
    for (line, want) in [
        ("INVITE  sip:b@b.example SIP/2.0", Error::StartLine),
        ("INVITE sip:b@b.example  SIP/2.0", Error::StartLine),
        ("INVITE sip:b@b.example SIP/2.0 ", Error::StartLine),
        ("INVITE <sip:b@b.example; x=1> SIP/2.0", Error::StartLine),
        (" INVITE sip:b@b.example SIP/2.0", Error::StartLine),
        ("INVITE sip:b@b.example SIP/7.0", Error::Version),
        ("INVITE sip:b@b.example", Error::StartLine),
        ("INVITE SIP/2.0", Error::StartLine),
        ("IN\"VITE sip:b@b.example SIP/2.0", Error::StartLine),
        ("GET / HTTP/1.1", Error::StartLine),
        ("SIP/2.0 99 low", Error::StartLine),
        ("SIP/2.0 700 high", Error::StartLine),
        ("SIP/2.0 4294967301 wraps", Error::StartLine),
        ("SIP/2.0 20", Error::StartLine),
        ("SIP/3.0 200 OK", Error::Version),
    ] {
        assert_eq!(error(&message(line, "", "")), want, "{line}");
    }
    for (line, status) in [("SIP/2.0 200 OK", 200), ("SIP/2.0 100", 100), ("sip/2.0 699 \u{fc}ml", 699)] {
        assert_eq!(parse(&message(line, "", "")).expect(line).status(), Some(status));
    }
    let unknown = message("!interesting-Method0123456789_*+`.%indeed'~ tel:+1 SIP/2.0", "", "");
    let method = parse(&unknown).expect("unknown methods are read").method();
    assert_eq!(method, Method::Other("!interesting-Method0123456789_*+`.%indeed'~"));
    assert_eq!(
        parse(&message("invite sip:b SIP/2.0", "", "")).expect("valid").method(),
        Method::Other("invite")
    );
}

#[test]
fn latin_1_display_names_are_no_error() {
    let mut bytes = message(INVITE, "", "");
    let at = bytes.windows(6).position(|window| window == b"From: ").expect("there") + 6;
    bytes.splice(at..at, *b"\"J\xfcrgen\" ");
    assert_eq!(parse(&bytes).expect("valid").from.display, b"J\xfcrgen");
}

#[test]
fn the_first_of_two_tags_counts() {
    let text = String::from_utf8(message(INVITE, "", "")).expect("text").replace(";tag=1", ";tag=1;x;tag=2");
    assert_eq!(parse(text.as_bytes()).expect("valid").from.tag, Some("1"));
}

#[test]
fn bounds_hold() {
    let fits = format!("Y: {}\r\n", "x".repeat(MAX_LINE - 5));
    assert!(parse(&message(INVITE, &fits, "")).is_ok());
    let long = format!("Y: {}\r\n", "x".repeat(MAX_LINE));
    assert_eq!(error(&message(INVITE, &long, "")), Error::LineTooLong);
    let folded = format!("Y: a\r\n{}", " folded\r\n".repeat(MAX_LINE / 8));
    assert_eq!(error(&message(INVITE, &folded, "")), Error::LineTooLong);
    assert_eq!(error(&message(INVITE, &"Y: y\r\n".repeat(MAX_FIELDS), "")), Error::TooManyFields);
    assert!(parse(&message(INVITE, &"Y: y\r\n".repeat(MAX_FIELDS - 5), "")).is_ok());
    let many = format!("Y: {}\r\n", "x".repeat(4_000)).repeat(9);
    assert_eq!(error(&message(INVITE, &many, "")), Error::HeadTooLong);
    assert_eq!(error(&message(INVITE, "", &"x".repeat(MAX_MESSAGE))), Error::MessageTooLong);
    let tag = |length| format!("Contact: <sip:a@h>;tag={}\r\n", "t".repeat(length));
    let readable =
        |text: &str| parse(&message(INVITE, text, "")).expect("valid").contacts().all(|c| c.is_ok());
    assert!(readable(&tag(MAX_ID)));
    assert!(!readable(&tag(MAX_ID + 1)));
}

#[test]
fn streams_are_cut_at_content_length() {
    let one = message(INVITE, "Content-Length: 4\r\n", "body");
    let two = [&one[..], &one[..]].concat();
    assert_eq!(frame_length(&two), Framing::Message(one.len()));
    for end in 0..one.len() {
        assert_eq!(frame_length(&one[..end]), Framing::Incomplete, "{end}");
    }
    assert_eq!(frame_length(b"\r\n\r\nINVITE"), Framing::KeepAlive(4));
    assert_eq!(frame_length(b"\r"), Framing::KeepAlive(1));
    assert_eq!(
        frame_length(&message(INVITE, "", "")),
        Framing::Invalid(Error::Missing(Field::ContentLength))
    );
    assert_eq!(
        frame_length(&message(INVITE, "l: 4\r\nContent-Length: 4\r\n", "body")),
        Framing::Invalid(Error::Duplicate(Field::ContentLength))
    );
    assert_eq!(frame_length(&message(INVITE, "l: 65535\r\n", "")), Framing::Invalid(Error::MessageTooLong));
    assert_eq!(frame_length(&[b'x'; MAX_LINE + 1]), Framing::Invalid(Error::LineTooLong));
    let endless = |field: &str, times| [INVITE, "\r\n", &field.repeat(times)].concat().into_bytes();
    let long = format!("Y: {}\r\n", "x".repeat(4_000));
    assert_eq!(frame_length(&endless(&long, 9)), Framing::Invalid(Error::HeadTooLong));
    assert_eq!(frame_length(&endless("Y: y\r\n", MAX_FIELDS + 1)), Framing::Invalid(Error::TooManyFields));
    assert_eq!(frame_length(&endless("Y: y\r\n", MAX_FIELDS)), Framing::Incomplete);
}

#[test]
fn a_stream_that_is_no_sip_is_told_from_its_first_bytes() {
    for stream in
        [&b"\x16\x03\x01\x02\x00"[..], b"\0", b" INVITE", b"SSH-2.0-x\r\n", b"Y: y", b"GET\t/", b"\xffSIP"]
    {
        assert_eq!(frame_length(stream), Framing::Invalid(Error::StartLine), "{stream:?}");
    }
    assert_eq!(frame_length(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"), Framing::Invalid(Error::StartLine));
    for stream in [&b""[..], b"I", b"INVITE", b"INVITE ", b"SIP", b"SIP/2.0", b"SIP/2.0 2"] {
        assert_eq!(frame_length(stream), Framing::Incomplete, "{stream:?}");
    }
}

#[test]
fn datagrams_are_told_apart_by_their_first_bytes() {
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for (datagram, want) in [
        (&b"\r\n\r\n"[..], Kind::KeepAlive),
        (b"hello", Kind::KeepAlive),
        (&stun, Kind::Stun),
        (&stun[..19], Kind::Other),
        (b"INVITE sip:b SIP/2.0", Kind::Message),
        (b"\r\nSIP/2.0 200 OK\r\n", Kind::Message),
        (b"INVITE sip:b SIP/7.0\r\n", Kind::Message),
        (b"M-SEARCH * HTTP/1.1\r\nHost: h\r\n", Kind::Other),
        (b"\x80\x00\x00\x01rtp of some kind", Kind::Other),
    ] {
        assert_eq!(kind(datagram), want, "{}", datagram.escape_ascii());
        assert_eq!(is_keep_alive(datagram), matches!(want, Kind::KeepAlive | Kind::Stun));
    }
}

#[test]
fn keep_alives_are_known() {
    let mut stun = vec![0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    stun.extend([0x80, 0x28, 0, 0]);
    for datagram in [&b""[..], b"\r\n", b"\r\n\r\n \t\r\n\r\n", b"\0\0\0\0", b"hello", &stun] {
        assert!(is_keep_alive(datagram), "{datagram:?}");
    }
    for datagram in [&b"hello you"[..], &[0; 9], b"\r\nINVITE sip:", &stun[..23]] {
        assert!(!is_keep_alive(datagram), "{datagram:?}");
    }
}

#[test]
fn a_session_description_is_found_in_parts() {
    let kind = "Content-Type: multipart/mixed;boundary=\"b 1\"\r\n";
    let sdp = "--b 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n";
    let text = "--b 1\r\nContent-Type: text/plain\r\n\r\n--b 12\r\nv=9\r\n";
    let find = |kind: &str, body: &str| {
        parse(&message(INVITE, kind, body)).expect("valid").sdp().map(<[u8]>::to_vec)
    };
    let want = Some(b"v=0\r\n\r\n".to_vec());
    assert_eq!(find(kind, &format!("preamble\r\n{text}{sdp}--b 1--\r\n")), want);
    assert_eq!(find(kind, &format!("{sdp}{text}--b 1--")), want);
    assert_eq!(find(kind, &format!("{text}--b 1--{sdp}")), None, "after the end");
    assert_eq!(find(kind, sdp), None, "a part without an end");
    let inner =
        format!("--o\r\nc: multipart/alternative; boundary=\"b 1\"\r\n\r\n{text}{sdp}--b 1--\r\n--o--\r\n");
    assert_eq!(find("c: Multipart/Related; boundary=o\r\n", &inner), want);
    assert_eq!(find("Content-Type: APPLICATION/sdp; charset=x\r\n", "v=0"), Some(b"v=0".to_vec()));
    assert_eq!(find("Content-Type: text/plain\r\n", "v=0"), None);
    assert_eq!(find("", "v=0"), None);
    assert_eq!(find("c: application/sdp\r\ne: gzip\r\n", "v=0"), None);
    assert_eq!(find("c: multipart/mixed\r\n", sdp), None, "no boundary");
}

#[test]
fn boundaries_may_be_odd() {
    let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
    let find = |kind: &str, body: &str| {
        let kind = format!("Content-Type: multipart/mixed;{kind}\r\n");
        parse(&message(INVITE, &kind, body)).expect("valid").sdp().map(<[u8]>::to_vec)
    };
    let want = Some(b"v=0\r\n".to_vec());
    for (written, boundary) in [
        ("boundary=\"---= _';?:/.,()+1\"", "---= _';?:/.,()+1"),
        ("charset=\"a;boundary=x\"; Boundary = 7", "7"),
        ("boundary=--", "--"),
        ("\r\n boundary=unfolded", "unfolded"),
    ] {
        let body = format!("--{boundary}\r\n{sdp}--{boundary}--\r\n");
        assert_eq!(find(written, &body), want, "{written}");
        let padded = format!("--{boundary} \t\r\nContent-ID: <1>\r\n{sdp}--{boundary}-- ");
        assert_eq!(find(written, &padded), want, "{written}, padded");
        let bare = body.replace("\r\n", "\n");
        assert_eq!(find(written, &bare), Some(b"v=0\n".to_vec()), "{written}, lines of LF");
    }
    let long = "b".repeat(71);
    for written in ["", "boundary", "boundary=", "boundary=\"\"", "boundary=B", &format!("boundary={long}")] {
        let boundary = if written.len() > 70 { &long } else { "b" };
        assert_eq!(find(written, &format!("--{boundary}\r\n{sdp}--{boundary}--\r\n")), None, "{written}");
    }
    // As deep as it may be, and deeper; as late as it may be, and later.
    let nested = |depth: usize| {
        (0..depth).fold(sdp.to_owned(), |inner, level| {
            format!(
                "Content-Type: multipart/mixed;boundary=l{level}\r\n\r\n--l{level}\r\n{inner}--l{level}--\r\n"
            )
        })
    };
    let deep = |depth| find("boundary=b", &format!("--b\r\n{}--b--\r\n", nested(depth)));
    assert_eq!((deep(2), deep(3)), (want.clone(), None));
    let late = |before| {
        let others = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(before);
        find("boundary=b", &format!("{others}--b\r\n{sdp}--b--\r\n"))
    };
    assert_eq!((late(15), late(16)), (want, None));
}

#[test]
fn uris_are_taken_apart() {
    for (uri, want) in [
        ("sip:alice@192.0.2.1", Some(("alice", "192.0.2.1", None))),
        ("SIPS:alice:secret@host:5061;transport=tcp?x=y", Some(("alice", "host", Some(5061)))),
        ("sip:a;b?c@host;lr", Some(("a;b?c", "host", None))),
        ("sip:[2001:db8::1]:5060", Some(("", "[2001:db8::1]", Some(5060)))),
        ("sip:host", Some(("", "host", None))),
        ("tel:+4930123", None),
        ("sip:", None),
        ("sip:a@", None),
        ("sip:a@host:99999", None),
        ("sip:a@[2001:db8::1", None),
        ("*", None),
    ] {
        assert_eq!(Uri::parse(uri).map(|uri| (uri.user, uri.host, uri.port)), want, "{uri}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = frame_length(&bytes);
        let _ = is_keep_alive(&bytes);
        if let Ok(message) = Message::parse(&bytes) {
            look_at(&message);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        fields in "(([A-Za-z-]{1,8}|Refer-To|Replaces|Event|RAck|Reason|Authorization|x|k|Contact)[ ]?:[ -~\t]{0,20}\
            (\r\n [ -~]{0,9})?\r\n){0,5}",
        body in "[ -~\r\n]{0,60}",
    ) {
        let kind = "Content-Type: multipart/mixed;boundary=x\r\nContact: \"a\\\"\" <sip:[::1]>;expires=9, *\r\n";
        let mut bytes = message(INVITE, &format!("{kind}{fields}"), &body);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(look_at(&message) > 0);
            prop_assert!(message.body.len() <= bytes.len());
        }
    }

    /// Fields are found where a reader finds them that unfolds all lines and goes over them for every question.
    #[test]
    fn a_naive_reader_finds_the_same_fields(
        lines in prop::collection::vec(
            ("Supported|k|SUPPORTED|Route|route|Path|Allow|X-Allow|Server", "[ \t]?", "[ \t]{0,2}[a-z,]{0,6}(\r\n[ \t][a-z]{0,4}){0,2}[ ]?"),
            0..12,
        ),
    ) {
        let block: String = lines.iter().map(|(name, gap, value)| format!("{name}{gap}:{value}\r\n")).collect();
        let bytes = message(INVITE, &block, "");
        let read = parse(&bytes).expect("valid");
        let naive = |names: &[&str]| -> Vec<String> {
            let same = lines.iter().filter(|(name, ..)| names.contains(&name.to_lowercase().as_str()));
            same.map(|(_, _, value)| value.trim().to_owned()).collect()
        };
        for (field, names) in [
            (Field::Supported, &["supported", "k"][..]),
            (Field::Route, &["route"]),
            (Field::Path, &["path"]),
            (Field::Allow, &["allow"]),
            (Field::Server, &["server"]),
            (Field::Contact, &["contact", "m"]),
        ] {
            let want = naive(names);
            let values: Vec<_> = read.values(field).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
            prop_assert_eq!(&values, &want);
            prop_assert_eq!(read.value(field).map(<[u8]>::to_vec), want.first().map(|first| first.clone().into_bytes()));
            prop_assert_eq!(read.has(field), !want.is_empty());
        }
        prop_assert_eq!(read.field_count(), lines.len() + 5);
    }

    /// What framing cuts out of a stream is what the reader reads, and nothing is left of it.
    #[test]
    fn framing_and_reading_agree(body in prop::collection::vec(any::<u8>(), 0..200), more in any::<[u8; 5]>()) {
        let mut bytes = message(INVITE, &format!("Content-Length: {}\r\n", body.len()), "");
        bytes.extend(&body);
        let length = bytes.len();
        bytes.extend(more);
        prop_assert_eq!(frame_length(&bytes), Framing::Message(length));
        prop_assert_eq!(Message::parse(&bytes[..length]).expect("valid").body, &body[..]);
    }
}
