//! Reads bytes with the decoders of a protocol, and all that these lead to, as the engine would.
//!
//! Whether they are good says the result; what must hold of a decoder whatever it is given is asserted.

use callgate_protocols::ras::Body;
use callgate_protocols::refuse::{self, Why};
use callgate_protocols::{h225, h245, mgcp, q931, ras, sccp, sdp, sip, tftp, tpkt};

/// SIP, as a datagram and as a stream.
pub fn sip(bytes: &[u8]) -> bool {
    let keeps_alive = matches!(sip::kind(bytes), sip::Kind::KeepAlive | sip::Kind::Stun);
    assert_eq!(sip::is_keep_alive(bytes), keeps_alive);
    let mut stream = bytes;
    while !stream.is_empty() {
        let length = match sip::frame_length(stream) {
            sip::Framing::Message(length) => {
                sip_message(&stream[..length]);
                length
            }
            sip::Framing::KeepAlive(length) => length,
            sip::Framing::Incomplete | sip::Framing::Invalid(_) => break,
        };
        assert!(length > 0, "a stream goes on");
        stream = &stream[length..];
    }
    sip_message(bytes)
}

fn sip_message(bytes: &[u8]) -> bool {
    let Ok(message) = sip::Message::parse(bytes) else { return false };
    let most = bytes.len();
    let _ = (message.expires(), message.session_expires(), message.min_se(), message.retry_after());
    let _ = (message.refresher(), message.rack(), message.rseq(), message.is_reliable(), message.refer_sub());
    let _ = (message.event(), message.subscription_state(), message.join(), message.refer_replaces());
    assert!((1..=sip::MAX_ID).contains(&message.call_id.len()), "bounded");
    assert!(message.head_length() + message.body.len() <= most, "within the message");
    assert!((5..=sip::MAX_FIELDS).contains(&message.field_count()), "bounded");
    assert_eq!(message.fields().count(), message.field_count(), "all that were there");
    assert!(message.vias().next().is_some_and(|via| via == Ok(message.via)), "the topmost is the first");
    assert!(message.longest_uri() <= most && message.supported().count() <= most, "bounded");
    let addresses = [message.contacts().filter_map(Result::ok).count(), message.routes().count()];
    assert!(addresses.into_iter().all(|count| count <= most), "bounded");
    for contact in message.contacts().filter_map(Result::ok) {
        assert!(contact.q().is_none_or(|q| q <= 1_000), "a fraction of one");
        let _ = (contact.sip_uri().map(|uri| uri.ip()), contact.user().map(sip::unescape));
    }
    for credentials in message.credentials() {
        assert!(message.has_credentials());
        let _ = (credentials.username(), credentials.realm(), credentials.nonce(), credentials.response());
    }
    message.challenges().for_each(|challenge| _ = challenge.is_stale());
    message.reasons().for_each(|reason| assert!(!reason.protocol.is_empty()));
    if let Some(replaces) = message.replaces() {
        assert!((1..=sip::MAX_ID).contains(&replaces.call_id.len()), "bounded");
    }
    sip_reply(bytes, &message);
    message.sdp().is_none_or(sdp)
}

/// Refuses a request: who sent it must be able to read that, and know it for an answer.
fn sip_reply(bytes: &[u8], message: &sip::Message) {
    let answer = sip::reply(bytes, ([192, 0, 2, 7], 5_060).into(), 403, "Forbidden", &[]);
    let has_one = message.request_uri().is_some() && message.method() != sip::Method::Ack;
    assert_eq!(answer.is_some(), has_one, "every request but ACK has an answer");
    let Some(answer) = answer else { return };
    assert!(answer.len() <= bytes.len() + 256, "no amplifier");
    let Ok(answer) = sip::Message::parse(&answer) else {
        // It names its fields in full, and may add to the topmost Via and to To: bounds that were nearly reached.
        assert!(bytes.len() > sip::MAX_LINE - 256, "it can be read");
        return;
    };
    assert_eq!((answer.status(), answer.call_id, answer.cseq), (Some(403), message.call_id, message.cseq));
    assert_eq!((answer.via.branch, answer.from.tag), (message.via.branch, message.from.tag));
    assert!(answer.to.tag.is_some() && answer.body.is_empty());
}

/// A session description.
pub fn sdp(text: &[u8]) -> bool {
    let Ok(session) = sdp::Session::parse(text) else { return false };
    assert!(session.media.len() <= sdp::MAX_MEDIA, "bounded");
    let _ = session.origin();
    assert!(session.bundles().map(|bundle| bundle.mids().count()).sum::<usize>() <= text.len(), "bounded");
    for media in &session.media {
        let _ = (
            media.codec(),
            media.setup(),
            media.ice_pwd(),
            media.bandwidth(),
            media.ptime(),
            media.maxptime(),
        );
        assert_eq!(media.is_secure(), media.security() != sdp::Security::None);
        assert!(media.is_held() || media.direction == sdp::Direction::SendRecv && !media.is_closed());
        assert!(media.candidates().count() <= sdp::MAX_CANDIDATES, "bounded");
        assert!(media.offers_ice() || media.candidates().next().is_none());
        assert!(media.remote_candidates().count() <= sdp::MAX_CANDIDATES, "bounded");
        assert!(media.ssrcs().count() <= sdp::MAX_CANDIDATES, "bounded");
        assert!(media.payload_types().all(|number| number < 128), "seven bits");
        media.payload_types().take(8).for_each(|number| _ = (media.rtpmap(number), media.fmtp(number)));
        let _ = (media.t38(), media.cryptos().count(), media.msrp_path().count());
        let _ = media.mid.and_then(|mid| session.bundle_of(mid)).map(sdp::Bundle::tagged);
        media.candidates().for_each(|candidate| _ = candidate.address());
    }
    true
}

/// A stream of TPKTs; good if it has one.
pub fn tpkt(bytes: &[u8]) -> bool {
    let (mut stream, mut good) = (bytes, false);
    while let Ok(Some(frame)) = tpkt::split(stream) {
        assert!(frame.rest.len() < stream.len(), "a stream goes on");
        assert_eq!(tpkt::length(stream), Ok(Some(frame.payload.len() + tpkt::HEADER)));
        good = true;
        stream = frame.rest;
    }
    good
}

/// H.225.0 call signalling: as a stream of TPKTs, as one Q.931 message, and as the User-User element alone.
pub fn h225(bytes: &[u8]) -> bool {
    let (mut stream, mut good) = (bytes, false);
    while let Ok(Some(frame)) = tpkt::split(stream) {
        good |= q931(frame.payload);
        stream = frame.rest;
    }
    q931(bytes) | user_user(bytes) | good
}

/// A Q.931 message, with the message in its User-User element.
pub fn q931(payload: &[u8]) -> bool {
    let Ok(message) = q931::Message::parse(payload) else { return false };
    assert!(message.call_reference < 0x8000 && !message.kind.name().is_empty());
    message.user_user.is_none_or(user_user)
}

fn user_user(element: &[u8]) -> bool {
    let Ok(message) = h225::Message::parse(element) else { return false };
    let most = element.len() * 8;
    for aliases in [&message.source, &message.destination, &message.alternative_alias] {
        names(aliases, most);
    }
    assert!(message.features.iter().all(|feature| message.features.has(feature)));
    let mut parts = 0;
    for channel in message.fast_start {
        parts += 1;
        let _ = h245::OpenLogicalChannel::parse(channel);
    }
    for tunnelled in message.h245_control.chain(message.parallel_h245_control) {
        parts += 1;
        let _ = h245::Message::parse(tunnelled);
    }
    assert!(parts <= element.len(), "each takes an octet at least");
    true
}

/// Shows aliases, of which there are at most so many.
fn names(aliases: &h225::Aliases<'_>, most: usize) {
    let count = aliases.iter().map(|alias| drop(alias.to_string())).count();
    assert!(count <= most && aliases.is_empty() == (count == 0), "all that were there");
}

/// H.245: control messages, and the channels of fast start.
pub fn h245(encoding: &[u8]) -> bool {
    let _ = h245::OpenLogicalChannel::parse(encoding);
    h245::Message::parse(encoding).is_ok_and(|message| {
        assert!(!message.name().is_empty());
        if let h245::Message::CommunicationMode(modes) = message {
            assert!(modes.iter().count() <= h245::Modes::MOST, "bounded");
        }
        true
    })
}

/// A RAS message, and what rejects it.
pub fn ras(encoding: &[u8]) -> bool {
    let Ok(message) = ras::Message::parse(encoding) else { return false };
    assert!(!message.body.name().is_empty());
    let most = encoding.len() * 8;
    match &message.body {
        Body::AdmissionRequest { source, destination, endpoint, .. } => {
            names(source, most);
            names(destination, most);
            assert!((2..=256).contains(&endpoint.octets().len()) && !endpoint.to_string().is_empty());
        }
        Body::RegistrationRequest { call_signal, ras, aliases, .. } => {
            assert!(call_signal.iter().chain(ras.iter()).count() <= 2 * h225::Addresses::MOST, "bounded");
            names(aliases, most);
        }
        Body::RegistrationConfirm { alternates, .. }
        | Body::GatekeeperConfirm { alternates, .. }
        | Body::LocationConfirm { alternates, .. } => {
            assert!(alternates.iter().count() <= ras::Alternates::MOST, "bounded");
        }
        Body::AdmissionConfirmSequence(admissions) => {
            let alternates = admissions.iter().flat_map(|admission| admission.alternates.iter());
            assert!(alternates.count() <= most, "bounded");
        }
        Body::InfoRequestResponse { calls, .. } => assert!(calls.iter().count() <= most, "bounded"),
        _ => {}
    }
    for why in [Why::Forbidden, Why::Exhausted, Why::Unauthenticated] {
        if let Some(rejection) = refuse::ras_reject(&message, why) {
            let rejection = ras::Message::parse(&rejection).expect("it can be read");
            assert_eq!(rejection.sequence, message.sequence);
        }
    }
    true
}

/// SCCP: a stream of messages; good if one could be read.
pub fn sccp(mut stream: &[u8]) -> bool {
    let mut good = false;
    while let Ok(Some(length)) = sccp::frame_length(stream) {
        assert!((12..=4_104).contains(&length), "bounded, and a stream goes on: {length}");
        let Some((frame, rest)) = stream.split_at_checked(length) else { break };
        if let Ok(message) = sccp::Message::parse(frame) {
            assert!(!message.name().is_empty());
            good = true;
        }
        stream = rest;
    }
    // Whatever the framing says.
    good | sccp::Message::parse(stream).is_ok()
}

/// MGCP: the messages of a datagram; good if all could be read.
pub fn mgcp(datagram: &[u8]) -> bool {
    let (mut count, mut good) = (0, true);
    for text in mgcp::messages(datagram) {
        count += 1;
        assert!(count <= mgcp::MAX_MESSAGES + 1, "bounded");
        match text.and_then(mgcp::Message::parse) {
            Ok(message) => good &= mgcp_message(&message),
            Err(_) => good = false,
        }
    }
    good
}

fn mgcp_message(message: &mgcp::Message) -> bool {
    let identifiers = [message.call, message.connection];
    assert!(identifiers.into_iter().flatten().all(|text| text.len() <= mgcp::MAX_IDENTIFIER), "bounded");
    if let mgcp::Start::Command { endpoint, .. } = message.start {
        assert!((1..=mgcp::MAX_ENDPOINT).contains(&endpoint.name().len()), "bounded");
        assert!(endpoint.covers(endpoint), "a name covers itself");
        if let Some(specific) = message.specific {
            let _ = (endpoint.covers(specific), specific.is_wildcard());
        }
    }
    message.sdp.is_none_or(sdp)
}

/// A TFTP packet.
pub fn tftp(datagram: &[u8]) -> bool {
    match tftp::Packet::parse(datagram) {
        Ok(tftp::Packet::Read(request) | tftp::Packet::Write(request)) => {
            assert!((1..=tftp::MAX_FILE).contains(&request.file.len()), "bounded");
            assert!(!request.file.contains(char::is_control), "fit to be shown");
            true
        }
        Ok(_) => true,
        Err(_) => false,
    }
}
