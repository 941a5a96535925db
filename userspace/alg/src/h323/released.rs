//! Calls that are over: whatever still comes of them opens nothing.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::h225::Guid;

use super::{Connection, leg::Leg};
use crate::action::Time;

/// How long they are remembered: longer than late messages, and no longer than a restarted endpoint takes to use
/// the same numbers again.
const MEMORY: Duration = Duration::from_secs(120);
/// Most marks of them; the oldest go first.
const MAX_MARKS: usize = 65_536;

/// By what a message may still be known for one of a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Reference(SocketAddr, SocketAddr, u16),
    Identifier(Guid, IpAddr, IpAddr),
    Control(Connection),
}

/// Calls that are over.
#[derive(Debug, Default)]
pub(super) struct Released {
    marks: HashMap<Mark, Time>,
    order: VecDeque<(Time, Mark)>,
}

impl Released {
    /// A call is over.
    pub(super) fn note(&mut self, now: Time, leg: &Leg) {
        let [caller, callee] = leg.ends;
        let reference = Mark::Reference(caller, callee, leg.reference);
        let identifier = leg.guid.map(|guid| Mark::Identifier(guid, caller.ip(), callee.ip()));
        let control = leg.control.map(|[caller, callee]| Mark::Control(Connection::new(caller, callee)));
        for mark in [Some(reference), identifier, control].into_iter().flatten() {
            while self.order.len() >= MAX_MARKS {
                self.forget_oldest();
            }
            self.marks.insert(mark, now);
            self.order.push_back((now, mark));
        }
    }

    /// A Setup begins a call anew.
    pub(super) fn begin(&mut self, [caller, callee]: [SocketAddr; 2], reference: u16, guid: Option<Guid>) {
        self.marks.remove(&Mark::Reference(caller, callee, reference));
        if let Some(guid) = guid {
            self.marks.remove(&Mark::Identifier(guid, caller.ip(), callee.ip()));
        }
    }

    /// Whether a message of this reference or identifier is of a call that is over.
    pub(super) fn has(&self, [caller, callee]: [SocketAddr; 2], reference: u16, guid: Option<Guid>) -> bool {
        let by_guid = guid
            .is_some_and(|guid| self.marks.contains_key(&Mark::Identifier(guid, caller.ip(), callee.ip())));
        by_guid || self.marks.contains_key(&Mark::Reference(caller, callee, reference))
    }

    /// Whether this was the H.245 connection of a call that is over.
    pub(super) fn had_control(&self, connection: Connection) -> bool {
        self.marks.contains_key(&Mark::Control(connection))
    }

    pub(super) fn tick(&mut self, now: Time) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= MEMORY) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, mark)) = self.order.pop_front() else { return };
        // It may have been noted again since.
        if self.marks.get(&mark) == Some(&at) {
            self.marks.remove(&mark);
        }
    }
}
