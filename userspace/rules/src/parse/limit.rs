//! `limit`, and rates.

use callgate_shared::limit::Unit;
use toml::de::DeValue;

use super::checker::{Checker, Section, Value};
use super::rule::{Verb, only_with};
use crate::ruleset::{Above, Limit, Per, Period};

/// Keys of a rule's `limit`.
pub(super) const KEYS: [&str; 6] = ["above", "burst", "bytes", "new", "packets", "per"];
/// Keys of its `per`, where that is a table.
pub(super) const PER: [&str; 1] = ["source_prefix"];
/// Keys of its `above`, where that is a table.
pub(super) const ABOVE: [&str; 1] = ["block"];

pub(super) fn limit(checker: &mut Checker<'_>, rule: &Section<'_>, verb: Option<Verb>) -> Option<Limit> {
    let value = rule.get("limit")?;
    let section = checker.table("limit", value)?;
    checker.known_keys(&section, &KEYS);
    if matches!(verb, Some(Verb::Drop | Verb::Reject)) {
        only_with(checker, rule, "limit", "an action that lets packets by");
    }
    let per = section.get("per").map_or(Some(Per::Rule), |value| per(checker, value));
    let above = section.get("above").map_or(Some(Above::Drop), |value| above(checker, value, per));
    let counted = counted(checker, &section);
    if let Some((Unit::New, rate)) = counted
        && verb == Some(Verb::Pass)
    {
        let message = "`pass` remembers no flows, so none is new";
        checker.error_with(&rate.span(), message, "write `packets = …`, or `action = \"track\"`");
    }
    let (unit, rate) = counted?;
    let (events, burst, period) = if unit == Unit::Bytes {
        let rate = byte_rate(checker, rate);
        let burst = section.get("burst").map(|value| byte_burst(checker, value));
        let (events, period) = rate?;
        (events, burst.unwrap_or(Some(events.min(Limit::MOST_BURST_BYTES)))?, period)
    } else {
        let rate = self::rate(checker, rate);
        let burst = section.get("burst").map(|value| checker.integer("burst", value, 1..=Limit::MOST_BURST));
        let (events, period) = rate?;
        (events.into(), burst.unwrap_or(Some(events.min(Limit::MOST_BURST)))?.into(), period)
    };
    Some(Limit { unit, events, period, burst, per: per?, above: above? })
}

/// What is counted, and its rate.
fn counted<'v>(checker: &mut Checker<'_>, section: &Section<'v>) -> Option<(Unit, &'v Value<'v>)> {
    let units = [("new", Unit::New), ("packets", Unit::Packets), ("bytes", Unit::Bytes)];
    let mut rates = units.into_iter().filter_map(|(key, unit)| Some((unit, section.get(key)?)));
    let first = rates.next();
    if let Some((_, other)) = rates.next() {
        checker.error(&other.span(), "a limit counts `new` flows, `packets` or `bytes`: one of them");
        return None;
    }
    if first.is_none() {
        checker.error_with(
            &section.span,
            "the limit has no rate",
            "write `new = \"20/s\"`, `packets = \"10/s\"` or `bytes = \"10MB/s\"`",
        );
    }
    first
}

/// A word, or `{ source_prefix = [24, 64] }`.
fn per(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Per> {
    if !value.get_ref().is_table() {
        let options = [("rule", Per::Rule), ("source", Per::Source), ("destination", Per::Destination)];
        return checker.choice("per", value, &options);
    }
    let section = checker.table("per", value)?;
    checker.known_keys(&section, &PER);
    let lengths = section.get("source_prefix");
    let span = lengths.map_or(section.span.clone(), |value| value.span());
    let list = lengths.and_then(|value| match value.get_ref() {
        DeValue::Array(list) => Some(list),
        _ => None,
    });
    let mut list = list.into_iter().flat_map(|list| list.iter());
    let (Some(v4), Some(v6), None) = (list.next(), list.next(), list.next()) else {
        checker.error_with(
            &span,
            "`source_prefix` is the lengths of an IPv4 and an IPv6 prefix",
            "write `per = { source_prefix = [24, 64] }`",
        );
        return None;
    };
    let v4 = checker.integer("source_prefix", v4, 1..=32);
    let v6 = checker.integer("source_prefix", v6, 1..=128);
    Some(Per::SourcePrefix(u8::try_from(v4?).ok()?, u8::try_from(v6?).ok()?))
}

/// `"drop"`, or `{ block = "10m" }`.
fn above(checker: &mut Checker<'_>, value: &Value<'_>, per: Option<Per>) -> Option<Above> {
    if !value.get_ref().is_table() {
        return checker.choice("above", value, &[("drop", Above::Drop)]);
    }
    let section = checker.table("above", value)?;
    checker.known_keys(&section, &ABOVE);
    let Some(time) = section.get("block") else {
        checker.error_with(
            &section.span,
            "what is done above the limit?",
            "write `above = { block = \"10m\" }`",
        );
        return None;
    };
    if per.is_some_and(|per| !matches!(per, Per::Source | Per::SourcePrefix(..))) {
        checker.error_with(
            &value.span(),
            "the source that comes too late would be blocked for what others have sent",
            "add `per = \"source\"`",
        );
    }
    checker.duration("block", time).map(Above::Block)
}

/// `"20/s"`, `"100/min"`, `"1000/h"`.
pub(super) fn rate(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<(u32, Period)> {
    let word = checker.string("rate", value)?;
    let read = word.text.split_once('/').and_then(|(events, period)| {
        let events = number(events)?;
        let events = u32::try_from(events).ok().filter(|events| (1..=Limit::MOST_EVENTS).contains(events))?;
        Some((events, self::period(period)?))
    });
    if read.is_none() {
        let message = format!("`{}` is not a rate", word.text);
        let most = Limit::MOST_EVENTS;
        checker.error_with(&word.span, message, format!("write `20/s`, `100/min` or `1000/h`: 1 to {most}"));
    }
    read
}

/// `"10MB/s"`, `"128kbit/s"`: bytes in a period.
fn byte_rate(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<(u64, Period)> {
    let word = checker.string("bytes", value)?;
    let read = word.text.split_once('/').and_then(|(bytes, period)| {
        let bytes =
            bytes_of(bytes).filter(|bytes| (Limit::LEAST_BYTES..=Limit::MOST_BYTES).contains(bytes))?;
        Some((bytes, self::period(period)?))
    });
    if read.is_none() {
        let message = format!("`{}` is not a rate of bytes", word.text);
        checker.error_with(
            &word.span,
            message,
            "write `10MB/s` or `128kbit/s`: 1KB to 40GB in a `s`, `min` or `h`",
        );
    }
    read
}

/// `"64KB"`.
fn byte_burst(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<u64> {
    if let DeValue::Integer(number) = value.get_ref() {
        let message = "a burst of bytes has a unit";
        checker.error_with(&value.span(), message, format!("did you mean `\"{number}B\"`?"));
        return None;
    }
    let word = checker.string("burst", value)?;
    let read = bytes_of(word.text).filter(|bytes| (1..=Limit::MOST_BURST_BYTES).contains(bytes));
    if read.is_none() {
        let message = format!("`{}` is not a number of bytes", word.text);
        checker.error_with(&word.span, message, "write `64KB` or `1MB`: at most 1GB");
    }
    read
}

/// A number and a unit; units count by thousands, eight bits are a byte.
fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (unit, bits) = match unit.trim_start() {
        unit if unit.ends_with("bit") => (unit.strip_suffix("bit")?, 8),
        unit => (unit.strip_suffix('B')?, 1),
    };
    let unit: u64 = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    };
    Some(number(digits)?.checked_mul(unit)? / bits)
}

fn number(digits: &str) -> Option<u64> {
    let digits = digits.trim();
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn period(text: &str) -> Option<Period> {
    match text.trim() {
        "s" => Some(Period::Second),
        "m" | "min" => Some(Period::Minute),
        "h" => Some(Period::Hour),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_of;

    #[test]
    fn reads_numbers_of_bytes() {
        let read = ["64KB", "64 kB", "10MB", "128kbit", "8bit", "1Gbit", "1500B"].map(bytes_of);
        assert_eq!(read, [64_000, 64_000, 10_000_000, 16_000, 1, 125_000_000, 1_500].map(Some));
        let wrong =
            ["", "64", "KB", "64KiB", "64K", "-1B", "1.5MB", "99999999999999999999GB", "20000000000GB"];
        assert_eq!(wrong.map(bytes_of), [None; 9]);
    }
}
