//! Which zones may send from where: `[zone.…]` tables and this machine's own addresses as one more thing that
//! tells sources apart.

use std::net::IpAddr;

use callgate_shared::policy::{MAX_ZONES, ZonePolicy, link_drops, source_checks};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Prefix;
use super::classes::Named;
use crate::prefixes::PrefixSet;
use crate::ruleset::{AntiSpoof, RuleSet, ZoneRules, zone_number};

/// Networks that are nobody's on the Internet: the special-purpose registries of RFC 6890 without what is
/// globally reachable, and without IPv6 link-local addresses ([`LINK_LOCAL`]).
pub const BOGONS: [IpNet; 27] = [
    v4(0, 0, 0, 0, 8),             // "This network" (RFC 791)
    v4(10, 0, 0, 0, 8),            // Private use (RFC 1918)
    v4(100, 64, 0, 0, 10),         // Shared address space (RFC 6598)
    v4(127, 0, 0, 0, 8),           // Loopback (RFC 1122)
    v4(169, 254, 0, 0, 16),        // Link local (RFC 3927)
    v4(172, 16, 0, 0, 12),         // Private use (RFC 1918)
    v4(192, 0, 0, 0, 24),          // IETF protocol assignments (RFC 6890)
    v4(192, 0, 2, 0, 24),          // Documentation (RFC 5737)
    v4(192, 168, 0, 0, 16),        // Private use (RFC 1918)
    v4(198, 18, 0, 0, 15),         // Benchmarking (RFC 2544)
    v4(198, 51, 100, 0, 24),       // Documentation (RFC 5737)
    v4(203, 0, 113, 0, 24),        // Documentation (RFC 5737)
    v4(224, 0, 0, 0, 4),           // Multicast: never a source (RFC 5771)
    v4(240, 0, 0, 0, 4),           // Reserved, and limited broadcast (RFC 1112, RFC 919)
    v6([0, 0, 0, 0], 128),         // Unspecified (RFC 4291)
    v6_loopback(),                 // Loopback (RFC 4291)
    v6([0x64, 0xff9b, 1, 0], 48),  // Local-use translation (RFC 8215)
    v6([0x100, 0, 0, 0], 64),      // Discard only (RFC 6666)
    v6([0x2001, 0, 0, 0], 32),     // Teredo (RFC 4380)
    v6([0x2001, 2, 0, 0], 48),     // Benchmarking (RFC 5180)
    v6([0x2001, 0x10, 0, 0], 28),  // ORCHID, withdrawn (RFC 4843)
    v6([0x2001, 0xdb8, 0, 0], 32), // Documentation (RFC 3849)
    v6([0x2002, 0, 0, 0], 16),     // 6to4, withdrawn (RFC 7526)
    v6([0x3fff, 0, 0, 0], 20),     // Documentation (RFC 9637)
    v6([0x5f00, 0, 0, 0], 16),     // Segment routing identifiers (RFC 9602)
    v6([0xfc00, 0, 0, 0], 7),      // Unique local (RFC 4193)
    v6([0xff00, 0, 0, 0], 8),      // Multicast: never a source (RFC 4291)
];

/// Every IPv6 interface has such an address, and no router lets it by (RFC 4291 section 2.5.6): it is of the
/// networks of every zone.
const LINK_LOCAL: IpNet = v6([0xfe80, 0, 0, 0], 10);

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(words: [u16; 4], length: u8) -> IpNet {
    let [a, b, c, d] = words;
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length))
}

const fn v6_loopback() -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128))
}

/// What each zone's packets are checked for before any rule is asked.
pub(super) fn zone_policies(set: &RuleSet) -> [ZonePolicy; MAX_ZONES] {
    let mut zones =
        set.settings().defaults.map(|action| ZonePolicy { default: action as u8, ..ZonePolicy::default() });
    for (number, rules) in named_zones(set) {
        let Some(zone) = zones.get_mut(usize::from(number)) else { continue };
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        zone.sources = bit(is_listed(rules), source_checks::LISTED)
            | bit(rules.anti_spoof == AntiSpoof::Loose, source_checks::ROUTE_BACK);
        zone.fragments = rules.fragments as u8;
        zone.link = bit(rules.drop_cdp, link_drops::CDP) | bit(rules.drop_lldp, link_drops::LLDP);
    }
    zones
}

/// Whether sources of the zone are looked up in [`super::Compiled::source_zones`].
fn is_listed(rules: &ZoneRules) -> bool {
    rules.anti_spoof != AntiSpoof::Off || rules.drop_bogons
}

fn named_zones(set: &RuleSet) -> impl Iterator<Item = (u8, &ZoneRules)> {
    set.zones().iter().enumerate().filter_map(|(place, zone)| Some((zone_number(place)?, &zone.policy)))
}

/// A bit per zone: zones that refuse whatever is in `networks`, or whatever is not.
struct Refusal {
    networks: PrefixSet,
    /// Zones that refuse these sources.
    inside: u16,
    /// Zones that refuse all others.
    outside: u16,
}

/// What zones refuse.
pub(super) struct Refusals(Vec<Refusal>);

impl Refusals {
    pub(super) fn of(set: &RuleSet, own: &[IpAddr]) -> Self {
        let own: PrefixSet = own.iter().map(|address| IpNet::from(address.to_canonical())).collect();
        let mut refusals = vec![Refusal { networks: own, inside: 0, outside: 0 }];
        for (number, rules) in named_zones(set) {
            let bit = 1_u16.checked_shl(number.into()).unwrap_or(0);
            if rules.anti_spoof != AntiSpoof::Off {
                refusals[0].inside |= bit;
            }
            let networks = rules.networks.clone().unwrap_or_default();
            let networks = networks.union(&[LINK_LOCAL].into_iter().collect());
            if rules.anti_spoof == AntiSpoof::Strict {
                refusals.push(Refusal { networks: networks.clone(), inside: 0, outside: bit });
            }
            if rules.drop_bogons {
                let foreign = BOGONS.into_iter().collect::<PrefixSet>().minus(&networks);
                refusals.push(Refusal { networks: foreign, inside: bit, outside: 0 });
            }
        }
        refusals.retain(|refusal| refusal.inside | refusal.outside != 0);
        Self(refusals)
    }

    /// Prefixes that tell sources apart, beside those of the rules.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &[Prefix]> {
        self.0.iter().map(|refusal| refusal.networks.prefixes())
    }

    /// By source class, a bit per zone that may send from it. `first` is the number of the first list of
    /// [`Self::prefixes`].
    pub(super) fn permitted(&self, classes: &Named, first: usize) -> Vec<u16> {
        let permitted = |named: u64| {
            let refused = self.0.iter().enumerate().fold(0, |refused, (place, refusal)| {
                refused | if named >> place & 1 != 0 { refusal.inside } else { refusal.outside }
            });
            !refused
        };
        classes.naming(first).into_iter().map(permitted).collect()
    }
}
