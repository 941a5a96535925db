//! Callgate's kernel half: four small programs around the one judge of `callgate_shared`.
//!
//! - `callgate_xdp` on a NIC: judges every packet that enters
//! - `callgate_ingress` (TCX) on the same NIC: takes signalling to the inspection tap
//! - `callgate_egress` (TCX) on the same NIC: judges what this machine itself sends
//! - `callgate_tap` (TCX) on a tap: puts what the daemon has read back where it came from
//!
//! Everything they remember lies in pinned maps ([`maps`]); everything they decide comes from the judge.

#![no_std]
#![no_main]
#![expect(internal_features, reason = "BPF atomics are reached through core's intrinsics")]
#![feature(core_intrinsics)]

mod forward;
mod frame;
mod maps;
mod parts;
mod reply;
mod route;
mod tables;

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_skb_pull_data, bpf_xdp_adjust_meta,
};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use callgate_shared::Reason;
use callgate_shared::flow::FlowKey;
use callgate_shared::judge::{Tables, Verdict};
use callgate_shared::packet::{Fragment, Kind, Packet};
use callgate_shared::policy::{Policy, ZONE_SELF, policy_flags};
use callgate_shared::tap::{ALG_STALE, MARK, META_MAGIC, Meta, PULL};

use crate::maps::{ACTIVE, HEARTBEAT, TAPS, scratch};
use crate::tables::Kernel;

// Constants that the loader sets. Their values here are ones no other constant has: LLVM merges equal constants,
// and a literal `&0` that shares the place of `SLOT` becomes the slot when the loader writes it.

/// Interface slot this instance serves.
#[unsafe(no_mangle)]
static SLOT: u32 = 0x510f_0001;
/// `callgate_tap`: index of the NIC packets go back to.
#[unsafe(no_mangle)]
static TAP_NIC: u32 = 0x510f_0002;
/// `callgate_tap`: `BPF_F_INGRESS`, or 0 to send.
#[unsafe(no_mangle)]
static TAP_FLAGS: u64 = 0x510f_0003_510f_0004;

/// 1 where [`maps::CLOCK`] tells the time instead of the kernel. The loader freezes it: the verifier removes what the
/// other value would need.
#[unsafe(no_mangle)]
static OWN_CLOCK: u32 = 0x510f_0005;

/// The interface's station address, its first byte lowest. Nobody's: nothing is forwarded past the stack.
#[unsafe(no_mangle)]
static STATION: u64 = 0x510f_0006_510f_0007;

/// Judges a packet that enters the machine.
#[xdp]
pub fn callgate_xdp(ctx: XdpContext) -> u32 {
    let slot = slot();
    let Some((generation_slot, policy)) = active() else {
        let parsed = parts::parse_xdp(ctx.ctx);
        return not_judged(parsed, slot);
    };
    let zone = policy.zone_of(slot) as u32;
    if parts::parse_xdp(ctx.ctx) != 0 {
        let recognised = parts::recognise_xdp(ctx.ctx, generation_slot, zone);
        let flow = || parts::recognise_flow_xdp(ctx.ctx, generation_slot, zone);
        judged(recognised, flow, generation_slot, zone);
    }
    let Some(verdict) = counted(slot) else { return xdp_action::XDP_DROP };
    if tables::may_be_sampled(&verdict) {
        let why = parts::sampled();
        if why != 0 {
            parts::sample_xdp(ctx.ctx, slot, zone, why);
        }
    }
    if verdict.inspect != 0 {
        mark_for_inspection(&ctx, slot);
    }
    if !verdict.reason.is_drop() {
        if verdict.path != 0 && parts::send_on_xdp(ctx.ctx) != 0 {
            return xdp_action::XDP_REDIRECT;
        }
        return xdp_action::XDP_PASS;
    }
    let answers = verdict.reason == Reason::Reject || verdict.reason == Reason::Challenge;
    if answers && parts::answer_xdp(ctx.ctx, generation_slot) != 0 {
        return xdp_action::XDP_TX;
    }
    xdp_action::XDP_DROP
}

/// Takes signalling that XDP has let by to the inspection tap, and lets by what comes back from it.
#[classifier]
pub fn callgate_ingress(ctx: TcContext) -> i32 {
    let slot = slot();
    let Some(tap) = TAPS.get(slot) else {
        return TC_ACT_OK as i32;
    };
    if returned(&ctx) {
        if tap.generic != 0 {
            count_back(&ctx, slot);
        }
        return TC_ACT_OK as i32;
    }
    // SAFETY: the context pointer is the kernel's own and lives as long as the program runs.
    let (meta, data) = unsafe { ((*ctx.skb.skb).data_meta as usize, (*ctx.skb.skb).data as usize) };
    let marked = if meta + size_of::<Meta>() <= data {
        // SAFETY: the comparison above is the verifier's proof that the metadata lies within its area.
        unsafe { (*(meta as *const Meta)).magic == META_MAGIC }
    } else {
        // A driver without metadata: XDP has said so, and the flow is looked up once more.
        tap.without_metadata != 0
            && with_packet(&ctx, |kernel, key, _| kernel.flow(key).is_some_and(|flow| flow.inspect != 0))
                == Some(true)
    };
    if marked { to_tap(&ctx, slot, tap.ingress) } else { TC_ACT_OK as i32 }
}

/// Judges a packet this machine itself sends, and takes its signalling to the egress tap.
#[classifier]
pub fn callgate_egress(ctx: TcContext) -> i32 {
    // SAFETY: as in `callgate_ingress`.
    let forwarded = unsafe { (*ctx.skb.skb).ingress_ifindex != 0 };
    if returned(&ctx) || forwarded {
        return TC_ACT_OK as i32;
    }
    // SAFETY: as in `callgate_ingress`. Failure means a packet shorter than asked for: the parser decides.
    unsafe { bpf_skb_pull_data(ctx.skb.skb, PULL.min(ctx.len())) };
    let slot = slot();
    let Some((generation_slot, _)) = active() else {
        let parsed = parts::parse_skb(ctx.skb.skb);
        return match not_judged(parsed, slot) {
            xdp_action::XDP_PASS => TC_ACT_OK as i32,
            _ => TC_ACT_SHOT as i32,
        };
    };
    if parts::parse_skb(ctx.skb.skb) != 0 {
        let recognised = parts::recognise_skb(ctx.skb.skb, generation_slot);
        let flow = || parts::recognise_flow_skb(ctx.skb.skb, generation_slot);
        judged(recognised, flow, generation_slot, ZONE_SELF.into());
    }
    let Some(verdict) = counted(slot) else { return TC_ACT_SHOT as i32 };
    if tables::may_be_sampled(&verdict) {
        let why = parts::sampled();
        if why != 0 {
            parts::sample_skb(ctx.skb.skb, slot, why);
        }
    }
    if verdict.reason.is_drop() {
        return TC_ACT_SHOT as i32;
    }
    match TAPS.get(slot) {
        Some(tap) if verdict.inspect != 0 => to_tap(&ctx, slot, tap.egress),
        _ => TC_ACT_OK as i32,
    }
}

/// Puts a packet the daemon has written to a tap back on its NIC.
#[classifier]
pub fn callgate_tap(ctx: TcContext) -> i32 {
    ctx.set_mark(MARK);
    // SAFETY: reading a constant that the loader has set.
    let (nic, flags) = unsafe {
        (core::ptr::read_volatile(&raw const TAP_NIC), core::ptr::read_volatile(&raw const TAP_FLAGS))
    };
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(nic, flags) as i32 }
}

#[inline(always)]
fn slot() -> u32 {
    // SAFETY: reading a constant that the loader has set; volatile, so that it is not folded to its initial value.
    unsafe { core::ptr::read_volatile(&raw const SLOT) }
}

/// The slot of the tables in force, and their policy; `None` before the first rules are loaded.
#[inline(always)]
fn active() -> Option<(u32, &'static Policy)> {
    let generation_slot = *ACTIVE.get(0)?;
    let policy = Kernel::of(generation_slot)?.1;
    (policy.generation != 0).then_some((generation_slot, policy))
}

/// Before the first policy, only what keeps the link alive passes.
#[inline(always)]
fn not_judged(parsed: u32, slot: u32) -> u32 {
    let Some(scratch) = scratch() else { return xdp_action::XDP_DROP };
    let builtin = parsed != 0 && scratch.packet.kind == Kind::Link;
    let reason = if builtin { Reason::PassBuiltin } else { Reason::NoPolicy };
    tables::count(slot, reason, scratch.packet.length as u64);
    if builtin { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// The rest of [`callgate_shared::judge::judge`], after its first step; `flow` is what comes where no pinhole has decided.
#[inline(always)]
fn judged(mut recognised: u32, flow: impl FnOnce() -> u32, generation_slot: u32, zone: u32) {
    if recognised == parts::MEDIA {
        recognised = if parts::admit() == 0 { flow() } else { parts::KNOWN };
    }
    if recognised == parts::STRANGER {
        parts::begin_flow(generation_slot);
    } else if recognised == parts::LIMITED {
        parts::charge_flow(generation_slot, zone);
    }
    if scratch().is_some_and(|scratch| scratch.packet.fragment == Fragment::First) {
        parts::remember_first();
    }
}

/// Counts the verdict that was reached.
#[inline(always)]
fn counted(slot: u32) -> Option<Verdict> {
    let scratch = scratch()?;
    tables::count(slot, scratch.verdict.reason, scratch.packet.length as u64);
    Some(scratch.verdict)
}

/// Tells the TCX program behind the stack's door that this packet is signalling.
#[inline(always)]
fn mark_for_inspection(ctx: &XdpContext, slot: u32) {
    // SAFETY: the context is the kernel's own; on success the metadata area has been moved by the helper, and
    // the comparison proves to the verifier that it holds a `Meta`.
    unsafe {
        if bpf_xdp_adjust_meta(ctx.ctx, -(size_of::<Meta>() as i32)) == 0 {
            let (meta, data) = ((*ctx.ctx).data_meta as usize, (*ctx.ctx).data as usize);
            if meta + size_of::<Meta>() <= data {
                *(meta as *mut Meta) = Meta { magic: META_MAGIC };
                return;
            }
        }
    }
    if let Some(tap) = TAPS.get_ptr_mut(slot) {
        // SAFETY: a pointer into an array map; every writer stores the same value.
        unsafe { (*tap).without_metadata = 1 };
    }
}

/// Whether the daemon has already read this packet; takes the mark away again.
#[inline(always)]
fn returned(ctx: &TcContext) -> bool {
    // SAFETY: as in `callgate_ingress`.
    unsafe {
        let skb = ctx.skb.skb;
        if (*skb).mark != MARK {
            return false;
        }
        (*skb).mark = 0;
        true
    }
}

/// Takes back what generic XDP has counted when a packet came back from the tap. Counters are per CPU and wrap:
/// only their sum means anything.
#[inline(always)]
fn count_back(ctx: &TcContext, slot: u32) {
    with_packet(ctx, |kernel, key, packet| {
        let bytes = packet.length as u64;
        match kernel.flow(key) {
            Some(flow) if packet.fragment != Fragment::Later => {
                tables::count_back(slot, Reason::PassFlow, bytes);
                tables::count_rule_back(flow.slot, bytes);
                let low = (packet.source, packet.source_port) == (key.low, key.low_port);
                let side = if low { 0 } else { 1 };
                kernel.add(&flow.packets[side & 1], 1_u64.wrapping_neg());
                kernel.add(&flow.bytes[side & 1], bytes.wrapping_neg());
            }
            _ => tables::count_back(slot, Reason::PassFragment, bytes),
        }
    });
}

/// Parses a packet once more, for what needs its flow.
#[inline(always)]
fn with_packet<R>(ctx: &TcContext, with: impl FnOnce(&Kernel, &FlowKey, &Packet) -> R) -> Option<R> {
    // SAFETY: as in `callgate_egress`.
    unsafe { bpf_skb_pull_data(ctx.skb.skb, PULL.min(ctx.len())) };
    if parts::parse_skb(ctx.skb.skb) == 0 {
        return None;
    }
    let packet = &scratch()?.packet;
    let (key, _) = FlowKey::of(
        (packet.source, packet.source_port),
        (packet.destination, packet.destination_port),
        packet.protocol,
    );
    Some(with(&Kernel::without_rules(), &key, packet))
}

/// Holds the packet on the tap (`enforce`), or sends a copy there (`observe`).
#[inline(always)]
fn to_tap(ctx: &TcContext, slot: u32, tap: u32) -> i32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let flags = active().map_or(0, |(_, policy)| policy.flags);
    let alive = HEARTBEAT.get(0).is_some_and(|beat| now.saturating_sub(*beat) < ALG_STALE);
    if !alive || tap == 0 {
        return if flags & policy_flags::DROP_ON_ALG_DOWN != 0 {
            tables::count(slot, Reason::AlgDown, ctx.len() as u64);
            TC_ACT_SHOT as i32
        } else {
            TC_ACT_OK as i32
        };
    }
    // SAFETY: the context is the kernel's own.
    unsafe {
        if flags & policy_flags::OBSERVE != 0 {
            bpf_clone_redirect(ctx.skb.skb, tap, 0);
            return TC_ACT_OK as i32;
        }
        bpf_redirect(tap, 0) as i32
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
