//! `[inspect.h323]`: a call that a policy forbids and one that it permits, for each.

use std::sync::Arc;

use callgate_protocols::{h225 as decoder, q931 as outer, ras as requests};
use callgate_rules::inspect::Pattern;
use callgate_rules::inspect::h323::{MediaType, Rate};
use callgate_rules::ruleset::Period;
use callgate_rules::{Addresses, UnknownMessage};

use super::wire::{self, Data, Setup, ras as more};
use super::*;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).expect("a pattern")).collect()
}

/// The gatekeeper alone.
fn gatekeepers() -> Addresses {
    Addresses::In(["203.0.113.5/32".parse().expect("a prefix")].into_iter().collect())
}

fn numbered(reference: u16) -> build::Call {
    build::Call { reference, id: [reference as u8; 16] }
}

fn setup(reference: u16) -> Vec<u8> {
    build::setup(&numbered(reference), &Parts::default())
}

/// What a ReleaseComplete says: call reference, whether it is sent to the caller, cause, identifier.
fn release(words: &Option<Vec<u8>>) -> (u16, bool, Option<u8>, Option<Guid>) {
    let frame = words.as_ref().expect("words");
    let message = outer::Message::parse(&frame[4..]).expect("Q.931");
    assert_eq!(message.kind, MessageType::ReleaseComplete);
    let inner = decoder::Message::parse(message.user_user.expect("User-User")).expect("H.225.0");
    (message.call_reference, message.to_origin, message.cause, inner.call)
}

/// A RAS reject's name and number.
fn rejected(words: &Option<Vec<u8>>) -> (&'static str, u16) {
    let message = requests::Message::parse(words.as_ref().expect("words")).expect("a RAS message");
    (message.body.name(), message.sequence)
}

#[test]
fn a_refused_setup_is_answered_and_leaves_nothing() {
    let mut policy = H323Policy::default();
    policy.called.deny = patterns(&["2*"]);
    let mut lab = Lab::with(policy);
    let offer = fast(build::proposals(media(ALICE, 17_000)));
    let denial = lab.refused(ALICE, BOB, &build::setup(&CALL, &offer));
    assert_eq!(denial.reason, Reason::AlgRefused);
    assert_eq!(release(&denial.reply), (77, true, Some(21), Some(Guid(CALL.id))));
    // Its receiver has not heard of the call.
    assert_eq!(denial.notify, None);
    assert_eq!((lab.told(), lab.core.calls().count()), (vec![], 0));
    assert_eq!(lab.events("refused"), ["1000 → 2000 this party may not be called"]);
    assert!(lab.events("call-started").is_empty());
}

#[test]
fn calling_and_called_parties_are_filtered() {
    let mut policy = H323Policy::default();
    policy.calling.allow = patterns(&["10*"]);
    policy.called.allow = patterns(&["2*", "0049*"]);
    policy.called.deny = patterns(&["2999"]);
    let mut lab = Lab::with(policy);
    let call = |calling, called, name| Setup { calling, called, name, ..Setup::default() };
    lab.signal(ALICE, BOB, &call("1000", "2000", "Ada").encode(&numbered(1)));
    lab.signal(ALICE, BOB, &call("1000", "004930", "").encode(&numbered(2)));
    for (reference, setup) in
        [(3, call("1000", "2999", "")), (4, call("3000", "2000", "")), (5, call("1000", "900", ""))]
    {
        lab.refused(ALICE, BOB, &setup.encode(&numbered(reference)));
    }
    assert_eq!(lab.core.calls().count(), 2);
    // What was set up cannot be turned into another call afterwards.
    let denial = lab.refused(ALICE, BOB, &call("1000", "900", "").encode(&numbered(1)));
    assert_eq!(release(&denial.notify).0, 1);
    assert_eq!(lab.core.calls().count(), 1);
    // Nor digit by digit.
    let (_, _, information) = wire::asides(&numbered(2)).swap_remove(1);
    lab.refused(ALICE, BOB, &information);
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn admissions_are_filtered_too() {
    let mut policy = H323Policy::default();
    policy.called.deny = patterns(&["2000"]);
    let mut lab = Lab::with(policy);
    let denial =
        lab.refused_ras(ALICE, GATEKEEPER, &more::admission_request(9, CALL.id, "2000", "1000", false));
    assert_eq!(rejected(&denial.reply), ("admissionReject", 9));
    assert_eq!(denial.notify, None);
    let denial = lab.refused_ras(ALICE, GATEKEEPER, &more::location_request(10, "2000", at(ALICE)));
    assert_eq!(rejected(&denial.reply), ("locationReject", 10));
    lab.ras(ALICE, GATEKEEPER, &more::admission_request(11, CALL.id, "2001", "1000", false));
}

#[test]
fn ras_is_with_the_gatekeepers_that_are_named() {
    let mut lab = Lab::with(H323Policy { gatekeepers: gatekeepers(), ..H323Policy::default() });
    let other = "203.0.113.6:1719";
    for (message, reject) in [
        (ras::gatekeeper_request(1, at(ALICE)), "gatekeeperReject"),
        (ras::registration_request(1, at(ALICE), at(ALICE), 60), "registrationReject"),
        (ras::admission_request(1, CALL.id), "admissionReject"),
        (ras::location_request(1, at(ALICE)), "locationReject"),
        (ras::unregistration_request(1, at(ALICE)), "unregistrationReject"),
        (ras::disengage_request(1, CALL.id), "disengageReject"),
    ] {
        let denial = lab.refused_ras(ALICE, other, &message);
        assert_eq!(rejected(&denial.reply), (reject, 1));
    }
    // Nobody else answers a request that was sent to all.
    lab.ras(ALICE, "224.0.1.41:1718", &ras::gatekeeper_request(2, at(ALICE)));
    let denial = lab.refused_ras(other, ALICE, &ras::gatekeeper_confirm(2, at("203.0.113.6:2719")));
    assert_eq!((denial.reply, denial.notify), (None, None));
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &ras::gatekeeper_confirm(2, at("203.0.113.5:2719"))),
        ["open ras 203.0.113.5:2719 from 192.0.2.1"]
    );
}

#[test]
fn calls_go_through_a_gatekeeper_where_they_must() {
    let routed = H323Policy { gatekeepers: gatekeepers(), routed_only: true, ..H323Policy::default() };
    let mut lab = Lab::with(routed);
    lab.refused(ALICE, BOB, &setup(1));
    lab.signal(ALICE, IN, &setup(2));
    lab.signal(OUT, BOB, &setup(2));
    assert_eq!(lab.events("refused"), ["1000 → 2000 not through a gatekeeper"]);
    // A gatekeeper that sends endpoints to one another is not believed: who has asked reads a reject.
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    let denial = lab.refused_ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at(BOB)));
    assert_eq!(denial.reply, None);
    assert_eq!(rejected(&denial.notify), ("admissionReject", 4));
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(5, CALL.id));
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &more::admission_confirm(5, true, at(IN))),
        ["open h225 203.0.113.5:1720 from 192.0.2.1"]
    );
}

#[test]
fn calls_are_admitted_first_where_they_must() {
    let mut lab = Lab::with(H323Policy { require_admission: true, ..H323Policy::default() });
    lab.refused(ALICE, BOB, &build::setup(&CALL, &Parts::default()));
    // Bob is registered with his gatekeeper, who may send Alice to him.
    lab.ras(
        "198.51.100.7:1719",
        GATEKEEPER,
        &ras::registration_request(1, at(BOB), at("198.51.100.7:1719"), 60),
    );
    lab.ras(GATEKEEPER, "198.51.100.7:1719", &ras::registration_confirm(1, 60));
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at(BOB)));
    // Not another call, not somebody else, not elsewhere.
    lab.refused(ALICE, BOB, &setup(1));
    lab.refused("192.0.2.66:30000", BOB, &build::setup(&CALL, &Parts::default()));
    lab.refused(ALICE, "198.51.100.7:1721", &build::setup(&CALL, &Parts::default()));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &Parts::default()));
    // His own gatekeeper calls him as it likes.
    lab.signal(OUT, BOB, &setup(2));
    assert_eq!(lab.events("refused").len(), 4);
}

#[test]
fn tunnelling_is_told_or_refused() {
    let mut lab = Lab::with(H323Policy { tunnelling: Tunnelling::Log, ..H323Policy::default() });
    connected(&mut lab);
    for _ in 0..2 {
        tunnelled(&mut lab, true, build::terminal_capability_set(false));
    }
    assert_eq!(lab.events("h245-tunnelled").len(), 1);

    let mut lab = Lab::with(H323Policy { tunnelling: Tunnelling::Block, ..H323Policy::default() });
    connected(&mut lab);
    let frame = build::facility(&CALL, true, &tunnel([build::terminal_capability_set(false)]));
    let denial = lab.refused(BOB, ALICE, &frame);
    // Both ends know the call: each is told, with the flag that is right for it.
    assert_eq!(release(&denial.reply), (77, false, Some(21), Some(Guid(CALL.id))));
    assert_eq!(release(&denial.notify), (77, true, Some(21), Some(Guid(CALL.id))));
    assert_eq!(lab.told(), ["end refused"]);
    // H.245 on its own connection is another matter.
    with_control(&mut lab);
    slow_start(&mut lab, separate);
}

#[test]
fn messages_out_of_state_are_taken_up_told_or_refused() {
    let connect = build::connect(&CALL, &fast(build::acceptance(media(BOB, 18_000), at("192.0.2.1:17000"))));
    for (state, told, calls) in [(StateCheck::Off, 0, 1), (StateCheck::Event, 1, 1)] {
        let mut lab = Lab::with(H323Policy { state, ..H323Policy::default() });
        lab.signal(BOB, ALICE, &connect);
        assert_eq!((lab.events("violation").len(), lab.core.calls().count()), (told, calls));
    }
    let mut lab = Lab::with(H323Policy { state: StateCheck::Refuse, ..H323Policy::default() });
    let denial = lab.refused(BOB, ALICE, &connect);
    assert_eq!(release(&denial.reply), (77, false, Some(21), Some(Guid(CALL.id))));
    assert_eq!(denial.notify, None);
    assert_eq!(lab.core.calls().count(), 0);
    let context = lab.context("192.0.2.1:41001", "198.51.100.7:41000", Inspect::H245);
    let open = build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp);
    assert_eq!(lab.tracker.control(&mut lab.core, &context, &open), Verdict::Reset(Reason::AlgRefused));
    // In its order everything passes, and so does a late ReleaseComplete.
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    for _ in 0..2 {
        lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()));
    }
}

#[test]
fn media_that_is_not_permitted_opens_nothing_and_the_call_goes_on() {
    let media_types = [MediaType::Audio].into_iter().collect();
    let mut lab = Lab::with(H323Policy { media_types, ..H323Policy::default() });
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    let before = lab.pinholes();
    for (number, data) in [(5, Data::Video), (7, Data::Presentation), (9, Data::Fax)] {
        let open = wire::open(number, data, None, at("192.0.2.1:17021"));
        assert_eq!(separate(&mut lab, true, open), ["refuse 192.0.2.1:41001 media-type"], "{data:?}");
        let ack = build::open_logical_channel_ack(number, data.session(), media(BOB, 18_020));
        assert_eq!(separate(&mut lab, false, ack), ["refuse 198.51.100.7:18020 media-type"], "{data:?}");
        separate(&mut lab, true, build::close_logical_channel(number));
    }
    separate(&mut lab, false, build::open_data_channel(11, at("198.51.100.7:1503")));
    assert_eq!(lab.pinholes(), before);
    assert_eq!(lab.events("refused").len(), 4);
    assert!(lab.events("refused")[1].ends_with("h239 is not permitted"));
    // An ack of a channel that was not seen to be opened does not say what it carries.
    let unseen = build::open_logical_channel_ack(99, 32, media(BOB, 18_040));
    assert_eq!(separate(&mut lab, false, unseen), ["refuse 198.51.100.7:18040 media-type"]);
}

#[test]
fn fast_start_of_media_that_is_not_permitted_opens_nothing() {
    let media_types = [MediaType::Video].into_iter().collect();
    let mut lab = Lab::with(H323Policy { media_types, ..H323Policy::default() });
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(build::proposals(a))));
    lab.signal(BOB, ALICE, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp))));
    assert!(lab.pinholes().is_empty());
    assert_eq!(lab.only_call().state, State::Connected);
}

#[test]
fn calls_are_counted_those_through_a_gatekeeper_once() {
    let mut lab = Lab::with(H323Policy { calls_max: Some(2), ..H323Policy::default() });
    lab.signal(ALICE, IN, &setup(1));
    lab.signal(OUT, BOB, &setup(1));
    lab.signal("192.0.2.2:30000", BOB, &setup(2));
    let denial = lab.refused("192.0.2.3:30000", BOB, &setup(3));
    assert_eq!(release(&denial.reply).2, Some(42));
    // An identifier that is in use does not help a stranger.
    let stolen = build::Call { reference: 9, id: numbered(2).id };
    lab.refused("192.0.2.3:30000", "198.51.100.8:1720", &build::setup(&stolen, &Parts::default()));
    lab.signal("192.0.2.2:30000", BOB, &build::release_complete(&numbered(2), false, &Parts::default()));
    lab.signal("192.0.2.3:30000", BOB, &setup(3));
}

#[test]
fn calls_of_one_address_are_counted() {
    let mut lab = Lab::with(H323Policy { calls_per_source: Some(1), ..H323Policy::default() });
    lab.signal(ALICE, BOB, &setup(1));
    lab.refused("192.0.2.1:30001", BOB, &setup(2));
    lab.signal("192.0.2.2:30000", BOB, &setup(3));
    lab.signal(ALICE, BOB, &build::release_complete(&numbered(1), false, &Parts::default()));
    lab.signal(ALICE, BOB, &setup(2));
}

#[test]
fn calls_of_one_address_keep_their_rate() {
    let rate = Rate { events: 2, period: Period::Minute };
    let mut lab = Lab::with(H323Policy { call_rate: Some(rate), ..H323Policy::default() });
    lab.signal(ALICE, BOB, &setup(1));
    lab.signal(ALICE, BOB, &setup(2));
    // A Setup that is sent again is no new call.
    lab.signal(ALICE, BOB, &setup(2));
    assert_eq!(release(&lab.refused(ALICE, BOB, &setup(3)).reply).2, Some(42));
    lab.signal("192.0.2.2:30000", BOB, &setup(4));
    lab.wait(30);
    lab.signal(ALICE, BOB, &setup(3));
    lab.refused(ALICE, BOB, &setup(5));
}

#[test]
fn a_call_lasts_no_longer_than_it_may() {
    let mut lab = Lab::with(H323Policy { call_max: Some(Duration::from_secs(60)), ..H323Policy::default() });
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    lab.restart();
    let told = lab.wait(61);
    assert_eq!(told.last().map(String::as_str), Some("end expired"));
    assert!(lab.pinholes().is_empty());
    // It cannot go on by opening its channels again.
    assert_eq!(
        separate(&mut lab, true, build::open_logical_channel(9, 1, media(ALICE, 17_000).rtcp)),
        [""; 0]
    );
    assert_eq!(lab.core.calls().count(), 0);
}

#[test]
fn requests_of_one_address_keep_their_rate() {
    let rate = Rate { events: 3, period: Period::Second };
    let mut lab = Lab::with(H323Policy { ras_rate: Some(rate), ..H323Policy::default() });
    let context = lab.context(ALICE, GATEKEEPER, Inspect::Ras);
    let mut ask = |sequence, context: &Context| {
        lab.tracker.ras(&mut lab.core, context, &ras::admission_request(sequence, CALL.id))
    };
    let passed = (1..=10).filter(|sequence| ask(*sequence, &context) == Verdict::Pass).count();
    assert_eq!(passed, 3);
    assert_eq!(ask(11, &context), Verdict::Drop(Reason::AlgRefused));
    let other = Context { source: at("192.0.2.2:1719"), ..context };
    assert_eq!(ask(1, &other), Verdict::Pass);
    let later = Context { now: context.now + Duration::from_millis(334), ..context };
    assert_eq!((ask(12, &later), ask(13, &later)), (Verdict::Pass, Verdict::Drop(Reason::AlgRefused)));
}

#[test]
fn tokens_are_asked_for() {
    let mut lab = Lab::with(H323Policy { require_tokens: true, ..H323Policy::default() });
    let denial = lab.refused(ALICE, BOB, &setup(1));
    assert_eq!(release(&denial.reply).0, 1);
    lab.signal(ALICE, BOB, &Setup { token: true, ..Setup::default() }.encode(&numbered(1)));
    let offer = |token| more::Registration {
        call_signal: at(BOB),
        ras: at("198.51.100.7:1719"),
        life: 60,
        keep_alive: false,
        alias: "2000",
        token,
        feature: None,
    };
    let without = more::registration_request(1, &offer(false));
    let denial = lab.refused_ras("198.51.100.7:1719", GATEKEEPER, &without);
    assert_eq!(rejected(&denial.reply), ("registrationReject", 1));
    lab.ras("198.51.100.7:1719", GATEKEEPER, &more::registration_request(2, &offer(true)));
    // Discovery comes before them.
    lab.ras(ALICE, GATEKEEPER, &ras::gatekeeper_request(3, at(ALICE)));
}

#[test]
fn messages_of_no_known_name_pass_or_not() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    lab.signal(ALICE, BOB, &wire::unknown_body(&CALL, 12));
    lab.ras(ALICE, GATEKEEPER, &more::unknown(5));
    separate(&mut lab, true, wire::unknown_control());

    let mut lab = Lab::with(H323Policy { unknown: UnknownMessage::Drop, ..H323Policy::default() });
    connected(&mut lab);
    let denial = lab.refused(ALICE, BOB, &wire::unknown_body(&CALL, 12));
    assert!(release(&denial.reply).1 && !release(&denial.notify).1);
    let denial = lab.refused_ras(ALICE, GATEKEEPER, &more::unknown(5));
    assert_eq!((denial.reply, denial.notify), (None, None));
    let context = lab.context(ALICE, BOB, Inspect::H245);
    let verdict = lab.tracker.control(&mut lab.core, &context, &wire::unknown_control());
    assert_eq!(verdict, Verdict::Drop(Reason::AlgRefused));
}

#[test]
fn what_cannot_be_read_passes_where_that_is_wanted() {
    let mut lab = Lab::with(H323Policy { undecodable: UnknownMessage::Pass, ..H323Policy::default() });
    for (protocol, bytes) in
        [(Inspect::H225, &[0x08, 0x02, 0, 1, 0x62, 0x7e, 0, 0][..]), (Inspect::Ras, &[0x0e])]
    {
        let context = lab.context(ALICE, BOB, protocol);
        let verdict = match protocol {
            Inspect::Ras => lab.tracker.ras(&mut lab.core, &context, bytes),
            _ => lab.tracker.call_signalling(&mut lab.core, &context, bytes),
        };
        assert_eq!(verdict, Verdict::Pass);
    }
    let context = lab.context(ALICE, BOB, Inspect::H245);
    assert_eq!(lab.tracker.control(&mut lab.core, &context, &[0x02]), Verdict::Pass);
}

#[test]
fn a_rule_has_a_policy_of_its_own() {
    let mut lab = Lab::new(7);
    let strict = H323Policy { calls_max: Some(1), ..H323Policy::default() };
    let mut policy = lab.policy.clone();
    policy.rules.insert(7, RulePolicy { h323: Some(Arc::new(strict)), ..RulePolicy::default() });
    lab.core.set_policy(policy);
    // What other rules have admitted does not count.
    lab.slot = 0;
    lab.signal("192.0.2.2:30000", BOB, &setup(9));
    lab.slot = 7;
    lab.signal(ALICE, BOB, &setup(1));
    lab.refused(ALICE, BOB, &setup(2));
    lab.slot = 0;
    lab.signal(ALICE, BOB, &setup(2));
}

#[test]
fn a_bandwidth_request_is_of_a_known_call() {
    let request = ras::bandwidth_request(4, CALL.id, 1280);
    let mut lab = Lab::with(H323Policy { state: StateCheck::Refuse, ..H323Policy::default() });
    let denial = lab.refused_ras(ALICE, GATEKEEPER, &request);
    assert_eq!(rejected(&denial.reply), ("bandwidthReject", 4));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &Parts::default()));
    lab.ras(ALICE, GATEKEEPER, &request);
}
