use std::fs;
use std::path::PathBuf;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::{Cli, Command};

const RULES: &str = r#"version = 1

[zones]
outside = "eth0"

[[rule]]
name    = "sip"
to      = "198.51.100.7"
service = "sip"
action  = "inspect"
inspect = "sip"

[[rule]]
name    = "marked"
vlan    = 100
dscp    = "ef"
action  = "pass"
"#;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("rules.toml"), RULES).expect("written");
        Self { folder }
    }

    fn rules(&self) -> String {
        self.folder.path().join("rules.toml").display().to_string()
    }

    fn run(&self, words: &[&str]) -> anyhow::Result<(Outcome, String)> {
        let rules = self.rules();
        let all =
            ["fwctl", "--socket", "/nonexistent/socket", "explain"].into_iter().chain(words.iter().copied());
        let all = all.map(|word| if word == "RULES" { rules.as_str() } else { word });
        let cli = Cli::try_parse_from(all)?;
        let Command::Explain(args) = &cli.command else { panic!("another command") };
        let mut out = Vec::new();
        let outcome = run(&Client::new(&cli.socket), args, cli.json, &mut out)?;
        Ok((outcome, String::from_utf8(out).expect("text")))
    }

    fn told(&self, words: &[&str]) -> (Outcome, String) {
        self.run(words).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn wrong(&self, words: &[&str]) -> String {
        format!("{:#}", self.run(words).expect_err("it is wrong"))
    }
}

#[test]
fn a_described_packet_is_followed_to_its_verdict() {
    let bench = Bench::new();
    let words =
        ["--rules", "RULES", "--in", "eth0", "--from", "192.0.2.1:5060", "--to", "198.51.100.7", "udp/5060"];
    let (outcome, text) = bench.told(&words);
    assert_eq!(outcome, Outcome::Yes);
    let expected = format!(
        "parse      IPv4 UDP 192.0.2.1:5060 → 198.51.100.7:5060, 28 bytes\n             from zone outside\n\
         sanity     nothing odd about it\n\
         blocks     192.0.2.1 is not blocked\n\
         flow       none is known between these ends\n\
         pinhole    none at 198.51.100.7:5060/udp\n\
         rules      the first that matches is rule `sip` ({0}:7): inspect sip\n\
         {1}\
         budget     192.0.2.1 is a stranger: within the budget of new flows of strangers, 20000/s on each CPU\n\
         memory     entered as a flow: answers pass, and what follows within 30 s\n\
         {2}its sip is read under rule `sip` ({0}:7)\n\
         verdict    passes: rule\n\
         {2}Permitted by a rule.\n\
         {2}by rule `sip` ({0}:7)\n\
         {2}its sip is read before it goes on\n",
        bench.rules(),
        "",
        "             ",
    );
    let without_rule: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("| ") && !line.contains("→ one cell"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(without_rule.starts_with(&expected), "{text}\n{expected}");
    assert!(
        text.contains("             | inspect = \"sip\"\n             zone outside, source class"),
        "{text}"
    );
    // Nothing is a message.
    assert!(text.lines().last().expect("lines").starts_with("signalling sip was read, and "), "{text}");
}

#[test]
fn what_is_dropped_is_a_no_and_programs_get_json() {
    let bench = Bench::new();
    let base = [
        "--json",
        "--rules",
        "RULES",
        "--in",
        "outside",
        "--from",
        "2001:db8::1",
        "--to",
        "[2001:db8::2]:80",
    ];
    let (outcome, text) = bench.told(&[&base[..], &["tcp"]].concat());
    assert_eq!(outcome, Outcome::No);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&told["passes"], &told["reason"], &told["rule"]),
        (&false.into(), &"default-drop".into(), &Value::Null)
    );
    let marked = [&base[..], &["tcp", "--vlan", "100", "--dscp", "46", "--flags", "syn,ack"]].concat();
    let (outcome, text) = bench.told(&marked);
    assert_eq!(outcome, Outcome::Yes);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&told["rule"]["name"], &told["rule"]["line"]), (&"marked".into(), &14.into()));
    let parsed = "IPv6 TCP [2001:db8::1]:49152 → [2001:db8::2]:80, SYN+ACK, 60 bytes, VLAN 100, DSCP 46";
    assert_eq!(told["steps"][0]["text"], parsed);
}

#[test]
fn a_frame_of_a_capture_finds_what_those_before_it_have_opened() {
    let bench = Bench::new();
    let here = |path: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string();
    let capture = here("../../tests/captures/sip-pbx-udp-ab.pcap");
    let rules = here("../../tests/captures/replay.toml");
    let (outcome, text) = bench.told(&["--capture", &capture, "--frame", "40", "--rules", &rules]);
    assert_eq!(outcome, Outcome::Yes);
    assert!(text.contains("pinhole    rtp at 10.77.1.10:20022/udp: it admits this sender\n"), "{text}");
    assert!(text.contains(": sip 875163a601b4a62b, alice@10.77.2.30 ("), "{text}");
    assert!(text.contains("the call's signalling: rule `sip` ("), "{text}");
    let (_, text) = bench.told(&["--capture", &capture, "--frame", "14", "--rules", &rules]);
    assert!(text.contains("signalling sip was read, and the packet goes on\n"), "{text}");
    assert!(text.contains("opens rtp at 10.77.1.10:20022/udp\n"), "{text}");
    let late = bench.wrong(&["--capture", &capture, "--frame", "99999", "--rules", &rules]);
    assert!(late.ends_with("has no frame 99999"), "{late}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let bench = Bench::new();
    let to = |service: &'static str, more: &[&'static str]| {
        let base = ["--rules", "RULES", "--in", "outside", "--from", "192.0.2.1", "--to", "192.0.2.2"];
        bench.wrong(&[&base[..], &[service], more].concat())
    };
    assert!(to("tcp", &[]).starts_with("to which port?"));
    assert!(to("icmp", &[]).starts_with("`icmp` is no one message"));
    assert!(to("any", &[]).starts_with("`any` is no one packet"));
    assert!(to("icmpv6/128", &[]).starts_with("icmpv6 goes with IPv6"));
    assert!(to("tpc/80", &[]).contains("tpc"));
    assert!(to("tcp/80", &["--flags", "ack,sin"]).contains("no flag `sin`"));
    let words =
        ["--rules", "RULES", "--in", "outside", "--from", "192.0.2.1", "--to", "2001:db8::1", "udp/9"];
    assert!(bench.wrong(&words).ends_with("are not of one family"));
    let words = ["--rules", "RULES", "--in", "dmz", "--from", "192.0.2.1", "--to", "192.0.2.2", "udp/9"];
    assert!(bench.wrong(&words).starts_with("no zone or interface `dmz`"));
    let words = ["--in", "outside", "--from", "192.0.2.1", "--to", "192.0.2.2", "udp/9"];
    assert!(
        bench.wrong(&words).starts_with("cannot reach the daemon"),
        "without --rules the daemon is asked"
    );
    for incomplete in [&["--in", "outside"][..], &["--capture", "x"], &["--frame", "3"], &["sip"]] {
        assert!(bench.run(incomplete).is_err(), "{incomplete:?}");
    }
}
