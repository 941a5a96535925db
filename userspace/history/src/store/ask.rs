//! Questions to the database.

use callgate_api::Page;
use callgate_api::history::{By, HistoryFilter, HistoryTotal, Record};

use super::schema::{COLUMNS, record};
use super::{Error, Store, Value};

/// What stands behind every text that begins alike.
const LAST: char = '\u{10ffff}';

/// What is looked at for what is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FraudRow {
    /// Who called.
    pub caller: String,
    /// Who was called.
    pub called: String,
    /// Its destination class.
    pub permission: String,
    /// When it began, in ms of Unix time.
    pub started_ms: u64,
    /// How long it lasted, in ms.
    pub duration_ms: u64,
    /// Whether it was answered.
    pub answered: bool,
    /// Whether the firewall refused it.
    pub refused: bool,
    /// Whether it was an emergency call.
    pub emergency: bool,
}

impl Store {
    /// The latest `limit` records that are wanted, and how many there are in all.
    ///
    /// # Errors
    /// [`Error`].
    pub fn records(&mut self, filter: &HistoryFilter, limit: usize) -> Result<Page<Record>, Error> {
        let wanted = Condition::of(filter);
        let mut total = 0;
        let count = format!("SELECT COUNT(*) FROM calls WHERE {}", wanted.text);
        self.connection.query(&count, &wanted.values, &mut |row| {
            total = row.integer(0)?.unsigned_abs();
            Ok(())
        })?;
        // Those of few callers are found by their index and put in order; in order of time all would be gone over.
        let order = if wanted.is_narrow { "+started" } else { "started" };
        let statement = format!(
            "SELECT {} FROM calls WHERE {} ORDER BY {order} DESC, id DESC LIMIT {limit}",
            COLUMNS.join(", "),
            wanted.text
        );
        let mut rows = Vec::new();
        self.connection.query(&statement, &wanted.values, &mut |row| {
            rows.push(record(row)?);
            Ok(())
        })?;
        Ok(Page { rows, total })
    }

    /// Sums of the records that are wanted, the greatest first: at most `limit` of them, and how many there are in all.
    ///
    /// # Errors
    /// [`Error`].
    pub fn totals(
        &mut self,
        filter: &HistoryFilter,
        by: By,
        limit: usize,
    ) -> Result<Page<HistoryTotal>, Error> {
        let column = match by {
            By::Class => "permission",
            By::Caller => "caller",
            By::Called => "called",
            By::Protocol => "protocol",
            By::Verdict => "verdict",
            By::Host => "host",
        };
        let wanted = Condition::of(filter);
        let statement = format!(
            "SELECT {column}, COUNT(*), COUNT(connected), CAST(SUM(refused) AS BIGINT), \
             CAST(SUM(duration) AS BIGINT), MIN(started), MAX(started) \
             FROM calls WHERE {} GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT {limit}",
            wanted.text
        );
        let mut rows = Vec::new();
        self.connection.query(&statement, &wanted.values, &mut |row| {
            let number = |column| row.integer(column).map(i64::unsigned_abs);
            rows.push(HistoryTotal {
                name: row.text(0)?,
                calls: number(1)?,
                answered: number(2)?,
                refused: number(3)?,
                duration_s: number(4)? / 1_000,
                first_ms: number(5)?,
                last_ms: number(6)?,
            });
            Ok(())
        })?;
        let mut total = rows.len() as u64;
        if rows.len() == limit {
            let count = format!("SELECT COUNT(DISTINCT {column}) FROM calls WHERE {}", wanted.text);
            self.connection.query(&count, &wanted.values, &mut |row| {
                total = row.integer(0)?.unsigned_abs();
                Ok(())
            })?;
        }
        Ok(Page { rows, total })
    }

    /// Hands over what is looked at for what is odd, the oldest first.
    ///
    /// # Errors
    /// [`Error`], the taker's included.
    pub fn each(
        &mut self,
        filter: &HistoryFilter,
        mut take: impl FnMut(&FraudRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wanted = Condition::of(filter);
        let statement = format!(
            "SELECT caller, called, permission, started, duration, connected, refused, emergency FROM calls \
             WHERE {} ORDER BY started",
            wanted.text
        );
        self.connection.query(&statement, &wanted.values, &mut |row| {
            take(&FraudRow {
                caller: row.text(0)?,
                called: row.text(1)?,
                permission: row.text(2)?,
                started_ms: row.integer(3)?.unsigned_abs(),
                duration_ms: row.integer(4)?.unsigned_abs(),
                answered: row.integer_or_none(5)?.is_some(),
                refused: row.integer(6)? != 0,
                emergency: row.integer(7)? != 0,
            })
        })
    }

    /// How SQLite would go about [`Self::records`], a step a line.
    ///
    /// # Errors
    /// [`Error`]; of PostgreSQL always.
    pub fn plan(&mut self, filter: &HistoryFilter) -> Result<Vec<String>, Error> {
        let wanted = Condition::of(filter);
        let order = if wanted.is_narrow { "+started" } else { "started" };
        let statement = format!(
            "EXPLAIN QUERY PLAN SELECT {} FROM calls WHERE {} ORDER BY {order} DESC, id DESC LIMIT 100",
            COLUMNS.join(", "),
            wanted.text
        );
        let mut steps = Vec::new();
        self.connection.query(&statement, &wanted.values, &mut |row| {
            steps.push(row.text(3)?);
            Ok(())
        })?;
        Ok(steps)
    }
}

/// A condition of SQL, and the values it names.
#[derive(Debug, Default)]
struct Condition {
    text: String,
    values: Vec<Value>,
    /// It names callers, called numbers or devices: few records, which an index finds.
    is_narrow: bool,
}

impl Condition {
    fn of(filter: &HistoryFilter) -> Self {
        let mut condition = Self::default();
        let mut parts = Vec::new();
        let HistoryFilter { caller, called, device, any, class, cause, protocol, host, .. } = filter;
        let of = |column, pattern: &Option<String>| {
            pattern.as_deref().map_or(Vec::new(), |pattern| alternatives(column, pattern))
        };
        let (callers, calleds) = (of("caller", caller), of("called", called));
        let groups = if *any { vec![[callers, calleds].concat()] } else { vec![callers, calleds] };
        for group in groups.into_iter().chain([of("device", device)]).filter(|group| !group.is_empty()) {
            let group: Vec<_> = group.iter().map(|one| condition.word(one)).collect();
            parts.push(format!("({})", group.join(" OR ")));
            condition.is_narrow = true;
        }
        if device.is_some() {
            parts.push("device <> ''".to_owned());
        }
        for (column, value) in [("permission", class), ("protocol", protocol), ("host", host)] {
            if let Some(value) = value {
                let place = condition.place(Value::Text(value.clone()));
                parts.push(format!("{column} = {place}"));
            }
        }
        if let Some(cause) = cause {
            let place = condition.place(Value::Text(cause.clone()));
            parts.push(format!("(reason = {place} OR cause = {place} OR verdict = {place})"));
        }
        parts.extend(filter.since_ms.map(|since| format!("started >= {}", bounded(since))));
        parts.extend(filter.until_ms.map(|until| format!("started < {}", bounded(until))));
        parts.extend(filter.refused.map(|refused| format!("refused = {}", u8::from(refused))));
        parts.extend(
            filter.answered.map(|answered| {
                if answered { "connected IS NOT NULL" } else { "connected IS NULL" }.to_owned()
            }),
        );
        let ms = |seconds: u64| bounded(seconds.saturating_mul(1_000));
        parts.extend(filter.longer_s.map(|least| format!("duration >= {}", ms(least))));
        parts.extend(
            filter.shorter_s.map(|most| format!("connected IS NOT NULL AND duration <= {}", ms(most))),
        );
        condition.text = if parts.is_empty() { "1 = 1".to_owned() } else { parts.join(" AND ") };
        condition
    }

    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn word(&mut self, (column, pattern): &(&str, Pattern)) -> String {
        match pattern {
            Pattern::Whole(text) => {
                let place = self.place(Value::Text(text.clone()));
                format!("{column} = {place}")
            }
            Pattern::Beginning(text) => {
                let from = self.place(Value::Text(text.clone()));
                let to = self.place(Value::Text(format!("{text}{LAST}")));
                format!("({column} >= {from} AND {column} < {to})")
            }
        }
    }
}

/// What a text must be, or begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Whole(String),
    Beginning(String),
}

/// What a pattern can mean: a number may be written with separators and without the `+` of an international one.
fn alternatives<'c>(column: &'c str, pattern: &str) -> Vec<(&'c str, Pattern)> {
    let (text, open) = match pattern.strip_suffix('*') {
        Some(text) => (text, true),
        None => (pattern, false),
    };
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '(')
        && text.chars().all(|c| c.is_ascii_digit() || "+-(). x*#".contains(c))
        && text.parse::<std::net::IpAddr>().is_err();
    let texts = match is_number {
        true => {
            let digits: String = text.chars().filter(|c| !"-(). ".contains(*c)).collect();
            let international = (!digits.starts_with('+')).then(|| format!("+{digits}"));
            [Some(digits), international].into_iter().flatten().collect()
        }
        false => vec![text.to_owned()],
    };
    let shape = |text| if open { Pattern::Beginning(text) } else { Pattern::Whole(text) };
    texts.into_iter().map(|text| (column, shape(text))).collect()
}

/// Within what a database takes for a number.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
