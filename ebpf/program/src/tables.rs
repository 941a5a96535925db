//! The judge's tables, as kernel maps.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};
use core::sync::atomic::AtomicU64;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use callgate_shared::counters::{Event, RuleCount};
use callgate_shared::flow::{Flow, FlowKey};
use callgate_shared::judge::{FragmentKey, Tables, Verdict};
use callgate_shared::limit::{self, Limit, LimitKey};
use callgate_shared::packet::Packet;
use callgate_shared::pinhole::{Pinhole, PinholeKey, port_bit};
use callgate_shared::policy::{CHUNK, Policy, RuleEntry};
use callgate_shared::{Addr, Reason};

use crate::maps::*;

/// Events per second and CPU, and how many may come at once.
const EVENT_LIMIT: Limit =
    Limit { interval: 10_000_000, tolerance: 99 * 10_000_000, unit: 0, scope: 0, pad: [0; 6] };

/// The maps, with the slot of the rule tables that is in force for this packet.
pub struct Kernel {
    pub generation_slot: u32,
}

impl Kernel {
    /// The policy of this packet's generation.
    #[inline(always)]
    pub fn policy(&self) -> Option<&'static Policy> {
        POLICY.get_value(self.generation_slot, &0)
    }
}

impl Tables for Kernel {
    #[inline(always)]
    fn source_class(&self, address: &Addr) -> u16 {
        if address.is_v4() {
            let trie = SOURCES4.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(32, address.v4_word()))).map_or(0, |class| *class as u16)
        } else {
            let trie = SOURCES6.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(128, *address))).map_or(0, |class| *class as u16)
        }
    }

    #[inline(always)]
    fn destination_class(&self, address: &Addr) -> u16 {
        if address.is_v4() {
            let trie = DESTINATIONS4.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(32, address.v4_word()))).map_or(0, |class| *class as u16)
        } else {
            let trie = DESTINATIONS6.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(128, *address))).map_or(0, |class| *class as u16)
        }
    }

    #[inline(always)]
    fn service_class(&self, cell: u32) -> u16 {
        SERVICES
            .get_value(self.generation_slot, &(cell / CHUNK as u32))
            .map_or(0, |chunk| chunk[cell as usize % CHUNK])
    }

    #[inline(always)]
    fn rule_number(&self, cell: u32) -> u16 {
        ACTIONS
            .get_value(self.generation_slot, &(cell / CHUNK as u32))
            .map_or(0, |chunk| chunk[cell as usize % CHUNK])
    }

    #[inline(always)]
    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        RULES.get_value(self.generation_slot, &u32::from(number))
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        // SAFETY: only atomics of the value are written after insertion; an entry that is evicted meanwhile
        // is not given back to another flow before this program's RCU section ends.
        unsafe { FLOWS.get(key) }
    }

    #[inline(always)]
    fn insert_flow(&mut self, key: &FlowKey, flow: Flow) {
        // A full table evicts; any other failure means that the next packet is judged as a new flow again.
        let _ = FLOWS.insert(key, flow, BPF_ANY.into());
    }

    #[inline(always)]
    fn may_be_open(&self, transport: u8, port: u16) -> bool {
        let (word, bit) = port_bit(transport, port);
        PINHOLE_PORTS.get(word).is_some_and(|bits| *bits & bit != 0)
    }

    #[inline(always)]
    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole> {
        // SAFETY: as for flows.
        unsafe { PINHOLES.get(key) }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<u8> {
        // SAFETY: a plain integer, never written after insertion.
        unsafe { FRAGMENTS.get(key) }.map(|inspect| *inspect as u8)
    }

    #[inline(always)]
    fn insert_fragment(&mut self, key: &FragmentKey, inspect: u8) {
        let _ = FRAGMENTS.insert(key, u32::from(inspect), BPF_ANY.into());
    }

    #[inline(always)]
    fn conform(&mut self, key: &LimitKey, limit: &Limit) -> bool {
        // SAFETY: a helper without arguments. The precise clock: a coarse one would cut high rates short.
        let now = unsafe { bpf_ktime_get_ns() };
        let Some(bucket) = LIMITS.get_ptr_mut(key) else {
            // Another CPU may be first: then its event is the one that counts.
            let _ = LIMITS.insert(key, now + limit.interval, BPF_NOEXIST.into());
            return true;
        };
        // SAFETY: a pointer into a map value, aligned to 8; every access to it is atomic or a plain read.
        unsafe {
            let tat = *bucket;
            let Some(new) = limit::conform(limit, tat, now) else { return false };
            let (_, swapped) =
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, tat, new);
            if swapped {
                return true;
            }
            // Lost the race once: take the other CPU's time as the base, and try once more.
            let tat = *bucket;
            let Some(new) = limit::conform(limit, tat, now) else { return false };
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, tat, new).1
        }
    }

    #[inline(always)]
    fn count(&mut self, slot: u32, bytes: u64, passed: bool) {
        if let Some(count) = RULE_COUNTERS.get_ptr_mut(slot) {
            // SAFETY: this CPU's own value; programs of one CPU do not interrupt one another here.
            let RuleCount { packets, bytes: sum, refused } = unsafe { &mut *count };
            *packets = packets.wrapping_add(1);
            *sum = sum.wrapping_add(bytes);
            *refused += u64::from(!passed);
        }
    }

    #[inline(always)]
    fn add(&self, word: &AtomicU64, n: u64) {
        // SAFETY: a pointer to a live atomic.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word.as_ptr(), n) };
    }

    #[inline(always)]
    fn load(&self, word: &AtomicU64) -> u64 {
        // SAFETY: a pointer to a live atomic; an aligned word is read whole.
        unsafe { word.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, word: &AtomicU64, value: u64) {
        // SAFETY: a pointer to a live atomic; an aligned word is written whole.
        unsafe { word.as_ptr().write_volatile(value) }
    }
}

/// Counts a verdict.
#[inline(always)]
pub fn count(slot: u32, reason: Reason, bytes: u64) {
    if let Some(count) = COUNTERS.get_ptr_mut(slot * 256 + reason as u32) {
        // SAFETY: this CPU's own value, as above.
        let count = unsafe { &mut *count };
        count.packets = count.packets.wrapping_add(1);
        count.bytes = count.bytes.wrapping_add(bytes);
    }
}

/// Takes one [`count`] back.
#[inline(always)]
pub fn count_back(slot: u32, reason: Reason, bytes: u64) {
    if let Some(count) = COUNTERS.get_ptr_mut(slot * 256 + reason as u32) {
        // SAFETY: this CPU's own value, as above.
        let count = unsafe { &mut *count };
        count.packets = count.packets.wrapping_sub(1);
        count.bytes = count.bytes.wrapping_sub(bytes);
    }
}

/// Takes back one packet counted under a rule.
#[inline(always)]
pub fn count_rule_back(slot: u32, bytes: u64) {
    if let Some(count) = RULE_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: this CPU's own value, as above.
        let count = unsafe { &mut *count };
        count.packets = count.packets.wrapping_sub(1);
        count.bytes = count.bytes.wrapping_sub(bytes);
    }
}

/// Samples a packet of a rule with `log = true` to the event ring, within the budget.
#[inline(always)]
pub fn log(slot: u32, packet: &Packet, verdict: &Verdict, now: u64) {
    let Some(budget) = EVENT_BUDGET.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value.
    let tat = unsafe { *budget };
    let Some(new) = limit::conform(&EVENT_LIMIT, tat, now) else { return };
    // SAFETY: as above.
    unsafe { *budget = new };
    let event = Event {
        time: now,
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        length: packet.length,
        rule: verdict.slot,
        interface: slot as u8,
        reason: verdict.reason as u8,
        protocol: packet.protocol,
        icmp_type: packet.icmp_type,
    };
    // A full ring loses a sample, never a packet.
    let _ = EVENTS.output(event, 0);
}
