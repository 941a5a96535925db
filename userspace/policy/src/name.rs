//! Names as peers give them: devices, users, aliases, files.

use std::collections::HashMap;
use std::fmt;

/// A pattern for names: `*` stands for any bytes or none, `?` for one byte; ASCII letters match in either
/// case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Most bytes of a pattern.
    pub const MAX: usize = 128;

    /// A pattern of 1 to [`Self::MAX`] printable ASCII characters without blanks; `None` where it is not.
    pub fn new(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        (printable && (1..=Self::MAX).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// The name it is, where it stands for one only.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains(['*', '?'])).then_some(&self.0)
    }

    /// Whether the whole of a name is as the pattern says.
    pub fn matches(&self, name: impl AsRef<[u8]>) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_ref());
        let (mut at, mut place) = (0, 0);
        // After the last `*`, and the name's byte it has been tried from: only the last one need be tried
        // anew.
        let mut star: Option<(usize, usize)> = None;
        while place < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, place));
                }
                Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[place]) => {
                    at += 1;
                    place += 1;
                }
                _ => {
                    let Some((after, from)) = &mut star else { return false };
                    *from += 1;
                    (at, place) = (*after, *from);
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Patterns with a number each; those that stand for one name are looked up at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameIndex {
    exact: HashMap<Box<str>, Vec<u32>>,
    globs: Vec<(Pattern, u32)>,
}

impl NameIndex {
    pub(crate) fn insert(&mut self, pattern: &Pattern, number: u32) {
        match pattern.exact() {
            Some(name) => self.exact.entry(name.to_ascii_lowercase().into()).or_default().push(number),
            None => self.globs.push((pattern.clone(), number)),
        }
    }

    /// The numbers of the patterns that match.
    pub(crate) fn each(&self, name: &str, mut found: impl FnMut(u32)) {
        let mut folded = [0; Pattern::MAX];
        if !self.exact.is_empty()
            && let Some(place) = folded.get_mut(..name.len())
        {
            place.copy_from_slice(name.as_bytes());
            place.make_ascii_lowercase();
            let exact = std::str::from_utf8(place).ok().and_then(|name| self.exact.get(name));
            exact.into_iter().flatten().for_each(|number| found(*number));
        }
        let globs = self.globs.iter().filter(|(pattern, _)| pattern.matches(name));
        globs.for_each(|(_, number)| found(*number));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).expect("a pattern").matches(name);
        assert!(matches("SEP*", "SEP0011AABBCCDD") && matches("SEP*", "sep0011aabbccdd"));
        assert!(matches("*", "") && matches("SEP*", "SEP") && matches("?EP", "SEP"));
        assert!(matches("*.cnf.xml*", "SEP0011AABBCCDD.cnf.xml.sgn"));
        assert!(matches("*a*ab", "aaab") && matches("a*b*c", "abxbxc"));
        assert!(!matches("SEP", "SEPX") && !matches("SEP?", "SEP") && !matches("EP*", "SEP"));
        assert!(!matches("*.xml", "a.xml.sgn") && !matches("a*b*c", "abxbx"));
    }

    #[test]
    fn what_cannot_be_typed_is_no_pattern() {
        for text in ["", "a b", "a\n", "ü", &"x".repeat(Pattern::MAX + 1)] {
            assert_eq!(Pattern::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_index_finds_every_pattern_that_matches() {
        let mut index = NameIndex::default();
        for (number, text) in (0..).zip(["SEP0011AABBCCDD", "SEP*", "alice", "sep0011aabbccdd", "?lice"]) {
            index.insert(&Pattern::new(text).expect("a pattern"), number);
        }
        let found = |name: &str| {
            let mut numbers = Vec::new();
            index.each(name, |number| numbers.push(number));
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(found("Sep0011AABBCCDD"), [0, 1, 3]);
        assert_eq!(found("Alice"), [2, 4]);
        assert_eq!(found(&format!("SEP{}", "0".repeat(200))), [1]);
        assert!(found("bob").is_empty());
    }

    /// The definition, one character at a time.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => naive(rest, name) || !name.is_empty() && naive(pattern, &name[1..]),
            ([b'?', rest @ ..], [_, tail @ ..]) => naive(rest, tail),
            ([byte, rest @ ..], [head, tail @ ..]) => byte.eq_ignore_ascii_case(head) && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*?]{1,8}", name in "[abB]{0,10}") {
            let matched = Pattern::new(&pattern).expect("a pattern").matches(&name);
            prop_assert_eq!(matched, naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
