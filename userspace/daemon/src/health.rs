//! What somebody should look at: alarms, how full tables are, and whether the clock goes on as it should.
//!
//! An alarm is a statement about now: it goes when its cause does. [`WARN`] and [`ALARM`] are below full, so that
//! somebody can act before a call is refused. What a full table does is said in `docs/operations.md`.

use std::time::{Duration, SystemTime};

use callgate_alg::action::Time;
use callgate_api::{Alarm, TableRow};
use tracing::warn;

use crate::blocks;
use crate::control::access::Access;
use crate::control::locked;
use crate::firewall::Firewall;
use crate::peers;

/// From so many hundredths on, a table's fill is told.
const WARN: u64 = 80;
/// And from so many, it is critical.
const ALARM: u64 = 95;
/// A wall clock that is off by more from what the monotonic one says has jumped.
const JUMP: Duration = Duration::from_secs(2);
/// How long a jump is told.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// A heartbeat older than this is not believed by the kernel half.
const STALE: Duration = Duration::from_millis(1_000);
/// How long a count of the kernel's flows is believed: there can be many.
const COUNTED: Duration = Duration::from_secs(2);

/// The wall clock beside the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    last: (Time, SystemTime),
    /// When it jumped last, and by how many milliseconds.
    jumped: Option<(Time, i64)>,
}

impl Clocks {
    pub(crate) fn new(now: Time, wall: SystemTime) -> Self {
        Self { last: (now, wall), jumped: None }
    }

    /// Compares both again; a jump of the wall clock, in milliseconds. What the firewall times by it (hours of
    /// rules, dates of records) goes on by what it says now; nothing else does.
    pub(crate) fn look(&mut self, now: Time, wall: SystemTime) -> Option<i64> {
        let passed = now.since(self.last.0);
        let off = match wall.duration_since(self.last.1 + passed) {
            Ok(ahead) => i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX),
            Err(behind) => -i64::try_from(behind.duration().as_millis()).unwrap_or(i64::MAX),
        };
        self.last = (now, wall);
        let jumped = u128::from(off.unsigned_abs()) > JUMP.as_millis();
        if jumped {
            self.jumped = Some((now, off));
        }
        jumped.then_some(off)
    }

    fn jump(&self, now: Time) -> Option<i64> {
        self.jumped.filter(|(at, _)| now.since(*at) < REMEMBERED).map(|(_, off)| off)
    }
}

/// The kernel's flows, counted of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlowCount {
    at: Option<Time>,
    /// In the table of strangers, and in that of known peers.
    pub(crate) counts: [u64; 2],
}

impl Firewall {
    /// Flows in the kernel's two tables.
    pub(crate) fn count_flows(&mut self, now: Time) -> [u64; 2] {
        if self.flow_count.at.is_none_or(|at| now.since(at) >= COUNTED) {
            let mut counts = [0; 2];
            for flow in self.kernel.flows() {
                counts[usize::from(flow.peer)] += 1;
            }
            self.flow_count = FlowCount { at: Some(now), counts };
        }
        self.flow_count.counts
    }

    /// How full the tables are.
    pub(crate) fn table_rows(&mut self, now: Time) -> Vec<TableRow> {
        let [strangers, peers] = self.count_flows(now);
        let pinholes = self.kernel.pinholes().count() as u64;
        let blocks = self.defence.blocks.rows(now).count() as u64;
        let mut rows: Vec<TableRow> = Vec::new();
        for (table, capacity) in &self.capacities {
            let (used, capacity) = match *table {
                "flows" => (strangers, *capacity),
                "peer flows" => (peers, *capacity),
                "pinholes" => (pinholes, u64::from(self.rules.settings().tables.pinholes).min(*capacity)),
                _ => (blocks, (blocks::MOST as u64).min(*capacity)),
            };
            rows.push(TableRow { table: (*table).to_owned(), used, capacity });
        }
        let known = self.defence.peers.count() as u64;
        rows.push(TableRow { table: "known peers".to_owned(), used: known, capacity: peers::MOST as u64 });
        let engine = self.engine.tables().map(|table| TableRow {
            table: table.name.to_owned(),
            used: table.used as u64,
            capacity: table.bound as u64,
        });
        rows.extend(engine);
        rows
    }

    /// Looks whether the wall clock has jumped.
    pub(crate) fn look_at_clock(&mut self, now: Time) {
        if let Some(off) = self.clocks.look(now, SystemTime::now()) {
            warn!(
                milliseconds = off,
                "the clock has been set: rules with `when` follow it, calls and pinholes do not"
            );
        }
    }

    /// What somebody should look at, the critical first.
    pub(crate) fn alarms(&self, tables: &[TableRow], now: Time) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut raise = |name: &str, critical: bool, text: String, hint: &str| {
            alarms.push(Alarm { name: name.to_owned(), critical, text, hint: hint.to_owned() });
        };
        for row in tables {
            // The kernel makes room in its tables of flows by forgetting the oldest.
            let evicts = row.table.ends_with("flows");
            let percent = row.percent();
            if percent >= WARN {
                let (text, hint) = (
                    format!(
                        "the table of {} is {percent} % full ({} of {})",
                        row.table, row.used, row.capacity
                    ),
                    if evicts {
                        "the oldest are forgotten first; `fwctl top` shows who opens so many; limit new flows"
                    } else {
                        "what is new is refused when it is full, what is there stays; look for a flood, or end calls"
                    },
                );
                raise("table-fill", percent >= ALARM && !evicts, text, hint);
            }
        }
        if self.unopened > 0 {
            let text = format!("the kernel has had no room for {} pinholes", self.unopened);
            let hint = "is its memory short (dmesg)? It is asked again every 5 s; those calls have no media";
            raise("pinholes", true, text, hint);
        }
        let age = now.since(self.kernel.last_heartbeat());
        if age > STALE {
            let text = format!("the kernel half has had no heartbeat for {} ms", age.as_millis());
            raise("heartbeat", true, text, "signalling goes by `on_alg_down`; is the machine overloaded?");
        }
        if self.interfaces.attached.is_empty() {
            let hint = "create the interfaces that [zones] names, then `fwctl reload`";
            raise("no-interface", true, "the firewall stands on no interface".to_owned(), hint);
        }
        for zone in self.rules.zones() {
            for name in &zone.interfaces {
                if self.interfaces.attached.iter().all(|interface| interface.name != *name) {
                    let text =
                        format!("{name} of zone {} is not attached: its packets are not judged", zone.name);
                    raise("interface", true, text, "see the daemon's log; `fwctl reload` tries again");
                }
            }
        }
        if let Some(error) = &self.last_error {
            let hint = "the rules before it are in force; mend the file, try it with `fwctl check`, reload";
            raise("reload-failed", false, format!("the last reload failed: {}", error.message), hint);
        }
        if let Some(waits) = self.reserve.unconfirmed(&self.rules_file, now) {
            let text = format!("new rules come back to {} in {} s", waits.back_to, waits.left_s);
            raise("unconfirmed", false, text, "`fwctl confirm` keeps them, `fwctl rollback` takes them back");
        }
        if self.journal.is_failing() {
            let hint =
                "is the disk of the state directory full? Calls go on, but the next daemon may not know them";
            raise("journal", false, "calls cannot be remembered for the next daemon".to_owned(), hint);
        }
        if self.memory.is_failing() {
            let text = "what the call policy has counted cannot be written".to_owned();
            raise(
                "policy-memory",
                false,
                text,
                "free the disk of the state directory; until then a restart forgets it",
            );
        }
        if let Some(trouble) = locked(&self.audit).trouble() {
            let text = format!("changes are not noted in the audit file: {trouble}");
            raise("audit", false, text, "free the disk, or choose another file (callgated --audit)");
        }
        for place in self.records.status().into_iter().flat_map(|status| status.places) {
            if let Some(trouble) = place.trouble {
                let text = format!("records do not get to {} {}: {trouble}", place.kind, place.place);
                raise("history", false, text, "they wait, then are lost; see [history] of the rules");
            }
        }
        // Only the names are asked for: who is granted what does not depend on the daemon's user.
        for group in Access::granted(0, None, self.rules.control()).unknown {
            let text = format!("[control] names group {group}, which this machine does not have");
            raise("unknown-group", false, text, "groupadd it, or mend [control]; it gives nobody anything");
        }
        if let Some(off) = self.clocks.jump(now) {
            let text = format!("the clock was set by {}.{:03} s", off / 1_000, off.unsigned_abs() % 1_000);
            raise(
                "clock",
                false,
                text,
                "is time synchronised (timedatectl)? Rules with `when` follow the clock",
            );
        }
        alarms.sort_by_key(|alarm| !alarm.critical);
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_has_jumped_and_one_that_drifts_has_not() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let second = Duration::from_secs(1);
        let mut clocks = Clocks::new(Time(0), begin);
        let at = |seconds: u64| Time(seconds * 1_000_000_000);
        assert_eq!(clocks.look(at(1), begin + second), None);
        assert_eq!(clocks.look(at(2), begin + second * 2 + Duration::from_millis(900)), None);
        assert_eq!(clocks.look(at(3), begin + second * 3_600), Some(3_596_100));
        assert_eq!(clocks.look(at(4), begin + second * 3_601), None);
        assert_eq!(clocks.jump(at(5)), Some(3_596_100));
        assert_eq!(clocks.look(at(5), begin), Some(-3_602_000));
        assert_eq!(clocks.jump(at(4_000)), None);
    }
}
