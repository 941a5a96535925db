//! A rule set as rows over the classes of its fields.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use callgate_shared::policy::{
    SERVICE_CELLS, SERVICE_ICMP, SERVICE_ICMPV6, SERVICE_PROTOCOL, SERVICE_TCP, SERVICE_UDP,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::cover::{
    DESTINATION, DSCP, FIELDS, Region, Row, Rows, SERVICE, SOURCE, SOURCE_PORT, TIME, VLAN, ZONE,
};
use super::fields::{Field, Interval, TooMany};
use crate::prefixes::{Addresses, PrefixSet};
use crate::ruleset::{Rule, RuleSet};
use crate::service::{Ports, Service};

/// The address families: parts of the address fields.
pub(super) const FAMILIES: usize = 2;

const PORTS: Interval = (1, 65_535);
const VLANS: Interval = (0, 4_095);
const DSCPS: Interval = (0, 63);
const WEEK: Interval = (0, 7 * 24 * 60 - 1);
/// The list of sources with the public unicast addresses.
pub(super) const STRANGERS: u32 = 0;
/// All addresses, by family.
const ADDRESSES: [Interval; FAMILIES] = [(0, u32::MAX as u128), (0, u128::MAX)];

/// Cells of the service table that a packet can be of: nothing goes to port 0, and what has cells of its own is in
/// none of those by protocol number.
const CELLS: [Interval; 7] = [
    cells(SERVICE_TCP + 1, SERVICE_TCP + 65_535),
    cells(SERVICE_UDP + 1, SERVICE_UDP + 65_535),
    cells(SERVICE_ICMP, SERVICE_PROTOCOL),
    cells(SERVICE_PROTOCOL + 2, SERVICE_PROTOCOL + 5),
    cells(SERVICE_PROTOCOL + 7, SERVICE_PROTOCOL + 16),
    cells(SERVICE_PROTOCOL + 18, SERVICE_PROTOCOL + 57),
    cells(SERVICE_PROTOCOL + 59, SERVICE_CELLS - 1),
];

impl Rows {
    /// The rows of a rule set. Besides the rules' own lists, each zone is a list of its number, the services asked
    /// about are lists 0 and up, and the public addresses are the list of sources [`STRANGERS`].
    pub(super) fn of(set: &RuleSet, asked: &[Service]) -> Result<Self, TooMany> {
        let mut zones = Numbered::default();
        let mut vlans = Numbered::default();
        let mut dscps = Numbered::default();
        let mut times = Numbered::default();
        let mut sources = Numbered::default();
        let mut destinations = Numbered::default();
        let mut source_ports = Numbered::default();
        let mut services = Numbered::default();
        for zone in 0..set.zone_count() as u128 {
            zones.number(vec![(zone, zone)]);
        }
        for service in asked {
            services.number(vec![service_cells(service)]);
        }
        let public = public_addresses();
        sources.number(&public);
        let mut rows = Vec::new();
        for (rule, says) in set.rules().iter().enumerate() {
            let mut lists = [0; FIELDS];
            lists[ZONE] = zones.number(zones_of(set, says));
            lists[VLAN] = vlans.number(vlans_of(says));
            lists[DSCP] = dscps.number(dscps_of(says));
            lists[TIME] = times.number(times_of(says));
            lists[SOURCE] = sources.number(&says.from);
            lists[DESTINATION] = destinations.number(&says.to);
            for (from, cells) in services_of(says) {
                lists[SOURCE_PORT] = source_ports.number(vec![from]);
                lists[SERVICE] = services.number(cells);
                rows.push(Row { rule, lists });
            }
        }

        let plain = |domain: &[Interval], lists: &[Vec<Interval>]| {
            Field::new(&[domain], lists, |list, _| list.clone())
        };
        let addressed = |lists: &[&Addresses]| {
            Field::new(&ADDRESSES.each_ref().map(std::slice::from_ref), lists, |list, family| {
                addresses(list, family)
            })
        };
        let every_zone = [(0, set.zone_count().saturating_sub(1) as u128)];
        let fields = [
            plain(&CELLS, &services.items)?,
            addressed(&destinations.items)?,
            addressed(&sources.items)?,
            plain(&every_zone, &zones.items)?,
            plain(&[PORTS], &source_ports.items)?,
            plain(&[VLANS], &vlans.items)?,
            plain(&[DSCPS], &dscps.items)?,
            plain(&[WEEK], &times.items)?,
        ];
        Ok(Self::new(rows, fields))
    }

    /// The packets of a row that are of one address family.
    pub(super) fn region(&self, row: &Row, family: usize) -> Region<'_> {
        std::array::from_fn(|at| match at {
            SOURCE | DESTINATION => self.field(at).list_in(row.lists[at], family),
            _ => self.field(at).list(row.lists[at]),
        })
    }
}

// The order in which `Rows::of` lists the fields.
const _: () = assert!(matches!(
    [SERVICE, DESTINATION, SOURCE, ZONE, SOURCE_PORT, VLAN, DSCP, TIME],
    [0, 1, 2, 3, 4, 5, 6, 7]
));

const fn cells(first: u32, last: u32) -> Interval {
    (first as u128, last as u128)
}

fn zones_of(set: &RuleSet, rule: &Rule) -> Vec<Interval> {
    let zones = (0..set.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
    zones.filter(|zone| rule.zones.contains(*zone)).map(|zone| (zone.into(), zone.into())).collect()
}

fn vlans_of(rule: &Rule) -> Vec<Interval> {
    rule.vlans.as_ref().map_or_else(|| vec![VLANS], |ranges| union(ranges.iter().map(interval)))
}

fn dscps_of(rule: &Rule) -> Vec<Interval> {
    let Some(bits) = rule.dscps else { return vec![DSCPS] };
    (0..64).filter(|dscp| bits >> dscp & 1 == 1).map(|dscp| (dscp, dscp)).collect()
}

/// Minutes of the week, from Monday 00:00, in the time zone of the settings.
fn times_of(rule: &Rule) -> Vec<Interval> {
    let Some(schedule) = &rule.when else { return vec![WEEK] };
    union(schedule.minutes().map(|minutes| (minutes.start.into(), u128::from(minutes.end) - 1)))
}

/// What a rule's services are, by the source ports they come from.
fn services_of(rule: &Rule) -> Vec<(Interval, Vec<Interval>)> {
    let mut parts: HashMap<Interval, Vec<Interval>> = HashMap::new();
    for service in &rule.services {
        let from = match service {
            Service::Tcp(ports) | Service::Udp(ports) => within(interval(&ports.from), PORTS),
            _ => PORTS,
        };
        parts.entry(from).or_default().push(service_cells(service));
    }
    let mut parts: Vec<_> = parts.into_iter().map(|(from, cells)| (from, union(cells.into_iter()))).collect();
    parts.sort_unstable();
    parts
}

/// A service's cells of the service table.
fn service_cells(service: &Service) -> Interval {
    let range = |base: u32, first: u16, last: u16| cells(base + u32::from(first), base + u32::from(last));
    let ports = |base, Ports { to, .. }: &Ports| range(base, *to.start(), *to.end());
    let types =
        |base, types: &RangeInclusive<u8>| range(base, (*types.start()).into(), (*types.end()).into());
    match service {
        Service::Any => cells(0, SERVICE_CELLS - 1),
        Service::Tcp(to) => ports(SERVICE_TCP, to),
        Service::Udp(to) => ports(SERVICE_UDP, to),
        Service::Icmp(kinds) => types(SERVICE_ICMP, kinds),
        Service::Icmpv6(kinds) => types(SERVICE_ICMPV6, kinds),
        Service::Protocol(number) => range(SERVICE_PROTOCOL, (*number).into(), (*number).into()),
    }
}

fn interval(range: &RangeInclusive<u16>) -> Interval {
    ((*range.start()).into(), (*range.end()).into())
}

fn within((first, last): Interval, bounds: Interval) -> Interval {
    (first.max(bounds.0), last.min(bounds.1))
}

/// Unicast addresses of the Internet: IPv4 below 224.0.0.0 (RFC 1112 section 4), IPv6 within 2000::/3 (RFC 4291
/// section 2.4).
fn public_addresses() -> Addresses {
    let v4 = [(0, 1), (128, 2), (192, 3)]
        .map(|(octet, length)| Ipv4Net::new_assert([octet, 0, 0, 0].into(), length).into());
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3).into();
    Addresses::In(v4.into_iter().chain([v6]).collect())
}

/// The addresses of one family.
fn addresses(list: &Addresses, family: usize) -> Vec<Interval> {
    match list {
        Addresses::Any => vec![ADDRESSES[family]],
        Addresses::In(set) => prefixes(set, family).collect(),
        Addresses::Except(set) => {
            let mut begin = Some(0);
            let mut rest = Vec::new();
            for (first, last) in prefixes(set, family) {
                if let Some(begin) = begin.filter(|begin| *begin < first) {
                    rest.push((begin, first - 1));
                }
                begin = last.checked_add(1);
            }
            rest.extend(
                begin.filter(|begin| *begin <= ADDRESSES[family].1).map(|begin| (begin, ADDRESSES[family].1)),
            );
            rest
        }
    }
}

/// The prefixes of one family: disjoint, ascending.
fn prefixes(set: &PrefixSet, family: usize) -> impl Iterator<Item = Interval> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let own = move |prefix: &&IpNet| usize::from(prefix.addr().is_ipv6()) == family;
    set.prefixes()
        .iter()
        .filter(own)
        .map(move |prefix| (number(prefix.network()), number(prefix.broadcast())))
}

/// Disjoint intervals, ascending, of the same values.
fn union(intervals: impl Iterator<Item = Interval>) -> Vec<Interval> {
    let mut sorted: Vec<Interval> = intervals.filter(|(first, last)| first <= last).collect();
    sorted.sort_unstable();
    let mut union: Vec<Interval> = Vec::new();
    for (first, last) in sorted {
        match union.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => union.push((first, last)),
        }
    }
    union
}

/// Distinct items, numbered as they came.
struct Numbered<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, item: T) -> u32 {
        let next = self.items.len() as u32;
        let number = *self.numbers.entry(item.clone()).or_insert(next);
        if number == next {
            self.items.push(item);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_some_prefixes_are_what_lies_between_them() {
        let except = |prefixes: &[&str]| {
            let set = prefixes.iter().map(|text| text.parse::<IpNet>().expect("a prefix")).collect();
            let all_but = Addresses::Except(set);
            [0, 1].map(|family| addresses(&all_but, family))
        };
        let (v4, v6) = (u128::from(u32::MAX), u128::MAX);
        assert_eq!(except(&[]), [vec![(0, v4)], vec![(0, v6)]]);
        assert_eq!(except(&["0.0.0.0/0", "::/1"]), [vec![], vec![(1 << 127, v6)]]);
        assert_eq!(
            except(&["0.0.0.1/32", "0.0.0.4/30", "255.255.255.255/32"]),
            [vec![(0, 0), (2, 3), (8, v4 - 1)], vec![(0, v6)]]
        );
    }

    #[test]
    fn touching_and_overlapping_intervals_become_one() {
        assert_eq!(union([(7, 9), (0, 2), (3, 4), (1, 1), (6, 5)].into_iter()), [(0, 4), (7, 9)]);
    }
}
