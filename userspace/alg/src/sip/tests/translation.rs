//! Clients behind address translation.

use super::*;

/// A translator's outside; behind it is the client's own address.
const OUTSIDE: &str = "203.0.113.9:61000";
const CLIENT: &str = "10.0.0.5:5060";

fn latch() -> Lab {
    Lab::with(|policy| policy.nat_clients = NatClients::Latch)
}

#[test]
fn a_private_address_seen_from_another_one_is_learnt_where_the_rules_say_so() {
    let mut lab = latch();
    assert_eq!(lab.send(OUTSIDE, BOB, invite(1).sdp(&audio(CLIENT, 5_004))), NOTHING, "nobody can reach it");
    lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 30000<9 learns", "rtcp 30001<9 learns"]);
    let spec = lab.core.pinholes().next().expect("open");
    assert_eq!((spec.latch, spec.senders[0].port), (Some(Duration::from_secs(10)), None));
    let bye = request("BYE", 2).to("b");
    lab.send(OUTSIDE, BOB, bye.clone());
    lab.send(BOB, OUTSIDE, bye.reply(200, "b"));
    lab.assert_empty();

    let mut lab = Lab::new(0);
    let told = lab.send(OUTSIDE, BOB, invite(1).sdp(&audio(CLIENT, 20_000)));
    assert_eq!(told, ["refused 10.0.0.5:20000 not-the-announcers"]);
    lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 30000<9", "rtcp 30001<9"]);
}

#[test]
fn every_kind_of_private_address_is_one_and_no_other() {
    let learns = |c: &str| {
        let mut lab = latch();
        let family = if c.contains(':') { "IP6" } else { "IP4" };
        let body = audio(BOB, 20_000).replace("c=IN IP4 198.51.100.7", &format!("c=IN {family} {c}"));
        lab.send(OUTSIDE, BOB, invite(1).sdp(&body));
        lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
        lab.core.pinholes().all(|spec| spec.latch.is_some())
    };
    for private in
        ["10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.2", "100.64.0.1", "100.127.0.1", "fd00::5"]
    {
        assert!(learns(private), "{private}");
    }
    for public in
        ["172.32.0.1", "192.0.2.77", "100.128.0.1", "169.254.1.1", "127.0.0.1", "2001:db8::5", "203.0.113.9"]
    {
        assert!(!learns(public), "{public}");
    }
}

#[test]
fn a_private_network_without_translation_has_pinholes_as_ever() {
    let mut lab = latch();
    lab.send(CLIENT, BOB, invite(1).sdp(&audio(CLIENT, 20_000)));
    lab.send(BOB, CLIENT, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 20000<7", "rtcp 20001<7", "rtp 30000<5", "rtcp 30001<5"]);
}

#[test]
fn the_called_client_may_be_behind_translation_too() {
    let mut lab = latch();
    lab.send(BOB, OUTSIDE, invite(1).sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 30000<9", "rtcp 30001<9"], "while it rings");
    let told = lab.send(OUTSIDE, BOB, invite(1).reply(200, "b").sdp(&audio(CLIENT, 20_000)));
    assert_eq!(
        told,
        ["update rtp 198.51.100.7:30000 from 203.0.113.9", "update rtcp 198.51.100.7:30001 from 203.0.113.9"]
    );
    assert_eq!(lab.ports(), ["rtp 30000<9 learns", "rtcp 30001<9 learns"]);
    assert_eq!(
        lab.send(OUTSIDE, BOB, invite(1).reply(200, "b").sdp(&audio(CLIENT, 20_000))),
        NOTHING,
        "again"
    );
}

#[test]
fn a_client_that_moves_is_learnt_anew() {
    let mut lab = latch();
    lab.send(OUTSIDE, BOB, invite(1).sdp(&audio(CLIENT, 20_000)));
    lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    // Hold and resume, at the same place: nothing is learnt again.
    let hold = invite(2).to("b");
    assert_eq!(
        lab.send(OUTSIDE, BOB, hold.clone().sdp(&(audio(CLIENT, 20_000) + "a=sendonly\r\n"))),
        NOTHING
    );
    assert_eq!(
        lab.send(BOB, OUTSIDE, hold.reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["update rtp 198.51.100.7:30000 from 203.0.113.9"],
        "another source may send"
    );
    // Another port.
    let again = invite(3).to("b");
    lab.send(OUTSIDE, BOB, again.clone().sdp(&audio(CLIENT, 20_100)));
    let told = lab.send(BOB, OUTSIDE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert!(told.contains(&"close 198.51.100.7:30000 moved".to_owned()), "{told:?}");
    assert!(told.contains(&"open rtp 198.51.100.7:30000 from 203.0.113.9".to_owned()), "{told:?}");
    assert_eq!(lab.ports(), ["rtp 30000<9 learns", "rtcp 30001<9 learns"]);
    // Another outside.
    let elsewhere = "203.0.113.77:61000";
    let again = invite(4).to("b");
    lab.send(elsewhere, BOB, again.clone().sdp(&audio(CLIENT, 20_200)));
    lab.send(BOB, elsewhere, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 30000<77 learns", "rtcp 30001<77 learns"]);
    // Translation ends: it announces what it is seen from.
    let again = invite(5).to("b");
    lab.send(elsewhere, BOB, again.clone().sdp(&audio(elsewhere, 20_300)));
    lab.send(BOB, elsewhere, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 30000<77", "rtcp 30001<77", "rtp 20300<7", "rtcp 20301<7"]);
}

#[test]
fn fax_and_multiplexed_rtcp_are_learnt_as_well() {
    let mut lab = latch();
    let mux = |who: &str, port| audio(who, port) + "a=rtcp-mux\r\n";
    lab.send(OUTSIDE, BOB, invite(1).sdp(&mux(CLIENT, 20_000)));
    lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&mux(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtcp-mux 30000<9 learns"]);
}

#[test]
fn what_was_learnt_is_known_after_a_restart() {
    let mut lab = latch();
    lab.send(OUTSIDE, BOB, invite(1).sdp(&audio(CLIENT, 20_000)));
    lab.send(BOB, OUTSIDE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    let calls: Vec<_> = lab.core.calls().cloned().collect();
    let text = serde_json::to_string(&calls).expect("it can be written");
    let calls: Vec<Call> = serde_json::from_str(&text).expect("and read");
    let before = lab.ports();
    let mut lab = latch();
    lab.tracker.restore(&calls.iter().collect::<Vec<_>>());
    lab.core.restore(calls, lab.now);
    assert_eq!(lab.ports(), before);
}
