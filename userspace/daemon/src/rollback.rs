//! Rules that can come back: the set that was in force before, and the time by which new rules are to be confirmed.
//!
//! Whoever changes the rules of a machine far away may lock himself out; `fwctl reload --confirm 60s` puts new rules in
//! force and takes them back unless somebody, who evidently still gets there, confirms them. Sets are kept in memory,
//! checked as they were: nothing that has happened to the files meanwhile keeps the old rules from coming back. While new
//! ones wait, the old ones are also in the state directory ([`crate::unconfirmed`]): a daemon that dies does not confirm.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate_alg::action::Time;
use callgate_api::{Confirmed, ErrorReply, ReloadReply, Unconfirmed};
use callgate_rules::RuleSet;
use tracing::{info, warn};

use crate::control::locked;
use crate::firewall::{Firewall, now};
use crate::unconfirmed::Record;

/// What can come back, and whether it will.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// The rules before those in force, and their file; while new ones wait, the last that were confirmed.
    previous: Option<(RuleSet, PathBuf)>,
    /// When they come back.
    until: Option<Time>,
    /// The state directory.
    directory: PathBuf,
    /// The rules file the daemon was started with.
    started_with: PathBuf,
}

impl Reserve {
    /// Nothing can come back yet.
    pub(crate) fn new(directory: &Path, started_with: &Path) -> Self {
        let (directory, started_with) = (directory.to_owned(), started_with.to_owned());
        Self { previous: None, until: None, directory, started_with }
    }

    /// Rules of a file are about to be put in force, which are to be confirmed: should the daemon die before, the last
    /// confirmed ones, or else `present` ones, come back.
    pub(crate) fn prepare(&self, waits: &Path, present: (&RuleSet, &Path)) -> io::Result<()> {
        let confirmed = self.previous.as_ref().filter(|_| self.until.is_some());
        let back_to = confirmed.map_or(present, |(rules, file)| (rules, file.as_path()));
        Record::new(&self.started_with, waits, back_to).write(&self.directory)
    }

    /// What was prepared has not come about.
    pub(crate) fn forsake(&self) {
        if self.until.is_none() {
            Record::remove(&self.directory);
        }
    }

    /// Other rules are in force now, and stay, or wait to be confirmed until a time.
    pub(crate) fn keep(&mut self, before: RuleSet, file: PathBuf, until: Option<Time>) {
        // What was never confirmed is nothing to come back to.
        if self.until.is_none() || self.previous.is_none() {
            self.previous = Some((before, file));
        }
        self.until = until;
        if until.is_none() {
            Record::remove(&self.directory);
        }
    }

    /// The rules that come back, if it is time.
    fn due(&self, now: Time) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// What waits.
    pub(crate) fn unconfirmed(&self, file: &Path, now: Time) -> Option<Unconfirmed> {
        let (_, back_to) = self.previous.as_ref()?;
        Some(Unconfirmed {
            file: file.display().to_string(),
            back_to: back_to.display().to_string(),
            left_s: self.until?.since(now).as_secs(),
        })
    }
}

impl Firewall {
    /// The rules in force are to stay.
    pub(crate) fn confirm(&mut self) -> Result<Confirmed, ErrorReply> {
        if self.reserve.until.take().is_none() {
            return Err(refusal("nothing waits to be confirmed", "the rules in force are there to stay"));
        }
        Record::remove(&self.reserve.directory);
        info!(file = %self.rules_file.display(), "rules confirmed");
        Ok(Confirmed { file: self.rules_file.display().to_string() })
    }

    /// The rules before those in force come back; asked again, it goes forward again.
    pub(crate) fn roll_back(&mut self) -> Result<ReloadReply, ErrorReply> {
        let Some((rules, file)) = self.reserve.previous.take() else {
            let hint = "the daemon remembers the rules before the last reload, and there was none";
            return Err(refusal("there are no rules to go back to", hint));
        };
        let again = (rules.clone(), file.clone());
        self.reserve.until = None;
        match self.put_in_force(rules, &file, None) {
            Ok(mut reply) => {
                self.last_error = None;
                info!(file = reply.file, generation = reply.generation, "rules rolled back");
                reply.warnings.push(format!(
                    "{} is not changed: mend it before the next reload, or before the daemon is started again",
                    file.display()
                ));
                Ok(reply)
            }
            Err(error) => {
                self.reserve.previous = Some(again);
                Err(error.reply())
            }
        }
    }

    /// Takes back what was not confirmed in time.
    pub(crate) fn roll_back_if_due(&mut self, now: Time) {
        if !self.reserve.due(now) {
            return;
        }
        let file = self.rules_file.display().to_string();
        warn!(file, "rules were not confirmed in time: those before them come back");
        let result = self.roll_back();
        if let Err(error) = &result {
            // It is tried again: what should come back may fit again, as an interface that is away does.
            self.reserve.until = Some(Time(now.0.saturating_add(Duration::from_secs(10).as_nanos() as u64)));
            warn!(error = error.error, "the rules before them do not come back yet");
        }
        let outcome = result.as_ref().map(drop).map_err(|error| error.error.as_str());
        locked(&self.audit).record_own("rollback", &format!("{file} was not confirmed in time"), outcome);
    }

    /// Notes what was done without anybody asking for it by the control socket.
    pub fn note(&self, change: &str, what: &str, outcome: Result<(), &str>) {
        locked(&self.audit).record_own(change, what, outcome);
    }

    /// The time by which rules that are put in force now are to be confirmed.
    pub(crate) fn confirm_by(confirm: Option<Duration>) -> Option<Time> {
        let nanoseconds = u64::try_from(confirm?.as_nanos()).unwrap_or(u64::MAX);
        Some(Time(now().0.saturating_add(nanoseconds)))
    }
}

fn refusal(error: &str, hint: &str) -> ErrorReply {
    ErrorReply { error: error.to_owned(), hint: hint.to_owned(), details: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(name: &str) -> RuleSet {
        let text = format!(
            "version = 1\n[zones]\noutside = \"eth0\"\n[[rule]]\nname = \"{name}\"\naction = \"track\"\n"
        );
        RuleSet::parse("rules.toml", &text).expect("valid rules")
    }

    fn kept(reserve: &Reserve) -> Option<&str> {
        reserve.previous.as_ref().map(|(rules, _)| rules.rules()[0].name.as_str())
    }

    #[test]
    fn what_comes_back_is_what_was_last_confirmed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut reserve = Reserve::new(directory.path(), Path::new("a.toml"));
        reserve.keep(rules("a"), "a.toml".into(), None);
        assert_eq!(kept(&reserve), Some("a"));
        reserve.keep(rules("b"), "b.toml".into(), Some(Time(100)));
        assert_eq!(kept(&reserve), Some("b"));
        // A second attempt before the first was confirmed.
        reserve.keep(rules("c"), "c.toml".into(), Some(Time(200)));
        assert_eq!(kept(&reserve), Some("b"));
        assert!(!reserve.due(Time(199)) && reserve.due(Time(200)));
    }

    #[test]
    fn what_waits_is_told_with_the_time_that_is_left() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut reserve = Reserve::new(directory.path(), Path::new("a.toml"));
        assert_eq!(reserve.unconfirmed(Path::new("b.toml"), Time(0)), None);
        reserve.keep(rules("a"), "a.toml".into(), Some(Time(60_000_000_000)));
        let waits = reserve.unconfirmed(Path::new("b.toml"), Time(15_000_000_000)).expect("it waits");
        assert_eq!((waits.file.as_str(), waits.back_to.as_str(), waits.left_s), ("b.toml", "a.toml", 45));
    }
}
