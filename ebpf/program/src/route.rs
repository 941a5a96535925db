//! Whether there is a way back to a packet's source: the machine's own routes are asked.

use core::ffi::c_void;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LOOKUP_SKIP_NEIGH,
    bpf_fib_lookup as Lookup,
};
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use callgate_shared::packet::Packet;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Whether a route leads to the packet's source, and not to this machine itself. Where the interface does not
/// forward, the kernel does not tell, and the answer is yes.
#[inline(never)]
pub fn leads_to(context: *mut c_void, interface: u32, packet: &Packet) -> bool {
    // SAFETY: a structure of integers, for which zero is valid.
    let mut lookup: Lookup = unsafe { core::mem::zeroed() };
    lookup.ifindex = interface;
    lookup.l4_protocol = packet.protocol;
    if packet.source.is_v4() {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_3.ipv4_src = packet.destination.v4_word();
        lookup.__bindgen_anon_4.ipv4_dst = packet.source.v4_word();
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_3.ipv6_src = packet.destination.0;
        lookup.__bindgen_anon_4.ipv6_dst = packet.source.0;
    }
    // SAFETY: the program's own context; a structure of the size that is told.
    let answer = unsafe {
        bpf_fib_lookup(context.cast(), &raw mut lookup, size_of::<Lookup>() as i32, BPF_FIB_LOOKUP_SKIP_NEIGH)
    };
    !(answer >= BPF_FIB_LKUP_RET_BLACKHOLE as i64 && answer <= BPF_FIB_LKUP_RET_NOT_FWDED as i64)
}
