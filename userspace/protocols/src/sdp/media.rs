//! A media description: an m= line and what follows it (RFC 8866 section 5.14).

use super::values::{
    Candidate, Connection, Crypto, Direction, Fingerprint, Host, MsrpUri, Rtcp, Rtpmap, Setup, T38,
    attributes, bandwidth, first, text, trim,
};
use super::{MAX_CANDIDATES, Session};

/// What an m= line's transport protocol carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RTP over UDP: `RTP/AVP` and every profile of its kind, secure ones too.
    Rtp,
    /// T.38 over UDPTL (RFC 7345 names it `udptl`).
    Udptl,
    /// Anything over TCP: MSRP (RFC 4975), BFCP, RTP in the framing of RFC 4571, …
    Tcp,
    /// UDP that is neither RTP nor UDPTL: BFCP (RFC 8856), data channels (RFC 8841), …
    Udp,
    /// Anything else: SCTP, ATM, …
    Other,
}

impl Protocol {
    fn parse(protocol: &str) -> Self {
        let carries = |word: &str| protocol.split('/').any(|part| part.eq_ignore_ascii_case(word));
        match protocol {
            "RTP/AVP" | "RTP/SAVP" | "UDP/TLS/RTP/SAVPF" => Self::Rtp,
            _ if carries("TCP") => Self::Tcp,
            _ if carries("RTP") => Self::Rtp,
            _ if carries("UDPTL") => Self::Udptl,
            _ if carries("UDP") || protocol.eq_ignore_ascii_case("DTLS/SCTP") => Self::Udp,
            _ => Self::Other,
        }
    }
}

/// How media is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all, as far as the description says.
    #[default]
    None,
    /// SRTP whose keys the description has (RFC 4568), or may have.
    Sdes,
    /// DTLS or TLS between the endpoints (RFC 5763, RFC 8122).
    Dtls,
}

/// A media description.
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
    /// The transport protocol as written: `RTP/SAVP`, `TCP/TLS/MSRP`, …
    pub transport: &'a str,
    /// The formats as written, separated by spaces.
    pub formats: &'a str,
    /// Its own c= line, or the session's.
    pub connection: Option<Connection<'a>>,
    /// Its own direction, or the session's.
    pub direction: Direction,
    /// a=rtcp.
    pub rtcp: Option<Rtcp<'a>>,
    /// a=rtcp-mux (RFC 5761), or a=rtcp-mux-only.
    pub rtcp_mux: bool,
    /// a=rtcp-mux-only (RFC 8858): there is no port for RTCP even if the answer does not multiplex.
    pub rtcp_mux_only: bool,
    /// a=bundle-only (RFC 9143): port 0 does not mean closed.
    pub bundle_only: bool,
    /// a=mid (RFC 5888).
    pub mid: Option<&'a str>,
    /// From the m= line on; up to the next one once that is known.
    text: &'a [u8],
    /// What stands before the first m= line.
    session: &'a [u8],
}

impl<'a> Media<'a> {
    /// `line` is what follows `m=`, `text` what begins with that line.
    pub(super) fn parse(line: &'a [u8], session: &Session<'a>, text: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (kind, rest) = line.trim_ascii().split_once(' ')?;
        let (ports, rest) = rest.trim_ascii_start().split_once(' ')?;
        let (transport, formats) = rest.trim_ascii_start().split_once(' ')?;
        let (port, ports) = match ports.split_once('/') {
            None => (ports.parse().ok()?, 1),
            Some((port, ports)) => (port.parse().ok()?, ports.parse().ok()?),
        };
        Some(Self {
            kind,
            port,
            ports,
            protocol: Protocol::parse(transport),
            transport,
            formats: formats.trim_ascii(),
            connection: session.connection,
            direction: session.direction,
            rtcp: None,
            rtcp_mux: false,
            rtcp_mux_only: false,
            bundle_only: false,
            mid: None,
            text,
            session: session.text,
        })
    }

    /// The next media description begins at `text[end]`.
    pub(super) fn end_at(&mut self, text: &[u8], end: usize) {
        let begin = text.len() - self.text.len();
        self.text = self.text.get(..end - begin).unwrap_or(self.text);
    }

    /// Takes notice of an attribute.
    pub(super) fn note(&mut self, attribute: &'a [u8]) {
        match attribute {
            [b'r', b't', b'c', b'p', b':', value @ ..] => {
                self.rtcp = self.rtcp.or_else(|| Rtcp::parse(text(value)?));
            }
            [b'm', b'i', b'd', b':', value @ ..] => self.mid = self.mid.or_else(|| text(value)),
            [b'r' | b's' | b'i' | b'b', ..] => match trim(attribute) {
                b"rtcp-mux" => self.rtcp_mux = true,
                b"rtcp-mux-only" => (self.rtcp_mux, self.rtcp_mux_only) = (true, true),
                b"bundle-only" => self.bundle_only = true,
                other => self.direction = Direction::parse(other).unwrap_or(self.direction),
            },
            _ => {}
        }
    }

    /// Whether the stream is refused or closed: port 0, and not for being in a bundle.
    pub fn is_closed(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Whether its c= line is the unspecified address: hold as RFC 2543 spelt it, or media not wanted yet.
    pub fn is_blank(&self) -> bool {
        self.connection.is_some_and(|connection| connection.is_unspecified())
    }

    /// Whether media does not flow both ways, in whatever spelling (RFC 3264 section 8.4).
    pub fn is_held(&self) -> bool {
        self.direction != Direction::SendRecv || self.is_blank() || self.is_closed()
    }

    /// How media is protected.
    pub fn security(&self) -> Security {
        let uses = |words: &[&str]| {
            self.transport.split('/').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
        };
        if uses(&["TLS", "DTLS"]) || self.fingerprint().is_some() {
            Security::Dtls
        } else if uses(&["SAVP", "SAVPF"]) || self.cryptos().next().is_some() {
            Security::Sdes
        } else {
            Security::None
        }
    }

    /// Whether media is protected somehow.
    pub fn is_secure(&self) -> bool {
        self.security() != Security::None
    }

    /// a=crypto lines in order (RFC 4568), those that can be read.
    pub fn cryptos(&self) -> impl Iterator<Item = Crypto<'a>> + use<'a> {
        attributes(self.text, "crypto").filter_map(Crypto::parse)
    }

    /// a=fingerprint (RFC 8122), its own or the session's.
    pub fn fingerprint(&self) -> Option<Fingerprint<'a>> {
        Fingerprint::parse(self.own_or_session("fingerprint")?)
    }

    /// a=setup (RFC 4145), its own or the session's.
    pub fn setup(&self) -> Option<Setup> {
        Setup::parse(self.own_or_session("setup")?)
    }

    /// a=connection (RFC 4145), its own or the session's: `new` or `existing`.
    pub fn connection_kind(&self) -> Option<&'a str> {
        self.own_or_session("connection")
    }

    /// a=ice-ufrag (RFC 8839), its own or the session's.
    pub fn ice_ufrag(&self) -> Option<&'a str> {
        self.own_or_session("ice-ufrag").filter(|ufrag| !ufrag.is_empty())
    }

    /// a=ice-pwd (RFC 8839), its own or the session's.
    pub fn ice_pwd(&self) -> Option<&'a str> {
        self.own_or_session("ice-pwd").filter(|pwd| !pwd.is_empty())
    }

    /// Whether connectivity checks (STUN) may come to its ports: it has an ICE user fragment, or candidates.
    pub fn offers_ice(&self) -> bool {
        self.ice_ufrag().is_some() || self.candidates().next().is_some()
    }

    /// a=candidate lines in order, those that can be read, of the first [`MAX_CANDIDATES`].
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        attributes(self.text, "candidate").take(MAX_CANDIDATES).filter_map(Candidate::parse)
    }

    /// a=remote-candidates (RFC 8839): component, host and port of each that the describing party has settled on.
    pub fn remote_candidates(&self) -> impl Iterator<Item = (u16, Host<'a>, u16)> + use<'a> {
        let mut words = first(self.text, "remote-candidates").unwrap_or_default().split_ascii_whitespace();
        std::iter::from_fn(move || {
            let component = words.next()?.parse().ok()?;
            Some((component, Host::parse(words.next()?)?, words.next()?.parse().ok()?))
        })
        .take(MAX_CANDIDATES)
    }

    /// Synchronization sources of a=ssrc (RFC 5576) in order, of the first [`MAX_CANDIDATES`] lines; those of
    /// neighbouring lines that are the same count once.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut last = None;
        attributes(self.text, "ssrc")
            .take(MAX_CANDIDATES)
            .filter_map(|value| value.split_ascii_whitespace().next()?.parse().ok())
            .filter(move |ssrc| last.replace(*ssrc) != Some(*ssrc))
    }

    /// a=ptime, in ms; a fraction is left out.
    pub fn ptime(&self) -> Option<u32> {
        whole(first(self.text, "ptime")?)
    }

    /// a=maxptime, in ms; a fraction is left out.
    pub fn maxptime(&self) -> Option<u32> {
        whole(first(self.text, "maxptime")?)
    }

    /// Bits per second, of its own b= lines or the session's: TIAS (RFC 3890), else AS, which counts IP, UDP and
    /// RTP headers too.
    pub fn bandwidth(&self) -> Option<u64> {
        bandwidth(self.text).or_else(|| bandwidth(self.session))
    }

    /// Payload types of RTP, in order of preference.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + use<'a> {
        let formats = if self.is_rtp() { self.formats } else { "" };
        formats
            .split_ascii_whitespace()
            .filter_map(|format| format.parse().ok())
            .filter(|number| *number < 128)
    }

    /// What a payload type stands for: a=rtpmap, or the static assignment (RFC 3551 section 6).
    pub fn rtpmap(&self, payload_type: u8) -> Option<Rtpmap<'a>> {
        self.by_format("rtpmap", payload_type).and_then(Rtpmap::parse).or_else(|| Rtpmap::fixed(payload_type))
    }

    /// Parameters of a payload type's codec: a=fmtp.
    pub fn fmtp(&self, payload_type: u8) -> Option<&'a str> {
        self.by_format("fmtp", payload_type)
    }

    /// The first format's name: its encoding name from a=rtpmap, that of a static payload type (RFC 3551
    /// section 6), or the format itself.
    pub fn codec(&self) -> &'a str {
        let format = self.formats.split_ascii_whitespace().next().unwrap_or_default();
        let payload_type = format.parse().ok().filter(|_| self.is_rtp());
        payload_type.and_then(|number| self.rtpmap(number)).map_or(format, |map| map.name)
    }

    /// The T.38 parameters (ITU-T T.38 annex D).
    pub fn t38(&self) -> T38<'a> {
        T38::parse(self.text)
    }

    /// a=path (RFC 4975 section 8.2): the URIs of an MSRP session; the first is where it is received, unless it is
    /// a relay's.
    pub fn msrp_path(&self) -> impl Iterator<Item = MsrpUri<'a>> + use<'a> {
        first(self.text, "path").unwrap_or_default().split_ascii_whitespace().map_while(MsrpUri::parse)
    }

    /// The first attribute with this name; `""` where it has no value.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        first(self.text, name)
    }

    /// All attributes with this name that have a value, in order.
    pub fn attributes<'b>(&self, name: &'b str) -> impl Iterator<Item = &'a str> + use<'a, 'b> {
        attributes(self.text, name)
    }

    fn own_or_session(&self, name: &str) -> Option<&'a str> {
        first(self.text, name).or_else(|| first(self.session, name))
    }

    fn is_rtp(&self) -> bool {
        self.transport.split('/').any(|part| part.eq_ignore_ascii_case("RTP"))
    }

    /// What the first attribute of this name says about a payload type.
    fn by_format(&self, name: &str, payload_type: u8) -> Option<&'a str> {
        attributes(self.text, name)
            .filter_map(|value| value.split_once(' '))
            .find(|(format, _)| format.parse() == Ok(payload_type))
            .map(|(_, value)| value.trim_ascii())
    }
}

/// A number in decimal digits, without its fraction.
fn whole(value: &str) -> Option<u32> {
    value.split('.').next()?.parse().ok()
}
