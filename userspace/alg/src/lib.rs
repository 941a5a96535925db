//! The application-layer gateway's engine: signalling and a time go in, pinholes and verdicts come out.
//!
//! No I/O, no clock, no threads: the daemon, `fwctl replay`, tests and fuzzers drive the same [`Engine`].
//!
//! - [`engine`]: the entry points, a datagram or a TCP segment at a time
//! - [`packets`]: the entry point for a frame the parser has read
//! - [`fragments`]: datagrams in fragments, put together
//! - [`streams`]: TCP reassembly, bounded
//! - [`sip`], [`h323`], [`sccp`], [`mgcp`], [`tftp`]: a tracker per protocol; each turns messages into calls and
//!   media streams
//! - [`core`]: what the trackers share: calls, streams, who may announce what
//! - [`pinholes`]: streams → pinholes, each owned by the calls that need it
//! - [`media`]: whose addresses a party may announce
//! - [`policy`]: what a rules file says of all this
//! - [`call`]: the record of a call
//! - [`contract`]: what signalling has agreed of a media stream
//! - [`event`]: what operators want to know
//! - [`finished`]: what is known of a call when it is over

#![forbid(unsafe_code)]

pub mod action;
pub mod call;
pub mod contract;
pub mod core;
pub mod engine;
pub mod event;
pub mod farewell;
pub mod finished;
pub mod fragments;
pub mod h323;
pub mod ladder;
mod load;
pub mod media;
pub mod mgcp;
mod pace;
pub mod packets;
pub mod pinholes;
pub mod policy;
pub mod sccp;
pub mod sip;
pub mod streams;
mod terms;
pub mod tftp;

pub use action::{Action, Context, Time, Transport, Verdict};
pub use call::{Call, CallId};
pub use contract::Contract;
pub use engine::Engine;
pub use event::{Event, EventKind};
pub use finished::Finished;
