//! What the call policy says of what is dialled at gateways.

use super::*;
use crate::action::EndReason;
use crate::core::gate::lab::{finished, govern};

fn lab() -> Lab {
    let mut lab = Lab::named();
    govern(&mut lab.core, "");
    lab
}

fn notify(number: u32, events: &str) -> String {
    format!("NTFY {number} aaln/1@gw MGCP 1.0\r\nX: 1\r\nO: {events}\r\n")
}

/// What the gateway reads in its agent's stead; `None` where its notification goes on.
fn told(lab: &mut Lab, text: &str) -> Option<String> {
    match lab.verdict(GW, AGENT, text) {
        Verdict::Pass => None,
        Verdict::Refuse(denial) => Some(String::from_utf8(denial.reply.expect("an answer")).expect("text")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_number_that_may_not_be_called_is_refused_to_the_gateway() {
    let mut lab = lab();
    let number = "d/9,d/0,d/1,d/1,d/4,d/4";
    assert_eq!(
        told(&mut lab, &notify(7, number)).as_deref(),
        Some("502 7 Not permitted to call this number\r\n")
    );
    // It is sent again: the same answer, and the same attempt.
    assert!(told(&mut lab, &notify(7, number)).is_some());
    assert_eq!(
        finished(&lab.core.take_actions()),
        ["aaln/1@gw → 901144 [international] refused no-permission mgcp 502 by firewall"]
    );
    assert_eq!(told(&mut lab, &notify(8, "d/9,d/1,d/1")), None);
}

#[test]
fn digits_that_come_one_by_one_are_put_together() {
    let mut lab = lab();
    assert_eq!(told(&mut lab, &notify(1, "L/hd")), None);
    assert_eq!(told(&mut lab, &notify(2, "d/9")), None);
    assert!(told(&mut lab, &notify(3, "d/0")).is_some());
    assert_eq!(told(&mut lab, &notify(4, "L/hd")), None);
    for (number, digit) in (5..).zip(["d/9", "d/1", "d/1"]) {
        assert_eq!(told(&mut lab, &notify(number, digit)), None);
    }
}

#[test]
fn what_is_granted_belongs_to_the_call_at_the_endpoint() {
    let mut lab = lab();
    assert_eq!(told(&mut lab, &notify(1, "d/1,d/2,d/3,d/4")), None);
    lab.pass(AGENT, GW, &create(1204, &sdp("203.0.113.5", 20_000)));
    let call = lab.core.calls().next().expect("a call");
    assert_eq!(call.granted.as_deref().map(|granted| granted.numbers[1].as_str()), Some("1234"));
    // Another number, at the endpoint of the call.
    let told = told(&mut lab, &notify(2, "L/hd, d/9,d/0,d/1,d/1,d/4"));
    assert!(told.is_some_and(|told| told.starts_with("502 2 ")));
    assert_eq!(lab.core.calls().count(), 0);
}

/// What the firewall has said of its own: from where, where to, and what.
fn said(lab: &mut Lab) -> Vec<(String, String, String)> {
    let actions = lab.core.take_actions();
    let said = actions.iter().filter_map(|action| match action {
        Action::Say(saying) => Some((
            saying.from.to_string(),
            saying.to.to_string(),
            String::from_utf8_lossy(&saying.payload).into_owned(),
        )),
        _ => None,
    });
    said.collect()
}

#[test]
fn a_call_that_a_limit_ends_is_deleted_at_both_ends_and_stays_so() {
    let mut lab = lab();
    lab.pass(AGENT, GW, &create(1, ""));
    lab.pass(GW, AGENT, &format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000)));
    let call = lab.only_call().clone();
    lab.core.end_call(call.id, EndReason::Limit);
    lab.core.take_actions();
    lab.tracker.limited(&mut lab.core, &call, lab.now);
    lab.tracker.ended(&call);
    let told = said(&mut lab);
    let ways: Vec<_> = told.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect();
    assert_eq!(ways, [(AGENT, GW), (GW, AGENT)]);
    let mut numbers = Vec::new();
    for (_, _, text) in &told {
        let message = mgcp::Message::parse(text.as_bytes()).expect("a command");
        let Start::Command { verb, endpoint } = message.start else { panic!("{text}") };
        assert_eq!((verb, endpoint.name(), message.call), (Verb::Delete, "aaln/1@gw", Some("A1")));
        numbers.push(message.transaction);
    }
    assert!(numbers.iter().all(|number| (900_000_000..=999_999_999).contains(number)), "{numbers:?}");
    // Repeated until it is answered; the answer goes no further.
    lab.now = lab.now + Duration::from_secs(2);
    lab.tracker.tick(&mut lab.core, lab.now);
    assert_eq!(said(&mut lab).len(), 2);
    assert_eq!(lab.verdict(GW, AGENT, &format!("250 {} OK\r\n", numbers[0])), Verdict::Absorb);
    assert_eq!(lab.verdict(AGENT, GW, &format!("200 {} OK\r\n", numbers[1])), Verdict::Absorb);
    lab.now = lab.now + Duration::from_secs(5);
    lab.tracker.tick(&mut lab.core, lab.now);
    assert_eq!(said(&mut lab), []);
    // The agent that goes on with it reads that there is no such call.
    let told = told_by_gateway(&mut lab, &modify(7, "31", &sdp("203.0.113.5", 20_000)));
    assert_eq!(told, "516 7 Call is over\r\n");
    assert_eq!((lab.core.calls().count(), lab.core.pinholes().count()), (0, 0));
}

/// What an agent reads in a gateway's stead.
fn told_by_gateway(lab: &mut Lab, text: &str) -> String {
    match lab.verdict(AGENT, GW, text) {
        Verdict::Refuse(denial) => String::from_utf8(denial.reply.expect("an answer")).expect("text"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_comes_to_an_endpoint_is_asked_for_and_counts() {
    let mut lab = Lab::named();
    govern(&mut lab.core, "limits = { calls = 1 }");
    lab.pass(AGENT, GW, &create(1, ""));
    let call = lab.only_call();
    assert_eq!(call.granted.as_deref().map(|granted| granted.permission.as_str()), Some(""));
    // There is room for one.
    let second = create(2, "").replace("C: A1", "C: A2").replace("aaln/1", "aaln/2");
    assert_eq!(told_by_gateway(&mut lab, &second), "540 2 Too many calls\r\n");
    lab.core.take_actions();
    assert_eq!(told_by_gateway(&mut lab, &second), "540 2 Call is over\r\n");
    assert_eq!(finished(&lab.core.take_actions()), [""; 0], "a repetition is no attempt");
    // Whatever else the call needs at this gateway is part of it.
    lab.pass(AGENT, GW, &create(3, "").replace("aaln/1", "aaln/3"));
}
