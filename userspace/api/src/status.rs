//! The daemon as a whole.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::HistoryStatus;
use crate::operation::{Alarm, Health, Rates, RefusalRow, TableRow, Unconfirmed};

/// How the firewall is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Since the daemon started. The kernel half may have been at work for longer.
    pub uptime_s: u64,
    /// Whether signalling is held until it has been read.
    pub mode: Mode,
    /// The interfaces it is attached to.
    pub interfaces: Vec<Interface>,
    /// The rules in force.
    pub rules: RulesFile,
    /// Calls being tracked.
    pub calls: u64,
    /// Pinholes open.
    pub pinholes: u64,
    /// Flows in the kernel's table.
    pub flows: u64,
    /// What the kernel half has judged.
    pub packets: Totals,
    /// What the user half has read.
    pub alg: Alg,
    /// How the history fares; `None` where none is kept.
    #[serde(default)]
    pub history: Option<HistoryStatus>,
    /// Packets a second.
    #[serde(default)]
    pub rates: Rates,
    /// Why packets are refused, the most frequent of late first: [`Status::REFUSALS`] at most.
    #[serde(default)]
    pub refusals: Vec<RefusalRow>,
    /// How full the bounded tables are.
    #[serde(default)]
    pub tables: Vec<TableRow>,
    /// What somebody should look at.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// What that comes to.
    #[serde(default)]
    pub health: Health,
    /// New rules that wait to be confirmed.
    #[serde(default)]
    pub unconfirmed: Option<Unconfirmed>,
}

impl Status {
    /// Reasons of refusals that are told.
    pub const REFUSALS: usize = 8;
}

/// What happens to signalling while it is read: `mode` in the rules file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is held, and a forbidden message never arrives.
    Enforce,
    /// A copy is read; nothing is blocked by its content.
    Observe,
}

/// An interface the firewall is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The zone the rules file puts it in, if any.
    pub zone: Option<String>,
    /// Where its packets are judged.
    pub xdp: XdpMode,
    /// Why XDP is not native; `None` where it is.
    pub xdp_note: Option<String>,
    /// The inspection taps that serve it.
    pub taps: Vec<String>,
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the stack, after the socket buffer was made (skb mode).
    Generic,
}

/// The rules in force and where they came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesFile {
    /// The file.
    pub file: String,
    /// When it was loaded.
    pub loaded_unix: u64,
    /// Counts the loads since the maps were pinned; 0 before the first.
    pub generation: u32,
    /// How many rules it has.
    pub count: u32,
    /// The last reload that failed, if none has succeeded since.
    pub last_error: Option<ReloadError>,
}

/// A reload that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadError {
    /// When.
    pub at_unix: u64,
    /// Why, in one line.
    pub message: String,
}

/// Packets the kernel half has judged, over all interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Packets let by.
    pub passed: u64,
    /// Packets dropped, for whatever reason.
    pub dropped: u64,
}

/// What the user half has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alg {
    /// Since the kernel half was last told that the daemon is alive; stale after 1,000 ms.
    pub heartbeat_age_ms: u64,
    /// Messages read, by protocol name.
    pub messages: BTreeMap<String, u64>,
    /// Announcements that opened nothing, by the refusal's name (`callgate_alg::media::Refusal`).
    pub refusals: BTreeMap<String, u64>,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        })
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
