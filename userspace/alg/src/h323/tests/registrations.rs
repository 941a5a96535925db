//! RAS: who is registered, for how long, and what that opens.

use callgate_protocols::h225::Guid;
use callgate_protocols::{ras as decoder, refuse};
use callgate_rules::H323Policy;

use super::wire::ras::{self as wire, Registration};
use super::*;

/// Bob's RAS and call signalling addresses.
const RAS: &str = "198.51.100.7:1719";
const SIGNAL: &str = "198.51.100.7:2720";

fn offer(life: u32) -> Registration<'static> {
    Registration {
        call_signal: at(SIGNAL),
        ras: at(RAS),
        life,
        keep_alive: false,
        alias: "2000",
        token: false,
        feature: None,
    }
}

fn register(lab: &mut Lab, sequence: u16, life: u32) -> Vec<String> {
    assert_eq!(lab.ras(RAS, GATEKEEPER, &wire::registration_request(sequence, &offer(life))), [""; 0]);
    lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(sequence, life))
}

fn refresh(lab: &mut Lab, sequence: u16, life: u32) -> Vec<String> {
    let light = Registration { keep_alive: true, ..offer(life) };
    assert_eq!(lab.ras(RAS, GATEKEEPER, &wire::registration_request(sequence, &light)), [""; 0]);
    lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(sequence, life))
}

fn only(lab: &Lab) -> crate::h323::Registration {
    let mut all = lab.tracker.registrations();
    let one = all.next().expect("a registration").clone();
    assert_eq!(all.next(), None);
    one
}

/// What rejects this request.
fn reject(request: &[u8]) -> Vec<u8> {
    let request = decoder::Message::parse(request).expect("a request");
    refuse::ras_reject(&request, refuse::Why::Forbidden).expect("a reject")
}

const OPENED: [&str; 1] = ["open h225 198.51.100.7:2720 from 203.0.113.5"];

#[test]
fn a_registered_endpoint_is_called_by_its_gatekeeper_alone() {
    let mut lab = Lab::new(0);
    assert_eq!(register(&mut lab, 1, 60), OPENED);
    let one = only(&lab);
    assert_eq!((one.endpoint, one.gatekeeper), (at(RAS), at(GATEKEEPER)));
    assert_eq!((one.identifier.as_str(), one.aliases), ("E", vec!["2000".to_owned()]));
    assert_eq!((one.call_signal, one.life), (vec![at(SIGNAL)], Duration::from_secs(60)));
    assert_eq!(lab.events("registered"), ["2000 with 203.0.113.5 for 60 s"]);
}

#[test]
fn a_confirmation_of_somebody_else_registers_nobody() {
    let mut lab = Lab::new(0);
    lab.ras(RAS, GATEKEEPER, &wire::registration_request(1, &offer(60)));
    assert_eq!(lab.ras("203.0.113.6:1719", RAS, &wire::registration_confirm(1, 60)), [""; 0]);
    assert_eq!(lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(2, 60)), [""; 0]);
    assert_eq!(lab.tracker.registrations().count(), 0);
}

#[test]
fn a_registration_ends_with_its_time_and_not_before() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    assert_eq!(lab.wait(59), [""; 0]);
    assert_eq!(lab.wait(1), ["close 198.51.100.7:2720 expired", "end expired"]);
    assert_eq!(lab.tracker.registrations().count(), 0);
    assert_eq!(lab.events("unregistered-abnormally"), ["2000 not refreshed in time"]);
}

#[test]
fn a_light_refresh_prolongs_it() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    lab.wait(50);
    // The kernel half is told anew: it would close what is silent for so long.
    assert_eq!(refresh(&mut lab, 2, 60), ["update h225 198.51.100.7:2720 from 203.0.113.5"]);
    assert_eq!(only(&lab).aliases, ["2000"]);
    assert_eq!(lab.wait(59), [""; 0]);
    assert_eq!(lab.wait(2), ["close 198.51.100.7:2720 expired", "end expired"]);
    assert_eq!(lab.events("registered").len(), 1, "once");
}

#[test]
fn a_light_refresh_of_one_that_was_not_seen_registers_it() {
    let mut lab = Lab::new(0);
    assert_eq!(refresh(&mut lab, 1, 60), OPENED);
    assert_eq!(only(&lab).call_signal, [at(SIGNAL)]);
}

#[test]
fn a_life_is_kept_within_bounds() {
    for (told, believed) in [(0, 300), (5, 30), (100, 100), (4_000_000_000, 86_400)] {
        let mut lab = Lab::new(0);
        register(&mut lab, 1, told);
        assert_eq!(only(&lab).life, Duration::from_secs(believed), "{told}");
    }
    let mut lab = Lab::with(H323Policy { registration_max: Duration::from_secs(2), ..H323Policy::default() });
    register(&mut lab, 1, 100);
    assert_eq!(only(&lab).life, Duration::from_secs(2));
    assert_eq!(lab.wait(2), ["close 198.51.100.7:2720 expired", "end expired"]);
}

#[test]
fn either_may_end_it() {
    for (from, to) in [(RAS, GATEKEEPER), (GATEKEEPER, RAS)] {
        let mut lab = Lab::new(0);
        register(&mut lab, 1, 60);
        assert_eq!(
            lab.ras(from, to, &wire::unregistration_request(7, at(SIGNAL))),
            ["close 198.51.100.7:2720 unregistered", "end unregistered"]
        );
        assert_eq!(lab.ras(to, from, &wire::unregistration_confirm(7)), [""; 0]);
        assert_eq!(lab.tracker.registrations().count(), 0);
        assert_eq!(lab.events("unregistered"), ["2000"]);
    }
}

#[test]
fn nobody_else_may_end_it() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    for (from, to) in
        [("192.0.2.66:1719", GATEKEEPER), (RAS, "203.0.113.66:1719"), ("203.0.113.66:1719", RAS)]
    {
        assert_eq!(lab.ras(from, to, &wire::unregistration_request(7, at(SIGNAL))), [""; 0]);
    }
    assert_eq!(lab.tracker.registrations().count(), 1);
}

#[test]
fn a_rejected_unregistration_changes_nothing_in_the_end() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let request = wire::unregistration_request(7, at(SIGNAL));
    lab.ras(RAS, GATEKEEPER, &request);
    assert_eq!(lab.tracker.registrations().count(), 0);
    assert_eq!(lab.ras(GATEKEEPER, RAS, &reject(&request)), OPENED);
    assert_eq!(only(&lab).until.since(lab.now).as_secs(), 59);
}

#[test]
fn a_refused_refresh_ends_it() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let request = wire::registration_request(2, &Registration { keep_alive: true, ..offer(60) });
    lab.ras(RAS, GATEKEEPER, &request);
    assert_eq!(
        lab.ras(GATEKEEPER, RAS, &reject(&request)),
        ["close 198.51.100.7:2720 unregistered", "end unregistered"]
    );
    assert_eq!(lab.events("rejected").len(), 1);
    assert_eq!(lab.tracker.registrations().count(), 0);
}

#[test]
fn a_registration_elsewhere_takes_the_place_of_the_old_one() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let moved = Registration { call_signal: at("198.51.100.7:2721"), ..offer(60) };
    lab.ras(RAS, GATEKEEPER, &wire::registration_request(2, &moved));
    assert_eq!(
        lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(2, 60)),
        ["close 198.51.100.7:2720 moved", "end moved", "open h225 198.51.100.7:2721 from 203.0.113.5"]
    );
    assert_eq!(only(&lab).call_signal, moved_signal());
}

fn moved_signal() -> [SocketAddr; 1] {
    [at("198.51.100.7:2721")]
}

#[test]
fn an_answer_that_takes_longer_is_waited_for() {
    let mut lab = Lab::new(0);
    lab.ras(RAS, GATEKEEPER, &wire::registration_request(1, &offer(60)));
    lab.wait(20);
    assert_eq!(lab.ras(GATEKEEPER, RAS, &wire::request_in_progress(1, 20_000)), [""; 0]);
    lab.wait(40);
    assert_eq!(lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(1, 60)), OPENED);

    let mut late = Lab::new(0);
    late.ras(RAS, GATEKEEPER, &wire::registration_request(1, &offer(60)));
    late.wait(31);
    assert_eq!(late.ras(GATEKEEPER, RAS, &wire::registration_confirm(1, 60)), [""; 0]);
}

#[test]
fn a_registration_outlives_a_restart() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let before = only(&lab);
    lab.restart();
    assert_eq!(only(&lab), before);
    assert_eq!(lab.pinholes(), [SIGNAL]);
    assert_eq!(lab.wait(61), ["close 198.51.100.7:2720 expired", "end expired"]);
}

#[test]
fn traversal_is_told() {
    let mut lab = Lab::new(0);
    let with = Registration { feature: Some(18), ..offer(60) };
    lab.ras(RAS, GATEKEEPER, &wire::registration_request(1, &with));
    lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(1, 60));
    assert!(only(&lab).traversal);
    assert_eq!(lab.events("traversal"), ["2000 H.460.18"]);
}

#[test]
fn two_endpoints_of_one_host_are_told_apart() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let second = "198.51.100.7:3719";
    let other = Registration { call_signal: at("198.51.100.7:3720"), ras: at(second), ..offer(60) };
    // The same number: each has its own answer.
    lab.ras(second, GATEKEEPER, &wire::registration_request(1, &other));
    lab.ras(GATEKEEPER, second, &wire::registration_confirm(1, 60));
    assert_eq!(lab.pinholes(), [SIGNAL, "198.51.100.7:3720"]);
    lab.ras(second, GATEKEEPER, &wire::unregistration_request(2, at("198.51.100.7:3720")));
    assert_eq!(lab.pinholes(), [SIGNAL]);
    // The gatekeeper may still tell the host's address.
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at("198.51.100.7:4720"))),
        ["open h225 198.51.100.7:4720 from 192.0.2.1"]
    );
}

#[test]
fn requests_and_registrations_are_bounded() {
    let mut lab = Lab::new(0);
    for sequence in 1..=1_000 {
        lab.ras(RAS, GATEKEEPER, &wire::registration_request(sequence, &offer(60)));
    }
    // The oldest have gone.
    assert_eq!(lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(1, 60)), [""; 0]);
    assert_eq!(lab.ras(GATEKEEPER, RAS, &wire::registration_confirm(1_000, 60)), OPENED);
    for port in 1..=5_000 {
        let from = format!("198.51.100.7:{}", 20_000 + port);
        let own = Registration { call_signal: at(&from), ras: at(&from), ..offer(60) };
        lab.ras(&from, GATEKEEPER, &wire::registration_request(1, &own));
        lab.ras(GATEKEEPER, &from, &wire::registration_confirm(1, 60));
    }
    assert_eq!(lab.tracker.registrations().count(), 4_096);
    assert_eq!(lab.core.calls().count(), 4_096);
}

#[test]
fn an_admission_ends_with_the_call_that_was_made_by_it() {
    let mut lab = Lab::new(0);
    let callee = "203.0.113.5:2720";
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at(callee)));
    let call = lab.tracker.admissions.has(at(ALICE).ip(), at(callee), Guid(CALL.id));
    assert!(call);
    lab.signal(ALICE, callee, &build::setup(&CALL, &Parts::default()));
    assert_eq!(
        lab.signal(callee, ALICE, &build::release_complete(&CALL, true, &Parts::default())),
        ["end release-complete", "close 203.0.113.5:2720 release-complete", "end release-complete"]
    );
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn an_address_that_several_calls_were_admitted_to_stays_until_the_last_is_over() {
    let mut lab = Lab::new(0);
    let gatekeeper = "203.0.113.5:2720";
    let second = build::Call { reference: 78, id: [9; 16] };
    for (sequence, call) in [(4, CALL), (5, second)] {
        lab.ras(ALICE, GATEKEEPER, &ras::admission_request(sequence, call.id));
        lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(sequence, at(gatekeeper)));
    }
    lab.signal(ALICE, gatekeeper, &build::setup(&CALL, &Parts::default()));
    lab.signal(ALICE, gatekeeper, &build::release_complete(&CALL, false, &Parts::default()));
    assert_eq!(lab.pinholes(), [gatekeeper]);
    assert_eq!(lab.ras(ALICE, GATEKEEPER, &ras::disengage_request(6, second.id)).len(), 2);
    assert!(lab.pinholes().is_empty());
}

#[test]
fn a_located_address_closes_with_the_call_through_it() {
    let mut lab = Lab::new(0);
    let (peer, there) = ("203.0.113.6:1719", "203.0.113.6:2720");
    lab.ras(GATEKEEPER, peer, &ras::location_request(1, at(GATEKEEPER)));
    lab.ras(peer, GATEKEEPER, &ras::location_confirm(1, at(there), at(peer)));
    lab.signal(OUT, there, &build::setup(&CALL, &Parts::default()));
    lab.signal(OUT, there, &build::release_complete(&CALL, false, &Parts::default()));
    assert!(lab.pinholes().is_empty());
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn a_discovered_gatekeeper_is_left_with_the_registration() {
    let mut lab = Lab::new(0);
    let other = "203.0.113.5:2719";
    lab.ras(RAS, "224.0.1.41:1718", &ras::gatekeeper_request(1, at(RAS)));
    lab.ras(GATEKEEPER, RAS, &ras::gatekeeper_confirm(1, at(other)));
    lab.ras(RAS, other, &wire::registration_request(2, &offer(60)));
    lab.ras(other, RAS, &wire::registration_confirm(2, 60));
    assert_eq!(lab.pinholes(), [SIGNAL, other]);
    lab.ras(RAS, other, &wire::unregistration_request(3, at(SIGNAL)));
    assert!(lab.pinholes().is_empty());
}

#[test]
fn a_disengagement_ends_the_call_of_that_endpoint_and_no_other_leg() {
    let mut lab = Lab::new(0);
    register(&mut lab, 1, 60);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    let (offer, answer) = (fast(build::proposals(a)), fast(build::acceptance(b, a.rtp)));
    let second = build::Call { reference: 900, ..CALL };
    lab.signal(ALICE, IN, &build::setup(&CALL, &offer));
    lab.signal(OUT, BOB, &build::setup(&second, &offer));
    lab.signal(BOB, OUT, &build::connect(&second, &answer));
    lab.signal(IN, ALICE, &build::connect(&CALL, &answer));
    // Bob's gatekeeper tells Bob to clear the call.
    let told = lab.ras(GATEKEEPER, RAS, &ras::disengage_request(6, CALL.id));
    assert!(told.contains(&"end release-complete".to_owned()), "{told:?}");
    let left: Vec<_> = lab.core.calls().filter(|call| call.protocol == Inspect::H225).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].signalling[0], at(ALICE));
}

#[test]
fn what_an_endpoint_reports_keeps_its_call_alive() {
    let mut lab = Lab::new(0);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(build::proposals(a))));
    lab.signal(BOB, ALICE, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp))));
    lab.wait(100);
    let context = lab.context("192.0.2.1:1719", GATEKEEPER, Inspect::Ras);
    lab.tracker.goes_on(&mut lab.core, &context, Guid(CALL.id));
    assert_eq!(lab.wait(119), [""; 0]);
    let stranger = lab.context("192.0.2.66:1719", GATEKEEPER, Inspect::Ras);
    lab.tracker.goes_on(&mut lab.core, &stranger, Guid(CALL.id));
    assert_eq!(lab.wait(2).last().map(String::as_str), Some("end inactivity"));
}
