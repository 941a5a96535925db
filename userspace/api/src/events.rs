//! What operators want to know of phones, gateways, file transfers and refused packets, as it happened.

use std::net::SocketAddr;

use callgate_alg::event::{Event, EventKind};
use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its number: one more than that of the event before. Numbers go on rising when the daemon is started anew.
    pub number: u64,
    /// When it happened.
    pub at_unix: u64,
    /// What it is: `registered`, `refused` …
    pub kind: EventKind,
    /// By which protocol: `sccp`, `mgcp` …; of a dropped packet `tcp`, `udp` …; empty where there is none.
    pub protocol: String,
    /// Whose doing it was.
    pub source: SocketAddr,
    /// A device's name, a file, an endpoint; may be empty.
    pub subject: String,
    /// More, for people; may be empty.
    pub text: String,
    /// The packet, where the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<PacketRow>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRow {
    /// The interface it came in by; empty where it is gone.
    pub interface: String,
    /// Zone it came from.
    pub zone: String,
    /// Why it was dropped (`callgate_shared::Reason`).
    pub reason: String,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// Where it came from; of what has no ports the port is 0.
    pub from: SocketAddr,
    /// Where it was to go.
    pub to: SocketAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the IP protocol's number.
    pub protocol: String,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: Option<u8>,
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// Its first bytes in hexadecimal, from its IP header on; from its Ethernet header on where it has none.
    pub start: String,
}

impl EventRow {
    /// The row of an event that happened at `at_unix`.
    pub fn new(number: u64, at_unix: u64, event: Event) -> Self {
        let Event { kind, protocol, source, subject, text, .. } = event;
        let protocol = if protocol == Inspect::None { "" } else { protocol.name() };
        Self { number, at_unix, kind, protocol: protocol.to_owned(), source, subject, text, packet: None }
    }
}

/// Events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// Without `after` the last events, with it the first ones after that number: up to the request's limit.
    pub rows: Vec<EventRow>,
    /// What to give as `after` to get the events that follow.
    pub next: u64,
    /// Events between `after` and `next` that the daemon does not remember any more, of whatever kind.
    pub lost: u64,
}
