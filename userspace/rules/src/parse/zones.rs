//! The `[zones]` table, which interfaces are on which side, and a `[zone.…]` table for each side.

use std::collections::HashMap;

use callgate_shared::policy::{Fragments, MAX_ZONES};

use super::addresses::{Names, addresses};
use super::checker::{Checker, Root, Section, Value};
use super::settings::set;
use crate::diagnostic::Severity;
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{AntiSpoof, FIRST_ZONE, Zone, ZoneRules};
use crate::suggest::suggest;

/// Keys of a `[zone.…]` table.
pub(super) const KEYS: [&str; 5] = ["anti_spoof", "bogons", "fragments", "l2", "networks"];
/// Keys of its `l2`.
pub(super) const L2: [&str; 2] = ["cdp", "lldp"];

/// Whether frames are dropped.
const DROPPED: [(&str, bool); 2] = [("drop", true), ("pass", false)];

/// Words that mean something else where a zone's name is expected.
const RESERVED: [&str; 3] = ["any", "none", "self"];

pub(super) fn zones(checker: &mut Checker<'_>, roots: &[Root<'_>]) -> Vec<Zone> {
    let mut zones = Vec::new();
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for root in roots {
        checker.enter(root.file);
        let Some(section) = root.section.get("zones").and_then(|value| checker.table("zones", value)) else {
            continue;
        };
        named(checker, &section, &mut zones, &mut taken);
    }
    zones
}

fn named<'v>(
    checker: &mut Checker<'_>,
    section: &Section<'v>,
    zones: &mut Vec<Zone>,
    taken: &mut HashMap<&'v str, &'v str>,
) {
    const MOST: usize = MAX_ZONES - FIRST_ZONE as usize;
    for (key, value) in section.entries() {
        let name: &str = key.get_ref();
        if RESERVED.contains(&name) {
            checker.error_with(
                &key.span(),
                format!("`{name}` cannot name a zone"),
                "`self` is this machine, `any` every zone, `none` an interface without a zone",
            );
        } else if !is_name(name) {
            checker.error(&key.span(), "a zone's name is 1 to 32 letters, digits, `-` and `_`");
        }
        if zones.len() == MOST {
            checker.error(&key.span(), format!("there can be at most {MOST} zones"));
        }
        let interfaces = checker.strings("interfaces", value);
        if interfaces.is_empty() {
            checker.warn(
                &key.span(),
                format!("zone `{name}` has no interfaces"),
                "no packet will come from it",
            );
        }
        for interface in &interfaces {
            if !is_interface(interface.text) {
                checker.error_with(
                    &interface.span,
                    format!("`{}` cannot be an interface's name", interface.text),
                    "an interface's name is 1 to 15 characters without blanks and `/`",
                );
            } else if let Some(other) = taken.insert(interface.text, name) {
                let message = format!("`{}` is in zone `{other}` already", interface.text);
                checker.error(&interface.span, message);
            }
        }
        let interfaces = interfaces.iter().map(|interface| interface.text.to_owned()).collect();
        zones.push(Zone { name: name.to_owned(), interfaces, policy: ZoneRules::default() });
    }
}

/// What the `[zone.…]` tables say, by the place of the zone.
pub(super) fn policies(
    checker: &mut Checker<'_>,
    roots: &[Root<'_>],
    names: &Names<'_>,
) -> Vec<(usize, ZoneRules)> {
    let mut policies = Vec::new();
    for root in roots {
        checker.enter(root.file);
        let Some(section) = root.section.get("zone").and_then(|value| checker.table("zone", value)) else {
            continue;
        };
        for (key, value) in section.entries() {
            let name: &str = key.get_ref();
            let zone = names.zones.iter().position(|zone| zone.name == name);
            if zone.is_none() {
                let message = format!("there is no zone `{name}`");
                let known = names.zones.iter().map(|zone| zone.name.as_str());
                checker.add(Severity::Error, &key.span(), message, suggest(name, known));
            }
            if let Some(table) = checker.table(name, value) {
                let policy = policy(checker, &table, names);
                policies.extend(zone.map(|zone| (zone, policy)));
            }
        }
    }
    policies
}

fn policy(checker: &mut Checker<'_>, section: &Section<'_>, names: &Names<'_>) -> ZoneRules {
    let mut policy = ZoneRules::default();
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "networks" => policy.networks = networks(checker, value, names),
            "anti_spoof" => {
                let options =
                    [("strict", AntiSpoof::Strict), ("loose", AntiSpoof::Loose), ("off", AntiSpoof::Off)];
                set(&mut policy.anti_spoof, checker.choice(key, value, &options));
            }
            "bogons" => set(&mut policy.drop_bogons, checker.choice(key, value, &DROPPED)),
            "fragments" => {
                let options =
                    [("track", Fragments::Track), ("drop", Fragments::Drop), ("pass", Fragments::Pass)];
                set(&mut policy.fragments, checker.choice(key, value, &options));
            }
            "l2" => {
                let Some(table) = checker.table(key, value) else { continue };
                checker.known_keys(&table, &L2);
                for (key, place) in [("cdp", &mut policy.drop_cdp), ("lldp", &mut policy.drop_lldp)] {
                    if let Some(value) = table.get(key) {
                        set(place, checker.choice(key, value, &DROPPED));
                    }
                }
            }
            _ => {}
        }
    }
    if policy.anti_spoof == AntiSpoof::Strict
        && section.get("networks").is_none()
        && let Some(value) = section.get("anti_spoof")
    {
        checker.error_with(
            &value.span(),
            "strict anti-spoofing needs to know the networks of the zone",
            "add `networks = [\"10.20.0.0/16\"]`, or write `\"loose\"`",
        );
    }
    policy
}

fn networks(checker: &mut Checker<'_>, value: &Value<'_>, names: &Names<'_>) -> Option<PrefixSet> {
    let set = match addresses(checker, "networks", value, names) {
        Addresses::Any => {
            let suggestion = "leave `networks` out where every network is behind the zone";
            checker.error_with(&value.span(), "`any` tells no networks apart", suggestion);
            return None;
        }
        Addresses::In(set) => set,
        Addresses::Except(set) => PrefixSet::all().minus(&set),
    };
    if set.is_empty() {
        checker.error(&value.span(), "there is no address in `networks`");
        return None;
    }
    Some(set)
}

/// Names are shown in tables and written on command lines.
pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// What Linux takes for an interface's name (`dev_valid_name` in `net/core/dev.c`).
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
