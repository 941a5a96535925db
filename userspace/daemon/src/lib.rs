//! Callgate's daemon, as a library: the binary, the measurements and the tests share it.
//!
//! - [`kernel`]: the pinned maps, programs and links; the only place that speaks to aya
//! - [`tap`], [`frame`]: signalling to user space and back
//! - [`interfaces`]: what Callgate stands on
//! - [`paths`]: the ways to the parties of a call, for what the firewall says itself
//! - [`firewall`]: kernel half, ALG engine and rules as one thing
//! - [`defence`]: what it does about those it refuses, and for those it knows, by way of [`blocks`], [`scans`] and
//!   [`peers`]
//! - [`machine`]: this machine's own addresses
//! - [`events`]: the last events, for people
//! - `media`: the figures of streams, what receivers report, and who hears nothing
//! - `reports`: RTCP as it goes by
//! - `capture`: the packets of one call
//! - `records`: what is kept of calls that are over
//! - [`explain`]: what would become of a packet, and why
//! - [`control`], [`views`]: the control socket, and what it shows
//! - [`audit`]: who has changed what
//! - `rollback`, `comparison`, [`watch`]: rules that come back, that are compared, and that change on disk
//! - [`metrics`], `meter`, `health`: what is counted, how fast, and what somebody should look at
//! - [`options`], [`log`]: what its command line says, and where its log goes
//! - [`preflight`], [`privileges`]: what the machine must have, and what the daemon gives up
//! - [`rulesfile`], [`journal`], [`memory`], [`lock`]: what is on disk

pub mod audit;
pub mod blocks;
mod capture;
mod comparison;
pub mod control;
mod database;
pub mod defence;
pub mod events;
pub mod explain;
pub mod firewall;
pub mod frame;
mod health;
pub mod interfaces;
pub mod journal;
pub mod kernel;
pub mod lock;
pub mod log;
pub mod machine;
mod media;
pub mod memory;
mod meter;
pub mod metrics;
pub mod options;
pub mod paths;
pub mod peers;
pub mod preflight;
pub mod privileges;
mod records;
mod reports;
mod rollback;
pub mod rulesfile;
pub mod scans;
mod tally;
pub mod tap;
mod unconfirmed;
pub mod views;
pub mod watch;
