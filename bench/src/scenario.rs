//! What is measured against: one policy of 100 rules, said in Callgate's language and in nftables', and the
//! frames that meet it.
//!
//! Five clusters of call managers stand behind the outside interface. Each has ten services, and for each
//! service a rule for those who may and a rule that drops everyone else, in the manner of
//! `rules/cucm-mitigation.toml`. The packets are for the third cluster: a list read from its top meets their
//! rule half way down.

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
pub(crate) const CALL_MANAGER: Ipv4Addr = Ipv4Addr::new(10, 3, 1, 10);
/// Where it listens for its neighbours in the cluster.
pub(crate) const CLUSTER_PORT: u16 = 8500;
/// Where an open pinhole lets RTP in.
pub(crate) const MEDIA: SocketAddrV4 = SocketAddrV4::new(CALL_MANAGER, 20_000);
/// Who may send it.
pub(crate) const FAR_END: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 30_000);

const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 5), 51_000);
const ADMIN_PAGES: SocketAddrV4 = SocketAddrV4::new(CALL_MANAGER, 8443);
const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 0), 40_000);

const CLUSTERS: u8 = 5;

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
    Service { name: "sip", from: "phones", tcp: &[5060], udp: &[5060], inspect: Some("sip") },
    Service { name: "h225", from: "gateways", tcp: &[1720], udp: &[], inspect: Some("h225") },
    Service { name: "mgcp", from: "gateways", tcp: &[], udp: &[2427], inspect: Some("mgcp") },
    Service { name: "tftp", from: "phones", tcp: &[], udp: &[69], inspect: Some("tftp") },
    Service { name: "ctl provider", from: "admins", tcp: &[2444], udp: &[], inspect: None },
    Service { name: "cti", from: "desktops", tcp: &[2748, 2749], udp: &[], inspect: None },
    Service { name: "cluster", from: "callmanagers", tcp: &[8002], udp: &[CLUSTER_PORT], inspect: None },
    Service { name: "admin pages", from: "admins", tcp: &[443, 8443], udp: &[], inspect: None },
];

/// Rules of the policy.
pub(crate) const RULES: usize = CLUSTERS as usize * SERVICES.len() * 2;
const _: () = assert!(RULES == 100);

/// The groups of a cluster: name and members.
fn groups(cluster: u8) -> [(&'static str, Vec<String>); 5] {
    [
        ("callmanagers", vec![format!("10.{cluster}.1.10"), format!("10.{cluster}.1.11")]),
        ("phones", vec![format!("10.{cluster}.16.0/20"), format!("10.{cluster}.32.0/20")]),
        ("gateways", vec![format!("10.{cluster}.2.0/28")]),
        ("desktops", vec![format!("10.{cluster}.3.0/24")]),
        ("admins", vec!["10.9.9.0/28".to_owned()]),
    ]
}

fn members(cluster: u8, group: &str) -> Vec<String> {
    groups(cluster)
        .into_iter()
        .find(|(name, _)| *name == group)
        .map(|(_, members)| members)
        .unwrap_or_default()
}

/// The policy as a Callgate rules file.
pub(crate) fn callgate_rules() -> String {
    let quoted =
        |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "version = 1\n\n[zones]\noutside = [\"{FLOODED}\"]\n\n[settings]\n\
         default = {{ outside = \"drop\" }}\n\n[groups]\n"
    );
    for cluster in 1..=CLUSTERS {
        for (group, members) in groups(cluster) {
            // Writing to a String cannot fail; so below.
            let _ = writeln!(text, "{group}-{cluster} = [{}]", quoted(&members));
        }
    }
    for (cluster, service) in rules() {
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

/// The policy as an nftables input chain, read from top to bottom.
pub(crate) fn nftables_rules() -> String {
    let mut text = String::from(
        "table ip callgate_bench {\n  chain input {\n    type filter hook input priority 0; policy drop;\n    \
         ct state established,related accept\n",
    );
    for (cluster, service) in rules() {
        let to = format!("ip daddr {{ {} }}", members(cluster, "callmanagers").join(", "));
        let from = format!("ip saddr {{ {} }}", members(cluster, service.from).join(", "));
        for (protocol, ports) in [("tcp", service.tcp), ("udp", service.udp)] {
            if ports.is_empty() {
                continue;
            }
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "    {from} {to} {protocol} dport {{ {ports} }} accept");
            let _ = writeln!(text, "    {to} {protocol} dport {{ {ports} }} drop");
        }
    }
    text.push_str("  }\n}\n");
    text
}

/// The policy as an nftables input chain of one look-up, as an expert would write it: a set of (source,
/// destination, protocol, port), and a policy that drops the rest.
pub(crate) fn nftables_set_rules() -> String {
    let mut allowed = Vec::new();
    for (cluster, service) in rules() {
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

fn rules() -> impl Iterator<Item = (u8, &'static Service)> {
    (1..=CLUSTERS).flat_map(|cluster| SERVICES.iter().map(move |service| (cluster, service)))
}

/// Frames as they arrive at the interface.
pub(crate) mod frames {
    use super::*;

    /// A stranger's datagram for the cluster port. It is also the template of the flood: see
    /// [`crate::programs::flood_to`] for its identification.
    pub(crate) fn stranger() -> Vec<u8> {
        udp(STRANGER, SocketAddrV4::new(CALL_MANAGER, CLUSTER_PORT), &[0; 64])
    }

    /// G.711 of 20 ms for the open pinhole.
    pub(crate) fn rtp() -> Vec<u8> {
        let mut payload = [0xff; 12 + 160];
        payload[..12].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 160, 0x12, 0x34, 0x56, 0x78]);
        udp(FAR_END, MEDIA, &payload)
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
