//! Zones: the sides of the firewall, and what is said of each.

use callgate_shared::policy::{Fragments, MAX_ZONES};

use crate::prefixes::PrefixSet;

/// A named zone and its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// The interfaces in it, by name.
    pub interfaces: Vec<String>,
    /// What its `[zone.…]` table says.
    pub policy: ZoneRules,
}

/// A `[zone.…]` table: what is done with packets that come from the zone before any rule is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneRules {
    /// The networks behind its interfaces; never empty. `None` where they are not named.
    pub networks: Option<PrefixSet>,
    /// Which sources its packets may have.
    pub anti_spoof: AntiSpoof,
    /// Packets from special-purpose addresses (RFC 6890) that are not in [`Self::networks`] are dropped.
    pub drop_bogons: bool,
    /// What becomes of fragments.
    pub fragments: Fragments,
    /// CDP frames, and what shares their address, are dropped.
    pub drop_cdp: bool,
    /// LLDP frames are dropped.
    pub drop_lldp: bool,
}

/// Which sources the packets of a zone may have. Where it is not off, this machine's own addresses are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AntiSpoof {
    /// Any.
    #[default]
    Off,
    /// Any this machine has a route back to.
    Loose,
    /// Those of the zone's networks, which are then named.
    Strict,
}

/// The number of the first named zone.
pub(crate) const FIRST_ZONE: u8 = 2;

/// The number of the named zone at this place of the file.
pub(crate) fn zone_number(place: usize) -> Option<u8> {
    u8::try_from(place).ok()?.checked_add(FIRST_ZONE).filter(|zone| usize::from(*zone) < MAX_ZONES)
}

/// A set of zone numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ZoneSet(u16);

const _: () = assert!(MAX_ZONES == u16::BITS as usize);

impl ZoneSet {
    /// Every zone, [`ZONE_NONE`] and [`ZONE_SELF`] included.
    pub const ALL: Self = Self(u16::MAX);
    /// No zone.
    pub const EMPTY: Self = Self(0);

    /// With this zone too; numbers that are no zone's are left out.
    #[must_use]
    pub const fn with(self, zone: u8) -> Self {
        if (zone as usize) < MAX_ZONES { Self(self.0 | 1 << zone) } else { self }
    }

    /// Whether the zone is in it.
    pub const fn contains(self, zone: u8) -> bool {
        (zone as usize) < MAX_ZONES && self.0 & 1 << zone != 0
    }
}

#[cfg(test)]
mod tests {
    use callgate_shared::policy::ZONE_SELF;

    use super::*;

    #[test]
    fn zone_sets_hold_what_was_put_in() {
        let set = ZoneSet::EMPTY.with(3).with(200);
        assert!(set.contains(3) && !set.contains(2) && !set.contains(200));
        assert!(ZoneSet::ALL.contains(ZONE_SELF) && !ZoneSet::ALL.contains(16));
    }
}
