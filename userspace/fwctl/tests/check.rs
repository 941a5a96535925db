//! `fwctl check` as its callers see it: exit status, stdout and stderr.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

const GOOD: &str = "\
version = 1
[zones]
outside = [\"eth0\"]
[[rule]]
name = \"sip\"
service = \"sip\"
action = \"track\"
";
const UNWISE: &str = "\
version = 1
[zones]
outside = [\"eth0\"]
[groups]
admins = \"10.9.9.0/28\"
[[rule]]
name = \"web\"
service = \"https\"
action = \"track\"
[[rule]]
name = \"web from admins\"
from = \"admins\"
service = \"https\"
action = \"drop\"
";

/// Files beside each other.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("a file");
        }
        Self(directory)
    }

    /// `fwctl check rules.toml …`: exit status, stdout, stderr.
    fn check(&self, arguments: &[&str]) -> (i32, String, String) {
        self.check_from(None, arguments)
    }

    /// The same from an SSH session.
    fn check_from(&self, session: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
        command.env_remove("SSH_CONNECTION").envs(session.map(|session| ("SSH_CONNECTION", session)));
        command.current_dir(self.0.path()).args(["check", "rules.toml"]).args(arguments);
        let output = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("an exit status"), text(output.stdout), text(output.stderr))
    }
}

/// stdout of a check with --json.
fn answer(out: &str) -> Value {
    serde_json::from_str(out).expect("JSON")
}

#[test]
fn good_rules_are_counted() {
    let files = Files::new(&[("rules.toml", GOOD)]);
    for arguments in [&[][..], &["--strict"]] {
        let (status, out, err) = files.check(arguments);
        assert_eq!((status, err.as_str()), (0, ""));
        let (counts, kernel) = out.split_once("; ").expect("two parts");
        assert_eq!(counts, "rules.toml: good (1 rule, 1 zone, 0 groups");
        assert!(kernel.starts_with("product of ") && kernel.ends_with(" of memory)\n"), "{out}");
    }
    let (status, out, _) = files.check(&["--json"]);
    let answer = answer(&out);
    assert_eq!((status, &answer["ok"], &answer["diagnostics"]), (0, &json!(true), &json!([])));
    assert_eq!((&answer["kernel"]["form"], &answer["rules"]), (&json!("product"), &json!(1)));
    assert!(answer["kernel"]["bytes"].as_u64().expect("bytes") > 100_000, "the table of services alone");
}

/// A policy whose emergency pattern has ten numbers, each of which is tried.
const POLICY: &str = "
[policy]
emergency = [\"11[0-9]\", \"9911\"]
unmatched = \"refuse\"
[policy.permission]
local = { patterns = [\"0\"] }
[[policy.caller]]
name = \"office\"
numbers = [\"2..\"]
outgoing = [\"local\"]
";

#[test]
fn emergency_numbers_are_tried_and_said_to_be_free() {
    let files = Files::new(&[("rules.toml", &format!("{GOOD}{POLICY}"))]);
    let (status, out, _) = files.check(&[]);
    assert_eq!(status, 0, "{out}");
    let told = "call policy: 1 permission, 1 pattern, 1 caller, 11 emergency numbers tried, none refused";
    assert!(out.contains(told), "{out}");
    let (status, out, _) = files.check(&["--json"]);
    assert_eq!((status, &answer(&out)["call_policy"]["emergency_numbers"]), (0, &json!(11)), "{out}");
    // What would decide about one of them is an error with its place.
    let shadowed = POLICY.replace("patterns = [\"0\"]", "patterns = [\"0\", \"112$\"]");
    let files = Files::new(&[("rules.toml", &format!("{GOOD}{shadowed}"))]);
    let (status, out, error) = files.check(&[]);
    assert_eq!(status, 1, "{out}");
    assert!(error.contains("rules.toml:") && error.contains("112$"), "{error}");
}

#[test]
fn bad_rules_are_refused() {
    let files = Files::new(&[("rules.toml", &GOOD.replace("\"track\"", "\"trakc\""))]);
    let (status, out, err) = files.check(&[]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("rules.toml:7:10: error: ") && err.contains("did you mean `track`?"), "{err}");

    let (status, out, err) = files.check(&["--json"]);
    let answer = answer(&out);
    assert_eq!(
        (status, err.as_str(), &answer["ok"], &answer["kernel"]),
        (1, "", &json!(false), &Value::Null)
    );
    let finding = &answer["diagnostics"][0];
    let [severity, line, column, lint] = ["severity", "line", "column", "lint"].map(|key| &finding[key]);
    assert_eq!((severity, line, column, lint), (&json!("error"), &json!(7), &json!(10), &Value::Null));
}

#[test]
fn unwise_rules_are_taken_but_not_strictly() {
    let files = Files::new(&[("rules.toml", UNWISE)]);
    let report = "\
rules.toml:7:8: warning[open-management]: rule `web` opens https (tcp/443) to everybody in zone `outside`
  |
7 | name = \"web\"
  |        ^^^^^
  = name the management stations in its `from`

rules.toml:11:8: warning[unreachable-rule]: no packet reaches rule `web from admins`: rule `web` (rules.toml:7) matches all of its packets first
   |
11 | name = \"web from admins\"
   |        ^^^^^^^^^^^^^^^^^
   = move it above `web`, or remove it

0 errors, 2 warnings
";
    let (status, out, err) = files.check(&[]);
    assert_eq!((status, err.as_str()), (0, report));
    assert!(out.starts_with("rules.toml: good (2 rules, 1 zone, 1 group; "), "{out}");
    let (status, out, err) = files.check(&["--strict"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, format!("{report}rules.toml: warnings are not permitted (--strict)\n"));

    let (status, out, _) = files.check(&["--strict", "--json"]);
    let answer = answer(&out);
    assert_eq!((status, &answer["ok"], &answer["warnings"]), (1, &json!(false), &json!(2)));
    let lints: Vec<&Value> =
        answer["diagnostics"].as_array().expect("a list").iter().map(|it| &it["lint"]).collect();
    assert_eq!(lints, ["open-management", "unreachable-rule"]);
    assert_eq!(answer["diagnostics"][1]["file"], "rules.toml");
}

#[test]
fn a_lint_may_be_allowed() {
    let files = Files::new(&[("rules.toml", UNWISE)]);
    let (status, _, err) = files.check(&["--strict", "--allow", "open-management"]);
    assert!(status == 1 && !err.contains("open-management") && err.contains("unreachable-rule"), "{err}");
    let both = ["--strict", "--allow", "open-management", "--allow", "unreachable-rule"];
    assert_eq!((files.check(&both).0, files.check(&both).2.as_str()), (0, ""));
    let (status, _, err) = files.check(&["--allow", "open-managment"]);
    assert!(status == 2 && err.contains("'open-management'"), "{err}");
}

#[test]
fn findings_name_the_file_they_are_in() {
    let main = GOOD.replace("version = 1", "version = 1\ninclude = \"more.toml\"");
    let more = "[[rule]]\nname = \"udp\"\nservice = \"udp\"\naction = \"drop\"\n[[rule]]\nname = \"tcp\"\n\
                service = \"tcp\"\naction = \"drop\"\n[groups]\nspare = \"10.0.0.1\"\n";
    let (status, _, err) = Files::new(&[("rules.toml", &main), ("more.toml", more)]).check(&[]);
    let first = "rules.toml:6:8: warning[unreachable-rule]: no packet reaches rule `sip`: rules `udp` (more.toml:2) and \
                 `tcp` (more.toml:6) match all of its packets first\n";
    assert!(status == 0 && err.starts_with(first), "{err}");
    assert!(err.contains("\nmore.toml:10:1: warning[unused-group]: nothing names group `spare`\n"), "{err}");
}

#[test]
fn the_session_one_sits_in_is_spoken_of() {
    let rules = |interface: &str, from: &str| {
        let text = format!(
            "version = 1\n[zones]\nhere = [\"{interface}\"]\n[[rule]]\nname = \"ssh\"\nfrom = \"{from}\"\nservice = \"ssh\"\naction = \"track\"\n"
        );
        Files::new(&[("rules.toml", &text)])
    };
    let session = Some("192.0.2.7 51000 127.0.0.1 22");
    let (status, _, err) = rules("lo", "192.0.2.8").check_from(session, &["--strict"]);
    let says = "rules.toml:1:1: warning[locked-out]: the default of zone `here` refuses the session you are on \
                (192.0.2.7 → 127.0.0.1, tcp/22, from zone `here`)\n";
    assert!(status == 1 && err.starts_with(says), "{err}");
    assert!(err.contains("= above, add a rule") || err.contains("= add a rule"), "{err}");

    let silent = |files: Files, session| {
        let (status, _, err) = files.check_from(session, &["--strict"]);
        assert_eq!((status, err.as_str()), (0, ""), "{session:?}");
    };
    silent(rules("lo", "192.0.2.7"), session);
    silent(rules("lo", "192.0.2.8"), None);
    silent(rules("lo", "192.0.2.8"), Some("192.0.2.7 51000 192.0.2.250 22"));
    silent(rules("eth0", "192.0.2.8"), session);
    silent(rules("lo", "192.0.2.8"), Some("nonsense"));
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    let files = Files::new(&[]);
    let (status, out, err) = files.check(&[]);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.starts_with("fwctl: cannot read rules.toml: "), "{err}");
    assert_eq!(err.matches("No such file").count(), 1, "said once: {err}");
}
