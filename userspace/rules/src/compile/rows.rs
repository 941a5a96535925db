//! Rules as rows: a list of values per field, and what becomes of the packets that match them all.
//!
//! A rule is as many rows as it has combinations of what is read (H.323 is two protocols) and source ports.

use std::ops::Range;

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::policy::{
    Inspect, NO_SLOT, RuleEntry, SERVICE_CELLS, SERVICE_ICMP, SERVICE_ICMPV6, SERVICE_PROTOCOL, SERVICE_TCP,
    SERVICE_UDP, rule_flags,
};

use super::classes::{Classes, Named, Numbered, Sets, cell_classes};
use super::{CompileError, Prefix};
use crate::prefixes::Addresses;
use crate::ruleset::{Above, Rule, RuleAction, RuleSet, ZoneSet};
use crate::service::Service;

/// Cells of a table: disjoint ranges, ascending, that do not touch. `None`: all of them.
pub(super) type Cells = Option<Vec<Range<u32>>>;

/// Cell of the first UDP source port in the table of source ports.
const UDP_SOURCES: u32 = 65_536;

/// A rule, or that part of it whose packets are read alike and come from the same ports.
pub(super) struct Row {
    /// Place in [`RuleSet::rules`].
    pub(super) rule: usize,
    pub(super) zones: ZoneSet,
    pub(super) entry: RuleEntry,
}

/// The rows in order, and the lists they name by field. Row number `n`, from 1, is rule number `n`.
#[derive(Default)]
pub(super) struct Rows<'s> {
    pub(super) rows: Vec<Row>,
    pub(super) vlans: Lists<Cells>,
    pub(super) dscps: Lists<Cells>,
    pub(super) source_ports: Lists<Cells>,
    pub(super) sources: Lists<&'s Addresses>,
    pub(super) destinations: Lists<&'s Addresses>,
    pub(super) services: Lists<Cells>,
}

impl<'s> Rows<'s> {
    /// The rows of the rules that are in force.
    pub(super) fn of(set: &'s RuleSet, active: &[bool]) -> Self {
        let mut rows = Self::default();
        let in_force = |(place, _): &(usize, _)| active.get(*place).is_none_or(|active| *active);
        for (place, rule) in set.rules().iter().enumerate().filter(in_force) {
            let vlans = rule.vlans.as_ref().map(|ids| {
                union(ids.iter().map(|range| (*range.start()).into()..u32::from(*range.end()) + 1))
            });
            let dscps = rule
                .dscps
                .map(|bits| union((0..64).filter(|dscp| bits >> dscp & 1 != 0).map(|dscp| dscp..dscp + 1)));
            for part in parts(rule) {
                let entry = entry(rule, part.inspect);
                rows.rows.push(Row { rule: place, zones: rule.zones, entry });
                // Rows beyond 16 bits are refused as soon as all are counted.
                let number = u16::try_from(rows.rows.len()).unwrap_or(u16::MAX);
                rows.vlans.add(vlans.clone(), number);
                rows.dscps.add(dscps.clone(), number);
                rows.source_ports.add(part.source_ports(), number);
                rows.sources.add(&rule.from, number);
                rows.destinations.add(&rule.to, number);
                rows.services.add(part.services(), number);
            }
        }
        rows
    }

    /// By zone number, the rules of the zone.
    pub(super) fn of_zones(&self, zones: usize) -> Sets {
        Sets::of(zones, self.rows.len() + 1, |zone, number| {
            let row = number.checked_sub(1).and_then(|place| self.rows.get(place));
            row.is_some_and(|row| row.zones.contains(zone as u8))
        })
    }
}

/// The lists of a field, numbered, and the rules that use each.
pub(super) struct Lists<T> {
    lists: Numbered<T>,
    /// Rule numbers by list.
    users: Vec<Vec<u16>>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { lists: Numbered::default(), users: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Lists<T> {
    fn add(&mut self, list: T, user: u16) {
        let list = self.lists.number(list);
        if list == self.users.len() {
            self.users.push(Vec::new());
        }
        self.users[list].push(user);
    }
}

impl Lists<&Addresses> {
    /// The prefixes that the lists name.
    pub(super) fn prefixes(&self) -> Vec<&[Prefix]> {
        self.lists.items.iter().map(|list| list.prefixes()).collect()
    }

    /// By class, the rules whose list it is in; `size` is one more than the greatest rule number.
    pub(super) fn sets(&self, named: &Named, size: usize) -> Sets {
        named.sets(size, &self.users, |list| !matches!(self.lists.items[list], Addresses::In(_)))
    }
}

impl Lists<Cells> {
    /// Whether some rule tells cells apart.
    pub(super) fn is_used(&self) -> bool {
        self.lists.items.iter().any(Option::is_some)
    }

    pub(super) fn classes(&self, field: &'static str, size: u32) -> Result<Classes<u16>, CompileError> {
        let lists: Vec<&[Range<u32>]> =
            self.lists.items.iter().map(|list| list.as_deref().unwrap_or_default()).collect();
        cell_classes(field, size, &lists)
    }

    /// By class, the rules whose list it is in; `size` is one more than the greatest rule number.
    pub(super) fn sets(&self, named: &Named, size: usize) -> Sets {
        named.sets(size, &self.users, |list| self.lists.items[list].is_none())
    }
}

/// What the kernel is told of a row; its slot is filled in last.
fn entry(rule: &Rule, inspect: Inspect) -> RuleEntry {
    let mut flags = 0;
    if rule.log {
        flags |= rule_flags::LOG;
    }
    if rule.action == (RuleAction::Drop { spoofed: true }) {
        flags |= rule_flags::SPOOFED;
    }
    if rule.limit.is_some_and(|limit| matches!(limit.above, Above::Block(_))) {
        flags |= rule_flags::BLOCK;
    }
    if rule.rtp {
        flags |= rule_flags::RTP;
    }
    RuleEntry {
        limit: rule.limit.map(|limit| limit.kernel()).unwrap_or_default(),
        slot: NO_SLOT,
        action: rule.action.kernel() as u8,
        inspect: inspect as u8,
        flags,
        pad: 0,
    }
}

/// Services of a rule that are read alike and come from the same ports.
struct Part {
    inspect: Inspect,
    /// Source ports.
    from: Range<u32>,
    /// Cells of the service table.
    services: Vec<Range<u32>>,
}

fn parts(rule: &Rule) -> Vec<Part> {
    let over = |transport| match rule.action {
        RuleAction::Inspect(protocol) => protocol.over(transport).unwrap_or(Inspect::None),
        _ => Inspect::None,
    };
    let mut parts: Vec<Part> = Vec::new();
    for service in &rule.services {
        let (inspect, from) = match service {
            Service::Tcp(ports) => (over(TCP), half_open(&ports.from)),
            Service::Udp(ports) => (over(UDP), half_open(&ports.from)),
            _ => (Inspect::None, ANY_PORT),
        };
        let cells = cells(service);
        match parts.iter_mut().find(|part| part.inspect == inspect && part.from == from) {
            Some(part) => part.services.push(cells),
            None => parts.push(Part { inspect, from, services: vec![cells] }),
        }
    }
    parts
}

impl Part {
    /// Cells of the source port table. A TCP segment's port is in one half of it, a datagram's in the other: the
    /// service tells which.
    fn source_ports(&self) -> Cells {
        let Range { start, end } = self.from;
        (self.from != ANY_PORT).then(|| union([start..end, UDP_SOURCES + start..UDP_SOURCES + end]))
    }

    fn services(&self) -> Cells {
        let services = union(self.services.iter().cloned());
        (services.first() != Some(&(0..SERVICE_CELLS))).then_some(services)
    }
}

const ANY_PORT: Range<u32> = 0..65_536;

fn half_open(ports: &std::ops::RangeInclusive<u16>) -> Range<u32> {
    (*ports.start()).into()..u32::from(*ports.end()) + 1
}

/// A service's cells of the service table.
fn cells(service: &Service) -> Range<u32> {
    let range = |base: u32, first: u32, last: u32| base + first..base + last + 1;
    match service {
        Service::Any => 0..SERVICE_CELLS,
        Service::Tcp(ports) => range(SERVICE_TCP, (*ports.to.start()).into(), (*ports.to.end()).into()),
        Service::Udp(ports) => range(SERVICE_UDP, (*ports.to.start()).into(), (*ports.to.end()).into()),
        Service::Icmp(types) => range(SERVICE_ICMP, (*types.start()).into(), (*types.end()).into()),
        Service::Icmpv6(types) => range(SERVICE_ICMPV6, (*types.start()).into(), (*types.end()).into()),
        Service::Protocol(number) => range(SERVICE_PROTOCOL, (*number).into(), (*number).into()),
    }
}

fn union(ranges: impl IntoIterator<Item = Range<u32>>) -> Vec<Range<u32>> {
    let mut sorted: Vec<Range<u32>> = ranges.into_iter().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut union: Vec<Range<u32>> = Vec::new();
    for range in sorted {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}
