//! A disk that is full: said, counted, and over when there is room again. In a mount namespace of its own, with a file
//! system of two megabytes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_history::store::Purpose;
use callgate_history::{History, HistoryFilter, HistoryPlace, ROOM, Record, Store};
use callgate_rules::ruleset::{Database, History as Settings};

/// Names the small file system to the process inside.
const DISK: &str = "CALLGATE_HISTORY_SMALL_DISK";

fn record(call: u64) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    Record {
        call,
        key: format!("{call:064}"),
        caller: "2001".to_owned(),
        called: "12125551234".to_owned(),
        started_ms: u64::try_from(now.as_millis()).expect("a time"),
        ..Record::default()
    }
}

#[test]
fn a_full_disk_is_said_counted_and_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=2m tmpfs \"$1\" && exec \"$2\" --exact within --ignored --nocapture";
    let output = command
        .args(["sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(std::env::current_exe().expect("a program"))
        .env(DISK, directory.path())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

fn until(history: &History, what: impl Fn(&[HistoryPlace]) -> bool) -> Vec<HistoryPlace> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let places = history.status().places;
        if what(&places) {
            return places;
        }
        assert!(Instant::now() < deadline, "it never came about: {places:?}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs a small file system: the test above makes it"]
fn within() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    let database = Database::Sqlite(disk.join("calls.db"));
    let lines = disk.join("calls.json");
    let settings = Settings { database: database.clone(), file: Some(lines.clone()), ..Settings::default() };
    let history = History::start(&settings);

    // Room for some records, then for none.
    let ballast = disk.join("ballast");
    (1..=100).for_each(|call| history.record(record(call)));
    until(&history, |places| places.iter().all(|place| place.written == 100));
    let mut size = 1 << 20;
    let mut filled = Vec::new();
    while size > 0 {
        filled.resize(filled.len() + size, 0_u8);
        if fs::write(&ballast, &filled).is_err() {
            filled.truncate(filled.len() - size);
            size /= 2;
        }
    }
    let mut call = 100;
    let places = loop {
        call += 1;
        history.record(record(call));
        let places = history.status().places;
        if places.iter().all(|place| place.trouble.is_some()) {
            break places;
        }
        assert!(call < 100_000, "it is not full: {places:?}");
        sleep(Duration::from_micros(200));
    };
    let told = places[0].trouble.as_deref().unwrap_or_default();
    assert!(told.contains("full"), "{told}");

    // Whoever hands records over does not wait, and what finds no room is counted.
    let more = ROOM as u64 + 5_000;
    let start = Instant::now();
    (1..=more).for_each(|more| history.record(record(call + more)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    call += more;
    for place in history.status().places {
        assert!(place.lost > 0, "{place:?}");
        assert_eq!(place.written + place.waiting + place.lost, call, "each is accounted for: {place:?}");
    }

    // The history can be asked meanwhile.
    let mut reader = Store::open(&database, Purpose::Read).expect("a database");
    assert!(reader.records(&HistoryFilter::default(), 10).expect("an answer").total >= 100);
    drop(reader);

    // There is room again: what has waited is written, and the lines are whole.
    fs::remove_file(&ballast).expect("the ballast");
    let mounted = Command::new("mount").args(["-o", "remount,size=64m"]).arg(disk).status();
    assert!(mounted.expect("mount").success());
    let places = until(&history, |places| places.iter().all(|place| place.waiting == 0));
    for place in &places {
        assert_eq!((place.written + place.lost, &place.trouble), (call, &None), "{place:?}");
    }
    let mut reader = Store::open(&database, Purpose::Read).expect("a database");
    assert_eq!(reader.records(&HistoryFilter::default(), 1).expect("an answer").total, places[0].written);
    let text = fs::read_to_string(&lines).expect("the lines");
    let read: Vec<Record> =
        text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect();
    assert_eq!(read.len() as u64, places[1].written);
}
