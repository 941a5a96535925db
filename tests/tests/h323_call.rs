//! H.323 calls through a gateway in enforce mode: fast start, separate and tunnelled H.245, and what connections
//! and calls have to do with each other.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use callgate_alg::call::State;
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::{self, GATEWAY, GATEWAY_V6, Turn};
use callgate_lab::h323::ledger::Ledger;
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, QUIET, Side};
use callgate_lab::h323::wire::{self, Data};
use callgate_lab::h323::{self, Callee, Form};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::{root_or_skip, rtp};
use callgate_protocols::build::{self, Parts};

/// Every form a call can take.
const FORMS: [Form; 3] = [Form::FastStart, Form::SeparateH245, Form::TunnelledH245];

/// A phone, and a terminal inside that waits for calls.
fn parties(lab: &Lab, family: Family) -> Result<(Host, Listener)> {
    let terminal = Host::new(lab.inside(), family.call_manager(0));
    Ok((Host::new(lab.outside(), family.phone(0)), session::desk(&terminal)?))
}

/// Runs a test with each family.
fn each_family(test: &str, run: impl Fn(&Turn, Family) -> Result<()> + Sync) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    fixture::each_family([&GATEWAY, &GATEWAY_V6], run)
}

#[test]
fn media_flows_both_ways_in_every_form() -> Result<()> {
    each_family("media_flows_both_ways_in_every_form", |turn, family| {
        let (lab, firewall) = (&turn.lab, &turn.firewall);
        let callee = Callee::listen(lab.inside(), family.call_manager(0))?;
        for form in FORMS {
            let outcome = clean_call(firewall, || h323::place(lab.outside(), family.phone(0), &callee, form))
                .map_err(|error| error.context(format!("{family:?} {form:?}")))?;
            assert!(outcome.forth.sent > 20 && outcome.back.sent > 20, "{outcome}");
        }
        Ok(())
    })
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

#[test]
fn calls_on_one_connection_are_apart() -> Result<()> {
    each_family("calls_on_one_connection_are_apart", |turn, family| {
        let (phone, desk) = parties(&turn.lab, family)?;
        let mut ledger = Ledger::open(&turn.firewall)?;
        let (mut dialogue, first) = Dialogue::fast(&phone, &desk)?;
        let first_call = std::mem::replace(&mut dialogue.call, h323::new_call());
        let second = dialogue.fast_start()?;
        assert_eq!(turn.firewall.calls()?.len(), 2);
        assert_eq!(turn.firewall.pinholes()?.len(), 8);

        let ends = first.ends();
        ledger.media(&first.whole()?);
        dialogue.line.forth(&build::release_complete(&first_call, false, &Parts::default()))?;
        let open: Vec<_> = turn.firewall.pinholes()?.into_iter().map(|row| row.to).collect();
        assert!(open.len() == 4 && !open.contains(&ends[0]) && !open.contains(&ends[1]), "{open:?}");
        ledger.media(&second.whole()?);
        // The callee may hang up too.
        dialogue.line.back(&build::release_complete(&dialogue.call, true, &Parts::default()))?;
        ledger.close()
    })
}

#[test]
fn messages_and_segments_need_not_coincide() -> Result<()> {
    each_family("messages_and_segments_need_not_coincide", |turn, family| {
        let (phone, desk) = parties(&turn.lab, family)?;
        let terminal = Host::new(turn.lab.inside(), desk.address.ip());
        let mut ledger = Ledger::open(&turn.firewall)?;
        let mut dialogue = Dialogue::connect(&phone, &desk)?;
        let (near, far) = (phone.media()?, terminal.media()?);

        // One message in segments, the first of which ends within the TPKT's header.
        let fast_start = build::proposals(h323::own(&near));
        let setup = wire::Setup { parts: Parts { fast_start, ..Parts::default() }, ..wire::Setup::default() };
        let setup = setup.encode(&dialogue.call);
        let mut rest = &setup[..];
        for length in [1, 2, 5, 40, 1] {
            let (segment, behind) = rest.split_at(length);
            dialogue.line.near.send(segment)?;
            thread::sleep(Duration::from_millis(5));
            rest = behind;
        }
        assert!(turn.firewall.calls()?.is_empty(), "half a Setup makes no call");
        dialogue.line.near.send(rest)?;
        assert_eq!(dialogue.line.far.octets(setup.len(), QUIET), setup);

        // Several messages in one segment, and the beginning of the next.
        let none = Parts::default();
        let fast_start = build::acceptance(h323::own(&far), near.rtp());
        let answer = Parts { fast_start, ..Parts::default() };
        let messages = [
            build::call_proceeding(&dialogue.call, &none),
            build::alerting(&dialogue.call, &none),
            build::connect(&dialogue.call, &answer),
            build::facility(&dialogue.call, true, &none),
        ]
        .concat();
        let (together, last) = messages.split_at(messages.len() - 9);
        dialogue.line.back(together)?;
        let stream = session::Stream::start(near, far)?;
        dialogue.line.back(last)?;
        ledger.media(&stream.whole()?);
        dialogue.release()?;
        ledger.close()
    })
}

#[test]
fn either_party_may_make_the_h245_connection() -> Result<()> {
    each_family("either_party_may_make_the_h245_connection", |turn, family| {
        let (phone, desk) = parties(&turn.lab, family)?;
        let terminal = Host::new(turn.lab.inside(), desk.address.ip());
        let none = Parts::default();
        let at = |listener: &Listener| Parts { h245_address: Some(listener.address), ..Parts::default() };
        for told in ["by the caller's Setup", "by the caller's Facility", "by the callee's Facility"] {
            let mut ledger = Ledger::open(&turn.firewall)?;
            let mut dialogue = Dialogue::connect(&phone, &desk)?;
            let by_caller = phone.listen(0)?;
            let by_callee = terminal.listen(0)?;
            let in_setup = told == "by the caller's Setup";
            dialogue.set_up(if in_setup { at(&by_caller) } else { none.clone() }, &none)?;
            dialogue.control = Some(match told {
                "by the callee's Facility" => {
                    dialogue.line.back(&build::facility(&dialogue.call, true, &at(&by_callee)))?;
                    (phone.connect(&by_callee)?, Side::Caller)
                }
                _ => {
                    if !in_setup {
                        dialogue.line.forth(&build::facility(&dialogue.call, false, &at(&by_caller)))?;
                    }
                    (terminal.connect(&by_caller)?, Side::Callee)
                }
            });
            ledger.admitted(1);
            dialogue.agree()?;
            let stream = dialogue.open(1, Data::Audio)?;
            ledger.media(&stream.whole()?);
            dialogue.release()?;
            ledger.close().map_err(|error| error.context(format!("{family:?}, {told}")))?;
        }
        Ok(())
    })
}

#[test]
fn a_call_outlives_its_connection() -> Result<()> {
    each_family("a_call_outlives_its_connection", |turn, family| {
        let (phone, desk) = parties(&turn.lab, family)?;
        let mut ledger = Ledger::open(&turn.firewall)?;
        let (mut dialogue, stream) = Dialogue::fast(&phone, &desk)?;
        dialogue.line.near.finish()?;
        assert!(dialogue.line.far.rest(QUIET).is_empty() && dialogue.line.far.is_closed());
        dialogue.line.far.finish()?;
        thread::sleep(QUIET);
        let calls = turn.firewall.calls()?;
        assert!(calls.len() == 1 && calls[0].state == State::Connected, "{family:?}: {calls:?}");
        ledger.media(&stream.whole()?);

        // It is released on another connection (H.323 §8.5), under the same names.
        dialogue.line = phone.connect(&desk)?;
        dialogue.release()?;
        ledger.close()
    })
}

#[test]
fn h245_runs_beside_fast_start() -> Result<()> {
    each_family("h245_runs_beside_fast_start", |turn, family| {
        let tunnelled = family == Family::V4;
        let (phone, desk) = parties(&turn.lab, family)?;
        let terminal = Host::new(turn.lab.inside(), desk.address.ip());
        let mut ledger = Ledger::open(&turn.firewall)?;
        let mut dialogue = Dialogue::connect(&phone, &desk)?;
        let (near, far) = (phone.media()?, terminal.media()?);
        let listener = terminal.listen(0)?;
        let setup = Parts {
            fast_start: build::proposals(h323::own(&near)),
            tunnelling: tunnelled,
            ..Parts::default()
        };
        let answer = Parts {
            fast_start: build::acceptance(h323::own(&far), near.rtp()),
            tunnelling: tunnelled,
            h245_address: (!tunnelled).then_some(listener.address),
            ..Parts::default()
        };
        dialogue.set_up(setup, &answer)?;
        let audio = session::Stream::start(near, far)?;
        if !tunnelled {
            dialogue.control = Some((phone.connect(&listener)?, Side::Caller));
            ledger.admitted(1);
        }
        dialogue.agree()?;
        let video = dialogue.open(7, Data::Video)?;
        ledger.media(&video.whole()?);
        dialogue.close(7)?;
        ledger.media(&audio.whole()?);
        dialogue.release()?;
        ledger.close()
    })
}

#[test]
fn what_is_said_aside_is_let_by() -> Result<()> {
    each_family("what_is_said_aside_is_let_by", |turn, family| {
        let (phone, desk) = parties(&turn.lab, family)?;
        let ledger = Ledger::open(&turn.firewall)?;
        let mut dialogue = Dialogue::connect(&phone, &desk)?;
        let call = dialogue.call;
        dialogue.line.forth(&wire::Setup::default().encode(&call))?;
        for (name, to_origin, message) in wire::asides(&call) {
            let line = &mut dialogue.line;
            let carried = if to_origin { line.back(&message) } else { line.forth(&message) };
            carried.map_err(|error| error.context(name))?;
        }
        // Nobody has answered yet.
        assert!(turn.firewall.calls()?.iter().all(|row| row.state != State::Connected), "{family:?}");
        // A TPKT without a message keeps the connection alive.
        dialogue.line.back(&[3, 0, 0, 4])?;
        dialogue.line.back(&build::connect(&call, &Parts::default()))?;
        assert!(turn.firewall.calls()?.iter().any(|row| row.state == State::Connected), "{family:?}");
        dialogue.release()?;
        ledger.close()
    })
}

#[test]
fn a_forwarded_call_is_made_where_its_facility_says() -> Result<()> {
    each_family("a_forwarded_call_is_made_where_its_facility_says", |turn, family| {
        let forwarded = family == Family::V4;
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let desk = session::desk(&Host::new(turn.lab.inside(), family.call_manager(0)))?;
        let stranger = Host::new(turn.lab.outside(), family.phone(1));
        let terminal = Host::new(turn.lab.inside(), desk.address.ip());
        let (target, beside) = (terminal.listen(17_200)?, terminal.listen(17_201)?);
        let third = Host::new(turn.lab.inside(), family.call_manager(1)).listen(17_200)?;
        let mut ledger = Ledger::open(&turn.firewall)?;
        ensure!(phone.is_kept_from(&target), "{family:?}: connected before anybody has said so");

        let mut dialogue = Dialogue::connect(&phone, &desk)?;
        dialogue.line.forth(&wire::Setup::default().encode(&dialogue.call))?;
        // A third host's address is not the callee's to give.
        dialogue.line.back(&wire::redirect(&dialogue.call, forwarded, third.address))?;
        ledger.refused("not-the-announcers", 1);
        ensure!(phone.is_kept_from(&third), "{family:?}: the callee has opened a third host's port");
        dialogue.line.back(&wire::redirect(&dialogue.call, forwarded, target.address))?;
        dialogue.release()?;
        ensure!(stranger.is_kept_from(&target), "{family:?}: the facility was not for this one");
        ensure!(phone.is_kept_from(&beside), "{family:?}: the facility told another port");
        ledger.dropped("default-drop", 4);
        let (mut again, stream) = Dialogue::fast(&phone, &target)?;
        ledger.admitted(1);
        ledger.media(&stream.whole()?);
        again.release()?;
        ledger.close()
    })
}
