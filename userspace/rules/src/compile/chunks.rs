//! IPv4 addresses by octet: at most four look-ups, one where a single chunk tells all.
//!
//! Equal chunks are one: a thousand networks that look alike inside cost one chunk.

use std::collections::HashMap;

use callgate_shared::policy::{ADDRESS_NEXT, AddressChunk, CHUNK};
use ipnet::{IpNet, Ipv4Net};

use super::Prefix;

/// How IPv4 addresses find their class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressTable {
    /// By chunks: the first is that of the first octet.
    Chunks(Vec<AddressChunk>),
    /// By longest prefix, in a trie: more chunks would be needed than fit.
    Trie,
}

impl AddressTable {
    /// The class of an address, given in host order; `None` where it must be looked for in a trie.
    pub fn class(&self, address: u32) -> Option<u16> {
        let Self::Chunks(chunks) = self else { return None };
        let mut cell = ADDRESS_NEXT;
        for octet in address.to_be_bytes() {
            if cell & ADDRESS_NEXT == 0 {
                break;
            }
            cell = chunks.get((cell & !ADDRESS_NEXT) as usize).map_or(0, |chunk| chunk[usize::from(octet)]);
        }
        Some(cell as u16)
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.len(),
            Self::Trie => 0,
        }
    }
}

/// The IPv4 prefixes among these in at most `most` chunks, or else a trie. The prefixes are ascending, those that
/// contain others before them.
pub(super) fn table(prefixes: &[(Prefix, u16)], most: usize) -> AddressTable {
    let mut builder =
        Builder { most, open: vec![Open { octet: 0, cells: [0; CHUNK] }], ..Builder::default() };
    // The place of the first octet's chunk, which is known last.
    builder.chunks.push([0; CHUNK]);
    for (prefix, class) in prefixes {
        let IpNet::V4(prefix) = prefix else { continue };
        if builder.add(prefix, u32::from(*class)).is_none() {
            return AddressTable::Trie;
        }
    }
    builder.finish().map_or(AddressTable::Trie, AddressTable::Chunks)
}

#[derive(Default)]
struct Builder {
    most: usize,
    chunks: Vec<AddressChunk>,
    /// Places of chunks by a hash of their cells.
    known: HashMap<u64, u32>,
    /// The chunks on the way to the last prefix, from the first octet's on.
    open: Vec<Open>,
}

/// A chunk that is being filled.
struct Open {
    /// Its cell in the chunk before it.
    octet: u8,
    cells: AddressChunk,
}

impl Builder {
    /// `None` where there are too many chunks.
    fn add(&mut self, prefix: &Ipv4Net, class: u32) -> Option<()> {
        let octets = prefix.network().octets();
        // The octet that the prefix ends in.
        let depth = usize::from(prefix.prefix_len().saturating_sub(1) / 8);
        let common =
            self.open[1..].iter().zip(octets).take_while(|(open, octet)| open.octet == *octet).count();
        self.close(common.min(depth) + 1)?;
        while self.open.len() <= depth {
            let octet = octets[self.open.len() - 1];
            let inherited = self.open.last().map_or(0, |around| around.cells[usize::from(octet)]);
            self.open.push(Open { octet, cells: [inherited; CHUNK] });
        }
        let free = 8 * (depth as u32 + 1) - u32::from(prefix.prefix_len());
        let first = usize::from(octets[depth]);
        let own = self.open.last_mut()?;
        own.cells[first..first + (1 << free)].fill(class);
        Some(())
    }

    /// Closes all but the first `left` of the open chunks.
    fn close(&mut self, left: usize) -> Option<()> {
        while self.open.len() > left {
            let closed = self.open.pop()?;
            let cell = self.place(closed.cells)?;
            self.open.last_mut()?.cells[usize::from(closed.octet)] = cell;
        }
        Some(())
    }

    /// What leads to these cells: a class where all are the same.
    fn place(&mut self, cells: AddressChunk) -> Option<u32> {
        if cells.iter().all(|cell| *cell == cells[0]) {
            return Some(cells[0]);
        }
        let hash = hash(&cells);
        let next = u32::try_from(self.chunks.len()).ok()?;
        let place = *self.known.entry(hash).or_insert(next);
        if place != next && self.chunks.get(place as usize) == Some(&cells) {
            return Some(ADDRESS_NEXT | place);
        }
        if self.chunks.len() >= self.most {
            return None;
        }
        self.chunks.push(cells);
        Some(ADDRESS_NEXT | next)
    }

    fn finish(mut self) -> Option<Vec<AddressChunk>> {
        self.close(1)?;
        self.chunks[0] = self.open.pop()?.cells;
        Some(self.chunks)
    }
}

/// A quick hash: equal hashes are looked into. Four lanes that do not wait for each other.
fn hash(cells: &AddressChunk) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [0_u64; 4];
    for eight in cells.as_chunks::<8>().0 {
        for (lane, [a, b]) in lanes.iter_mut().zip(eight.as_chunks::<2>().0) {
            *lane = (lane.rotate_left(23) ^ (u64::from(*a) << 32 | u64::from(*b))).wrapping_mul(ODD);
        }
    }
    lanes.into_iter().fold(0, |hash, lane| (hash.rotate_left(23) ^ lane).wrapping_mul(ODD))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn table_of(prefixes: &[(&str, u16)], most: usize) -> AddressTable {
        let prefixes: Vec<(Prefix, u16)> =
            prefixes.iter().map(|(prefix, class)| (prefix.parse().expect("a prefix"), *class)).collect();
        table(&prefixes, most)
    }

    #[test]
    fn networks_that_look_alike_share_a_chunk() {
        let alike = [("10.1.1.0/25", 1), ("10.1.9.0/25", 1), ("10.2.1.0/25", 1), ("10.2.9.0/25", 1)];
        // First octet, second, third (twice the same), fourth (four times the same).
        assert_eq!(table_of(&alike, 100).chunks(), 4);
        assert_eq!(table_of(&alike, 4).chunks(), 4);
        assert_eq!(table_of(&alike, 3), AddressTable::Trie);
    }

    #[test]
    fn what_covers_everything_needs_one_chunk() {
        assert_eq!(table_of(&[], 1), AddressTable::Chunks(vec![[0; CHUNK]]));
        assert_eq!(table_of(&[("0.0.0.0/0", 7), ("::/0", 8)], 1), AddressTable::Chunks(vec![[7; CHUNK]]));
        let halves = [("10.0.0.0/8", 1), ("10.0.0.0/9", 2), ("10.128.0.0/9", 2)];
        assert_eq!(table_of(&halves, 1).class(0x0aff_0000), Some(2), "a chunk of equal cells is its class");
    }

    proptest! {
        #[test]
        fn chunks_give_the_class_of_the_longest_prefix(
            nets in prop::collection::btree_map((0_u32..0x400, 0_u8..=32), 1_u16..5, 0..40),
            hosts in prop::collection::vec(0_u32..0x400, 40),
        ) {
            // Few values per octet, so that prefixes nest.
            let spread = |n: u32| (n & 0x300) << 22 | (n & 0xc0) << 16 | (n & 0x30) << 10 | n & 15;
            let nets: std::collections::BTreeMap<Prefix, u16> = nets
                .into_iter()
                .map(|((n, length), class)| {
                    let net = Ipv4Net::new(Ipv4Addr::from_bits(spread(n)), length).expect("a length");
                    (net.trunc().into(), class)
                })
                .collect();
            let nets: Vec<(Prefix, u16)> = nets.into_iter().collect();
            let table = table(&nets, 10_000);
            for host in hosts.into_iter().map(spread) {
                let ip = std::net::IpAddr::V4(Ipv4Addr::from_bits(host));
                let covering = nets.iter().filter(|(net, _)| net.contains(&ip));
                let longest = covering.max_by_key(|(net, _)| net.prefix_len()).map_or(0, |(_, class)| *class);
                prop_assert_eq!(table.class(host), Some(longest), "{}", ip);
            }
        }
    }
}
