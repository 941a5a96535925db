//! Aligned PER (ITU-T X.691, basic aligned variant): the reader under H.225.0 and H.245.
//!
//! Owns the encoding rules: alignment, constrained numbers, length determinants, preambles, extension additions
//! and open types. What the types *are* is said by the modules that use it, either as straight code or, for
//! parts that are only stepped over, as constant [`Type`] descriptions.
//!
//! Guarantees: no allocation, no panic, no loop without input; a cursor never leaves the slice it was given.
//! Work is bounded by a budget of nodes per [`Reader`], recursion by a depth. A fault within an open type stays
//! there: see [`Reader::open`].
//!
//! Left out on purpose, and refused where met: fragmented lengths (16 KiB and more, 11.9.3.8), extension bitmaps
//! of more than 64 bits, REAL and the unaligned variant. Neither standard's messages need them.

/// Elements one [`Reader`] may visit: the largest capability sets seen in practice need a tenth of it.
const NODES: u32 = 8192;
/// How deep types may lie within each other where they are stepped over: some contain themselves.
const DEPTH: u32 = 24;

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
    /// Elements within elements, deeper than in any honest message.
    #[error("elements nested too deeply")]
    Depth,
}

/// A fault, and where it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at bit {bit}")]
pub struct Error {
    /// What is wrong.
    pub fault: Fault,
    /// Offset in bits from the start of the encoding.
    pub bit: u32,
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
    /// INTEGER of this span with an extension marker.
    OpenInteger(u32),
    /// OCTET STRING of a fixed size above 2.
    Octets(u16),
    /// OCTET STRING without constraint, OBJECT IDENTIFIER, INTEGER without constraint.
    Bytes,
    /// BIT STRING without constraint.
    BitString,
    /// A string of `least..=most` characters (`most` above 2) of so many bits each.
    Text {
        /// Least length.
        least: u16,
        /// Greatest length.
        most: u16,
        /// Bits per character.
        bits: u8,
    },
    /// SEQUENCE: made by [`sequence`].
    Sequence(Fields),
    /// SEQUENCE with an extension marker: made by [`open`].
    Open(Fields),
    /// CHOICE.
    Choice(&'static [Type]),
    /// CHOICE with an extension marker.
    OpenChoice(&'static [Type]),
    /// CHOICE with an extension marker whose root is so many NULLs.
    OneOf(u8),
    /// SEQUENCE OF without a size constraint.
    ListOf(&'static Type),
    /// SEQUENCE OF with 1 to so many elements.
    SizedList(u16, &'static Type),
}

/// A field of a SEQUENCE's root.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Always there.
    Must(Type),
    /// OPTIONAL.
    May(Type),
}

/// The fields of a SEQUENCE's root, in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// How many of them are optional.
    optional: u32,
    fields: &'static [Field],
}

impl Fields {
    const fn new(fields: &'static [Field]) -> Self {
        let (mut optional, mut place) = (0, 0);
        while place < fields.len() {
            if matches!(fields[place], Field::May(_)) {
                optional += 1;
            }
            place += 1;
        }
        assert!(optional <= MOST_OPTIONAL);
        Self { optional, fields }
    }
}

/// Most optional fields a root may have here.
const MOST_OPTIONAL: u32 = 23;

/// A SEQUENCE of these fields.
pub const fn sequence(fields: &'static [Field]) -> Type {
    Type::Sequence(Fields::new(fields))
}

/// A SEQUENCE of these fields, with an extension marker behind them.
pub const fn open(fields: &'static [Field]) -> Type {
    Type::Open(Fields::new(fields))
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
    #[inline]
    pub fn optional(&mut self) -> bool {
        let present = self.flags & (1 << 31) != 0;
        self.flags <<= 1;
        present
    }

    /// Whether extension additions follow the root.
    #[inline]
    pub fn is_extended(&self) -> bool {
        self.extended
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

impl Alternative {
    /// Its name, of those of the root and of the extensions that are known; `unknown` for any other.
    pub fn name(self, root: &[&'static str], added: &[&'static str]) -> &'static str {
        let (names, index) = match self {
            Self::Root(index) => (root, index),
            Self::Added(index) => (added, index),
        };
        names.get(usize::from(index)).copied().unwrap_or("unknown")
    }
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

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let index = self.bitmap.leading_zeros();
        self.bitmap &= !(1_u64 << 63).checked_shr(index)?;
        Some(index as u8)
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
    #[cold]
    pub fn error(&self, fault: Fault) -> Error {
        Error { fault, bit: self.at as u32 }
    }

    /// The next bits, the first of them at the top: at least 25, of which those behind the end mean nothing.
    #[inline]
    fn peek(&self) -> u32 {
        let rest = self.data.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(chunk) => u32::from_be_bytes(*chunk),
            None => last_octets(rest),
        };
        word << (self.at % 8)
    }

    /// The next `count` (at most 24) bits as a number.
    #[inline]
    pub fn bits(&mut self, count: u32) -> Result<u32> {
        debug_assert!(count <= 24);
        if count == 0 {
            return Ok(0);
        }
        let value = self.peek() >> (32 - count);
        self.advance(count)?;
        Ok(value)
    }

    /// Goes on by so many bits.
    #[inline]
    fn advance(&mut self, count: u32) -> Result<()> {
        let at = self.at + count as usize;
        if at > self.end {
            return Err(self.error(Fault::Truncated));
        }
        self.at = at;
        Ok(())
    }

    /// A BOOLEAN.
    #[inline]
    pub fn bool(&mut self) -> Result<bool> {
        let octet = self.data.get(self.at / 8).copied().unwrap_or_default();
        let value = octet << (self.at % 8) & 0x80 != 0;
        self.advance(1)?;
        Ok(value)
    }

    /// The octet at whose boundary the cursor is, or which is next.
    #[inline]
    fn octet(&self) -> usize {
        (self.at + 7) >> 3
    }

    /// The next `count` octets, from an octet boundary.
    #[inline]
    pub fn octets(&mut self, count: usize) -> Result<&'a [u8]> {
        let start = self.octet();
        let stop = start + count;
        match self.data.get(start..stop) {
            Some(octets) if stop * 8 <= self.end => {
                self.at = stop * 8;
                Ok(octets)
            }
            _ => Err(self.error(Fault::Truncated)),
        }
    }

    /// The next `N` octets, from an octet boundary.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let start = self.octet();
        let stop = (start + N) * 8;
        match self.data.get(start..).and_then(<[u8]>::first_chunk) {
            Some(octets) if stop <= self.end => {
                self.at = stop;
                Ok(*octets)
            }
            _ => Err(self.error(Fault::Truncated)),
        }
    }

    /// A constrained whole number less its least value; `span` is greatest minus least (11.5).
    #[inline]
    pub fn integer(&mut self, span: u32) -> Result<u32> {
        let value = match span {
            0..=254 => self.bits(32 - span.leading_zeros())?,
            255 => u32::from(self.array::<1>()?[0]),
            256..=65_535 => u32::from(u16::from_be_bytes(self.array()?)),
            _ => self.wide_integer(span)?,
        };
        if value > span { Err(self.error(Fault::Range)) } else { Ok(value) }
    }

    /// One of a span above 65,535: its length in octets less one, as a number of its own, and the octets.
    #[inline]
    fn wide_integer(&mut self, span: u32) -> Result<u32> {
        let most = 4 - span.leading_zeros() / 8;
        let length = self.bits(32 - (most - 1).leading_zeros())? + 1;
        if length > most {
            return Err(self.error(Fault::Range));
        }
        self.at = self.octet() * 8;
        let value = self.peek() >> (32 - 8 * length);
        self.advance(8 * length)?;
        Ok(value)
    }

    /// An INTEGER (0..65535).
    #[inline]
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A length determinant without constraint (11.9.3.5 to 11.9.3.7).
    #[inline]
    pub fn length(&mut self) -> Result<usize> {
        match self.array()? {
            [first @ 0..0x80] => Ok(usize::from(first)),
            [first] => self.long_length(first),
        }
    }

    /// A length determinant of more than one octet.
    fn long_length(&mut self, first: u8) -> Result<usize> {
        if first >= 0xc0 {
            return Err(self.error(Fault::Fragmented));
        }
        let [second] = self.array()?;
        Ok(usize::from(first & 0x3f) << 8 | usize::from(second))
    }

    /// An OCTET STRING without constraint, or an OBJECT IDENTIFIER's contents.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.octets(length)
    }

    /// A string of `least..=most` characters (`most` above 2) of `bits` bits: its length in characters, and
    /// the octets it lies in.
    #[inline]
    pub fn text(&mut self, least: u16, most: u16, bits: u8) -> Result<(usize, &'a [u8])> {
        let length = usize::from(least) + self.integer(u32::from(most - least))? as usize;
        self.characters(length, bits)
    }

    /// So many characters of `bits` bits, from an octet boundary.
    #[inline]
    fn characters(&mut self, length: usize, bits: u8) -> Result<(usize, &'a [u8])> {
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
        let bits = self.peek();
        self.advance(1 + optional)?;
        Ok(Preamble { extended: bits & (1 << 31) != 0, flags: bits << 1 })
    }

    /// The preamble of a SEQUENCE without an extension marker.
    #[inline]
    pub fn closed_preamble(&mut self, optional: u32) -> Result<Preamble> {
        self.visit()?;
        let flags = self.peek();
        self.advance(optional)?;
        Ok(Preamble { extended: false, flags })
    }

    /// What follows a SEQUENCE's root: which extension additions are there.
    #[inline]
    pub fn additions(&mut self, preamble: Preamble) -> Result<Additions> {
        if preamble.extended { self.bitmap() } else { Ok(Additions { bitmap: 0 }) }
    }

    fn bitmap(&mut self) -> Result<Additions> {
        // A normally small length (11.9.3.4): a 0 bit, and the length less one in six.
        let word = self.peek();
        let count = (word >> 25) + 1;
        if count <= 18 {
            // Nearly always: all of it lies in what was peeked at.
            self.advance(7 + count)?;
            return Ok(Additions { bitmap: u64::from(word << 7 & !(u32::MAX >> count)) << 32 });
        }
        self.advance(7)?;
        if count > 64 {
            return Err(self.error(Fault::Extensions));
        }
        let first = u64::from(self.bits(count.min(24))?);
        let bitmap = match count {
            0..=24 => first,
            25..=48 => first << (count - 24) | u64::from(self.bits(count - 24)?),
            _ => {
                let second = u64::from(self.bits(24)?);
                (first << 24 | second) << (count - 48) | u64::from(self.bits(count - 48)?)
            }
        };
        Ok(Additions { bitmap: bitmap << (64 - count) })
    }

    /// Steps over all of a SEQUENCE's extension additions.
    #[inline]
    pub fn skip_additions(&mut self, preamble: Preamble) -> Result<()> {
        if preamble.extended {
            for _ in self.bitmap()? {
                self.skip_open()?;
            }
        }
        Ok(())
    }

    /// Which alternative of a CHOICE with an extension marker and `root` alternatives in its root.
    #[inline]
    pub fn choice(&mut self, root: u8) -> Result<Alternative> {
        self.visit()?;
        let bits = self.peek();
        if bits & (1 << 31) != 0 {
            // A normally small number (11.6): a 0 bit, and the number in six.
            self.advance(8)?;
            return match bits << 1 >> 25 {
                index @ 0..64 => Ok(Alternative::Added(index as u8)),
                _ => Err(self.error(Fault::Extensions)),
            };
        }
        let width = index_width(root);
        self.advance(1 + width)?;
        self.index(bits << 1, width, root).map(Alternative::Root)
    }

    /// Which alternative of a CHOICE of `root` alternatives without an extension marker.
    #[inline]
    pub fn closed_choice(&mut self, root: u8) -> Result<u8> {
        self.visit()?;
        let bits = self.peek();
        let width = index_width(root);
        self.advance(width)?;
        self.index(bits, width, root)
    }

    /// The index in the top `width` bits, of a root alternative.
    #[inline]
    fn index(&self, bits: u32, width: u32, root: u8) -> Result<u8> {
        match (u64::from(bits) >> (32 - width)) as u8 {
            index if index < root => Ok(index),
            _ => Err(self.error(Fault::Range)),
        }
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
        self.step_over(ty, DEPTH)
    }

    /// Steps over a value of this type, if it is there.
    #[inline]
    pub fn skip_if(&mut self, present: bool, ty: &Type) -> Result<()> {
        if present { self.skip(ty) } else { Ok(()) }
    }

    /// Steps over the value of a CHOICE whose root alternative `index` was taken.
    pub fn skip_alternative(&mut self, alternatives: &[Type], index: u8) -> Result<()> {
        self.step_over_alternative(alternatives, index, DEPTH)
    }

    fn step_over(&mut self, ty: &Type, depth: u32) -> Result<()> {
        let Some(depth) = depth.checked_sub(1) else { return Err(self.error(Fault::Depth)) };
        match *ty {
            Type::Bits(count) => self.advance(u32::from(count)),
            Type::Integer(span) => self.integer(span).map(|_| ()),
            Type::OpenInteger(span) => match self.bool()? {
                false => self.integer(span).map(|_| ()),
                true => self.bytes().map(|_| ()),
            },
            Type::Octets(size) => self.octets(usize::from(size)).map(|_| ()),
            Type::Bytes => self.bytes().map(|_| ()),
            Type::BitString => {
                let length = self.length()?;
                self.characters(length, 1).map(|_| ())
            }
            Type::Text { least, most, bits } => self.text(least, most, bits).map(|_| ()),
            Type::Sequence(fields) => {
                let preamble = self.closed_preamble(fields.optional)?;
                self.step_over_fields(preamble, fields, depth)
            }
            Type::Open(fields) => {
                let preamble = self.preamble(fields.optional)?;
                self.step_over_fields(preamble, fields, depth)?;
                self.skip_additions(preamble)
            }
            Type::Choice(alternatives) => {
                let index = self.closed_choice(alternatives.len() as u8)?;
                self.step_over_alternative(alternatives, index, depth)
            }
            Type::OpenChoice(alternatives) => match self.choice(alternatives.len() as u8)? {
                Alternative::Root(index) => self.step_over_alternative(alternatives, index, depth),
                Alternative::Added(_) => self.skip_open(),
            },
            Type::OneOf(alternatives) => self.one_of(alternatives).map(|_| ()),
            Type::ListOf(item) => {
                let count = self.length()?;
                self.step_over_items(count, item, depth)
            }
            Type::SizedList(most, item) => {
                let count = self.integer(u32::from(most) - 1)? as usize + 1;
                self.step_over_items(count, item, depth)
            }
        }
    }

    fn step_over_fields(&mut self, mut preamble: Preamble, fields: Fields, depth: u32) -> Result<()> {
        fields.fields.iter().try_for_each(|field| match field {
            Field::Must(ty) => self.step_over(ty, depth),
            Field::May(ty) if preamble.optional() => self.step_over(ty, depth),
            Field::May(_) => Ok(()),
        })
    }

    fn step_over_alternative(&mut self, alternatives: &[Type], index: u8, depth: u32) -> Result<()> {
        match alternatives.get(usize::from(index)) {
            Some(ty) => self.step_over(ty, depth),
            None => Err(self.error(Fault::Range)),
        }
    }

    fn step_over_items(&mut self, count: usize, item: &Type, depth: u32) -> Result<()> {
        for _ in 0..count {
            self.visit()?;
            self.step_over(item, depth)?;
        }
        Ok(())
    }

    /// Which alternative of a CHOICE with an extension marker whose root is so many NULLs; an extension's value is
    /// stepped over.
    #[inline(always)]
    pub fn one_of(&mut self, root: u8) -> Result<Alternative> {
        let taken = self.choice(root)?;
        if let Alternative::Added(_) = taken {
            self.skip_open()?;
        }
        Ok(taken)
    }

    /// Takes one node from the budget.
    #[inline]
    fn visit(&mut self) -> Result<()> {
        match self.nodes.checked_sub(1) {
            Some(nodes) => {
                self.nodes = nodes;
                Ok(())
            }
            None => Err(self.error(Fault::Budget)),
        }
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

    /// A SEQUENCE OF whose elements are read by `read`: all of them are read here, and again when they are asked
    /// for.
    #[inline]
    pub(crate) fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T>) -> Result<List<'a>> {
        let count = self.length()?;
        let list = List::new(self, count);
        for _ in 0..count {
            self.visit()?;
            read(self)?;
        }
        Ok(list)
    }
}

/// How many bits tell the alternative of a CHOICE with so many.
#[inline]
fn index_width(root: u8) -> u32 {
    8 - root.saturating_sub(1).leading_zeros()
}

/// At most three octets, in the top of a word.
fn last_octets(octets: &[u8]) -> u32 {
    let octet = |place: usize| octets.get(place).copied().unwrap_or_default();
    u32::from_be_bytes([octet(0), octet(1), octet(2), 0])
}

/// A SEQUENCE OF whose elements could be read once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List<'a> {
    data: &'a [u8],
    /// Where the first element begins, and the innermost open type ends, in bits.
    at: u32,
    end: u32,
    count: u32,
}

impl<'a> List<'a> {
    /// The `count` elements that are at the cursor; they must be read once before they are asked for.
    #[inline]
    pub(crate) fn new(r: &Reader<'a>, count: usize) -> Self {
        // Encodings have at most 64 KiB.
        Self { data: r.data, at: r.at as u32, end: r.end as u32, count: count as u32 }
    }

    /// Whether it has an element.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements, by what had read them before.
    pub(crate) fn iter<T>(self, read: impl Fn(&mut Reader<'a>) -> Result<T>) -> impl Iterator<Item = T> {
        let (at, end) = (self.at as usize, self.end as usize);
        let mut reader = Reader { data: self.data, at, end, nodes: NODES };
        (0..self.count).map_while(move |_| read(&mut reader).ok())
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
    fn bitmaps_of_every_length() {
        for count in 1..=64_usize {
            // Every third addition is there.
            let wanted: Vec<u8> = (0..count as u8).filter(|index| index % 3 == 0).collect();
            let mut bits = vec![true, false];
            bits.extend((0..6).rev().map(|bit| (count - 1) >> bit & 1 == 1));
            bits.extend((0..count).map(|index| index % 3 == 0));
            let octet = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |octet, (place, bit)| octet | u8::from(*bit) << (7 - place))
            };
            let data: Vec<u8> = bits.chunks(8).map(octet).collect();
            let mut reader = Reader::new(&data);
            let preamble = reader.preamble(0).expect("preamble");
            assert_eq!(reader.additions(preamble).expect("bitmap").collect::<Vec<_>>(), wanted, "{count}");
            assert!(reader.octet() == data.len() && bits.len() == reader.at);
        }
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
        const TYPE: Type = open(&[
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
