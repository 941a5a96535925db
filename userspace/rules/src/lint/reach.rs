//! Rules that decide nothing: no packet reaches them, or no packet could match them.

use std::collections::BTreeSet;

use super::cover::{Budget, Exhausted, Rows};
use super::space::FAMILIES;
use super::{Lint, STEPS_PER_RULE, listed, reference};
use crate::compile::Compiled;
use crate::diagnostic::Diagnostic;
use crate::ruleset::{Rule, RuleSet};

/// Most rules that are named as covering another.
const SHOWN: usize = 3;

/// What becomes of a rule.
#[derive(Debug)]
pub(super) enum Reach {
    /// Some packet gets to it.
    Reached,
    /// These match every packet it would, before it.
    Covered(BTreeSet<usize>),
    /// There is no such packet.
    Impossible,
}

pub(super) fn warnings(set: &RuleSet, compiled: &Compiled, rows: &Rows, budget: &Budget) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (place, rule) in set.rules().iter().enumerate() {
        match budget.part(STEPS_PER_RULE, |budget| reach_of(rows, place, budget)) {
            Ok(Reach::Reached) => {}
            Ok(Reach::Covered(by)) => warnings.push(unreachable(set, rule, &by)),
            Ok(Reach::Impossible) => warnings.push(impossible(set, rule)),
            Err(Exhausted) => warnings.extend(found_by_the_compiler(set, compiled, place)),
        }
    }
    warnings
}

/// What the compiler has found: which rules no packet reaches, not why.
pub(super) fn of_the_compiler(set: &RuleSet, compiled: &Compiled) -> Vec<Diagnostic> {
    (0..set.rules().len()).filter_map(|place| found_by_the_compiler(set, compiled, place)).collect()
}

fn found_by_the_compiler(set: &RuleSet, compiled: &Compiled, place: usize) -> Option<Diagnostic> {
    // It speaks of the rules in force at one time, which may not be those of another.
    if !compiled.unreached.contains(&place) || set.rules().iter().any(|rule| rule.when.is_some()) {
        return None;
    }
    let rule = set.rules().get(place)?;
    let message = format!("no packet reaches rule `{}`", rule.name);
    let why = "earlier rules match all of its packets".to_owned();
    Some(set.warning_at(rule, message, Some(why)).of(Lint::UnreachableRule))
}

/// What becomes of the rule at this place.
pub(super) fn reach_of(rows: &Rows, place: usize, budget: &Budget) -> Result<Reach, Exhausted> {
    let regions =
        rows.of_rule(place).iter().flat_map(|row| (0..FAMILIES).map(|family| rows.region(row, family)));
    let mut covering = None;
    for region in regions.filter(|region| region.iter().all(|classes| !classes.is_empty())) {
        match rows.covering(&region, place, budget)? {
            Some(by) => covering.get_or_insert_with(BTreeSet::new).extend(by),
            None => return Ok(Reach::Reached),
        }
    }
    Ok(covering.map_or(Reach::Impossible, Reach::Covered))
}

fn unreachable(set: &RuleSet, rule: &Rule, by: &BTreeSet<usize>) -> Diagnostic {
    let rules: Vec<&Rule> = by.iter().filter_map(|place| set.rules().get(*place)).collect();
    let names = listed(by.iter().map(|place| reference(set, *place)).collect(), SHOWN);
    let (which, they, above) = match &rules[..] {
        [one] => (
            format!("rule {names} matches all of its packets first"),
            "that rule does",
            format!("`{}`", one.name),
        ),
        _ => (format!("rules {names} match all of its packets first"), "they do", "them".to_owned()),
    };
    let does = |rule: &Rule| (rule.action, rule.limit, rule.log, rule.media.clone(), rule.handling);
    let same = rules.iter().all(|other| does(other) == does(rule));
    let suggestion = if same {
        format!("remove it: {they} the same")
    } else {
        format!("move it above {above}, or remove it")
    };
    let message = format!("no packet reaches rule `{}`: {which}", rule.name);
    set.warning_at(rule, message, Some(suggestion)).of(Lint::UnreachableRule)
}

fn impossible(set: &RuleSet, rule: &Rule) -> Diagnostic {
    let why = match (rule.from.is_empty(), rule.to.is_empty()) {
        (true, _) => "there is no address in its `from`",
        (_, true) => "there is no address in its `to`",
        _ => "its `from` and `to` are of different address families",
    };
    let message = format!("no packet can match rule `{}`", rule.name);
    set.warning_at(rule, message, Some(why.to_owned())).of(Lint::ImpossibleRule)
}
