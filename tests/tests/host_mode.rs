//! The firewall on the call manager's own host: what it receives is judged by XDP, what it sends at TCX egress.

use std::net::SocketAddr;

use anyhow::Result;
use callgate_lab::attack::{Attack, Source, Vector};
use callgate_lab::checks::clean_call;
use callgate_lab::fixture::HOST;
use callgate_lab::lab::Family;
use callgate_lab::mgcp::{self, Station};
use callgate_lab::root_or_skip;
use callgate_lab::rtp;
use callgate_lab::sccp::wire::Version;
use callgate_lab::sccp::{self, CallManager};
use callgate_lab::sip::{self, Callee, Transport};
use callgate_lab::tftp::Server;

#[test]
fn calls_to_the_host_are_whole() -> Result<()> {
    if !root_or_skip("calls_to_the_host_are_whole") {
        return Ok(());
    }
    let turn = HOST.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
            clean_call(firewall, || sip::place(lab.outside(), family.phone(0), &callee))
                .map_err(|error| error.context(format!("{family:?} {transport:?}")))?;
        }
    }
    Ok(())
}

#[test]
fn phones_of_the_host_call_and_fetch_files() -> Result<()> {
    if !root_or_skip("phones_of_the_host_call_and_fetch_files") {
        return Ok(());
    }
    let turn = HOST.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (family, version) in [(Family::V4, Version(11)), (Family::V6, Version(22))] {
        let manager = CallManager::listen(lab.inside(), family.call_manager(0))?;
        clean_call(firewall, || sccp::place(lab.outside(), family.phone(0), &manager, version))
            .map_err(|error| error.context(format!("{family:?} {version:?}")))?;
        let agent = Station::agent(lab.inside(), family.call_manager(0))?;
        let gateway = Station::gateway(lab.outside(), family.gateway())?;
        clean_call(firewall, || mgcp::place(&agent, &gateway, family.call_manager(0)))
            .map_err(|error| error.context(format!("{family:?} MGCP")))?;
        let server = Server::start(lab, family.call_manager(0))?;
        let text = server.offer("XMLDefault.cnf.xml", 2_000)?;
        assert_eq!(server.get("XMLDefault.cnf.xml")?, text, "{family:?}");
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn attacks_on_the_host_are_dropped() -> Result<()> {
    if !root_or_skip("attacks_on_the_host_are_dropped") {
        return Ok(());
    }
    let turn = HOST.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        for vector in Vector::ALL {
            for (source, reason) in [(Source::Attacker, "rule-drop"), (Source::Cluster, "spoofed")] {
                let before = firewall.counters()?;
                let attack = Attack { family, ..Attack::new(vector, source, 500) };
                let effect = attack.run(lab)?;
                let dropped = firewall.counters()?.dropped_since(&before);
                assert_eq!(
                    dropped,
                    [(reason.to_owned(), effect.sent)].into(),
                    "{family:?} {vector}, {source}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_host_itself_sends_no_unannounced_media() -> Result<()> {
    if !root_or_skip("the_host_itself_sends_no_unannounced_media") {
        return Ok(());
    }
    let turn = HOST.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let before = firewall.counters()?;
    let from = SocketAddr::new(Family::V4.call_manager(0), 20_000);
    // The socket is told of packets dropped on their way out; that is not this test's matter.
    let _ = rtp::stray(lab.inside(), from, SocketAddr::new(Family::V4.phone(0), 20_000), 10);
    let dropped = firewall.counters()?.dropped_since(&before);
    assert_eq!(dropped, [("no-pinhole".to_owned(), 10)].into());
    Ok(())
}
