//! REFER, Replaces, and calls that go on elsewhere.

use super::*;

const CAROL: &str = "203.0.113.9:5060";

/// Ends a call of Alice's with Bob.
fn hang_up(lab: &mut Lab, number: u32) -> Vec<String> {
    let bye = request("BYE", number).to("b");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b"))
}

#[test]
fn a_redirected_call_goes_on_elsewhere() {
    for status in [300, 301, 302, 305, 380] {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        let redirect = invite(1).reply(status, "x").header("Contact: <sip:carol@203.0.113.9>");
        let told = lab.send(BOB, ALICE, redirect);
        assert_eq!(told.last().map(String::as_str), Some("ended failed"), "{status}");
        assert_eq!(lab.send(ALICE, BOB, request("ACK", 1).via("INVITE1").to("x")), NOTHING);
        lab.assert_empty();
        // The same Call-ID and From tag, the next CSeq, another target (RFC 3261 section 8.1.3.4).
        lab.send(ALICE, CAROL, invite(2).sdp(&audio(ALICE, 20_000)));
        lab.send(CAROL, ALICE, invite(2).reply(200, "c").sdp(&audio(CAROL, 30_000)));
        assert_eq!(lab.open(), ["192.0.2.1:20000<203.0.113.9", "203.0.113.9:30000<192.0.2.1"]);
        // What the first target says now is too late.
        assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
        let bye = request("BYE", 3).to("c");
        lab.send(ALICE, CAROL, bye.clone());
        lab.send(CAROL, ALICE, bye.reply(200, "c"));
        lab.assert_empty();
    }
}

#[test]
fn a_redirection_by_the_same_proxy_is_a_new_call() {
    let mut lab = Lab::new(ANY);
    lab.send(ALICE, PROXY, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, ALICE, invite(1).reply(302, "x").header("Contact: <sip:carol@192.0.2.10>"));
    lab.send(ALICE, PROXY, invite(2).sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, ALICE, invite(2).reply(200, "c").sdp(&audio(CAROL, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<203.0.113.9", "203.0.113.9:30000<192.0.2.1"]);
}

/// REFER within the dialog of Alice and Bob, its 202, and its NOTIFYs: none of them moves anything.
fn refer(lab: &mut Lab, to: &str) {
    let before = lab.open();
    let refer = request("REFER", 5).to("b").header(&format!("Refer-To: {to}"));
    assert_eq!(lab.send(ALICE, BOB, refer.clone()), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, refer.reply(202, "b")), NOTHING);
    notify(lab, 1, "100 Trying", "active;expires=60");
    assert_eq!(lab.open(), before);
}

fn notify(lab: &mut Lab, number: u32, status: &str, state: &str) {
    let notify = request("NOTIFY", number)
        .by_bob()
        .header("Event: refer")
        .header(&format!("Subscription-State: {state}"))
        .header("Content-Type: message/sipfrag")
        .header(&format!("X-Fragment: SIP/2.0 {status}"));
    assert_eq!(lab.send(BOB, ALICE, notify.clone()), NOTHING);
    assert_eq!(lab.send(ALICE, BOB, notify.reply(200, "a")), NOTHING);
}

#[test]
fn a_blind_transfer_is_one_call_after_the_other() {
    let mut lab = Lab::answered(0);
    refer(&mut lab, "<sip:carol@203.0.113.9>");
    // The transferor may leave at once (RFC 5589 section 6.1); the transferee tells how it went.
    hang_up(&mut lab, 6);
    lab.assert_empty();
    let call = |message: Sip| message.of("c2@bob");
    lab.send(BOB, CAROL, call(invite(1)).sdp(&audio(BOB, 30_000)));
    notify(&mut lab, 2, "180 Ringing", "active;expires=50");
    lab.send(CAROL, BOB, call(invite(1)).reply(200, "c").sdp(&audio(CAROL, 31_000)));
    lab.send(BOB, CAROL, call(request("ACK", 1)).to("c"));
    notify(&mut lab, 3, "200 OK", "terminated;reason=noresource");
    assert_eq!(lab.open(), ["198.51.100.7:30000<203.0.113.9", "203.0.113.9:31000<198.51.100.7"]);
}

#[test]
fn a_transfer_that_fails_leaves_the_call_as_it_was() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    refer(&mut lab, "<sip:carol@203.0.113.9>");
    let call = |message: Sip| message.of("c2@bob");
    lab.send(BOB, CAROL, call(invite(1)).sdp(&audio(BOB, 30_002)));
    lab.send(CAROL, BOB, call(invite(1)).reply(486, "c"));
    notify(&mut lab, 2, "486 Busy Here", "terminated;reason=noresource");
    assert_eq!(lab.open(), before);
}

/// Alice talks to Bob (c1, Bob on hold) and to Carol (c2).
fn consulting() -> Lab {
    let mut lab = Lab::answered(0);
    let call = |message: Sip| message.of("c2@host");
    lab.send(ALICE, CAROL, call(invite(1)).sdp(&audio(ALICE, 20_010)));
    lab.send(CAROL, ALICE, call(invite(1)).reply(200, "c").sdp(&audio(CAROL, 31_000)));
    assert_eq!(lab.open().len(), 4);
    lab
}

/// Bob calls Carol and asks for the place of Alice's call with her.
fn replacing(replaces: &str) -> Sip {
    invite(1).of("c3@bob").header(replaces).sdp(&audio(BOB, 30_100))
}

const CONSULTED: &str = "Replaces: c2@host;to-tag=c;from-tag=a";

#[test]
fn an_attended_transfer_ends_the_replaced_calls_media_with_its_answer() {
    let mut lab = consulting();
    refer(&mut lab, "<sip:carol@203.0.113.9?Replaces=c2%40host%3Bto-tag%3Dc%3Bfrom-tag%3Da>");
    let invite = replacing(CONSULTED);
    lab.send(BOB, CAROL, invite.clone());
    assert_eq!(lab.open().len(), 5, "both until it is answered");
    let told = lab.send(CAROL, BOB, invite.reply(200, "c3").sdp(&audio(CAROL, 31_100)));
    assert!(told.contains(&"close 203.0.113.9:31000 replaced".to_owned()), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("ended replaced"));
    let mut left = [
        "192.0.2.1:20000<198.51.100.7",
        "198.51.100.7:30000<192.0.2.1",
        "198.51.100.7:30100<203.0.113.9",
        "203.0.113.9:31100<198.51.100.7",
    ];
    left.sort_unstable();
    assert_eq!(lab.open(), left);
    // Carol's BYE to Alice, and Alice's to Bob: the first finds nothing left to close.
    let bye = Sip { from: "c", to: "a", ..request("BYE", 1).of("c2@host") };
    assert_eq!(lab.send(CAROL, ALICE, bye.clone()), NOTHING);
    assert_eq!(lab.send(ALICE, CAROL, bye.reply(200, "a")), NOTHING);
    hang_up(&mut lab, 6);
    assert_eq!(lab.open(), ["198.51.100.7:30100<203.0.113.9", "203.0.113.9:31100<198.51.100.7"]);
}

#[test]
fn a_refused_replacement_replaces_nothing() {
    for status in [481, 486, 603] {
        let mut lab = consulting();
        let before = lab.open();
        let invite = replacing(CONSULTED);
        lab.send(BOB, CAROL, invite.clone());
        lab.send(CAROL, BOB, invite.reply(status, "c3"));
        assert_eq!(lab.open(), before, "{status}");
    }
}

#[test]
fn only_a_party_of_the_replaced_dialog_can_give_it_up() {
    for (replaces, accomplice) in [
        // Bob and a friend know the names of Alice's call with Carol.
        (CONSULTED, PROXY),
        // The tags of nobody's dialog, or the wrong way round.
        ("Replaces: c2@host;to-tag=c;from-tag=guess", CAROL),
        ("Replaces: c2@host;to-tag=a;from-tag=c", CAROL),
        ("Replaces: c2@elsewhere;to-tag=c;from-tag=a", CAROL),
        // It has been answered.
        ("Replaces: c2@host;to-tag=c;from-tag=a;early-only", CAROL),
        ("Replaces: nonsense", CAROL),
    ] {
        let mut lab = consulting();
        let before = lab.open();
        let invite = replacing(replaces);
        lab.send(BOB, accomplice, invite.clone());
        lab.send(accomplice, BOB, invite.reply(200, "x").sdp(&audio(accomplice, 31_100)));
        let after = lab.open();
        assert!(before.iter().all(|open| after.contains(open)), "{replaces}: {after:?}");
        assert_eq!(lab.core.calls().count(), 3);
    }
}

#[test]
fn an_early_dialog_is_given_up_by_who_has_called() {
    // Alice's call rings at Bob's desk; Carol picks it up: she asks Alice's phone for the place of that call.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    let pickup = |to: &str| {
        let header = format!(
            "Replaces: c1@host;to-tag={to};from-tag={};early-only",
            if to == "a" { "b" } else { "a" }
        );
        invite(1).of("c2@carol").header(&header).sdp(&audio(CAROL, 31_000))
    };
    lab.send(CAROL, ALICE, pickup("a"));
    lab.send(ALICE, CAROL, pickup("a").reply(200, "a2").sdp(&audio(ALICE, 20_010)));
    let picked_up = ["192.0.2.1:20010<203.0.113.9", "203.0.113.9:31000<192.0.2.1"];
    let offered = ["192.0.2.1:20000<198.51.100.7".to_owned()];
    assert_eq!(lab.open(), [&offered[..], &picked_up.map(str::to_owned)].concat(), "until Bob's 487");
    lab.send(ALICE, BOB, request("CANCEL", 1).via("INVITE1"));
    let told = lab.send(BOB, ALICE, invite(1).reply(487, "b"));
    assert_eq!(told.last().map(String::as_str), Some("ended cancel"));
    assert_eq!(lab.open(), picked_up);

    // Bob, whom it has not reached yet, cannot give it up.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    lab.send(CAROL, BOB, pickup("b"));
    lab.send(BOB, CAROL, pickup("b").reply(200, "x").sdp(&audio(BOB, 30_010)));
    assert_eq!(lab.open().len(), 4);
}

#[test]
fn an_early_dialog_that_was_given_up_may_be_answered_all_the_same() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    let pickup = invite(1).of("c2@carol").header("Replaces: c1@host;to-tag=a;from-tag=b;early-only");
    lab.send(CAROL, ALICE, pickup.clone().sdp(&audio(CAROL, 31_000)));
    lab.send(ALICE, CAROL, pickup.reply(200, "a2").sdp(&audio(ALICE, 20_010)));
    // The answer has crossed the CANCEL; Alice ends it with BYE.
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 4);
    hang_up(&mut lab, 2);
    assert_eq!(lab.open().len(), 2);
}
