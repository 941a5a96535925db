//! The `[policy]` table: who may call what.
//!
//! What the desk decides by is made here ([`callgate_policy::Plan`]), and it is made sure that no emergency
//! number is refused by it.

mod after_hours;
mod callers;
mod emergency;
mod fraud;
mod numbers;
mod permissions;
mod register;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callgate_policy::spec::{Limits, Spec, UnknownDevices, Unmatched};
use callgate_policy::{DialPattern, Plan, Reach};
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::addresses::Names;
use super::checker::{Checker, Root, Section, Value, Word};
use super::settings::set;
use crate::diagnostic::Place;
use crate::files::Files;
use crate::inspect::Pattern;
use crate::suggest::suggest;
use permissions::Permissions;

/// Keys of `[policy]`.
pub(super) const KEYS: [&str; 15] = [
    "after_hours",
    "caller",
    "country",
    "emergency",
    "fraud",
    "limits",
    "normalise",
    "permission",
    "pin_life",
    "pins",
    "refuse_with",
    "register",
    "strangers",
    "unknown_devices",
    "unmatched",
];
/// Keys of `[policy.limits]`, and of a caller's `each` and `together`.
pub(super) const LIMITS: [&str; 3] = ["calls", "calls_per_minute", "minutes_per_day"];

pub(super) use after_hours::KEYS as AFTER_HOURS;
pub(super) use callers::KEYS as CALLER;
pub(super) use fraud::{KEYS as FRAUD, POINTS};
pub(super) use numbers::{COUNTRY, FILE, NORMALISE};
pub(super) use permissions::KEYS as PERMISSION;
pub(super) use register::KEYS as REGISTER;

/// Calls there may be at a time, and minutes of a day and the like, at most.
const MOST: u32 = 1_000_000;
/// The longest a pin counts.
const LONGEST_PIN: Duration = Duration::from_secs(86_400);

/// What the tables of the policy refer to.
struct Scope<'s, 'v, F> {
    names: &'s Names<'s>,
    files: &'s F,
    permissions: Permissions<'v>,
}

/// The plan that the files say; `None` where none says anything.
pub(super) fn policy(
    checker: &mut Checker<'_>,
    roots: &[Root<'_>],
    names: &Names<'_>,
    time_zone: Option<&TimeZone>,
    files: &impl Files,
) -> Option<Arc<Plan>> {
    let mut tables: Vec<(usize, Section<'_>)> = Vec::new();
    for root in roots {
        checker.enter(root.file);
        let Some(section) = root.section.get("policy").and_then(|value| checker.table("policy", value))
        else {
            continue;
        };
        if let (Some((file, _)), Some(key)) = (tables.first(), root.section.key("policy")) {
            let first = checker.source(*file).map_or("", |source| source.name()).to_owned();
            checker.error_with(
                &key.span(),
                format!("`[policy]` stands in {first} already"),
                "one file has the whole of it: patterns and numbers can be taken from files of their own",
            );
            continue;
        }
        tables.push((root.file, section));
    }
    let (file, section) = tables.pop()?;
    checker.enter(file);
    let before = checker.errors();
    checker.known_keys(&section, &KEYS);
    let mut spec = Spec { time_zone: time_zone.cloned(), ..Spec::default() };
    let mut emergency_places = Vec::new();
    if let Some(value) = section.get("emergency") {
        (spec.emergency, emergency_places) =
            numbers::patterns(checker, value, "emergency", Reach::Whole, files);
    }
    let permissions = permissions::permissions(checker, &section, files, &mut spec);
    let scope = Scope { names, files, permissions };
    numbers::normalise(checker, &section, &mut spec);
    callers::callers(checker, &section, &scope, &mut spec);
    after_hours::after_hours(checker, &section, &scope, &mut spec);
    fraud::fraud(checker, &section, &scope, &mut spec);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "limits" => set(&mut spec.limits, limits(checker, key, value)),
            "strangers" => set(&mut spec.strangers, scope.permissions.set(checker, key, value)),
            "unmatched" => set(&mut spec.unmatched, unmatched(checker, value, &scope.permissions)),
            "pins" => spec.pins = numbers::patterns(checker, value, key, Reach::Whole, files).0,
            "pin_life" => set(&mut spec.pin_life, pin_life(checker, key, value)),
            "refuse_with" => {
                let options = [("forbidden", false), ("decline", true)];
                set(&mut spec.decline, checker.choice(key, value, &options));
            }
            "unknown_devices" => {
                let options = [
                    ("permit", UnknownDevices::Permit),
                    ("alarm", UnknownDevices::Alarm),
                    ("refuse", UnknownDevices::Refuse),
                ];
                set(&mut spec.unknown_devices, checker.choice(key, value, &options));
            }
            _ => {}
        }
    }
    register::register(checker, &section, &scope, &mut spec);
    pins(checker, &section, &spec);
    first_seen(checker, &section, &spec);
    everything(checker, &spec, &scope.permissions);
    let plan = Plan::new(spec);
    if checker.errors() == before {
        emergency::check(checker, &section, &plan, &emergency_places, &scope.permissions);
    }
    checker.enter(file);
    Some(Arc::new(plan))
}

/// A warning where the protocols that calls are signalled by are not read.
pub(super) fn unused(checker: &mut Checker<'_>, root: &Root<'_>, reads_calls: bool) {
    checker.enter(root.file);
    if let (Some(key), false) = (root.section.key("policy"), reads_calls) {
        checker.warn(
            &key.span(),
            "no rule inspects calls: the table has no effect",
            "a rule with `action = \"inspect\"` and `inspect = \"sip\"`, `h323`, `sccp` or `mgcp` gives it one",
        );
    }
}

/// The tables of a list of tables, such as `[[policy.caller]]`.
fn list<'v>(checker: &mut Checker<'_>, section: &Section<'v>, key: &str) -> Vec<Section<'v>> {
    let Some(value) = section.get(key) else { return Vec::new() };
    let DeValue::Array(tables) = value.get_ref() else {
        let message = format!("`{key}` is not a list of tables");
        checker.error_with(&value.span(), message, format!("write `[[policy.{key}]]` above each"));
        return Vec::new();
    };
    tables.iter().filter_map(|table| checker.table(key, table)).collect()
}

/// The name of each, which no other of its kind may have.
fn name<'v>(
    checker: &mut Checker<'_>,
    section: &Section<'v>,
    what: &str,
    seen: &mut HashMap<&'v str, Place>,
) -> Option<Arc<str>> {
    let Some(value) = section.get("name") else {
        let message = format!("the `{what}` has no `name`");
        checker.error_with(&section.span, message, "add `name = \"…\"`: it is shown where it decides");
        return None;
    };
    let word = super::rule::label(checker, "name", value)?;
    if let Some(first) = seen.get(word.text) {
        let message = format!("a `{what}` named `{}` stands at {} already", word.text, checker.told(first));
        checker.error(&word.span, message);
        return None;
    }
    let place = checker.place(&word.span);
    seen.insert(word.text, place);
    Some(word.text.into())
}

/// Calls, rate and minutes.
fn limits(checker: &mut Checker<'_>, what: &str, value: &Value<'_>) -> Option<Limits> {
    let section = checker.table(what, value)?;
    checker.known_keys(&section, &LIMITS);
    let mut limits = Limits::default();
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "calls" => limits.calls = checker.integer(key, value, 1..=MOST),
            "calls_per_minute" => limits.calls_per_minute = checker.integer(key, value, 1..=MOST),
            "minutes_per_day" => limits.minutes_per_day = checker.integer(key, value, 1..=MOST),
            _ => {}
        }
    }
    Some(limits)
}

/// Names of devices, users or aliases.
fn device_names(
    checker: &mut Checker<'_>,
    what: &str,
    value: &Value<'_>,
    files: &impl Files,
) -> Vec<Pattern> {
    let mut names = Vec::new();
    numbers::each(checker, value, what, files, |checker, word: &Word<'_>| match Pattern::new(word.text) {
        Some(pattern) => {
            names.push(pattern);
            true
        }
        None => {
            checker.error_with(
                &word.span,
                format!("`{what}` holds what cannot be a name"),
                "printable ASCII characters without blanks; `*` stands for any, `?` for one",
            );
            false
        }
    });
    names
}

fn unmatched(
    checker: &mut Checker<'_>,
    value: &Value<'_>,
    permissions: &Permissions<'_>,
) -> Option<Unmatched> {
    let word = checker.string("unmatched", value)?;
    match (word.text, permissions.place(word.text)) {
        ("permit", _) => Some(Unmatched::Permit),
        ("refuse", _) => Some(Unmatched::Refuse),
        (_, Some(place)) => Some(Unmatched::Needs(place)),
        (other, None) => {
            let known = ["permit", "refuse"].into_iter().chain(permissions.names());
            let message = format!("`unmatched` cannot be `{other}`");
            checker.add(crate::Severity::Error, &word.span, message, suggest(other, known));
            None
        }
    }
}

fn pin_life(checker: &mut Checker<'_>, key: &str, value: &Value<'_>) -> Option<Duration> {
    let life = checker.duration(key, value)?;
    if life > LONGEST_PIN {
        checker.error_with(&value.span(), format!("`{key}` is too long"), "permitted: at most `\"1d\"`");
        return None;
    }
    Some(life)
}

/// Pins, and what they open, mean nothing without one another.
fn pins(checker: &mut Checker<'_>, section: &Section<'_>, spec: &Spec) {
    let opened = spec.blocks.iter().any(|block| block.pin);
    if let (Some(key), false, false) = (section.key("pins"), opened, spec.pins.is_empty()) {
        let suggestion = "add `pin = true` to an `[[policy.after_hours]]`";
        checker.warn(&key.span(), "no block is opened by a pin: `pins` has no effect", suggestion);
    }
    if let (Some(key), true) = (section.key("after_hours"), opened && spec.pins.is_empty()) {
        let suggestion = "add `pins = [\"*4711\", …]` to `[policy]`";
        checker.warn(&key.span(), "there are no pins that could open a block", suggestion);
    }
}

/// A pattern for every number in normalised form leaves those of dialled digits nothing.
fn everything(checker: &mut Checker<'_>, spec: &Spec, permissions: &Permissions<'_>) {
    let back = checker.file();
    for (permission, places) in spec.permissions.iter().zip(&permissions.places) {
        let all = |pattern: &DialPattern| pattern.is_international() && pattern.places().len() == 1;
        let Some(at) = permission.patterns.iter().position(all) else { continue };
        let Some(place) = places.get(at).filter(|_| !spec.normalise.is_empty()) else { continue };
        checker.enter(place.file);
        checker.warn(
            &place.span,
            "every number that is normalised to `+…` needs this permission, whatever patterns of dialled digits say",
            "patterns that begin with `+` come first: write the countries that are meant",
        );
    }
    checker.enter(back);
}

/// Destinations are told by normalised numbers.
fn first_seen(checker: &mut Checker<'_>, section: &Section<'_>, spec: &Spec) {
    let wanted = spec.permissions.iter().any(|permission| permission.first_seen);
    if let (true, true, Some(key)) = (wanted, spec.normalise.is_empty(), section.key("permission")) {
        checker.warn(
            &key.span(),
            "`first_seen` knows destinations by numbers that begin with `+`, and none is normalised to one",
            "add `country = { … }` or a `[[policy.normalise]]` to `[policy]`",
        );
    }
}
