//! Answers of the firewall's own.

use std::net::SocketAddr;

use super::*;

fn source() -> SocketAddr {
    "198.51.100.7:40000".parse().expect("an address")
}

fn answer(request: &[u8]) -> Vec<u8> {
    reply(request, source(), 403, "Forbidden", &[("Server", "Callgate")]).expect("a request")
}

#[test]
fn a_request_is_answered_as_the_rfc_says() {
    let text = "INVITE sip:b@b.example SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1, SIP/2.0/TCP x\r\n\
        m: <sip:a@10.0.0.1>\r\nVia: SIP/2.0/UDP\r\n y;branch=z9hG4bK0\r\nf: \"A\" <sip:a@a.example>;tag=1\r\n\
        t: <sip:b@b.example>\r\ni: 1@a.example\r\nCSeq: 7\r\n INVITE\r\nl: 4\r\n\r\nbody";
    let bytes = answer(text.as_bytes());
    let response = String::from_utf8(bytes.clone()).expect("text");
    let (before, tag) = response.split_once("To: <sip:b@b.example>;tag=").expect("a tag");
    assert_eq!(
        before,
        "SIP/2.0 403 Forbidden\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5062;rport=40000;branch=z9hG4bK1;received=198.51.100.7, SIP/2.0/TCP x\r\n\
         Via: SIP/2.0/UDP\r\n y;branch=z9hG4bK0\r\nFrom: \"A\" <sip:a@a.example>;tag=1\r\n"
    );
    let (tag, after) = tag.split_once("\r\n").expect("a line");
    assert_eq!(
        after,
        "Call-ID: 1@a.example\r\nCSeq: 7\r\n INVITE\r\nServer: Callgate\r\nContent-Length: 0\r\n\r\n"
    );
    assert!(tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(answer(text.as_bytes()), bytes, "a retransmission has the same answer");
    let other = answer(text.replace("z9hG4bK1", "z9hG4bK2").as_bytes());
    assert!(!String::from_utf8(other).expect("text").contains(tag), "another request has another tag");
}

#[test]
fn the_topmost_via_says_where_the_request_came_from() {
    for (via, want) in [
        ("SIP/2.0/UDP a.example;branch=1", "SIP/2.0/UDP a.example;branch=1;received=198.51.100.7"),
        ("SIP/2.0/UDP 198.51.100.7;branch=1", "SIP/2.0/UDP 198.51.100.7;branch=1"),
        ("SIP/2.0/UDP 198.51.100.7;rport", "SIP/2.0/UDP 198.51.100.7;rport=40000;received=198.51.100.7"),
        ("SIP/2.0/UDP h;RPORT ;branch=1", "SIP/2.0/UDP h;RPORT=40000 ;branch=1;received=198.51.100.7"),
        ("SIP/2.0/UDP h;rport=5;received=192.0.2.1", "SIP/2.0/UDP h;rport=5;received=192.0.2.1"),
        (
            "SIP/2.0/UDP h;x=\"a,;rport\",SIP/2.0/UDP i",
            "SIP/2.0/UDP h;x=\"a,;rport\";received=198.51.100.7,SIP/2.0/UDP i",
        ),
    ] {
        let text = String::from_utf8(message(INVITE, "", "")).expect("text");
        let request = text.replace("SIP/2.0/UDP a.example:5061;branch=z9hG4bK1", via);
        let response = String::from_utf8(answer(request.as_bytes())).expect("text");
        assert_eq!(response.lines().nth(1), Some(&format!("Via: {want}")[..]), "{via}");
    }
}

#[test]
fn a_tag_that_is_there_stays() {
    let text = String::from_utf8(message(INVITE, "", ""))
        .expect("text")
        .replace("<sip:b@b.example>", "<sip:b@b.example>;tag=9");
    assert_eq!(parse(&answer(text.as_bytes())).expect("valid").to.tag, Some("9"));
    let trying = reply(&message(INVITE, "", ""), source(), 100, "Trying", &[]).expect("a request");
    assert_eq!(parse(&trying).expect("valid").to.tag, None);
}

#[test]
fn some_have_no_answer() {
    let request = message(INVITE, "", "");
    let made = |request: &[u8], status, reason: &str, extra: (&str, &str)| {
        reply(request, source(), status, reason, &[extra]).is_some()
    };
    assert!(made(&request, 403, "Forbidden", ("a", "b")));
    assert!(!made(&message("ACK sip:b@b.example SIP/2.0", "", ""), 403, "Forbidden", ("a", "b")));
    assert!(!made(&message("SIP/2.0 200 OK", "", ""), 403, "Forbidden", ("a", "b")));
    assert!(!made(b"\0", 403, "Forbidden", ("a", "b")));
    for (status, reason, extra) in [
        (99, "x", ("a", "b")),
        (700, "x", ("a", "b")),
        (403, "x\r\nEvil: 1", ("a", "b")),
        (403, "x", ("a\n", "b")),
        (403, "x", ("a", "b\r\n\r\n")),
    ] {
        assert!(!made(&request, status, reason, extra), "{status} {reason} {extra:?}");
    }
}

/// Found by mutation: what was added to the Via became a part of its branch, and the sender could not have known the
/// answer for one.
#[test]
fn nothing_is_added_behind_an_open_quote_or_bracket() {
    for branch in ["z9hG4bK3R\"GISTER", "z9hG4bK3b7c67e6<port"] {
        let text = String::from_utf8(message(INVITE, "", "")).expect("text").replace("z9hG4bK1", branch);
        assert_eq!(error(text.as_bytes()), Error::Malformed(Field::Via));
        assert_eq!(reply(text.as_bytes(), source(), 403, "Forbidden", &[]), None);
    }
}

proptest! {
    /// Whatever a request is like, its answer is one that its sender can read and match.
    #[test]
    fn an_answer_can_be_read_and_matched(
        via in "SIP/2\\.0/UDP [a-z]{1,5}(;[a-z]{1,5}(=[a-z0-9]{1,5})?|;rport|;received=192\\.0\\.2\\.1| ;x=\"[a-z,;]{0,5}\"){0,4}(, ?SIP/2\\.0/TCP h)?",
        to in "(\"[a-z,;]{0,5}\" )?<sip:[a-z]{1,5}@h>(;tag=[a-z]{1,5})?(;x)?",
        port in 1_u16..,
    ) {
        let text = String::from_utf8(message(INVITE, "", "")).expect("text");
        let request = text
            .replace("SIP/2.0/UDP a.example:5061;branch=z9hG4bK1", &via)
            .replace("<sip:b@b.example>", &to)
            .into_bytes();
        let source = SocketAddr::new("2001:db8::7".parse().expect("an address"), port);
        let asked = parse(&request);
        let answer = reply(&request, source, 603, "Decline", &[]);
        prop_assert_eq!(asked.is_ok(), answer.is_some());
        if let (Ok(asked), Some(answer)) = (asked, answer) {
            let answer = parse(&answer).expect("readable");
            prop_assert_eq!(answer.status(), Some(603));
            prop_assert_eq!((answer.call_id, answer.cseq, answer.from), (asked.call_id, asked.cseq, asked.from));
            prop_assert_eq!((answer.via.branch, answer.via.host), (asked.via.branch, asked.via.host));
            prop_assert!(answer.via.received.is_some());
            prop_assert_eq!(answer.vias().count(), asked.vias().count());
            prop_assert_eq!(answer.to.uri, asked.to.uri);
            prop_assert!(answer.to.tag.is_some() && asked.to.tag.is_none_or(|tag| answer.to.tag == Some(tag)));
            if asked.via.rport == Some(None) {
                prop_assert_eq!(answer.via.rport, Some(Some(port)));
            }
        }
    }
}
