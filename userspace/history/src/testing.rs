//! A PostgreSQL server of a test's own: in a temporary directory, on a Unix socket, for as long as the value lives.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use callgate_api::history::Record;
use callgate_rules::ruleset::Database;

/// A record like many, of a call's number.
pub(crate) fn record(call: u64) -> Record {
    Record {
        host: "fw1".to_owned(),
        call,
        protocol: "sip".to_owned(),
        key: format!("{call}@192.0.2.1"),
        caller: "2001".to_owned(),
        called: "12125551234".to_owned(),
        caller_signalled: "2001".to_owned(),
        called_signalled: "912125551234".to_owned(),
        device: "SEP001122334455".to_owned(),
        caller_address: "192.0.2.1:5060".to_owned(),
        called_address: "[2001:db8::1]:5060".to_owned(),
        started_ms: 1_795_000_000_000 + call * 1_000,
        connected_ms: Some(1_795_000_002_000 + call * 1_000),
        ended_ms: 1_795_000_062_000 + call * 1_000,
        duration_ms: 60_000,
        reason: "bye".to_owned(),
        cause: Some("q850 16".to_owned()),
        released_by: Some("caller".to_owned()),
        permission: "long-distance".to_owned(),
        verdict: "permitted".to_owned(),
        refused: false,
        emergency: false,
        rule: Some("sip".to_owned()),
        packets_to_caller: 3_000,
        bytes_to_caller: 600_000,
        packets_to_called: 2_999,
        bytes_to_called: 599_800,
        loss: None,
        jitter_ms: None,
        mos: None,
        loss_to_caller: None,
        jitter_ms_to_caller: None,
        mos_to_caller: None,
        loss_to_called: None,
        jitter_ms_to_called: None,
        mos_to_called: None,
    }
}

pub(crate) struct Server {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self { directory, child: None };
        let root = is_root();
        if root {
            // The server does not run as root; Debian's package has made it a user.
            fs::set_permissions(server.directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
            let status = Command::new("chown").arg("postgres:").arg(server.directory.path()).status();
            assert!(status.expect("chown").success());
        }
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
            .arg(server.data())
            .output();
        let made = made.expect("initdb: scripts/setup installs postgresql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        server
    }

    /// A new database of this name.
    pub(crate) fn database(&self, name: &str) -> Database {
        let mut client = postgres::Client::connect(&self.url("postgres"), postgres::NoTls).expect("a server");
        client.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
        Database::Postgres(self.url(name))
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://postgres@/{name}?host={}", self.directory.path().display())
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn resume(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.directory.path());
        for setting in ["listen_addresses=", "fsync=off", "logging_collector=off"] {
            command.args(["-c", setting]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("a server"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = postgres::Client::connect(&self.url("postgres"), postgres::NoTls) {
            assert!(Instant::now() < deadline, "the server does not answer: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it at once (SIGINT: fast shutdown).
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        if !pid.is_empty() {
            let _ = Command::new("kill").args(["-INT", &pid]).status();
        } else {
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let path = program_path(program);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(path).current_dir("/");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps servers of several versions apart, out of the path.
fn program_path(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| program.into())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
