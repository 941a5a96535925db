//! Where has been called before.

use crate::number::Number;

/// Destinations: country codes of E.164, in zone 1 with the area code, for there it tells the country.
#[derive(Debug)]
pub(super) struct Destinations(Box<[u64]>);

/// Those that one to four digits can tell apart.
const MOST: usize = 5 * 10_000;

impl Default for Destinations {
    fn default() -> Self {
        Self(vec![0; MOST.div_ceil(64)].into())
    }
}

impl Destinations {
    /// The destination of a normalised number, where it has not been called before.
    pub(super) fn add<'n>(&mut self, number: &'n Number) -> Option<&'n str> {
        let destination = destination(number)?;
        let digits = destination.bytes().skip(1);
        let value = digits.fold(0, |value, digit| 10 * value + usize::from(digit.wrapping_sub(b'0')));
        let place = (destination.len() - 1) * 10_000 + value;
        let word = self.0.get_mut(place / 64)?;
        let bit = 1 << (place % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new.then_some(destination)
    }
}

/// `+44`, `+1876`; `None` where the number is not in this form or too short.
fn destination(number: &Number) -> Option<&str> {
    let digits = number.as_str().strip_prefix('+')?;
    let length = match digits.as_bytes() {
        [b'1', ..] => 4,
        [b'7', ..] => 1,
        // The two-digit codes in use (ITU-T E.164, list of assigned codes); all others have three.
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    };
    let digits = digits.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.as_str().get(..=digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_new_once() {
        let mut seen = Destinations::default();
        let mut add = |text: &str| {
            seen.add(&Number::read(text).expect("a number")).map(|destination| destination.to_string())
        };
        assert_eq!(add("+442071234567").as_deref(), Some("+44"));
        assert_eq!(add("+4416"), None);
        assert_eq!(add("+18765550100").as_deref(), Some("+1876"));
        assert_eq!(add("+17325550100").as_deref(), Some("+1732"));
        assert_eq!(add("+37122").as_deref(), Some("+371"));
        assert_eq!(add("+79161234567").as_deref(), Some("+7"));
        assert_eq!([add("9011442071234567"), add("+18"), add("+1#45")], [None, None, None]);
    }
}
