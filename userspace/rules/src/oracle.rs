//! The naive matcher: one rule after the other, the first match wins.
//!
//! This is what a rules file means. It is slow and obviously right, and shares nothing with the compiler but
//! the [`RuleSet`]: the compiled tables are tested against it.

use std::net::IpAddr;

use callgate_shared::flow::{ICMP, ICMPV6, TCP, UDP};
use callgate_shared::packet::Packet;
use callgate_shared::policy::Inspect;

use crate::ruleset::{Rule, RuleAction, RuleSet};
use crate::service::Service;

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its place in [`RuleSet::rules`].
    pub rule: usize,
    /// What is read in the packet's flow.
    pub inspect: Inspect,
}

/// The first rule that matches a packet from `zone`; `None` where none does and the zone's default decides.
pub fn first_match(set: &RuleSet, zone: u8, packet: &Packet) -> Option<Match> {
    let rule = set.rules().iter().position(|rule| matches(rule, zone, packet))?;
    let inspect = match set.rules()[rule].action {
        RuleAction::Inspect(protocol) => protocol.over(packet.protocol).unwrap_or(Inspect::None),
        _ => Inspect::None,
    };
    Some(Match { rule, inspect })
}

/// Whether a rule is about a packet from `zone`.
pub fn matches(rule: &Rule, zone: u8, packet: &Packet) -> bool {
    rule.zones.contains(zone)
        && rule.from.contains(IpAddr::from(packet.source))
        && rule.to.contains(IpAddr::from(packet.destination))
        && rule.services.iter().any(|service| carries(service, packet))
}

/// Whether a packet is of a service.
pub fn carries(service: &Service, packet: &Packet) -> bool {
    match service {
        Service::Any => true,
        Service::Tcp(ports) => packet.protocol == TCP && ports.contains(&packet.destination_port),
        Service::Udp(ports) => packet.protocol == UDP && ports.contains(&packet.destination_port),
        Service::Icmp(types) => packet.protocol == ICMP && types.contains(&packet.icmp_type),
        Service::Icmpv6(types) => packet.protocol == ICMPV6 && types.contains(&packet.icmp_type),
        Service::Protocol(number) => packet.protocol == *number,
    }
}
