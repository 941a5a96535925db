//! RFC 4475 section 3.1: syntax.

use callgate_protocols::sip::{Error, Field, Framing, Message, Method, Start, frame_length};

use crate::{OFFER, refused, valid, wire};

/// Section 3.1.1.1: folding, white space wherever it may be, compact names, odd case, unknown fields, empty values.
#[test]
fn a_short_tortuous_invite() {
    let head = r#"
INVITE sip:vivian@chair.example.com;unknownparam SIP/2.0
tO :
 sip:vivian@chair.example.com ;   tag    = 7650918n
from   : "J Rosen \\\""       <sip:jrosen@example.com>
  ;
  tag = 76asjd8
mAx-ForWARDS: 0068
call-id:
 tortuous.ndaksdj@192.0.2.1
content-length   : {length}
CsEQ: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangled:   newfangled value
 continued newfangled value
Unusual: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33
"#;
    let bytes = wire(head, OFFER);
    let message = valid(&bytes);
    let uri = "sip:vivian@chair.example.com;unknownparam";
    assert_eq!(message.start, Start::Request { method: Method::Invite, uri });
    assert_eq!((message.to.uri, message.to.tag), ("sip:vivian@chair.example.com", Some("7650918n")));
    assert_eq!((message.from.uri, message.from.tag), ("sip:jrosen@example.com", Some("76asjd8")));
    assert_eq!(message.from.display, br#"J Rosen \\\""#);
    assert_eq!((message.call_id, message.cseq.number), ("tortuous.ndaksdj@192.0.2.1", 9));
    assert_eq!((message.max_forwards, message.field_count()), (Some(68), 14));
    let vias: Vec<_> = message.vias().map(|via| via.expect("readable")).collect();
    let vias: Vec<_> = vias.iter().map(|via| (via.transport, via.host, via.branch)).collect();
    let want = [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ];
    assert_eq!(vias, want.map(|(transport, host, branch)| (transport, host, Some(branch))));
    let routes: Vec<_> = message.routes().map(|route| route.expect("readable").uri).collect();
    assert_eq!(routes, ["sip:services.example.com;lr;unknownwith=value;unknown-no-value"]);
    let contacts: Vec<_> = message.contacts().map(|contact| contact.expect("readable")).collect();
    assert_eq!((contacts.len(), contacts[0].q()), (1, Some(330)));
    assert_eq!(contacts[0].parameter("NEWPARAM"), Some(Some(&b"newvalue"[..])));
    assert_eq!(contacts[0].parameter("secondparam"), Some(None));
    assert_eq!(message.sdp(), Some(OFFER.as_bytes()));
}

/// Section 3.1.1.2: every character that may stand in a method, a URI, a token, a quoted string.
#[test]
fn a_wide_range_of_valid_characters() {
    let head = r#"
!odd-Method0123456789_*+`.%really'~ sip:1_strange.URI~(can-be!so)&isn't+it$/mad?,/;;*:&it+has=1,odd!*pas$wo~d_too.(hasn't-it)@example.com SIP/2.0
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~
To: "BEL:\{bel} NUL:\{nul} DEL:\{del}" <sip:1_strange.URI~(can-be!so)&isn't+it$/mad?,/;;*@example.com>
From: token1~` token2'+_ token3*%!.- <sip:plain@example.com>;fromParam''~+*_!.-%="работающий";tag=_token~1'+`*%!-.
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{
CSeq: 139122385 !odd-Method0123456789_*+`.%really'~
Max-Forwards: 255
extensionHeader-!.%*+_`'~:大停電
Content-Length: {length}
"#;
    let head = head.replace("{bel}", "\x07").replace("{nul}", "\0").replace("{del}", "\x7f");
    let bytes = wire(&head, "");
    let message = valid(&bytes);
    assert_eq!(message.method(), Method::Other("!odd-Method0123456789_*+`.%really'~"));
    assert_eq!((message.cseq.number, message.max_forwards), (139_122_385, Some(255)));
    assert_eq!(message.call_id, r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#);
    assert_eq!(message.to.display, b"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f");
    let to = message.to.sip_uri().expect("sip");
    assert_eq!((to.user, to.host), ("1_strange.URI~(can-be!so)&isn't+it$/mad?,/;;*", "example.com"));
    assert_eq!((message.from.uri, message.from.tag), ("sip:plain@example.com", Some("_token~1'+`*%!-.")));
    assert_eq!(message.from.parameter("fromParam''~+*_!.-%"), Some(Some("работающий".as_bytes())));
    assert_eq!(message.via.branch, Some("z9hG4bK-.!%66*_+`'~"));
    let last = message.fields().nth(6).expect("seven before the length");
    assert_eq!(last, (&b"extensionHeader-!.%*+_`'~"[..], "大停電".as_bytes()));
}

/// Section 3.1.1.3: escapes stand for what they escape and end nothing.
#[test]
fn a_valid_use_of_escapes() {
    let head = r#"
INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0
To: sip:%75se%72@example.com
From: <sip:I%20have%20spaces@example.net>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact:
  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: {length}
"#;
    let bytes = wire(head, OFFER);
    let message = valid(&bytes);
    let uri = callgate_protocols::sip::Uri::parse(message.request_uri().expect("a request")).expect("sip");
    assert_eq!((uri.user, uri.host, uri.port), ("sips%3Auser%40example.com", "example.net", None));
    let user =
        |uri| callgate_protocols::sip::unescape(callgate_protocols::sip::user_of(uri).expect("a user"));
    assert_eq!(user(message.to.uri), "user");
    assert_eq!(user(message.from.uri), "I have spaces");
    let contact = message.contacts().next().expect("a contact").expect("readable");
    assert_eq!(user(contact.uri), "caller");
    assert_eq!(message.sdp(), Some(OFFER.as_bytes()));
}

/// Section 3.1.1.4: escaped NULs do not end a user.
#[test]
fn escaped_nulls_in_uris() {
    let head = r#"
REGISTER sip:example.com SIP/2.0
To: sip:null-%00-null@example.com
From: sip:null-%00-null@example.com;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:{length}
"#;
    let bytes = wire(head, "");
    let message = valid(&bytes);
    let users: Vec<_> = message.contacts().map(|contact| contact.expect("readable").user()).collect();
    assert_eq!(users, [Some("%00"), Some("%00%00")]);
    assert_eq!(callgate_protocols::sip::unescape("null-%00-null"), "null-\0-null");
}

/// Section 3.1.1.5: `%` is a character like any other in a method and a display name.
#[test]
fn a_percent_that_is_no_escape() {
    let head = r#"
RE%47IST%45R sip:registrar.example.com SIP/2.0
To: "%Z%45" <sip:resource@example.com>
From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.com>
C%6Fntact: <sip:alias2@host2.example.com>
Contact: <sip:alias3@host3.example.com>
l: {length}
"#;
    let bytes = wire(head, "");
    let message = valid(&bytes);
    assert_eq!(message.method(), Method::Other("RE%47IST%45R"));
    assert_eq!(message.from.display, b"%Z%45");
    assert_eq!(message.contacts().count(), 2, "C%6Fntact is another field");
}

/// Section 3.1.1.6: nothing between a display name and its URI.
#[test]
fn no_white_space_before_the_bracket() {
    let head = r#"
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: caller<sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.com
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw
l: {length}
"#;
    let bytes = wire(head, "");
    let from = valid(&bytes).from;
    assert_eq!((from.display, from.uri, from.tag), (&b"caller"[..], "sip:caller@example.com", Some("323")));
}

/// Section 3.1.1.7: long values, in many fields.
#[test]
fn long_values() {
    let repeat = |text: &str, times| text.repeat(times);
    let to = format!(
        "\"I have a user name of {} proportion\"<sip:user@example.com:6000;unknownparam1=very{}longvalue;\
         longparam{}name=shortvalue;very{}longparameter{}name>",
        repeat("extreme", 10),
        repeat("long", 20),
        repeat("param", 25),
        repeat("long", 30),
        repeat("name", 20),
    );
    let from = format!(
        "sip:{}@example.com;tag=12982{}424;unknownheaderparam{}name=unknowheaderparam{}value",
        repeat("amazingly", 10) + "longcallername",
        repeat("982", 50),
        repeat("name", 20),
        repeat("value", 15),
    );
    let vias: String = (1..=33).rev().map(|n| format!("Via: SIP/2.0/TCP sip{n}.example.com\n")).collect();
    let last = format!(
        "v: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch={}",
        repeat("verylong", 50) + "branchvalue"
    );
    let call_id = format!("longreq.one{}longcallid", repeat("really", 20));
    let contact = format!("<sip:{}@host5.example.net>", repeat("amazingly", 10) + "longcallername");
    let head = format!(
        "INVITE sip:user@example.com SIP/2.0\nTo: {to}\nF: {from}\nCall-ID: {call_id}\nCSeq: 3882340 INVITE\n\
         Unknown-{}-Name: unknown-{}-value; unknown-{}-parameter-name = unknown-{}-parameter-value\n{vias}{last}\n\
         Max-Forwards: 70\nContact: {contact}\nContent-Type: application/sdp\nl: {{length}}\n",
        repeat("Long", 20),
        repeat("long", 20),
        repeat("long", 20),
        repeat("long", 20),
    );
    let bytes = wire(&head, OFFER);
    let message = valid(&bytes);
    assert_eq!(message.call_id, call_id);
    assert_eq!(message.from.tag.map(str::len), Some(158));
    assert_eq!((message.vias().filter(Result::is_ok).count(), message.via.host), (34, "sip33.example.com"));
    assert_eq!(message.vias().last().expect("a Via").expect("readable").branch.map(str::len), Some(411));
    let uri = message.to.sip_uri().expect("sip");
    assert_eq!((uri.host, uri.port), ("example.com", Some(6_000)));
    assert_eq!(message.longest_uri(), message.to.uri.len());
    assert_eq!(message.sdp(), Some(OFFER.as_bytes()));
}

/// Section 3.1.1.8: what follows the body in a datagram is not the message's, and not another one.
#[test]
fn extra_octets_in_a_datagram() {
    let head = r#"
REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.com
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0

INVITE sip:joe@example.com SIP/2.0
t: sip:joe@example.com
From: sip:caller@example.net;tag=141334
Call-ID: dblreq.0ha0isnda977644900765@192.0.2.15
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw380234
Content-Type: application/sdp
Content-Length: 150
"#;
    let bytes = wire(head, OFFER);
    let message = valid(&bytes);
    assert_eq!((message.method(), message.body, message.cseq.number), (Method::Register, &b""[..], 8));
    assert!(message.sdp().is_none());
    let Framing::Message(length) = frame_length(&bytes) else { panic!("on a stream there are two") };
    assert!(bytes[length..].starts_with(b"INVITE"));
}

/// Section 3.1.1.9: semicolons in a user begin no parameters.
#[test]
fn parameters_in_the_user() {
    let head = r#"
OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: {length}
"#;
    let bytes = wire(head, "");
    let message = valid(&bytes);
    let uri = callgate_protocols::sip::Uri::parse(message.request_uri().expect("a request")).expect("sip");
    assert_eq!((uri.user, uri.host), ("user;par=u%40example.net", "example.com"));
    assert_eq!(callgate_protocols::sip::unescape(uri.user), "user;par=u@example.net");
    assert_eq!((message.from.uri, message.from.tag), ("sip:caller@example.org", Some("33242")));
}

/// Section 3.1.1.10: transports nobody has heard of.
#[test]
fn varied_and_unknown_transports() {
    let head = r#"
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: <sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID:  transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee
l: {length}
"#;
    let bytes = wire(head, "");
    let transports: Vec<_> = valid(&bytes).vias().map(|via| via.expect("readable").transport).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

/// Section 3.1.1.11: a multipart body with a binary part, which has CRLFs, NULs and what looks like a head in it.
#[test]
fn a_multipart_body() {
    let head = r#"
MESSAGE sip:kumiko@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
To: <sip:kumiko@example.org>
From: <sip:fluffy@example.com>;tag=2fb0dcc9
Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..
CSeq: 1 MESSAGE
Content-Transfer-Encoding: binary
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
Date: Sat, 15 Oct 2005 04:44:56 GMT
User-Agent: SIPimp.org/0.2.5 (curses)
Content-Length: {length}
"#;
    let binary = b"0\x82\x01R\x06\t*\x86H\r\n\r\n\0\0v=0\r\n--7a9cbec02ceef65\r\n\xff";
    let part = |kind: &str, content: &[u8]| {
        let head = format!(
            "--7a9cbec02ceef655\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        );
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let end = b"--7a9cbec02ceef655--\r\n";
    let body =
        [part("text/plain", b"Hello"), part("application/octet-stream", binary), end.to_vec()].concat();
    let bytes = wire(head, &body);
    let message = valid(&bytes);
    assert_eq!((message.body, message.sdp()), (&body[..], None), "what looks like one is none");
    assert_eq!(message.via.rport, Some(None));
    assert_eq!(message.user_agent(), Some(&b"SIPimp.org/0.2.5 (curses)"[..]));
    let body = [part("application/octet-stream", binary), part("application/sdp", b"v=0\r\n"), end.to_vec()]
        .concat();
    let bytes = wire(head, body);
    assert_eq!(valid(&bytes).sdp(), Some(&b"v=0\r\n\r\n"[..]));
}

const RESPONSE: &str = r#"
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Call-ID: unreason.1234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Contact: <sip:user@host198.example.com>
Content-Type: application/sdp
"#;

/// Sections 3.1.1.12 and 3.1.1.13: a reason phrase of any characters, and of none.
#[test]
fn odd_reason_phrases() {
    for (line, want) in [
        (
            "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
            "= 2**3 * 5**2 но сто девяносто девять - простое",
        ),
        ("SIP/2.0 200 ", ""),
    ] {
        let bytes = wire(&format!("{line}{RESPONSE}Content-Length: {{length}}\n"), OFFER);
        let message = valid(&bytes);
        assert_eq!(message.start, Start::Response { status: 200, reason: want.as_bytes() });
        assert_eq!(message.sdp(), Some(OFFER.as_bytes()));
    }
}

/// Section 3.1.2.1: separators too many. An element would answer 400; nothing in it reads differently elsewhere, so it
/// is read.
#[test]
fn extraneous_separators() {
    let head = r#"
INVITE sip:user@example.com SIP/2.0
To: sip:j.user@example.com
From: sip:caller@example.net;tag=134161461246
Max-Forwards: 7
Call-ID: badinv01.0ha0isndaksdjasdf3234nas
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;;,;,,
Contact: "Joe" <sip:joe@example.org>;;;;
Content-Length: {length}
Content-Type: application/sdp
"#;
    let bytes = wire(head, OFFER);
    let message = Message::parse(&bytes).expect("lenient");
    assert_eq!((message.via.host, message.via.branch), ("192.0.2.15", None));
    assert_eq!(message.vias().filter(Result::is_err).count(), 3);
    assert_eq!(message.contacts().next().expect("a contact").expect("readable").uri, "sip:joe@example.org");
}

/// A request that is valid but for its first line.
fn with_first(line: &str) -> Vec<u8> {
    let head = format!(
        "{line}\nVia: SIP/2.0/UDP h.example.com;branch=z9hG4bKkdjuw\nMax-Forwards: 70\n\
         From: sip:caller@example.com;tag=93942939o2\nTo: sip:user@example.com\nCall-ID: one.0ha0isndaksdj\n\
         CSeq: 8 OPTIONS\nContent-Length: 0\n"
    );
    wire(&head, "")
}

/// A request that is valid but for this line, which takes the place of the one of the same name or comes last.
fn with_line(line: &str) -> Vec<u8> {
    let text = String::from_utf8(with_first("OPTIONS sip:user@example.com SIP/2.0")).expect("text");
    let name = line.split(':').next().unwrap_or_default();
    match text.lines().find(|old| old.split(':').next() == Some(name)) {
        Some(old) => text.replace(old, &line.replace('\n', "\r\n")).into_bytes(),
        None => [text.trim_end(), &line.replace('\n', "\r\n"), "\r\n"].join("\r\n").into_bytes(),
    }
}

#[test]
fn the_request_itself_is_valid() {
    assert_eq!(valid(&with_line("Max-Forwards: 70")).field_count(), 7);
}

/// Section 3.1.2.2: a datagram that ends before its body does.
#[test]
fn a_content_length_beyond_the_datagram() {
    let bytes = with_line("Content-Length: 9999");
    assert_eq!(refused(&bytes), Error::BodyTruncated);
    assert_eq!(frame_length(&bytes), Framing::Incomplete, "on a stream there may be more to come");
}

/// Section 3.1.2.3.
#[test]
fn a_negative_content_length() {
    let bytes = with_line("Content-Length: -999");
    assert_eq!(refused(&bytes), Error::Malformed(Field::ContentLength));
    assert_eq!(frame_length(&bytes), Framing::Invalid(Error::Malformed(Field::ContentLength)));
}

/// Section 3.1.2.4: numbers too great, in a request.
#[test]
fn overlarge_numbers_in_a_request() {
    let long = "1".repeat(38);
    for (line, field) in
        [("CSeq: 36893488147419103232 OPTIONS", Field::CSeq), ("Max-Forwards: 300", Field::MaxForwards)]
    {
        assert_eq!(refused(&with_line(line)), Error::Malformed(field), "{line}");
    }
    let bytes = with_line(&format!(
        "Expires: {long}\nContact: <sip:user@host129.example.com>;expires=280297596632815"
    ));
    let message = valid(&bytes);
    assert_eq!(message.expires(), Some(u32::MAX), "as long as can be");
    let contact = message.contacts().next().expect("a contact").expect("readable");
    assert_eq!(contact.expires, Some(u32::MAX));
}

/// Section 3.1.2.5: numbers too great, in a response.
#[test]
fn overlarge_numbers_in_a_response() {
    let text = format!("SIP/2.0 503 Service Unavailable{RESPONSE}Retry-After: 949302838503028349304023988\n");
    let bytes = wire(&text, "");
    assert_eq!(valid(&bytes).retry_after(), Some(u32::MAX));
    let bytes = wire(&text.replace("CSeq: 35", "CSeq: 9292394834772304023312"), "");
    assert_eq!(refused(&bytes), Error::Malformed(Field::CSeq));
}

/// Section 3.1.2.6: where the quote ends nobody knows.
#[test]
fn an_unterminated_quote() {
    let bytes = with_line("To: \"Mr. J. User <sip:j.user@example.com>");
    assert_eq!(refused(&bytes), Error::Malformed(Field::To));
}

/// Sections 3.1.2.7 to 3.1.2.10: brackets and white space where the first line has none.
#[test]
fn malformed_request_lines() {
    for line in [
        "OPTIONS <sip:user@example.com> SIP/2.0",
        "OPTIONS sip:user@example.com; lr SIP/2.0",
        "OPTIONS  sip:user@example.com  SIP/2.0",
        "OPTIONS sip:remote-target@example.com SIP/2.0  ",
    ] {
        assert_eq!(refused(&with_first(line)), Error::StartLine, "{line}");
    }
}

/// Section 3.1.2.11: headers in the Request-URI. An element would answer 400; nothing here acts on them.
#[test]
fn escaped_headers_in_the_request_uri() {
    let bytes = with_first("OPTIONS sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0");
    let message = Message::parse(&bytes).expect("lenient");
    let uri = callgate_protocols::sip::Uri::parse(message.request_uri().expect("a request")).expect("sip");
    assert_eq!(
        (uri.user, uri.host, uri.header("route")),
        ("user", "example.com", Some("%3Csip:example.com%3E"))
    );
    assert_eq!(message.routes().count(), 0);
}

/// Section 3.1.2.12: dates are not read.
#[test]
fn a_bad_time_zone() {
    assert!(Message::parse(&with_line("Date: Fri, 01 Jan 2010 16:00:00 EST")).is_ok());
}

/// Section 3.1.2.13: whose the header is, the URI's or the field's, is not said.
#[test]
fn a_contact_that_needs_brackets() {
    let bytes = with_line("Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E");
    let contact = valid(&bytes).contacts().next().expect("a contact");
    assert_eq!(contact, Err(Error::Malformed(Field::Contact)), "no binding is made of it");
}

/// Section 3.1.2.14.
#[test]
fn spaces_within_a_uri() {
    let bytes = with_line("To: \"Watson, Thomas\" < sip:t.watson@example.org >");
    assert_eq!(refused(&bytes), Error::Malformed(Field::To));
}

/// Section 3.1.2.15: a comma in a display name without quotes. From has one value, so that it reads one way only.
#[test]
fn a_display_name_that_needs_quotes() {
    let bytes = with_line("From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43");
    let from = Message::parse(&bytes).expect("lenient").from;
    assert_eq!(
        (from.display, from.uri, from.tag),
        (&b"Bell, Alexander"[..], "sip:a.g.bell@example.com", Some("43"))
    );
}

/// Section 3.1.2.16.
#[test]
fn an_unknown_version() {
    assert_eq!(refused(&with_first("OPTIONS sip:t.watson@example.org SIP/7.0")), Error::Version);
}

/// Sections 3.1.2.17 and 3.1.2.18: a request that says it is two, of known methods and of unknown ones.
#[test]
fn methods_that_do_not_match() {
    assert_eq!(refused(&with_line("CSeq: 8 INVITE")), Error::MethodMismatch);
    assert_eq!(refused(&with_first("OPTIONS2 sip:user@example.com SIP/2.0")), Error::MethodMismatch);
    assert_eq!(refused(&with_line("CSeq: 8 options")), Error::MethodMismatch, "case matters");
}

/// Section 3.1.2.19: 2^32 + 5.
#[test]
fn an_overlarge_status() {
    let bytes =
        wire(&format!("SIP/2.0 4294967301 better not break the receiver{RESPONSE}Content-Length: 0\n"), "");
    assert_eq!(refused(&bytes), Error::StartLine);
}
