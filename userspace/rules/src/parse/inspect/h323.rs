//! The keys of H.323: of `[inspect.h323]`, and of a rule's `h323`.

use super::super::addresses::{Names, addresses};
use super::super::checker::{Checker, Section, Value};
use super::super::limit::rate;
use super::super::settings::set;
use super::{patterns, unknown};
use crate::inspect::h323::{H323Policy, MediaType, Rate, StateCheck, Tunnelling};
use crate::prefixes::Addresses;

/// Keys of `[inspect.h323]`.
pub(in crate::parse) const KEYS: [&str; 19] = [
    "call_max",
    "call_rate",
    "called_allow",
    "called_deny",
    "calling_allow",
    "calling_deny",
    "calls_max",
    "calls_per_source",
    "gatekeepers",
    "media_types",
    "ras_rate",
    "registration_max",
    "require_admission",
    "require_tokens",
    "routed_only",
    "state",
    "tunnelling",
    "undecodable",
    "unknown",
];

/// Lays what a table says over a policy.
pub(crate) fn h323(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    names: &Names<'_>,
    policy: &mut H323Policy,
) {
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "gatekeepers" => policy.gatekeepers = addresses(checker, key, value, names),
            "routed_only" => set(&mut policy.routed_only, checker.boolean(key, value)),
            "require_admission" => set(&mut policy.require_admission, checker.boolean(key, value)),
            "require_tokens" => set(&mut policy.require_tokens, checker.boolean(key, value)),
            "tunnelling" => {
                let options =
                    [("allow", Tunnelling::Allow), ("log", Tunnelling::Log), ("block", Tunnelling::Block)];
                set(&mut policy.tunnelling, checker.choice(key, value, &options));
            }
            "state" => {
                let options =
                    [("off", StateCheck::Off), ("event", StateCheck::Event), ("refuse", StateCheck::Refuse)];
                set(&mut policy.state, checker.choice(key, value, &options));
            }
            "calling_allow" => policy.calling.allow = patterns(checker, key, value),
            "calling_deny" => policy.calling.deny = patterns(checker, key, value),
            "called_allow" => policy.called.allow = patterns(checker, key, value),
            "called_deny" => policy.called.deny = patterns(checker, key, value),
            "media_types" => media_types(checker, value, policy),
            "calls_max" => policy.calls_max = checker.integer(key, value, 1..=100_000).or(policy.calls_max),
            "calls_per_source" => {
                policy.calls_per_source =
                    checker.integer(key, value, 1..=100_000).or(policy.calls_per_source);
            }
            "call_rate" => policy.call_rate = rate_of(checker, value).or(policy.call_rate),
            "ras_rate" => policy.ras_rate = rate_of(checker, value).or(policy.ras_rate),
            "call_max" => policy.call_max = checker.duration(key, value).or(policy.call_max),
            "registration_max" => set(&mut policy.registration_max, checker.duration(key, value)),
            "unknown" => set(&mut policy.unknown, unknown(checker, key, value)),
            "undecodable" => set(&mut policy.undecodable, unknown(checker, key, value)),
            _ => {}
        }
    }
    if policy.routed_only && policy.gatekeepers == Addresses::Any {
        let span = section.key("routed_only").map_or(section.span.clone(), |key| key.span());
        checker.error_with(
            &span,
            "`routed_only` needs to know the gatekeepers",
            "add `gatekeepers = \"…\"`: a group or addresses",
        );
    }
}

fn rate_of(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Rate> {
    rate(checker, value).map(|(events, period)| Rate { events, period })
}

fn media_types(checker: &mut Checker<'_>, value: &Value<'_>, policy: &mut H323Policy) {
    let words = checker.strings("media_types", value);
    super::empty_list(checker, "media_types", value, words.is_empty());
    let mut types = Vec::new();
    for word in &words {
        match MediaType::NAMES.iter().find(|(name, _)| *name == word.text) {
            Some((_, ty)) => types.push(*ty),
            None => {
                let names = MediaType::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
                let message = format!("`media_types` cannot hold `{}`", word.text);
                checker.error_with(&word.span, message, format!("permitted: {names}"));
            }
        }
    }
    policy.media_types = types.into_iter().collect();
}
