//! A rules file from disk, checked.

use std::fs;
use std::path::Path;

use callgate_api::ErrorReply;
use callgate_rules::{Diagnostic, RuleSet, Severity};

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
    #[error("{file} is not a valid rules file: {}", first(.diagnostics))]
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
fn first(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let Some(first) = errors.next() else { return "no error is named".to_owned() };
    let place = first.position;
    let text = format!("line {}, column {}: {}", place.line, place.column, first.message);
    match errors.count() {
        0 => text,
        more => format!("{text} (and {more} more)"),
    }
}

/// Reads and checks a rules file.
///
/// # Errors
/// [`RulesError::Read`] and [`RulesError::Invalid`].
pub fn read(path: &Path) -> Result<RuleSet, RulesError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| RulesError::Read { file: file.clone(), source })?;
    RuleSet::parse(&file, &text).map_err(|diagnostics| RulesError::Invalid { file, diagnostics })
}
