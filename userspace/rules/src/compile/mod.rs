//! [`RuleSet`] → the tables of [`callgate_shared::policy`].
//!
//! Addresses that no rule tells apart share a class, and so do services; the packet's zone and its three
//! classes select a cell that already holds the first matching rule's number. The steps:
//!
//! 1. each rule becomes one *row* per protocol it has read (H.323 is two), and equal address and service lists
//!    are numbered once;
//! 2. a sweep over the sorted prefixes gives each the lists that cover it, those of the prefixes around it
//!    included; a sweep over the service ranges does the same for services; equal results are one class;
//! 3. for each cell, the rows of its zone and classes are intersected: the first that is left wins.
//!
//! Time goes by prefixes and ranges × lists / 64, and by cells × rows / 64 at most.

mod classes;

use std::collections::HashMap;
use std::ops::Range;

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::policy::{
    ACTION_CHUNKS, CHUNK, Inspect, MAX_IFACES, MAX_RULES, MAX_SLOTS, MAX_ZONES, NO_SLOT, Policy, RuleEntry,
    SERVICE_CELLS, SERVICE_ICMP, SERVICE_ICMPV6, SERVICE_PROTOCOL, SERVICE_TCP, SERVICE_UDP, rule_flags,
};
use ipnet::IpNet;

use crate::diagnostic::Diagnostic;
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{Rule, RuleAction, RuleSet, ZoneSet, policy_flags};
use crate::service::Service;
use classes::{Bits, Numbered, address_classes, service_classes};

/// A prefix of a classifier table.
pub type Prefix = IpNet;

/// A rule set as the kernel holds it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What every packet needs.
    pub policy: Policy,
    /// Class of a source by its longest prefix; 0 where none covers it. IPv4 prefixes cover no IPv6 address
    /// and the other way round.
    pub sources: Vec<(Prefix, u16)>,
    /// Class of a destination, likewise.
    pub destinations: Vec<(Prefix, u16)>,
    /// Class by cell of the service table: [`SERVICE_CELLS`] of them.
    pub services: Vec<u16>,
    /// Rule number by [`Policy::cell`], with zeros up to a whole number of chunks.
    pub actions: Vec<u16>,
    /// Rules by number; number 0 is "no rule matched".
    pub rules: Vec<RuleEntry>,
    /// Counter slot by place in [`RuleSet::rules`].
    pub slots: Vec<u32>,
    /// Places in [`RuleSet::rules`] of rules no packet can reach: earlier rules match first.
    pub unreached: Vec<usize>,
}

impl Compiled {
    /// A warning for each rule no packet can reach; `set` is what was compiled.
    pub fn warnings(&self, set: &RuleSet) -> Vec<Diagnostic> {
        let rules = self.unreached.iter().filter_map(|place| set.rules().get(*place));
        let warn = |rule: &Rule| {
            let message = format!("no packet reaches rule `{}`", rule.name);
            let empty = Addresses::In(PrefixSet::default());
            let why = if [&rule.from, &rule.to].contains(&&empty) {
                "its groups are empty"
            } else {
                "earlier rules match all of its packets"
            };
            set.warning_at(rule, message, Some(why.to_owned()))
        };
        rules.map(warn).collect()
    }
}

/// Why a rule set cannot be brought into the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More rules than rule numbers.
    #[error("the rules need {rows} entries; at most {most} fit: join rules that do the same")]
    Rules {
        /// Entries needed: one per rule, two for H.323.
        rows: usize,
        /// Entries there are.
        most: usize,
    },
    /// More classes than class numbers.
    #[error("the rules tell more than {most} kinds of {field} apart: use fewer, larger groups")]
    Classes {
        /// `sources`, `destinations` or `services`.
        field: &'static str,
        /// Classes there can be.
        most: usize,
    },
    /// The action table would be too large.
    #[error(
        "the rules are too finely divided: {zones} zones × {sources} kinds of sources × {destinations} of \
         destinations × {services} of services are more than {most}; use fewer, larger groups, or the same \
         groups and services in more rules"
    )]
    Cells {
        /// Zones.
        zones: usize,
        /// Source classes.
        sources: usize,
        /// Destination classes.
        destinations: usize,
        /// Service classes.
        services: usize,
        /// Cells there can be.
        most: usize,
    },
    /// No counter is left for a rule.
    #[error(
        "no counter is left for rule `{rule}`: {MAX_SLOTS} rule names have been used since the maps were made"
    )]
    Slots {
        /// The rule's name.
        rule: String,
    },
    /// An interface's slot is beyond the table.
    #[error("interface `{interface}` has slot {slot}; there are {MAX_IFACES}")]
    Interface {
        /// The interface's name.
        interface: String,
        /// Its slot.
        slot: usize,
    },
}

/// Gives each rule the counter slot that is its own for good.
pub trait Slots {
    /// The slot of the rule with this name, 1 to [`MAX_SLOTS`] − 1, the same whenever it is asked; `None` when
    /// none is left.
    fn slot(&mut self, rule: &str) -> Option<u32>;
}

/// Slots in memory: for replay and tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySlots(HashMap<String, u32>);

impl Slots for MemorySlots {
    fn slot(&mut self, rule: &str) -> Option<u32> {
        if let Some(slot) = self.0.get(rule) {
            return Some(*slot);
        }
        let slot = u32::try_from(self.0.len() + 1).ok().filter(|slot| *slot < MAX_SLOTS)?;
        self.0.insert(rule.to_owned(), slot);
        Some(slot)
    }
}

/// Compiles a rule set for the interfaces that are attached, given as (slot, name).
///
/// `generation` tells this policy from the one before; 0 is taken as 1, since the kernel half takes 0 for "no
/// policy".
///
/// # Errors
///
/// [`CompileError`] where a table of the kernel half would not hold it.
pub fn compile(
    set: &RuleSet,
    interfaces: &[(usize, &str)],
    generation: u32,
    slots: &mut impl Slots,
) -> Result<Compiled, CompileError> {
    let zones = zones_of(set, interfaces)?;
    let rows = Rows::of(set);
    if rows.rows.len() >= MAX_RULES as usize {
        return Err(CompileError::Rules { rows: rows.rows.len(), most: MAX_RULES as usize - 1 });
    }

    let sources = address_classes("sources", &rows.froms.items)?;
    let destinations = address_classes("destinations", &rows.tos.items)?;
    let services = service_classes(&rows.services.items)?;
    let cells =
        cell_count(set.zone_count(), sources.lists.len(), destinations.lists.len(), services.lists.len())?;
    let actions = Actions {
        zones: (0..set.zone_count()).map(|zone| rows.bits(|row| row.zones.contains(zone as u8))).collect(),
        sources: sources.lists.iter().map(|class| rows.bits(|row| class.has(row.from))).collect(),
        destinations: destinations.lists.iter().map(|class| rows.bits(|row| class.has(row.to))).collect(),
        services: services.lists.iter().map(|class| rows.bits(|row| class.has(row.service))).collect(),
    }
    .table(cells);
    // Last, so that rules which do not fit use up no slots.
    let numbers = slots_of(set, slots)?;

    let mut reached = vec![false; set.rules().len()];
    for row in actions.iter().filter_map(|number| rows.rows.get(usize::from(*number).checked_sub(1)?)) {
        reached[row.rule] = true;
    }
    let unreached = (0..reached.len()).filter(|place| !reached[*place]).collect();
    let numbered = rows.rows.iter().map(|row| RuleEntry { slot: numbers[row.rule], ..row.entry });
    let entries = std::iter::once(RuleEntry::default()).chain(numbered).collect();
    let settings = set.settings();
    let policy = Policy {
        generation: generation.max(1),
        sources: sources.lists.len() as u32,
        destinations: destinations.lists.len() as u32,
        services: services.lists.len() as u32,
        media_first: *settings.media_ports.start(),
        media_last: *settings.media_ports.end(),
        flags: policy_flags(settings),
        pad: [0; 3],
        timeouts: settings.timeouts,
        defaults: settings.defaults.map(|action| action as u8),
        zones,
    };
    Ok(Compiled {
        policy,
        sources: sources.table,
        destinations: destinations.table,
        services: services.table,
        actions,
        rules: entries,
        slots: numbers,
        unreached,
    })
}

fn slots_of(set: &RuleSet, slots: &mut impl Slots) -> Result<Vec<u32>, CompileError> {
    let slot =
        |rule: &Rule| slots.slot(&rule.name).ok_or_else(|| CompileError::Slots { rule: rule.name.clone() });
    set.rules().iter().map(slot).collect()
}

fn zones_of(set: &RuleSet, interfaces: &[(usize, &str)]) -> Result<[u8; MAX_IFACES], CompileError> {
    let mut zones = [0; MAX_IFACES];
    for &(slot, name) in interfaces {
        let place = zones
            .get_mut(slot)
            .ok_or_else(|| CompileError::Interface { interface: name.to_owned(), slot })?;
        *place = set.zone_of(name);
    }
    Ok(zones)
}

/// A rule, or that part of it whose packets are read alike.
struct Row {
    /// Place in [`RuleSet::rules`].
    rule: usize,
    zones: ZoneSet,
    /// Number of its source list.
    from: usize,
    /// Number of its destination list.
    to: usize,
    /// Number of its service ranges.
    service: usize,
    entry: RuleEntry,
}

/// The rows in order, and the lists they name by number.
struct Rows<'s> {
    rows: Vec<Row>,
    froms: Numbered<&'s Addresses>,
    tos: Numbered<&'s Addresses>,
    services: Numbered<Vec<Range<u32>>>,
}

impl<'s> Rows<'s> {
    fn of(set: &'s RuleSet) -> Self {
        let mut rows = Self {
            rows: Vec::new(),
            froms: Numbered::default(),
            tos: Numbered::default(),
            services: Numbered::default(),
        };
        for (place, rule) in set.rules().iter().enumerate() {
            let (from, to) = (rows.froms.number(&rule.from), rows.tos.number(&rule.to));
            for (inspect, cells) in parts(rule) {
                let service = rows.services.number(cells);
                let entry = entry(rule, inspect);
                rows.rows.push(Row { rule: place, zones: rule.zones, from, to, service, entry });
            }
        }
        rows
    }

    /// The rows for which this holds.
    fn bits(&self, holds: impl Fn(&Row) -> bool) -> Bits {
        let mut bits = Bits::none(self.rows.len());
        for (place, _) in self.rows.iter().enumerate().filter(|(_, row)| holds(row)) {
            bits.flip(place);
        }
        bits
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
    RuleEntry {
        limit: rule.limit.map(|limit| limit.kernel()).unwrap_or_default(),
        slot: NO_SLOT,
        action: rule.action.kernel() as u8,
        inspect: inspect as u8,
        flags,
        pad: 0,
    }
}

/// The cells of a rule's services by what is read in them: disjoint ranges, ascending.
fn parts(rule: &Rule) -> Vec<(Inspect, Vec<Range<u32>>)> {
    let RuleAction::Inspect(protocol) = rule.action else {
        return vec![(Inspect::None, union(rule.services.iter().map(cells)))];
    };
    let over = |transport| protocol.over(transport).unwrap_or(Inspect::None);
    let mut parts: Vec<(Inspect, Vec<Range<u32>>)> = Vec::new();
    for service in &rule.services {
        let inspect = match service {
            Service::Tcp(_) => over(TCP),
            Service::Udp(_) => over(UDP),
            _ => Inspect::None,
        };
        match parts.iter_mut().find(|(other, _)| *other == inspect) {
            Some((_, ranges)) => ranges.push(cells(service)),
            None => parts.push((inspect, vec![cells(service)])),
        }
    }
    parts.into_iter().map(|(inspect, ranges)| (inspect, union(ranges.into_iter()))).collect()
}

/// A service's cells of the service table.
fn cells(service: &Service) -> Range<u32> {
    let range = |base: u32, first: u32, last: u32| base + first..base + last + 1;
    match service {
        Service::Any => 0..SERVICE_CELLS,
        Service::Tcp(ports) => range(SERVICE_TCP, (*ports.start()).into(), (*ports.end()).into()),
        Service::Udp(ports) => range(SERVICE_UDP, (*ports.start()).into(), (*ports.end()).into()),
        Service::Icmp(types) => range(SERVICE_ICMP, (*types.start()).into(), (*types.end()).into()),
        Service::Icmpv6(types) => range(SERVICE_ICMPV6, (*types.start()).into(), (*types.end()).into()),
        Service::Protocol(number) => range(SERVICE_PROTOCOL, (*number).into(), (*number).into()),
    }
}

fn union(ranges: impl Iterator<Item = Range<u32>>) -> Vec<Range<u32>> {
    let mut sorted: Vec<Range<u32>> = ranges.collect();
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

/// The rows of each zone and of each class.
struct Actions {
    zones: Vec<Bits>,
    sources: Vec<Bits>,
    destinations: Vec<Bits>,
    services: Vec<Bits>,
}

impl Actions {
    /// Rule numbers in the order of [`Policy::cell`].
    fn table(&self, cells: usize) -> Vec<u16> {
        let mut table = Vec::with_capacity(cells.next_multiple_of(CHUNK));
        for zone in &self.zones {
            for source in &self.sources {
                let from = zone.and(source);
                for destination in &self.destinations {
                    let path = from.and(destination);
                    table.extend(self.services.iter().map(|service| path.first_common(service)));
                }
            }
        }
        table.resize(cells.next_multiple_of(CHUNK), 0);
        table
    }
}

/// The size of the action table, where it fits.
fn cell_count(
    zones: usize,
    sources: usize,
    destinations: usize,
    services: usize,
) -> Result<usize, CompileError> {
    const MOST: usize = ACTION_CHUNKS as usize * CHUNK;
    let fields = [zones, sources, destinations, services];
    let product = fields.into_iter().try_fold(1_usize, |product, count| product.checked_mul(count));
    product.filter(|cells| *cells <= MOST).ok_or(CompileError::Cells {
        zones,
        sources,
        destinations,
        services,
        most: MOST,
    })
}

const _: () = assert!(MAX_RULES <= u16::MAX as u32 && MAX_ZONES <= u8::MAX as usize);
