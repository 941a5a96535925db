//! `vlan` and `dscp`.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::addresses::empty_list;
use super::checker::{Checker, Value};
use crate::diagnostic::Severity;
use crate::suggest::suggest;

/// Ids a frame can carry (IEEE 802.1Q section 9.6: 4095 is reserved), and 0 for a frame without a tag.
const VLANS: RangeInclusive<u32> = 0..=4_094;

/// Per-hop behaviours (RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622).
const DSCPS: [(&str, u8); 24] = [
    ("default", 0),
    ("le", 1),
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("voice-admit", 44),
    ("ef", 46),
];

/// Numbers and ranges, as in `[100, "200-210"]`: ascending and disjoint.
pub(super) fn vlans(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let items = Checker::items(value);
    empty_list(checker, "vlan", value, items.is_empty());
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for item in items {
        if !item.get_ref().is_str() {
            ranges.extend(checker.integer("vlan", item, VLANS).map(|id| id..=id));
            continue;
        }
        let Some(word) = checker.string("vlan", item) else { continue };
        let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
        match (id(first), id(last)) {
            (Some(first), Some(last)) if first <= last => ranges.push(first..=last),
            (Some(first), Some(last)) => {
                let message = format!("the range `{}` is empty", word.text);
                checker.error_with(&word.span, message, format!("did you mean `{last}-{first}`?"));
            }
            _ => checker.error_with(
                &word.span,
                format!("`{}` is not a VLAN", word.text),
                "write ids 1 to 4094, ranges `\"200-210\"`, or 0 for frames without a tag",
            ),
        }
    }
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut joined: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        let (first, last) = (u16::try_from(*range.start()).ok()?, u16::try_from(*range.end()).ok()?);
        match joined.last_mut() {
            Some(before) if first <= before.end() + 1 => *before = *before.start()..=last.max(*before.end()),
            _ => joined.push(first..=last),
        }
    }
    (!joined.is_empty()).then_some(joined)
}

fn id(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| VLANS.contains(id))
}

/// Names and numbers, as in `["ef", 26]`: a bit each.
pub(super) fn dscps(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<u64> {
    let items = Checker::items(value);
    empty_list(checker, "dscp", value, items.is_empty());
    let mut bits = 0;
    for item in items {
        let number = dscp(checker, "dscp", item);
        bits |= number.map_or(0, |number| 1_u64 << number);
    }
    (bits != 0).then_some(bits)
}

/// A name or a number.
pub(super) fn dscp(checker: &mut Checker<'_>, what: &str, item: &Value<'_>) -> Option<u8> {
    let DeValue::String(text) = item.get_ref() else {
        return checker.integer(what, item, 0..=63).and_then(|number| u8::try_from(number).ok());
    };
    let named = DSCPS.iter().find(|(name, _)| *name == text.as_ref()).map(|(_, number)| *number);
    if named.is_none() {
        let suggestion = match text.parse::<u32>() {
            Ok(number) => Some(format!("did you mean `{number}`, without quotes?")),
            Err(_) => suggest(text, DSCPS.iter().map(|(name, _)| *name)),
        };
        checker.add(Severity::Error, &item.span(), format!("there is no DSCP `{text}`"), suggestion);
    }
    named
}
