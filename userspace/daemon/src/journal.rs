//! Calls survive the daemon: their records, read back by the next one.
//!
//! Owns one SQLite database, `calls.db` in the state directory: a row for each living call, written before the packet
//! that has changed the call goes on, and one for how its parties are reached. It guards against the death of the process alone, so nothing is synced: a reboot
//! takes the kernel's maps, and the calls, with it. Rows of an earlier boot are thrown away, since monotonic times mean
//! nothing across boots; so is a file that is damaged. It is as large as the most calls there have been at a time, and
//! a log of changes of some megabytes.
//!
//! The firewall never stops for its journal. A disk that is full or gone is reported once, and once more when it is well
//! again; [`Journal::make_good`] then writes down what was lost meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use callgate_alg::{Action, Call, CallId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::database::{self, Error, Outlives};
use crate::paths::Way;

/// Where the journal lies unless told otherwise: gone after a reboot, like the maps.
pub const STATE_DIR: &str = "/run/callgate";

const NAME: &str = "calls.db";

const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ways (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
";
const SET: &str = "INSERT OR REPLACE INTO calls (id, record) VALUES (?1, ?2)";
const SET_WAY: &str = "INSERT OR REPLACE INTO ways (id, record) VALUES (?1, ?2)";
/// Those of calls that are over.
const FORGET_WAYS: &str = "DELETE FROM ways WHERE id NOT IN (SELECT id FROM calls)";

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    boot: String,
    /// `None` where it could not be opened.
    database: Option<Connection>,
    /// Changes have been lost.
    failing: bool,
}

impl Journal {
    /// Opens the journal in `directory`, making both if need be; with it the calls that were alive when the last daemon
    /// ended, by number, and the ways to them. Records that cannot be read are passed over and counted in a warning.
    pub fn open(directory: &Path) -> (Self, Vec<Call>, Vec<(CallId, Way)>) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in_boot(directory, boot.trim())
    }

    fn open_in_boot(directory: &Path, boot: &str) -> (Self, Vec<Call>, Vec<(CallId, Way)>) {
        let mut journal =
            Self { directory: directory.to_owned(), boot: boot.to_owned(), database: None, failing: false };
        let opened = journal.connect().and_then(|database| {
            let (calls, ways) = (records(&database, "calls")?, records(&database, "ways")?);
            Ok((calls, ways, database))
        });
        match opened {
            Ok((calls, ways, database)) => {
                journal.database = Some(database);
                let calls = calls.into_iter().map(|(_, call)| call).collect();
                let ways = ways.into_iter().map(|(id, way)| (CallId(id.unsigned_abs()), way)).collect();
                (journal, calls, ways)
            }
            Err(error) => {
                journal.fails(&error);
                (journal, Vec::new(), Vec::new())
            }
        }
    }

    /// Whether changes have been lost that [`Self::make_good`] has not written down yet.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Notes a call's change or end; other actions are none of its business.
    pub fn record(&mut self, action: &Action) {
        let Some(database) = &self.database else { return };
        let written = match action {
            Action::Call(call) => set(database, SET, call.id, call),
            Action::Ended(call, _) => forget(database, call.id),
            _ => Ok(()),
        };
        if let Err(error) = written {
            self.fails(&error);
        }
    }

    /// Notes how the parties of a call that is not over are reached.
    pub fn way(&mut self, call: CallId, way: &Way) {
        let Some(database) = &self.database else { return };
        if let Err(error) = set(database, SET_WAY, call, way) {
            self.fails(&error);
        }
    }

    /// Where changes have been lost: writes down all calls there are. To be called now and then.
    pub(crate) fn make_good<'c>(&mut self, calls: impl Iterator<Item = &'c Call>) {
        if !self.failing {
            return;
        }
        let written = match self.database.take() {
            Some(database) => Ok(database),
            None => self.connect(),
        };
        let written = written.and_then(|mut database| {
            let transaction = database.transaction()?;
            transaction.execute("DELETE FROM calls", [])?;
            for call in calls {
                set(&transaction, SET, call.id, call)?;
            }
            transaction.execute(FORGET_WAYS, [])?;
            transaction.commit()?;
            Ok(database)
        });
        // One that has failed is opened anew the next time.
        if let Ok(database) = written {
            self.database = Some(database);
            self.failing = false;
            info!("call journal: can be written again");
        }
    }

    /// Opens the database, without the calls of another boot.
    fn connect(&self) -> Result<Connection, Error> {
        let database = database::open(&self.directory, NAME, Outlives::Process, TABLES)?;
        let of: Option<String> =
            database.query_row("SELECT id FROM boot", [], |row| row.get(0)).optional()?;
        if of.as_deref() != Some(&self.boot) {
            database.execute_batch("DELETE FROM calls; DELETE FROM boot;")?;
            database.execute("INSERT INTO boot (id) VALUES (?1)", [&self.boot])?;
        }
        database.execute(FORGET_WAYS, [])?;
        Ok(database)
    }

    fn fails(&mut self, error: &Error) {
        if !self.failing {
            self.failing = true;
            warn!(%error, directory = %self.directory.display(), "call journal: cannot be written; calls will not outlive the daemon until it can");
        }
    }
}

/// Numbers of calls are microseconds since the machine was started.
fn key(call: CallId) -> i64 {
    i64::try_from(call.0).unwrap_or(i64::MAX)
}

/// Writes down what is known of a call, by [`SET`] or [`SET_WAY`].
fn set(database: &Connection, statement: &str, call: CallId, record: &impl Serialize) -> Result<(), Error> {
    let record = serde_json::to_string(record)?;
    database.prepare_cached(statement)?.execute(params![key(call), record])?;
    Ok(())
}

/// A call is over.
fn forget(database: &Connection, call: CallId) -> Result<(), Error> {
    for statement in ["DELETE FROM calls WHERE id = ?1", "DELETE FROM ways WHERE id = ?1"] {
        database.prepare_cached(statement)?.execute([key(call)])?;
    }
    Ok(())
}

/// The records of a table, by the numbers of their calls.
fn records<T: DeserializeOwned>(database: &Connection, table: &str) -> Result<Vec<(i64, T)>, Error> {
    let mut select = database.prepare(&format!("SELECT id, record FROM {table} ORDER BY id"))?;
    let (mut found, mut unreadable) = (Vec::new(), 0_u64);
    for row in select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))? {
        let (id, record) = row?;
        match serde_json::from_str(&record) {
            Ok(record) => found.push((id, record)),
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > 0 {
        warn!(unreadable, table, "call journal: records were passed over");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use callgate_alg::CallId;
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
        journal.way(CallId(3), &before);
        end(&mut journal, 1);
        drop(journal);
        assert_eq!(found(), [(CallId(2), after.clone())], "call 3 there has never been");
        assert_eq!(found(), [(CallId(2), after)], "reading it has not changed it");
    }

    #[test]
    fn a_journal_of_another_boot_is_thrown_away() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        drop(journal);
        let (_, calls, _) = Journal::open_in_boot(directory.path(), "the next boot");
        assert!(calls.is_empty());
    }

    #[test]
    fn a_process_that_is_killed_leaves_what_it_has_written() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        set(&mut journal, 2, "b");
        end(&mut journal, 1);
        // As the files lie there, in mid-run.
        let killed = tempfile::tempdir().expect("a temporary directory");
        for file in fs::read_dir(directory.path()).expect("the directory").flatten() {
            fs::copy(file.path(), killed.path().join(file.file_name())).expect("a copy");
        }
        assert_eq!(found(&killed), [(2, "b".to_owned())]);
    }

    #[test]
    fn a_damaged_journal_costs_its_calls_only() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        drop(journal);
        fs::write(directory.path().join(NAME), [b'x'; 8_192]).expect("a spoilt journal");
        let (mut journal, calls, _) = Journal::open_in_boot(directory.path(), BOOT);
        assert_eq!(calls, []);
        set(&mut journal, 2, "b");
        drop(journal);
        assert_eq!(found(&directory), [(2, "b".to_owned())]);
    }

    #[test]
    fn an_unreadable_record_is_passed_over() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        let database = journal.database.as_ref().expect("it is open");
        database.execute(SET, params![2, "{\"id\":7}"]).expect("a spoilt record");
        drop(journal);
        assert_eq!(found(&directory), [(1, "a".to_owned())]);
    }

    #[test]
    fn calls_that_come_and_go_take_no_more_room() {
        let (directory, mut journal) = bench();
        for id in 2..6_000 {
            set(&mut journal, id, "comes");
            end(&mut journal, id);
        }
        let files = fs::read_dir(directory.path()).expect("the directory").flatten();
        let size: u64 = files.map(|file| file.metadata().expect("a file").len()).sum();
        assert!(size < 8 << 20, "{size}");
    }

    #[test]
    fn a_failing_disk_stops_nothing_and_what_was_lost_is_made_good() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "ends unseen");
        set(&mut journal, 2, "stays");
        let database = journal.database.as_ref().expect("it is open");
        database.pragma_update(None, "query_only", true).expect("as if the disk were full");
        end(&mut journal, 1);
        set(&mut journal, 3, "comes unseen");
        assert!(journal.is_failing());
        let calls = [call(2, "stays"), call(3, "comes unseen")];
        journal.make_good(calls.iter());
        assert!(journal.is_failing(), "it still is");
        journal.make_good(calls.iter());
        assert!(!journal.is_failing());
        drop(journal);
        assert_eq!(found(&directory), [(2, "stays".to_owned()), (3, "comes unseen".to_owned())]);
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
