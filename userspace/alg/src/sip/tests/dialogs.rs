//! What begins, moves and ends a call.

use super::*;

#[test]
fn a_call_opens_with_offer_and_answer_and_closes_with_bye() {
    let mut lab = Lab::new(0);
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7"]
    );
    assert_eq!(lab.call().state, State::Calling);
    assert_eq!(lab.call().parties, ["alice@example.com", "bob@example.com"]);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(100, "")), NOTHING);
    assert_eq!(lab.call().state, State::Calling);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(180, "b")), NOTHING);
    assert_eq!(lab.call().state, State::Ringing);
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(lab.call().state, State::Connected);
    assert_eq!(lab.stream().codec, "PCMA");
    assert_eq!(lab.send(ALICE, BOB, request("ACK", 1).to("b")), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, request("BYE", 1).by_bob()), NOTHING);
    assert_eq!(
        lab.send(ALICE, BOB, request("BYE", 1).by_bob().reply(200, "a")),
        [
            "close 192.0.2.1:20000 bye",
            "close 192.0.2.1:20001 bye",
            "close 198.51.100.7:30000 bye",
            "close 198.51.100.7:30001 bye",
            "ended bye"
        ]
    );
    lab.assert_empty();
}

#[test]
fn cancel_closes_with_its_487_and_without_one_in_time() {
    let ringing = || {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
        let cancel = request("CANCEL", 1).via("INVITE1");
        assert_eq!(lab.send(ALICE, BOB, cancel.clone()), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, cancel.reply(200, "b")), NOTHING);
        assert_eq!(lab.open().len(), 2);
        lab
    };
    let mut lab = ringing();
    let told = lab.send(BOB, ALICE, invite(1).reply(487, "b"));
    assert_eq!((told.len(), told[4].as_str()), (5, "ended cancel"));
    assert_eq!(lab.send(ALICE, BOB, request("ACK", 1).via("INVITE1").to("b")), NOTHING);
    lab.assert_empty();

    let mut lab = ringing();
    assert_eq!(lab.wait(31), NOTHING);
    assert_eq!(lab.wait(1).last().map(String::as_str), Some("ended cancel"));
    lab.assert_empty();

    // The answer may have crossed the CANCEL: then there is a call.
    let mut lab = ringing();
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.wait(100), NOTHING);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn a_final_failure_ends_the_call() {
    for status in [302, 404, 486, 503, 603] {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        let told = lab.send(BOB, ALICE, invite(1).reply(status, "b"));
        assert_eq!(
            told,
            ["close 192.0.2.1:20000 failed", "close 192.0.2.1:20001 failed", "ended failed"],
            "{status}"
        );
        lab.assert_empty();
    }
}

#[test]
fn a_challenge_closes_early_holes_and_the_call_comes_again() {
    for status in [401, 407, 422] {
        challenged_with(status);
    }
}

fn challenged_with(status: u16) {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let id = lab.call().id;
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(status, "x")),
        ["close 192.0.2.1:20000 failed", "close 192.0.2.1:20001 failed"]
    );
    lab.send(ALICE, BOB, request("ACK", 1).via("INVITE1").to("x"));
    lab.send(ALICE, BOB, invite(2).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(2).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
    assert_eq!((lab.call().id, lab.core.calls().count()), (id, 1));
    assert!(lab.call().streams.contains_key(&StreamKey { branch: 0, index: 0 }));
}

#[test]
fn a_bye_counts_when_it_is_accepted_or_stays_unanswered() {
    for status in [200, 408, 481] {
        let mut lab = Lab::answered(0);
        let bye = request("BYE", 2).to("b");
        lab.send(ALICE, BOB, bye.clone());
        assert_eq!(lab.send(BOB, ALICE, bye.reply(status, "b")).len(), 5, "{status}");
        lab.assert_empty();
    }
    let mut lab = Lab::answered(0);
    let bye = request("BYE", 2).to("b");
    lab.send(ALICE, BOB, bye.clone());
    assert_eq!(lab.send(BOB, ALICE, bye.reply(401, "b")), NOTHING, "challenged");
    assert_eq!(lab.wait(60), NOTHING);
    lab.send(ALICE, BOB, request("BYE", 3).to("b"));
    assert_eq!(lab.wait(4), NOTHING);
    assert_eq!(lab.wait(1).len(), 5);
    lab.assert_empty();
}

#[test]
fn a_bye_with_foreign_tags_does_nothing() {
    let mut lab = Lab::answered(0);
    for bye in [request("BYE", 2).to("guess"), request("BYE", 3), request("BYE", 4).by_bob().to("guess")] {
        assert_eq!(lab.send(ALICE, BOB, bye.clone()), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, bye.reply(200, "guess")), NOTHING);
    }
    assert_eq!(lab.wait(60), NOTHING);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn options_and_unknown_methods_open_nothing() {
    let mut lab = Lab::new(0);
    for method in ["OPTIONS", "INFO", "NOTIFY", "X-CALL"] {
        let request = request(method, 1);
        assert_eq!(lab.send(ALICE, BOB, request.clone().sdp(&audio(ALICE, 20_000))), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, request.reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    }
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        NOTHING,
        "never asked"
    );
    lab.assert_empty();
}

#[test]
fn retransmissions_change_nothing() {
    let mut lab = Lab::new(0);
    let bye = request("BYE", 2).to("b");
    let script = [
        (ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        (BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000))),
        (BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        (ALICE, BOB, request("ACK", 1).to("b")),
        (ALICE, BOB, invite(2).to("b").sdp(&audio(ALICE, 20_100))),
        (BOB, ALICE, invite(2).to("b").reply(200, "b").sdp(&audio(BOB, 30_100))),
        (ALICE, BOB, bye.clone()),
        (BOB, ALICE, bye.reply(200, "b")),
    ];
    for (from, to, message) in script {
        lab.send(from, to, message.clone());
        assert_eq!(lab.send(from, to, message.clone()), NOTHING, "{}", message.start);
    }
    lab.assert_empty();
}

#[test]
fn a_retransmitted_invite_does_not_reopen_after_the_answer() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))), NOTHING);
    assert_eq!(lab.open(), before);
}

#[test]
fn a_session_that_is_not_refreshed_expires() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let answer = invite(1).reply(200, "b").header("Session-Expires: 90;refresher=uac");
    lab.send(BOB, ALICE, answer.sdp(&audio(BOB, 30_000)));
    lab.wait(80);
    let refresh = request("UPDATE", 2).to("b");
    lab.send(ALICE, BOB, refresh.clone());
    lab.send(BOB, ALICE, refresh.reply(200, "b").header("x: 90"));
    assert_eq!(lab.wait(121), NOTHING);
    assert_eq!(lab.wait(1).last().map(String::as_str), Some("ended expired"));
    lab.assert_empty();
}

#[test]
fn a_call_the_core_has_ended_is_forgotten() {
    let mut lab = Lab::answered(0);
    let call = lab.call().clone();
    lab.core.end_call(call.id, EndReason::Inactivity);
    lab.tracker.ended(&call);
    lab.assert_empty();
}

#[test]
fn parties_are_named_by_tag_not_by_address() {
    // Both ends on one host: only the tags tell who is who.
    let (left, right) = ("192.0.2.1:5070", "192.0.2.1:5080");
    let mut lab = Lab::new(0);
    lab.send(left, right, invite(1).sdp(&audio(left, 20_000)));
    lab.send(right, left, invite(1).reply(200, "b").sdp(&audio(right, 30_000)));
    let again = request("UPDATE", 1).by_bob();
    lab.send(right, left, again.clone().sdp(&audio(right, 30_100)));
    lab.send(left, right, again.reply(200, "a").sdp(&audio(left, 20_000)));
    let ends = lab.stream().ends;
    assert_eq!(ends[Party::Caller as usize].media, Some(at("192.0.2.1:20000")));
    assert_eq!(ends[Party::Callee as usize].media, Some(at("192.0.2.1:30100")));
}

#[test]
fn an_answer_that_crosses_cancel_makes_a_call_that_bye_ends() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(180, "b"));
    let cancel = request("CANCEL", 1).via("INVITE1");
    // Both are under way at once, in either order; Bob answers the CANCEL with 200 (or 481: too late).
    for (first, status) in [(true, 200), (false, 481)] {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        let answer = invite(1).reply(200, "b").sdp(&audio(BOB, 30_000));
        if first {
            lab.send(BOB, ALICE, answer.clone());
        }
        lab.send(ALICE, BOB, cancel.clone());
        if !first {
            lab.send(BOB, ALICE, answer);
        }
        lab.send(BOB, ALICE, cancel.clone().reply(status, "b"));
        assert_eq!((lab.call().state, lab.open().len()), (State::Connected, 2));
        assert_eq!(lab.wait(100), NOTHING, "the CANCEL has no effect any more");
        lab.send(ALICE, BOB, request("ACK", 1).to("b"));
        let bye = request("BYE", 2).to("b");
        lab.send(ALICE, BOB, bye.clone());
        lab.send(BOB, ALICE, bye.reply(200, "b"));
        lab.assert_empty();
    }
}

#[test]
fn a_cancel_that_matches_nothing_changes_nothing() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    // Another branch, another call, and the branch of a re-INVITE.
    for cancel in [request("CANCEL", 1).via("guess"), request("CANCEL", 1).via("INVITE1").of("c2@host")] {
        assert_eq!(lab.send(ALICE, BOB, cancel.clone()), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, cancel.reply(481, "b")), NOTHING);
    }
    assert_eq!(lab.wait(100), NOTHING);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    let before = lab.open();
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(ALICE, BOB, request("CANCEL", 2).via("INVITE2").to("b"));
    lab.send(BOB, ALICE, again.reply(487, "b"));
    assert_eq!(lab.open(), before, "a cancelled re-INVITE leaves the call as it was");
    assert_eq!(lab.wait(100), NOTHING);
}

#[test]
fn a_487_closes_early_media_though_no_cancel_was_seen() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(487, "b")).last().map(String::as_str),
        Some("ended cancel")
    );
    lab.assert_empty();
}

#[test]
fn a_session_is_refreshed_by_either_party_and_by_either_method() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).header("Session-Expires: 1800").sdp(&audio(ALICE, 20_000)));
    let answer = invite(1).reply(200, "b").header("Session-Expires: 90;refresher=uas");
    lab.send(BOB, ALICE, answer.sdp(&audio(BOB, 30_000)));
    for number in 1..10 {
        assert_eq!(lab.wait(89), NOTHING);
        let refresh = if number % 2 == 0 { invite(number) } else { request("UPDATE", number) }.by_bob();
        lab.send(BOB, ALICE, refresh.clone().header("Session-Expires: 90;refresher=uac"));
        lab.send(ALICE, BOB, refresh.reply(200, "a").header("x: 90;refresher=uac"));
    }
    assert_eq!(lab.open().len(), 2);
    // A refresh that fails is none; one without an interval ends the timing (RFC 4028 section 7.2).
    let refused = request("UPDATE", 20).by_bob();
    lab.send(BOB, ALICE, refused.clone());
    lab.send(ALICE, BOB, refused.reply(500, "a"));
    lab.wait(100);
    assert_eq!(lab.open().len(), 2);
    let last = request("UPDATE", 21).by_bob();
    lab.send(BOB, ALICE, last.clone());
    lab.send(ALICE, BOB, last.reply(200, "a"));
    assert_eq!(lab.wait(10_000), NOTHING);
}

#[test]
fn a_call_that_rings_for_long_is_not_given_up() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    // A queue: a provisional response every minute (RFC 3261 section 13.3.1.1).
    for _ in 0..30 {
        lab.send(BOB, ALICE, invite(1).reply(182, "b"));
        lab.wait(60);
        lab.core.tick(lab.now);
        assert_eq!(lab.told(), NOTHING);
    }
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);

    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.wait(301);
    lab.core.tick(lab.now);
    assert_eq!(lab.told().last().map(String::as_str), Some("ended expired"));
}

#[test]
fn a_transaction_is_known_by_its_branch_and_cseq() {
    // A response with another branch, or to another CSeq, answers nothing.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(5).sdp(&audio(ALICE, 20_000)));
    let answer = |message: Sip| message.reply(200, "b").sdp(&audio(BOB, 30_000));
    assert_eq!(lab.send(BOB, ALICE, answer(invite(5).via("guess"))), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, answer(invite(4).via("INVITE5"))), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, answer(invite(5).of("c2@host").via("INVITE5"))), NOTHING);
    assert_eq!(lab.call().state, State::Calling);
    assert_eq!(lab.send(BOB, ALICE, answer(invite(5))).len(), 2);
}

#[test]
fn retransmitted_provisional_responses_and_pracks_change_nothing() {
    let mut lab = Lab::new(0);
    let reliable = |status, number: u32| {
        let header = format!("RSeq: {number}");
        invite(1).reply(status, "b").header("Require: 100rel").header(&header)
    };
    let prack = |number| request("PRACK", number).to("b");
    let update = request("UPDATE", 4).to("b");
    let script = [
        (ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        (BOB, ALICE, invite(1).reply(100, "")),
        (BOB, ALICE, reliable(183, 1).sdp(&audio(BOB, 30_000))),
        (ALICE, BOB, prack(2)),
        (BOB, ALICE, prack(2).reply(200, "b")),
        (BOB, ALICE, reliable(180, 2)),
        (ALICE, BOB, prack(3)),
        (BOB, ALICE, prack(3).reply(200, "b")),
        (ALICE, BOB, update.clone().sdp(&audio(ALICE, 20_100))),
        (BOB, ALICE, update.reply(200, "b").sdp(&audio(BOB, 30_100))),
        (BOB, ALICE, invite(1).reply(200, "b")),
        (ALICE, BOB, request("ACK", 1).to("b")),
    ];
    for (from, to, message) in script {
        lab.send(from, to, message.clone());
        for _ in 0..3 {
            assert_eq!(lab.send(from, to, message.clone()), NOTHING, "{}", message.start);
        }
    }
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}
