//! What a rules file says, checked.
//!
//! A [`RuleSet`] is only ever made by [`RuleSet::parse`], so one that exists is valid: its names are resolved,
//! its limits have a meaning, its actions fit their services. What the rules do to a packet is said by
//! [`crate::oracle`]; how they are brought into the kernel by [`mod@crate::compile`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use callgate_shared::flow::{TCP, UDP};
use callgate_shared::limit::{self, Scope, Unit};
use callgate_shared::policy::{self, Action, Inspect, MAX_ZONES, Timeouts, ZONE_NONE, ZONE_SELF};

use crate::diagnostic::{Diagnostic, Position, Severity, Source, Span};
use crate::inspect::InspectPolicies;
use crate::parse;
use crate::prefixes::{Addresses, PrefixSet};
use crate::service::Service;

/// A checked rules file.
#[derive(Clone, Debug)]
pub struct RuleSet {
    pub(crate) source: Source,
    pub(crate) zones: Vec<Zone>,
    pub(crate) groups: BTreeMap<String, PrefixSet>,
    pub(crate) settings: Settings,
    pub(crate) inspect: InspectPolicies,
    pub(crate) rules: Vec<Rule>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl RuleSet {
    /// Reads the text of a rules file; `name` is what the diagnostics call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, with its warnings, in the order of the file.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        parse::parse(Source::new(name, text))
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
        self.source.diagnostic(Severity::Warning, &rule.span, message, suggestion)
    }
}

/// A named zone and its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// The interfaces in it, by name.
    pub interfaces: Vec<String>,
}

/// The number of the first named zone.
pub(crate) const FIRST_ZONE: u8 = 2;

/// The number of the named zone at this place of the file.
pub(crate) fn zone_number(place: usize) -> Option<u8> {
    u8::try_from(place).ok()?.checked_add(FIRST_ZONE).filter(|zone| usize::from(*zone) < MAX_ZONES)
}

/// A set of zone numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ZoneSet(u16);

const _: () = assert!(MAX_ZONES == u16::BITS as usize);

impl ZoneSet {
    /// Every zone, [`ZONE_NONE`] and [`ZONE_SELF`] included.
    pub const ALL: Self = Self(u16::MAX);
    /// No zone.
    pub const EMPTY: Self = Self(0);

    /// With this zone too; numbers that are no zone's are left out.
    #[must_use]
    pub const fn with(self, zone: u8) -> Self {
        if (zone as usize) < MAX_ZONES { Self(self.0 | 1 << zone) } else { self }
    }

    /// Whether the zone is in it.
    pub const fn contains(self, zone: u8) -> bool {
        (zone as usize) < MAX_ZONES && self.0 & 1 << zone != 0
    }
}

/// The `[settings]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ports media may use.
    pub media_ports: RangeInclusive<u16>,
    /// What becomes of signalling while the daemon is away.
    pub on_alg_down: OnAlgDown,
    /// Whether signalling is held until it has been read.
    pub mode: Mode,
    /// How the kernel half is attached.
    pub xdp: Xdp,
    /// What becomes of packets no rule matched, by zone number: drop, pass or track.
    pub defaults: [Action; MAX_ZONES],
    /// Silence after which flows are forgotten.
    pub timeouts: Timeouts,
    /// Silence after which an open media stream closes.
    pub media_idle: Duration,
    /// Silence after which a held media stream closes.
    pub media_held: Duration,
    /// The longest a call can last.
    pub call_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let mut defaults = [Action::Drop; MAX_ZONES];
        defaults[usize::from(ZONE_SELF)] = Action::Track;
        Self {
            media_ports: 16_384..=32_767,
            on_alg_down: OnAlgDown::Pass,
            mode: Mode::Enforce,
            xdp: Xdp::Auto,
            defaults,
            timeouts: Timeouts::default(),
            media_idle: Duration::from_secs(120),
            media_held: Duration::from_secs(900),
            call_max: Duration::from_secs(24 * 3600),
        }
    }
}

/// What becomes of signalling while the daemon is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAlgDown {
    /// It goes on unread; no new media is admitted.
    Pass,
    /// It is dropped.
    Drop,
}

/// Whether signalling is held until it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is: a forbidden message never arrives.
    Enforce,
    /// It goes on at once, and is read beside the way.
    Observe,
}

/// How the kernel half is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// Native where the driver can, otherwise generic.
    Auto,
    /// Native or not at all.
    Native,
    /// Generic.
    Generic,
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
    /// Where the rule is in the file.
    pub position: Position,
    pub(crate) span: Span,
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
}

impl RuleAction {
    /// The action as the kernel knows it.
    pub const fn kernel(self) -> Action {
        match self {
            Self::Drop { .. } => Action::Drop,
            Self::Pass => Action::Pass,
            Self::Track => Action::Track,
            Self::Inspect(_) => Action::Inspect,
        }
    }

    /// The name in a rules file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop { .. } => "drop",
            Self::Pass => "pass",
            Self::Track => "track",
            Self::Inspect(_) => "inspect",
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

/// How many packets or new flows a rule lets by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted: new flows or packets.
    pub unit: Unit,
    /// Events per period, 1 to [`Limit::MOST_EVENTS`].
    pub events: u32,
    /// The period.
    pub period: Period,
    /// Events that may come at once, 1 to [`Limit::MOST_BURST`].
    pub burst: u32,
    /// Over whom it is shared.
    pub per: Scope,
}

impl Limit {
    /// Most events per period.
    pub const MOST_EVENTS: u32 = 10_000_000;
    /// Most events at once: even at one an hour, the bucket's clock stays far from its end.
    pub const MOST_BURST: u32 = 1_000_000;

    /// The limit as the kernel applies it.
    pub fn kernel(&self) -> limit::Limit {
        let interval = (self.period.nanoseconds() / u64::from(self.events.max(1))).max(1);
        limit::Limit {
            interval,
            tolerance: interval.saturating_mul(u64::from(self.burst.max(1) - 1)),
            unit: self.unit as u8,
            scope: self.per as u8,
            ..limit::Limit::default()
        }
    }
}

impl fmt::Display for Limit {
    /// As in `20/s new, burst 40, per source`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
        };
        let unit = if self.unit == Unit::New { "new" } else { "packets" };
        let per = if self.per == Scope::Source { "source" } else { "rule" };
        write!(f, "{}/{period} {unit}, burst {}, per {per}", self.events, self.burst)
    }
}

/// The period of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// `/s`.
    Second,
    /// `/min`.
    Minute,
    /// `/h`.
    Hour,
}

impl Period {
    /// Its length.
    pub const fn nanoseconds(self) -> u64 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        };
        seconds * 1_000_000_000
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

/// The policy flags of the settings.
pub(crate) fn policy_flags(settings: &Settings) -> u8 {
    let mut flags = 0;
    if settings.mode == Mode::Observe {
        flags |= policy::policy_flags::OBSERVE;
    }
    if settings.on_alg_down == OnAlgDown::Drop {
        flags |= policy::policy_flags::DROP_ON_ALG_DOWN;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_becomes_an_interval_and_a_tolerance() {
        let limit =
            Limit { unit: Unit::New, events: 20, period: Period::Second, burst: 40, per: Scope::Source };
        let kernel = limit.kernel();
        assert_eq!((kernel.interval, kernel.tolerance), (50_000_000, 39 * 50_000_000));
        assert_eq!((kernel.unit, kernel.scope), (Unit::New as u8, Scope::Source as u8));
    }

    #[test]
    fn the_largest_limit_does_not_overflow_the_clock() {
        let limit = Limit {
            unit: Unit::Packets,
            events: 1,
            period: Period::Hour,
            burst: Limit::MOST_BURST,
            per: Scope::Rule,
        };
        let kernel = limit.kernel();
        let decade = 10 * 365 * 86_400 * 1_000_000_000;
        assert!(kernel.tolerance.checked_add(kernel.interval).and_then(|t| t.checked_add(decade)).is_some());
    }

    #[test]
    fn zone_sets_hold_what_was_put_in() {
        let set = ZoneSet::EMPTY.with(3).with(200);
        assert!(set.contains(3) && !set.contains(2) && !set.contains(200));
        assert!(ZoneSet::ALL.contains(ZONE_SELF) && !ZoneSet::ALL.contains(16));
    }
}
