//! That emergency numbers are refused by nothing: what in a policy contradicts it, and a trial of the rest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Plan;
use crate::decision::{Attempt, Now, Party, Protocol, Verdict};
use crate::desk::Desk;
use crate::hours::Hours;
use crate::pattern::{DialPattern, Reach};
use crate::spec::{Block, Caller, Fraud, Limits, PermissionSet, Spec, Unmatched};

/// A pattern that says of a part of an emergency pattern's numbers what is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow<'p> {
    /// The place of the emergency pattern.
    pub emergency: usize,
    /// The other pattern.
    pub pattern: &'p DialPattern,
    /// Where it stands.
    pub by: ShadowedBy,
}

/// Where a [`Shadow`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowedBy {
    /// The permission, and the pattern's place among its patterns.
    Permission(usize, usize),
    /// The block, and the pattern's place.
    Block(usize, usize),
    /// The pin.
    Pin(usize),
}

/// What a trial of the emergency numbers has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// So many numbers, all that the patterns have or some of each: none was refused.
    Holds(usize),
    /// This number was refused.
    Fails(String),
}

/// Numbers that are tried for one pattern, at most.
const TRIED: usize = 4_096;

impl Plan {
    /// Patterns that would count before an emergency pattern, or as much, if the longest counted there as
    /// well. The desk does not ask them; who wrote them thinks it does.
    pub fn shadows(&self) -> Vec<Shadow<'_>> {
        let Spec { permissions, blocks, pins, .. } = &self.spec;
        let mut shadows = Vec::new();
        for (emergency, number) in self.spec.emergency.iter().enumerate() {
            let beats = |other: &DialPattern| number.overlaps(other) && !number.counts_before(other);
            let mut note = |pattern, by| shadows.push(Shadow { emergency, pattern, by });
            for (place, permission) in permissions.iter().enumerate() {
                let patterns = permission.patterns.iter().enumerate().filter(|(_, pattern)| beats(pattern));
                patterns.for_each(|(at, pattern)| note(pattern, ShadowedBy::Permission(place, at)));
            }
            for (place, block) in blocks.iter().enumerate() {
                let patterns = block.patterns.iter().enumerate().filter(|(_, pattern)| beats(pattern));
                patterns.for_each(|(at, pattern)| note(pattern, ShadowedBy::Block(place, at)));
            }
            let pins = pins.iter().enumerate().filter(|(_, pin)| number.overlaps(pin));
            pins.for_each(|(at, pin)| note(pin, ShadowedBy::Pin(at)));
        }
        shadows
    }

    /// Calls every emergency number, or some thousand where a pattern has more, under the strictest policy
    /// there can be around this one's emergency patterns and normalisation: nobody holds a permission, every
    /// number is blocked at all times, no call may be up, nothing is left of any minute, everybody is
    /// suspected.
    ///
    /// What refuses nothing then refuses nothing under [`Self::spec`] either: the desk has no other reasons.
    pub fn proof(&self) -> Proof {
        let plan = Arc::new(Self::new(strictest(&self.spec)));
        let mut desk = Desk::new(plan, TimeZone::UTC);
        let now = Now { wall: Timestamp::UNIX_EPOCH, since: Duration::ZERO };
        let mut tried = 0;
        for pattern in &self.spec.emergency {
            for number in numbers(pattern) {
                let attempt = Attempt {
                    protocol: Protocol::Sip,
                    caller: Party {
                        names: &["1"],
                        device: None,
                        address: Some(IpAddr::from([192, 0, 2, 1])),
                    },
                    called: &[&number],
                    to: Some(IpAddr::from([192, 0, 2, 2])),
                };
                let decision = desk.decide(&attempt, now);
                if decision.verdict != Verdict::Permit || !decision.emergency {
                    return Proof::Fails(number);
                }
                tried += 1;
            }
        }
        Proof::Holds(tried)
    }
}

/// Everything that can refuse, refusing all it can.
fn strictest(spec: &Spec) -> Spec {
    let nothing = Limits { calls: Some(0), calls_per_minute: Some(0), minutes_per_day: Some(0) };
    let everything: Vec<DialPattern> = DialPattern::read("T", Reach::Prefix).into_iter().collect();
    Spec {
        permissions: Vec::new(),
        emergency: spec.emergency.clone(),
        normalise: spec.normalise.clone(),
        unmatched: Unmatched::Refuse,
        strangers: PermissionSet::NONE,
        callers: vec![Caller {
            name: "everybody".into(),
            numbers: Vec::new(),
            names: Vec::new(),
            from: None,
            trunk: true,
            outgoing: PermissionSet::NONE,
            incoming: PermissionSet::NONE,
            each: nothing,
            together: nothing,
        }],
        limits: nothing,
        blocks: vec![Block {
            name: "everything".into(),
            patterns: everything,
            allow: Vec::new(),
            hours: Hours::always(),
            time_zone: None,
            exempt: Vec::new(),
            pin: false,
        }],
        fraud: Some(Fraud {
            permissions: PermissionSet::ALL,
            short: Duration::MAX,
            prefix: 1,
            night: Hours::always(),
            short_points: u32::MAX,
            night_points: u32::MAX,
            failed_points: u32::MAX,
            half_life: Duration::MAX,
            alarm: u32::MAX,
            refuse: Some(0),
        }),
        ..Spec::default()
    }
}

/// Numbers a pattern has: all of them, as far as that goes; where something may follow, with and without.
fn numbers(pattern: &DialPattern) -> Vec<String> {
    let mut numbers = vec![String::new()];
    for place in pattern.places() {
        let symbols: Vec<char> = DialPattern::symbols_of(*place).collect();
        // Beyond the bound each symbol is still tried once at each place.
        numbers = if numbers.len() * symbols.len() <= TRIED {
            let with = |number: &String| symbols.iter().map(|c| format!("{number}{c}")).collect::<Vec<_>>();
            numbers.iter().flat_map(with).collect()
        } else {
            numbers.iter().zip(symbols.iter().cycle()).map(|(number, c)| format!("{number}{c}")).collect()
        };
    }
    if !pattern.is_whole() {
        let longer: Vec<String> = numbers.iter().map(|number| format!("{number}1234567890")).collect();
        numbers.extend(longer);
    }
    numbers.retain(|number| !number.is_empty());
    numbers
}
