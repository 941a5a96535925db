//! The `[settings]` and `[scan]` tables, and the defaults of whatever they do not say.

use std::ops::RangeInclusive;
use std::time::Duration;

use callgate_shared::limit;
use callgate_shared::policy::{Action, Inspect, MAX_ZONES, Timeouts, ZONE_SELF, policy_flags};
use jiff::tz::TimeZone;

use super::limit::Period;
use crate::prefixes::PrefixSet;

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
    pub media_idle: ByProtocol,
    /// Silence after which a held media stream closes.
    pub media_held: ByProtocol,
    /// Silence of an answered call's audio, one way or both, that is told as an event; zero: it is not.
    pub audio_alarm: Duration,
    /// The longest a call can last.
    pub call_max: Duration,
    /// Where the times of the rules' `when` are told; `None`: where this machine is.
    pub time_zone: Option<TimeZone>,
    /// What is spent at most on strangers.
    pub budgets: Budgets,
    /// Peers that are known beside those that have registered: their new flows have a budget of their own.
    pub protected: PrefixSet,
    /// Sources that are never blocked.
    pub never_block: PrefixSet,
    /// How much is kept at most.
    pub tables: Tables,
    /// The `[scan]` table.
    pub scan: Scan,
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
            media_idle: ByProtocol::all(Duration::from_secs(120)),
            media_held: ByProtocol::all(Duration::from_secs(900)),
            audio_alarm: Duration::from_secs(10),
            call_max: Duration::from_secs(24 * 3600),
            time_zone: None,
            budgets: Budgets::default(),
            protected: PrefixSet::default(),
            never_block: PrefixSet::default(),
            tables: Tables::default(),
            scan: Scan::default(),
        }
    }
}

/// A time, and what it is for the calls of some protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByProtocol {
    /// For those that are not named.
    pub default: Duration,
    /// H.323.
    pub h323: Option<Duration>,
    /// MGCP.
    pub mgcp: Option<Duration>,
    /// SCCP.
    pub sccp: Option<Duration>,
    /// SIP.
    pub sip: Option<Duration>,
}

impl ByProtocol {
    /// The same for every protocol.
    pub const fn all(default: Duration) -> Self {
        Self { default, h323: None, mgcp: None, sccp: None, sip: None }
    }

    /// What holds for calls that this protocol signals.
    pub fn of(&self, protocol: Inspect) -> Duration {
        let own = match protocol {
            Inspect::Sip => self.sip,
            Inspect::H225 | Inspect::H245 | Inspect::Ras => self.h323,
            Inspect::Sccp => self.sccp,
            Inspect::Mgcp => self.mgcp,
            _ => None,
        };
        own.unwrap_or(self.default)
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

/// What is spent at most on what anybody can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// New flows of strangers, per CPU.
    pub new_flows: Budget,
    /// New flows of known peers, per CPU.
    pub peer_flows: Budget,
    /// Connections one source may have half-open; 0: any number.
    pub half_open_source: u32,
    /// Connections of strangers that one destination may have half-open; 0: any number.
    pub half_open_destination: u32,
    /// Answers to rejected packets and challenges, per CPU.
    pub replies: Budget,
    /// Strangers above [`Self::new_flows`] that open TCP connections are asked to prove their address.
    pub challenge: bool,
}

impl Budgets {
    /// Most half-open connections that can be permitted.
    pub const MOST_HALF_OPEN: u32 = 1_000_000;
}

impl Default for Budgets {
    fn default() -> Self {
        let per_second = |events| Budget { events, period: Period::Second };
        Self {
            new_flows: per_second(20_000),
            peer_flows: per_second(100_000),
            half_open_source: 256,
            half_open_destination: 16_384,
            replies: per_second(1_000),
            challenge: true,
        }
    }
}

/// Events per period; a second's worth of them, and one at least, may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Events, 1 to [`super::Limit::MOST_EVENTS`].
    pub events: u32,
    /// The period.
    pub period: Period,
}

impl Budget {
    /// The budget as the kernel applies it.
    pub fn kernel(&self) -> limit::Rate {
        const SECOND: u64 = Period::Second.nanoseconds();
        let interval = (self.period.nanoseconds() / u64::from(self.events.max(1))).max(1);
        limit::Rate { interval, tolerance: SECOND.saturating_sub(interval) }
    }
}

/// How much is kept at most; the defaults are the most there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Calls, and what is registered beside them.
    pub calls: u32,
    /// Pinholes.
    pub pinholes: u32,
    /// Addresses that somebody has registered.
    pub registrations: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self { calls: 200_000, pinholes: 1_000_000, registrations: 100_000 }
    }
}

/// The `[scan]` table: sources that are refused at many places are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whether they are.
    pub enabled: bool,
    /// Refused pairs of a destination and a port that make a scan.
    pub ports: u32,
    /// The time in which they come.
    pub window: Duration,
    /// How long the source is blocked.
    pub block: Duration,
}

impl Scan {
    /// Pairs that can make a scan.
    pub const PORTS: RangeInclusive<u32> = 2..=1_024;
}

impl Default for Scan {
    fn default() -> Self {
        Self { enabled: false, ports: 20, window: Duration::from_secs(60), block: Duration::from_secs(600) }
    }
}

/// The policy flags of the settings.
pub(crate) fn flags(settings: &Settings) -> u8 {
    let mut flags = 0;
    if settings.mode == Mode::Observe {
        flags |= policy_flags::OBSERVE;
    }
    if settings.on_alg_down == OnAlgDown::Drop {
        flags |= policy_flags::DROP_ON_ALG_DOWN;
    }
    flags
}
