//! What one rule set says that another does not, and which packets only one of them lets by.
//!
//! Rules and groups are told apart by name. What is compared is what they mean, not where they stand or how they are
//! written; the place of a rule counts where it has come to stand before or behind another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use callgate_shared::packet::Packet;
use callgate_shared::policy::{Action, ZONE_NONE};
use jiff::Zoned;

use crate::oracle::matches;
use crate::ruleset::{Rule, RuleAction, RuleSet};

/// What became of something with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same at another place among the others.
    Moved,
}

/// A rule or group, what became of it, and more about that for people.
pub type Difference = (String, Change, String);

/// Prefixes of a group that are named one by one.
const NAMED: usize = 5;

/// Rules that differ: those of `after` in its order, then those that are gone.
pub fn rules(before: &RuleSet, after: &RuleSet) -> Vec<Difference> {
    let old: BTreeMap<&str, (usize, &Rule)> =
        before.rules().iter().enumerate().map(|(place, rule)| (rule.name.as_str(), (place, rule))).collect();
    let places: Vec<Option<usize>> =
        after.rules().iter().map(|rule| old.get(rule.name.as_str()).map(|(place, _)| *place)).collect();
    let stays = longest_ascent(&places);
    let mut differences = Vec::new();
    for (place, rule) in after.rules().iter().enumerate() {
        match old.get(rule.name.as_str()) {
            None => differences.push((rule.name.clone(), Change::Added, about(rule))),
            Some((_, was)) => {
                let text = changes(before, was, after, rule);
                if !text.is_empty() {
                    differences.push((rule.name.clone(), Change::Changed, text));
                } else if !stays[place] {
                    let text = match place.checked_sub(1).and_then(|place| after.rules().get(place)) {
                        Some(above) => format!("now behind {:?}", above.name),
                        None => "now the first".to_owned(),
                    };
                    differences.push((rule.name.clone(), Change::Moved, text));
                }
            }
        }
    }
    for rule in before.rules() {
        if after.rules().iter().all(|other| other.name != rule.name) {
            differences.push((rule.name.clone(), Change::Removed, about(rule)));
        }
    }
    differences
}

/// Groups that differ, by name.
pub fn groups(before: &RuleSet, after: &RuleSet) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (name, group) in after.groups() {
        match before.groups().get(name) {
            None => differences.push((name.clone(), Change::Added, plural(group.prefixes().len()))),
            Some(was) if was != group => {
                let (new, gone) = (group.minus(was), was.minus(group));
                let mut text = String::new();
                for (sign, set) in [('+', new.prefixes()), ('-', gone.prefixes())] {
                    for prefix in set.iter().take(NAMED) {
                        let space = if text.is_empty() { "" } else { " " };
                        // Writing to a string cannot fail.
                        let _ = write!(text, "{space}{sign}{prefix}");
                    }
                    if set.len() > NAMED {
                        let _ = write!(text, " and {sign}{} more", set.len() - NAMED);
                    }
                }
                differences.push((name.clone(), Change::Changed, text));
            }
            Some(_) => {}
        }
    }
    let gone = before.groups().iter().filter(|(name, _)| !after.groups().contains_key(*name));
    differences
        .extend(gone.map(|(name, group)| (name.clone(), Change::Removed, plural(group.prefixes().len()))));
    differences
}

/// The other tables of the language that differ.
pub fn tables(before: &RuleSet, after: &RuleSet) -> Vec<String> {
    let policy = |set: &RuleSet| format!("{:?}", set.call_policy().map(|plan| plan.spec()));
    let differ = [
        ("zones", before.zones() != after.zones()),
        ("settings", before.settings() != after.settings()),
        ("inspect", before.inspect() != after.inspect()),
        ("policy", policy(before) != policy(after)),
        ("history", before.history() != after.history()),
        ("control", before.control() != after.control()),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}

/// What a rule set would say of first packets at one moment.
#[derive(Debug)]
pub struct Verdicts<'r> {
    rules: &'r RuleSet,
    active: Vec<bool>,
}

impl<'r> Verdicts<'r> {
    /// At this time; the time zone of `now` is the machine's.
    pub fn at(rules: &'r RuleSet, now: &Zoned) -> Self {
        Self { rules, active: rules.active_at(now) }
    }

    /// What refuses the first packet of a flow from a zone of this name: a rule, or the zone's default. `None`
    /// where it is let by.
    pub fn refusal(&self, zone: &str, packet: &Packet) -> Option<String> {
        let numbers = (0..self.rules.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
        let number = numbers.into_iter().find(|number| self.rules.zone_name(*number) == Some(zone));
        let number = number.unwrap_or(ZONE_NONE);
        let asked = self.rules.rules().iter().zip(&self.active).filter(|(_, active)| **active);
        match asked.map(|(rule, _)| rule).find(|rule| matches(rule, number, packet)) {
            Some(rule) => matches!(rule.action, RuleAction::Drop { .. } | RuleAction::Reject)
                .then(|| format!("rule {:?}", rule.name)),
            None => {
                let default = self.rules.settings().defaults[usize::from(number)];
                let refuses = matches!(default, Action::Drop | Action::Reject);
                refuses.then(|| format!("the default of zone {zone}"))
            }
        }
    }
}

/// What of a rule differs, by key.
fn changes(before: &RuleSet, was: &Rule, after: &RuleSet, is: &Rule) -> String {
    let zones = |set: &RuleSet, rule: &Rule| -> Vec<String> {
        let numbers = (0..set.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
        let within = numbers.filter(|zone| rule.zones.contains(*zone));
        within.filter_map(|zone| set.zone_name(zone).map(str::to_owned)).collect()
    };
    let differ = [
        ("in", zones(before, was) != zones(after, is)),
        ("from", was.from != is.from),
        ("to", was.to != is.to),
        ("service", was.services != is.services),
        ("vlan", was.vlans != is.vlans),
        ("dscp", was.dscps != is.dscps),
        ("when", was.when != is.when),
        ("limit", was.limit != is.limit),
        ("log", was.log != is.log),
        ("advisory", was.advisory != is.advisory),
        ("media", was.media != is.media),
        ("h323", was.h323 != is.h323),
        ("sip", was.sip != is.sip),
    ];
    let mut parts: Vec<String> = Vec::new();
    if was.action != is.action {
        parts.push(format!("{} becomes {}", about(was), about(is)));
    }
    let keys: Vec<&str> = differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect();
    if !keys.is_empty() {
        parts.push(keys.join(", "));
    }
    parts.join("; ")
}

fn about(rule: &Rule) -> String {
    match rule.action {
        RuleAction::Inspect(protocol) => format!("inspect {}", protocol.name()),
        other => other.name().to_owned(),
    }
}

fn plural(prefixes: usize) -> String {
    format!("{prefixes} {}", if prefixes == 1 { "prefix" } else { "prefixes" })
}

/// Which of the places belong to a longest ascending row of them: what is left has moved.
fn longest_ascent(places: &[Option<usize>]) -> Vec<bool> {
    // By length, the index that ends such a row with the smallest place; and for each the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; places.len()];
    for (index, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let at = ends.partition_point(|end| places[*end] < Some(*place));
        before[index] = at.checked_sub(1).map(|at| ends[at]);
        match ends.get_mut(at) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut within = vec![false; places.len()];
    let mut next = ends.last().copied();
    while let Some(index) = next {
        within[index] = true;
        next = before[index];
    }
    within
}

#[cfg(test)]
mod tests {
    use callgate_shared::flow::TCP;
    use callgate_shared::packet::Kind;

    use super::*;

    const HEAD: &str = "version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n";

    fn set(text: &str) -> RuleSet {
        RuleSet::parse("f.toml", &format!("{HEAD}{text}")).expect("valid rules")
    }

    fn rule(name: &str, rest: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\naction = \"track\"\n{rest}\n")
    }

    #[test]
    fn nothing_differs_from_itself_however_it_is_written() {
        let text = rule("a", "from = \"10.0.0.0/8\"") + &rule("b", "");
        let other =
            format!("# again\n\n{}", rule("a", "from = [\"10.0.0.0/9\", \"10.128.0.0/9\"]") + &rule("b", ""));
        assert_eq!(rules(&set(&text), &set(&other)), []);
        assert_eq!(tables(&set(&text), &set(&other)), [""; 0]);
    }

    #[test]
    fn rules_come_go_change_and_move() {
        let before = ["a", "b", "c", "d"].map(|name| rule(name, "")).concat();
        let after =
            rule("d", "") + &rule("a", "") + &rule("c", "service = \"sip\"\nlog = true") + &rule("e", "");
        let found = rules(&set(&before), &set(&after));
        let told: Vec<_> =
            found.iter().map(|(name, change, text)| (name.as_str(), *change, text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("d", Change::Moved, "now the first"),
                ("c", Change::Changed, "service, log"),
                ("e", Change::Added, "track"),
                ("b", Change::Removed, "track"),
            ]
        );
    }

    #[test]
    fn an_action_is_told_as_it_was_and_as_it_is() {
        let after = rule("a", "").replace("track", "drop");
        let found = rules(&set(&rule("a", "")), &set(&after));
        assert_eq!(found, [("a".to_owned(), Change::Changed, "track becomes drop".to_owned())]);
    }

    #[test]
    fn groups_tell_their_prefixes_and_tables_their_names() {
        let before = "[groups]\na = [\"10.0.0.0/24\"]\nb = [\"10.1.0.0/24\"]\n";
        let after = "[groups]\na = [\"10.0.0.0/24\", \"192.0.2.1\"]\nc = [\"10.2.0.0/24\"]\n\
            [settings]\nmode = \"observe\"\n";
        let tail = rule("x", "");
        let (before, after) = (set(&format!("{before}{tail}")), set(&format!("{after}{tail}")));
        let found = groups(&before, &after);
        assert_eq!(
            found,
            [
                ("a".to_owned(), Change::Changed, "+192.0.2.1/32".to_owned()),
                ("c".to_owned(), Change::Added, "1 prefix".to_owned()),
                ("b".to_owned(), Change::Removed, "1 prefix".to_owned()),
            ]
        );
        assert_eq!(tables(&before, &after), ["settings"]);
    }

    #[test]
    fn a_flow_is_refused_by_the_first_rule_that_matches_or_by_the_default() {
        let text = format!(
            "[settings]\ndefault = {{ outside = \"drop\", inside = \"track\" }}\n{}{}",
            rule("telnet", "service = \"tcp/23\"").replace("track", "drop"),
            rule("all tcp", "in = \"outside\"\nservice = \"tcp\"")
        );
        let rules = set(&text);
        let verdicts = Verdicts::at(&rules, &Zoned::now());
        let packet =
            |port| Packet { kind: Kind::Ip, protocol: TCP, destination_port: port, ..Packet::default() };
        assert_eq!(verdicts.refusal("outside", &packet(23)).as_deref(), Some("rule \"telnet\""));
        assert_eq!(verdicts.refusal("outside", &packet(80)), None);
        assert_eq!(verdicts.refusal("inside", &packet(80)), None);
        let udp = Packet { protocol: 17, ..packet(80) };
        assert_eq!(verdicts.refusal("outside", &udp).as_deref(), Some("the default of zone outside"));
        assert!(verdicts.refusal("no such zone", &udp).is_some());
    }
}
