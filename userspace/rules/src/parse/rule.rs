//! One `[[rule]]`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::limit::Unit;
use callgate_shared::policy::{ZONE_NONE, ZONE_SELF};

use super::addresses::{Names, addresses, empty_list};
use super::checker::{Checker, Section, Value, Word};
use super::inspect::{h323, sip};
use super::limit::limit;
use super::tags;
use crate::diagnostic::Severity;
use crate::files::Files;
use crate::inspect::{H323Policy, InspectPolicies, SipPolicy};
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{
    Above, Handling, Limit, MediaAuthority, Per, Period, Protocol, Rule, RuleAction, Zone, ZoneSet,
    zone_number,
};
use crate::schedule::Schedule;
use crate::service::{self, Ports, Service};
use crate::suggest::suggest;

/// Keys of a `[[rule]]`.
pub(super) const KEYS: [&str; 21] = [
    "action",
    "advisory",
    "dscp",
    "from",
    "h323",
    "in",
    "inspect",
    "limit",
    "log",
    "media",
    "media_checks",
    "media_dscp",
    "media_path",
    "name",
    "reason",
    "service",
    "sip",
    "tls_media",
    "to",
    "vlan",
    "when",
];

/// What the rest of the files says.
pub(super) struct Given<'g, F> {
    pub(super) names: &'g Names<'g>,
    pub(super) policies: &'g InspectPolicies,
    pub(super) media_ports: &'g RangeInclusive<u16>,
    pub(super) files: &'g F,
}

/// `action` as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drop,
    Reject,
    Pass,
    Track,
    Inspect,
}

impl Verb {
    const NAMES: [(&str, Self); 5] = [
        ("pass", Self::Pass),
        ("track", Self::Track),
        ("inspect", Self::Inspect),
        ("drop", Self::Drop),
        ("reject", Self::Reject),
    ];
}

/// A rule; where it is `None`, errors have been reported (but not only there).
pub(super) fn rule(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    given: &Given<'_, impl Files>,
) -> Option<Rule> {
    let Given { names, policies, .. } = *given;
    checker.known_keys(section, &KEYS);
    let name = name(checker, section);
    let zones = section.get("in").map_or(ZoneSet::ALL, |value| zones(checker, value, names.zones));
    let from = section.get("from").map_or(Addresses::Any, |value| addresses(checker, "from", value, names));
    let to = section.get("to").map_or(Addresses::Any, |value| addresses(checker, "to", value, names));
    let words = section.get("service").map(|value| checker.strings("service", value)).unwrap_or_default();
    let (services, services_read) = services(checker, section, &words);
    let vlans = section.get("vlan").and_then(|value| tags::vlans(checker, value));
    let dscps = section.get("dscp").and_then(|value| tags::dscps(checker, value));
    let when = section.get("when").and_then(|value| when(checker, value));
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
    let mut handling = handling(checker, section, verb);
    let media = media(checker, section, verb, names, &mut handling);
    let h323 = h323(checker, section, protocol, names, policies);
    let sip = sip(checker, section, protocol, given);

    let name = name?;
    let action = match verb? {
        Verb::Drop => RuleAction::Drop { spoofed },
        Verb::Reject => RuleAction::Reject,
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
        vlans,
        dscps,
        when,
        action,
        limit,
        log,
        advisory: advisory.map(|word| word.text.to_owned()),
        media,
        handling,
        h323,
        sip,
        rtp: false,
        position: checker.position(&name.span),
        place: checker.place(&name.span),
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
pub(super) fn label<'v>(checker: &mut Checker<'_>, what: &str, value: &'v Value<'v>) -> Option<Word<'v>> {
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
                checker.mistake(&word.span, error);
            }
        }
    }
    (services, understood)
}

fn verb(checker: &mut Checker<'_>, section: &Section<'_>) -> Option<Verb> {
    let Some(value) = section.get("action") else {
        let permitted = "write `action = \"pass\"`, `\"track\"`, `\"inspect\"`, `\"drop\"` or `\"reject\"`";
        checker.error_with(&section.span, "the rule has no `action`", permitted);
        return None;
    };
    checker.choice("action", value, &Verb::NAMES)
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

/// Times of the week.
pub(super) fn when(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Schedule> {
    let words = checker.strings("when", value);
    empty_list(checker, "when", value, words.is_empty());
    let mut windows = Vec::with_capacity(words.len());
    for word in &words {
        match Schedule::read(word.text) {
            Ok(window) => windows.push(window),
            Err(error) => checker.mistake(&word.span, error),
        }
    }
    if windows.is_empty() {
        return None;
    }
    let schedule = Schedule::of(windows);
    if schedule.is_always() {
        checker.warn(&value.span(), "`when` leaves no time out", "leave it out: the rule is always in force");
        return None;
    }
    Some(schedule)
}

pub(super) fn only_with(checker: &mut Checker<'_>, section: &Section<'_>, key: &str, needed: &str) {
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
            && [5061..=5061, 2443..=2443].contains(&ports.to)
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

/// `h323`: what the rule lays over `[inspect.h323]`.
fn h323(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    protocol: Option<Protocol>,
    names: &Names<'_>,
    policies: &InspectPolicies,
) -> Option<Arc<H323Policy>> {
    let table = checker.table("h323", section.get("h323")?)?;
    if !matches!(protocol, Some(Protocol::H323 | Protocol::H225 | Protocol::H245 | Protocol::Ras)) {
        only_with(checker, section, "h323", "`inspect = \"h323\"`, `\"h225\"`, `\"h245\"` or `\"ras\"`");
    }
    let mut policy = policies.h323.clone();
    h323::h323(checker, &table, names, &mut policy);
    Some(Arc::new(policy))
}

/// `sip`: what the rule lays over `[inspect.sip]`.
fn sip(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    protocol: Option<Protocol>,
    given: &Given<'_, impl Files>,
) -> Option<Arc<SipPolicy>> {
    let table = checker.table("sip", section.get("sip")?)?;
    if protocol != Some(Protocol::Sip) {
        only_with(checker, section, "sip", "`inspect = \"sip\"`");
    }
    let mut policy = given.policies.sip.clone();
    sip::sip(checker, &table, given.files, &mut policy);
    Some(Arc::new(policy))
}

/// New streams by one address, where the media of signalling that cannot be read is let by.
const LEARNED: Limit = Limit {
    unit: Unit::New,
    events: 50,
    period: Period::Second,
    burst: 200,
    per: Per::Source,
    above: Above::Drop,
};

/// `tls_media = "from-ZONE"`: rules for the media of signalling that cannot be read. An endpoint of that zone (or
/// of this machine) may send RTP between media ports to the other end of the signalling, and opens the way back.
pub(super) fn tls_media(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    given: &Given<'_, impl Files>,
    rule: &Rule,
) -> Vec<Rule> {
    let Some(value) = section.get("tls_media") else { return Vec::new() };
    let Some(word) = checker.string("tls_media", value) else { return Vec::new() };
    let tcp = |service: &Service| matches!(service, Service::Tcp(_));
    if rule.action != RuleAction::Track || !rule.services.iter().all(tcp) {
        only_with(checker, section, "tls_media", "`action = \"track\"` and services of TCP such as `sips`");
    }
    if word.text == "off" {
        return Vec::new();
    }
    let zone = word.text.strip_prefix("from-").and_then(|name| {
        if name == "self" {
            return Some(ZONE_SELF);
        }
        given.names.zones.iter().position(|zone| zone.name == name).and_then(zone_number)
    });
    let Some(zone) = zone else {
        let names = given.names.zones.iter().map(|zone| format!("from-{}", zone.name));
        let names: Vec<String> = names.chain(["from-self".to_owned(), "off".to_owned()]).collect();
        let message = format!("`tls_media` cannot be `{}`", word.text);
        let suggestion = suggest(word.text, names.iter().map(String::as_str));
        checker.add(Severity::Error, &word.span, message, suggestion);
        return Vec::new();
    };
    let ports = Ports { to: given.media_ports.clone(), from: given.media_ports.clone() };
    let media = |name: &str, from: &Addresses, to: &Addresses| Rule {
        name: format!("{}: {name}", rule.name),
        zones: ZoneSet::EMPTY.with(zone).with(ZONE_SELF),
        from: from.clone(),
        to: to.clone(),
        services: vec![Service::Udp(ports.clone())],
        limit: Some(LEARNED),
        advisory: None,
        rtp: true,
        ..rule.clone()
    };
    // Whoever connects to whom: what comes from the zone is its endpoints' media.
    let there = media("media", &rule.from, &rule.to);
    if rule.from == rule.to {
        return vec![there];
    }
    vec![there, media("media back", &rule.to, &rule.from)]
}

/// `media_checks`, `media_path` and `media_dscp`.
fn handling(checker: &mut Checker<'_>, section: &Section<'_>, verb: Option<Verb>) -> Handling {
    for key in ["media_checks", "media_path", "media_dscp"] {
        if section.get(key).is_some() && verb.is_some_and(|verb| verb != Verb::Inspect) {
            only_with(checker, section, key, "`action = \"inspect\"`");
        }
    }
    let mut chosen = |key, choices: &[(&str, bool)]| {
        section.get(key).and_then(|value| checker.choice(key, value, choices))
    };
    let enforce = chosen("media_checks", &[("enforce", true), ("observe", false)]).unwrap_or(true);
    let fast = chosen("media_path", &[("fast", true), ("stack", false)]).unwrap_or(false);
    let dscp = section.get("media_dscp").and_then(|value| match value.get_ref().as_str() {
        Some("trust") => None,
        _ => tags::dscp(checker, "media_dscp", value),
    });
    Handling { enforce, fast, dscp }
}

fn media(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    verb: Option<Verb>,
    names: &Names<'_>,
    handling: &mut Handling,
) -> MediaAuthority {
    let Some(value) = section.get("media") else { return MediaAuthority::Signaller };
    if verb.is_some_and(|verb| verb != Verb::Inspect) {
        only_with(checker, section, "media", "`action = \"inspect\"`");
    }
    match value.get_ref().as_str() {
        Some("signaller") => return MediaAuthority::Signaller,
        // Short for `media_checks`, where nobody else's addresses are to be named.
        Some("observe" | "enforce") => {
            if section.get("media_checks").is_some() {
                let message = "`media` and `media_checks` both say what is checked".to_owned();
                checker.error_with(&value.span(), message, "write `media_checks` alone");
            }
            handling.enforce = value.get_ref().as_str() == Some("enforce");
            return MediaAuthority::Signaller;
        }
        _ => {}
    }
    match addresses(checker, "media", value, names) {
        Addresses::Any => MediaAuthority::Any,
        Addresses::In(set) => MediaAuthority::Group(set),
        Addresses::Except(set) => MediaAuthority::Group(PrefixSet::all().minus(&set)),
    }
}
