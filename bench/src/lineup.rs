//! Every case there is, in the order they are shown, and what each is compared with.

use regex::Regex;

/// Name of a case and of the case it is compared with.
pub(crate) const CASES: [(&str, Option<&str>); 60] = [
    ("pass-only", None),
    ("xdp-filter", None),
    ("drop-stranger", Some("xdp-filter")),
    ("rtp-closed", Some("xdp-filter")),
    ("established-tcp", Some("xdp-filter")),
    ("xdp-filter-varied", None),
    ("new-flow-100", Some("xdp-filter-varied")),
    ("new-flow-10000", Some("new-flow-100")),
    ("prefixes-100", Some("xdp-filter-varied")),
    ("prefixes-100000", Some("prefixes-100")),
    ("stage-link", Some("xdp-filter")),
    ("stage-broken", Some("xdp-filter")),
    ("stage-land", Some("xdp-filter")),
    ("stage-no-pinhole", Some("xdp-filter")),
    ("stage-default", Some("xdp-filter")),
    ("xdp-filter-stream", None),
    ("rtp-pinhole", Some("xdp-filter-stream")),
    ("rtp-pinhole-1000", None),
    ("rtp-pinhole-1m", Some("rtp-pinhole-1000")),
    ("pinhole-bytes", None),
    ("pinhole-open", None),
    ("flood-generator", None),
    ("flood-xdp-drop", None),
    ("flood-callgate", Some("flood-xdp-drop")),
    ("flood-nftables", None),
    ("flood-nftables-set", Some("flood-nftables")),
    ("flood-rules-10", Some("flood-nftables-10")),
    ("flood-nftables-10", None),
    ("flood-rules-1000", Some("flood-nftables-1000")),
    ("flood-nftables-1000", None),
    ("flood-rules-10000", Some("flood-nftables-10000")),
    ("flood-nftables-10000", None),
    ("rtp-forward-bare", None),
    ("rtp-forward-fast", Some("rtp-forward-nftables")),
    ("rtp-forward-stack", Some("rtp-forward-nftables")),
    ("rtp-forward-nftables", None),
    ("sip-invite-parse", Some("sip-invite-ezk")),
    ("sip-invite-ezk", None),
    ("sip-call-rate", Some("sip-call-helper")),
    ("sip-call-helper", None),
    ("sip-call-plain", None),
    ("sip-call-steady", None),
    ("sip-latency", None),
    ("sip-100k-calls", None),
    ("syn-flood", None),
    ("reload-10000", None),
    ("h225-setup-14", Some(KERNEL_H323)),
    ("h225-setup-4", Some(KERNEL_H323)),
    ("h245-olc", Some(KERNEL_H323)),
    ("h245-olc-ack", Some(KERNEL_H323)),
    ("ras-acf", Some(KERNEL_H323)),
    ("ras-arq", Some(KERNEL_H323)),
    ("sccp-decode", None),
    ("mgcp-decode", None),
    ("tftp-decode", None),
    ("sccp-message", None),
    ("mgcp-message", None),
    ("tftp-message", None),
    ("policy-decision", None),
    ("history-500k", None),
];

/// Those that read signalling, and need neither Callgate's kernel half nor a privilege.
pub(crate) const SIGNALLING: [&str; 15] = [
    "sip-invite-parse",
    "sip-invite-ezk",
    "h225-setup-14",
    "h225-setup-4",
    "h245-olc",
    "h245-olc-ack",
    "ras-acf",
    "ras-arq",
    "sccp-decode",
    "mgcp-decode",
    "tftp-decode",
    "sccp-message",
    "mgcp-message",
    "tftp-message",
    "policy-decision",
];

/// Those that need Callgate's daemon, or a gateway without it, and endpoints on either side.
pub(crate) const LIVE: [&str; 7] = [
    "sip-call-rate",
    "sip-call-helper",
    "sip-call-plain",
    "sip-call-steady",
    "sip-latency",
    "syn-flood",
    "reload-10000",
];

/// Of these, those that look for a gateway's highest rate of calls.
pub(crate) const CALL_RATE: [&str; 3] = ["sip-call-rate", "sip-call-helper", "sip-call-plain"];

/// Those that are neither [`SIGNALLING`] nor [`LIVE`] and need no network.
const ALONE: [&str; 2] = ["sip-100k-calls", "history-500k"];

/// Not a case but a peer whose instructions were counted once: Linux's decoder, nf_conntrack_h323_asn1.c.
pub(crate) const KERNEL_H323: &str = "kernel-h323";

/// What [`KERNEL_H323`] took for a message like a case's: of the same kind and as many channels, but not
/// necessarily of the same bytes.
pub(crate) struct Reference {
    /// Instructions.
    pub(crate) instructions: u32,
    /// Length of its message, where it is known.
    pub(crate) bytes: Option<u32>,
}

/// What a case is compared with, where that is [`KERNEL_H323`].
pub(crate) fn kernel_h323(name: &str) -> Option<Reference> {
    let (instructions, bytes) = match name {
        "h225-setup-14" => (33_270, Some(596)),
        "h225-setup-4" => (12_835, None),
        "h245-olc" => (2_101, None),
        "h245-olc-ack" => (1_842, None),
        "ras-acf" => (857, None),
        "ras-arq" => (1_687, None),
        _ => return None,
    };
    Some(Reference { instructions, bytes })
}

/// Those that need Callgate to be loaded with its 100 rules.
pub(crate) const CALLGATE: [&str; 10] = [
    "drop-stranger",
    "rtp-closed",
    "established-tcp",
    "stage-link",
    "stage-broken",
    "stage-land",
    "stage-no-pinhole",
    "stage-default",
    "new-flow-100",
    "flood-callgate",
];

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

    /// Whether any case is that sends packets of its own to Callgate's kernel half.
    pub(crate) fn has_packets(&self) -> bool {
        let elsewhere = [&SIGNALLING[..], &LIVE, &ALONE].concat();
        CASES.iter().any(|(name, _)| self.has(name) && !elsewhere.contains(name))
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
        assert_eq!(selected("^flood-callgate$"), ["flood-xdp-drop", "flood-callgate"]);
        assert_eq!(selected("pass-only"), ["pass-only"]);
        assert_eq!(selected("olc$"), ["h245-olc"]);
        assert!(Selection::new(Some(&Regex::new("nothing").expect("a regular expression"))).is_empty());
    }

    #[test]
    fn signalling_alone_needs_no_packets() {
        let of = |only| Selection::new(Some(&Regex::new(only).expect("a regular expression")));
        assert!(!of("sccp|h225").has_packets());
        assert!(of("sccp|pass-only").has_packets());
        assert!(Selection::new(None).has_any(&SIGNALLING));
    }

    #[test]
    fn every_peer_is_a_case() {
        for (name, against) in CASES {
            let known = against.is_none_or(|peer| CASES.iter().any(|(case, _)| *case == peer));
            let counted = kernel_h323(name).is_some();
            assert_eq!(counted, against == Some(KERNEL_H323), "{name} is compared with {against:?}");
            assert!(known || counted, "{name} is compared with {against:?}");
        }
    }
}
