//! The `[zones]` table: which interfaces are on which side.

use std::collections::HashMap;

use callgate_shared::policy::MAX_ZONES;

use super::checker::{Checker, Section};
use crate::ruleset::{FIRST_ZONE, Zone};

/// Words that mean something else where a zone's name is expected.
const RESERVED: [&str; 3] = ["any", "none", "self"];

pub(super) fn zones(checker: &mut Checker<'_>, root: &Section<'_>) -> Vec<Zone> {
    const MOST: usize = MAX_ZONES - FIRST_ZONE as usize;
    let Some(section) = root.get("zones").and_then(|value| checker.table("zones", value)) else {
        return Vec::new();
    };
    let mut zones = Vec::new();
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for (key, value) in section.entries() {
        let name: &str = key.get_ref();
        if RESERVED.contains(&name) {
            checker.error_with(
                &key.span(),
                format!("`{name}` cannot name a zone"),
                "`self` is this machine, `any` every zone, `none` an interface without a zone",
            );
        } else if !is_name(name) {
            checker.error(&key.span(), "a zone's name is 1 to 32 letters, digits, `-` and `_`");
        }
        if zones.len() == MOST {
            checker.error(&key.span(), format!("there can be at most {MOST} zones"));
        }
        let interfaces = checker.strings("interfaces", value);
        if interfaces.is_empty() {
            checker.warn(
                &key.span(),
                format!("zone `{name}` has no interfaces"),
                "no packet will come from it",
            );
        }
        for interface in &interfaces {
            if !is_interface(interface.text) {
                checker.error_with(
                    &interface.span,
                    format!("`{}` cannot be an interface's name", interface.text),
                    "an interface's name is 1 to 15 characters without blanks and `/`",
                );
            } else if let Some(other) = taken.insert(interface.text, name) {
                let message = format!("`{}` is in zone `{other}` already", interface.text);
                checker.error(&interface.span, message);
            }
        }
        let interfaces = interfaces.iter().map(|interface| interface.text.to_owned()).collect();
        zones.push(Zone { name: name.to_owned(), interfaces });
    }
    zones
}

/// Names are shown in tables and written on command lines.
pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// What Linux takes for an interface's name (`dev_valid_name` in `net/core/dev.c`).
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
