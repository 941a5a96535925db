//! Restarts, bounds, and what is no SIP.

use super::*;

#[test]
fn calls_go_on_after_a_restart() {
    let restart = |lab: &mut Lab| {
        let calls: Vec<_> = lab.core.calls().cloned().collect();
        let mut after = Lab::new(0);
        after.now = lab.now;
        after.tracker.restore(&calls.iter().collect::<Vec<_>>());
        after.core.restore(calls, lab.now);
        after
    };
    // Answered: it can move and end.
    let mut lab = restart(&mut Lab::answered(0));
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();

    // Ringing: it can be answered.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(180, "b"));
    let mut lab = restart(&mut lab);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
}

#[test]
fn a_call_older_than_the_firewall_is_taken_up() {
    let mut lab = Lab::new(0);
    let again = invite(7).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();
}

#[test]
fn hops_of_one_call_id_are_bounded() {
    let mut lab = Lab::new(0);
    for n in 1..=MAX_HOPS as u8 {
        let caller = SocketAddr::new(IpAddr::from([10, 0, 0, n]), 5060).to_string();
        lab.send(&caller, BOB, invite(1));
    }
    let context = lab.context(ALICE, BOB);
    let verdict = lab.tracker.message(&mut lab.core, &context, invite(1).text().as_bytes());
    assert_eq!(verdict, Verdict::Drop(Reason::AlgMemory));
    assert_eq!(lab.core.calls().count(), MAX_HOPS);
}

#[test]
fn transactions_of_one_call_are_bounded() {
    let mut lab = Lab::new(0);
    for n in 1..=100 {
        lab.send(ALICE, BOB, invite(n).via(&n.to_string()).sdp(&audio(ALICE, 20_000)));
    }
    let hop = &lab.tracker.calls["c1@host"][0];
    assert!(hop.transactions.len() <= 16);
    for n in 1..=100 {
        lab.send(BOB, ALICE, invite(n).via(&n.to_string()).reply(486, "b"));
    }
    lab.assert_empty();
}

#[test]
fn keep_alives_pass_and_what_is_no_sip_is_dropped() {
    let mut lab = Lab::new(0);
    let context = lab.context(ALICE, BOB);
    for quiet in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"hello"] {
        assert_eq!(lab.tracker.message(&mut lab.core, &context, quiet), Verdict::Pass);
    }
    let two = invite(1).header("Call-ID: other").text();
    for bad in [&b"not SIP at all"[..], b"GET / HTTP/1.1\r\n\r\n", two.as_bytes()] {
        let verdict = lab.tracker.message(&mut lab.core, &context, bad);
        assert_eq!(verdict, Verdict::Drop(Reason::AlgMalformed));
    }
    lab.assert_empty();
}
