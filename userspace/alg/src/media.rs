//! Whose addresses a party may announce: the rule that keeps an attacker from having holes opened for him.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use callgate_rules::{Addresses, H323Policy, MgcpPolicy, SccpPolicy, Settings, SipPolicy, TftpPolicy};
use serde::{Deserialize, Serialize};

/// What the rules file says, for the engine.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Ports media may use.
    pub ports: RangeInclusive<u16>,
    /// By counter slot of the rule that admitted the signalling; a slot that is absent has the default rule.
    pub rules: HashMap<u32, RulePolicy>,
    /// What H.323 may do where the rule itself does not say.
    pub h323: H323Policy,
    /// What SIP may do where the rule itself does not say.
    pub sip: SipPolicy,
    /// What SCCP may do.
    pub sccp: SccpPolicy,
    /// What MGCP may do.
    pub mgcp: MgcpPolicy,
    /// What TFTP may do.
    pub tftp: TftpPolicy,
}

impl Policy {
    /// What H.323 may do that the rule of this counter slot has admitted.
    pub fn h323(&self, slot: u32) -> &H323Policy {
        self.rules.get(&slot).and_then(|rule| rule.h323.as_deref()).unwrap_or(&self.h323)
    }

    /// What SIP may do that the rule of this counter slot has admitted.
    pub fn sip(&self, slot: u32) -> &SipPolicy {
        self.rules.get(&slot).and_then(|rule| rule.sip.as_deref()).unwrap_or(&self.sip)
    }

    /// The rules that share limits of SIP: those without a policy of their own are one.
    pub fn sip_scope(&self, slot: u32) -> Option<u32> {
        self.rules.get(&slot).is_some_and(|rule| rule.sip.is_some()).then_some(slot)
    }

    /// Whether a packet goes the way of the rule's answers: from its `to`, and not from its `from`.
    pub fn goes_back(&self, slot: u32, from: IpAddr, to: IpAddr) -> bool {
        self.rules.get(&slot).is_some_and(|rule| {
            let [source, destination] = &rule.ends;
            !(source.contains(from) && destination.contains(to))
                && source.contains(to)
                && destination.contains(from)
        })
    }

    /// The rules that share limits of H.323: those without a policy of their own are one.
    pub fn h323_scope(&self, slot: u32) -> Option<u32> {
        self.rules.get(&slot).is_some_and(|rule| rule.h323.is_some()).then_some(slot)
    }
}

impl Default for Policy {
    /// As a rules file that says nothing.
    fn default() -> Self {
        Self {
            ports: Settings::default().media_ports,
            rules: HashMap::new(),
            h323: H323Policy::default(),
            sip: SipPolicy::default(),
            sccp: SccpPolicy::default(),
            mgcp: MgcpPolicy::default(),
            tftp: TftpPolicy::default(),
        }
    }
}

/// What one rule says.
#[derive(Clone, Debug, Default)]
pub struct RulePolicy {
    /// The rule's `media` key.
    pub media: Authority,
    /// What H.323 may do under it; `None`: what [`Policy::h323`] says.
    pub h323: Option<Arc<H323Policy>>,
    /// What SIP may do under it; `None`: what [`Policy::sip`] says.
    pub sip: Option<Arc<SipPolicy>>,
    /// The rule's `from` and `to`.
    pub ends: [Addresses; 2],
}

impl From<Authority> for RulePolicy {
    fn from(media: Authority) -> Self {
        Self { media, ..Self::default() }
    }
}

/// Whose addresses a party may announce besides its own.
#[derive(Clone, Debug, Default)]
pub enum Authority {
    /// Its own, one it has registered, or one both legs of a call agree on.
    #[default]
    Signaller,
    /// These as well.
    Group(Arc<dyn AddressSet>),
    /// Anybody's.
    Any,
}

/// A set of addresses: a group of the rules file.
pub trait AddressSet: Send + Sync + std::fmt::Debug {
    /// Whether the address is in it.
    fn contains(&self, ip: IpAddr) -> bool;
}

/// Why an announcement opened nothing; counted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A port below 1024.
    PrivilegedPort,
    /// A port outside the media range.
    PortRange,
    /// Loopback, unspecified, broadcast or (unless permitted) multicast.
    NotUnicast,
    /// An address that is not the announcer's to give.
    NotTheAnnouncers,
    /// A host name where an address is needed.
    HostName,
    /// More streams than one call may have.
    TooManyStreams,
    /// More pinholes or calls than the table holds.
    TableFull,
    /// A kind of media that the rules file does not permit.
    MediaType,
    /// Its call is over.
    Released,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 9] = [
        Self::PrivilegedPort,
        Self::PortRange,
        Self::NotUnicast,
        Self::NotTheAnnouncers,
        Self::HostName,
        Self::TooManyStreams,
        Self::TableFull,
        Self::MediaType,
        Self::Released,
    ];

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivilegedPort => "privileged-port",
            Self::PortRange => "port-range",
            Self::NotUnicast => "not-unicast",
            Self::NotTheAnnouncers => "not-the-announcers",
            Self::HostName => "host-name",
            Self::TooManyStreams => "too-many-streams",
            Self::TableFull => "table-full",
            Self::MediaType => "media-type",
            Self::Released => "released",
        }
    }
}
