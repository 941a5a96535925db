//! The `[settings]` table.

use std::time::Duration;

use callgate_shared::policy::{Action, MAX_ZONES, Timeouts, ZONE_NONE, ZONE_SELF};
use toml::de::DeValue;

use super::checker::{Checker, Section, Value};
use crate::diagnostic::Severity;
use crate::ruleset::{Mode, OnAlgDown, Settings, Xdp, Zone, zone_number};
use crate::service;
use crate::suggest::suggest;

const KEYS: [&str; 9] = [
    "call_max",
    "default",
    "media_held",
    "media_idle",
    "media_ports",
    "mode",
    "on_alg_down",
    "timeouts",
    "xdp",
];

const DEFAULTS: [(&str, Action); 3] =
    [("drop", Action::Drop), ("pass", Action::Pass), ("track", Action::Track)];

pub(super) fn settings(checker: &mut Checker<'_>, root: &Section<'_>, zones: &[Zone]) -> Settings {
    let mut settings = Settings::default();
    let Some(section) = root.get("settings").and_then(|value| checker.table("settings", value)) else {
        return settings;
    };
    checker.known_keys(&section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "media_ports" => media_ports(checker, value, &mut settings),
            "default" => defaults(checker, value, zones, &mut settings.defaults),
            "timeouts" => timeouts(checker, value, &mut settings.timeouts),
            "on_alg_down" => {
                let options = [("pass", OnAlgDown::Pass), ("drop", OnAlgDown::Drop)];
                set(&mut settings.on_alg_down, checker.choice(key, value, &options));
            }
            "mode" => {
                let options = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
                set(&mut settings.mode, checker.choice(key, value, &options));
            }
            "xdp" => {
                let options = [("auto", Xdp::Auto), ("native", Xdp::Native), ("generic", Xdp::Generic)];
                set(&mut settings.xdp, checker.choice(key, value, &options));
            }
            "media_idle" => set(&mut settings.media_idle, checker.duration(key, value)),
            "media_held" => set(&mut settings.media_held, checker.duration(key, value)),
            "call_max" => set(&mut settings.call_max, checker.duration(key, value)),
            _ => {}
        }
    }
    settings
}

/// Takes a value where there is one; where there is none, an error has been reported.
pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn media_ports(checker: &mut Checker<'_>, value: &Value<'_>, settings: &mut Settings) {
    let Some(word) = checker.string("media_ports", value) else { return };
    match service::port_range(word.text) {
        Ok(ports) if *ports.start() < 1_024 => {
            checker.error_with(&word.span, "media ports begin at 1024", "the usual range is `16384-32767`");
        }
        Ok(ports) => settings.media_ports = ports,
        Err(error) => checker.add(Severity::Error, &word.span, error.message, error.suggestion),
    }
}

/// One word for every zone but `self`, or a table of zones.
fn defaults(
    checker: &mut Checker<'_>,
    value: &Value<'_>,
    zones: &[Zone],
    defaults: &mut [Action; MAX_ZONES],
) {
    let section = match value.get_ref() {
        DeValue::Table(_) => checker.table("default", value),
        _ => {
            if let Some(action) = checker.choice("default", value, &DEFAULTS) {
                let own = defaults[usize::from(ZONE_SELF)];
                *defaults = [action; MAX_ZONES];
                defaults[usize::from(ZONE_SELF)] = own;
            }
            return;
        }
    };
    let Some(section) = section else { return };
    for (key, value) in section.entries() {
        let name: &str = key.get_ref();
        let zone = match name {
            "self" => Some(ZONE_SELF),
            "none" => Some(ZONE_NONE),
            _ => zones.iter().position(|zone| zone.name == name).and_then(zone_number),
        };
        let action = checker.choice(name, value, &DEFAULTS);
        match (zone.and_then(|zone| defaults.get_mut(usize::from(zone))), action) {
            (Some(place), Some(action)) => *place = action,
            (Some(_), None) => {}
            (None, _) => {
                let names = zones.iter().map(|zone| zone.name.as_str()).chain(["self", "none"]);
                let message = format!("there is no zone `{name}`");
                checker.add(Severity::Error, &key.span(), message, suggest(name, names));
            }
        }
    }
}

fn timeouts(checker: &mut Checker<'_>, value: &Value<'_>, timeouts: &mut Timeouts) {
    let Some(section) = checker.table("timeouts", value) else { return };
    let mut places = [
        ("tcp_opening", &mut timeouts.tcp_opening),
        ("tcp_established", &mut timeouts.tcp_established),
        ("tcp_closing", &mut timeouts.tcp_closing),
        ("udp_opening", &mut timeouts.udp_opening),
        ("udp", &mut timeouts.udp),
        ("signalling", &mut timeouts.signalling),
        ("icmp", &mut timeouts.icmp),
        ("other", &mut timeouts.other),
    ];
    checker.known_keys(&section, &places.each_ref().map(|(name, _)| *name));
    for (name, place) in &mut places {
        let Some(value) = section.get(name) else { continue };
        let seconds = checker.duration(name, value).as_ref().map(Duration::as_secs);
        set(*place, seconds.and_then(|seconds| u32::try_from(seconds).ok()));
    }
}
