//! Times of the week: what `when = "mon-fri 08:00-18:00"` means.
//!
//! A schedule speaks of the time the clock on the wall shows. Where that clock is put forward or back, a rule
//! comes into force when the clock first shows its time, and is in force twice where its time comes twice.

use std::fmt;
use std::ops::Range;

use jiff::civil::DateTime;
use jiff::{Timestamp, Zoned};

use crate::suggest::{Mistake, suggest};

/// When a rule is in force: in any of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    windows: Vec<Window>,
}

/// A time of the day on some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Window {
    /// The days it begins on: bit 0 is Monday.
    days: u8,
    /// Minute of the day it begins with, to 1439.
    from: u16,
    /// Minute of the day it ends before, 1 to 1440. Where it is not after `from`, it is of the next day.
    to: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;
const DAY: u16 = 24 * 60;

impl Schedule {
    /// The union of windows.
    pub(crate) fn of(windows: impl IntoIterator<Item = Self>) -> Self {
        Self { windows: windows.into_iter().flat_map(|schedule| schedule.windows).collect() }
    }

    /// Reads one window: days, a time of the day, or both.
    pub(crate) fn read(text: &str) -> Result<Self, Mistake> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, time) = match words[..] {
            [one] if one.contains(':') => (None, Some(one)),
            [one] => (Some(one), None),
            [days, time] => (Some(days), Some(time)),
            _ => return Err(malformed(text)),
        };
        let days = days.map_or(Ok(EVERY_DAY), read_days)?;
        let (from, to) = time.map_or(Ok((0, DAY)), read_times)?;
        Ok(Self { windows: vec![Window { days, from, to }] })
    }

    /// Reads a time of the day: minutes from which on, and before which.
    pub(crate) fn of_day(text: &str) -> Result<(u16, u16), Mistake> {
        read_times(text)
    }

    /// Whether the rule is in force at this time on the wall.
    pub fn contains(&self, local: DateTime) -> bool {
        let day = u16::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        self.windows.iter().any(|window| window.contains(day, minute))
    }

    /// The minutes of the week in which the rule is in force, from Monday 00:00: ranges that may overlap, none
    /// across the week's end.
    pub(crate) fn minutes(&self) -> impl Iterator<Item = Range<u32>> {
        const WEEK: u32 = 7 * DAY as u32;
        let on = |window: &Window| {
            let Window { days, from, to } = *window;
            let length = u32::from(if from < to { to - from } else { DAY - from + to });
            (0..7).filter(move |day| days >> day & 1 == 1).flat_map(move |day| {
                let begin = day * u32::from(DAY) + u32::from(from);
                let end = begin + length;
                [begin..end.min(WEEK), 0..end.saturating_sub(WEEK)]
            })
        };
        self.windows.iter().flat_map(on).filter(|minutes| !minutes.is_empty())
    }

    /// Whether there is no time at which the rule is not in force.
    pub fn is_always(&self) -> bool {
        (0..7)
            .all(|day| (0..DAY).all(|minute| self.windows.iter().any(|window| window.contains(day, minute))))
    }

    /// The next time after this one at which a rule comes into force or goes out of it; `None` where it never
    /// does.
    pub fn next_change(&self, after: &Zoned) -> Option<Timestamp> {
        /// A week later all is as it was, but for the clock having been changed.
        const AHEAD: i8 = 9;
        let zone = after.time_zone();
        let now = after.timestamp();
        let mut candidates: Vec<Timestamp> = Vec::new();
        let days = after.date().series(jiff::Span::new().days(1)).take(usize::from(AHEAD.unsigned_abs()));
        for date in days {
            for minute in self.windows.iter().flat_map(|window| [window.from, window.to % DAY]) {
                let (hour, minute) = ((minute / 60) as i8, (minute % 60) as i8);
                let local = zone.to_ambiguous_zoned(date.at(hour, minute, 0, 0));
                candidates.extend(
                    [local.clone().earlier(), local.later()].into_iter().flatten().map(|at| at.timestamp()),
                );
            }
        }
        let end = candidates.iter().max().copied()?;
        candidates.extend(zone.following(now).map(|change| change.timestamp()).take_while(|at| *at <= end));
        candidates.retain(|at| *at > now);
        candidates.sort_unstable();
        let local = |at: Timestamp| at.to_zoned(zone.clone()).datetime();
        let state = self.contains(after.datetime());
        candidates.into_iter().find(|at| self.contains(local(*at)) != state)
    }
}

impl fmt::Display for Schedule {
    /// As in `mon-fri 08:00-18:00, sun`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, window) in self.windows.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for day in (0..7).filter(|day| self.days & 1 << day != 0) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == day => *last = day,
                _ => runs.push((day, day)),
            }
        }
        let all_day = (self.from, self.to) == (0, DAY);
        if self.days != EVERY_DAY || all_day {
            let run = |(first, last): &(usize, usize)| match first == last {
                true => DAYS[*first].to_owned(),
                false => format!("{}-{}", DAYS[*first], DAYS[*last]),
            };
            f.write_str(&runs.iter().map(run).collect::<Vec<_>>().join(","))?;
            if !all_day {
                f.write_str(" ")?;
            }
        }
        if !all_day {
            let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            write!(f, "{}-{}", time(self.from), time(self.to))?;
        }
        Ok(())
    }
}

impl Window {
    fn contains(&self, day: u16, minute: u16) -> bool {
        let on = |day: u16| self.days & 1 << (day % 7) != 0;
        if self.from < self.to {
            on(day) && (self.from..self.to).contains(&minute)
        } else {
            on(day) && minute >= self.from || on(day + 6) && minute < self.to
        }
    }
}

/// `mon-fri`, `sat,sun`, `fri-mon`.
fn read_days(text: &str) -> Result<u8, Mistake> {
    let day = |word: &str| {
        let place = DAYS.iter().position(|name| *name == word);
        place.ok_or_else(|| Mistake {
            message: format!("there is no day `{word}`"),
            suggestion: suggest(word, DAYS),
        })
    };
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        for step in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + step) % 7);
        }
    }
    Ok(days)
}

/// `08:00-18:00`.
fn read_times(text: &str) -> Result<(u16, u16), Mistake> {
    let (from, to) = text.split_once('-').ok_or_else(|| malformed(text))?;
    let (from, to) = (read_time(from)?, read_time(to)?);
    if from == to || from == DAY || to == 0 {
        return Err(Mistake::new(
            format!("`{text}` is no time of the day"),
            "midnight is `00:00` where it begins and `24:00` where it ends; for whole days leave the time out",
        ));
    }
    Ok((from, to))
}

fn read_time(text: &str) -> Result<u16, Mistake> {
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let minutes = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute) = (number(hour)?, number(minute).filter(|minute| *minute < 60)?);
        Some(hour * 60 + minute).filter(|minutes| *minutes <= DAY)
    });
    minutes.ok_or_else(|| {
        Mistake::new(format!("`{text}` is no time of the day"), "times are `00:00` to `24:00`")
    })
}

fn malformed(text: &str) -> Mistake {
    Mistake::new(
        format!("`{text}` is not a time of the week"),
        "write days, a time, or both: `mon-fri 08:00-18:00`, `sat,sun`, `22:00-06:00`",
    )
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn schedule(texts: &[&str]) -> Schedule {
        Schedule::of(texts.iter().map(|text| Schedule::read(text).expect("a schedule")))
    }

    /// 2024-01-01 was a Monday.
    fn at(day: i8, hour: i8, minute: i8) -> DateTime {
        jiff::civil::date(2024, 1, day).at(hour, minute, 0, 0)
    }

    #[test]
    fn days_and_times_are_within_their_ends() {
        let office = schedule(&["mon-fri 08:00-18:00"]);
        assert!(office.contains(at(1, 8, 0)) && office.contains(at(5, 17, 59)));
        assert!(
            !office.contains(at(1, 7, 59))
                && !office.contains(at(1, 18, 0))
                && !office.contains(at(6, 12, 0))
        );
        let weekend = schedule(&["sat,sun"]);
        assert!(
            weekend.contains(at(6, 0, 0))
                && weekend.contains(at(7, 23, 59))
                && !weekend.contains(at(8, 0, 0))
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let night = schedule(&["fri 22:00-06:00"]);
        assert!(night.contains(at(5, 22, 0)) && night.contains(at(6, 5, 59)));
        assert!(!night.contains(at(5, 5, 0)) && !night.contains(at(6, 22, 0)));
        let sunday = schedule(&["sun 22:00-06:00"]);
        assert!(sunday.contains(at(8, 3, 0)), "Monday after the first Sunday");
    }

    #[test]
    fn its_minutes_are_those_it_contains() {
        for texts in
            [&["mon-fri 08:00-18:00"][..], &["sun 22:00-06:00", "12:00-24:00"], &["fri-mon 23:59-00:01"]]
        {
            let schedule = schedule(texts);
            for minute in 0..7 * 24 * 60_u32 {
                let local = at(1 + (minute / 1440) as i8, (minute / 60 % 24) as i8, (minute % 60) as i8);
                let listed = schedule.minutes().any(|minutes| minutes.contains(&minute));
                assert_eq!(listed, schedule.contains(local), "{texts:?} {local}");
            }
        }
    }

    #[test]
    fn what_is_read_is_shown_as_it_can_be_written() {
        for text in ["mon-fri 08:00-18:00", "sat-sun", "22:00-06:00", "mon,wed-thu 00:00-24:00", "mon-sun"] {
            let read = Schedule::read(text).expect("a schedule");
            assert_eq!(Schedule::read(&read.to_string()).expect("it reads back"), read, "{text}");
        }
        assert_eq!(schedule(&["fri-mon", "12:00-13:00"]).to_string(), "mon,fri-sun, 12:00-13:00");
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong =
            |text: &str| Schedule::read(text).expect_err("no schedule").suggestion.unwrap_or_default();
        assert_eq!(wrong("mom-fri"), "did you mean `mon`?");
        for text in [
            "",
            "8:00-18:00",
            "08:00",
            "mon 08:00-18:00 x",
            "25:00-26:00",
            "08:60-09:00",
            "08:00-08:00",
            "mon-",
        ] {
            assert!(Schedule::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn is_always_sees_through_parts() {
        assert!(schedule(&["mon-thu", "fri-sun"]).is_always());
        assert!(schedule(&["06:00-22:00", "22:00-06:00"]).is_always());
        assert!(!schedule(&["mon-sat"]).is_always());
        assert_eq!(schedule(&["mon-sun"]).next_change(&zoned("2024-01-01T00:00[Europe/Berlin]")), None);
    }

    fn zoned(text: &str) -> Zoned {
        text.parse().expect("a time")
    }

    #[test]
    fn changes_come_at_the_ends_of_windows() {
        let office = schedule(&["mon-fri 08:00-18:00"]);
        let next = |text: &str| office.next_change(&zoned(text)).map(|at| at.to_string()).unwrap_or_default();
        assert_eq!(next("2024-01-01T07:00[Europe/Berlin]"), "2024-01-01T07:00:00Z");
        assert_eq!(next("2024-01-01T08:00[Europe/Berlin]"), "2024-01-01T17:00:00Z");
        assert_eq!(next("2024-01-05T18:00[Europe/Berlin]"), "2024-01-08T07:00:00Z");
        let joined = schedule(&["08:00-12:00", "12:00-18:00"]);
        let next = joined.next_change(&zoned("2024-01-01T09:00[UTC]")).map(|at| at.to_string());
        assert_eq!(next.as_deref(), Some("2024-01-01T18:00:00Z"));
    }

    /// The clock of Berlin went from 02:00 to 03:00 on 2024-03-31, and from 03:00 to 02:00 on 2024-10-27.
    #[test]
    fn changes_come_when_the_clock_shows_them() {
        let next = |texts: &[&str], after: &str| {
            schedule(texts).next_change(&zoned(after)).map(|at| at.to_string()).unwrap_or_default()
        };
        assert_eq!(next(&["02:30-05:00"], "2024-03-31T01:00[Europe/Berlin]"), "2024-03-31T01:00:00Z");
        assert_eq!(next(&["02:30-02:45"], "2024-03-31T01:00[Europe/Berlin]"), "2024-04-01T00:30:00Z");
        assert_eq!(next(&["02:30-05:00"], "2024-10-27T01:00[Europe/Berlin]"), "2024-10-27T00:30:00Z");
        assert_eq!(next(&["02:30-05:00"], "2024-10-27T02:40+02:00[Europe/Berlin]"), "2024-10-27T01:00:00Z");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Every minute until the next change is as the first one, and the change is one.
        #[test]
        fn nothing_changes_before_the_next_change(
            windows in prop::collection::vec((1u8..128, 0u16..1_440, 1u16..=1_440), 1..4),
            start in 1_700_000_000i64..1_740_000_000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
        ) {
            let windows = windows.into_iter().filter(|(_, from, to)| from != to);
            let windows = windows.map(|(days, from, to)| Window { days, from, to }).collect();
            let schedule = Schedule { windows };
            let begin = Timestamp::from_second(start - start % 60).expect("a time").in_tz(zone).expect("a zone");
            let state = schedule.contains(begin.datetime());
            let next = schedule.next_change(&begin);
            let mut at = begin.timestamp();
            for _ in 0..9 * 1_440 {
                at += SignedDuration::from_secs(60);
                let now = schedule.contains(at.to_zoned(begin.time_zone().clone()).datetime());
                prop_assert_eq!(now != state, next == Some(at), "{} {:?}", at, next);
                if now != state {
                    return Ok(());
                }
            }
            prop_assert!(next.is_none());
        }
    }
}
