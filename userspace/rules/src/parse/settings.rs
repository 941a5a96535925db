//! The `[settings]` and `[scan]` tables.

use std::time::Duration;

use callgate_shared::policy::{Action, MAX_ZONES, Timeouts, ZONE_NONE, ZONE_SELF};
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::addresses::{Names, set_of};
use super::checker::{Checker, Root, Section, Value};
use super::limit::rate;
use crate::diagnostic::Severity;
use crate::ruleset::{
    Budget, Budgets, ByProtocol, Mode, OnAlgDown, Scan, Settings, Tables, Xdp, Zone, zone_number,
};
use crate::service;
use crate::suggest::suggest;

/// Keys of `[settings]`.
pub(super) const KEYS: [&str; 19] = [
    "audio_alarm",
    "call_max",
    "challenge",
    "default",
    "half_open",
    "media_held",
    "media_idle",
    "media_ports",
    "mode",
    "never_block",
    "new_flows",
    "on_alg_down",
    "peer_flows",
    "protected",
    "replies",
    "tables",
    "time_zone",
    "timeouts",
    "xdp",
];
/// Keys of its `timeouts`.
pub(super) const TIMEOUTS: [&str; 8] =
    ["icmp", "other", "signalling", "tcp_closing", "tcp_established", "tcp_opening", "udp", "udp_opening"];
/// Keys of its `media_idle` and `media_held`, where they are tables.
pub(super) const BY_PROTOCOL: [&str; 5] = ["default", "h323", "mgcp", "sccp", "sip"];
/// Keys of its `half_open`.
pub(super) const HALF_OPEN: [&str; 2] = ["destination", "source"];
/// Keys of its `tables`.
pub(super) const TABLES: [&str; 3] = ["calls", "pinholes", "registrations"];
/// Keys of `[scan]`.
pub(super) const SCAN: [&str; 4] = ["block", "enabled", "ports", "window"];

const DEFAULTS: [(&str, Action); 3] =
    [("drop", Action::Drop), ("pass", Action::Pass), ("track", Action::Track)];

pub(super) fn settings(checker: &mut Checker<'_>, roots: &[Root<'_>], names: &Names<'_>) -> Settings {
    let mut settings = Settings::default();
    for root in roots {
        checker.enter(root.file);
        if let Some(section) = root.section.get("settings").and_then(|value| checker.table("settings", value))
        {
            lay_over(checker, &section, names, &mut settings);
        }
        if let Some(section) = root.section.get("scan").and_then(|value| checker.table("scan", value)) {
            scan(checker, &section, &mut settings.scan);
        }
    }
    settings
}

fn lay_over(checker: &mut Checker<'_>, section: &Section<'_>, names: &Names<'_>, settings: &mut Settings) {
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "media_ports" => media_ports(checker, value, settings),
            "default" => defaults(checker, value, names.zones, &mut settings.defaults),
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
            "media_idle" => by_protocol(checker, key, value, &mut settings.media_idle),
            "media_held" => by_protocol(checker, key, value, &mut settings.media_held),
            "audio_alarm" => {
                let off = matches!(value.get_ref(), DeValue::String(text) if text.as_ref() == "off");
                let wanted = if off { Some(Duration::ZERO) } else { checker.duration(key, value) };
                set(&mut settings.audio_alarm, wanted);
            }
            "call_max" => set(&mut settings.call_max, checker.duration(key, value)),
            "time_zone" => settings.time_zone = time_zone(checker, value),
            "new_flows" => set(&mut settings.budgets.new_flows, budget(checker, value)),
            "peer_flows" => set(&mut settings.budgets.peer_flows, budget(checker, value)),
            "replies" => set(&mut settings.budgets.replies, budget(checker, value)),
            "half_open" => half_open(checker, value, &mut settings.budgets),
            "tables" => tables(checker, value, &mut settings.tables),
            "challenge" => set(&mut settings.budgets.challenge, checker.boolean(key, value)),
            "protected" => settings.protected = set_of(checker, key, value, names),
            "never_block" => settings.never_block = set_of(checker, key, value, names),
            _ => {}
        }
    }
}

fn scan(checker: &mut Checker<'_>, section: &Section<'_>, scan: &mut Scan) {
    checker.known_keys(section, &SCAN);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "enabled" => set(&mut scan.enabled, checker.boolean(key, value)),
            "ports" => set(&mut scan.ports, checker.integer(key, value, Scan::PORTS)),
            "window" => set(&mut scan.window, checker.duration(key, value)),
            "block" => set(&mut scan.block, checker.duration(key, value)),
            _ => {}
        }
    }
    if section.get("enabled").is_none() {
        checker.warn(
            &section.span,
            "scans are not looked for: the table has no effect",
            "add `enabled = true`",
        );
    }
}

fn budget(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Budget> {
    rate(checker, value).map(|(events, period)| Budget { events, period })
}

fn half_open(checker: &mut Checker<'_>, value: &Value<'_>, budgets: &mut Budgets) {
    let Some(section) = checker.table("half_open", value) else { return };
    checker.known_keys(&section, &HALF_OPEN);
    let places =
        [("source", &mut budgets.half_open_source), ("destination", &mut budgets.half_open_destination)];
    for (key, place) in places {
        if let Some(value) = section.get(key) {
            set(place, checker.integer(key, value, 0..=Budgets::MOST_HALF_OPEN));
        }
    }
}

fn tables(checker: &mut Checker<'_>, value: &Value<'_>, tables: &mut Tables) {
    let Some(section) = checker.table("tables", value) else { return };
    checker.known_keys(&section, &TABLES);
    let most = Tables::default();
    let places = [
        ("calls", most.calls, &mut tables.calls),
        ("pinholes", most.pinholes, &mut tables.pinholes),
        ("registrations", most.registrations, &mut tables.registrations),
    ];
    for (key, most, place) in places {
        if let Some(value) = section.get(key) {
            set(place, checker.integer(key, value, 1..=most));
        }
    }
}

/// A zone of the IANA time zone database.
pub(super) fn time_zone(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<TimeZone> {
    let word = checker.string("time_zone", value)?;
    let zone = TimeZone::get(word.text).ok();
    if zone.is_none() {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let suggestion = suggest(word.text, known.iter().map(String::as_str))
            .unwrap_or_else(|| "write a name such as `Europe/Berlin` or `UTC`".to_owned());
        checker.error_with(&word.span, format!("there is no time zone `{}`", word.text), suggestion);
    }
    zone
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
        Err(error) => checker.mistake(&word.span, error),
    }
}

/// One word for every zone but `self`, or a table of zones.
/// A time, or a table of them.
fn by_protocol(checker: &mut Checker<'_>, key: &str, value: &Value<'_>, times: &mut ByProtocol) {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return set(&mut times.default, checker.duration(key, value));
    }
    let Some(section) = checker.table(key, value) else { return };
    checker.known_keys(&section, &BY_PROTOCOL);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        let ByProtocol { default, h323, mgcp, sccp, sip } = times;
        match key {
            "default" => set(default, checker.duration(key, value)),
            "h323" => *h323 = checker.duration(key, value).or(*h323),
            "mgcp" => *mgcp = checker.duration(key, value).or(*mgcp),
            "sccp" => *sccp = checker.duration(key, value).or(*sccp),
            "sip" => *sip = checker.duration(key, value).or(*sip),
            _ => {}
        }
    }
}

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
    checker.known_keys(&section, &TIMEOUTS);
    let places = [
        ("tcp_opening", &mut timeouts.tcp_opening),
        ("tcp_established", &mut timeouts.tcp_established),
        ("tcp_closing", &mut timeouts.tcp_closing),
        ("udp_opening", &mut timeouts.udp_opening),
        ("udp", &mut timeouts.udp),
        ("signalling", &mut timeouts.signalling),
        ("icmp", &mut timeouts.icmp),
        ("other", &mut timeouts.other),
    ];
    for (name, place) in places {
        let Some(value) = section.get(name) else { continue };
        let seconds = checker.duration(name, value).as_ref().map(Duration::as_secs);
        set(place, seconds.and_then(|seconds| u32::try_from(seconds).ok()));
    }
}
