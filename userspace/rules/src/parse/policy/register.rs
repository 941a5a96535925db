//! `[[policy.register]]`: who may register where.

use std::collections::HashMap;

use callgate_policy::Protocol;
use callgate_policy::spec::{RegistrationRule, Spec, UnknownDevices};

use super::super::checker::{Checker, Section, Value};
use super::callers::Sets;
use super::{Scope, device_names, list, name};
use crate::Severity;
use crate::files::Files;
use crate::suggest::suggest;

/// Keys of a rule for registrations.
pub(crate) const KEYS: [&str; 6] = ["from", "most", "name", "names", "per_address", "protocols"];

/// What devices register by.
const PROTOCOLS: [Protocol; 3] = [Protocol::Sip, Protocol::Sccp, Protocol::H323];
/// Registrations there may be, at most.
const MOST: u32 = 100_000;
/// Rules of a file, at most.
const MOST_RULES: usize = 1_024;

pub(super) fn register(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    scope: &Scope<'_, '_, impl Files>,
    spec: &mut Spec,
) {
    let mut seen = HashMap::new();
    let mut sets = Sets::default();
    for section in list(checker, section, "register") {
        checker.known_keys(&section, &KEYS);
        if spec.registrations.len() == MOST_RULES {
            checker.error(&section.span, format!("there can be at most {MOST_RULES} of them"));
            return;
        }
        let mut rule = RegistrationRule {
            name: name(checker, &section, "register", &mut seen).unwrap_or_default(),
            protocols: Vec::new(),
            names: Vec::new(),
            from: None,
            most: None,
            per_address: None,
        };
        for (key, value) in section.entries() {
            let key: &str = key.get_ref();
            match key {
                "protocols" => rule.protocols = protocols(checker, value),
                "names" => rule.names = device_names(checker, key, value, scope.files),
                "from" => rule.from = sets.read(checker, value, scope.names),
                "most" => rule.most = checker.integer(key, value, 1..=MOST),
                "per_address" => rule.per_address = checker.integer(key, value, 1..=MOST),
                _ => {}
            }
        }
        spec.registrations.push(rule);
    }
    if let Some(value) = section.get("unknown_devices")
        && spec.registrations.is_empty()
        && spec.unknown_devices != UnknownDevices::Permit
    {
        let suggestion = "add a `[[policy.register]]` for those that are";
        checker.warn(&value.span(), "every device is unknown", suggestion);
    }
}

fn protocols(checker: &mut Checker<'_>, value: &Value<'_>) -> Vec<Protocol> {
    let mut protocols = Vec::new();
    for word in checker.strings("protocols", value) {
        match PROTOCOLS.into_iter().find(|protocol| protocol.name() == word.text) {
            Some(protocol) => protocols.push(protocol),
            None => {
                let message = format!("nothing registers by `{}`", word.text);
                let known = PROTOCOLS.map(Protocol::name);
                checker.add(Severity::Error, &word.span, message, suggest(word.text, known));
            }
        }
    }
    protocols
}
