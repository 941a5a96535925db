//! What the fuzz targets share: how several messages lie in one input, and what must hold of an engine whatever
//! it was given.
//!
//! - [`decode`]: a protocol's decoders, one call each
//! - [`capture`]: signalling out of captures
//! - [`conversation`]: signalling as it ought to be, by protocol
//! - [`mutation`]: what makes it bad, the same for the same seed

pub mod capture;
pub mod conversation;
pub mod decode;
pub mod mutation;

use std::collections::HashMap;

use callgate_alg::core::Bounds;
use callgate_alg::media::{Authority, Policy, RulePolicy};
use callgate_alg::{Engine, Time};
use callgate_rules::{SccpPolicy, TftpPolicy};
use callgate_shared::pinhole::MAX_SENDERS;

/// The slot of the rule that lets parties announce anybody's addresses; any other has the default.
pub const ANY: u32 = 1;

/// Splits an input into records: a 16-bit big-endian length, then so many bytes. The last may be cut short.
pub fn records(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let (record, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
        input = rest;
        Some(record)
    })
}

/// Appends a record as [`records`] reads it; what does not fit is left out.
pub fn append_record(input: &mut Vec<u8>, record: &[u8]) {
    if let Ok(length) = u16::try_from(record.len()) {
        input.extend(length.to_be_bytes());
        input.extend(record);
    }
}

/// Bounds so small that short inputs reach them.
pub const BOUNDS: Bounds = Bounds { calls: 16, streams_per_call: 8, pinholes: 64, registrations: 16 };

/// An engine that refuses as little as it may: what it permits is what has to be tracked.
pub fn engine(bounds: Bounds) -> Engine {
    let rules = HashMap::from([(ANY, RulePolicy::from(Authority::Any))]);
    let sccp = SccpPolicy {
        registrations_per_second: 1_000,
        one_address_per_device: false,
        ..SccpPolicy::default()
    };
    let tftp = TftpPolicy { write: true, ..TftpPolicy::default() };
    Engine::new(Policy { rules, sccp, tftp, ..Policy::default() }, bounds)
}

/// Checks what must hold between any two messages.
///
/// # Panics
/// Where it does not.
pub fn check(engine: &Engine, bounds: Bounds) {
    assert!(engine.calls().count() <= bounds.calls, "the bound of calls");
    let mut pinholes = 0;
    for pinhole in engine.pinholes() {
        pinholes += 1;
        assert!(pinhole.to.port() >= 1_024, "a privileged port: {pinhole:?}");
        assert!(!pinhole.to.ip().is_unspecified(), "no receiver: {pinhole:?}");
        assert!(
            (1..=MAX_SENDERS).contains(&pinhole.senders.len()),
            "nobody may send, or too many: {pinhole:?}"
        );
        assert!(pinhole.senders.iter().all(|sender| !sender.ip.is_unspecified()), "anybody may: {pinhole:?}");
        assert!(engine.call(pinhole.call).is_some(), "of no call: {pinhole:?}");
    }
    assert!(pinholes <= bounds.pinholes, "the bound of pinholes");
}

/// Lets a day go by: nothing may be left.
///
/// # Panics
/// Where a call or a pinhole is.
pub fn check_end(engine: &mut Engine, now: Time) {
    let _ = engine.take_actions();
    for hours in [1, 25, 50] {
        engine.tick(now + std::time::Duration::from_secs(hours * 3_600));
    }
    assert_eq!((engine.calls().count(), engine.pinholes().count()), (0, 0), "calls end");
}
