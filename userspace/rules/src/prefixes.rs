//! Sets of addresses: groups, and what `from`, `to` and `media` say.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};

/// A set of IPv4 and IPv6 addresses as disjoint prefixes in ascending order; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrefixSet(Arc<[IpNet]>);

impl FromIterator<IpNet> for PrefixSet {
    /// The union: nested, equal and adjoining prefixes become one.
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut disjoint = IpNet::aggregate(&prefixes.into_iter().map(|prefix| prefix.trunc()).collect());
        disjoint.sort_unstable();
        Self(disjoint.into())
    }
}

impl PrefixSet {
    /// Whether the address is in it; an IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let after = self.0.partition_point(|prefix| prefix.network() <= ip);
        self.0[..after].last().is_some_and(|prefix| prefix.contains(&ip))
    }

    /// The prefixes, disjoint and ascending, IPv4 before IPv6.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.0
    }
}

/// What `from` and `to` say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Every address.
    #[default]
    Any,
    /// These.
    In(PrefixSet),
}

impl Addresses {
    /// Whether the address is meant.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::In(set) => set.contains(ip),
        }
    }

    /// The prefixes that are named: none for [`Self::Any`].
    pub fn prefixes(&self) -> &[IpNet] {
        match self {
            Self::Any => &[],
            Self::In(set) => set.prefixes(),
        }
    }
}

/// Why a word is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixError {
    /// It does not look like one: it may be a name.
    Name,
    /// It looks like one.
    Malformed,
    /// An IPv4-mapped IPv6 address: never seen on the wire.
    Mapped,
    /// The prefix has bits set behind its length; without them it is this one.
    HostBits(IpNet),
}

/// Reads an address or a prefix.
pub(crate) fn prefix(word: &str) -> Result<IpNet, PrefixError> {
    let prefix = match (word.parse::<IpAddr>(), word.parse::<IpNet>()) {
        (Ok(address), _) => IpNet::from(address),
        (_, Ok(prefix)) => prefix,
        _ if looks_numeric(word) => return Err(PrefixError::Malformed),
        _ => return Err(PrefixError::Name),
    };
    if let IpNet::V6(v6) = prefix
        && mapped().contains(&v6)
    {
        return Err(PrefixError::Mapped);
    }
    if prefix.trunc() != prefix {
        return Err(PrefixError::HostBits(prefix.trunc()));
    }
    Ok(prefix)
}

/// An address where it is one, otherwise a prefix.
pub(crate) fn display(prefix: &IpNet) -> impl fmt::Display {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

fn looks_numeric(word: &str) -> bool {
    word.contains([':', '.', '/']) && word.chars().all(|c| c.is_ascii_hexdigit() || ":./".contains(c))
}

/// `::ffff:0:0/96` (RFC 4291 section 2.5.5.2).
fn mapped() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn reads_addresses_and_prefixes() {
        assert_eq!(prefix("10.1.1.10"), Ok(net("10.1.1.10/32")));
        assert_eq!(prefix("2001:db8::/32"), Ok(net("2001:db8::/32")));
        assert_eq!(prefix("10.1.1.10/24"), Err(PrefixError::HostBits(net("10.1.1.0/24"))));
        assert_eq!(prefix("::ffff:10.1.1.1"), Err(PrefixError::Mapped));
        assert_eq!(prefix("::/0"), Ok(net("::/0")));
        assert_eq!(prefix("10.1.1.300"), Err(PrefixError::Malformed));
        assert_eq!(prefix("10.0.0.0/33"), Err(PrefixError::Malformed));
        assert_eq!(prefix("phones"), Err(PrefixError::Name));
    }

    #[test]
    fn nested_and_adjoining_prefixes_become_one() {
        let set: PrefixSet =
            ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7/32", "::/0"].into_iter().map(net).collect();
        assert_eq!(set.prefixes(), [net("10.0.0.0/24"), net("::/0")]);
        assert!(set.contains("::ffff:10.0.0.9".parse().expect("an address")));
        assert!(!set.contains("10.0.1.0".parse().expect("an address")));
    }

    proptest! {
        #[test]
        fn membership_is_that_of_any_prefix(
            nets in prop::collection::vec((0u32..64, 24u8..=32), 0..12),
            host in 0u32..64,
        ) {
            let spread = |n: u32| IpAddr::from((0x0a00_0000 + n * 5).to_be_bytes());
            let nets: Vec<IpNet> =
                nets.iter().map(|(n, len)| IpNet::new(spread(*n), *len).expect("a length")).collect();
            let set: PrefixSet = nets.iter().copied().collect();
            let ip = spread(host);
            prop_assert_eq!(set.contains(ip), nets.iter().any(|net| net.contains(&ip)));
        }
    }
}
