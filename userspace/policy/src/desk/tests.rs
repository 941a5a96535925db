use std::net::IpAddr;

use super::*;
use crate::AddressSet;
use crate::decision::{Party, Protocol};
use crate::hours::{Day, Hours};
use crate::name::Pattern;
use crate::pattern::{DialPattern, Reach};
use crate::plan::Proof;
use crate::spec::{Fraud, Permission, PermissionSet, RegistrationRule, Rewrite, Spec, Unmatched};

const LOCAL: usize = 0;
const FAR: usize = 1;
const COSTS: usize = 2;

fn patterns(texts: &[&str], reach: Reach) -> Vec<DialPattern> {
    texts.iter().map(|text| DialPattern::read(text, reach).expect("a pattern")).collect()
}

fn permission(name: &str, texts: &[&str]) -> Permission {
    Permission {
        name: name.into(),
        patterns: patterns(texts, Reach::Prefix).into(),
        longest: None,
        minutes_per_day: None,
        calls: None,
        first_seen: false,
    }
}

fn caller(name: &str, numbers: &[&str], outgoing: &[usize]) -> Caller {
    Caller {
        name: name.into(),
        numbers: patterns(numbers, Reach::Whole),
        names: Vec::new(),
        from: None,
        trunk: false,
        outgoing: outgoing.iter().copied().collect(),
        incoming: PermissionSet::ALL,
        each: Limits::default(),
        together: Limits::default(),
    }
}

fn addresses(text: &str) -> Option<AddressSet> {
    Some(AddressSet::new(&[text.parse().expect("a prefix")]))
}

/// 0… is local, 00… far, 0900… costs; 112 is for emergencies. 100 may call all of it, 101 what is local.
fn spec() -> Spec {
    Spec {
        permissions: vec![
            permission("local", &["0"]),
            permission("far", &["00", "+[235-9]", "+44"]),
            permission("costs", &["0900", "+49900"]),
        ],
        emergency: patterns(&["112"], Reach::Whole),
        normalise: [("00", 2, "+"), ("0", 1, "+49")]
            .map(|(pattern, strip, prefix)| Rewrite {
                pattern: DialPattern::read(pattern, Reach::Prefix).expect("a pattern"),
                strip,
                prefix: prefix.into(),
            })
            .into(),
        callers: vec![caller("chief", &["100"], &[LOCAL, FAR, COSTS]), caller("clerk", &["101"], &[LOCAL])],
        strangers: PermissionSet::NONE,
        ..Spec::default()
    }
}

fn desk(spec: Spec) -> Desk {
    Desk::new(Arc::new(Plan::new(spec)), TimeZone::UTC)
}

/// 2024-01-01, a Monday, 12:00 UTC, and so many seconds.
fn at(seconds: u64) -> Now {
    let noon = 1_704_110_400 + i64::try_from(seconds).expect("a time");
    Now { wall: jiff::Timestamp::from_second(noon).expect("a time"), since: Duration::from_secs(seconds) }
}

fn attempt<'a>(names: &'a [&'a str], called: &'a [&'a str]) -> Attempt<'a> {
    Attempt {
        protocol: Protocol::Sip,
        caller: Party { names, device: None, address: Some(IpAddr::from([10, 0, 0, 1])) },
        called,
        to: None,
    }
}

fn call(desk: &mut Desk, from: &str, to: &str, now: Now) -> Decision {
    desk.decide(&attempt(&[from], &[to]), now)
}

fn verdict(desk: &mut Desk, from: &str, to: &str, now: Now) -> Verdict {
    call(desk, from, to, now).verdict
}

fn ticket(desk: &mut Desk, from: &str, to: &str, now: Now) -> Ticket {
    let decision = call(desk, from, to, now);
    decision.ticket.unwrap_or_else(|| panic!("{from} calls {to}: {:?}", decision.verdict))
}

#[test]
fn a_number_needs_the_permission_of_its_longest_pattern() {
    let mut desk = desk(spec());
    for (to, permission, clerk) in [
        ("030123", "local", Verdict::Permit),
        ("004420123", "far", Verdict::Refuse(Why::NoPermission)),
        ("0900123", "costs", Verdict::Refuse(Why::NoPermission)),
        // The international form of it: patterns of normalised numbers come before those of what is dialled.
        ("0049900123", "costs", Verdict::Refuse(Why::NoPermission)),
        ("+49900123", "costs", Verdict::Refuse(Why::NoPermission)),
    ] {
        let decision = call(&mut desk, "100", to, at(0));
        assert_eq!(
            (decision.verdict, decision.permission.as_deref()),
            (Verdict::Permit, Some(permission)),
            "{to}"
        );
        assert_eq!(desk.entry_name(&decision), "chief");
        assert_eq!(verdict(&mut desk, "101", to, at(0)), clerk, "{to}");
    }
    assert_eq!(call(&mut desk, "101", "0049301", at(0)).called.as_str(), "+49301");
    assert_eq!(verdict(&mut desk, "102", "030123", at(0)), Verdict::Refuse(Why::NoPermission), "a stranger");
}

#[test]
fn what_no_pattern_has_is_as_the_plan_says() {
    let unmatched = |unmatched| desk(Spec { unmatched, ..spec() });
    let mut permit = unmatched(Unmatched::Permit);
    let decision = call(&mut permit, "102", "200", at(0));
    assert_eq!((decision.verdict, decision.permission), (Verdict::Permit, None));
    assert_eq!(verdict(&mut permit, "102", "alice", at(0)), Verdict::Permit);
    let mut refuse = unmatched(Unmatched::Refuse);
    assert_eq!(verdict(&mut refuse, "100", "200", at(0)), Verdict::Refuse(Why::NoPattern));
    assert_eq!(verdict(&mut refuse, "100", "alice", at(0)), Verdict::Refuse(Why::NoPattern));
    let mut needs = unmatched(Unmatched::Needs(FAR));
    assert_eq!(verdict(&mut needs, "100", "alice", at(0)), Verdict::Permit);
    assert_eq!(verdict(&mut needs, "101", "alice", at(0)), Verdict::Refuse(Why::NoPermission));
}

#[test]
fn every_number_of_the_called_party_must_be_permitted() {
    let mut desk = desk(spec());
    let mut verdict = |called: &[&str]| desk.decide(&attempt(&["101"], called), at(0)).verdict;
    assert_eq!(verdict(&["030123", "alice"]), Verdict::Permit, "names do not count beside a number");
    assert_eq!(verdict(&["030123", "0900123"]), Verdict::Refuse(Why::NoPermission));
    assert_eq!(verdict(&["112", "0900123"]), Verdict::Refuse(Why::NoPermission), "no emergency call");
    assert_eq!(verdict(&["112", "ambulance"]), Verdict::Permit);
    assert_eq!(verdict(&["1120900123"]), Verdict::Permit, "an unmatched number: no emergency call");
    assert_eq!(verdict(&[]), Verdict::Permit);
}

#[test]
fn an_emergency_call_is_known_in_every_form() {
    let mut spec = spec();
    spec.emergency.extend(patterns(&["+49112"], Reach::Whole));
    let plan = Plan::new(spec);
    for called in [
        "112",
        "1-1-2",
        "sip:112@pbx",
        "%3112",
        "tel:112;phone-context=+49",
        "0112",
        "urn:service:sos",
        "URN:service:sos.fire",
    ] {
        assert!(plan.is_emergency(&[called]), "{called}");
    }
    for called in
        ["1120", "112##", "112*", "11", "0900112", "sos", "urn:service:sosfire", "urn:service:counseling"]
    {
        assert!(!plan.is_emergency(&[called]), "{called}");
    }
    assert!(!plan.is_emergency(&[]) && !Plan::default().is_emergency(&["112", "urn:service:sos"]));
    assert_eq!(plan.proof(), Proof::Holds(2));
}

#[test]
fn the_first_entry_that_matches_counts() {
    let mut spec = spec();
    spec.callers
        .insert(0, Caller { from: addresses("10.9.0.0/16"), ..caller("elsewhere", &["101"], &[FAR]) });
    spec.callers.push(Caller { from: addresses("10.0.0.0/8"), ..caller("office", &[], &[LOCAL, FAR]) });
    spec.callers.push(Caller {
        names: vec![Pattern::new("SEP*").expect("a pattern")],
        ..caller("device", &[], &[COSTS])
    });
    let mut desk = desk(spec);
    let mut entry = |names: &[&str], device: Option<&str>, address: [u8; 4]| {
        let caller = Party { names, device, address: Some(address.into()) };
        let attempt = Attempt { protocol: Protocol::Sccp, caller, called: &["112"], to: None };
        let decision = desk.decide(&attempt, at(0));
        desk.entry_name(&decision).to_owned()
    };
    assert_eq!(entry(&["101"], None, [10, 9, 0, 1]), "elsewhere");
    assert_eq!(entry(&["101"], None, [10, 8, 0, 1]), "clerk");
    assert_eq!(entry(&["555"], None, [10, 8, 0, 1]), "office");
    assert_eq!(entry(&["555"], None, [192, 0, 2, 1]), "");
    assert_eq!(entry(&["555"], Some("sep0011"), [192, 0, 2, 1]), "device");
    assert_eq!(entry(&["101"], Some("SEP0011"), [192, 0, 2, 1]), "device", "the device is known best");
    assert_eq!(entry(&["555", "100"], None, [192, 0, 2, 1]), "chief");
}

#[test]
fn a_trunk_is_passed_in_both_directions_by_lists_of_its_own() {
    let mut spec = spec();
    spec.callers.push(Caller {
        trunk: true,
        from: addresses("192.0.2.1/32"),
        incoming: [LOCAL].into_iter().collect(),
        ..caller("trunk", &[], &[FAR])
    });
    spec.callers[0].from = addresses("10.0.0.0/8");
    let mut desk = desk(spec);
    let mut through = |from: [u8; 4], to: [u8; 4], called: &str| {
        let caller = Party { names: &["100"], device: None, address: Some(from.into()) };
        let attempt = Attempt { protocol: Protocol::Sip, caller, called: &[called], to: Some(to.into()) };
        desk.decide(&attempt, at(0)).verdict
    };
    let (phone, pbx, trunk) = ([10, 0, 0, 1], [10, 0, 0, 9], [192, 0, 2, 1]);
    assert_eq!(through(phone, trunk, "0044"), Verdict::Permit);
    assert_eq!(through(phone, trunk, "0900"), Verdict::Refuse(Why::Trunk));
    assert_eq!(through(trunk, pbx, "030"), Verdict::Permit);
    assert_eq!(through(trunk, pbx, "0044"), Verdict::Refuse(Why::NoPermission));
    assert_eq!(through(trunk, pbx, "112"), Verdict::Permit);
}

#[test]
fn a_called_party_takes_calls_of_the_kinds_it_lists() {
    let mut spec = spec();
    spec.callers[1].incoming = [LOCAL].into_iter().collect();
    let mut desk = desk(spec);
    assert_eq!(verdict(&mut desk, "030123", "101", at(0)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "+4420123", "101", at(0)), Verdict::Refuse(Why::Incoming));
    assert_eq!(verdict(&mut desk, "+4420123", "100", at(0)), Verdict::Permit);
    assert_eq!(
        verdict(&mut desk, "alice", "101", at(0)),
        Verdict::Permit,
        "unmatched callers are nothing special"
    );
}

/// What costs is blocked from 18:00 to 08:00 and on Epiphany; 0900 1 is not, and the chief is exempt.
fn closed() -> Spec {
    let night = [0..8 * 60, 18 * 60..24 * 60];
    let minutes = (0..7).flat_map(|day| night.clone().map(|m| day * 1440 + m.start..day * 1440 + m.end));
    let epiphany = Day { year: None, month: 1, day: 6, minutes: 0..1440 };
    Spec {
        callers: vec![caller("chief", &["100"], &[COSTS]), caller("clerk", &["101"], &[LOCAL, COSTS])],
        blocks: vec![Block {
            name: "closed".into(),
            patterns: patterns(&["0900", "+49901"], Reach::Prefix),
            allow: patterns(&["09001"], Reach::Prefix),
            hours: Hours::new(minutes, vec![epiphany]),
            time_zone: None,
            exempt: vec![0],
            pin: true,
        }],
        pins: patterns(&["*4711"], Reach::Whole),
        ..spec()
    }
}

#[test]
fn numbers_are_blocked_by_hours_and_dates() {
    let mut desk = desk(closed());
    const HOUR: u64 = 3_600;
    let late = Verdict::Refuse(Why::AfterHours);
    assert_eq!(verdict(&mut desk, "101", "09002", at(0)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "101", "09002", at(6 * HOUR)), late);
    assert_eq!(verdict(&mut desk, "101", "0901", at(6 * HOUR)), late, "the normalised form");
    assert_eq!(verdict(&mut desk, "101", "09001", at(6 * HOUR)), Verdict::Permit, "allowed");
    assert_eq!(verdict(&mut desk, "101", "030", at(6 * HOUR)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "100", "09002", at(6 * HOUR)), Verdict::Permit, "exempt");
    assert_eq!(verdict(&mut desk, "101", "09002", at(5 * 24 * HOUR)), late, "Epiphany at noon");
}

#[test]
fn hours_are_told_in_the_zone_of_the_plan() {
    let berlin = Spec { time_zone: TimeZone::get("Asia/Tokyo").ok(), ..closed() };
    assert_eq!(verdict(&mut desk(berlin), "101", "09002", at(0)), Verdict::Refuse(Why::AfterHours), "21:00");
    let mut machine = Desk::new(Arc::new(Plan::new(closed())), TimeZone::get("Asia/Tokyo").expect("a zone"));
    assert_eq!(verdict(&mut machine, "101", "09002", at(0)), Verdict::Refuse(Why::AfterHours));
}

#[test]
fn a_pin_opens_the_block_for_its_caller_and_a_time() {
    let mut desk = desk(closed());
    let night = 6 * 3_600;
    let decision = call(&mut desk, "101", "*4711", at(night));
    assert!(decision.permits() && decision.pin && decision.called == Number::EMPTY);
    assert_eq!(verdict(&mut desk, "101", "09002", at(night + 599)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "101", "09002", at(night + 600)), Verdict::Refuse(Why::AfterHours));
    assert!(call(&mut desk, "101", "*4711", at(night + 700)).pin);
    let mut other = closed();
    other.callers.push(caller("other", &["103"], &[COSTS]));
    desk.set_plan(Arc::new(Plan::new(other)));
    assert_eq!(verdict(&mut desk, "103", "09002", at(night + 701)), Verdict::Refuse(Why::AfterHours));
    assert_eq!(verdict(&mut desk, "101", "09002", at(night + 702)), Verdict::Permit, "over a reload");
}

#[test]
fn calls_at_a_time_are_limited_by_caller_entry_permission_and_all() {
    let mut spec = spec();
    spec.callers = vec![caller("phones", &["1.."], &[LOCAL, FAR])];
    spec.callers[0].each.calls = Some(2);
    spec.callers[0].together.calls = Some(3);
    spec.permissions[FAR].calls = Some(1);
    spec.limits.calls = Some(4);
    spec.strangers = PermissionSet::ALL;
    let mut desk = desk(spec);
    let first = ticket(&mut desk, "101", "030", at(0));
    ticket(&mut desk, "101", "0044", at(0));
    assert_eq!(verdict(&mut desk, "101", "030", at(0)), Verdict::Refuse(Why::CallerCalls));
    assert_eq!(verdict(&mut desk, "102", "0044", at(0)), Verdict::Refuse(Why::PermissionCalls));
    ticket(&mut desk, "102", "030", at(0));
    assert_eq!(verdict(&mut desk, "103", "030", at(0)), Verdict::Refuse(Why::GroupCalls));
    ticket(&mut desk, "900", "030", at(0));
    assert_eq!(verdict(&mut desk, "901", "030", at(0)), Verdict::Refuse(Why::AllCalls));
    assert!(call(&mut desk, "101", "112", at(0)).emergency);
    desk.ended(first, Outcome::Cancelled, at(1));
    desk.ended(first, Outcome::Cancelled, at(1));
    assert_eq!(verdict(&mut desk, "101", "030", at(1)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "101", "030", at(1)), Verdict::Refuse(Why::CallerCalls), "ended once");
}

#[test]
fn calls_of_a_minute_are_limited_and_refused_ones_do_not_count() {
    let mut spec = spec();
    spec.callers[1].each.calls_per_minute = Some(2);
    spec.limits.calls_per_minute = Some(3);
    let mut desk = desk(spec);
    for _ in 0..5 {
        assert_eq!(verdict(&mut desk, "101", "0044", at(0)), Verdict::Refuse(Why::NoPermission));
    }
    assert_eq!([0; 2].map(|_| verdict(&mut desk, "101", "030", at(0))), [Verdict::Permit; 2]);
    assert_eq!(verdict(&mut desk, "101", "030", at(0)), Verdict::Refuse(Why::CallerRate));
    assert_eq!(verdict(&mut desk, "100", "030", at(0)), Verdict::Permit);
    assert_eq!(verdict(&mut desk, "100", "030", at(0)), Verdict::Refuse(Why::AllRate));
    assert_eq!(verdict(&mut desk, "101", "030", at(30)), Verdict::Permit);
}

#[test]
fn a_call_ends_when_it_has_lasted_as_long_as_it_may() {
    let mut spec = spec();
    spec.permissions[FAR].longest = Some(Duration::from_secs(60));
    let mut desk = desk(spec);
    let decision = call(&mut desk, "100", "0044", at(0));
    assert_eq!(decision.longest, Some(Duration::from_secs(60)));
    let ticket = decision.ticket.expect("it is permitted");
    assert!(desk.tick(at(100)).is_empty(), "not answered yet");
    desk.connected(ticket, at(100));
    desk.connected(ticket, at(150));
    assert!(desk.tick(at(159)).is_empty());
    assert_eq!(desk.tick(at(160)), [Over { ticket, why: Why::Duration }]);
    assert!(desk.tick(at(161)).is_empty(), "told once");
    desk.ended(ticket, Outcome::Answered, at(161));
    assert_eq!(desk.calls(), 0);
}

#[test]
fn calls_end_when_the_minutes_of_the_day_are_used_up() {
    let mut spec = spec();
    spec.callers[0].each.minutes_per_day = Some(10);
    let mut desk = desk(spec);
    let [first, second] = [0, 0].map(|_| ticket(&mut desk, "100", "030", at(0)));
    desk.connected(first, at(0));
    desk.connected(second, at(120));
    let brief = ticket(&mut desk, "100", "030", at(150));
    desk.connected(brief, at(180));
    // 180 + 60 s by now; three at a time until 210 s: 330. Two more take 135 s each.
    desk.ended(brief, Outcome::Answered, at(210));
    assert!(desk.tick(at(344)).is_empty());
    let over = desk.tick(at(345));
    let why = Why::CallerMinutes;
    assert_eq!(over, [Over { ticket: first, why }, Over { ticket: second, why }]);
    assert_eq!(verdict(&mut desk, "100", "030", at(345)), Verdict::Refuse(why));
    assert!(call(&mut desk, "100", "112", at(345)).permits());
    desk.ended(first, Outcome::Answered, at(346));
    desk.ended(second, Outcome::Answered, at(346));
    assert_eq!(verdict(&mut desk, "100", "030", at(11 * 3_600)), Verdict::Refuse(why));
    assert_eq!(verdict(&mut desk, "100", "030", at(12 * 3_600)), Verdict::Permit, "another day");
}

#[test]
fn minutes_count_by_permission_entry_and_all() {
    for why in [Why::PermissionMinutes, Why::GroupMinutes, Why::AllMinutes] {
        let mut spec = spec();
        match why {
            Why::PermissionMinutes => spec.permissions[FAR].minutes_per_day = Some(1),
            Why::GroupMinutes => spec.callers[0].together.minutes_per_day = Some(1),
            _ => spec.limits.minutes_per_day = Some(1),
        }
        let mut desk = desk(spec);
        let ticket = ticket(&mut desk, "100", "0044", at(0));
        desk.connected(ticket, at(0));
        assert!(desk.tick(at(59)).is_empty());
        assert_eq!(desk.tick(at(60)), [Over { ticket, why }]);
        assert_eq!(verdict(&mut desk, "100", "0044", at(60)), Verdict::Refuse(why));
        let other = if why == Why::PermissionMinutes { Verdict::Permit } else { Verdict::Refuse(why) };
        assert_eq!(verdict(&mut desk, "100", "030", at(60)), other);
    }
}

#[test]
fn a_reload_keeps_what_is_up_by_its_names() {
    let mut old = spec();
    old.permissions[FAR].calls = Some(1);
    let mut desk = desk(old);
    let up = ticket(&mut desk, "100", "0044", at(0));
    desk.connected(up, at(0));
    let mut new = spec();
    new.permissions.swap(LOCAL, FAR);
    new.permissions[LOCAL].calls = Some(1);
    new.permissions[LOCAL].longest = Some(Duration::from_secs(60));
    new.callers = vec![caller("newcomer", &["102"], &[]), caller("chief", &["100"], &[LOCAL, FAR, COSTS])];
    new.callers[1].together.calls = Some(1);
    desk.set_plan(Arc::new(Plan::new(new)));
    assert_eq!(verdict(&mut desk, "100", "030", at(1)), Verdict::Refuse(Why::GroupCalls));
    assert_eq!(desk.tick(at(60)), [Over { ticket: up, why: Why::Duration }]);
    desk.ended(up, Outcome::Answered, at(61));
    assert_eq!(verdict(&mut desk, "100", "0044", at(61)), Verdict::Permit);
    desk.set_plan(Arc::new(Plan::default()));
    assert_eq!(verdict(&mut desk, "101", "0044", at(62)), Verdict::Permit);
}

#[test]
fn calls_taken_up_count_and_are_not_judged() {
    let mut spec = spec();
    spec.callers[1].each.calls = Some(1);
    let mut desk = desk(spec);
    let adopted = desk.adopt(&attempt(&["101"], &["0044"]), Way::Out, true, at(0)).expect("a ticket");
    assert_eq!(verdict(&mut desk, "101", "030", at(0)), Verdict::Refuse(Why::CallerCalls));
    desk.ended(adopted, Outcome::Answered, at(1));
    assert_eq!(verdict(&mut desk, "101", "030", at(1)), Verdict::Permit);
}

#[test]
fn nothing_is_counted_by_a_consultation() {
    let mut spec = spec();
    spec.callers[1].each.calls = Some(1);
    let mut desk = desk(spec);
    for _ in 0..3 {
        let decision = desk.consult(&attempt(&["101"], &["030"]), at(0));
        assert!(decision.permits() && decision.ticket.is_none());
    }
    assert_eq!((verdict(&mut desk, "101", "030", at(0)), desk.calls()), (Verdict::Permit, 1));
}

#[test]
fn digits_are_hopeless_when_nothing_that_follows_helps() {
    let mut spec = spec();
    spec.permissions.push(permission("free", &["0800$"]));
    spec.unmatched = Unmatched::Refuse;
    spec.callers[1].outgoing = [3].into_iter().collect();
    let mut desk = desk(spec);
    let mut hopeless = |digits: &str| desk.hopeless(&attempt(&["101"], &[digits]), at(0));
    assert_eq!(
        [hopeless("1"), hopeless("11"), hopeless("112")],
        [None; 3],
        "an emergency call may come of it"
    );
    assert_eq!(hopeless("1120"), Some(Why::NoPattern));
    assert_eq!([hopeless("0"), hopeless("08"), hopeless("0800")], [None; 3]);
    assert_eq!(hopeless("08001"), Some(Why::NoPermission));
    assert_eq!(hopeless("09"), Some(Why::NoPermission));
    assert_eq!(hopeless("2"), Some(Why::NoPattern));
}

fn suspicious() -> Spec {
    let mut spec = spec();
    spec.permissions[FAR].first_seen = true;
    spec.fraud = Some(Fraud {
        permissions: [FAR, COSTS].into_iter().collect(),
        night: Hours::new(std::iter::once(12 * 60 + 30..13 * 60), Vec::new()),
        alarm: 20,
        refuse: Some(40),
        ..Fraud::default()
    });
    spec
}

#[test]
fn short_calls_to_one_prefix_raise_an_alarm_and_then_are_refused() {
    let mut desk = desk(suspicious());
    let mut alarms = Vec::new();
    let mut refused = 0;
    for second in 0..8 {
        let decision = call(&mut desk, "100", &format!("09001234{second}"), at(second * 10));
        let Some(ticket) = decision.ticket else {
            assert_eq!(decision.verdict, Verdict::Refuse(Why::Fraud));
            refused += 1;
            continue;
        };
        desk.connected(ticket, at(second * 10));
        alarms.extend(desk.ended(ticket, Outcome::Answered, at(second * 10 + 5)));
    }
    assert_eq!(refused, 3, "the first is none yet, four more are 40 points");
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].kind, AlarmKind::ShortCalls);
    assert_eq!(alarms[0].text, "100: 20 points: 20 for short calls to one prefix");
    assert_eq!(verdict(&mut desk, "100", "030", at(100)), Verdict::Permit, "what does not cost");
    assert!(call(&mut desk, "100", "112", at(100)).permits());
    assert_eq!(verdict(&mut desk, "100", "09001", at(100 + 2 * 3_600)), Verdict::Permit, "forgotten");
}

#[test]
fn failed_attempts_and_calls_at_night_are_scored() {
    let mut desk = desk(suspicious());
    let failed: Vec<Alarm> = (0..6).flat_map(|_| call(&mut desk, "101", "0900", at(0)).alarms).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].kind, &*failed[0].text),
        (AlarmKind::FailedAttempts, "101: 20 points: 20 for failed attempts")
    );
    let mut by_far_side = Vec::new();
    for _ in 0..4 {
        let ticket = ticket(&mut desk, "100", "030", at(0));
        by_far_side.extend(desk.ended(ticket, Outcome::Failed, at(1)));
        assert!(desk.ended(ticket, Outcome::Failed, at(1)).is_empty());
    }
    assert_eq!(by_far_side.len(), 1);
    let night = at(1_800 + 28 * 24 * 3_600);
    let alarms: Vec<AlarmKind> =
        (0..5).flat_map(|_| call(&mut desk, "100", "0900", night).alarms).map(|alarm| alarm.kind).collect();
    assert_eq!(alarms, [AlarmKind::NightCalls]);
}

#[test]
fn a_destination_is_first_seen_once() {
    let mut desk = desk(suspicious());
    desk.recall(&Memory::Destination("+33".to_owned()), Duration::ZERO, at(0));
    let mut first_seen = |to: &str| {
        let alarms = call(&mut desk, "100", to, at(0)).alarms;
        alarms.into_iter().map(|alarm| alarm.text).collect::<Vec<_>>()
    };
    assert_eq!(first_seen("00442012"), ["100 calls +44 (far) for the first time"]);
    assert!(
        first_seen("00441612").is_empty() && first_seen("00331").is_empty() && first_seen("030").is_empty()
    );
    assert_eq!(first_seen("0037122").len(), 1);
}

#[test]
fn emergency_calls_are_told_and_never_refused() {
    let mut spec = suspicious();
    spec.strangers = PermissionSet::NONE;
    spec.unmatched = Unmatched::Refuse;
    spec.limits = Limits { calls: Some(0), calls_per_minute: Some(0), minutes_per_day: Some(0) };
    let mut desk = desk(spec);
    for _ in 0..100 {
        let decision = call(&mut desk, "mallory", "112", at(0));
        assert!(decision.permits() && decision.emergency);
        assert_eq!(decision.alarms.len(), 1);
        assert_eq!(decision.alarms[0].text, "10.0.0.1 calls 112");
        let ticket = decision.ticket.expect("a ticket");
        desk.connected(ticket, at(0));
    }
    assert!(desk.tick(at(90_000)).is_empty(), "no limit ends it");
}

#[test]
fn registrations_are_counted_until_they_are_over() {
    let mut spec = spec();
    let rule = |name: &str, names: &str, from, most, per_address| RegistrationRule {
        name: name.into(),
        protocols: vec![Protocol::Sccp],
        names: vec![Pattern::new(names).expect("a pattern")],
        from,
        most,
        per_address,
    };
    spec.registrations = vec![
        rule("here", "SEP*", addresses("10.0.0.0/24"), Some(2), None),
        rule("there", "SEP*", addresses("10.0.1.0/24"), None, Some(1)),
    ];
    spec.unknown_devices = crate::spec::UnknownDevices::Alarm;
    let mut desk = desk(spec);
    let of =
        |name, address: [u8; 4]| Registration { protocol: Protocol::Sccp, name, address: address.into() };
    let minute = Duration::from_secs(60);
    let register = |desk: &mut Desk, asked: Registration<'_>, now: Now| {
        let verdict = desk.admit(&asked, now).verdict;
        if verdict == Verdict::Permit {
            desk.registered(&asked, minute, now);
        }
        verdict
    };
    let full = Verdict::Refuse(Why::Registrations);
    assert_eq!(register(&mut desk, of("SEP1", [10, 0, 0, 1]), at(0)), Verdict::Permit);
    assert_eq!(register(&mut desk, of("SEP2", [10, 0, 0, 2]), at(0)), Verdict::Permit);
    assert_eq!(register(&mut desk, of("SEP3", [10, 0, 0, 3]), at(0)), full);
    assert_eq!(register(&mut desk, of("sep1", [10, 0, 0, 1]), at(1)), Verdict::Permit, "refreshed");
    assert_eq!(register(&mut desk, of("SEP1", [10, 0, 0, 9]), at(1)), Verdict::Permit, "moved");
    assert_eq!(register(&mut desk, of("SEP3", [10, 0, 1, 3]), at(1)), Verdict::Permit, "the other rule");
    assert_eq!(register(&mut desk, of("SEP4", [10, 0, 1, 3]), at(1)), full);
    assert_eq!(register(&mut desk, of("SEP5", [10, 0, 2, 1]), at(1)), Verdict::Refuse(Why::Place));
    desk.unregistered(&of("SEP2", [10, 0, 0, 2]));
    assert_eq!(register(&mut desk, of("SEP6", [10, 0, 0, 6]), at(2)), Verdict::Permit);
    assert!(desk.tick(at(100)).is_empty());
    assert_eq!(register(&mut desk, of("SEP7", [10, 0, 0, 7]), at(100)), Verdict::Permit, "they are over");

    let admission = desk.admit(&of("ATA1", [10, 0, 0, 1]), at(100));
    assert_eq!((admission.verdict, admission.alarms.len()), (Verdict::Permit, 1));
    assert_eq!(admission.alarms[0].text, "ATA1 registers by sccp from 10.0.0.1, and nobody knows it");
    let flood: usize = (0..1_000).map(|_| desk.admit(&of("ATA1", [10, 0, 0, 1]), at(100)).alarms.len()).sum();
    assert!(flood <= 61, "{flood}");
}

#[test]
fn contradictions_of_emergency_patterns_are_found() {
    let mut spec = closed();
    spec.emergency.extend(patterns(&["0911T"], Reach::Whole));
    assert!(Plan::new(spec.clone()).shadows().is_empty());
    spec.permissions.push(permission("longer", &["09112"]));
    spec.blocks[0].patterns.extend(patterns(&["112$"], Reach::Prefix));
    spec.pins = patterns(&["0911"], Reach::Whole);
    let plan = Plan::new(spec);
    let found: Vec<String> = plan
        .shadows()
        .iter()
        .map(|shadow| format!("{} {:?} {}", shadow.emergency, shadow.by, shadow.pattern))
        .collect();
    assert_eq!(found, ["0 Block(0, 2) 112$", "1 Permission(3, 0) 09112T", "1 Pin(0) 0911$"]);
}

#[test]
fn bells_of_calls_that_are_over_are_forgotten() {
    let mut spec = spec();
    spec.permissions[FAR].longest = Some(Duration::from_secs(86_400));
    let mut desk = desk(spec);
    for second in 0..(SPARE_BELLS as u64 + 10) {
        let ticket = ticket(&mut desk, "100", "0044", at(second));
        desk.connected(ticket, at(second));
        desk.ended(ticket, Outcome::Answered, at(second));
    }
    assert!(desk.bells.len() > SPARE_BELLS);
    assert!(desk.tick(at(SPARE_BELLS as u64 + 10)).is_empty());
    assert!(desk.bells.is_empty());
}

#[test]
fn nothing_a_peer_sends_matters_to_memory() {
    let mut desk = desk(spec());
    let long = "9".repeat(100_000);
    for text in [&*long, "", "+", "%", "sip:", "\u{0}\u{1b}[31m", "ü".repeat(500).as_str()] {
        let decision = desk.decide(&attempt(&[text, text], &[text, text]), at(0));
        let _ = decision.ticket.map(|ticket| desk.ended(ticket, Outcome::Failed, at(0)));
        let _ = desk.hopeless(&attempt(&[text], &[text]), at(0));
    }
    assert_eq!(desk.calls(), 0);
}

impl Desk {
    /// The name of the entry a caller is; empty where it is none.
    fn entry_name(&self, decision: &Decision) -> &str {
        decision.caller_entry.map_or("", |place| &self.plan.spec().callers[place].name)
    }
}

/// Tells another desk what one remembers.
fn handed_on(desk: &mut Desk, plan: Arc<Plan>, seconds: u64, age: u64) -> Desk {
    let memories = desk.remember(usize::MAX, at(seconds));
    let text = serde_json::to_string(&memories).expect("it can be written");
    let memories: Vec<Memory> = serde_json::from_str(&text).expect("it can be read");
    let mut next = Desk::new(plan, TimeZone::UTC);
    for memory in &memories {
        next.recall(memory, Duration::from_secs(age), at(seconds + age));
    }
    next
}

#[test]
fn minutes_scores_and_destinations_are_handed_on() {
    let mut spec = spec();
    spec.callers.push(caller("office", &["102"], &[FAR]));
    spec.permissions[FAR].minutes_per_day = Some(10);
    spec.permissions[FAR].first_seen = true;
    spec.fraud = Some(Fraud {
        failed_points: 40,
        alarm: 50,
        refuse: Some(60),
        ..suspicious().fraud.expect("it scores")
    });
    let mut desk = desk(spec);
    let plan = desk.plan().clone();
    // Ten minutes abroad, to a country that was new; another call goes on.
    let first = call(&mut desk, "100", "0044207123", at(0));
    assert!(first.alarms.iter().any(|alarm| alarm.kind == AlarmKind::FirstSeen), "{:?}", first.alarms);
    let ticket = first.ticket.expect("permitted");
    desk.connected(ticket, at(0));
    let _ = desk.ended(ticket, Outcome::Answered, at(600));
    // Somebody fails twice.
    for _ in 0..2 {
        let _ = call(&mut desk, "101", "0900123", at(600));
    }
    let mut next = handed_on(&mut desk, plan.clone(), 600, 10);
    assert_eq!(verdict(&mut next, "100", "0044207123", at(611)), Verdict::Refuse(Why::PermissionMinutes));
    let other = call(&mut next, "102", "0044207123", at(611));
    assert!(!other.alarms.iter().any(|alarm| alarm.kind == AlarmKind::FirstSeen), "{:?}", other.alarms);
    assert_eq!(verdict(&mut next, "101", "0900123", at(611)), Verdict::Refuse(Why::Fraud));
    // Points are forgotten meanwhile, and minutes are of the day.
    let _ = call(&mut desk, "101", "0900123", at(600));
    let mut later = handed_on(&mut desk, plan, 700, 86_400);
    assert_ne!(verdict(&mut later, "101", "0900123", at(700 + 86_400)), Verdict::Refuse(Why::Fraud));
    // Only what has changed is told again.
    assert_eq!(desk.remember(usize::MAX, at(701)), []);
}

#[test]
fn few_callers_are_remembered_at_a_time_and_those_who_talk_again_and_again() {
    let mut desk = desk(Spec { callers: vec![caller("all", &["2.."], &[LOCAL])], ..spec() });
    for number in 0..20 {
        let decision = call(&mut desk, &format!("2{number:02}"), "0301", at(0));
        if let Some(ticket) = decision.ticket {
            desk.connected(ticket, at(0));
        }
    }
    let callers = |memories: Vec<Memory>| {
        let callers = memories.into_iter().filter(|memory| matches!(memory, Memory::Caller { .. }));
        callers.count()
    };
    assert!(callers(desk.remember(5, at(1))) <= 5);
    assert_eq!((0..20).map(|_| callers(desk.remember(5, at(60)))).max(), Some(5));
}

/// Who brings it is known by address alone; what it says of the caller counts for what the called party takes.
#[test]
fn a_call_that_comes_counts_for_who_brings_it() {
    let mut spec = suspicious();
    spec.fraud = spec.fraud.map(|fraud| Fraud { failed_points: 40, ..fraud });
    spec.callers[0].each.calls = Some(1);
    spec.callers[1].incoming = [LOCAL].into_iter().collect();
    spec.callers.push(Caller { from: addresses("10.0.0.1/32"), ..caller("manager", &[], &[FAR, COSTS]) });
    let mut desk = desk(spec);
    assert_eq!(verdict(&mut desk, "100", "0044", at(0)), Verdict::Permit);
    let comes = |desk: &mut Desk, from: &str, to: &str| desk.receive(&attempt(&[from], &[to]), at(1));
    let permitted = comes(&mut desk, "100", "109");
    assert_eq!((permitted.verdict, permitted.caller_entry), (Verdict::Permit, Some(2)));
    for _ in 0..3 {
        assert_eq!(comes(&mut desk, "0044", "101").verdict, Verdict::Refuse(Why::Incoming));
    }
    assert_eq!(comes(&mut desk, "030", "101").verdict, Verdict::Permit);
    assert_eq!(comes(&mut desk, "0044", "112").verdict, Verdict::Permit);
    // Its refusals have not made the one who brings calls suspected.
    assert_eq!(verdict(&mut desk, "555", "0900", at(1)), Verdict::Permit);
    let taken_up = desk.adopt(&attempt(&["100"], &["101"]), Way::In, true, at(2));
    desk.ended(taken_up.expect("a ticket"), Outcome::Answered, at(2));
}
