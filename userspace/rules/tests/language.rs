//! What the keys of rules, zones and settings come to, and what is said where they are wrong.

use std::time::Duration;

use callgate_rules::ruleset::{Above, AntiSpoof, Budget, Budgets, Per, Period, RuleAction, Scan, Tables};
use callgate_rules::{Addresses, PrefixSet, Report, Rule, RuleSet, oracle};
use callgate_shared::limit::Unit;
use callgate_shared::policy::Fragments;
use jiff::Zoned;
use jiff::tz::TimeZone;

const HEAD: &str = r#"version = 1
[zones]
outside = "eth0"
inside = "eth1"
[groups]
phones = ["10.20.0.0/16", "2001:db8:20::/48"]
fax = "10.20.9.0/24"
"#;

fn read(text: &str) -> RuleSet {
    RuleSet::parse("f.toml", &format!("{HEAD}{text}")).unwrap_or_else(|errors| panic!("{}", Report(&errors)))
}

/// A rule with these keys besides its name.
fn rule(keys: &str) -> Rule {
    let action = if keys.contains("action") { "" } else { "action = \"track\"\n" };
    read(&format!("[[rule]]\nname = \"a\"\n{action}{keys}\n")).rules()[0].clone()
}

/// The messages and suggestions of a file that is wrong, or of its warnings.
fn told(text: &str) -> Vec<String> {
    let diagnostics = match RuleSet::parse("f.toml", &format!("{HEAD}{text}")) {
        Ok(set) => set.warnings().to_vec(),
        Err(errors) => errors,
    };
    let line = |d: &callgate_rules::Diagnostic| {
        format!(
            "{}:{} {}: {}",
            d.position.line,
            d.position.column,
            d.message,
            d.suggestion.clone().unwrap_or_default()
        )
    };
    diagnostics.iter().map(line).collect()
}

/// What is told of a rule with this key in line 10.
fn told_of(key: &str) -> Vec<String> {
    told(&format!("[[rule]]\nname = \"a\"\n{key}\naction = \"track\"\n"))
}

fn set(prefixes: &[&str]) -> PrefixSet {
    prefixes.iter().map(|text| text.parse().expect("a prefix")).collect()
}

#[test]
fn addresses_are_unions_without_what_is_negated() {
    let from = |value: &str| rule(&format!("from = {value}")).from;
    assert_eq!(
        from("\"10.0.0.5-10.0.0.9\""),
        Addresses::In(set(&["10.0.0.5/32", "10.0.0.6/31", "10.0.0.8/31"]))
    );
    assert_eq!(from("\"2001:db8::-2001:db8::ffff\""), Addresses::In(set(&["2001:db8::/112"])));
    assert_eq!(from("\"!phones\""), Addresses::Except(set(&["10.20.0.0/16", "2001:db8:20::/48"])));
    assert_eq!(from("[\"any\", \"! fax\"]"), Addresses::Except(set(&["10.20.9.0/24"])));
    assert_eq!(from("[\"any\", \"phones\"]"), Addresses::Any);
    let without = from("[\"phones\", \"!fax\", \"!2001:db8:20::/49\", \"192.0.2.1\"]");
    let among = |ip: &str| without.contains(ip.parse().expect("an address"));
    assert!(among("10.20.1.1") && among("192.0.2.1") && among("2001:db8:20:8000::1"));
    assert!(!among("10.20.9.1") && !among("2001:db8:20::1") && !among("192.0.2.2"));
}

#[test]
fn a_group_that_stands_alone_is_shared() {
    let set = read("[[rule]]\nname = \"a\"\naction = \"drop\"\nfrom = \"phones\"\nto = [\"phones\"]\n");
    let group = set.groups()["phones"].prefixes().as_ptr();
    let rule = &set.rules()[0];
    assert_eq!([rule.from.prefixes().as_ptr(), rule.to.prefixes().as_ptr()], [group; 2]);
    let text = "from = [\"phones\", \"192.0.2.1\"]\n";
    let set = read(
        &["a", "b"].map(|name| format!("[[rule]]\nname = \"{name}\"\naction = \"drop\"\n{text}")).concat(),
    );
    let [a, b] = [0, 1].map(|place: usize| set.rules()[place].from.prefixes().as_ptr());
    assert_eq!(a, b, "a list of several words is made once");
}

#[test]
fn what_is_wrong_with_addresses_is_told() {
    let cases = [
        (
            "from = \"10.0.0.9-10.0.0.5\"",
            "10:8 the range `10.0.0.9-10.0.0.5` is empty: did you mean `10.0.0.5-10.0.0.9`?",
        ),
        (
            "from = \"10.0.0.9-2001:db8::1\"",
            "10:8 `10.0.0.9-2001:db8::1` is not a range of addresses: write `10.0.0.5-10.0.0.9` or `2001:db8::5-2001:db8::9`",
        ),
        ("from = \"!phone\"", "10:8 there is no group `phone`: did you mean `phones`?"),
        ("from = \"!any\"", "10:8 `!any` is nobody: leave out what is not meant"),
        (
            "from = [\"fax\", \"!phones\"]",
            "10:9 `from` leaves nothing: what is behind `!` covers all the others",
        ),
    ];
    for (key, expected) in cases {
        assert_eq!(told_of(key), [expected]);
    }
    assert_eq!(
        told("x = \"!phones\"\n"),
        [
            "8:1 group `x` only says who is not in it: name a group of those who are not, and write `!` before it in the rule"
        ]
    );
}

#[test]
fn tags_are_numbers_names_and_ranges() {
    assert_eq!(
        rule("vlan = [\"200-210\", 100, 0, \"205-220\", \"221\"]").vlans,
        Some(vec![0..=0, 100..=100, 200..=221])
    );
    assert_eq!(rule("vlan = 4094").vlans, Some(vec![4094..=4094]));
    assert_eq!(rule("dscp = [\"ef\", \"af41\", 46, \"cs3\"]").dscps, Some(1 << 46 | 1 << 34 | 1 << 24));
    assert_eq!((rule("").vlans, rule("").dscps), (None, None));
    let cases = [
        ("vlan = 4095", "10:8 `vlan` is out of range: permitted: 0 to 4094"),
        (
            "vlan = \"voice\"",
            "10:8 `voice` is not a VLAN: write ids 1 to 4094, ranges `\"200-210\"`, or 0 for frames without a tag",
        ),
        ("vlan = \"9-5\"", "10:8 the range `9-5` is empty: did you mean `5-9`?"),
        ("vlan = []", "10:8 `vlan` is empty: leave it out to match everything"),
        ("dscp = \"af14\"", "10:8 there is no DSCP `af14`: did you mean `af11`?"),
        ("dscp = [\"46\"]", "10:9 there is no DSCP `46`: did you mean `46`, without quotes?"),
        ("dscp = 64", "10:8 `dscp` is out of range: permitted: 0 to 63"),
    ];
    for (key, expected) in cases {
        assert_eq!(told_of(key), [expected]);
    }
}

#[test]
fn rules_are_in_force_at_their_times() {
    let text = r#"
[[rule]]
name = "always"
action = "track"
[[rule]]
name = "office"
action = "track"
when = ["mon-fri 08:00-18:00", "sat 09:00-12:00"]
[[rule]]
name = "night"
action = "track"
when = "22:00-06:00"
"#;
    let zoned = |text: &str| text.parse::<Zoned>().expect("a time");
    let set = read(&format!("[settings]\ntime_zone = \"Europe/Berlin\"\n{text}"));
    assert_eq!(set.settings().time_zone, TimeZone::get("Europe/Berlin").ok());
    // 2024-01-05 was a Friday.
    assert_eq!(set.active_at(&zoned("2024-01-05T07:30[UTC]")), [true, true, false]);
    assert_eq!(set.active_at(&zoned("2024-01-05T21:30[UTC]")), [true, false, true]);
    let next =
        |set: &RuleSet, at: &str| set.next_change(&zoned(at)).map(|at| at.to_string()).unwrap_or_default();
    assert_eq!(next(&set, "2024-01-05T07:30[UTC]"), "2024-01-05T17:00:00Z");
    assert_eq!(next(&set, "2024-01-05T17:00[UTC]"), "2024-01-05T21:00:00Z");
    let machine = read(text);
    assert_eq!(next(&machine, "2024-01-05T17:30[America/New_York]"), "2024-01-05T23:00:00Z");
    assert_eq!(read("").next_change(&zoned("2024-01-05T07:30[UTC]")), None);
}

#[test]
fn what_is_wrong_with_times_is_told() {
    assert_eq!(told_of("when = \"mon-fry\""), ["10:8 there is no day `fry`: did you mean `fri`?"]);
    assert_eq!(
        told_of("when = [\"sat\", \"8-18\"]"),
        ["10:16 there is no day `8`: permitted: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`"]
    );
    assert_eq!(
        told_of("when = \"mon-sun\""),
        ["10:8 `when` leaves no time out: leave it out: the rule is always in force"]
    );
    assert_eq!(
        told("[settings]\ntime_zone = \"Europe/Berlim\"\n"),
        ["9:13 there is no time zone `Europe/Berlim`: did you mean `Europe/Berlin`?"]
    );
}

#[test]
fn services_have_source_ports() {
    let services = rule("service = [\"tcp/80,443 from 1024-65535\", \"sip from 5060\"]").services;
    let shown: Vec<String> = services.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["tcp/80 from 1024-65535", "tcp/443 from 1024-65535", "udp/5060 from 5060", "tcp/5060 from 5060"]
    );
    let packet = |source_port| callgate_shared::packet::Packet {
        protocol: callgate_shared::flow::TCP,
        source_port,
        destination_port: 80,
        ..Default::default()
    };
    assert!(oracle::carries(&services[0], &packet(1024)) && !oracle::carries(&services[0], &packet(1023)));
    assert_eq!(
        told_of("service = \"ping from 20\""),
        ["10:11 `icmp/8` has no source ports: write them after `tcp…` or `udp…`: `tcp/80 from 1024-65535`"]
    );
}

#[test]
fn limits_have_units_scopes_and_consequences() {
    let limit = |value: &str| rule(&format!("limit = {value}")).limit.expect("a limit");
    let bytes = limit("{ bytes = \"10MB/s\", burst = \"64KB\", per = \"destination\" }");
    assert_eq!(
        (bytes.unit, bytes.events, bytes.burst, bytes.per),
        (Unit::Bytes, 10_000_000, 64_000, Per::Destination)
    );
    let slow = limit("{ bytes = \"128kbit/s\" }");
    assert_eq!((slow.events, slow.burst, slow.period), (16_000, 16_000, Period::Second));
    let blocks =
        limit("{ new = \"5/min\", per = { source_prefix = [24, 64] }, above = { block = \"10m\" } }");
    assert_eq!(
        (blocks.per, blocks.above),
        (Per::SourcePrefix(24, 64), Above::Block(Duration::from_secs(600)))
    );
    assert_eq!(limit("{ packets = \"5/s\", above = \"drop\" }").above, Above::Drop);
    let cases = [
        (
            "{ bytes = \"10/s\" }",
            "10:19 `10/s` is not a rate of bytes: write `10MB/s` or `128kbit/s`: 1KB to 40GB in a `s`, `min` or `h`",
        ),
        ("{ bytes = \"1MB/s\", burst = 5 }", "10:36 a burst of bytes has a unit: did you mean `\"5B\"`?"),
        (
            "{ bytes = \"1MB/s\", burst = \"2TB\" }",
            "10:36 `2TB` is not a number of bytes: write `64KB` or `1MB`: at most 1GB",
        ),
        (
            "{ new = \"5/s\", bytes = \"1MB/s\" }",
            "10:32 a limit counts `new` flows, `packets` or `bytes`: one of them: ",
        ),
        (
            "{ new = \"5/s\", per = { source_prefix = 24 } }",
            "10:48 `source_prefix` is the lengths of an IPv4 and an IPv6 prefix: write `per = { source_prefix = [24, 64] }`",
        ),
        (
            "{ new = \"5/s\", per = { source_prefix = [24, 129] } }",
            "10:53 `source_prefix` is out of range: permitted: 1 to 128",
        ),
        (
            "{ new = \"5/s\", above = { block = \"10m\" } }",
            "10:32 the source that comes too late would be blocked for what others have sent: add `per = \"source\"`",
        ),
        ("{ new = \"5/s\", above = \"block\" }", "10:32 `above` cannot be `block`: permitted: `drop`"),
        ("{ new = \"5/s\", per = \"sources\" }", "10:30 `per` cannot be `sources`: did you mean `source`?"),
    ];
    for (value, expected) in cases {
        assert_eq!(told_of(&format!("limit = {value}")), [expected]);
    }
}

#[test]
fn reject_is_an_action_without_a_limit() {
    assert_eq!(rule("action = \"reject\"").action, RuleAction::Reject);
    let told = told(
        "[[rule]]\nname = \"a\"\naction = \"reject\"\nlimit = { new = \"5/s\" }\nreason = \"spoofed\"\n",
    );
    assert_eq!(
        told,
        [
            "11:1 `limit` goes only with an action that lets packets by: ",
            "12:1 `reason` goes only with `action = \"drop\"`: ",
        ]
    );
}

#[test]
fn zones_have_policies() {
    let set = read(
        r#"
[zone.inside]
networks = ["phones", "!fax"]
anti_spoof = "strict"
bogons = "drop"
fragments = "drop"
l2 = { cdp = "drop", lldp = "drop" }
[zone.outside]
anti_spoof = "loose"
"#,
    );
    let [outside, inside] = set.zones() else { panic!("two zones") };
    assert_eq!(outside.policy.anti_spoof, AntiSpoof::Loose);
    assert!(outside.policy.networks.is_none() && !outside.policy.drop_bogons);
    assert_eq!(outside.policy.fragments, Fragments::Track);
    let policy = &inside.policy;
    assert!(policy.drop_bogons && policy.drop_cdp && policy.drop_lldp);
    assert_eq!((policy.anti_spoof, policy.fragments), (AntiSpoof::Strict, Fragments::Drop));
    let networks = policy.networks.as_ref().expect("networks");
    assert!(networks.contains("10.20.1.1".parse().expect("an address")));
    assert!(!networks.contains("10.20.9.1".parse().expect("an address")));
}

#[test]
fn what_is_wrong_with_zones_is_told() {
    let text = r#"[zone.outsid]
[zone.inside]
anti_spoof = "strict"
bogon = "drop"
l2 = { stp = "drop", cdp = "no" }
[zone.outside]
networks = "any"
fragments = "follow"
"#;
    assert_eq!(
        told(text),
        [
            "8:7 there is no zone `outsid`: did you mean `outside`?",
            "10:14 strict anti-spoofing needs to know the networks of the zone: add `networks = [\"10.20.0.0/16\"]`, or write `\"loose\"`",
            "11:1 unknown key `bogon`: did you mean `bogons`?",
            "12:8 unknown key `stp`: permitted: `cdp`, `lldp`",
            "12:28 `cdp` cannot be `no`: permitted: `drop`, `pass`",
            "14:12 `any` tells no networks apart: leave `networks` out where every network is behind the zone",
            "15:13 `fragments` cannot be `follow`: permitted: `track`, `drop`, `pass`",
        ]
    );
}

#[test]
fn settings_and_scan_are_read() {
    let set = read(
        r#"
[settings]
new_flows = "5000/s"
peer_flows = "6000/min"
half_open = { source = 0, destination = 100 }
replies = "10/s"
tables = { calls = 50, pinholes = 1000000 }
challenge = false
protected = ["phones", "192.0.2.1"]
never_block = "any"
[scan]
enabled = true
ports = 50
window = "2min"
block = "1h"
"#,
    );
    let settings = set.settings();
    let budget = |events, period| Budget { events, period };
    assert_eq!(
        settings.budgets,
        Budgets {
            new_flows: budget(5_000, Period::Second),
            peer_flows: budget(6_000, Period::Minute),
            half_open_source: 0,
            half_open_destination: 100,
            replies: budget(10, Period::Second),
            challenge: false,
        }
    );
    let kernel = settings.budgets.new_flows.kernel();
    assert_eq!((kernel.interval, kernel.tolerance), (200_000, 999_800_000), "a second's worth at once");
    assert!(settings.protected.contains("192.0.2.1".parse().expect("an address")));
    assert_eq!(settings.never_block, PrefixSet::all());
    let [window, block] = [120, 3_600].map(Duration::from_secs);
    assert_eq!(settings.scan, Scan { enabled: true, ports: 50, window, block });
    assert_eq!(settings.tables, Tables { calls: 50, ..Tables::default() });
    assert_eq!(read("").settings().scan, Scan::default());
}

#[test]
fn what_is_wrong_with_settings_is_told() {
    let text = "[settings]\nnew_flow = \"5/s\"\nreplies = 5\nhalf_open = { sources = 1, source = -1 }\nprotected = \"phone\"\n[scan]\nports = 1\n";
    assert_eq!(
        told(text),
        [
            "9:1 unknown key `new_flow`: did you mean `new_flows`?",
            "10:11 `rate` must be a string, not an integer: ",
            "11:15 unknown key `sources`: did you mean `source`?",
            "11:37 `source` is out of range: permitted: 0 to 1000000",
            "12:13 there is no group `phone`: did you mean `phones`?",
            "13:1 scans are not looked for: the table has no effect: add `enabled = true`",
            "14:9 `ports` is out of range: permitted: 2 to 1024",
        ]
    );
}
