//! The kernel half's twin in user space: the tables in ordinary collections, judged by the same judge.
//!
//! Replay and tests run packets through a [`Model`]. Its memory is bounded like that of the kernel maps: where
//! a table is full, the entries that were used longest ago make room. Time is whatever the caller says it is.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use callgate_shared::Addr;
use callgate_shared::flow::{Flow, FlowKey};
use callgate_shared::judge::{BUDGETS, Budget, FragmentKey, Tables, Verdict, Way, first_match, judge};
use callgate_shared::limit::{self, LimitKey, Rate};
use callgate_shared::packet::Packet;
use callgate_shared::peer::VOUCHED;
use callgate_shared::pinhole::{FurtherSenders, Pinhole, PinholeKey, learnt_flows, learnt_port};
use callgate_shared::policy::{Policy, RuleEntry, Vector};
use ipnet::IpNet;

use crate::compile::{AddressTable, Compiled, Prefix};
use crate::explain::Peek;
use crate::prefixes::PrefixSet;
use crate::ruleset::Handling;

/// Bounds of a model's memory, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Flows.
    pub flows: usize,
    /// Pinholes.
    pub pinholes: usize,
    /// Fragmented datagrams.
    pub fragments: usize,
    /// Buckets of limits.
    pub buckets: usize,
    /// Addresses of known peers.
    pub peers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { flows: 1 << 20, pinholes: 1 << 20, fragments: 1 << 16, buckets: 1 << 18, peers: 1 << 16 }
    }
}

/// What a rule has let by and dropped. Bytes are whole IP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets let by.
    pub passed_packets: u64,
    /// Bytes let by.
    pub passed_bytes: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// Bytes dropped.
    pub dropped_bytes: u64,
}

/// Compiled tables, and the state that outlives them.
#[derive(Debug)]
pub struct Model {
    rules: Rules,
    state: State,
}

impl Model {
    /// A model with these rules and nothing else.
    pub fn new(compiled: Compiled, bounds: Bounds) -> Self {
        Self { rules: Rules::new(compiled), state: State { bounds, ..State::default() } }
    }

    /// Puts other rules in force. Flows, pinholes, limits and counters stay.
    pub fn reload(&mut self, compiled: Compiled) {
        self.rules = Rules::new(compiled);
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.rules.policy
    }

    /// What becomes of the media whose signalling the rule of a counter slot has admitted.
    pub fn handling(&self, slot: u32) -> Handling {
        self.rules.handlings.get(&slot).copied().unwrap_or_default()
    }

    /// Judges a packet that came from `zone` at monotonic time `now` (ns).
    pub fn judge(&mut self, packet: &Packet, zone: u8, now: u64) -> Verdict {
        let policy = self.rules.policy;
        self.state.now = now;
        judge(self, &policy, packet, zone, now)
    }

    /// What time it is for those who judge by the model's tables without [`Self::judge`].
    pub fn set_clock(&mut self, now: u64) {
        self.state.now = now;
    }

    /// Opens a pinhole for its own sender and further ones. What one of the same key has measured goes on.
    pub fn open(&mut self, key: PinholeKey, mut pinhole: Pinhole, further: FurtherSenders) {
        let State { pinholes, bounds, further_senders, flows, .. } = &mut self.state;
        let before = further_senders.insert(key, further).unwrap_or_default();
        if further == FurtherSenders::default() {
            further_senders.remove(&key);
        }
        if let Some(known) = pinholes.get(&key) {
            let senders = known.senders(Some(&before));
            pinhole.goes_on_from(known, senders != pinhole.senders(Some(&further)));
            if learnt_port(pinhole.learnt.load(Relaxed)).is_none() {
                for flow in learnt_flows(&key, &senders, known.learnt.load(Relaxed)) {
                    flows.remove(&flow);
                }
            }
        }
        if !pinholes.contains_key(&key) {
            make_room(pinholes, bounds.pinholes, |pinhole| pinhole.last_seen.load(Relaxed));
        }
        pinholes.insert(key, pinhole);
    }

    /// Closes a pinhole, and the way back to a sender it has learnt; returns what it was.
    pub fn close(&mut self, key: &PinholeKey) -> Option<Pinhole> {
        let pinhole = self.state.pinholes.remove(key)?;
        let further = self.state.further_senders.remove(key);
        let senders = pinhole.senders(further.as_ref());
        for flow in learnt_flows(key, &senders, pinhole.learnt.load(Relaxed)) {
            self.state.flows.remove(&flow);
        }
        Some(pinhole)
    }

    /// The open pinholes, in no order.
    pub fn pinholes(&self) -> impl Iterator<Item = (&PinholeKey, &Pinhole)> {
        self.state.pinholes.iter()
    }

    /// The known flows, in no order, those that have timed out included.
    pub fn flows(&self) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.state.flows.iter()
    }

    /// Drops what an address sends until this time.
    pub fn block(&mut self, address: Addr, until: u64) {
        self.state.blocks.insert(address, until);
    }

    /// Takes an address for a known peer's until this time.
    pub fn know(&mut self, address: Addr, until: u64) {
        self.state.peers.insert(address, until);
    }

    /// Lets an address that was blocked by again: whether it was.
    pub fn unblock(&mut self, address: &Addr) -> bool {
        self.state.blocks.remove(address).is_some()
    }

    /// Where this machine has routes to, its own addresses left out: without this, a model has a route to everywhere.
    pub fn set_routes(&mut self, routes: PrefixSet) {
        self.state.routes = Some(routes);
    }

    /// Gives challenges a key.
    pub fn set_secret(&mut self, secret: u64) {
        self.state.secret = secret;
    }

    /// What was counted under a rule's slot.
    pub fn counters(&self, slot: u32) -> Counters {
        self.state.counters.get(&slot).copied().unwrap_or_default()
    }
}

impl Peek for Model {
    fn bucket(&self, key: &LimitKey) -> Option<u64> {
        self.state.buckets.get(key).copied()
    }
}

impl Tables for Model {
    fn first_match(&self, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16 {
        first_match(self, policy, packet, zone, way)
    }

    fn source_class(&self, address: &Addr) -> u16 {
        self.rules.sources.class(address)
    }

    fn destination_class(&self, address: &Addr) -> u16 {
        self.rules.destinations.class(address)
    }

    fn service_class(&self, cell: u32) -> u16 {
        self.rules.services.get(cell as usize).copied().unwrap_or_default()
    }

    fn rule_number(&self, cell: u32) -> u16 {
        self.rules.actions.get(cell as usize).copied().unwrap_or_default()
    }

    fn source_port_class(&self, cell: u32) -> u16 {
        self.rules.source_ports.get(cell as usize).copied().unwrap_or_default()
    }

    fn tag_class(&self, cell: u32) -> u16 {
        self.rules.tags.get(cell as usize).copied().unwrap_or_default()
    }

    fn vector(&self, at: u32) -> Option<&Vector> {
        self.rules.vectors.get(at as usize)
    }

    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        self.rules.entries.get(usize::from(number))
    }

    fn source_zones(&self, class: u16) -> u16 {
        self.rules.source_zones.get(usize::from(class)).copied().unwrap_or_default()
    }

    fn route_back(&self, packet: &Packet) -> bool {
        self.state.routes.as_ref().is_none_or(|routes| routes.contains(IpAddr::from(packet.source)))
    }

    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        self.state.flows.get(key)
    }

    fn insert_flow(&mut self, key: &FlowKey, flow: Flow) {
        let State { flows, bounds, .. } = &mut self.state;
        if !flows.contains_key(key) {
            make_room(flows, bounds.flows, |flow| flow.last_seen.load(Relaxed));
        }
        flows.insert(*key, flow);
    }

    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole> {
        self.state.pinholes.get(key)
    }

    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders> {
        self.state.further_senders.get(key)
    }

    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        self.state.fragments.get(key).map(|(first, _)| *first)
    }

    fn insert_fragment(&mut self, key: &FragmentKey, first: u64) {
        let State { fragments, bounds, now, .. } = &mut self.state;
        if !fragments.contains_key(key) {
            make_room(fragments, bounds.fragments, |(_, since)| *since);
        }
        fragments.insert(*key, (first, *now));
    }

    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool {
        let State { buckets, bounds, now, .. } = &mut self.state;
        let arrival = match buckets.get(key) {
            Some(arrival) => *arrival,
            None => {
                make_room(buckets, bounds.buckets, |arrival| *arrival);
                0
            }
        };
        let next = limit::conform(rate, arrival, *now, cost);
        if let Some(next) = next {
            buckets.insert(*key, next);
        }
        next.is_some()
    }

    fn refund(&mut self, key: &LimitKey, cost: u64) {
        if let Some(arrival) = self.state.buckets.get_mut(key) {
            *arrival = arrival.saturating_sub(cost);
        }
    }

    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool {
        let State { budgets, now, .. } = &mut self.state;
        let arrival = &mut budgets[budget as usize];
        let next = limit::conform(rate, *arrival, *now, rate.interval);
        *arrival = next.unwrap_or(*arrival);
        next.is_some()
    }

    fn blocked(&self, address: &Addr, now: u64) -> bool {
        self.state.blocks.get(address).is_some_and(|until| now < *until)
    }

    fn is_peer(&self, address: &Addr, now: u64) -> bool {
        self.state.peers.get(address).is_some_and(|until| now < *until)
    }

    fn vouch(&mut self, address: &Addr, now: u64) {
        let State { peers, bounds, .. } = &mut self.state;
        if !peers.contains_key(address) {
            make_room(peers, bounds.peers, |until| *until);
        }
        // Whoever is known for longer, because the rules say so, stays known for longer.
        let until = peers.entry(*address).or_default();
        *until = (*until).max(now + VOUCHED);
    }

    fn secret(&self) -> u64 {
        self.state.secret
    }

    fn count(&mut self, slot: u32, bytes: u64, passed: bool) {
        let counters = self.state.counters.entry(slot).or_default();
        let (packets, sum) = if passed {
            (&mut counters.passed_packets, &mut counters.passed_bytes)
        } else {
            (&mut counters.dropped_packets, &mut counters.dropped_bytes)
        };
        *packets += 1;
        *sum += bytes;
    }

    fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    fn load(&self, value: &AtomicU64) -> u64 {
        value.load(Relaxed)
    }

    fn store(&self, place: &AtomicU64, value: u64) {
        place.store(value, Relaxed);
    }
}

/// What a reload replaces.
#[derive(Debug)]
struct Rules {
    policy: Policy,
    sources: Classifier,
    destinations: Classifier,
    services: Vec<u16>,
    source_ports: Vec<u16>,
    tags: Vec<u16>,
    actions: Vec<u16>,
    vectors: Vec<Vector>,
    source_zones: Vec<u16>,
    entries: Vec<RuleEntry>,
    /// By counter slot.
    handlings: HashMap<u32, Handling>,
}

impl Rules {
    fn new(compiled: Compiled) -> Self {
        Self {
            policy: compiled.policy,
            sources: Classifier::new(compiled.sources4, &compiled.sources),
            destinations: Classifier::new(compiled.destinations4, &compiled.destinations),
            services: compiled.services,
            source_ports: compiled.source_ports,
            tags: compiled.tags,
            actions: compiled.actions,
            vectors: compiled.vectors,
            source_zones: compiled.source_zones,
            entries: compiled.rules,
            handlings: compiled.slots.into_iter().zip(compiled.handlings).collect(),
        }
    }
}

/// What a reload leaves alone.
#[derive(Debug, Default)]
struct State {
    now: u64,
    bounds: Bounds,
    flows: HashMap<FlowKey, Flow>,
    pinholes: HashMap<PinholeKey, Pinhole>,
    /// Of those of them that name more than one.
    further_senders: HashMap<PinholeKey, FurtherSenders>,
    fragments: HashMap<FragmentKey, (u64, u64)>,
    /// Theoretical arrival times.
    buckets: HashMap<LimitKey, u64>,
    budgets: [u64; BUDGETS],
    /// Blocked addresses, and until when.
    blocks: HashMap<Addr, u64>,
    /// Known peers, and until when.
    peers: HashMap<Addr, u64>,
    /// `None`: to everywhere.
    routes: Option<PrefixSet>,
    secret: u64,
    /// By slot: as many as there are rule names.
    counters: HashMap<u32, Counters>,
}

/// The class of an address: of IPv4 by octets where chunks go round, else by the longest prefix.
#[derive(Debug)]
struct Classifier {
    v4: AddressTable,
    /// A table per family and prefix length in use, the longest first; without IPv4 where that has chunks.
    tries: [Vec<(u8, HashMap<IpAddr, u16>)>; 2],
}

impl Classifier {
    fn new(v4: AddressTable, prefixes: &[(Prefix, u16)]) -> Self {
        let mut tries = [Vec::new(), Vec::new()];
        let in_trie =
            |(prefix, _): &&(Prefix, u16)| matches!(prefix, IpNet::V6(_)) || v4 == AddressTable::Trie;
        let mut by_length: Vec<&(Prefix, u16)> = prefixes.iter().filter(in_trie).collect();
        by_length.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        for (prefix, class) in by_length {
            let tables: &mut Vec<(u8, HashMap<IpAddr, u16>)> = &mut tries[family(&prefix.network())];
            match tables.last_mut() {
                Some((length, table)) if *length == prefix.prefix_len() => {
                    table.insert(prefix.network(), *class);
                }
                _ => tables.push((prefix.prefix_len(), HashMap::from([(prefix.network(), *class)]))),
            }
        }
        Self { v4, tries }
    }

    /// The class of an address; 0 where no prefix covers it.
    fn class(&self, address: &Addr) -> u16 {
        if address.is_v4()
            && let Some(class) = self.v4.class(u32::from_be(address.v4_word()))
        {
            return class;
        }
        let address = IpAddr::from(*address);
        let find = |(length, table): &(u8, HashMap<IpAddr, u16>)| {
            table.get(&IpNet::new(address, *length).ok()?.network()).copied()
        };
        self.tries[family(&address)].iter().find_map(find).unwrap_or_default()
    }
}

const fn family(address: &IpAddr) -> usize {
    address.is_ipv6() as usize
}

/// Where a table is full, forgets at least half of it: what was used longest ago.
fn make_room<K: Eq + Hash, V>(table: &mut HashMap<K, V>, bound: usize, used: impl Fn(&V) -> u64) {
    if table.len() < bound.max(1) {
        return;
    }
    let mut times: Vec<u64> = table.values().map(&used).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    table.retain(|_, value| used(value) > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_gives_the_class_and_families_are_apart() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let prefixes = [
            (net("0.0.0.0/0"), 1),
            (net("10.0.0.0/8"), 2),
            (net("10.1.0.0/16"), 3),
            (net("10.1.2.3/32"), 4),
            (net("2001:db8::/32"), 5),
        ];
        let classifier = Classifier::new(AddressTable::Trie, &prefixes);
        let class = |text: &str| classifier.class(&text.parse::<IpAddr>().expect("an address").into());
        assert_eq!(["9.9.9.9", "10.9.9.9", "10.1.9.9", "10.1.2.3"].map(class), [1, 2, 3, 4]);
        assert_eq!(["2001:db8::1", "::1"].map(class), [5, 0]);
    }

    #[test]
    fn a_full_table_forgets_what_was_used_longest_ago() {
        let mut table: HashMap<u32, u64> = (0..100).map(|n| (n, u64::from(n))).collect();
        make_room(&mut table, 100, |used| *used);
        assert!(table.len() <= 50 && table.contains_key(&99) && !table.contains_key(&0));
        make_room(&mut table, 100, |used| *used);
        assert!(table.contains_key(&51), "a table with room forgets nothing");
    }
}
