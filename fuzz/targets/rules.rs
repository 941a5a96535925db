//! Rules files: what is accepted compiles, or says why it does not fit, and means what the naive matcher says.

#![no_main]

use std::net::IpAddr;

use callgate_rules::{Machine, MemorySlots, Report, RuleSet, compile, oracle};
use callgate_shared::judge::{Tables as _, Way};
use callgate_shared::packet::{Kind, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let set = match RuleSet::parse("fuzz.toml", text) {
        Ok(set) => set,
        Err(errors) => {
            assert!(!errors.is_empty(), "an error without a word");
            let _ = Report(&errors).to_string();
            return;
        }
    };
    // A packet per rule, from what is nowhere in the file: enough to see a table that is beside the rules.
    let Ok(compiled) = compile(
        &set,
        &Machine { interfaces: &[(0, "eth0")], ..Machine::default() },
        1,
        &mut MemorySlots::default(),
    ) else {
        return;
    };
    let zone = compiled.policy.interfaces[0];
    let entries = compiled.rules.clone();
    let slots = compiled.slots.clone();
    let policy = compiled.policy;
    let model = callgate_rules::Model::new(compiled, Default::default());
    for (protocol, port) in [(6, 5_060), (17, 5_060), (6, 2_000), (1, 0), (58, 0), (47, 0)] {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address").into();
        let packet = Packet {
            kind: Kind::Ip,
            protocol,
            source: address("192.0.2.1"),
            destination: address("10.1.1.10"),
            source_port: 40_000,
            destination_port: port,
            icmp_type: 8,
            ..Packet::default()
        };
        let number = model.first_match(&policy, &packet, zone, Way::There);
        let expected =
            oracle::first_match(&set, &Machine::default().now, zone, &packet).map(|found| slots[found.rule]);
        let found = (number != 0).then(|| entries[usize::from(number)].slot);
        assert_eq!(found, expected, "protocol {protocol}, port {port}");
    }
});
