//! Who has changed what, when, and with what outcome.
//!
//! A line of JSON for each change, done or refused, appended to a file that the daemon only ever appends to, and a
//! message to syslog where `[control]` names a place. The line is written before the one who asked is answered. A file
//! that cannot be written stops no change: an operator must be able to let a caller by on a full disk. It is said in
//! the log and raised as an alarm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use callgate_api::Role;
use callgate_rules::ruleset::Syslog;
use callgate_syslog::{Socket, header, own_host_name, put_parameter};
use jiff::Timestamp;
use serde::Serialize;
use tracing::{info, warn};

use crate::control::Peer;
use crate::control::access::user_name;

/// Where changes are noted unless told otherwise.
pub const FILE: &str = "/var/log/callgate/audit.log";
/// Octets of what somebody else has chosen: a line stays one write.
const MAX_TEXT: usize = 512;
/// Facility "log audit" (RFC 5424 table 1).
const FACILITY: u8 = 13;
/// Severities (table 2): notice, and warning for what was refused or failed.
const SEVERITY: [u8; 2] = [5, 4];

/// A change somebody has asked for.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    time: String,
    uid: u32,
    user: Option<String>,
    pid: Option<i32>,
    command: Option<String>,
    role: Option<Role>,
    change: &'a str,
    what: &'a str,
    outcome: &'a str,
}

/// The file and the server.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: Option<File>,
    syslog: Option<Syslog>,
    /// What was wrong with the last line; `None` where it was written.
    trouble: Option<String>,
}

impl Audit {
    /// Appends to a file, which is made when it is first needed.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, syslog: None, trouble: None }
    }

    /// Sends messages there from now on.
    pub fn set_syslog(&mut self, syslog: Option<&Syslog>) {
        self.syslog = syslog.cloned();
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was wrong with the last change's line.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Notes a change and what became of it: `Ok`, or why not.
    pub fn record(&mut self, peer: &Peer, change: &str, what: &str, outcome: Result<(), &str>) {
        let what = clip(what);
        let Peer { uid, pid, role } = peer;
        let outcome_text = clip(outcome.err().unwrap_or("done"));
        match outcome {
            Ok(()) => info!(target: "audit", change, what, uid, pid, outcome = outcome_text),
            Err(_) => warn!(target: "audit", change, what, uid, pid, outcome = outcome_text),
        }
        let entry = Entry {
            time: format!("{:.3}", Timestamp::now()),
            uid: *uid,
            user: user_name(*uid),
            pid: *pid,
            command: pid.and_then(command_of),
            role: *role,
            change,
            what,
            outcome: outcome_text,
        };
        let written = self.append(&entry);
        if let Err(error) = &written
            && self.trouble.is_none()
        {
            warn!(file = %self.path.display(), %error, "the audit file cannot be written");
        }
        self.trouble = written.err().map(|error| error.to_string());
        if let Some(syslog) = &self.syslog
            && let Err(error) = send(syslog, message(&entry, outcome.is_err()).as_bytes())
        {
            warn!(%error, "the audit's syslog cannot be reached");
        }
    }

    /// Notes what the daemon itself has done: rules that came back, a file that has changed.
    pub fn record_own(&mut self, change: &str, what: &str, outcome: Result<(), &str>) {
        let pid = i32::try_from(std::process::id()).ok();
        // SAFETY: it cannot fail and touches no memory.
        let uid = unsafe { libc::geteuid() };
        self.record(&Peer { uid, pid, role: Some(Role::Admin) }, change, what, outcome);
    }

    fn append(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // Rotated away, or removed: the name is what counts.
        if self.file.is_some() && !self.path.exists() {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                if let Some(directory) = self.path.parent() {
                    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
                }
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
                self.file.insert(file)
            }
        };
        let written = file.write_all(&line);
        if written.is_err() {
            self.file = None;
        }
        written
    }
}

/// The name of a process (proc_pid_comm(5)): who is asked has ended perhaps.
fn command_of(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn send(to: &Syslog, datagram: &[u8]) -> io::Result<()> {
    let socket = Socket::open(to)?;
    // The server's queue can be full; whoever asked does not wait for it.
    socket.wait_for_nobody()?;
    socket.send(datagram)
}

/// The message of a change (RFC 5424 section 6); 32473 is the enterprise number of examples (RFC 5612).
fn message(entry: &Entry<'_>, failed: bool) -> String {
    let values = [
        ("uid", entry.uid.to_string()),
        ("user", entry.user.clone().unwrap_or_default()),
        ("pid", entry.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        ("command", entry.command.clone().unwrap_or_default()),
        ("role", entry.role.map_or("none", Role::name).to_owned()),
        ("change", entry.change.to_owned()),
        ("what", entry.what.to_owned()),
        ("outcome", entry.outcome.to_owned()),
    ];
    let importance = (FACILITY, SEVERITY[usize::from(failed)]);
    let mut line = header(importance, &entry.time, &own_host_name(), std::process::id(), "audit");
    line.push_str(" [audit@32473");
    for (name, value) in &values {
        put_parameter(&mut line, name, value, usize::MAX);
    }
    line.push(']');
    line
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const PEER: Peer = Peer { uid: 0, pid: Some(1), role: Some(Role::Admin) };

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).expect("the file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn each_change_is_a_line_that_says_who_and_what_came_of_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log/audit.log");
        let mut audit = Audit::new(&path);
        audit.record(&PEER, "block", "192.0.2.1\n for 60 s", Ok(()));
        let stranger = Peer { uid: 4_000_000_000, pid: None, role: None };
        audit.record(&stranger, "reload", &"x".repeat(5_000), Err("refused"));
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0]["uid"].as_u64(), lines[0]["user"].as_str()), (Some(0), Some("root")));
        assert_eq!((lines[0]["role"].as_str(), lines[0]["outcome"].as_str()), (Some("admin"), Some("done")));
        assert_eq!(
            (lines[1]["outcome"].as_str(), &lines[1]["role"]),
            (Some("refused"), &serde_json::Value::Null)
        );
        assert_eq!(lines[1]["what"].as_str().map(str::len), Some(MAX_TEXT));
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn what_is_there_is_appended_to_and_a_rotated_file_begins_anew() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("audit.log");
        Audit::new(&path).record(&PEER, "block", "a", Ok(()));
        let mut audit = Audit::new(&path);
        audit.record(&PEER, "block", "b", Ok(()));
        assert_eq!(lines(&path).len(), 2);
        fs::rename(&path, directory.path().join("audit.log.1")).expect("it can be moved");
        audit.record(&PEER, "block", "c", Ok(()));
        assert_eq!(lines(&path).len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_trouble_until_it_can() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("audit.log");
        fs::create_dir(&path).expect("something in its way");
        let mut audit = Audit::new(&path);
        audit.record(&PEER, "block", "a", Ok(()));
        assert!(audit.trouble().is_some());
        fs::remove_dir(&path).expect("it can go");
        audit.record(&PEER, "block", "b", Ok(()));
        assert_eq!(audit.trouble(), None);
    }

    #[test]
    fn syslog_is_told_in_its_own_form() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let server = UnixDatagram::bind(&path).expect("a socket");
        let mut audit = Audit::new(&directory.path().join("audit.log"));
        audit.set_syslog(Some(&Syslog::Unix(path)));
        audit.record(&PEER, "reload", "a \"]\\ b", Err("3 errors"));
        let mut datagram = [0; 2_048];
        let length = server.recv(&mut datagram).expect("a message");
        let text = String::from_utf8_lossy(&datagram[..length]);
        assert!(text.starts_with("<108>1 20"), "{text}");
        assert!(text.contains(" audit [audit@32473 uid=\"0\" user=\"root\" pid=\"1\""), "{text}");
        assert!(text.ends_with("what=\"a \\\"\\]\\\\ b\" outcome=\"3 errors\"]"), "{text}");
    }
}
