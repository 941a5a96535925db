//! The `[control]` table.

use super::checker::{Checker, Root, Section, Value};
use super::history::syslog;
use crate::ruleset::Control;

/// Keys of `[control]`.
pub(super) const KEYS: [&str; 6] = ["admins", "metrics", "operators", "syslog", "viewers", "watch"];

/// Who may do what; only root and the daemon's own user where no file says more.
pub(super) fn control(checker: &mut Checker<'_>, roots: &[Root<'_>]) -> Control {
    let mut control = Control::default();
    for root in roots {
        checker.enter(root.file);
        let Some(value) = root.section.get("control") else { continue };
        let Some(section) = checker.table("control", value) else { continue };
        lay_over(checker, &section, &mut control);
    }
    control
}

fn lay_over(checker: &mut Checker<'_>, section: &Section<'_>, control: &mut Control) {
    checker.known_keys(section, &KEYS);
    for (key, value) in section.entries() {
        let key: &str = key.get_ref();
        match key {
            "viewers" => control.viewers = groups(checker, key, value),
            "operators" => control.operators = groups(checker, key, value),
            "admins" => control.admins = groups(checker, key, value),
            "syslog" => control.syslog = syslog(checker, value),
            "watch" => control.watch = checker.boolean(key, value).unwrap_or_default(),
            "metrics" => control.metrics = metrics(checker, value),
            _ => {}
        }
    }
}

/// A name or a list of names of the system's groups.
fn groups(checker: &mut Checker<'_>, key: &str, value: &Value<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for word in checker.strings(key, value) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-$".contains(c);
        if word.text.is_empty() || word.text.len() > Control::GROUP || !word.text.chars().all(plain) {
            let message = format!("`{}` is not a group of this system", word.text);
            checker.error_with(&word.span, message, "write its name or number, as in /etc/group");
        } else {
            names.push(word.text.to_owned());
        }
    }
    names
}

fn metrics(checker: &mut Checker<'_>, value: &Value<'_>) -> Option<std::net::SocketAddr> {
    let word = checker.string("metrics", value)?;
    let address = word.text.parse().ok();
    if address.is_none() {
        let message = format!("`{}` is not an address with a port", word.text);
        checker.error_with(&word.span, message, "write `\"127.0.0.1:9640\"` or `\"[::1]:9640\"`");
    }
    address
}

#[cfg(test)]
mod tests {
    use crate::RuleSet;

    fn set(control: &str) -> Result<RuleSet, String> {
        let text = format!("version = 1\n[zones]\noutside = \"eth0\"\n[control]\n{control}\n");
        RuleSet::parse("f.toml", &text).map_err(|found| crate::Report(&found).to_string())
    }

    #[test]
    fn roles_are_given_to_groups_and_to_nobody_unless_said() {
        let set = set("viewers = \"adm\"\nadmins = [\"wheel\", \"1200\"]").expect("valid rules");
        let control = set.control();
        assert_eq!(control.viewers, ["adm"]);
        assert_eq!(control.operators, [""; 0]);
        assert_eq!(control.admins, ["wheel", "1200"]);
        assert!(!control.watch && control.metrics.is_none());
    }

    #[test]
    fn what_is_no_group_or_address_is_told() {
        for (wrong, words) in [
            ("viewers = \"a:b\"", "not a group"),
            ("viewers = \"\"", "not a group"),
            ("admins = 7", "a string or a list of strings"),
            ("metrics = \"127.0.0.1\"", "not an address with a port"),
            ("syslog = \"tcp://192.0.2.9\"", "no place for syslog"),
            ("watch = \"yes\"", "`true` or `false`"),
            ("viewer = \"adm\"", "unknown key"),
        ] {
            let report = set(wrong).expect_err(wrong);
            assert!(report.contains(words), "{wrong}: {report}");
        }
    }
}
