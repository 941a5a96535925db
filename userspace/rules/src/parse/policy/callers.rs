//! `[[policy.caller]]`: who holds what.

use std::collections::HashMap;

use callgate_policy::spec::{Caller, Limits, PermissionSet, Spec};
use callgate_policy::{AddressSet, Reach};

use super::super::addresses::{Names, addresses};
use super::super::checker::{Checker, Section, Value};
use super::super::settings::set;
use super::{Scope, device_names, limits, list, name, numbers};
use crate::files::Files;
use crate::prefixes::Addresses;

/// Keys of a caller.
pub(crate) const KEYS: [&str; 9] =
    ["each", "from", "incoming", "name", "names", "numbers", "outgoing", "together", "trunk"];

/// Callers of a file, at most.
const MOST: usize = 100_000;

pub(super) fn callers(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    scope: &Scope<'_, '_, impl Files>,
    spec: &mut Spec,
) {
    let mut seen = HashMap::new();
    let mut sets = Sets::default();
    for section in list(checker, section, "caller") {
        checker.known_keys(&section, &KEYS);
        if spec.callers.len() == MOST {
            checker.error(&section.span, format!("there can be at most {MOST} callers"));
            return;
        }
        let name = name(checker, &section, "caller", &mut seen);
        let mut caller = Caller {
            name: name.unwrap_or_default(),
            numbers: Vec::new(),
            names: Vec::new(),
            from: None,
            trunk: false,
            outgoing: PermissionSet::ALL,
            incoming: PermissionSet::ALL,
            each: Limits::default(),
            together: Limits::default(),
        };
        for (key, value) in section.entries() {
            let key: &str = key.get_ref();
            match key {
                "numbers" => {
                    caller.numbers = numbers::patterns(checker, value, key, Reach::Whole, scope.files).0;
                }
                "names" => caller.names = device_names(checker, key, value, scope.files),
                "from" => caller.from = sets.read(checker, value, scope.names),
                "trunk" => set(&mut caller.trunk, checker.boolean(key, value)),
                "outgoing" => set(&mut caller.outgoing, scope.permissions.set(checker, key, value)),
                "incoming" => set(&mut caller.incoming, scope.permissions.set(checker, key, value)),
                "each" => set(&mut caller.each, limits(checker, key, value)),
                "together" => set(&mut caller.together, limits(checker, key, value)),
                _ => {}
            }
        }
        told(checker, &section, &caller);
        spec.callers.push(caller);
    }
}

/// Whether it can be told who is meant.
fn told(checker: &mut Checker<'_>, section: &Section<'_>, caller: &Caller) {
    let by_name = section.get("numbers").is_some() || section.get("names").is_some();
    if caller.trunk && (by_name || section.get("from").is_none()) {
        checker.error_with(
            &section.span,
            "a trunk is told by its addresses",
            "write `from` and neither `numbers` nor `names`: what passes through it has numbers of all kinds",
        );
    } else if !by_name && section.get("from").is_none() {
        checker.error_with(
            &section.span,
            "the caller matches everybody",
            "write `numbers`, `names` or `from`; what callers hold that nobody names is `strangers`",
        );
    }
}

/// Lists of addresses that have been read: callers of one group share its memory.
#[derive(Default)]
pub(super) struct Sets(Vec<(Addresses, AddressSet)>);

impl Sets {
    /// How many lists are kept to be found again.
    const KEPT: usize = 64;

    pub(super) fn read(
        &mut self,
        checker: &mut Checker<'_>,
        value: &Value<'_>,
        names: &Names<'_>,
    ) -> Option<AddressSet> {
        let read = addresses(checker, "from", value, names);
        if read == Addresses::Any {
            return None;
        }
        if let Some((_, set)) = self.0.iter().find(|(other, _)| *other == read) {
            return Some(set.clone());
        }
        let set = match &read {
            Addresses::Any => return None,
            Addresses::In(set) => AddressSet::new(set.prefixes()),
            Addresses::Except(set) => AddressSet::new(crate::PrefixSet::all().minus(set).prefixes()),
        };
        if self.0.len() < Self::KEPT {
            self.0.push((read, set.clone()));
        }
        Some(set)
    }
}
