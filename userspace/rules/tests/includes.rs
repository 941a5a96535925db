//! Several files make one rule set: their order, their names in diagnostics, and what they cannot do.

mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callgate_rules::{Disk, LoadError, Report, RuleSet};
use memory::Memory;

fn rule(name: &str, rest: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"track\"\n{rest}\n")
}

fn names(set: &RuleSet) -> Vec<&str> {
    set.rules().iter().map(|rule| rule.name.as_str()).collect()
}

/// The first line of each diagnostic.
fn heads(report: &str) -> Vec<&str> {
    report.lines().filter(|line| line.contains(": error: ") || line.contains(": warning: ")).collect()
}

#[test]
fn included_rules_stand_before_those_of_the_file() {
    let files = Memory::default()
        .with(
            "etc/main.toml",
            &format!("version = 1\ninclude = [\"voice.toml\", \"rules.d\"]\n{}", rule("main", "")),
        )
        .with("etc/voice.toml", &format!("include = \"deep/er.toml\"\n{}", rule("voice", "")))
        .with("etc/deep/er.toml", &rule("deeper", ""))
        .with("etc/rules.d/20.toml", &rule("twenty", ""))
        .with("etc/rules.d/10.toml", &rule("ten", ""))
        .with("etc/rules.d/.hidden.toml", "not TOML")
        .with("etc/rules.d/readme.txt", "not TOML");
    let set = files.load("etc/main.toml").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(names(&set), ["deeper", "voice", "ten", "twenty", "main"]);
    let read: Vec<&str> = set.files().collect();
    assert_eq!(
        read,
        ["etc/main.toml", "etc/voice.toml", "etc/deep/er.toml", "etc/rules.d/10.toml", "etc/rules.d/20.toml"]
    );
    let places: Vec<_> = set.rules().iter().map(|rule| (set.file_of(rule), rule.position.line)).collect();
    assert_eq!(places[0], ("etc/deep/er.toml", 2));
    assert_eq!(places[4], ("etc/main.toml", 4));
}

#[test]
fn names_are_known_in_every_file() {
    let files = Memory::default()
        .with(
            "main.toml",
            &format!(
                "version = 1\ninclude = \"groups.toml\"\n[zones]\noutside = \"eth0\"\n[groups]\nphones = \"10.20.0.0/16\"\n{}",
                rule("a", "in = \"inside\"\nfrom = \"both\"")
            ),
        )
        .with(
            "groups.toml",
            "[zones]\ninside = \"eth1\"\n[groups]\nboth = [\"phones\", \"10.1.1.10\"]\n[settings]\ndefault = { outside = \"drop\" }\n",
        );
    let set = files.load("main.toml").unwrap_or_else(|report| panic!("{report}"));
    assert!(set.rules()[0].from.contains("10.20.1.1".parse().expect("an address")));
    assert!(set.warnings().is_empty());
}

#[test]
fn diagnostics_name_the_file_they_are_about() {
    let files = Memory::default()
        .with(
            "main.toml",
            &format!(
                "version = 1\ninclude = \"b.toml\"\n[groups]\nphones = \"::1\"\n{}",
                rule("a", "to = \"fones\"")
            ),
        )
        .with(
            "b.toml",
            &format!("[groups]\nphones = \"::2\"\n{}{}", rule("a", ""), rule("b", "from = \"phone\"")),
        );
    let report = files.load("main.toml").expect_err("it is wrong");
    assert_eq!(
        heads(&report),
        [
            "main.toml:4:1: error: `phones` of `[groups]` stands at b.toml:2 already",
            "main.toml:6:8: error: a rule named `a` stands at b.toml:4 already",
            "main.toml:8:6: error: there is no group `fones`",
            "b.toml:10:8: error: there is no group `phone`",
        ]
    );
    assert!(report.contains("8 | to = \"fones\"") && report.contains("10 | from = \"phone\""), "{report}");
}

#[test]
fn a_file_is_read_once_and_never_within_itself() {
    let twice = Memory::default()
        .with("main.toml", "version = 1\ninclude = [\"a.toml\", \"b.toml\"]\n")
        .with("a.toml", "include = \"common.toml\"\n")
        .with("b.toml", "include = \"./x/../common.toml\"\n")
        .with("common.toml", &rule("common", ""));
    assert_eq!(names(&twice.load("main.toml").unwrap_or_else(|report| panic!("{report}"))), ["common"]);

    let circle = Memory::default()
        .with("main.toml", "version = 1\ninclude = \"a.toml\"\n")
        .with("a.toml", "include = \"main.toml\"\n");
    let report = circle.load("main.toml").expect_err("a circle");
    assert_eq!(heads(&report), ["a.toml:1:11: error: `main.toml` includes itself"]);
}

#[test]
fn depth_is_bounded() {
    let chain = |links: usize| {
        let mut files = Memory::default().with("0.toml", "version = 1\ninclude = \"1.toml\"\n");
        for link in 1..links {
            files = files.with(&format!("{link}.toml"), &format!("include = \"{}.toml\"\n", link + 1));
        }
        files.with(&format!("{links}.toml"), &rule("last", ""))
    };
    assert_eq!(names(&chain(8).load("0.toml").unwrap_or_else(|report| panic!("{report}"))), ["last"]);
    let report = chain(9).load("0.toml").expect_err("too deep");
    assert_eq!(heads(&report), ["8.toml:1:11: error: files include one another more than 8 deep"]);
}

#[test]
fn what_cannot_be_read_is_told_where_it_is_named() {
    let files = Memory::default()
        .with("main.toml", "version = 1\ninclude = [\"gone.toml\", \"b.toml\"]\n")
        .with("b.toml", "[zones\n");
    let report = files.load("main.toml").expect_err("it is wrong");
    let heads = heads(&report);
    assert!(heads[0].starts_with("main.toml:2:12: error: cannot read `gone.toml`"), "{report}");
    assert!(heads[1].starts_with("b.toml:1:7: error: unclosed table"), "{report}");
    assert!(matches!(RuleSet::load(Path::new("none.toml"), &files), Err(LoadError::Read { .. })));

    let alone = RuleSet::parse("f.toml", "version = 1\ninclude = \"x.toml\"\n").expect_err("it is wrong");
    assert!(alone[0].message.contains("other files are not read here"), "{}", Report(&alone));
}

#[test]
fn groups_are_read_from_files_of_addresses() {
    let main = "version = 1\n[groups]\ncarriers = { file = \"lists/carriers.txt\" }\nnot_them = [\"10.0.0.0/8\", \"!carriers\"]\n";
    let list = "# Carriers\n\n192.0.2.0/28   # the first\n  2001:db8::/32\r\n10.0.0.5-10.0.0.9\n203.0.113.7";
    let files = Memory::default().with("etc/main.toml", main).with("etc/lists/carriers.txt", list);
    let set = files.load("etc/main.toml").unwrap_or_else(|report| panic!("{report}"));
    let among = |group: &str, ip: &str| set.groups()[group].contains(ip.parse().expect("an address"));
    for inside in ["192.0.2.15", "2001:db8::1", "10.0.0.5", "10.0.0.9", "203.0.113.7"] {
        assert!(among("carriers", inside), "{inside}");
    }
    assert!(
        !among("carriers", "10.0.0.10") && !among("not_them", "10.0.0.7") && among("not_them", "10.0.0.4")
    );
    assert!(set.files().any(|file| file == "etc/lists/carriers.txt"));
}

#[test]
fn lines_of_a_file_of_addresses_are_told_and_not_without_end() {
    let main = "version = 1\n[groups]\ncarriers = { file = \"c.txt\" }\n";
    let files = Memory::default().with("main.toml", main).with("c.txt", "10.0.0.1/24\n10.0.0.300\nphones\n");
    let report = files.load("main.toml").expect_err("it is wrong");
    assert_eq!(
        heads(&report),
        [
            "c.txt:1:1: warning: `10.0.0.1/24` has bits set behind its length",
            "c.txt:2:1: error: `10.0.0.300` is not an address or a prefix",
            "c.txt:3:1: error: there is no group `phones`",
        ]
    );
    let files = Memory::default().with("main.toml", main).with("c.txt", &"x\n".repeat(1_000));
    let report = files.load("main.toml").expect_err("it is wrong");
    assert_eq!(heads(&report).len(), 21);

    let list: String = (0..250).map(|n| format!("10.0.{n}.1/24\n")).collect();
    let files = Memory::default().with("main.toml", main).with("c.txt", &list);
    let set = files.load("main.toml").unwrap_or_else(|report| panic!("{report}"));
    assert!(set.groups()["carriers"].contains("10.0.249.7".parse().expect("an address")));
    assert_eq!(set.warnings().len(), 20);
}

#[test]
fn a_hundred_thousand_prefixes_are_read_quickly() {
    let list: String =
        (0..100_000u32).map(|n| format!("{}.{}.{}.0/25\n", 11 + (n >> 16), n >> 8 & 255, n & 255)).collect();
    let main = "version = 1\n[groups]\nmany = { file = \"many.txt\" }\n";
    let rules: String = (0..1_000).map(|n| rule(&n.to_string(), "from = \"many\"")).collect();
    let files = Memory::default().with("main.toml", &format!("{main}{rules}")).with("many.txt", &list);
    let begin = Instant::now();
    let set = files.load("main.toml").unwrap_or_else(|report| panic!("{report}"));
    // Generous: it is for what takes time by the product of rules and prefixes.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(set.groups()["many"].prefixes().len(), 100_000);
}

#[test]
fn files_are_read_from_disk() {
    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let directory = Directory(std::env::temp_dir().join(format!("callgate-includes-{}", std::process::id())));
    let path = |name: &str| directory.0.join(name);
    fs::create_dir_all(path("rules.d")).expect("a directory");
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("a file");
    write("main.toml", "version = 1\ninclude = \"rules.d/\"\n[groups]\nhosts = { file = \"hosts.txt\" }\n");
    write("rules.d/b.toml", &rule("b", "from = \"hosts\""));
    write("rules.d/a.toml", &format!("include = \"../main.toml\"\n{}", rule("a", "")));
    write("hosts.txt", "192.0.2.1\n");
    let Err(LoadError::Invalid(circle)) = RuleSet::load(&path("main.toml"), &Disk) else {
        panic!("a circle")
    };
    assert!(circle[0].message.ends_with("includes itself"));
    write("rules.d/a.toml", &rule("a", ""));
    let set = RuleSet::load(&path("main.toml"), &Disk).expect("it is right");
    assert_eq!(names(&set), ["a", "b"]);
    assert!(set.rules()[1].from.contains("192.0.2.1".parse().expect("an address")));
    let Err(LoadError::Read { .. }) = RuleSet::load(&path("none.toml"), &Disk) else { panic!("no file") };
}
