//! The pinned maps: policies in, state out.

use std::collections::HashMap as StdHashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{
    Array, DevMapHash, FromMapData, HashMap, InnerMap, Map, MapData, MapError, PerCpuArray, RingBuf,
};
use callgate_alg::Transport;
use callgate_alg::action::{PinholeSpec, Time};
use callgate_rules::compile::AddressTable;
use callgate_rules::{Compiled, Handling, Slots};
use callgate_shared::counters::{Count, Event, RuleCount};
use callgate_shared::flow::{FlowKey, filter};
use callgate_shared::judge::{FirstFragment, FragmentKey};
use callgate_shared::limit::LimitKey;
use callgate_shared::media::flags;
use callgate_shared::pinhole::{
    FurtherSenders, Kind, Pinhole, PinholeKey, learnt_flows, learnt_port, port_bit,
};
use callgate_shared::policy::{
    ACTION_CHUNKS, AddressChunk, CHUNK, Chunk, Inspect, MAX_IFACES, MAX_RULES, MAX_SLOTS, Policy, RuleEntry,
    SERVICE_CHUNKS, SOURCE_PORT_CHUNKS, TAG_CHUNKS, Vector, policy_flags,
};
use callgate_shared::tap::Tap;
use callgate_shared::{Addr, Reason};

use super::pairs::Pair;
pub use super::rows::{FlowRow, PinholeRow};
use super::rows::{FlowValue, PinholeValue};
use super::{Error, Kernel};

/// A pinned map and the sizes this build gives it.
pub(super) struct MapLayout {
    pub(super) name: &'static str,
    pub(super) key: u32,
    pub(super) value: u32,
}

const fn layout<K, V>(name: &'static str) -> MapLayout {
    MapLayout { name, key: size_of::<K>() as u32, value: size_of::<V>() as u32 }
}

/// Every map of the object.
pub(super) const MAPS: &[MapLayout] = &[
    layout::<u32, u32>("ACTIVE"),
    layout::<u32, u64>("HEARTBEAT"),
    layout::<u32, Tap>("TAPS"),
    layout::<u32, u32>("POLICY"),
    layout::<u32, u32>("RULES"),
    layout::<u32, u32>("ACTIONS"),
    layout::<u32, u32>("SERVICES"),
    layout::<u32, u32>("SOURCE_PORTS"),
    layout::<u32, u32>("TAGS"),
    layout::<u32, u32>("VECTORS"),
    layout::<u32, u32>("SOURCE_ZONES"),
    layout::<u32, u32>("SOURCE_CHUNKS"),
    layout::<u32, u32>("DESTINATION_CHUNKS"),
    layout::<u32, u32>("SOURCES4"),
    layout::<u32, u32>("SOURCES6"),
    layout::<u32, u32>("DESTINATIONS4"),
    layout::<u32, u32>("DESTINATIONS6"),
    layout::<FlowKey, FlowValue>("FLOWS"),
    layout::<FlowKey, FlowValue>("PEER_FLOWS"),
    layout::<u32, filter::Chunk>("FLOW_FILTER"),
    layout::<PinholeKey, PinholeValue>("PINHOLES"),
    layout::<PinholeKey, FurtherSenders>("FURTHER_SENDERS"),
    layout::<u32, u64>("PINHOLE_PORTS"),
    layout::<u32, u64>("EGRESS"),
    layout::<LimitKey, u64>("LIMITS"),
    layout::<FragmentKey, u64>("FRAGMENTS"),
    layout::<Addr, u64>("BLOCKS"),
    layout::<u32, u64>("BLOCK_FILTER"),
    layout::<Addr, u64>("PEERS"),
    layout::<Addr, u64>("VOUCHED"),
    layout::<u32, u64>("BUDGET"),
    layout::<u32, u64>("SECRET"),
    layout::<u32, u64>("CLOCK"),
    layout::<u32, Count>("COUNTERS"),
    layout::<u32, RuleCount>("RULE_COUNTERS"),
    layout::<u64, u32>("RULE_SLOTS"),
    MapLayout { name: "EVENTS", key: 0, value: 0 },
    layout::<u32, u64>("EVENT_BUDGET"),
];

/// A value of a kernel map, byte for byte.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: only types of `callgate_shared` that are `Copy`, `repr(C)`, valid for any bytes and free of implicit
// padding are put into it; the kernel half writes the same types.
unsafe impl<T: Copy + 'static> aya::Pod for Raw<T> {}

pub(super) type Inner<T> = Pair<Array<MapData, Raw<T>>>;
type Tries<K> = Pair<LpmTrie<MapData, Raw<K>, u32>>;

/// Handles of the pinned maps.
pub(super) struct Maps {
    pub(super) active: Array<MapData, u32>,
    heartbeat: Array<MapData, u64>,
    taps: Array<MapData, Raw<Tap>>,
    pub(super) policy: Inner<Policy>,
    pub(super) rules: Inner<RuleEntry>,
    pub(super) actions: Inner<Chunk>,
    pub(super) services: Inner<Chunk>,
    pub(super) source_ports: Inner<Chunk>,
    pub(super) tags: Inner<Chunk>,
    pub(super) vectors: Inner<Vector>,
    pub(super) source_zones: Inner<Chunk>,
    pub(super) source_chunks: Inner<AddressChunk>,
    pub(super) destination_chunks: Inner<AddressChunk>,
    pub(super) sources4: Tries<u32>,
    pub(super) sources6: Tries<Addr>,
    pub(super) destinations4: Tries<u32>,
    pub(super) destinations6: Tries<Addr>,
    flows: HashMap<MapData, Raw<FlowKey>, Raw<FlowValue>>,
    peer_flows: HashMap<MapData, Raw<FlowKey>, Raw<FlowValue>>,
    pub(super) limits: HashMap<MapData, Raw<LimitKey>, u64>,
    pub(super) budget: PerCpuArray<MapData, u64>,
    pub(super) blocks: HashMap<MapData, Raw<Addr>, u64>,
    pub(super) peers: HashMap<MapData, Raw<Addr>, u64>,
    pub(super) vouched: HashMap<MapData, Raw<Addr>, u64>,
    pub(super) fragments: HashMap<MapData, Raw<FragmentKey>, u64>,
    pub(super) secret: Array<MapData, u64>,
    clock: Array<MapData, u64>,
    pub(super) pinholes: HashMap<MapData, Raw<PinholeKey>, Raw<PinholeValue>>,
    pub(super) further_senders: HashMap<MapData, Raw<PinholeKey>, Raw<FurtherSenders>>,
    pub(super) pinhole_ports: Array<MapData, u64>,
    pub(super) egress: DevMapHash<MapData>,
    /// Pinholes by transport and port: what the map above says in one bit.
    ports_in_use: StdHashMap<(u8, u16), u32>,
    counters: PerCpuArray<MapData, Raw<Count>>,
    rule_counters: PerCpuArray<MapData, Raw<RuleCount>>,
    rule_slots: HashMap<MapData, u64, u32>,
    pub(super) block_filter: Array<MapData, u64>,
    /// Blocked addresses by word and bit of the filter above.
    pub(super) filtered: StdHashMap<(u32, u64), u32>,
}

/// Opens a pinned map as the type its place asks for.
macro_rules! open {
    ($directory:expr, $name:literal, $kind:ident) => {{
        let error = |source| Error::Map { name: $name, source };
        let data = MapData::from_pin($directory.join($name)).map_err(error)?;
        Map::$kind(data).try_into().map_err(error)?
    }};
}

/// Opens a pinned array of maps, with what is in it.
macro_rules! pair {
    ($directory:expr, $name:literal) => {
        Pair::adopt(open!($directory, $name, ArrayOfMaps))
            .map_err(|source| Error::Map { name: $name, source })?
    };
}

impl Maps {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let pinholes: HashMap<MapData, Raw<PinholeKey>, Raw<PinholeValue>> =
            open!(directory, "PINHOLES", HashMap);
        let mut ports_in_use = StdHashMap::new();
        for key in pinholes.keys().flatten() {
            *ports_in_use.entry((key.0.transport, key.0.port)).or_default() += 1;
        }
        Ok(Self {
            active: open!(directory, "ACTIVE", Array),
            heartbeat: open!(directory, "HEARTBEAT", Array),
            taps: open!(directory, "TAPS", Array),
            policy: pair!(directory, "POLICY"),
            rules: pair!(directory, "RULES"),
            actions: pair!(directory, "ACTIONS"),
            services: pair!(directory, "SERVICES"),
            source_ports: pair!(directory, "SOURCE_PORTS"),
            tags: pair!(directory, "TAGS"),
            vectors: pair!(directory, "VECTORS"),
            source_zones: pair!(directory, "SOURCE_ZONES"),
            source_chunks: pair!(directory, "SOURCE_CHUNKS"),
            destination_chunks: pair!(directory, "DESTINATION_CHUNKS"),
            sources4: pair!(directory, "SOURCES4"),
            sources6: pair!(directory, "SOURCES6"),
            destinations4: pair!(directory, "DESTINATIONS4"),
            destinations6: pair!(directory, "DESTINATIONS6"),
            flows: open!(directory, "FLOWS", LruHashMap),
            peer_flows: open!(directory, "PEER_FLOWS", LruHashMap),
            limits: open!(directory, "LIMITS", LruHashMap),
            budget: open!(directory, "BUDGET", PerCpuArray),
            blocks: open!(directory, "BLOCKS", HashMap),
            peers: open!(directory, "PEERS", HashMap),
            vouched: open!(directory, "VOUCHED", LruHashMap),
            fragments: open!(directory, "FRAGMENTS", LruHashMap),
            secret: open!(directory, "SECRET", Array),
            clock: open!(directory, "CLOCK", Array),
            pinholes,
            further_senders: open!(directory, "FURTHER_SENDERS", HashMap),
            pinhole_ports: open!(directory, "PINHOLE_PORTS", Array),
            egress: open!(directory, "EGRESS", DevMapHash),
            ports_in_use,
            counters: open!(directory, "COUNTERS", PerCpuArray),
            rule_counters: open!(directory, "RULE_COUNTERS", PerCpuArray),
            rule_slots: open!(directory, "RULE_SLOTS", HashMap),
            block_filter: open!(directory, "BLOCK_FILTER", Array),
            filtered: StdHashMap::new(),
        })
    }

    /// A flow, whichever table it lies in.
    pub(super) fn flow(&self, key: &FlowKey) -> Option<FlowValue> {
        let key = Raw(*key);
        self.flows.get(&key, 0).or_else(|_| self.peer_flows.get(&key, 0)).ok().map(|value| value.0)
    }

    pub(super) fn set_tap(&mut self, slot: u32, tap: Tap) -> Result<(), Error> {
        self.taps.set(slot, Raw(tap), 0).map_err(|source| Error::Map { name: "TAPS", source })
    }
}

impl Maps {
    /// Who may send to a pinhole beside its first sender.
    fn further(&self, key: &PinholeKey, pinhole: &Pinhole) -> Option<FurtherSenders> {
        if pinhole.flags & flags::FURTHER == 0 {
            return None;
        }
        self.further_senders.get(&Raw(*key), 0).ok().map(|senders| senders.0)
    }

    /// One more, or one less, pinhole at a port.
    fn count_port(&mut self, key: &PinholeKey, more: bool) -> Result<(), Error> {
        let error = |source| Error::Map { name: "PINHOLE_PORTS", source };
        let count = self.ports_in_use.entry((key.transport, key.port)).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        let used = *count > 0;
        if !used {
            self.ports_in_use.remove(&(key.transport, key.port));
        }
        let (word, bit) = port_bit(key.transport, key.port);
        let bits = self.pinhole_ports.get(&word, 0).map_err(error)?;
        let wanted = if used { bits | bit } else { bits & !bit };
        if wanted == bits { Ok(()) } else { self.pinhole_ports.set(word, wanted, 0).map_err(error) }
    }
}

impl Kernel {
    /// Puts a compiled policy in force: the idle slot is filled with fresh maps, then one write flips.
    ///
    /// # Errors
    /// [`Error::Map`]: the policy in force stays as it is.
    pub fn load_policy(&mut self, compiled: &Compiled) -> Result<(), Error> {
        let maps = &mut self.maps;
        let active = maps.active.get(&0, 0).map_err(|source| Error::Map { name: "ACTIVE", source })?;
        let idle = 1 - (active & 1);

        let zeros = [0; CHUNK];
        let chunks = |cells: &[u16]| -> Vec<Chunk> {
            let (whole, rest) = cells.as_chunks::<CHUNK>();
            let mut last = zeros;
            last[..rest.len()].copy_from_slice(rest);
            whole.iter().copied().chain((!rest.is_empty()).then_some(last)).collect()
        };
        let rows = (chunks(&compiled.services), chunks(&compiled.source_ports), chunks(&compiled.tags));
        let (actions, source_zones) = (chunks(&compiled.actions), chunks(&compiled.source_zones));
        let (sources, destinations) =
            (address_chunks(&compiled.sources4), address_chunks(&compiled.destinations4));
        let [sources_in_trie, destinations_in_trie] =
            [policy_flags::SOURCES_IN_TRIE, policy_flags::DESTINATIONS_IN_TRIE]
                .map(|flag| compiled.policy.flags & flag != 0);
        thread::scope(|scope| {
            let mut at = Placing { scope, slot: idle, placed: Vec::new() };
            at.fill("SERVICES", &mut maps.services, SERVICE_CHUNKS, &rows.0, &zeros)?;
            at.fill("SOURCE_PORTS", &mut maps.source_ports, SOURCE_PORT_CHUNKS, &rows.1, &zeros)?;
            at.fill("TAGS", &mut maps.tags, TAG_CHUNKS, &rows.2, &zeros)?;
            at.fill("ACTIONS", &mut maps.actions, ACTION_CHUNKS, &actions, &zeros)?;
            at.fill("RULES", &mut maps.rules, MAX_RULES, &compiled.rules, &RuleEntry::default())?;
            at.fill("SOURCE_ZONES", &mut maps.source_zones, 256, &source_zones, &zeros)?;
            at.fill_any("VECTORS", &mut maps.vectors, &compiled.vectors)?;
            at.fill_any("SOURCE_CHUNKS", &mut maps.source_chunks, sources)?;
            at.fill_any("DESTINATION_CHUNKS", &mut maps.destination_chunks, destinations)?;
            let (v4, v6) = (&mut maps.sources4, &mut maps.sources6);
            at.fill_tries(v4, v6, &compiled.sources, sources_in_trie)?;
            let (v4, v6) = (&mut maps.destinations4, &mut maps.destinations6);
            at.fill_tries(v4, v6, &compiled.destinations, destinations_in_trie)?;
            at.fill("POLICY", &mut maps.policy, 1, &[compiled.policy], &compiled.policy)?;
            at.wait()
        })?;

        maps.active.set(0, idle, 0).map_err(|source| Error::Map { name: "ACTIVE", source })?;
        // Setting a slot of an array of maps waits for a grace period: after this no packet is still being
        // judged by the old tables, and their slot may be filled again.
        let error = |source| Error::Map { name: "POLICY", source };
        maps.policy.renew(idle).map_err(error)?;
        self.handlings = compiled.slots.iter().copied().zip(compiled.handlings.iter().copied()).collect();
        Ok(())
    }

    /// Generation of the policy in force; 0 where there is none.
    pub fn generation(&self) -> u32 {
        let policy = || -> Result<u32, MapError> {
            let active = self.maps.active.get(&0, 0)?;
            Ok(self.maps.policy.get(active)?.get(&0, 0)?.0.generation)
        };
        policy().unwrap_or(0)
    }

    /// Tells the programs that the daemon is alive.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn heartbeat(&mut self, now: Time) -> Result<(), Error> {
        self.maps.heartbeat.set(0, now.0, 0).map_err(|source| Error::Map { name: "HEARTBEAT", source })
    }

    /// Sets the clock of programs that go by it, monotonic ns.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_clock(&mut self, now: u64) -> Result<(), Error> {
        self.maps.clock.set(0, now, 0).map_err(|source| Error::Map { name: "CLOCK", source })
    }

    /// Sets the key of challenges.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_secret(&mut self, secret: u64) -> Result<(), Error> {
        self.maps.secret.set(0, secret, 0).map_err(|source| Error::Map { name: "SECRET", source })
    }

    /// When the daemon last said that it is alive.
    pub fn last_heartbeat(&self) -> Time {
        Time(self.maps.heartbeat.get(&0, 0).unwrap_or(0))
    }

    /// Opens a pinhole, or changes who may send; counters of one that is open go on. `life` bounds it.
    ///
    /// # Errors
    /// [`Error::Map`], for instance when the table is full.
    pub fn open_pinhole(&mut self, spec: &PinholeSpec, now: Time, life: Duration) -> Result<(), Error> {
        let key = PinholeKey::new(spec.to, spec.transport.number());
        let known = self.maps.pinholes.get(&Raw(key), 0).ok();
        if known.is_none() {
            self.maps.count_port(&key, true)?;
        }
        let mut pinhole = spec.pinhole(self.handling_of(&key, spec.slot), now, life);
        let further = spec.further_senders();
        let known = known.map(|value| Pinhole::from(value.0));
        let senders = known.as_ref().map(|known| known.senders(self.maps.further(&key, known).as_ref()));
        if let (Some(known), Some(senders)) = (&known, &senders) {
            pinhole.goes_on_from(known, *senders != pinhole.senders(Some(&further)));
        }
        let shown = |error| Error::Map { name: "FURTHER_SENDERS", source: error };
        if pinhole.flags & flags::FURTHER != 0 {
            self.maps.further_senders.insert(Raw(key), Raw(further), 0).map_err(shown)?;
        }
        let inserted = self.maps.pinholes.insert(Raw(key), Raw(PinholeValue::from(&pinhole)), 0);
        if inserted.is_err() && known.is_none() {
            self.maps.count_port(&key, false)?;
        }
        inserted.map_err(|source| Error::Map { name: "PINHOLES", source })?;
        if pinhole.flags & flags::FURTHER == 0
            && known.as_ref().is_some_and(|known| known.flags & flags::FURTHER != 0)
        {
            absent_is_well(self.maps.further_senders.remove(&Raw(key))).map_err(shown)?;
        }
        // What was learnt of somebody else counts no more.
        if let (Some(known), Some(senders)) = (&known, &senders)
            && known.latch != 0
            && learnt_port(pinhole.learnt.load(Relaxed)).is_none()
        {
            self.forget_flows(learnt_flows(&key, senders, known.learnt.load(Relaxed)))?;
        }
        Ok(())
    }

    /// What becomes of a pinhole's media: what its rule says, but that nothing is forwarded past the stack while
    /// somebody listens.
    fn handling_of(&self, key: &PinholeKey, slot: u32) -> Handling {
        let handling = self.handlings.get(&slot).copied().unwrap_or_default();
        Handling { fast: handling.fast && !self.captured.contains(key), ..handling }
    }

    /// Has the packets of a pinhole take the stack, where they can be copied, or no longer; nothing happens to one
    /// that is not open.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn capture_pinhole(&mut self, to: SocketAddr, transport: Transport, on: bool) -> Result<(), Error> {
        let key = PinholeKey::new(to, transport.number());
        if on {
            self.captured.insert(key);
        } else {
            self.captured.remove(&key);
        }
        let Ok(Raw(mut value)) = self.maps.pinholes.get(&Raw(key), 0) else { return Ok(()) };
        let fast = self.handling_of(&key, value.slot.into()).fast && value.kind != Kind::Rtcp as u8;
        value.flags = if fast { value.flags | flags::FAST } else { value.flags & !flags::FAST };
        let error = |source| Error::Map { name: "PINHOLES", source };
        self.maps.pinholes.insert(Raw(key), Raw(value), 0).map_err(error)
    }

    fn forget_flows(&mut self, keys: impl Iterator<Item = FlowKey>) -> Result<(), Error> {
        keys.into_iter().try_for_each(|key| self.forget_flow(&key).map(drop))
    }

    /// Closes a pinhole, and the way back to a sender it has learnt: the pinhole with what it has counted, if it was
    /// open.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn close_pinhole(
        &mut self,
        to: SocketAddr,
        transport: Transport,
    ) -> Result<Option<PinholeRow>, Error> {
        let key = PinholeKey::new(to, transport.number());
        let value = self.maps.pinholes.get(&Raw(key), 0).ok();
        match self.maps.pinholes.remove(&Raw(key)) {
            Ok(()) => {
                self.maps.count_port(&key, false)?;
                self.captured.remove(&key);
                let Some(Raw(value)) = value else { return Ok(None) };
                let pinhole = Pinhole::from(value);
                let further = self.maps.further(&key, &pinhole);
                if further.is_some() {
                    let error = |source| Error::Map { name: "FURTHER_SENDERS", source };
                    absent_is_well(self.maps.further_senders.remove(&Raw(key))).map_err(error)?;
                }
                if value.latch != 0 {
                    self.forget_flows(learnt_flows(&key, &pinhole.senders(further.as_ref()), value.learnt))?;
                }
                Ok(Some(PinholeRow::new(key, value, further.as_ref())))
            }
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(Error::Map { name: "PINHOLES", source }),
        }
    }

    /// One pinhole, if it is there.
    pub fn pinhole(&self, to: SocketAddr, transport: Transport) -> Option<PinholeRow> {
        let key = PinholeKey::new(to, transport.number());
        let Raw(value) = self.maps.pinholes.get(&Raw(key), 0).ok()?;
        let further = self.maps.further(&key, &Pinhole::from(value));
        Some(PinholeRow::new(key, value, further.as_ref()))
    }

    /// All pinholes, in no order.
    pub fn pinholes(&self) -> impl Iterator<Item = PinholeRow> {
        self.maps.pinholes.iter().flatten().map(|(Raw(key), Raw(value))| {
            let further = self.maps.further(&key, &Pinhole::from(value));
            PinholeRow::new(key, value, further.as_ref())
        })
    }

    /// All flows, in no order.
    pub fn flows(&self) -> impl Iterator<Item = FlowRow> {
        // Where a key lies in both tables, the kernel half finds the first: the other one is dead.
        let dead = |key: &Raw<FlowKey>| self.maps.flows.get(key, 0).is_ok();
        let peers = self.maps.peer_flows.iter().flatten().filter(move |(key, _)| !dead(key));
        self.maps.flows.iter().flatten().chain(peers).map(|(key, value)| FlowRow::new(key.0, value.0))
    }

    /// Forgets a flow: whether it was known. Its next packet is judged as a stranger's.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn forget_flow(&mut self, key: &FlowKey) -> Result<bool, Error> {
        let mut known = false;
        for (name, map) in [("FLOWS", &mut self.maps.flows), ("PEER_FLOWS", &mut self.maps.peer_flows)] {
            match map.remove(&Raw(*key)) {
                Ok(()) => known = true,
                Err(source) if is_absent(&source) => {}
                Err(source) => return Err(Error::Map { name, source }),
            }
        }
        Ok(known)
    }

    /// What is read in a packet's flow, and the counter slot of the rule that admitted it.
    pub fn inspected(&self, key: &FlowKey) -> Option<(Inspect, u32)> {
        let flow = self.maps.flow(key)?;
        Some((Inspect::from_u8(flow.inspect), flow.slot))
    }

    /// What is read in a fragmented datagram whose first fragment was let by.
    pub fn inspected_fragment(&self, key: &FragmentKey) -> Option<Inspect> {
        let first = self.maps.fragments.get(&Raw(*key), 0).ok()?;
        Some(Inspect::from_u8(FirstFragment::unpack(first).inspect))
    }

    /// Packets and bytes by reason of one interface slot, over all CPUs; reasons without packets are left out.
    /// One CPU's share may have wrapped below zero (see `count_back` of the kernel half): only the sum counts.
    pub fn counters(&self, slot: usize) -> Vec<(Reason, Count)> {
        let total = |reason: &Reason| {
            let index = u32::try_from(slot % MAX_IFACES).unwrap_or(0) * 256 + *reason as u32;
            let per_cpu = self.maps.counters.get(&index, 0).ok()?;
            let sum = per_cpu.iter().fold(Count::default(), |sum, cpu| Count {
                packets: sum.packets.wrapping_add(cpu.0.packets),
                bytes: sum.bytes.wrapping_add(cpu.0.bytes),
            });
            (sum.packets > 0).then_some((*reason, sum))
        };
        Reason::ALL.iter().filter_map(total).collect()
    }

    /// What a rule has decided, over all CPUs.
    pub fn rule_count(&self, slot: u32) -> RuleCount {
        let Ok(per_cpu) = self.maps.rule_counters.get(&slot, 0) else { return RuleCount::default() };
        per_cpu.iter().fold(RuleCount::default(), |sum, cpu| RuleCount {
            packets: sum.packets.wrapping_add(cpu.0.packets),
            bytes: sum.bytes.wrapping_add(cpu.0.bytes),
            refused: sum.refused + cpu.0.refused,
        })
    }

    /// The ring of sampled packets.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn events(&self) -> Result<EventRing, Error> {
        Ok(open!(self.directory, "EVENTS", RingBuf))
    }

    /// The counter slots of rule names, as they have been given so far.
    pub fn slots(&mut self) -> PinnedSlots<'_> {
        let known: StdHashMap<u64, u32> = self.maps.rule_slots.iter().flatten().collect();
        let last = known.values().copied().max().unwrap_or(0);
        PinnedSlots { map: &mut self.maps.rule_slots, known, last }
    }
}

/// The ring of sampled packets.
pub type EventRing = RingBuf<MapData>;

/// An event as the ring holds it; `None` where the bytes are not one.
pub fn event(bytes: &[u8]) -> Option<Event> {
    let bytes: &[u8; size_of::<Event>()] = bytes.try_into().ok()?;
    // SAFETY: `Event` is `repr(C)` without padding and valid for any bytes; the read needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

/// [`Slots`] that survive the daemon.
pub struct PinnedSlots<'a> {
    map: &'a mut HashMap<MapData, u64, u32>,
    known: StdHashMap<u64, u32>,
    last: u32,
}

impl Slots for PinnedSlots<'_> {
    fn slot(&mut self, rule: &str) -> Option<u32> {
        let identity = name_hash(rule);
        if let Some(slot) = self.known.get(&identity) {
            return Some(*slot);
        }
        let slot = self.last + 1;
        if slot >= MAX_SLOTS || self.map.insert(identity, slot, 0).is_err() {
            return None;
        }
        self.known.insert(identity, slot);
        self.last = slot;
        Some(slot)
    }
}

/// FNV-1a: the same in every build, since pinned maps outlive one.
fn name_hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Fresh inner maps on their way into a slot of the outer ones. Setting that waits for a grace period of the kernel,
/// tens of milliseconds where a flood keeps a CPU busy: they all wait at the same time.
struct Placing<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    slot: u32,
    placed: Vec<ScopedJoinHandle<'scope, Result<(), Error>>>,
}

impl<'scope> Placing<'scope, '_> {
    fn place<M: FromMapData + InnerMap + Send + 'scope>(
        &mut self,
        name: &'static str,
        outer: &'scope mut Pair<M>,
        inner: M,
    ) -> Result<(), Error> {
        let slot = self.slot;
        let set = move || outer.set(slot, inner).map_err(|source| Error::Map { name, source });
        let placed = thread::Builder::new().name(name.to_ascii_lowercase()).spawn_scoped(self.scope, set);
        self.placed.push(placed.map_err(Error::Thread)?);
        Ok(())
    }

    /// Waits until all are in their place.
    fn wait(self) -> Result<(), Error> {
        let gone = || Error::Thread(io::Error::other("it has panicked"));
        self.placed.into_iter().try_for_each(|placed| placed.join().map_err(|_| gone())?)
    }

    /// A map of `size` entries, with `values` from its beginning; those equal to `empty` are skipped.
    fn fill<T: Copy + PartialEq + Send + 'static>(
        &mut self,
        name: &'static str,
        outer: &'scope mut Inner<T>,
        size: u32,
        values: &[T],
        empty: &T,
    ) -> Result<(), Error> {
        let values = (0..).zip(values).filter(|(_, value)| size == 1 || *value != empty);
        self.fill_array(name, outer, (size, 0), values)
    }

    /// A map with just these values.
    fn fill_any<T: Copy + Send + 'static>(
        &mut self,
        name: &'static str,
        outer: &'scope mut Inner<T>,
        values: &[T],
    ) -> Result<(), Error> {
        /// `BPF_F_INNER_MAP`: an inner map of another size than its neighbour's.
        const ANY_SIZE: u32 = 0x1000;
        let size = u32::try_from(values.len()).unwrap_or(u32::MAX).max(1);
        self.fill_array(name, outer, (size, ANY_SIZE), (0..).zip(values))
    }

    fn fill_array<'v, T: Copy + Send + 'static>(
        &mut self,
        name: &'static str,
        outer: &'scope mut Inner<T>,
        (size, flags): (u32, u32),
        values: impl Iterator<Item = (u32, &'v T)>,
    ) -> Result<(), Error> {
        let error = |source| Error::Map { name, source };
        let mut inner = Array::<MapData, Raw<T>>::create(size, flags).map_err(error)?;
        for (index, value) in values {
            inner.set(index, Raw(*value), 0).map_err(error)?;
        }
        self.place(name, outer, inner)
    }

    /// Tries of an address table; IPv4 prefixes only where they are not in chunks.
    fn fill_tries(
        &mut self,
        v4: &'scope mut Tries<u32>,
        v6: &'scope mut Tries<Addr>,
        prefixes: &[(callgate_rules::compile::Prefix, u16)],
        with_v4: bool,
    ) -> Result<(), Error> {
        const ENTRIES: u32 = 262_144;
        const NO_PREALLOC: u32 = 1;
        let error = |source| Error::Map { name: "prefixes", source };
        let mut inner4 = LpmTrie::<MapData, Raw<u32>, u32>::create(ENTRIES, NO_PREALLOC).map_err(error)?;
        let mut inner6 = LpmTrie::<MapData, Raw<Addr>, u32>::create(ENTRIES, NO_PREALLOC).map_err(error)?;
        for (prefix, class) in prefixes {
            let (length, class) = (u32::from(prefix.prefix_len()), u32::from(*class));
            let addr = Addr::from(prefix.network());
            match prefix.network() {
                IpAddr::V4(_) if !with_v4 => Ok(()),
                IpAddr::V4(_) => inner4.insert(&Key::new(length, Raw(addr.v4_word())), class, 0),
                IpAddr::V6(_) => inner6.insert(&Key::new(length, Raw(addr)), class, 0),
            }
            .map_err(error)?;
        }
        self.place("prefixes", v4, inner4)?;
        self.place("prefixes", v6, inner6)
    }
}

fn address_chunks(table: &AddressTable) -> &[AddressChunk] {
    match table {
        AddressTable::Chunks(chunks) => chunks,
        AddressTable::Trie => &[],
    }
}

/// What is not there need not be removed.
fn absent_is_well(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(source) if is_absent(&source) => Ok(()),
        other => other,
    }
}

pub(super) fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
        || matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOENT))
}
