//! A message as a whole: its first line, the fields every message needs, its body.

use super::field::{self, number, trim};
use super::head::Head;
use super::{Address, Addresses, CSeq, Error, Field, MAX_MESSAGE, Method, Uri, Via, body, frame};

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

impl<'a> Start<'a> {
    /// Reads the first line, given without its CRLF.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, Error> {
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
            return Ok(Self::Response { status, reason: reason.get(1..).unwrap_or_default() });
        }
        let last = line.iter().rposition(|byte| *byte == b' ').ok_or(Error::StartLine)?;
        let version = &line[last + 1..];
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            let is_sip = version.len() > 4 && version[..4].eq_ignore_ascii_case(b"SIP/");
            return Err(if is_sip { Error::Version } else { Error::StartLine });
        }
        let uri = line.get(first + 1..last).ok_or(Error::StartLine)?;
        if uri.is_empty() || uri.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f | b'<' | b'>' | b'"')) {
            return Err(Error::StartLine);
        }
        let uri = std::str::from_utf8(uri).map_err(|_| Error::StartLine)?;
        // A host that readers would take for different ones (RFC 5118 section 4.2); other schemes are left alone.
        if is_sip(uri) && Uri::parse(uri).is_none() {
            return Err(Error::StartLine);
        }
        Ok(Self::Request { method: Method::parse(word).ok_or(Error::StartLine)?, uri })
    }
}

/// A message.
///
/// The fields that are members have been read by [`Message::parse`]; all others are read when they are asked for,
/// and one that cannot be read is as good as absent.
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
    /// Call-ID, 1 to [`super::MAX_ID`] bytes.
    pub call_id: &'a str,
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Max-Forwards, where it is given (responses have none, RFC 2543 requests may lack it).
    pub max_forwards: Option<u8>,
    /// The body, exactly.
    pub body: &'a [u8],
    pub(super) head: Head<'a>,
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
        let head = Head::read(bytes)?.ok_or(Error::Unfinished)?;
        let needed = |field| head.value(field).ok_or(Error::Missing(field));
        let start = Start::parse(head.start)?;
        let max_forwards = head
            .value(Field::MaxForwards)
            .map(|value| number(value).and_then(|n| u8::try_from(n).ok()))
            .map(|n| n.ok_or(Error::Malformed(Field::MaxForwards)))
            .transpose()?;
        let rest = bytes.get(head.bytes.len()..).unwrap_or_default();
        let body = match head.content_length()? {
            None => rest,
            Some(length) => {
                let length = usize::try_from(length).map_err(|_| Error::MessageTooLong)?;
                rest.get(..length).ok_or(Error::BodyTruncated)?
            }
        };
        let cseq = CSeq::parse(needed(Field::CSeq)?)?;
        if let Start::Request { method, .. } = start
            && method != cseq.method
        {
            return Err(Error::MethodMismatch);
        }
        Ok(Self {
            start,
            via: Via::parse(needed(Field::Via)?)?,
            from: Address::parse(needed(Field::From)?, Field::From)?,
            to: Address::parse(needed(Field::To)?, Field::To)?,
            call_id: field::call_id(needed(Field::CallId)?)?,
            cseq,
            max_forwards,
            body,
            head,
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

    /// The Request-URI of a request, as written.
    pub fn request_uri(&self) -> Option<&'a str> {
        match self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// How many header fields it has, each counted once however many lines it has.
    pub fn field_count(&self) -> usize {
        self.head.count.into()
    }

    /// Length of its head, blank line included, in bytes.
    pub fn head_length(&self) -> usize {
        self.head.bytes.len()
    }

    /// Whether it has this field.
    pub fn has(&self, field: Field) -> bool {
        self.head.has(field)
    }

    /// The first field with this name, as written, without white space around it; CR and LF in it are folding:
    /// white space.
    pub fn value(&self, field: Field) -> Option<&'a [u8]> {
        self.head.value(field)
    }

    /// All fields with this name, as written, in order.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.head.values(field)
    }

    /// All fields, name and value as written, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.head.fields()
    }

    /// All Contacts in order; one that cannot be read is an error in its place. `*` has the URI `*`.
    pub fn contacts(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.addresses(Field::Contact)
    }

    /// All addresses of a field that is a list of them, in order.
    pub(super) fn addresses(
        &self,
        field: Field,
    ) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.head.values(field).flat_map(move |value| Addresses::new(value, field))
    }

    /// Content-Type without its parameters, as written.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        let value = self.head.value(Field::ContentType)?;
        Some(trim(value.split(|byte| *byte == b';').next().unwrap_or_default()))
    }

    /// The session description it carries: the body itself, or the first such part of a multipart body
    /// (RFC 5621). A compressed body has none that could be read.
    pub fn sdp(&self) -> Option<&'a [u8]> {
        if self.body.is_empty()
            || self
                .value(Field::ContentEncoding)
                .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
        {
            return None;
        }
        body::find_sdp(self.head.value(Field::ContentType)?, self.body)
    }
}

impl Head<'_> {
    /// Content-Length, where it is given: 64 bits, so that no number wraps around to a small one.
    pub(super) fn content_length(&self) -> Result<Option<u64>, Error> {
        self.value(Field::ContentLength)
            .map(|value| number(value).ok_or(Error::Malformed(Field::ContentLength)))
            .transpose()
    }
}

/// Whether the scheme of this URI is `sip` or `sips`.
fn is_sip(uri: &str) -> bool {
    let scheme = uri.split(':').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
}
