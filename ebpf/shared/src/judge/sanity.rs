//! Packets no rule needs to be asked about: what keeps a network alive, and what no honest stack sends.

use crate::Reason;
use crate::flow::{ICMP, ICMPV6, TCP, UDP};
use crate::judge::tcp_bits;
use crate::packet::{Fragment, LinkProtocol, Packet};
use crate::policy::{ZONE_SELF, link_drops};

/// A frame that is not IP, in a zone that drops these link protocols.
#[inline(always)]
pub(super) fn link(protocol: LinkProtocol, drops: u8) -> Reason {
    let bit = match protocol {
        LinkProtocol::Cdp => link_drops::CDP,
        LinkProtocol::Lldp => link_drops::LLDP,
        LinkProtocol::Arp | LinkProtocol::Other => 0,
    };
    if drops & bit == 0 { Reason::PassBuiltin } else { Reason::LinkProtocol }
}

/// A host that has no address yet, asking for one: it can come from any zone (RFC 2131, RFC 4862).
#[inline(always)]
pub(super) fn may_lack_address(packet: &Packet) -> bool {
    let source = &packet.source;
    if source.is_v4() {
        source.v4_word() == 0
    } else {
        source.0[0] == 0 && source.0[3] == 0 && source.0[1] == 0 && source.0[2] == 0
    }
}

/// What no rules file may switch off, lest the network itself stops: neighbour discovery (RFC 4861, only
/// from the link: hop limit 255) and what path-MTU discovery needs (RFC 1191, RFC 8201).
#[inline(always)]
pub(super) fn is_builtin(packet: &Packet) -> bool {
    if packet.fragment != Fragment::Whole {
        return false;
    }
    match packet.protocol {
        ICMP => packet.source.is_v4() && packet.icmp_type == 3 && packet.icmp_code == 4,
        ICMPV6 if !packet.source.is_v4() => {
            packet.icmp_type == 2
                || (packet.icmp_type >= 133 && packet.icmp_type <= 136 && packet.hop_limit == 255)
        }
        _ => false,
    }
}

/// Packets no honest stack sends. A machine may speak to itself; on a link nobody does.
#[inline(always)]
pub(super) fn insane(packet: &Packet, zone: u8) -> Option<Reason> {
    if zone != ZONE_SELF {
        if packet.source == packet.destination {
            return Some(Reason::Land);
        }
        if !can_send(packet) {
            return Some(Reason::BadSource);
        }
    }
    if packet.fragment == Fragment::Later {
        return None;
    }
    if (packet.protocol == TCP || packet.protocol == UDP)
        && (packet.source_port == 0 || packet.destination_port == 0)
    {
        return Some(Reason::ZeroPort);
    }
    if packet.protocol == TCP {
        let set = packet.tcp_flags & (tcp_bits::FIN | tcp_bits::SYN | tcp_bits::RST | tcp_bits::ACK);
        let syn_with_more = set & tcp_bits::SYN != 0 && set & (tcp_bits::FIN | tcp_bits::RST) != 0;
        if set == 0 || set & (tcp_bits::FIN | tcp_bits::ACK) == tcp_bits::FIN || syn_with_more {
            return Some(Reason::TcpFlags);
        }
    }
    None
}

/// Whether the source address can be a sender's (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7).
#[inline(always)]
fn can_send(packet: &Packet) -> bool {
    let source = &packet.source;
    if source.is_v4() {
        let address = u32::from_be(source.v4_word());
        return match address >> 24 {
            // A client without an address asks for one (RFC 2131).
            0 => {
                address == 0
                    && packet.protocol == UDP
                    && packet.source_port == 68
                    && packet.destination_port == 67
            }
            127 | 224..=255 => false,
            _ => true,
        };
    }
    let first = u32::from_be(source.0[0]);
    if first >> 24 == 0xff {
        return false;
    }
    if source.0[0] == 0 && source.0[1] == 0 && source.0[2] == 0 {
        // `::` asks for its own address (RFC 4862) and joins groups (RFC 3810); `::1` never travels.
        return source.0[3] == 0 && packet.protocol == ICMPV6;
    }
    true
}
