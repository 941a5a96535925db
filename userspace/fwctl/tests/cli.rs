//! The tool as its callers see it: exit status, stdout and stderr, against a daemon that knows its answers by heart.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

struct Daemon {
    directory: TempDir,
}

impl Daemon {
    /// Gives `answers` (status and body by path) for as long as the test runs.
    fn start(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("socket")).expect("a socket");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.expect("a client"), &answers);
            }
        });
        Self { directory }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        fwctl()
            .arg("--socket")
            .arg(self.directory.path().join("socket"))
            .args(arguments)
            .output()
            .expect("it runs")
    }
}

fn answer(mut stream: UnixStream, answers: &[(&str, u16, Value)]) {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).expect("a request");
    let request = String::from_utf8_lossy(&request[..length]);
    let path = request.split(' ').nth(1).and_then(|path| path.split('?').next()).expect("a request line");
    let (_, status, body) = answers.iter().find(|(of, ..)| *of == path).expect("an answer for it");
    let body = body.to_string();
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n\r\n{body}")
        .expect("a client that reads");
}

fn fwctl() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fwctl"))
}

/// Exit status, stdout, stderr.
fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("an exit status"), text(&output.stdout), text(&output.stderr))
}

fn counters() -> Value {
    json!({"total": 2, "rows": [
        {"interface": "eth0", "reason": "pinhole", "dropped": false, "packets": 1234567, "bytes": 246913400},
        {"interface": "eth0", "reason": "no-pinhole", "dropped": true, "packets": 12, "bytes": 2400},
    ]})
}

#[test]
fn flows_are_killed_by_what_is_said_of_them_and_never_all() {
    let daemon = Daemon::start(vec![("/v1/flows/kill", 200, json!({"flows": 2}))]);
    let (status, out, err) =
        parts(&daemon.run(&["flows", "--kill", "--from", "192.0.2.0/24", "--port", "80"]));
    assert_eq!((status, out.as_str(), err.as_str()), (0, "2 flows killed\n", ""));
    let (status, out, err) = parts(&daemon.run(&["flows", "--kill"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("would kill every flow"), "{err}");
    for wrong in [["--from", "there"], ["--port", "70000"], ["--state", "open"]] {
        assert_eq!(parts(&daemon.run(&["flows", wrong[0], wrong[1]])).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_block_is_done_or_refused_with_the_reason() {
    let row =
        json!({"address": "192.0.2.7", "cause": "operator", "text": "", "since_unix": 1, "left_s": 600});
    let no = json!({"error": "10.0.0.1 must never be blocked", "hint": "take it out first"});
    let daemon = Daemon::start(vec![("/v1/block", 200, row), ("/v1/unblock", 422, no)]);
    let (status, out, _) = parts(&daemon.run(&["block", "192.0.2.7", "--for", "10m"]));
    assert_eq!((status, out.as_str()), (0, "192.0.2.7 blocked for 10m00s\n"));
    let (status, out, err) = parts(&daemon.run(&["unblock", "192.0.2.7"]));
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, "fwctl: 10.0.0.1 must never be blocked\n       take it out first\n");
    assert_eq!(parts(&daemon.run(&["block", "192.0.2.7", "--for", "1y"])).0, 2);
    assert_eq!(parts(&daemon.run(&["block", "192.0.2.0/24"])).0, 2);
}

#[test]
fn a_listing_is_a_table_or_the_same_as_json() {
    let daemon = Daemon::start(vec![("/v1/counters", 200, counters())]);
    let (status, out, err) = parts(&daemon.run(&["counters"]));
    let table = "\
INTERFACE  VERDICT  REASON        PACKETS  BYTES
eth0       pass     pinhole     1,234,567   246M
eth0       drop     no-pinhole         12   2.4k
";
    assert_eq!((status, out.as_str(), err.as_str()), (0, table, ""));
    let (status, out, err) = parts(&daemon.run(&["counters", "--json"]));
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), counters());
}

#[test]
fn an_empty_listing_says_so_beside_the_data() {
    let daemon = Daemon::start(vec![("/v1/calls", 200, json!({"rows": [], "total": 0}))]);
    assert_eq!(parts(&daemon.run(&["calls"])), (0, String::new(), "no calls\n".to_owned()));
}

#[test]
fn a_no_of_the_daemon_is_exit_status_1() {
    let no = json!({"error": "rules.toml: 1 error", "hint": "correct it", "details": ["rules.toml:3:1: error: x\n | y"]});
    let daemon = Daemon::start(vec![("/v1/reload", 422, no.clone())]);
    let (status, out, err) = parts(&daemon.run(&["reload"]));
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err, "rules.toml:3:1: error: x\n | y\n\nfwctl: rules.toml: 1 error\n       correct it\n");
    let (status, out, _) = parts(&daemon.run(&["reload", "--json"]));
    assert_eq!((status, serde_json::from_str::<Value>(&out).expect("JSON")), (1, no));
}

#[test]
fn a_reload_says_what_is_in_force() {
    let done = json!({"file": "/etc/rules.toml", "generation": 4, "count": 12, "warnings": ["r.toml:1:1: warning: w"]});
    let daemon = Daemon::start(vec![("/v1/reload", 200, done)]);
    let (status, out, err) = parts(&daemon.run(&["reload"]));
    assert_eq!((status, out.as_str()), (0, "/etc/rules.toml: 12 rules in force, generation 4\n"));
    assert_eq!(err, "r.toml:1:1: warning: w\n\n");
}

#[test]
fn what_could_not_be_asked_is_exit_status_2() {
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let socket = nowhere.path().join("socket");
    let output = fwctl().arg("--socket").arg(&socket).arg("status").output().expect("it runs");
    let (status, out, err) = parts(&output);
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        err.starts_with("fwctl: cannot reach the daemon at ") && err.contains("is callgated running"),
        "{err}"
    );
    assert_eq!(err.matches("No such file").count(), 1, "said once: {err}");

    let busy = json!({"error": "the daemon is going down"});
    let daemon = Daemon::start(vec![("/v1/status", 503, busy)]);
    assert_eq!(parts(&daemon.run(&["status"])).0, 2);
    assert_eq!(parts(&fwctl().arg("nonsense").output().expect("it runs")).0, 2);
    assert_eq!(parts(&fwctl().args(["check", "/nonexistent/rules.toml"]).output().expect("it runs")).0, 2);
}

#[test]
fn a_closed_pipe_is_silent() {
    let row = counters()["rows"][0].clone();
    let many = json!({"total": 20_000, "rows": vec![row; 20_000]});
    let daemon = Daemon::start(vec![("/v1/counters", 200, many)]);
    let mut child = fwctl()
        .arg("--socket")
        .arg(daemon.directory.path().join("socket"))
        .arg("counters")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Reads one byte and goes away, as `head -c1` would.
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("the first byte");
    drop(stdout);
    let (status, _, err) = parts(&child.wait_with_output().expect("it ends"));
    assert_eq!((status, err.as_str()), (0, ""));
}

/// Two events, whatever is asked after.
fn events() -> Value {
    let event = |number: u64, kind: &str| {
        json!({"number": number, "at_unix": 1_795_221_667, "kind": kind, "protocol": "sccp",
               "source": "10.20.0.115:49170", "subject": "SEP0011AABBCCDD", "text": ""})
    };
    json!({"rows": [event(7, "registered"), event(8, "alarm")], "next": 8, "lost": 3})
}

#[test]
fn events_are_asked_for_by_kind() {
    let daemon = Daemon::start(vec![("/v1/events", 200, events())]);
    let (status, out, err) = parts(&daemon.run(&["events", "--kind", "alarm", "--kind", "registered"]));
    let table = "\
UTC             EVENT       PROTO  FROM         SUBJECT
11-21 00:41:07  registered  sccp   10.20.0.115  SEP0011AABBCCDD
11-21 00:41:07  alarm       sccp   10.20.0.115  SEP0011AABBCCDD
";
    assert_eq!((status, out.as_str(), err.as_str()), (0, table, ""));
    let (status, out, _) = parts(&daemon.run(&["events", "--json"]));
    assert_eq!((status, serde_json::from_str::<Value>(&out).expect("JSON")), (0, events()));
    let (status, _, err) = parts(&daemon.run(&["events", "--kind", "alarms"]));
    assert!(status == 2 && err.contains("'alarm'"), "{err}");
}

#[test]
fn following_goes_on_until_nobody_reads() {
    let daemon = Daemon::start(vec![("/v1/events", 200, events())]);
    let mut child = fwctl()
        .arg("--socket")
        .arg(daemon.directory.path().join("socket"))
        .args(["events", "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let stdout = child.stdout.take().expect("a pipe");
    let lines = BufReader::new(stdout).lines().take(3).map(|line| {
        let row: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        row["number"].as_u64().expect("a number")
    });
    assert_eq!(lines.collect::<Vec<_>>(), [7, 8, 7], "the third was asked for after the first page");
    let (status, _, err) = parts(&child.wait_with_output().expect("it ends"));
    assert_eq!(status, 0);
    assert!(err.starts_with("fwctl: 3 events have been forgotten by the daemon\n"), "{err}");
}
