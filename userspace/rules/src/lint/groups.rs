//! Groups that name nobody, and groups nobody names.

use super::Lint;
use crate::diagnostic::{Diagnostic, Severity};
use crate::ruleset::RuleSet;

pub(super) fn warnings(set: &RuleSet) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (name, note) in &set.group_notes {
        let mut warn = |lint, message, suggestion: &str| {
            let suggestion = Some(suggestion.to_owned());
            warnings.push(set.diagnostic_at(&note.place, Severity::Warning, message, suggestion).of(lint));
        };
        if set.groups.get(name).is_some_and(|group| group.is_empty()) {
            let message = format!("group `{name}` is empty");
            warn(Lint::EmptyGroup, message, "a rule that names it matches nothing");
        }
        if !note.used {
            let message = format!("nothing names group `{name}`");
            warn(Lint::UnusedGroup, message, "remove it, or name it in a rule's `from` or `to`");
        }
    }
    warnings
}
