//! Services: what `service = "udp/5060"` means.
//!
//! A service is a transport and a range of destination ports, or of ICMP types, or an IP protocol. The names
//! are those of the field; `services(5)` of the machine is not asked, so that a file means the same everywhere.

use std::fmt;
use std::ops::RangeInclusive;

use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};

use crate::suggest::suggest;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Every packet.
    Any,
    /// TCP to these ports.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports.
    Udp(RangeInclusive<u16>),
    /// ICMP of these types.
    Icmp(RangeInclusive<u8>),
    /// ICMPv6 of these types.
    Icmpv6(RangeInclusive<u8>),
    /// Another IP protocol (never one of the four above).
    Protocol(u8),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, first, last, all) = match self {
            Self::Any => return f.write_str("any"),
            Self::Protocol(number) => return write!(f, "proto/{number}"),
            Self::Tcp(ports) => ("tcp", *ports.start(), *ports.end(), u16::MAX),
            Self::Udp(ports) => ("udp", *ports.start(), *ports.end(), u16::MAX),
            Self::Icmp(types) => ("icmp", u16::from(*types.start()), u16::from(*types.end()), 255),
            Self::Icmpv6(types) => ("icmpv6", u16::from(*types.start()), u16::from(*types.end()), 255),
        };
        match (first, last) {
            (0, last) if last == all => f.write_str(name),
            (first, last) if first == last => write!(f, "{name}/{first}"),
            (first, last) => write!(f, "{name}/{first}-{last}"),
        }
    }
}

/// Why a word is no service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceError {
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

/// Services with a name: what they mean.
const NAMED: &[(&str, &[Service])] = &[
    ("any", &[Service::Any]),
    ("tcp", &[Service::Tcp(0..=u16::MAX)]),
    ("udp", &[Service::Udp(0..=u16::MAX)]),
    ("icmp", &[Service::Icmp(0..=u8::MAX)]),
    ("icmpv6", &[Service::Icmpv6(0..=u8::MAX)]),
    // Signalling.
    ("sip", &[udp(5060), tcp(5060)]),
    ("sips", &[tcp(5061)]),
    ("sccp", &[tcp(2000)]),
    ("sccps", &[tcp(2443)]),
    ("h323", &[tcp(1720), Service::Udp(1718..=1719)]),
    ("h225", &[tcp(1720)]),
    ("ras", &[Service::Udp(1718..=1719)]),
    ("mgcp", &[udp(2427), udp(2727)]),
    ("mgcp-backhaul", &[tcp(2428)]),
    // What a call manager and its phones need besides.
    ("tftp", &[udp(69)]),
    ("tftp-http", &[Service::Tcp(6970..=6972)]),
    ("tvs", &[tcp(2445)]),
    ("capf", &[tcp(3804)]),
    ("cti", &[Service::Tcp(2748..=2749)]),
    ("ipsec-manager", &[udp(8500)]),
    ("cluster-manager", &[tcp(8500), udp(8500)]),
    // The rest of a network.
    ("bgp", &[tcp(179)]),
    ("dhcp", &[Service::Udp(67..=68)]),
    ("dhcpv6", &[Service::Udp(546..=547)]),
    ("dns", &[udp(53), tcp(53)]),
    ("ftp", &[tcp(21)]),
    ("http", &[tcp(80)]),
    ("https", &[tcp(443)]),
    ("iax2", &[udp(4569)]),
    ("ike", &[udp(500), udp(4500)]),
    ("imap", &[tcp(143)]),
    ("imaps", &[tcp(993)]),
    ("kerberos", &[udp(88), tcp(88)]),
    ("ldap", &[tcp(389)]),
    ("ldaps", &[tcp(636)]),
    ("ntp", &[udp(123)]),
    ("ping", &[Service::Icmp(8..=8), Service::Icmpv6(128..=128)]),
    ("radius", &[Service::Udp(1812..=1813)]),
    ("rdp", &[tcp(3389)]),
    ("smtp", &[tcp(25)]),
    ("snmp", &[udp(161)]),
    ("snmp-trap", &[udp(162)]),
    ("ssh", &[tcp(22)]),
    ("stun", &[udp(3478), tcp(3478)]),
    ("submission", &[tcp(587)]),
    ("syslog", &[udp(514)]),
    ("telnet", &[tcp(23)]),
    ("wireguard", &[udp(51820)]),
    ("igmp", &[Service::Protocol(2)]),
    ("gre", &[Service::Protocol(47)]),
    ("esp", &[Service::Protocol(50)]),
    ("ah", &[Service::Protocol(51)]),
    ("ospf", &[Service::Protocol(89)]),
    ("vrrp", &[Service::Protocol(112)]),
    ("sctp", &[Service::Protocol(132)]),
];

/// ICMP types (IANA, "ICMP Type Numbers").
const ICMP_TYPES: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

/// ICMPv6 types (IANA, "ICMPv6 type Numbers").
const ICMPV6_TYPES: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
    ("multicast-listener-report-v2", 143),
];

/// The named services, with what each means.
pub fn named() -> impl Iterator<Item = (&'static str, &'static [Service])> {
    NAMED.iter().copied()
}

/// Reads one word of `service`.
pub(crate) fn services(word: &str) -> Result<Vec<Service>, ServiceError> {
    if let Some((_, services)) = NAMED.iter().find(|(name, _)| *name == word) {
        return Ok(services.to_vec());
    }
    let Some((transport, what)) = word.split_once('/') else {
        return Err(ServiceError {
            message: format!("there is no service `{word}`"),
            suggestion: suggest(word, NAMED.iter().map(|(name, _)| *name))
                .or_else(|| Some("write a name such as `sip`, or a port such as `udp/5060`".into())),
        });
    };
    match transport {
        "tcp" => Ok(ports(what)?.into_iter().map(Service::Tcp).collect()),
        "udp" => Ok(ports(what)?.into_iter().map(Service::Udp).collect()),
        "icmp" => icmp_type(what, "ICMP", ICMP_TYPES).map(|number| vec![Service::Icmp(number..=number)]),
        "icmpv6" => {
            icmp_type(what, "ICMPv6", ICMPV6_TYPES).map(|number| vec![Service::Icmpv6(number..=number)])
        }
        "proto" => protocol(what).map(|service| vec![service]),
        _ => Err(ServiceError {
            message: format!("there is no transport `{transport}`"),
            suggestion: match what {
                // The other way round, as some firewalls write it.
                "tcp" | "udp" => Some(format!("did you mean `{what}/{transport}`?")),
                _ => suggest(transport, ["tcp", "udp", "icmp", "icmpv6", "proto"]),
            },
        }),
    }
}

/// `5060`, `16384-32767`, or several of these with commas.
pub(crate) fn ports(text: &str) -> Result<Vec<RangeInclusive<u16>>, ServiceError> {
    text.split(',').map(|part| port_range(part.trim())).collect()
}

/// `5060` or `16384-32767`.
pub(crate) fn port_range(text: &str) -> Result<RangeInclusive<u16>, ServiceError> {
    let port = |digits: &str| {
        number::<u16>(digits.trim()).filter(|port| *port != 0).ok_or_else(|| ServiceError {
            message: format!("`{digits}` is not a port"),
            suggestion: Some("ports are 1 to 65535, ranges `16384-32767`".into()),
        })
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(ServiceError {
            message: format!("the range `{text}` is empty"),
            suggestion: Some(format!("did you mean `{last}-{first}`?")),
        });
    }
    Ok(first..=last)
}

const fn tcp(port: u16) -> Service {
    Service::Tcp(port..=port)
}

const fn udp(port: u16) -> Service {
    Service::Udp(port..=port)
}

fn icmp_type(text: &str, family: &str, names: &[(&str, u8)]) -> Result<u8, ServiceError> {
    let named = names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| number(text)).ok_or_else(|| ServiceError {
        message: format!("there is no {family} type `{text}`"),
        suggestion: suggest(text, names.iter().map(|(name, _)| *name)),
    })
}

/// An IP protocol by number; the four that have classes of their own mean all of theirs.
fn protocol(text: &str) -> Result<Service, ServiceError> {
    match number(text) {
        Some(TCP) => Ok(Service::Tcp(0..=u16::MAX)),
        Some(UDP) => Ok(Service::Udp(0..=u16::MAX)),
        Some(ICMP) => Ok(Service::Icmp(0..=u8::MAX)),
        Some(ICMPV6) => Ok(Service::Icmpv6(0..=u8::MAX)),
        Some(number) => Ok(Service::Protocol(number)),
        None => Err(ServiceError {
            message: format!("`{text}` is not an IP protocol number"),
            suggestion: Some("protocols are 0 to 255, such as `proto/47`".into()),
        }),
    }
}

/// Decimal digits and nothing else: no sign, no blanks.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_types_protocols_and_names() {
        let read = |word| services(word).expect("a service");
        assert_eq!(read("tcp/2000"), [Service::Tcp(2000..=2000)]);
        assert_eq!(read("udp/16384-32767"), [Service::Udp(16384..=32767)]);
        assert_eq!(read("udp/2427,2727"), read("mgcp"));
        assert_eq!(read("icmp/8"), read("icmp/echo-request"));
        assert_eq!(read("icmpv6/128"), read("icmpv6/echo-request"));
        assert_eq!(read("proto/47"), read("gre"));
        assert_eq!(read("proto/6"), read("tcp"));
        assert_eq!(read("any"), [Service::Any]);
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |word: &str| {
            let error = services(word).expect_err("no service");
            (error.message, error.suggestion.unwrap_or_default())
        };
        assert_eq!(wrong("sipp"), ("there is no service `sipp`".into(), "did you mean `sip`?".into()));
        assert_eq!(wrong("5060/udp").1, "did you mean `udp/5060`?");
        assert_eq!(wrong("upd/5060").1, "did you mean `udp`?");
        assert_eq!(wrong("udp/2-1").1, "did you mean `1-2`?");
        assert_eq!(wrong("icmp/echo-requst").1, "did you mean `echo-request`?");
        for word in
            ["tcp/0", "tcp/65536", "tcp/+1", "tcp/", "tcp/1-", "udp/1,,2", "icmp/256", "proto/tcp", "", "/"]
        {
            assert!(services(word).is_err(), "{word}");
        }
    }

    #[test]
    fn each_name_is_written_once_and_every_service_reads_back() {
        for (at, (name, services)) in NAMED.iter().enumerate() {
            assert!(NAMED[at + 1..].iter().all(|(other, _)| other != name), "{name}");
            for service in *services {
                assert_eq!(
                    super::services(&service.to_string()).as_deref(),
                    Ok([service.clone()].as_slice())
                );
            }
        }
    }
}
