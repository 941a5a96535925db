//! The `[inspect.h323]`, `[inspect.sip]`, `[inspect.sccp]`, `[inspect.mgcp]` and `[inspect.tftp]` tables.

pub(super) mod h323;
pub(super) mod sip;

use super::addresses::{Names, addresses, empty_list};
use super::checker::{Checker, Root, Section, Value};
use super::settings::set;
use crate::files::Files;
use crate::inspect::{
    Admission, InspectPolicies, MgcpPolicy, Mismatch, Pattern, SccpPolicy, TftpPolicy, UnknownMessage,
};
use crate::ruleset::{Protocol, Rule, RuleAction};

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("h323", Protocol::H323),
    ("sip", Protocol::Sip),
    ("sccp", Protocol::Sccp),
    ("mgcp", Protocol::Mgcp),
    ("tftp", Protocol::Tftp),
];

pub(super) const SCCP: [&str; 12] = [
    "allow",
    "deny",
    "length_max",
    "match_ethernet",
    "message_id_max",
    "mismatch",
    "one_address_per_device",
    "phones",
    "registrations_per_second",
    "registrations_per_source",
    "unknown",
    "unknown_phones",
];
pub(super) const MGCP: [&str; 2] = ["call_agents", "gateways"];
pub(super) const TFTP: [&str; 3] = ["files", "match_mac", "write"];

/// The whole `[inspect]` table, with defaults where it says nothing.
pub(super) fn inspect(
    checker: &mut Checker<'_>,
    roots: &[Root<'_>],
    names: &Names<'_>,
    files: &impl Files,
) -> InspectPolicies {
    let mut policies = InspectPolicies::default();
    for root in roots {
        checker.enter(root.file);
        let value = root.section.get("inspect");
        let Some(section) = value.and_then(|value| checker.table("inspect", value)) else { continue };
        checker.known_keys(&section, &PROTOCOLS.map(|(name, _)| name));
        for (name, protocol) in PROTOCOLS {
            let Some(section) = section.get(name).and_then(|value| checker.table(name, value)) else {
                continue;
            };
            match protocol {
                Protocol::H323 => h323::h323(checker, &section, names, &mut policies.h323),
                Protocol::Sip => sip::sip(checker, &section, files, &mut policies.sip),
                Protocol::Sccp => sccp(checker, &section, &mut policies.sccp),
                Protocol::Mgcp => mgcp(checker, &section, names, &mut policies.mgcp),
                _ => tftp(checker, &section, &mut policies.tftp),
            }
        }
    }
    policies
}

/// A warning for each table that speaks of a protocol no rule inspects.
pub(super) fn unused(checker: &mut Checker<'_>, root: &Root<'_>, rules: &[Rule]) {
    checker.enter(root.file);
    let inspect = root.section.get("inspect");
    let Some(section) = inspect.and_then(|value| value.get_ref().as_table()) else { return };
    for (name, protocol) in PROTOCOLS {
        let Some((key, _)) = section.get_key_value(name) else { continue };
        let part = |of: Protocol| {
            let parts = [Protocol::H225, Protocol::H245, Protocol::Ras];
            of == protocol || protocol == Protocol::H323 && parts.contains(&of)
        };
        if !rules.iter().any(|rule| matches!(rule.action, RuleAction::Inspect(of) if part(of))) {
            checker.warn(
                &key.span(),
                format!("no rule inspects {name}: the table has no effect"),
                format!("a rule with `action = \"inspect\"` and `inspect = \"{name}\"` gives it one"),
            );
        }
    }
}

fn sccp(checker: &mut Checker<'_>, section: &Section<'_>, policy: &mut SccpPolicy) {
    checker.known_keys(section, &SCCP);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "allow" => policy.allow = patterns(checker, key, value),
            "deny" => policy.deny = patterns(checker, key, value),
            "phones" => policy.phones = patterns(checker, key, value),
            "unknown_phones" => {
                let options =
                    [("allow", Admission::Allow), ("flag", Admission::Flag), ("refuse", Admission::Refuse)];
                set(&mut policy.unknown_phones, checker.choice(key, value, &options));
            }
            "one_address_per_device" => {
                set(&mut policy.one_address_per_device, checker.boolean(key, value));
            }
            "mismatch" => {
                let options = [("event", Mismatch::Event), ("refuse", Mismatch::Refuse)];
                set(&mut policy.mismatch, checker.choice(key, value, &options));
            }
            "match_ethernet" => {
                let options =
                    [("off", None), ("event", Some(Mismatch::Event)), ("refuse", Some(Mismatch::Refuse))];
                set(&mut policy.match_ethernet, checker.choice(key, value, &options));
            }
            "registrations_per_source" => {
                set(&mut policy.registrations_per_source, checker.integer(key, value, 1..=65_535));
            }
            "registrations_per_second" => {
                set(&mut policy.registrations_per_second, checker.integer(key, value, 1..=10_000));
            }
            "message_id_max" => set(&mut policy.message_id_max, checker.integer(key, value, 0x0160..=0xffff)),
            "unknown" => set(&mut policy.unknown, unknown(checker, key, value)),
            "length_max" => set(&mut policy.length_max, checker.integer(key, value, 512..=65_535)),
            _ => {}
        }
    }
    known_phones(checker, section, policy);
}

/// `phones` and `unknown_phones` mean nothing without one another.
fn known_phones(checker: &mut Checker<'_>, section: &Section<'_>, policy: &SccpPolicy) {
    match (section.key("phones"), section.get("unknown_phones")) {
        (None, Some(value)) if policy.unknown_phones != Admission::Allow => checker.warn(
            &value.span(),
            "every phone is unknown: the table names no `phones`",
            "add `phones = [\"SEP0011AABBCCDD\", …]`",
        ),
        (Some(key), _) if policy.unknown_phones == Admission::Allow => checker.warn(
            &key.span(),
            "`phones` has no effect while unknown phones are allowed like them",
            "add `unknown_phones = \"flag\"` or `\"refuse\"`",
        ),
        _ => {}
    }
}

fn mgcp(checker: &mut Checker<'_>, section: &Section<'_>, names: &Names<'_>, policy: &mut MgcpPolicy) {
    checker.known_keys(section, &MGCP);
    if let Some(value) = section.get("call_agents") {
        policy.call_agents = addresses(checker, "call_agents", value, names);
    }
    if let Some(value) = section.get("gateways") {
        policy.gateways = addresses(checker, "gateways", value, names);
    }
}

fn tftp(checker: &mut Checker<'_>, section: &Section<'_>, policy: &mut TftpPolicy) {
    checker.known_keys(section, &TFTP);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "write" => set(&mut policy.write, checker.boolean(key, value)),
            "files" => policy.files = patterns(checker, key, value),
            "match_mac" => set(&mut policy.match_mac, checker.boolean(key, value)),
            _ => {}
        }
    }
}

fn unknown(checker: &mut Checker<'_>, key: &str, value: &Value<'_>) -> Option<UnknownMessage> {
    checker.choice(key, value, &[("pass", UnknownMessage::Pass), ("drop", UnknownMessage::Drop)])
}

fn patterns(checker: &mut Checker<'_>, what: &str, value: &Value<'_>) -> Vec<Pattern> {
    let words = checker.strings(what, value);
    empty_list(checker, what, value, words.is_empty());
    let mut patterns = Vec::with_capacity(words.len());
    for word in &words {
        match Pattern::new(word.text) {
            Some(pattern) => patterns.push(pattern),
            None => checker.error_with(
                &word.span,
                format!("`{what}` holds what cannot be a pattern"),
                format!(
                    "write 1 to {} printable ASCII characters; `*` stands for any, `?` for one",
                    Pattern::MAX
                ),
            ),
        }
    }
    patterns
}
