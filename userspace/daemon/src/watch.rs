//! Rules files that change on disk: `watch = true` of `[control]`.
//!
//! The directories of all files of the rule set are watched, since editors and package managers put a new file in the
//! place of the old one. A change counts when nothing has happened for [`QUIET`], at the latest after [`PATIENCE`],
//! and only if a file is really another one than before: so a set that is copied file by file is read once, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use callgate_rules::RuleSet;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// Silence after which a set of files is taken to be whole.
const QUIET: Duration = Duration::from_millis(300);
/// Files that change all the time are read all the same.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a file was when it was last looked at.
type Stamp = (u64, Option<SystemTime>, u64);

/// The files of the rules in force.
#[derive(Debug)]
pub struct Files {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    stamps: BTreeMap<PathBuf, Stamp>,
    sender: mpsc::Sender<()>,
    events: mpsc::Receiver<()>,
    /// When the first of the events that wait came, and when they count.
    waiting: Option<(Instant, Instant)>,
}

impl Default for Files {
    fn default() -> Self {
        // One event says as much as many: what finds no room is not missed.
        let (sender, events) = mpsc::channel(1);
        let (directories, stamps) = (BTreeSet::new(), BTreeMap::new());
        Self { watcher: None, directories, stamps, sender, events, waiting: None }
    }
}

impl Files {
    /// Watches the files of these rules, if they want it, and looks at them as they are.
    pub fn follow(&mut self, rules: &RuleSet) {
        if !rules.control().watch {
            if self.watcher.take().is_some() {
                info!("rules files are no longer watched");
            }
            self.directories.clear();
            return;
        }
        let directories: BTreeSet<PathBuf> =
            rules.files().filter_map(|file| Path::new(file).parent()).map(not_empty).collect();
        if self.watcher.is_some() && directories == self.directories {
            return;
        }
        match watcher(&directories, self.sender.clone()) {
            Ok(watcher) => {
                info!(directories = directories.len(), "rules files are watched");
                self.watcher = Some(watcher);
                self.stamps = stamps(&directories);
                self.directories = directories;
            }
            Err(error) => {
                self.watcher = None;
                self.directories.clear();
                warn!(%error, "rules files cannot be watched: reload them by hand");
            }
        }
    }

    /// Waits until a file has changed. To be dropped and called again at will: nothing is missed.
    pub async fn changed(&mut self) {
        loop {
            let Some((first, due)) = self.waiting else {
                // The sender above lives as long as the receiver.
                self.events.recv().await;
                let now = Instant::now();
                self.waiting = Some((now, now + QUIET));
                continue;
            };
            tokio::select! {
                () = sleep_until(due) => {
                    self.waiting = None;
                    let found = stamps(&self.directories);
                    if found != self.stamps {
                        self.stamps = found;
                        return;
                    }
                }
                _ = self.events.recv() => {
                    self.waiting = Some((first, (Instant::now() + QUIET).min(first + PATIENCE)));
                }
            }
        }
    }
}

fn watcher(directories: &BTreeSet<PathBuf>, to: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let reads = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if !reads {
            let _ = to.try_send(());
        }
    })?;
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// What the directories hold: whatever could belong to a rule set.
fn stamps(directories: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    use std::os::unix::fs::MetadataExt;

    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let ours = |path: &PathBuf| {
        let kind = path.extension().and_then(|kind| kind.to_str());
        matches!(kind, Some("toml" | "txt" | "list" | "conf") | None)
    };
    entries
        .map(|entry| entry.path())
        .filter(ours)
        .filter_map(|path| {
            let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            Some((path, (meta.len(), meta.modified().ok(), meta.ino())))
        })
        .collect()
}

fn not_empty(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { ".".into() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use callgate_rules::Disk;
    use tokio::time::timeout;

    use super::*;

    const RULES: &str =
        "version = 1\ninclude = \"more.toml\"\n[zones]\noutside = \"eth0\"\n[control]\nwatch = true\n";
    const MORE: &str = "[[rule]]\nname = \"a\"\naction = \"track\"\n";

    fn bench() -> (tempfile::TempDir, PathBuf, Files) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("rules.toml");
        fs::write(&path, RULES).expect("it can be written");
        fs::write(directory.path().join("more.toml"), MORE).expect("it can be written");
        let mut files = Files::default();
        files.follow(&RuleSet::load(&path, &Disk).expect("valid rules"));
        assert!(files.watcher.is_some());
        (directory, path, files)
    }

    #[tokio::test]
    async fn several_changes_in_a_row_are_one() {
        let (directory, path, mut files) = bench();
        let writing = tokio::spawn(async move {
            for round in 0..5 {
                let more = directory.path().join("more.toml");
                fs::write(&more, format!("{MORE}# {round}\n")).expect("it can be written");
                // As editors do it: another file in the place of the old one.
                let new = directory.path().join("rules.toml.new");
                fs::write(&new, format!("{RULES}# {round}\n")).expect("it can be written");
                fs::rename(&new, &path).expect("it can be moved");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            directory
        });
        timeout(Duration::from_secs(5), files.changed()).await.expect("it is noticed");
        let _directory = timeout(Duration::from_millis(1), writing).await.expect("all were waited for");
        assert!(timeout(Duration::from_millis(700), files.changed()).await.is_err(), "and once only");
    }

    #[tokio::test]
    async fn what_belongs_to_no_rule_set_and_mere_reading_change_nothing() {
        let (directory, path, mut files) = bench();
        fs::write(directory.path().join(".rules.toml.swp"), "x").expect("it can be written");
        fs::read(&path).expect("it can be read");
        assert!(timeout(Duration::from_millis(700), files.changed()).await.is_err());
    }

    #[tokio::test]
    async fn waiting_that_is_broken_off_misses_nothing() {
        let (_directory, path, mut files) = bench();
        fs::write(&path, format!("{RULES}# more\n")).expect("it can be written");
        // As the main loop does it whenever something else happens.
        let mut tries = 0;
        while timeout(Duration::from_millis(20), files.changed()).await.is_err() {
            tries += 1;
            assert!(tries < 200, "it is never noticed");
        }
    }
}
