//! `[[policy.after_hours]]`: what is blocked when.

use std::collections::HashMap;

use callgate_policy::hours::{Day, Hours};
use callgate_policy::spec::{Block, Spec};
use callgate_policy::{Reach, hours};
use jiff::civil::Date;

use super::super::checker::{Checker, Section, Value, Word};
use super::super::rule::when;
use super::super::settings::{set, time_zone};
use super::{Scope, list, name, numbers};
use crate::Severity;
use crate::files::Files;
use crate::schedule::Schedule;
use crate::suggest::suggest;

/// Keys of a block.
pub(crate) const KEYS: [&str; 8] =
    ["allow", "dates", "exempt", "name", "patterns", "pin", "time_zone", "when"];

/// Blocks of a file, at most: each is asked for every call.
const MOST: usize = 64;

pub(super) fn after_hours(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    scope: &Scope<'_, '_, impl Files>,
    spec: &mut Spec,
) {
    let mut seen = HashMap::new();
    for section in list(checker, section, "after_hours") {
        checker.known_keys(&section, &KEYS);
        if spec.blocks.len() == MOST {
            checker.error(&section.span, format!("there can be at most {MOST} blocks"));
            return;
        }
        let mut block = Block {
            name: name(checker, &section, "after_hours", &mut seen).unwrap_or_default(),
            patterns: Vec::new(),
            allow: Vec::new(),
            hours: Hours::always(),
            time_zone: None,
            exempt: Vec::new(),
            pin: false,
        };
        if section.get("patterns").is_none() {
            checker.error_with(&section.span, "nothing is blocked", "add `patterns = [\"9011\", …]`");
        }
        for (key, value) in section.entries() {
            let key: &str = key.get_ref();
            match key {
                "patterns" => {
                    block.patterns = numbers::patterns(checker, value, key, Reach::Prefix, scope.files).0;
                }
                "allow" => block.allow = numbers::patterns(checker, value, key, Reach::Prefix, scope.files).0,
                "exempt" => block.exempt = exempt(checker, value, spec),
                "pin" => set(&mut block.pin, checker.boolean(key, value)),
                "time_zone" => block.time_zone = time_zone(checker, value),
                _ => {}
            }
        }
        let week = section.get("when").map(|value| when(checker, value));
        let days = section.get("dates").map(|value| dates(checker, value));
        block.hours = match (week, days) {
            (None, None) | (Some(None), _) => Hours::always(),
            (week, days) => {
                let minutes = week.flatten();
                Hours::new(minutes.iter().flat_map(Schedule::minutes), days.unwrap_or_default())
            }
        };
        spec.blocks.push(block);
    }
}

/// Callers by their names.
fn exempt(checker: &mut Checker<'_>, value: &Value<'_>, spec: &Spec) -> Vec<usize> {
    let mut places = Vec::new();
    for word in checker.strings("exempt", value) {
        match spec.callers.iter().position(|caller| &*caller.name == word.text) {
            Some(place) => places.push(place),
            None => {
                let message = format!("there is no caller `{}`", word.text);
                let known = spec.callers.iter().map(|caller| &*caller.name);
                checker.add(Severity::Error, &word.span, message, suggest(word.text, known));
            }
        }
    }
    places
}

/// Holidays: `12-25` every year, `2026-11-26` once, either with a part of the day behind it.
pub(super) fn dates(checker: &mut Checker<'_>, value: &Value<'_>) -> Vec<hours::Day> {
    let words = checker.strings("dates", value);
    words.iter().filter_map(|word| day(checker, word)).collect()
}

fn day(checker: &mut Checker<'_>, word: &Word<'_>) -> Option<Day> {
    let (date, time) = word.text.trim().split_once(' ').map_or((word.text, None), |(d, t)| (d, Some(t)));
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() == 2);
    let parts: Vec<&str> = date.split('-').collect();
    let read = match parts[..] {
        // In a leap year there is every day there can be.
        [month, day] => number(month).zip(number(day)).map(|(month, day)| (None, 2024, month, day)),
        [year, month, day] => {
            let year = year.parse::<i16>().ok().filter(|_| year.len() == 4);
            year.zip(number(month))
                .zip(number(day))
                .map(|((year, month), day)| (Some(year), year, month, day))
        }
        _ => None,
    };
    let read = read.filter(|(_, year, month, day)| Date::new(*year, *month, *day).is_ok());
    let Some((year, _, month, day)) = read else {
        let message = format!("`{}` is no date", word.text);
        let hint =
            "write `12-25` for every year, `2026-11-26` for one, `12-24 12:00-24:00` for a part of the day";
        checker.error_with(&word.span, message, hint);
        return None;
    };
    let minutes = match time.map(str::trim) {
        None => 0..24 * 60,
        Some(time) => match Schedule::of_day(time) {
            Ok((from, to)) if from < to => from..to,
            Ok(_) => {
                let hint = "a time that goes past midnight is of two dates: write both";
                checker.error_with(&word.span, format!("`{time}` goes past the end of the day"), hint);
                return None;
            }
            Err(mistake) => {
                checker.mistake(&word.span, mistake);
                return None;
            }
        },
    };
    Some(Day { year, month, day, minutes })
}
