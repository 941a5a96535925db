//! Bounded room in front of a thread that writes.
//!
//! Whoever puts a record in does not wait. The thread takes what has gathered, up to [`BATCH`] at a time, and hands it
//! to its [`Sink`] until the sink has taken it; meanwhile the room fills, and what finds none is counted as lost.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use callgate_api::history::{HistoryPlace, Record};
use tracing::{error, info, warn};

/// Most records a sink is given at once.
pub const BATCH: usize = 512;
/// Between two attempts of a sink that fails: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How often a sink is told that time passes.
const IDLE: Duration = Duration::from_secs(1);
/// After the end of its queue a failing sink is tried for so long.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where records end up.
pub trait Sink: Send + 'static {
    /// Takes these records, all of them or none.
    ///
    /// # Errors
    /// What is wrong. It is given the same records again, unless it has given them up.
    fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble>;

    /// Time passes.
    ///
    /// # Errors
    /// What is wrong: reported like that of a record.
    fn tick(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// What is wrong with a sink.
#[derive(Debug)]
pub struct Trouble {
    /// For people.
    pub text: String,
    /// It will not take these records, however often they are offered: so many of them are lost, the others taken.
    pub given_up: Option<usize>,
}

impl Trouble {
    /// Something that may be over when it is tried again.
    pub fn passing(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), given_up: None }
    }

    /// So many records are lost.
    pub fn lost(records: usize, text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), given_up: Some(records) }
    }
}

/// What both sides of a queue know.
#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    /// The room is full, and that has been said.
    full: AtomicBool,
    closing: AtomicBool,
    trouble: Mutex<Option<String>>,
}

/// A queue and its thread.
#[derive(Debug)]
pub struct Queue {
    kind: &'static str,
    place: String,
    shared: Arc<Shared>,
    to: SyncSender<Arc<Record>>,
    thread: Option<JoinHandle<()>>,
}

/// A queue that takes nothing more, and whose thread finishes what there is.
#[derive(Debug)]
pub struct Closing {
    kind: &'static str,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Room for so many records in front of a sink, which gets a thread of its own.
    pub fn start(kind: &'static str, place: String, room: usize, sink: impl Sink) -> Self {
        let (to, from) = sync_channel(room);
        let shared = Arc::new(Shared::default());
        let worker = Worker { kind, place: place.clone(), shared: Arc::clone(&shared), from, sink };
        let thread = Builder::new().name(format!("history-{kind}")).spawn(move || worker.run());
        if let Err(error) = &thread {
            error!(kind, place, %error, "history: no thread for it; nothing will get there");
            *lock(&shared.trouble) = Some(error.to_string());
        }
        Self { kind, place, shared, to, thread: thread.ok() }
    }

    /// Puts a record in; where there is no room it is lost, and counted.
    pub fn put(&self, record: Arc<Record>) {
        let Shared { waiting, lost, full, .. } = &*self.shared;
        waiting.fetch_add(1, Relaxed);
        if self.to.try_send(record).is_ok() {
            return;
        }
        waiting.fetch_sub(1, Relaxed);
        lost.fetch_add(1, Relaxed);
        if !full.swap(true, Relaxed) {
            warn!(
                kind = self.kind,
                place = self.place,
                "history: no room for more records; they are lost, and counted"
            );
        }
    }

    /// How it fares.
    pub fn status(&self) -> HistoryPlace {
        HistoryPlace {
            kind: self.kind.to_owned(),
            place: self.place.clone(),
            written: self.shared.written.load(Relaxed),
            lost: self.shared.lost.load(Relaxed),
            waiting: self.shared.waiting.load(Relaxed),
            trouble: lock(&self.shared.trouble).clone(),
        }
    }

    /// Takes nothing more.
    pub fn close(mut self) -> Closing {
        self.shared.closing.store(true, Relaxed);
        Closing { kind: self.kind, shared: Arc::clone(&self.shared), thread: self.thread.take() }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.closing.store(true, Relaxed);
    }
}

impl Closing {
    /// Waits until its thread has finished, but no longer than this.
    pub fn wait(self, deadline: Instant) {
        let Some(thread) = self.thread else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        let waiting = self.shared.waiting.load(Relaxed);
        if waiting > 0 {
            warn!(kind = self.kind, records = waiting, "history: stopped before these were written");
        }
    }
}

/// The thread's side.
struct Worker<S> {
    kind: &'static str,
    place: String,
    shared: Arc<Shared>,
    from: Receiver<Arc<Record>>,
    sink: S,
}

impl<S: Sink> Worker<S> {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut ticked = Instant::now();
        loop {
            match self.from.recv_timeout(IDLE) {
                Ok(record) => batch.push(record),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while batch.len() < BATCH {
                match self.from.try_recv() {
                    Ok(record) => batch.push(record),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if !batch.is_empty() {
                self.deliver(&batch);
                batch.clear();
            }
            if ticked.elapsed() >= IDLE {
                ticked = Instant::now();
                let done = self.sink.tick();
                self.note(done.map_err(|trouble| trouble.text));
            }
        }
    }

    /// Offers records until they are taken, or given up.
    fn deliver(&mut self, batch: &[Arc<Record>]) {
        let mut pause = PAUSES[0];
        let mut until = None;
        loop {
            let trouble = match self.sink.write(batch) {
                Ok(()) => {
                    self.note(Ok(()));
                    return self.account(batch.len(), 0);
                }
                Err(trouble) => trouble,
            };
            self.note(Err(trouble.text));
            if let Some(lost) = trouble.given_up {
                return self.account(batch.len().saturating_sub(lost), lost);
            }
            if self.shared.closing.load(Relaxed)
                && Instant::now() >= *until.get_or_insert_with(|| Instant::now() + FAREWELL)
            {
                return self.account(0, batch.len());
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    fn account(&self, written: usize, lost: usize) {
        self.shared.waiting.fetch_sub((written + lost) as u64, Relaxed);
        self.shared.written.fetch_add(written as u64, Relaxed);
        self.shared.lost.fetch_add(lost as u64, Relaxed);
    }

    /// Says what has changed: that it fails, or that it is well again and what that has cost.
    fn note(&self, done: Result<(), String>) {
        let Self { kind, place, .. } = self;
        let mut trouble = lock(&self.shared.trouble);
        let lost = self.shared.lost.load(Relaxed);
        match (&*trouble, done) {
            (None, Err(text)) => {
                error!(
                    kind,
                    place,
                    error = text,
                    "history: records cannot be kept for now; calls are not concerned"
                );
                *trouble = Some(text);
            }
            (Some(_), Err(text)) => *trouble = Some(text),
            (Some(_), Ok(())) => {
                info!(kind, place, lost, "history: well again; `lost` so far");
                *trouble = None;
                self.shared.full.store(false, Relaxed);
            }
            (None, Ok(())) => {
                if self.shared.full.swap(false, Relaxed) {
                    info!(kind, place, lost, "history: there is room again; `lost` so far");
                }
            }
        }
    }
}

/// Nothing can be left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes what it is permitted to.
    struct Gate {
        open: Arc<AtomicBool>,
        taken: Sender<Vec<u64>>,
    }

    impl Sink for Gate {
        fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
            if !self.open.load(Relaxed) {
                return Err(Trouble::passing("shut"));
            }
            let calls = records.iter().map(|record| record.call).collect();
            self.taken.send(calls).map_err(Trouble::passing)
        }
    }

    fn record(call: u64) -> Arc<Record> {
        Arc::new(Record { call, ..Record::default() })
    }

    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < deadline, "it never came about");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn nobody_waits_and_what_finds_no_room_is_counted() {
        let open = Arc::new(AtomicBool::new(false));
        let (taken, take) = channel();
        let queue = Queue::start("gate", "here".to_owned(), 4, Gate { open: Arc::clone(&open), taken });
        queue.put(record(0));
        until(|| queue.status().trouble.is_some());
        let start = Instant::now();
        for call in 1..=104 {
            queue.put(record(call));
        }
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        let status = queue.status();
        assert_eq!((status.lost, status.waiting, status.written), (100, 5, 0));
        assert_eq!(status.trouble.as_deref(), Some("shut"));

        open.store(true, Relaxed);
        until(|| queue.status().written == 5);
        let status = queue.status();
        assert_eq!((status.lost, status.waiting, status.trouble), (100, 0, None));
        assert_eq!(take.try_iter().flatten().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        queue.put(record(200));
        until(|| queue.status().written == 6);
    }

    #[test]
    fn what_is_given_up_is_lost_and_the_next_is_tried() {
        struct Choosy;
        impl Sink for Choosy {
            fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
                let bad = records.iter().filter(|record| record.call % 2 == 1).count();
                if bad == 0 { Ok(()) } else { Err(Trouble::lost(bad, "odd")) }
            }
        }
        let queue = Queue::start("choosy", "here".to_owned(), 16, Choosy);
        queue.put(record(1));
        until(|| queue.status().lost == 1);
        queue.put(record(2));
        until(|| queue.status().written == 1);
        assert_eq!((queue.status().waiting, queue.status().trouble), (0, None));
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let open = Arc::new(AtomicBool::new(true));
        let (taken, take) = channel();
        let queue = Queue::start("gate", "here".to_owned(), 1_000, Gate { open, taken });
        (0..1_000).for_each(|call| queue.put(record(call)));
        queue.close().wait(Instant::now() + Duration::from_secs(20));
        assert_eq!(take.try_iter().flatten().count(), 1_000);
    }
}
