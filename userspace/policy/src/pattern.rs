//! Dial patterns, and which of several counts.
//!
//! `9011T`, `91[2-9]..`, `+44T`: digits, `*`, `#` and a `+` at the head stand for themselves, `.` for any
//! digit, `*` or `#`, `[2-57]` for one of some, `T` at the end for whatever follows, `$` for nothing.
//!
//! Of the patterns that match a number the **longest** counts: the one that says most about it, place by
//! place (`T` is no place, `$` is one). Of equally long ones the first place at which they differ decides: a
//! digit is before a range, a narrower range before a wider one, `.` comes last; of two ranges as wide, the
//! one that lacks the greatest digit they do not share.

use std::fmt;
use std::ops::RangeInclusive;

use crate::number::Number;

/// What a place of a pattern permits: a bit for each of `0`–`9`, `*`, `#`, `+`.
pub type Symbols = u16;

/// Bits of what `.` stands for.
pub(crate) const ANY: Symbols = 0x0fff;
/// `+` as a bit.
const PLUS: Symbols = 1 << 12;

/// Whether a pattern that says nothing of it lets something follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does: the pattern is a prefix.
    Prefix,
    /// It does not: the pattern is the whole number.
    Whole,
}

/// The character of each bit.
const SYMBOLS: &[u8; 13] = b"0123456789*#+";

/// A dial pattern.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DialPattern {
    places: Box<[Symbols]>,
    /// Nothing may follow.
    whole: bool,
}

/// Why a text is no dial pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("a pattern has at least one place, or is `T`")]
    Empty,
    /// It is too long.
    #[error("a pattern has at most {} places", DialPattern::MAX)]
    TooLong,
    /// A character that has no meaning here.
    #[error("`{0}` has no meaning in a dial pattern")]
    Character(char),
    /// `T` or `$` before the end, or `+` behind the head.
    #[error("`{0}` cannot stand here")]
    Misplaced(char),
    /// `[` without its `]`, or nothing between them.
    #[error("`[` begins a range such as `[2-9]` or `[13-5]`")]
    Range,
}

impl DialPattern {
    /// Most places of a pattern.
    pub const MAX: usize = 32;

    /// Reads a pattern; `reach` is for one that ends neither with `T` nor with `$`.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn read(text: &str, reach: Reach) -> Result<Self, PatternError> {
        let mut places = Vec::new();
        let mut whole = reach == Reach::Whole;
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            let last = characters.as_str().is_empty();
            let place = match c {
                '0'..='9' | '*' | '#' => symbols(c..=c),
                '+' if places.is_empty() => PLUS,
                '.' => ANY,
                '[' => {
                    let (inside, rest) = characters.as_str().split_once(']').ok_or(PatternError::Range)?;
                    characters = rest.chars();
                    range(inside)?
                }
                'T' | 't' if last => {
                    whole = false;
                    break;
                }
                '$' if last && !places.is_empty() => {
                    whole = true;
                    break;
                }
                '+' | 'T' | 't' | '$' => return Err(PatternError::Misplaced(c)),
                other => return Err(PatternError::Character(other)),
            };
            places.push(place);
        }
        match places.len() {
            0 if text != "T" && text != "t" => Err(PatternError::Empty),
            length if length > Self::MAX => Err(PatternError::TooLong),
            _ => Ok(Self { places: places.into(), whole }),
        }
    }

    /// What each place permits.
    pub fn places(&self) -> &[Symbols] {
        &self.places
    }

    /// Whether nothing may follow the last place.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether it is about the normalised form of numbers: it begins with `+`.
    pub fn is_international(&self) -> bool {
        self.places.first() == Some(&PLUS)
    }

    /// The characters that a place permits.
    pub fn symbols_of(place: Symbols) -> impl Iterator<Item = char> {
        (0..).zip(SYMBOLS).filter(move |(bit, _)| place >> bit & 1 == 1).map(|(_, byte)| char::from(*byte))
    }

    /// The number it is, where it stands for one only.
    pub fn single(&self) -> Option<Number> {
        let one = |place: &Symbols| place.is_power_of_two().then(|| SYMBOLS[place.trailing_zeros() as usize]);
        let digits: Option<Vec<u8>> = self.places.iter().map(one).collect();
        Number::read(std::str::from_utf8(&digits.filter(|_| self.whole)?).ok()?)
    }

    /// Whether it matches a number, by the definition.
    pub fn matches(&self, number: &Number) -> bool {
        let digits = number.as_bytes();
        let fits = self.places.iter().zip(digits).all(|(place, digit)| place >> symbol(*digit) & 1 == 1);
        let length = self.places.len();
        fits && digits.len() >= length && !(self.whole && (digits.len() > length || number.is_cut()))
    }

    /// Whether this pattern counts before another that matches the same number.
    pub fn counts_before(&self, other: &Self) -> bool {
        let length = |pattern: &Self| pattern.places.len() + usize::from(pattern.whole);
        let weight = |place: &Symbols| (place.count_ones(), *place);
        let places = || self.places.iter().map(weight).cmp(other.places.iter().map(weight));
        length(self).cmp(&length(other)).reverse().then_with(places).is_lt()
    }

    /// Whether there is a number that both match.
    pub fn overlaps(&self, other: &Self) -> bool {
        let together = self.places.iter().zip(&other.places).all(|(a, b)| a & b != 0);
        let reaches = |short: &Self, long: &Self| !short.whole || short.places.len() == long.places.len();
        let (a, b) = (self.places.len(), other.places.len());
        together && if a <= b { reaches(self, other) } else { reaches(other, self) }
    }
}

impl fmt::Display for DialPattern {
    /// As it can be read again, whatever the reach.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.places {
            let symbols: String = Self::symbols_of(*place).collect();
            match place.count_ones() {
                12 => f.write_str(".")?,
                1 => f.write_str(&symbols)?,
                _ => write!(f, "[{symbols}]")?,
            }
        }
        f.write_str(if self.whole { "$" } else { "T" })
    }
}

impl fmt::Debug for DialPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A character of a number as a bit's place.
#[inline]
pub(crate) fn symbol(digit: u8) -> u8 {
    /// By byte; what is no character of a number stands where `+` does.
    const PLACES: [u8; 256] = {
        let mut places = [12; 256];
        let mut place = 0;
        while place < SYMBOLS.len() {
            places[SYMBOLS[place] as usize] = place as u8;
            place += 1;
        }
        places
    };
    PLACES[usize::from(digit)]
}

fn symbols(range: RangeInclusive<char>) -> Symbols {
    range.filter_map(|c| u8::try_from(c).ok()).fold(0, |bits, byte| bits | 1 << symbol(byte))
}

/// What stands between `[` and `]`.
fn range(inside: &str) -> Result<Symbols, PatternError> {
    let mut bits = 0;
    let mut characters = inside.chars().peekable();
    while let Some(first) = characters.next() {
        if !(first.is_ascii_digit() || first == '*' || first == '#') {
            return Err(PatternError::Range);
        }
        if characters.peek() != Some(&'-') {
            bits |= symbols(first..=first);
            continue;
        }
        characters.next();
        let last = characters.next().filter(|last| last.is_ascii_digit() && first.is_ascii_digit());
        let last = last.filter(|last| *last >= first).ok_or(PatternError::Range)?;
        bits |= symbols(first..=last);
    }
    if bits == 0 { Err(PatternError::Range) } else { Ok(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> DialPattern {
        DialPattern::read(text, Reach::Prefix).expect("a pattern")
    }

    fn matches(pattern: &str, number: &str) -> bool {
        self::pattern(pattern).matches(&Number::read(number).expect("a number"))
    }

    #[test]
    fn places_are_matched_one_by_one() {
        assert!(matches("9011T", "9011442071234567") && matches("9011", "9011"));
        assert!(!matches("9011T", "901") && !matches("9011T", "9012"));
        assert!(matches("91[2-9]..$", "91555") && !matches("91[2-9]..$", "91155"));
        assert!(!matches("91[2-9]..$", "915551") && !matches("91[2-9]..$", "9155"));
        assert!(matches("+44T", "+4420") && !matches("+44T", "4420") && !matches(".44T", "+4420"));
        assert!(matches("[13-5*]", "*1") && matches("[13-5*]", "4") && !matches("[13-5*]", "2"));
        assert!(matches("T", "1") && matches("t", "+1"));
        let cut = "1".repeat(Number::MAX + 1);
        assert!(matches("1T", &cut) && !matches(&format!("{}$", "1".repeat(DialPattern::MAX)), &cut));
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |text: &str| DialPattern::read(text, Reach::Prefix).expect_err("no pattern");
        assert_eq!(wrong(""), PatternError::Empty);
        assert_eq!(wrong(&"1".repeat(33)), PatternError::TooLong);
        assert_eq!(wrong("91x"), PatternError::Character('x'));
        assert_eq!([wrong("9T1"), wrong("9+"), wrong("$")], ['T', '+', '$'].map(PatternError::Misplaced));
        for text in ["9[", "9[]", "9[a]", "9[2-]", "9[9-2]", "9[-2]", "[*-#]"] {
            assert_eq!(wrong(text), PatternError::Range, "{text}");
        }
    }

    #[test]
    fn reach_is_for_those_that_say_nothing() {
        let whole = |text: &str| DialPattern::read(text, Reach::Whole).expect("a pattern").is_whole();
        assert!(whole("911") && whole("911$") && !whole("911T"));
        assert!(!pattern("911").is_whole() && pattern("911$").is_whole());
    }

    #[test]
    fn the_longest_counts_and_then_the_narrowest() {
        for (first, second) in [
            ("9011T", "9T"),
            ("91900", "91[2-9]..T"),
            ("91[2-4]", "91[2-9]"),
            ("91[2-9]", "91."),
            ("911$", "911T"),
            ("9.1", "..1"),
            ("[12]", "[34]"),
            ("....", "123"),
        ] {
            let (first, second) = (pattern(first), pattern(second));
            assert!(first.counts_before(&second) && !second.counts_before(&first), "{first} {second}");
        }
        assert!(!pattern("911").counts_before(&pattern("911T")), "they are the same");
    }

    #[test]
    fn overlap_is_a_number_in_common() {
        for (a, b, overlap) in [
            ("911$", "9T", true),
            ("911$", "9112", false),
            ("911T", "9112", true),
            ("9[2-4]T", "9[5-9]", false),
            ("9.1", "92", true),
            ("911$", "9.1$", true),
            ("+1", "1", false),
        ] {
            assert_eq!(pattern(a).overlaps(&pattern(b)), overlap, "{a} {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), overlap, "{b} {a}");
        }
    }

    #[test]
    fn is_shown_as_it_can_be_read() {
        for text in ["9011T", "+44T", "91[2345]..$", "[0*#]T", "T"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("9[2-5].").to_string(), "9[2345].T");
    }
}
