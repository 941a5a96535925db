//! SQLite: a file, written by one process and read beside it (WAL).

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ToSql, TransactionBehavior, params_from_iter};
use tracing::error;

use super::schema::COLUMNS;
use super::{Connection, Error, Purpose, Row, Value};

/// How long another process may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Instructions of SQLite's machine between two looks at the clock.
const STEPS: std::ffi::c_int = 100_000;

/// An open file.
pub(super) struct Sqlite {
    connection: rusqlite::Connection,
    path: PathBuf,
    /// Device and number of the file.
    file: Option<(u64, u64)>,
    started: Instant,
    /// When the question must be answered, in ms since `started`.
    deadline: Arc<AtomicU64>,
}

impl Sqlite {
    /// Opens a file; to write, it is made where it is missing. One that is damaged is set aside first.
    pub(super) fn open(path: &Path, purpose: Purpose) -> Result<Self, Error> {
        if purpose == Purpose::Write {
            make(path).map_err(|source| Error::File { path: path.display().to_string(), source })?;
        }
        match Self::attempt(path, purpose) {
            Err(Error::Sqlite(error)) if purpose == Purpose::Write && is_damaged(&error) => {
                set_aside(path, &error)
                    .map_err(|source| Error::File { path: path.display().to_string(), source })?;
                Self::attempt(path, purpose)
            }
            result => result,
        }
    }

    fn attempt(path: &Path, purpose: Purpose) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        let (started, deadline) = (Instant::now(), Arc::new(AtomicU64::new(u64::MAX)));
        match purpose {
            Purpose::Write => {
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
            }
            Purpose::Read => {
                connection.pragma_update(None, "query_only", true)?;
                connection.pragma_update(None, "temp_store", "MEMORY")?;
                connection.pragma_update(None, "cache_size", -65_536)?;
                let deadline = Arc::clone(&deadline);
                connection.progress_handler(
                    STEPS,
                    Some(move || started.elapsed().as_millis() > u128::from(deadline.load(Relaxed))),
                );
            }
        }
        // A file that is none, or is damaged, shows here and not before.
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let file = identity(path);
        Ok(Self { connection, path: path.to_owned(), file, started, deadline })
    }
}

/// Makes a file and its directory, which nobody else may read, where they are missing.
fn make(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    Ok(())
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

/// Gives a damaged file another name, and makes room for a new one.
fn set_aside(path: &Path, error: &rusqlite::Error) -> std::io::Result<()> {
    let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let beside = |name: &str| {
        let mut beside = path.as_os_str().to_owned();
        beside.push(name);
        PathBuf::from(beside)
    };
    let aside = beside(&format!(".damaged-{second}"));
    error!(%error, file = %path.display(), aside = %aside.display(), "history: the database is damaged; a new one is begun");
    fs::rename(path, aside)?;
    for name in ["-wal", "-shm"] {
        match fs::remove_file(beside(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    make(path)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Connection for Sqlite {
    fn is_shared(&self) -> bool {
        false
    }

    fn run(&mut self, statements: &str) -> Result<(), Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(statements)?;
        Ok(transaction.commit()?)
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, Error> {
        let changed = self.connection.prepare_cached(statement)?.execute(params_from_iter(values))?;
        Ok(changed as u64)
    }

    fn query(
        &mut self,
        statement: &str,
        values: &[Value],
        take: &mut dyn FnMut(&dyn Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let until = self.started.elapsed() + ANSWER;
        self.deadline.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Relaxed);
        let mut statement = self.connection.prepare(statement)?;
        let mut rows = statement.query(params_from_iter(values))?;
        loop {
            match rows.next() {
                Ok(Some(row)) => take(row)?,
                Ok(None) => return Ok(()),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                    return Err(Error::TooLong);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn insert(&mut self, rows: &[Vec<Value>]) -> Result<(), Error> {
        let places: Vec<_> = (1..=COLUMNS.len()).map(|place| format!("?{place}")).collect();
        let statement = format!("INSERT INTO calls ({}) VALUES ({})", COLUMNS.join(", "), places.join(", "));
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(&statement)?;
            for row in rows {
                insert.execute(params_from_iter(row))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn is_current(&self) -> bool {
        self.file.is_some() && identity(&self.path) == self.file
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Real(number) => ToSqlOutput::Borrowed(ValueRef::Real(*number)),
            Self::NoInteger | Self::NoReal | Self::NoText => ToSqlOutput::Borrowed(ValueRef::Null),
        })
    }
}

impl Row for rusqlite::Row<'_> {
    fn text(&self, column: usize) -> Result<String, Error> {
        Ok(self.get(column)?)
    }

    fn text_or_none(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.get(column)?)
    }

    fn integer(&self, column: usize) -> Result<i64, Error> {
        Ok(self.get(column)?)
    }

    fn integer_or_none(&self, column: usize) -> Result<Option<i64>, Error> {
        Ok(self.get(column)?)
    }

    fn real_or_none(&self, column: usize) -> Result<Option<f64>, Error> {
        Ok(self.get(column)?)
    }
}
