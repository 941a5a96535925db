//! Lists of addresses: what `from`, `to` and every other key that names addresses says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::checker::{Checker, Value, Word};
use crate::diagnostic::Severity;
use crate::prefixes::{self, Addresses, PrefixError, PrefixSet};
use crate::ruleset::Zone;
use crate::suggest::suggest;

/// What rules refer to by name.
pub(super) struct Names<'n> {
    pub(super) zones: &'n [Zone],
    pub(super) groups: &'n BTreeMap<String, PrefixSet>,
}

/// A list of groups, addresses, prefixes and ranges, each of them perhaps behind a `!`.
pub(super) fn addresses(
    checker: &mut Checker<'_>,
    what: &str,
    value: &Value<'_>,
    names: &Names<'_>,
) -> Addresses {
    let words = checker.strings(what, value);
    empty_list(checker, what, value, words.is_empty());
    for word in &words {
        let name = word.text.trim_start_matches('!').trim_start();
        if names.groups.contains_key(name) {
            checker.mark_used(name);
        }
    }
    checker.list(&words, |checker| read(checker, what, &words, names))
}

/// The same as a set.
pub(super) fn set_of(
    checker: &mut Checker<'_>,
    what: &str,
    value: &Value<'_>,
    names: &Names<'_>,
) -> PrefixSet {
    match addresses(checker, what, value, names) {
        Addresses::Any => PrefixSet::all(),
        Addresses::In(set) => set,
        Addresses::Except(set) => PrefixSet::all().minus(&set),
    }
}

fn read(checker: &mut Checker<'_>, what: &str, words: &[Word<'_>], names: &Names<'_>) -> Addresses {
    let special: &[&str] = if what == "media" { &["any", "signaller"] } else { &["any"] };
    let known = || names.groups.keys().map(String::as_str).chain(special.iter().copied());
    let mut any = false;
    let (mut positive, mut negative) = (Sum::default(), Sum::default());
    for word in words {
        let (not, word) = negated(word);
        let sum = if not { &mut negative } else { &mut positive };
        if word.text == "any" {
            if not {
                checker.error_with(&word.span, "`!any` is nobody", "leave out what is not meant");
            }
            any |= !not;
        } else if let Some(group) = names.groups.get(word.text) {
            sum.groups.push(group.clone());
        } else {
            sum.prefixes.extend(address(checker, &word, known()));
        }
    }
    let nothing = positive.is_nothing();
    let (positive, negative) = (positive.set(), negative.set());
    match (any || nothing, negative.is_empty()) {
        (true, true) if any => Addresses::Any,
        (true, true) => Addresses::In(PrefixSet::default()),
        (true, false) => Addresses::Except(negative),
        (false, true) => Addresses::In(positive),
        (false, false) => {
            let left = positive.minus(&negative);
            if let (true, false, Some(last)) = (left.is_empty(), positive.is_empty(), words.last()) {
                let span = words.first().map_or(last.span.start, |word| word.span.start)..last.span.end;
                checker.warn(
                    &span,
                    format!("`{what}` leaves nothing"),
                    "what is behind `!` covers all the others",
                );
            }
            Addresses::In(left)
        }
    }
}

/// What one side of a list comes to.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) groups: Vec<PrefixSet>,
    pub(super) prefixes: Vec<IpNet>,
}

impl Sum {
    pub(super) fn is_nothing(&self) -> bool {
        self.groups.is_empty() && self.prefixes.is_empty()
    }

    /// The union; a group that stands alone is not copied.
    pub(super) fn set(mut self) -> PrefixSet {
        if let (1, true) = (self.groups.len(), self.prefixes.is_empty())
            && let Some(group) = self.groups.pop()
        {
            return group;
        }
        let nested = self.groups.iter().flat_map(|set| set.prefixes().iter().copied());
        self.prefixes.into_iter().chain(nested).collect()
    }
}

/// A word without the `!` before it, and whether there was one.
pub(super) fn negated<'v>(word: &Word<'v>) -> (bool, Word<'v>) {
    match word.text.strip_prefix('!') {
        Some(rest) => (true, Word { text: rest.trim_start(), span: word.span.clone() }),
        None => (false, word.clone()),
    }
}

/// An address, a prefix or a range; what else a word might have been is in `names`. Empty where it is none of
/// these, and that has been reported.
pub(super) fn address<'a>(
    checker: &mut Checker<'_>,
    word: &Word<'_>,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<IpNet> {
    let text = word.text;
    if let Some((first, last)) = range(text) {
        return match (first, last) {
            (Ok(first), Ok(last)) if first.is_ipv4() == last.is_ipv4() && first <= last => {
                PrefixSet::of_ranges([first..=last]).prefixes().to_vec()
            }
            (Ok(first), Ok(last)) if first.is_ipv4() == last.is_ipv4() => {
                let message = format!("the range `{text}` is empty");
                checker.error_with(&word.span, message, format!("did you mean `{last}-{first}`?"));
                Vec::new()
            }
            _ => {
                let message = format!("`{text}` is not a range of addresses");
                checker.error_with(
                    &word.span,
                    message,
                    "write `10.0.0.5-10.0.0.9` or `2001:db8::5-2001:db8::9`",
                );
                Vec::new()
            }
        };
    }
    match prefixes::prefix(text) {
        Ok(prefix) => return vec![prefix],
        Err(PrefixError::HostBits(prefix)) => {
            checker.warn(
                &word.span,
                format!("`{text}` has bits set behind its length"),
                format!("it is read as `{}`", prefixes::display(&prefix)),
            );
            return vec![prefix];
        }
        Err(PrefixError::Malformed) => checker.error_with(
            &word.span,
            format!("`{text}` is not an address or a prefix"),
            "write `10.1.1.10`, `10.20.0.0/16`, `2001:db8::1` or `2001:db8::/32`",
        ),
        Err(PrefixError::Mapped) => checker.error_with(
            &word.span,
            format!("`{text}` is an IPv4-mapped address, which is never seen on the wire"),
            "write the IPv4 address",
        ),
        Err(PrefixError::Name) => {
            let suggestion = suggest(text, names)
                .or_else(|| Some("write an address, a prefix, or a name of `[groups]`".into()));
            checker.add(Severity::Error, &word.span, format!("there is no group `{text}`"), suggestion);
        }
    }
    Vec::new()
}

type End = Result<IpAddr, std::net::AddrParseError>;

/// The ends of what looks like a range of addresses.
fn range(text: &str) -> Option<(End, End)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let numeric = |end: &str| {
        end.contains(['.', ':']) && end.chars().all(|c| c.is_ascii_hexdigit() || ".:".contains(c))
    };
    (numeric(first) && numeric(last)).then(|| (first.parse(), last.parse()))
}

/// An empty list would match nothing; a missing key matches everything. Only one of them can be meant.
pub(super) fn empty_list(checker: &mut Checker<'_>, what: &str, value: &Value<'_>, empty: bool) {
    if empty && value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        checker.error_with(&value.span(), format!("`{what}` is empty"), "leave it out to match everything");
    }
}
