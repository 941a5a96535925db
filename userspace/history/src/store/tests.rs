//! What a store must do, asked of SQLite and of PostgreSQL alike.

use std::collections::BTreeSet;

use callgate_api::history::{By, HistoryFilter};

use super::*;
use crate::testing::{Server, record};

/// Makes databases, each new.
type Make<'m> = &'m dyn Fn(&str) -> Database;

#[test]
fn sqlite_does_what_a_store_must() {
    let directory = tempfile::tempdir().expect("a directory");
    all(&|name| Database::Sqlite(directory.path().join("deep/er").join(name)));
}

#[test]
fn postgresql_does_what_a_store_must() {
    let server = Server::start();
    let make = |name: &str| server.database(name);
    all(&make);
    two_firewalls_share_it(&make("shared"));
    a_record_offered_again_is_kept_once(&make("again"));
}

#[test]
fn records_wait_for_a_server_that_is_down() {
    let mut server = Server::start();
    let database = server.database("patience");
    let settings = Settings { database: database.clone(), ..Settings::default() };
    let history = crate::History::start(&settings);
    let until = |what: &dyn Fn(&callgate_api::HistoryPlace) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let place = history.status().places.remove(0);
            if what(&place) {
                return place;
            }
            assert!(Instant::now() < deadline, "it never came about: {place:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64;
    let fresh = |call| Record { started_ms: now, ..record(call) };
    history.record(fresh(1));
    until(&|place| place.written == 1);
    server.stop();
    (2..=700).for_each(|call| history.record(fresh(call)));
    let place = until(&|place| place.trouble.is_some());
    assert_eq!((place.written, place.lost), (1, 0), "{place:?}");
    server.resume();
    let place = until(&|place| place.written == 700);
    assert_eq!((place.lost, place.waiting, place.trouble), (0, 0, None));
    let mut store = Store::open(&database, Purpose::Read).expect("a database");
    assert_eq!(store.records(&HistoryFilter::default(), 1).expect("an answer").total, 700);
}

fn all(make: Make<'_>) {
    what_is_put_in_comes_out(&make("comes_out"));
    records_are_chosen(&make("chosen"));
    records_are_summed_up(&make("summed"));
    old_records_and_too_many_are_forgotten(&make("forgotten"));
    older_tables_are_brought_up_to_date(&make("older"));
    a_reader_changes_nothing(&make("reader"));
    all_that_is_looked_at_comes_in_order(&make("looked_at"));
}

fn opened(database: &Database) -> Store {
    Store::open(database, Purpose::Write).expect("a database")
}

fn put(store: &mut Store, first: u64, records: Vec<Record>) {
    let records: Vec<_> = records.into_iter().map(Arc::new).collect();
    for (part, some) in records.chunks(crate::queue::BATCH).enumerate() {
        store.append((1, first + (part * crate::queue::BATCH) as u64), some).expect("room");
    }
}

fn calls(store: &mut Store, query: &str) -> Vec<u64> {
    let mut filter = HistoryFilter::default();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .try_for_each(|pair| filter.take(pair))
        .expect("a filter");
    let page = store.records(&filter, 1_000).expect("an answer");
    assert_eq!(page.total, page.rows.len() as u64);
    page.rows.iter().map(|record| record.call).collect()
}

fn what_is_put_in_comes_out(database: &Database) {
    let mut store = opened(database);
    let bare = Record { host: "fw1".to_owned(), call: u64::MAX >> 1, started_ms: 1, ..Record::default() };
    let measured = Record {
        loss: Some(0.015),
        jitter_ms: Some(3.5),
        mos: Some(4.1),
        loss_to_caller: Some(0.001),
        jitter_ms_to_caller: Some(3.5),
        mos_to_caller: Some(4.3),
        loss_to_called: Some(0.015),
        jitter_ms_to_called: Some(0.25),
        mos_to_called: Some(4.1),
        ..record(2)
    };
    let odd = Record { called: "Zoë'; DROP TABLE calls; --".to_owned(), emergency: true, ..record(3) };
    let put_in = vec![bare, record(1), measured, odd];
    put(&mut store, 1, put_in.clone());
    let mut filter = HistoryFilter::default();
    let page = store.records(&filter, 10).expect("an answer");
    assert_eq!(page.rows, put_in.iter().rev().cloned().collect::<Vec<_>>(), "the latest first");
    assert_eq!((store.records(&filter, 2).expect("an answer").rows.len(), page.total), (2, 4));
    filter.called = Some("Zoë'; DROP*".to_owned());
    assert_eq!(store.records(&filter, 10).expect("an answer").rows[0].call, 3);
    put(&mut store, 10, vec![Record { key: "a\0b".to_owned(), ..record(9) }]);
    assert_eq!(store.records(&HistoryFilter::default(), 1).expect("an answer").rows[0].key, "a b");
    drop(store);
    assert_eq!(opened(database).count("fw1").expect("an answer"), 5, "after it was closed");
}

fn records_are_chosen(database: &Database) {
    let mut store = opened(database);
    let premium = Record { called: "19005551234".to_owned(), permission: "premium".to_owned(), ..record(2) };
    let refused = Record {
        caller: "+14085550100".to_owned(),
        called: "+19005559999".to_owned(),
        device: String::new(),
        connected_ms: None,
        duration_ms: 0,
        reason: "refused".to_owned(),
        cause: Some("sip 403".to_owned()),
        verdict: "no-permission".to_owned(),
        refused: true,
        host: "fw2".to_owned(),
        protocol: "h225".to_owned(),
        ..record(3)
    };
    put(&mut store, 1, vec![record(1), premium, refused]);
    for (query, wanted) in [
        ("", vec![3, 2, 1]),
        ("caller=2001", vec![2, 1]),
        ("caller=200", vec![]),
        ("caller=20%2A", vec![2, 1]),
        ("caller=1-408-555-0100", vec![3]),
        ("called=1%20(900)%2A", vec![3, 2]),
        ("called=%2B1900%2A", vec![3]),
        ("any=true&caller=2001&called=1-900%2A", vec![3, 2, 1]),
        ("caller=2001&called=1-900%2A", vec![2]),
        ("device=SEP%2A", vec![2, 1]),
        ("class=premium", vec![2]),
        ("cause=bye", vec![2, 1]),
        ("cause=sip%20403", vec![3]),
        ("cause=no-permission", vec![3]),
        ("protocol=h225", vec![3]),
        ("host=fw1", vec![2, 1]),
        ("refused=true", vec![3]),
        ("refused=false", vec![2, 1]),
        ("answered=false", vec![3]),
        ("answered=true&longer_s=60", vec![2, 1]),
        ("longer_s=61", vec![]),
        ("shorter_s=60", vec![2, 1]),
        ("since_ms=1795000002000", vec![3, 2]),
        ("until_ms=1795000002000", vec![1]),
        ("since_ms=18446744073709551615", vec![]),
    ] {
        assert_eq!(calls(&mut store, query), wanted, "{query}");
    }
}

fn records_are_summed_up(database: &Database) {
    let mut store = opened(database);
    let refused = |call| Record {
        connected_ms: None,
        duration_ms: 0,
        refused: true,
        permission: "premium".to_owned(),
        caller: "2002".to_owned(),
        ..record(call)
    };
    put(&mut store, 1, vec![record(1), record(2), refused(3), Record { duration_ms: 1_999, ..record(4) }]);
    let all = HistoryFilter::default();
    let page = store.totals(&all, By::Class, 10).expect("an answer");
    let told: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.name.as_str(), row.calls, row.answered, row.refused, row.duration_s))
        .collect();
    assert_eq!(told, [("long-distance", 3, 3, 0, 121), ("premium", 1, 0, 1, 0)]);
    assert_eq!((page.rows[0].first_ms, page.rows[0].last_ms), (1_795_000_001_000, 1_795_000_004_000));
    let first = store.totals(&all, By::Caller, 1).expect("an answer");
    assert_eq!((first.rows.len(), first.rows[0].name.as_str(), first.total), (1, "2001", 2));
    for by in By::ALL {
        let page = store.totals(&all, by, 10).expect("an answer");
        assert_eq!(page.rows.iter().map(|row| row.calls).sum::<u64>(), 4, "{by:?}");
    }
    let none = HistoryFilter { caller: Some("2009".to_owned()), ..all };
    assert!(store.totals(&none, By::Class, 10).expect("an answer").rows.is_empty());
}

fn old_records_and_too_many_are_forgotten(database: &Database) {
    let mut store = opened(database);
    put(&mut store, 1, (1..=1_500).map(record).collect());
    assert_eq!(store.forget_before("fw1", record(11).started_ms, 4).expect("an answer"), 4);
    assert_eq!(store.forget_before("fw1", record(11).started_ms, 100).expect("an answer"), 6);
    assert_eq!(store.forget_before("fw1", record(11).started_ms, 100).expect("an answer"), 0);
    drop(store);

    // The sink does it by itself: nothing is as young as a week here, so by count first.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64;
    let settings = Settings {
        database: database.clone(),
        max: 1_000,
        retain: Duration::from_millis(now),
        ..Settings::default()
    };
    let mut sink = StoreSink { host: "fw1".to_owned(), ..StoreSink::new(&settings) };
    sink.tick().expect("room");
    assert_eq!(sink.count, 1_000);
    let mut store = Store::open(database, Purpose::Read).expect("a database");
    let kept: BTreeSet<_> = calls(&mut store, "").into_iter().collect();
    assert_eq!(kept, (501..=1_500).collect(), "the latest");

    let recent = Arc::new(Record { started_ms: now, ..record(2_000) });
    sink.write(&[recent]).expect("room");
    sink.settings.retain = Duration::from_secs(3_600);
    sink.trim().expect("room");
    assert_eq!((sink.count, calls(&mut store, "")), (1, vec![2_000]), "the young");

    // Who tries in vain does not push out the calls that were made.
    let made = (3_001..=3_600).map(|call| Record { started_ms: now, ..record(call) });
    let refused =
        (4_001..=5_000).map(|call| Record { started_ms: now + call, refused: true, ..record(call) });
    let records: Vec<_> = made.chain(refused).map(Arc::new).collect();
    for some in records.chunks(500) {
        sink.write(some).expect("room");
    }
    sink.trim().expect("room");
    let kept: BTreeSet<_> = calls(&mut store, "").into_iter().collect();
    let want: BTreeSet<u64> = std::iter::once(2_000).chain(3_001..=3_600).chain(4_602..=5_000).collect();
    assert_eq!((sink.count, kept), (1_000, want));
}

fn older_tables_are_brought_up_to_date(database: &Database) {
    let connect = || -> Box<dyn Connection> {
        match database {
            Database::Sqlite(path) => Box::new(sqlite::Sqlite::open(path, Purpose::Write).expect("a file")),
            Database::Postgres(url) => {
                Box::new(postgres::Postgres::open(url, Purpose::Write).expect("a server"))
            }
        }
    };
    let mut old = connect();
    schema::migrate_to(&mut *old, 1).expect("tables");
    let columns: Vec<_> = schema::COLUMNS.into_iter().take_while(|name| *name != "loss").collect();
    let row = schema::row(1, 1, &record(1));
    let value = |value: &Value| match value {
        Value::Text(text) => format!("'{text}'"),
        Value::Integer(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let values: Vec<_> = row.iter().take(columns.len()).map(value).collect();
    old.run(&format!("INSERT INTO calls ({}) VALUES ({});", columns.join(", "), values.join(", ")))
        .expect("room");
    drop(old);

    let mut store = opened(database);
    assert_eq!(store.records(&HistoryFilter::default(), 9).expect("an answer").rows, [record(1)]);
    put(&mut store, 2, vec![Record { mos: Some(4.4), ..record(2) }]);
    drop(store);
    assert_eq!(calls(&mut opened(database), ""), [2, 1], "once more changes nothing");

    connect().run("UPDATE callgate_schema SET version = 99;").expect("room");
    let error = Store::open(database, Purpose::Write).expect_err("of a later version");
    assert!(matches!(error, Error::Newer { found: 99, known: schema::VERSION }), "{error}");
    assert!(error.to_string().contains("version 99"), "{error}");
}

fn a_reader_changes_nothing(database: &Database) {
    put(&mut opened(database), 1, vec![record(1)]);
    let mut reader = Store::open(database, Purpose::Read).expect("a database");
    assert_eq!(calls(&mut reader, ""), [1]);
    assert!(reader.forget_oldest("fw1", 1).is_err());
    assert_eq!(calls(&mut reader, ""), [1]);
}

fn all_that_is_looked_at_comes_in_order(database: &Database) {
    let mut store = opened(database);
    put(&mut store, 1, vec![record(3), record(1), Record { connected_ms: None, ..record(2) }]);
    let mut rows = Vec::new();
    let mut take = |row: &FraudRow| {
        rows.push((row.started_ms, row.answered));
        Ok(())
    };
    store.each(&HistoryFilter::default(), &mut take).expect("an answer");
    let wanted =
        [(1, true), (2, false), (3, true)].map(|(call, answered)| (record(call).started_ms, answered));
    assert_eq!(rows, wanted);
}

fn two_firewalls_share_it(database: &Database) {
    let mut store = opened(database);
    let other = |call| Record { host: "fw2".to_owned(), ..record(call) };
    put(&mut store, 1, (1..=10).map(record).collect());
    let records: Vec<_> = (1..=10).map(|call| Arc::new(other(call))).collect();
    store.append((1, 1), &records).expect("room");
    assert_eq!(store.count("fw1").expect("an answer"), 10);
    assert_eq!(store.forget_before("fw2", u64::MAX >> 1, 100).expect("an answer"), 10);
    assert_eq!(store.forget_oldest("fw1", 3).expect("an answer"), 3);
    assert_eq!(store.count("fw1").expect("an answer"), 7);
}

/// A connection can break after the server has committed, and before it has said so.
fn a_record_offered_again_is_kept_once(database: &Database) {
    let mut store = opened(database);
    let records: Vec<_> = (1..=10).map(|call| Arc::new(record(call))).collect();
    store.append((7, 1), &records).expect("room");
    store.append((7, 1), &records).expect("room");
    assert_eq!(store.count("fw1").expect("an answer"), 10);
    store.append((8, 1), &records).expect("room");
    assert_eq!(store.count("fw1").expect("an answer"), 20, "another run's");
}

#[test]
fn questions_go_by_indexes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = opened(&Database::Sqlite(directory.path().join("calls.db")));
    for (query, index) in [
        ("", "calls_started"),
        ("since_ms=5", "calls_started"),
        ("caller=2001", "calls_caller"),
        ("caller=2001&since_ms=5", "calls_caller"),
        ("called=1900%2A", "calls_called"),
        ("device=SEP001122334455", "calls_device"),
        ("refused=true&since_ms=5", "calls_refused"),
    ] {
        let mut filter = HistoryFilter::default();
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .try_for_each(|pair| filter.take(pair))
            .expect("a filter");
        let plan = store.plan(&filter).expect("a plan").join("\n");
        assert!(plan.contains(index) && !plan.contains("SCAN calls\n"), "{query}\n{plan}");
    }
    let both = HistoryFilter {
        caller: Some("2001".to_owned()),
        called: Some("1900*".to_owned()),
        any: true,
        ..HistoryFilter::default()
    };
    let plan = store.plan(&both).expect("a plan").join("\n");
    assert!(plan.contains("calls_caller") && plan.contains("calls_called"), "{plan}");
}

#[test]
fn a_damaged_file_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("calls.db");
    std::fs::write(&path, "this is no database, and has never been one; ".repeat(100)).expect("a file");
    let mut store = opened(&Database::Sqlite(path));
    put(&mut store, 1, vec![record(1)]);
    let names = std::fs::read_dir(directory.path()).expect("a directory").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with("calls.db.damaged-")), "{names:?}");
}

#[test]
fn a_file_that_is_taken_away_is_begun_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("calls.db");
    let settings = Settings { database: Database::Sqlite(path.clone()), ..Settings::default() };
    let mut sink = StoreSink::new(&settings);
    sink.write(&[Arc::new(record(1))]).expect("room");
    for name in ["calls.db", "calls.db-wal", "calls.db-shm"] {
        let _ = std::fs::remove_file(directory.path().join(name));
    }
    sink.write(&[Arc::new(record(2))]).expect("room");
    assert_eq!(calls(&mut opened(&settings.database), ""), [2]);
}
