//! Hashes for tables whose keys no peer can choose: they come from a rules file, or are counted or hashed already.

use std::hash::{BuildHasherDefault, Hasher};

/// Hashes by multiplication; quick, and no defence against anybody who chooses keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick(u64);

/// Makes them.
pub(crate) type BuildQuick = BuildHasherDefault<Quick>;

/// 2^64 divided by the golden ratio, odd (Knuth, The Art of Computer Programming, section 6.4).
const RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(RATIO);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // The upper bits are the good ones, and a table uses both ends.
        self.0 ^ self.0 >> 32
    }
}
