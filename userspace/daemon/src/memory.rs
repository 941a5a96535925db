//! What the call policy has counted outlives the daemon: minutes of the day, points, destinations that were called.
//!
//! Owns one file, `policy.journal` in the state directory: a JSON value a line, with the time at which it was so. A
//! thread of its own writes it: who decides about calls hands over what has changed, about once a second and a bounded
//! part of it, and never waits. What finds the thread busy is handed over again when it has changed once more. Times are
//! those of the clock on the wall, so that a state directory on a disk carries them over a reboot, too.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use callgate_policy::Memory as Counted;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::firewall::unix_ms;

const NAME: &str = "policy.journal";
const NEW_NAME: &str = "policy.journal.new";
/// Longest line believed, and most lines.
const MAX_LINE: u64 = 16 * 1024;
const MAX_LINES: usize = 1_000_000;
/// Bytes above which the file is written anew, where at most half of them still say something.
const COMPACT_ABOVE: u64 = 4 * 1024 * 1024;
/// What is older says nothing any more: points are forgotten, the day is another.
const OLDEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Batches that may wait for the thread.
const ROOM: usize = 8;
/// Callers told of at a time.
pub const MOST: usize = 1_024;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    /// Unix time in milliseconds.
    at: u64,
    what: Counted,
}

/// The file, and the thread that writes it.
#[derive(Debug)]
pub struct Memory {
    queue: Option<SyncSender<Vec<Line>>>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// Opens the file in this directory; with it what it says, the oldest first, and how long ago that was.
    pub fn open(directory: &Path) -> (Self, Vec<(Counted, Duration)>) {
        let now = unix_ms(SystemTime::now());
        let lines = match read(&directory.join(NAME), now) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                warn!(%error, "what the call policy has counted cannot be read: it begins anew");
                Vec::new()
            }
        };
        let age = |line: &Line| Duration::from_millis(now.saturating_sub(line.at));
        let told = lines.iter().map(|line| (line.what.clone(), age(line))).collect();
        let (queue, receiver) = sync_channel(ROOM);
        let mut journal = Journal::new(directory.to_owned(), lines);
        let thread = thread::Builder::new().name("policy-journal".to_owned());
        let thread = thread.spawn(move || journal.write_all(&receiver)).ok();
        (Self { queue: thread.is_some().then_some(queue), thread }, told)
    }

    /// Hands over what has changed.
    pub fn keep(&self, changed: Vec<Counted>) {
        if changed.is_empty() {
            return;
        }
        let at = unix_ms(SystemTime::now());
        let lines = changed.into_iter().map(|what| Line { at, what }).collect();
        if let Some(queue) = &self.queue {
            // A thread that hangs on its disk has enough to do.
            let _ = queue.try_send(lines);
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

/// What lines are about: the latest of each counts.
fn subject(what: &Counted) -> String {
    match what {
        Counted::Destination(name) => format!("d{name}"),
        Counted::All(_) => "a".to_owned(),
        Counted::Entry(name, _) => format!("e{name}"),
        Counted::Caller { name, address, .. } => format!("c{}{name}", u8::from(*address)),
    }
}

#[derive(Debug)]
struct Journal {
    directory: PathBuf,
    file: Option<File>,
    length: u64,
    latest: HashMap<String, Line>,
    failing: bool,
}

impl Journal {
    fn new(directory: PathBuf, lines: Vec<Line>) -> Self {
        let latest = lines.into_iter().map(|line| (subject(&line.what), line)).collect();
        let mut journal = Self { directory, file: None, length: 0, latest, failing: false };
        let rewritten = journal.rewrite();
        journal.report(rewritten);
        journal
    }

    fn write_all(&mut self, queue: &Receiver<Vec<Line>>) {
        for lines in queue {
            let written = self.append(lines);
            self.report(written);
        }
    }

    fn append(&mut self, lines: Vec<Line>) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
            self.latest.insert(subject(&line.what), line);
        }
        match &mut self.file {
            Some(file) if self.length < COMPACT_ABOVE && !self.failing => file.write_all(&text)?,
            // With all of it.
            _ => return self.rewrite(),
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// Writes the latest of each anew, in place of the old file.
    fn rewrite(&mut self) -> io::Result<()> {
        let oldest = unix_ms(SystemTime::now()).saturating_sub(OLDEST.as_millis() as u64);
        let lasts = |line: &Line| matches!(line.what, Counted::Destination(_)) || line.at >= oldest;
        self.latest.retain(|_, line| lasts(line));
        let mut lines: Vec<&Line> = self.latest.values().collect();
        lines.sort_by_key(|line| line.at);
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let new = self.directory.join(NEW_NAME);
        let mut options = OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        fs::rename(&new, self.directory.join(NAME))?;
        // As large again, at least, before it is written anew.
        self.length = (text.len() as u64).min(COMPACT_ABOVE / 2);
        self.file = Some(file);
        Ok(())
    }

    fn report(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(%error, "what the call policy has counted cannot be written: it will not outlive the daemon");
                }
            }
        }
    }
}

/// The lines of a file; those that cannot be read, a torn last one say, are passed over.
fn read(file: &Path, now: u64) -> io::Result<Vec<Line>> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut lines = Vec::new();
    let mut text = Vec::new();
    while lines.len() < MAX_LINES {
        text.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        let line = serde_json::from_slice::<Line>(&text).ok();
        // A clock that was set back is not believed about what is to come.
        lines.extend(line.map(|line| Line { at: line.at.min(now), ..line }));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(all, [Counted::Destination("+44".to_owned()), caller(1), caller(2)]);
        assert!(told.iter().all(|(_, age)| *age < Duration::from_secs(60)));
        memory.close();
        // Each once, when the file was written anew; a line that is torn takes nothing else with it.
        let file = directory.join(NAME);
        let mut text = fs::read(&file).expect("a file");
        text.extend(b"{\"at\":1,\"wh");
        fs::write(&file, text).expect("it can be written");
        let (mut memory, told) = Memory::open(&directory);
        assert_eq!(told.len(), 2, "{told:?}");
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
