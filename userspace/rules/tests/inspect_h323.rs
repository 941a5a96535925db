//! `[inspect.h323]`, and what a rule's `h323` lays over it.

use std::time::Duration;

use callgate_rules::inspect::h323::{H323Policy, MediaType, PartyFilter, Rate, StateCheck, Tunnelling};
use callgate_rules::inspect::{Pattern, UnknownMessage};
use callgate_rules::ruleset::Period;
use callgate_rules::{Addresses, RuleSet};

/// A file with these tables, and a rule that inspects H.323 and has this key.
fn file(tables: &str, key: &str) -> String {
    format!(
        "version = 1\n[groups]\ngatekeepers = [\"10.1.1.20\", \"2001:db8::20\"]\n{tables}\n\
         [[rule]]\nname = \"h323\"\nservice = \"h323\"\naction = \"inspect\"\ninspect = \"h323\"\n{key}\n"
    )
}

fn read(tables: &str, key: &str) -> RuleSet {
    RuleSet::parse("f.toml", &file(tables, key)).expect("it is right")
}

fn messages(tables: &str, key: &str) -> Vec<String> {
    match RuleSet::parse("f.toml", &file(tables, key)) {
        Ok(set) => set.warnings().iter().map(|warning| warning.message.clone()).collect(),
        Err(errors) => errors.iter().map(|error| error.message.clone()).collect(),
    }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).expect("a pattern")).collect()
}

const ALL_KEYS: &str = r#"
[inspect.h323]
gatekeepers       = "gatekeepers"
routed_only       = true
require_admission = true
require_tokens    = true
tunnelling        = "block"
state             = "refuse"
calling_allow     = ["1*"]
calling_deny      = "1900*"
called_allow      = ["2*", "0049*"]
called_deny       = ["00900*"]
media_types       = ["audio", "t38"]
calls_max         = 100
calls_per_source  = 10
call_rate         = "30/min"
call_max          = "2h"
ras_rate          = "20/s"
registration_max  = "10min"
unknown           = "drop"
undecodable       = "pass"
"#;

#[test]
fn every_key_is_read() {
    let set = read(ALL_KEYS, "");
    assert!(set.warnings().is_empty());
    let policy = &set.inspect().h323;
    let gatekeepers = policy.gatekeepers.clone();
    assert!(gatekeepers.contains("2001:db8::20".parse().expect("an address")));
    assert!(!gatekeepers.contains("10.1.1.21".parse().expect("an address")));
    let expected = H323Policy {
        gatekeepers,
        routed_only: true,
        require_admission: true,
        tunnelling: Tunnelling::Block,
        state: StateCheck::Refuse,
        calling: PartyFilter { allow: patterns(&["1*"]), deny: patterns(&["1900*"]) },
        called: PartyFilter { allow: patterns(&["2*", "0049*"]), deny: patterns(&["00900*"]) },
        media_types: [MediaType::Audio, MediaType::T38].into_iter().collect(),
        calls_max: Some(100),
        calls_per_source: Some(10),
        call_rate: Some(Rate { events: 30, period: Period::Minute }),
        call_max: Some(Duration::from_secs(7_200)),
        ras_rate: Some(Rate { events: 20, period: Period::Second }),
        require_tokens: true,
        registration_max: Duration::from_secs(600),
        unknown: UnknownMessage::Drop,
        undecodable: UnknownMessage::Pass,
    };
    assert_eq!(*policy, expected);
    assert_eq!(set.rules()[0].h323, None);
}

#[test]
fn a_rule_lays_its_own_over_the_table() {
    let set = read(
        "[inspect.h323]\ntunnelling = \"block\"\ncalls_max = 5",
        "h323 = { calls_max = 7, called_allow = [\"2*\"] }",
    );
    assert_eq!(set.inspect().h323.calls_max, Some(5));
    let rule = set.rules()[0].h323.as_deref().expect("its own");
    assert_eq!((rule.tunnelling, rule.calls_max), (Tunnelling::Block, Some(7)));
    assert_eq!(rule.called.allow, patterns(&["2*"]));
    assert_eq!(rule.gatekeepers, Addresses::Any);
}

#[test]
fn mistakes_are_told() {
    let tables = "[inspect.h323]\ngatekeeper = \"gatekeepers\"\nrouted_only = true\nstate = \"strict\"\n\
                  media_types = [\"audio\", \"telex\"]\ncalls_max = 0\ncall_rate = \"often\"\ncall_max = 7\n\
                  calling_allow = []\ncalled_deny = [\"a b\"]";
    assert_eq!(
        messages(tables, ""),
        [
            "unknown key `gatekeeper`",
            "`routed_only` needs to know the gatekeepers",
            "`state` cannot be `strict`",
            "`media_types` cannot hold `telex`",
            "`calls_max` is out of range",
            "`often` is not a rate",
            "`call_max` has no unit",
            "`calling_allow` is empty",
            "`called_deny` holds what cannot be a pattern",
        ]
    );
}

#[test]
fn a_rule_that_reads_no_h323_has_no_policy_for_it() {
    let text = "version = 1\n[[rule]]\nname = \"sip\"\nservice = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\n\
                h323 = { calls_max = 1 }\n";
    let errors = RuleSet::parse("f.toml", text).expect_err("it makes no sense");
    assert!(
        errors[0].message.starts_with("`h323` goes only with `inspect = \"h323\"`"),
        "{}",
        errors[0].message
    );
}

#[test]
fn a_table_nobody_uses_is_a_warning() {
    let text = "version = 1\n[inspect.h323]\ncalls_max = 1\n[[rule]]\nname = \"x\"\naction = \"drop\"\n";
    let set = RuleSet::parse("f.toml", text).expect("it is right");
    assert_eq!(set.warnings()[0].message, "no rule inspects h323: the table has no effect");
    for part in ["h225", "h245"] {
        let text = format!(
            "version = 1\n[inspect.h323]\ncalls_max = 1\n[[rule]]\nname = \"x\"\nservice = \"tcp/1720\"\n\
             action = \"inspect\"\ninspect = \"{part}\"\n"
        );
        assert!(RuleSet::parse("f.toml", &text).expect("it is right").warnings().is_empty(), "{part}");
    }
}
