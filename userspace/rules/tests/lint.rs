//! Every lint: where it speaks, where it is silent, and what it says.

use std::fmt::Write as _;
use std::time::Instant;

use callgate_rules::lint::{MANAGEMENT, Management, Session, locked_out};
use callgate_rules::{Compiled, Lint, Machine, MemorySlots, Report, RuleSet, compile, lint};

const OUTSIDE: u8 = 2;
const INSIDE: u8 = 3;

/// A file with two zones, these groups and these rules: each its name and its other keys.
fn file(groups: &str, rules: &[(&str, &str)]) -> String {
    let mut text =
        format!("version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n[groups]\n{groups}\n");
    for (name, keys) in rules {
        write!(text, "[[rule]]\nname = \"{name}\"\n{keys}\n").expect("it fits");
    }
    text
}

fn compiled(text: &str) -> (RuleSet, Compiled) {
    let set = RuleSet::parse("f.toml", text).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
    let compiled = compile(&set, &Machine::default(), 1, &mut MemorySlots::default()).expect("it compiles");
    (set, compiled)
}

/// The messages of one lint; all findings of others are left out.
fn messages(of: Lint, text: &str) -> Vec<String> {
    let (set, compiled) = compiled(text);
    let findings = lint(&set, &compiled).into_iter().filter(|finding| finding.lint == Some(of));
    findings.map(|finding| finding.message).collect()
}

/// Those of rules without groups.
fn about(of: Lint, rules: &[(&str, &str)]) -> Vec<String> {
    messages(of, &file("", rules))
}

#[test]
fn a_rule_behind_one_that_matches_as_much_is_unreachable() {
    let covered = about(
        Lint::UnreachableRule,
        &[
            ("web", "service = \"tcp/80\"\naction = \"drop\""),
            ("all tcp", "service = \"tcp\"\naction = \"drop\""),
            ("sip", "service = \"sip\"\naction = \"drop\""),
            ("more tcp", "from = \"10.0.0.0/8\"\nservice = \"tcp/1-100\"\naction = \"track\""),
        ],
    );
    // `sip` is UDP too. Of two rules that cover a third, the first is named.
    assert_eq!(
        covered,
        ["no packet reaches rule `more tcp`: rule `all tcp` (f.toml:12) matches all of its packets first"]
    );
}

#[test]
fn rules_may_cover_another_between_them() {
    let between = |second: &str| {
        about(
            Lint::UnreachableRule,
            &[
                ("low", "from = \"10.0.0.0/9\"\naction = \"drop\""),
                ("high", second),
                ("ten", "from = \"10.0.0.0/8\"\nservice = \"ssh\"\naction = \"track\""),
            ],
        )
    };
    assert_eq!(
        between("from = \"10.128.0.0/9\"\naction = \"drop\""),
        [
            "no packet reaches rule `ten`: rules `low` (f.toml:8) and `high` (f.toml:12) match all of its packets first"
        ]
    );
    assert!(between("from = \"10.128.0.0/10\"\naction = \"drop\"").is_empty(), "10.192.0.0/10 reaches it");
    assert!(between("from = \"10.128.0.0/9\"\nin = \"outside\"\naction = \"drop\"").is_empty());
}

#[test]
fn what_is_in_force_at_other_times_covers_nothing() {
    let at = |when: &str, own: &str| {
        about(
            Lint::UnreachableRule,
            &[
                ("day", &format!("service = \"ssh\"\nwhen = {when}\naction = \"drop\"")),
                ("ssh", &format!("service = \"ssh\"\n{own}action = \"reject\"")),
            ],
        )
        .len()
    };
    assert_eq!(at("\"mon-fri 08:00-18:00\"", ""), 0);
    assert_eq!(at("\"mon-fri 08:00-18:00\"", "when = \"tue 09:00-10:00\"\n"), 1);
    assert_eq!(at("\"mon-fri 08:00-18:00\"", "when = \"fri 17:00-19:00\"\n"), 0);
    assert_eq!(at("[\"06:00-22:00\", \"22:00-06:00\"]", ""), 1);
}

#[test]
fn tags_and_source_ports_tell_rules_apart() {
    let second = |keys: &str| {
        about(
            Lint::UnreachableRule,
            &[
                ("first", "vlan = [0, \"100-200\"]\ndscp = [\"ef\", 0]\nservice = \"udp/5060 from 1024-65535\"\naction = \"drop\""),
                ("second", keys),
            ],
        )
        .len()
    };
    assert_eq!(second("vlan = 150\ndscp = \"ef\"\nservice = \"udp/5060 from 2000\"\naction = \"track\""), 1);
    assert_eq!(second("vlan = 201\ndscp = \"ef\"\nservice = \"udp/5060 from 2000\"\naction = \"track\""), 0);
    assert_eq!(
        second("vlan = 150\ndscp = \"af41\"\nservice = \"udp/5060 from 2000\"\naction = \"track\""),
        0
    );
    assert_eq!(second("vlan = 150\ndscp = \"ef\"\nservice = \"udp/5060\"\naction = \"track\""), 0);
}

#[test]
fn a_rule_no_packet_can_match_is_impossible() {
    let rule = |groups: &str, keys: &str| messages(Lint::ImpossibleRule, &file(groups, &[("odd", keys)]));
    assert_eq!(
        rule("nobody = []", "from = \"nobody\"\naction = \"track\""),
        ["no packet can match rule `odd`"]
    );
    assert_eq!(rule("", "from = \"10.0.0.1\"\nto = \"2001:db8::1\"\naction = \"track\"").len(), 1);
    assert!(
        rule("", "from = [\"10.0.0.1\", \"2001:db8::/32\"]\nto = \"2001:db8::1\"\naction = \"track\"")
            .is_empty()
    );
    assert!(rule("nobody = []", "from = [\"nobody\", \"10.0.0.1\"]\naction = \"track\"").is_empty());
}

#[test]
fn groups_are_to_hold_something_and_to_be_named() {
    let of = |lint, groups: &str, keys: &str| messages(lint, &file(groups, &[("rule", keys)]));
    let rule = "from = \"phones\"\naction = \"drop\"";
    assert_eq!(of(Lint::EmptyGroup, "phones = []", rule), ["group `phones` is empty"]);
    assert_eq!(
        of(Lint::EmptyGroup, "phones = [\"lobby\"]\nlobby = []", rule),
        ["group `phones` is empty", "group `lobby` is empty"]
    );
    assert!(
        of(Lint::EmptyGroup, "phones = [\"lobby\", \"10.0.0.1\"]\nlobby = \"10.0.0.2\"", rule).is_empty()
    );

    assert_eq!(
        of(Lint::UnusedGroup, "phones = \"10.0.0.1\"\nold = \"10.0.0.2\"", rule),
        ["nothing names group `old`"]
    );
    assert!(of(Lint::UnusedGroup, "phones = [\"lobby\"]\nlobby = \"10.0.0.2\"", rule).is_empty());
    assert!(of(Lint::UnusedGroup, "phones = \"10.0.0.1\"", "to = \"!phones\"\naction = \"drop\"").is_empty());
    let media = "service = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\nmedia = \"phones\"";
    assert!(of(Lint::UnusedGroup, "phones = \"10.0.0.1\"", media).is_empty());
}

#[test]
fn a_group_may_be_named_outside_the_rules() {
    let text = "version = 1\n[groups]\npeers = \"10.0.0.1\"\nsafe = \"10.0.0.2\"\nsite = \"10.1.0.0/16\"\nspare = \"10.0.0.3\"\n\
                agents = \"10.0.0.4\"\n[settings]\nprotected = \"peers\"\nnever_block = \"safe\"\n[inspect.mgcp]\n\
                call_agents = \"agents\"\n[zone.inside]\nnetworks = \"site\"\n[zones]\ninside = \"eth1\"\n";
    assert_eq!(messages(Lint::UnusedGroup, text), ["nothing names group `spare`"]);
}

#[test]
fn everybody_is_not_to_reach_management_ports() {
    let opens = |keys: &str| about(Lint::OpenManagement, &[("open", keys)]);
    assert_eq!(
        opens("in = \"outside\"\nservice = \"ssh\"\naction = \"track\""),
        ["rule `open` opens ssh (tcp/22) to everybody in zone `outside`"]
    );
    assert_eq!(
        opens("service = [\"tcp/20-30\", \"sip\"]\naction = \"pass\""),
        ["rule `open` opens ssh (tcp/22) and telnet (tcp/23) to everybody in zones `outside` and `inside`"]
    );
    for management in MANAGEMENT {
        let transport = if management.udp { "udp" } else { "tcp" };
        let port = management.port;
        let found = opens(&format!("from = \"::/0\"\nservice = \"{transport}/{port}\"\naction = \"track\""));
        assert_eq!(found.len(), 1, "{management:?}");
        assert!(found[0].contains(&format!("{} ({transport}/{port})", management.name)), "{found:?}");
    }
    let all = opens("service = \"any\"\naction = \"track\"");
    assert!(
        all[0].contains("ssh (tcp/22), telnet (tcp/23), http (tcp/80), https (tcp/443) and 6 more"),
        "{all:?}"
    );
    assert_eq!(
        opens("from = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\nservice = \"ssh\"\naction = \"track\"").len(),
        1
    );
    assert_eq!(opens("from = \"!10.0.0.0/8\"\nservice = \"ssh\"\naction = \"track\"").len(), 1);
}

#[test]
fn few_or_nobody_may_reach_management_ports() {
    let opens = |keys: &str| about(Lint::OpenManagement, &[("rule", keys)]);
    for keys in [
        "from = \"10.0.0.0/8\"\nservice = \"ssh\"\naction = \"track\"",
        "from = \"2001:db8::/32\"\nservice = \"ssh\"\naction = \"track\"",
        "service = \"ssh\"\naction = \"drop\"",
        "service = \"ssh\"\naction = \"reject\"",
        "in = \"self\"\nservice = \"ssh\"\naction = \"track\"",
        "service = [\"sip\", \"udp/22\", \"ping\"]\naction = \"track\"",
    ] {
        assert!(opens(keys).is_empty(), "{keys}");
    }
    // What an earlier rule has dropped is not opened; a stranger is not one of the few an earlier rule admits.
    let behind = |first: &str| {
        about(Lint::OpenManagement, &[("first", first), ("any", "service = \"tcp/22\"\naction = \"track\"")])
            .len()
    };
    assert_eq!(behind("from = \"!10.9.9.0/28\"\nservice = \"ssh\"\naction = \"drop\""), 0);
    assert_eq!(behind("from = \"10.9.9.0/28\"\nservice = \"ssh\"\naction = \"drop\""), 1);
    assert_eq!(behind("in = \"outside\"\nservice = \"ssh\"\naction = \"drop\""), 1, "from inside it is open");
}

fn lockout(text: &str, zones: &[u8]) -> Option<(u32, String)> {
    let (set, compiled) = compiled(text);
    let end = |text: &str| text.parse().expect("an address and a port");
    let session = Session { client: end("192.0.2.7:51000"), server: end("10.1.1.1:22"), vlan: 0 };
    locked_out(&set, &compiled, &session, zones).map(|finding| {
        assert_eq!(finding.lint, Some(Lint::LockedOut));
        (finding.position.line, finding.message)
    })
}

#[test]
fn the_session_one_is_on_is_not_to_be_refused() {
    let ssh = |keys: &str| file("", &[("ssh", keys)]);
    let refused = "the session you are on (192.0.2.7 → 10.1.1.1, tcp/22, from zone `outside`)";
    assert_eq!(
        lockout(&ssh("service = \"ssh\"\naction = \"drop\""), &[OUTSIDE]),
        Some((8, format!("rule `ssh` refuses {refused}")))
    );
    assert_eq!(
        lockout(&ssh("service = \"ssh\"\nfrom = \"192.0.2.8\"\naction = \"track\""), &[OUTSIDE]),
        Some((1, format!("the default of zone `outside` refuses {refused}")))
    );
    let answers = "the answers of the session you are on (10.1.1.1 → 192.0.2.7, from tcp/22)";
    let stateless =
        ssh("service = \"ssh\"\naction = \"pass\"") + "[settings]\ndefault = { self = \"drop\" }\n";
    assert_eq!(
        lockout(&stateless, &[OUTSIDE]),
        Some((1, format!("the default of zone `self` refuses {answers}")))
    );
    let strict = ssh("service = \"ssh\"\naction = \"track\"")
        + "[zone.outside]\nnetworks = \"198.51.100.0/24\"\nanti_spoof = \"strict\"\n";
    let (_, message) = lockout(&strict, &[OUTSIDE]).expect("no such source");
    assert_eq!(message, format!("these rules refuse {refused}: 192.0.2.7 may not send from that zone"));
}

#[test]
fn a_session_that_is_let_by_is_not_spoken_of() {
    let text = file("", &[("ssh", "in = \"inside\"\nservice = \"ssh\"\naction = \"track\"")]);
    assert_eq!(lockout(&text, &[INSIDE]), None);
    assert_eq!(lockout(&text, &[OUTSIDE, INSIDE]), None, "it may come in from inside");
    assert_eq!(lockout(&text, &[]), None, "it comes by an interface Callgate does not stand on");
    assert!(lockout(&text, &[OUTSIDE]).is_some());
}

/// All of what a person sees, in the order of the file.
#[test]
fn the_whole_report() {
    let text = r#"version = 1

[zones]
outside = ["eth0"]
inside  = ["eth1"]

[groups]
admins = ["10.9.9.0/28"]
guests = []
phones = ["10.20.0.0/16"]

[[rule]]
name    = "all sip"
service = "sip"
action  = "drop"

[[rule]]
name    = "sip from phones"
from    = "phones"
service = "udp/5060"
action  = "track"

[[rule]]
name    = "administration"
service = ["ssh", "snmp"]
action  = "track"

[[rule]]
name    = "guests"
from    = "guests"
action  = "drop"
"#;
    let shown = "\
f.toml:8:1: warning[unused-group]: nothing names group `admins`
  |
8 | admins = [\"10.9.9.0/28\"]
  | ^^^^^^
  = remove it, or name it in a rule's `from` or `to`

f.toml:9:1: warning[empty-group]: group `guests` is empty
  |
9 | guests = []
  | ^^^^^^
  = a rule that names it matches nothing

f.toml:18:11: warning[unreachable-rule]: no packet reaches rule `sip from phones`: rule `all sip` (f.toml:13) matches all of its packets first
   |
18 | name    = \"sip from phones\"
   |           ^^^^^^^^^^^^^^^^^
   = move it above `all sip`, or remove it

f.toml:24:11: warning[open-management]: rule `administration` opens ssh (tcp/22) and snmp (udp/161) to everybody in zones `outside` and `inside`
   |
24 | name    = \"administration\"
   |           ^^^^^^^^^^^^^^^^
   = name the management stations in its `from`

f.toml:29:11: warning[impossible-rule]: no packet can match rule `guests`
   |
29 | name    = \"guests\"
   |           ^^^^^^^^
   = there is no address in its `from`

0 errors, 5 warnings";
    let (set, compiled) = compiled(text);
    assert_eq!(Report(&lint(&set, &compiled)).to_string(), shown);
}

#[test]
fn names_are_distinct() {
    for (place, lint) in Lint::ALL.iter().enumerate() {
        assert!(Lint::ALL[..place].iter().all(|other| other.name() != lint.name()));
    }
}

/// The page's table of lints and its list of ports are those of the code.
#[test]
fn the_page_is_right() {
    let page = include_str!("../../../docs/rules.md");
    let (_, section) = page.split_once("\n## What `fwctl check` warns of\n").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let table = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(table.collect::<Vec<_>>(), Lint::ALL.map(Lint::name));
    let (_, ports) = section.split_once("The management ports are ").expect("the list");
    let ports = ports.split('.').next().expect("its end").replace(" and ", ", ").replace('\n', " ");
    let listed: Vec<String> = ports.split(", ").map(|port| port.replace('`', "")).collect();
    let port =
        |port: &Management| format!("{} ({}/{})", port.name, if port.udp { "udp" } else { "tcp" }, port.port);
    assert_eq!(listed, MANAGEMENT.iter().map(port).collect::<Vec<_>>());
}

/// What it costs on 10,000 rules and 100,000 prefixes; a table for people.
#[test]
#[ignore = "a measurement"]
fn the_cost() {
    let address = |n: u32| std::net::Ipv4Addr::from(0x0a00_0000 + n);
    let all = "[[rule]]\nname = \"rest\"\naction = \"drop\"\n";
    let rules = |each: &dyn Fn(u32) -> String| {
        let rules: String = (0..10_000).map(|n| format!("[[rule]]\nname = \"r{n}\"\n{}", each(n))).collect();
        format!("version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n{rules}{all}")
    };
    let prefixes: String = (0..100_000).map(|n| format!("\"{}/32\",\n", address(n * 37))).collect();
    let cases = [
        ("a port each", rules(&|n| format!("service = \"tcp/{}\"\naction = \"drop\"\n", n + 1))),
        (
            "a host each",
            rules(&|n| format!("to = \"{}\"\nservice = \"sip\"\naction = \"track\"\n", address(n))),
        ),
        (
            "a pair each",
            rules(&|n| {
                let (from, to) = (address(n % 100 * 256), address(n / 100 * 4_096));
                format!(
                    "from = \"{from}/24\"\nto = \"{to}/20\"\nservice = \"tcp/{}\"\naction = \"track\"\n",
                    n % 50 + 1
                )
            }),
        ),
        (
            "the same",
            rules(&|n| format!("from = \"{}\"\nservice = \"ssh\"\naction = \"track\"\n", address(n % 10))),
        ),
        (
            "a group",
            format!(
                "version = 1\n[groups]\nmany = [{prefixes}]\n[[rule]]\nname = \"m\"\nfrom = \"many\"\naction = \"drop\"\n{all}"
            ),
        ),
    ];
    for (case, text) in cases {
        let begin = Instant::now();
        let set = RuleSet::parse("f.toml", &text).expect("it is right");
        let parsed = begin.elapsed();
        let compiled = match compile(&set, &Machine::default(), 1, &mut MemorySlots::default()) {
            Ok(compiled) => compiled,
            Err(error) => {
                println!("{case:12} {error}");
                continue;
            }
        };
        let done = begin.elapsed();
        let found = lint(&set, &compiled).len();
        println!(
            "{case:12} parse {parsed:7.1?} compile {:7.1?} lint {:7.1?}: {found} findings",
            done - parsed,
            begin.elapsed() - done
        );
    }
}
