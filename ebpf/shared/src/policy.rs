//! The compiled rules: what the user half writes into an idle slot and the judge reads from the active one.
//!
//! A packet's zone, source class, destination class and service class select one cell of a table of rule
//! numbers; the compiler has already resolved "first match wins" for that cell. Four look-ups, whatever the
//! number of rules.

use crate::limit::Limit;

/// Interfaces Callgate can be attached to at once.
pub const MAX_IFACES: usize = 64;
/// Zones a policy can have, [`ZONE_NONE`] and [`ZONE_SELF`] included.
pub const MAX_ZONES: usize = 16;
/// The zone of an interface that is in none, and of a packet whose interface is not known.
pub const ZONE_NONE: u8 = 0;
/// The zone of packets this machine itself sends.
pub const ZONE_SELF: u8 = 1;

/// `Flow::slot` and `RuleEntry::slot` of what no rule decided.
pub const NO_SLOT: u32 = 0;
/// Counter slots: rules that can be counted over the life of the pinned maps.
pub const MAX_SLOTS: u32 = 16_384;
/// Rules of one policy.
pub const MAX_RULES: u32 = 16_384;

/// Cells (class numbers, rule numbers) in one chunk of a table: the map value that is looked up.
pub const CHUNK: usize = 256;
/// A chunk of class or rule numbers.
pub type Chunk = [u16; CHUNK];

/// Index of the first TCP destination port in the service table; one cell per port.
pub const SERVICE_TCP: u32 = 0;
/// Index of the first UDP destination port.
pub const SERVICE_UDP: u32 = 65_536;
/// Index of the first ICMP type.
pub const SERVICE_ICMP: u32 = 131_072;
/// Index of the first ICMPv6 type.
pub const SERVICE_ICMPV6: u32 = SERVICE_ICMP + 256;
/// Index of the first IP protocol number (for what is none of the above).
pub const SERVICE_PROTOCOL: u32 = SERVICE_ICMPV6 + 256;
/// Cells of the service table.
pub const SERVICE_CELLS: u32 = SERVICE_PROTOCOL + 256;
/// Chunks of the service table.
pub const SERVICE_CHUNKS: u32 = SERVICE_CELLS / CHUNK as u32;
/// Most chunks of the action table: zones × source classes × destination classes × service classes / 256.
pub const ACTION_CHUNKS: u32 = 8_192;

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Drop it and say nothing.
    Drop = 0,
    /// Let it by; replies need a rule of their own.
    Pass = 1,
    /// Let it by and remember the flow, so that replies come back.
    Track = 2,
    /// Track it, and read its signalling.
    Inspect = 3,
}

/// The signalling a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Inspect {
    /// None.
    None = 0,
    /// SIP.
    Sip = 1,
    /// H.225 call signalling over TPKT.
    H225 = 2,
    /// H.245 over TPKT on a connection of its own.
    H245 = 3,
    /// H.225 RAS.
    Ras = 4,
    /// Skinny.
    Sccp = 5,
    /// MGCP.
    Mgcp = 6,
    /// TFTP.
    Tftp = 7,
}

impl Inspect {
    /// Every protocol that is read.
    pub const ALL: [Self; 7] =
        [Self::Sip, Self::H225, Self::H245, Self::Ras, Self::Sccp, Self::Mgcp, Self::Tftp];

    /// The protocol with this value; anything else is [`Self::None`].
    pub fn from_u8(value: u8) -> Self {
        Self::ALL.into_iter().find(|protocol| *protocol as u8 == value).unwrap_or(Self::None)
    }

    /// The name used in rules files and shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sip => "sip",
            Self::H225 => "h225",
            Self::H245 => "h245",
            Self::Ras => "ras",
            Self::Sccp => "sccp",
            Self::Mgcp => "mgcp",
            Self::Tftp => "tftp",
        }
    }
}

/// Bits of [`RuleEntry::flags`].
pub mod rule_flags {
    /// Sample its packets to the event ring.
    pub const LOG: u8 = 1;
    /// Its drops are counted as [`crate::Reason::Spoofed`].
    pub const SPOOFED: u8 = 2;
}

/// One rule as the kernel sees it. Entry `n` of the rules table is rule number `n`; number 0 means that no
/// rule matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleEntry {
    /// Its limit.
    pub limit: Limit,
    /// Where it is counted: stable for a rule of the same name over reloads.
    pub slot: u32,
    /// [`Action`].
    pub action: u8,
    /// [`Inspect`].
    pub inspect: u8,
    /// [`rule_flags`] bits.
    pub flags: u8,
    /// Zero.
    pub pad: u8,
}

/// Bits of [`Policy::flags`].
pub mod policy_flags {
    /// Signalling is cloned to the tap instead of held (`mode = "observe"`).
    pub const OBSERVE: u8 = 1;
    /// Signalling is dropped while the daemon is away (`on_alg_down = "drop"`).
    pub const DROP_ON_ALG_DOWN: u8 = 2;
}

/// Seconds after which a silent flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_opening: u32,
    /// TCP, established.
    pub tcp_established: u32,
    /// TCP after FIN or RST.
    pub tcp_closing: u32,
    /// UDP with packets in one direction only.
    pub udp_opening: u32,
    /// UDP with packets in both directions.
    pub udp: u32,
    /// UDP and TCP flows whose signalling is read, at least.
    pub signalling: u32,
    /// ICMP echo.
    pub icmp: u32,
    /// Any other protocol.
    pub other: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: 30,
            tcp_established: 7_200,
            tcp_closing: 10,
            udp_opening: 30,
            udp: 180,
            signalling: 3_600,
            icmp: 10,
            other: 60,
        }
    }
}

/// What every packet needs of a policy, in one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// Changes with every reload, never 0.
    pub generation: u32,
    /// Source classes.
    pub sources: u32,
    /// Destination classes.
    pub destinations: u32,
    /// Service classes.
    pub services: u32,
    /// Least media port.
    pub media_first: u16,
    /// Greatest media port.
    pub media_last: u16,
    /// [`policy_flags`] bits.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Silence after which flows are forgotten.
    pub timeouts: Timeouts,
    /// [`Action`] of packets no rule matched, by zone.
    pub defaults: [u8; MAX_ZONES],
    /// Zone by interface slot.
    pub zones: [u8; MAX_IFACES],
}

impl Policy {
    /// The cell of the action table for these classes. Class numbers count from 0; source and destination
    /// class 0 is the class of addresses no prefix covers.
    #[inline(always)]
    pub fn cell(&self, zone: u8, source: u16, destination: u16, service: u16) -> u32 {
        let row = zone as u32 * self.sources + source as u32;
        (row * self.destinations + destination as u32) * self.services + service as u32
    }
}

const _: () = assert!(size_of::<RuleEntry>() == 32);
const _: () = assert!(size_of::<Policy>() == 136);
const _: () = assert!((SERVICE_CELLS as usize).is_multiple_of(CHUNK));
