//! What the call policy says of what phones dial.

use callgate_protocols::refuse;

use super::*;
use crate::action::Replacement;
use crate::core::gate::lab::{finished, govern};

/// A phone that is registered, and whose line has this number.
fn phone(number: &str) -> Lab {
    let mut lab = Lab::new(0);
    govern(&mut lab.core, "");
    lab.register(ALICE, "SEPA", 17);
    let mut line = vec![1, 0, 0, 0];
    line.extend_from_slice(number.as_bytes());
    line.resize(4 + 24 + 40, 0);
    assert_eq!(lab.manager_says(ALICE, &build::message(0, 0x0092, &line)), [""; 0]);
    lab
}

/// The receiver is lifted, and these keys are pressed: the place of the one that hangs up, if one does.
fn dial(lab: &mut Lab, keys: &str) -> Option<usize> {
    lab.send(MANAGER, ALICE, &build::call_state(17, 1, 77));
    for (place, key) in keys.chars().enumerate() {
        let key = match key {
            '*' => 14,
            '#' => 15,
            digit => digit.to_digit(10).expect("a digit"),
        };
        let frame = build::keypad(17, key, 77);
        match lab.verdict(ALICE, MANAGER, &frame) {
            Verdict::Pass => {}
            Verdict::Replace(replacement) => {
                let instead = refuse::sccp_on_hook_of(&frame).expect("an OnHook");
                let Replacement { patches, otherwise } = *replacement;
                assert_eq!((patches, *otherwise), (vec![(0, instead)], Verdict::Reset(Reason::AlgRefused)));
                return Some(place);
            }
            other => panic!("{other:?}"),
        }
    }
    None
}

#[test]
fn the_key_that_leaves_no_hope_hangs_up() {
    let mut lab = phone("1100");
    // 91800 is free, 9011 and 91900 are not, and 911 is nobody's to refuse.
    assert_eq!(dial(&mut lab, "9011442071"), Some(1));
    assert_eq!(lab.core.calls().count(), 0);
    assert_eq!(finished(&lab.core.take_actions()), ["1100 → 9 [] refused no-pattern q850 21 by firewall"]);
    assert_eq!(dial(&mut lab, "91900555"), Some(2));
    assert_eq!(dial(&mut lab, "918005550100"), None);
    lab.manager_says(ALICE, &build::call_state(17, 2, 77));
    assert_eq!(dial(&mut lab, "911"), None);
    assert_eq!(lab.core.calls().count(), 1);
}

#[test]
fn keys_behind_a_refusal_go_the_same_way() {
    let mut lab = phone("1100");
    assert_eq!(dial(&mut lab, "9011"), Some(1));
    let verdict = lab.verdict(ALICE, MANAGER, &build::keypad(17, 4, 77));
    assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
    // A call manager that goes on with it all the same loses the connection.
    let verdict = lab.verdict(MANAGER, ALICE, &build::call_state(17, 12, 77));
    assert_eq!(verdict, Verdict::Reset(Reason::AlgRefused));
}

#[test]
fn what_the_call_manager_tells_is_asked_for_at_last() {
    let mut lab = phone("1001");
    assert_eq!(dial(&mut lab, "9011442071"), None);
    lab.manager_says(ALICE, &build::dialed(17, "9011442071", 77));
    lab.manager_says(ALICE, &build::call_state(17, 12, 77));
    lab.manager_says(ALICE, &build::call_state(17, 5, 77));
    let call = lab.core.calls().next().expect("a call");
    let granted = call.granted.as_deref().expect("it was asked for");
    assert_eq!((granted.permission.as_str(), granted.device.as_str()), ("international", "SEPA"));
    assert_eq!(call.parties, ["1001", "9011442071"]);
    lab.manager_says(ALICE, &build::call_state(17, 2, 77));
    lab.core.take_actions();

    // A speed dial: nobody has seen its digits before.
    let mut lab = phone("1100");
    lab.manager_says(ALICE, &build::call_state(17, 1, 77));
    let verdict = lab.verdict(MANAGER, ALICE, &build::dialed(17, "9011442071", 77));
    assert_eq!((verdict, lab.core.calls().count()), (Verdict::Reset(Reason::AlgRefused), 0));
    let told = finished(&lab.core.take_actions());
    assert_eq!(told, ["1100 →  [international] refused no-permission q850 21 by firewall"]);
}

#[test]
fn a_number_that_is_dialled_at_once_is_asked_for_at_once() {
    let mut lab = phone("1100");
    let verdict = lab.verdict(ALICE, MANAGER, &build::enbloc(17, "9011442071"));
    assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
    lab.core.take_actions();
    lab.phone_says(ALICE, &build::enbloc(17, "918005550100"));
    lab.manager_says(ALICE, &build::call_state(17, 12, 78));
    let call = lab.core.calls().next().expect("a call");
    assert_eq!(call.granted.as_deref().map(|granted| granted.permission.as_str()), Some("toll-free"));
    // That was the one call staff may have at a time; an emergency call is none of them.
    let verdict = lab.verdict(ALICE, MANAGER, &build::enbloc(17, "1101"));
    assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
    lab.phone_says(ALICE, &build::enbloc(17, "911"));
}

#[test]
fn a_call_that_a_limit_has_ended_gets_no_media_again() {
    let mut lab = phone("1001");
    assert_eq!(dial(&mut lab, "91900555"), None);
    lab.manager_says(ALICE, &build::dialed(17, "91900555", 77));
    lab.manager_says(ALICE, &build::call_state(17, 5, 77));
    lab.now = lab.now + Duration::from_secs(601);
    lab.core.tick(lab.now);
    let ended = lab.core.take_actions().into_iter().find_map(|action| match action {
        Action::Ended(call, reason) => Some((call, reason)),
        _ => None,
    });
    let (call, reason) = ended.expect("it is over");
    assert_eq!(reason, EndReason::Limit);
    lab.tracker.ended(&call, reason);
    let channel = Channel { call: 77, ..CALL };
    let verdict = lab.verdict(MANAGER, ALICE, &build::open_receive(17, channel, 4, false));
    assert_eq!(verdict, Verdict::Reset(Reason::AlgRefused));
    // Its next sign of life reaches the call manager as an OnHook, once.
    let frame = build::keep_alive();
    let instead = refuse::sccp_on_hook_of(&frame).expect("an OnHook");
    assert_eq!(Message::parse(&instead).expect("a message").id, 0x0007);
    let said = lab.verdict(ALICE, MANAGER, &frame);
    let want = Replacement { patches: vec![(0, instead)], otherwise: Box::new(Verdict::Pass) };
    assert_eq!(said, Verdict::Replace(Box::new(want)));
    lab.phone_says(ALICE, &frame);
}

#[test]
fn a_phone_that_has_hung_up_or_talks_again_is_not_hung_up() {
    for state in [2, 1] {
        let mut lab = phone("1001");
        assert_eq!(dial(&mut lab, "91900555"), None);
        lab.manager_says(ALICE, &build::dialed(17, "91900555", 77));
        lab.manager_says(ALICE, &build::call_state(17, 5, 77));
        lab.now = lab.now + Duration::from_secs(601);
        lab.core.tick(lab.now);
        for action in lab.core.take_actions() {
            if let Action::Ended(call, reason) = action {
                lab.tracker.ended(&call, reason);
            }
        }
        // On hook for the call manager; or off hook in another call.
        lab.send(MANAGER, ALICE, &build::call_state(17, state, if state == 2 { 77 } else { 78 }));
        assert_eq!(lab.verdict(ALICE, MANAGER, &build::keep_alive()), Verdict::Pass, "{state}");
    }
}

#[test]
fn devices_that_are_not_known_do_not_register() {
    let mut lab = Lab::new(0);
    govern(&mut lab.core, "");
    let reject = |verdict: Verdict| match verdict {
        Verdict::Refuse(denial) => denial.reply.expect("an answer"),
        other => panic!("{other:?}"),
    };
    let told = reject(lab.verdict(ALICE, MANAGER, &build::register("ATA0011", at(ALICE).ip(), 17)));
    assert_eq!(Message::parse(&told).expect("a message").body, Body::RegisterReject(b"Device not known"));
    let told = reject(lab.verdict(ALICE, MANAGER, &build::token_request("ATA0011")));
    assert_eq!(Message::parse(&told).expect("a message").body, Body::TokenReject);
    lab.told();
    assert!(!lab.register(ALICE, "SEPA", 17).is_empty());
}

#[test]
fn a_receiver_that_is_put_down_again_is_no_call() {
    let mut lab = phone("1100");
    assert_eq!(dial(&mut lab, ""), None);
    lab.send(MANAGER, ALICE, &build::call_state(17, 2, 77));
    assert_eq!(finished(&lab.core.take_actions()), [""; 0]);
}

#[test]
fn a_phone_that_finds_no_room_hangs_up_with_its_first_key() {
    let mut lab = Lab::new(0);
    lab.register(ALICE, "SEPA", 17);
    lab.core.set_bounds(Bounds { calls: 1, ..Bounds::default() });
    assert_eq!(dial(&mut lab, "2000"), None);
    // It has this call; another one finds no room.
    lab.send(MANAGER, ALICE, &build::call_state(17, 1, 78));
    let frame = build::keypad(17, 2, 78);
    let verdict = lab.verdict(ALICE, MANAGER, &frame);
    assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
    assert_eq!(lab.core.calls().count(), 1);
    lab.manager_says(ALICE, &build::call_state(17, 2, 77));
    assert_eq!(dial(&mut lab, "2000"), None);
}
