//! Torture: what RFC 4475 and RFC 5118 describe, in messages of our own with the same traps, and what their sections
//! say of each.
//!
//! A firewall passes what is valid byte for byte. Where an element would answer 400 it may be lenient, as long as it
//! reads what every other reader reads: such a message is here as one that is read, with what is read of it.

mod ipv6;
mod semantics;
mod syntax;

use callgate_protocols::sip::{self, Error, Framing, Message};

/// A message: `head` with its lines ended in CRLF and `{length}` replaced by the body's, a blank line, the body.
fn wire(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        head.trim_start_matches('\n').replace('\n', "\r\n").replace("{length}", &body.len().to_string());
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Reads a message that is valid: as a datagram, and the same on a stream where it has a Content-Length.
#[track_caller]
fn valid(bytes: &[u8]) -> Message<'_> {
    let message = Message::parse(bytes).expect("a valid message");
    assert_eq!(sip::kind(bytes), sip::Kind::Message);
    if message.has(sip::Field::ContentLength) {
        let length = message.head_length() + message.body.len();
        assert_eq!(sip::frame_length(bytes), Framing::Message(length), "on a stream");
        let stream = [bytes, bytes].concat();
        assert_eq!(sip::frame_length(&stream[..length - 1]), Framing::Incomplete, "on a stream, cut short");
    } else {
        let missing = Error::Missing(sip::Field::ContentLength);
        assert_eq!(sip::frame_length(bytes), Framing::Invalid(missing), "on a stream");
    }
    message
}

/// Why a message is refused.
#[track_caller]
fn refused(bytes: &[u8]) -> Error {
    Message::parse(bytes).expect_err("an invalid message")
}

/// An offer of one audio stream.
const OFFER: &str = "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n\
    m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n";
