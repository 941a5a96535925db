//! MGCP through a gateway in enforce mode: a call agent inside commands a voice gateway outside.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use callgate_alg::event::EventKind;
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::mgcp::{self, Connection, Station};
use callgate_lab::policy::Policy;
use callgate_lab::{root_or_skip, rtp};

/// Silence after which a datagram is not expected any more.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn media_flows_both_ways() -> Result<()> {
    if !root_or_skip("media_flows_both_ways") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let agent = Station::agent(lab.inside(), family.call_manager(0))?;
        let gateway = Station::gateway(lab.outside(), family.gateway())?;
        let last = firewall.last_event()?;
        mgcp::restart(&agent, &gateway)?;
        let kinds: Vec<_> = firewall.events(last)?.iter().map(|row| row.kind).collect();
        assert_eq!(kinds, [EventKind::Restarted], "{family:?}");
        for far in [family.call_manager(0), family.call_manager(1)] {
            let outcome = clean_call(firewall, || mgcp::place(&agent, &gateway, far))
                .map_err(|error| error.context(format!("{family:?}, media at {far}")))?;
            assert!(outcome.forth.sent > 20 && outcome.back.sent > 20, "{outcome}");
        }
    }
    Ok(())
}

#[test]
fn media_ends_with_its_connection() -> Result<()> {
    if !root_or_skip("media_ends_with_its_connection") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let agent = Station::agent(lab.inside(), Family::V4.call_manager(0))?;
    let gateway = Station::gateway(lab.outside(), Family::V4.gateway())?;
    let call = mgcp::place(&agent, &gateway, Family::V4.call_manager(0))?;
    let (near, far) = (call.caller.local(), call.callee.local());
    call.finish(Duration::from_millis(200))?;
    firewall.settled()?;
    let before = firewall.counters()?;
    rtp::stray(lab.outside(), near, far, 10)?;
    rtp::stray(lab.inside(), far, near, 10)?;
    let dropped = firewall.counters()?.dropped_since(&before);
    assert_eq!(dropped, [("no-pinhole".to_owned(), 20)].into());
    Ok(())
}

#[test]
fn an_mgcp_call_outlives_the_daemon() -> Result<()> {
    if !root_or_skip("an_mgcp_call_outlives_the_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let agent = Station::agent(lab.inside(), Family::V4.call_manager(0))?;
    let gateway = Station::gateway(lab.outside(), Family::V4.gateway())?;
    let call = mgcp::place(&agent, &gateway, Family::V4.call_manager(0))?;
    thread::sleep(Duration::from_millis(300));
    firewall.kill()?;
    thread::sleep(Duration::from_millis(1_300));
    firewall.restart()?;
    listed(&firewall, &call)?;
    let outcome = call.finish(Duration::from_millis(300))?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()?;
    firewall.stop()
}

#[test]
fn only_an_agent_commands_and_only_a_gateway_obeys() -> Result<()> {
    if !root_or_skip("only_an_agent_commands_and_only_a_gateway_obeys") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let agent = Station::agent(lab.inside(), family.call_manager(0))?;
        let impostor = Station::agent(lab.inside(), family.call_manager(1))?;
        let gateway = Station::gateway(lab.outside(), family.gateway())?;
        let connection = Connection::new();
        let before = firewall.counters()?;
        for (from, to, text) in [
            (&impostor, &gateway, connection.create(mgcp::transaction())),
            (&impostor, &gateway, connection.delete(mgcp::transaction())),
            (&gateway, &agent, connection.create(mgcp::transaction())),
        ] {
            from.send(to, &text)?;
            assert_eq!(to.receive(QUIET)?, None, "{family:?}: {text}");
        }
        let dropped = firewall.counters()?.dropped_since(&before);
        assert_eq!(dropped, [("alg-refused".to_owned(), 3)].into(), "{family:?}");
        let number = mgcp::transaction();
        agent.send(&gateway, &connection.create(number))?;
        assert!(gateway.receive(QUIET)?.is_some(), "{family:?}: the agent is not heard");
        gateway.send(&agent, &format!("500 {number} no such endpoint\r\n"))?;
        assert!(agent.receive(QUIET)?.is_some(), "{family:?}: the gateway is not heard");
    }
    firewall.settled()
}

#[test]
fn what_is_not_mgcp_goes_nowhere() -> Result<()> {
    if !root_or_skip("what_is_not_mgcp_goes_nowhere") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let agent = Station::agent(lab.inside(), Family::V4.call_manager(0))?;
    let gateway = Station::gateway(lab.outside(), Family::V4.gateway())?;
    let texts =
        ["GET / HTTP/1.1\r\n\r\n", "CRCX\r\n", "CRCX 0x10 aaln/1@gw MGCP 1.0\r\n", "200\r\n", "\0\0\0\0"];
    let before = firewall.counters()?;
    for text in texts {
        agent.send(&gateway, text)?;
        gateway.send(&agent, text)?;
        assert_eq!(gateway.receive(QUIET)?, None, "{text:?}");
        assert_eq!(agent.receive(QUIET)?, None, "{text:?}");
    }
    let dropped = firewall.counters()?.dropped_since(&before);
    assert_eq!(dropped, [("alg-malformed".to_owned(), 2 * texts.len() as u64)].into());
    Ok(())
}
