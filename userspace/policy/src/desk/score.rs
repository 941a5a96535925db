//! What looks like fraud, in points that are forgotten by and by.

use std::fmt;

use super::bucket::Millis;
use crate::decision::AlarmKind;
use crate::spec::Fraud;

/// Prefixes a caller's short calls are remembered by.
const PREFIXES: usize = 4;
/// Points below this are none.
const NOTHING: f32 = 0.5;

/// Something that looks like fraud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A short call to a prefix that has had one.
    Short,
    /// A call at night.
    Night,
    /// An attempt that failed.
    Failed,
}

impl Sign {
    const ALL: [(Self, AlarmKind); 3] = [
        (Self::Short, AlarmKind::ShortCalls),
        (Self::Night, AlarmKind::NightCalls),
        (Self::Failed, AlarmKind::FailedAttempts),
    ];

    fn points(self, fraud: &Fraud) -> u32 {
        match self {
            Self::Short => fraud.short_points,
            Self::Night => fraud.night_points,
            Self::Failed => fraud.failed_points,
        }
    }
}

/// A prefix by its hash, and when a short call went there last.
type Prefixes = [Option<(u64, Millis)>; PREFIXES];

/// A caller's points.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    /// By sign, as they were at `since`.
    points: [f32; 3],
    since: Millis,
    /// The time points take to halve, when they were last given.
    half_life: Millis,
    /// An alarm has been raised, and the points have not fallen below half of it since.
    raised: bool,
    /// Where short calls went last, and when.
    prefixes: Option<Box<Prefixes>>,
}

impl Score {
    /// All points at a time.
    pub(super) fn total(&self, fraud: &Fraud, at: Millis) -> u32 {
        sum(self.at(half_life(fraud), at)) as u32
    }

    /// Gives points for a sign. What the alarm is about, where one is due.
    pub(super) fn add(&mut self, fraud: &Fraud, sign: Sign, at: Millis) -> Option<AlarmKind> {
        self.half_life = half_life(fraud);
        self.points = self.at(self.half_life, at);
        self.since = self.since.max(at);
        let alarm = fraud.alarm as f32;
        if sum(self.points) < alarm / 2.0 {
            self.raised = false;
        }
        self.points[sign as usize] += sign.points(fraud) as f32;
        if self.raised || sum(self.points) < alarm {
            return None;
        }
        self.raised = true;
        let most = Sign::ALL
            .iter()
            .max_by(|(a, _), (b, _)| self.points[*a as usize].total_cmp(&self.points[*b as usize]));
        most.map(|(_, kind)| *kind)
    }

    /// A short call to a prefix: whether it has had one that is not forgotten.
    pub(super) fn short(&mut self, fraud: &Fraud, prefix: u64, at: Millis) -> bool {
        let remembered = at.saturating_sub(half_life(fraud));
        let prefixes = self.prefixes.get_or_insert_default();
        let known = prefixes.iter_mut().flatten().find(|(known, _)| *known == prefix);
        if let Some((_, last)) = known {
            let again = *last >= remembered;
            *last = at;
            return again;
        }
        let oldest = prefixes.iter_mut().min_by_key(|place| place.map_or(0, |(_, last)| last + 1));
        if let Some(place) = oldest {
            *place = Some((prefix, at));
        }
        false
    }

    /// The points by now.
    pub(super) fn points(&self, at: Millis) -> [f32; 3] {
        self.at(self.half_life, at)
    }

    /// So many points there were, so long ago.
    pub(super) fn recall(&mut self, fraud: &Fraud, points: [f32; 3], age: Millis, at: Millis) {
        let sane = points.iter().all(|points| (0.0..=1e9).contains(points));
        if !sane || points == [0.0; 3] {
            return;
        }
        self.half_life = half_life(fraud);
        (self.points, self.since) = (points, 0);
        self.points = self.at(self.half_life, age);
        self.since = at;
        self.raised = sum(self.points) >= fraud.alarm as f32;
    }

    /// Whether nothing is left.
    pub(super) fn is_forgotten(&self, at: Millis) -> bool {
        let old = |(_, last): &(u64, Millis)| at.saturating_sub(*last) > self.half_life;
        sum(self.at(self.half_life, at)) < NOTHING
            && self.prefixes.iter().flat_map(|prefixes| prefixes.iter()).flatten().all(old)
    }

    fn at(&self, half_life: Millis, at: Millis) -> [f32; 3] {
        if self.points == [0.0; 3] {
            return self.points;
        }
        let halves = at.saturating_sub(self.since) as f32 / half_life.max(1) as f32;
        self.points.map(|points| points * 0.5_f32.powf(halves))
    }
}

impl fmt::Display for Score {
    /// As in `55 points: 40 for short calls, 15 for failed attempts`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} points", sum(self.points))?;
        let words = ["short calls to one prefix", "calls at night", "failed attempts"];
        let parts = self.points.iter().zip(words).filter(|(points, _)| **points >= NOTHING);
        for (place, (points, words)) in parts.enumerate() {
            write!(f, "{} {points:.0} for {words}", if place == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Points are whole ones.
fn sum(points: [f32; 3]) -> f32 {
    points.iter().sum::<f32>().round()
}

fn half_life(fraud: &Fraud) -> Millis {
    super::millis(fraud.half_life)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraud() -> Fraud {
        Fraud { alarm: 20, ..Fraud::default() }
    }

    const HOUR: Millis = 3_600_000;

    #[test]
    fn half_is_forgotten_in_a_half_life_and_an_alarm_is_raised_once() {
        let (fraud, mut score) = (fraud(), Score::default());
        assert_eq!([score.add(&fraud, Sign::Failed, 0), score.add(&fraud, Sign::Short, 0)], [None; 2]);
        assert_eq!(score.add(&fraud, Sign::Night, 0), Some(AlarmKind::ShortCalls));
        assert_eq!(
            score.to_string(),
            "20 points: 10 for short calls to one prefix, 5 for calls at night, 5 for failed attempts"
        );
        assert_eq!(score.add(&fraud, Sign::Short, 0), None, "raised already");
        assert_eq!([score.total(&fraud, HOUR), score.total(&fraud, 2 * HOUR)], [15, 8]);
        assert!(!score.is_forgotten(2 * HOUR) && score.is_forgotten(8 * HOUR));
        assert_eq!(score.add(&fraud, Sign::Short, 2 * HOUR), None);
        assert_eq!(score.add(&fraud, Sign::Failed, 2 * HOUR), Some(AlarmKind::ShortCalls), "it had fallen");
    }

    #[test]
    fn short_calls_count_from_the_second_to_a_prefix() {
        let (fraud, mut score) = (fraud(), Score::default());
        assert_eq!([1, 1, 2, 1].map(|prefix| score.short(&fraud, prefix, 1)), [false, true, false, true]);
        assert!(!score.short(&fraud, 1, 2 + HOUR), "too long ago");
        for prefix in 10..14 {
            assert!(!score.short(&fraud, prefix, 3 + HOUR));
        }
        assert!(!score.short(&fraud, 1, 4 + HOUR), "four are remembered");
    }
}
