//! What is kept of calls that are over, and where.
//!
//! Owns the way of a [`Record`] from the call's end to a database, to syslog, to a file and to a webhook, and the
//! questions that are asked of the database afterwards. Guarantees that whoever hands a record over never waits: each
//! place has a [`queue`] of its own with bounded room and a thread behind it, and what finds no room is counted. A
//! place that fails (a full disk, a server that is down) is tried again, is reported once when it fails and once when
//! it is well, and holds up nobody else.
//!
//! - [`queue`]: bounded room in front of a thread
//! - [`store`]: the database, SQLite or PostgreSQL
//! - [`outlets`]: syslog, file and webhook
//! - [`mask`]: digits nobody is to see
//! - [`fraud`]: what looks odd
//! - [`History`]: all of them together
//!
//! What the records say is the daemon's business, and how they are shown is `fwctl`'s.

#![forbid(unsafe_code)]

pub mod fraud;
pub mod mask;
pub mod outlets;
pub mod queue;
pub mod reader;
pub mod store;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use callgate_api::history::{
    By, Finding, HistoryFilter, HistoryPlace, HistoryStatus, HistoryTotal, PERMITTED, Record,
};
use callgate_rules::ruleset::History as Settings;
use tracing::info;

use outlets::{LineFile, SyslogOutlet, Webhook};
use queue::Queue;
pub use reader::{Question, Reader};
pub use store::{Error, Store, StoreSink};

/// Records that may wait for the database: some seconds of the busiest switch, or a day of a branch office.
pub const ROOM: usize = 32_768;
/// Records that may wait for syslog or a file.
pub const OUTLET_ROOM: usize = 8_192;
/// Records that may wait for a webhook.
pub const WEBHOOK_ROOM: usize = 4_096;

/// The history of one firewall.
#[derive(Debug)]
pub struct History {
    settings: Settings,
    queues: Vec<Queue>,
    reader: Reader,
}

impl History {
    /// Starts the threads. Nothing is opened here: what cannot be reached is told and tried again by its thread.
    pub fn start(settings: &Settings) -> Self {
        let mut queues =
            vec![Queue::start("database", settings.database.to_string(), ROOM, StoreSink::new(settings))];
        if let Some(syslog) = &settings.syslog {
            let outlet = SyslogOutlet::new(syslog.clone());
            queues.push(Queue::start("syslog", syslog.to_string(), OUTLET_ROOM, outlet));
        }
        if let Some(file) = &settings.file {
            queues.push(Queue::start(
                "file",
                file.display().to_string(),
                OUTLET_ROOM,
                LineFile::new(file.clone()),
            ));
        }
        if let Some(url) = &settings.webhook {
            let place = callgate_rules::ruleset::without_password(url);
            queues.push(Queue::start("webhook", place, WEBHOOK_ROOM, Webhook::new(url.clone())));
        }
        info!(database = %settings.database, "history is kept");
        Self { settings: settings.clone(), queues, reader: Reader::start(settings) }
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a record, and never waits: where there is no room it is lost, and counted. Masks its numbers first.
    pub fn record(&self, mut record: Record) {
        mask::mask(&mut record, self.settings.mask as usize);
        let record = Arc::new(record);
        for queue in &self.queues {
            queue.put(Arc::clone(&record));
        }
    }

    /// Asks the database; the answer comes from another thread. Where too many questions wait already, it is
    /// [`Error::Busy`].
    pub fn ask(&self, question: Question) {
        self.reader.ask(question);
    }

    /// How it fares.
    pub fn status(&self) -> HistoryStatus {
        HistoryStatus { places: self.queues.iter().map(Queue::status).collect() }
    }

    /// Waits until everything has been written, but no longer than this.
    pub fn close(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let queues: Vec<_> = self.queues.into_iter().map(Queue::close).collect();
        for queue in queues {
            queue.wait(deadline);
        }
    }
}
