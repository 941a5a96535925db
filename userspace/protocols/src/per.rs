//! Aligned PER (ITU-T X.691, basic aligned variant): the reader under H.225.0 and H.245.
//!
//! Owns the encoding rules: alignment, constrained numbers, length determinants, preambles, extension additions
//! and open types. What the types *are* is said by the modules that use it, either as straight code or, for
//! parts that are only stepped over, as constant [`Type`] descriptions.
//!
//! Guarantees: no allocation, no panic, no loop without input; a cursor never leaves the slice it was given.
//! Work is bounded by a budget of nodes per [`Reader`], depth by the descriptions, which do not recurse. A fault
//! within an open type stays there: see [`Reader::open`].
//!
//! Left out on purpose, and refused where met: fragmented lengths (16 KiB and more, 11.9.3.8), extension bitmaps
//! of more than 64 bits, REAL and the unaligned variant. Neither standard's messages need them.

/// Elements one [`Reader`] may visit: the largest capability sets seen in practice need a tenth of it.
const NODES: u32 = 8192;

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The encoding ends within an element, or an element reaches beyond its open type.
    #[error("the encoding ends within an element")]
    Truncated,
    /// A length of 16 KiB or more.
    #[error("fragmented length")]
    Fragmented,
    /// More than 64 extension additions, or an alternative numbered above 63.
    #[error("too many extensions")]
    Extensions,
    /// A number or a choice outside its constraint.
    #[error("value outside its constraint")]
    Range,
    /// An alternative that its standard defines but H.323 has no use for.
    #[error("alternative not used in H.323")]
    Unsupported,
    /// More elements than any honest message has.
    #[error("too many elements")]
    Budget,
}

/// A fault, and where it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at bit {bit}")]
pub struct Error {
    /// What is wrong.
    pub fault: Fault,
    /// Offset in bits from the start of the encoding.
    pub bit: usize,
}

/// Result of reading.
pub type Result<T> = core::result::Result<T, Error>;

/// A type that is stepped over as a whole. Only what its encoding depends on is said.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// So many bits in a row: NULL (0), BOOLEAN (1), several BOOLEANs.
    Bits(u8),
    /// INTEGER of this span (greatest minus least value).
    Integer(u32),
    /// OCTET STRING of a fixed size above 2.
    Octets(u16),
    /// OCTET STRING without constraint, OBJECT IDENTIFIER.
    Bytes,
    /// A string of `least..=most` characters (`most` above 2) of so many bits each.
    Text {
        /// Least length.
        least: u16,
        /// Greatest length.
        most: u16,
        /// Bits per character.
        bits: u8,
    },
    /// SEQUENCE.
    Sequence(&'static [Field]),
    /// SEQUENCE with an extension marker.
    Open(&'static [Field]),
    /// CHOICE.
    Choice(&'static [Type]),
    /// CHOICE with an extension marker.
    OpenChoice(&'static [Type]),
    /// SEQUENCE OF without a size constraint.
    ListOf(&'static Type),
}

/// A field of a SEQUENCE's root.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Always there.
    Must(Type),
    /// OPTIONAL.
    May(Type),
}

/// The preamble of a SEQUENCE (19.1 to 19.3): the extension bit, and a bit for each optional field of its root.
#[derive(Clone, Copy, Debug)]
pub struct Preamble {
    extended: bool,
    /// Optional fields not asked for yet, first in the top bit.
    flags: u32,
}

impl Preamble {
    /// Whether the next optional field is there; to be asked once for each, in order.
    pub fn optional(&mut self) -> bool {
        let present = self.flags & (1 << 31) != 0;
        self.flags <<= 1;
        present
    }
}

/// Which alternative of a CHOICE was taken (23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// One of the root; its value follows.
    Root(u8),
    /// An extension, counted from 0; its value follows in an open type.
    Added(u8),
}

/// The extension additions that are there, each of them an open type (19.7 to 19.9).
///
/// Yields their numbers; the open type of each must be read or skipped before the next is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Additions {
    bitmap: u64,
}

impl Iterator for Additions {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let index = self.bitmap.leading_zeros();
        self.bitmap &= !(1_u64 << 63).checked_shr(index)?;
        u8::try_from(index).ok()
    }
}

/// A cursor over an encoding.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    /// Position in bits.
    at: usize,
    /// End of the innermost open type in bits; never beyond `data`.
    end: usize,
    /// Elements that may still be visited.
    nodes: u32,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `data`, which is bounded by the transport (64 KiB).
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, end: data.len().saturating_mul(8), nodes: NODES }
    }

    /// An error at the cursor.
    pub fn error(&self, fault: Fault) -> Error {
        Error { fault, bit: self.at }
    }

    /// The next `count` (at most 24) bits as a number.
    #[inline]
    pub fn bits(&mut self, count: u32) -> Result<u32> {
        debug_assert!(count <= 24);
        if count == 0 {
            return Ok(0);
        }
        if self.end - self.at < count as usize {
            return Err(self.error(Fault::Truncated));
        }
        let rest = &self.data[self.at / 8..];
        let word = match rest.first_chunk() {
            Some(chunk) => u32::from_be_bytes(*chunk),
            None => {
                let mut chunk = [0; 4];
                chunk[..rest.len()].copy_from_slice(rest);
                u32::from_be_bytes(chunk)
            }
        };
        let value = word << (self.at % 8) >> (32 - count);
        self.at += count as usize;
        Ok(value)
    }

    /// A BOOLEAN.
    #[inline]
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.bits(1)? != 0)
    }

    /// The next `count` octets, from an octet boundary.
    #[inline]
    pub fn octets(&mut self, count: usize) -> Result<&'a [u8]> {
        let start = self.at.div_ceil(8);
        let stop = start + count;
        if stop * 8 > self.end {
            return Err(self.error(Fault::Truncated));
        }
        self.at = stop * 8;
        Ok(&self.data[start..stop])
    }

    /// The next `N` octets, from an octet boundary.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.octets(N)?.try_into().map_err(|_| self.error(Fault::Truncated))
    }

    /// A constrained whole number less its least value; `span` is greatest minus least (11.5).
    #[inline]
    pub fn integer(&mut self, span: u32) -> Result<u32> {
        let value = match span {
            0..=254 => self.bits(32 - span.leading_zeros())?,
            255 => u32::from(self.array::<1>()?[0]),
            256..=65_535 => u32::from(u16::from_be_bytes(self.array()?)),
            _ => {
                let most = 4 - span.leading_zeros() / 8;
                let length = self.integer(most - 1)? + 1;
                self.octets(length as usize)?.iter().fold(0, |value, &octet| value << 8 | u32::from(octet))
            }
        };
        if value > span { Err(self.error(Fault::Range)) } else { Ok(value) }
    }

    /// An INTEGER (0..65535).
    #[inline]
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A length determinant without constraint (11.9.3.5 to 11.9.3.7).
    #[inline]
    pub fn length(&mut self) -> Result<usize> {
        let [first] = self.array()?;
        match first {
            0..0x80 => Ok(usize::from(first)),
            0x80..0xc0 => {
                let [second] = self.array()?;
                Ok(usize::from(first & 0x3f) << 8 | usize::from(second))
            }
            _ => Err(self.error(Fault::Fragmented)),
        }
    }

    /// An OCTET STRING without constraint, or an OBJECT IDENTIFIER's contents.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.octets(length)
    }

    /// A string of `least..=most` characters (`most` above 2) of `bits` bits: its length in characters, and
    /// the octets it lies in.
    pub fn text(&mut self, least: u16, most: u16, bits: u8) -> Result<(usize, &'a [u8])> {
        let length = usize::from(least) + self.integer(u32::from(most - least))? as usize;
        let size = length * usize::from(bits);
        let octets = self.octets(size.div_ceil(8))?;
        // The next element begins right behind the last character.
        self.at -= octets.len() * 8 - size;
        Ok((length, octets))
    }

    /// The preamble of a SEQUENCE that has an extension marker, and `optional` (at most 23) optional fields in its
    /// root.
    #[inline]
    pub fn preamble(&mut self, optional: u32) -> Result<Preamble> {
        self.visit()?;
        let bits = self.bits(1 + optional)?;
        let flags = bits << (31 - optional);
        Ok(Preamble { extended: flags & (1 << 31) != 0, flags: flags << 1 })
    }

    /// The preamble of a SEQUENCE without an extension marker.
    #[inline]
    pub fn closed_preamble(&mut self, optional: u32) -> Result<Preamble> {
        self.visit()?;
        let bits = self.bits(optional)?;
        let flags = bits.checked_shl(32 - optional).unwrap_or(0);
        Ok(Preamble { extended: false, flags })
    }

    /// What follows a SEQUENCE's root: which extension additions are there.
    #[inline]
    pub fn additions(&mut self, preamble: Preamble) -> Result<Additions> {
        if !preamble.extended {
            return Ok(Additions { bitmap: 0 });
        }
        // A normally small length (11.9.3.4): a 0 bit, and the length less one in six.
        let count = self.bits(7)? + 1;
        if count > 64 {
            return Err(self.error(Fault::Extensions));
        }
        let mut bitmap = 0;
        let mut left = count;
        while left > 0 {
            let step = left.min(16);
            bitmap = bitmap << step | u64::from(self.bits(step)?);
            left -= step;
        }
        Ok(Additions { bitmap: bitmap << (64 - count) })
    }

    /// Steps over all of a SEQUENCE's extension additions.
    pub fn skip_additions(&mut self, preamble: Preamble) -> Result<()> {
        for _ in self.additions(preamble)? {
            self.skip_open()?;
        }
        Ok(())
    }

    /// Which alternative of a CHOICE with an extension marker and `root` alternatives in its root.
    #[inline]
    pub fn choice(&mut self, root: u8) -> Result<Alternative> {
        if self.bool()? {
            self.visit()?;
            // A normally small number (11.6).
            return match self.bits(7)? {
                index @ 0..64 => Ok(Alternative::Added(index as u8)),
                _ => Err(self.error(Fault::Extensions)),
            };
        }
        self.closed_choice(root).map(Alternative::Root)
    }

    /// Which alternative of a CHOICE of `root` alternatives without an extension marker.
    #[inline]
    pub fn closed_choice(&mut self, root: u8) -> Result<u8> {
        self.visit()?;
        Ok(self.integer(u32::from(root.saturating_sub(1)))? as u8)
    }

    /// Reads the contents of an open type with `read`, and goes on behind it, however far `read` came.
    ///
    /// # Errors
    /// The outer result: the open type itself is damaged, and nothing behind it can be read. The inner one:
    /// its contents are; the caller decides whether it can do without them.
    #[inline]
    pub fn open<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Result<T>> {
        self.visit()?;
        let length = self.length()?;
        let end = self.at + length * 8;
        if end > self.end {
            return Err(self.error(Fault::Truncated));
        }
        let outer = core::mem::replace(&mut self.end, end);
        let value = read(self);
        self.at = end;
        self.end = outer;
        Ok(value)
    }

    /// Steps over an open type.
    #[inline]
    pub fn skip_open(&mut self) -> Result<()> {
        self.visit()?;
        self.bytes().map(|_| ())
    }

    /// Steps over a value of this type.
    pub fn skip(&mut self, ty: &Type) -> Result<()> {
        match *ty {
            Type::Bits(count) => self.bits(u32::from(count)).map(|_| ()),
            Type::Integer(span) => self.integer(span).map(|_| ()),
            Type::Octets(size) => self.octets(usize::from(size)).map(|_| ()),
            Type::Bytes => self.bytes().map(|_| ()),
            Type::Text { least, most, bits } => self.text(least, most, bits).map(|_| ()),
            Type::Sequence(fields) => {
                let preamble = self.closed_preamble(optional_count(fields))?;
                self.skip_fields(preamble, fields)
            }
            Type::Open(fields) => {
                let preamble = self.preamble(optional_count(fields))?;
                self.skip_fields(preamble, fields)?;
                self.skip_additions(preamble)
            }
            Type::Choice(alternatives) => {
                let index = self.closed_choice(alternatives.len() as u8)?;
                self.skip_alternative(alternatives, index)
            }
            Type::OpenChoice(alternatives) => match self.choice(alternatives.len() as u8)? {
                Alternative::Root(index) => self.skip_alternative(alternatives, index),
                Alternative::Added(_) => self.skip_open(),
            },
            Type::ListOf(item) => {
                for _ in 0..self.length()? {
                    self.visit()?;
                    self.skip(item)?;
                }
                Ok(())
            }
        }
    }

    /// Steps over the root fields of a SEQUENCE whose preamble has been read.
    pub fn skip_fields(&mut self, mut preamble: Preamble, fields: &[Field]) -> Result<()> {
        fields.iter().try_for_each(|field| match field {
            Field::Must(ty) => self.skip(ty),
            Field::May(ty) if preamble.optional() => self.skip(ty),
            Field::May(_) => Ok(()),
        })
    }

    /// Steps over the value of a CHOICE whose root alternative `index` was taken.
    pub fn skip_alternative(&mut self, alternatives: &[Type], index: u8) -> Result<()> {
        match alternatives.get(usize::from(index)) {
            Some(ty) => self.skip(ty),
            None => Err(self.error(Fault::Range)),
        }
    }

    /// Takes one node from the budget.
    #[inline]
    fn visit(&mut self) -> Result<()> {
        self.nodes = self.nodes.checked_sub(1).ok_or(self.error(Fault::Budget))?;
        Ok(())
    }

    /// A SEQUENCE OF OCTET STRING: checked as a whole here, so that going through it cannot fail.
    pub fn strings(&mut self) -> Result<Strings<'a>> {
        let count = self.length()?;
        let start = self.at / 8;
        for _ in 0..count {
            self.skip_open()?;
        }
        Ok(Strings { rest: &self.data[start..self.at / 8] })
    }
}

/// A SEQUENCE OF OCTET STRING, in order: `fastStart`, `h245Control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl Strings<'_> {
    /// Whether there is none left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.rest);
        let string = reader.bytes().ok()?;
        self.rest = &self.rest[reader.at / 8..];
        Some(string)
    }
}

/// How many of the fields are optional.
fn optional_count(fields: &[Field]) -> u32 {
    fields.iter().map(|field| u32::from(matches!(field, Field::May(_)))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<T: core::fmt::Debug>(result: Result<T>) -> Fault {
        result.expect_err("must be refused").fault
    }

    #[test]
    fn bits_cross_octets_and_end_with_the_data() {
        let mut reader = Reader::new(&[0b1010_1100, 0b0101_0011, 0xff]);
        assert_eq!(reader.bits(3), Ok(0b101));
        assert_eq!(reader.bits(9), Ok(0b0_1100_0101));
        assert_eq!(reader.bits(12), Ok(0b0011_1111_1111));
        assert_eq!(reader.bits(0), Ok(0));
        assert_eq!(fault(reader.bits(1)), Fault::Truncated);
    }

    #[test]
    fn integers_by_span() {
        // X.691 11.5.7: a bit field up to a range of 255, an octet for 256, two up to 64K, then a length.
        let mut reader = Reader::new(&[0b1100_0000, 0x7f, 0x12, 0x34, 0b0100_0000, 0x01, 0x00]);
        assert_eq!(reader.integer(6), Ok(6));
        assert_eq!(reader.integer(255), Ok(0x7f));
        assert_eq!(reader.integer(65_535), Ok(0x1234));
        assert_eq!(reader.integer(192_399), Ok(256));
        assert_eq!(fault(Reader::new(&[0b1110_0000]).integer(6)), Fault::Range);
    }

    #[test]
    fn lengths() {
        assert_eq!(Reader::new(&[0x7f]).length(), Ok(127));
        assert_eq!(Reader::new(&[0x81, 0x02]).length(), Ok(258));
        assert_eq!(fault(Reader::new(&[0xc1]).length()), Fault::Fragmented);
        assert_eq!(fault(Reader::new(&[0x81]).length()), Fault::Truncated);
    }

    #[test]
    fn digits_leave_the_cursor_behind_the_last_one() {
        // dialedDigits "100": length 3 in seven bits, then 4 bits each from an octet boundary.
        let mut reader = Reader::new(&[0b0000_0100, 0x43, 0x3f]);
        assert_eq!(reader.text(1, 128, 4), Ok((3, &[0x43, 0x3f][..])));
        assert_eq!(reader.bits(4), Ok(0xf));
    }

    #[test]
    fn additions_are_numbered_and_skipped() {
        // Extension bit, one optional field (absent); nine additions, the second and the ninth present.
        let data = [0b1000_0100, 0b0010_0000, 0b0100_0000, 1, 0xaa, 2, 0xbb, 0xcc];
        let mut reader = Reader::new(&data);
        let mut preamble = reader.preamble(1).expect("preamble");
        assert!(!preamble.optional());
        let mut seen = Vec::new();
        for index in reader.additions(preamble).expect("bitmap") {
            let first = reader.open(|r| r.bits(8)).expect("open type").expect("an octet");
            seen.push((index, first));
        }
        assert_eq!(seen, [(1, 0xaa), (8, 0xbb)]);
        assert_eq!(fault(reader.bits(1)), Fault::Truncated);
    }

    #[test]
    fn more_than_64_additions_are_refused() {
        let mut reader = Reader::new(&[0b1100_0000, 0xff, 0xff]);
        let preamble = reader.preamble(0).expect("preamble");
        assert_eq!(reader.additions(preamble).map(|_| ()).expect_err("refused").fault, Fault::Extensions);
    }

    #[test]
    fn a_fault_within_an_open_type_stays_there() {
        let mut reader = Reader::new(&[2, 0xff, 0xff, 0x2a]);
        let inner = reader.open(|r| r.octets(3).map(|_| ())).expect("the open type is whole");
        assert_eq!(fault(inner), Fault::Truncated);
        assert_eq!(reader.bits(8), Ok(0x2a));
        assert_eq!(fault(Reader::new(&[2, 0]).open(|_| Ok(()))), Fault::Truncated);
    }

    #[test]
    fn choices_beyond_the_root_are_refused_or_open() {
        assert_eq!(fault(Reader::new(&[0b0110_0000]).choice(3)), Fault::Range);
        assert_eq!(Reader::new(&[0b1000_0010]).choice(3), Ok(Alternative::Added(2)));
        assert_eq!(fault(Reader::new(&[0b1100_0000]).choice(3)), Fault::Extensions);
        assert_eq!(Reader::new(&[]).closed_choice(1), Ok(0));
    }

    #[test]
    fn a_list_of_nothing_runs_out_of_budget() {
        const NOTHINGS: Type = Type::ListOf(&Type::Bits(0));
        assert_eq!(fault(Reader::new(&[0xbf, 0xff]).skip(&NOTHINGS)), Fault::Budget);
        assert_eq!(Reader::new(&[0x81, 0]).skip(&NOTHINGS), Ok(()));
    }

    #[test]
    fn strings_are_checked_before_they_are_walked() {
        let data = [2, 1, b'a', 2, b'b', b'c'];
        let strings = Reader::new(&data).strings().expect("whole");
        assert_eq!(strings.collect::<Vec<_>>(), [&b"a"[..], b"bc"]);
        assert_eq!(fault(Reader::new(&[2, 1, b'a', 2, b'b']).strings()), Fault::Truncated);
    }

    #[test]
    fn a_description_says_what_its_encoding_says() {
        const TYPE: Type = Type::Open(&[
            Field::May(Type::Octets(4)),
            Field::Must(Type::OpenChoice(&[Type::Bits(0), Type::Integer(65_535)])),
            Field::May(Type::Bits(3)),
        ]);
        // No extension, first absent, last present; the choice's root 1; 0x1234; three bits; then a 1.
        let mut reader = Reader::new(&[0b0010_1000, 0x12, 0x34, 0b1011_0000]);
        assert_eq!(reader.skip(&TYPE), Ok(()));
        assert_eq!(reader.bits(1), Ok(1));
    }
}
