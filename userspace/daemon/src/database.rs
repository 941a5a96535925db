//! Databases of what the daemon alone knows: SQLite files in its state directory, each written by one thread.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::{Connection, ErrorCode};
use tracing::warn;

/// Why a database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Record(#[from] serde_json::Error),
}

/// What a database outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlives {
    /// The process, at whatever moment it dies: nothing is synced.
    Process,
    /// The machine too, but for the last moments.
    Machine,
}

/// Opens a database, making it, its directory and its tables where they are missing. One that is damaged is thrown away.
pub(crate) fn open(
    directory: &Path,
    name: &str,
    outlives: Outlives,
    tables: &str,
) -> Result<Connection, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let path = directory.join(name);
    match attempt(&path, outlives, tables) {
        Err(Error::Database(error)) if is_damaged(&error) => {
            warn!(%error, path = %path.display(), "a database is damaged; a new one is begun");
            fs::remove_file(&path)?;
            for beside in ["-wal", "-journal"] {
                match fs::remove_file(directory.join(format!("{name}{beside}"))) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            attempt(&path, outlives, tables)
        }
        result => result,
    }
}

fn attempt(path: &Path, outlives: Outlives, tables: &str) -> Result<Connection, Error> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let database = Connection::open(path)?;
    // There is one daemon ([`crate::lock`]): no memory is shared by way of a file, which a full disk could not back.
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match outlives {
        Outlives::Process => "OFF",
        Outlives::Machine => "NORMAL",
    };
    database.pragma_update(None, "synchronous", synchronous)?;
    database.execute_batch(tables)?;
    Ok(database)
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}
