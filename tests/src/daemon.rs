//! callgated inside a lab, driven and read as an operator would: by its command line, by signals and by fwctl.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use callgate_api::{
    BlockRow, CallRow, CounterRow, EventPage, EventRow, Page, PhoneRow, PinholeRow, Rules, Status,
};
use serde::de::DeserializeOwned;

use crate::lab::Lab;
use crate::process::Process;

/// How long the daemon may take to load its programs and answer.
const READY: Duration = Duration::from_secs(60);
/// Age of a heartbeat that is not stale, in ms.
const FRESH: u64 = 500;
/// How long it may take to end when asked.
const STOP: Duration = Duration::from_secs(5);
/// How often something awaited is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where libfaketime is told the time.
const CLOCK: &str = "clock";

/// A daemon that is started in this lab has its clock on the wall set: see [`Firewall::set_clock`].
///
/// # Errors
/// When it cannot be written.
pub fn set_clock(lab: &Lab, wall: &str) -> Result<()> {
    let (file, new) = (lab.dir().join(CLOCK), lab.dir().join("clock.new"));
    fs::write(&new, format!("@{wall}\n")).and_then(|()| fs::rename(&new, &file)).context("clock")
}

/// The library that answers for the clock on the wall (Debian: faketime).
fn faketime() -> Result<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").context("/usr/lib")?.flatten();
    let mut found = libraries.map(|place| place.path().join("faketime/libfaketime.so.1"));
    found.find(|file| file.exists()).context("libfaketime is missing: run scripts/setup")
}

/// A firewall that judges a lab's packets. It goes on doing so while its daemon is dead.
#[derive(Debug)]
pub struct Firewall {
    lab: Arc<Lab>,
    process: Option<Process>,
    rules: PathBuf,
}

impl Firewall {
    /// Starts callgated with a rules file of this text and waits until it answers.
    ///
    /// # Errors
    /// With the daemon's own words when it ends or does not answer.
    pub fn start(lab: &Arc<Lab>, rules: &str) -> Result<Self> {
        let file = lab.dir().join("rules.toml");
        fs::write(&file, rules).with_context(|| file.display().to_string())?;
        let mut firewall = Self { lab: Arc::clone(lab), process: None, rules: file };
        firewall.restart()?;
        Ok(firewall)
    }

    /// Starts the daemon again, after [`Self::kill`] or [`Self::stop`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "callgated runs already");
        let mut command = Command::new(binary("CALLGATED", "callgated")?);
        command.arg("--rules").arg(&self.rules).arg("--socket").arg(self.socket());
        command.arg("--pin-dir").arg(self.lab.pins()).arg("--state-dir").arg(self.lab.dir().join("state"));
        command.arg("--audit").arg(self.audit_file());
        if self.clock().exists() {
            // The clock on the wall alone: what the kernel half and the daemon measure by goes as ever.
            command.env("LD_PRELOAD", faketime()?).env("FAKETIME_TIMESTAMP_FILE", self.clock());
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC");
        }
        let mut process = self.lab.fw().spawn(&mut command, &self.log())?;
        let until = Instant::now() + READY;
        loop {
            if let Some(status) = process.ended()? {
                bail!("callgated ended with {status}:\n{}", process.output());
            }
            let answer = self.status();
            // It can answer before its heart beats; until then signalling goes by `on_alg_down`.
            if answer.as_ref().is_ok_and(|status| status.alg.heartbeat_age_ms < FRESH) {
                break;
            }
            ensure!(Instant::now() < until, "callgated is not ready: {answer:?}\n{}", process.output());
            thread::sleep(POLL);
        }
        self.process = Some(process);
        Ok(())
    }

    /// Sets the daemon's clock on the wall, in UTC: `2026-11-25 15:00:00`. It goes on from there. To be called before the
    /// daemon is started, by way of [`set_clock`], and whenever another time is wanted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_clock(&self, wall: &str) -> Result<()> {
        set_clock(&self.lab, wall)?;
        // It is looked at once a second.
        thread::sleep(Duration::from_millis(1_500));
        Ok(())
    }

    fn clock(&self) -> PathBuf {
        self.lab.dir().join(CLOCK)
    }

    /// Writes the rules file anew and has the daemon read it.
    ///
    /// # Errors
    /// With what `fwctl reload` says.
    pub fn reload(&self, rules: &str) -> Result<()> {
        fs::write(&self.rules, rules).with_context(|| self.rules.display().to_string())?;
        self.listing("reload").map(drop)
    }

    /// SIGKILLs the daemon in the middle of whatever it is doing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("callgated does not run")?.kill()
    }

    /// Asks the daemon to end (SIGTERM).
    ///
    /// # Errors
    /// When it does not run, or does not end in good order.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("callgated does not run")?.stop(STOP)?;
        let status = status.ok_or_else(|| anyhow!("callgated does not end on SIGTERM:\n{}", self.words()))?;
        ensure!(status.success(), "callgated ended with {status}:\n{}", self.words());
        Ok(())
    }

    /// The rules file it was started with.
    pub fn rules_file(&self) -> &Path {
        &self.rules
    }

    /// The daemon's process; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What the daemon has said so far.
    pub fn words(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs fwctl against this daemon.
    ///
    /// # Errors
    /// When fwctl cannot be started; its exit status is the caller's to judge.
    pub fn fwctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        let mut command = Command::new(binary("FWCTL", "fwctl")?);
        command.arg("--socket").arg(self.socket()).args(arguments);
        command.env("NO_COLOR", "1");
        self.lab.fw().output(&mut command)
    }

    /// What fwctl prints for people.
    ///
    /// # Errors
    /// When its exit status is not 0.
    pub fn listing(&self, name: &str) -> Result<String> {
        succeeded(name, self.fwctl(&[name])?)
    }

    /// `fwctl status`.
    ///
    /// # Errors
    /// When fwctl fails or its JSON is not the contract's.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status"])
    }

    /// `fwctl calls`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn calls(&self) -> Result<Vec<CallRow>> {
        Ok(self.json::<Page<CallRow>>(&["calls"])?.rows)
    }

    /// `fwctl pinholes`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn pinholes(&self) -> Result<Vec<PinholeRow>> {
        Ok(self.json::<Page<PinholeRow>>(&["pinholes"])?.rows)
    }

    /// `fwctl rules`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn rules(&self) -> Result<Rules> {
        self.json(&["rules"])
    }

    /// `fwctl counters`, added up over interfaces.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn counters(&self) -> Result<Counters> {
        self.counters_where(|_| true)
    }

    /// `fwctl counters` of one interface.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn counters_of(&self, interface: &str) -> Result<Counters> {
        self.counters_where(|row| row.interface == interface)
    }

    fn counters_where(&self, wanted: impl Fn(&CounterRow) -> bool) -> Result<Counters> {
        let mut counters = Counters::default();
        let rows = self.json::<Page<CounterRow>>(&["counters"])?.rows;
        for CounterRow { reason, dropped, packets, .. } in rows.into_iter().filter(wanted) {
            let side = if dropped { &mut counters.dropped } else { &mut counters.passed };
            *side.entry(reason).or_default() += packets;
        }
        Ok(counters)
    }

    /// `fwctl events`: those that happened after event number `after`; 0 stands for the beginning.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn events(&self, after: u64) -> Result<Vec<EventRow>> {
        let mut rows = self.json::<EventPage>(&["events"])?.rows;
        rows.retain(|row| row.number > after);
        Ok(rows)
    }

    /// `fwctl blocks`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn blocks(&self) -> Result<Vec<BlockRow>> {
        Ok(self.json::<Page<BlockRow>>(&["blocks"])?.rows)
    }

    /// `fwctl sccp phones`.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn phones(&self) -> Result<Vec<PhoneRow>> {
        Ok(self.json::<Page<PhoneRow>>(&["sccp", "phones"])?.rows)
    }

    /// The number of the latest event.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn last_event(&self) -> Result<u64> {
        Ok(self.events(0)?.last().map_or(0, |row| row.number))
    }

    /// Waits until there is neither a call nor a pinhole; what a rule lets learn belongs to no call.
    ///
    /// # Errors
    /// With what is left after two seconds.
    pub fn settled(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            let (calls, mut pinholes) = (self.calls()?, self.pinholes()?);
            pinholes.retain(|row| !row.learned || row.call != 0);
            if calls.is_empty() && pinholes.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "left over: {calls:?} {pinholes:?}");
            thread::sleep(POLL);
        }
    }

    fn json<T: DeserializeOwned>(&self, listing: &[&str]) -> Result<T> {
        let name = listing.join(" ");
        let text = succeeded(&name, self.fwctl(&[listing, &["--json"]].concat())?)?;
        serde_json::from_str(&text).with_context(|| format!("fwctl {name} --json: {text}"))
    }

    /// Where changes by operators are noted.
    pub fn audit_file(&self) -> PathBuf {
        self.lab.dir().join("audit.log")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.lab.dir().join("control.sock")
    }

    fn log(&self) -> PathBuf {
        self.lab.dir().join("callgated.log")
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // Unless it was stopped in good order, something may have to be explained; a test that passes hides it.
        if self.process.is_some() || thread::panicking() {
            eprintln!("callgated said:\n{}", self.words());
        }
    }
}

/// Packets by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Those that passed.
    pub passed: BTreeMap<String, u64>,
    /// Those that were dropped.
    pub dropped: BTreeMap<String, u64>,
}

impl Counters {
    /// What has been dropped since `earlier`, by reason, without the reasons that stand still.
    pub fn dropped_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        difference(&self.dropped, &earlier.dropped)
    }

    /// What has passed since `earlier`, by reason, without the reasons that stand still.
    pub fn passed_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        difference(&self.passed, &earlier.passed)
    }
}

fn difference(now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(reason, packets)| {
            (reason.clone(), packets.saturating_sub(then.get(reason).copied().unwrap_or(0)))
        })
        .filter(|(_, packets)| *packets > 0)
        .collect()
}

fn succeeded(what: &str, output: Output) -> Result<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "fwctl {what}: {} {}", output.status, error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of the workspace: named by the environment, or beside the running one.
pub fn binary(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let own = env::current_exe().context("own path")?;
    // A test runs from `deps`, one below.
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    places.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("no {name} beside {}: build it first (cargo build), or name it in {variable}", own.display())
    })
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn a_difference_leaves_out_what_stands_still() {
        let then = Counters {
            dropped: [("limit".into(), 3), ("rule-drop".into(), 1)].into(),
            ..Counters::default()
        };
        let mut now = then.clone();
        now.dropped.insert("limit".into(), 5);
        now.dropped.insert("spoofed".into(), 2);
        assert_eq!(now.dropped_since(&then), [("limit".into(), 2), ("spoofed".into(), 2)].into());
        assert!(now.passed_since(&then).is_empty());
    }
}
