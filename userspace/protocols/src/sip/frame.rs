//! Where a message begins and ends: on a stream, and within a datagram.

use super::field::{number, trim};
use super::{Error, Field, Fields, MAX_FIELDS, MAX_HEAD, MAX_LINE, MAX_MESSAGE};

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

/// Looks at the front of a stream. A message on a stream must have a Content-Length (RFC 3261 section 18.3).
///
/// Looks at no more than [`MAX_HEAD`] bytes, so that a peer who sends byte by byte costs a bounded amount.
pub fn frame_length(stream: &[u8]) -> Framing {
    let silence = stream.len() - skip_keep_alive(stream).len();
    if silence > 0 {
        return Framing::KeepAlive(silence);
    }
    let head = match head_length(stream) {
        Ok(Some(head)) => head,
        Ok(None) => return Framing::Incomplete,
        Err(error) => return Framing::Invalid(error),
    };
    match content_length(&stream[..head]) {
        Ok(body) => match usize::try_from(body).ok().and_then(|body| body.checked_add(head)) {
            Some(length) if length > MAX_MESSAGE => Framing::Invalid(Error::MessageTooLong),
            None => Framing::Invalid(Error::MessageTooLong),
            Some(length) if length > stream.len() => Framing::Incomplete,
            Some(length) => Framing::Message(length),
        },
        Err(error) => Framing::Invalid(error),
    }
}

/// Whether a datagram only keeps a NAT binding or a flow alive: white space (RFC 5626 section 4.4.1), a STUN
/// message (section 4.4.2), or a few bytes of no standard at all (NUL bytes, `hello`, `jaK`), fewer than any
/// SIP message has.
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

/// What follows the leading CR and LF bytes. (CR and LF may come apart: a keep-alive may span segments.)
pub(super) fn skip_keep_alive(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    &bytes[blank..]
}

/// Length of the head that `bytes` begins with, its blank line included; `None` while it has no end.
/// Guarantees that every line ends in CRLF and holds neither a bare CR or LF nor an unescaped NUL.
pub(super) fn head_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let mut line = 0;
    let mut previous = 0_u8;
    for (at, &byte) in bytes.iter().enumerate() {
        if at == MAX_HEAD {
            return Err(Error::HeadTooLong);
        }
        match byte {
            b'\n' if previous != b'\r' => return Err(Error::LineEnd),
            b'\n' => {
                if at - line == 1 {
                    return Ok(Some(at + 1));
                }
                line = at + 1;
            }
            _ if previous == b'\r' => return Err(Error::LineEnd),
            0 if previous != b'\\' => return Err(Error::Nul),
            _ if at - line >= MAX_LINE => return Err(Error::LineTooLong),
            _ => {}
        }
        previous = byte;
    }
    Ok(None)
}

fn content_length(head: &[u8]) -> Result<u64, Error> {
    let first = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
    let mut length = None;
    for (count, field) in Fields::new(&head[first..]).enumerate() {
        if count == MAX_FIELDS {
            return Err(Error::TooManyFields);
        }
        let (name, value) = field?;
        if Field::from_name(name) == Some(Field::ContentLength) {
            let value = number(value).ok_or(Error::Malformed(Field::ContentLength))?;
            if length.replace(value).is_some() {
                return Err(Error::Duplicate(Field::ContentLength));
            }
        }
    }
    length.ok_or(Error::Missing(Field::ContentLength))
}
