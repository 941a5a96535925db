//! A JSON object a line, for billing and whatever else reads files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use callgate_api::history::Record;

use crate::queue::{Sink, Trouble};

/// The file, appended to. One that was renamed or removed, as log rotation does, is begun anew.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: Option<(File, u64, u64)>,
}

impl LineFile {
    /// Opens nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    fn append(&mut self, records: &[Arc<Record>]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(records.len() * 768);
        for record in records {
            serde_json::to_writer(&mut lines, &**record)?;
            lines.push(b'\n');
        }
        let file = self.opened()?;
        let length = file.metadata()?.len();
        (&mut &*file).write_all(&lines).inspect_err(|_| {
            // A disk that is full takes a part: a torn line would be read as one with the next.
            let _ = file.set_len(length);
        })
    }

    fn opened(&mut self) -> io::Result<&File> {
        let identity = std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()));
        let current = self.file.as_ref().is_some_and(|(_, dev, ino)| identity == Some((*dev, *ino)));
        if !current {
            let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&self.path)?;
            let known = file.metadata()?;
            self.file = Some((file, known.dev(), known.ino()));
        }
        self.file.as_ref().map(|(file, ..)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Sink for LineFile {
    fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
        self.append(records).map_err(|error| {
            self.file = None;
            Trouble::passing(error)
        })
    }
}
