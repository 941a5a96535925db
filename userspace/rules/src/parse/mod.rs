//! Text → [`RuleSet`].
//!
//! The TOML reader gives every key and value its place in the file; the tables are walked by hand, so that
//! each error can point at the text it means. All errors are gathered before any is reported: a checker goes on
//! after a mistake with a harmless stand-in, and the stand-ins are thrown away with the file.

mod checker;
mod groups;
mod inspect;
mod rule;
mod settings;
mod zones;

use std::collections::HashMap;

use callgate_shared::policy::MAX_RULES;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Position, Severity, Source};
use crate::ruleset::{Rule, RuleSet};
use checker::{Checker, Section};

/// Reads and checks a file.
pub(crate) fn parse(source: Source) -> Result<RuleSet, Vec<Diagnostic>> {
    let text = source.text();
    let (document, syntax) = DeTable::parse_recoverable(&text);
    let mut checker = Checker::new(&source);
    if !syntax.is_empty() {
        // What was understood of a file that is not TOML would only add errors that are none.
        for error in syntax {
            checker.error(&error.span().unwrap_or(0..0), error.message().to_owned());
        }
        return Err(checker.finish());
    }

    let root = Section::new(document.get_ref(), 0..0);
    checker.known_keys(&root, &["version", "zones", "groups", "settings", "inspect", "rule"]);
    version(&mut checker, &root);
    let zones = zones::zones(&mut checker, &root);
    let groups = groups::groups(&mut checker, &root);
    let settings = settings::settings(&mut checker, &root, &zones);
    let names = rule::Names { zones: &zones, groups: &groups };
    let inspect = inspect::inspect(&mut checker, &root, &names);
    let rules = rules(&mut checker, &root, &names);
    inspect::unused(&mut checker, &root, &rules);

    let diagnostics = checker.finish();
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(diagnostics);
    }
    Ok(RuleSet { source, zones, groups, settings, inspect, rules, warnings: diagnostics })
}

fn version(checker: &mut Checker<'_>, root: &Section<'_>) {
    let Some(value) = root.get("version") else {
        checker.error_with(&(0..0), "`version` is missing", "write `version = 1` at the top of the file");
        return;
    };
    if checker.integer("version", value, 0..=u32::MAX).is_some_and(|version| version != 1) {
        checker.error_with(&value.span(), "this version of the language is not known", "permitted: `1`");
    }
}

fn rules(checker: &mut Checker<'_>, root: &Section<'_>, names: &rule::Names<'_>) -> Vec<Rule> {
    let Some(value) = root.get("rule") else { return Vec::new() };
    let DeValue::Array(tables) = value.get_ref() else {
        checker.error_with(
            &value.span(),
            "`rule` is not a list of rules",
            "write `[[rule]]` above each rule",
        );
        return Vec::new();
    };
    let mut rules = Vec::new();
    let mut seen: HashMap<String, Position> = HashMap::new();
    for table in tables.iter() {
        let Some(section) = checker.table("rule", table) else { continue };
        let Some(rule) = rule::rule(checker, &section, names) else { continue };
        match seen.get(&rule.name) {
            Some(first) => checker.error_with(
                &rule.span,
                format!("a rule named `{}` stands at line {} already", rule.name, first.line),
                "names are unique: counters are kept by name",
            ),
            None => {
                seen.insert(rule.name.clone(), rule.position);
                rules.push(rule);
            }
        }
    }
    // Entry 0 of the kernel's table is taken.
    if rules.len() >= MAX_RULES as usize {
        let message = format!("there are {} rules; at most {} can be loaded", rules.len(), MAX_RULES - 1);
        checker.error(&value.span(), message);
    }
    rules
}
