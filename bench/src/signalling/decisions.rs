//! The case of the call policy: who may call what, decided by a plan as large as they come.
//!
//! Attempts are drawn over all callers and patterns, so that what is looked up is seldom in the processor's
//! caches.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use callgate_policy::spec::{Caller, Fraud, Limits, Permission, PermissionSet, Rewrite, Spec, Unmatched};
use callgate_policy::{AddressSet, Attempt, Desk, DialPattern, Now, Outcome, Party, Plan, Protocol, Reach};
use jiff::tz::TimeZone;

use super::Subject;

/// Patterns of the plan.
const PATTERNS: u32 = 100_000;
/// Its callers, each an entry of its own.
const CALLERS: u32 = 10_000;
/// Its permissions; of each caller every other is held.
const PERMISSIONS: u32 = 16;
/// Attempts that are gone over in turn.
const ATTEMPTS: u32 = 65_536;
/// Those of one turn.
const TURN: u32 = 64;

pub(super) fn subjects() -> Vec<Subject> {
    let mut exchange = None;
    vec![Subject {
        name: "policy-decision",
        messages: TURN,
        note: format!(
            "{PATTERNS} patterns, {CALLERS} callers; half of the calls are refused, the others end at once"
        ),
        turn: Box::new(move || exchange.get_or_insert_with(Exchange::new).turn()),
    }]
}

/// A desk, and who calls whom there.
struct Exchange {
    desk: Desk,
    calls: Vec<Call>,
    next: usize,
    now: Now,
}

struct Call {
    from: String,
    to: String,
    address: IpAddr,
    permitted: bool,
}

impl Exchange {
    fn new() -> Self {
        let read =
            |text: &str, reach| DialPattern::read(text, reach).unwrap_or_else(|error| panic!("{error}"));
        let mut random = Random(1);
        // Prefixes of four to eight digits behind the one for abroad, each tenth with a range.
        let mut lists: Vec<Vec<DialPattern>> = vec![Vec::new(); PERMISSIONS as usize];
        let mut numbers = Vec::new();
        for place in 0..PATTERNS {
            let digits = &format!("{:08}", random.below(100_000_000))[..4 + place as usize % 5];
            let range = if place % 10 == 0 { "[2-7]." } else { "" };
            let permission = random.below(PERMISSIONS);
            let pattern = read(&format!("9011{digits}{range}"), Reach::Prefix);
            lists[permission as usize].push(pattern);
            numbers.push(format!("9011{digits}5{:06}", random.below(1_000_000)));
        }
        let permission = |(place, patterns): (usize, Vec<DialPattern>)| Permission {
            name: format!("permission {place}").into(),
            patterns: patterns.into(),
            longest: Some(Duration::from_secs(3_600)),
            minutes_per_day: Some(600),
            calls: Some(100_000),
            first_seen: place % 2 == 0,
        };
        let phones = AddressSet::new(&["10.0.0.0/8".parse().unwrap_or_else(|error| panic!("{error}"))]);
        let limits =
            Limits { calls: Some(100), calls_per_minute: Some(1_000_000), minutes_per_day: Some(1_000) };
        let caller = |place: u32| Caller {
            name: format!("caller {place}").into(),
            numbers: vec![read(&number_of(place), Reach::Whole)],
            names: Vec::new(),
            from: Some(phones.clone()),
            trunk: false,
            outgoing: held(place),
            incoming: PermissionSet::ALL,
            each: limits,
            together: limits,
        };
        let plan = Arc::new(Plan::new(Spec {
            permissions: lists.into_iter().enumerate().map(permission).collect(),
            emergency: vec![read("911", Reach::Whole), read("9911", Reach::Whole)],
            normalise: vec![
                Rewrite { pattern: read("9011", Reach::Prefix), strip: 4, prefix: "+".into() },
                Rewrite { pattern: read("91", Reach::Prefix), strip: 1, prefix: "+".into() },
            ],
            unmatched: Unmatched::Refuse,
            strangers: PermissionSet::NONE,
            callers: (0..CALLERS).map(caller).collect(),
            limits: Limits { calls: Some(100_000), calls_per_minute: Some(u32::MAX), minutes_per_day: None },
            fraud: Some(Fraud { short_points: 0, failed_points: 0, refuse: Some(100), ..Fraud::default() }),
            ..Spec::default()
        }));
        let call = |_| -> Call {
            let caller = random.below(CALLERS);
            let to = numbers[random.below(PATTERNS) as usize].clone();
            let needed = plan.permission_of(&to).and_then(|name| name.rsplit(' ').next()?.parse().ok());
            let permitted = needed.is_some_and(|needed| held(caller).has(needed));
            Call {
                from: number_of(caller),
                to,
                address: IpAddr::from(0x0a00_0000_u32.to_be_bytes()),
                permitted,
            }
        };
        let calls = (0..ATTEMPTS).map(call).collect();
        let wall = jiff::Timestamp::UNIX_EPOCH;
        Self {
            desk: Desk::new(plan, TimeZone::UTC),
            calls,
            next: 0,
            now: Now { wall, since: Duration::from_secs(1) },
        }
    }

    /// Decides about some attempts; whether each came out as it should.
    fn turn(&mut self) -> bool {
        self.now.since += Duration::from_millis(1);
        (0..TURN).all(|_| {
            let call = &self.calls[self.next];
            self.next = (self.next + 1) % self.calls.len();
            let decision = self.desk.decide(
                &Attempt {
                    protocol: Protocol::Sip,
                    caller: Party { names: &[&call.from], device: None, address: Some(call.address) },
                    called: &[&call.to],
                    to: Some(call.address),
                },
                self.now,
            );
            let permitted = decision.permits();
            if let Some(ticket) = decision.ticket {
                black_box(self.desk.ended(ticket, Outcome::Cancelled, self.now));
            }
            black_box(&decision);
            permitted == call.permitted
        })
    }
}

fn number_of(caller: u32) -> String {
    format!("2{caller:05}")
}

/// Every other permission.
fn held(caller: u32) -> PermissionSet {
    (0..PERMISSIONS as usize).filter(|place| (place + caller as usize).is_multiple_of(2)).collect()
}

/// A generator of numbers that are the same each time (SplitMix64: Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((((z ^ (z >> 31)) >> 32) * u64::from(end)) >> 32) as u32
    }
}
