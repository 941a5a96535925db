//! Every key of the language, for what is written about it: `docs/rules.md` is held against this list.

use crate::parse;

/// The tables of a rules file and the keys each may have, as the parser knows them.
///
/// A table is named by the keys that lead to it, as in `settings.timeouts`; the file itself by the empty name.
/// `NAME` stands for a name that the file gives.
pub fn tables() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    parse::TABLES.iter().copied()
}
