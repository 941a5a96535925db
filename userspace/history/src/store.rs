//! The database of records: the same statements for SQLite and PostgreSQL.
//!
//! A [`Store`] is one open connection. [`StoreSink`] is the writer's side: it opens the store when it can, appends
//! records in batches, a transaction each, and forgets what is too old or too much. What is committed survives the
//! death of the process; SQLite's file survives that of the machine too, but for its last moments (WAL,
//! `synchronous = NORMAL`).

mod ask;
mod postgres;
mod schema;
mod sqlite;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_api::history::Record;
use callgate_rules::ruleset::{Database, History as Settings};
use tracing::warn;

use crate::queue::{Sink, Trouble};
pub use ask::FraudRow;

/// Between two looks at what is to be forgotten.
const TRIM: Duration = Duration::from_secs(60);
/// Most records that are forgotten in one transaction.
const TRIM_CHUNK: u64 = 5_000;
/// Most transactions of one look: the rest waits for the next, which comes at once if records do.
const TRIM_TURNS: u32 = 4;

/// What a database cannot do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite says no.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says no, or is not there.
    #[error("{}", told(.0))]
    Postgres(#[from] ::postgres::Error),
    /// Its file cannot be made.
    #[error("cannot make {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A later Callgate has made it.
    #[error(
        "its tables are of version {found}, and this Callgate knows versions up to {known}: use the later one"
    )]
    Newer {
        /// Their version.
        found: i64,
        /// The last we know.
        known: i64,
    },
    /// The rules keep none.
    #[error("none is kept")]
    None,
    /// Others have asked before.
    #[error("too many questions at once; ask again")]
    Busy,
    /// It did not answer in time.
    #[error("the answer takes too long; ask for less, by --since")]
    TooLong,
}

/// PostgreSQL's own words, which its error hides in its source.
fn told(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.severity(), said.message()),
        None => std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}

/// A value of a statement.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Integer(i64),
    Real(f64),
    /// Nothing, where an integer, a real or a text could be.
    NoInteger,
    NoReal,
    NoText,
}

/// A row of an answer.
trait Row {
    fn text(&self, column: usize) -> Result<String, Error>;
    fn text_or_none(&self, column: usize) -> Result<Option<String>, Error>;
    fn integer(&self, column: usize) -> Result<i64, Error>;
    fn integer_or_none(&self, column: usize) -> Result<Option<i64>, Error>;
    fn real_or_none(&self, column: usize) -> Result<Option<f64>, Error>;
}

/// What both databases do, each in its own way. Parameters are `$1`, `$2` … in the order of their first appearance.
trait Connection: Send {
    /// Whether each record bears its firewall's name because others write there too.
    fn is_shared(&self) -> bool;
    /// Runs statements without parameters, all or none.
    fn run(&mut self, statements: &str) -> Result<(), Error>;
    /// Runs a statement; how many rows it has changed.
    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, Error>;
    /// Asks, and hands over row by row.
    fn query(
        &mut self,
        statement: &str,
        values: &[Value],
        take: &mut dyn FnMut(&dyn Row) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Inserts rows of [`schema::COLUMNS`], all or none, leaving out those that are there already.
    fn insert(&mut self, rows: &[Vec<Value>]) -> Result<(), Error>;
    /// Whether the file under its name is still the one that was opened.
    fn is_current(&self) -> bool;
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write: tables are made or brought up to date.
    Write,
    /// To read, within some seconds a question.
    Read,
}

/// An open database.
pub struct Store {
    connection: Box<dyn Connection>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("shared", &self.connection.is_shared()).finish()
    }
}

impl Store {
    /// Opens it; to write, it is made where it is missing, and brought to this version where it is older.
    ///
    /// # Errors
    /// [`Error`]: it cannot be reached or made, or is of a later version.
    pub fn open(database: &Database, purpose: Purpose) -> Result<Self, Error> {
        let connection: Box<dyn Connection> = match database {
            Database::Sqlite(path) => Box::new(sqlite::Sqlite::open(path, purpose)?),
            Database::Postgres(url) => Box::new(postgres::Postgres::open(url, purpose)?),
        };
        let mut store = Self { connection };
        if purpose == Purpose::Write {
            schema::migrate(&mut *store.connection)?;
        }
        Ok(store)
    }

    /// Appends records. `run` and `first` make each one's name: a record that is there already is left as it is.
    ///
    /// # Errors
    /// [`Error`]: none was appended, as far as can be told.
    pub fn append(&mut self, (run, first): (u64, u64), records: &[Arc<Record>]) -> Result<(), Error> {
        let rows: Vec<_> =
            (first..).zip(records).map(|(number, record)| schema::row(run, number, record)).collect();
        self.connection.insert(&rows)
    }

    /// How many records this firewall has there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn count(&mut self, host: &str) -> Result<u64, Error> {
        let (own, values) = self.own(host);
        let mut count = 0;
        let statement = format!("SELECT COUNT(*) FROM calls WHERE {own}");
        self.connection.query(&statement, &values, &mut |row| {
            count = row.integer(0)?.unsigned_abs();
            Ok(())
        })?;
        Ok(count)
    }

    /// Forgets at most so many of this firewall's records that began before a moment; how many it were.
    ///
    /// # Errors
    /// [`Error`].
    pub fn forget_before(&mut self, host: &str, before_ms: u64, most: u64) -> Result<u64, Error> {
        self.forget(host, &format!("started < {before_ms} ORDER BY started LIMIT {most}"))
    }

    /// Forgets this firewall's oldest records, so many; how many it were.
    ///
    /// # Errors
    /// [`Error`].
    pub fn forget_oldest(&mut self, host: &str, records: u64) -> Result<u64, Error> {
        self.forget(host, &format!("1 = 1 ORDER BY id LIMIT {records}"))
    }

    /// Forgets the oldest of this firewall's records of attempts that were refused, so many; how many it were.
    ///
    /// # Errors
    /// [`Error`].
    pub fn forget_refused(&mut self, host: &str, records: u64) -> Result<u64, Error> {
        self.forget(host, &format!("refused = 1 ORDER BY started LIMIT {records}"))
    }

    /// How many records of attempts that were refused are this firewall's.
    ///
    /// # Errors
    /// [`Error`].
    pub fn count_refused(&mut self, host: &str) -> Result<u64, Error> {
        let (own, values) = self.own(host);
        let mut count = 0;
        let statement = format!("SELECT COUNT(*) FROM calls WHERE {own} AND refused = 1");
        self.connection.query(&statement, &values, &mut |row| {
            count = u64::try_from(row.integer(0)?).unwrap_or_default();
            Ok(())
        })?;
        Ok(count)
    }

    fn forget(&mut self, host: &str, which: &str) -> Result<u64, Error> {
        let (own, values) = self.own(host);
        let statement =
            format!("DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE {own} AND {which})");
        self.connection.execute(&statement, &values)
    }

    /// Whether it is still what its name stands for: its file has not been taken away, its connection lives.
    pub fn is_current(&self) -> bool {
        self.connection.is_current()
    }

    /// The condition that a record is this firewall's own.
    fn own(&self, host: &str) -> (&'static str, Vec<Value>) {
        if self.connection.is_shared() {
            ("host = $1", vec![Value::Text(host.to_owned())])
        } else {
            ("1 = 1", Vec::new())
        }
    }
}

/// Where there is no room for all, records of refused attempts may take this part of it.
const REFUSED_SHARE: u64 = 4;

/// The database as the end of a queue.
#[derive(Debug)]
pub struct StoreSink {
    settings: Settings,
    host: String,
    /// The microsecond it was made: with the number of a record, its name.
    run: u64,
    next: u64,
    store: Option<Store>,
    /// This firewall's records.
    count: u64,
    trimmed: Instant,
}

impl StoreSink {
    /// Opens nothing yet.
    pub fn new(settings: &Settings) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            settings: settings.clone(),
            host: host(),
            run: u64::try_from(run.as_micros()).unwrap_or_default(),
            next: 1,
            store: None,
            count: 0,
            trimmed: Instant::now(),
        }
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<(), Error> {
        let name = (self.run, self.next);
        self.opened()?.append(name, records)?;
        self.next += records.len() as u64;
        self.count += records.len() as u64;
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Store, Error> {
        if let Some(store) = &self.store
            && !store.is_current()
        {
            warn!(database = %self.settings.database, "history: the database's file was taken away; a new one is begun");
            self.store = None;
        }
        if self.store.is_none() {
            let mut store = Store::open(&self.settings.database, Purpose::Write)?;
            self.count = store.count(&self.host)?;
            self.store = Some(store);
            self.trimmed = Instant::now().checked_sub(TRIM).unwrap_or_else(Instant::now);
        }
        // It has just been put there.
        self.store.as_mut().ok_or(Error::TooLong)
    }

    /// Forgets what is too old, and what is too much.
    fn trim(&mut self) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = u64::try_from(now.saturating_sub(self.settings.retain).as_millis()).unwrap_or_default();
        let Some(store) = &mut self.store else { return Ok(()) };
        for _ in 0..TRIM_TURNS {
            let old = store.forget_before(&self.host, before, TRIM_CHUNK)?;
            self.count = self.count.saturating_sub(old);
            let excess = self.count.saturating_sub(u64::from(self.settings.max)).min(TRIM_CHUNK);
            if excess > 0 {
                // Who tries in vain, again and again, must not push out the calls that were made.
                let share = u64::from(self.settings.max) / REFUSED_SHARE;
                let refused = store.count_refused(&self.host)?.saturating_sub(share).min(excess);
                let gone = if refused > 0 { store.forget_refused(&self.host, refused)? } else { 0 };
                self.count = self.count.saturating_sub(gone);
                let rest = excess.saturating_sub(gone);
                if rest > 0 {
                    self.count = self.count.saturating_sub(store.forget_oldest(&self.host, rest)?);
                }
            }
            if old < TRIM_CHUNK && excess < TRIM_CHUNK {
                self.trimmed = Instant::now();
                return Ok(());
            }
        }
        Ok(())
    }

    /// The connection is of no more use: what is wrong with it, in words.
    fn fail(&mut self, error: &Error) -> Trouble {
        self.store = None;
        Trouble::passing(error)
    }
}

impl Sink for StoreSink {
    fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
        self.append(records).map_err(|error| self.fail(&error))
    }

    fn tick(&mut self) -> Result<(), Trouble> {
        // Opened before the first record, so that what is wrong with it is known at once.
        if let Err(error) = self.opened() {
            return Err(self.fail(&error));
        }
        // A tenth more than `max` is not waited with.
        let crowded = self.count > u64::from(self.settings.max) / 10 * 11;
        if self.trimmed.elapsed() < TRIM && !crowded {
            return Ok(());
        }
        self.trim().map_err(|error| self.fail(&error))
    }
}

/// This machine's name.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
