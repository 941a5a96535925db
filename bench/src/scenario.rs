//! What is measured against: one policy of 100 rules, said in Callgate's language and in nftables', and the
//! frames that meet it; the same with fewer and more rules; and one with a large group.
//!
//! Five clusters of call managers stand behind the outside interface. Each has ten services, and for each
//! service a rule for those who may and a rule that drops everyone else, in the manner of
//! `rules/cucm-mitigation.toml`. The packets are for the third cluster: a list read from its top meets their
//! rule half way down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::PacketBuilder;

/// The interface the flood comes in by.
pub(crate) const FLOODED: &str = "cgb-rx";
/// Its station address.
pub(crate) const STATION: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The other end of its link.
pub(crate) const FLOODER: &str = "cgb-tx";

/// The call manager the packets are for.
pub(crate) const CALL_MANAGER: Ipv4Addr = address(THIRD, 1, 10);
/// Where it listens for its neighbours in the cluster.
pub(crate) const CLUSTER_PORT: u16 = 8500;
/// Where it tells its phones the time.
const TIME_PORT: u16 = 123;
/// Where an open pinhole lets RTP in.
pub(crate) const MEDIA: SocketAddrV4 = SocketAddrV4::new(CALL_MANAGER, 20_000);
/// Who may send it.
pub(crate) const FAR_END: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 30_000);

const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 200, 9, 5), 51_000);
const ADMIN_PAGES: SocketAddrV4 = SocketAddrV4::new(CALL_MANAGER, 8443);
const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 0), 40_000);

/// The cluster of [`CALL_MANAGER`]: the third.
const THIRD: u16 = 3;

/// An address of a cluster, which has 64 networks of 256.
const fn address(cluster: u16, network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, (cluster >> 2) as u8, ((cluster & 3) << 6) as u8 | network, host)
}

/// A service of a cluster, and who may use it.
struct Service {
    name: &'static str,
    from: &'static str,
    tcp: &'static [u16],
    udp: &'static [u16],
    inspect: Option<&'static str>,
}

const SERVICES: [Service; 10] = [
    Service { name: "sccp", from: "phones", tcp: &[2000], udp: &[], inspect: Some("sccp") },
    Service { name: "sccp over tls", from: "phones", tcp: &[2443], udp: &[], inspect: None },
    Service { name: "cluster", from: "callmanagers", tcp: &[8002], udp: &[CLUSTER_PORT], inspect: None },
    Service { name: "sip", from: "phones", tcp: &[5060], udp: &[5060], inspect: Some("sip") },
    Service { name: "time", from: "phones", tcp: &[], udp: &[TIME_PORT], inspect: None },
    Service { name: "h225", from: "gateways", tcp: &[1720], udp: &[], inspect: Some("h225") },
    Service { name: "mgcp", from: "gateways", tcp: &[], udp: &[2427], inspect: Some("mgcp") },
    Service { name: "tftp", from: "phones", tcp: &[], udp: &[69], inspect: Some("tftp") },
    Service { name: "cti", from: "desktops", tcp: &[2748, 2749], udp: &[], inspect: None },
    Service { name: "admin pages", from: "admins", tcp: &[443, 8443], udp: &[], inspect: None },
];

/// Rules of the policy, where nothing else is said.
pub(crate) const RULES: usize = 100;

/// The groups of a cluster: name and members.
fn groups(cluster: u16) -> [(&'static str, Vec<String>); 5] {
    let network = |network, length| format!("{}/{length}", address(cluster, network, 0));
    [
        ("callmanagers", vec![address(cluster, 1, 10).to_string(), address(cluster, 1, 11).to_string()]),
        ("phones", vec![network(16, 20), network(32, 20)]),
        ("gateways", vec![network(2, 28)]),
        ("desktops", vec![network(3, 24)]),
        ("admins", vec!["10.200.9.0/28".to_owned()]),
    ]
}

fn members(cluster: u16, group: &str) -> Vec<String> {
    groups(cluster)
        .into_iter()
        .find(|(name, _)| *name == group)
        .map(|(_, members)| members)
        .unwrap_or_default()
}

/// The first `count / 2` services of as many clusters as it takes, [`THIRD`] in the middle.
fn services(count: usize) -> Vec<(u16, &'static Service)> {
    let clusters = (count / 2).div_ceil(SERVICES.len());
    let mut order: Vec<u16> = (1_u16..).filter(|cluster| *cluster != THIRD).take(clusters - 1).collect();
    order.insert((clusters - 1) / 2, THIRD);
    let all = order.into_iter().flat_map(|cluster| SERVICES.iter().map(move |service| (cluster, service)));
    all.take(count / 2).collect()
}

/// The policy as a Callgate rules file.
pub(crate) fn callgate_rules(count: usize) -> String {
    let services = services(count);
    let quoted =
        |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "version = 1\n\n[zones]\noutside = [\"{FLOODED}\"]\n\n[settings]\n\
         default = {{ outside = \"drop\" }}\nnew_flows = \"10000000/s\"\n\n[groups]\n"
    );
    let clusters: BTreeSet<u16> = services.iter().map(|(cluster, _)| *cluster).collect();
    for cluster in clusters {
        for (group, members) in groups(cluster) {
            if !services.iter().any(|(_, service)| service.from == group || group == "callmanagers") {
                continue;
            }
            // Writing to a String cannot fail; so below.
            let _ = writeln!(text, "{group}-{cluster} = [{}]", quoted(&members));
        }
    }
    for (cluster, service) in services {
        let ports =
            |name, ports: &[u16]| ports.iter().map(|port| format!("{name}/{port}")).collect::<Vec<_>>();
        let services = quoted(&[ports("tcp", service.tcp), ports("udp", service.udp)].concat());
        let action = match service.inspect {
            Some(protocol) => format!("action = \"inspect\"\ninspect = \"{protocol}\""),
            None => "action = \"track\"".to_owned(),
        };
        let name = service.name;
        let to = format!("to = \"callmanagers-{cluster}\"\nservice = [{services}]");
        let _ = write!(
            text,
            "\n[[rule]]\nname = \"{name} {cluster}\"\nfrom = \"{}-{cluster}\"\n{to}\n{action}\n\
             \n[[rule]]\nname = \"{name} {cluster} from anyone else\"\n{to}\naction = \"drop\"\n",
            service.from
        );
    }
    text
}

/// The policy as an nftables input chain, read from top to bottom. What several rules name is a set of its own, said
/// once: a set within each rule would be equal, but nft takes minutes for ten thousand of them.
pub(crate) fn nftables_rules(count: usize) -> String {
    let services = services(count);
    let mut text = String::from("table ip callgate_bench {\n");
    let clusters: BTreeSet<u16> = services.iter().map(|(cluster, _)| *cluster).collect();
    for cluster in clusters {
        for (group, members) in groups(cluster) {
            if members.len() > 1 {
                let flags = if members[0].contains('/') { "constant, interval" } else { "constant" };
                let members = members.join(", ");
                let _ = writeln!(
                    text,
                    "  set {group}-{cluster} {{ type ipv4_addr; flags {flags}; elements = {{ {members} }} }}"
                );
            }
        }
    }
    text.push_str(
        "  chain input {\n    type filter hook input priority 0; policy drop;\n    \
         ct state established,related accept\n",
    );
    let group = |cluster, name| match &*members(cluster, name) {
        [one] => one.clone(),
        _ => format!("@{name}-{cluster}"),
    };
    for (cluster, service) in services {
        let (to, from) = (group(cluster, "callmanagers"), group(cluster, service.from));
        for (protocol, ports) in [("tcp", service.tcp), ("udp", service.udp)] {
            let ports = match ports {
                [] => continue,
                [port] => port.to_string(),
                ports => format!("{{ {} }}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
            };
            let _ = writeln!(text, "    ip saddr {from} ip daddr {to} {protocol} dport {ports} accept");
            let _ = writeln!(text, "    ip daddr {to} {protocol} dport {ports} drop");
        }
    }
    text.push_str("  }\n}\n");
    text
}

/// The policy as an nftables input chain of one look-up, as an expert would write it: a set of (source,
/// destination, protocol, port), and a policy that drops the rest.
pub(crate) fn nftables_set_rules() -> String {
    let mut allowed = Vec::new();
    for (cluster, service) in services(RULES) {
        for (protocol, ports) in [("tcp", service.tcp), ("udp", service.udp)] {
            for port in ports {
                for to in members(cluster, "callmanagers") {
                    for from in members(cluster, service.from) {
                        allowed.push(format!("{from} . {to} . {protocol} . {port}"));
                    }
                }
            }
        }
    }
    format!(
        "table ip callgate_bench {{\n  set allowed {{\n    \
         type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval;\n    \
         elements = {{ {} }}\n  }}\n  chain input {{\n    \
         type filter hook input priority 0; policy drop;\n    ct state established,related accept\n    \
         ip saddr . ip daddr . meta l4proto . th dport @allowed accept\n  }}\n}}\n",
        allowed.join(", ")
    )
}

/// A policy of two rules: a group of so many networks, and everybody else. Both are dropped, so that packets from
/// anywhere have one verdict.
pub(crate) fn prefix_rules(count: u32) -> String {
    // An odd stride goes to every one of the 2²¹ networks of 256 beneath 32.0.0.0/3.
    let networks = (0..count).map(|n| {
        let network = n.wrapping_mul(1_150_833) % (1 << 21);
        format!("\"{}/24\"", Ipv4Addr::from_bits(0x2000_0000 | network << 8))
    });
    format!(
        "version = 1\n\n[zones]\noutside = [\"{FLOODED}\"]\n\n[settings]\ndefault = {{ outside = \"drop\" }}\n\n\
         [groups]\nlisted = [{}]\n\n[[rule]]\nname = \"listed\"\nfrom = \"listed\"\nto = \"{CALL_MANAGER}\"\n\
         service = \"udp/{CLUSTER_PORT}\"\naction = \"drop\"\n",
        networks.collect::<Vec<_>>().join(", ")
    )
}

/// Frames as they arrive at the interface.
pub(crate) mod frames {
    use super::*;

    /// A stranger's datagram for the cluster port. It is also the template of the flood: see
    /// [`crate::programs::flood_to`] for its identification.
    pub(crate) fn stranger() -> Vec<u8> {
        udp(STRANGER, SocketAddrV4::new(CALL_MANAGER, CLUSTER_PORT), &[0; 64])
    }

    /// ARP: no more than its Ethernet type is read.
    pub(crate) fn arp() -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[..12].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1]);
        frame[12..14].copy_from_slice(&[8, 6]);
        frame
    }

    /// A datagram whose UDP length is impossible: read to its end, and judged by nobody.
    pub(crate) fn broken() -> Vec<u8> {
        let mut frame = stranger();
        frame[14 + 20 + 4..14 + 20 + 6].copy_from_slice(&[0, 1]);
        frame
    }

    /// A datagram from its own destination: the first thing that is looked at.
    pub(crate) fn land() -> Vec<u8> {
        udp(SocketAddrV4::new(CALL_MANAGER, 40_000), SocketAddrV4::new(CALL_MANAGER, CLUSTER_PORT), &[0; 64])
    }

    /// A stranger's datagram for a media port nobody has announced.
    pub(crate) fn unannounced() -> Vec<u8> {
        udp(STRANGER, SocketAddrV4::new(CALL_MANAGER, 30_000), &[0; 64])
    }

    /// A stranger's datagram for a port no rule names.
    pub(crate) fn unnamed() -> Vec<u8> {
        udp(STRANGER, SocketAddrV4::new(CALL_MANAGER, 9), &[0; 64])
    }

    /// A phone's question for the time. Other phones have addresses that differ in the last 12 bits.
    pub(crate) fn question() -> Vec<u8> {
        udp(
            SocketAddrV4::new(address(THIRD, 16, 0), 40_000),
            SocketAddrV4::new(CALL_MANAGER, TIME_PORT),
            &[0x23; 48],
        )
    }

    /// What differs between phones.
    pub(crate) const PHONES: [u8; 4] = [0, 0, 0x0f, 0xff];

    /// A datagram for the cluster port from somewhere in 32.0.0.0/3.
    pub(crate) fn from_anywhere() -> Vec<u8> {
        let source = SocketAddrV4::new(Ipv4Addr::new(32, 0, 0, 0), 40_000);
        udp(source, SocketAddrV4::new(CALL_MANAGER, CLUSTER_PORT), &[0; 64])
    }

    /// What differs there.
    pub(crate) const ANYWHERE: [u8; 4] = [0x1f, 0xff, 0xff, 0xff];

    /// G.711 of 20 ms for the open pinhole.
    pub(crate) fn rtp() -> Vec<u8> {
        rtp_to(MEDIA)
    }

    /// The same for a port that no call has announced.
    pub(crate) fn rtp_unannounced() -> Vec<u8> {
        rtp_to(SocketAddrV4::new(*MEDIA.ip(), MEDIA.port() + 8))
    }

    fn rtp_to(to: SocketAddrV4) -> Vec<u8> {
        rtp_between(FAR_END, to)
    }

    /// The same to the first address of a network: [`crate::programs::media_to`] makes it another.
    pub(crate) fn rtp_from_nowhere(network: Ipv4Addr) -> Vec<u8> {
        rtp_to(SocketAddrV4::new(network, MEDIA.port()))
    }

    /// The same from and to anywhere.
    pub(crate) fn rtp_between(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
        let mut payload = [0xff; 12 + 160];
        payload[..12].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 160, 0x12, 0x34, 0x56, 0x78]);
        udp(from, to, &payload)
    }

    /// The handshake of an administrator's connection.
    pub(crate) fn handshake() -> [Vec<u8>; 3] {
        [
            tcp(ADMIN, ADMIN_PAGES, |tcp| tcp.syn(), 1000, None, &[]),
            tcp(ADMIN_PAGES, ADMIN, |tcp| tcp.syn(), 5000, Some(1001), &[]),
            tcp(ADMIN, ADMIN_PAGES, |tcp| tcp, 1001, Some(5001), &[]),
        ]
    }

    /// A segment of that connection.
    pub(crate) fn segment() -> Vec<u8> {
        tcp(ADMIN, ADMIN_PAGES, |tcp| tcp, 1001, Some(5001), &[0x17; 200])
    }

    type Ipv4Step = etherparse::PacketBuilderStep<etherparse::IpHeaders>;
    type TcpStep = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

    fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: etherparse::IpNumber) -> Ipv4Step {
        let mut header = etherparse::Ipv4Header {
            identification: 0xffff,
            time_to_live: 64,
            protocol,
            source: from.octets(),
            destination: to.octets(),
            dont_fragment: true,
            ..Default::default()
        };
        header.header_checksum = header.calc_header_checksum();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], STATION)
            .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
    }

    fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let builder = ipv4(*from.ip(), *to.ip(), etherparse::ip_number::UDP).udp(from.port(), to.port());
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload).expect("a Vec takes what is written to it");
        // No checksum (RFC 768): the flood changes the source address.
        frame[14 + 20 + 6..14 + 20 + 8].fill(0);
        frame
    }

    fn tcp(
        from: SocketAddrV4,
        to: SocketAddrV4,
        flags: impl FnOnce(TcpStep) -> TcpStep,
        sequence: u32,
        acknowledged: Option<u32>,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut builder = ipv4(*from.ip(), *to.ip(), etherparse::ip_number::TCP).tcp(
            from.port(),
            to.port(),
            sequence,
            64_000,
        );
        if let Some(acknowledged) = acknowledged {
            builder = builder.ack(acknowledged);
        }
        let builder = flags(builder);
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload).expect("a Vec takes what is written to it");
        frame
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// What [`crate::programs::flood_to`] counts on.
        #[test]
        fn flood_template_keeps_its_checksum_from_any_source() {
            let template = stranger();
            for low in [0_u16, 1, 0x00ff, 0x1234, 0xffff] {
                let mut frame = template.clone();
                frame[28..30].copy_from_slice(&low.to_be_bytes());
                frame[18..20].copy_from_slice(&(!low).to_be_bytes());
                let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
                assert_eq!(header.header_checksum, header.calc_header_checksum(), "source low half {low:#x}");
            }
        }
    }
}
