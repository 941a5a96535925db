//! RFC 5118 section 4: IPv6 references.

use std::net::IpAddr;

use callgate_protocols::sdp::{Host, Session};
use callgate_protocols::sip::{Error, Uri};

use crate::{refused, valid, wire};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn register(uri: &str, via: &str) -> Vec<u8> {
    let head = format!(
        "REGISTER {uri} SIP/2.0\nTo: sip:user@example.com\nFrom: sip:user@example.com;tag=81x2\nVia: {via}\n\
         Call-ID: SSG9559905523997077@hlau_4100\nMax-Forwards: 70\n\
         Contact: \"Caller\" <sip:caller@[2001:db8::1]>\nCSeq: 98176 REGISTER\nContent-Length: 0\n"
    );
    wire(&head, "")
}

const VIA: &str = "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111";

/// Section 4.1.
#[test]
fn a_reference() {
    let bytes = register("sip:[2001:db8::10]", VIA);
    let message = valid(&bytes);
    let uri = Uri::parse(message.request_uri().expect("a request")).expect("sip");
    assert_eq!((uri.user, uri.ip(), uri.port), ("", Some(ip("2001:db8::10")), None));
    assert_eq!((message.via.host, message.via.port), ("[2001:db8::9:1]", None));
    let contact = message.contacts().next().expect("a contact").expect("readable");
    assert_eq!(contact.sip_uri().and_then(|uri| uri.ip()), Some(ip("2001:db8::1")));
}

/// Section 4.2: without brackets, nobody knows where the port begins.
#[test]
fn no_brackets() {
    assert_eq!(refused(&register("sip:2001:db8::10", VIA)), Error::StartLine);
}

/// Section 4.3: what looks like a port is part of the address. Section 4.4: a port behind the bracket.
#[test]
fn ports() {
    for (text, address, port) in [
        ("sip:[2001:db8::10:5070]", "2001:db8::10:5070", None),
        ("sip:[2001:db8::10]:5070", "2001:db8::10", Some(5_070)),
    ] {
        let bytes = register(text, VIA);
        let uri = Uri::parse(valid(&bytes).request_uri().expect("a request")).expect("sip");
        assert_eq!((uri.ip(), uri.port), (Some(ip(address)), port), "{text}");
    }
}

/// Section 4.5: `received` with brackets, which the grammar does not have, and without.
#[test]
fn received_with_brackets_and_without() {
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let via = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111");
        let bytes = register("sip:[2001:db8::10]", &via);
        let via = valid(&bytes).via;
        assert_eq!((via.received, via.branch), (Some(ip("2001:db8::9:255")), Some("z9hG4bKas3-111")));
    }
}

fn invite(vias: &str, contact: &str, sdp: &str) -> Vec<u8> {
    let head = format!(
        "INVITE sip:user@[2001:db8::10] SIP/2.0\nTo: sip:user@[2001:db8::10]\nFrom: sip:user@example.com;tag=81x2\n\
         {vias}Call-ID: SSG9559905523997077@hlau_4100\nContact: {contact}\nCSeq: 8612 INVITE\nMax-Forwards: 70\n\
         Content-Type: application/sdp\nContent-Length: {{length}}\n"
    );
    wire(&head, sdp)
}

/// Section 4.6: addresses in a session description have no brackets.
#[test]
fn addresses_in_a_session_description() {
    let sdp = "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live\r\nc=IN IP6 2001:db8::20\r\n\
        t=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\na=rtpmap:2 G726-32/8000\r\n\
        m=video 6024 RTP/AVP 107\r\na=rtpmap:107 H263-1998/90000\r\n";
    let vias = "Via: SIP/2.0/UDP [2001:db8::20];branch=z9hG4bKas3-111\n";
    let bytes = invite(vias, "\"Caller\" <sip:caller@[2001:db8::20]>", sdp);
    let session = Session::parse(valid(&bytes).sdp().expect("a description")).expect("readable");
    assert_eq!(session.media.len(), 2);
    for media in &session.media {
        assert_eq!(media.connection.map(|connection| connection.host), Some(Host::Ip(ip("2001:db8::20"))));
    }
    assert_eq!(session.origin().map(|origin| origin.host), Some(Host::Ip(ip("2001:db8::20"))));
}

/// Section 4.7: both families in the header fields of one message.
#[test]
fn both_families_in_header_fields() {
    let vias = "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144\n\
        Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200\n";
    let bytes = invite(vias, "\"Caller\" <sip:caller@[2001:db8::9:1]>", "v=0\r\n");
    let vias: Vec<_> = valid(&bytes).vias().map(|via| via.expect("readable")).collect();
    let vias: Vec<_> = vias.iter().map(|via| (via.host, via.port, via.received)).collect();
    assert_eq!(
        vias,
        [
            ("[2001:db8::9:1]", Some(6_050), None),
            ("192.0.2.1", None, None),
            ("[2001:db8::9:255]", None, Some(ip("192.0.2.200"))),
        ]
    );
}

/// Section 4.8: both families in one session description.
#[test]
fn both_families_in_a_session_description() {
    let sdp = "v=0\r\no=bob 280744730 28977631 IN IP4 host.example.com\r\ns=\r\nt=0 0\r\nm=audio 22334 RTP/AVP 0\r\n\
        c=IN IP4 192.0.2.1\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\na=rtpmap:107 H263-1998/90000\r\n";
    let vias = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKas3-111\n";
    let bytes = invite(vias, "<sip:bob@192.0.2.1>", sdp);
    let session = Session::parse(valid(&bytes).sdp().expect("a description")).expect("readable");
    let hosts: Vec<_> = session.media.iter().filter_map(|media| media.connection?.host.ip()).collect();
    assert_eq!(hosts, [ip("192.0.2.1"), ip("2001:db8::1")]);
}

/// Section 4.9: IPv4-mapped addresses are the IPv4 addresses.
#[test]
fn ipv4_mapped_addresses() {
    let sdp = "v=0\r\no=assistant 971731711378798081 0 IN IP6 ::ffff:192.0.2.2\r\ns=Live\r\n\
        c=IN IP6 ::ffff:192.0.2.2\r\nt=0 0\r\nm=audio 6000 RTP/AVP 2\r\n";
    let vias = "Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19\n\
        Via: SIP/2.0/UDP [::ffff:192.0.2.2];branch=z9hG4bKas3-111\n";
    let bytes = invite(vias, "\"T. desk phone\" <sip:ted@[::ffff:192.0.2.2]>", sdp);
    let message = valid(&bytes);
    assert_eq!((message.via.host, message.via.port), ("[::ffff:192.0.2.10]", Some(19_823)));
    let contact = message.contacts().next().expect("a contact").expect("readable");
    assert_eq!(contact.sip_uri().and_then(|uri| uri.ip()), Some(ip("192.0.2.2")));
    let session = Session::parse(message.sdp().expect("a description")).expect("readable");
    assert_eq!(session.media[0].connection.map(|c| c.host), Some(Host::Ip(ip("192.0.2.2"))));
}

/// Section 4.10: the colon too many that the grammar of RFC 3261 allows must be tolerated.
#[test]
fn three_colons() {
    for text in ["sip:user@[2001:db8::192.0.2.1]", "sip:user@[2001:db8:::192.0.2.1]"] {
        let bytes = register(text, VIA);
        let uri = Uri::parse(valid(&bytes).request_uri().expect("a request")).expect("sip");
        assert_eq!(uri.ip(), Some(ip("2001:db8::192.0.2.1")), "{text}");
    }
    for text in
        ["sip:[2001:db8:::1]", "sip:[1:2:3:4:5:6:7:::192.0.2.1]", "sip:[:::]", "sip:[2001:db8:::192.0.2.256]"]
    {
        assert_eq!(Uri::parse(text).expect("sip").ip(), None, "{text}");
    }
}
