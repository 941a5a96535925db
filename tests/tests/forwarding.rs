//! The lab without a firewall: calls are whole and every attack arrives. What the other tests see missing is
//! therefore missing because of Callgate.

use std::time::Duration;

use anyhow::Result;
use callgate_lab::attack::{Attack, Source, Vector, nmap};
use callgate_lab::h323::{self, Form};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};
use callgate_lab::sipp::{Plan, Run};

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
        let plan = Plan { family, transport, calls: 3 };
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
