//! What limits count: calls that are up, calls begun, minutes of the day.

use super::memory::Used;
use crate::decision::Why;
use crate::spec::Limits;

/// Milliseconds of a clock that only goes forward.
pub(super) type Millis = u64;

/// Minutes as what [`Usage`] counts.
pub(super) fn minutes(minutes: u32) -> Millis {
    Millis::from(minutes) * 60_000
}

/// More than a day has of it is nobody's: minutes of several calls add up, to this many days' at most.
const DAY: Millis = 250_000 * 24 * 3_600_000;

/// What one set of [`Limits`] is held against.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    pub(super) up: u32,
    /// When the next call would come on time, in microseconds: a generic cell rate algorithm (ITU-T I.371,
    /// annex A).
    pace: u64,
    pub(super) usage: Usage,
}

impl Bucket {
    /// Whether one more call is within limits; `whys` are of calls, rate and minutes.
    pub(super) fn room(&self, limits: &Limits, whys: [Why; 3], day: i32, at: Millis) -> Result<(), Why> {
        let [calls, rate, used] = whys;
        if limits.calls.is_some_and(|most| self.up >= most) {
            return Err(calls);
        }
        if let Some(most) = limits.calls_per_minute {
            let tolerated = interval(most).saturating_mul(u64::from(most).saturating_sub(1));
            if most == 0 || self.pace > (at * 1_000).saturating_add(tolerated) {
                return Err(rate);
            }
        }
        if limits.minutes_per_day.is_some_and(|most| self.usage.at(day, at) >= minutes(most)) {
            return Err(used);
        }
        Ok(())
    }

    /// One more call. Emergency calls come in beyond any limit: a minute after the last of them there is room again,
    /// however many they were, and whatever the limit was then.
    pub(super) fn enter(&mut self, limits: Option<&Limits>, at: Millis) {
        self.up += 1;
        if let Some(most) = limits.and_then(|limits| limits.calls_per_minute) {
            let now = at * 1_000;
            self.pace = self.pace.max(now).saturating_add(interval(most)).min(now + MINUTE);
        }
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self, day: i32, at: Millis) -> bool {
        self.up == 0 && self.pace <= at * 1_000 && self.usage.at(day, at) == 0
    }
}

/// In microseconds.
const MINUTE: u64 = 60_000_000;

fn interval(per_minute: u32) -> u64 {
    MINUTE / u64::from(per_minute.max(1))
}

/// Time of the day used by answered calls, those that go on included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    day: i32,
    /// When the day was last changed.
    changed: Millis,
    used: Millis,
    running: u32,
    /// The sum of when those that go on began, or the day.
    begun: Millis,
    /// When it is to be looked at; 0: not.
    bell: Millis,
}

impl Usage {
    /// What is used so far.
    pub(super) fn at(&self, day: i32, at: Millis) -> Millis {
        if day != self.day {
            return 0;
        }
        self.used + (Millis::from(self.running) * at).saturating_sub(self.begun)
    }

    /// Calls that go on.
    pub(super) fn running(&self) -> u32 {
        self.running
    }

    /// A call is answered.
    pub(super) fn start(&mut self, day: i32, at: Millis) {
        self.turn(day, at);
        self.running += 1;
        self.begun += at;
    }

    /// A call that was answered at `since` is over.
    pub(super) fn stop(&mut self, day: i32, at: Millis, since: Millis) {
        self.turn(day, at);
        if self.running == 0 {
            return;
        }
        let since = since.max(self.changed);
        self.running -= 1;
        self.begun = self.begun.saturating_sub(since);
        self.used += at.saturating_sub(since);
    }

    /// When the limit comes if nothing changes, unless it will be looked at by then.
    pub(super) fn wakes(&mut self, limit: Millis, day: i32, at: Millis) -> Option<Millis> {
        self.turn(day, at);
        if self.running == 0 {
            return None;
        }
        let left = limit.saturating_sub(self.at(day, at));
        let time = (at + left.div_ceil(Millis::from(self.running))).max(1);
        if self.bell != 0 && self.bell <= time {
            return None;
        }
        self.bell = time;
        Some(time)
    }

    /// A bell rings: whether it is the one that was set last.
    pub(super) fn woken(&mut self, time: Millis) -> bool {
        let last = self.bell == time;
        if last {
            self.bell = 0;
        }
        last
    }

    /// No bell is set any more.
    pub(super) fn forget_bell(&mut self) {
        self.bell = 0;
    }

    /// So much was used before, by calls that another desk has counted.
    pub(super) fn recall(&mut self, before: &Used, day: i32, at: Millis) {
        self.turn(day, at);
        if before.day == day {
            self.used = before.used.min(DAY);
        }
    }

    /// On another day all begins anew, for those that go on too.
    fn turn(&mut self, day: i32, at: Millis) {
        if day != self.day {
            self.day = day;
            self.changed = at;
            self.used = 0;
            self.begun = Millis::from(self.running) * at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_calls_costs_more_than_a_minute() {
        let limits = |calls| Limits { calls_per_minute: Some(calls), ..Limits::default() };
        let whys = [Why::AllCalls, Why::AllRate, Why::AllMinutes];
        let mut bucket = Bucket::default();
        for _ in 0..7 {
            bucket.enter(Some(&limits(1)), 1_000);
        }
        assert_eq!(bucket.room(&limits(1), whys, 0, 60_999), Err(Why::AllRate));
        assert_eq!(bucket.room(&limits(1), whys, 0, 61_000), Ok(()));
        assert_eq!(bucket.room(&limits(300), whys, 0, 1_199), Err(Why::AllRate), "by rules read since");
        assert_eq!(bucket.room(&limits(300), whys, 0, 1_200), Ok(()));
    }

    #[test]
    fn minutes_of_calls_that_go_on_count() {
        let mut usage = Usage::default();
        usage.start(1, 1_000);
        usage.start(1, 3_000);
        assert_eq!(usage.at(1, 5_000), 6_000);
        usage.stop(1, 5_000, 1_000);
        assert_eq!(usage.at(1, 6_000), 4_000 + 3_000);
        assert_eq!(usage.at(2, 6_000), 0, "another day");
    }

    #[test]
    fn a_new_day_begins_at_nothing_for_calls_that_go_on() {
        let mut usage = Usage::default();
        usage.start(1, 1_000);
        usage.start(2, 10_000);
        assert_eq!(usage.at(2, 11_000), 2_000);
        usage.stop(2, 12_000, 1_000);
        usage.stop(2, 12_000, 10_000);
        assert_eq!((usage.at(2, 20_000), usage.running()), (4_000, 0));
        usage.stop(2, 20_000, 0);
        assert_eq!(usage.at(2, 20_000), 4_000);
    }

    #[test]
    fn the_bell_is_set_for_the_first_moment_the_limit_can_come() {
        let mut usage = Usage::default();
        assert_eq!(usage.wakes(10_000, 1, 0), None);
        usage.start(1, 0);
        assert_eq!(usage.wakes(10_000, 1, 0), Some(10_000));
        usage.start(1, 2_000);
        assert_eq!(usage.wakes(10_000, 1, 2_000), Some(6_000));
        usage.stop(1, 3_000, 2_000);
        assert_eq!(usage.wakes(10_000, 1, 3_000), None, "an earlier one is set");
        assert!(!usage.woken(10_000) && usage.woken(6_000));
        assert_eq!(usage.wakes(10_000, 1, 6_000), Some(9_000));
    }

    #[test]
    fn as_many_may_begin_at_once_as_in_a_minute() {
        let limits = Limits { calls_per_minute: Some(3), ..Limits::default() };
        let whys = [Why::AllCalls, Why::AllRate, Why::AllMinutes];
        let mut bucket = Bucket::default();
        let mut begun = |at| {
            let room = bucket.room(&limits, whys, 1, at);
            if room.is_ok() {
                bucket.enter(Some(&limits), at);
            }
            room
        };
        assert_eq!([begun(0), begun(0), begun(1), begun(2)], [Ok(()), Ok(()), Ok(()), Err(Why::AllRate)]);
        assert_eq!(
            [begun(19_999), begun(20_000), begun(20_001)],
            [Err(Why::AllRate), Ok(()), Err(Why::AllRate)]
        );
    }
}
