//! A writer that is killed in the midst of it: what it had been told was written is there, and the file is whole.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_history::store::Purpose;
use callgate_history::{History, HistoryFilter, Record, Store};
use callgate_rules::ruleset::{Database, History as Settings};

/// Names the file to the process that is to be killed.
const FILE: &str = "CALLGATE_HISTORY_KILL_TEST";

fn record(call: u64) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    Record {
        call,
        caller: format!("20{:02}", call % 100),
        called: "12125551234".to_owned(),
        started_ms: u64::try_from(now.as_millis()).expect("a time"),
        ..Record::default()
    }
}

fn settings(file: &Path) -> Settings {
    Settings { database: Database::Sqlite(file.to_owned()), ..Settings::default() }
}

/// What the killed process does: the test below runs it as its child.
#[test]
#[ignore = "writes until it is killed"]
fn write_until_killed() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let history = History::start(&settings(Path::new(&file)));
    for call in 1.. {
        history.record(record(call));
        if call % 64 == 0 {
            println!("written {}", history.status().places[0].written);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_was_written_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("calls.db");
    let mut kept = 0;
    for round in 1..=3_u32 {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "write_until_killed", "--ignored", "--nocapture"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its words")).lines();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut promised = 0;
        for line in lines.map_while(Result::ok) {
            // The harness writes before it, on the same line.
            let said = line.rsplit_once("written ").and_then(|(_, number)| number.parse::<u64>().ok());
            promised = said.unwrap_or(promised);
            if promised >= u64::from(round) * 2_000 {
                break;
            }
            assert!(Instant::now() < deadline, "it writes nothing");
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        assert!(promised >= 2_000, "{promised}");

        let connection = rusqlite::Connection::open(&file).expect("a database");
        let sound: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
        assert_eq!(sound, "ok");
        drop(connection);
        let mut store = Store::open(&Database::Sqlite(file.clone()), Purpose::Write).expect("a database");
        let page = store.records(&HistoryFilter::default(), 1).expect("an answer");
        assert!(page.total >= kept + promised, "{} of {kept} and {promised}", page.total);
        // Batches are whole: the last record of this round has all before it.
        assert_eq!(page.rows[0].call, page.total - kept);
        kept = page.total;
    }
}
