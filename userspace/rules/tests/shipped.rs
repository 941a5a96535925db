//! The rules files that ship: each is accepted without a warning and does what it is for.

use std::net::IpAddr;
use std::path::Path;

use callgate_rules::{
    Compiled, Disk, LoadError, Machine, MediaAuthority, MemorySlots, Model, Report, RuleSet, compile, lint,
    model,
};
use callgate_shared::Reason;
use callgate_shared::flow::{ICMP, TCP, UDP};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::policy::Inspect;

const FILES: [&str; 5] =
    ["callmanager-express.toml", "cucm-mitigation.toml", "edge.toml", "sip-pbx.toml", "toll-fraud.toml"];
const OUTSIDE: u8 = 2;
const INSIDE: u8 = 3;
const SECOND: u64 = 1_000_000_000;

fn load(file: &str) -> (RuleSet, Compiled) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules").join(file);
    let set = RuleSet::load(&path, &Disk).unwrap_or_else(|error| match error {
        LoadError::Invalid(errors) => panic!("{}", Report(&errors)),
        LoadError::Read { source, .. } => panic!("{source}"),
    });
    let compiled = compile(&set, &Machine::default(), 1, &mut MemorySlots::default()).expect("it compiles");
    (set, compiled)
}

#[test]
fn every_file_is_accepted_without_a_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let entries = std::fs::read_dir(directory).expect("the directory ships");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".toml")).collect();
    names.sort();
    assert_eq!(names, FILES);
    for file in FILES {
        let (set, compiled) = load(file);
        let warnings = lint(&set, &compiled);
        assert!(warnings.is_empty(), "{}", Report(&warnings));
        assert!(!set.rules().is_empty());
    }
}

fn packet(from: &str, to: &str, protocol: u8, port: u16) -> Packet {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address").into();
    Packet {
        kind: Kind::Ip,
        protocol,
        source: address(from),
        destination: address(to),
        source_port: 40_000,
        destination_port: port,
        icmp_type: if protocol == ICMP { 8 } else { 0 },
        tcp_flags: if protocol == TCP { tcp::SYN } else { 0 },
        length: 60,
        ..Packet::default()
    }
}

/// The bulletin's three attacks and its spoofed sources, from everyone who is not meant to send such packets.
#[test]
fn the_mitigation_admits_those_it_names_and_nobody_else() {
    let (set, compiled) = load("cucm-mitigation.toml");
    let name = |slot: u32| {
        let place = compiled.slots.iter().position(|other| *other == slot);
        place.map_or("", |place| set.rules()[place].name.as_str())
    };
    let cases = [
        ("10.20.3.4", TCP, 2000, OUTSIDE, Reason::PassRule, "sccp from phones"),
        ("10.20.3.4", TCP, 2443, OUTSIDE, Reason::PassRule, "secure sccp from phones"),
        ("203.0.113.9", TCP, 2000, OUTSIDE, Reason::Rule, "sccp from anyone else"),
        ("203.0.113.9", TCP, 2443, OUTSIDE, Reason::Rule, "sccp from anyone else"),
        ("10.9.9.3", ICMP, 7, OUTSIDE, Reason::PassRule, "ping from management"),
        ("10.20.3.4", ICMP, 7, OUTSIDE, Reason::Rule, "ping from anyone else"),
        ("10.1.1.11", UDP, 8500, INSIDE, Reason::PassRule, "cluster manager between members"),
        ("10.1.1.11", TCP, 8500, INSIDE, Reason::PassRule, "cluster manager between members"),
        ("10.1.1.77", UDP, 8500, INSIDE, Reason::Rule, "cluster manager from anyone else"),
        ("10.1.1.11", UDP, 8500, OUTSIDE, Reason::Spoofed, "own addresses from outside"),
        ("203.0.113.9", TCP, 80, OUTSIDE, Reason::Default, ""),
        ("203.0.113.9", UDP, 20_000, OUTSIDE, Reason::NoPinhole, ""),
    ];
    for (from, protocol, port, zone, reason, rule) in cases {
        let mut model = Model::new(compiled.clone(), model::Bounds::default());
        let verdict = model.judge(&packet(from, "10.1.1.10", protocol, port), zone, SECOND);
        assert_eq!((verdict.reason, name(verdict.slot)), (reason, rule), "{from} {protocol} {port}");
    }
}

#[test]
fn the_mitigation_slows_a_scan_from_a_phone_and_a_flood_from_management() {
    let (_, compiled) = load("cucm-mitigation.toml");
    let mut model = Model::new(compiled, model::Bounds::default());
    let mut passed = |from: &str, protocol, ports: std::ops::Range<u16>| {
        let judge = |port| {
            let packet = Packet { source_port: port, ..packet(from, "10.1.1.10", protocol, 2000) };
            !model.judge(&packet, OUTSIDE, SECOND).reason.is_drop()
        };
        ports.map(judge).filter(|passed| *passed).count()
    };
    assert_eq!(passed("10.20.3.4", TCP, 1..1001), 10);
    assert_eq!(passed("10.20.3.5", TCP, 1..4), 3, "another phone has a budget of its own");
    assert_eq!(passed("10.9.9.3", ICMP, 1..1001), 20);
}

/// Zones 2 to 5 are internet, peering, voice and manage.
#[test]
fn the_edge_refuses_sources_that_cannot_be_right() {
    let (set, compiled) = load("edge.toml");
    let cases = [
        ("192.168.1.1", 2, true, "private"),
        ("127.0.0.1", 2, true, "loopback"),
        ("10.60.1.1", 2, true, "our own phone"),
        ("9.9.9.9", 2, false, "somebody"),
        ("192.0.2.1", 3, false, "a provider"),
        ("9.9.9.9", 3, true, "nobody who lives there"),
        ("10.60.1.1", 4, false, "a phone"),
        ("10.9.9.1", 4, true, "an administrator, in the wrong place"),
        ("10.9.9.1", 5, false, "an administrator"),
    ];
    for (from, zone, refused, who) in cases {
        let mut model = Model::new(compiled.clone(), model::Bounds::default());
        let reason = model.judge(&packet(from, "198.51.100.10", UDP, 5060), zone, SECOND).reason;
        assert_eq!(
            matches!(reason, Reason::Spoofed | Reason::BadSource),
            refused,
            "{who} ({from}): {reason:?}"
        );
    }
    assert!(set.settings().scan.enabled);
    assert!(set.settings().never_block.contains("192.0.2.1".parse().expect("an address")));
}

#[test]
fn voice_services_are_inspected() {
    let (set, compiled) = load("cucm-mitigation.toml");
    let mut model = Model::new(compiled.clone(), model::Bounds::default());
    let mut inspect = |from: &str, protocol, port| {
        model.judge(&packet(from, "10.1.1.12", protocol, port), OUTSIDE, SECOND).inspect
    };
    assert_eq!(inspect("10.20.0.1", UDP, 5060), Inspect::Sip as u8);
    assert_eq!(inspect("10.20.0.1", TCP, 5060), Inspect::Sip as u8);
    assert_eq!(inspect("10.20.0.1", TCP, 2000), Inspect::Sccp as u8);
    assert_eq!(inspect("10.30.0.1", TCP, 1720), Inspect::H225 as u8);
    assert_eq!(inspect("10.30.0.1", UDP, 1719), Inspect::Ras as u8);
    assert_eq!(inspect("10.20.0.1", UDP, 69), Inspect::Tftp as u8);

    let h323 = set.rules().iter().position(|rule| rule.name == "h323").expect("the rule ships");
    let MediaAuthority::Group(group) = &set.rules()[h323].media else { panic!("a group") };
    assert!(group.contains("10.20.255.1".parse().expect("an address")));
    assert!(compiled.slots[h323] != 0);
}

/// The TOML in a text.
fn examples(text: &str) -> Vec<&str> {
    text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// Its examples are one file.
#[test]
fn the_readme_is_right() {
    let text = examples(include_str!("../../../README.md")).concat();
    if let Err(errors) = RuleSet::parse("README.md", &text) {
        panic!("{}", Report(&errors));
    }
}
