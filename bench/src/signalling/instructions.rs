//! Instructions per message, by valgrind's callgrind.
//!
//! The program runs itself under callgrind for one case with so many turns, and with twice as many: the difference
//! is that of the turns alone, free of starting up and of valgrind itself.

use std::env;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Subject, subjects};

/// Turns of the shorter run: enough to fill what the engine keeps for a while.
const TURNS: u64 = 500;

/// Instructions of one of the subject's messages.
pub(super) fn per_message(subject: &Subject) -> Result<f64> {
    let (once, twice) = (count(subject.name, TURNS)?, count(subject.name, 2 * TURNS)?);
    let turns = twice.checked_sub(once).context("callgrind counts fewer instructions for more turns")?;
    Ok(turns as f64 / TURNS as f64 / f64::from(subject.messages))
}

/// Reads a case's messages and does nothing else: what runs under callgrind.
pub(crate) fn repeat(case: &str, turns: u64) -> Result<()> {
    let mut subject = subjects().find(|subject| subject.name == case).context("no case has such a name")?;
    subject.run(turns)
}

fn count(case: &str, turns: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--"])
        .arg(env::current_exe()?)
        .args(["repeat", case, &turns.to_string()])
        .output()
        .context("running valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "valgrind: {}: {}",
        output.status,
        said.lines().last().unwrap_or_default()
    );
    collected(&said).context("callgrind does not say what it has counted")
}

/// The count in what callgrind says when it ends: `==17== Collected : 126651`.
fn collected(said: &str) -> Option<u64> {
    let (_, rest) = said.rsplit_once("Collected : ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_is_found_in_what_callgrind_says() {
        let said =
            "==17== Events    : Ir\n==17== Collected : 126651\n==17== \n==17== I   refs:      126,651\n";
        assert_eq!(collected(said), Some(126_651));
        assert_eq!(collected("==17== Collected : \n"), None);
        assert_eq!(collected("valgrind: no such tool\n"), None);
    }

    #[test]
    fn repeating_an_unknown_case_fails() {
        assert!(repeat("pass-only", 1).is_err());
        assert!(repeat("ras-acf", 1).is_ok());
    }
}
