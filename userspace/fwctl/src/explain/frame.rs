//! Packets as they are described on the command line, and how they look on the wire.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, bail};
use callgate_rules::Service;
use callgate_rules::explain::services;
use callgate_shared::packet::{self, tcp};
use etherparse::{IpFragOffset, IpHeaders, IpNumber, PacketBuilder, VlanId};

/// Bytes of the greatest frame that is put to others whole: above, its payload is shortened.
pub(crate) const MOST: usize = 3_000;
/// The source port where none is given: the first of those that systems take for themselves (RFC 6335 section 6).
const SOURCE_PORT: u16 = 49_152;

/// A packet in words.
#[derive(Debug, clap::Args)]
pub(crate) struct Described {
    /// Its source; the port is 49152 where none is given
    #[arg(long, value_name = "ADDRESS[:PORT]", required_unless_present = "capture")]
    pub(crate) from: Option<End>,
    /// Its destination
    #[arg(long, value_name = "ADDRESS[:PORT]", required_unless_present = "capture")]
    pub(crate) to: Option<End>,
    /// What it carries: `tcp/2000`, `udp/5060`, `icmp/echo-request`, `icmp/3/4`, `icmpv6/128`, `proto/47`, `sip` …
    #[arg(required_unless_present = "capture")]
    pub(crate) service: Option<String>,
    /// Its VLAN id
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..4_095))]
    pub(crate) vlan: Option<u16>,
    /// Its DSCP, as a number
    #[arg(long, value_name = "DSCP", value_parser = clap::value_parser!(u8).range(0..64))]
    pub(crate) dscp: Option<u8>,
    /// Its TCP flags, such as `syn,ack`, or `none`; SYN where they are not given
    #[arg(long, value_name = "FLAGS", value_parser = tcp_flags)]
    pub(crate) flags: Option<u8>,
}

/// An address, and a port where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(end) = text.parse::<SocketAddr>() {
            return Ok(Self { address: end.ip(), port: Some(end.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(address) => Ok(Self { address, port: None }),
            Err(_) => Err("write 192.0.2.1, 192.0.2.1:5060, 2001:db8::1 or [2001:db8::1]:5060".to_owned()),
        }
    }
}

fn tcp_flags(text: &str) -> Result<u8, String> {
    const NAMES: [(&str, u8); 8] = [
        ("fin", tcp::FIN),
        ("syn", tcp::SYN),
        ("rst", tcp::RST),
        ("psh", 0x08),
        ("ack", tcp::ACK),
        ("urg", 0x20),
        ("ece", 0x40),
        ("cwr", 0x80),
    ];
    if text == "none" {
        return Ok(0);
    }
    text.split([',', '+']).try_fold(0, |bits, word| {
        let known = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
        let names = NAMES.map(|(name, _)| name).join(", ");
        known
            .map(|(_, bit)| bits | bit)
            .ok_or_else(|| format!("no flag `{word}`; there are {names} and none"))
    })
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Tcp(u16),
    Udp(u16),
    Icmp(u8, u8),
    Icmpv6(u8, u8),
    Other(u8),
}

impl Described {
    /// The frame that is described.
    pub(crate) fn frame(&self) -> anyhow::Result<Vec<u8>> {
        let Self { from: Some(from), to: Some(to), service: Some(service), .. } = self else {
            bail!("--from, --to and a service describe a packet");
        };
        let carried = carried(service, to.port)?;
        let source_port = from.port.unwrap_or(SOURCE_PORT);
        let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let ip = self.ip(from.address, to.address, carried)?;
        let step = match self.vlan {
            Some(id) => step.single_vlan(VlanId::try_new(id)?).ip(ip),
            None => step.ip(ip),
        };
        let mut frame = Vec::new();
        match carried {
            Carried::Tcp(port) => step.tcp_header(self.tcp(source_port, port)).write(&mut frame, &[])?,
            Carried::Udp(port) => step.udp(source_port, port).write(&mut frame, &[])?,
            Carried::Icmp(kind, code) => step.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, &[])?,
            Carried::Icmpv6(kind, code) => step.icmpv6_raw(kind, code, [0; 4]).write(&mut frame, &[])?,
            Carried::Other(protocol) => step.write(&mut frame, IpNumber(protocol), &[0; 8])?,
        }
        Ok(frame)
    }

    fn ip(&self, source: IpAddr, destination: IpAddr, carried: Carried) -> anyhow::Result<IpHeaders> {
        const HOPS: u8 = 64;
        let traffic_class = self.dscp.unwrap_or(0) << 2;
        Ok(match (source, destination, carried) {
            (IpAddr::V4(_), IpAddr::V4(_), Carried::Icmpv6(..)) => bail!("icmpv6 goes with IPv6 addresses"),
            (IpAddr::V6(_), IpAddr::V6(_), Carried::Icmp(..)) => {
                bail!("icmp goes with IPv4 addresses: say icmpv6")
            }
            (IpAddr::V4(source), IpAddr::V4(destination), _) => {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    HOPS,
                    IpNumber::UDP,
                    source.octets(),
                    destination.octets(),
                )?;
                header.dscp = etherparse::IpDscp::try_new(traffic_class >> 2)?;
                header.fragment_offset = IpFragOffset::ZERO;
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination), _) => {
                let header = etherparse::Ipv6Header {
                    traffic_class,
                    hop_limit: HOPS,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..etherparse::Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
            }
            _ => bail!("{source} and {destination} are not of one family"),
        })
    }

    fn tcp(&self, source_port: u16, port: u16) -> etherparse::TcpHeader {
        let bits = self.flags.unwrap_or(tcp::SYN);
        let mut header = etherparse::TcpHeader::new(source_port, port, 1, u16::MAX);
        (header.fin, header.syn, header.rst) =
            (bits & tcp::FIN != 0, bits & tcp::SYN != 0, bits & tcp::RST != 0);
        (header.psh, header.ack, header.urg) = (bits & 0x08 != 0, bits & tcp::ACK != 0, bits & 0x20 != 0);
        (header.ece, header.cwr) = (bits & 0x40 != 0, bits & 0x80 != 0);
        header.acknowledgment_number = u32::from(header.ack);
        header
    }
}

/// What a word of the rules language is in one packet; `port` is the destination port given elsewhere.
fn carried(word: &str, port: Option<u16>) -> anyhow::Result<Carried> {
    // A code can be told apart here, though not in rules: `icmp/3/4`.
    let (service, code) = match word.split('/').collect::<Vec<_>>()[..] {
        [protocol, kind, code] => (
            format!("{protocol}/{kind}"),
            Some(code.parse::<u8>().context("an ICMP code is a number from 0 to 255")?),
        ),
        _ => (word.to_owned(), None),
    };
    let meant = services(&service).map_err(anyhow::Error::msg)?;
    let one_port = |name: &str, ports: &callgate_rules::service::Ports| -> anyhow::Result<u16> {
        match (port, ports.to.start() == ports.to.end()) {
            (Some(port), _) if ports.to.contains(&port) => Ok(port),
            (Some(port), _) => bail!("--to says port {port}, `{word}` does not"),
            (None, _) if ports.to == callgate_rules::service::Ports::ALL => {
                bail!("to which port? Write {name}/PORT, or --to ADDRESS:PORT")
            }
            (None, _) => Ok(*ports.to.start()),
        }
    };
    Ok(match meant.first() {
        Some(Service::Tcp(ports)) => Carried::Tcp(one_port("tcp", ports)?),
        Some(Service::Udp(ports)) => Carried::Udp(one_port("udp", ports)?),
        Some(Service::Icmp(kinds)) => Carried::Icmp(one_type(word, kinds)?, code.unwrap_or(0)),
        Some(Service::Icmpv6(kinds)) => Carried::Icmpv6(one_type(word, kinds)?, code.unwrap_or(0)),
        Some(Service::Protocol(number)) => Carried::Other(*number),
        Some(Service::Any) | None => {
            bail!("`{word}` is no one packet: write tcp/PORT, udp/PORT, icmp/TYPE or proto/N")
        }
    })
}

fn one_type(word: &str, kinds: &std::ops::RangeInclusive<u8>) -> anyhow::Result<u8> {
    if kinds.start() != kinds.end() {
        bail!("`{word}` is no one message: write for instance {word}/echo-request");
    }
    Ok(*kinds.start())
}

/// A frame whose payload has been cut so that it has no more than `most` bytes: its headers say so too, and nothing
/// that is judged is lost but its length.
pub(crate) fn shortened(frame: &[u8], most: usize) -> Vec<u8> {
    let mut short = frame.to_vec();
    let Ok(packet) = packet::parse(&frame) else {
        short.truncate(most);
        return short;
    };
    if frame.len() <= most {
        return short;
    }
    short.truncate(most);
    let network = usize::from(packet.network_at);
    let (length_at, before) =
        if packet.source.is_v4() { (network + 2, network) } else { (network + 4, network + 40) };
    let mut write = |at: usize, length: usize| {
        if let (Some(place), Ok(length)) = (short.get_mut(at..at + 2), u16::try_from(length)) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    };
    let end = (network + packet.length as usize).min(most);
    write(length_at, end - before);
    if packet.protocol == callgate_shared::flow::UDP && packet.fragment != packet::Fragment::Later {
        let udp = usize::from(packet.transport_at);
        write(udp + 4, end - udp);
    }
    short
}

#[cfg(test)]
mod tests {
    use callgate_shared::packet::{Fragment, Kind, parse};

    use super::*;

    fn described(from: &str, to: &str, service: &str) -> Described {
        let end = |text: &str| Some(text.parse::<End>().expect("an end"));
        let service = Some(service.to_owned());
        Described { from: end(from), to: end(to), service, vlan: None, dscp: None, flags: None }
    }

    #[test]
    fn the_parser_reads_what_was_described() {
        let cases = [
            ("192.0.2.1", "192.0.2.2", "tcp/2000", (6, 49_152, 2_000)),
            ("192.0.2.1:7", "192.0.2.2:5060", "sip", (17, 7, 5_060)),
            ("2001:db8::1", "[2001:db8::2]:69", "udp", (17, 49_152, 69)),
            ("192.0.2.1", "192.0.2.2", "icmp/echo-request", (1, 0, 0)),
            ("2001:db8::1", "2001:db8::2", "icmpv6/128", (58, 0, 0)),
            ("192.0.2.1", "192.0.2.2", "proto/47", (47, 0, 0)),
        ];
        for (from, to, service, expected) in cases {
            let frame = described(from, to, service).frame().expect("a frame");
            let packet = parse(&&frame[..]).expect("a packet");
            assert_eq!((packet.protocol, packet.source_port, packet.destination_port), expected, "{service}");
            assert_eq!((packet.kind, packet.fragment), (Kind::Ip, Fragment::Whole));
        }
        let frame = described("192.0.2.1", "192.0.2.2", "icmp/3/4").frame().expect("a frame");
        let packet = parse(&&frame[..]).expect("a packet");
        assert_eq!((packet.icmp_type, packet.icmp_code), (3, 4));
        let marked = Described {
            vlan: Some(100),
            dscp: Some(46),
            flags: Some(tcp::RST | tcp::ACK),
            ..described("192.0.2.1", "192.0.2.2", "tcp/80")
        };
        let packet = parse(&&marked.frame().expect("a frame")[..]).expect("a packet");
        assert_eq!(
            (packet.vlan, packet.traffic_class >> 2, packet.tcp_flags),
            (100, 46, tcp::RST | tcp::ACK)
        );
    }

    #[test]
    fn ends_are_read_with_and_without_a_port() {
        for (text, port) in [("192.0.2.1", None), ("192.0.2.1:80", Some(80)), ("2001:db8::1", None)] {
            assert_eq!(text.parse::<End>().expect("an end").port, port);
        }
        assert_eq!("[2001:db8::1]".parse::<End>().expect("an end").port, None);
        assert_eq!("[2001:db8::1]:80".parse::<End>().expect("an end").port, Some(80));
        for wrong in ["", "192.0.2.1:", "192.0.2.1:99999", "host", "[2001:db8::1"] {
            assert!(wrong.parse::<End>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_are_read_by_name() {
        assert_eq!(tcp_flags("syn"), Ok(tcp::SYN));
        assert_eq!(tcp_flags("SYN+ack, fin"), Ok(tcp::SYN | tcp::ACK | tcp::FIN));
        assert_eq!(tcp_flags("none"), Ok(0));
        assert!(tcp_flags("").is_err());
    }

    #[test]
    fn a_frame_that_is_too_long_loses_payload_only() {
        for (from, to, service) in
            [("192.0.2.1", "192.0.2.2", "udp/9"), ("2001:db8::1", "2001:db8::2", "tcp/9")]
        {
            let mut frame = described(from, to, service).frame().expect("a frame");
            let before = parse(&&frame[..]).expect("a packet");
            assert_eq!(shortened(&frame, MOST), frame, "short enough");
            let grown = 60_000_u16;
            let at = usize::from(before.network_at) + if before.source.is_v4() { 2 } else { 4 };
            let length = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]) + grown;
            let total = length(at).to_be_bytes();
            let datagram = length(usize::from(before.transport_at) + 4).to_be_bytes();
            frame[at..at + 2].copy_from_slice(&total);
            if before.protocol == 17 {
                let at = usize::from(before.transport_at) + 4;
                frame[at..at + 2].copy_from_slice(&datagram);
            }
            frame.resize(frame.len() + usize::from(grown), 0x55);
            let whole = parse(&&frame[..]).expect("a packet");
            let short = shortened(&frame, MOST);
            let cut = parse(&&short[..]).expect("still a packet");
            assert_eq!(short.len(), MOST);
            let rest = packet::Packet {
                length: whole.length,
                payload_length: whole.payload_length,
                fragment_length: whole.fragment_length,
                ..cut
            };
            assert_eq!(rest, whole, "nothing else has changed");
        }
    }
}
