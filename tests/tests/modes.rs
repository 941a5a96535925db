//! Native and generic XDP, and observing instead of enforcing.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use callgate_api::XdpMode;
use callgate_lab::attack::{Attack, Source, Vector};
use callgate_lab::checks::clean_call;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

#[test]
fn native_and_generic_xdp_judge_alike() -> Result<()> {
    if !root_or_skip("native_and_generic_xdp_judge_alike") {
        return Ok(());
    }
    for (xdp, mode) in [("native", XdpMode::Native), ("generic", XdpMode::Generic)] {
        let lab = Lab::gateway()?;
        let firewall = Firewall::start(&lab, &Policy { xdp, ..Policy::default() }.text(&lab))?;
        let interfaces = firewall.status()?.interfaces;
        assert_eq!(interfaces.len(), 2);
        assert!(interfaces.iter().all(|interface| interface.xdp == mode), "{interfaces:?}");
        for family in [Family::V4, Family::V6] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
                clean_call(&firewall, || sip::place(lab.outside(), family.phone(0), &callee))
                    .map_err(|error| error.context(format!("{xdp} {family:?} {transport:?}")))?;
            }
            for vector in Vector::ALL {
                let before = firewall.counters()?;
                let attack = Attack { family, ..Attack::new(vector, Source::Attacker, 300) };
                assert_eq!(attack.run(&lab)?.arrived, 0, "{xdp} {vector}");
                let dropped = firewall.counters()?.dropped_since(&before);
                assert_eq!(dropped, [("rule-drop".to_owned(), 300)].into(), "{xdp} {vector}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_bridge_is_guarded_like_a_router() -> Result<()> {
    if !root_or_skip("a_bridge_is_guarded_like_a_router") {
        return Ok(());
    }
    let lab = Lab::bridge()?;
    let firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
            clean_call(&firewall, || sip::place(lab.outside(), family.phone(0), &callee))
                .map_err(|error| error.context(format!("{family:?} {transport:?}")))?;
        }
        for vector in Vector::ALL {
            let attack = Attack { family, ..Attack::new(vector, Source::Random, 300) };
            assert_eq!(attack.run(&lab)?.arrived, 0, "{vector}");
        }
    }
    Ok(())
}

#[test]
fn observing_sees_calls_and_holds_nothing_up() -> Result<()> {
    if !root_or_skip("observing_sees_calls_and_holds_nothing_up") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let firewall = Firewall::start(&lab, &Policy { mode: "observe", ..Policy::default() }.text(&lab))?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), transport)?;
        let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
        thread::sleep(Duration::from_millis(200));
        assert_eq!(firewall.calls()?.len(), 1);
        let outcome = call.finish(Duration::from_millis(200))?;
        // The message and the pinhole it opens race in this mode: the first packets may be lost, no others.
        for path in [&outcome.forth, &outcome.back] {
            assert!(path.sent > 10 && path.lost.iter().all(|number| *number < 3), "{transport:?}: {outcome}");
            assert_eq!(path.duplicates, 0, "{transport:?}: {outcome}");
        }
        firewall.settled()?;
    }
    Ok(())
}
