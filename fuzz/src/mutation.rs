//! What makes good messages bad. The same seed makes the same ones, on every machine.

/// Marsaglia's xorshift generator, of 64 bits.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed; 0 stands for another.
    pub fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The low bits of xorshift are its worst.
        let bound = bound as u64;
        (self.bits() >> 16).checked_rem(bound).unwrap_or(0) as usize
    }

    /// Whether one of `chances` came true.
    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// Longest message that is made.
pub const MAX_LENGTH: usize = 16 * 1024;

/// Numbers at which a reader may go wrong.
const EDGES: [u32; 12] =
    [0, 1, 4, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// The same in words.
const WORDS: [&[u8]; 24] = [
    b"0",
    b"-1",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"\r\n",
    b"\r\n\r\n",
    b"\n.\n",
    b"\0",
    b" ",
    b"*",
    b"$",
    b"../",
    b"\"",
    b"<",
    b">",
    b";",
    b",",
    b":",
    b"\r\n ",
    b"%00",
    b"[::]",
    b";tag=",
    b"\xff\xfe",
];

/// Changes `message` in one to four places; `other` lends bytes.
pub fn mutate(random: &mut Random, message: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        change(random, message, other);
    }
    message.truncate(MAX_LENGTH);
}

fn change(random: &mut Random, message: &mut Vec<u8>, other: &[u8]) {
    let length = message.len();
    let at = random.below(length);
    // Most ranges are short: a field's.
    let most = if random.one_in(4) { length - at } else { 12.min(length - at) };
    let range = at..at + random.below(most + 1);
    match random.below(12) {
        0..=2 if length > 0 => message[at] ^= 1 << random.below(8),
        3 if length > 0 => message[at] = random.bits() as u8,
        4 | 5 => overwrite(random, message, at),
        6 => drop(message.drain(range)),
        7 => message.truncate(at),
        8 => {
            // Now and then often enough to reach a bound.
            let times = if random.one_in(64) { 1 + random.below(300) } else { 1 };
            let piece = message[range].repeat(times);
            message.splice(at..at, piece.into_iter().take(MAX_LENGTH));
        }
        9 => {
            let word = WORDS[random.below(WORDS.len())];
            message.splice(range, word.iter().copied());
        }
        10 => {
            let begin = random.below(other.len());
            let end = begin + random.below(other.len() - begin + 1);
            message.splice(range, other[begin..end].iter().copied());
        }
        _ => {
            let bytes = random.bits().to_be_bytes();
            message.splice(at..at, bytes[..random.below(8)].iter().copied());
        }
    }
}

/// Puts a number of one, two or four bytes, in either order, over what is there.
fn overwrite(random: &mut Random, message: &mut [u8], at: usize) {
    let edge = EDGES[random.below(EDGES.len())];
    let (big, little) = (edge.to_be_bytes(), edge.to_le_bytes());
    let width = [1, 2, 4][random.below(3)];
    let number = if random.one_in(2) { &big[4 - width..] } else { &little[..width] };
    for (byte, new) in message[at..].iter_mut().zip(number) {
        *byte = *new;
    }
}
