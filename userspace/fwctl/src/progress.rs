//! What is shown on stderr while something takes longer than two seconds: what it is, for how long, and how much of it
//! is done, where that is known. Nothing where stderr is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What takes less is not told of.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// How much is done is told in these parts of the whole.
pub(crate) const WHOLE: u64 = 100;
const UNKNOWN: u64 = u64::MAX;

/// Something that goes on; its line goes with the value.
pub(crate) struct Progress {
    done: Arc<AtomicU64>,
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// `what` begins.
    pub(crate) fn of(what: &'static str) -> Self {
        Self::on(what, io::stderr().is_terminal())
    }

    /// `what` begins, and prints on stdout as it goes: where that is a terminal too, it is seen to go on.
    pub(crate) fn behind_output(what: &'static str) -> Self {
        Self::on(what, io::stderr().is_terminal() && !io::stdout().is_terminal())
    }

    fn on(what: &'static str, terminal: bool) -> Self {
        let done = Arc::new(AtomicU64::new(UNKNOWN));
        let shown = terminal.then(|| {
            let (stop, stopped) = channel();
            let done = Arc::clone(&done);
            let thread = thread::spawn(move || {
                let (began, mut pause, mut drawn) = (Instant::now(), PATIENCE, false);
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    draw(&line(what, began.elapsed(), done.load(Relaxed)));
                    (pause, drawn) = (EVERY, true);
                }
                if drawn {
                    draw("");
                }
            });
            (stop, thread)
        });
        Self { done, shown }
    }

    /// So much of [`WHOLE`] is done.
    pub(crate) fn is_at(&self, done: u64) {
        self.done.store(done.min(WHOLE), Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.shown.take() {
            drop(stop);
            // It has nothing to say that anybody would miss.
            let _ = thread.join();
        }
    }
}

fn line(what: &str, lasted: Duration, done: u64) -> String {
    let part = if done == UNKNOWN { String::new() } else { format!(" {done} %") };
    format!("{what} …{part} ({} s)", lasted.as_secs())
}

/// Draws a line in place of the last, cut to the terminal.
fn draw(line: &str) {
    let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
    let cut: String = line.chars().take(width.saturating_sub(1)).collect();
    // A terminal that is gone is told nothing.
    let _ = write!(io::stderr(), "\r{cut}\x1b[K").and_then(|()| io::stderr().flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_long_and_how_much() {
        assert_eq!(line("reading rules", Duration::from_millis(2_700), UNKNOWN), "reading rules … (2 s)");
        assert_eq!(line("reading a capture", Duration::from_secs(9), 41), "reading a capture … 41 % (9 s)");
    }

    #[test]
    fn nothing_is_shown_without_a_terminal() {
        let progress = Progress::on("reading", false);
        progress.is_at(50);
        assert!(progress.shown.is_none());
    }
}
