//! The parser's view of packets in the kernel.

use callgate_shared::packet::{Bytes, View};

/// A packet as XDP sees it: all of it between `data` and `end`.
pub struct XdpFrame {
    pub data: usize,
    pub end: usize,
}

/// A packet as TC sees it: `length` bytes, the first of them between `data` and `end`.
pub struct SkbFrame {
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
