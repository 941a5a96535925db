//! `[history]`: what is kept of calls that are over.

use std::time::Duration;

use callgate_rules::ruleset::{Database, History, Syslog};
use callgate_rules::{Report, RuleSet};

fn parsed(table: &str) -> Result<Option<History>, String> {
    let text = format!(
        "version = 1\n[zones]\noutside = \"eth0\"\n{table}\n[[rule]]\nname = \"all\"\naction = \"pass\"\n"
    );
    let set = RuleSet::parse("f.toml", &text).map_err(|diagnostics| Report(&diagnostics).to_string())?;
    Ok(set.history().cloned())
}

#[test]
fn nothing_is_kept_unless_the_file_says_so() {
    assert_eq!(parsed(""), Ok(None));
    assert_eq!(parsed("[history]"), Ok(Some(History::default())));
}

#[test]
fn all_of_it_is_read() {
    let table = "[history]\nretain = \"30d\"\nmax = 2_000_000\ndatabase = \"postgres://fw:secret@db/calls\"\nmask = 4\n\
                 syslog = \"udp://[2001:db8::9]\"\nfile = \"/var/log/calls.json\"\nwebhook = \"https://h/p?q\"";
    let history = History {
        retain: Duration::from_secs(30 * 86_400),
        max: 2_000_000,
        database: Database::Postgres("postgres://fw:secret@db/calls".to_owned()),
        mask: 4,
        syslog: Some(Syslog::Udp("[2001:db8::9]:514".parse().expect("an address"))),
        webhook: Some("https://h/p?q".to_owned()),
        file: Some("/var/log/calls.json".into()),
    };
    assert_eq!(parsed(table), Ok(Some(history)));
    let unix = parsed("[history]\nsyslog = \"unix:///dev/log\"").expect("rules").expect("a history");
    assert_eq!(unix.syslog, Some(Syslog::Unix("/dev/log".into())));
    let file = parsed("[history]\ndatabase = \"/srv/calls.db\"").expect("rules").expect("a history");
    assert_eq!(file.database, Database::Sqlite("/srv/calls.db".into()));
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (line, told, hint) in [
        ("retian = \"7d\"", "unknown key `retian`", "`retain`"),
        ("retain = 7", "`retain` has no unit", "\"7s\""),
        ("max = 10", "`max` is out of range", "1000 to 100000000"),
        ("mask = 33", "`mask` is out of range", "0 to 32"),
        ("database = \"calls.db\"", "`calls.db` is not a file or", "from `/` on"),
        ("database = \"mysql://db/calls\"", "is not a file or", "postgres://"),
        ("file = \"/\"", "`/` is not a file", "from `/` on"),
        ("syslog = \"192.0.2.9\"", "is no place for syslog", "udp://"),
        ("syslog = \"tcp://192.0.2.9\"", "is no place for syslog", "unix://"),
        ("webhook = \"ftp://h/\"", "is not a URL", "https://"),
        ("webhook = \"http:///p\"", "is not a URL", "https://"),
    ] {
        let report = parsed(&format!("[history]\n{line}")).expect_err(line);
        assert!(report.contains(told) && report.contains(hint), "{line}\n{report}");
        assert!(report.contains("f.toml:5:"), "{line}\n{report}");
    }
}
