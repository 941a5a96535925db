//! A rules file from disk, with those it names, checked.

use std::path::Path;

use callgate_api::ErrorReply;
use callgate_rules::{Diagnostic, Disk, LoadError, RuleSet, Severity};

/// A rules file cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What it says is wrong.
    #[error("{file} is not a valid rules file: {}", first(.file, .diagnostics))]
    Invalid {
        /// The file.
        file: String,
        /// Where and what.
        diagnostics: Vec<Diagnostic>,
    },
    /// It cannot be put in force on this machine.
    #[error("{file}: {cause}")]
    Unfit {
        /// The file.
        file: String,
        /// Why.
        cause: String,
    },
}

impl RulesError {
    /// The error for a control client.
    pub fn reply(&self) -> ErrorReply {
        let details = match self {
            Self::Invalid { diagnostics, .. } => diagnostics.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        ErrorReply {
            error: self.to_string(),
            hint: "the rules in force are unchanged; mend the file, try it with `fwctl check`, and reload"
                .to_owned(),
            details,
        }
    }
}

/// The first error, and how many more there are.
fn first(file: &str, diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let Some(first) = errors.next() else { return "no error is named".to_owned() };
    let place = first.position;
    let within = if *first.file == *file { String::new() } else { format!("{}, ", first.file) };
    let text = format!("{within}line {}, column {}: {}", place.line, place.column, first.message);
    match errors.count() {
        0 => text,
        more => format!("{text} (and {more} more)"),
    }
}

/// Reads and checks a rules file and those it names.
///
/// # Errors
/// [`RulesError::Read`] and [`RulesError::Invalid`].
pub fn read(path: &Path) -> Result<RuleSet, RulesError> {
    RuleSet::load(path, &Disk).map_err(|error| match error {
        LoadError::Read { file, source } => RulesError::Read { file, source },
        LoadError::Invalid(diagnostics) => {
            RulesError::Invalid { file: path.display().to_string(), diagnostics }
        }
    })
}
