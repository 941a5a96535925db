//! Calls that pass the firewall more than once.

use super::*;

/// The INVITE and its answer through a proxy whose both sides pass the firewall.
fn through_proxy() -> Lab {
    let mut lab = Lab::new(0);
    let (inner, outer) = (invite(1).via("a1"), invite(1).via("p1"));
    lab.send(ALICE, PROXY, inner.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, BOB, outer.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<192.0.2.10,198.51.100.7"]);
    lab.send(BOB, PROXY, outer.reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(PROXY, ALICE, inner.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.core.calls().count(), 2);
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    lab
}

#[test]
fn a_proxy_makes_two_hops_of_one_call() {
    let mut lab = through_proxy();
    let (inner, outer) = (request("BYE", 2).to("b").via("a2"), request("BYE", 2).to("b").via("p2"));
    lab.send(ALICE, PROXY, inner.clone());
    lab.send(PROXY, BOB, outer.clone());
    let told = lab.send(BOB, PROXY, outer.reply(200, "b"));
    assert_eq!(told.last().map(String::as_str), Some("ended bye"));
    assert!(told.iter().all(|told| !told.starts_with("close")), "the other hop still needs them: {told:?}");
    assert_eq!(lab.send(PROXY, ALICE, inner.reply(200, "b")).len(), 5);
    lab.assert_empty();
}

#[test]
fn parties_that_go_on_without_the_proxy_move_and_end_both_hops() {
    let mut lab = through_proxy();
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();
}

#[test]
fn a_proxy_that_sends_the_call_back_where_it_came_from_makes_two_hops() {
    let mut lab = Lab::new(0);
    let phone = "192.0.2.1:5062";
    let (there, back) = (invite(1).via("a1"), invite(1).via("p1"));
    lab.send(ALICE, PROXY, there.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, phone, back.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.core.calls().count(), 2);
    lab.send(phone, PROXY, back.reply(200, "b").sdp(&audio(phone, 20_200)));
    lab.send(PROXY, ALICE, there.reply(200, "b").sdp(&audio(phone, 20_200)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<192.0.2.1", "192.0.2.1:20200<192.0.2.1"]);
    let (there, back) = (request("BYE", 2).to("b").via("a2"), request("BYE", 2).to("b").via("p2"));
    lab.send(ALICE, PROXY, there.clone());
    lab.send(PROXY, ALICE, there.reply(200, "b"));
    assert_eq!(lab.core.calls().count(), 1, "each hop has its own BYE");
    lab.send(PROXY, phone, back.clone());
    lab.send(phone, PROXY, back.reply(200, "b"));
    lab.assert_empty();
}
