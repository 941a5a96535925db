//! `[inspect.sip]`, what a rule's `sip` lays over it, and `tls_media`.

mod memory;

use std::time::Duration;

use callgate_rules::compile::MemorySlots;
use callgate_rules::inspect::sip::{
    Dialogs, Guard, NatClients, Notify, Rate, Replaces, SipPolicy, TcpMedia, UnknownMethod,
};
use callgate_rules::inspect::{Pattern, UnknownMessage};
use callgate_rules::ruleset::{Period, RuleAction};
use callgate_rules::{Addresses, Machine, RuleSet, Service, compile};
use callgate_shared::policy::{ZONE_SELF, rule_flags};
use memory::Memory;

/// A file with these tables, and a rule that inspects SIP and has this key.
fn file(tables: &str, key: &str) -> String {
    format!(
        "version = 1\n{tables}\n[[rule]]\nname = \"sip\"\nservice = \"sip\"\naction = \"inspect\"\n\
         inspect = \"sip\"\n{key}\n"
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

const ALL_KEYS: &str = r#"
[inspect.sip]
methods            = ["INVITE", "OPTIONS"]
methods_back       = "NOTIFY"
unknown_methods    = "refuse"
refer              = "in-dialog"
subscribe          = "refuse"
message            = "refuse"
notify             = "subscribed"
replaces           = "known"
require_auth       = ["REGISTER", "INVITE"]
calling_allow      = ["1*"]
calling_deny       = "1900*"
called_allow       = ["2*"]
called_deny        = ["0900*"]
dialogs_max        = 100
dialogs_per_source = 10
call_max           = "2h"
rates              = { INVITE = "10/s", any = "100/min" }
rates_to           = { REGISTER = "5/s" }
message_max        = 8192
headers_max        = 64
uri_max            = 256
max_forwards       = 70
not_sip            = "pass"
scanners           = ["friendly-scanner"]
guard              = "event"
auth_failures      = "10/min"
account_failures   = "5/min"
sweep              = 8
guard_block        = "1h"
registration_min   = "30s"
registration_max   = "10min"
tcp_media          = "allow"
nat_clients        = "latch"
latch_window       = "5s"
"#;

#[test]
fn every_key_is_read() {
    let set = read(ALL_KEYS, "");
    assert!(set.warnings().is_empty());
    let policy = &set.inspect().sip;
    let rate = |events, period| Rate { events, period };
    let methods = policy.methods(false).expect("some");
    assert!(methods.has("INVITE") && methods.has("OPTIONS") && !methods.has("NOTIFY"));
    assert!(policy.methods(true).is_some_and(|methods| methods.has("NOTIFY")));
    assert_eq!(policy.unknown_methods, UnknownMethod::Refuse);
    assert_eq!(
        (policy.refer, policy.subscribe, policy.message),
        (Dialogs::Inside, Dialogs::Refuse, Dialogs::Refuse)
    );
    assert_eq!((policy.notify, policy.replaces), (Notify::Subscribed, Replaces::Known));
    assert!(policy.require_auth.as_ref().is_some_and(|methods| methods.has("REGISTER")));
    assert!(policy.calling.permits(["12"].into_iter()) && !policy.calling.permits(["1900"].into_iter()));
    assert!(policy.called.permits(["22"].into_iter()) && !policy.called.permits(["0900"].into_iter()));
    assert_eq!((policy.dialogs_max, policy.dialogs_per_source), (Some(100), Some(10)));
    assert_eq!(policy.call_max, Some(Duration::from_secs(7_200)));
    assert_eq!(policy.rates.of("INVITE"), Some((0, rate(10, Period::Second))));
    assert_eq!(policy.rates.any, Some(rate(100, Period::Minute)));
    assert_eq!(policy.rates_to.of("REGISTER"), Some((0, rate(5, Period::Second))));
    let bounds = (policy.message_max, policy.headers_max, policy.uri_max, policy.max_forwards);
    assert_eq!(bounds, (8_192, 64, 256, 70));
    assert_eq!(policy.not_sip, UnknownMessage::Pass);
    assert_eq!(policy.scanners, [Pattern::new("friendly-scanner").expect("a pattern")]);
    assert_eq!((policy.guard, policy.sweep), (Guard::Event, 8));
    assert_eq!(
        (policy.auth_failures, policy.account_failures),
        (rate(10, Period::Minute), rate(5, Period::Minute))
    );
    let times = [policy.guard_block, policy.registration_min, policy.registration_max, policy.latch_window];
    assert_eq!(times.map(|time| time.as_secs()), [3_600, 30, 600, 5]);
    assert_eq!((policy.tcp_media, policy.nat_clients), (TcpMedia::Allow, NatClients::Latch));
}

#[test]
fn a_rule_lays_its_own_over_the_table() {
    let set = read(
        "[inspect.sip]\nrefer = \"refuse\"\nuri_max = 100",
        "sip = { message = \"refuse\", uri_max = 200 }",
    );
    assert_eq!(set.inspect().sip.message, Dialogs::Allow);
    let own = set.rules()[0].sip.as_deref().expect("a policy of its own");
    assert_eq!((own.refer, own.message, own.uri_max), (Dialogs::Refuse, Dialogs::Refuse, 200));
    assert!(read("", "").rules()[0].sip.is_none());
    assert_eq!(read("", "").inspect().sip, SipPolicy::default());
}

#[test]
fn what_is_wrong_is_told() {
    for (table, expected) in [
        ("refre = \"refuse\"", "unknown key `refre`"),
        ("methods = []", "`methods` is empty"),
        ("methods = [\"IN VITE\"]", "`methods` holds what cannot be a method"),
        ("methods = [\"invite\"]", "`invite` is not the method `INVITE`"),
        ("rates = { INVITE = \"fast\" }", "`fast` is not a rate"),
        ("rates = { \"A B\" = \"1/s\" }", "`rates` holds what cannot be a method"),
        ("latch_window = \"2min\"", "`latch_window` is too long"),
        (
            "registration_min = \"2h\"\nregistration_max = \"1h\"",
            "the shortest life of a registration is longer than the longest",
        ),
        ("scanners = { fiel = \"x\" }", "unknown key `fiel`"),
        ("scanners = { file = \"missing.txt\" }", "cannot read `missing.txt`: other files are not read here"),
        ("guard = \"yes\"", "`guard` cannot be `yes`"),
    ] {
        let told = messages(&format!("[inspect.sip]\n{table}"), "");
        assert!(told.iter().any(|told| told.starts_with(expected)), "{table}: {told:?}");
    }
    let h323 = "version = 1\n[[rule]]\nname = \"a\"\nservice = \"h225\"\naction = \"inspect\"\ninspect = \"h225\"\n\
                sip = { refer = \"refuse\" }\n";
    assert!(RuleSet::parse("f.toml", h323).is_err());
}

#[test]
fn scanners_come_from_a_file() {
    let load = |text: &str| {
        Memory::default()
            .with("f.toml", &file("[inspect.sip]\nscanners = { file = \"lists/bad.txt\" }", ""))
            .with("lists/bad.txt", text)
            .load("f.toml")
    };
    let set = load("# tools\nfriendly-scanner\n\n  sipvicious*  # another\n").expect("it is right");
    let names: Vec<String> = set.inspect().sip.scanners.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["friendly-scanner", "sipvicious*"]);
    let report = load("two words\n").expect_err("it is wrong");
    assert!(
        report.contains("`two words` cannot be a pattern") && report.contains("lists/bad.txt:1"),
        "{report}"
    );
}

#[test]
fn the_list_that_is_shipped_is_read_and_spares_telephones() {
    let text = include_str!("../../../rules/sip-scanners.txt");
    let set = Memory::default()
        .with("f.toml", &file("[inspect.sip]\nscanners = { file = \"sip-scanners.txt\" }", ""))
        .with("sip-scanners.txt", text)
        .load("f.toml")
        .unwrap_or_else(|report| panic!("{report}"));
    let scanners = &set.inspect().sip.scanners;
    let found = |agent: &str| scanners.iter().any(|pattern| pattern.matches(agent));
    for agent in ["friendly-scanner", "sipvicious/0.3", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "SIPScan"] {
        assert!(found(agent), "{agent}");
    }
    for agent in [
        "Asterisk PBX 20.5.0",
        "Cisco-CP8841/14.2",
        "baresip v3.10.0 (x86_64/Linux)",
        "Yealink SIP-T46S 66.86.0.15",
        "Polycom/6.4.0 PolycomVVX-VVX_411-UA/6.4.0",
        "Linphone/5.2 (belle-sip/5.2)",
        "Zoiper rv2.10.20.4",
        "Grandstream GXP2170 1.0.11.64",
        "FreeSWITCH-mod_sofia/1.10.9",
        "kamailio (5.7.2 (x86_64/linux))",
        "sipp",
    ] {
        assert!(!found(agent), "{agent}");
    }
}

const SIPS: &str = "version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n[settings]\n\
    media_ports = \"20000-20999\"\n[[rule]]\nname = \"sips\"\nfrom = \"192.0.2.0/24\"\nto = \"10.0.0.5\"\n\
    service = \"sips\"\n";

#[test]
fn media_of_what_cannot_be_read_is_opened_from_within() {
    let set = RuleSet::parse("f.toml", &format!("{SIPS}action = \"track\"\ntls_media = \"from-inside\"\n"));
    let set = set.expect("it is right");
    assert!(set.warnings().is_empty());
    let [sips, there, back] = set.rules() else { panic!("three rules") };
    assert!(!sips.rtp && there.rtp && back.rtp);
    assert_eq!((there.name.as_str(), back.name.as_str()), ("sips: media", "sips: media back"));
    assert_eq!((&there.from, &there.to), (&sips.from, &sips.to));
    assert_eq!((&back.from, &back.to), (&sips.to, &sips.from));
    for rule in [there, back] {
        let inside = set.zone_of("eth1");
        assert!(
            rule.zones.contains(inside)
                && rule.zones.contains(ZONE_SELF)
                && !rule.zones.contains(set.zone_of("eth0"))
        );
        assert_eq!(rule.action, RuleAction::Track);
        let [Service::Udp(ports)] = &rule.services[..] else { panic!("{:?}", rule.services) };
        assert_eq!((ports.to.clone(), ports.from.clone()), (20_000..=20_999, 20_000..=20_999));
        assert!(rule.limit.is_some());
    }
    let machine = Machine::at(jiff::Zoned::default());
    let compiled = compile(&set, &machine, 1, &mut MemorySlots::default()).expect("it fits");
    let rtp = compiled.rules.iter().filter(|rule| rule.flags & rule_flags::RTP != 0).count();
    assert!(rtp >= 2, "{rtp}");
    assert_ne!(there.from, Addresses::Any);
}

#[test]
fn tls_media_has_its_place() {
    let errors = |rest: &str| {
        let errors = RuleSet::parse("f.toml", &format!("{SIPS}{rest}")).expect_err("it is wrong");
        errors.iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let off = RuleSet::parse("f.toml", &format!("{SIPS}action = \"track\"\ntls_media = \"off\"\n"));
    assert_eq!(off.expect("it is right").rules().len(), 1);
    assert!(
        errors("action = \"drop\"\ntls_media = \"from-inside\"\n").contains("`tls_media` goes only with")
    );
    assert!(
        errors("action = \"track\"\ntls_media = \"from-insied\"\n")
            .contains("`tls_media` cannot be `from-insied`")
    );
    assert!(errors("action = \"track\"\ntls_media = true\n").contains("`tls_media` must be a string"));
}
