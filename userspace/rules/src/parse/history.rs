//! The `[history]` table.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::checker::{Checker, Root, Section, Value, Word};
use crate::ruleset::{Database, History, Syslog};

/// Keys of `[history]`.
pub(super) const KEYS: [&str; 7] = ["database", "file", "mask", "max", "retain", "syslog", "webhook"];

/// The port of syslog over UDP (RFC 5426 section 3.3).
const SYSLOG: u16 = 514;

/// What is kept of calls that are over; `None` where no file has the table.
pub(super) fn history(checker: &mut Checker<'_>, roots: &[Root<'_>]) -> Option<History> {
    let mut history = None;
    for root in roots {
        checker.enter(root.file);
        let Some(value) = root.section.get("history") else { continue };
        let Some(section) = checker.table("history", value) else { continue };
        lay_over(checker, &section, history.get_or_insert_default());
    }
    history
}

fn lay_over(checker: &mut Checker<'_>, section: &Section<'_>, history: &mut History) {
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "retain" => set(&mut history.retain, checker.duration(key, value)),
            "max" => set(&mut history.max, checker.integer(key, value, History::MAX)),
            "mask" => set(&mut history.mask, checker.integer(key, value, History::MASK)),
            "database" => set(&mut history.database, database(checker, value)),
            "file" => history.file = path(checker, key, value),
            "syslog" => history.syslog = syslog(checker, value),
            "webhook" => history.webhook = webhook(checker, value),
            _ => {}
        }
    }
}

fn database(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Database> {
    let word = checker.string("database", value)?;
    if ["postgres://", "postgresql://"].iter().any(|scheme| word.text.starts_with(scheme)) {
        return Some(Database::Postgres(word.text.to_owned()));
    }
    absolute(checker, &word, "a file or `\"postgres://user@host/name\"`").map(Database::Sqlite)
}

fn path(checker: &mut Checker<'_>, key: &str, value: &Value<'_>) -> Option<PathBuf> {
    let word = checker.string(key, value)?;
    absolute(checker, &word, "a file")
}

/// The daemon's directory is nobody's business: a path says where it begins.
fn absolute(checker: &mut Checker<'_>, word: &Word<'_>, expected: &str) -> Option<PathBuf> {
    let path = PathBuf::from(word.text);
    if path.is_absolute() && path.file_name().is_some() {
        return Some(path);
    }
    let message = format!("`{}` is not {expected}", word.text);
    checker.error_with(&word.span, message, "a file is named by its whole path, from `/` on");
    None
}

/// Where syslog is spoken to.
pub(super) fn syslog(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Syslog> {
    let word = checker.string("syslog", value)?;
    let read = match word.text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') && !path.ends_with('/') => {
            Some(Syslog::Unix(path.into()))
        }
        Some(("udp", address)) => {
            let alone = address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            let alone = alone.map(|ip| SocketAddr::new(ip, SYSLOG));
            alone.or_else(|_| address.parse()).ok().map(Syslog::Udp)
        }
        _ => None,
    };
    if read.is_none() {
        let message = format!("`{}` is no place for syslog", word.text);
        checker.error_with(&word.span, message, "write `\"udp://192.0.2.9:514\"` or `\"unix:///dev/log\"`");
    }
    read
}

fn webhook(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<String> {
    let word = checker.string("webhook", value)?;
    let host = ["http://", "https://"].iter().find_map(|scheme| word.text.strip_prefix(scheme));
    let is_url = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
        && word.text.chars().all(|c| c.is_ascii_graphic());
    if !is_url {
        let message = format!("`{}` is not a URL", word.text);
        checker.error_with(&word.span, message, "write `\"https://billing.example.net/calls\"`");
    }
    is_url.then(|| word.text.to_owned())
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
