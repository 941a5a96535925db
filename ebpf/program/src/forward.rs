//! Media on its way to another machine, past the stack: route, neighbour, hop limit, checksum, out again.
//!
//! The stack is left out only where it would do nothing else: the kernel's own routing table names a neighbour that is
//! known, behind a device the user half has put into [`EGRESS`] because frames can be given to it. Everything else goes
//! on as it came: fragments, options, VLAN tags, what is too large, what was not sent to this machine's station.

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as Lookup, xdp_action, xdp_md};
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use callgate_shared::packet::{Fragment, Packet};

use crate::STATION;
use crate::maps::EGRESS;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const ETHERNET: usize = 14;

/// Sends an admitted packet on. False where the stack is to have it: nothing of it has changed then.
#[inline(always)]
pub fn forward(ctx: *mut xdp_md, packet: &Packet) -> bool {
    let v4 = packet.source.is_v4();
    let header = if v4 { 20 } else { 40 };
    if packet.fragment != Fragment::Whole
        || packet.network_at as usize != ETHERNET
        || packet.transport_at as usize != ETHERNET + header
        || packet.hop_limit <= 1
        || !is_for_us(ctx)
    {
        return false;
    }
    // SAFETY: a structure of integers, for which zero is valid; the kernel writes its answer into it.
    let mut lookup: Lookup = unsafe { core::mem::zeroed() };
    // SAFETY: the context is the kernel's own.
    lookup.ifindex = unsafe { (*ctx).ingress_ifindex };
    lookup.l4_protocol = packet.protocol;
    lookup.sport = packet.source_port.to_be();
    lookup.dport = packet.destination_port.to_be();
    lookup.__bindgen_anon_1.tot_len = packet.length as u16;
    if v4 {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_2.tos = packet.traffic_class;
        lookup.__bindgen_anon_3.ipv4_src = packet.source.v4_word();
        lookup.__bindgen_anon_4.ipv4_dst = packet.destination.v4_word();
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_2.flowinfo = ((packet.traffic_class as u32) << 20).to_be();
        lookup.__bindgen_anon_3.ipv6_src = packet.source.0;
        lookup.__bindgen_anon_4.ipv6_dst = packet.destination.0;
    }
    // SAFETY: the program's own context; a structure of the size that is told.
    let answer = unsafe { bpf_fib_lookup(ctx.cast(), &raw mut lookup, size_of::<Lookup>() as i32, 0) };
    if answer != BPF_FIB_LKUP_RET_SUCCESS as i64 {
        return false;
    }
    // Asked first: where the device is not there, the packet is still as it came.
    if EGRESS.redirect(lookup.ifindex, xdp_action::XDP_PASS as u64) != Ok(xdp_action::XDP_REDIRECT) {
        return false;
    }
    // SAFETY: the context is the kernel's own.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let data = black_box(data);
    if data + ETHERNET + 20 > end {
        return false;
    }
    let (to, from) = (lookup.dmac, lookup.smac);
    // SAFETY: the comparison above is the verifier's proof that all of this lies within the packet.
    unsafe {
        *(data as *mut [u8; 6]) = to;
        *((data + 6) as *mut [u8; 6]) = from;
        let network = data + ETHERNET;
        if v4 {
            *((network + 8) as *mut u8) = packet.hop_limit - 1;
            // RFC 1624: the word of hop limit and protocol is less by 0x0100.
            let checksum = (network + 10) as *mut u16;
            *checksum =
                adjusted(*checksum, (packet.hop_limit as u16) << 8, (packet.hop_limit as u16 - 1) << 8);
        } else {
            *((network + 7) as *mut u8) = packet.hop_limit - 1;
        }
    }
    true
}

/// Writes a DSCP into a packet; ECN stays. Nothing happens to one that cannot be written to.
#[inline(always)]
pub fn remark(ctx: *mut xdp_md, packet: &Packet, dscp: u8) {
    let at = packet.network_at as usize;
    let class = dscp << 2 | packet.traffic_class & 3;
    // SAFETY: the context is the kernel's own.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    if class == packet.traffic_class || at > 22 {
        return;
    }
    let network = black_box(data + (at & 31));
    if network + 20 > end {
        return;
    }
    // SAFETY: the comparison above is the verifier's proof that all of this lies within the packet.
    unsafe {
        if packet.source.is_v4() {
            let first = u16::from_be(*(network as *const u16));
            *((network + 1) as *mut u8) = class;
            let checksum = (network + 10) as *mut u16;
            *checksum = adjusted(*checksum, first & 0x00ff, class as u16);
        } else {
            let first = u16::from_be(*(network as *const u16));
            *(network as *mut u16) = (first & 0xf00f | (class as u16) << 4).to_be();
        }
    }
}

/// A header checksum after one word has changed (RFC 1624, equation 3). `old` and `new` are in host order.
#[inline(always)]
fn adjusted(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !u16::from_be(checksum) as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be()
}

/// Whether the frame was sent to this interface's own station: an interface that listens to all has others' too.
#[inline(always)]
fn is_for_us(ctx: *mut xdp_md) -> bool {
    // SAFETY: reading a constant that the loader has set.
    let station = unsafe { core::ptr::read_volatile(&raw const STATION) };
    // SAFETY: the context is the kernel's own.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    if data + ETHERNET > end {
        return false;
    }
    // SAFETY: the comparison above is the verifier's proof that these lie within the packet.
    let (first, second) = unsafe { (*(data as *const u32), *((data + 4) as *const u16)) };
    station == (first as u64 | (second as u64) << 32)
}
