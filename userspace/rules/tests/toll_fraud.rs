//! `rules/toll-fraud.toml` holds to the lists of restrictions and of area codes of the CallManager Express
//! security guide, number by number, in and out of hours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callgate_policy::plan::Proof;
use callgate_policy::{
    Attempt, Decision, Desk, Now, Outcome, Party, Plan, Protocol, Registration, Verdict, Why,
};
use callgate_rules::{Disk, RuleSet};
use jiff::tz::TimeZone;

/// An executive, one of the staff, a phone in the lobby; a phone with no number of the plan.
const CALLERS: [&str; 4] = ["1001", "1234", "1801", "2000"];
/// A Wednesday at 10:00 and at 22:00, the mornings of a Monday and of a Tuesday, a Sunday at noon, Christmas on a Friday
/// at 10:00; in New York.
const TIMES: [(&str, bool); 6] = [
    ("2026-11-18T10:00-05:00", true),
    ("2026-11-18T22:00-05:00", false),
    ("2026-11-16T07:59-05:00", false),
    ("2026-11-17T07:59-05:00", false),
    ("2026-11-22T12:00-05:00", false),
    ("2026-12-25T10:00-05:00", false),
];
/// The area codes of the guide's after-hours list.
const AREAS: [&str; 24] = [
    "242", "264", "268", "246", "441", "284", "345", "767", "809", "473", "876", "664", "787", "869", "758",
    "900", "976", "868", "649", "340", "784", "684", "590", "456",
];

fn plan() -> Arc<Plan> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/toll-fraud.toml");
    let set = RuleSet::load(&path, &Disk).expect("it is accepted");
    set.call_policy().expect("it has a policy").clone()
}

fn now(text: &str) -> Now {
    Now { wall: text.parse().expect("a time"), since: Duration::from_secs(1) }
}

/// A call by a phone to the call manager.
fn call(desk: &mut Desk, caller: &str, called: &str, at: &str) -> Decision {
    let attempt = Attempt {
        protocol: Protocol::Sip,
        caller: Party { names: &[caller], device: None, address: Some([10, 10, 1, 7].into()) },
        called: &[called],
        to: Some([10, 10, 0, 1].into()),
    };
    desk.decide(&attempt, now(at))
}

/// The permission shown, and what becomes of each of [`CALLERS`] in hours and out of them.
#[derive(Clone, Copy)]
struct Case {
    called: &'static str,
    permission: &'static str,
    open: [Option<Why>; 4],
    closed: [Option<Why>; 4],
}

const fn case(
    called: &'static str,
    permission: &'static str,
    open: [Option<Why>; 4],
    closed: [Option<Why>; 4],
) -> Case {
    Case { called, permission, open, closed }
}

#[test]
fn each_number_of_the_list_for_each_caller_in_and_out_of_hours() {
    const NOT: Option<Why> = Some(Why::NoPermission);
    const LATE: Option<Why> = Some(Why::AfterHours);
    const ALL: [Option<Why>; 4] = [None; 4];
    const NAMED: [Option<Why>; 4] = [None, None, None, NOT];
    const STAFF: [Option<Why>; 4] = [None, None, NOT, NOT];
    const CHIEF: [Option<Why>; 4] = [None, NOT, NOT, NOT];
    let cases = [
        case("911", "emergency", ALL, ALL),
        case("9911", "emergency", ALL, ALL),
        case("918005550100", "toll-free", NAMED, NAMED),
        case("918665550100", "toll-free", NAMED, NAMED),
        case("918775550100", "toll-free", NAMED, NAMED),
        case("918885550100", "toll-free", NAMED, NAMED),
        case("9411", "information", STAFF, [None, LATE, NOT, NOT]),
        case("97325550100", "local", NAMED, NAMED),
        case("95550100", "local", NAMED, NAMED),
        case("912125550100", "long-distance", STAFF, [None, LATE, NOT, NOT]),
        case("919005550100", "premium", CHIEF, CHIEF),
        case("9011442071234567", "international", CHIEF, CHIEF),
        case("1002", "internal", ALL, ALL),
        // More digits than an emergency number has.
        case("9110119005550100", "long-distance", STAFF, [None, LATE, NOT, NOT]),
    ];
    let plan = plan();
    for case in cases {
        for (at, open) in TIMES {
            for (caller, expected) in CALLERS.into_iter().zip(if open { case.open } else { case.closed }) {
                let mut desk = Desk::new(plan.clone(), TimeZone::UTC);
                let decision = call(&mut desk, caller, case.called, at);
                let expected = expected.map_or(Verdict::Permit, Verdict::Refuse);
                assert_eq!(decision.verdict, expected, "{caller} calls {} at {at}", case.called);
                assert_eq!(decision.permission.as_deref(), Some(case.permission), "{}", case.called);
                assert_eq!(decision.emergency, case.permission == "emergency");
                assert_eq!(decision.ticket.is_some(), decision.permits());
            }
        }
    }
}

#[test]
fn the_area_codes_are_blocked_all_week() {
    let plan = plan();
    for area in AREAS {
        let called = format!("91{area}5550100");
        let premium = ["900", "976"].contains(&area);
        for (at, _) in TIMES {
            for (caller, why) in CALLERS.into_iter().zip([
                None,
                Some(if premium { Why::NoPermission } else { Why::AfterHours }),
                Some(Why::NoPermission),
                Some(Why::NoPermission),
            ]) {
                let mut desk = Desk::new(plan.clone(), TimeZone::UTC);
                let expected = why.map_or(Verdict::Permit, Verdict::Refuse);
                assert_eq!(call(&mut desk, caller, &called, at).verdict, expected, "{caller} {called} {at}");
            }
        }
    }
}

#[test]
fn from_outside_nobody_is_put_through_to_the_outside() {
    let plan = plan();
    let mut desk = Desk::new(plan, TimeZone::UTC);
    let mut from_trunk = |called: &str| {
        let attempt = Attempt {
            protocol: Protocol::Sip,
            caller: Party { names: &["1001"], device: None, address: Some([203, 0, 113, 10].into()) },
            called: &[called],
            to: Some([10, 10, 0, 1].into()),
        };
        desk.decide(&attempt, now(TIMES[0].0)).verdict
    };
    assert_eq!(from_trunk("1234"), Verdict::Permit);
    assert_eq!(
        from_trunk("912125550100"),
        Verdict::Refuse(Why::NoPermission),
        "an executive's number proves nothing"
    );
    assert_eq!(from_trunk("9011442071234567"), Verdict::Refuse(Why::NoPermission));
    assert_eq!(from_trunk("9911"), Verdict::Permit);
}

#[test]
fn premium_calls_do_not_leave_by_the_trunk() {
    let mut desk = Desk::new(plan(), TimeZone::UTC);
    let mut to_trunk = |called: &str| {
        let attempt = Attempt {
            protocol: Protocol::Sip,
            caller: Party { names: &["1001"], device: None, address: Some([10, 10, 0, 1].into()) },
            called: &[called],
            to: Some([203, 0, 113, 10].into()),
        };
        desk.decide(&attempt, now(TIMES[0].0)).verdict
    };
    assert_eq!(to_trunk("919005550100"), Verdict::Refuse(Why::Trunk));
    assert_eq!(to_trunk("912125550100"), Verdict::Permit);
}

#[test]
fn emergency_calls_pass_every_limit() {
    let mut desk = Desk::new(plan(), TimeZone::UTC);
    let night = TIMES[1].0;
    // The lobby's phone may have one call, and has been refused so often that it is suspected.
    assert!(call(&mut desk, "1801", "97325550100", night).permits());
    assert_eq!(call(&mut desk, "1801", "97325550100", night).verdict, Verdict::Refuse(Why::CallerCalls));
    for _ in 0..200 {
        assert!(!call(&mut desk, "1801", "9011442071234567", night).permits());
    }
    assert_eq!(call(&mut desk, "1801", "9011442071234567", night).verdict, Verdict::Refuse(Why::Fraud));
    for _ in 0..500 {
        let decision = call(&mut desk, "1801", "911", night);
        assert!(decision.permits() && decision.emergency);
    }
    assert!(matches!(desk.plan().proof(), Proof::Holds(2)));
}

#[test]
fn numbers_are_brought_into_one_form() {
    let mut desk = Desk::new(plan(), TimeZone::UTC);
    for (called, normal) in [
        ("9011442071234567", "+442071234567"),
        ("912125550100", "+12125550100"),
        ("95550100", "+17325550100"),
        ("1002", "1002"),
    ] {
        let decision = call(&mut desk, "1001", called, TIMES[0].0);
        assert_eq!(decision.called.as_str(), normal);
        let ticket = decision.ticket.expect("it is permitted");
        desk.ended(ticket, Outcome::Cancelled, now(TIMES[0].0));
    }
}

#[test]
fn phones_register_where_phones_are() {
    let mut desk = Desk::new(plan(), TimeZone::UTC);
    let mut admit = |protocol, name: &str, address: [u8; 4]| {
        let registration = Registration { protocol, name, address: address.into() };
        let admission = desk.admit(&registration, now(TIMES[0].0));
        if admission.verdict == Verdict::Permit {
            desk.registered(&registration, Duration::from_secs(3_600), now(TIMES[0].0));
        }
        admission.verdict
    };
    assert_eq!(admit(Protocol::Sccp, "SEP0011AABBCC01", [10, 10, 1, 7]), Verdict::Permit);
    assert_eq!(admit(Protocol::Sccp, "SEP0011AABBCC02", [10, 10, 1, 7]), Verdict::Permit);
    assert_eq!(admit(Protocol::Sccp, "SEP0011AABBCC03", [10, 10, 1, 7]), Verdict::Refuse(Why::Registrations));
    assert_eq!(admit(Protocol::Sccp, "SEP0011AABBCC01", [10, 10, 1, 7]), Verdict::Permit, "again");
    assert_eq!(admit(Protocol::Sccp, "SEP0011AABBCC04", [203, 0, 113, 9]), Verdict::Refuse(Why::Place));
    assert_eq!(admit(Protocol::Sccp, "ATA0011AABBCC01", [10, 10, 1, 8]), Verdict::Refuse(Why::UnknownDevice));
    assert_eq!(admit(Protocol::Sip, "1234@pbx.example", [10, 10, 1, 9]), Verdict::Permit);
    assert_eq!(admit(Protocol::Sip, "SEP0011AABBCC01", [10, 10, 1, 9]), Verdict::Refuse(Why::UnknownDevice));
}

/// Hours over midnight end on the day after those they are given for; a block may have a zone of its own.
#[test]
fn hours_go_over_midnight_in_the_zone_that_is_said() {
    let text = "version = 1\n[settings]\ntime_zone = \"America/New_York\"\n[policy]\n\
                [[policy.after_hours]]\nname = \"nights\"\npatterns = [\"9\"]\nwhen = \"mon-fri 18:00-08:00\"\n\
                [[policy.after_hours]]\nname = \"coast\"\npatterns = [\"8\"]\nwhen = \"mon-fri 18:00-24:00\"\n\
                time_zone = \"America/Los_Angeles\"\n[[rule]]\nname = \"all\"\naction = \"pass\"\n";
    let set = RuleSet::parse("rules.toml", text).expect("valid rules");
    let mut desk = Desk::new(set.call_policy().expect("a policy").clone(), TimeZone::UTC);
    for (time, nine, eight) in [
        ("2026-11-16T07:59-05:00", true, true), // Monday's morning belongs to no night that is meant.
        ("2026-11-16T18:00-05:00", false, true),
        ("2026-11-16T23:30-05:00", false, false), // 20:30 on the other coast
        ("2026-11-17T02:59-05:00", false, false),
        ("2026-11-17T03:00-05:00", false, true),
        ("2026-11-17T08:00-05:00", true, true),
        ("2026-11-21T07:59-05:00", false, true), // Friday's night ends on Saturday.
        ("2026-11-21T08:00-05:00", true, true),
    ] {
        for (called, free) in [("95550100", nine), ("85550100", eight)] {
            let verdict = call(&mut desk, "1234", called, time).verdict;
            let want = if free { Verdict::Permit } else { Verdict::Refuse(Why::AfterHours) };
            assert_eq!(verdict, want, "{called} at {time}");
        }
    }
}
