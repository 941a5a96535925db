//! Values of lines and attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::lines::Lines;

/// A host, as c= lines and attributes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address.
    Ip(IpAddr),
    /// A name, not empty.
    Name(&'a str),
}

impl<'a> Host<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
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
    /// `line` is what follows `c=`.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        if !words.next()?.eq_ignore_ascii_case("IN") {
            return None;
        }
        let v4 = words.next()?.eq_ignore_ascii_case("IP4");
        let address = words.next()?;
        let Some((host, rest)) = address.split_once('/') else {
            return Some(Self { host: Host::parse(address)?, ttl: None, count: 1 });
        };
        let mut numbers = rest.split('/').map(|number| number.parse::<u16>().ok());
        let ttl = if v4 { numbers.next() } else { None };
        let ttl = match ttl {
            Some(ttl) => Some(u8::try_from(ttl?).ok()?),
            None => None,
        };
        let count = match numbers.next() {
            Some(count) => count?,
            None => 1,
        };
        Some(Self { host: Host::parse(host)?, ttl, count })
    }

    /// Whether it is the unspecified address: hold as RFC 2543 spelt it, or media not wanted yet.
    pub fn is_unspecified(&self) -> bool {
        self.host.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Whether it is a multicast address.
    pub fn is_multicast(&self) -> bool {
        self.host.ip().is_some_and(|ip| ip.is_multicast())
    }
}

/// The o= line (RFC 8866 section 5.2): the same but for `version`, it is another version of the same session; all
/// the same, it is the same description (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who made it.
    pub user: &'a str,
    /// Of the session.
    pub id: &'a str,
    /// Of the description.
    pub version: &'a str,
    /// Where it was made.
    pub host: Host<'a>,
}

impl<'a> Origin<'a> {
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (user, id, version) = (words.next()?, words.next()?, words.next()?);
        Some(Self { user, id, version, host: Host::parse(words.nth(2)?)? })
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
    pub(super) fn parse(attribute: &[u8]) -> Option<Self> {
        match attribute {
            b"sendrecv" => Some(Self::SendRecv),
            b"sendonly" => Some(Self::SendOnly),
            b"recvonly" => Some(Self::RecvOnly),
            b"inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
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
    pub(super) fn parse(value: &'a str) -> Option<Self> {
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
    /// The same for candidates of the same kind, base and server.
    pub foundation: &'a str,
    /// 1 RTP, 2 RTCP.
    pub component: u16,
    /// `UDP`, `TCP`, … in the sender's case.
    pub transport: &'a str,
    /// The higher the better.
    pub priority: u32,
    /// Host.
    pub host: Host<'a>,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx`, `relay`.
    pub kind: &'a str,
    /// What it was derived from: host and port.
    pub related: Option<(Host<'a>, u16)>,
    /// `active`, `passive` or `so` (RFC 6544).
    pub tcp_type: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let foundation = words.next()?;
        let component = words.next()?.parse().ok()?;
        let transport = words.next()?;
        let priority = words.next()?.parse().ok()?;
        let host = Host::parse(words.next()?)?;
        let port = words.next()?.parse().ok()?;
        (words.next()? == "typ").then_some(())?;
        let kind = words.next()?;
        let (mut address, mut number, mut tcp_type) = (None, None, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "raddr" => address = Host::parse(value),
                "rport" => number = value.parse().ok(),
                "tcptype" => tcp_type = Some(value),
                _ => {}
            }
        }
        let related = address.zip(number);
        Some(Self { foundation, component, transport, priority, host, port, kind, related, tcp_type })
    }

    /// Its address and port, where the host is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether it is for UDP.
    pub fn is_udp(&self) -> bool {
        self.transport.eq_ignore_ascii_case("UDP")
    }
}

/// a=crypto (RFC 4568 section 4); the keys are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crypto<'a> {
    /// By which an answer names it.
    pub tag: u32,
    /// `AES_CM_128_HMAC_SHA1_80`, …
    pub suite: &'a str,
}

impl<'a> Crypto<'a> {
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite) = (words.next()?.parse().ok()?, words.next()?);
        words.next().map(|_keys| Self { tag, suite })
    }
}

/// a=fingerprint (RFC 8122 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// `sha-256`, …
    pub hash: &'a str,
    /// Pairs of hexadecimal digits with colons between.
    pub value: &'a str,
}

impl<'a> Fingerprint<'a> {
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let (hash, value) = value.split_once(' ')?;
        Some(Self { hash, value: value.trim_ascii() })
    }
}

/// a=setup (RFC 4145 section 4): who opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The describing party.
    Active,
    /// The other one.
    Passive,
    /// Whichever the answer chooses.
    ActPass,
    /// Nobody for now.
    HoldConn,
}

impl Setup {
    pub(super) fn parse(value: &str) -> Option<Self> {
        const ALL: [(&str, Setup); 4] = [
            ("active", Setup::Active),
            ("passive", Setup::Passive),
            ("actpass", Setup::ActPass),
            ("holdconn", Setup::HoldConn),
        ];
        ALL.into_iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|(_, setup)| setup)
    }
}

/// An MSRP URI (RFC 4975 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrpUri<'a> {
    /// `msrps:`.
    pub secure: bool,
    /// Host.
    pub host: Host<'a>,
    /// Port; 2855 where it is not said.
    pub port: u16,
    /// Names the session.
    pub session: &'a str,
}

impl<'a> MsrpUri<'a> {
    pub(super) fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("msrps");
        if !secure && !scheme.eq_ignore_ascii_case("msrp") {
            return None;
        }
        let (authority, session) = rest.split_once('/').unwrap_or((rest, ""));
        let session = session.split(';').next().unwrap_or_default();
        let authority = authority.split(';').next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once(']')?;
                (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("2855"))?)
            }
            None => place.split_once(':').unwrap_or((place, "2855")),
        };
        Some(Self { secure, host: Host::parse(host)?, port: port.parse().ok()?, session })
    }
}

/// What a payload type stands for (RFC 8866 section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtpmap<'a> {
    /// Encoding name: `PCMU`, `opus`, `telephone-event`, …
    pub name: &'a str,
    /// Clock rate, in Hz.
    pub rate: u32,
    /// Channels of audio, 1 where it is not said.
    pub channels: u16,
}

impl<'a> Rtpmap<'a> {
    /// `value` is what follows the payload type.
    pub(super) fn parse(value: &'a str) -> Option<Self> {
        let mut parts = value.split('/').map(str::trim_ascii);
        let name = parts.next().filter(|name| !name.is_empty())?;
        // Some gateways leave the clock rate out.
        let rate = parts.next().map_or(Ok(0), str::parse).ok()?;
        let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
        Some(Self { name, rate, channels })
    }

    /// The static assignments (RFC 3551 section 6).
    pub(super) fn fixed(payload_type: u8) -> Option<Self> {
        let (name, rate, channels) = match payload_type {
            0 => ("PCMU", 8_000, 1),
            3 => ("GSM", 8_000, 1),
            4 => ("G723", 8_000, 1),
            5 => ("DVI4", 8_000, 1),
            6 => ("DVI4", 16_000, 1),
            7 => ("LPC", 8_000, 1),
            8 => ("PCMA", 8_000, 1),
            9 => ("G722", 8_000, 1),
            10 => ("L16", 44_100, 2),
            11 => ("L16", 44_100, 1),
            12 => ("QCELP", 8_000, 1),
            13 => ("CN", 8_000, 1),
            14 => ("MPA", 90_000, 1),
            15 => ("G728", 8_000, 1),
            16 => ("DVI4", 11_025, 1),
            17 => ("DVI4", 22_050, 1),
            18 => ("G729", 8_000, 1),
            25 => ("CelB", 90_000, 1),
            26 => ("JPEG", 90_000, 1),
            28 => ("nv", 90_000, 1),
            31 => ("H261", 90_000, 1),
            32 => ("MPV", 90_000, 1),
            33 => ("MP2T", 90_000, 1),
            34 => ("H263", 90_000, 1),
            _ => return None,
        };
        Some(Self { name, rate, channels })
    }
}

/// T.38 parameters (ITU-T T.38 table D.1); `None` what is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct T38<'a> {
    /// Of T.38.
    pub version: Option<u32>,
    /// In bits per second.
    pub max_bit_rate: Option<u32>,
    /// `transferredTCF`, `localTCF`.
    pub rate_management: Option<&'a str>,
    /// In bytes.
    pub max_buffer: Option<u32>,
    /// In bytes.
    pub max_datagram: Option<u32>,
    /// `t38UDPRedundancy`, `t38UDPFEC`, …
    pub udp_ec: Option<&'a str>,
}

impl<'a> T38<'a> {
    pub(super) fn parse(section: &'a [u8]) -> Self {
        let mut t38 = Self::default();
        for attribute in all(section) {
            let Some((name, value)) = attribute.split_once(':') else { continue };
            let value = value.trim_ascii();
            let number = || value.parse().ok();
            // They are written T38MaxBitRate and t38MaxBitRate, T38FaxUdpEC and T38FaxUDPEC, …
            match name {
                _ if name.eq_ignore_ascii_case("T38FaxVersion") => t38.version = number(),
                _ if name.eq_ignore_ascii_case("T38MaxBitRate") => t38.max_bit_rate = number(),
                _ if name.eq_ignore_ascii_case("T38FaxRateManagement") => t38.rate_management = Some(value),
                _ if name.eq_ignore_ascii_case("T38FaxMaxBuffer") => t38.max_buffer = number(),
                _ if name.eq_ignore_ascii_case("T38FaxMaxDatagram") => t38.max_datagram = number(),
                _ if name.eq_ignore_ascii_case("T38FaxUdpEC") => t38.udp_ec = Some(value),
                _ => {}
            }
        }
        t38
    }
}

/// Attributes of a section, as written behind `a=`.
fn all(section: &[u8]) -> impl Iterator<Item = &str> {
    Lines { text: section, at: 0 }.filter_map(|(_, line)| text(line.strip_prefix(b"a=")?))
}

/// Values of the attributes with this name.
pub(super) fn attributes<'a, 'b>(
    section: &'a [u8],
    name: &'b str,
) -> impl Iterator<Item = &'a str> + use<'a, 'b> {
    Lines { text: section, at: 0 }.filter_map(move |(_, line)| {
        let value = line.strip_prefix(b"a=")?.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        text(value)
    })
}

/// The first attribute with this name; `""` where it has no value.
pub(super) fn first<'a>(section: &'a [u8], name: &str) -> Option<&'a str> {
    Lines { text: section, at: 0 }.find_map(|(_, line)| {
        match line.strip_prefix(b"a=")?.strip_prefix(name.as_bytes())? {
            [b':', value @ ..] => text(value),
            rest => trim(rest).is_empty().then_some(""),
        }
    })
}

/// Bits per second of the b= lines of a section.
pub(super) fn bandwidth(section: &[u8]) -> Option<u64> {
    let of = |kind: &[u8]| {
        let mut values = Lines { text: section, at: 0 }
            .filter_map(|(_, line)| text(line.strip_prefix(b"b=")?.strip_prefix(kind)?.strip_prefix(b":")?));
        values.find_map(|value| value.parse::<u64>().ok())
    };
    of(b"TIAS").or_else(|| of(b"AS")?.checked_mul(1_000))
}

/// Text without white space around it.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(str::trim_ascii)
}

/// Bytes without white space around them.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}
