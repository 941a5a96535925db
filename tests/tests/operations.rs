//! Running the firewall: rules that are tried out and taken back, calls that are ended, who may do what.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_api::{Diff, Rules};
use callgate_lab::daemon::{Firewall, binary};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// What the daemon keeps (linux/capability.h): CHOWN, DAC_READ_SEARCH, NET_ADMIN, NET_RAW, PERFMON, BPF.
const KEPT: [u32; 6] = [0, 2, 12, 13, 38, 39];
/// What else the rules file says.
const MORE: &str = "\n[[rule]]\nname = \"one more\"\nservice = \"tcp/4711\"\naction = \"drop\"\n";

fn rule_names(firewall: &Firewall) -> Result<Vec<String>> {
    let rules: Rules = firewall.rules()?;
    Ok(rules.rules.into_iter().map(|rule| rule.name).collect())
}

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !done()? {
        ensure!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn rules_that_nobody_confirms_come_back() -> Result<()> {
    if !root_or_skip("rules_that_nobody_confirms_come_back") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let old = Policy::default().text(&lab);
    let firewall = Firewall::start(&lab, &old)?;
    let before = rule_names(&firewall)?;
    ensure!(firewall.fwctl(&["confirm"])?.status.code() == Some(1), "nothing waits");
    ensure!(firewall.fwctl(&["rollback"])?.status.code() == Some(1), "there is nothing to go back to");

    fs::write(firewall.rules_file(), format!("{old}{MORE}"))?;
    let output = firewall.fwctl(&["reload", "--confirm", "2s"])?;
    ensure!(output.status.success() && text(&output).contains("fwctl confirm"), "{}", text(&output));
    ensure!(rule_names(&firewall)?.contains(&"one more".to_owned()));
    let status = firewall.status()?;
    ensure!(status.unconfirmed.is_some(), "it is told");
    ensure!(status.alarms.iter().any(|alarm| alarm.name == "unconfirmed"), "{:?}", status.alarms);
    until("the rules come back", || Ok(rule_names(&firewall)? == before))?;
    ensure!(firewall.status()?.unconfirmed.is_none());

    // Confirmed in time, they stay; then they are rolled back, and forward again.
    firewall.fwctl(&["reload", "--confirm", "2s"])?;
    ensure!(firewall.fwctl(&["confirm"])?.status.success());
    thread::sleep(Duration::from_millis(3_500));
    ensure!(rule_names(&firewall)?.len() == before.len() + 1, "what is confirmed stays");
    ensure!(firewall.fwctl(&["rollback"])?.status.success());
    ensure!(rule_names(&firewall)? == before);
    ensure!(firewall.fwctl(&["rollback"])?.status.success());
    ensure!(rule_names(&firewall)?.len() == before.len() + 1);

    let audit = fs::read_to_string(firewall.audit_file())?;
    ensure!(audit.contains("was not confirmed in time"), "{audit}");
    for (change, outcome) in
        [("reload", "done"), ("confirm", "done"), ("rollback", "done"), ("confirm", "nothing")]
    {
        let noted = |line: &str| line.contains(&format!("\"change\":\"{change}\"")) && line.contains(outcome);
        ensure!(audit.lines().any(noted), "{change} {outcome}: {audit}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_dies_does_not_confirm() -> Result<()> {
    if !root_or_skip("a_daemon_that_dies_does_not_confirm") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let old = Policy::default().text(&lab);
    let mut firewall = Firewall::start(&lab, &old)?;
    let before = rule_names(&firewall)?;
    fs::write(firewall.rules_file(), format!("{old}{MORE}"))?;
    ensure!(firewall.fwctl(&["reload", "--confirm", "1h"])?.status.success());
    ensure!(rule_names(&firewall)?.contains(&"one more".to_owned()));
    // Twice: the file still has what nobody has confirmed.
    for _ in 0..2 {
        firewall.kill()?;
        firewall.restart()?;
        ensure!(rule_names(&firewall)? == before, "the last confirmed rules are in force");
        let status = firewall.status()?;
        let told = status.alarms.iter().any(|alarm| alarm.text.contains("were not confirmed"));
        ensure!(told && status.unconfirmed.is_none(), "{:?}", status.alarms);
    }
    let audit = fs::read_to_string(firewall.audit_file())?;
    ensure!(audit.contains("were not confirmed before the daemon ended"), "{audit}");
    // Loaded for good, they stay.
    ensure!(firewall.fwctl(&["reload"])?.status.success());
    firewall.kill()?;
    firewall.restart()?;
    ensure!(rule_names(&firewall)?.contains(&"one more".to_owned()));
    ensure!(firewall.status()?.alarms.iter().all(|alarm| !alarm.text.contains("confirmed")));
    // So do those that were confirmed.
    fs::write(firewall.rules_file(), &old)?;
    ensure!(firewall.fwctl(&["reload", "--confirm", "1h"])?.status.success());
    ensure!(firewall.fwctl(&["confirm"])?.status.success());
    firewall.kill()?;
    firewall.restart()?;
    ensure!(rule_names(&firewall)? == before);
    Ok(())
}

#[test]
fn the_daemon_keeps_what_it_needs_and_nothing_else() -> Result<()> {
    if !root_or_skip("the_daemon_keeps_what_it_needs_and_nothing_else") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = Policy::default().text(&lab);
    let mut firewall = Firewall::start(&lab, &rules)?;
    let kept: u64 = KEPT.iter().map(|number| 1 << number).sum();
    for _ in 0..2 {
        let tasks = format!("/proc/{}/task", firewall.pid().context("it runs")?);
        for task in fs::read_dir(&tasks)?.flatten() {
            let status = fs::read_to_string(task.path().join("status"))?;
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
                line.with_context(|| format!("{name} of {status}"))
            };
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd"] {
                ensure!(u64::from_str_radix(field(set)?, 16)? & !kept == 0, "{set}: {status}");
            }
            // 2: a filter (proc_pid_status(5)).
            ensure!(field("NoNewPrivs")? == "1" && field("Seccomp")? == "2", "{status}");
        }
        // It is enough to load other rules, and for a new daemon to take over.
        firewall.reload(&format!("{rules}{MORE}"))?;
        let arguments =
            ["explain", "--in", "outside", "--from", "10.20.0.10", "--to", "10.1.1.10", "udp/5060"];
        let explained = firewall.fwctl(&arguments)?;
        ensure!(explained.status.success(), "{}", text(&explained));
        firewall.kill()?;
        firewall.restart()?;
    }
    Ok(())
}

#[test]
fn what_a_file_would_change_is_told_with_the_calls_it_would_refuse() -> Result<()> {
    if !root_or_skip("what_a_file_would_change_is_told_with_the_calls_it_would_refuse") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let old = Policy::default().text(&lab);
    let firewall = Firewall::start(&lab, &old)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Tcp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let diff = |file: &str| -> Result<(Option<i32>, Diff)> {
        let output = firewall.fwctl(&["diff", file, "--json"])?;
        Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
    };
    let same = firewall.rules_file().display().to_string();
    let (status, found) = diff(&same)?;
    ensure!(status == Some(0) && found.is_empty() && found.flows_total == 0, "{found:?}");

    let new = lab.dir().join("new.toml");
    let refuses = "[[rule]]\nname = \"no sip\"\nservice = \"sip\"\naction = \"drop\"\n\n";
    let at = old.find("[[rule]]").unwrap_or_default();
    fs::write(&new, format!("{}{refuses}{}{MORE}", &old[..at], &old[at..]))?;
    let generation = firewall.status()?.rules.generation;
    let (status, found) = diff(&new.display().to_string())?;
    ensure!(status == Some(1), "{status:?}");
    let names: Vec<&str> = found.rules.iter().map(|rule| rule.name.as_str()).collect();
    ensure!(names == ["no sip", "one more"], "{names:?}");
    ensure!(found.calls_total == 1 && found.calls[0].by == "rule \"no sip\"", "{found:?}");
    ensure!(found.flows_total >= 1, "{found:?}");
    ensure!(firewall.status()?.rules.generation == generation, "nothing was changed");

    fs::write(&new, "version = 1\n[[rule]]\n")?;
    ensure!(firewall.fwctl(&["diff", &new.display().to_string()])?.status.code() == Some(1));
    ensure!(call.finish(Duration::from_millis(100))?.is_whole());
    Ok(())
}

#[test]
fn a_call_that_is_ended_loses_its_media_at_once() -> Result<()> {
    if !root_or_skip("a_call_that_is_ended_loses_its_media_at_once") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let ended = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    until("the call is up", || Ok(!firewall.pinholes()?.is_empty()))?;
    let [row] = &firewall.calls()?[..] else { anyhow::bail!("one call") };
    ensure!(firewall.fwctl(&["hangup", "--call", "no such call"])?.status.code() == Some(1));
    let output = firewall.fwctl(&["hangup", "--call", &row.key])?;
    ensure!(output.status.success(), "{}", text(&output));
    ensure!(firewall.calls()?.is_empty() && firewall.pinholes()?.is_empty());
    let before = firewall.counters()?;
    thread::sleep(Duration::from_millis(300));
    ensure!(!firewall.counters()?.dropped_since(&before).is_empty(), "its media goes on, and is dropped");
    drop(ended);
    let audit = fs::read_to_string(firewall.audit_file())?;
    ensure!(audit.contains("\"change\":\"hangup\"") && audit.contains(&row.key), "{audit}");
    Ok(())
}

/// fwctl as somebody else, in one group.
fn as_member(firewall: &Firewall, group: &str, arguments: &[&str]) -> Result<i32> {
    // Where it was built, others need not get to.
    let copy = firewall.rules_file().with_file_name("fwctl");
    if !copy.exists() {
        fs::copy(binary("FWCTL", "fwctl")?, &copy)?;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534"]).arg(format!("--groups={group}"));
    command.arg(&copy).arg("--socket").arg(firewall.socket()).args(arguments);
    let status = command.output()?.status.code().unwrap_or(-1);
    Ok(status)
}

#[test]
fn groups_have_the_roles_the_rules_file_gives_them() -> Result<()> {
    if !root_or_skip("groups_have_the_roles_the_rules_file_gives_them") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = Policy::default().text(&lab);
    let control = "[control]\nviewers = \"4711\"\noperators = [\"4712\"]\nadmins = \"4713\"\n\n";
    let at = rules.find("[zones]").unwrap_or_default();
    let firewall = Firewall::start(&lab, &format!("{}{control}{}", &rules[..at], &rules[at..]))?;
    fs::set_permissions(lab.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (look, block, reload) =
        (&["status"][..], &["block", "198.51.100.99", "--for", "1m"][..], &["reload"][..]);
    // 2: the socket lets nobody else in; 1: the daemon says no.
    for (group, expected) in
        [("4710", [2, 2, 2]), ("4711", [0, 1, 1]), ("4712", [0, 0, 1]), ("4713", [0, 0, 0])]
    {
        let mut got = [0; 3];
        for (status, arguments) in got.iter_mut().zip([look, block, reload]) {
            *status = as_member(&firewall, group, arguments)?;
        }
        ensure!(got == expected, "group {group}: {got:?}, not {expected:?}");
    }
    // Roles go with the rules.
    firewall.reload(&rules)?;
    ensure!(as_member(&firewall, "4713", look)? == 2);
    let audit = fs::read_to_string(firewall.audit_file())?;
    let refused = audit.lines().filter(|line| line.contains("refused: ")).count();
    ensure!(refused == 3, "{audit}");
    Ok(())
}

#[test]
fn rules_files_that_change_are_read_and_metrics_are_served() -> Result<()> {
    if !root_or_skip("rules_files_that_change_are_read_and_metrics_are_served") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = Policy::default().text(&lab);
    let at = rules.find("[zones]").unwrap_or_default();
    let control = "[control]\nwatch = true\nmetrics = \"127.0.0.1:9640\"\n\n";
    let rules = format!("{}{control}{}", &rules[..at], &rules[at..]);
    let firewall = Firewall::start(&lab, &rules)?;
    fs::write(firewall.rules_file(), format!("{rules}{MORE}"))?;
    until("the file is read", || Ok(rule_names(&firewall)?.contains(&"one more".to_owned())))?;
    fs::write(firewall.rules_file(), "version = 1\nnonsense")?;
    until("a wrong file is told", || Ok(firewall.status()?.rules.last_error.is_some()))?;
    ensure!(rule_names(&firewall)?.contains(&"one more".to_owned()), "and changes nothing");
    let metrics: SocketAddr = (IpAddr::from([127, 0, 0, 1]), 9_640).into();
    let page =
        lab.fw().output(Command::new("curl").args(["--silent", &format!("http://{metrics}/metrics")]))?;
    let page = text(&page);
    for wanted in [
        "callgate_rules_last_reload_successful 0",
        "callgate_rules_generation 2",
        "callgate_table_capacity{table=\"pinholes\"} 1000000",
        "callgate_interface_native{interface=\"out0\"}",
    ] {
        ensure!(page.contains(wanted), "{wanted}: {page}");
    }
    Ok(())
}
