//! SIP calls through a gateway in enforce mode, and media that no call has announced.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use callgate_lab::call::Signalling;
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::Family;
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::root_or_skip;
use callgate_lab::rtp;
use callgate_lab::sip::{self, Callee, Dialog, Transport};
use callgate_lab::sipp::{Plan, Run, STORIES, Story};

/// A port of the media range that no endpoint uses.
const UNANNOUNCED: u16 = 30_000;
/// Stray packets sent.
const STRAYS: u32 = 25;

#[test]
fn media_flows_both_ways_from_the_first_packet() -> Result<()> {
    if !root_or_skip("media_flows_both_ways_from_the_first_packet") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
            let outcome = clean_call(firewall, || sip::place(lab.outside(), family.phone(0), &callee))
                .map_err(|error| error.context(format!("{family:?} {transport:?}")))?;
            assert!(outcome.forth.sent > 20 && outcome.back.sent > 20, "{outcome}");
        }
    }
    Ok(())
}

#[test]
fn a_fragmented_invite_is_read() -> Result<()> {
    if !root_or_skip("a_fragmented_invite_is_read") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let callee = Callee::listen(lab.inside(), family.call_manager(0), transport)?;
            // 4 KiB: three fragments over UDP, three segments over TCP.
            clean_call(firewall, || sip::place_padded(lab.outside(), family.phone(0), &callee, 64))
                .map_err(|error| error.context(format!("{family:?} {transport:?}")))?;
        }
    }
    Ok(())
}

#[test]
fn calls_by_sipp_are_whole() -> Result<()> {
    if !root_or_skip("calls_by_sipp_are_whole") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let before = firewall.counters()?;
    let ways = [(Family::V4, Transport::Udp), (Family::V6, Transport::Tcp), (Family::V6, Transport::Udp)];
    for (story, (family, transport)) in STORIES.into_iter().zip(ways.into_iter().cycle()) {
        let plan = Plan { family, transport, calls: 3, story };
        let run = Run::start(lab, plan)?;
        thread::sleep(Duration::from_millis(1_000));
        assert_eq!(firewall.calls()?.len(), 3, "{plan:?}");
        let mut kinds = BTreeSet::new();
        if story == Story::Fax {
            let started = Instant::now();
            while !kinds.contains("t38") && started.elapsed() < Duration::from_secs(5) {
                thread::sleep(Duration::from_millis(50));
                kinds.extend(firewall.pinholes()?.into_iter().map(|row| row.kind));
            }
        }
        let outcome = run.finish()?;
        assert!(outcome.is_whole(&plan), "{plan:?}: {outcome:?}");
        assert!(story != Story::Fax || kinds.contains("t38"), "{kinds:?}");
        firewall.settled()?;
    }
    assert_eq!(firewall.counters()?.dropped_since(&before), [].into());
    Ok(())
}

#[test]
fn unannounced_media_is_dropped_and_counted() -> Result<()> {
    if !root_or_skip("unannounced_media_is_dropped_and_counted") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
        let call = sip::place(lab.outside(), family.phone(0), &callee)?;
        let open = call.callee.local();
        let count = format!("udp dport {{ {UNANNOUNCED}, {} }} udp sport {UNANNOUNCED}", open.port());
        let meter = Meter::attach(lab.inside(), lab.arrival(), Direction::In, &[("strays", &count)])?;

        // The caller itself, to a port nobody announced.
        let before = firewall.counters()?;
        let from = SocketAddr::new(family.phone(0), UNANNOUNCED);
        rtp::stray(lab.outside(), from, SocketAddr::new(open.ip(), UNANNOUNCED), STRAYS)?;
        let after = firewall.counters()?;
        assert_eq!(after.dropped_since(&before), [("no-pinhole".to_owned(), STRAYS.into())].into());

        // Another phone, to the port of a call it is not in.
        let from = SocketAddr::new(family.phone(1), UNANNOUNCED);
        rtp::stray(lab.outside(), from, open, STRAYS)?;
        let before = after;
        let after = firewall.counters()?;
        assert_eq!(after.dropped_since(&before), [("pinhole-sender".to_owned(), STRAYS.into())].into());

        let (caller, callee) = (call.caller.local(), call.callee.local());
        let outcome = call.finish(Duration::from_millis(200))?;
        assert!(outcome.is_whole(), "{outcome}");
        firewall.settled()?;

        // The caller's own port to the callee's, and back, after the call.
        let before = firewall.counters()?;
        rtp::stray(lab.outside(), caller, callee, STRAYS)?;
        rtp::stray(lab.inside(), callee, caller, STRAYS)?;
        let after = firewall.counters()?;
        assert_eq!(after.dropped_since(&before), [("no-pinhole".to_owned(), 2 * u64::from(STRAYS))].into());
        assert_eq!(meter.packets("strays")?, 0);
    }
    Ok(())
}

#[test]
fn a_description_cannot_open_what_is_not_the_callers() -> Result<()> {
    if !root_or_skip("a_description_cannot_open_what_is_not_the_callers") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let family = Family::V4;
    let manager = SocketAddr::new(family.call_manager(0), sip::PORT);
    let _callee = Callee::listen(lab.inside(), family.call_manager(0), Transport::Udp)?;
    for (refusal, address) in [
        ("privileged-port", SocketAddr::new(family.phone(0), 22)),
        ("port-range", SocketAddr::new(family.phone(0), 40_000)),
        ("not-the-announcers", SocketAddr::new(family.attacker(), 20_000)),
        ("not-unicast", "224.0.0.5:20000".parse()?),
    ] {
        let count = |firewall: &Firewall| -> Result<u64> {
            Ok(firewall.status()?.alg.refusals.get(refusal).copied().unwrap_or(0))
        };
        let before = count(firewall)?;
        let mut dialog = Dialog::open(lab.outside(), family.phone(0), manager, Transport::Udp)?;
        let answer = dialog.invite(&sip::description(address))?;
        assert!(answer.starts_with("SIP/2.0 200"), "the call itself is put through: {answer}");
        dialog.acknowledge()?;
        assert!(count(firewall)? > before, "{refusal} is not counted");
        let pinholes = firewall.pinholes()?;
        assert!(!pinholes.iter().any(|row| row.to == address), "{address} was opened: {pinholes:?}");
        dialog.release()?;
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn two_calls_do_not_close_each_others_media() -> Result<()> {
    if !root_or_skip("two_calls_do_not_close_each_others_media") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let first = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let second = sip::place(lab.outside(), Family::V4.phone(1), &callee)?;
    listed(firewall, &first)?;
    let first = first.finish(Duration::from_millis(200))?;
    assert!(first.is_whole(), "{first}");
    assert_eq!(firewall.calls()?.len(), 1);
    listed(firewall, &second)?;
    let second = second.finish(Duration::from_millis(300))?;
    assert!(second.is_whole(), "{second}");
    firewall.settled()
}
