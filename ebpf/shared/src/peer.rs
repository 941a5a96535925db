//! Known peers: who is not a stranger when a flood comes.

/// How long a proof of an address holds, in ns: an hour.
pub const VOUCHED: u64 = 3_600 * 1_000_000_000;

/// Bits of the filter in front of the table of blocked addresses.
pub const BLOCK_BITS: usize = 65_536;
/// Its words.
pub const BLOCK_WORDS: usize = BLOCK_BITS / 64;

/// The word and the bit of an address in that filter.
#[inline(always)]
pub const fn block_bit(address: &crate::Addr) -> (u32, u64) {
    let hash = hash(address) >> 48;
    ((hash / 64) as u32, 1 << (hash % 64))
}

/// A quick hash of an address, for tables in which a collision does no more than cost time.
#[inline(always)]
pub const fn hash(address: &crate::Addr) -> u64 {
    let words = &address.0;
    let high = (words[0] as u64) << 32 | words[1] as u64;
    let low = (words[2] as u64) << 32 | words[3] as u64;
    let mixed = (high.rotate_left(29) ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
