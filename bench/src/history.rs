//! A history of many calls: how long it takes to answer what an operator asks of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use callgate_history::store::Purpose;
use callgate_history::{By, HistoryFilter, Record, Store, fraud};
use callgate_rules::ruleset::Database;
use jiff::tz::TimeZone;

use crate::report::Case;

/// The case's name.
pub(crate) const NAME: &str = "history-500k";
/// Records.
const RECORDS: u64 = 500_000;
/// The same where it is only shown that it works.
const FEW: u64 = 10_000;
/// Records written at once, as the daemon does.
const BATCH: usize = 512;
/// A week, over which they are spread, in ms.
const WEEK: u64 = 7 * 86_400_000;
/// Phones that call.
const PHONES: u64 = 2_000;

/// Fills a database of SQLite in a directory of its own, and asks.
pub(crate) fn measure(quick: bool, rounds: usize) -> Result<Case> {
    let directory = std::env::temp_dir().join(format!("callgate-bench-history-{}", std::process::id()));
    let result = within(&directory, if quick { FEW } else { RECORDS }, rounds);
    // What cannot be removed is in a directory for what can be.
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn within(directory: &Path, records: u64, rounds: usize) -> Result<Case> {
    let database = Database::Sqlite(directory.join("history.db"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis())?;
    let mut store = Store::open(&database, Purpose::Write)?;
    let start = Instant::now();
    for first in (0..records).step_by(BATCH) {
        let batch: Vec<_> = (first..records.min(first + BATCH as u64))
            .map(|number| Arc::new(record(number, records, now)))
            .collect();
        store.append((1, first), &batch)?;
    }
    let written = records as f64 / start.elapsed().as_secs_f64();
    drop(store);
    let file = std::fs::metadata(directory.join("history.db")).context("the database")?.len();

    let mut store = Store::open(&database, Purpose::Read)?;
    ensure!(store.records(&HistoryFilter::default(), 1)?.total == records, "not all of them are there");
    let phone = HistoryFilter {
        caller: Some("2001".to_owned()),
        since_ms: Some(now - WEEK),
        ..HistoryFilter::default()
    };
    let premium = HistoryFilter { called: Some("1-900*".to_owned()), ..HistoryFilter::default() };
    let both = HistoryFilter { called: premium.called.clone(), any: true, ..phone.clone() };
    // What `fwctl history --since 7d --any --caller 2001 --called '1-900*' --by called --by caller` asks for.
    let command = timed(rounds, || {
        let called = store.totals(&both, By::Called, 1_000)?;
        let caller = store.totals(&both, By::Caller, 1_000)?;
        ensure!(!called.rows.is_empty() && caller.rows.len() > 1, "nobody has called");
        Ok(())
    })?;
    let mut other = |ask: &mut dyn FnMut(&mut Store) -> Result<()>| -> Result<f64> {
        Ok(median(&timed(rounds, || ask(&mut store))?) / 1e6)
    };
    let all = HistoryFilter::default();
    let latest = other(&mut |store| Ok(store.records(&all, 100).map(drop)?))?;
    let of_phone = other(&mut |store| Ok(store.records(&phone, 1_000).map(drop)?))?;
    let who = other(&mut |store| Ok(store.totals(&premium, By::Caller, 1_000).map(drop)?))?;
    let classes = other(&mut |store| Ok(store.totals(&all, By::Class, 1_000).map(drop)?))?;
    let callers = other(&mut |store| Ok(store.totals(&all, By::Caller, 1_000).map(drop)?))?;
    let odd = other(&mut |store| {
        Ok(fraud::examine(store, HistoryFilter::default(), &TimeZone::UTC, now).map(drop)?)
    })?;

    let mut case = Case::new(NAME);
    case.time(command);
    case.note = Some(format!(
        "{records} records, {} MB, written at {written:.0} per second; `ns` is for one command: which numbers a phone \
         has called within a week, and who has tried 1-900. In ms: the latest 100 {latest:.1}, those of a phone \
         {of_phone:.1}, who tried 1-900 {who:.1}, sums by class {classes:.0}, by caller {callers:.0}, fraud {odd:.0}",
        file / 1_000_000
    ));
    Ok(case)
}

/// A call of many, the same every time: a week of phones that call each other, outside, abroad, and seldom 1-900.
fn record(number: u64, of: u64, now: u64) -> Record {
    // Numbers without an order, the same every time (an LCG's, by Knuth's multiplier).
    let chance = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
    let started = now - WEEK + WEEK / of * number;
    let subscriber = chance % 10_000_000;
    let (called, permission) = match chance % 1_000 {
        0..400 => (format!("{}", 2_000 + chance / 1_000 % PHONES), ""),
        400..700 => (format!("732{subscriber:07}"), "local"),
        700..950 => (format!("1212{subscriber:07}"), "long-distance"),
        950..998 => (format!("01149{subscriber:07}"), "international"),
        _ => (format!("1900{subscriber:07}"), "premium"),
    };
    let refused = permission == "premium" && !chance.is_multiple_of(3);
    let answered = !refused && !chance.is_multiple_of(5);
    let duration = if answered { 1_000 + chance % 600_000 } else { 0 };
    Record {
        host: "gateway".to_owned(),
        call: number + 1,
        protocol: "sip".to_owned(),
        key: format!("{chance:08x}-{number:08x}@10.20.0.11"),
        caller: format!("{}", 2_000 + (chance >> 7) % PHONES),
        called_signalled: format!("9{called}"),
        called,
        caller_signalled: format!("{}", 2_000 + (chance >> 7) % PHONES),
        device: format!("SEP{:012X}", (chance >> 7) % PHONES),
        caller_address: "10.20.0.11:5060".to_owned(),
        called_address: "10.1.1.10:5060".to_owned(),
        started_ms: started,
        connected_ms: answered.then_some(started + 4_000),
        ended_ms: started + 4_000 + duration,
        duration_ms: duration,
        reason: if refused {
            "refused"
        } else if answered {
            "bye"
        } else {
            "cancel"
        }
        .to_owned(),
        cause: refused.then(|| "sip 403".to_owned()),
        released_by: Some(if refused { "firewall" } else { "caller" }.to_owned()),
        permission: permission.to_owned(),
        verdict: if refused { "no-permission" } else { "permitted" }.to_owned(),
        refused,
        rule: Some("sip of phones".to_owned()),
        packets_to_caller: duration / 20,
        bytes_to_caller: duration * 10,
        packets_to_called: duration / 20,
        bytes_to_called: duration * 10,
        ..Record::default()
    }
}

/// How long it took, in ns, each time.
fn timed(rounds: usize, mut ask: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    // The first reads what the others find in memory, as an operator's second question does.
    ask()?;
    let round = |_| {
        let start = Instant::now();
        ask()?;
        Ok(start.elapsed().as_nanos() as f64)
    };
    (0..rounds).map(round).collect()
}

fn median(rounds: &[f64]) -> f64 {
    crate::report::median(rounds).unwrap_or_default()
}
