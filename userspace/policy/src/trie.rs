//! Dial patterns by their places: which of 100,000 counts for a number, in well under a microsecond.
//!
//! A node's literal children lie side by side, found by counting the bits below. Symbols between which there is
//! but one way are written into the node they lead to, so that a look-up goes from one fork to the next: the
//! tail of a long pattern is read in a line of memory. Ranges and `.` are tried after the literal, narrow ones
//! first, and only where something longer than what is found can lie behind them: the first of the longest is
//! the one that counts ([`crate::pattern`]). A look-up visits a node at most once.

use crate::number::Number;
use crate::pattern::{DialPattern, Symbols, symbol};

/// Patterns with a value each.
#[derive(Clone, Debug, Default)]
pub struct Trie {
    nodes: Vec<Node>,
    wild: Vec<Wild>,
}

/// Not across two lines of memory.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Node {
    /// Symbols that have a child of their own.
    literals: Symbols,
    /// Children for ranges and `.`.
    wilds: u16,
    /// The greatest [`length`] of a pattern that ends here or below.
    deepest: u8,
    /// Literals on the only way here, behind the symbol that led into it.
    stem: Stem,
    /// The first literal child.
    first: u32,
    /// The first of `wilds`.
    wild: u32,
    /// The pattern that ends here and lets something follow.
    prefix: u32,
    /// The pattern that ends here and does not.
    whole: u32,
}

/// Symbols that follow each other without a fork.
#[derive(Clone, Copy, Debug, Default)]
struct Stem {
    length: u8,
    /// Four bits each, the first one lowest.
    symbols: u32,
}

impl Stem {
    const MAX: u8 = 8;
    const NONE: Self = Self { length: 0, symbols: 0 };

    fn push(&mut self, symbol: u8) {
        self.symbols |= u32::from(symbol) << (4 * self.length);
        self.length += 1;
    }

    /// The digits behind it, where they begin so; else how many there were of it.
    #[inline]
    fn pass<'d>(&self, digits: &'d [u8]) -> Passed<'d> {
        let length = usize::from(self.length);
        let mut symbols = self.symbols;
        for digit in digits.iter().take(length) {
            if symbols & 0xf != u32::from(symbol(*digit)) {
                return Passed::Off;
            }
            symbols >>= 4;
        }
        digits.get(length..).map_or(Passed::Short, Passed::Through)
    }
}

/// How far digits go along a [`Stem`].
enum Passed<'d> {
    /// To its end; what is left.
    Through(&'d [u8]),
    /// They end on it.
    Short,
    /// They lead elsewhere.
    Off,
}

#[derive(Clone, Copy, Debug)]
struct Wild {
    symbols: Symbols,
    node: u32,
}

/// No pattern ends here.
const NONE: u32 = u32::MAX;

/// Gathers patterns.
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: Vec<Draft>,
}

#[derive(Clone, Debug)]
struct Draft {
    /// In the order they are tried.
    children: Vec<(Symbols, u32)>,
    prefix: u32,
    whole: u32,
}

/// Another pattern stands for the same numbers; its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken(pub u32);

impl Draft {
    const EMPTY: Self = Self { children: Vec::new(), prefix: NONE, whole: NONE };
}

impl Default for Builder {
    fn default() -> Self {
        Self { nodes: vec![Draft::EMPTY] }
    }
}

impl Builder {
    /// Adds a pattern; values are below `u32::MAX`.
    ///
    /// # Errors
    ///
    /// [`Taken`]; the pattern that was first stays.
    pub fn insert(&mut self, pattern: &DialPattern, value: u32) -> Result<(), Taken> {
        let mut at = 0;
        for symbols in pattern.places() {
            let rank = |symbols: Symbols| (symbols.count_ones(), symbols);
            let place = self.nodes[at].children.binary_search_by_key(&rank(*symbols), |(s, _)| rank(*s));
            at = match place {
                Ok(place) => self.nodes[at].children[place].1 as usize,
                Err(place) => {
                    let next = self.nodes.len();
                    self.nodes.push(Draft::EMPTY);
                    self.nodes[at].children.insert(place, (*symbols, next as u32));
                    next
                }
            };
        }
        let node = &mut self.nodes[at];
        let end = if pattern.is_whole() { &mut node.whole } else { &mut node.prefix };
        if *end != NONE {
            return Err(Taken(*end));
        }
        *end = value;
        Ok(())
    }

    /// The trie.
    pub fn build(self) -> Trie {
        let mut trie = Trie { nodes: Vec::with_capacity(self.nodes.len()), wild: Vec::new() };
        trie.nodes.push(Node::END);
        self.lay(&mut trie, 0, 0, 0);
        trie
    }

    /// Writes a draft and what is below it; patterns have at most [`DialPattern::MAX`] places, so deep it
    /// goes.
    fn lay(&self, trie: &mut Trie, draft: usize, at: usize, depth: u8) -> u8 {
        let (mut draft, mut depth, mut stem) = (&self.nodes[draft], depth, Stem::NONE);
        // A way that nobody leaves. The root has no symbol in front of it.
        while let [(symbols, next)] = draft.children.as_slice()
            && (draft.prefix, draft.whole) == (NONE, NONE)
            && symbols.is_power_of_two()
            && depth > 0
            && stem.length < Stem::MAX
        {
            stem.push(symbols.trailing_zeros() as u8);
            (draft, depth) = (&self.nodes[*next as usize], depth + 1);
        }
        let literal = |(symbols, _): &&(Symbols, u32)| symbols.is_power_of_two();
        let mut literals: Vec<(Symbols, u32)> = draft.children.iter().filter(literal).copied().collect();
        literals.sort_unstable();
        let first = trie.nodes.len();
        trie.nodes.extend(literals.iter().map(|_| Node::END));
        let mut deepest = match (draft.whole, draft.prefix) {
            (NONE, NONE) => 0,
            (NONE, _) => length(depth, false),
            _ => length(depth, true),
        };
        for (place, (_, child)) in literals.iter().enumerate() {
            deepest = deepest.max(self.lay(trie, *child as usize, first + place, depth + 1));
        }
        let others: Vec<(Symbols, u32)> =
            draft.children.iter().filter(|child| !literal(child)).copied().collect();
        let wild = trie.wild.len();
        trie.wild.extend(others.iter().map(|(symbols, _)| Wild { symbols: *symbols, node: 0 }));
        for (place, (_, child)) in others.iter().enumerate() {
            let node = trie.nodes.len();
            trie.nodes.push(Node::END);
            trie.wild[wild + place].node = node as u32;
            deepest = deepest.max(self.lay(trie, *child as usize, node, depth + 1));
        }
        trie.nodes[at] = Node {
            literals: literals.iter().fold(0, |set, (symbols, _)| set | symbols),
            wilds: others.len() as u16,
            deepest,
            stem,
            first: first as u32,
            wild: wild as u32,
            prefix: draft.prefix,
            whole: draft.whole,
        };
        deepest
    }
}

impl Node {
    const END: Self = Self {
        literals: 0,
        wilds: 0,
        deepest: 0,
        stem: Stem::NONE,
        first: 0,
        wild: 0,
        prefix: NONE,
        whole: NONE,
    };
}

/// How much a pattern says, by its places; 0 is left for none.
const fn length(places: u8, whole: bool) -> u8 {
    1 + places + whole as u8
}

/// The longest that was found.
#[derive(Clone, Copy)]
struct Best {
    length: u8,
    value: u32,
}

impl Trie {
    /// The value of the pattern that counts for a number.
    pub fn best(&self, number: &Number) -> Option<u32> {
        let mut best = Best { length: 0, value: NONE };
        if let Some(root) = self.nodes.first() {
            self.search(root, number.as_bytes(), number.is_cut(), 0, &mut best);
        }
        (best.length > 0).then_some(best.value)
    }

    /// The values of all patterns that match a number, in no order.
    pub fn each(&self, number: &Number, mut found: impl FnMut(u32)) {
        if let Some(root) = self.nodes.first() {
            self.visit(root, number.as_bytes(), number.is_cut(), &mut found);
        }
    }

    /// Whether some pattern goes on where this number ends: what follows it may still make a difference.
    pub fn goes_on(&self, number: &Number) -> bool {
        fn goes_on(trie: &Trie, node: &Node, digits: &[u8]) -> bool {
            let digits = match node.stem.pass(digits) {
                Passed::Through(digits) => digits,
                Passed::Short => return true,
                Passed::Off => return false,
            };
            match digits.split_first() {
                Some((digit, rest)) => trie.children(node, *digit).any(|child| goes_on(trie, child, rest)),
                // What stands for the whole number stands for none that is longer.
                None => node.literals != 0 || node.wilds != 0 || node.whole != NONE,
            }
        }
        self.nodes.first().is_some_and(|root| goes_on(self, root, number.as_bytes()))
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.nodes.first().is_none_or(|root| root.deepest == 0)
    }

    /// Bytes it takes.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.wild.capacity() * size_of::<Wild>()
    }

    fn search(&self, node: &Node, digits: &[u8], cut: bool, depth: u8, best: &mut Best) {
        let (mut node, mut digits, mut depth) = (node, digits, depth);
        loop {
            let Passed::Through(behind) = node.stem.pass(digits) else { return };
            (digits, depth) = (behind, depth + node.stem.length);
            let mut end = |value: u32, whole: bool| {
                let length = length(depth, whole);
                if value != NONE && length > best.length {
                    *best = Best { length, value };
                }
            };
            end(node.prefix, false);
            let Some((digit, rest)) = digits.split_first() else {
                if !cut {
                    end(node.whole, true);
                }
                return;
            };
            if node.wilds > 0 {
                for child in self.children(node, *digit) {
                    if child.deepest > best.length {
                        self.search(child, rest, cut, depth + 1, best);
                    }
                }
                return;
            }
            // Where there is one way only, it is gone without coming back.
            match self.literal(node, *digit) {
                Some(child) if child.deepest > best.length => {
                    (node, digits, depth) = (child, rest, depth + 1)
                }
                _ => return,
            }
        }
    }

    fn visit(&self, node: &Node, digits: &[u8], cut: bool, found: &mut impl FnMut(u32)) {
        let Passed::Through(digits) = node.stem.pass(digits) else { return };
        if node.prefix != NONE {
            found(node.prefix);
        }
        let Some((digit, rest)) = digits.split_first() else {
            if node.whole != NONE && !cut {
                found(node.whole);
            }
            return;
        };
        for child in self.children(node, *digit) {
            self.visit(child, rest, cut, found);
        }
    }

    fn literal(&self, node: &Node, digit: u8) -> Option<&Node> {
        let bit = 1 << symbol(digit);
        let before = (node.literals & (bit - 1)).count_ones();
        (node.literals & bit != 0).then(|| &self.nodes[(node.first + before) as usize])
    }

    /// The children a digit leads to, in the order they count.
    fn children(&self, node: &Node, digit: u8) -> impl Iterator<Item = &Node> {
        let bit = 1 << symbol(digit);
        let wild = node.wild as usize;
        let wild = self.wild[wild..wild + usize::from(node.wilds)].iter();
        let wild =
            wild.filter(move |wild| wild.symbols & bit != 0).map(|wild| &self.nodes[wild.node as usize]);
        self.literal(node, digit).into_iter().chain(wild)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern::Reach;

    fn trie(patterns: &[DialPattern]) -> (Trie, Vec<DialPattern>) {
        let mut builder = Builder::default();
        let mut kept = Vec::new();
        for pattern in patterns {
            if builder.insert(pattern, kept.len() as u32).is_ok() {
                kept.push(pattern.clone());
            }
        }
        (builder.build(), kept)
    }

    /// The definition, one pattern after the other.
    fn naive(patterns: &[DialPattern], number: &Number) -> Option<u32> {
        let mut best: Option<(u32, &DialPattern)> = None;
        for (value, pattern) in (0..).zip(patterns).filter(|(_, pattern)| pattern.matches(number)) {
            if best.is_none_or(|(_, other)| pattern.counts_before(other)) {
                best = Some((value, pattern));
            }
        }
        best.map(|(value, _)| value)
    }

    #[test]
    fn the_same_numbers_are_one_pattern() {
        let read = |text: &str| DialPattern::read(text, Reach::Prefix).expect("a pattern");
        let mut builder = Builder::default();
        assert_eq!(builder.insert(&read("91[2-4]"), 7), Ok(()));
        assert_eq!(builder.insert(&read("91[432]T"), 8), Err(Taken(7)));
        assert_eq!(builder.insert(&read("91[2-4]$"), 8), Ok(()));
        assert_eq!(builder.insert(&read("T"), 9), Ok(()));
        let trie = builder.build();
        let best = |text: &str| trie.best(&Number::read(text).expect("a number"));
        assert_eq!([best("913"), best("9135"), best("915")], [Some(8), Some(7), Some(9)]);
        assert!(!trie.is_empty() && Trie::default().is_empty());
        assert_eq!(Trie::default().best(&Number::EMPTY), None);
    }

    #[test]
    fn a_node_fits_twice_into_a_line_of_memory() {
        assert_eq!(size_of::<Node>(), 32);
    }

    fn pattern() -> impl Strategy<Value = DialPattern> {
        let place = prop_oneof![
            4 => "[0-3]",
            1 => "01230123[0-3]{0,12}",
            1 => Just(".".to_owned()),
            1 => "\\[[0-3]{1,3}\\]",
            1 => "[*#]",
        ];
        let places = prop::collection::vec(place, 0..6).prop_map(|places| places.concat());
        (prop::bool::weighted(0.2), places, prop::sample::select(vec!["", "T", "$"])).prop_filter_map(
            "a pattern",
            |(plus, places, end)| {
                let text = format!("{}{places}{end}", if plus { "+" } else { "" });
                DialPattern::read(&text, Reach::Prefix).ok()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn finds_what_a_naive_matcher_finds(
            patterns in prop::collection::vec(pattern(), 0..60),
            numbers in prop::collection::vec("\\+?([0-3*#]{1,8}|(01230123){1,2}[0-3]{0,6})", 1..40),
        ) {
            let (trie, patterns) = trie(&patterns);
            for number in numbers {
                let number = Number::read(&number).expect("a number");
                prop_assert_eq!(trie.best(&number), naive(&patterns, &number), "{} {:?}", number, patterns);
                let mut all = Vec::new();
                trie.each(&number, |value| all.push(value));
                all.sort_unstable();
                let matching = (0..).zip(&patterns).filter(|(_, pattern)| pattern.matches(&number));
                prop_assert_eq!(all, matching.map(|(value, _)| value).collect::<Vec<u32>>());
            }
        }
    }
}
