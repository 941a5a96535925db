//! Scans: sources that are refused at many places within a short time.
//!
//! Owns what is remembered of refused packets; says when a source has reached the threshold, and leaves to others
//! whether it is blocked. No I/O and no clock.
//!
//! Memory is bounded whatever is sent: at most [`MOST_SOURCES`] sources and [`MOST_PLACES`] places. Who has been
//! refused at one place only is forgotten before who has been refused at several, so that a flood from made-up
//! sources, each of which sends a packet or two, does not hide the one that probes port after port.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use callgate_alg::action::Time;
use callgate_rules::ruleset::Scan;
use callgate_shared::Reason;

/// Sources remembered at once.
pub const MOST_SOURCES: usize = 16_384;
/// Places remembered at once, of all sources.
pub const MOST_PLACES: usize = 262_144;

/// Where a packet was refused: its destination and its destination port, 0 where it has none.
pub type Place = (IpAddr, u16);

/// What is remembered.
#[derive(Debug)]
pub struct Scans {
    ports: usize,
    window: Duration,
    enabled: bool,
    sources: HashMap<IpAddr, Source>,
    /// Sources in the order in which they were last refused: those refused at one place, and the others.
    order: [BTreeMap<u64, IpAddr>; 2],
    /// The place in that order of the next refusal.
    next: u64,
    places: usize,
    bounds: (usize, usize),
}

#[derive(Debug)]
struct Source {
    /// Distinct places, and when it was last refused there.
    places: Vec<(Place, Time)>,
    order: u64,
}

impl Source {
    /// Which order it is in.
    fn rank(&self) -> usize {
        usize::from(self.places.len() > 1)
    }
}

impl Scans {
    /// Nothing yet.
    pub fn new(settings: &Scan) -> Self {
        Self::within(settings, MOST_SOURCES, MOST_PLACES)
    }

    fn within(settings: &Scan, sources: usize, places: usize) -> Self {
        let mut scans = Self {
            ports: 0,
            window: Duration::ZERO,
            enabled: false,
            sources: HashMap::new(),
            order: [BTreeMap::new(), BTreeMap::new()],
            next: 0,
            places: 0,
            bounds: (sources, places),
        };
        scans.set(settings);
        scans
    }

    /// Goes by other settings from now on.
    pub fn set(&mut self, settings: &Scan) {
        self.ports = usize::try_from(settings.ports).unwrap_or(usize::MAX);
        self.window = settings.window;
        self.enabled = settings.enabled;
        if !self.enabled {
            self.sources.clear();
            self.order.iter_mut().for_each(BTreeMap::clear);
            self.places = 0;
        }
    }

    /// A packet was refused: whether its source has now been refused at as many places as make a scan. It is then
    /// forgotten, and counted from the beginning.
    pub fn refused(&mut self, now: Time, source: IpAddr, place: Place) -> bool {
        if !self.enabled {
            return false;
        }
        let mut entry = self.take(source).unwrap_or_else(|| Source { places: Vec::new(), order: 0 });
        entry.places.retain(|(_, seen)| now.since(*seen) < self.window);
        match entry.places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, seen)) => *seen = now,
            None => entry.places.push((place, now)),
        }
        if entry.places.len() >= self.ports {
            return true;
        }
        self.put(source, entry);
        self.make_room(source);
        false
    }

    /// Forgets what is older than the window. To be called now and then.
    pub fn tick(&mut self, now: Time) {
        let old = |source: &Source| source.places.iter().all(|(_, seen)| now.since(*seen) >= self.window);
        let old: Vec<IpAddr> =
            self.sources.iter().filter(|(_, source)| old(source)).map(|(address, _)| *address).collect();
        for address in old {
            self.take(address);
        }
    }

    fn take(&mut self, address: IpAddr) -> Option<Source> {
        let source = self.sources.remove(&address)?;
        self.order[source.rank()].remove(&source.order);
        self.places -= source.places.len();
        Some(source)
    }

    fn put(&mut self, address: IpAddr, mut source: Source) {
        source.order = self.next;
        self.next += 1;
        self.order[source.rank()].insert(source.order, address);
        self.places += source.places.len();
        self.sources.insert(address, source);
    }

    /// Forgets others while there are more than the bounds: those refused at one place first, the oldest first.
    fn make_room(&mut self, kept: IpAddr) {
        let (sources, places) = self.bounds;
        while self.sources.len() > sources || self.places > places {
            let oldest = self.order.iter().flat_map(BTreeMap::values).find(|address| **address != kept);
            let Some(oldest) = oldest.copied() else { return };
            self.take(oldest);
        }
    }
}

/// Whether a packet dropped for this reason was refused, as probes are: what cannot be read, and what its sender
/// can hardly have meant to send, says nothing of the address it bears.
pub const fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoPinhole
            | Reason::PinholeSender
            | Reason::Rule
            | Reason::Default
            | Reason::Reject
            | Reason::NoConnection
            | Reason::TcpFlags
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn settings(ports: u32) -> Scan {
        Scan { enabled: true, ports, window: Duration::from_secs(60), block: Duration::from_secs(600) }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    const SCANNER: u32 = 0xc000_0201;

    fn probe(scans: &mut Scans, second: u64, source: u32, port: u16) -> bool {
        scans.refused(Time(second * SECOND), address(source), (address(0x0a00_0001), port))
    }

    #[test]
    fn distinct_places_make_a_scan() {
        let mut scans = Scans::new(&settings(5));
        assert!((1..5).all(|port| !probe(&mut scans, 0, SCANNER, port)));
        assert!(probe(&mut scans, 1, SCANNER, 5));
        assert!((1..5).all(|port| !probe(&mut scans, 2, SCANNER, port)), "counted from the beginning");
        assert!(probe(&mut scans, 2, SCANNER, 77));
    }

    #[test]
    fn one_port_at_many_destinations_is_a_scan_too() {
        let mut scans = Scans::new(&settings(5));
        let sweep = |n: u32| (address(0x0a00_0000 + n), 5_060);
        let found: Vec<bool> =
            (0..5).map(|n| scans.refused(Time(SECOND), address(SCANNER), sweep(n))).collect();
        assert_eq!(found, [false, false, false, false, true]);
    }

    #[test]
    fn knocking_at_the_same_place_is_none() {
        let mut scans = Scans::new(&settings(5));
        assert!((0..1_000).all(|n| !probe(&mut scans, n / 100, SCANNER, 1 + n as u16 % 4)));
        assert_eq!((scans.sources.len(), scans.places), (1, 4));
    }

    #[test]
    fn the_window_slides() {
        let mut scans = Scans::new(&settings(5));
        // One in twenty seconds: three within any sixty.
        assert!((0..100).all(|n| !probe(&mut scans, 20 * n, SCANNER, n as u16)));
        // One in fourteen seconds: five.
        assert!((0..100).any(|n| probe(&mut scans, 10_000 + 14 * n, SCANNER, n as u16)));
    }

    #[test]
    fn sources_are_told_apart() {
        let mut scans = Scans::new(&settings(5));
        for port in 1..5 {
            assert!((0..100).all(|source| !probe(&mut scans, 0, source, port)));
        }
        assert!((0..100).all(|source| probe(&mut scans, 0, source, 5)));
    }

    #[test]
    fn made_up_sources_do_not_hide_a_scan() {
        let mut scans = Scans::within(&settings(20), 100, 1_000);
        let mut found = false;
        for port in 1..=20 {
            found |= probe(&mut scans, 0, SCANNER, port);
            // At first it is one of many: its second probe must come before it is forgotten.
            let flood = if port == 1 { 50 } else { 10_000 };
            for n in 0..flood {
                assert!(!probe(&mut scans, 0, 0x1000_0000 + u32::from(port) * 10_000 + n, 80));
            }
            assert!(scans.sources.len() <= 100 && scans.places <= 1_000);
        }
        assert!(found);
    }

    #[test]
    fn memory_is_bounded_in_places_too() {
        let mut scans = Scans::within(&settings(1_024), 100, 1_000);
        for n in 0..100_000_u32 {
            probe(&mut scans, 0, n % 50, (n / 50) as u16);
            let places: usize = scans.sources.values().map(|source| source.places.len()).sum();
            assert_eq!(scans.places, places);
            assert!(places <= 1_000);
            if n > 2_000 {
                break;
            }
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut scans = Scans::new(&settings(5));
        probe(&mut scans, 0, SCANNER, 1);
        probe(&mut scans, 30, SCANNER + 1, 1);
        scans.tick(Time(61 * SECOND));
        assert_eq!((scans.sources.len(), scans.places), (1, 1));
        scans.tick(Time(91 * SECOND));
        assert_eq!((scans.sources.len(), scans.places), (0, 0));
        assert!(scans.order.iter().all(BTreeMap::is_empty));
    }

    #[test]
    fn nothing_is_remembered_where_scans_are_not_looked_for() {
        let mut scans = Scans::new(&settings(2));
        probe(&mut scans, 0, SCANNER, 1);
        scans.set(&Scan { enabled: false, ..settings(2) });
        assert!(!probe(&mut scans, 0, SCANNER, 2) && !probe(&mut scans, 0, SCANNER, 3));
        assert!(scans.sources.is_empty());
    }

    #[test]
    fn malformed_and_forged_packets_are_no_refusals() {
        for reason in [Reason::Default, Reason::Rule, Reason::NoPinhole, Reason::TcpFlags] {
            assert!(is_refusal(reason));
        }
        for reason in [Reason::BadIpv4, Reason::Spoofed, Reason::Limit, Reason::Blocked, Reason::PassRule] {
            assert!(!is_refusal(reason));
        }
    }
}
