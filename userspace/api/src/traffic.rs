//! Flows, rules and counters.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use callgate_shared::flow::state;
use serde::{Deserialize, Serialize};

/// A flow in the kernel's table. Packets and bytes are `[originator's, responder's]`, bytes of whole IP packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the IP protocol's number.
    pub protocol: String,
    /// Who sent the first packet; for ICMP echo the port is the identifier.
    pub from: SocketAddr,
    /// The other end.
    pub to: SocketAddr,
    /// How far it has come.
    pub state: FlowState,
    /// Zone of the first packet.
    pub zone: String,
    /// The rule that admitted it; `None` for a zone's default, a pinhole, or a rule that is gone.
    pub rule: Option<String>,
    /// The signalling read in it: `sip`, `h225` …
    pub inspect: Option<String>,
    /// It lies in the table of known peers, where a flood of strangers cannot reach it.
    #[serde(default)]
    pub peer: bool,
    /// Packets by direction.
    pub packets: [u64; 2],
    /// Bytes by direction.
    pub bytes: [u64; 2],
    /// Since the first packet.
    pub age_s: u64,
    /// Since the last packet.
    pub idle_s: u64,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// No answer yet.
    New,
    /// TCP: the handshake is not complete, and it counts as half-open.
    HalfOpen,
    /// Answered; for TCP the handshake is not complete.
    Replied,
    /// TCP: open.
    Established,
    /// TCP: one side has sent FIN.
    Closing,
    /// TCP: both sides have sent FIN, or one a RST.
    Closed,
}

/// Flows were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// How many.
    pub flows: u64,
}

/// The rules in force, in the order they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What passes whatever the rules say, so that a rules file cannot cut off the network.
    pub builtin: Vec<BuiltinRow>,
    /// The rules; the first that matches decides.
    pub rules: Vec<RuleRow>,
    /// What is done where no rule matches, by zone.
    pub defaults: Vec<DefaultRow>,
    /// Counts the loads since the maps were pinned.
    #[serde(default)]
    pub generation: u32,
    /// What the kernel's tables hold.
    #[serde(default)]
    pub tables: TableSizes,
    /// What is said of each zone beside its default.
    #[serde(default)]
    pub zones: Vec<ZoneRow>,
}

/// The form of the compiled rules and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSizes {
    /// `product`: a cell per combination of classes; `vectors`: a bit per rule and class.
    pub form: String,
    /// Rules as the kernel counts them: a rule with several protocols or source ports is several.
    pub entries: u64,
    /// Classes by field: `sources`, `destinations`, `services`, `vlans`, `dscps`, `source_ports`.
    pub classes: BTreeMap<String, u32>,
    /// Cells of the action table; 0 for `vectors`.
    pub cells: u64,
    /// Vectors; 0 for `product`.
    pub vectors: u64,
    /// Chunks of 256 IPv4 addresses.
    pub chunks: u64,
    /// Prefixes that lie in tries.
    pub prefixes: u64,
    /// Bytes of all that, in one of the kernel's two sets of tables.
    pub bytes: u64,
}

/// What is done with packets of a zone before any rule is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    /// The zone.
    pub zone: String,
    /// Its interfaces.
    pub interfaces: Vec<String>,
    /// Its networks, where they are named.
    pub networks: Vec<String>,
    /// Which sources are believed: `off`, `loose` or `strict`.
    pub anti_spoof: String,
    /// Special-purpose sources: `drop` or `pass`.
    pub bogons: String,
    /// Fragments: `track`, `drop` or `pass`.
    pub fragments: String,
    /// Link protocols that are dropped: `cdp`, `lldp`.
    pub link_drops: Vec<String>,
}

/// Traffic that is always let by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltinRow {
    /// Its name, such as `arp`.
    pub name: String,
    /// What it is, for people.
    pub about: String,
}

/// A rule and what it has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its place in the file, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// `pass`, `track`, `inspect`, `drop` or `reject`.
    pub action: String,
    /// The signalling it has read, where it inspects.
    pub inspect: Option<String>,
    /// Zones it holds in; empty for all.
    pub zones: Vec<String>,
    /// Sources as written; empty for any.
    pub from: Vec<String>,
    /// Destinations as written; empty for any.
    pub to: Vec<String>,
    /// Services as written; empty for any.
    pub service: Vec<String>,
    /// Its limit as written, such as `20/s burst 40 per source`.
    pub limit: Option<String>,
    /// When it is in force, as written; `None` for always.
    #[serde(default)]
    pub when: Option<String>,
    /// Whether it is in force now.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether its packets are sampled to the log.
    pub log: bool,
    /// The advisory it answers.
    pub advisory: Option<String>,
    /// Packets it has decided.
    pub packets: u64,
    /// Bytes of those, whole IP packets.
    pub bytes: u64,
    /// Packets dropped because they were above its limit.
    pub limited: u64,
}

/// A zone's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRow {
    /// The zone.
    pub zone: String,
    /// `pass`, `track` or `drop`.
    pub action: String,
}

/// Packets of one interface that passed or were dropped for one reason. Only what has occurred is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// The interface.
    pub interface: String,
    /// The reason's name (`callgate_shared::Reason`).
    pub reason: String,
    /// Whether the packets were dropped.
    pub dropped: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes, whole frames.
    pub bytes: u64,
}

const fn yes() -> bool {
    true
}

impl FlowState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::New, Self::HalfOpen, Self::Replied, Self::Established, Self::Closing, Self::Closed];

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Reads the bits of `callgate_shared::flow::Standing::state`.
    pub const fn from_bits(bits: u32) -> Self {
        const BOTH_FIN: u32 = state::FIN_ORIGINATOR | state::FIN_RESPONDER;
        if bits & state::RESET != 0 || bits & BOTH_FIN == BOTH_FIN {
            Self::Closed
        } else if bits & BOTH_FIN != 0 {
            Self::Closing
        } else if bits & state::ESTABLISHED != 0 {
            Self::Established
        } else if bits & state::HALF_OPEN != 0 {
            Self::HalfOpen
        } else if bits & state::REPLIED != 0 {
            Self::Replied
        } else {
            Self::New
        }
    }

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::HalfOpen => "half-open",
            Self::Replied => "replied",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_state_is_that_of_its_furthest_bit() {
        let open = state::SYN | state::REPLIED | state::ESTABLISHED;
        for (bits, expected) in [
            (0, FlowState::New),
            (state::SYN, FlowState::New),
            (state::SYN | state::REPLIED, FlowState::Replied),
            (state::SYN | state::HALF_OPEN, FlowState::HalfOpen),
            (state::SYN | state::REPLIED | state::HALF_OPEN, FlowState::HalfOpen),
            (open, FlowState::Established),
            (open | state::FIN_RESPONDER, FlowState::Closing),
            (open | state::FIN_RESPONDER | state::FIN_ORIGINATOR, FlowState::Closed),
            (state::SYN | state::RESET, FlowState::Closed),
        ] {
            assert_eq!(FlowState::from_bits(bits), expected, "{bits:#b}");
        }
    }

    #[test]
    fn names_are_the_same_for_people_and_programs() {
        for state in FlowState::ALL {
            let quoted = format!("\"{}\"", state.name());
            assert_eq!(serde_json::to_string(&state).expect("it has no map"), quoted);
            assert_eq!(FlowState::from_name(state.name()), Some(state));
        }
    }
}
