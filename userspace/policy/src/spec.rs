//! What the `[policy]` table of a rules file says, its names resolved.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::addresses::AddressSet;
use crate::decision::Protocol;
use crate::hours::Hours;
use crate::name::Pattern;
use crate::pattern::DialPattern;

/// A call policy. The default permits everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The permissions, at most [`PermissionSet::MOST`]; they are referred to by their places.
    pub permissions: Vec<Permission>,
    /// Numbers that are refused by nothing.
    pub emergency: Vec<DialPattern>,
    /// How numbers are brought into one form: of the rules whose patterns match, the one that counts is
    /// applied once.
    pub normalise: Vec<Rewrite>,
    /// What becomes of numbers that no permission has.
    pub unmatched: Unmatched,
    /// What a caller may call that is none of [`Self::callers`].
    pub strangers: PermissionSet,
    /// Who calls; the first that matches counts.
    pub callers: Vec<Caller>,
    /// Limits of all calls together.
    pub limits: Limits,
    /// What is blocked when.
    pub blocks: Vec<Block>,
    /// What a caller dials to be exempt from [`Self::blocks`] for a time.
    pub pins: Vec<DialPattern>,
    /// For how long.
    pub pin_life: Duration,
    /// What looks like fraud.
    pub fraud: Option<Fraud>,
    /// Who may register where.
    pub registrations: Vec<RegistrationRule>,
    /// What becomes of a device that none of [`Self::registrations`] has.
    pub unknown_devices: UnknownDevices,
    /// Where hours, dates and days are told; `None`: the machine's.
    pub time_zone: Option<TimeZone>,
    /// A refusal is meant for all who could be asked (SIP 603), not only for this way there (403).
    pub decline: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            permissions: Vec::new(),
            emergency: Vec::new(),
            normalise: Vec::new(),
            unmatched: Unmatched::Permit,
            strangers: PermissionSet::ALL,
            callers: Vec::new(),
            limits: Limits::default(),
            blocks: Vec::new(),
            pins: Vec::new(),
            pin_life: Duration::from_secs(600),
            fraud: None,
            registrations: Vec::new(),
            unknown_devices: UnknownDevices::Permit,
            time_zone: None,
            decline: false,
        }
    }
}

/// A permission, and the numbers that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Its name.
    pub name: Arc<str>,
    /// The numbers: a number needs the permission of the pattern that counts ([`crate::pattern`]).
    pub patterns: Arc<[DialPattern]>,
    /// The longest such a call may last, answered.
    pub longest: Option<Duration>,
    /// Minutes of such calls that one caller may have in a day.
    pub minutes_per_day: Option<u32>,
    /// Such calls that may be up at a time.
    pub calls: Option<u32>,
    /// A destination that has not been called before raises an alarm.
    pub first_seen: bool,
}

/// Permissions, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermissionSet(u64);

impl PermissionSet {
    /// How many there may be.
    pub const MOST: usize = 64;
    /// All there are.
    pub const ALL: Self = Self(u64::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether it has the permission at this place.
    pub fn has(self, place: usize) -> bool {
        place < Self::MOST && self.0 >> place & 1 == 1
    }
}

impl FromIterator<usize> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        Self(places.into_iter().filter(|place| *place < Self::MOST).fold(0, |set, place| set | 1 << place))
    }
}

/// Numbers of this form are written otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Which.
    pub pattern: DialPattern,
    /// Characters that are taken from their head.
    pub strip: u8,
    /// What is put in their stead.
    pub prefix: Box<str>,
}

/// What becomes of numbers that no permission has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmatched {
    /// They may be called by everybody.
    #[default]
    Permit,
    /// By nobody.
    Refuse,
    /// By those who hold the permission at this place.
    Needs(usize),
}

/// Callers that are treated alike. One belongs to it who has one of its numbers or names (where it says any)
/// and is in one of its places (where it says any).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub name: Arc<str>,
    /// Numbers, whole ones, as dialled or normalised.
    pub numbers: Vec<DialPattern>,
    /// Names that are registered: devices, users, aliases.
    pub names: Vec<Pattern>,
    /// Where they signal from.
    pub from: Option<AddressSet>,
    /// They are not phones but ways to elsewhere: see [`Self::outgoing`].
    pub trunk: bool,
    /// What they may call; of a trunk: what may be called through it.
    pub outgoing: PermissionSet,
    /// By whose calls they may be reached, told by the calling number; of a trunk: what those behind it may
    /// call.
    pub incoming: PermissionSet,
    /// Limits of each of them.
    pub each: Limits,
    /// Limits of all of them.
    pub together: Limits,
}

/// How much calling there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls that are up at a time.
    pub calls: Option<u32>,
    /// Calls begun in a minute; as many may begin at once.
    pub calls_per_minute: Option<u32>,
    /// Minutes of answered calls in a day.
    pub minutes_per_day: Option<u32>,
}

/// Numbers that are blocked at times.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: Arc<str>,
    /// Which numbers, as dialled or normalised.
    pub patterns: Vec<DialPattern>,
    /// Which of them are not.
    pub allow: Vec<DialPattern>,
    /// When.
    pub hours: Hours,
    /// Where the hours are told; `None`: as [`Spec::time_zone`] has it.
    pub time_zone: Option<TimeZone>,
    /// Places of [`Spec::callers`] whom it does not concern.
    pub exempt: Vec<usize>,
    /// Whether a pin opens it.
    pub pin: bool,
}

/// What looks like fraud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fraud {
    /// The permissions that cost.
    pub permissions: PermissionSet,
    /// A call no longer than this is short.
    pub short: Duration,
    /// How much of a normalised number makes its prefix, in characters.
    pub prefix: u8,
    /// When it is night.
    pub night: Hours,
    /// Points for each short call to a prefix that has had one.
    pub short_points: u32,
    /// For each call at night.
    pub night_points: u32,
    /// For each attempt that failed.
    pub failed_points: u32,
    /// The time after which half the points are forgotten.
    pub half_life: Duration,
    /// From so many on an alarm is raised.
    pub alarm: u32,
    /// From so many on calls that cost are refused.
    pub refuse: Option<u32>,
}

impl Default for Fraud {
    fn default() -> Self {
        Self {
            permissions: PermissionSet::ALL,
            short: Duration::from_secs(30),
            prefix: 6,
            night: Hours::default(),
            short_points: 10,
            night_points: 5,
            failed_points: 5,
            half_life: Duration::from_secs(3_600),
            alarm: 50,
            refuse: None,
        }
    }
}

/// Who may register where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRule {
    /// Its name.
    pub name: Arc<str>,
    /// By what; empty: by anything.
    pub protocols: Vec<Protocol>,
    /// Under which names; empty: any.
    pub names: Vec<Pattern>,
    /// From where; `None`: anywhere.
    pub from: Option<AddressSet>,
    /// How many there may be.
    pub most: Option<u32>,
    /// How many from one address.
    pub per_address: Option<u32>,
}

/// What becomes of a device that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownDevices {
    /// It may register.
    #[default]
    Permit,
    /// It may, and an alarm is raised.
    Alarm,
    /// It may not, and an alarm is raised.
    Refuse,
}
