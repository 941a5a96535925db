//! Reading the files a rules file names: the one place of the language that touches a disk, behind a trait.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

/// Where files are read from.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The paths of what a directory holds, in any order; `None` where the path is no directory.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>>;

    /// The one name of a file that may have several.
    fn identity(&self, path: &Path) -> PathBuf;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Disk {
    /// The greatest file that is read, in bytes.
    pub const MOST_BYTES: u64 = 64 << 20;
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(Self::MOST_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > Self::MOST_BYTES {
            let message = format!("it is longer than {} MiB", Self::MOST_BYTES >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(text)
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        if !fs::metadata(path)?.is_dir() {
            return Ok(None);
        }
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map(Some)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// Why a rules file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something is wrong with it, or with a file it names.
    #[error("the rules are not valid: {} diagnostics", .0.len())]
    Invalid(Vec<Diagnostic>),
}
