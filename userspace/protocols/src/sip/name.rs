//! Names of header fields.

/// Defines [`Field`] and its names: in full, and compact where there is such a form (RFC 3261 section 7.3.3).
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal $($compact:literal)?;)+) => {
        /// Header fields this reader understands; the names of all others are left alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Field {
            $($(#[$doc])* $field,)+
        }

        impl Field {
            const ALL: &[(Self, &str, &[u8])] = &[$((Self::$field, $name, &[$($compact)?]),)+];
        }
    };
}

fields! {
    /// Via.
    Via = "Via" b'v';
    /// From.
    From = "From" b'f';
    /// To.
    To = "To" b't';
    /// Call-ID.
    CallId = "Call-ID" b'i';
    /// CSeq.
    CSeq = "CSeq";
    /// Contact.
    Contact = "Contact" b'm';
    /// Expires.
    Expires = "Expires";
    /// Content-Type.
    ContentType = "Content-Type" b'c';
    /// Content-Length.
    ContentLength = "Content-Length" b'l';
    /// Content-Encoding.
    ContentEncoding = "Content-Encoding" b'e';
    /// Max-Forwards.
    MaxForwards = "Max-Forwards";
    /// Session-Expires (RFC 4028).
    SessionExpires = "Session-Expires" b'x';
    /// Replaces (RFC 3891).
    Replaces = "Replaces";
    /// Min-Expires.
    MinExpires = "Min-Expires";
    /// Min-SE (RFC 4028).
    MinSe = "Min-SE";
    /// Retry-After.
    RetryAfter = "Retry-After";
    /// User-Agent.
    UserAgent = "User-Agent";
    /// Server.
    Server = "Server";
    /// Authorization.
    Authorization = "Authorization";
    /// Proxy-Authorization.
    ProxyAuthorization = "Proxy-Authorization";
    /// WWW-Authenticate.
    WwwAuthenticate = "WWW-Authenticate";
    /// Proxy-Authenticate.
    ProxyAuthenticate = "Proxy-Authenticate";
    /// Route.
    Route = "Route";
    /// Record-Route.
    RecordRoute = "Record-Route";
    /// Path (RFC 3327).
    Path = "Path";
    /// Event (RFC 6665).
    Event = "Event" b'o';
    /// Subscription-State (RFC 6665).
    SubscriptionState = "Subscription-State";
    /// Refer-To (RFC 3515).
    ReferTo = "Refer-To" b'r';
    /// Referred-By (RFC 3892).
    ReferredBy = "Referred-By" b'b';
    /// Refer-Sub (RFC 4488).
    ReferSub = "Refer-Sub";
    /// Join (RFC 3911).
    Join = "Join";
    /// RSeq (RFC 3262).
    RSeq = "RSeq";
    /// RAck (RFC 3262).
    RAck = "RAck";
    /// Reason (RFC 3326).
    Reason = "Reason";
    /// Supported.
    Supported = "Supported" b'k';
    /// Require.
    Require = "Require";
    /// Proxy-Require.
    ProxyRequire = "Proxy-Require";
    /// Unsupported.
    Unsupported = "Unsupported";
    /// Allow.
    Allow = "Allow";
    /// P-Asserted-Identity (RFC 3325).
    PAssertedIdentity = "P-Asserted-Identity";
    /// P-Preferred-Identity (RFC 3325).
    PPreferredIdentity = "P-Preferred-Identity";
    /// Diversion (RFC 5806).
    Diversion = "Diversion";
}

impl Field {
    /// How many there are.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// The field with this name, in full or compact, in any case.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        if let [letter] = name {
            let place = letter.to_ascii_lowercase().checked_sub(b'a')?;
            return *COMPACT.get(usize::from(place))?;
        }
        let place = *FULL.get(hash(name)?)?;
        let (field, full, _) = Self::ALL.get(usize::from(place))?;
        // Most senders write them as the RFCs do, which is quicker to compare.
        (name == full.as_bytes() || name.eq_ignore_ascii_case(full.as_bytes())).then_some(*field)
    }

    /// Its name in full.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether it may appear once only: of two, readers might take either.
    pub(super) fn is_single(self) -> bool {
        const SINGLE: u64 = mask(&[
            Field::From,
            Field::To,
            Field::CallId,
            Field::CSeq,
            Field::Expires,
            Field::ContentType,
            Field::ContentLength,
            Field::ContentEncoding,
            Field::MaxForwards,
            Field::SessionExpires,
            Field::Replaces,
            Field::Event,
            Field::SubscriptionState,
            Field::ReferTo,
            Field::RSeq,
            Field::RAck,
        ]);
        SINGLE >> self as u8 & 1 == 1
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const fn mask(fields: &[Field]) -> u64 {
    let (mut mask, mut at) = (0, 0);
    while at < fields.len() {
        mask |= 1 << fields[at] as u8;
        at += 1;
    }
    mask
}

/// Fields by compact name.
const COMPACT: [Option<Field>; 26] = {
    let mut table = [None; 26];
    let mut at = 0;
    while at < Field::ALL.len() {
        if let (field, _, [letter]) = Field::ALL[at] {
            table[(*letter - b'a') as usize] = Some(field);
        }
        at += 1;
    }
    table
};

/// Places in [`Field::ALL`] by [`hash`]; no two names have the same.
const FULL: [u8; 128] = {
    let mut table = [u8::MAX; 128];
    let mut at = 0;
    while at < Field::ALL.len() {
        let Some(hash) = hash(Field::ALL[at].1.as_bytes()) else { panic!("a field without a name") };
        assert!(table[hash] == u8::MAX, "two names with one hash: choose other factors");
        table[hash] = at as u8;
        at += 1;
    }
    table
};

/// A hash of a name that is the same in any case, below 128.
const fn hash(name: &[u8]) -> Option<usize> {
    let [first, .., last] = name else { return None };
    Some((name.len() + (*first | 0x20) as usize * 33 + (*last | 0x20) as usize * 7) & 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_known_by_its_names_in_any_case() {
        for &(field, full, compact) in Field::ALL {
            assert_eq!(field.name(), full);
            for name in [full.to_owned(), full.to_uppercase(), full.to_lowercase()] {
                assert_eq!(Field::from_name(name.as_bytes()), Some(field), "{name}");
            }
            for letter in compact.iter().flat_map(|letter| [letter.to_ascii_uppercase(), *letter]) {
                assert_eq!(Field::from_name(&[letter]), Some(field));
            }
        }
        assert_eq!(Field::ALL.iter().map(|(_, _, compact)| compact.len()).sum::<usize>(), 13);
    }

    #[test]
    fn other_names_are_other_fields() {
        for name in ["", "-", "a", "z", "{", "Vib", "Call-IDs", "Kall-ID", "Date", "X-Via", "\u{fc}"] {
            assert_eq!(Field::from_name(name.as_bytes()), None, "{name}");
        }
    }
}
