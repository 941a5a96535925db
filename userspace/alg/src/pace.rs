//! Rates, kept by key in bounded memory: the generic cell rate algorithm (ITU-T I.371), in which as many events may
//! come at once as the rate has in its period.

use std::collections::HashMap;
use std::hash::Hash;

use callgate_rules::inspect::sip::Rate;

use crate::action::Time;

/// When each key will have been silent for long enough to begin anew.
#[derive(Debug)]
pub(crate) struct Paces<K> {
    due: HashMap<K, Time>,
    most: usize,
}

impl<K: Copy + Eq + Hash> Paces<K> {
    /// None yet, and never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { due: HashMap::new(), most }
    }

    /// Whether one more event of `key` keeps its rate; if so it is counted. `None` where there is no room for it.
    pub(crate) fn keeps(&mut self, key: K, now: Time, rate: Rate) -> Option<bool> {
        let known = self.due.get(&key);
        if known.is_none() && self.due.len() >= self.most {
            return None;
        }
        let next = Time(known.map_or(now, |due| (*due).max(now)).0.saturating_add(apart(rate)));
        let fits = next.0 - now.0 <= rate.period.nanoseconds();
        if fits {
            self.due.insert(key, next);
        }
        Some(fits)
    }

    /// The same, where those that find no room share `crowd`, which is let in whatever the room.
    pub(crate) fn keeps_or_shares(&mut self, key: K, crowd: K, now: Time, rate: Rate) -> bool {
        if self.due.len() >= self.most && !self.due.contains_key(&key) {
            self.due.entry(crowd).or_insert(now);
            return self.keeps(crowd, now, rate).unwrap_or(false);
        }
        self.keeps(key, now, rate).unwrap_or(false)
    }

    /// Whether one more event of `key` would not keep its rate.
    pub(crate) fn is_spent(&self, key: K, now: Time, rate: Rate) -> bool {
        self.due
            .get(&key)
            .is_some_and(|due| due.0.saturating_add(apart(rate)) > now.0 + rate.period.nanoseconds())
    }

    /// Takes back events of `key` that have been counted.
    pub(crate) fn forgive(&mut self, key: K, now: Time, rate: Rate, events: u32) {
        if let Some(due) = self.due.get_mut(&key) {
            due.0 = due.0.saturating_sub(apart(rate).saturating_mul(events.into()));
            if *due <= now {
                self.due.remove(&key);
            }
        }
    }

    /// Forgets those that have been silent for long enough.
    pub(crate) fn tick(&mut self, now: Time) {
        self.due.retain(|_, due| *due > now);
    }
}

/// Nanoseconds from one event to the next.
fn apart(rate: Rate) -> u64 {
    rate.period.nanoseconds() / u64::from(rate.events.max(1))
}

#[cfg(test)]
mod tests {
    use callgate_rules::ruleset::Period;

    use super::*;

    const RATE: Rate = Rate { events: 3, period: Period::Second };

    fn at(ms: u64) -> Time {
        Time(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn as_many_as_the_rate_has_may_come_at_once() {
        let mut paces = Paces::new(8);
        let mut come = |ms| paces.keeps(1, at(ms), RATE);
        assert_eq!([0, 0, 0, 0].map(&mut come), [Some(true), Some(true), Some(true), Some(false)]);
        assert_eq!([334, 334].map(come), [Some(true), Some(false)]);
        assert!(paces.is_spent(1, at(335), RATE) && !paces.is_spent(2, at(335), RATE));
        paces.forgive(1, at(335), RATE, 1);
        assert_eq!(paces.keeps(1, at(335), RATE), Some(true));
    }

    #[test]
    fn what_finds_no_room_shares_one_place() {
        let mut paces = Paces::new(1);
        assert_eq!(paces.keeps(1, at(0), RATE), Some(true));
        assert_eq!(paces.keeps(2, at(0), RATE), None);
        let shared: Vec<_> = (2..7).map(|key| paces.keeps_or_shares(key, 0, at(0), RATE)).collect();
        assert_eq!(shared, [true, true, true, false, false]);
        paces.tick(at(2_000));
        assert_eq!(paces.keeps(2, at(2_000), RATE), Some(true));
    }
}
