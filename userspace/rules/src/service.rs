//! Services: what `service = "udp/5060"` means.
//!
//! A service is a transport and a range of destination ports, or of ICMP types, or an IP protocol. The names
//! are those of the field; `services(5)` of the machine is not asked, so that a file means the same everywhere.

use std::fmt;
use std::ops::RangeInclusive;

use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};

use crate::suggest::{Mistake, suggest};

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Every packet.
    Any,
    /// TCP with these ports.
    Tcp(Ports),
    /// UDP with these ports.
    Udp(Ports),
    /// ICMP of these types.
    Icmp(RangeInclusive<u8>),
    /// ICMPv6 of these types.
    Icmpv6(RangeInclusive<u8>),
    /// Another IP protocol (never one of the four above).
    Protocol(u8),
}

/// Destination and source ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Destination ports.
    pub to: RangeInclusive<u16>,
    /// Source ports.
    pub from: RangeInclusive<u16>,
}

impl Ports {
    /// Every port, and port 0.
    pub const ALL: RangeInclusive<u16> = 0..=u16::MAX;

    /// To these ports, from any.
    pub const fn to(to: RangeInclusive<u16>) -> Self {
        Self { to, from: Self::ALL }
    }

    /// Whether a packet has such ports.
    pub fn contains(&self, from: u16, to: u16) -> bool {
        self.from.contains(&from) && self.to.contains(&to)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |f: &mut fmt::Formatter<'_>, name: &str, ports: &Ports| {
            numbers(f, name, &ports.to, u16::MAX)?;
            numbers(f, if ports.from == Ports::ALL { "" } else { " from" }, &ports.from, u16::MAX)
        };
        match self {
            Self::Any => f.write_str("any"),
            Self::Protocol(number) => write!(f, "proto/{number}"),
            Self::Tcp(both) => ports(f, "tcp", both),
            Self::Udp(both) => ports(f, "udp", both),
            Self::Icmp(types) => numbers(f, "icmp", types, u8::MAX),
            Self::Icmpv6(types) => numbers(f, "icmpv6", types, u8::MAX),
        }
    }
}

/// `name`, `name/8`, `name/8-10`; source ports have a blank instead of the slash.
fn numbers<N: Copy + PartialEq + From<u8> + fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    range: &RangeInclusive<N>,
    all: N,
) -> fmt::Result {
    let slash = if name.ends_with("from") { ' ' } else { '/' };
    match (*range.start(), *range.end()) {
        (first, last) if first == N::from(0) && last == all => f.write_str(name),
        (first, last) if first == last => write!(f, "{name}{slash}{first}"),
        (first, last) => write!(f, "{name}{slash}{first}-{last}"),
    }
}

/// Services with a name: what they mean.
const NAMED: &[(&str, &[Service])] = &[
    ("any", &[Service::Any]),
    ("tcp", &[Service::Tcp(Ports::to(Ports::ALL))]),
    ("udp", &[Service::Udp(Ports::to(Ports::ALL))]),
    ("icmp", &[Service::Icmp(0..=u8::MAX)]),
    ("icmpv6", &[Service::Icmpv6(0..=u8::MAX)]),
    // Signalling.
    ("sip", &[udp(5060), tcp(5060)]),
    ("sips", &[tcp(5061)]),
    ("sccp", &[tcp(2000)]),
    ("sccps", &[tcp(2443)]),
    ("h323", &[tcp(1720), Service::Udp(Ports::to(1718..=1719))]),
    ("h225", &[tcp(1720)]),
    ("ras", &[Service::Udp(Ports::to(1718..=1719))]),
    ("mgcp", &[udp(2427), udp(2727)]),
    ("mgcp-backhaul", &[tcp(2428)]),
    // What a call manager and its phones need besides.
    ("tftp", &[udp(69)]),
    ("tftp-http", &[Service::Tcp(Ports::to(6970..=6972))]),
    ("tvs", &[tcp(2445)]),
    ("capf", &[tcp(3804)]),
    ("cti", &[Service::Tcp(Ports::to(2748..=2749))]),
    ("jtapi", &[tcp(2789)]),
    ("cucm-web", &[tcp(8080), tcp(8443)]),
    // Between the members of its cluster.
    ("iccs", &[Service::Tcp(Ports::to(8002..=8003))]),
    ("ipsec-manager", &[udp(8500)]),
    ("cluster-manager", &[tcp(8500), udp(8500)]),
    // The rest of a network.
    ("bgp", &[tcp(179)]),
    ("dhcp", &[Service::Udp(Ports::to(67..=68))]),
    ("dhcpv6", &[Service::Udp(Ports::to(546..=547))]),
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
    ("radius", &[Service::Udp(Ports::to(1812..=1813))]),
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

/// Reads one word of `service`: a service, perhaps with the source ports it has.
pub(crate) fn services(word: &str) -> Result<Vec<Service>, Mistake> {
    let Some((service, from)) = word.split_once(" from ") else { return destinations(word) };
    let (services, from) = (destinations(service.trim_end())?, ports(from.trim_start())?);
    let mut both = Vec::with_capacity(services.len() * from.len());
    for service in services {
        for from in from.iter().cloned() {
            both.push(match &service {
                Service::Tcp(ports) => Service::Tcp(Ports { from, ..ports.clone() }),
                Service::Udp(ports) => Service::Udp(Ports { from, ..ports.clone() }),
                other => {
                    return Err(Mistake::new(
                        format!("`{other}` has no source ports"),
                        "write them after `tcp…` or `udp…`: `tcp/80 from 1024-65535`",
                    ));
                }
            });
        }
    }
    Ok(both)
}

fn destinations(word: &str) -> Result<Vec<Service>, Mistake> {
    if let Some((_, services)) = NAMED.iter().find(|(name, _)| *name == word) {
        return Ok(services.to_vec());
    }
    let Some((transport, what)) = word.split_once('/') else {
        return Err(Mistake {
            message: format!("there is no service `{word}`"),
            suggestion: suggest(word, NAMED.iter().map(|(name, _)| *name))
                .or_else(|| Some("write a name such as `sip`, or a port such as `udp/5060`".into())),
        });
    };
    match transport {
        "tcp" => Ok(ports(what)?.into_iter().map(|to| Service::Tcp(Ports::to(to))).collect()),
        "udp" => Ok(ports(what)?.into_iter().map(|to| Service::Udp(Ports::to(to))).collect()),
        "icmp" => icmp_type(what, "ICMP", ICMP_TYPES).map(|number| vec![Service::Icmp(number..=number)]),
        "icmpv6" => {
            icmp_type(what, "ICMPv6", ICMPV6_TYPES).map(|number| vec![Service::Icmpv6(number..=number)])
        }
        "proto" => protocol(what).map(|service| vec![service]),
        _ => Err(Mistake {
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
pub(crate) fn ports(text: &str) -> Result<Vec<RangeInclusive<u16>>, Mistake> {
    text.split(',').map(|part| port_range(part.trim())).collect()
}

/// `5060` or `16384-32767`.
pub(crate) fn port_range(text: &str) -> Result<RangeInclusive<u16>, Mistake> {
    let port = |digits: &str| {
        number::<u16>(digits.trim()).filter(|port| *port != 0).ok_or_else(|| {
            Mistake::new(format!("`{digits}` is not a port"), "ports are 1 to 65535, ranges `16384-32767`")
        })
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(Mistake::new(
            format!("the range `{text}` is empty"),
            format!("did you mean `{last}-{first}`?"),
        ));
    }
    Ok(first..=last)
}

const fn tcp(port: u16) -> Service {
    Service::Tcp(Ports::to(port..=port))
}

const fn udp(port: u16) -> Service {
    Service::Udp(Ports::to(port..=port))
}

fn icmp_type(text: &str, family: &str, names: &[(&str, u8)]) -> Result<u8, Mistake> {
    let named = names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| number(text)).ok_or_else(|| Mistake {
        message: format!("there is no {family} type `{text}`"),
        suggestion: suggest(text, names.iter().map(|(name, _)| *name)),
    })
}

/// An IP protocol by number; the four that have classes of their own mean all of theirs.
fn protocol(text: &str) -> Result<Service, Mistake> {
    match number(text) {
        Some(TCP) => Ok(Service::Tcp(Ports::to(Ports::ALL))),
        Some(UDP) => Ok(Service::Udp(Ports::to(Ports::ALL))),
        Some(ICMP) => Ok(Service::Icmp(0..=u8::MAX)),
        Some(ICMPV6) => Ok(Service::Icmpv6(0..=u8::MAX)),
        Some(number) => Ok(Service::Protocol(number)),
        None => Err(Mistake::new(
            format!("`{text}` is not an IP protocol number"),
            "protocols are 0 to 255, such as `proto/47`",
        )),
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
        assert_eq!(read("tcp/2000"), [tcp(2000)]);
        assert_eq!(read("udp/16384-32767"), [Service::Udp(Ports::to(16384..=32767))]);
        let from = |to, from| Service::Tcp(Ports { to, from });
        assert_eq!(read("tcp/80 from 1024-65535"), [from(80..=80, 1024..=65535)]);
        assert_eq!(read("ftp from 20,21"), [from(21..=21, 20..=20), from(21..=21, 21..=21)]);
        assert_eq!(read("tcp from 20"), [from(Ports::ALL, 20..=20)]);
        assert_eq!(read("tcp/80 from 1024-65535")[0].to_string(), "tcp/80 from 1024-65535");
        assert_eq!(read("udp from 53")[0].to_string(), "udp from 53");
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
        assert_eq!(wrong("ping from 20").0, "`icmp/8` has no source ports");
        assert_eq!(wrong("tcp/80 from ssh").0, "`ssh` is not a port");
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
