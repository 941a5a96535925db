//! What the call policy says of H.323 calls and registrations.

use callgate_protocols::{h225 as decoder, q931 as outer, ras as requests};

use super::wire::{Setup, ras as more};
use super::*;
use crate::core::gate::lab::{finished, govern};

fn lab(head: &str, policy: H323Policy) -> Lab {
    let mut lab = Lab::with(policy);
    govern(&mut lab.core, head);
    lab
}

fn numbered(reference: u16) -> build::Call {
    build::Call { reference, id: [reference as u8; 16] }
}

fn setup(reference: u16, calling: &str, called: &str) -> Vec<u8> {
    Setup { calling, called, ..Setup::default() }.encode(&numbered(reference))
}

fn cause(words: &Option<Vec<u8>>) -> (MessageType, Option<u8>) {
    let frame = words.as_ref().expect("words");
    let message = outer::Message::parse(&frame[4..]).expect("Q.931");
    assert!(decoder::Message::parse(message.user_user.expect("User-User")).is_ok());
    (message.kind, message.cause)
}

fn rejected(denial: &crate::action::Denial) -> &'static str {
    requests::Message::parse(denial.reply.as_deref().expect("words")).expect("a RAS message").body.name()
}

#[test]
fn a_setup_needs_the_permission_of_its_number() {
    let mut lab = lab("", H323Policy::default());
    let denial = lab.refused(ALICE, BOB, &setup(1, "1100", "9011442071"));
    assert_eq!(cause(&denial.reply), (MessageType::ReleaseComplete, Some(21)));
    let told = finished(lab.core.actions());
    assert_eq!(told, ["1100 → 9011442071 [international] refused no-permission q850 21 by firewall"]);
    lab.told();
    lab.signal(ALICE, BOB, &setup(2, "1001", "9011442071"));
    lab.signal(ALICE, BOB, &setup(3, "1100", "2000"));
    // Staff have one call at a time.
    let denial = lab.refused(ALICE, BOB, &setup(4, "1100", "2001"));
    assert_eq!(cause(&denial.reply), (MessageType::ReleaseComplete, Some(42)));
    assert_eq!(lab.core.calls().count(), 2);
}

#[test]
fn a_setup_that_is_repeated_cannot_become_another() {
    let mut lab = lab("", H323Policy::default());
    lab.signal(ALICE, BOB, &setup(1, "1100", "2000"));
    lab.signal(ALICE, BOB, &setup(1, "1100", "2000"));
    let denial = lab.refused(ALICE, BOB, &setup(1, "1100", "9011442071"));
    assert_eq!(cause(&denial.reply), (MessageType::ReleaseComplete, Some(21)));
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn digits_that_follow_make_it_another_number() {
    let mut lab = lab("", H323Policy::default());
    lab.signal(ALICE, BOB, &setup(1, "1100", "1234"));
    let (_, _, information) = wire::asides(&numbered(1)).swap_remove(1);
    let denial = lab.refused(ALICE, BOB, &information);
    assert_eq!(cause(&denial.reply), (MessageType::ReleaseComplete, Some(21)));
    let told = finished(lab.core.actions());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("refused no-pattern q850 21 by firewall"), "{told:?}");
}

#[test]
fn emergency_calls_pass_all_that_refuses_others() {
    let mut policy = H323Policy { calls_max: Some(1), calls_per_source: Some(1), ..H323Policy::default() };
    policy.require_admission = true;
    policy.require_tokens = true;
    policy.routed_only = true;
    policy.call_max = Some(Duration::from_secs(60));
    policy.called.deny = vec![callgate_rules::inspect::Pattern::new("9*").expect("a pattern")];
    let mut lab = lab("limits = { calls = 1 }", policy);
    for reference in 1..4 {
        lab.signal(ALICE, BOB, &setup(reference, "1100", "911"));
        lab.signal(BOB, ALICE, &build::connect(&numbered(reference), &Parts::default()));
    }
    assert_eq!(lab.core.calls().count(), 3);
    lab.wait(61);
    assert_eq!(lab.core.calls().count(), 3);
    lab.refused(ALICE, BOB, &setup(9, "1100", "9110"));
    lab.ras(ALICE, GATEKEEPER, &more::admission_request(9, CALL.id, "911", "1100", false));
}

#[test]
fn an_admission_is_refused_where_the_call_would_be() {
    let mut lab = lab("limits = { calls_per_minute = 2 }", H323Policy::default());
    let ask = |called| more::admission_request(9, CALL.id, called, "1100", false);
    let denial = lab.refused_ras(ALICE, GATEKEEPER, &ask("9011442071"));
    assert_eq!(rejected(&denial), "admissionReject");
    assert_eq!(finished(lab.core.actions()).len(), 1);
    // What is permitted counts with its Setup.
    for _ in 0..4 {
        lab.ras(ALICE, GATEKEEPER, &ask("2000"));
    }
    lab.signal(ALICE, BOB, &setup(1, "1001", "2000"));
    lab.signal(ALICE, BOB, &setup(2, "1002", "2000"));
    lab.refused(ALICE, BOB, &setup(3, "1003", "2000"));
}

#[test]
fn aliases_that_are_not_known_do_not_register() {
    let mut lab = lab("", H323Policy::default());
    let denial = lab.refused_ras(ALICE, GATEKEEPER, &ras::registration_request(1, at(ALICE), at(ALICE), 60));
    assert_eq!(rejected(&denial), "registrationReject");
    assert_eq!(finished(lab.core.actions()), [""; 0]);
}

#[test]
fn a_release_tells_who_hung_up_and_why() {
    let mut lab = lab("", H323Policy::default());
    lab.signal(ALICE, BOB, &setup(1, "1100", "2000"));
    let call = numbered(1);
    let context = lab.context(BOB, ALICE, Inspect::H225);
    let release = build::release_complete(&call, true, &Parts::default());
    assert_eq!(lab.tracker.call_signalling(&mut lab.core, &context, &release[4..]), Verdict::Pass);
    let told = finished(lab.core.actions());
    assert!(told[0].starts_with("1100 → 2000 [internal] release-complete"), "{told:?}");
    assert!(told[0].ends_with("by callee"), "{told:?}");
}

#[test]
fn a_call_that_finds_no_room_is_told_so_and_an_emergency_call_finds_some() {
    let mut lab = lab("", H323Policy::default());
    lab.core.set_bounds(Bounds { calls: 1, ..Bounds::default() });
    lab.signal(ALICE, BOB, &setup(1, "1001", "2000"));
    let denial = lab.refused(ALICE, BOB, &setup(2, "1002", "2000"));
    assert_eq!(cause(&denial.reply), (MessageType::ReleaseComplete, Some(42)));
    lab.signal(ALICE, BOB, &setup(3, "1002", "911"));
    assert_eq!(lab.core.calls().count(), 2);
}
