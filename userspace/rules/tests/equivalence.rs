//! The compiled tables mean what the rules say: random rule sets and packets against the naive matcher.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use callgate_rules::{Compiled, MemorySlots, Report, RuleSet, compile, oracle};
use callgate_shared::Addr;
use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};
use callgate_shared::judge::service_cell;
use callgate_shared::packet::{Kind, Packet};
use callgate_shared::policy::{CHUNK, SERVICE_CELLS};
use ipnet::IpNet;
use proptest::prelude::*;

/// Groups that nest, touch and overlap, so that a few random words hit every case of the classifier.
const HEAD: &str = r#"
version = 1
[zones]
a = ["a0"]
b = ["b0", "b1"]
c = ["c0"]
[groups]
wide   = ["10.0.0.0/8", "2001:db8::/32"]
mid    = ["10.1.0.0/16", "10.2.0.0/15", "2001:db8:1::/48"]
narrow = ["10.1.1.0/24", "10.1.1.7", "2001:db8:1::7"]
mixed  = ["narrow", "10.2.0.0/16", "192.0.2.0/25"]
all4   = ["0.0.0.0/0"]
all6   = ["::/0"]
"#;
const ADDRESSES: [&str; 13] = [
    "any",
    "wide",
    "mid",
    "narrow",
    "mixed",
    "all4",
    "all6",
    "10.1.1.7",
    "10.1.1.6/31",
    "192.0.2.128/25",
    "2001:db8:1::/64",
    "2001:db8::/33",
    "128.0.0.0/1",
];
const SERVICES: [&str; 17] = [
    "any",
    "tcp",
    "udp",
    "sip",
    "h323",
    "mgcp",
    "tcp/1-1024",
    "tcp/1024-5060",
    "udp/5060-5061",
    "udp/65535",
    "icmp/8",
    "icmp",
    "icmpv6/128",
    "proto/47",
    "proto/6",
    "tcp/1720",
    "proto/0",
];
/// Actions with the services they go with; an empty list is any of [`SERVICES`].
const ACTIONS: [(&str, &[&str]); 6] = [
    ("action = \"drop\"", &[]),
    ("action = \"pass\"", &[]),
    ("action = \"track\"", &[]),
    ("action = \"inspect\"\ninspect = \"sip\"", &["sip", "tcp/1-1024", "udp/5060-5061", "udp", "tcp"]),
    ("action = \"inspect\"\ninspect = \"h323\"", &["h323", "tcp/1720", "udp", "tcp/1024-5060"]),
    ("action = \"inspect\"\ninspect = \"mgcp\"", &["mgcp", "udp", "udp/65535"]),
];
const HOSTS: [&str; 14] = [
    "10.1.1.7",
    "10.1.1.6",
    "10.1.1.8",
    "10.1.2.1",
    "10.2.0.1",
    "10.3.0.1",
    "10.4.0.1",
    "11.0.0.1",
    "192.0.2.1",
    "192.0.2.200",
    "2001:db8:1::7",
    "2001:db8:1:1::1",
    "2001:db8:9000::1",
    "2001:db9::1",
];

fn words(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(from), 1..=3).prop_map(|words| {
        format!("[{}]", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
    })
}

fn line(key: &'static str, from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::option::weighted(0.7, words(from))
        .prop_map(move |list| list.map_or(String::new(), |list| format!("{key} = {list}\n")))
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop::sample::select(&ACTIONS[..]).prop_flat_map(|(action, services)| {
        let service = match services {
            [] => line("service", &SERVICES).boxed(),
            services => words(services).prop_map(|list| format!("service = {list}\n")).boxed(),
        };
        (Just(action), service)
    });
    let zones = line("in", &["a", "b", "c", "self", "none"]);
    (zones, line("from", &ADDRESSES), line("to", &ADDRESSES), action)
        .prop_map(|(zones, from, to, (action, service))| format!("{zones}{from}{to}{service}{action}\n"))
}

fn rules() -> impl Strategy<Value = String> {
    prop::collection::vec(rule(), 0..12).prop_map(|rules| {
        let numbered =
            rules.iter().enumerate().map(|(n, rule)| format!("[[rule]]\nname = \"rule {n}\"\n{rule}"));
        HEAD.to_owned() + &numbered.collect::<String>()
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => prop::sample::select(&HOSTS[..]).prop_map(|host| host.parse().expect("an address")),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127))),
    ]
}

fn packet() -> impl Strategy<Value = (u8, Packet)> {
    let protocol = prop::sample::select(vec![TCP, UDP, ICMP, ICMPV6, 47, 0, 255]);
    let port = prop_oneof![
        prop::sample::select(vec![1, 80, 1024, 1025, 1718, 1719, 1720, 2427, 2727, 5060, 5061, 5062, 65535]),
        any::<u16>()
    ];
    let icmp_type = prop::sample::select(vec![0, 3, 8, 127, 128, 255]);
    (0_u8..5, address(), address(), protocol, port, icmp_type).prop_map(
        |(zone, source, destination, protocol, destination_port, icmp_type)| {
            let packet = Packet {
                kind: Kind::Ip,
                source: source.into(),
                destination: destination.into(),
                protocol,
                destination_port,
                icmp_type,
                ..Packet::default()
            };
            (zone, packet)
        },
    )
}

/// The longest prefix that covers the address.
fn class(prefixes: &[(IpNet, u16)], address: Addr) -> u16 {
    let address = IpAddr::from(address);
    let covering = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
    covering.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class)
}

/// The rule number of a packet, as the kernel half finds it.
fn look_up(compiled: &Compiled, zone: u8, packet: &Packet) -> u16 {
    let source = class(&compiled.sources, packet.source);
    let destination = class(&compiled.destinations, packet.destination);
    let service = compiled.services[service_cell(packet) as usize];
    compiled.actions[compiled.policy.cell(zone, source, destination, service) as usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn tables_and_rules_agree(text in rules(), packets in prop::collection::vec(packet(), 64)) {
        let set = RuleSet::parse("random.toml", &text).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
        let compiled = compile(&set, &[(3, "a0"), (9, "b1")], 7, &mut MemorySlots::default()).expect("it fits");

        prop_assert_eq!(compiled.services.len(), SERVICE_CELLS as usize);
        prop_assert_eq!(compiled.actions.len() % CHUNK, 0);
        prop_assert_eq!(&compiled.policy.zones[..10], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 3]);
        for (zone, packet) in packets {
            let entry = compiled.rules[usize::from(look_up(&compiled, zone, &packet))];
            match oracle::first_match(&set, zone, &packet) {
                None => prop_assert_eq!(entry, compiled.rules[0], "no rule matches {:?}", packet),
                Some(found) => {
                    let rule = &set.rules()[found.rule];
                    prop_assert_eq!(entry.slot, compiled.slots[found.rule], "{}: {:?}", &rule.name, packet);
                    prop_assert_eq!(entry.action, rule.action.kernel() as u8);
                    prop_assert_eq!(entry.inspect, found.inspect as u8);
                    prop_assert!(!compiled.unreached.contains(&found.rule), "{} is reached", &rule.name);
                }
            }
        }
    }
}

#[test]
fn the_generator_reaches_every_kind_of_entry() {
    let rules = "[[rule]]\nname = \"h\"\nservice = \"h323\"\naction = \"inspect\"\ninspect = \"h323\"\n";
    let set = RuleSet::parse("h323.toml", &format!("{HEAD}{rules}")).expect("it parses");
    let compiled = compile(&set, &[], 1, &mut MemorySlots::default()).expect("it fits");
    let inspects: Vec<u8> = compiled.rules.iter().map(|entry| entry.inspect).collect();
    assert_eq!(inspects, [0, 2, 4], "nothing, H.225, RAS");
    assert_eq!(compiled.rules[1].slot, compiled.rules[2].slot, "one rule, one counter");
}

/// A site's worth of rules: many sources, some destinations, few services.
#[test]
fn a_thousand_rules_fit_and_agree() {
    let rule = |n: usize| {
        let service = ["tcp/2000", "sip", "udp/2427", "icmp/8"][n % 4];
        format!(
            "[[rule]]\nname = \"{n}\"\nfrom = \"10.{}.{}.0/24\"\nto = \"10.200.0.{}\"\n\
             service = \"{service}\"\naction = \"track\"\n",
            n / 256,
            n % 256,
            n % 50,
        )
    };
    let text: String = std::iter::once(HEAD.to_owned()).chain((0..1_000).map(rule)).collect();
    let set = RuleSet::parse("f.toml", &text).expect("it parses");
    let compiled = compile(&set, &[], 1, &mut MemorySlots::default()).expect("it fits");
    assert_eq!(compiled.rules.len(), 1_001);
    assert!(compiled.unreached.is_empty());
    for n in 0..1_000_usize {
        let source = Ipv4Addr::new(10, (n / 256) as u8, (n % 256) as u8, 9);
        let packet = |host: usize| Packet {
            kind: Kind::Ip,
            source: IpAddr::V4(source).into(),
            destination: IpAddr::V4(Ipv4Addr::new(10, 200, 0, host as u8)).into(),
            protocol: [TCP, UDP, UDP, ICMP][n % 4],
            destination_port: [2000, 5060, 2427, 0][n % 4],
            icmp_type: 8,
            ..Packet::default()
        };
        assert_eq!(usize::from(look_up(&compiled, 2, &packet(n % 50))), n + 1);
        assert_eq!(look_up(&compiled, 2, &packet((n + 1) % 50)), 0);
    }
}
