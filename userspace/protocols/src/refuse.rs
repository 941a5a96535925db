//! Refusals in the protocols' own words: what a firewall says to whom it will not serve.
//!
//! Only what a refusal needs is written: nothing in it depends on more of what a peer has sent than numbers and
//! identifiers of fixed size.

use crate::h225::Guid;
use crate::ras::{Body, Message};
use crate::writer::{Writer, encode};

/// H.225.0 version 4: itu-t(0) recommendation(0) h(8) 2250 version(0) 4.
pub(crate) const H225_VERSION: [u8; 6] = [0x00, 0x08, 0x91, 0x4a, 0x00, 0x04];

/// Why it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A policy does not permit it.
    Forbidden,
    /// There are too many, or they come too fast.
    Exhausted,
    /// H.235 tokens are missing.
    Unauthenticated,
    /// It has lasted long enough.
    Limit,
}

/// A ReleaseComplete, as a whole TPKT: Q.931 with a cause (Q.850), and a reason in its User-User element.
///
/// `to_origin` is Q.931's flag: the message goes to the side that chose `call_reference`, which is the caller.
pub fn release_complete(call_reference: u16, to_origin: bool, call: Option<Guid>, why: Why) -> Vec<u8> {
    let (cause, reason) = match why {
        Why::Forbidden => (CALL_REJECTED, Reason::Root(5)), // noPermission
        Why::Exhausted => (CONGESTION, Reason::Root(1)),    // gatekeeperResources
        Why::Unauthenticated => (CALL_REJECTED, Reason::Added(1)), // securityDenied
        Why::Limit => (UNSPECIFIED, Reason::Root(11)),      // undefinedReason
    };
    let user_user = encode(|w| {
        // H323-UserInformation, H323-UU-PDU, releaseComplete
        w.preamble(false, &[false]).preamble(false, &[false]).choice(5, 3);
        w.preamble(call.is_some(), &[true]).bytes(&H225_VERSION);
        reason.write(w, 4);
        if let Some(Guid(guid)) = call {
            w.additions(1, &[(0, encode(|w| _ = w.preamble(false, &[]).octets(&guid)))]);
        }
    });
    let cause = [0x08, 0x02, 0x80 | LOCATION, 0x80 | cause];
    tpkt(&q931(call_reference, to_origin, 0x5a, &cause, &user_user))
}

/// A ReleaseComplete as [`release_complete`] writes it, as a TPKT of exactly `length` octets: it can stand in the place
/// of another message. `None` where it does not fit. What is left over is filled with Display elements of spaces.
pub fn release_complete_of(
    length: usize,
    call_reference: u16,
    to_origin: bool,
    call: Option<Guid>,
    why: Why,
) -> Option<Vec<u8>> {
    /// Behind the TPKT's header, Q.931's own, and the cause.
    const PLACE: usize = 4 + 5 + 4;
    /// Octets of a Display element's contents, at most (Q.931 section 4.5.16), and its own header.
    const DISPLAY: usize = 80;
    const ELEMENT: usize = 2;
    let longest = release_complete(call_reference, to_origin, call, why);
    let mut message = if longest.len() <= length && longest.len() + 1 != length {
        longest
    } else {
        release_complete(call_reference, to_origin, None, why)
    };
    let mut left = length.checked_sub(message.len())?;
    let mut filling = Vec::with_capacity(left);
    while left > 0 {
        let mut contents = left.checked_sub(ELEMENT)?.min(DISPLAY);
        if left - ELEMENT - contents == 1 {
            // No element fills a single octet.
            contents -= 1;
        }
        filling.extend([0x28, contents as u8]);
        filling.resize(filling.len() + contents, b' ');
        left -= ELEMENT + contents;
    }
    message.splice(PLACE..PLACE, filling);
    message[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    Some(message)
}

/// Cause values of Q.850.
const CALL_REJECTED: u8 = 21;
const CONGESTION: u8 = 42;
const UNSPECIFIED: u8 = 31;
/// Where the cause arose: in a private network that serves the local user.
const LOCATION: u8 = 1;

/// A Q.931 message with `elements`, and a User-User element.
pub(crate) fn q931(
    call_reference: u16,
    to_origin: bool,
    kind: u8,
    elements: &[u8],
    user_user: &[u8],
) -> Vec<u8> {
    let [high, low] = call_reference.to_be_bytes();
    let mut message = vec![0x08, 0x02, high & 0x7f | u8::from(to_origin) << 7, low, kind];
    message.extend_from_slice(elements);
    message.push(0x7e);
    message.extend_from_slice(&((user_user.len() + 1) as u16).to_be_bytes());
    message.push(0x05);
    message.extend_from_slice(user_user);
    message
}

/// Puts a message into a TPKT.
pub(crate) fn tpkt(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![3, 0];
    frame.extend_from_slice(&((message.len() + 4) as u16).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The answer that rejects a RAS request, a whole datagram; `None` for what is no request.
pub fn ras_reject(request: &Message<'_>, why: Why) -> Option<Vec<u8>> {
    let rejection = match request.body {
        Body::GatekeeperRequest { .. } => &GATEKEEPER,
        Body::RegistrationRequest { .. } => &REGISTRATION,
        Body::UnregistrationRequest { .. } => &UNREGISTRATION,
        Body::AdmissionRequest { .. } => &ADMISSION,
        Body::BandwidthRequest { .. } => &BANDWIDTH,
        Body::DisengageRequest { .. } => &DISENGAGEMENT,
        Body::LocationRequest { .. } => &LOCATION_REJECT,
        _ => return None,
    };
    Some(rejection.write(request.sequence, why))
}

/// An SCCP RegisterReject that says `text`, of which 32 octets are told.
pub fn sccp_register_reject(text: &str) -> Vec<u8> {
    const TEXT: usize = 32;
    let mut body = [0; TEXT + 1];
    let length = text.floor_char_boundary(TEXT);
    body[..length].copy_from_slice(&text.as_bytes()[..length]);
    sccp(0x009d, &body)
}

/// An SCCP RegisterTokenReject: the device may ask again after so many seconds.
pub fn sccp_token_reject(seconds: u32) -> Vec<u8> {
    sccp(0x011b, &seconds.to_le_bytes())
}

/// The OnHook that a call manager reads in place of a KeypadButton, of its line and call, or of an EnblocCall: of the
/// same length, so that it can stand in its place. What is left over is zero.
///
/// `None` for what is too short to be either.
pub fn sccp_on_hook_of(frame: &[u8]) -> Option<Vec<u8>> {
    const KEYPAD_BUTTON: [u8; 4] = [0x03, 0, 0, 0];
    let mut instead = sccp_instead(frame, ON_HOOK)?;
    // Key, line, call in the one; line, call in the other.
    if frame.get(8..12) == Some(&KEYPAD_BUTTON)
        && let (Some(place), Some(names)) = (instead.get_mut(12..20), frame.get(16..24))
    {
        place.copy_from_slice(names);
    }
    Some(instead)
}

/// The OnHook of a line and a call that a call manager reads in place of any other message of a phone: of the same
/// length, and without names where there is no room for them.
///
/// `None` for what is no message.
pub fn sccp_on_hook_for(frame: &[u8], line: u32, call: u32) -> Option<Vec<u8>> {
    let mut instead = sccp_instead(frame, ON_HOOK)?;
    if let Some(place) = instead.get_mut(12..20) {
        place.copy_from_slice(&words([line, call]));
    }
    Some(instead)
}

/// The SoftKeyEvent EndCall of a line and a call, likewise. `None` where it has no room.
pub fn sccp_end_call_for(frame: &[u8], line: u32, call: u32) -> Option<Vec<u8>> {
    const SOFT_KEY_EVENT: u32 = 0x0026;
    const END_CALL: u32 = 9;
    let mut instead = sccp_instead(frame, SOFT_KEY_EVENT)?;
    instead.get_mut(12..24)?.copy_from_slice(&words([END_CALL, line, call]));
    Some(instead)
}

/// The SetRinger that a phone reads in place of another: it does not ring.
///
/// `None` for what is too short to be one.
pub fn sccp_ring_off_of(frame: &[u8]) -> Option<Vec<u8>> {
    const OFF: u32 = 1;
    let mut instead = frame.to_vec();
    instead.get_mut(12..16)?.copy_from_slice(&OFF.to_le_bytes());
    Some(instead)
}

/// The CapabilitiesReq that a phone reads in place of a message of its call manager: of the same length, with nothing
/// but zeros in it. Phones answer it at once.
///
/// `None` for what is no message.
pub fn sccp_capabilities_of(frame: &[u8]) -> Option<Vec<u8>> {
    sccp_instead(frame, 0x009b)
}

/// OnHook.
const ON_HOOK: u32 = 0x0007;

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.map(u32::to_le_bytes).concat()
}

/// A message of this id, as long as another and of its version, which is zero behind its header.
fn sccp_instead(frame: &[u8], id: u32) -> Option<Vec<u8>> {
    let mut instead = vec![0; frame.len()];
    instead.get_mut(..8)?.copy_from_slice(frame.get(..8)?);
    instead.get_mut(8..12)?.copy_from_slice(&id.to_le_bytes());
    Some(instead)
}

/// An SCCP message in the form every version reads.
fn sccp(id: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(12 + body.len());
    frame.extend_from_slice(&(body.len() as u32 + 4).to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&id.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// The response that refuses an MGCP command of this transaction (RFC 3435 section 2.4): a code of three digits, and
/// why, in words without line breaks.
pub fn mgcp(code: u16, transaction: u32, text: &str) -> Vec<u8> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{code:03} {transaction} {text}\r\n").into_bytes()
}

/// A CHOICE of a reason, none of which has a value worth telling.
#[derive(Clone, Copy)]
enum Reason {
    Root(u32),
    Added(u32),
}

impl Reason {
    /// Writes it, where the root's number takes `bits`.
    fn write(self, w: &mut Writer, bits: u32) {
        match self {
            Self::Root(index) => w.choice(index, bits),
            Self::Added(index) => w.added(index, |_| {}),
        };
    }
}

/// What the rejections of RAS differ in.
struct Rejection {
    /// Its number in RasMessage.
    kind: u32,
    /// Optional fields of its root.
    optional: &'static [bool],
    /// It tells the version.
    versioned: bool,
    /// Bits of a reason's number.
    bits: u32,
    /// The reasons for being forbidden, exhausted, unauthenticated.
    reasons: [Reason; 3],
    /// It tells what bandwidth would be granted: none.
    bandwidth: bool,
}

const GATEKEEPER: Rejection = Rejection {
    kind: 2,
    optional: &[false; 2],
    versioned: true,
    bits: 2,
    // terminalExcluded, resourceUnavailable, securityDenial
    reasons: [Reason::Root(1), Reason::Root(0), Reason::Added(0)],
    bandwidth: false,
};
const REGISTRATION: Rejection = Rejection {
    kind: 5,
    bits: 3,
    // undefinedReason, resourceUnavailable, securityDenial
    reasons: [Reason::Root(6), Reason::Added(1), Reason::Added(3)],
    ..GATEKEEPER
};
const UNREGISTRATION: Rejection = Rejection {
    kind: 8,
    optional: &[false],
    versioned: false,
    // permissionDenied, undefinedReason, securityDenial
    reasons: [Reason::Added(0), Reason::Root(2), Reason::Added(1)],
    ..GATEKEEPER
};
const ADMISSION: Rejection = Rejection {
    kind: 11,
    bits: 3,
    // requestDenied, resourceUnavailable, securityDenial
    reasons: [Reason::Root(2), Reason::Root(7), Reason::Added(0)],
    ..UNREGISTRATION
};
const BANDWIDTH: Rejection = Rejection {
    kind: 14,
    bits: 3,
    // invalidPermission, insufficientResources, securityDenial
    reasons: [Reason::Root(2), Reason::Root(3), Reason::Added(0)],
    bandwidth: true,
    ..UNREGISTRATION
};
const DISENGAGEMENT: Rejection = Rejection {
    kind: 17,
    bits: 1,
    // notRegistered in both cases, securityDenial
    reasons: [Reason::Root(0), Reason::Root(0), Reason::Added(0)],
    ..UNREGISTRATION
};
const LOCATION_REJECT: Rejection = Rejection {
    kind: 20,
    // requestDenied, resourceUnavailable, securityDenial
    reasons: [Reason::Root(2), Reason::Added(3), Reason::Added(0)],
    ..UNREGISTRATION
};

impl Rejection {
    fn write(&self, sequence: u16, why: Why) -> Vec<u8> {
        let [forbidden, exhausted, unauthenticated] = self.reasons;
        let reason = match why {
            Why::Forbidden => forbidden,
            Why::Exhausted | Why::Limit => exhausted,
            Why::Unauthenticated => unauthenticated,
        };
        encode(|w| {
            w.choice(self.kind, 5).preamble(false, self.optional).u16(sequence.wrapping_sub(1));
            if self.versioned {
                w.bytes(&H225_VERSION);
            }
            reason.write(w, self.bits);
            if self.bandwidth {
                w.bits(0, 2).u8(0);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::build::ras as build;
    use crate::{h225, q931, tpkt};

    const REASONS: [Why; 3] = [Why::Forbidden, Why::Exhausted, Why::Unauthenticated];

    #[test]
    fn a_release_tells_its_cause_and_reason() {
        let [forbidden, exhausted, unauthenticated] = REASONS;
        let told = [forbidden, exhausted, unauthenticated, Why::Limit].map(|why| {
            let frame = release_complete(0x1234, true, Some(Guid([7; 16])), why);
            let payload = tpkt::split(&frame).expect("a frame").expect("a whole one").payload;
            let message = q931::Message::parse(payload).expect("a message");
            assert_eq!(message.kind, q931::MessageType::ReleaseComplete);
            assert_eq!((message.call_reference, message.to_origin), (0x1234, true));
            let h225 = h225::Message::parse(message.user_user.expect("H.225")).expect("a message");
            assert_eq!((h225.body, h225.call), (h225::Body::ReleaseComplete, Some(Guid([7; 16]))));
            (message.cause, h225.release_reason)
        });
        let want = [
            (21, "noPermission"),
            (42, "gatekeeperResources"),
            (21, "securityDenied"),
            (31, "undefinedReason"),
        ];
        assert_eq!(told, want.map(|(cause, reason)| (Some(cause), Some(reason))));
    }

    #[test]
    fn a_release_without_an_identifier() {
        let frame = release_complete(0xffff, false, None, Why::Forbidden);
        let message = q931::Message::parse(&frame[4..]).expect("a message");
        assert_eq!((message.call_reference, message.to_origin), (0x7fff, false));
        let h225 = h225::Message::parse(message.user_user.expect("H.225")).expect("a message");
        assert_eq!((h225.call, h225.release_reason), (None, Some("noPermission")));
    }

    #[test]
    fn a_release_has_the_length_that_is_wanted() {
        let call = Some(Guid([7; 16]));
        let (longest, shortest) =
            [call, None].map(|call| release_complete(7, false, call, Why::Forbidden).len()).into();
        for length in 0..2_000 {
            let frame = release_complete_of(length, 7, false, call, Why::Forbidden);
            let Some(frame) = frame else {
                assert!(length < shortest || length == shortest + 1, "{length}");
                continue;
            };
            assert_eq!(frame.len(), length);
            let payload = tpkt::split(&frame).expect("a frame").expect("a whole one").payload;
            assert_eq!(payload.len() + 4, length);
            let message = q931::Message::parse(payload).expect("a message");
            assert_eq!((message.kind, message.call_reference), (q931::MessageType::ReleaseComplete, 7));
            assert_eq!((message.cause, message.to_origin), (Some(21), false));
            let h225 = h225::Message::parse(message.user_user.expect("H.225")).expect("a message");
            assert_eq!((h225.body, h225.release_reason), (h225::Body::ReleaseComplete, Some("noPermission")));
            assert_eq!(h225.call, call.filter(|_| length >= longest && length != longest + 1), "{length}");
        }
        assert_eq!(release_complete_of(70_000, 7, false, call, Why::Forbidden), None);
    }

    /// What answers this request, and the reasons it gives.
    fn rejected(request: &[u8]) -> (&'static str, [&'static str; 3]) {
        let request = Message::parse(request).expect("a request");
        let mut name = "";
        let reasons = REASONS.map(|why| {
            let answer = ras_reject(&request, why).expect("a request is rejected");
            let answer = Message::parse(&answer).expect("an answer");
            assert_eq!(answer.sequence, request.sequence);
            name = answer.body.name();
            match answer.body {
                Body::GatekeeperReject { reason }
                | Body::RegistrationReject { reason }
                | Body::UnregistrationReject { reason }
                | Body::AdmissionReject { reason }
                | Body::BandwidthReject { reason }
                | Body::DisengageReject { reason }
                | Body::LocationReject { reason } => reason,
                other => panic!("{other:?}"),
            }
        });
        (name, reasons)
    }

    #[test]
    fn each_request_is_rejected_by_its_own_kind() {
        let at: SocketAddr = "192.0.2.1:1719".parse().expect("an address");
        let denial = "securityDenial";
        let exhausted = "resourceUnavailable";
        assert_eq!(
            rejected(&build::gatekeeper_request(1, at)),
            ("gatekeeperReject", ["terminalExcluded", exhausted, denial])
        );
        assert_eq!(
            rejected(&build::registration_request(65_535, at, at, 60)),
            ("registrationReject", ["undefinedReason", exhausted, denial])
        );
        assert_eq!(
            rejected(&build::unregistration_request(3, at)),
            ("unregistrationReject", ["permissionDenied", "undefinedReason", denial])
        );
        assert_eq!(
            rejected(&build::admission_request(4, [1; 16])),
            ("admissionReject", ["requestDenied", exhausted, denial])
        );
        assert_eq!(
            rejected(&build::bandwidth_request(5, [1; 16], 640)),
            ("bandwidthReject", ["invalidPermission", "insufficientResources", denial])
        );
        assert_eq!(
            rejected(&build::disengage_request(6, [1; 16])),
            ("disengageReject", ["notRegistered", "notRegistered", denial])
        );
        assert_eq!(
            rejected(&build::location_request(7, at)),
            ("locationReject", ["requestDenied", exhausted, denial])
        );
    }

    #[test]
    fn a_key_becomes_an_on_hook_of_its_length() {
        use crate::sccp::{Message, frame_length};
        let key =
            crate::build::sccp::message(17, 0x0003, &[[9, 0, 0, 0], [1, 0, 0, 0], [77, 0, 0, 0]].concat());
        let hook = sccp_on_hook_of(&key).expect("long enough");
        assert_eq!((hook.len(), frame_length(&hook)), (key.len(), Ok(Some(key.len()))));
        let message = Message::parse(&hook).expect("a message");
        assert_eq!((message.id, message.version), (7, 17));
        assert_eq!(hook[12..], [[1, 0, 0, 0], [77, 0, 0, 0], [0; 4]].concat());
        let short = crate::build::sccp::message(0, 0x0003, &[9, 0, 0, 0]);
        assert_eq!(sccp_on_hook_of(&short).expect("long enough")[8..], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sccp_on_hook_of(&key[..11]), None);
    }

    #[test]
    fn a_question_and_what_its_answer_becomes_have_the_length_of_what_they_replace() {
        use crate::sccp::Message;
        let state = crate::build::sccp::call_state(17, 4, 77);
        let question = sccp_capabilities_of(&state).expect("long enough");
        assert_eq!(question.len(), state.len());
        let message = Message::parse(&question).expect("a message");
        assert_eq!((message.id, message.version, question[12..].iter().max()), (0x9b, 17, Some(&0)));
        let answer = crate::build::sccp::message(17, 0x0010, &[1; 36]);
        let hook = sccp_on_hook_for(&answer, 2, 77).expect("long enough");
        assert_eq!((hook.len(), Message::parse(&hook).expect("a message").id), (answer.len(), 7));
        assert_eq!(hook[12..], [&[2, 0, 0, 0, 77, 0, 0, 0][..], &[0; 28]].concat());
        let short = crate::build::sccp::keep_alive();
        assert_eq!(sccp_on_hook_for(&short, 2, 77).expect("long enough")[8..], [7, 0, 0, 0]);
        assert_eq!((sccp_on_hook_for(&short[..11], 2, 77), sccp_capabilities_of(&[])), (None, None));
        let key = sccp_end_call_for(&answer, 2, 77).expect("long enough");
        assert_eq!((key.len(), Message::parse(&key).expect("a message").id), (answer.len(), 0x26));
        assert_eq!(key[12..24], [9, 0, 0, 0, 2, 0, 0, 0, 77, 0, 0, 0]);
        assert_eq!(sccp_end_call_for(&answer[..23], 2, 77), None);
        let ring = crate::build::sccp::message(17, 0x0085, &words([2, 1, 1, 77]));
        let off = crate::build::sccp::message(17, 0x0085, &words([1, 1, 1, 77]));
        assert_eq!((sccp_ring_off_of(&ring), sccp_ring_off_of(&ring[..12])), (Some(off), None));
    }

    #[test]
    fn rejections_of_sccp_and_mgcp_are_read_as_such() {
        use crate::sccp::{Body, Message};
        let told = sccp_register_reject("this device may not register here, nor there");
        let body = Message::parse(&told).expect("a message").body;
        assert_eq!(body, Body::RegisterReject(b"this device may not register her"));
        let told = sccp_token_reject(60);
        assert_eq!(Message::parse(&told).expect("a message").body, Body::TokenReject);
        let told = mgcp(502, 1204, "no\r\nway");
        assert_eq!(told, b"502 1204 no  way\r\n");
        assert!(crate::mgcp::Message::parse(&told).is_ok());
    }

    #[test]
    fn an_answer_is_not_rejected() {
        let answer = build::registration_confirm(1, 60);
        let answer = Message::parse(&answer).expect("an answer");
        assert_eq!(ras_reject(&answer, Why::Forbidden), None);
    }
}
