//! Sets of addresses.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Addresses, of both families; copies share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet(Arc<[(u128, u128)]>);

impl AddressSet {
    /// The union of prefixes.
    pub fn new(prefixes: &[IpNet]) -> Self {
        let mut ranges: Vec<(u128, u128)> = prefixes
            .iter()
            .map(|prefix| (position(prefix.network()), position(prefix.broadcast())))
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    /// Whether it has an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let at = position(address);
        let next = self.0.partition_point(|(first, _)| *first <= at);
        next.checked_sub(1).is_some_and(|place| self.0[place].1 >= at)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is a copy of the other: a quick look, which may miss equal ones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// From the first to the last of each run, ascending.
    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }
}

/// IPv4 addresses stand where IPv6 has them mapped (RFC 4291, section 2.5.5.2).
pub(crate) fn position(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_addresses_of_its_prefixes() {
        let prefixes = ["10.0.0.0/24", "10.0.1.0/24", "10.0.0.7/32", "2001:db8::/64"];
        let set = AddressSet::new(&prefixes.map(|text| text.parse().expect("a prefix")));
        assert_eq!(set.ranges().len(), 2);
        let has = |text: &str| set.contains(text.parse().expect("an address"));
        assert!(has("10.0.0.0") && has("10.0.1.255") && has("2001:db8::1") && has("::ffff:10.0.0.1"));
        assert!(!has("9.255.255.255") && !has("10.0.2.0") && !has("2001:db8:0:1::") && !has("::"));
        assert!(AddressSet::default().is_empty());
        let everybody = AddressSet::new(&["::/0".parse().expect("a prefix")]);
        assert!(everybody.contains("255.255.255.255".parse().expect("an address")));
    }
}
