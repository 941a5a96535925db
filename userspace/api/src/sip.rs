//! What SIP adds: registrations.

use std::net::SocketAddr;

use callgate_alg::action::{Time, Transport};
use callgate_alg::sip::Binding;
use serde::{Deserialize, Serialize};

/// A contact that is registered for an address of record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingRow {
    /// The address of record: `user@host`.
    pub aor: String,
    /// The contact's URI.
    pub contact: String,
    /// Where that is; `None` where it names no address.
    pub address: Option<SocketAddr>,
    /// What carries signalling to it; `None` where it cannot be read.
    pub transport: Option<Transport>,
    /// Where the client is seen.
    pub source: SocketAddr,
    /// Its registrar.
    pub registrar: SocketAddr,
    /// Its preference among the contacts of its address of record, in thousandths.
    pub q: Option<u16>,
    /// What the client says it is; may be empty.
    pub user_agent: String,
    /// Whose credentials it was made with; may be empty.
    pub account: String,
    /// From one refreshment to the next.
    pub expires_s: u64,
    /// Until it ends unless it is refreshed.
    pub left_s: u64,
    /// Since it began.
    pub since_s: u64,
}

impl BindingRow {
    /// The row of `binding` at `now`.
    pub fn new(binding: &Binding, now: Time) -> Self {
        Self {
            aor: binding.aor.clone(),
            contact: binding.contact.clone(),
            address: binding.address,
            transport: binding.transport,
            source: binding.source,
            registrar: binding.registrar,
            q: binding.q,
            user_agent: binding.user_agent.clone(),
            account: binding.account.clone(),
            expires_s: binding.life.as_secs(),
            left_s: binding.until.since(now).as_secs(),
            since_s: now.since(binding.since).as_secs(),
        }
    }
}
