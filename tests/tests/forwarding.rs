//! The lab without a firewall: calls are whole and every attack arrives. What the other tests see missing is
//! therefore missing because of Callgate.

use std::time::Duration;

use anyhow::Result;
use callgate_lab::attack::{Attack, Source, Vector, nmap};
use callgate_lab::h323::{self, Form};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::mgcp::{self, Station};
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::Version;
use callgate_lab::sccp::{self, CallManager, Session};
use callgate_lab::sip::{self, Callee, Transport};
use callgate_lab::sipp::{Plan, Run, Story};
use callgate_lab::tftp::{self, Client, Server};

#[test]
fn sip_calls_are_whole_without_a_firewall() -> Result<()> {
    if !root_or_skip("sip_calls_are_whole_without_a_firewall") {
        return Ok(());
    }
    for lab in [Lab::gateway()?, Lab::bridge()?, Lab::host()?] {
        for family in [Family::V4, Family::V6] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
                let call = sip::place(lab.outside(), family.phone(0), &callee)?;
                let outcome = call.finish(Duration::from_millis(300))?;
                assert!(outcome.is_whole(), "{family:?} {transport:?}: {outcome}");
                let call = sip::place_padded(lab.outside(), family.phone(0), &callee, 64)?;
                let outcome = call.finish(Duration::ZERO)?;
                assert!(outcome.is_whole(), "{family:?} {transport:?}, long: {outcome}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_attack_arrives_without_a_firewall() -> Result<()> {
    if !root_or_skip("every_attack_arrives_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for family in [Family::V4, Family::V6] {
        for vector in Vector::ALL {
            for source in [Source::Attacker, Source::Cluster, Source::Random, Source::Management] {
                let attack = Attack { family, ..Attack::new(vector, source, 200) };
                let effect = attack.run(&lab)?;
                assert_eq!((effect.sent, effect.arrived), (200, 200), "{family:?} {vector}, {source}");
            }
        }
        let probes = nmap(&lab, family.call_manager(0))?;
        assert!(probes.iter().all(|probe| probe.state == "closed"), "{probes:?}");
        assert_eq!(probes.len(), 2);
    }
    Ok(())
}

#[test]
fn sipp_calls_are_whole_without_a_firewall() -> Result<()> {
    if !root_or_skip("sipp_calls_are_whole_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for (family, transport) in [(Family::V4, Transport::Udp), (Family::V6, Transport::Tcp)] {
        let plan = Plan { family, transport, calls: 3, story: Story::Plain };
        let outcome = Run::start(&lab, plan)?.finish()?;
        assert!(outcome.is_whole(&plan), "{plan:?}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn h323_calls_are_whole_without_a_firewall() -> Result<()> {
    if !root_or_skip("h323_calls_are_whole_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for family in [Family::V4, Family::V6] {
        let callee = h323::Callee::listen(lab.inside(), family.call_manager(0))?;
        for form in [Form::FastStart, Form::SeparateH245, Form::TunnelledH245] {
            let call = h323::place(lab.outside(), family.phone(0), &callee, form)?;
            let outcome = call.finish(Duration::from_millis(300))?;
            assert!(outcome.is_whole(), "{family:?} {form:?}: {outcome}");
        }
    }
    Ok(())
}

#[test]
fn sccp_calls_are_whole_without_a_firewall() -> Result<()> {
    if !root_or_skip("sccp_calls_are_whole_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for family in [Family::V4, Family::V6] {
        let manager = CallManager::listen(lab.inside(), family.call_manager(0))?;
        for version in Version::ALL.into_iter().filter(|version| family == Family::V4 || version.is_typed()) {
            let call = sccp::place(lab.outside(), family.phone(0), &manager, version)?;
            let outcome = call.finish(Duration::from_millis(200))?;
            assert!(outcome.is_whole(), "{family:?} {version:?}: {outcome}");
        }
    }
    Ok(())
}

#[test]
fn crafted_sccp_messages_arrive_without_a_firewall() -> Result<()> {
    if !root_or_skip("crafted_sccp_messages_arrive_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let phone = Family::V4.phone(0);
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    for crafted in sccp::crafted(Version(17), phone) {
        let mut session = Session::connect(lab.outside(), phone, &manager, Version(17))?;
        session.phone.send(&crafted.bytes)?;
        assert_eq!(session.manager.rest(Duration::from_millis(50)), crafted.bytes, "{}", crafted.fault);
    }
    Ok(())
}

#[test]
fn mgcp_calls_are_whole_without_a_firewall() -> Result<()> {
    if !root_or_skip("mgcp_calls_are_whole_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for family in [Family::V4, Family::V6] {
        let agent = Station::agent(lab.inside(), family.call_manager(0))?;
        let gateway = Station::gateway(lab.outside(), family.gateway())?;
        mgcp::restart(&agent, &gateway)?;
        for far in [family.call_manager(0), family.call_manager(1)] {
            let outcome = mgcp::place(&agent, &gateway, far)?.finish(Duration::from_millis(200))?;
            assert!(outcome.is_whole(), "{family:?}, to {far}: {outcome}");
        }
    }
    Ok(())
}

#[test]
fn files_and_intruders_are_let_by_without_a_firewall() -> Result<()> {
    if !root_or_skip("files_and_intruders_are_let_by_without_a_firewall") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    for family in [Family::V4, Family::V6] {
        let server = Server::start(&lab, family.call_manager(0))?;
        for length in [0, 100, tftp::BLOCK, 10_000] {
            let text = server.offer("SEP001122334455.cnf.xml", length)?;
            assert_eq!(server.get("SEP001122334455.cnf.xml")?, text, "{family:?}, {length} bytes");
        }
        server.put("SEP001122334455.cnf.xml.new", b"text")?;
        assert_eq!(server.written("SEP001122334455.cnf.xml.new").as_deref(), Some(&b"text"[..]));

        let text = server.offer("SCCP70.loads", 3_000)?;
        let mut client = Client::new(lab.outside(), family.phone(0), server.address())?;
        client.ask("SCCP70.loads", &[("blksize", "1024"), ("tsize", "0")])?;
        while client.advance()? {}
        assert_eq!(client.text, text);
        for from in [family.call_manager(0), family.call_manager(1)] {
            tftp::intrude(lab.inside(), (from, 0).into(), client.local()?, 1)?;
            assert!(client.hears_anything(Duration::from_millis(200))?, "{from}");
        }
    }
    Ok(())
}
