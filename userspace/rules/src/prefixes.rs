//! Sets of addresses: groups, and what `from`, `to` and `media` say.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::{IpNet, IpSubnets, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

/// A set of IPv4 and IPv6 addresses as disjoint prefixes in ascending order; cheap to clone, to compare with a
/// clone and to hash.
#[derive(Clone, Debug, Default)]
pub struct PrefixSet(Arc<Sorted>);

#[derive(Debug, Default)]
struct Sorted {
    prefixes: Box<[IpNet]>,
    /// Of the prefixes: equal sets have equal ones.
    fingerprint: u64,
}

impl PartialEq for PrefixSet {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Arc::ptr_eq(a, b) || (a.fingerprint == b.fingerprint && a.prefixes == b.prefixes)
    }
}

impl Eq for PrefixSet {}

impl Hash for PrefixSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.fingerprint);
    }
}

impl FromIterator<IpNet> for PrefixSet {
    /// The union: nested, equal and adjoining prefixes become one.
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut sorted: Vec<IpNet> = prefixes.into_iter().map(|prefix| prefix.trunc()).collect();
        // A prefix stands before those inside it. Lists come in runs that are sorted already.
        sorted.sort();
        let mut disjoint: Vec<IpNet> = Vec::with_capacity(sorted.len());
        for prefix in sorted {
            if disjoint.last().is_some_and(|last| last.contains(&prefix)) {
                continue;
            }
            let mut prefix = prefix;
            while let Some(last) = disjoint.last()
                && let Some(both) = joined(last, &prefix)
            {
                disjoint.pop();
                prefix = both;
            }
            disjoint.push(prefix);
        }
        Self::of_disjoint(disjoint)
    }
}

impl PrefixSet {
    /// Prefixes that are disjoint, ascending and not to be joined.
    fn of_disjoint(prefixes: Vec<IpNet>) -> Self {
        let mix = |hash: u64, prefix: &IpNet| {
            let (bits, kind) = match prefix {
                IpNet::V4(v4) => (u128::from(v4.network().to_bits()), 0),
                IpNet::V6(v6) => (v6.network().to_bits(), 256),
            };
            [bits as u64, (bits >> 64) as u64, kind + u64::from(prefix.prefix_len())]
                .into_iter()
                .fold(hash, |hash, word| (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        let fingerprint = prefixes.iter().fold(0, mix);
        Self(Arc::new(Sorted { prefixes: prefixes.into(), fingerprint }))
    }

    /// Every address from the first to the last of each range; a range of two families or that ends before it
    /// begins holds none.
    pub fn of_ranges(ranges: impl IntoIterator<Item = RangeInclusive<IpAddr>>) -> Self {
        let prefixes = |range: RangeInclusive<IpAddr>| match (*range.start(), *range.end()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Some(IpSubnets::V4(Ipv4Subnets::new(first, last, 0)))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(IpSubnets::V6(Ipv6Subnets::new(first, last, 0)))
            }
            _ => None,
        };
        ranges.into_iter().filter_map(prefixes).flatten().collect()
    }

    /// Every address.
    pub fn all() -> Self {
        [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())].into_iter().collect()
    }

    /// The addresses of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.prefixes().iter().chain(other.prefixes()).copied().collect()
    }

    /// Those of its addresses that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.prefixes().len());
        let mut holes = other.prefixes();
        for prefix in self.prefixes() {
            // Only what ends behind the prefix's first address, and begins before its last.
            holes = &holes[holes.partition_point(|hole| hole.broadcast() < prefix.network())..];
            let touching = holes.partition_point(|hole| hole.network() <= prefix.broadcast());
            cut(*prefix, &holes[..touching], &mut left);
        }
        Self::of_disjoint(left)
    }

    /// Whether the address is in it; an IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let after = self.prefixes().partition_point(|prefix| prefix.network() <= ip);
        self.prefixes()[..after].last().is_some_and(|prefix| prefix.contains(&ip))
    }

    /// The prefixes, disjoint and ascending, IPv4 before IPv6.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.0.prefixes
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.prefixes().is_empty()
    }
}

/// The prefix that two halves make.
fn joined(low: &IpNet, high: &IpNet) -> Option<IpNet> {
    let both = low.supernet()?;
    (low.prefix_len() == high.prefix_len() && low != high && high.supernet() == Some(both)).then_some(both)
}

/// What holes leave of a prefix. They are ascending, and each lies inside it or contains it.
fn cut(prefix: IpNet, holes: &[IpNet], left: &mut Vec<IpNet>) {
    let Some(first) = holes.first() else {
        left.push(prefix);
        return;
    };
    if first.contains(&prefix) {
        return;
    }
    let Ok(mut halves) = prefix.subnets(prefix.prefix_len() + 1) else { return };
    let (Some(low), Some(high)) = (halves.next(), halves.next()) else { return };
    let in_low = holes.partition_point(|hole| hole.network() < high.network());
    cut(low, &holes[..in_low], left);
    cut(high, &holes[in_low..], left);
}

/// What `from` and `to` say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// Every address.
    #[default]
    Any,
    /// These.
    In(PrefixSet),
    /// Every address but these.
    Except(PrefixSet),
}

impl Addresses {
    /// Whether the address is meant.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::In(set) => set.contains(ip),
            Self::Except(set) => !set.contains(ip),
        }
    }

    /// The prefixes that are named, be they meant or not: none for [`Self::Any`].
    pub fn prefixes(&self) -> &[IpNet] {
        match self {
            Self::Any => &[],
            Self::In(set) | Self::Except(set) => set.prefixes(),
        }
    }

    /// Whether no address is meant.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Any => false,
            Self::In(set) => set.is_empty(),
            Self::Except(set) => *set == PrefixSet::all(),
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

    #[test]
    fn a_range_is_its_prefixes() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let set = PrefixSet::of_ranges([ip("10.0.0.5")..=ip("10.0.0.9"), ip("::2")..=ip("::3")]);
        assert_eq!(set.prefixes(), ["10.0.0.5/32", "10.0.0.6/31", "10.0.0.8/31", "::2/127"].map(net));
        assert_eq!(
            PrefixSet::of_ranges([ip("0.0.0.0")..=ip("255.255.255.255")]).prefixes(),
            [net("0.0.0.0/0")]
        );
        assert!(
            PrefixSet::of_ranges([ip("10.0.0.9")..=ip("10.0.0.5"), ip("10.0.0.1")..=ip("::1")]).is_empty()
        );
    }

    #[test]
    fn sets_are_added_and_taken_away() {
        let set = |nets: &[&str]| nets.iter().copied().map(net).collect::<PrefixSet>();
        let but_one = PrefixSet::all().minus(&set(&["128.0.0.0/1", "::/1"]));
        assert_eq!(but_one.prefixes(), ["0.0.0.0/1", "8000::/1"].map(net));
        assert_eq!(but_one.union(&set(&["128.0.0.0/1", "::/1"])), PrefixSet::all());
        let cut = set(&["10.0.0.0/30", "10.0.1.0/32"]).minus(&set(&["10.0.0.1/32", "10.0.1.0/24"]));
        assert_eq!(cut.prefixes(), ["10.0.0.0/32", "10.0.0.2/31"].map(net));
        assert!(Addresses::Except(PrefixSet::all()).is_empty());
        assert!(!Addresses::Except(but_one).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_left_is_in_the_one_and_not_in_the_other(
            nets in prop::collection::vec((0u32..256, 24u8..=32), 0..10),
            holes in prop::collection::vec((0u32..256, 24u8..=32), 0..10),
        ) {
            let set = |nets: &[(u32, u8)]| -> PrefixSet {
                let net = |(n, len): &(u32, u8)| {
                    IpNet::new(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), *len).expect("a length")
                };
                nets.iter().map(net).collect()
            };
            let (all, without) = (set(&nets), set(&holes));
            let left = all.minus(&without);
            prop_assert_eq!(&left.prefixes().iter().copied().collect::<PrefixSet>(), &left, "nothing to be joined");
            for n in 0..256_u32 {
                let ip = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
                prop_assert_eq!(left.contains(ip), all.contains(ip) && !without.contains(ip), "{}", ip);
                prop_assert_eq!(all.union(&without).contains(ip), all.contains(ip) || without.contains(ip), "{}", ip);
            }
        }

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
