//! H.323 calls through a gateway in enforce mode: fast start, separate and tunnelled H.245.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::h323::{self, Callee, Form};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::{root_or_skip, rtp};

/// Every form a call can take.
const FORMS: [Form; 3] = [Form::FastStart, Form::SeparateH245, Form::TunnelledH245];

#[test]
fn media_flows_both_ways_in_every_form() -> Result<()> {
    if !root_or_skip("media_flows_both_ways_in_every_form") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let callee = Callee::listen(lab.inside(), family.call_manager(0))?;
        for form in FORMS {
            let outcome = clean_call(firewall, || h323::place(lab.outside(), family.phone(0), &callee, form))
                .map_err(|error| error.context(format!("{family:?} {form:?}")))?;
            assert!(outcome.forth.sent > 20 && outcome.back.sent > 20, "{outcome}");
        }
    }
    Ok(())
}

#[test]
fn media_ends_with_its_call() -> Result<()> {
    if !root_or_skip("media_ends_with_its_call") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0))?;
    for form in FORMS {
        let call = h323::place(lab.outside(), Family::V4.phone(0), &callee, form)?;
        let (caller, called) = (call.caller.local(), call.callee.local());
        call.finish(Duration::from_millis(200))?;
        firewall.settled()?;
        let before = firewall.counters()?;
        rtp::stray(lab.outside(), caller, called, 10)?;
        rtp::stray(lab.inside(), called, caller, 10)?;
        let dropped = firewall.counters()?.dropped_since(&before);
        assert_eq!(dropped, [("no-pinhole".to_owned(), 20)].into(), "{form:?}");
    }
    Ok(())
}

#[test]
fn a_call_outlives_the_daemon() -> Result<()> {
    if !root_or_skip("a_call_outlives_the_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0))?;
    let calls: Vec<_> = FORMS
        .into_iter()
        .map(|form| h323::place(lab.outside(), Family::V4.phone(0), &callee, form))
        .collect::<Result<_>>()?;
    thread::sleep(Duration::from_millis(200));
    firewall.kill()?;
    thread::sleep(Duration::from_millis(1_300));
    firewall.restart()?;
    assert_eq!(firewall.calls()?.len(), FORMS.len());
    for (call, form) in calls.into_iter().zip(FORMS) {
        listed(&firewall, &call)?;
        let outcome = call.finish(Duration::from_millis(200))?;
        assert!(outcome.is_whole(), "{form:?}: {outcome}");
    }
    firewall.settled()
}
