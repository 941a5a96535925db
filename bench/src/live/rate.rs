//! Calls per second through a gateway, SIPp against SIPp, without media.
//!
//! A rate is held when every call of it succeeds and they take no longer than they should. Retransmissions are
//! allowed: SIP over UDP is made for them. Each gateway's highest rate is looked for with short runs, and is believed
//! once it has been held for long. Caller, gateway and callee share the machine, so a figure says what the whole
//! costs; the daemon's own CPU time is that of its process.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callgate_lab::lab::Family;

use super::{Effort, Gateway};
use crate::lineup::Selection;
use crate::report::{Case, rounded};
use crate::tasks::cpu_time_of;

const CALLER: &str = include_str!("../../scenarios/uac.xml");
const CALLEE: &str = include_str!("../../scenarios/uas.xml");
/// Calls per second that Callgate has to hold in any case.
pub(crate) const STEADY: u32 = 1_000;
/// Where looking for the highest rate begins.
const FIRST: u32 = 500;
/// Rates are told apart by this many calls per second.
const GRAIN: u32 = 50;
/// Beyond this SIPp is measured, and nothing else.
const HIGHEST: u32 = 20_000;
/// How much longer than planned a run may take.
const LATE: Duration = Duration::from_secs(1);
/// The first of the 10,000 ports SIPp names for media.
const MEDIA_PORT: &str = "16384";

/// Messages that found a queue full: SIPp's sockets', and the taps'.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    unread: u64,
    untapped: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    calls: u32,
    failed: u32,
    retransmissions: u32,
    took: Duration,
    /// Messages that found SIPp's own queue full.
    unread: u64,
    /// Messages that found the tap's queue full.
    untapped: u64,
    /// CPU time of the daemon, where there is one.
    daemon: Option<Duration>,
}

impl Trial {
    fn is_held(&self, time: Duration) -> bool {
        self.failed == 0 && self.took <= time + LATE
    }

    fn words(&self) -> String {
        let Self { calls, failed, retransmissions, unread, untapped, .. } = self;
        let mut words = format!("{failed} of {calls} calls failed, {retransmissions} retransmissions");
        if unread + untapped > 0 {
            words += &format!(" (lost: {untapped} messages before the daemon, {unread} before SIPp)");
        }
        words
    }

    /// The daemon's CPU time for one call, in µs.
    fn cost(&self) -> Option<f64> {
        Some(rounded(self.daemon?.as_nanos() as f64 / 1e3 / f64::from(self.calls), 1))
    }
}

/// Finds each selected gateway's highest rate.
pub(super) fn measure(selection: &Selection, effort: &Effort) -> Result<Vec<Case>> {
    type Maker = fn() -> Result<Gateway>;
    let makers: [(&'static str, Maker); 3] = [
        ("sip-call-plain", Gateway::plain),
        ("sip-call-helper", Gateway::helper),
        ("sip-call-rate", Gateway::callgate),
    ];
    let mut cases = Vec::new();
    for (name, make) in makers.into_iter().filter(|(name, _)| selection.has(name)) {
        let gateway = make().context(name)?;
        let (rate, held) = gateway.highest(effort).context(name)?;
        let mut case = Case::new(name);
        case.time(vec![1e9 / f64::from(rate)]);
        case.rate = Some(f64::from(rate));
        let mut note =
            format!("{rate} calls per second held for {} s: {}", effort.hold.as_secs(), held.words());
        if let Some(cost) = held.cost() {
            note += &format!("; the daemon took {cost} µs of CPU per call");
        }
        case.note = Some(note);
        cases.push(case);
    }
    Ok(cases)
}

/// [`STEADY`] calls a second through Callgate, and through a router alone: what fails there, no firewall has lost.
pub(super) fn steady(effort: &Effort) -> Result<Case> {
    let place = |gateway: Gateway| gateway.trial(STEADY, effort.steady);
    let trial = place(Gateway::callgate()?)?;
    let plain = place(Gateway::plain()?)?;
    let mut case = Case::new("sip-call-steady");
    case.time(vec![1e9 / f64::from(STEADY)]);
    case.rate = Some(f64::from(STEADY));
    let verdict = if trial.is_held(effort.steady) { "held" } else { "not held" };
    let cost = trial.cost().unwrap_or_default();
    case.note = Some(format!(
        "{verdict} for {} s: {}, {cost} µs of the daemon's CPU per call; by a router alone: {}",
        effort.steady.as_secs(),
        trial.words(),
        plain.words(),
    ));
    Ok(case)
}

impl Gateway {
    /// The highest rate that is held, and how it was.
    fn highest(&self, effort: &Effort) -> Result<(u32, Trial)> {
        let short = |rate| Ok::<_, anyhow::Error>(self.trial(rate, effort.probe)?.is_held(effort.probe));
        let mut held = FIRST;
        while held < HIGHEST && short(held * 3 / 2)? {
            held = held * 3 / 2;
        }
        let mut lost = held * 3 / 2;
        while lost - held > GRAIN.max(held / 16) {
            let middle = u32::midpoint(held, lost);
            if short(middle)? { held = middle } else { lost = middle }
        }
        // What is held for a moment need not be for long.
        loop {
            let rate = held / GRAIN * GRAIN;
            ensure!(rate > 0, "no rate at all is held");
            let trial = self.trial(rate, effort.hold)?;
            if trial.is_held(effort.hold) {
                return Ok((rate, trial));
            }
            held = rate - GRAIN.max(rate / 16);
        }
    }

    /// Places so many calls a second for a time.
    fn trial(&self, rate: u32, time: Duration) -> Result<Trial> {
        let dir = self.lab.dir();
        fs::write(dir.join("uac.xml"), CALLER).context("scenario")?;
        fs::write(dir.join("uas.xml"), CALLEE).context("scenario")?;
        let figures = dir.join("figures.csv");
        // There may be none of an earlier run.
        let _ = fs::remove_file(&figures);
        let calls = rate * u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
        let (phone, manager) = (Family::V4.phone(0), Family::V4.call_manager(0));
        let sipp = |scenario: &str, local: &str| {
            let mut command = Command::new("sipp");
            command
                .current_dir(dir)
                .args(["-sf", scenario, "-i", local, "-p", "5060", "-mp", MEDIA_PORT, "-nostdin"]);
            command
        };
        let mut callee = sipp("uas.xml", &manager.to_string());
        let callee = self.lab.inside().spawn(&mut callee, &dir.join("uas.log"))?;
        // It says nothing when it is ready.
        thread::sleep(Duration::from_millis(300));
        let mut caller = sipp("uac.xml", &phone.to_string());
        caller.args(["-r", &rate.to_string(), "-m", &calls.to_string(), "-l", "50000", "-s", "desk"]);
        caller.args(["-timeout", &format!("{}s", time.as_secs() + 20), "-fd", "1", "-trace_stat"]);
        caller.args(["-stf", &figures.to_string_lossy(), &format!("{manager}:5060")]);
        let before = self.daemon_time()?;
        let lost_before = self.lost()?;
        let mut caller = self.lab.outside().spawn(&mut caller, &dir.join("uac.log"))?;
        let ended = caller.wait(time + Duration::from_secs(40))?;
        let after = self.daemon_time()?;
        let lost = self.lost()?;
        drop(callee);
        // SIPp ends with 1 when calls have failed; whatever else it says, its figures tell.
        ensure!(ended.is_some(), "sipp does not end");
        let trial = read(&figures).with_context(|| caller.output())?;
        let daemon = before.zip(after).map(|(before, after)| after.saturating_sub(before));
        let trial = Trial {
            calls,
            failed: calls.saturating_sub(trial.calls),
            unread: lost.unread - lost_before.unread,
            untapped: lost.untapped - lost_before.untapped,
            daemon,
            ..trial
        };
        eprintln!(
            "  {rate}/s for {} s: {}, {:.1} s{}",
            time.as_secs(),
            trial.words(),
            trial.took.as_secs_f64(),
            trial.cost().map_or(String::new(), |cost| format!(", daemon {cost} µs per call"))
        );
        Ok(trial)
    }

    /// What has found a queue full so far.
    fn lost(&self) -> Result<Lost> {
        let mut lost = Lost::default();
        for side in [self.lab.outside(), self.lab.inside()] {
            let snmp = side.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
            let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
            let (names, figures) = lines.next().zip(lines.next()).context("/proc/net/snmp has no UDP")?;
            let place =
                names.split_whitespace().position(|name| name == "RcvbufErrors").context("RcvbufErrors")?;
            lost.unread += figures.split_whitespace().nth(place).context("RcvbufErrors")?.parse::<u64>()?;
        }
        // Receive: bytes, packets, errors, dropped and four more; then the same of what was sent to the device.
        for line in self.lab.fw().run(|| fs::read_to_string("/proc/thread-self/net/dev"))??.lines() {
            let Some((name, figures)) = line.trim_start().split_once(':') else { continue };
            if name.starts_with("cg") {
                lost.untapped +=
                    figures.split_whitespace().nth(11).context("/proc/net/dev")?.parse::<u64>()?;
            }
        }
        Ok(lost)
    }

    /// CPU time the daemon's process has taken so far.
    fn daemon_time(&self) -> Result<Option<Duration>> {
        let Some(pid) = self.firewall.as_ref().and_then(|firewall| firewall.pid()) else { return Ok(None) };
        cpu_time_of(pid).map(Some)
    }
}

/// The last line of SIPp's statistics: calls that succeeded, retransmissions, time.
fn read(figures: &Path) -> Result<Trial> {
    last_line(&fs::read_to_string(figures).context("sipp leaves no figures")?).context("sipp's figures")
}

fn last_line(text: &str) -> Option<Trial> {
    let mut lines = text.lines();
    let names = lines.next()?;
    let last = lines.next_back()?;
    let value = |name: &str| {
        let place = names.split(';').position(|known| known == name)?;
        last.split(';').nth(place)
    };
    let number = |name: &str| value(name)?.parse().ok();
    let clock = value("ElapsedTime(C)")?;
    // hh:mm:ss, or hh:mm:ss:µs.
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let micros = parts.next().flatten().unwrap_or(0);
    let took = Duration::from_secs(hours * 3_600 + minutes * 60 + seconds) + Duration::from_micros(micros);
    Some(Trial {
        calls: number("SuccessfulCall(C)")?,
        retransmissions: number("Retransmissions(C)")?,
        took,
        ..Trial::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_end() {
        let text = "StartTime;ElapsedTime(C);SuccessfulCall(C);Retransmissions(C);\n\
                    x;00:00:01;900;3;\n\
                    x;00:01:05;60000;12;\n";
        let trial = last_line(text).expect("figures");
        assert_eq!((trial.calls, trial.retransmissions, trial.took), (60_000, 12, Duration::from_secs(65)));
        assert!(last_line("StartTime;\n").is_none());
    }

    #[test]
    fn a_rate_is_held_when_nothing_fails_in_time() {
        let trial = Trial { calls: 10, took: Duration::from_secs(30), ..Trial::default() };
        assert!(trial.is_held(Duration::from_secs(30)));
        assert!(!trial.is_held(Duration::from_secs(28)));
        assert!(!Trial { failed: 1, ..trial }.is_held(Duration::from_secs(30)));
        let cost = Trial { daemon: Some(Duration::from_micros(950)), ..trial }.cost();
        assert_eq!(cost, Some(95.0));
    }
}
