//! Times at which something holds: hours of the week, and dates.

use std::ops::Range;

use jiff::civil::DateTime;

/// Minutes of a week.
const WEEK: u16 = 7 * 24 * 60;

/// Hours of the week and days of the year, by the clock on the wall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// Minutes of the week from Monday 00:00: ascending, disjoint.
    week: Vec<Range<u16>>,
    days: Vec<Day>,
}

/// A day, every year or once, and the part of it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// `None`: every year.
    pub year: Option<i16>,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
    /// Minutes of the day.
    pub minutes: Range<u16>,
}

impl Hours {
    /// At any time.
    pub fn always() -> Self {
        Self { week: std::iter::once(0..WEEK).collect(), days: Vec::new() }
    }

    /// The minutes of the week, from Monday 00:00, and the days: either is enough.
    pub fn new(minutes: impl IntoIterator<Item = Range<u32>>, days: Vec<Day>) -> Self {
        let minute = |minute: u32| u16::try_from(minute).unwrap_or(WEEK).min(WEEK);
        let mut ranges: Vec<Range<u16>> =
            minutes.into_iter().map(|range| minute(range.start)..minute(range.end)).collect();
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        let mut week: Vec<Range<u16>> = Vec::new();
        for range in ranges {
            match week.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => week.push(range),
            }
        }
        Self { week, days }
    }

    /// Whether there is no time that it lacks.
    pub fn is_always(&self) -> bool {
        self.week.len() == 1 && self.week.first() == Some(&(0..WEEK))
    }

    /// Whether this time on the wall is among them.
    pub fn contains(&self, local: DateTime) -> bool {
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let day = u16::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let of_week = day * 24 * 60 + minute;
        let next = self.week.partition_point(|range| range.start <= of_week);
        next.checked_sub(1).is_some_and(|place| self.week[place].contains(&of_week))
            || self.days.iter().any(|day| {
                day.year.is_none_or(|year| year == local.year())
                    && (day.month, day.day) == (local.month(), local.day())
                    && day.minutes.contains(&minute)
            })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn hours_of_the_week_and_dates_add_up() {
        // Monday 08:00–18:00 said in two parts, and all of Sunday.
        let week = [8 * 60..12 * 60, 12 * 60..18 * 60, 6 * 1440..7 * 1440];
        let days = vec![
            Day { year: None, month: 12, day: 25, minutes: 0..1440 },
            Day { year: Some(2026), month: 7, day: 3, minutes: 12 * 60..1440 },
        ];
        let hours = Hours::new(week, days);
        // 2024-01-01 was a Monday.
        let on = |y, m, d, hour, minute| hours.contains(date(y, m, d).at(hour, minute, 0, 0));
        assert!(on(2024, 1, 1, 8, 0) && on(2024, 1, 1, 12, 0) && on(2024, 1, 1, 17, 59));
        assert!(!on(2024, 1, 1, 7, 59) && !on(2024, 1, 1, 18, 0) && !on(2024, 1, 2, 9, 0));
        assert!(on(2024, 1, 7, 0, 0) && on(2024, 1, 7, 23, 59) && !on(2024, 1, 8, 0, 0));
        assert!(on(2024, 12, 25, 3, 0) && on(2031, 12, 25, 23, 59));
        assert!(on(2026, 7, 3, 12, 0) && !on(2026, 7, 3, 11, 59) && !on(2025, 7, 3, 12, 0));
        assert!(!hours.is_always() && Hours::always().is_always());
        assert!(!Hours::default().contains(date(2024, 1, 1).at(0, 0, 0, 0)));
    }
}
