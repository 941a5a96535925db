//! What a message says beyond the fields every message needs, read when it is asked for.

use std::borrow::Cow;

use memchr::memchr;

use super::field::{self, Parameters, Split, is_space, number, text, trim};
use super::{Address, Error, Field, Message, Method, Uri, Via, unescape};

/// Credentials of an Authorization or Proxy-Authorization (RFC 3261 section 20.7, RFC 7616).
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Proxy-Authorization.
    pub proxy: bool,
    /// `Digest`, … in the sender's case.
    pub scheme: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// The account they claim to be of, escapes as written; the extended notation (`username*`, RFC 7616
    /// section 3.4) as written too.
    pub fn username(&self) -> Option<&'a [u8]> {
        self.parameter("username").or_else(|| self.parameter("username*"))
    }

    /// The realm.
    pub fn realm(&self) -> Option<&'a [u8]> {
        self.parameter("realm")
    }

    /// The nonce they answer.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.parameter("nonce")
    }

    /// The answer: a digest in hexadecimal digits.
    pub fn response(&self) -> Option<&'a [u8]> {
        self.parameter("response")
    }

    /// The first parameter with this name, in any case; without quotes.
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        Parameters::between_commas(self.parameters).named(name).flatten()
    }
}

/// A challenge: WWW-Authenticate or Proxy-Authenticate (RFC 3261 section 20.44).
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// Proxy-Authenticate.
    pub proxy: bool,
    /// `Digest`, … in the sender's case.
    pub scheme: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Challenge<'a> {
    /// The realm.
    pub fn realm(&self) -> Option<&'a [u8]> {
        self.parameter("realm")
    }

    /// The nonce to be answered.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.parameter("nonce")
    }

    /// Whether credentials were right but their nonce too old (RFC 7616 section 3.3): no failure.
    pub fn is_stale(&self) -> bool {
        self.parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case(b"true"))
    }

    /// The first parameter with this name, in any case; without quotes.
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        Parameters::between_commas(self.parameters).named(name).flatten()
    }
}

/// Event (RFC 6665 section 8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The package: `presence`, `refer`, `message-summary`, …
    pub package: &'a str,
    /// Tells subscriptions of one dialog apart.
    pub id: Option<&'a str>,
}

/// Subscription-State (RFC 6665 section 8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated`, …
    pub state: &'a str,
    /// What is left, in seconds.
    pub expires: Option<u32>,
    /// Why it is in this state.
    pub reason: Option<&'a str>,
}

impl SubscriptionState<'_> {
    /// Whether the subscription is over.
    pub fn is_terminated(&self) -> bool {
        self.state.eq_ignore_ascii_case("terminated")
    }
}

/// A dialog that is to be replaced (RFC 3891) or joined (RFC 3911), as the receiver of the request knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces<'a> {
    /// Its Call-ID.
    pub call_id: Cow<'a, str>,
    /// The receiver's own tag.
    pub to_tag: Cow<'a, str>,
    /// The other end's tag.
    pub from_tag: Cow<'a, str>,
    /// Only if it has not been answered.
    pub early_only: bool,
}

impl<'a> Replaces<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let end = value.find(';').unwrap_or(value.len());
        let mut parameters = Parameters::new(&value.as_bytes()[end..]);
        let call_id = field::call_id(trim(&value.as_bytes()[..end])).ok()?;
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for (name, value) in &mut parameters {
            if name.eq_ignore_ascii_case(b"to-tag") {
                to_tag = to_tag.or(value.and_then(text));
            } else if name.eq_ignore_ascii_case(b"from-tag") {
                from_tag = from_tag.or(value.and_then(text));
            } else if name.eq_ignore_ascii_case(b"early-only") {
                early_only = true;
            }
        }
        let [to_tag, from_tag] = [to_tag?, from_tag?].map(Cow::Borrowed);
        Some(Self { call_id: call_id.into(), to_tag, from_tag, early_only })
    }

    /// The same, kept beyond the message.
    pub fn into_owned(self) -> Replaces<'static> {
        let Self { call_id, to_tag, from_tag, early_only } = self;
        let [call_id, to_tag, from_tag] =
            [call_id, to_tag, from_tag].map(|text| Cow::Owned(text.into_owned()));
        Replaces { call_id, to_tag, from_tag, early_only }
    }
}

/// RAck: which provisional response a PRACK acknowledges (RFC 3262 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RAck<'a> {
    /// The response's RSeq.
    pub rseq: u32,
    /// The request's CSeq.
    pub cseq: u32,
    /// The request's method.
    pub method: Method<'a>,
}

/// Reason (RFC 3326).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850`, …
    pub protocol: &'a str,
    /// The status or cause value.
    pub cause: Option<u16>,
    /// For people.
    pub text: Option<&'a [u8]>,
}

/// Who keeps a session alive (RFC 4028 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The party that sent the request.
    Uac,
    /// The party that answers it.
    Uas,
}

impl<'a> Message<'a> {
    /// All Vias, the topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'a>, Error>> + use<'a> {
        self.values(Field::Via).flat_map(Via::all)
    }

    /// All Routes, the next hop first.
    pub fn routes(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.addresses(Field::Route)
    }

    /// All Record-Routes in order.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.addresses(Field::RecordRoute)
    }

    /// All Paths in order (RFC 3327).
    pub fn paths(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.addresses(Field::Path)
    }

    /// Whom a trusted network says it is from: P-Asserted-Identity (RFC 3325).
    pub fn asserted_identities(&self) -> impl Iterator<Item = Result<Address<'a>, Error>> + use<'a> {
        self.addresses(Field::PAssertedIdentity)
    }

    /// Length of the longest URI of the Request-Line, From, To and Contact, Route, Record-Route, Refer-To and
    /// Referred-By, in bytes.
    pub fn longest_uri(&self) -> usize {
        const OTHERS: [Field; 5] =
            [Field::Contact, Field::Route, Field::RecordRoute, Field::ReferTo, Field::ReferredBy];
        let others =
            OTHERS.into_iter().filter(|field| self.has(*field)).flat_map(|field| self.addresses(field));
        let needed = [self.request_uri().map_or(0, str::len), self.from.uri.len(), self.to.uri.len()];
        others.filter_map(Result::ok).map(|address| address.uri.len()).chain(needed).max().unwrap_or(0)
    }

    /// User-Agent: what sends the request.
    pub fn user_agent(&self) -> Option<&'a [u8]> {
        self.value(Field::UserAgent)
    }

    /// Server: what sends the response.
    pub fn server(&self) -> Option<&'a [u8]> {
        self.value(Field::Server)
    }

    /// Whether it has credentials, of whatever scheme.
    pub fn has_credentials(&self) -> bool {
        self.has(Field::Authorization) || self.has(Field::ProxyAuthorization)
    }

    /// All credentials, those for proxies last.
    pub fn credentials(&self) -> impl Iterator<Item = Credentials<'a>> + use<'a> {
        let of = |field, proxy| {
            self.values(field).map(scheme).map(move |(scheme, parameters)| Credentials {
                proxy,
                scheme,
                parameters,
            })
        };
        of(Field::Authorization, false).chain(of(Field::ProxyAuthorization, true))
    }

    /// All challenges, those of proxies last.
    pub fn challenges(&self) -> impl Iterator<Item = Challenge<'a>> + use<'a> {
        let of = |field, proxy| {
            self.values(field).map(scheme).map(move |(scheme, parameters)| Challenge {
                proxy,
                scheme,
                parameters,
            })
        };
        of(Field::WwwAuthenticate, false).chain(of(Field::ProxyAuthenticate, true))
    }

    /// Expires, in seconds; `None` where it is absent or unreadable (RFC 3261 section 20.19).
    pub fn expires(&self) -> Option<u32> {
        self.seconds(Field::Expires)
    }

    /// Min-Expires, in seconds: with a 423, what would be accepted.
    pub fn min_expires(&self) -> Option<u32> {
        self.seconds(Field::MinExpires)
    }

    /// The session interval, in seconds (RFC 4028 section 4).
    pub fn session_expires(&self) -> Option<u32> {
        self.seconds(Field::SessionExpires)
    }

    /// Min-SE, in seconds (RFC 4028 section 5).
    pub fn min_se(&self) -> Option<u32> {
        self.seconds(Field::MinSe)
    }

    /// Retry-After, in seconds.
    pub fn retry_after(&self) -> Option<u32> {
        self.seconds(Field::RetryAfter)
    }

    /// Who is to keep the session alive.
    pub fn refresher(&self) -> Option<Refresher> {
        let (_, mut parameters) = first_word(self.value(Field::SessionExpires)?);
        match parameters.find(|(name, _)| name.eq_ignore_ascii_case(b"refresher"))?.1? {
            who if who.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            who if who.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        }
    }

    /// The event package of a subscription.
    pub fn event(&self) -> Option<Event<'a>> {
        let (package, parameters) = first_word(self.value(Field::Event)?);
        let package = text(package).filter(|package| !package.is_empty())?;
        Some(Event { package, id: parameters.named("id").flatten().and_then(text) })
    }

    /// How a subscription stands.
    pub fn subscription_state(&self) -> Option<SubscriptionState<'a>> {
        let (state, parameters) = first_word(self.value(Field::SubscriptionState)?);
        let state = text(state).filter(|state| !state.is_empty())?;
        Some(SubscriptionState {
            state,
            expires: parameters.clone().named("expires").flatten().and_then(field::seconds),
            reason: parameters.named("reason").flatten().and_then(text),
        })
    }

    /// Whom a REFER points at.
    pub fn refer_to(&self) -> Option<Address<'a>> {
        Address::parse(self.value(Field::ReferTo)?, Field::ReferTo).ok()
    }

    /// Who has sent the referred party.
    pub fn referred_by(&self) -> Option<Address<'a>> {
        Address::parse(self.value(Field::ReferredBy)?, Field::ReferredBy).ok()
    }

    /// Whether a REFER, or its 2xx, makes a subscription (RFC 4488).
    pub fn refer_sub(&self) -> bool {
        self.value(Field::ReferSub).is_none_or(|value| !first_word(value).0.eq_ignore_ascii_case(b"false"))
    }

    /// Whether it asks to take the place of another dialog (RFC 3891).
    pub fn has_replaces(&self) -> bool {
        self.has(Field::Replaces)
    }

    /// The dialog it asks to take the place of.
    pub fn replaces(&self) -> Option<Replaces<'a>> {
        Replaces::parse(text(self.value(Field::Replaces)?)?)
    }

    /// The dialog that the one who is referred shall take the place of: Replaces in Refer-To's URI.
    pub fn refer_replaces(&self) -> Option<Replaces<'a>> {
        let uri: Uri<'a> = self.refer_to()?.sip_uri()?;
        match unescape(uri.header("Replaces")?) {
            Cow::Borrowed(value) => Replaces::parse(value),
            Cow::Owned(value) => Replaces::parse(&value).map(Replaces::into_owned),
        }
    }

    /// The dialog it asks to join (RFC 3911).
    pub fn join(&self) -> Option<Replaces<'a>> {
        Replaces::parse(text(self.value(Field::Join)?)?)
    }

    /// RSeq (RFC 3262 section 7.1).
    pub fn rseq(&self) -> Option<u32> {
        number(self.value(Field::RSeq)?).and_then(|n| u32::try_from(n).ok())
    }

    /// RAck (RFC 3262 section 7.2).
    pub fn rack(&self) -> Option<RAck<'a>> {
        let mut words =
            self.value(Field::RAck)?.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        let mut next = || number(words.next()?).and_then(|n| u32::try_from(n).ok());
        let (rseq, cseq) = (next()?, next()?);
        let method = Method::parse(words.next()?)?;
        words.next().is_none().then_some(RAck { rseq, cseq, method })
    }

    /// Whether it is a provisional response that must be acknowledged (RFC 3262 section 3).
    pub fn is_reliable(&self) -> bool {
        self.status().is_some_and(|status| (101..200).contains(&status))
            && self.has(Field::RSeq)
            && self.requires("100rel")
    }

    /// Why, in the words of other protocols.
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'a>> + use<'a> {
        self.values(Field::Reason).flat_map(|value| Split::new(value, b',')).filter_map(|value| {
            let (protocol, parameters) = first_word(value);
            let cause = parameters.clone().named("cause").flatten().and_then(number);
            Some(Reason {
                protocol: text(protocol).filter(|protocol| !protocol.is_empty())?,
                cause: cause.and_then(|cause| u16::try_from(cause).ok()),
                text: parameters.named("text").flatten(),
            })
        })
    }

    /// Option tags of Supported.
    pub fn supported(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(Field::Supported)
    }

    /// Option tags of Require.
    pub fn required(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(Field::Require)
    }

    /// Option tags of Proxy-Require.
    pub fn proxy_required(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(Field::ProxyRequire)
    }

    /// Option tags of Unsupported.
    pub fn unsupported(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(Field::Unsupported)
    }

    /// Methods of Allow.
    pub fn allowed(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(Field::Allow)
    }

    /// Whether Supported or Require has this option tag.
    pub fn supports(&self, option: &str) -> bool {
        self.supported().chain(self.required()).any(|tag| tag.eq_ignore_ascii_case(option))
    }

    /// Whether Require has this option tag.
    pub fn requires(&self, option: &str) -> bool {
        self.required().any(|tag| tag.eq_ignore_ascii_case(option))
    }

    fn tokens(&self, field: Field) -> impl Iterator<Item = &'a str> + use<'a> {
        let tokens = self.values(field).flat_map(|value| Split::new(value, b','));
        tokens.filter_map(text).filter(|token| !token.is_empty())
    }

    fn seconds(&self, field: Field) -> Option<u32> {
        field::seconds(first_word(self.value(field)?).0)
    }
}

/// What stands before the parameters, and these. A comment, as Retry-After may have, belongs to neither reader.
fn first_word(value: &[u8]) -> (&[u8], Parameters<'_>) {
    let end = memchr(b';', value).unwrap_or(value.len());
    (trim(&value[..end]), Parameters::new(&value[end..]))
}

/// Scheme and parameters of credentials or a challenge.
fn scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|byte| is_space(*byte)).unwrap_or(value.len());
    (&value[..end], trim(&value[end..]))
}
