//! The daemon dies in mid-call: the kernel half goes on, and a new daemon takes up where the old one was.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use callgate_api::StreamRow;
use callgate_lab::attack::{Attack, Source, Vector};
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// The daemon's heartbeat is stale after one second; this is longer.
const STALE: Duration = Duration::from_millis(1_300);

#[test]
fn no_media_is_lost_and_the_call_is_known_again() -> Result<()> {
    if !root_or_skip("no_media_is_lost_and_the_call_is_known_again") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let (v4, v6) = (Family::V4, Family::V6);
    let udp = Callee::listen(lab.inside(), v4.call_manager(0), Transport::Udp)?;
    let tcp = Callee::listen(lab.inside(), v6.call_manager(0), Transport::Tcp)?;
    let calls =
        [sip::place(lab.outside(), v4.phone(0), &udp)?, sip::place(lab.outside(), v6.phone(0), &tcp)?];
    thread::sleep(Duration::from_millis(200));
    let known = known_calls(&firewall)?;
    assert_eq!(known.len(), 2, "{known:?}");
    let before = firewall.counters()?;
    firewall.kill()?;
    thread::sleep(STALE);
    firewall.restart()?;

    assert_eq!(known_calls(&firewall)?, known);
    // The kernel half has counted all the while: 20 ms each, of which more than a second was without a daemon.
    let packets = |row: &StreamRow| row.to_callee.as_ref().map_or(0, |row| row.packets);
    let rows: Vec<_> = firewall.calls()?.into_iter().flat_map(|call| call.streams).collect();
    assert!(rows.iter().all(|row| packets(row) > 65), "{rows:?}");
    for call in calls {
        listed(&firewall, &call)?;
        let outcome = call.finish(Duration::from_millis(200))?;
        assert!(outcome.is_whole(), "{outcome}");
    }
    firewall.settled()?;
    assert_eq!(firewall.counters()?.dropped_since(&before), [].into());
    Ok(())
}

/// What identifies the calls and their streams, in order of their numbers.
fn known_calls(firewall: &Firewall) -> Result<Vec<(u64, String, Vec<StreamRow>)>> {
    // What is measured goes on meanwhile.
    let bare = |row: StreamRow| StreamRow { to_caller: None, to_callee: None, ..row };
    let streams = |rows: Vec<StreamRow>| rows.into_iter().map(bare).collect();
    let mut calls: Vec<_> =
        firewall.calls()?.into_iter().map(|call| (call.id, call.key, streams(call.streams))).collect();
    calls.sort_by_key(|call| call.0);
    Ok(calls)
}

#[test]
fn a_call_that_ends_while_nobody_reads_is_cleared_away() -> Result<()> {
    if !root_or_skip("a_call_that_ends_while_nobody_reads_is_cleared_away") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let text = Policy::default().text(&lab);
    let brief = "[settings]\nmedia_idle = { default = \"1h\", sip = \"8s\" }\nmedia_held = { default = \"1h\", sip = \"8s\" }\n";
    let mut firewall = Firewall::start(&lab, &text.replacen("[settings]\n", brief, 1))?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    thread::sleep(Duration::from_millis(200));
    firewall.kill()?;
    thread::sleep(STALE);
    // BYE goes by unread.
    assert!(call.finish(Duration::from_millis(100))?.is_whole());
    firewall.restart()?;
    assert_eq!(known_calls(&firewall)?.len(), 1, "taken up from the journal");
    let until = Instant::now() + Duration::from_secs(30);
    while !known_calls(&firewall)?.is_empty() {
        assert!(Instant::now() < until, "{:?}", known_calls(&firewall)?);
        thread::sleep(Duration::from_millis(200));
    }
    firewall.settled()
}

#[test]
fn the_rules_judge_on_without_a_daemon() -> Result<()> {
    if !root_or_skip("the_rules_judge_on_without_a_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let before = firewall.counters()?;
    firewall.kill()?;
    let attack = Attack::new(Vector::ClusterProbe, Source::Random, 500);
    assert_eq!(attack.run(&lab)?.arrived, 0);
    firewall.restart()?;
    // Counters live in the kernel: what was dropped meanwhile is counted.
    assert_eq!(firewall.counters()?.dropped_since(&before), [("rule-drop".to_owned(), 500)].into());
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    clean_call(&firewall, || sip::place(lab.outside(), Family::V4.phone(0), &callee))?;
    Ok(())
}

#[test]
fn signalling_without_a_daemon_follows_the_rules_file() -> Result<()> {
    if !root_or_skip("signalling_without_a_daemon_follows_the_rules_file") {
        return Ok(());
    }
    for (on_alg_down, answered) in [("pass", true), ("drop", false)] {
        let lab = Lab::gateway()?;
        let mut firewall = Firewall::start(&lab, &Policy { on_alg_down, ..Policy::default() }.text(&lab))?;
        let before = firewall.counters()?;
        firewall.kill()?;
        thread::sleep(STALE);
        let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
        let call = sip::place(lab.outside(), Family::V4.phone(0), &callee);
        assert_eq!(call.is_ok(), answered, "on_alg_down = {on_alg_down}: {call:?}");
        firewall.restart()?;
        let dropped = firewall.counters()?.dropped_since(&before);
        assert_eq!(dropped.contains_key("alg-down"), !answered, "on_alg_down = {on_alg_down}: {dropped:?}");
    }
    Ok(())
}

#[test]
fn an_orderly_stop_and_start_keeps_the_call() -> Result<()> {
    if !root_or_skip("an_orderly_stop_and_start_keeps_the_call") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let callee = Callee::listen(lab.inside(), Family::V6.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V6.phone(0), &callee)?;
    firewall.stop()?;
    firewall.restart()?;
    listed(&firewall, &call)?;
    let outcome = call.finish(Duration::from_millis(200))?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}
