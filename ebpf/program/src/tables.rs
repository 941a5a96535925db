//! The judge's tables, as kernel maps.

use core::ffi::c_void;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};
use core::sync::atomic::AtomicU64;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use callgate_shared::counters::{DROPPED, Event, LOGGED, RuleCount, START, cause, event_bucket};
use callgate_shared::flow::{Flow, FlowKey, filter, flags};
use callgate_shared::judge::{Budget, FragmentKey, Tables, Verdict, Way, first_match, pinhole_key};
use callgate_shared::limit::{self, LimitKey, Rate};
use callgate_shared::packet::Packet;
use callgate_shared::peer::{VOUCHED as VOUCHED_FOR, block_bit};
use callgate_shared::pinhole::{FurtherSenders, Pinhole, PinholeKey, port_bit};
use callgate_shared::policy::{ADDRESS_NEXT, CHUNK, Policy, RuleEntry, Vector, policy_flags};
use callgate_shared::{Addr, Reason};

use crate::maps::*;
use crate::{OWN_CLOCK, parts, route};

/// Logged packets per second and CPU, and how many may come at once.
const LOG_RATE: Rate = Rate { interval: 10_000_000, tolerance: 99 * 10_000_000 };
/// Dropped packets that are sampled, likewise: of all sources …
const DROP_RATE: Rate = Rate { interval: 500_000, tolerance: 999 * 500_000 };
/// … and of one bucket of them.
const SOURCE_RATE: Rate = Rate { interval: 100_000_000, tolerance: 63 * 100_000_000 };

/// The maps, with the slot of the rule tables that is in force for this packet.
pub struct Kernel {
    pub generation_slot: u32,
    /// [`policy_flags`] of that slot's policy.
    pub flags: u8,
    /// [`Policy::flow_windows`] of it.
    pub flow_windows: filter::Windows,
    /// The program's context, for helpers that ask for it.
    pub context: *mut c_void,
    /// The interface the packet came in on.
    pub interface: u32,
}

impl Kernel {
    /// The policy of this packet's generation.
    #[inline(always)]
    pub fn policy(&self) -> Option<&'static Policy> {
        POLICY.get_value(self.generation_slot, &0)
    }
}

/// Walks an address table octet by octet: at most four look-ups.
macro_rules! class_in_chunks {
    ($table:expr, $slot:expr, $address:expr) => {{
        let octets = $address.v4_word().to_ne_bytes();
        let mut cell = ADDRESS_NEXT;
        let mut depth = 0;
        while depth < 4 && cell & ADDRESS_NEXT != 0 {
            cell = match $table.get_value($slot, &(cell & !ADDRESS_NEXT)) {
                Some(chunk) => chunk[octets[depth] as usize],
                None => 0,
            };
            depth += 1;
        }
        cell as u16
    }};
}

impl Tables for Kernel {
    #[inline(always)]
    fn first_match(&self, _policy: &Policy, _packet: &Packet, zone: u8, way: Way) -> u16 {
        parts::match_packet(self.generation_slot, zone as u32, way as u32) as u16
    }

    #[inline(always)]
    fn first_match_here(&self, policy: &Policy, packet: &Packet, zone: u8) -> u16 {
        first_match(self, policy, packet, zone, Way::There)
    }

    #[inline(always)]
    fn source_class(&self, address: &Addr) -> u16 {
        if !address.is_v4() {
            let trie = SOURCES6.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(128, *address))).map_or(0, |class| *class as u16)
        } else if self.flags & policy_flags::SOURCES_IN_TRIE == 0 {
            class_in_chunks!(SOURCE_CHUNKS, self.generation_slot, address)
        } else {
            let trie = SOURCES4.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(32, address.v4_word()))).map_or(0, |class| *class as u16)
        }
    }

    #[inline(always)]
    fn destination_class(&self, address: &Addr) -> u16 {
        if !address.is_v4() {
            let trie = DESTINATIONS6.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(128, *address))).map_or(0, |class| *class as u16)
        } else if self.flags & policy_flags::DESTINATIONS_IN_TRIE == 0 {
            class_in_chunks!(DESTINATION_CHUNKS, self.generation_slot, address)
        } else {
            let trie = DESTINATIONS4.get(self.generation_slot);
            trie.and_then(|trie| trie.get(&Key::new(32, address.v4_word()))).map_or(0, |class| *class as u16)
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
    fn source_port_class(&self, cell: u32) -> u16 {
        SOURCE_PORTS
            .get_value(self.generation_slot, &(cell / CHUNK as u32))
            .map_or(0, |chunk| chunk[cell as usize % CHUNK])
    }

    #[inline(always)]
    fn tag_class(&self, cell: u32) -> u16 {
        TAGS.get_value(self.generation_slot, &(cell / CHUNK as u32))
            .map_or(0, |chunk| chunk[cell as usize % CHUNK])
    }

    #[inline(always)]
    fn vector(&self, at: u32) -> Option<&Vector> {
        VECTORS.get_value(self.generation_slot, &at)
    }

    #[inline(always)]
    fn source_zones(&self, class: u16) -> u16 {
        SOURCE_ZONES
            .get_value(self.generation_slot, &(class as u32 / CHUNK as u32))
            .map_or(0, |chunk| chunk[class as usize % CHUNK])
    }

    #[inline(always)]
    fn route_back(&self, packet: &Packet) -> bool {
        route::leads_to(self.context, self.interface, packet)
    }

    #[inline(always)]
    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        RULES.get_value(self.generation_slot, &u32::from(number))
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        let (cell, epoch) = (filter_cell(key)?, filter::epoch(scratch()?.now));
        // SAFETY: an aligned word of an array map, which is read whole.
        let touched = unsafe { cell.read_volatile() };
        if !filter::may_live(touched, epoch, filter::window_of(self.flow_windows, key)) {
            return None;
        }
        // SAFETY: only atomics of the value are written after insertion; an entry that is evicted meanwhile
        // is not given back to another flow before this program's RCU section ends.
        let found = unsafe {
            match FLOWS.get(key) {
                None => PEER_FLOWS.get(key),
                found => found,
            }
        };
        if found.is_some() && touched != epoch {
            // SAFETY: as above.
            unsafe { cell.write_volatile(epoch) };
        }
        found
    }

    #[inline(always)]
    fn insert_flow(&mut self, key: &FlowKey, flow: Flow) {
        if let (Some(cell), Some(scratch)) = (filter_cell(key), scratch()) {
            // SAFETY: an aligned word of an array map, which is written whole.
            unsafe { cell.write_volatile(filter::epoch(scratch.now)) };
        }
        // A full table evicts; any other failure means that the next packet is judged as a new flow again.
        let _ = if flow.flags & flags::PEER != 0 {
            // A dead flow of the same key in the other table would be found before this one.
            let _ = FLOWS.remove(key);
            PEER_FLOWS.insert(key, flow, BPF_ANY.into())
        } else {
            FLOWS.insert(key, flow, BPF_ANY.into())
        };
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
    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders> {
        // SAFETY: never written after insertion.
        unsafe { FURTHER_SENDERS.get(key) }
    }

    #[inline(always)]
    fn precise(&self, _now: u64) -> u64 {
        precise_clock()
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        // SAFETY: a plain integer, never written after insertion.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn insert_fragment(&mut self, key: &FragmentKey, first: u64) {
        let _ = FRAGMENTS.insert(key, first, BPF_ANY.into());
    }

    #[inline(always)]
    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool {
        let now = precise_clock();
        let Some(bucket) = LIMITS.get_ptr_mut(key) else {
            // Another CPU may be first: then its event is the one that counts.
            let _ = LIMITS.insert(key, now + cost, BPF_NOEXIST.into());
            return true;
        };
        // SAFETY: a pointer into a map value, aligned to 8; every access to it is atomic or a plain read.
        unsafe {
            let tat = *bucket;
            let Some(new) = limit::conform(rate, tat, now, cost) else { return false };
            let (_, swapped) =
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, tat, new);
            if swapped {
                return true;
            }
            // Lost the race once: take the other CPU's time as the base, and try once more.
            let tat = *bucket;
            let Some(new) = limit::conform(rate, tat, now, cost) else { return false };
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, tat, new).1
        }
    }

    #[inline(always)]
    fn refund(&mut self, key: &LimitKey, cost: u64) {
        if let Some(bucket) = LIMITS.get_ptr_mut(key) {
            // SAFETY: as above.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(bucket, cost.wrapping_neg()) };
        }
    }

    #[inline(always)]
    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool {
        let Some(bucket) = BUDGET.get_ptr_mut(budget as u32) else { return false };
        // SAFETY: this CPU's own value.
        unsafe { take(bucket, rate, precise_clock()) }
    }

    #[inline(always)]
    fn blocked(&self, address: &Addr, now: u64) -> bool {
        let (word, bit) = block_bit(address);
        // SAFETY: a plain integer that user space replaces whole.
        BLOCK_FILTER.get(word).is_some_and(|bits| *bits & bit != 0)
            && unsafe { BLOCKS.get(address) }.is_some_and(|until| now < *until)
    }

    #[inline(always)]
    fn is_peer(&self, address: &Addr, now: u64) -> bool {
        // SAFETY: plain integers that are replaced whole.
        unsafe {
            VOUCHED.get(address).is_some_and(|until| now < *until)
                || PEERS.get(address).is_some_and(|until| now < *until)
        }
    }

    #[inline(always)]
    fn vouch(&mut self, address: &Addr, now: u64) {
        let _ = VOUCHED.insert(address, now + VOUCHED_FOR, BPF_ANY.into());
    }

    #[inline(always)]
    fn secret(&self) -> u64 {
        SECRET.get(0).copied().unwrap_or(0)
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

/// A flow's cell in the filter.
#[inline(always)]
fn filter_cell(key: &FlowKey) -> Option<*mut u16> {
    let (chunk, cell) = filter::place(key);
    // SAFETY: a pointer to a value of an array map, and an index within it.
    FLOW_FILTER.get_ptr_mut(chunk).map(|chunk| unsafe { (&raw mut (*chunk)[cell]).cast() })
}

/// The time that was set, where the programs go by it.
#[inline(always)]
pub fn own_clock() -> Option<u64> {
    // SAFETY: reading a constant that the loader has set.
    let own = unsafe { core::ptr::read_volatile(&raw const OWN_CLOCK) } == 1;
    if own { Some(CLOCK.get(0).copied().unwrap_or(0)) } else { None }
}

/// The precise clock, for rates: a coarse one would cut high ones short.
#[inline(always)]
fn precise_clock() -> u64 {
    match own_clock() {
        Some(now) => now,
        // SAFETY: a helper without arguments.
        None => unsafe { bpf_ktime_get_ns() },
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

/// Notes that a packet took the stack which might have been forwarded past it.
#[inline(always)]
pub fn took_stack(packet: &Packet) {
    if let Some(pinhole) = Kernel::without_rules().pinhole(&pinhole_key(packet)) {
        Kernel::without_rules().add(&pinhole.paths, 1 << 32);
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

/// One event against a bucket no other CPU uses.
///
/// # Safety
/// `bucket` points to this CPU's own value.
#[inline(always)]
unsafe fn take(bucket: *mut u64, rate: &Rate, now: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match limit::conform(rate, *bucket, now, rate.interval) {
            Some(new) => {
                *bucket = new;
                true
            }
            None => false,
        }
    }
}

/// Whether packets with this verdict are sampled at all: most pass, and are not.
#[inline(always)]
pub fn may_be_sampled(verdict: &Verdict) -> bool {
    verdict.reason.is_drop() || verdict.log || verdict.block
}

/// Whether a packet with this verdict is sampled, and why ([`cause`]).
#[inline(always)]
pub fn sampled(verdict: &Verdict, source: &Addr, now: u64) -> Option<u8> {
    let (why, all, rate) = if verdict.block {
        (cause::BLOCK, event_bucket(source, cause::BLOCK), &SOURCE_RATE)
    } else if verdict.log {
        (cause::LOG, LOGGED, &LOG_RATE)
    } else if verdict.reason.is_drop() {
        // The source's own budget first: one that is used up does not use up everybody's.
        let own = EVENT_BUDGET.get_ptr_mut(event_bucket(source, cause::DROP))?;
        // SAFETY: this CPU's own value.
        if !unsafe { take(own, &SOURCE_RATE, now) } {
            return None;
        }
        (cause::DROP, DROPPED, &DROP_RATE)
    } else {
        return None;
    };
    let bucket = EVENT_BUDGET.get_ptr_mut(all)?;
    // SAFETY: as above.
    unsafe { take(bucket, rate, now) }.then_some(why)
}

/// Where an event comes from.
pub struct Place {
    /// Interface slot.
    pub slot: u32,
    pub zone: u8,
    pub why: u8,
}

/// Puts a sampled packet into the event ring; `load` copies its first bytes.
#[inline(always)]
pub fn sample(place: Place, scratch: &Scratch, length: u32, load: impl Fn(u32, *mut c_void, u32) -> bool) {
    let Scratch { packet, verdict, now, .. } = scratch;
    // A full ring loses a sample, never a packet.
    let Some(mut entry) = EVENTS.reserve(0) else { return };
    let at = if packet.network_at < 64 { packet.network_at as u32 } else { 0 };
    let event: *mut Event = entry.as_mut_ptr();
    // SAFETY: reserved memory of an event's size; every field is written.
    unsafe {
        (*event).time = *now;
        (*event).source = packet.source;
        (*event).destination = packet.destination;
        (*event).source_port = packet.source_port;
        (*event).destination_port = packet.destination_port;
        (*event).length = packet.length;
        (*event).rule = verdict.slot;
        (*event).interface = place.slot as u8;
        (*event).reason = verdict.reason as u8;
        (*event).protocol = packet.protocol;
        (*event).icmp_type = packet.icmp_type;
        (*event).zone = place.zone;
        (*event).cause = place.why;
        (*event).pad = 0;
        let start = &raw mut (*event).start;
        *start = [0; START];
        let whole = length >= at + START as u32 && load(at, start.cast(), START as u32);
        // A short frame: its first bytes as far as the shortest packet of a protocol goes.
        let part = !whole && length >= at + 28 && load(at, start.cast(), 28);
        (*event).captured = if whole {
            START as u16
        } else if part {
            28
        } else {
            0
        };
    }
    entry.submit(0);
}
