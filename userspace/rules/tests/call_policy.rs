//! `[policy]`: what it means, and what people are told of one that is wrong.

mod memory;

use std::sync::Arc;
use std::time::Duration;

use callgate_policy::spec::{Limits, UnknownDevices, Unmatched};
use callgate_policy::{Plan, Protocol};
use callgate_rules::RuleSet;
use memory::Memory;

const RULE: &str = "[[rule]]\nname = \"sip\"\nservice = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\n";

fn file(policy: &str) -> String {
    format!("version = 1\n[groups]\nphones = \"10.0.0.0/24\"\n{policy}\n{RULE}")
}

fn plan(policy: &str) -> Arc<Plan> {
    let set = RuleSet::parse("f.toml", &file(policy)).unwrap_or_else(|errors| panic!("{errors:?}"));
    set.call_policy().expect("a policy").clone()
}

/// Line, message and suggestion of everything that is wrong or unwise; the policy begins on line 4.
fn told(policy: &str) -> Vec<String> {
    let told = match RuleSet::parse("f.toml", &file(policy)) {
        Ok(set) => set.warnings().to_vec(),
        Err(errors) => errors,
    };
    let line = |d: &callgate_rules::Diagnostic| {
        format!("{} {}: {}", d.position.line, d.message, d.suggestion.as_deref().unwrap_or_default())
    };
    told.iter().map(line).collect()
}

const ALL_KEYS: &str = r#"
[policy]
emergency       = ["112", "0112"]
unmatched       = "far"
strangers       = ["near"]
pins            = ["*4711"]
pin_life        = "1h"
unknown_devices = "refuse"
refuse_with     = "decline"
limits          = { calls = 100, calls_per_minute = 60, minutes_per_day = 6000 }
[policy.country]
code = "49"
[[policy.normalise]]
pattern = "[2-9]T"
strip   = 0
prefix  = "+4930"
[policy.permission.near]
patterns = ["0", "+49"]
[policy.permission.far]
patterns        = "00"
longest         = "30min"
minutes_per_day = 10
calls           = 3
first_seen      = true
[[policy.caller]]
name     = "boss"
numbers  = ["100", "7.."]
names    = ["SEP*"]
from     = "phones"
outgoing = "all"
incoming = ["near"]
each     = { calls = 2 }
together = { calls_per_minute = 5 }
[[policy.caller]]
name  = "carrier"
from  = "192.0.2.1"
trunk = true
[[policy.after_hours]]
name     = "closed"
patterns = "00"
allow    = "0049"
when     = "mon-fri 18:00-08:00"
dates    = ["12-25", "2026-11-26", "12-24 12:00-24:00", "02-29"]
exempt   = "boss"
pin      = true
[policy.fraud]
permissions = "far"
short       = "10s"
prefix      = 5
night       = "22:00-06:00"
points      = { short = 1, night = 2, failed = 3 }
half_life   = "2h"
alarm       = 30
refuse      = 60
[[policy.register]]
name        = "desk phones"
protocols   = ["sccp", "sip"]
names       = ["SEP*", "1??"]
from        = "phones"
most        = 50
per_address = 1
"#;

#[test]
fn every_key_means_what_it_says() {
    let plan = plan(ALL_KEYS);
    let spec = plan.spec();
    assert_eq!(spec.emergency.len(), 2);
    assert_eq!((spec.unmatched, spec.unknown_devices), (Unmatched::Needs(1), UnknownDevices::Refuse));
    let names: Vec<&str> = spec.permissions.iter().map(|permission| &*permission.name).collect();
    assert_eq!(names, ["near", "far"]);
    assert!(plan.declines() && spec.pin_life == Duration::from_secs(3_600) && spec.pins.len() == 1);
    assert_eq!(
        spec.limits,
        Limits { calls: Some(100), calls_per_minute: Some(60), minutes_per_day: Some(6_000) }
    );
    for (dialled, normal) in [("0441", "+49441"), ("00441", "+441"), ("30", "+493030"), ("112", "112")] {
        assert_eq!(plan.normalise(dialled).expect("a number").as_str(), normal);
    }
    assert_eq!(plan.permission_of("0441"), Some("near"));
    assert_eq!(plan.permission_of("00441"), Some("far"));
    assert_eq!(plan.permission_of("0049441"), Some("near"), "by its normalised form");
    let far = &spec.permissions[1];
    assert_eq!((far.longest, far.minutes_per_day), (Some(Duration::from_secs(1_800)), Some(10)));
    assert_eq!((far.calls, far.first_seen), (Some(3), true));
    let [boss, carrier] = &spec.callers[..] else { panic!("two callers") };
    assert_eq!((&*boss.name, boss.numbers.len(), boss.names.len()), ("boss", 2, 1));
    assert!(boss.from.as_ref().is_some_and(|from| from.contains([10, 0, 0, 7].into())));
    assert!(boss.outgoing.has(1) && boss.incoming.has(0) && !boss.incoming.has(1));
    assert_eq!((boss.each.calls, boss.together.calls_per_minute), (Some(2), Some(5)));
    assert!(carrier.trunk && !boss.trunk && carrier.outgoing.has(1));
    let [closed] = &spec.blocks[..] else { panic!("a block") };
    assert_eq!((&closed.exempt[..], closed.pin, closed.allow.len()), (&[0][..], true, 1));
    let on = |month, day, hour| closed.hours.contains(jiff::civil::date(2026, month, day).at(hour, 0, 0, 0));
    // 2026-11-23 is a Monday.
    assert!(on(11, 23, 18) && on(11, 24, 7) && !on(11, 24, 8) && !on(11, 24, 17));
    assert!(on(11, 26, 12) && on(12, 25, 12) && on(12, 24, 12) && !on(12, 24, 11));
    let fraud = spec.fraud.as_ref().expect("scores");
    assert_eq!((fraud.short_points, fraud.night_points, fraud.failed_points), (1, 2, 3));
    assert_eq!((fraud.alarm, fraud.refuse, fraud.prefix), (30, Some(60), 5));
    assert_eq!((fraud.short.as_secs(), fraud.half_life.as_secs()), (10, 7_200));
    assert!(fraud.permissions.has(1) && !fraud.permissions.has(0));
    let [rule] = &spec.registrations[..] else { panic!("a rule") };
    assert_eq!(rule.protocols, [Protocol::Sccp, Protocol::Sip]);
    assert_eq!((rule.names.len(), rule.most, rule.per_address), (2, Some(50), Some(1)));
    assert!(told(ALL_KEYS).is_empty(), "{:?}", told(ALL_KEYS));
}

#[test]
fn without_the_table_there_is_no_policy() {
    assert!(RuleSet::parse("f.toml", &file("")).expect("it is right").call_policy().is_none());
}

#[test]
fn names_that_are_not_there_are_told_with_what_was_meant() {
    const PERMISSION: &str =
        "[policy]\nemergency = \"112\"\n[policy.permission.international]\npatterns = \"00\"\n";
    let with = |policy: &str| told(&format!("{PERMISSION}{policy}"));
    assert_eq!(
        with("[[policy.caller]]\nname = \"a\"\nnumbers = \"1\"\noutgoing = \"internatonal\""),
        ["11 there is no permission `internatonal`: did you mean `international`?"]
    );
    assert_eq!(
        with("[[policy.caller]]\nname = \"a\"\nnumbers = \"1\"\noutgoing = \"emergency\""),
        [
            "11 nobody needs a permission for emergency calls: leave it out: everybody may call the numbers of `emergency`"
        ]
    );
    assert_eq!(
        with(
            "[[policy.caller]]\nname = \"boss\"\nnumbers = \"1\"\n[[policy.after_hours]]\nname = \"b\"\n\
              patterns = \"00\"\nexempt = \"bos\""
        ),
        ["14 there is no caller `bos`: did you mean `boss`?"]
    );
    assert_eq!(
        told("[policy]\nemergency = \"112\"\nunmatched = \"refused\""),
        ["6 `unmatched` cannot be `refused`: did you mean `refuse`?"]
    );
    assert_eq!(
        told("[policy]\nemergency = \"112\"\nemergncy = \"112\""),
        ["6 unknown key `emergncy`: did you mean `emergency`?"]
    );
    assert_eq!(
        with("[[policy.register]]\nname = \"a\"\nprotocols = \"mgcp\""),
        ["10 nothing registers by `mgcp`: permitted: `sip`, `sccp`, `h323`"]
    );
}

#[test]
fn patterns_that_are_none_are_told() {
    let told = |pattern: &str| {
        told(&format!(
            "[policy]\nemergency = \"112\"\n[policy.permission.far]\npatterns = [\"00\", \"{pattern}\"]"
        ))
    };
    assert_eq!(
        told("9NXX"),
        ["7 `9NXX` is no dial pattern: `N` has no meaning in a dial pattern: did you mean `9...`?"]
    );
    assert_eq!(
        told("91[2-"),
        ["7 `91[2-` is no dial pattern: `[` begins a range such as `[2-9]` or `[13-5]`: \
          write as in `9011T`, `91[2-9]..`, `+44T` or `911$`"]
    );
    assert_eq!(
        told("00T"),
        [
            "7 these numbers need `far` already (line 7): a pattern stands once: each number needs one permission"
        ]
    );
}

#[test]
fn a_number_needs_one_permission() {
    let policy = "[policy]\nemergency = \"112\"\n[policy.permission.far]\npatterns = \"00\"\n\
                  [policy.permission.abroad]\npatterns = \"00T\"";
    assert_eq!(
        told(policy),
        [
            "9 these numbers need `far` already (line 7): a pattern stands once: each number needs one permission"
        ]
    );
}

#[test]
fn emergency_numbers_that_something_else_decides_about_are_errors() {
    let hint = "emergency numbers are refused by nothing: take them out of the one or the other";
    let policy = |rest: &str| format!("[policy]\nemergency = [\"112\", \"0911T\"]\n{rest}");
    assert_eq!(
        told(&policy("[policy.permission.far]\npatterns = [\"1\", \"0911\", \"09115\", \"112\", \"112$\"]")),
        [
            format!(
                "7 `0911T` of permission `far` would decide about numbers that `0911T` of `emergency` has: {hint}"
            ),
            format!(
                "7 `09115T` of permission `far` would decide about numbers that `0911T` of `emergency` has: {hint}"
            ),
            format!(
                "7 `112$` of permission `far` would decide about numbers that `112$` of `emergency` has: {hint}"
            ),
        ]
    );
    assert_eq!(
        told(&policy("[[policy.after_hours]]\nname = \"closed\"\npatterns = [\"1\", \"112$\"]")),
        [format!(
            "5 `112$` of after-hours block `closed` would decide about numbers that `112$` of `emergency` has: {hint}"
        )]
    );
    assert_eq!(
        told("[policy.permission.emergency]\npatterns = \"112\""),
        [
            "4 emergency numbers need no permission: write them into `emergency = [\"911\", …]` of `[policy]`: \
          it is refused to nobody"
        ]
    );
    assert_eq!(told("[policy]\nunmatched = \"refuse\"").len(), 1, "no emergency number at all is told");
}

#[test]
fn what_cannot_be_is_an_error() {
    for (policy, line, message) in [
        ("[[policy.caller]]\nname = \"a\"", 4, "the caller matches everybody"),
        (
            "[[policy.caller]]\nname = \"a\"\ntrunk = true\nnumbers = \"1\"",
            4,
            "a trunk is told by its addresses",
        ),
        ("[[policy.caller]]\nnumbers = \"1\"", 4, "the `caller` has no `name`"),
        ("[[policy.after_hours]]\nname = \"a\"", 4, "nothing is blocked"),
        (
            "[[policy.after_hours]]\nname = \"a\"\npatterns = \"00\"\ndates = \"02-30\"",
            7,
            "`02-30` is no date",
        ),
        (
            "[[policy.after_hours]]\nname = \"a\"\npatterns = \"00\"\ndates = \"2026-02-29\"",
            7,
            "`2026-02-29` is no date",
        ),
        (
            "[[policy.after_hours]]\nname = \"a\"\npatterns = \"00\"\ndates = \"12-31 18:00-06:00\"",
            7,
            "`18:00-06:00` goes past the end of the day",
        ),
        ("[policy.country]\nnational = \"0\"", 4, "the country has no `code`"),
        (
            "[policy.country]\ncode = \"49\"\nnational = \"00\"",
            4,
            "`international` and `national` are the same: nobody could tell which is dialled",
        ),
        (
            "[[policy.normalise]]\npattern = \"00\"\nstrip = 3",
            4,
            "`strip` takes more than the 2 characters of `pattern`",
        ),
        ("[[policy.normalise]]\npattern = \"00\"", 4, "nothing is changed"),
        ("[policy]\npin_life = \"2d\"", 5, "`pin_life` is too long"),
        ("[policy]\nlimits = { calls = 0 }", 5, "`calls` is out of range"),
        ("[policy.permission.all]\npatterns = \"00\"", 4, "`all` cannot name a permission"),
        ("[policy]\ncaller = 1", 5, "`caller` is not a list of tables"),
        (
            "[[policy.register]]\nname = \"a\"\n[[policy.register]]\nname = \"a\"",
            7,
            "a `register` named `a` stands at line 5 already",
        ),
    ] {
        let told = told(policy);
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{line} {message}: "))),
            "{policy}\n{told:?}"
        );
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    for (policy, message) in [
        ("[policy]\nemergency = \"112\"\npins = \"*1\"", "no block is opened by a pin: `pins` has no effect"),
        (
            "[policy]\nemergency = \"112\"\n[[policy.after_hours]]\nname = \"a\"\npatterns = \"00\"\npin = true",
            "there are no pins that could open a block",
        ),
        ("[policy]\nemergency = \"112\"\nunknown_devices = \"alarm\"", "every device is unknown"),
        (
            "[policy]\nemergency = \"112\"\n[policy.permission.far]\npatterns = \"00\"\nfirst_seen = true",
            "`first_seen` knows destinations by numbers that begin with `+`, and none is normalised to one",
        ),
        (
            "[policy]\nemergency = \"112\"\n[policy.country]\ncode = \"49\"\n[policy.permission.far]\npatterns = \"+\"",
            "every number that is normalised to `+…` needs this permission, whatever patterns of dialled digits say",
        ),
    ] {
        let told = told(policy);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(message), "{told:?}");
    }
    let text = "version = 1\n[policy]\nemergency = \"112\"\n[[rule]]\nname = \"a\"\naction = \"track\"\n";
    let set = RuleSet::parse("f.toml", text).expect("it is right");
    assert_eq!(set.warnings()[0].message, "no rule inspects calls: the table has no effect");
}

#[test]
fn patterns_and_names_come_from_files() {
    let text = file(
        "[policy]\nemergency = \"112\"\n[policy.permission.premium]\npatterns = { file = \"lists/premium.txt\" }\n\
         [[policy.caller]]\nname = \"a\"\nnames = { file = \"devices.txt\" }",
    );
    let files = |premium: &str| {
        Memory::default()
            .with("f.toml", &text)
            .with("lists/premium.txt", premium)
            .with("devices.txt", "SEP0011AABBCCDD\nSEP0011AABBCCDE # the lobby\n")
    };
    let set = files("# costs\n\n0900\t# all\n  *#1\n").load("f.toml").expect("it is right");
    let plan = set.call_policy().expect("a policy");
    assert_eq!(plan.permission_of("0900123"), Some("premium"));
    assert_eq!(plan.permission_of("*#1"), Some("premium"));
    assert_eq!(plan.spec().callers[0].names.len(), 2);
    let report = files("0900\n09x\n").load("f.toml").expect_err("it is wrong");
    assert!(report.starts_with("lists/premium.txt:2:1: error: `09x` is no dial pattern"), "{report}");
    let report = files("0900 0137\n").load("f.toml").expect_err("it is wrong");
    assert!(report.contains("a line has one word: `0137` is a second"), "{report}");
}

#[test]
fn one_file_has_the_policy() {
    let files = Memory::default()
        .with("f.toml", &format!("version = 1\ninclude = \"g.toml\"\n[policy]\nemergency = \"112\"\n{RULE}"))
        .with("g.toml", "[policy]\nemergency = \"110\"\n");
    let report = files.load("f.toml").expect_err("it is wrong");
    assert!(report.contains("`[policy]` stands in g.toml already"), "{report}");
}

#[test]
fn a_hundred_thousand_patterns_and_ten_thousand_callers_are_read() {
    let patterns: String = (0..100_000).map(|number| format!("00{number:06}\n")).collect();
    let callers: String = (0..10_000)
        .map(|number| {
            format!("[[policy.caller]]\nname = \"{number}\"\nnumbers = \"2{number:05}\"\nfrom = \"phones\"\n")
        })
        .collect();
    let policy =
        "[policy]\nemergency = \"112\"\n[policy.permission.far]\npatterns = { file = \"far.txt\" }\n";
    let set = Memory::default()
        .with("f.toml", &file(&format!("{policy}{callers}")))
        .with("far.txt", &patterns)
        .load("f.toml")
        .expect("it is right");
    let plan = set.call_policy().expect("a policy");
    assert_eq!((plan.permission_of("000999991"), plan.permission_of("009")), (Some("far"), None));
    assert_eq!(plan.spec().callers.len(), 10_000);
    assert!(plan.memory() < 16 << 20, "{}", plan.memory());
}
