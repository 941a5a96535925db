//! The way of signalling to user space and back.

/// Taps of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tap {
    /// Interface index of the tap for packets that enter; 0 where there is none.
    pub ingress: u32,
    /// Interface index of the tap for packets this machine sends; 0 where there is none.
    pub egress: u32,
    /// 1 once the driver has refused XDP metadata: the TCX program then looks the flow up by itself.
    pub without_metadata: u32,
    /// 1 where XDP runs in generic mode: the kernel then shows it each packet that comes back from the tap once
    /// more, and the TCX program takes that second count back.
    pub generic: u32,
}

/// What XDP writes in front of a packet that is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Meta {
    /// [`META_MAGIC`].
    pub magic: u32,
}

/// Says that the metadata is ours.
pub const META_MAGIC: u32 = 0xca11_6a7e;

/// `skb->mark` of a packet that comes back from a tap.
pub const MARK: u32 = 0xca11_6a7e;

/// Age of the daemon's heartbeat, in ns, from which it counts as gone.
pub const ALG_STALE: u64 = 1_000_000_000;

/// Bytes of a packet this machine sends that the parser may want: Ethernet, two tags, IPv6 with six extension
/// headers of usual size, TCP.
pub const PULL: u32 = 192;

const _: () = assert!(size_of::<Tap>() == 16);
const _: () = assert!(size_of::<Meta>() == 4);
