//! The `[groups]` table: addresses by name.
//!
//! A group may name other groups, before or after it in the file. They are resolved leaves first, without
//! recursion, so that a long chain of groups costs no stack; what is then left stands in a circle.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;

use super::checker::{Checker, Section, Word};
use super::zones::is_name;
use crate::diagnostic::{Severity, Span};
use crate::prefixes::{self, PrefixError, PrefixSet};
use crate::suggest::suggest;

/// Words that mean something else where a group's name is expected.
const RESERVED: [&str; 2] = ["any", "signaller"];

/// A group as it is written.
struct Draft<'v> {
    span: Span,
    prefixes: Vec<IpNet>,
    groups: Vec<&'v str>,
}

pub(super) fn groups(checker: &mut Checker<'_>, root: &Section<'_>) -> BTreeMap<String, PrefixSet> {
    let Some(section) = root.get("groups").and_then(|value| checker.table("groups", value)) else {
        return BTreeMap::new();
    };
    let known: HashSet<&str> = section.entries().iter().map(|(key, _)| key.get_ref().as_ref()).collect();
    let mut drafts = BTreeMap::new();
    for (key, value) in section.entries() {
        let name: &str = key.get_ref();
        if RESERVED.contains(&name) {
            checker.error(&key.span(), format!("`{name}` cannot name a group"));
        } else if !is_name(name) || prefixes::prefix(name) != Err(PrefixError::Name) {
            checker.error(&key.span(), "a group's name is 1 to 32 letters, digits, `-` and `_`");
        }
        let members = checker.strings(name, value);
        if members.is_empty() {
            checker.warn(
                &key.span(),
                format!("group `{name}` is empty"),
                "a rule that names it matches nothing",
            );
        }
        let mut draft = Draft { span: key.span(), prefixes: Vec::new(), groups: Vec::new() };
        for member in &members {
            if known.contains(member.text) {
                draft.groups.push(member.text);
            } else if let Some(prefix) =
                address(checker, member, known.iter().copied().filter(|other| *other != name))
            {
                draft.prefixes.push(prefix);
            }
        }
        drafts.insert(name, draft);
    }
    resolve(checker, &drafts)
}

/// An address or a prefix; what else a word might have been is in `names`.
pub(super) fn address<'a>(
    checker: &mut Checker<'_>,
    word: &Word<'_>,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<IpNet> {
    let text = word.text;
    match prefixes::prefix(text) {
        Ok(prefix) => return Some(prefix),
        Err(PrefixError::HostBits(prefix)) => {
            checker.warn(
                &word.span,
                format!("`{text}` has bits set behind its length"),
                format!("it is read as `{}`", prefixes::display(&prefix)),
            );
            return Some(prefix);
        }
        Err(PrefixError::Malformed) => checker.error_with(
            &word.span,
            format!("`{text}` is not an address or a prefix"),
            "write `10.1.1.10`, `10.20.0.0/16`, `2001:db8::1` or `2001:db8::/32`",
        ),
        Err(PrefixError::Mapped) => checker.error_with(
            &word.span,
            format!("`{text}` is an IPv4-mapped address, which is never seen on the wire"),
            "write the IPv4 address",
        ),
        Err(PrefixError::Name) => {
            let suggestion = suggest(text, names)
                .or_else(|| Some("write an address, a prefix, or a name of `[groups]`".into()));
            checker.add(Severity::Error, &word.span, format!("there is no group `{text}`"), suggestion);
        }
    }
    None
}

/// Every group with the groups it names put in.
fn resolve(checker: &mut Checker<'_>, drafts: &BTreeMap<&str, Draft<'_>>) -> BTreeMap<String, PrefixSet> {
    let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut missing: HashMap<&str, usize> = HashMap::new();
    for (&name, draft) in drafts {
        missing.insert(name, draft.groups.len());
        for &member in &draft.groups {
            users.entry(member).or_default().push(name);
        }
    }

    let mut resolved: BTreeMap<String, PrefixSet> = BTreeMap::new();
    let mut ready: Vec<&str> = drafts.keys().copied().filter(|name| missing.get(name) == Some(&0)).collect();
    while let Some(name) = ready.pop() {
        missing.remove(name);
        let Some(draft) = drafts.get(name) else { continue };
        let nested = draft.groups.iter().filter_map(|member| resolved.get(*member));
        let nested = nested.flat_map(|set| set.prefixes().iter().copied());
        resolved.insert(name.to_owned(), draft.prefixes.iter().copied().chain(nested).collect());
        for &user in users.get(name).into_iter().flatten() {
            if let Some(count) = missing.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    ready.push(user);
                }
            }
        }
    }

    report_circles(checker, drafts, &missing);
    // A stand-in, so that rules which name these groups add no errors of their own.
    resolved.extend(missing.keys().map(|name| ((*name).to_owned(), PrefixSet::default())));
    resolved
}

/// One error per circle. Every group in `unresolved` names another such group, so following them leads into
/// a circle.
fn report_circles(
    checker: &mut Checker<'_>,
    drafts: &BTreeMap<&str, Draft<'_>>,
    unresolved: &HashMap<&str, usize>,
) {
    let mut seen: HashSet<&str> = HashSet::new();
    for &start in drafts.keys().filter(|name| unresolved.contains_key(*name)) {
        let mut path: Vec<&str> = Vec::new();
        let mut name = start;
        while seen.insert(name) {
            path.push(name);
            let next = drafts.get(name).and_then(|draft| {
                draft.groups.iter().copied().find(|member| unresolved.contains_key(member))
            });
            let Some(next) = next else { break };
            name = next;
        }
        let Some(entry) = path.iter().position(|step| *step == name) else { continue };
        let circle = path[entry..].iter().chain([&name]).map(|step| format!("`{step}`")).collect::<Vec<_>>();
        if let Some(draft) = drafts.get(name) {
            checker.error(&draft.span, format!("groups name each other in a circle: {}", circle.join(" → ")));
        }
    }
}
