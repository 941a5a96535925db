//! Cases of a decoder alone, each reading all that the ALG reads of the message before a tracker acts on it.

use std::hint::black_box;
use std::net::SocketAddr;

use bytesstr::BytesStr;
use callgate_protocols::build::{self, Call, Media, Parts, ras as build_ras};
use callgate_protocols::h245::OpenLogicalChannel;
use callgate_protocols::{h225, h245, mgcp, q931, ras, sccp, sdp, sip, tftp};

use super::exchanges::{addresses, mgcp_texts, read_request, sccp_media};
use super::{Subject, peer};

/// The call that is set up.
const CALL: Call = Call { reference: 7, id: *b"callgate's bench" };

/// An INVITE as a desk phone sends it, behind one proxy.
const INVITE: &str = "\
    INVITE sip:2000@203.0.113.5 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK7d1c9e52;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice\" <sip:1000@203.0.113.5>;tag=8f3b2c61\r\n\
    To: <sip:2000@203.0.113.5>\r\n\
    Call-ID: 5b0f7c52a1e94d8e@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:1000@192.0.2.1:5060>\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, NOTIFY\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 220\r\n\
    \r\n\
    v=0\r\n\
    o=- 3809 3809 IN IP4 192.0.2.1\r\n\
    s=-\r\n\
    c=IN IP4 192.0.2.1\r\n\
    t=0 0\r\n\
    m=audio 20000 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\n\
    a=ptime:20\r\n\
    a=sendrecv\r\n";

/// The cases, in the order of the manual.
pub(super) fn subjects() -> Vec<Subject> {
    let media = Media { rtp: addresses::PHONE_MEDIA, rtcp: addresses::PHONE_CONTROL };
    let gatekeeper = SocketAddr::new(addresses::MANAGER, 1_720);
    vec![
        of("sip-invite-parse", vec![INVITE.into()], invite),
        peer("sip-invite-ezk", INVITE),
        of("h225-setup-14", vec![setup(media, 7)], |payload| signal(payload) == Some(14)),
        of("h225-setup-4", vec![setup(media, 2)], |payload| signal(payload) == Some(4)),
        of("h245-olc", vec![build::open_logical_channel(1, 1, media.rtcp)], |payload| {
            matches!(h245::Message::parse(payload), Ok(h245::Message::OpenLogicalChannel(_)))
        }),
        of("h245-olc-ack", vec![build::open_logical_channel_ack(1, 1, media)], |payload| {
            matches!(h245::Message::parse(payload), Ok(h245::Message::OpenLogicalChannelAck(_)))
        }),
        of("ras-acf", vec![build_ras::admission_confirm(1, gatekeeper)], |datagram| {
            ras::Message::parse(datagram)
                .is_ok_and(|message| matches!(message.body, ras::Body::AdmissionConfirm { .. }))
        }),
        of("ras-arq", vec![build_ras::admission_request(1, CALL.id)], |datagram| {
            ras::Message::parse(datagram)
                .is_ok_and(|message| matches!(message.body, ras::Body::AdmissionRequest { .. }))
        }),
        of("sccp-decode", sccp_media(), |frame| {
            let body = sccp::Message::parse(frame).map(|message| message.body);
            matches!(body, Ok(sccp::Body::OpenReceiveAck(_) | sccp::Body::StartTransmission(_)))
        }),
        of("mgcp-decode", mgcp_texts().map(String::into_bytes)[..2].to_vec(), create),
        of("tftp-decode", vec![read_request()], |datagram| {
            matches!(tftp::Packet::parse(datagram), Ok(tftp::Packet::Read(_)))
        }),
    ]
}

/// A subject that reads each of these messages once in a turn.
fn of(name: &'static str, messages: Vec<Vec<u8>>, read: impl Fn(&[u8]) -> bool + 'static) -> Subject {
    let lengths: Vec<_> = messages.iter().map(|message| message.len().to_string()).collect();
    Subject {
        name,
        messages: messages.len() as u32,
        note: format!("{} bytes", lengths.join(", ")),
        turn: Box::new(move || messages.iter().all(|message| black_box(read(black_box(message))))),
    }
}

/// A subject that has another parser read the same.
fn peer(name: &'static str, message: &str) -> Subject {
    let text = BytesStr::from(message);
    let note = format!("{} bytes, as sip-invite-parse reads them", message.len());
    Subject { name, messages: 1, note, turn: Box::new(move || peer::read(black_box(&text)) == Some(1)) }
}

/// A TPKT's payload: Setup as a gateway makes it, with a channel in each direction for each of so many codecs.
fn setup(media: Media, codecs: usize) -> Vec<u8> {
    let listener = Some(SocketAddr::new(media.rtp.ip(), 30_000));
    let parts = Parts {
        fast_start: build::offer(media, codecs),
        h245_address: listener,
        tunnelling: true,
        h245_control: Vec::new(),
    };
    let mut payload = build::setup(&CALL, &parts).split_off(4);
    // Display, calling and called party number, behind the bearer capability.
    let mut elements = vec![0x28, DISPLAY.len() as u8];
    elements.extend_from_slice(DISPLAY);
    elements.extend_from_slice(b"\x6c\x06\x00\x811000\x70\x05\x812000");
    payload.splice(10..10, elements);
    payload
}

/// Who calls; it makes the Setup with seven codecs as long as the one that Linux's decoder was measured with.
const DISPLAY: &[u8] = b"Callgate, the gateway of a bench";

/// Reads a Setup and its channels; how many there are.
fn signal(payload: &[u8]) -> Option<usize> {
    let q931 = q931::Message::parse(payload).ok()?;
    let message = h225::Message::parse(q931.user_user?).ok()?;
    let mut channels = Vec::new();
    for channel in message.fast_start {
        channels.push(OpenLogicalChannel::parse(channel).ok()?);
    }
    black_box((&q931, &channels));
    Some(channels.len())
}

fn invite(datagram: &[u8]) -> bool {
    let Ok(message) = sip::Message::parse(datagram) else { return false };
    black_box((&message, message.content_type()));
    let Some(Ok(session)) = message.sdp().map(sdp::Session::parse) else { return false };
    for media in &session.media {
        black_box((media.connection, media.port, media.direction, media.codec()));
    }
    session.media.len() == 1
}

fn create(datagram: &[u8]) -> bool {
    mgcp::messages(datagram).all(|text| {
        let message = text.and_then(mgcp::Message::parse);
        let session = message.ok().and_then(|message| black_box(&message).sdp).map(sdp::Session::parse);
        session.is_some_and(|session| session.is_ok_and(|session| black_box(&session).media.len() == 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invite_is_of_the_size_that_is_claimed() {
        assert!((600..=700).contains(&INVITE.len()), "{} bytes", INVITE.len());
        let (_, body) = INVITE.split_once("\r\n\r\n").expect("a body");
        assert!(INVITE.contains(&format!("Content-Length: {}\r\n", body.len())), "{} bytes", body.len());
    }

    #[test]
    fn the_setup_is_of_the_size_that_was_measured() {
        let media = Media { rtp: addresses::PHONE_MEDIA, rtcp: addresses::PHONE_CONTROL };
        let payload = setup(media, 7);
        assert_eq!(payload.len(), 596);
        let message = q931::Message::parse(&payload).expect("a Setup");
        assert_eq!((message.display, message.called), (Some(DISPLAY), Some(&b"2000"[..])));
    }

    #[test]
    fn a_case_fails_for_a_message_of_another_kind() {
        for Subject { name, .. } in subjects() {
            let read = [invite, create, |payload: &[u8]| signal(payload).is_some()];
            assert!(read.iter().all(|read| !read(name.as_bytes())), "{name}");
        }
        assert!(!(peer("one", &INVITE.replace("CSeq", "X")).turn)());
        assert!(!(of("one", vec![vec![1], vec![2]], |message| message == [1]).turn)());
    }
}
