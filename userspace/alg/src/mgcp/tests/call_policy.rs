//! What the call policy says of what is dialled at gateways.

use super::*;
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
