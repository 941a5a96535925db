//! The reference page, `docs/rules.md`, held against the parser both ways.

mod memory;

use std::collections::{BTreeMap, BTreeSet};

use callgate_rules::{Report, RuleSet, reference, service};
use memory::Memory;

const PAGE: &str = include_str!("../../../docs/rules.md");

/// A row of one of the page's tables of keys.
#[derive(Debug)]
struct Row {
    table: String,
    key: String,
    /// Values, default and example, as they are written.
    values: String,
    default: String,
    example: String,
}

impl Row {
    /// Whether a file without it is wrong.
    fn is_required(&self) -> bool {
        ["required", "one of three"].contains(&self.default.as_str())
    }
}

/// The rate of a limit that is about something else.
const RATE: &str = "new = \"20/s\"";

/// Every row of every table of keys. A table is of the name its section's heading ends with.
fn rows() -> Vec<Row> {
    const HEAD: &str = "| Key | Values | Default | Example | Meaning |";
    let mut rows = Vec::new();
    let (mut table, mut within) = (String::new(), false);
    for line in PAGE.lines() {
        if line.starts_with('#') {
            table = code(line).last().copied().unwrap_or_default().to_owned();
        }
        within = line == HEAD || within && line.starts_with('|');
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if !within || line == HEAD || line.starts_with("|---") {
            continue;
        }
        let [key, values, default, example, meaning] = cells[..] else { panic!("five cells: {line}") };
        assert!(!meaning.is_empty(), "{line}");
        rows.push(Row {
            table: table.clone(),
            key: code(key)[0].to_owned(),
            values: values.to_owned(),
            default: default.to_owned(),
            example: example.to_owned(),
        });
    }
    rows
}

/// What stands between backquotes.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A whole file around some lines of a table.
fn file(table: &str, lines: &[&str]) -> String {
    let named = |line: &str, key: &str| line.trim_start().starts_with(key);
    let without = |defaults: &[&'static str]| -> Vec<&'static str> {
        let said = |default: &str| {
            let key =
                default.split('=').next().unwrap_or_default().trim().split('.').next().unwrap_or_default();
            lines.iter().any(|line| named(line, &format!("{key} ")) || named(line, &format!("{key}.")))
        };
        defaults.iter().filter(|default| !said(default)).copied().collect()
    };
    let all = |defaults: &[&'static str]| [&without(defaults)[..], lines].concat().join("\n");
    let listed = |defaults: &[&'static str]| [&without(defaults)[..], lines].concat().join(", ");
    let zones =
        "version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n[groups]\nphones = \"10.20.0.0/16\"\n";
    let rule = "[[rule]]\nname = \"a\"\n";
    let counts = lines.iter().any(|line| ["new", "packets", "bytes"].iter().any(|key| named(line, key)));
    let rate: &[&'static str] = if counts { &[] } else { &[RATE] };
    match table {
        "" => all(&["version = 1"]),
        "groups.NAME" => format!("version = 1\n[groups]\ncarriers = {{ {} }}\n", listed(&[])),
        "zone.NAME" => format!("{zones}[zone.outside]\n{}\n", all(&[])),
        "zone.NAME.l2" => format!("{zones}[zone.outside]\nl2 = {{ {} }}\n", listed(&[])),
        "rule" => format!("{zones}[[rule]]\n{}\n", all(&["name = \"a\"", "action = \"track\""])),
        "rule.limit" => format!("{zones}{rule}action = \"track\"\nlimit = {{ {} }}\n", listed(rate)),
        "rule.limit.per" | "rule.limit.above" => {
            let (key, per) =
                if table.ends_with("per") { ("per", "") } else { ("above", "per = \"source\", ") };
            let limit = format!("new = \"20/s\", {per}{key} = {{ {} }}", listed(&[]));
            format!("{zones}{rule}action = \"track\"\nlimit = {{ {limit} }}\n")
        }
        _ if table.starts_with("policy.") => {
            let policy = match table {
                "policy.permission.NAME" => format!("[policy.permission.far]\n{}", all(&[])),
                "policy.permission.NAME.patterns" => {
                    format!("[policy.permission.far]\npatterns = {{ {} }}", listed(&[]))
                }
                "policy.country" => format!("[policy.country]\n{}", all(&["code = \"1\""])),
                "policy.normalise" => format!("[[policy.normalise]]\n{}", all(&["pattern = \"9011\""])),
                "policy.caller" => {
                    format!("[[policy.caller]]\n{}", all(&["name = \"b\"", "from = \"10.0.0.0/8\""]))
                }
                "policy.caller.each" | "policy.caller.together" => {
                    let key = table.rsplit('.').next().unwrap_or_default();
                    format!(
                        "[[policy.caller]]\nname = \"b\"\nnumbers = \"1..\"\n{key} = {{ {} }}",
                        listed(&[])
                    )
                }
                "policy.after_hours" => {
                    let defaults = ["name = \"b\"", "patterns = \"9011\""];
                    format!("[[policy.after_hours]]\n{}", all(&defaults))
                }
                "policy.fraud.points" => format!("[policy.fraud]\npoints = {{ {} }}", listed(&[])),
                "policy.register" => format!("[[policy.register]]\n{}", all(&["name = \"b\""])),
                _ => format!("[{table}]\n{}", all(&[])),
            };
            let base = "[policy.permission.local]\npatterns = \"0\"\n[[policy.caller]]\nname = \"a\"\nnumbers = \"100\"\n";
            format!(
                "{zones}{base}{policy}\n{rule}service = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\n"
            )
        }
        _ => {
            let inspected = table.strip_prefix("inspect.").unwrap_or("sip");
            let inspected = inspected.split('.').next().unwrap_or_default();
            let rule =
                format!("{rule}service = \"{inspected}\"\naction = \"inspect\"\ninspect = \"{inspected}\"\n");
            format!("{zones}[{table}]\n{}\n{rule}", all(&[]))
        }
    }
}

fn load(text: &str) -> Result<RuleSet, String> {
    let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\naction = \"track\"\n");
    Memory::default()
        .with("f.toml", text)
        .with("sip-scanners.txt", "friendly-scanner # SIPVicious\n")
        .with("premium.txt", "91900 # all of them\n91976\n")
        .with("carriers.txt", "192.0.2.0/28 # a carrier\n")
        .with("voice.toml", &rule("included"))
        .with("rules.d/10.toml", &rule("first of the directory"))
        .load("f.toml")
}

/// What a file comes to, without where its text stands.
fn meaning(set: &RuleSet) -> String {
    let rules: Vec<String> = set
        .rules()
        .iter()
        .map(|rule| {
            let matches =
                (&rule.zones, &rule.from, &rule.to, &rule.services, &rule.vlans, &rule.dscps, &rule.when);
            let does =
                (rule.action, rule.limit, rule.log, &rule.advisory, &rule.media, &rule.h323, &rule.sip);
            format!("{} {matches:?} {does:?} {:?}", rule.name, rule.handling)
        })
        .collect();
    let kept = (set.control(), set.history(), set.call_policy().map(|plan| plan.spec()));
    format!(
        "{:?} {:?} {:?} {:?} {kept:?} {rules:?}",
        set.zones(),
        set.groups(),
        set.settings(),
        set.inspect()
    )
}

#[test]
fn the_page_has_the_keys_of_the_language() {
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows() {
        let new = written.entry(row.table.clone()).or_default().insert(row.key.clone());
        assert!(new, "`{}` stands twice in `{}`", row.key, row.table);
    }
    let known: BTreeMap<String, BTreeSet<String>> = reference::tables()
        .map(|(table, keys)| (table.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect()))
        .collect();
    let tables = |of: &BTreeMap<String, BTreeSet<String>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(tables(&written), tables(&known));
    for (table, keys) in &known {
        assert_eq!(&written[table], keys, "`{table}`");
    }
}

#[test]
fn examples_are_accepted_and_make_a_difference() {
    for row in rows() {
        let example = code(&row.example);
        let (last, needed) = example.split_last().unwrap_or_else(|| panic!("an example of {row:?}"));
        let key = last.split(['=', '.']).next().unwrap_or_default().trim();
        assert_eq!(key, row.key, "the example's last piece is of the key: {row:?}");
        let with = load(&file(&row.table, &example)).unwrap_or_else(|report| panic!("{row:?}\n{report}"));
        if let Ok(without) = load(&file(&row.table, needed)) {
            let changes = row.is_required() || meaning(&with) != meaning(&without);
            assert!(changes, "the example does nothing: {row:?}");
        }
    }
}

#[test]
fn values_are_accepted() {
    for row in rows() {
        let example = code(&row.example);
        let needed = &example[..example.len() - 1];
        for value in code(&row.values) {
            let line = format!("{} = {value}", row.key);
            if let Err(report) = load(&file(&row.table, &[needed, &[&line]].concat())) {
                panic!("{row:?}: {value}\n{report}");
            }
        }
    }
}

#[test]
fn defaults_are_those_of_the_code() {
    let mut compared = 0;
    for row in rows() {
        let example = code(&row.example);
        let needed = &example[..example.len() - 1];
        let without = file(&row.table, needed);
        if row.is_required() {
            let lines = without.lines().filter(|line| !line.starts_with(&row.key));
            let without = lines.collect::<Vec<_>>().join("\n").replace(RATE, "");
            assert!(load(&without).is_err(), "{row:?}");
            continue;
        }
        let without = load(&without).unwrap_or_else(|report| panic!("{row:?}\n{report}"));
        let [default] = code(&row.default)[..] else { continue };
        let line = format!("{} = {default}", row.key);
        let with = load(&file(&row.table, &[needed, &[&line]].concat()));
        let with = with.unwrap_or_else(|report| panic!("{row:?}\n{report}"));
        assert_eq!(meaning(&with), meaning(&without), "{row:?}");
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn files_in_the_page_are_accepted_without_a_warning() {
    let files: Vec<&str> =
        PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let set = load(file).unwrap_or_else(|report| panic!("{report}"));
        assert!(set.warnings().is_empty(), "{}", Report(set.warnings()));
    }
}

#[test]
fn the_page_has_every_name_a_service_can_have() {
    for (name, _) in service::named() {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
}
