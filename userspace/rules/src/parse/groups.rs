//! The `[groups]` table: addresses by name.
//!
//! A group may name other groups, before or after it, in any file. They are resolved leaves first, without
//! recursion, so that a long chain of groups costs no stack; what is then left stands in a circle.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use toml::de::DeValue;

use super::addresses::{Sum, address, negated};
use super::checker::{Checker, Root, Section, Word};
use super::sources::beside;
use super::zones::is_name;
use crate::diagnostic::Place;
use crate::files::Files;
use crate::prefixes::{self, PrefixError, PrefixSet};

/// Keys of a group that is a table.
pub(super) const KEYS: [&str; 1] = ["file"];

/// Words that mean something else where a group's name is expected.
const RESERVED: [&str; 2] = ["any", "signaller"];

/// A group as it is written.
struct Draft<'v> {
    place: Place,
    /// What it names without `!`.
    members: Members<'v>,
    /// What it names with `!`.
    without: Members<'v>,
}

#[derive(Default)]
struct Members<'v> {
    sum: Sum,
    groups: Vec<&'v str>,
}

impl Members<'_> {
    fn is_nothing(&self) -> bool {
        self.sum.is_nothing() && self.groups.is_empty()
    }
}

impl<'v> Draft<'v> {
    fn groups(&self) -> impl Iterator<Item = &'v str> {
        self.members.groups.iter().chain(&self.without.groups).copied()
    }
}

/// The groups, and where each is written.
pub(super) fn groups(
    checker: &mut Checker<'_>,
    roots: &[Root<'_>],
    files: &impl Files,
) -> (BTreeMap<String, PrefixSet>, BTreeMap<String, Place>) {
    let mut sections = Vec::new();
    for root in roots {
        checker.enter(root.file);
        if let Some(section) = root.section.get("groups").and_then(|value| checker.table("groups", value)) {
            sections.push((root.file, section));
        }
    }
    let known: HashSet<&str> = sections
        .iter()
        .flat_map(|(_, section)| section.entries())
        .map(|(key, _)| key.get_ref().as_ref())
        .collect();
    let mut drafts: BTreeMap<&str, Draft<'_>> = BTreeMap::new();
    for (file, section) in &sections {
        checker.enter(*file);
        for (key, value) in section.entries() {
            let name: &str = key.get_ref();
            if RESERVED.contains(&name) {
                checker.error(&key.span(), format!("`{name}` cannot name a group"));
            } else if !is_name(name) || prefixes::prefix(name) != Err(PrefixError::Name) {
                checker.error(&key.span(), "a group's name is 1 to 32 letters, digits, `-` and `_`");
            }
            let place = checker.place(&key.span());
            let before = checker.count();
            let draft = match value.get_ref() {
                DeValue::Table(_) => {
                    let sum = checker.table(name, value).map(|section| of_file(checker, &section, files));
                    let members = Members { sum: sum.unwrap_or_default(), groups: Vec::new() };
                    Draft { place, members, without: Members::default() }
                }
                _ => {
                    let words = checker.strings(name, value);
                    draft(checker, name, place, &words, &known)
                }
            };
            // Where members have been told to be wrong, it was not meant to be empty. One that is, is a lint's.
            if draft.members.is_nothing() && !draft.without.is_nothing() && checker.count() == before {
                let message = format!("group `{name}` only says who is not in it");
                let suggestion = "name a group of those who are not, and write `!` before it in the rule";
                checker.error_with(&key.span(), message, suggestion);
            }
            drafts.insert(name, draft);
        }
    }
    let places = drafts.iter().map(|(name, draft)| ((*name).to_owned(), draft.place.clone())).collect();
    (resolve(checker, &drafts), places)
}

fn draft<'v>(
    checker: &mut Checker<'_>,
    name: &str,
    place: Place,
    words: &[Word<'v>],
    known: &HashSet<&str>,
) -> Draft<'v> {
    let mut draft = Draft { place, members: Members::default(), without: Members::default() };
    for word in words {
        let (not, word) = negated(word);
        let members = if not { &mut draft.without } else { &mut draft.members };
        if known.contains(word.text) {
            checker.mark_used(word.text);
            members.groups.push(word.text);
        } else {
            let others = known.iter().copied().filter(|other| *other != name);
            members.sum.prefixes.extend(address(checker, &word, others));
        }
    }
    draft
}

/// `{ file = "carriers.txt" }`: an address, a prefix or a range in each line; `#` begins a comment.
fn of_file(checker: &mut Checker<'_>, section: &Section<'_>, files: &impl Files) -> Sum {
    /// Lines of a kind that are told of.
    const TOLD: usize = 20;
    checker.known_keys(section, &KEYS);
    let mut sum = Sum::default();
    let Some(value) = section.get("file") else {
        checker.error_with(&section.span, "the group has no `file`", "write a list, or `{ file = \"…\" }`");
        return sum;
    };
    let Some(word) = checker.string("file", value) else { return sum };
    let Some(by) = checker.current() else { return sum };
    let path = beside(Path::new(by.name()), word.text);
    let back = checker.file();
    let Some(file) = checker.read(files, &path, &word.span) else { return sum };
    checker.enter(file);
    let text = checker.source(file).map_or("", |source| source.text());
    let (mut offset, mut wrong, mut masked) = (0, 0, 0);
    for line in text.split_inclusive('\n') {
        let told = line.split_once('#').map_or(line, |(before, _)| before);
        let member = told.trim();
        if !member.is_empty() {
            let start = offset + (told.len() - told.trim_start().len());
            let word = Word { text: member, span: start..start + member.len() };
            match prefixes::prefix(member) {
                Ok(prefix) => sum.prefixes.push(prefix),
                Err(PrefixError::HostBits(prefix)) if masked == TOLD => sum.prefixes.push(prefix),
                read => {
                    masked += usize::from(matches!(read, Err(PrefixError::HostBits(_))));
                    let prefixes = address(checker, &word, []);
                    wrong += usize::from(prefixes.is_empty());
                    sum.prefixes.extend(prefixes);
                }
            }
            if wrong == TOLD {
                checker.error(&word.span, "lines after this one may be wrong too");
                break;
            }
        }
        offset += line.len();
    }
    checker.enter(back);
    sum
}

/// Every group with the groups it names put in.
fn resolve(checker: &mut Checker<'_>, drafts: &BTreeMap<&str, Draft<'_>>) -> BTreeMap<String, PrefixSet> {
    let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut missing: HashMap<&str, usize> = HashMap::new();
    for (&name, draft) in drafts {
        missing.insert(name, draft.groups().count());
        for member in draft.groups() {
            users.entry(member).or_default().push(name);
        }
    }

    let mut resolved: BTreeMap<String, PrefixSet> = BTreeMap::new();
    let mut ready: Vec<&str> = drafts.keys().copied().filter(|name| missing.get(name) == Some(&0)).collect();
    while let Some(name) = ready.pop() {
        missing.remove(name);
        let Some(draft) = drafts.get(name) else { continue };
        let set = |members: &Members<'_>| {
            let groups = members.groups.iter().filter_map(|member| resolved.get(*member).cloned()).collect();
            Sum { groups, prefixes: members.sum.prefixes.clone() }.set()
        };
        let (members, without) = (set(&draft.members), set(&draft.without));
        let left = if without.is_empty() { members } else { members.minus(&without) };
        resolved.insert(name.to_owned(), left);
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
            let next = drafts
                .get(name)
                .and_then(|draft| draft.groups().find(|member| unresolved.contains_key(member)));
            let Some(next) = next else { break };
            name = next;
        }
        let Some(entry) = path.iter().position(|step| *step == name) else { continue };
        let circle = path[entry..].iter().chain([&name]).map(|step| format!("`{step}`")).collect::<Vec<_>>();
        if let Some(draft) = drafts.get(name) {
            checker.enter(draft.place.file);
            checker.error(
                &draft.place.span,
                format!("groups name each other in a circle: {}", circle.join(" → ")),
            );
        }
    }
}
