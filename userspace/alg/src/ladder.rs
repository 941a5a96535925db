//! Which messages a call has had: its ladder, for people who ask what went wrong.
//!
//! Bounded by call and in all; the ladders of calls that are over are kept for a while. A ladder is not part of a
//! call's record: it does not outlive the daemon.

use std::collections::{HashMap, VecDeque};

use crate::action::{EndReason, Time};
use crate::call::{Call, CallId, Party};

/// Most messages of one call that are remembered: the first half of them and the last.
pub const MOST_OF_CALL: usize = 64;
/// Most messages of all calls.
const MOST: usize = 1 << 20;
/// Calls that are over and are remembered.
const MOST_ENDED: usize = 1_024;
/// Bytes of a message's name.
const MAX_NAME: usize = 21;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it was seen.
    pub time: Time,
    /// Who sent it.
    pub by: Party,
    /// It describes media.
    pub media: bool,
    /// It was refused.
    pub refused: bool,
    name: [u8; MAX_NAME],
}

impl Step {
    /// A message of this name, of which [`MAX_NAME`] bytes are kept.
    pub fn new(time: Time, by: Party, name: &str, media: bool, refused: bool) -> Self {
        let mut kept = [0; MAX_NAME];
        let length = name.floor_char_boundary(MAX_NAME);
        kept[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self { time, by, media, refused, name: kept }
    }

    /// Method, or status and method; a message's name.
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        std::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }
}

/// The messages of one call, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    steps: Vec<Step>,
    /// Messages that were left out between the first half and the last.
    pub left_out: u64,
}

impl Ladder {
    /// The messages.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Notes one; whether more are remembered than before.
    fn add(&mut self, step: Step) -> bool {
        if self.steps.len() < MOST_OF_CALL {
            self.steps.push(step);
            return true;
        }
        self.steps.remove(MOST_OF_CALL / 2);
        self.steps.push(step);
        self.left_out += 1;
        false
    }
}

/// A call that is over.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its last record.
    pub call: Call,
    /// Why it ended.
    pub reason: EndReason,
    /// When.
    pub time: Time,
    /// Its messages.
    pub ladder: Ladder,
}

/// All ladders.
#[derive(Debug, Default)]
pub(crate) struct Ladders {
    live: HashMap<CallId, Ladder>,
    /// Oldest first.
    ended: VecDeque<Ended>,
    /// Messages of all of them.
    count: usize,
}

impl Ladders {
    /// Notes a message of a call. At the bound the oldest call that is over is forgotten, or else the message.
    pub(crate) fn note(&mut self, call: CallId, step: Step) {
        while self.count >= MOST {
            if !self.forget_oldest() {
                return;
            }
        }
        self.count += usize::from(self.live.entry(call).or_default().add(step));
    }

    /// A call is over.
    pub(crate) fn end(&mut self, call: &Call, reason: EndReason, time: Time) {
        let Some(ladder) = self.live.remove(&call.id) else { return };
        if self.ended.len() >= MOST_ENDED {
            self.forget_oldest();
        }
        self.ended.push_back(Ended { call: call.clone(), reason, time, ladder });
    }

    /// The ladder of a call that is not over.
    pub(crate) fn of(&self, call: CallId) -> Option<&Ladder> {
        self.live.get(&call)
    }

    /// Calls that are over, the latest first.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().rev()
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(ended) = self.ended.pop_front() else { return false };
        self.count -= ended.ladder.steps.len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ms: u64, name: &str) -> Step {
        Step::new(Time(ms * 1_000_000), Party::Caller, name, false, false)
    }

    #[test]
    fn names_are_kept_up_to_their_bound() {
        assert_eq!(step(1, "200 SUBSCRIBE").name(), "200 SUBSCRIBE");
        assert_eq!(step(1, "terminalCapabilitySetAck").name(), "terminalCapabilitySet");
        assert_eq!(step(1, &"ü".repeat(20)).name(), "ü".repeat(10));
        assert!(size_of::<Step>() <= 32);
    }

    #[test]
    fn the_first_and_the_last_messages_of_a_long_call_are_kept() {
        let mut ladder = Ladder::default();
        for n in 0..200 {
            ladder.add(step(n, &n.to_string()));
        }
        assert_eq!((ladder.steps().len(), ladder.left_out), (MOST_OF_CALL, 136));
        assert_eq!(ladder.steps()[31].name(), "31");
        assert_eq!(ladder.steps()[32].name(), "168");
        assert_eq!(ladder.steps()[63].name(), "199");
    }

    #[test]
    fn calls_that_are_over_are_bounded() {
        let mut ladders = Ladders::default();
        let call = |id| Call {
            id: CallId(id),
            protocol: callgate_shared::policy::Inspect::Sip,
            key: String::new(),
            state: crate::call::State::Calling,
            signalling: [([192, 0, 2, 1], 5060).into(), ([192, 0, 2, 2], 5060).into()],
            parties: [String::new(), String::new()],
            started: Time(0),
            connected: None,
            streams: crate::call::StreamMap::default(),
            memo: String::new(),
            slot: 0,
            granted: None,
            released_by: None,
            cause: None,
        };
        for id in 1..=MOST_ENDED as u64 + 5 {
            ladders.note(CallId(id), step(id, "INVITE"));
            ladders.end(&call(id), EndReason::Bye, Time(id));
        }
        assert_eq!((ladders.ended.len(), ladders.count), (MOST_ENDED, MOST_ENDED));
        assert_eq!(ladders.ended().next().map(|ended| ended.call.id), Some(CallId(MOST_ENDED as u64 + 5)));
        assert!(ladders.of(CallId(1)).is_none());
    }
}
