//! Tables that are full: an alarm before, a refusal in the protocol's words, and what is there stays.

use std::time::Duration;

use anyhow::{Result, ensure};
use callgate_api::Alarm;
use callgate_lab::call::Call;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// What status says of the fill of a table; an error where it says nothing of it.
fn alarm(firewall: &Firewall, table: &str) -> Result<Option<Alarm>> {
    let status = firewall.status()?;
    ensure!(status.tables.iter().any(|row| row.table == table), "{:?}", status.tables);
    let about = format!("the table of {table} is ");
    Ok(status.alarms.into_iter().find(|alarm| alarm.name == "table-fill" && alarm.text.starts_with(&about)))
}

/// Calls and announcements that have found no room so far.
fn refused(firewall: &Firewall) -> Result<u64> {
    Ok(firewall.status()?.alg.refusals.get("table-full").copied().unwrap_or(0))
}

#[test]
fn a_new_call_is_refused_and_the_old_ones_go_on() -> Result<()> {
    if !root_or_skip("a_new_call_is_refused_and_the_old_ones_go_on") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let rules = |tables: &str| {
        let settings = format!("[settings]\ntables = {tables}");
        Policy::default().text(&lab).replace("[settings]", &settings)
    };
    let firewall = Firewall::start(&lab, &rules("{ calls = 5 }"))?;
    let phone = Family::V4.phone(0);
    let udp = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let tcp = Callee::listen(lab.inside(), Family::V4.call_manager(1), Transport::Tcp)?;
    let place = || sip::place(lab.outside(), phone, &udp);
    let refusal = |callee: &Callee| -> Result<()> {
        let before = refused(&firewall)?;
        match sip::place(lab.outside(), phone, callee) {
            Ok(_) => anyhow::bail!("there is room"),
            Err(error) => ensure!(format!("{error:#}").contains("503 Service Unavailable"), "{error:#}"),
        }
        ensure!(refused(&firewall)? == before + 1, "it is counted once");
        Ok(())
    };

    for (table, settings, most) in [("calls", "{ calls = 5 }", 5), ("pinholes", "{ pinholes = 20 }", 5)] {
        firewall.reload(&rules(settings))?;
        let mut calls: Vec<Call> = (1..most).map(|_| place()).collect::<Result<_>>()?;
        let told = alarm(&firewall, table)?;
        ensure!(told.as_ref().is_some_and(|alarm| !alarm.critical), "{table}, not full yet: {told:?}");
        calls.push(place()?);
        let told = alarm(&firewall, table)?;
        ensure!(told.as_ref().is_some_and(|alarm| alarm.critical), "{table}, full: {told:?}");

        refusal(&udp)?;
        refusal(&tcp)?;
        ensure!(firewall.calls()?.len() == most, "{:?}", firewall.calls()?);
        let first = calls.remove(0).finish(Duration::from_millis(100))?;
        ensure!(first.is_whole(), "{first}");
        calls.push(place()?);
        for call in calls {
            let outcome = call.finish(Duration::from_millis(50))?;
            ensure!(outcome.is_whole(), "{outcome}");
        }
        firewall.settled()?;
        ensure!(alarm(&firewall, table)?.is_none(), "{table}: there is room again");
    }

    // A table that becomes too small ends nothing; a call that was there when the daemon died comes back into it.
    let mut firewall = firewall;
    let calls: Vec<Call> = (0..3).map(|_| place()).collect::<Result<_>>()?;
    firewall.reload(&rules("{ calls = 1, pinholes = 1 }"))?;
    firewall.kill()?;
    firewall.restart()?;
    ensure!(firewall.calls()?.len() == calls.len() && firewall.pinholes()?.len() == 4 * calls.len());
    for call in calls {
        let outcome = call.finish(Duration::from_millis(50))?;
        ensure!(outcome.is_whole(), "{outcome}");
    }
    firewall.settled()?;
    firewall.stop()
}
