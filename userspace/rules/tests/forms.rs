//! Which form compiled rules take, what is in their entries, and where the tables end.

use std::net::{IpAddr, Ipv4Addr};

use callgate_rules::compile::{AddressTable, Caps, compile_within};
use callgate_rules::{
    CompileError, Compiled, Machine, MemorySlots, Model, Report, RuleSet, Slots as _, compile, model,
};
use callgate_shared::Reason;
use callgate_shared::flow::{ICMP, TCP, UDP};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::policy::{
    Form, MAX_RULES, MAX_ZONES, link_drops, policy_flags, rule_flags, source_checks,
};

const HEAD: &str = "version = 1\n[zones]\na = \"a0\"\n";

fn parsed(text: &str) -> RuleSet {
    RuleSet::parse("f.toml", text).unwrap_or_else(|errors| panic!("{}", Report(&errors)))
}

fn compiled(text: &str) -> Compiled {
    compile(&parsed(text), &Machine::default(), 1, &mut MemorySlots::default()).expect("it fits")
}

/// Rules of as many hosts to `networks` networks, with four services.
fn site(rules: usize, networks: usize) -> String {
    let rule = |n: usize| {
        let service = ["tcp/2000", "sip", "udp/2427", "icmp/8"][n % 4];
        format!(
            "[[rule]]\nname = \"{n}\"\nfrom = \"10.{}.{}.0/24\"\nto = \"10.200.{}.{}\"\n\
             service = \"{service}\"\naction = \"track\"\n",
            n / 256,
            n % 256,
            n % networks / 256,
            n % networks % 256,
        )
    };
    std::iter::once(HEAD.to_owned()).chain((0..rules).map(rule)).collect()
}

fn packet(n: usize, network: usize) -> Packet {
    let address = |octets: [usize; 4]| IpAddr::V4(Ipv4Addr::from(octets.map(|octet| octet as u8))).into();
    Packet {
        kind: Kind::Ip,
        source: address([10, n / 256, n % 256, 9]),
        destination: address([10, 200, network / 256, network % 256]),
        protocol: [TCP, UDP, UDP, ICMP][n % 4],
        source_port: 40_000,
        destination_port: [2000, 5060, 2427, 0][n % 4],
        tcp_flags: if n.is_multiple_of(4) { tcp::SYN } else { 0 },
        icmp_type: 8,
        length: 60,
        ..Packet::default()
    }
}

/// Every rule is found by its own packets, and no rule by those of another destination.
fn each_rule_is_found(compiled: &Compiled, rules: usize, networks: usize) {
    let mut model = Model::new(compiled.clone(), model::Bounds::default());
    for n in 0..rules {
        let verdict = model.judge(&packet(n, n % networks), 2, 1);
        assert_eq!((verdict.reason, verdict.slot), (Reason::PassRule, compiled.slots[n]), "rule {n}");
        assert_eq!(model.judge(&packet(n, (n + 1) % networks), 2, 1).reason, Reason::Default, "rule {n}");
    }
}

#[test]
fn a_thousand_rules_fit_the_product() {
    let compiled = compiled(&site(1_000, 50));
    let size = compiled.size();
    assert_eq!((size.form, size.entries, size.vectors), (Form::Product, 1_000, 0));
    assert_eq!(
        size.cells,
        (3 * 1_001 * 51 * 5_usize).next_multiple_of(256),
        "zones, sources, destinations, services"
    );
    assert_eq!(compiled.policy.form, Form::Product as u8);
    assert!(compiled.unreached.is_empty());
    each_rule_is_found(&compiled, 1_000, 50);
}

#[test]
fn rules_too_finely_divided_for_a_product_have_vectors() {
    let compiled = compiled(&site(4_000, 300));
    let size = compiled.size();
    assert_eq!((size.form, size.entries, size.cells), (Form::Vectors, 4_000, 0));
    assert_eq!(size.vectors, MAX_ZONES + 3 + 4_001 + 301 + 5);
    assert!(
        size.bytes > size.vectors * 2_080 && size.bytes < size.vectors * 2_080 + 1_000_000,
        "{}",
        size.bytes
    );
    each_rule_is_found(&compiled, 4_000, 300);
}

#[test]
fn as_many_entries_as_there_are_numbers() {
    // Each of them two: H.225 and RAS.
    let rule = |n| {
        format!(
            "[[rule]]\nname = \"{n}\"\nservice = [\"tcp/{0}\", \"udp/{0}\"]\naction = \"inspect\"\ninspect = \"h323\"\n",
            n + 1
        )
    };
    let half = MAX_RULES / 2;
    let mut text: String = std::iter::once(HEAD.to_owned()).chain((0..half - 1).map(rule)).collect();
    text += "[[rule]]\nname = \"last\"\nservice = \"tcp/65535\"\naction = \"track\"\n";
    let compiled = compiled(&text);
    assert_eq!(compiled.size().entries, MAX_RULES as usize - 1);
    let last = Packet { destination_port: 65_535, ..packet(0, 0) };
    let verdict = Model::new(compiled, model::Bounds::default()).judge(&last, 2, 1);
    assert_eq!((verdict.reason, verdict.slot), (Reason::PassRule, half));

    let mut slots = MemorySlots::default();
    let set = parsed(&(text + &rule(half)));
    let error = compile(&set, &Machine::default(), 1, &mut slots).expect_err("one too many");
    assert_eq!(error, CompileError::Rules { rows: MAX_RULES as usize + 1, most: MAX_RULES as usize - 1 });
    assert_eq!(slots.slot("another"), Some(1), "no slot is used up");
}

#[test]
fn a_field_no_rule_matches_has_one_class() {
    let plain = compiled(&format!("{HEAD}[[rule]]\nname = \"x\"\naction = \"drop\"\n"));
    let classes = plain.policy.classes;
    let counts = [
        classes.vlans,
        classes.dscps,
        classes.source_ports,
        classes.sources,
        classes.destinations,
        classes.services,
    ];
    assert_eq!(counts, [1; 6]);
    assert_eq!(plain.policy.flags & policy_flags::TAGS, 0);
    assert!(plain.tags.is_empty() && plain.source_ports.is_empty());
    assert_eq!((plain.sources4.chunks(), plain.actions[0]), (1, 1));

    let tagged = compiled(&format!(
        "{HEAD}[[rule]]\nname = \"x\"\nvlan = 7\nservice = \"tcp/80 from 1024-65535\"\naction = \"drop\"\n"
    ));
    let classes = tagged.policy.classes;
    assert_eq!((classes.vlans, classes.dscps, classes.source_ports), (2, 1, 2));
    assert_ne!(tagged.policy.flags & policy_flags::TAGS, 0);
    assert_eq!((tagged.tags.len(), tagged.source_ports.len()), (4_096 + 256, 2 * 65_536));
}

#[test]
fn what_nobody_can_be_in_has_no_rules() {
    let covered = compiled(&format!(
        "{HEAD}[groups]\nv4 = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\nv6 = \"::/0\"\n\
         [[rule]]\nname = \"4\"\nfrom = \"v4\"\naction = \"drop\"\n\
         [[rule]]\nname = \"6\"\nfrom = \"v6\"\naction = \"drop\"\n\
         [[rule]]\nname = \"never\"\naction = \"pass\"\n"
    ));
    assert_eq!(covered.unreached, [2]);
}

#[test]
fn the_generator_reaches_every_kind_of_entry() {
    let compiled = compiled(&format!(
        "{HEAD}\
         [[rule]]\nname = \"h\"\nservice = \"h323\"\naction = \"inspect\"\ninspect = \"h323\"\n\
         [[rule]]\nname = \"b\"\nservice = [\"tcp/80\", \"udp/80 from 5\", \"tcp/81 from 5\"]\naction = \"track\"\nlog = true\n\
         limit = {{ new = \"1/s\", burst = 2, per = \"source\", above = {{ block = \"10m\" }} }}\n"
    ));
    let entries = |field: fn(&callgate_shared::policy::RuleEntry) -> u8| -> Vec<u8> {
        compiled.rules.iter().map(field).collect()
    };
    assert_eq!(
        entries(|entry| entry.inspect),
        [0, 2, 4, 0, 0],
        "nothing, H.225, RAS, two ranges of source ports"
    );
    let (h, b) = (compiled.slots[0], compiled.slots[1]);
    assert_eq!(
        compiled.rules.iter().map(|entry| entry.slot).collect::<Vec<_>>(),
        [0, h, h, b, b],
        "one rule, one slot"
    );
    let both = rule_flags::LOG | rule_flags::BLOCK;
    assert_eq!(entries(|entry| entry.flags), [0, 0, 0, both, both]);
}

#[test]
fn zones_and_budgets_come_from_the_file() {
    let text = r#"
version = 1
[zones]
a = "a0"
b = "b0"
[zone.a]
anti_spoof = "loose"
fragments  = "drop"
l2         = { cdp = "drop" }
[zone.b]
bogons = "drop"
l2     = { lldp = "drop" }
[settings]
half_open = { source = 10, destination = 0 }
new_flows = "100/s"
challenge = false
timeouts  = { tcp_opening = "20s" }
"#;
    let policy = compiled(text).policy;
    let a = policy.zones[2];
    let b = policy.zones[3];
    assert_eq!(
        (a.sources, a.fragments, a.link),
        (source_checks::LISTED | source_checks::ROUTE_BACK, 1, link_drops::CDP)
    );
    assert_eq!((b.sources, b.fragments, b.link), (source_checks::LISTED, 0, link_drops::LLDP));
    assert_eq!((policy.zones[0].sources, policy.zones[1].sources), (0, 0));
    assert_eq!(
        (policy.half_open_source.interval, policy.half_open_source.tolerance),
        (2_000_000_000, 18_000_000_000)
    );
    assert_eq!(policy.half_open_destination.interval, 0);
    assert_eq!(policy.new_flows.interval, 10_000_000);
    assert_eq!(policy.flags & policy_flags::CHALLENGE, 0);
}

#[test]
fn hosts_beyond_the_chunks_lie_in_a_trie() {
    let hosts = (1..1_000_u32).map(|n| format!("\"{}\"", Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1))));
    let group = hosts.collect::<Vec<_>>().join(",");
    let set = parsed(&format!(
        "{HEAD}[groups]\nmany = [{group}]\n[[rule]]\nname = \"x\"\nfrom = \"many\"\naction = \"drop\"\n"
    ));
    let within = |chunks| {
        let caps = Caps { chunks, ..Caps::KERNEL };
        compile_within(&set, &Machine::default(), 1, &mut MemorySlots::default(), &caps).expect("it fits")
    };
    let chunks = within(Caps::KERNEL.chunks).sources4.chunks();
    assert!((1_000..1_600).contains(&chunks), "{chunks}: nearly one per host, few that are alike");
    let compiled = within(chunks);
    assert_eq!((compiled.sources4.chunks(), compiled.size().prefixes), (chunks, 0));
    assert_eq!(compiled.policy.flags & policy_flags::SOURCES_IN_TRIE, 0);

    let compiled = within(chunks - 1);
    assert_eq!(compiled.sources4, AddressTable::Trie);
    assert_ne!(compiled.policy.flags & policy_flags::SOURCES_IN_TRIE, 0);
    assert_eq!(compiled.policy.flags & policy_flags::DESTINATIONS_IN_TRIE, 0);
    assert_eq!(compiled.size().prefixes, 999);
    let from = |bits: u32| Packet { source: IpAddr::V4(Ipv4Addr::from_bits(bits)).into(), ..packet(0, 0) };
    let mut model = Model::new(compiled, model::Bounds::default());
    assert_eq!(model.judge(&from(0x9e37_79b1), 2, 1).reason, Reason::Rule);
    assert_eq!(model.judge(&from(0x9e37_79b0), 2, 1).reason, Reason::Default);
}
