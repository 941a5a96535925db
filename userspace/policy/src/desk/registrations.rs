//! Who is registered, and who may.

use std::collections::HashMap;
use std::net::IpAddr;

use super::bucket::Millis;
use super::cut;
use crate::decision::{Admission, Alarm, AlarmKind, Protocol, Registration, Verdict, Why};
use crate::spec::{RegistrationRule, Spec, UnknownDevices};

/// Registrations that are counted at a time.
const MOST: usize = 100_000;
/// Names are kept to this length.
const NAME: usize = 128;
/// Alarms of unknown devices are this far apart, on average and after a burst.
const APART: Millis = 1_000;
const BURST: Millis = 60 * APART;
/// How often those that are over are looked for.
const SWEEP: Millis = 10_000;

/// Registrations that stand.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    held: HashMap<(Protocol, Box<str>), Held>,
    /// By rule; and by rule and address.
    counts: HashMap<u32, u32>,
    by_address: HashMap<(u32, IpAddr), u32>,
    /// When the next alarm would come on time.
    pace: Millis,
    swept: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    rule: Option<u32>,
    address: IpAddr,
    until: Millis,
}

impl Registrations {
    pub(super) fn admit(&mut self, spec: &Spec, asked: &Registration<'_>, at: Millis) -> Admission {
        let rules = &spec.registrations;
        let admission = |verdict, alarms| Admission { verdict, alarms };
        let Some(place) = rule_of(rules, asked) else {
            if rules.iter().any(|rule| has(rule, asked)) {
                return admission(Verdict::Refuse(Why::Place), Vec::new());
            }
            let (verdict, raised) = match spec.unknown_devices {
                UnknownDevices::Permit => (Verdict::Permit, false),
                UnknownDevices::Alarm => (Verdict::Permit, true),
                UnknownDevices::Refuse => (Verdict::Refuse(Why::UnknownDevice), true),
            };
            let alarms = if raised { self.alarm(asked, verdict, at) } else { Vec::new() };
            return admission(verdict, alarms);
        };
        let held = self.held.get(&key(asked)).filter(|held| held.until > at);
        let again = held.is_some_and(|held| held.rule == Some(place) && held.address == asked.address);
        // One that moves leaves the place it had.
        let moves = u32::from(held.is_some_and(|held| held.rule == Some(place)));
        let rule = &rules[place as usize];
        let count = self.counts.get(&place).copied().unwrap_or_default().saturating_sub(moves);
        let here = self.by_address.get(&(place, asked.address)).copied().unwrap_or_default();
        let full = rule.most.is_some_and(|most| count >= most)
            || rule.per_address.is_some_and(|most| here >= most)
            || self.held.len() >= MOST && (rule.most.is_some() || rule.per_address.is_some());
        let verdict = if full && !again { Verdict::Refuse(Why::Registrations) } else { Verdict::Permit };
        admission(verdict, Vec::new())
    }

    pub(super) fn add(&mut self, rules: &[RegistrationRule], asked: &Registration<'_>, until: Millis) {
        self.remove(asked);
        if self.held.len() < MOST {
            let held = Held { rule: rule_of(rules, asked), address: asked.address, until };
            self.count(held);
            self.held.insert(key(asked), held);
        }
    }

    pub(super) fn remove(&mut self, asked: &Registration<'_>) {
        if let Some(held) = self.held.remove(&key(asked)) {
            discount(&mut self.counts, &mut self.by_address, held);
        }
    }

    /// Forgets those that are over.
    pub(super) fn tick(&mut self, at: Millis) {
        if at < self.swept {
            return;
        }
        self.swept = at + SWEEP;
        let (counts, by_address) = (&mut self.counts, &mut self.by_address);
        self.held.retain(|_, held| {
            let stands = held.until > at;
            if !stands {
                discount(counts, by_address, *held);
            }
            stands
        });
    }

    /// The rules are others.
    pub(super) fn reclassify(&mut self, rules: &[RegistrationRule]) {
        self.counts.clear();
        self.by_address.clear();
        for ((protocol, name), held) in &mut self.held {
            let asked = Registration { protocol: *protocol, name, address: held.address };
            held.rule = rule_of(rules, &asked);
        }
        let all: Vec<Held> = self.held.values().copied().collect();
        for held in all {
            self.count(held);
        }
    }

    fn count(&mut self, held: Held) {
        if let Some(rule) = held.rule {
            *self.counts.entry(rule).or_default() += 1;
            *self.by_address.entry((rule, held.address)).or_default() += 1;
        }
    }

    fn alarm(&mut self, asked: &Registration<'_>, verdict: Verdict, at: Millis) -> Vec<Alarm> {
        if self.pace > at + BURST {
            return Vec::new();
        }
        self.pace = self.pace.max(at) + APART;
        let does = if verdict == Verdict::Permit { "registers" } else { "was refused registration" };
        let text = format!(
            "{} {does} by {} from {}, and nobody knows it",
            cut(asked.name),
            asked.protocol.name(),
            asked.address
        );
        vec![Alarm { kind: AlarmKind::UnknownDevice, text }]
    }
}

fn discount(counts: &mut HashMap<u32, u32>, by_address: &mut HashMap<(u32, IpAddr), u32>, held: Held) {
    let Some(rule) = held.rule else { return };
    if let Some(count) = counts.get_mut(&rule) {
        *count = count.saturating_sub(1);
    }
    if let Some(count) = by_address.get_mut(&(rule, held.address)) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            by_address.remove(&(rule, held.address));
        }
    }
}

/// The first rule that permits it, as far as names and places go.
fn rule_of(rules: &[RegistrationRule], asked: &Registration<'_>) -> Option<u32> {
    let permits = |rule: &RegistrationRule| {
        has(rule, asked) && rule.from.as_ref().is_none_or(|from| from.contains(asked.address))
    };
    rules.iter().position(permits).and_then(|place| u32::try_from(place).ok())
}

/// Whether a rule is about a device of this name.
fn has(rule: &RegistrationRule, asked: &Registration<'_>) -> bool {
    (rule.protocols.is_empty() || rule.protocols.contains(&asked.protocol))
        && (rule.names.is_empty() || rule.names.iter().any(|name| name.matches(asked.name)))
}

fn key(asked: &Registration<'_>) -> (Protocol, Box<str>) {
    let end = asked.name.floor_char_boundary(NAME);
    (asked.protocol, asked.name[..end].to_ascii_lowercase().into())
}
