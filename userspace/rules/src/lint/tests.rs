//! The search for covering rules, held against the naive matcher on every kind of packet there is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use callgate_shared::flow::{ICMP, TCP, UDP};
use callgate_shared::packet::{Kind, Packet};
use jiff::civil::{DateTime, date};
use proptest::prelude::*;

use super::cover::{Budget, Rows};
use super::management::{self, MANAGEMENT, Management};
use super::reach::{Reach, reach_of};
use crate::oracle;
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{Rule, RuleAction, RuleSet, ZoneSet};
use crate::schedule::Schedule;
use crate::service::{Ports, Service};

// One value of each kind the lists below tell apart.
const HOSTS: [&str; 9] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.9",
    "10.0.1.1",
    "192.0.2.1",
    "203.0.113.1",
    "2001:db8::1",
    "2001:db8:1::1",
    "2001:db9::1",
];
/// Protocol, destination port, ICMP type.
const KINDS: [(u8, u16, u8); 6] =
    [(TCP, 80, 0), (TCP, 443, 0), (UDP, 80, 0), (ICMP, 0, 8), (47, 0, 0), (50, 0, 0)];
const SOURCE_PORTS: [u16; 2] = [999, 2_000];
const ZONES: RangeInclusive<u8> = 0..=3;
const VLANS: [u16; 2] = [0, 100];
const DSCPS: [u8; 2] = [0, 46];

/// 2024-01-01 was a Monday.
fn times() -> [DateTime; 5] {
    [(1, 3), (1, 9), (1, 23), (6, 9), (6, 23)].map(|(day, hour)| date(2024, 1, day).at(hour, 0, 0, 0))
}

fn packets() -> Vec<(u8, Packet)> {
    let addresses = HOSTS.map(|host| host.parse::<IpAddr>().expect("an address"));
    let mut packets = Vec::new();
    for source in addresses {
        for destination in addresses.into_iter().filter(|other| other.is_ipv4() == source.is_ipv4()) {
            for (protocol, destination_port, icmp_type) in KINDS {
                for source_port in SOURCE_PORTS {
                    for vlan in VLANS {
                        for dscp in DSCPS {
                            let packet = Packet {
                                kind: Kind::Ip,
                                protocol,
                                source: source.into(),
                                destination: destination.into(),
                                source_port,
                                destination_port,
                                icmp_type,
                                vlan,
                                traffic_class: dscp << 2,
                                ..Packet::default()
                            };
                            packets.extend(ZONES.map(|zone| (zone, packet)));
                        }
                    }
                }
            }
        }
    }
    packets
}

/// A rule as numbers, so that it can be generated and shrunk.
#[derive(Clone, Debug)]
struct Draft {
    zones: u8,
    from: usize,
    to: usize,
    services: Vec<usize>,
    vlans: usize,
    dscps: usize,
    when: usize,
    permits: bool,
}

fn addresses(number: usize) -> Addresses {
    let set = |prefixes: &[&str]| {
        prefixes.iter().map(|text| text.parse().expect("a prefix")).collect::<PrefixSet>()
    };
    match number {
        0..3 => Addresses::Any,
        3 => Addresses::In(set(&["10.0.0.0/24"])),
        4 => Addresses::In(set(&["10.0.0.1/32", "2001:db8::/32"])),
        5 => Addresses::In(set(&["10.0.0.2/31", "192.0.2.0/24"])),
        6 => Addresses::Except(set(&["10.0.0.0/24"])),
        7 => Addresses::Except(set(&["2001:db8::/48", "10.0.1.0/24", "192.0.2.0/24"])),
        8 => Addresses::In(set(&["2001:db8::/48"])),
        _ => Addresses::In(PrefixSet::default()),
    }
}

fn service(number: usize) -> Service {
    match number {
        0 | 1 => Service::Any,
        2 => Service::Tcp(Ports::to(0..=65_535)),
        3 => Service::Tcp(Ports::to(80..=80)),
        4 => Service::Tcp(Ports { to: 1..=65_535, from: 1_000..=65_535 }),
        5 => Service::Tcp(Ports { to: 1..=65_535, from: 0..=999 }),
        6 => Service::Udp(Ports::to(1..=1_000)),
        7 => Service::Icmp(8..=8),
        _ => Service::Protocol(47),
    }
}

fn schedule(number: usize) -> Option<Schedule> {
    let windows: &[&str] = match number {
        0..4 => return None,
        4 => &["mon-fri"],
        5 => &["06:00-22:00"],
        _ => &["sat,sun 00:00-24:00", "mon-fri 22:00-06:00"],
    };
    Some(Schedule::of(windows.iter().map(|text| Schedule::read(text).expect("a schedule"))))
}

impl Draft {
    fn names_something(&self) -> bool {
        self.zones & 0x10 != 0
            || self.from > 2
            || self.to > 2
            || self.services.iter().all(|service| *service > 1)
            || self.vlans > 1
            || self.dscps > 1
            || self.when > 3
    }

    fn rule(&self, template: &Rule, number: usize) -> Rule {
        let zones = ZONES.filter(|zone| self.zones >> zone & 1 == 1).fold(ZoneSet::EMPTY, ZoneSet::with);
        Rule {
            name: format!("rule {number}"),
            zones: if self.zones & 0x10 == 0 { ZoneSet::ALL } else { zones },
            from: addresses(self.from),
            to: addresses(self.to),
            services: self.services.iter().map(|number| service(*number)).collect(),
            vlans: [None, None, Some(vec![0..=99]), Some(vec![100..=4_095])][self.vlans].clone(),
            dscps: [None, None, Some(1 << 46), Some(!(1 << 46))][self.dscps],
            when: schedule(self.when),
            action: if self.permits { RuleAction::Track } else { RuleAction::Drop { spoofed: false } },
            ..template.clone()
        }
    }
}

/// Most rules name few things, so that some cover others, alone or together.
fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let mostly = |usual: usize, most: usize| prop_oneof![3 => Just(usual), 1 => 0..=most];
    let draft = (
        prop_oneof![3 => Just(0), 1 => 0u8..32],
        mostly(0, 9),
        mostly(0, 9),
        prop::collection::vec(mostly(0, 8), 1..3),
        mostly(0, 3),
        mostly(0, 3),
        mostly(0, 6),
        any::<bool>(),
    );
    let draft = draft.prop_map(|(zones, from, to, services, vlans, dscps, when, permits)| Draft {
        zones,
        from,
        to,
        services,
        vlans,
        dscps,
        when,
        permits,
    });
    // A rule that names nothing makes all behind it unreachable: not too many of these.
    prop::collection::vec(draft.prop_filter("it names something", Draft::names_something), 2..12)
}

fn rule_set(drafts: &[Draft]) -> RuleSet {
    const TEXT: &str =
        "version = 1\n[zones]\na = \"eth0\"\nb = \"eth1\"\n[[rule]]\nname = \"x\"\naction = \"drop\"\n";
    let mut set = RuleSet::parse("f.toml", TEXT).expect("a rules file");
    let template = set.rules[0].clone();
    set.rules = drafts.iter().enumerate().map(|(number, draft)| draft.rule(&template, number)).collect();
    set
}

/// Every kind of packet at every kind of time, with a bit per rule that matches it then.
fn matching(set: &RuleSet) -> Vec<(u8, Packet, u32)> {
    let bits = |holds: &dyn Fn(&Rule) -> bool| {
        set.rules()
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (place, rule)| bits | u32::from(holds(rule)) << place)
    };
    let active = times().map(|time| bits(&|rule| rule.when.as_ref().is_none_or(|when| when.contains(time))));
    let matched = packets().into_iter().flat_map(|(zone, packet)| {
        let all = bits(&|rule| oracle::matches(rule, zone, &packet));
        active.map(|active| (zone, packet, all & active))
    });
    matched.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_rule_is_unreachable_where_no_packet_reaches_it(drafts in drafts()) {
        let set = rule_set(&drafts);
        let rows = Rows::of(&set, &[]).expect("few classes");
        let matching = matching(&set);
        for (place, rule) in set.rules().iter().enumerate() {
            let reach = reach_of(&rows, place, &Budget::new(u64::MAX)).expect("steps enough");
            let candidates = match &reach {
                Reach::Covered(by) => by.iter().fold(1 << place, |bits, other| bits | 1 << other),
                _ => u32::MAX,
            };
            let own = matching.iter().filter(|(.., bits)| *bits >> place & 1 == 1);
            let first: BTreeSet<usize> =
                own.map(|(.., bits)| (bits & candidates).trailing_zeros() as usize).collect();
            match reach {
                Reach::Reached => prop_assert!(first.contains(&place), "{rule:?}"),
                Reach::Impossible => prop_assert!(first.is_empty(), "{rule:?}"),
                Reach::Covered(by) => {
                    prop_assert!(!first.is_empty() && !first.contains(&place), "{rule:?} {by:?}");
                    prop_assert!(by.iter().all(|other| *other < place));
                }
            }
        }
    }

    #[test]
    fn a_rule_opens_management_where_it_lets_a_stranger_by(drafts in drafts()) {
        let set = rule_set(&drafts);
        // No list above with either of these in it is small, and no small one holds them.
        let strangers = ["203.0.113.1", "2001:db9::1"].map(|host| host.parse::<IpAddr>().expect("an address").into());
        let managed = |packet: &Packet| {
            strangers.contains(&packet.source) && matches!((packet.protocol, packet.destination_port), (TCP, _) | (UDP, 80))
        };
        let first = matching(&set).into_iter().filter(|(zone, packet, bits)| *zone > 1 && *bits != 0 && managed(packet));
        let deciding: BTreeSet<usize> = first.map(|(.., bits)| bits.trailing_zeros() as usize).collect();
        let open = deciding.into_iter().map(|place| &set.rules()[place]).filter(|rule| rule.action == RuleAction::Track);
        let expected: Vec<String> = open.map(|rule| rule.name.clone()).collect();

        let rows = Rows::of(&set, &MANAGEMENT.map(Management::service)).expect("few classes");
        let warnings = management::warnings(&set, &rows, &Budget::new(u64::MAX));
        let named: Vec<String> =
            warnings.iter().filter_map(|warning| warning.message.split('`').nth(1)).map(str::to_owned).collect();
        prop_assert_eq!(named, expected);
    }
}
