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
    #[error("{file} has {} error(s)", .diagnostics.iter().filter(|one| one.severity == Severity::Error).count())]
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

/// Reads and checks a rules file; `interfaces` (name, zone) are put into its zones.
///
/// # Errors
/// [`RulesError::Read`] and [`RulesError::Invalid`].
pub fn read(path: &Path) -> Result<RuleSet, RulesError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| RulesError::Read { file: file.clone(), source })?;
    RuleSet::parse(&file, &text).map_err(|diagnostics| RulesError::Invalid { file, diagnostics })
}
