//! Field classes: what the rules do not tell apart.
//!
//! Rules name *lists* of addresses or of service ranges. Two addresses (or services) that belong to the same
//! lists are of one class, whichever prefixes or ranges put them there.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use callgate_shared::policy::SERVICE_CELLS;
use ipnet::IpNet;

use super::{CompileError, Prefix};
use crate::prefixes::Addresses;

/// The classes of one field.
pub(super) struct Classes<T> {
    /// The field's look-up table.
    pub(super) table: Vec<T>,
    /// By class, the lists its members belong to.
    pub(super) lists: Vec<Bits>,
}

/// The classes of addresses by prefix. Class 0 belongs to the lists that name every address.
pub(super) fn address_classes(
    field: &'static str,
    lists: &[&Addresses],
) -> Result<Classes<(Prefix, u16)>, CompileError> {
    let mut everywhere = Bits::none(lists.len());
    let mut members: Vec<(IpNet, usize)> = Vec::new();
    for (number, list) in lists.iter().enumerate() {
        match list {
            Addresses::Any => everywhere.flip(number),
            Addresses::In(set) => members.extend(set.prefixes().iter().map(|prefix| (*prefix, number))),
        }
    }
    // A prefix stands before those inside it.
    members.sort_unstable();

    let mut classes = Numbered::default();
    class(&mut classes, field, everywhere)?;
    let mut table: Vec<(IpNet, u16)> = Vec::new();
    let mut around: Vec<(IpNet, u16)> = Vec::new();
    for same in members.chunk_by(|a, b| a.0 == b.0) {
        let prefix = same[0].0;
        while around.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            around.pop();
        }
        let inherited = around.last().map_or(0, |(_, class)| *class);
        let mut lists = classes.items[usize::from(inherited)].clone();
        for (_, number) in same {
            lists.set(*number);
        }
        let own = class(&mut classes, field, lists)?;
        around.push((prefix, own));
        if own != inherited {
            table.push((prefix, own));
        }
    }
    Ok(Classes { table, lists: classes.items })
}

/// The classes of services by cell of the service table.
pub(super) fn service_classes(lists: &[Vec<Range<u32>>]) -> Result<Classes<u16>, CompileError> {
    let mut borders: Vec<(u32, usize)> = Vec::new();
    for (number, ranges) in lists.iter().enumerate() {
        borders.extend(ranges.iter().flat_map(|range| [(range.start, number), (range.end, number)]));
    }
    borders.sort_unstable();

    let mut classes = Numbered::default();
    let mut table = Vec::with_capacity(SERVICE_CELLS as usize);
    let mut current = Bits::none(lists.len());
    for same in borders.chunk_by(|a, b| a.0 == b.0) {
        let border = same[0].0 as usize;
        if border > table.len() {
            table.resize(border, class(&mut classes, "services", current.clone())?);
        }
        // The ranges of one list do not touch, so that each border enters or leaves it.
        for (_, number) in same {
            current.flip(*number);
        }
    }
    if table.len() < SERVICE_CELLS as usize {
        table.resize(SERVICE_CELLS as usize, class(&mut classes, "services", current)?);
    }
    Ok(Classes { table, lists: classes.items })
}

fn class(classes: &mut Numbered<Bits>, field: &'static str, lists: Bits) -> Result<u16, CompileError> {
    const MOST: usize = u16::MAX as usize + 1;
    u16::try_from(classes.number(lists)).map_err(|_| CompileError::Classes { field, most: MOST })
}

/// Distinct items, numbered as they came.
pub(super) struct Numbered<T> {
    pub(super) items: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    pub(super) fn number(&mut self, item: T) -> usize {
        if let Some(number) = self.numbers.get(&item) {
            return *number;
        }
        let number = self.items.len();
        self.items.push(item.clone());
        self.numbers.insert(item, number);
        number
    }
}

/// A set of small numbers; the places named must lie below the size it was made with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    pub(super) fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)].into())
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.0[place / 64] & 1 << (place % 64) != 0
    }

    fn set(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(super) fn flip(&mut self, place: usize) {
        self.0[place / 64] ^= 1 << (place % 64);
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// The number of the first rule in both: its place + 1, or 0 where there is none. [`MAX_RULES`] keeps it
    /// within 16 bits.
    pub(super) fn first_common(&self, other: &Self) -> u16 {
        let words = self.0.iter().zip(&other.0).map(|(a, b)| a & b).enumerate();
        let first = words.into_iter().find(|(_, word)| *word != 0);
        first.map_or(0, |(at, word)| (at * 64 + word.trailing_zeros() as usize + 1) as u16)
    }
}
