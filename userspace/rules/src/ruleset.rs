//! What a rules file says, checked.
//!
//! A [`RuleSet`] is only ever made by [`RuleSet::parse`], so one that exists is valid: its names are resolved,
//! its limits have a meaning, its actions fit their services. What the rules do to a packet is said by
//! [`crate::oracle`]; how they are brought into the kernel by [`mod@crate::compile`].

mod control;
mod history;
mod limit;
mod settings;
mod zone;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use callgate_policy::Plan;
use callgate_shared::flow::{TCP, UDP};
use callgate_shared::policy::{Action, Inspect, ZONE_NONE, ZONE_SELF};
use jiff::{Timestamp, Zoned};

pub use control::Control;
pub use history::{Database, History, Syslog, without_password};
pub use limit::{Above, Limit, Per, Period};
pub use settings::{Budget, Budgets, ByProtocol, Mode, OnAlgDown, Scan, Settings, Tables, Xdp};
pub use zone::{AntiSpoof, Zone, ZoneRules, ZoneSet};

pub(crate) use settings::flags as policy_flags;
pub(crate) use zone::{FIRST_ZONE, zone_number};

use crate::diagnostic::{Diagnostic, Place, Position, Severity, Source};
use crate::files::{Files, LoadError};
use crate::inspect::{H323Policy, InspectPolicies, SipPolicy};
use crate::parse;
use crate::prefixes::{Addresses, PrefixSet};
use crate::schedule::Schedule;
use crate::service::Service;

/// A checked rules file.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The files, the one that was named first.
    pub(crate) sources: Vec<Source>,
    pub(crate) zones: Vec<Zone>,
    pub(crate) groups: BTreeMap<String, PrefixSet>,
    pub(crate) group_notes: BTreeMap<String, GroupNote>,
    pub(crate) settings: Settings,
    pub(crate) inspect: InspectPolicies,
    pub(crate) control: Control,
    pub(crate) history: Option<History>,
    pub(crate) policy: Option<Arc<Plan>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl RuleSet {
    /// Reads the text of a rules file; `name` is what the diagnostics call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, with its warnings, in the order of the file. Other files are not
    /// read: naming one is an error here.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        parse::parse(Source::new(name, text))
    }

    /// Reads a rules file, and the files it names.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: the file cannot be read, or something is wrong with it or with those it names.
    pub fn load(path: &Path, files: &impl Files) -> Result<Self, LoadError> {
        parse::load(path, files)
    }

    /// Every file that was read, by the names diagnostics call them: the one that was named, those it includes,
    /// and those its groups are taken from.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(Source::name)
    }

    /// Every file that was read, by its name and with its text: what it takes to read them again as they were.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|source| (source.name(), source.text()))
    }

    /// The file a rule stands in.
    pub fn file_of(&self, rule: &Rule) -> &str {
        self.sources.get(rule.place.file).map_or("", Source::name)
    }

    /// By the rules' places, whether each is in force at this time. The time zone of `now` is the machine's: the
    /// file's `time_zone` comes before it.
    pub fn active_at(&self, now: &Zoned) -> Vec<bool> {
        let local = self.local(now).datetime();
        let active = |rule: &Rule| rule.when.as_ref().is_none_or(|when| when.contains(local));
        self.rules.iter().map(active).collect()
    }

    /// The next time after this one at which a rule comes into force or goes out of it; `None` where no rule has
    /// a `when`.
    pub fn next_change(&self, after: &Zoned) -> Option<Timestamp> {
        let local = self.local(after);
        self.rules.iter().filter_map(|rule| rule.when.as_ref()?.next_change(&local)).min()
    }

    fn local(&self, now: &Zoned) -> Zoned {
        match &self.settings.time_zone {
            Some(zone) => now.with_time_zone(zone.clone()),
            None => now.clone(),
        }
    }

    /// The named zones; the first has zone number 2, the next 3 and so on.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The groups, with the groups they name resolved.
    pub fn groups(&self) -> &BTreeMap<String, PrefixSet> {
        &self.groups
    }

    /// The settings, with defaults where the file says nothing.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the `[inspect]` tables say, with defaults where the file says nothing.
    pub fn inspect(&self) -> &InspectPolicies {
        &self.inspect
    }

    /// Who may do what with the daemon, and whom it tells.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What is kept of calls that are over; `None`: nothing.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// Who may call what; `None` where the file does not say: everybody everything.
    pub fn call_policy(&self) -> Option<&Arc<Plan>> {
        self.policy.as_ref()
    }

    /// The rules, the first match first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the file says but probably does not mean.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The number of the zone an interface is in; [`ZONE_NONE`] where it is in none.
    pub fn zone_of(&self, interface: &str) -> u8 {
        let place = self.zones.iter().position(|zone| zone.interfaces.iter().any(|name| name == interface));
        place.map_or(ZONE_NONE, |place| zone_number(place).unwrap_or(ZONE_NONE))
    }

    /// The name of a zone by its number: `self`, `none`, or as the file has it.
    pub fn zone_name(&self, zone: u8) -> Option<&str> {
        match zone {
            ZONE_NONE => Some("none"),
            ZONE_SELF => Some("self"),
            named => self.zones.get(usize::from(named - FIRST_ZONE)).map(|zone| zone.name.as_str()),
        }
    }

    /// How many zone numbers there are, [`ZONE_NONE`] and [`ZONE_SELF`] included.
    pub fn zone_count(&self) -> usize {
        usize::from(FIRST_ZONE) + self.zones.len()
    }

    /// A warning that speaks of a rule.
    pub(crate) fn warning_at(&self, rule: &Rule, message: String, suggestion: Option<String>) -> Diagnostic {
        self.diagnostic_at(&rule.place, Severity::Warning, message, suggestion)
    }

    /// A diagnostic that points at a place of one of the files.
    pub(crate) fn diagnostic_at(
        &self,
        place: &Place,
        severity: Severity,
        message: String,
        suggestion: Option<String>,
    ) -> Diagnostic {
        // A rule set has at least the file it was made of, and places are only made in files there are.
        let source = self.sources.get(place.file).or(self.sources.first()).cloned();
        let source = source.unwrap_or_else(|| Source::new("", ""));
        source.diagnostic(severity, &place.span, message, suggestion)
    }
}

/// What is known of a group beside its addresses.
#[derive(Clone, Debug)]
pub(crate) struct GroupNote {
    /// Where its name is written.
    pub(crate) place: Place,
    /// Whether anything names it.
    pub(crate) used: bool,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name: unique in the file, its identity over reloads.
    pub name: String,
    /// Zones its packets come from.
    pub zones: ZoneSet,
    /// Their sources.
    pub from: Addresses,
    /// Their destinations.
    pub to: Addresses,
    /// Their services: any of these.
    pub services: Vec<Service>,
    /// Their VLAN ids, 0 where untagged: ascending, disjoint, within 0 to 4094. `None`: any.
    pub vlans: Option<Vec<RangeInclusive<u16>>>,
    /// Their DSCPs, a bit each: never 0. `None`: any.
    pub dscps: Option<u64>,
    /// When the rule is in force; `None`: always.
    pub when: Option<Schedule>,
    /// What is done with them.
    pub action: RuleAction,
    /// How many of them.
    pub limit: Option<Limit>,
    /// Whether they are logged.
    pub log: bool,
    /// The security advisory the rule answers to.
    pub advisory: Option<String>,
    /// Whose addresses their signalling may announce.
    pub media: MediaAuthority,
    /// What becomes of the media it announces.
    pub handling: Handling,
    /// How far their H.323 is trusted, where it is not as [`InspectPolicies::h323`] says.
    pub h323: Option<Arc<H323Policy>>,
    /// How far their SIP is trusted, where it is not as [`InspectPolicies::sip`] says.
    pub sip: Option<Arc<SipPolicy>>,
    /// Only what is shaped like RTP or RTCP, in the flows that it begins too.
    pub rtp: bool,
    /// Where the rule is in its file, which [`RuleSet::file_of`] tells.
    pub position: Position,
    pub(crate) place: Place,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Drops, saying nothing.
    Drop {
        /// The drops are counted as [`callgate_shared::Reason::Spoofed`].
        spoofed: bool,
    },
    /// Lets by; replies need a rule of their own.
    Pass,
    /// Lets by and remembers the flow.
    Track,
    /// Tracks, and reads the signalling.
    Inspect(Protocol),
    /// Drops, and tells the sender.
    Reject,
}

impl RuleAction {
    /// The action as the kernel knows it.
    pub const fn kernel(self) -> Action {
        match self {
            Self::Drop { .. } => Action::Drop,
            Self::Pass => Action::Pass,
            Self::Track => Action::Track,
            Self::Inspect(_) => Action::Inspect,
            Self::Reject => Action::Reject,
        }
    }

    /// The name in a rules file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop { .. } => "drop",
            Self::Pass => "pass",
            Self::Track => "track",
            Self::Inspect(_) => "inspect",
            Self::Reject => "reject",
        }
    }
}

/// What a rule's `inspect` names: a protocol, or H.323 as a family of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SIP, over TCP and UDP.
    Sip,
    /// H.225 call signalling on TCP and RAS on UDP.
    H323,
    /// H.225 call signalling, over TCP.
    H225,
    /// H.245 on a connection of its own, over TCP.
    H245,
    /// H.225 RAS, over UDP.
    Ras,
    /// Skinny, over TCP.
    Sccp,
    /// MGCP, over UDP.
    Mgcp,
    /// TFTP, over UDP.
    Tftp,
}

impl Protocol {
    /// The names in a rules file.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("sip", Self::Sip),
        ("h323", Self::H323),
        ("h225", Self::H225),
        ("h245", Self::H245),
        ("ras", Self::Ras),
        ("sccp", Self::Sccp),
        ("mgcp", Self::Mgcp),
        ("tftp", Self::Tftp),
    ];

    /// What is read in a flow of this transport (an IP protocol number); `None` where it does not use it.
    pub const fn over(self, transport: u8) -> Option<Inspect> {
        match (self, transport) {
            (Self::Sip, TCP | UDP) => Some(Inspect::Sip),
            (Self::H323 | Self::H225, TCP) => Some(Inspect::H225),
            (Self::H323 | Self::Ras, UDP) => Some(Inspect::Ras),
            (Self::H245, TCP) => Some(Inspect::H245),
            (Self::Sccp, TCP) => Some(Inspect::Sccp),
            (Self::Mgcp, UDP) => Some(Inspect::Mgcp),
            (Self::Tftp, UDP) => Some(Inspect::Tftp),
            _ => None,
        }
    }

    /// The name in a rules file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, protocol)| *protocol == self).map_or("", |(name, _)| name)
    }
}

/// What becomes of the media that a rule's signalling announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// What breaks the contract of its pinhole is dropped, not only counted.
    pub enforce: bool,
    /// What is bound for another machine is forwarded past the stack, where that can be done.
    pub fast: bool,
    /// The DSCP that is written into each packet, 0 to 63; `None`: the sender's is trusted.
    pub dscp: Option<u8>,
}

impl Default for Handling {
    fn default() -> Self {
        Self { enforce: true, fast: false, dscp: None }
    }
}

/// Whose addresses the signalling of a rule may announce for media, besides the sender's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MediaAuthority {
    /// Only what the sender has registered, or what both legs of a call agree on.
    #[default]
    Signaller,
    /// These as well.
    Group(PrefixSet),
    /// Anybody's.
    Any,
}
