//! The lab: what it takes to try Callgate end to end on one machine.
//!
//! - [`netns`], [`process`]: namespaces and processes that leave nothing behind,
//! - [`lab`]: two topologies of them, with their addresses,
//! - [`daemon`]: callgated inside a lab, and what fwctl says about it,
//! - [`policy`], [`fixture`]: the rules file the tests use, and a firewall under it for several tests,
//! - [`rtp`], [`sip`], [`h323`], [`sccp`], [`mgcp`], [`sipp`], [`baresip`], [`call`]: endpoints that make calls and count every
//!   packet of media,
//! - [`tftp`]: Debian's server and client, and a scripted client,
//! - [`checks`]: what every call has to satisfy; [`probe`]: whether a way is open, packet by packet,
//! - [`attack`], [`meter`]: hostile traffic, and exact counts of what was sent and what arrived,
//! - [`converse`]: connections that hostile traffic must not keep out,
//! - [`craft`], [`tools`]: packets no honest stack sends; nmap and hping3,
//! - [`xdp`]: a program for the far end of a virtual pair,
//! - [`filter`]: the rules file of the packet filter's tests.
//!
//! Everything runs over real sockets and the real kernel; the end-to-end tests and the demonstration
//! (`callgate-demo`) are thin layers over these modules. All of it needs root: see [`root_or_skip`].

#![forbid(unsafe_code)]

use std::io::{self, Write};

pub mod attack;
pub mod baresip;
pub mod call;
pub mod checks;
pub mod converse;
pub mod craft;
pub mod daemon;
pub mod filter;
pub mod fixture;
pub mod h323;
pub mod lab;
pub mod meter;
pub mod mgcp;
pub mod mounts;
pub mod netns;
pub mod policy;
pub mod probe;
pub mod process;
pub mod rtp;
pub mod sccp;
pub mod sip;
pub mod sipp;
pub mod tftp;
pub mod tools;
pub mod xdp;

/// Whether an end-to-end test can run. Without root it says so by the test's name and returns `false`; where
/// the environment has `CI=true` nothing may be skipped.
///
/// # Panics
/// Without root in CI.
pub fn root_or_skip(test: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs root, and CI skips nothing");
    // Not by `eprintln`, which the test harness keeps to itself.
    let _ = writeln!(io::stderr(), "SKIPPED (needs root): {test}");
    false
}
