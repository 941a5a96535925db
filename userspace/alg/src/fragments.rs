//! Fragmented datagrams: put together so that signalling in them can be read (RFC 791, RFC 8200 section 4.5).
//!
//! Fragments that overlap make the whole datagram unreadable (RFC 5722 asks this of IPv6, sense asks it of
//! IPv4): nobody reads one thing here and another there. Memory is bounded by fragments per datagram,
//! datagrams, and bytes in all; what is incomplete after 30 seconds is forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use crate::action::Time;

/// Fragments of one datagram: 64 KiB in the 1,280-byte packets every IPv6 link carries.
const MAX_FRAGMENTS: usize = 64;
/// Bytes of a datagram, its IP header aside.
const MAX_DATAGRAM: usize = 65_535;
/// How long a datagram may take to arrive: less than the 60 s of RFC 8200, as Linux does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its identification.
    pub identification: u32,
    /// IP protocol number of what it carries.
    pub protocol: u8,
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where it belongs, in bytes from the transport header on.
    pub offset: usize,
    /// Others follow.
    pub more: bool,
    /// What it holds.
    pub bytes: &'a [u8],
    /// Counter slot of the rule that admitted it; 0 where the judge has not told it.
    pub slot: u32,
}

/// A datagram put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// From its transport header on.
    pub bytes: Vec<u8>,
    /// Counter slot of the rule that admitted it.
    pub slot: u32,
}

/// Bounds of the memory for fragments.
#[derive(Clone, Copy, Debug)]
pub struct FragmentBounds {
    /// Incomplete datagrams.
    pub datagrams: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Default for FragmentBounds {
    fn default() -> Self {
        Self { datagrams: 1_024, bytes: 4 * 1024 * 1024 }
    }
}

/// Why a fragment was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FragmentError {
    /// It overlaps another one, or contradicts the datagram's end. The whole datagram is forgotten.
    #[error("fragment overlaps another one of its datagram, or contradicts its end")]
    Contradiction,
    /// It is empty, or not a multiple of 8 bytes although others follow, or reaches beyond 65,535 bytes.
    #[error("fragment of a length that no fragment can have")]
    Length,
    /// There is no room for it.
    #[error("no room for another fragment")]
    Memory,
}

/// Incomplete datagrams.
#[derive(Debug)]
pub struct Fragments {
    partial: HashMap<Datagram, Partial>,
    bounds: FragmentBounds,
    /// Bytes of all of them.
    kept: usize,
}

#[derive(Debug)]
struct Partial {
    since: Time,
    /// By offset; they neither overlap nor are empty.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Length of the whole, once the last fragment is there.
    length: Option<usize>,
    /// A fragment contradicted another: the rest of the datagram is refused too.
    refused: bool,
    /// The judge tells the rule with the first fragment only.
    slot: u32,
}

impl Fragments {
    /// None yet.
    pub fn new(bounds: FragmentBounds) -> Self {
        Self { partial: HashMap::new(), bounds, kept: 0 }
    }

    /// Takes a fragment; gives the whole datagram when it was the last that was missing.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn add(
        &mut self,
        now: Time,
        datagram: Datagram,
        piece: Piece<'_>,
    ) -> Result<Option<Whole>, FragmentError> {
        let Piece { offset, more, bytes, slot } = piece;
        let end = offset + bytes.len();
        if bytes.is_empty() || (more && !bytes.len().is_multiple_of(8)) || end > MAX_DATAGRAM {
            return Err(FragmentError::Length);
        }
        let full = self.partial.len() >= self.bounds.datagrams;
        let room = self.kept + bytes.len() <= self.bounds.bytes;
        let mut place = match self.partial.entry(datagram) {
            Entry::Vacant(_) if full || !room => return Err(FragmentError::Memory),
            Entry::Vacant(place) => place.insert_entry(Partial::new(now)),
            Entry::Occupied(place) => place,
        };
        let partial = place.get_mut();
        partial.slot = partial.slot.max(slot);
        if partial.contradicts(&piece) {
            self.kept -= partial.kept();
            (partial.pieces, partial.refused) = (Vec::new(), true);
            return Err(FragmentError::Contradiction);
        }
        if partial.pieces.iter().any(|(at, _)| *at == offset) {
            return Ok(None);
        }
        if partial.pieces.len() >= MAX_FRAGMENTS || !room {
            return Err(FragmentError::Memory);
        }
        let index = partial.pieces.partition_point(|(at, _)| *at < offset);
        partial.pieces.insert(index, (offset, bytes.to_vec()));
        self.kept += bytes.len();
        if !more {
            partial.length = Some(end);
        }
        if partial.length != Some(partial.kept()) {
            return Ok(None);
        }
        let whole = place.remove();
        self.kept -= whole.kept();
        let bytes = whole.pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
        Ok(Some(Whole { bytes, slot: whole.slot }))
    }

    /// Forgets what has been incomplete for too long. To be called about every second.
    pub fn tick(&mut self, now: Time) {
        let kept = &mut self.kept;
        self.partial.retain(|_, partial| {
            let stays = now.since(partial.since) <= PATIENCE;
            if !stays {
                *kept -= partial.kept();
            }
            stays
        });
    }
}

impl Partial {
    fn new(since: Time) -> Self {
        Self { since, pieces: Vec::new(), length: None, refused: false, slot: 0 }
    }

    fn kept(&self) -> usize {
        self.pieces.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Whether the fragment cannot be part of this datagram. One that was sent twice can.
    fn contradicts(&self, piece: &Piece<'_>) -> bool {
        let Piece { offset, more, bytes, .. } = *piece;
        let end = offset + bytes.len();
        let last = self.pieces.last().map_or(0, |(at, piece)| at + piece.len());
        let end_moves = match self.length {
            Some(length) => end > length || (!more && end != length) || (more && end == length),
            None => !more && last > end,
        };
        let overlaps = self.pieces.iter().any(|(at, piece)| {
            let same = *at == offset && piece == bytes;
            !same && *at < end && offset < at + piece.len()
        });
        self.refused || end_moves || overlaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(identification: u32) -> Datagram {
        let ip = IpAddr::from([192, 0, 2, 1]);
        Datagram { source: ip, destination: ip, identification, protocol: 17 }
    }

    fn add(
        all: &mut Fragments,
        offset: usize,
        more: bool,
        bytes: &[u8],
    ) -> Result<Option<Whole>, FragmentError> {
        let slot = if offset == 0 { 5 } else { 0 };
        all.add(Time::default(), datagram(1), Piece { offset, more, bytes, slot })
    }

    #[test]
    fn an_overlap_spoils_the_whole_datagram() {
        let mut all = Fragments::new(FragmentBounds::default());
        assert_eq!(add(&mut all, 0, true, &[1; 16]), Ok(None));
        assert_eq!(add(&mut all, 0, true, &[1; 16]), Ok(None), "the same once more");
        assert_eq!(add(&mut all, 8, false, &[2; 16]), Err(FragmentError::Contradiction));
        assert_eq!(add(&mut all, 16, false, &[2; 8]), Err(FragmentError::Contradiction));
        assert_eq!(all.kept, 0);
        all.tick(Time::default() + Duration::from_secs(31));
        assert!(all.partial.is_empty());
    }

    #[test]
    fn the_end_stays_where_it_is() {
        for (offset, more, length) in [(24, true, 8), (16, false, 16), (0, true, 24), (24, false, 8)] {
            let mut all = Fragments::new(FragmentBounds::default());
            assert_eq!(add(&mut all, 16, false, &[2; 8]), Ok(None));
            let second = add(&mut all, offset, more, &vec![1; length]);
            assert_eq!(second, Err(FragmentError::Contradiction), "at {offset}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let mut all = Fragments::new(FragmentBounds::default());
        for (offset, more, length) in [(0, true, 0), (0, true, 9), (65_528, false, 8), (0, false, 0)] {
            assert_eq!(add(&mut all, offset, more, &vec![0; length]), Err(FragmentError::Length));
        }
        assert!(all.partial.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut all = Fragments::new(FragmentBounds { datagrams: 2, bytes: 48 });
        let mut add = |id, offset| {
            all.add(Time::default(), datagram(id), Piece { offset, more: true, bytes: &[0; 16], slot: 0 })
        };
        assert_eq!(add(1, 0), Ok(None));
        assert_eq!(add(2, 0), Ok(None));
        assert_eq!(add(3, 0), Err(FragmentError::Memory), "datagrams");
        assert_eq!(add(2, 16), Ok(None));
        assert_eq!(add(2, 32), Err(FragmentError::Memory), "bytes");
        assert_eq!(all.kept, 48);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_datagram(
            bytes in prop::collection::vec(any::<u8>(), 1..600),
            size in 1_usize..20,
            seed in any::<u64>(),
        ) {
            let mut all = Fragments::new(FragmentBounds::default());
            let size = size.max(bytes.len().div_ceil(8 * MAX_FRAGMENTS)) * 8;
            let mut order: Vec<usize> = (0..bytes.len()).step_by(size).collect();
            order.sort_by_key(|at| (*at as u64 + 1).wrapping_mul(seed | 1));
            let mut whole = None;
            for (n, at) in order.iter().enumerate() {
                let end = bytes.len().min(at + size);
                let got = add(&mut all, *at, end < bytes.len(), &bytes[*at..end]).expect("taken");
                prop_assert_eq!(got.is_some(), n + 1 == order.len());
                whole = got;
            }
            prop_assert_eq!(whole, Some(Whole { bytes, slot: 5 }));
            prop_assert_eq!(all.kept, 0);
        }
    }
}
