//! Running the firewall: who may do what, ending calls, trying rules out, and how it fares.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of the control protocol: the `1` of `/v1/`. It grows by fields and requests; what would break a
/// reader makes a new one.
pub const API: u32 = 1;

/// What a peer of the control socket may do; each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Blocks, unblocks, kills flows, ends calls.
    Operator,
    /// Changes the rules.
    Admin,
}

impl Role {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who answers, and what the one who asks may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The version of the control protocol: [`API`].
    pub api: u32,
    /// What the one who asks may do.
    pub role: Role,
}

/// Asks for a call to be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HangupRequest {
    /// Its number, or its identifier in the protocol.
    pub call: String,
}

/// Calls that were ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HungUp {
    /// Their numbers: several where a call passes the firewall several times.
    pub calls: Vec<u64>,
}

/// New rules wait to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// The file they are from.
    pub file: String,
    /// The file of the rules that come back unless they are.
    pub back_to: String,
    /// Until then.
    pub left_s: u64,
}

/// The rules in force are confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The file they are from.
    pub file: String,
}

/// Asks what a rules file would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The file (absolute); without it the one in force, as it now is on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// What a rules file would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The file.
    pub file: String,
    /// Rules, by name: those of the new file in its order, then those that would go.
    pub rules: Vec<Difference>,
    /// Groups, by name.
    pub groups: Vec<Difference>,
    /// Other tables that differ: `settings`, `zones` …
    pub tables: Vec<String>,
    /// Live calls whose signalling would be refused, [`Self::SHOWN`] at most.
    pub calls: Vec<RefusedCall>,
    /// How many there are.
    pub calls_total: u64,
    /// Live flows that would be refused, [`Self::SHOWN`] at most.
    pub flows: Vec<RefusedFlow>,
    /// How many there are.
    pub flows_total: u64,
    /// Flows that were not looked at: there are too many for the time the daemon allows itself.
    #[serde(default)]
    pub unjudged: u64,
}

impl Diff {
    /// Calls and flows that are told of one by one.
    pub const SHOWN: usize = 100;

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.groups.is_empty() && self.tables.is_empty()
    }
}

/// What becomes of a rule or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// More about it, for people; may be empty.
    pub text: String,
}

/// What becomes of something with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same at another place among the others.
    Moved,
}

impl Change {
    /// A character in front of the name, as `diff` has it.
    pub const fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
            Self::Moved => '^',
        }
    }
}

/// A flow that new rules would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFlow {
    /// `tcp`, `udp` …
    pub protocol: String,
    /// Who began it.
    pub from: SocketAddr,
    /// Where it leads.
    pub to: SocketAddr,
    /// What would refuse it: a rule's name, or `default of zone …`.
    pub by: String,
}

/// A call that new rules would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCall {
    /// Its number.
    pub call: u64,
    /// Its identifier in the protocol.
    pub key: String,
    /// Its parties, as signalled.
    pub parties: [String; 2],
    /// What would refuse its signalling.
    pub by: String,
}

/// Packets a second, over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Let by.
    pub passed: u64,
    /// Dropped.
    pub dropped: u64,
    /// Over so many seconds; 0 while nothing can be said.
    pub over_s: u64,
}

/// A reason for which packets are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRow {
    /// Its name, as in the counters.
    pub reason: String,
    /// Packets, since the maps were pinned.
    pub packets: u64,
    /// Packets a second, over the last seconds.
    pub per_s: u64,
}

/// How full a bounded table is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Which.
    pub table: String,
    /// Entries in use.
    pub used: u64,
    /// Entries there can be.
    pub capacity: u64,
}

impl TableRow {
    /// How full it is, in hundredths.
    pub fn percent(&self) -> u64 {
        (self.used * 100).checked_div(self.capacity).unwrap_or(0)
    }
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// A name that stays the same: `table-fill`, `reload-failed` …
    pub name: String,
    /// Calls are refused or lost because of it, or will be soon.
    pub critical: bool,
    /// What is wrong, in one line.
    pub text: String,
    /// What to do about it, in one line.
    pub hint: String,
}

/// Where everything stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No alarm.
    #[default]
    Good,
    /// An alarm.
    Warning,
    /// A critical alarm.
    Critical,
}

impl Health {
    /// Where everything stands while there are these alarms.
    pub fn of(alarms: &[Alarm]) -> Self {
        match alarms.iter().map(|alarm| alarm.critical).max() {
            None => Self::Good,
            Some(false) => Self::Warning,
            Some(true) => Self::Critical,
        }
    }

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_alarm_decides() {
        let alarm = |critical| Alarm { name: "a".into(), critical, text: String::new(), hint: String::new() };
        assert_eq!(Health::of(&[]), Health::Good);
        assert_eq!(Health::of(&[alarm(false)]), Health::Warning);
        assert_eq!(Health::of(&[alarm(false), alarm(true), alarm(false)]), Health::Critical);
    }

    #[test]
    fn roles_include_those_before_them() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }

    #[test]
    fn a_table_without_room_is_not_divided_by() {
        let row = |used, capacity| TableRow { table: String::new(), used, capacity };
        assert_eq!((row(5, 0).percent(), row(5, 10).percent(), row(0, 10).percent()), (0, 50, 0));
    }
}
