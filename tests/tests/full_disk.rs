//! The disk of the daemon's state, history and audit is full: calls are judged all the same, it is said, and what was
//! lost is made good when there is room again.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_lab::call::Call;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::mounts;
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A file system of 4 MB, which only this thread and its children see: it goes with them, however they end.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        mounts::own()?;
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).context("tmpfs")?;
        Ok(Self(at.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves not a byte.
    fn fill(&self) -> Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let mut chunk = &[0_u8; 65_536][..];
        loop {
            match ballast.write(chunk) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull && chunk.len() > 1 => {
                    chunk = &chunk[..chunk.len() / 2];
                }
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("lab: {} stays mounted for this process: {error}", self.0.display());
        }
    }
}

/// Waits until exactly these alarms about disks are raised.
fn alarms(firewall: &Firewall, expected: &[&str]) -> Result<()> {
    const DISKS: [&str; 4] = ["audit", "history", "journal", "policy-memory"];
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut names: Vec<String> = firewall.status()?.alarms.into_iter().map(|alarm| alarm.name).collect();
        names.retain(|name| DISKS.contains(&name.as_str()));
        names.sort();
        if names == expected {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{names:?}, not {expected:?}: {}", firewall.words());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn calls_go_on_and_what_was_lost_is_made_good() -> Result<()> {
    if !root_or_skip("calls_go_on_and_what_was_lost_is_made_good") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let disk = SmallDisk::mount(&lab.dir().join("state"))?;
    let log = lab.dir().join("state/log");
    fs::create_dir(&log)?;
    std::os::unix::fs::symlink(log.join("audit.log"), lab.dir().join("audit.log"))?;
    let rules = format!(
        "{}\n[history]\ndatabase = \"{}\"\n",
        Policy::default().text(&lab),
        disk.0.join("history.db").display()
    );
    let mut firewall = Firewall::start(&lab, &rules)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let place = || sip::place(lab.outside(), Family::V4.phone(0), &callee);
    let finish = |call: Call| -> Result<()> {
        let outcome = call.finish(Duration::from_millis(100))?;
        ensure!(outcome.is_whole(), "{outcome}");
        Ok(())
    };
    let change = |firewall: &Firewall| -> Result<()> {
        let output = firewall.fwctl(&["block", "203.0.113.99", "--for", "1h"])?;
        ensure!(output.status.success(), "a full disk stops no operator: {output:?}");
        Ok(())
    };
    let before = place()?;
    alarms(&firewall, &[])?;

    disk.fill()?;
    let during = place()?;
    finish(before)?;
    finish(place()?)?;
    change(&firewall)?;
    alarms(&firewall, &["audit", "history", "journal"])?;
    let words = firewall.words();
    for said in ["call journal: cannot be written", "the audit file cannot be written"] {
        ensure!(words.matches(said).count() == 1, "{said}, once: {words}");
    }

    disk.free()?;
    change(&firewall)?;
    alarms(&firewall, &[])?;
    firewall.kill()?;
    firewall.restart()?;
    let known = firewall.calls()?;
    ensure!(known.len() == 1, "what began on the full disk is known, what ended there is not: {known:?}");

    // A daemon that is started on a full disk begins all the same.
    disk.fill()?;
    firewall.kill()?;
    firewall.restart()?;
    finish(during)?;
    let last = place()?;
    alarms(&firewall, &["history", "journal"])?;
    disk.free()?;
    alarms(&firewall, &[])?;
    firewall.kill()?;
    firewall.restart()?;
    let known = firewall.calls()?;
    ensure!(known.len() == 1, "{known:?}");
    finish(last)?;
    firewall.settled()?;
    let audit = fs::read_to_string(firewall.audit_file())?;
    ensure!(audit.lines().count() == 1, "the change that was made with room to spare: {audit}");
    let history = firewall.fwctl(&["history", "--json"])?;
    ensure!(history.status.success(), "{history:?}");
    Ok(())
}
