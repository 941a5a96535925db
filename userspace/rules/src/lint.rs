//! What a rules file says but probably does not mean.
//!
//! A [`RuleSet`] that exists is valid; the lints ask whether it is wise. Each has a name, a place and a suggestion,
//! and none is ever wrong about the rules: what is said to cover a rule does cover it, packet for packet (a test
//! holds that against [`crate::oracle`]). Where a rule set is too finely divided for that to be found out in bounded
//! time, the lint is silent.

mod cover;
mod fields;
mod groups;
mod management;
mod reach;
mod session;
mod space;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::compile::Compiled;
use crate::diagnostic::Diagnostic;
use crate::ruleset::RuleSet;
use cover::{Budget, Rows};

pub use management::{MANAGEMENT, Management};
pub use session::{Session, locked_out};

/// Steps taken for one question about one rule, at most: some milliseconds.
const STEPS_PER_RULE: u64 = 1 << 20;
/// Steps taken for a rule set by each lint, at most: a tenth of a second or two.
const STEPS: u64 = 1 << 24;

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lint {
    /// A rule that no packet can reach, because those before it match all that it would.
    UnreachableRule,
    /// A rule that no packet can match: its groups are empty, or its sources and destinations are of different
    /// address families.
    ImpossibleRule,
    /// A group without an address in it.
    EmptyGroup,
    /// A group that nothing names.
    UnusedGroup,
    /// A rule that lets everybody reach a port devices are managed through.
    OpenManagement,
    /// Rules that would refuse the session they are being checked from.
    LockedOut,
}

impl Lint {
    /// Every lint.
    pub const ALL: [Self; 6] = [
        Self::UnreachableRule,
        Self::ImpossibleRule,
        Self::EmptyGroup,
        Self::UnusedGroup,
        Self::OpenManagement,
        Self::LockedOut,
    ];

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnreachableRule => "unreachable-rule",
            Self::ImpossibleRule => "impossible-rule",
            Self::EmptyGroup => "empty-group",
            Self::UnusedGroup => "unused-group",
            Self::OpenManagement => "open-management",
            Self::LockedOut => "locked-out",
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every warning about a rule set that can be had from the file alone, those of the parser included; `compiled` is
/// what it was compiled to.
///
/// Takes some tenths of a second at most, however many rules there are.
pub fn lint(set: &RuleSet, compiled: &Compiled) -> Vec<Diagnostic> {
    let mut findings = set.warnings().to_vec();
    findings.extend(groups::warnings(set));
    match Rows::of(set, &MANAGEMENT.map(Management::service)) {
        Ok(rows) => {
            let budget = Budget::new(STEPS);
            findings.extend(reach::warnings(set, compiled, &rows, &budget));
            findings.extend(management::warnings(set, &rows, &Budget::new(STEPS)));
        }
        Err(fields::TooMany) => findings.extend(reach::of_the_compiler(set, compiled)),
    }
    in_order(set, findings)
}

/// As they stand in the files, the file that was named first at the front.
fn in_order(set: &RuleSet, mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let files: Vec<&str> = set.files().collect();
    let place = |finding: &Diagnostic| files.iter().position(|file| *file == &*finding.file);
    findings.sort_by_key(|finding| (place(finding), finding.position));
    findings
}

/// As in `` `a` (rules.toml:12) ``.
fn reference(set: &RuleSet, rule: usize) -> String {
    set.rules().get(rule).map_or_else(String::new, |rule| {
        format!("`{}` ({}:{})", rule.name, set.file_of(rule), rule.position.line)
    })
}

/// As in `a, b and 3 more`.
fn listed(mut items: Vec<String>, most: usize) -> String {
    let more = items.len().saturating_sub(most);
    if more > 1 {
        items.truncate(most);
        return format!("{} and {more} more", items.join(", "));
    }
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
