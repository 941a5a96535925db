//! What the values of one field have in common: values that belong to the same lists are of one class.
//!
//! The compiler has classes too; these differ in that they keep the address families apart (no packet has a source
//! of one and a destination of the other), leave out values no packet has, and are looked up by list.

use std::collections::{BTreeSet, HashMap};

/// Values from the first to the last, both included.
pub(super) type Interval = (u128, u128);

/// Most memberships, classes × the lists each belongs to, of one field.
const MOST: usize = 1 << 23;

/// The field has too many classes to be reasoned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The classes of one field.
#[derive(Debug)]
pub(super) struct Field {
    /// By list, the classes of its values, ascending.
    lists: Vec<Vec<u32>>,
    /// By class, how many values it has (as near as 128 bits come to it).
    sizes: Vec<u128>,
    /// By part of the domain, the first class that belongs to a later part.
    ends: Vec<u32>,
}

impl Field {
    /// The classes of the lists' values. Each list gives its intervals, disjoint, by part of the domain; classes of
    /// different parts are apart.
    pub(super) fn new<'l, L>(
        parts: &[&[Interval]],
        lists: &'l [L],
        of: impl Fn(&'l L, usize) -> Vec<Interval>,
    ) -> Result<Self, TooMany> {
        let mut sweep = Sweep { lists: vec![Vec::new(); lists.len()], sizes: Vec::new(), memberships: 0 };
        let mut ends = Vec::new();
        for (part, pieces) in parts.iter().enumerate() {
            let intervals: Vec<(Interval, u32)> = (0..)
                .zip(lists)
                .flat_map(|(number, list)| of(list, part).into_iter().map(move |interval| (interval, number)))
                .collect();
            sweep.part(pieces, &intervals)?;
            ends.push(sweep.sizes.len() as u32);
        }
        Ok(Self { lists: sweep.lists, sizes: sweep.sizes, ends })
    }

    /// The classes of a list.
    pub(super) fn list(&self, list: u32) -> &[u32] {
        &self.lists[list as usize]
    }

    /// Those that belong to this part of the domain.
    pub(super) fn list_in(&self, list: u32, part: usize) -> &[u32] {
        let classes = self.list(list);
        let begin = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        let place = |end: u32| classes.partition_point(|class| *class < end);
        &classes[place(begin)..place(self.ends[part])]
    }

    /// How many values a class has.
    pub(super) fn size(&self, class: u32) -> u128 {
        self.sizes[class as usize]
    }

    /// Classes there are.
    pub(super) fn classes(&self) -> usize {
        self.sizes.len()
    }
}

struct Sweep {
    lists: Vec<Vec<u32>>,
    sizes: Vec<u128>,
    memberships: usize,
}

impl Sweep {
    /// Goes over one part of the domain, border by border.
    fn part(&mut self, pieces: &[Interval], intervals: &[(Interval, u32)]) -> Result<(), TooMany> {
        let mut numbers: HashMap<u128, u32> = HashMap::new();
        for &(first, last) in pieces {
            let mut borders: Vec<(u128, u32)> = Vec::new();
            for &((start, end), list) in intervals {
                if start > last || end < first {
                    continue;
                }
                borders.push((start.max(first), list));
                if end < last {
                    borders.push((end + 1, list));
                }
            }
            borders.sort_unstable();
            let mut inside: BTreeSet<u32> = BTreeSet::new();
            let mut print = 0;
            let mut begin = first;
            for same in borders.chunk_by(|a, b| a.0 == b.0) {
                let border = same[0].0;
                if border > begin {
                    self.class(&mut numbers, print, &inside, border - begin)?;
                    begin = border;
                }
                for (_, list) in same {
                    print ^= fingerprint(*list);
                    if !inside.remove(list) {
                        inside.insert(*list);
                    }
                }
            }
            self.class(&mut numbers, print, &inside, (last - begin).saturating_add(1))?;
        }
        Ok(())
    }

    fn class(
        &mut self,
        numbers: &mut HashMap<u128, u32>,
        print: u128,
        inside: &BTreeSet<u32>,
        size: u128,
    ) -> Result<(), TooMany> {
        let next = self.sizes.len() as u32;
        let class = *numbers.entry(print).or_insert(next);
        if class == next {
            self.sizes.push(0);
            self.memberships += inside.len() + 1;
            if self.memberships > MOST {
                return Err(TooMany);
            }
            for list in inside {
                self.lists[*list as usize].push(class);
            }
        }
        let sum = &mut self.sizes[class as usize];
        *sum = sum.saturating_add(size);
        Ok(())
    }
}

/// A number for a list; those of the lists a value belongs to, combined, tell its class. Two different sets of
/// 16,384 lists share a number of 128 bits less often than memory fails.
fn fingerprint(list: u32) -> u128 {
    // SplitMix64 (Steele, Lea, Flood 2014), twice.
    let mix = |seed: u64| {
        let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(z ^ z >> 31)
    };
    let seed = 2 * u64::from(list) + 1;
    mix(seed) << 64 | mix(seed + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(parts: &[&[Interval]], lists: &[Vec<Interval>]) -> Field {
        Field::new(parts, lists, |list, _| list.clone()).expect("few classes")
    }

    #[test]
    fn values_in_the_same_lists_share_a_class() {
        let field = field(&[&[(0, 99)]], &[vec![(0, 99)], vec![(10, 19), (30, 39)], vec![(15, 34)], vec![]]);
        assert_eq!(field.classes(), 4);
        assert_eq!(field.list(0), [0, 1, 2, 3]);
        assert_eq!(field.list(1), [1, 2]);
        assert_eq!(field.list(2), [2, 3]);
        assert!(field.list(3).is_empty());
        // 0–9 and 35–39 are in lists 0 alone and 0 with 1.
        assert_eq!([0, 1, 2, 3].map(|class| field.size(class)), [70, 10, 10, 10]);
    }

    #[test]
    fn parts_are_apart_and_the_last_value_counts() {
        let field =
            field(&[&[(0, 9)], &[(0, u128::MAX)]], &[vec![(0, u128::MAX)], vec![(u128::MAX, u128::MAX)]]);
        assert_eq!(field.list(0), [0, 1, 2]);
        assert_eq!((field.list_in(0, 0), field.list_in(0, 1)), ([0].as_slice(), [1, 2].as_slice()));
        assert_eq!(field.list_in(1, 1), [2]);
        assert_eq!(field.size(2), 1);
    }

    #[test]
    fn values_between_the_pieces_do_not_exist() {
        let field = field(&[&[(1, 5), (7, 9)]], &[vec![(1, 5)], vec![(0, 6)], vec![(6, 6)]]);
        assert_eq!(field.list(0), field.list(1));
        assert!(field.list(2).is_empty());
    }
}
