//! The compiled tables mean what the rules say: random rule sets and packets against the naive matcher, in both
//! forms, with IPv4 addresses in chunks and in tries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use callgate_rules::compile::{AddressTable, Caps, compile_within};
use callgate_rules::ruleset::{AntiSpoof, RuleAction};
use callgate_rules::{Compiled, Machine, MemorySlots, Model, Report, RuleSet, model, oracle};
use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};
use callgate_shared::judge::{Verdict, service_cell};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::policy::{
    Action, CHUNK, Field, Form, Inspect, SERVICE_CELLS, TAG_DSCP, Tags, Vector, ZONE_NONE, policy_flags,
    source_checks,
};
use callgate_shared::{Addr, Reason};
use ipnet::IpNet;
use jiff::Zoned;
use proptest::prelude::*;

/// Groups that nest, touch and overlap, so that a few random words hit every case of the classifier.
const HEAD: &str = r#"
version = 1
[zones]
a = ["a0"]
b = ["b0", "b1"]
c = ["c0"]
d = ["d0"]
[zone.a]
networks   = ["10.1.0.0/16", "2001:db8:1::/48", "192.0.2.128/25"]
anti_spoof = "strict"
bogons     = "drop"
[zone.b]
anti_spoof = "loose"
[zone.c]
networks = ["10.0.0.0/8"]
bogons   = "drop"
[settings]
default   = { a = "drop", b = "track", c = "pass", d = "drop", none = "drop" }
time_zone = "UTC"
[groups]
wide   = ["10.0.0.0/8", "2001:db8::/32"]
mid    = ["10.1.0.0/16", "10.2.0.0-10.3.255.255", "2001:db8:1::/48"]
narrow = ["10.1.1.0/24", "10.1.1.7", "2001:db8:1::7"]
mixed  = ["narrow", "10.2.0.0/16", "192.0.2.0/25"]
all4   = ["0.0.0.0/0"]
all6   = ["::/0"]
"#;
const OWN: [&str; 3] = ["10.1.1.6", "192.0.2.200", "2001:db8:1:1::1"];
const ADDRESSES: [&str; 19] = [
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
    "10.1.1.6-10.1.2.1",
    "2001:db8:1::7-2001:db8:9000::",
    "!narrow",
    "!mid",
    "!10.1.1.7",
    "!all6",
];
const SERVICES: [&str; 23] = [
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
    "tcp/1-5060 from 1024-65535",
    "udp/1024-65535 from 5060",
    "tcp/80 from 1-1023",
    "udp/1-65535 from 1024-5060",
    "udp/5060 from 5060-5061",
    "tcp/1-65535 from 80",
];
/// Actions with the services they go with; an empty list is any of [`SERVICES`].
const ACTIONS: [(&str, &[&str]); 8] = [
    ("action = \"drop\"", &[]),
    ("action = \"reject\"", &[]),
    ("action = \"pass\"", &[]),
    ("action = \"track\"", &[]),
    ("action = \"track\"\nlimit = { bytes = \"1MB/s\", burst = \"64KB\", per = \"destination\" }", &[]),
    (
        "action = \"inspect\"\ninspect = \"sip\"",
        &["sip", "tcp/1-1024", "udp/5060-5061 from 5060", "udp", "tcp"],
    ),
    (
        "action = \"inspect\"\ninspect = \"h323\"",
        &["h323", "tcp/1720", "udp", "tcp/1024-5060 from 1024-65535"],
    ),
    ("action = \"inspect\"\ninspect = \"mgcp\"", &["mgcp", "udp", "udp/65535"]),
];
const TAGS: [&str; 7] = [
    "vlan = 100\n",
    "vlan = [0, \"100-205\"]\n",
    "vlan = \"206-4094\"\n",
    "dscp = \"ef\"\n",
    "dscp = [\"cs3\", \"af41\", 46]\n",
    "dscp = 0\nvlan = 0\n",
    "",
];
const WHEN: [&str; 4] =
    ["when = \"mon-fri 08:00-18:00\"\n", "when = [\"sat,sun\", \"22:00-06:00\"]\n", "", ""];
const HOSTS: [&str; 15] = [
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
    "fe80::1",
];

fn words(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(from), 1..=3).prop_map(|words| {
        format!("[{}]", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
    })
}

fn line(key: &'static str, often: f64, from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::option::weighted(often, words(from))
        .prop_map(move |list| list.map_or(String::new(), |list| format!("{key} = {list}\n")))
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop::sample::select(&ACTIONS[..]).prop_flat_map(|(action, services)| {
        let service = match services {
            [] => line("service", 0.8, &SERVICES).boxed(),
            services => words(services).prop_map(|list| format!("service = {list}\n")).boxed(),
        };
        (Just(action), service)
    });
    let zones = line("in", 0.4, &["a", "b", "c", "d", "self", "none"]);
    let tags =
        prop::option::weighted(0.2, prop::sample::select(&TAGS[..])).prop_map(Option::unwrap_or_default);
    let when = prop::sample::select(&WHEN[..]);
    (zones, line("from", 0.5, &ADDRESSES), line("to", 0.5, &ADDRESSES), action, tags, when).prop_map(
        |(zones, from, to, (action, service), tags, when)| {
            format!("{zones}{from}{to}{tags}{when}{service}{action}\n")
        },
    )
}

fn rules() -> impl Strategy<Value = String> {
    prop::collection::vec(rule(), 0..12).prop_map(|rules| {
        let numbered =
            rules.iter().enumerate().map(|(n, rule)| format!("[[rule]]\nname = \"rule {n}\"\n{rule}"));
        HEAD.to_owned() + &numbered.collect::<String>()
    })
}

/// Addresses that can be a sender's.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => prop::sample::select(&HOSTS[..]).prop_map(ip),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits((bits % (1 << 30)) | (1 << 31)))),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits((bits >> 7) | (1 << 127)))),
    ]
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        prop::sample::select(vec![
            1, 80, 1023, 1024, 1025, 1718, 1719, 1720, 2427, 2727, 5060, 5061, 5062, 20_000, 65535
        ]),
        1..=u16::MAX
    ]
}

/// Where the source ports that rules name begin and end, mostly.
fn source_port() -> impl Strategy<Value = u16> {
    prop_oneof![
        8 => prop::sample::select(vec![79, 80, 81, 1023, 1024, 5059, 5060, 5061, 5062]),
        1 => 1..=u16::MAX,
    ]
}

fn packet() -> impl Strategy<Value = (u8, Packet)> {
    let protocol = prop::sample::select(vec![TCP, TCP, UDP, UDP, ICMP, ICMPV6, 47, 0, 255]);
    let icmp_type = prop::sample::select(vec![0, 3, 8, 127, 128, 255]);
    let tags =
        (prop::sample::select(vec![0, 100, 205, 206, 4_095]), prop::sample::select(vec![0, 3, 184, 96, 255]));
    (0_u8..6, address(), address(), protocol, source_port(), port(), icmp_type, tags).prop_map(
        |(
            zone,
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            icmp_type,
            (vlan, traffic_class),
        )| {
            let packet = Packet {
                kind: Kind::Ip,
                source: source.into(),
                destination: destination.into(),
                protocol,
                source_port,
                destination_port,
                icmp_type,
                vlan,
                traffic_class,
                tcp_flags: if protocol == TCP { tcp::SYN } else { 0 },
                length: 100,
                ..Packet::default()
            };
            (zone, packet)
        },
    )
}

fn now() -> impl Strategy<Value = Zoned> {
    let texts = [
        "2026-03-02T07:59:59[UTC]",
        "2026-03-02T08:00[UTC]",
        "2026-03-07T23:30[UTC]",
        "2026-03-06T03:00[UTC]",
    ];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().expect("a time"))
}

/// What the tables may hold: as in the kernel, and so little that the other forms are taken.
const CAPS: [Caps; 4] = [
    Caps::KERNEL,
    Caps { cells: 0, ..Caps::KERNEL },
    Caps { chunks: 1, ..Caps::KERNEL },
    Caps { cells: 0, chunks: 3 },
];

fn compiled(set: &RuleSet, now: &Zoned, caps: &Caps) -> Compiled {
    let interfaces = [(3, "a0"), (9, "b1")];
    let machine = Machine { interfaces: &interfaces, addresses: &OWN.map(ip), now: now.clone() };
    compile_within(set, &machine, 7, &mut MemorySlots::default(), caps).expect("it fits")
}

fn parsed(text: &str) -> RuleSet {
    RuleSet::parse("random.toml", text).unwrap_or_else(|errors| panic!("{}", Report(&errors)))
}

/// The class of the longest prefix that covers the address, which is the one the chunks give.
fn class(prefixes: &[(IpNet, u16)], chunks: &AddressTable, address: Addr) -> u16 {
    let address = IpAddr::from(address);
    let covering = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
    let class = covering.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class);
    if let IpAddr::V4(v4) = address {
        assert_eq!(chunks.class(v4.to_bits()).unwrap_or(class), class, "{address}");
    }
    class
}

/// The rule number of a packet by the contract of `policy.rs`.
fn look_up(compiled: &Compiled, zone: u8, packet: &Packet) -> u16 {
    let policy = &compiled.policy;
    let source = class(&compiled.sources, &compiled.sources4, packet.source);
    let destination = class(&compiled.destinations, &compiled.destinations4, packet.destination);
    let service = compiled.services[service_cell(packet) as usize];
    let port = match packet.protocol {
        TCP => usize::from(packet.source_port),
        UDP => 65_536 + usize::from(packet.source_port),
        _ => 0,
    };
    let of = |table: &[u16], cell: usize| table.get(cell).copied().unwrap_or(0);
    let tags = Tags {
        vlan: of(&compiled.tags, packet.vlan.into()),
        dscp: of(&compiled.tags, TAG_DSCP as usize + usize::from(packet.traffic_class >> 2)),
        source_port: of(&compiled.source_ports, port),
    };
    if policy.flags & policy_flags::TAGS == 0 {
        assert_eq!(tags, Tags::default());
    }
    if policy.form == Form::Product as u8 {
        return compiled.actions[policy.cell(zone, tags, source, destination, service) as usize];
    }
    let classes = [
        (Field::Zone, zone.into()),
        (Field::Vlan, tags.vlan),
        (Field::Dscp, tags.dscp),
        (Field::SourcePort, tags.source_port),
        (Field::Source, source),
        (Field::Destination, destination),
        (Field::Service, service),
    ];
    let vectors = classes.map(|(field, class)| &compiled.vectors[policy.vector(field, class) as usize]);
    let has = |vector: &Vector, number: u16| {
        let (word, bit) = (usize::from(number / 64), number % 64);
        assert_eq!(vector.summary[word / 64] >> (word % 64) & 1 != 0, vector.words[word] != 0, "the summary");
        vector.words[word] >> bit & 1 != 0
    };
    let mut numbers =
        (0..compiled.rules.len() as u16 + 70).filter(|n| vectors.iter().all(|vector| has(vector, *n)));
    numbers.next().unwrap_or(0)
}

/// The verdict on a packet that is the first of its conversation, by the rules alone.
fn first_verdict(set: &RuleSet, slots: &[u32], now: &Zoned, zone: u8, packet: &Packet) -> Verdict {
    if packet.source == packet.destination && zone != 1 {
        return Verdict::of(Reason::Land);
    }
    let named = zone.checked_sub(2).and_then(|place| set.zones().get(usize::from(place)));
    let source = packet.source.into();
    if named.is_some_and(|zone| !oracle::source_permitted(&zone.policy, &OWN.map(ip), source)) {
        return Verdict::of(Reason::Spoofed);
    }
    let found = oracle::first_match(set, now, zone, packet);
    let (action, slot) = match found {
        Some(found) => (set.rules()[found.rule].action, slots[found.rule]),
        None if packet.protocol == UDP && set.settings().media_ports.contains(&packet.destination_port) => {
            return Verdict::of(Reason::NoPinhole);
        }
        None => match set.settings().defaults[usize::from(zone)] {
            Action::Pass => (RuleAction::Pass, 0),
            Action::Track => (RuleAction::Track, 0),
            _ => return Verdict::of(Reason::Default),
        },
    };
    let verdict = |reason| Verdict { slot, ..Verdict::of(reason) };
    let passes = verdict(if found.is_some() { Reason::PassRule } else { Reason::PassDefault });
    match action {
        RuleAction::Drop { spoofed: true } => verdict(Reason::Spoofed),
        RuleAction::Drop { spoofed: false } => verdict(Reason::Rule),
        RuleAction::Reject => verdict(Reason::Reject),
        RuleAction::Pass => passes,
        RuleAction::Track | RuleAction::Inspect(_) => {
            let inspect = found.map_or(Inspect::None, |found| found.inspect);
            if inspect != Inspect::None {
                return Verdict { inspect: inspect as u8, ..passes };
            }
            // A conversation is read whoever began it.
            let answer = Packet {
                source: packet.destination,
                destination: packet.source,
                source_port: packet.destination_port,
                destination_port: packet.source_port,
                ..*packet
            };
            match oracle::first_match(set, now, ZONE_NONE, &answer) {
                Some(reverse) if reverse.inspect != Inspect::None => {
                    Verdict { inspect: reverse.inspect as u8, slot: slots[reverse.rule], ..passes }
                }
                _ => passes,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn tables_and_rules_agree(
        text in rules(),
        now in now(),
        caps in prop::sample::select(&CAPS[..]),
        packets in prop::collection::vec(packet(), 64),
    ) {
        let set = parsed(&text);
        let compiled = compiled(&set, &now, &caps);

        prop_assert_eq!(compiled.services.len(), SERVICE_CELLS as usize);
        prop_assert_eq!(compiled.actions.len() % CHUNK, 0);
        prop_assert_eq!(&compiled.policy.interfaces[..10], &[0, 0, 0, 2, 0, 0, 0, 0, 0, 3]);
        prop_assert_eq!(compiled.vectors.is_empty(), caps.cells > 0);
        prop_assert_eq!(compiled.source_zones.len(), compiled.policy.classes.sources as usize);
        for (zone, packet) in packets {
            let entry = compiled.rules[usize::from(look_up(&compiled, zone, &packet))];
            match oracle::first_match(&set, &now, zone, &packet) {
                None => prop_assert_eq!(entry, compiled.rules[0], "no rule matches {:?}", packet),
                Some(found) => {
                    let rule = &set.rules()[found.rule];
                    prop_assert_eq!(entry.slot, compiled.slots[found.rule], "{}: {:?}", &rule.name, packet);
                    prop_assert_eq!(entry.action, rule.action.kernel() as u8);
                    prop_assert_eq!(entry.inspect, found.inspect as u8);
                    prop_assert!(!compiled.unreached.contains(&found.rule), "{} is reached", &rule.name);
                }
            }
            for (number, zone) in (2..).zip(set.zones()) {
                let checked = compiled.policy.zones[number].sources & source_checks::LISTED != 0;
                prop_assert_eq!(checked, zone.policy.drop_bogons || zone.policy.anti_spoof != AntiSpoof::Off);
                let class = class(&compiled.sources, &compiled.sources4, packet.source);
                let permitted = compiled.source_zones[usize::from(class)] >> number & 1 != 0;
                let expected = oracle::source_permitted(&zone.policy, &OWN.map(ip), packet.source.into());
                prop_assert_eq!(permitted, expected, "{} in {}", packet.source, &zone.name);
            }
        }
    }

    #[test]
    fn the_model_judges_first_packets_as_the_rules_say(
        text in rules(),
        now in now(),
        caps in prop::sample::select(&CAPS[..]),
        packets in prop::collection::vec(packet(), 12),
    ) {
        let set = parsed(&text);
        let compiled = compiled(&set, &now, &caps);
        for (zone, packet) in packets {
            let verdict = Model::new(compiled.clone(), model::Bounds::default()).judge(&packet, zone, 1);
            let expected = first_verdict(&set, &compiled.slots, &now, zone, &packet);
            prop_assert_eq!(verdict, expected, "zone {}: {:?}", zone, packet);
        }
    }
}
