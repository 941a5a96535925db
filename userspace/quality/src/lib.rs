//! How a call sounds, as far as the network can know it.
//!
//! - [`figures`]: what was measured of a stream → loss, jitter and opinion score; the one place that computes
//!   them
//! - [`emodel`]: the E-model (ITU-T G.107)
//! - [`codec`]: what each codec costs in it (ITU-T G.113 appendix I)
//! - [`rtcp`]: sender and receiver reports (RFC 3550 section 6.4)
//!
//! Pure: no clock, no I/O, no allocation.

#![forbid(unsafe_code)]

pub mod codec;
pub mod emodel;
pub mod figures;
pub mod rtcp;

pub use figures::{Figures, Measured};
