//! hping3 floods while permitted traffic goes on: it is not harmed.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_lab::converse::{Connections, converse, echo};
use callgate_lab::daemon::Firewall;
use callgate_lab::filter::{Filter, OPEN, PHONES_ONLY};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::root_or_skip;
use callgate_lab::tools::{Flood, beside_the_flood};

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// A flood's figures.
struct Effect {
    connections: Connections,
    dropped: std::collections::BTreeMap<String, u64>,
    passed: std::collections::BTreeMap<String, u64>,
    /// Packets of the flood that arrived inside.
    arrived: u64,
}

/// Floods the call manager while `from` converses with it.
fn flood(
    lab: &Lab,
    firewall: &Firewall,
    arguments: &str,
    expression: &str,
    from: IpAddr,
    to: SocketAddr,
) -> Result<Effect> {
    let sent = Meter::attach(lab.outside(), "eth0", Direction::Out, &[("hits", expression)])?;
    let arrived = Meter::attach(lab.inside(), "eth0", Direction::In, &[("hits", expression)])?;
    let before = firewall.counters()?;
    let flood = Flood::start(lab, to.ip(), arguments)?;
    thread::sleep(Duration::from_millis(200));
    let connections = beside_the_flood(|| converse(lab, from, to, FLOOD))?;
    let lasted = flood.stop()?;
    let after = firewall.counters()?;
    let (sent, arrived) = (sent.packets("hits")?, arrived.packets("hits")?);
    let (dropped, passed) = (after.dropped_since(&before), after.passed_since(&before));
    println!(
        "hping3 {arguments}: {sent} packets in {:.1} s ({:.0} a second), {arrived} arrived; {} of {} connections \
         answered, the slowest in {:.0} ms; dropped {dropped:?}, passed {passed:?}",
        lasted.as_secs_f64(),
        sent as f64 / lasted.as_secs_f64(),
        connections.answered,
        connections.tried,
        connections.slowest.as_secs_f64() * 1e3,
    );
    ensure!(sent > 10_000, "hping3 sent {sent} packets only");
    Ok(Effect { connections, dropped, passed, arrived })
}

/// At least 99 of 100 connections were answered.
fn unharmed(connections: &Connections) {
    assert!(connections.answered >= 10, "{connections:?}");
    assert!(connections.answered * 100 >= connections.tried * 99, "{connections:?}");
}

#[test]
fn floods_at_closed_ports_harm_nobody() -> Result<()> {
    if !root_or_skip("floods_at_closed_ports_harm_nobody") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall = Firewall::start(&lab, &Filter::default().text())?;
    let manager = SocketAddr::new(Family::V4.call_manager(0), PHONES_ONLY);
    echo(lab.inside().listen(manager)?);
    let kinds = [
        ("--syn -p 2000 --rand-source", "tcp dport 2000 ip saddr != 10.20.0.0/16", "default-drop"),
        ("--udp -p 8500 --rand-source", "udp dport 8500", "default-drop"),
        ("--udp -p 16500 --rand-source", "udp dport 16500", "no-pinhole"),
        ("--icmp --rand-source", "icmp type echo-request", "default-drop"),
    ];
    for (arguments, expression, reason) in kinds {
        let effect = flood(&lab, &firewall, arguments, expression, Family::V4.phone(0), manager)?;
        unharmed(&effect.connections);
        assert_eq!(effect.arrived, 0, "{arguments}");
        assert!(effect.dropped.get(reason).is_some_and(|packets| *packets > 5_000), "{:?}", effect.dropped);
    }
    Ok(())
}

/// Forged openings at a port that everybody may reach: what strangers may begin is bounded, and whoever proves its
/// address is let by all the same.
#[test]
fn strangers_are_challenged_by_the_stack() -> Result<()> {
    if !root_or_skip("strangers_are_challenged_by_the_stack") {
        return Ok(());
    }
    strangers_are_challenged("generic")
}

#[test]
fn strangers_are_challenged_by_the_driver() -> Result<()> {
    if !root_or_skip("strangers_are_challenged_by_the_driver") {
        return Ok(());
    }
    strangers_are_challenged("native")
}

fn strangers_are_challenged(xdp: &'static str) -> Result<()> {
    let lab = Lab::gateway()?;
    lab.hears_xdp()?;
    let settings = "new_flows = \"1/s\"\nreplies = \"100000/s\"";
    let firewall = Firewall::start(&lab, &Filter { xdp, settings, ..Filter::default() }.text())?;
    let manager = SocketAddr::new(Family::V4.call_manager(0), OPEN.0);
    echo(lab.inside().listen(manager)?);
    let stranger = Family::V4.attacker();
    let arguments = "--syn -p 8080 --rand-source";
    let expression = "tcp dport 8080 ip saddr != 203.0.113.66";
    let effect = flood(&lab, &firewall, arguments, expression, stranger, manager)?;
    unharmed(&effect.connections);
    // Each CPU lets one in at once, and one a second.
    let cpus = thread::available_parallelism().context("CPUs")?.get() as u64;
    assert!(effect.arrived <= cpus * 8, "{} arrived", effect.arrived);
    let count = |reason: &str| effect.dropped.get(reason).copied().unwrap_or(0);
    assert!(count("challenge") > 5_000, "{:?}", effect.dropped);
    assert!(count("challenge-answer") >= 1, "{:?}", effect.dropped);
    assert!(effect.passed.contains_key("flow"), "{:?}", effect.passed);
    Ok(())
}
