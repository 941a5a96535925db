//! Calls survive the daemon: a journal of their records, read back by the next one.
//!
//! Owns one file, `calls.journal` in the state directory: a JSON value a line, appended as calls come, change
//! and end, and written anew without the dead lines when those outweigh the living. It guards against the death
//! of the process alone, so nothing is synced: a reboot takes the kernel's maps, and the calls, with it. A
//! journal of an earlier boot is thrown away, since monotonic times mean nothing across boots.
//!
//! The firewall never stops for its journal. A disk that is full or gone is reported once, and once more when
//! it is well again; until then changes are lost, and a daemon that starts after that takes such a call for
//! what it last was, until it falls silent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use callgate_alg::{Action, Call, CallId};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::paths::Way;

/// Where the journal lies unless told otherwise: gone after a reboot, like the maps.
pub const STATE_DIR: &str = "/run/callgate";

const NAME: &str = "calls.journal";
const NEW_NAME: &str = "calls.journal.new";
/// Longest line believed; the longest record of a call is well below.
const MAX_LINE: u64 = 256 * 1024;
/// Below this size a journal is not worth compacting, in bytes.
const COMPACT_ABOVE: u64 = 1024 * 1024;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry<'a> {
    /// The first line: the kernel's boot id.
    Boot(Cow<'a, str>),
    /// A call as it now stands.
    Call(Cow<'a, Call>),
    /// A call is over.
    Ended(CallId),
    /// How the parties of a call are reached.
    Way(CallId, Cow<'a, Way>),
}

/// What is known of a call has a line for each.
type Key = (CallId, Line);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Line {
    Call,
    Way,
}

/// Where the last line of its kind of a living call lies, its line feed included.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u64,
}

/// The journal, open for appending.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    boot: String,
    /// `None` where it could not be opened: nothing is recorded.
    file: Option<File>,
    /// Bytes of whole lines: where the next one goes, over the remains of a write that failed.
    length: u64,
    /// Bytes of the living calls' records.
    alive: u64,
    places: HashMap<Key, Place>,
    /// Not compacted before it is this long.
    compact_above: u64,
    /// The last write failed.
    failing: bool,
    /// Ends were lost: a compaction, which leaves out the dead, makes them good.
    owing: bool,
    line: Vec<u8>,
}

impl Journal {
    /// Opens the journal in `directory`, making both if need be; with it the calls that were alive when the
    /// last daemon ended, by number, and the ways to them. Lines that cannot be read are passed over and counted in a warning.
    pub fn open(directory: &Path) -> (Self, Vec<Call>, Vec<(CallId, Way)>) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in_boot(directory, boot.trim())
    }

    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing || self.file.is_none()
    }

    /// Notes a call's change or end; other actions are none of its business.
    pub fn record(&mut self, action: &Action) {
        match action {
            Action::Call(call) => {
                self.put((call.id, Line::Call), &Entry::Call(Cow::Borrowed(call)));
            }
            Action::Ended(call, _) => {
                let lines = [Line::Call, Line::Way].map(|line| self.places.remove(&(call.id, line)));
                self.alive -= lines.iter().flatten().map(|place| place.length).sum::<u64>();
                if lines.iter().any(Option::is_some) {
                    self.append(&Entry::Ended(call.id));
                }
            }
            _ => return,
        }
        self.tidy();
    }

    /// Notes how the parties of a call that is not over are reached.
    pub fn way(&mut self, call: CallId, way: &Way) {
        self.put((call, Line::Way), &Entry::Way(call, Cow::Borrowed(way)));
        self.tidy();
    }

    /// Adds a line in place of the one before it; if it cannot be written, that is the best there is.
    fn put(&mut self, key: Key, entry: &Entry<'_>) {
        if let Some(place) = self.append(entry) {
            self.alive += place.length;
            let before = self.places.insert(key, place);
            self.alive -= before.map_or(0, |before| before.length);
        }
    }

    fn tidy(&mut self) {
        if self.owing || self.length > self.compact_above && self.alive < self.length / 2 {
            self.compact();
        }
    }

    fn open_in_boot(directory: &Path, boot: &str) -> (Self, Vec<Call>, Vec<(CallId, Way)>) {
        let mut journal = Self {
            directory: directory.to_owned(),
            boot: boot.to_owned(),
            file: None,
            length: 0,
            alive: 0,
            places: HashMap::new(),
            compact_above: COMPACT_ABOVE,
            failing: false,
            owing: false,
            line: Vec::new(),
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        let (calls, mut ways) = match made.and_then(|()| read(&directory.join(NAME), boot)) {
            Ok(found) => found,
            Err(error) => {
                warn!(%error, directory = %directory.display(), "call journal: cannot be read; starting without calls");
                Default::default()
            }
        };
        ways.retain(|id, _| calls.contains_key(id));
        let mut calls: Vec<Call> = calls.into_values().collect();
        calls.sort_unstable_by_key(|call| call.id);

        // Written anew: the dead lines and a torn last one are gone before the first is appended.
        let written = journal.rewrite(|new| {
            for call in &calls {
                let place = new.entry(&Entry::Call(Cow::Borrowed(call)))?;
                new.places.insert((call.id, Line::Call), place);
                if let Some(way) = ways.get(&call.id) {
                    let place = new.entry(&Entry::Way(call.id, Cow::Borrowed(way)))?;
                    new.places.insert((call.id, Line::Way), place);
                }
            }
            Ok(())
        });
        if let Err(error) = written {
            warn!(%error, directory = %directory.display(), "call journal: cannot be written; calls will not outlive the daemon");
        }
        (journal, calls, ways.into_iter().collect())
    }

    /// Adds a line; `None` if it could not be written.
    fn append(&mut self, entry: &Entry<'_>) -> Option<Place> {
        let file = self.file.as_ref()?;
        let written = encode(&mut self.line, entry).and_then(|()| file.write_all_at(&self.line, self.length));
        match written {
            Ok(()) => {
                let place = Place { offset: self.length, length: self.line.len() as u64 };
                self.length += place.length;
                if self.failing {
                    self.failing = false;
                    info!("call journal: can be written again");
                    self.owing = true;
                }
                Some(place)
            }
            Err(error) => {
                if !self.failing {
                    self.failing = true;
                    warn!(%error, directory = %self.directory.display(), "call journal: cannot be written; calls will not outlive the daemon until it can");
                }
                None
            }
        }
    }

    fn compact(&mut self) {
        self.owing = false;
        let Some(old) = self.file.take() else { return };
        let mut living: Vec<(Key, Place)> = self.places.iter().map(|(key, place)| (*key, *place)).collect();
        living.sort_unstable_by_key(|(_, place)| place.offset);
        let written = self.rewrite(|new| {
            let mut line = Vec::new();
            for (key, place) in living {
                // A line of ours: its length is what we wrote, below MAX_LINE.
                line.resize(place.length as usize, 0);
                old.read_exact_at(&mut line, place.offset)?;
                let place = new.line(&line)?;
                new.places.insert(key, place);
            }
            Ok(())
        });
        if let Err(error) = written {
            warn!(%error, "call journal: cannot be compacted; it grows on");
            self.file = Some(old);
            self.compact_above = self.length.saturating_mul(2);
        }
    }

    /// Writes a new file with what `fill` puts into it and goes over to it; on error all is as before.
    fn rewrite(&mut self, fill: impl FnOnce(&mut NewFile) -> io::Result<()>) -> io::Result<()> {
        let path = self.directory.join(NEW_NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut new = NewFile { to: BufWriter::new(file), length: 0, places: HashMap::new() };
        new.entry(&Entry::Boot(Cow::Borrowed(&self.boot)))?;
        let head = new.length;
        fill(&mut new)?;
        let file = new.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        fs::rename(&path, self.directory.join(NAME))?;
        self.file = Some(file);
        self.alive = new.length - head;
        self.length = new.length;
        self.places = new.places;
        self.compact_above = COMPACT_ABOVE;
        Ok(())
    }
}

/// A journal being written anew.
struct NewFile {
    to: BufWriter<File>,
    length: u64,
    places: HashMap<Key, Place>,
}

impl NewFile {
    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<Place> {
        let mut line = Vec::new();
        encode(&mut line, entry)?;
        self.line(&line)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<Place> {
        self.to.write_all(line)?;
        let place = Place { offset: self.length, length: line.len() as u64 };
        self.length += place.length;
        Ok(place)
    }
}

fn encode(line: &mut Vec<u8>, entry: &Entry<'_>) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, entry)?;
    line.push(b'\n');
    Ok(())
}

/// The calls of a journal that are not over, and the ways it has.
type Found = (HashMap<CallId, Call>, HashMap<CallId, Way>);

/// What is alive in a journal; nothing if there is no journal, or it is of another boot.
fn read(path: &Path, boot: &str) -> io::Result<Found> {
    let (mut calls, mut ways) = Found::default();
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((calls, ways)),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    let (mut number, mut unreadable) = (0_u64, 0_u64);
    loop {
        line.clear();
        (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            // The end; or a line torn when the daemon died; or no journal of ours.
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(Entry::Boot(of)) if number == 0 && of == boot => {}
            _ if number == 0 => return Ok((calls, ways)),
            Ok(Entry::Call(call)) => {
                let call = call.into_owned();
                calls.insert(call.id, call);
            }
            Ok(Entry::Ended(id)) => {
                calls.remove(&id);
                ways.remove(&id);
            }
            Ok(Entry::Way(id, way)) => {
                ways.insert(id, way.into_owned());
            }
            Ok(Entry::Boot(_)) | Err(_) => unreadable += 1,
        }
        number += 1;
    }
    if unreadable > 0 || !line.is_empty() {
        warn!(unreadable, torn = !line.is_empty(), path = %path.display(), "call journal: lines were passed over");
    }
    Ok((calls, ways))
}

#[cfg(test)]
mod tests {
    use callgate_alg::action::{EndReason, Time};
    use callgate_alg::call::{State, StreamMap};
    use callgate_shared::policy::Inspect;
    use tempfile::TempDir;

    use super::*;

    const BOOT: &str = "this boot";

    fn call(id: u64, key: &str) -> Call {
        Call {
            id: CallId(id),
            protocol: Inspect::Sip,
            key: key.to_owned(),
            state: State::Connected,
            signalling: [([192, 0, 2, 1], 5060).into(), ([198, 51, 100, 7], 5060).into()],
            parties: ["alice".to_owned(), "bob".to_owned()],
            started: Time(1),
            connected: Some(Time(2)),
            streams: StreamMap::default(),
            memo: String::new(),
            slot: 3,
            granted: None,
            released_by: None,
            cause: None,
        }
    }

    fn set(journal: &mut Journal, id: u64, key: &str) {
        journal.record(&Action::Call(Box::new(call(id, key))));
    }

    fn end(journal: &mut Journal, id: u64) {
        journal.record(&Action::Ended(Box::new(call(id, "")), EndReason::Bye));
    }

    /// What the next daemon finds: number and key of each call.
    fn found(directory: &TempDir) -> Vec<(u64, String)> {
        let (_, calls, _) = Journal::open_in_boot(directory.path(), BOOT);
        calls.into_iter().map(|call| (call.id.0, call.key)).collect()
    }

    fn bench() -> (TempDir, Journal) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, calls, _) = Journal::open_in_boot(directory.path(), BOOT);
        assert!(calls.is_empty());
        (directory, journal)
    }

    #[test]
    fn living_calls_come_back_as_they_last_were() {
        let (directory, mut journal) = bench();
        set(&mut journal, 2, "b");
        set(&mut journal, 1, "a");
        set(&mut journal, 3, "c");
        set(&mut journal, 1, "a changed");
        end(&mut journal, 3);
        end(&mut journal, 99);
        drop(journal);
        let expected = [(1, "a changed".to_owned()), (2, "b".to_owned())];
        assert_eq!(found(&directory), expected);
        assert_eq!(found(&directory), expected, "reading it has not changed it");
        let (_, calls, _) = Journal::open_in_boot(directory.path(), BOOT);
        assert_eq!(calls[1], call(2, "b"), "the whole record");
    }

    #[test]
    fn ways_come_back_with_their_calls() {
        let (directory, mut journal) = bench();
        let found = || Journal::open_in_boot(directory.path(), BOOT).2;
        let [before, after] = [40, 41].map(Way::to_try);
        journal.way(CallId(1), &before);
        set(&mut journal, 1, "a");
        set(&mut journal, 2, "b");
        journal.way(CallId(2), &before);
        journal.way(CallId(2), &after);
        assert_eq!(journal.alive, journal.places.values().map(|place| place.length).sum::<u64>());
        end(&mut journal, 1);
        journal.compact();
        assert_eq!(journal.places.len(), 2);
        drop(journal);
        assert_eq!(found(), [(CallId(2), after.clone())]);
        assert_eq!(found(), [(CallId(2), after)], "reading it has not changed it");
    }

    #[test]
    fn a_torn_last_line_costs_that_line_only() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        let whole = journal.length;
        set(&mut journal, 2, "b");
        let path = directory.path().join(NAME);
        for cut in whole..journal.length {
            let torn = directory.path().join("torn");
            fs::create_dir_all(&torn).expect("a directory");
            let bytes = fs::read(&path).expect("the journal");
            fs::write(torn.join(NAME), &bytes[..cut as usize]).expect("a torn journal");
            let (mut next, calls, _) = Journal::open_in_boot(&torn, BOOT);
            assert_eq!(calls, [call(1, "a")], "cut at {cut}");
            set(&mut next, 4, "d");
            let (_, calls, _) = Journal::open_in_boot(&torn, BOOT);
            assert_eq!(calls, [call(1, "a"), call(4, "d")], "appended after a cut at {cut}");
        }
    }

    #[test]
    fn an_unreadable_line_in_the_middle_is_passed_over() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        let path = directory.path().join(NAME);
        let mut bytes = fs::read(&path).expect("the journal");
        bytes.extend_from_slice(b"nonsense\n\xff\xfe\n{\"call\":{\"id\":7}}\n\n");
        fs::write(&path, bytes).expect("a spoilt journal");
        assert_eq!(found(&directory), [(1, "a".to_owned())]);
    }

    #[test]
    fn a_journal_of_another_boot_is_thrown_away() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        let (_, calls, _) = Journal::open_in_boot(directory.path(), "the next boot");
        assert!(calls.is_empty());
    }

    #[test]
    fn dead_lines_are_compacted_away() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "stays");
        let mut longest = 0;
        for id in 2..6_000 {
            set(&mut journal, id, "comes");
            end(&mut journal, id);
            longest = longest.max(journal.length);
        }
        let size = fs::metadata(directory.path().join(NAME)).expect("the journal").len();
        assert_eq!(size, journal.length);
        assert!(
            (COMPACT_ABOVE / 2..=COMPACT_ABOVE).contains(&longest),
            "grew to the threshold only: {longest}"
        );
        assert!(size < longest, "it was compacted");
        set(&mut journal, 7_000, "new");
        assert_eq!(found(&directory), [(1, "stays".to_owned()), (7_000, "new".to_owned())]);
    }

    #[test]
    fn a_failing_disk_stops_nothing_and_lost_ends_are_made_good() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "ends unseen");
        set(&mut journal, 2, "stays");
        let good = journal.file.replace(File::open(directory.path().join(NAME)).expect("read-only"));
        end(&mut journal, 1);
        set(&mut journal, 3, "never written");
        assert!(journal.failing);
        journal.file = good;
        for round in 0..3 {
            set(&mut journal, 4, &format!("well again {round}"));
        }
        assert!(!journal.failing);
        assert_eq!(found(&directory), [(2, "stays".to_owned()), (4, "well again 2".to_owned())]);
    }

    #[test]
    fn a_directory_that_cannot_be_had_stops_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("a file");
        fs::write(&file, "").expect("a file");
        let (mut journal, calls, _) = Journal::open_in_boot(&file.join("below"), BOOT);
        assert!(calls.is_empty());
        set(&mut journal, 1, "a");
        end(&mut journal, 1);
    }
}
