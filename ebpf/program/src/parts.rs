//! The parts of a program: functions of global linkage, which the verifier looks into once each, for any arguments,
//! instead of once per way that leads to their call. They hand one another the packet and the verdict in
//! [`Scratch`]; each has a stack of its own, and the kernel allows 512 bytes for those of a chain of calls.

use core::ptr::null_mut;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_skb_load_bytes, bpf_xdp_load_bytes,
};
use callgate_shared::Reason;
use callgate_shared::judge::{
    Budget, Recognised, Tables, Verdict, Way, admit_media, begin, charge, first_match, path, recognise,
    recognise_flow, remember,
};
use callgate_shared::packet::options::{self, Found, Wanted};
use callgate_shared::packet::{self, Bytes, Kind, rtp};
use callgate_shared::policy::{Policy, ZONE_SELF};

use crate::forward;
use crate::frame::{SkbFrame, XdpFrame};
use crate::maps::{Scratch, scratch};
use crate::reply;
use crate::tables::{self, Kernel, Place};

/// Reads a packet and the clock. 0 where it cannot be read: the verdict is then already there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_xdp(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context is the kernel's own.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    parse(&XdpFrame { ctx, data, end })
}

/// [`parse_xdp`] for a packet this machine sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_skb(ctx: *mut __sk_buff) -> u32 {
    // SAFETY: the context is the kernel's own.
    let (data, end, length) =
        unsafe { ((*ctx).data as usize, (*ctx).data_end as usize, (*ctx).len as usize) };
    parse(&SkbFrame { ctx, data, end, length })
}

/// [`rtp::rtcp`] of a part of the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rtcp_faults_xdp(ctx: *mut xdp_md, at: u32, length: u32) -> u32 {
    // SAFETY: the context is the kernel's own.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    rtp::rtcp(&XdpFrame { ctx, data, end }, at as usize & 0xffff, length as usize & 0xffff) as u32
}

/// [`rtcp_faults_xdp`] for a packet this machine sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rtcp_faults_skb(ctx: *mut __sk_buff, at: u32, length: u32) -> u32 {
    // SAFETY: the context is the kernel's own.
    let (data, end, whole) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize, (*ctx).len as usize) };
    let frame = SkbFrame { ctx, data, end, length: whole };
    rtp::rtcp(&frame, at as usize & 0xffff, length as usize & 0xffff) as u32
}

#[inline(always)]
fn parse<B: Bytes>(frame: &B) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    // Until something else is said.
    scratch.verdict = Verdict::of(Reason::NoPolicy);
    tick(scratch);
    let parsed = packet::parse_into(frame, &mut scratch.packet);
    if scratch.packet.kind == Kind::Link {
        // They are those of the packet before: a sample would tell them.
        scratch.packet.forget_addresses();
    }
    match parsed {
        Ok(()) => 1,
        Err(reason) => {
            scratch.packet.length = frame.len() as u32;
            scratch.verdict = Verdict::of(reason);
            0
        }
    }
}

/// The coarse clock (CLOCK_MONOTONIC, ns). It goes on with the tick; until then its last reading will do, and costs
/// a tenth.
#[inline(always)]
fn tick(scratch: &mut Scratch) {
    if let Some(now) = tables::own_clock() {
        scratch.now = now;
        return;
    }
    // SAFETY: helpers without arguments.
    let tick = unsafe { bpf_jiffies64() };
    if tick != scratch.tick {
        scratch.tick = tick;
        // SAFETY: as above.
        scratch.now = unsafe { bpf_ktime_get_coarse_ns() };
    }
}

/// [`recognise`] for the packet that was read, by the tables of a slot.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recognise_xdp(ctx: *mut xdp_md, generation_slot: u32, zone: u32) -> u32 {
    // SAFETY: the context is the kernel's own.
    let interface = unsafe { (*ctx).ingress_ifindex };
    let Some((kernel, policy)) = Kernel::of(generation_slot) else { return KNOWN };
    recognised(Kernel { context: ctx.cast(), interface, ..kernel }, policy, zone as u8, false)
}

/// [`recognise_xdp`] for a packet this machine sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recognise_skb(ctx: *mut __sk_buff, generation_slot: u32) -> u32 {
    let Some((kernel, policy)) = Kernel::of(generation_slot) else { return KNOWN };
    recognised(Kernel { context: ctx.cast(), ..kernel }, policy, ZONE_SELF, false)
}

/// [`recognise_flow`] for the packet that was read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recognise_flow_xdp(ctx: *mut xdp_md, generation_slot: u32, zone: u32) -> u32 {
    // SAFETY: the context is the kernel's own.
    let interface = unsafe { (*ctx).ingress_ifindex };
    let Some((kernel, policy)) = Kernel::of(generation_slot) else { return KNOWN };
    recognised(Kernel { context: ctx.cast(), interface, ..kernel }, policy, zone as u8, true)
}

/// [`recognise_flow_xdp`] for a packet this machine sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recognise_flow_skb(ctx: *mut __sk_buff, generation_slot: u32) -> u32 {
    let Some((kernel, policy)) = Kernel::of(generation_slot) else { return KNOWN };
    recognised(Kernel { context: ctx.cast(), ..kernel }, policy, ZONE_SELF, true)
}

/// `no_pinhole`: what is before the pinholes was seen to, and they have not decided.
#[inline(always)]
fn recognised(mut kernel: Kernel, policy: &Policy, zone: u8, no_pinhole: bool) -> u32 {
    let Some(Scratch { packet, verdict, stranger, now, .. }) = scratch() else { return KNOWN };
    let recognised = if no_pinhole {
        recognise_flow(&mut kernel, policy, packet, zone, *now, stranger)
    } else {
        recognise(&mut kernel, policy, packet, zone, *now, stranger)
    };
    match recognised {
        Recognised::Known(known) => {
            *verdict = known;
            KNOWN
        }
        Recognised::Limited(known) => {
            *verdict = known;
            LIMITED
        }
        Recognised::Media => MEDIA,
        Recognised::Stranger => STRANGER,
    }
}

/// [`admit_media`] of the packet that was read. 0 where no pinhole has decided.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn admit() -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    match admit_media(&Kernel::without_rules(), &scratch.packet, scratch.now) {
        Some(verdict) => {
            scratch.verdict = verdict;
            1
        }
        None => 0,
    }
}

/// What [`recognise_xdp`] says: [`Recognised`], with the verdict in [`Scratch`].
pub const KNOWN: u32 = 0;
pub const LIMITED: u32 = 1;
pub const STRANGER: u32 = 2;
pub const MEDIA: u32 = 3;

/// [`charge`] for the packet that was recognised.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charge_flow(generation_slot: u32, zone: u32) -> u32 {
    let Some((mut kernel, policy)) = Kernel::of(generation_slot) else { return 0 };
    let Some(scratch) = scratch() else { return 0 };
    scratch.verdict = charge(&mut kernel, policy, &scratch.packet, zone as u8, scratch.verdict);
    1
}

/// [`begin`] for the packet that was read and the stranger it was found to be.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_flow(generation_slot: u32) -> u32 {
    let Some((mut kernel, policy)) = Kernel::of(generation_slot) else { return 0 };
    let Some(scratch) = scratch() else { return 0 };
    scratch.verdict = begin(&mut kernel, policy, &scratch.packet, &scratch.stranger);
    1
}

/// [`remember`] for the first fragment that was judged.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn remember_first() -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    remember(&mut Kernel::without_rules(), &scratch.packet, scratch.verdict);
    1
}

/// [`first_match`] of the packet that was read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn match_packet(generation_slot: u32, zone: u32, way: u32) -> u32 {
    let Some((kernel, policy)) = Kernel::of(generation_slot) else { return 0 };
    let Some(scratch) = scratch() else { return 0 };
    let way = if way == Way::There as u32 { Way::There } else { Way::Back };
    first_match(&kernel, policy, &scratch.packet, zone as u8, way) as u32
}

/// [`options::scan`] of the options that were copied.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_options(length: u32, wanted: u32) -> u32 {
    let Some(scratch) = scratch() else { return Found::Malformed.pack() };
    let wanted = if wanted == Wanted::SourceRoute as u32 { Wanted::SourceRoute } else { Wanted::WindowScale };
    options::scan(&mut scratch.options, length as usize, wanted).pack()
}

/// Why the packet is to be sampled ([`callgate_shared::counters::cause`]); 0 where it is not.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sampled() -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    tables::sampled(&scratch.verdict, &scratch.packet.source, scratch.now).map_or(0, u32::from)
}

/// Puts the packet into the event ring.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sample_xdp(ctx: *mut xdp_md, slot: u32, zone: u32, why: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    // SAFETY: the context is the kernel's own.
    let length = unsafe { (*ctx).data_end - (*ctx).data };
    tables::sample(Place { slot, zone: zone as u8, why: why as u8 }, scratch, length, |at, to, size| {
        // SAFETY: the context is the kernel's own; `to` has room for `size` bytes.
        unsafe { bpf_xdp_load_bytes(ctx, at, to, size) == 0 }
    });
    1
}

/// [`sample_xdp`] for a packet this machine sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sample_skb(ctx: *mut __sk_buff, slot: u32, why: u32) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    // SAFETY: the context is the kernel's own.
    let length = unsafe { (*ctx).len };
    tables::sample(Place { slot, zone: ZONE_SELF, why: why as u8 }, scratch, length, |at, to, size| {
        // SAFETY: as above.
        unsafe { bpf_skb_load_bytes(ctx.cast(), at, to, size) == 0 }
    });
    1
}

/// Turns a rejected or challenged packet into its answer, within the budget of answers. 0 where it has none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_xdp(ctx: *mut xdp_md, generation_slot: u32) -> u32 {
    let Some((mut kernel, policy)) = Kernel::of(generation_slot) else { return 0 };
    let Some(scratch) = scratch() else { return 0 };
    if !kernel.afford(Budget::Replies, &policy.replies) {
        return 0;
    }
    let answered = if scratch.verdict.reason == Reason::Reject {
        reply::reject(ctx, &scratch.packet)
    } else {
        reply::challenge(ctx, &scratch.packet, kernel.secret(), scratch.now)
    };
    answered as u32
}

/// Marks a packet that a pinhole has admitted, and forwards it past the stack, as its verdict says. 0 where the stack
/// is to have it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn send_on_xdp(ctx: *mut xdp_md) -> u32 {
    let Some(scratch) = scratch() else { return 0 };
    let Scratch { packet, verdict, .. } = scratch;
    if verdict.path & path::REMARK != 0 {
        let dscp = verdict.path >> path::DSCP;
        forward::remark(ctx, packet, dscp);
        packet.traffic_class = dscp << 2 | packet.traffic_class & 3;
    }
    if verdict.path & path::FAST == 0 {
        return 0;
    }
    if forward::forward(ctx, packet) {
        return 1;
    }
    tables::took_stack(packet);
    0
}

impl Kernel {
    /// The tables of a slot, and their policy.
    #[inline(always)]
    pub fn of(generation_slot: u32) -> Option<(Self, &'static Policy)> {
        let kernel = Self { generation_slot, ..Self::without_rules() };
        let policy = kernel.policy()?;
        Some((Self { flags: policy.flags, flow_windows: policy.flow_windows, ..kernel }, policy))
    }

    /// For what needs no rules.
    #[inline(always)]
    pub const fn without_rules() -> Self {
        Self { generation_slot: 0, flags: 0, flow_windows: [0; 2], context: null_mut(), interface: 0 }
    }
}
