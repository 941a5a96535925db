//! The compiled rules: what the user half writes into an idle slot and the judge reads from the active one.
//!
//! A packet's zone and the classes of its fields select one cell of a table of rule numbers; the compiler has
//! already resolved "first match wins" for that cell ([`Form::Product`]). Where that table would be too large,
//! each class has a vector with a bit per rule instead, and the first bit that all of a packet's classes share is
//! its rule ([`Form::Vectors`]). Either way the cost does not grow with the number of rules.

use crate::flow::filter::Windows;
use crate::limit::{Limit, Rate};

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
/// Chunks of the source port table: a cell per TCP port, then a cell per UDP port. What has no ports is of the
/// class of cell 0, TCP port 0, which no packet carries.
pub const SOURCE_PORT_CHUNKS: u32 = 2 * 65_536 / CHUNK as u32;
/// Chunks of the table of VLAN ids and DSCPs: a cell per id, then one per DSCP.
pub const TAG_CHUNKS: u32 = (4_096 + 256) / CHUNK as u32;
/// Cell of DSCP 0 in that table.
pub const TAG_DSCP: u32 = 4_096;
/// Most chunks of the action table: the product of [`Classes`] and zones, / 256.
pub const ACTION_CHUNKS: u32 = 8_192;

/// Most chunks of an IPv4 address table. Beyond it, the addresses lie in a trie.
pub const ADDRESS_CHUNKS: u32 = 32_768;
/// In an address table: what is left of the cell is the number of the chunk of the next octet; without it, it is a
/// class. Chunk 0 is that of the first octet.
pub const ADDRESS_NEXT: u32 = 1 << 31;
/// A chunk of an IPv4 address table: by the value of one octet.
pub type AddressChunk = [u32; CHUNK];

/// Words of a rule vector.
pub const VECTOR_WORDS: usize = MAX_RULES as usize / 64;
/// A bit per rule number: bit `n % 64` of word `n / 64` for rule number `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Vector {
    /// A bit per word that is not 0: bit `w % 64` of `summary[w / 64]`.
    pub summary: [u64; VECTOR_WORDS / 64],
    /// The bits.
    pub words: [u64; VECTOR_WORDS],
}

/// How a packet's rule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// A table with a cell for each combination of classes.
    Product = 0,
    /// A vector per class.
    Vectors = 1,
}

/// A field that rules match, in the order of [`Policy::vector`] and of the factors of [`Policy::cell`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Zone.
    Zone = 0,
    /// VLAN id of the outer tag, 0 where untagged.
    Vlan = 1,
    /// DSCP (RFC 2474).
    Dscp = 2,
    /// TCP or UDP source port.
    SourcePort = 3,
    /// Source address.
    Source = 4,
    /// Destination address.
    Destination = 5,
    /// Service.
    Service = 6,
}

/// How many classes a field has: 1 where no rule tells its values apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Classes {
    /// VLAN ids.
    pub vlans: u32,
    /// DSCPs.
    pub dscps: u32,
    /// Source ports.
    pub source_ports: u32,
    /// Source addresses.
    pub sources: u32,
    /// Destination addresses.
    pub destinations: u32,
    /// Services.
    pub services: u32,
}

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
    /// Drop it and say so: TCP by a reset, anything else by ICMP "administratively prohibited".
    Reject = 4,
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
    /// A source above the limit is reported to the user half, which blocks it.
    pub const BLOCK: u8 = 4;
    /// UDP flows that it begins are to be shaped like RTP or RTCP.
    pub const RTP: u8 = 8;
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
    /// IPv4 sources lie in a trie, not in chunks.
    pub const SOURCES_IN_TRIE: u8 = 4;
    /// IPv4 destinations lie in a trie, not in chunks.
    pub const DESTINATIONS_IN_TRIE: u8 = 8;
    /// Some rule matches VLAN id, DSCP or source port.
    pub const TAGS: u8 = 16;
    /// Above the budget of new flows, strangers that open TCP connections are asked to prove their address.
    pub const CHALLENGE: u8 = 32;
    /// Some address is blocked or has been.
    pub const BLOCKS: u8 = 64;
    /// No rule names UDP to the ports of media: pinholes alone let it by.
    pub const MEDIA_BY_PINHOLE: u8 = 128;
}

/// Bits of [`ZonePolicy::sources`]: what the zone's packets may not have as their source.
pub mod source_checks {
    /// Sources that [`crate::judge::Tables::source_zones`] does not give to the zone: own addresses, bogons, and
    /// in a strict zone whatever is not of its networks.
    pub const LISTED: u8 = 1;
    /// Sources this machine has no route back to.
    pub const ROUTE_BACK: u8 = 2;
}

/// Bits of [`ZonePolicy::link`]: which link protocols are dropped.
pub mod link_drops {
    /// Cisco Discovery Protocol, and what shares its address (VTP, DTP, UDLD).
    pub const CDP: u8 = 1;
    /// Link Layer Discovery Protocol.
    pub const LLDP: u8 = 2;
}

/// What is done with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fragments {
    /// Later fragments follow the first one's verdict; overlapping ones are refused.
    #[default]
    Track = 0,
    /// All are dropped.
    Drop = 1,
    /// Later fragments pass unseen.
    Pass = 2,
}

/// What is said of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ZonePolicy {
    /// [`Action`] of packets no rule matched.
    pub default: u8,
    /// [`source_checks`] bits.
    pub sources: u8,
    /// [`Fragments`].
    pub fragments: u8,
    /// [`link_drops`] bits.
    pub link: u8,
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
    /// [`policy_flags`] bits.
    pub flags: u8,
    /// [`Form`].
    pub form: u8,
    /// Least media port.
    pub media_first: u16,
    /// Greatest media port.
    pub media_last: u16,
    /// Zero.
    pub pad: u16,
    /// Classes of each field.
    pub classes: Classes,
    /// Silence after which flows are forgotten.
    pub timeouts: Timeouts,
    /// How long a cell of the filter of flows says something.
    pub flow_windows: Windows,
    /// New flows of strangers, per CPU.
    pub new_flows: Rate,
    /// New flows of peers that are known (configured, registered, or by a handshake completed of late), per CPU.
    pub peer_flows: Rate,
    /// Connections a source may have half-open: as a rate over `timeouts.tcp_opening`, given back by those that
    /// complete their handshake.
    pub half_open_source: Rate,
    /// Connections a destination may have half-open, likewise; only those of strangers are counted.
    pub half_open_destination: Rate,
    /// Answers to rejected packets and challenges, per CPU.
    pub replies: Rate,
    /// By zone.
    pub zones: [ZonePolicy; MAX_ZONES],
    /// Zone by interface slot.
    pub interfaces: [u8; MAX_IFACES],
}

impl Policy {
    /// The cell of the action table for these classes. Class numbers count from 0; class 0 of an address is that
    /// of addresses no prefix covers.
    #[inline(always)]
    pub fn cell(&self, zone: u8, tags: Tags, source: u16, destination: u16, service: u16) -> u32 {
        let classes = &self.classes;
        let row = (zone as u32 * classes.vlans + tags.vlan as u32) * classes.dscps + tags.dscp as u32;
        let row = row * classes.source_ports + tags.source_port as u32;
        let row = row * classes.sources + source as u32;
        (row * classes.destinations + destination as u32) * classes.services + service as u32
    }

    /// The zone of an interface slot.
    #[inline(always)]
    pub fn zone_of(&self, slot: u32) -> u8 {
        self.interfaces[slot as usize % MAX_IFACES]
    }

    /// The place of a class's vector among all of them.
    #[inline(always)]
    pub fn vector(&self, field: Field, class: u16) -> u32 {
        let classes = &self.classes;
        // In the order of [`Field`].
        let before = [
            MAX_ZONES as u32,
            classes.vlans,
            classes.dscps,
            classes.source_ports,
            classes.sources,
            classes.destinations,
        ];
        let mut at = class as u32;
        let mut i = 0;
        while i < before.len() && i < field as usize {
            at += before[i];
            i += 1;
        }
        at
    }
}

/// Classes of the fields that few rules match: all 0 where [`policy_flags::TAGS`] is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Of the VLAN id.
    pub vlan: u16,
    /// Of the DSCP.
    pub dscp: u16,
    /// Of the source port.
    pub source_port: u16,
}

const _: () = assert!(size_of::<RuleEntry>() == 32);
const _: () = assert!(size_of::<Vector>() == 2_080);
const _: () = assert!(size_of::<ZonePolicy>() == 4);
const _: () = assert!(size_of::<Policy>() == 280);
const _: () = assert!((SERVICE_CELLS as usize).is_multiple_of(CHUNK));
