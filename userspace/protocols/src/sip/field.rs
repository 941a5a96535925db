//! Values of header fields (RFC 3261 sections 20 and 25.1). CR and LF inside a value are folding: white space.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::{memchr, memchr2, memchr3};

use super::{Error, Field, MAX_ID};

/// A method; case matters (RFC 3261 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// INVITE.
    Invite,
    /// ACK.
    Ack,
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// REGISTER.
    Register,
    /// OPTIONS.
    Options,
    /// PRACK (RFC 3262).
    Prack,
    /// UPDATE (RFC 3311).
    Update,
    /// Any other.
    Other(&'a str),
}

impl<'a> Method<'a> {
    /// The method named by a token; `None` where it is no token.
    pub(super) fn parse(token: &'a [u8]) -> Option<Self> {
        if token.is_empty() || !token.iter().all(|byte| is_token(*byte)) {
            return None;
        }
        Some(match token {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            other => Self::Other(std::str::from_utf8(other).ok()?),
        })
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Other(name) => name,
        }
    }
}

/// CSeq: sequence number and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31 (RFC 3261 section 8.1.1.5).
    pub number: u32,
    /// The request's method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed(Field::CSeq);
        let gap = value.iter().position(|byte| is_space(*byte)).ok_or(malformed)?;
        let number = number(&value[..gap]).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < 1 << 31);
        let method = Method::parse(trim(&value[gap..]));
        number.zip(method).map(|(number, method)| Self { number, method }).ok_or(malformed)
    }
}

/// One Via: a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// Transport: `UDP`, `TCP`, `TLS`, … in the sender's case.
    pub transport: &'a str,
    /// Sent-by host, brackets of an IPv6 address included.
    pub host: &'a str,
    /// Sent-by port.
    pub port: Option<u16>,
    /// Transaction identifier; RFC 2543 elements send none.
    pub branch: Option<&'a str>,
    /// Where the request really came from, as its receiver saw it.
    pub received: Option<IpAddr>,
    /// `rport` (RFC 3581): asked for, and filled in where it was answered.
    pub rport: Option<Option<u16>>,
}

impl<'a> Via<'a> {
    /// Reads the first of a comma list.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Error> {
        Self::all(value).next().unwrap_or(Err(Error::Malformed(Field::Via)))
    }

    /// Reads a comma list.
    pub(super) fn all(value: &'a [u8]) -> impl Iterator<Item = Result<Self, Error>> + use<'a> {
        Split::new(value, b',').map(|via| Self::read(via).ok_or(Error::Malformed(Field::Via)))
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        if is_open(value) {
            return None;
        }
        let mut protocol = value.splitn(3, |byte| *byte == b'/').map(trim);
        let (name, version, rest) = (protocol.next()?, protocol.next()?, protocol.next()?);
        if !name.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return None;
        }
        let gap = rest.iter().position(|byte| is_space(*byte))?;
        let (transport, rest) = (text(&rest[..gap])?, trim(&rest[gap..]));
        let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
        let (host, port) = host_port(trim(&rest[..end]))?;
        let mut via = Self { transport, host, port, branch: None, received: None, rport: None };
        for (name, value) in Parameters::new(&rest[end..]) {
            if name.eq_ignore_ascii_case(b"branch") {
                if via.branch.is_some() {
                    return None;
                }
                via.branch = Some(text(value?)?);
            } else if name.eq_ignore_ascii_case(b"received") && via.received.is_none() {
                via.received = value.and_then(text).and_then(parse_ip);
            } else if name.eq_ignore_ascii_case(b"rport") && via.rport.is_none() {
                let port = value.map(|value| number(value).and_then(|n| u16::try_from(n).ok()));
                via.rport = Some(port.flatten());
            }
        }
        Some(via)
    }
}

/// A name-addr or addr-spec with the header's own parameters (RFC 3261 section 20.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Display name without its quotes, escapes as written, in whatever encoding it came; may be empty.
    pub display: &'a [u8],
    /// The URI as written; `*` in a Contact that takes back all registrations.
    pub uri: &'a str,
    /// The `tag` parameter of From and To, 1 to [`MAX_ID`] bytes; the first one, as some stacks append their
    /// own to one that is there.
    pub tag: Option<&'a str>,
    /// The `expires` parameter of a Contact, in seconds.
    pub expires: Option<u32>,
    parameters: &'a [u8],
}

impl<'a> Address<'a> {
    pub(super) fn parse(value: &'a [u8], field: Field) -> Result<Self, Error> {
        Self::read(value).ok_or(Error::Malformed(field))
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let open = find_outside_quotes(value, b'<');
        let (display, uri, parameters) = match open {
            Some(open) => {
                let close = open + value[open..].iter().position(|byte| *byte == b'>')?;
                (unquote(trim(&value[..open]))?, &value[open + 1..close], trim(&value[close + 1..]))
            }
            None => {
                let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
                (&b""[..], trim(&value[..end]), &value[end..])
            }
        };
        if uri.is_empty() || uri.iter().any(|byte| is_space(*byte) || *byte == b'"') {
            return None;
        }
        // Nothing but parameters may follow: `<sip:a>garbage` reads differently elsewhere.
        if parameters.first().is_some_and(|byte| *byte != b';') || is_open(parameters) {
            return None;
        }
        let uri = text(uri)?;
        // Without brackets there is no telling whose the headers are (RFC 3261 section 20.10).
        if open.is_none() && (uri.contains('?') || uri != "*" && !uri.contains(':')) {
            return None;
        }
        let mut address = Self { display, uri, tag: None, expires: None, parameters };
        for (name, value) in Parameters::new(parameters) {
            if name.eq_ignore_ascii_case(b"tag") && address.tag.is_none() {
                let tag = text(value?)?;
                if tag.is_empty() || tag.len() > MAX_ID || tag.bytes().any(is_space) {
                    return None;
                }
                address.tag = Some(tag);
            } else if name.eq_ignore_ascii_case(b"expires") {
                address.expires = value.and_then(seconds);
            }
        }
        Some(address)
    }

    /// The first parameter of the header (not of the URI) with this name, in any case; without quotes.
    pub fn parameter(&self, name: &str) -> Option<Option<&'a [u8]>> {
        Parameters::new(self.parameters).named(name)
    }

    /// The `q` parameter of a Contact, in thousandths (RFC 3261 section 25.1: 0 to 1 with three decimals).
    pub fn q(&self) -> Option<u16> {
        let value = self.parameter("q")??;
        let (whole, decimals) = match memchr(b'.', value) {
            None => (value, &b""[..]),
            Some(dot) => (&value[..dot], &value[dot + 1..]),
        };
        if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let decimals =
            decimals.iter().chain(b"000").take(3).fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
        match (whole, decimals) {
            (b"0", _) => Some(decimals),
            (b"1", 0) => Some(1_000),
            _ => None,
        }
    }

    /// Whether it stands for all contacts (RFC 3261 section 10.2.2).
    pub fn is_wildcard(&self) -> bool {
        self.uri == "*"
    }

    /// The user of its URI; see [`user_of`].
    pub fn user(&self) -> Option<&'a str> {
        user_of(self.uri)
    }

    /// The parts of its URI; `None` for a scheme other than `sip` and `sips`, and for `*`.
    pub fn sip_uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }
}

/// A `sip:` or `sips:` URI (RFC 3261 section 19.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// `sips:`.
    pub secure: bool,
    /// User, without a password, escapes as written; empty where there is none.
    pub user: &'a str,
    /// Host, brackets of an IPv6 address included.
    pub host: &'a str,
    /// Port.
    pub port: Option<u16>,
    parameters: &'a str,
    headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a URI; `None` for another scheme or an unreadable one.
    pub fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let secure = scheme.eq_ignore_ascii_case("sips");
        if !secure && !scheme.eq_ignore_ascii_case("sip") {
            return None;
        }
        let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
        let user = user.split(':').next().unwrap_or_default();
        let end = rest.find([';', '?']).unwrap_or(rest.len());
        let (host, port) = host_port(&rest.as_bytes()[..end])?;
        let (parameters, headers) = rest[end..].split_once('?').unwrap_or((&rest[end..], ""));
        Some(Self { secure, user, host, port, parameters, headers })
    }

    /// The host, where it is an address.
    pub fn ip(&self) -> Option<IpAddr> {
        parse_ip(self.host)
    }

    /// The first parameter with this name, in any case: `transport`, `lr`, `user`, …; `""` where it has no value.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .split(';')
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first header with this name, in any case: what the URI asks to be put into a request, escaped.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .split('&')
            .filter_map(|header| header.split_once('='))
            .find(|(key, _)| unescape(key).eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Who a URI names: the user of a `sip:` or `sips:` URI, escapes as written, or the number of a `tel:` URI
/// (RFC 3966) without its parameters; `None` where it names nobody, or in a way of its own.
pub fn user_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("tel") {
        return rest.split(';').next().filter(|number| !number.is_empty());
    }
    Uri::parse(uri).map(|uri| uri.user).filter(|user| !user.is_empty())
}

/// Text without its escapes (RFC 3261 section 19.1.2); a `%` that begins none stands for itself, as does an
/// escaped byte that is no UTF-8. Allocates only where there are any, and never more than `text` has.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*byte));
        if escaped.is_some() {
            rest = &after[2..];
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// Addresses of a comma list, in order.
#[derive(Clone, Debug)]
pub struct Addresses<'a> {
    split: Split<'a>,
    field: Field,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(value: &'a [u8], field: Field) -> Self {
        Self { split: Split::new(value, b','), field }
    }
}

impl<'a> Iterator for Addresses<'a> {
    type Item = Result<Address<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.split.next().map(|value| Address::parse(value, self.field))
    }
}

/// Parameters `;name=value` (or those of credentials) in order; a quoted value without its quotes.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    split: Split<'a>,
}

impl<'a> Parameters<'a> {
    /// `value` begins with `;`, or is empty.
    pub(super) fn new(value: &'a [u8]) -> Self {
        let split =
            if value.is_empty() { Split { rest: None, separator: b';' } } else { Split::new(value, b';') };
        Self { split }
    }

    /// Parameters between commas, as credentials and challenges have them.
    pub(super) fn between_commas(value: &'a [u8]) -> Self {
        Self { split: Split::new(value, b',') }
    }
}

impl<'a> Parameters<'a> {
    /// The first with this name, in any case.
    pub(super) fn named(mut self, name: &str) -> Option<Option<&'a [u8]>> {
        self.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let parameter = self.split.find(|parameter| !parameter.is_empty())?;
        Some(match parameter.iter().position(|byte| *byte == b'=') {
            None => (parameter, None),
            Some(at) => {
                let value = trim(&parameter[at + 1..]);
                (trim(&parameter[..at]), Some(unquote(value).unwrap_or(value)))
            }
        })
    }
}

/// Pieces between separators that are neither quoted nor in angle brackets, white space trimmed.
#[derive(Clone, Debug)]
pub(super) struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Split<'a> {
    pub(super) fn new(value: &'a [u8], separator: u8) -> Self {
        Self { rest: Some(value), separator }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        // Mostly there is nothing quoted, and nothing in brackets.
        let plain = match memchr3(self.separator, b'"', b'<', rest) {
            None => {
                self.rest = None;
                return Some(trim(rest));
            }
            Some(at) if rest[at] == self.separator => {
                self.rest = Some(&rest[at + 1..]);
                return Some(trim(&rest[..at]));
            }
            Some(at) => at,
        };
        let (mut quoted, mut escaped, mut angle) = (false, false, false);
        for (at, &byte) in rest.iter().enumerate().skip(plain) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' if !angle => quoted = !quoted,
                _ if quoted => {}
                b'<' => angle = true,
                b'>' => angle = false,
                _ if byte == self.separator && !angle => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(trim(&rest[..at]));
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(trim(rest))
    }
}

/// Call-ID: a word, one `@` allowed (RFC 3261 section 20.8).
pub(super) fn call_id(value: &[u8]) -> Result<&str, Error> {
    let fits = (1..=MAX_ID).contains(&value.len()) && value.iter().all(|byte| (0x21..0x7f).contains(byte));
    text(value).filter(|_| fits).ok_or(Error::Malformed(Field::CallId))
}

/// Delta-seconds; a number too great for 32 bits stands for the greatest there is.
pub(super) fn seconds(value: &[u8]) -> Option<u32> {
    let value = trim(value);
    let value = &value[..value.iter().position(|byte| is_space(*byte)).unwrap_or(value.len())];
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(number(value).and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX))
}

/// A number in decimal digits, 64 bits wide; `None` for anything else, a sign and an overflow included.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Without white space at either end; CR and LF count, for folded values.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(*byte)).map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// Characters of a token (RFC 3261 section 25.1).
pub(super) fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let (mut table, others) = ([false; 256], b"-.!%*_+`'~");
        let mut byte = 0;
        while byte < table.len() {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            table[others[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Where `wanted` first stands outside a quoted string.
fn find_outside_quotes(bytes: &[u8], wanted: u8) -> Option<usize> {
    let first = memchr2(wanted, b'"', bytes)?;
    if bytes[first] == wanted {
        return Some(first);
    }
    let (mut quoted, mut escaped) = (false, false);
    bytes.iter().position(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == wanted && !quoted,
        }
        false
    })
}

/// Whether a quoted string or a bracket has no end: of what is behind it, readers differ about where it ends.
fn is_open(bytes: &[u8]) -> bool {
    let Some(first) = memchr2(b'"', b'<', bytes) else { return false };
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for &byte in &bytes[first..] {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !angle => quoted = !quoted,
            _ if quoted => {}
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    quoted || angle
}

/// Inside of a quoted string; what is not quoted stays as it is; `None` where the quote is not closed.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    match value.strip_prefix(b"\"") {
        None => Some(value),
        Some(inner) => inner.strip_suffix(b"\""),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; white space around the colon is allowed (RFC 3261 section 25.1).
fn host_port(value: &[u8]) -> Option<(&str, Option<u16>)> {
    let value = text(value)?;
    let end =
        if value.starts_with('[') { value.find(']')? + 1 } else { value.find(':').unwrap_or(value.len()) };
    let (host, rest) = value.split_at(end);
    let (host, rest) = (host.trim_ascii(), rest.trim_ascii());
    if host.is_empty() || host.bytes().any(is_space) {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(u16::try_from(number(digits.trim_ascii().as_bytes())?).ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((host, port))
}

/// An address, in brackets or not.
pub(super) fn parse_ip(host: &str) -> Option<IpAddr> {
    if let Ok(v4) = host.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let v6 = v6.parse::<Ipv6Addr>().ok().or_else(|| three_colons(v6))?;
    Some(IpAddr::from(v6).to_canonical())
}

/// `2001:db8:::192.0.2.1`: the grammar of RFC 3261 has a colon too many before an IPv4 address, which must be
/// tolerated (RFC 5118 section 4.10).
fn three_colons(text: &str) -> Option<Ipv6Addr> {
    let at = text.find(":::")?;
    let (front, v4) = (text[..at + 2].parse::<Ipv6Addr>().ok()?, text[at + 3..].parse::<Ipv4Addr>().ok()?);
    let room = front.to_bits() & u128::from(u32::MAX) == 0;
    room.then(|| Ipv6Addr::from_bits(front.to_bits() | u128::from(v4.to_bits())))
}
