//! PostgreSQL, for those who want the records of several firewalls in one place. Without TLS: by a Unix socket, or
//! over a network that is trusted or tunnelled.

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::ToSql;
use postgres::{Client, Config, NoTls};

use super::schema::COLUMNS;
use super::{Connection, Error, Purpose, Row, Value};

/// How long the server may take to be reached, or to say that it is alive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a statement may take, in ms: of a reader, and of a writer.
const STATEMENT: [u32; 2] = [15_000, 60_000];

/// A connection to a server.
pub(super) struct Postgres {
    client: Client,
}

impl Postgres {
    /// Connects by a URL, as `libpq` reads it.
    pub(super) fn open(url: &str, purpose: Purpose) -> Result<Self, Error> {
        let mut config: Config = url.parse()?;
        config
            .application_name("callgate")
            .connect_timeout(PATIENCE)
            .tcp_user_timeout(PATIENCE * 2)
            .keepalives_idle(PATIENCE * 2);
        let mut client = config.connect(NoTls)?;
        let statement = STATEMENT[usize::from(purpose == Purpose::Write)];
        client.batch_execute(&format!(
            "SET statement_timeout = {statement}; SET client_min_messages = warning;"
        ))?;
        if purpose == Purpose::Read {
            client.batch_execute("SET default_transaction_read_only = on;")?;
        }
        Ok(Self { client })
    }
}

impl Connection for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    fn run(&mut self, statements: &str) -> Result<(), Error> {
        let mut transaction = self.client.transaction()?;
        transaction.batch_execute(statements)?;
        Ok(transaction.commit()?)
    }

    fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, Error> {
        Ok(self.client.execute(statement, &parameters(values))?)
    }

    fn query(
        &mut self,
        statement: &str,
        values: &[Value],
        take: &mut dyn FnMut(&dyn Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let late = |error: postgres::Error| match error.code() {
            Some(&postgres::error::SqlState::QUERY_CANCELED) => Error::TooLong,
            _ => error.into(),
        };
        let mut rows = self.client.query_raw(statement, parameters(values)).map_err(late)?;
        while let Some(row) = rows.next().map_err(late)? {
            take(&row)?;
        }
        Ok(())
    }

    fn insert(&mut self, rows: &[Vec<Value>]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        // At most `queue::BATCH` rows: far below the protocol's 65,535 parameters.
        let width = COLUMNS.len();
        let places: Vec<_> = (0..rows.len())
            .map(|row| {
                let places: Vec<_> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
                format!("({})", places.join(", "))
            })
            .collect();
        let statement = format!(
            "INSERT INTO calls ({}) VALUES {} ON CONFLICT (host, run, number) DO NOTHING",
            COLUMNS.join(", "),
            places.join(", ")
        );
        let values: Vec<_> = rows.iter().flat_map(|row| parameters(row)).collect();
        self.client.execute(&statement, &values)?;
        Ok(())
    }

    fn is_current(&self) -> bool {
        !self.client.is_closed()
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) {
            match value {
                Value::Text(text) => text,
                Value::Integer(number) => number,
                Value::Real(number) => number,
                Value::NoInteger => &None::<i64>,
                Value::NoReal => &None::<f64>,
                Value::NoText => &None::<String>,
            }
        })
        .collect()
}

impl Row for postgres::Row {
    fn text(&self, column: usize) -> Result<String, Error> {
        Ok(self.try_get(column)?)
    }

    fn text_or_none(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.try_get(column)?)
    }

    fn integer(&self, column: usize) -> Result<i64, Error> {
        Ok(self.try_get(column)?)
    }

    fn integer_or_none(&self, column: usize) -> Result<Option<i64>, Error> {
        Ok(self.try_get(column)?)
    }

    fn real_or_none(&self, column: usize) -> Result<Option<f64>, Error> {
        Ok(self.try_get(column)?)
    }
}
