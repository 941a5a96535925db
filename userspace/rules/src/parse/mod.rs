//! Text → [`RuleSet`].
//!
//! The TOML reader gives every key and value its place in the file; the tables are walked by hand, so that
//! each error can point at the text it means. All errors are gathered before any is reported: a checker goes on
//! after a mistake with a harmless stand-in, and the stand-ins are thrown away with the file.
//!
//! Several files make one rule set ([`sources`]). Whatever refers to a name is read after all names are known,
//! whichever file they are in.

mod addresses;
mod checker;
mod control;
mod groups;
mod history;
mod inspect;
mod limit;
mod policy;
mod rule;
mod settings;
mod sources;
mod tags;
mod zones;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_policy::Plan;
use callgate_shared::policy::MAX_RULES;
use toml::de::DeValue;

use crate::diagnostic::{Diagnostic, Place, Source};
use crate::files::{Files, LoadError};
use crate::inspect::InspectPolicies;
use crate::prefixes::PrefixSet;
use crate::ruleset::{Control, GroupNote, History, Protocol, Rule, RuleAction, RuleSet, Settings, Zone};
use addresses::Names;
use checker::{Checker, Root};
use rule::Given;
use sources::Sources;

/// Keys of a file.
const KEYS: [&str; 12] = [
    "control", "groups", "history", "include", "inspect", "policy", "rule", "scan", "settings", "version",
    "zone", "zones",
];

/// Every table and its keys, by the name [`crate::reference`] gives it.
pub(crate) const TABLES: [(&str, &[&str]); 35] = [
    ("", &KEYS),
    ("groups.NAME", &groups::KEYS),
    ("zone.NAME", &zones::KEYS),
    ("zone.NAME.l2", &zones::L2),
    ("rule", &rule::KEYS),
    ("rule.limit", &limit::KEYS),
    ("rule.limit.per", &limit::PER),
    ("rule.limit.above", &limit::ABOVE),
    ("settings", &settings::KEYS),
    ("settings.timeouts", &settings::TIMEOUTS),
    ("settings.half_open", &settings::HALF_OPEN),
    ("settings.media_idle", &settings::BY_PROTOCOL),
    ("settings.tables", &settings::TABLES),
    ("scan", &settings::SCAN),
    ("control", &control::KEYS),
    ("history", &history::KEYS),
    ("policy", &policy::KEYS),
    ("policy.country", &policy::COUNTRY),
    ("policy.normalise", &policy::NORMALISE),
    ("policy.permission.NAME", &policy::PERMISSION),
    ("policy.permission.NAME.patterns", &policy::FILE),
    ("policy.caller", &policy::CALLER),
    ("policy.caller.each", &policy::LIMITS),
    ("policy.caller.together", &policy::LIMITS),
    ("policy.limits", &policy::LIMITS),
    ("policy.after_hours", &policy::AFTER_HOURS),
    ("policy.fraud", &policy::FRAUD),
    ("policy.fraud.points", &policy::POINTS),
    ("policy.register", &policy::REGISTER),
    ("inspect.h323", &inspect::h323::KEYS),
    ("inspect.sip", &inspect::sip::KEYS),
    ("inspect.sip.scanners", &inspect::sip::SCANNERS),
    ("inspect.sccp", &inspect::SCCP),
    ("inspect.mgcp", &inspect::MGCP),
    ("inspect.tftp", &inspect::TFTP),
];

/// Reads and checks a file that names no others.
pub(crate) fn parse(source: Source) -> Result<RuleSet, Vec<Diagnostic>> {
    read(source, &Alone)
}

/// Reads and checks a file and those it names.
pub(crate) fn load(path: &Path, files: &impl Files) -> Result<RuleSet, LoadError> {
    let file = path.display().to_string();
    let text = files.read(path).map_err(|source| LoadError::Read { file: file.clone(), source })?;
    read(Source::new(&file, &text), files).map_err(LoadError::Invalid)
}

/// No file but the one whose text is given.
struct Alone;

impl Files for Alone {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "other files are not read here"))
    }

    fn list(&self, _: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

fn read(first: Source, files: &impl Files) -> Result<RuleSet, Vec<Diagnostic>> {
    let sources = Sources::new();
    let Some(first) = sources.add(first) else { return Err(Vec::new()) };
    let mut checker = Checker::new(&sources);
    let documents = sources::documents(&mut checker, &sources, files, first);
    if checker.failed() {
        // What a missing file would have said would only add errors that are none.
        return Err(checker.finish());
    }
    let roots: Vec<Root<'_>> =
        documents.iter().map(|document| Root { file: document.file, section: document.root() }).collect();
    let parts = parts(&mut checker, &roots, files, first);
    let failed = checker.failed();
    let notes = |(name, place): (String, Place)| {
        let used = checker.is_used(&name);
        (name, GroupNote { place, used })
    };
    let group_notes = parts.places.into_iter().map(notes).collect();
    let diagnostics = checker.finish();
    drop(roots);
    drop(documents);
    if failed {
        return Err(diagnostics);
    }
    let Parts { zones, groups, settings, inspect, control, history, policy, rules, .. } = parts;
    Ok(RuleSet {
        sources: sources.into_vec(),
        zones,
        groups,
        group_notes,
        settings,
        inspect,
        control,
        history,
        policy,
        rules,
        warnings: diagnostics,
    })
}

/// What the files say, whether or not it is right.
struct Parts {
    zones: Vec<Zone>,
    groups: BTreeMap<String, PrefixSet>,
    places: BTreeMap<String, Place>,
    settings: Settings,
    inspect: InspectPolicies,
    control: Control,
    history: Option<History>,
    policy: Option<Arc<Plan>>,
    rules: Vec<Rule>,
}

fn parts(checker: &mut Checker<'_>, roots: &[Root<'_>], files: &impl Files, first: usize) -> Parts {
    for root in roots {
        checker.enter(root.file);
        checker.known_keys(&root.section, &KEYS);
        version(checker, root, first);
    }
    said_once(checker, roots);
    let mut zones = zones::zones(checker, roots);
    let (groups, places) = groups::groups(checker, roots, files);
    let policies = zones::policies(checker, roots, &Names { zones: &zones, groups: &groups });
    for (zone, policy) in policies {
        zones[zone].policy = policy;
    }
    let names = Names { zones: &zones, groups: &groups };
    let settings = settings::settings(checker, roots, &names);
    let inspect = inspect::inspect(checker, roots, &names, files);
    let control = control::control(checker, roots);
    let history = history::history(checker, roots);
    let policy = policy::policy(checker, roots, &names, settings.time_zone.as_ref(), files);
    let given = Given { names: &names, policies: &inspect, media_ports: &settings.media_ports, files };
    let rules = rules(checker, roots, &given);
    let reads_calls = rules
        .iter()
        .any(|rule| matches!(rule.action, RuleAction::Inspect(protocol) if protocol != Protocol::Tftp));
    for root in roots {
        inspect::unused(checker, root, &rules);
        policy::unused(checker, root, reads_calls);
    }
    Parts { zones, groups, places, settings, inspect, control, history, policy, rules }
}

fn version(checker: &mut Checker<'_>, root: &Root<'_>, first: usize) {
    let Some(value) = root.section.get("version") else {
        if root.file == first {
            let suggestion = "write `version = 1` at the top of the file";
            checker.error_with(&(0..0), "`version` is missing", suggestion);
        }
        return;
    };
    if checker.integer("version", value, 0..=u32::MAX).is_some_and(|version| version != 1) {
        checker.error_with(&value.span(), "this version of the language is not known", "permitted: `1`");
    }
}

/// What one file has said, no other may say again: nobody could tell which of them is meant.
fn said_once(checker: &mut Checker<'_>, roots: &[Root<'_>]) {
    let mut said: HashMap<(&str, &str), Place> = HashMap::new();
    for root in roots {
        checker.enter(root.file);
        let tables = ["zones", "groups", "zone", "settings", "scan", "inspect", "history", "control"];
        for (name, value) in tables.into_iter().filter_map(|name| Some((name, root.section.get(name)?))) {
            let Some(table) = value.get_ref().as_table() else { continue };
            for key in table.keys() {
                let place = checker.place(&key.span());
                match said.get(&(name, key.get_ref())) {
                    Some(first) => {
                        let (key, first) = (key.get_ref(), checker.told(first));
                        let message = format!("`{key}` of `[{name}]` stands at {first} already");
                        checker.error(&place.span, message);
                    }
                    None => {
                        said.insert((name, key.get_ref()), place);
                    }
                }
            }
        }
    }
}

fn rules(checker: &mut Checker<'_>, roots: &[Root<'_>], given: &Given<'_, impl Files>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut seen: HashMap<String, Place> = HashMap::new();
    for root in roots {
        checker.enter(root.file);
        let Some(value) = root.section.get("rule") else { continue };
        let DeValue::Array(tables) = value.get_ref() else {
            checker.error_with(
                &value.span(),
                "`rule` is not a list of rules",
                "write `[[rule]]` above each rule",
            );
            continue;
        };
        for table in tables.iter() {
            let Some(section) = checker.table("rule", table) else { continue };
            let Some(rule) = rule::rule(checker, &section, given) else { continue };
            let media = rule::tls_media(checker, &section, given, &rule);
            match seen.get(&rule.name) {
                Some(first) => {
                    let message =
                        format!("a rule named `{}` stands at {} already", rule.name, checker.told(first));
                    checker.error_with(
                        &rule.place.span,
                        message,
                        "names are unique: counters are kept by name",
                    );
                }
                None => {
                    seen.insert(rule.name.clone(), rule.place.clone());
                    rules.push(rule);
                    for rule in media {
                        seen.insert(rule.name.clone(), rule.place.clone());
                        rules.push(rule);
                    }
                }
            }
        }
        // Entry 0 of the kernel's table is taken.
        if rules.len() >= MAX_RULES as usize {
            let message = format!("there are {} rules; at most {} can be loaded", rules.len(), MAX_RULES - 1);
            checker.error(&value.span(), message);
        }
    }
    rules
}
