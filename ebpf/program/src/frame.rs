//! The parser's view of packets in the kernel.

use core::hint::black_box;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_xdp_load_bytes};
use callgate_shared::packet::options::{self, Found, Options, Wanted};
use callgate_shared::packet::{Bytes, View};

use crate::maps::scratch;
use crate::parts;

/// A packet as XDP sees it: all of it between `data` and `end`.
pub struct XdpFrame {
    pub ctx: *mut xdp_md,
    pub data: usize,
    pub end: usize,
}

/// A packet as TC sees it: `length` bytes, the first of them between `data` and `end`.
pub struct SkbFrame {
    pub ctx: *mut __sk_buff,
    pub data: usize,
    pub end: usize,
    pub length: usize,
}

/// Checked bytes of a packet.
pub struct Window(usize);

/// `size` bytes at `at`, if they lie before `end`: the comparison is the verifier's proof.
#[inline(always)]
fn window(data: usize, end: usize, at: usize, size: usize) -> Option<Window> {
    let start = data + (at & 0xffff);
    if start + size > end { None } else { Some(Window(start)) }
}

impl Bytes for XdpFrame {
    type View = Window;

    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.data
    }

    #[inline(always)]
    fn view(&self, at: usize, size: usize) -> Option<Window> {
        window(self.data, self.end, at, size)
    }

    #[inline(always)]
    fn scan_options(&self, at: usize, length: usize, wanted: Wanted) -> Found {
        scanned(length, wanted, |options, size| {
            // SAFETY: the program's own context; `size` is at most the size of `bytes`.
            unsafe { bpf_xdp_load_bytes(self.ctx, at as u32, options.bytes.as_mut_ptr().cast(), size) == 0 }
        })
    }

    #[inline(always)]
    fn rtcp_faults(&self, at: usize, length: usize) -> u8 {
        parts::rtcp_faults_xdp(self.ctx, at as u32, length as u32) as u8
    }
}

impl Bytes for SkbFrame {
    type View = Window;

    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn view(&self, at: usize, size: usize) -> Option<Window> {
        window(self.data, self.end, at, size)
    }

    #[inline(always)]
    fn scan_options(&self, at: usize, length: usize, wanted: Wanted) -> Found {
        scanned(length, wanted, |options, size| {
            // SAFETY: the program's own context; `size` is at most the size of `bytes`.
            unsafe {
                bpf_skb_load_bytes(
                    self.ctx.cast_const().cast(),
                    at as u32,
                    options.bytes.as_mut_ptr().cast(),
                    size,
                ) == 0
            }
        })
    }

    #[inline(always)]
    fn rtcp_faults(&self, at: usize, length: usize) -> u8 {
        parts::rtcp_faults_skb(self.ctx, at as u32, length as u32) as u8
    }
}

// The loads below are of the field's own width: the BPF target has no unaligned loads and would otherwise
// assemble each field from bytes. The kernel permits them on packet memory where the machine does
// (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`); elsewhere the verifier refuses the program.
impl View for Window {
    #[inline(always)]
    fn u8(&self, i: usize) -> u8 {
        // SAFETY: `window` has checked that `i` lies before the packet's end; the verifier checks it again.
        unsafe { *((self.0 + i) as *const u8) }
    }

    #[inline(always)]
    fn be16(&self, i: usize) -> u16 {
        // SAFETY: as above.
        u16::from_be(unsafe { *((self.0 + i) as *const u16) })
    }

    #[inline(always)]
    fn word(&self, i: usize) -> u32 {
        // SAFETY: as above.
        unsafe { *((self.0 + i) as *const u32) }
    }
}

/// Copies a header's options and looks into them.
#[inline(always)]
fn scanned(length: usize, wanted: Wanted, load: impl FnOnce(&mut Options, u32) -> bool) -> Found {
    let Some(scratch) = scratch() else { return Found::Malformed };
    // What the caller has compared already is compared here once more: the verifier believes no sum of two others.
    let length = black_box(length);
    if length == 0 || length > options::MOST || !load(&mut scratch.options, length as u32) {
        return Found::Malformed;
    }
    Found::unpack(parts::scan_options(length as u32, wanted as u32))
}
