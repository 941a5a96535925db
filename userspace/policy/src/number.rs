//! Numbers as they are dialled, without what only helps the eye.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A number: a `+` at most at its head, digits, `*` and `#`.
///
/// Longer ones are cut; a cut number is equal to no whole one, and no pattern takes it for one.
#[derive(Clone, Copy)]
pub struct Number {
    bytes: [u8; Self::MAX],
    length: u8,
    cut: bool,
}

impl Number {
    /// Most characters that are kept.
    pub const MAX: usize = 46;

    /// The empty number.
    pub const EMPTY: Self = Self { bytes: [0; Self::MAX], length: 0, cut: false };

    /// Reads what a peer has sent as a number; `None` where it is a name.
    ///
    /// A scheme (`tel:`, `sip:`, `sips:`, `h323:`), a host behind `@` and parameters behind `;` are left out,
    /// as are `-`, `.`, `(`, `)` and blanks (RFC 3966, section 5.1.1); `%XX` is read as the character it
    /// stands for.
    pub fn read(text: &str) -> Option<Self> {
        // Most are what they look like.
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mut number = Self { length: text.len() as u8, ..Self::EMPTY };
            number.bytes[..text.len()].copy_from_slice(text.as_bytes());
            return Some(number);
        }
        let text = text.trim();
        let text = match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => rest,
            _ => text,
        };
        let end = text.bytes().position(|byte| matches!(byte, b'@' | b';')).unwrap_or(text.len());
        let mut bytes = text.as_bytes()[..end].iter().copied();
        let mut number = Self::EMPTY;
        while let Some(byte) = bytes.next() {
            let byte = if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte };
            match byte {
                b'0'..=b'9' | b'*' | b'#' => number.push(byte),
                b'+' if number.length == 0 => number.push(byte),
                b'-' | b'.' | b'(' | b')' | b' ' => {}
                _ => return None,
            }
        }
        (number.length > 0 && number.as_str() != "+").then_some(number)
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The characters' bytes: all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether it begins with `+`.
    pub fn is_international(&self) -> bool {
        self.as_bytes().first() == Some(&b'+')
    }

    /// Whether there was more of it than is kept.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Without the `#` that some phones put behind what is dialled in full.
    pub(crate) fn without_end(&self) -> Self {
        let mut number = *self;
        if self.length > 1 && !self.cut && self.as_bytes().ends_with(b"#") {
            number.length -= 1;
        }
        number
    }

    /// Without its first characters, behind others.
    pub(crate) fn rewritten(&self, strip: usize, prefix: &str) -> Self {
        let rest = self.as_bytes().get(strip..).unwrap_or_default();
        let mut number = Self { cut: self.cut, ..Self::EMPTY };
        for part in [prefix.as_bytes(), rest] {
            let room = &mut number.bytes[usize::from(number.length)..];
            let fits = part.len().min(room.len());
            room[..fits].copy_from_slice(&part[..fits]);
            number.length += fits as u8;
            number.cut |= fits < part.len();
        }
        number
    }

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => self.cut = true,
        }
    }
}

fn is_scheme(word: &str) -> bool {
    ["tel", "sip", "sips", "h323"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cut == other.cut && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Number::read(text).map(|number| number.to_string())
    }

    #[test]
    fn what_helps_the_eye_is_left_out() {
        for text in
            ["+1-800-555.0100", "tel:+1(800)5550100", "sip:+18005550100@pbx;user=phone", "%2b18005550100"]
        {
            assert_eq!(read(text).as_deref(), Some("+18005550100"), "{text}");
        }
        assert_eq!(read("9011*44#").as_deref(), Some("9011*44#"));
        assert_eq!(read("sip:911;phone-context=+1@pbx").as_deref(), Some("911"));
    }

    #[test]
    fn names_are_not_numbers() {
        for text in [
            "",
            "alice",
            "911a",
            "+",
            "1+2",
            "9%",
            "9%4",
            "9%zz",
            "sip:",
            "-",
            "sip:%61lice",
            "911,9011",
            "911%3b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_cut_number_is_no_whole_one() {
        let whole = Number::read(&"1".repeat(Number::MAX)).expect("a number");
        let cut = Number::read(&"1".repeat(Number::MAX + 1)).expect("a number");
        assert!(cut.is_cut() && !whole.is_cut() && cut != whole);
        assert_eq!(cut.as_str(), whole.as_str());
    }

    #[test]
    fn is_rewritten_within_its_bounds() {
        let number = Number::read("901144").expect("a number");
        assert_eq!(number.rewritten(4, "+").as_str(), "+44");
        assert_eq!(number.rewritten(40, "1").as_str(), "1");
        assert!(number.rewritten(0, &"1".repeat(Number::MAX)).is_cut());
    }
}
