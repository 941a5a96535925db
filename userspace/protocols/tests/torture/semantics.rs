//! RFC 4475 sections 3.2 to 3.4: what is well formed and means something odd. Most of it is for elements to answer,
//! and passes.

use callgate_protocols::sip::{Error, Field, Method, user_of};

use crate::{OFFER, refused, valid, wire};

/// Section 3.2.1: a branch that is nothing but the magic cookie.
#[test]
fn a_missing_transaction_identifier() {
    let head = r#"
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK
Accept: application/sdp
Call-ID: badbranch.sadonfo23i420jv0as0derf3j3n
CSeq: 8 OPTIONS
l: {length}
"#;
    assert_eq!(valid(&wire(head, "")).via.branch, Some("z9hG4bK"));
}

/// Section 3.3.1: no Call-ID, no From, no To.
#[test]
fn missing_required_fields() {
    let head = r#"
INVITE sip:user@example.com SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf
Content-Type: application/sdp
l: {length}
"#;
    assert!(matches!(refused(&wire(head, OFFER)), Error::Missing(Field::From | Field::To | Field::CallId)));
}

fn options(uri: &str) -> Vec<u8> {
    let head = format!(
        "OPTIONS {uri} SIP/2.0\nTo: <{uri}>\nFrom: <sip:caller@example.net>;tag=384\nMax-Forwards: 3\n\
         Call-ID: unkscm.nasdfasser0q239nwsdfasdkl34\nCSeq: 3923423 OPTIONS\n\
         Via: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n"
    );
    wire(&head, "")
}

/// Sections 3.3.2 and 3.3.3: schemes of which nothing is known, and known ones that are no SIP.
#[test]
fn request_uris_of_other_schemes() {
    for uri in
        ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002", "tel:+13035551212"]
    {
        let bytes = options(uri);
        let message = valid(&bytes);
        assert_eq!((message.request_uri(), message.to.uri, message.to.sip_uri()), (Some(uri), uri, None));
    }
    assert_eq!(user_of("tel:+13035551212;phone-context=x"), Some("+13035551212"));
    assert_eq!(user_of("soap.beep://192.0.2.103:3002"), None);
}

/// Section 3.3.4: the same in header fields.
#[test]
fn other_schemes_in_header_fields() {
    let head = r#"
REGISTER sip:example.com SIP/2.0
To: isbn:2983792873
From: <http://www.example.com>;tag=3234233
Call-ID: unksm2.daksdj@hyphenated-host.example.com
CSeq: 234902 REGISTER
Max-Forwards: 70
Via: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bKkdjuw
Contact: <name:John_Smith>
l: {length}
"#;
    let bytes = wire(head, "");
    let message = valid(&bytes);
    assert_eq!((message.to.uri, message.from.uri), ("isbn:2983792873", "http://www.example.com"));
    let contact = message.contacts().next().expect("a contact").expect("readable");
    assert_eq!((contact.uri, contact.sip_uri()), ("name:John_Smith", None));
}

/// Section 3.3.5: extensions nobody supports.
#[test]
fn proxy_require_and_require() {
    let head = r#"
OPTIONS sip:user@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.net;tag=242etr
Max-Forwards: 6
Call-ID: bext01.0ha0isndaksdj
Require: nothingSupportsThis, nothingSupportsThisEither
Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis
CSeq: 8 OPTIONS
Via: SIP/2.0/TLS fold-and-staple.example.com;branch=z9hG4bKkdjuw
Content-Length: {length}
"#;
    let bytes = wire(head, "");
    let message = valid(&bytes);
    assert_eq!(message.required().collect::<Vec<_>>(), ["nothingSupportsThis", "nothingSupportsThisEither"]);
    assert_eq!(message.proxy_required().count(), 2);
    assert!(message.requires("NOTHINGsupportsthis") && !message.requires("nothing"));
}

/// Section 3.3.6: a body nobody can read.
#[test]
fn an_unknown_content_type() {
    let head = r#"
INVITE sip:user@example.com SIP/2.0
Contact: <sip:caller@host5.example.net>
To: sip:j.user@example.com
From: sip:caller@example.net;tag=8392034
Max-Forwards: 70
Call-ID: invut.0ha0isndaksdjadsfij34n23d
CSeq: 235448 INVITE
Via: SIP/2.0/UDP somehost.example.com;branch=z9hG4bKkdjuw
Content-Type: application/unknownformat
Content-Length: {length}
"#;
    let bytes = wire(head, "<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n");
    let message = valid(&bytes);
    assert_eq!((message.content_type(), message.sdp()), (Some(&b"application/unknownformat"[..]), None));
}

fn register(line: &str) -> Vec<u8> {
    let head = format!(
        "REGISTER sip:example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:j.user@example.com;tag=87321hj23128\n\
         Max-Forwards: 8\nCall-ID: reg.0ha0isndaksdj\nCSeq: 9338 REGISTER\n\
         Via: SIP/2.0/TCP 192.0.2.253;branch=z9hG4bKkdjuw\n{line}\nContent-Length: 0\n"
    );
    wire(&head, "")
}

/// Section 3.3.7.
#[test]
fn an_unknown_authorization_scheme() {
    let bytes = register("Authorization: NoOneKnowsThisScheme opaque-data=here");
    let message = valid(&bytes);
    assert!(message.has_credentials());
    let credentials = message.credentials().next().expect("credentials");
    assert_eq!((credentials.scheme, credentials.username()), (&b"NoOneKnowsThisScheme"[..], None));
    assert_eq!(credentials.parameter("opaque-data"), Some(&b"here"[..]));
}

/// Section 3.3.8: several values where there is one, each of which some reader takes.
#[test]
fn several_values_of_single_fields() {
    let valid_head = r#"
INVITE sip:user@company.example SIP/2.0
Contact: <sip:caller@host25.example.net>
Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: multi01.98asdh@192.0.2.1
From: sip:caller@example.com;tag=3413415
To: sip:user@example.com
Content-Length: {length}
Content-Type: application/sdp
Expires: 5
"#;
    valid(&wire(valid_head, OFFER));
    for (line, field) in [
        ("CSeq: 59 INVITE", Field::CSeq),
        ("Call-ID: multi01.98asdh@192.0.2.2", Field::CallId),
        ("Max-Forwards: 5", Field::MaxForwards),
        ("From: sip:caller@example.net;tag=2923420123", Field::From),
        ("To: sip:user@example.net", Field::To),
        ("Content-Type: text/plain", Field::ContentType),
        ("i: multi01.98asdh@192.0.2.1", Field::CallId),
        ("Expires: 6", Field::Expires),
        // Section 3.3.9, with the same value.
        ("l: 5", Field::ContentLength),
    ] {
        let bytes = wire(&format!("{valid_head}{line}\n"), OFFER);
        assert_eq!(refused(&bytes), Error::Duplicate(field), "{line}");
    }
}

/// Section 3.3.10: a response on its way to everybody. Where it goes is no business of the reader's.
#[test]
fn a_response_to_a_broadcast_address() {
    let head = r#"
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23
Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Type: application/sdp
Contact: <sip:user@host28.example.com>
Content-Length: {length}
"#;
    let bytes = wire(head, OFFER);
    let message = valid(&bytes);
    let hosts: Vec<_> = message.vias().map(|via| via.expect("readable").host).collect();
    assert_eq!(hosts, ["192.0.2.198", "255.255.255.255"]);
}

/// Section 3.3.11: valid, and not to be sent on by a proxy.
#[test]
fn max_forwards_of_zero() {
    let head = r#"
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:caller@example.net;tag=3ghsd41
Call-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas
CSeq: 39234321 OPTIONS
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw2349i
Max-Forwards: 0
Content-Length: {length}
"#;
    assert_eq!(valid(&wire(head, "")).max_forwards, Some(0));
}

/// Sections 3.3.12 to 3.3.14: a parameter of the field, one of the URI, and a header of the URI.
#[test]
fn parameters_of_contacts_and_of_their_uris() {
    for (line, uri, parameter) in [
        ("Contact: sip:+19725552222@gw1.example.net;unknownparam", "sip:+19725552222@gw1.example.net", true),
        (
            "Contact: <sip:+19725552222@gw1.example.net;unknownparam>",
            "sip:+19725552222@gw1.example.net;unknownparam",
            false,
        ),
        (
            "Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            false,
        ),
    ] {
        let bytes = register(line);
        let contact = valid(&bytes).contacts().next().expect("a contact").expect("readable");
        assert_eq!((contact.uri, contact.parameter("unknownparam").is_some()), (uri, parameter), "{line}");
    }
}

/// Section 3.3.15: an answer that nobody could give.
#[test]
fn an_unacceptable_accept() {
    let bytes = register("Accept: text/nobodyKnowsThis");
    assert!(valid(&bytes).fields().any(|field| field == (&b"Accept"[..], &b"text/nobodyKnowsThis"[..])));
}

/// Section 3.4.1: no branch, no tags, no Max-Forwards, no Content-Length.
#[test]
fn an_invite_of_rfc_2543() {
    let head = r#"
INVITE sip:UserB@example.com SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:+13035551111@ift.client.example.net;user=phone>
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp
"#;
    let bytes = wire(head, OFFER);
    let message = valid(&bytes);
    assert_eq!((message.method(), message.via.branch, message.from.tag), (Method::Invite, None, None));
    assert_eq!((message.max_forwards, message.sdp()), (None, Some(OFFER.as_bytes())));
    assert_eq!(message.from.sip_uri().and_then(|uri| uri.parameter("user")), Some("phone"));
    assert_eq!(message.to.uri, "sip:+16505552222@ss1.example.net", "without brackets they are the field's");
    let route = message.record_routes().next().expect("one").expect("readable");
    assert_eq!(route.sip_uri().and_then(|uri| uri.parameter("maddr")), Some("ss1.example.com"));
}
