//! What a machine does to a firewall that runs for years: interfaces come and go, addresses change, the clock is set,
//! somebody starts a second one, something it needs is missing.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_lab::attack::{Attack, Source, Vector, Wire};
use callgate_lab::checks::clean_call;
use callgate_lab::daemon::{self, Firewall, binary};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::mounts;
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};
use etherparse::PacketBuilder;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !done()? {
        ensure!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether an alarm of this name is raised that speaks of something.
fn alarm(firewall: &Firewall, name: &str, about: &str) -> Result<bool> {
    let alarms = firewall.status()?.alarms;
    Ok(alarms.iter().any(|alarm| alarm.name == name && alarm.text.contains(about)))
}

/// What a daemon says that does not start.
fn starts_in_vain(
    lab: &Lab,
    firewall: Option<&Firewall>,
    pins: &str,
    state: &str,
) -> Result<(Option<i32>, String)> {
    let rules = lab.dir().join("rules.toml");
    if firewall.is_none() {
        fs::write(&rules, Policy::default().text(lab))?;
    }
    // One that starts after all ends by SIGTERM.
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(binary("CALLGATED", "callgated")?)
        .arg("--rules")
        .arg(rules)
        .arg("--socket")
        .arg(lab.dir().join("second.sock"));
    command.arg("--pin-dir").arg(pins).arg("--state-dir").arg(lab.dir().join(state));
    let Output { status, stderr, .. } =
        lab.fw().output(command.arg("--audit").arg(lab.dir().join("second.log")))?;
    Ok((status.code(), String::from_utf8_lossy(&stderr).into_owned()))
}

#[test]
fn an_interface_that_goes_away_and_comes_back_is_guarded_again() -> Result<()> {
    if !root_or_skip("an_interface_that_goes_away_and_comes_back_is_guarded_again") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = Policy::default().text(&lab);
    let mut firewall = Firewall::start(&lab, &rules)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let place = || sip::place(lab.outside(), Family::V4.phone(0), &callee);
    clean_call(&firewall, place)?;
    for restarted in [false, true] {
        lab.unplug()?;
        until("it is missed", || alarm(&firewall, "interface", "out0"))?;
        // Rules that name it can be changed, and a daemon started, while it is away.
        firewall.reload(&format!("{rules}\n"))?;
        if restarted {
            firewall.kill()?;
            firewall.restart()?;
            ensure!(alarm(&firewall, "interface", "out0")?);
        }
        lab.plug()?;
        until("it is guarded again", || Ok(!alarm(&firewall, "interface", "out0")?))?;
        ensure!(firewall.status()?.interfaces.len() == 2);
        let attack = Attack::new(Vector::ClusterProbe, Source::Random, 200).run(&lab)?;
        ensure!(attack.arrived == 0, "{attack:?}");
        // Signalling is read again, and opens its media.
        until("a call", || Ok(place().and_then(|call| call.finish(Duration::from_millis(50))).is_ok()))?;
        firewall.settled()?;
        clean_call(&firewall, place)?;
    }
    Ok(())
}

#[test]
fn an_address_that_becomes_this_machines_own_is_nobodys_else() -> Result<()> {
    if !root_or_skip("an_address_that_becomes_this_machines_own_is_nobodys_else") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = Policy::default().text(&lab);
    let rules = rules.replacen("[settings]", "[zone.outside]\nanti_spoof = \"loose\"\n\n[settings]", 1);
    let firewall = Firewall::start(&lab, &rules)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let mut wire = Wire::open(&lab)?;
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 20, 77, 77], [10, 1, 1, 10], 64)
        .udp(40_000, 5_060)
        .write(&mut packet, b"\r\n")?;
    let mut is_spoofed = || -> Result<bool> {
        let before = firewall.counters()?;
        wire.ip(&packet)?;
        thread::sleep(Duration::from_millis(50));
        Ok(firewall.counters()?.dropped_since(&before).contains_key("spoofed"))
    };
    ensure!(!is_spoofed()?, "it is a phone's");
    lab.fw().ip("address add 10.20.77.77/32 dev in0\n")?;
    until("it is refused", &mut is_spoofed)?;
    lab.fw().ip("address delete 10.20.77.77/32 dev in0\n")?;
    until("it is a phone's again", || Ok(!is_spoofed()?))?;
    let outcome = call.finish(Duration::from_millis(50))?;
    ensure!(outcome.is_whole(), "{outcome}");
    Ok(())
}

#[test]
fn a_clock_that_is_set_disturbs_no_call() -> Result<()> {
    if !root_or_skip("a_clock_that_is_set_disturbs_no_call") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    daemon::set_clock(&lab, "2026-11-25 15:00:00")?;
    let firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    ensure!(!alarm(&firewall, "clock", "")?);
    for wall in ["2026-11-28 15:00:00", "1999-12-31 23:59:59"] {
        firewall.set_clock(wall)?;
        until("it is told", || alarm(&firewall, "clock", if wall < "2026" { "-" } else { "259" }))?;
        ensure!(firewall.calls()?.len() == 1 && firewall.pinholes()?.len() == 4);
    }
    let outcome = call.finish(Duration::from_millis(50))?;
    ensure!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}

#[test]
fn a_second_daemon_does_not_start_and_says_who_is_in_its_way() -> Result<()> {
    if !root_or_skip("a_second_daemon_does_not_start_and_says_who_is_in_its_way") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let pins = lab.pins().display().to_string();
    let holder = format!("process {}", firewall.pid().context("it runs")?);
    let (status, words) = starts_in_vain(&lab, Some(&firewall), &pins, "state")?;
    ensure!(status == Some(2) && words.contains(&holder), "{status:?} {words}");
    // Nor one that keeps its state elsewhere, and would take the programs away.
    let (status, words) = starts_in_vain(&lab, Some(&firewall), &pins, "elsewhere")?;
    ensure!(status == Some(2) && words.contains("another callgated stands on"), "{status:?} {words}");
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    clean_call(&firewall, || sip::place(lab.outside(), Family::V4.phone(0), &callee))?;
    Ok(())
}

#[test]
fn what_the_machine_lacks_is_told_with_what_to_do() -> Result<()> {
    if !root_or_skip("what_the_machine_lacks_is_told_with_what_to_do") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    mounts::own()?;
    // Pins on a file system of another kind, and none that has a BPF file system.
    let elsewhere = lab.dir().join("pins");
    let (status, words) = starts_in_vain(&lab, None, &elsewhere.display().to_string(), "state")?;
    ensure!(status == Some(2) && words.contains("mount -t bpf"), "{status:?} {words}");
    ensure!(!elsewhere.exists(), "nothing is left there");
    // It may be mounted several times.
    while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
    let (status, words) = starts_in_vain(&lab, None, &lab.pins().display().to_string(), "state")?;
    ensure!(status == Some(2) && words.contains("mount -t bpf bpf /sys/fs/bpf"), "{status:?} {words}");

    let (release, old) = (lab.dir().join("osrelease"), "6.1.0-18-amd64");
    fs::write(&release, format!("{old}\n"))?;
    let none: Option<&str> = None;
    mount(Some(&release), "/proc/sys/kernel/osrelease", none, MsFlags::MS_BIND, none)?;
    let (status, words) = starts_in_vain(&lab, None, &lab.pins().display().to_string(), "state")?;
    ensure!(status == Some(2), "{status:?}");
    for said in [old, "TCX", "6.6 or later"] {
        ensure!(words.contains(said), "{said}: {words}");
    }
    Ok(())
}
