//! Decoders of the voice protocols: bytes in, borrowed views out.
//!
//! No I/O, no clock, no allocation by a length a peer sent; malformed input is an error with a name, never a
//! panic or a loop.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "build"))]
pub mod build;
pub mod h225;
pub mod h245;
mod lines;
pub mod mgcp;
pub mod per;
pub mod q931;
pub mod ras;
pub mod refuse;
pub mod sccp;
pub mod sdp;
pub mod sip;
pub mod tftp;
pub mod tpkt;
mod writer;
