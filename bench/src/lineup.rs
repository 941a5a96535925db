//! Every case there is, in the order they are shown, and what each is compared with.

use regex::Regex;

/// Name of a case and of the case it is compared with.
pub(crate) const CASES: [(&str, Option<&str>); 10] = [
    ("pass-only", None),
    ("xdp-filter", None),
    ("drop-stranger", Some("xdp-filter")),
    ("rtp-pinhole", Some("xdp-filter")),
    ("established-tcp", Some("xdp-filter")),
    ("flood-generator", None),
    ("flood-xdp-drop", None),
    ("flood-callgate", Some("flood-nftables")),
    ("flood-nftables", None),
    ("flood-nftables-set", Some("flood-nftables")),
];

/// Those that need Callgate to be loaded.
pub(crate) const CALLGATE: [&str; 4] = ["drop-stranger", "rtp-pinhole", "established-tcp", "flood-callgate"];

/// What a case is compared with.
pub(crate) fn against(name: &str) -> Option<&'static str> {
    CASES.iter().find(|(case, _)| *case == name).and_then(|(_, against)| *against)
}

/// The cases to measure.
pub(crate) struct Selection(Vec<&'static str>);

impl Selection {
    /// All cases, or those whose names match and what they are compared with.
    pub(crate) fn new(only: Option<&Regex>) -> Self {
        let matching = |name: &&str| only.is_none_or(|only| only.is_match(name));
        let wanted: Vec<_> = CASES.iter().map(|(name, _)| *name).filter(matching).collect();
        let peers = wanted.iter().filter_map(|name| against(name));
        Self(wanted.iter().copied().chain(peers).collect())
    }

    /// Whether this case is to be measured.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Whether any of these is.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(only: &str) -> Vec<&'static str> {
        let selection = Selection::new(Some(&Regex::new(only).expect("a regular expression")));
        CASES.iter().map(|(name, _)| *name).filter(|name| selection.has(name)).collect()
    }

    #[test]
    fn a_case_brings_its_peer() {
        assert_eq!(selected("stranger"), ["xdp-filter", "drop-stranger"]);
        assert_eq!(selected("^flood-callgate$"), ["flood-callgate", "flood-nftables"]);
        assert_eq!(selected("pass-only"), ["pass-only"]);
        assert!(Selection::new(Some(&Regex::new("nothing").expect("a regular expression"))).is_empty());
    }

    #[test]
    fn every_peer_is_a_case() {
        for (name, against) in CASES {
            let known = against.is_none_or(|peer| CASES.iter().any(|(case, _)| *case == peer));
            assert!(known, "{name} is compared with {against:?}");
        }
    }
}
