//! Field classes: what the rules do not tell apart.
//!
//! Rules name *lists* of prefixes or of cells. Two addresses (or cells) that are named by the same lists are of
//! one class, whichever prefixes or ranges name them. A sweep over the sorted prefixes or borders finds the
//! classes; each is noted as what it differs in from the class around it or before it, so that time and memory go
//! by the number of prefixes and ranges, not by that number times the number of lists.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use ipnet::IpNet;

use super::{CompileError, Prefix};

/// Most classes of a field: they are 16-bit numbers.
const MOST: usize = u16::MAX as usize + 1;

/// The classes of one field.
pub(super) struct Classes<T> {
    /// The field's look-up table.
    pub(super) table: Vec<T>,
    /// Which lists name the members of each class.
    pub(super) named: Named,
}

/// The classes of addresses by prefix. Class 0 is that of addresses no list names.
pub(super) fn address_classes(
    field: &'static str,
    lists: &[&[Prefix]],
) -> Result<Classes<(Prefix, u16)>, CompileError> {
    let mut members: Vec<(Prefix, u32)> = Vec::with_capacity(lists.iter().map(|list| list.len()).sum());
    for (number, list) in (0..).zip(lists) {
        members.extend(list.iter().map(|prefix| (*prefix, number)));
    }
    // A prefix stands before those inside it. The lists are runs that are sorted already.
    members.sort_by_key(|(prefix, _)| *prefix);

    let mut named = Named::default();
    named.class(field, None, [])?;
    let mut table: Vec<(Prefix, u16)> = Vec::new();
    let mut around: Vec<(Prefix, u16)> = Vec::new();
    let mut covered = Covered::default();
    for same in members.chunk_by(|a, b| a.0 == b.0) {
        let prefix = same[0].0;
        while around.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            around.pop();
        }
        if around.is_empty() {
            covered.add(&prefix);
        }
        let inherited = around.last().map_or(0, |(_, class)| *class);
        // The prefixes of one list are disjoint: none inside another takes its addresses out again.
        let own = named.class(field, Some(inherited), same.iter().map(|(_, number)| *number))?;
        around.push((prefix, own));
        if own != inherited {
            table.push((prefix, own));
        }
    }
    named.nobody_in_0 = covered.all();
    Ok(Classes { table, named })
}

/// The classes of the cells of a table of this size. Ranges of one list are disjoint, ascending, and do not touch;
/// they lie within the table.
pub(super) fn cell_classes(
    field: &'static str,
    size: u32,
    lists: &[&[Range<u32>]],
) -> Result<Classes<u16>, CompileError> {
    let mut borders: Vec<(u32, u32)> = vec![];
    for (number, ranges) in (0..).zip(lists) {
        borders.extend(ranges.iter().flat_map(|range| [(range.start, number), (range.end, number)]));
    }
    borders.sort_unstable();

    let mut named = Named::default();
    let mut table: Vec<u16> = Vec::with_capacity(size as usize);
    let mut current = None;
    let mut begin = |from: &mut Option<u16>, flips: &[(u32, u32)]| -> Result<(), CompileError> {
        *from = Some(named.class(field, *from, flips.iter().map(|(_, number)| *number))?);
        Ok(())
    };
    if borders.first().is_none_or(|(border, _)| *border > 0) {
        begin(&mut current, &[])?;
    }
    for same in borders.chunk_by(|a, b| a.0 == b.0) {
        table.resize(same[0].0 as usize, current.unwrap_or_default());
        if same[0].0 < size {
            begin(&mut current, same)?;
        }
    }
    table.resize(size as usize, current.unwrap_or_default());
    Ok(Classes { table, named })
}

/// By class, which lists name its members: noted as differences.
#[derive(Default)]
pub(super) struct Named {
    steps: Vec<Step>,
    /// Numbers of lists.
    flips: Vec<u32>,
    /// Sum (exclusive or) of the marks of the lists that name a class: by class, and the other way round.
    sums: Vec<u128>,
    classes: HashMap<u128, u16>,
    /// No address is of class 0: the prefixes cover them all.
    nobody_in_0: bool,
}

/// A class is named by the lists that name another one, or by none, but for these, which name it if they do not
/// name the other.
struct Step {
    from: Option<u16>,
    flips: Range<usize>,
}

impl Named {
    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The class that differs from another one in these lists.
    fn class(
        &mut self,
        field: &'static str,
        from: Option<u16>,
        lists: impl IntoIterator<Item = u32, IntoIter: Clone>,
    ) -> Result<u16, CompileError> {
        let lists = lists.into_iter();
        let before = from.map_or(0, |class| self.sums[usize::from(class)]);
        let sum = lists.clone().fold(before, |sum, list| sum ^ mark(list));
        if let Some(class) = self.classes.get(&sum) {
            return Ok(*class);
        }
        let class = u16::try_from(self.len()).map_err(|_| CompileError::Classes { field, most: MOST })?;
        let begin = self.flips.len();
        self.flips.extend(lists);
        self.steps.push(Step { from, flips: begin..self.flips.len() });
        self.sums.push(sum);
        self.classes.insert(sum, class);
        Ok(class)
    }

    /// By class, a bit per list from `first` on that names it: for at most 64 lists.
    pub(super) fn naming(&self, first: usize) -> Vec<u64> {
        let mut naming: Vec<u64> = Vec::with_capacity(self.len());
        for step in &self.steps {
            let before = step.from.map_or(0, |class| naming[usize::from(class)]);
            let flips = self.flips[step.flips.clone()].iter();
            let bits = flips
                .filter_map(|list| 1_u64.checked_shl((*list as usize).checked_sub(first)?.try_into().ok()?));
            naming.push(bits.fold(before, |bits, bit| bits ^ bit));
        }
        naming
    }

    /// By class, a set of numbers below `size`: `members` of each list that names the class, and those of each list
    /// in `unnamed` that does not.
    pub(super) fn sets(&self, size: usize, members: &[Vec<u16>], unnamed: impl Fn(usize) -> bool) -> Sets {
        let flip = |set: &mut [u64], list: usize| {
            // Lists beyond are no rule's.
            for number in members.get(list).map(Vec::as_slice).unwrap_or_default() {
                set[usize::from(number / 64)] ^= 1 << (number % 64);
            }
        };
        let mut nobody = vec![0; size.div_ceil(64)];
        (0..members.len()).filter(|list| unnamed(*list)).for_each(|list| flip(&mut nobody, list));
        let mut sets = Sets::default();
        let mut set = nobody.clone();
        for step in &self.steps {
            match step.from {
                None => set.copy_from_slice(&nobody),
                Some(before) => {
                    set.fill(0);
                    sets.get(before.into()).iter().for_each(|(at, bits)| set[usize::from(*at)] = *bits);
                }
            }
            for list in &self.flips[step.flips.clone()] {
                flip(&mut set, *list as usize);
            }
            sets.push(&set);
        }
        if self.nobody_in_0 {
            sets.places[0] = 0..0;
        }
        sets
    }
}

/// A list's mark. Sums of marks stand for sets of lists: 128 bits that have nothing to do with each other are not
/// the same by chance.
fn mark(list: u32) -> u128 {
    let mix = |seed: u64| {
        let mut z = (u64::from(list) + 1).wrapping_mul(seed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    u128::from(mix(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(mix(0xd1b5_4a32_d192_ed03))
}

/// How much disjoint prefixes cover.
#[derive(Default)]
struct Covered {
    v4: u64,
    /// Of 2¹²⁸, which is 0.
    v6: u128,
    any_v6: bool,
}

impl Covered {
    fn add(&mut self, prefix: &IpNet) {
        let free = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
        match prefix {
            IpNet::V4(_) => self.v4 += 1 << free,
            IpNet::V6(_) => {
                self.v6 = self.v6.wrapping_add(1_u128.checked_shl(free).unwrap_or(0));
                self.any_v6 = true;
            }
        }
    }

    fn all(&self) -> bool {
        self.v4 == 1 << 32 && self.any_v6 && self.v6 == 0
    }
}

/// 64 numbers of a set: which 64, and a bit for each. Words without a bit are left out of sets.
pub(super) type Word = (u16, u64);

/// Sets of rule numbers, one per class of a field (or per zone). Most classes are named by few rules: what is stored
/// are the words that are not empty, ascending.
#[derive(Default)]
pub(super) struct Sets {
    places: Vec<Range<usize>>,
    words: Vec<Word>,
}

impl Sets {
    /// Sets of numbers below `size`, each with those for which `holds`.
    pub(super) fn of(count: usize, size: usize, holds: impl Fn(usize, usize) -> bool) -> Self {
        let mut sets = Self::default();
        let mut set = vec![0; size.div_ceil(64)];
        for place in 0..count {
            set.fill(0);
            for number in (0..size).filter(|number| holds(place, *number)) {
                set[number / 64] |= 1 << (number % 64);
            }
            sets.push(&set);
        }
        sets
    }

    fn push(&mut self, set: &[u64]) {
        let begin = self.words.len();
        self.words.extend((0..).zip(set.iter().copied()).filter(|(_, bits)| *bits != 0));
        self.places.push(begin..self.words.len());
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, set: usize) -> &[Word] {
        &self.words[self.places[set].clone()]
    }
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
