//! What operators want to know of phones, gateways and file transfers, as it happened.

use std::net::SocketAddr;

use callgate_alg::event::{Event, EventKind};
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its number: one more than that of the event before. Numbers go on rising when the daemon is started anew.
    pub number: u64,
    /// When it happened.
    pub at_unix: u64,
    /// What it is: `registered`, `refused` …
    pub kind: EventKind,
    /// By which protocol: `sccp`, `mgcp` …
    pub protocol: String,
    /// Whose doing it was.
    pub source: SocketAddr,
    /// A device's name, a file, an endpoint; may be empty.
    pub subject: String,
    /// More, for people; may be empty.
    pub text: String,
}

impl EventRow {
    /// The row of an event that happened at `at_unix`.
    pub fn new(number: u64, at_unix: u64, event: Event) -> Self {
        let Event { kind, protocol, source, subject, text, .. } = event;
        Self { number, at_unix, kind, protocol: protocol.name().to_owned(), source, subject, text }
    }
}

/// Events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// Without `after` the last events, with it the first ones after that number: up to the request's limit.
    pub rows: Vec<EventRow>,
    /// What to give as `after` to get the events that follow.
    pub next: u64,
    /// Events between `after` and `next` that the daemon does not remember any more, of whatever kind.
    pub lost: u64,
}
