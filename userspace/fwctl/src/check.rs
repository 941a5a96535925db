//! `fwctl check`: reads a rules file as the daemon would.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use callgate_rules::{Diagnostic, MemorySlots, Position, Report, RuleSet, compile};
use serde::Serialize;

use crate::Outcome;
use crate::screen::plural;

/// The answer as programs read it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    file: &'a str,
    /// Whether the daemon would take it.
    ok: bool,
    rules: usize,
    zones: usize,
    groups: usize,
    diagnostics: Vec<Finding<'a>>,
    /// Why it cannot be put into the kernel's tables although it is well written.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    severity: &'static str,
    line: u32,
    column: u32,
    message: &'a str,
    suggestion: Option<&'a str>,
    /// The line it is about.
    text: &'a str,
}

pub(crate) fn run(path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let name = path.display().to_string();
    let parsed = parse(path)?;
    let (rules, diagnostics) = match &parsed {
        Ok(rules) => (Some(rules), rules.warnings()),
        Err(diagnostics) => (None, diagnostics.as_slice()),
    };
    let unfit = rules.and_then(|rules| compile(rules, &[], 1, &mut MemorySlots::default()).err());
    let ok = rules.is_some() && unfit.is_none();
    if json {
        let answer = Answer {
            file: &name,
            ok,
            rules: rules.map_or(0, |rules| rules.rules().len()),
            zones: rules.map_or(0, |rules| rules.zones().len()),
            groups: rules.map_or(0, |rules| rules.groups().len()),
            diagnostics: diagnostics.iter().map(Finding::of).collect(),
            error: unfit.as_ref().map(ToString::to_string),
        };
        crate::write_json(&answer, out)?;
    } else {
        if !diagnostics.is_empty() {
            writeln!(io::stderr().lock(), "{}", Report(diagnostics))?;
        }
        if let Some(error) = unfit {
            writeln!(io::stderr().lock(), "{name}: error: {error}")?;
        } else if let Some(rules) = rules {
            let (count, zones, groups) = (rules.rules().len(), rules.zones().len(), rules.groups().len());
            let [count, zones, groups] =
                [(count, "rule"), (zones, "zone"), (groups, "group")].map(|(n, what)| plural(n as u64, what));
            writeln!(out, "{name}: good ({count}, {zones}, {groups})")?;
        }
    }
    Ok(if ok { Outcome::Yes } else { Outcome::No })
}

/// The rules of a file; `None` if there are errors in it, which have then been printed on stderr.
pub(crate) fn load(path: &Path) -> anyhow::Result<Option<RuleSet>> {
    match parse(path)? {
        Ok(rules) => Ok(Some(rules)),
        Err(diagnostics) => {
            writeln!(io::stderr().lock(), "{}", Report(&diagnostics))?;
            Ok(None)
        }
    }
}

fn parse(path: &Path) -> anyhow::Result<Result<RuleSet, Vec<Diagnostic>>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(RuleSet::parse(&path.display().to_string(), &text))
}

impl<'a> Finding<'a> {
    fn of(diagnostic: &'a Diagnostic) -> Self {
        let Diagnostic { severity, position: Position { line, column }, message, .. } = diagnostic;
        Self {
            severity: severity.name(),
            line: *line,
            column: *column,
            message,
            suggestion: diagnostic.suggestion.as_deref(),
            text: &diagnostic.line,
        }
    }
}
