//! The rules files that ship: each is accepted without a warning and does what it is for.

use std::net::IpAddr;
use std::path::Path;

use callgate_rules::{Compiled, MediaAuthority, MemorySlots, Model, Report, RuleSet, compile, model};
use callgate_shared::Reason;
use callgate_shared::flow::{ICMP, TCP, UDP};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::policy::Inspect;

const FILES: [&str; 4] = ["callmanager-express.toml", "cucm-mitigation.toml", "edge.toml", "sip-pbx.toml"];
const OUTSIDE: u8 = 2;
const INSIDE: u8 = 3;
const SECOND: u64 = 1_000_000_000;

fn load(file: &str) -> (RuleSet, Compiled) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules").join(file);
    let text = std::fs::read_to_string(&path).expect("the file ships");
    let set = RuleSet::parse(file, &text).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
    let compiled = compile(&set, &[], 1, &mut MemorySlots::default()).expect("it compiles");
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
        let warnings = [set.warnings(), &compiled.warnings(&set)].concat();
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

/// The manual's example and its tables of names are those of the language.
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

#[test]
fn the_manual_is_right() {
    let manual = include_str!("../LANGUAGE.md");
    let [whole, tables] = examples(manual)[..] else { panic!("two examples") };
    let rules: String = ["sccp", "mgcp", "tftp"]
        .map(|protocol| {
            format!(
                "[[rule]]\nname = \"{protocol}\"\nservice = \"{protocol}\"\naction = \"inspect\"\n\
                 inspect = \"{protocol}\"\n"
            )
        })
        .concat();
    let groups = "[groups]\ncallmanagers = \"10.1.1.10\"\ngateways = \"10.30.0.0/28\"\n";
    for text in [whole.to_owned(), format!("version = 1\n{tables}{groups}{rules}")] {
        let set = RuleSet::parse("LANGUAGE.md", &text).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
        assert!(set.warnings().is_empty(), "{}", Report(set.warnings()));
    }
    for (name, _) in callgate_rules::service::named() {
        assert!(manual.contains(&format!("`{name}`")), "{name}");
    }
}
