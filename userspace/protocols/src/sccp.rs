//! Skinny Client Control Protocol (SCCP): messages between Cisco phones and their call manager.
//!
//! ```text
//!  0               4                8               12
//! +---------------+----------------+---------------+------------------
//! | length        | header version | message id    | length - 4 octets
//! +---------------+----------------+---------------+------------------
//! ```
//!
//! Integers are little-endian, addresses in network order, ports 32 bits wide. The length counts from the message
//! id. There is no public standard: layouts are those that phones and call managers send, of protocol versions 0
//! to 22.
//!
//! An address is four octets up to version 16, and a type with sixteen octets from version 17 on, which
//! moves everything behind it. Version *and* length must agree on which; a message of header version 0 may have the
//! long form, if the short one makes no sense in it. Messages are read as far as fields are needed: real phones
//! shorten and lengthen them. Whether a message may be sent at all is left to the caller.

mod body;
mod message;

pub use body::*;
pub use message::{Side, codec_name, device_name, known, message_name, sender};

/// Octets of the length and header version fields, which the length does not count.
pub const HEADER: usize = 8;
/// Greatest length that is read: twice the longest message phones are seen to send (an alarm in XML, 2,004).
pub const MAX_LENGTH: u32 = 4_096;
/// Greatest protocol version that is known.
pub const MAX_VERSION: u32 = 22;

/// Length in a 6911's StartMediaTransmissionAck.
const SHORT_ANSWER: u32 = 0x26;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A length below the message id's own, or above [`MAX_LENGTH`].
    #[error("length {0} is not between 4 and {MAX_LENGTH}")]
    Length(u32),
    /// A header version nobody speaks.
    #[error("header version {0} is above {MAX_VERSION}")]
    Version(u32),
    /// It ends before a field that is needed.
    #[error("{message} ends before octet {needed}")]
    Short {
        /// The message's name.
        message: &'static str,
        /// Octets that are needed, from the header on.
        needed: usize,
    },
    /// The address has neither the form of the message's version nor a sensible other one.
    #[error("{0} has an address that does not fit its version")]
    Layout(&'static str),
    /// A number that is no port.
    #[error("{message} has port {port}")]
    Port {
        /// The message's name.
        message: &'static str,
        /// The number.
        port: u32,
    },
    /// A device name that is empty or not printable ASCII.
    #[error("{0} has no proper device name")]
    Name(&'static str),
}

/// Octets of the first message of a stream with its header, 12 to 4,104; `None` while it is incomplete.
///
/// # Errors
/// [`Error::Length`] and [`Error::Version`], as soon as the octets that are there cannot begin a message.
pub fn frame_length(stream: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = word(stream, 0) else { return Ok(None) };
    if !(4..=MAX_LENGTH).contains(&length) {
        return Err(Error::Length(length));
    }
    if let Some(version) = word(stream, 4)
        && version > MAX_VERSION
    {
        return Err(Error::Version(version));
    }
    let total = HEADER + length as usize;
    Ok(if is_short_answer(stream, length) { whole_answer(stream, total) } else { Some(total) })
}

/// Whether this may be the answer of a 6911, which counts six octets too few: the rest of its port and its status.
fn is_short_answer(stream: &[u8], length: u32) -> bool {
    length == SHORT_ANSWER && word(stream, 4) >= Some(17) && word(stream, 8) == Some(0x0154)
}

/// The octets of such an answer. Those it does not count are 0, which could not begin another message; `None`
/// until that can be told.
fn whole_answer(stream: &[u8], total: usize) -> Option<usize> {
    let rest = stream.get(total..).unwrap_or_default();
    match rest.iter().take(6).position(|octet| *octet != 0) {
        Some(_) => Some(total),
        None if rest.len() >= 6 => Some(total + 6),
        None => None,
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Value of the length field: octets from the message id on.
    pub length: u32,
    /// Header version: 0, or the protocol version that was negotiated, from 10 to 22.
    pub version: u32,
    /// Message id.
    pub id: u32,
    /// What it says.
    pub body: Body<'a>,
}

impl<'a> Message<'a> {
    /// Reads one message with its header: as many octets as [`frame_length`] says.
    ///
    /// # Errors
    /// If its header contradicts itself or the octets, or a field that is needed is missing or senseless.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Error> {
        let short = |needed| Error::Short { message: "message", needed };
        let total = frame_length(frame)?.ok_or(short(HEADER))?;
        let frame = frame.get(..total).ok_or(short(total))?;
        let (length, version) = (word(frame, 0).unwrap_or(0), word(frame, 4).ok_or(short(HEADER))?);
        let id = word(frame, HEADER).ok_or(short(HEADER + 4))?;
        let body = Body::parse(&Reader { frame, version, name: message_name(id).unwrap_or("message") }, id)?;
        Ok(Self { length, version, id, body })
    }

    /// Its name; `message` where it has none.
    pub fn name(&self) -> &'static str {
        message_name(self.id).unwrap_or("message")
    }
}

/// A little-endian word.
fn word(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// A message whose fields are being read; offsets count from the header's first octet.
struct Reader<'a> {
    frame: &'a [u8],
    version: u32,
    name: &'static str,
}

#[cfg(test)]
mod tests;
