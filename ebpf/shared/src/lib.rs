//! What both halves of Callgate agree on.
//!
//! The kernel programs and the user half are compiled from this one crate, so that a packet is parsed and
//! judged by the same code in XDP, in `fwctl replay`, in tests and under a fuzzer:
//!
//! - [`packet`]: frame → [`packet::Packet`], generic over a byte reader
//! - [`judge`]: packet + tables → [`judge::Verdict`], generic over the tables
//! - [`flow`], [`pinhole`], [`policy`], [`limit`]: keys and values of the kernel maps
//! - [`media`]: what a pinhole says of its stream, and what it measures
//! - [`tap`], [`counters`]: the way to user space, and what is counted
//! - [`reason`]: why a packet passed or was dropped
//!
//! The layout of every map value is asserted at compile time; [`LAYOUT`] changes with any of them.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

pub mod addr;
pub mod counters;
pub mod flow;
pub mod judge;
pub mod limit;
pub mod media;
pub mod packet;
pub mod peer;
pub mod pinhole;
pub mod policy;
pub mod reason;
pub mod tap;

pub use addr::Addr;
pub use reason::Reason;

/// Version of the pinned maps' layout: part of their path under bpffs.
pub const LAYOUT: u32 = 3;
