//! Calls survive the daemon: their records, read back by the next one.
//!
//! Owns one SQLite database, `calls.db` in the state directory: a row for each living call, written before the packet
//! that has changed the call goes on. It guards against the death of the process alone, so nothing is synced: a reboot
//! takes the kernel's maps, and the calls, with it. Rows of an earlier boot are thrown away, since monotonic times mean
//! nothing across boots; so is a file that is damaged. It is as large as the most calls there have been at a time, and
//! a log of changes of some megabytes.
//!
//! The firewall never stops for its journal. A disk that is full or gone is reported once, and once more when it is well
//! again; [`Journal::make_good`] then writes down what was lost meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use callgate_alg::{Action, Call};
use rusqlite::{Connection, OptionalExtension, params};
use tracing::{info, warn};

use crate::database::{self, Error, Outlives};

/// Where the journal lies unless told otherwise: gone after a reboot, like the maps.
pub const STATE_DIR: &str = "/run/callgate";

const NAME: &str = "calls.db";

const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
";
const SET: &str = "INSERT OR REPLACE INTO calls (id, record) VALUES (?1, ?2)";

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
    /// Opens the journal in `directory`, making both if need be; with it the calls that were alive when the
    /// last daemon ended, by number. Records that cannot be read are passed over and counted in a warning.
    pub fn open(directory: &Path) -> (Self, Vec<Call>) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in_boot(directory, boot.trim())
    }

    fn open_in_boot(directory: &Path, boot: &str) -> (Self, Vec<Call>) {
        let mut journal =
            Self { directory: directory.to_owned(), boot: boot.to_owned(), database: None, failing: false };
        let opened = journal.connect().and_then(|database| Ok((living(&database)?, database)));
        match opened {
            Ok((calls, database)) => {
                journal.database = Some(database);
                (journal, calls)
            }
            Err(error) => {
                journal.fails(&error);
                (journal, Vec::new())
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
            Action::Call(call) => set(database, call),
            Action::Ended(call, _) => database
                .prepare_cached("DELETE FROM calls WHERE id = ?1")
                .and_then(|mut delete| delete.execute([key(call)]))
                .map_or_else(|error| Err(error.into()), |_| Ok(())),
            _ => Ok(()),
        };
        if let Err(error) = written {
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
                set(&transaction, call)?;
            }
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
fn key(call: &Call) -> i64 {
    i64::try_from(call.id.0).unwrap_or(i64::MAX)
}

fn set(database: &Connection, call: &Call) -> Result<(), Error> {
    let record = serde_json::to_string(call)?;
    database.prepare_cached(SET)?.execute(params![key(call), record])?;
    Ok(())
}

/// The calls of a database, by number.
fn living(database: &Connection) -> Result<Vec<Call>, Error> {
    let mut select = database.prepare("SELECT record FROM calls ORDER BY id")?;
    let (mut calls, mut unreadable) = (Vec::new(), 0_u64);
    for record in select.query_map([], |row| row.get::<_, String>(0))? {
        match serde_json::from_str(&record?) {
            Ok(call) => calls.push(call),
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > 0 {
        warn!(unreadable, "call journal: records were passed over");
    }
    Ok(calls)
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
        let (_, calls) = Journal::open_in_boot(directory.path(), BOOT);
        calls.into_iter().map(|call| (call.id.0, call.key)).collect()
    }

    fn bench() -> (TempDir, Journal) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, calls) = Journal::open_in_boot(directory.path(), BOOT);
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
        let (_, calls) = Journal::open_in_boot(directory.path(), BOOT);
        assert_eq!(calls[1], call(2, "b"), "the whole record");
    }

    #[test]
    fn a_journal_of_another_boot_is_thrown_away() {
        let (directory, mut journal) = bench();
        set(&mut journal, 1, "a");
        drop(journal);
        let (_, calls) = Journal::open_in_boot(directory.path(), "the next boot");
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
        let (mut journal, calls) = Journal::open_in_boot(directory.path(), BOOT);
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
        let (mut journal, calls) = Journal::open_in_boot(&file.join("below"), BOOT);
        assert!(calls.is_empty());
        set(&mut journal, 1, "a");
        end(&mut journal, 1);
    }
}
