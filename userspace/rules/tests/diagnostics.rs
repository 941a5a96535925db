//! What people are told about a rules file: the exact text, every error at once, and never a panic.

use callgate_rules::{
    Addresses, Admission, CompileError, Diagnostic, InspectPolicies, Machine, MemorySlots, Mismatch, Pattern,
    Report, RuleSet, SccpPolicy, Severity, Slots, TftpPolicy, UnknownMessage, compile,
};
use proptest::prelude::*;

const SHIPPED: [&str; 3] = [
    include_str!("../../../rules/cucm-mitigation.toml"),
    include_str!("../../../rules/edge.toml"),
    include_str!("../../../rules/toll-fraud.toml"),
];

/// What is put into a file that was right.
const VALUES: [&str; 10] =
    ["[]", "{}", "\"\"", "0", "1e999", "-1", "true", "1979-05-27", "[[rule]]\n", "\u{feff}"];

fn errors(text: &str) -> Vec<Diagnostic> {
    RuleSet::parse("f.toml", text).expect_err("the file is wrong")
}

/// Line, column and message of every error and warning of a wrong file.
fn summary(text: &str) -> Vec<String> {
    let line = |d: &Diagnostic| format!("{}:{} {}", d.position.line, d.position.column, d.message);
    errors(text).iter().map(line).collect()
}

#[test]
fn a_report_shows_place_line_caret_and_suggestion() {
    let text = r#"version = 1
[groups]
callmanagers = ["10.1.1.10/24"]
[[rule]]
name    = "sccp"
to      = "callmanager"
service = "udp/2000"
action  = "inspect"
inspect = "sccp"
"#;
    let expected = r#"f.toml:3:17: warning: `10.1.1.10/24` has bits set behind its length
  |
3 | callmanagers = ["10.1.1.10/24"]
  |                 ^^^^^^^^^^^^^^
  = it is read as `10.1.1.0/24`

f.toml:6:11: error: there is no group `callmanager`
  |
6 | to      = "callmanager"
  |           ^^^^^^^^^^^^^
  = did you mean `callmanagers`?

f.toml:7:11: error: sccp is not carried by `udp/2000`
  |
7 | service = "udp/2000"
  |           ^^^^^^^^^^
  = write `tcp/…`

2 errors, 1 warning"#;
    assert_eq!(Report(&errors(text)).to_string(), expected);
}

#[test]
fn missing_keys_point_at_their_rule() {
    let text = "version = 1\n\n[[rule]]\nservice = \"sip\"\n";
    let expected = "f.toml:3:1: error: the rule has no `name`
  |
3 | [[rule]]
  | ^^^^^^^^
  = add `name = \"…\"`: counters and limits are kept by name

f.toml:3:1: error: the rule has no `action`
  |
3 | [[rule]]
  | ^^^^^^^^
  = write `action = \"pass\"`, `\"track\"`, `\"inspect\"`, `\"drop\"` or `\"reject\"`

2 errors, 0 warnings";
    assert_eq!(Report(&errors(text)).to_string(), expected);
}

#[test]
fn every_syntax_error_is_told_and_nothing_else() {
    let text = "version = 1\n[zones\na = [\"b\"\n";
    let found = errors(text);
    assert_eq!(
        found[0].to_string(),
        "f.toml:2:7: error: unclosed table, expected `]`\n  |\n2 | [zones\n  |       ^"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn sections_are_checked_in_full() {
    let text = r#"verison = 1
[zones]
outside = ["eth0", "eth1"]
inside  = "eth1"
self    = "eth/2"
[groups]
phones = ["10.1.1.300", "::ffff:1.2.3.4", "fones"]
any    = "::1"
[settings]
media_ports = "80-90"
mode        = "enforced"
default     = { outsid = "drop", inside = "reject" }
timeouts    = { udp = 30, icmp = "0s", tcp = "1s" }
"#;
    assert_eq!(
        summary(text),
        [
            "1:1 unknown key `verison`",
            "1:1 `version` is missing",
            "4:11 `eth1` is in zone `outside` already",
            "5:1 `self` cannot name a zone",
            "5:11 `eth/2` cannot be an interface's name",
            "7:11 `10.1.1.300` is not an address or a prefix",
            "7:25 `::ffff:1.2.3.4` is an IPv4-mapped address, which is never seen on the wire",
            "7:43 there is no group `fones`",
            "8:1 `any` cannot name a group",
            "10:15 media ports begin at 1024",
            "11:15 `mode` cannot be `enforced`",
            "12:17 there is no zone `outsid`",
            "12:43 `inside` cannot be `reject`",
            "13:23 `udp` has no unit",
            "13:34 `0s` is not a time",
            "13:40 unknown key `tcp`",
        ]
    );
}

#[test]
fn rules_are_checked_in_full() {
    let text = r#"version = 1
[[rule]]
name    = "one"
in      = "nowhere"
to      = []
service = ["sip", "spi", "icmp/echo"]
action  = "inspect"
[[rule]]
name    = "two"
service = "any"
action  = "inspect"
inspect = "sip"
limit   = { new = "fast", burst = 0, per = "host" }
[[rule]]
name    = "two"
action  = "reject"
[[rule]]
name    = "one"
action  = "drop"
inspect = "sip"
media   = "any"
limit   = { new = "5/s" }
reason  = "spoof"
[[rule]]
name    = "three"
action  = "pass"
log     = "yes"
limit   = { new = "5/s" }
reason  = "spoofed"
form    = "any"
[[rule]]
name    = "four"
action  = "track"
limit   = { new = "5/s", packets = "5/s" }
[[rule]]
name    = "five"
action  = "inspect"
inspect = "h245"
"#;
    assert_eq!(
        summary(text),
        [
            "4:11 there is no zone `nowhere`",
            "5:11 `to` is empty",
            "6:19 there is no service `spi`",
            "6:26 there is no ICMP type `echo`",
            "7:11 `inspect` is missing: which protocol?",
            "10:11 sip is not carried by `any`",
            "13:19 `fast` is not a rate",
            "13:35 `burst` is out of range",
            "13:44 `per` cannot be `host`",
            "15:11 a rule named `two` stands at line 9 already",
            "20:1 `inspect` goes only with `action = \"inspect\"`",
            "21:1 `media` goes only with `action = \"inspect\"`",
            "22:1 `limit` goes only with an action that lets packets by",
            "23:11 `reason` cannot be `spoof`",
            "27:11 `log` must be `true` or `false`, not a string",
            "28:19 `pass` remembers no flows, so none is new",
            "29:1 `reason` goes only with `action = \"drop\"`",
            "30:1 unknown key `form`",
            "34:36 a limit counts `new` flows, `packets` or `bytes`: one of them",
            "35:1 `service` is missing: which packets carry h245?",
        ]
    );
}

#[test]
fn names_of_rules_are_unique() {
    let text =
        "version = 1\n[[rule]]\nname = \"a\"\naction = \"drop\"\n[[rule]]\nname = \"a\"\naction = \"drop\"\n";
    assert_eq!(summary(text), ["6:8 a rule named `a` stands at line 3 already"]);
}

#[test]
fn circles_of_groups_are_told_once_each() {
    let text = "version = 1\n[groups]\na = \"b\"\nb = [\"c\", \"c\"]\n\
                c = \"a\"\nd = [\"a\", \"::1\"]\ne = \"e\"\nf = \"d\"\n";
    assert_eq!(
        summary(text),
        [
            "3:1 groups name each other in a circle: `a` → `b` → `c` → `a`",
            "7:1 groups name each other in a circle: `e` → `e`",
        ]
    );
}

#[test]
fn a_long_chain_of_groups_is_resolved() {
    let chain: String = (1..20_000).map(|n| format!("g{n} = [\"g{}\"]\n", n - 1)).collect();
    let text = format!("version = 1\n[groups]\ng0 = \"10.0.0.1\"\n{chain}");
    let set = RuleSet::parse("f.toml", &text).expect("it is right");
    assert!(set.groups()["g19999"].contains("10.0.0.1".parse().expect("an address")));
}

#[test]
fn encrypted_signalling_is_a_warning() {
    let text =
        "version = 1\n[[rule]]\nname = \"a\"\nservice = \"sips\"\naction = \"inspect\"\ninspect = \"sip\"\n";
    let set = RuleSet::parse("f.toml", text).expect("a warning is no error");
    assert_eq!(set.warnings().len(), 1);
    assert_eq!(set.warnings()[0].message, "`sips` is usually encrypted and cannot be read");
}

/// A file whose rules inspect SCCP, MGCP and TFTP, and these `[inspect]` tables.
fn inspecting(tables: &str) -> String {
    let rule = |protocol: &str, service: &str| {
        format!(
            "[[rule]]\nname = \"{protocol}\"\nservice = \"{service}\"\naction = \"inspect\"\n\
             inspect = \"{protocol}\"\n"
        )
    };
    let rules = [rule("sccp", "sccp"), rule("mgcp", "mgcp"), rule("tftp", "tftp")].concat();
    format!("version = 1\n{tables}\n[groups]\nagents = \"10.1.1.10\"\ngateways = \"10.30.0.0/28\"\n{rules}")
}

#[test]
fn inspect_tables_are_read() {
    let text = inspecting(
        r#"
[inspect.sccp]
allow                    = ["SEP*", "CIPC*"]
deny                     = "SEP00DEAD*"
phones                   = "SEP0011AABBCC??"
unknown_phones           = "refuse"
one_address_per_device   = false
mismatch                 = "refuse"
match_ethernet           = "event"
registrations_per_source = 24
registrations_per_second = 5
message_id_max           = 0x0160
unknown                  = "drop"
length_max               = 2048
[inspect.mgcp]
call_agents = "agents"
gateways    = ["gateways", "10.30.1.1"]
[inspect.tftp]
write     = true
files     = ["SEP*", "*.loads"]
match_mac = false
"#,
    );
    let set = RuleSet::parse("f.toml", &text).expect("it is right");
    assert!(set.warnings().is_empty());
    let patterns = |texts: &[&str]| texts.iter().filter_map(|text| Pattern::new(text)).collect::<Vec<_>>();
    let InspectPolicies { sccp, mgcp, tftp, .. } = set.inspect();
    let expected = SccpPolicy {
        allow: patterns(&["SEP*", "CIPC*"]),
        deny: patterns(&["SEP00DEAD*"]),
        phones: patterns(&["SEP0011AABBCC??"]),
        unknown_phones: Admission::Refuse,
        one_address_per_device: false,
        mismatch: Mismatch::Refuse,
        match_ethernet: Some(Mismatch::Event),
        registrations_per_source: 24,
        registrations_per_second: 5,
        message_id_max: 0x0160,
        unknown: UnknownMessage::Drop,
        length_max: 2_048,
    };
    assert_eq!(*sccp, expected);
    let among = |addresses: &Addresses, ip: &str| addresses.contains(ip.parse().expect("an address"));
    assert!(among(&mgcp.call_agents, "10.1.1.10") && !among(&mgcp.call_agents, "10.30.0.1"));
    assert!(among(&mgcp.gateways, "10.30.0.1") && among(&mgcp.gateways, "10.30.1.1"));
    assert_eq!(*tftp, TftpPolicy { write: true, files: patterns(&["SEP*", "*.loads"]), match_mac: false });
}

#[test]
fn without_inspect_tables_the_defaults_hold() {
    let set = RuleSet::parse("f.toml", &inspecting("")).expect("it is right");
    assert_eq!(*set.inspect(), InspectPolicies::default());
}

#[test]
fn inspect_tables_are_checked_in_full() {
    let text = inspecting(
        r#"[inspect.skinny]
[inspect.sccp]
alow                     = "SEP*"
allow                    = []
deny                     = ["SEP 1", ""]
unknown_phones           = "flagg"
one_address_per_device   = "yes"
registrations_per_source = 0
message_id_max           = 0x0100
unknown                  = "reject"
length_max               = 3
mismatch                 = "off"
match_ethernet           = "refused"
[inspect.mgcp]
call_agents = "agent"
[inspect.tftp]
files = 7
write = 0
"#,
    );
    assert_eq!(
        summary(&text),
        [
            "2:10 unknown key `skinny`",
            "4:1 unknown key `alow`",
            "5:28 `allow` is empty",
            "6:29 `deny` holds what cannot be a pattern",
            "6:38 `deny` holds what cannot be a pattern",
            "7:28 `unknown_phones` cannot be `flagg`",
            "8:28 `one_address_per_device` must be `true` or `false`, not a string",
            "9:28 `registrations_per_source` is out of range",
            "10:28 `message_id_max` is out of range",
            "11:28 `unknown` cannot be `reject`",
            "12:28 `length_max` is out of range",
            "13:28 `mismatch` cannot be `off`",
            "14:28 `match_ethernet` cannot be `refused`",
            "16:15 there is no group `agent`",
            "18:9 `files` must be a string or a list of strings, not an integer",
            "19:9 `write` must be `true` or `false`, not an integer",
        ]
    );
    let found = errors(&text);
    let suggestion = |line: u32| found.iter().find(|d| d.position.line == line)?.suggestion.as_deref();
    assert_eq!(suggestion(4), Some("did you mean `allow`?"));
    assert_eq!(suggestion(7), Some("did you mean `flag`?"));
    assert_eq!(suggestion(9), Some("permitted: 1 to 65535"));
    assert_eq!(suggestion(16), Some("did you mean `agents`?"));
}

#[test]
fn inspect_tables_that_change_nothing_are_warnings() {
    let warnings = |text: &str| -> Vec<String> {
        let set = RuleSet::parse("f.toml", text).expect("a warning is no error");
        let line = |d: &Diagnostic| format!("{}:{} {}", d.position.line, d.position.column, d.message);
        set.warnings().iter().map(line).collect()
    };
    assert_eq!(
        warnings("version = 1\n[inspect.tftp]\nwrite = true\n"),
        ["2:10 no rule inspects tftp: the table has no effect"]
    );
    assert_eq!(
        warnings(&inspecting("[inspect.sccp]\nunknown_phones = \"flag\"")),
        ["3:18 every phone is unknown: the table names no `phones`"]
    );
    assert_eq!(
        warnings(&inspecting("[inspect.sccp]\nphones = \"SEP*\"")),
        ["3:1 `phones` has no effect while unknown phones are allowed like them"]
    );
}

#[test]
fn slots_and_interfaces_have_bounds() {
    struct NoSlots;
    impl Slots for NoSlots {
        fn slot(&mut self, _: &str) -> Option<u32> {
            None
        }
    }
    let set = RuleSet::parse("f.toml", "version = 1\n[[rule]]\nname = \"a\"\naction = \"drop\"\n")
        .expect("it is right");
    let error = compile(&set, &Machine::default(), 1, &mut NoSlots).expect_err("no slot is left");
    assert_eq!(error, CompileError::Slots { rule: "a".into() });
    let machine = Machine { interfaces: &[(64, "eth64")], ..Machine::default() };
    let error = compile(&set, &machine, 1, &mut MemorySlots::default()).expect_err("there are 64");
    assert_eq!(error, CompileError::Interface { interface: "eth64".into(), slot: 64 });
}

fn parses_or_says_why(text: &str) {
    match RuleSet::parse("f.toml", text) {
        Ok(set) => {
            let _ = compile(&set, &Machine::default(), 1, &mut MemorySlots::default());
        }
        Err(found) => {
            assert!(found.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
            assert!(!Report(&found).to_string().is_empty());
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        parses_or_says_why(&text);
    }

    /// Files that are nearly right reach further than noise does.
    #[test]
    fn no_damaged_file_makes_it_panic(
        file in prop::sample::select(&SHIPPED[..]),
        at in any::<prop::sample::Index>(),
        gone in 0_usize..40,
        put in prop_oneof![
            "[\\[\\]{}\"=,./:\\-_ \t\n0-9a-z\u{e9}]{0,12}",
            prop::sample::select(VALUES.to_vec())
                .prop_map(str::to_owned),
        ],
    ) {
        let start = file.floor_char_boundary(at.index(file.len()));
        let end = file.floor_char_boundary(start + gone).max(start);
        parses_or_says_why(&format!("{}{put}{}", &file[..start], &file[end..]));
    }
}
