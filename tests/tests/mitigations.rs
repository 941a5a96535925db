//! The three attacks of the March 2007 advisories, plain and with forged sources, while a call is up.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use callgate_lab::attack::{Attack, Source, Vector, nmap};
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// Packets of one attack.
const COUNT: u32 = 2_000;

#[test]
fn no_attack_arrives_and_a_call_goes_on() -> Result<()> {
    if !root_or_skip("no_attack_arrives_and_a_call_goes_on") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
        let call = sip::place(lab.outside(), family.phone(0), &callee)?;
        for vector in Vector::ALL {
            for (source, reason) in
                [(Source::Attacker, "rule-drop"), (Source::Cluster, "spoofed"), (Source::Random, "rule-drop")]
            {
                let before = firewall.counters()?;
                let effect = Attack { family, ..Attack::new(vector, source, COUNT) }.run(lab)?;
                let dropped = firewall.counters()?.dropped_since(&before);
                assert_eq!(effect.arrived, 0, "{family:?} {vector}, {source}");
                assert_eq!(
                    dropped,
                    [(reason.to_owned(), effect.sent)].into(),
                    "{family:?} {vector}, {source}"
                );
            }
        }
        let outcome = call.finish(Duration::ZERO)?;
        assert!(outcome.is_whole(), "{family:?}: {outcome}");
    }
    Ok(())
}

#[test]
fn the_drops_are_counted_by_rule() -> Result<()> {
    if !root_or_skip("the_drops_are_counted_by_rule") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (vector, name) in [
        (Vector::SccpScan, "sccp from anyone else"),
        (Vector::EchoFlood, "echo from anyone else"),
        (Vector::ClusterProbe, "ipsec manager from anyone else"),
    ] {
        let before = firewall.rules()?.rules;
        Attack::new(vector, Source::Attacker, 300).run(lab)?;
        for (then, now) in before.iter().zip(firewall.rules()?.rules) {
            let expected = if now.name == name { 300 } else { 0 };
            assert_eq!(now.packets - then.packets, expected, "{vector}: rule `{}`", now.name);
            assert!(now.name != name || now.advisory.is_some());
        }
    }
    Ok(())
}

#[test]
fn forged_management_echoes_are_held_to_the_budget() -> Result<()> {
    if !root_or_skip("forged_management_echoes_are_held_to_the_budget") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let before = firewall.counters()?;
        let attack = Attack { family, ..Attack::new(Vector::EchoFlood, Source::Management, COUNT) };
        let effect = attack.run(lab)?;
        let dropped = firewall.counters()?.dropped_since(&before);
        // A burst of 20 at once, then 10 in each second; the flood lasts 0.2 s.
        assert!((15..=30).contains(&effect.arrived), "{family:?}: {effect:?}");
        assert_eq!(dropped, [("limit".to_owned(), effect.sent - effect.arrived)].into(), "{family:?}");
    }
    Ok(())
}

#[test]
fn phones_register_while_a_scanner_sees_nothing() -> Result<()> {
    if !root_or_skip("phones_register_while_a_scanner_sees_nothing") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let lab = &turn.lab;
    for family in [Family::V4, Family::V6] {
        let manager = SocketAddr::new(family.call_manager(0), 2_000);
        let listener = lab.inside().listen(manager)?;
        let probes = nmap(lab, manager.ip())?;
        assert_eq!(probes.len(), 2);
        assert!(probes.iter().all(|probe| probe.state == "filtered"), "{family:?}: {probes:?}");
        let phone = SocketAddr::new(family.phone(0), 0);
        let mut connection = lab.outside().connect(phone, manager, Duration::from_secs(2))?;
        listener.accept()?;
        // A Skinny KeepAlive: length 4, version 0, message 0.
        connection.write_all(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    }
    Ok(())
}

#[test]
fn a_scanning_phone_is_held_to_its_limit() -> Result<()> {
    if !root_or_skip("a_scanning_phone_is_held_to_its_limit") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let before = firewall.counters()?;
    // Nobody listens: each attempt that gets through is refused at once, each other one runs into its time-out.
    let manager = SocketAddr::new(Family::V4.call_manager(0), 2_443);
    let phone = SocketAddr::new(Family::V4.phone(0), 0);
    let mut refused = 0;
    for _ in 0..60 {
        let attempt = lab.outside().connect(phone, manager, Duration::from_millis(5));
        refused += u32::from(attempt.is_err_and(|error| format!("{error:#}").contains("refused")));
    }
    let limited = firewall.counters()?.dropped_since(&before).get("limit").copied().unwrap_or(0);
    assert!((38..=48).contains(&refused), "{refused} attempts were let through");
    assert!(limited >= 10, "{limited} attempts were held back");
    Ok(())
}

#[test]
fn vlan_tags_do_not_hide_an_attack() -> Result<()> {
    if !root_or_skip("vlan_tags_do_not_hide_an_attack") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for tags in [1, 2] {
        for vector in Vector::ALL {
            let before = firewall.counters()?;
            Attack { tags, ..Attack::new(vector, Source::Attacker, 100) }.run(lab)?;
            let dropped = firewall.counters()?.dropped_since(&before);
            assert_eq!(dropped, [("rule-drop".to_owned(), 100)].into(), "{vector} behind {tags} tags");
        }
    }
    Ok(())
}
