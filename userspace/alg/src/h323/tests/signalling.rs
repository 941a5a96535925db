//! H.225: messages by name, Facility in its forms, calls that are over, and what the tables show.

use super::wire::{self, Data, Setup, ras as more};
use super::*;

#[test]
fn what_is_known_of_a_call_beside_its_record() {
    let mut lab = Lab::new(0);
    let setup =
        Setup { calling: "4930123", called: "2000", name: "Ada", feature: Some(18), ..Setup::default() };
    lab.signal(ALICE, BOB, &setup.encode(&CALL));
    tunnelled(&mut lab, true, build::terminal_capability_set(false));
    let id = lab.only_call().id;
    let details = lab.tracker.details(id).expect("its leg");
    assert_eq!((details.reference, details.identifier), (77, Some(Guid(CALL.id))));
    let [caller, callee] = details.parties;
    assert_eq!((caller.number.as_str(), caller.aliases), ("4930123", vec!["4930123".into(), "Ada".into()]));
    assert_eq!((callee.number.as_str(), callee.aliases), ("2000", vec!["2000".into()]));
    assert!(details.tunnelled && details.traversal.signalling && !details.traversal.media);
    let text = Guid(CALL.id).to_string();
    assert_eq!(lab.events("call-started"), [format!("4930123 → 2000 {text}")]);
    assert_eq!(lab.events("traversal"), [format!("4930123 → 2000 H.460.18, {text}")]);
    // All of it outlives a restart.
    let before = lab.tracker.details(id);
    lab.restart();
    assert_eq!(lab.tracker.details(id), before);
}

#[test]
fn a_call_s_end_is_told() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    lab.wait(7);
    lab.signal(BOB, ALICE, &build::release_complete(&CALL, true, &Parts::default()));
    let ended = lab.core.ended_calls().next().expect("it is remembered");
    let steps: Vec<_> = ended.ladder.steps().iter().map(|step| (step.by, step.name())).collect();
    assert_eq!(steps.first(), Some(&(Party::Caller, "SETUP")));
    assert_eq!(steps.last(), Some(&(Party::Callee, "RELEASE COMPLETE")));
    let text = Guid(CALL.id).to_string();
    assert_eq!(lab.events("call-ended"), [format!("1000 → 2000 release-complete, lasted 7 s, {text}")]);
    assert_eq!(lab.events("call-started").len(), 1);
}

#[test]
fn messages_that_open_nothing_go_on() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    for (name, by_callee, frame) in wire::asides(&CALL) {
        let (from, to) = if by_callee { (BOB, ALICE) } else { (ALICE, BOB) };
        assert_eq!(lab.signal(from, to, &frame), [""; 0], "{name}");
    }
    assert_eq!(lab.only_call().state, State::Connected);
    assert!(lab.events("violation").is_empty());
}

#[test]
fn facility_in_each_of_its_forms() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    let gatekeeper = at("198.51.100.7:2720");
    for forwarded in [true, false] {
        lab.signal(BOB, ALICE, &wire::redirect(&CALL, forwarded, gatekeeper));
        assert_eq!(lab.pinholes(), ["198.51.100.7:2720"], "forwarded: {forwarded}");
    }
    // The call that was forwarded ends; the new one uses the address, and closes it.
    lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()));
    assert_eq!(lab.pinholes(), ["198.51.100.7:2720"]);
    let again = build::Call { reference: 80, ..CALL };
    lab.signal("192.0.2.1:30009", "198.51.100.7:2720", &build::setup(&again, &Parts::default()));
    lab.signal(
        "192.0.2.1:30009",
        "198.51.100.7:2720",
        &build::release_complete(&again, false, &Parts::default()),
    );
    assert!(lab.pinholes().is_empty());
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn a_released_call_opens_nothing() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()));
    assert!(lab.pinholes().is_empty());
    let late = media(BOB, 18_200);
    assert_eq!(separate(&mut lab, false, build::open_logical_channel_ack(3, 1, late)), [""; 0]);
    assert_eq!(separate(&mut lab, true, build::open_logical_channel(9, 2, late.rtcp)), [""; 0]);
    assert_eq!(
        tunnelled(&mut lab, true, build::open_logical_channel(9, 1, media(ALICE, 17_200).rtcp)),
        [""; 0]
    );
    let parts = Parts { h245_address: Some(at("198.51.100.7:41000")), ..Parts::default() };
    assert_eq!(lab.signal(BOB, ALICE, &build::connect(&CALL, &parts)), [""; 0]);
    assert_eq!(lab.core.calls().count(), 0);
    let counted = lab.core.refusals().find(|(refusal, _)| *refusal == Refusal::Released);
    assert_eq!(counted, Some((Refusal::Released, 4)));
    assert_eq!(lab.events("violation").len(), 4);
    // A Setup begins anew, with the same numbers if it likes.
    connected(&mut lab);
    assert_eq!(lab.core.calls().count(), 1);
}

#[test]
fn what_is_over_is_forgotten_in_time() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()));
    assert!(lab.tracker.released.has([at(ALICE), at(BOB)], CALL.reference, None));
    lab.wait(121);
    assert!(!lab.tracker.released.has([at(ALICE), at(BOB)], CALL.reference, None));
    assert!(!lab.tracker.released.has([at(ALICE), at(BOB)], 1, Some(Guid(CALL.id))));
}

#[test]
fn the_counts_are_those_of_the_calls_there_are() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    with_second(&mut lab);
    for _ in 0..3 {
        lab.signal(BOB, ALICE, &build::facility(&CALL, true, &Parts::default()));
    }
    assert!(lab.tracker.load.has_place((at(ALICE).ip(), at(BOB))));
    assert_eq!(lab.tracker.load.legs_of(Guid(CALL.id)).len(), 1);
    lab.closed(ALICE, BOB, true);
    assert!(!lab.tracker.load.has_place((at(ALICE).ip(), at(BOB))));
    assert!(lab.tracker.load.legs_of(Guid(CALL.id)).is_empty());
}

/// Another call on the same connection.
fn with_second(lab: &mut Lab) {
    let second = build::Call { reference: 78, id: [9; 16] };
    lab.signal(ALICE, BOB, &build::setup(&second, &Parts::default()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever was said, whole or damaged, in whichever order: once all calls are over nothing is left of them.
    #[test]
    fn tables_are_empty_once_all_is_over(
        steps in prop::collection::vec((0_usize..16, 1_u16..4, any::<bool>(), prop::option::weighted(0.3, (0_usize..200, any::<u8>()))), 1..60),
    ) {
        let mut lab = Lab::with(H323Policy { calls_max: Some(5), registration_max: Duration::from_secs(60), ..H323Policy::default() });
        let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
        for (which, reference, back, damage) in steps {
            let call = build::Call { reference, id: [reference as u8; 16] };
            let listens = Parts { h245_address: Some(at("198.51.100.7:41000")), ..Parts::default() };
            let registration = more::Registration {
                call_signal: at("198.51.100.7:2720"), ras: at(BOB), life: 60, keep_alive: back, alias: "2000",
                token: false, feature: None,
            };
            let (protocol, mut message) = match which {
                0 | 1 => (Inspect::H225, build::setup(&call, &fast(build::proposals(a)))),
                2 => (Inspect::H225, build::connect(&call, &fast(build::acceptance(b, a.rtp)))),
                3 => (Inspect::H225, build::connect(&call, &listens)),
                4 => (Inspect::H225, build::facility(&call, back, &tunnel([build::open_logical_channel(3, 1, a.rtcp)]))),
                5 => (Inspect::H225, build::forward(&call, at("198.51.100.7:2720"))),
                6 => (Inspect::H225, build::release_complete(&call, back, &Parts::default())),
                7 => (Inspect::H245, build::tpkt(&wire::open(5, Data::Fax, None, a.rtcp))),
                8 => (Inspect::H245, build::tpkt(&build::open_logical_channel_ack(5, 3, b))),
                9 => (Inspect::H245, build::tpkt(&build::end_session())),
                10 => (Inspect::Ras, build::tpkt(&ras::admission_request(4, call.id))),
                11 => (Inspect::Ras, build::tpkt(&ras::admission_confirm(4, at(BOB)))),
                12 => (Inspect::Ras, build::tpkt(&more::registration_request(5, &registration))),
                13 => (Inspect::Ras, build::tpkt(&more::registration_confirm(5, 60))),
                14 => (Inspect::Ras, build::tpkt(&more::unregistration_request(6, at("198.51.100.7:2720")))),
                _ => (Inspect::Ras, build::tpkt(&ras::disengage_request(7, call.id))),
            };
            if let Some((place, flip)) = damage {
                let place = 4 + place % (message.len() - 4);
                message[place] ^= flip;
            }
            let (from, to) = if back { (BOB, ALICE) } else { (ALICE, BOB) };
            let context = lab.context(from, to, protocol);
            let payload = &message[4..];
            let Lab { core, tracker, .. } = &mut lab;
            _ = match protocol {
                Inspect::H225 => tracker.call_signalling(core, &context, payload),
                Inspect::H245 => tracker.control(core, &context, payload),
                _ => tracker.ras(core, &context, payload),
            };
            if which == 1 && back {
                lab.closed(from, to, false);
            }
            lab.wait(u64::from(reference == 3));
        }
        let calls: Vec<Call> = lab.core.calls().cloned().collect();
        for call in calls {
            lab.core.end_call(call.id, EndReason::Operator);
            lab.tracker.ended(&mut lab.core, &call, EndReason::Operator);
        }
        lab.wait(121);
        let Tracker { legs, by_guid, by_reference, connections, controls, listeners, load, .. } = &lab.tracker;
        prop_assert!(legs.is_empty() && by_guid.is_empty() && by_reference.is_empty());
        prop_assert!(connections.is_empty() && controls.is_empty() && listeners.is_empty());
        prop_assert_eq!(load.count(|_| true), 0);
        prop_assert!(!load.has_place((at(ALICE).ip(), at(BOB))) && !load.has_place((at(BOB).ip(), at(ALICE))));
        prop_assert_eq!(lab.tracker.registrations().count(), 0);
        prop_assert_eq!(lab.core.calls().count(), 0);
        prop_assert_eq!(lab.core.pinholes().count(), 0);
    }
}
