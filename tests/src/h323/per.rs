//! Aligned PER (X.691), the writing side: as much of it as [`wire`](super::wire) and [`ras`](super::ras) need.
//!
//! It shares nothing with the decoders under test, so that both cannot be wrong in the same way.

/// An encoding in the making.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    octets: Vec<u8>,
    /// Bits of the last octet that are taken; 0 and 8 are both an octet boundary.
    taken: u32,
}

/// What `write` writes, padded to an octet; an empty encoding takes one (X.691 §11.2.6).
pub(super) fn encoded(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    if encoder.octets.is_empty() {
        encoder.octets.push(0);
    }
    encoder.octets
}

impl Encoder {
    /// The `count` low bits of `value`, unaligned.
    pub(super) fn bits(&mut self, value: u32, count: u32) -> &mut Self {
        for place in (0..count).rev() {
            if self.taken.is_multiple_of(8) {
                self.octets.push(0);
                self.taken = 0;
            }
            if let Some(last) = self.octets.last_mut() {
                *last |= ((value >> place & 1) as u8) << (7 - self.taken);
            }
            self.taken += 1;
        }
        self
    }

    /// A BOOLEAN.
    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.bits(value.into(), 1)
    }

    /// A preamble: the extension bit, then one bit for each OPTIONAL of the root.
    pub(super) fn preamble(&mut self, extended: bool, optional: &[bool]) -> &mut Self {
        optional.iter().fold(self.bool(extended), |encoder, present| encoder.bool(*present))
    }

    /// Octets from an octet boundary.
    pub(super) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.taken = 0;
        self.octets.extend_from_slice(octets);
        self
    }

    /// An INTEGER whose range takes two octets.
    pub(super) fn two(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// An INTEGER whose range takes up to four octets (X.691 §13.2.6): as many as `offset`, its distance from the
    /// lower bound, needs.
    pub(super) fn four(&mut self, offset: u32) -> &mut Self {
        let octets = offset.to_be_bytes();
        let used = (4 - offset.leading_zeros() as usize / 8).max(1);
        self.bits(used as u32 - 1, 2).octets(&octets[4 - used..])
    }

    /// An unconstrained length, and that many octets.
    pub(super) fn string(&mut self, octets: &[u8]) -> &mut Self {
        self.length(octets.len()).octets(octets)
    }

    /// A length, or a number of items, below 16 Ki.
    pub(super) fn length(&mut self, length: usize) -> &mut Self {
        match length {
            0..128 => self.octets(&[length as u8]),
            _ => self.two(0x8000 | length as u16),
        }
    }

    /// A CHOICE's alternative of the root, in `bits` bits behind the extension bit.
    pub(super) fn root(&mut self, index: u32, bits: u32) -> &mut Self {
        self.bool(false).bits(index, bits)
    }

    /// An alternative behind a CHOICE's extension marker, with its value.
    pub(super) fn beyond(&mut self, index: u32, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.bool(true).bits(index, 7).string(&encoded(write))
    }

    /// The additions behind a SEQUENCE's extension marker: `present` of them by index, of `known`.
    pub(super) fn additions(&mut self, known: u32, present: &[(u32, Vec<u8>)]) -> &mut Self {
        self.bits(known - 1, 7);
        for index in 0..known {
            self.bool(present.iter().any(|(there, _)| *there == index));
        }
        present.iter().fold(self, |encoder, (_, encoding)| encoder.string(encoding))
    }
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn bits_are_packed_and_octets_aligned() {
        assert_eq!(encoded(|e| _ = e.bits(0b101, 3).octets(&[0xff]).bool(true)), [0xa0, 0xff, 0x80]);
        assert_eq!(encoded(|e| _ = e.bits(0x1ff, 9).bits(0, 7).bool(true)), [0xff, 0x80, 0x80]);
        assert_eq!(encoded(|_| {}), [0]);
    }

    #[test]
    fn wide_integers_take_the_octets_they_need() {
        assert_eq!(encoded(|e| _ = e.four(0)), [0x00, 0x00]);
        assert_eq!(encoded(|e| _ = e.four(255)), [0x00, 0xff]);
        assert_eq!(encoded(|e| _ = e.four(256)), [0x40, 0x01, 0x00]);
        assert_eq!(encoded(|e| _ = e.four(0x0100_0000)), [0xc0, 0x01, 0x00, 0x00, 0x00]);
    }
}
