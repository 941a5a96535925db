//! `[policy.permission.NAME]`: what there is to be permitted, and the numbers that need it.

use std::collections::HashMap;
use std::sync::Arc;

use callgate_policy::plan::EMERGENCY;
use callgate_policy::spec::{Permission, PermissionSet, Spec};
use callgate_policy::{DialPattern, Reach};

use super::super::checker::{Checker, Section, Value};
use super::super::zones::is_name;
use super::{MOST, numbers};
use crate::Severity;
use crate::diagnostic::Place;
use crate::files::Files;
use crate::suggest::suggest;

/// Keys of a permission.
pub(crate) const KEYS: [&str; 5] = ["calls", "first_seen", "longest", "minutes_per_day", "patterns"];

/// What means something else where a permission's name is expected.
const RESERVED: [&str; 4] = ["all", "permit", "refuse", EMERGENCY];

/// The permissions by their names, and where their patterns are written.
pub(super) struct Permissions<'v> {
    names: Vec<&'v str>,
    /// By permission, a place for each pattern.
    pub(super) places: Vec<Vec<Place>>,
}

impl<'v> Permissions<'v> {
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| *other == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'v str> {
        self.names.iter().copied()
    }

    /// A list of permissions; `all` is every one.
    pub(super) fn set(
        &self,
        checker: &mut Checker<'_>,
        what: &str,
        value: &Value<'_>,
    ) -> Option<PermissionSet> {
        let mut places = Vec::new();
        for word in checker.strings(what, value) {
            if word.text == "all" {
                places.extend(0..PermissionSet::MOST);
            } else if let Some(place) = self.place(word.text) {
                places.push(place);
            } else if word.text == EMERGENCY {
                let suggestion = "leave it out: everybody may call the numbers of `emergency`";
                checker.error_with(&word.span, "nobody needs a permission for emergency calls", suggestion);
            } else {
                let known = self.names().chain(["all"]);
                let message = format!("there is no permission `{}`", word.text);
                checker.add(Severity::Error, &word.span, message, suggest(word.text, known));
            }
        }
        Some(places.into_iter().collect())
    }
}

pub(super) fn permissions<'v>(
    checker: &mut Checker<'_>,
    section: &Section<'v>,
    files: &impl Files,
    spec: &mut Spec,
) -> Permissions<'v> {
    let mut permissions = Permissions { names: Vec::new(), places: Vec::new() };
    let value = section.get("permission");
    let Some(section) = value.and_then(|value| checker.table("permission", value)) else {
        return permissions;
    };
    let mut taken: HashMap<DialPattern, (Arc<str>, Place)> = HashMap::new();
    for (key, value) in section.entries() {
        let name: &'v str = key.get_ref();
        if name == EMERGENCY {
            let suggestion =
                "write them into `emergency = [\"911\", …]` of `[policy]`: it is refused to nobody";
            checker.error_with(&key.span(), "emergency numbers need no permission", suggestion);
        } else if RESERVED.contains(&name) || !is_name(name) {
            let message = format!("`{name}` cannot name a permission");
            checker.error_with(&key.span(), message, "1 to 32 letters, digits, `-` and `_`; not `all`");
        }
        if spec.permissions.len() == PermissionSet::MOST {
            let message = format!("there can be at most {} permissions", PermissionSet::MOST);
            checker.error(&key.span(), message);
            break;
        }
        let Some(section) = checker.table(name, value) else { continue };
        checker.known_keys(&section, &KEYS);
        let mut permission = Permission {
            name: name.into(),
            patterns: Arc::default(),
            longest: None,
            minutes_per_day: None,
            calls: None,
            first_seen: false,
        };
        let mut places = Vec::new();
        for (key, value) in section.entries() {
            let key: &str = key.get_ref();
            match key {
                "patterns" => {
                    let (patterns, written) = numbers::patterns(checker, value, key, Reach::Prefix, files);
                    unique(checker, &mut taken, &permission.name, &patterns, &written);
                    permission.patterns = patterns.into();
                    places = written;
                }
                "longest" => permission.longest = checker.duration(key, value),
                "minutes_per_day" => permission.minutes_per_day = checker.integer(key, value, 1..=MOST),
                "calls" => permission.calls = checker.integer(key, value, 1..=MOST),
                "first_seen" => {
                    permission.first_seen = checker.boolean(key, value).unwrap_or_default();
                }
                _ => {}
            }
        }
        spec.permissions.push(permission);
        permissions.names.push(name);
        permissions.places.push(places);
    }
    permissions
}

/// Each pattern needs one permission.
fn unique(
    checker: &mut Checker<'_>,
    taken: &mut HashMap<DialPattern, (Arc<str>, Place)>,
    permission: &Arc<str>,
    patterns: &[DialPattern],
    places: &[Place],
) {
    let back = checker.file();
    for (pattern, place) in patterns.iter().zip(places) {
        if let Some((other, first)) = taken.get(pattern) {
            checker.enter(place.file);
            let message = format!("these numbers need `{other}` already ({})", checker.told(first));
            checker.error_with(
                &place.span,
                message,
                "a pattern stands once: each number needs one permission",
            );
        } else {
            taken.insert(pattern.clone(), (permission.clone(), place.clone()));
        }
    }
    checker.enter(back);
}
