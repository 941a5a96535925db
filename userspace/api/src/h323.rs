//! What H.323 adds: registrations with gatekeepers, and what is known of a call beside its record.

use std::net::SocketAddr;

use callgate_alg::action::Time;
use callgate_alg::h323::{Details, Registration};
use serde::{Deserialize, Serialize};

/// An endpoint that is registered with a gatekeeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRow {
    /// Its RAS address, as it is seen.
    pub endpoint: SocketAddr,
    /// Its gatekeeper's.
    pub gatekeeper: SocketAddr,
    /// endpointIdentifier, as the gatekeeper has given it.
    pub identifier: String,
    /// Its names and numbers.
    pub aliases: Vec<String>,
    /// Where it is called.
    pub call_signal: Vec<SocketAddr>,
    /// Where it says it takes RAS messages.
    pub ras: Vec<SocketAddr>,
    /// From one refreshment to the next.
    pub life_s: u64,
    /// Until it ends unless it is refreshed.
    pub left_s: u64,
    /// Since it began.
    pub since_s: u64,
    /// It uses H.460.18.
    pub traversal: bool,
}

/// What is known of an H.323 call beside its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct H323Call {
    /// Call reference value.
    pub crv: u16,
    /// callIdentifier in hexadecimal digits; `None` where there is none.
    pub identifier: Option<String>,
    /// Q.931 numbers of caller and callee; empty where there is none.
    pub numbers: [String; 2],
    /// Aliases of caller and callee.
    pub aliases: [Vec<String>; 2],
    /// H.245 is tunnelled.
    pub tunnelled: bool,
    /// What it uses of H.460: `h460.18`, `h460.19`.
    pub traversal: Vec<String>,
}

impl RegistrationRow {
    /// The row of `registration` at `now`.
    pub fn new(registration: &Registration, now: Time) -> Self {
        Self {
            endpoint: registration.endpoint,
            gatekeeper: registration.gatekeeper,
            identifier: registration.identifier.clone(),
            aliases: registration.aliases.clone(),
            call_signal: registration.call_signal.clone(),
            ras: registration.ras.clone(),
            life_s: registration.life.as_secs(),
            left_s: registration.until.since(now).as_secs(),
            since_s: now.since(registration.since).as_secs(),
            traversal: registration.traversal,
        }
    }
}

impl From<Details> for H323Call {
    fn from(details: Details) -> Self {
        let Details { reference, identifier, parties: [caller, callee], tunnelled, traversal } = details;
        let features = [(traversal.signalling, "h460.18"), (traversal.media, "h460.19")];
        Self {
            crv: reference,
            identifier: identifier.map(|guid| guid.to_string()),
            numbers: [caller.number, callee.number],
            aliases: [caller.aliases, callee.aliases],
            tunnelled,
            traversal: features
                .iter()
                .filter(|(used, _)| *used)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
        }
    }
}
