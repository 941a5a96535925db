//! The naive matcher: one rule after the other, the first match wins.
//!
//! This is what a rules file means. It is slow and obviously right, and shares nothing with the compiler but
//! the [`RuleSet`] and the list of bogons: the compiled tables are tested against it.

use std::net::IpAddr;

use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};
use callgate_shared::packet::Packet;
use callgate_shared::policy::Inspect;
use jiff::Zoned;

use crate::compile::BOGONS;
use crate::ruleset::{AntiSpoof, Rule, RuleAction, RuleSet, ZoneRules};
use crate::service::Service;

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its place in [`RuleSet::rules`].
    pub rule: usize,
    /// What is read in the packet's flow.
    pub inspect: Inspect,
}

/// The first rule that matches a packet from `zone` at this time; `None` where none does and the zone's default
/// decides. The time zone of `now` is the machine's.
pub fn first_match(set: &RuleSet, now: &Zoned, zone: u8, packet: &Packet) -> Option<Match> {
    let active = set.active_at(now);
    let rule =
        set.rules().iter().zip(active).position(|(rule, active)| active && matches(rule, zone, packet))?;
    let inspect = match set.rules()[rule].action {
        RuleAction::Inspect(protocol) => protocol.over(packet.protocol).unwrap_or(Inspect::None),
        _ => Inspect::None,
    };
    Some(Match { rule, inspect })
}

/// Whether a rule is about a packet from `zone`, be it in force or not.
pub fn matches(rule: &Rule, zone: u8, packet: &Packet) -> bool {
    let dscp = packet.traffic_class >> 2;
    rule.zones.contains(zone)
        && rule.vlans.as_ref().is_none_or(|ids| ids.iter().any(|ids| ids.contains(&packet.vlan)))
        && rule.dscps.is_none_or(|dscps| dscps >> dscp & 1 != 0)
        && rule.from.contains(IpAddr::from(packet.source))
        && rule.to.contains(IpAddr::from(packet.destination))
        && rule.services.iter().any(|service| carries(service, packet))
}

/// Whether a zone lets a packet's source by, so that rules are asked at all; `own` are this machine's addresses. Routes
/// back are not looked at.
pub fn source_permitted(zone: &ZoneRules, own: &[IpAddr], source: IpAddr) -> bool {
    // Every link has such addresses, and they stay on it.
    let link_local = matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let of_zone = link_local || zone.networks.as_ref().is_some_and(|networks| networks.contains(source));
    let refused_as_own = zone.anti_spoof != AntiSpoof::Off && own.contains(&source);
    let refused_as_foreign = zone.anti_spoof == AntiSpoof::Strict && !of_zone;
    let refused_as_bogon = zone.drop_bogons && !of_zone && BOGONS.iter().any(|bogon| bogon.contains(&source));
    !refused_as_own && !refused_as_foreign && !refused_as_bogon
}

/// Whether a packet is of a service.
pub fn carries(service: &Service, packet: &Packet) -> bool {
    match service {
        Service::Any => true,
        Service::Tcp(ports) => {
            packet.protocol == TCP && ports.contains(packet.source_port, packet.destination_port)
        }
        Service::Udp(ports) => {
            packet.protocol == UDP && ports.contains(packet.source_port, packet.destination_port)
        }
        Service::Icmp(types) => packet.protocol == ICMP && types.contains(&packet.icmp_type),
        Service::Icmpv6(types) => packet.protocol == ICMPV6 && types.contains(&packet.icmp_type),
        Service::Protocol(number) => packet.protocol == *number,
    }
}
