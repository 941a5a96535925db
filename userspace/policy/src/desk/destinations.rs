//! Where has been called before.

use std::collections::HashSet;

use crate::number::Number;

/// Destinations: country codes of E.164, in zone 1 with the area code, for there it tells the country.
#[derive(Debug, Default)]
pub(super) struct Destinations(HashSet<Box<str>>);

impl Destinations {
    /// The destination of a normalised number, where it has not been called before. There are no more than
    /// the 4,000 that four digits can tell apart.
    pub(super) fn add(&mut self, number: &Number) -> Option<Box<str>> {
        let destination: Box<str> = destination(number)?.into();
        self.0.insert(destination.clone()).then_some(destination)
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
