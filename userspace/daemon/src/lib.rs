//! Callgate's daemon, as a library: the binary, the measurements and the tests share it.
//!
//! - [`kernel`]: the pinned maps, programs and links; the only place that speaks to aya
//! - [`tap`], [`frame`]: signalling to user space and back
//! - [`interfaces`]: what Callgate stands on
//! - [`firewall`]: kernel half, ALG engine and rules as one thing
//! - [`events`]: the last events, for people
//! - [`control`], [`views`]: the control socket, and what it shows
//! - [`rulesfile`], [`journal`], [`lock`]: what is on disk

pub mod control;
pub mod events;
pub mod firewall;
pub mod frame;
pub mod interfaces;
pub mod journal;
pub mod kernel;
pub mod lock;
pub mod rulesfile;
pub mod tap;
pub mod views;
