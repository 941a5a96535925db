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

/// CapabilitiesRes, of a phone that has one codec.
fn capabilities() -> Vec<u8> {
    build::message(17, 0x0010, &[1_u32, 4, 20, 0, 0].map(u32::to_le_bytes).concat())
}

impl Lab {
    /// Whether the phone reads a question in place of what the call manager says.
    fn asks(&mut self, frame: &[u8]) -> bool {
        let instead = refuse::sccp_capabilities_of(frame).expect("a message");
        let otherwise = Box::new(Verdict::Reset(Reason::AlgRefused));
        let replacement = Replacement { patches: vec![(0, instead)], otherwise };
        self.verdict(MANAGER, ALICE, frame) == Verdict::Replace(Box::new(replacement))
    }

    /// The call manager reads this in place of what the phone says.
    fn answers_to(&mut self, frame: &[u8], instead: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        let patches = vec![(0, instead(frame).expect("a message"))];
        let replacement = Replacement { patches, otherwise: Box::new(Verdict::Pass) };
        assert_eq!(self.verdict(ALICE, MANAGER, frame), Verdict::Replace(Box::new(replacement)));
    }

    /// The call manager reads this in place of the phone's answer.
    fn answers_with(&mut self, instead: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        self.answers_to(&capabilities(), instead);
    }
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
    // A call manager that goes on with it is told again, and after a moment loses the connection.
    let proceeding = build::call_state(17, 12, 77);
    assert!(lab.asks(&proceeding));
    assert_eq!(lab.verdict(MANAGER, ALICE, &proceeding), Verdict::Pass);
    lab.now = lab.now + Duration::from_secs(4);
    assert_eq!(lab.verdict(MANAGER, ALICE, &proceeding), Verdict::Reset(Reason::AlgRefused));
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
    assert!(lab.asks(&build::dialed(17, "9011442071", 77)));
    assert_eq!(lab.core.calls().count(), 0);
    let told = finished(&lab.core.take_actions());
    assert_eq!(told, ["1100 →  [international] refused no-permission q850 21 by firewall"]);
}

/// The call alone is refused: the phone's answer to a question becomes the OnHook of that call.
#[test]
fn a_speed_dial_that_is_refused_leaves_the_connection_alone() {
    let mut lab = phone("1100");
    lab.manager_says(ALICE, &build::call_state(17, 4, 70));
    lab.manager_says(ALICE, &build::call_state(17, 5, 70));
    lab.manager_says(ALICE, &build::call_state(17, 1, 77));
    assert!(lab.asks(&build::dialed(17, "9011442071", 77)));
    // What was on its way tells nothing new, and opens nothing.
    lab.manager_says(ALICE, &build::call_state(17, 12, 77));
    lab.manager_says(ALICE, &build::call_info(17, 77, "1100", "9011442071"));
    lab.manager_says(ALICE, &build::call_state(17, 3, 77));
    assert!(lab.asks(&build::open_receive(17, CALL, 4, false)));
    assert_eq!((lab.pinholes(), lab.core.calls().count()), (vec![], 1));
    // One answer for each question; the call manager has asked nothing.
    for _ in 0..2 {
        lab.answers_with(|frame| refuse::sccp_on_hook_for(frame, 1, 77));
    }
    lab.phone_says(ALICE, &capabilities());
    assert_eq!(lab.manager_says(ALICE, &build::call_state(17, 2, 77)), [""; 0]);
    // The number is free again.
    assert_eq!(dial(&mut lab, "918005550100"), None);
}

#[test]
fn a_phone_that_answers_nothing_hangs_up_with_its_next_sign_of_life() {
    let mut lab = phone("1100");
    lab.manager_says(ALICE, &build::call_state(17, 1, 77));
    assert!(lab.asks(&build::dialed(17, "9011442071", 77)));
    lab.phone_says(ALICE, &build::keep_alive());
    lab.now = lab.now + Duration::from_secs(4);
    lab.answers_to(&build::keep_alive(), refuse::sccp_on_hook_of);
    lab.phone_says(ALICE, &build::keep_alive());
}

#[test]
fn a_call_that_comes_is_asked_for_when_it_is_known_from_whom() {
    for (caller, called, through) in [
        ("1101", "1300", true),
        ("912125550100", "1300", false),
        ("", "1300", false),
        ("912125550100", "1001", true),
    ] {
        let mut lab = phone(called);
        lab.manager_says(ALICE, &build::call_state(17, 4, 77));
        let info = build::call_info(17, 77, caller, called);
        let ring = build::message(17, 0x0085, &[2_u32, 1, 1, 77].map(u32::to_le_bytes).concat());
        if through {
            lab.manager_says(ALICE, &info);
            lab.manager_says(ALICE, &ring);
            lab.receive(17, "192.0.2.1:20000");
            lab.manager_says(ALICE, &build::call_state(17, 5, 77));
            assert!(!lab.pinholes().is_empty(), "{caller} calls {called}");
            continue;
        }
        assert!(lab.asks(&info), "{caller} calls {called}");
        let told = finished(&lab.core.take_actions());
        assert_eq!(told, [format!("{caller} → {called} [] refused incoming q850 21 by firewall")]);
        // It does not ring, is not answered, and nothing opens for it.
        let off = refuse::sccp_ring_off_of(&ring).expect("long enough");
        let hushed = Replacement { patches: vec![(0, off)], otherwise: Box::new(Verdict::Pass) };
        assert_eq!(lab.verdict(MANAGER, ALICE, &ring), Verdict::Replace(Box::new(hushed)));
        lab.manager_says(ALICE, &build::call_state(17, 1, 77));
        lab.manager_says(ALICE, &build::call_state(17, 5, 77));
        assert!(lab.asks(&build::open_receive(17, CALL, 4, false)));
        assert!(lab.asks(&build::open_receive(17, Channel { call: 0, ..CALL }, 4, false)));
        assert_eq!((lab.pinholes(), lab.core.calls().count()), (vec![], 0));
        for _ in 0..3 {
            lab.answers_with(|frame| refuse::sccp_end_call_for(frame, 1, 77));
        }
        // The next one rings again, be its number the same.
        lab.manager_says(ALICE, &build::call_state(17, 2, 77));
        lab.manager_says(ALICE, &build::call_state(17, 4, 77));
        lab.manager_says(ALICE, &build::call_info(17, 77, "1101", called));
        lab.manager_says(ALICE, &ring);
    }
}

#[test]
fn a_call_that_comes_from_nobody_known_is_asked_for_when_it_is_answered() {
    let mut lab = phone("1300");
    lab.manager_says(ALICE, &build::call_state(17, 4, 77));
    assert!(lab.asks(&build::call_state(17, 5, 77)));
    assert_eq!(finished(&lab.core.take_actions()), [" → 1300 [] refused incoming q850 21 by firewall"]);
}

/// Who brings a call is not who has made it: that one's own limits are asked for where it dials.
#[test]
fn a_call_that_comes_does_not_count_for_its_caller() {
    let mut lab = phone("1300");
    lab.register(BOB, "SEPB", 17);
    for (phone, call) in [(ALICE, 77), (BOB, 78)] {
        lab.manager_says(phone, &build::call_state(17, 4, call));
        lab.manager_says(phone, &build::call_info(17, call, "1101", "1300"));
        lab.manager_says(phone, &build::call_state(17, 5, call));
    }
    let granted = |call: &Call| call.granted.as_deref().is_some_and(|granted| granted.comes);
    assert!(lab.core.calls().count() == 2 && lab.core.calls().all(granted));
}

#[test]
fn a_connection_that_was_met_in_the_middle_ends_with_what_cannot_be_replaced() {
    let mut lab = phone("1300");
    lab.manager_says(ALICE, &build::call_state(17, 4, 77));
    let verdict = lab.verdict(MANAGER, ALICE, &build::call_info(17, 77, "912125550100", "1300"));
    let Verdict::Replace(replacement) = verdict else { panic!("{verdict:?}") };
    assert_eq!(*replacement.otherwise, Verdict::Reset(Reason::AlgRefused));
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
    let open = build::open_receive(17, CALL, 4, false);
    assert!(lab.asks(&open));
    lab.answers_with(|frame| refuse::sccp_on_hook_for(frame, 1, 77));
    lab.now = lab.now + Duration::from_secs(4);
    assert_eq!(lab.verdict(MANAGER, ALICE, &open), Verdict::Reset(Reason::AlgRefused));
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
