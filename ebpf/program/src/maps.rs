//! Everything the kernel half remembers. Pinned by name under the layout's directory in bpffs; the user half
//! checks type, sizes and entries before it uses a map that an earlier run has left.
//!
//! Rule tables are arrays of two maps: the user half fills the idle slot and then writes [`ACTIVE`].

use aya_ebpf::btf_maps::{
    Array, ArrayOfMaps, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf,
};
use aya_ebpf::macros::btf_map;
use callgate_shared::Addr;
use callgate_shared::counters::{Count, EVENT_BUCKETS, Event, RuleCount};
use callgate_shared::flow::{Flow, FlowKey, filter};
use callgate_shared::judge::{BUDGETS, FragmentKey, Stranger, Verdict};
use callgate_shared::limit::LimitKey;
use callgate_shared::packet::Packet;
use callgate_shared::packet::options::Options;
use callgate_shared::peer::BLOCK_WORDS;
use callgate_shared::pinhole::{FurtherSenders, PORT_WORDS, Pinhole, PinholeKey};
use callgate_shared::policy::{
    ACTION_CHUNKS, AddressChunk, Chunk, MAX_IFACES, MAX_RULES, MAX_SLOTS, Policy, RuleEntry, SERVICE_CHUNKS,
    SOURCE_PORT_CHUNKS, TAG_CHUNKS, Vector,
};
use callgate_shared::tap::Tap;

const NO_PREALLOC: usize = 1;
/// `BPF_F_INNER_MAP` (Linux 5.10): each inner map has as many entries as it needs.
const ANY_SIZE: usize = 0x1000;
const PREFIXES: usize = 262_144;

/// The time, where the programs were loaded to go by it (monotonic ns): replays and tests set it.
#[btf_map]
pub static CLOCK: Array<u64, 1> = Array::new();

/// Which slot of the tables below is in force.
#[btf_map]
pub static ACTIVE: Array<u32, 1> = Array::new();
/// When the daemon was last known to be alive, monotonic ns.
#[btf_map]
pub static HEARTBEAT: Array<u64, 1> = Array::new();
/// Inspection taps by interface slot.
#[btf_map]
pub static TAPS: Array<Tap, MAX_IFACES> = Array::new();

#[btf_map]
pub static POLICY: ArrayOfMaps<Array<Policy, 1>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static RULES: ArrayOfMaps<Array<RuleEntry, { MAX_RULES as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static ACTIONS: ArrayOfMaps<Array<Chunk, { ACTION_CHUNKS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SERVICES: ArrayOfMaps<Array<Chunk, { SERVICE_CHUNKS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SOURCE_PORTS: ArrayOfMaps<Array<Chunk, { SOURCE_PORT_CHUNKS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static TAGS: ArrayOfMaps<Array<Chunk, { TAG_CHUNKS as usize }>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static VECTORS: ArrayOfMaps<Array<Vector, 1, ANY_SIZE>, 2> = ArrayOfMaps::new();
/// Zones by source class: 65,536 of them.
#[btf_map]
pub static SOURCE_ZONES: ArrayOfMaps<Array<Chunk, 256>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SOURCE_CHUNKS: ArrayOfMaps<Array<AddressChunk, 1, ANY_SIZE>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static DESTINATION_CHUNKS: ArrayOfMaps<Array<AddressChunk, 1, ANY_SIZE>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SOURCES4: ArrayOfMaps<LpmTrie<u32, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SOURCES6: ArrayOfMaps<LpmTrie<Addr, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static DESTINATIONS4: ArrayOfMaps<LpmTrie<u32, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static DESTINATIONS6: ArrayOfMaps<LpmTrie<Addr, u32, PREFIXES>, 2> = ArrayOfMaps::new();

#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, 262_144> = LruHashMap::new();
/// Flows of known peers: a flood of strangers does not evict them.
#[btf_map]
pub static PEER_FLOWS: LruHashMap<FlowKey, Flow, 65_536> = LruHashMap::new();
/// [`callgate_shared::flow::filter`].
#[btf_map]
pub static FLOW_FILTER: Array<filter::Chunk, { filter::CHUNKS }> = Array::new();
#[btf_map]
pub static PINHOLES: HashMap<PinholeKey, Pinhole, 1_048_576, NO_PREALLOC> = HashMap::new();
/// Who may send to a pinhole beside its first sender, where there is somebody.
#[btf_map]
pub static FURTHER_SENDERS: HashMap<PinholeKey, FurtherSenders, 262_144, NO_PREALLOC> = HashMap::new();
/// Ports at which any address has a pinhole: [`callgate_shared::pinhole::port_bit`].
#[btf_map]
pub static PINHOLE_PORTS: Array<u64, PORT_WORDS> = Array::new();
/// Devices that media may be sent out by, past the stack: by their index.
#[btf_map]
pub static EGRESS: DevMapHash<1_024> = DevMapHash::new();
#[btf_map]
pub static LIMITS: LruHashMap<LimitKey, u64, 65_536> = LruHashMap::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u64, 8_192> = LruHashMap::new();

/// Blocked addresses, and until when (monotonic ns).
#[btf_map]
pub static BLOCKS: HashMap<Addr, u64, 65_536, NO_PREALLOC> = HashMap::new();
/// Addresses that may be blocked: [`callgate_shared::peer::block_bit`].
#[btf_map]
pub static BLOCK_FILTER: Array<u64, BLOCK_WORDS> = Array::new();
/// Peers that are configured or registered, and until when.
#[btf_map]
pub static PEERS: HashMap<Addr, u64, 65_536, NO_PREALLOC> = HashMap::new();
/// Peers that have proven their address, and until when.
#[btf_map]
pub static VOUCHED: LruHashMap<Addr, u64, 65_536> = LruHashMap::new();
/// Theoretical arrival times of [`callgate_shared::judge::Budget`].
#[btf_map]
pub static BUDGET: PerCpuArray<u64, BUDGETS> = PerCpuArray::new();
/// The key of challenges.
#[btf_map]
pub static SECRET: Array<u64, 1> = Array::new();

/// By interface slot × 256 + reason.
#[btf_map]
pub static COUNTERS: PerCpuArray<Count, { MAX_IFACES * 256 }> = PerCpuArray::new();
/// By a rule's counter slot.
#[btf_map]
pub static RULE_COUNTERS: PerCpuArray<RuleCount, { MAX_SLOTS as usize }> = PerCpuArray::new();
/// A rule's name (its hash) → counter slot: what keeps counters over a restart. Used by the user half only.
#[btf_map]
pub static RULE_SLOTS: HashMap<u64, u32, { MAX_SLOTS as usize }> = HashMap::new();
/// Sampled packets: of rules with `log = true`, and dropped ones.
#[btf_map]
pub static EVENTS: RingBuf<Event, 1_048_576> = RingBuf::new();
/// Theoretical arrival times of the events' budgets: [`callgate_shared::counters::event_bucket`].
#[btf_map]
pub static EVENT_BUDGET: PerCpuArray<u64, EVENT_BUCKETS> = PerCpuArray::new();

/// What a program works on. Not pinned. It lies in a map rather than on the stack so that the verifier forgets how
/// the parser came by each field and the judge by its verdict, and follows what comes next once instead of once
/// per way that leads there.
pub struct Scratch {
    /// The packet being judged.
    pub packet: Packet,
    /// What is to be done with it.
    pub verdict: Verdict,
    /// What is known of it, once it belongs to no flow.
    pub stranger: Stranger,
    /// Options of a header of it.
    pub options: Options,
    /// The tick at which `now` was read.
    pub tick: u64,
    /// The coarse clock, which goes on with each tick.
    pub now: u64,
}

#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// This CPU's place to work in.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: a value of a per-CPU map; no two programs that use it run on one CPU at a time.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}
