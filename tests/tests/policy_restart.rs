//! What the call policy has counted outlives the daemon, be it killed: who is suspected, and where has been called. So
//! does what it takes to tell a call's parties that a limit has ended it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_alg::event::EventKind;
use callgate_lab::daemon::Firewall;
use callgate_lab::h323::session::Host;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::Transport::Udp;
use callgate_lab::sip::talk::{Line, Script, Side, audio, session, status};

const POLICY: &str = r#"
[policy]
unmatched = "refuse"
strangers = ["abroad"]

[policy.country]
code          = "1"
access        = "9"
international = "011"

[policy.permission.abroad]
patterns   = ["9011"]
first_seen = true

[policy.permission.premium]
patterns = ["91900"]

[policy.fraud]
points = { failed = 100 }
alarm  = 150
refuse = 200
"#;

/// An INVITE to this number: whether it arrives; if not it is answered 403.
fn invites(caller: &Host, manager: &Host, called: &str) -> Result<bool> {
    let mut line = Line::open(caller, manager, Udp)?;
    let mut script = Script::new(&line);
    script.users[1] = called.to_owned();
    let invite = script.first(Side::Near, "INVITE", "", "");
    line.send(Side::Near, &invite)?;
    if line.read(Side::Far, Duration::from_millis(200))?.is_some() {
        line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))?;
        return Ok(true);
    }
    let answer = line.read(Side::Near, Duration::from_secs(2))?.context("no answer")?;
    ensure!(status(&answer) == "403", "{answer}");
    Ok(false)
}

/// Whether there is an event of this kind, after another.
fn told(firewall: &Firewall, after: u64, kind: EventKind) -> Result<bool> {
    Ok(firewall.events(after)?.iter().any(|row| row.kind == kind))
}

#[test]
fn suspicion_and_destinations_outlive_the_daemon() -> Result<()> {
    if !root_or_skip("suspicion_and_destinations_outlive_the_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &(Policy::default().text(&lab) + POLICY))?;
    let [honest, other] = [0, 1].map(|place| Host::new(lab.outside(), Family::V4.phone(place)));
    let manager = Host::new(lab.inside(), Family::V4.call_manager(0));
    let abroad = "9011442071234567";

    let before = firewall.last_event()?;
    ensure!(invites(&honest, &manager, abroad)?, "it does not arrive");
    ensure!(told(&firewall, before, EventKind::NewDestination)?, "the destination is not new");
    for _ in 0..2 {
        ensure!(!invites(&other, &manager, "919005550100")?, "a premium call arrives");
    }
    ensure!(!invites(&other, &manager, abroad)?, "who is suspected calls abroad");
    thread::sleep(Duration::from_millis(2_500));

    firewall.kill()?;
    firewall.restart()?;
    let before = firewall.last_event()?;
    ensure!(!invites(&other, &manager, abroad)?, "suspicion is forgotten");
    ensure!(invites(&honest, &manager, abroad)?, "it does not arrive");
    ensure!(!told(&firewall, before, EventKind::NewDestination)?, "the destination is new again");
    firewall.settled()?;
    firewall.stop()
}

/// Nothing of the call passes between the restart and the limit.
#[test]
fn parties_are_told_of_a_limit_by_the_next_daemon() -> Result<()> {
    if !root_or_skip("parties_are_told_of_a_limit_by_the_next_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let limit = "\n[policy]\nunmatched = \"short\"\nstrangers = [\"short\"]\n\n\
                 [policy.permission.short]\npatterns = [\"T\"]\nlongest = \"5s\"\n";
    let mut firewall = Firewall::start(&lab, &(Policy::default().text(&lab) + limit))?;
    let mut calls = Vec::new();
    for family in [Family::V4, Family::V6] {
        let phone = Host::new(lab.outside(), family.phone(0));
        let manager = Host::new(lab.inside(), family.call_manager(0));
        let mut line = Line::open(&phone, &manager, Udp)?;
        let mut script = Script::new(&line);
        let offer = session(phone.ip, &audio(16_500, ""));
        let answer = session(manager.ip, &audio(16_502, ""));
        script.connect(&mut line, &offer, &answer)?;
        calls.push((family, line, script));
    }
    firewall.kill()?;
    firewall.restart()?;
    for (family, line, script) in &mut calls {
        for side in [Side::Near, Side::Far] {
            let bye = line.read(side, Duration::from_secs(10))?;
            let bye = bye.with_context(|| format!("{family:?}: {side:?} is not told"))?;
            ensure!(bye.starts_with("BYE sip:"), "{family:?}: {side:?} reads {bye}");
            ensure!(bye.contains(&format!("\r\nCall-ID: {}\r\n", script.call)), "{bye}");
            line.send(side, &script.response(side, &bye, "200 OK", "", ""))?;
        }
    }
    ensure!(firewall.calls()?.is_empty() && firewall.pinholes()?.is_empty(), "they go on");
    firewall.settled()?;
    firewall.stop()
}
