//! One `[[rule]]`.

use std::collections::BTreeMap;

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::limit::{Scope, Unit};
use callgate_shared::policy::{ZONE_NONE, ZONE_SELF};

use super::checker::{Checker, Section, Value, Word};
use super::groups::address;
use crate::diagnostic::Severity;
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{Limit, MediaAuthority, Period, Protocol, Rule, RuleAction, Zone, ZoneSet, zone_number};
use crate::service::{self, Service};
use crate::suggest::suggest;

const KEYS: [&str; 12] = [
    "action", "advisory", "from", "in", "inspect", "limit", "log", "media", "name", "reason", "service", "to",
];

/// What rules refer to by name.
pub(super) struct Names<'n> {
    pub(super) zones: &'n [Zone],
    pub(super) groups: &'n BTreeMap<String, PrefixSet>,
}

/// `action` as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Drop,
    Pass,
    Track,
    Inspect,
}

/// A rule; where it is `None`, errors have been reported (but not only there).
pub(super) fn rule(checker: &mut Checker<'_>, section: &Section<'_>, names: &Names<'_>) -> Option<Rule> {
    checker.known_keys(section, &KEYS);
    let name = name(checker, section);
    let zones = section.get("in").map_or(ZoneSet::ALL, |value| zones(checker, value, names.zones));
    let from = section.get("from").map_or(Addresses::Any, |value| addresses(checker, "from", value, names));
    let to = section.get("to").map_or(Addresses::Any, |value| addresses(checker, "to", value, names));
    let words = section.get("service").map(|value| checker.strings("service", value)).unwrap_or_default();
    let (services, services_read) = services(checker, section, &words);
    let verb = verb(checker, section);
    let protocol = protocol(checker, section, verb);
    if let Some(protocol) = protocol
        && verb == Some(Verb::Inspect)
        && services_read
    {
        services_fit(checker, section, &words, protocol);
    }
    let spoofed = reason(checker, section, verb);
    let limit = limit(checker, section, verb);
    let log = section.get("log").and_then(|value| checker.boolean("log", value)).unwrap_or_default();
    let advisory = section.get("advisory").and_then(|value| label(checker, "advisory", value));
    let media = media(checker, section, verb, names);

    let name = name?;
    let action = match verb? {
        Verb::Drop => RuleAction::Drop { spoofed },
        Verb::Pass => RuleAction::Pass,
        Verb::Track => RuleAction::Track,
        Verb::Inspect => RuleAction::Inspect(protocol?),
    };
    Some(Rule {
        name: name.text.to_owned(),
        zones,
        from,
        to,
        services,
        action,
        limit,
        log,
        advisory: advisory.map(|word| word.text.to_owned()),
        media,
        position: checker.source().position(name.span.start),
        span: name.span,
    })
}

fn name<'v>(checker: &mut Checker<'_>, section: &Section<'v>) -> Option<Word<'v>> {
    let Some(value) = section.get("name") else {
        checker.error_with(
            &section.span,
            "the rule has no `name`",
            "add `name = \"…\"`: counters and limits are kept by name",
        );
        return None;
    };
    label(checker, "name", value)
}

/// A line of text for people: 1 to 128 characters that can be shown.
fn label<'v>(checker: &mut Checker<'_>, what: &str, value: &'v Value<'v>) -> Option<Word<'v>> {
    let word = checker.string(what, value)?;
    let blank = word.text.trim().is_empty();
    if blank || word.text.chars().count() > 128 || word.text.contains(char::is_control) {
        checker.error(&word.span, format!("`{what}` must be 1 to 128 printable characters"));
        return None;
    }
    Some(word)
}

fn zones(checker: &mut Checker<'_>, value: &Value<'_>, zones: &[Zone]) -> ZoneSet {
    let mut set = ZoneSet::EMPTY;
    let words = checker.strings("in", value);
    for word in &words {
        let named = || zones.iter().position(|zone| zone.name == word.text).and_then(zone_number);
        let zone = match word.text {
            "any" => {
                set = ZoneSet::ALL;
                continue;
            }
            "self" => Some(ZONE_SELF),
            "none" => Some(ZONE_NONE),
            _ => named(),
        };
        match zone {
            Some(zone) => set = set.with(zone),
            None => {
                let names = zones.iter().map(|zone| zone.name.as_str()).chain(["any", "self", "none"]);
                let message = format!("there is no zone `{}`", word.text);
                checker.add(Severity::Error, &word.span, message, suggest(word.text, names));
            }
        }
    }
    empty_list(checker, "in", value, words.is_empty());
    set
}

pub(super) fn addresses(
    checker: &mut Checker<'_>,
    what: &str,
    value: &Value<'_>,
    names: &Names<'_>,
) -> Addresses {
    let words = checker.strings(what, value);
    let special: &[&str] = if what == "media" { &["any", "signaller"] } else { &["any"] };
    let known = || names.groups.keys().map(String::as_str).chain(special.iter().copied());
    let mut any = false;
    let mut prefixes = Vec::new();
    for word in &words {
        if word.text == "any" {
            any = true;
        } else if let Some(group) = names.groups.get(word.text) {
            prefixes.extend_from_slice(group.prefixes());
        } else {
            prefixes.extend(address(checker, word, known()));
        }
    }
    empty_list(checker, what, value, words.is_empty());
    if any { Addresses::Any } else { Addresses::In(prefixes.into_iter().collect()) }
}

/// The services, and whether every word of them was understood.
fn services(checker: &mut Checker<'_>, section: &Section<'_>, words: &[Word<'_>]) -> (Vec<Service>, bool) {
    let Some(value) = section.get("service") else { return (vec![Service::Any], true) };
    empty_list(checker, "service", value, words.is_empty());
    let mut services = Vec::new();
    let mut understood = !words.is_empty();
    for word in words {
        match service::services(word.text) {
            Ok(meant) => services.extend(meant),
            Err(error) => {
                understood = false;
                checker.add(Severity::Error, &word.span, error.message, error.suggestion);
            }
        }
    }
    (services, understood)
}

/// An empty list would match nothing; a missing key matches everything. Only one of them can be meant.
pub(super) fn empty_list(checker: &mut Checker<'_>, what: &str, value: &Value<'_>, empty: bool) {
    if empty && value.get_ref().is_array() {
        checker.error_with(&value.span(), format!("`{what}` is empty"), "leave it out to match everything");
    }
}

fn verb(checker: &mut Checker<'_>, section: &Section<'_>) -> Option<Verb> {
    let Some(value) = section.get("action") else {
        let permitted = "write `action = \"pass\"`, `\"track\"`, `\"inspect\"` or `\"drop\"`";
        checker.error_with(&section.span, "the rule has no `action`", permitted);
        return None;
    };
    if value.get_ref().as_str() == Some("reject") {
        checker.error_with(
            &value.span(),
            "`reject` is not supported yet",
            "write `drop`, which says nothing to the sender",
        );
        return None;
    }
    let options =
        [("pass", Verb::Pass), ("track", Verb::Track), ("inspect", Verb::Inspect), ("drop", Verb::Drop)];
    checker.choice("action", value, &options)
}

/// `inspect`, which the action `inspect` needs and no other action may have.
fn protocol(checker: &mut Checker<'_>, section: &Section<'_>, verb: Option<Verb>) -> Option<Protocol> {
    let value = section.get("inspect");
    match (value, verb) {
        (None, Some(Verb::Inspect)) => {
            let span = section.get("action").map_or(section.span.clone(), |action| action.span());
            let names = Protocol::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
            checker.error_with(&span, "`inspect` is missing: which protocol?", format!("permitted: {names}"));
            None
        }
        (None, _) => None,
        (Some(value), verb) => {
            let protocol = checker.choice("inspect", value, &Protocol::NAMES);
            if verb.is_some_and(|verb| verb != Verb::Inspect) {
                only_with(checker, section, "inspect", "`action = \"inspect\"`");
            }
            protocol
        }
    }
}

fn only_with(checker: &mut Checker<'_>, section: &Section<'_>, key: &str, needed: &str) {
    if let Some(key_at) = section.key(key) {
        checker.error(&key_at.span(), format!("`{key}` goes only with {needed}"));
    }
}

/// The transports of the services must be those of the protocol.
fn services_fit(checker: &mut Checker<'_>, section: &Section<'_>, words: &[Word<'_>], protocol: Protocol) {
    let carrier = match (protocol.over(TCP), protocol.over(UDP)) {
        (Some(_), Some(_)) => "write `tcp/…` or `udp/…`",
        (Some(_), None) => "write `tcp/…`",
        (None, _) => "write `udp/…`",
    };
    if section.get("service").is_none() {
        let message = format!("`service` is missing: which packets carry {}?", protocol.name());
        checker.error_with(&section.span, message, carrier);
        return;
    }
    for word in words {
        let Ok(services) = service::services(word.text) else { continue };
        let unfit = services.iter().find(|service| match service {
            Service::Tcp(_) => protocol.over(TCP).is_none(),
            Service::Udp(_) => protocol.over(UDP).is_none(),
            _ => true,
        });
        if let Some(unfit) = unfit {
            let message = format!("{} is not carried by `{unfit}`", protocol.name());
            checker.error_with(&word.span, message, carrier);
        } else if let [Service::Tcp(ports)] = services.as_slice()
            && [5061..=5061, 2443..=2443].contains(ports)
        {
            let message = format!("`{}` is usually encrypted and cannot be read", word.text);
            checker.warn(&word.span, message, "write a rule of its own for it, with `action = \"track\"`");
        }
    }
}

/// `reason = "spoofed"` on a rule that drops.
fn reason(checker: &mut Checker<'_>, section: &Section<'_>, verb: Option<Verb>) -> bool {
    let Some(value) = section.get("reason") else { return false };
    if verb.is_some_and(|verb| verb != Verb::Drop) {
        only_with(checker, section, "reason", "`action = \"drop\"`");
    }
    checker.choice("reason", value, &[("spoofed", ())]).is_some()
}

fn limit(checker: &mut Checker<'_>, rule: &Section<'_>, verb: Option<Verb>) -> Option<Limit> {
    let value = rule.get("limit")?;
    let section = checker.table("limit", value)?;
    checker.known_keys(&section, &["burst", "new", "packets", "per"]);
    if verb == Some(Verb::Drop) {
        only_with(checker, rule, "limit", "an action that lets packets by");
    }
    let per = match section.get("per") {
        Some(value) => checker.choice("per", value, &[("rule", Scope::Rule), ("source", Scope::Source)]),
        None => Some(Scope::Rule),
    };
    let (unit, rate) = match (section.get("new"), section.get("packets")) {
        (Some(new), None) => (Unit::New, new),
        (None, Some(packets)) => (Unit::Packets, packets),
        (Some(_), Some(packets)) => {
            checker.error(&packets.span(), "a limit counts `new` flows or `packets`, not both");
            return None;
        }
        (None, None) => {
            checker.error_with(
                &section.span,
                "the limit has no rate",
                "write `new = \"20/s\"` or `packets = \"10/s\"`",
            );
            return None;
        }
    };
    if unit == Unit::New && verb == Some(Verb::Pass) {
        let message = "`pass` remembers no flows, so none is new";
        checker.error_with(&rate.span(), message, "write `packets = …`, or `action = \"track\"`");
    }
    let rate = self::rate(checker, rate);
    let burst = section.get("burst").map(|value| checker.integer("burst", value, 1..=Limit::MOST_BURST));
    let (events, period) = rate?;
    let burst = burst.unwrap_or(Some(events.min(Limit::MOST_BURST)))?;
    Some(Limit { unit, events, period, burst, per: per? })
}

/// `"20/s"`, `"100/min"`, `"1000/h"`.
fn rate(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<(u32, Period)> {
    let word = checker.string("rate", value)?;
    let read = word.text.split_once('/').and_then(|(events, period)| {
        let period = match period.trim() {
            "s" => Period::Second,
            "m" | "min" => Period::Minute,
            "h" => Period::Hour,
            _ => return None,
        };
        let events = events.trim();
        let digits = events.bytes().all(|byte| byte.is_ascii_digit());
        let events =
            events.parse().ok().filter(|events| digits && (1..=Limit::MOST_EVENTS).contains(events))?;
        Some((events, period))
    });
    if read.is_none() {
        let message = format!("`{}` is not a rate", word.text);
        let most = Limit::MOST_EVENTS;
        checker.error_with(&word.span, message, format!("write `20/s`, `100/min` or `1000/h`: 1 to {most}"));
    }
    read
}

fn media(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    verb: Option<Verb>,
    names: &Names<'_>,
) -> MediaAuthority {
    let Some(value) = section.get("media") else { return MediaAuthority::Signaller };
    if verb.is_some_and(|verb| verb != Verb::Inspect) {
        only_with(checker, section, "media", "`action = \"inspect\"`");
    }
    if value.get_ref().as_str() == Some("signaller") {
        return MediaAuthority::Signaller;
    }
    match addresses(checker, "media", value, names) {
        Addresses::Any => MediaAuthority::Any,
        Addresses::In(set) => MediaAuthority::Group(set),
    }
}
