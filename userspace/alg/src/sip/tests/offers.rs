//! Offers and answers, in whatever messages they come.

use super::*;

#[test]
fn the_answers_media_address_replaces_the_signalling_address() {
    let mut lab = Lab::new(ANY);
    lab.send(ALICE, BOB, invite(1).sdp(&audio("192.0.2.5:1", 20_000)));
    assert_eq!(lab.open(), ["192.0.2.5:20000<198.51.100.7"], "only the other party's signalling address");
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio("198.51.100.99:1", 30_000)));
    assert_eq!(lab.open(), ["192.0.2.5:20000<198.51.100.99", "198.51.100.99:30000<192.0.2.5"]);
}

#[test]
fn ipv6_is_no_different() {
    let (alice, bob) = ("[2001:db8::1]:5060", "[2001:db8:7::7]:5060");
    let mut lab = Lab::new(0);
    let audio = |who, port| audio(who, port).replace("IP4", "IP6");
    lab.send(alice, bob, invite(1).sdp(&audio(alice, 20_000)));
    lab.send(bob, alice, invite(1).reply(200, "b").sdp(&audio(bob, 30_000)));
    assert_eq!(lab.open(), ["[2001:db8:7::7]:30000<2001:db8::1", "[2001:db8::1]:20000<2001:db8:7::7"]);
}

#[test]
fn early_media_opens_with_the_provisional_response() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let early = lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(
        early,
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(lab.call().state, State::Ringing);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING, "the same");
    assert_eq!(lab.call().state, State::Connected);
}

#[test]
fn the_final_answer_may_move_early_media() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_010)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30010<192.0.2.1"]);
}

#[test]
fn hold_and_resume_keep_the_pinholes() {
    for hold in [
        audio(ALICE, 20_000) + "a=sendonly\r\n",
        audio(ALICE, 20_000) + "a=inactive\r\n",
        audio(ALICE, 20_000).replace("m=audio", "a=sendonly\r\nm=audio"),
        audio("0.0.0.0:1", 20_000),
    ] {
        let mut lab = Lab::answered(0);
        let before = lab.open();
        lab.send(ALICE, BOB, invite(2).to("b").sdp(&hold));
        assert!(!lab.stream().held, "not before the answer");
        let answer = audio(BOB, 30_000) + "a=recvonly\r\n";
        lab.send(BOB, ALICE, invite(2).to("b").reply(200, "b").sdp(&answer));
        assert!(lab.stream().held, "{hold}");
        assert_eq!(lab.open(), before, "{hold}");
        lab.send(ALICE, BOB, invite(3).to("b").sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(3).to("b").reply(200, "b").sdp(&audio(BOB, 30_000)));
        assert!(!lab.stream().held);
        assert_eq!(lab.open(), before, "{hold}");
    }
}

#[test]
fn a_description_without_an_address_opens_nothing() {
    let mut lab = Lab::new(0);
    assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(&audio("0.0.0.0:1", 20_000))), NOTHING);
    let body = audio("[2001:db8::1]:1", 20_000).replace("IP4 2001:db8::1", "IP6 ::");
    assert_eq!(lab.send(ALICE, BOB, invite(2).sdp(&body)), NOTHING);
    let body = audio(ALICE, 20_000).replace("c=IN IP4 192.0.2.1\r\n", "");
    assert_eq!(lab.send(ALICE, BOB, invite(3).sdp(&body)), NOTHING);
}

#[test]
fn a_reinvite_opens_the_new_place_beside_the_old_until_it_is_answered() {
    let mut lab = Lab::answered(0);
    let again = invite(2).to("b");
    assert_eq!(
        lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100))),
        [
            "open rtp 192.0.2.1:20100 from 198.51.100.7",
            "open rtcp 192.0.2.1:20101 from 198.51.100.7",
            // Which may come from either place of Alice's meanwhile.
            "update rtp 198.51.100.7:30000 from 192.0.2.1",
            "update rtcp 198.51.100.7:30001 from 192.0.2.1",
        ]
    );
    assert_eq!(
        lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000))),
        [
            // Agreed beside what was offered, then alone; and the other end, which has another negotiation too.
            "update rtp 192.0.2.1:20100 from 198.51.100.7",
            "update rtp 198.51.100.7:30000 from 192.0.2.1",
            "update rtcp 198.51.100.7:30001 from 192.0.2.1",
            "close 192.0.2.1:20000 moved",
            "close 192.0.2.1:20001 moved",
            "update rtp 192.0.2.1:20100 from 198.51.100.7",
        ]
    );
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
}

#[test]
fn the_other_party_may_move_too_by_update() {
    let mut lab = Lab::answered(0);
    let update = request("UPDATE", 1).by_bob();
    lab.send(BOB, ALICE, update.clone().sdp(&audio(BOB, 30_100)));
    assert_eq!(lab.open().len(), 3);
    lab.send(ALICE, BOB, update.reply(200, "a").sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}

#[test]
fn a_refused_reinvite_leaves_everything_as_it_was() {
    let mut lab = Lab::answered(0);
    let (before, stream) = (lab.open(), lab.stream().clone());
    let again = invite(2).to("b");
    let two = audio(ALICE, 20_100) + "a=sendonly\r\nm=video 20200 RTP/AVP 34\r\n";
    lab.send(ALICE, BOB, again.clone().sdp(&two));
    assert_eq!(lab.open().len(), 4);
    lab.send(BOB, ALICE, again.reply(488, "b"));
    assert_eq!(lab.open(), before);
    assert_eq!((lab.stream(), lab.call().streams.len()), (&stream, 1));
}

#[test]
fn a_refused_first_description_within_a_dialog_leaves_nothing_open() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(200, "b"));
    let update = request("UPDATE", 2).to("b");
    lab.send(ALICE, BOB, update.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"]);
    lab.send(BOB, ALICE, update.reply(488, "b"));
    assert_eq!(lab.open(), NOTHING);
}

#[test]
fn an_old_answer_does_not_undo_a_newer_offer() {
    let mut lab = Lab::answered(0);
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_100)));
    let before = lab.open();
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    assert_eq!(lab.open(), before);
}

#[test]
fn streams_come_and_go_with_port_0() {
    let mut lab = Lab::answered(0);
    let add = invite(2).to("b");
    let video = |port: u16| format!("m=video {port} RTP/AVP 34\r\n");
    lab.send(ALICE, BOB, add.clone().sdp(&(audio(ALICE, 20_000) + &video(20_200))));
    lab.send(BOB, ALICE, add.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(30_200))));
    assert_eq!(lab.open().len(), 4);
    let drop = invite(3).to("b");
    lab.send(ALICE, BOB, drop.clone().sdp(&(audio(ALICE, 20_000) + &video(0))));
    assert_eq!(lab.open().len(), 4, "until it is answered");
    lab.send(BOB, ALICE, drop.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(0))));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);

    // A stream the answer refuses does not stay open on the offerer's side.
    let refuse = invite(4).to("b");
    lab.send(ALICE, BOB, refuse.clone().sdp(&(audio(ALICE, 20_000) + &video(20_200))));
    lab.send(BOB, ALICE, refuse.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(0))));
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn the_offer_may_come_with_the_response_and_the_answer_with_ack() {
    let mut lab = Lab::new(0);
    assert_eq!(lab.send(ALICE, BOB, invite(1)), NOTHING);
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(
        lab.send(ALICE, BOB, request("ACK", 1).to("b").sdp(&audio(ALICE, 20_000))),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7"]
    );
    // And again within the dialog: the callee moves.
    let again = invite(2).to("b");
    assert_eq!(lab.send(ALICE, BOB, again.clone()), NOTHING);
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_100)));
    assert_eq!(lab.open().len(), 3);
    lab.send(ALICE, BOB, request("ACK", 2).to("b").sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}

#[test]
fn prack_carries_an_answer_or_an_offer() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    let prack = request("PRACK", 2).to("b");
    lab.send(ALICE, BOB, prack.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    lab.send(BOB, ALICE, prack.reply(200, "b"));
    let prack = request("PRACK", 3).to("b");
    lab.send(ALICE, BOB, prack.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, prack.reply(200, "b").sdp(&audio(BOB, 30_100)));
    let moved = ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30100<192.0.2.1"];
    assert_eq!(lab.open(), moved);
    lab.send(BOB, ALICE, invite(1).reply(200, "b"));
    assert_eq!(lab.open(), moved);
}

#[test]
fn a_prack_without_a_body_does_not_spoil_the_final_answer() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(180, "b"));
    let prack = request("PRACK", 2).to("b");
    lab.send(ALICE, BOB, prack.clone());
    lab.send(BOB, ALICE, prack.reply(200, "b"));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn hold_is_understood_in_every_spelling_of_either_party() {
    let spell = |who: &str, port: u16| {
        let plain = audio(who, port);
        let blank = plain.replace(&format!("c=IN IP4 {}", at(who).ip()), "c=IN IP4 0.0.0.0");
        let blank6 = blank.replace("c=IN IP4 0.0.0.0", "c=IN IP6 ::");
        let of_media = blank.replace("c=IN IP4 0.0.0.0\r\n", "") + "c=IN IP4 0.0.0.0\r\n";
        let of_session = |direction: &str| plain.replace("m=audio", &format!("a={direction}\r\nm=audio"));
        let of_line = |direction: &str| format!("{plain}a={direction}\r\n");
        vec![
            of_line("sendonly"),
            of_line("inactive"),
            of_line("recvonly"),
            of_session("sendonly"),
            of_session("inactive"),
            of_session("sendrecv").replace("a=rtpmap", "a=inactive\r\na=rtpmap"),
            blank.clone() + "a=sendonly\r\n",
            blank,
            blank6,
            of_media,
        ]
    };
    for by_bob in [false, true] {
        let (from, to, own, other) =
            if by_bob { (BOB, ALICE, 30_000, 20_000) } else { (ALICE, BOB, 20_000, 30_000) };
        for hold in spell(from, own) {
            let mut lab = Lab::answered(0);
            let before = lab.open();
            let message = |number| if by_bob { invite(number).by_bob() } else { invite(number).to("b") };
            let tag = message(2).to;
            lab.send(from, to, message(2).sdp(&hold));
            lab.send(to, from, message(2).reply(200, tag).sdp(&(audio(to, other) + "a=recvonly\r\n")));
            assert!(lab.stream().held, "{hold}");
            assert_eq!(lab.open(), before, "music may be played: {hold}");
            lab.send(from, to, message(3).sdp(&audio(from, own)));
            lab.send(to, from, message(3).reply(200, tag).sdp(&audio(to, other)));
            assert!(!lab.stream().held);
            assert_eq!(lab.open(), before, "{hold}");
        }
    }
}

#[test]
fn both_parties_may_hold_at_once() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    let alice = invite(2).to("b");
    lab.send(ALICE, BOB, alice.clone().sdp(&(audio(ALICE, 20_000) + "a=sendonly\r\n")));
    lab.send(BOB, ALICE, alice.reply(200, "b").sdp(&(audio(BOB, 30_000) + "a=recvonly\r\n")));
    let bob = invite(2).by_bob();
    lab.send(BOB, ALICE, bob.clone().sdp(&(audio(BOB, 30_000) + "a=inactive\r\n")));
    lab.send(ALICE, BOB, bob.reply(200, "a").sdp(&(audio(ALICE, 20_000) + "a=inactive\r\n")));
    assert!(lab.stream().held);
    let alice = invite(3).to("b");
    lab.send(ALICE, BOB, alice.clone().sdp(&(audio(ALICE, 20_000) + "a=recvonly\r\n")));
    lab.send(BOB, ALICE, alice.reply(200, "b").sdp(&(audio(BOB, 30_000) + "a=sendonly\r\n")));
    assert!(lab.stream().held, "Bob still holds");
    let bob = invite(3).by_bob();
    lab.send(BOB, ALICE, bob.clone().sdp(&audio(BOB, 30_000)));
    lab.send(ALICE, BOB, bob.reply(200, "a").sdp(&audio(ALICE, 20_000)));
    assert!(!lab.stream().held);
    assert_eq!(lab.open(), before);
}

#[test]
fn an_offer_with_port_0_closes_and_a_later_one_opens_again() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    let off = invite(2).to("b");
    lab.send(ALICE, BOB, off.clone().sdp(&audio(ALICE, 0)));
    lab.send(BOB, ALICE, off.reply(200, "b").sdp(&audio(BOB, 0)));
    assert_eq!(lab.open(), NOTHING);
    assert_eq!(lab.core.calls().count(), 1);
    let on = invite(3).to("b");
    lab.send(ALICE, BOB, on.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, on.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), before);
}

#[test]
fn offers_that_glare_leave_the_call_as_it_was() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    let (alice, bob) = (invite(2).to("b"), invite(2).by_bob());
    lab.send(ALICE, BOB, alice.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, bob.clone().sdp(&audio(BOB, 30_100)));
    lab.send(BOB, ALICE, alice.reply(491, "b"));
    lab.send(ALICE, BOB, bob.reply(491, "a"));
    assert_eq!(lab.open(), before);
    // Bob tries again (RFC 3261 section 14.1).
    let bob = invite(3).by_bob();
    lab.send(BOB, ALICE, bob.clone().sdp(&audio(BOB, 30_100)));
    lab.send(ALICE, BOB, bob.reply(200, "a").sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}

#[test]
fn an_offer_that_is_never_answered_is_withdrawn() {
    for again in [invite(2).to("b"), request("UPDATE", 2).to("b")] {
        let mut lab = Lab::answered(0);
        let before = lab.open();
        lab.send(ALICE, BOB, again.sdp(&audio(ALICE, 20_100)));
        assert_eq!(lab.wait(199), NOTHING);
        assert_eq!(lab.open().len(), 3);
        lab.wait(1);
        assert_eq!(lab.open(), before);
    }
}

#[test]
fn early_media_may_be_acknowledged_moved_and_answered() {
    let mut lab = Lab::new(0);
    let reliable = |status| invite(1).reply(status, "b").header("Require: 100rel").header("RSeq: 1");
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, reliable(183).sdp(&audio(BOB, 30_000)));
    let prack = request("PRACK", 2).to("b");
    lab.send(ALICE, BOB, prack.clone());
    lab.send(BOB, ALICE, prack.reply(200, "b"));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    // An announcement from elsewhere, then the ringing party: UPDATE within the early dialog, by the callee.
    let update = request("UPDATE", 1).by_bob();
    lab.send(BOB, ALICE, update.clone().sdp(&audio(BOB, 30_100)));
    lab.send(ALICE, BOB, update.reply(200, "a").sdp(&audio(ALICE, 20_000)));
    let moved = ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"];
    assert_eq!(lab.open(), moved);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(180, "b")), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b")), NOTHING);
    // A late copy of the first answer, in a retransmitted 2xx, does not undo the UPDATE.
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    assert_eq!((lab.open(), lab.call().state), (moved.map(str::to_owned).to_vec(), State::Connected));
}

#[test]
fn an_offer_in_200_that_ack_refuses_opens_nothing_on_the_callers_side() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(ALICE, BOB, request("ACK", 1).to("b").sdp(&audio(ALICE, 0)));
    assert_eq!(lab.open(), NOTHING);
    assert_eq!(lab.core.calls().count(), 1);
}
