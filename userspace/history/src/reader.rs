//! Questions to the database, answered by a thread of their own: nobody who handles calls waits for an answer.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::{SystemTime, UNIX_EPOCH};

use callgate_api::Page;
use callgate_api::history::{By, Finding, HistoryFilter, HistoryTotal, Record};
use callgate_rules::ruleset::{Database, History as Settings};
use jiff::tz::TimeZone;
use tracing::error;

use crate::fraud;
use crate::mask::masked;
use crate::store::{Error, Purpose, Store};

/// Questions that may wait.
const ROOM: usize = 4;

/// Where an answer goes.
pub type Reply<T> = Box<dyn FnOnce(Result<Page<T>, Error>) + Send>;

/// A question to the database.
pub enum Question {
    /// The latest records that are wanted.
    Records {
        /// Which.
        filter: HistoryFilter,
        /// How many at most.
        limit: usize,
        /// The answer.
        reply: Reply<Record>,
    },
    /// Sums of those that are wanted.
    Totals {
        /// Which.
        filter: HistoryFilter,
        /// What they have in common.
        by: By,
        /// How many at most.
        limit: usize,
        /// The answer.
        reply: Reply<HistoryTotal>,
    },
    /// What looks odd.
    Fraud {
        /// In which records it is looked for.
        filter: HistoryFilter,
        /// Where night falls.
        zone: TimeZone,
        /// How many findings at most.
        limit: usize,
        /// The answer.
        reply: Reply<Finding>,
    },
}

impl Question {
    /// It cannot be answered.
    pub fn refuse(self, error: Error) {
        match self {
            Self::Records { reply, .. } => reply(Err(error)),
            Self::Totals { reply, .. } => reply(Err(error)),
            Self::Fraud { reply, .. } => reply(Err(error)),
        }
    }

    fn filter_mut(&mut self) -> &mut HistoryFilter {
        match self {
            Self::Records { filter, .. } | Self::Totals { filter, .. } | Self::Fraud { filter, .. } => filter,
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, filter) = match self {
            Self::Records { filter, .. } => ("Records", filter),
            Self::Totals { filter, .. } => ("Totals", filter),
            Self::Fraud { filter, .. } => ("Fraud", filter),
        };
        f.debug_struct(name).field("filter", filter).finish_non_exhaustive()
    }
}

/// The way to the thread that answers.
#[derive(Debug)]
pub struct Reader {
    to: Option<SyncSender<Question>>,
}

impl Reader {
    /// Starts the thread. The database is opened by the first question.
    pub fn start(settings: &Settings) -> Self {
        let (to, from) = sync_channel(ROOM);
        let (database, mask) = (settings.database.clone(), settings.mask as usize);
        let thread =
            Builder::new().name("history-reader".to_owned()).spawn(move || run(&database, mask, &from));
        let to =
            thread.inspect_err(|error| error!(%error, "history: no thread for questions")).ok().map(|_| to);
        Self { to }
    }

    /// Asks. Where too many questions wait already, the answer is [`Error::Busy`].
    pub fn ask(&self, question: Question) {
        let Some(to) = &self.to else { return question.refuse(Error::Busy) };
        if let Err(TrySendError::Full(question) | TrySendError::Disconnected(question)) =
            to.try_send(question)
        {
            question.refuse(Error::Busy);
        }
    }
}

fn run(database: &Database, mask: usize, from: &Receiver<Question>) {
    let mut store = None;
    for mut question in from {
        mask_filter(question.filter_mut(), mask);
        // A file that was set aside or taken away meanwhile, a server that was started anew.
        store = store.take().filter(Store::is_current);
        let open = match store.take() {
            Some(open) => Ok(open),
            None => Store::open(database, Purpose::Read),
        };
        match open {
            Ok(mut open) => {
                if answer(&mut open, question) {
                    store = Some(open);
                }
            }
            Err(error) => question.refuse(error),
        }
    }
}

/// Answers; whether the connection is of further use.
fn answer(store: &mut Store, question: Question) -> bool {
    match question {
        Question::Records { filter, limit, reply } => tell(store.records(&filter, limit), reply),
        Question::Totals { filter, by, limit, reply } => tell(store.totals(&filter, by, limit), reply),
        Question::Fraud { filter, zone, limit, reply } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            tell(fraud::examine(store, filter, &zone, now_ms).map(|rows| Page::of(rows, limit)), reply)
        }
    }
}

fn tell<T>(answer: Result<Page<T>, Error>, reply: Reply<T>) -> bool {
    let useful = matches!(answer, Ok(_) | Err(Error::TooLong));
    reply(answer);
    useful
}

/// The records have masked numbers: whoever asks for a whole one means those that look like it.
fn mask_filter(filter: &mut HistoryFilter, digits: usize) {
    for pattern in [&mut filter.caller, &mut filter.called].into_iter().flatten() {
        if digits > 0 && !pattern.ends_with('*') {
            *pattern = masked(pattern, digits);
        }
    }
}
