//! Requests that change something, and errors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Asks for the rules to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Another rules file to go over to (absolute); without it the one in force is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The rules in force come back after so many seconds, 1 to [`MAX_CONFIRM_S`], unless the new ones are confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u64>,
}

/// The longest that new rules can wait to be confirmed: a day.
pub const MAX_CONFIRM_S: u64 = 86_400;

/// The rules were read, and are in force on every interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// The file.
    pub file: String,
    /// Counts the loads since the maps were pinned.
    pub generation: u32,
    /// How many rules it has.
    pub count: u32,
    /// What the checker has to say about it, each as it would be printed.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Seconds within which it is to be confirmed, or the rules before it come back; `None` where it need not be.
    #[serde(default)]
    pub confirm_s: Option<u64>,
}

/// Nothing was done, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong, in one line.
    pub error: String,
    /// What to do next, in one line; empty where there is nothing to be said.
    #[serde(default)]
    pub hint: String,
    /// More about it, such as every error of a rules file, each as it would be printed.
    #[serde(default)]
    pub details: Vec<String>,
}
