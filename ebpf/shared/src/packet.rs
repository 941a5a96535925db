//! Frame → [`Packet`]: the one parser of both halves.
//!
//! ```text
//!  Ethernet ─► ≤ 2 VLAN tags ─┬► ARP, link-local protocols ─► Kind::Link
//!                             ├► IPv4 (options skipped) ─────┐
//!                             └► IPv6 ─► ≤ 6 extension headers┴► TCP │ UDP │ ICMP │ ICMPv6 │ other
//! ```
//!
//! Generic over [`Bytes`], so that the verifier sees bounds-checked packet pointers and the host sees slices.
//! It never reads beyond the frame, never loops more than seven times, and names every refusal.

pub mod options;
pub mod rtp;

use core::hint::black_box;

use crate::flow::{ICMP, ICMPV6, TCP, UDP};
use crate::{Addr, Reason};
use options::{Found, Options, Wanted};

/// A frame that can be looked into.
pub trait Bytes {
    /// A window on it.
    type View: View;

    /// Length in bytes.
    fn len(&self) -> usize;

    /// `size` bytes from `at`; `None` where the frame ends before.
    fn view(&self, at: usize, size: usize) -> Option<Self::View>;

    /// [`options::scan`] of the `length` bytes (4 to 40) of options at `at`.
    fn scan_options(&self, at: usize, length: usize, wanted: Wanted) -> Found {
        let mut options = Options::default();
        for i in 0..options::MOST.min(length) {
            let Some(byte) = self.view(at + i, 1) else { return Found::Malformed };
            options.bytes[i] = byte.u8(0);
        }
        options::scan(&mut options, length, wanted)
    }

    /// [`rtp::rtcp`] of the `length` bytes at `at`.
    fn rtcp_faults(&self, at: usize, length: usize) -> u8
    where
        Self: Sized,
    {
        rtp::rtcp(self, at, length)
    }

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A window whose size has been checked; `i` must lie inside it.
pub trait View {
    /// The byte at `i`.
    fn u8(&self, i: usize) -> u8;
    /// The 16-bit big-endian integer at `i`.
    fn be16(&self, i: usize) -> u16;
    /// Four bytes at `i` as they lie in memory.
    fn word(&self, i: usize) -> u32;
}

impl Bytes for &[u8] {
    type View = Self;

    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn view(&self, at: usize, size: usize) -> Option<Self> {
        self.get(at..)?.get(..size)
    }
}

impl View for &[u8] {
    fn u8(&self, i: usize) -> u8 {
        self[i]
    }

    fn be16(&self, i: usize) -> u16 {
        u16::from_be_bytes([self[i], self[i + 1]])
    }

    fn word(&self, i: usize) -> u32 {
        u32::from_ne_bytes([self[i], self[i + 1], self[i + 2], self[i + 3]])
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// ARP, or a link-layer protocol that never leaves the link (LLDP, STP, LACP, EAPOL, CDP).
    #[default]
    Link,
    /// IPv4 or IPv6.
    Ip,
}

/// Which protocol of the link a frame is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkProtocol {
    /// ARP.
    #[default]
    Arp,
    /// Cisco Discovery Protocol, and what shares its address: VTP, DTP, UDLD.
    Cdp,
    /// Link Layer Discovery Protocol (IEEE 802.1AB).
    Lldp,
    /// Another one that never leaves the link: STP, LACP, EAPOL.
    Other,
}

/// The packet an ICMP error speaks of, as its sender had sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quoted {
    /// Its source.
    pub source: Addr,
    /// Its destination.
    pub destination: Addr,
    /// Source port, host order; the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination port, host order; the identifier of an ICMP echo.
    pub destination_port: u16,
    /// IP protocol number; 0 where the packet is no error. An error that quotes nothing to be read quotes
    /// protocol 255 from and to nowhere.
    pub protocol: u8,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    #[default]
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// Any later fragment: it has none.
    Later,
}

/// What the judge needs of a packet. Fields after `kind` are meaningful for [`Kind::Ip`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(8))]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Which fragment it is.
    pub fragment: Fragment,
    /// IP protocol number, after extension headers.
    pub protocol: u8,
    /// Flag bits of a TCP segment (header byte 13).
    pub tcp_flags: u8,
    /// Type of an ICMP or ICMPv6 message.
    pub icmp_type: u8,
    /// Code of an ICMP or ICMPv6 message.
    pub icmp_code: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN bits.
    pub traffic_class: u8,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port, host order; the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination port, host order; the identifier of an ICMP echo.
    pub destination_port: u16,
    /// VLAN id of the outer tag, 0 where untagged.
    pub vlan: u16,
    /// Length of the whole IP packet in bytes.
    pub length: u32,
    /// Identification of a fragmented datagram, as it lies in the packet.
    pub identification: u32,
    /// Where the IP header begins in the frame.
    pub network_at: u16,
    /// Where the transport header (or the fragment's data) begins in the frame.
    pub transport_at: u16,
    /// Where the transport's payload begins in the frame.
    pub payload_at: u16,
    /// Length of the transport's payload.
    pub payload_length: u16,
    /// UDP: first byte of a payload of at least 8 bytes; 0 where there is none.
    pub payload_head: u8,
    /// UDP: what is wrong with a payload of RTP's version ([`rtp::faults`]); of a fragment nothing is said.
    pub rtp_faults: u8,
    /// UDP: the first twelve bytes of the payload, as they lie in the packet; 0 where it ends before.
    pub payload_start: [u32; 3],
    /// Which link protocol a [`Kind::Link`] is of.
    pub link: LinkProtocol,
    /// TCP: shift of the window scale option of a SYN (RFC 7323 section 2.2); [`NO_SCALE`] where there is none.
    pub window_scale: u8,
    /// TCP: window, as it stands in the header.
    pub window: u16,
    /// TCP: sequence number.
    pub sequence: u32,
    /// TCP: acknowledgment number.
    pub acknowledgment: u32,
    /// Where a later fragment's data belong in the datagram's payload, in bytes.
    pub fragment_offset: u16,
    /// Bytes of the datagram's payload that a fragment holds.
    pub fragment_length: u16,
    /// What an ICMP error speaks of.
    pub quoted: Quoted,
}

impl Packet {
    /// Makes it one of which nothing is known: field by field, because clearing what every IP packet overwrites costs
    /// as much as reading a header. Addresses are left, to be cleared by [`Packet::forget_addresses`] where none
    /// were read; what an ICMP error quotes counts only where it has a protocol.
    #[inline(always)]
    fn forget(&mut self) {
        self.kind = Kind::Link;
        self.fragment = Fragment::Whole;
        self.protocol = 0;
        self.tcp_flags = 0;
        self.icmp_type = 0;
        self.icmp_code = 0;
        self.hop_limit = 0;
        self.traffic_class = 0;
        self.link = LinkProtocol::Arp;
        self.window_scale = 0;
        self.payload_head = 0;
        self.rtp_faults = 0;
        self.payload_start = [0; 3];
        self.quoted.protocol = 0;
        self.source_port = 0;
        self.destination_port = 0;
        self.vlan = 0;
        self.network_at = 0;
        self.transport_at = 0;
        self.payload_at = 0;
        self.payload_length = 0;
        self.window = 0;
        self.fragment_offset = 0;
        self.fragment_length = 0;
        self.length = 0;
        self.identification = 0;
        self.sequence = 0;
        self.acknowledgment = 0;
    }

    /// Clears the addresses.
    #[inline(always)]
    pub fn forget_addresses(&mut self) {
        self.source = Addr::UNSPECIFIED;
        self.destination = Addr::UNSPECIFIED;
    }

    /// Whether a UDP payload has the version of RTP and RTCP, and the length of the shorter one's header
    /// (RFC 3550 sections 5.1 and 6.4.2).
    #[inline(always)]
    pub fn is_rtp_shaped(&self) -> bool {
        self.payload_head >> 6 == 2
    }

    /// The second byte of a UDP payload: payload type and marker of RTP, packet type of RTCP.
    #[inline(always)]
    pub fn second_byte(&self) -> u8 {
        (u32::from_be(self.payload_start[0]) >> 16) as u8
    }
}

/// [`Packet::window_scale`] of a segment without that option.
pub const NO_SCALE: u8 = 255;

/// TCP flag bits.
pub mod tcp {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
}

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const MAX_VLAN_TAGS: usize = 2;
const MAX_EXTENSIONS: usize = 6;
/// Extension headers a stack puts into what it sends: options, routing, authentication or a fragment header.
const MAX_QUOTED_EXTENSIONS: usize = 3;

mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const QINQ: u16 = 0x88a8;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const LLDP: u16 = 0x88cc;
}

/// Reads an Ethernet frame.
///
/// # Errors
/// The reason under which the frame is to be dropped.
#[inline(always)]
pub fn parse<B: Bytes>(frame: &B) -> Result<Packet, Reason> {
    let mut packet = Packet::default();
    parse_into(frame, &mut packet)?;
    Ok(packet)
}

/// [`parse`], into a place the caller has. What another packet has left there is overwritten, but for the addresses
/// where the frame has none, and for what is quoted where nothing is ([`Packet::quoted`] then has protocol 0).
///
/// # Errors
/// As [`parse`]; the packet is then of no use.
#[inline(always)]
pub fn parse_into<B: Bytes>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    packet.forget();
    let ethernet = frame.view(0, ETHERNET).ok_or(Reason::Truncated)?;
    let link = link_local(&ethernet);
    let (mut ether_type, mut at) = (ethernet.be16(12), ETHERNET);
    for depth in 0..=MAX_VLAN_TAGS {
        if ether_type != ether_type::VLAN && ether_type != ether_type::QINQ {
            break;
        }
        if depth == MAX_VLAN_TAGS {
            return Err(Reason::VlanDepth);
        }
        let tag = frame.view(at, VLAN_TAG).ok_or(Reason::Truncated)?;
        if depth == 0 {
            packet.vlan = tag.be16(0) & 0x0fff;
        }
        ether_type = tag.be16(2);
        at += VLAN_TAG;
    }
    packet.network_at = at as u16;
    let packet = black_box(packet);
    match ether_type {
        ether_type::IPV4 => ipv4(frame, packet)?,
        ether_type::IPV6 => ipv6(frame, packet)?,
        ether_type::ARP => return Ok(()),
        // IP never comes this way: a stack delivers it, whatever station it was sent to.
        ether_type::LLDP if link.is_some() => {
            packet.link = LinkProtocol::Lldp;
            return Ok(());
        }
        _ => {
            packet.link = link.ok_or(Reason::EtherType)?;
            return Ok(());
        }
    }
    transport(frame, black_box(packet))
}

/// Frames to 01:80:c2:00:00:0x (IEEE 802.1Q table 8-1: never forwarded) and Cisco's 01:00:0c:cc:cc:cc/cd.
#[inline(always)]
fn link_local<V: View>(ethernet: &V) -> Option<LinkProtocol> {
    let (high, low) = (ethernet.word(0), ethernet.be16(4));
    if high == u32::from_ne_bytes([0x01, 0x80, 0xc2, 0x00]) && low & 0xfff0 == 0 {
        return Some(LinkProtocol::Other);
    }
    if high != u32::from_ne_bytes([0x01, 0x00, 0x0c, 0xcc]) {
        return None;
    }
    match low {
        0xcccc => Some(LinkProtocol::Cdp),
        0xcccd => Some(LinkProtocol::Other),
        _ => None,
    }
}

/// Offsets below this are those of a header; the mask bounds them for the verifier once more.
const HEADERS: u16 = 0x3fff;

/// The IPv4 header (RFC 791 section 3.1). Leaves where the transport header begins, and how much of the packet is
/// left, in `transport_at` and `fragment_length`: each part of the parser takes up from the packet what the one
/// before has found, so that the verifier follows it once, not once per way through the part before.
///
/// ```text
///  0        4        8                 16
///  | ver ihl |  tos   |  total length   |
///  |  identification  |flg| frag offset |
///  |   ttl   | proto  |    checksum     |
///  |              source                |
///  |           destination              |
/// ```
#[inline(always)]
fn ipv4<B: Bytes>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    let at = (packet.network_at & HEADERS) as usize;
    let header = frame.view(at, 20).ok_or(Reason::Truncated)?;
    let header_length = usize::from(header.u8(0) & 0x0f) * 4;
    let total = usize::from(header.be16(2));
    if header.u8(0) >> 4 != 4 || header_length < 20 || total < header_length {
        return Err(Reason::BadIpv4);
    }
    if at + total > frame.len() {
        return Err(Reason::Truncated);
    }
    let fragment_field = header.be16(6);
    let fragment = match (fragment_field & 0x1fff, fragment_field & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    if header_length > 20 {
        match frame.scan_options(at + 20, header_length - 20, Wanted::SourceRoute) {
            Found::Nothing => {}
            Found::Value(_) => return Err(Reason::SourceRoute),
            Found::Malformed => return Err(Reason::BadOptions),
        }
    }
    packet.kind = Kind::Ip;
    packet.fragment = fragment;
    packet.fragment_offset = (fragment_field & 0x1fff) << 3;
    packet.protocol = header.u8(9);
    packet.hop_limit = header.u8(8);
    packet.traffic_class = header.u8(1);
    packet.source = Addr::from_v4_word(header.word(12));
    packet.destination = Addr::from_v4_word(header.word(16));
    packet.length = total as u32;
    packet.identification = u32::from(header.be16(4));
    packet.transport_at = (at + header_length) as u16;
    packet.fragment_length = (total - header_length) as u16;
    Ok(())
}

/// The IPv6 header (RFC 8200 section 3) and its extension headers (section 4), likewise.
#[inline(always)]
fn ipv6<B: Bytes>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    let at = (packet.network_at & HEADERS) as usize;
    let header = frame.view(at, 40).ok_or(Reason::Truncated)?;
    if header.u8(0) >> 4 != 6 {
        return Err(Reason::BadIpv6);
    }
    let payload = usize::from(header.be16(4));
    let end = at + 40 + payload;
    if end > frame.len() {
        return Err(Reason::Truncated);
    }
    let source = Addr([header.word(8), header.word(12), header.word(16), header.word(20)]);
    let destination = Addr([header.word(24), header.word(28), header.word(32), header.word(36)]);
    if source.is_v4() || destination.is_v4() {
        return Err(Reason::MappedAddress);
    }
    packet.kind = Kind::Ip;
    packet.hop_limit = header.u8(7);
    packet.traffic_class = (header.be16(0) >> 4) as u8;
    packet.source = source;
    packet.destination = destination;
    packet.length = 40 + payload as u32;
    let mut next = header.u8(6);
    let mut offset = at + 40;
    for count in 0..=MAX_EXTENSIONS {
        if !matches!(next, 0 | 43 | 44 | 51 | 60) || packet.fragment == Fragment::Later {
            break;
        }
        if count == MAX_EXTENSIONS {
            return Err(Reason::Ipv6Extensions);
        }
        let extension = frame.view(offset, 8).ok_or(Reason::Truncated)?;
        let length = match next {
            // Fragment: always 8 bytes, its second byte is reserved and no length (RFC 8200 section 4.5).
            44 => {
                packet.identification = extension.word(4);
                packet.fragment_offset = extension.be16(2) & 0xfff8;
                packet.fragment = match (extension.be16(2) & 0xfff8, extension.be16(2) & 1) {
                    // An "atomic" fragment is a whole datagram (RFC 6946).
                    (0, 0) => packet.fragment,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            // Routing type 0 is source routing (RFC 5095).
            43 if extension.u8(2) == 0 => return Err(Reason::SourceRoute),
            // Authentication header: in 4-byte units, minus 2 (RFC 4302 section 2.2).
            51 => (usize::from(extension.u8(1)) + 2) * 4,
            _ => (usize::from(extension.u8(1)) + 1) * 8,
        };
        next = extension.u8(0);
        offset += length;
        if offset > end {
            return Err(Reason::Ipv6Extensions);
        }
    }
    packet.protocol = next;
    if offset > HEADERS as usize {
        return Err(Reason::Ipv6Extensions);
    }
    packet.transport_at = offset as u16;
    packet.fragment_length = end.saturating_sub(offset) as u16;
    Ok(())
}

/// The transport header.
#[inline(always)]
fn transport<B: Bytes>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    let at = (packet.transport_at & HEADERS) as usize;
    let length = packet.fragment_length as usize;
    packet.payload_at = at as u16;
    packet.payload_length = length as u16;
    if packet.fragment == Fragment::Later {
        return Ok(());
    }
    let least = match packet.protocol {
        TCP => 20,
        UDP | ICMP | ICMPV6 => 8,
        _ => return Ok(()),
    };
    if length < least {
        return Err(match packet.fragment {
            Fragment::Whole => Reason::Truncated,
            _ => Reason::TinyFragment,
        });
    }
    let header = frame.view(at, 8).ok_or(Reason::Truncated)?;
    let header_length = match packet.protocol {
        TCP => {
            let rest = frame.view(at + 8, 12).ok_or(Reason::Truncated)?;
            let header_length = usize::from(rest.u8(4) >> 4) * 4;
            if header_length < 20 || header_length > length {
                return Err(Reason::BadTcp);
            }
            packet.tcp_flags = rest.u8(5);
            packet.window = rest.be16(6);
            packet.sequence = u32::from_be(header.word(4));
            packet.acknowledgment = u32::from_be(rest.word(0));
            packet.window_scale = NO_SCALE;
            if packet.tcp_flags & tcp::SYN != 0 && header_length > 20 {
                match frame.scan_options(at + 20, header_length - 20, Wanted::WindowScale) {
                    Found::Nothing => {}
                    Found::Value(scale) => packet.window_scale = scale,
                    Found::Malformed => return Err(Reason::BadOptions),
                }
            }
            header_length
        }
        UDP => {
            let claimed = usize::from(header.be16(4));
            if claimed < 8 || (claimed > length && packet.fragment == Fragment::Whole) {
                return Err(Reason::BadUdp);
            }
            if packet.fragment == Fragment::Whole {
                packet.payload_length = claimed as u16;
            }
            look_into(frame, at + 8, claimed - 8, packet);
            8
        }
        _ => {
            packet.icmp_type = header.u8(0);
            packet.icmp_code = header.u8(1);
            if is_echo(packet.protocol, packet.icmp_type) {
                packet.source_port = header.be16(4);
                packet.destination_port = header.be16(4);
            } else if is_error(packet.protocol, packet.icmp_type) {
                quote(frame, at + 8, packet);
            }
            packet.payload_at = (at + 8) as u16;
            packet.payload_length -= 8;
            return Ok(());
        }
    };
    packet.source_port = header.be16(0);
    packet.destination_port = header.be16(2);
    packet.payload_at = (at + header_length) as u16;
    packet.payload_length -= header_length as u16;
    Ok(())
}

/// Notes how a UDP payload of `length` bytes at `at` begins, and whether it fits together where it may be RTP or RTCP.
#[inline(always)]
fn look_into<B: Bytes>(frame: &B, at: usize, length: usize, packet: &mut Packet) {
    if length < 12 {
        // RTCP's shortest packets, or a fax's.
        if length >= 4
            && let Some(payload) = frame.view(at, 4)
        {
            packet.payload_start[0] = payload.word(0);
        }
        if length >= 8
            && let Some(payload) = frame.view(at, 8)
        {
            packet.payload_head = payload.u8(0);
            packet.payload_start[1] = payload.word(4);
        }
    } else if let Some(payload) = frame.view(at, 12) {
        packet.payload_head = payload.u8(0);
        packet.payload_start = [payload.word(0), payload.word(4), payload.word(8)];
    }
    if packet.payload_head >> 6 != 2 || packet.fragment != Fragment::Whole {
        return;
    }
    if rtp::is_rtcp(packet.second_byte()) {
        packet.rtp_faults = frame.rtcp_faults(at, length);
    } else if packet.payload_head & 0x3f != 0 && length >= 12 {
        packet.rtp_faults = rtp::rtp(frame, at, length, packet.payload_head);
    }
}

/// The packet quoted by an ICMP error (RFC 792, RFC 4443 section 3). What cannot be read is left as what belongs to
/// nobody: protocol 255, from and to nowhere.
#[inline(always)]
fn quote<B: Bytes>(frame: &B, at: usize, packet: &mut Packet) {
    packet.quoted = Quoted { protocol: 255, ..Quoted::default() };
    let (at, quoted) = if packet.source.is_v4() {
        let Some(header) = frame.view(at, 20) else { return };
        let header_length = usize::from(header.u8(0) & 0x0f) * 4;
        if header.u8(0) >> 4 != 4 || header_length < 20 || header.be16(6) & 0x1fff != 0 {
            return;
        }
        let quoted = Quoted {
            source: Addr::from_v4_word(header.word(12)),
            destination: Addr::from_v4_word(header.word(16)),
            protocol: header.u8(9),
            ..Quoted::default()
        };
        (at + header_length, quoted)
    } else {
        let Some(header) = frame.view(at, 40) else { return };
        if header.u8(0) >> 4 != 6 {
            return;
        }
        let quoted = Quoted {
            source: Addr([header.word(8), header.word(12), header.word(16), header.word(20)]),
            destination: Addr([header.word(24), header.word(28), header.word(32), header.word(36)]),
            protocol: header.u8(6),
            ..Quoted::default()
        };
        let Some((at, protocol)) = after_quoted_extensions(frame, at + 40, quoted.protocol) else { return };
        (at, Quoted { protocol, ..quoted })
    };
    let Some(ports) = frame.view(at, 8) else { return };
    let (source_port, destination_port) = match quoted.protocol {
        TCP | UDP => (ports.be16(0), ports.be16(2)),
        ICMP | ICMPV6 if is_echo(quoted.protocol, ports.u8(0)) => (ports.be16(4), ports.be16(4)),
        _ => return,
    };
    packet.quoted = Quoted { source_port, destination_port, ..quoted };
}

/// Where the transport header of a quoted IPv6 packet begins, and of which protocol it is; `None` for a later
/// fragment, for more than [`MAX_QUOTED_EXTENSIONS`], and where the quotation ends before.
#[inline(always)]
fn after_quoted_extensions<B: Bytes>(frame: &B, at: usize, protocol: u8) -> Option<(usize, u8)> {
    let (mut at, mut next) = (at, protocol);
    for count in 0..=MAX_QUOTED_EXTENSIONS {
        if !matches!(next, 0 | 43 | 44 | 51 | 60) {
            break;
        }
        if count == MAX_QUOTED_EXTENSIONS {
            return None;
        }
        let extension = frame.view(at, 8)?;
        let length = match next {
            44 if extension.be16(2) & 0xfff8 != 0 => return None,
            44 => 8,
            51 => (usize::from(extension.u8(1)) + 2) * 4,
            _ => (usize::from(extension.u8(1)) + 1) * 8,
        };
        next = extension.u8(0);
        at += length;
    }
    Some((at, next))
}

/// Whether an ICMP or ICMPv6 type is an error that quotes a packet: unreachable, source quench, time exceeded,
/// parameter problem; ICMPv6 packet too big.
#[inline(always)]
pub fn is_error(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        ICMP => matches!(icmp_type, 3 | 4 | 11 | 12),
        _ => matches!(icmp_type, 1..=4),
    }
}

/// Whether an ICMP or ICMPv6 type is an echo request or reply.
#[inline(always)]
pub fn is_echo(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        ICMP => icmp_type == 8 || icmp_type == 0,
        _ => icmp_type == 128 || icmp_type == 129,
    }
}

/// Whether an ICMP or ICMPv6 type is an echo request.
#[inline(always)]
pub fn is_echo_request(protocol: u8, icmp_type: u8) -> bool {
    match protocol {
        ICMP => icmp_type == 8,
        _ => icmp_type == 128,
    }
}

#[cfg(test)]
mod tests;
