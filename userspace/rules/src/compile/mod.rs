//! [`RuleSet`] → the tables of [`callgate_shared::policy`].
//!
//! Values of a field that no rule tells apart share a class, and the classes of a packet's fields lead to the first
//! matching rule's number. The steps:
//!
//! 1. each rule in force becomes a *row* per protocol it has read and per range of source ports (`rows`), and
//!    equal lists of a field are numbered once;
//! 2. a sweep over the sorted prefixes gives each the lists that name it, those of the prefixes around it included;
//!    a sweep over ranges does the same for the other fields; equal results are one class (`classes`);
//! 3. where the classes' product fits, each of its cells gets the first row that all of its classes share, else
//!    each class gets a vector of its rows (`actions`);
//! 4. IPv4 prefixes are spread out in chunks by octet, as far as those go round (`chunks`).
//!
//! Time goes by prefixes, ranges and rules, by classes × rules / 64, and by cells × what is left of the rules in them.

mod actions;
mod chunks;
mod classes;
mod rows;
mod sources;

use std::collections::HashMap;
use std::net::IpAddr;

use callgate_shared::flow::filter;
use callgate_shared::limit::Rate;
use callgate_shared::policy::{
    ACTION_CHUNKS, ADDRESS_CHUNKS, AddressChunk, CHUNK, Classes, Form, MAX_IFACES, MAX_RULES, MAX_SLOTS,
    MAX_ZONES, Policy, RuleEntry, SERVICE_CELLS, SOURCE_PORT_CHUNKS, TAG_CHUNKS, TAG_DSCP, Timeouts, Vector,
    policy_flags,
};
use ipnet::IpNet;
use jiff::Zoned;

use crate::ruleset::{self, Handling, Rule, RuleSet};
use crate::service::Service;
use classes::address_classes;
use rows::{Cells, Lists, Rows};
use sources::Refusals;

pub use chunks::AddressTable;
pub use sources::BOGONS;

/// A prefix of a classifier table.
pub type Prefix = IpNet;

/// A rule set as the kernel holds it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What every packet needs.
    pub policy: Policy,
    /// Class of a source by its longest prefix; 0 where none covers it. IPv4 prefixes cover no IPv6 address
    /// and the other way round; those inside others stand behind them.
    pub sources: Vec<(Prefix, u16)>,
    /// Class of a destination, likewise.
    pub destinations: Vec<(Prefix, u16)>,
    /// Class of an IPv4 source by its octets: what the prefixes of [`Self::sources`] say.
    pub sources4: AddressTable,
    /// Class of an IPv4 destination by its octets: what the prefixes of [`Self::destinations`] say.
    pub destinations4: AddressTable,
    /// Class by cell of the service table: [`SERVICE_CELLS`] of them.
    pub services: Vec<u16>,
    /// Rule number by [`Policy::cell`], with zeros up to a whole number of chunks; empty where [`Form::Vectors`] is
    /// in use.
    pub actions: Vec<u16>,
    /// Class by cell of the source port table; empty where no rule matches source ports.
    pub source_ports: Vec<u16>,
    /// Class by cell of the table of VLAN ids and DSCPs; empty where no rule matches them.
    pub tags: Vec<u16>,
    /// Vectors by [`Policy::vector`]; empty where [`Form::Product`] is in use.
    pub vectors: Vec<Vector>,
    /// By source class, a bit per zone that may send from it.
    pub source_zones: Vec<u16>,
    /// Rules by number; number 0 is "no rule matched".
    pub rules: Vec<RuleEntry>,
    /// Counter slot by place in [`RuleSet::rules`], those that are not in force included.
    pub slots: Vec<u32>,
    /// What becomes of a rule's media, likewise.
    pub handlings: Vec<Handling>,
    /// Places in [`RuleSet::rules`] of rules in force that are in no cell of [`Self::actions`]: earlier rules match
    /// first.
    pub unreached: Vec<usize>,
}

impl Compiled {
    /// What becomes of the media whose signalling the rule of a counter slot has admitted.
    pub fn handling(&self, slot: u32) -> Handling {
        let place = self.slots.iter().position(|rule| *rule == slot);
        place.and_then(|place| self.handlings.get(place)).copied().unwrap_or_default()
    }

    /// The form in use and what it takes.
    pub fn size(&self) -> Sizes {
        let chunks = self.sources4.chunks() + self.destinations4.chunks();
        let in_trie = |(prefix, _): &&(Prefix, u16), table: &AddressTable| {
            matches!(prefix, IpNet::V6(_)) || *table == AddressTable::Trie
        };
        let prefixes = self.sources.iter().filter(|entry| in_trie(entry, &self.sources4)).count()
            + self.destinations.iter().filter(|entry| in_trie(entry, &self.destinations4)).count();
        let numbers = [&self.services, &self.actions, &self.source_ports, &self.tags, &self.source_zones];
        let bytes = numbers.iter().map(|table| size_of_val(table.as_slice())).sum::<usize>()
            + size_of_val(self.vectors.as_slice())
            + size_of_val(self.rules.as_slice())
            + chunks * size_of::<AddressChunk>()
            + prefixes * TRIE_ENTRY
            + size_of::<Policy>();
        Sizes {
            form: if self.vectors.is_empty() { Form::Product } else { Form::Vectors },
            entries: self.rules.len() - 1,
            classes: self.policy.classes,
            cells: self.actions.len(),
            vectors: self.vectors.len(),
            chunks,
            prefixes,
            bytes,
        }
    }
}

/// What a prefix takes in the kernel's trie: its node (`struct lpm_trie_node` with key and class, as `kmalloc` rounds
/// it up), and up to one more that joins it to others.
const TRIE_ENTRY: usize = 2 * 64;

/// The size of compiled rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// How a packet's rule is found.
    pub form: Form,
    /// Rules as the kernel counts them: a rule with several protocols or source ports is several.
    pub entries: usize,
    /// Classes of each field.
    pub classes: Classes,
    /// Cells of the action table; 0 for [`Form::Vectors`].
    pub cells: usize,
    /// Vectors; 0 for [`Form::Product`].
    pub vectors: usize,
    /// Chunks of IPv4 addresses.
    pub chunks: usize,
    /// Prefixes that lie in tries: those of IPv6, and IPv4 ones for which there are too few chunks.
    pub prefixes: usize,
    /// Bytes of all that, in one of the kernel's two sets of tables.
    pub bytes: usize,
}

/// What a policy is compiled for. The default has neither interfaces nor addresses, and stands at the beginning of
/// 1970.
#[derive(Clone, Debug, Default)]
pub struct Machine<'m> {
    /// The interfaces that are attached: slot and name.
    pub interfaces: &'m [(usize, &'m str)],
    /// This machine's own addresses.
    pub addresses: &'m [IpAddr],
    /// The time, and the time zone of this machine: which rules are in force.
    pub now: Zoned,
}

impl Machine<'_> {
    /// A machine without interfaces and addresses, at this time.
    pub fn at(now: Zoned) -> Self {
        Self { interfaces: &[], addresses: &[], now }
    }
}

/// What the tables may hold.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Cells of the action table.
    pub cells: usize,
    /// Chunks of an IPv4 address table.
    pub chunks: usize,
}

impl Caps {
    /// Those of the kernel half.
    pub const KERNEL: Self = Self { cells: ACTION_CHUNKS as usize * CHUNK, chunks: ADDRESS_CHUNKS as usize };
}

/// Why a rule set cannot be brought into the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More rules than rule numbers.
    #[error("the rules need {rows} entries; at most {most} fit: join rules that do the same")]
    Rules {
        /// Entries needed: one per rule in force, more where it has several protocols or source ports.
        rows: usize,
        /// Entries there are.
        most: usize,
    },
    /// More classes than class numbers.
    #[error("the rules tell more than {most} kinds of {field} apart: use fewer, larger groups")]
    Classes {
        /// What they are of: `sources`, `services`, ….
        field: &'static str,
        /// Classes there can be.
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

/// Compiles a rule set for a machine.
///
/// `generation` tells this policy from the one before; 0 is taken as 1, since the kernel half takes 0 for "no
/// policy".
///
/// # Errors
///
/// [`CompileError`] where a table of the kernel half would not hold it.
pub fn compile(
    set: &RuleSet,
    machine: &Machine<'_>,
    generation: u32,
    slots: &mut impl Slots,
) -> Result<Compiled, CompileError> {
    compile_within(set, machine, generation, slots, &Caps::KERNEL)
}

/// [`compile`] for smaller tables, so that tests can have every form.
#[doc(hidden)]
pub fn compile_within(
    set: &RuleSet,
    machine: &Machine<'_>,
    generation: u32,
    slots: &mut impl Slots,
    caps: &Caps,
) -> Result<Compiled, CompileError> {
    let interfaces = interfaces_of(set, machine.interfaces)?;
    let rows = Rows::of(set, &set.active_at(&machine.now));
    if rows.rows.len() >= MAX_RULES as usize {
        return Err(CompileError::Rules { rows: rows.rows.len(), most: MAX_RULES as usize - 1 });
    }
    let numbers = rows.rows.len() + 1;

    let refusals = Refusals::of(set, machine.addresses);
    let mut prefixes = rows.sources.prefixes();
    let rule_lists = prefixes.len();
    prefixes.extend(refusals.prefixes());
    let sources = address_classes("sources", &prefixes)?;
    let destinations = address_classes("destinations", &rows.destinations.prefixes())?;
    let services = rows.services.classes("services", SERVICE_CELLS)?;
    let vlans = rows.vlans.classes("VLANs", TAG_DSCP)?;
    let dscps = rows.dscps.classes("DSCPs", TAG_CHUNKS * CHUNK as u32 - TAG_DSCP)?;
    let source_ports = rows.source_ports.classes("source ports", SOURCE_PORT_CHUNKS * CHUNK as u32)?;

    // In the order of `policy::Field`.
    let fields = [
        rows.of_zones(set.zone_count()),
        rows.vlans.sets(&vlans.named, numbers),
        rows.dscps.sets(&dscps.named, numbers),
        rows.source_ports.sets(&source_ports.named, numbers),
        rows.sources.sets(&sources.named, numbers),
        rows.destinations.sets(&destinations.named, numbers),
        rows.services.sets(&services.named, numbers),
    ];
    let fields = fields.each_ref();
    let cells = fields.iter().try_fold(1_usize, |product, field| product.checked_mul(field.len()));
    let form = if cells.is_some_and(|cells| cells <= caps.cells) { Form::Product } else { Form::Vectors };
    let (actions, vectors) = match form {
        Form::Product => (actions::product(&fields), Vec::new()),
        Form::Vectors => (Vec::new(), actions::vectors(&fields)),
    };
    let sources4 = chunks::table(&sources.table, caps.chunks);
    let destinations4 = chunks::table(&destinations.table, caps.chunks);

    let settings = settings_of(set, generation);
    let mut flags = settings.flags;
    let mut flag = |holds: bool, bit: u8| flags |= if holds { bit } else { 0 };
    flag(sources4 == AddressTable::Trie, policy_flags::SOURCES_IN_TRIE);
    flag(destinations4 == AddressTable::Trie, policy_flags::DESTINATIONS_IN_TRIE);
    let tagged = [&rows.vlans, &rows.dscps].into_iter().any(Lists::<Cells>::is_used);
    flag(tagged || rows.source_ports.is_used(), policy_flags::TAGS);
    flag(!names_media(&rows, set), policy_flags::MEDIA_BY_PINHOLE);
    let classes = Classes {
        vlans: fields[1].len() as u32,
        dscps: fields[2].len() as u32,
        source_ports: fields[3].len() as u32,
        sources: fields[4].len() as u32,
        destinations: fields[5].len() as u32,
        services: fields[6].len() as u32,
    };

    // Last, so that rules which do not fit use up no slots.
    let slots = slots_of(set, slots)?;
    let entries = rows.rows.iter().map(|row| RuleEntry { slot: slots[row.rule], ..row.entry });
    Ok(Compiled {
        policy: Policy { flags, form: form as u8, classes, interfaces, ..settings },
        unreached: unreached(&rows, form, &actions),
        sources: sources.table,
        destinations: destinations.table,
        sources4,
        destinations4,
        services: services.table,
        source_ports: if rows.source_ports.is_used() { source_ports.table } else { Vec::new() },
        tags: if tagged { [vlans.table, dscps.table].concat() } else { Vec::new() },
        source_zones: refusals.permitted(&sources.named, rule_lists),
        actions,
        vectors,
        rules: std::iter::once(RuleEntry::default()).chain(entries).collect(),
        slots,
        handlings: set.rules().iter().map(|rule| rule.handling).collect(),
    })
}

/// Whether some rule in force is for UDP to a port of media.
fn names_media(rows: &Rows<'_>, set: &RuleSet) -> bool {
    let media = &set.settings().media_ports;
    let rules = rows.rows.iter().map(|row| &set.rules()[row.rule]);
    rules.flat_map(|rule| &rule.services).any(|service| match service {
        Service::Any => true,
        Service::Udp(ports) => ports.to.start() <= media.end() && media.start() <= ports.to.end(),
        _ => false,
    })
}

/// What the settings and the zones' tables say; tables and interfaces are left out.
fn settings_of(set: &RuleSet, generation: u32) -> Policy {
    let settings = set.settings();
    let budgets = &settings.budgets;
    // Addresses are blocked while a policy is in force: it is not told when the first one is.
    let mut flags = ruleset::policy_flags(settings) | policy_flags::BLOCKS;
    if budgets.challenge {
        flags |= policy_flags::CHALLENGE;
    }
    Policy {
        generation: generation.max(1),
        flags,
        form: Form::Product as u8,
        media_first: *settings.media_ports.start(),
        media_last: *settings.media_ports.end(),
        pad: 0,
        classes: Classes::default(),
        timeouts: settings.timeouts,
        flow_windows: filter::windows(&settings.timeouts),
        new_flows: budgets.new_flows.kernel(),
        peer_flows: budgets.peer_flows.kernel(),
        half_open_source: half_open(budgets.half_open_source, &settings.timeouts),
        half_open_destination: half_open(budgets.half_open_destination, &settings.timeouts),
        replies: budgets.replies.kernel(),
        zones: sources::zone_policies(set),
        interfaces: [0; MAX_IFACES],
    }
}

/// So many connections at once, each of which is over after the time for opening one: no limit for 0.
fn half_open(most: u32, timeouts: &Timeouts) -> Rate {
    let life = u64::from(timeouts.tcp_opening) * 1_000_000_000;
    let Some(interval) = life.checked_div(most.into()) else { return Rate::default() };
    let interval = interval.max(1);
    Rate { interval, tolerance: interval * u64::from(most - 1) }
}

fn unreached(rows: &Rows<'_>, form: Form, actions: &[u16]) -> Vec<usize> {
    if form == Form::Vectors {
        return Vec::new();
    }
    let mut reached = vec![false; rows.rows.len() + 1];
    for number in actions {
        reached[usize::from(*number)] = true;
    }
    // A rule's rows stand side by side.
    let rules = rows.rows.iter().zip(&reached[1..]);
    let rules: Vec<(usize, bool)> = rules.map(|(row, reached)| (row.rule, *reached)).collect();
    let rules = rules.chunk_by(|a, b| a.0 == b.0);
    rules.filter(|rows| rows.iter().all(|(_, reached)| !reached)).map(|rows| rows[0].0).collect()
}

fn slots_of(set: &RuleSet, slots: &mut impl Slots) -> Result<Vec<u32>, CompileError> {
    let slot =
        |rule: &Rule| slots.slot(&rule.name).ok_or_else(|| CompileError::Slots { rule: rule.name.clone() });
    set.rules().iter().map(slot).collect()
}

fn interfaces_of(set: &RuleSet, interfaces: &[(usize, &str)]) -> Result<[u8; MAX_IFACES], CompileError> {
    let mut zones = [0; MAX_IFACES];
    for &(slot, name) in interfaces {
        let place = zones
            .get_mut(slot)
            .ok_or_else(|| CompileError::Interface { interface: name.to_owned(), slot })?;
        *place = set.zone_of(name);
    }
    Ok(zones)
}

const _: () = assert!(MAX_RULES <= u16::MAX as u32 && MAX_ZONES <= u8::MAX as usize);
