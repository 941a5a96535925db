//! The tables, and how they came to be what they are.
//!
//! A version is a step of statements. A database's version stands in its table `callgate_schema`; opening it to write
//! takes the steps it lacks, each in a transaction. Steps are never changed once they are out: a change is a new one.

use callgate_api::history::Record;

use super::{Connection, Error, Row, Value};

/// Columns of a record, in the order of [`row`]. `id` comes before them and is the database's own.
pub(super) const COLUMNS: [&str; 38] = [
    "run",
    "number",
    "host",
    "call",
    "protocol",
    "call_key",
    "caller",
    "called",
    "caller_signalled",
    "called_signalled",
    "device",
    "caller_address",
    "called_address",
    "started",
    "connected",
    "ended",
    "duration",
    "reason",
    "cause",
    "released_by",
    "permission",
    "verdict",
    "refused",
    "emergency",
    "rule",
    "packets_to_caller",
    "bytes_to_caller",
    "packets_to_called",
    "bytes_to_called",
    "loss",
    "jitter",
    "mos",
    "loss_to_caller",
    "jitter_to_caller",
    "mos_to_caller",
    "loss_to_called",
    "jitter_to_called",
    "mos_to_called",
];

/// The steps. `{id}` and `{text}` are each database's own words for a row's number and for a text that is compared by
/// its bytes; lines that begin with `shared:` are for databases that several firewalls write to.
const STEPS: [&str; 4] = [
    "CREATE TABLE calls (
        id {id},
        run BIGINT NOT NULL,
        number BIGINT NOT NULL,
        host {text} NOT NULL,
        call BIGINT NOT NULL,
        protocol {text} NOT NULL,
        call_key {text} NOT NULL,
        caller {text} NOT NULL,
        called {text} NOT NULL,
        caller_signalled {text} NOT NULL,
        called_signalled {text} NOT NULL,
        device {text} NOT NULL,
        caller_address {text} NOT NULL,
        called_address {text} NOT NULL,
        started BIGINT NOT NULL,
        connected BIGINT,
        ended BIGINT NOT NULL,
        duration BIGINT NOT NULL,
        reason {text} NOT NULL,
        cause {text},
        released_by {text},
        permission {text} NOT NULL,
        verdict {text} NOT NULL,
        refused BIGINT NOT NULL,
        emergency BIGINT NOT NULL,
        rule {text},
        packets_to_caller BIGINT NOT NULL,
        bytes_to_caller BIGINT NOT NULL,
        packets_to_called BIGINT NOT NULL,
        bytes_to_called BIGINT NOT NULL
    );
    shared: CREATE UNIQUE INDEX calls_name ON calls (host, run, number);",
    // What was asked of 500,000 records, by EXPLAIN QUERY PLAN: the latest; those of a caller, to a number, of a device
    // within some days; those that were refused. Sums by class, by caller and
    // by number called read an index alone.
    "CREATE INDEX calls_started ON calls (started);
    CREATE INDEX calls_caller ON calls (caller, started, connected, refused, duration);
    CREATE INDEX calls_called ON calls (called, started, connected, refused, duration);
    CREATE INDEX calls_device ON calls (device, started) WHERE device <> '';
    CREATE INDEX calls_refused ON calls (started) WHERE refused = 1;
    CREATE INDEX calls_class ON calls (permission, started, connected, refused, duration);
    shared: CREATE INDEX calls_host ON calls (host, id);",
    "ALTER TABLE calls ADD COLUMN loss DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN jitter DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN mos DOUBLE PRECISION;",
    "ALTER TABLE calls ADD COLUMN loss_to_caller DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN jitter_to_caller DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN mos_to_caller DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN loss_to_called DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN jitter_to_called DOUBLE PRECISION;
    ALTER TABLE calls ADD COLUMN mos_to_called DOUBLE PRECISION;",
];

/// The version of the last step.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Takes the steps that a database lacks.
pub(super) fn migrate(connection: &mut dyn Connection) -> Result<(), Error> {
    migrate_to(connection, STEPS.len())
}

/// The same, but for the last steps.
pub(super) fn migrate_to(connection: &mut dyn Connection, steps: usize) -> Result<(), Error> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(Error::Newer { found, known: VERSION });
    }
    let taken = usize::try_from(found).unwrap_or_default();
    for (place, step) in STEPS.iter().enumerate().take(steps).skip(taken) {
        let statements = worded(step, connection.is_shared());
        // Where two firewalls come at once, the lock has the second wait, and its own step fails: it comes again.
        let lock = if connection.is_shared() { "LOCK TABLE callgate_schema IN EXCLUSIVE MODE;" } else { "" };
        connection
            .run(&format!("{lock} {statements} UPDATE callgate_schema SET version = {};", place + 1))?;
    }
    Ok(())
}

/// A database's version; 0 where it has no tables yet.
fn version(connection: &mut dyn Connection) -> Result<i64, Error> {
    connection.run(
        "CREATE TABLE IF NOT EXISTS callgate_schema (version BIGINT NOT NULL, one BIGINT NOT NULL UNIQUE);
         INSERT INTO callgate_schema (version, one) VALUES (0, 1) ON CONFLICT DO NOTHING;",
    )?;
    let mut version = 0;
    connection.query("SELECT version FROM callgate_schema", &[], &mut |row| {
        version = row.integer(0)?;
        Ok(())
    })?;
    Ok(version)
}

/// A step in a database's own words.
fn worded(step: &str, shared: bool) -> String {
    let (id, text) = match shared {
        true => ("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "TEXT COLLATE \"C\""),
        false => ("INTEGER PRIMARY KEY", "TEXT"),
    };
    let lines = step.lines().filter_map(|line| match line.trim_start().strip_prefix("shared:") {
        Some(line) => shared.then_some(line),
        None => Some(line),
    });
    lines.collect::<Vec<_>>().join("\n").replace("{id}", id).replace("{text}", text)
}

/// A record's row.
pub(super) fn row(run: u64, number: u64, record: &Record) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.replace('\0', " "));
    let integer = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let maybe_text = |it: &Option<String>| it.as_deref().map_or(Value::NoText, text);
    let maybe_real = |it: Option<f64>| it.map_or(Value::NoReal, Value::Real);
    vec![
        integer(run),
        integer(number),
        text(&record.host),
        integer(record.call),
        text(&record.protocol),
        text(&record.key),
        text(&record.caller),
        text(&record.called),
        text(&record.caller_signalled),
        text(&record.called_signalled),
        text(&record.device),
        text(&record.caller_address),
        text(&record.called_address),
        integer(record.started_ms),
        record.connected_ms.map_or(Value::NoInteger, integer),
        integer(record.ended_ms),
        integer(record.duration_ms),
        text(&record.reason),
        maybe_text(&record.cause),
        maybe_text(&record.released_by),
        text(&record.permission),
        text(&record.verdict),
        integer(record.refused.into()),
        integer(record.emergency.into()),
        maybe_text(&record.rule),
        integer(record.packets_to_caller),
        integer(record.bytes_to_caller),
        integer(record.packets_to_called),
        integer(record.bytes_to_called),
        maybe_real(record.loss),
        maybe_real(record.jitter_ms),
        maybe_real(record.mos),
        maybe_real(record.loss_to_caller),
        maybe_real(record.jitter_ms_to_caller),
        maybe_real(record.mos_to_caller),
        maybe_real(record.loss_to_called),
        maybe_real(record.jitter_ms_to_called),
        maybe_real(record.mos_to_called),
    ]
}

/// The record of a row of all [`COLUMNS`].
pub(super) fn record(row: &dyn Row) -> Result<Record, Error> {
    let number = |column| row.integer(column).map(i64::unsigned_abs);
    Ok(Record {
        host: row.text(2)?,
        call: number(3)?,
        protocol: row.text(4)?,
        key: row.text(5)?,
        caller: row.text(6)?,
        called: row.text(7)?,
        caller_signalled: row.text(8)?,
        called_signalled: row.text(9)?,
        device: row.text(10)?,
        caller_address: row.text(11)?,
        called_address: row.text(12)?,
        started_ms: number(13)?,
        connected_ms: row.integer_or_none(14)?.map(i64::unsigned_abs),
        ended_ms: number(15)?,
        duration_ms: number(16)?,
        reason: row.text(17)?,
        cause: row.text_or_none(18)?,
        released_by: row.text_or_none(19)?,
        permission: row.text(20)?,
        verdict: row.text(21)?,
        refused: number(22)? != 0,
        emergency: number(23)? != 0,
        rule: row.text_or_none(24)?,
        packets_to_caller: number(25)?,
        bytes_to_caller: number(26)?,
        packets_to_called: number(27)?,
        bytes_to_called: number(28)?,
        loss: row.real_or_none(29)?,
        jitter_ms: row.real_or_none(30)?,
        mos: row.real_or_none(31)?,
        loss_to_caller: row.real_or_none(32)?,
        jitter_ms_to_caller: row.real_or_none(33)?,
        mos_to_caller: row.real_or_none(34)?,
        loss_to_called: row.real_or_none(35)?,
        jitter_ms_to_called: row.real_or_none(36)?,
        mos_to_called: row.real_or_none(37)?,
    })
}
