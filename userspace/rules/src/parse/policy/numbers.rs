//! Dial patterns, files of them, and how numbers are normalised.

use std::path::Path;

use callgate_policy::spec::{Rewrite, Spec};
use callgate_policy::{DialPattern, Reach};
use toml::de::DeValue;

use super::super::checker::{Checker, Section, Value, Word};
use super::super::sources::beside;
use super::list;
use crate::diagnostic::Place;
use crate::files::Files;

/// Keys of `[policy.country]`.
pub(crate) const COUNTRY: [&str; 4] = ["access", "code", "international", "national"];
/// Keys of a `[[policy.normalise]]`.
pub(crate) const NORMALISE: [&str; 3] = ["pattern", "prefix", "strip"];
/// Keys of a list that is taken from a file.
pub(crate) const FILE: [&str; 1] = ["file"];

/// Patterns of one list, at most.
const MOST: usize = 1_000_000;

/// Goes over the words of a list, or of a file: `{ file = "premium.txt" }`, a word in each line; `#` at its
/// head or behind a blank begins a comment. Ends where it is told `false`.
pub(super) fn each(
    checker: &mut Checker<'_>,
    value: &Value<'_>,
    what: &str,
    files: &impl Files,
    mut word: impl FnMut(&mut Checker<'_>, &Word<'_>) -> bool,
) {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        let words = checker.strings(what, value);
        if words.is_empty() && value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
            checker.error_with(&value.span(), format!("`{what}` is empty"), "leave it out");
        }
        for item in &words {
            word(checker, item);
        }
        return;
    }
    let Some(section) = checker.table(what, value) else { return };
    checker.known_keys(&section, &FILE);
    let Some(value) = section.get("file") else {
        let message = format!("`{what}` has no `file`");
        checker.error_with(&section.span, message, "write a list, or `{ file = \"…\" }`");
        return;
    };
    let Some(name) = checker.string("file", value) else { return };
    let Some(by) = checker.current() else { return };
    let path = beside(Path::new(by.name()), name.text);
    let back = checker.file();
    let Some(file) = checker.read(files, &path, &name.span) else { return };
    checker.enter(file);
    let text = checker.source(file).map_or("", |source| source.text());
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset + (line.len() - line.trim_start().len());
        offset += line.len();
        let mut words = line.split_whitespace();
        let Some(text) = words.next().filter(|text| !text.starts_with('#')) else { continue };
        let member = Word { text, span: start..start + text.len() };
        if let Some(more) = words.next().filter(|more| !more.starts_with('#')) {
            let message = format!("a line has one word: `{more}` is a second");
            checker.error_with(
                &member.span,
                message,
                "write each into a line of its own; `#` begins a comment",
            );
            break;
        }
        if !word(checker, &member) {
            break;
        }
    }
    checker.enter(back);
}

/// Dial patterns, and where each is written.
pub(super) fn patterns(
    checker: &mut Checker<'_>,
    value: &Value<'_>,
    what: &str,
    reach: Reach,
    files: &impl Files,
) -> (Vec<DialPattern>, Vec<Place>) {
    let (mut patterns, mut places) = (Vec::new(), Vec::new());
    each(checker, value, what, files, |checker, word| {
        let Some(pattern) = pattern(checker, word, reach) else { return false };
        if patterns.len() == MOST {
            checker.error(&word.span, format!("`{what}` has more than {MOST} patterns"));
            return false;
        }
        patterns.push(pattern);
        places.push(checker.place(&word.span));
        true
    });
    (patterns, places)
}

fn pattern(checker: &mut Checker<'_>, word: &Word<'_>, reach: Reach) -> Option<DialPattern> {
    let read = DialPattern::read(word.text, reach);
    if let Err(error) = &read {
        let dots = word.text.replace(['X', 'x', 'N', 'n'], ".");
        let hint = if dots != word.text && DialPattern::read(&dots, reach).is_ok() {
            format!("did you mean `{dots}`?")
        } else {
            "write as in `9011T`, `91[2-9]..`, `+44T` or `911$`".to_owned()
        };
        checker.error_with(&word.span, format!("`{}` is no dial pattern: {error}", word.text), hint);
    }
    read.ok()
}

/// `country` and `[[policy.normalise]]`.
pub(super) fn normalise(checker: &mut Checker<'_>, section: &Section<'_>, spec: &mut Spec) {
    for section in list(checker, section, "normalise") {
        checker.known_keys(&section, &NORMALISE);
        let Some(value) = section.get("pattern") else {
            checker.error_with(&section.span, "which numbers?", "add `pattern = \"9011T\"`");
            continue;
        };
        let Some(word) = checker.string("pattern", value) else { continue };
        let pattern = pattern(checker, &word, Reach::Prefix);
        let strip = section.get("strip").map_or(Some(0), |value| checker.integer("strip", value, 0..=32));
        let prefix = section.get("prefix").map_or(Some(""), |value| digits(checker, "prefix", value, true));
        let (Some(pattern), Some(strip), Some(prefix)) = (pattern, strip, prefix) else { continue };
        if strip as usize > pattern.places().len() {
            let message =
                format!("`strip` takes more than the {} characters of `pattern`", pattern.places().len());
            checker.error(&section.span, message);
        } else if strip == 0 && prefix.is_empty() {
            checker.error_with(&section.span, "nothing is changed", "add `strip` or `prefix`");
        }
        if spec.normalise.iter().any(|other| other.pattern == pattern) {
            checker.error(&word.span, format!("`{}` is normalised already", word.text));
        }
        let strip = u8::try_from(strip).unwrap_or(u8::MAX);
        spec.normalise.push(Rewrite { pattern, strip, prefix: prefix.into() });
    }
    if let Some(section) = section.get("country").and_then(|value| checker.table("country", value)) {
        country(checker, &section, spec);
    }
}

/// How the world and the country are dialled.
fn country(checker: &mut Checker<'_>, section: &Section<'_>, spec: &mut Spec) {
    checker.known_keys(section, &COUNTRY);
    let mut said = |key: &str| section.get(key).map(|value| digits(checker, key, value, false));
    let (code, international, national, access) =
        (said("code"), said("international"), said("national"), said("access"));
    let Some(code) = code else {
        checker.error_with(&section.span, "the country has no `code`", "add `code = \"49\"`, `\"1\"`, …");
        return;
    };
    let (Some(code), Some(international), Some(national), Some(access)) = (
        code,
        international.unwrap_or(Some("00")),
        national.unwrap_or(Some("0")),
        access.unwrap_or(Some("")),
    ) else {
        return;
    };
    if international == national {
        let message = "`international` and `national` are the same: nobody could tell which is dialled";
        checker.error(&section.span, message);
        return;
    }
    for (trunk, prefix) in [(international, "+".to_owned()), (national, format!("+{code}"))] {
        let dialled = format!("{access}{trunk}");
        // Digits are a pattern; a `[[policy.normalise]]` of the same numbers comes before.
        let Ok(pattern) = DialPattern::read(&dialled, Reach::Prefix) else { continue };
        if !spec.normalise.iter().any(|other| other.pattern == pattern) {
            let strip = u8::try_from(dialled.len()).unwrap_or(u8::MAX);
            spec.normalise.push(Rewrite { pattern, strip, prefix: prefix.into() });
        }
    }
}

/// 1 to 8 digits; `+` at their head where it may be.
fn digits<'v>(checker: &mut Checker<'_>, what: &str, value: &'v Value<'v>, plus: bool) -> Option<&'v str> {
    let word = checker.string(what, value)?;
    let digits = if plus { word.text.strip_prefix('+').unwrap_or(word.text) } else { word.text };
    let fits = digits.bytes().all(|byte| byte.is_ascii_digit() || b"*#".contains(&byte));
    if !fits || word.text.is_empty() || word.text.len() > 16 {
        let hint = if plus { "write 1 to 16 digits, perhaps behind a `+`" } else { "write 1 to 16 digits" };
        checker.error_with(&word.span, format!("`{what}` cannot be `{}`", word.text), hint);
        return None;
    }
    Some(word.text)
}
