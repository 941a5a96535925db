//! SIP messages (RFC 3261): one pass over the head, then borrowed views of it.
//!
//! [`Message::parse`] takes one whole message (a datagram, or what [`frame_length`] has cut out of a stream) and
//! guarantees that the five fields every message needs (Via, From, To, Call-ID, CSeq) are there once and
//! readable, and that the body ends where Content-Length says. It never allocates. What a field *means* for a
//! call is left to the reader.
//!
//! Strict where two readers of one message could disagree (bare CR or LF, a second Call-ID, a Content-Length
//! beyond the datagram, a CSeq method that is not the request's), lenient where RFC 3261 asks for it: any
//! order and case, compact names, folding, white space around separators, unknown methods and fields.

mod body;
mod field;
mod frame;
mod head;
mod message;
mod name;
mod reply;
mod says;

pub use field::{Address, Addresses, CSeq, Method, Parameters, Uri, Via, unescape, user_of};
pub use frame::{Framing, Kind, frame_length, is_keep_alive, kind};
pub use message::{Message, Start};
pub use name::Field;
pub use reply::{reply, reply_instead};
pub use says::{Challenge, Credentials, Event, RAck, Reason, Refresher, Replaces, SubscriptionState};

/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = 65_535;
/// Longest head (start line and header fields, blank line included), in bytes.
pub const MAX_HEAD: usize = 32_768;
/// Longest line, and longest header field with its continuation lines, in bytes.
pub const MAX_LINE: usize = 8_192;
/// Most header fields.
pub const MAX_FIELDS: usize = 256;
/// Longest Call-ID, and longest tag, in bytes.
pub const MAX_ID: usize = 256;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before its blank line.
    #[error("the head has no end")]
    Unfinished,
    /// More than [`MAX_MESSAGE`] bytes.
    #[error("message longer than {MAX_MESSAGE} bytes")]
    MessageTooLong,
    /// More than [`MAX_HEAD`] bytes.
    #[error("head longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// More than [`MAX_LINE`] bytes.
    #[error("line longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// More than [`MAX_FIELDS`].
    #[error("more than {MAX_FIELDS} header fields")]
    TooManyFields,
    /// CR without LF, or LF without CR: readers differ about where such a line ends.
    #[error("bare CR or LF in the head")]
    LineEnd,
    /// A NUL byte outside a quoted pair: readers differ about where such a value ends.
    #[error("NUL byte in the head")]
    Nul,
    /// Neither a Request-Line nor a Status-Line (RFC 3261 sections 7.1 and 7.2).
    #[error("malformed start line")]
    StartLine,
    /// Not `SIP/2.0`.
    #[error("not SIP version 2.0")]
    Version,
    /// A line of the head that is not `name: value`.
    #[error("malformed header line")]
    HeaderLine,
    /// A field every message needs (RFC 3261 section 8.1.1), or every message on a stream.
    #[error("{0} is missing")]
    Missing(Field),
    /// A field that may appear once only.
    #[error("{0} appears twice")]
    Duplicate(Field),
    /// A field that cannot be read.
    #[error("{0} is malformed")]
    Malformed(Field),
    /// Content-Length is beyond the datagram's end (RFC 3261 section 18.3).
    #[error("Content-Length is beyond the end of the datagram")]
    BodyTruncated,
    /// A request whose CSeq names another method (RFC 3261 section 8.1.1.5).
    #[error("CSeq names another method than the request line")]
    MethodMismatch,
}

#[cfg(test)]
mod tests;
