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

pub use field::{Address, Addresses, CSeq, Method, Parameters, Uri, Via};
pub use frame::{Framing, frame_length, is_keep_alive};

use crate::sip::field::{number, trim};

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

/// Header fields this reader understands; the names of all others are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Via, `v`.
    Via,
    /// From, `f`.
    From,
    /// To, `t`.
    To,
    /// Call-ID, `i`.
    CallId,
    /// CSeq.
    CSeq,
    /// Contact, `m`.
    Contact,
    /// Expires.
    Expires,
    /// Content-Type, `c`.
    ContentType,
    /// Content-Length, `l`.
    ContentLength,
    /// Content-Encoding, `e`.
    ContentEncoding,
    /// Max-Forwards.
    MaxForwards,
    /// Session-Expires (RFC 4028), `x`.
    SessionExpires,
    /// Replaces (RFC 3891).
    Replaces,
}

impl Field {
    const NAMES: [(Self, &'static str, &'static str); 13] = [
        (Self::Via, "Via", "v"),
        (Self::From, "From", "f"),
        (Self::To, "To", "t"),
        (Self::CallId, "Call-ID", "i"),
        (Self::CSeq, "CSeq", ""),
        (Self::Contact, "Contact", "m"),
        (Self::Expires, "Expires", ""),
        (Self::ContentType, "Content-Type", "c"),
        (Self::ContentLength, "Content-Length", "l"),
        (Self::ContentEncoding, "Content-Encoding", "e"),
        (Self::MaxForwards, "Max-Forwards", ""),
        (Self::SessionExpires, "Session-Expires", "x"),
        (Self::Replaces, "Replaces", ""),
    ];

    /// The field with this name, in full or compact, in any case.
    fn from_name(name: &[u8]) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, long, compact)| {
                name.eq_ignore_ascii_case(long.as_bytes()) || name.eq_ignore_ascii_case(compact.as_bytes())
            })
            .map(|(field, _, _)| *field)
    }

    /// Its name in full.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(field, _, _)| *field == self).map_or("", |(_, name, _)| name)
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

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

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// Request-Line (RFC 3261 section 7.1).
    Request {
        /// Method.
        method: Method<'a>,
        /// Request-URI as written.
        uri: &'a str,
    },
    /// Status-Line (RFC 3261 section 7.2).
    Response {
        /// 100 to 699.
        status: u16,
        /// Reason phrase, in whatever encoding it came.
        reason: &'a [u8],
    },
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its first line.
    pub start: Start<'a>,
    /// The topmost Via: the hop it came from (a request) or goes to (a response).
    pub via: Via<'a>,
    /// From.
    pub from: Address<'a>,
    /// To.
    pub to: Address<'a>,
    /// Call-ID, 1 to [`MAX_ID`] bytes.
    pub call_id: &'a str,
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Max-Forwards, where it is given (responses have none, RFC 2543 requests may lack it).
    pub max_forwards: Option<u8>,
    /// The body, exactly.
    pub body: &'a [u8],
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    session_expires: Option<&'a [u8]>,
    replaces: bool,
    fields: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message. Leading CRLFs are skipped (RFC 3261 section 7.5); without Content-Length the body
    /// is the rest of `bytes`, with it whatever follows the body is ignored (section 18.3).
    ///
    /// # Errors
    /// See [`Error`]: each names what could not be read, or the bound that was passed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let bytes = frame::skip_keep_alive(bytes);
        if bytes.len() > MAX_MESSAGE {
            return Err(Error::MessageTooLong);
        }
        let head = frame::head_length(bytes)?.ok_or(Error::Unfinished)?;
        let (head, rest) = bytes.split_at(head);
        let first = head.windows(2).position(|pair| pair == b"\r\n").ok_or(Error::Unfinished)?;
        let start = start_line(&head[..first])?;
        let fields = &head[first + 2..];
        let found = Found::collect(fields)?;

        let max_forwards = found
            .max_forwards
            .map(|value| number(value).and_then(|n| u8::try_from(n).ok()))
            .map(|n| n.ok_or(Error::Malformed(Field::MaxForwards)))
            .transpose()?;
        let body = match found.content_length {
            None => rest,
            Some(value) => {
                let length = number(value).ok_or(Error::Malformed(Field::ContentLength))?;
                let length = usize::try_from(length).map_err(|_| Error::MessageTooLong)?;
                rest.get(..length).ok_or(Error::BodyTruncated)?
            }
        };
        let cseq = CSeq::parse(found.cseq.ok_or(Error::Missing(Field::CSeq))?)?;
        if let Start::Request { method, .. } = start
            && method != cseq.method
        {
            return Err(Error::MethodMismatch);
        }
        Ok(Self {
            start,
            via: Via::parse(found.via.ok_or(Error::Missing(Field::Via))?)?,
            from: Address::parse(found.from.ok_or(Error::Missing(Field::From))?, Field::From)?,
            to: Address::parse(found.to.ok_or(Error::Missing(Field::To))?, Field::To)?,
            call_id: field::call_id(found.call_id.ok_or(Error::Missing(Field::CallId))?)?,
            cseq,
            max_forwards,
            body,
            content_type: found.content_type,
            content_encoding: found.content_encoding,
            expires: found.expires,
            session_expires: found.session_expires,
            replaces: found.replaces,
            fields,
        })
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The method: a request's own, or the one a response answers.
    pub fn method(&self) -> Method<'a> {
        self.cseq.method
    }

    /// All Contacts in order; one that cannot be read is an error in its place. `*` has the URI `*`.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        Fields::new(self.fields)
            .filter_map(Result::ok)
            .filter(|(name, _)| Field::from_name(name) == Some(Field::Contact))
            .flat_map(|(_, value)| Addresses::new(value, Field::Contact))
    }

    /// Expires, in seconds; `None` where it is absent or unreadable (RFC 3261 section 20.19).
    pub fn expires(&self) -> Option<u32> {
        self.expires.and_then(field::seconds)
    }

    /// The session interval, in seconds (RFC 4028 section 4).
    pub fn session_expires(&self) -> Option<u32> {
        self.session_expires.and_then(|value| field::seconds(value.split(|byte| *byte == b';').next()?))
    }

    /// Whether it asks to take the place of another dialog (RFC 3891).
    pub fn has_replaces(&self) -> bool {
        self.replaces
    }

    /// Content-Type without its parameters, as written.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.content_type.map(|value| trim(value.split(|byte| *byte == b';').next().unwrap_or_default()))
    }

    /// The session description it carries: the body itself, or the first such part of a multipart body
    /// (RFC 5621). A compressed body has none that could be read.
    pub fn sdp(&self) -> Option<&'a [u8]> {
        if self.body.is_empty()
            || self.content_encoding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
        {
            return None;
        }
        body::find_sdp(self.content_type?, self.body)
    }
}

/// The fields [`Message::parse`] needs, as written.
#[derive(Default)]
struct Found<'a> {
    via: Option<&'a [u8]>,
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    max_forwards: Option<&'a [u8]>,
    expires: Option<&'a [u8]>,
    session_expires: Option<&'a [u8]>,
    replaces: bool,
}

impl<'a> Found<'a> {
    fn collect(fields: &'a [u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        for (count, field) in Fields::new(fields).enumerate() {
            if count == MAX_FIELDS {
                return Err(Error::TooManyFields);
            }
            let (name, value) = field?;
            let Some(field) = Field::from_name(name) else { continue };
            let place = match field {
                Field::Via => {
                    // The first value of the first line is the topmost (RFC 3261 section 7.3.1).
                    found.via.get_or_insert(value);
                    continue;
                }
                Field::Contact => continue,
                Field::Replaces => {
                    found.replaces = true;
                    continue;
                }
                Field::From => &mut found.from,
                Field::To => &mut found.to,
                Field::CallId => &mut found.call_id,
                Field::CSeq => &mut found.cseq,
                Field::Expires => &mut found.expires,
                Field::ContentType => &mut found.content_type,
                Field::ContentLength => &mut found.content_length,
                Field::ContentEncoding => &mut found.content_encoding,
                Field::MaxForwards => &mut found.max_forwards,
                Field::SessionExpires => &mut found.session_expires,
            };
            if place.replace(value).is_some() {
                return Err(Error::Duplicate(field));
            }
        }
        Ok(found)
    }
}

/// Header fields in order: name, and value without surrounding white space. A folded value keeps its line
/// breaks; every reader of values takes CR and LF for the white space they are there.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `block` follows the start line; line ends have been checked by [`frame::head_length`].
    fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.rest.starts_with(b"\r\n") {
            return None;
        }
        let mut end = 0;
        loop {
            end += self.rest[end..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(self.rest.len() - end, |n| n + 1);
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        if line.len() > MAX_LINE {
            return Some(Err(Error::LineTooLong));
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Some(Err(Error::HeaderLine));
        };
        let (name, value) = (trim(&line[..colon]), trim(&line[colon + 1..]));
        if name.is_empty()
            || !name.iter().all(|byte| field::is_token(*byte))
            || matches!(line[0], b' ' | b'\t')
        {
            return Some(Err(Error::HeaderLine));
        }
        Some(Ok((name, value)))
    }
}

/// Reads the first line, given without its CRLF.
fn start_line(line: &[u8]) -> Result<Start<'_>, Error> {
    let first = line.iter().position(|byte| *byte == b' ').ok_or(Error::StartLine)?;
    let (word, rest) = (&line[..first], &line[first + 1..]);
    if word.len() > 4 && word[..4].eq_ignore_ascii_case(b"SIP/") {
        if !word.eq_ignore_ascii_case(b"SIP/2.0") {
            return Err(Error::Version);
        }
        let (digits, reason) = rest.split_at_checked(3).ok_or(Error::StartLine)?;
        if !digits.iter().all(u8::is_ascii_digit) || reason.first().is_some_and(|byte| *byte != b' ') {
            return Err(Error::StartLine);
        }
        let status = digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
        if !(100..700).contains(&status) {
            return Err(Error::StartLine);
        }
        return Ok(Start::Response { status, reason: reason.get(1..).unwrap_or_default() });
    }
    let last = line.iter().rposition(|byte| *byte == b' ').ok_or(Error::StartLine)?;
    let version = &line[last + 1..];
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let is_sip = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
        return Err(if is_sip { Error::Version } else { Error::StartLine });
    }
    let uri = line.get(first + 1..last).ok_or(Error::StartLine)?;
    if uri.is_empty() || uri.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(Error::StartLine);
    }
    let uri = std::str::from_utf8(uri).map_err(|_| Error::StartLine)?;
    Ok(Start::Request { method: Method::parse(word).ok_or(Error::StartLine)?, uri })
}

#[cfg(test)]
mod tests;
