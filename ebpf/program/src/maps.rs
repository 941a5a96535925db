//! Everything the kernel half remembers. Pinned by name under the layout's directory in bpffs; the user half
//! checks type, sizes and entries before it uses a map that an earlier run has left.
//!
//! Rule tables are arrays of two maps: the user half fills the idle slot and then writes [`ACTIVE`].

use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use callgate_shared::Addr;
use callgate_shared::counters::{Count, Event, RuleCount};
use callgate_shared::flow::{Flow, FlowKey};
use callgate_shared::judge::FragmentKey;
use callgate_shared::limit::LimitKey;
use callgate_shared::packet::Packet;
use callgate_shared::pinhole::{PORT_WORDS, Pinhole, PinholeKey};
use callgate_shared::policy::{
    ACTION_CHUNKS, Chunk, MAX_IFACES, MAX_RULES, MAX_SLOTS, Policy, RuleEntry, SERVICE_CHUNKS,
};
use callgate_shared::tap::Tap;

const NO_PREALLOC: usize = 1;
const PREFIXES: usize = 262_144;

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
pub static SOURCES4: ArrayOfMaps<LpmTrie<u32, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static SOURCES6: ArrayOfMaps<LpmTrie<Addr, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static DESTINATIONS4: ArrayOfMaps<LpmTrie<u32, u32, PREFIXES>, 2> = ArrayOfMaps::new();
#[btf_map]
pub static DESTINATIONS6: ArrayOfMaps<LpmTrie<Addr, u32, PREFIXES>, 2> = ArrayOfMaps::new();

#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, 262_144> = LruHashMap::new();
#[btf_map]
pub static PINHOLES: HashMap<PinholeKey, Pinhole, 1_048_576, NO_PREALLOC> = HashMap::new();
/// Ports at which any address has a pinhole: [`callgate_shared::pinhole::port_bit`].
#[btf_map]
pub static PINHOLE_PORTS: Array<u64, PORT_WORDS> = Array::new();
#[btf_map]
pub static LIMITS: LruHashMap<LimitKey, u64, 65_536> = LruHashMap::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u32, 8_192> = LruHashMap::new();

/// By interface slot × 256 + reason.
#[btf_map]
pub static COUNTERS: PerCpuArray<Count, { MAX_IFACES * 256 }> = PerCpuArray::new();
/// By a rule's counter slot.
#[btf_map]
pub static RULE_COUNTERS: PerCpuArray<RuleCount, { MAX_SLOTS as usize }> = PerCpuArray::new();
/// A rule's name (its hash) → counter slot: what keeps counters over a restart. Used by the user half only.
#[btf_map]
pub static RULE_SLOTS: HashMap<u64, u32, { MAX_SLOTS as usize }> = HashMap::new();
/// Packets of rules with `log = true`.
#[btf_map]
pub static EVENTS: RingBuf<Event, 262_144> = RingBuf::new();
/// Theoretical arrival time of the event budget.
#[btf_map]
pub static EVENT_BUDGET: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The packet being judged. Not pinned. It lies in a map rather than on the stack so that the verifier forgets how
/// the parser came by each field, and follows the judge once instead of once per way through the parser.
#[btf_map]
pub static PACKET: PerCpuArray<Packet, 1> = PerCpuArray::new();
