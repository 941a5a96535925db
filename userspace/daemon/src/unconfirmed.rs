//! What rules to go back to, where a daemon dies while new ones wait to be confirmed.
//!
//! Owns `unconfirmed.json` in the state directory, which is there exactly as long as rules wait: the files of the last
//! rules that were confirmed, as they were. A daemon that finds it begins with these.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use callgate_rules::{Files, RuleSet};
use serde::{Deserialize, Serialize};
use tracing::warn;

const NAME: &str = "unconfirmed.json";
const NEW_NAME: &str = "unconfirmed.json.new";

/// Rules wait to be confirmed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The rules file the daemon was started with: one that is started with another is to use that.
    started_with: PathBuf,
    /// The file whose rules wait.
    pub(crate) waits: PathBuf,
    /// The file whose rules come back.
    pub(crate) back_to: PathBuf,
    /// Its text, and those of the files it names.
    texts: BTreeMap<PathBuf, String>,
}

impl Record {
    /// Before rules of `waits` are put in force in place of these.
    pub(crate) fn new(started_with: &Path, waits: &Path, (rules, back_to): (&RuleSet, &Path)) -> Self {
        let texts = rules.texts().map(|(name, text)| (plain(Path::new(name)), text.to_owned()));
        Self {
            started_with: started_with.to_owned(),
            waits: waits.to_owned(),
            back_to: back_to.to_owned(),
            texts: texts.collect(),
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let (text, new) = (serde_json::to_vec(self)?, directory.join(NEW_NAME));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        fs::rename(new, directory.join(NAME))
    }

    /// Nothing waits any more.
    pub(crate) fn remove(directory: &Path) {
        match fs::remove_file(directory.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(%error, "the next daemon will take these rules for unconfirmed");
            }
            _ => {}
        }
    }

    /// What an earlier daemon, which was started with the same file, has left; with the rules to begin with.
    pub(crate) fn read(directory: &Path, started_with: &Path) -> Option<(Self, RuleSet)> {
        let text = fs::read(directory.join(NAME)).ok()?;
        let record: Self = serde_json::from_slice(&text).ok()?;
        if record.started_with != started_with {
            return None;
        }
        let rules = RuleSet::load(&record.back_to, &Texts(&record.texts));
        match rules {
            Ok(rules) => Some((record, rules)),
            Err(error) => {
                warn!(%error, "the rules that were confirmed last cannot be read again");
                None
            }
        }
    }
}

/// Files as they were.
struct Texts<'t>(&'t BTreeMap<PathBuf, String>);

impl Files for Texts<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(&plain(path)).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let path = plain(path);
        if self.0.contains_key(&path) {
            return Ok(None);
        }
        // What was no file was a directory.
        Ok(Some(self.0.keys().filter(|file| file.parent() == Some(&path)).cloned().collect()))
    }

    fn identity(&self, path: &Path) -> PathBuf {
        plain(path)
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use callgate_rules::Disk;

    use super::*;

    #[test]
    fn rules_are_read_again_as_they_were_with_the_files_they_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (path, more) = (directory.path().join("rules.toml"), directory.path().join("more.d"));
        fs::create_dir(&more).expect("a directory");
        let text = "version = 1\ninclude = [\"more.d\", \"./more.d/../one.toml\"]\n[zones]\noutside = \"eth0\"\n[groups]\nphones = { file = \"phones.txt\" }\n";
        let rule = |name: &str| {
            format!("version = 1\n[[rule]]\nname = \"{name}\"\nfrom = \"phones\"\naction = \"track\"\n")
        };
        for (file, text) in [
            ("rules.toml", text),
            ("one.toml", &rule("one")),
            ("more.d/b.toml", &rule("b")),
            ("more.d/a.toml", &rule("a")),
            ("phones.txt", "10.20.0.0/16\n"),
        ] {
            fs::write(directory.path().join(file), text).expect("a file");
        }
        let rules = RuleSet::load(&path, &Disk).expect("valid rules");
        let record = Record::new(&path, Path::new("new.toml"), (&rules, &path));
        record.write(directory.path()).expect("room");
        for file in ["one.toml", "more.d/a.toml", "phones.txt"] {
            fs::write(directory.path().join(file), "something else").expect("a file");
        }
        let (record, again) = Record::read(directory.path(), &path).expect("it was written");
        let names = |rules: &RuleSet| rules.rules().iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&again), record.waits), (names(&rules), "new.toml".into()));
        assert_eq!(names(&again), ["a", "b", "one"]);
        assert!(Record::read(directory.path(), Path::new("another.toml")).is_none());
        Record::remove(directory.path());
        Record::remove(directory.path());
        assert!(Record::read(directory.path(), &path).is_none());
    }
}
