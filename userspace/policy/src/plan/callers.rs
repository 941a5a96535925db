//! Which of 10,000 entries a caller is.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::Dialled;
use crate::addresses::{AddressSet, position};
use crate::hash::BuildQuick;
use crate::name::NameIndex;
use crate::number::Number;
use crate::pattern::DialPattern;
use crate::spec::{Caller, PermissionSet};
use crate::trie::{Builder, Trie};

/// The entries by what they are told by.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    numbers: HashMap<Number, Places, BuildQuick>,
    /// Numbers that are no single ones: values are places of `lists`.
    patterns: Trie,
    lists: Vec<Vec<u32>>,
    names: NameIndex,
    /// From where on which entry is the first of those told by address alone; ascending.
    addresses: Vec<(u128, Option<u32>)>,
    from: Vec<Option<AddressSet>>,
    /// Whether some entry does not take all calls.
    pub(crate) screens: bool,
}

/// Entries with the same number: seldom more than one.
#[derive(Debug)]
struct Places {
    first: u32,
    others: Vec<u32>,
}

impl Callers {
    pub(super) fn new(entries: &[Caller]) -> Self {
        let mut callers = Self::default();
        let mut patterns: HashMap<&DialPattern, Vec<u32>> = HashMap::new();
        let mut by_address: Vec<(u32, &AddressSet)> = Vec::new();
        let anywhere = AddressSet::new(&[IpNet::V6(Ipv6Net::default())]);
        for (place, entry) in (0..).zip(entries) {
            for pattern in &entry.numbers {
                match pattern.single() {
                    Some(number) => {
                        let new = || Places { first: place, others: Vec::new() };
                        let places = callers.numbers.entry(number).or_insert_with(new);
                        if places.first != place {
                            places.others.push(place);
                        }
                    }
                    None => patterns.entry(pattern).or_default().push(place),
                }
            }
            for name in &entry.names {
                callers.names.insert(name, place);
            }
            if entry.numbers.is_empty() && entry.names.is_empty() {
                by_address.push((place, entry.from.as_ref().unwrap_or(&anywhere)));
            }
            callers.from.push(entry.from.clone());
            callers.screens |= !entry.trunk && entry.incoming != PermissionSet::ALL;
        }
        let mut builder = Builder::default();
        for (pattern, list) in patterns {
            // Keys of a map are no two the same.
            let _ = builder.insert(pattern, callers.lists.len() as u32);
            callers.lists.push(list);
        }
        callers.patterns = builder.build();
        callers.addresses = first_by_address(&by_address);
        callers
    }

    /// The first entry that has a number, or the name where it is none, of those that are in this place.
    pub(crate) fn of_identity(
        &self,
        name: &str,
        number: Option<&Dialled>,
        address: Option<IpAddr>,
    ) -> Option<u32> {
        self.first(name, number, |place| self.is_at(place, address))
    }

    /// The same, wherever it is.
    pub(crate) fn of_identity_anywhere(&self, name: &str, number: Option<&Dialled>) -> Option<u32> {
        self.first(name, number, |_| true)
    }

    /// The first entry that is told by address alone and has this one.
    pub(crate) fn of_address(&self, address: IpAddr) -> Option<u32> {
        let next = self.addresses.partition_point(|(first, _)| *first <= position(address));
        next.checked_sub(1).and_then(|place| self.addresses[place].1)
    }

    fn first(&self, name: &str, number: Option<&Dialled>, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let mut first: Option<u32> = None;
        let mut found = |place: u32| {
            if first.is_none_or(|other| place < other) && fits(place) {
                first = Some(place);
            }
        };
        self.names.each(name, &mut found);
        if let Some(number) = number {
            let forms = if number.raw == number.normal { 1 } else { 2 };
            for form in [&number.raw, &number.normal].into_iter().take(forms) {
                if let Some(places) = self.numbers.get(form) {
                    found(places.first);
                    places.others.iter().for_each(|place| found(*place));
                }
                self.patterns.each(form, |list| {
                    let places = self.lists.get(list as usize);
                    places.into_iter().flatten().for_each(|place| found(*place));
                });
            }
        }
        first
    }

    fn is_at(&self, place: u32, address: Option<IpAddr>) -> bool {
        match self.from.get(place as usize) {
            Some(Some(from)) => address.is_some_and(|address| from.contains(address)),
            _ => true,
        }
    }
}

/// Sweeps over the entries' addresses; the first entry counts.
fn first_by_address(entries: &[(u32, &AddressSet)]) -> Vec<(u128, Option<u32>)> {
    let mut borders: Vec<(u128, bool, u32)> = Vec::new();
    let mut seen: Vec<&AddressSet> = Vec::new();
    for (place, set) in entries {
        // An entry whose addresses are another's never counts; lists written as the same group share their
        // memory.
        if seen.iter().rev().take(64).any(|other| other.is_same(set)) {
            continue;
        }
        seen.push(set);
        for (first, last) in set.ranges() {
            borders.push((*first, true, *place));
            if *last < u128::MAX {
                borders.push((last + 1, false, *place));
            }
        }
    }
    borders.sort_unstable();
    let mut inside: BTreeSet<u32> = BTreeSet::new();
    let mut runs: Vec<(u128, Option<u32>)> = Vec::new();
    for same in borders.chunk_by(|a, b| a.0 == b.0) {
        for (_, begins, place) in same {
            if *begins {
                inside.insert(*place);
            }
        }
        // The runs of one entry are apart, so none of them begins where another ends.
        for (_, begins, place) in same {
            if !*begins {
                inside.remove(place);
            }
        }
        let first = inside.first().copied();
        if runs.last().is_none_or(|(_, last)| *last != first) {
            runs.push((same[0].0, first));
        }
    }
    runs
}
