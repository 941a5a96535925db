//! One INVITE, several answers.

use super::*;

#[test]
fn every_fork_is_admitted_until_one_answers() {
    let mut lab = Lab::new(ANY);
    let fork = |status, tag, host: &str, port| invite(1).reply(status, tag).sdp(&audio(host, port));
    lab.send(ALICE, PROXY, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, ALICE, fork(183, "b1", "198.51.100.1:1", 30_000));
    lab.send(PROXY, ALICE, fork(183, "b2", "198.51.100.2:1", 30_000));
    lab.send(PROXY, ALICE, fork(183, "b3", "198.51.100.3:1", 30_000));
    assert_eq!(
        lab.open(),
        [
            "192.0.2.1:20000<198.51.100.1,198.51.100.2,198.51.100.3",
            "198.51.100.1:30000<192.0.2.1",
            "198.51.100.2:30000<192.0.2.1",
            "198.51.100.3:30000<192.0.2.1",
        ]
    );
    lab.send(PROXY, ALICE, fork(200, "b2", "198.51.100.2:1", 30_000));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.2", "198.51.100.2:30000<192.0.2.1"]);

    // A second fork that answered before it was cancelled is a dialog of its own, and is ended by its own BYE.
    lab.send(PROXY, ALICE, fork(200, "b3", "198.51.100.3:1", 30_000));
    assert_eq!(lab.open().len(), 3);
    let bye = request("BYE", 2).to("b3");
    lab.send(ALICE, PROXY, bye.clone());
    lab.send(PROXY, ALICE, bye.reply(200, "b3"));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.2", "198.51.100.2:30000<192.0.2.1"]);
    let bye = request("BYE", 3).to("b2");
    lab.send(ALICE, PROXY, bye.clone());
    lab.send(PROXY, ALICE, bye.reply(200, "b2"));
    lab.assert_empty();
}

#[test]
fn two_phones_behind_one_address_are_two_transactions_of_one_call() {
    let mut lab = Lab::new(0);
    let (first, second) = (invite(1).via("p1"), invite(1).via("p2"));
    lab.send(ALICE, BOB, first.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(ALICE, "198.51.100.7:5062", second.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.core.calls().count(), 1);
    lab.send(BOB, ALICE, first.clone().reply(200, "b1").sdp(&audio(BOB, 30_000)));
    lab.send(ALICE, "198.51.100.7:5062", request("CANCEL", 1).via("p2"));
    lab.send("198.51.100.7:5062", ALICE, second.reply(487, "b2"));
    assert_eq!(lab.open().len(), 2, "the answered one goes on");
    assert_eq!(lab.call().state, State::Connected);
    lab.wait(100);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn one_tag_for_several_invites_keeps_the_media_of_each() {
    // A client with several sockets sends the call from each, every time with other ports; the server answers
    // each with the same tag.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send("192.0.2.1:1032", BOB, invite(2).sdp(&audio(ALICE, 20_010)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(BOB, "192.0.2.1:1032", invite(2).reply(200, "b").sdp(&audio(BOB, 30_010)));
    assert_eq!(lab.open().len(), 4);
    assert_eq!(lab.core.calls().count(), 1);
    let again = invite(3).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_020)));
    let ports = ["192.0.2.1:20000<", "192.0.2.1:20010<", "198.51.100.7:30010<", "198.51.100.7:30020<"];
    assert!(lab.open().iter().zip(ports).all(|(open, port)| open.starts_with(port)), "{:?}", lab.open());
    let bye = request("BYE", 4).to("b");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b"));
    lab.assert_empty();
}

#[test]
fn each_fork_is_acknowledged_and_updated_on_its_own() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    for (n, tag) in (1..).zip(["b1", "b2"]) {
        lab.send(BOB, ALICE, invite(1).reply(183, tag).sdp(&audio(BOB, 30_000 + 10 * n)));
        let prack = request("PRACK", 1 + u32::from(n)).to(tag);
        lab.send(ALICE, BOB, prack.clone());
        lab.send(BOB, ALICE, prack.reply(200, tag));
    }
    assert_eq!(lab.open().len(), 3);
    let update = request("UPDATE", 9).to("b2");
    lab.send(ALICE, BOB, update.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, update.reply(200, "b2").sdp(&audio(BOB, 30_120)));
    let ports: Vec<_> =
        lab.open().iter().map(|open| open[..open.find('<').unwrap_or(0)].to_owned()).collect();
    assert_eq!(
        ports,
        ["192.0.2.1:20000", "192.0.2.1:20100", "198.51.100.7:30010", "198.51.100.7:30120"],
        "b1 is as it was"
    );
    lab.send(BOB, ALICE, invite(1).reply(200, "b2"));
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30120<192.0.2.1"]);
}

#[test]
fn a_fork_that_fails_late_takes_nobody_with_it() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b1").sdp(&audio(BOB, 30_010)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b2").sdp(&audio(BOB, 30_020)));
    // 199: this early dialog is over, others may go on (RFC 6228).
    lab.send(BOB, ALICE, invite(1).reply(199, "b1"));
    lab.send(BOB, ALICE, invite(1).reply(200, "b2").sdp(&audio(BOB, 30_020)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30020<192.0.2.1"]);
    lab.send(BOB, ALICE, invite(1).reply(487, "b1"));
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn forks_that_offer_are_answered_one_by_one() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(183, "b1").sdp(&audio(BOB, 30_010)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b2").sdp(&audio(BOB, 30_020)));
    lab.send(ALICE, BOB, request("PRACK", 2).to("b1").sdp(&audio(ALICE, 20_010)));
    lab.send(ALICE, BOB, request("PRACK", 3).to("b2").sdp(&audio(ALICE, 20_020)));
    assert_eq!(lab.open().len(), 4);
    lab.send(BOB, ALICE, invite(1).reply(200, "b1"));
    assert_eq!(lab.open(), ["192.0.2.1:20010<198.51.100.7", "198.51.100.7:30010<192.0.2.1"]);
}

#[test]
fn the_first_fork_may_leave_before_another_answers() {
    // It had answered the offer first; BYE ends its early dialog alone (RFC 3261 section 15).
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b1").sdp(&audio(BOB, 30_010)));
    let bye = request("BYE", 2).to("b1");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b1"));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"], "the offer stands");
    lab.send(BOB, ALICE, invite(1).reply(200, "b2").sdp(&audio(BOB, 30_020)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30020<192.0.2.1"]);
    let bye = request("BYE", 3).to("b2");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b2"));
    lab.assert_empty();
}
