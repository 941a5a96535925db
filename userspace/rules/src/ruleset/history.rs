//! What is kept of calls that are over, and where.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The `[history]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Records older than this are forgotten.
    pub retain: Duration,
    /// So many are kept at most, the latest: within [`Self::MAX`].
    pub max: u32,
    /// Where they are kept.
    pub database: Database,
    /// So many digits at the end of every number are kept from everybody: within [`Self::MASK`].
    pub mask: u32,
    /// Who is told of each by syslog.
    pub syslog: Option<Syslog>,
    /// Who is told of each by HTTP: a URL.
    pub webhook: Option<String>,
    /// Where each is written as a line of JSON.
    pub file: Option<PathBuf>,
}

/// Where records are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// In a file of SQLite.
    Sqlite(PathBuf),
    /// With a PostgreSQL server, by its URL.
    Postgres(String),
}

/// Where syslog is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// A server, by UDP.
    Udp(SocketAddr),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl History {
    /// What `max` can be.
    pub const MAX: RangeInclusive<u32> = 1_000..=100_000_000;
    /// What `mask` can be.
    pub const MASK: RangeInclusive<u32> = 0..=32;
    /// Where records are kept unless told otherwise.
    pub const FILE: &str = "/var/lib/callgate/history.db";
}

impl Default for History {
    fn default() -> Self {
        Self {
            retain: Duration::from_secs(7 * 86_400),
            max: 500_000,
            database: Database::Sqlite(Self::FILE.into()),
            mask: 0,
            syslog: None,
            webhook: None,
            file: None,
        }
    }
}

/// Without the password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(url) => f.debug_tuple("Postgres").field(&without_password(url)).finish(),
        }
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A URL without what stands between user and host (RFC 3986 section 3.2.1), and without its query, where a password
/// can be too.
pub fn without_password(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    let user = user.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://fw:s3cret@db.example.net/calls", "postgres://fw@db.example.net/calls"),
            ("postgres://fw:a@b@db:5433/calls?password=x", "postgres://fw@db:5433/calls"),
            ("postgres:///calls?host=/run/postgresql", "postgres:///calls"),
            ("https://billing:key@h/p/a@b", "https://billing@h/p/a@b"),
        ] {
            assert_eq!(without_password(url), shown);
            let database = Database::Postgres(url.to_owned());
            assert_eq!(
                (database.to_string(), format!("{database:?}").contains("cret")),
                (shown.to_owned(), false)
            );
        }
    }
}
