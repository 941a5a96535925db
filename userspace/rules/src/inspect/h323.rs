//! How far H.323 is trusted: `[inspect.h323]`, and what a rule's `h323` lays over it.

use std::time::Duration;

use super::{Pattern, UnknownMessage};
use crate::prefixes::Addresses;
use crate::ruleset::Period;

/// What RAS, H.225 call signalling and H.245 may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H323Policy {
    /// Addresses that may be gatekeepers: RAS is with them only.
    pub gatekeepers: Addresses,
    /// A call is set up from or to one of [`Self::gatekeepers`], never directly.
    pub routed_only: bool,
    /// A call is set up only where a gatekeeper has admitted it, to the address it has told, or by a gatekeeper.
    pub require_admission: bool,
    /// What becomes of H.245 messages within call signalling.
    pub tunnelling: Tunnelling,
    /// What becomes of messages that do not fit the state of their call.
    pub state: StateCheck,
    /// Who may call.
    pub calling: PartyFilter,
    /// Who may be called.
    pub called: PartyFilter,
    /// What may be opened by logical channels.
    pub media_types: MediaTypes,
    /// Calls there may be at a time.
    pub calls_max: Option<u32>,
    /// Calls one caller's address may have at a time.
    pub calls_per_source: Option<u32>,
    /// New calls by one caller's address.
    pub call_rate: Option<Rate>,
    /// The longest a call may last.
    pub call_max: Option<Duration>,
    /// RAS requests by one address.
    pub ras_rate: Option<Rate>,
    /// RAS requests and Setup must carry tokens of H.235. Whether these are genuine is the gatekeeper's business.
    pub require_tokens: bool,
    /// The longest life of a registration that is believed.
    pub registration_max: Duration,
    /// What becomes of messages of no known name.
    pub unknown: UnknownMessage,
    /// What becomes of messages that cannot be read.
    pub undecodable: UnknownMessage,
}

impl Default for H323Policy {
    fn default() -> Self {
        Self {
            gatekeepers: Addresses::Any,
            routed_only: false,
            require_admission: false,
            tunnelling: Tunnelling::Allow,
            state: StateCheck::Event,
            calling: PartyFilter::default(),
            called: PartyFilter::default(),
            media_types: MediaTypes::ALL,
            calls_max: None,
            calls_per_source: None,
            call_rate: None,
            call_max: None,
            ras_rate: None,
            require_tokens: false,
            registration_max: Duration::from_secs(24 * 3_600),
            unknown: UnknownMessage::Pass,
            undecodable: UnknownMessage::Drop,
        }
    }
}

/// What becomes of tunnelled H.245 messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tunnelling {
    /// They are read, like those on a connection of their own.
    #[default]
    Allow,
    /// They are read, and an event says so, once a call.
    Log,
    /// Their call is refused.
    Block,
}

/// What becomes of a message that does not fit the state of its call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateCheck {
    /// It goes on, and a call whose beginning was not seen is taken up.
    Off,
    /// The same, and an event says so.
    #[default]
    Event,
    /// Its call is refused.
    Refuse,
}

/// Which parties are permitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartyFilter {
    /// Numbers or names that are; empty: all.
    pub allow: Vec<Pattern>,
    /// Numbers or names that are not, even where [`Self::allow`] has them.
    pub deny: Vec<Pattern>,
}

impl PartyFilter {
    /// Whether a party that goes by these names is permitted.
    ///
    /// One denied name is enough. Of its numbers each must be allowed, as nobody here knows which of them will be
    /// dialled; of its other names each, where it has no number. A party without any name is allowed only where
    /// everybody is.
    pub fn permits<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> bool {
        let among = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        if names.clone().any(|name| among(&self.deny, name)) {
            return false;
        }
        if self.allow.is_empty() {
            return true;
        }
        let has_number = names.clone().any(is_number);
        let mut counted = names.filter(|name| !has_number || is_number(name)).peekable();
        counted.peek().is_some() && counted.all(|name| among(&self.allow, name))
    }

    /// Whether it permits everybody.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// Whether a name can be dialled.
fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit() || b"+*#,".contains(&byte))
}

/// What logical channels may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTypes(u8);

/// What a logical channel carries, as `media_types` tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MediaType {
    /// Audio over RTP.
    Audio = 1,
    /// Video over RTP.
    Video = 2,
    /// T.120, and data of any other kind.
    Data = 4,
    /// T.38.
    T38 = 8,
    /// The second picture of H.239.
    H239 = 16,
}

impl MediaType {
    /// Every type by its name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("audio", Self::Audio),
        ("video", Self::Video),
        ("data", Self::Data),
        ("t38", Self::T38),
        ("h239", Self::H239),
    ];

    /// The name used in rules files and shown to people.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, ty)| *ty == self).map_or("", |(name, _)| name)
    }
}

impl MediaTypes {
    /// All of them.
    pub const ALL: Self = Self(31);

    /// Whether this one is permitted.
    pub const fn has(self, ty: MediaType) -> bool {
        self.0 & ty as u8 != 0
    }
}

impl FromIterator<MediaType> for MediaTypes {
    fn from_iter<I: IntoIterator<Item = MediaType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |set, ty| set | ty as u8))
    }
}

/// So many in a period; as many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub events: u32,
    /// In which time.
    pub period: Period,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::new(text).expect("a pattern")).collect()
    }

    #[test]
    fn one_denied_name_is_enough() {
        let filter = PartyFilter { allow: patterns(&["00*"]), deny: patterns(&["00900*", "fax"]) };
        assert!(filter.permits(["0049301234"].into_iter()));
        assert!(!filter.permits(["0090012"].into_iter()));
        assert!(!filter.permits(["0049301234", "Fax"].into_iter()));
    }

    #[test]
    fn every_number_must_be_allowed_and_names_count_only_without_one() {
        let filter = PartyFilter { allow: patterns(&["49*"]), deny: vec![] };
        assert!(filter.permits(["4930", "alice"].into_iter()));
        assert!(!filter.permits(["4930", "0900"].into_iter()), "which of them will be dialled?");
        assert!(!filter.permits(["alice"].into_iter()));
        assert!(!filter.permits([].into_iter()));
        assert!(PartyFilter::default().permits([].into_iter()));
        let named = PartyFilter { allow: patterns(&["alice*"]), deny: vec![] };
        assert!(named.permits(["Alice@example.org"].into_iter()));
        assert!(!named.permits(["alice", "mallory"].into_iter()));
    }

    #[test]
    fn media_types_are_told_apart() {
        let some: MediaTypes = [MediaType::Audio, MediaType::H239].into_iter().collect();
        let has: Vec<_> =
            MediaType::NAMES.iter().filter(|(_, ty)| some.has(*ty)).map(|(name, _)| *name).collect();
        assert_eq!(has, ["audio", "h239"]);
        assert!(MediaType::NAMES.iter().all(|(_, ty)| MediaTypes::ALL.has(*ty)));
        assert_eq!(MediaType::T38.name(), "t38");
    }
}
