//! The keys of SIP: of `[inspect.sip]`, and of a rule's `sip`.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::super::checker::{Checker, Section, Value, Word};
use super::super::limit::rate;
use super::super::settings::set;
use super::super::sources::beside;
use super::{patterns, unknown};
use crate::files::Files;
use crate::inspect::Pattern;
use crate::inspect::sip::{
    Dialogs, Guard, Methods, NatClients, Notify, Rate, Rates, Replaces, SipPolicy, TcpMedia, UnknownMethod,
};

/// Keys of `[inspect.sip]`.
pub(in crate::parse) const KEYS: [&str; 34] = [
    "account_failures",
    "auth_failures",
    "call_max",
    "called_allow",
    "called_deny",
    "calling_allow",
    "calling_deny",
    "dialogs_max",
    "dialogs_per_source",
    "guard",
    "guard_block",
    "headers_max",
    "latch_window",
    "max_forwards",
    "message",
    "message_max",
    "methods",
    "methods_back",
    "nat_clients",
    "not_sip",
    "notify",
    "rates",
    "rates_to",
    "refer",
    "registration_max",
    "registration_min",
    "replaces",
    "require_auth",
    "scanners",
    "subscribe",
    "sweep",
    "tcp_media",
    "unknown_methods",
    "uri_max",
];
/// Keys of its `scanners`, where that is a table.
pub(in crate::parse) const SCANNERS: [&str; 1] = ["file"];

/// The longest time a port can be learnt in.
const LONGEST_LATCH: Duration = Duration::from_secs(60);

/// Lays what a table says over a policy.
pub(crate) fn sip(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    files: &impl Files,
    policy: &mut SipPolicy,
) {
    const DIALOGS: [(&str, Dialogs); 3] =
        [("allow", Dialogs::Allow), ("in-dialog", Dialogs::Inside), ("refuse", Dialogs::Refuse)];
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "methods" => policy.methods = methods(checker, key, value),
            "methods_back" => policy.methods_back = methods(checker, key, value),
            "unknown_methods" => {
                let options = [("pass", UnknownMethod::Pass), ("refuse", UnknownMethod::Refuse)];
                set(&mut policy.unknown_methods, checker.choice(key, value, &options));
            }
            "refer" => set(&mut policy.refer, checker.choice(key, value, &DIALOGS)),
            "subscribe" => set(&mut policy.subscribe, checker.choice(key, value, &DIALOGS)),
            "message" => set(&mut policy.message, checker.choice(key, value, &DIALOGS)),
            "notify" => {
                let options = [
                    ("allow", Notify::Allow),
                    ("subscribed", Notify::Subscribed),
                    ("refuse", Notify::Refuse),
                ];
                set(&mut policy.notify, checker.choice(key, value, &options));
            }
            "replaces" => {
                let options =
                    [("allow", Replaces::Allow), ("known", Replaces::Known), ("refuse", Replaces::Refuse)];
                set(&mut policy.replaces, checker.choice(key, value, &options));
            }
            "require_auth" => policy.require_auth = methods(checker, key, value),
            "calling_allow" => policy.calling.allow = patterns(checker, key, value),
            "calling_deny" => policy.calling.deny = patterns(checker, key, value),
            "called_allow" => policy.called.allow = patterns(checker, key, value),
            "called_deny" => policy.called.deny = patterns(checker, key, value),
            "dialogs_max" => {
                policy.dialogs_max = checker.integer(key, value, 1..=100_000).or(policy.dialogs_max);
            }
            "dialogs_per_source" => {
                policy.dialogs_per_source =
                    checker.integer(key, value, 1..=100_000).or(policy.dialogs_per_source);
            }
            "call_max" => policy.call_max = checker.duration(key, value).or(policy.call_max),
            "rates" => policy.rates = rates(checker, key, value),
            "rates_to" => policy.rates_to = rates(checker, key, value),
            "message_max" => set(&mut policy.message_max, checker.integer(key, value, 512..=65_535)),
            "headers_max" => set(&mut policy.headers_max, checker.integer(key, value, 8..=256)),
            "uri_max" => set(&mut policy.uri_max, checker.integer(key, value, 32..=8_192)),
            "max_forwards" => set(&mut policy.max_forwards, checker.integer(key, value, 1..=255)),
            "not_sip" => set(&mut policy.not_sip, unknown(checker, key, value)),
            "scanners" => policy.scanners = scanners(checker, value, files),
            "guard" => {
                let options = [("block", Guard::Block), ("event", Guard::Event), ("off", Guard::Off)];
                set(&mut policy.guard, checker.choice(key, value, &options));
            }
            "auth_failures" => set(&mut policy.auth_failures, rate_of(checker, value)),
            "account_failures" => set(&mut policy.account_failures, rate_of(checker, value)),
            "sweep" => set(&mut policy.sweep, checker.integer(key, value, 2..=1_024)),
            "guard_block" => set(&mut policy.guard_block, checker.duration(key, value)),
            "registration_min" => set(&mut policy.registration_min, checker.duration(key, value)),
            "registration_max" => set(&mut policy.registration_max, checker.duration(key, value)),
            "tcp_media" => {
                let options = [("refuse", TcpMedia::Refuse), ("allow", TcpMedia::Allow)];
                set(&mut policy.tcp_media, checker.choice(key, value, &options));
            }
            "nat_clients" => {
                let options = [("off", NatClients::Off), ("latch", NatClients::Latch)];
                set(&mut policy.nat_clients, checker.choice(key, value, &options));
            }
            "latch_window" => set(&mut policy.latch_window, latch_window(checker, key, value)),
            _ => {}
        }
    }
    if policy.registration_min > policy.registration_max {
        let key = section.key("registration_min").or(section.key("registration_max"));
        let span = key.map_or(section.span.clone(), |key| key.span());
        checker.error_with(
            &span,
            "the shortest life of a registration is longer than the longest",
            "`registration_min` is at most `registration_max`",
        );
    }
}

fn latch_window(checker: &mut Checker<'_>, key: &str, value: &Value<'_>) -> Option<Duration> {
    let window = checker.duration(key, value)?;
    if window > LONGEST_LATCH {
        checker.error_with(&value.span(), format!("`{key}` is too long"), "permitted: at most `\"1min\"`");
        return None;
    }
    Some(window)
}

fn rate_of(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<Rate> {
    rate(checker, value).map(|(events, period)| Rate { events, period })
}

fn methods(checker: &mut Checker<'_>, what: &str, value: &Value<'_>) -> Option<Methods> {
    let words = checker.strings(what, value);
    super::empty_list(checker, what, value, words.is_empty());
    for word in &words {
        check_method(checker, what, word);
    }
    Some(words.iter().map(|word| word.text).collect())
}

fn check_method(checker: &mut Checker<'_>, what: &str, word: &Word<'_>) {
    if !Methods::is_name(word.text) {
        let message = format!("`{what}` holds what cannot be a method");
        checker.error_with(&word.span, message, "write names such as `INVITE`");
    } else if word.text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let message = format!("`{}` is not the method `{}`", word.text, word.text.to_ascii_uppercase());
        checker.warn(&word.span, message, "methods are told apart by case: write them in capitals");
    }
}

/// `{ INVITE = "10/s", any = "100/s" }`.
fn rates(checker: &mut Checker<'_>, what: &str, value: &Value<'_>) -> Rates {
    let mut rates = Rates::default();
    let Some(section) = checker.table(what, value) else { return rates };
    for (key, value) in section.entries() {
        let (name, span): (&str, _) = (key.get_ref(), key.span());
        let rate = rate_of(checker, value);
        if name == "any" {
            rates.any = rate;
            continue;
        }
        check_method(checker, what, &Word { text: name, span });
        rates.methods.extend(rate.map(|rate| (Box::from(name), rate)));
    }
    rates
}

/// A list of patterns, or `{ file = "sip-scanners.txt" }`: a pattern in each line; `#` begins a comment.
fn scanners(checker: &mut Checker<'_>, value: &Value<'_>, files: &impl Files) -> Vec<Pattern> {
    if !matches!(value.get_ref(), DeValue::Table(_)) {
        return patterns(checker, "scanners", value);
    }
    let Some(section) = checker.table("scanners", value) else { return Vec::new() };
    checker.known_keys(&section, &SCANNERS);
    let Some(value) = section.get("file") else {
        checker.error_with(&section.span, "`scanners` has no `file`", "write a list, or `{ file = \"…\" }`");
        return Vec::new();
    };
    let Some(word) = checker.string("file", value) else { return Vec::new() };
    let Some(by) = checker.current() else { return Vec::new() };
    let path = beside(Path::new(by.name()), word.text);
    let back = checker.file();
    let Some(file) = checker.read(files, &path, &word.span) else { return Vec::new() };
    checker.enter(file);
    let text = checker.source(file).map_or("", |source| source.text());
    let (mut found, mut offset) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let told = line.split_once('#').map_or(line, |(before, _)| before);
        let member = told.trim();
        if !member.is_empty() {
            match Pattern::new(member) {
                Some(pattern) => found.push(pattern),
                None => {
                    let start = offset + (told.len() - told.trim_start().len());
                    let message = format!("`{member}` cannot be a pattern");
                    let hint = "printable ASCII characters without blanks; `*` stands for any, `?` for one";
                    checker.error_with(&(start..start + member.len()), message, hint);
                    break;
                }
            }
        }
        offset += line.len();
    }
    checker.enter(back);
    found
}
