//! "First match wins", resolved: the table of rule numbers, or a vector per class.

use callgate_shared::policy::{CHUNK, MAX_ZONES, VECTOR_WORDS, Vector};

use super::classes::{Sets, Word};

/// Rule numbers in the order of [`callgate_shared::policy::Policy::cell`]; `fields` are in that order, too.
pub(super) fn product(fields: &[&Sets]) -> Vec<u16> {
    let cells: usize = fields.iter().map(|field| field.len()).product();
    let mut table = Vec::with_capacity(cells.next_multiple_of(CHUNK));
    let [zones, rest @ ..] = fields else { return table };
    let per_zone = rest.iter().map(|field| field.len()).product::<usize>();
    for zone in 0..zones.len() {
        // Most rules are about every zone: zones that no rule tells apart have the same cells.
        match (0..zone).find(|other| zones.get(*other) == zones.get(zone)) {
            Some(other) => table.extend_from_within(other * per_zone..(other + 1) * per_zone),
            None => cells_of(rest, zones.get(zone), &mut table),
        }
    }
    table.resize(table.len().next_multiple_of(CHUNK), 0);
    table
}

/// The cells of every combination of these fields' classes, for packets that only these rules can still match.
fn cells_of(fields: &[&Sets], left: &[Word], table: &mut Vec<u16>) {
    match fields {
        _ if left.is_empty() => {
            let cells: usize = fields.iter().map(|field| field.len()).product();
            table.resize(table.len() + cells, 0);
        }
        [] => table.push(first_of(left.iter().copied())),
        [last] => table.extend((0..last.len()).map(|class| first_of(common(left, last.get(class))))),
        [field, rest @ ..] => {
            for class in 0..field.len() {
                let left: Vec<Word> = common(left, field.get(class)).collect();
                cells_of(rest, &left, table);
            }
        }
    }
}

/// The least number of a set; 0, which is no rule's, where it is empty.
fn first_of(mut words: impl Iterator<Item = Word>) -> u16 {
    words.next().map_or(0, |(at, bits)| at * 64 + bits.trailing_zeros() as u16)
}

/// What is in both sets. Goes by the smaller one.
fn common<'s>(a: &'s [Word], b: &'s [Word]) -> impl Iterator<Item = Word> + 's {
    let (few, mut many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    few.iter().filter_map(move |(at, bits)| {
        // Sets of many rules often have the very next word in common.
        let next = match many.first() {
            Some((other, _)) if other < at => many.partition_point(|(other, _)| other < at),
            _ => 0,
        };
        many = many.get(next..)?;
        let (other, others) = many.first()?;
        let both = bits & others;
        (other == at && both != 0).then_some((*at, both))
    })
}

/// A vector per class in the order of [`callgate_shared::policy::Policy::vector`]; `fields` are in that order, too.
/// Zones there are none of have no rules.
pub(super) fn vectors(fields: &[&Sets]) -> Vec<Vector> {
    const EMPTY: Vector = Vector { summary: [0; VECTOR_WORDS / 64], words: [0; VECTOR_WORDS] };
    let [zones, rest @ ..] = fields else { return Vec::new() };
    let mut vectors = vec![EMPTY; MAX_ZONES + rest.iter().map(|field| field.len()).sum::<usize>()];
    let (of_zones, of_classes) = vectors.split_at_mut(MAX_ZONES);
    write(of_zones, zones);
    let mut left = of_classes;
    for field in rest {
        let (own, others) = left.split_at_mut(field.len());
        write(own, field);
        left = others;
    }
    vectors
}

fn write(vectors: &mut [Vector], sets: &Sets) {
    for (set, vector) in vectors.iter_mut().take(sets.len()).enumerate() {
        for (at, bits) in sets.get(set) {
            let at = usize::from(*at);
            vector.words[at] = *bits;
            vector.summary[at / 64] |= 1 << (at % 64);
        }
    }
}
