//! `[policy.fraud]`: what looks odd, and from when on it is refused.

use callgate_policy::hours::Hours;
use callgate_policy::spec::{Fraud, Spec};

use super::super::checker::{Checker, Section};
use super::super::rule::when;
use super::super::settings::set;
use super::{MOST, Scope};
use crate::files::Files;
use crate::schedule::Schedule;

/// Keys of `[policy.fraud]`.
pub(crate) const KEYS: [&str; 8] =
    ["alarm", "half_life", "night", "permissions", "points", "prefix", "refuse", "short"];
/// Keys of its `points`.
pub(crate) const POINTS: [&str; 3] = ["failed", "night", "short"];

pub(super) fn fraud(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    scope: &Scope<'_, '_, impl Files>,
    spec: &mut Spec,
) {
    let Some(section) = section.get("fraud").and_then(|value| checker.table("fraud", value)) else { return };
    checker.known_keys(&section, &KEYS);
    let mut fraud = Fraud::default();
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "permissions" => set(&mut fraud.permissions, scope.permissions.set(checker, key, value)),
            "short" => set(&mut fraud.short, checker.duration(key, value)),
            "prefix" => {
                let prefix = checker.integer(key, value, 1..=16).and_then(|prefix| u8::try_from(prefix).ok());
                set(&mut fraud.prefix, prefix);
            }
            "night" => {
                let night = when(checker, value);
                fraud.night = Hours::new(night.iter().flat_map(Schedule::minutes), Vec::new());
            }
            "half_life" => set(&mut fraud.half_life, checker.duration(key, value)),
            "alarm" => set(&mut fraud.alarm, checker.integer(key, value, 1..=MOST)),
            "refuse" => fraud.refuse = checker.integer(key, value, 1..=MOST),
            "points" => {
                let Some(points) = checker.table(key, value) else { continue };
                checker.known_keys(&points, &POINTS);
                let places = [
                    ("short", &mut fraud.short_points),
                    ("night", &mut fraud.night_points),
                    ("failed", &mut fraud.failed_points),
                ];
                for (key, place) in places {
                    if let Some(value) = points.get(key) {
                        set(place, checker.integer(key, value, 0..=1_000));
                    }
                }
            }
            _ => {}
        }
    }
    spec.fraud = Some(fraud);
}
