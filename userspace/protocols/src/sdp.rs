//! Session descriptions (RFC 8866) as the offer/answer model uses them (RFC 3264): where each media stream is
//! received, and whether it is to flow.
//!
//! [`Session::parse`] reads what says something about addresses and directions and leaves all other lines
//! alone. Lines may end in CRLF or LF (RFC 8866 section 5). At most [`MAX_MEDIA`] media descriptions; their
//! attributes stay in the text and are read when asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lines::Lines;

/// Most media descriptions of one session.
pub const MAX_MEDIA: usize = 32;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 65_535;

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_DESCRIPTION`] bytes.
    #[error("description longer than {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// It does not begin with `v=0`.
    #[error("not a session description of version 0")]
    Version,
    /// More than [`MAX_MEDIA`] m= lines.
    #[error("more than {MAX_MEDIA} media descriptions")]
    TooManyMedia,
    /// An m= line that is not `media port[/count] protocol format …`.
    #[error("malformed m= line")]
    Media,
    /// A c= line that is not `IN IP4|IP6 address[/ttl][/count]`.
    #[error("malformed c= line")]
    Connection,
}

/// A host, as c= lines and attributes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// A name, not empty.
    Name(&'a str),
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(v4.into()));
        }
        if let Ok(v6) = text.parse::<Ipv6Addr>() {
            return Some(Self::Ip(IpAddr::from(v6).to_canonical()));
        }
        (!text.is_empty()).then_some(Self::Name(text))
    }

    /// The address, where it is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip),
            Self::Name(_) => None,
        }
    }
}

/// A c= line (RFC 8866 section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// Where media is received.
    pub host: Host<'a>,
    /// Time to live of IPv4 multicast.
    pub ttl: Option<u8>,
    /// Number of contiguous multicast addresses, 1 where it is not said.
    pub count: u16,
}

impl<'a> Connection<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        if !words.next()?.eq_ignore_ascii_case("IN") {
            return None;
        }
        let v4 = words.next()?.eq_ignore_ascii_case("IP4");
        let mut parts = words.next()?.split('/');
        let host = Host::parse(parts.next()?)?;
        let mut numbers = parts.map(str::parse::<u16>);
        let ttl = if v4 {
            numbers
                .next()
                .transpose()
                .ok()?
                .map(|ttl| u8::try_from(ttl).ok())
                .map_or(Some(None), |t| t.map(Some))?
        } else {
            None
        };
        let count = numbers.next().transpose().ok()?.unwrap_or(1);
        Some(Self { host, ttl, count })
    }

    /// Whether it is the unspecified address: hold as RFC 2543 spelt it, or media not wanted yet.
    pub fn is_unspecified(&self) -> bool {
        self.host.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

/// Which way media flows, as the describing party sees it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// `a=sendrecv`, and where nothing is said.
    #[default]
    SendRecv,
    /// `a=sendonly`.
    SendOnly,
    /// `a=recvonly`.
    RecvOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    fn parse(attribute: &str) -> Option<Self> {
        match attribute {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// What an m= line's transport protocol carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RTP over UDP: `RTP/AVP` and every profile of its kind, secure ones too.
    Rtp,
    /// T.38 over UDPTL (RFC 7345 names it `udptl`).
    Udptl,
    /// Anything else: TCP, SCTP, MSRP, …
    Other,
}

/// a=rtcp (RFC 3605).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp<'a> {
    /// Where RTCP is received.
    pub port: u16,
    /// Its host, where it is not the media's own.
    pub host: Option<Host<'a>>,
}

impl<'a> Rtcp<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok()?;
        let host = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some(_), Some(_), Some(host)) => Some(Host::parse(host)?),
            _ => return None,
        };
        Some(Self { port, host })
    }
}

/// a=candidate (RFC 8839 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// 1 RTP, 2 RTCP.
    pub component: u16,
    /// `UDP`, `TCP`, … in the sender's case.
    pub transport: &'a str,
    /// Host.
    pub host: Host<'a>,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx`, `relay`.
    pub kind: &'a str,
}

impl<'a> Candidate<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace().skip(1);
        let component = words.next()?.parse().ok()?;
        let transport = words.next()?;
        let host = Host::parse(words.nth(1)?)?;
        let port = words.next()?.parse().ok()?;
        (words.next()? == "typ").then_some(())?;
        Some(Self { component, transport, host, port, kind: words.next()? })
    }

    /// Its address and port, where the host is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// A media description: an m= line and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, … as written.
    pub kind: &'a str,
    /// Where media is received; 0 where the stream is refused or closed (RFC 3264 section 6).
    pub port: u16,
    /// Number of ports, 1 where it is not said.
    pub ports: u16,
    /// What its transport carries.
    pub protocol: Protocol,
    /// The formats as written, separated by spaces.
    pub formats: &'a str,
    /// Its own c= line, or the session's.
    pub connection: Option<Connection<'a>>,
    /// Its own direction, or the session's.
    pub direction: Direction,
    /// a=rtcp.
    pub rtcp: Option<Rtcp<'a>>,
    /// a=rtcp-mux (RFC 5761).
    pub rtcp_mux: bool,
    /// a=bundle-only (RFC 9143): port 0 does not mean closed.
    pub bundle_only: bool,
    /// a=mid (RFC 5888).
    pub mid: Option<&'a str>,
    attributes: &'a [u8],
}

impl<'a> Media<'a> {
    fn parse(line: &'a str, session: &Session<'a>) -> Option<Self> {
        let (kind, rest) = line.trim_ascii().split_once(' ')?;
        let (ports, rest) = rest.trim_ascii_start().split_once(' ')?;
        let (protocol, formats) = rest.trim_ascii_start().split_once(' ')?;
        let (port, ports) = match ports.split_once('/') {
            None => (ports.parse().ok()?, 1),
            Some((port, ports)) => (port.parse().ok()?, ports.parse().ok()?),
        };
        let carries = |word: &str| protocol.split('/').any(|part| part.eq_ignore_ascii_case(word));
        let protocol = match () {
            () if carries("TCP") || carries("SCTP") => Protocol::Other,
            () if carries("RTP") => Protocol::Rtp,
            () if carries("UDPTL") => Protocol::Udptl,
            () => Protocol::Other,
        };
        Some(Self {
            kind,
            port,
            ports,
            protocol,
            formats: formats.trim_ascii(),
            connection: session.connection,
            direction: session.direction,
            rtcp: None,
            rtcp_mux: false,
            bundle_only: false,
            mid: None,
            attributes: &[],
        })
    }

    fn attribute(&mut self, attribute: &'a str) {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "rtcp" => self.rtcp = Rtcp::parse(value),
            "rtcp-mux" => self.rtcp_mux = true,
            "bundle-only" => self.bundle_only = true,
            "mid" => self.mid = Some(value.trim_ascii()),
            _ => self.direction = Direction::parse(attribute).unwrap_or(self.direction),
        }
    }

    /// a=candidate lines in order, those that can be read.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        attributes(self.attributes, "candidate").filter_map(Candidate::parse)
    }

    /// The first format's name: its encoding name from a=rtpmap, that of a static payload type (RFC 3551
    /// section 6), or the format itself.
    pub fn codec(&self) -> &'a str {
        let format = self.formats.split_ascii_whitespace().next().unwrap_or_default();
        if self.protocol != Protocol::Rtp {
            return format;
        }
        attributes(self.attributes, "rtpmap")
            .filter_map(|value| value.split_once(' '))
            .find(|(payload_type, _)| *payload_type == format)
            .and_then(|(_, map)| map.trim_ascii().split('/').next())
            .unwrap_or_else(|| static_name(format))
    }
}

/// A session description.
#[derive(Clone, Debug, Default)]
pub struct Session<'a> {
    /// The session's c= line.
    pub connection: Option<Connection<'a>>,
    /// The session's direction.
    pub direction: Direction,
    /// Its media descriptions in order, at most [`MAX_MEDIA`].
    pub media: Vec<Media<'a>>,
    bundle: Option<&'a str>,
}

impl<'a> Session<'a> {
    /// Reads a description.
    ///
    /// # Errors
    /// See [`Error`]. Lines that say nothing about addresses are not checked.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > MAX_DESCRIPTION {
            return Err(Error::TooLong);
        }
        let mut lines = Lines { text, at: 0 }.filter(|(_, line)| !line.is_empty());
        if lines.next().is_none_or(|(_, line)| line.trim_ascii() != b"v=0") {
            return Err(Error::Version);
        }
        let mut session = Self::default();
        let mut connected = false;
        for (at, line) in lines {
            let Some((kind, value)) = split_line(line) else { continue };
            match kind {
                b'm' => {
                    if session.media.len() == MAX_MEDIA {
                        return Err(Error::TooManyMedia);
                    }
                    if let Some(last) = session.media.last_mut() {
                        last.attributes = until(last.attributes, text, at);
                    }
                    let mut media = std::str::from_utf8(value)
                        .ok()
                        .and_then(|line| Media::parse(line, &session))
                        .ok_or(Error::Media)?;
                    media.attributes = &text[at..];
                    session.media.push(media);
                    connected = false;
                }
                b'c' => {
                    let connection = std::str::from_utf8(value)
                        .ok()
                        .and_then(Connection::parse)
                        .ok_or(Error::Connection)?;
                    match session.media.last_mut() {
                        // A second c= line in its place is another layer of a multicast stream.
                        _ if connected => {}
                        Some(media) => media.connection = Some(connection),
                        None => session.connection = Some(connection),
                    }
                    connected = true;
                }
                b'a' => {
                    let Ok(attribute) = std::str::from_utf8(value) else { continue };
                    let attribute = attribute.trim_ascii();
                    match session.media.last_mut() {
                        Some(media) => media.attribute(attribute),
                        None => session.attribute(attribute),
                    }
                }
                _ => {}
            }
        }
        Ok(session)
    }

    fn attribute(&mut self, attribute: &'a str) {
        if let Some(direction) = Direction::parse(attribute) {
            self.direction = direction;
        } else if let Some(mids) = attribute.strip_prefix("group:BUNDLE") {
            self.bundle.get_or_insert(mids);
        }
    }

    /// The identification tags of the first bundle (RFC 9143), in order.
    pub fn bundle(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.bundle.unwrap_or_default().split_ascii_whitespace()
    }
}

/// What `section` (a suffix of `text`) holds before `text[end]`.
fn until<'a>(section: &'a [u8], text: &[u8], end: usize) -> &'a [u8] {
    let start = text.len() - section.len();
    section.get(..end - start).unwrap_or(section)
}

fn split_line(line: &[u8]) -> Option<(u8, &[u8])> {
    match line {
        [kind, b'=', value @ ..] => Some((*kind, value)),
        _ => None,
    }
}

/// Values of the attributes with this name.
fn attributes<'a>(section: &'a [u8], name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
    Lines { text: section, at: 0 }.filter_map(move |(_, line)| {
        let value = line.strip_prefix(b"a=")?.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        std::str::from_utf8(value).ok().map(str::trim_ascii)
    })
}

/// The encoding name of a static payload type; the number itself where there is none.
fn static_name(format: &str) -> &str {
    match format {
        "0" => "PCMU",
        "3" => "GSM",
        "4" => "G723",
        "5" | "6" | "16" | "17" => "DVI4",
        "7" => "LPC",
        "8" => "PCMA",
        "9" => "G722",
        "10" | "11" => "L16",
        "12" => "QCELP",
        "13" => "CN",
        "14" => "MPA",
        "15" => "G728",
        "18" => "G729",
        "25" => "CelB",
        "26" => "JPEG",
        "28" => "nv",
        "31" => "H261",
        "32" => "MPV",
        "33" => "MP2T",
        "34" => "H263",
        other => other,
    }
}

#[cfg(test)]
mod tests;
