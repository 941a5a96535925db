//! The kernel's tables for a judge whose judgement has no consequences.
//!
//! What it looks up is copied from the maps; what it changes, it changes in the copies, which are lost with them.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aya::maps::MapError;
use aya::maps::lpm_trie::Key;
use callgate_rules::explain::Peek;
use callgate_shared::Addr;
use callgate_shared::flow::{Flow, FlowKey};
use callgate_shared::judge::{Budget, FragmentKey, Tables, Way, first_match};
use callgate_shared::limit::{self, LimitKey, Rate};
use callgate_shared::packet::Packet;
use callgate_shared::pinhole::{FurtherSenders, Pinhole, PinholeKey, port_bit};
use callgate_shared::policy::{ADDRESS_NEXT, CHUNK, Chunk, Policy, RuleEntry, Vector, policy_flags};

use super::maps::{Inner, Maps, Raw};
use super::rows::FlowValue;
use super::{Error, Kernel};

/// Different keys of one table that a judgement asks for, at most.
const KEYS: usize = 4;
/// Vectors: one for each of seven fields, in up to three questions to the rules.
const VECTORS: usize = 21;

/// The tables in force at one moment.
pub struct Copies<'k> {
    maps: &'k Maps,
    policy: Policy,
    /// The slot of the rule tables that is in force.
    slot: u32,
    now: u64,
    flows: Cells<FlowKey, Flow, KEYS>,
    pinholes: Cells<PinholeKey, Pinhole, KEYS>,
    further: Cells<PinholeKey, FurtherSenders, KEYS>,
    rules: Cells<u16, RuleEntry, KEYS>,
    vectors: Cells<u32, Vector, VECTORS>,
}

impl Kernel {
    /// The tables in force, for a judgement at `now`.
    ///
    /// # Errors
    /// No policy is in force, or it cannot be read.
    pub fn copies(&self, now: callgate_alg::Time) -> Result<Copies<'_>, Error> {
        let maps = &self.maps;
        let read = || -> Result<(u32, Policy), MapError> {
            let slot = maps.active.get(&0, 0)?;
            Ok((slot, maps.policy.get(slot)?.get(&0, 0)?.0))
        };
        let (slot, policy) = read().map_err(|source| Error::Map { name: "POLICY", source })?;
        Ok(Copies {
            maps,
            policy,
            slot,
            now: now.0,
            flows: Cells::default(),
            pinholes: Cells::default(),
            further: Cells::default(),
            rules: Cells::default(),
            vectors: Cells::default(),
        })
    }
}

impl Copies<'_> {
    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A cell of a table that lies in chunks; 0 where it has none.
    fn cell(&self, table: &Inner<Chunk>, cell: u32) -> u16 {
        self.entry(table, cell / CHUNK as u32).map_or(0, |chunk| chunk[cell as usize % CHUNK])
    }

    fn entry<T: Copy + 'static>(&self, table: &Inner<T>, index: u32) -> Option<T> {
        table.get(self.slot).ok()?.get(&index, 0).ok().map(|value| value.0)
    }

    /// The class of an address.
    fn class(&self, address: &Addr, source: bool) -> u16 {
        let maps = self.maps;
        let (chunks, v4, v6, in_trie) = if source {
            (&maps.source_chunks, &maps.sources4, &maps.sources6, policy_flags::SOURCES_IN_TRIE)
        } else {
            let in_trie = policy_flags::DESTINATIONS_IN_TRIE;
            (&maps.destination_chunks, &maps.destinations4, &maps.destinations6, in_trie)
        };
        if !address.is_v4() {
            let trie = v6.get(self.slot).ok();
            return trie.and_then(|trie| trie.get(&Key::new(128, Raw(*address)), 0).ok()).unwrap_or(0) as u16;
        }
        if self.policy.flags & in_trie != 0 {
            let trie = v4.get(self.slot).ok();
            let key = Key::new(32, Raw(address.v4_word()));
            return trie.and_then(|trie| trie.get(&key, 0).ok()).unwrap_or(0) as u16;
        }
        let mut cell = ADDRESS_NEXT;
        for octet in address.v4_word().to_ne_bytes() {
            if cell & ADDRESS_NEXT == 0 {
                break;
            }
            cell = self.entry(chunks, cell & !ADDRESS_NEXT).map_or(0, |chunk| chunk[usize::from(octet)]);
        }
        cell as u16
    }
}

impl Peek for Copies<'_> {
    fn bucket(&self, key: &LimitKey) -> Option<u64> {
        self.maps.limits.get(&Raw(*key), 0).ok()
    }
}

impl Tables for Copies<'_> {
    fn source_class(&self, address: &Addr) -> u16 {
        self.class(address, true)
    }

    fn destination_class(&self, address: &Addr) -> u16 {
        self.class(address, false)
    }

    fn service_class(&self, cell: u32) -> u16 {
        self.cell(&self.maps.services, cell)
    }

    fn source_port_class(&self, cell: u32) -> u16 {
        self.cell(&self.maps.source_ports, cell)
    }

    fn tag_class(&self, cell: u32) -> u16 {
        self.cell(&self.maps.tags, cell)
    }

    fn first_match(&self, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16 {
        first_match(self, policy, packet, zone, way)
    }

    fn rule_number(&self, cell: u32) -> u16 {
        self.cell(&self.maps.actions, cell)
    }

    fn vector(&self, at: u32) -> Option<&Vector> {
        self.vectors.get(at, || self.entry(&self.maps.vectors, at))
    }

    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        self.rules.get(number, || self.entry(&self.maps.rules, u32::from(number)))
    }

    fn source_zones(&self, class: u16) -> u16 {
        self.cell(&self.maps.source_zones, u32::from(class))
    }

    /// Asked of the routing tables as anybody may: a socket can be connected where there is a route, and bound to an
    /// address that is this machine's own. Nothing is sent.
    fn route_back(&self, packet: &Packet) -> bool {
        let source = IpAddr::from(packet.source);
        let any = match source {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        const DISCARD: u16 = 9;
        let own = UdpSocket::bind((source, 0)).is_ok();
        !own && UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((source, DISCARD)).is_ok())
    }

    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(*key, || self.maps.flow(key).map(flow))
    }

    fn insert_flow(&mut self, _key: &FlowKey, _flow: Flow) {}

    fn may_be_open(&self, transport: u8, port: u16) -> bool {
        let (word, bit) = port_bit(transport, port);
        self.maps.pinhole_ports.get(&word, 0).is_ok_and(|bits| bits & bit != 0)
    }

    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole> {
        self.pinholes.get(*key, || self.maps.pinholes.get(&Raw(*key), 0).ok().map(|value| value.0.into()))
    }

    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders> {
        self.further.get(*key, || self.maps.further_senders.get(&Raw(*key), 0).ok().map(|value| value.0))
    }

    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        self.maps.fragments.get(&Raw(*key), 0).ok()
    }

    fn insert_fragment(&mut self, _key: &FragmentKey, _first: u64) {}

    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool {
        limit::conform(rate, self.bucket(key).unwrap_or(0), self.now, cost).is_some()
    }

    fn refund(&mut self, _key: &LimitKey, _cost: u64) {}

    /// By the CPU that has most left: nobody knows which one the packet would come to.
    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool {
        let per_cpu = self.maps.budget.get(&(budget as u32), 0);
        let arrival = per_cpu.ok().and_then(|values| values.iter().copied().min()).unwrap_or(0);
        limit::conform(rate, arrival, self.now, rate.interval).is_some()
    }

    fn blocked(&self, address: &Addr, now: u64) -> bool {
        self.maps.blocks.get(&Raw(*address), 0).is_ok_and(|until| now < until)
    }

    fn is_peer(&self, address: &Addr, now: u64) -> bool {
        let key = Raw(*address);
        self.maps.vouched.get(&key, 0).is_ok_and(|until| now < until)
            || self.maps.peers.get(&key, 0).is_ok_and(|until| now < until)
    }

    fn vouch(&mut self, _address: &Addr, _now: u64) {}

    fn secret(&self) -> u64 {
        self.maps.secret.get(&0, 0).unwrap_or(0)
    }

    fn count(&mut self, _slot: u32, _bytes: u64, _passed: bool) {}

    fn add(&self, word: &AtomicU64, n: u64) {
        word.fetch_add(n, Relaxed);
    }

    fn load(&self, word: &AtomicU64) -> u64 {
        word.load(Relaxed)
    }

    fn store(&self, word: &AtomicU64, value: u64) {
        word.store(value, Relaxed);
    }
}

/// Up to `N` values of a table, each copied when it is first asked for.
struct Cells<K, V, const N: usize>([OnceCell<(K, Option<V>)>; N]);

impl<K, V, const N: usize> Default for Cells<K, V, N> {
    fn default() -> Self {
        Self([const { OnceCell::new() }; N])
    }
}

impl<K: PartialEq + Copy, V, const N: usize> Cells<K, V, N> {
    fn get(&self, key: K, read: impl Fn() -> Option<V>) -> Option<&V> {
        let cells = self.0.iter().map(|cell| cell.get_or_init(|| (key, read())));
        cells.into_iter().find(|(known, _)| *known == key).and_then(|(_, value)| value.as_ref())
    }
}

fn flow(value: FlowValue) -> Flow {
    Flow {
        last_seen: AtomicU64::new(value.last_seen),
        created: value.created,
        packets: value.packets.map(AtomicU64::new),
        bytes: value.bytes.map(AtomicU64::new),
        standing: AtomicU64::new(value.standing),
        edges: value.edges.map(AtomicU64::new),
        slot: value.slot,
        originator: value.originator,
        inspect: value.inspect,
        zone: value.zone,
        flags: value.flags,
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;

    #[test]
    fn a_value_is_read_once_and_told_from_others() {
        let cells: Cells<u32, u32, 3> = Cells::default();
        let reads = std::cell::Cell::new(0);
        let read = |value| {
            reads.set(reads.get() + 1);
            Some(value)
        };
        assert_eq!(cells.get(1, || read(10)), Some(&10));
        assert_eq!(cells.get(2, || None), None);
        assert_eq!(cells.get(1, || read(11)), Some(&10));
        assert_eq!(cells.get(3, || read(30)), Some(&30));
        assert_eq!(cells.get(4, || read(40)), None, "no room");
        assert_eq!(reads.get(), 2);
    }
}
