//! What looks odd among calls, and why.
//!
//! Four signs, each known from real bills. **Many short calls to one place**: somebody earns by the call, at a premium
//! number or a complicit carrier. **Calls at night**, to expensive places, by those who call there by day seldom or
//! never: a broken-into PBX is used when nobody is there. **Many failed attempts** within an hour: somebody tries out
//! what a dial plan permits. **Destinations never seen before**: the first call of what may become the other three.
//! None of them is proof; each says what it was drawn from.
//!
//! Records are gone over once, the oldest first; what is remembered meanwhile is bounded by [`MAX_KEYS`].

use std::collections::{HashMap, VecDeque};

use callgate_api::history::{Finding, HistoryFilter};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::store::{Error, FraudRow, Store};

/// Callers and destinations that are told apart; further ones are not looked at.
pub const MAX_KEYS: usize = 100_000;

/// What is looked at unless the question says otherwise.
const WINDOW_MS: u64 = 7 * 86_400_000;
/// A call as short as this is one that nobody meant to talk in.
const SHORT_MS: u64 = 60_000;
/// So many of them to one place are worth a look.
const SHORT_CALLS: u64 = 10;
/// Night, in hours: from, and until.
const NIGHT: (i8, i8) = (22, 6);
/// So many calls at night are worth a look …
const NIGHT_CALLS: u64 = 5;
/// … where they are more than this share of a caller's calls of that class, in percent.
const NIGHT_SHARE: u64 = 50;
/// So many failures …
const FAILURES: usize = 20;
/// … within this time are worth a look.
const FAILURE_MS: u64 = 3_600_000;
/// A destination is new if it was first seen this long before the end of the window.
const NEW_MS: u64 = 86_400_000;
/// Nothing is new to a history that is younger than this.
const KNOWN_MS: u64 = 2 * 86_400_000;
/// The digits of a number that name its country or area.
const AREA: usize = 6;
/// Digits at the end of a number that tell subscribers of one place apart.
const SUBSCRIBER: usize = 4;

/// Classes of calls that cost nothing much: they are not looked at for where they go to.
const CHEAP: [&str; 5] = ["emergency", "information", "internal", "local", "toll-free"];

/// Looks at the records that are wanted: those of the last week unless the filter says since when.
///
/// # Errors
/// [`Error`]: the database.
pub fn examine(
    store: &mut Store,
    filter: HistoryFilter,
    zone: &TimeZone,
    now_ms: u64,
) -> Result<Vec<Finding>, Error> {
    let since_ms = filter.since_ms.unwrap_or_else(|| now_ms.saturating_sub(WINDOW_MS));
    let until_ms = filter.until_ms.unwrap_or(now_ms);
    let mut examiner = Examiner::new(zone.clone(), since_ms, until_ms);
    // What came before tells what is new.
    store.each(&HistoryFilter { since_ms: None, ..filter }, |row| {
        examiner.take(row);
        Ok(())
    })?;
    Ok(examiner.findings())
}

/// Goes over calls in the order they began.
#[derive(Debug)]
pub struct Examiner {
    zone: TimeZone,
    since_ms: u64,
    until_ms: u64,
    /// When the first call of all began.
    oldest_ms: Option<u64>,
    /// By caller and place.
    short: HashMap<(String, String), Tally>,
    /// By caller and class: of all, and of those at night.
    night: HashMap<(String, String), [Tally; 2]>,
    failures: HashMap<String, Failures>,
    /// By area: its first call, and since then.
    areas: HashMap<String, Area>,
    /// The hour that was looked up last, and whether it is at night.
    hour: (u64, bool),
}

/// How many, from when to when.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u64,
    first_ms: u64,
    last_ms: u64,
    duration_ms: u64,
}

/// A caller's failed attempts: those of the last hour, and the worst hour.
#[derive(Debug, Default)]
struct Failures {
    recent: VecDeque<(u64, u64)>,
    worst: Tally,
    refused: u64,
    numbers: usize,
}

#[derive(Debug)]
struct Area {
    tally: Tally,
    class: String,
    caller: String,
}

impl Tally {
    fn add(&mut self, row: &FraudRow) {
        if self.calls == 0 {
            self.first_ms = row.started_ms;
        }
        self.calls += 1;
        self.last_ms = row.started_ms;
        self.duration_ms = self.duration_ms.saturating_add(row.duration_ms);
    }
}

impl Examiner {
    /// Looks at what began within these moments; what began before tells what is new.
    pub fn new(zone: TimeZone, since_ms: u64, until_ms: u64) -> Self {
        Self {
            zone,
            since_ms,
            until_ms,
            oldest_ms: None,
            short: HashMap::new(),
            night: HashMap::new(),
            failures: HashMap::new(),
            areas: HashMap::new(),
            hour: (u64::MAX, false),
        }
    }

    /// Looks at a call.
    pub fn take(&mut self, row: &FraudRow) {
        if row.emergency || row.started_ms >= self.until_ms {
            return;
        }
        self.oldest_ms.get_or_insert(row.started_ms);
        let costly = !CHEAP.contains(&row.permission.as_str()) && is_number(&row.called);
        if costly && !row.refused {
            self.take_area(row);
        }
        if row.started_ms < self.since_ms {
            return;
        }
        if !row.answered {
            return self.take_failure(row);
        }
        if !costly {
            return;
        }
        if row.duration_ms <= SHORT_MS {
            let key = (row.caller.clone(), place(&row.called).to_owned());
            if let Some(tally) = known(&mut self.short, key) {
                tally.add(row);
            }
        }
        let at_night = self.is_night(row.started_ms);
        if let Some([all, night]) = known(&mut self.night, (row.caller.clone(), row.permission.clone())) {
            all.add(row);
            if at_night {
                night.add(row);
            }
        }
    }

    fn take_area(&mut self, row: &FraudRow) {
        let area: String = row.called.chars().take(AREA + usize::from(row.called.starts_with('+'))).collect();
        let room = self.areas.len() < MAX_KEYS;
        match self.areas.get_mut(&area) {
            Some(known) => known.tally.add(row),
            None if room => {
                let mut tally = Tally::default();
                tally.add(row);
                self.areas
                    .insert(area, Area { tally, class: row.permission.clone(), caller: row.caller.clone() });
            }
            None => {}
        }
    }

    fn take_failure(&mut self, row: &FraudRow) {
        let Some(failures) = known(&mut self.failures, row.caller.clone()) else { return };
        failures.refused += u64::from(row.refused);
        while failures.recent.front().is_some_and(|(at, _)| at + FAILURE_MS < row.started_ms) {
            failures.recent.pop_front();
        }
        // More would say no more: the hour is long since a bad one.
        if failures.recent.len() < 16 * FAILURES {
            failures.recent.push_back((row.started_ms, digest(&row.called)));
        }
        let calls = failures.recent.len() as u64;
        if calls > failures.worst.calls {
            let first_ms = failures.recent.front().map_or(row.started_ms, |(at, _)| *at);
            failures.worst = Tally { calls, first_ms, last_ms: row.started_ms, duration_ms: 0 };
            if calls as usize >= FAILURES {
                let mut numbers: Vec<u64> = failures.recent.iter().map(|(_, number)| *number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                failures.numbers = numbers.len();
            }
        }
    }

    /// Whether a moment is at night, where the rules are at home.
    fn is_night(&mut self, ms: u64) -> bool {
        // A quarter of an hour is the least that time zones differ by.
        let quarter = ms / 900_000;
        if self.hour.0 != quarter {
            let hour = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let hour = hour.map_or(12, |moment| moment.to_zoned(self.zone.clone()).hour());
            self.hour = (quarter, hour >= NIGHT.0 || hour < NIGHT.1);
        }
        self.hour.1
    }

    /// What looks odd, the oddest first.
    pub fn findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((caller, place), tally) in &self.short {
            if tally.calls >= SHORT_CALLS {
                let mean = tally.duration_ms / tally.calls / 1_000;
                let why = format!(
                    "{} calls of at most {} s to {place}…, {mean} s on average: somebody may earn by the call",
                    tally.calls,
                    SHORT_MS / 1_000
                );
                findings.push(finding("short-calls", caller, tally, score(tally.calls, SHORT_CALLS), why));
            }
        }
        for ((caller, class), [all, night]) in &self.night {
            let share = night.calls * 100 / all.calls.max(1);
            if night.calls >= NIGHT_CALLS && share > NIGHT_SHARE {
                let class = if class.is_empty() { "outside" } else { class };
                let why = format!(
                    "{} {class} calls between {}:00 and {:02}:00, {share} % of this caller's, {} min in all: is anybody \
                     there at night?",
                    night.calls,
                    NIGHT.0,
                    NIGHT.1,
                    night.duration_ms / 60_000
                );
                findings.push(finding("night-calls", caller, night, score(night.calls, NIGHT_CALLS), why));
            }
        }
        for (caller, failures) in &self.failures {
            if failures.worst.calls as usize >= FAILURES {
                let why = format!(
                    "{} attempts failed within an hour, at {} numbers; {} of the window were refused here: somebody may \
                     try out what is permitted",
                    failures.worst.calls, failures.numbers, failures.refused
                );
                let score = score(failures.worst.calls, FAILURES as u64);
                findings.push(finding("failed-attempts", caller, &failures.worst, score, why));
            }
        }
        let new_from = self.until_ms.saturating_sub(NEW_MS).max(self.since_ms);
        let is_known = self.oldest_ms.is_some_and(|oldest| oldest + KNOWN_MS <= new_from);
        for (area, Area { tally, class, caller }) in &self.areas {
            if is_known && tally.first_ms >= new_from {
                let class = if class.is_empty() { "a destination" } else { class };
                let why = format!(
                    "{class}: never called before, {} since, first by {caller}, {} min in all",
                    if tally.calls == 1 { "once".to_owned() } else { format!("{} times", tally.calls) },
                    tally.duration_ms / 60_000
                );
                findings.push(finding(
                    "first-seen",
                    &format!("{area}…"),
                    tally,
                    score(tally.calls, 5).min(60),
                    why,
                ));
            }
        }
        findings.sort_by(|one, other| {
            (other.score, other.calls, &one.subject).cmp(&(one.score, one.calls, &other.subject))
        });
        findings
    }
}

fn finding(kind: &str, subject: &str, tally: &Tally, score: u8, why: String) -> Finding {
    Finding {
        kind: kind.to_owned(),
        subject: subject.to_owned(),
        score,
        calls: tally.calls,
        first_ms: tally.first_ms,
        last_ms: tally.last_ms,
        why,
    }
}

/// 20 for as many as are worth a look, 100 for five times as many.
fn score(calls: u64, least: u64) -> u8 {
    u8::try_from((calls * 20 / least).clamp(1, 100)).unwrap_or(100)
}

/// The value of a key, if it has one or there is room for it.
fn known<K: std::hash::Hash + Eq, V: Default>(map: &mut HashMap<K, V>, key: K) -> Option<&mut V> {
    if map.len() >= MAX_KEYS && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_default())
}

/// A number as it goes out: digits, and long enough to leave the house.
fn is_number(called: &str) -> bool {
    let digits = called.strip_prefix('+').unwrap_or(called);
    digits.len() > AREA && digits.chars().all(|c| c.is_ascii_digit() || c == 'x')
}

/// A number without what tells subscribers of one place apart.
fn place(called: &str) -> &str {
    called.get(..called.len().saturating_sub(SUBSCRIBER)).unwrap_or(called)
}

fn digest(text: &str) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const HOUR: u64 = 3_600_000;
    /// 2026-11-16, a Monday, 00:00 UTC.
    const MONDAY: u64 = 1_794_787_200_000;

    fn call(caller: &str, called: &str, at: u64, seconds: u64) -> FraudRow {
        FraudRow {
            caller: caller.to_owned(),
            called: called.to_owned(),
            permission: "premium".to_owned(),
            started_ms: at,
            duration_ms: seconds * 1_000,
            answered: true,
            refused: false,
            emergency: false,
        }
    }

    fn found(rows: &[FraudRow]) -> Vec<(String, String, u64)> {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| row.started_ms);
        let mut examiner = Examiner::new(TimeZone::UTC, MONDAY, MONDAY + 7 * DAY);
        rows.iter().for_each(|row| examiner.take(row));
        let findings = examiner.findings();
        assert!(findings.is_sorted_by_key(|finding| std::cmp::Reverse(finding.score)));
        findings.into_iter().map(|finding| (finding.kind, finding.subject, finding.calls)).collect()
    }

    fn noon(day: u64) -> u64 {
        MONDAY + day * DAY + 12 * HOUR
    }

    fn is(kind: &str, subject: &str, calls: u64) -> Vec<(String, String, u64)> {
        vec![(kind.to_owned(), subject.to_owned(), calls)]
    }

    #[test]
    fn many_short_calls_to_one_place_are_odd() {
        let calls = |n: u64, seconds| -> Vec<FraudRow> {
            (0..n)
                .map(|i| call("2001", &format!("1900555{:04}", i * 7), noon(0) + i * 60_000, seconds))
                .collect()
        };
        assert_eq!(found(&calls(12, 20)), is("short-calls", "2001", 12));
        assert!(found(&calls(9, 20)).is_empty(), "too few");
        assert!(found(&calls(12, 61)).is_empty(), "not short");
        let elsewhere: Vec<_> = (0..12)
            .map(|i| call("2001", &format!("1{}5551234", 200 + i), noon(0) + i * 60_000, 20))
            .collect();
        assert!(found(&elsewhere).is_empty(), "not to one place");
        for other in ["local", "emergency"] {
            let cheap: Vec<_> = calls(30, 20)
                .into_iter()
                .map(|row| FraudRow { permission: other.to_owned(), ..row })
                .collect();
            assert!(found(&cheap).is_empty(), "{other}");
        }
    }

    #[test]
    fn calls_at_night_are_odd_to_those_who_sleep() {
        let at = |hour: u64| -> Vec<FraudRow> {
            (0..6)
                .map(|day| {
                    call("2002", &format!("1{}5551234", 300 + day), MONDAY + day * DAY + hour * HOUR, 600)
                })
                .collect()
        };
        assert_eq!(found(&at(23)), is("night-calls", "2002", 6));
        assert_eq!(found(&at(5)), is("night-calls", "2002", 6));
        assert!(found(&at(6)).is_empty());
        assert!(found(&at(21)).is_empty());
        assert!(found(&[at(23), at(12)].concat()).is_empty(), "he calls there by day as often");
        let mut elsewhere = Examiner::new(TimeZone::fixed(jiff::tz::offset(-5)), MONDAY, MONDAY + 7 * DAY);
        at(2).iter().for_each(|row| elsewhere.take(row));
        assert!(elsewhere.findings().is_empty(), "it is 21:00 there");
    }

    #[test]
    fn many_failures_within_an_hour_are_odd() {
        let attempts = |n: u64, apart: u64| -> Vec<FraudRow> {
            let attempt = |i: u64| FraudRow {
                answered: false,
                refused: i.is_multiple_of(2),
                ..call("10.9.9.9", &format!("9011{i}5551234"), noon(0) + i * apart, 0)
            };
            (0..n).map(attempt).collect()
        };
        assert_eq!(found(&attempts(25, 10_000)), is("failed-attempts", "10.9.9.9", 25));
        assert!(found(&attempts(19, 10_000)).is_empty());
        assert!(found(&attempts(40, 300_000)).is_empty(), "a dozen an hour");
    }

    #[test]
    fn a_destination_is_new_to_a_history_that_would_know_it() {
        let last_day = MONDAY + 6 * DAY + 12 * HOUR;
        let new = call("2003", "0119715551234", last_day, 60);
        let before: Vec<_> = (0..6).map(|day| call("2001", "12125551234", noon(day), 600)).collect();
        assert_eq!(found(&[before.clone(), vec![new.clone()]].concat()), is("first-seen", "011971…", 1));
        assert!(found(std::slice::from_ref(&new)).is_empty(), "the history is too young to tell");
        let seen = call("2001", "0119715559999", MONDAY - 5 * DAY, 60);
        assert!(
            found(&[before.clone(), vec![seen, new.clone()]].concat()).is_empty(),
            "seen before the window"
        );
        let refused = FraudRow { refused: true, answered: false, ..new.clone() };
        assert!(found(&[before.clone(), vec![refused]].concat()).is_empty());
        let emergency = FraudRow { emergency: true, ..new };
        assert!(found(&[before, vec![emergency]].concat()).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut examiner = Examiner::new(TimeZone::UTC, MONDAY, MONDAY + 7 * DAY);
        for i in 0..MAX_KEYS as u64 + 10 {
            examiner.take(&call(&i.to_string(), &format!("{:012}", i * 10_000_000), noon(0), 10));
        }
        assert_eq!((examiner.short.len(), examiner.night.len()), (MAX_KEYS, MAX_KEYS));
        assert!(examiner.areas.len() <= MAX_KEYS);
    }
}
