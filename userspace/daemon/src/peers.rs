//! Known peers: those the rules protect and those that are registered, as the kernel's table is to have them.
//!
//! Says what to write and what to take out, so that the table is written where it changes and nowhere else. What
//! is written ends by itself: a daemon that does not come back leaves nobody known for ever. No I/O and no clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use callgate_alg::action::Time;
use callgate_rules::PrefixSet;
use ipnet::IpNet;

/// How long an address is known without being written again.
pub const LIFE: Duration = Duration::from_secs(3_600);
/// Addresses of one protected prefix that are written; of a larger one, none is.
pub const MOST_OF_PREFIX: u64 = 4_096;
/// Peers there can be: a few less than the kernel's table has room for.
pub const MOST: usize = 65_000;

/// What is to be done with the kernel's table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be written: until when they are known.
    pub write: Vec<(IpAddr, Time)>,
    /// To be taken out.
    pub remove: Vec<IpAddr>,
}

/// Known peers.
#[derive(Debug, Default)]
pub struct Peers {
    protected: Vec<IpAddr>,
    /// As it has been written.
    written: HashMap<IpAddr, Time>,
    /// What an earlier run has written: believed to its end, since registrations are not remembered over a restart.
    inherited: HashMap<IpAddr, Time>,
}

impl Peers {
    /// What an earlier run has left in the kernel.
    pub fn restored(peers: impl IntoIterator<Item = (IpAddr, Time)>) -> Self {
        Self { inherited: peers.into_iter().collect(), ..Self::default() }
    }

    /// Goes by another `protected`: with the prefixes that are too large to be written address by address.
    pub fn protect(&mut self, set: &PrefixSet) -> Vec<IpNet> {
        let mut left_out = Vec::new();
        self.protected.clear();
        for prefix in set.prefixes() {
            let size = 1_u64.checked_shl(u32::from(prefix.max_prefix_len() - prefix.prefix_len()));
            let fits = |size| size <= MOST_OF_PREFIX && self.protected.len() as u64 + size <= MOST as u64;
            if size.is_some_and(fits) {
                self.protected.extend(addresses(*prefix));
            } else {
                left_out.push(*prefix);
            }
        }
        left_out
    }

    /// How many the kernel has been told of.
    pub fn count(&self) -> usize {
        self.written.len()
    }

    /// Whether the address is one.
    pub fn contains(&self, address: IpAddr, now: Time) -> bool {
        [&self.written, &self.inherited]
            .iter()
            .any(|known| known.get(&address).is_some_and(|until| *until > now))
    }

    /// What to change in the kernel, where these are registered until then.
    pub fn refresh(&mut self, registered: impl Iterator<Item = (IpAddr, Time)>, now: Time) -> Changes {
        let mut wanted: HashMap<IpAddr, Time> =
            self.protected.iter().map(|address| (*address, now + LIFE)).collect();
        for (address, until) in registered {
            let address = address.to_canonical();
            if until > now && (wanted.len() < MOST || wanted.contains_key(&address)) {
                let until = until.min(now + LIFE);
                let known = wanted.entry(address).or_insert(until);
                *known = until.max(*known);
            }
        }
        let mut changes = Changes::default();
        self.written.retain(|address, _| {
            let stays = wanted.contains_key(address);
            if !stays {
                changes.remove.push(*address);
            }
            stays
        });
        self.inherited.retain(|address, until| {
            let over = *until <= now && !wanted.contains_key(address);
            if over {
                changes.remove.push(*address);
            }
            !over && !wanted.contains_key(address)
        });
        for (address, until) in wanted {
            // Not again and again: what is known for half its time yet can wait.
            let due = self.written.get(&address).is_none_or(|known| known.since(now) < until.since(now) / 2);
            if due {
                self.written.insert(address, until);
                changes.write.push((address, until));
            }
        }
        changes
    }
}

/// Every address of a prefix, the first and the last included.
fn addresses(prefix: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match prefix {
        IpNet::V4(v4) => {
            Box::new((v4.network().to_bits()..=v4.broadcast().to_bits()).map(|bits| IpAddr::V4(bits.into())))
        }
        IpNet::V6(v6) => {
            Box::new((v6.network().to_bits()..=v6.broadcast().to_bits()).map(|bits| IpAddr::V6(bits.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn set(prefixes: &[&str]) -> PrefixSet {
        prefixes.iter().map(|text| text.parse::<IpNet>().expect("a prefix")).collect()
    }

    fn at(second: u64) -> Time {
        Time(0) + Duration::from_secs(second)
    }

    fn sorted(mut changes: Changes) -> Changes {
        changes.write.sort();
        changes.remove.sort();
        changes
    }

    #[test]
    fn protected_addresses_are_written_one_by_one_and_large_prefixes_told() {
        let mut peers = Peers::default();
        let left_out =
            peers.protect(&set(&["192.0.2.0/30", "10.0.0.0/8", "2001:db8::/126", "2001:db8:1::/64", "::/0"]));
        assert_eq!(left_out, set(&["10.0.0.0/8", "::/0"]).prefixes(), "the /64 is part of ::/0");
        let mut peers = Peers::default();
        let left_out = peers.protect(&set(&["192.0.2.0/30", "172.16.0.0/12", "2001:db8::/126"]));
        assert_eq!(left_out, set(&["172.16.0.0/12"]).prefixes());
        let changes = sorted(peers.refresh(std::iter::empty(), at(0)));
        assert_eq!((changes.write.len(), changes.remove.len()), (8, 0));
        assert_eq!(changes.write[0], (ip("192.0.2.0"), at(3_600)));
        assert_eq!(changes.write[7], (ip("2001:db8::3"), at(3_600)));
    }

    #[test]
    fn peers_are_written_when_half_their_time_is_over() {
        let mut peers = Peers::default();
        peers.protect(&set(&["192.0.2.1/32"]));
        assert_eq!(peers.refresh(std::iter::empty(), at(0)).write, [(ip("192.0.2.1"), at(3_600))]);
        assert_eq!(peers.refresh(std::iter::empty(), at(1_700)), Changes::default());
        assert_eq!(peers.refresh(std::iter::empty(), at(1_900)).write, [(ip("192.0.2.1"), at(5_500))]);
        assert!(peers.contains(ip("192.0.2.1"), at(5_499)) && !peers.contains(ip("192.0.2.1"), at(5_500)));
    }

    #[test]
    fn who_registers_is_known_until_the_registration_ends() {
        let mut peers = Peers::default();
        let phone = ip("10.0.0.7");
        let registered = [(phone, at(100)), (ip("::ffff:10.0.0.7"), at(300)), (ip("10.0.0.8"), at(5))];
        let changes = sorted(peers.refresh(registered.into_iter(), at(10)));
        assert_eq!(changes, Changes { write: vec![(phone, at(300))], remove: vec![] });
        assert_eq!(peers.refresh(registered.into_iter(), at(11)), Changes::default());
        let changes = peers.refresh(std::iter::empty(), at(12));
        assert_eq!(changes, Changes { write: vec![], remove: vec![phone] });
    }

    #[test]
    fn what_an_earlier_run_knew_is_believed_to_its_end() {
        let mut peers = Peers::restored([(ip("10.0.0.7"), at(100)), (ip("192.0.2.1"), at(200))]);
        peers.protect(&set(&["192.0.2.1/32"]));
        let changes = peers.refresh(std::iter::empty(), at(10));
        assert_eq!(changes, Changes { write: vec![(ip("192.0.2.1"), at(3_610))], remove: vec![] });
        assert!(peers.contains(ip("10.0.0.7"), at(99)) && !peers.contains(ip("10.0.0.7"), at(100)));
        assert_eq!(peers.refresh(std::iter::empty(), at(99)), Changes::default());
        let changes = peers.refresh(std::iter::empty(), at(100));
        assert_eq!(changes, Changes { write: vec![], remove: vec![ip("10.0.0.7")] });
        assert_eq!(peers.refresh(std::iter::empty(), at(101)), Changes::default());
    }

    #[test]
    fn a_registration_for_years_is_written_by_the_hour() {
        let mut peers = Peers::default();
        let registered = || std::iter::once((ip("10.0.0.7"), at(1_000_000_000)));
        assert_eq!(peers.refresh(registered(), at(0)).write, [(ip("10.0.0.7"), at(3_600))]);
        assert_eq!(peers.refresh(registered(), at(1_799)), Changes::default());
        assert_eq!(peers.refresh(registered(), at(1_801)).write, [(ip("10.0.0.7"), at(5_401))]);
    }

    #[test]
    fn there_are_never_more_than_the_kernel_takes() {
        let mut peers = Peers::default();
        let registered = (0..100_000_u32).map(|n| (IpAddr::V4(n.into()), at(100)));
        assert_eq!(peers.refresh(registered, at(0)).write.len(), MOST);
    }
}
