//! What the call policy has counted outlives the daemon: minutes of the day, points, destinations that were called.
//!
//! Owns one SQLite database, `policy.db` in the state directory: the latest of each caller and destination, with the time
//! at which it was so. A thread of its own writes it: who decides about calls hands over what has changed, about once a
//! second and a bounded part of it, and never waits. What finds the thread busy is handed over again when it has changed
//! once more. Times are those of the clock on the wall, so that a state directory on a disk carries them over a reboot,
//! too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use callgate_policy::Memory as Counted;
use rusqlite::{Connection, params};
use tracing::{info, warn};

use crate::database::{self, Error, Outlives};
use crate::firewall::unix_ms;

const NAME: &str = "policy.db";
const TABLES: &str = "\
CREATE TABLE IF NOT EXISTS counted (subject TEXT PRIMARY KEY, at INTEGER NOT NULL, what TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counted_at ON counted (at);
";
/// Most rows, and most that wait for a disk that is full.
const MOST_ROWS: usize = 1_000_000;
const MOST_OWED: usize = 100_000;
/// What is older says nothing any more, destinations aside: points are forgotten, the day is another.
const OLDEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Batches that may wait for the thread.
const ROOM: usize = 8;
/// Callers told of at a time.
pub const MOST: usize = 1_024;
/// Between two attempts to write to a disk that is full.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at what is to be forgotten, in batches.
const TRIM: u32 = 1_000;

/// The database, and the thread that writes it.
#[derive(Debug)]
pub struct Memory {
    queue: Option<SyncSender<Vec<Counted>>>,
    thread: Option<JoinHandle<()>>,
    failing: Arc<AtomicBool>,
}

impl Memory {
    /// Opens the database in this directory; with it what it says, the oldest first, and how long ago that was.
    pub fn open(directory: &Path) -> (Self, Vec<(Counted, Duration)>) {
        let now = unix_ms(SystemTime::now());
        let failing = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            directory: directory.to_owned(),
            database: None,
            owed: HashMap::new(),
            batches: 0,
            failing: Arc::clone(&failing),
        };
        let told = writer.connect().and_then(|database| {
            trim(&database, now)?;
            let told = told(&database, now)?;
            writer.database = Some(database);
            Ok(told)
        });
        let told = told.unwrap_or_else(|error| {
            writer.fails(&error);
            Vec::new()
        });
        let (queue, receiver) = sync_channel(ROOM);
        let thread = thread::Builder::new().name("policy-memory".to_owned());
        let thread = thread.spawn(move || writer.write_all(&receiver)).ok();
        (Self { queue: thread.is_some().then_some(queue), thread, failing }, told)
    }

    /// Whether what is handed over cannot be written.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Hands over what has changed.
    pub fn keep(&self, changed: Vec<Counted>) {
        if changed.is_empty() {
            return;
        }
        if let Some(queue) = &self.queue {
            // A thread that hangs on its disk has enough to do.
            let _ = queue.try_send(changed);
        }
    }

    /// Waits until what was handed over is written.
    pub fn close(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is counted of whom: the latest of each counts.
fn subject(what: &Counted) -> String {
    match what {
        Counted::Destination(name) => format!("d{name}"),
        Counted::All(_) => "a".to_owned(),
        Counted::Entry(name, _) => format!("e{name}"),
        Counted::Caller { name, address, .. } => format!("c{}{name}", u8::from(*address)),
    }
}

#[derive(Debug)]
struct Writer {
    directory: PathBuf,
    database: Option<Connection>,
    /// What has not been written yet: by subject, the time and what is counted.
    owed: HashMap<String, (u64, Counted)>,
    batches: u32,
    failing: Arc<AtomicBool>,
}

impl Writer {
    fn write_all(&mut self, queue: &Receiver<Vec<Counted>>) {
        loop {
            let patience = if self.owed.is_empty() { Duration::MAX } else { AGAIN };
            match queue.recv_timeout(patience) {
                Ok(batch) => {
                    let at = unix_ms(SystemTime::now());
                    for what in batch {
                        let subject = subject(&what);
                        if self.owed.len() < MOST_OWED || self.owed.contains_key(&subject) {
                            self.owed.insert(subject, (at, what));
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.write() {
                Ok(()) => {
                    if self.failing.swap(false, Relaxed) {
                        info!("what the call policy has counted can be written again");
                    }
                }
                Err(error) => self.fails(&error),
            }
        }
    }

    /// Writes what is owed, all or none of it.
    fn write(&mut self) -> Result<(), Error> {
        // One that has failed is opened anew the next time.
        let mut database = match self.database.take() {
            Some(database) => database,
            None => self.connect()?,
        };
        let transaction = database.transaction()?;
        for (subject, (at, what)) in &self.owed {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO counted (subject, at, what) VALUES (?1, ?2, ?3)")?
                .execute(params![subject, clock(*at), serde_json::to_string(what)?])?;
        }
        if self.batches.is_multiple_of(TRIM) {
            trim(&transaction, unix_ms(SystemTime::now()))?;
        }
        transaction.commit()?;
        self.owed.clear();
        self.batches = self.batches.wrapping_add(1);
        self.database = Some(database);
        Ok(())
    }

    fn connect(&self) -> Result<Connection, Error> {
        database::open(&self.directory, NAME, Outlives::Machine, TABLES)
    }

    fn fails(&self, error: &Error) {
        if !self.failing.swap(true, Relaxed) {
            warn!(%error, "what the call policy has counted cannot be written: it will not outlive the daemon");
        }
    }
}

/// Milliseconds since 1970, as SQLite has integers.
fn clock(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// Forgets what is too old, and the oldest of what is too much.
fn trim(database: &Connection, now: u64) -> Result<(), Error> {
    let oldest = now.saturating_sub(OLDEST.as_millis() as u64);
    database.execute("DELETE FROM counted WHERE at < ?1 AND subject NOT LIKE 'd%'", [clock(oldest)])?;
    database.execute(
        "DELETE FROM counted WHERE at <= (SELECT at FROM counted ORDER BY at DESC LIMIT 1 OFFSET ?1)",
        [clock(MOST_ROWS as u64)],
    )?;
    Ok(())
}

/// What a database says, the oldest first, and how long ago that was.
fn told(database: &Connection, now: u64) -> Result<Vec<(Counted, Duration)>, Error> {
    let mut select = database.prepare("SELECT at, what FROM counted ORDER BY at")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut told = Vec::new();
    for row in rows {
        let (at, what) = row?;
        // A clock that was set back is not believed about what is to come.
        let age = Duration::from_millis(now.saturating_sub(at.unsigned_abs()));
        // What an earlier version has written and this one does not know is passed over.
        told.extend(serde_json::from_str(&what).ok().map(|what| (what, age)));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use callgate_policy::desk::Used;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("callgate-memory-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory");
        directory
    }

    fn caller(used: u64) -> Counted {
        Counted::Caller {
            name: "1001".to_owned(),
            address: false,
            used: Used { day: 1, used },
            permissions: vec![("international".to_owned(), used)],
            points: [0.0, 5.5, 0.0],
        }
    }

    #[test]
    fn what_is_kept_is_told_to_the_next() {
        let directory = directory("next");
        let (mut memory, told) = Memory::open(&directory);
        assert_eq!(told, []);
        memory.keep(vec![Counted::Destination("+44".to_owned()), caller(1)]);
        memory.keep(vec![caller(2)]);
        memory.close();
        let (mut memory, told) = Memory::open(&directory);
        let all: Vec<_> = told.iter().map(|(what, _)| what.clone()).collect();
        assert_eq!(all.len(), 2, "the latest of each: {all:?}");
        assert!(all.contains(&Counted::Destination("+44".to_owned())) && all.contains(&caller(2)), "{all:?}");
        assert!(told.iter().all(|(_, age)| *age < Duration::from_secs(60)));
        memory.close();
        fs::remove_dir_all(directory).expect("it goes");
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_told_and_tried_again() {
        let directory = directory("full");
        let file = directory.join("a file");
        fs::write(&file, "").expect("a file");
        let (mut memory, told) = Memory::open(&file.join("below"));
        assert_eq!((told, memory.is_failing()), (Vec::new(), true));
        memory.keep(vec![caller(1)]);
        fs::remove_file(&file).expect("it goes");
        memory.keep(vec![caller(2)]);
        memory.close();
        assert!(!memory.is_failing());
        let (mut memory, told) = Memory::open(&file.join("below"));
        assert_eq!(told[0].0, caller(2));
        memory.close();
        fs::remove_dir_all(directory).expect("it goes");
    }

    #[test]
    fn what_is_too_old_is_forgotten_but_for_destinations() {
        let directory = directory("old");
        let (mut memory, _) = Memory::open(&directory);
        memory.keep(vec![Counted::Destination("+44".to_owned()), caller(1)]);
        memory.close();
        let database = Connection::open(directory.join(NAME)).expect("a database");
        let aged = database.execute("UPDATE counted SET at = at - ?1", [clock(OLDEST.as_millis() as u64)]);
        assert_eq!(aged.expect("it can be written"), 2);
        drop(database);
        let (mut memory, told) = Memory::open(&directory);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, Counted::Destination("+44".to_owned()));
        memory.close();
        fs::remove_dir_all(directory).expect("it goes");
    }

    #[test]
    fn a_directory_that_is_gone_holds_nothing_up() {
        let directory = directory("gone");
        let (mut memory, _) = Memory::open(&directory);
        fs::remove_dir_all(&directory).expect("it goes");
        memory.keep(vec![caller(1)]);
        memory.close();
        let (mut memory, told) = Memory::open(&directory);
        assert_eq!(told, []);
        memory.close();
    }
}
