//! Where a message begins and ends: on a stream, and within a datagram.

use super::field::{is_token, trim};
use super::head::Head;
use super::message::Start;
use super::{Error, Field, MAX_MESSAGE};

/// Longest datagram that is a keep-alive whatever it holds, in bytes.
const MAX_ODD_KEEP_ALIVE: usize = 8;

/// What the front of a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The beginning of a message, or nothing yet.
    Incomplete,
    /// This many bytes of keep-alive (RFC 5626 section 4.4.1), to be skipped.
    KeepAlive(usize),
    /// A whole message of this many bytes, 1 to [`MAX_MESSAGE`].
    Message(usize),
    /// Not SIP: the stream cannot be read any further.
    Invalid(Error),
}

/// What a datagram is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It begins as a SIP message does; it may be unreadable yet.
    Message,
    /// It keeps a NAT binding or a flow alive: white space (RFC 5626 section 4.4.1), or a few bytes of no standard
    /// at all (NUL bytes, `hello`, `jaK`), fewer than any SIP message has.
    KeepAlive,
    /// A STUN message on the port of SIP (RFC 5626 section 4.4.2).
    Stun,
    /// Anything else.
    Other,
}

/// Looks at the front of a stream. A message on a stream must have a Content-Length (RFC 3261 section 18.3).
///
/// Looks at no more than [`super::MAX_HEAD`] bytes, so that a peer who sends byte by byte costs a bounded amount;
/// what cannot become SIP any more is told from the first byte that says so.
pub fn frame_length(stream: &[u8]) -> Framing {
    let silence = stream.len() - skip_keep_alive(stream).len();
    if silence > 0 {
        return Framing::KeepAlive(silence);
    }
    if !begins_like_sip(stream) {
        return Framing::Invalid(Error::StartLine);
    }
    let head = match Head::read(stream) {
        Ok(Some(head)) => head,
        Ok(None) => return Framing::Incomplete,
        Err(error) => return Framing::Invalid(error),
    };
    if let Err(error) = Start::parse(head.start) {
        return Framing::Invalid(error);
    }
    match head.content_length() {
        Ok(Some(body)) => {
            match usize::try_from(body).ok().and_then(|body| body.checked_add(head.bytes.len())) {
                None => Framing::Invalid(Error::MessageTooLong),
                Some(length) if length > MAX_MESSAGE => Framing::Invalid(Error::MessageTooLong),
                Some(length) if length > stream.len() => Framing::Incomplete,
                Some(length) => Framing::Message(length),
            }
        }
        Ok(None) => Framing::Invalid(Error::Missing(Field::ContentLength)),
        Err(error) => Framing::Invalid(error),
    }
}

/// What a datagram is: a message to be read, a keep-alive to be let through, or neither.
pub fn kind(datagram: &[u8]) -> Kind {
    if is_stun(datagram) {
        Kind::Stun
    } else if datagram.len() <= MAX_ODD_KEEP_ALIVE || trim(datagram).is_empty() {
        Kind::KeepAlive
    } else {
        let message = skip_keep_alive(datagram);
        let line = message.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match Start::parse(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(_) | Err(Error::Version) => Kind::Message,
            Err(_) => Kind::Other,
        }
    }
}

/// Whether a datagram is no message but keeps a NAT binding or a flow alive ([`Kind::KeepAlive`],
/// [`Kind::Stun`]).
pub fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.len() <= MAX_ODD_KEEP_ALIVE || trim(datagram).is_empty() || is_stun(datagram)
}

/// RFC 8489 section 5: two zero bits, a length that is a multiple of 4, the magic cookie.
fn is_stun(datagram: &[u8]) -> bool {
    let Some((header, attributes)) = datagram.split_first_chunk::<20>() else { return false };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[0] & 0xc0 == 0
        && header[4..8] == [0x21, 0x12, 0xa4, 0x42]
        && length.is_multiple_of(4)
        && length == attributes.len()
}

/// Whether this may be the beginning of a message: the first word is a method, or a version.
fn begins_like_sip(stream: &[u8]) -> bool {
    match stream.iter().position(|byte| !is_token(*byte) && *byte != b'/') {
        None => true,
        Some(end) => end > 0 && stream[end] == b' ',
    }
}

/// What follows the leading CR and LF bytes. (CR and LF may come apart: a keep-alive may span segments.)
pub(super) fn skip_keep_alive(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    &bytes[blank..]
}
