//! How far SIP is trusted: `[inspect.sip]`, and what a rule's `sip` lays over it.
//!
//! The defaults are such that ordinary phones and trunks never meet them; docs/rules.md says how that is tested.

use std::time::Duration;

pub use super::h323::{PartyFilter, Rate};
use super::{Pattern, UnknownMessage};
use crate::ruleset::Period;

/// What SIP may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipPolicy {
    /// Methods of requests outside dialogs that come from the rule's `from`; `None`: all.
    pub methods: Option<Methods>,
    /// The same of requests that come the other way.
    pub methods_back: Option<Methods>,
    /// Methods no standard knows.
    pub unknown_methods: UnknownMethod,
    /// REFER.
    pub refer: Dialogs,
    /// SUBSCRIBE.
    pub subscribe: Dialogs,
    /// MESSAGE.
    pub message: Dialogs,
    /// NOTIFY.
    pub notify: Notify,
    /// INVITE that asks to take the place of another dialog (RFC 3891).
    pub replaces: Replaces,
    /// Methods of requests that are not to succeed without credentials; `None`: none.
    pub require_auth: Option<Methods>,
    /// Who may call.
    pub calling: PartyFilter,
    /// Who may be called.
    pub called: PartyFilter,
    /// Calls there may be at a time.
    pub dialogs_max: Option<u32>,
    /// Calls one caller's address may have at a time.
    pub dialogs_per_source: Option<u32>,
    /// The longest a call may last.
    pub call_max: Option<Duration>,
    /// Requests outside dialogs by one address.
    pub rates: Rates,
    /// Requests outside dialogs to one address.
    pub rates_to: Rates,
    /// The longest message, in bytes.
    pub message_max: u32,
    /// The most header fields of a message.
    pub headers_max: u32,
    /// The longest Request-URI, in bytes.
    pub uri_max: u32,
    /// The greatest Max-Forwards of a request.
    pub max_forwards: u32,
    /// What becomes of bytes that cannot be read as SIP.
    pub not_sip: UnknownMessage,
    /// User agents of scanners.
    pub scanners: Vec<Pattern>,
    /// What becomes of a source that guesses.
    pub guard: Guard,
    /// Failed authentications, and users that are not there, by one address.
    pub auth_failures: Rate,
    /// Failed authentications of one account.
    pub account_failures: Rate,
    /// Addresses one address may send requests outside dialogs to within a minute.
    pub sweep: u32,
    /// How long a source that guesses is blocked.
    pub guard_block: Duration,
    /// The shortest life of a registration that is believed.
    pub registration_min: Duration,
    /// The longest.
    pub registration_max: Duration,
    /// Whether media over TCP is opened.
    pub tcp_media: TcpMedia,
    /// What becomes of the media of clients behind address translation.
    pub nat_clients: NatClients,
    /// How long the port of such a client's media can be learnt.
    pub latch_window: Duration,
}

impl Default for SipPolicy {
    fn default() -> Self {
        let a_minute = |events| Rate { events, period: Period::Minute };
        Self {
            methods: None,
            methods_back: None,
            unknown_methods: UnknownMethod::Pass,
            refer: Dialogs::Allow,
            subscribe: Dialogs::Allow,
            message: Dialogs::Allow,
            notify: Notify::Allow,
            replaces: Replaces::Allow,
            require_auth: None,
            calling: PartyFilter::default(),
            called: PartyFilter::default(),
            dialogs_max: None,
            dialogs_per_source: None,
            call_max: None,
            rates: Rates::default(),
            rates_to: Rates::default(),
            message_max: 65_535,
            headers_max: 256,
            uri_max: 2_048,
            max_forwards: 255,
            not_sip: UnknownMessage::Drop,
            scanners: Vec::new(),
            guard: Guard::Block,
            auth_failures: a_minute(60),
            account_failures: a_minute(60),
            sweep: 64,
            guard_block: Duration::from_secs(600),
            registration_min: Duration::from_secs(1),
            registration_max: Duration::from_secs(24 * 3_600),
            tcp_media: TcpMedia::Refuse,
            nat_clients: NatClients::Off,
            latch_window: Duration::from_secs(10),
        }
    }
}

impl SipPolicy {
    /// The methods permitted outside dialogs to requests that go this way; `None`: all.
    pub fn methods(&self, back: bool) -> Option<&Methods> {
        if back { self.methods_back.as_ref() } else { self.methods.as_ref() }
    }
}

/// Names of methods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods(Vec<Box<str>>);

impl Methods {
    /// Most bytes of a name.
    pub const MAX: usize = 32;

    /// Whether `name` can be a method's: a token (RFC 3261 section 25.1) of at most [`Self::MAX`] bytes.
    pub fn is_name(name: &str) -> bool {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        (1..=Self::MAX).contains(&name.len()) && name.bytes().all(token)
    }

    /// Whether the method is among them; case matters (RFC 3261 section 7.1).
    pub fn has(&self, method: &str) -> bool {
        self.0.iter().any(|name| **name == *method)
    }
}

impl<'n> FromIterator<&'n str> for Methods {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        Self(names.into_iter().map(Box::from).collect())
    }
}

/// Rates by method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of each method's requests.
    pub methods: Vec<(Box<str>, Rate)>,
    /// Of all requests together.
    pub any: Option<Rate>,
}

impl Rates {
    /// The place of a method's rate among those of [`Self::methods`], and the rate.
    pub fn of(&self, method: &str) -> Option<(usize, Rate)> {
        let place = self.methods.iter().position(|(name, _)| **name == *method)?;
        Some((place, self.methods[place].1))
    }

    /// Whether it limits nothing.
    pub fn is_open(&self) -> bool {
        self.methods.is_empty() && self.any.is_none()
    }
}

/// What becomes of a method no standard knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownMethod {
    /// It goes on.
    #[default]
    Pass,
    /// 403.
    Refuse,
}

/// Where a method may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialogs {
    /// Anywhere.
    #[default]
    Allow,
    /// Within a dialog; elsewhere 403.
    Inside,
    /// Nowhere: 403.
    Refuse,
}

/// Where NOTIFY may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Anywhere.
    #[default]
    Allow,
    /// Where a subscription or a dialog is known; elsewhere 403.
    Subscribed,
    /// Nowhere: 403.
    Refuse,
}

/// What becomes of an INVITE with Replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replaces {
    /// It goes on.
    #[default]
    Allow,
    /// It goes on where the dialog it names is known; else 403.
    Known,
    /// 403.
    Refuse,
}

/// What becomes of a source that guesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// It is blocked.
    #[default]
    Block,
    /// An event says so.
    Event,
    /// Nothing is counted.
    Off,
}

/// Whether media over TCP is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpMedia {
    /// It is not.
    #[default]
    Refuse,
    /// As other media is.
    Allow,
}

/// What becomes of the media of clients behind address translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatClients {
    /// An address that is not the client's is refused, as ever.
    #[default]
    Off,
    /// The port is learnt from the first packet that comes from where the client signals from.
    Latch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart_by_case() {
        let methods: Methods = ["INVITE", "X-Y"].into_iter().collect();
        assert!(methods.has("INVITE") && methods.has("X-Y") && !methods.has("invite"));
        assert!(Methods::is_name("REGISTER") && !Methods::is_name("") && !Methods::is_name("A B"));
    }

    #[test]
    fn rates_are_found_by_method() {
        let rate = Rate { events: 5, period: Period::Second };
        let rates = Rates { methods: vec![("INVITE".into(), rate)], any: None };
        assert_eq!(rates.of("INVITE"), Some((0, rate)));
        assert!(rates.of("BYE").is_none() && !rates.is_open() && Rates::default().is_open());
    }
}
